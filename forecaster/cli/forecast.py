"""`tidegate forecast`: quantiles of the coming load, from the stored champion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, ServiceArgument, app
from forecaster.cli.durations import seconds
from forecaster.cli.output import emit, err, iso, make_table
from forecaster.cli.plot import check_plot_path, plot_forecast
from forecaster.config import load_settings
from forecaster.domain.errors import SettingError
from forecaster.domain.forecast import QuantileForecast
from forecaster.wiring.questions import outlook, service_named
from forecaster.wiring.stores import open_store


@app.command("forecast")
def forecast_command(
    service: ServiceArgument,
    horizon: Annotated[str, typer.Option(help="how far ahead: 90m, 24h, 7d")] = "24h",
    quantile: Annotated[
        list[float] | None, typer.Option(help="levels, repeat the option [default: 0.5 0.9 0.99]")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="unit type for the offered load [default: configured]")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="draw history and quantiles in this .png, .svg or .html")
    ] = None,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Forecast a service from the end of its log.

    Example: `tidegate forecast llm-chat --horizon 24h --quantile 0.5 --quantile 0.99 --plot tide.png`
    """
    horizon_s = seconds("--horizon", horizon, 60, 14 * 86400)
    levels = tuple(sorted(set(quantile or (0.5, 0.9, 0.99))))
    for level in levels:
        if not 0 < level < 1:
            raise SettingError("--quantile", level, "0 < quantile < 1", "for example 0.99")
    if plot is not None:
        check_plot_path(plot)
    settings = load_settings(config)
    named = service_named(settings, service)
    if unit is not None:
        named = replace(named, unit=unit)
    with open_store(settings) as store:
        found = outlook(store, settings, named, horizon_s, levels)
    forecast = found.forecast
    if plot is not None:
        plot_forecast(plot, found.series, forecast)
        err.print(f"drawn in {plot}")
    emit(as_dict(forecast), form, _table(forecast))


def as_dict(forecast: QuantileForecast) -> dict[str, Any]:
    """What JSON says."""
    keys = [f"{level:g}" for level in forecast.levels]
    points = [
        {
            "start": iso(forecast.start_s + i * forecast.slot_s),
            "arrival_rate_rps": dict(zip(keys, rate, strict=True)),
            "offered_load_erl": dict(zip(keys, load, strict=True)),
        }
        for i, (rate, load) in enumerate(
            zip(forecast.arrival_rate_rps.tolist(), forecast.offered_load_erl.tolist(), strict=True)
        )
    ]
    return {
        "service": forecast.service,
        "champion": forecast.model,
        "slot_s": forecast.slot_s,
        "points": points,
    }


def _table(forecast: QuantileForecast) -> Any:
    every = max(round(3600 / forecast.slot_s), 1)
    rows = [
        (iso(forecast.start_s + i * forecast.slot_s), *(f"{rate:.3g}" for rate in rates))
        for i, rates in enumerate(forecast.arrival_rate_rps.tolist())
        if i % every == 0
    ]
    columns = ("start (UTC)", *(f"q{level:g}" for level in forecast.levels))
    title = f"{forecast.service}: arrival rate, requests/s, by {forecast.model}"
    return make_table(title, columns, rows)
