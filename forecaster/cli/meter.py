"""`tidegate meter`: demand from Prometheus."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.durations import seconds
from forecaster.cli.output import emit, iso, make_table, progress
from forecaster.config import Settings, load_settings
from forecaster.config.prometheus import MetricsSettings, PrometheusSettings
from forecaster.domain.errors import SettingError
from forecaster.ingest.meter import MeterReport, refuse_silence
from forecaster.wiring.meters import meter_of, metered, source_of
from forecaster.wiring.stores import open_store

DAY_S = 86_400.0
S = TypeVar("S", MetricsSettings, PrometheusSettings)


@app.command("meter")
def meter_command(
    services: Annotated[
        list[str] | None,
        typer.Argument(help="default: every service with [service.metrics]"),
    ] = None,
    url: Annotated[str, typer.Option(help="Prometheus [default: prometheus.url]")] = "",
    preset: Annotated[
        str, typer.Option(help="vllm, tgi, triton, kserve, gen_ai, gen_ai_client")
    ] = "",
    match: Annotated[
        str, typer.Option(help='label matchers, as in \'model_name="llama", namespace="ml"\'')
    ] = "",
    arrivals: Annotated[
        str, typer.Option(help="PromQL instead of a preset: requests of the last $step")
    ] = "",
    prompt_tokens: Annotated[str, typer.Option(help="PromQL: their prompt tokens")] = "",
    output_tokens: Annotated[str, typer.Option(help="PromQL: their output tokens")] = "",
    since: Annotated[str, typer.Option("--from", help="how far back, as in 30d")] = "30d",
    step: Annotated[
        str, typer.Option(help="between two moments that are asked for [default: 60s]")
    ] = "",
    token_file: Annotated[Path | None, typer.Option(help="holds the bearer token")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM of the server's authority")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE sent with every query; repeat it")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="take back what was counted before, then read")
    ] = False,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Read demand from Prometheus: months back at first, then what is new.

    For services whose request log cannot be had. Killed, it goes on where it was; the same minutes are
    never counted twice, late samples are added. The daemon does the same by itself for services with
    `[service.metrics]`. The bearer token is also read from TIDEGATE_PROMETHEUS__TOKEN.

    Example: `tidegate meter chat --url http://prometheus:9090 --preset vllm --from 30d`
    """
    settings = load_settings(config)
    back_s = seconds("--from", since, 600.0)
    asked = _asked(settings, services or [], {
        "preset": preset, "match": match, "arrivals": arrivals,
        "prompt_tokens": prompt_tokens, "output_tokens": output_tokens,
    })  # fmt: skip
    address = _over(settings.prometheus, {
        "url": url, "token_file": token_file, "ca": ca, "params": tuple(param or ()),
        "step_s": int(seconds("--step", step, 60.0)) if step else None,
    })  # fmt: skip
    reports: list[MeterReport] = []
    with open_store(settings) as store, closing(source_of(address)) as source:
        for name, metrics in asked.items():
            meter = meter_of(address, name, metrics, source, store)
            if again:
                store.meters.forget(name)
            with progress(f"meter {name}", total=None) as advance_to:

                def on_read(done_s: float, all_s: float, to: Any = advance_to) -> None:
                    days = f"{done_s / DAY_S:.0f} of {all_s / DAY_S:.0f} days"
                    to(int(done_s), days if all_s > DAY_S else "", int(all_s))

                now_s = time.time()
                reports.append(meter.read(now_s - back_s, now_s, on_read))
            refuse_silence(reports[-1])
    emit({"services": [_as_dict(each) for each in reports]}, form, _table(reports))


def _asked(
    settings: Settings, services: list[str], given: dict[str, str]
) -> dict[str, MetricsSettings]:
    """What is asked of each service: the command line, else the settings."""
    known = {each.name: each.metrics for each in settings.service}
    said = {key: value for key, value in given.items() if value}
    if not services:
        if said:
            raise SettingError("SERVICE", "", "a service for these options", "name one")
        found = {each.name: each.metrics for each in metered(settings, "query")}
        if not found:
            raise SettingError(
                "service.metrics", "", "no service is metered", "name one, with --preset"
            )
        return found
    own = "preset" in said or "arrivals" in said
    return {
        name: _over(MetricsSettings() if own else known.get(name, MetricsSettings()), said)
        for name in services
    }


def _over(settings: S, given: dict[str, Any]) -> S:
    """Settings with what was given in their place, checked again."""
    said = {key: value for key, value in given.items() if value}
    try:
        return type(settings).model_validate(settings.model_dump() | said)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "options"
        raise SettingError(f"--{key}".replace("_", "-"), first["input"], first["msg"]) from error


def _as_dict(report: MeterReport) -> dict[str, Any]:
    return {
        "service": report.service,
        "arrivals": report.arrivals,
        "slots": report.slots,
        "windows": report.windows,
        "known_hours": report.known_s / 3600,
        "first": iso(report.first_s),
        "last": iso(report.last_s),
        "seconds": report.seconds,
    }


def _table(reports: list[MeterReport]) -> Any:
    rows = [
        (
            each.service, f"{each.arrivals:,}", f"{each.slots:,}", f"{each.known_s / 3600:.1f} h",
            iso(each.first_s) or "-", iso(each.last_s) or "-", f"{each.seconds:.1f}",
        )
        for each in reports
    ]  # fmt: skip
    names = ("service", "new requests", "minutes", "known", "first", "last", "seconds")
    return make_table("metered", names, rows)
