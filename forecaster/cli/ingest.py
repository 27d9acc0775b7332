"""`tidegate ingest`: request logs in."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.output import emit, err, fail, iso, make_table, progress
from forecaster.config import Settings, load_settings
from forecaster.config.load import state_home
from forecaster.domain.errors import SettingError, TidegateError
from forecaster.ingest import (
    ColumnMap,
    IngestOptions,
    IngestReport,
    LogFormat,
    TimeUnit,
    ingest_file,
)
from forecaster.wiring.stores import open_store


@app.command("ingest")
def ingest_command(
    files: Annotated[list[str], typer.Argument(help="request logs; - reads standard input")],
    service: Annotated[
        str,
        typer.Option("--service", "-s", help="service of every row [default: the log's column]"),
    ] = "",
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="auto looks at the content")
    ] = LogFormat.AUTO,
    origin: Annotated[
        str, typer.Option(help="ISO time of relative time stamp 0 (BurstGPT, Mooncake)")
    ] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="ROLE=NAME, for example timestamp=when; repeat it")
    ] = None,
    time_unit: Annotated[
        TimeUnit, typer.Option(help="unit of numeric time stamps")
    ] = TimeUnit.AUTO,
    timezone: Annotated[str, typer.Option(help="IANA zone of time stamps without one")] = "UTC",
    follow: Annotated[
        bool,
        typer.Option("--follow", help="go on as they grow, through rotation, until Ctrl-C"),
    ] = False,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Read request logs into demand: JSON lines, CSV, Parquet, access logs; plain, gzip or zstd.

    The same rows are never counted twice: a file read again adds nothing, a grown one adds its
    new lines. Bad lines are counted by reason and kept in a rejects file. With --follow files may be
    quoted patterns, and rotation by renaming, truncating and compressing is seen through.

    A log that tells what became of its requests (ttft_ms, latency_s, status, or --column latency=took:ms) says
    what was kept of the SLO as well.

    Examples: `tidegate ingest requests.csv.gz` · `zcat access.log.gz | tidegate ingest - -s web` ·
    `tidegate ingest --follow '/var/log/pods/*/requests.jsonl' -s chat`
    """
    settings = load_settings(config)
    options = IngestOptions(
        format=log_format,
        service=service,
        columns=columns(settings, time_unit, column or []),
        origin_s=parse_origin(origin),
        timezone=timezone,
        latest_s=time.time() + 86_400,
        rejects_dir=state_home(settings) / "rejects",
    )
    if follow:
        _follow(settings, files, options, form)
        return
    reports: list[IngestReport] = []
    failed: TidegateError | None = None
    with open_store(settings) as store:
        for file in files:
            with progress(f"ingest {file}", total=None) as advance_to:

                def on_bytes(done: int, total: int, to: Any = advance_to) -> None:
                    to(done, "", total)

                try:
                    reports.append(ingest_file(file, store, options, on_bytes))
                except TidegateError as error:
                    # what was read before stays; the other files are still read
                    failed = failed or error
    if reports:
        emit(as_dict(reports), form, _table(files, reports))
    if failed is not None:
        fail(str(failed), 2 if isinstance(failed, SettingError) else 1)


def _follow(settings: Settings, files: list[str], options: IngestOptions, form: Format) -> None:
    """Follow until a signal; what was read is stored, what was not is read the next time."""
    from forecaster.ingest.follow import LOOK_S, Follower, lately
    from forecaster.wiring.signals import StopRequested, StopSignals

    if "-" in files:
        raise SettingError("FILE", "-", "files or patterns with --follow", "pipe without it")
    began_s, said = time.monotonic(), ""
    with StopSignals() as signals, ExitStack() as stack:
        try:
            store = stack.enter_context(open_store(settings))
        except StopRequested:
            return
        signals.started()
        follower = stack.enter_context(closing(Follower(files, store, lambda: lately(options))))
        advance_to = stack.enter_context(progress("follow", total=None))
        while not signals.stop.is_set():
            try:
                follower.look(signals.stop.is_set)
                wrong = "; ".join(follower.failures.values())
            except TidegateError as error:
                wrong = str(error)
            if wrong and wrong != said:
                err.print(wrong)
            said = wrong
            advance_to(0, f"{follower.accepted:,} rows of {follower.files} files")
            signals.stop.wait(LOOK_S)
        result = {
            "accepted": follower.accepted, "rejected": follower.rejected, "files": follower.files,
            "failures": follower.failures, "seconds": time.monotonic() - began_s,
        }  # fmt: skip
    rows = [(", ".join(files), f"{result['accepted']:,}", f"{result['rejected']:,}")]
    emit(result, form, make_table("followed", ("logs", "new rows", "rejected"), rows))


def columns(settings: Settings, time_unit: TimeUnit, given: list[str]) -> ColumnMap:
    """The built-in names, then those of the settings file, then those of the command line.

    Raises
    ------
    SettingError
        For anything but ROLE=NAME with a known role.
    """
    named = {key: value for key, value in settings.ingest.columns().items() if value}
    for pair in given:
        role, equals, name = pair.partition("=")
        if not equals or role not in settings.ingest.columns():
            roles = ", ".join(settings.ingest.columns())
            raise SettingError("--column", pair, f"ROLE=NAME with a role of {roles}")
        named[role] = (name,) if name else ()
    return replace(ColumnMap(time_unit=time_unit), **named)


def parse_origin(text: str) -> float | None:
    """Epoch seconds of an ISO time.

    Raises
    ------
    SettingError
        For anything else.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingError("--origin", text, "an ISO time", "as in 2026-01-05T00:00:00Z") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def as_dict(reports: list[IngestReport]) -> dict[str, Any]:
    """What JSON says: the sum over the files."""
    reasons: Counter[str] = Counter()
    for report in reports:
        reasons.update(report.rejects_by_reason)
    firsts = [report.first_s for report in reports if report.first_s is not None]
    lasts = [report.last_s for report in reports if report.last_s is not None]
    return {
        "rows": sum(report.rows for report in reports),
        "accepted": sum(report.accepted for report in reports),
        "rejected": sum(report.rejected for report in reports),
        "skipped": sum(report.skipped for report in reports),
        "told": sum(report.told for report in reports),
        "rejects_by_reason": dict(reasons),
        "rejects_files": [str(r.rejects_path) for r in reports if r.rejects_path is not None],
        "first": iso(min(firsts)) if firsts else None,
        "last": iso(max(lasts)) if lasts else None,
        "seconds": sum(report.seconds for report in reports),
    }


def _table(files: list[str], reports: list[IngestReport]) -> Any:
    rows = [
        (
            file,
            f"{report.accepted:,}",
            f"{report.skipped:,}",
            f"{report.rejected:,}",
            ", ".join(f"{why} {count}" for why, count in report.rejects_by_reason.items()) or "-",
            iso(report.first_s) or "-",
            iso(report.last_s) or "-",
            f"{report.seconds:.2f}",
        )
        for file, report in zip(files, reports, strict=False)
    ]
    names = ("log", "new rows", "known", "rejected", "reasons", "first", "last", "seconds")
    kept = [str(report.rejects_path) for report in reports if report.rejects_path is not None]
    told = sum(report.told for report in reports)
    title = "ingested" + (f"; {told:,} of them tell how long the answer took" if told else "")
    title += f"; rejected lines are in {', '.join(kept)}" if kept else ""
    return make_table(title, names, rows)
