"""What holds for every trace and fleet: nothing lost, the same again, pieces equal the whole."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.capacity.kernel import Finished, Routing, Simulation, UnitEvent, UnitEventKind
from forecaster.domain.demand import RequestBatch
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, Profile

FUSED = GenerativeProfile(0.03, 2e-3, 1e-5, 1e-4, max_batch=4, chunk_tokens=64, kv_tokens=600)
OWN = GenerativeProfile(0.03, 2e-3, 1e-5, 1e-4, delta_s=0.01, max_batch=4, chunk_tokens=64,
                        kv_tokens=600)  # fmt: skip
BATCHED = ClassicProfile(((1, 0.05), (4, 0.1)), batch_delay_s=0.01)
MGK = ClassicProfile(((1, 0.05),))

profiles = st.sampled_from([FUSED, OWN, BATCHED, MGK])
rules = st.sampled_from(list(Routing))
seeds = st.integers(0, 2**32)


def some_trace(seed: int, count: int) -> RequestBatch:
    random = np.random.default_rng(seed)
    at = np.cumsum(random.exponential(0.05, count))
    return RequestBatch("s", at, random.integers(0, 300, count), random.integers(0, 60, count))


def some_events(seed: int, until_s: float) -> list[UnitEvent]:
    """Comings, drains and crashes of anyone, and one unit at the end that finishes the rest."""
    random = np.random.default_rng(seed + 1)
    events = [
        UnitEvent(float(random.random() * until_s), UnitEventKind(int(random.integers(0, 3))))
        for _ in range(12)
    ]
    return [*events, UnitEvent(until_s, UnitEventKind.READY)]


def play(profile: Profile, seed: int, rule: Routing, cuts: list[int], count: int = 120) -> Finished:
    trace = some_trace(seed, count)
    sim = Simulation(profile, 2, rule, events=some_events(seed, trace.arrival_s[-1]), seed=seed)
    parts = []
    bounds = [0, *sorted(cut % count for cut in cuts), count]
    for i in range(len(bounds) - 1):
        piece = slice(bounds[i], bounds[i + 1])
        chunk = RequestBatch("s", trace.arrival_s[piece], trace.prompt_tokens[piece],
                             trace.output_tokens[piece])  # fmt: skip
        parts.append(sim.run(chunk, last=i == len(bounds) - 2))
    columns = ("number", "unit", "status", "arrival_s", "ttft_s", "tpot_s", "latency_s")
    return Finished(*(np.concatenate([getattr(p, name) for p in parts]) for name in columns))


@settings(max_examples=60, deadline=None)
@given(profiles, seeds, rules)
def test_every_request_finishes_exactly_once(profile: Profile, seed: int, rule: Routing) -> None:
    done = play(profile, seed, rule, [])
    assert sorted(done.number.tolist()) == list(range(120))
    assert (done.latency_s >= 0).all()
    answered = done.done
    assert (answered.ttft_s > 0).all()
    assert (answered.ttft_s <= answered.latency_s + 1e-9).all()
    assert (answered.unit >= 0).all()


@settings(max_examples=40, deadline=None)
@given(profiles, seeds, rules, st.lists(st.integers(0, 10**6), max_size=5))
def test_pieces_equal_the_whole_bit_by_bit(
    profile: Profile, seed: int, rule: Routing, cuts: list[int]
) -> None:
    whole, pieces = play(profile, seed, rule, []), play(profile, seed, rule, cuts)
    for name in ("number", "unit", "status", "arrival_s", "ttft_s", "tpot_s", "latency_s"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


def step_by_step(profile: GenerativeProfile, trace: RequestBatch) -> list[tuple[float, float]]:
    """One unit, one step at a time, as plainly as it can be said: (TTFT, latency) of each."""
    at, prompt, output = trace.arrival_s, trace.prompt_tokens, np.maximum(trace.output_tokens, 1)
    queue, left, made = list(range(len(trace))), prompt.tolist(), [0] * len(trace)
    rows: list[int] = []
    reading: list[int] = []
    first, last, now_s = [0.0] * len(trace), [0.0] * len(trace), 0.0
    while queue or rows or reading:
        if not rows and not reading:
            now_s = max(now_s, at[queue[0]])
        budget, reads, joined = profile.chunk_tokens, 0, list[int]()
        while budget > 0:
            if not reading:
                held = sum(int(prompt[i] + output[i]) for i in rows + joined)
                fits = queue and held + prompt[queue[0]] + output[queue[0]] <= profile.kv_tokens
                room = len(rows) + len(joined) < profile.max_batch
                if not (fits and room and at[queue[0]] <= now_s):
                    break
                reading.append(queue.pop(0))
            taken = min(budget, left[reading[0]])
            left[reading[0]] -= taken
            budget, reads = budget - taken, reads + 1
            if not left[reading[0]]:
                joined.append(reading.pop())
        p, ctx = profile.chunk_tokens - budget, sum(prompt[i] + made[i] - 1 for i in rows)
        base = profile.alpha_s if rows or not profile.delta_s else 0.0
        now_s += base + profile.beta_s * len(rows) + profile.kappa_s * ctx
        now_s += profile.delta_s * reads + profile.gamma_s * p + profile.gamma2_s * p * p
        for i in rows + joined:
            made[i] += 1
            first[i], last[i] = (now_s if made[i] == 1 else first[i]), now_s
        rows = [i for i in rows + joined if made[i] < output[i]]
    return [(first[i] - at[i], last[i] - at[i]) for i in range(len(trace))]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([FUSED, OWN]), seeds, st.floats(0.02, 1.0))
def test_runs_of_steps_equal_single_steps(
    profile: GenerativeProfile, seed: int, gap_s: float
) -> None:
    random = np.random.default_rng(seed)
    at = np.cumsum(random.exponential(gap_s, 60))
    trace = RequestBatch("s", at, random.integers(0, 300, 60), random.integers(0, 60, 60))
    done = Simulation(profile, 1, room=60).run(trace, last=True).in_order
    expected = np.array(step_by_step(profile, trace))
    np.testing.assert_allclose(done.ttft_s, expected[:, 0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(done.latency_s, expected[:, 1], rtol=1e-9, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(profiles, seeds, rules)
def test_a_look_at_the_clock_changes_nothing(profile: Profile, seed: int, rule: Routing) -> None:
    trace = some_trace(seed, 60)
    whole = Simulation(profile, 2, rule).run(trace, last=True).in_order
    sim = Simulation(profile, 2, rule)
    parts = []
    for i in range(60):
        one = RequestBatch("s", trace.arrival_s[i : i + 1], trace.prompt_tokens[i : i + 1],
                           trace.output_tokens[i : i + 1])  # fmt: skip
        parts.append(sim.run(one))
        later_s = trace.arrival_s[min(i + 1, 59)]
        parts.append(sim.advance((trace.arrival_s[i] + later_s) / 2))
    parts.append(sim.advance(np.inf))
    number = np.concatenate([p.number for p in parts])
    latency_s = np.concatenate([p.latency_s for p in parts])
    np.testing.assert_array_equal(whole.latency_s, latency_s[np.argsort(number)])


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 6))
def test_more_servers_of_one_queue_never_wait_longer(seed: int, servers: int) -> None:
    """G/G/k with one queue in order of arrival: the wait of *every* request falls with k
    (Kiefer and Wolfowitz: the ordered workloads fall part by part). No such claim for batches."""
    random = np.random.default_rng(seed)
    trace, factor = some_trace(seed, 150), random.exponential(1.0, 150)
    few = Simulation(MGK, servers, room=1).run(trace, factor, last=True).in_order
    more = Simulation(MGK, servers + 1, room=1).run(trace, factor, last=True).in_order
    assert (more.latency_s <= few.latency_s + 1e-9).all()


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(1, 4))
def test_the_tail_of_ttft_falls_when_units_double(seed: int, units: int) -> None:
    """Not for every request (a router may be unlucky), but p99 with a tenth to spare."""
    random = np.random.default_rng(seed)
    at = np.cumsum(random.exponential(0.12 / units, 600))
    trace = RequestBatch("s", at, random.integers(1, 200, 600), random.integers(1, 40, 600))
    few = Simulation(FUSED, units).run(trace, last=True).ttft_s
    more = Simulation(FUSED, 2 * units).run(trace, last=True).ttft_s
    assert np.quantile(more, 0.99) <= 1.1 * np.quantile(few, 0.99)
