"""Optuna's proposals as new points of a space.

Optuna sees genes: an index into the values of an axis (a number where the values rise, otherwise a category), or a
share 0..1 of a range; an axis whose `when` is false has none. It may propose a point twice, or one that the conditions
on the chip leave out. Such a proposal is told as failed, and a neighbor takes its place: one gene moved a little, then
more genes, at last the first point of the grid that is left. So what is asked for is always new.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState

from azsim.sweep.run import Catalog
from azsim.sweep.space import ROWS, Point, Scalar, Space
from azsim.sweep.store import Row

BATCH = 20  # points asked for before any is told: the population of NSGA-II
TRIES = 200
STRAY_SHARE = 0.5  # of proposals that are random while nothing feasible is known: a guided search may be stuck
NEAR_SHARE = 0.1  # standard deviation of a neighbor in a range
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True),
    "nsga2": lambda seed: NSGAIISampler(population_size=BATCH, seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}
Genes = dict[str, float]
Pick = Callable[[str, int | None], float]


@dataclass(frozen=True)
class Asked:
    """A point that waits for its figures, and the trial that proposed it."""

    trial: Trial
    point: Point
    key: str

    @property
    def can_run(self) -> bool:
        """Whether its chip can be built."""
        return self.point.chip is not None


class Proposals:
    """Points to try, one batch after the other; the same seed and figures give the same points."""

    def __init__(self, space: Space, catalog: Catalog, n_objectives: int, sampler: str, seed: int) -> None:
        self.space, self.catalog = space, catalog
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(directions=["minimize"] * n_objectives, sampler=SAMPLERS[sampler](seed))
        self.rng = np.random.default_rng(seed)
        self.asked: set[str] = set()
        self.spent: set[str] = set()
        self.rest = self._grid()
        self.has_feasible = False

    def ask(self, n: int) -> list[Asked]:
        """Up to ``n`` points that can run, none asked for before, and those met on the way that cannot be built."""
        batch: list[Asked] = []
        while n > 0 and len(batch) < TRIES + BATCH and (asked := self._propose()) is not None:
            batch.append(asked)
            n -= asked.can_run
        return batch

    def tell(self, asked: Asked, row: Row | None, objectives: Sequence[str], is_feasible: bool) -> None:
        """Let Optuna know what came of a point; None where it failed."""
        if row is None:
            self.study.tell(asked.trial, state=TrialState.FAIL)
            return
        self.has_feasible = self.has_feasible or is_feasible
        asked.trial.set_constraint("where", 0.0 if is_feasible else missed_by(self.space.where, row.figures))
        self.study.tell(asked.trial, [float(row.figures[name]) for name in objectives])

    def _propose(self) -> Asked | None:
        if not self.has_feasible and self.rng.random() < STRAY_SHARE:
            self.study.enqueue_trial(self._chosen(self._move({}, set()))[0])
        trial = self.study.ask()
        genes, axes = self._chosen(self._suggestion(trial))
        found = self._new(axes)
        if found is None:
            self.study.tell(trial, state=TrialState.FAIL)
            replacement = self._replacement(genes)
            if replacement is None:
                return None
            genes, found = replacement
            self.study.enqueue_trial(genes)
            trial = self.study.ask()
            self._chosen(self._suggestion(trial))
        point, key = found
        self.asked.add(key)
        return Asked(trial, point, key)

    def _chosen(self, pick: Pick) -> tuple[Genes, dict[str, Scalar]]:
        """Genes and axes of what ``pick`` picks."""
        genes: Genes = {}

        def noted(path: str, choices: int | None) -> float:
            genes[path] = pick(path, choices)
            return genes[path]

        axes = self.space.choose(noted)
        return genes, axes

    def _suggestion(self, trial: Trial) -> Pick:
        def pick(path: str, choices: int | None) -> float:
            if choices is None:
                return trial.suggest_float(path, 0.0, 1.0)
            if self._rises(path):
                return trial.suggest_int(path, 0, choices - 1)
            return int(trial.suggest_categorical(path, range(choices)))

        return pick

    def _new(self, axes: Mapping[str, Scalar]) -> tuple[Point, str] | None:
        """The point and its key, unless it was asked for before or a condition leaves it out."""
        if repr(axes) in self.spent:
            return None
        self.spent.add(repr(axes))
        point = self.space.point(axes)
        if not self.space.admits(point):
            return None
        key = self.catalog.key(point)
        return None if key in self.asked else (point, key)

    def _rises(self, path: str) -> bool:
        """Whether the values of an axis are numbers in order, so that neighbors are alike."""
        values = () if path == ROWS else self.space.axes[path].grid
        numbers = [v for v in values if isinstance(v, int | float)]
        return 0 < len(values) == len(numbers) and numbers == sorted(numbers)

    def _replacement(self, genes: Genes) -> tuple[Genes, tuple[Point, str]] | None:
        """A new point as near as may be, with its genes; None when nothing is left, or nothing can be found."""
        for t in range(TRIES):
            n_moved = 1 + t * len(genes) // TRIES
            moved = set(self.rng.permutation(sorted(genes))[:n_moved].tolist())
            near, axes = self._chosen(self._move(genes, moved))
            if (found := self._new(axes)) is not None:
                return near, found
        for near, axes in self.rest:
            if (found := self._new(axes)) is not None:
                return near, found
        return None

    def _move(self, genes: Genes, moved: set[str]) -> Pick:
        def pick(path: str, choices: int | None) -> float:
            if path in genes and path not in moved:
                return genes[path]
            if choices is None:
                place = self.rng.normal(genes[path], NEAR_SHARE) if path in genes else self.rng.uniform()
                return float(np.clip(place, 0.0, 1.0))
            if path in genes and self._rises(path):
                return int(np.clip(genes[path] + self.rng.choice((-1, 1)), 0, choices - 1))
            return int(self.rng.integers(choices))

        return pick

    def _grid(self) -> Iterator[tuple[Genes, dict[str, Scalar]]]:
        """Every point, by counting like an odometer through what the space asks; ranges stay at their start."""
        start: list[int] = []
        while True:
            wheels: list[tuple[int, int]] = []

            def pick(path: str, choices: int | None, start=start, wheels=wheels) -> float:
                wheels.append((start[len(wheels)] if len(wheels) < len(start) else 0, choices or 1))
                return wheels[-1][0]

            yield self._chosen(pick)
            while wheels and wheels[-1][0] + 1 == wheels[-1][1]:
                wheels.pop()
            if not wheels:
                return
            start = [index for index, _ in wheels]
            start[-1] += 1


def missed_by(where: Sequence[str], figures: Mapping[str, Any]) -> float:
    """How far figures are from conditions that they break, to guide the sampler; 1 where that cannot be said.

    Of each comparison ``figure < number`` or ``figure > number`` that fails, the distance over the larger of the two;
    of ``figure == number``, by which counts are compared, the distance over itself and one.
    """
    total = 0.0
    for node in (node for text in where for node in ast.walk(ast.parse(text.strip(), mode="eval"))):
        match node:
            case ast.Compare(ops=[ast.Lt() | ast.LtE()], comparators=[ast.Constant(value=int() | float() as limit)]):
                sign = 1
            case ast.Compare(ops=[ast.Gt() | ast.GtE()], comparators=[ast.Constant(value=int() | float() as limit)]):
                sign = -1
            case ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant(value=int() | float() as limit)]):
                sign = 0
            case _:
                continue
        value = figures.get(ast.unparse(node.left))
        if not isinstance(value, int | float):
            continue
        if sign == 0:
            total += abs(value - limit) / (1 + abs(value - limit))
        elif sign * (value - limit) > 0:
            total += abs(value - limit) / max(abs(value), abs(limit))
    return total or 1.0
