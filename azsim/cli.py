"""The same flow from a shell: ``azsim run``, ``azsim inspect``, ``azsim chips``, ``azsim zoo``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from azsim.chip import describe_chip, presets
from azsim.errors import AzsimError
from azsim.graph import load_network, zoo
from azsim.graph.inspect import coverage, inspect_network
from azsim.report import Tables, check_writable, write_report
from azsim.report.page import number, scaled
from azsim.simulate import baselines, simulate

app = typer.Typer(
    help="Simulate speech networks on neural edge processors: latency, bandwidth, energy.\n\n"
    "Start with: azsim run --model amnet --audio models/demo/digits_1.wav --out out/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
chips_app = typer.Typer(help="Chips that come with azsim, and the provenance of their numbers.", no_args_is_help=False)
app.add_typer(chips_app, name="chips")
WIDTH_OF_A_PIPE = 140
out, err = Console(highlight=False), Console(stderr=True, highlight=False)
if not out.is_terminal:
    out = Console(highlight=False, width=WIDTH_OF_A_PIPE)

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="zoo name, .pt2 file, network folder, or package.module:function")
]
ChipOption = Annotated[str, typer.Option("--chip", "-c", help="preset (see `azsim chips`) or YAML file")]
SetOption = Annotated[
    list[str], typer.Option("--set", "-s", help="change a field of the chip, e.g. mac_array.pes=32; may repeat")
]


@contextmanager
def _user_errors() -> Iterator[None]:
    """A user's mistake is one paragraph and exit code 2; a traceback is a defect of azsim."""
    try:
        yield
    except AzsimError as error:
        err.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from error


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


@contextmanager
def _progress(is_quiet: bool) -> Iterator[Callable[[str, float], None]]:
    columns = TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True, disable=is_quiet) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda stage, share: bar.update(task, description=stage, completed=share)


@app.command()
def run(
    audio: Annotated[Path, typer.Option("--audio", "-a", help="a recording of speech, e.g. WAV or FLAC")],
    folder: Annotated[Path, typer.Option("--out", "-o", help="folder for run.json, ops.csv and report.html")],
    model: ModelOption = "amnet",
    chip: ChipOption = "az1_like",
    overrides: SetOption = [],  # noqa: B006  (typer copies it)
    bits: Annotated[
        int | None, typer.Option(help="width of matrix weights, 2 to 8; the network's own by default")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar")] = False,
) -> None:
    """Run a network on a recording on a chip; print a summary and write the report."""
    with _user_errors():
        check_writable(folder)
        described = describe_chip(chip, overrides)
        with _progress(quiet) as tell:
            result = simulate(model, audio, described.chip, bits=bits, progress=tell)
            tell("baselines", 0.95)
            others = baselines(result)
            tell("write the report", 0.98)
            tables = write_report(result, others, described, folder)
        for note in result.notes:
            err.print(f"note: {_escape(note)}")
        _print_summary(tables)
        out.print(f"\nreport: {folder / 'report.html'}", soft_wrap=True)


def _print_summary(tables: Tables) -> None:
    h = tables.headline
    title = "(synthetic weights, no transcript)" if h["is_synthetic"] else h["transcript"] or "(no words)"
    out.print(f"\n[bold]{_escape(str(title))}[/]", soft_wrap=True)
    out.print(f"{h['network']} on {h['chip']}, {h['audio_s']:.2f} s of audio, {h['frames']} frames\n")
    latency = _table("latency per frame, ms", tables.latency, ["frames_of", "frames", "p50_ms", "p95_ms", "p99_ms"])
    out.print(latency)
    out.print(f"real-time factor {h['real_time_factor']:.4f} (working time over audio time; below 1 keeps up)\n")
    out.print(_table("DRAM traffic", tables.bandwidth, ["kind", "dram_bytes", "dram_bytes_per_s"]))
    rows = tables.energy[tables.energy.whole_utterance_uj > 0]
    shown = rows[["component", "while_working_uj", "whole_utterance_uj"]].copy()
    shown["band"] = [
        f"{a:,.4g} to {b:,.4g}" for a, b in zip(rows.while_working_low_uj, rows.while_working_high_uj, strict=True)
    ]
    total = {
        "component": "total",
        "while_working_uj": h["energy_while_working_uj"],
        "whole_utterance_uj": h["energy_whole_utterance_uj"],
        "band": f"{h['energy_while_working_low_uj']:,.4g} to {h['energy_while_working_high_uj']:,.4g}",
    }
    shown.loc[len(rows) + 1000] = total
    order = ["component", "while_working_uj", "band", "whole_utterance_uj"]
    out.print(_table("energy per utterance, uJ (band: while working)", shown, order))
    columns = ["variant", "working_ms", "speedup_over_dense", "dram_read_bytes", "energy_while_working_uj",
               "energy_saved_over_dense"]  # fmt: skip
    out.print(_table("over the dense baseline, same audio", tables.savings, columns))
    out.print(
        f"waits most for {h['waits_most_for'] or 'nothing'}: {h['waits_most_for_cycles']:,} cycles, most in "
        f"{h['waits_most_in']}; {scaled(h['dram_bytes_per_s_of_audio'], 'B/s')} from DRAM"
    )


def _table(title: str, frame: Any, columns: list[str]) -> Table:
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        is_text = frame[column].map(lambda v: isinstance(v, str)).all()
        grid.add_column(column.replace("_", " "), justify="left" if is_text else "right")
    for _, row in frame.iterrows():
        grid.add_row(*(_escape(number(row[column], column)) for column in columns))
    return grid


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="zoo name, .pt2 file, folder, or package.module:function")],
) -> None:
    """Print what a network is made of: ops, shapes, weights, MACs, and where each op runs."""
    with _user_errors():
        with _progress(False) as tell:
            tell("trace", 0.3)
            network = load_network(model)
        rows = inspect_network(network)
        grid = Table(title=f"{network.name}{' (synthetic weights)' if network.synthetic_weights else ''}", box=None)
        for name in ("graph", "arm", "op", "kind", "shape"):
            grid.add_column(name, no_wrap=name in ("graph", "op"), overflow="fold")
        for name in ("weights, biases", "MACs per run"):
            grid.add_column(name, justify="right")
        grid.add_column("runs on")
        for row in rows:
            numbers = (f"{row.weights:,}", f"{row.macs_per_run:,}")
            grid.add_row(row.graph, row.arm, row.op, row.kind, row.shape, *numbers, row.runs_on)
        out.print(grid)
        out.print(coverage(rows).line, soft_wrap=True)


@app.command("zoo")
def list_zoo() -> None:
    """List the networks that come with azsim."""
    for name in zoo():
        out.print(name)


@chips_app.callback(invoke_without_command=True)
def list_chips(context: typer.Context) -> None:
    """List the chips that come with azsim."""
    if context.invoked_subcommand is None:
        for name, description in presets().items():
            out.print(f"[bold]{name:<16}[/] {description}", soft_wrap=True)


@chips_app.command("show")
def show_chip(
    name: Annotated[str, typer.Argument(help="preset or YAML file")],
    overrides: SetOption = [],  # noqa: B006  (typer copies it)
) -> None:
    """Print one chip with the provenance of every number."""
    with _user_errors():
        described = describe_chip(name, overrides)
        out.print(f"[bold]{described.chip.name}[/]: {described.chip.description}", soft_wrap=True)
        out.print(f"peak {scaled(2 * described.chip.peak_macs_per_s, 'OP/s')} dense (a MAC is two operations)")
        grid = Table(box=None, pad_edge=False)
        for column in ("field", "value", "mark", "source"):
            grid.add_column(column, overflow="fold")
        styles = {"published": "green", "borrowed": "blue", "assumed": "yellow", "override": "magenta"}
        for source in described.sources.values():
            mark = f"[{styles[source.mark]}]{source.mark}[/]"
            grid.add_row(source.path, _escape(str(source.value)), mark, _escape(source.source))
        out.print(grid)


if __name__ == "__main__":
    app()
