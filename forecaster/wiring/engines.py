"""Where batches are trained: in this process, in several of this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any

from forecaster.domain.errors import ModelError, SettingError

BATCHES_LEAST, BATCH_MOST = 16, 250
"""Into so many a run is cut at least, so that all processes have work and a kill costs little; and
services of one batch at most: they share what a batch costs, and its memory is bounded."""
Batch = tuple[int, Any]
Work = Callable[[Any], Any]
IN_FLIGHT = 2
"""Batches per worker that are under way or ready for it: more of them only take memory."""


def here(work: Work, batches: Iterable[Batch]) -> Iterator[Batch]:
    """One after the other, in this process."""
    for number, batch in batches:
        yield number, work(batch)


def over_processes(work: Work, batches: Iterable[Batch], jobs: int) -> Iterator[Batch]:
    """Over `jobs` processes, as they come; the processes end with this one, however it ends.

    Raises
    ------
    ModelError
        When a process dies.
    """
    context = multiprocessing.get_context("spawn")
    pending: dict[Future[Any], int] = {}
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_parent) as pool:
        try:
            for number, batch in batches:
                pending[pool.submit(work, batch)] = number
                if len(pending) >= IN_FLIGHT * jobs:
                    yield from _done(pending)
            while pending:
                yield from _done(pending)
        except BrokenProcessPool as error:
            raise ModelError(
                "a training process died", "run the same command again: it goes on"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _done(pending: dict[Future[Any], int]) -> Iterator[Batch]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        yield pending.pop(future), future.result()


def end_with_parent() -> None:
    """End this process when the one that made it is gone, even by kill -9."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        wait_for([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def over_ray(work: Work, batches: Iterable[Batch], jobs: int) -> Iterator[Batch]:
    """On the Ray cluster of ``RAY_ADDRESS``, else on one of `jobs` workers that is started here.

    Raises
    ------
    SettingError
        When Ray is not installed.
    ModelError
        When Ray does not start, a worker dies, or the cluster is not there.
    """
    try:
        import ray as installed
    except ImportError as error:
        raise SettingError(
            "--engine", "ray", "Ray is not installed", "pip install 'tidegate[ray]'"
        ) from error
    ray: Any = installed  # typed in part
    address = os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {} if address else {"num_cpus": jobs, "include_dashboard": False}
    try:  # without an address one of its own, also where another cluster runs on this machine
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:  # Ray raises nothing more precise where its start takes too long
        raise ModelError(f"Ray does not start: {error}", "run the same command again") from error
    try:
        workers = jobs if not address else max(int(ray.cluster_resources().get("CPU", jobs)), 1)
        remote = ray.remote(num_cpus=1)(work)
        pending: dict[Any, int] = {}
        for number, batch in batches:
            pending[remote.remote(batch)] = number
            if len(pending) >= IN_FLIGHT * workers:
                yield from _ray_done(ray, pending)
        while pending:
            yield from _ray_done(ray, pending)
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise ModelError(f"Ray: {error}", "run the same command again: it goes on") from error
    finally:
        ray.shutdown()


def _ray_done(ray: Any, pending: dict[Any, int]) -> Iterator[Batch]:
    done, _ = ray.wait(list(pending), num_returns=1)
    for reference in done:
        yield pending.pop(reference), ray.get(reference)


def chunks(names: Sequence[str]) -> list[list[str]]:
    """Names in batches; how many of them says how large these are, so that a run can be gone on with.

    Examples
    --------
    >>> chunks(["a", "b", "c"]), [len(each) for each in chunks([str(n) for n in range(1000)])][-2:]
    ([['a'], ['b'], ['c']], [62, 8])
    """
    size = min(max(len(names) // BATCHES_LEAST, 1), BATCH_MOST)
    return [list(names[at : at + size]) for at in range(0, len(names), size)]
