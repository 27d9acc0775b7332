"""What the tier's tests share: unit types, a running tier, bare sessions to compare with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from actuators.onnx_tier.client import OnnxTierActuator
from actuators.onnx_tier.demo_models import build_demo_models
from actuators.onnx_tier.launch import TierHandle, start_tier
from actuators.onnx_tier.session import open_session
from actuators.onnx_tier.spec import TierService, TierSpec
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType

CHAT, CLASSIFIER = "chat", "classifier"
PATIENCE_S = 120.0
"""What does not come by then does not come: a machine that is busy elsewhere takes its time."""

LLAMA_TYPE = UnitType(
    name="tiny-llama",
    profile=GenerativeProfile(4e-4, 5e-5, 5e-7, 5e-5, max_batch=8, chunk_tokens=32, kv_tokens=4096),
    drain_deadline_s=60.0,
)
MLP_TYPE = UnitType(
    name="mlp-classifier",
    profile=ClassicProfile(((1, 0.001), (8, 0.002))),
    drain_deadline_s=30.0,
)


def until(condition: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> Any:
    """Poll until `condition` holds; return what it gave."""
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.005)
    return found


def services(models: Path, **fields: Any) -> tuple[TierService, ...]:
    build_demo_models(models)
    return (
        TierService(CHAT, LLAMA_TYPE, models / "tiny-llama" / "model.onnx", **fields),
        TierService(CLASSIFIER, MLP_TYPE, models / "mlp-classifier" / "model.onnx", **fields),
    )


@contextmanager
def running(home: Path, served: tuple[TierService, ...], **fields: Any) -> Iterator[RunningTier]:
    with start_tier(TierSpec(home, served, **fields), home / "tier.log") as handle:
        with handle.actuator() as actuator:
            yield RunningTier(handle, actuator, home / "tier.log")
        assert handle.stop() == 0
    assert not processes_of(home)


class RunningTier:
    def __init__(self, handle: TierHandle, actuator: OnnxTierActuator, log: Path) -> None:
        self.handle = handle
        self.actuator = actuator
        self.log = log
        self.url = handle.url
        self._orders = 0

    def prewarm(self, service: str, units: int = 1) -> tuple[str, ...]:
        self._orders += 1
        key = f"test-{self._orders}"
        return self.actuator.prewarm(service, units, reason="test", order_key=key)

    def drain(self, service: str, units: int = 1) -> tuple[str, ...]:
        self._orders += 1
        key = f"test-{self._orders}"
        return self.actuator.drain(service, units, reason="test", order_key=key)

    def ready(self, service: str, units: int = 1) -> None:
        """Hold exactly `units` ready units of `service`, and no other."""
        have = len(self.live(service))
        if have < units:
            self.prewarm(service, units - have)
        elif have > units:
            self.drain(service, have - units)
        self.settled(service, units)

    def settled(self, service: str, units: int) -> None:
        def done() -> bool:
            fleet = self.actuator.observe(service)
            return fleet.ready == units == len(self.live(service))

        until(done, f"{units} ready units of {service}; log:\n{self.log.read_text()[-2000:]}")

    def live(self, service: str) -> list[Any]:
        units = self.actuator.observe(service).units
        return [each for each in units if each.state != "failed"]

    def pid_of(self, unit_id: str) -> int:
        """Find the unit's process among the zygote's children, by what `stats` tells."""
        return int(self.actuator.stats()["pids"][unit_id])


def processes_of(home: Path) -> list[int]:
    """Processes whose command line or environment names this tier's home."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if str(home).encode() in command:
                found.append(int(folder.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def children_of(pid: int) -> list[int]:
    """All descendants of a process."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


class BareLlama:
    """The tiny Llama on a bare session: batch 1, growing cache, no engine of ours."""

    def __init__(self, models: Path) -> None:
        build_demo_models(models)
        self.session = open_session(models / "tiny-llama" / "model.onnx", "cpu", 1)
        self._outputs = [each.name for each in self.session.get_outputs()]

    def greedy(self, prompt: list[int] | bytes, tokens: int) -> list[int]:
        cache = {
            f"past_key_values.{layer}.{part}": np.zeros((1, 2, 0, 32), np.float32)
            for layer in range(4)
            for part in ("key", "value")
        }
        ids, total, made = np.array([list(prompt)], np.int64), len(prompt), []
        for _ in range(tokens):
            feed = {"input_ids": ids, "attention_mask": np.ones((1, total), np.int64), **cache}
            results = dict(zip(self._outputs, self.session.run(None, feed), strict=True))
            made.append(int(results.pop("logits")[0, -1].argmax()))
            cache = {n.replace("present", "past_key_values"): v for n, v in results.items()}
            ids, total = np.array([made[-1:]], np.int64), total + 1
        return made

    def text(self, prompt: str, tokens: int) -> str:
        return bytes(self.greedy(prompt.encode(), tokens)).decode()


class BareMlp:
    """The classifier on a bare session."""

    def __init__(self, models: Path) -> None:
        build_demo_models(models)
        self.session = open_session(models / "mlp-classifier" / "model.onnx", "cpu", 1)

    def __call__(self, features: Any) -> Any:
        return self.session.run(None, {"features": features})[0]
