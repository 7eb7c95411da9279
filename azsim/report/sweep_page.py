"""One self-contained HTML page of a sweep: fronts, parallel coordinates, curves and every point, offline."""

import itertools
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

import azsim
from azsim.errors import OutputError
from azsim.report import sweep_figures as figures
from azsim.report.page import table, template
from azsim.report.quantity import Quantity, figure
from azsim.report.reading import OBJECTIVES, Curve, Reading, read_sweep
from azsim.report.sweep_table import failures_table, library, points_table

MOST_LISTED = 8


def write_sweep_page(
    store: str | Path, out: str | Path, sweep: str | None = None, objectives: Sequence[str] = OBJECTIVES
) -> Reading:
    """Write the page of a store, all of it or nothing.

    Raises
    ------
    StoreError, SweepError, OutputError
        A store, sweep or objective that does not exist; a place that cannot be written.
    """
    reading = read_sweep(store, sweep, objectives)
    out = Path(out)
    text = render_sweep(reading)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=out.parent, suffix=".html", delete=False, encoding="utf-8") as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        os.replace(file.name, out)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    return reading


def render_sweep(reading: Reading) -> str:
    """The page as text."""
    n_points, goals = len(reading.points), reading.objectives
    plots = {}
    if len(goals) > 1:
        plots["fronts"] = plot(figures.pareto_figure(reading), "fronts")
    if n_points > 1 and reading.axes:
        plots["parallel"] = plot(figures.parallel_figure(reading), "parallel")
    return template("sweep.html").render(
        title=reading.title,
        version=azsim.__version__,
        n_points=n_points,
        n_failed=len(reading.failures),
        cards=_cards(reading),
        notes=_notes(reading),
        bounds=[{"name": b, "color": color, "shape": figures.SHAPES[b]} for b, color in _bounds(reading).items()],
        has_infeasible=n_points > 0 and not reading.feasible.all(),
        figures=plots,
        parallel_width=100 * (len(reading.axes) + len(goals) + len(reading.others)),
        best=table(_best(reading)) if n_points else "",
        glossary=table(_glossary(reading)) if n_points else "",
        reference=_reference(reading),
        curves=[
            {
                "heading": curve.axis.title,
                "says": _says(reading, curve),
                "figure": plot(figures.curve_figure(reading, curve), f"curve-{n}"),
            }
            for n, curve in enumerate(reading.curves)
        ],
        hover=_inert(json.dumps(figures.hover_columns(reading) if n_points else [])),
        n_lines=len(figures.drawn_lines(reading)) if n_points else 0,
        pairs=len(list(itertools.combinations(goals, 2))),
        has_walks=any(not curve.is_trend for curve in reading.curves),
        tied=_tied_sentence(reading),
        points_table=points_table(reading, "points") if n_points else "",
        failures_table=failures_table(reading, "failures") if len(reading.failures) else "",
        library=library(),
        plotly_js=Markup(get_plotlyjs()),
    )


def plot(figure: go.Figure, name: str) -> Markup:
    """A figure as data; the script of the page draws it when the page can be read already."""
    return Markup(
        f'<div id="plot-{name}" class="plot" style="height: {figure.layout.height}px"></div>'
        f'<script type="application/json" id="data-{name}">{_inert(figure.to_json())}</script>'
    )


def _inert(text: str) -> Markup:
    """JSON that cannot end the script it stands in."""
    return Markup(text.replace("<", "\\u003c"))


def _bounds(reading: Reading) -> dict[str, str]:
    return figures.bounds_of(reading) if len(reading.points) else {}


def _cards(reading: Reading) -> list[dict[str, str]]:
    points = reading.points
    failed = f", {len(reading.failures):,} more failed" if len(reading.failures) else ""
    cards = [{"value": f"{len(points):,}", "label": f"point{'s' if len(points) != 1 else ''} ran{failed}"}]
    if points.empty:
        return cards
    n_infeasible = int((~reading.feasible).sum())
    if n_infeasible:
        cards.append({"value": f"{n_infeasible:,}", "label": "of them break a condition of the space"})
    for goal in reading.objectives:
        best = points.loc[reading.feasible, goal.name].min()
        cards.append({"value": goal.text_with_unit(best), "label": f"least {goal.meaning or goal.label}"})
    cards.append({"value": f"{int(points.on_front.sum()):,}", "label": "on the front: no other is better in all"})
    return cards


def _notes(reading: Reading) -> list[str]:
    """What a reader must know before trusting the front."""
    points, notes = reading.points, []
    if points.empty:
        return ["No point ran, so there is nothing to compare."]
    names = {axis.name: axis.label for axis in reading.axes}
    mixed = [names[n] for n in ("network", "audio") if n in names]
    if mixed:
        notes.append(f"Points differ in {' and '.join(mixed)}; the front compares them as if they did the same work.")
    for other in reading.others:
        front = points.loc[points.on_front, other.name]
        if front.nunique() > 1 or front.max() > points[other.name].min():
            notes.append(
                f"{other.label} is not among the objectives, but it goes from {other.text_with_unit(front.min())} to "
                f"{other.text_with_unit(front.max())} on the front, and the best point has "
                f"{other.text_with_unit(points[other.name].min())}: add {other.name} to --objectives."
            )
    return notes


def _best(reading: Reading) -> pd.DataFrame:
    """The reference and the points that are best in an objective, a column each."""
    chosen: dict[str, int] = {} if reading.reference is None else {"reference": reading.reference}
    for goal in reading.objectives:
        values = reading.points.loc[reading.feasible, goal.name].dropna()
        if len(values):
            chosen[f"least {goal.label}"] = int(values.idxmin())
    shown: list[Quantity] = [*reading.objectives, *reading.others, *reading.axes]
    columns = {"": [*(q.title for q in shown), "bound", "key"]}
    for label, row in chosen.items():
        at = reading.points.loc[row]
        columns[label] = [*(q.text(at[q.name]) for q in shown), at.bound, at.key]
    return pd.DataFrame(columns)


def _glossary(reading: Reading) -> pd.DataFrame:
    """Every column: its name in the store, what it means, which values it takes."""
    rows = []
    for q in (*reading.axes, *reading.objectives, *reading.others):
        role = "varied" if q in reading.axes else "compared" if q in reading.objectives else "told"
        rows.append({"column": q.title, "role": role, "name": q.name, "values": _values(q, reading.points[q.name]),
                     "meaning": q.meaning})  # fmt: skip
    return pd.DataFrame(rows, columns=["column", "role", "name", "values", "meaning"])


def _values(quantity: Quantity, values: pd.Series) -> str:
    present = values.dropna()
    if not quantity.is_number:
        listed = list(dict.fromkeys(sorted(quantity.text(v) for v in present)))
    else:
        shown = quantity.shown(present)
        listed = [figure(v) for v in np.unique(shown)]
        if len(listed) > MOST_LISTED:
            return f"{figure(shown.min())} to {figure(shown.max())}"
    more = f" and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
    return ", ".join(listed[:MOST_LISTED]) + more


def _reference(reading: Reading) -> dict[str, str]:
    """How the reference was chosen, and which chip it is."""
    if reading.reference is None:
        return {"why": "", "what": ""}
    at = reading.points.loc[reading.reference]
    axes = [f"{q.label} {q.text_with_unit(at[q.name])}" for q in reading.axes if pd.notna(at[q.name])]
    why = "the knee of the front" if at.on_front else "near the ideal, among the points with the most neighbors"
    return {"why": why, "what": ", ".join(axes) or "the only chip", "key": at.key}


def _says(reading: Reading, curve: Curve) -> str:
    """How much each objective moves along a curve, and where the bound changes."""
    if curve.is_trend:
        some = "" if len(curve.rows) <= figures.TREND_DOTS else f", of which {figures.TREND_DOTS} are drawn"
        return (
            f"No point differs from the reference in this alone: dots are all {len(curve.rows):,} points that have "
            f"it{some}, the line their median."
        )
    parts = []
    for goal in reading.objectives:
        values = curve.rows[goal.name].dropna()
        if len(values) and values.min() > 0 and values.max() > 1.005 * values.min():
            low, high = goal.text(values.min()), goal.text_with_unit(values.max())
            parts.append(f"{goal.label} {low} to {high} (×{values.max() / values.min():.3g})")
    bounds = list(dict.fromkeys(curve.rows.bound))
    change = f" The bound changes: {' and '.join(bounds)}." if len(bounds) > 1 else f" Bound by {bounds[0]} throughout."
    return (", ".join(parts) if parts else "Moves none of the objectives by half a percent") + "." + change


def _tied_sentence(reading: Reading) -> str:
    titles = {axis.name: axis.label for axis in reading.axes}
    told = [f"{titles[leader]} takes {titles[follower]} along" for follower, leader in reading.tied.items()]
    return f"Of values that go together one has the curve: {', '.join(told)}." if told else ""
