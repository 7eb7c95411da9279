"""The same flow from a shell: ``azsim run``, ``explain``, ``validate``, ``inspect``, ``chips``, ``zoo``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from azsim.chip import Chip, describe_chip, presets
from azsim.energy import Band, area, peak
from azsim.errors import AzsimError, LawError
from azsim.explain import explain
from azsim.graph import load_network, zoo
from azsim.graph.inspect import coverage, inspect_network
from azsim.report import Tables, check_writable, write_report, write_trace
from azsim.report.page import number, scaled
from azsim.simulate import Run, baselines, check_run, simulate
from azsim.timing.check import Agreement
from azsim.validate import MACHINES, Row, eie_scaling, read_layers, summary, validate
from azsim.validate.suite import FIELDS

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
AudioOption = Annotated[Path, typer.Option("--audio", "-a", help="a recording of speech, e.g. WAV or FLAC")]
BitsOption = Annotated[int | None, typer.Option(help="width of matrix weights, 2 to 8; the network's own by default")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar")]
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
    audio: AudioOption,
    folder: Annotated[Path, typer.Option("--out", "-o", help="folder for run.json, ops.csv and report.html")],
    model: ModelOption = "amnet",
    chip: ChipOption = "az1_like",
    overrides: SetOption = [],  # noqa: B006  (typer copies it)
    bits: BitsOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="time the first frames on the SimPy reference machine too, and compare")
    ] = False,
    trace: Annotated[Path | None, typer.Option(help="write a trace for ui.perfetto.dev, .json or .json.gz")] = None,
    quiet: QuietOption = False,
) -> None:
    """Run a network on a recording on a chip; print a summary and write the report."""
    with _user_errors():
        check_writable(folder)
        if trace is not None:
            check_writable(trace.parent)
        described = describe_chip(chip, overrides)
        with _progress(quiet) as tell:
            result = simulate(model, audio, described.chip, bits=bits, progress=tell)
            tell("baselines", 0.95)
            others = baselines(result)
            tell("the stall tree", 0.96)
            tree = explain(result)
            tell("write the report", 0.97)
            tables = write_report(result, others, described, folder, tree)
            if trace is not None:
                write_trace(result, trace)
            if check:
                tell("the reference machine", 0.98)
                agreement = check_run(result)
        for note in result.notes:
            err.print(f"note: {_escape(note)}")
        _print_summary(tables)
        if check:
            _print_agreement(agreement, result)
        if trace is not None:
            out.print(f"\ntrace: {trace} (open it at ui.perfetto.dev)", soft_wrap=True)
        out.print(f"\nreport: {folder / 'report.html'}", soft_wrap=True)


def _print_agreement(agreement: Agreement, result: Run) -> None:
    """One line if every edge is equal; an error that shows the first that is not."""
    frames = f"the first {agreement.n_frames} of {result.execution.record.n_frames} frames"
    if agreement.difference:
        raise LawError(
            f"`recurrences = reference machine` must hold, but on {frames} {agreement.difference}: a defect of azsim, "
            f"please report it"
        )
    edges = ", ".join(f"{n:,} {kind}" for kind, n in agreement.edges.items())
    out.print(
        f"\nchecked: recurrences and the SimPy reference machine agree on every edge of {frames} up to cycle "
        f"{agreement.end_cycle:,}: {edges}"
    )


@app.command("explain")
def explain_run(
    audio: AudioOption,
    model: ModelOption = "amnet",
    chip: ChipOption = "az1_like",
    overrides: SetOption = [],  # noqa: B006  (typer copies it)
    bits: BitsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Print the stall tree: what each part of the chip costs, found by making one at a time ideal."""
    with _user_errors():
        with _progress(quiet) as tell:
            result = simulate(model, audio, chip, overrides, bits, lambda stage, share: tell(stage, 0.8 * share))
            tree = explain(result, lambda stage, share: tell(stage, 0.8 + 0.2 * share))
        base = tree.base
        working_ms = base.working_cycles / base.clock_hz * 1e3
        out.print(
            f"{result.network.name} on {result.chip.name}: {working_ms:.3f} ms of work in "
            f"{result.speech.seconds:.2f} s of audio, frame p95 {base.latency_ms(95):.3f} ms\n"
        )
        out.print(_table("what each part costs: the run replayed with it ideal", tree.parts(), list(tree.parts())))
        out.print(_table("and where: cycles of each op, and how many fewer", tree.ops(), list(tree.ops())))
        out.print("\nCosts of parts do not add up: parts that hide each other cost nothing alone.")


@app.command("validate")
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
    with _user_errors():
        own = read_layers(layers) if layers is not None else None
        chosen = machines or (["eie"] if own else list(MACHINES))
        with _progress(quiet) as tell:
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
            _escape(row.note),
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
        out.print(_table(title, own, list(own.columns)))


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
        grid.add_column(column.replace("_", " "), justify="left" if is_text else "right", overflow="fold")
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
    weight_density: Annotated[float, typer.Option(help="share of non-zero weights for TOPS and TOPS/W")] = 0.5,
    activation_density: Annotated[float, typer.Option(help="share of non-zero activations")] = 0.5,
) -> None:
    """Print one chip: TOPS, TOPS/W, area, memory, and the provenance of every number."""
    with _user_errors():
        described = describe_chip(name, overrides)
        out.print(f"[bold]{described.chip.name}[/]: {described.chip.description}", soft_wrap=True)
        _print_size(described.chip, weight_density, activation_density)
        grid = Table(box=None, pad_edge=False)
        for column in ("field", "value", "mark", "source"):
            grid.add_column(column, overflow="fold")
        styles = {"published": "green", "borrowed": "blue", "assumed": "yellow", "override": "magenta"}
        for source in described.sources.values():
            mark = f"[{styles[source.mark]}]{source.mark}[/]"
            grid.add_row(source.path, _escape(str(source.value)), mark, _escape(source.source))
        out.print(grid)


def _print_size(chip: Chip, weight_density: float, activation_density: float) -> None:
    """What a data sheet would say: operations, power, silicon, memory."""
    at_best, silicon = peak(chip), area(chip)
    lines = [f"{at_best.dense_tops:.4g} TOPS dense (a MAC is two operations), {_band(at_best.tops_per_watt)} TOPS/W"]
    if chip.mac_array.dataflow == "column_broadcast":
        sparse = peak(chip, weight_density, activation_density)
        lines.append(
            f"{sparse.effective_tops:.4g} effective TOPS, {_band(sparse.tops_per_watt)} TOPS/W at weight density "
            f"{weight_density:g} and activation density {activation_density:g}; array, PE memories and leakage, no DRAM"
        )
    lines.append(
        f"{_band(silicon.total())} mm2 at {chip.technology.node_nm:g} nm: "
        + ", ".join(f"{part.name.replace('_', ' ')} {part.mm2.value:.2g}" for part in silicon.parts)
    )
    lines.append(
        f"{at_best.total_sram_bytes:,} B of SRAM: "
        + ", ".join(f"{name.replace('_', ' ')} {n_bytes:,}" for name, n_bytes in at_best.sram_bytes.items())
    )
    for line in lines:
        out.print(line, soft_wrap=True)


def _band(band: Band) -> str:
    return f"{band.value:.3g} ({band.low:.3g} to {band.high:.3g})"


if __name__ == "__main__":
    app()
