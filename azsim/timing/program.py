"""From an activity record, an image and a chip to the flat arrays that the recurrences time.

What depends on the chip but not on the audio (tiles, load cycles, work per PE, output passes) is
tabulated once per chip in ``ChipTables``; what depends on the audio is laid out by one kernel.
An op whose rows were split is several ops here, one per row part, each with its share of the output pass.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from azsim.chip.config import Chip
from azsim.execute.record import ActivityRecord
from azsim.timing.load import tensor_load_cycles
from azsim.timing.mac_array import replay_array, work_per_pe
from azsim.timing.recurrences import Program
from azsim.weights.image import DramImage


@dataclass(frozen=True)
class ChipTables:
    """Everything about a network on a chip that no audio changes.

    ``groups`` are (op, row part) pairs, ``parts`` their matrix operands, ``tiles`` those of all tensors.
    """

    op_groups: np.ndarray  # int32[ops + 1]
    group_parts: np.ndarray  # int32[groups + 1]
    group_out_cycles: np.ndarray  # int64[groups]
    part_slot: np.ndarray  # int32[parts]
    part_tiles: np.ndarray  # int32[parts, 2]
    part_work: np.ndarray  # int64[parts], -1 for a look-up
    part_rows: np.ndarray  # int64[parts]
    tile_cols: np.ndarray  # int32[tiles, 2]
    tile_load_cycles: np.ndarray  # int64[tiles]
    tile_decode_cycles: np.ndarray  # int64[tiles], decoder busy
    tile_bus_cycles: np.ndarray  # int64[tiles], DRAM bus busy
    tile_streams: np.ndarray  # bool[tiles]
    tile_packed_bytes: np.ndarray  # int64[tiles]
    tile_stored_bytes: np.ndarray  # int64[tiles]
    tile_metadata_bits: np.ndarray  # int64[tiles]
    tile_symbols: np.ndarray  # int64[tiles]
    tile_size: np.ndarray  # int64[tiles], weights
    tile_tensor: np.ndarray  # int32[tiles]
    tensor_names: list[str]
    work: np.ndarray  # uint16[columns, pes]
    column_nnz: np.ndarray  # int64[columns]


def out_pass_cycles(functions: dict[str, int], share: float, chip: Chip) -> int:
    """fill + sum over functions of ceil(elements / lanes of that function); ``share`` of a row part."""
    unit = chip.vector_unit
    elements = {name: int(np.ceil(n * share - 1e-9)) for name, n in functions.items()}
    return unit.fill_cycles + sum(-(-n // unit.lanes[name]) for name, n in elements.items())


def tabulate_chip(record: ActivityRecord, image: DramImage, chip: Chip) -> ChipTables:
    """Tables of the ops of a record on a chip; the record's activations are not looked at."""
    names = list(image.tensors)
    first_tile, first_column = {}, {}
    work, column_nnz, loads, decodes = [], [], [], []
    n_tiles = n_columns = 0
    for name in names:
        tensor = image.tensors[name]
        first_tile[name] = n_tiles
        n_tiles += len(tensor.tiles)
        load, decode = tensor_load_cycles(tensor, chip)
        loads.append(load)
        decodes.append(decode)
        for g, (start, stop) in enumerate(tensor.part_rows if tensor.kind == "matrix" else ()):
            first_column[name, g] = n_columns
            n_columns += tensor.cols
            work.append(work_per_pe(tensor.nnz_per_pe[g], tensor.entries_per_pe[g], stop - start, chip))
            column_nnz.append(tensor.nnz_per_pe[g].sum(axis=1, dtype=np.int64))
    op_groups, group_parts, out_cycles = [0], [0], []
    slots, tiles, works, rows = [], [], [], []
    for op in record.ops:
        ranges = image.tensors[op.tensors[0]].part_rows if op.tensors and op.cols[0] else ((0, 1),)
        for g, (start, stop) in enumerate(ranges):
            for slot, (name, cols) in enumerate(zip(op.tensors, op.cols, strict=True)):
                tensor = image.tensors[name]
                own = np.flatnonzero(tensor.row_part == g) if cols else np.arange(len(tensor.tiles))
                slots.append(slot)
                tiles.append((first_tile[name] + own[0], first_tile[name] + own[-1] + 1))
                works.append(first_column[name, g] if cols else -1)
                rows.append(stop - start if cols else 0)
            group_parts.append(len(slots))
            share = (stop - start) / ranges[-1][1]
            out_cycles.append(out_pass_cycles(op.functions, share, chip))
        op_groups.append(len(out_cycles))
    tensors = [image.tensors[name] for name in names]
    gather = lambda key: np.concatenate([getattr(t, key) for t in tensors])  # noqa: E731
    all_tiles = [tile for t in tensors for tile in t.tiles]
    stored = gather("stored_bytes")
    pinned = np.concatenate([np.full(len(t.tiles), t.pinned) for t in tensors])
    return ChipTables(
        op_groups=np.array(op_groups, np.int32),
        group_parts=np.array(group_parts, np.int32),
        group_out_cycles=np.array(out_cycles, np.int64),
        part_slot=np.array(slots, np.int32),
        part_tiles=np.array(tiles, np.int32).reshape(-1, 2),
        part_work=np.array(works, np.int64),
        part_rows=np.array(rows, np.int64),
        tile_cols=np.array([(t.col_start, t.col_stop) for t in all_tiles], np.int32).reshape(-1, 2),
        tile_load_cycles=np.concatenate(loads),
        tile_decode_cycles=np.concatenate(decodes),
        tile_bus_cycles=stored // chip.dram.burst_bytes * chip.burst_cycles,
        tile_streams=(stored > 0) & ~pinned,
        tile_packed_bytes=gather("packed_bytes"),
        tile_stored_bytes=stored,
        tile_metadata_bits=gather("metadata_bits"),
        tile_symbols=gather("symbols"),
        tile_size=np.array([t.size for t in all_tiles], np.int64),
        tile_tensor=np.repeat(np.arange(len(names), dtype=np.int32), [len(t.tiles) for t in tensors]),
        tensor_names=names,
        work=np.concatenate([*work, np.zeros((0, chip.mac_array.pes), np.uint16)]),
        column_nnz=np.concatenate([*column_nnz, np.zeros(0, np.int64)]),
    )


@dataclass(frozen=True)
class Invocations:
    """A program with what each of its tiles and ops stands for."""

    program: Program
    tile: np.ndarray  # int64[I], index into ChipTables' tiles
    group: np.ndarray  # int32[O], index into ChipTables' groups
    invocation: np.ndarray  # int32[O], index into the record
    broadcasts: np.ndarray  # int64[I]
    effectual: np.ndarray  # int64[I]
    queue_waits: np.ndarray  # int64[I]


@njit(cache=True, nogil=True)
def lay_out(
    record_op, part_start, part_reads_frame, reads_frame, frame, decided_by, read_start, reads, op_read_start, op_reads,
    row, arrival, op_groups, group_parts, group_out_cycles, part_slot, part_tiles,
    last_op, op_group, op_invocation, out_cycles, op_accumulates, op_decided_by, op_parts, op_tiles,
    part_op, part_arrival, out_read_start, out_reads, tile_part,
):  # fmt: skip
    """Fill the arrays of ``Program`` from the record; ``last_op`` int64[N] is scratch. Sizes were counted before."""
    o, p, r, i = 0, 0, 0, 0
    for n in range(record_op.shape[0]):
        op = record_op[n]
        for g in range(op_groups[op], op_groups[op + 1]):
            op_group[o] = g
            op_invocation[o] = n
            out_cycles[o] = group_out_cycles[g]
            op_decided_by[o] = last_op[decided_by[n]] if decided_by[n] >= 0 else -1
            op_parts[o] = p
            op_tiles[o] = i
            is_pass = group_parts[g] == group_parts[g + 1]
            first, stop = group_parts[g], group_parts[g + 1] + (1 if is_pass else 0)
            for q in range(first, stop):
                part_op[p] = o
                part_arrival[p] = -1
                out_read_start[p] = r
                if not is_pass:
                    operand = part_start[n] + part_slot[q]
                    if part_reads_frame[operand]:
                        part_arrival[p] = arrival[frame[n]]
                    for k in range(read_start[operand], read_start[operand + 1]):
                        out_reads[r] = last_op[reads[k]]
                        r += 1
                    if row[operand] >= 0:
                        tile_part[i] = p
                        i += 1
                    else:
                        op_accumulates[o] = True
                        for _ in range(part_tiles[q, 0], part_tiles[q, 1]):
                            tile_part[i] = p
                            i += 1
                if q == stop - 1:
                    if reads_frame[n]:
                        part_arrival[p] = arrival[frame[n]]
                    for k in range(op_read_start[n], op_read_start[n + 1]):
                        out_reads[r] = last_op[op_reads[k]]
                        r += 1
                p += 1
            o += 1
        last_op[n] = o - 1
    op_parts[o] = p
    op_tiles[o] = i
    out_read_start[p] = r


def build_program(record: ActivityRecord, tables: ChipTables, chip: Chip, arrival: np.ndarray) -> Invocations:
    """Lay a record out on a chip and time its MAC array.

    Parameters
    ----------
    arrival : int64[T]
        Edge at which each frame's features are there.
    """
    groups = np.diff(tables.op_groups)
    per_group_parts = np.maximum(1, np.diff(tables.group_parts))
    counts = tables.part_tiles[:, 1] - tables.part_tiles[:, 0]
    tiles_of_part = np.where(tables.part_work >= 0, counts, 1)
    sums = np.concatenate([[0], np.cumsum(tiles_of_part)])
    per_group_tiles = sums[tables.group_parts[1:]] - sums[tables.group_parts[:-1]]
    per_op = lambda values: np.add.reduceat(values, tables.op_groups[:-1])  # noqa: E731
    n_ops = int(groups[record.op].sum())
    n_parts = int(per_op(per_group_parts)[record.op].sum())
    n_tiles = int(per_op(per_group_tiles)[record.op].sum())
    n_reads = int(groups.max() * (len(record.reads) + len(record.op_reads)))
    scratch = np.zeros(chip.mac_array.queue_depth, np.int64), np.zeros(chip.mac_array.pes, np.int64)
    per_tile = [np.zeros(n_tiles, np.int64) for _ in range(5)]
    tile, mac_cycles, broadcasts, effectual, queue_waits = per_tile
    replay_array(
        record.op, record.part_start, record.row, record.nonzero, record.nonzero_start,
        tables.op_groups, tables.group_parts, tables.part_slot, tables.part_tiles, tables.part_work, tables.tile_cols,
        tables.work, tables.column_nnz, chip.mac_array.skip_activations, chip.mac_array.bubble_period,
        chip.mac_array.fill_cycles, *scratch, *per_tile,
    )  # fmt: skip
    out: dict[str, np.ndarray] = {
        "op_group": np.zeros(n_ops, np.int32), "op_invocation": np.zeros(n_ops, np.int32),
        "out_cycles": np.zeros(n_ops, np.int64), "op_accumulates": np.zeros(n_ops, np.bool_),
        "op_decided_by": np.zeros(n_ops, np.int64), "op_parts": np.zeros(n_ops + 1, np.int64),
        "op_tiles": np.zeros(n_ops + 1, np.int64), "part_op": np.zeros(n_parts, np.int64),
        "part_arrival": np.zeros(n_parts, np.int64), "read_start": np.zeros(n_parts + 1, np.int64),
        "reads": np.zeros(n_reads, np.int64), "tile_part": np.zeros(n_tiles, np.int64),
    }  # fmt: skip
    lay_out(
        record.op, record.part_start, record.part_reads_frame, record.reads_frame, record.frame, record.decided_by,
        record.read_start, record.reads, record.op_read_start, record.op_reads, record.row, arrival,
        tables.op_groups, tables.group_parts, tables.group_out_cycles, tables.part_slot, tables.part_tiles,
        np.zeros(len(record), np.int64), *out.values(),
    )  # fmt: skip
    group, invocation = out.pop("op_group"), out.pop("op_invocation")
    program = Program(
        tile_streams=tables.tile_streams[tile], load_cycles=tables.tile_load_cycles[tile], mac_cycles=mac_cycles, **out
    )
    return Invocations(program, tile, group, invocation, broadcasts, effectual, queue_waits)
