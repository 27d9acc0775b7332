"""One run of Dynamo's own CPU replay, with its planner, ours in it, or a fixed fleet. Runs in the peer's environment.

Argument: a file with what to run as JSON: ``trace`` (mooncake JSONL), ``workers`` at the start, ``startup_s``,
``ttft_ms`` and ``itl_ms`` of the SLO, ``engine`` (arguments of a worker), ``planner`` (its configuration, or null:
the fleet is fixed), ``ask_s`` (how often the plugin is asked, or null: there is none) and ``requests`` (whether
single requests are told).

Where a plugin is asked, each line out is what its planner passes on at a moment of simulated time, as
``{"now_s": 60, "duration_s": 60, "requests": 700, "prompt": 1130, "output": 207, "ready": 12}``, and each line in the answer,
``{"units": 13, "reason": "..."}``; units null: no opinion. The last line out is the result.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from dynamo.planner.plugins.types import (
    AcceptResult,
    ComponentTarget,
    OverrideResult,
    ProposeStageResponse,
)
from dynamo.replay.api import run_trace_replay

ANSWERS = sys.stdout
BLOCK = 512
KEPT = (
    "num_requests", "completed_requests", "goodput_completed_requests", "gpu_hours", "duration_ms",
    "decode_gpus_per_worker", "mean_ttft_ms", "p99_ttft_ms", "p95_tpot_ms", "p99_tpot_ms",
)  # fmt: skip


class Asked:
    """A PROPOSE plugin of the planner's process that passes each question on."""

    async def Propose(self, request: Any) -> Any:  # noqa: N802  the protocol has it so
        context = request.context
        traffic, workers = context.observations.traffic, context.observations.workers
        seen = {
            "now_s": float(context.request_id.removeprefix("tick-")),
            "duration_s": traffic.duration_s if traffic else 0.0,
            "requests": traffic.num_req if traffic else 0.0,
            "prompt": traffic.isl if traffic else 0.0,
            "output": traffic.osl if traffic else 0.0,
            "ready": workers.ready_decode if workers else None,
        }
        print(json.dumps(seen), file=ANSWERS, flush=True)
        said = json.loads(sys.stdin.readline())
        if said["units"] is None:
            return ProposeStageResponse(accept=AcceptResult())
        target = ComponentTarget(sub_component_type="decode", replicas=said["units"])
        return ProposeStageResponse(
            override=OverrideResult(targets=[target], reason=said["reason"])
        )


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text())
    planner = asked["planner"]
    if planner is not None and asked["ask_s"] is not None:
        planner["plugin_registration"] = {
            "in_process_plugins": [plugged(asked["ask_s"])],
            "transport": {"request_timeout_seconds": 3600.0},
        }
    options = {"planner_config": planner} if planner is not None else {}
    began, cpu = time.perf_counter(), time.process_time()
    report = run_trace_replay(
        asked["trace"],
        extra_engine_args=asked["engine"] | {"startup_time": asked["startup_s"]},
        num_workers=asked["workers"],
        trace_block_size=BLOCK,
        sla_ttft_ms=asked["ttft_ms"],
        sla_itl_ms=asked["itl_ms"],
        capture_per_request=asked["requests"],
        **options,
    )
    result = {key: report.summary.get(key) for key in KEPT}
    result |= {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    if report.planner is not None:
        result["events"] = [(each["at_s"], each["to_count"]) for each in events(report.planner)]
    if asked["requests"]:
        came = sorted(report.per_request, key=lambda each: each["arrival_time_ms"])  # stable
        result["requests"] = [[each["ttft_ms"], each["itl_ms"]] for each in came]
    print(json.dumps({"result": result}), file=ANSWERS, flush=True)


def plugged(ask_s: float) -> dict[str, Any]:
    """The entry of the plugin as docs/dynamo.md has it, but in the planner's process and not asked at every tick.

    Between two questions its last word holds: else the planner's own would, whose turn comes more often.
    """
    return {
        "module": "__main__", "class": "Asked", "plugin_id": "tidegate", "plugin_type": "propose",
        "priority": 5, "execution_interval_seconds": ask_s, "observation_window_seconds": ask_s,
        "needs": ["observations.traffic", "observations.workers"], "hold_policy": "HOLD_LAST",
    }  # fmt: skip


def events(details: Any) -> list[dict[str, Any]]:
    """Changes of the target count, in order of time."""
    found = details.scaling_events
    return [each if isinstance(each, dict) else vars(each) for each in found]


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what else is said is not an answer
    main()
