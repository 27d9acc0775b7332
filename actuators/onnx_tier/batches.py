"""Batches in a tier: the API, the folder and the runner, put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from actuators.onnx_tier.asking import ask
from actuators.onnx_tier.batch_api import BatchApi
from actuators.onnx_tier.batch_folder import BatchFolder
from actuators.onnx_tier.batch_runner import BatchRunner
from actuators.onnx_tier.front_door import FrontDoor
from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.replies import refusal_reply
from actuators.onnx_tier.router import Router
from actuators.onnx_tier.terms import PRIORITY_HEADER
from forecaster.domain.ports import Clock

_CLASS = [(PRIORITY_HEADER.encode(), b"batch")]


class Batches:
    """What the tier mounts, starts and stops.

    Parameters
    ----------
    folder : Path
        Where batches are kept.
    door, router, clock
        The tier.
    completions : sequence of BaseRoute
        Where the requests of a batch go.
    """

    def __init__(
        self,
        folder: Path,
        door: FrontDoor,
        router: Router,
        clock: Clock,
        completions: Sequence[BaseRoute],
    ) -> None:
        app = Starlette(routes=completions, exception_handlers={RefusedError: _refused})

        async def answer(path: str, body: bytes) -> tuple[int, bytes]:
            return await ask(app, path, body, _CLASS)

        kept = BatchFolder(folder)
        self.runner = BatchRunner(kept, door.services, router, answer, clock)
        self._api = BatchApi(door, kept, self.runner, clock)

    def routes(self) -> list[BaseRoute]:
        """Return what to mount."""
        return self._api.routes()

    def start(self) -> None:
        """Forget what is long over, go on with what is not."""
        self.runner.forget_old()
        self.runner.start(self._api.read)

    async def stop(self) -> None:
        """Ask no more; what has no answer yet is asked after the next start."""
        await self.runner.stop()


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return refusal_reply("/v1", error)
