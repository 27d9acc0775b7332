"""`tidegate anomalies`: what is not learnt as the tide, and why; with the operator's last word."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption, app
from forecaster.cli.output import emit, iso, make_table
from forecaster.cli.whoami import user
from forecaster.config import load_settings
from forecaster.daemon.labels import labels
from forecaster.domain.anomaly import Anomaly, AnomalyKind, Judgement
from forecaster.domain.errors import DataError, SettingError
from forecaster.domain.word import Word
from forecaster.store import Store
from forecaster.store.switches import DEMAND
from forecaster.wiring.questions import profile_of, service_named
from forecaster.wiring.stores import open_store

VERBS = ("keep", "drop")


@app.command("anomalies")
def anomalies_command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[keep|drop] SERVICE [FROM [UNTIL]]",
            help="a service; or what to do with a stretch of its demand, times in ISO 8601",
        ),
    ],
    why: Annotated[str, typer.Option(help="said beside it from now on")] = "",
    config: ConfigOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Gaps, outages, retry storms, throttled demand, load tests and flash crowds: found, and not learnt.

    `keep` has a stretch learnt after all, `drop` has it left out; the next retrain goes by it, and so
    does the next forecast. `keep` without UNTIL takes the anomaly at FROM.

    Examples:

    `tidegate anomalies chat`

    `tidegate anomalies keep chat 2026-01-05T10:00Z --why "every launch is like this"`

    `tidegate anomalies drop chat 2026-01-07T08:00Z 2026-01-07T12:00Z --why "load test"`
    """
    settings = load_settings(config)
    verb = words[0] if words[0] in VERBS and len(words) > 1 else ""
    name, *times = words[1:] if verb else words
    _check(verb, times)
    with open_store(settings) as store:
        service = service_named(settings, name)
        profile = profile_of(settings, service)
        found = labels(store, service, settings.retrain, profile)
        if verb:
            _judge(store, name, verb == "keep", times, why, found.anomalies)
            found = labels(store, service, settings.retrain, profile)
    emit(
        {"service": name, "anomalies": [as_dict(each) for each in found.anomalies]},
        form,
        _table(name, found.anomalies),
    )


def as_dict(anomaly: Anomaly) -> dict[str, Any]:
    """What JSON says."""
    times = {"start": iso(anomaly.start_s), "end": iso(anomaly.end_s)}
    return {"kind": anomaly.kind.value, **times, **_rest(anomaly)}


def _rest(anomaly: Anomaly) -> dict[str, Any]:
    values = asdict(anomaly)
    return {key: values[key] for key in ("size", "why", "taught")}


def _check(verb: str, times: list[str]) -> None:
    most, least = (2, 2 if verb == "drop" else 1) if verb else (0, 0)
    if not least <= len(times) <= most:
        wanted = {"": "a service", "keep": "SERVICE FROM [UNTIL]", "drop": "SERVICE FROM UNTIL"}
        raise SettingError("anomalies", " ".join([verb, *times]).strip(), f"give {wanted[verb]}")


def _judge(
    store: Store, name: str, keep: bool, times: list[str], why: str, found: list[Anomaly]
) -> None:
    start_s = moment("FROM", times[0])
    if len(times) == 2:
        end_s = moment("UNTIL", times[1])
        if end_s <= start_s:
            raise SettingError("UNTIL", times[1], f"must be after {times[0]}")
    else:
        at = [each for each in found if each.start_s <= start_s < each.end_s]
        if not at:
            raise DataError(
                f"service {name!r} has no anomaly at {iso(start_s)}",
                f"see `tidegate anomalies {name}`, or give UNTIL as well",
            )
        start_s, end_s = at[-1].start_s, at[-1].end_s
        if at[-1].kind is AnomalyKind.GAP:
            raise DataError("a gap cannot be kept: nothing was measured", "ingest its log")
    store.learning.judge(name, time.time(), Judgement(start_s, end_s, keep, why))
    said = f"{'keep' if keep else 'drop'} {iso(start_s)} to {iso(end_s)}"
    store.switch(time.time(), name, DEMAND, said, Word(why, user()))


def moment(key: str, text: str) -> float:
    """Epoch seconds of an ISO 8601 time, UTC without an offset.

    Raises
    ------
    SettingError
        For anything else.

    Examples
    --------
    >>> moment("FROM", "2026-01-05T10:00Z")
    1767607200.0
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingError(key, text, "a time in ISO 8601", "as in 2026-01-05T10:00Z") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _table(name: str, found: list[Anomaly]) -> Any:
    rows = [
        (
            each.kind.value, iso(each.start_s), f"{(each.end_s - each.start_s) / 60:.0f} min",
            "-" if each.size != each.size else f"{each.size:.2f}",
            "yes" if each.taught else "no", each.why,
        )
        for each in found
    ]  # fmt: skip
    title = f"{name}: {len(found)} stretches that are no tide" if found else f"{name}: nothing odd"
    return make_table(title, ("kind", "start (UTC)", "for", "x usual", "learnt", "why"), rows)
