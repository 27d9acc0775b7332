"""Every format, every spelling of a time stamp, every reason to reject a row; no database."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from forecaster.domain.answers import NOT_TOLD, Answers
from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.domain.errors import DataError, SettingError
from forecaster.domain.service import Slo
from forecaster.ingest import (
    ColumnMap,
    IngestOptions,
    IngestReport,
    LogFormat,
    TimeUnit,
    ingest_file,
)

Row = tuple[str, float, int, int]
T0_S = 1736121600.0
"""2025-01-06T00:00:00Z."""


@dataclass
class MemorySink:
    """Keeps what it is given."""

    rows: list[Row] = field(default_factory=list)
    batches: list[RequestBatch] = field(default_factory=list)
    logs: list[LogSource] = field(default_factory=list)

    def head_lengths(self, service: str) -> Sequence[int]:
        return [log.head_bytes for log in self.logs if log.service == service]

    def sources_with_heads(self, service: str, heads: Sequence[str]) -> Sequence[LogSource]:
        return [log for log in self.logs if log.service == service and log.head_sha256 in heads]

    def append_requests(
        self,
        before: LogSource,
        after: LogSource,
        batches: Sequence[RequestBatch],
        retract: RequestBatch | None = None,
    ) -> LogSource:
        if retract is not None:
            self.rows.remove(rows_of(retract)[0])
        self.batches += batches
        for batch in batches:
            self.rows += rows_of(batch)
        if before.source_id:
            assert self.logs[before.source_id - 1].offset == before.offset
            self.logs[before.source_id - 1] = after
            return after
        stored = replace(after, source_id=len(self.logs) + 1)
        self.logs.append(stored)
        return stored


def rows_of(batch: RequestBatch) -> list[Row]:
    columns = (batch.arrival_s, batch.prompt_tokens, batch.output_tokens)
    return [(batch.service, float(t), int(p), int(n)) for t, p, n in zip(*columns, strict=True)]


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


def ingest_text(
    tmp_path: Path, sink: MemorySink, text: str | bytes, options: IngestOptions | None = None
) -> IngestReport:
    path = tmp_path / "log"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    options = options or IngestOptions()
    return ingest_file(path, sink, replace(options, rejects_dir=tmp_path / "rejects"))


ONE: Row = ("chat", T0_S, 374, 44)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("timestamp,service,prompt_tokens,output_tokens\n2025-01-06T00:00:00.000Z,chat,374,44\n", {}),
        ("timestamp;service;prompt_tokens;output_tokens\n2025-01-06 00:00:00;chat;374;44\n", {}),
        ("timestamp\tservice\tprompt_tokens\toutput_tokens\n1736121600\tchat\t374\t44\n", {}),
        ("timestamp|service|prompt_tokens|output_tokens\r\n1736121600|chat|374.0|44.0\r\n", {}),
        ('"timestamp","service","prompt_tokens","output_tokens"\n"2025-01-06T00:00:00Z","chat","374","44"\n', {}),
        ("\ufefftimestamp,service,prompt_tokens,output_tokens\n2025-01-06T01:00:00+01:00,chat,374,44", {}),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2025-01-06 00:00:00.0000000,374,44\n", {"service": "chat"}),
        ("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n0,chat,374,44,418,API log\n", {"origin_s": T0_S}),
        ('{"timestamp": 0, "input_length": 374, "output_length": 44, "hash_ids": [1, 2]}\n', {"origin_s": T0_S, "service": "chat"}),
        ('{"created": 1736121600, "model": "chat", "usage": {"prompt_tokens": 374, "completion_tokens": 44}}\n', {}),
        ('{"arrival_time": "2025-01-06T00:00:00Z", "model": "chat", "prompt_tokens": 374, "completion_tokens": 44}\n', {}),
        ('{"request_time": 1736121600000, "model": "chat", "input_tokens": 374, "output_tokens": 44.0}\n', {}),
        ("at,who,p,n\n1736121600000000,chat,374,44\n", {"columns": ColumnMap(timestamp=("at",), service=("who",), prompt_tokens=("p",), output_tokens=("n",))}),
        ("ts,service,prompt_tokens,output_tokens\n2025-01-06T01:00:00,chat,374,44\n", {"timezone": "Europe/Berlin"}),
        ("ts,service,prompt_tokens,output_tokens\n1736121600000000000,chat,374,44\n", {}),
        ("ts,service,prompt_tokens,output_tokens\n1736121600,other,374,44\n", {"service": "chat"}),
    ],
)  # fmt: skip
def test_every_spelling_of_one_request(
    tmp_path: Path, sink: MemorySink, text: str, options: dict[str, object]
) -> None:
    report = ingest_text(tmp_path, sink, text, IngestOptions(**options))  # type: ignore[arg-type]
    assert sink.rows == [ONE]
    assert (report.rows, report.accepted, report.rejected) == (1, 1, 0)
    assert (report.first_s, report.last_s) == (T0_S, T0_S)


def test_mooncake_relative_time_is_in_milliseconds(tmp_path: Path, sink: MemorySink) -> None:
    text = '{"timestamp": 27482, "input_length": 6955, "output_length": 52}\n'
    ingest_text(tmp_path, sink, text, IngestOptions(service="m", origin_s=1000.0, earliest_s=0))
    assert sink.rows[0][1] == 1027.482


def test_a_given_unit_wins(tmp_path: Path, sink: MemorySink) -> None:
    columns = ColumnMap(time_unit=TimeUnit.MILLISECONDS)
    options = IngestOptions(service="s", columns=columns, origin_s=T0_S)
    ingest_text(tmp_path, sink, "timestamp\n1500\n", options)
    assert sink.rows == [("s", T0_S + 1.5, 0, 0)]


def test_combined_access_log(tmp_path: Path, sink: MemorySink) -> None:
    lines = [
        'host - - [01/Jul/1995:00:00:01 -0400] "GET /a HTTP/1.0" 200 6245',
        '::1 - bob [29/Feb/2024:23:59:59 +0000] "GET / HTTP/1.1" 304 0 "-" "curl [8]"',
        'host - - [29/Feb/2023:00:00:00 +0000] "GET /a HTTP/1.0" 200 1',
        "rubbish",
        'host - - [01/Jux/1995:00:00:01 -0400] "GET /a HTTP/1.0" 200 6245',
    ]
    report = ingest_text(tmp_path, sink, "\n".join(lines), IngestOptions(service="www"))
    assert [row[1] for row in sink.rows] == [804571201.0, 1709251199.0]
    assert report.rejects_by_reason == {"bad_timestamp": 2, "malformed_line": 1}
    answers = Answers.of(sink.batches)
    assert answers is not None
    assert answers.status.tolist() == [200, 304]
    assert not answers.timed


@pytest.mark.parametrize(
    ("behind", "status"),
    [
        ('"GET /a HTTP/1.0" 503 -', 503),
        ('"GET /say?\\"429\\" HTTP/1.0" 200 17', 200),
        ('"GET /a HTTP/1.0" - -', 0),
        ('"GET /a HTTP/1.0" 20', 0),
        ('"-" 408 0', 408),
        ("no request", 0),
        ('"half a request', 0),
    ],
)
def test_the_status_of_an_access_log(
    tmp_path: Path, sink: MemorySink, behind: str, status: int
) -> None:
    line = f"host - - [01/Jul/1995:00:00:01 -0400] {behind}\n"
    good = 'host - - [01/Jul/1995:00:00:02 -0400] "GET /a HTTP/1.0" 200 6245\n'
    ingest_text(tmp_path, sink, line + good, IngestOptions(service="www"))
    answers = Answers.of(sink.batches)
    assert answers is not None
    assert answers.status.tolist() == [status, 200]


def test_several_services_in_one_log(tmp_path: Path, sink: MemorySink) -> None:
    text = "timestamp,service\n" + "".join(f"{T0_S + i:.1f},s{i % 3}\n" for i in range(9))
    ingest_text(tmp_path, sink, text)
    assert sorted(sink.rows) == sorted((f"s{i % 3}", T0_S + i, 0, 0) for i in range(9))


BAD_CSV = """timestamp,service,prompt_tokens,output_tokens
2025-01-06T00:00:00Z,chat,1,1
yesterday,chat,1,1
2025-02-30T00:00:00Z,chat,1,1
2025-13-01T00:00:00Z,chat,1,1
,chat,1,1
2025-01-06T00:00:01Z,,1,1

2025-01-06T00:00:02Z,chat,-5,1
2025-01-06T00:00:03Z,chat,abc,1
2025-01-06T00:00:04Z,chat,1.5,1
2025-01-06T00:00:05Z,chat,1,99999999999999999999
2025-01-06T00:00:06Z,chat,,1
2025-01-06T00:00:07Z,chat,1
2025-01-06T00:00:08Z,chat,1,1,1
1066-10-14T09:00:00Z,chat,1,1
1989-12-31T23:59:59Z,chat,1,1
2025-01-06T00:00:09Z,"chat,1,1
2025-01-06T00:00:10Z,"chat",1.0,2
2025-01-06 00:00:11,chat,1,3
"""


def test_each_bad_line_has_its_reason_and_its_number(tmp_path: Path, sink: MemorySink) -> None:
    report = ingest_text(tmp_path, sink, BAD_CSV)
    assert [(row[1] - T0_S, row[3]) for row in sink.rows] == [(0, 1), (10, 2), (11, 3)]
    assert report.rejects_path is not None
    rejects = [json.loads(line) for line in report.rejects_path.read_text().splitlines()]
    assert [(reject["line"], reject["reason"]) for reject in rejects] == [
        (3, "bad_timestamp"),
        (4, "bad_timestamp"),
        (5, "bad_timestamp"),
        (6, "missing_field"),
        (7, "missing_field"),
        (9, "negative_tokens"),
        (10, "not_a_number"),
        (11, "not_an_integer"),
        (12, "token_overflow"),
        (13, "missing_field"),
        (14, "wrong_column_count"),
        (15, "wrong_column_count"),
        (16, "bad_timestamp"),
        (17, "timestamp_out_of_range"),
        (18, "unbalanced_quote"),
    ]
    assert rejects[0]["text"] == "yesterday,chat,1,1"
    assert report.rows == 18
    assert sum(report.rejects_by_reason.values()) == report.rejected == 15


def test_each_bad_json_line_has_its_reason(tmp_path: Path, sink: MemorySink) -> None:
    good = '{"ts": "2025-01-06T00:00:00Z", "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}'
    lines = [
        good,
        '{"ts": "2025-01-06T00:00:01Z", "model": "m", "usage"',
        "[1, 2]",
        '{"ts": "2025-01-06T00:00:02Z", "model": "m", "usage": null}',
        '{"ts": "2025-01-06T00:00:03Z", "model": "m", "usage": {"prompt_tokens": true, "completion_tokens": 2}}',
        '{"ts": "2025-01-06T00:00:04Z", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}',
        '{"ts": "soon", "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}',
        '{"ts": "2025-01-06T00:00:05Z", "model": "m", "usage": {"prompt_tokens": -1, "completion_tokens": 2}}',
        "",
        good,
    ]
    report = ingest_text(tmp_path, sink, "\n".join(lines) + "\n")
    assert len(sink.rows) == 2
    assert report.rejects_path is not None
    rejects = [json.loads(line) for line in report.rejects_path.read_text().splitlines()]
    assert [(reject["line"], reject["reason"]) for reject in rejects] == [
        (2, "malformed_json"),
        (3, "malformed_json"),
        (4, "missing_field"),
        (5, "not_a_number"),
        (6, "missing_field"),
        (7, "bad_timestamp"),
        (8, "negative_tokens"),
    ]


def test_broken_utf8_and_endless_lines_do_not_stop_a_run(tmp_path: Path, sink: MemorySink) -> None:
    text = b"timestamp,service\n1736121600,a\n1736121601,\xff\n"
    text += b"x" * (3 << 20) + b"\n1736121602,a\n"
    report = ingest_text(tmp_path, sink, text, IngestOptions(block_bytes=1 << 16))
    assert [row[1] - T0_S for row in sink.rows] == [0, 2]
    assert report.rejects_by_reason == {"invalid_utf8": 1, "line_too_long": 1}
    assert ingest_file(tmp_path / "log", sink, IngestOptions()).rows == 0


@pytest.mark.parametrize("block_bytes", [64, 100, 1000])
def test_blocks_of_any_size_give_the_same(
    tmp_path: Path, sink: MemorySink, block_bytes: int
) -> None:
    report = ingest_text(tmp_path, sink, BAD_CSV, IngestOptions(block_bytes=block_bytes))
    assert (report.accepted, report.rejected) == (3, 15)
    assert report.rejects_path is not None
    rejects = [json.loads(line) for line in report.rejects_path.read_text().splitlines()]
    assert [reject["line"] for reject in rejects][-3:] == [16, 17, 18]


def test_parquet_typed_nested_and_with_nulls(tmp_path: Path, sink: MemorySink) -> None:
    times = pa.array([T0_S, T0_S + 1, None, T0_S + 3]).cast(pa.int64()).cast(pa.timestamp("s"))
    usage = [{"prompt_tokens": i, "completion_tokens": 1 - i // 3 * 2} for i in range(4)]
    table = pa.table({"created": times, "model": ["m"] * 4, "usage": usage})
    pa_parquet.write_table(table, tmp_path / "log.parquet")
    report = ingest_file(tmp_path / "log.parquet", sink)
    assert sink.rows == [("m", T0_S, 0, 1), ("m", T0_S + 1, 1, 1)]
    assert report.rejects_by_reason == {"missing_field": 1, "negative_tokens": 1}
    again = ingest_file(tmp_path / "log.parquet", sink)
    assert (again.rows, again.skipped) == (0, 4)


@pytest.mark.parametrize(
    "compress", [gzip.compress, lambda raw: pa.compress(raw, "zstd", asbytes=True)]
)
def test_compressed_logs_are_the_same_log(tmp_path: Path, sink: MemorySink, compress) -> None:  # type: ignore[no-untyped-def]
    text = ("timestamp,service\n" + "".join(f"{T0_S + i:.0f},a\n" for i in range(5000))).encode()
    assert ingest_text(tmp_path, sink, text).accepted == 5000
    (tmp_path / "renamed").write_bytes(compress(text))
    assert ingest_file(tmp_path / "renamed", sink).rows == 0


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, r"log is empty; check what wrote it"),
        ("timestamp,service\n", {}, r"holds a header and no rows"),
        ("when,service\n1736121600,a\n", {}, r"no time stamp column; found 'when', 'service', needed one of timestamp, .*; map it with --column timestamp=NAME"),
        ("timestamp,service,prompt_toks,output_tokens\n1736121600,a,1,1\n", {}, r"no prompt tokens column; found .*'prompt_toks'"),
        ("timestamp,x\n1736121600,a\n", {}, r"no column names the service; .*--service NAME"),
        ("timestamp,service\nyesterday,a\n", {}, r"column 'timestamp' = 'yesterday' is not a time stamp; use ISO-8601"),
        ("timestamp,service\n12.5,a\n", {}, r"'timestamp' = 12.5 is relative time, not a date; say when it starts: --origin"),
        ("timestamp,service\n1736121600,a\n", {"columns": ColumnMap(timestamp=("at",))}, r"column timestamp = 'at' is not in the log"),
        ("timestamp,service\n1736121600,\n", {}, r"not one of 1 rows could be read \(1 missing_field\)"),
        ('[{"timestamp": 1}]', {}, r"is a JSON array; write one object a line"),
        ("{bad json\n", {}, r"not one of the first lines is a JSON object"),
        ("\x00\x01\x02", {}, r"is binary and no Parquet file"),
        ("PAR1 not really", {}, r"is no readable Parquet file"),
        ('h - - [01/Jul/1995:00:00:01 -0400] "GET / HTTP/1.0" 200 1\n', {}, r"an access log names no service; give it with --service NAME"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_with_a_remedy(
    tmp_path: Path, sink: MemorySink, text: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        ingest_text(tmp_path, sink, text, IngestOptions(**options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert (sink.rows, sink.logs) == ([], [])


def test_a_missing_file_and_an_unknown_zone_are_named(tmp_path: Path, sink: MemorySink) -> None:
    with pytest.raises(DataError, match=r"absent cannot be read: No such file"):
        ingest_file(tmp_path / "absent", sink)
    with pytest.raises(SettingError, match=r"timezone = 'Mars' is refused"):
        ingest_text(tmp_path, sink, "ts,service\n1,a\n", IngestOptions(timezone="Mars"))


def test_format_can_be_forced(tmp_path: Path, sink: MemorySink) -> None:
    with pytest.raises(DataError, match="JSON object"):
        text = "timestamp,service\n1736121600,a\n"
        ingest_text(tmp_path, sink, text, IngestOptions(format=LogFormat.JSONL))


def test_times_keep_their_microseconds(tmp_path: Path, sink: MemorySink) -> None:
    stamps = ["2023-11-16T18:15:46.680590", "2023-11-16T18:15:46.6805907", "2023-11-16T18:15:46"]
    ingest_text(tmp_path, sink, "ts,service\n" + "".join(f"{stamp},a\n" for stamp in stamps))
    micros = np.rint(np.array([row[1] for row in sink.rows]) * 1e6).astype(int) % 10**6
    assert micros.tolist() == [680590, 680590, 0]


TIMED_CSV = """\
timestamp,service,prompt_tokens,output_tokens,ttft_ms,Duration,status
1736121600,chat,10,5,500,2.5,200
1736121601,chat,10,1,400,0.4,200
1736121602,chat,10,5,-,1e1,503
1736121603,chat,10,5,,-3,ok
1736121604,chat,10,5,900,0.1,404
"""
TIMED_JSON = """\
{"ts": 1736121600, "service": "chat", "prompt_tokens": 10, "output_tokens": 5, "t": {"ttft_ms": 500, "Duration": 2.5}, "status": 200}
{"ts": 1736121601, "service": "chat", "prompt_tokens": 10, "output_tokens": 1, "t": {"ttft_ms": 400, "Duration": 0.4}, "status": 200}
{"ts": 1736121602, "service": "chat", "prompt_tokens": 10, "output_tokens": 5, "t": {"ttft_ms": null, "Duration": 10}, "status": 503}
{"ts": 1736121603, "service": "chat", "prompt_tokens": 10, "output_tokens": 5, "t": {"ttft_ms": "slow", "Duration": -3}, "status": "ok"}
{"ts": 1736121604, "service": "chat", "prompt_tokens": 10, "output_tokens": 5, "t": {"ttft_ms": 900, "Duration": 0.1}, "status": 404}
"""


def timed_parquet() -> bytes:
    table = pa.table(
        {
            "timestamp": [T0_S + n for n in range(5)],
            "service": ["chat"] * 5,
            "prompt_tokens": [10] * 5,
            "output_tokens": [5, 1, 5, 5, 5],
            "ttft_ms": pa.array([500, 400, None, None, 900]),
            "Duration": [2.5, 0.4, 10.0, -3.0, 0.1],
            "status": pa.array([200, 200, 503, None, 404], pa.int16()),
        }
    )
    out = io.BytesIO()
    pa_parquet.write_table(table, out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("log", "inside"), [(TIMED_CSV, ""), (TIMED_JSON, "t."), (timed_parquet(), "")]
)
def test_what_became_of_requests_and_no_row_is_refused_for_it(
    tmp_path: Path, sink: MemorySink, log: str | bytes, inside: str
) -> None:
    columns = ColumnMap(ttft=(f"{inside}ttft_ms",), latency=(f"{inside}duration:s",))
    assert ingest_text(tmp_path, sink, log, IngestOptions(columns=columns)).accepted == 5
    answers = Answers.of(sink.batches)
    assert answers is not None
    nan = np.nan
    assert answers.ttft_s.tolist() == pytest.approx([0.5, 0.4, nan, nan, 0.9], nan_ok=True)
    assert answers.latency_s.tolist() == pytest.approx([2.5, 0.4, 10.0, nan, 0.1], nan_ok=True)
    assert answers.tpot_s.tolist() == pytest.approx([0.5, 0.0, nan, nan, nan], nan_ok=True)
    assert answers.status.tolist() == [200, 200, 503, 0, 404]
    counts, outside = answers.judged(Slo(ttft_p99_s=0.45, tpot_p99_s=1.0))
    assert counts.tolist() == [True, True, True, False, False]
    assert outside.tolist() == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("latency_ms", 0.002), ("Latency-Seconds", 2.0), ("duration:us", 2e-6), ("took", 2.0), ("took.ns", 2e-9)],
)  # fmt: skip
def test_durations_are_in_the_unit_that_is_said_or_that_their_name_ends_in(
    tmp_path: Path, sink: MemorySink, name: str, seconds: float
) -> None:
    header = name.removesuffix(":us")
    text = f"timestamp,service,{header}\n1736121600,chat,2\n"
    ingest_text(tmp_path, sink, text, IngestOptions(columns=ColumnMap(latency=(name,))))
    (answers,) = (batch.answers for batch in sink.batches)
    assert answers is not None
    assert answers.latency_s.tolist() == pytest.approx([seconds])
    assert answers.ttft_s.tolist() == answers.tpot_s.tolist() == [NOT_TOLD]


@pytest.mark.parametrize("name", ["latency", "duration", "ttft", "elapsed"])
def test_a_duration_whose_unit_nobody_says_is_left_alone(
    tmp_path: Path, sink: MemorySink, name: str
) -> None:
    ingest_text(tmp_path, sink, f"timestamp,service,{name}\n1736121600,chat,2\n")
    assert [batch.answers for batch in sink.batches] == [None]
