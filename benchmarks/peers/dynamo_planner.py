"""The engine of Dynamo's own planner, with its configuration, on a clock that its caller sets. Runs in the peer's environment.

Arguments: the planner's configuration as JSON. Each line in is a moment: ``{"now_s": 5, "prefill": 2, "decode": 3}``
(workers that are ready; without `prefill` there are none). Each line out is what the planner then wants of its
connector: ``{"prefill": 4, "decode": 7}``, or ``null``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from dynamo.planner.config.planner_config import PlannerConfig
from dynamo.planner.core.types import (
    EngineCapabilities,
    TickInput,
    WorkerCapabilities,
    WorkerCounts,
)
from dynamo.planner.plugins.clock import VirtualClock
from dynamo.planner.plugins.orchestrator.engine_adapter import OrchestratorEngineAdapter

ANSWERS = sys.stdout
CAPABILITIES = EngineCapabilities(num_gpu=1, max_num_batched_tokens=2048, max_kv_tokens=16384)


async def main() -> None:
    config = PlannerConfig.model_validate(json.loads(sys.argv[1]))
    both = WorkerCapabilities(prefill=CAPABILITIES, decode=CAPABILITIES)
    engine = OrchestratorEngineAdapter(config, both, clock=VirtualClock())
    await engine.bootstrap_plugins()
    tick = engine.initial_tick(0.0)
    try:
        for line in sys.stdin:
            moment = json.loads(line)
            ready = counts(moment.get("prefill"), moment.get("decode"))
            effects = await engine.tick(tick, TickInput(moment["now_s"], worker_counts=ready))
            tick = effects.next_tick
            wants = effects.scale_to
            said = wants and {"prefill": wants.num_prefill, "decode": wants.num_decode}
            print(json.dumps(said), file=ANSWERS, flush=True)
    finally:
        await engine.shutdown()


def counts(prefill: int | None, decode: int | None) -> Any:
    return WorkerCounts(
        ready_num_prefill=prefill,
        expected_num_prefill=prefill,
        ready_num_decode=decode,
        expected_num_decode=decode,
    )


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what else is said is not an answer
    asyncio.run(main())
