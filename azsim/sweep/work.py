"""What a worker does: execute a network on a recording once, then replay the record on chip after chip.

A stream is a work as well, see ``stream.py``: its networks are executed on its recordings once.

An execution is kept on disk under the hash of what it depends on, so that workers, and the next sweep, share it. Its
file carries a checksum: one that is not whole is made again. A worker keeps the last few executions and weight images
in memory: points come sorted, so that neighbors share both.
"""

import hashlib
import os
import pickle
import tempfile
import threading
import time
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import jiwer
import numpy as np
from platformdirs import user_cache_path

from azsim.chip import Chip
from azsim.errors import AudioError, AzsimError, SweepError
from azsim.execute import Execution, Interpreter
from azsim.graph import Network
from azsim.simulate import Replay, Speech, load_speech, replay
from azsim.stream import Scenario
from azsim.sweep.figures import run_figures, static_figures
from azsim.sweep.identity import code_version, transcript_beside
from azsim.sweep.sample import sampled_figures
from azsim.weights import DramImage, QuantizedNetwork, calibrate, encode, layout_key, quantize
from azsim.weights.prune import prune

EXECUTIONS_KEPT, IMAGE_BYTES_KEPT = 2, 256 * 1024**2
Fidelity = Literal["full", "sampled"]
STALE_S = 3600  # a file that was half written so long ago belongs to nobody


class ExecutionLostError(Exception):
    """An execution that should lie in the cache folder does not, or not whole: it must be made again."""


@dataclass(frozen=True)
class Setting:
    """What a stream is measured on."""

    chip: Chip
    scenario: Scenario


Target = Chip | Setting


@dataclass(frozen=True)
class Shared:
    """What points share, made once; kept under its key."""

    key: str

    def figures_on(self, target: Target, fidelity: Fidelity) -> dict[str, Any]:
        """Figures of one point."""
        raise NotImplementedError


@dataclass(frozen=True)
class Prepared(Shared):
    """A network executed on a recording: all that replays need."""

    quantized: QuantizedNetwork
    execution: Execution
    speech: Speech
    text: str
    word_errors: int | None
    words: int | None

    def figures_on(self, target: Target, fidelity: Fidelity) -> dict[str, Any]:
        """Figures of a replay, of every frame or of some."""
        chip = chip_of(target)
        if fidelity == "sampled":
            ran = sampled_figures(self.quantized, self.execution, self.speech, chip, image_for(self, chip))
        else:
            ran = run_figures(replay_on(self, chip), self.speech.seconds)
        figures = {**static_figures(chip), **ran, "text": self.text}
        figures["arms"] = dict(Counter(self.execution.record.frame_arm))
        if self.words:
            figures |= {"word_errors": self.word_errors, "wer": (self.word_errors or 0) / self.words}
        return figures


def chip_of(target: Target) -> Chip:
    """The chip of a point."""
    return target.chip if isinstance(target, Setting) else target


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
    """Execute, or read what an earlier run executed; what goes wrong is an AzsimError, also where it is our defect."""
    return keep(Prepared, key, lambda: _prepare(network, audio, bits, density, key))


Made = TypeVar("Made", bound=Shared)


def keep(kind: type[Made], key: str, make: Callable[[], Made]) -> Made:
    """Read what an earlier run made, or make it and write it; raises as ``prepare``."""
    try:
        known = _read(key)
        if isinstance(known, kind):
            return known
        made = make()
        _write(made)
        return made
    except AzsimError:
        raise
    except Exception as error:
        raise SweepError(told(error)) from error


def _prepare(network: Network, audio: str, bits: int | None, density: float | None, key: str) -> Prepared:
    loaded = prune(network, density) if density is not None else network
    speech = load_speech(audio, loaded)
    ranges = calibrate(loaded, loaded.calibration or (speech.frames,))
    quantized = quantize(loaded, ranges, loaded.weight_bits if bits is None else bits)
    execution = Interpreter(quantized, {t.name: t.values for t in quantized.tensors.values()}).execute(speech.frames)
    text = execution.hypothesis.text(loaded.vocabulary) if execution.hypothesis else ""
    errors, words = (
        _word_errors(Path(audio), text) if execution.hypothesis and not loaded.synthetic_weights else (None, None)
    )
    return Prepared(key, quantized, execution, speech, text, errors, words)


def prepare_in_cache(
    network: Network, audio: str, bits: int | None, density: float | None, key: str, is_handed_over: bool = False
) -> Prepared | None:
    """``prepare`` by a worker for all of them: None where they find it in the cache folder, otherwise the execution."""
    return left_in_cache(prepare(network, audio, bits, density, key), is_handed_over)


def left_in_cache(done: Made, is_handed_over: bool) -> Made | None:
    """None where other workers find it in the cache folder."""
    _executions.put(done.key, done)
    return done if is_handed_over or not _path(done.key).exists() else None


def _word_errors(audio: Path, text: str) -> tuple[int | None, int | None]:
    """(errors, words) against the transcript beside a recording, if there is one."""
    beside = transcript_beside(audio)
    if not beside.is_file() or beside == audio:
        return None, None
    try:
        said = beside.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AudioError(
            f"{beside}: the transcript must be readable UTF-8 text ({error}); mend or remove it"
        ) from error
    found = jiwer.process_words(said, text)
    return found.substitutions + found.insertions + found.deletions, len(said.split())


def _path(key: str) -> Path:
    return cache_folder() / f"{key}.pickle"


def _read(key: str) -> Shared | None:
    """None if it is not there or not whole."""
    try:
        content = memoryview(_path(key).read_bytes())
        digest, body = content[:32], content[32:]
        found = pickle.loads(body) if hashlib.sha256(body).digest() == digest else None
        return found if isinstance(found, Shared) and found.key == key else None
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, LookupError, TypeError, ValueError):
        return None


def _write(prepared: Shared) -> None:
    """Whole or not at all; a cache that cannot be written only costs time."""
    path = _path(prepared.key)
    body = pickle.dumps(prepared, protocol=pickle.HIGHEST_PROTOCOL)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob("*.part"):
            if time.time() - left.stat().st_mtime > STALE_S:
                left.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with open(handle, "wb") as file:
                file.write(hashlib.sha256(body).digest())
                file.write(body)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class Recent:
    """The last results of a function by key, as many as weigh no more than a limit, and always the last one.

    Threads of one worker share it; two that ask for the same at once both make it.
    """

    def __init__(self, limit: float, weigh: Callable[[Any], float] = lambda item: 1) -> None:
        self.limit, self.weigh = limit, weigh
        self.items: OrderedDict[Any, tuple[Any, float]] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """The item, made if it is not there."""
        with self.lock:
            if key in self.items:
                self.items.move_to_end(key)
                return self.items[key][0]
        item = make()
        self.put(key, item)
        return item

    def put(self, key: Any, item: Any) -> None:
        """Keep an item, and let the oldest go."""
        with self.lock:
            self.items[key] = item, self.weigh(item)
            self.items.move_to_end(key)
            while len(self.items) > 1 and sum(weight for _, weight in self.items.values()) > self.limit:
                self.items.popitem(last=False)


def _image_bytes(image: DramImage) -> int:
    """Memory that the arrays of an image take."""
    arrays = [image.data]
    for tiles in image.tensors.values():
        for item in (getattr(tiles, field.name) for field in fields(tiles)):
            arrays += [a for a in (item if isinstance(item, list) else [item]) if isinstance(a, np.ndarray)]
    return sum(array.nbytes for array in arrays)


_images, _executions = Recent(IMAGE_BYTES_KEPT, _image_bytes), Recent(EXECUTIONS_KEPT)


def image_for(prepared: Prepared, chip: Chip) -> DramImage:
    """The weight image for a chip; that of an earlier one if it lays weights out alike."""
    return image_of(prepared.key, prepared.quantized, chip)


def image_of(key: Any, quantized: QuantizedNetwork, chip: Chip) -> DramImage:
    """As ``image_for``, of any network under a key of its own."""
    make = lambda: encode(quantized.tensors.values(), quantized.tables, chip)  # noqa: E731
    return _images.get((key, layout_key(chip)), make)


def replay_on(prepared: Prepared, chip: Chip) -> Replay:
    """Replay on a chip."""
    return replay(prepared.quantized, prepared.execution, prepared.speech, chip, image_for(prepared, chip))


def measure(
    prepared: Shared | str,
    chips: Sequence[tuple[str, Target]],
    version: str | None = None,
    fidelity: Fidelity = "full",
) -> list[Outcome]:
    """Figures of a batch of points that share an execution.

    Parameters
    ----------
    prepared : Shared or str
        The execution, or its key if it lies in the cache folder of this machine.
    chips : sequence of (str, Chip or Setting)
        Key of each point, and its chip; with its scenario if it is a stream.
    version : str, optional
        Code that the keys stand for.
    fidelity : "full" or "sampled"
        Replay every frame, or some, with intervals.

    Raises
    ------
    ExecutionLostError
        If the cache folder does not have it any more.
    SweepError
        If this process runs other code, whose results would stand under wrong keys.
    """
    if version is not None and code_version() != version:
        raise SweepError(
            f"a worker runs another version of azsim ({code_version()}) than the one that planned the points "
            f"({version}): the sources changed meanwhile, or machines differ. Every point committed before is kept; "
            f"install the same version everywhere and run the same command again"
        )
    work = prepared if isinstance(prepared, Shared) else _executions.get(prepared, lambda: _cached(prepared))
    return [_measured(work, key, chip, fidelity) for key, chip in chips]


def _cached(key: str) -> Shared:
    found = _read(key)
    if found is None:
        raise ExecutionLostError(key)
    return found


def _measured(work: Shared, key: str, target: Target, fidelity: Fidelity) -> Outcome:
    """One point; whatever it raises is its own failure, not its neighbors'."""
    start = time.perf_counter()
    figures, problem = None, ""
    try:
        figures = work.figures_on(target, fidelity)
    except AzsimError as error:
        problem = f"{type(error).__name__}: {error}"
    except Exception as error:
        problem = told(error)
    return Outcome(key, figures, problem, time.perf_counter() - start)


def told(error: BaseException) -> str:
    """An error that nobody expected, in one line, with where it was raised."""
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {Path(where[0].filename).name}:{where[0].lineno}" if where else ""
    return f"a defect of azsim, please report it: {type(error).__name__}: {error}{place}"
