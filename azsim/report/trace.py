"""A run as a trace to zoom into: Chrome trace events, which ui.perfetto.dev opens.

    DMA           bursts on the bus                            busy cycles of the dma
    decoder       bursts being decoded                         of the decoder
    MAC array     tiles being computed, named after their op   of the mac_array
    vector unit   output passes                                of the vector_unit
    arbitrator    ops that decide a branch, from their first operand to the decision, named after the arm taken
    frames        what of the working cycles each frame adds; the end of its audio and its last result

The left column are the lanes, the right one says what the slices of a lane add up to, cycle for cycle. Slices of a lane
never overlap. Every slice has its integer cycles in its arguments: the time stamps are rounded to ns. A load in which
the bus, the decoder or (in a bypass) the PEs would work in more than ``most_runs`` separate slices is one slice there,
pauses included, so that the file grows with the loads and not with the bursts. What adds up is ``busy_cycles``; it is
``cycles`` in a slice without pauses.
"""

import gzip
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from azsim.chip import Chip
from azsim.errors import OutputError
from azsim.execute import ActivityRecord
from azsim.simulate import Run
from azsim.timing import Timeline
from azsim.timing.cells import replay_cells
from azsim.timing.load import burst_edges
from azsim.timing.order import order
from azsim.timing.tables import ChipTables, tabulate_chip
from azsim.weights import DramImage

LANES = ("DMA", "decoder", "MAC array", "vector unit", "arbitrator", "frames")
MOST_RUNS = 8

Event = dict[str, Any]


def write_trace(run: Run, path: str | Path) -> None:
    """Write the trace of a run, compressed if the path ends in ``.gz``; all of it or nothing.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    path, replay = Path(path), run.replay
    events = trace_events(
        run.execution.record, replay.image, replay.chip, replay.timeline, run.network.name, words_of_frames(run)
    )
    content = {"displayTimeUnit": "ns", "otherData": {"clock_hz": replay.chip.clock_hz}, "traceEvents": events}
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".azsim-") as scratch:
            part = Path(scratch) / "trace"
            part.write_bytes(data)
            part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot write a trace there ({error.strerror}); choose another file") from error


def words_of_frames(run: Run) -> list[str]:
    """What each frame emitted, joined by spaces."""
    said: list[list[str]] = [[] for _ in range(run.execution.record.n_frames)]
    hypothesis, vocabulary = run.execution.hypothesis, run.network.vocabulary
    if hypothesis:
        for token, frame in zip(hypothesis.tokens, hypothesis.frames, strict=True):
            said[frame].append(vocabulary[token] if token < len(vocabulary) else str(token))
    return [" ".join(words) for words in said]


def trace_events(
    record: ActivityRecord,
    image: DramImage,
    chip: Chip,
    timeline: Timeline,
    network: str = "network",
    words: Sequence[str] = (),
    most_runs: int = MOST_RUNS,
) -> list[Event]:
    """Chrome trace events of a schedule.

    Parameters
    ----------
    record, image, chip
        What the timeline was made of; no part was ideal.
    network : str
        Its name stands beside the chip's in the process name.
    words : sequence of str
        What each frame emitted.
    most_runs : int
        A load with more runs than this in a lane is one slice there.

    Source
    ------
    "Trace Event Format" of the Chromium project: phases X (slice), i (instant) and M (metadata); times in us.
    """
    tables = tabulate_chip(record, image, chip)
    pen = Pen(timeline.clock_hz)
    pen.name_lanes(f"{chip.name}, {network}")
    _draw_tiles(pen, tables, _Loads(record, image, chip, timeline, tables), timeline, most_runs)
    _draw_output_passes(pen, record, timeline)
    _draw_decisions(pen, timeline, _arms_decided(record, tables, chip))
    _draw_frames(pen, record, timeline, words)
    return pen.events


class Pen:
    """Turns cycles into events of named lanes."""

    def __init__(self, clock_hz: float, lanes: Sequence[str] = LANES) -> None:
        self.clock_hz, self.lanes = clock_hz, list(lanes)
        self.events: list[Event] = []

    def name_lanes(self, process: str) -> None:
        """Metadata: what the process and its threads are called, and their order."""
        self._add("M", 0, "process_name", args={"name": process})
        for tid, lane in enumerate(self.lanes, 1):
            self._add("M", tid, "thread_name", args={"name": lane})
            self._add("M", tid, "thread_sort_index", args={"sort_index": tid})

    def slice(
        self, lane: str, name: str, start: int, end: int, busy: int | None = None, category: str = "work", **args: Any
    ) -> None:
        """An interval of a lane, unless it is empty; ``busy`` if not all of its cycles are."""
        if end > start:
            cycles = {"start_cycle": start, "cycles": end - start, "busy_cycles": end - start if busy is None else busy}
            ts = self._ns(start)
            # both edges are rounded, so that what touches in cycles touches in ns
            times = {"ts": ts / 1000, "dur": (self._ns(end) - ts) / 1000}
            self._add("X", self.lanes.index(lane) + 1, name, cat=category, **times, args={**cycles, **args})

    def instant(self, lane: str, name: str, at: int, **args: Any) -> None:
        """A moment of a lane."""
        self._add("i", self.lanes.index(lane) + 1, name, ts=self._ns(at) / 1000, s="t", args={"cycle": at, **args})

    def _ns(self, cycle: int) -> int:
        return round(cycle * 1e9 / self.clock_hz)

    def _add(self, phase: str, tid: int, name: str, ts: float = 0, **fields: Any) -> None:
        self.events.append({"ph": phase, "pid": 1, "tid": tid, "name": name, "ts": ts, **fields})


@dataclass(frozen=True)
class Runs:
    """Intervals in cycles from the start of a load, in order and apart from each other: int64[runs]."""

    start: np.ndarray
    end: np.ndarray

    def drawn(self, most: int) -> list[tuple[int, int, int]]:
        """(start, end, busy cycles) of each slice: of every run, or of all in one if they are more than ``most``."""
        if len(self.start) > most:
            return [(int(self.start[0]), int(self.end[-1]), int((self.end - self.start).sum()))]
        return [(int(a), int(b), int(b - a)) for a, b in zip(self.start, self.end, strict=True)]


def merged(start: np.ndarray, end: np.ndarray) -> Runs:
    """Intervals that touch become one; those without a cycle vanish."""
    lasts = end > start
    start, end = start[lasts], end[lasts]
    is_apart = start[1:] > end[:-1]
    return Runs(start[np.append(True, is_apart)[: len(start)]], end[np.append(is_apart, True)[: len(end)]])


@dataclass(frozen=True)
class _Inside:
    """Who works when inside a load; ``pes`` work there only in a bypass."""

    bus: Runs
    decoder: Runs
    pes: Runs


class _Loads:
    """What happens inside the loads of a timeline.

    A tile loads in the same way every time, unless its columns are fetched, or passed to the PEs, one by one: then
    the zeros of the operand decide.
    """

    def __init__(
        self, record: ActivityRecord, image: DramImage, chip: Chip, timeline: Timeline, tables: ChipTables
    ) -> None:
        self.record, self.chip, self.timeline, self.tables = record, chip, timeline, tables
        tensors = list(image.tensors.values())
        before = np.cumsum([0] + [len(t.burst_symbols) for t in tensors])
        ends = [np.stack([t.burst_start[:-1], t.burst_start[1:]], 1) + n for t, n in zip(tensors, before, strict=False)]
        self.tile_burst = np.concatenate(ends)
        self.of_tile: dict[int, _Inside] = {}
        self.cell_start = replay_cells(record, tables, chip).start if chip.is_cut_by_columns else np.zeros(0, np.int64)

    def operand(self, i: int) -> int:
        """The operand whose zeros decide about tile i of the timeline; -1 if none does."""
        if not len(self.cell_start) or self.timeline.tile_cell[i] < 0:
            return -1
        part = int(np.searchsorted(self.cell_start, self.timeline.tile_cell[i], side="right")) - 1
        return part if self.record.row[part] < 0 else -1

    def bypasses(self, i: int) -> bool:
        """Whether tile i of the timeline is computed as it is decoded."""
        return self.chip.stream.bypass_sram and bool(self.timeline.tile_loads[i]) and self.operand(i) >= 0

    def inside(self, i: int) -> _Inside:
        """Of the load of tile i of the timeline."""
        part, tile = self.operand(i), int(self.timeline.tile[i])
        if part >= 0:
            return self._by_column(part, tile)
        if tile not in self.of_tile:
            dec = self.tables.dec[slice(*self.tile_burst[tile])]
            self.of_tile[tile] = self._solve(dec, dec, np.zeros_like(dec))
        return self.of_tile[tile]

    def _by_column(self, part: int, tile: int) -> _Inside:
        """A load whose columns are cut by the zeros of an operand; the last burst of a column wakes the PEs."""
        tables, stream = self.tables, self.chip.stream
        first, stop = tables.tile_cols[tile]
        is_on = self.record.operand(part, stop)[first:]
        columns = tables.tile_work[tile] + np.arange(first, stop)
        if stream.fetch == "active_columns":
            columns, is_on = columns[is_on], is_on[is_on]
        bursts = tables.column_burst[columns]
        lengths = bursts[:, 1] - bursts[:, 0]
        ends = np.cumsum(lengths)
        dec = tables.dec[np.repeat(bursts[:, 1] - ends, lengths) + np.arange(lengths.sum())]
        work = np.zeros_like(dec)
        if stream.bypass_sram:
            wakes = (lengths > 0) & (is_on | (not self.chip.mac_array.skip_activations))
            work[ends[wakes] - 1] = tables.work[columns[wakes]].max(axis=1)
        return self._solve(dec, np.maximum(dec, work), work)

    def _solve(self, dec: np.ndarray, held: np.ndarray, work: np.ndarray) -> _Inside:
        arrive, taken = np.zeros_like(dec), np.zeros_like(dec)
        burst, latency = self.tables.burst_cycles, self.tables.latency_cycles
        burst_edges(dec, held, self.chip.stream.fifo_bursts, burst, latency, arrive, taken)
        return _Inside(merged(arrive - burst, arrive), merged(taken, taken + dec), merged(taken, taken + work))


def _draw_tiles(pen: Pen, tables: ChipTables, loads: _Loads, timeline: Timeline, most_runs: int) -> None:
    """Lanes DMA, decoder and MAC array."""
    first_tile = np.searchsorted(tables.tile_tensor, np.arange(len(tables.tensor_names)))
    for i, (tile, op) in enumerate(zip(timeline.tile.tolist(), timeline.tile_op.tolist(), strict=True)):
        tensor = int(tables.tile_tensor[tile])
        label = f"{tables.tensor_names[tensor]} tile {tile - first_tile[tensor]}"
        op_name, frame = timeline.op_name[timeline.op[op]], int(timeline.frame[op])
        load_start, load_end = int(timeline.load_start[i]), int(timeline.load_end[i])
        start, end = int(timeline.tile_compute_start[i]), int(timeline.tile_compute_end[i])
        if timeline.tile_loads[i]:
            inside, wasted = loads.inside(i), bool(timeline.is_wasted[op])
            name, category = (f"wasted: {label}", "wasted") if wasted else (label, "load")
            for lane, runs in (("DMA", inside.bus), ("decoder", inside.decoder)):
                for a, b, busy in runs.drawn(most_runs):
                    pen.slice(lane, name, load_start + a, load_start + b, busy, category, op=op_name, frame=frame)
        if not timeline.tile_computes[i]:
            continue
        if loads.bypasses(i):
            for a, b, busy in inside.pes.drawn(most_runs):
                pen.slice("MAC array", op_name, load_start + a, load_start + b, busy, "bypass", tile=label, frame=frame)
            pen.slice("MAC array", op_name, load_end, end, None, "bypass", tile=label, frame=frame)  # drains
        else:
            pen.slice("MAC array", op_name, start, end, None, "tile", tile=label, frame=frame)


def _draw_output_passes(pen: Pen, record: ActivityRecord, timeline: Timeline) -> None:
    for o, (start, end) in enumerate(zip(timeline.out_start.tolist(), timeline.out_end.tolist(), strict=True)):
        args = {"frame": int(timeline.frame[o]), "arm": record.arms[timeline.arm[o]]}
        pen.slice("vector unit", timeline.op_name[timeline.op[o]], start, end, None, "output pass", **args)


def _arms_decided(record: ActivityRecord, tables: ChipTables, chip: Chip) -> dict[int, list[str]]:
    """Labels of the arms that each deciding op of the timeline chose, one for each of its frames."""
    units = order(record, tables, chip)
    last_op = np.cumsum(np.diff(tables.op_groups)[units.op]) - 1  # of each unit, which is an op per row part
    op_of = np.zeros(len(record), np.int64)
    op_of[units.invocations] = np.repeat(last_op, np.diff(units.start))  # if it became several units, the last writes
    chosen: dict[int, list[str]] = {}
    for branching in record.branchings:
        if branching.decision >= 0:
            ran = branching.stop > branching.start
            label = record.arms[record.arm[branching.start]] if ran else f"arm {branching.taken}, which is empty"
            chosen.setdefault(int(op_of[branching.decision]), []).append(label)
    return chosen


def _draw_decisions(pen: Pen, timeline: Timeline, arms_decided: dict[int, list[str]]) -> None:
    """From the first operand of a deciding op to its decision, or from the decision before if that is later."""
    before = 0
    for o in np.flatnonzero(timeline.decides).tolist():
        start, end = max(before, int(timeline.compute_start[o])), int(timeline.out_end[o])
        args = {"op": timeline.op_name[timeline.op[o]], "frame": int(timeline.frame[o]), "decision_cycle": end}
        pen.slice("arbitrator", ", ".join(arms_decided[o]), start, end, None, "decision", **args)
        before = end


def _draw_frames(pen: Pen, record: ActivityRecord, timeline: Timeline, words: Sequence[str]) -> None:
    """A frame's slice begins when its work may, but not before the frames ahead of it are done."""
    before = 0
    for t, done in enumerate(timeline.frame_done.tolist()):
        start, audio = int(timeline.frame_start[t]), int(timeline.frame_end[t])
        args = {"arm": record.frame_arm[t] if record.frame_arm else "", "words": words[t] if words else ""}
        pen.instant("frames", f"end of audio {t}", audio, frame=t)
        pen.slice(
            "frames", f"frame {t}", max(before, start), done, None, "frame", frame=t, may_start_cycle=start, **args
        )
        pen.instant("frames", f"done {t}", done, frame=t, latency_cycles=done - audio, **args)
        before = max(before, done)
