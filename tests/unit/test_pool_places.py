"""Two pools under others' engines: each is a workload, a deployment, a model or a component of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actuators.keda.pulled import PulledActuator
from forecaster.clock import SystemClock
from forecaster.config import Settings, load_unit_type
from forecaster.daemon.pooled import Pooled, carry_out
from forecaster.domain.plan import Decision, Reason, Verb
from forecaster.domain.pools import PAIR, Pool
from forecaster.wiring.dynamo import components
from forecaster.wiring.kubernetes import workloads
from forecaster.wiring.lanes import lane_units
from forecaster.wiring.open_inference import model_fleet
from forecaster.wiring.ray_serve import targets

MODELS = Path(__file__).resolve().parents[2] / "models"


def settings(**service: Any) -> Settings:
    pair = {"name": "chat", "unit": "llama70b-pd", "slo": {"ttft_p99_s": 1.0, "tpot_p99_s": 0.06}}
    plain = {"name": "mail", "unit": "llama70b-h100x8"}
    return Settings(models=MODELS, service=[pair | service, plain])


def test_each_pool_has_a_name_of_its_own() -> None:
    named = {name: str(each) for name, each in workloads(settings()).items()}
    assert named == {
        "chat:prefill": "Deployment/chat-prefill",
        "chat:decode": "Deployment/chat-decode",
        "mail": "Deployment/mail",
    }
    assert [str(each) for each in targets(settings()).values()] == [
        "chat-prefill/chat-prefill", "chat-decode/chat-decode", "mail/mail",
    ]  # fmt: skip


def test_or_the_one_that_is_configured(tmp_path: Path) -> None:
    found = settings(
        prefill={"workload": "StatefulSet/reads", "deployment": "chat/Read"},
        decode={"repository": {"model": "writes"}},
    )
    assert str(workloads(found)["chat:prefill"]) == "StatefulSet/reads"
    assert str(targets(found)["chat:prefill"]) == "chat/Read"
    fleet = model_fleet(found, tmp_path, SystemClock())
    assert {name: each.name for name, each in fleet._models.items()} == {
        "chat:prefill": "chat-prefill", "chat:decode": "writes", "mail": "mail",
    }  # fmt: skip


def test_dynamos_components_are_pools() -> None:
    chat = settings().service[:1]

    def asked(**dynamo: str) -> Settings:
        return Settings(models=MODELS, service=chat, dynamo={"port": 1, **dynamo})

    both = asked(decode="chat:decode", prefill="chat:prefill")
    assert components(both) == {"prefill": "chat:prefill", "decode": "chat:decode"}
    with pytest.raises(ValueError, match="chat:prefill"):  # half of a pair is none
        components(asked(decode="chat:decode"))


def test_units_that_others_build_are_wanted_pool_by_pool(tmp_path: Path) -> None:
    found = settings()
    units = {each.name: load_unit_type(MODELS, each.unit) for each in found.service}
    leads_s = {name: unit.lead_time_s for name, unit in lane_units(found, units).items()}
    fleet = PulledActuator(SystemClock(), leads_s, tmp_path / "keda.json", 100)
    seen = Pooled(fleet, {"chat": PAIR})
    pools = ((Pool.PREFILL, 1), (Pool.DECODE, 2))
    order = Decision("chat", 1.0, Verb.PREWARM, 3, 3, 1.0, Reason.LOAD, "", pools)
    assert carry_out(seen, order, 0) == ("", [])
    assert (fleet.wanted("chat:prefill"), fleet.wanted("chat:decode")) == (1, 2)
    assert sorted(unit.pool for unit in seen.observe("chat").units) == [
        "decode",
        "decode",
        "prefill",
    ]
