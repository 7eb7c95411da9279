"""The household language, its networks and their cards."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models import household
from models.amnet import AmNet
from models.rnnt import WORDS as DIGITS
from models.rnnt import Rnnt
from models.training.export import largest_difference, macs_per_frame, step_graphs
from models.training.household import word_indices
from models.training.household_card import page

MODELS = Path(__file__).parents[1] / "models"
NETWORKS = {"household_rnnt": Rnnt, "household_amnet": AmNet}
EVERY = {s for template in household.TEMPLATES if "{digit}" not in template for s in household.sentences(template)}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def zoo(request):
    """Folder, network.json, card and the torch network with the stored weights."""
    folder = MODELS / "zoo" / request.param
    network = NETWORKS[request.param](symbols=len(household.VOCABULARY))
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    about, card = (json.loads((folder / name).read_text()) for name in ("network.json", "card.json"))
    return folder, about, card, network.eval()


def test_the_language_is_as_large_as_its_docstring_says():
    assert len(household.WORDS) == len(set(household.WORDS)) == 144
    assert len(EVERY) == 941
    assert household.WORDS[:10] == DIGITS
    assert len(set(household.sentences("call {digit} {digit} {digit} {digit}"))) == 10_000


def test_every_word_of_every_sentence_is_in_the_vocabulary():
    for sentence in EVERY:
        assert [household.WORDS[i] for i in household.word_indices(sentence)] == sentence.split()


def test_one_sentence_in_ten_is_held_out_and_its_words_are_heard_elsewhere():
    held_out = {s for s in EVERY if household.is_held_out(s)}
    assert len(held_out) / len(EVERY) == pytest.approx(0.1, abs=0.03)
    heard = {word for s in EVERY - held_out for word in s.split()} | set(DIGITS)
    assert heard == set(household.WORDS)


@pytest.mark.parametrize("held_out", [True, False])
def test_sentences_are_drawn_from_one_half_of_the_split(held_out):
    rng = np.random.default_rng(1)
    drawn = {household.draw(rng, held_out) for _ in range(300)}
    assert {household.is_held_out(s) for s in drawn} == {held_out}
    assert len(drawn) > 50


def test_the_cloud_has_read_nearly_all_of_the_grammar():
    lines = gzip.decompress((MODELS / "household.txt.gz").read_bytes()).decode().splitlines()
    assert len(lines) == 25_000
    assert len(EVERY - set(lines)) < 0.02 * len(EVERY)
    assert np.mean([household.is_held_out(line) for line in lines]) == pytest.approx(0.1, abs=0.04)


def test_marks_for_pauses_are_no_words():
    text = 'call <break time="300ms"/> anna'
    assert word_indices(text) == household.word_indices("call anna")


def test_stored_graphs_hold_the_stored_weights(zoo):
    folder, about, _, network = zoo
    for role, (module, example) in step_graphs(network).items():
        program = torch.export.load(folder / about["graphs"][role])
        assert largest_difference(module, program.module(), example, np.random.default_rng(3)) < 1e-5


def test_the_card_says_what_the_network_is(zoo):
    folder, about, card, network = zoo
    assert about["vocabulary"] == list(household.VOCABULARY)
    assert about["blank"] == household.BLANK == network.blank
    assert card["weights"] == sum(p.numel() for p in network.parameters())
    joint = macs_per_frame(network, 0.0)["joint, per call"]
    assert card["macs"]["joint, per call"] == joint
    for name, share in card["zero_share"].items():
        assert float((network.get_parameter(name) == 0).float().mean()) == pytest.approx(share, abs=1e-4)
        assert 0.49 < share < 0.56
    assert (folder / "card.md").read_text() == page(card)


def test_one_front_end_feeds_all_networks_of_the_household():
    names = (*NETWORKS, "endpointer", "whisper_detector", "speaker_id")
    fronts = [json.loads((MODELS / "zoo" / name / "network.json").read_text())["features"] for name in names]
    assert all(front == fronts[0] for front in fronts)


def test_a_lattice_is_more_than_a_list_and_the_language_model_helps(zoo):
    """What the card claims, in the order that it must have."""
    _, _, card, _ = zoo
    for name, row in card["integer"]["search"].items():
        assert row["beam_8_oracle_wer"] < row["beam_8_wer"], name
        assert row["beam_8_oracle_wer"] < 0.6 * row["greedy_wer"], name
    household_rows = {name: row for name, row in card["integer"]["search"].items() if "phrases" in name}
    assert len(household_rows) == 3
    for name, row in household_rows.items():
        assert row["beam_8_reranked_wer"] < row["beam_8_wer"], name
        assert row["beam_8_reranked_wer"] < row["greedy_wer"], name
