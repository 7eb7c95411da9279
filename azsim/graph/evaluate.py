"""Run a graph in float32 NumPy: the meaning of each op, before any quantization.

Used to prove on import that the graph still does what the torch module does, frame after
frame, and to see the ranges that calibration needs. Obvious rather than fast.
"""

from collections.abc import Callable, Mapping

import numpy as np

from azsim.graph.ir import Graph, Node

Observer = Callable[[str, np.ndarray], None]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _lstm(node: Node, graph: Graph, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights = graph.parameters
    names = node.parameters
    gates = weights[names["weight_hh"]] @ h + weights[names["weight_ih"]] @ x + weights[names["bias"]]
    i, f, g, o = gates.reshape(-1, 4).T
    new_c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(new_c), new_c


COMPARE = {"gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal}
ELEMENTWISE = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
}


def evaluate_graph(graph: Graph, values: Mapping[str, np.ndarray], observe: Observer | None = None) -> dict:
    """Values of every name in ``graph`` for one step.

    Parameters
    ----------
    graph : Graph
    values : mapping of str to float32[n]
        Inputs and state inputs; a token is int64[1].
    observe : callable, optional
        Called with each (name, value) as it is produced, inside a taken arm with the arm's
        label in front of the name.
    """
    env: dict[str, np.ndarray] = dict(values)
    see = observe or (lambda name, value: None)
    for name, value in env.items():
        see(name, value)
    for node in graph.nodes:
        for name, value in zip(node.outputs, _run(node, graph, env, see), strict=True):
            env[name] = value
            see(name, value)
    return env


def _run(node: Node, graph: Graph, env: dict, see: Observer) -> tuple:
    operands = [env[name] for name in node.inputs]
    if "constant" in node.parameters:
        operands.insert(node.attrs["constant_position"], graph.parameters[node.parameters["constant"]])
    match node.op:
        case "matrix":
            weight, bias = graph.parameters[node.parameters["weight"]], graph.parameters[node.parameters["bias"]]
            return (weight @ operands[0] + bias,)
        case "lstm":
            return _lstm(node, graph, *operands)
        case "embedding":
            return (graph.parameters[node.parameters["weight"]][int(operands[0][0])],)
        case "add" | "sub" | "mul":
            return (ELEMENTWISE[node.op](*operands).astype(np.float32),)
        case "relu" | "sigmoid" | "tanh":
            return (UNARY[node.op](operands[0]).astype(np.float32),)
        case "concat":
            return (np.concatenate(operands),)
        case "slice":
            return (operands[0][node.attrs["start"] : node.attrs["stop"]],)
        case "compare":
            return (COMPARE[node.attrs["relation"]](operands[0], node.attrs["threshold"]),)
        case "branch":
            arm = node.arms[0] if bool(operands[0][0]) else node.arms[1]
            inner = dict(zip(arm.inputs, operands[1:], strict=True))
            env_of_arm = evaluate_graph(arm, inner, lambda name, value: see(f"{arm.name}/{name}", value))
            return tuple(env_of_arm[name] for name in arm.outputs)
    raise AssertionError(f"op {node.op!r} is in ir.OPS but not here")
