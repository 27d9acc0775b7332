"""Settings of the alerts."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import Field, SecretStr, field_validator

from forecaster.config.table import Table, TimeZone
from forecaster.domain.alert import Kind


class HookFormat(StrEnum):
    """How a webhook is written to."""

    JSON = "json"
    """Every field of the alert."""
    SLACK = "slack"
    """One line of text, as Slack, Mattermost and Teams' Slack connector take it."""


class AlertsSettings(Table):
    """Webhooks for what somebody should know: once when it begins, once when it is over."""

    webhook: tuple[SecretStr, ...] = Field(
        (), description="addresses that are posted to; secrets, never logged"
    )
    format: HookFormat = Field(HookFormat.JSON, description="json or slack")
    kinds: tuple[Kind, ...] = Field(tuple(Kind), description="what is worth an alert")
    quiet: str = Field(
        "",
        pattern=r"^$|^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="22:00-07:00: only urgent ones meanwhile, the others at its end; empty = never",
    )
    timezone: TimeZone = Field("UTC", description="IANA time zone of the quiet hours")
    timeout_s: float = Field(5.0, gt=0, le=60, description="a webhook that takes longer has failed")

    @field_validator("webhook")
    @classmethod
    def _reachable(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for url in urls:
            if not re.match(r"https?://[^/\s]+", url.get_secret_value()):
                raise ValueError("every webhook is written as https://host/path")
        return urls

    def quiet_minutes(self) -> tuple[int, int] | None:
        """Quiet hours in minutes since local midnight."""
        if not self.quiet:
            return None
        start, end = (int(part[:2]) * 60 + int(part[3:]) for part in self.quiet.split("-"))
        return start, end
