"""What training stands on: the loss, the pruning schedule, the spliced data."""

import itertools

import numpy as np
import pytest
import torch

from azsim.execute.features import FeatureConfig
from models.rnnt import BLANK
from models.training import data
from models.training.evaluate import word_errors
from models.training.loss import rnnt_loss
from models.training.prune import Pruner


def brute_force_loss(logits, targets, n_frames, n_words, blank):
    """Add up every alignment: which of the n_frames - 1 + n_words moves are words (the last move is a blank)."""
    scores = logits.log_softmax(-1)
    n_moves = n_frames - 1 + n_words
    total = []
    for spoken in itertools.combinations(range(n_moves), n_words):
        t = u = 0
        score = torch.zeros((), dtype=logits.dtype)
        for move in range(n_moves):
            if move in spoken:
                score, u = score + scores[t, u, targets[u]], u + 1
            else:
                score, t = score + scores[t, u, blank], t + 1
        total.append(score + scores[t, u, blank])
    return -torch.logsumexp(torch.stack(total), 0)


@pytest.mark.parametrize(("n_frames", "n_words"), [(1, 0), (1, 2), (3, 0), (4, 3), (6, 2)])
def test_loss_is_the_sum_over_all_alignments(n_frames, n_words):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 6, 4, 5, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[2, 0, 3], [1, 1, 2]])
    losses = rnnt_loss(logits, targets, torch.tensor([n_frames, 6]), torch.tensor([n_words, 3]), blank=4)
    for loss, one, words, t, u in zip(losses, logits, targets, (n_frames, 6), (n_words, 3), strict=True):
        assert loss.item() == pytest.approx(brute_force_loss(one, words, t, u, 4).item(), abs=1e-12)


def test_loss_has_the_gradient_of_its_value():
    logits = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    targets, frames, words = torch.tensor([[0, 2], [1, 0]]), torch.tensor([4, 3]), torch.tensor([2, 1])
    assert torch.autograd.gradcheck(lambda x: rnnt_loss(x, targets, frames, words, 3), logits)


def test_pruning_reaches_its_share_keeps_the_largest_and_never_brings_a_zero_back():
    network = torch.nn.Linear(20, 10)
    original = network.weight.detach().clone()
    with torch.no_grad():
        network.weight[0, :5] = 0.0  # was pruned before
    pruner = Pruner(network, zero_share=0.5, first_step=50, last_step=100)
    pruner.apply(49)
    assert int((network.weight == 0).sum()) == 5
    for step in range(50, 101):
        pruner.apply(step)
    kept = network.weight.detach() != 0
    assert int((~kept).sum()) == 100
    other = torch.ones_like(kept)
    other[0, :5] = False
    assert original[kept].abs().min() >= original[~kept & other].abs().max()
    with torch.no_grad():
        network.weight += 1.0
    pruner.apply(101)
    assert int((network.weight == 0).sum()) == 100
    assert not kept[0, :5].any()


def two_words():
    clips = [
        data.Clip(np.full(4000, value, np.float32), (word,), "made up", 16_000) for value, word in [(1, 7), (2, 3)]
    ]
    return data.splice(clips, np.random.default_rng(5))


def test_splicing_keeps_words_in_order_and_knows_where_they_lie():
    utterance = two_words()
    assert utterance.words == (7, 3)
    for (start, end), value in zip(utterance.spans, (1, 2), strict=True):
        assert end - start == 4000
        assert (utterance.samples[start:end] == value).all()
    assert np.count_nonzero(utterance.samples) == 8000


def test_frame_classes_and_labels_follow_the_spans():
    config = FeatureConfig()
    utterance = data.Utterance(np.zeros(16_000, np.float32), (7,), ((4800, 9600),), "made up")
    # The middle of frame t is 480 t + 360. Words begin at 4800 and end at 9600; an edge is 800 to either side.
    # Inside: 5600 <= 480 t + 360 < 8800, so t = 11..17. Edges: 4000 <= .. < 5600 is t = 8..10, and t = 18..20.
    classes = data.frame_classes(utterance, 32, config)
    assert list(np.flatnonzero(classes == data.INSIDE)) == list(range(11, 18))
    assert list(np.flatnonzero(classes == data.EDGE)) == [8, 9, 10, 18, 19, 20]
    # Second half of the word: 7200 <= 480 t + 360 < 9600, so t = 15..19.
    labels = data.frame_labels(utterance, 32, config)
    assert list(np.flatnonzero(labels == 7)) == list(range(15, 20))
    assert set(labels) == {7, BLANK}


def test_noise_has_the_level_that_was_asked_for():
    tone = np.sin(np.arange(48_000) / 7).astype(np.float32)
    for color in (0.0, 1.0):
        noise = data.add_noise(tone, np.random.default_rng(1), snr_db=20.0, color=color) - tone
        assert 10 * np.log10(np.square(tone).mean() / np.square(noise).mean()) == pytest.approx(20.0, abs=0.01)


def test_word_errors_count_each_kind():
    found = word_errors([["one", "two"], ["three", "four"]], [["one", "nine"], ["three", "four", "four"]])
    assert (found["substitutions"], found["deletions"], found["insertions"], found["words"]) == (1, 0, 1, 4)
    assert found["word_error_rate"] == 0.5
