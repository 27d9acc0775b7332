"""How fast units work beside what their profile says: a busy neighbour or a slow machine shows here first."""

from __future__ import annotations

from dataclasses import dataclass, field

from actuators.onnx_tier.wire import Header


@dataclass(slots=True)
class Pace:
    """Seconds of steps by service: as they were and as profiled.

    Attributes
    ----------
    busy_s, profiled_s : dict of str to float
        Sums since the tier started, over all units that ever were.
    """

    busy_s: dict[str, float] = field(default_factory=dict)
    profiled_s: dict[str, float] = field(default_factory=dict)

    def add(self, service: str, beat: Header) -> None:
        """Count what a heartbeat tells."""
        for sums, key in ((self.busy_s, "busy_s"), (self.profiled_s, "profiled_s")):
            sums[service] = sums.get(service, 0.0) + beat.get(key, 0.0)
