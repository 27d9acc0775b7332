"""What a hand-over costs a unit: caches of two lengths written and put into a row, on a real session."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from actuators.onnx_tier.handovers import MEMORY
from actuators.onnx_tier.kv_handover import HeldCache, hand_over
from actuators.onnx_tier.kv_rows import KvRows
from actuators.onnx_tier.session import open_session, signature_of
from forecaster.domain.profile import GenerativeProfile, UnitType

SHARES = (0.05, 0.2, 0.5, 0.9)
"""Lengths that are tried, over the longest that a row holds."""
LONGEST_TOKENS = 4096
TIMES = 15
HOP_S = 3e-4
"""From the one unit through the tier to the other: two sockets and a turn of its loop."""


def measure_handover(unit: UnitType, model: Path) -> tuple[float, float]:
    """Seconds of a hand-over and of each of its tokens, at the unit's share of a core.

    Parameters
    ----------
    unit : UnitType
        Generative; both pools keep such a cache.
    model : Path
        ONNX file.
    """
    profile = unit.profile
    assert isinstance(profile, GenerativeProfile)
    session = open_session(model, unit.provider, unit.threads)
    signature = signature_of(session)
    longest = min(signature.context_tokens, profile.kv_tokens, LONGEST_TOKENS)
    kv = KvRows(session, signature, 2, longest)
    lengths = [max(int(share * longest), 1) for share in SHARES]
    folder = str(MEMORY) if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = str(Path(name) / "cache")
        seconds = [min(_once(kv, path, each) for _ in range(TIMES)) for each in lengths]
    token_s, base_s = np.polyfit(lengths, seconds, 1)
    return (
        max(float(base_s), 0.0) / unit.compute_share + HOP_S,
        max(float(token_s), 0.0) / unit.compute_share,
    )


def _once(kv: KvRows, path: str, tokens: int) -> float:
    began_s = time.perf_counter()
    hand_over(kv, 0, tokens, path)
    HeldCache(path, kv, tokens).put(1)
    return time.perf_counter() - began_s
