"""`tidegate retrain`: the retraining CLI."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.output import emit, err, make_table, progress
from forecaster.config import load_settings
from forecaster.daemon.training import TrainReport
from forecaster.domain.errors import DataError
from forecaster.wiring.retrain import Engine, Terms, retrain
from forecaster.wiring.stores import open_store


@app.command("retrain")
def retrain_command(
    services: Annotated[
        list[str] | None, typer.Argument(help="services to retrain [default: all]")
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="local processes, or a Ray cluster ($RAY_ADDRESS)")
    ] = Engine.LOCAL,
    jobs: Annotated[
        int,
        typer.Option(min=0, max=4096, help="processes [default: one a core]", show_default=False),
    ] = 0,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="begin anew: go on neither with a run that was killed nor from what was foretold",
        ),
    ] = False,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Backtest every member on a rolling origin, choose, calibrate, store the champion.

    A champion that does not beat seasonal naive is refused: the live one stays. A challenger takes
    the champion's place when its plans cost less on two days in a row, or clearly. A run that was killed
    is gone on with by the same command, and ends with the same models.

    Example: `tidegate retrain llm-chat`
    """
    settings = load_settings(config)
    with open_store(settings) as store:
        names = services or [found.name for found in store.services()]
        if not names:
            raise DataError("the store has no service", "ingest a request log first")
        with progress("retrain", total=len(set(names))) as advance_to:
            terms = Terms(engine, jobs, fresh)
            done = retrain(store, settings, names, terms, time.time(), advance_to)
    if services and done.skipped:
        raise done.skipped[0]
    for error in done.skipped:
        err.print(f"skipped: {error}")
    if done.resumed:
        err.print(f"gone on with a run that had trained {len(done.resumed)} services")
    emit(
        {
            "services": [as_dict(report) for report in done.reports],
            "skipped": [str(error) for error in done.skipped],
            "resumed": done.resumed,
        },
        form,
        _table(done.reports),
    )


def as_dict(report: TrainReport) -> dict[str, Any]:
    """What JSON says of one service."""
    score = report.verdict.score
    return {
        "service": report.service,
        "champion": report.verdict.champion,
        "beats_naive": report.verdict.beats_naive,
        "live": report.live,
        "model_id": report.model_id,
        "wape": score.wape,
        "pinball": score.pinball,
        "cost": score.cost,
        "coverage": {f"{level:g}": share for level, share in score.coverage},
        "naive": {"member": report.verdict.naive.member, "wape": report.verdict.naive.wape},
        "members": {
            each.member: {"wape": each.wape, "pinball": each.pinball, "cost": each.cost}
            for each in report.verdict.scores
        },
        "challenger": report.verdict.challenger or None,
        "reason": report.verdict.reason,
        "seconds": report.seconds,
    }


def _table(reports: list[TrainReport]) -> Any:
    rows = []
    for report in reports:
        score = report.verdict.score
        cover = dict(score.coverage)
        rows.append(
            (
                report.service,
                score.member,
                "yes" if report.verdict.beats_naive else "NO",
                f"{score.wape:.3f}",
                f"{report.verdict.naive.wape:.3f}",
                f"{cover[0.9]:.2f} / {cover[0.99]:.3f}",
                f"{report.seconds:.1f}",
            )
        )
    columns = (
        "service",
        "champion",
        "beats naive",
        "WAPE",
        "naive WAPE",
        "coverage 0.9 / 0.99",
        "CPU s",
    )
    return make_table("champions, scored on the last fifth of the history", columns, rows)
