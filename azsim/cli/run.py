"""``azsim run`` and ``azsim explain``: one network on one recording on one chip."""

from pathlib import Path
from typing import Annotated

import typer

from azsim.chip import describe_chip
from azsim.cli.console import (
    AudioOption,
    BitsOption,
    ChipOption,
    ModelOption,
    QuietOption,
    SetOption,
    err,
    escape,
    out,
    progress,
    table,
    user_errors,
)
from azsim.errors import LawError
from azsim.explain import explain
from azsim.report import Tables, check_writable, write_report, write_trace
from azsim.report.page import scaled
from azsim.simulate import Run, baselines, check_run, simulate
from azsim.timing.check import Agreement


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
    with user_errors():
        check_writable(folder)
        if trace is not None:
            check_writable(trace.parent)
        described = describe_chip(chip, overrides)
        with progress(quiet) as tell:
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
            err.print(f"note: {escape(note)}")
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


def explain_run(
    audio: AudioOption,
    model: ModelOption = "amnet",
    chip: ChipOption = "az1_like",
    overrides: SetOption = [],  # noqa: B006  (typer copies it)
    bits: BitsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Print the stall tree: what each part of the chip costs, found by making one at a time ideal."""
    with user_errors():
        with progress(quiet) as tell:
            result = simulate(model, audio, chip, overrides, bits, lambda stage, share: tell(stage, 0.8 * share))
            tree = explain(result, lambda stage, share: tell(stage, 0.8 + 0.2 * share))
        base = tree.base
        working_ms = base.working_cycles / base.clock_hz * 1e3
        out.print(
            f"{result.network.name} on {result.chip.name}: {working_ms:.3f} ms of work in "
            f"{result.speech.seconds:.2f} s of audio, frame p95 {base.latency_ms(95):.3f} ms\n"
        )
        out.print(table("what each part costs: the run replayed with it ideal", tree.parts(), list(tree.parts())))
        out.print(table("and where: cycles of each op, and how many fewer", tree.ops(), list(tree.ops())))
        out.print("\nCosts of parts do not add up: parts that hide each other cost nothing alone.")


def _print_summary(tables: Tables) -> None:
    h = tables.headline
    title = "(synthetic weights, no transcript)" if h["is_synthetic"] else h["transcript"] or "(no words)"
    out.print(f"\n[bold]{escape(str(title))}[/]", soft_wrap=True)
    out.print(f"{h['network']} on {h['chip']}, {h['audio_s']:.2f} s of audio, {h['frames']} frames\n")
    latency = table("latency per frame, ms", tables.latency, ["frames_of", "frames", "p50_ms", "p95_ms", "p99_ms"])
    out.print(latency)
    out.print(f"real-time factor {h['real_time_factor']:.4f} (working time over audio time; below 1 keeps up)\n")
    out.print(table("DRAM traffic", tables.bandwidth, ["kind", "dram_bytes", "dram_bytes_per_s"]))
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
    out.print(table("energy per utterance, uJ (band: while working)", shown, order))
    columns = ["variant", "working_ms", "speedup_over_dense", "dram_read_bytes", "energy_while_working_uj",
               "energy_saved_over_dense"]  # fmt: skip
    out.print(table("over the dense baseline, same audio", tables.savings, columns))
    out.print(
        f"waits most for {h['waits_most_for'] or 'nothing'}: {h['waits_most_for_cycles']:,} cycles, most in "
        f"{h['waits_most_in']}; {scaled(h['dram_bytes_per_s_of_audio'], 'B/s')} from DRAM"
    )
