"""How long a unit takes to its first answer: ordered from a tier's zygote, and started by itself."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.spec import TierService, TierSpec
from forecaster.domain.errors import ModelError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.profile import UnitType

STARTS = 4
"""The first one waits for the zygote's imports and does not count."""

_POLL_S = 0.002

_ALONE = """
import resource, sys
from pathlib import Path
from actuators.onnx_tier.spec import TierSpec
from actuators.onnx_tier.session import open_session
from actuators.onnx_tier.unit_work import make_work
from actuators.onnx_tier.warm_up import WARM_UP_ID, warm_up_for
service = TierSpec.from_json(open(sys.argv[1], "rb").read()).services[0]
unit = service.unit_type
session = open_session(service.model_path, unit.provider, unit.threads)
work = make_work(session, unit)
refusal = work.accept(*warm_up_for(unit, session))
while work.has_work:
    work.step()
# Linux counts the process that started this one into ru_maxrss, and this one alone into VmHWM.
told = Path("/proc/self/status")
lines = told.read_text().splitlines() if told.exists() else []
own = [1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
print(own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True, slots=True)
class StartTimes:
    """Seconds from the order to the answered warm-up request, and what a unit holds then.

    Attributes
    ----------
    zygote_s : tuple of float
        Each start from a tier that runs, as its journal tells it.
    stages_s : dict of str to float
        Median seconds in each state of those starts.
    spawn_s : float
        A process of its own, imports included.
    memory_bytes : int
        Resident memory of that process at its largest.
    """

    zygote_s: tuple[float, ...]
    stages_s: dict[str, float]
    spawn_s: float
    memory_bytes: int


def measure_starts(unit_type: UnitType, model_path: Path) -> StartTimes:
    """Start real units of `model_path` and end them again.

    Raises
    ------
    ModelError
        When a unit fails; its reason is told.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        home = Path(folder)
        spec = TierSpec(home, (TierService("model", unit_type, model_path.resolve()),))
        with start_tier(spec, home / "log") as tier, tier.actuator() as actuator:
            for number in range(STARTS):
                key = f"start-{number}"
                actuator.prewarm("model", 1, reason="measured", order_key=key)
                while not (fleet := actuator.observe("model")).ready:
                    failed = [each for each in fleet.units if each.state is UnitState.FAILED]
                    if failed:
                        reason = failed[0].reason
                        raise ModelError(f"a unit of this model fails: {reason}", "see the reason")
                    time.sleep(_POLL_S)
                actuator.drain("model", 1, reason="measured", order_key=key)
                while actuator.observe("model").units:
                    time.sleep(_POLL_S)
            events = list(actuator.events_after(0))
            first = events[0].unit_id
            events = [each for each in events if each.unit_id != first]
        spawn_s, memory_bytes = _alone(home / "tier-spec.json")
    starts: dict[str, float] = {}
    stages: dict[str, list[float]] = {}
    for event in events:
        if event.after in {UnitState.LOADING, UnitState.WARMING, UnitState.READY}:
            starts[event.unit_id] = starts.get(event.unit_id, 0.0) + event.seconds
            stages.setdefault(event.before.value, []).append(event.seconds)
    medians = {name: sorted(each)[len(each) // 2] for name, each in stages.items()}
    return StartTimes(tuple(starts.values()), medians, spawn_s, memory_bytes)


def _alone(spec_path: Path) -> tuple[float, int]:
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, str(spec_path)], capture_output=True, text=True, check=False
    )
    spawn_s = time.monotonic() - began_s
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:]
        raise ModelError(f"a unit by itself fails: {''.join(reason)[:300]}", "see the reason")
    return spawn_s, int(done.stdout)
