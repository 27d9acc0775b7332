"""What work costs on one model unit: the unit profile and the unit type that owns it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.pools import EVEN, ONE_POOL, Pool, Split, in_order


@dataclass(frozen=True, slots=True)
class GenerativeProfile:
    """Step-time model of a unit that generates tokens with continuous batching.

    One step with `b` decoding sequences, `ctx` cached tokens in all and `p` prefill tokens lasts
    ``alpha + beta*b + kappa*ctx + gamma*p + gamma2*p**2`` seconds (design, section 4). An engine that
    reads prompts in passes of their own, beside the decoding pass, adds ``delta`` for each pass.

    Attributes
    ----------
    alpha_s, beta_s, kappa_s, gamma_s, gamma2_s : float
        Seconds a step, a sequence, a cached token, a prefill token, a squared prefill token.
    delta_s : float
        Seconds a prompt pass of its own; 0 where prefill is fused with decoding.
    max_batch : int
        Sequences that one unit decodes at once.
    chunk_tokens : int
        Prefill tokens that one step takes at most.
    kv_tokens : int
        Tokens that the KV cache holds over all sequences.
    """

    alpha_s: float
    beta_s: float
    kappa_s: float
    gamma_s: float
    gamma2_s: float = 0.0
    delta_s: float = 0.0
    max_batch: int = 32
    chunk_tokens: int = 512
    kv_tokens: int = 1 << 20

    def step_s(self, b: int, ctx: int, reads: int, p: int) -> float:
        """Seconds of one step: `reads` prompt passes take its `p` prefill tokens.

        A step that only reads costs an `alpha` of its own where reading is fused with decoding.

        Examples
        --------
        >>> GenerativeProfile(0.1, 0.01, 0.0, 0.001, delta_s=0.5).step_s(b=2, ctx=90, reads=1, p=20)
        0.64
        >>> round(GenerativeProfile(0.1, 0.01, 0.0, 0.001).step_s(b=0, ctx=0, reads=1, p=20), 3)
        0.12
        """
        base_s = self.alpha_s if b or not self.delta_s else 0.0
        return (
            base_s
            + self.beta_s * b
            + self.kappa_s * ctx
            + self.delta_s * reads
            + self.gamma_s * p
            + self.gamma2_s * p * p
        )

    @property
    def longest_s(self) -> float:
        """Seconds of the longest step: every slot decodes, the cache is full, a whole chunk is read.

        Examples
        --------
        >>> GenerativeProfile(0.1, 0.01, 1e-6, 0.001, max_batch=10, chunk_tokens=100, kv_tokens=100_000).longest_s
        0.4
        """
        return self.step_s(self.max_batch, self.kv_tokens, self.max_batch, self.chunk_tokens)

    def work_s(self, prompt: FloatArray, output: FloatArray) -> FloatArray:
        """Seconds of a well-filled unit that requests of these tokens take (design, section 4)."""
        cached_s = self.kappa_s * output * (prompt + output / 2)
        return np.asarray(self.delta_s + self.gamma_s * prompt + self.beta_s * output + cached_s)


@dataclass(frozen=True, slots=True)
class ClassicProfile:
    """Latency of a batched single-pass model.

    Attributes
    ----------
    batch_latency_s : tuple of (int, float)
        Measured (batch size, seconds a pass), rising batch sizes, first size 1.
    service_time_scv : float
        Squared coefficient of variation of one pass's time.
    batch_delay_s : float
        How long the first request of a batch waits for others.
    """

    batch_latency_s: tuple[tuple[int, float], ...]
    service_time_scv: float = 0.05
    batch_delay_s: float = 0.0

    @property
    def max_batch(self) -> int:
        """Largest measured batch."""
        return self.batch_latency_s[-1][0]

    @property
    def longest_s(self) -> float:
        """Seconds of a pass of the largest measured batch."""
        return self.batch_latency_s[-1][1]

    def pass_s(self, batch: float | FloatArray) -> FloatArray:
        """Seconds of one pass at `batch`, linear between the measured sizes.

        Examples
        --------
        >>> float(ClassicProfile(((1, 0.010), (3, 0.020))).pass_s(2))
        0.015
        """
        sizes = [float(size) for size, _ in self.batch_latency_s]
        times = [seconds for _, seconds in self.batch_latency_s]
        return np.asarray(np.interp(batch, sizes, times))


@dataclass(frozen=True, slots=True)
class PdProfile:
    """Two pools of units: prefill units read prompts, decode units generate what follows.

    Attributes
    ----------
    prefill, decode : GenerativeProfile
        Cost of work in each pool.
    handover_s, handover_per_token_s : float
        Time from the first token until the cache has reached the decode unit: for a request, and
        for each prompt token.
    """

    prefill: GenerativeProfile
    decode: GenerativeProfile
    handover_s: float = 0.0
    handover_per_token_s: float = 0.0

    @property
    def decoding(self) -> GenerativeProfile:
        """The decode unit at its work: prompts come already read."""
        return replace(self.decode, gamma_s=0.0, gamma2_s=0.0, delta_s=0.0)

    @property
    def together(self) -> GenerativeProfile:
        """A unit that reads as the one and generates as the other: the work of a request."""
        read = self.prefill
        return replace(
            self.decode, gamma_s=read.gamma_s, gamma2_s=read.gamma2_s, delta_s=read.delta_s
        )


Profile = GenerativeProfile | ClassicProfile
FREE = 1e-6
"""The price of units that cost nothing, over the mean one's: no fewer of them is no gain."""


@dataclass(frozen=True, slots=True)
class UnitType:
    """A kind of model unit: what is bought, warmed, drained and billed (`models/<name>/unit.toml`).

    Attributes
    ----------
    name : str
        Folder under `models/`.
    profile : GenerativeProfile or ClassicProfile
        Measured cost of work; of two pools what both do for a request.
    lead_time_s : float
        Prior for the 90th percentile of order-to-ready; replaced by what is measured.
    drain_deadline_s : float
        Longest time that draining may take; sized to the longest generation.
    price_per_hour : float
        Money for one unit-hour.
    min_billing_s : float
        A unit is billed at least this long.
    billing_step_s : float
        What is billed is rounded up to a multiple of this; 0 bills to the second.
    model_file : str
        ONNX file, relative to the unit's folder; empty for types that exist only on paper.
    compute_share : float
        Share of one core that a CPU unit may use, 0 < share <= 1: units that share a machine keep
        their capacity apart by resting in proportion to the work they did.
    provider : str
        ``auto`` (CUDA when the session truly gets it, else CPU), ``cuda`` (strict) or ``cpu``.
    device_memory_share : float
        Share of a GPU's memory that one unit gets, 0 < share <= 1; 1 gives it a device of its own.
    gpus : int
        Devices of a shared quota that one unit holds from its order to its end.
    cuda_graphs : bool
        Whether decoding steps are captured as CUDA graphs (generative units on a GPU).
    pair : Pair or None
        The two kinds of units that this type stands for; None: one kind.
    mixed : Mixed or None
        The types that this type stands for, each doing the whole work; None: one type. Work is
        told in units of the first one, money at the mean price of all.
    """

    name: str
    profile: Profile
    lead_time_s: float = 60.0
    drain_deadline_s: float = 120.0
    price_per_hour: float = 1.0
    min_billing_s: float = 0.0
    billing_step_s: float = 0.0
    model_file: str = ""
    compute_share: float = 1.0
    provider: str = "auto"
    threads: int = 1
    device_memory_share: float = 1.0
    gpus: int = 1
    cuda_graphs: bool = False
    labels: tuple[tuple[str, str], ...] = field(default=())
    pair: Pair | None = None
    mixed: Mixed | None = None

    @property
    def generative(self) -> bool:
        """Whether the unit generates tokens."""
        return isinstance(self.profile, GenerativeProfile)

    @property
    def by_pool(self) -> dict[Pool, UnitType]:
        """The type of the units in each pool."""
        if self.pair is not None:
            return {Pool.PREFILL: self.pair.prefill, Pool.DECODE: self.pair.decode}
        if self.mixed is not None:
            return {Pool(each.name): each for each in self.mixed.types}
        return {Pool.WHOLE: self}

    @property
    def pooled(self) -> bool:
        """Whether it stands for others."""
        return self.pair is not None or self.mixed is not None

    def start_split(self, max_units: int) -> Split:
        """How its units fall into pools while nothing is known of their work."""
        if self.mixed is not None:
            return in_order(tuple(self.by_pool), self.mixed.most, max_units)
        return ONE_POOL if self.pair is None else EVEN

    def hour_price(self, split: Split, units: int) -> float:
        """Money for an hour of a fleet of so many units."""
        types = self.by_pool
        return sum(count * types[pool].price_per_hour for pool, count in split.of(units).items())

    def step_prices(self, split: Split) -> FloatArray | None:
        """Price of the 1st, 2nd, ... unit over the mean price of all; None where all cost the same."""
        types = self.by_pool
        prices = [types[pool].price_per_hour for pool in split.pools]
        if len(set(prices)) < 2 or not self.price_per_hour > 0:
            return None
        paid = np.array([prices[i] for i in split.path]) / self.price_per_hour
        return np.maximum(paid, FREE)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two kinds of units that serve together: prefill units read, decode units generate.

    Attributes
    ----------
    prefill, decode : UnitType
        Generative types of the units in each pool.
    handover_s, handover_per_token_s : float
        See `PdProfile`.
    """

    prefill: UnitType
    decode: UnitType
    handover_s: float = 0.0
    handover_per_token_s: float = 0.0

    @property
    def profile(self) -> PdProfile:
        """What work costs in each pool."""
        read, generate = self.prefill.profile, self.decode.profile
        assert isinstance(read, GenerativeProfile)
        assert isinstance(generate, GenerativeProfile)
        return PdProfile(read, generate, self.handover_s, self.handover_per_token_s)


@dataclass(frozen=True, slots=True)
class Mixed:
    """Types of units of one service, each of which does the whole work.

    Attributes
    ----------
    types : tuple of UnitType
        Two or more, of one kind.
    most : tuple of int
        Units that there are of each.
    """

    types: tuple[UnitType, ...]
    most: tuple[int, ...]
