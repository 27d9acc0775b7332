"""What a run of ingest is told, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class LogFormat(StrEnum):
    """Formats of request logs, each plain, gzip or zstd."""

    AUTO = "auto"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    ACCESS = "access"


class TimeUnit(StrEnum):
    """Unit of numeric time stamps; `AUTO` goes by their size."""

    AUTO = "auto"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Names that a column may have, the first one found wins.

    Names are compared in lower case with spaces and hyphens as underscores; a dot goes into a
    nested object (``usage.prompt_tokens``). The defaults cover Tidegate's own files, the Azure LLM
    traces, BurstGPT, Mooncake and OpenAI-style gateway logs. A field that differs from its default
    names a column that must be there; an empty tuple says that the log has none.

    Times of the answer may say their unit, ``duration:ms`` (s, ms, us, ns); else it is that in which the name
    ends, else seconds. The built-in names all end in one: a guess would teach what units carry.
    """

    timestamp: tuple[str, ...] = (
        "timestamp",
        "arrival_time",
        "request_time",
        "arrival",
        "arrived_at",
        "created",
        "created_at",
        "start_time",
        "datetime",
        "@timestamp",
        "time",
        "ts",
    )
    service: tuple[str, ...] = ("service", "model", "model_name", "endpoint", "deployment")
    prompt_tokens: tuple[str, ...] = (
        "prompt_tokens",
        "usage.prompt_tokens",
        "input_tokens",
        "usage.input_tokens",
        "contexttokens",
        "request_tokens",
        "input_length",
        "num_prompt_tokens",
    )
    output_tokens: tuple[str, ...] = (
        "output_tokens",
        "usage.completion_tokens",
        "completion_tokens",
        "usage.output_tokens",
        "generatedtokens",
        "response_tokens",
        "output_length",
        "num_generation_tokens",
    )
    ttft: tuple[str, ...] = (
        "ttft_s",
        "ttft_ms",
        "ttft_seconds",
        "time_to_first_token_s",
        "time_to_first_token_ms",
        "time_to_first_token_seconds",
    )
    tpot: tuple[str, ...] = (
        "tpot_s",
        "tpot_ms",
        "time_per_output_token_s",
        "time_per_output_token_ms",
        "time_per_output_token_seconds",
    )
    latency: tuple[str, ...] = (
        "latency_s",
        "latency_ms",
        "latency_seconds",
        "e2e_latency_s",
        "e2e_latency_ms",
        "duration_s",
        "duration_ms",
        "duration_seconds",
        "response_time_s",
        "response_time_ms",
    )
    status: tuple[str, ...] = (
        "status",
        "status_code",
        "http_status",
        "http_status_code",
        "response_code",
    )
    time_unit: TimeUnit = TimeUnit.AUTO


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to read a log.

    Attributes
    ----------
    format : LogFormat
        `AUTO` looks at the content.
    service : str
        Service of every row; needed where the log does not name one, and it wins where it does.
    unnamed : str
        Service of the rows of a log that names none; empty = such a log is refused.
    columns : ColumnMap
        Which column is which.
    origin_s : float or None
        Moment of relative time 0, epoch seconds; needed where time stamps are relative.
    timezone : str
        IANA zone of time stamps that carry none.
    earliest_s, latest_s : float
        Arrivals outside are rejected, epoch seconds; defaults 1990 and 2100.
    rejects_dir : Path or None
        Folder for the file of rejected lines; None keeps the counts only.
    block_bytes : int
        Bytes that are parsed and stored in one step.
    """

    format: LogFormat = LogFormat.AUTO
    service: str = ""
    unnamed: str = ""
    columns: ColumnMap = field(default_factory=ColumnMap)
    origin_s: float | None = None
    timezone: str = "UTC"
    earliest_s: float = 631_152_000.0
    latest_s: float = 4_102_444_800.0
    rejects_dir: Path | None = None
    block_bytes: int = 4 << 20

    @property
    def row_service(self) -> str:
        """Service of a row that names none itself."""
        return self.service or self.unnamed


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one run did.

    Attributes
    ----------
    rows, accepted, rejected : int
        Rows that this run read; `rows` is the sum of the other two.
    rejects_by_reason : mapping
        Rejected rows by reason.
    first_s, last_s : float or None
        First and last accepted arrival of this run, epoch seconds.
    seconds : float
        Time that it took.
    skipped : int
        Rows at the beginning of the log that were known already.
    rejects_path : Path or None
        File with the rejected lines, if there are any.
    told : int
        Accepted rows that tell how long an answer took.
    """

    rows: int
    accepted: int
    rejected: int
    rejects_by_reason: Mapping[str, int]
    first_s: float | None
    last_s: float | None
    seconds: float
    skipped: int
    rejects_path: Path | None
    told: int = 0
