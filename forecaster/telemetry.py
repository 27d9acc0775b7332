"""Telemetry: where log lines go. Metrics are rendered by the API from the board."""

from __future__ import annotations

import logging


def quiet_logging() -> None:
    """Warnings of ours on standard error; libraries only when something is wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.getLogger("httpx").setLevel(
        logging.ERROR
    )  # it says whole addresses: webhooks are secrets
