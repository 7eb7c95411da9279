"""A small trained-size network on disk and a recording, so that no test needs outside data."""

import numpy as np
import pytest
import soundfile
import torch
from networks import BranchingEncoder, Joint, Prediction, zeros


def tiny_transducer():
    """A factory in the form that users write: 192 features in, random weights."""
    torch.manual_seed(3)
    state = (zeros(12), zeros(12), zeros(20), zeros(20))
    graphs = {
        "encoder": (BranchingEncoder(inputs=192), (zeros(192), state)),
        "prediction": (Prediction(), (torch.tensor([0]), (zeros(9), zeros(9)))),
        "joint": (Joint(), (zeros(20), zeros(9))),
    }
    for module, _ in graphs.values():
        for weight in module.parameters():
            if weight.dim() == 2:  # half of the weights are zero
                weight.data[torch.rand_like(weight) < 0.5] = 0
    return {
        "name": "tiny",
        "graphs": graphs,
        "vocabulary": ["a", "b", "c", "d", "e", "f", "<blank>"],
        "blank": 6,
        "max_symbols_per_frame": 2,
    }


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """A second of a noisy vowel-like tone, 16 kHz mono."""
    rng = np.random.default_rng(0)
    t = np.arange(16_000) / 16_000
    sound = 0.3 * np.sin(2 * np.pi * 150 * t) * np.sin(2 * np.pi * 3 * t) + 0.01 * rng.normal(size=len(t))
    path = tmp_path_factory.mktemp("audio") / "tone.wav"
    soundfile.write(path, sound, 16_000)
    return path
