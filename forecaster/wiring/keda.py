"""Units that KEDA runs: the daemon's orders become the answer to KEDA's question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from actuators.keda.pulled import PulledActuator
from actuators.keda.scaler import ExternalScaler
from forecaster.config import Settings
from forecaster.daemon.service import Daemon
from forecaster.wiring.wanted import Question, tls_of


@contextmanager
def serve_keda(settings: Settings, daemon: Daemon, fleet: PulledActuator) -> Iterator[str]:
    """Answer KEDA while the block runs; yields the address.

    Raises
    ------
    SettingError
        When the port is taken or a file of the TLS settings cannot be read.
    """
    keda = settings.keda
    scaler = ExternalScaler(Question(daemon, fleet).wanted)
    port = scaler.start(keda.host, keda.port or 0, tls_of(keda))
    try:
        yield f"{keda.host}:{port}"
    finally:
        scaler.stop()
