"""Who types a command, for the audit log."""

from __future__ import annotations

import getpass
import os
import socket


def user() -> str:
    """Name and machine, as the system knows them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container without an account
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}".encode("ascii", "replace").decode()
