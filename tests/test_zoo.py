"""The networks that ship with azsim: they load, their weights survive every codec, integers hear the demo."""

import json
from pathlib import Path

import numpy as np
import pytest

from azsim import load_chip, simulate
from azsim.graph import load_network, zoo
from azsim.simulate import execute, load_speech
from azsim.weights import calibrate, encode, quantize

TRAINED = ("amnet", "rnnt")
DEMO = Path(__file__).parents[1] / "models" / "demo"
UTTERANCES = [u for u in json.loads((DEMO / "demo.json").read_text()) if u["file"].startswith("digits")]
HOUSEHOLD = ("household_amnet", "household_rnnt", "endpointer", "speaker_id", "whisper_detector")


@pytest.fixture(scope="module", params=TRAINED)
def quantized(request):
    network = load_network(request.param)
    return quantize(network, calibrate(network, network.calibration), network.weight_bits)


def test_the_zoo_holds_what_the_readme_says():
    assert set(zoo()) == {*TRAINED, *HOUSEHOLD, "house_rnnt"}


@pytest.mark.parametrize("codec", ["dense", "zero_mask", "run_length", "huffman"])
def test_every_codec_is_lossless_on_every_weight_matrix(quantized, codec):
    image = encode(quantized.tensors.values(), quantized.tables, load_chip("az1_like", [f"codec.name={codec}"]))
    for name, tensor in quantized.tensors.items():
        np.testing.assert_array_equal(image.decode(name), tensor.values)
        if codec == "dense" and tensor.size > 10_000:  # a CRC and burst padding a tile, nothing more
            assert 8 <= image.tensors[name].bits_per_weight < 8.2, name


def test_the_demo_is_transcribed_in_integers(quantized):
    chip = load_chip("az1_like")
    image = encode(quantized.tensors.values(), quantized.tables, chip)
    for utterance in UTTERANCES:
        speech = load_speech(DEMO / utterance["file"], quantized.network)
        execution = execute(quantized, image, speech.frames)
        assert execution.hypothesis.text(quantized.network.vocabulary) == utterance["transcript"]


def test_the_amnet_does_not_simply_fit_and_takes_both_arms():
    run = simulate("amnet", DEMO / UTTERANCES[0]["file"])
    held = {name in run.replay.timeline.pinned for name in run.replay.image.tensors}
    assert held == {True, False}
    assert len(set(run.execution.record.frame_arm)) == 2
    assert run.replay.timeline.accounts["dma"].busy_cycles > 0
