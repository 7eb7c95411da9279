"""``azsim compare``: two points side by side."""

from pathlib import Path
from typing import Annotated

import typer

from azsim.cli.console import BitsOption, ModelOption, QuietOption, out, progress, table, user_errors
from azsim.sweep.compare import FIGURES, compare, find_setup

SideArgument = Annotated[str, typer.Argument(help="preset, YAML file, or STORE.db:KEY with the first letters of a key")]


def compare_points(
    a: SideArgument,
    b: SideArgument,
    model: ModelOption = "amnet",
    audio: Annotated[Path, typer.Option("--audio", "-a", help="a recording")] = Path("models/demo/digits_1.wav"),
    bits: BitsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say what differs between two points, and which part of the time and energy each difference accounts for."""
    with user_errors():
        sides = [find_setup(text, model, str(audio), bits) for text in (a, b)]
        with progress(quiet) as tell:
            found = compare(sides[0], sides[1], tell)
        out.print(table("side by side", found.sides(), ["figure", "a", "b", "b_over_a"]))
        if not found.shares:
            out.print("\nthe same chip, network and recording")
            return
        columns = ["difference", "a", "b", *FIGURES]
        out.print(table("what each difference adds, from a to b", found.differences(), columns))
        how = "of all" if found.is_exact else "of some random"
        out.print(
            f"\nEach row is the mean {how} orders in which the differences could be changed; rows add up to the last."
        )
