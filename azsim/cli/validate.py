"""``azsim validate``: published machines beside azsim."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.table import Table

from azsim.cli.console import QuietOption, escape, out, progress, table, user_errors
from azsim.validate import MACHINES, Row, eie_scaling, read_layers, summary, validate
from azsim.validate.suite import FIELDS


def validate_machines(
    machines: Annotated[list[str] | None, typer.Argument(help=f"of {', '.join(MACHINES)}; all by default")] = None,
    seeds: Annotated[int, typer.Option(help="draws of every layer; the range over them is printed")] = 5,
    layers: Annotated[
        Path | None, typer.Option(help="CSV of layers for EIE: " + ",".join(FIELDS) + " (the last two may be empty)")
    ] = None,
    scaling: Annotated[bool, typer.Option("--scaling", help="EIE by number of PEs and depth of the queue")] = False,
    quiet: QuietOption = False,
) -> None:
    """Reproduce published machines; print published and azsim's figures, errors, and where they are from."""
    with user_errors():
        own = read_layers(layers) if layers is not None else None
        chosen = machines or (["eie"] if own else list(MACHINES))
        with progress(quiet) as tell:
            rows = validate(chosen, seeds, own, tell)
            points = eie_scaling() if scaling else []
        for title, is_band in (("reproduced", False), ("plausibility bands: not the same machine", True)):
            if any(row.is_band == is_band for row in rows):
                out.print(_validation(title, [row for row in rows if row.is_band == is_band]))
        for line in summary(rows):
            out.print(line)
        if points:
            _print_scaling(points)


def _validation(title: str, rows: list[Row]) -> Table:
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column, justify in (("machine", "left"), ("what", "left"), ("published", "right"), ("azsim", "right"),
                            ("range", "right"), ("error", "right"), ("mark", "left"), ("note", "left")):  # fmt: skip
        is_wide = column in ("what", "note")
        grid.add_column(column, justify=justify, overflow="fold", no_wrap=not is_wide)  # type: ignore[arg-type]
    for row in rows:
        spread = "" if row.low is None or row.high is None else f"{row.low:.3g} to {row.high:.3g}"
        has_error = row.error == row.error
        grid.add_row(
            row.machine,
            row.what,
            f"{row.published:.4g} {row.unit}" if has_error else "",
            f"{row.azsim:.4g} {row.unit}",
            spread,
            f"{100 * row.error:+.1f} %" if has_error and not row.is_band else "",
            row.mark,
            escape(row.note),
        )
    return grid


def _print_scaling(points: list[dict[str, float | str]]) -> None:
    frame = pd.DataFrame(points)
    for sweep, column, title in (
        ("pes", "speedup_over_1_pe", "EIE: speed-up over one PE, by PEs"),
        ("queue", "load_balance", "EIE: busy share of the PEs, by depth of the queue"),
    ):
        own = frame[frame.sweep == sweep].pivot(index="layer", columns="value", values=column).reset_index()
        own.columns = [str(name) for name in own.columns]
        out.print(table(title, own, list(own.columns)))
