"""The kernel against the textbook: M/M/1, M/M/c, M/G/1, Little's law, conservation.

Tolerances: mean waits within 4 % and tail probabilities within 8 % of their value, from 400,000
requests with fixed seeds after a warm-up of 2,000.
"""

import math

import numpy as np
import pytest

from forecaster.capacity.kernel import Finished, Simulation, simulate
from forecaster.capacity.kernel.arrivals import arrivals, chat, lognormal_tokens
from forecaster.capacity.queues import erlang_c
from forecaster.domain.demand import RequestBatch
from forecaster.domain.profile import ClassicProfile, GenerativeProfile

COUNT, WARM_UP = 400_000, 2_000
ONE = ClassicProfile(((1, 1.0),))
LLAMA = GenerativeProfile(0.0298, 2.08e-4, 1.7e-7, 9.1e-5, max_batch=128, chunk_tokens=1024,
                          kv_tokens=400_000)  # fmt: skip


def queue(servers: int, load: float, factor: np.ndarray, seed: int) -> Finished:
    at = arrivals(np.random.default_rng(seed), load, factor.size)
    none = np.zeros(factor.size, np.int64)
    sim = Simulation(ONE, servers, room=1)
    return sim.run(RequestBatch("q", at, none, none), factor, last=True).in_order


@pytest.mark.parametrize(("servers", "rho"), [(1, 0.5), (1, 0.8), (4, 0.8), (16, 0.9)])
def test_mmc_waits_as_erlang_says(servers: int, rho: float) -> None:
    factor = np.random.default_rng(servers).exponential(1.0, COUNT)
    done = queue(servers, servers * rho, factor, seed=7)
    wait = (done.latency_s - factor)[WARM_UP:]
    waits = erlang_c(servers, servers * rho)
    spare = servers * (1 - rho)
    assert wait.mean() == pytest.approx(waits / spare, rel=0.04)
    for t in (0.0, 1.0 / spare, 3.0 / spare):
        exceeds = waits * math.exp(-spare * t)
        assert (wait > t + 1e-9).mean() == pytest.approx(exceeds, rel=0.08)


@pytest.mark.parametrize("scv", [0.0, 0.5, 3.0])
def test_mg1_waits_as_pollaczek_and_khinchine_say(scv: float) -> None:
    rho, random = 0.7, np.random.default_rng(11)
    shape = 1 / scv if scv else 1.0
    factor = random.gamma(shape, 1 / shape, COUNT) if scv else np.ones(COUNT)
    done = queue(1, rho, factor, seed=5)
    mean = (done.latency_s - factor)[WARM_UP:].mean()
    assert mean == pytest.approx(rho * (1 + factor.var()) / (2 * (1 - rho)), rel=0.04)


@pytest.mark.parametrize(
    ("servers", "scv", "within"), [(4, 0.25, 0.08), (4, 2.0, 0.08), (16, 0.25, 0.12)]
)
def test_mgk_waits_about_as_allen_and_cunneen_say(servers: int, scv: float, within: float) -> None:
    """Mean wait; an approximation for k > 1, low for regular service at many servers."""
    rho, random = 0.85, np.random.default_rng(servers)
    factor = random.gamma(1 / scv, scv, COUNT)
    done = queue(servers, servers * rho, factor, seed=9)
    wait = (done.latency_s - factor)[WARM_UP:]
    mean = erlang_c(servers, servers * rho) / (servers * (1 - rho)) * (1 + factor.var()) / 2
    assert wait.mean() == pytest.approx(mean, rel=within)


def test_batches_form_and_a_hold_ends_when_the_batch_is_full() -> None:
    profile = ClassicProfile(((1, 1.0), (3, 2.0)), batch_delay_s=0.5)
    at, none = np.array([0.0, 0.6, 0.7, 0.8, 9.0]), np.zeros(5, np.int64)
    done = Simulation(profile, 1).run(RequestBatch("c", at, none, none), last=True).in_order
    # held to 0.5, answered at 1.5; the three that wait are full: 3.5; the last held to 9.5
    assert done.latency_s + at == pytest.approx([1.5, 3.5, 3.5, 3.5, 10.5])


def test_littles_law_of_the_decoding_batch() -> None:
    """Requests in the system = rate x latency, by their times alone, within 1 %."""
    trace = chat(np.random.default_rng(3), 40.0, 60_000, (1000, 200, 1.0))
    done = simulate(LLAMA, trace, units=16)
    end = done.arrival_s[-1]
    left = done.arrival_s + done.latency_s
    grid = np.linspace(0.1 * end, 0.95 * end, 20_000)
    inside = np.searchsorted(done.arrival_s, grid) - np.searchsorted(np.sort(left), grid)
    assert inside.mean() == pytest.approx(40.0 * done.latency_s.mean(), rel=0.01)


@pytest.mark.parametrize("dispersion", [1.0, 3.0])
def test_arrivals_have_the_rate_and_dispersion_that_was_asked_for(dispersion: float) -> None:
    at = arrivals(np.random.default_rng(1), 20.0, 400_000, dispersion)
    counts = np.bincount((at // 10.0).astype(int))[:-1]
    assert counts.mean() == pytest.approx(200, rel=0.01)
    assert counts.var() / counts.mean() == pytest.approx(dispersion, rel=0.1)
    assert (np.diff(at) >= 0).all()


def test_token_lengths_have_the_moments_that_were_asked_for() -> None:
    tokens = lognormal_tokens(np.random.default_rng(1), 200.0, 0.5, 400_000)
    assert tokens.mean() == pytest.approx(200, rel=0.01)
    assert tokens.var() / tokens.mean() ** 2 == pytest.approx(0.5, rel=0.03)
