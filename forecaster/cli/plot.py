"""Pictures of a forecast: PNG or SVG by matplotlib, HTML by plotly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.errors import SettingError
from forecaster.domain.forecast import QuantileForecast

Stamps = npt.NDArray[np.datetime64]
RED, BAND = "#d62839", "#f4a6ad"
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


def plot_forecast(path: Path, series: DemandSeries, forecast: QuantileForecast) -> None:
    """Draw the end of the history and the coming quantiles."""
    keep = int(HISTORY_SHARE * forecast.arrival_rate_rps.shape[0])
    rate = series.arrival_rate_rps[-keep:]
    past = _stamps(series.end_s - rate.size * series.slot_s, series.slot_s, rate.size)
    coming = _stamps(forecast.start_s, forecast.slot_s, forecast.arrival_rate_rps.shape[0])
    if path.suffix.lower() == ".html":
        _draw_html(path, past, rate, coming, forecast)
    else:
        _draw_image(path, past, rate, coming, forecast)


def _stamps(start_s: float, slot_s: float, count: int) -> Stamps:
    return (start_s + slot_s * np.arange(count)).astype("datetime64[s]")


def _draw_image(
    path: Path,
    past: Stamps,
    rate: FloatArray,
    coming: Stamps,
    forecast: QuantileForecast,
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 4.5), layout="constrained")
    axes.plot(past, rate, color="#8d99ae", linewidth=0.8, label="observed")
    quantiles = forecast.arrival_rate_rps
    if len(forecast.levels) > 1:
        label = f"q{forecast.levels[0]:g} to q{forecast.levels[-1]:g}"
        axes.fill_between(
            coming, quantiles[:, 0], quantiles[:, -1], color=BAND, alpha=0.6, label=label
        )
    for index, level in enumerate(forecast.levels):
        width = 1.8 if index == 0 else 0.8
        axes.plot(coming, quantiles[:, index], color=RED, linewidth=width, label=f"q{level:g}")
    axes.set_ylabel("requests/s")
    axes.set_ylim(bottom=0)
    axes.set_title(f"{forecast.service}: the tide, by {forecast.model}", loc="left")
    axes.legend(loc="upper left", fontsize="small")
    axes.grid(alpha=0.25)
    figure.autofmt_xdate()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_html(
    path: Path,
    past: Stamps,
    rate: FloatArray,
    coming: Stamps,
    forecast: QuantileForecast,
) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(x=past, y=rate, name="observed", line={"color": "#8d99ae", "width": 1})
    for index, level in enumerate(forecast.levels):
        figure.add_scatter(
            x=coming,
            y=forecast.arrival_rate_rps[:, index],
            name=f"q{level:g}",
            line={"color": RED, "width": 2 if index == 0 else 1},
            fill="tonexty" if index else None,
            fillcolor="rgba(214,40,57,0.15)",
        )
    figure.update_layout(
        title=f"{forecast.service}: the tide, by {forecast.model}",
        yaxis={"title": "requests/s", "rangemode": "tozero"},
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs=True)
