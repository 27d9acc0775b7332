"""A model deployed: measured by the hands, sized by the core."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from actuators.intake.intake import Intake, Say, Wishes, take_in
from forecaster.capacity.sizing import Question, size
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import ModelError, SloInfeasibleError
from forecaster.domain.profile import GenerativeProfile
from forecaster.domain.service import Slo


@dataclass(frozen=True, slots=True)
class Peak:
    """The load that a deployed model is sized for."""

    rate_rps: float
    mix: TokenMix
    slo: Slo


def deploy(
    source: Path, name: str, models: Path, wishes: Wishes, peak: Peak | None, say: Say
) -> dict[str, Any]:
    """Take a model in; return the report that `tidegate deploy` prints.

    Raises
    ------
    SettingError, ModelError
        When it cannot be served; nothing was written then.
    """
    return report(take_in(source, name, models, wishes, say), peak)


def report(found: Intake, peak: Peak | None) -> dict[str, Any]:
    """Return what was found, as JSON values."""
    before, after = found.original, found.served
    starts = found.starts
    return {
        "unit": found.unit.name,
        "folder": str(found.folder),
        "kind": "generative" if found.unit.generative else "classic",
        "opset": found.model.opset,
        "weight_bytes": found.model.weight_bytes,
        "served_bytes": found.served_bytes,
        "served": "optimised" if found.optimised else "original",
        "why": found.why,
        "speed_up": found.speed_up,
        "accuracy_delta": {
            "error_max": found.error_max,
            "token_agreement": found.token_agreement,
        },
        "profile": asdict(found.unit.profile),
        "fit_error": after.fit_error,
        "samples": after.samples,
        "warm_up_s": {
            "zygote": max(starts.zygote_s),
            "spawn": starts.spawn_s,
            "stages": starts.stages_s,
        },
        "memory_bytes": starts.memory_bytes,
        "units_at_peak_before": _units(found, before.profile, peak),
        "units_at_peak_after": _units(found, found.unit.profile, peak),
    }


def _units(found: Intake, profile: Any, peak: Peak | None) -> int | None:
    """Units that the peak needs with this profile; None without a peak or when none suffice."""
    if peak is None:
        return None
    if isinstance(profile, GenerativeProfile):
        assert isinstance(found.unit.profile, GenerativeProfile)
        profile = replace(profile, chunk_tokens=found.unit.profile.chunk_tokens)
    unit = replace(found.unit, profile=profile)
    try:
        return size(Question(unit, peak.slo, peak.mix, 1.0), peak.rate_rps).units
    except (SloInfeasibleError, ModelError):
        return None
