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
from azsim.stream import Scenario
from azsim.stream.prepare import transcript
from azsim.sweep.dispatch import Dispatcher
from azsim.sweep.identity import (
    audio_hash,
    code_version,
    network_hash,
    point_key,
    stream_key,
    stream_work_key,
    text_hash,
    together,
    work_key,
)  # fmt: skip
from azsim.sweep.space import Point, Space
from azsim.sweep.store import Row, Store
from azsim.sweep.work import Fidelity, Outcome, Setting, Shared, Target
from azsim.sweep.works import AnyWork, StreamWork, Work
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
    keys: dict[str, tuple[Point, AnyWork]]
    left: list[str]
    unbuildable: dict[str, Point] = field(default_factory=dict)
    point_s: float = 0.0
    targets: dict[str, Target] = field(default_factory=dict)

    @property
    def n_points(self) -> int:
        """All of them."""
        return len(self.keys) + len(self.unbuildable)

    @property
    def works(self) -> dict[str, AnyWork]:
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
        self.texts: dict[str, str] = {}
        self.works: dict[tuple[Any, ...], Work] = {}
        self.streams: dict[str, StreamWork] = {}

    def work(self, point: Point) -> AnyWork:
        """The execution that a point needs; errors of loading are the user's."""
        if point.scenario is not None:
            return self._stream(point.scenario, point.audio)
        which = (point.network, point.audio, point.weight_bits, point.weight_density)
        if which not in self.works:
            network, hashed = self._network(point.network)
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
        if point.scenario is not None:
            return stream_key(point.chip, self._with_words(point.scenario), work.key)
        return point_key(point.chip, work.key, self.fidelity)

    def target(self, point: Point) -> Target:
        """What a point is measured on."""
        assert point.chip is not None
        if point.scenario is None:
            return point.chip
        return Setting(point.chip, self._with_words(point.scenario))

    def _stream(self, scenario: Scenario, file: str) -> StreamWork:
        """What the networks of a scenario do on its recordings."""
        cloud, config = scenario.cloud, scenario.networks
        loaded = {name: self._network(one.model) for name, one in config.items()}
        heard = [self._audio(spoken.audio) for spoken in scenario.utterances]
        if cloud.language_model and cloud.language_model not in self.texts:
            self.texts[cloud.language_model] = self._read(text_hash, cloud.language_model, "cloud.language_model")
        text = self.texts.get(cloud.language_model or "", "")
        key = stream_work_key(scenario, {name: hashed for name, (_, hashed) in loaded.items()}, heard, text)
        if key not in self.streams:
            networks = {name: network for name, (network, _) in loaded.items()}
            weights = together([hashed for _, hashed in loaded.values()])
            self.streams[key] = StreamWork(key, scenario, networks, weights, file, together(heard))
        return self.streams[key]

    def _with_words(self, scenario: Scenario) -> Scenario:
        """With transcripts in it, so that no worker looks for them."""
        spoken = tuple(one.replace(transcript=transcript(one)) for one in scenario.utterances)
        return scenario.replace(utterances=spoken)

    def _network(self, name: str) -> tuple[Network, str]:
        if name not in self.networks:
            network = load_network(name)
            self.networks[name] = network, network_hash(network)
        return self.networks[name]

    def _audio(self, path: str) -> str:
        if path not in self.audio:
            self.audio[path] = self._read(audio_hash, path, "audio")
        return self.audio[path]

    @staticmethod
    def _read(hashed: Callable[[str], str], path: str, what: str) -> str:
        try:
            return hashed(path)
        except OSError as error:
            raise SweepError(f"{what} {path!r}: cannot be read ({error.strerror}); give the path of a file") from error


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
    keys: dict[str, tuple[Point, AnyWork]] = {}
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
    return Plan(space, keys, left, unbuildable, targets={key: catalog.target(keys[key][0]) for key in left})


def _chip(point: Point) -> Chip:
    assert point.chip is not None
    return point.chip


def _refuse_other_weights(store: Store, works: Iterable[AnyWork]) -> None:
    known = store.networks()
    for name, hashed in {(work.name, work.network_hash) for work in works}:
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
    share: Callable[[Shared], Any] | None = None,
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
    points = [(key, plan.keys[key][1].key, plan.targets[key]) for key in plan.left]
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


def row_of(point: Point, work: AnyWork, outcome: Outcome, fidelity: Fidelity = "full") -> Row:
    """What the store keeps of a point."""
    assert outcome.figures is not None
    return Row(
        key=outcome.key,
        chip=_chip(point).model_dump(mode="json"),
        network=work.name,
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
    share: Callable[[Shared], Any] | None = None,
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
