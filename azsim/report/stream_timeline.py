"""The timeline of a stream: the sound, the words, and what every actor did, on one time axis to zoom into.

An interval is a rectangle whose outline is a pixel wide, so that what is shorter than a pixel is drawn as one pixel and
is never merged with its neighbors or left out. A lane is one trace: thousands of rectangles are one path to the
browser. The log keeps the first minute; of more than ``MOST_DRAWN`` intervals those are drawn that begin first, and the
page says until when.
"""

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from azsim.listen import Heard
from azsim.report.figures import GRID, INK, OPS, style
from azsim.report.quantity import figure as digits
from azsim.report.stream_trace import MOMENTS, Interval, lanes_of, microphone, words_said

MOST_DRAWN = 20_000
ENVELOPE_PER_S = 100  # pairs of least and largest sample
MOST_LETTERS = 24
HALF = 0.34  # of a lane's height
LANE_COLORS = {"microphone": "#64748b", "host core": "#94a3b8", "speculative end-pointer": "#f59e0b",
               "final end-pointer": "#dc2626", "uplink": "#0891b2",
               "cloud": "#7c3aed", "answer": "#059669"}  # fmt: skip
WAIT = "rgba(245, 158, 11, 0.13)"


def network_colors(heard: Heard) -> dict[str, str]:
    """A color for each network, the same in every figure."""
    return {name: OPS[n % len(OPS)] for n, name in enumerate(heard.scenario.networks)}


def drawn_until_s(heard: Heard) -> float:
    """Seconds from which on intervals are left out, inf if all are drawn."""
    starts = sorted(interval[2] for interval in heard.stream.log.intervals)
    return starts[MOST_DRAWN] / heard.chip.clock_hz if len(starts) > MOST_DRAWN else float("inf")


def utterance_ranges(heard: Heard) -> list[list[float]]:
    """Stretches of the time axis to jump to: each recording of the first minute with its answer, and then all of it."""
    hz, ranges = heard.chip.clock_hz, []
    answered = {answer.utterance: answer.answer_s for answer in heard.stream.answers}
    for number, (_, _, start, end, _) in enumerate(microphone(heard)):
        last = max(end / hz, answered.get(number, 0.0))
        ranges.append([start / hz - 0.15, last + 0.25])
    ends = [interval[3] for interval in heard.stream.log.intervals]
    return [*ranges, [-0.15, max(ends, default=1) / hz + 0.25]]


def timeline_figure(heard: Heard) -> go.Figure:
    """Sound and words above a lane for every actor."""
    lanes = lanes_of(heard)
    shares = background_shares(heard)
    height = 190 + 36 * (len(lanes) + len(shares))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.03, row_heights=[110 / height, 1])
    _draw_sound(figure, heard)
    until = drawn_until_s(heard) * heard.chip.clock_hz
    colors = LANE_COLORS | network_colors(heard)
    for n, lane in enumerate(lanes):
        intervals = [i for i in heard.stream.log.intervals if i[0] == lane and i[2] < until]
        color = colors.get(lane, "#94a3b8")
        trace = _moments if lane in MOMENTS else _rectangles
        figure.add_trace(trace(intervals, heard.chip.clock_hz, n, color, _title(lane)), 2, 1)
    end_s = utterance_ranges(heard)[-1][1]
    for n, (name, share) in enumerate(shares.items(), len(lanes)):
        figure.add_trace(_band(name, share, n, end_s), 2, 1)
    _shade_waits(figure, heard)
    titles = [*(_title(lane) + _share(heard, lane) for lane in lanes)]
    titles += [f"{html.escape(name)}<br><i>{100 * share:.2g} % of DRAM</i>" for name, share in shares.items()]
    figure.update_yaxes(range=[len(titles) - 0.4, -0.6], tickvals=list(range(len(titles))), ticktext=titles,
                        showgrid=False, fixedrange=True, row=2, col=1)  # fmt: skip
    figure.update_xaxes(range=utterance_ranges(heard)[0], title_text="time of the stream, s", row=2, col=1)
    styled = style(figure, height)
    styled.update_layout(dragmode="zoom", showlegend=False, hovermode="closest", margin={"t": 8})
    return styled


def background_shares(heard: Heard) -> dict[str, float]:
    """Share of the DRAM bus that each stream of somebody else's traffic takes."""
    background = heard.stream.background
    return dict(zip(background.names, (background.busy / background.period).tolist(), strict=True))


def _share(heard: Heard, lane: str) -> str:
    """How much of the time a network has the chip: what is drawn a pixel wide looks busier than it is."""
    if lane not in heard.scenario.networks:
        return ""
    share = heard.stream.chip.busy_cycles.get(lane, 0) / max(1, heard.stream.total_cycles)
    return f"<br><i>{100 * share:.2g} % of chip</i>"


def _title(lane: str) -> str:
    return html.escape(lane).replace(" end-pointer", "<br>end-pointer")


def _draw_sound(figure: go.Figure, heard: Heard) -> None:
    """Least and largest samples of every hundredth of a second, and each word at the end of the frame that said it."""
    hz, utterances = heard.chip.clock_hz, heard.scenario.utterances
    xs: list[np.ndarray] = []
    ys: list[np.ndarray] = []
    rate = heard.ear.front.sample_rate_hz
    step = max(1, rate // ENVELOPE_PER_S)
    for number, (_, _, start, _, _) in enumerate(microphone(heard)):
        samples = heard.ear.hear(utterances[number % len(utterances)]).samples
        blocks = samples[: len(samples) // step * step].reshape(-1, step)
        at = start / hz + (np.arange(len(blocks)) + 0.5) * step / rate
        xs += [at, at[::-1], np.array([np.nan])]
        ys += [blocks.max(axis=1), blocks.min(axis=1)[::-1], np.array([np.nan])]
    x, y = (np.concatenate(parts) if parts else np.array([]) for parts in (xs, ys))
    top = float(np.nanmax(np.abs(y))) if len(y) else 1.0
    sound = go.Scatter(x=x, y=y, fill="toself", mode="none", fillcolor="#64748b", hoverinfo="skip")
    figure.add_trace(sound, 1, 1)
    words = words_said(heard)
    figure.add_trace(
        go.Scatter(
            x=[w.cycle / hz for w in words], y=[(1.35, 2.05)[n % 2] * top for n in range(len(words))], mode="text",
            text=[html.escape(w.text[:MOST_LETTERS]) for w in words], textfont={"size": 12, "color": INK},
            customdata=[w.frame for w in words],
            hovertemplate="“%{text}”, said by frame %{customdata}, which ends at %{x:.3f} s<extra></extra>",
        ), 1, 1,
    )  # fmt: skip
    figure.update_yaxes(range=[-1.1 * top, 2.6 * top], showticklabels=False, showgrid=False, fixedrange=True,
                        row=1, col=1)  # fmt: skip


def _rectangles(intervals: list[Interval], hz: float, lane: int, color: str, title: str) -> go.Scatter:
    """Every interval of a lane as one path: round each rectangle, and a gap."""
    start = np.array([i[2] for i in intervals], float) / hz
    end = np.array([i[3] for i in intervals], float) / hz
    gap = np.full(len(intervals), np.nan)
    x = np.stack([start, end, end, start, start, gap], axis=1).ravel()
    low, high = lane - HALF, lane + HALF
    y = np.tile(np.array([low, low, high, high, low, np.nan], np.float32), len(intervals))
    says: dict[str, Any] = {"customdata": np.repeat((1e3 * (end - start)).astype(np.float32), 6)}
    template = f"{title}: %{{customdata:.4g}} ms<extra></extra>"
    if all(i[1] == i[0] for i in intervals):  # a network: every piece is called as the lane is
        says["hovertemplate"] = template
    else:
        says["text"] = [text for i in intervals for text in [_about(i)] * 6]
        says["hovertemplate"] = template.replace("<extra>", "<br>%{text}<extra>")
    return go.Scatter(
        x=x, y=y, mode="lines", fill="toself", fillcolor=_faded(color), hoveron="points",
        line={"width": 1, "color": color, "simplify": False}, **says,
    )  # fmt: skip


def _about(interval: Interval) -> str:
    said = str(interval[4].get("said", ""))
    return html.escape(f"{interval[1]}: {said}" if said else interval[1])


def _moments(intervals: list[Interval], hz: float, lane: int, color: str, title: str) -> go.Scatter:
    title = title.replace("<br>", " ")
    return go.Scatter(
        x=[i[2] / hz for i in intervals], y=[lane] * len(intervals), mode="markers",
        marker={"symbol": "diamond", "size": 11, "color": color, "line": {"color": "white", "width": 1}},
        text=[html.escape(i[1]) for i in intervals],
        hovertemplate=title + " at %{x:.6f} s<br>“%{text}”<extra></extra>",
    )  # fmt: skip


def _band(name: str, share: float, lane: int, end_s: float) -> go.Scatter:
    """Background traffic: a band as high as its share of the bus, on a line that is the lane's floor."""
    floor = lane + HALF
    top = floor - 2 * HALF * share
    return go.Scatter(
        x=[0, end_s, end_s, 0, 0], y=[floor, floor, top, top, floor], mode="lines", fill="toself",
        fillcolor="#cbd5e1", line={"width": 1, "color": "#94a3b8"}, hoveron="fills",
        name=f"{html.escape(name)}: {digits(100 * share)} % of the DRAM bus", hoverinfo="name",
        hoverlabel={"namelength": -1},
    )  # fmt: skip


def _shade_waits(figure: go.Figure, heard: Heard) -> None:
    """From the end of speech to the answer: what the person waits."""
    n_shown = len(microphone(heard))
    for answer in heard.stream.answers:
        if answer.utterance < n_shown and answer.answer_s > answer.speech_end_s:
            figure.add_vrect(x0=answer.speech_end_s, x1=answer.answer_s, fillcolor=WAIT, line_width=0, layer="below")
    lanes = len(lanes_of(heard)) + len(heard.stream.background.names)
    for n in range(lanes):
        figure.add_hline(y=n + 0.5, line={"color": GRID, "width": 1}, layer="below", row=2, col=1)


def _faded(color: str) -> str:
    red, green, blue = (int(color[n : n + 2], 16) for n in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.75)"
