"""Sizing tables kept by content: built once, read from disk by the next process, from memory after."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import orjson

from forecaster.capacity.sizing import MAX_UNITS, Question, utilisation
from forecaster.capacity.sizing_table import FLEETS, SizingTable
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.domain.plan import Binding
from forecaster.domain.pools import Pool, Split

if TYPE_CHECKING:
    from forecaster.capacity.traffic import Lengths

VERSION = 2
"""Of what tables mean: raised when the kernel or the way to build them changes an answer."""
SMALL = 16
"""Tables are built for fleets up to this or for the largest simulated one: two sizes to share."""
ENOUGH = 0.6
"""A load that uses less than this of the small table's largest fleet is answered by that table."""
IN_MEMORY = 64
ON_DISK = 512
SEEN = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Several types that are sized for one load are so for a tide below it: these parts of it, as often."""
DIGITS = 4
"""Significant digits of moments that make a question its own."""
ARRAYS = ("units", "rate_per_unit_rps", "violation", "at_per_unit_rps", "parts", "times_s")


class Tables:
    """Tables of one installation.

    Parameters
    ----------
    folder : Path
        Where they are kept; need not exist. One that cannot be written is done without.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: OrderedDict[str, SizingTable] = OrderedDict()

    def table(
        self,
        question: Question,
        max_units: int,
        lengths: Lengths | None = None,
        progress: Callable[[float], None] | None = None,
        service: str = "",
    ) -> SizingTable:
        """Return the table of 1..`max_units` units: from memory, from disk, or built now.

        Parameters
        ----------
        lengths : (int64[n], int64[n]) or None
            Token lengths to draw from; None: lognormals of the mix.
        service : str
            Whose lengths these are: its table of an equal question is this one, whichever of its
            requests were drawn.

        Raises
        ------
        SloInfeasibleError, SettingError, DataError
            As `build_table` does.
        """
        found = self.known(question, max_units, lengths, service)
        if found is None:
            if question.unit.mixed is None:
                built = _built(_plain(question), _fleets(max_units), lengths, progress)
            else:
                built = self._mixed(question, max_units, lengths, progress, service)
            key = self.key(question, max_units, lengths, service)
            self._write(key, built)
            found = self._remember(key, built, max_units)
        return found

    def key(
        self,
        question: Question,
        max_units: int,
        lengths: Lengths | None = None,
        service: str = "",
    ) -> str:
        """Name of a table by its content: equal questions share one.

        Raises
        ------
        SettingError
            When `max_units` is out of range.
        """
        if not 1 <= max_units <= MAX_UNITS:
            raise SettingError("max_units", max_units, f"1..{MAX_UNITS} units")
        # the ladder of several types is made for its length
        fleets = _fleets(max_units) if question.unit.mixed is None else max_units
        return _key(_plain(question), fleets, None if service else lengths, service)

    def known(
        self,
        question: Question,
        max_units: int,
        lengths: Lengths | None = None,
        service: str = "",
    ) -> SizingTable | None:
        """Return a table that was built before, from memory or disk; None where none was."""
        key = self.key(question, max_units, lengths, service)
        found = self._known.get(key) or _read(self._path(key), _plain(question))
        return None if found is None else self._remember(key, found, max_units)

    def keep(
        self, question: Question, max_units: int, table: SizingTable, service: str = ""
    ) -> None:
        """Keep a table in memory that another process built."""
        self._remember(self.key(question, max_units, service=service), table, max_units)

    def _remember(self, key: str, table: SizingTable, max_units: int) -> SizingTable:
        self._known[key] = table
        self._known.move_to_end(key)
        if len(self._known) > IN_MEMORY:
            self._known.popitem(last=False)
        return table if table.max_units == max_units else replace(table, max_units=max_units)

    def _mixed(
        self,
        question: Question,
        max_units: int,
        lengths: Lengths | None,
        progress: Callable[[float], None] | None,
        service: str,
    ) -> SizingTable:
        """Put the tables of several types together; one that cannot keep the SLO is left out."""
        from forecaster.capacity.mixed_table import mixed_table

        mixed = question.unit.mixed
        assert mixed is not None
        found: dict[Pool, SizingTable] = {}
        refused: SloInfeasibleError | None = None
        for i, (unit, most) in enumerate(zip(mixed.types, mixed.most, strict=True)):
            told = partial(_part, progress, i, len(mixed.types))
            try:
                found[Pool(unit.name)] = self.table(
                    replace(question, unit=unit, seen_rps=()),
                    min(most, max_units),
                    lengths,
                    told,
                    service,
                )
            except SloInfeasibleError as error:
                refused = error
        if not found and refused is not None:
            raise refused
        return mixed_table(_plain(question), max_units, found)

    def for_rate(self, question: Question, rate_rps: float) -> SizingTable:
        """Return a table that answers for `rate_rps`: as large as it takes, up to `MAX_UNITS`."""
        if not 0 <= rate_rps < float("inf"):
            raise SettingError("rate", rate_rps, "a finite rate of 0 or more requests/s")
        mixed = question.unit.mixed is not None
        if mixed:
            question = replace(question, seen_rps=tuple(rate_rps * part for part in SEEN))
        small = not mixed and utilisation(question, rate_rps, SMALL) < ENOUGH
        table = self.table(question, SMALL if small else FLEETS[-1])
        if small and rate_rps > table.capacity_rps(SMALL):
            table = self.table(question, FLEETS[-1])
        if rate_rps > table.capacity_rps(table.max_units):
            table = self.table(question, MAX_UNITS)
        return table

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"

    def _write(self, key: str, table: SizingTable) -> None:
        """Write whole or not at all; the oldest make room."""
        path = self._path(key)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        head = {
            "version": VERSION,
            "max_units": table.max_units,
            "saturation_rps": table.saturation_rps,
            "bindings": [each.value for each in table.bindings],
            "split": asdict(table.split),
        }
        arrays = {name: getattr(table, name) for name in ARRAYS}
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                np.savez(file, head=np.frombuffer(orjson.dumps(head), np.uint8), **arrays)
            fresh.replace(path)
            kept = sorted(self._folder.glob("*.npz"), key=lambda each: each.stat().st_mtime)
            for old in kept[:-ON_DISK]:
                old.unlink(missing_ok=True)


@lru_cache(maxsize=8)
def tables_in(home: Path) -> Tables:
    """The tables of the installation under `home`, one object in this process."""
    return Tables(home / "tables")


def _built(
    question: Question,
    max_units: int,
    lengths: Lengths | None,
    progress: Callable[[float], None] | None,
) -> SizingTable:
    # the compiler takes a second to load
    if question.unit.pair is not None:
        from forecaster.capacity.pair_table import build_pair_table

        return build_pair_table(question, max_units, lengths, progress)
    from forecaster.capacity.tables import build_table

    return build_table(question, max_units, lengths, progress)


def _read(path: Path, question: Question) -> SizingTable | None:
    """Return the table in a file, None when there is none or the file is broken."""
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as file:
            head = orjson.loads(file["head"].tobytes())
            arrays = {name: file[name] for name in ARRAYS}
        split = Split.of_values(head.get("split", {}))
        if head["version"] != VERSION or bool(split.pools) != question.unit.pooled:
            return None
        return SizingTable(
            question=question,
            max_units=head["max_units"],
            saturation_rps=head["saturation_rps"],
            bindings=tuple(Binding(each) for each in head["bindings"]),
            split=split,
            **arrays,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None


def _part(progress: Callable[[float], None] | None, done: int, of: int, share: float) -> None:
    if progress is not None:
        progress((done + share) / of)


def _fleets(max_units: int) -> int:
    return SMALL if max_units <= SMALL else FLEETS[-1]


def _plain(question: Question) -> Question:
    """The question with moments of so many digits: noise in the last bit is no new question."""
    moments = {name: float(f"{value:.{DIGITS}g}") for name, value in asdict(question.mix).items()}
    dispersion = float(f"{max(question.dispersion, 1.0):.{DIGITS}g}")
    return replace(question, mix=replace(question.mix, **moments), dispersion=dispersion)


def _key(question: Question, fleets: int, lengths: Lengths | None, service: str) -> str:
    profile = question.unit.profile
    text = [
        VERSION, type(profile).__name__, asdict(profile), [_float(each) for each in asdict(question.slo).values()],
        asdict(question.mix), question.dispersion, fleets, *([service] if service else []),
    ]  # fmt: skip
    pair = question.unit.pair
    if question.unit.mixed is not None:
        text += [asdict(question.unit.mixed), question.seen_rps]
    if pair is not None:
        text += [asdict(pair.profile), pair.prefill.price_per_hour, pair.decode.price_per_hour]
    digest = hashlib.sha256(
        orjson.dumps(text, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    )
    for column in lengths or ():
        digest.update(np.ascontiguousarray(column, np.int64).tobytes())
    return digest.hexdigest()[:24]


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
