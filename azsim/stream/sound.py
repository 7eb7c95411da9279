"""Recordings as a stream hears them: the quiet after one, where its speech ends, what it would be to send it."""

import io
from functools import lru_cache

import numpy as np
import soundfile

SPEECH_BELOW_PEAK_DB, SPEECH_ABOVE_NOISE_DB = 35.0, 5.0
QUIETEST_BELOW_PEAK_DB = 65.0  # room noise after a recording that has none of its own
OPUS_BYTES_PER_S = 3_000  # 24 kbit/s, where libsndfile cannot write Opus


def with_quiet(samples: np.ndarray, rate: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A recording and white noise after it at the level of its quietest tenth; float32[N]."""
    level = levels(samples, rate)
    floor = max(float(np.quantile(level, 0.1)), float(level.max()) * 10 ** (-QUIETEST_BELOW_PEAK_DB / 10))
    quiet = rng.standard_normal(round(seconds * rate)) * np.sqrt(floor)
    return np.concatenate([samples, quiet.astype(np.float32)])


def levels(samples: np.ndarray, rate: int) -> np.ndarray:
    """Mean power of every 10 ms."""
    hop = rate // 100
    n = max(1, len(samples) // hop)
    padded = np.pad(samples, (0, max(0, n * hop - len(samples))))
    return np.square(padded[: n * hop]).reshape(n, hop).mean(axis=1)


def speech_end(samples: np.ndarray, rate: int) -> float:
    """Seconds until the last 10 ms within 35 dB of the loudest and 5 dB above the quietest tenth, its noise."""
    level = levels(samples, rate)
    floor = float(np.quantile(level, 0.1)) * 10 ** (SPEECH_ABOVE_NOISE_DB / 10)
    loud = np.flatnonzero(level > max(level.max() * 10 ** (-SPEECH_BELOW_PEAK_DB / 10), floor))
    return float(loud[-1] + 1) / 100 if len(loud) else len(samples) / rate


@lru_cache(maxsize=1)
def _can_write_opus() -> bool:
    return "OGG" in soundfile.available_formats() and "OPUS" in soundfile.available_subtypes("OGG")


def opus_bytes(samples: np.ndarray, rate: int) -> int:
    """Bytes of the audio as libsndfile writes Opus at its default quality; at 24 kbit/s where it cannot."""
    if not _can_write_opus():
        return round(len(samples) / rate * OPUS_BYTES_PER_S)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="OGG", subtype="OPUS")
    return len(file.getvalue())
