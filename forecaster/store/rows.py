"""Rows as values: what the store returns and takes beside the domain's own types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.domain.anomaly import Judgement
from forecaster.domain.answers import Answers
from forecaster.domain.demand import FloatArray, SlotSums
from forecaster.seasonal.folds import Folds


@dataclass(frozen=True, slots=True)
class ServiceSummary:
    """What is stored of one service; times are the first and last arrival, epoch seconds."""

    name: str
    first_s: float
    last_s: float
    requests: int


WEEK_SHAPE = "week_shape"
"""Among a version's scores: the service's week by the hour, for services that are new."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One trained version of a service's forecaster.

    Attributes
    ----------
    champion : str
        Name of the member that won.
    slot_s : float
        Its grid, seconds.
    scores, calibration : mapping
        JSON objects.
    verdict : str
        One sentence: why it is live or not.
    model_id : int
        0 before it is stored.
    log_sample : float
        Share of the requests that the log kept when it was trained.
    """

    service: str
    created_s: float
    champion: str
    slot_s: float
    scores: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""
    live: bool = False
    model_id: int = 0
    log_sample: float = 1.0


@dataclass(frozen=True, slots=True)
class Known:
    """What there is of one service to train it.

    Attributes
    ----------
    slots : SlotSums
        Its demand, see `binned.read_binned`.
    judged : tuple of Judgement
        What operators said of it.
    serving : (str, str, int) or None
        Who serves, who was about to take its place, and how often in a row that had won.
    folds : mapping of str to Folds
        What members said of the days to come, in the unit that its demand is counted in.
    """

    service: str
    slots: SlotSums
    judged: tuple[Judgement, ...]
    serving: tuple[str, str, int] | None
    folds: Mapping[str, Folds]


@dataclass(frozen=True, slots=True)
class Taught:
    """What training one service gave.

    Attributes
    ----------
    asked : str
        Digest of what its forecasts depend on.
    folds : mapping of str to Folds
        What members said anew, in the unit that its demand is counted in.
    anew : bool
        What was kept before is forgotten: it was backtested.
    """

    row: ModelRow
    asked: str
    folds: Mapping[str, Folds]
    anew: bool


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One entry of the append-only decision journal."""

    decision_id: int
    service: str
    at_s: float
    inputs: Mapping[str, Any]
    output: Mapping[str, Any]
    ordered: bool


@dataclass(frozen=True, slots=True)
class Served:
    """Requests of which it is known what became of them, in order of arrival.

    Attributes
    ----------
    arrival_s : float64[n]
        Epoch seconds.
    answers : Answers
        Of our own tier a time is NaN where it has no meaning.
    ours : bool[n]
        Our own tier answered; else a log tells.
    """

    arrival_s: FloatArray
    answers: Answers
    ours: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.arrival_s.size)

    def take(self, rows: npt.NDArray[np.bool_]) -> Served:
        """Those of a mask."""
        return Served(self.arrival_s[rows], self.answers.take(rows), self.ours[rows])


def native(values: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Copy a big-endian column into an array of its own."""
    return np.ascontiguousarray(values.astype(dtype))
