"""From units, cells and tables to the flat arrays that the recurrences time.

An op whose rows were split is several ops here, one per row part, each with its share of the output pass.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from azsim.chip.config import Chip
from azsim.execute.record import ActivityRecord
from azsim.timing.cells import Cells
from azsim.timing.order import Units
from azsim.timing.recurrences import Program
from azsim.timing.tables import ChipTables


@dataclass(frozen=True)
class Invocations:
    """A program with what each of its tiles and ops stands for.

    Attributes
    ----------
    tile, cell : int64[I]
        Index into the tables' tiles; and into the cells, where the tile's fetch is described (-1: a tile that is
        fetched in vain, described by the tables).
    array_cycles : int64[I]
        Cycles in which the array works on the tile, fill included.
    group, op, frame : int64[O]
        Index into the tables' groups, op of the record, and frame.
    first : int64[O]
        First invocation of the record that the op stands for; -1 for a wasted one.
    op_of : int64[N]
        Op of the program that writes the results of each invocation of the record.
    """

    program: Program
    tile: np.ndarray
    cell: np.ndarray
    array_cycles: np.ndarray
    group: np.ndarray
    op: np.ndarray
    frame: np.ndarray
    first: np.ndarray
    op_of: np.ndarray


@njit(cache=True, nogil=True)
def measure(op, unit_slots, unit_start, is_wasted, op_groups, group_parts, part_slot, part_tiles, look_up):
    """(ops, parts, tiles) that the units become."""
    ops, parts, tiles = 0, 0, 0
    for u in range(op.shape[0]):
        for g in range(op_groups[op[u]], op_groups[op[u] + 1]):
            ops += 1
            own = 0
            for q in range(group_parts[g], group_parts[g + 1]):
                if (unit_slots[u] >> part_slot[q]) & 1 == 0 or (is_wasted[u] and look_up[q]):
                    continue
                own += 1
                tiles += unit_start[u + 1] - unit_start[u] if look_up[q] else part_tiles[q, 1] - part_tiles[q, 0]
            parts += max(1, own)
    return ops, parts, tiles


@njit(cache=True, nogil=True)
def lay_out(
    op, unit_start, invocations, unit_slots, decided_by, fetch_after, is_wasted, out_passes, reuse, takes_set,
    unit_frame,
    part_start, part_reads_frame, reads_frame, read_start, reads, op_read_start, op_reads, row, arrival,
    op_groups, group_parts, group_out_cycles, part_slot, part_tiles, look_up, op_slots, slot_tiles, streams,
    stored_bytes, table_load_cycles, cell_start, cell_mac, cell_load, cell_stored, fill_cycles, by_columns, is_bypass,
    unit_op,
    op_of, op_unit, op_group, op_takes_set, op_decided_by, op_fetch_after, op_is_wasted, op_parts, op_tiles,
    op_out_cycles, part_op, part_arrival, out_read_start, out_reads,
    tile_part, tile_of, tile_cell, tile_streams, tile_release, waits_for_input, bypasses, load_cycles, mac_cycles,
    array_cycles,
):  # fmt: skip
    """Fill the arrays of ``Program`` and ``Invocations`` (sizes: ``measure``); ``unit_op`` int64[U] is scratch."""
    o, p, r, i = 0, 0, 0, 0
    kept = 0  # first tile of the unit whose tiles are being reused
    for u in range(op.shape[0]):
        first_invocation, last_invocation = unit_start[u], unit_start[u + 1]
        for g in range(op_groups[op[u]], op_groups[op[u] + 1]):
            op_unit[o], op_group[o] = u, g
            op_out_cycles[o] = group_out_cycles[g] * out_passes[u]
            op_decided_by[o] = op_of[decided_by[u]] if decided_by[u] >= 0 else -1
            op_fetch_after[o] = op_of[fetch_after[u]] if fetch_after[u] >= 0 else -1
            op_is_wasted[o] = is_wasted[u]
            op_takes_set[o] = takes_set[u]
            op_parts[o], op_tiles[o] = p, i
            fill = fill_cycles
            if reuse[u] == 1:  # KEEPS_TILES
                kept = i
            own = 0
            for q in range(group_parts[g], group_parts[g + 1]):
                if (unit_slots[u] >> part_slot[q]) & 1 == 0 or (is_wasted[u] and look_up[q]):
                    continue
                own += 1
                part_op[p], part_arrival[p], out_read_start[p] = o, -1, r
                for at in range(first_invocation, last_invocation):
                    operand = part_start[invocations[at]] + part_slot[q]
                    if part_reads_frame[operand]:
                        part_arrival[p] = max(part_arrival[p], arrival[unit_frame[u]])
                    for k in range(read_start[operand], read_start[operand + 1]):
                        out_reads[r] = op_of[reads[k]]
                        r += 1
                if look_up[q]:
                    for at in range(first_invocation, last_invocation):
                        operand = part_start[invocations[at]] + part_slot[q]
                        cell = cell_start[operand]
                        tile = part_tiles[q, 0] + row[operand]
                        tile_part[i], tile_of[i], tile_cell[i], tile_release[i] = p, tile, cell, i
                        tile_streams[i] = streams[tile] and stored_bytes[tile] > 0
                        load_cycles[i] = table_load_cycles[tile] if tile_streams[i] else 0
                        i += 1
                else:
                    base = slot_tiles[op_slots[op[u]] + part_slot[q], 0]
                    for tile in range(part_tiles[q, 0], part_tiles[q, 1]):
                        tile_part[i], tile_of[i], tile_cell[i], tile_release[i] = p, tile, -1, i
                        tile_streams[i] = streams[tile] and reuse[u] != 2
                        load_cycles[i] = table_load_cycles[tile]
                        for at in range(first_invocation, last_invocation):
                            operand = part_start[invocations[at]] + part_slot[q]
                            cell = cell_start[operand] + tile - base
                            tile_cell[i] = cell if tile_cell[i] < 0 else tile_cell[i]
                            array_cycles[i] += cell_mac[cell]
                            load_cycles[i] = cell_load[cell]
                            tile_streams[i] = tile_streams[i] and cell_stored[cell] > 0
                        waits_for_input[i] = by_columns
                        bypasses[i] = is_bypass and tile_streams[i]
                        if not is_wasted[u]:
                            mac_cycles[i] = fill if bypasses[i] else fill + array_cycles[i]
                            array_cycles[i] += fill
                            fill = 0
                        if not tile_streams[i]:
                            load_cycles[i] = 0
                        if reuse[u] == 2:  # REUSES_TILES
                            tile_release[kept + i - op_tiles[o]] = i
                        i += 1
                p += 1
            if own == 0:
                part_op[p], part_arrival[p], out_read_start[p] = o, -1, r
                p += 1
            if out_passes[u] > 0:  # what an output pass reads delays the last part
                for at in range(first_invocation, last_invocation):
                    n = invocations[at]
                    if reads_frame[n]:
                        part_arrival[p - 1] = max(part_arrival[p - 1], arrival[unit_frame[u]])
                    for k in range(op_read_start[n], op_read_start[n + 1]):
                        out_reads[r] = op_of[op_reads[k]]
                        r += 1
            o += 1
        unit_op[u] = o - 1
        for at in range(first_invocation, last_invocation):
            op_of[invocations[at]] = o - 1
    op_parts[o], op_tiles[o] = p, i
    out_read_start[p] = r


def build_program(
    record: ActivityRecord, tables: ChipTables, cells: Cells, units: Units, chip: Chip, arrival: np.ndarray
) -> Invocations:
    """Lay units out in time order.

    Parameters
    ----------
    arrival : int64[T]
        Edge at which each frame's features are there.
    """
    ops, parts, tiles = measure(
        units.op, units.slots, units.start, units.is_wasted, tables.op_groups, tables.group_parts, tables.part_slot,
        tables.part_tiles, tables.part_is_look_up,
    )  # fmt: skip
    most_groups = int(np.diff(tables.op_groups).max(initial=1))
    room = most_groups * (len(record.reads) + 2 * len(record.op_reads))
    of_op: dict[str, np.ndarray] = {name: np.zeros(ops, np.int64) for name in ("unit", "group")}
    of_op |= {
        "takes_set": np.zeros(ops, np.bool_), "decided_by": np.zeros(ops, np.int64),
        "fetch_after": np.zeros(ops, np.int64), "is_wasted": np.zeros(ops, np.bool_),
        "parts": np.zeros(ops + 1, np.int64), "tiles": np.zeros(ops + 1, np.int64), "out": np.zeros(ops, np.int64),
    }  # fmt: skip
    of_part = {
        "part_op": np.zeros(parts, np.int64), "part_arrival": np.zeros(parts, np.int64),
        "read_start": np.zeros(parts + 1, np.int64), "reads": np.zeros(room, np.int64),
    }  # fmt: skip
    of_tile: dict[str, np.ndarray] = {name: np.zeros(tiles, np.int64) for name in ("part", "of", "cell")}
    of_tile |= {
        "streams": np.zeros(tiles, np.bool_), "release": np.zeros(tiles, np.int64),
        "waits": np.zeros(tiles, np.bool_), "bypasses": np.zeros(tiles, np.bool_),
        "load": np.zeros(tiles, np.int64), "mac": np.zeros(tiles, np.int64), "array": np.zeros(tiles, np.int64),
    }  # fmt: skip
    unit_op, op_of = np.zeros(len(units.op), np.int64), np.zeros(len(record), np.int64)
    lay_out(
        units.op, units.start, units.invocations, units.slots, units.decided_by, units.fetch_after, units.is_wasted,
        units.out_passes, units.reuse, units.takes_set, units.frame,
        record.part_start, record.part_reads_frame, record.reads_frame, record.read_start, record.reads,
        record.op_read_start, record.op_reads, record.row, arrival,
        tables.op_groups, tables.group_parts, tables.group_out_cycles, tables.part_slot, tables.part_tiles,
        tables.part_is_look_up, tables.op_slots, tables.slot_tiles, tables.tile_streams, tables.tile_stored_bytes,
        tables.tile_load_cycles, cells.start, cells.mac_cycles, cells.load_cycles, cells.stored_bytes,
        chip.mac_array.fill_cycles, chip.stream.fetch == "active_columns", chip.stream.bypass_sram, unit_op,
        op_of, *of_op.values(), *of_part.values(), *of_tile.values(),
    )  # fmt: skip
    set_end = units.set_end[of_op["unit"]]
    program = Program(
        **of_part,
        op_parts=of_op["parts"],
        op_tiles=of_op["tiles"],
        op_takes_set=of_op["takes_set"],
        op_set_end=np.where(set_end == of_op["unit"], np.arange(ops), unit_op[set_end]),
        op_decided_by=of_op["decided_by"],
        op_fetch_after=of_op["fetch_after"],
        op_is_wasted=of_op["is_wasted"],
        out_cycles=of_op["out"],
        tile_part=of_tile["part"],
        tile_streams=of_tile["streams"],
        tile_release=of_tile["release"],
        tile_waits_for_input=of_tile["waits"],
        tile_bypasses=of_tile["bypasses"],
        load_cycles=of_tile["load"],
        mac_cycles=of_tile["mac"],
    )
    unit = of_op["unit"]
    padded = np.append(units.invocations, -1)
    first = np.where(units.is_wasted[unit], -1, padded[units.start[unit]])
    return Invocations(
        program, of_tile["of"], of_tile["cell"], of_tile["array"], of_op["group"], units.op[unit], units.frame[unit],
        first, op_of,
    )  # fmt: skip
