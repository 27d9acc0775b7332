"""On what terms a request is made: by when it must be answered, and whether it may stand back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from actuators.onnx_tier.jobs import RefusedError

TIMEOUT_HEADER = "x-tidegate-timeout-s"
PRIORITY_HEADER = "x-tidegate-priority"
PRIORITIES = ("interactive", "batch")

_TIMEOUT_MOST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client asks for beside the answer.

    Attributes
    ----------
    timeout_s : float
        Seconds from the arrival within which the whole answer is wanted; infinite for none.
    batch : bool
        Class of the request: batch work waits behind interactive work.
    """

    timeout_s: float = math.inf
    batch: bool = False

    def within(self, timeout_s: float | None) -> Terms:
        """Return these terms with the earlier of both deadlines."""
        if timeout_s is None or timeout_s >= self.timeout_s:
            return self
        return Terms(max(0.0, timeout_s), self.batch)


def read_terms(
    headers: Mapping[str, str], priority: object = None, timeout_us: object = 0
) -> Terms:
    """Read the terms of a request from its headers and from the protocol's own parameters.

    Parameters
    ----------
    headers : mapping
        Lower-case names. `TIMEOUT_HEADER` and `PRIORITY_HEADER` rule over the parameters.
    priority : object
        The scheduling parameter: 0 and 1 are interactive, larger is batch; or the class by name.
    timeout_us : object
        The scheduling parameter: microseconds, 0 for none.

    Raises
    ------
    RefusedError
        400, naming what is wrong.

    Examples
    --------
    >>> read_terms({"x-tidegate-timeout-s": "1.5"}, priority=2)
    Terms(timeout_s=1.5, batch=True)
    """
    return Terms(
        _timeout_s(headers.get(TIMEOUT_HEADER), timeout_us),
        _batch(headers.get(PRIORITY_HEADER) or priority),
    )


def _timeout_s(header: str | None, timeout_us: object) -> float:
    if header is None:
        if type(timeout_us) is not int or timeout_us < 0:
            raise _bad(f"timeout = {timeout_us!r} must be whole microseconds, 0 for none")
        return timeout_us / 1e6 if timeout_us else math.inf
    try:
        timeout_s = float(header)
    except ValueError:
        timeout_s = math.nan
    if not 0 < timeout_s <= _TIMEOUT_MOST_S:
        raise _bad(
            f"{TIMEOUT_HEADER}: {header[:40]!r} must be seconds, 0 < t <= {_TIMEOUT_MOST_S:g}"
        )
    return timeout_s


def _batch(priority: object) -> bool:
    if priority is None:
        return False
    if type(priority) is int and priority >= 0:
        return priority > 1
    if priority in PRIORITIES:
        return priority == "batch"
    raise _bad(f"priority = {str(priority)[:40]!r} must be interactive, batch or a whole number")


def _bad(message: str) -> RefusedError:
    return RefusedError(400, message, "invalid_request")
