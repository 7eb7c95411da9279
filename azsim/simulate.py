"""Read this first: the whole program, one statement per stage.

    audio --features--> frames                                         execute/features.py
    network --calibrate, quantize--> integers                          weights/
    integers + chip --encode--> DRAM image                             weights/image.py
    frames + weights decoded from the image --execute--> words, record execute/
    record + image + chip --schedule--> timeline                       timing/
    counts --price--> energy                                           energy/

Executing does not depend on the chip; ``replay`` repeats only the last three lines for another one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from azsim.chip import Chip, load_chip
from azsim.energy import Energy, price
from azsim.execute import Execution, FeatureConfig, Interpreter, features, load_audio
from azsim.graph import Network, load_network
from azsim.timing import Timeline, schedule
from azsim.timing.check import Agreement, check
from azsim.weights import DramImage, QuantizedNetwork, calibrate, encode, quantize


@dataclass(frozen=True)
class Speech:
    """A recording as the network reads it."""

    path: str
    samples: np.ndarray  # float32[N]
    frames: np.ndarray  # float32[T, I]
    config: FeatureConfig
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.samples) / self.config.sample_rate_hz

    @property
    def hop_s(self) -> float:
        """Spacing of frames."""
        return self.config.frame_ms * 1e-3

    @property
    def first_frame_s(self) -> float:
        """When the last sample of the first frame is in."""
        return self.config.shortest_samples / self.config.sample_rate_hz


@dataclass(frozen=True)
class Replay:
    """One chip's answer to one record."""

    chip: Chip
    image: DramImage
    timeline: Timeline
    energy: Energy


@dataclass(frozen=True)
class Run:
    """Everything that one simulation found out."""

    network: Network
    quantized: QuantizedNetwork
    speech: Speech
    execution: Execution
    replay: Replay
    notes: list[str]

    @property
    def chip(self) -> Chip:
        """The chip of the run."""
        return self.replay.chip

    @property
    def text(self) -> str:
        """What was recognized; empty for a network without a search."""
        hypothesis = self.execution.hypothesis
        return hypothesis.text(self.network.vocabulary) if hypothesis else ""


def simulate(
    model: str | Path | Network,
    audio: str | Path,
    chip: str | Path | Chip = "az1_like",
    overrides: Sequence[str] = (),
    bits: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Run:
    """Run a network on a recording on a chip.

    Parameters
    ----------
    model : str, Path or Network
        A name from the zoo, a .pt2 file, a folder with network.json, or ``package.module:function``.
    audio : str or Path
        A recording of speech; anything soundfile reads.
    chip : str, Path or Chip
        A preset, a YAML file or a Chip.
    overrides : sequence of str
        ``"mac_array.pes=32"`` and so on.
    bits : int, optional
        Width of matrix weights; the network's own by default.
    progress : callable, optional
        Called with (stage, share done).

    Returns
    -------
    Run

    Raises
    ------
    AzsimError
        For every mistake in what was given; the message says how to mend it.
    """
    tell = progress or (lambda stage, share: None)
    tell("load the network", 0.0)
    described = load_chip(chip, overrides)
    network = load_network(model)
    speech = load_speech(audio, network)
    tell("calibrate and quantize", 0.15)
    ranges = calibrate(network, network.calibration or (speech.frames,))
    quantized = quantize(network, ranges, bits or network.weight_bits)
    tell("encode the weights", 0.3)
    image = encode(quantized.tensors.values(), quantized.tables, described)
    tell("execute in integers", 0.4)
    execution = execute(quantized, image, speech.frames, lambda share: tell("execute in integers", 0.4 + 0.5 * share))
    tell("replay on the chip", 0.9)
    timed = replay(quantized, execution, speech, described, image)
    tell("done", 1.0)
    return Run(network, quantized, speech, execution, timed, _notes(network, speech))


def load_speech(audio: str | Path, network: Network) -> Speech:
    """Read a recording and compute the features that the network was trained on."""
    config = FeatureConfig(**network.features)
    samples, notes = load_audio(audio, config)
    return Speech(str(audio), samples, features(samples, config), config, notes)


def execute(
    quantized: QuantizedNetwork, image: DramImage, frames: np.ndarray, progress: Callable[[float], None] | None = None
) -> Execution:
    """Integer execution with the weights, biases and factors that the image gives back."""
    interpreter = Interpreter(quantized, image)
    n_frames = max(1, len(frames))
    return interpreter.execute(frames, (lambda t: progress((t + 1) / n_frames)) if progress else None)


def replay(
    quantized: QuantizedNetwork,
    execution: Execution,
    speech: Speech,
    chip: Chip,
    image: DramImage | None = None,
    ideal: frozenset[str] = frozenset(),
) -> Replay:
    """Time and price a record on a chip, which need not be the one it was executed for.

    ``ideal`` names parts of the chip that cost no time (``azsim.timing.IDEAL_PARTS``).
    """
    image = image or encode(quantized.tensors.values(), quantized.tables, chip)
    timeline = schedule(execution.record, image, chip, speech.hop_s, speech.first_frame_s, ideal)
    return Replay(chip, image, timeline, price(timeline.counts, chip))


def check_run(run: Run) -> Agreement:
    """Time the first frames of a run on the SimPy reference machine as well, and compare every edge."""
    weights = run.replay.image.decode_all()
    return check(run.execution.record, run.replay.image, weights, run.chip, run.speech.hop_s, run.speech.first_frame_s)


def baselines(run: Run) -> dict[str, Replay]:
    """The run's record on the same chip without compression and skipping, and with each of them alone."""
    chip = run.chip
    dense_codec = chip.codec.replace(name="dense")
    refilled = chip.weight_sram.replace(form="refilled")
    no_skips = chip.mac_array.replace(skip_weights=False, skip_activations=False)
    variants = {
        "dense": chip.replace(name="dense", codec=dense_codec, weight_sram=refilled, mac_array=no_skips),
        "compression alone": chip.replace(name="compression alone", mac_array=no_skips),
        "skipping alone": chip.replace(name="skipping alone", codec=dense_codec, weight_sram=refilled),
    }
    return {name: replay(run.quantized, run.execution, run.speech, variant) for name, variant in variants.items()}


def _notes(network: Network, speech: Speech) -> list[str]:
    notes = [f"audio: {note}" for note in speech.notes]
    if network.synthetic_weights:
        notes.append(f"{network.name} has synthetic weights: its words mean nothing, its cycles and bytes do")
    if not network.calibration:
        notes.append("activation ranges were calibrated on this recording: the network ships no calibration features")
    return notes
