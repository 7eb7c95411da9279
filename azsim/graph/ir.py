"""The graph that azsim runs: a small closed set of ops on flat vectors, one frame at a time.

A streaming step has batch 1, so every value is a vector of known length; views, squeezes and
transposes of it disappear on import and a slice is a contiguous range. Recurrent state is an
explicit input and output. A branch is one node that owns two sub-graphs, of which one runs.

    op          inputs              outputs     parameters              meaning
    matrix      x                   y           weight, bias            y = W x + b
    lstm        x, h, c             h', c'      weight_hh, weight_ih, bias   gates i f g o, rows 4k..4k+3 are cell k
    embedding   token               y           weight                  y = row `token` of W
    add sub mul a, b                y           (a constant operand)    element by element; length 1 broadcasts
    relu sigmoid tanh   x           y                                   element by element
    concat      a, b, ...           y                                   in order
    slice       x                   y                                   x[start:stop], costs nothing
    compare     x                   p                                   x <relation> threshold, one truth value
    branch      p, operands         results                             arms[0] if p else arms[1]

An LSTM is one node with two matrix parts that share accumulators and one output pass; the
rows of its matrices are interleaved per cell, so that a split of the rows keeps a cell whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

OPS = (
    "matrix", "lstm", "embedding", "add", "sub", "mul", "relu", "sigmoid", "tanh",
    "concat", "slice", "compare", "branch",
)  # fmt: skip
MATRIX_OPS = ("matrix", "lstm")


@dataclass(frozen=True)
class Node:
    """One op. ``parameters`` maps a role (weight, bias, constant...) to a name in the graph."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[str, str] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    module_path: str = ""
    arms: "tuple[Graph, ...]" = ()

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """(weight parameter, input value) of each matrix part, in the order they accumulate."""
        if self.op == "lstm":
            x, h, _ = self.inputs
            return ((self.parameters["weight_hh"], h), (self.parameters["weight_ih"], x))
        if self.op == "matrix":
            return ((self.parameters["weight"], self.inputs[0]),)
        return ()


@dataclass(frozen=True)
class Graph:
    """A traced step.

    Attributes
    ----------
    name : str
        Role in its network (encoder, prediction, joint, step) or, for an arm, its label.
    inputs : tuple of str
        Values that come from outside: the frame or token first, then nothing else.
    state : tuple of (str, str)
        (input value, output value) of each recurrent vector.
    outputs : tuple of str
    nodes : tuple of Node
        In program order.
    sizes : dict of str to int
        Length of every value.
    parameters : dict of str to array
        float32: weights [rows, cols], biases and constants [n].
    initial_state : dict of str to float32[n]
        First value of each state input, from the example inputs.
    """

    name: str
    inputs: tuple[str, ...]
    state: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    sizes: dict[str, int]
    parameters: dict[str, np.ndarray]
    initial_state: dict[str, np.ndarray] = field(default_factory=dict)

    def replace(self, **changes: Any) -> "Graph":
        """A copy with some fields changed."""
        return replace(self, **changes)

    def walk(self) -> Iterator[tuple[Node, str]]:
        """Every node with the label of the arm it stands in ("" outside), in program order."""
        for node in self.nodes:
            yield node, ""
            for arm in node.arms:
                for inner, label in arm.walk():
                    yield inner, f"{arm.name}/{label}" if label else arm.name

    def dense_macs(self, node: Node) -> int:
        """Multiplications of one run of ``node`` when nothing is skipped."""
        return sum(int(self.parameters[weight].size) for weight, _ in node.parts)
