"""Every word of the dashboard has its Chinese, and no word of the dictionary is left over."""

from __future__ import annotations

import re
from pathlib import Path

from forecaster.domain.anomaly import AnomalyKind
from forecaster.domain.lifecycle import UnitState

STATIC = Path(__file__).resolve().parents[2] / "forecaster" / "api" / "static"
TEXT = (STATIC / "index.html").read_text("utf-8")
SCRIPTS = {path.name: path.read_text("utf-8") for path in STATIC.glob("*.js")}
CHINESE = SCRIPTS.pop("chinese.js")
PLACE = re.compile(r"\{\w+\}")


def test_every_word_of_the_page_has_its_chinese() -> None:
    said = set(re.findall(r"data-say>([^<]+)<", TEXT))
    said |= set(re.findall(r'(?:aria-label|title)="([^"]+)"', TEXT))
    for script in SCRIPTS.values():
        said |= set(re.findall(r'\bsay\("([^"]+)"', script))
    assert len(said) > 100
    assert said - set(pairs()) == set()


def test_a_translation_keeps_the_places_of_the_figures() -> None:
    for english, chinese in pairs().items():
        assert sorted(PLACE.findall(english)) == sorted(PLACE.findall(chinese)), english


def test_no_word_is_left_over() -> None:
    everything = "\n".join([TEXT, *SCRIPTS.values(), *map(str, words_of_the_api())])
    assert [word for word in pairs() if word not in everything] == []


def pairs() -> dict[str, str]:
    return dict(re.findall(r'"([^"]+)": "([^"]+)"', CHINESE))


def words_of_the_api() -> list[str]:

    return [*AnomalyKind, *UnitState]
