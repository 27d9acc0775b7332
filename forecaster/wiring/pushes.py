"""Load that is pushed to the API: decoded, matched to services, stored."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from forecaster.api.pushes import Body, Taken
from forecaster.config import Settings
from forecaster.config.settings import ServiceSettings
from forecaster.domain.answers import Answers, time_per_token_s
from forecaster.domain.demand import RequestBatch
from forecaster.domain.samples import Stream
from forecaster.ingest.buckets import thinned
from forecaster.ingest.latencies import Histograms
from forecaster.ingest.otlp import Call, answer, calls, metric_streams
from forecaster.ingest.remote_write import streams
from forecaster.ingest.selectors import Selector, selector
from forecaster.store import Store
from forecaster.store.pushed import KEPT_S
from forecaster.wiring.checks import Check, Health
from forecaster.wiring.meters import counters_of, metered
from forecaster.wiring.stores import open_store

AHEAD_MOST_S = 900.0
"""Clocks may differ so much."""
LATE_S = 600.0
"""Silence of a sender that the self-check speaks of."""
WHY = "are older than a day or ahead of this clock"


class Intake:
    """Takes what senders push for the services that are told by it; the rest is left alone.

    Parameters
    ----------
    now_s : callable
        The time, epoch seconds.
    """

    def __init__(
        self, settings: Settings, store: Store, now_s: Callable[[], float] = time.time
    ) -> None:
        self._store, self._now_s = store, now_s
        self._told: dict[str, list[tuple[str, Selector]]] = defaultdict(list)
        self._bounds: dict[str, dict[str, float]] = {}
        for each in metered(settings, "push"):
            counters, slo = counters_of(each.name, each.metrics), each.service().slo
            times = Histograms(counters)
            self._bounds[each.name] = times.bounds(slo)
            for query in (*counters.selectors(), *times.selectors(slo)):
                asked = selector(query)
                self._told[asked.name].append((each.name, asked))
        self._traced = [(each.name, _spans(each)) for each in metered(settings, "spans")]

    def remote_write(self, body: Body) -> Taken:
        """Samples of Prometheus.

        Raises
        ------
        DataError
            For what is no such request.
        """
        return self._keep(streams(body.data, body.content_type))

    def otlp(self, signal: str, body: Body) -> bytes:
        """OTLP metrics or traces; the response in the language of the body.

        Raises
        ------
        DataError
            For what is no such request.
        """
        if signal == "metrics":
            refused = self._keep(metric_streams(*body)).refused
        else:
            refused = self._count(*calls(*body))
        return answer(signal, refused, f"{refused} {WHY}", body.content_type)

    def _keep(self, found: Sequence[Stream]) -> Taken:
        wanted: dict[str, list[Stream]] = defaultdict(list)
        refused = 0
        now_s = self._now_s()
        for each in found:
            services = {
                name for name, asked in self._told.get(each.name, ()) if asked.takes(each.labels)
            }
            if not services:
                continue
            good = tuple(point for point in each.points if self._near(point.at_s, now_s))
            refused += len(each.points) - len(good)
            for name in services:
                wanted[name].append(Stream(each.name, each.labels, good, each.delta))
        for name in sorted(wanted):
            self._store.pushed.put(name, thinned(wanted[name], self._bounds[name]))
        return Taken(sum(len(each.points) for each in found), refused, WHY)

    def _count(self, found: Sequence[Call], nameless: int) -> int:
        """Store model calls; return how many were refused."""
        now_s, refused = self._now_s(), nameless
        for service, asked in self._traced:
            of_it = [each for each in found if asked.takes(each.labels)]
            good = [each for each in of_it if self._near(each.arrival_s, now_s)]
            refused += len(of_it) - len(good)
            if good:
                self._store.pushed.add_spans(requests_of(service, good), [c.span for c in good])
        return refused

    @staticmethod
    def _near(at_s: float, now_s: float) -> bool:
        return now_s - KEPT_S < at_s < now_s + AHEAD_MOST_S


def requests_of(service: str, calls: Sequence[Call]) -> RequestBatch:
    """Model calls as requests, and what became of them.

    Time per output token follows from the other two times.
    """
    output = np.array([each.output_tokens for each in calls], np.int64)
    ttft_s = np.array([each.ttft_s for each in calls])
    latency_s = np.array([each.latency_s for each in calls])
    answers = Answers(
        ttft_s, time_per_token_s(ttft_s, latency_s, output), latency_s,
        np.array([each.status for each in calls], np.int64),
    )  # fmt: skip
    arrival_s = np.array([each.arrival_s for each in calls])
    prompt = np.array([each.prompt_tokens for each in calls], np.int64)
    return RequestBatch(service, arrival_s, prompt, output, answers)


def examine_pushes(settings: Settings) -> Iterator[Check]:
    """Whether what should be pushed is pushed."""
    asked = metered(settings, "push")
    if not asked:
        return
    with open_store(settings) as store:
        newest = store.pushed.newest()
    for each in asked:
        if each.name not in newest:
            yield Check(
                "push", Health.WARN, f"{each.name}: no sample of its series was pushed yet",
                "let Prometheus write to /api/v1/write, or an exporter to /otlp; check preset and match",
            )  # fmt: skip
            continue
        age_s = max(time.time() - newest[each.name], 0.0)
        late = age_s > LATE_S
        yield Check(
            "push", Health.WARN if late else Health.OK,
            f"{each.name}: the newest sample is {age_s:.0f} s old",
            "look at the sender's own log" if late else "",
        )  # fmt: skip


def _spans(service: ServiceSettings) -> Selector:
    """Which spans are its requests."""
    match = service.metrics.match or f'gen_ai_request_model="{service.name}"'
    return selector(f"{{{match}}}")
