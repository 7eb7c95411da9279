"""The zoo's folders: what a card says is what the files hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from azsim.execute.features import FeatureConfig, features, load_audio
from models import amnet, rnnt
from models.training.card import page
from models.training.evaluate import transcribe
from models.training.export import largest_difference, step_graphs

MODELS = Path(__file__).parents[1] / "models"
RECORDED = json.loads((MODELS / "demo" / "demo.json").read_text())
DEMO = [utterance for utterance in RECORDED if utterance["file"].startswith("digits")]
NETWORKS = {"rnnt": rnnt.Rnnt, "amnet": amnet.AmNet}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def zoo(request):
    """Folder, network.json and the torch network with the stored weights."""
    folder = MODELS / "zoo" / request.param
    network = NETWORKS[request.param]()
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return folder, json.loads((folder / "network.json").read_text()), network.eval()


@pytest.mark.parametrize("utterance", DEMO, ids=lambda u: u["file"])
def test_demo_utterances_are_recognized_in_float(zoo, utterance):
    _, about, network = zoo
    config = FeatureConfig(**about["features"])
    samples, notes = load_audio(MODELS / "demo" / utterance["file"], config)
    words, _ = transcribe(network, [features(samples, config)], about["blank_penalty"])
    assert notes == []
    assert " ".join(words[0]) == utterance["transcript"]


def test_stored_graphs_hold_the_stored_weights(zoo):
    folder, about, network = zoo
    for role, (module, example) in step_graphs(network).items():
        program = torch.export.load(folder / about["graphs"][role])
        assert largest_difference(module, program.module(), example, np.random.default_rng(3)) < 1e-5


def test_half_of_each_matrix_is_zero_as_the_card_says(zoo):
    folder, _, network = zoo
    card = json.loads((folder / "card.json").read_text())
    for name, share in card["zero_share"].items():
        measured = float((network.get_parameter(name) == 0).float().mean())
        assert measured == pytest.approx(share, abs=1e-4)
        assert 0.49 < measured < 0.55  # an arm copied from pruned rows may start with more


def test_the_page_is_made_from_the_card_and_stays_within_targets(zoo):
    folder, _, _ = zoo
    card = json.loads((folder / "card.json").read_text())
    assert (folder / "card.md").read_text() == page(card)
    known = card["float"]["word_errors"]["known speakers, held-out takes"]
    assert known["word_error_rate"] <= {"rnnt": 0.02, "amnet": 0.03}[card["name"]]
    if card["integer"]:
        integer = card["integer"]["word_errors"]["known speakers, held-out takes"]
        assert abs(integer["word_error_rate"] - known["word_error_rate"]) <= 0.005


def test_the_trained_arbitrator_beats_a_random_one_of_its_share():
    card = json.loads((MODELS / "zoo" / "amnet" / "card.json").read_text())
    trained = card["float"]["word_errors"]["known speakers, held-out takes"]["word_error_rate"]
    random = [row["word_error_rate"] for name, row in card["float"]["controls"].items() if "random" in name]
    assert len(random) == 3
    assert all(trained < rate for rate in random)


def test_calibration_holds_features_and_stays_small(zoo):
    folder, about, _ = zoo
    assert (folder / "calibration.npz").stat().st_size < 500_000
    with np.load(folder / "calibration.npz") as stored:
        for strings in stored.values():
            assert strings.shape[1] == 192
            assert np.abs(strings).max() <= about["features"]["clip"]


def test_demo_utterances_are_16_khz_mono_and_short():
    assert (len(DEMO), len(RECORDED)) == (3, 9)
    for utterance in RECORDED:
        info = soundfile.info(MODELS / "demo" / utterance["file"])
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert 2.0 <= info.duration <= 4.5
