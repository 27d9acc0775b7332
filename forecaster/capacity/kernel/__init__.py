"""The discrete-event kernel: every request of a trace through a fleet of units, one by one. Pure.

The unit of simulated time is a *step of a unit*, and a run of steps in which nothing changes is one
event in closed form. What the formulas of `forecaster.capacity` approximate, this counts.
"""

from forecaster.capacity.kernel.disaggregated import simulate_decode, simulate_disaggregated
from forecaster.capacity.kernel.mixed import MixedSimulation
from forecaster.capacity.kernel.pair import PairSimulation, fleet_of
from forecaster.capacity.kernel.run import Finished, Simulation, Spans, simulate
from forecaster.capacity.kernel.schedule import UnitEvent, UnitEventKind, follow, warmed
from forecaster.capacity.kernel.state import Routing

__all__ = [
    "Finished",
    "MixedSimulation",
    "PairSimulation",
    "Routing",
    "Simulation",
    "Spans",
    "UnitEvent",
    "UnitEventKind",
    "fleet_of",
    "follow",
    "simulate",
    "simulate_decode",
    "simulate_disaggregated",
    "warmed",
]
