"""Parquet: columns that are typed already."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pa_parquet

from forecaster.domain.errors import DataError
from forecaster.ingest.bytesource import ByteSource, CutShortError
from forecaster.ingest.columnar import rows_from_text, rows_from_typed
from forecaster.ingest.header import Columns, resolve
from forecaster.ingest.options import IngestOptions
from forecaster.ingest.parsed import Parsed, parsed
from forecaster.ingest.timestamps import TimeReader, time_reader

ROWS_PER_BLOCK = 1 << 17
_SAMPLE_ROWS = 200


@dataclass(frozen=True, slots=True)
class ParquetLog:
    """One Parquet file: never appended to, so it is identified by the hash of all of it."""

    file: IO[bytes]
    size_bytes: int
    sha256: str


def spooled(source: ByteSource) -> ParquetLog:
    """Copy a log, decompressed, to a temporary file: Parquet is read from its end."""
    file = tempfile.TemporaryFile(prefix="tidegate-")  # noqa: SIM115 - the caller closes it
    digest = hashlib.sha256()
    try:
        for piece in source.pieces():
            digest.update(piece)
            file.write(piece)
    except CutShortError as error:
        raise DataError(f"{source.name}: {error}", "copy the file again") from error
    file.flush()
    return ParquetLog(file, file.tell(), digest.hexdigest())


def parquet_blocks(
    log: ParquetLog, options: IngestOptions, name: str, skip_rows: int
) -> Iterator[tuple[int, Parsed]]:
    """Yield blocks with the number of rows up to their end, after the first `skip_rows` rows.

    Raises
    ------
    DataError
        When the file cannot be read or lacks a column.
    """
    try:
        file = pa_parquet.ParquetFile(log.file)
        found = [".".join(path) for path in _paths(file.schema_arrow)]
        columns = resolve(found, options, name)
        done = 0
        times: TimeReader | None = None
        tops = list(dict.fromkeys(used.split(".")[0] for used in columns.used))
        for batch in file.iter_batches(ROWS_PER_BLOCK, columns=tops, use_threads=False):
            arrays = {used: _column(batch, used) for used in columns.used}
            times = times or _times(arrays[columns.timestamp], columns, options)
            begin, done = done, done + len(batch)
            if done <= skip_rows:
                continue
            fresh = max(skip_rows - begin, 0)
            arrays = {used: array[fresh:] for used, array in arrays.items()}
            yield done, _parsed(arrays, columns, times, (options.row_service, begin + fresh))
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise DataError(f"{name} is no readable Parquet file: {reason}", "copy it again") from error


def _parsed(
    arrays: dict[str, pa.Array], columns: Columns, times: TimeReader, origin: tuple[str, int]
) -> Parsed:
    service, first_row = origin
    if not any(arrays[name].null_count for name in columns.needed):
        try:
            typed = dict(arrays)
            at = typed[columns.timestamp]
            if pa.types.is_string(at.type) or pa.types.is_large_string(at.type):
                typed[columns.timestamp] = at.cast(times.arrow_type)
            rows = rows_from_typed(typed, columns, times, service)
            if not rows.reason.any():
                return Parsed(rows.batches(), ())
        except pa.ArrowInvalid:
            pass  # read it again as text, which finds the rows at fault
    text = {used: array.cast(pa.string()) for used, array in arrays.items()}

    def line_of(row: int) -> tuple[int, str]:
        return first_row + row + 1, ", ".join(f"{n}={c[row].as_py()}" for n, c in text.items())

    return parsed(rows_from_text(text, columns, times, service), line_of)


def _times(column: pa.Array, columns: Columns, options: IngestOptions) -> TimeReader:
    sample = column.drop_null()[:_SAMPLE_ROWS].cast(pa.string()).to_pylist()
    return time_reader(sample or [""], columns.timestamp, options, columns.relative_unit)


def _paths(fields: pa.Schema | pa.StructType) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for field in fields:
        if pa.types.is_struct(field.type):
            found += [(field.name, *path) for path in _paths(field.type)]
        else:
            found.append((field.name,))
    return found


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    first, *rest = name.split(".")
    return pc.struct_field(batch.column(first), rest) if rest else batch.column(first)
