"""Where the cycles went: every gap of every part is charged to what ended it.

A wait for several things goes to the one that ended last, ties in the order of the formula. The
part of a gap that passes before the frame arrives is idle (no work exists); the rest is a stall
with a reason. Busy, stalled and idle cycles are summed on their own, so that their sum is a law.

    mac_array     busy while a tile computes; waits for dma, decoder, input, branch, output
    broadcaster   busy one cycle a broadcast; waits for a queue; the rest of its time is idle
    vector_unit   busy while an output pass runs; waits for sums (input)
    dma           busy while the bus moves bursts; waits for the decoder inside a load, and before
                  one for a slot, a branch decision, or its own latency and outstanding limit (dma)
    decoder       busy while it decodes; waits for bursts (dma) inside a load; idle between loads

A DMA that waits for a slot is idle until the frame has arrived that the slot's tile computes for.
"""

import numpy as np

from azsim.timing import recurrences as why
from azsim.timing.program import ChipTables, Invocations
from azsim.timing.recurrences import Edges
from azsim.timing.timeline import STALLS, Account

ARRAY_REASON = {
    why.WAITED_FOR_INPUT: "input",
    why.WAITED_FOR_FRAME: "input",  # the set-up after the frame's arrival; what is before it is idle
    why.WAITED_FOR_BRANCH: "branch",
    why.WAITED_FOR_OUTPUT: "output",
}
LOAD_REASON = {
    why.LOAD_AFTER_LOAD: "dma",
    why.LOAD_AFTER_SLOT: "slot",
    why.LOAD_AFTER_OUTSTANDING: "dma",
    why.LOAD_AFTER_BRANCH: "branch",
}


def split_gaps(start: np.ndarray, end: np.ndarray, arrival: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cycles in front of each interval: (idle until the frame's arrival, stalled after it)."""
    before = np.concatenate([[0], end[:-1]]) if len(end) else end
    work_exists = np.clip(arrival, before, start)
    return work_exists - before, start - work_exists


def _account(part: str, total: int, busy: int, idle: int, stalls: dict[str, int]) -> Account:
    return Account(part, total, busy, idle, {name: cycles for name, cycles in stalls.items() if cycles})


def _tail(end: np.ndarray, total: int) -> int:
    return total - int(end[-1]) if len(end) else total


def array_reasons(edges: Edges, tile: np.ndarray, tables: ChipTables) -> np.ndarray:
    """Index into STALLS of what each tile waited for; -1 where it waited for nothing but the array.

    A tile that waited for its load waited for the decoder if decoding takes longer than the bus.
    """
    out = np.full(len(edges.compute_reason), -1, np.int64)
    for reason, name in ARRAY_REASON.items():
        out[edges.compute_reason == reason] = STALLS.index(name)
    loads = edges.compute_reason == why.WAITED_FOR_LOAD
    decoder_bound = tables.tile_decode_cycles[tile[loads]] > tables.tile_bus_cycles[tile[loads]]
    out[loads] = np.where(decoder_bound, STALLS.index("decoder"), STALLS.index("dma"))
    return out


def accounts(
    edges: Edges, runs: Invocations, tables: ChipTables, arrival_of_op: np.ndarray, tile_slots: int, total: int
) -> tuple[dict[str, Account], np.ndarray, np.ndarray]:
    """Accounts of every part; and per tile the stalled cycles and their reason.

    Parameters
    ----------
    arrival_of_op : int64[O]
        Arrival of the frame each op works for.
    tile_slots : int
    total : int
        Cycles from the first sample to the last result.
    """
    program = runs.program
    arrival_of_tile = arrival_of_op[program.part_op[program.tile_part]]
    idle, stalled = split_gaps(edges.compute_start, edges.compute_end, arrival_of_tile)
    reason = array_reasons(edges, runs.tile, tables)
    by_reason = {name: int(stalled[reason == i].sum()) for i, name in enumerate(STALLS)}
    busy = int(program.mac_cycles.sum())
    array = _account("mac_array", total, busy, int(idle.sum()) + _tail(edges.compute_end, total), by_reason)
    sent, waits = int(runs.broadcasts.sum()), int(runs.queue_waits.sum())
    vector_idle, vector_stalled = split_gaps(edges.out_start, edges.out_end, arrival_of_op)
    result = {
        "mac_array": array,
        "broadcaster": _account("broadcaster", total, sent, total - sent - waits, {"queue": waits}),
        "vector_unit": _account(
            "vector_unit",
            total,
            int(program.out_cycles.sum()),
            int(vector_idle.sum()) + _tail(edges.out_end, total),
            {"input": int(vector_stalled.sum())},
        ),
        **_loading(edges, runs, tables, arrival_of_tile, tile_slots, total),
    }
    return result, stalled, reason


def _loading(
    edges: Edges, runs: Invocations, tables: ChipTables, arrival_of_tile: np.ndarray, tile_slots: int, total: int
) -> dict[str, Account]:
    streams = np.flatnonzero(runs.program.tile_streams)
    start, end, kinds = edges.load_start[streams], edges.load_end[streams], edges.load_reason[streams]
    holder = np.arange(len(streams)) - tile_slots  # the streamed tile whose slot is waited for
    work_exists = np.where(
        (kinds == why.LOAD_AFTER_SLOT) & (holder >= 0), arrival_of_tile[streams][np.maximum(holder, 0)], 0
    )
    idle, stalled = split_gaps(start, end, work_exists)
    waits: dict[str, int] = {"decoder": 0}
    for kind, name in LOAD_REASON.items():
        waits[name] = waits.get(name, 0) + int(stalled[kinds == kind].sum())
    loading = int((end - start).sum())
    bus = int(tables.tile_bus_cycles[runs.tile[streams]].sum())
    decode = int(tables.tile_decode_cycles[runs.tile[streams]].sum())
    waits["decoder"] += loading - bus
    between = int(idle.sum() + stalled.sum()) + _tail(end, total)
    return {
        "dma": _account("dma", total, bus, int(idle.sum()) + _tail(end, total), waits),
        "decoder": _account("decoder", total, decode, between, {"dma": loading - decode}),
    }


def union_cycles(starts: list[np.ndarray], ends: list[np.ndarray]) -> int:
    """Cycles covered by at least one of many intervals."""
    start, end = np.concatenate(starts), np.concatenate(ends)
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    before = np.concatenate([[0], reach[:-1]])
    return int(np.maximum(0, reach - np.maximum(start, before)).sum()) if len(start) else 0
