"""A gRPC server on one port, plain or TLS, for whoever asks how many units should run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from forecaster.domain.errors import SettingError

STOP_S = 1.0
"""Calls under way get this long when the server stops."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate and key in PEM; with `client_ca` only clients that it vouches for may ask."""

    cert: Path
    key: Path
    client_ca: Path | None = None


class RpcServer:
    """Generic handlers behind a port.

    Parameters
    ----------
    table : str
        Table of `tidegate.toml` that the settings come from, as refusals name it.
    threads : int
        Calls at a time.
    handlers : sequence
        gRPC's generic handlers.
    """

    def __init__(self, table: str, threads: int, handlers: tuple[Any, ...]) -> None:
        self._table = table
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix=table),
            options=[("grpc.so_reuseport", 0)],
        )
        self._server.add_generic_rpc_handlers(handlers)

    def start(self, host: str, port: int, tls: Tls | None = None) -> int:
        """Serve; return the port.

        Raises
        ------
        SettingError
            When the port is taken or a file cannot be read.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, self._credentials(tls))
        except RuntimeError as error:
            raise SettingError(
                f"{self._table}.port", port, f"cannot listen on {host}", "set another port, or 0"
            ) from error
        self._server.start()
        return int(bound)

    def stop(self) -> None:
        """End the calls."""
        self._server.stop(STOP_S).wait()

    def _credentials(self, tls: Tls) -> Any:
        pair = (self._read("tls_key", tls.key), self._read("tls_cert", tls.cert))
        ca = None if tls.client_ca is None else self._read("client_ca", tls.client_ca)
        return grpc.ssl_server_credentials([pair], ca, require_client_auth=ca is not None)

    def _read(self, key: str, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise SettingError(
                f"{self._table}.{key}", str(path), f"cannot be read: {error.strerror}"
            ) from error


def unary(call: Any, read: Any) -> Any:
    """Handle a call of one request and one answer."""
    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=read, response_serializer=written
    )


def written(message: Any) -> bytes:
    """Write a message."""
    raw: bytes = message.SerializeToString()
    return raw
