"""Demand from counters: settings become meters, read by a command or by the daemon as it runs."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

from forecaster.config import Settings
from forecaster.config.prometheus import MetricsSettings, PrometheusSettings
from forecaster.config.settings import ServiceSettings
from forecaster.daemon.service import Daemon
from forecaster.domain.demand import SLOT_S
from forecaster.domain.errors import SettingError, TidegateError
from forecaster.domain.pools import of_pool
from forecaster.ingest.latencies import Histograms, Outside, Reporter, Reports
from forecaster.ingest.meter import Meter, Span
from forecaster.ingest.presets import PRESETS, Counters, Expressions
from forecaster.ingest.prometheus import Address, Prometheus
from forecaster.ingest.pushed import PushedMeter, PushedSource
from forecaster.store import Store
from forecaster.wiring.checks import Check, Health
from forecaster.wiring.stores import open_store

log = logging.getLogger(__name__)
DAY_S = 86_400.0
POLL_S = 30.0
"""Between two looks of the daemon, real seconds."""
LATE_S = 600.0
"""Silence of latencies that the self-check speaks of."""
STOP_S = 35.0
"""A call that is under way may take so long."""
FORGET_S = 3600.0
"""Between two looks for samples that are past their day."""
Look = Callable[[float, Callable[[], bool]], object]
"""Told the time, and whether to stop early."""


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
        return counters_of(service, metrics)
    if metrics.arrivals:
        return Expressions(metrics.arrivals, metrics.prompt_tokens, metrics.output_tokens)
    raise SettingError(
        "service.metrics", service, "a preset or arrivals", "add [service.metrics], or --preset"
    )


def counters_of(service: str, metrics: MetricsSettings) -> Counters:
    """The counters of its preset; without matchers those of the model of its name."""
    preset = PRESETS[metrics.preset]
    named = f'{preset.label}="{service}"' if preset.label else ""
    return Counters(preset, metrics.match or named)


def reporter_of(service: str, metrics: MetricsSettings) -> Reporter | None:
    """Who tells how many requests were outside the SLO; None: nobody does."""
    if not metrics.reported:
        return None
    if metrics.outside:
        return Outside(metrics.outside, question_of(service, metrics))
    return Histograms(counters_of(service, metrics))


def examine_latencies(settings: Settings) -> Iterator[Check]:
    """Whether model servers say what was outside the SLO."""
    asked = metered(settings, "query", "push")
    logged = [each for each in settings.service if each.tail or each.metrics.asked_of == "spans"]
    if not asked and not logged:
        return
    with open_store(settings) as store:
        known = {each.name: store.meters.reported_until_s(each.name) for each in (*asked, *logged)}
    for each in logged:
        if known[each.name] is None:
            yield Check(
                "latencies", Health.WARN,
                f"{each.name}: its requests do not tell their times: the error budget is reckoned by the sizing table",
                'name the columns: [ingest] latency = ["duration:ms"]',
            )  # fmt: skip
        else:
            yield Check("latencies", Health.OK, f"{each.name}: its requests tell what was kept")
    for each in asked:
        reporter, name = reporter_of(each.name, each.metrics), each.name
        slo = each.service().slo
        missing = reporter.missing(slo) if reporter else ("outside",)
        if missing:
            parts = " and ".join(missing)
            yield Check(
                "latencies", Health.WARN,
                f"{name}: its metrics do not tell {parts}: the error budget is reckoned by the sizing table",
                "say it in PromQL: metrics.outside",
            )  # fmt: skip
            continue
        until_s = known[name]
        age_s = math.inf if until_s is None else time.time() - until_s
        yield Check(
            "latencies",
            Health.WARN if age_s > LATE_S else Health.OK,
            f"{name}: what was outside the SLO is known until {age_s:.0f} s ago"
            if until_s is not None
            else f"{name}: its latencies are not known yet",
            "its histograms must be in Prometheus, with a bucket that ends near each bound"
            if age_s > LATE_S
            else "",
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


def metered(settings: Settings, *sources: str) -> tuple[ServiceSettings, ...]:
    """Services whose load comes from one of these sources."""
    return tuple(each for each in settings.service if each.metrics.asked_of in sources)


def refuse_twice(settings: Settings) -> None:
    """Refuse to count what our own tier logs.

    Raises
    ------
    SettingError
        With the first such service.
    """
    for each in metered(settings, "query", "push", "spans"):
        raise SettingError(
            "service.metrics", each.name, "not with a tier of ours: it logs its own requests",
            "take [service.metrics] away",
        )  # fmt: skip
    tails = [pattern for each in settings.service for pattern in each.tail]
    for pattern in (*settings.ingest.tail, *tails):
        raise SettingError(
            "tail", pattern, "not with a tier of ours: it logs its own requests", "take it away"
        )


@contextmanager
def reading(settings: Settings, store: Store, daemon: Daemon) -> Iterator[None]:
    """Count every metered service while the block runs, as long as this daemon leads."""
    with ExitStack() as stack:
        looks = _looks(settings, store, daemon, stack)
        if looks:
            stop = threading.Event()
            thread = threading.Thread(
                target=_read_on, args=(looks, store, daemon, stop), name="meters", daemon=True
            )
            thread.start()
            stack.callback(thread.join, STOP_S)
            stack.callback(stop.set)
        yield


def _looks(settings: Settings, store: Store, daemon: Daemon, stack: ExitStack) -> dict[str, Look]:
    """One look at each metered service."""
    looks: dict[str, Look] = {}
    for each in metered(settings, "push"):
        counters = counters_of(each.name, each.metrics)
        judge = judge_pushed(each.name, Histograms(counters), store, daemon)
        looks[each.name] = _count_pushed(
            PushedMeter(each.name, counters, store.pushed, store.meters, judge)
        )
    if asked := metered(settings, "query"):
        source = stack.enter_context(closing(source_of(settings.prometheus)))
        for each in asked:
            meter = meter_of(settings.prometheus, each.name, each.metrics, source, store)
            read = _read_pulled(meter, settings.prometheus.backfill_days)
            reporter = reporter_of(each.name, each.metrics)
            if reporter is not None:
                step_s = settings.prometheus.step_s
                reports = Reports(each.name, reporter, source, store.meters, step_s)
                read = _with_reports(reports, daemon, read)
            looks[each.name] = read
    return looks


def _count_pushed(meter: PushedMeter) -> Look:
    return lambda now_s, stopped: meter.read(now_s)


def judge_pushed(
    service: str, times: Histograms, store: Store, daemon: Daemon
) -> Callable[[Span], None]:
    """What was outside the SLO, of samples that were pushed."""
    source = PushedSource(service, store.pushed)

    def judge(span: Span) -> None:
        slo = daemon.pilots[service].service.slo
        if not times.missing(slo):
            found = times.reported(source, slo, *span, SLOT_S)
            store.meters.report(service, span, found)

    return judge


def _read_pulled(meter: Meter, back_days: float) -> Look:
    def on_read(done_s: float, all_s: float) -> None:
        if all_s > 2 * DAY_S:  # months back, at first
            log.info("%s: %.0f of %.0f days read", meter.service, done_s / DAY_S, all_s / DAY_S)

    return lambda now_s, stopped: meter.read(now_s - back_days * DAY_S, now_s, on_read, stopped)


def _with_reports(reports: Reports, daemon: Daemon, read: Look) -> Look:
    """What came of the requests is read before them: whoever plans on a minute knows how it went.

    What goes wrong with it keeps nobody from counting.
    """
    name = reports.service

    def look(now_s: float, stopped: Callable[[], bool]) -> object:
        with told(daemon, f"latencies {name}"):
            reports.read(daemon.pilots[name].service.slo, now_s, stopped)  # the one in force now
        return read(now_s, stopped)

    return look


def _read_on(
    looks: Mapping[str, Look], store: Store, daemon: Daemon, stop: threading.Event
) -> None:
    forgot_s = -math.inf
    while not stop.is_set():
        for name, look in looks.items():
            if daemon.leads and not stop.is_set():
                with told(daemon, f"metrics {name}"):
                    look(time.time(), stop.is_set)
        if daemon.leads and time.time() - forgot_s > FORGET_S:
            forgot_s = time.time()
            with told(daemon, "metrics"):
                store.pushed.forget(forgot_s)
        stop.wait(POLL_S)


@contextmanager
def told(daemon: Daemon, key: str) -> Iterator[None]:
    """One look; what goes wrong is said once, and holds nothing but this source."""
    try:
        yield
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
    asked = {
        each.name: question_of(each.name, each.metrics).busy()
        for each in metered(settings, "query")
    }

    def busy(service: str) -> Mapping[str, float]:
        query = asked.get(service) or asked.get(of_pool(service)[0], "")
        if not query:
            return {}
        try:
            return source.now(query, "pod")
        except TidegateError as error:
            log.info("%s: who is empty is not known: %s", service, error)
            return {}

    return busy
