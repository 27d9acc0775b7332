"""The end of the server: what is under way then is answered, not torn."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecaster.api.problems import problem


class Farewell:
    """Knows the requests under way; once told, answers the rest with 503 and ends streams in order.

    Parameters
    ----------
    app : ASGIApp
        What answers until then.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._under_way: dict[asyncio.Task[None], asyncio.AbstractEventLoop] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self.app(scope, receive, send)
            return
        begun: list[Message] = []

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
            await send(message)

        self._under_way[task] = asyncio.get_running_loop()
        try:
            await self.app(scope, receive, watched)
        except asyncio.CancelledError:
            if begun and "content-length" in Headers(raw=begun[0]["headers"]):
                raise
            if begun:
                await send({"type": "http.response.body", "body": b""})
            else:
                words = "Tidegate stops", "ask again once it is up"
                await problem(503, "Stopping", *words)(scope, receive, send)
        finally:
            self._under_way.pop(task, None)

    def end(self) -> None:
        """Answer at once what is still under way; from any thread."""
        for task, loop in list(self._under_way.items()):
            loop.call_soon_threadsafe(task.cancel)
