"""Greedy RNN-T search: the program that an utterance runs, whatever the arithmetic.

The encoder steps once per frame; the joint network asks for the next symbol until it says blank
(or ``max_symbols_per_frame`` were emitted), and each symbol steps the prediction network. The
search only sees logits: float calibration and integer execution drive the same function.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from azsim.graph.network import Network

Step = Callable[[str, tuple[np.ndarray, ...], int], np.ndarray]


class Stepper(Protocol):
    """A step for a search that follows several hypotheses at once (``azsim.graph.beam``).

    Each hypothesis has its own words behind it and so its own recurrent state of the prediction network. The
    search keeps that state after a step and restores it before the next step or joint of the same hypothesis.
    """

    def __call__(self, role: str, inputs: tuple[np.ndarray, ...], frame: int) -> np.ndarray:
        """Run one graph, advance its recurrent state, and return its output, as a ``Step`` does."""

    def keep(self, role: str) -> Any:
        """The graph's recurrent state, and where its latest output came from, to restore later."""

    def restore(self, role: str, kept: Any) -> None:
        """Continue the graph from what ``keep`` returned, any number of times."""

    def decide(self) -> None:
        """The search has read all joint outputs since the last call: what runs from here on waited for them."""


@dataclass(frozen=True)
class Hypothesis:
    """What was recognized: symbols (indices of the vocabulary) and the frame that emitted each."""

    tokens: tuple[int, ...]
    frames: tuple[int, ...]

    def text(self, vocabulary: tuple[str, ...]) -> str:
        """Words separated by spaces; sentence pieces that start with the mark are joined."""
        pieces = [vocabulary[t] if t < len(vocabulary) else f"<{t}>" for t in self.tokens]
        if any(piece.startswith("\u2581") for piece in vocabulary):
            return "".join(pieces).replace("\u2581", " ").strip()
        return " ".join(pieces)


def greedy_search(network: Network, frames: Iterable[np.ndarray], step: Step, blank_penalty: float) -> Hypothesis:
    """Run a transducer over an utterance.

    Parameters
    ----------
    network : Network
        With encoder, prediction and joint graphs.
    frames : iterable of array[I]
        Encoder inputs, in whatever format ``step`` takes.
    step : callable (role, inputs, frame) -> array
        Runs one graph, keeps its recurrent state, and returns its output.
    blank_penalty : float
        Subtracted from the blank's logit, in the unit of the logits that ``step`` returns.
    """
    tokens: list[int] = []
    emitted: list[int] = []
    predicted = step("prediction", (np.array([network.blank]),), 0)
    for t, frame in enumerate(frames):
        encoded = step("encoder", (frame,), t)
        for _ in range(network.max_symbols_per_frame):
            logits = step("joint", (encoded, predicted), t).astype(np.float64)
            logits[network.blank] -= blank_penalty
            token = int(np.argmax(logits))
            if token == network.blank:
                break
            tokens.append(token)
            emitted.append(t)
            predicted = step("prediction", (np.array([token]),), t)
    return Hypothesis(tuple(tokens), tuple(emitted))
