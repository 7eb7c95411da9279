"""When tiles are requested, loaded and computed, and when ops write their results.

i counts all tiles in program order, s the streamed ones; a term with an index below 0 is left out::

    request[s]       = max(request[s-1], free[s - slots], load_end[s - dma_outstanding], allowed[s])
    load_start[s]    = max(load_end[s-1], request[s] + latency)         load_end[s]    = load_start[s] + load_cycles[s]
    compute_start[i] = max(compute_end[i-1], load_end[i], ready[part], accumulators_free[op])
    compute_end[i]   = compute_start[i] + mac_cycles[i]
    out_start[o]     = max(out_end[o-1], compute_end of its last tile)  out_end[o] = out_start[o] + out_cycles[o]
    ready[part]      = max(arrival, out_end of every op it reads, out_end[decision] + redirect) + op_overhead
    accumulators_free[m] = set_end[m - accumulator_sets], m counting ops that take a set
    allowed[s]       = out_end[the decision that fetching waits for] + redirect
    free[s]          = compute_end of the last tile that uses the slot's weights

* An op without tiles is an output pass: it starts at max(out_end[o-1], ready). What an output pass reads beside its
  sums (a cell state) is added to the ready of the op's last part.
* Pinned and zero-byte tiles take no slot and load at once.
* A *wasted* tile (of an arm that is not taken) is requested only before the decision + redirect; the requester leaves
  it then, if it still waits for room. Its slot is free at max(load_end[s], decision + redirect); it is never computed.
* A tile whose columns are chosen by its activations is not requested before ready[part].
* A tile that *bypasses* the SRAM takes no slot and is computed as it is decoded:
  load_start[s] = max(load_end[s-1], request[s] + latency, compute_end[i-1], ready[part], accumulators_free[op]),
  compute_start = load_start, compute_end = load_end + mac_cycles (what the pipeline needs to drain).

``slots`` is the number of tile slots, or of SRAM banks if a bank has one port: it is then filled or read, not both.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

# Why a tile or an output pass started when it did, in the order of the formula.
WAITED_FOR_ARRAY, WAITED_FOR_LOAD, WAITED_FOR_INPUT, WAITED_FOR_BRANCH, WAITED_FOR_FRAME, WAITED_FOR_OUTPUT = range(6)
# Why a load started when it did.
(
    LOAD_AFTER_LOAD, LOAD_AFTER_LATENCY, LOAD_AFTER_SLOT, LOAD_AFTER_OUTSTANDING, LOAD_AFTER_BRANCH, LOAD_AFTER_INPUT,
    LOAD_AFTER_ARRAY, NEVER_LOADED,
) = range(8)  # fmt: skip


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
    op_takes_set : bool[O], op_set_end : int64[O]
        Whether an op takes a set of accumulators, and the op whose output pass gives it back.
    op_decided_by, op_fetch_after : int64[O]
        -1 or the op whose decision its work, and its requests, wait for.
    op_is_wasted : bool[O]
    out_cycles : int64[O]
    tile_part : int64[I]
    tile_streams : bool[I]
    tile_release : int64[I]
        The tile whose end of computation frees the slot: itself, or the last that uses the same weights.
    tile_waits_for_input, tile_bypasses : bool[I]
    load_cycles, mac_cycles : int64[I]
    """

    part_op: np.ndarray
    part_arrival: np.ndarray
    read_start: np.ndarray
    reads: np.ndarray
    op_parts: np.ndarray
    op_tiles: np.ndarray
    op_takes_set: np.ndarray
    op_set_end: np.ndarray
    op_decided_by: np.ndarray
    op_fetch_after: np.ndarray
    op_is_wasted: np.ndarray
    out_cycles: np.ndarray
    tile_part: np.ndarray
    tile_streams: np.ndarray
    tile_release: np.ndarray
    tile_waits_for_input: np.ndarray
    tile_bypasses: np.ndarray
    load_cycles: np.ndarray
    mac_cycles: np.ndarray


@dataclass(frozen=True)
class Edges:
    """Results of the recurrences, int64 edges; ``*_reason`` name what ended last.

    A wasted tile that was fetched is "computed" for no cycles when it gives its slot back; one that was not has
    NEVER_LOADED as its reason and all edges where the DMA passed over it.
    """

    ready: np.ndarray  # [P]
    ready_reason: np.ndarray
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
    part_arrival, read_start, reads, op_parts, op_tiles, op_takes_set, op_set_end, op_decided_by, op_fetch_after,
    op_is_wasted, out_cycles, tile_part, tile_streams, tile_release, tile_waits_for_input, tile_bypasses, load_cycles,
    mac_cycles,
    latency, slots, dma_outstanding, accumulator_sets, op_overhead, branch_redirect,
    streamed, slotted, takers,
    ready, ready_reason, request, load_start, load_end, load_reason, compute_start, compute_end, compute_reason,
    out_start, out_end,
):  # fmt: skip
    """Fill ``Edges`` for a ``Program``; ``streamed``, ``slotted`` int64[I] and ``takers`` int64[O] are scratch."""
    n_streamed, n_slotted, n_takers = 0, 0, 0
    array_end, vector_end, bus_end, requested = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for o in range(out_cycles.shape[0]):
        decided, allowed = np.int64(-1), np.int64(-1)
        if op_decided_by[o] >= 0:
            decided = out_end[op_decided_by[o]] + branch_redirect
        if op_fetch_after[o] >= 0:
            allowed = out_end[op_fetch_after[o]] + branch_redirect
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
        if op_takes_set[o] and n_takers >= accumulator_sets:
            free = out_end[op_set_end[takers[n_takers - accumulator_sets]]]
        last = ready[op_parts[o + 1] - 1]
        for i in range(op_tiles[o], op_tiles[o + 1]):
            p = tile_part[i]
            if tile_streams[i]:
                edge, reason = requested, LOAD_AFTER_LATENCY
                if not tile_bypasses[i] and n_slotted >= slots:
                    end = compute_end[tile_release[slotted[n_slotted - slots]]]
                    if end > edge:
                        edge, reason = end, LOAD_AFTER_SLOT
                if n_streamed >= dma_outstanding and load_end[streamed[n_streamed - dma_outstanding]] > edge:
                    edge, reason = load_end[streamed[n_streamed - dma_outstanding]], LOAD_AFTER_OUTSTANDING
                if allowed > edge:
                    edge, reason = allowed, LOAD_AFTER_BRANCH
                if tile_waits_for_input[i] and ready[p] > edge:
                    edge, reason = ready[p], LOAD_AFTER_INPUT
                if op_is_wasted[o] and edge >= decided:
                    load_reason[i] = NEVER_LOADED
                    requested = max(requested, decided)
                    request[i] = load_start[i] = load_end[i] = bus_end
                    compute_start[i] = compute_end[i] = array_end
                    continue
                request[i] = requested = edge
                load_start[i] = edge + latency
                if bus_end >= load_start[i]:
                    load_start[i], reason = bus_end, LOAD_AFTER_LOAD
                if tile_bypasses[i]:
                    start = max(array_end, ready[p], free)
                    if start > load_start[i]:
                        load_start[i], reason = start, LOAD_AFTER_ARRAY
                else:
                    slotted[n_slotted] = i
                    n_slotted += 1
                bus_end = load_end[i] = load_start[i] + load_cycles[i]
                load_reason[i] = reason
                streamed[n_streamed] = i
                n_streamed += 1
                if op_is_wasted[o]:
                    compute_start[i] = compute_end[i] = max(load_end[i], decided)
            if op_is_wasted[o]:
                continue
            start, reason = array_end, WAITED_FOR_ARRAY
            arrived = load_start[i] if tile_bypasses[i] else load_end[i]
            if arrived > start:
                start, reason = arrived, WAITED_FOR_LOAD
            if ready[p] > start:
                start, reason = ready[p], ready_reason[p]
            if free > start:
                start, reason = free, WAITED_FOR_OUTPUT
            compute_start[i] = start
            compute_reason[i] = reason
            array_end = max(start, load_end[i]) + mac_cycles[i]
            compute_end[i] = array_end
            last = array_end
        if op_takes_set[o]:
            takers[n_takers] = o
            n_takers += 1
        out_start[o] = vector_end if op_is_wasted[o] else max(vector_end, last)
        vector_end = out_start[o] + out_cycles[o]
        out_end[o] = vector_end


def solve(
    program: Program,
    *,
    latency_cycles: int,
    slots: int,
    dma_outstanding: int,
    accumulator_sets: int,
    op_overhead_cycles: int = 0,
    branch_redirect_cycles: int = 0,
) -> Edges:
    """Run the recurrences of a program on a chip's six numbers."""
    tiles, ops, parts = len(program.tile_part), len(program.out_cycles), len(program.part_op)
    edges = Edges(
        *(np.zeros(parts, np.int64) for _ in range(2)),
        *(np.zeros(tiles, np.int64) for _ in range(7)),
        *(np.zeros(ops, np.int64) for _ in range(2)),
    )
    p = program
    run_recurrences(
        p.part_arrival, p.read_start, p.reads, p.op_parts, p.op_tiles, p.op_takes_set, p.op_set_end, p.op_decided_by,
        p.op_fetch_after, p.op_is_wasted, p.out_cycles, p.tile_part, p.tile_streams, p.tile_release,
        p.tile_waits_for_input, p.tile_bypasses, p.load_cycles, p.mac_cycles,
        latency_cycles, slots, dma_outstanding, accumulator_sets, op_overhead_cycles, branch_redirect_cycles,
        np.zeros(tiles, np.int64), np.zeros(tiles, np.int64), np.zeros(ops, np.int64),
        edges.ready, edges.ready_reason, edges.request, edges.load_start, edges.load_end, edges.load_reason,
        edges.compute_start, edges.compute_end, edges.compute_reason, edges.out_start, edges.out_end,
    )  # fmt: skip
    return edges
