"""How far two files of one model agree: errors of tensors, tokens of greedy decoding."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actuators.onnx_tier.engine_generate import GenerateEngine, GenerateRequest
from actuators.onnx_tier.kv_rows import KvRows
from actuators.onnx_tier.passes import has_bfloat16, run_pass
from actuators.onnx_tier.samples import Shapes, sample_inputs
from actuators.onnx_tier.session import open_session, reason_of, signature_of
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import GenerativeProfile

SAMPLES = 4
PROMPTS = 4
PROMPT_TOKENS = 24
DECODED_TOKENS = 24


def error_max(
    original: Path, candidate: Path, shapes: Shapes, rows: int, provider: str = "cpu"
) -> float:
    """Return the largest difference of any output, relative to the largest value of that output.

    Infinite where the candidate has no number and the original has one.

    Parameters
    ----------
    original, candidate : Path
        Two files of one model.
    shapes : mapping
        Shapes that the model accepts.
    rows : int
        Rows of each sample.
    provider : str
        Where both run, as in `open_session`.

    Raises
    ------
    ModelError
        When the original refuses the samples.
    """
    first, second = (open_session(each, provider, 1) for each in (original, candidate))
    brain_floats = has_bfloat16(signature_of(first))
    worst = 0.0
    for seed in range(SAMPLES):
        feed = dict(sample_inputs(signature_of(first), rows, shapes, seed))
        try:
            expected = run_pass(first, feed, brain_floats)
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            raise ModelError(
                f"the model refuses sample inputs: {reason_of(error)}",
                "state what it accepts, as in --shape input=1x512 or --value rate=16000",
            ) from error
        for one, other in zip(expected, run_pass(second, feed, brain_floats), strict=True):
            if one.dtype.kind == "O":
                worst = max(worst, float((one != other).any()))
            elif one.size:
                worst = max(worst, _difference(one.astype(np.float64), other.astype(np.float64)))
    return worst


def _difference(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    numbers = np.isfinite(one)
    if not np.isfinite(other[numbers]).all():
        return math.inf
    one, other = one[numbers], other[numbers]
    largest = max(1e-12, np.abs(one).max(initial=0.0))
    return float(np.abs(one - other).max(initial=0.0) / largest)


def token_agreement(
    original: Path, candidate: Path, limits: GenerativeProfile, provider: str = "cpu"
) -> float:
    """Return the share of greedily decoded tokens that agree, each answer up to its first difference.

    Raises
    ------
    ModelError
        When one cannot decode, or its logits are no numbers.
    """
    made = [_decode(path, limits, provider) for path in (original, candidate)]
    agreed = 0
    for one, other in zip(*made, strict=True):
        pairs = list(zip(one, other, strict=True))
        agreed += next((at for at, (a, b) in enumerate(pairs) if a != b), len(pairs))
    return agreed / sum(map(len, made[0]))


def _decode(path: Path, limits: GenerativeProfile, provider: str) -> list[list[int]]:
    session = open_session(path, provider, 1)
    engine = GenerateEngine(session, limits, prefix_share=0.0)
    random = np.random.default_rng(11)
    prompt = min(PROMPT_TOKENS, engine.row_tokens // 2)
    decoded = min(DECODED_TOKENS, engine.row_tokens - prompt)
    for number in range(PROMPTS):
        tokens = random.integers(0, engine.vocabulary, prompt)
        engine.submit(GenerateRequest(number, tokens, decoded))
    made: list[list[int]] = [[] for _ in range(PROMPTS)]
    try:
        rows = KvRows(session, signature_of(session), 1, prompt)
        if np.isnan(rows.prefill(0, np.arange(prompt), 0)).any():
            raise ModelError("its logits are no numbers", "keep its weights, or take int8")
        while engine.has_work:
            for out in engine.step():
                made[out.request_id].append(out.token)
    except ModelError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no base class but Exception
        raise ModelError(
            f"the model cannot decode: {reason_of(error)}", "export it for this ONNX Runtime"
        ) from error
    return made
