"""The plots of a sweep: fronts, parallel coordinates, and curves along one axis at a time."""

import html
import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from azsim.report.figures import INK, style
from azsim.report.quantity import FEW_VALUES, INACTIVE, Quantity, category, figure, ticks, wants_log
from azsim.report.reading import Curve, Reading, bins_of
from azsim.sweep import pareto

BOUNDS = {"compute": "#2563eb", "bandwidth": "#dc2626", "decode": "#f59e0b"}
SYMBOLS = {"compute": "circle", "bandwidth": "square", "decode": "diamond"}
SHAPES = {"compute": "●", "bandwidth": "■", "decode": "◆"}
OTHER = "#64748b"
MOST_SVG_POINTS = 1500
MARGIN = 0.06
TREND_DOTS = 500
PANELS_ACROSS = 3
RAMP = [[0, "#440154"], [0.25, "#3b528b"], [0.5, "#21918c"], [0.75, "#5ec962"], [1, "#fde725"]]  # viridis
COLORBAR = {"thickness": 12, "outlinewidth": 0, "ticklen": 3, "tickfont": {"size": 11}}
SPREAD = 0.36
MOST_LINES = 2000


def bounds_of(reading: Reading) -> dict[str, str]:
    """Colors of the bounds that occur."""
    present = set(reading.points.bound.dropna())
    return {name: color for name, color in BOUNDS.items() if name in present}


def hover_columns(reading: Reading) -> list[dict[str, Any]]:
    """What the page says of a point: per line its label, the texts that occur, and which of them each point has."""
    points, columns = reading.points, []
    for q in (*reading.axes, *reading.objectives, *reading.others):
        columns.append((q.label, points[q.name].map(q.text_with_unit)))
    columns += [("bound", points.bound.map(category)), ("key", points.key)]
    lines = []
    for label, texts in columns:
        codes, distinct = pd.factorize(texts)
        lines.append({"label": label, "texts": [html.escape(t) for t in distinct], "codes": codes.tolist()})
    return lines


def pareto_figure(reading: Reading) -> go.Figure:
    """A panel per pair of objectives: all points, colored by their bound, and the line that no point passes.

    One figure holds all panels, for a browser gives a page only a few WebGL contexts. Points carry their row; the page
    fills in what ``hover_columns`` says of it, so that the texts are there once.
    """
    pairs = list(itertools.combinations(reading.objectives, 2))
    rows = math.ceil(len(pairs) / PANELS_ACROSS)
    gaps = {"horizontal_spacing": 0.08, "vertical_spacing": 0.22 / rows}
    plot = make_subplots(rows=rows, cols=min(len(pairs), PANELS_ACROSS), **gaps)
    for n, (x, y) in enumerate(pairs):
        place = {"row": 1 + n // PANELS_ACROSS, "col": 1 + n % PANELS_ACROSS}
        _add_front(plot, reading, x, y, place)
        plot.update_xaxes(title_text=x.title, **_axis(x.shown(reading.points[x.name])), **place)
        plot.update_yaxes(title_text=y.title, **_axis(y.shown(reading.points[y.name])), **place)
    plot = style(plot, 360 * rows)
    plot.update_layout(
        dragmode="zoom", margin={"t": 8}, hoverlabel={"bgcolor": "white", "align": "left"}, hovermode="closest"
    )
    plot.update_xaxes(title_standoff=6, title_font_size=13, tickfont_size=12)
    plot.update_yaxes(title_standoff=4, title_font_size=13, tickfont_size=12)
    return plot


def _add_front(plot: go.Figure, reading: Reading, x: Quantity, y: Quantity, place: dict[str, int]) -> None:
    points, feasible = reading.points, reading.feasible
    across, up = x.shown(points[x.name]), y.shown(points[y.name])
    are_many = len(points) > MOST_SVG_POINTS
    scatter, size, faint = (go.Scattergl, 4, 0.25) if are_many else (go.Scatter, 6, 0.45)
    line = {"color": INK, "width": 1.4, "shape": "hv"}
    allowed = points[feasible]
    front = allowed[pareto(allowed, [x.name, y.name])].sort_values([x.name, y.name]).index
    # The line goes on to the frame of the panel, so that a front of one point is a corner.
    x_line = [*across[front][:1], *across[front], _bounds_of_axis(across)[1]]
    y_line = [_bounds_of_axis(up)[1], *up[front], *up[front][-1:]]
    edge = scatter(x=x_line, y=y_line, mode="lines", line=line, name="front", showlegend=False, hoverinfo="skip")
    for is_best in (False, True):  # the front stands over its line, and both over the other points
        if is_best:
            plot.add_trace(edge, **place)
        for bound, is_feasible in itertools.product(bounds_of(reading), (True, False)):
            chosen = points.index[(points.bound == bound) & (feasible == is_feasible) & (points.on_front == is_best)]
            if chosen.empty:
                continue
            marker = {
                "color": BOUNDS[bound], "symbol": SYMBOLS[bound] + ("" if is_feasible else "-open"),
                "size": size + 2 if is_best else size, "opacity": 1.0 if is_best else faint,
                "line": {"width": 1.5 if is_best else 1.0 if not is_feasible else 0.0,
                         "color": INK if is_best else BOUNDS[bound]},
            }  # fmt: skip
            dots = scatter(x=across[chosen], y=up[chosen], mode="markers", name=bound, showlegend=False,
                           marker=marker, customdata=chosen.tolist(),
                           hovertemplate="%{text}<extra></extra>")  # fmt: skip
            plot.add_trace(dots, **place)
    if reading.reference is not None:
        here = reading.reference
        ring = {"symbol": "circle-open", "size": 17, "color": INK, "line": {"width": 2}}
        plot.add_trace(
            scatter(x=[across[here]], y=[up[here]], mode="markers", showlegend=False, name="reference", marker=ring,
                    hoverinfo="skip"), **place
        )  # fmt: skip


def _bounds_of_axis(values: pd.Series) -> tuple[float, float]:
    """The values with a margin."""
    low, high = float(values.min()), float(values.max())
    if wants_log(values):
        pad = (high / low) ** MARGIN
        return low / pad, high * pad
    pad = MARGIN * (high - low) or 0.1 * abs(high) or 1.0
    return low - pad, high + pad


def _axis(values: pd.Series) -> dict[str, Any]:
    """Type, range and ticks of an axis over these values."""
    low, high = _bounds_of_axis(values)
    if not wants_log(values):
        return {"type": "linear", "range": [low, high], "nticks": 6, "tickformat": ",~r"}
    found = ticks(low, high, True)
    return {
        "type": "log", "range": [math.log10(low), math.log10(high)], "tickmode": "array", "tickvals": found,
        "ticktext": [figure(v) for v in found],
    }  # fmt: skip


def parallel_figure(reading: Reading) -> go.Figure:
    """Every point as a line over axes and results; brushed by dragging along an axis, colored by choice.

    Lines that share a level of an axis are spread around it in the order of the first objective, for on a grid they
    would hide each other.
    """
    points = drawn_lines(reading)
    spread = SPREAD * (points[reading.objectives[0].name].rank(pct=True, method="first").fillna(1.0) - 0.5)
    dimensions = []
    for quantity in (*reading.axes, *reading.objectives, *reading.others):
        position, tickvals, ticktext = levels(quantity, points[quantity.name], spread)
        ends = [min(*position, *tickvals), max(*position, *tickvals)]
        dimensions.append({"label": _wrapped(quantity.title), "values": position, "tickvals": tickvals,
                           "ticktext": ticktext, "range": ends})  # fmt: skip
    lines = [(q.label, _ramp(q, points[q.name])) for q in reading.objectives]
    lines.append(("bound", _bound_colors(points)))
    faint = {"color": "#94a3b8", "opacity": 0.06}
    plot = go.Figure(
        go.Parcoords(
            dimensions=dimensions, line={**lines[0][1], "colorbar": {**lines[0][1]["colorbar"], **COLORBAR}},
            labelside="top", labelfont={"size": 12, "color": INK}, tickfont={"size": 11, "color": INK},
            rangefont={"size": 1, "color": "rgba(0,0,0,0)"}, unselected={"line": faint},
        )
    )  # fmt: skip
    plot = style(plot, 440)
    buttons = [
        {"label": f"color: {label}", "method": "restyle", "args": [_flat("line", line)]} for label, line in lines
    ]
    menu = {"buttons": buttons, "type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 1.31,
            "yanchor": "top", "active": 0, "font": {"size": 12}, "bgcolor": "white", "pad": {"l": -60}}  # fmt: skip
    plot.update_layout(margin={"l": 60, "r": 20, "t": 100, "b": 20}, updatemenus=[menu])
    return plot


def drawn_lines(reading: Reading) -> pd.DataFrame:
    """The points that are drawn as lines: all of them, or the front and some of the others if there are too many."""
    points = reading.points
    if len(points) <= MOST_LINES:
        return points
    rest = points[~points.on_front]
    return pd.concat(
        [rest.sample(max(0, MOST_LINES - int(points.on_front.sum())), random_state=0), points[points.on_front]]
    )


def _flat(path: str, values: dict[str, Any]) -> dict[str, Any]:
    """Nested attributes as ``restyle`` takes them: dotted names, each value in a list."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(f"{path}.{key}", value) if isinstance(value, dict) else {f"{path}.{key}": [value]}
    return flat


def levels(
    quantity: Quantity, values: pd.Series, spread: pd.Series | float = 0.0
) -> tuple[list[float], list[float], list[str]]:
    """Positions on a vertical axis and its labels: a level per value if they are few, a scale otherwise.

    ``spread`` is what to add to the positions where there are levels.
    """
    missing = values.isna()
    distinct = values[~missing].map(quantity.text).nunique()
    if not quantity.is_number or distinct <= FEW_VALUES:
        present = sorted(values[~missing].unique(), key=lambda v: v if quantity.is_number else str(v))
        labels = list(dict.fromkeys(quantity.text(v) for v in present))
        level = {label: float(n) for n, label in enumerate(labels)}
        if missing.any():
            level = {INACTIVE: -1.0, **level}
        at = values.map(quantity.text).map(level) + spread
        return [float(f"{v:.4g}") for v in at], list(level.values()), list(level)
    shown = quantity.shown(values)
    is_log = wants_log(shown)
    marks = ticks(float(shown.min()), float(shown.max()), is_log)
    scale = np.log10 if is_log else np.asarray
    position, tickvals, ticktext = scale(shown), list(scale(np.array(marks))), [figure(v) for v in marks]
    if missing.any():
        below = float(np.nanmin(position) - 0.1 * (np.nanmax(position) - np.nanmin(position)))
        position, tickvals, ticktext = np.where(missing, below, position), [below, *tickvals], [INACTIVE, *ticktext]
    return [float(f"{v:.5g}") for v in position], [float(v) for v in tickvals], ticktext


def _wrapped(title: str) -> str:
    """A title in two lines if it is long."""
    if len(title) <= 14:
        return title
    spaces = [n for n, letter in enumerate(title) if letter == " "]
    if not spaces:
        return title
    cut = min(spaces, key=lambda n: abs(n - len(title) / 2))
    return f"{title[:cut]}<br>{title[cut + 1 :]}"


def _ramp(quantity: Quantity, values: pd.Series) -> dict[str, Any]:
    position, tickvals, ticktext = levels(quantity, values)
    bar = {"title": {"text": quantity.unit}, "tickvals": tickvals, "ticktext": ticktext}
    return {"color": position, "colorscale": RAMP, "cmin": np.nanmin(position), "cmax": np.nanmax(position),
            "colorbar": bar}  # fmt: skip


def _bound_colors(points: pd.DataFrame) -> dict[str, Any]:
    names = list(BOUNDS)
    scale = [[(n + side) / 3, color] for n, color in enumerate(BOUNDS.values()) for side in (0, 1)]
    bar = {"title": {"text": "bound"}, "tickvals": [0, 1, 2], "ticktext": names}
    codes = [names.index(bound) if bound in names else 0 for bound in points.bound]
    return {"color": codes, "colorscale": scale, "cmin": -0.5, "cmax": 2.5, "colorbar": bar}


def curve_figure(reading: Reading, curve: Curve) -> go.Figure:
    """The objectives along one axis, side by side; shades tell the ranges if the bound changes."""
    goals, rows = reading.objectives, curve.rows
    plot = make_subplots(rows=1, cols=len(goals), horizontal_spacing=0.07)
    is_listed = not curve.axis.is_number
    layout: dict[str, Any]
    if is_listed:
        labels = list(dict.fromkeys(curve.axis.text(v) for v in rows[curve.axis.name]))
        x = pd.Series([labels.index(curve.axis.text(v)) for v in rows[curve.axis.name]], index=rows.index, dtype=float)
        layout = {"tickvals": list(range(len(labels))), "ticktext": labels, "range": [-0.5, len(labels) - 0.5]}
    else:
        x = curve.axis.shown(rows[curve.axis.name])
        layout = _axis(x)
        if len(x.unique()) <= FEW_VALUES and _are_apart(x, layout["type"] == "log"):
            listed = sorted(x.unique())
            layout |= {"tickmode": "array", "tickvals": listed, "ticktext": [figure(v) for v in listed]}
    for n, goal in enumerate(goals, 1):
        y = goal.shown(rows[goal.name])
        (_add_trend if curve.is_trend else _add_walk)(plot, n, reading, curve, x, y, is_listed)
        plot.update_yaxes(title_text=goal.title, row=1, col=n, **_axis(_common(reading, goal, curve.is_trend)))
        plot.update_xaxes(row=1, col=n, **layout)
    if rows.bound.nunique() > 1 and not curve.is_trend:
        for x0, x1, bound in bound_ranges(x, rows.bound, layout.get("type") == "log", layout["range"]):
            plot.add_vrect(x0=x0, x1=x1, fillcolor=BOUNDS.get(bound, OTHER), opacity=0.1, line_width=0, layer="below",
                           row="all", col="all")  # fmt: skip
    plot = style(plot, 220)
    plot.update_layout(margin={"t": 6, "b": 4}, hoverlabel={"bgcolor": "white"})
    plot.update_yaxes(title_font_size=12, tickfont_size=11)
    plot.update_xaxes(tickfont_size=11, showgrid=False)
    return plot


def _add_walk(
    plot: go.Figure, col: int, reading: Reading, curve: Curve, x: pd.Series, y: pd.Series, is_listed: bool
) -> None:
    at_reference = curve.rows.index == reading.reference
    values = [html.escape(curve.axis.text_with_unit(v)) for v in curve.rows[curve.axis.name]]
    marks = [f"{curve.axis.label}: {v}<br>bound by {b}" for v, b in zip(values, curve.rows.bound, strict=True)]
    plot.add_trace(
        go.Scatter(
            x=x, y=y, mode="markers" if is_listed else "lines+markers", showlegend=False,
            line={"color": INK, "width": 1.5},
            marker={"color": [BOUNDS.get(b, OTHER) for b in curve.rows.bound], "opacity": 1.0,
                    "size": np.where(at_reference, 11, 8),
                    "line": {"color": INK, "width": np.where(at_reference, 2.0, 0.0)}},
            text=marks,
            hovertemplate="%{text}<br>" + reading.objectives[col - 1].label + ": %{y:,.4~g} "
            + reading.objectives[col - 1].unit + "<extra></extra>",
        ), 1, col,
    )  # fmt: skip


def _add_trend(
    plot: go.Figure, col: int, reading: Reading, curve: Curve, x: pd.Series, y: pd.Series, is_listed: bool
) -> None:
    """All points as dots, and the medians of ranges that hold the same number of points."""
    some = x.sample(min(len(x), TREND_DOTS), random_state=0).index
    colors = [BOUNDS.get(bound, OTHER) for bound in curve.rows.bound[some]]
    plot.add_trace(
        go.Scatter(x=x[some], y=y[some], mode="markers", showlegend=False, hoverinfo="skip",
                   marker={"color": colors, "size": 4, "opacity": 0.3}),
        1, col,
    )  # fmt: skip
    bins = bins_of(x, is_listed)
    middle = pd.DataFrame({"x": x, "y": y}).groupby(bins, observed=True).median()
    plot.add_trace(
        go.Scatter(x=middle.x, y=middle.y, mode="markers" if is_listed else "lines+markers", showlegend=False,
                   line={"color": INK, "width": 2}, marker={"color": INK, "size": 7},
                   hovertemplate="median near %{x:,.3~g}: %{y:,.4~g}<extra></extra>"),
        1, col,
    )  # fmt: skip


def _common(reading: Reading, goal: Quantity, is_trend: bool) -> pd.Series:
    """All values of an objective that curves of this kind show, so that they have one scale."""
    return goal.shown(pd.concat([curve.rows[goal.name] for curve in reading.curves if curve.is_trend == is_trend]))


def _are_apart(x: pd.Series, is_log: bool) -> bool:
    """Whether labels at the values themselves would not touch."""
    at = np.sort(np.log(x.unique()) if is_log else x.unique())
    return len(at) < 2 or bool(np.diff(at).min() > 0.11 * (at[-1] - at[0]))


def bound_ranges(x: pd.Series, bounds: pd.Series, is_log: bool, ends: list[float]) -> list[tuple[float, float, str]]:
    """Ranges of an axis and their bound; one ends midway between two points whose bounds differ."""
    at, names = x.to_numpy(float), list(bounds)
    low, high = (10.0 ** ends[0], 10.0 ** ends[1]) if is_log else (ends[0], ends[1])
    found, start = [], low
    for n in range(1, len(at) + 1):
        if n == len(at) or names[n] != names[n - 1]:
            middle = high if n == len(at) else (at[n - 1] * at[n]) ** 0.5 if is_log else (at[n - 1] + at[n]) / 2
            found.append((float(start), float(middle), str(names[n - 1])))
            start = middle
    return found
