"""Textbook queues: Erlang B and C, and general service by Allen-Cunneen."""

from __future__ import annotations

import math

from forecaster.domain.errors import ModelError


def erlang_b(servers: int, offered_load_erl: float) -> float:
    """Blocking probability of M/M/c/c (Erlang, 1917), by the stable recursion.

    Examples
    --------
    >>> round(erlang_b(2, 1.0), 4)
    0.2
    """
    if servers < 0 or offered_load_erl < 0:
        raise ModelError(
            f"erlang_b({servers}, {offered_load_erl}) has no meaning", "use values >= 0"
        )
    blocked = 1.0
    for c in range(1, servers + 1):
        blocked = offered_load_erl * blocked / (c + offered_load_erl * blocked)
    return blocked


def erlang_c(servers: int, offered_load_erl: float) -> float:
    """Probability of waiting in M/M/c; 1 when the load is not below the servers.

    Examples
    --------
    >>> erlang_c(1, 0.5)
    0.5
    """
    if offered_load_erl >= servers:
        return 1.0
    blocked = erlang_b(servers, offered_load_erl)
    utilisation = offered_load_erl / servers
    return blocked / (1 - utilisation * (1 - blocked))


def wait_rate_per_s(
    servers: int, offered_load_erl: float, service_time_s: float, variability: float
) -> float:
    """Rate of the exponential tail of the wait in G/G/c, 1/s.

    Allen-Cunneen: the mean wait of those who wait is `variability` = (ca^2 + cs^2) / 2 times that
    of M/M/c, service_time / (c - a).

    Parameters
    ----------
    variability : float
        Mean of the squared coefficients of variation of arrivals and service, > 0.
    """
    spare = servers - offered_load_erl
    if spare <= 0:
        return 0.0
    return spare / (service_time_s * max(variability, 1e-6))


def wait_exceeds(
    servers: int, offered_load_erl: float, service_time_s: float, variability: float, wait_s: float
) -> float:
    """P(wait > `wait_s`) in G/G/c, exponential tail.

    Examples
    --------
    >>> round(wait_exceeds(1, 0.5, 1.0, 1.0, 2.0), 4)  # M/M/1: 0.5 exp(-0.5 * 2)
    0.1839
    """
    if wait_s < 0 or offered_load_erl >= servers:
        return 1.0
    rate = wait_rate_per_s(servers, offered_load_erl, service_time_s, variability)
    return erlang_c(servers, offered_load_erl) * math.exp(-rate * wait_s)
