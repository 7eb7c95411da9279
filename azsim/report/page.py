"""One self-contained HTML page of a run: works offline, on a desk and on a phone."""

import html
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from azsim.chip import Described
from azsim.report import figures
from azsim.report.tables import Tables
from azsim.simulate import Run

TEMPLATES = Path(__file__).parent / "templates"
PERCENT = ("share", "weight_density", "activation_density", "energy_saved_over_dense")


def render(run: Run, tables: Tables, dense_energy: pd.DataFrame, described: Described) -> str:
    """The page as text.

    Parameters
    ----------
    run, tables
    dense_energy : DataFrame
        Energy by component of the dense baseline.
    described : Described
        The chip with its sources.
    """
    plots = {
        "latency": figures.latency_figure(run, tables),
        "cycles": figures.cycles_figure(tables, run.chip.clock_hz),
        "stall_tree": figures.stall_tree_figure(tables, run.chip.clock_hz),
        "roofline": figures.roofline_figure(run, tables),
        "codecs": figures.codec_figure(tables),
        "energy": figures.energy_figure(tables, dense_energy),
    }
    return template("page.html").render(
        h=tables.headline,
        notes=run.notes,
        audio_name=Path(run.speech.path).name,
        chip_description=described.chip.description,
        cards=_cards(tables.headline),
        latency_sentence=_latency_sentence(tables),
        wait_sentence=_wait_sentence(tables),
        stall_sentence=_stall_sentence(tables),
        energy_sentence=_energy_sentence(tables),
        figures={name: plot(figure, name) for name, figure in plots.items()},
        tables={
            "latency": table(tables.latency),
            "accounts": table(tables.accounts),
            "energy_lines": table(tables.energy_lines),
            "savings": table(tables.savings),
            "stall_tree": table(tables.stall_tree),
            "stall_tree_ops": table(tables.stall_tree_ops),
            "area": table(tables.area),
            "bandwidth": table(tables.bandwidth),
            "tensors": table(tables.tensors),
            "density": table(tables.density),
            "coverage": table(tables.coverage),
            "chip": table(sources_table(described)),
        },
        coverage_line=tables.coverage_line,
        plotly_js=Markup(get_plotlyjs()),
    )


def sources_table(described: Described) -> pd.DataFrame:
    """The chip's numbers with marks and sources."""
    return pd.DataFrame(
        [
            {"field": s.path, "value": str(s.value), "mark": s.mark, "source": s.source, "meaning": s.description}
            for s in described.sources.values()
        ]
    )


def template(name: str) -> jinja2.Template:
    """A page to be filled; it fails on what is missing and escapes what is filled in."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(name)


def plot(figure: go.Figure, name: str) -> Markup:
    """A figure as a part of a page that holds plotly.js once."""
    return Markup(
        figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=f"plot-{name}",
            config={"responsive": True, "displayModeBar": False},
        )
    )  # fmt: skip


def number(value: Any, column: str) -> str:
    """A figure for people: thousands separated, four significant digits, shares in percent."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if pd.isna(value):
        return "–"
    if column in PERCENT:
        return f"{100 * value:.1f} %"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(frame: pd.DataFrame) -> Markup:
    """A data frame as an HTML table; numbers to the right, units from the column names."""
    numeric = {c: pd.api.types.is_numeric_dtype(frame[c]) and frame[c].dtype != bool for c in frame.columns}
    head = "".join(f'<th class="{"num" if numeric[c] else ""}">{html.escape(_label(c))}</th>' for c in frame.columns)
    rows = []
    for row in frame.itertuples(index=False):
        cells = []
        for column, value in zip(frame.columns, row, strict=True):
            text = html.escape(number(value, column))
            kind = "num" if numeric[column] else "text" if column in ("source", "meaning") else ""
            if column == "mark":
                text = f'<span class="{text}">{text}</span>'
            cells.append(f'<td class="{kind}">{text}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return Markup(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")


UNITS = {"cycles": "cycles", "bytes": "B", "ms": "ms", "uj": "µJ", "macs": "MACs"}


def _label(column: str) -> str:
    *words, last = column.split("_")
    if column.endswith("_bytes_per_s"):
        return column.removesuffix("_bytes_per_s").replace("_", " ") + ", B/s"
    if last in UNITS and words:
        return f"{' '.join(words)}, {UNITS[last]}"
    return column.replace("_", " ")


def scaled(value: float, unit: str) -> str:
    """Three significant digits with an SI prefix; ``unit`` is the base unit."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _cards(h: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"value": f"{h['latency_p95_ms']:.3g} ms", "label": "frame latency, 95th percentile"},
        {"value": f"{h['real_time_factor']:.3g}", "label": "real-time factor, below 1 keeps up"},
        {"value": scaled(h["dram_bytes_per_s_of_audio"], "B/s"), "label": "DRAM traffic while listening"},
        {
            "value": scaled(h["energy_while_working_uj"] * 1e-6, "J"),
            "label": f"while the chip works ({scaled(h['energy_while_working_low_uj'] * 1e-6, 'J')} to "
            f"{scaled(h['energy_while_working_high_uj'] * 1e-6, 'J')})",
        },
        {
            "value": scaled(h["energy_whole_utterance_uj"] * 1e-6, "J"),
            "label": f"over the whole utterance ({scaled(h['energy_whole_utterance_low_uj'] * 1e-6, 'J')} to "
            f"{scaled(h['energy_whole_utterance_high_uj'] * 1e-6, 'J')})",
        },
        {"value": f"{h['speedup_over_dense']:.2f} x", "label": "faster than the dense baseline"},
    ]


def _latency_sentence(tables: Tables) -> str:
    arms = tables.latency[tables.latency.frames_of != "all frames"]
    if arms.empty:
        return ""
    parts = [f"{row.frames_of} on {100 * row.share:.0f} % of frames" for row in arms.itertuples()]
    return f"Arms taken: {', '.join(parts)}."


def _wait_sentence(tables: Tables) -> str:
    h = tables.headline
    if not h["waits_most_for"]:
        return "The MAC array never waits."
    what = {
        "dma": "DRAM", "decoder": "the decoder", "input": "results of earlier ops", "output": "accumulators",
        "branch": "the branch decision", "slot": "a tile slot", "queue": "queues",
    }[h["waits_most_for"]]  # fmt: skip
    busy = int(tables.ops.mac_cycles.sum())
    return (
        f"The MAC array waits most for {what}: {h['waits_most_for_cycles']:,} cycles against {busy:,} busy ones, "
        f"most of all in {h['waits_most_in']}. Floors: compute {h['compute_bound_cycles']:,}, "
        f"bandwidth {h['bandwidth_bound_cycles']:,}, decode {h['decode_bound_cycles']:,} cycles."
    )


def _stall_sentence(tables: Tables) -> str:
    parts, together = tables.stall_tree.iloc[:-1], tables.stall_tree.iloc[-1]
    worst = parts.loc[parts.saved_cycles.idxmax()]
    if worst.saved_cycles <= 0:
        return "No part costs anything on its own."
    return (
        f"{worst.part.replace('_', ' ').capitalize()} costs most: {100 * worst.share:.1f} % of the work would go if "
        f"{worst['if ideal']}. Without all of these parts {100 * together.share:.1f} % would go. Costs do not add up, "
        "because parts hide each other."
    )


def _energy_sentence(tables: Tables) -> str:
    h = tables.headline
    return (
        f"{scaled(h['energy_while_working_uj'] * 1e-6, 'J')} while the chip works, "
        f"{scaled(h['energy_whole_utterance_uj'] * 1e-6, 'J')} over the whole utterance, where DRAM standby runs on "
        f"between frames. Against the dense baseline {100 * h['energy_saved_over_dense']:.1f} % of the whole is saved, "
        f"{100 * h['energy_saved_while_working_over_dense']:.1f} % of the work. "
        "Bars carry the bands of their coefficients."
    )
