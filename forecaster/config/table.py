"""What every table of `tidegate.toml` has in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("no IANA time zone, write it as in Europe/Berlin")
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Table(BaseModel):
    """A table of `tidegate.toml`: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsTable(Table):
    """A table whose server speaks TLS when it has a certificate."""

    tls_cert: Path | None = Field(None, description="PEM certificate chain: the server speaks TLS")
    tls_key: Path | None = Field(None, description="PEM private key of the certificate")

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key are set together")
        return self
