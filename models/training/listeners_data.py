"""What the small networks of ``models/listeners.py`` are trained and tested on: the household corpus, labelled anew.

A training example is features and a target per frame and output, ``IGNORED`` where no answer is
asked for. The recognizer's augmentation (level, noise, vocal tract, microphone) applies, so that none
of these decides; a speaker alone keeps their vocal tract and tempo, which are what is to be told.
The whisper detector also hears quieter recordings, where the noise sinks below the floor of the features. For the
end-pointer the same was tried and dropped: the speech of a quiet stranger (theo) then ended 500 ms later than without,
or, in 3 strings of 10, never.

*When a frame is heard.* A frame's answer is there when its last sample is: ``heard_at`` counts from
the start of the recording, and every label and delay is reckoned from it, never from a frame's middle.

*Quiet after speech.* An end-pointer that has only met digital silence after the last word learns
nothing else. ``extend_tail`` continues what stands after the end for 1.5 to 2 s at the level it has
there: zeros before the noise is added, noise of the pauses' level where it has been.

Left out: a household's own noise (other people, a television), and echo.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from azsim.execute.features import FeatureConfig, log_mel, stack_normalized
from models.training import data, espeak, household
from models.training.data import BATCH, KNOWN_SPEAKERS, RATE_HZ, UNHEARD_SPEAKER, Clip, Utterance, augment, splice

IGNORED = -1.0
SPECULATIVE_MS, FINAL_MS = 90, 300  # after the end of speech, when each output is asked to say yes
HELD_OUT_ACCENTS = ("en-gb-scotland", "en-029")
WHISPERS = ("whisper", "whisperf")
PLAIN_ACCENT = "en-gb"  # espeak-ng 1.51 drops the variant after this accent: what it names eleven voices is one
EXTRA_WHISPERS = tuple(f"{accent}+whisperf" for accent in espeak.HEARD_ACCENTS if accent != PLAIN_ACCENT)
WHISPERED_SHARE, HUMAN_SHARE, SPEAKER_HUMAN_SHARE = 0.5, 0.4, 0.5  # human: of what is not whispered
QUIET_SHARE, QUIETEST_DB = 0.3, 20.0  # theo's strings, at -48 dBFS, lie below every level that ``augment`` draws
MICROPHONE_SPREAD = 0.5  # natural logarithm of energy, as in the recognizer's augmentation

Cohorts = dict[str, list[Utterance]]


def voice_of(speaker: str) -> str:
    """The voice that is heard when espeak-ng is asked for a speaker; a human is their own."""
    accent, _, _ = speaker.partition("+")
    return PLAIN_ACCENT if accent == PLAIN_ACCENT else speaker


def is_whispered(speaker: str) -> bool:
    """True for espeak-ng's whispering variants where it heeds them; no human here whispers."""
    return "whisper" in voice_of(speaker)


def heard_at(n_frames: int, config: FeatureConfig) -> np.ndarray:
    """Samples that must have come in for each frame to be complete; int64[T]."""
    return np.arange(n_frames) * config.hop_samples * config.stack + config.shortest_samples


def finished_labels(end: int, n_frames: int, config: FeatureConfig) -> np.ndarray:
    """1 from SPECULATIVE_MS and from FINAL_MS after the last sample of speech, 0 before; float32[T, 2]."""
    heard = heard_at(n_frames, config)[:, None]
    after = np.array([SPECULATIVE_MS, FINAL_MS]) * config.sample_rate_hz // 1000
    return (heard >= end + after).astype(np.float32)


def extend_tail(utterance: Utterance, rng: np.random.Generator) -> Utterance:
    """The utterance with 1.5 to 2 s after its end, at the level that stands there."""
    missing = utterance.end + int(RATE_HZ * rng.uniform(1.5, 2.0)) - len(utterance.samples)
    floor = np.sqrt(np.square(utterance.samples[utterance.end :]).mean())
    tail = rng.standard_normal(max(0, missing), dtype=np.float32) * np.float32(floor)
    return replace(utterance, samples=np.concatenate([utterance.samples, tail]))


def vary_microphone(bands: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a smooth curve of some dB over the bands, and leave the vocal tract as it is; float32[T, bands]."""
    n_bands = bands.shape[1]
    phase = np.pi * np.outer(np.arange(1, 4), np.arange(n_bands) / n_bands)
    return (bands + rng.normal(0, MICROPHONE_SPREAD, 3) @ np.cos(phase)).astype(np.float32)


@dataclass(frozen=True)
class Batch:
    """Padded frames float[T, B, 192] and targets float[T, B, n], IGNORED in the padding."""

    frames: torch.Tensor
    targets: torch.Tensor


class ListenerCorpus(household.HouseholdCorpus):
    """Training batches by number; each network draws its utterances and labels them."""

    quiet_share = 0.0  # of recordings that are made quieter than the recognizer's training has them

    def __init__(self, folder: Path, cache: Path, config: FeatureConfig, seed: int) -> None:
        super().__init__(folder, cache, config, seed, any_level=True)
        self.sentences: dict[str, list[Clip]] = {}
        for clip in itertools.chain(*self.by_length.values(), self.more_clips(cache)):
            self.sentences.setdefault(voice_of(clip.speaker), []).append(clip)

    def more_clips(self, cache: Path) -> Iterable[Clip]:
        """Sentences beyond the recognizer's; none unless a network needs them."""
        return ()

    def draw(self, rng: np.random.Generator) -> Utterance:
        """A training utterance, before noise."""
        raise NotImplementedError

    def target(self, utterance: Utterance, n_frames: int) -> np.ndarray:
        """What to answer at each frame of an utterance that ``draw`` made; float32[T, n]."""
        raise NotImplementedError

    def sentence(self, voices: Iterable[str], rng: np.random.Generator, speed: float) -> Utterance:
        """A sentence of one of these voices, in half of the cases without what 8 kHz recordings lack."""
        clips = self.sentences[str(rng.choice(sorted(voices)))]
        return splice([clips[rng.integers(len(clips))]], rng, speed, bool(rng.random() < 0.5))

    def digits(self, rng: np.random.Generator, speed: float) -> Utterance:
        """Two to six digits of a human speaker."""
        speaker, n_words = str(rng.choice(KNOWN_SPEAKERS)), int(rng.integers(2, 7))
        keys = [(speaker, int(rng.integers(10)), int(rng.choice(data.TRAIN_TAKES))) for _ in range(n_words)]
        return splice([self.fsdd[key] for key in keys], rng, speed)

    def frames_of(self, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
        """The recognizer's augmentation, and in some of the cases speech and noise both quieter still."""
        samples = augment(utterance.samples, rng, any_level=True)
        if self.quiet_share and rng.random() < self.quiet_share:
            samples = samples * np.float32(10 ** (-rng.uniform(0, QUIETEST_DB) / 20))
        bands = data.vary_bands(log_mel(samples, self.config), rng)
        return data.mask_features(stack_normalized(bands, self.config), rng, self.config.bands)

    def __getitem__(self, number: int) -> Batch:
        rng = np.random.default_rng((self.seed, number))
        made = [self.draw(rng) for _ in range(BATCH)]
        frames = [self.frames_of(utterance, rng) for utterance in made]
        targets = [torch.from_numpy(self.target(u, len(f))) for u, f in zip(made, frames, strict=True)]
        padded = torch.nn.utils.rnn.pad_sequence(targets, padding_value=IGNORED)
        return Batch(data.pad_frames(frames), padded)


class WhisperCorpus(ListenerCorpus):
    """Half whispered; the rest humans and voiced espeak-ng."""

    quiet_share = QUIET_SHARE

    def more_clips(self, cache: Path) -> Iterable[Clip]:
        wanted = household.spoken_sentences(EXTRA_WHISPERS, 60, 41, False, household.PAUSED_SHARE)
        return data.load_espeak(wanted, cache, "whispered_sentences", household.word_indices)

    def draw(self, rng: np.random.Generator) -> Utterance:
        speed = float(rng.uniform(0.85, 1.18))
        wanted = bool(rng.random() < WHISPERED_SHARE)
        if not wanted and rng.random() < HUMAN_SHARE:
            return self.digits(rng, speed)
        return self.sentence((voice for voice in self.sentences if is_whispered(voice) == wanted), rng, speed)

    def target(self, utterance: Utterance, n_frames: int) -> np.ndarray:
        """Whispered or not, from where speech begins; what comes before tells nothing."""
        begin = int(np.flatnonzero(utterance.samples)[0])
        answer = np.full((n_frames, 1), float(is_whispered(utterance.speaker)), np.float32)
        answer[heard_at(n_frames, self.config) <= begin] = IGNORED
        return answer


class SpeakerCorpus(ListenerCorpus):
    """Half humans, half espeak-ng voices; a target is the speaker's number."""

    @property
    def speakers(self) -> list[str]:
        return [*KNOWN_SPEAKERS, *sorted(self.sentences)]

    def draw(self, rng: np.random.Generator) -> Utterance:
        if rng.random() < SPEAKER_HUMAN_SHARE:
            return self.digits(rng, 1.0)
        return self.sentence(self.sentences, rng, 1.0)

    def frames_of(self, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
        """Another level, noise and microphone, but the same vocal tract."""
        bands = vary_microphone(log_mel(augment(utterance.samples, rng, any_level=True), self.config), rng)
        return data.mask_features(stack_normalized(bands, self.config), rng, self.config.bands)

    def target(self, utterance: Utterance, n_frames: int) -> np.ndarray:
        return np.full((n_frames, 1), self.speakers.index(voice_of(utterance.speaker)), np.float32)


class EndpointerCorpus(ListenerCorpus):
    """The recognizer's strings, with a longer quiet after them."""

    def draw(self, rng: np.random.Generator) -> Utterance:
        return extend_tail(self.utterance(rng, int(rng.choice(self.word_counts))), rng)

    def target(self, utterance: Utterance, n_frames: int) -> np.ndarray:
        return finished_labels(utterance.end, n_frames, self.config)


CORPORA: dict[str, type[ListenerCorpus]] = {
    "whisper_detector": WhisperCorpus,
    "speaker_id": SpeakerCorpus,
    "endpointer": EndpointerCorpus,
}


def human_strings(folder: Path, splicings: int) -> Cohorts:
    """Digit strings of the known speakers' development and held-out takes, and of the speaker never heard."""
    fsdd, theo = data.load_fsdd(folder), (UNHEARD_SPEAKER,)
    return {
        "development": data.spliced_set(fsdd, KNOWN_SPEAKERS, data.DEVELOPMENT_TAKES, splicings, seed=141),
        "humans, held-out takes": data.spliced_set(fsdd, KNOWN_SPEAKERS, data.TEST_TAKES, splicings, seed=142),
        "theo, never heard": data.spliced_set(fsdd, theo, data.TEST_TAKES, splicings, seed=143),
        "theo, enrolment": data.spliced_set(fsdd, theo, data.DEVELOPMENT_TAKES, splicings, seed=144),
    }


def whisper_cohorts(folder: Path, cache: Path) -> Cohorts:
    """Synthetic whispers and voices in accents never heard, and humans, none of whom whispers."""
    others = ("m8", "f4", "f5")
    held_out = tuple(f"{a}+{v}" for a in HELD_OUT_ACCENTS for v in (*WHISPERS, *WHISPERS, *others))
    heard = (*espeak.heard_voices(), *EXTRA_WHISPERS)
    whispered = tuple(voice for voice in heard if is_whispered(voice))
    paused = household.PAUSED_SHARE
    development = household.spoken_sentences(heard + whispered * 4, 3, 42, False, paused)
    tested = household.spoken_sentences(held_out, 30, 43, True, paused)
    human = human_strings(folder, splicings=4)
    return {
        "development": household.test_set(cache, "whisper_development", development, 44) + human["development"],
        "held-out accents": household.test_set(cache, "whisper_accents", tested, 45),
        "humans, held-out takes": human["humans, held-out takes"],
        "theo, never heard": human["theo, never heard"],
    }


def speaker_cohorts(folder: Path, cache: Path) -> Cohorts:
    """Strings to enrol and to verify with; synthetic voices train the network but verify nothing."""
    return human_strings(folder, splicings=6)


def endpointer_cohorts(folder: Path, cache: Path) -> Cohorts:
    """Sentences of voices and phrases never heard, with a pause inside or none, and human digit strings."""
    heard, unseen = tuple(espeak.heard_voices()), household.UNSEEN_VOICES
    development = household.spoken_sentences(heard, 3, 31, False, household.PAUSED_SHARE)
    development += household.spoken_sentences(heard, 4, 32, True, household.PAUSED_SHARE)
    sets = {
        "development": household.test_set(cache, "endpointer_development", development, 46),
        "unseen voices and phrases, no pause inside": household.test_set(
            cache, "endpointer_unpaused", household.spoken_sentences(unseen, 25, 47, True, 0.0), 48
        ),
        "unseen voices and phrases, a pause inside": household.test_set(
            cache, "endpointer_paused", household.spoken_sentences(unseen, 25, 49, True, 1.0), 50
        ),
    }
    human = human_strings(folder, splicings=2)
    sets["development"] += human["development"]
    sets |= {name: human[name] for name in ("humans, held-out takes", "theo, never heard")}
    rng = np.random.default_rng(51)
    return {name: [extend_tail(utterance, rng) for utterance in made] for name, made in sets.items()}


COHORTS: dict[str, Callable[[Path, Path], Cohorts]] = {
    "whisper_detector": whisper_cohorts,
    "speaker_id": speaker_cohorts,
    "endpointer": endpointer_cohorts,
}
