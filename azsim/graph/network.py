"""A network: one or several traced steps, and what is needed to feed and read them."""

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from azsim.errors import ModelError
from azsim.graph.ir import Graph
from azsim.graph.trace import load_pt2, trace

TRANSDUCER_ROLES = ("encoder", "prediction", "joint")


@dataclass(frozen=True)
class Network:
    """What a user brings to the simulator.

    Attributes
    ----------
    name : str
    graphs : dict of str to Graph
        ``{"encoder", "prediction", "joint"}`` for an RNN-T, or one graph called ``"step"``.
    vocabulary : tuple of str
        Words or pieces; ``blank`` is the index of the blank symbol.
    blank_penalty : float
        Subtracted from the blank's logit in greedy search.
    max_symbols_per_frame : int
    frames_per_step : int
        Feature frames that one step of the encoder takes.
    features : dict
        Fields of ``azsim.execute.features.FeatureConfig``; empty for the defaults.
    synthetic_weights : bool
        True where words mean nothing, only cycles and bytes do.
    calibration : float32[T, I] or None
        Features that activation ranges are calibrated on, if the network ships them.
    weight_bits : int
    thresholds : dict of str to float
        What a decision compares a network's real outputs with, by its name; empty where the output is not one.
    outputs : tuple of str
        Names of the entries of the output vector, in order; empty where they have none.
    """

    name: str
    graphs: dict[str, Graph]
    vocabulary: tuple[str, ...] = ()
    blank: int = 0
    blank_penalty: float = 0.0
    max_symbols_per_frame: int = 4
    frames_per_step: int = 1
    features: dict[str, Any] = field(default_factory=dict)
    synthetic_weights: bool = False
    calibration: tuple[np.ndarray, ...] | None = None
    weight_bits: int = 8
    thresholds: dict[str, float] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        roles = set(self.graphs)
        if roles != set(TRANSDUCER_ROLES) and roles != {"step"}:
            raise ModelError(
                f"{self.name}: a network has the graphs encoder, prediction and joint, or one graph 'step', "
                f"but got {', '.join(sorted(roles)) or 'none'}"
            )

    @property
    def is_transducer(self) -> bool:
        """True for an RNN-T: encoder, prediction and joint networks under a greedy search."""
        return "joint" in self.graphs

    @property
    def first(self) -> Graph:
        """The graph that reads the audio features."""
        return self.graphs["encoder" if self.is_transducer else "step"]


def zoo_folder() -> Path:
    """Where the networks that come with azsim lie: ``models/zoo``, beside the package."""
    return Path(__file__).resolve().parents[2] / "models" / "zoo"


def zoo() -> list[str]:
    """Names of the networks in the zoo."""
    return sorted(path.parent.name for path in zoo_folder().glob("*/network.json"))


def load_network(source: str | Path | Network) -> Network:
    """Load a network from a zoo name, a folder with network.json, a .pt2 file or ``package.module:function``.

    Raises ModelError with what was tried and what would work.
    """
    if isinstance(source, Network):
        return source
    text, path = str(source), Path(source)
    if path.suffix == ".pt2":
        if not path.exists():
            raise ModelError(f"{text}: no such file; save a step with torch.export.save first")
        return Network(path.stem, {"step": load_pt2(path)})
    if path.is_dir() and (path / "network.json").exists():
        return _load_folder(path)
    if (zoo_folder() / text / "network.json").exists():
        return _load_folder(zoo_folder() / text)
    if ":" in text:
        return _from_factory(text, {})
    raise ModelError(
        f"unknown network {text!r}: give a name from the zoo ({', '.join(zoo()) or 'empty'}), a folder with "
        f"network.json, a .pt2 file, or package.module:function"
    )


def network_from_modules(name: str, graphs: Mapping[str, tuple[Any, tuple]], **about: Any) -> Network:
    """Trace live torch modules: ``graphs`` maps a role to (module, example inputs)."""
    traced = {role: trace(module, example, role) for role, (module, example) in graphs.items()}
    return _network(name, traced, about)


def _network(name: str, graphs: dict[str, Graph], about: Mapping[str, Any]) -> Network:
    known = set(Network.__dataclass_fields__)
    fields = {key: value for key, value in about.items() if key in known - {"name", "graphs"}}
    for names in ("vocabulary", "outputs"):
        if names in fields:
            fields[names] = tuple(fields[names])
    features = fields.get("features") or {}
    fields["features"] = features if isinstance(features, dict) else features.model_dump()
    return Network(name=name, graphs=graphs, **fields)


def _load_folder(folder: Path) -> Network:
    where = folder / "network.json"
    try:
        about = json.loads(where.read_text())
    except json.JSONDecodeError as error:
        raise ModelError(f"{where}: not valid JSON: {error}") from error
    if "factory" in about:
        return _from_factory(about["factory"], about)
    for role, file in about.get("graphs", {}).items():
        if not (folder / file).exists():
            raise ModelError(f"{where}: the {role} graph {file!r} is not in the folder; export the network again")
    graphs = {role: load_pt2(folder / file, role) for role, file in about.get("graphs", {}).items()}
    if (folder / "calibration.npz").exists():
        with np.load(folder / "calibration.npz") as stored:
            about["calibration"] = tuple(stored[key].astype(np.float32) for key in sorted(stored.files))
    return _network(about.get("name", folder.name), graphs, about)


def _from_factory(spec: str, about: Mapping[str, Any]) -> Network:
    module_name, _, function = spec.partition(":")
    for root in (str(Path.cwd()), str(zoo_folder().parents[1])):
        if root not in sys.path:
            sys.path.append(root)
    try:
        build = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"{spec}: cannot import it ({error}); write package.module:function from where it lies"
        ) from error
    built = build(**({"seed": about["seed"]} if "seed" in about else {}))
    if isinstance(built, tuple) and len(built) == 2:
        built = {"graphs": {"step": built}}
    if not isinstance(built, dict) or "graphs" not in built:
        raise ModelError(
            f"{spec}: expected it to return (module, example_inputs) or a dict with 'graphs': "
            f"{{role: (module, example_inputs)}}, but got {type(built).__name__}"
        )
    merged = {**built, **{k: v for k, v in about.items() if k not in ("graphs", "factory")}}
    return network_from_modules(str(merged.get("name", function)), built["graphs"], **{
        k: v for k, v in merged.items() if k not in ("name", "graphs")})  # fmt: skip
