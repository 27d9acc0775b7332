"""Programs are started from processes that speak gRPC."""

from __future__ import annotations

import subprocess
import sys

FORKS = """
import subprocess
import actuators
import grpc
from concurrent.futures import ThreadPoolExecutor
server = grpc.server(ThreadPoolExecutor(2))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
grpc.channel_ready_future(channel).result(20)
for _ in range(100):  # code before the exec, as a change of user takes: no vfork
    done = subprocess.run(["true"], preexec_fn=int, capture_output=True, timeout=20)
    assert not done.stderr, done.stderr
channel.close()
server.stop(None).wait()
"""


def test_a_child_is_left_alone_by_grpc() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
