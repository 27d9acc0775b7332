"""A storm sized for CI: two real daemons, a real tier and a real database, struck at seeded moments.

`python -m benchmarks.daemon_storm` is the long version, and the one that measures how long a take-over takes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.daemon_storm import HURRIED_GAP_S, play

FAULTS, SEED = 12, 5


def test_twelve_faults_leave_no_order_lost_or_doubled_and_the_plan_of_calm_weather() -> None:
    with tempfile.TemporaryDirectory(prefix="tidegate-storm-") as folder:
        Path(folder).chmod(0o755)  # the database's account enters it
        found = play(Path(folder), FAULTS, SEED, lambda text: None, HURRIED_GAP_S)
    assert found["wrong"] == []
    assert sum(found["faults"].values()) == FAULTS  # type: ignore[attr-defined]
    assert int(str(found["orders_carried_out"])) > 0
    assert set(found["requests"]) == {"200"}, "the tier serves on"  # type: ignore[call-overload]
