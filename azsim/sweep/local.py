"""Processes of this machine as workers. They end with the process that started them, however it ends.

They are forked from one server that has imported what they need: a worker that died is replaced in a third of a second,
and they share the memory that torch takes. Where systems cannot fork, each one starts from nothing.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection, get_all_start_methods, get_context, parent_process

import torch

ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


@contextmanager
def local_workers(n: int) -> Iterator[Callable[[], Executor]]:
    """A function that gives a pool of ``n`` fresh processes, again if the one before broke."""
    pools: list[ProcessPoolExecutor] = []
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["azsim.sweep.work"])

    def pool() -> Executor:
        if pools:
            pools.pop().shutdown(wait=False, cancel_futures=True)
        # the server may be older than what the environment says now
        pools.append(ProcessPoolExecutor(n, context, initializer=_settle, initargs=(dict(os.environ),)))
        for _ in range(n):
            pools[-1].submit(ready)
        return pools[-1]

    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield pool
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        for one in pools:
            one.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ready() -> None:
    """Imports what a worker needs before there is work; it answers where workers can start at all."""


def _settle(environment: dict[str, str]) -> None:
    """A worker leaves interrupts to its parent, uses one core, and does not outlive its parent."""
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """A parent that was killed closes no queue: its workers would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
