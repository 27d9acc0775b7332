"""How far two files of one model agree: errors of tensors, tokens of greedy decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from actuators.onnx_tier.engine_generate import GenerateEngine, GenerateRequest
from actuators.onnx_tier.samples import Shapes, sample_inputs
from actuators.onnx_tier.session import open_session, reason_of, signature_of
from forecaster.domain.errors import ModelError
from forecaster.domain.profile import GenerativeProfile

SAMPLES = 4
PROMPTS = 4
PROMPT_TOKENS = 24
DECODED_TOKENS = 24


def error_max(original: Path, candidate: Path, shapes: Shapes, rows: int) -> float:
    """Return the largest difference of any output, relative to the largest value of that output.

    Parameters
    ----------
    original, candidate : Path
        Two files of one model.
    shapes : mapping
        Shapes that the model accepts.
    rows : int
        Rows of each sample.

    Raises
    ------
    ModelError
        When the original refuses the samples.
    """
    first, second = open_session(original, "cpu", 1), open_session(candidate, "cpu", 1)
    worst = 0.0
    for seed in range(SAMPLES):
        feed = dict(sample_inputs(signature_of(first), rows, shapes, seed))
        try:
            expected = first.run(None, feed)
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            raise ModelError(
                f"the model refuses sample inputs: {reason_of(error)}",
                "state the lengths that it accepts, as in --shape input=1x512",
            ) from error
        for one, other in zip(expected, second.run(None, feed), strict=True):
            if one.size and one.dtype.kind in "fiub":
                difference = np.abs(one.astype(np.float64) - other.astype(np.float64)).max()
                worst = max(worst, float(difference / max(1e-12, np.abs(one).max())))
    return worst


def token_agreement(original: Path, candidate: Path, limits: GenerativeProfile) -> float:
    """Return the share of greedily decoded tokens that agree, each answer up to its first difference."""
    made = [_decode(path, limits) for path in (original, candidate)]
    agreed = 0
    for one, other in zip(*made, strict=True):
        pairs = list(zip(one, other, strict=True))
        agreed += next((at for at, (a, b) in enumerate(pairs) if a != b), len(pairs))
    return agreed / sum(map(len, made[0]))


def _decode(path: Path, limits: GenerativeProfile) -> list[list[int]]:
    engine = GenerateEngine(open_session(path, "cpu", 1), limits, prefix_share=0.0)
    random = np.random.default_rng(11)
    prompt = min(PROMPT_TOKENS, engine.row_tokens // 2)
    decoded = min(DECODED_TOKENS, engine.row_tokens - prompt)
    for number in range(PROMPTS):
        tokens = random.integers(0, engine.vocabulary, prompt)
        engine.submit(GenerateRequest(number, tokens, decoded))
    made: list[list[int]] = [[] for _ in range(PROMPTS)]
    try:
        while engine.has_work:
            for out in engine.step():
                made[out.request_id].append(out.token)
    except Exception as error:  # ONNX Runtime's errors share no base class but Exception
        raise ModelError(
            f"the model cannot decode: {reason_of(error)}", "export it for this ONNX Runtime"
        ) from error
    return made
