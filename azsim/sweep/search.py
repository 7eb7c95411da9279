"""Search a space for its Pareto front: Optuna proposes points, the store and the workers of a sweep answer.

    ask a batch --points--> known to the store, or run by workers --figures--> tell, in the order asked

The study is not kept. What a search asks for depends on its seed and on figures alone: batches have one size, however
many workers there are, and are told in the order asked. Run again, it asks for the same points, the store answers those
that ran, and it goes on where it was killed. So there is one file that may be lost, not two that may disagree; points
known from a sweep cost nothing either.

Conditions on the chip are kept by asking for other points (``proposals``); conditions on results are constraints of
Optuna's. A chip that cannot be built, or fails when it runs, is among the failures of the store, and Optuna is told so.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from azsim.errors import SweepError
from azsim.graph import Network
from azsim.sweep.figures import STATIC
from azsim.sweep.identity import transcript_beside
from azsim.sweep.proposals import BATCH, SAMPLERS, Asked, Proposals
from azsim.sweep.results import pareto
from azsim.sweep.run import Catalog, Plan, plan_points, run_plan
from azsim.sweep.space import Space, load_space
from azsim.sweep.store import Row, Store
from azsim.sweep.sweep import find_workers
from azsim.sweep.works import AnyWork, StreamWork

OBJECTIVES = ("latency_p95_ms", "energy_working_uj", "area_mm2")
STREAM_OBJECTIVES = ("felt_latency_p95_ms", "stream_energy_uj", "area_mm2")
POINTS = 200
SAMPLER = "tpe"
SPOKEN = ("wer", "word_errors")
LOST_IN_OVERLOAD = ("felt_latency_mean_ms", "felt_latency_p95_ms")  # such a point is told as failed


@dataclass(frozen=True)
class SearchWatcher:
    """Who wants to know: ``on_rows`` after each commit, ``on_points`` after each batch, with all points so far."""

    on_rows: Callable[[list[Row], list[tuple[str, str]]], None] = lambda rows, failures: None
    on_points: Callable[[pd.DataFrame, int], None] = lambda found, n_tried: None


def search_name(space: Space) -> str:
    """The sweep of which all points that a search tried are members."""
    return f"{space.name}-search"


def search(
    space: str | Path | Mapping[str, Any] | Space,
    store: str | Path,
    objectives: Sequence[str] = OBJECTIVES,
    points: int = POINTS,
    sampler: str = SAMPLER,
    seed: int = 0,
    workers: int | None = None,
    networks: Mapping[str, Network] | None = None,
    is_mixed: bool = False,
    watcher: SearchWatcher = SearchWatcher(),
    batch: int = BATCH,
) -> pd.DataFrame:
    """Look for the points of a space that are best in several figures at once.

    Parameters
    ----------
    space : path, mapping or Space
        As for ``sweep``; a range without ``steps`` is searched as a whole, and ``draws`` means nothing here.
    store : path
        SQLite file; made if it is not there.
    objectives : sequence of str
        Figures of ``azsim.sweep.figures``, all minimized.
    points : int
        Different points to try, known ones included; fewer are tried if the space has no more.
    sampler : str
        ``tpe``, ``nsga2`` or ``random``; experiments/search_quality.py compares them.
    seed : int
        The same seed tries the same points.
    workers, networks, is_mixed
        As for ``sweep``.
    batch : int
        Points asked for before any is told. Few points need a small batch to learn anything; another batch is
        another search.

    Returns
    -------
    DataFrame
        One row per point that ran, in the order asked: ``key``, axes, figures, ``is_feasible``, ``is_on_front``.

    Raises
    ------
    SweepError
        For an unknown objective or sampler, a space that is wrong, a point without a value of an objective.
    """
    described = load_space(space, is_enumerable=False)
    _check(objectives, points, sampler, described)
    found: list[dict[str, Any]] = []
    n_tried = 0
    with Store(store) as opened, ExitStack() as stack:
        answers = Answers(
            described, opened, Catalog(dict(networks or {}), described.fidelity), objectives, is_mixed, watcher
        )
        proposals = Proposals(described, answers.catalog, len(objectives), sampler, seed)
        pool = _Pool(stack, workers)
        while n_tried < points:
            asked_now = proposals.ask(min(batch, points - n_tried))
            rows = answers.get(asked_now, pool)
            for asked in asked_now:
                row = rows.get(asked.key)
                is_feasible = row is not None and described.is_feasible(asked.point.axes, row.figures)
                proposals.tell(asked, row, objectives, is_feasible)
                if row is not None:
                    found.append({"key": row.key, **asked.point.axes, **row.figures, "is_feasible": is_feasible})
            n_new = sum(asked.can_run for asked in asked_now)
            n_tried += n_new
            if not n_new:
                break
            watcher.on_points(_table(found, objectives), n_tried)
        failures = opened.failures(search_name(described))
    if not found:
        why = failures[0][2] if failures else f"`where` leaves all out: {' and '.join(described.where)}"
        raise SweepError(f"{described.name}: no point could run; {why}")
    return _table(found, objectives)


def _check(objectives: Sequence[str], points: int, sampler: str, space: Space) -> None:
    known = [*STATIC, *space.results]
    for name in objectives:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
            raise SweepError(f"objective {name!r} is no figure; did you mean {', '.join(near)}?")
    if not objectives or len(set(objectives)) < len(objectives):
        raise SweepError(f"objectives must be one or more different figures, but got {', '.join(objectives) or 'none'}")
    if points < 1:
        raise SweepError(f"`points >= 1` must hold, but got {points}")
    if sampler not in SAMPLERS:
        raise SweepError(f"sampler {sampler!r} does not exist; choose {', '.join(SAMPLERS)}")


def _table(found: Sequence[dict[str, Any]], objectives: Sequence[str]) -> pd.DataFrame:
    """Points in the order asked; the front is that of the feasible ones."""
    table = pd.DataFrame(found, columns=None if found else ["key", *objectives, "is_feasible"])
    feasible = table[table["is_feasible"].astype(bool)]
    table["is_on_front"] = pareto(feasible, objectives).reindex(table.index, fill_value=False)
    return table


class _Pool:
    """Workers that start when the first point has to run, and stay."""

    def __init__(self, stack: ExitStack, workers: int | None) -> None:
        self.stack, self.workers = stack, workers
        self.n = 0
        self.alive: Executor | None = None

    def run(self, plan: Plan, store: Store, watcher: SearchWatcher) -> None:
        """Run what is left of a plan."""
        if self.alive is None:
            self.n, self.fresh, _ = self.stack.enter_context(find_workers(None, self.workers))
            self.alive = self.fresh()
        self.alive = run_plan(plan, store, self.n, self.alive, self.fresh, on_rows=watcher.on_rows)


@dataclass(frozen=True)
class Answers:
    """Figures of points: known ones from the store, the others run."""

    space: Space
    store: Store
    catalog: Catalog
    objectives: Sequence[str]
    is_mixed: bool
    watcher: SearchWatcher

    def get(self, batch: Sequence[Asked], pool: _Pool) -> dict[str, Row]:
        """Rows by key, all with a value of every objective; a point that failed, or that falls behind, has none."""
        if set(self.objectives) & set(SPOKEN):
            for work in {work.key: work for work in (self.catalog.work(asked.point) for asked in batch)}.values():
                _check_words(work)
        asked_for = [asked.point for asked in batch]
        plan = plan_points(self.space, asked_for, search_name(self.space), self.store, self.catalog, self.is_mixed)
        if plan.left:
            pool.run(plan, self.store, self.watcher)
        rows = self.store.rows(asked.key for asked in batch)
        for row in rows.values():
            for name in self.objectives:
                is_lost = name in LOST_IN_OVERLOAD and row.figures.get("is_overloaded")
                if row.figures.get(name) is None and not is_lost:
                    raise SweepError(
                        f"objective {name!r}: {row.network} on {row.audio} has no value of it; choose another figure"
                    )
        return {key: row for key, row in rows.items() if all(row.figures.get(o) is not None for o in self.objectives)}


def _check_words(work: AnyWork) -> None:
    """Word errors need a transcript, and a network that was trained; streams have several of both."""
    if isinstance(work, StreamWork):
        return
    beside = transcript_beside(work.audio)
    if not beside.is_file() or not beside.read_bytes().strip():
        raise SweepError(
            f"audio {work.audio!r}: word errors are known only with a transcript: write what is said into {beside}"
        )
    if work.network.synthetic_weights:
        raise SweepError(
            f"network {work.network.name!r}: its weights are made up, so word errors mean nothing; leave out "
            f"{' and '.join(SPOKEN)}, or search with a trained network"
        )
