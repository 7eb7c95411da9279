"""A schedule and what it says: latencies, where each part's cycles went, and the counts to price."""

from dataclasses import dataclass

import numpy as np

from azsim.timing.counts import Counts

STALLS = ("dma", "decoder", "slot", "queue", "input", "output", "branch")


@dataclass(frozen=True)
class Account:
    """Where the cycles of one part of the chip went; ``busy + stalls + idle = total``."""

    part: str
    total_cycles: int
    busy_cycles: int
    idle_cycles: int
    stall_cycles: dict[str, int]


@dataclass(frozen=True)
class OpAccount:
    """One op of the network over the whole utterance, MAC array and output pass.

    ``span_cycles`` say by how much the op moved the end of the work; over all ops they add up to the working cycles.
    """

    name: str
    invocations: int
    mac_cycles: int
    out_cycles: int
    stall_cycles: dict[str, int]
    dense_macs: int
    effectual_macs: int
    streamed_bytes: int
    wasted_bytes: int
    span_cycles: int


@dataclass(frozen=True)
class Timeline:
    """One utterance on one chip.

    Attributes
    ----------
    clock_hz : float
    frame_end, frame_arrival, frame_done : int64[T]
        Edges: last sample of a frame, its features on the chip, its last result.
    frame_start : int64[T]
        When the work of a frame may begin: the arrival of the last frame of its chunk.
    op_name : list of str
        Of the record's op table.
    op, frame, arm : int64[O]
        Of each timed op in program order.
    is_wasted, decides : bool[O]
        Whether the op stands for weights fetched in vain, and whether it decided a branch.
    ready, compute_start, compute_end, out_start, out_end : int64[O]
        Edges; of the first and last tile for the compute edges.
    tile_op, tile : int64[I]
        Op of each tile in program order, and its number among all tiles of the image.
    tile_cell : int64[I]
        Its number among the cells of the record (see ``azsim.timing.cells``); -1 if fetched in vain.
    tile_loads, tile_computes : bool[I]
        Whether it was fetched at this place in the program, and whether it was computed (not fetched in vain).
    load_start, load_end, tile_compute_start, tile_compute_end : int64[I]
    tile_bus_cycles, tile_stored_bytes : int64[I]
        What each fetch holds the DRAM bus for, and brings; 0 for a tile that is not fetched at this place.
    pinned : frozenset of str
        Tensors that stayed in weight SRAM.
    accounts : dict of str to Account
        dma, decoder, broadcaster, mac_array, vector_unit.
    per_op : list of OpAccount
    counts : Counts
    bounds : dict of str to int
        The three floors and the largest, over the whole utterance.
    """

    clock_hz: float
    frame_end: np.ndarray
    frame_arrival: np.ndarray
    frame_start: np.ndarray
    frame_done: np.ndarray
    op_name: list[str]
    op: np.ndarray
    frame: np.ndarray
    arm: np.ndarray
    is_wasted: np.ndarray
    decides: np.ndarray
    ready: np.ndarray
    compute_start: np.ndarray
    compute_end: np.ndarray
    out_start: np.ndarray
    out_end: np.ndarray
    tile_op: np.ndarray
    tile: np.ndarray
    tile_cell: np.ndarray
    tile_loads: np.ndarray
    tile_computes: np.ndarray
    load_start: np.ndarray
    load_end: np.ndarray
    tile_compute_start: np.ndarray
    tile_compute_end: np.ndarray
    tile_bus_cycles: np.ndarray
    tile_stored_bytes: np.ndarray
    accounts: dict[str, Account]
    per_op: list[OpAccount]
    counts: Counts
    bounds: dict[str, int]
    pinned: frozenset[str] = frozenset()

    @property
    def frame_latency_cycles(self) -> np.ndarray:
        """From a frame's last sample to its last result, feature extraction included."""
        return self.frame_done - self.frame_end

    @property
    def working_cycles(self) -> int:
        """Cycles between a frame's start (or the end of the frame before) and its end, summed."""
        before = np.concatenate([[0], np.maximum.accumulate(self.frame_done)[:-1]])
        return int(np.maximum(0, self.frame_done - np.maximum(self.frame_start, before)).sum())

    @property
    def real_time_factor(self) -> float:
        """Working time over audio time; below 1 keeps up."""
        audio_cycles = int(self.frame_end[-1]) if len(self.frame_end) else 0
        return self.working_cycles / audio_cycles if audio_cycles else 0.0

    def latency_ms(self, percentile: float, frames: np.ndarray | None = None) -> float:
        """Percentile of the frame latency, over all frames or a bool[T] selection; nan if it is empty."""
        latency = self.frame_latency_cycles if frames is None else self.frame_latency_cycles[frames]
        return float(np.percentile(latency, percentile)) / self.clock_hz * 1e3 if len(latency) else float("nan")
