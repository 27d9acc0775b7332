"""Which settings may change while the daemon runs, and which ones want a restart."""

from __future__ import annotations

from forecaster.config.settings import ServiceSettings, Settings
from forecaster.domain.errors import SettingError

FIXED = (
    "home",
    "dsn",
    "models",
    "api",
    "tier",
    "keda",
    "dynamo",
    "kubernetes",
    "open_inference",
    "ray_serve",
    "prometheus",
    "ingest",
)
"""Decided when the process starts: files, sockets, processes."""


def refuse(before: Settings, after: Settings) -> None:
    """Say what cannot change without a restart.

    Raises
    ------
    SettingError
        With the first such setting; secrets are not said.
    """
    for key in FIXED:
        if getattr(before, key) != getattr(after, key):
            raise SettingError(
                key, "changed", "cannot change while the daemon runs", "restart tidegate"
            )
    units = {each.name: _where(each) for each in before.service}
    for each in after.service:
        if units.get(each.name) != _where(each):
            raise SettingError(
                "service",
                each.name,
                "is new or has another unit type, workload, metrics or tail",
                "restart tidegate",
            )
    gone = units.keys() - {each.name for each in after.service}
    if gone:
        raise SettingError("service", min(gone), "is not configured any more", "restart tidegate")


def _where(service: ServiceSettings) -> tuple[object, ...]:
    """What runs a service's units, and what counts its requests."""
    place = service.unit, service.workload, service.deployment, service.repository
    return *place, service.metrics, service.tail
