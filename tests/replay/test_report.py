"""What a contest says: JSON, words, schedule, and one HTML file that asks nobody."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import orjson
import pytest

from forecaster.domain.demand import RequestBatch
from forecaster.domain.errors import DataError, SettingError
from forecaster.replay.contest import Contest
from forecaster.replay.picture import outside_by_bar, picture, units_carrying
from forecaster.replay.report import COLUMNS, policy_row, report
from forecaster.replay.summary import (
    LIVE,
    LIVE_KEY,
    as_dict,
    entry_named,
    in_words,
    kept,
    over_tide,
    saved_share,
    schedule_csv,
    schedule_name,
    standings,
)
from forecaster.wiring.replays import Order, play
from forecaster.wiring.tables import Tables

PER_POLICY = {
    "unit_hours", "warming_hours", "attainment", "violation_minutes", "ttft_s", "tpot_s", "actions",
    "cost", "vs_static_peak", "vs_clairvoyant",
}  # fmt: skip


def only(contest: Contest, *names: str) -> Contest:
    kept_entries = {name: contest.entries[name] for name in names}
    return replace(contest, entries=kept_entries, untuned=None)


def test_the_document_is_valid_json_and_says_what_it_must(contest: Contest) -> None:
    text = json.dumps(as_dict(contest, None, {"seed": 0}), allow_nan=False)
    said = json.loads(text)
    assert said["policies"].keys() == contest.entries.keys()
    for values in said["policies"].values():
        assert values.keys() >= PER_POLICY
    assert said["policies"]["tidegate"]["untuned"].keys() >= PER_POLICY
    assert said["policies"]["smoothed"]["vs_clairvoyant"] is None  # it was not played
    assert said["policies"]["static-peak"]["vs_static_peak"] == 1.0
    assert said["from"] < said["to"]
    assert said["from"].endswith("Z")
    assert said["slo"]["ttft_p99_s"] == 1.0


def test_unit_hours_are_ready_warming_and_draining(contest: Contest) -> None:
    for values in as_dict(contest, None, {})["policies"].values():
        parts = values["ready_hours"] + values["warming_hours"] + values["draining_hours"]
        assert values["unit_hours"] == pytest.approx(parts)
        assert values["cost"] == pytest.approx(2.0 * values["unit_hours"])


def test_live_tidegate_has_a_row_of_its_own(contest: Contest) -> None:
    labels = [label for label, _ in standings(contest)]
    assert labels.index(LIVE) == labels.index("tidegate") + 1
    for label, entry in standings(contest):
        row = policy_row(contest, label, entry)
        assert len(row) == len(COLUMNS)
        assert row[0] == label
    peak = contest.entries["static-peak"]
    assert saved_share(contest, peak) == 0.0
    assert over_tide(contest, contest.entries["tide-clairvoyant"]) == 1.0


def test_words_name_what_tidegate_saves_and_what_the_honest_rival_would(contest: Contest) -> None:
    said = in_words(contest)
    saved = saved_share(contest, contest.entries["tidegate"])
    assert f"{abs(saved):.1%}" in said
    assert "honest rival" in said
    assert f"{saved_share(contest, contest.entries['smoothed']):.1%}" in said
    assert kept(contest.untuned) in said
    assert "not played" in in_words(only(contest, "smoothed"))
    alone = in_words(only(contest, "tidegate"))
    assert f"{contest.entries['tidegate'].unit_s / 3600:,.1f} unit-hours" in alone


def test_attainment_is_never_rounded_up_to_the_target(contest: Contest) -> None:
    entry = contest.entries["smoothed"]
    score = replace(entry.score, requests=100_000, inside=98_999)
    assert kept(replace(entry, score=score)) == "98.99%"


def test_a_policy_that_missed_says_so(contest: Contest) -> None:
    missed = replace(contest.entries["smoothed"], reached=False)
    told = replace(contest, entries={**contest.entries, "smoothed": missed})
    assert "missed" in policy_row(told, "smoothed", missed)[4]
    assert "Not one setting kept the target: smoothed" in in_words(told)


def test_the_schedule_is_the_ready_units_by_the_minute(contest: Contest) -> None:
    entry = entry_named(contest, "tidegate")
    lines = schedule_csv(entry).splitlines()
    assert lines[0] == "timestamp,units"
    assert [int(line.split(",")[1]) for line in lines[1:]] == entry.fleet.ready.tolist()
    stamps = np.array([line.split(",")[0].rstrip("Z") for line in lines[1:]], "datetime64[s]")
    assert (np.diff(stamps) == np.timedelta64(60, "s")).all()
    assert stamps[0].astype(np.int64) == contest.scene.start_s
    assert schedule_csv(entry_named(contest, LIVE_KEY)) != ""


def test_whose_schedule_is_clear_or_asked_for() -> None:
    assert schedule_name(("hpa", "tidegate"), True) == "tidegate"
    assert schedule_name(("hpa",), True) == "hpa"
    assert schedule_name(("hpa", "knative"), True, "knative") == "knative"
    assert schedule_name(("tidegate",), True, LIVE_KEY) == LIVE_KEY
    for names, untuned, name in (
        (("hpa", "knative"), True, ""),
        (("hpa",), True, "tidegate"),
        (("tidegate",), False, LIVE_KEY),
    ):
        with pytest.raises(SettingError, match="schedule-of"):
            schedule_name(names, untuned, name)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.cells: list[str] = []
        self.inside = ""
        self.scripts: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [
            f"{tag} {key}" for key in ("src", "href", "srcset", "action") if given.get(key)
        ]
        self.inside = given.get("id") or tag

    def handle_data(self, data: str) -> None:
        if self.inside == "data":
            self.scripts["data"] = self.scripts.get("data", "") + data
        elif self.inside == "td":
            self.cells.append(data)


def read(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    return page


def test_the_report_loads_nothing_and_holds_every_figure(contest: Contest) -> None:
    text = report(contest, [("command", "tidegate replay x.csv")])
    page = read(text)
    assert page.loads == []
    assert "@import" not in text.split("<script", 1)[0]
    assert not re.search(r"url\(", text.split("<script", 1)[0])
    assert "default-src 'none'" in text
    for label, entry in standings(contest):
        assert label in page.cells
        assert f"{entry.unit_s / 3600:,.1f}" in page.cells
    assert "tidegate replay x.csv" in page.cells
    data = orjson.loads(page.scripts["data"])
    assert data == orjson.loads(orjson.dumps(picture(contest)))
    assert data["shown"] == "tidegate"


def test_names_from_the_log_cannot_become_markup(contest: Contest) -> None:
    evil = "</script><script>alert(1)</script><b>"
    scene = contest.scene
    log = replace(scene.trace.log, service=evil)
    told = replace(contest, scene=replace(scene, trace=replace(scene.trace, log=log)))
    text = report(told, [("command", evil)])
    assert evil not in text
    assert "alert(1)" not in read(text).scripts["data"]


def test_blocks_are_the_fleet(contest: Contest) -> None:
    blocks = picture(contest)["policies"]["tidegate"]
    fleet = contest.entries["tidegate"].fleet
    at = (np.array(blocks["x"]) / 1000 - fleet.start_s) / 60
    every = np.searchsorted(at, np.arange(fleet.ready.size), side="right") - 1
    assert np.array_equal(np.array(blocks["ready"])[every], fleet.ready)
    assert np.array_equal(np.array(blocks["warming"])[every], fleet.wanted - fleet.ready)


def test_the_red_curve_meets_the_units_that_a_load_needs(contest: Contest) -> None:
    scene = contest.scene
    carried = scene.capacities_rps * scene.work_s
    assert units_carrying(scene, carried) == pytest.approx(np.arange(1, carried.size + 1))
    assert units_carrying(scene, np.array([0.0]))[0] == 0.0
    beyond = units_carrying(scene, carried[-1:] * np.array([1.0, 1.5, 2.0]))
    assert (np.diff(beyond) > 0).all()
    load = np.linspace(0, carried[-1] * 1.5, 50)
    assert (np.ceil(units_carrying(scene, load) - 1e-6) <= scene.need(load)).all()


def test_violations_by_half_hour_add_up(contest: Contest) -> None:
    entry = contest.entries["tidegate"]
    score = entry.score
    minutes = score.minute_requests.reshape(-1, 30).sum(axis=1)
    outside = (outside_by_bar(entry) * minutes).sum()
    assert outside == pytest.approx(score.requests - score.inside)


@pytest.mark.parametrize("order_change", [
    {"rate_scale": 0.0}, {"rate_scale": float("nan")}, {"policies": ()}, {"policies": ("best",)},
])  # fmt: skip
def test_orders_out_of_range_are_refused(order: Order, order_change: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        replace(order, **order_change).checked()  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [0.0, -1.0, float("nan"), 1e9])
def test_days_out_of_range_are_refused(order: Order, days: float) -> None:
    with pytest.raises(SettingError, match="--days"):
        replace(order, terms=replace(order.terms, days=days)).checked()


def batch(at_s: list[float], prompt: int = 10, output: int = 5) -> RequestBatch:
    size = len(at_s)
    return RequestBatch(
        "s", np.array(at_s), np.full(size, prompt, np.int64), np.full(size, output, np.int64)
    )


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        (batch([]), "no requests"),
        (batch([1e9]), "1 request:"),
        (batch([1e9, 1e9 + 300]), "2 requests"),
        (batch([6.5e8, 1.7e9]), "clock"),
        (batch([1e9, 1e9 + 9e4], prompt=0), "--column prompt_tokens=NAME"),
        (batch([1e9, 1e9 + 9e4], output=0), "--column output_tokens=NAME"),
    ],
)
def test_logs_that_cannot_answer_are_refused(
    order: Order, tables: Tables, requests: RequestBatch, words: str
) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        play(requests, order, tables)


def test_a_giant_a_gap_of_a_day_and_requests_without_tokens_are_judged(
    log: RequestBatch, order: Order, tables: Tables
) -> None:
    """Fifty of five thousand requests are broken or huge: the judge answers, nobody crashes."""
    rows = (log.arrival_s < log.arrival_s[0] + 86400) | (log.arrival_s > log.arrival_s[0] + 172_800)
    prompt, output = log.prompt_tokens[rows].copy(), log.output_tokens[rows].copy()
    prompt[::400], output[::400] = 0, 0
    output[::511] = 0
    prompt[-50] = 20_000
    odd = RequestBatch("odd", log.arrival_s[rows], prompt, output)
    few = replace(order, policies=("smoothed", "hpa"), untuned=False)
    found = play(odd, replace(few, rate_scale=20.0), tables)
    for entry in found.entries.values():
        assert entry.score.requests > 0
        assert 0.9 < entry.score.attainment <= 1, entry.name


def test_progress_rises_from_nothing_to_all(
    log: RequestBatch, order: Order, tables: Tables
) -> None:
    told: list[tuple[str, float]] = []
    few = replace(order, policies=("static-peak", "hpa"), untuned=False)
    play(log, few, tables, lambda name, share: told.append((name, share)))
    shares = [share for _, share in told]
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert {"static-peak", "hpa"} <= {name for name, _ in told}
