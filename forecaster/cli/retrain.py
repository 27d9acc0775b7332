"""`tidegate retrain`: the retraining CLI."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.output import emit, err, make_table, progress
from forecaster.config import load_settings
from forecaster.daemon.training import TrainReport, retrain_service
from forecaster.domain.errors import DataError, TooLittleHistoryError
from forecaster.wiring.questions import profile_of, service_named
from forecaster.wiring.stores import open_store


@app.command("retrain")
def retrain_command(
    services: Annotated[
        list[str] | None, typer.Argument(help="services to retrain [default: all]")
    ] = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Backtest every member on a rolling origin, choose, calibrate, store the champion.

    A champion that does not beat seasonal naive is refused: the live one stays.

    Example: `tidegate retrain llm-chat`
    """
    settings = load_settings(config)
    with open_store(settings) as store:
        names = services or [found.name for found in store.services()]
        if not names:
            raise DataError("the store has no service", "ingest a request log first")
        reports: list[TrainReport] = []
        failed: list[str] = []
        members = len(set(settings.retrain.members) | {"naive-day", "naive-week"})
        with progress("retrain", total=len(names) * members) as advance_to:
            for number, name in enumerate(names):
                done = number * members

                def on_member(member: str, name: str = name) -> None:
                    nonlocal done
                    advance_to(done, f"{name}: {member}")
                    done += 1

                try:
                    service = service_named(settings, name)
                    reports.append(
                        retrain_service(
                            store,
                            service,
                            settings.retrain,
                            time.time(),
                            on_member,
                            profile=profile_of(settings, service),
                        )
                    )
                except TooLittleHistoryError as error:
                    if services:
                        raise
                    failed.append(str(error))
    for line in failed:
        err.print(f"skipped: {line}")
    emit(
        {"services": [as_dict(report) for report in reports], "skipped": failed},
        form,
        _table(reports),
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
        "coverage": {f"{level:g}": share for level, share in score.coverage},
        "naive": {"member": report.verdict.naive.member, "wape": report.verdict.naive.wape},
        "members": {
            each.member: {"wape": each.wape, "pinball": each.pinball}
            for each in report.verdict.scores
        },
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
