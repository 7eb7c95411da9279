"""The networks that ship with azsim: they load, their weights survive every codec, they hear the demo."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from azsim import load_chip, simulate
from azsim.graph import load_network, zoo, zoo_folder
from azsim.simulate import execute, load_speech
from azsim.weights import calibrate, encode, quantize

TRAINED = ("amnet", "rnnt")
DEMO = Path(__file__).parents[1] / "models" / "demo"
UTTERANCES = json.loads((DEMO / "demo.json").read_text())


@pytest.fixture(scope="module", params=TRAINED)
def quantized(request):
    network = load_network(request.param)
    return quantize(network, calibrate(network, network.calibration), network.weight_bits)


def test_the_zoo_holds_what_the_readme_says():
    assert set(zoo()) == {*TRAINED, "house_rnnt"}


@pytest.mark.parametrize("name", TRAINED)
def test_a_card_says_where_the_weights_are_from(name):
    card = json.loads((zoo_folder() / name / "card.json").read_text())
    page = (zoo_folder() / name / "card.md").read_text()
    assert "CC BY-SA 4.0" in page and (zoo_folder() / name / "LICENSE.md").exists()
    assert str(card["seed"]) in page and "word" in page.lower()


def test_step_graphs_and_weight_file_hold_the_same_numbers(quantized):
    stored = load_file(zoo_folder() / quantized.network.name / "weights.safetensors")
    shapes = {}
    for graph in quantized.network.graphs.values():
        for owner in (graph, *(arm for node in graph.nodes for arm in node.arms)):
            for name, array in owner.parameters.items():
                shapes[name] = np.sort(array, axis=None)  # rows of LSTMs are reordered on import
    matrices = {name: array for name, array in stored.items() if array.ndim == 2}
    assert set(matrices) <= set(shapes)
    for name, array in matrices.items():
        np.testing.assert_array_equal(np.sort(array, axis=None), shapes[name])


@pytest.mark.parametrize("codec", ["dense", "zero_mask", "run_length", "huffman"])
def test_every_codec_is_lossless_on_every_weight_matrix(quantized, codec):
    image = encode(quantized.tensors.values(), quantized.tables, load_chip("az1_like", [f"codec.name={codec}"]))
    for name, tensor in quantized.tensors.items():
        np.testing.assert_array_equal(image.decode(name), tensor.values)
        if codec == "dense" and tensor.size > 10_000:  # a CRC and burst padding a tile, nothing more
            assert 8 <= image.tensors[name].bits_per_weight < 8.2, name


def test_half_of_the_weights_are_zero(quantized):
    matrices = [t for t in quantized.tensors.values() if t.kind == "matrix" and t.size > 1000]
    for tensor in matrices:
        assert 0.40 <= tensor.density <= 0.55, tensor.name


def test_the_demo_is_transcribed_in_integers(quantized):
    chip = load_chip("az1_like")
    image = encode(quantized.tensors.values(), quantized.tables, chip)
    for utterance in UTTERANCES:
        speech = load_speech(DEMO / utterance["file"], quantized.network)
        execution = execute(quantized, image, speech.frames)
        assert execution.hypothesis.text(quantized.network.vocabulary) == utterance["transcript"]


def test_the_amnet_does_not_simply_fit_and_takes_both_arms():
    run = simulate("amnet", DEMO / UTTERANCES[0]["file"])
    held = {t.pinned for t in run.replay.image.tensors.values()}
    assert held == {True, False}
    assert len(set(run.execution.record.frame_arm)) == 2
    assert run.replay.timeline.accounts["dma"].busy_cycles > 0
