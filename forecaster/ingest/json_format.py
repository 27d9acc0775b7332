"""JSON lines, with nested objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from forecaster.domain.errors import DataError
from forecaster.ingest.arrow import text_array
from forecaster.ingest.blocks import Block
from forecaster.ingest.columnar import rows_from_text, rows_from_typed
from forecaster.ingest.header import Columns, resolve
from forecaster.ingest.options import IngestOptions
from forecaster.ingest.parsed import Parsed, Rejected, numbered_lines, parsed, shown, too_long
from forecaster.ingest.reasons import Reason
from forecaster.ingest.timestamps import TimeReader, time_reader

_SAMPLE_ROWS = 200


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """One log's fields, decided once.

    A block is parsed by Arrow; only when that fails is it read line by line.
    """

    columns: Columns
    times: TimeReader
    schema: pa.Schema
    options: IngestOptions

    @classmethod
    def of(cls, head: bytes, options: IngestOptions, log: str) -> JsonFormat:
        """Look at the first objects.

        Raises
        ------
        DataError
            When there is none, a field is missing, or nothing in the time field is a time.
        """
        lines = head.split(b"\n")
        whole = lines[:-1] or lines
        objects = [found for line in whole[:_SAMPLE_ROWS] if (found := _object(line)) is not None]
        if not objects:
            raise DataError(
                f"{log}: not one of the first lines is a JSON object",
                "write one object a line (`jq -c '.[]'` turns an array into lines)",
            )
        names = list(dict.fromkeys(name for found in objects for name in _flat(found)))
        columns = resolve(names, options, log)
        values = [_at(found, columns.timestamp) for found in objects]
        sample = [_text(value) for value in values if value is not None]
        times = time_reader(sample or [""], columns.timestamp, options, columns.relative_unit)
        return cls(columns, times, _schema(columns, times, objects), options)

    def parse(self, block: Block) -> Parsed:
        """Return every row of the block, accepted or rejected."""
        if block.too_long:
            return too_long(block)
        if not block.data or block.data.isspace():
            return Parsed((), ())
        return self._parse_quickly(block) or self._parse_carefully(block)

    def _parse_quickly(self, block: Block) -> Parsed | None:
        """Read straight to numbers; None when anything at all is unusual."""
        try:
            table = self._read(block.data)
            columns = {name: _column(table, name) for name in self.columns.used}
            holes = any(columns[name].null_count for name in self.columns.needed)
            if holes or len(table) != block.lines:
                return None
            if not self.times.numeric:
                at = self.columns.timestamp
                columns[at] = columns[at].cast(self.times.arrow_type)
        except pa.ArrowInvalid:
            return None
        rows = rows_from_typed(columns, self.columns, self.times, self.options.row_service)
        return None if rows.reason.any() else Parsed(rows.batches(), ())

    def _read(self, data: bytes) -> pa.Table:
        return pa_json.read_json(
            pa.py_buffer(data),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pa_json.ParseOptions(
                explicit_schema=self.schema, unexpected_field_behavior="ignore"
            ),
        )

    def _parse_carefully(self, block: Block) -> Parsed:
        """Read line by line: every bad row is found, with its line and its reason."""
        kept: list[tuple[int, bytes]] = []
        rejected: list[Rejected] = []
        values: dict[str, list[str]] = {name: [] for name in self.columns.used}
        for line, text in numbered_lines(block):
            found = _object(text)
            if found is None:
                rejected.append(Rejected(line, Reason.MALFORMED_JSON, shown(text)))
                continue
            kept.append((line, text))
            for name, column in values.items():
                column.append(_text(_at(found, name)))
        columns = {name: text_array(column) for name, column in values.items()}
        careful = parsed(
            rows_from_text(columns, self.columns, self.times, self.options.row_service),
            lambda row: (kept[row][0], shown(kept[row][1])),
        )
        in_order = sorted([*rejected, *careful.rejected], key=lambda reject: reject.line)
        return Parsed(careful.batches, in_order)


def _schema(columns: Columns, times: TimeReader, objects: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """Types of the fields that are read, as deep as their names go; those of the answers as the first objects have them."""
    tree: dict[str, Any] = {}
    for name in columns.used:
        if name == columns.timestamp:
            leaf = pa.float64() if times.numeric else pa.string()
        elif name == columns.service:
            leaf = pa.string()
        elif name in columns.optional:
            texts = any(isinstance(_at(found, name), str) for found in objects)
            leaf = pa.string() if texts else pa.float64()
        else:
            leaf = pa.int64()
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = leaf
    return pa.schema(_fields(tree))


def _fields(tree: Mapping[str, Any]) -> list[pa.Field]:
    return [
        pa.field(name, pa.struct(_fields(kind)) if isinstance(kind, dict) else kind)
        for name, kind in tree.items()
    ]


def _column(table: pa.Table, name: str) -> pa.Array:
    first, *rest = name.split(".")
    column = table[first].combine_chunks()
    return pc.struct_field(column, rest) if rest else column


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _flat(found: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names of the fields, those of nested objects with dots."""
    names = []
    for name, value in found.items():
        if isinstance(value, dict):
            names += _flat(value, f"{prefix}{name}.")
        elif "." not in name:
            names.append(prefix + name)
    return names


def _at(found: Mapping[str, Any], name: str) -> Any:
    value: Any = found
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    """Render what the field holds; booleans, lists and objects become text that no parser takes."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
