"""Settings of demand that Prometheus has counted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from forecaster.config.table import Table

Parameter = Annotated[str, Field(pattern=r"^[^=]+=.*$")]


class PrometheusSettings(Table):
    """Prometheus as the source of load, for services with `[service.metrics]`."""

    url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="as in http://prometheus:9090; set: it is read",
    )
    token: str = Field("", description="bearer token")
    token_file: Path | None = Field(
        None, description="holds the bearer token; read again for every call"
    )
    ca: Path | None = Field(None, description="PEM of the authority that vouches for the server")
    params: tuple[Parameter, ...] = Field((), description="KEY=VALUE sent with every query")
    step_s: int = Field(
        60, ge=60, le=3600, multiple_of=60,
        description="seconds between two moments that are asked for; above 60 for scrapes above 30 s",
    )  # fmt: skip
    backfill_days: float = Field(
        30.0, ge=0.01, le=400, description="how far back the daemon reads at first"
    )

    @model_validator(mode="after")
    def _whole_days(self) -> Self:
        if 86_400 % self.step_s:
            raise ValueError(f"step_s = {self.step_s} does not divide a day")
        return self


class MetricsSettings(Table):
    """What tells the requests of one service: a model server's counters, PromQL of yours, or spans."""

    source: Literal["query", "push", "spans"] = Field(
        "query",
        description="query: Prometheus is asked; push: counters come by remote write or OTLP;"
        " spans: OTLP spans of model calls are its requests",
    )
    preset: Literal["", "vllm", "tgi", "triton", "dynamo", "kserve", "gen_ai", "gen_ai_client"] = (
        Field("", description="model server whose counters are read")
    )
    match: str = Field(
        "",
        description="label matchers of its series or spans; empty: the model has the service's name",
    )
    arrivals: str = Field("", description="PromQL instead of a preset: requests of the last $step")
    prompt_tokens: str = Field("", description="PromQL: their prompt tokens")
    output_tokens: str = Field("", description="PromQL: their output tokens")
    outside: str = Field(
        "",
        description="PromQL: requests outside the SLO of the last $step;"
        " empty: the preset's own latency histograms, where they tell every part of the SLO",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.preset and (self.arrivals or self.prompt_tokens or self.output_tokens):
            raise ValueError("a preset or PromQL of your own, not both")
        if (self.prompt_tokens or self.output_tokens) and not self.arrivals:
            raise ValueError("tokens of requests want arrivals")
        if self.outside and (self.source != "query" or not (self.preset or self.arrivals)):
            raise ValueError("outside goes with a preset or arrivals, and can only be asked")
        if self.source == "push" and not self.preset:
            raise ValueError('source = "push" wants a preset: PromQL can only be asked')
        if self.source == "spans" and (self.preset or self.arrivals):
            raise ValueError('source = "spans" wants no preset and no PromQL: a span says it all')
        return self

    @property
    def counted(self) -> bool:
        """Whether counters tell the load."""
        return self.asked_of in ("query", "push")

    @property
    def reported(self) -> bool:
        """Whether the model server is asked how many requests were outside the SLO."""
        return self.source in ("query", "push") and bool(self.preset or self.outside)

    @property
    def asked_of(self) -> Literal["", "query", "push", "spans"]:
        """Who tells the load; empty: nobody does."""
        return self.source if self.preset or self.arrivals or self.source == "spans" else ""
