"""Replay a record on a chip: record + image + chip -> timeline.

    tabulate_chip     tiles, loads, work per PE           once per chip
    build_program     MAC cycles of every tile            once per utterance and chip
    solve             the recurrences: when it happens
    accounts, counts  where the cycles went, what to price

A replay never looks at a weight or an activation value: non-zero counts and zero bits are enough.

Left out
--------
Pinned tensors, biases and factors are fetched once before the first sample: their bytes are
counted, their time is not on the path (the first frame ends tens of milliseconds later).
"""

import numpy as np

from azsim.chip.config import Chip
from azsim.errors import CapacityError
from azsim.execute.record import ActivityRecord
from azsim.timing.account import accounts, union_cycles
from azsim.timing.counts import Counts
from azsim.timing.laws import check_laws
from azsim.timing.program import ChipTables, Invocations, build_program, tabulate_chip
from azsim.timing.recurrences import Edges, solve
from azsim.timing.timeline import STALLS, OpAccount, Timeline
from azsim.weights.image import DramImage


def schedule(
    record: ActivityRecord, image: DramImage, chip: Chip, frame_hop_s: float, first_frame_s: float
) -> Timeline:
    """Time every op invocation of an utterance.

    Parameters
    ----------
    record : ActivityRecord
    image : DramImage
        Laid out for ``chip``.
    chip : Chip
    frame_hop_s, first_frame_s : float
        Spacing of frames, and when the last sample of the first one is in.

    Raises
    ------
    CapacityError
        If state and activations do not fit the activation SRAM.
    LawError
        If a conservation law does not hold: a defect of azsim.
    """
    if record.activation_bytes > chip.activation_sram_bytes:
        raise CapacityError(
            f"`activation_sram_bytes >= {record.activation_bytes:,}` must hold: state {record.state_bytes:,} B and the "
            f"operands of the widest op; {chip.name} has {chip.activation_sram_bytes:,} B. Raise activation_sram_bytes."
        )
    times = first_frame_s + frame_hop_s * np.arange(record.n_frames)
    frame_end = np.array([chip.cycles(t) for t in times], np.int64)
    arrival = np.array([chip.cycles(t + chip.host.feature_us_per_frame * 1e-6) for t in times], np.int64)
    tables = tabulate_chip(record, image, chip)
    runs = build_program(record, tables, chip, arrival)
    edges = solve(
        runs.program,
        latency_cycles=chip.latency_cycles,
        tile_slots=chip.weight_sram.tile_slots,
        dma_outstanding=chip.stream.dma_outstanding,
        accumulator_sets=chip.mac_array.accumulator_sets,
        op_overhead_cycles=chip.controller.op_overhead_cycles,
        branch_redirect_cycles=chip.controller.branch_redirect_cycles,
    )
    frame_of_op = record.frame[runs.invocation]
    done = np.zeros(record.n_frames, np.int64)
    np.maximum.at(done, frame_of_op, edges.out_end)
    total = int(max(edges.out_end[-1], frame_end[-1]))
    parts, stalled, reason = accounts(edges, runs, tables, arrival[frame_of_op], chip.weight_sram.tile_slots, total)
    counts = _count(record, image, chip, tables, runs, edges, total)
    first, last = runs.program.op_tiles[:-1], runs.program.op_tiles[1:]
    has_tiles = last > first
    start, end = edges.out_start.copy(), edges.out_start.copy()
    start[has_tiles] = edges.compute_start[first[has_tiles]]
    end[has_tiles] = edges.compute_end[last[has_tiles] - 1]
    streams = runs.program.tile_streams
    timeline = Timeline(
        clock_hz=chip.clock_hz,
        frame_end=frame_end,
        frame_arrival=arrival,
        frame_done=done,
        op_name=[op.name for op in record.ops],
        op=record.op[runs.invocation],
        frame=frame_of_op,
        arm=record.arm[runs.invocation],
        ready=edges.ready[runs.program.op_parts[1:] - 1],
        compute_start=start,
        compute_end=end,
        out_start=edges.out_start,
        out_end=edges.out_end,
        tile_op=runs.program.part_op[runs.program.tile_part],
        tile_streams=streams,
        load_start=edges.load_start,
        load_end=edges.load_end,
        tile_compute_start=edges.compute_start,
        tile_compute_end=edges.compute_end,
        accounts=parts,
        per_op=_per_op(record, chip, tables, runs, stalled, reason),
        counts=counts,
        bounds=_bounds(chip, tables, runs, counts),
    )
    check_laws(timeline, edges, runs.program)
    return timeline


def _rows_of_tile(tables: ChipTables) -> np.ndarray:
    cols = tables.tile_cols[:, 1] - tables.tile_cols[:, 0]
    return tables.tile_size // np.maximum(1, cols)


def _mac_counts(chip: Chip, tables: ChipTables, runs: Invocations) -> dict[str, np.ndarray]:
    """dense, issued and effectual MACs of every invoked tile, int64[I]."""
    offset = _work_offset(tables)[runs.tile]
    rows = _rows_of_tile(tables)[runs.tile]
    dense = np.where(offset >= 0, tables.tile_size[runs.tile], 0)
    array = chip.mac_array
    if not array.skip_weights:
        issued = rows * runs.broadcasts
    elif array.skip_activations:
        issued = runs.effectual
    else:
        ends = np.concatenate([[0], np.cumsum(tables.column_nnz)])
        issued = np.zeros(len(rows), np.int64)
        known = offset >= 0
        cols = tables.tile_cols[runs.tile]
        issued[known] = ends[offset[known] + cols[known, 1]] - ends[offset[known] + cols[known, 0]]
    return {"dense": dense, "issued": issued, "effectual": runs.effectual}


def _work_offset(tables: ChipTables) -> np.ndarray:
    """Row of ``work`` where a tile's columns start; -1 for tiles of embeddings."""
    out = np.full(len(tables.tile_size), -1, np.int64)
    for (start, stop), offset in zip(tables.part_tiles, tables.part_work, strict=True):
        out[start:stop] = offset
    return out


def _count(
    record: ActivityRecord,
    image: DramImage,
    chip: Chip,
    tables: ChipTables,
    runs: Invocations,
    edges: Edges,
    total: int,
) -> Counts:
    """Everything that happened, as integers."""
    macs = {name: int(values.sum()) for name, values in _mac_counts(chip, tables, runs).items()}
    streamed = runs.tile[runs.program.tile_streams]
    once = np.flatnonzero(~tables.tile_streams & (tables.tile_stored_bytes > 0))
    fetched = np.concatenate([streamed, once])
    kinds = np.array([image.tensors[name].kind for name in tables.tensor_names])
    kind_of = kinds[tables.tile_tensor[fetched]] if len(fetched) else np.zeros(0, str)
    packed = {str(k): int(tables.tile_packed_bytes[fetched][kind_of == k].sum()) for k in np.unique(kinds)}
    packed["table"] = image.table_bytes
    burst = chip.dram.burst_bytes
    table_stored = -(-image.table_bytes // burst) * burst
    read = int(tables.tile_stored_bytes[fetched].sum()) + table_stored
    size, metadata = int(tables.tile_size[fetched].sum()), int(tables.tile_metadata_bits[fetched].sum())
    is_packed = chip.weight_sram.form == "packed"
    rows = _rows_of_tile(tables)[runs.tile]
    scanned = int((rows * runs.broadcasts).sum())
    weight_bits = 8 * int(tables.tile_packed_bytes[fetched].sum()) - metadata
    if is_packed:
        entries = macs["issued"]
        read_bytes, metadata_read = entries, entries * chip.codec.index_bits // 8
        write_bytes, metadata_write = weight_bits // 8, metadata // 8
    else:
        masked = chip.mac_array.skip_weights
        read_bytes, metadata_read = scanned, scanned // 8 if masked else 0
        write_bytes, metadata_write = size, size // 8 if masked else 0
    elements: dict[str, int] = {}
    runs_of_op = np.bincount(record.op, minlength=len(record.ops))
    groups = np.diff(tables.op_groups)
    for op, times in zip(record.ops, runs_of_op, strict=True):
        for name, n in op.functions.items():
            elements[name] = elements.get(name, 0) + n * int(times)
    reads = sum(op.input_bytes * int(t) * int(g) for op, t, g in zip(record.ops, runs_of_op, groups, strict=True))
    writes = sum(op.output_bytes * int(t) for op, t in zip(record.ops, runs_of_op, strict=True))
    sums = elements.get("requantize", 0)
    broadcasts = int(runs.broadcasts.sum())
    return Counts(
        active_cycles=union_cycles(
            [edges.compute_start, edges.out_start, edges.load_start[runs.program.tile_streams]],
            [edges.compute_end, edges.out_end, edges.load_end[runs.program.tile_streams]],
        ),
        array_cycles=int(runs.program.mac_cycles.sum()),
        utterance_cycles=total,
        clock_hz=chip.clock_hz,
        dense_macs=macs["dense"],
        skipped_macs=macs["dense"] - macs["issued"],
        issued_macs=macs["issued"],
        gated_macs=macs["issued"] - macs["effectual"],
        effectual_macs=macs["effectual"],
        dram_bursts=read // burst,
        dram_read_bytes=read,
        packed_bytes=packed,
        pinned_packed_bytes=int(tables.tile_packed_bytes[once].sum()) + image.table_bytes,
        padding_bytes=read - sum(packed.values()),
        decoder_bytes=int(tables.tile_packed_bytes[fetched].sum()),
        decoder_symbols=int(tables.tile_symbols[fetched].sum()),
        weight_sram_write_bytes=write_bytes,
        weight_sram_read_bytes=read_bytes,
        metadata_write_bytes=metadata_write,
        metadata_read_bytes=metadata_read,
        activation_sram_read_bytes=reads,
        activation_sram_write_bytes=writes,
        accumulator_read_bytes=4 * (macs["effectual"] + sums),
        accumulator_write_bytes=4 * (macs["effectual"] + sums),
        broadcasts=broadcasts,
        queue_writes=broadcasts * chip.mac_array.pes,
        vector_elements=elements,
        ops=len(runs.group),
        host_frames=record.n_frames,
    )


def _per_op(
    record: ActivityRecord, chip: Chip, tables: ChipTables, runs: Invocations, stalled: np.ndarray, reason: np.ndarray
) -> list[OpAccount]:
    """One row per op of the record."""
    macs = _mac_counts(chip, tables, runs)
    op_of_timed = record.op[runs.invocation]
    op_of_tile = op_of_timed[runs.program.part_op[runs.program.tile_part]]
    streamed = np.where(runs.program.tile_streams, tables.tile_stored_bytes[runs.tile], 0)
    n = len(record.ops)
    total = lambda values: np.bincount(op_of_tile, weights=values, minlength=n).astype(np.int64)  # noqa: E731
    out_cycles = np.bincount(op_of_timed, weights=runs.program.out_cycles, minlength=n).astype(np.int64)
    invocations = np.bincount(record.op, minlength=n)
    by_reason = {name: total(np.where(reason == i, stalled, 0)) for i, name in enumerate(STALLS)}
    columns = total(runs.program.mac_cycles), total(macs["dense"]), total(macs["effectual"]), total(streamed)
    return [
        OpAccount(
            name=op.name,
            invocations=int(invocations[i]),
            mac_cycles=int(columns[0][i]),
            out_cycles=int(out_cycles[i]),
            stall_cycles={name: int(values[i]) for name, values in by_reason.items() if values[i]},
            dense_macs=int(columns[1][i]),
            effectual_macs=int(columns[2][i]),
            streamed_bytes=int(columns[3][i]),
        )
        for i, op in enumerate(record.ops)
    ]


def _bounds(chip: Chip, tables: ChipTables, runs: Invocations, counts: Counts) -> dict[str, int]:
    """Closed-form floors of the working time: no schedule is shorter."""
    streamed = runs.tile[runs.program.tile_streams]
    peak = chip.mac_array.pes * chip.mac_array.lanes
    floors = {
        "compute_bound_cycles": -(-counts.issued_macs // peak),
        "bandwidth_bound_cycles": int(tables.tile_bus_cycles[streamed].sum()),
        "decode_bound_cycles": int(tables.tile_decode_cycles[streamed].sum()),
    }
    return {**floors, "bound_cycles": max(floors.values())}
