"""CSV with a header: comma, tab, semicolon or bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from forecaster.domain.errors import DataError
from forecaster.ingest.blocks import Block
from forecaster.ingest.columnar import rows_from_text, rows_from_typed
from forecaster.ingest.header import Columns, resolve
from forecaster.ingest.options import IngestOptions
from forecaster.ingest.parsed import Parsed, Rejected, numbered_lines, parsed, shown, too_long
from forecaster.ingest.reasons import Reason
from forecaster.ingest.timestamps import TimeReader, time_reader

_DELIMITERS = ",\t;|"
_SAMPLE_ROWS = 200
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """One log's header, decided once.

    A block is parsed straight to numbers; only when that fails is it read again as text, to find
    exactly the rows at fault. A row is one line: line ends inside quotes are not supported.
    """

    delimiter: str
    names: tuple[str, ...]
    columns: Columns
    times: TimeReader
    float_tokens: bool
    options: IngestOptions

    @classmethod
    def of(cls, head: bytes, options: IngestOptions, log: str) -> CsvFormat:
        """Read the header and decide from the first rows how time stamps are read.

        Raises
        ------
        DataError
            When a column is missing, or nothing in the column of time stamps is one.
        """
        lines = head.removeprefix(_BOM).split(b"\n")
        header = lines[0].decode(errors="replace").strip("\r")
        delimiter = max(_DELIMITERS, key=header.count)
        names = tuple(name.strip().strip('"') for name in header.split(delimiter))
        columns = resolve(names, options, log)
        body = [line for line in (lines[1:-1] or lines[1:]) if line.strip()][:_SAMPLE_ROWS]
        if not body:
            raise DataError(f"{log} holds a header and no rows", "check what wrote it")
        fields = [line.decode(errors="replace").strip("\r").split(delimiter) for line in body]
        where = names.index(columns.timestamp)
        sample = [row[where].strip('"') for row in fields if len(row) > where]
        times = time_reader(sample, columns.timestamp, options, columns.relative_unit)
        floats = False
        if columns.prompt_tokens is not None:
            tokens = names.index(columns.prompt_tokens)
            floats = any("." in row[tokens] for row in fields if len(row) > tokens)
        return cls(delimiter, names, columns, times, floats, options)

    def parse(self, block: Block) -> Parsed:
        """Return every row of the block, accepted or rejected."""
        if block.too_long:
            return too_long(block)
        begin = block.data.find(b"\n") + 1 if block.first_line == 1 else 0
        if begin == len(block.data) or (block.first_line == 1 and not begin):
            return Parsed((), ())
        if block.data.find(b'"', begin) < 0:
            try:
                table = self._read(pa.py_buffer(block.data).slice(begin), self._types(), None)
            except pa.ArrowInvalid:
                return self._parse_carefully(block)
            columns = self._columns(table)
            rows = rows_from_typed(columns, self.columns, self.times, self.options.row_service)
            if not rows.reason.any():
                return Parsed(rows.batches(), ())
        return self._parse_carefully(block)

    def _types(self) -> dict[str, pa.DataType]:
        tokens = pa.float64() if self.float_tokens else pa.int64()
        types = dict.fromkeys(self.columns.needed, tokens)
        types |= dict.fromkeys(self.columns.optional, pa.string())
        types[self.columns.timestamp] = self.times.arrow_type
        if self.columns.service is not None:
            types[self.columns.service] = pa.dictionary(pa.int32(), pa.string())
        return types

    def _parse_carefully(self, block: Block) -> Parsed:
        """Read as text: every bad row is found, with its line and its reason."""
        lines = numbered_lines(block)
        if block.first_line == 1:
            lines = [entry for entry in lines if entry[0] > 1]
        rejected = []
        if b'"' in block.data:
            odd = [entry for entry in lines if entry[1].count(b'"') % 2]
            rejected += [Rejected(at, Reason.UNBALANCED_QUOTE, shown(text)) for at, text in odd]
            lines = [entry for entry in lines if entry[1].count(b'"') % 2 == 0]
        if not lines:
            return Parsed((), rejected)
        misfits: list[int] = []

        def skip(row: Any) -> str:
            misfits.append(row.number - 1)
            return "skip"

        data = pa.py_buffer(b"\n".join(line for _, line in lines) + b"\n")
        table = self._read(data, dict.fromkeys(self.columns.used, pa.string()), skip)
        for index in misfits:
            line, text = lines[index]
            rejected.append(Rejected(line, Reason.WRONG_COLUMN_COUNT, shown(text)))
        kept = np.delete(np.arange(len(lines)), misfits)
        careful = parsed(
            rows_from_text(
                self._columns(table), self.columns, self.times, self.options.row_service
            ),
            lambda row: (lines[kept[row]][0], shown(lines[kept[row]][1])),
        )
        in_order = sorted([*rejected, *careful.rejected], key=lambda reject: reject.line)
        return Parsed(careful.batches, in_order)

    def _columns(self, table: pa.Table) -> dict[str, pa.Array]:
        return {name: table[name].combine_chunks() for name in self.columns.used}

    def _read(self, data: pa.Buffer, types: dict[str, pa.DataType], on_misfit: Any) -> pa.Table:
        return pa_csv.read_csv(
            data,
            read_options=pa_csv.ReadOptions(
                use_threads=False, block_size=data.size + 1, column_names=list(self.names)
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char='"' if on_misfit is not None else False,
                invalid_row_handler=on_misfit,
            ),
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False,
                column_types=types,
                include_columns=self.columns.used,
                null_values=[],
                strings_can_be_null=False,
                timestamp_parsers=[pa_csv.ISO8601],
            ),
        )
