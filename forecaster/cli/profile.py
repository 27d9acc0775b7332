"""`tidegate profile`: what does the engine that runs already do?"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.durations import seconds
from forecaster.cli.output import emit, make_table, progress
from forecaster.config import load_settings

DAY_S = 86_400.0


@app.command("profile")
def profile_command(
    url: Annotated[str, typer.Argument(help="OpenAI API of one idle replica: http://host:8000")],
    name: Annotated[str, typer.Option(help="name of the unit type that is written")],
    model: Annotated[
        str, typer.Option(help="name it serves the model under [default: the only one]")
    ] = "",
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="bearer token")] = "",
    most: Annotated[
        int, typer.Option(min=1, max=1024, help="streams at once, at most (vLLM: --max-num-seqs)")
    ] = 64,
    longest: Annotated[int, typer.Option(min=8, max=131_072, help="prompt tokens, at most")] = 1024,
    chunk_tokens: Annotated[
        int,
        typer.Option(
            min=8,
            max=131_072,
            help="prompt tokens that a step reads at most (vLLM: --max-num-batched-tokens)",
        ),
    ] = 2048,
    kv_tokens: Annotated[
        int, typer.Option(min=0, help="tokens that its cache holds [default: as its /metrics say]")
    ] = 0,
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="times that each cell is measured")
    ] = 3,
    check: Annotated[
        str, typer.Option(help="time for Poisson arrivals that the profile must foretell; 0s: none")
    ] = "30s",
    gpus: Annotated[int, typer.Option(min=1, max=1024, help="GPUs of one unit")] = 1,
    lead: Annotated[
        str, typer.Option(help="from order to readiness, until it is measured")
    ] = "180s",
    price: Annotated[float, typer.Option(min=0, help="money for one unit-hour")] = 1.0,
    replace: Annotated[bool, typer.Option("--replace", help="replace a unit of this name")] = False,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Measure an engine that runs already (vLLM, SGLang, TGI, Dynamo, ...), write its unit type.

    From outside: streams of several lengths, alone and at once; when their tokens come tells what a step costs.
    Nobody else may use the replica meanwhile. The profile is then held to Poisson arrivals at half the load.

    Example: `tidegate profile http://vllm:8000 --name llama-h100 --most 256 --gpus 8 --price 98`
    """
    from actuators.probe.measure import Grid
    from forecaster.wiring.probe import Target, probe

    lead_s = seconds("--lead", lead, 0.0, DAY_S)
    check_s = seconds("--check", check, 0.0, DAY_S)
    settings = load_settings(config)
    grid = Grid(most, longest, chunk_tokens, kv_tokens, rounds)
    target = Target(name, url, model, api_key, gpus, lead_s, price)
    with progress(f"profiling {url}", total=None) as advance:
        found = probe(
            target, grid, check_s, settings.models, replace=replace, say=lambda text: advance(0, text)
        )  # fmt: skip
    emit(found, form, _table(found))


def _table(found: dict[str, Any]) -> Table:
    profile, check = found["profile"], found["check"]
    batch = "the engine's own limit" if found["batch_found"] else "the most that was tried (--most)"
    cache = f"{profile['kv_tokens']:,}" if found["kv_known"] else "not known: give --kv-tokens"
    rows = [
        ("decoding step", f"{1000 * profile['alpha_s']:.2f} ms + {1e6 * profile['beta_s']:.0f} us a stream"
                          f" + {1e9 * profile['kappa_s']:.1f} ns a cached token"),
        ("reading", _reading(profile)),
        ("beside it", f"{1000 * found['overhead_s']:.1f} ms a request: leave room for it in the TTFT bound"),
        ("batch", f"{profile['max_batch']}: {batch}"),
        ("KV cache, tokens", cache),
        ("fit", f"{found['fit_error']:.1%} off at the median of {found['cells']} cells"),
    ]  # fmt: skip
    if check:
        rows += [
            (f"{part.upper()} p50 / p99", " / ".join(
                f"{1000 * check[f'{part}_p{level}_s']:.1f} ms ({_ratio(check[f'{part}_p{level}_ratio'])})" for level in (50, 99)))
            for part in ("ttft", "tpot")
        ]  # fmt: skip
        rows.append(
            (
                "",
                f"measured (over foretold), {check['requests']} requests at {check['rate_rps']:.2f}/s",
            )
        )
    title = f"{found['unit']} is in {found['folder']}: name it as the unit of a service"
    return make_table(title, ("", ""), rows)


def _reading(profile: dict[str, Any]) -> str:
    if not profile["gamma_s"] and not profile["gamma2_s"]:
        return "lost in the noise: longer prompts (--longest), or more --rounds"
    own = f"{1000 * profile['delta_s']:.2f} ms a prompt, in passes of their own"
    return f"{1e6 * profile['gamma_s']:.1f} us a token, " + (
        own if profile["delta_s"] else "in decoding steps"
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"
