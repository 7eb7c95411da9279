"""Count what happened: MACs by fate, bytes by way, accesses by memory, as integers."""

import numpy as np

from azsim.chip.config import Chip
from azsim.execute.record import ActivityRecord
from azsim.timing.account import Fetches, union_cycles
from azsim.timing.cells import Cells
from azsim.timing.counts import Counts
from azsim.timing.program import Invocations
from azsim.timing.recurrences import Edges
from azsim.timing.tables import ChipTables
from azsim.weights.image import DramImage


def rows_of_tile(tables: ChipTables) -> np.ndarray:
    """int64[tiles]"""
    return (tables.tile_rows[:, 1] - tables.tile_rows[:, 0]).astype(np.int64)


def mac_counts(chip: Chip, tables: ChipTables, cells: Cells) -> dict[str, np.ndarray]:
    """MACs of every cell by fate, int64[cells]: dense, issued, effectual, and ungated (zero operand at full cost).

    Of rows x cols products, zeros split four: weight zero or not, activation zero or not. Skips take rows or
    columns of that square away, gates make what is left of them cheap.
    """
    array, is_matrix = chip.mac_array, tables.tile_work >= 0
    rows_of, cols_of = np.where(is_matrix, rows_of_tile(tables), 0), np.diff(tables.tile_cols.astype(np.int64))[:, 0]
    dense, effectual = (rows_of * cols_of)[cells.tile], cells.effectual
    issued, ungated = effectual.copy(), np.zeros_like(effectual)
    for weight_is_zero, activation_is_zero in ((False, True), (True, False), (True, True)):
        if (weight_is_zero and array.skip_weights) or (activation_is_zero and array.skip_activations):
            continue
        stored = np.where(is_matrix, tables.tile_nnz, 0)[cells.tile]
        sent = rows_of[cells.tile] * cells.nonzero
        products = {
            (False, True): stored - effectual,
            (True, False): sent - effectual,
            (True, True): dense - stored - sent + effectual,
        }[weight_is_zero, activation_is_zero]
        issued += products
        if not ((weight_is_zero and array.gate_weights) or (activation_is_zero and array.gate_activations)):
            ungated += products
    return {"dense": dense, "issued": issued, "effectual": effectual, "ungated": ungated}


def tally(
    record: ActivityRecord,
    image: DramImage,
    chip: Chip,
    tables: ChipTables,
    cells: Cells,
    runs: Invocations,
    fetches: Fetches,
    edges: Edges,
    total: int,
    fates: dict[str, np.ndarray],
    has_pins: bool = False,
) -> Counts:
    """All counts of an utterance that took ``total`` cycles; ``fates`` are those of ``mac_counts``.

    With ``has_pins`` pinned tensors and tables are on the chip already and cost nothing.
    """
    macs = {name: int(values.sum()) for name, values in fates.items()}
    once = ~tables.tile_streams & (tables.tile_stored_bytes > 0) & (not has_pins)
    table_bytes = 0 if has_pins else image.table_bytes
    kinds = np.array([image.tensors[name].kind for name in tables.tensor_names])
    by_tensor = fetches.used_by_tensor("packed_bytes")
    by_tensor += np.bincount(tables.tile_tensor[once], tables.tile_packed_bytes[once], len(kinds)).astype(np.int64)
    packed = {str(k): int(by_tensor[kinds == k].sum()) for k in np.unique(kinds) if by_tensor[kinds == k].any()}
    packed["table"] = table_bytes
    burst = chip.dram.burst_bytes
    table_stored = -(-table_bytes // burst) * burst
    read = fetches.total("stored_bytes") + int(tables.tile_stored_bytes[once].sum()) + table_stored
    wasted_bytes = fetches.total_in_vain("packed_bytes")
    elements, reads, writes = _vector_work(record, tables)
    sums = elements.get("requantize", 0)
    broadcasts = int(cells.broadcasts.sum())
    array = chip.mac_array
    is_row_dot = array.dataflow == "row_dot"
    copies = sum(int(c) * int(n) for op, n in zip(record.ops, _uses(record), strict=True) for c in op.cols)
    return Counts(
        active_cycles=union_cycles(
            edges.compute_start,
            edges.compute_end,
            edges.out_start,
            edges.out_end,
            edges.load_start,
            edges.load_end,
            ~fetches.is_wasted,
            fetches.loaded,
        ),
        array_cycles=int(runs.array_cycles.sum()),
        utterance_cycles=total,
        clock_hz=chip.clock_hz,
        dense_macs=macs["dense"],
        skipped_macs=macs["dense"] - macs["issued"],
        issued_macs=macs["issued"],
        gated_macs=macs["issued"] - macs["effectual"],
        effectual_macs=macs["effectual"],
        ungated_macs=macs["ungated"],
        padding_entries=int(cells.padding.sum()),
        dram_bursts=read // burst,
        dram_read_bytes=read,
        packed_bytes=packed,
        pinned_packed_bytes=int(tables.tile_packed_bytes[once].sum()) + table_bytes,
        padding_bytes=read - sum(packed.values()) - wasted_bytes,
        wasted_bytes=wasted_bytes,
        decoder_bytes=fetches.total("packed_bytes") + int(tables.tile_packed_bytes[once].sum()),
        decoder_symbols=fetches.total("symbols") + int(tables.tile_symbols[once].sum()),
        **_weight_memory(chip, tables, cells, runs, fetches, once, macs["issued"]),
        activation_sram_read_bytes=reads,
        activation_sram_write_bytes=writes,
        activation_copy_read_bytes=macs["issued"] if is_row_dot else 0,
        activation_copy_write_bytes=copies * array.pes if is_row_dot else 0,
        accumulator_read_bytes=4 * (macs["effectual"] + sums),
        accumulator_write_bytes=4 * (macs["effectual"] + sums),
        broadcasts=broadcasts,
        queue_writes=broadcasts * array.pes,
        vector_elements=elements,
        ops=int((~runs.program.op_is_wasted).sum()),
        host_frames=record.n_frames,
    )


def _uses(record: ActivityRecord) -> np.ndarray:
    return np.bincount(record.op, minlength=len(record.ops))


def _vector_work(record: ActivityRecord, tables: ChipTables) -> tuple[dict[str, int], int, int]:
    """Elements by function, and activation SRAM bytes read and written."""
    elements: dict[str, int] = {}
    uses, groups = _uses(record), np.diff(tables.op_groups)
    for op, times in zip(record.ops, uses, strict=True):
        for name, n in op.functions.items():
            elements[name] = elements.get(name, 0) + n * int(times)
    reads = sum(op.input_bytes * int(t) * int(g) for op, t, g in zip(record.ops, uses, groups, strict=True))
    return elements, reads, sum(op.output_bytes * int(t) for op, t in zip(record.ops, uses, strict=True))


def _weight_memory(
    chip: Chip,
    tables: ChipTables,
    cells: Cells,
    runs: Invocations,
    fetches: Fetches,
    once: np.ndarray,
    issued: int,
) -> dict[str, int]:
    """Bytes into and out of weight SRAM, weights and metadata apart; what bypasses it touches neither."""
    into_slots = fetches.times_in_vain + (0 if chip.stream.bypass_sram else fetches.times)
    times = into_slots + once  # pinned tiles are written once
    if chip.weight_sram.form == "packed":
        metadata = int((times * tables.tile_metadata_bits).sum())
        packed = int((times * tables.tile_packed_bytes).sum())
        entries = issued + int(cells.padding.sum())
        return {
            "weight_sram_write_bytes": (8 * packed - metadata) // 8,
            "weight_sram_read_bytes": entries,
            "metadata_write_bytes": metadata // 8,
            "metadata_read_bytes": entries * chip.codec.index_bits // 8,
        }
    size = int((times * tables.tile_size).sum())
    if chip.mac_array.dataflow == "row_dot":
        is_matrix = tables.tile_work >= 0
        read, scanned = issued, int((is_matrix * tables.tile_size)[cells.tile].sum())
    else:
        sent = rows_of_tile(tables)[cells.tile] * cells.broadcasts
        sent[runs.cell[runs.program.tile_bypasses]] = 0
        read = scanned = int(sent.sum())
    masked = chip.mac_array.skip_weights
    return {
        "weight_sram_write_bytes": size,
        "weight_sram_read_bytes": read,
        "metadata_write_bytes": size // 8 if masked else 0,
        "metadata_read_bytes": scanned // 8 if masked else 0,
    }
