"""Writes the bundled sample log again: same seed, same bytes."""

from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime
from pathlib import Path

from forecaster.replay.sample import Sample, between

TARGET = Path(__file__).resolve().parents[1] / "data" / "chat_2w.csv.gz"
START_S = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
SAMPLE = Sample("chat", 0.06, 48, 24, seed=7)


def content() -> bytes:
    batch = between(SAMPLE, START_S, START_S + 14 * 86_400)
    rows = zip(batch.arrival_s, batch.prompt_tokens, batch.output_tokens, strict=True)
    text = "timestamp,service,prompt_tokens,output_tokens\n" + "".join(
        f"{datetime.fromtimestamp(t, UTC).isoformat(timespec='milliseconds')},chat,{p},{n}\n"
        for t, p, n in rows
    )
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as file:
        file.write(text.encode())
    return packed.getvalue()


if __name__ == "__main__":
    TARGET.write_bytes(content())
    print(TARGET.name, TARGET.stat().st_size)
