"""The cloud's re-ranker: an n-gram word model over what the device heard.

The device ranks transcripts by what its network heard and by the few words its prediction network has seen in training.
A cloud has room for a model of far more text. It takes the lattice's best transcripts and ranks them by::

    log P(words | audio), by the device  +  weight * log P(words), by the model  +  word_bonus * number of words

The model is of order 4 with interpolated Witten-Bell smoothing: in a context seen N times, followed by T
different words, the word's own count gets N / (N + T) of the probability and the context shorter by one word gets
the rest. nltk's ends at the plain frequency, where a word that the text lacks has probability 0; here the
recursion goes one step further, to equal shares for all words and ``<UNK>``, so that every transcript has a
finite log-probability and the probabilities after a context sum to 1. A sentence starts behind three
``<s>`` and ends in one ``</s>``, which is predicted like a word; ``<s>`` never is.

Source
------
Borrowed   Witten and Bell, "The zero-frequency problem", 1991, in the interpolated form of Chen and Goodman 1996;
           counts, vocabulary and recursion are nltk.lm's.
Assumed    order 4; what ``LanguageModel.bytes`` counts.

Left out
--------
Pruning and quantization of the model. Upper case, punctuation: words are what stands between spaces.
"""

import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nltk.lm import NgramCounter, Vocabulary
from nltk.lm.models import InterpolatedLanguageModel
from nltk.lm.smoothing import WittenBell
from nltk.probability import FreqDist

from azsim.errors import ModelError
from azsim.graph.lattice import Lattice, Transcript
from azsim.graph.search import Hypothesis

ORDER = 4
START, END = "<s>", "</s>"


class _OpenWittenBell(WittenBell):
    """Witten-Bell down to equal shares for all words seen and ``<UNK>``; sizes of contexts are counted once."""

    def __init__(self, vocabulary: Vocabulary, counter: NgramCounter) -> None:
        super().__init__(vocabulary, counter)
        self._sizes: dict[tuple[str, ...], tuple[int, int]] = {}

    def _size(self, context: tuple[str, ...], counts: FreqDist) -> tuple[int, int]:
        """Words that followed a context, and different ones."""
        if context not in self._sizes:
            self._sizes[context] = counts.N(), len(counts)
        return self._sizes[context]

    def alpha_gamma(self, word: str, context: tuple[str, ...]) -> tuple[float, float]:
        counts = self.counts[context]
        n, types = self._size(context, counts)
        return counts[word] / (n + types), types / (n + types)

    def unigram_score(self, word: str) -> float:
        counts = self.counts.unigrams
        n, types = self._size((), counts)
        return (counts[word] + types / (types + 1)) / (n + types)


class LanguageModel:
    """An n-gram model of words.

    Parameters
    ----------
    sentences : iterable of sequence of str
        At least one with a word.
    order : int
        Words of an n-gram: the context and the word.

    Attributes
    ----------
    order : int
    n_grams : int
        Different n-grams of all orders up to ``order``.
    bytes : int
        What the model would take as a trie of sorted n-grams: 8 bytes for each (word number and log-probability),
        8 more below the highest order (back-off weight and first child), and each word's UTF-8 with a zero.
        Counted like KenLM's trie without its bit packing, so rather more than needed.
    """

    def __init__(self, sentences: Iterable[Sequence[str]], order: int = ORDER) -> None:
        texts = [list(words) for words in sentences if words]
        if not texts:
            raise ModelError("a language model needs at least one sentence with a word in it, but got none")
        self.order = order
        vocabulary = Vocabulary([START, END, *(word for words in texts for word in words)])
        self._model = InterpolatedLanguageModel(_OpenWittenBell, order, vocabulary=vocabulary)
        self._model.fit([list(self._n_grams(words)) for words in texts])
        counts = self._model.counts
        of_order = [len(counts.unigrams), *(sum(map(len, counts[n].values())) for n in range(2, order + 1))]
        self.n_grams = sum(of_order)
        self.bytes = 8 * self.n_grams + 8 * sum(of_order[:-1]) + sum(len(w.encode()) + 1 for w in counts.unigrams)
        self._scores: dict[tuple[str, ...], float] = {}

    def _n_grams(self, words: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """All n-grams that end in a word or in the end of the sentence."""
        padded = [START] * (self.order - 1) + [*words, END]
        for end in range(self.order, len(padded) + 1):
            yield from (tuple(padded[end - n : end]) for n in range(1, self.order + 1))

    def log_prob(self, words: Sequence[str]) -> float:
        """Nats of a whole sentence, its end included; unknown words count as ``<UNK>``."""
        lookup = self._model.vocab.lookup
        padded = (START,) * (self.order - 1) + lookup(tuple(words)) + (END,)
        return sum(self._word(padded[end - self.order : end]) for end in range(self.order, len(padded) + 1))

    def _word(self, n_gram: tuple[str, ...]) -> float:
        """Nats of the last word behind the others; remembered, because transcripts of a lattice share most."""
        if n_gram not in self._scores:
            self._scores[n_gram] = math.log(self._model.unmasked_score(n_gram[-1], n_gram[:-1]))
        return self._scores[n_gram]


def load_language_model(path: str | Path, order: int = ORDER) -> LanguageModel:
    """Fit a model to a text file, one sentence per line, plain or ``.gz``.

    Raises
    ------
    ModelError
        The file is missing, cannot be read as UTF-8 text, or has no words.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: no such file; a language model is fitted to a text of one sentence per line"
        ) from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as UTF-8 text, plain or .gz: {error}") from error
    sentences = [words for line in text.splitlines() if (words := line.split())]
    if not sentences:
        raise ModelError(f"{path}: has no words; a language model is fitted to a text of one sentence per line")
    return LanguageModel(sentences, order)


def rerank(
    heard: Lattice | Sequence[Transcript],
    vocabulary: tuple[str, ...],
    model: LanguageModel,
    weight: float,
    word_bonus: float = 0.0,
    n: int = 100,
) -> list[Transcript]:
    """Transcripts ranked by the device and the model together, best first; (tokens, score in nats).

    Parameters
    ----------
    heard : Lattice, or sequence of (tokens, log-probability)
    vocabulary : tuple of str
        Of the network; word pieces are joined to words.
    model : LanguageModel
    weight : float
        Of the model's log-probability; 0 keeps the device's order.
    word_bonus : float
        Nats per word, against a model's liking for short sentences.
    n : int
        Best transcripts that are looked at.
    """
    transcripts = heard.best(n) if isinstance(heard, Lattice) else list(heard)[:n]
    scored = []
    for tokens, log_prob in transcripts:
        words = Hypothesis(tokens, ()).text(vocabulary).split()
        scored.append((tokens, log_prob + weight * model.log_prob(words) + word_bonus * len(words)))
    return sorted(scored, key=lambda transcript: -transcript[1])
