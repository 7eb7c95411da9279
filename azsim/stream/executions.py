"""What every network computes on each recording; no chip has a part in it, so that chips can share it.

    recording + quiet --features, execute--> records, decisions, lattices --re-rank--> messages

It depends on the recordings and the quiet after them, the networks and their roles, the search, the seed, and the
cloud's language model. Background traffic, priorities, deadlines, uplink, host and power only change when what happens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import soundfile

from azsim.errors import AudioError
from azsim.execute import ActivityRecord, FeatureConfig, Interpreter, features, load_audio
from azsim.graph.beam import Beam
from azsim.graph.language_model import LanguageModel, load_language_model, rerank
from azsim.graph.lattice import Lattice
from azsim.stream.guests import front_end
from azsim.stream.scenario import Scenario, Spoken
from azsim.stream.sound import opus_bytes, speech_end, with_quiet
from azsim.stream.window import Decision, Key, Message, decide
from azsim.weights import QuantizedNetwork

WINDOWS_KEPT = 64


@dataclass(frozen=True)
class Executed:
    """What the networks did on one recording.

    Attributes
    ----------
    samples : float32[N]
        The recording, as many as ``n_recorded``, and the quiet after it.
    recorded_s : float
        Its length by the file's header.
    decisions : tuple of Decision
        With speculation.
    messages : dict of int to Message
        By frame of a decision; none where nothing is recognized.
    n_heard, opus_bytes : int
        Samples until the final decision, and their bytes through an Opus encoder.
    """

    samples: np.ndarray
    n_recorded: int
    recorded_s: float
    n_frames: int
    records: dict[str, ActivityRecord]
    outputs: dict[str, np.ndarray]
    decisions: tuple[Decision, ...]
    lattices: dict[int, Lattice]
    messages: dict[int, Message]
    speech_end_s: float
    n_heard: int
    opus_bytes: int


class Executions:
    """Executes each distinct recording once, and keeps the last few.

    Parameters
    ----------
    scenario : Scenario
    quantized : mapping of str to QuantizedNetwork
        By name in the scenario, in its order.
    known : mapping of Key to Executed, optional
        Made before; these are kept for good.
    """

    def __init__(
        self, scenario: Scenario, quantized: Mapping[str, QuantizedNetwork], known: Mapping[Key, Executed] | None = None
    ) -> None:
        self.scenario, self.quantized, self.known = scenario, quantized, dict(known or {})
        self._remembered = lru_cache(maxsize=WINDOWS_KEPT)(self._execute)

    def of(self, key: Key) -> Executed:
        """What the networks did on a recording."""
        return self.known[key] if key in self.known else self._remembered(*key)

    def recorded_s(self, key: Key) -> float:
        """Length of a recording by its header, which needs no execution."""
        return self.known[key].recorded_s if key in self.known else _recorded_s(key[0])

    @cached_property
    def front(self) -> FeatureConfig:
        """The front end that everybody's frames are timed by."""
        return front_end(self.scenario, self.quantized)

    @cached_property
    def _model(self) -> LanguageModel | None:
        cloud = self.scenario.cloud
        return load_language_model(Path(cloud.language_model), cloud.language_order) if cloud.language_model else None

    @cached_property
    def _interpreters(self) -> dict[str, Interpreter]:
        return {
            name: Interpreter(quantized, {t.name: t.values for t in quantized.tensors.values()})
            for name, quantized in self.quantized.items()
        }

    def _execute(self, audio: str, tail_s: float, speech_end_s: float | None) -> Executed:
        recorded, _ = load_audio(audio, self.front)
        rate, n_recorded = self.front.sample_rate_hz, len(recorded)
        samples = with_quiet(recorded, rate, tail_s, np.random.default_rng((self.scenario.seed, 3)))
        frames = {
            name: features(samples, FeatureConfig(**quantized.network.features))
            for name, quantized in self.quantized.items()
        }
        n_frames = len(next(iter(frames.values())))
        records, outputs, lattices = dict[str, ActivityRecord](), dict[str, np.ndarray](), dict[int, Lattice]()
        decisions: tuple[Decision, ...] = (Decision(n_frames - 1, is_final=True),)
        for name, role in self._order():
            beam, snapshots, search = None, list[int](), self.scenario.search
            if role == "recognizer":
                beam, snapshots = Beam(width=search.beam, prune_nats=search.prune_nats), [d.frame for d in decisions]
            done = self._interpreters[name].execute(frames[name], beam=beam, snapshots=snapshots)
            records[name], outputs[name] = done.record, done.outputs * done.output_scale
            if role == "recognizer":
                lattices = {f: x.pruned(search.lattice_prune_nats) for f, x in done.lattices.items()}
            if role == "endpointer":
                decisions = self._decisions(name, outputs[name])
        last = decisions[-1].frame if lattices else n_frames - 1
        n_heard = round(rate * (self.front.shortest_samples / rate + self.front.frame_ms * 1e-3 * last))
        return Executed(
            samples, n_recorded, _recorded_s(audio), n_frames, records, outputs, decisions, lattices,
            messages={d.frame: self._message(lattices[d.frame]) for d in decisions if lattices},
            speech_end_s=speech_end_s or speech_end(samples[:n_recorded], rate),
            n_heard=n_heard,
            opus_bytes=opus_bytes(samples[:n_heard], rate) if lattices else 0,
        )  # fmt: skip

    def _order(self) -> Iterator[tuple[str, str]]:
        """Names and roles, the end-pointer first: it says after which frames a search is asked for its lattice."""
        networks = self.scenario.networks
        for name in sorted(self.quantized, key=lambda name: networks[name].role != "endpointer"):
            yield name, networks[name].role

    def _decisions(self, name: str, outputs: np.ndarray) -> tuple[Decision, ...]:
        network = self.quantized[name].network
        names = network.outputs or ("speculative", "final")
        speculative, final = (outputs[:, names.index(output)] for output in ("speculative", "final"))
        return decide(speculative, final, network.thresholds, is_speculating=True)

    def _message(self, lattice: Lattice) -> Message:
        vocabulary = self.quantized[str(self.scenario.named("recognizer"))].network.vocabulary
        tokens, _ = lattice.best(1)[0]
        text = _text(tokens, vocabulary)
        reranked = text
        if self._model is not None:
            cloud = self.scenario.cloud
            ranked = rerank(lattice, vocabulary, self._model, cloud.language_weight, cloud.word_bonus, cloud.n_best)
            reranked = _text(ranked[0][0], vocabulary)
        return Message(len(lattice.to_bytes()), tuple(tokens), text, reranked)


def key_of(spoken: Spoken, scenario: Scenario) -> Key:
    """What decides what the networks do on a recording: itself, the quiet after it, its given end of speech."""
    return spoken.audio, min(spoken.pause_s, scenario.endpointing.longest_wait_s), spoken.speech_end_s


def _recorded_s(audio: str) -> float:
    try:
        about = soundfile.info(audio)
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioError(f"{audio}: cannot be read as audio ({error}); check utterances.audio") from error
    return float(about.frames / about.samplerate)


def _text(tokens: tuple[int, ...], vocabulary: tuple[str, ...]) -> str:
    return " ".join(vocabulary[token] for token in tokens)
