"""Versions of a service's forecaster, for the API and the command line."""

from __future__ import annotations

from typing import Any

from forecaster.store import ModelRow


def version_to_dict(row: ModelRow) -> dict[str, Any]:
    """Plain values of one version; scores that were never taken are None."""
    score = row.scores.get("champion", {})
    return {
        "version": row.model_id,
        "created_s": row.created_s,
        "champion": row.champion,
        "live": row.live,
        "wape": score.get("wape"),
        "pinball": score.get("pinball"),
        "cost": score.get("cost"),
        "naive_wape": row.scores.get("naive", {}).get("wape"),
        "log_sample": row.log_sample,
        "verdict": row.verdict,
    }
