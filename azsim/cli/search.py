"""``azsim search``: the front of a space in several figures, from a share of its points."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Group
from rich.table import Table

from azsim.cli.console import QuietOption, escape, out, table, user_errors
from azsim.cli.sweep import Board, MixedOption, StoreOption, WorkersOption, interruptible, tell_how_to_read
from azsim.report.page import number
from azsim.sweep import Store, load_space
from azsim.sweep.proposals import SAMPLERS
from azsim.sweep.search import OBJECTIVES, POINTS, SAMPLER, STREAM_OBJECTIVES, SearchWatcher, search, search_name
from azsim.sweep.space import Space
from azsim.sweep.store import Row

LINES_WHILE_RUNNING, LINES = 12, 40


def search_space(
    space: Annotated[Path, typer.Argument(help="YAML file, as for `azsim sweep`; ranges need no steps here")],
    store: StoreOption,
    objectives: Annotated[
        str | None,
        typer.Option(
            help=f"figures to minimize, divided by commas; by default {','.join(OBJECTIVES)}, and of a scenario "
            f"{','.join(STREAM_OBJECTIVES)}"
        ),
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="different points to try, known ones included")] = POINTS,
    sampler: Annotated[str, typer.Option(help=" or ".join(SAMPLERS))] = SAMPLER,
    seed: Annotated[int, typer.Option(help="the same seed tries the same points")] = 0,
    workers: WorkersOption = None,
    mixed: MixedOption = False,
    quiet: QuietOption = False,
) -> None:
    """Look for the best chips of a space without running all of it; stop and go on at any time."""
    with user_errors(), interruptible(store):
        described = load_space(space, is_enumerable=False)
        usual = STREAM_OBJECTIVES if described.scenario else OBJECTIVES
        names = [name.strip() for name in objectives.split(",") if name.strip()] if objectives else list(usual)
        board = FrontBoard(described, names, points, quiet)
        with board:
            search(
                described, store, names, points, sampler, seed, workers, is_mixed=mixed, watcher=board.search_watcher
            )
        _say_what_came(store, described, points, board)


def _say_what_came(store: Path, space: Space, points: int, board: "FrontBoard") -> None:
    name, found = search_name(space), board.found
    new = f"{board.n_done:,} of them new"
    out.print(f"{escape(name)}: {board.n_tried:,} points tried, {new}; {len(found):,} ran", soft_wrap=True)
    if board.n_tried < points:
        out.print(f"no other points were found, of {points:,} asked for", soft_wrap=True)
    infeasible = int((~found["is_feasible"]).sum())
    if infeasible:
        out.print(f"{infeasible:,} do not satisfy {escape(' and '.join(space.where))}", soft_wrap=True)
    with Store(store) as opened:
        failed = list(dict.fromkeys(error for _, _, error in opened.failures(name)))
    for text in failed[:3]:
        out.print(f"failed: {escape(text)}", soft_wrap=True)
    if found["is_on_front"].any():
        out.print(board.front(LINES))
        same = board.front_axes(is_varied=False)
        if same:
            point = found[found["is_on_front"]].iloc[0]
            shared = ", ".join(f"{path} {number(point[path], path)}" for path in same)
            out.print(f"all of them: {escape(shared)}", soft_wrap=True)
    else:
        out.print("no point satisfies the conditions")
    tell_how_to_read(store, f" --sweep {name}", space)


class FrontBoard(Board):
    """Progress, and the front so far."""

    def __init__(self, space: Space, objectives: list[str], points: int, is_quiet: bool) -> None:
        super().__init__(is_quiet)
        self.objectives = objectives
        self.axes = list(dict.fromkeys([*(path for row in space.rows for path in row), *space.axes]))
        self.found = pd.DataFrame()
        self.n_tried = 0
        self.bar.update(self.task, total=points)
        self.search_watcher = SearchWatcher(self.on_rows, self.on_points)

    def on_rows(self, rows: list[Row], failures: list[tuple[str, str]]) -> None:
        """Count what was new."""
        self.n_done += len(rows) + len(failures)
        self.bar.update(self.task, description="points", advance=len(rows) + len(failures))

    def on_points(self, found: pd.DataFrame, n_tried: int) -> None:
        """Show the front of a batch and all before it."""
        self.found, self.n_tried = found, n_tried
        self.bar.update(self.task, description="points", completed=n_tried)
        self.live.update(Group(self.bar, self.front(LINES_WHILE_RUNNING)))

    def front(self, lines: int) -> Table:
        """Some points of the front from one end to the other."""
        points = self.found[self.found["is_on_front"]].sort_values(self.objectives)
        shown = points.iloc[np.unique(np.linspace(0, len(points) - 1, min(lines, len(points))).round().astype(int))]
        axes = self.front_axes(is_varied=True)
        part = f", {len(shown)} of them" if len(shown) < len(points) else ""
        return table(f"front of {len(self.found):,} points: {len(points):,}{part}", shown, [*self.objectives, *axes])

    def front_axes(self, is_varied: bool) -> list[str]:
        """Axes whose values differ along the front, or those that do not."""
        points = self.found[self.found["is_on_front"]]
        n_values = {path: points[path].map(repr).nunique() for path in self.axes if path in points}
        return [path for path, n in n_values.items() if (n > 1) == is_varied]
