"""The request-rate series that forecasts are measured on, in groups on one grid each.

Every series of `../shared/traces/rates` but M4 (values, not rates: its own protocol), and the
composed request logs at five minutes. Finer series are summed to five minutes; a slot is missing
where any part of it is. Series longer than `LONGEST_DAYS` are cut to their end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"
FINEST_S = 300.0
LONGEST_DAYS = 245
DAY_S = 86_400.0
SUMMED = ("servegen_m_small", "servegen_m_mid_even")
"""Files whose series are the clients of one pool: the pool is a series too."""
COMPOSED = ("composed_servegen_small_2w", "composed_chat_2w")


@dataclass(frozen=True)
class Group:
    """Series of one file on one grid.

    Attributes
    ----------
    Y : float64[T, N]
        Requests per slot (or a mean rate: the scale does not matter); NaN is missing.
    """

    name: str
    ids: tuple[str, ...]
    start_s: float
    slot_s: float
    Y: np.ndarray

    @property
    def first_scored(self) -> int:
        """The last 40 % are scored."""
        return round(self.Y.shape[0] * 0.6)

    @property
    def days(self) -> float:
        return self.Y.shape[0] * self.slot_s / DAY_S


def groups() -> Iterator[Group]:
    for path in sorted((TRACES / "rates").glob("*.csv.gz")):
        name = path.name.removesuffix(".csv.gz")
        if not name.startswith("m4_"):
            yield from of_file(name, path)
    for name in COMPOSED:
        yield from of_log(name, TRACES / "requests" / f"{name}.csv.gz")


def of_file(name: str, path: Path) -> Iterator[Group]:
    """Groups of one file: a group for each span that series share."""
    frame = pd.read_csv(path, usecols=["series_id", "timestamp", "value"])
    frame["at_s"] = epoch_s(frame["timestamp"])
    spans: dict[tuple[float, float, int], dict[str, np.ndarray]] = {}
    for series_id, rows in frame.groupby("series_id", sort=False):
        key, y = regular(rows["at_s"].to_numpy(), rows["value"].to_numpy(float))
        spans.setdefault(key, {})[str(series_id)] = y
    for number, ((start_s, slot_s, _), found) in enumerate(spans.items()):
        ids, Y = tuple(found), np.column_stack(list(found.values()))
        if name in SUMMED:
            ids, Y = (*ids, "sum"), np.column_stack([Y, Y.sum(axis=1)])
        yield Group(name if len(spans) == 1 else f"{name}-{number}", ids, start_s, slot_s, Y)


def regular(at_s: np.ndarray, value: np.ndarray) -> tuple[tuple[float, float, int], np.ndarray]:
    """((start, step, slots), values) on a grid of five minutes or the series' own coarser step."""
    step = float(np.median(np.diff(at_s)))
    index = np.rint((at_s - at_s[0]) / step).astype(int)
    y = np.full(index[-1] + 1, np.nan)
    y[index] = value
    if step < FINEST_S:
        per = round(FINEST_S / step)
        y = y[: y.size // per * per].reshape(-1, per).sum(axis=1)
        step = FINEST_S
    most = round(LONGEST_DAYS * DAY_S / step)
    start_s = float(at_s[0]) + max(y.size - most, 0) * step
    y = y[-most:]
    return (start_s, step, y.size), y


def of_log(name: str, path: Path) -> Iterator[Group]:
    at_s = epoch_s(pd.read_csv(path, usecols=["timestamp"])["timestamp"])
    start_s = float(np.floor(at_s[0] / FINEST_S) * FINEST_S)
    counts = np.bincount(((at_s - start_s) // FINEST_S).astype(int)).astype(float)[:-1]
    yield Group(name, (name,), start_s, FINEST_S, counts[:, None])


def epoch_s(stamps: pd.Series) -> np.ndarray:
    times = pd.to_datetime(stamps, utc=True, format="ISO8601").dt.tz_convert(None)
    return times.to_numpy("datetime64[us]").astype(np.int64) / 1e6


if __name__ == "__main__":
    for each in groups():
        print(f"{each.name}: {len(each.ids)} series, {each.days:.1f} days of {each.slot_s:.0f} s")
