"""Magnitude pruning of a finished network: what a chip would gain from more zeros, words left aside.

Nothing is trained again, so words suffer more than they would under ``models/training/prune.py``; cycles, bytes and
energy are those of a network that has so many zeros.
"""

from dataclasses import replace

import numpy as np

from azsim.errors import WeightError
from azsim.graph.ir import Graph
from azsim.graph.network import Network

WEIGHTS = {"matrix": ("weight",), "lstm": ("weight_hh", "weight_ih")}  # what the MAC array multiplies


def prune(network: Network, density: float) -> Network:
    """Set the smallest weights of every matrix to zero until a share ``density`` of it is left.

    Parameters
    ----------
    network : Network
    density : float
        Non-zero share, above 0 and at most 1. A matrix that is sparser already is left alone; biases and
        embeddings always are.

    Raises
    ------
    WeightError
        If the density is out of its range.
    """
    if not 0 < density <= 1:
        raise WeightError(f"`0 < weight_density <= 1` must hold, but got {density:g}: it is the share of non-zeros")
    graphs = {role: _pruned(graph, density) for role, graph in network.graphs.items()}
    return replace(network, graphs=graphs)


def _pruned(graph: Graph, density: float) -> Graph:
    parameters, nodes = dict(graph.parameters), []
    tied = {node.parameters["weight"] for node in graph.nodes if node.op == "embedding"}
    for node in graph.nodes:
        names = dict(node.parameters)
        for role in WEIGHTS.get(node.op, ()):
            whole = names[role]
            if whole in tied:  # an embedding reads the same weights, and keeps them all
                names[role] = f"{whole}_pruned"
            parameters[names[role]] = _largest(graph.parameters[whole], density)
        arms = tuple(_pruned(arm, density) for arm in node.arms)
        nodes.append(replace(node, parameters=names, arms=arms))
    return graph.replace(parameters=parameters, nodes=tuple(nodes))


def _largest(weights: np.ndarray, density: float) -> np.ndarray:
    """The matrix with all but its ``round(density * size)`` largest magnitudes at zero; ties go to the earlier."""
    keep = round(density * weights.size)
    kept = np.zeros(weights.size, bool)
    kept[np.argsort(-np.abs(weights), axis=None, kind="stable")[:keep]] = True
    return np.where(kept.reshape(weights.shape), weights, np.zeros_like(weights))
