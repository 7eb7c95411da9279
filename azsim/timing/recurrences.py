"""When tiles are requested, loaded and computed, and when ops write their results.

i counts all tiles in program order, s the streamed ones; a term with an index below 0 is left out::

    request[s]       = max(request[s-1], compute_end of streamed tile s - tile_slots,
                           load_end[s - dma_outstanding], allowed[s])
    load_start[s]    = max(load_end[s-1], request[s] + latency)         load_end[s]    = load_start[s] + load_cycles[s]
    compute_start[i] = max(compute_end[i-1], load_end[i], ready[part], accumulators_free[op])
    compute_end[i]   = compute_start[i] + mac_cycles[i]
    out_start[o]     = max(out_end[o-1], compute_end of its last tile)  out_end[o] = out_start[o] + out_cycles[o]
    ready[part]      = max(arrival, out_end of every op it reads, out_end[decision] + redirect) + op_overhead
    accumulators_free[m] = out_end[m - accumulator_sets], m counting ops that accumulate
    allowed[s]       = out_end[decision] + redirect

An op without tiles is an output pass: it starts at max(out_end[o-1], ready). What an output pass
reads beside its sums (a cell state) is added to the ready of the op's last part. Pinned and
zero-byte tiles take no slot and load at once.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

# Why a tile or an output pass started when it did, in the order of the formula.
WAITED_FOR_ARRAY, WAITED_FOR_LOAD, WAITED_FOR_INPUT, WAITED_FOR_BRANCH, WAITED_FOR_FRAME, WAITED_FOR_OUTPUT = range(6)
# Why a load started when it did.
LOAD_AFTER_LOAD, LOAD_AFTER_SLOT, LOAD_AFTER_OUTSTANDING, LOAD_AFTER_BRANCH = range(4)


@dataclass(frozen=True)
class Program:
    """Flat arrays of everything that is to be timed, in program order.

    Attributes
    ----------
    part_op : int64[P]
        Op of each part; an op without matrix parts has one part without tiles.
    part_arrival : int64[P]
        Edge at which the frame it reads is there; -1 if it reads none.
    read_start : int64[P + 1], reads : int64[...]
        Ops whose results a part reads.
    op_parts, op_tiles : int64[O + 1]
    op_accumulates : bool[O]
    op_decided_by : int64[O]
        -1 or the op that decided.
    out_cycles : int64[O]
    tile_part : int64[I]
    tile_streams : bool[I]
    load_cycles, mac_cycles : int64[I]
    """

    part_op: np.ndarray
    part_arrival: np.ndarray
    read_start: np.ndarray
    reads: np.ndarray
    op_parts: np.ndarray
    op_tiles: np.ndarray
    op_accumulates: np.ndarray
    op_decided_by: np.ndarray
    out_cycles: np.ndarray
    tile_part: np.ndarray
    tile_streams: np.ndarray
    load_cycles: np.ndarray
    mac_cycles: np.ndarray


@dataclass(frozen=True)
class Edges:
    """Results of the recurrences, int64 edges; ``*_reason`` name what ended last."""

    ready: np.ndarray  # [P]
    request: np.ndarray  # [I], 0 for tiles that do not stream
    load_start: np.ndarray
    load_end: np.ndarray
    load_reason: np.ndarray
    compute_start: np.ndarray
    compute_end: np.ndarray
    compute_reason: np.ndarray
    out_start: np.ndarray  # [O]
    out_end: np.ndarray


@njit(cache=True, nogil=True)
def run_recurrences(
    part_arrival, read_start, reads, op_parts, op_tiles, op_accumulates, op_decided_by, out_cycles,
    tile_part, tile_streams, load_cycles, mac_cycles,
    latency, tile_slots, dma_outstanding, accumulator_sets, op_overhead, branch_redirect,
    streamed, accumulating,
    ready, ready_reason, request, load_start, load_end, load_reason, compute_start, compute_end, compute_reason,
    out_start, out_end,
):  # fmt: skip
    """Fill the edges of ``Edges`` for a ``Program``; ``streamed`` int64[I], ``accumulating`` int64[O] are scratch."""
    n_streamed, n_accumulating = 0, 0
    array_end, vector_end = np.int64(0), np.int64(0)
    for o in range(out_cycles.shape[0]):
        decided = np.int64(-1)
        if op_decided_by[o] >= 0:
            decided = out_end[op_decided_by[o]] + branch_redirect
        for p in range(op_parts[o], op_parts[o + 1]):
            edge, reason = np.int64(0), WAITED_FOR_INPUT
            if part_arrival[p] > edge:
                edge, reason = part_arrival[p], WAITED_FOR_FRAME
            for r in range(read_start[p], read_start[p + 1]):
                if out_end[reads[r]] > edge:
                    edge, reason = out_end[reads[r]], WAITED_FOR_INPUT
            if decided > edge:
                edge, reason = decided, WAITED_FOR_BRANCH
            ready[p] = edge + op_overhead
            ready_reason[p] = reason
        free = np.int64(0)
        if op_accumulates[o] and n_accumulating >= accumulator_sets:
            free = out_end[accumulating[n_accumulating - accumulator_sets]]
        last = ready[op_parts[o + 1] - 1]
        for i in range(op_tiles[o], op_tiles[o + 1]):
            if tile_streams[i]:
                s = n_streamed
                edge, reason = np.int64(0), LOAD_AFTER_LOAD
                if s > 0:
                    edge = request[streamed[s - 1]]
                if s >= tile_slots and compute_end[streamed[s - tile_slots]] > edge:
                    edge, reason = compute_end[streamed[s - tile_slots]], LOAD_AFTER_SLOT
                if s >= dma_outstanding and load_end[streamed[s - dma_outstanding]] > edge:
                    edge, reason = load_end[streamed[s - dma_outstanding]], LOAD_AFTER_OUTSTANDING
                if decided > edge:
                    edge, reason = decided, LOAD_AFTER_BRANCH
                request[i] = edge
                load_start[i] = edge + latency
                if s > 0 and load_end[streamed[s - 1]] >= load_start[i]:
                    load_start[i], reason = load_end[streamed[s - 1]], LOAD_AFTER_LOAD
                load_end[i] = load_start[i] + load_cycles[i]
                load_reason[i] = reason
                streamed[s] = i
                n_streamed += 1
            p = tile_part[i]
            start, reason = array_end, WAITED_FOR_ARRAY
            if load_end[i] > start:
                start, reason = load_end[i], WAITED_FOR_LOAD
            if ready[p] > start:
                start, reason = ready[p], ready_reason[p]
            if free > start:
                start, reason = free, WAITED_FOR_OUTPUT
            compute_start[i] = start
            compute_reason[i] = reason
            array_end = start + mac_cycles[i]
            compute_end[i] = array_end
            last = array_end
        if op_accumulates[o]:
            accumulating[n_accumulating] = o
            n_accumulating += 1
        out_start[o] = max(vector_end, last)
        vector_end = out_start[o] + out_cycles[o]
        out_end[o] = vector_end


def solve(
    program: Program,
    *,
    latency_cycles: int,
    tile_slots: int,
    dma_outstanding: int,
    accumulator_sets: int,
    op_overhead_cycles: int = 0,
    branch_redirect_cycles: int = 0,
) -> Edges:
    """Run the recurrences of a program on a chip's five numbers."""
    tiles, ops, parts = len(program.tile_part), len(program.out_cycles), len(program.part_op)
    per_tile = [np.zeros(tiles, np.int64) for _ in range(7)]
    ready, reason = np.zeros(parts, np.int64), np.zeros(parts, np.int64)
    out_start, out_end = np.zeros(ops, np.int64), np.zeros(ops, np.int64)
    request, load_start, load_end, load_reason, compute_start, compute_end, compute_reason = per_tile
    run_recurrences(
        program.part_arrival, program.read_start, program.reads, program.op_parts, program.op_tiles,
        program.op_accumulates, program.op_decided_by, program.out_cycles,
        program.tile_part, program.tile_streams, program.load_cycles, program.mac_cycles,
        latency_cycles, tile_slots, dma_outstanding, accumulator_sets, op_overhead_cycles, branch_redirect_cycles,
        np.zeros(tiles, np.int64), np.zeros(ops, np.int64),
        ready, reason, request, load_start, load_end, load_reason, compute_start, compute_end, compute_reason,
        out_start, out_end,
    )  # fmt: skip
    return Edges(ready, request, load_start, load_end, load_reason, compute_start, compute_end, compute_reason,
                 out_start, out_end)  # fmt: skip
