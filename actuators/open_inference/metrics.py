"""What a server's metrics say of one model: how much waits or runs, how much was ever answered, its memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

WAITING = ("nv_inference_pending_request_count", "rest_server_requests_in_progress")
"""Requests that are not answered: Triton's queue of a model, MLServer's whole front."""
ANSWERED = (
    "nv_inference_request_success", "nv_inference_request_failure",
    "model_infer_request_success_total", "model_infer_request_failure_total",
)  # fmt: skip
MEMORY = ("nv_gpu_memory_used_bytes", "process_resident_memory_bytes", "nv_cpu_memory_used_bytes")
"""The first of them that is there: of the device, of the process, of the host."""
_LINE = re.compile(r"^(\w+)(?:\{(.*)\})?\s+([-+0-9.eE]+|NaN)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Traffic:
    """A moment of a model on a server.

    Attributes
    ----------
    waiting : float
        Requests that wait or run.
    answered : float
        Requests answered since the server started.
    memory_bytes : float or None
        Used on the device, or by the process; None where it is not said.
    """

    waiting: float
    answered: float
    memory_bytes: float | None = None

    def quiet_since(self, before: Traffic | None) -> bool:
        """Whether nothing was asked for between two looks."""
        return before is not None and not self.waiting and self.answered == before.answered


def traffic_of(text: str, model: str) -> Traffic:
    """Read Prometheus' text format.

    Examples
    --------
    >>> traffic_of('nv_inference_request_success{model="m",version="1"} 7', "m")
    Traffic(waiting=0.0, answered=7.0, memory_bytes=None)
    """
    sums: dict[str, float] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None or found[1] not in (*WAITING, *ANSWERED, *MEMORY):
            continue
        labels = dict(_LABEL.findall(found[2] or ""))
        if labels.get("model", model) == model and labels.get("method", "POST") == "POST":
            sums[found[1]] = sums.get(found[1], 0.0) + float(found[3])
    memory = next((sums[name] for name in MEMORY if name in sums), None)
    waiting = sum(sums.get(name, 0.0) for name in WAITING)
    return Traffic(waiting, sum(sums.get(name, 0.0) for name in ANSWERED), memory)
