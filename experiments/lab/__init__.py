"""What the experiments share: a question is a space, what to read off it, and a figure.

An experiment asks one question. Its docstring says what it expects to see and, once it has run, what it saw. Run
it as a script; ``--quick`` takes fewer values, and ``tests/golden`` keeps what comes of that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import plotly.graph_objects as go
import typer
from plotly.subplots import make_subplots

from azsim.graph import Network
from azsim.report.figures import style
from azsim.report.quantity import describe, wants_log
from azsim.sweep import export, load_results, sweep

COLORS = ("#2563eb", "#f59e0b", "#059669", "#db2777", "#7c3aed", "#64748b", "#dc2626")
DASHES = ("solid", "dash", "dot", "dashdot")
WIDE = 12  # largest over smallest value from which an axis is logarithmic


@dataclass(frozen=True)
class Question:
    """One question about many chips.

    Attributes
    ----------
    name : str
        Of its sweep, its store and its files.
    space : dict
        As ``azsim.sweep.load_space`` takes it.
    quick : dict of str to list
        Axes with fewer values, for a look and for the tests.
    x, lines : str
        Columns of the results: what to plot along, and what tells one line from another.
    panels : tuple of str
        Figures, one panel each.
    networks : callable, optional
        Makes networks that the space names.
    derive : callable, optional
        Adds columns to the results.
    """

    name: str
    space: dict[str, Any]
    quick: dict[str, Any]
    x: str
    panels: tuple[str, ...]
    lines: str = ""
    networks: Callable[[], Mapping[str, Network]] | None = None
    derive: Callable[[pd.DataFrame], pd.DataFrame] | None = None

    def asked(self, is_quick: bool) -> dict[str, Any]:
        """The space, whole or with fewer values."""
        axes = {**self.space.get("axes", {}), **(self.quick if is_quick else {})}
        return {"name": self.name, **self.space, "axes": axes}

    def table(self, store: Path, is_quick: bool = False, workers: int | None = None) -> pd.DataFrame:
        """Run what the store lacks; the axes and the panels, sorted by the axes."""
        space = self.asked(is_quick)
        sweep(space, store, workers, networks=self.networks() if self.networks else None, is_mixed=True)
        results = load_results(store, self.name)
        if self.derive:
            results = self.derive(results)
        wanted = list(dict.fromkeys([*(p for row in space.get("rows", ()) for p in row), *space["axes"]]))
        columns = list(dict.fromkeys([c for c in (self.lines, self.x) if c] + wanted + list(self.panels) + ["bound"]))
        kept = [c for c in columns if c in results]
        for path, values in space["axes"].items():  # a store may hold points of the whole space, too
            if path in results and isinstance(values, list):
                results = results[results[path].isin(values)]
        by = [c for c in (self.lines, self.x, *wanted) if c in results]
        return results.sort_values(list(dict.fromkeys(by)), kind="stable")[kept].reset_index(drop=True)

    def figure(self, table: pd.DataFrame, title: str) -> go.Figure:
        """A panel per figure, a line per value of ``lines``."""
        plot = make_subplots(rows=1, cols=len(self.panels), horizontal_spacing=0.09)
        groups = list(table.groupby(self.lines, sort=False)) if self.lines else [("", table)]
        along = describe(self.x, table[self.x])
        for column, panel in enumerate(self.panels, start=1):
            shown = describe(panel, table[panel])
            for i, (name, group) in enumerate(groups):
                trace = go.Scatter(
                    x=along.shown(group[self.x]) if along.is_number else group[self.x].map(str),
                    y=shown.shown(group[panel]), name=str(name), legendgroup=str(name), mode="lines+markers",
                    showlegend=column == 1 and bool(self.lines), line={"color": COLORS[i % len(COLORS)],
                    "dash": DASHES[i // len(COLORS) % len(DASHES)]},
                )  # fmt: skip
                plot.add_trace(trace, row=1, col=column)
            is_log = bool((table[panel] > 0).all()) and wants_log(table[panel])
            plot.update_yaxes(title_text=shown.title, row=1, col=column, **_scale(is_log))
            is_wide = along.is_number and bool((table[self.x] > 0).all()) and len(set(table[self.x])) > 2
            if is_wide and table[self.x].max() >= WIDE * table[self.x].min():
                plot.update_xaxes(type="log", tickvals=sorted(set(along.shown(table[self.x]))), row=1, col=column)
            plot.update_xaxes(title_text=along.title, row=1, col=column)
        style(plot, 420)
        plot.update_layout(
            title={"text": title, "x": 0.01, "xanchor": "left"},
            margin={"t": 90},
            legend={"title": {"text": describe(self.lines, table[self.lines]).label if self.lines else ""}},
        )
        return plot


def _scale(is_log: bool) -> dict[str, Any]:
    return {"type": "log", "dtick": 1} if is_log else {"rangemode": "tozero"}


def ask(question: Question, text: str | None) -> None:
    """Make a script of a question: its docstring is the help, and its first sentence the figure's title."""
    title = (text or "").strip().split("\n\n")[0].replace("\n", " ")

    def main(
        folder: Annotated[Path, typer.Option("--out", help="folder for store, table and figure")] = Path(
            "out/experiments"
        ),
        workers: Annotated[int | None, typer.Option(help="processes; one per core by default")] = None,
        quick: Annotated[bool, typer.Option("--quick", help="fewer values")] = False,
    ) -> None:
        table = question.table(folder / f"{question.name}.db", quick, workers)
        print(title)
        print(table.to_string(index=False, float_format=lambda v: f"{v:.5g}"))
        export(table, folder / f"{question.name}.csv")
        page = folder / f"{question.name}.html"
        question.figure(table, title).write_html(page, include_plotlyjs=True)
        print(f"figure: {page}")

    main.__doc__ = text
    typer.run(main)
