"""The HTTP API and the dashboard: reads of a backend, nothing else."""

from forecaster.api.app import make_app
from forecaster.api.backend import Backend

__all__ = ["Backend", "make_app"]
