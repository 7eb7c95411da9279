"""Laws that every schedule obeys, checked on every run.

A violation is a defect of azsim, so it is an error that shows the law and both sides rather than a
number in a report that cannot be.
"""

import numpy as np

from azsim.errors import LawError
from azsim.timing.recurrences import NEVER_LOADED, Edges, Program
from azsim.timing.timeline import Timeline


def _equal(law: str, left: int, right: int) -> None:
    if left != right:
        raise LawError(f"`{law}` must hold, but {left:,} != {right:,}: a defect of azsim, please report it")


def _at_most(law: str, left: int, right: int) -> None:
    if left > right:
        raise LawError(f"`{law}` must hold, but {left:,} > {right:,}: a defect of azsim, please report it")


def check_laws(timeline: Timeline, edges: Edges, program: Program) -> None:
    """Raise LawError at the first law that does not hold."""
    counts = timeline.counts
    _equal("dense = skipped + issued MACs", counts.dense_macs, counts.skipped_macs + counts.issued_macs)
    _equal("issued = gated + effectual MACs", counts.issued_macs, counts.gated_macs + counts.effectual_macs)
    _at_most("effectual <= issued MACs", counts.effectual_macs, counts.issued_macs)
    _at_most("issued <= dense MACs", counts.issued_macs, counts.dense_macs)
    packed = sum(counts.packed_bytes.values())
    on_the_bus = packed + counts.padding_bytes + counts.wasted_bytes
    _equal("DRAM bytes = packed + padding + wasted", counts.dram_read_bytes, on_the_bus)
    through_decoder = packed - counts.packed_bytes.get("table", 0) + counts.wasted_bytes
    _equal("decoder bytes = packed + wasted", counts.decoder_bytes, through_decoder)
    _at_most("0 <= padding bytes", 0, counts.padding_bytes)
    for name, account in timeline.accounts.items():
        spent = account.busy_cycles + sum(account.stall_cycles.values()) + account.idle_cycles
        _equal(f"{name}: busy + stalls + idle = total", spent, account.total_cycles)
        _at_most(f"{name}: 0 <= idle cycles", 0, account.idle_cycles)
        _at_most(f"{name}: 0 <= stall cycles", 0, min(account.stall_cycles.values(), default=0))
    spans = sum(op.span_cycles for op in timeline.per_op)
    _equal("spans of all ops = working cycles", spans, timeline.working_cycles)
    _at_most("bound <= active cycles", timeline.bounds["bound_cycles"], counts.active_cycles)
    _at_most("active <= utterance cycles", counts.active_cycles, counts.utterance_cycles)
    computed = ~program.op_is_wasted[program.part_op[program.tile_part]]
    if computed.sum() > 1:
        overlap = np.max(edges.compute_end[computed][:-1] - edges.compute_start[computed][1:])
        _at_most("one tile at a time in the MAC array", int(overlap), 0)
    streams = np.flatnonzero(program.tile_streams & (edges.load_reason != NEVER_LOADED))
    if len(streams) > 1:
        _at_most("one load at a time", int(np.max(edges.load_end[streams[:-1]] - edges.load_start[streams[1:]])), 0)
    if len(edges.out_end) > 1:
        _at_most("one output pass at a time", int(np.max(edges.out_end[:-1] - edges.out_start[1:])), 0)
