"""Small torch networks for tests: streaming steps with branches and recurrent state."""

import numpy as np
import torch
from torch import nn

from azsim.graph import Network, network_from_modules


def zeros(n):
    return torch.zeros(1, n)


class BranchingEncoder(nn.Module):
    """A shared LSTM cell, an arbitrator, and two arms on one recurrent state."""

    def __init__(self, inputs=24, first=12, cells=20, simple=5):
        super().__init__()
        self.n_simple = simple
        self.first = nn.LSTMCell(inputs, first)
        self.arbitrator = nn.Linear(first, 1)
        self.complex = nn.LSTMCell(first, cells)
        self.simple = nn.LSTMCell(first, simple)

    def forward(self, frame, state):
        h1, c1, h2, c2 = state
        h1, c1 = self.first(frame, (h1, c1))

        def complex_arm(x, h, c):
            new_h, new_c = self.complex(x, (h, c))
            return new_h.clone(), new_c.clone()

        def simple_arm(x, h, c):
            n = self.n_simple
            new_h, new_c = self.simple(x, (h[:, :n], c[:, :n]))
            return torch.cat([new_h, h[:, n:]], 1), torch.cat([new_c, c[:, n:]], 1)

        is_complex = (self.arbitrator(h1) > 0).squeeze()
        h2, c2 = torch.cond(is_complex, complex_arm, simple_arm, (h1, h2, c2))
        return h2.clone(), (h1, c1, h2, c2)


class Prediction(nn.Module):
    def __init__(self, symbols=7, width=6, cells=9):
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.cell = nn.LSTMCell(width, cells)

    def forward(self, token, state):
        h, c = self.cell(self.embedding(token), state)
        return h.clone(), (h, c)


class Joint(nn.Module):
    def __init__(self, encoded=20, predicted=9, width=11, symbols=7):
        super().__init__()
        self.from_encoder = nn.Linear(encoded, width)
        self.from_prediction = nn.Linear(predicted, width, bias=False)
        self.to_symbols = nn.Linear(width, symbols)

    def forward(self, encoded, predicted):
        return self.to_symbols(torch.relu(self.from_encoder(encoded) + self.from_prediction(predicted)))


class HandWrittenCell(nn.Module):
    """An LSTM written out by hand, with a projection: it arrives as linear, chunk, sigmoid, tanh, mul, add."""

    def __init__(self, inputs=10, cells=8, projected=6):
        super().__init__()
        self.gates = nn.Linear(inputs + projected, 4 * cells)
        self.project = nn.Linear(cells, projected)

    def forward(self, frame, state):
        h, c = state
        i, f, g, o = self.gates(torch.cat([frame, h], 1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = self.project(torch.sigmoid(o) * torch.tanh(c))
        return h * 0.5 - 0.25, (h, c)


def transducer(seed=0) -> Network:
    """A branching RNN-T with random weights, wide enough in its choices to take both arms."""
    torch.manual_seed(seed)
    encoder = BranchingEncoder()
    return network_from_modules(
        "toy",
        {
            "encoder": (encoder, (zeros(24), (zeros(12), zeros(12), zeros(20), zeros(20)))),
            "prediction": (Prediction(), (torch.tensor([0]), (zeros(9), zeros(9)))),
            "joint": (Joint(), (zeros(20), zeros(9))),
        },
        vocabulary=("a", "b", "c", "d", "e", "f", "<blank>"),
        blank=6,
        max_symbols_per_frame=2,
    )


def noise(frames=12, width=24, seed=1):
    return np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)


class Stack(nn.Module):
    """Two LSTM cells with linear layers between and behind: some ops are recurrent, some are not."""

    def __init__(self, inputs=9, cells=14):
        super().__init__()
        self.first = nn.LSTMCell(inputs, cells)
        self.between = nn.Linear(cells, cells)
        self.second = nn.LSTMCell(cells, cells)
        self.last = nn.Linear(cells, 5)

    def forward(self, frame, state):
        h1, c1, h2, c2 = state
        h1, c1 = self.first(frame, (h1, c1))
        h2, c2 = self.second(torch.relu(self.between(h1)), (h2, c2))
        return self.last(h2), (h1, c1, h2, c2)


def stack(seed=0) -> Network:
    """A streaming network without branches or search."""
    torch.manual_seed(seed)
    example = (zeros(9), tuple(zeros(14) for _ in range(4)))
    return network_from_modules("stack", {"step": (Stack(), example)})
