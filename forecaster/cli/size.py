"""`tidegate size`: the unit calculator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from forecaster.capacity.answer import answered
from forecaster.capacity.sizing import Question, Sizing, size
from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.durations import LatencyBound, TpotBound, TtftBound
from forecaster.cli.output import emit, make_table
from forecaster.cli.size_mix import prices, size_mix, wishes
from forecaster.config import load_settings, load_unit_type
from forecaster.config.load import state_home
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.domain.service import Slo
from forecaster.wiring.tables import tables_in


@app.command("size")
def size_command(
    rate: Annotated[float, typer.Option(help="arrival rate, requests/s")],
    unit: Annotated[
        list[str],
        typer.Option(
            help="unit type: a folder under `models`; several, NAME or NAME:MOST, for the cheapest mix"
        ),
    ],
    prompt_tokens: Annotated[float, typer.Option(help="mean prompt tokens")] = 0.0,
    output_tokens: Annotated[float, typer.Option(help="mean generated tokens")] = 0.0,
    token_scv: Annotated[
        float, typer.Option(help="squared coefficient of variation of the token lengths")
    ] = 1.0,
    dispersion: Annotated[
        float, typer.Option(help="index of dispersion of arrivals, 1 = Poisson")
    ] = 1.0,
    ttft_p99: TtftBound = None,
    tpot_p99: TpotBound = None,
    latency_p99: LatencyBound = None,
    attainment: Annotated[float, typer.Option(help="share of requests inside the SLO")] = 0.99,
    formula: Annotated[
        bool, typer.Option("--formula", help="closed formulas only, nothing simulated")
    ] = False,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """How many units does a load need to keep an SLO, and what binds?

    Answers from a table of simulated fleets, built once for each question and kept.

    Example: `tidegate size --rate 20 --prompt-tokens 1000 --output-tokens 200
    --unit llama70b-h100x8 --ttft-p99 2 --tpot-p99 0.08`

    Several types: `--unit large:4 --unit small` finds the cheapest units of both, the load split over
    them by what they carry.
    """
    _check(rate, prompt_tokens, output_tokens, token_scv, dispersion, attainment)
    for key, bound in (
        ("ttft-p99", ttft_p99),
        ("tpot-p99", tpot_p99),
        ("latency-p99", latency_p99),
    ):
        if bound is not None and not 0 < bound < float("inf"):
            raise SettingError(f"--{key}", bound, "a finite number of seconds above 0")
    settings = load_settings(config)
    wanted = wishes(unit)
    if formula and len(wanted) > 1:
        raise SettingError("--formula", len(wanted), "one unit type", "leave out --formula")
    unit_type = load_unit_type(settings.models, wanted[0].name)
    if unit_type.generative and (prompt_tokens <= 0 or output_tokens <= 0):
        key, value = (
            ("--prompt-tokens", prompt_tokens)
            if prompt_tokens <= 0
            else ("--output-tokens", output_tokens)
        )
        raise SettingError(
            key,
            value,
            f"above 0 for the generative unit {unit_type.name!r}",
            "give the mean of your log",
        )
    question = Question(
        unit_type,
        Slo(ttft_p99, tpot_p99, latency_p99, attainment),
        TokenMix.of(prompt_tokens, output_tokens, token_scv),
        dispersion,
    )
    if len(wanted) > 1:
        size_mix(question, wanted, rate, settings.models, tables_in(state_home(settings)), form)
        return
    try:
        if formula:
            answer = size(question, rate)
        else:
            answer = answered(tables_in(state_home(settings)).for_rate(question, rate), rate)
    except SloInfeasibleError as error:
        if form is Format.JSON:
            emit(_infeasible(error), form)
            raise typer.Exit(1) from error
        raise
    paid = prices(question, answer, rate, tables_in(state_home(settings)))
    emit({**asdict_named(answer), "feasible": True, **paid}, form, _table(answer, paid))


def asdict_named(answer: Sizing) -> dict[str, object]:
    """The answer with named percentiles."""
    values = asdict(answer)
    for key in ("ttft_s", "tpot_s", "latency_s"):
        values[key] = dict(zip(("p50", "p99"), values[key], strict=True))
    values["binding"] = answer.binding.value
    return values


def _infeasible(error: SloInfeasibleError) -> dict[str, object]:
    return {
        "feasible": False,
        "units": None,
        "binding": error.part,
        "target_s": error.target_s,
        "feasible_from_s": error.best_s,
        "reason": str(error),
    }


def _check(
    rate: float, prompt: float, output: float, scv: float, dispersion: float, attainment: float
) -> None:
    for key, value in (
        ("rate", rate),
        ("prompt-tokens", prompt),
        ("output-tokens", output),
        ("token-scv", scv),
    ):
        if not 0 <= value < float("inf"):
            raise SettingError(f"--{key}", value, "a finite number of 0 or more")
    if not 0 < dispersion < float("inf"):
        raise SettingError("--dispersion", dispersion, "a finite number above 0")
    if not 0.5 <= attainment < 1:
        raise SettingError("--attainment", attainment, "0.5 <= attainment < 1")


def _table(answer: Sizing, paid: Mapping[str, Any]) -> Table:
    rows: list[tuple[str, object]] = [
        ("units", answer.units),
        *answer.pools.items(),
        ("utilisation", f"{answer.utilisation:.0%}"),
        ("predicted attainment", f"{answer.attainment:.3%}"),
        ("binding", answer.binding.value),
    ]
    if paid:
        mix = ", ".join(f"{count} {name}" for name, count in paid["cheapest"]["units"].items())
        rows += [
            ("an hour", f"{paid['price_per_hour']:.2f}"),
            ("cheapest mix", f"{paid['cheapest']['price_per_hour']:.2f} ({mix})"),
        ]
    for name, pair in (
        ("TTFT", answer.ttft_s),
        ("TPOT", answer.tpot_s),
        ("latency", answer.latency_s),
    ):
        if pair[1] == pair[1]:
            rows.append((f"{name} p50 / p99", f"{1000 * pair[0]:.1f} / {1000 * pair[1]:.1f} ms"))
    return make_table(answer.reason, ("", ""), rows)
