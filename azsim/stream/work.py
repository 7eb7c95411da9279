"""What a network asks of the chip, frame by frame: the replay of a record cut into steps.

A *step* is what runs without letting another network in: an op, a weight tile, or a whole frame, by the
network's preemption grain. Replay says how far each op moves the edge up to which everything is written::

    span[i] = end[i] - max(end[i-1], start of its frame)        (end: running maximum of the output passes)

so a network that is alone gets from ``max(now, end before) + span`` exactly the replay's edges, prefetch, stalls and
all. What company costs is added to that:

* ``cold``: a step that follows another network's finds no prefetched tile in the slots. Its first tile is
  requested only now, which takes the load (latency, bus, decoder) less what the replay had already waited for it.
* ``bus``: cycles in which its loads hold the DRAM bus. The rest of the span hides background traffic.

Left out
--------
A step that waits for the chip could use the wait to prefetch; here it does not. Of the tiles that a switch
throws out of the slots only the first costs time; all of them cost bytes.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from azsim.errors import ScenarioError
from azsim.timing import Timeline

Grain = Literal["op", "tile", "none"]


@dataclass(frozen=True)
class Work:
    """One network on one stretch of audio; ``N`` steps in program order.

    Attributes
    ----------
    network : str
    first : int64[T + 1]
        Steps of frame t are ``first[t]:first[t + 1]``.
    span_cycles, bus_cycles, cold_cycles, cold_bytes : int64[N]
    expansions : int64[N]
        Hypotheses that the host core has to work through before the step may start.
    expansions_after : int64[T]
        The same after the last step of a frame, before its result is known.
    feature_cycles : int64[T]
        From the last sample of a frame to its features.
    """

    network: str
    first: np.ndarray
    span_cycles: np.ndarray
    bus_cycles: np.ndarray
    cold_cycles: np.ndarray
    cold_bytes: np.ndarray
    expansions: np.ndarray
    expansions_after: np.ndarray
    feature_cycles: np.ndarray

    @property
    def n_frames(self) -> int:
        """Frames of the stretch."""
        return len(self.first) - 1

    def runs(self, frame: int) -> Iterator[tuple[int, int, int]]:
        """(first step, last step + 1, hypotheses for the host core after them) of a frame, in order."""
        start, stop = int(self.first[frame]), int(self.first[frame + 1])
        for at in np.flatnonzero(self.expansions[start:stop]) + int(self.first[frame]):
            yield start, int(at), int(self.expansions[at])
            start = int(at)
        yield start, stop, int(self.expansions_after[frame])

    @property
    def longest_step_cycles(self) -> int:
        """What a more urgent network may have to wait for."""
        return int(self.span_cycles.max(initial=0))


def cut(network: str, timeline: Timeline, latency_cycles: int, grain: Grain) -> Work:
    """Cut a replay into steps.

    Parameters
    ----------
    network : str
    timeline : Timeline
    latency_cycles : int
        From a DRAM request to its first beat.
    grain : "op", "tile" or "none"

    Raises
    ------
    ScenarioError
        If frames were replayed in chunks: the stream releases them one by one.
    """
    if (timeline.frame_start != timeline.frame_arrival).any():
        raise ScenarioError(
            f"{network}: `controller.chunk_frames = 1` must hold in a stream, where frames are worked on as they "
            f"arrive; set chip.controller.chunk_frames=1"
        )
    end = np.maximum.accumulate(timeline.out_end) if len(timeline.out_end) else timeline.out_end
    base = np.maximum(np.concatenate([[0], end[:-1]]), timeline.frame_start[timeline.frame])
    end = np.maximum(end, base)  # what ran ahead of its frame's arrival takes none of the frame's time
    op_of_step, until = _steps(timeline, base, end, grain)
    begin = np.concatenate([[0], until[:-1]])
    is_first_of_op = np.diff(op_of_step, prepend=-1) != 0
    begin = np.where(is_first_of_op, base[op_of_step], begin)
    cold_cycles, cold_bytes = _cold(timeline, op_of_step, begin, latency_cycles, grain)
    expansions, after = _expansions(timeline, op_of_step, is_first_of_op)
    n_frames = len(timeline.frame_done)
    frame = timeline.frame[op_of_step]
    work = Work(
        network,
        first=np.searchsorted(frame, np.arange(n_frames + 1)),
        span_cycles=until - begin,
        bus_cycles=_bus(timeline, op_of_step, grain),
        cold_cycles=cold_cycles,
        cold_bytes=cold_bytes,
        expansions=expansions,
        expansions_after=after,
        feature_cycles=timeline.frame_arrival - timeline.frame_end,
    )
    return _whole_frames(work) if grain == "none" else work


def _steps(timeline: Timeline, base: np.ndarray, end: np.ndarray, grain: Grain) -> tuple[np.ndarray, np.ndarray]:
    """(op of each step, edge at which it ends); an op without tiles is one step."""
    if grain != "tile":
        return np.arange(len(end)), end
    n_tiles = np.bincount(timeline.tile_op, minlength=len(end))
    op_of_step = np.repeat(np.arange(len(end)), np.maximum(n_tiles, 1))
    last = np.cumsum(np.maximum(n_tiles, 1)) - 1
    until = base[op_of_step].copy()
    until[_step_of_tile(n_tiles)] = timeline.tile_compute_end
    until[last] = end
    return op_of_step, np.maximum.accumulate(np.clip(until, base[op_of_step], end[op_of_step]))


def _step_of_tile(n_tiles: np.ndarray) -> np.ndarray:
    """Step of every tile where each tile is a step: ops without tiles take a number too."""
    steps = np.maximum(n_tiles, 1)
    return np.flatnonzero(np.repeat(n_tiles > 0, steps))


def _per_step(timeline: Timeline, op_of_step: np.ndarray, values: np.ndarray, grain: Grain) -> np.ndarray:
    """Sum of a tile's figure over the tiles of each step."""
    if grain == "tile":
        out = np.zeros(len(op_of_step), np.int64)
        out[_step_of_tile(np.bincount(timeline.tile_op, minlength=len(timeline.op)))] = values
        return out
    return np.bincount(timeline.tile_op, weights=values, minlength=len(op_of_step)).astype(np.int64)


def _bus(timeline: Timeline, op_of_step: np.ndarray, grain: Grain) -> np.ndarray:
    return _per_step(timeline, op_of_step, timeline.tile_bus_cycles, grain)


def _cold(
    timeline: Timeline, op_of_step: np.ndarray, begin: np.ndarray, latency_cycles: int, grain: Grain
) -> tuple[np.ndarray, np.ndarray]:
    """(cycles, bytes) that a step costs more when the slots hold nothing of its network."""
    cycles, lost = np.zeros(len(op_of_step), np.int64), np.zeros(len(op_of_step), np.int64)
    loads = np.flatnonzero(timeline.tile_loads)
    if not len(loads):
        return cycles, lost
    step_of_tile = timeline.tile_op
    if grain == "tile":
        step_of_tile = _step_of_tile(np.bincount(timeline.tile_op, minlength=len(timeline.op)))
    steps, at = np.unique(step_of_tile[loads], return_index=True)
    first = loads[at]
    load = timeline.load_end[first] - timeline.load_start[first] + latency_cycles
    waited = np.maximum(0, timeline.load_end[first] - begin[steps])
    cycles[steps] = np.maximum(0, load - waited)
    until = np.concatenate([[0], np.cumsum(timeline.tile_stored_bytes[loads])])
    requested = np.searchsorted(timeline.load_start[loads], begin[steps])  # loads that had begun before the step
    lost[steps] = np.maximum(0, until[np.maximum(requested, at)] - until[at])
    return cycles, lost


def _expansions(
    timeline: Timeline, op_of_step: np.ndarray, is_first_of_op: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(hypotheses to work through before each step, and after each frame), from where joint turns to prediction."""
    graph = np.array([name.split("/")[0] for name in timeline.op_name])
    graph_of_step = graph[timeline.op[op_of_step]]
    frame = timeline.frame[op_of_step]
    joint_ops = np.flatnonzero(graph == "joint")
    n_frames = len(timeline.frame_done)
    before, after = np.zeros(len(op_of_step), np.int64), np.zeros(n_frames, np.int64)
    if not len(joint_ops):
        return before, after
    is_call = is_first_of_op & (timeline.op[op_of_step] == joint_ops[0])
    is_call &= np.concatenate([[True], timeline.op[op_of_step][1:] != timeline.op[op_of_step][:-1]])
    calls = np.concatenate([[0], np.cumsum(is_call)])
    is_turn = (graph_of_step == "prediction") & np.concatenate([[False], graph_of_step[:-1] == "joint"])
    is_turn &= np.concatenate([[False], frame[1:] == frame[:-1]])
    bounds = np.concatenate([[0], np.flatnonzero(is_turn)])
    first = np.searchsorted(frame, np.arange(n_frames + 1))
    for a, b in itertools.pairwise(bounds):
        since = max(a, first[frame[b]])
        before[b] = calls[b] - calls[since]
    for t in range(n_frames):
        turns = bounds[(bounds >= first[t]) & (bounds < first[t + 1]) & (bounds > 0)]
        after[t] = calls[first[t + 1]] - calls[turns[-1] if len(turns) else first[t]]
    return before, after


def _whole_frames(work: Work) -> Work:
    """One step a frame; the host core's share comes after it, in one piece."""
    sums = lambda values: np.diff(np.concatenate([[0], np.cumsum(values)])[work.first])  # noqa: E731
    has_steps = work.first[:-1] < work.first[1:]
    head = np.minimum(work.first[:-1], max(0, len(work.span_cycles) - 1))
    pick = lambda values: np.where(has_steps, values[head], 0) if len(values) else np.zeros(work.n_frames, np.int64)  # noqa: E731
    return Work(
        work.network,
        np.arange(work.n_frames + 1),
        sums(work.span_cycles),
        sums(work.bus_cycles),
        pick(work.cold_cycles),
        pick(work.cold_bytes),
        np.zeros(work.n_frames, np.int64),
        work.expansions_after + sums(work.expansions),
        work.feature_cycles,
    )
