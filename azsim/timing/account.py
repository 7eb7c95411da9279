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
    """Figures of the fetch of each tile of a program: of its cell, or of the tables for one fetched in vain.

    Unless columns are fetched or decoded one by one, every cell of a tile has the figures of the tables.
    """

    def __init__(self, tables: ChipTables, cells: Cells, runs: Invocations, is_cut_by_columns: bool) -> None:
        self.tables, self.cells, self.runs, self.is_cut_by_columns = tables, cells, runs, is_cut_by_columns

    def of(self, name: str, chosen: np.ndarray) -> np.ndarray:
        """``name`` of the chosen tiles, int64."""
        from_table = getattr(self.tables, f"tile_{name}")[self.runs.tile[chosen]]
        if not self.is_cut_by_columns:
            return from_table
        cell, values = self.runs.cell[chosen], getattr(self.cells, name)
        return np.where(cell >= 0, values[np.maximum(cell, 0)], from_table) if len(values) else from_table

    def sum(self, name: str, chosen: np.ndarray) -> int:
        """Over the chosen tiles."""
        return int(self.of(name, chosen).sum())


def split_gaps(start: np.ndarray, end: np.ndarray, arrival: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cycles in front of each interval: (idle until the frame's arrival, stalled after it)."""
    before = np.concatenate([[0], end[:-1]]) if len(end) else end
    work_exists = np.clip(arrival, before, start)
    return work_exists - before, start - work_exists


def _account(part: str, total: int, busy: int, idle: int, stalls: dict[str, int]) -> Account:
    return Account(part, total, busy, idle, {name: cycles for name, cycles in stalls.items() if cycles})


def _tail(end: np.ndarray, total: int) -> int:
    return total - int(end[-1]) if len(end) else total


def array_reasons(edges: Edges, is_decoder_bound: np.ndarray) -> np.ndarray:
    """Index into STALLS of what each tile waited for; -1 where it waited for nothing but the array.

    A tile that waited for its load waited for the decoder if decoding takes longer than the bus (bool[I]).
    """
    out = np.full(len(edges.compute_reason), -1, np.int64)
    for reason, name in ARRAY_REASON.items():
        out[edges.compute_reason == reason] = STALLS.index(name)
    loads = edges.compute_reason == why.WAITED_FOR_LOAD
    out[loads] = np.where(is_decoder_bound[loads], STALLS.index("decoder"), STALLS.index("dma"))
    return out


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
    program = runs.program
    arrival = arrival_of_op[program.part_op[program.tile_part]]
    is_wasted = program.op_is_wasted[program.part_op[program.tile_part]]
    everything = np.ones(len(is_wasted), bool)
    decoder_bound = fetches.of("decode_cycles", everything) > fetches.of("bus_cycles", everything)
    reason = array_reasons(edges, decoder_bound)
    idle, stalled = np.zeros(len(reason), np.int64), np.zeros(len(reason), np.int64)
    own = ~is_wasted
    idle[own], stalled[own] = split_gaps(edges.compute_start[own], edges.compute_end[own], arrival[own])
    inside = np.where(own, edges.compute_end - edges.compute_start - runs.array_cycles, 0)  # a bypass waits for weights
    held_up = program.tile_bypasses & own
    by_reason = {name: int(stalled[reason == i].sum()) for i, name in enumerate(STALLS)}
    for name, chosen in (("decoder", held_up & decoder_bound), ("dma", held_up & ~decoder_bound)):
        by_reason[name] += int(inside[chosen].sum())
    busy = int(runs.array_cycles.sum())
    array = _account("mac_array", total, busy, int(idle.sum()) + _tail(edges.compute_end[own], total), by_reason)
    stalled = stalled + np.where(held_up, inside, 0)
    reason = np.where(held_up & (reason < 0), STALLS.index("dma"), reason)
    sent, waits = int(cells.broadcast_edges.sum()), int(cells.queue_waits.sum())
    out = ~program.op_is_wasted
    vector_idle, vector_stalled = split_gaps(edges.out_start[out], edges.out_end[out], arrival_of_op[out])
    result = {
        "mac_array": array,
        "broadcaster": _account("broadcaster", total, sent, total - sent - waits, {"queue": waits}),
        "vector_unit": _account(
            "vector_unit",
            total,
            int(program.out_cycles.sum()),
            int(vector_idle.sum()) + _tail(edges.out_end[out], total),
            {"input": int(vector_stalled.sum())},
        ),
        **_loading(edges, runs, fetches, arrival, slots, total),
    }
    return result, stalled, reason


def _loading(
    edges: Edges, runs: Invocations, fetches: Fetches, arrival: np.ndarray, slots: int, total: int
) -> dict[str, Account]:
    program = runs.program
    loads = np.flatnonzero(program.tile_streams & (edges.load_reason != why.NEVER_LOADED))
    start, end, kinds = edges.load_start[loads], edges.load_end[loads], edges.load_reason[loads]
    in_slots = np.flatnonzero(~program.tile_bypasses[loads])
    holder = np.full(len(loads), -1)  # the streamed tile whose slot is waited for
    holder[in_slots[slots:]] = loads[in_slots[: max(0, len(in_slots) - slots)]]
    work_exists = np.where((kinds == why.LOAD_AFTER_SLOT) & (holder >= 0), arrival[holder], 0)
    for_itself = (kinds == why.LOAD_AFTER_INPUT) | (kinds == why.LOAD_AFTER_ARRAY)
    work_exists = np.where(for_itself, arrival[loads], work_exists)
    idle, stalled = split_gaps(start, end, work_exists)
    waits: dict[str, int] = {"decoder": 0}
    for kind, name in LOAD_REASON.items():
        waits[name] = waits.get(name, 0) + int(stalled[kinds == kind].sum())
    chosen = np.zeros(len(program.tile_streams), bool)
    chosen[loads] = True
    loading, bus = int((end - start).sum()), fetches.sum("bus_cycles", chosen)
    decode = fetches.sum("decode_cycles", chosen)
    held = int(fetches.cells.held_cycles[runs.cell[loads][runs.cell[loads] >= 0]].sum())
    waits["decoder"] += loading - bus
    between = int(idle.sum() + stalled.sum()) + _tail(end, total)
    return {
        "dma": _account("dma", total, bus, int(idle.sum()) + _tail(end, total), waits),
        "decoder": _account("decoder", total, decode, between, {"dma": loading - decode - held, "slot": held}),
    }


def union_cycles(starts: list[np.ndarray], ends: list[np.ndarray]) -> int:
    """Cycles covered by at least one of many intervals."""
    start, end = np.concatenate(starts), np.concatenate(ends)
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    before = np.concatenate([[0], reach[:-1]])
    return int(np.maximum(0, reach - np.maximum(start, before)).sum()) if len(start) else 0
