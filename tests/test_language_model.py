"""The re-ranker's probabilities worked out by hand, and what it makes of a ranking."""

import gzip
import math

import pytest

from azsim.errors import ModelError
from azsim.graph.language_model import LanguageModel, load_language_model, rerank
from azsim.graph.lattice import Lattice

TEXT = "a b\na a\n"
VOCABULARY = ("<blank>", "four", "for", "one")


def text(tmp_path, content=TEXT, name="text.txt"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


def test_witten_bell_by_hand(tmp_path):
    model = load_language_model(text(tmp_path), order=2)
    # 6 words a b </s> a a </s> of 3 kinds: P(w) = (count + 3 * 1/4) / (6 + 3)
    a, b, end = 3.75 / 9, 1.75 / 9, 2.75 / 9
    # behind <s> stood a, a (1 kind); behind a stood b, a, </s> (3 kinds); behind b stood </s>
    a_first, b_then, end_then = (2 + 1 * a) / 3, (1 + 3 * b) / 6, (1 + 1 * end) / 2
    assert model.log_prob(["a", "b"]) == pytest.approx(math.log(a_first * b_then * end_then))
    # an unknown word has 0 counts, and nothing is known of what follows it
    unknown = (0 + 1 * 0.75 / 9) / 3
    assert model.log_prob(["zebra"]) == pytest.approx(math.log(unknown * end))
    assert model.log_prob(["zebra"]) == model.log_prob(["yak"])


@pytest.mark.parametrize("context", [(), ("<s>",), ("a",), ("a", "b"), ("zebra", "a"), ("b", "a", "a")])
def test_probabilities_after_a_context_sum_to_one(context):
    model = LanguageModel([["a", "b", "a"], ["c", "a", "a"]])
    words = ["a", "b", "c", "</s>", "<UNK>"]
    context = ("<s>",) * (3 - len(context)) + context
    assert sum(math.exp(model._word((*context, word))) for word in model._model.vocab.lookup(words)) == pytest.approx(1)


def test_n_grams_and_bytes_are_counted(tmp_path):
    model = load_language_model(text(tmp_path), order=2)
    # a, b, </s>; <s> a, a b, b </s>, a a, a </s>
    assert model.n_grams == 3 + 5
    # 8 bytes each, 8 more for 3 unigrams; "a", "b", "</s>" with zeros
    assert model.bytes == 8 * 8 + 8 * 3 + 2 + 2 + 5


def test_a_compressed_text_is_the_same_text(tmp_path):
    plain, packed = load_language_model(text(tmp_path)), load_language_model(text(tmp_path, name="text.txt.gz"))
    assert plain.n_grams == packed.n_grams
    assert plain.log_prob(["a", "a", "c"]) == packed.log_prob(["a", "a", "c"])


HEARD = Lattice.of([(0, 1, 2, 3, -0.5), (0, 1, 1, 3, -1.0), (1, 2, 3, 9, -0.25)], {2: 0.0})


def test_words_that_follow_each_other_in_the_text_win():
    model = LanguageModel([["four", "one"], ["four", "four", "one"], ["for"]])
    assert [tokens for tokens, _ in rerank(HEARD, VOCABULARY, model, weight=0.0)] == [(2, 3), (1, 3)]
    assert [tokens for tokens, _ in rerank(HEARD, VOCABULARY, model, weight=1.0)] == [(1, 3), (2, 3)]


def test_the_score_is_the_sum_that_the_module_promises():
    model = LanguageModel([["four", "one"]])
    for tokens, score in rerank(HEARD, VOCABULARY, model, weight=0.3, word_bonus=0.7):
        words = [VOCABULARY[token] for token in tokens]
        heard = -1.25 if tokens == (1, 3) else -0.75
        assert score == pytest.approx(heard + 0.3 * model.log_prob(words) + 0.7 * 2)


def test_a_list_ranks_as_its_lattice_and_no_more_than_n_are_looked_at():
    model = LanguageModel([["four", "one"]])
    assert rerank(HEARD.best(9), VOCABULARY, model, 1.0) == rerank(HEARD, VOCABULARY, model, 1.0)
    assert [tokens for tokens, _ in rerank(HEARD, VOCABULARY, model, 1.0, n=1)] == [(2, 3)]


def test_pieces_are_joined_to_words():
    model = LanguageModel([["four", "one"]])
    pieces = ("<blank>", "\u2581fo", "ur", "\u2581one")
    ((_, score),) = rerank([((1, 2, 3), -1.0)], pieces, model, weight=1.0, word_bonus=10.0)
    assert score == pytest.approx(-1.0 + model.log_prob(["four", "one"]) + 20.0)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [(None, "text.txt", "no such file"), (b" \n\n", "text.txt", "has no words"), (b"\xff\xfe", "text.txt", "UTF-8"),
     (b"plain", "text.txt.gz", "cannot be read"), (b"\x1f\x8b\x08", "text.txt.gz", "cannot be read")],
)  # fmt: skip
def test_a_text_that_cannot_be_used_is_named(tmp_path, content, name, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        load_language_model(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
