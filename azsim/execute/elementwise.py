"""Element-wise ops in integers, bound once to their formats and then called every frame.

A product of scales never appears at run time: each op gets its multiplier and shift when it is
bound. Roundings are those of the kernels: to nearest, halves toward plus infinity, saturating.
"""

from collections.abc import Callable, Mapping

import numpy as np

from azsim.execute import kernels
from azsim.graph.ir import Graph, Node
from azsim.weights.quantize import GATE_SCALE, Format, requantize_factor

TABLE_SCALE = 2.0**-15
LIMIT: dict[type, int] = {np.int8: 127, np.int16: 32767}
Compute = Callable[[list[np.ndarray]], np.ndarray]


def function_table(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """2048 int16 entries of a function over [-8, 8), each of its interval's middle, scale 2**-15."""
    middle = (np.arange(kernels.TABLE_ENTRIES) + 0.5) * (16.0 / kernels.TABLE_ENTRIES) - 8.0
    return np.clip(np.rint(function(middle) / TABLE_SCALE), -32767, 32767).astype(np.int16)


TABLES = {"sigmoid": function_table(lambda x: 1.0 / (1.0 + np.exp(-x))), "tanh": function_table(np.tanh)}


def to_integers(real: np.ndarray, fmt: Format) -> np.ndarray:
    """``clip(rint(real / scale))`` to the symmetric range of the format; halves to even."""
    limit = LIMIT[fmt.dtype]
    return np.clip(np.rint(np.asarray(real, np.float64) / fmt.scale), -limit, limit).astype(fmt.dtype)


def bind(node: Node, graph: Graph, prefix: str, formats: Mapping[str, Format]) -> Compute:
    """The function that runs an element-wise node on its operands' integers.

    Parameters
    ----------
    node, graph : Node, Graph
    prefix : str
        ``role/arm/`` of the graph, to find formats by.
    formats : mapping of str to Format

    Returns
    -------
    callable (list of int[n]) -> int[n]
    """
    inputs = [formats[prefix + name] for name in node.inputs]
    output = formats[prefix + node.outputs[0]]
    n = graph.sizes[node.outputs[0]]
    match node.op:
        case "relu":
            return lambda operands: np.maximum(operands[0], 0)
        case "concat":
            return np.concatenate
        case "compare":
            return _comparison(node.attrs["relation"], node.attrs["threshold"] / inputs[0].scale)
        case "sigmoid" | "tanh":
            return _table_look_up(node.op, inputs[0], output, n)
    if "constant" not in node.parameters:
        return _arithmetic(node.op, inputs, output, n)
    real = graph.parameters[node.parameters["constant"]]
    fmt = Format(np.int16, max(float(np.max(np.abs(real))), 1e-9) / 32767)
    position = node.attrs["constant_position"]
    inputs.insert(position, fmt)
    constant, run = to_integers(real, fmt), _arithmetic(node.op, inputs, output, n)
    return lambda operands: run([*operands[:position], constant, *operands[position:]])


def _arithmetic(op: str, inputs: list[Format], output: Format, n: int) -> Compute:
    limit = LIMIT[output.dtype]
    if op == "mul":
        factor = requantize_factor(np.array([inputs[0].scale * inputs[1].scale / output.scale]))
        multiplier, shift = int(factor.multiplier[0]), int(factor.shift[0])

        def multiply(operands: list[np.ndarray]) -> np.ndarray:
            out = np.empty(n, output.dtype)
            kernels.mul_scaled(operands[0], operands[1], multiplier, shift, limit, out)
            return out

        return multiply
    ratio_a, ratio_b = (round(fmt.scale / output.scale * 2**20) for fmt in inputs)
    signed_b = -ratio_b if op == "sub" else ratio_b

    def add(operands: list[np.ndarray]) -> np.ndarray:
        out = np.empty(n, output.dtype)
        kernels.add_scaled(operands[0], operands[1], ratio_a, signed_b, limit, out)
        return out

    return add


def _table_look_up(name: str, fmt: Format, output: Format, n: int) -> Compute:
    """To int16 with scale 2**-12, through the table, then to the output format."""
    entry = requantize_factor(np.full(n, fmt.scale / GATE_SCALE))
    leave = requantize_factor(np.full(n, TABLE_SCALE / output.scale))

    def look_up(operands: list[np.ndarray]) -> np.ndarray:
        pre, looked, out = np.empty(n, np.int16), np.empty(n, np.int16), np.empty(n, output.dtype)
        kernels.requantize(operands[0], entry.multiplier, entry.shift, 32767, pre)
        kernels.look_up(pre, TABLES[name], looked)
        kernels.requantize(looked, leave.multiplier, leave.shift, LIMIT[output.dtype], out)
        return out

    return look_up


def _comparison(relation: str, threshold: float) -> Compute:
    """Compare integers with the integer threshold that gives the same truth as reals."""
    match relation:
        case "gt":
            return lambda operands: operands[0] > np.floor(threshold)
        case "ge":
            return lambda operands: operands[0] >= np.ceil(threshold)
        case "lt":
            return lambda operands: operands[0] < np.ceil(threshold)
    return lambda operands: operands[0] <= np.floor(threshold)
