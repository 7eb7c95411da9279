"""``azsim sweep``: the points of a space, run by all cores or a cluster into a store."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from azsim.cli.console import QuietOption, err, escape, out, user_errors
from azsim.report.page import number
from azsim.sweep import Store, Watcher, load_space, sweep
from azsim.sweep.run import Plan
from azsim.sweep.space import Space
from azsim.sweep.store import Row
from azsim.sweep.work import Fidelity

StoreOption = Annotated[Path, typer.Option("--store", help="SQLite file of results; made if it is not there")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", "-n", min=0, help="processes; one per core by default, 0: this one")
]
ClusterOption = Annotated[
    str | None, typer.Option(help="address of a Dask scheduler, e.g. tcp://host:8786, instead of local processes")
]
MixedOption = Annotated[
    bool, typer.Option("--mixed", help="keep results of networks of one name with different weights in one store")
]
BEST = ("latency_p95_ms", "energy_working_uj", "dram_read_bytes", "area_mm2")
BEST_STREAM = ("deadline_misses", "felt_latency_p95_ms", "stream_energy_uj", "dram_left_bytes_per_s", "area_mm2")
REFRESH_PER_S = 4


@contextmanager
def interruptible(store: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop a sweep in order: what was committed stays, and the reader is told how to go on."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as error:
        err.print(f"stopped; {store} keeps every point that was done. Run the same command to go on.")
        raise typer.Exit(130) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def sweep_space(
    space: Annotated[Path, typer.Argument(help="YAML file, see experiments/example_sweep.yaml")],
    store: StoreOption,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    mixed: MixedOption = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="try points again that failed")] = False,
    fidelity: Annotated[
        Fidelity | None, typer.Option(help="sampled: replay some frames, with intervals; as in the file by default")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Run every point of a space that the store does not know yet; stop and go on at any time."""
    with user_errors(), interruptible(store):
        described = load_space(space)
        if fidelity is not None:
            described = described.model_copy(update={"fidelity": fidelity})
        board = Board(is_quiet=quiet)
        with board:
            sweep(described, store, workers, cluster, is_mixed=mixed, retry_failed=retry_failed, watcher=board.watcher)
        _say_what_came(store, described, board)


def _say_what_came(store: Path, space: Space, board: "Board") -> None:
    name = space.name
    with Store(store) as opened:
        failed = opened.failures(name)
        n = opened.sweeps().get(name, 0)
    out.print(f"{name}: {n - len(failed):,} points in {store}, {board.n_done:,} of them new")
    if failed:
        out.print(f"{len(failed):,} failed, for instance:", soft_wrap=True)
        for text in list(dict.fromkeys(error for _, _, error in failed))[:3]:
            out.print(f"  {escape(text)}", soft_wrap=True)
    if board.best:
        out.print(board.table())
    tell_how_to_read(store, "", space)


def tell_how_to_read(store: Path, options: str, space: Space) -> None:
    """The page of a store, or, of streams, its table."""
    if space.scenario:
        out.print(f'\nread it: from azsim import load_results; load_results("{store}")', soft_wrap=True)
        return
    out.print(f"\nread it: azsim report {store}{options} --out {store.with_suffix('.html')}", soft_wrap=True)


class Board:
    """Progress, and the best points so far."""

    def __init__(self, is_quiet: bool) -> None:
        self.best: dict[str, Row] = {}
        self.names: tuple[str, ...] = BEST
        self.n_done = 0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TextColumn("left"), TimeRemainingColumn())  # fmt: skip
        self.bar = Progress(*columns, console=err)
        self.task = self.bar.add_task("network, recording, first point", total=None)
        self.live = Live(self.bar, console=err, refresh_per_second=REFRESH_PER_S, transient=True)
        self.is_quiet = is_quiet
        self.watcher = Watcher(self.on_plan, self.on_rows)

    def __enter__(self) -> "Board":
        if not self.is_quiet:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def on_plan(self, plan: Plan, workers: int) -> None:
        """Say how many points there are and how long they will take."""
        known = plan.n_points - len(plan.left) - len(plan.unbuildable)
        cannot = f", {len(plan.unbuildable):,} cannot be built" if plan.unbuildable else ""
        what = f"{plan.space.name}: {plan.n_points:,} points, {known:,} known already{cannot}"
        if plan.left:
            seconds = plan.expected_s(workers)
            much = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
            what += f"; about {much} for the other {len(plan.left):,} on {workers} worker{'s' if workers > 1 else ''}"
        err.print(escape(what))
        self.bar.update(self.task, description="points", total=len(plan.left))

    def on_rows(self, rows: list[Row], failures: list[tuple[str, str]]) -> None:
        """Count, and keep what is best in something."""
        self.n_done += len(rows)
        self.bar.advance(self.task, len(rows) + len(failures))
        for row in rows:
            if "deadline_misses" in row.figures:
                self.names = BEST_STREAM
            for name in self.names:
                value = row.figures.get(name)
                if value is not None and (name not in self.best or value < self.best[name].figures[name]):
                    self.best[name] = row
        self.live.update(Group(self.bar, self.table()))

    def table(self) -> Table:
        """One line per objective: the point that is best in it so far."""
        grid = Table(title="best so far", title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in ("lowest", *self.names):
            grid.add_column(column.replace("_", " "), justify="left" if column == "lowest" else "right")
        grid.add_column("chip")
        for name, row in self.best.items():
            shown = [number(row.figures[other], other) if other in row.figures else "" for other in self.names]
            grid.add_row(name.rsplit("_", 1)[0].replace("_", " "), *shown, escape(summary_of(row)))
        return grid


def summary_of(row: Row) -> str:
    """The few fields that say most about a chip."""
    array, sram, dram = row.chip["mac_array"], row.chip["weight_sram"], row.chip["dram"]
    return (
        f"{array['pes']} x {array['lanes']}, {row.chip['codec']['name']}, {sram['bytes'] / 1024:.0f} KiB, "
        f"{dram['bandwidth_bytes_per_s'] / 1e9:.2g} GB/s"
    )
