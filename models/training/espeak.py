"""Synthetic voices: digits spoken by espeak-ng, one process per utterance, cached outside the repository.

espeak-ng repeats its output bit for bit only with one utterance per process. A voice is an accent
and a variant, ``en-us+f2``. Two accents and three variants are held out of training altogether, so
that a voice called unseen shares neither.

Source: the program espeak-ng (GPL-3.0), which a Debian package provides. Its output is not covered
by its licence; no recording of it is kept here except the demo utterances.
"""

import hashlib
import itertools
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from rich.progress import track

from models.rnnt import WORDS

RATE_HZ = 16_000
HEARD_ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc")
HEARD_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "whisper")
UNSEEN_VOICES = (
    "en-gb-scotland+m8", "en-gb-scotland+f4", "en-gb-scotland+f5", "en-029+m8", "en-029+f4", "en-029+f5",
)  # fmt: skip


@dataclass(frozen=True)
class Spoken:
    """One call of espeak-ng: what is said, by whom, how fast (words per minute) and how high (0..99)."""

    voice: str
    text: str
    words_per_minute: int = 160
    pitch: int = 50

    @property
    def command(self) -> list[str]:
        markup = ["-m"] if "<" in self.text else []
        return ["espeak-ng", *markup, "-v", self.voice, "-s", str(self.words_per_minute), "-p", str(self.pitch)]

    @property
    def key(self) -> str:
        return hashlib.sha256("|".join([*self.command, self.text]).encode()).hexdigest()[:20]


def speak(spoken: Spoken) -> np.ndarray:
    """Samples at 16 kHz, float32[N] in [-1, 1]."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spoken.wav"
        subprocess.run([*spoken.command, "-w", str(file), spoken.text], check=True, capture_output=True)
        samples, rate_hz = soundfile.read(file, dtype="float32")
    return soxr.resample(samples, rate_hz, RATE_HZ).astype(np.float32)


def trim(samples: np.ndarray, below_peak_db: float = 40.0) -> np.ndarray:
    """Cut what is quieter than the loudest 10 ms by ``below_peak_db`` off both ends."""
    hop = RATE_HZ // 100
    level = np.array([np.square(samples[i : i + hop]).mean() for i in range(0, len(samples), hop)])
    loud = np.flatnonzero(level > level.max() * 10 ** (-below_peak_db / 10))
    return samples[loud[0] * hop : (loud[-1] + 1) * hop]


def heard_words() -> list[Spoken]:
    """Single digits of the training voices: every accent and variant, two tempi and pitches each."""
    rng = np.random.default_rng(11)
    return [
        Spoken(f"{accent}+{variant}", word, int(rng.integers(120, 200)), int(rng.integers(35, 65)))
        for accent in HEARD_ACCENTS
        for variant in HEARD_VARIANTS
        for word in WORDS
        for _ in range(2)
    ]


def unseen_words() -> list[Spoken]:
    """Single digits of the held-out voices."""
    return [Spoken(voice, word, tempo) for voice in UNSEEN_VOICES for word in WORDS for tempo in (140, 170)]


def sentences(voices: list[str], each: int, seed: int) -> list[Spoken]:
    """Digit strings spoken in one breath, or with espeak's pause at a comma."""
    rng = np.random.default_rng(seed)
    made = []
    for voice in voices:
        for _ in range(each):
            words = rng.choice(WORDS, int(rng.integers(3, 8)))
            join = ", " if rng.random() < 0.7 else " "
            made.append(Spoken(voice, join.join(words), int(rng.integers(120, 180)), int(rng.integers(35, 65))))
    return made


def heard_voices() -> list[str]:
    return [f"{accent}+{variant}" for accent in HEARD_ACCENTS for variant in HEARD_VARIANTS]


def words_in(text: str) -> tuple[int, ...]:
    """Indices of the digits in a text."""
    return tuple(WORDS.index(word) for word in text.replace(",", " ").split())


def spoken_clips(wanted: list[Spoken], cache: Path, label: str) -> list[np.ndarray]:
    """Trimmed samples of each, from the cache where it has them all, otherwise made now."""
    digest = hashlib.sha256("".join(spoken.key for spoken in wanted).encode()).hexdigest()[:12]
    file = cache / f"espeak_{label}_{digest}.npz"
    if not file.exists():
        with ThreadPoolExecutor(4) as pool:  # each waits for its process
            made = pool.map(lambda spoken: trim(speak(spoken)), wanted)
            clips = list(track(made, f"espeak-ng: {label}", total=len(wanted)))
        cache.mkdir(parents=True, exist_ok=True)
        offsets = np.cumsum([0, *map(len, clips)])
        audio = (np.concatenate(clips) * 32767).astype(np.int16)
        partial = file.with_suffix(".partial.npz")
        np.savez_compressed(partial, audio=audio, offsets=offsets)
        partial.rename(file)
    with np.load(file) as stored:
        audio, offsets = stored["audio"].astype(np.float32) / 32767, stored["offsets"]
    return [audio[a:b] for a, b in itertools.pairwise(offsets)]
