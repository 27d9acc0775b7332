"""The picture of a shared quota: who holds the GPUs, stacked, under the line that nobody crosses."""

from __future__ import annotations

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


def plot_quota(path: Path, found: QuotaPlay) -> None:
    """Draw the last size that was played into a .png, .svg, .pdf or .html."""
    play = found.plays[-1]
    names = [f"{each.name} (priority {each.priority})" for each in play.parts]
    held = [each.gpus * each.fleet.wanted[::EVERY] for each in play.parts]
    seconds = play.start_s + play.parts[0].fleet.tick_s * EVERY * np.arange(held[0].size)
    stamps = (seconds * 1000).astype("datetime64[ms]")
    title = f"{play.quota_gpus} GPUs shared; apart they would hold {found.apart_gpus}"
    draw = _draw_html if path.suffix.lower() == ".html" else _draw_image
    draw(path, stamps, names, held, play.quota_gpus, title)


def _draw_image(
    path: Path,
    stamps: npt.NDArray[np.datetime64],
    names: list[str],
    held: list[npt.NDArray[np.int64]],
    quota: int,
    title: str,
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 4), layout="constrained")
    axes.stackplot(stamps, *held, labels=names, colors=SHADES, step="post", rasterized=True)
    axes.axhline(quota, color=LINE, linewidth=1.5, label="quota")
    axes.set_ylim(0, quota * 1.15)
    axes.set_ylabel("GPUs ready and warming")
    axes.set_title(title, loc="left")
    axes.legend(loc="upper left", fontsize="small", ncols=len(names) + 1)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_html(
    path: Path,
    stamps: npt.NDArray[np.datetime64],
    names: list[str],
    held: list[npt.NDArray[np.int64]],
    quota: int,
    title: str,
) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, (name, gpus) in enumerate(zip(names, held, strict=True)):
        figure.add_scatter(
            x=stamps, y=gpus, name=name, stackgroup="held", mode="none",
            line={"shape": "hv"}, fillcolor=SHADES[i % len(SHADES)],
        )  # fmt: skip
    figure.add_hline(y=quota, line_color=LINE)
    figure.update_layout(title=title, yaxis={"title": "GPUs ready and warming"})
    figure.update_layout(template="plotly_white")
    figure.write_html(path, include_plotlyjs=True)
