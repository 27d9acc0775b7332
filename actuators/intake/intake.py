"""From a model file to a unit type: check, optimise, compare, measure, start, write."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from actuators.intake.checks import CheckedModel, available_bytes, check
from actuators.intake.compare import error_max, token_agreement
from actuators.intake.conversion import convert, gguf_in
from actuators.intake.half import save_half
from actuators.intake.limits import chunk_for, kv_tokens_for, paying_batch
from actuators.intake.optimise import MODEL_FILE, save_optimised, save_plain
from actuators.intake.quantise import save_quantised
from actuators.intake.start_times import StartTimes, measure_starts
from actuators.intake.unit_file import UNIT_NAME, unit_toml
from actuators.onnx_tier.devices import check_gpu_wishes, visible_devices
from actuators.onnx_tier.jobs import expected_work_s
from actuators.onnx_tier.placement import CONTEXT_BYTES
from actuators.onnx_tier.profiler import Measurement, measure
from actuators.onnx_tier.samples import SHAPES_KEY, VALUES_KEY, Shapes, sample_shape
from actuators.onnx_tier.session import runs_on_cpu
from actuators.onnx_tier.tokenizer_files import TEXT_FILES, text_of
from forecaster.domain.errors import ModelError, SettingError
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType

ERROR_MOST = 1e-3
"""Largest relative error that an optimised graph may add; above it the original is served."""

AGREEMENT_LEAST = 0.99
HALF_BITS = 16
DEFAULT_FREE_LENGTH = 16
_FOLDERS = ("written", "plain", "optimised", "small")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator may say about a model.

    Attributes
    ----------
    max_batch : int
        Most sequences, or rows of a pass, at once; a classic model gets fewer where more do not pay.
    chunk_tokens : int
        Most prompt tokens that a step reads.
    tpot_s : float or None
        Time per output token that reading prompts must leave room for: bounds the chunk.
    shapes : mapping of str to tuple of int
        Shapes of inputs whose free axes do not take any length.
    values : mapping of str to float
        The one number of inputs that take few, such as a sample rate.
    weight_bits : int
        8 or 4 to quantise the weights of matrix products, 16 for the whole model in float16;
        0 leaves them.
    provider, threads, compute_share, device_memory_share, cuda_graphs, price_per_hour
        As in `UnitType`.
    budget_s : float
        Time for each of the two measurements.
    replace : bool
        Whether a unit type of this name may be replaced.
    """

    max_batch: int = 16
    chunk_tokens: int = 128
    tpot_s: float | None = None
    shapes: Shapes = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    weight_bits: int = 0
    provider: str = "auto"
    threads: int = 1
    compute_share: float = 1.0
    device_memory_share: float = 1.0
    cuda_graphs: bool = False
    price_per_hour: float = 1.0
    budget_s: float = 3.0
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Intake:
    """What was found and done.

    Attributes
    ----------
    unit : UnitType
        As written to `folder`.
    original, served : Measurement
        What the file as it came does, and what is served does.
    optimised : bool
        Whether the optimised graph (and quantised weights, if wished for) is served; else the
        original, for the reason in `why`.
    served_bytes : int
        Size of what is served.
    speed_up : float
        Work of one request on the original over that on what is served.
    error_max : float or None
        Classic models: largest relative difference of an output.
    token_agreement : float or None
        Generative models: share of greedy tokens that agree.
    starts : StartTimes
        Warm-up times and memory.
    """

    folder: Path
    unit: UnitType
    model: CheckedModel
    original: Measurement
    served: Measurement
    optimised: bool
    why: str
    speed_up: float
    error_max: float | None
    token_agreement: float | None
    starts: StartTimes
    served_bytes: int


def take_in(source: Path, name: str, models: Path, wishes: Wishes, say: Say) -> Intake:
    """Make `models/<name>` from a model; nothing is left behind when it fails.

    Raises
    ------
    SettingError
        For a name or a shape that cannot be.
    ModelError
        When the model cannot be served, with the reason.
    """
    target = models / name
    _check_name(name, target, wishes.replace)
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=f".{name}-") as scratch:
        written, plain, better, smaller = (Path(scratch) / each for each in _FOLDERS)
        for folder in (written, plain, better, smaller):
            folder.mkdir()
        came = gguf_in(source)
        if came is not None:
            say("converting GGUF")
            source = convert(came, written)
        say("checking the file")
        model = check(source)
        if model.generative:
            text_of(model.path.parent, model.signature)  # a tier would refuse broken files later
        shapes = _shapes(model, wishes)
        metadata = _metadata(model, shapes, wishes)
        say("optimising the graph")
        first = save_plain(model, plain, metadata)
        second = save_optimised(model, better, metadata)
        if wishes.weight_bits:
            say(f"making the weights {wishes.weight_bits} bits wide")
            second, better = _smaller(second, smaller, wishes), smaller
        declared = _declared(name, model, wishes)
        say("comparing it with the original")
        error, agreement = _compare(model, first, second, shapes, declared)
        if wishes.weight_bits and error == math.inf:
            raise ModelError(
                f"with weights of {wishes.weight_bits} bits its outputs are no numbers",
                "keep its weights, or take int8",
            )
        say("measuring the original")
        original = measure(declared, first, wishes.budget_s, shapes)
        say("measuring the optimised graph")
        faster = measure(declared, second, wishes.budget_s, shapes)
        # Smaller weights were asked for: what they cost is told, and only nonsense is refused.
        why = "" if wishes.weight_bits else _objection(error, agreement, original, faster)
        served, folder = (original, plain) if why else (faster, better)
        say("starting units")
        unit = replace(declared, profile=_limited(served.profile, wishes.tpot_s))
        starts = measure_starts(unit, folder / MODEL_FILE)
        unit = replace(unit, lead_time_s=round(max(starts.zygote_s), 4))
        found = Intake(
            folder=target,
            unit=unit,
            model=model,
            original=original,
            served=replace(served, profile=unit.profile),
            optimised=not why,
            why=why,
            speed_up=_work_s(original.profile) / _work_s(served.profile),
            error_max=error,
            token_agreement=agreement,
            starts=starts,
            served_bytes=sum(each.stat().st_size for each in folder.glob("model.onnx*")),
        )
        say(f"writing {target}")
        _write(found, folder, (came or model.path).name)
    return found


def _check_name(name: str, target: Path, may_replace: bool) -> None:
    if not UNIT_NAME.fullmatch(name):
        raise SettingError("--name", name, "lower-case letters, digits, . _ - (63 at most)")
    if target.exists() and not may_replace:
        raise SettingError("--name", name, f"{target} exists", "choose another name or --replace")


def _shapes(model: CheckedModel, wishes: Wishes) -> Shapes:
    """Complete the shapes of a classic model: free axes behind the first get one length."""
    if model.generative:
        return {}
    inputs = {each.name: each for each in model.signature.inputs}
    for name, shape in wishes.shapes.items():
        spec = inputs.get(name)
        fits = spec is not None and len(spec.shape) == len(shape)
        if (
            spec is None
            or not fits
            or any(b not in (-1, a) for a, b in zip(shape, spec.shape, strict=True))
        ):
            known = ", ".join(f"{each.name}={list(each.shape)}" for each in inputs.values())
            raise SettingError("--shape", f"{name}={shape}", f"must fit the model's: {known}")
    default = {
        name: tuple(DEFAULT_FREE_LENGTH if size < 0 else size for size in spec.shape)
        for name, spec in inputs.items()
    }
    chosen = default | dict(wishes.shapes)
    return {name: sample_shape(spec, 1, chosen) for name, spec in inputs.items()}


def _metadata(model: CheckedModel, shapes: Shapes, wishes: Wishes) -> dict[str, str]:
    if model.generative:
        return {"context_tokens": str(model.context_tokens)}
    if unknown := sorted(set(wishes.values) - set(shapes)):
        raise SettingError("--value", unknown[0], f"must be an input: {', '.join(shapes)}")
    return {
        SHAPES_KEY: json.dumps({name: list(shape) for name, shape in shapes.items()}),
        VALUES_KEY: json.dumps(dict(wishes.values)),
    }


def _declared(name: str, model: CheckedModel, wishes: Wishes) -> UnitType:
    """Return the unit type before anything was measured: its limits."""
    profile: GenerativeProfile | ClassicProfile
    if model.generative:
        wanted = wishes.max_batch * model.context_tokens
        profile = GenerativeProfile(
            *(1e-6,) * 4,
            max_batch=wishes.max_batch,
            chunk_tokens=wishes.chunk_tokens,
            kv_tokens=kv_tokens_for(model, wanted, _memory_bytes(wishes)),
        )
    else:
        most = wishes.max_batch if model.batches else 1
        profile = ClassicProfile(((1, 1e-6),) if most == 1 else ((1, 1e-6), (most, 1e-6)))
    declared = UnitType(
        name=name,
        profile=profile,
        model_file=MODEL_FILE,
        provider=wishes.provider,
        threads=wishes.threads,
        compute_share=wishes.compute_share,
        device_memory_share=wishes.device_memory_share,
        cuda_graphs=wishes.cuda_graphs,
        price_per_hour=wishes.price_per_hour,
    )
    check_gpu_wishes(declared)
    return declared


def _memory_bytes(wishes: Wishes) -> int:
    """Return what a unit may take where it will run: of the smallest device, or of this machine."""
    devices = () if runs_on_cpu(wishes.provider) else visible_devices()
    if not devices:
        return available_bytes()
    smallest = min(each.memory_bytes for each in devices)
    return int(smallest * wishes.device_memory_share) - CONTEXT_BYTES


def _smaller(source: Path, folder: Path, wishes: Wishes) -> Path:
    if wishes.weight_bits == HALF_BITS:
        return save_half(source, folder, wishes.provider)
    return save_quantised(source, folder, wishes.weight_bits)


def _compare(
    model: CheckedModel, first: Path, second: Path, shapes: Shapes, declared: UnitType
) -> tuple[float | None, float | None]:
    if isinstance(declared.profile, GenerativeProfile):
        return None, token_agreement(first, second, declared.profile, declared.provider)
    rows = 2 if model.batches else 1
    return error_max(first, second, shapes, rows, declared.provider), None


def _objection(
    error: float | None, agreement: float | None, original: Measurement, faster: Measurement
) -> str:
    """Say why the optimised graph is not served; empty when it is."""
    if error is not None and not error <= ERROR_MOST:
        return f"its outputs differ by {error:.2g}, more than {ERROR_MOST:g}"
    if agreement is not None and agreement < AGREEMENT_LEAST:
        return f"{agreement:.0%} of its tokens agree, fewer than {AGREEMENT_LEAST:.0%}"
    if _work_s(faster.profile) > 1.05 * _work_s(original.profile):
        return "it is slower"
    return ""


def _limited(
    profile: GenerativeProfile | ClassicProfile, tpot_s: float | None
) -> GenerativeProfile | ClassicProfile:
    if isinstance(profile, ClassicProfile):
        return paying_batch(profile)
    return replace(profile, chunk_tokens=chunk_for(profile, tpot_s))


def _work_s(profile: GenerativeProfile | ClassicProfile) -> float:
    return expected_work_s(profile, 128, 64)


def _write(found: Intake, folder: Path, came: str) -> None:
    """Complete the folder and put it in its place by a rename."""
    beside = found.model.path.parent
    for name in (*TEXT_FILES, "config.json"):
        if (beside / name).is_file() and found.model.generative:
            shutil.copyfile(beside / name, folder / name)
    starts = found.starts
    notes = (
        f"Made by `tidegate deploy` from {came}; every number here was measured.",
        f"Start from the zygote {max(starts.zygote_s):.3f} s, from nothing {starts.spawn_s:.3f} s; "
        f"{starts.memory_bytes / 1e6:.0f} MB resident; fit error {found.served.fit_error:.1%}.",
    )
    (folder / "unit.toml").write_text(unit_toml(found.unit, notes), "utf-8")
    folder.chmod(0o755)
    if found.folder.exists():
        shutil.rmtree(found.folder)
    folder.replace(found.folder)
