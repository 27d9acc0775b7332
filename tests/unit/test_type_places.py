"""Several types under others' engines: each is a workload, a deployment or a model of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actuators.keda.pulled import PulledActuator
from forecaster.clock import SystemClock
from forecaster.config import Settings, load_unit_type
from forecaster.daemon.pooled import Pooled, carry_out
from forecaster.domain.errors import SettingError
from forecaster.domain.plan import Decision, Reason, Verb
from forecaster.domain.pools import Pool
from forecaster.wiring.dynamo import components
from forecaster.wiring.kubernetes import workloads
from forecaster.wiring.lanes import lane_units
from forecaster.wiring.open_inference import model_fleet
from forecaster.wiring.ray_serve import targets

MODELS = Path(__file__).resolve().parents[2] / "models"
H100, A100 = Pool("llama70b-h100x8"), Pool("llama70b-a100x8")


def settings(**service: Any) -> Settings:
    return Settings(models=MODELS, service=[{"name": "chat", "unit": "llama70b-mix"} | service])


def test_each_type_has_a_name_of_its_own() -> None:
    assert {name: str(each) for name, each in workloads(settings()).items()} == {
        "chat:llama70b-h100x8": "Deployment/chat-llama70b-h100x8",
        "chat:llama70b-a100x8": "Deployment/chat-llama70b-a100x8",
    }


def test_or_the_one_that_is_configured(tmp_path: Path) -> None:
    found = settings(
        type={
            H100: {"workload": "StatefulSet/fast", "deployment": "chat/Fast"},
            A100: {"repository": {"model": "slow"}},
        }
    )
    assert str(workloads(found)[f"chat:{H100}"]) == "StatefulSet/fast"
    assert str(targets(found)[f"chat:{H100}"]) == "chat/Fast"
    fleet = model_fleet(found, tmp_path, SystemClock())
    assert [each.name for each in fleet._models.values()] == [f"chat-{H100}", "slow"]


def test_units_that_others_build_are_wanted_type_by_type(tmp_path: Path) -> None:
    found = settings()
    units = {each.name: load_unit_type(MODELS, each.unit) for each in found.service}
    leads_s = {name: unit.lead_time_s for name, unit in lane_units(found, units).items()}
    fleet = PulledActuator(SystemClock(), leads_s, tmp_path / "keda.json", 100)
    seen = Pooled(fleet, {"chat": (H100, A100)})
    order = Decision("chat", 1.0, Verb.PREWARM, 3, 3, 1.0, Reason.LOAD, "", ((H100, 1), (A100, 2)))
    assert carry_out(seen, order, 0) == ("", [])
    assert (fleet.wanted(f"chat:{H100}"), fleet.wanted(f"chat:{A100}")) == (1, 2)
    assert sorted(unit.pool for unit in seen.observe("chat").units) == [A100, A100, H100]


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"type": {"h200": {}}}, "type = 'h200'"),
        ({"workload": "Deployment/chat"}, r"workload = 'Deployment/chat'.*service.type.NAME"),
        ({"unit": "llama70b-pd", "type": {H100: {}}}, "type = 'llama70b-h100x8'"),
        ({"unit": "llama70b-pd", "deployment": "a/b"}, r"deployment = 'a/b'.*service.prefill"),
    ],
)
def test_places_that_lead_nowhere_are_refused(service: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        workloads(settings(**service))


def test_a_planner_that_knows_no_types_is_refused() -> None:
    found = Settings(
        models=MODELS,
        service=[{"name": "chat", "unit": "llama70b-mix"}],
        dynamo={"port": 1},
    )
    with pytest.raises(SettingError, match="several types"):
        components(found)
