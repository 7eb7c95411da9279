"""A branching encoder: for each frame an arbitrator chooses a complex or a simple arm.

The first LSTM layer is shared. Its output and the second layer's state go to the arbitrator, one
linear map to one number. Positive: the complex arm updates all 192 cells of the second layer.
Otherwise the simple arm updates the first 48 with a small LSTM of its own and *holds* the others.
Both arms read and write the same (h, c), so the state stays coherent whatever is chosen::

    complex:  h, c           = LSTM(128 -> 192)(h1, (h, c))              245,760 MACs
    simple:   h[:48], c[:48] = LSTM(128 -> 48)(h1, (h[:48], c[:48]))      33,792 MACs (13.75 %)

Training mixes the arms with a gate: hard in the forward pass, the arbitrator's sigmoid in the
backward pass (straight-through), with logistic noise that is annealed to nothing. Where the gate
is 0 or 1 the mixture is exactly what the exported ``torch.cond`` computes.

Shape: as ``models.rnnt``; only the encoder differs.
Size: 506,412 weights and biases (checked by a test).

Source
------
Published  frame-by-frame arbitrator of negligible cost, RNN-T loss + lambda x mean branch cost:
           Macoskey et al., "Amortized neural networks for low-latency speech recognition", 2021.
Borrowed   updating only the first cells and holding the others: Jernite et al., "Variable
           computation in recurrent neural networks", 2017.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from models.rnnt import (
    FULL_SIZE,
    VOCABULARY,
    JointStep,
    PredictionStep,
    Rnnt,
    Sizes,
    State,
    Steps,
    run_cell,
    zero_state,
)


@dataclass(frozen=True)
class Encoded:
    """What the branching encoder computed.

    Attributes
    ----------
    output : float[T, B, H]
    gates : float[T, B]
        1 where the complex arm was used; carries the straight-through gradient.
    logits : float[T, B]
        What the arbitrator said, noise included; zeros where the choice was given.
    """

    output: torch.Tensor
    gates: torch.Tensor
    logits: torch.Tensor


class AmNet(Rnnt):
    """A streaming RNN-T for spoken words whose second encoder layer has a complex and a simple arm."""

    def __init__(self, sizes: Sizes = FULL_SIZE, symbols: int = len(VOCABULARY)) -> None:
        super().__init__(sizes, symbols)
        self.simple = nn.LSTMCell(sizes.first, sizes.simple)
        self.arbitrator = nn.Linear(sizes.first + sizes.second, 1)

    @property
    def simple_cost(self) -> float:
        """MACs of the simple arm over those of the complex arm."""
        s = self.sizes
        return s.simple * (s.first + s.simple) / (s.second * (s.first + s.second))

    @torch.no_grad()
    def start_simple_from_complex(self) -> None:
        """Give the simple arm the complex arm's weights of the cells that it updates."""
        n, all_cells = self.sizes.simple, self.sizes.second
        rows = torch.cat([torch.arange(n) + gate * all_cells for gate in range(4)])
        self.simple.weight_ih.copy_(self.second.weight_ih[rows])
        self.simple.weight_hh.copy_(self.second.weight_hh[rows][:, :n])
        self.simple.bias_ih.copy_(self.second.bias_ih[rows])
        self.simple.bias_hh.copy_(self.second.bias_hh[rows])

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return self.encode_branching(frames).output

    def encode_branching(
        self, frames: torch.Tensor, noise: torch.Tensor | None = None, choice: torch.Tensor | None = None
    ) -> Encoded:
        """Encode with the arbitrator's choice, disturbed by ``noise`` (float[T, B], added to its
        logit), or with a given ``choice`` (float[T, B], 1 = complex arm)."""
        first = run_cell(self.first, frames)
        n, before = self.sizes.simple, _States()
        from_first, from_second = self.arbitrator.weight.split([self.sizes.first, self.sizes.second], dim=1)
        complex_in = nn.functional.linear(first, self.second.weight_ih, self.second.bias_ih + self.second.bias_hh)
        simple_in = nn.functional.linear(first, self.simple.weight_ih, self.simple.bias_ih + self.simple.bias_hh)
        logits_in = nn.functional.linear(first, from_first, self.arbitrator.bias)
        if noise is not None:
            logits_in = logits_in + noise.unsqueeze(2)
        recurrent = [
            (complex_in, self.second.weight_hh),
            (simple_in, self.simple.weight_hh),
            (logits_in, from_second),
        ]
        inputs = [_LateWeightGradient.apply(x, weight, before).unbind(0) for x, weight in recurrent]
        complex_hh, simple_hh, to_gate = (weight.detach().T for _, weight in recurrent)
        h = c = first.new_zeros(first.shape[1], self.sizes.second)
        outputs, gates, logits = [], [], []
        for t, (x_complex, x_simple, x_gate) in enumerate(zip(*inputs, strict=True)):
            before.append(h.detach())
            if choice is None:
                logit = torch.addmm(x_gate, h, to_gate)
                p = torch.sigmoid(logit)
                gate = (p > 0.5).to(p.dtype) + p - p.detach()
            else:
                gate = choice[t].unsqueeze(1)
                logit = torch.zeros_like(gate)
            h_complex, c_complex = _cell(torch.addmm(x_complex, h, complex_hh), c)
            h_simple, c_simple = _cell(torch.addmm(x_simple, h[:, :n], simple_hh), c[:, :n])
            h = torch.lerp(torch.cat([h_simple, h[:, n:]], dim=1), h_complex, gate)
            c = torch.lerp(torch.cat([c_simple, c[:, n:]], dim=1), c_complex, gate)
            outputs.append(h)
            gates.append(gate.squeeze(1))
            logits.append(logit.squeeze(1))
        return Encoded(torch.stack(outputs), torch.stack(gates), torch.stack(logits))


class _States(list[torch.Tensor]):
    """States before each frame, filled while a sequence runs."""


class _LateWeightGradient(torch.autograd.Function):
    """Hand a sequence of inputs on, and give a recurrent weight its gradient in one product at the end.

    ``x[t] + h[t-1] @ weight.T`` is computed with the weight detached; the gradient of the sum is that
    of x[t], so the weight's is the sum over t of outer products with h[t-1]. Adding it up frame by
    frame would cost more than the rest of the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, before: _States) -> torch.Tensor:
        ctx.before, ctx.columns = before, weight.shape[1]
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        states = torch.stack(list(ctx.before))[:, :, : ctx.columns]
        return gradient, gradient.flatten(0, 1).T @ states.flatten(0, 1), None


def _cell(gates: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An LSTM's element-wise part, in torch's order of gates: input, forget, cell, output."""
    n = c.shape[1]
    squashed = torch.sigmoid(gates)
    c = squashed[:, n : 2 * n] * c + squashed[:, :n] * torch.tanh(gates[:, 2 * n : 3 * n])
    return squashed[:, 3 * n :] * torch.tanh(c), c


class BranchingEncoderStep(nn.Module):
    """One frame through the branching encoder; state is (h1, c1, h, c)."""

    def __init__(self, network: AmNet) -> None:
        super().__init__()
        self.first, self.complex, self.simple = network.first, network.second, network.simple
        self.arbitrator = network.arbitrator
        self.n_simple = network.sizes.simple

    def forward(self, frame: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        h1, c1, h, c = state
        h1, c1 = self.first(frame, (h1, c1))
        n = self.n_simple

        def complex_arm(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> State:
            return self.complex(x, (h, c))

        def simple_arm(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> State:
            h_new, c_new = self.simple(x, (h[:, :n], c[:, :n]))
            return torch.cat([h_new, h[:, n:]], dim=1), torch.cat([c_new, c[:, n:]], dim=1)

        logit = self.arbitrator(torch.cat([h1, h], dim=1))
        h, c = torch.cond(logit.reshape(()) > 0, complex_arm, simple_arm, (h1, h, c))
        return h, (h1, c1, h, c)


def steps(network: AmNet) -> Steps:
    """Step modules of a network with their example inputs, which hold the initial state."""
    s = network.sizes
    return {
        "encoder": (
            BranchingEncoderStep(network).eval(),
            (torch.zeros(1, s.inputs), zero_state(s.first, s.first, s.second, s.second)),
        ),
        "prediction": (
            PredictionStep(network).eval(),
            (torch.tensor([network.blank]), zero_state(s.prediction, s.prediction)),
        ),
        "joint": (JointStep(network).eval(), (torch.zeros(1, s.second), torch.zeros(1, s.prediction))),
    }
