"""Workers of a Dask cluster that runs somewhere already: the same points by the same code, at an address.

Executions travel to the workers, so that they need no disk in common. Dask itself gives the work of a worker that dies
to another, several times; an execution that went with its last holder is sent again. Once the scheduler is gone, or the
last worker for a minute, the sweep ends with an error: what was committed stays.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from azsim.errors import SweepError
from azsim.sweep.identity import code_version

ANSWER_S = 8
LOOK_S, PATIENCE_S = 5.0, 60.0
AGAIN = "Every point committed before is kept: run the same command again when the cluster is up"


@contextmanager
def cluster_workers(address: str) -> Iterator[tuple[int, Callable[[], Executor], Callable[[Any], Any]]]:
    """(threads of the cluster, a function that gives an Executor, how to share an execution)."""
    from distributed import Client

    with Client(address, timeout=ANSWER_S, set_as_default=False) as client:
        threads = client.nthreads()
        if not threads:
            raise SweepError(
                f"--cluster {address}: the scheduler has no workers; start some with `dask worker {address}`"
            )
        _check_code(client, address)
        pool = ClusterPool(client, address)
        yield sum(threads.values()), pool.checked, pool.share


def knock(address: str) -> None:
    """SweepError if no Dask scheduler answers; a client that waits for one in vain would linger."""
    try:
        from distributed.core import connect
    except ImportError as error:
        raise SweepError("--cluster needs Dask: pip install 'azsim[cluster]'") from error

    async def answer() -> None:
        comm = await connect(address, timeout=ANSWER_S)
        comm.abort()

    try:
        asyncio.run(asyncio.wait_for(answer(), ANSWER_S))
    except ValueError as error:
        raise SweepError(
            f"--cluster {address!r}: not an address ({error}); give that of a Dask scheduler, e.g. tcp://host:8786"
        ) from error
    except (OSError, TimeoutError) as error:
        raise SweepError(
            f"--cluster {address}: no scheduler answered in {ANSWER_S} s ({error or type(error).__name__}); start one "
            f"with `dask scheduler`, and give its address, e.g. tcp://host:8786"
        ) from error


class ClusterPool(Executor):
    """A Dask client as an executor, and what must hold for it to be of use.

    Dask has one of its own (2026.8), but a future of that never ends where a worker dies between the end of its task
    and the fetching of the result.
    """

    def __init__(self, client: Any, address: str) -> None:
        self.client, self.address = client, address
        self.open: dict[Future[Any], Any] = {}
        self.looked = self.seen = time.monotonic()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As every executor; each submission is a task of its own, which does not find what came of an equal one."""
        ours: Future[Any] = Future()
        self.open[ours] = theirs = self.client.submit(fn, *args, pure=False, **kwargs)
        theirs.add_done_callback(partial(self._pass_on, ours))
        return ours

    def _pass_on(self, ours: Future[Any], theirs: Any) -> None:
        try:
            ours.set_result(theirs.result())
        except BaseException as error:  # CancelledError where the result is lost
            ours.set_exception(error)
        finally:
            self.open.pop(ours, None)

    def share(self, prepared: Any) -> Any:
        """Send an execution to a worker, from which the others fetch it.

        A broadcast may hang for ever in Dask (distributed issues 4907 and 5704), and so may a key that is
        being forgotten while it is sent again: each sending has a key of its own.
        """
        try:
            return self.client.scatter(prepared, hash=False, timeout=PATIENCE_S)
        except TimeoutError as error:
            raise SweepError(f"--cluster {self.address}: no worker took the work ({error}). {AGAIN}") from error
        except OSError as error:
            raise SweepError(f"--cluster {self.address}: the scheduler went away ({error}). {AGAIN}") from error

    def checked(self) -> Executor:
        """Itself, if the cluster is still there; SweepError otherwise."""
        self.looked = 0.0
        self.check()
        return self

    def check(self) -> None:
        """SweepError once the scheduler is gone, or all workers for a while."""
        now = time.monotonic()
        if now - self.looked < LOOK_S:
            return
        self.looked = now
        try:
            threads = self.client.nthreads() if self.client.status == "running" else None
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise SweepError(f"--cluster {self.address}: the scheduler went away ({error}). {AGAIN}") from error
        if threads is None:
            raise SweepError(f"--cluster {self.address}: the scheduler went away. {AGAIN}")
        if threads:
            self.seen = now
        elif now - self.seen > PATIENCE_S:
            raise SweepError(
                f"--cluster {self.address}: all workers have been gone for {PATIENCE_S:g} s; start some with "
                f"`dask worker {self.address}`. {AGAIN}"
            )


def _check_code(client: Any, address: str) -> None:
    """Workers with another azsim would give other results under our keys; those that come later are checked at work."""
    try:
        client.run_on_scheduler(code_version)  # it takes task graphs apart
        versions = client.run(code_version)
    except Exception as error:
        raise SweepError(
            f"--cluster {address}: its scheduler or workers cannot import azsim ({type(error).__name__}: {error}): "
            f"install the same version everywhere"
        ) from error
    for worker, version in versions.items():
        if version != code_version():
            raise SweepError(
                f"--cluster {address}: worker {worker} has another version of azsim ({version}, here "
                f"{code_version()}): install the same one everywhere"
            )
