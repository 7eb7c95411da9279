"""Everything about a network on a chip that no audio changes: tiles, loads, work per PE, output passes."""

from dataclasses import dataclass

import numpy as np

from azsim.chip.config import Chip
from azsim.execute.record import ActivityRecord
from azsim.timing.load import decode_cycles, tensor_load_cycles
from azsim.timing.mac_array import work_per_pe
from azsim.timing.pins import pinned_tensors
from azsim.weights.image import DramImage, TensorTiles


@dataclass(frozen=True)
class ChipTables:
    """Flat tables of the ops of a record on a chip.

    ``slots`` are the matrix operands of the ops, ``groups`` their (op, row part) pairs, ``parts`` the operands of
    a group, ``tiles`` those of all tensors, ``columns`` those of all row parts.
    """

    op_slots: np.ndarray  # int32[ops + 1]
    slot_tiles: np.ndarray  # int32[slots, 2], tiles of the operand's tensor
    op_groups: np.ndarray  # int32[ops + 1]
    group_parts: np.ndarray  # int32[groups + 1]
    group_out_cycles: np.ndarray  # int64[groups]
    part_slot: np.ndarray  # int32[parts], which operand of its op
    part_tiles: np.ndarray  # int32[parts, 2]
    part_is_look_up: np.ndarray  # bool[parts]
    tile_cols: np.ndarray  # int32[tiles, 2]
    tile_rows: np.ndarray  # int32[tiles, 2]
    tile_work: np.ndarray  # int64[tiles], row of ``work`` of column 0 of the tile's row part; -1 for a look-up
    tile_masks: np.ndarray  # int64[tiles], start of its tensor in ``masks``
    tile_counts: np.ndarray  # int64[tiles], start of its columns in ``tile_column_nnz``
    tile_lanes: np.ndarray  # int64[tiles], products per PE and cycle
    tile_load_cycles: np.ndarray  # int64[tiles]
    tile_decode_cycles: np.ndarray  # int64[tiles], decoder busy
    tile_streams: np.ndarray  # bool[tiles]
    tile_packed_bytes: np.ndarray  # int64[tiles]
    tile_stored_bytes: np.ndarray  # int64[tiles]
    tile_metadata_bits: np.ndarray  # int64[tiles]
    tile_symbols: np.ndarray  # int64[tiles]
    tile_size: np.ndarray  # int64[tiles], weights
    tile_nnz: np.ndarray  # int64[tiles]
    tile_tensor: np.ndarray  # int32[tiles]
    tensor_names: list[str]
    pinned: frozenset[str]
    work: np.ndarray  # uint16[columns, pes]
    column_nnz: np.ndarray  # int64[columns]
    column_padding: np.ndarray  # int64[columns], zero entries of packed form
    column_burst: np.ndarray  # int64[columns, 2], where columns have streams of their own
    column_bytes: np.ndarray  # int64[columns]
    column_metadata_bits: np.ndarray  # int64[columns]
    masks: np.ndarray  # uint64[...], for row_dot
    tile_column_nnz: np.ndarray  # uint16[...], for row_dot
    dec: np.ndarray  # int64[bursts]
    burst_symbols: np.ndarray  # int64[bursts]
    tile_bus_cycles: np.ndarray  # int64[tiles]
    burst_cycles: int
    latency_cycles: int


def out_pass_cycles(functions: dict[str, int], share: float, chip: Chip) -> int:
    """fill + sum over functions of ceil(elements / lanes of that function); ``share`` of a row part."""
    unit = chip.vector_unit
    elements = {name: int(np.ceil(n * share - 1e-9)) for name, n in functions.items()}
    return unit.fill_cycles + sum(-(-n // unit.lanes[name]) for name, n in elements.items())


def tabulate_chip(
    record: ActivityRecord, image: DramImage, chip: Chip, ideal: frozenset[str] = frozenset()
) -> ChipTables:
    """Tables of the ops of a record on a chip; of the record's audio only the number of uses matters, for pins.

    Parameters
    ----------
    ideal : frozenset of str
        Names from ``IDEAL_PARTS``.
    """
    tensors = list(image.tensors.values())
    burst_cycles = 0 if "dram_bandwidth" in ideal else chip.burst_cycles
    latency_cycles = 0 if "dram_latency" in ideal else chip.latency_cycles
    n_tiles = np.array([len(t.tiles) for t in tensors], np.int64)
    first_tile = dict(zip(image.tensors, np.concatenate([[0], np.cumsum(n_tiles)[:-1]]), strict=True))
    work, tile_work = _work(tensors, chip)
    decs = [decode_cycles(t.burst_symbols, chip) for t in tensors]
    if "decoder" in ideal:
        decs = [np.zeros_like(dec) for dec in decs]
    loads = [
        tensor_load_cycles(t, dec, chip.stream.fifo_bursts, burst_cycles, latency_cycles)
        for t, dec in zip(tensors, decs, strict=True)
    ]
    pinned = frozenset(pinned_tensors(record, image, chip))
    gather = lambda key: np.concatenate([getattr(t, key) for t in tensors])  # noqa: E731
    all_tiles = [tile for t in tensors for tile in t.tiles]
    stored = gather("stored_bytes")
    is_pinned = np.repeat([t.name in pinned for t in tensors], n_tiles)
    words = np.array([t.row_masks.size for t in tensors], np.int64)
    mask_start = np.concatenate([[0], np.cumsum(words)[:-1]])
    counts = np.concatenate([np.full(len(t.tiles), t.cols if t.tile_column_nnz.size else 0) for t in tensors])
    lanes = [chip.mac_array.lanes_for(t.bits) for t in tensors]
    return ChipTables(
        **_ops(record, image, chip, first_tile, is_free="vector_unit" in ideal),
        **_columns(tensors),
        tile_cols=np.array([(t.col_start, t.col_stop) for t in all_tiles], np.int32).reshape(-1, 2),
        tile_rows=np.array([(t.row_start, t.row_stop) for t in all_tiles], np.int32).reshape(-1, 2),
        tile_work=tile_work,
        tile_masks=np.repeat(mask_start, n_tiles),
        tile_counts=np.concatenate([[0], np.cumsum(counts)[:-1]]),
        tile_lanes=np.repeat(np.array(lanes, np.int64), n_tiles),
        tile_load_cycles=np.concatenate([load for load, _ in loads]),
        tile_decode_cycles=np.concatenate([busy for _, busy in loads]),
        tile_streams=(stored > 0) & ~is_pinned,
        tile_packed_bytes=gather("packed_bytes"),
        tile_stored_bytes=stored,
        tile_metadata_bits=gather("metadata_bits"),
        tile_symbols=gather("symbols"),
        tile_size=np.array([t.size for t in all_tiles], np.int64),
        tile_nnz=gather("tile_nnz"),
        tile_tensor=np.repeat(np.arange(len(tensors), dtype=np.int32), n_tiles),
        tensor_names=list(image.tensors),
        pinned=pinned,
        work=work,
        masks=np.concatenate([*(t.row_masks.reshape(-1) for t in tensors), np.zeros(0, np.uint64)]),
        tile_column_nnz=np.concatenate([*(t.tile_column_nnz.reshape(-1) for t in tensors), np.zeros(0, np.uint16)]),
        dec=np.concatenate([*decs, np.zeros(0, np.int64)]),
        burst_symbols=np.concatenate([*(t.burst_symbols for t in tensors), np.zeros(0, np.int64)]),
        tile_bus_cycles=stored // chip.dram.burst_bytes * burst_cycles,
        burst_cycles=burst_cycles,
        latency_cycles=latency_cycles,
    )


def _work(tensors: list[TensorTiles], chip: Chip) -> tuple[np.ndarray, np.ndarray]:
    """(work of all columns, row of it that belongs to column 0 of each tile's row part)."""
    work, tile_work, n_columns = [np.zeros((0, chip.mac_array.pes), np.uint16)], [], 0
    for tensor in tensors:
        starts = []
        for g, (start, stop) in enumerate(tensor.part_rows if tensor.kind == "matrix" else ()):
            starts.append(n_columns)
            n_columns += tensor.cols
            work.append(work_per_pe(tensor.nnz_per_pe[g], tensor.entries_per_pe[g], stop - start, tensor.bits, chip))
        is_matrix = tensor.kind == "matrix"
        tile_work.append(np.array(starts)[tensor.row_part] if is_matrix else np.full(len(tensor.tiles), -1))
    return np.concatenate(work), np.concatenate(tile_work).astype(np.int64)


def _columns(tensors: list[TensorTiles]) -> dict[str, np.ndarray]:
    """Non-zero weights of all columns and, where they have them, their own streams."""
    nnz, entries, burst, n_bytes, metadata = ([np.zeros(0, np.int64)] for _ in range(5))
    first_burst = 0
    for tensor in tensors:
        nnz += [counts.sum(axis=1, dtype=np.int64) for counts in tensor.nnz_per_pe]
        entries += [counts.sum(axis=1, dtype=np.int64) for counts in tensor.entries_per_pe]
        for columns in tensor.columns:
            ends = first_burst + columns.burst_start
            burst.append(np.stack([ends[:-1], ends[1:]], axis=1).reshape(-1))
            n_bytes.append(columns.packed_bytes)
            metadata.append(columns.metadata_bits)
        if tensor.kind == "matrix" and not tensor.columns:
            n = len(tensor.part_rows) * tensor.cols
            burst.append(np.zeros(2 * n, np.int64))
            n_bytes.append(np.zeros(n, np.int64))
            metadata.append(np.zeros(n, np.int64))
        first_burst += len(tensor.burst_symbols)
    return {
        "column_nnz": np.concatenate(nnz),
        "column_padding": np.concatenate(entries) - np.concatenate(nnz),
        "column_burst": np.concatenate(burst).reshape(-1, 2),
        "column_bytes": np.concatenate(n_bytes),
        "column_metadata_bits": np.concatenate(metadata),
    }


def _ops(
    record: ActivityRecord, image: DramImage, chip: Chip, first_tile: dict[str, int], is_free: bool
) -> dict[str, np.ndarray]:
    """Slots, groups and parts of every op; ``is_free`` output passes take no time."""
    op_slots, op_groups, group_parts, out_cycles = [0], [0], [0], []
    slot_tiles, part_slot, part_tiles, look_ups = [], [], [], []
    for op in record.ops:
        for name in op.tensors:
            slot_tiles.append((first_tile[name], first_tile[name] + len(image.tensors[name].tiles)))
        op_slots.append(len(slot_tiles))
        ranges = image.tensors[op.tensors[0]].part_rows if op.tensors and op.cols[0] else ((0, 1),)
        for g, (start, stop) in enumerate(ranges):
            for slot, (name, cols) in enumerate(zip(op.tensors, op.cols, strict=True)):
                tensor = image.tensors[name]
                own = np.flatnonzero(tensor.row_part == g) if cols else np.arange(len(tensor.tiles))
                part_slot.append(slot)
                part_tiles.append((first_tile[name] + own[0], first_tile[name] + own[-1] + 1))
                look_ups.append(not cols)
            group_parts.append(len(part_slot))
            share = (stop - start) / ranges[-1][1]
            out_cycles.append(0 if is_free else out_pass_cycles(op.functions, share, chip))
        op_groups.append(len(out_cycles))
    return {
        "op_slots": np.array(op_slots, np.int32),
        "slot_tiles": np.array(slot_tiles, np.int32).reshape(-1, 2),
        "op_groups": np.array(op_groups, np.int32),
        "group_parts": np.array(group_parts, np.int32),
        "group_out_cycles": np.array(out_cycles, np.int64),
        "part_slot": np.array(part_slot, np.int32),
        "part_tiles": np.array(part_tiles, np.int32).reshape(-1, 2),
        "part_is_look_up": np.array(look_ups, np.bool_),
    }
