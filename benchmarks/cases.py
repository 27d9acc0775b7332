"""The six replay cases: two composed traces as they are, four more composed here, two seeds each.

Envelopes and token lengths are real (`../shared/traces`, where the composing script lies too); the
composed files are kept in a folder of the machine's own (`TIDEGATE_BENCH_CACHE`) and never in the
project.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.domain.demand import RequestBatch
from forecaster.domain.service import CalendarSpec, Slo

TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"
CACHE = Path(os.environ.get("TIDEGATE_BENCH_CACHE", tempfile.gettempdir() + "/tidegate-bench"))
CHAT_TOKENS, SERVEGEN_TOKENS = (
    "requests/azure_llm_2023_conv.csv.gz",
    "tokens/servegen_m_small.csv.gz",
)
CHAT = Slo(ttft_p99_s=2.0, tpot_p99_s=0.08, attainment=0.99)
SERVEGEN = Slo(ttft_p99_s=3.0, tpot_p99_s=0.15, attainment=0.99)


@dataclass(frozen=True)
class Case:
    """One trace at one scale under one SLO."""

    name: str
    file: Path
    slo: Slo
    rate_scale: float = 60.0
    calendar: CalendarSpec = field(default_factory=CalendarSpec)

    def log(self) -> RequestBatch:
        frame = pd.read_csv(self.file)
        times = pd.to_datetime(frame["timestamp"], utc=True, format="ISO8601").dt.tz_convert(None)
        at_s = times.to_numpy("datetime64[us]").astype(np.int64) / 1e6
        return RequestBatch(
            self.name,
            at_s,
            frame["prompt_tokens"].to_numpy(np.int64),
            frame["output_tokens"].to_numpy(np.int64),
        )


COMPOSED = {
    "wc98": (
        "rates/wc98_1min_may.csv.gz", CHAT_TOKENS, CHAT,
        "--offset-days 14 --days 21 --burst-cv 0.25 --burst-tau 20",
    ),
    "azure": (
        "rates/azure_llm_2024_conv_10s.csv.gz", CHAT_TOKENS, CHAT,
        "--repeat 3 --week-jitter 0.08 --burst-cv 0.3 --burst-tau 20",
    ),
    "nasa": (
        "nasa", SERVEGEN_TOKENS, SERVEGEN,
        "--days 27 --burst-cv 0.25 --burst-tau 20",
    ),
    "appserver": (
        "rates/appserver_hourly.csv.gz", CHAT_TOKENS, CHAT,
        "--offset-days 1000 --days 28 --burst-cv 0.25 --burst-tau 20",
    ),
}  # fmt: skip
MEAN_RPS = 0.3


def cases(seeds: tuple[int, ...] = (1, 2)) -> list[Case]:
    """Every case; composes what is not there yet."""
    found = [
        Case("chat", TRACES / "requests/composed_chat_2w.csv.gz", CHAT),
        Case("servegen", TRACES / "requests/composed_servegen_small_2w.csv.gz", SERVEGEN),
    ]
    for name, (envelope, tokens, slo, options) in COMPOSED.items():
        found += [
            Case(f"{name}-{seed}", composed(name, envelope, tokens, options, seed), slo)
            for seed in seeds
        ]
    return found


def composed(name: str, envelope: str, tokens: str, options: str, seed: int) -> Path:
    """Compose one trace with the script beside the traces."""
    target = CACHE / f"{name}-{seed}.csv.gz"
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    source = nasa_rates() if envelope == "nasa" else TRACES / envelope
    part = target.with_suffix(".part.gz")
    command = [
        sys.executable, str(TRACES / "compose.py"), "--envelope", str(source),
        "--tokens", str(TRACES / tokens), "--service", name, "--mean-rps", str(MEAN_RPS),
        "--seed", str(seed), "--out", str(part), *options.split(),
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    part.rename(target)
    return target


def nasa_rates() -> Path:
    """Requests of the NASA log per five minutes, as an envelope; nights of lost logs stay empty."""
    target = CACHE / "nasa_rates.csv.gz"
    if not target.exists():
        with gzip.open(TRACES / "requests/nasa_http_1995_07.csv.gz", "rt") as lines:
            times = pd.to_datetime(
                pd.read_csv(lines, usecols=["timestamp"])["timestamp"], utc=True, format="ISO8601"
            )
        counts = times.dt.floor("5min").value_counts().sort_index()
        frame = pd.DataFrame(
            {
                "series_id": "nasa",
                "timestamp": counts.index.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "value": counts.to_numpy(),
            }
        )
        frame.to_csv(target, index=False)
    return target


if __name__ == "__main__":
    for each in cases():
        log = each.log()
        days = (log.arrival_s[-1] - log.arrival_s[0]) / 86400
        print(f"{each.name}: {len(log):,} requests, {days:.1f} days, from {log.arrival_s[0]:.0f}")
