"""A world at noon behind a real HTTP API, shared by the tests of the API."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forecaster.config.settings import ApiSettings
from forecaster.domain.units import RequestRecord
from forecaster.store import EmbeddedServer
from forecaster.wiring.running import serve_api
from tests.integration.daemon_world import CHAT, World, learned_database, world


@contextmanager
def noon_world(postgres: EmbeddedServer, home: Path) -> Iterator[World]:
    """A world at noon with a plan, units and some requests of every kind."""
    with learned_database(postgres, "api") as store:
        found = world(store, home, at_h=11.5)
        found.overload = False
        for _ in found.steps(5):
            pass
        found.clock.now -= 60.0  # the next tick is not yet
        for status, ttft_s in ((429, math.nan), (503, math.nan), (404, math.nan), (200, 7.0)):
            found.tier.push_request(
                RequestRecord("", 0, CHAT, found.clock.now, 9, 5, ttft_s, 0.01, 7.1, "u", status)
            )
        found.daemon.tick()
        yield found


def serve(found: World, token: str = "") -> Any:
    settings = found.settings.model_copy(update={"api": ApiSettings(port=0, token=token)})
    return serve_api(settings, found.board)
