"""`tidegate deploy`: bring your own model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.durations import LatencyBound, TtftBound, bound
from forecaster.cli.output import emit, make_table, progress
from forecaster.config import load_settings
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import SettingError
from forecaster.domain.service import Slo

_STEPS = 7
_WEIGHT_BITS = {"keep": 0, "fp16": 16, "int8": 8, "int4": 4}


@app.command("deploy")
def deploy_command(
    model: Annotated[Path, typer.Argument(help="ONNX or GGUF file, or its folder")],
    name: Annotated[
        str, typer.Option(help="name of the unit type [default: the file's or folder's]")
    ] = "",
    rate: Annotated[
        float | None, typer.Option(help="arrival rate at the peak, requests/s: sizes the fleet")
    ] = None,
    prompt_tokens: Annotated[float, typer.Option(help="mean prompt tokens at the peak")] = 0.0,
    output_tokens: Annotated[float, typer.Option(help="mean generated tokens at the peak")] = 0.0,
    ttft_p99: TtftBound = None,
    tpot_p99: Annotated[
        float | None,
        typer.Option(
            parser=bound,
            metavar="SECONDS",
            help="time per output token, seconds or 80ms; also bounds the chunk",
        ),
    ] = None,
    latency_p99: LatencyBound = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="shape of an input whose free axes take few lengths, as x=1x512"),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(help="number that fills an input which takes few, as rate=16000"),
    ] = None,
    max_batch: Annotated[
        int, typer.Option(min=1, max=1024, help="most sequences or rows at once")
    ] = 16,
    chunk_tokens: Annotated[
        int, typer.Option(min=8, max=8192, help="most prompt tokens that a step reads")
    ] = 128,
    weights: Annotated[
        str, typer.Option(help="keep, fp16 (all of it), int8 or int4 (matrix products)")
    ] = "keep",
    provider: Annotated[str, typer.Option(help="auto, cuda or cpu")] = "auto",
    threads: Annotated[int, typer.Option(min=1, max=256, help="threads of a unit")] = 1,
    compute_share: Annotated[float, typer.Option(help="share of a core, 0 < share <= 1")] = 1.0,
    device_memory_share: Annotated[
        float, typer.Option(help="share of a GPU's memory, 0 < share <= 1")
    ] = 1.0,
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs", help="replay decoding steps as CUDA graphs")
    ] = False,
    price: Annotated[float, typer.Option(min=0, help="money for one unit-hour")] = 1.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="time for each measurement")] = 3.0,
    replace: Annotated[bool, typer.Option("--replace", help="replace a unit of this name")] = False,
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Check a model, optimise it, measure it against the original, write its unit type.

    Generative models are those with a KV cache, as onnxruntime-genai's builder writes them; a Llama
    in GGUF is converted (extra `gguf`).

    Example: `tidegate deploy model.onnx --name ranker --rate 200 --latency-p99 0.1`
    """
    from actuators.intake.conversion import gguf_in
    from actuators.intake.intake import Wishes
    from forecaster.wiring.deploy import Peak, deploy

    if weights not in _WEIGHT_BITS:
        raise SettingError("--weights", weights, "keep, fp16, int8 or int4")
    if provider not in {"auto", "cuda", "cpu"}:
        raise SettingError("--provider", provider, "auto, cuda or cpu")
    if not 0 < compute_share <= 1:
        raise SettingError("--compute-share", compute_share, "0 < share <= 1")
    if not 0 < device_memory_share <= 1:
        raise SettingError("--device-memory-share", device_memory_share, "0 < share <= 1")
    for option, stated in (("--rate", rate), ("--ttft-p99", ttft_p99), ("--tpot-p99", tpot_p99),
                          ("--latency-p99", latency_p99)):  # fmt: skip
        if stated is not None and not 0 < stated < float("inf"):
            raise SettingError(option, stated, "a finite number above 0")
    peak = None
    if rate is not None:
        if ttft_p99 is tpot_p99 is latency_p99 is None:
            raise SettingError("--rate", rate, "needs an SLO to size for", "add --latency-p99")
        peak = Peak(
            rate,
            TokenMix.of(prompt_tokens, output_tokens, 1.0),
            Slo(ttft_p99, tpot_p99, latency_p99),
        )
    wishes = Wishes(
        max_batch=max_batch,
        chunk_tokens=chunk_tokens,
        tpot_s=tpot_p99,
        shapes=dict(_shape(each) for each in shape or ()),
        values=dict(_value(each) for each in value or ()),
        weight_bits=_WEIGHT_BITS[weights],
        provider=provider,
        threads=threads,
        compute_share=compute_share,
        device_memory_share=device_memory_share,
        cuda_graphs=cuda_graphs,
        price_per_hour=price,
        budget_s=seconds,
        replace=replace,
    )
    settings = load_settings(config)
    steps = _STEPS + bool(wishes.weight_bits) + (gguf_in(model) is not None)
    with progress(f"deploying {model.name}", steps) as advance:
        done = 0

        def say(text: str) -> None:
            nonlocal done
            advance(done, text)
            done += 1

        found = deploy(model, name or _name(model), settings.models, wishes, peak, say)
    emit(found, form, _table(found))


def _name(model: Path) -> str:
    stem = model.stem if model.suffix and model.stem != "model" else model.resolve().parent.name
    return (stem if model.suffix else model.resolve().name).lower().replace(" ", "-")


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, sizes = text.rpartition("=")
    try:
        shape = tuple(int(each) for each in sizes.split("x") if each)
    except ValueError:
        shape = (0,)
    if not equals or not name or not all(size > 0 for size in shape):
        raise SettingError("--shape", text, "an input and its lengths, as x=1x512")
    return name, shape


def _value(text: str) -> tuple[str, float]:
    name, equals, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not equals or not name or not math.isfinite(value):
        raise SettingError("--value", text, "an input and its number, as rate=16000")
    return name, value


def _table(found: dict[str, Any]) -> Table:
    delta, warm = found["accuracy_delta"], found["warm_up_s"]
    agreement = (
        f"{delta['token_agreement']:.1%} of greedy tokens agree"
        if delta["token_agreement"] is not None
        else f"largest error {delta['error_max']:.1e}"
    )
    rows: list[tuple[str, object]] = [
        ("kind", f"{found['kind']}, opset {found['opset']}"),
        (
            "size",
            f"{found['weight_bytes'] / 1e6:.1f} MB came, {found['served_bytes'] / 1e6:.1f} MB served",
        ),
        ("served", found["served"] + (f": {found['why']}" if found["why"] else "")),
        ("speed", f"{found['speed_up']:.2f} x the original"),
        ("accuracy", agreement),
        ("profile", _profile_text(found["profile"], found["fit_error"])),
        ("warm-up", f"{warm['zygote']:.3f} s from the zygote, {warm['spawn']:.3f} s from nothing"),
        ("memory", f"{found['memory_bytes'] / 1e6:.0f} MB resident"),
    ]
    if found["units_at_peak_after"] is not None:
        before = found["units_at_peak_before"]
        rows.append(("units at the peak", f"{before} before, {found['units_at_peak_after']} now"))
    title = f"{found['unit']} is in {found['folder']}: name it as the unit of a service"
    return make_table(title, ("", ""), rows)


def _profile_text(profile: dict[str, Any], fit_error: float) -> str:
    if "batch_latency_s" in profile:
        curve = profile["batch_latency_s"]
        return ", ".join(f"{size}: {1000 * latency:.2f} ms" for size, latency in curve)
    return (
        f"step {1000 * profile['alpha_s']:.2f} ms + {1000 * profile['beta_s']:.3f} a sequence, "
        f"{1000 * profile['gamma_s']:.3f} a prompt token; fit error {fit_error:.0%}"
    )
