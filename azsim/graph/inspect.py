"""What a network is made of: one row per op, where it runs, and a coverage line."""

from dataclasses import dataclass

from azsim.graph.ir import Graph, Node
from azsim.graph.network import Network

WHERE = {"matrix": "MAC array", "lstm": "MAC array", "slice": "address only", "branch": "controller"}


@dataclass(frozen=True)
class OpRow:
    """One op of the table that ``azsim inspect`` prints.

    ``macs_per_run`` counts dense multiplications of one run of the op; inside a branch the op runs
    only on the frames that choose its arm.
    """

    graph: str
    arm: str
    op: str
    kind: str
    shape: str
    weights: int
    macs_per_run: int
    runs_on: str
    tensors: tuple[str, ...] = ()  # names of its matrices and tables in the network


def inspect_network(network: Network) -> list[OpRow]:
    """Rows of every graph in program order, arms after their branch."""
    rows: list[OpRow] = []
    for role, graph in network.graphs.items():
        _collect(graph, role, "", rows)
    return rows


def _collect(graph: Graph, role: str, arm: str, rows: list[OpRow]) -> None:
    for node in graph.nodes:
        used = [n for key, n in node.parameters.items() if key != "bias" or node.op in ("matrix", "lstm")]
        rows.append(
            OpRow(
                graph=role,
                arm=arm,
                op=node.name,
                kind=node.op,
                shape=_shape(node, graph),
                weights=sum(int(graph.parameters[name].size) for name in used),
                macs_per_run=graph.dense_macs(node),
                runs_on=WHERE.get(node.op, "vector unit"),
                tensors=tuple(f"{role}/{n}" for key, n in node.parameters.items() if key.startswith("weight")),
            )
        )
        for inner in node.arms:
            _collect(inner, role, inner.name, rows)


def _shape(node: Node, graph: Graph) -> str:
    """Operand lengths and result lengths, e.g. ``192, 128, 128 -> 128, 128``."""
    ins = ", ".join(str(graph.sizes[name]) for name in node.inputs)
    outs = ", ".join(str(graph.sizes[name]) for name in node.outputs)
    return f"{ins} -> {outs}"


@dataclass(frozen=True)
class Coverage:
    """How much of the network azsim runs where. Ops that it cannot run never get this far."""

    ops: int
    mac_array_ops: int
    vector_unit_ops: int
    weights: int
    macs: int

    @property
    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.ops} ops, all covered: {self.mac_array_ops} on the MAC array, {self.vector_unit_ops} on the vector "
            f"unit, {self.ops - self.mac_array_ops - self.vector_unit_ops} free or in the controller; "
            f"{self.weights:,} weights, {self.macs:,} MACs if every op runs once"
        )


def coverage(rows: list[OpRow]) -> Coverage:
    """Sum a table of ops."""
    return Coverage(
        ops=len(rows),
        mac_array_ops=sum(row.runs_on == "MAC array" for row in rows),
        vector_unit_ops=sum(row.runs_on == "vector unit" for row in rows),
        weights=sum(row.weights for row in rows),
        macs=sum(row.macs_per_run for row in rows),
    )
