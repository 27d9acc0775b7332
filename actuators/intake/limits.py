"""Limits of a unit that follow from what was measured: batch, prompt chunk, cache."""

from __future__ import annotations

from dataclasses import replace

from actuators.intake.checks import CheckedModel
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import ClassicProfile, GenerativeProfile

PAYING_GAIN = 1.05
"""A larger batch is allowed when it answers this many times as many rows a second."""

CHUNK_LEAST = 8
KV_MEMORY_SHARE = 0.25
"""Share of the available memory that one unit's cache may take."""

_KV_TOKENS_LEAST = 64


def paying_batch(profile: ClassicProfile) -> ClassicProfile:
    """Cut the latency curve after the last batch size that pays.

    Examples
    --------
    >>> curve = ((1, 0.010), (2, 0.012), (4, 0.023), (8, 0.080))
    >>> paying_batch(ClassicProfile(curve)).max_batch
    2
    """
    kept = 0
    for number, (size, latency_s) in enumerate(profile.batch_latency_s):
        best_size, best_s = profile.batch_latency_s[kept]
        if size / latency_s >= PAYING_GAIN * best_size / best_s:
            kept = number
    return replace(profile, batch_latency_s=profile.batch_latency_s[: kept + 1])


def chunk_for(profile: GenerativeProfile, tpot_s: float | None) -> int:
    """Return the most prompt tokens of a step that keeps a time per output token.

    Parameters
    ----------
    profile : GenerativeProfile
        Measured step time; its chunk is the most.
    tpot_s : float or None
        Longest step of a half-filled unit, seconds; None leaves the chunk as it is.

    Raises
    ------
    ModelError
        When decoding alone takes longer.

    Examples
    --------
    >>> profile = GenerativeProfile(0.01, 0.001, 0.0, 1e-4, max_batch=20, chunk_tokens=512)
    >>> chunk_for(profile, 0.030)
    96
    """
    if tpot_s is None:
        return profile.chunk_tokens
    rows = max(1, profile.max_batch // 2)
    cached = profile.kv_tokens // 2
    decode_s = profile.alpha_s + profile.beta_s * rows + profile.kappa_s * cached
    for chunk in range(profile.chunk_tokens, CHUNK_LEAST - 1, -CHUNK_LEAST):
        read_s = profile.delta_s + profile.gamma_s * chunk + profile.gamma2_s * chunk**2
        if decode_s + read_s <= tpot_s:
            return chunk
    raise ModelError(
        f"{tpot_s:g} s per output token cannot be kept: a half-filled unit's step takes "
        f"{decode_s:.3g} s before it reads a prompt",
        "allow more time, or set a smaller --max-batch",
    )


def kv_tokens_for(model: CheckedModel, wanted: int, memory_bytes: int) -> int:
    """Return the tokens of a unit's cache: all that are wanted, as far as memory goes.

    Raises
    ------
    ModelError
        When memory holds hardly any.
    """
    room = int(KV_MEMORY_SHARE * memory_bytes / max(1, model.kv_bytes_per_token))
    if room < _KV_TOKENS_LEAST:
        raise ModelError(
            f"a token's keys and values take {model.kv_bytes_per_token} bytes: "
            f"memory holds {room} tokens",
            "use a larger machine",
        )
    return min(wanted, room)
