"""`tidegate replay-quota` as a user types it: one quota, two services, their own logs."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from forecaster.replay.sample import Sample, between
from forecaster.replay.summary import iso
from tests.integration.cli_runner import Runner

START_S = 1_767_571_200.0
SAMPLE = Sample("chat", 0.02, 48, 24, seed=11)
SETTINGS = """
[[quota]]
name = "gpus"
gpus = 5
"""
SERVICE = """
[[service]]
name = "{name}"
unit = "tiny-llama"
quota = "gpus"
priority = {priority}
[service.slo]
ttft_p99_s = 1.0
tpot_p99_s = 0.15
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Settings with two services, a log that names both, and one that names nobody."""
    services = [SERVICE.format(name=name, priority=p) for name, p in (("chat", 1), ("drafts", 0))]
    (tmp_path / "quota.toml").write_text(SETTINGS + "".join(services))
    rows, waiting = [], []
    for sample in (SAMPLE, replace(SAMPLE, service="drafts", seed=12)):
        batch = between(sample, START_S, START_S + 4 * 86400)
        for at_s, prompt, output in zip(
            batch.arrival_s.tolist(), batch.prompt_tokens, batch.output_tokens, strict=True
        ):
            rows.append((at_s, f"{iso(at_s)},{sample.service},{prompt},{output}\n"))
            if len(rows) % 40 == 0:
                waiting.append((at_s, f"{iso(at_s)},{prompt},{output}\n"))
    with gzip.open(tmp_path / "both.csv.gz", "wt") as out:
        out.write("timestamp,service,prompt_tokens,output_tokens\n")
        out.writelines(line for _, line in sorted(rows))
    with (tmp_path / "later.csv").open("w") as plain:
        plain.write("timestamp,prompt_tokens,output_tokens\n")
        plain.writelines(line for _, line in sorted(waiting))
    return tmp_path


def test_two_services_and_batch_work_on_one_quota(cli: Runner, folder: Path) -> None:
    asked = ("replay-quota", folder / "both.csv.gz", "--config", folder / "quota.toml",
             "--rate-scale", 700, "--days", 0.5, "--gpus", 4, 16)  # fmt: skip
    ran = cli(*asked, "--batch", f"drafts={folder / 'later.csv'}", "--deadline", "6h",
                  "--plot", folder / "quota.png", "--format", "json")  # fmt: skip
    said = ran.json
    assert said["quota"] == "gpus"
    five, twelve = said["plays"]
    for play in said["plays"]:
        assert play["most_gpus"] <= play["quota_gpus"]
        assert list(play["services"]) == ["chat", "drafts"], "the higher priority first"
        assert play["services"]["drafts"]["batch_requests"] > 0
    assert five["services"]["chat"]["attainment"] > five["services"]["drafts"]["attainment"] - 0.02
    assert five["services"]["drafts"]["refused_unit_hours"] > 0
    assert twelve["services"]["drafts"]["refused_unit_hours"] == 0
    assert twelve["services"]["drafts"]["batch_late"] == 0
    assert twelve["gpu_hours"] < 24 * said["apart_gpus"]
    assert (folder / "quota.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--gpus", 1), "the services' min_units alone hold 2 GPUs"),
        (("--quota", "tpus"), "configured: gpus"),
        (("--batch", "later.csv"), "SERVICE=FILE, the service one of chat, drafts"),
        (("--deadline", "soon"), "a duration"),
    ],
)
def test_what_cannot_be_played_is_refused(
    cli: Runner, folder: Path, options: tuple[object, ...], said: str
) -> None:
    ran = cli("replay-quota", folder / "both.csv.gz", "--config", folder / "quota.toml", *options)
    assert ran.code == 2
    assert said in ran.err


def test_a_service_without_a_log_is_named(cli: Runner, folder: Path) -> None:
    log = folder / "later.csv"
    ran = cli("replay-quota", f"chat={log}", "--config", folder / "quota.toml")
    assert ran.code == 1
    assert "no requests of service 'drafts'" in ran.err
    assert "drafts=FILE" in ran.err
