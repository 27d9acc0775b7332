"""The OpenAI API of the tier: models, completions and chat completions, streamed or whole."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import astuple
from itertools import count
from typing import Any

import orjson
from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from actuators.onnx_tier.front_door import FrontDoor, JobVisit
from actuators.onnx_tier.jobs import Job, RefusedError, Restarted, Tokens
from actuators.onnx_tier.openai_orders import CompletionOrder, read_order
from actuators.onnx_tier.replies import EventReply, JsonReply, openai_error, read_body
from actuators.onnx_tier.text import TextStream


class OpenAiApi:
    """Routes under ``/v1``.

    Parameters
    ----------
    door : FrontDoor
        The tier.
    """

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._numbers = count(1)

    def routes(self) -> list[BaseRoute]:
        """Return what to mount."""
        return [
            Route("/v1/completions", self._completions, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/v1/models/{model}", self._model),
        ]

    async def _models(self, _request: Request) -> JsonReply:
        return JsonReply({"object": "list", "data": [self._card(m) for m in self._door.services]})

    async def _model(self, request: Request) -> JsonReply:
        return JsonReply(self._card(self._door.service(request.path_params["model"]).service))

    def _card(self, model: str) -> dict[str, Any]:
        created = int(self._door.started_s)
        return {"id": model, "object": "model", "created": created, "owned_by": "tidegate"}

    async def _completions(self, request: Request) -> ASGIApp:
        return await self._answer(request, chat=False)

    async def _chat(self, request: Request) -> ASGIApp:
        return await self._answer(request, chat=True)

    async def _answer(self, request: Request, *, chat: bool) -> ASGIApp:
        order = read_order(self._door, await read_body(request), request.headers, chat=chat)
        job = self._door.make_job(
            order.service,
            {
                "t": "generate",
                "max_tokens": order.max_tokens,
                "sampling": list(astuple(order.sampling)),
                "stop": order.text.stop_tokens,
            },
            order.prompt.tobytes(),
            order.terms,
            int(order.prompt.size),
            order.max_tokens,
        )
        visit = self._door.admit(job, request.receive)
        answer = _Completion(order, job, next(self._numbers), self._door.tier)
        status = 500
        try:
            if order.stream:
                first = await visit.first_event()
                # From here on the answer is on its way: the job stays with its unit.
                job.delivered = True
                status = 0
                return _stream(answer, visit, first)
            reply = JsonReply(await answer.whole())
            status = 200
            return reply
        except RefusedError as refusal:
            status = refusal.status
            raise
        finally:
            if status:
                visit.leave(status)


def _stream(answer: _Completion, visit: JobVisit, first: Any) -> EventReply:
    events = answer.stream(first)
    return EventReply(events, lambda: visit.leave(answer.status))


class _Completion:
    """One answer under way, in the shape of either endpoint."""

    def __init__(self, order: CompletionOrder, job: Job, number: int, tier: str) -> None:
        self._order = order
        self._job = job
        self._text = TextStream(order.stops, order.text.pieces())
        kind = "chat.completion" if order.chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if order.chat else 'cmpl'}-{tier[:8]}-{number}",
            "object": kind,
            "created": int(time.time()),
            "model": order.service.service,
        }
        self.status = 200

    async def whole(self) -> dict[str, Any]:
        """Wait for the last token; return the body."""
        text, finish = "", ""
        while not finish:
            event = await self._job.events.get()
            if isinstance(event, RefusedError):
                raise event
            if isinstance(event, Restarted):
                text, self._text = "", TextStream(self._order.stops, self._order.text.pieces())
            elif isinstance(event, Tokens):
                piece, finish = self._take(event)
                text += piece
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
        if self._order.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        return self._head | {"choices": [choice], "usage": self._usage()}

    async def stream(self, first: Any) -> AsyncIterator[bytes]:
        """Yield each token's chunk, then the usage if wanted, then ``[DONE]``."""
        head = dict(self._head)
        if self._order.chat:
            head["object"] = "chat.completion.chunk"
            yield _chunk(head, {"index": 0, "delta": {"role": "assistant", "content": ""}})
        finish, event = "", first
        while not finish:
            if isinstance(event, RefusedError):
                self.status = event.status
                yield orjson.dumps(openai_error(event))
                return
            if isinstance(event, Tokens):
                piece, finish = self._take(event)
                if piece or finish:
                    yield _chunk(head, self._choice(piece, finish))
            if not finish:
                event = await self._job.events.get()
        if self._order.include_usage:
            yield orjson.dumps(head | {"choices": [], "usage": self._usage()})
        yield b"[DONE]"

    def _take(self, event: Tokens) -> tuple[str, str]:
        """Return the text that may go out with this token, and why the answer ends if it does."""
        piece = "" if event.finish == "stop" else self._text.add(event.token)
        if self._text.stopped:
            return piece, "stop"
        if event.finish:
            piece += self._text.finish()
        return piece, "stop" if self._text.stopped else event.finish

    def _choice(self, piece: str, finish: str) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish or None, "logprobs": None}
        if self._order.chat:
            choice["delta"] = {"content": piece} if piece else {}
        else:
            choice["text"] = piece
        return choice

    def _usage(self) -> dict[str, Any]:
        prompt, made = self._job.prompt_tokens, self._job.output_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": made,
            "total_tokens": prompt + made,
            "prompt_tokens_details": {"cached_tokens": self._job.reused_tokens},
        }


def _chunk(head: dict[str, Any], choice: dict[str, Any]) -> bytes:
    return orjson.dumps(head | {"choices": [choice]})
