"""What every tile costs under every operand of a record: the only pass over the zero bits.

A *cell* is one tile under one matrix operand of one invocation, in the record's order. Cells do not know when they
run; how they are ordered, shared and repeated is decided afterwards.
"""

from dataclasses import dataclass

import numpy as np

from azsim.chip.config import Chip
from azsim.execute.record import ActivityRecord
from azsim.timing.load import load_columns
from azsim.timing.mac_array import balance_columns, replay_columns, sum_columns
from azsim.timing.row_dot import replay_rows
from azsim.timing.tables import ChipTables


@dataclass(frozen=True)
class Cells:
    """Counts of every cell, int64[cells] unless said otherwise.

    Attributes
    ----------
    start : int64[M + 1]
        Cells of operand m are ``start[m]:start[m + 1]``.
    tile
        Index into the tables.
    mac_cycles
        Cycles of the MAC array, without fill.
    broadcasts, broadcast_edges, queue_waits
        Activations sent to all PEs, cycles in which some were, cycles in which one waited for a queue;
        0 for ``row_dot``.
    nonzero
        Activations of the tile's columns that are not zero.
    effectual
        Products of which no operand is zero.
    padding
        Zero entries of packed form that take a lane cycle and multiply nothing.
    held_cycles
        Cycles that PEs hold the decoder up, where weights bypass the SRAM.
    load_cycles, decode_cycles, bus_cycles, stored_bytes, packed_bytes, metadata_bits, symbols
        Of one fetch of the cell's tile.
    """

    start: np.ndarray
    tile: np.ndarray
    mac_cycles: np.ndarray
    broadcasts: np.ndarray
    broadcast_edges: np.ndarray
    queue_waits: np.ndarray
    nonzero: np.ndarray
    effectual: np.ndarray
    padding: np.ndarray
    held_cycles: np.ndarray
    load_cycles: np.ndarray
    decode_cycles: np.ndarray
    bus_cycles: np.ndarray
    stored_bytes: np.ndarray
    packed_bytes: np.ndarray
    metadata_bits: np.ndarray
    symbols: np.ndarray


def replay_cells(record: ActivityRecord, tables: ChipTables, chip: Chip, is_balanced: bool = False) -> Cells:
    """Time every cell of a record on a chip.

    Parameters
    ----------
    is_balanced : bool
        Share the work evenly among the PEs (``IDEAL_PARTS["load_balance"]``).
    """
    slot = tables.op_slots[record.op].repeat(np.diff(record.part_start)) + _position(record)
    first, stop = tables.slot_tiles[slot].T.astype(np.int64) if len(slot) else np.zeros((2, 0), np.int64)
    is_look_up = record.row >= 0
    counts = np.where(is_look_up, 1, stop - first)
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    base = np.where(is_look_up, first + record.row, first)
    tile = np.repeat(base - start[:-1], counts) + np.arange(start[-1])
    n = len(tile)
    mac, broadcasts, edges, waits, nonzero, effectual, padding, held = (np.zeros(n, np.int64) for _ in range(8))
    walk = (record.op, record.part_start, record.row, record.nonzero, record.nonzero_start,
            tables.op_slots, tables.slot_tiles, start)  # fmt: skip
    array = chip.mac_array
    if array.dataflow == "row_dot":
        widest = max((int(c) for op in record.ops for c in op.cols), default=0) // 64 + 1
        lanes = int(tables.tile_lanes.max(initial=1))
        arguments = (
            *walk, tables.tile_rows, tables.tile_masks, tables.tile_cols, tables.tile_lanes,
            tables.tile_counts, tables.tile_nnz, tables.tile_column_nnz, tables.masks,
            array.skip_weights, array.skip_activations, array.lookahead, is_balanced,
            *(np.zeros(widest, np.uint64) for _ in range(3)), np.zeros(64 * widest, np.int32),
            np.zeros(int(tables.tile_rows.max(initial=0)), np.int64), np.zeros(lanes, np.int64),
            np.zeros(array.pes, np.int64), mac, nonzero, effectual,
        )  # fmt: skip
        replay_rows(*arguments)
    else:
        replay_columns(
            *walk, tables.tile_cols, tables.tile_work, tables.work, tables.column_nnz, array.skip_activations,
            array.broadcast_width, array.bubble_period, np.zeros(array.queue_depth, np.int64),
            np.zeros(tables.work.shape[1], np.int32), np.full((len(tables.tile_cols), 3), -1),
            mac, broadcasts, edges, nonzero, effectual, waits,
        )  # fmt: skip
        if tables.column_padding.any():
            sent = tables.tile_cols, tables.tile_work, tables.column_padding, array.skip_activations
            sum_columns(*walk, *sent, padding)
        if is_balanced:
            balance_columns(
                *walk, tables.tile_cols, tables.tile_work, tables.work.sum(axis=1, dtype=np.int64), array.pes,
                array.skip_activations, array.broadcast_width, array.bubble_period, mac,
            )  # fmt: skip
            waits[:] = 0
    fetch = {
        "load_cycles": tables.tile_load_cycles[tile],
        "decode_cycles": tables.tile_decode_cycles[tile],
        "stored_bytes": tables.tile_stored_bytes[tile],
        "packed_bytes": tables.tile_packed_bytes[tile],
        "metadata_bits": tables.tile_metadata_bits[tile],
        "symbols": tables.tile_symbols[tile],
    }
    burst_bytes = chip.dram.burst_bytes
    if chip.is_cut_by_columns:
        _load_by_columns(fetch, walk, tables, chip, tile, (mac, edges, waits, held))
    bus_cycles = fetch["stored_bytes"] // burst_bytes * tables.burst_cycles
    return Cells(
        start=start, tile=tile, mac_cycles=mac, broadcasts=broadcasts, broadcast_edges=edges, queue_waits=waits,
        nonzero=nonzero, effectual=effectual, padding=padding, held_cycles=held, bus_cycles=bus_cycles, **fetch,
    )  # fmt: skip


def _position(record: ActivityRecord) -> np.ndarray:
    """Of each operand among those of its invocation."""
    return np.arange(len(record.row)) - np.repeat(record.part_start[:-1], np.diff(record.part_start))


def _load_by_columns(
    fetch: dict[str, np.ndarray],
    walk: tuple[np.ndarray, ...],
    tables: ChipTables,
    chip: Chip,
    tile: np.ndarray,
    array: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Replace the fetches of streamed matrix tiles by those of their columns, and their array cycles in a bypass."""
    ends = np.concatenate([[0], np.cumsum(tables.burst_symbols)])
    symbols = ends[tables.column_burst[:, 1]] - ends[tables.column_burst[:, 0]]
    active_only, is_bypass = chip.stream.fetch == "active_columns", chip.stream.bypass_sram
    load, decode, bursts, packed, metadata, taken_symbols, taken, late = (
        np.zeros(len(tile), np.int64) for _ in range(8)
    )
    columns = (
        *walk, tables.tile_cols, tables.tile_work, tables.column_burst, tables.column_bytes,
        tables.column_metadata_bits, symbols, tables.work.max(axis=1, initial=0).astype(np.int64), tables.dec,
        active_only, chip.mac_array.skip_activations, is_bypass, tables.burst_cycles, tables.latency_cycles,
        np.zeros(chip.stream.fifo_bursts, np.int64), load, decode, bursts, packed, metadata, taken_symbols, taken, late,
    )  # fmt: skip
    load_columns(*columns)
    own = tables.tile_streams[tile] & (tables.tile_work[tile] >= 0)
    by_column = {"load_cycles": load, "decode_cycles": decode, "stored_bytes": bursts * chip.dram.burst_bytes,
                 "packed_bytes": packed, "metadata_bits": metadata, "symbols": taken_symbols}  # fmt: skip
    for name, values in by_column.items():
        fetch[name] = np.where(own, values, fetch[name])
    if is_bypass:
        mac, edges, waits, held = array
        mac[own], held[own], waits[own] = taken[own], late[own], 0
        edges[own] = np.minimum(edges[own], taken[own])
