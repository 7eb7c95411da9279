"""What is a frame on the simple arm worth, as the arbitrator sends more of them there?

Expected: bytes, time and energy fall in a straight line with the share of simple frames, for each saves the fetch
of the complex arm; the 95th percentile of the latency does not move until hardly any frame is complex.

The threshold of the trained arbitrator is moved; nothing is trained again, so words are shown beside the savings.

Saw: A straight line: from 2.48 mJ with no simple frame to 1.16 mJ with nothing else. All words survive up to 47 %
of simple frames, three of five are lost at 68 %, all at 93 %. The 95th percentile hardly moves until all frames are
simple.

    python experiments/simple_share.py
"""

from dataclasses import replace

import pandas as pd
from lab import Question, ask

from azsim.graph import Network, load_network
from azsim.graph.ir import Graph

THRESHOLDS = (-1.0, -0.4, -0.2, -0.1, 0.0, 0.1, 0.2, 0.4, 1.0)


def with_threshold(network: Network, threshold: float) -> Network:
    """The network with another threshold of its arbitrator's score."""

    def changed(graph: Graph) -> Graph:
        nodes = tuple(
            replace(node, attrs={**node.attrs, "threshold": threshold}) if node.op == "compare" else node
            for node in graph.nodes
        )
        return graph.replace(nodes=nodes)

    return replace(network, graphs={role: changed(graph) for role, graph in network.graphs.items()})


def name_of(threshold: float) -> str:
    """Of a variant."""
    return f"amnet{threshold:+g}"


def variants() -> dict[str, Network]:
    """AmNet at every threshold, by name."""
    amnet = load_network("amnet")
    return {name_of(t): replace(with_threshold(amnet, t), name=name_of(t)) for t in THRESHOLDS}


def with_shares(results: pd.DataFrame) -> pd.DataFrame:
    """The share of frames on the simple arm, from their arms."""
    return results.assign(simple_share=results.arms.map(lambda arms: arms.get("simple", 0) / sum(arms.values())))


QUESTION = Question(
    name="simple_share",
    space={"axes": {"network": [name_of(t) for t in THRESHOLDS]}},
    quick={"network": [name_of(t) for t in (-1.0, 0.0, 1.0)]},
    x="simple_share",
    panels=("dram_bytes_per_s", "latency_p95_ms", "energy_working_uj", "word_errors"),
    networks=variants,
    derive=with_shares,
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
