"""What a sweep says: its axes, its front, a reference point, and curves of one factor at a time."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from azsim.chip import describe_chip
from azsim.errors import SweepError
from azsim.report.quantity import FEW_VALUES, Quantity, describe
from azsim.sweep import load_failures, load_results, pareto
from azsim.sweep.figures import RESULTS, STATIC
from azsim.sweep.results import IDENTITY, load_axes

OBJECTIVES = ("latency_p95_ms", "energy_working_uj", "area_mm2")
BIGGER_IS_BETTER = ("dense_tops",)
MOST_OBJECTIVES = 6
TREND_BINS = 8
FEASIBLE = "feasible"
AS_TRAINED = "as trained"


@dataclass(frozen=True)
class Curve:
    """The points met on a walk along one axis.

    Attributes
    ----------
    axis : Quantity
    rows : DataFrame
        Points in the order of the axis, one per value; everything else stands at the reference.
    is_trend : bool
        No point differs from the reference in this axis alone: ``rows`` are all points instead.
    effect : float
        Largest ratio over the objectives of the most to the least value along the curve, of medians along a trend.
    """

    axis: Quantity
    rows: pd.DataFrame
    is_trend: bool
    effect: float


@dataclass(frozen=True)
class Reading:
    """A sweep, made ready to be shown.

    Attributes
    ----------
    title : str
    points : DataFrame
        A row per point; an axis that a point does not have is None. ``on_front`` tells the front of all objectives.
    axes, objectives, others : list of Quantity
        What was varied, what is compared, and results that differ and matter for the choice, as the word error rate.
    reference : int or None
        Row at which the curves cross: the knee of the front, among the points with enough neighbors.
    curves : list of Curve
        The strongest first.
    tied : dict
        Axes that go with another one: its name by theirs.
    failures : DataFrame
    """

    title: str
    points: pd.DataFrame
    axes: list[Quantity] = field(default_factory=list)
    objectives: list[Quantity] = field(default_factory=list)
    others: list[Quantity] = field(default_factory=list)
    reference: int | None = None
    curves: list[Curve] = field(default_factory=list)
    tied: dict[str, str] = field(default_factory=dict)
    failures: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def feasible(self) -> pd.Series:
        """Points that satisfy the conditions of the space, all of them if it has none."""
        return is_feasible(self.points)


def read_sweep(store: str | Path, sweep: str | None = None, objectives: Sequence[str] = OBJECTIVES) -> Reading:
    """Read a store for its page.

    Raises
    ------
    StoreError, SweepError
        No such store or sweep; an objective that is not a figure of its points.
    """
    check_objectives(objectives)
    points = load_results(store, sweep)
    failures = load_failures(store, sweep)
    title = sweep or (", ".join(dict.fromkeys([*points.get("sweep", []), *failures.get("sweep", [])]))) or "empty store"
    if points.empty:
        return Reading(title, points, failures=failures)
    if "bound" not in points:
        raise SweepError(
            f"{store}: its points are streams, for which there is no page yet; read them as a table with "
            f"azsim.sweep.load_results({str(store)!r}), and one stream with `azsim stream`"
        )
    points, names = _with_axes(points, load_axes(store, sweep))
    points = points.drop_duplicates("key", ignore_index=True)
    names = [name for name in names if points[name].map(repr).nunique() > 1]
    missing = [name for name in objectives if not pd.to_numeric(points.get(name), errors="coerce").notna().any()]
    if missing:
        raise SweepError(f"{store}: no point has a value of {missing[0]!r}; choose other --objectives")
    front = pd.Series(False, index=points.index)
    allowed = points[is_feasible(points)]
    front[allowed.index] = pareto(allowed, objectives)
    points["on_front"] = front
    meanings = {source.path: source.description for source in describe_chip("az1_like").sources.values()}
    axes = [describe(name, points[name], meanings.get(name, "")) for name in names]
    goals = [describe(name, points[name]) for name in objectives]
    others = [name for name in ("wer",) if name in points and points[name].nunique() > 1 and name not in objectives]
    tied = tied_axes(points, names)
    free = [axis for axis in axes if axis.name not in tied]
    reference = choose_reference(points, [axis.name for axis in free], objectives)
    curves = [] if reference is None else [_curve(points, axis, free, reference, objectives) for axis in free]
    curves.sort(key=lambda curve: (curve.is_trend, -curve.effect))
    return Reading(
        title, points, axes, goals, [describe(name, points[name]) for name in others], reference, curves, tied, failures
    )


def check_objectives(objectives: Sequence[str]) -> None:
    """Raise where an objective is not a figure that is better the smaller it is."""
    known = [name for name in (*STATIC, *RESULTS) if name not in BIGGER_IS_BETTER]
    if not 1 <= len(objectives) <= MOST_OBJECTIVES:
        raise SweepError(f"one to {MOST_OBJECTIVES} objectives can be compared, but got {len(objectives)}")
    if len(set(objectives)) < len(objectives):
        raise SweepError(f"an objective stands twice in {','.join(objectives)}")
    for name in objectives:
        if name in BIGGER_IS_BETTER:
            raise SweepError(f"objectives are minimized, but of {name!r} more is better; choose another one")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or [
                *(other for other in known if name.split("_")[0] in other), *OBJECTIVES][:3]  # fmt: skip
            raise SweepError(f"no figure {name!r}; did you mean {', '.join(near)}? There are: {', '.join(known)}")


def is_feasible(points: pd.DataFrame) -> pd.Series:
    if FEASIBLE not in points:
        return pd.Series(True, index=points.index)
    return points[FEASIBLE].map(lambda value: value is None or bool(value)).astype(bool)


def _with_axes(points: pd.DataFrame, taken: list[dict[str, Any]]) -> tuple[pd.DataFrame, list[str]]:
    """Points with None where a sweep has an axis that the point does not, and the names of all axes.

    A field that only another sweep varied keeps the value of the chip.
    """
    names = list(dict.fromkeys(name for axes in taken for name in axes))
    columns = {}
    for name in names:
        given = pd.Series([axes.get(name) for axes in taken], index=points.index, dtype=object)
        column = points.get(name, given).astype(object)
        has = pd.Series([name in axes for axes in taken], index=points.index)
        in_sweep = has.groupby(points.sweep).transform("any")
        column = column.where(column.notna(), AS_TRAINED).where(has | ~in_sweep, None)
        columns[name] = column.infer_objects()
    names += [name for name in IDENTITY[2:] if name not in columns and points[name].nunique() > 1]
    return points.assign(**columns).copy(), names


def tied_axes(points: pd.DataFrame, names: Sequence[str]) -> dict[str, str]:
    """Axes whose value follows from another one's, as in rows of values that go together: leader by follower.

    Told only where values repeat, for among points drawn at random every value is unique and says nothing. An axis
    that some points lack leads none: that it exists follows from another axis.
    """
    codes = {name: points[name].map(repr) for name in names}
    tied: dict[str, str] = {}
    for leader in names:
        n_values = codes[leader].nunique()
        if leader in tied or len(points) < 2 * n_values or points[leader].isna().any():
            continue
        for follower in names:
            if follower != leader and follower not in tied and leader not in tied:
                n_pairs = len(pd.MultiIndex.from_arrays([codes[leader], codes[follower]]).unique())
                if n_pairs == n_values and follower not in tied.values():
                    tied[follower] = leader
    return tied


def codes_of(points: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """int[points, axes]: a number per value, -1 where the point does not have the axis."""
    columns = [np.where(points[n].isna(), -1, pd.factorize(points[n].map(repr))[0]) for n in names]
    return np.stack(columns, axis=1) if columns else np.zeros((len(points), 0), int)


def choose_reference(points: pd.DataFrame, names: Sequence[str], objectives: Sequence[str]) -> int | None:
    """The point nearest to the ideal one among those at which enough axes can be walked along.

    Nearest in the share of each objective's range, by its logarithm where that exists. Points of the front come first,
    if some of them have at least half as many walks as any other point.
    """
    candidates = points[is_feasible(points) & points[list(objectives)].notna().all(axis=1)].index.to_numpy()
    if not len(candidates):
        return None
    codes = codes_of(points, names)
    walks = np.zeros(len(points), int)
    for k in range(len(names)):
        others = np.delete(codes, k, axis=1)
        group = np.unique(others, axis=0, return_inverse=True)[1].reshape(-1)
        walks += (np.bincount(group)[group] > 1) & (codes[:, k] >= 0)
    most = int(walks[candidates].max())
    front = candidates[points.on_front[candidates].to_numpy()]
    enough = front[2 * walks[front] >= most]
    chosen = enough if len(enough) else candidates[walks[candidates] == most]
    return int(chosen[np.argmin(_distance(points, objectives)[chosen])])


def _distance(points: pd.DataFrame, objectives: Sequence[str]) -> np.ndarray:
    total = np.zeros(len(points))
    for name in objectives:
        values = points[name].to_numpy(float)
        if np.nanmin(values) > 0:
            values = np.log(values)
        span = np.nanmax(values) - np.nanmin(values)
        total += ((values - np.nanmin(values)) / (span or 1.0)) ** 2
    return total


def _curve(
    points: pd.DataFrame, axis: Quantity, free: Sequence[Quantity], reference: int, objectives: Sequence[str]
) -> Curve:
    """A walk through the reference, or all points that have the axis.

    Two points agree on another axis if one of them does not have it. Where several points stand at one value, the one
    that agrees in more axes is taken, then the first by the objectives in their order.
    """
    others = [other.name for other in free if other.name != axis.name]
    codes = codes_of(points, others)
    same, absent = codes == codes[reference], (codes < 0) | (codes[reference] < 0)
    met = (same | absent).all(axis=1) & points[axis.name].notna().to_numpy()
    rows = points[met].assign(_agrees=-same[met].sum(axis=1))
    rows = rows.sort_values(["_agrees", *objectives]).drop(columns="_agrees")
    rows = rows[(rows.index == reference) | (rows[axis.name].map(repr) != repr(points.at[reference, axis.name]))]
    rows = rows[~rows[axis.name].map(repr).duplicated()]
    is_trend = len(rows) < 2 or reference not in rows.index
    if is_trend:
        rows = points[points[axis.name].notna()]
    rows = rows.sort_values(axis.name, key=axis.shown, kind="stable")
    levels = rows[list(objectives)]
    if is_trend:
        levels = levels.groupby(bins_of(axis.shown(rows[axis.name]), not axis.is_number), observed=True).median()
    least = levels.min()
    ratios = levels.max() / least.where(least > 0)
    return Curve(axis, rows, is_trend, 1.0 if ratios.isna().all() else float(ratios.max()))


def bins_of(values: pd.Series, is_listed: bool) -> pd.Series:
    """What to group the points of a trend by: the values if they are few, ranges with equally many points if not."""
    if is_listed or values.nunique() <= FEW_VALUES:
        return values
    return pd.qcut(values, TREND_BINS, duplicates="drop")
