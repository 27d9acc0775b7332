"""`python -m benchmarks.genai`: decoding of SmolLM2-135M beside onnxruntime-genai, in one run.

The model comes from a package of PyPI and is taken in as `tidegate deploy` does; onnxruntime-genai is
installed in an environment of its own and loads the deployed folder. Each has a process of its own, one thread and
the whole machine in turns, a short answer each; the ratio is of processor time, so that what else the machine does
is paid for by neither.

python -m benchmarks.genai [rounds]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from actuators.intake.intake import Wishes, take_in
from actuators.onnx_tier.session import open_session, signature_of
from actuators.onnx_tier.tokenizer_files import GENAI_CONFIG, text_of
from benchmarks.peers.real_models import one
from benchmarks.peers.servers import HERE, python_of

BATCHES = (1, 4, 8)
AIMS = {1: 0.9, 4: 1.0, 8: 1.0}
"""Times genai's tokens/s that are aimed at (issue 5)."""

TOKENS = 24
WEIGHTS = {"float32": 0, "int8": 8, "int4": 4}
PROMPT = (
    "The tide is the rise and fall of the sea, caused by the pull of the moon and the sun on the water, and"
    " twice a day the harbour fills and empties again. The old pilot knew every bank and every current, and"
    " on a clear night he told the boy"
)


class Decoded(NamedTuple):
    """Mean step of one answer, seconds of the wall and of the processor, and the tokens of one row."""

    wall_s: float
    busy_s: float
    tokens: list[int]


class Decoder:
    """An engine in a process of its own, that has loaded the model.

    Parameters
    ----------
    process : Popen
        Answers a line ``batch tokens`` with a line of JSON.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def decode(self, batch: int) -> Decoded:
        """Decode with a full batch."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{batch} {TOKENS}\n")
        self._process.stdin.flush()
        found = json.loads(self._process.stdout.readline())
        return Decoded(*found["step_s"], found["tokens"])


@contextmanager
def started(command: Sequence[str | Path]) -> Iterator[Decoder]:
    """Start an engine, and wait until it has loaded the model."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the engine does not load the folder: see above")
        yield Decoder(process)
        process.stdin.close()


def ours(model: Path, prompt: list[int]) -> list[str | Path]:
    """Return the command of our engine."""
    return [sys.executable, "-m", "benchmarks.own_decode", model, json.dumps(prompt)]


def genai(model: Path, prompt: list[int], work: Path) -> list[str | Path]:
    """Return the command of onnxruntime-genai on a deployed folder, told to use one thread."""
    folder = work / f"{model.parent.name}-genai"
    folder.mkdir()
    for each in model.parent.iterdir():
        if each.name != GENAI_CONFIG:
            (folder / each.name).symlink_to(each)
    config = json.loads((model.parent / GENAI_CONFIG).read_text())
    threads = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
    config["model"]["decoder"]["session_options"] = threads
    (folder / GENAI_CONFIG).write_text(json.dumps(config))
    return [python_of("genai"), HERE / "genai_decode.py", folder, json.dumps(prompt)]


def measure(rounds: int) -> str:
    """The section of docs/benchmarks.md."""
    lines = [
        "## Decoding beside onnxruntime-genai",
        "",
        f"SmolLM2-135M from GGUF, a prompt of {{prompt}} tokens and {TOKENS} decoded in each row, one thread each;"
        f" medians of {rounds} rounds in turns. The same deployed file in both;"
        " steps, tokens and the ratio are of processor time."
        " `python -m benchmarks.genai`",
        "",
        "| weights | batch | Tidegate: CPU ms a step | tokens/s | genai: CPU ms a step | tokens/s | Tidegate is x"
        " | by the clock | aim | same tokens |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    prompt: list[int] = []
    with tempfile.TemporaryDirectory(prefix="tidegate-genai-") as folder:
        work = Path(folder)
        for name, bits in WEIGHTS.items():
            wishes = Wishes(max_batch=8, budget_s=0.5, weight_bits=bits, provider="cpu")
            found = take_in(one("smollm2", "*.gguf"), name, work / "models", wishes, _say)
            model = found.folder / "model.onnx"
            signature = signature_of(open_session(model, "cpu", 1))
            prompt = text_of(found.folder, signature).encode(PROMPT).tolist()
            with started(ours(model, prompt)) as own, started(genai(model, prompt, work)) as other:
                lines += _rows(name, own, other, rounds)
            shutil.rmtree(found.folder)
    return "\n".join(lines).replace("{prompt}", str(len(prompt))) + "\n"


def _rows(name: str, own: Decoder, other: Decoder, rounds: int) -> list[str]:
    lines = []
    for batch in BATCHES:
        for each in (own, other):
            each.decode(batch)
        pairs = [(own.decode(batch), other.decode(batch)) for _ in range(rounds)]
        one_s, other_s = np.median([(a.busy_s, b.busy_s) for a, b in pairs], axis=0)
        ratio = np.median([b.busy_s / a.busy_s for a, b in pairs])
        clock = np.median([b.wall_s / a.wall_s for a, b in pairs])
        first, second = (each.tokens for each in pairs[0])
        same = next(
            (at for at, (a, b) in enumerate(zip(first, second, strict=True)) if a != b), TOKENS
        )
        lines.append(
            f"| {name} | {batch} | {1e3 * one_s:.1f} | {batch / one_s:,.0f} | {1e3 * other_s:.1f} |"
            f" {batch / other_s:,.0f} | {ratio:.2f} | {clock:.2f} | {AIMS[batch]:g} | {same} of {TOKENS} |"
        )
    return lines


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
