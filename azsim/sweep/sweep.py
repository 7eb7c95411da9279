"""A sweep from Python, one statement per step: ``sweep("space.yaml", "results.db")``."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azsim.graph import Network
from azsim.sweep.cluster import cluster_workers, knock
from azsim.sweep.local import cores, local_workers
from azsim.sweep.run import PROBES, Catalog, Plan, make_plan, probe, run_plan
from azsim.sweep.space import Space, load_space
from azsim.sweep.store import Row, Store


@dataclass(frozen=True)
class Watcher:
    """Who wants to know: ``on_plan`` once it is clear what is left, ``on_rows`` after each commit."""

    on_plan: Callable[[Plan, int], None] = lambda plan, workers: None
    on_rows: Callable[[list[Row], list[tuple[str, str]]], None] = lambda rows, failures: None


def sweep(
    space: str | Path | Mapping[str, Any] | Space,
    store: str | Path,
    workers: int | None = None,
    cluster: str | None = None,
    networks: Mapping[str, Network] | None = None,
    is_mixed: bool = False,
    retry_failed: bool = False,
    watcher: Watcher = Watcher(),
) -> None:
    """Run every point of a space that a store does not know yet.

    Parameters
    ----------
    space : path, mapping or Space
    store : path
        SQLite file; made if it is not there.
    workers : int, optional
        Processes; one per core by default, 0 for this process itself.
    cluster : str, optional
        Address of a Dask scheduler, e.g. ``tcp://host:8786``, instead of processes of this machine.
    networks : mapping, optional
        Live networks by the names that the space uses.
    is_mixed : bool
        Let results of networks of one name with different weights stand in one store.
    retry_failed : bool
        Try points again that failed.

    Raises
    ------
    SweepError
        For a space that is wrong, a store that cannot be used, a cluster that does not answer.
    """
    described = load_space(space)
    if cluster is not None:
        knock(cluster)  # before minutes go into networks and points
    with Store(store) as opened:
        plan = make_plan(described, opened, Catalog(dict(networks or {}), described.fidelity), is_mixed, retry_failed)
        if not plan.left:
            watcher.on_plan(plan, 1)
            return
        with find_workers(cluster, workers) as (n, new_pool, share):
            pool = new_pool()
            pool, done = probe(plan, opened, pool, new_pool, share)
            watcher.on_plan(plan, n)
            for rows, failures in done:
                watcher.on_rows(rows, failures)
            plan.left = plan.left[PROBES:]
            run_plan(plan, opened, n, pool, new_pool, share, watcher.on_rows)


@contextmanager
def find_workers(cluster: str | None, n: int | None) -> Iterator[tuple[int, Any, Any]]:
    """(how many, a function that gives an Executor, how to share an execution)."""
    if cluster is not None:
        with cluster_workers(cluster) as found:
            yield found
        return
    if n == 0:
        with ThreadPoolExecutor(1) as here:
            yield 1, lambda: here, None
        return
    wanted = n or cores()
    with local_workers(wanted) as new_pool:
        yield wanted, new_pool, None
