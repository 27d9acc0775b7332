"""What was unlike the usual tide: labelled stretches of demand, and what an operator says of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AnomalyKind(StrEnum):
    """Why a stretch does not teach the season."""

    GAP = "gap"
    """The source was silent or said so: missing, never zero."""
    OUTAGE = "outage"
    """Demand fell at once to next to nothing, and came back."""
    RETRY_STORM = "retry-storm"
    """A surge right after a gap or an outage, or while many were refused: the same requests again."""
    THROTTLED = "throttled"
    """A lid on demand: nearly constant where more is usual. What was wanted is not known."""
    LOAD_TEST = "load-test"
    """A surge that begins and ends at once and is level between."""
    FLASH_CROWD = "flash-crowd"
    """Any other surge that came once and went."""
    BY_HAND = "by-hand"
    """An operator said that it is not to be learnt."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One labelled stretch of one service.

    Attributes
    ----------
    start_s, end_s : float
        From the start of its first slot to the end of its last, epoch seconds.
    size : float
        Demand over the usual demand meanwhile; 0 where nothing was measured.
    why : str
        What it was recognised by.
    taught : bool
        Whether the season learns it all the same.
    """

    kind: AnomalyKind
    start_s: float
    end_s: float
    size: float
    why: str
    taught: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an operator said of a stretch; the newest one counts.

    Attributes
    ----------
    start_s, end_s : float
        Epoch seconds.
    keep : bool
        True: it is usual, learn it; False: it is not.
    """

    start_s: float
    end_s: float
    keep: bool
    why: str = ""
