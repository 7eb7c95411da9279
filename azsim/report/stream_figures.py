"""The plots of a stream but for its timeline: what the person waits, what frames wait for, where the energy goes."""

import html

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from azsim.listen import Heard
from azsim.report.figures import INK, style
from azsim.report.stream_tables import StreamTables
from azsim.report.stream_timeline import network_colors
from azsim.stream import Stream
from azsim.stream.books import WAITED_FOR

MOST_UTTERANCES = 40
STEPS = {"to the speculative decision": "#fbbf24", "to the final decision": "#60a5fa", "to the answer": "#2563eb"}
CAUSES = {"queue": ("own frames before it", "#1e3a8a"), "chip": ("the chip is busy with others", "#2563eb"),
          "wake_up": ("waking up", "#7c3aed"),
          "cold": ("tiles thrown out by others", "#ea580c"), "dram": ("background DRAM traffic", "#dc2626"),
          "host": ("the host core", "#94a3b8")}  # fmt: skip
STATES = {"run": "#2563eb", "gated": "#60a5fa", "retention": "#cbd5e1"}


def latency_figure(heard: Heard) -> go.Figure:
    """What the person waits for each answer, step by step; beside it the same without speculation, hatched."""
    figure = go.Figure()
    cases = [("with speculation", heard.stream, -0.42), ("without", heard.plain, 0.02)]
    if heard.plain is heard.stream:
        cases = [("", heard.stream, -0.3)]
    for case, stream, offset in cases:
        steps = _steps(stream)
        for step, color in STEPS.items():
            rows = [row for row in steps if row[1] == step]
            if not rows:
                continue
            pattern = {"shape": "/", "fgcolor": "white", "size": 6, "solidity": 0.25} if case == "without" else {}
            label = f"{step}{', ' + case if case else ''}"
            figure.add_trace(
                go.Bar(
                    x=[row[0] for row in rows], base=[row[2] for row in rows], y=[row[3] - row[2] for row in rows],
                    offset=offset, width=0.4 if case else 0.6, name=label, marker={"color": color, "pattern": pattern},
                    customdata=[[row[2], row[3]] for row in rows],
                    hovertemplate="utterance %{x}: %{customdata[0]:,.4g} to %{customdata[1]:,.4g} ms<extra>" + label
                    + "</extra>",
                )
            )  # fmt: skip
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title_text="utterance", dtick=1 if len(heard.stream.answers) < 16 else None, showgrid=False)
    figure.update_yaxes(title_text="ms since the end of speech", rangemode="tozero")
    return style(figure, 380)


def _steps(stream: Stream) -> list[tuple[int, str, float, float]]:
    """(utterance, step, from, to) in ms since the end of speech; a decision before it counts from there."""
    out = []
    for answer in stream.answers[:MOST_UTTERANCES]:
        edges = [answer.speculative_s, answer.final_s, answer.answer_s]
        before = 0.0
        for step, edge in zip(STEPS, edges, strict=True):
            at = (edge - answer.speech_end_s) * 1e3
            if at > before:  # not nan, and not before what came already
                out.append((answer.utterance, step, before, at))
                before = at
    return out


def backlog_figure(heard: Heard) -> go.Figure:
    """Frames that wait, at the largest of each stretch of time."""
    log, rows = heard.stream.log, max(1, len(heard.stream.log.backlog))
    bin_s = log.bin_cycles / log.clock_hz
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.22 / rows,
                           subplot_titles=[html.escape(name) for name in log.backlog])  # fmt: skip
    for row, (name, series) in enumerate(log.backlog.items(), 1):
        color = network_colors(heard)[name]
        figure.add_trace(
            go.Scatter(
                x=np.arange(len(series)) * bin_s, y=series, mode="lines", name=html.escape(name), fill="tozeroy",
                line={"shape": "hv", "width": 1, "color": color}, fillcolor=color, showlegend=False,
                hovertemplate="%{y:,} frames at %{x:.2f} s<extra>" + html.escape(name) + "</extra>",
            ), row, 1,
        )  # fmt: skip
        top = int(series.max())
        figure.update_yaxes(range=[0, 1.1 * max(1, top)], tickvals=[0, max(1, top)], row=row, col=1)
    figure.update_xaxes(title_text="time of the stream, s", row=rows, col=1)
    figure.update_annotations(font={"size": 12}, x=0, xanchor="left")
    return style(figure, 90 + 84 * rows)


def waits_figure(tables: StreamTables) -> go.Figure:
    """Mean wait of a frame by cause."""
    waits, figure = tables.waits.iloc[::-1], go.Figure()
    names = [html.escape(name) for name in waits.network]
    for cause in WAITED_FOR:
        label, color = CAUSES.get(cause, (cause, "#a3a3a3"))
        hover = "%{y}: %{x:,.4g} µs<extra>" + label + "</extra>"
        figure.add_trace(go.Bar(y=names, x=waits[f"{cause}_us"], orientation="h", name=label, marker_color=color,
                                hovertemplate=hover))  # fmt: skip
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    figure.update_xaxes(title_text="µs that a frame waits on average")
    return style(figure, 210 + 36 * len(waits))


def energy_figure(tables: StreamTables) -> go.Figure:
    """Energy by component with the bands of its coefficients."""
    shown = tables.energy.iloc[::-1]
    each = shown.per_utterance_uj / shown.uj
    figure = go.Figure(
        go.Bar(
            y=shown.component.str.replace("_", " "), x=shown.per_utterance_uj, orientation="h", marker_color="#2563eb",
            error_x={
                "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": "#475569",
                "array": (shown.high_uj - shown.uj) * each, "arrayminus": (shown.uj - shown.low_uj) * each,
            },
            hovertemplate="%{y}: %{x:,.4g} µJ<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(type="log", title_text="µJ per utterance (log)", exponentformat="SI", nticks=6)
    return style(figure, 110 + 26 * len(shown))


def states_figure(tables: StreamTables) -> go.Figure:
    """Share of the time and of the energy that each power state has."""
    states, figure = tables.states, go.Figure()
    energy = states.standing_uj + states.work_uj
    total = max(1e-12, float(energy.sum()))
    for row, uj in zip(states.itertuples(), energy, strict=True):
        figure.add_trace(
            go.Bar(
                y=["energy", "time"], x=[100 * uj / total, 100 * row.share], orientation="h", name=str(row.state),
                marker_color=STATES.get(str(row.state), "#a3a3a3"),
                hovertemplate="%{x:.3g} % of the %{y}<extra>" + str(row.state) + "</extra>",
            )
        )  # fmt: skip
    figure.update_layout(barmode="stack", bargap=0.35, legend_traceorder="normal")
    figure.update_xaxes(title_text="%", range=[0, 100.5])
    return style(figure, 190)


def utilization_figure(utilization: pd.DataFrame) -> go.Figure:
    """Share of the time in which each part is busy."""
    shown = utilization.iloc[::-1]
    percent = 100 * shown.utilization
    figure = go.Figure(
        go.Bar(
            y=shown.part, x=percent, orientation="h", marker_color="#2563eb",
            text=[f"{value:.2g} %" for value in percent], textposition="outside", cliponaxis=False,
            textfont={"color": INK}, hovertemplate="%{y}: %{x:.3g} % of the time<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="% of the time", range=[0, max(1.0, 1.25 * float(percent.max()))])
    return style(figure, 250)
