"""What every command shares: consoles, errors without tracebacks, progress bars, tables, options."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from azsim.errors import AzsimError
from azsim.report.page import number

WIDTH_OF_A_PIPE = 140
out, err = Console(highlight=False), Console(stderr=True, highlight=False)
if not out.is_terminal:
    out = Console(highlight=False, width=WIDTH_OF_A_PIPE)

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="zoo name, .pt2 file, network folder, or package.module:function")
]
ChipOption = Annotated[str, typer.Option("--chip", "-c", help="preset (see `azsim chips`) or YAML file")]
AudioOption = Annotated[Path, typer.Option("--audio", "-a", help="a recording of speech, e.g. WAV or FLAC")]
BitsOption = Annotated[int | None, typer.Option(help="width of matrix weights, 2 to 8; the network's own by default")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar")]
SetOption = Annotated[
    list[str], typer.Option("--set", "-s", help="change a field of the chip, e.g. mac_array.pes=32; may repeat")
]


@contextmanager
def user_errors() -> Iterator[None]:
    """A user's mistake is one paragraph and exit code 2; a traceback is a defect of azsim."""
    try:
        yield
    except AzsimError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from error


def escape(text: str) -> str:
    return text.replace("[", "\\[")


@contextmanager
def progress(is_quiet: bool) -> Iterator[Callable[[str, float], None]]:
    columns = TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True, disable=is_quiet) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda stage, share: bar.update(task, description=stage, completed=share)


def table(title: str, frame: Any, columns: list[str]) -> Table:
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        is_text = frame[column].map(lambda v: isinstance(v, str)).all()
        grid.add_column(column.replace("_", " "), justify="left" if is_text else "right", overflow="fold")
    for _, row in frame.iterrows():
        grid.add_row(*(escape(number(row[column], column)) for column in columns))
    return grid
