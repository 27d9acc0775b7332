"""Prometheus as it is asked: `query_range` and `query` of its HTTP API (also Thanos, Mimir, VictoriaMetrics)."""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.domain.errors import DataError, SettingError

log = logging.getLogger(__name__)
CALL_S = 30.0
NOW_S = 5.0
"""An answer about this moment is of no use later."""
POINTS_MOST = 11_000
"""Moments that Prometheus answers at most for one series."""


class SourceAwayError(DataError):
    """The source of demand cannot be asked now: hold and retry."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where Prometheus is and who we are.

    Attributes
    ----------
    url : str
        As in ``http://prometheus:9090``; a path before ``/api/v1`` is kept.
    token : str
        Bearer token; empty for none.
    token_file : Path or None
        Read again for every call: such tokens are renewed.
    ca : Path or None
        PEM of the authority that vouches for the server.
    params : tuple of str
        ``KEY=VALUE`` sent with every query, as some gateways want them.
    """

    url: str
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    ca: Path | None = None
    params: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Matrix:
    """Series on one grid of moments.

    Attributes
    ----------
    labels : tuple of mapping
        One for each series.
    values : float64[S, T]
        NaN where a series was not there.
    target : int64[S]
        Number of the process that each series belongs to.
    born : bool[S, T] or None
        Where a series may have been born; None: wherever it appears.
    """

    labels: tuple[Mapping[str, str], ...]
    values: FloatArray
    target: IntArray
    born: npt.NDArray[np.bool_] | None = None


def targets(labels: Sequence[Mapping[str, str]]) -> IntArray:
    """Number of the scraped process of each series."""
    names = [(each.get("job", ""), each.get("instance", "")) for each in labels]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


class Prometheus:
    """A client of the query API; `close` it.

    Raises
    ------
    SettingError
        When the CA file cannot be read.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        verify: ssl.SSLContext | bool = True
        if address.ca is not None:
            try:
                verify = ssl.create_default_context(cafile=str(address.ca))
            except (OSError, ssl.SSLError) as error:
                raise SettingError(
                    "prometheus.ca", str(address.ca), f"cannot be read: {error}"
                ) from error
        self._http = httpx.Client(verify=verify, timeout=CALL_S)
        self._said: set[str] = set()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def range(self, query: str, first_s: int, last_s: int, step_s: int) -> Matrix:
        """Values at every `step_s` from `first_s` to `last_s`, both included.

        Raises
        ------
        SourceAwayError
            When Prometheus cannot be reached or is not able to answer now.
        DataError
            When it refuses the query, the credentials, or answers in another language.
        """
        moments = (last_s - first_s) // step_s + 1
        assert moments <= POINTS_MOST, "the caller asks window by window"
        asked: dict[str, str | int] = {
            "query": query,
            "start": first_s,
            "end": last_s,
            "step": step_s,
        }
        found = self._ask("query_range", asked)
        values = np.full((len(found), moments), np.nan)
        for row, series in enumerate(found):
            for at_s, text in series.get("values", ()):
                column = round((float(at_s) - first_s) / step_s)
                if 0 <= column < moments:
                    values[row, column] = _number(text)
        labels = tuple(each.get("metric", {}) for each in found)
        return Matrix(labels, values, targets(labels))

    def now(self, query: str, label: str) -> dict[str, float]:
        """The newest value by one label; see `range` for what is raised."""
        found = self._ask("query", {"query": query}, NOW_S)
        return {
            each["metric"][label]: _number(each["value"][1])
            for each in found
            if label in each.get("metric", {})
        }

    def _ask(
        self, method: str, asked: Mapping[str, str | int], limit_s: float = CALL_S
    ) -> list[dict[str, Any]]:
        form = {key: str(value) for key, value in asked.items()}
        form |= dict(each.partition("=")[::2] for each in self._address.params)
        url = f"{self._address.url.rstrip('/')}/api/v1/{method}"
        try:
            answer = self._http.post(url, data=form, headers=self._headers(), timeout=limit_s)
        except httpx.HTTPError as error:
            raise SourceAwayError(
                f"Prometheus at {self._address.url} cannot be reached: {type(error).__name__}",
                "check prometheus.url and the network; what was read stays",
            ) from error
        try:
            said = answer.json()
            status, why = said["status"], str(said.get("error", ""))
        except (ValueError, KeyError, TypeError):
            said, status, why = {}, "", answer.text[:200]
        if answer.status_code in (401, 403):
            raise DataError(
                f"Prometheus refuses our credentials ({answer.status_code})",
                "set TIDEGATE_PROMETHEUS__TOKEN or prometheus.token_file",
            )
        if answer.status_code == 429 or answer.status_code >= 500:
            raise SourceAwayError(
                f"Prometheus answers {answer.status_code}: {why}", "what was read stays; try again"
            )
        if status != "success":
            raise DataError(
                f"Prometheus refuses {asked['query']!r} ({answer.status_code}): {why}",
                "check prometheus.url and the query",
            )
        for warning in said.get("warnings", ()):
            self._warn(str(warning))
        result: list[dict[str, Any]] = said["data"]["result"]
        return result

    def _headers(self) -> dict[str, str]:
        token = self._address.token
        if self._address.token_file is not None:
            try:
                token = self._address.token_file.read_text("utf-8").strip()
            except OSError as error:
                file = str(self._address.token_file)
                raise SettingError(
                    "prometheus.token_file", file, f"cannot be read: {error.strerror}"
                ) from error
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _warn(self, text: str) -> None:
        """Once for each warning: answers may be partial, and later ones only add."""
        if text not in self._said:
            log.warning("Prometheus warns: %s", text)
        self._said.add(text)


def _number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else math.nan
