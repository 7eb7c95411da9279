"""Digit strings to train and test on: recordings of one speaker spliced with pauses, and espeak-ng.

The recordings are the Free Spoken Digit Dataset (CC BY-SA 4.0) as one ``fsdd.npz`` (int16 audio at
8 kHz and the offsets of the clips) with an ``index.csv`` (digit, speaker, take). Takes 0 to 4 are
the official test split; takes 45 to 49 are our development split, for choices such as the blank
penalty; theo is never heard in training. Splicing keeps where each word lies, which gives frame
classes and an alignment.

A batch is a pure function of (seed, number), so a training run can stop and go on with the same data.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr
import torch

from azsim.execute.features import FeatureConfig, log_mel, stack_normalized
from models.rnnt import BLANK, WORDS
from models.training import espeak

RATE_HZ = 16_000
FSDD_HZ = 8_000
UNHEARD_SPEAKER = "theo"
KNOWN_SPEAKERS = ("george", "jackson", "lucas", "nicolas", "yweweler")
TEST_TAKES, TRAIN_TAKES, DEVELOPMENT_TAKES = range(5), range(5, 45), range(45, 50)
SILENCE, EDGE, INSIDE, UNKNOWN = 0, 1, 2, -1
EDGE_SAMPLES = RATE_HZ * 50 // 1000  # a frame whose middle is nearer than this to a word's border is an edge
WORD_COUNTS = (1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7)
ESPEAK_SHARE = 0.25
BATCH = 16


@dataclass(frozen=True)
class Clip:
    """One spoken digit (or an espeak sentence, with several words and no alignment)."""

    samples: np.ndarray
    words: tuple[int, ...]
    speaker: str
    rate_hz: int


@dataclass(frozen=True)
class Utterance:
    """float32[N] at 16 kHz, its words, the samples [start, end) of each (empty if unknown), and where speech ends."""

    samples: np.ndarray
    words: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    speaker: str
    end: int = 0


def load_fsdd(folder: Path) -> dict[tuple[str, int, int], Clip]:
    """Recordings by (speaker, digit, take)."""
    with np.load(folder / "fsdd.npz") as stored:
        audio, offsets = stored["audio"].astype(np.float32) / 32768, stored["offsets"]
    clips = {}
    with (folder / "index.csv").open() as rows:
        for row in csv.DictReader(rows):
            n, digit = int(row["clip"]), int(row["digit"])
            samples = audio[offsets[n] : offsets[n + 1]]
            clips[row["speaker"], digit, int(row["take"])] = Clip(samples, (digit,), row["speaker"], FSDD_HZ)
    return clips


def load_espeak(
    wanted: list[espeak.Spoken],
    cache: Path,
    label: str,
    words_in: Callable[[str], tuple[int, ...]] = espeak.words_in,
) -> list[Clip]:
    """Clips of espeak-ng, full band."""
    made = espeak.spoken_clips(wanted, cache, label)
    return [Clip(s, words_in(w.text), w.voice, RATE_HZ) for s, w in zip(made, wanted, strict=True)]


def at_16_khz(clip: Clip, speed: float = 1.0, band_limit: bool = False) -> np.ndarray:
    """Samples of a clip at 16 kHz; ``band_limit`` drops what 8 kHz recordings lack."""
    samples, rate_hz = clip.samples, clip.rate_hz
    if band_limit and rate_hz > FSDD_HZ:
        samples, rate_hz = soxr.resample(samples, rate_hz, FSDD_HZ), FSDD_HZ
    if rate_hz * speed == RATE_HZ:
        return samples
    return soxr.resample(samples, rate_hz * speed, RATE_HZ, quality="MQ")


def splice(clips: list[Clip], rng: np.random.Generator, speed: float = 1.0, band_limit: bool = False) -> Utterance:
    """Join clips of one speaker with 30 to 300 ms between them, 0.1 to 0.3 s before and 0.3 to 0.6 s after."""
    parts, spans, words = [], [], []
    position = 0
    for number, clip in enumerate(clips):
        quiet = int(RATE_HZ * (rng.uniform(0.03, 0.3) if number else rng.uniform(0.1, 0.3)))
        samples = at_16_khz(clip, speed, band_limit)
        parts += [np.zeros(quiet, np.float32), samples]
        spans.append((position + quiet, position + quiet + len(samples)))
        position += quiet + len(samples)
        words += clip.words
    parts.append(np.zeros(int(RATE_HZ * rng.uniform(0.3, 0.6)), np.float32))
    aligned = all(len(clip.words) == 1 for clip in clips)
    return Utterance(np.concatenate(parts), tuple(words), tuple(spans) if aligned else (), clips[0].speaker, position)


def add_noise(samples: np.ndarray, rng: np.random.Generator, snr_db: float, color: float = 0.0) -> np.ndarray:
    """Add noise of a spectrum f**-color; the signal's level is its mean over the utterance."""
    noise = rng.standard_normal(-(-len(samples) // 4096) * 4096).astype(np.float32)  # a length the FFT is fast at
    if color:
        spectrum = np.fft.rfft(noise)
        spectrum *= np.maximum(np.arange(len(spectrum)), len(spectrum) // 200 + 1) ** (-color / 2)
        noise = np.fft.irfft(spectrum).astype(np.float32)
    noise = noise[: len(samples)]
    wanted = np.square(samples).mean() * 10 ** (-snr_db / 10)
    return samples + noise * np.float32(np.sqrt(wanted / max(np.square(noise).mean(), 1e-20)))


def augment(samples: np.ndarray, rng: np.random.Generator, any_level: bool) -> np.ndarray:
    """Another level, and noise at 15 to 35 dB.

    ``any_level`` draws the mean power from -42 to -16 dBFS, whoever speaks. Otherwise the recording's
    own level changes by +-8 dB; the recordings of these speakers lie up to 17 dB apart, so a network
    trained that way takes loudness for a trait of the speaker and fails on a quiet stranger.
    """
    gain_db = rng.uniform(-8, 8)
    if any_level:
        own_db = 10 * np.log10(np.square(samples).mean() + 1e-12)
        gain_db = rng.uniform(-42, -16) - own_db
    samples = samples * np.float32(10 ** (gain_db / 20))
    return add_noise(samples, rng, rng.uniform(15, 35), rng.choice([0.0, 1.0]))


def vary_bands(bands: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another vocal tract and microphone: stretch the mel axis by up to 10 %, add a smooth curve of some dB.

    Five speakers are few; without this the network learns their formants and fails on a sixth.
    """
    n_bands = bands.shape[1]
    position = np.clip(np.arange(n_bands) * rng.uniform(0.9, 1.1), 0, n_bands - 1)
    below = np.minimum(position.astype(int), n_bands - 2)
    weight = (position - below).astype(np.float32)
    warped = bands[:, below] * (1 - weight) + bands[:, below + 1] * weight
    phase = np.pi * np.outer(np.arange(1, 4), np.arange(n_bands) / n_bands)
    curve = rng.normal(0, 0.5, 3) @ np.cos(phase)  # natural logarithm of energy: 0.5 is 2 dB
    return (warped + curve).astype(np.float32)


def mask_features(frames: np.ndarray, rng: np.random.Generator, bands: int) -> np.ndarray:
    """Light masking: up to two frames and twice up to eight bands are set to their mean, zero."""
    frames = frames.copy()
    width = int(rng.integers(0, 3))
    start = int(rng.integers(0, max(1, len(frames) - width)))
    frames[start : start + width] = 0
    for _ in range(2):
        width, start = int(rng.integers(0, 9)), int(rng.integers(0, bands - 8))
        frames.reshape(len(frames), -1, bands)[:, :, start : start + width] = 0
    return frames


def frame_classes(utterance: Utterance, frames: int, config: FeatureConfig) -> np.ndarray:
    """SILENCE, EDGE or INSIDE of a word for each frame, by where its middle lies; int64[T]."""
    if not utterance.spans:
        return np.full(frames, UNKNOWN)
    middle = np.arange(frames) * config.hop_samples * config.stack + config.shortest_samples // 2
    classes = np.full(frames, SILENCE)
    for start, end in utterance.spans:
        classes[(middle >= start - EDGE_SAMPLES) & (middle < end + EDGE_SAMPLES)] = EDGE
    for start, end in utterance.spans:
        classes[(middle >= start + EDGE_SAMPLES) & (middle < end - EDGE_SAMPLES)] = INSIDE
    return classes


def frame_labels(utterance: Utterance, frames: int, config: FeatureConfig, blank: int = BLANK) -> np.ndarray:
    """The word in its second half, blank elsewhere, -100 where unknown; int64[T]."""
    if not utterance.spans:
        return np.full(frames, -100)
    middle = np.arange(frames) * config.hop_samples * config.stack + config.shortest_samples // 2
    labels = np.full(frames, blank)
    for (start, end), word in zip(utterance.spans, utterance.words, strict=True):
        labels[(middle >= (start + end) // 2) & (middle < end)] = word
    return labels


@dataclass(frozen=True)
class Batch:
    """Padded tensors: frames float[T, B, 192], targets int64[B, U], labels int64[T, B], and both lengths."""

    frames: torch.Tensor
    targets: torch.Tensor
    labels: torch.Tensor
    n_frames: torch.Tensor
    n_words: torch.Tensor


class Corpus(torch.utils.data.Dataset):
    """Training batches by number; another language is a subclass with another ``utterance``."""

    blank = BLANK
    word_counts: tuple[int, ...] = WORD_COUNTS

    def __init__(self, data: Path, cache: Path, config: FeatureConfig, seed: int, any_level: bool) -> None:
        self.fsdd = load_fsdd(data)
        words = load_espeak(espeak.heard_words(), cache, "heard_words")
        self.voices: dict[str, list[Clip]] = {}
        for clip in words:
            self.voices.setdefault(clip.speaker, []).append(clip)
        self.sentences = load_espeak(espeak.sentences(espeak.heard_voices(), 6, seed=12), cache, "heard_sentences")
        self.config, self.seed, self.any_level = config, seed, any_level

    def utterance(self, rng: np.random.Generator, n_words: int) -> Utterance:
        """A training string, spliced from a human speaker (75 %) or spoken by espeak-ng."""
        speed = float(rng.uniform(0.85, 1.18))
        if rng.random() >= ESPEAK_SHARE:
            speaker = str(rng.choice(KNOWN_SPEAKERS))
            keys = [(speaker, int(rng.integers(10)), int(rng.choice(TRAIN_TAKES))) for _ in range(n_words)]
            return splice([self.fsdd[key] for key in keys], rng, speed)
        band_limit = bool(rng.random() < 0.5)
        fitting = [clip for clip in self.sentences if len(clip.words) == n_words]
        if fitting and rng.random() < 0.4:
            return splice([fitting[rng.integers(len(fitting))]], rng, speed, band_limit)
        clips = self.voices[str(rng.choice(sorted(self.voices)))]
        return splice([clips[rng.integers(len(clips))] for _ in range(n_words)], rng, speed, band_limit)

    def frames_of(self, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
        """Features of an utterance with every augmentation; float32[T, I]."""
        bands = vary_bands(log_mel(augment(utterance.samples, rng, self.any_level), self.config), rng)
        return mask_features(stack_normalized(bands, self.config), rng, self.config.bands)

    def __getitem__(self, number: int) -> Batch:
        rng = np.random.default_rng((self.seed, number))
        n_words = int(rng.choice(self.word_counts))
        made = [self.utterance(rng, n_words) for _ in range(BATCH)]
        frames = [self.frames_of(utterance, rng) for utterance in made]
        labels = [frame_labels(u, len(f), self.config, self.blank) for u, f in zip(made, frames, strict=True)]
        return Batch(
            pad_frames(frames),
            torch.tensor([u.words for u in made]),
            torch.nn.utils.rnn.pad_sequence([torch.from_numpy(x) for x in labels], padding_value=-100),
            torch.tensor([len(f) for f in frames]),
            torch.full((BATCH,), n_words),
        )


def pad_frames(frames: list[np.ndarray]) -> torch.Tensor:
    """Pad with zeros at the end; list of float32[T_i, I] -> float32[T, B, I]."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(f) for f in frames])


def fit_normalization(corpus: Corpus, utterances: int = 200) -> FeatureConfig:
    """The front end with each band's mean and standard deviation over training strings."""
    rng = np.random.default_rng((corpus.seed, 10**9))
    bands = np.concatenate(
        [
            log_mel(augment(corpus.utterance(rng, 5).samples, rng, corpus.any_level), corpus.config)
            for _ in range(utterances)
        ]
    )
    mean, std = bands.mean(axis=0), bands.std(axis=0)
    return FeatureConfig(mean=tuple(round(float(m), 4) for m in mean), std=tuple(round(float(s), 4) for s in std))


def spliced_set(
    fsdd: dict[tuple[str, int, int], Clip], speakers: tuple[str, ...], takes: range, splicings: int, seed: int
) -> list[Utterance]:
    """Every recording once per splicing, in strings of 3 to 7 digits, with noise at 30 dB in words and pauses."""
    made = []
    for splicing in range(splicings):
        for speaker in speakers:
            rng = np.random.default_rng((seed, splicing, sum(map(ord, speaker))))
            pool = [fsdd[speaker, digit, take] for digit in range(len(WORDS)) for take in takes]
            order = list(rng.permutation(len(pool)))
            while order:
                n_words = min(int(rng.integers(3, 8)), len(order))
                made.append(quiet_noise(splice([pool[order.pop()] for _ in range(n_words)], rng), rng))
    return made


def quiet_noise(utterance: Utterance, rng: np.random.Generator, snr_db: float = 30.0) -> Utterance:
    """The utterance with white noise, so that pauses are not digital silence."""
    noisy = add_noise(utterance.samples, rng, snr_db)
    return replace(utterance, samples=noisy)
