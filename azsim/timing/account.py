"""Where the cycles went: every gap of every part is charged to what ended it.

A wait for several things goes to the one that ended last, ties in the order of the formula. Time
before the frame arrived is idle (no work exists); the rest of a gap is a stall with a reason.
"""

import numpy as np

from azsim.timing import recurrences as why
from azsim.timing.program import ChipTables, Invocations
from azsim.timing.recurrences import Edges
from azsim.timing.timeline import STALLS, Account

LOAD_REASON = {
    why.LOAD_AFTER_LOAD: "dma",
    why.LOAD_AFTER_SLOT: "slot",
    why.LOAD_AFTER_OUTSTANDING: "dma",
    why.LOAD_AFTER_BRANCH: "branch",
}


def array_reasons(edges: Edges, runs: Invocations, tables: ChipTables) -> np.ndarray:
    """Index into STALLS of what each tile waited for; -1 where it waited for nothing but the array."""
    names = {
        why.WAITED_FOR_INPUT: "input",
        why.WAITED_FOR_BRANCH: "branch",
        why.WAITED_FOR_FRAME: "input",
        why.WAITED_FOR_OUTPUT: "output",
    }
    out = np.full(len(edges.compute_reason), -1, np.int64)
    for reason, name in names.items():
        out[edges.compute_reason == reason] = STALLS.index(name)
    loads = edges.compute_reason == why.WAITED_FOR_LOAD
    tile = runs.tile[loads]
    decoder_bound = tables.tile_decode_cycles[tile] > tables.tile_bus_cycles[tile]
    out[loads] = np.where(decoder_bound, STALLS.index("decoder"), STALLS.index("dma"))
    return out


def stalled_before(start: np.ndarray, end: np.ndarray, arrival: np.ndarray) -> np.ndarray:
    """Stalled cycles in front of each interval of a part; what passes before the frame's arrival is idle."""
    before = np.concatenate([[0], end[:-1]])
    return np.maximum(0, start - np.maximum(before, arrival))


def _account(part: str, total: int, busy: int, stalls: dict[str, int]) -> Account:
    stalls = {name: cycles for name, cycles in stalls.items() if cycles}
    return Account(part, total, busy, total - busy - sum(stalls.values()), stalls)


def accounts(
    edges: Edges, runs: Invocations, tables: ChipTables, arrival_of_op: np.ndarray, total: int
) -> tuple[dict[str, Account], np.ndarray, np.ndarray]:
    """Accounts of every part; and per tile the stalled cycles and their reason.

    Parameters
    ----------
    arrival_of_op : int64[O]
        Arrival of the frame each op works for.
    total : int
        Cycles from the first sample to the last result.
    """
    program = runs.program
    tile_arrival = (
        arrival_of_op[program.part_op[program.tile_part]] if len(program.tile_part) else np.zeros(0, np.int64)
    )
    stalled = stalled_before(edges.compute_start, edges.compute_end, tile_arrival)
    reason = array_reasons(edges, runs, tables)
    by_reason = {name: int(stalled[reason == i].sum()) for i, name in enumerate(STALLS)}
    result = {
        "mac_array": _account("mac_array", total, int(program.mac_cycles.sum()), by_reason),
        "broadcaster": _account(
            "broadcaster", total, int(runs.broadcasts.sum()), {"queue": int(runs.queue_waits.sum())}
        ),
        "vector_unit": _vector_unit(edges, program.out_cycles, arrival_of_op, total),
    }
    result.update(_loading(edges, runs, tables, total))
    return result, stalled, reason


def _vector_unit(edges: Edges, out_cycles: np.ndarray, arrival_of_op: np.ndarray, total: int) -> Account:
    waits = int(stalled_before(edges.out_start, edges.out_end, arrival_of_op).sum())
    return _account("vector_unit", total, int(out_cycles.sum()), {"input": waits})


def _loading(edges: Edges, runs: Invocations, tables: ChipTables, total: int) -> dict[str, Account]:
    streams = np.flatnonzero(runs.program.tile_streams)
    start, end, kinds = edges.load_start[streams], edges.load_end[streams], edges.load_reason[streams]
    stalled = start - np.concatenate([[0], end[:-1]]) if len(streams) else np.zeros(0, np.int64)
    waits: dict[str, int] = {}
    for kind, name in LOAD_REASON.items():
        waits[name] = waits.get(name, 0) + int(stalled[kinds == kind].sum())
    busy = int((end - start).sum())
    decode = int(tables.tile_decode_cycles[runs.tile[streams]].sum())
    return {
        "dma": _account("dma", total, busy, waits),
        "decoder": _account("decoder", total, decode, {"dma": busy - decode}),
    }


def union_cycles(starts: list[np.ndarray], ends: list[np.ndarray]) -> int:
    """Cycles covered by at least one of many intervals."""
    start, end = np.concatenate(starts), np.concatenate(ends)
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    before = np.concatenate([[0], reach[:-1]])
    return int(np.maximum(0, reach - np.maximum(start, before)).sum()) if len(start) else 0
