"""Run the points of a space: what is known is skipped, the rest goes to workers, results are committed as they come.

    space --points--> keys --store--> what is left
    each network, bits, density and recording --prepare--> an execution, once
    batches that share an execution and a weight image --measure--> figures
    figures --store--> committed by this process alone

Workers are any ``concurrent.futures.Executor``: processes of this machine, or a Dask cluster. ``dispatch`` has what
happens when they die.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

from azsim.chip import Chip
from azsim.errors import StoreError, SweepError
from azsim.graph import Network, load_network
from azsim.sweep.dispatch import Dispatcher, Work
from azsim.sweep.identity import audio_hash, code_version, network_hash, point_key, work_key
from azsim.sweep.space import Point, Space
from azsim.sweep.store import Row, Store
from azsim.sweep.work import Fidelity, Outcome, Prepared
from azsim.weights import layout_key

PROBES = 3
Committed = tuple[list[Row], list[tuple[str, str]]]  # rows, and (key, error) of failures


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

    def __init__(self, networks: dict[str, Network] | None = None, fidelity: Fidelity = "full") -> None:
        self.fidelity = fidelity
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
            bits = network.weight_bits if point.weight_bits is None else point.weight_bits
            heard = self._audio(point.audio)
            key = work_key(hashed, heard, bits, point.weight_density, code_version())
            self.works[which] = Work(key, network, hashed, bits, point.weight_density, point.audio, heard)
        return self.works[which]

    def key(self, point: Point) -> str:
        """Under which the store keeps a point; one that cannot be built has a key of its own."""
        work = self.work(point)
        if point.chip is None:
            return f"unbuildable-{work.key}-{sorted(point.axes.items())!r}"
        return point_key(point.chip, work.key, self.fidelity)

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
    store.enlist(sweep, members, space.where)
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
    points = [(key, plan.keys[key][1].key, _chip(plan.keys[key][0])) for key in plan.left]
    given = workers, pool, new_pool, share, store.finished, plan.point_s, plan.space.fidelity
    dispatcher = Dispatcher(plan.works, points, *given)
    for outcomes in dispatcher.outcomes():
        rows, failures = _sorted_out(plan, outcomes)
        store.add(rows, failures)
        on_rows(rows, failures)
    return dispatcher.pool


def _sorted_out(plan: Plan, outcomes: list[Outcome]) -> tuple[list[Row], list[tuple[str, str]]]:
    rows = [row_of(*plan.keys[o.key], o, plan.space.fidelity) for o in outcomes if o.figures is not None]
    return rows, [(o.key, o.error) for o in outcomes if o.figures is None]


def row_of(point: Point, work: Work, outcome: Outcome, fidelity: Fidelity = "full") -> Row:
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
        fidelity=fidelity,
    )


def probe(
    plan: Plan,
    store: Store,
    pool: Executor,
    new_pool: Callable[[], Executor],
    share: Callable[[Prepared], Any] | None = None,
) -> tuple[Executor, list[Committed]]:
    """Run the first few points: the fastest says how long one takes, kernels being compiled by then.

    Workers run them, as one of them might kill its process. Gives the pool that is alive, and what was committed; the
    points are still among ``plan.left``.
    """
    done: list[Committed] = []
    first = replace(plan, left=plan.left[:PROBES], point_s=1e-6)
    pool = run_plan(first, store, 1, pool, new_pool, share, lambda *committed: done.append(committed))
    plan.point_s = min((row.seconds for rows, _ in done for row in rows), default=0.0)
    return pool, done
