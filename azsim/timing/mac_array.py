"""How long a column-broadcast MAC array needs for a tile: activations, queues, the slowest PE.

Row r belongs to PE ``r % pes``. Non-zero activations are broadcast, ``width`` of them per cycle; a queue of
D usable slots per PE lets PEs run apart. k counts broadcasts, b[-1] = -1, and bubbles elapse while a queue is
full::

    b[k]     = max(next edge of the broadcaster,  max_p pop[k-D, p] + 1)
    pop[k,p] = max(b[k] + 1, pop[k-1, p] + work[k-1, p])
    cycles   = max_p(pop[K-1, p] + work[K-1, p]) + fill;     K = 0 gives fill

The broadcaster's next edge is b[k-1] + 1 + bubble[k], or b[k-1] itself while fewer than ``width`` activations
went at that edge and no bubble stands before k. ``max_p pop[k, p]`` is one number per broadcast, so a
queue needs a ring of D numbers, not D x pes.

Source
------
Published  zero operands are skipped: amazon.science, "On-device speech processing makes Alexa
           faster, lower-bandwidth" (2022).
Borrowed   interleaved rows, broadcast, queues, at least one cycle per broadcast even for an empty
           column: Han et al., EIE, ISCA 2016.
Assumed    ``scan_width``: what a PE must look at to find its non-zero weights in refilled form; several
           broadcasts per cycle enter a queue together and leave it one by one.

Left out
--------
Conflicts of lanes on accumulators and of PEs on SRAM banks (EIE bypasses the first). They only add cycles.
"""

import numpy as np
from numba import njit

from azsim.chip.config import Chip
from azsim.errors import AzsimError


@njit(cache=True, nogil=True)
def broadcast_column(work, at, k, earliest, pop_max, finish):
    """One broadcast: the edge at which it happens, given the earliest one the broadcaster allows.

    ``finish[p]`` is when PE p is done with everything before; ``pop_max`` the ring of max_p pop.
    Returns b[k].
    """
    depth = pop_max.shape[0]
    b = earliest
    if k >= depth:
        b = max(b, pop_max[k % depth] + 1)
    latest = np.int32(0)
    first = np.int32(b + 1)
    for p in range(finish.shape[0]):
        pop = max(first, finish[p])
        latest = max(latest, pop)
        finish[p] = pop + np.int32(work[at, p])
    pop_max[k % depth] = latest
    return b


@njit(cache=True, nogil=True)
def next_edge(b, sent, width, bubble):
    """Earliest edge of the next broadcast after ``sent`` activations went at edge ``b``."""
    if bubble > 0 or sent >= width:
        return b + 1 + bubble
    return b


@njit(cache=True, nogil=True)
def array_cycles(work, bubbles, width, pop_max, finish):
    """Cycles without fill for ready-made ``work`` int[K, pes]; scratch pop_max[D], finish int32[pes]."""
    finish[:] = 0
    b, sent = np.int64(-1), width
    for k in range(work.shape[0]):
        at = broadcast_column(work, k, k, next_edge(b, sent, width, bubbles[k]), pop_max, finish)
        sent = sent + 1 if at == b else 1
        b = at
    return finish.max()


def column_broadcast_cycles(
    work: np.ndarray,
    queue_depth: int,
    bubbles: np.ndarray | None = None,
    fill_cycles: int = 7,
    broadcast_width: int = 1,
) -> int:
    """Cycles of one tile on a column-broadcast array, so that any array model can be checked from outside.

    Parameters
    ----------
    work : int[K, pes]
        Cycles that PE p needs for the k-th broadcast activation, each at least 1.
    queue_depth : int
        Usable activation slots in front of each PE, at least 1.
    bubbles : int[K], optional
        Idle broadcast cycles before activation k; none by default.
    fill_cycles : int
        Pipeline fill and drain.
    broadcast_width : int
        Activations that may be broadcast at one edge.

    Returns
    -------
    int
        From the first broadcast to the last accumulation.
    """
    work = np.ascontiguousarray(work, np.int64)
    if work.ndim != 2 or (work.size and work.min() < 1):
        raise AzsimError(f"`work` must be int[K, pes] with entries of at least 1, but has shape {work.shape}")
    if queue_depth < 1 or fill_cycles < 0 or broadcast_width < 1:
        raise AzsimError(
            f"`queue_depth >= 1`, `fill_cycles >= 0` and `broadcast_width >= 1` must hold, got {queue_depth}, "
            f"{fill_cycles} and {broadcast_width}"
        )
    if work.size and int(work.max()) * len(work) >= 2**30:
        raise AzsimError(f"`work` of {len(work):,} broadcasts up to {int(work.max()):,} cycles could pass 2**30 cycles")
    idle = np.zeros(len(work), np.int64) if bubbles is None else np.ascontiguousarray(bubbles, np.int64)
    if idle.shape != (len(work),) or (idle.size and idle.min() < 0):
        raise AzsimError(f"`bubbles` must be int[{len(work)}], none negative, but has shape {idle.shape}")
    if work.size == 0:
        return fill_cycles
    scratch = np.zeros(queue_depth, np.int64), np.zeros(work.shape[1], np.int32)
    return int(array_cycles(work, idle, broadcast_width, *scratch)) + fill_cycles


def work_per_pe(nnz: np.ndarray, entries: np.ndarray, rows: int, bits: int, chip: Chip) -> np.ndarray:
    """Cycles that each PE needs for each column, uint16[cols, pes].

    ``max(1, ceil(entries / lanes), ceil(scanned / scan_width))``: entries are the non-zero weights if
    they alone are issued, all of the PE's rows otherwise, and the codec's entries in packed form; in
    refilled form a PE scans all of its rows of the column to find the non-zero ones.

    Parameters
    ----------
    nnz, entries : uint16[cols, pes]
        Of one row part.
    rows : int
        Rows of the part.
    bits : int
        Width of its weights; lanes may take two narrow ones per cycle.
    """
    array = chip.mac_array
    owned = np.array([len(range(p, rows, array.pes)) for p in range(array.pes)], np.int64)
    packed = chip.weight_sram.form == "packed"
    issued = entries.astype(np.int64) if packed else nnz.astype(np.int64)
    if not array.skip_weights:
        issued = np.maximum(issued, owned[None, :])
    scanned = 0 if packed or not array.skip_weights else owned[None, :]
    lane_cycles = -(-issued // array.lanes_for(bits))
    scan_cycles = -(-np.asarray(scanned) // array.scan_width)
    return np.maximum(1, np.maximum(lane_cycles, scan_cycles)).astype(np.uint16)


@njit(cache=True, nogil=True)
def broadcast_tile(
    work, base, first, stop, nonzero, bits, skips, width, bubble_period, pop_max, finish
):  # fmt: skip
    """(cycles in which something is sent, cycles waited for a queue) of one tile; ``finish`` has the PEs' ends.

    Columns ``first`` to ``stop`` of the operand whose bits begin at byte ``bits`` meet rows ``base + column`` of
    ``work``.
    """
    finish[:] = 0
    b, k, sent = np.int64(-1), np.int64(0), np.int64(width)
    waits, busy = np.int64(0), np.int64(0)
    previous = first
    for c in range(first, stop):
        if skips and (nonzero[bits + (c >> 3)] >> (c & 7)) & 1 == 0:
            continue
        bubble = 0
        if bubble_period > 0:
            bubble = (c - first) // bubble_period - (previous - first) // bubble_period
        earliest = next_edge(b, sent, width, bubble)
        at = broadcast_column(work, base + c, k, earliest, pop_max, finish)
        waits += at - earliest
        if at == b:
            sent += 1
        else:
            sent = np.int64(1)
            busy += 1
        b = at
        previous = c
        k += 1
    return busy, waits


@njit(cache=True, nogil=True)
def replay_columns(
    op, part_start, row, nonzero, nonzero_start, op_slots, slot_tiles, cell_start, tile_cols, tile_work,
    work, column_nnz, skip_activations, width, bubble_period, pop_max, finish, whole,
    mac_cycles, broadcasts, edges, nonzeros, effectual, queue_waits,
):  # fmt: skip
    """MAC cycles, without fill, of every tile under every operand of a record.

    A *cell* is one tile under one operand; cells of operand m are ``cell_start[m]:cell_start[m + 1]``, in the
    order of its tensor's tiles. A look-up has one cell and costs nothing.

    Parameters
    ----------
    op, part_start, row, nonzero, nonzero_start
        Of the ActivityRecord.
    op_slots : int32[ops + 1], slot_tiles : int32[slots, 2]
        Operands of an op, and the range of tiles of each one's tensor.
    tile_cols : int32[tiles, 2], tile_work : int64[tiles]
        Columns of a tile, and the row of ``work`` where column 0 of its row part stands.
    work : uint16[columns, pes], column_nnz : int64[columns]
    skip_activations, width, bubble_period : int
    pop_max : int64[D], finish : int32[pes]
        Scratch.
    whole : int64[tiles, 3]
        In: -1. A tile whose columns are all broadcast takes the same time whenever they are: cycles, edges and waits
        are kept here and not worked out again.
    mac_cycles, broadcasts, edges, nonzeros, effectual, queue_waits : int64[cells]
        Out. ``edges`` are cycles in which the broadcaster sends something, ``nonzeros`` activations that are not zero.
    """
    for n in range(op.shape[0]):
        for part in range(part_start[n], part_start[n + 1]):
            if row[part] >= 0:
                continue
            slot = op_slots[op[n]] + part - part_start[n]
            bits = nonzero_start[part]
            cell = cell_start[part]
            for tile in range(slot_tiles[slot, 0], slot_tiles[slot, 1]):
                first, stop = tile_cols[tile, 0], tile_cols[tile, 1]
                useful, on = np.int64(0), np.int64(0)
                for c in range(first, stop):
                    if (nonzero[bits + (c >> 3)] >> (c & 7)) & 1:
                        useful += column_nnz[tile_work[tile] + c]
                        on += 1
                k = on if skip_activations else np.int64(stop - first)
                if k < stop - first or whole[tile, 0] < 0:
                    busy, waits = broadcast_tile(
                        work, tile_work[tile], first, stop, nonzero, bits, k < stop - first, width, bubble_period,
                        pop_max, finish,
                    )  # fmt: skip
                    mac_cycles[cell], edges[cell], queue_waits[cell] = finish.max(), busy, waits
                    if k == stop - first:
                        whole[tile, 0], whole[tile, 1], whole[tile, 2] = finish.max(), busy, waits
                else:
                    mac_cycles[cell], edges[cell], queue_waits[cell] = whole[tile, 0], whole[tile, 1], whole[tile, 2]
                broadcasts[cell] = k
                nonzeros[cell] = on
                effectual[cell] = useful
                cell += 1


@njit(cache=True, nogil=True)
def sum_columns(
    op, part_start, row, nonzero, nonzero_start, op_slots, slot_tiles, cell_start, tile_cols, tile_work,
    values, skip_activations, sums,
):  # fmt: skip
    """Sum of a value per column over the columns that are sent, for every cell.

    Parameters
    ----------
    values : int64[columns]
    sums : int64[cells]
        Out.
    """
    for n in range(op.shape[0]):
        for part in range(part_start[n], part_start[n + 1]):
            if row[part] >= 0:
                continue
            slot = op_slots[op[n]] + part - part_start[n]
            bits, cell = nonzero_start[part], cell_start[part]
            for tile in range(slot_tiles[slot, 0], slot_tiles[slot, 1]):
                total = np.int64(0)
                for c in range(tile_cols[tile, 0], tile_cols[tile, 1]):
                    if not skip_activations or (nonzero[bits + (c >> 3)] >> (c & 7)) & 1:
                        total += values[tile_work[tile] + c]
                sums[cell] = total
                cell += 1


@njit(cache=True, nogil=True)
def balance_columns(
    op, part_start, row, nonzero, nonzero_start, op_slots, slot_tiles, cell_start, tile_cols, tile_work,
    column_work, pes, skip_activations, width, bubble_period, mac_cycles,
):  # fmt: skip
    """Cycles of every cell, without fill, if work were shared evenly and no queue ever filled.

    A floor of ``replay_columns``: no array ends before the mean work of its PEs is done, or before its last activation
    is sent, popped and worked on for a cycle.

    Parameters
    ----------
    column_work : int64[columns]
        Summed over the PEs.
    mac_cycles : int64[cells]
        Out.
    """
    for n in range(op.shape[0]):
        for part in range(part_start[n], part_start[n + 1]):
            if row[part] >= 0:
                continue
            slot = op_slots[op[n]] + part - part_start[n]
            bits, cell = nonzero_start[part], cell_start[part]
            for tile in range(slot_tiles[slot, 0], slot_tiles[slot, 1]):
                total, sent, first = np.int64(0), np.int64(0), tile_cols[tile, 0]
                last = first
                for c in range(first, tile_cols[tile, 1]):
                    if skip_activations and (nonzero[bits + (c >> 3)] >> (c & 7)) & 1 == 0:
                        continue
                    total += column_work[tile_work[tile] + c]
                    sent += 1
                    last = c
                bubbles = (last - first) // bubble_period if bubble_period > 0 else 0
                mac_cycles[cell] = 0
                if sent > 0:
                    mac_cycles[cell] = 1 + max((total + pes - 1) // pes, (sent + width - 1) // width + bubbles)
                cell += 1
