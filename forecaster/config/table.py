"""What every table of `tidegate.toml` has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Table(BaseModel):
    """A table of `tidegate.toml`: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
