"""How long the MAC array needs for a tile: broadcast activations, queues, the slowest PE.

``column_broadcast``: row r belongs to PE ``r % pes``. Non-zero activations are broadcast one per
cycle; a queue of D usable slots per PE lets PEs run apart. k counts broadcasts, b[-1] = -1, and
bubbles elapse while a queue is full::

    b[k]     = max(b[k-1] + 1 + bubble[k],  max_p pop[k-D, p] + 1)
    pop[k,p] = max(b[k] + 1, pop[k-1, p] + work[k-1, p])
    cycles   = max_p(pop[K-1, p] + work[K-1, p]) + fill;     K = 0 gives fill

``max_p pop[k, p]`` is one number per broadcast, so a queue needs a ring of D numbers, not D x pes.

Source
------
Published  zero operands are skipped: amazon.science, "On-device speech processing makes Alexa
           faster, lower-bandwidth" (2022).
Borrowed   interleaved rows, broadcast, queues, at least one cycle per broadcast even for an empty
           column: Han et al., EIE, ISCA 2016.
Assumed    ``scan_width``: what a PE must look at to find its non-zero weights in refilled form.

Left out
--------
Bank conflicts of the weight SRAM, and accumulate hazards (EIE bypasses them). They only add cycles.
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
    latest = np.int64(0)
    for p in range(finish.shape[0]):
        pop = max(b + 1, finish[p])
        latest = max(latest, pop)
        finish[p] = pop + work[at, p]
    pop_max[k % depth] = latest
    return b


@njit(cache=True, nogil=True)
def array_cycles(work, bubbles, pop_max, finish):
    """Cycles without fill for ready-made ``work`` int[K, pes]; scratch pop_max[D], finish[pes]."""
    finish[:] = 0
    b = np.int64(-1)
    for k in range(work.shape[0]):
        b = broadcast_column(work, k, k, b + 1 + bubbles[k], pop_max, finish)
    return finish.max()


def column_broadcast_cycles(
    work: np.ndarray, queue_depth: int, bubbles: np.ndarray | None = None, fill_cycles: int = 7
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

    Returns
    -------
    int
        From the first broadcast to the last accumulation.
    """
    work = np.ascontiguousarray(work, np.int64)
    if work.ndim != 2 or (work.size and work.min() < 1):
        raise AzsimError(f"`work` must be int[K, pes] with entries of at least 1, but has shape {work.shape}")
    if queue_depth < 1 or fill_cycles < 0:
        raise AzsimError(f"`queue_depth >= 1` and `fill_cycles >= 0` must hold, got {queue_depth} and {fill_cycles}")
    idle = np.zeros(len(work), np.int64) if bubbles is None else np.ascontiguousarray(bubbles, np.int64)
    if idle.shape != (len(work),) or (idle.size and idle.min() < 0):
        raise AzsimError(f"`bubbles` must be int[{len(work)}], none negative, but has shape {idle.shape}")
    if work.size == 0:
        return fill_cycles
    scratch = np.zeros(queue_depth, np.int64), np.zeros(work.shape[1], np.int64)
    return int(array_cycles(work, idle, *scratch)) + fill_cycles


def work_per_pe(nnz: np.ndarray, entries: np.ndarray, rows: int, chip: Chip) -> np.ndarray:
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
    """
    array = chip.mac_array
    owned = np.array([len(range(p, rows, array.pes)) for p in range(array.pes)], np.int64)
    packed = chip.weight_sram.form == "packed"
    issued = entries.astype(np.int64) if packed else nnz.astype(np.int64)
    if not array.skip_weights:
        issued = np.maximum(issued, owned[None, :])
    scanned = 0 if packed or not array.skip_weights else owned[None, :]
    lane_cycles = -(-issued // array.lanes)
    scan_cycles = -(-np.asarray(scanned) // array.scan_width)
    return np.maximum(1, np.maximum(lane_cycles, scan_cycles)).astype(np.uint16)


@njit(cache=True, nogil=True)
def replay_array(
    record_op, part_start, row, nonzero, nonzero_start,
    op_groups, group_parts, part_slot, part_tiles, part_work, tile_cols,
    work, column_nnz, skip_activations, bubble_period, fill_cycles, pop_max, finish,
    tile_of, mac_cycles, broadcasts, effectual, queue_waits,
):  # fmt: skip
    """MAC cycles of every tile of every invocation, in program order.

    Parameters
    ----------
    record_op, part_start, row, nonzero, nonzero_start
        Of the ActivityRecord.
    op_groups : int32[ops + 1]
        Groups (row parts) of an op.
    group_parts : int32[groups + 1]
        Matrix parts of a group.
    part_slot : int32[parts]
        Which operand of the op it is.
    part_tiles : int32[parts, 2]
        Range of tiles in the chip's table of tiles.
    part_work : int64[parts]
        First row of its columns in ``work``; -1 for a look-up.
    tile_cols : int32[tiles, 2]
    work : uint16[columns, pes], column_nnz : int32[columns]
    skip_activations, bubble_period, fill_cycles : int
    pop_max : int64[D], finish : int64[pes]
        Scratch.
    tile_of, mac_cycles, broadcasts, effectual, queue_waits : int64[invoked tiles]
        Out.

    Returns
    -------
    int
        Invoked tiles written.
    """
    at = 0
    for n in range(record_op.shape[0]):
        op = record_op[n]
        for g in range(op_groups[op], op_groups[op + 1]):
            fill = fill_cycles
            for q in range(group_parts[g], group_parts[g + 1]):
                operand = part_start[n] + part_slot[q]
                if row[operand] >= 0:
                    tile_of[at] = part_tiles[q, 0] + row[operand]
                    mac_cycles[at] = 0
                    broadcasts[at] = 0
                    effectual[at] = 0
                    queue_waits[at] = 0
                    at += 1
                    continue
                bits = nonzero_start[operand]
                for tile in range(part_tiles[q, 0], part_tiles[q, 1]):
                    finish[:] = 0
                    b, k, useful, waits = np.int64(-1), 0, np.int64(0), np.int64(0)
                    first = tile_cols[tile, 0]
                    previous = first
                    for c in range(first, tile_cols[tile, 1]):
                        is_zero = (nonzero[bits + (c >> 3)] >> (c & 7)) & 1 == 0
                        if is_zero and skip_activations:
                            continue
                        earliest = b + 1
                        if bubble_period > 0:
                            earliest += (c - first) // bubble_period - (previous - first) // bubble_period
                        column = part_work[q] + c
                        b = broadcast_column(work, column, k, earliest, pop_max, finish)
                        waits += b - earliest
                        if not is_zero:
                            useful += column_nnz[column]
                        previous = c
                        k += 1
                    tile_of[at] = tile
                    mac_cycles[at] = finish.max() + fill
                    broadcasts[at] = k
                    effectual[at] = useful
                    queue_waits[at] = waits
                    fill = 0
                    at += 1
    return at
