"""Where the cycles went: every gap of every part is charged to what ended it.

A wait for several things goes to the one that ended last, ties in the order of the formula. The
part of a gap that passes before the frame arrives is idle (no work exists); the rest is a stall
with a reason. Busy, stalled and idle cycles are summed on their own, so that their sum is a law.

    mac_array     busy while a tile computes; waits for dma, decoder, input, branch, output
    broadcaster   busy in cycles in which it sends; waits for a queue; the rest of its time is idle
    vector_unit   busy while an output pass runs; waits for sums (input)
    dma           busy while the bus moves bursts; waits for the decoder inside a load, and before one for a slot, a
                  branch decision, its activations (input), or its own latency and outstanding limit (dma)
    decoder       busy while it decodes; waits for bursts (dma) inside a load, and for the PEs (slot) where it feeds
                  them past the SRAM; idle between loads

A DMA that waits for a slot is idle until the frame has arrived that the slot's tile computes for. A load that came
late because its request waited for a branch decision is still charged to dma by the array that waits for it: the
DMA's own account has the branch.
"""

import numpy as np
from numba import njit

from azsim.timing import recurrences as why
from azsim.timing.cells import Cells
from azsim.timing.program import Invocations
from azsim.timing.recurrences import Edges
from azsim.timing.tables import ChipTables
from azsim.timing.timeline import STALLS, Account

ARRAY_REASON = {
    why.WAITED_FOR_INPUT: "input",
    why.WAITED_FOR_FRAME: "input",  # the set-up after the frame's arrival; what is before it is idle
    why.WAITED_FOR_BRANCH: "branch",
    why.WAITED_FOR_OUTPUT: "output",
}
DMA, DECODER = STALLS.index("dma"), STALLS.index("decoder")
STALL_OF_WAIT = np.array([STALLS.index(ARRAY_REASON[w]) if w in ARRAY_REASON else -1 for w in range(6)])
LOAD_REASON = {
    why.LOAD_AFTER_LOAD: "dma",
    why.LOAD_AFTER_LATENCY: "dma",
    why.LOAD_AFTER_SLOT: "slot",
    why.LOAD_AFTER_OUTSTANDING: "dma",
    why.LOAD_AFTER_BRANCH: "branch",
    why.LOAD_AFTER_INPUT: "input",
    why.LOAD_AFTER_ARRAY: "slot",
}


class Fetches:
    """Figures of the fetches of a program's tiles, used ones and ones in vain.

    Unless columns are fetched or decoded one by one, every fetch of a tile has the figures of the tables, and it is
    enough to know how often each tile is fetched.
    """

    def __init__(self, tables: ChipTables, cells: Cells, runs: Invocations, edges: Edges, by_columns: bool) -> None:
        self.tables, self.cells, self.runs, self.by_columns = tables, cells, runs, by_columns
        program = runs.program
        self.is_wasted = np.repeat(program.op_is_wasted, np.diff(program.op_tiles))
        self.loaded = program.tile_streams & (edges.load_reason != why.NEVER_LOADED)
        self.in_vain = np.flatnonzero(self.loaded & self.is_wasted)
        self.used = self.loaded & ~self.is_wasted if len(self.in_vain) else self.loaded
        n_tiles = len(tables.tile_size)
        self.times = np.bincount(runs.tile[self.used], minlength=n_tiles)
        self.times_in_vain = np.bincount(runs.tile[self.in_vain], minlength=n_tiles)

    def of(self, name: str) -> np.ndarray:
        """``name`` of one fetch of every tile of the program, int64[I]."""
        from_table = getattr(self.tables, f"tile_{name}")[self.runs.tile]
        if not self.by_columns:
            return from_table
        cell, values = self.runs.cell, getattr(self.cells, name)
        return np.where(cell >= 0, values[np.maximum(cell, 0)], from_table) if len(values) else from_table

    def used_by_tensor(self, name: str) -> np.ndarray:
        """Sum over used fetches, int64[tensors]."""
        n = len(self.tables.tensor_names)
        if self.by_columns:
            tensor = self.tables.tile_tensor[self.runs.tile[self.used]]
            return np.bincount(tensor, self.of(name)[self.used], n).astype(np.int64)
        per_tile = self.times * getattr(self.tables, f"tile_{name}")
        return np.bincount(self.tables.tile_tensor, per_tile, n).astype(np.int64)

    def total(self, name: str) -> int:
        """Sum over all fetches, those in vain included."""
        return int(self.used_by_tensor(name).sum()) + self.total_in_vain(name)

    def total_in_vain(self, name: str) -> int:
        """Sum over fetches in vain."""
        return int((self.times_in_vain * getattr(self.tables, f"tile_{name}")).sum())


def split_gaps(start: np.ndarray, end: np.ndarray, arrival: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cycles in front of each interval: (idle until the frame's arrival, stalled after it)."""
    before = np.concatenate([[0], end[:-1]]) if len(end) else end
    work_exists = np.clip(arrival, before, start)
    return work_exists - before, start - work_exists


def _account(part: str, total: int, busy: int, idle: int, stalls: dict[str, int]) -> Account:
    return Account(part, total, busy, idle, {name: cycles for name, cycles in stalls.items() if cycles})


@njit(cache=True, nogil=True)
def charge_tiles(
    start, end, wait, tile_part, part_op, op_is_wasted, op_arrival, decoder_bound, stall_of, bypasses, array_cycles,
    stalled, reason, by_reason,
):  # fmt: skip
    """Charge the gaps of the MAC array.

    Parameters
    ----------
    start, end, wait : int64[I]
        Of the computation of each tile in program order, and what ended last before it.
    decoder_bound : bool[I]
        Whether decoding the tile takes longer than its bursts take on the bus.
    stall_of : int64[codes]
        Index into STALLS of each ``wait``; -1 for none.
    bypasses : bool[I], array_cycles : int64[I]
        A tile that is computed as it is decoded waits for weights inside its interval.
    stalled, reason : int64[I], by_reason : int64[STALLS]
        Out; ``reason`` in: -1.

    Returns
    -------
    (idle cycles in front of tiles, end of the last one)
    """
    idle, before = np.int64(0), np.int64(0)
    for i in range(start.shape[0]):
        op = part_op[tile_part[i]]
        if op_is_wasted[op]:
            continue
        work_exists = min(max(op_arrival[op], before), start[i])
        idle += work_exists - before
        loads = DECODER if decoder_bound[i] else DMA
        charged = loads if wait[i] == why.WAITED_FOR_LOAD else stall_of[wait[i]]
        gap = start[i] - work_exists
        if gap > 0:
            by_reason[charged] += gap
        if bypasses[i]:
            inside = end[i] - start[i] - array_cycles[i]
            by_reason[loads] += inside
            gap += inside
            charged = loads if charged < 0 else charged
        stalled[i], reason[i] = gap, charged
        before = end[i]
    return idle, before


@njit(cache=True, nogil=True)
def charge_loads(start, end, wait, loaded, bypasses, tile_part, part_op, op_arrival, slots, holders, waits):
    """Charge the gaps of the DMA between loads.

    Parameters
    ----------
    start, end, wait : int64[I]
        Of each load, and what ended last before it.
    loaded, bypasses : bool[I]
    slots : int
    holders : int64[slots]
        Scratch ring: arrival of the frame for which each slot was filled.
    waits : int64[codes]
        Out: stalled cycles by ``wait``.

    Returns
    -------
    (idle cycles in front of loads, cycles inside loads, end of the last one)
    """
    idle, inside, before, n = np.int64(0), np.int64(0), np.int64(0), 0
    for i in range(start.shape[0]):
        if not loaded[i]:
            continue
        arrival = op_arrival[part_op[tile_part[i]]]
        since = np.int64(0)
        if wait[i] == why.LOAD_AFTER_SLOT:
            since = holders[n % slots]
        elif wait[i] == why.LOAD_AFTER_INPUT or wait[i] == why.LOAD_AFTER_ARRAY:
            since = arrival
        work_exists = min(max(since, before), start[i])
        idle += work_exists - before
        waits[wait[i]] += start[i] - work_exists
        inside += end[i] - start[i]
        before = end[i]
        if not bypasses[i]:
            holders[n % slots] = arrival
            n += 1
    return idle, inside, before


def accounts(
    edges: Edges, runs: Invocations, cells: Cells, fetches: Fetches, arrival_of_op: np.ndarray, slots: int, total: int
) -> tuple[dict[str, Account], np.ndarray, np.ndarray]:
    """Accounts of every part; and per tile the stalled cycles and their reason.

    Parameters
    ----------
    arrival_of_op : int64[O]
        Arrival of the frame each op works for.
    slots : int
        Streamed tiles that may be in slots at once.
    total : int
        Cycles from the first sample to the last result.
    """
    program, n = runs.program, len(runs.tile)
    stalled, reason, by_reason = np.zeros(n, np.int64), np.full(n, -1), np.zeros(len(STALLS), np.int64)
    if fetches.by_columns:
        decoder_bound = fetches.of("decode_cycles") > fetches.of("bus_cycles")
    else:
        decoder_bound = (fetches.tables.tile_decode_cycles > fetches.tables.tile_bus_cycles)[runs.tile]
    array_idle, array_end = charge_tiles(
        edges.compute_start, edges.compute_end, edges.compute_reason, program.tile_part, program.part_op,
        program.op_is_wasted, arrival_of_op, decoder_bound, STALL_OF_WAIT, program.tile_bypasses, runs.array_cycles,
        stalled, reason, by_reason,
    )  # fmt: skip
    busy, waits = int(runs.array_cycles.sum()), {name: int(by_reason[i]) for i, name in enumerate(STALLS)}
    sent, queued = int(cells.broadcast_edges.sum()), int(cells.queue_waits.sum())
    out = ~program.op_is_wasted
    vector_idle, vector_stalled = split_gaps(edges.out_start[out], edges.out_end[out], arrival_of_op[out])
    vector_tail = total - int(edges.out_end[-1]) if len(edges.out_end) else total
    result = {
        "mac_array": _account("mac_array", total, busy, array_idle + total - array_end, waits),
        "broadcaster": _account("broadcaster", total, sent, total - sent - queued, {"queue": queued}),
        "vector_unit": _account(
            "vector_unit",
            total,
            int(program.out_cycles.sum()),
            int(vector_idle.sum()) + vector_tail,
            {"input": int(vector_stalled.sum())},
        ),
        **_loading(edges, runs, fetches, arrival_of_op, slots, total),
    }
    return result, stalled, reason


def _loading(
    edges: Edges, runs: Invocations, fetches: Fetches, arrival_of_op: np.ndarray, slots: int, total: int
) -> dict[str, Account]:
    program = runs.program
    by_wait = np.zeros(why.NEVER_LOADED + 1, np.int64)
    idle, inside, end = charge_loads(
        edges.load_start, edges.load_end, edges.load_reason, fetches.loaded, program.tile_bypasses, program.tile_part,
        program.part_op, arrival_of_op, slots, np.zeros(slots, np.int64), by_wait,
    )  # fmt: skip
    waits: dict[str, int] = {}
    for code, name in LOAD_REASON.items():
        waits[name] = waits.get(name, 0) + int(by_wait[code])
    bus, decode, held = fetches.total("bus_cycles"), fetches.total("decode_cycles"), 0
    if fetches.by_columns:
        held = int(fetches.cells.held_cycles[runs.cell[fetches.used]].sum())
    waits["decoder"] = inside - bus
    between = total - inside
    return {
        "dma": _account("dma", total, bus, idle + total - end, waits),
        "decoder": _account("decoder", total, decode, between, {"dma": inside - decode - held, "slot": held}),
    }


@njit(cache=True, nogil=True)
def union_cycles(start_a, end_a, start_b, end_b, start_c, end_c, takes_a, takes_c):
    """Cycles covered by at least one of three sequences of intervals, each in order of its starts.

    Parameters
    ----------
    takes_a, takes_c : bool[...]
        Intervals that count.
    """
    a, b, c = 0, 0, 0
    covered, reach = np.int64(0), np.int64(0)
    never = np.int64(np.iinfo(np.int64).max)
    while True:
        while a < len(start_a) and not takes_a[a]:
            a += 1
        while c < len(start_c) and not takes_c[c]:
            c += 1
        first_a = start_a[a] if a < len(start_a) else never
        first_b = start_b[b] if b < len(start_b) else never
        first_c = start_c[c] if c < len(start_c) else never
        if first_a == never and first_b == never and first_c == never:
            return covered
        if first_a <= first_b and first_a <= first_c:
            start, end = first_a, end_a[a]
            a += 1
        elif first_b <= first_c:
            start, end = first_b, end_b[b]
            b += 1
        else:
            start, end = first_c, end_c[c]
            c += 1
        covered += max(0, end - max(start, reach))
        reach = max(reach, end)
