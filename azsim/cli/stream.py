"""``azsim stream``: a household around one chip, in time."""

import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from azsim.cli.console import QuietOption, err, escape, out, progress, table, user_errors
from azsim.listen import listen
from azsim.report import check_writable
from azsim.report.page import scaled
from azsim.report.stream_tables import StreamTables
from azsim.report.stream_write import write_stream
from azsim.stream.scenario import field_table

StreamSetOption = Annotated[
    list[str],
    typer.Option(
        "--set", "-s", help="change a field, e.g. uplink.round_trip_ms=80, networks.whisper.priority=5, "
        "background.music.bytes_per_s=20e6 or chip.mac_array.pes=32; may repeat",
    ),
]  # fmt: skip


def _print_fields(is_asked: bool) -> None:
    if is_asked:
        rows = pd.DataFrame(field_table(), columns=["field", "default", "meaning"])
        out.print(table("fields of a scenario", rows, list(rows.columns)))
        raise typer.Exit


def stream(
    scenario: Annotated[Path, typer.Argument(help="YAML file; start from experiments/example_household.yaml")],
    folder: Annotated[
        Path, typer.Option("--out", "-o", help="folder for stream.json, frames.csv, trace.json.gz and report.html")
    ],
    overrides: StreamSetOption = [],  # noqa: B006  (typer copies it)
    chip: Annotated[str | None, typer.Option("--chip", "-c", help="another chip than the scenario's")] = None,
    fields: Annotated[
        bool, typer.Option("--fields", help="print every field with its default", is_eager=True, callback=_print_fields)
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Simulate a household: speech, several networks on one chip, background traffic, uplink and cloud.

    Prints what the person waits, what the chip is busy with and what it burns, and writes the report.
    """
    with user_errors():
        check_writable(folder)
        changes = [*overrides, *([f"chip={chip}"] if chip else [])]
        with progress(quiet) as tell, tempfile.TemporaryDirectory(dir=folder, prefix=".azsim-") as scratch:
            frames = Path(scratch) / "frames.csv"
            heard = listen(scenario, changes, frames, lambda stage, share: tell(stage, 0.95 * share))
            tell("write the report", 0.96)
            tables = write_stream(heard, folder, frames)
        for note in heard.notes:
            err.print(f"note: {escape(note)}")
        _print_summary(tables)
        out.print(f"\nreport: {folder / 'report.html'}", soft_wrap=True)


def _print_summary(tables: StreamTables) -> None:
    h = tables.headline
    out.print(f"\n[bold]{escape(h['scenario'])}[/] on {escape(h['chip'])}: {h['utterances']} utterances in "
              f"{h['seconds']:.1f} s, {h['word_errors']} of {h['words']} words wrong\n", soft_wrap=True)  # fmt: skip
    columns = [c for c in tables.latency.columns if c != "answers"]
    out.print(table("from the end of speech to the answer, ms", tables.latency, columns))
    shown = ["network", "priority", "deadline_ms", "p50_ms", "p99_ms", "longest_ms", "deadline_misses",
             "largest_backlog", "preemptions", "chip_share"]  # fmt: skip
    out.print(table("networks: from a frame's last sample to its result", tables.networks, shown))
    out.print(table("mean wait of a frame by cause, us", tables.waits, list(tables.waits.columns)))
    out.print(table("utilization", tables.utilization, ["part", "utilization"]))
    out.print(table("energy, uJ", tables.energy, list(tables.energy.columns)))
    out.print(table("power states", tables.states, list(tables.states.columns)))
    out.print(
        f"\nuplink {h['uplink_bytes']:,} B of lattices, {h['revoked_bytes']:,} B of them for {h['revoked']} revoked "
        f"starts; the audio would be {h['opus_over_lattice']:.0f} times that as Opus, {h['audio_over_lattice']:.0f} "
        f"times raw\n{scaled(h['energy_per_utterance_uj'] * 1e-6, 'J')} per utterance, {h['mean_mw']:.3g} mW on "
        f"average, {h['battery_hours']:,.0f} hours on the battery; simulated {h['simulated_s_per_s']:,.0f} s "
        f"per second ({h['simulated_s_per_s_with_execution']:,.1f} with execution)"
    )
