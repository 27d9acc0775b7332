"""Selectors of series as PromQL writes them: ``name{label="value", other=~"a|b"}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from forecaster.domain.errors import SettingError

_SELECTOR = re.compile(r"\s*([a-zA-Z_:][\w:]*)?\s*(?:\{(.*)\})?\s*", re.DOTALL)
_MATCHER = re.compile(
    r"""\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*(?:,|$)"""
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label; a label that is not there is empty."""

    label: str
    operator: str
    value: str

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether a series passes."""
        found = labels.get(self.label, "")
        if self.operator in ("=", "!="):
            return (found == self.value) is (self.operator == "=")
        return (re.fullmatch(self.value, found) is not None) is (self.operator == "=~")


@dataclass(frozen=True, slots=True)
class Selector:
    """A name (empty for any) and conditions that all hold."""

    name: str
    matchers: tuple[Matcher, ...]

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether a series is meant, by its labels without the name."""
        return all(each.takes(labels) for each in self.matchers)


@lru_cache(maxsize=4096)
def selector(text: str) -> Selector:
    """Read a selector.

    Raises
    ------
    SettingError
        For anything that is more than one, or less.

    Examples
    --------
    >>> asked = selector('up{job="vllm", pod!~"test-.*"}')
    >>> asked.name, asked.takes({"job": "vllm"}), asked.takes({"job": "vllm", "pod": "test-1"})
    ('up', True, False)
    """
    whole = _SELECTOR.fullmatch(text)
    if whole is None:
        raise _refused(text)
    rest, found = (whole[2] or "").strip(), []
    while rest:
        one = _MATCHER.match(rest)
        if one is None:
            raise _refused(text)
        value = re.sub(r"\\(.)", lambda part: _ESCAPES.get(part[1], part[1]), one[3][1:-1])
        if one[2] in ("=~", "!~"):
            _compiled(value, text)
        found.append(Matcher(one[1], one[2], value))
        rest = rest[one.end() :]
    return Selector(whole[1] or "", tuple(found))


def _compiled(pattern: str, text: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise _refused(text) from error


def _refused(text: str) -> SettingError:
    return SettingError(
        "service.metrics.match", text, "label matchers", """as in model_name="llama", pod=~"gpu-.*" """.strip()
    )  # fmt: skip
