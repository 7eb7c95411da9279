"""The full-size synthetic network: its shape, its zeros, and that nothing but the seed decides it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models import house_rnnt
from models.house_rnnt import FULL_SIZE, HouseSizes, build, trained_like

TINY = HouseSizes(inputs=24, hidden=32, encoder_layers=3, prediction_layers=2, embedding=16, joint=16, pieces=40)


def weights(network):
    modules = [module for module, _ in network["graphs"].values()]
    return [p.detach().numpy() for module in modules for p in module.parameters()]


@pytest.fixture(scope="module")
def tiny():
    return build(seed=5, sizes=TINY)


def test_the_encoder_has_the_published_number_of_weights():
    # 4 gates x 1024 cells x (192 + 1024) + 4 layers of 4 x 1024 x (1024 + 1024) = 38.5 M
    s = FULL_SIZE
    first, other = 4 * s.hidden * (s.inputs + s.hidden), 4 * s.hidden * 2 * s.hidden
    encoder = first + (s.encoder_layers - 1) * other
    prediction = 4 * s.hidden * (s.embedding + s.hidden) + other
    joint = s.joint * (2 * s.hidden + s.pieces + 1)
    assert encoder == 38_535_168
    card = json.loads((Path(house_rnnt.__file__).parent / "zoo" / "house_rnnt" / "card.json").read_text())
    assert list(card["macs"].values()) == [encoder, prediction, joint]
    biases = 8 * s.hidden * (s.encoder_layers + s.prediction_layers) + s.joint + s.pieces + 1
    assert card["weights"] == encoder + prediction + joint + biases + (s.pieces + 1) * s.embedding


def test_matrices_have_the_zeros_asked_for_and_uneven_rows_and_columns():
    matrix = trained_like(1024, 512, 0.5, np.random.default_rng(2)).numpy()
    assert np.mean(matrix == 0) == 0.5
    assert matrix.std() == pytest.approx(512**-0.5, rel=1e-4)
    kept = matrix != 0
    # Equal rows would spread by sqrt(.25 / 512) = .022; our trained rows by .07 to .16, columns by .06 to .10.
    assert 0.07 < kept.mean(axis=1).std() < 0.16
    assert 0.06 < kept.mean(axis=0).std() < 0.10
    assert np.abs(matrix[kept]).min() > 0.1 * matrix.std()  # small magnitudes went, not random ones


def test_the_seed_decides_every_weight(tiny):
    again, other = build(seed=5, sizes=TINY), build(seed=6, sizes=TINY)
    for a, b in zip(weights(tiny), weights(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(weights(tiny), weights(other), strict=True))


def test_it_says_that_its_weights_are_synthetic_and_names_every_piece(tiny):
    assert tiny["synthetic_weights"] is True
    assert len(tiny["vocabulary"]) == TINY.pieces + 1
    assert tiny["vocabulary"][tiny["blank"]] == "<blank>"


def test_steps_run_and_feed_their_state_back(tiny):
    encoder, (frame, state) = tiny["graphs"]["encoder"]
    with torch.no_grad():
        first, state = encoder(frame + 1, state)
        second, state = encoder(frame + 1, state)
    assert len(state) == 2 * TINY.encoder_layers
    assert first.shape == (1, TINY.hidden)
    assert (first != second).any()
