"""What every command that plays a log asks for: the log, the unit, the SLO, the limits; one place."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forecaster.cli.app import ConfigOption, Format, FormatOption
from forecaster.cli.durations import LatencyBound, TpotBound, TtftBound, seconds
from forecaster.cli.ingest import columns, parse_origin
from forecaster.cli.output import emit, progress
from forecaster.cli.plan import load_settings_of
from forecaster.config import Settings, load_unit_type
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.ingest import IngestOptions, LogFormat, TimeUnit

if TYPE_CHECKING:  # the compiler behind the kernel takes a second to load
    from forecaster.replay.log import ReadLog
    from forecaster.wiring.replays import Order

DAY_S = 86_400.0
MOST_UNITS = 4096


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options themselves: a field is an option, its default the option's."""

    unit: Annotated[str, typer.Option(help="unit type: a folder under `models`")]
    log: Annotated[
        str, typer.Argument(help="request log, any that `ingest` takes; - reads standard input")
    ] = ""
    from_store: Annotated[
        str, typer.Option("--from-store", help="replay this service's ingested requests instead")
    ] = ""
    rate_scale: Annotated[
        float | None,
        typer.Option(
            help="play the log this many times over [default: 1; from the store 1 / log_sample]"
        ),
    ] = None
    ttft_p99: TtftBound = None
    tpot_p99: TpotBound = None
    latency_p99: LatencyBound = None
    attainment: Annotated[float, typer.Option(help="share of requests inside the SLO")] = 0.99
    lead: Annotated[
        str, typer.Option(help="from order to readiness: 90s, 10m [default: the unit type's]")
    ] = ""
    lead_p50: Annotated[
        str,
        typer.Option(
            "--lead-p50",
            help="half of the starts take this long, nine in ten --lead [default: all --lead]",
        ),
    ] = ""
    days: Annotated[float, typer.Option(help="days that are scored, the end of the log")] = 3.0
    timezone: Annotated[str, typer.Option(help="IANA zone of the service's users")] = "UTC"
    country: Annotated[str, typer.Option(help="ISO code whose holidays matter")] = ""
    min_units: Annotated[int | None, typer.Option(help="never fewer [default: one step]")] = None
    max_units: Annotated[int | None, typer.Option(help="never more [default: 4096]")] = None
    step_units: Annotated[int, typer.Option(help="units are bought in multiples of this")] = 1
    seed: Annotated[int, typer.Option(help="of the copies' jitter and the judge")] = 0
    service: Annotated[
        str, typer.Option("--service", "-s", help="which one, where the log names several")
    ] = ""
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="auto looks at the content")
    ] = LogFormat.AUTO
    origin: Annotated[
        str, typer.Option(help="ISO time of relative time stamp 0 (BurstGPT, Mooncake)")
    ] = ""
    column: Annotated[
        list[str] | None, typer.Option(help="ROLE=NAME, for example timestamp=when; repeat it")
    ] = None
    time_unit: Annotated[TimeUnit, typer.Option(help="unit of numeric time stamps")] = TimeUnit.AUTO
    log_timezone: Annotated[str, typer.Option(help="IANA zone of time stamps without one")] = "UTC"
    config: ConfigOption = None
    form: FormatOption = Format.TABLE

    def order(self, settings: Settings) -> Order:
        """The order with the defaults of its unit type; every range is that of the settings table."""
        from forecaster.replay.contest import Terms
        from forecaster.wiring.questions import service_named
        from forecaster.wiring.replays import Order

        rate_scale = self.rate_scale
        if rate_scale is None:
            rate_scale = 1 / service_named(settings, self.from_store).log_sample
        slo = {
            "ttft_p99_s": self.ttft_p99,
            "tpot_p99_s": self.tpot_p99,
            "latency_p99_s": self.latency_p99,
            "attainment": self.attainment,
        }
        asked = {"unit": self.unit, "slo": slo, "timezone": self.timezone, "country": self.country}
        checked = load_settings_of({"name": "log", **asked, **self._limits()}).service()
        unit = load_unit_type(settings.models, self.unit)
        lead_s = seconds("--lead", self.lead, 0.0, DAY_S) if self.lead else unit.lead_time_s
        terms = Terms(
            unit,
            checked.slo,
            lead_s,
            lead_sigma=self._lead_sigma(lead_s),
            days=self.days,
            limits=checked.limits,
            calendar=checked.calendar,
            seed=self.seed,
        )
        return Order(terms, rate_scale)

    def ingest_options(self, settings: Settings) -> IngestOptions:
        """How the log is read."""
        return IngestOptions(
            format=self.log_format,
            columns=columns(settings, self.time_unit, self.column or []),
            origin_s=parse_origin(self.origin),
            timezone=self.log_timezone,
            latest_s=time.time() + DAY_S,
        )

    def requests(self, settings: Settings, options: IngestOptions) -> ReadLog:
        """Requests of a log, or of a service in the store."""
        from forecaster.replay.log import ReadLog, read_log

        if bool(self.log) == bool(self.from_store):
            raise SettingError(
                "LOG", self.log, "a request log or --from-store SERVICE", "give one of the two"
            )
        if self.log:
            with progress(f"read {self.log}", total=None) as advance_to:
                return read_log(
                    self.log, options, self.service, lambda done, of: advance_to(done, "", of)
                )
        from forecaster.wiring.stores import open_store

        with open_store(settings) as store:
            return ReadLog(store.request_rows(self.from_store, 0.0, options.latest_s))

    def _lead_sigma(self, lead_s: float) -> float:
        """Spread of the leads, from their median and their 90th percentile."""
        from forecaster.replay.scene import SCORE_P90

        if not self.lead_p50:
            return 0.0
        middle_s = seconds("--lead-p50", self.lead_p50, 1.0, DAY_S)
        if middle_s > lead_s:
            raise SettingError(
                "--lead-p50", self.lead_p50, f"at most the lead, {lead_s:g} s", "it is the median"
            )
        return math.log(lead_s / middle_s) / SCORE_P90

    def _limits(self) -> dict[str, int]:
        """Limits where those that were not given fit the purchase step."""
        fits = max(self.step_units, 1)
        most = max(MOST_UNITS // fits * fits, fits)
        return {
            "min_units": fits if self.min_units is None else self.min_units,
            "max_units": most if self.max_units is None else self.max_units,
            "step_units": self.step_units,
        }


def on_a_log(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Asked` before its own; it gets them as its first argument."""
    shared = inspect.signature(Asked, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    every = [*shared.values(), *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own)]

    @wraps(command)
    def run(**given: Any) -> None:
        command(Asked(**{each.name: given.pop(each.name) for each in fields(Asked)}), **given)

    del run.__wrapped__  # its hints are another's
    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in every}
    return run


@contextmanager
def infeasible_said(form: Format) -> Iterator[None]:
    """An SLO that no number of units keeps is an answer: JSON says what would be feasible."""
    try:
        yield
    except SloInfeasibleError as error:
        if form is not Format.JSON:
            raise
        emit(
            {
                "feasible": False,
                "binding": error.part,
                "target_s": error.target_s,
                "feasible_from_s": error.best_s,
                "reason": str(error),
            },
            form,
        )
        raise typer.Exit(1) from error


def said_of(log: ReadLog) -> str:
    """What was read, in a line."""
    if log.report is None:
        return f"{len(log.requests):,} requests of the store"
    said = f"{log.report.accepted:,} rows read"
    if log.report.rejected:
        reasons = ", ".join(f"{why} {rows:,}" for why, rows in log.report.rejects_by_reason.items())
        said += f", {log.report.rejected:,} rejected ({reasons})"
    if log.others:
        said += f", {sum(log.others.values()):,} of other services left out"
    return said
