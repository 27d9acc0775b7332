"""Code blocks of the documentation, and what a block of each language has to stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SEPARATORS = ("&&", "||", "|", ";", ">", "<")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes
    ----------
    line : int
        Where it begins.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str, page: str = "") -> list[Block]:
    """Blocks of the languages, all where none is named, in the order in which they are read."""
    return [
        each
        for path in PAGES
        for each in _of(path)
        if (not languages or each.language in languages) and page in ("", each.page)
    ]


def _of(path: Path) -> Iterator[Block]:
    text = path.read_text("utf-8")
    for found in FENCE.finditer(text):
        line = text[: found.start()].count("\n") + 1
        yield Block(str(path.relative_to(ROOT)), line, found[1], found[2])


def lines(block: Block) -> list[str]:
    """Lines that say something."""
    return [each for each in block.text.splitlines() if each.strip() and not each.startswith("#")]


def commands(line: str) -> Iterator[list[str]]:
    """Words of each simple command of a shell line; comments and redirections are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in lexer:
        if word in (">", "<"):
            skip = True  # its file is no word of the command
        elif word in SEPARATORS:
            yield words
            words = []
        elif skip:
            skip = False
        else:
            words.append(word)
    if words:
        yield words
