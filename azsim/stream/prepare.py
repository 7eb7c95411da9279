"""Everything that is decided before the clock starts: what every network computes on each recording, and in what steps.

    recording + quiet --execute--> records, decisions, messages      executions.py; chips share it
    records --schedule, cut--> steps for the chip                    here

Each distinct recording is replayed once; its windows are kept for as long as they are among the last few.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from azsim.chip import Chip
from azsim.errors import ScenarioError
from azsim.execute import ActivityRecord, FeatureConfig
from azsim.graph.lattice import Lattice
from azsim.stream.actors import Source
from azsim.stream.executions import WINDOWS_KEPT, Executed, Executions, key_of
from azsim.stream.guests import Guest, encode_for, load_quantized, place, share_out
from azsim.stream.scenario import Scenario, Spoken
from azsim.stream.window import Decision, Key, Window
from azsim.stream.work import Work, cut
from azsim.timing import Counts, schedule
from azsim.weights import DramImage, QuantizedNetwork


@dataclass(frozen=True)
class Replayed:
    """What the networks did on one recording, in steps of one chip.

    Attributes
    ----------
    frame_end : int64[T]
        Cycles until the last sample of each frame is in.
    tail_frames : int
        Frames at the end that hold only quiet.
    """

    executed: Executed
    frame_end: np.ndarray
    works: dict[str, Work]
    tail_frames: int

    @property
    def records(self) -> dict[str, ActivityRecord]:
        """What each network computed."""
        return self.executed.records

    @property
    def samples(self) -> np.ndarray:
        """The recording and the quiet after it."""
        return self.executed.samples

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The end-pointer's, with speculation."""
        return self.executed.decisions

    @property
    def lattices(self) -> dict[int, Lattice]:
        """What was heard until each decision, by its frame."""
        return self.executed.lattices


class Ear:
    """Prepares windows, replaying each distinct recording once.

    Parameters
    ----------
    scenario : Scenario
    chip : Chip
        Instead of the scenario's.
    executions : Executions, optional
        Made before, on whatever chip; made here by default.
    image_for : callable, optional
        Gives the weight image of (name, network, chip).
    """

    def __init__(
        self,
        scenario: Scenario,
        chip: Chip,
        executions: Executions | None = None,
        image_for: Callable[[str, QuantizedNetwork, Chip], DramImage] = encode_for,
    ) -> None:
        self.scenario, self.chip = scenario, chip
        self.executions = executions or Executions(scenario, load_quantized(scenario))
        self.guests = place(scenario, chip, self.executions.quantized, image_for)
        self.replayed = lru_cache(maxsize=WINDOWS_KEPT)(self._replay)
        self._is_shared_out = False
        self._counts: dict[tuple[Key, str, int], Counts] = {}
        self.windows_kept = WINDOWS_KEPT
        self._check(self.hear(scenario.utterances[0]))

    def for_scenario(self, scenario: Scenario) -> "Ear":
        """The same replays for a scenario that differs in nothing that they depend on, such as background and uplink.

        They depend on the chip, the networks, and what their executions depend on.
        """
        other = copy.copy(self)
        other.scenario = scenario
        return other

    def hear(self, spoken: Spoken) -> Replayed:
        """Execute and replay every network on a recording, or remember it."""
        return self.replayed(self.key(spoken))

    def key(self, spoken: Spoken) -> Key:
        """What decides the work of a window."""
        return key_of(spoken, self.scenario)

    @property
    def front(self) -> FeatureConfig:
        """The front end that everybody's frames are timed by."""
        return self.executions.front

    def length_s(self, spoken: Spoken) -> float:
        """From the start of a recording to that of the next."""
        return self.executions.recorded_s(self.key(spoken)) + spoken.pause_s

    # -- replay ---------------------------------------------------------------------------------

    def _replay(self, key: Key) -> Replayed:
        done = self.executions.of(key)
        records, rate = done.records, self.front.sample_rate_hz
        hop, first = self.front.frame_ms * 1e-3, self.front.shortest_samples / rate
        ends = np.array([self.chip.cycles(first + hop * t) for t in range(done.n_frames)], np.int64)
        if not self._is_shared_out:
            share_out(self.guests, self.chip, records)
            self._is_shared_out = True
        works = {name: self._work(self.guests[name], record) for name, record in records.items()}
        for name, record in records.items():
            for n in {done.decisions[-1].frame + 1, done.n_frames}:
                self._counts[key, name, n] = self._first_frames(name, record, n)
        tail = int((ends > self.chip.cycles(done.n_recorded / rate)).sum())
        return Replayed(done, ends, works, max(1, tail))

    def _work(self, guest: Guest, record: ActivityRecord) -> Work:
        front = self.front
        timeline = schedule(
            record, guest.image, guest.chip, front.frame_ms * 1e-3, front.shortest_samples / front.sample_rate_hz
        )
        return cut(guest.name, timeline, guest.chip.latency_cycles, guest.config.preemption)

    def first_frames(self, key: Key, network: str, n: int) -> Counts:
        """Counts of a network on the first n frames of a recording, pins apart."""
        if (key, network, n) not in self._counts:
            self._counts[key, network, n] = self._first_frames(network, self.executions.of(key).records[network], n)
        return self._counts[key, network, n]

    def _first_frames(self, network: str, record: ActivityRecord, n: int, has_pins: bool = True) -> Counts:
        guest, front = self.guests[network], self.front
        first_s = front.shortest_samples / front.sample_rate_hz
        cut_off = record.frames(0, n)
        return schedule(cut_off, guest.image, guest.chip, front.frame_ms * 1e-3, first_s, has_pins=has_pins).counts

    def pin_counts(self) -> dict[str, tuple[Counts, Counts]]:
        """Counts of each network's first frame with and without fetching what is pinned."""
        records = self.hear(self.scenario.utterances[0]).records
        return {
            name: (self._first_frames(name, record, 1, has_pins=False), self._first_frames(name, record, 1))
            for name, record in records.items()
        }

    # -- checks --------------------------------------------------------------------------------

    def _check(self, replayed: Replayed) -> None:
        """Deadlines that even an idle chip cannot meet."""
        for name, work in replayed.works.items():
            config = self.guests[name].config
            deadline_ms = config.deadline_or(self.front.frame_ms)
            longest_ms = work.longest_step_cycles / self.chip.clock_hz * 1e3
            if deadline_ms < longest_ms:
                raise ScenarioError(
                    f"networks.{name}.deadline_ms = {deadline_ms:g} is shorter than one {config.preemption} step of "
                    f"{self.guests[name].network.name} on {self.chip.name}, {longest_ms:.3g} ms, with the chip to "
                    f"itself: no schedule can meet it; raise the deadline, or take a faster chip"
                )

    # -- windows --------------------------------------------------------------------------------

    def windows(self, is_speculating: bool, progress: Callable[[int], None] | None = None) -> Iterator[Window]:
        """Every window of the stream in order, made when it is asked for."""
        number = 0
        for _ in range(self.scenario.repeat):
            for spoken in self.scenario.utterances:
                yield self._window(number, spoken, is_speculating)
                number += 1
                if progress is not None:
                    progress(number)

    def _window(self, number: int, spoken: Spoken, is_speculating: bool) -> Window:
        replayed = self.hear(spoken)
        done, works = replayed.executed, replayed.works
        decisions = tuple(d for d in done.decisions if is_speculating or d.is_final) if done.lattices else ()
        return Window(
            number,
            audio=Path(spoken.audio).name,
            said=transcript(spoken),
            key=self.key(spoken),
            length_cycles=self.chip.cycles(self.length_s(spoken)),
            frame_end=replayed.frame_end,
            works={name: work for name, work in works.items() if self.guests[name].config.arrivals == "frames"},
            decisions=decisions,
            messages={d.frame: done.messages[d.frame] for d in decisions},
            speech_end_cycles=self.chip.cycles(done.speech_end_s),
            audio_bytes=2 * done.n_heard,
            opus_bytes=done.opus_bytes,
            tail_frames=replayed.tail_frames,
        )

    def sources(self) -> dict[str, Source]:
        """Jobs of the networks that do not listen to the microphone: they work on the first recording's frames."""
        first = self.scenario.utterances[0]
        works = self.hear(first).works
        return {
            name: Source(self.key(first), works[name])
            for name, guest in self.guests.items()
            if guest.config.arrivals != "frames"
        }


def transcript(spoken: Spoken) -> str:
    """What is said: as given, or from the .txt beside the recording."""
    if spoken.transcript is not None:
        return spoken.transcript
    beside = Path(spoken.audio).with_suffix(".txt")
    return beside.read_text().strip() if beside.exists() else ""
