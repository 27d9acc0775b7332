"""What a contest says: one order of rows, one sentence, one document for every surface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from forecaster import __version__
from forecaster.domain.errors import DataError, SettingError
from forecaster.replay.contest import Contest, Entry
from forecaster.replay.log import ReadLog

LIVE = "tidegate (live)"
"""Tidegate as it would have run, aiming at the target without hindsight."""
LIVE_KEY = "tidegate-live"
"""The same on a command line."""


def standings(contest: Contest) -> list[tuple[str, Entry]]:
    """Every result with its label, the live Tidegate behind the matched one."""
    rows: list[tuple[str, Entry]] = []
    for name, entry in contest.entries.items():
        rows.append((name, entry))
        if name == "tidegate" and contest.untuned is not None:
            rows.append((LIVE, contest.untuned))
    return rows


def saved_share(contest: Contest, entry: Entry) -> float:
    """Share of the static peak's unit-hours that a policy does without; NaN without a static peak."""
    peak = contest.entries.get("static-peak")
    if peak is None or not peak.unit_s:
        return math.nan
    return 1 - entry.unit_s / peak.unit_s


def over_tide(contest: Contest, entry: Entry) -> float:
    """Unit-hours over the tide clairvoyant's; NaN without one."""
    tide = contest.entries.get("tide-clairvoyant")
    return entry.unit_s / tide.unit_s if tide is not None and tide.unit_s else math.nan


def skipped(contest: Contest) -> Mapping[str, str]:
    """Policies that could not be played, and why."""
    found: Mapping[str, str] = getattr(contest, "skipped", {})
    return found


def in_words(contest: Contest) -> str:
    """What Tidegate saves, and what the honest rival would.

    The rival is a smoothed last value whose half-life and hold were tuned in hindsight: whoever
    sells a forecaster has to beat it.
    """
    ours, peak = contest.entries.get("tidegate"), contest.entries.get("static-peak")
    rival = contest.entries.get("smoothed")
    if ours is None:
        said = "Tidegate was not played."
        if "tidegate" in skipped(contest):
            said = f"Tidegate was not played: {skipped(contest)['tidegate']}."
    elif peak is None:
        said = f"Tidegate needs {ours.unit_s / 3600:,.1f} unit-hours at {kept(ours)} attainment"
        said += f" (live, untuned: {kept(contest.untuned)})." if contest.untuned else "."
    else:
        said = f"Tidegate {_against_peak(saved_share(contest, ours))} at {kept(ours)} attainment"
        if contest.untuned is not None:
            live = saved_share(contest, contest.untuned)
            said += f" (live, without hindsight: {_signed(live)} at {kept(contest.untuned)})"
        said += "."
    if rival is not None and ours is not None:
        gap = ours.unit_s / rival.unit_s - 1
        said += f" The honest rival, a smoothed last value tuned in hindsight, {_rivalled(contest, rival, gap)}."
    if peak is not None and peak.fleet.ready.max() <= contest.scene.limits.min_units:
        said += (
            " The fewest units carry the whole window: there is no tide to follow (--rate-scale)."
        )
    missed = [name for name, entry in contest.entries.items() if not entry.reached]
    if missed:
        said += f" Not one setting kept the target: {', '.join(missed)}."
    served = as_served(contest)
    if served:
        said += (
            f" In the log itself {_percent(served['attainment'])} of {served['requests']:,} requests"
            " were inside the SLO."
        )
    return said


def as_served(contest: Contest) -> dict[str, Any]:
    """What the log itself says was kept in the scored window; empty where it does not tell.

    Returns
    -------
    dict
        ``requests`` that are told of, ``attainment``, and p99 of what the log tells, seconds.
    """
    scene = contest.scene
    log = scene.trace.log
    if log.answers is None:
        return {}
    own = log.take((log.arrival_s >= scene.start_s) & (log.arrival_s < scene.end_s)).answers
    assert own is not None
    counts, outside = own.judged(scene.table.question.slo)
    if not counts.any():
        return {}
    found: dict[str, Any] = {
        "requests": int(counts.sum()), "attainment": 1 - outside.sum() / counts.sum()
    }  # fmt: skip
    for part in ("ttft", "tpot", "latency"):
        values_s = getattr(own, f"{part}_s")[counts]
        if (values_s >= 0).any():
            found[f"{part}_p99_s"] = float(np.quantile(values_s[values_s >= 0], 0.99))
    return found


def _against_peak(saved: float) -> str:
    if saved >= 0:
        return f"saves {saved:.1%} of the static peak's unit-hours"
    return f"needs {-saved:.1%} more unit-hours than the static peak"


def _signed(saved: float) -> str:
    return f"{saved:.1%} saved" if saved >= 0 else f"{-saved:.1%} more"


def _rivalled(contest: Contest, rival: Entry, gap: float) -> str:
    saved = saved_share(contest, rival)
    said = "would need" if math.isnan(saved) else f"would save {saved:.1%}, needing"
    if abs(gap) < 0.0005:
        return f"{said} as many unit-hours as Tidegate"
    share = abs(1 / (1 + gap) - 1)
    return f"{said} {share:.1%} {'more' if gap < 0 else 'fewer'} unit-hours than Tidegate"


def kept(entry: Entry | None) -> str:
    """Attainment for people: never rounded up to a target that was missed."""
    if entry is None:
        return "-"
    return _percent(entry.score.attainment)


def _percent(attainment: float) -> str:
    return f"{math.floor(attainment * 1e4 + 1e-6) / 100:.2f}%"


def as_dict(contest: Contest, log: ReadLog | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON document: the contest, its times in ISO, the log and what was assumed.

    Parameters
    ----------
    contest : Contest
        What was played.
    log : ReadLog or None
        The log as read, if it was one.
    facts : mapping
        What else is to be said: seed, rate_scale, seconds.
    """
    said = contest.to_dict()
    terms, question = contest.scene, contest.scene.table.question
    document: dict[str, Any] = {
        "service": contest.scene.trace.log.service,
        "summary": in_words(contest),
        "from": iso(said["from_s"]),
        "to": iso(said["to_s"]),
        **said,
        "as_served": as_served(contest) or None,
        "skipped": dict(skipped(contest)),
        "unit": terms.unit.name,
        "price_per_hour": terms.unit.price_per_hour,
        "slo": asdict(question.slo),
        "mix": asdict(question.mix),
        "dispersion": question.dispersion,
        "limits": asdict(terms.limits),
        **facts,
        "version": __version__,
    }
    if log is not None:
        document |= log_dict(log)
    plain: dict[str, Any] = finite(document)
    return plain


def log_dict(log: ReadLog) -> dict[str, Any]:
    """What JSON says about the log that was read, under ``log``; nothing for rows of a store."""
    if log.report is None:
        return {}
    said = {
        "rows": log.report.rows,
        "accepted": log.report.accepted,
        "rejected": log.report.rejected,
        "rejects_by_reason": dict(log.report.rejects_by_reason),
        "other_services": log.others,
        "first": iso(float(log.requests.arrival_s[0])),
        "last": iso(float(log.requests.arrival_s[-1])),
    }
    return {"log": said}


def schedule_name(policies: Sequence[str], untuned: bool, name: str = "") -> str:
    """Whose schedule is meant: the named one, else Tidegate's, else the only one.

    Raises
    ------
    SettingError
        For a policy that is not played, and when there are several and none is named.
    """
    played = [*policies, *([LIVE_KEY] if untuned and "tidegate" in policies else [])]
    if name and name not in played:
        raise SettingError(
            "--schedule-of", name, "not among the policies played", f"there are {', '.join(played)}"
        )
    if name or "tidegate" in played or len(played) == 1:
        return name or ("tidegate" if "tidegate" in played else played[0])
    raise SettingError(
        "--schedule-of", name, "several policies are played, and tidegate is not",
        f"name one: {', '.join(played)}",
    )  # fmt: skip


def entry_named(contest: Contest, name: str) -> Entry:
    """One policy's result.

    Raises
    ------
    DataError
        When it could not be played.
    """
    entry = contest.untuned if name == LIVE_KEY else contest.entries.get(name)
    if entry is None:
        why = skipped(contest).get("tidegate" if name == LIVE_KEY else name, "it was not asked for")
        raise DataError(f"{name} has no schedule: {why}", "name another with --schedule-of")
    return entry


def schedule_csv(entry: Entry) -> str:
    """Ready units of every minute: ``timestamp,units``, ISO-8601 UTC."""
    fleet = entry.fleet
    times = fleet.start_s + fleet.tick_s * np.arange(fleet.ready.size)
    rows = zip(times.tolist(), fleet.ready.tolist(), strict=True)
    return "timestamp,units\n" + "".join(f"{iso(at)},{units}\n" for at, units in rows)


def iso(time_s: float) -> str:
    """Epoch seconds as ISO-8601 UTC.

    Examples
    --------
    >>> iso(1767571213.087)
    '2026-01-05T00:00:13Z'
    """
    moment = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
    return moment.replace("+00:00", "Z")


def finite(value: Any) -> Any:
    """JSON-ready copy: what is not finite becomes None, numpy's numbers become Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return value
