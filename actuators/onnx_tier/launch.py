"""Starts a tier as a child process and stops it again."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from actuators.onnx_tier.client import OnnxTierActuator
from actuators.onnx_tier.spec import TierSpec
from forecaster.domain.errors import (
    ActuatorError,
    ActuatorUnavailableError,
    ModelError,
    SettingError,
)

START_WITHIN_S = 30.0
_EXIT_MARGIN_S = 8.0
_POLL_S = 0.05


@dataclass(slots=True)
class TierHandle:
    """A running tier.

    Attributes
    ----------
    url : str
        Public address.
    grpc_address : str
        ``host:port`` of the gRPC half; empty where it is off.
    control_socket : Path
        For `OnnxTierActuator`.
    tier : str
        Identity of its numbering.
    """

    process: subprocess.Popen[bytes]
    url: str
    control_socket: Path
    tier: str
    grace_s: float
    grpc_address: str = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def actuator(self) -> OnnxTierActuator:
        """Return a new client of this tier."""
        return OnnxTierActuator(self.control_socket)

    def stop(self, grace_s: float | None = None) -> int:
        """Let accepted requests finish, end every process; return the exit status.

        Parameters
        ----------
        grace_s : float, optional
            Time for accepted requests; the specification's when absent.
        """
        grace_s = self.grace_s if grace_s is None else grace_s
        if self.alive:
            try:
                with self.actuator() as actuator:
                    actuator.shutdown(grace_s)
            except ActuatorUnavailableError:
                self.process.terminate()
        try:
            self.process.wait(grace_s + _EXIT_MARGIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return _reap(self.process)


def start_tier(spec: TierSpec, log_path: Path) -> TierHandle:
    """Start a tier and wait until it answers.

    Parameters
    ----------
    spec : TierSpec
        What it serves, where.
    log_path : Path
        Gets the log of the tier and its units, appended.

    Raises
    ------
    SettingError
        When a setting is refused, for example a public port that is taken.
    ModelError
        When a model file is missing or broken.
    ActuatorError
        When it did not come up, with the last line of its log.
    """
    spec.home.mkdir(parents=True, exist_ok=True)
    spec_path = spec.home / "tier-spec.json"
    spec_path.write_bytes(spec.to_json())
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "actuators.onnx_tier", "--spec", str(spec_path)],
            stdin=subprocess.PIPE if spec.exit_with_parent else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    line = _first_line(process)
    if not line:
        process.kill()
        status = _reap(process)
        raise ActuatorError(
            f"the serving tier did not start (exit status {status})",
            _last_line(log_path) or f"see {log_path}",
        )
    data = orjson.loads(line)
    if "error" in data:
        _reap(process)
        raise _error(data)
    assert process.stdout is not None
    process.stdout.close()
    return TierHandle(
        process=process,
        url=data["url"],
        control_socket=Path(data["control_socket"]),
        tier=data["tier"],
        grace_s=spec.grace_s,
        grpc_address=data["grpc_address"],
    )


def stop_tier(home: Path, grace_s: float) -> int:
    """End a tier whose launcher is gone: accepted requests are answered first.

    Parameters
    ----------
    home : Path
        The tier's home.
    grace_s : float
        Time for accepted requests.

    Returns
    -------
    int
        The process that ended.

    Raises
    ------
    ActuatorUnavailableError
        When no tier runs there.
    ActuatorError
        When it does not end in time.
    """
    note = home / "tier.json"
    try:
        told = orjson.loads(note.read_bytes())
        with OnnxTierActuator(Path(told["control_socket"])) as actuator:
            actuator.shutdown(grace_s)
    except (OSError, ValueError, KeyError, ActuatorUnavailableError) as error:
        raise ActuatorUnavailableError(f"no serving tier runs in {home}", "") from error
    pid = int(told["pid"])
    deadline_s = time.monotonic() + grace_s + _EXIT_MARGIN_S
    while _exists(pid):
        if time.monotonic() > deadline_s:
            raise ActuatorError(f"the tier, process {pid}, does not end", f"kill -9 {pid}")
        time.sleep(_POLL_S)
    return pid


def _exists(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice does not."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (ProcessLookupError, FileNotFoundError):
        return False


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Read the announcement; empty when the process ended or stayed silent."""
    assert process.stdout is not None
    deadline_s = time.monotonic() + START_WITHIN_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left_s)[0]:
            return process.stdout.readline()
    return b""


def _reap(process: subprocess.Popen[bytes]) -> int:
    status = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    return status


def _error(data: dict[str, Any]) -> Exception:
    if data["error"] == "setting":
        return SettingError(data["key"], data["value"], data["allowed"], data["remedy"])
    kind = ModelError if data["error"] == "model" else ActuatorError
    return kind(data["problem"], data["remedy"])


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
