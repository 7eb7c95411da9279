"""Three small networks that listen beside the recognizer: who speaks, whether in a whisper, whether to the end.

A household device decides more than words: a whispered command is answered in a whisper, a timer
belongs to whoever set it, and nothing can be answered before the person has finished. Each of these
is one LSTM and one linear layer over the very frames that the recognizer reads, so that the front
end runs once and a chip shares itself between the networks.

- ``whisper_detector``: a logit per frame, "this is whispered"; the mean over an utterance decides.
- ``speaker_id``: an embedding per frame; the mean over an utterance is compared by its cosine.
- ``endpointer``: two logits per frame, "has probably finished" (``speculative``, for starting to
  work on an answer) and "has finished" (``final``, for giving it); the first frame above decides.

Training runs whole utterances; the chip runs steps, one frame at a time, with the LSTM's state as
explicit input and output. The step shares the trained tensors.

Shape: frames float32[T, 192] -> float32[T, outputs].
Rate: 33.3 frames/s, no look-ahead.
Size: 28,704, 67,584 and 46,176 MACs per frame (a test works them out from the layers).

Source
------
Published  two end-pointing decisions, an early one to prefetch on and a later one to act on:
           Amazon's "speculative" and "final" end-pointers; an LSTM over log-mel frames for whispers
           (Raeesy et al., "LSTM-based whisper detection", SLT 2018).
Assumed    every width, and that each network has its own LSTM instead of sharing the recognizer's.

Left out
--------
A separate voice activity detector; end-pointing that also reads the recognizer's words.
"""

from dataclasses import dataclass

import torch
from torch import nn

from models.rnnt import State, Steps, run_cell, zero_state


@dataclass(frozen=True)
class Kind:
    """What tells one of these networks from another.

    Attributes
    ----------
    hidden, outputs : int
        Width of the LSTM and of the output vector.
    names : tuple of str
        What each output means; empty for an embedding, whose entries mean nothing alone.
    summary : str
    """

    hidden: int
    outputs: int
    names: tuple[str, ...]
    summary: str
    inputs: int = 192

    @property
    def macs_per_frame(self) -> int:
        """Four gates over the frame and the last hidden state, then the output layer."""
        return 4 * self.hidden * (self.inputs + self.hidden) + self.hidden * self.outputs


KINDS = {
    "whisper_detector": Kind(32, 1, ("whispered",), "Tells a whispered utterance from a voiced one: one LSTM."),
    "speaker_id": Kind(64, 32, (), "An embedding of a voice, to tell who speaks: one LSTM."),
    "endpointer": Kind(48, 2, ("speculative", "final"), "Tells that a person has finished: one LSTM, two decisions."),
}


class Listener(nn.Module):
    """One LSTM and one linear layer; frames float[T, B, 192] -> float[T, B, outputs]."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.cell = nn.LSTMCell(kind.inputs, kind.hidden)
        self.head = nn.Linear(kind.hidden, kind.outputs)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.head(run_cell(self.cell, frames))


class ListenerStep(nn.Module):
    """One frame through a listener; state is (h, c)."""

    def __init__(self, network: Listener) -> None:
        super().__init__()
        self.cell, self.head = network.cell, network.head

    def forward(self, frame: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        h, c = self.cell(frame, state)
        return self.head(h), (h, c)


def steps(network: Listener) -> Steps:
    """The step module, under the role ``step``, with example inputs that hold the initial state."""
    kind = network.kind
    example = (torch.zeros(1, kind.inputs), zero_state(kind.hidden, kind.hidden))
    return {"step": (ListenerStep(network).eval(), example)}
