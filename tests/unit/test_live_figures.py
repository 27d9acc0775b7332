"""Live figures: who counts, who is inside, whose fault."""

from __future__ import annotations

import math

import pytest

from forecaster.daemon.live import WINDOW, LiveFigures, Outcome, outcome_of
from forecaster.domain.service import Slo
from forecaster.domain.units import RequestRecord

NAN = math.nan
SLO = Slo(ttft_p99_s=1.0, tpot_p99_s=0.1)


def record(
    status: int = 200, ttft_s: float = 0.2, tpot_s: float = 0.02, latency_s: float = 0.5
) -> RequestRecord:
    return RequestRecord("t", 1, "chat", 0.0, 10, 5, ttft_s, tpot_s, latency_s, "u", status)


@pytest.mark.parametrize(
    ("ttft_s", "tpot_s", "inside"),
    [
        (0.2, 0.02, True),
        (1.0, 0.1, True),  # on the bound is inside
        (1.01, 0.02, False),
        (0.2, 0.11, False),
        (0.2, NAN, True),  # one token has no time between tokens
        (1.01, NAN, False),
        (NAN, NAN, True),
    ],
)
def test_every_part_that_applies_must_hold(ttft_s: float, tpot_s: float, inside: bool) -> None:
    kept = outcome_of(record(ttft_s=ttft_s, tpot_s=tpot_s), SLO) is Outcome.INSIDE
    assert kept is inside


def test_latency_bounds_the_whole_answer() -> None:
    just = record(ttft_s=NAN, tpot_s=NAN, latency_s=0.25)
    assert outcome_of(just, Slo(latency_p99_s=0.25)) is Outcome.INSIDE
    assert outcome_of(record(latency_s=0.26), Slo(latency_p99_s=0.25)) is Outcome.OUTSIDE


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_refusal_is_a_request_outside_the_slo(status: int) -> None:
    figures = LiveFigures(SLO)
    figures.add([record(), record(status)])
    seen = figures.figures()
    assert (seen.requests, seen.inside, seen.refused) == (2, 1, 1)
    assert seen.attainment == 0.5
    assert seen.ttft_p99_s == 0.2  # the time that a refusal took is no answer's time


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 499])
def test_what_the_client_did_says_nothing_of_the_service(status: int) -> None:
    figures = LiveFigures(SLO)
    figures.add([record(status, ttft_s=9.0)])
    seen = figures.figures()
    assert (seen.requests, seen.inside, seen.refused) == (0, 0, 0)
    assert math.isnan(seen.attainment)
    assert math.isnan(seen.ttft_p99_s)


def test_percentiles_are_of_the_last_requests_counts_of_all() -> None:
    figures = LiveFigures(SLO)
    figures.add([record(ttft_s=5.0)] * 100)
    figures.add([record(ttft_s=0.1 + 0.1 * (i % 2)) for i in range(WINDOW)])
    seen = figures.figures()
    assert (seen.requests, seen.inside) == (WINDOW + 100, WINDOW)
    assert seen.ttft_p99_s == pytest.approx(0.2)
    assert seen.ttft_p50_s == pytest.approx(0.15, abs=0.051)
    assert math.isfinite(seen.tpot_p99_s)
