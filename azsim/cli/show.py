"""``azsim inspect``, ``zoo`` and ``chips``: what there is to run, and to run it on."""

from typing import Annotated

import typer
from rich.table import Table

from azsim.chip import Chip, describe_chip, presets
from azsim.cli.console import SetOption, escape, out, progress, user_errors
from azsim.energy import Band, area, peak
from azsim.graph import load_network, zoo
from azsim.graph.inspect import coverage, inspect_network


def inspect(
    model: Annotated[str, typer.Argument(help="zoo name, .pt2 file, folder, or package.module:function")],
) -> None:
    """Print what a network is made of: ops, shapes, weights, MACs, and where each op runs."""
    with user_errors():
        with progress(False) as tell:
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


def list_zoo() -> None:
    """List the networks that come with azsim."""
    for name in zoo():
        out.print(name)


def list_chips(context: typer.Context) -> None:
    """List the chips that come with azsim."""
    if context.invoked_subcommand is None:
        for name, description in presets().items():
            out.print(f"[bold]{name:<16}[/] {description}", soft_wrap=True)


def show_chip(
    name: Annotated[str, typer.Argument(help="preset or YAML file")],
    overrides: SetOption = [],  # noqa: B006  (typer copies it)
    weight_density: Annotated[float, typer.Option(help="share of non-zero weights for TOPS and TOPS/W")] = 0.5,
    activation_density: Annotated[float, typer.Option(help="share of non-zero activations")] = 0.5,
) -> None:
    """Print one chip: TOPS, TOPS/W, area, memory, and the provenance of every number."""
    with user_errors():
        described = describe_chip(name, overrides)
        out.print(f"[bold]{described.chip.name}[/]: {described.chip.description}", soft_wrap=True)
        _print_size(described.chip, weight_density, activation_density)
        grid = Table(box=None, pad_edge=False)
        for column in ("field", "value", "mark", "source"):
            grid.add_column(column, overflow="fold")
        styles = {"published": "green", "borrowed": "blue", "assumed": "yellow", "override": "magenta"}
        for source in described.sources.values():
            mark = f"[{styles[source.mark]}]{source.mark}[/]"
            grid.add_row(source.path, escape(str(source.value)), mark, escape(source.source))
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
