"""A full-size RNN-T with SYNTHETIC weights: its words mean nothing, its cycles and bytes do.

The shape is that of Amazon's published streaming RNN-Ts (5 x 1024 LSTM encoder, 2 x 1024 prediction
network, joint of 512, 4,000 word pieces), the regime that matters on an edge processor: far more
weights than on-chip memory, streamed from DRAM for every frame. Nothing is stored but the seed.

*Weights.* A trained matrix differs from white noise in the spread of its rows and columns. A matrix
is drawn as ``row scale x column scale x Gaussian`` with log-normal scales, and the
smaller half of its magnitudes is set to zero, so that rows and columns differ in density as they do
in our trained, magnitude-pruned networks (there: 0.50 +- 0.07 to 0.16 by row, +- 0.06 to 0.10 by column).

*Emissions.* A random joint network has no sense of when to speak. The blank's bias is set so that,
on speech (the calibration features of the small trained RNN-T, whose front end is used too), about one
piece is said per six frames, which is what a real network emits; on other input the rate differs.

Shape: frames float32[T, 192] -> logits over 4,000 pieces and blank. Rate: 33.3 frames/s.
Size: 38.5 M weights in the encoder's matrices (a test checks it).

Source
------
Assumed (quoted from memory in the literature on Amazon's systems): every width but the embedding's,
which is ours. Fitted: the statistics of the weights, to the networks in ``models/zoo``.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from azsim.execute.features import FeatureConfig
from models.rnnt import State, zero_state

ROW_SPREAD, COLUMN_SPREAD = 0.30, 0.20  # standard deviation of the logarithm of a row's or a column's scale
GAIN = 2.5  # of the LSTMs' weights over 1 / sqrt(inputs): lively states, as a trained network has
BLANK_GAIN = 6.0  # of blank's row: the frame, more than the piece before, decides whether one is said
FRAMES_PER_EMISSION = 6.0
MAX_SYMBOLS = 2  # per frame; a frame that says one piece mostly says two, since the margin hardly moves
SPEECH_FRAMES = 150  # frames of speech that the blank's bias is set on
ZOO_RNNT = Path(__file__).parent / "zoo" / "rnnt"


@dataclass(frozen=True)
class HouseSizes:
    """Widths of the network; smaller ones make quick tests."""

    inputs: int = 192
    hidden: int = 1024
    encoder_layers: int = 5
    prediction_layers: int = 2
    embedding: int = 512
    joint: int = 512
    pieces: int = 4_000


FULL_SIZE = HouseSizes()


def trained_like(rows: int, cols: int, zero_share: float, rng: np.random.Generator) -> torch.Tensor:
    """A pruned matrix with heterogeneous rows and columns and variance 1 / cols; float32[rows, cols]."""
    weights = rng.standard_normal((rows, cols), dtype=np.float32)
    weights *= rng.lognormal(0, ROW_SPREAD, (rows, 1)).astype(np.float32)
    weights *= rng.lognormal(0, COLUMN_SPREAD, (1, cols)).astype(np.float32)
    zeros = int(zero_share * weights.size)
    if zeros:
        magnitude = np.abs(weights)
        weights[magnitude < np.partition(magnitude, zeros, axis=None)[zeros]] = 0
    weights /= np.float32(np.sqrt(cols) * weights.std())
    return torch.from_numpy(weights)


def lstm_cells(widths: list[int], zero_share: float, rng: np.random.Generator) -> nn.ModuleList:
    """LSTM layers from ``widths[0]`` inputs on, with trained-like weights."""
    cells = nn.ModuleList()
    for inputs, hidden in itertools.pairwise(widths):
        with torch.device("meta"):
            cell = nn.LSTMCell(inputs, hidden)
        cell.weight_ih = nn.Parameter(GAIN * trained_like(4 * hidden, inputs, zero_share, rng))
        cell.weight_hh = nn.Parameter(GAIN * trained_like(4 * hidden, hidden, zero_share, rng))
        cell.bias_ih = nn.Parameter(torch.zeros(4 * hidden))
        cell.bias_hh = nn.Parameter(torch.zeros(4 * hidden))
        cells.append(cell)
    return cells


class StackedStep(nn.Module):
    """One step through a stack of LSTM layers; state is (h1, c1, h2, c2, ...)."""

    def __init__(self, cells: nn.ModuleList) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, frame: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        after: list[torch.Tensor] = []
        for layer, cell in enumerate(self.cells):
            h, c = cell(frame, (state[2 * layer], state[2 * layer + 1]))
            after += [h, c]
            frame = h
        return frame, tuple(after)


class HousePrediction(nn.Module):
    """An embedded word piece through the prediction network."""

    def __init__(self, embedding: torch.Tensor, cells: nn.ModuleList) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(embedding)
        self.stack = StackedStep(cells)

    def forward(self, token: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        return self.stack(self.embedding(token), state)


class HouseJoint(nn.Module):
    """Scores of all pieces and blank; stateless."""

    def __init__(self, sizes: HouseSizes, zero_share: float, rng: np.random.Generator) -> None:
        super().__init__()
        with torch.device("meta"):
            self.from_encoder = nn.Linear(sizes.hidden, sizes.joint)
            self.from_prediction = nn.Linear(sizes.hidden, sizes.joint, bias=False)
            self.to_vocabulary = nn.Linear(sizes.joint, sizes.pieces + 1)
        for layer, gain in ((self.from_encoder, 4.0), (self.from_prediction, 2.0), (self.to_vocabulary, 4.0)):
            rows, cols = layer.weight.shape
            layer.weight = nn.Parameter(gain * trained_like(rows, cols, zero_share, rng))
            if layer.bias is not None:
                layer.bias = nn.Parameter(torch.zeros(rows))
        with torch.no_grad():
            self.to_vocabulary.weight[-1] *= BLANK_GAIN

    def forward(self, encoded: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        return self.to_vocabulary(torch.relu(self.from_encoder(encoded) + self.from_prediction(predicted)))


def speech(folder: Path = ZOO_RNNT) -> tuple[torch.Tensor, FeatureConfig]:
    """Features of real strings, float[T, 192], and their front end: those of the small trained RNN-T."""
    config = FeatureConfig(**json.loads((folder / "network.json").read_text())["features"])
    with np.load(folder / "calibration.npz") as stored:
        strings = [stored[key].astype(np.float32) for key in sorted(stored.files)]
    return torch.from_numpy(np.concatenate(strings)[:SPEECH_FRAMES]), config


@torch.no_grad()
def set_blank_bias(graphs: dict[str, Any], blank: int, frames: torch.Tensor) -> None:
    """Set the bias of blank at which one piece is said per ``FRAMES_PER_EMISSION``, two to a frame."""
    (encoder, example), (prediction, said), (joint, _) = (graphs[r] for r in ("encoder", "prediction", "joint"))
    state, outputs = example[-1], []
    for frame in frames[:, : example[0].shape[1]]:
        encoded, state = encoder(frame[None], state)
        outputs.append(encoded)
    said, margins = said[-1], []
    for token in (blank, 1, blank // 2, blank - 1):
        predicted, said = prediction(torch.tensor([token]), said)
        logits = joint(torch.cat(outputs), predicted)
        margins.append(logits[:, :-1].max(dim=1).values - logits[:, -1])
    joint.to_vocabulary.bias[-1] = torch.quantile(torch.cat(margins), 1 - 1 / (FRAMES_PER_EMISSION * MAX_SYMBOLS))


def build(seed: int = 1, sizes: HouseSizes = FULL_SIZE, zero_share: float = 0.5) -> dict[str, Any]:
    """The network's three steps with example inputs, and what is needed to run them; synthetic weights.

    The same seed gives the same weights.
    """
    rng = np.random.default_rng(seed)
    hidden = [sizes.hidden]
    encoder = StackedStep(lstm_cells([sizes.inputs, *hidden * sizes.encoder_layers], zero_share, rng))
    embedding = torch.from_numpy(rng.standard_normal((sizes.pieces + 1, sizes.embedding), dtype=np.float32))
    prediction = HousePrediction(
        embedding, lstm_cells([sizes.embedding, *hidden * sizes.prediction_layers], zero_share, rng)
    )
    joint = HouseJoint(sizes, zero_share, rng)
    vector = torch.zeros(1, sizes.hidden)
    encoder_state, said = (zero_state(*hidden * 2 * n) for n in (sizes.encoder_layers, sizes.prediction_layers))
    graphs = {
        "encoder": (encoder.eval(), (torch.zeros(1, sizes.inputs), encoder_state)),
        "prediction": (prediction.eval(), (torch.tensor([sizes.pieces]), said)),
        "joint": (joint.eval(), (vector, vector.clone())),
    }
    frames, features = speech()
    set_blank_bias(graphs, sizes.pieces, frames)
    return {
        "name": "house_rnnt",
        "graphs": graphs,
        "vocabulary": [f"<piece {n}>" for n in range(sizes.pieces)] + ["<blank>"],
        "blank": sizes.pieces,
        "blank_penalty": 0.0,
        "max_symbols_per_frame": MAX_SYMBOLS,
        "features": features,
        "synthetic_weights": True,
    }
