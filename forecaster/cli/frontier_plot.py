"""The picture of a frontier: attainment against saving, one line per target, elasticity marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forecaster.replay.frontier import Frontier, Point

SHADES = ("#8d99ae", "#457b9d", "#d62839", "#780000", "#2b2d42")
NINES = (0.5, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999)
CLOSE = 1e-5
"""Attainment is drawn up to this close to 1: the axis is logarithmic in what is outside."""

Line = tuple[str, str, list[float], list[float], list[str]]


def plot_frontier(path: Path, found: Frontier) -> None:
    """Draw into a .png, .svg, .pdf or .html."""
    if path.suffix.lower() == ".html":
        _draw_html(path, found)
    else:
        _draw_image(path, found)


def _lines(found: Frontier) -> list[Line]:
    """Label, colour, saving in percent, share outside and elasticities of each target."""
    by_target: dict[float, list[Point]] = {}
    for point in found.points:
        by_target.setdefault(point.target, []).append(point)
    return [
        (
            f"target {target:g}",
            SHADES[i % len(SHADES)],
            [100 * found.saved_share(each) for each in points],
            [max(1 - each.attainment, CLOSE) for each in points],
            [f"{each.elasticity:g}" for each in points],
        )
        for i, (target, points) in enumerate(by_target.items())
    ]


def _title(found: Frontier) -> str:
    return f"{found.scene.trace.log.service}: what a setting costs (elasticity at the points)"


def _draw_image(path: Path, found: Frontier) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for label, colour, saved, outside, marks in _lines(found):
        axes.plot(saved, outside, color=colour, marker="o", markersize=4, label=label)
        for x, y, mark in zip(saved, outside, marks, strict=True):
            axes.annotate(
                mark, (x, y), (3, 4), textcoords="offset points", fontsize=7, color=colour
            )
    axes.set_yscale("log")
    axes.set_yticks([1 - each for each in NINES], [f"{100 * each:g} %" for each in NINES])
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.set_xlabel("unit-hours saved against the held peak, %")
    axes.set_ylabel("requests inside the SLO")
    axes.set_title(_title(found), loc="left")
    axes.legend(loc="lower left", fontsize="small")
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_html(path: Path, found: Frontier) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    for label, colour, saved, outside, marks in _lines(found):
        figure.add_scatter(
            x=saved, y=outside, name=label, text=marks, mode="lines+markers+text",
            textposition="top right", line={"color": colour},
            customdata=[100 * (1 - each) for each in outside],
            hovertemplate="elasticity %{text}: %{x:.1f} % saved, %{customdata:.3f} % inside",
        )  # fmt: skip
    figure.update_layout(
        title=_title(found),
        xaxis={"title": "unit-hours saved against the held peak, %"},
        yaxis={
            "title": "requests inside the SLO",
            "type": "log",
            "autorange": "reversed",
            "tickvals": [1 - each for each in NINES],
            "ticktext": [f"{100 * each:g} %" for each in NINES],
        },
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs=True)
