"""Every figure of a run as tables: the JSON file, the CSV file, and what the page and the shell print.

Keys and columns carry their unit as the last word. Nothing is computed twice: page, shell and files
read the same tables.
"""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from azsim import __version__
from azsim.chip import Chip
from azsim.energy import area
from azsim.explain import StallTree
from azsim.graph.inspect import OpRow, coverage, inspect_network
from azsim.simulate import Replay, Run
from azsim.weights import encode

CODECS = ("dense", "zero_mask", "run_length", "huffman")


@dataclass(frozen=True)
class Tables:
    """The run in pandas; see the functions of this file for the columns of each."""

    headline: dict[str, Any]
    latency: pd.DataFrame
    frames: pd.DataFrame
    ops: pd.DataFrame
    accounts: pd.DataFrame
    energy: pd.DataFrame
    energy_lines: pd.DataFrame
    bandwidth: pd.DataFrame
    savings: pd.DataFrame
    stall_tree: pd.DataFrame
    stall_tree_ops: pd.DataFrame
    area: pd.DataFrame
    tensors: pd.DataFrame
    codecs: pd.DataFrame
    density: pd.DataFrame
    coverage: pd.DataFrame
    coverage_line: str


def tabulate(run: Run, baselines: dict[str, Replay], tree: StallTree) -> Tables:
    """Compute all tables of a run, its baselines and its stall tree."""
    rows = inspect_network(run.network)
    return Tables(
        headline=_headline(run, baselines),
        latency=_latency(run),
        frames=_frames(run),
        ops=_ops(run),
        accounts=_accounts(run.replay),
        energy=energy_by_component(run.replay),
        energy_lines=_energy_lines(run.replay),
        bandwidth=_bandwidth(run),
        savings=_savings(run, baselines),
        stall_tree=tree.parts(),
        stall_tree_ops=tree.ops(),
        area=_area(run.chip),
        tensors=_tensors(run),
        codecs=_codecs(run),
        density=_density(run),
        coverage=_coverage(run, rows),
        coverage_line=coverage(rows).line,
    )


def _headline(run: Run, baselines: dict[str, Replay]) -> dict[str, Any]:
    timeline, energy = run.replay.timeline, run.replay.energy
    whole, working = energy.total(), energy.total(while_working=True)
    dense = baselines["dense"]
    counts = timeline.counts
    waits = {name: cycles for op in timeline.per_op for name, cycles in op.stall_cycles.items()}
    for name in waits:
        waits[name] = sum(op.stall_cycles.get(name, 0) for op in timeline.per_op)
    largest = max(waits, key=lambda name: waits[name], default="")
    worst = max(timeline.per_op, key=lambda op: op.stall_cycles.get(largest, 0))
    return {
        "azsim_version": __version__,
        "network": run.network.name,
        "is_synthetic": run.network.synthetic_weights,
        "chip": run.chip.name,
        "audio": run.speech.path,
        "audio_s": run.speech.seconds,
        "frames": run.execution.record.n_frames,
        "transcript": run.text,
        "latency_p50_ms": timeline.latency_ms(50),
        "latency_p95_ms": timeline.latency_ms(95),
        "latency_p99_ms": timeline.latency_ms(99),
        "end_of_audio_to_result_ms": float(timeline.frame_done[-1] / timeline.clock_hz - run.speech.seconds) * 1e3,
        "real_time_factor": timeline.real_time_factor,
        "dram_read_bytes": counts.dram_read_bytes,
        "dram_bytes_per_s_of_audio": counts.dram_read_bytes / run.speech.seconds,
        "energy_whole_utterance_uj": whole.value,
        "energy_whole_utterance_low_uj": whole.low,
        "energy_whole_utterance_high_uj": whole.high,
        "energy_while_working_uj": working.value,
        "energy_while_working_low_uj": working.low,
        "energy_while_working_high_uj": working.high,
        "speedup_over_dense": _ratio(dense.timeline.working_cycles, timeline.working_cycles),
        "dram_bytes_saved_over_dense": 1 - _ratio(counts.dram_read_bytes, dense.timeline.counts.dram_read_bytes),
        "energy_saved_over_dense": 1 - _ratio(whole.value, dense.energy.whole_utterance_uj),
        "energy_saved_while_working_over_dense": 1 - _ratio(working.value, dense.energy.while_working_uj),
        "waits_most_for": largest,
        "waits_most_for_cycles": waits.get(largest, 0),
        "waits_most_in": worst.name,
        "wasted_bytes": counts.wasted_bytes,
        **timeline.bounds,
    }


def _ratio(above: float, below: float) -> float:
    """above / below; 1 where both are 0."""
    if below == 0:
        return 1.0 if above == 0 else float("inf")
    return above / below


def _latency(run: Run) -> pd.DataFrame:
    """Frame latency in ms: all frames, then by the arm taken."""
    timeline = run.replay.timeline
    arms = pd.Series(run.execution.record.frame_arm)
    rows = []
    selections = [("all frames", arms.notna())] + [(arm, arms == arm) for arm in sorted(set(arms) - {""})]
    for name, chosen in selections:
        mask = chosen.to_numpy()
        rows.append(
            {
                "frames_of": name,
                "frames": int(mask.sum()),
                "share": float(mask.mean()),
                **{f"p{p}_ms": timeline.latency_ms(p, mask) for p in (50, 95, 99)},
            }
        )
    return pd.DataFrame(rows)


def _frames(run: Run) -> pd.DataFrame:
    timeline = run.replay.timeline
    hypothesis = run.execution.hypothesis
    said: dict[int, list[str]] = {}
    if hypothesis:
        for token, frame in zip(hypothesis.tokens, hypothesis.frames, strict=True):
            word = run.network.vocabulary[token] if token < len(run.network.vocabulary) else str(token)
            said.setdefault(frame, []).append(word)
    return pd.DataFrame(
        {
            "end_s": timeline.frame_end / timeline.clock_hz,
            "latency_ms": timeline.frame_latency_cycles / timeline.clock_hz * 1e3,
            "arm": [arm or "all" for arm in run.execution.record.frame_arm],
            "words": [" ".join(said.get(t, [])) for t in range(len(timeline.frame_end))],
        }
    )


def _ops(run: Run) -> pd.DataFrame:
    """One row per op, in program order; the content of ops.csv."""
    record = run.execution.record
    rows = []
    for op, account in zip(record.ops, run.replay.timeline.per_op, strict=True):
        held = {"pinned" if name in run.replay.timeline.pinned else "streamed" for name in op.tensors}
        rows.append(
            {
                "op": account.name,
                "invocations": account.invocations,
                "weights": "+".join(sorted(held)) or "none",
                "mac_cycles": account.mac_cycles,
                "out_cycles": account.out_cycles,
                **{f"stall_{k}_cycles": account.stall_cycles.get(k, 0) for k in _stall_names(run)},
                "dense_macs": account.dense_macs,
                "effectual_macs": account.effectual_macs,
                "streamed_bytes": account.streamed_bytes,
            }
        )
    return pd.DataFrame(rows)


def _stall_names(run: Run) -> list[str]:
    return sorted({name for op in run.replay.timeline.per_op for name in op.stall_cycles})


def _accounts(replay: Replay) -> pd.DataFrame:
    rows = []
    for account in replay.timeline.accounts.values():
        row = {"part": account.part, "busy_cycles": account.busy_cycles, "idle_cycles": account.idle_cycles}
        rows.append({**row, **{f"stall_{k}_cycles": v for k, v in account.stall_cycles.items()}})
    return pd.DataFrame(rows).fillna(0)


def energy_by_component(replay: Replay) -> pd.DataFrame:
    """uJ by component with bands, for both totals."""
    whole, working = replay.energy.components(), replay.energy.components(while_working=True)
    return pd.DataFrame(
        [
            {
                "component": name,
                "whole_utterance_uj": whole[name].value,
                "whole_utterance_low_uj": whole[name].low,
                "whole_utterance_high_uj": whole[name].high,
                "while_working_uj": working[name].value,
                "while_working_low_uj": working[name].low,
                "while_working_high_uj": working[name].high,
            }
            for name in whole
        ]
    )


def _energy_lines(replay: Replay) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "component": line.component,
                "action": line.action,
                "count": line.count,
                "value": line.cost.value,
                "unit": "mW x s" if line.cost.per == "mW" else f"pJ per {line.cost.per}",
                "factor": line.cost.factor,
                "energy_uj": line.uj,
                "mark": line.cost.mark,
                "source": line.cost.source,
            }
            for line in replay.energy.lines
        ]
    )


def _bandwidth(run: Run) -> pd.DataFrame:
    """DRAM bytes by tensor kind, and per second of audio."""
    counts = run.replay.timeline.counts
    rows = [*counts.packed_bytes.items(), ("burst padding", counts.padding_bytes)]
    if counts.wasted_bytes:
        rows.append(("arms not taken", counts.wasted_bytes))
    seconds = run.speech.seconds
    return pd.DataFrame(
        [{"kind": kind, "dram_bytes": n, "dram_bytes_per_s": n / seconds} for kind, n in rows]
        + [
            {
                "kind": "total",
                "dram_bytes": counts.dram_read_bytes,
                "dram_bytes_per_s": counts.dram_read_bytes / seconds,
            }
        ]
    )


def _savings(run: Run, baselines: dict[str, Replay]) -> pd.DataFrame:
    """The run beside the same chip without compression and skipping, and with each alone."""
    dense = baselines["dense"]
    rows = []
    for name, one in {**baselines, "both (this chip)": run.replay}.items():
        counts = one.timeline.counts
        rows.append(
            {
                "variant": name,
                "working_ms": one.timeline.working_cycles / one.timeline.clock_hz * 1e3,
                "speedup_over_dense": _ratio(dense.timeline.working_cycles, one.timeline.working_cycles),
                "mac_array_cycles": one.timeline.accounts["mac_array"].busy_cycles,
                "dram_read_bytes": counts.dram_read_bytes,
                "energy_while_working_uj": one.energy.while_working_uj,
                "energy_whole_utterance_uj": one.energy.whole_utterance_uj,
                "energy_saved_over_dense": 1 - _ratio(one.energy.whole_utterance_uj, dense.energy.whole_utterance_uj),
            }
        )
    return pd.DataFrame(rows)


def _area(chip: Chip) -> pd.DataFrame:
    """mm2 of every part with bands, and the total."""
    silicon = area(chip)
    rows = [(part.name, part.mm2, part.mark, part.source) for part in silicon.parts]
    rows.append(("total", silicon.total(), "", "deviations in quadrature"))
    return pd.DataFrame(
        [
            {
                "part": name,
                "mm2": band.value,
                "low_mm2": band.low,
                "high_mm2": band.high,
                "mark": mark,
                "source": source,
            }
            for name, band, mark, source in rows
        ]
    )


def _tensors(run: Run) -> pd.DataFrame:
    """Every weight tensor: size, zeros, bits in the image beside the entropy, pinned or streamed."""
    return pd.DataFrame(
        [
            {
                "tensor": t.name,
                "kind": t.kind,
                "rows": t.rows,
                "cols": t.cols,
                "weight_density": t.nnz / t.size,
                "tiles": len(t.tiles),
                "bits_per_weight": t.bits_per_weight,
                "entropy_bits_per_weight": t.entropy_bits_per_weight,
                "packed_bytes": int(t.packed_bytes.sum()),
                "sram_bytes": t.sram_bytes,
                "where": "pinned" if t.name in run.replay.timeline.pinned else "streamed",
            }
            for t in run.replay.image.tensors.values()
        ]
    )


def _codecs(run: Run) -> pd.DataFrame:
    """Bytes of all weights under each codec, on this chip's tiles, beside the entropy of single weights."""
    rows = []
    for name in CODECS:
        image = run.replay.image
        if name != run.chip.codec.name:
            refilled = run.chip.weight_sram.replace(form="refilled")
            chip = run.chip.replace(codec=run.chip.codec.replace(name=name), weight_sram=refilled)
            image = encode(run.quantized.tensors.values(), run.quantized.tables, chip)
        weights = image.dense_weight_bytes
        entropy = sum(t.entropy_bits_per_weight * t.size for t in image.tensors.values()) / weights
        rows.append(
            {
                "codec": name,
                "stored_bytes": image.stored_weight_bytes,
                "bits_per_weight": 8 * image.stored_weight_bytes / weights,
                "entropy_bits_per_weight": entropy,
                "compression_ratio": weights / image.stored_weight_bytes,
                "is_this_chip": name == run.chip.codec.name,
            }
        )
    return pd.DataFrame(rows)


def _density(run: Run) -> pd.DataFrame:
    """Share of non-zero activations of every matrix operand, over the utterance."""
    record = run.execution.record
    bits: dict[tuple[str, str], list[float]] = {}
    for n, op_index in enumerate(record.op):
        op = record.ops[op_index]
        for slot, (tensor, cols) in enumerate(zip(op.tensors, op.cols, strict=True)):
            if cols:
                operand = record.operand(int(record.part_start[n]) + slot, cols)
                bits.setdefault((op.name, tensor), []).append(float(operand.mean()))
    rows = [
        {"op": op, "tensor": tensor, "invocations": len(values), "activation_density": sum(values) / len(values)}
        for (op, tensor), values in bits.items()
    ]
    return pd.DataFrame(rows)


def _coverage(run: Run, rows: list[OpRow]) -> pd.DataFrame:
    """Every op of the network: where it runs, MACs of one run, bytes of its weights in DRAM."""
    tensors = run.replay.image.tensors
    return pd.DataFrame(
        [
            {
                **{key: value for key, value in asdict(row).items() if key != "tensors"},
                "packed_bytes": sum(int(tensors[name].packed_bytes.sum()) for name in row.tensors),
            }
            for row in rows
        ]
    )


def chip_rows(chip: Chip) -> dict[str, Any]:
    """The chip's fields, nested, for run.json."""
    return chip.model_dump(mode="json")
