"""Magnitude pruning with fine-tuning: the smallest weights of each matrix go to zero and stay there.

The share of zeros rises along a cubic (Zhu and Gupta 2017) and is then held while training goes on.
Biases and the embedding are left alone. Zeros that a matrix starts with (a network that was pruned
before) are never brought back.
"""

import torch
from torch import nn


def matrices(network: nn.Module) -> dict[str, nn.Parameter]:
    """Weights that a frame is multiplied with."""
    return {n: p for n, p in network.named_parameters() if p.dim() == 2 and "embedding" not in n}


class Pruner:
    """Masks of a network's matrices along a schedule of steps."""

    def __init__(self, network: nn.Module, zero_share: float, first_step: int, last_step: int) -> None:
        self.matrices = matrices(network)
        self.zero_share, self.first_step, self.last_step = zero_share, first_step, last_step
        self.masks = {name: weight.detach() != 0 for name, weight in self.matrices.items()}

    def wanted_share(self, step: int) -> float:
        """Share of zeros at a step, 0 before the first and ``zero_share`` from the last."""
        progress = (step - self.first_step) / max(1, self.last_step - self.first_step)
        return self.zero_share * (1 - (1 - min(max(progress, 0.0), 1.0)) ** 3)

    @torch.no_grad()
    def apply(self, step: int) -> None:
        """Call after each optimizer step: extend the masks every 25 steps, then write the zeros."""
        rising = self.first_step <= step <= self.last_step
        for name, weight in self.matrices.items():
            if rising and (step % 25 == 0 or step == self.last_step):
                self._extend(name, weight, self.wanted_share(step))
            weight.mul_(self.masks[name])

    def _extend(self, name: str, weight: torch.Tensor, share: float) -> None:
        zeros = int(share * weight.numel())
        if zeros > int((~self.masks[name]).sum()):
            magnitude = (weight.abs() * self.masks[name]).flatten()
            mask = torch.ones_like(magnitude, dtype=torch.bool)
            mask[torch.topk(magnitude, zeros, largest=False).indices] = False
            self.masks[name] = mask.view_as(weight)
