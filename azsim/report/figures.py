"""The plots of a run: Plotly figures over the tables, in one visual language."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from azsim.report.tables import Tables
from azsim.simulate import Run

INK, GRID, PAPER = "#1f2933", "#e4e7eb", "rgba(0,0,0,0)"
COLORS = {"busy": "#2563eb", "output pass": "#60a5fa", "dma": "#dc2626", "decoder": "#ea580c", "slot": "#f59e0b",
          "queue": "#d97706", "input": "#a3a3a3", "output": "#7c3aed", "branch": "#db2777"}  # fmt: skip
OPS = ("#2563eb", "#f59e0b", "#059669", "#db2777", "#7c3aed", "#94a3b8")
ARMS = ("#2563eb", "#f59e0b", "#059669", "#db2777")


def style(figure: go.Figure, height: int) -> go.Figure:
    """The look that all figures share."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28, "b": 8},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
        dragmode=False,
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)
    return figure


def latency_figure(run: Run, tables: Tables) -> go.Figure:
    """Waveform with the words where they were emitted, above the latency of every frame by arm."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.35, 0.65])
    samples, rate = run.speech.samples, run.speech.config.sample_rate_hz
    step = max(1, len(samples) // 1500)
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    seconds = (np.arange(len(blocks)) + 0.5) * step / rate
    x = np.concatenate([seconds, seconds[::-1]])
    y = np.concatenate([blocks.max(axis=1), blocks.min(axis=1)[::-1]])
    figure.add_trace(
        go.Scatter(x=x, y=y, fill="toself", mode="none", fillcolor="#64748b", showlegend=False, hoverinfo="skip"), 1, 1
    )
    top = float(np.abs(samples).max()) or 1.0
    words = tables.frames[tables.frames.words != ""]
    if not run.network.synthetic_weights:
        for n, row in enumerate(words.itertuples()):
            height = (1.15, 1.75)[n % 2]  # two rows, so that neighbours do not touch on a phone
            figure.add_annotation(
                x=row.end_s, y=height * top, text=row.words, showarrow=False, row=1, col=1, font={"size": 12},
                yanchor="bottom",
            )  # fmt: skip
    for color, (arm, rows) in zip(ARMS, tables.frames.groupby("arm", sort=True), strict=False):
        figure.add_trace(
            go.Bar(
                x=rows.end_s, y=rows.latency_ms, name=f"{arm} arm" if arm != "all" else "frames", marker_color=color,
                width=0.9 * run.speech.config.frame_ms / 1e3,
                hovertemplate="frame ending at %{x:.2f} s: %{y:.3f} ms<extra>" + str(arm) + "</extra>",
            ), 2, 1,
        )  # fmt: skip
    figure.update_yaxes(range=[-1.1 * top, 2.4 * top], showticklabels=False, row=1, col=1)
    figure.update_yaxes(title_text="latency, ms", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title_text="time, s", row=2, col=1)
    return style(figure, 420)


def cycles_figure(tables: Tables, clock_hz: float) -> go.Figure:
    """Where each op's time went: computing, output pass, and waits by reason, in microseconds."""
    ops = tables.ops.iloc[::-1]
    columns = [("busy", "mac_cycles", "MAC array busy"), ("output pass", "out_cycles", "output pass (overlaps)")]
    columns += [(c[6:-7], c, f"waits: {c[6:-7]}") for c in ops.columns if c.startswith("stall_")]
    figure = go.Figure()
    for key, column, label in columns:
        figure.add_trace(
            go.Bar(
                y=ops.op, x=ops[column] / clock_hz * 1e6, orientation="h", name=label, marker_color=COLORS[key],
                hovertemplate="%{y}<br>" + label + ": %{x:,.1f} us<extra></extra>",
            )
        )  # fmt: skip
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text="microseconds over the utterance")
    return style(figure, 120 + 34 * len(ops))


def stall_tree_figure(tables: Tables, clock_hz: float) -> go.Figure:
    """What each part of the chip costs, in microseconds of work saved if it were ideal, by op."""
    ops, parts = tables.stall_tree_ops, tables.stall_tree.iloc[:-1]
    columns = [f"{part}_cycles" for part in parts.part]
    weight = ops[columns].abs().sum(axis=1)
    shown = list(weight.sort_values(ascending=False).index[:5])
    figure = go.Figure()
    pieces = [(ops.op[i], ops.loc[i, columns]) for i in shown]
    if len(ops) > len(shown):
        pieces.append(("all other ops", ops.drop(index=shown)[columns].sum()))
    labels = [part.replace("_", " ") for part in parts.part][::-1]
    for color, (op, cycles) in zip(OPS, pieces, strict=False):
        figure.add_trace(
            go.Bar(
                y=labels, x=cycles.to_numpy(float)[::-1] / clock_hz * 1e6, orientation="h", name=op, marker_color=color,
                hovertemplate="%{y} in " + op + ": %{x:,.1f} us<extra></extra>",
            )
        )  # fmt: skip
    figure.update_layout(barmode="relative")
    figure.update_xaxes(title_text="microseconds of work that would be saved")
    return style(figure, 340)


def roofline_figure(run: Run, tables: Tables) -> go.Figure:
    """Dense-equivalent MACs per second against MACs per streamed byte; pinned ops stand at the right edge."""
    chip, ops = run.chip, tables.ops[tables.ops.dense_macs > 0].copy()
    busy = ops.mac_cycles + ops[[c for c in ops.columns if c.startswith("stall_")]].sum(axis=1)
    ops["macs_per_s"] = ops.dense_macs / np.maximum(1, busy) * chip.clock_hz
    streamed = ops.streamed_bytes > 0
    intensity = np.where(streamed, ops.dense_macs / np.maximum(1, ops.streamed_bytes), np.nan)
    right = float(max(1000.0, 4 * np.nanmax(intensity) if streamed.any() else 1000.0))
    ops["intensity"] = np.where(streamed, intensity, right)
    x = np.logspace(-1, np.log10(right * 2), 200)
    roof = np.minimum(chip.peak_macs_per_s, x * chip.dram.bandwidth_bytes_per_s)
    figure = go.Figure()
    figure.add_trace(go.Scatter(x=x, y=roof, mode="lines", line={"color": INK, "width": 2},
                                name="roof without skipping",
                                hovertemplate="%{x:.3g} MAC/B: %{y:.3g} MAC/s<extra>roof</extra>"))  # fmt: skip
    for chosen, label, color in ((streamed, "streamed weights", "#dc2626"), (~streamed, "pinned weights", "#2563eb")):
        part = ops[chosen]
        figure.add_trace(
            go.Scatter(
                x=part.intensity, y=part.macs_per_s, mode="markers", name=label,
                marker={"size": 11, "color": color, "line": {"width": 1, "color": "white"}}, text=part.op,
                hovertemplate="%{text}<br>%{x:.3g} dense MACs per DRAM byte<br>%{y:.3g} dense MACs/s<extra></extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(type="log", title_text="dense MACs per streamed byte (pinned: right edge)")
    figure.update_yaxes(type="log", title_text="dense MACs per second", exponentformat="SI")
    return style(figure, 420)


def energy_figure(tables: Tables, dense: pd.DataFrame) -> go.Figure:
    """Energy while the chip works by component, with bands, beside the dense baseline."""
    figure = go.Figure()
    for frame, label, color in ((dense, "dense baseline", "#cbd5e1"), (tables.energy, "this chip", "#2563eb")):
        shown = frame[tables.energy.while_working_uj + dense.while_working_uj > 0].iloc[::-1]
        figure.add_trace(
            go.Bar(
                y=shown.component.str.replace("_", " "), x=shown.while_working_uj, orientation="h", name=label,
                marker_color=color,
                error_x={
                    "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": "#475569",
                    "array": shown.while_working_high_uj - shown.while_working_uj,
                    "arrayminus": shown.while_working_uj - shown.while_working_low_uj,
                },
                hovertemplate="%{y}: %{x:,.3g} uJ<extra>" + label + "</extra>",
            )
        )  # fmt: skip
    figure.update_layout(barmode="group", bargap=0.25)
    figure.update_xaxes(
        type="log", title_text="microjoules per utterance, while the chip works (log)", exponentformat="SI"
    )
    return style(figure, 520)


def codec_figure(tables: Tables) -> go.Figure:
    """Bytes of all weights under each codec, with the entropy of single weights as a line."""
    codecs = tables.codecs
    weights_bytes = codecs.stored_bytes / codecs.bits_per_weight * codecs.entropy_bits_per_weight
    colors = ["#2563eb" if own else "#cbd5e1" for own in codecs.is_this_chip]
    labels = codecs.codec.str.replace("_", " ")
    figure = go.Figure(
        go.Bar(
            x=labels, y=codecs.stored_bytes / 1e6, marker_color=colors, showlegend=False,
            text=[f"{bits:.2f} bit" for bits in codecs.bits_per_weight], textposition="outside", cliponaxis=False,
            hovertemplate="%{x}: %{y:.3f} MB<extra></extra>",
        )
    )  # fmt: skip
    entropy = f"entropy of single weights, {codecs.entropy_bits_per_weight.iloc[0]:.2f} bit"
    figure.add_trace(go.Scatter(x=labels, y=weights_bytes / 1e6, mode="lines", line={"dash": "dot", "color": INK},
                                name=entropy, hoverinfo="skip"))  # fmt: skip
    figure.update_yaxes(title_text="MB in DRAM", rangemode="tozero", range=[0, codecs.stored_bytes.max() * 1.2e-6])
    return style(figure, 360)
