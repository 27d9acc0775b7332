"""`tidegate forecast`: quantiles of the coming load, from the stored champion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, ServiceArgument, app
from forecaster.cli.durations import seconds
from forecaster.cli.output import emit, err, iso, make_table
from forecaster.cli.plot import BANDS, Picture, check_plot_path, plot_forecast
from forecaster.config import Settings, load_settings
from forecaster.daemon.labels import labels
from forecaster.domain.anomaly import Anomaly
from forecaster.domain.errors import DataError, SettingError
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.service import Service
from forecaster.seasonal.events import known_events
from forecaster.store import Store
from forecaster.wiring.questions import outlook, profile_of, service_named
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

    The picture shows what was observed, the median in its bands, known events, and what was not learnt.

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
        drawn = levels if plot is None else tuple(sorted({*levels, *BANDS}))
        found = outlook(store, settings, named, horizon_s, drawn)
        odd = () if plot is None else _odd(store, settings, named)
    forecast = _at(found.forecast, levels)
    if plot is not None:
        until_s = forecast.start_s + horizon_s
        events = known_events(named.calendar, found.series.start_s, until_s)
        plot_forecast(plot, Picture(found.series, found.forecast, odd, events))
        err.print(f"drawn in {plot}")
    emit(as_dict(forecast), form, _table(forecast))


def _odd(store: Store, settings: Settings, service: Service) -> list[Anomaly]:
    try:
        profile = profile_of(settings, service)
        return labels(store, service, settings.retrain, profile).anomalies
    except DataError:  # nothing came yet
        return []


def _at(forecast: QuantileForecast, levels: tuple[float, ...]) -> QuantileForecast:
    """The forecast at some of its levels."""
    columns = [forecast.levels.index(level) for level in levels]
    return replace(
        forecast,
        levels=levels,
        arrival_rate_rps=forecast.arrival_rate_rps[:, columns],
        offered_load_erl=forecast.offered_load_erl[:, columns],
    )


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
