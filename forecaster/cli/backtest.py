"""`tidegate backtest`: how predictable is this series?"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.durations import seconds
from forecaster.cli.output import emit, iso, make_table, progress
from forecaster.config import load_settings
from forecaster.domain.errors import DataError, SettingError
from forecaster.domain.service import CalendarSpec
from forecaster.wiring.backtest import Forecast, Scored, Terms, pooled, read_series, run

DEFAULT_LEVELS = (0.5, 0.9, 0.95, 0.99)
YEAR_S = 366 * 86_400.0


@app.command("backtest")
def backtest_command(
    series: Annotated[
        Path,
        typer.Argument(help="CSV (also .gz) with series_id,timestamp,value", show_default=False),
    ],
    horizon: Annotated[
        str, typer.Option(help="how far each origin looks: slots (48) or a duration (24h)")
    ],
    step: Annotated[
        str | None,
        typer.Option(help="slot length; finer series are summed [default: the series' own]"),
    ] = None,
    season: Annotated[
        str | None, typer.Option(help="slots (24) or a duration (24h) of a season [default: a day]")
    ] = None,
    origins: Annotated[
        str,
        typer.Option(help="N: the last N, a horizon apart; 'every 1h': all over the last 40 %"),
    ] = "10",
    level: Annotated[
        list[float] | None, typer.Option(help="quantile levels beside the median")
    ] = None,
    member: Annotated[
        list[str] | None, typer.Option(help="candidates [default: those of the settings]")
    ] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone whose days shape the series")] = "UTC",
    country: Annotated[str, typer.Option(help="ISO code: its public holidays")] = "",
    out: Annotated[
        Path | None, typer.Option(help="forecasts: series_id,origin,timestamp,level,value")
    ] = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """How predictable is this? Rolling origins on any series, with the models and defaults of production.

    Trained at most once a day on what lies before each origin, corrected with every slot between.

    Examples:

    `tidegate backtest rates.csv --horizon 24h --origins "every 1h" --out forecasts.csv`

    `tidegate backtest m4_hourly.csv.gz --horizon 48 --season 24 --origins 1 --format json`
    """
    settings = load_settings(config).retrain
    levels = tuple(sorted({0.5, *(level or DEFAULT_LEVELS)}))
    for each in levels:
        if not 0 < each < 1:
            raise SettingError("--level", each, "a number between 0 and 1")
    step_s = None if step is None else seconds("--step", step, 1, YEAR_S)
    grids = read_series(series, step_s)

    def terms(slot_s: float) -> Terms:
        count, every = _origins(origins, slot_s)
        return Terms(
            horizon=slots_in("--horizon", horizon, slot_s),
            season=0 if season is None else slots_in("--season", season, slot_s),
            origins=count,
            every=every,
            levels=levels,
            members=tuple(member) if member else settings.members,
            history_days=settings.history_days,
            spec=CalendarSpec(timezone, country),
        )

    with progress("backtest", total=1.0) as advance_to, _writer(out, levels) as write:
        scored = list(run(grids, terms, write, advance_to))
    result = {
        "pooled": pooled(scored),
        "series": {each.series_id: _as_dict(each) for each in scored},
    }
    emit(result, form, _table(scored))


def slots_in(key: str, text: str, slot_s: float) -> int:
    """Slots in a whole number or a duration.

    Examples
    --------
    >>> slots_in("--horizon", "48", 3600.0), slots_in("--horizon", "24h", 3600.0)
    (48, 24)
    """
    if re.fullmatch(r"\s*\d+\s*", text):
        slots = int(text)
        if not 1 <= slots <= 100_000:
            raise SettingError(key, text, "1 to 100000 slots")
        return slots
    slots = round(seconds(key, text, 1, YEAR_S) / slot_s)
    if slots < 1:
        raise SettingError(key, text, f"at least one slot of {slot_s:g} s")
    return slots


def _origins(text: str, slot_s: float) -> tuple[int, int]:
    """(how many of the last, slots between them)."""
    match = re.fullmatch(r"\s*every[\s:-]*(\S+)\s*", text)
    if match:
        return 0, slots_in("--origins", match[1], slot_s)
    if re.fullmatch(r"\s*[1-9]\d{0,5}\s*", text):
        return int(text), 0
    raise SettingError("--origins", text, "a number such as 10, or 'every 1h'")


@contextmanager
def _writer(out: Path | None, levels: tuple[float, ...]) -> Iterator[Any]:
    """Yield what takes the forecasts down."""
    if out is None:
        yield lambda forecast: None
        return
    try:
        file = out.open("w", newline="")
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror}", "give another --out"
        ) from error
    with file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("series_id", "origin", "timestamp", "level", "value"))

        def write(forecast: Forecast) -> None:
            origin = iso(forecast.origin_s)
            stamps = [
                iso(forecast.origin_s + h * forecast.slot_s)
                for h in range(forecast.quantiles.shape[0])
            ]
            for n, series_id in enumerate(forecast.ids):
                for stamp, values in zip(stamps, forecast.quantiles[:, :, n].tolist(), strict=True):
                    rows.writerows(
                        (series_id, origin, stamp, f"{q:g}", f"{value:.6g}")
                        for q, value in zip(levels, values, strict=True)
                    )

        yield write


def _as_dict(scored: Scored) -> dict[str, Any]:
    return {**scored.metrics, "pinball": scored.pinball, "coverage": scored.coverage}


def _table(scored: list[Scored]) -> Any:
    whole = pooled(scored)
    upper = [q for q in scored[0].coverage if float(q) > 0.5]
    keys = ("wape", "vs_naive", "mase", "smape", "owa")
    rows = [
        (name, *(f"{of[key]:.3f}" for key in keys), *(f"{of['coverage'][q]:.3f}" for q in upper))
        for name, of in [("all", whole), *((each.series_id, _as_dict(each)) for each in scored)]
    ]  # fmt: skip
    cpu_s = sum(each.metrics["cpu_s"] for each in scored)
    return make_table(
        f"{len(scored)} series, {cpu_s:.1f} CPU s",
        ("series", "WAPE", "/ naive", "MASE", "sMAPE", "OWA", *(f"cov {q}" for q in upper)),
        rows,
    )
