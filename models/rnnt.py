"""A streaming RNN-T that recognizes spoken digits: LSTM encoder, LSTM prediction network, joint.

The encoder turns each 30 ms frame into a vector, the prediction network turns the words said so
far into another, and the joint network adds both and scores the ten words and blank. Training
runs whole utterances (``encode``, ``predict``, ``join``); the chip runs *steps*, one frame or one
word at a time, with the recurrent state as explicit input and output. The step modules share the
trained tensors.

Shape: frames float32[T, 192] -> logits over the vocabulary, for each frame and emitted word.
Rate: 33.3 frames/s, no look-ahead.
Size: 471,915 weights and biases; 409,600 MACs per frame in the encoder (a test checks both).

Source
------
Graves 2012; the ReLU in the joint is ours (the literature has tanh): its exact zeros can be skipped.
"""

from dataclasses import dataclass

import torch
from torch import nn

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOCABULARY = (*WORDS, "<blank>")
BLANK = len(WORDS)

State = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Sizes:
    """Widths of the network's layers."""

    inputs: int = 192
    first: int = 128
    second: int = 192
    embedding: int = 32
    prediction: int = 64
    joint: int = 128
    simple: int = 48  # cells that AmNet's simple arm updates


FULL_SIZE = Sizes()


class Rnnt(nn.Module):
    """A streaming RNN-T for spoken words: LSTM encoder, LSTM prediction network, joint.

    ``symbols`` is the size of the vocabulary, blank (its last entry) included.
    """

    def __init__(self, sizes: Sizes = FULL_SIZE, symbols: int = len(VOCABULARY)) -> None:
        super().__init__()
        self.sizes, self.blank = sizes, symbols - 1
        self.first = nn.LSTMCell(sizes.inputs, sizes.first)
        self.second = nn.LSTMCell(sizes.first, sizes.second)
        self.embedding = nn.Embedding(symbols, sizes.embedding)
        self.prediction = nn.LSTMCell(sizes.embedding, sizes.prediction)
        self.from_encoder = nn.Linear(sizes.second, sizes.joint)
        self.from_prediction = nn.Linear(sizes.prediction, sizes.joint, bias=False)
        self.to_vocabulary = nn.Linear(sizes.joint, symbols)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """float[T, B, 192] -> float[T, B, H]."""
        return run_cell(self.second, run_cell(self.first, frames))

    def predict(self, targets: torch.Tensor) -> torch.Tensor:
        """int64[B, U] -> float[U + 1, B, P]; the start symbol is blank."""
        start = targets.new_full((len(targets), 1), self.blank)
        return run_cell(self.prediction, self.embedding(torch.cat([start, targets], dim=1)).transpose(0, 1))

    def join(self, encoded: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        """float[T, B, H] and float[U + 1, B, P] -> logits float[B, T, U + 1, V]."""
        left = self.from_encoder(encoded).transpose(0, 1).unsqueeze(2)
        right = self.from_prediction(predicted).transpose(0, 1).unsqueeze(1)
        return self.to_vocabulary(torch.relu(left + right))

    def forward(self, frames: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.join(self.encode(frames), self.predict(targets))


def run_cell(cell: nn.LSTMCell, inputs: torch.Tensor) -> torch.Tensor:
    """Run an LSTM cell over a sequence with torch's fused kernel; float[T, B, I] -> float[T, B, H]."""
    zeros = inputs.new_zeros(1, inputs.shape[1], cell.hidden_size)
    weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    return torch.lstm(inputs, [zeros, zeros], weights, True, 1, 0.0, False, False, False)[0]


class EncoderStep(nn.Module):
    """One frame through the encoder; state is (h1, c1, h2, c2)."""

    def __init__(self, network: Rnnt) -> None:
        super().__init__()
        self.first, self.second = network.first, network.second

    def forward(self, frame: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        h1, c1, h2, c2 = state
        h1, c1 = self.first(frame, (h1, c1))
        h2, c2 = self.second(h1, (h2, c2))
        return h2, (h1, c1, h2, c2)


class PredictionStep(nn.Module):
    """One word (or blank at the start) through the prediction network; state is (h, c)."""

    def __init__(self, network: Rnnt) -> None:
        super().__init__()
        self.embedding, self.prediction = network.embedding, network.prediction

    def forward(self, token: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        h, c = self.prediction(self.embedding(token), state)
        return h, (h, c)


class JointStep(nn.Module):
    """Scores of the words and blank for one frame and one prediction; stateless."""

    def __init__(self, network: Rnnt) -> None:
        super().__init__()
        self.from_encoder, self.from_prediction = network.from_encoder, network.from_prediction
        self.to_vocabulary = network.to_vocabulary

    def forward(self, encoded: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        return self.to_vocabulary(torch.relu(self.from_encoder(encoded) + self.from_prediction(predicted)))


Steps = dict[str, tuple[nn.Module, tuple]]


def zero_state(*widths: int) -> State:
    """A fresh zero vector for each width: every LSTM needs its own h and c."""
    return tuple(torch.zeros(1, width) for width in widths)


def steps(network: Rnnt) -> Steps:
    """Step modules of a network with their example inputs, which hold the initial state."""
    s = network.sizes
    return {
        "encoder": (
            EncoderStep(network).eval(),
            (torch.zeros(1, s.inputs), zero_state(s.first, s.first, s.second, s.second)),
        ),
        "prediction": (
            PredictionStep(network).eval(),
            (torch.tensor([network.blank]), zero_state(s.prediction, s.prediction)),
        ),
        "joint": (JointStep(network).eval(), (torch.zeros(1, s.second), torch.zeros(1, s.prediction))),
    }
