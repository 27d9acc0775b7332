"""Demand from Prometheus: settings become meters, read by a command or by the daemon as it runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from forecaster.config import Settings
from forecaster.config.prometheus import MetricsSettings, PrometheusSettings
from forecaster.config.settings import ServiceSettings
from forecaster.daemon.service import Daemon
from forecaster.domain.errors import SettingError, TidegateError
from forecaster.ingest.meter import Meter
from forecaster.ingest.presets import PRESETS, Counters, Expressions
from forecaster.ingest.prometheus import Address, Prometheus
from forecaster.store import Store

log = logging.getLogger(__name__)
POLL_S = 30.0
"""Between two looks of the daemon, real seconds."""
STOP_S = 35.0
"""A call that is under way may take so long."""


def source_of(settings: PrometheusSettings) -> Prometheus:
    """A client.

    Raises
    ------
    SettingError
        Without an address.
    """
    if not settings.url:
        raise SettingError("prometheus.url", "", "an address", "set it, or name it with --url")
    return Prometheus(
        Address(settings.url, settings.token, settings.token_file, settings.ca, settings.params)
    )


def question_of(service: str, metrics: MetricsSettings) -> Counters | Expressions:
    """What is asked for a service.

    Raises
    ------
    SettingError
        When neither a preset nor PromQL is named.
    """
    if metrics.preset:
        preset = PRESETS[metrics.preset]
        named = f'{preset.label}="{service}"' if preset.label else ""
        return Counters(preset, metrics.match or named)
    if metrics.arrivals:
        return Expressions(metrics.arrivals, metrics.prompt_tokens, metrics.output_tokens)
    raise SettingError(
        "service.metrics", service, "a preset or arrivals", "add [service.metrics], or --preset"
    )


def meter_of(
    settings: PrometheusSettings,
    service: str,
    metrics: MetricsSettings,
    source: Prometheus,
    store: Store,
) -> Meter:
    """The meter of a service."""
    question = question_of(service, metrics)
    return Meter(service, question, source, store.meters, name=settings.url, step_s=settings.step_s)


def metered(settings: Settings) -> tuple[ServiceSettings, ...]:
    """Services whose load is read from Prometheus."""
    return tuple(each for each in settings.service if each.metrics.asked)


def refuse_twice(settings: Settings) -> None:
    """Refuse to count what our own tier logs.

    Raises
    ------
    SettingError
        With the first such service.
    """
    for each in metered(settings):
        raise SettingError(
            "service.metrics", each.name, "not with a tier of ours: it logs its own requests",
            "take [service.metrics] away",
        )  # fmt: skip


@contextmanager
def reading(settings: Settings, store: Store, daemon: Daemon) -> Iterator[None]:
    """Read every metered service while the block runs, as long as this daemon leads."""
    services = metered(settings)
    if not services:
        yield
        return
    source, stop = source_of(settings.prometheus), threading.Event()
    meters = [
        meter_of(settings.prometheus, each.name, each.metrics, source, store) for each in services
    ]
    thread = threading.Thread(
        target=_read_on, args=(settings, meters, daemon, stop), name="meters", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_S)
        source.close()


def _read_on(
    settings: Settings, meters: list[Meter], daemon: Daemon, stop: threading.Event
) -> None:
    while not stop.is_set():
        for meter in meters:
            if daemon.leads and not stop.is_set():
                _read_once(settings, meter, daemon, stop)
        stop.wait(POLL_S)


def _read_once(settings: Settings, meter: Meter, daemon: Daemon, stop: threading.Event) -> None:
    """One look; what goes wrong is said once, and holds nothing but this source."""
    key = f"metrics {meter.service}"
    now_s = time.time()
    try:
        meter.read(now_s - settings.prometheus.backfill_days * 86_400, now_s, stopped=stop.is_set)
    except TidegateError as error:
        if daemon.failures.get(key) != str(error):
            log.warning("%s: %s", key, error)
        daemon.failures[key] = str(error)
    else:
        daemon.failures.pop(key, None)


def busy_of(settings: Settings, source: Prometheus) -> Callable[[str], Mapping[str, float]]:
    """Requests in flight by pod, where a preset knows them: the emptiest pod goes first.

    What Prometheus does not say now is not waited for: the youngest goes instead.
    """
    asked = {each.name: question_of(each.name, each.metrics).busy() for each in metered(settings)}

    def busy(service: str) -> Mapping[str, float]:
        query = asked.get(service, "")
        if not query:
            return {}
        try:
            return source.now(query, "pod")
        except TidegateError as error:
            log.info("%s: who is empty is not known: %s", service, error)
            return {}

    return busy
