"""Stage 1, what runs: a torch module or a .pt2 file becomes a small closed graph."""

from azsim.graph.ir import Graph, Node
from azsim.graph.network import Network, load_network, network_from_modules, zoo, zoo_folder
from azsim.graph.trace import load_pt2, trace

__all__ = ["Graph", "Network", "Node", "load_network", "load_pt2", "network_from_modules", "trace", "zoo", "zoo_folder"]
