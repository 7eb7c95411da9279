"""In what order a chip runs the invocations of a record: as recorded, speculating on branches, or in chunks.

A *unit* is what becomes one op of the timed program (one per row part). As recorded, each invocation is one unit.

Branch policies. Under ``wait`` nothing is requested past an undecided branch. Under ``likely`` the arm that was
taken last time (the first arm, the first time) is fetched before the decision, under ``both`` every arm, in the order
of the graph; what is fetched for an arm not taken is a *wasted* unit in front of, or behind, the taken arm. Decisions
of the search (a symbol or a blank) are always waited for: both continuations need every weight in some order.

Chunks. With ``chunk_frames`` n the encoder runs n frames together, op by op as far as its recurrences allow. Operands
that no frame of the chunk makes for another (the W_ih of an LSTM) are one *batch* unit: each tile is fetched once
and computed n times. What is recurrent (W_hh) follows frame by frame on the batch's accumulators; its tiles are
fetched once per chunk if they fit the slots together, and for every frame otherwise.
"""

from dataclasses import dataclass

import numpy as np

from azsim.chip.config import Chip
from azsim.errors import CapacityError
from azsim.execute.record import ActivityRecord
from azsim.timing.tables import ChipTables

ALL_SLOTS = (1 << 62) - 1
KEEPS_NOTHING, KEEPS_TILES, REUSES_TILES = range(3)


@dataclass(frozen=True)
class Units:
    """What runs, in order.

    Attributes
    ----------
    op : int64[U]
        Of the record's op table.
    start : int64[U + 1], invocations : int64[...]
        Invocations of unit u are ``invocations[start[u]:start[u + 1]]``; none for a wasted unit.
    slots : int64[U]
        Bit s is set if operand s is part of the unit.
    decided_by, fetch_after : int64[U]
        Invocations whose results the unit's work, and its requests, wait for; -1 for none.
    is_wasted : bool[U]
    out_passes : int64[U]
        How many output passes end the unit.
    reuse : int64[U]
        KEEPS_TILES: its tiles stay in their slots for the units after it that REUSE them.
    takes_set : bool[U]
        Whether it takes a set of accumulators.
    set_end : int64[U]
        The unit whose output pass gives the set back.
    frame : int64[U]
        For whose arrival it waits: the last frame of its chunk.
    """

    op: np.ndarray
    start: np.ndarray
    invocations: np.ndarray
    slots: np.ndarray
    decided_by: np.ndarray
    fetch_after: np.ndarray
    is_wasted: np.ndarray
    out_passes: np.ndarray
    reuse: np.ndarray
    takes_set: np.ndarray
    set_end: np.ndarray
    frame: np.ndarray


def as_recorded(record: ActivityRecord) -> Units:
    """One unit per invocation; nothing is requested before it is decided."""
    n = len(record)
    rows_or_sums = np.add.reduceat(np.append(record.row < 0, False), record.part_start[:-1]) if n else np.zeros(0)
    has_parts = np.diff(record.part_start) > 0
    return Units(
        op=record.op.astype(np.int64),
        start=np.arange(n + 1),
        invocations=np.arange(n),
        slots=np.full(n, ALL_SLOTS),
        decided_by=record.decided_by.astype(np.int64),
        fetch_after=record.decided_by.astype(np.int64),
        is_wasted=np.zeros(n, np.bool_),
        out_passes=np.ones(n, np.int64),
        reuse=np.full(n, KEEPS_NOTHING),
        takes_set=has_parts & (rows_or_sums > 0),
        set_end=np.arange(n),
        frame=record.frame.astype(np.int64),
    )


def order(record: ActivityRecord, tables: ChipTables, chip: Chip, knows_decisions: bool = False) -> Units:
    """The units of a record on a chip.

    Parameters
    ----------
    knows_decisions : bool
        Nothing waits for a decision (``IDEAL_PARTS["branch_wait"]``).

    Raises
    ------
    CapacityError
        If the accumulators do not hold the sums of a chunk.
    """
    units = as_recorded(record)
    if chip.controller.chunk_frames > 1:
        units = in_chunks(record, tables, chip)
    elif chip.controller.branch_policy != "wait" and not knows_decisions:
        units = speculating(record, units, fetches_both=chip.controller.branch_policy == "both")
    if knows_decisions:
        nothing = np.full(len(units.op), -1)
        units = Units(**{**vars(units), "decided_by": nothing, "fetch_after": nothing})
    return units


def speculating(record: ActivityRecord, units: Units, fetches_both: bool) -> Units:
    """Let requests pass undecided branches, and insert what is fetched in vain."""
    after = units.fetch_after.copy()
    decides_branch = np.zeros(len(record) + 1, bool)
    decides_branch[[b.decision for b in record.branchings]] = True
    wrong: set[int] = set()  # branchings whose taken arm was not foreseen
    last_taken: dict[tuple[tuple[int, ...], ...], int] = {}
    insertions: list[tuple[int, int, int]] = []  # before which invocation, op, decision
    for i, branching in enumerate(record.branchings):
        if branching.decision < 0:
            continue
        likely = last_taken.get(branching.arms, 0)
        last_taken[branching.arms] = branching.taken
        fetched = range(len(branching.arms)) if fetches_both else (likely,)
        if branching.taken not in fetched:
            wrong.add(i)
        for arm in fetched:
            if arm != branching.taken:
                is_first = not fetches_both or arm < branching.taken
                at = branching.start if is_first else branching.stop
                insertions += [(at, op, branching.decision) for op in branching.arms[arm]]
    # a request that need not wait for a branch waits for whatever the branch's own decision waited for
    for n in range(len(record)):
        decision = int(units.decided_by[n])
        after[n] = after[decision] if decision >= 0 and decides_branch[decision] else decision
    for i in wrong:
        branching = record.branchings[i]
        for n in range(branching.start, branching.stop):
            if units.decided_by[n] == branching.decision:
                after[n] = branching.decision
    return _insert_wasted(Units(**{**vars(units), "fetch_after": after}), insertions)


def _insert_wasted(units: Units, insertions: list[tuple[int, int, int]]) -> Units:
    at = np.array([i for i, _, _ in insertions], np.int64)
    ops = np.array([op for _, op, _ in insertions], np.int64)
    decisions = np.array([d for _, _, d in insertions], np.int64)
    lengths = np.insert(np.diff(units.start), at, 0)
    put = lambda values, new: np.insert(values, at, new)  # noqa: E731
    set_end = put(units.set_end + np.searchsorted(np.sort(at), units.set_end, side="right"), -1)
    return Units(
        op=put(units.op, ops),
        start=np.concatenate([[0], np.cumsum(lengths)]),
        invocations=units.invocations,
        slots=put(units.slots, ALL_SLOTS),
        decided_by=put(units.decided_by, decisions),
        fetch_after=put(units.fetch_after, units.fetch_after[decisions] if len(decisions) else decisions),
        is_wasted=put(units.is_wasted, True),
        out_passes=put(units.out_passes, 0),
        reuse=put(units.reuse, KEEPS_NOTHING),
        takes_set=put(units.takes_set, False),
        set_end=set_end,
        frame=put(units.frame, units.frame[decisions] if len(decisions) else decisions),
    )


class _Chunks:
    """Grows the units of a record in chunks."""

    def __init__(self, record: ActivityRecord, tables: ChipTables, chip: Chip) -> None:
        self.record, self.tables, self.chip = record, tables, chip
        self.rows: list[dict[str, int]] = []
        self.members: list[list[int]] = []
        self.is_branch = {b.decision for b in record.branchings}

    def reads(self, n: int, slot: int | None = None) -> set[int]:
        """Invocations that an operand of n, or (None) all of n, needs results of, branch decisions included."""
        r = self.record
        first, stop = r.part_start[n], r.part_start[n + 1]
        parts = range(first, stop) if slot is None else (first + slot,)
        found = {int(k) for p in parts for k in r.reads[r.read_start[p] : r.read_start[p + 1]]}
        if slot is None:
            found |= {int(k) for k in r.op_reads[r.op_read_start[n] : r.op_read_start[n + 1]]}
            if int(r.decided_by[n]) in self.is_branch:
                found.add(int(r.decided_by[n]))
        return found

    def unit(self, members: list[int], slots: int, decided_by: int, last_frame: int, **changes: int) -> int:
        """Append a unit and return its number."""
        op = int(self.record.op[members[0]])
        number = len(self.rows)
        row = {"op": op, "slots": slots, "decided_by": decided_by, "fetch_after": decided_by, "is_wasted": 0,
               "out_passes": len(members), "reuse": KEEPS_NOTHING, "takes_set": 0, "set_end": number,
               "frame": last_frame}  # fmt: skip
        self.rows.append({**row, **changes})
        self.members.append(members)
        return number

    def search_decision(self, n: int) -> int:
        """The decision of the search, not of a branch, that an invocation follows; -1 for none."""
        decision = int(self.record.decided_by[n])
        while decision in self.is_branch:
            decision = int(self.record.decided_by[decision])
        return decision

    def has_sums(self, n: int) -> bool:
        """Whether an invocation has matrix operands that are not look-ups."""
        return any(self.record.row[p] < 0 for p in range(self.record.part_start[n], self.record.part_start[n + 1]))

    def one(self, n: int, decided_by: int, last_frame: int) -> None:
        """An invocation as recorded."""
        self.unit([n], ALL_SLOTS, decided_by, last_frame, takes_set=int(self.has_sums(n)))

    def batch(self, members: list[int], decision: int, last_frame: int) -> None:
        """The same op on several frames: what they share once, then what is recurrent frame by frame."""
        record, own = self.record, set(members)
        decided = int(record.decided_by[members[-1]])
        decided = decided if decided in self.is_branch else decision
        n_slots = int(record.part_start[members[0] + 1] - record.part_start[members[0]])
        shared = [s for s in range(n_slots) if not any(self.reads(n, s) & own for n in members)]
        is_recurrent = any(self.reads(n) & own for n in members)
        if len(members) == 1 or (is_recurrent and not shared) or not self.has_sums(members[0]):
            for n in members:
                self.one(n, decided, last_frame)
            return
        self._check_accumulators(members)
        mask = sum(1 << s for s in shared) if is_recurrent else ALL_SLOTS
        first = self.unit(members, mask, decided, last_frame, takes_set=1)
        if not is_recurrent:
            return
        rest = [s for s in range(n_slots) if s not in shared]
        fits = self._streamed_tiles(members[0], rest) <= self.chip.weight_sram.run_ahead
        self.rows[first]["out_passes"] = 0
        for i, n in enumerate(members):
            reuse = KEEPS_NOTHING if not fits else (KEEPS_TILES if i == 0 else REUSES_TILES)
            last = self.unit([n], sum(1 << s for s in rest), decided, last_frame, reuse=reuse)
        self.rows[first]["set_end"] = last

    def _streamed_tiles(self, n: int, slots: list[int]) -> int:
        base = self.tables.op_slots[self.record.op[n]]
        ranges = [self.tables.slot_tiles[base + s] for s in slots]
        return sum(int(self.tables.tile_streams[a:b].sum()) for a, b in ranges)

    def _check_accumulators(self, members: list[int]) -> None:
        op = self.record.ops[self.record.op[members[0]]]
        base = self.tables.op_slots[self.record.op[members[0]]]
        first, stop = self.tables.slot_tiles[base]
        rows = int(self.tables.tile_rows[first:stop, 1].max())
        array, frames = self.chip.mac_array, self.chip.controller.chunk_frames
        if rows * frames > array.accumulator_rows:
            need = 4 * rows * frames * array.accumulator_sets
            raise CapacityError(
                f"layer {op.name!r}: a chunk of {frames} frames keeps {rows:,} x {frames} sums in an accumulator set, "
                f"but it holds {array.accumulator_rows:,} (mac_array.accumulator_bytes={array.accumulator_bytes:,} "
                f"over accumulator_sets={array.accumulator_sets}). Give it mac_array.accumulator_bytes >= {need:,}, "
                f"or lower controller.chunk_frames."
            )


def in_chunks(record: ActivityRecord, tables: ChipTables, chip: Chip) -> Units:
    """Run the first graph on ``chunk_frames`` frames together, then the rest of the chunk as recorded."""
    chunks = _Chunks(record, tables, chip)
    size, role = chip.controller.chunk_frames, record.first_role
    chunk_of = record.frame // size
    is_first_role = np.array([op.graph == role for op in record.ops])[record.op]
    first = int(np.flatnonzero(is_first_role)[0])
    for n in range(first):  # what the search does before the first frame
        chunks.one(n, chunks.search_decision(n), int(record.frame[n]))
    for chunk in range(-(-record.n_frames // size)):
        own = np.flatnonzero(chunk_of == chunk)
        last_frame = min(record.n_frames, (chunk + 1) * size) - 1
        encoder = [int(n) for n in own if is_first_role[n]]
        decision = chunks.search_decision(encoder[0])
        for members in _batches(chunks, encoder):
            chunks.batch(members, decision, last_frame)
        for n in (int(n) for n in own if not is_first_role[n] and n >= first):
            chunks.one(n, chunks.search_decision(n), last_frame)
    columns = {name: np.array([row[name] for row in chunks.rows], np.int64) for name in chunks.rows[0]}
    start = np.concatenate([[0], np.cumsum([len(m) for m in chunks.members])])
    invocations = np.array([n for members in chunks.members for n in members], np.int64)
    is_wasted, takes_set = columns.pop("is_wasted") > 0, columns.pop("takes_set") > 0
    return Units(start=start, invocations=invocations, is_wasted=is_wasted, takes_set=takes_set, **columns)


def _batches(chunks: _Chunks, encoder: list[int]) -> list[list[int]]:
    """Invocations of a chunk grouped by op: the earliest that is ready, with every later one of its op that then is."""
    waiting, done, batches = list(encoder), set[int](), []
    inside = set(encoder)
    while waiting:
        op = chunks.record.op[next(n for n in waiting if not (chunks.reads(n) & inside) - done)]
        batch = []
        for n in waiting:
            if chunks.record.op[n] == op and not (chunks.reads(n) & inside) - done:
                batch.append(n)
                done.add(n)
        batches.append(batch)
        waiting = [n for n in waiting if n not in done]
    return batches
