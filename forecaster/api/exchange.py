"""What HTTP adds to an answer: a tag that spares the body, and orders that are carried out once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecaster.api.access import given_token
from forecaster.api.problems import problem

KEPT = 1000
"""Answers to orders that are remembered, the newest."""
LONGEST_BODY = 1 << 20
LONGEST_KEY = 200


@dataclass(slots=True)
class _Done:
    """An order and what was answered; without an answer while it is under way."""

    body_sha256: str
    messages: list[Message]
    over: bool = False


class Exchange:
    """Adds `ETag` to JSON that is read, and keeps `Idempotency-Key` on orders.

    An order that is sent again with the same key and body gets the first answer again; with another
    body it is refused. Answers are remembered in memory, by caller, method, path and key.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._done: OrderedDict[tuple[str, ...], _Done] = OrderedDict()
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] == "GET":
            await self._tagged(scope, receive, send, headers)
        elif headers.get("idempotency-key"):
            await self._once(scope, receive, send, headers)
        else:
            await self.app(scope, receive, send)

    async def _tagged(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """Hold back JSON until its tag is known; a stream passes as it is."""
        start: Message | None = None
        body = bytearray()

        async def hold(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                if message["status"] == 200 and kind.startswith("application/json"):
                    start = message
                    return
            if start is None:
                await send(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            out = MutableHeaders(raw=start["headers"])
            out["ETag"] = tag
            out["Cache-Control"] = "private, no-cache"
            known = [
                each.strip().removeprefix("W/")
                for each in headers.get("if-none-match", "").split(",")
            ]
            if tag in known or "*" in known:
                del out["content-length"]
                await send({**start, "status": 304})
                await send({"type": "http.response.body", "body": b""})
            else:
                await send(start)
                await send({"type": "http.response.body", "body": bytes(body)})

        await self.app(scope, receive, hold)

    async def _once(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body.extend(message.get("body", b""))
            more = message.get("more_body", False)
            if len(body) > LONGEST_BODY:
                await problem(422, "Setting", "the body is too long", "send at most 1 MiB")(
                    scope, receive, send
                )
                return
        caller = hashlib.sha256(given_token(headers).encode("utf-8", "replace")).hexdigest()
        name = headers["idempotency-key"][:LONGEST_KEY]
        key = (caller, scope["method"], scope["path"], name)
        digest = hashlib.sha256(body).hexdigest()
        async with self._turn:
            known = self._done.get(key)
            if known is None:
                self._done[key] = done = _Done(digest, [])
                while len(self._done) > KEPT:
                    self._done.popitem(last=False)
        if known is not None:
            await self._again(known, digest, scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        async def keep(message: Message) -> None:
            done.messages.append(message)
            await send(message)

        try:
            await self.app(scope, replay, keep)
            done.over = True
        finally:
            if not done.over or done.messages[0]["status"] >= 500:  # it may be tried again
                self._done.pop(key, None)

    async def _again(
        self, known: _Done, digest: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if known.body_sha256 != digest:
            says = "this Idempotency-Key was used for another body"
            await problem(422, "Setting", says, "use a key of its own for each order")(
                scope, receive, send
            )
        elif not known.over:
            says = "this order is under way"
            await problem(409, "Order", says, "ask again in a moment")(scope, receive, send)
        else:
            for message in known.messages:
                await send(message)
