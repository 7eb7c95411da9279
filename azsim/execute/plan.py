"""From quantized graphs to the ops of the activity record: what runs together, and what it costs.

Nodes that belong to one pass through the machine form an *op*: a matrix, an LSTM or a table
look-up opens one, and the element-wise nodes after it join its output pass. Slices are free.
A branch closes the op before it, and each arm opens its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from azsim.execute.elementwise import bind
from azsim.execute.record import Op
from azsim.graph.ir import Graph, Node
from azsim.weights.quantize import QuantizedNetwork


@dataclass
class Step:
    """One node, bound to what it needs, and the op it belongs to."""

    node: Node
    key: str  # role/arm/node, the key of QuantizedNetwork.matrices
    prefix: str  # role/arm/, the prefix of value names in QuantizedNetwork.formats
    op: int = -1  # index of the op table; -1 for a slice or a branch
    opens: bool = False  # first node of its op
    table: str = ""  # tensor of an embedding
    compute: Callable[[list[np.ndarray]], np.ndarray] = lambda operands: operands[0]
    arms: tuple["Plan", ...] = ()


@dataclass
class Plan:
    """Straight-line steps of one graph or arm."""

    graph: Graph
    prefix: str
    label: str = ""  # of the arm, "" outside a branch
    steps: list[Step] = field(default_factory=list)

    @property
    def ops(self) -> tuple[int, ...]:
        """Every op of the op table that this graph may run, arms of inner branches included."""
        own = {step.op for step in self.steps if step.op >= 0}
        return tuple(sorted(own.union(*(arm.ops for step in self.steps for arm in step.arms))))


@dataclass
class _OpenOp:
    name: str
    role: str
    plan: Plan
    nodes: list[Node] = field(default_factory=list)
    is_joint_output: bool = False


def element_counts(node: Node, graph: Graph) -> dict[str, int]:
    """Elements of each vector-unit function that one run of ``node`` needs, without its MACs."""
    n = graph.sizes[node.outputs[0]]
    match node.op:
        case "matrix":
            return {"requantize": n}
        case "lstm":  # i f g o to int16; sigmoid i f o, tanh g c'; f c, i g, o tanh; one addition; h to int8
            return {"requantize": 4 * n + n, "sigmoid": 3 * n, "tanh": 2 * n, "mul": 3 * n, "add": n}
        case "embedding" | "concat":
            return {"move": n}
        case "add" | "sub":
            return {"add": n}
        case "mul" | "relu" | "sigmoid" | "tanh" | "compare":
            return {node.op: n}
    return {}


class Planner:
    """Builds the plans of every graph of a network and the table of ops they share."""

    def __init__(self, quantized: QuantizedNetwork) -> None:
        self.quantized = quantized
        self.ops: list[Op] = []
        self.arms: list[str] = [""]
        self.plans = {role: self._plan(graph, f"{role}/", role, "") for role, graph in quantized.network.graphs.items()}

    def _plan(self, graph: Graph, prefix: str, role: str, label: str) -> Plan:
        plan = Plan(graph, prefix, label)
        if label and label not in self.arms:
            self.arms.append(label)
        current: _OpenOp | None = None
        for node in graph.nodes:
            step = Step(node, prefix + node.name, prefix)
            if node.op == "branch":
                self._close(current)
                current = None
                step.arms = tuple(self._plan(arm, f"{prefix}{arm.name}/", role, arm.name) for arm in node.arms)
            elif node.op != "slice":
                if node.op in ("matrix", "lstm", "embedding") or current is None:
                    self._close(current)
                    current = _OpenOp(f"{prefix}{node.name}", role, plan)
                    step.opens = True
                    self.ops.append(Op(current.name, role, (), (), {}, 0, 0))  # filled in by _close
                current.nodes.append(node)
                step.op = len(self.ops) - 1
                if node.op == "embedding":
                    step.table = f"{role}/{node.parameters['weight']}"
                elif node.op not in ("matrix", "lstm"):
                    step.compute = bind(node, graph, prefix, self.quantized.formats)
            plan.steps.append(step)
        if current is not None and role == "joint" and not label:
            current.is_joint_output = True
        self._close(current)
        return plan

    def _close(self, op: _OpenOp | None) -> None:
        if op is None:
            return
        graph, formats = op.plan.graph, self.quantized.formats
        functions: dict[str, int] = {}
        for node in op.nodes:
            for function, n in element_counts(node, graph).items():
                functions[function] = functions.get(function, 0) + n
        if op.is_joint_output:
            functions["argmax"] = graph.sizes[graph.outputs[0]]
        opener = op.nodes[0]
        names = tuple(f"{op.role}/{weight}" for weight, _ in opener.parts)
        cols = tuple(graph.sizes[value] for _, value in opener.parts)
        if opener.op == "embedding":
            names, cols = (f"{op.role}/{opener.parameters['weight']}",), (0,)
        inside = {value for node in op.nodes for value in node.outputs}

        def n_bytes(value: str) -> int:
            return graph.sizes[value] * np.dtype(formats[op.plan.prefix + value].dtype).itemsize

        read = {value for node in op.nodes for value in node.inputs} - inside
        own = {node.name for node in op.nodes}
        outside = {value for node in graph.nodes if node.name not in own for value in node.inputs}
        leaving = inside & (outside | set(graph.outputs) | {after for _, after in graph.state})
        index = next(i for i, known in enumerate(self.ops) if known.name == op.name)
        self.ops[index] = Op(
            op.name,
            op.role,
            names,
            cols,
            functions,
            sum(map(n_bytes, sorted(leaving))),
            sum(map(n_bytes, sorted(read))),
        )
