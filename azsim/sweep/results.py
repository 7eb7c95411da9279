"""Results as one tidy table, its Pareto front, and how large a front is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd

from azsim.chip.presets import flatten
from azsim.errors import OutputError, SweepError
from azsim.sweep.expression import holds
from azsim.sweep.scenarios import changes_of
from azsim.sweep.store import Store

IDENTITY = ("sweep", "key", "network", "weight_bits", "weight_density", "audio")
HIDDEN = ("name", "description")


def load_results(store: str | Path, sweep: str | None = None, with_chip: bool = True) -> pd.DataFrame:
    """Everything that ran, one row per point and sweep.

    Columns: ``sweep, key, network, weight_bits, weight_density, audio``; the figures of ``azsim.sweep.figures``, with
    the unit as the last word; axes of a scenario; the fields of the chip by path; and, where a sweep has conditions,
    whether they hold (``feasible``). Rows are sorted by sweep and key.

    Parameters
    ----------
    store : str or Path
    sweep : str, optional
        One sweep of the store; all by default.
    with_chip : bool
        False leaves out the columns of the chip.

    Raises
    ------
    StoreError
        No such file, or not a store.
    SweepError
        No such sweep.
    """
    with Store(store, must_exist=True) as opened:
        if sweep is not None and sweep not in opened.sweeps():
            raise SweepError(f"{store}: no sweep {sweep!r}; it has {', '.join(opened.sweeps()) or 'none'}")
        rows, conditions = [], opened.conditions()
        for name, axes, row in opened.points(sweep):
            identity = {"sweep": name, **{key: getattr(row, key) for key in IDENTITY[1:]}}
            chip = {k: v for k, v in flatten(row.chip).items() if k not in HIDDEN}
            preset = {"chip": axes["chip"]} if "chip" in axes else {}
            known = {**identity, **preset, **changes_of(axes), **row.figures}
            about = {"seconds_s": row.seconds, "code_version": row.code_version, "fidelity": row.fidelity}
            wanted = conditions.get(name, [])
            feasible = {"feasible": all(holds(text, {**known, **chip}) for text in wanted)} if wanted else {}
            rows.append({**known, **feasible, **(chip if with_chip else {}), **about})
    return pd.DataFrame(rows)


def load_axes(store: str | Path, sweep: str | None = None) -> list[dict[str, Any]]:
    """The axes of every row of ``load_results``, as the space gave them; one whose ``when`` is false is not there."""
    with Store(store, must_exist=True) as opened:
        return [axes for _, axes, _ in opened.points(sweep)]


def load_failures(store: str | Path, sweep: str | None = None) -> pd.DataFrame:
    """Points that could not run: sweep, axes, error."""
    with Store(store, must_exist=True) as opened:
        rows = [{"sweep": name, **axes, "error": error} for name, axes, error in opened.failures(sweep)]
    return pd.DataFrame(rows, columns=None if rows else ["sweep", "error"])


def varied(results: pd.DataFrame) -> list[str]:
    """Columns of chip and network that differ between rows: the axes as they were taken."""
    inputs = [c for c in results if "." in c or c in (*IDENTITY[2:], "chip", "clock_hz", "activation_sram_bytes")]
    return [c for c in inputs if results[c].map(repr).nunique() > 1]


def pareto(results: pd.DataFrame, objectives: Sequence[str]) -> pd.Series:
    """Which rows no other row beats: bool, True where none is at least as good in all objectives and better in one.

    Objectives are minimized; rows without a value in one of them are never on the front.
    """
    values = results[list(objectives)].to_numpy(float)
    on_front = np.isfinite(values).all(axis=1)
    for i in np.flatnonzero(on_front):
        no_worse = (values <= values[i]).all(axis=1)
        better = (values < values[i]).any(axis=1)
        on_front[i] = not (no_worse & better).any()
    return pd.Series(on_front, index=results.index)


def hypervolume(values: Any, reference: Sequence[float]) -> float:
    """Volume between a set of points and a reference point that points of the set are better than.

    Objectives are minimized. What is not better than the reference in every objective adds nothing, nor do rows with a
    value that is not a number. Exact.

    Parameters
    ----------
    values : float[n, objectives]
    reference : float[objectives]

    Source
    ------
    The library moocore: Guerreiro, Fonseca, Paquete, "The Hypervolume Indicator", ACM Computing Surveys 54 (2021).
    """
    points, worst = np.asarray(values, float), np.asarray(reference, float)
    if points.ndim != 2 or points.shape[1:] != worst.shape:
        raise SweepError(
            f"values[n, objectives] and reference[objectives] must agree, but got {points.shape} and {worst.shape}"
        )
    inside = points[(points < worst).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=worst)) if len(inside) else 0.0


def export(results: pd.DataFrame, path: str | Path) -> None:
    """Write a table as .csv or .parquet, by the name of the file."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            results.to_csv(path, index=False)
        elif path.suffix == ".parquet":
            results.map(lambda v: str(v) if isinstance(v, list | dict) else v).to_parquet(path, index=False)
        else:
            raise OutputError(f"{path}: the name must end in .csv or .parquet")
    except ImportError as error:
        raise OutputError(f"{path}: Parquet needs pyarrow: pip install 'azsim[parquet]', or write .csv") from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
