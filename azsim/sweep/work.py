"""What a worker does: execute a network on a recording once, then replay the record on chip after chip.

An execution is kept on disk under the hash of what it depends on, so that workers, and the next sweep, share it. A
worker keeps the last few executions and weight images in memory: points come sorted, so that neighbors share both.
"""

import os
import pickle
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
from platformdirs import user_cache_path

from azsim.chip import Chip
from azsim.errors import AzsimError
from azsim.execute import Execution, Interpreter
from azsim.graph import Network
from azsim.simulate import Replay, Speech, load_speech, replay
from azsim.sweep.figures import run_figures, static_figures
from azsim.weights import DramImage, QuantizedNetwork, calibrate, encode, layout_key, quantize
from azsim.weights.prune import prune

IMAGES_KEPT, EXECUTIONS_KEPT = 48, 4


@dataclass(frozen=True)
class Prepared:
    """A network executed on a recording: all that replays need."""

    key: str
    quantized: QuantizedNetwork
    execution: Execution
    speech: Speech
    text: str
    word_errors: int | None
    words: int | None


@dataclass(frozen=True)
class Outcome:
    """What came of one point: figures, or an error text."""

    key: str
    figures: dict[str, Any] | None
    error: str
    seconds: float


def cache_folder() -> Path:
    """Where executions are kept: ``AZSIM_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("AZSIM_CACHE") or user_cache_path("azsim")) / "executions"


def prepare(network: Network, audio: str, bits: int | None, density: float | None, key: str) -> Prepared:
    """Execute, or read what an earlier run executed."""
    path = cache_folder() / f"{key}.pickle"
    known = _read(path)
    if known is not None:
        return known
    loaded = prune(network, density) if density is not None else network
    speech = load_speech(audio, loaded)
    ranges = calibrate(loaded, loaded.calibration or (speech.frames,))
    quantized = quantize(loaded, ranges, bits or loaded.weight_bits)
    execution = Interpreter(quantized, {t.name: t.values for t in quantized.tensors.values()}).execute(speech.frames)
    text = execution.hypothesis.text(loaded.vocabulary) if execution.hypothesis else ""
    errors, words = (
        _word_errors(Path(audio), text) if execution.hypothesis and not loaded.synthetic_weights else (None, None)
    )
    prepared = Prepared(key, quantized, execution, speech, text, errors, words)
    _write(path, prepared)
    return prepared


def _word_errors(audio: Path, text: str) -> tuple[int | None, int | None]:
    """(errors, words) against the transcript beside a recording, ``NAME.txt``, if there is one."""
    beside = audio.with_suffix(".txt")
    if not beside.exists():
        return None, None
    said = beside.read_text().strip()
    found = jiwer.process_words(said, text)
    return found.substitutions + found.insertions + found.deletions, len(said.split())


def _read(path: Path) -> Prepared | None:
    """None if it is not there or not whole."""
    try:
        with path.open("rb") as file:
            return pickle.load(file)
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError):
        return None


def _write(path: Path, prepared: Prepared) -> None:
    """Whole or not at all; a cache that cannot be written only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            pickle.dump(prepared, file, protocol=pickle.HIGHEST_PROTOCOL)
        os.replace(file.name, path)
    except OSError:
        return


class _Recent:
    """The last few results of a function, by key."""

    def __init__(self, size: int) -> None:
        self.size, self.items = size, OrderedDict[Any, Any]()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """The item, made if it is not there."""
        if key not in self.items:
            self.items[key] = make()
            if len(self.items) > self.size:
                self.items.popitem(last=False)
        self.items.move_to_end(key)
        return self.items[key]


_images, _executions = _Recent(IMAGES_KEPT), _Recent(EXECUTIONS_KEPT)


def replay_on(prepared: Prepared, chip: Chip) -> Replay:
    """Replay on a chip, with the weight image of an earlier one that lays weights out alike."""

    def encoded() -> DramImage:
        return encode(prepared.quantized.tensors.values(), prepared.quantized.tables, chip)

    image = _images.get((prepared.key, layout_key(chip)), encoded)
    return replay(prepared.quantized, prepared.execution, prepared.speech, chip, image)


def measure(prepared: Prepared | str, chips: Sequence[tuple[str, Chip]]) -> list[Outcome]:
    """Figures of a batch of points that share an execution.

    Parameters
    ----------
    prepared : Prepared or str
        The execution, or its key if it lies in the cache folder of this machine.
    chips : sequence of (str, Chip)
        Key of each point, and its chip.
    """
    work = prepared if isinstance(prepared, Prepared) else _executions.get(prepared, lambda: _cached(prepared))
    return [_measured(work, key, chip) for key, chip in chips]


def _cached(key: str) -> Prepared:
    found = _read(cache_folder() / f"{key}.pickle")
    if found is None:
        raise RuntimeError(f"{cache_folder() / key}.pickle went away during the sweep")
    return found


def _measured(work: Prepared, key: str, chip: Chip) -> Outcome:
    start = time.perf_counter()
    try:
        figures = {**static_figures(chip), **run_figures(replay_on(work, chip), work.speech.seconds)}
    except AzsimError as error:
        return Outcome(key, None, f"{type(error).__name__}: {error}", time.perf_counter() - start)
    figures["text"] = work.text
    if work.words:
        figures |= {"word_errors": work.word_errors, "wer": (work.word_errors or 0) / work.words}
    return Outcome(key, figures, "", time.perf_counter() - start)
