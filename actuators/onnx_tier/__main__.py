"""``python -m actuators.onnx_tier --spec FILE.json``: run a tier in the foreground."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from pathlib import Path

import orjson
import uvloop

from actuators.onnx_tier.addresses import announce_line
from actuators.onnx_tier.spec import TierSpec
from actuators.onnx_tier.tier import run_tier
from forecaster.domain.errors import ModelError, SettingError, TidegateError

YOUNG, MIDDLE = 20_000, 50
"""Objects between collections: a request's die by their counts, and what stays is not looked at again."""


def main() -> int:
    """Run the tier; return its exit status."""
    parser = argparse.ArgumentParser(prog="onnx_tier", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="JSON written by TierSpec.to_json")
    arguments = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        spec = TierSpec.from_json(arguments.spec.read_bytes())
        gc.freeze()
        gc.set_threshold(YOUNG, MIDDLE)
        uvloop.run(run_tier(spec))
    except (TidegateError, OSError) as error:
        logging.getLogger("onnx_tier").error("%s", error)
        announce_line(orjson.dumps(_as_data(error)))
        return 1
    return 0


def _as_data(error: Exception) -> dict[str, object]:
    """Return an error as the launcher reads it."""
    if isinstance(error, SettingError):
        return {
            "error": "setting",
            "key": error.key,
            "value": error.value,
            "allowed": error.allowed,
            "remedy": error.remedy,
        }
    kind = "model" if isinstance(error, ModelError) else "actuator"
    problem = error.problem if isinstance(error, TidegateError) else str(error)
    remedy = error.remedy if isinstance(error, TidegateError) else ""
    return {"error": kind, "problem": problem, "remedy": remedy}


if __name__ == "__main__":
    sys.exit(main())
