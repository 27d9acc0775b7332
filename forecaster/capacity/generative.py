"""Latency of units that generate tokens with continuous batching, in formulas.

`unit_load` has the mean state and stability, `neighbours` what a request finds around it,
`first_token` and `token_gap` the two tails. `benchmarks/formulas.py` compares them with the kernel.
"""

from forecaster.capacity.first_token import ttft_exceeds
from forecaster.capacity.token_gap import tpot_exceeds
from forecaster.capacity.unit_load import (
    Load,
    State,
    chunks_of,
    full_step_s,
    mean_state,
    prefill_use,
    prefill_work_s,
    slot_load,
    stable,
)

__all__ = [
    "Load",
    "State",
    "chunks_of",
    "full_step_s",
    "mean_state",
    "prefill_use",
    "prefill_work_s",
    "slot_load",
    "stable",
    "tpot_exceeds",
    "ttft_exceeds",
]
