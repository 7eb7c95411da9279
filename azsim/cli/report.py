"""``azsim report``: a store of results as one page to read, or as one table."""

from pathlib import Path
from typing import Annotated

import typer

from azsim.cli.console import escape, out, user_errors
from azsim.report.reading import OBJECTIVES, Reading
from azsim.report.sweep_page import write_sweep_page
from azsim.sweep import export, load_results


def report_store(
    store: Annotated[Path, typer.Argument(help="SQLite file that `azsim sweep` made")],
    sweep: Annotated[str | None, typer.Option(help="one sweep of the store; all of them by default")] = None,
    page: Annotated[
        Path | None, typer.Option("--out", "-o", help="page to write; the name of the store with .html by default")
    ] = None,
    objectives: Annotated[
        str, typer.Option(help="figures to compare, smaller is better, divided by commas")
    ] = ",".join(OBJECTIVES),
    table: Annotated[
        Path | None, typer.Option("--export", help="write every field and figure too, as .csv or .parquet")
    ] = None,
) -> None:
    """Make one offline page of a sweep: fronts, parallel coordinates, curves, and a table of all points."""
    with user_errors():
        names = [name.strip() for name in objectives.split(",") if name.strip()]
        place = page or store.with_suffix(".html")
        reading = write_sweep_page(store, place, sweep, names)
        if table is not None:
            export(load_results(store, sweep), table)
        _say(reading)
        out.print(f"page: {escape(str(place))} ({place.stat().st_size / 1e6:.1f} MB, works offline)", soft_wrap=True)
        if table is not None:
            out.print(f"table: {escape(str(table))}", soft_wrap=True)


def _say(reading: Reading) -> None:
    points, failed = reading.points, len(reading.failures)
    out.print(f"{escape(reading.title)}: {len(points):,} points{f', {failed:,} more failed' if failed else ''}")
    if points.empty:
        return
    feasible = points[reading.feasible]
    for goal in reading.objectives:
        out.print(f"  least {goal.label}: {goal.text_with_unit(feasible[goal.name].min())}", soft_wrap=True)
    out.print(f"  {int(points.on_front.sum()):,} on the front of all objectives")
