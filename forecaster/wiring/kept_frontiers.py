"""The last frontier of each service, on disk: a page shows it again after a restart."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson


class KeptFrontiers:
    """Files under the state folder; every write is complete or absent."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "frontiers"

    def keep(self, service: str, found: dict[str, Any]) -> None:
        """Replace the service's last one; a full disk only means that it is played again."""
        path = self._path(service)
        fresh = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(orjson.dumps({"service": service, "frontier": found}))
            fresh.replace(path)
        except OSError:
            return

    def last(self, service: str) -> dict[str, Any] | None:
        """What was kept; None where there is nothing that can be read."""
        try:
            found = orjson.loads(self._path(service).read_bytes())["frontier"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if isinstance(found, dict) else None

    def _path(self, service: str) -> Path:
        return self._folder / f"{hashlib.sha256(service.encode()).hexdigest()[:16]}.json"
