"""The real logs: every row accepted, none twice, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from forecaster.ingest import ingest_file
from forecaster.store import Store

NAMES = (
    "azure_llm_2023_conv",
    "composed_chat_2w",
    "composed_servegen_small_2w",
    "nasa_http_1995_07",
)

CHILD = """
import sys
from pathlib import Path
from forecaster.ingest import ingest_file
from forecaster.store import Store

with Store.open(sys.argv[1]) as store:
    accepted = ingest_file(sys.argv[2], store).accepted
# the peak of this program: getrusage would still count the parent that it was forked from
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
print(accepted, peak.split()[1])
"""


@pytest.mark.traces
@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_accepted_once(traces: Path, store: Store, name: str) -> None:
    manifest = json.loads((traces / "manifest.json").read_text())
    known = manifest.get("files", manifest)[name]
    path = traces / known["file"]
    report = ingest_file(path, store)
    assert (report.accepted, report.rejected) == (known["rows"], 0)
    again = ingest_file(path, store)
    assert (again.rows, again.skipped) == (0, known["rows"])
    (service,) = store.services()
    assert service.requests == known["rows"] == store.slots(service.name).arrivals.sum()


@pytest.mark.traces
def test_the_largest_log_needs_less_than_500_mb(traces: Path, dsn: str) -> None:
    path = traces / "requests" / "nasa_http_1995_07.csv.gz"
    command = [sys.executable, "-c", CHILD, dsn, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    accepted, most_kib = map(int, done.stdout.split())
    assert accepted == 1_891_713
    assert most_kib < 500_000
