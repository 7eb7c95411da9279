"""Workers of a Dask cluster that runs somewhere already: the same points by the same code, at an address.

Executions travel to the workers, so that they need no disk in common. Dask itself gives the work of a worker that dies
to another.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from azsim.errors import SweepError
from azsim.sweep.identity import code_version

ANSWER_S = 10


@contextmanager
def cluster_workers(address: str) -> Iterator[tuple[int, Callable[[], Executor], Callable[[Any], Any]]]:
    """(threads of the cluster, a function that gives an Executor, how to share an execution)."""
    try:
        from distributed import Client
    except ImportError as error:
        raise SweepError("--cluster needs Dask: pip install 'azsim[cluster]'") from error
    try:
        client = Client(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise SweepError(
            f"--cluster {address}: no scheduler answered in {ANSWER_S} s ({error}); start one with "
            f"`dask scheduler`, and give its address, e.g. tcp://host:8786"
        ) from error
    with client:
        threads = client.nthreads()
        if not threads:
            raise SweepError(
                f"--cluster {address}: the scheduler has no workers; start some with `dask worker {address}`"
            )
        _check_code(client, address)
        yield sum(threads.values()), client.get_executor, lambda prepared: client.scatter(prepared, broadcast=True)


def _check_code(client: Any, address: str) -> None:
    """Workers with another azsim would give other results under our keys."""
    for worker, version in client.run(code_version).items():
        if version != code_version():
            raise SweepError(
                f"--cluster {address}: worker {worker} has another version of azsim ({version}, here "
                f"{code_version()}): install the same one everywhere"
            )
