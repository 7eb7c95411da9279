"""Everything that is decided before the clock starts: what every network computes on each recording.

    recording + quiet --features, execute--> records, decisions, lattices
    records --schedule, cut--> steps for the chip

Each distinct recording is executed once; its windows are kept for as long as they are among the last few.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from azsim.chip import Chip
from azsim.errors import AudioError, ScenarioError
from azsim.execute import ActivityRecord, FeatureConfig, Interpreter, features, load_audio
from azsim.graph.beam import Beam
from azsim.graph.language_model import LanguageModel, load_language_model, rerank
from azsim.graph.lattice import Lattice
from azsim.stream.actors import Source
from azsim.stream.guests import Guest, load_guests, share_out
from azsim.stream.scenario import Scenario, Spoken
from azsim.stream.sound import opus_bytes, speech_end, with_quiet
from azsim.stream.window import Decision, Key, Message, Window, decide
from azsim.stream.work import Work, cut
from azsim.timing import Counts, schedule

WINDOWS_KEPT = 16


@dataclass(frozen=True)
class Executed:
    """What the networks did on one recording."""

    frame_end: np.ndarray
    records: dict[str, ActivityRecord]
    works: dict[str, Work]
    decisions: tuple[Decision, ...]
    lattices: dict[int, Lattice]
    outputs: dict[str, np.ndarray]
    samples: np.ndarray
    speech_end_s: float
    tail_frames: int


class Ear:
    """Prepares windows, executing each distinct recording once."""

    def __init__(self, scenario: Scenario, chip: Chip) -> None:
        self.scenario, self.chip = scenario, chip
        self.guests = load_guests(scenario, chip)
        self.interpreters = {name: Interpreter(g.quantized, g.image) for name, g in self.guests.items()}
        self.model: LanguageModel | None = None
        if scenario.cloud.language_model:
            self.model = load_language_model(Path(scenario.cloud.language_model), scenario.cloud.language_order)
        self.executed = lru_cache(maxsize=WINDOWS_KEPT)(self._execute)
        self._is_shared_out = False
        self._counts: dict[tuple[Key, str, int], Counts] = {}
        self.windows_kept = WINDOWS_KEPT
        self._check(self.hear(scenario.utterances[0]))

    def hear(self, spoken: Spoken) -> Executed:
        """Execute every network on a recording, or remember it."""
        return self.executed(*self.key(spoken))

    def key(self, spoken: Spoken) -> Key:
        """What decides the work of a window."""
        return spoken.audio, self._tail_s(spoken), spoken.speech_end_s

    # -- audio ----------------------------------------------------------------------------------

    @property
    def front(self) -> FeatureConfig:
        """The front end that everybody's frames are timed by."""
        heard = [g for g in self.guests.values() if g.config.arrivals == "frames"]
        return (heard or list(self.guests.values()))[0].features

    def _tail_s(self, spoken: Spoken) -> float:
        return min(spoken.pause_s, self.scenario.endpointing.longest_wait_s)

    def length_s(self, spoken: Spoken) -> float:
        """From the start of a recording to that of the next, by the file's header where that will do."""
        try:
            about = soundfile.info(spoken.audio)
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioError(f"{spoken.audio}: cannot be read as audio ({error}); check utterances.audio") from error
        return about.frames / about.samplerate + spoken.pause_s

    # -- execution ------------------------------------------------------------------------------

    def _execute(self, audio: str, tail_s: float, speech_end_s: float | None) -> Executed:
        recorded, _ = load_audio(audio, self.front)
        rate, n_recorded = self.front.sample_rate_hz, len(recorded)
        samples = with_quiet(recorded, rate, tail_s, np.random.default_rng((self.scenario.seed, 3)))
        frames = {name: features(samples, guest.features) for name, guest in self.guests.items()}
        n_frames = len(next(iter(frames.values())))
        records, outputs, lattices = {}, {}, {}
        decisions: tuple[Decision, ...] = (Decision(n_frames - 1, is_final=True),)
        order = sorted(self.guests.values(), key=lambda g: g.config.role != "endpointer")  # it says what to snapshot
        for guest in order:
            beam, snapshots = None, list[int]()
            if guest.config.role == "recognizer":
                search = self.scenario.search
                beam, snapshots = Beam(width=search.beam, prune_nats=search.prune_nats), [d.frame for d in decisions]
            done = self.interpreters[guest.name].execute(frames[guest.name], beam=beam, snapshots=snapshots)
            records[guest.name], outputs[guest.name] = done.record, done.outputs * done.output_scale
            if guest.config.role == "recognizer":
                lattices = {f: x.pruned(search.lattice_prune_nats) for f, x in done.lattices.items()}
            if guest.config.role == "endpointer":
                decisions = self._decisions(guest, outputs[guest.name])
        hop, first = self.front.frame_ms * 1e-3, self.front.shortest_samples / rate
        ends = np.array([self.chip.cycles(first + hop * t) for t in range(n_frames)], np.int64)
        if not self._is_shared_out:
            share_out(self.guests, self.chip, records)
            self._is_shared_out = True
        works = {name: self._work(self.guests[name], record) for name, record in records.items()}
        for name, record in records.items():
            for n in {decisions[-1].frame + 1, n_frames}:
                self._counts[(audio, tail_s, speech_end_s), name, n] = self._first_frames(name, record, n)
        tail = int((ends > self.chip.cycles(n_recorded / rate)).sum())
        end_s = speech_end_s or speech_end(samples[:n_recorded], rate)
        return Executed(ends, records, works, decisions, lattices, outputs, samples, end_s, max(1, tail))

    def _decisions(self, guest: Guest, outputs: np.ndarray) -> tuple[Decision, ...]:
        names = guest.network.outputs or ("speculative", "final")
        speculative, final = (outputs[:, names.index(name)] for name in ("speculative", "final"))
        return decide(speculative, final, guest.network.thresholds, is_speculating=True)

    def _work(self, guest: Guest, record: ActivityRecord) -> Work:
        front = self.front
        timeline = schedule(
            record, guest.image, guest.chip, front.frame_ms * 1e-3, front.shortest_samples / front.sample_rate_hz
        )
        return cut(guest.name, timeline, guest.chip.latency_cycles, guest.config.preemption)

    def first_frames(self, key: Key, network: str, n: int) -> Counts:
        """Counts of a network on the first n frames of a recording, pins apart."""
        if (key, network, n) not in self._counts:
            self._counts[key, network, n] = self._first_frames(network, self.executed(*key).records[network], n)
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

    def _check(self, executed: Executed) -> None:
        """Deadlines that even an idle chip cannot meet."""
        for name, work in executed.works.items():
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
        done = self.hear(spoken)
        decisions = tuple(d for d in done.decisions if is_speculating or d.is_final)
        if not done.lattices:
            decisions = ()
        heard = done.samples[: round(self.front.sample_rate_hz * self._heard_s(done, decisions))]
        return Window(
            number,
            audio=Path(spoken.audio).name,
            said=_transcript(spoken),
            key=self.key(spoken),
            length_cycles=self.chip.cycles(self.length_s(spoken)),
            frame_end=done.frame_end,
            works={name: work for name, work in done.works.items() if self.guests[name].config.arrivals == "frames"},
            decisions=decisions,
            messages={d.frame: self._message(done.lattices[d.frame]) for d in decisions},
            speech_end_cycles=self.chip.cycles(done.speech_end_s),
            audio_bytes=2 * len(heard),
            opus_bytes=opus_bytes(heard, self.front.sample_rate_hz) if decisions else 0,
            tail_frames=done.tail_frames,
        )

    def _heard_s(self, done: Executed, decisions: tuple[Decision, ...]) -> float:
        last = done.frame_end[decisions[-1].frame] if decisions else done.frame_end[-1]
        return float(last) / self.chip.clock_hz

    def _message(self, lattice: Lattice) -> Message:
        recognizer = self.scenario.named("recognizer")
        vocabulary = self.guests[str(recognizer)].network.vocabulary
        tokens, _ = lattice.best(1)[0]
        text = _text(tokens, vocabulary)
        reranked = text
        if self.model is not None:
            cloud = self.scenario.cloud
            ranked = rerank(lattice, vocabulary, self.model, cloud.language_weight, cloud.word_bonus, cloud.n_best)
            reranked = _text(ranked[0][0], vocabulary)
        return Message(len(lattice.to_bytes()), tuple(tokens), text, reranked)

    def sources(self) -> dict[str, Source]:
        """Jobs of the networks that do not listen to the microphone: they work on the first recording's frames."""
        first = self.scenario.utterances[0]
        works = self.hear(first).works
        return {
            name: Source(self.key(first), works[name])
            for name, guest in self.guests.items()
            if guest.config.arrivals != "frames"
        }


def _text(tokens: tuple[int, ...], vocabulary: tuple[str, ...]) -> str:
    return " ".join(vocabulary[token] for token in tokens)


def _transcript(spoken: Spoken) -> str:
    if spoken.transcript is not None:
        return spoken.transcript
    beside = Path(spoken.audio).with_suffix(".txt")
    return beside.read_text().strip() if beside.exists() else ""
