"""The demo: two weeks of a sample service end now, and the next day passes at high speed.

Compressed: the tide. One day passes in a few minutes, so the log holds one request for each
`speed` that would have arrived (``log_sample = 1 / speed``). Not compressed: requests, latencies,
unit starts, the SLO. Each is real and in real seconds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from forecaster.capacity.sizing import Question, capacity_rps
from forecaster.clock import ScaledClock
from forecaster.config import Settings
from forecaster.config.settings import QuotaSettings, ServiceSettings, SloSettings
from forecaster.domain.demand import TokenMix
from forecaster.domain.profile import UnitType
from forecaster.replay.sample import Sample, between
from forecaster.store import Store

HISTORY_DAYS = 14
SPEED = 240.0
"""A day in six minutes."""
PEAK_UNITS = 5.0
MAX_UNITS = 8
BELIEVED = 0.75
"""Two shared cores do less than one unit alone promised; the belief corrects it as it learns."""
MORNING_SOON_H = 4.0
"""Local hour at which the demo's users are when it starts: the morning is near."""
TRAFFIC_GRACE_S = 6.0
HEAD_START_S = 4.0
"""Real seconds for tier, first units and traffic generator to come up before the day begins."""
CHAT, CLASSIFY = "chat", "classify"
CLASSIFY_UNITS = 2
QUOTA = "machine"
"""Both services share what runs on this machine; there is enough for both."""
SETTINGS_FILE = "tidegate.toml"


def demo_settings(settings: Settings, now_s: float) -> Settings:
    """The settings with the demo's two services; everything else as configured."""
    timezone = timezone_where(now_s, MORNING_SOON_H)
    chat = ServiceSettings(
        name=CHAT,
        unit="tiny-llama",
        slo=SloSettings(ttft_p99_s=1.0, tpot_p99_s=0.15, attainment=0.99),
        min_units=1,
        max_units=MAX_UNITS,
        timezone=timezone,
        log_sample=1 / SPEED,
        quota=QUOTA,
        priority=1,
    )
    classify = ServiceSettings(
        name=CLASSIFY,
        unit="mlp-classifier",
        slo=SloSettings(latency_p99_s=0.25, attainment=0.99),
        min_units=1,
        max_units=CLASSIFY_UNITS,
        timezone=timezone,
        log_sample=1 / SPEED,
        quota=QUOTA,
    )
    planner = settings.planner.model_copy(
        update={"tick_s": 60.0, "replan_s": 300.0, "believed": BELIEVED}
    )
    tier = settings.tier.model_copy(
        update={"max_units": max(settings.tier.max_units, MAX_UNITS + 3)}
    )
    return settings.model_copy(
        update={
            "service": (chat, classify),
            "quota": (QuotaSettings(name=QUOTA, gpus=MAX_UNITS + CLASSIFY_UNITS),),
            "planner": planner,
            "tier": tier,
            # a log of one request in 240 needs longer slots to tell load from noise
            "retrain": settings.retrain.model_copy(update={"slot_s": 900.0}),
        }
    )


def timezone_where(now_s: float, hour: float) -> str:
    """A fixed-offset zone in which it is about `hour` o'clock now.

    Examples
    --------
    >>> timezone_where(12 * 3600, 4.0)  # noon UTC: eight hours west of Greenwich it is four
    'Etc/GMT+8'
    """
    offset = round(hour - now_s / 3600 % 24)
    offset = (offset + 12) % 24 - 12
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


def write_settings(settings: Settings, home: Path, api_url: str) -> None:
    """Write a settings file with which, and with TIDEGATE_HOME, every command finds the running demo."""
    lines = [f"models = {_toml(settings.models.resolve())}"]
    lines += ["[api]", f"port = {api_url.rsplit(':', 1)[-1]}"]
    lines += ["[planner]", f"believed = {settings.planner.believed}"]
    lines += ["[retrain]", f"slot_s = {settings.retrain.slot_s}"]
    for shared in settings.quota:
        lines += ["[[quota]]", f"name = {_toml(shared.name)}", f"gpus = {shared.gpus}"]
    for each in settings.service:
        values = each.model_dump(mode="json", exclude_defaults=True)
        slo = values.pop("slo", {})
        lines += ["[[service]]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
        lines += ["[service.slo]", *(f"{key} = {_toml(value)}" for key, value in slo.items())]
    (home / SETTINGS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: object) -> str:
    """A string or a number as TOML writes it: the same as JSON."""
    return orjson.dumps(str(value) if isinstance(value, Path) else value).decode()


def make_samples(settings: Settings, units: Mapping[str, UnitType]) -> tuple[Sample, ...]:
    """Samples whose peaks fit what this machine's units carry."""
    chat, classify = settings.service
    mix = TokenMix.of(48, 24, scv=0.6)
    carried = capacity_rps(Question(units[CHAT], chat.service().slo, mix), round(PEAK_UNITS))
    sample = Sample(CHAT, BELIEVED * carried / SPEED, 48, 24, timezone=chat.timezone, seed=7)
    small = Sample(CLASSIFY, 4.0 / SPEED, timezone=classify.timezone, seed=11)
    return sample, small


def load_history(store: Store, samples: tuple[Sample, ...], home: Path, now_s: float) -> int:
    """Write two weeks that end now as a request log, and ingest it as a user would."""
    from forecaster.ingest import IngestOptions, ingest_file

    path = home / "sample.csv"
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("timestamp,service,prompt_tokens,output_tokens\n")
        for sample in samples:
            batch = between(sample, now_s - HISTORY_DAYS * 86_400, now_s)
            columns = (batch.arrival_s, batch.prompt_tokens, batch.output_tokens)
            for arrival_s, prompt, output in zip(*columns, strict=True):
                stamp = datetime.fromtimestamp(arrival_s, UTC).isoformat(timespec="milliseconds")
                file.write(f"{stamp},{sample.service},{prompt},{output}\n")
            rows += len(batch)
    ingest_file(path, store, IngestOptions())
    return rows


def fresh_home(home: Path) -> Path:
    """An empty state folder for the demo; an earlier demo's is removed."""
    folder = home / "demo"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def traffic(
    demo_home: Path, url: str, clock: ScaledClock, samples: tuple[Sample, ...]
) -> Iterator[Any]:
    """Play the coming days against the tier from a process of its own; yields its Popen.

    At the end it stops sending and waits for what was accepted.
    """
    spec = {
        "url": url,
        "clock": {"start_s": clock.start_s, "origin_s": clock.origin_s, "speed": clock.speed},
        "samples": [asdict(sample) for sample in samples],
        "from_s": max(clock.now_s(), clock.start_s),
    }
    path = demo_home / "traffic.json"
    path.write_bytes(orjson.dumps(spec))
    with (demo_home / "traffic.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "forecaster.replay.traffic", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    report = TrafficReport(process)
    try:
        yield report
    finally:
        report.finish()


class TrafficReport:
    """The generator's process and, at its end, what it saw."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.seen: dict[str, Any] = {}

    def finish(self) -> dict[str, Any]:
        """Stop sending, wait for the answers, return what was seen."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            said, _ = self.process.communicate(timeout=TRAFFIC_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, _ = self.process.communicate()
        try:
            self.seen = orjson.loads(said.splitlines()[-1])
        except (ValueError, IndexError):
            self.seen = self.seen or {}
        return self.seen


def compressed_clock(now_s: float) -> ScaledClock:
    """A clock that reaches `now_s` in a moment, when tier and traffic are up, at the demo's speed."""
    return ScaledClock(now_s, time.monotonic() + HEAD_START_S, SPEED)


def with_lead(units: Mapping[str, UnitType]) -> dict[str, UnitType]:
    """Unit types whose prior lead is what starting a small model takes, in real seconds."""
    return {
        name: replace(unit, lead_time_s=min(unit.lead_time_s, 1.5)) for name, unit in units.items()
    }
