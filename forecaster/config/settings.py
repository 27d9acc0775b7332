"""Every setting: name, type, range, default, meaning. The only place where one is added."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from forecaster.config.alerts import AlertsSettings
from forecaster.config.asked import DynamoSettings, KedaSettings
from forecaster.config.kubernetes import KubernetesSettings
from forecaster.config.open_inference import OpenInferenceSettings
from forecaster.config.places import PlaceSettings
from forecaster.config.prometheus import MetricsSettings, PrometheusSettings
from forecaster.config.ray_serve import RayServeSettings
from forecaster.config.table import Seconds, Table, TimeZone, TlsTable
from forecaster.config.times import EventSettings, WindowSettings
from forecaster.domain.service import CalendarSpec, Limits, Mode, Quota, Service, Slo
from forecaster.seasonal.names import MEMBER_NAMES

Share = Annotated[float, Field(ge=0, le=1)]
Cron = Annotated[str, Field(pattern=r"^(\S+\s+){4}\S+$")]


class SloSettings(Table):
    """Bounds that the share `attainment` of requests must keep."""

    ttft_p99_s: Seconds | None = Field(None, description="bound on time to first token, seconds")
    tpot_p99_s: Seconds | None = Field(
        None, description="bound on the mean time per output token, seconds"
    )
    latency_p99_s: Seconds | None = Field(None, description="bound on the whole answer, seconds")
    attainment: float = Field(
        0.99, ge=0.5, lt=1, description="share of requests inside every bound"
    )


class ServiceSettings(PlaceSettings):
    """One service: model endpoint, SLO, limits, calendar."""

    name: str = Field(min_length=1, description="as it stands in the request log")
    unit: str = Field(description="unit type: a folder under `models`")
    slo: SloSettings = Field(
        default_factory=lambda: SloSettings(ttft_p99_s=1.0), description="what users must feel"
    )
    elasticity: Share = Field(
        1.0, description="share of the gap to the peak that is given back: 0 = peak, 1 = tide"
    )
    min_units: int = Field(1, ge=0, le=4096, description="never fewer ready units")
    max_units: int = Field(8, ge=1, le=4096, description="never more units")
    step_units: int = Field(1, ge=1, le=64, description="units are bought in multiples of this")
    timezone: TimeZone = Field("UTC", description="IANA time zone of the service's users")
    country: str = Field("", description="ISO 3166 code whose public holidays matter; empty = none")
    event: tuple[EventSettings, ...] = Field(
        (), description="[[service.event]]: name, start, end, before_s, after_s, factor, every"
    )
    window: tuple[WindowSettings, ...] = Field(
        (), description="[[service.window]]: days, start, end, min_units, max_units"
    )
    mode: Mode = Field(
        Mode.ACT,
        description="observe: touch nothing; approve: orders wait for your word; act: pre-warm and drain",
    )
    approve_after_s: float = Field(
        0.0, ge=0, le=86400, description="mode approve: go without an answer after this; 0 = never"
    )
    log_sample: float = Field(
        1.0, gt=0, le=1, description="share of requests that the log keeps (1 = every request)"
    )

    quota: str = Field("", description="name of the [[quota]] whose GPUs it shares; empty: none")
    priority: int = Field(
        0, ge=-100, le=100, description="who is served first while the quota is short: the larger"
    )
    metrics: MetricsSettings = Field(
        default_factory=MetricsSettings,
        description="[service.metrics]: load that counters or spans tell",
    )
    tail: tuple[str, ...] = Field(
        (), description="its request logs, files or patterns, that the daemon follows as they grow"
    )
    prefill: PlaceSettings = Field(
        default_factory=PlaceSettings,
        description="[service.prefill]: workload, deployment, repository of its prefill units",
    )
    decode: PlaceSettings = Field(
        default_factory=PlaceSettings,
        description="[service.decode]: workload, deployment, repository of its decode units",
    )
    type: dict[str, PlaceSettings] = Field(
        default_factory=dict,
        description="[service.type.NAME]: workload, deployment, repository of its units of one of several types",
    )
    day_shape: tuple[float, ...] = Field(
        (), description="24 rates, requests/s by local hour, expected of a service not known yet"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.tail and self.metrics.asked_of:
            raise ValueError("tail and [service.metrics] would count the same requests twice")
        return self

    @field_validator("day_shape")
    @classmethod
    def _a_day(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if rates and (len(rates) != 24 or min(rates) < 0 or not 0 < max(rates) < math.inf):
            raise ValueError("24 rates of 0 or more, not all 0, or none at all")
        return rates

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_units > self.max_units:
            raise ValueError(f"min_units = {self.min_units} is above max_units = {self.max_units}")
        for key in ("min_units", "max_units"):
            if getattr(self, key) % self.step_units:
                raise ValueError(
                    f"{key} = {getattr(self, key)} is no multiple of step_units = {self.step_units}"
                )
        return self

    @field_validator("country")
    @classmethod
    def _known_country(cls, code: str) -> str:
        if not code:
            return code
        import holidays  # heavy: imported when a country is set

        if code not in holidays.list_supported_countries():
            raise ValueError("no country that the holidays library knows, write it as in DE")
        return code

    def service(self) -> Service:
        """The domain value."""
        slo = Slo(**self.slo.model_dump())
        limits = Limits(self.min_units, self.max_units, self.step_units)
        events = tuple(each.event(self.timezone) for each in self.event)
        calendar = CalendarSpec(self.timezone, self.country, events)
        windows = tuple(each.window() for each in self.window)
        return Service(
            self.name, self.unit, slo, self.elasticity, limits, calendar, self.mode,
            self.log_sample, windows, self.approve_after_s, self.day_shape, self.quota,
            self.priority, self.metrics.counted,
        )  # fmt: skip


class QuotaSettings(Table):
    """GPUs that several services share."""

    name: str = Field(min_length=1, description="services name it as their `quota`")
    gpus: int = Field(
        ge=1, le=1_000_000, description="what all their units together may hold (unit.toml: gpus)"
    )

    def quota(self) -> Quota:
        """The domain value."""
        return Quota(self.name, self.gpus)


class ApiSettings(TlsTable):
    """HTTP API and dashboard."""

    host: str = Field("127.0.0.1", description="address to bind; loopback unless you mean it")
    port: int = Field(8780, ge=0, le=65535, description="0 picks a free port")
    token: str = Field("", description="bearer token that may do all; needed beyond loopback")
    operator_token: str = Field(
        "", description="bearer token for pins, orders, freeze, replays; not for modes"
    )
    viewer_token: str = Field("", description="bearer token that may only read")
    push_token: str = Field(
        "", description="bearer token that may only push load (remote write, OTLP)"
    )
    requests_per_minute: int = Field(
        6000, ge=0, le=1_000_000, description="of one caller; 0 = any number"
    )

    @model_validator(mode="after")
    def _closed(self) -> Self:
        if not self.token and self.host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"host = {self.host!r} is not loopback: set a token first")
        if (self.operator_token or self.viewer_token or self.push_token) and not self.token:
            raise ValueError("tokens of lesser roles want a token that may do all")
        return self


class TierSettings(Table):
    """The embedded ONNX Runtime serving tier."""

    host: str = Field("127.0.0.1", description="address of the OpenAI and Open Inference APIs")
    port: int = Field(8781, ge=0, le=65535, description="0 picks a free port")
    max_units: int = Field(8, ge=1, le=512, description="units of all services on this machine")
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="Open Inference Protocol over gRPC; absent: off"
    )
    model_control: bool = Field(
        False, description="clients may load and unload models (model-repository extension)"
    )
    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="base address of an OpenTelemetry collector (OTLP over HTTP, extra `otlp`); empty: off",
    )
    otlp_every_s: Seconds = Field(30.0, description="seconds between two pushes of metrics")


class PlannerSettings(Table):
    """How the tide table is made."""

    believed: float = Field(
        0.9,
        ge=0.5,
        le=1,
        description="share of the predicted capacity to count on at first; learnt from requests",
    )
    horizon_s: float = Field(86400.0, ge=3600, le=7 * 86400, description="length of the tide table")
    tick_s: float = Field(60.0, ge=1, le=3600, description="seconds between two decisions")
    replan_s: float = Field(300.0, ge=10, le=3600, description="seconds between two tide tables")
    drain_window_s: float = Field(
        300.0, ge=0, le=86400, description="beyond the lead, how far a scale-in looks ahead"
    )
    stale_s: float = Field(
        3600.0, ge=60, le=7 * 86400, description="an older plan or silent log holds the fleet"
    )


class RetrainSettings(Table):
    """When and with what the champion is chosen."""

    cron: Cron = Field("17 3 * * *", description="five-field cron line, UTC")
    slot_s: float = Field(300.0, ge=60, le=3600, description="grid of the season, seconds")
    members: tuple[str, ...] = Field(
        ("pool",),
        description="candidates beside both seasonal naives; more of them cost minutes, not seconds",
    )
    history_days: float = Field(42.0, ge=3, le=400, description="days of history to learn from")

    @field_validator("cron")
    @classmethod
    def _fires(cls, line: str) -> str:
        from apscheduler.triggers.cron import CronTrigger

        CronTrigger.from_crontab(line)  # its ValueError is the refusal
        return line

    @field_validator("members")
    @classmethod
    def _known_members(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in MEMBER_NAMES:
                raise ValueError(f"no member {name!r}, there are {', '.join(MEMBER_NAMES)}")
        return names


class StoreSettings(Table):
    """What is kept, and for how long."""

    raw_days: float = Field(35.0, ge=1, le=4000, description="days of raw requests to keep")


class IngestSettings(Table):
    """Your logs: names of their columns, each list tried in order before the built-in names."""

    timestamp: tuple[str, ...] = Field((), description="arrival time")
    service: tuple[str, ...] = Field((), description="service or model name")
    prompt_tokens: tuple[str, ...] = Field((), description="prompt tokens")
    output_tokens: tuple[str, ...] = Field((), description="generated tokens")
    ttft: tuple[str, ...] = Field(
        (),
        description='time to first token, with its unit: "first_ms", or "first:ms" (s, ms, us, ns)',
    )
    tpot: tuple[str, ...] = Field((), description="time per output token after the first, so")
    latency: tuple[str, ...] = Field((), description="time of the whole answer, so")
    status: tuple[str, ...] = Field((), description="HTTP status")
    tail: tuple[str, ...] = Field(
        (), description="files or patterns that the daemon follows; each line names its service"
    )

    def columns(self) -> dict[str, Any]:
        """Names by role."""
        return self.model_dump(exclude={"tail"})


class Settings(BaseSettings):
    """`tidegate.toml`, then `TIDEGATE_*` environment variables (`TIDEGATE_API__PORT=0`)."""

    model_config = SettingsConfigDict(
        env_prefix="TIDEGATE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    home: Path | None = Field(None, description="state folder; default: the user's data folder")
    dsn: str = Field("", description="PostgreSQL 15+ of your own; empty = embedded server")
    models: Path = Field(Path("models"), description="model repository: <name>/unit.toml")
    api: ApiSettings = Field(default_factory=ApiSettings)
    tier: TierSettings = Field(default_factory=TierSettings)
    keda: KedaSettings = Field(default_factory=KedaSettings)
    dynamo: DynamoSettings = Field(default_factory=DynamoSettings)
    kubernetes: KubernetesSettings = Field(default_factory=KubernetesSettings)
    open_inference: OpenInferenceSettings = Field(default_factory=OpenInferenceSettings)
    ray_serve: RayServeSettings = Field(default_factory=RayServeSettings)
    prometheus: PrometheusSettings = Field(default_factory=PrometheusSettings)
    planner: PlannerSettings = Field(default_factory=PlannerSettings)
    retrain: RetrainSettings = Field(default_factory=RetrainSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    ingest: IngestSettings = Field(default_factory=IngestSettings)
    alerts: AlertsSettings = Field(default_factory=AlertsSettings)
    quota: tuple[QuotaSettings, ...] = Field((), description="one [[quota]] table each: name, gpus")
    service: tuple[ServiceSettings, ...] = Field((), description="one [[service]] table each")

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        scalers = {
            "keda.port": self.keda.port is not None,
            "dynamo.port": self.dynamo.port is not None,
            "kubernetes.namespace": bool(self.kubernetes.namespace),
            "open_inference.hosts": bool(self.open_inference.hosts),
            "ray_serve.url": bool(self.ray_serve.url),
        }
        chosen = [key for key, asked in scalers.items() if asked]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)}: one of them scales, not both")
        if self.dynamo.port is not None:
            self.dynamo.components([each.name for each in self.service])
        asked = any(each.metrics.asked_of == "query" for each in self.service)
        if asked and not self.prometheus.url:
            raise ValueError('[service.metrics] wants prometheus.url, or source = "push"')
        return self

    @model_validator(mode="after")
    def _quotas_known(self) -> Self:
        names = [each.name for each in self.quota]
        if len(set(names)) < len(names):
            raise ValueError("two [[quota]] tables have one name")
        for each in self.service:
            if each.quota and each.quota not in names:
                known = ", ".join(names) or "none"
                raise ValueError(
                    f"service {each.name!r} names quota = {each.quota!r}, there are: {known}"
                )
        return self
