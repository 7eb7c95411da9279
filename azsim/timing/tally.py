"""Count what happened: MACs by fate, bytes by way, accesses by memory, as integers."""

import numpy as np

from azsim.chip.config import Chip
from azsim.execute.record import ActivityRecord
from azsim.timing.account import Fetches, union_cycles
from azsim.timing.cells import Cells
from azsim.timing.counts import Counts
from azsim.timing.program import Invocations
from azsim.timing.recurrences import NEVER_LOADED, Edges
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
    fetched: Fetches,
    edges: Edges,
    total: int,
    mac_counts_of_cells: dict[str, np.ndarray],
) -> Counts:
    """All counts of an utterance that took ``total`` cycles; ``mac_counts`` are used twice, so they are given."""
    macs = {name: int(values.sum()) for name, values in mac_counts_of_cells.items()}
    loaded = runs.program.tile_streams & (edges.load_reason != NEVER_LOADED)
    is_wasted = runs.program.op_is_wasted[runs.program.part_op[runs.program.tile_part]]
    used, wasted = loaded & ~is_wasted, loaded & is_wasted
    in_slots = used & ~runs.program.tile_bypasses | wasted
    once = np.flatnonzero(~tables.tile_streams & (tables.tile_stored_bytes > 0))
    kinds = np.array([image.tensors[name].kind for name in tables.tensor_names])
    tensor = np.concatenate([tables.tile_tensor[runs.tile[used]], tables.tile_tensor[once]])
    bytes_of = np.concatenate([fetched.of("packed_bytes", used), tables.tile_packed_bytes[once]])
    fetches = np.bincount(tensor, minlength=len(kinds))
    by_tensor = np.bincount(tensor, bytes_of, len(kinds)).astype(np.int64)
    packed = {str(k): int(by_tensor[kinds == k].sum()) for k in np.unique(kinds[fetches > 0])}
    packed["table"] = image.table_bytes
    burst = chip.dram.burst_bytes
    table_stored = -(-image.table_bytes // burst) * burst
    read = fetched.sum("stored_bytes", loaded) + int(tables.tile_stored_bytes[once].sum()) + table_stored
    wasted_bytes = fetched.sum("packed_bytes", wasted)
    elements, reads, writes = _vector_work(record, tables)
    sums = elements.get("requantize", 0)
    broadcasts = int(cells.broadcasts.sum())
    array = chip.mac_array
    is_row_dot = array.dataflow == "row_dot"
    copies = sum(int(c) * int(n) for op, n in zip(record.ops, _uses(record), strict=True) for c in op.cols)
    return Counts(
        active_cycles=union_cycles(
            [edges.compute_start[~is_wasted], edges.out_start, edges.load_start[loaded]],
            [edges.compute_end[~is_wasted], edges.out_end, edges.load_end[loaded]],
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
        dram_bursts=read // burst,
        dram_read_bytes=read,
        packed_bytes=packed,
        pinned_packed_bytes=int(tables.tile_packed_bytes[once].sum()) + image.table_bytes,
        padding_bytes=read - sum(packed.values()) - wasted_bytes,
        wasted_bytes=wasted_bytes,
        decoder_bytes=fetched.sum("packed_bytes", loaded) + int(tables.tile_packed_bytes[once].sum()),
        decoder_symbols=fetched.sum("symbols", loaded) + int(tables.tile_symbols[once].sum()),
        **_weight_memory(chip, tables, cells, runs, fetched, in_slots, once, macs["issued"]),
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
    fetched: Fetches,
    in_slots: np.ndarray,
    once: np.ndarray,
    issued: int,
) -> dict[str, int]:
    """Bytes into and out of weight SRAM, weights and metadata apart."""
    written = np.concatenate([runs.tile[in_slots], once])
    if chip.weight_sram.form == "packed":
        metadata = fetched.sum("metadata_bits", in_slots) + int(tables.tile_metadata_bits[once].sum())
        packed = fetched.sum("packed_bytes", in_slots) + int(tables.tile_packed_bytes[once].sum())
        return {
            "weight_sram_write_bytes": (8 * packed - metadata) // 8,
            "weight_sram_read_bytes": issued,
            "metadata_write_bytes": metadata // 8,
            "metadata_read_bytes": issued * chip.codec.index_bits // 8,
        }
    size = int(tables.tile_size[written].sum())
    rows = rows_of_tile(tables)[cells.tile]
    from_sram = np.ones(len(cells.tile), bool)
    from_sram[runs.cell[runs.program.tile_bypasses]] = False
    if chip.mac_array.dataflow == "row_dot":
        read, scanned = issued, int(tables.tile_size[cells.tile[tables.tile_work[cells.tile] >= 0]].sum())
    else:
        read = scanned = int((rows * cells.broadcasts)[from_sram].sum())
    masked = chip.mac_array.skip_weights
    return {
        "weight_sram_write_bytes": size,
        "weight_sram_read_bytes": read,
        "metadata_write_bytes": size // 8 if masked else 0,
        "metadata_read_bytes": scanned // 8 if masked else 0,
    }
