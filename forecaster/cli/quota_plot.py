"""The picture of a shared quota: who holds the GPUs, stacked, under the line that nobody crosses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from forecaster.wiring.quota_replay import QuotaPlay

SHADES = ("#1d3557", "#457b9d", "#a8dadc", "#8d99ae", "#f4a261", "#2a9d8f")
LINE = "#d62839"
EVERY = 15
"""Minutes between two points."""


@dataclass(frozen=True, slots=True)
class _Stack:
    """What is drawn: GPUs of each service over time, under the quota."""

    stamps: npt.NDArray[np.datetime64]
    names: list[str]
    held: list[npt.NDArray[np.int64]]
    quota: int
    title: str


def plot_quota(path: Path, found: QuotaPlay) -> None:
    """Draw the last size that was played into a .png, .svg, .pdf or .html."""
    play = found.plays[-1]
    held = [each.gpus * each.fleet.wanted[::EVERY] for each in play.parts]
    seconds = play.start_s + play.parts[0].fleet.tick_s * EVERY * np.arange(held[0].size)
    stack = _Stack(
        (seconds * 1000).astype("datetime64[ms]"),
        [f"{each.name} (priority {each.priority})" for each in play.parts],
        held,
        play.quota_gpus,
        f"{play.quota_gpus} GPUs shared; apart they would hold {found.apart_gpus}",
    )
    draw = _draw_html if path.suffix.lower() == ".html" else _draw_image
    draw(path, stack)


def _draw_image(path: Path, stack: _Stack) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 4), layout="constrained")
    axes.stackplot(
        stack.stamps, *stack.held, labels=stack.names, colors=SHADES, step="post", rasterized=True
    )
    axes.axhline(stack.quota, color=LINE, linewidth=1.5, label="quota")
    axes.set_ylim(0, stack.quota * 1.15)
    axes.set_ylabel("GPUs ready and warming")
    axes.set_title(stack.title, loc="left")
    axes.legend(loc="upper left", fontsize="small", ncols=len(stack.names) + 1)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_html(path: Path, stack: _Stack) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, (name, gpus) in enumerate(zip(stack.names, stack.held, strict=True)):
        figure.add_scatter(
            x=stack.stamps, y=gpus, name=name, stackgroup="held", mode="none",
            line={"shape": "hv"}, fillcolor=SHADES[i % len(SHADES)],
        )  # fmt: skip
    figure.add_hline(y=stack.quota, line_color=LINE)
    figure.update_layout(title=stack.title, yaxis={"title": "GPUs ready and warming"})
    figure.update_layout(template="plotly_white")
    figure.write_html(path, include_plotlyjs=True)
