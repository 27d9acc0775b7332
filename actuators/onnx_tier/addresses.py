"""Where a tier is reached: its public address, its control socket, and how it tells them."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from actuators.onnx_tier.spec import TierSpec
from forecaster.domain.errors import SettingError

SOCKET_PATH_MAX = 100
"""Unix socket paths end at 108 bytes; some are left for the file's name."""

BACKLOG = 2048


def bind_public(host: str, port: int) -> socket.socket:
    """Bind the public address.

    Raises
    ------
    SettingError
        When it is taken or is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise SettingError(
            "tier.port",
            f"{host}:{port}",
            f"it cannot be bound ({getattr(error, 'strerror', None) or error})",
            "stop what uses it, choose another port, or 0 for a free one",
        ) from error
    listener.setblocking(False)
    return listener


def bind_control(path: Path) -> socket.socket:
    """Bind the control socket, which only this user may reach.

    Raises
    ------
    SettingError
        When another tier runs there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise SettingError(
                "tier.home",
                str(path.parent),
                "another tier is running there",
                "stop it or choose another home",
            )
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


@contextmanager
def socket_folder(home: Path) -> Iterator[Path]:
    """Give a private folder whose paths are short enough for sockets."""
    if len(os.fsencode(home.resolve())) + len("/control.sock") <= SOCKET_PATH_MAX:
        folder = home.resolve()
        yield folder
        for name in ("control.sock", "units.sock"):
            (folder / name).unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory(prefix="tidegate-") as name:
        yield Path(name)


def announce(spec: TierSpec, tier: str, url: str, control_path: Path, grpc_address: str) -> None:
    """Tell where the tier is: in ``tier.json``, and in one line for whoever launched it."""
    text = orjson.dumps(
        {
            "tier": tier,
            "url": url,
            "grpc_address": grpc_address,
            "control_socket": str(control_path),
            "pid": os.getpid(),
        }
    )
    target = spec.home / "tier.json"
    fresh = target.with_suffix(".new")
    fresh.write_bytes(text)
    fresh.replace(target)
    announce_line(text)


def announce_line(text: bytes) -> None:
    """Write the one line that a launcher reads from standard output, and close it."""
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.flush()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stdout.fileno())
    os.close(quiet)


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
