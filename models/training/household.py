"""The household language to train and test on: espeak-ng says it, mixed with the human digits.

A training string is one of three kinds: a sentence of the grammar in one breath (55 %), with a pause
somewhere inside in a third of them; words in any order spliced from single words of one voice (20 %),
so that a network also hears a word where the grammar does not expect it; and digits from a human (25 %).
Test sets hold out voices, phrases, or both.
"""

import re
from pathlib import Path

import numpy as np

from azsim.execute.features import FeatureConfig
from models import household
from models.training import espeak
from models.training.data import (
    KNOWN_SPEAKERS,
    TRAIN_TAKES,
    Clip,
    Corpus,
    Utterance,
    load_espeak,
    load_fsdd,
    quiet_noise,
    splice,
)
from models.training.espeak import Spoken

SENTENCE_SHARE, SALAD_SHARE = 0.55, 0.2  # the rest are human digits
PAUSED_SHARE = 1 / 3
UNSEEN_VOICES = (*espeak.UNSEEN_VOICES, "en-gb-scotland+whisperf", "en-029+whisperf")
SENTENCES_PER_VOICE, TEST_SENTENCES = 60, 30


def word_indices(text: str) -> tuple[int, ...]:
    """Indices of the words of a text, marks for pauses apart."""
    return household.word_indices(re.sub(r"<[^>]*>", " ", text))


def spoken_sentences(voices: tuple[str, ...], each: int, seed: int, held_out: bool, paused: float) -> list[Spoken]:
    """Sentences of one half of the grammar; a share of them with a pause of 0.15 to 0.6 s between two words."""
    rng = np.random.default_rng(seed)
    made = []
    for voice in voices:
        for _ in range(each):
            words = household.draw(rng, held_out).split()
            if rng.random() < paused:
                at = int(rng.integers(1, len(words)))
                words.insert(at, f'<break time="{rng.integers(150, 600)}ms"/>')
            made.append(Spoken(voice, " ".join(words), int(rng.integers(120, 190)), int(rng.integers(35, 65))))
    return made


def single_words() -> list[Spoken]:
    """Every word of the vocabulary in every other training voice."""
    rng = np.random.default_rng(21)
    return [
        Spoken(voice, word, int(rng.integers(120, 190)), int(rng.integers(35, 65)))
        for voice in espeak.heard_voices()[::2]
        for word in household.WORDS
    ]


class HouseholdCorpus(Corpus):
    """Training batches of the household language."""

    blank = household.BLANK

    def __init__(self, data: Path, cache: Path, config: FeatureConfig, seed: int, any_level: bool) -> None:
        self.fsdd = load_fsdd(data)
        self.config, self.seed, self.any_level = config, seed, any_level
        self.voices: dict[str, list[Clip]] = {}
        for clip in load_espeak(single_words(), cache, "household_words", word_indices):
            self.voices.setdefault(clip.speaker, []).append(clip)
        heard = spoken_sentences(tuple(espeak.heard_voices()), SENTENCES_PER_VOICE, 22, False, PAUSED_SHARE)
        self.by_length: dict[int, list[Clip]] = {}
        for clip in load_espeak(heard, cache, "household_sentences", word_indices):
            self.by_length.setdefault(len(clip.words), []).append(clip)
        self.word_counts = tuple(n for n, clips in sorted(self.by_length.items()) for _ in clips if n <= 8)

    def utterance(self, rng: np.random.Generator, n_words: int) -> Utterance:
        """A training string of one of the three kinds."""
        speed, kind = float(rng.uniform(0.85, 1.18)), rng.random()
        band_limit = bool(rng.random() < 0.5)
        if kind < SENTENCE_SHARE:
            clips = self.by_length[n_words]
            return splice([clips[rng.integers(len(clips))]], rng, speed, band_limit)
        if kind < SENTENCE_SHARE + SALAD_SHARE:
            clips = self.voices[str(rng.choice(sorted(self.voices)))]
            return splice([clips[rng.integers(len(clips))] for _ in range(n_words)], rng, speed, band_limit)
        speaker = str(rng.choice(KNOWN_SPEAKERS))
        keys = [(speaker, int(rng.integers(10)), int(rng.choice(TRAIN_TAKES))) for _ in range(n_words)]
        return splice([self.fsdd[key] for key in keys], rng, speed)


def test_set(cache: Path, label: str, spoken: list[Spoken], seed: int) -> list[Utterance]:
    """Sentences with quiet around them and noise at 20 dB."""
    rng = np.random.default_rng(seed)
    clips = load_espeak(spoken, cache, f"household_{label.replace(' ', '_').replace(',', '')}", word_indices)
    return [quiet_noise(splice([clip], rng), rng, snr_db=20.0) for clip in clips]


def test_sets(cache: Path) -> dict[str, list[Utterance]]:
    """Utterances by cohort: two development sets first, then what was never heard.

    The second development set draws from the same held-out tenth of the grammar as the test sets, in the voices of
    training: two numbers of the re-ranking are tuned on it, and no network hears it.
    """
    heard, every = tuple(espeak.heard_voices()), PAUSED_SHARE
    sets = {
        "development": spoken_sentences(heard, 3, 31, False, every),
        "development, unseen phrases": spoken_sentences(heard, 2, 36, True, every),
        "heard voices, unseen phrases": spoken_sentences(heard, 4, 32, True, every),
        "unseen voices, heard phrases": spoken_sentences(UNSEEN_VOICES, TEST_SENTENCES, 33, False, every),
        "unseen voices, unseen phrases": spoken_sentences(UNSEEN_VOICES, TEST_SENTENCES, 34, True, every),
    }
    return {name: test_set(cache, name, spoken, 35) for name, spoken in sets.items()}
