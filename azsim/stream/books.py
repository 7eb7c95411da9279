"""What is written down while a stream runs: sums in memory that do not grow with it, rows on disk.

Latencies go into a histogram whose bins are 0.1 % wide, so that a percentile of an hour costs the same as one
of a second. A row for every frame of every network goes to ``frames.csv`` at once. Intervals for the timeline are
kept for the first ``TIMELINE_S`` seconds only.
"""

import csv
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

TIMELINE_S = 60.0
BACKLOG_BINS = 600
WAITED_FOR = ("queue", "chip", "wake_up", "cold", "dram", "host")
COLUMNS = ("network", "utterance", "frame", "end_s", "arrival_s", "done_s", "deadline_missed", "preemptions",
           *(f"waited_{name}_us" for name in WAITED_FOR))  # fmt: skip


class Histogram:
    """Percentiles of positive numbers in bounded memory, to within 0.1 %.

    Bin k holds values in [1.001**k, 1.001**(k+1)) cycles; the mean is exact.
    """

    RATIO = 1.001

    def __init__(self) -> None:
        self.bins: Counter[int] = Counter()
        self.count, self.total, self.largest = 0, 0, 0

    def add(self, value: int) -> None:
        """Count one value; what is below 1 counts as 1 in a percentile."""
        self.bins[int(math.log(max(value, 1)) / math.log(self.RATIO))] += 1
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)

    @property
    def mean(self) -> float:
        """nan where nothing was counted."""
        return self.total / self.count if self.count else math.nan

    def percentile(self, percent: float) -> float:
        """The middle of the bin in which that share of the values is reached; nan where nothing was counted."""
        wanted, so_far = percent / 100 * self.count, 0
        for k in sorted(self.bins):
            so_far += self.bins[k]
            if so_far >= wanted:
                return min(self.RATIO ** (k + 0.5), float(self.largest))
        return math.nan


@dataclass
class NetworkBook:
    """One network over the whole stream.

    ``frames_in = frames_out + dropped + backlog`` at any time. Frames are dropped when the end of speech is decided
    while they wait.
    """

    deadline_cycles: int
    latency: Histogram = field(default_factory=Histogram)
    frames_in: int = 0
    frames_out: int = 0
    dropped: int = 0
    missed_deadlines: int = 0
    preemptions: int = 0
    cold_bytes: int = 0
    waited_cycles: Counter[str] = field(default_factory=Counter)
    largest_backlog: int = 0
    backlog_at_end: list[int] = field(default_factory=list)  # of each utterance, the newest 1,000
    sojourn_cycles: int = 0  # sum over frames of the time from arrival to done or drop
    backlog_cycles: int = 0  # backlog integrated over time: Little's law says they are equal
    changed_at: int = 0

    @property
    def backlog(self) -> int:
        """Frames that have arrived and are not done."""
        return self.frames_in - self.frames_out - self.dropped

    def change(self, now: int) -> None:
        """Integrate the backlog up to now; called before it changes."""
        self.backlog_cycles += self.backlog * (now - self.changed_at)
        self.changed_at = now


@dataclass(frozen=True)
class Answer:
    """What became of one utterance; times in seconds of the stream, nan where it did not come to that.

    ``best`` is the best path of the lattice that was sent, ``recognized`` what the cloud made of it.
    """

    utterance: int
    audio: str
    said: str
    best: str
    recognized: str
    speech_end_s: float
    speculative_s: float
    final_s: float
    answer_s: float
    revoked: int
    is_cut_off: bool
    sent_bytes: int
    revoked_bytes: int
    audio_bytes: int
    opus_bytes: int

    @property
    def latency_s(self) -> float:
        """What the person waits: from the end of their speech to the answer."""
        return self.answer_s - self.speech_end_s


class Log:
    """Rows to disk, intervals of the first minute, and the backlog over time."""

    def __init__(self, clock_hz: float, total_cycles: int, file: Path | None) -> None:
        self.clock_hz, self.bin_cycles = clock_hz, max(1, total_cycles // BACKLOG_BINS)
        self.intervals: list[tuple[str, str, int, int, dict[str, Any]]] = []
        self.backlog: dict[str, np.ndarray] = {}
        self._newest: dict[str, tuple[int, int]] = {}  # bin and frames of the last change
        self._until = TIMELINE_S * clock_hz
        self._file = file.open("w", newline="") if file else None
        self._rows = csv.writer(self._file) if self._file else None
        if self._rows:
            self._rows.writerow(COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file:
            self._file.close()

    def interval(self, lane: str, name: str, start: int, end: int, **about: Any) -> None:
        """Something that took time, for the timeline."""
        if start < self._until:
            self.intervals.append((lane, name, start, end, about))

    def backlog_is(self, network: str, now: int, frames: int) -> None:
        """Keep the largest backlog of each stretch of time; told of every change."""
        series = self.backlog.setdefault(network, np.zeros(BACKLOG_BINS + 1, np.int64))
        at = min(now // self.bin_cycles, BACKLOG_BINS)
        since, before = self._newest.get(network, (at, 0))
        series[since + 1 : at + 1] = before  # it did not change meanwhile
        series[at] = max(series[at], frames)
        self._newest[network] = at, frames

    def frame(self, network: str, utterance: int, frame: int, end: int, arrival: int, done: int, missed: bool,
              preemptions: int, waited: Counter[str]) -> None:  # fmt: skip
        """One row of frames.csv."""
        if self._rows:
            s, us = 1 / self.clock_hz, 1e6 / self.clock_hz
            self._rows.writerow((
                network, utterance, frame, f"{end * s:.6f}", f"{arrival * s:.6f}", f"{done * s:.6f}", int(missed),
                preemptions, *(f"{waited[name] * us:.3f}" for name in WAITED_FOR),
            ))  # fmt: skip
