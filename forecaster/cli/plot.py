"""Pictures of a forecast: PNG or SVG by matplotlib, HTML by plotly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from forecaster.domain.anomaly import Anomaly
from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.errors import SettingError
from forecaster.domain.forecast import QuantileForecast

Stamps = npt.NDArray[np.datetime64]
RED, BAND, SEEN = "#d62839", "#f4a6ad", "#8d99ae"
ODD, KNOWN = "#8a5a00", "#2a6f97"
BANDS = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Levels that a picture shows beside those that were asked for."""
SUFFIXES = (".png", ".svg", ".pdf", ".html")
HISTORY_SHARE = 2.0
"""History drawn for each part of horizon."""


def check_plot_path(path: Path) -> None:
    """Refuse a file type that cannot be drawn, or a folder that is not there.

    Raises
    ------
    SettingError
        Naming the allowed ones.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingError("--plot", str(path), f"one of {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise SettingError("--plot", str(path), "its folder does not exist", "make it first")


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn.

    Attributes
    ----------
    series : DemandSeries
        What was observed.
    forecast : QuantileForecast
        What comes; its levels are bands round the median, outermost together.
    anomalies : sequence of Anomaly
        Stretches that were not learnt.
    events : sequence of (str, float, float)
        Known events: name, start and end, epoch seconds.
    """

    series: DemandSeries
    forecast: QuantileForecast
    anomalies: Sequence[Anomaly] = ()
    events: Sequence[tuple[str, float, float]] = ()

    @property
    def past(self) -> tuple[Stamps, FloatArray]:
        """Times and rates of the history that is drawn."""
        keep = int(HISTORY_SHARE * self.forecast.arrival_rate_rps.shape[0])
        rate = self.series.arrival_rate_rps[-keep:]
        start_s = self.series.end_s - rate.size * self.series.slot_s
        return _stamps(start_s, self.series.slot_s, rate.size), rate

    @property
    def coming(self) -> Stamps:
        """Times of the forecast."""
        slots = self.forecast.arrival_rate_rps.shape[0]
        return _stamps(self.forecast.start_s, self.forecast.slot_s, slots)

    @property
    def median(self) -> int:
        """Column of the level next to the middle."""
        return int(np.argmin(np.abs(np.asarray(self.forecast.levels) - 0.5)))

    def bands(self) -> list[tuple[str, int, int]]:
        """(label, low column, high column), the widest first; a level below the median pairs with one above."""
        levels, middle = self.forecast.levels, self.median
        low, high = 0, len(levels) - 1
        found = []
        while low < middle or high > middle:
            label = f"q{levels[min(low, middle)]:g} to q{levels[max(high, middle)]:g}"
            found.append((label, min(low, middle), max(high, middle)))
            low, high = low + 1, high - 1
        return found

    def spans(self) -> list[tuple[str, str, np.datetime64, np.datetime64]]:
        """(label, colour, start, end) of what is shaded, cut to what is drawn."""
        begin, end = self.past[0][:1], self.coming[-1:]
        rows = [(each.kind.value, ODD, each.start_s, each.end_s) for each in self.anomalies]
        rows += [(name, KNOWN, start_s, end_s) for name, start_s, end_s in self.events]
        found = []
        for label, colour, start_s, end_s in rows:
            from_, until = (np.datetime64(int(t), "s") for t in (start_s, end_s))
            if begin.size and until > begin[0] and from_ < end[0]:
                found.append((label, colour, max(from_, begin[0]), min(until, end[0])))
        return found

    @property
    def title(self) -> str:
        """Whose tide, and by whom."""
        return f"{self.forecast.service}: the tide, by {self.forecast.model}"


def plot_forecast(path: Path, picture: Picture) -> None:
    """Draw the end of the history and the coming quantiles, with anomalies and events."""
    if path.suffix.lower() == ".html":
        _draw_html(path, picture)
    else:
        _draw_image(path, picture)


def _stamps(start_s: float, slot_s: float, count: int) -> Stamps:
    return (start_s + slot_s * np.arange(count)).astype("datetime64[s]")


def _days(moment: np.datetime64) -> float:
    """Days since 1970: how matplotlib counts dates."""
    return float(moment.astype("datetime64[s]").astype(np.int64)) / 86_400.0


def _draw_image(path: Path, picture: Picture) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 4.5), layout="constrained")
    past, rate = picture.past
    quantiles, coming = picture.forecast.arrival_rate_rps, picture.coming
    axes.plot(past, rate, color=SEEN, linewidth=0.8, label="observed")
    for label, low, high in picture.bands():
        axes.fill_between(
            coming, quantiles[:, low], quantiles[:, high], color=BAND, alpha=0.45, lw=0, label=label
        )
    middle = picture.forecast.levels[picture.median]
    axes.plot(coming, quantiles[:, picture.median], color=RED, linewidth=1.8, label=f"q{middle:g}")
    axes.set_ylim(bottom=0)
    for label, colour, start, end in picture.spans():
        axes.axvspan(_days(start), _days(end), color=colour, alpha=0.25, lw=0)
        axes.annotate(
            label, (start, 0.98), xycoords=("data", "axes fraction"), rotation=90,
            va="top", ha="right", fontsize="x-small", color=colour,
        )  # fmt: skip
    axes.set_ylabel("requests/s")
    axes.set_title(picture.title, loc="left")
    axes.legend(loc="upper left", fontsize="small")
    axes.grid(alpha=0.25)
    figure.autofmt_xdate()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_html(path: Path, picture: Picture) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    past, rate = picture.past
    quantiles, coming = picture.forecast.arrival_rate_rps, picture.coming
    figure.add_scatter(x=past, y=rate, name="observed", line={"color": SEEN, "width": 1})
    for label, low, high in picture.bands():
        edge = {"x": coming, "mode": "lines", "line": {"width": 0}, "legendgroup": label}
        figure.add_scatter(**edge, y=quantiles[:, high], showlegend=False)
        figure.add_scatter(
            **edge,
            y=quantiles[:, low],
            name=label,
            fill="tonexty",
            fillcolor="rgba(214,40,57,0.15)",
        )
    middle = picture.forecast.levels[picture.median]
    figure.add_scatter(
        x=coming,
        y=quantiles[:, picture.median],
        name=f"q{middle:g}",
        line={"color": RED, "width": 2},
    )
    for label, colour, start, end in picture.spans():
        figure.add_vrect(
            x0=str(start), x1=str(end), fillcolor=colour, opacity=0.25, line_width=0,
            annotation_text=label, annotation_position="top left",
        )  # fmt: skip
    figure.update_layout(
        title=picture.title,
        yaxis={"title": "requests/s", "rangemode": "tozero"},
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs=True)
