"""The report of a replay: one HTML file that needs nobody, with the curve, the blocks and the money."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import orjson

from forecaster import __version__
from forecaster.replay.contest import Contest, Entry
from forecaster.replay.picture import picture
from forecaster.replay.summary import (
    LIVE,
    finite,
    in_words,
    iso,
    kept,
    over_tide,
    saved_share,
    skipped,
    standings,
)

MONTH_H = 730.0
"""Hours of a month, for what the window's bill comes to."""
Facts = Sequence[tuple[str, object]]


def report(contest: Contest, facts: Facts = ()) -> str:
    """The whole page.

    Parameters
    ----------
    contest : Contest
        What was played.
    facts : sequence of (str, object)
        What else was assumed: command line, log, seed.
    """
    static = files("forecaster.replay") / "static"
    plotly = files("plotly") / "package_data" / "plotly.min.js"
    title = f"Tidegate replay of {contest.scene.trace.log.service}"
    return Template((static / "report.html").read_text("utf-8")).substitute(
        title=escape(title),
        summary=escape(in_words(contest)),
        zone=escape(contest.scene.calendar.timezone),
        cards="".join(_cards(contest)),
        policies=_policies(contest),
        skipped="".join(
            f'<p class="small">{escape(name)} was not played: {escape(why)}</p>'
            for name, why in skipped(contest).items()
        ),
        money=_money(contest),
        assumed=_table(("", ""), [*_assumed(contest), *facts], 'id="assumed"'),
        version=escape(__version__),
        css=(static / "report.css").read_text("utf-8"),
        data=_inline(picture(contest)),
        plotly=plotly.read_text("utf-8"),
        js=(static / "report.js").read_text("utf-8"),
    )


def policy_row(contest: Contest, label: str, entry: Entry) -> tuple[str, ...]:
    """One line of the table of all policies, the same in the terminal and on the page."""
    score = entry.score
    return (
        label,
        f"{entry.unit_s / 3600:,.1f}",
        _or_dash(over_tide(contest, entry), "{:.3f}"),
        _or_dash(saved_share(contest, entry), "{:.1%}"),
        kept(entry) + ("" if entry.reached or label == LIVE else " missed"),
        f"{score.violation_minutes:,}",
        duration(score.ttft_s["p99"]),
        duration(score.tpot_s["p99"]),
        f"{entry.fleet.actions:,}",
        f"{entry.cost:,.2f}",
    )


COLUMNS = (
    "policy",
    "unit-hours",
    "× tide",
    "saved",
    "attainment",
    "violation min",
    "TTFT p99",
    "TPOT p99",
    "actions",
    "cost",
)
NOTE = (
    "× tide: over the tide clairvoyant, who knows the half-hour means to come. saved: of the static"
    " peak's unit-hours. violation min: minutes with more than the allowed share outside the SLO."
)


def duration(seconds: float) -> str:
    """Seconds for people.

    Examples
    --------
    >>> duration(0.0123), duration(2.5), duration(float("nan"))
    ('12.3 ms', '2.50 s', '-')
    """
    if not math.isfinite(seconds):
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _or_dash(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else "-"


def _cards(contest: Contest) -> Iterable[str]:
    target = contest.scene.table.question.slo.attainment
    ours = contest.entries.get("tidegate")
    for name, title in (
        ("tidegate", "Tidegate saves"),
        ("smoothed", "The honest rival would save"),
    ):
        entry = contest.entries.get(name)
        saved = saved_share(contest, entry) if entry is not None else math.nan
        if entry is None or not math.isfinite(saved):
            continue
        tone = "good" if saved >= 0 and entry is ours else ""
        note = f"of the static peak's unit-hours ({entry.unit_s / 3600:,.0f} unit-hours)"
        if name == "smoothed":
            note = "a smoothed last value, tuned in hindsight"
        yield _card(title, f"{saved:.1%}", note, tone)
    if ours is not None:
        yield _card(
            "Attainment kept", kept(ours), f"target {100 * target:g}%; its knob is matched to it",
            "good" if ours.reached else "bad",
        )  # fmt: skip
    if contest.untuned is not None:
        live = contest.untuned
        saved = saved_share(contest, live)
        note = f"{_or_dash(saved, '{:.1%}')} saved, without hindsight"
        tone = "good" if live.score.attainment >= target - 0.005 else "bad"
        yield _card("Live attainment", kept(live), note, tone)


def _card(title: str, big: str, small: str, tone: str) -> str:
    return (
        f'<article><h2>{escape(title)}</h2><p class="big {tone}">{escape(big)}</p>'
        f'<p class="small">{escape(small)}</p></article>'
    )


def _policies(contest: Contest) -> str:
    rows = [policy_row(contest, *each) for each in standings(contest)]
    return _table(COLUMNS, rows) + f'<p class="small">{escape(NOTE)}</p>'


def _money(contest: Contest) -> str:
    hours = contest.scene.ticks * 60 / 3600
    peak = contest.entries.get("static-peak")
    rows = []
    for label, entry in standings(contest):
        saved = peak.cost - entry.cost if peak is not None else math.nan
        rows.append(
            (
                label,
                f"{entry.cost:,.2f}",
                _or_dash(saved, "{:,.2f}"),
                f"{entry.cost * MONTH_H / hours:,.0f}",
                _or_dash(saved * MONTH_H / hours, "{:,.0f}"),
            )
        )
    price = contest.scene.unit.price_per_hour
    head = f'<p class="small">{hours:,.1f} hours at {price:g} a unit-hour; a month is {MONTH_H:.0f} h like these.</p>'
    columns = ("policy", "cost of the window", "saved against the static peak", "a month", "saved a month")  # fmt: skip
    return head + _table(columns, rows)


def _assumed(contest: Contest) -> Facts:
    scene = contest.scene
    question, limits = scene.table.question, scene.limits
    slo = ", ".join(f"{key} = {value:g}" for key, value in asdict(question.slo).items() if value)
    profile = ", ".join(f"{key} = {value}" for key, value in asdict(scene.unit.profile).items())
    return (
        ("scored window", f"{iso(scene.start_s)} to {iso(scene.end_s)}, {contest.scene_requests:,} requests"),
        ("known before it", f"from {iso(scene.loads.start_s)}"),
        ("SLO", slo),
        ("unit", scene.unit.name),
        ("unit profile", profile),
        ("lead, from order to readiness, p90", f"{scene.lead_s:g} s"),
        ("half of the starts take", f"{scene.lead_p50_s:g} s"),
        ("price of a unit-hour", f"{scene.unit.price_per_hour:g}"),
        ("limits", f"{limits.min_units} to {limits.max_units} units, by {limits.step_units}"),
        ("calendar", " ".join((scene.calendar.timezone, scene.calendar.country)).strip()),
        ("tokens a request", f"{question.mix.prompt_mean:.1f} in, {question.mix.output_mean:.1f} out (means)"),
        ("dispersion of arrivals over 10 s", f"{question.dispersion:g} (1 = Poisson)"),
        ("rate scale", f"{scene.trace.rate_scale:g}"),
        ("seed", scene.trace.seed),
        ("unit-hours", "ready, warming and draining units"),
    )  # fmt: skip


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], attributes: str = "") -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in columns)
    head = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    body = "".join(
        f"<tr{_ours(row[0])}>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table {attributes}>{head}<tbody>{body}</tbody></table>"


def _ours(label: object) -> str:
    return ' class="ours"' if label in ("tidegate", LIVE) else ""


def _inline(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    return orjson.dumps(finite(data)).decode().replace("<", "\\u003c")
