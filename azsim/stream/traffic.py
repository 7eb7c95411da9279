"""Background DRAM traffic and what it does to a step.

Each stream of traffic moves a burst of ``busy`` cycles every ``period`` cycles and goes first. While it holds the bus,
no weight comes. A step has ``slack = span - bus`` cycles in which its own loads leave the bus alone, so of the
cycles that the background holds the bus during the step, only what exceeds the slack delays it::

    end = start + span + max(0, occupied(start, end) - slack)

which is a fixed point, found by iterating from below (the background holds less than the whole bus). A step that
only loads (slack 0) is stretched by 1 / (1 - share), a step that only computes not at all: both ends agree with
a replay at the bandwidth that is left, and a test compares what lies between.
"""

from collections.abc import Mapping

import numpy as np
from numba import njit

from azsim.chip import Chip
from azsim.errors import ScenarioError
from azsim.stream.scenario import Traffic


@njit(cache=True, nogil=True)
def occupied_until(t, period, busy, phase):
    """Cycles in [0, t) in which the bus is taken by any stream of traffic; they are added, as if none overlapped."""
    total = 0
    for k in range(period.shape[0]):
        since = t + phase[k]
        total += since // period[k] * busy[k] + min(since % period[k], busy[k])
    return total


@njit(cache=True, nogil=True)
def run_steps(start, span, bus, cold_cycles, period, busy, phase, ends, delays):
    """Edges of steps that run one after the other.

    Parameters
    ----------
    start : int
    span, bus : int64[n]
    cold_cycles : int
        Added to the first step, and to its use of the bus.
    period, busy, phase : int64[k]
        Of the background; no entries where there is none.
    ends, delays : int64[n]
        Out: when each step ends, and by how much the background delayed it.
    """
    t = start
    for i in range(span.shape[0]):
        extra = cold_cycles if i == 0 else 0
        length, held = span[i] + extra, bus[i] + extra
        slack = max(0, length - held)
        before = occupied_until(t, period, busy, phase)
        end = t + length
        while True:
            delayed = t + length + max(0, occupied_until(end, period, busy, phase) - before - slack)
            if delayed == end:
                break
            end = delayed
        ends[i], delays[i] = end, end - t - length
        t = end


class Background:
    """The traffic of a scenario in cycles.

    Raises
    ------
    ScenarioError
        If it asks for all the bandwidth of the DRAM, or for more.
    """

    def __init__(self, traffic: Mapping[str, Traffic], chip: Chip, seed: int) -> None:
        streams = {name: t for name, t in traffic.items() if t.bytes_per_s > 0}
        self.bytes_per_s = sum(t.bytes_per_s for t in streams.values())
        peak = chip.dram.bandwidth_bytes_per_s
        self.share = self.bytes_per_s / peak
        if self.share >= 1:
            raise ScenarioError(
                f"background: the sum of bytes_per_s must be less than the DRAM of {chip.name} moves, "
                f"{peak:,.0f} bytes/s, but {' + '.join(streams)} ask for {self.bytes_per_s:,.0f}; lower a rate, or "
                f"raise chip.dram.bandwidth_bytes_per_s"
            )
        rng = np.random.default_rng((seed, 1))
        self.names = list(streams)
        self.period = np.array([chip.cycles(t.burst_bytes / t.bytes_per_s) for t in streams.values()], np.int64)
        self.busy = np.array([chip.cycles(t.burst_bytes / peak) for t in streams.values()], np.int64)
        if (self.busy >= self.period).any() or (self.busy / self.period).sum() >= 1:
            raise ScenarioError(
                "background: bursts round up to whole cycles and would fill the bus; use larger burst_bytes"
            )
        self.phase = np.array([int(rng.integers(p)) for p in self.period], np.int64)

    def run(self, start: int, span: np.ndarray, bus: np.ndarray, cold_cycles: int) -> tuple[np.ndarray, np.ndarray]:
        """(ends, delays) of steps from ``start`` on, int64[n] each."""
        ends, delays = np.empty(len(span), np.int64), np.empty(len(span), np.int64)
        run_steps(start, span, bus, cold_cycles, self.period, self.busy, self.phase, ends, delays)
        return ends, delays
