"""Everything that is decided before the clock starts: which networks fit, and what they compute on each recording.

    networks --calibrate, quantize, encode--> images, weight SRAM shared out            Guests
    recording + quiet --features, execute--> records, decisions, lattices               Ear.window
    records --schedule, cut--> steps for the chip

Each distinct recording is executed once; its windows are kept for as long as they are among the last few.

Weight SRAM is shared out once, on the first recording: tile slots for everybody, then networks whose weights must
be pinned, then the others by priority, each with what the chip's pinning rule finds room for.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from azsim.chip import Chip
from azsim.errors import AudioError, CapacityError, ScenarioError
from azsim.execute import ActivityRecord, FeatureConfig, Interpreter, features, load_audio
from azsim.graph import Network, load_network
from azsim.graph.beam import Beam
from azsim.graph.language_model import LanguageModel, load_language_model, rerank
from azsim.graph.lattice import Lattice
from azsim.stream.household import Source
from azsim.stream.scenario import Scenario, SharedNetwork, Spoken
from azsim.stream.window import Decision, Key, Message, Window, decide
from azsim.stream.work import Work, cut
from azsim.timing import Counts, schedule
from azsim.weights import DramImage, QuantizedNetwork, calibrate, encode, quantize

SPEECH_BELOW_PEAK_DB = 35.0
OPUS_BYTES_PER_S = 3_000  # 24 kbit/s, where libsndfile cannot write Opus
WINDOWS_KEPT = 16
ROOM_SNR_DB = 35.0  # of the quiet after a recording that has no noise of its own


@dataclass
class Guest:
    """A network of the scenario, quantized, encoded, and with its share of the weight SRAM."""

    name: str
    config: SharedNetwork
    network: Network
    quantized: QuantizedNetwork
    image: DramImage
    chip: Chip  # the scenario's, its weight SRAM cut to the tile slots and this network's pins
    features: FeatureConfig
    pinned: tuple[str, ...] = ()

    @property
    def pinned_bytes(self) -> int:
        """Weight SRAM that its pinned tensors take."""
        return sum(self.image.tensors[name].sram_bytes for name in self.pinned)


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


def load_guests(scenario: Scenario, chip: Chip) -> dict[str, Guest]:
    """Load, quantize and encode every network of a scenario.

    Raises
    ------
    ScenarioError
        If roles and networks do not go together, or networks do not agree on frames.
    """
    guests = {}
    for name, config in scenario.networks.items():
        network = load_network(config.model)
        _check_role(name, config, network)
        if network.calibration is None:
            raise ScenarioError(
                f"networks.{name}: {network.name} ships no calibration features, which a stream needs to quantize it "
                f"once for all recordings; add a calibration.npz to its folder"
            )
        quantized = quantize(network, calibrate(network, network.calibration), network.weight_bits)
        image = encode(quantized.tensors.values(), quantized.tables, chip)
        guests[name] = Guest(name, config, network, quantized, image, chip, FeatureConfig(**network.features))
    _check_frames(guests)
    return guests


def _check_role(name: str, config: SharedNetwork, network: Network) -> None:
    if config.role == "recognizer" and not network.is_transducer:
        raise ScenarioError(
            f"networks.{name}: a recognizer is an RNN-T with encoder, prediction and joint graphs, but {network.name} "
            f"has {', '.join(network.graphs)}; give it another role"
        )
    missing = {"speculative", "final"} - set(network.thresholds)
    if config.role == "endpointer" and missing:
        raise ScenarioError(
            f"networks.{name}: an endpointer needs the thresholds speculative and final in its network.json, but "
            f"{network.name} lacks {' and '.join(sorted(missing))}"
        )


def _check_frames(guests: dict[str, Guest]) -> None:
    heard = [g for g in guests.values() if g.config.arrivals == "frames"]
    for guest in heard[1:]:
        ours, first = guest.features, heard[0].features
        if (ours.frame_ms, ours.shortest_samples) != (first.frame_ms, first.shortest_samples):
            raise ScenarioError(
                f"networks.{guest.name} reads frames of {ours.frame_ms:g} ms and networks.{heard[0].name} of "
                f"{first.frame_ms:g} ms: networks that listen to the microphone must agree; give one arrivals: periodic"
            )


class Ear:
    """Prepares windows, executing each distinct recording once."""

    def __init__(self, scenario: Scenario, chip: Chip) -> None:
        self.scenario, self.chip = scenario, chip
        self.guests = load_guests(scenario, chip)
        self.interpreters = {name: Interpreter(g.quantized, g.image) for name, g in self.guests.items()}
        self.model: LanguageModel | None = None
        if scenario.cloud.language_model:
            self.model = load_language_model(Path(scenario.cloud.language_model))
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

    def _samples(self, audio: str, tail_s: float) -> tuple[np.ndarray, int]:
        """A recording and the quiet after it, at the level of its quietest tenth; (samples, samples of speech)."""
        samples, _ = load_audio(audio, self.front)
        level = _levels(samples, self.front.sample_rate_hz)
        floor = max(float(np.quantile(level, 0.1)), float(level.max()) * 10 ** (-ROOM_SNR_DB / 10) * 1e-3)
        rng = np.random.default_rng((self.scenario.seed, 3))
        quiet = rng.standard_normal(round(tail_s * self.front.sample_rate_hz)) * np.sqrt(floor)
        return np.concatenate([samples, quiet.astype(np.float32)]), len(samples)

    # -- execution ------------------------------------------------------------------------------

    def _execute(self, audio: str, tail_s: float, speech_end_s: float | None) -> Executed:
        samples, n_recorded = self._samples(audio, tail_s)
        rate = self.front.sample_rate_hz
        frames = {name: features(samples, guest.features) for name, guest in self.guests.items()}
        n_frames = len(next(iter(frames.values())))
        records, outputs, lattices = {}, {}, {}
        decisions: tuple[Decision, ...] = (Decision(n_frames - 1, is_final=True),)
        order = sorted(self.guests.values(), key=lambda g: g.config.role != "endpointer")  # it says what to snapshot
        for guest in order:
            beam, snapshots = None, ()
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
            self._share_out(records)
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
        both = lambda name: tuple(self._first_frames(name, records[name], 1, has) for has in (False, True))  # noqa: E731
        return {name: both(name) for name in records}

    # -- memory ---------------------------------------------------------------------------------

    def _share_out(self, records: dict[str, ActivityRecord]) -> None:
        """Give every network its pins; each is replayed on a chip with the room that is left."""
        room = self.chip.weight_sram.pin_bytes
        slots = self.chip.weight_sram.bytes - room
        order = sorted(self.guests.values(), key=lambda g: (g.config.weights != "pinned", g.config.priority))
        for guest in order:
            pin = {"pinned": ("*",), "streamed": "none"}.get(guest.config.weights, self.chip.weight_sram.pin)
            sram = self.chip.weight_sram.replace(bytes=slots + room, pin=pin)
            guest.chip = self.chip.replace(weight_sram=sram)
            try:
                pinned = schedule(records[guest.name].frames(0, 1), guest.image, guest.chip, 1.0, 1.0).pinned
            except CapacityError as error:
                raise ScenarioError(
                    f"networks.{guest.name}: does not fit next to what the others have pinned ({error}); set its weights "
                    f"to auto or streamed, or raise chip.weight_sram.bytes"
                ) from error
            guest.pinned = tuple(sorted(pinned))
            sram = sram.replace(pin=guest.pinned or "none")
            guest.chip = guest.chip.replace(weight_sram=sram)
            room -= guest.pinned_bytes
        state = sum(record.state_bytes for record in records.values())
        widest = max(record.activation_bytes - record.state_bytes for record in records.values())
        if state + widest > self.chip.activation_sram_bytes:
            raise ScenarioError(
                f"`activation_sram_bytes >= {state + widest:,}` must hold: the recurrent states of "
                f"{', '.join(records)} take {state:,} B and the widest op {widest:,} B, but {self.chip.name} has "
                f"{self.chip.activation_sram_bytes:,} B; leave a network out or raise chip.activation_sram_bytes"
            )
        self._is_shared_out = True

    def _check(self, executed: Executed) -> None:
        """Deadlines that even an idle chip cannot meet."""
        for name, work in executed.works.items():
            config = self.guests[name].config
            deadline_ms = config.deadline_or(self.front.frame_ms)
            longest_ms = work.longest_step_cycles / self.chip.clock_hz * 1e3
            if deadline_ms < longest_ms:
                raise ScenarioError(
                    f"networks.{name}.deadline_ms = {deadline_ms:g} is shorter than one {config.preemption} step of "
                    f"{self.guests[name].network.name} on {self.chip.name}, {longest_ms:.3g} ms, with the chip to itself: no "
                    f"schedule can meet it; raise the deadline, or take a faster chip"
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
            opus_bytes=_opus_bytes(heard, self.front.sample_rate_hz) if decisions else 0,
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
            ranked = rerank(lattice, vocabulary, self.model, cloud.language_weight, n=cloud.n_best)
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


def _levels(samples: np.ndarray, rate: int) -> np.ndarray:
    """Mean power of every 10 ms."""
    hop = rate // 100
    n = max(1, len(samples) // hop)
    padded = np.pad(samples, (0, max(0, n * hop - len(samples))))
    return np.square(padded[: n * hop]).reshape(n, hop).mean(axis=1)


def speech_end(samples: np.ndarray, rate: int) -> float:
    """Seconds until the last 10 ms that are within 35 dB of the loudest."""
    level = _levels(samples, rate)
    loud = np.flatnonzero(level > level.max() * 10 ** (-SPEECH_BELOW_PEAK_DB / 10))
    return float(loud[-1] + 1) / 100 if len(loud) else len(samples) / rate


@lru_cache(maxsize=1)
def _can_write_opus() -> bool:
    return "OGG" in soundfile.available_formats() and "OPUS" in soundfile.available_subtypes("OGG")


def _opus_bytes(samples: np.ndarray, rate: int) -> int:
    """Bytes of the audio as libsndfile writes Opus at its default quality; at 24 kbit/s where it cannot."""
    if not _can_write_opus():
        return round(len(samples) / rate * OPUS_BYTES_PER_S)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="OGG", subtype="OPUS")
    return len(file.getvalue())
