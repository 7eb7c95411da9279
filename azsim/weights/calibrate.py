"""See what range every activation takes on real audio, in float, before integers are chosen."""

from collections.abc import Sequence

import numpy as np

from azsim.errors import ModelError
from azsim.graph.evaluate import evaluate_graph
from azsim.graph.network import Network
from azsim.graph.search import greedy_search

Ranges = dict[str, float]


def calibrate(network: Network, utterances: Sequence[np.ndarray], max_frames: int = 1500) -> Ranges:
    """Largest magnitude of every value, keyed ``role/value`` (``role/arm/value`` inside an arm).

    Parameters
    ----------
    network : Network
    utterances : sequence of float32[T, I]
        Features of real speech; each starts from the initial state.
    max_frames : int
        Stop after about so many frames.

    Raises
    ------
    ModelError
        If the features do not have the width that the network takes, or there are none.
    """
    width = network.first.sizes[network.first.inputs[0]]
    ranges: Ranges = {}
    seen = 0
    for frames in utterances:
        if seen >= max_frames:
            break
        if frames.ndim != 2 or frames.shape[1] != width:
            raise ModelError(
                f"{network.name}: a step takes {width} features per frame, but the features have shape "
                f"{tuple(frames.shape)}; compute them with the network's own FeatureConfig"
            )
        _observe_utterance(network, frames[: max_frames - seen], ranges)
        seen += len(frames)
    if seen == 0:
        raise ModelError(f"{network.name}: no frames to calibrate activation ranges on; give at least one utterance")
    return ranges


def _observe_utterance(network: Network, frames: np.ndarray, ranges: Ranges) -> None:
    state = {role: dict(graph.initial_state) for role, graph in network.graphs.items()}

    def step(role: str, inputs: tuple[np.ndarray, ...], _: int) -> np.ndarray:
        graph = network.graphs[role]

        def see(name: str, value: np.ndarray) -> None:
            key = f"{role}/{name}"
            ranges[key] = max(ranges.get(key, 0.0), float(np.max(np.abs(value), initial=0.0)))

        env = evaluate_graph(graph, {**dict(zip(graph.inputs, inputs, strict=True)), **state[role]}, see)
        state[role] = {before: env[after] for before, after in graph.state}
        return env[graph.outputs[0]]

    if network.is_transducer:
        greedy_search(network, frames, step, network.blank_penalty)
    else:
        for t, frame in enumerate(frames):
            step("step", (frame,), t)
