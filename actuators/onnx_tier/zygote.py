"""The zygote: a process that has imported numpy and ONNX Runtime, and forks units from there.

It creates no session and touches no device (CUDA cannot be forked once it is initialised). A unit
starts in milliseconds instead of the quarter of a second that the imports take. The zygote is its
units' parent: it reports how each one ended, and takes them along when the tier is gone.

Run as ``python -m actuators.onnx_tier.zygote FD``, where FD is a connected socket.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress

from actuators.onnx_tier.unit_process import run_unit
from actuators.onnx_tier.wire import BlockingLink, Header


class _Zygote:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._link = BlockingLink(connection)
        self._units: dict[int, str] = {}
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def run(self) -> None:
        """Fork and reap until the tier closes its end."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # What is alive now is shared by every unit: keep the collector from copying its pages.
        gc.freeze()
        self._link.send({"t": "zygote"})
        try:
            while True:
                readable, _, _ = select.select([self._connection.fileno(), self._wake_read], [], [])
                if self._wake_read in readable:
                    os.read(self._wake_read, 4096)
                    self._reap()
                if self._connection.fileno() in readable:
                    for header, _ in self._link.receive(0.0):
                        self._fork(header)
        except (EOFError, OSError):
            self._kill_units()

    def _fork(self, order: Header) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._link.send({"t": "refused", "unit_id": order["unit_id"], "reason": str(error)})
            return
        if pid == 0:
            self._become_unit(order)
        self._units[pid] = order["unit_id"]
        self._link.send({"t": "forked", "unit_id": order["unit_id"], "pid": pid})

    def _become_unit(self, order: Header) -> None:
        """In the child: drop what is the zygote's, live, and never return."""
        status = 3
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._connection.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            status = run_unit(order)
        except Exception:  # noqa: BLE001 - the last frame of a process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._units:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            unit_id = self._units.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            self._link.send({"t": "exit", "unit_id": unit_id, "pid": pid, "code": code})

    def _kill_units(self) -> None:
        for pid in self._units:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._units:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def main() -> None:
    """Run the zygote on the socket whose descriptor is the first argument."""
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _Zygote(connection).run()


if __name__ == "__main__":
    main()
