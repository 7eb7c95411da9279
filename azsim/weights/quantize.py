"""Turn a float network into integers, with every rounding written down.

Activations. Values that only change hands (slice, concat, branch, relu, recurrent state, one
graph's output that is another's input) share one *format*: they form a class. A class is int8
if any of its members feeds a matrix, int16 otherwise; its scale is the largest magnitude seen
in calibration over 127 (int16: over 16,383, one bit of headroom). An LSTM's hidden state has scale 1/128
unless it shares a class with something larger than 1; its cell state is int16 with scale 2**-11 (range +-16).

Weights. Symmetric integers of ``bits`` bits, one scale per output row. The parts of an LSTM add
into the same int32 accumulators, so their products must have one unit per row: ``unit[r] =
scale_w[part, r] * scale_x[part] / 2**left_shift[part]``, where ``left_shift`` is a power of two that
the product is shifted by before it is added; it keeps a part with small products from losing bits.
Eight-bit rows span their largest weight; at 6 bits and below a row may clip it, where the squared
error of its sums is smaller.

Accumulators. int32; a row whose sum could pass 2**31 - 1 is refused here, not at run time.

Requantize. ``out = saturate((acc * multiplier + 2**(shift-1)) >> shift)`` in int64, with a 31-bit
multiplier per row: rounds to nearest, halves toward plus infinity.

Source
------
Assumed    the product shifter, table sizes and fixed scales; Amazon publishes 8-bit or lower
           MACs only ("On-device speech processing makes Alexa faster, lower-bandwidth", 2022).
"""

from dataclasses import dataclass, field

import numpy as np

from azsim.errors import ModelError, WeightError
from azsim.graph.ir import Graph, Node
from azsim.graph.network import Network
from azsim.weights.calibrate import Ranges
from azsim.weights.tensor import QuantizedTensor

HIDDEN_SCALE = 1.0 / 128.0
CELL_SCALE = 2.0**-11
GATE_SCALE = 2.0**-12
TABLE_PRODUCT_SCALE = 2.0**-30
MAX_LEFT_SHIFT = 8
CLIP_BITS = 6  # at and below this width a row's largest weights are clipped where that loses less
CLIP_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class Format:
    """How a value is stored: ``real = scale * integer``."""

    dtype: type[np.int8] | type[np.int16]
    scale: float


@dataclass(frozen=True)
class Requantize:
    """Per-row factor from accumulator unit to output unit, as integers."""

    multiplier: np.ndarray  # int32[rows]
    shift: np.ndarray  # int32[rows]


@dataclass(frozen=True)
class MatrixIntegers:
    """Everything but the weights that a matrix or LSTM op needs at run time.

    Attributes
    ----------
    tensors : tuple of str
        Name of each part's QuantizedTensor.
    left_shift : tuple of int
        Of each part's products.
    bias : int32[rows]
        In accumulator units.
    requantize : Requantize
        To the output format; of an LSTM, to gate pre-activations int16 with scale 2**-12.
    hidden : Requantize
        Of an LSTM: one factor, from products of two table values (scale 2**-30) to its hidden state.
    """

    tensors: tuple[str, ...]
    left_shift: tuple[int, ...]
    bias: np.ndarray
    requantize: Requantize
    hidden: Requantize


@dataclass(frozen=True)
class QuantizedNetwork:
    """A network in integers: graphs as before, a format per value class, integers per op.

    ``formats`` and ``matrices`` are keyed by ``role/value`` and ``role/node`` (with the arm's label
    between, inside a branch). ``tables`` are the small int32 arrays (biases, multipliers, shifts)
    that the DRAM image must hold beside the weights.
    """

    network: Network
    formats: dict[str, Format]
    tensors: dict[str, QuantizedTensor]
    matrices: dict[str, MatrixIntegers] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, np.ndarray]:
        """int32 arrays by name."""
        out = {}
        for key, m in self.matrices.items():
            rows = (m.bias, m.requantize.multiplier, m.requantize.shift)
            out[key] = np.stack([np.asarray(row, np.int32) for row in rows])
        return out


def requantize_factor(factor: np.ndarray) -> Requantize:
    """Write positive factors as ``multiplier * 2**-shift`` with multiplier in [2**30, 2**31).

    Relative error below 2**-30. Factors of 2**30 or more are refused; those too small to matter
    become multiplier 0.
    """
    factor = np.asarray(factor, dtype=np.float64)
    if np.any(factor >= 2.0**30):
        raise WeightError(f"a requantize factor of {factor.max():.3g} cannot be held; check the activation scales")
    mantissa, exponent = np.frexp(factor)
    multiplier = np.rint(mantissa * 2.0**31)
    overflow = multiplier >= 2.0**31
    multiplier = np.where(overflow, 2.0**30, multiplier)
    shift = 31 - (exponent + overflow)
    vanishes = (shift > 62) | (factor <= 0)
    return Requantize(
        np.where(vanishes, 0, multiplier).astype(np.int64).astype(np.int32),
        np.where(vanishes, 1, shift).astype(np.int32),
    )


def quantize(network: Network, ranges: Ranges, bits: int = 8) -> QuantizedNetwork:
    """Choose integers for every weight and activation of ``network``.

    Parameters
    ----------
    network : Network
    ranges : dict
        From ``calibrate``.
    bits : int
        2 to 8: width of matrix weights. Embedding tables stay at 8 bits.

    Raises
    ------
    WeightError
        Bits out of range, weights that are not finite, an accumulator that could overflow.
    """
    if not 2 <= bits <= 8:
        raise WeightError(f"`2 <= bits <= 8` must hold for weights, but got {bits}")
    formats = _Formats(network, ranges).assign()
    result = QuantizedNetwork(network, formats, {})
    for role, graph in network.graphs.items():
        _quantize_graph(result, graph, f"{role}/", role, bits)
    return result


def _quantize_graph(result: QuantizedNetwork, graph: Graph, prefix: str, role: str, bits: int) -> None:
    for node in graph.nodes:
        if node.op in ("matrix", "lstm"):
            _quantize_matrix(result, graph, node, prefix, role, bits)
        elif node.op == "embedding":
            _quantize_embedding(result, graph, node, prefix, role)
        for arm in node.arms:
            _quantize_graph(result, arm, f"{prefix}{arm.name}/", role, bits)


def _keep(result: QuantizedNetwork, tensor: QuantizedTensor) -> str:
    """Add a tensor; a weight used twice is stored once if both uses agree on its integers."""
    known = result.tensors.get(tensor.name)
    if known is not None and not np.array_equal(known.values, tensor.values):
        raise WeightError(
            f"weight {tensor.name!r} is used by two ops whose operands have different scales; "
            f"give each its own copy of the weight"
        )
    result.tensors[tensor.name] = tensor
    return tensor.name


def _quantize_embedding(result: QuantizedNetwork, graph: Graph, node: Node, prefix: str, role: str) -> None:
    name = node.parameters["weight"]
    scale = result.formats[prefix + node.outputs[0]].scale
    values = np.clip(np.rint(graph.parameters[name] / scale), -127, 127).astype(np.int8)
    _keep(result, QuantizedTensor(f"{role}/{name}", values, np.full(len(values), scale), 8, "embedding"))


def _quantize_matrix(result: QuantizedNetwork, graph: Graph, node: Node, prefix: str, role: str, bits: int) -> None:
    limit = 2 ** (bits - 1) - 1
    weights = [graph.parameters[name].astype(np.float64) for name, _ in node.parts]
    scales = [result.formats[prefix + value].scale for _, value in node.parts]
    label = f"{role}/{node.module_path}"
    # Largest product unit that each part would like, per row; a row of zeros wants none.
    wanted = np.stack(
        [np.max(np.abs(w), axis=1, initial=0.0) * s / limit for w, s in zip(weights, scales, strict=True)]
    )
    shifts = _left_shifts(wanted)
    unit = np.max(wanted / 2.0 ** np.array(shifts)[:, None], axis=0)
    unit = np.where(unit > 0, unit, 1e-9)
    steps = [2.0**left / scale for left, scale in zip(shifts, scales, strict=True)]
    if bits <= CLIP_BITS:
        unit = unit * _best_clip(weights, [unit * step for step in steps], scales, limit)
    names = []
    worst = np.zeros(len(unit))
    for (name, _), weight, per_unit, left in zip(node.parts, weights, steps, shifts, strict=True):
        step = unit * per_unit
        values = np.clip(np.rint(weight / step[:, None]), -limit, limit).astype(np.int8)
        names.append(_keep(result, QuantizedTensor(f"{role}/{name}", values, step, bits)))
        worst += weight.shape[1] * limit * 127.0 * 2.0**left
    bias = np.rint(graph.parameters[node.parameters["bias"]] / unit)
    worst = worst + np.abs(bias)
    if np.any(worst > INT32_MAX):
        cols = sum(w.shape[1] for w in weights)
        raise WeightError(
            f"layer {label!r}: `cols * {limit} * 127 <= 2**31 - 1` must hold so that an int32 accumulator cannot "
            f"overflow, but {cols:,} columns with shifts {shifts} could reach {worst.max():,.0f}; split the layer"
        )
    out_scale = GATE_SCALE if node.op == "lstm" else result.formats[prefix + node.outputs[0]].scale
    hidden = requantize_factor(np.array([TABLE_PRODUCT_SCALE / result.formats[prefix + node.outputs[0]].scale]))
    result.matrices[prefix + node.name] = MatrixIntegers(
        tuple(names), tuple(shifts), bias.astype(np.int32), requantize_factor(unit / out_scale), hidden
    )


def _best_clip(weights: list[np.ndarray], steps: list[np.ndarray], scales: list[float], limit: int) -> np.ndarray:
    """Per row, the share of the largest weight at which clipping loses least, in squared error of the sums."""
    best = np.full(len(steps[0]), np.inf)
    choice = np.ones(len(best))
    for share in CLIP_SHARES:
        error = np.zeros(len(best))
        for weight, step, scale in zip(weights, steps, scales, strict=True):
            fine = (share * step)[:, None]
            rounded = np.clip(np.rint(weight / fine), -limit, limit) * fine
            error += ((rounded - weight) ** 2).sum(axis=1) * scale**2
        choice = np.where(error < best, share, choice)
        best = np.minimum(error, best)
    return choice


def _left_shifts(wanted: np.ndarray) -> list[int]:
    """Power of two per part that brings the parts' typical product units together; the smallest gets 0."""
    typical = np.array([np.median(w[w > 0]) if np.any(w > 0) else np.nan for w in wanted])
    if len(wanted) == 1 or np.all(np.isnan(typical)):
        return [0] * len(wanted)
    ratio = np.rint(np.log2(typical / np.nanmin(typical)))
    return [int(r) for r in np.clip(np.nan_to_num(ratio), 0, MAX_LEFT_SHIFT)]


class _Formats:
    """Groups values into classes that must share a format, and gives each class one."""

    def __init__(self, network: Network, ranges: Ranges) -> None:
        self.network, self.ranges = network, ranges
        self.parent: dict[str, str] = {}
        self.feeds_matrix: set[str] = set()
        self.hidden: set[str] = set()
        self.cell: set[str] = set()

    def find(self, name: str) -> str:
        self.parent.setdefault(name, name)
        while self.parent[name] != name:
            name = self.parent[name]
        return name

    def tie(self, a: str, b: str) -> None:
        self.parent[self.find(a)] = self.find(b)

    def assign(self) -> dict[str, Format]:
        for role, graph in self.network.graphs.items():
            self._visit(graph, f"{role}/")
            for before, after in graph.state:
                self.tie(f"{role}/{before}", f"{role}/{after}")
        if self.network.is_transducer:
            joint = self.network.graphs["joint"]
            for role, value in zip(("encoder", "prediction"), joint.inputs, strict=True):
                self.tie(f"{role}/{self.network.graphs[role].outputs[0]}", f"joint/{value}")
        members: dict[str, list[str]] = {}
        for name in list(self.parent):
            members.setdefault(self.find(name), []).append(name)
        return {name: fmt for group in members.values() for fmt in [self._format(group)] for name in group}

    def _visit(self, graph: Graph, prefix: str) -> None:
        for name in graph.sizes:
            self.find(prefix + name)
        for node in graph.nodes:
            ins, outs = [prefix + v for v in node.inputs], [prefix + v for v in node.outputs]
            self.feeds_matrix.update(prefix + value for _, value in node.parts)
            if node.op == "lstm":
                self.hidden.update((ins[1], outs[0]))
                self.cell.update((ins[2], outs[1]))
            elif node.op == "embedding":
                self.feeds_matrix.add(outs[0])  # tables are stored in 8 bits
            elif node.op in ("slice", "concat", "relu"):
                for value in ins:
                    self.tie(value, outs[0])
            for arm in node.arms:
                inner = f"{prefix}{arm.name}/"
                self._visit(arm, inner)
                for outside, inside in zip(ins[1:], arm.inputs, strict=True):
                    self.tie(outside, inner + inside)
                for outside, inside in zip(outs, arm.outputs, strict=True):
                    self.tie(outside, inner + inside)

    def _format(self, group: list[str]) -> Format:
        names = set(group)
        largest = max((self.ranges.get(name, 0.0) for name in group), default=0.0)
        if names & self.cell:
            if names & self.feeds_matrix:
                raise ModelError(
                    f"the LSTM cell state {sorted(names & self.cell)[0]!r} feeds a matrix; use the hidden state"
                )
            return Format(np.int16, CELL_SCALE)
        if names & self.feeds_matrix:
            if names & self.hidden and largest <= 1.0:
                return Format(np.int8, HIDDEN_SCALE)
            return Format(np.int8, largest / 127 if largest > 0 else 1.0)
        return Format(np.int16, largest / 16383 if largest > 0 else 1.0)
