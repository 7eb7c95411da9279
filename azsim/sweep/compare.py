"""What tells two points apart, and how much of the time and energy each difference accounts for.

Differences act together: twice the PEs help little where bytes are short, and a lot once they are not. The share of
each is its Shapley value: what changing it alone adds, averaged over all orders in which the differences could be
changed. Shares add up to the whole difference. Up to ``EXACT`` differences every combination is replayed; above that,
random orders are, forward and backward. Differences that no chip can have one without the other are taken as one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from azsim.chip import Chip, load_chip
from azsim.chip.presets import flatten
from azsim.errors import AzsimError, SweepError
from azsim.graph import load_network
from azsim.sweep.figures import run_figures, static_figures
from azsim.sweep.identity import audio_hash, code_version, network_hash, work_key
from azsim.sweep.store import Store
from azsim.sweep.work import Prepared, prepare, replay_on

FIGURES = ("latency_p95_ms", "working_ms", "dram_read_bytes", "energy_working_uj", "area_mm2")
EXACT, ORDERS = 8, 60
OUTSIDE = ("network", "audio", "weight_bits", "weight_density")


@dataclass(frozen=True)
class Setup:
    """One point: a chip, and what runs on it."""

    name: str
    chip: Chip
    network: str
    audio: str
    weight_bits: int | None = None
    weight_density: float | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Everything that may differ, by path."""
        chip = flatten(self.chip.model_dump())
        chip = {path: value for path, value in chip.items() if path not in ("name", "description")}
        return {**{name: getattr(self, name) for name in OUTSIDE}, **chip}


@dataclass(frozen=True)
class Comparison:
    """Two points side by side.

    Attributes
    ----------
    a, b : Setup
    figures_a, figures_b : dict
    energy_a, energy_b : dict of str to float
        uJ by component while working.
    shares : dict of str to dict
        By difference (paths that go together are joined by " + "), what it adds to each of FIGURES.
    is_exact : bool
        Whether every combination was replayed.
    """

    a: Setup
    b: Setup
    figures_a: dict[str, Any]
    figures_b: dict[str, Any]
    energy_a: dict[str, float]
    energy_b: dict[str, float]
    shares: dict[str, dict[str, float]]
    is_exact: bool

    def differences(self) -> pd.DataFrame:
        """One row per difference: values of both, and what changing a's to b's adds to each figure."""
        rows = []
        for what, added in self.shares.items():
            paths = what.split(" + ")
            values = [", ".join(str(one.fields[p]) for p in paths) for one in (self.a, self.b)]
            rows.append({"difference": what, "a": values[0], "b": values[1], **added})
        whole = {name: self.figures_b[name] - self.figures_a[name] for name in FIGURES}
        rows.append({"difference": "all", "a": self.a.name, "b": self.b.name, **whole})
        return pd.DataFrame(rows)

    def sides(self) -> pd.DataFrame:
        """Figures and energies of both: figure, a, b, b over a."""
        rows = [(name, self.figures_a[name], self.figures_b[name]) for name in self.figures_a]
        rows += [(f"{name}_uj", self.energy_a[name], self.energy_b[name]) for name in self.energy_a]
        kept = [(n, a, b) for n, a, b in rows if isinstance(a, int | float) and (a or b)]
        return pd.DataFrame(
            [{"figure": n, "a": a, "b": b, "b_over_a": b / a if a else float("inf")} for n, a, b in kept]
        )


def find_setup(text: str, model: str, audio: str, bits: int | None = None) -> Setup:
    """A point by ``STORE.db:KEY`` (the first letters of a key do), or a chip by preset or file.

    Raises
    ------
    SweepError
        If no point, or more than one, has such a key.
    """
    path, colon, key = text.rpartition(":")
    if not colon or not Path(path).exists():
        return Setup(text, load_chip(text), model, audio, bits)
    with Store(path, must_exist=True) as store:
        found = {row.key: row for _, _, row in store.points() if row.key.startswith(key)}
    if len(found) != 1:
        what = "no point has" if not found else f"{len(found)} points have"
        raise SweepError(f"{text}: {what} a key that starts with {key!r}; `azsim report` shows the keys")
    (row,) = found.values()
    return Setup(text, Chip(**row.chip), row.network, row.audio, row.weight_bits, row.weight_density)


def compare(a: Setup, b: Setup, progress: Callable[[str, float], None] | None = None) -> Comparison:
    """Replay two points and what lies between them."""
    tell = progress or (lambda stage, share: None)
    tell("the two points", 0.0)
    bench = _Bench(a, b)
    groups: list[tuple[str, ...]] = [(path,) for path, value in a.fields.items() if b.fields[path] != value]
    bench.at(frozenset())
    bench.at(frozenset(path for paths in groups for path in paths))
    while True:
        try:
            shares, is_exact = _shapley(groups, bench, lambda share: tell("what lies between", share))
            break
        except _ImpossibleError as error:
            groups = _joined(groups, error.members, bench)
    nothing, everything = frozenset[str](), frozenset(p for g in groups for p in g)
    named = {" + ".join(group): added for group, added in zip(groups, shares, strict=True)}
    order = sorted(named, key=lambda what: -abs(named[what]["working_ms"]))
    return Comparison(
        a=a,
        b=b,
        figures_a=bench.at(nothing),
        figures_b=bench.at(everything),
        energy_a=bench.energies[nothing],
        energy_b=bench.energies[everything],
        shares={what: named[what] for what in order},
        is_exact=is_exact,
    )


class _ImpossibleError(Exception):
    """Some groups of differences, changed together, give no chip."""

    def __init__(self, members: frozenset[int]) -> None:
        self.members = members


class _Bench:
    """Figures of every mixture of two points, each replayed once."""

    def __init__(self, a: Setup, b: Setup) -> None:
        self.a, self.b = a, b
        self.figures: dict[frozenset[str], dict[str, Any]] = {}
        self.energies: dict[frozenset[str], dict[str, float]] = {}
        self.works: dict[tuple[Any, ...], Prepared] = {}

    def at(self, from_b: frozenset[str]) -> dict[str, Any]:
        """Figures with some fields of b, the others of a."""
        if from_b not in self.figures:
            fields = {**self.a.fields, **{path: self.b.fields[path] for path in from_b}}
            chip = load_chip(self.a.chip, {p: v for p, v in fields.items() if p not in OUTSIDE})
            work = self._work(*(fields[name] for name in OUTSIDE))
            replayed = replay_on(work, chip)
            self.figures[from_b] = {**static_figures(chip), **run_figures(replayed, work.speech.seconds)}
            components = replayed.energy.components(while_working=True)
            self.energies[from_b] = {name: band.value for name, band in components.items()}
        return self.figures[from_b]

    def _work(self, network: str, audio: str, bits: int | None, density: float | None) -> Prepared:
        which = (network, audio, bits, density)
        if which not in self.works:
            loaded = load_network(network)
            key = work_key(network_hash(loaded), _heard(audio), bits or loaded.weight_bits, density, code_version())
            self.works[which] = prepare(loaded, audio, bits, density, key)
        return self.works[which]


def _heard(audio: str) -> str:
    try:
        return audio_hash(audio)
    except OSError as error:
        raise SweepError(f"audio {audio!r}: cannot be read ({error.strerror}); give the path of a recording") from error


def _joined(groups: list[tuple[str, ...]], members: frozenset[int], bench: "_Bench") -> list[tuple[str, ...]]:
    """Groups after some changed together gave no chip: the fewest that are at fault are joined with what mends them."""

    def fails(some: set[int]) -> bool:
        try:
            bench.at(frozenset(p for i in some for p in groups[i]))
        except AzsimError:
            return True
        return False

    bad = set(members)
    for i in sorted(members):
        if fails(bad - {i}):
            bad.remove(i)
    mends = (j for j in range(len(groups)) if j not in bad and not fails(bad | {j}))
    one = bad | {next(mends, -1)} if bad else set(range(len(groups)))
    if -1 in one or len(one) < 2:
        one = set(range(len(groups)))
    return [g for i, g in enumerate(groups) if i not in one] + [tuple(p for i in sorted(one) for p in groups[i])]


def _shapley(
    groups: list[tuple[str, ...]], bench: _Bench, tell: Callable[[float], None]
) -> tuple[list[dict[str, float]], bool]:
    """What each group of fields adds to each figure, and whether all combinations were replayed."""
    n = len(groups)

    def value(members: frozenset[int]) -> np.ndarray:
        try:
            figures: Mapping[str, Any] = bench.at(frozenset(p for i in members for p in groups[i]))
        except AzsimError as error:
            raise _ImpossibleError(members) from error
        return np.array([float(figures[name]) for name in FIGURES])

    added = np.zeros((n, len(FIGURES)))
    if n <= EXACT:
        everyone, done = range(n), 0
        for size in range(n):
            for members in combinations(everyone, size):
                tell(done / 2**n)
                done += 1
                for i in set(everyone) - set(members):
                    gain = value(frozenset((*members, i))) - value(frozenset(members))
                    added[i] += gain / (n * comb(n - 1, size))
    else:
        rng = np.random.default_rng(0)
        for k in range(ORDERS // 2):
            tell(2 * k / ORDERS)
            order = rng.permutation(n)
            for way in (order, order[::-1]):
                before = value(frozenset())
                for place, i in enumerate(way):
                    after = value(frozenset(int(j) for j in way[: place + 1]))
                    added[i] += (after - before) / ORDERS
                    before = after
    return [dict(zip(FIGURES, row.tolist(), strict=True)) for row in added], n <= EXACT
