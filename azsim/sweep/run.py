"""Run the points of a space: what is known is skipped, the rest goes to workers, results are committed as they come.

    space --points--> keys --store--> what is left
    each network, bits, density and recording --prepare--> an execution, once
    batches that share an execution and a weight image --measure--> figures
    figures --store--> committed by this process alone

Workers are any ``concurrent.futures.Executor``: processes of this machine, or a Dask cluster. A worker that dies takes
its batch with it; the batch is tried again, point by point, and a point that kills a worker twice has failed.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from azsim.chip import Chip
from azsim.errors import AzsimError, StoreError, SweepError
from azsim.graph import Network, load_network
from azsim.sweep.identity import audio_hash, code_version, network_hash, point_key, work_key
from azsim.sweep.space import Point, Space
from azsim.sweep.store import Row, Store
from azsim.sweep.work import Outcome, Prepared, measure, prepare
from azsim.weights import layout_key

BATCH_S, LARGEST_BATCH = 0.5, 64
DEATHS_ALLOWED = 2
PROBES = 3
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


@dataclass(frozen=True)
class Work:
    """A network, quantized and pruned, and a recording: what chips share."""

    key: str
    network: Network
    network_hash: str
    weight_bits: int
    weight_density: float | None
    audio: str
    audio_hash: str


@dataclass
class Plan:
    """What a sweep has to do.

    Attributes
    ----------
    keys : dict of str to (Point, Work)
        Every point that can be built, by key.
    left : list of str
        Keys without a result, sorted so that neighbors share executions and weight images.
    unbuildable : dict of str to Point
    """

    space: Space
    keys: dict[str, tuple[Point, Work]]
    left: list[str]
    unbuildable: dict[str, Point] = field(default_factory=dict)
    point_s: float = 0.0
    n_probed: int = 0

    @property
    def n_points(self) -> int:
        """All of them."""
        return len(self.keys) + len(self.unbuildable)

    @property
    def works(self) -> dict[str, Work]:
        """Executions that are needed, by key."""
        return {work.key: work for _, work in (self.keys[key] for key in self.left)}

    def expected_s(self, workers: int) -> float:
        """Guess of the time that is left, from the first point."""
        return self.point_s * len(self.left) / workers


class Catalog:
    """Networks and recordings of a space, each loaded and hashed once."""

    def __init__(self, networks: dict[str, Network] | None = None) -> None:
        self.networks: dict[str, tuple[Network, str]] = {
            name: (network, network_hash(network)) for name, network in (networks or {}).items()
        }
        self.audio: dict[str, str] = {}
        self.works: dict[tuple[Any, ...], Work] = {}

    def work(self, point: Point) -> Work:
        """The execution that a point needs; errors of loading are the user's."""
        which = (point.network, point.audio, point.weight_bits, point.weight_density)
        if which not in self.works:
            if point.network not in self.networks:
                network = load_network(point.network)
                self.networks[point.network] = network, network_hash(network)
            network, hashed = self.networks[point.network]
            bits = point.weight_bits or network.weight_bits
            heard = self._audio(point.audio)
            key = work_key(hashed, heard, bits, point.weight_density, code_version())
            self.works[which] = Work(key, network, hashed, bits, point.weight_density, point.audio, heard)
        return self.works[which]

    def key(self, point: Point) -> str:
        """Under which the store keeps a point; one that cannot be built has a key of its own."""
        work = self.work(point)
        if point.chip is None:
            return f"unbuildable-{work.key}-{sorted(point.axes.items())!r}"
        return point_key(point.chip, work.key)

    def _audio(self, path: str) -> str:
        if path not in self.audio:
            try:
                self.audio[path] = audio_hash(path)
            except OSError as error:
                raise SweepError(
                    f"audio {path!r}: cannot be read ({error.strerror}); give the path of a recording"
                ) from error
        return self.audio[path]


def make_plan(space: Space, store: Store, catalog: Catalog, is_mixed: bool = False, retry_failed: bool = False) -> Plan:
    """Enumerate a space and see what the store knows; raises as ``plan_points``."""
    return plan_points(space, space.points(), space.name, store, catalog, is_mixed, retry_failed)


def plan_points(
    space: Space,
    points: Iterable[Point],
    sweep: str,
    store: Store,
    catalog: Catalog,
    is_mixed: bool = False,
    retry_failed: bool = False,
) -> Plan:
    """Enlist points of a space under the name of a sweep, and see what the store knows.

    Raises
    ------
    StoreError
        If the store holds results of a network of the same name with other weights, unless ``is_mixed``.
    """
    keys: dict[str, tuple[Point, Work]] = {}
    unbuildable: dict[str, Point] = {}
    members: list[tuple[str, dict[str, Any]]] = []
    for point in points:
        key = catalog.key(point)
        if point.chip is None:
            unbuildable[key] = point
        else:
            keys.setdefault(key, (point, catalog.work(point)))
        members.append((key, point.axes))
    if not is_mixed:
        _refuse_other_weights(store, (work for _, work in keys.values()))
    store.enlist(sweep, members)
    if retry_failed:
        store.forget_failures([*keys, *unbuildable])
    store.add([], [(key, point.problem) for key, point in unbuildable.items()])
    known = store.finished(keys)
    left = sorted(
        (k for k in keys if k not in known), key=lambda k: (keys[k][1].key, repr(layout_key(_chip(keys[k][0]))), k)
    )
    return Plan(space, keys, left, unbuildable)


def _chip(point: Point) -> Chip:
    assert point.chip is not None
    return point.chip


def _refuse_other_weights(store: Store, works: Iterable[Work]) -> None:
    known = store.networks()
    for name, hashed in {(work.network.name, work.network_hash) for work in works}:
        others = {other for other_name, other in known if other_name == name and other != hashed}
        if others:
            raise StoreError(
                f"{store.path}: holds results of {name!r} with other weights ({', '.join(sorted(others))}; this one "
                f"is {hashed}). They were left as they are. Give another --store, or --mixed to keep both"
            )


@contextmanager
def local_workers(n: int) -> Iterator[Callable[[], Executor]]:
    """A function that gives a pool of ``n`` fresh processes, again if the one before broke."""
    pools: list[ProcessPoolExecutor] = []

    def pool() -> Executor:
        if pools:
            pools.pop().shutdown(wait=False, cancel_futures=True)
        pools.append(ProcessPoolExecutor(n, mp_context=get_context("spawn"), initializer=_alone))
        for _ in range(n):
            pools[-1].submit(_ready)
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


def _ready() -> None:
    """Imports what a worker needs before there is work."""


def _alone() -> None:
    """A worker leaves interrupts to its parent, and uses one core."""
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def run_plan(
    plan: Plan,
    store: Store,
    workers: int,
    pool: Executor,
    new_pool: Callable[[], Executor],
    share: Callable[[Prepared], Any] | None = None,
    on_rows: Callable[[list[Row], list[tuple[str, str]]], None] = lambda rows, failures: None,
) -> Executor:
    """Run what is left of a plan; gives the pool that is alive at the end.

    Parameters
    ----------
    pool : Executor
    new_pool : callable
        Gives another one when workers died.
    share : callable, optional
        Hands an execution to workers that do not see this machine's disk; what it returns is passed to ``measure``.
    on_rows : callable, optional
        Told what was committed: rows and (key, error).
    """
    prepared: dict[str, Any] = {}
    for work in plan.works.values():
        done = prepare(work.network, work.audio, work.weight_bits, work.weight_density, work.key)
        prepared[work.key] = share(done) if share else work.key
    deaths: dict[str, int] = {}
    batches = list(_batches(plan, workers))[::-1]
    running: dict[Future[list[Outcome]], list[str]] = {}
    while batches or running:
        while batches and len(running) < 2 * workers:
            keys = batches.pop()
            keys = [k for k in keys if k not in store.finished(keys)]
            if keys:
                chips = [(key, _chip(plan.keys[key][0])) for key in keys]
                running[pool.submit(measure, prepared[plan.keys[keys[0]][1].key], chips)] = keys
        ready, _ = wait(running, return_when=FIRST_COMPLETED)
        broke = False
        for future in ready:
            keys = running.pop(future)
            try:
                rows, failures = _sorted_out(plan, future.result())
            except Exception as error:
                if isinstance(error, AzsimError | KeyboardInterrupt):
                    raise
                broke = broke or isinstance(error, BrokenProcessPool)
                rows, failures = [], _after_death(keys, deaths, batches, error)
            store.add(rows, failures)
            on_rows(rows, failures)
        if broke:
            for keys in running.values():
                batches.append(keys)
            running.clear()
            pool = new_pool()
    return pool


def _after_death(
    keys: list[str], deaths: dict[str, int], batches: list[list[str]], error: Exception
) -> list[tuple[str, str]]:
    """Try the points of a lost batch one by one; failures of those that were lost too often."""
    failures = []
    for key in keys:
        deaths[key] = deaths.get(key, 0) + (1 if len(keys) == 1 else 0)
        if deaths[key] >= DEATHS_ALLOWED:
            failures.append(
                (key, f"the worker died {DEATHS_ALLOWED} times on this point: {type(error).__name__}: {error}")
            )
        else:
            batches.append([key])
    return failures


def _batches(plan: Plan, workers: int) -> Iterator[list[str]]:
    """Runs of points that share an execution, each about half a second long, and enough of them for all workers."""
    size = LARGEST_BATCH if not plan.point_s else max(1, min(LARGEST_BATCH, int(BATCH_S / plan.point_s)))
    size = max(1, min(size, -(-len(plan.left) // (2 * workers))))
    batch: list[str] = []
    for key in plan.left:
        if batch and (len(batch) == size or plan.keys[key][1].key != plan.keys[batch[0]][1].key):
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def _sorted_out(plan: Plan, outcomes: list[Outcome]) -> tuple[list[Row], list[tuple[str, str]]]:
    rows = [row_of(*plan.keys[o.key], o) for o in outcomes if o.figures is not None]
    return rows, [(o.key, o.error) for o in outcomes if o.figures is None]


def row_of(point: Point, work: Work, outcome: Outcome) -> Row:
    """What the store keeps of a point."""
    assert outcome.figures is not None
    return Row(
        key=outcome.key,
        chip=_chip(point).model_dump(mode="json"),
        network=work.network.name,
        network_hash=work.network_hash,
        weight_bits=work.weight_bits,
        weight_density=work.weight_density,
        audio=work.audio,
        audio_hash=work.audio_hash,
        code_version=code_version(),
        figures=outcome.figures,
        seconds=outcome.seconds,
    )


def probe(plan: Plan, store: Store) -> None:
    """Run the first few points here: the fastest says how long one takes, kernels being compiled by then."""
    for key in plan.left[:PROBES]:
        point, work = plan.keys[key]
        done = prepare(work.network, work.audio, work.weight_bits, work.weight_density, work.key)
        start = time.perf_counter()
        store.add(*_sorted_out(plan, measure(done, [(key, _chip(point))])))
        taken = time.perf_counter() - start
        plan.point_s = min(plan.point_s or taken, taken)
        plan.n_probed += 1
    plan.left = plan.left[PROBES:]
