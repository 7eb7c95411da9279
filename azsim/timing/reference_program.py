"""A record on a chip as a list of ops for the SimPy machine, in plain Python and from the words.

Counts zeros from the weights themselves and takes sizes from the image's directory; imports nothing of
``azsim.timing`` but the SimPy machine, and so uses none of the code that it checks.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from azsim.chip.config import Chip
from azsim.execute.record import ActivityRecord
from azsim.timing.reference import Key, Machine, OpSpec, PartSpec, Pass, TileSpec
from azsim.weights.image import DramImage, TensorTiles
from azsim.weights.layout import Tile


def machine_of(chip: Chip) -> Machine:
    """The chip's numbers, in cycles."""
    return Machine(
        burst_cycles=math.ceil(chip.dram.burst_bytes / (chip.dram.bandwidth_bytes_per_s / chip.clock_hz)),
        latency_cycles=math.ceil(chip.dram.latency_ns * 1e-9 * chip.clock_hz - 1e-9),
        fifo_bursts=chip.stream.fifo_bursts,
        tile_slots=chip.weight_sram.tile_slots,
        banks=chip.weight_sram.banks,
        ports=chip.weight_sram.ports,
        dma_outstanding=chip.stream.dma_outstanding,
        queue_depth=chip.mac_array.queue_depth,
        broadcast_width=chip.mac_array.broadcast_width,
        lookahead=chip.mac_array.lookahead,
        fill_cycles=chip.mac_array.fill_cycles,
        accumulator_sets=chip.mac_array.accumulator_sets,
        op_overhead_cycles=chip.controller.op_overhead_cycles,
        branch_redirect_cycles=chip.controller.branch_redirect_cycles,
    )


def lanes_of(tensor: TensorTiles, chip: Chip) -> int:
    """Products of a PE and cycle."""
    return chip.mac_array.lanes * (2 if chip.mac_array.pair_4_bit_weights and tensor.bits <= 4 else 1)


def column_work(values: np.ndarray, column: int, lanes: int, chip: Chip) -> tuple[int, ...]:
    """Cycles each PE spends on one column of a row part."""
    array, packed = chip.mac_array, chip.weight_sram.form == "packed"
    work = []
    for p in range(array.pes):
        own = values[p :: array.pes, column]
        entries = np.count_nonzero(own) if array.skip_weights else len(own)
        if packed:
            padding, run = 0, 0
            for weight in own:
                if weight:
                    padding += run // 2**chip.codec.index_bits
                    run = 0
                else:
                    run += 1
            entries = max(entries, np.count_nonzero(own) + padding)
        scanned = len(own) if array.skip_weights and not packed else 0
        work.append(max(1, math.ceil(entries / lanes), math.ceil(scanned / array.scan_width)))
    return tuple(work)


def column_pass(tile: Tile, active: np.ndarray, columns: Mapping[int, tuple[int, ...]], chip: Chip) -> Pass:
    """A tile under an operand (bool[cols]), given the work of its columns."""
    work, bubbles, row_before = [], [], 0
    for c in range(tile.col_start, tile.col_stop):
        if not active[c] and chip.mac_array.skip_activations:
            continue
        period = chip.mac_array.bubble_period
        row = (c - tile.col_start) // period if period else 0
        bubbles.append(row - row_before)
        row_before = row
        work.append(columns[c])
    return Pass(tuple(work), tuple(bubbles))


def row_pass(tile: Tile, weights: np.ndarray, active: np.ndarray, lanes: int, chip: Chip) -> Pass:
    """A tile under an operand (bool[cols]), row by row."""
    array = chip.mac_array
    per_pe: list[list[tuple[tuple[int, ...], ...]]] = [[] for _ in range(array.pes)]
    for r in range(tile.row_start, tile.row_stop):
        groups = []
        for start in range(0, len(active), lanes):
            takes = [
                c - start
                for c in range(start, min(start + lanes, len(active)))
                if (weights[r, c] or not array.skip_weights) and (active[c] or not array.skip_activations)
            ]
            groups.append(tuple(takes))
        per_pe[r % array.pes].append(tuple(groups))
    return Pass(rows=tuple(tuple(rows) for rows in per_pe))


def decode_cycles(symbols: int, chip: Chip) -> int:
    """Of one burst."""
    return 1 if chip.weight_sram.form == "packed" else max(1, math.ceil(symbols / chip.codec.symbols_per_cycle))


class TileSpecs:
    """Tiles under operands; the work of a column is counted once."""

    def __init__(
        self, image: DramImage, weights: Mapping[str, np.ndarray], pinned: Collection[str], chip: Chip
    ) -> None:
        self.image, self.weights, self.pinned, self.chip = image, weights, pinned, chip
        self.columns: dict[tuple[str, int, int], tuple[int, ...]] = {}

    def of(self, name: str, index: int, actives: list[np.ndarray] | None) -> TileSpec:
        """Tile ``index`` of a tensor under several operands (bool[cols] each; None for a look-up)."""
        tensor, chip = self.image.tensors[name], self.chip
        tile, is_pinned = tensor.tiles[index], name in self.pinned
        bursts = range(tensor.burst_start[index], tensor.burst_start[index + 1])
        dec = tuple(decode_cycles(int(tensor.burst_symbols[b]), chip) for b in bursts)
        if actives is None:
            return TileSpec(dec, (), is_pinned, is_look_up=True)
        by_columns = chip.stream.fetch == "active_columns" or chip.stream.bypass_sram
        if by_columns and not is_pinned:
            return self.by_columns(tensor, index, actives[0])
        if chip.mac_array.dataflow == "row_dot":
            lanes = lanes_of(tensor, chip)
            return TileSpec(dec, tuple(row_pass(tile, self.weights[name], x, lanes, chip) for x in actives), is_pinned)
        work = self.work(tensor, tile)
        return TileSpec(dec, tuple(column_pass(tile, active, work, chip) for active in actives), is_pinned)

    def work(self, tensor: TensorTiles, tile: Tile) -> dict[int, tuple[int, ...]]:
        """Cycles of every PE for each column of a tile."""
        lanes, rows = lanes_of(tensor, self.chip), self.weights[tensor.name][tile.row_start : tile.row_stop]
        for c in range(tile.col_start, tile.col_stop):
            key = (tensor.name, tile.row_start, c)
            if key not in self.columns:
                self.columns[key] = column_work(rows, c, lanes, self.chip)
        return {c: self.columns[tensor.name, tile.row_start, c] for c in range(tile.col_start, tile.col_stop)}

    def by_columns(self, tensor: TensorTiles, index: int, active: np.ndarray) -> TileSpec:
        """A tile whose columns are fetched, or given to the PEs, one by one."""
        chip, tile = self.chip, tensor.tiles[index]
        work = self.work(tensor, tile)
        starts = tensor.columns[tensor.row_part[index]].burst_start
        dec, columns = [], []
        for c in range(tile.col_start, tile.col_stop):
            if chip.stream.fetch == "active_columns" and not active[c]:
                continue
            own = range(starts[c], starts[c + 1])
            dec += [decode_cycles(int(tensor.burst_symbols[b]), chip) for b in own]
            is_used = active[c] or not chip.mac_array.skip_activations
            columns.append((len(own), max(work[c]) if is_used else 0))
        waits = chip.stream.fetch == "active_columns"
        if chip.stream.bypass_sram:
            return TileSpec(tuple(dec), (), waits_for_input=waits, columns=tuple(columns))
        return TileSpec(tuple(dec), (column_pass(tile, active, work, chip),), waits_for_input=waits)


class Program:
    """OpSpecs in program order; ``last[n]`` is the one that writes what invocation n computes."""

    def __init__(
        self, record: ActivityRecord, image: DramImage, weights: Mapping[str, np.ndarray], pinned: Collection[str],
        chip: Chip, start: np.ndarray,
    ) -> None:  # fmt: skip
        self.record, self.image, self.chip, self.start = record, image, chip, start
        self.specs = TileSpecs(image, weights, pinned, chip)
        self.ops: list[OpSpec] = []
        self.last: dict[int, int] = {}
        self.decides_branch = {b.decision for b in record.branchings}
        if chip.controller.chunk_frames > 1:
            self.in_chunks()
        else:
            self.in_order()

    def add(
        self, members: list[int], slots: Sequence[int], out_passes: int, decided: int, fetch_after: int, frame: int,
        **more: Any,
    ) -> None:  # fmt: skip
        """An op for each row part: the chosen operands of the invocations, then their output passes."""
        record, image, chip = self.record, self.image, self.chip
        op = record.ops[record.op[members[0]]]
        first = [record.part_start[n] for n in members]
        is_look_up = bool(op.tensors) and not op.cols[0]
        splits = [(0, 1)] if is_look_up or not op.tensors else image.tensors[op.tensors[0]].part_rows
        for start, stop in splits:
            specs: list[tuple[list[TileSpec], list[int], list[int]]] = []
            for slot in slots:
                name, cols = op.tensors[slot], op.cols[slot]
                if is_look_up:
                    tiles = [self.specs.of(name, int(record.row[f + slot]), None) for f in first]
                else:
                    actives = [record.operand(f + slot, cols) for f in first]
                    tiles = [self.specs.of(name, i, actives) for i in self.tiles_between(name, start, stop)]
                reads = [self.last[r] for f in first for r in self.between(record.reads, record.read_start, f + slot)]
                waits = any(record.part_reads_frame[f + slot] for f in first)
                specs.append((tiles, reads, [int(self.start[frame])] if waits else []))
            if not specs:
                specs.append(([], [], []))
            if out_passes:
                for n in members:
                    specs[-1][1].extend(self.last[r] for r in self.between(record.op_reads, record.op_read_start, n))
                    if record.reads_frame[n]:
                        specs[-1][2].append(int(self.start[frame]))
            share = (stop - start) / splits[-1][1]
            unit = chip.vector_unit
            out = out_passes * (
                unit.fill_cycles + sum(math.ceil(math.ceil(e * share) / unit.lanes[f]) for f, e in op.functions.items())
            )
            parts = tuple(PartSpec(tuple(t), tuple(r), a[0] if a else None) for t, r, a in specs)
            decision = None if decided < 0 else self.last[decided]
            after = None if fetch_after < 0 else self.last[fetch_after]
            self.ops.append(OpSpec(parts, out, decision, after, **more))
        for n in members:
            self.last[n] = len(self.ops) - 1

    def tiles_between(self, name: str, start: int, stop: int) -> list[int]:
        """Tiles of a tensor in a range of rows."""
        tiles = self.image.tensors[name].tiles
        return [i for i, t in enumerate(tiles) if t.row_start >= start and t.row_stop <= stop]

    @staticmethod
    def between(values: np.ndarray, starts: np.ndarray, i: int) -> list[int]:
        """Entry i of a ragged array."""
        return [int(v) for v in values[starts[i] : starts[i + 1]]]

    def slots_of(self, n: int) -> range:
        """Operands of an invocation."""
        return range(self.record.part_start[n + 1] - self.record.part_start[n])

    def in_order(self) -> None:
        """Invocation after invocation, with what is fetched in vain before or behind the taken arm."""
        record, policy = self.record, self.chip.controller.branch_policy
        before: dict[int, list[Any]] = {}
        behind: dict[int, list[Any]] = {}
        surprising: set[int] = set()
        last_taken: dict[Any, int] = {}
        for b in record.branchings if policy != "wait" else ():
            if b.decision < 0:
                continue
            guess = {"likely": [last_taken.get(b.arms, 0)], "both": list(range(len(b.arms)))}[policy]
            last_taken[b.arms] = b.taken
            for arm in guess:
                if arm != b.taken:
                    late = policy == "both" and arm > b.taken
                    (behind if late else before).setdefault(b.stop if late else b.start, []).append((arm, b))
            if b.taken not in guess:
                surprising |= {n for n in range(b.start, b.stop) if record.decided_by[n] == b.decision}
        for n in range(len(record) + 1):
            for arm, b in before.get(n, []) + behind.get(n, []):
                for op in b.arms[arm]:
                    self.add_wasted(op, b.decision)
            if n < len(record):
                decided = int(record.decided_by[n])
                after = decided if policy == "wait" or n in surprising else self.search_decision(n)
                self.add([n], self.slots_of(n), 1, decided, after, record.frame[n])

    def search_decision(self, n: int) -> int:
        """The search's decision before an invocation; -1 for none."""
        decision = int(self.record.decided_by[n])
        while decision in self.decides_branch:
            decision = int(self.record.decided_by[decision])
        return decision

    def add_wasted(self, op: int, decision: int) -> None:
        """What an op of an arm that was not taken would have fetched."""
        record, image = self.record, self.image
        names = [name for name, cols in zip(record.ops[op].tensors, record.ops[op].cols, strict=True) if cols]
        splits = image.tensors[names[0]].part_rows if names else [(0, 1)]
        for start, stop in splits:
            parts = []
            for name in names:
                specs = [self.specs.of(name, i, []) for i in self.tiles_between(name, start, stop)]
                parts.append(PartSpec(tuple(specs)))
            search = self.search_decision(decision)
            after = None if search < 0 else self.last[search]
            self.ops.append(OpSpec(tuple(parts), 0, self.last[decision], after, is_wasted=True))

    def needs(self, n: int, slot: int | None = None) -> set[int]:
        """Invocations that must be done before an operand, or (None) before anything, of n."""
        record = self.record
        slots = list(self.slots_of(n)) if slot is None else [slot]
        found = {r for s in slots for r in self.between(record.reads, record.read_start, record.part_start[n] + s)}
        if slot is None:
            found |= set(self.between(record.op_reads, record.op_read_start, n))
            found |= {int(record.decided_by[n])} & self.decides_branch
        return found

    def in_chunks(self) -> None:
        """The encoder layer by layer over a chunk of frames, the rest of each frame after it."""
        record, size = self.record, self.chip.controller.chunk_frames
        is_encoder = [record.ops[op].graph == record.ops[record.op[self.first_reader()]].graph for op in record.op]
        n = 0
        while not is_encoder[n]:
            self.add([n], self.slots_of(n), 1, self.search_decision(n), self.search_decision(n), record.frame[n])
            n += 1
        for chunk_start in range(0, record.n_frames, size):
            last_frame = min(record.n_frames, chunk_start + size) - 1
            own = [m for m in range(n, len(record)) if chunk_start <= record.frame[m] <= last_frame]
            encoder = [m for m in own if is_encoder[m]]
            decision, todo = self.search_decision(encoder[0]), list(encoder)
            while todo:
                leader = next(m for m in todo if not self.needs(m) & set(todo))
                members: list[int] = []
                for m in list(todo):
                    if record.op[m] == record.op[leader] and not self.needs(m) & set(todo):
                        members.append(m)
                        todo.remove(m)
                self.add_members(members, decision, last_frame)
            for m in own:
                if not is_encoder[m]:
                    self.add([m], self.slots_of(m), 1, self.search_decision(m), self.search_decision(m), last_frame)

    def first_reader(self) -> int:
        """The first invocation that reads a frame."""
        record = self.record
        reads = lambda n: any(record.part_reads_frame[record.part_start[n] + s] for s in self.slots_of(n))  # noqa: E731
        return next(n for n in range(len(record)) if record.reads_frame[n] or reads(n))

    def add_members(self, members: list[int], decision: int, frame: int) -> None:
        """The same op on several frames: what they share first, what is recurrent after it, frame by frame."""
        record = self.record
        decided = int(record.decided_by[members[-1]])
        decided = decided if decided in self.decides_branch else decision
        slots = list(self.slots_of(members[0]))
        shared = [s for s in slots if not any(self.needs(m, s) & set(members) for m in members)]
        recurrent = any(self.needs(m) & set(members) for m in members)
        has_sums = any(record.row[record.part_start[members[0]] + s] < 0 for s in slots)
        if len(members) == 1 or not has_sums or (recurrent and not shared):
            for m in members:
                self.add([m], slots, 1, decided, decided, frame)
            return
        self.add(members, shared if recurrent else slots, 0 if recurrent else len(members), decided, decided, frame)
        if not recurrent:
            return
        rest = [s for s in slots if s not in shared]
        first = len(self.ops)
        for m in members:
            self.add([m], rest, 1, decided, decided, frame, continues=True)
        streamed = [(p, t) for p, q in enumerate(self.ops[first].parts) for t, x in enumerate(q.tiles) if x.streams]
        weights = self.chip.weight_sram
        if len(streamed) <= (weights.tile_slots if weights.ports == 2 else weights.banks):
            for number in range(first, len(self.ops)):
                self.share_tiles(number, first, is_last=number == len(self.ops) - 1)

    def share_tiles(self, number: int, first: int, is_last: bool) -> None:
        """Tiles stay in their slots from the first op that streams them to the last that uses them."""
        op, parts = self.ops[number], []
        for p, part in enumerate(op.parts):
            tiles = []
            for t, x in enumerate(part.tiles):
                streams = self.ops[first].parts[p].tiles[t].streams
                if streams and number == first:
                    x = TileSpec(**{**vars(x), "keeps": True})
                elif streams:
                    key: Key | None = (first, p, t) if is_last else None
                    x = TileSpec(**{**vars(x), "dec": (), "frees": key})
                tiles.append(x)
            parts.append(PartSpec(tuple(tiles), part.reads, part.arrival))
        self.ops[number] = OpSpec(**{**vars(op), "parts": tuple(parts)})
