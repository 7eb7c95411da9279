"""What makes two points the same: hashes of chip, network, recording and code.

A result is kept under the hash of everything that it depends on. The name of a chip is not among it, nor are
reports and the shell among the code; of this folder, only what makes a row.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from azsim.chip import Chip
from azsim.graph import Network
from azsim.graph.ir import Graph
from azsim.stream import Scenario
from azsim.stream.executions import key_of

PACKAGE = Path(__file__).parents[1]
CODE = (
    "chip", "energy", "execute", "graph", "stream", "timing", "weights", "listen.py", "simulate.py",
    "sweep/figures.py", "sweep/sample.py", "sweep/stream.py", "sweep/work.py",
)  # fmt: skip
DIGITS = 16


def _digest(*pieces: bytes) -> str:
    whole = hashlib.sha256()
    for piece in pieces:
        whole.update(len(piece).to_bytes(8, "little"))
        whole.update(piece)
    return whole.hexdigest()[:DIGITS]


@cache
def code_version() -> str:
    """Hash of the sources and tables that results depend on."""
    files = [f for name in CODE for f in ([PACKAGE / name] if name.endswith(".py") else (PACKAGE / name).rglob("*"))]
    wanted = sorted(f for f in files if f.suffix in (".py", ".csv"))
    return _digest(*(piece for f in wanted for piece in (str(f.relative_to(PACKAGE)).encode(), f.read_bytes())))


def network_hash(network: Network) -> str:
    """Hash of ops, weights, calibration, features and search of a network."""
    about = (network.vocabulary, network.blank, network.blank_penalty, network.max_symbols_per_frame,
             network.frames_per_step, sorted(network.features.items()), network.weight_bits,
             network.synthetic_weights)  # fmt: skip
    pieces = [repr(about).encode()]
    for role in sorted(network.graphs):
        pieces += [role.encode(), *_graph(network.graphs[role])]
    for array in network.calibration or ():
        pieces += _array(array)
    return _digest(*pieces)


def _array(array: np.ndarray) -> list[bytes]:
    return [f"{array.dtype} {array.shape}".encode(), np.ascontiguousarray(array).tobytes()]


def _graph(graph: Graph) -> list[bytes]:
    pieces = [repr((graph.name, graph.inputs, graph.state, graph.outputs, sorted(graph.sizes.items()))).encode()]
    for arrays in (graph.parameters, graph.initial_state):
        for name in sorted(arrays):
            pieces += [name.encode(), *_array(arrays[name])]
    for node in graph.nodes:
        pieces.append(repr((node.name, node.op, node.inputs, node.outputs, sorted(node.parameters.items()),
                            sorted(node.attrs.items()))).encode())  # fmt: skip
        for arm in node.arms:
            pieces += _graph(arm)
    return pieces


def transcript_beside(audio: str | Path) -> Path:
    """Where the words of a recording ``NAME.wav`` stand, if anywhere: ``NAME.txt``."""
    return Path(audio).with_suffix(".txt")


def audio_hash(path: str | Path) -> str:
    """Hash of a recording's bytes, and of its transcript where there is one: word errors depend on both."""
    beside = transcript_beside(path)
    words = [beside.read_bytes()] if beside.is_file() and beside != Path(path) else []
    return _digest(Path(path).read_bytes(), *words)


def work_key(network: str, audio: str, bits: int | None, density: float | None, version: str) -> str:
    """Key of an execution: network and audio by hash."""
    return _key({"network": network, "audio": audio, "bits": bits, "density": density, "code": version})


def point_key(chip: Chip, work: str, fidelity: str = "full") -> str:
    """Key of a point: the chip apart from its name, the key of its execution, and how much of it is replayed."""
    content = {"chip": chip.model_dump(mode="json", exclude={"name", "description"}), "work": work}
    return _key(content if fidelity == "full" else {**content, "fidelity": fidelity})


def stream_work_key(scenario: Scenario, networks: Mapping[str, str], spoken: Sequence[str], text: str) -> str:
    """Key of what the networks of a scenario do on its recordings: networks by name, recordings, text as hashes.

    It holds all that ``azsim.stream.executions`` reads. The order of networks matters: the first gives the frames.
    """
    config = scenario.networks
    content = {
        "networks": [[name, config[name].role, config[name].arrivals == "frames", networks[name]] for name in config],
        "spoken": [[heard, *key_of(one, scenario)[1:]] for heard, one in zip(spoken, scenario.utterances, strict=True)],
        "search": scenario.search.model_dump(mode="json"),
        "cloud": [scenario.cloud.model_dump(mode="json", exclude={"rerank_ms", "language_model"}), text],
        "seed": scenario.seed,
        "code": code_version(),
    }
    return _key(content)


def stream_key(chip: Chip, scenario: Scenario, work: str) -> str:
    """Key of a stream on a chip: what its work does not hold of the scenario, apart from names and places of files."""
    settings = scenario.model_dump(
        mode="json",
        exclude={
            "name": True, "description": True, "chip": True, "chip_set": True,
            "utterances": {"__all__": {"audio"}}, "networks": {name: {"model"} for name in scenario.networks},
            "cloud": {"language_model"},
        },
    )  # fmt: skip
    for field in ("networks", "background"):  # phases of traffic are drawn in order
        settings[field] = list(settings[field].items())
    about = chip.model_dump(mode="json", exclude={"name", "description"})
    return _key({"chip": about, "scenario": settings, "work": work})


def text_hash(path: str | None) -> str:
    """Hash of a language model's text."""
    return _digest(Path(path).read_bytes()) if path else ""


def together(hashes: Sequence[str]) -> str:
    """One hash of several."""
    return _digest(*(one.encode() for one in hashes))


def _key(content: dict[str, Any]) -> str:
    return _digest(json.dumps(content, sort_keys=True).encode())
