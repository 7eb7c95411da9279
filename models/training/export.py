"""Write a trained network's folder in the zoo: step graphs, weights, front end, calibration, card.

    python -m models.training.export RUNS/amnet/last.pt amnet --data FOLDER --command "..."

The saved graphs are run against the torch modules with their state fed back before anything is
kept. Figures of the card that need the simulator are added by ``models.training.card``.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import nn

from azsim.execute.features import FeatureConfig, log_mel, stack_normalized
from models import amnet, rnnt
from models.rnnt import BLANK, VOCABULARY, Rnnt, Steps
from models.training.card import ATTRIBUTION, write_card
from models.training.data import Corpus, augment
from models.training.evaluate import MAX_SYMBOLS_PER_FRAME, evaluate, load_run
from models.training.prune import matrices

CALIBRATION_STRINGS = 24
FEATURE_STEP = 1 / 32  # calibration features are kept in steps of this: far below what int8 resolves
CHECK_FRAMES, CHECK_TOLERANCE = 8, 1e-5


def step_graphs(network: Rnnt) -> Steps:
    """Step modules of either network."""
    return amnet.steps(network) if isinstance(network, amnet.AmNet) else rnnt.steps(network)


def example_inputs(module: nn.Module, example: tuple, rng: np.random.Generator) -> list[torch.Tensor]:
    """Random inputs of a step, without its state."""
    made = []
    for value in example:
        if isinstance(value, torch.Tensor) and value.dtype == torch.int64:
            made.append(torch.from_numpy(rng.integers(0, len(VOCABULARY), value.shape)))
        elif isinstance(value, torch.Tensor):
            made.append(torch.from_numpy(rng.standard_normal(value.shape).astype(np.float32)))
    return made


@torch.no_grad()
def largest_difference(module: nn.Module, exported: nn.Module, example: tuple, rng: np.random.Generator) -> float:
    """Largest difference of outputs over several frames, each program fed its own state."""
    difference = 0.0
    state = exported_state = example[-1] if isinstance(example[-1], tuple) else None
    for _ in range(CHECK_FRAMES):
        inputs = example_inputs(module, example, rng)
        if state is None:
            output, exported_output = module(*inputs), exported(*inputs)
        else:
            output, state = module(*inputs, state)
            exported_output, exported_state = exported(*inputs, exported_state)
        difference = max(difference, float((output - exported_output).abs().max()))
    return difference


def without_paths(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Drop the stack traces, which name files of the machine that exported."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def save_graphs(network: Rnnt, folder: Path) -> dict[str, str]:
    """Export, save, load again and compare each step; returns role -> file name."""
    rng = np.random.default_rng(1)
    files = {}
    for role, (module, example) in step_graphs(network).items():
        files[role] = f"{role}.pt2"
        torch.export.save(without_paths(torch.export.export(module, example)), folder / files[role])
        loaded = torch.export.load(folder / files[role])
        difference = largest_difference(module, loaded.module(), example, rng)
        if difference > CHECK_TOLERANCE or loaded.example_inputs is None:
            raise RuntimeError(f"{role}: the saved graph differs from the module by {difference}; do not ship it")
    return files


def calibration(corpus: Corpus, config: FeatureConfig) -> dict[str, np.ndarray]:
    """Features of training strings (noise and level varied, nothing masked) to calibrate activations on."""
    rng = np.random.default_rng((corpus.seed, 2 * 10**9))
    made = {}
    for n in range(CALIBRATION_STRINGS):
        utterance = corpus.utterance(rng, 2 + n % 5)
        frames = stack_normalized(log_mel(augment(utterance.samples, rng, any_level=True), config), config)
        made[f"{n:02d}"] = (np.round(frames / FEATURE_STEP) * FEATURE_STEP).astype(np.float16)
    return made


def macs_per_frame(network: Rnnt, simple_share: float) -> dict[str, float]:
    """Multiplications of one encoder frame by part, and of a step of the other two networks."""
    s = network.sizes
    first, second = 4 * s.first * (s.inputs + s.first), 4 * s.second * (s.first + s.second)
    macs: dict[str, float] = {"encoder": first + second}
    if isinstance(network, amnet.AmNet):
        simple, arbitrator = 4 * s.simple * (s.first + s.simple), s.first + s.second
        mean = first + arbitrator + (1 - simple_share) * second + simple_share * simple
        macs = {
            "encoder, complex arm": first + arbitrator + second,
            "encoder, simple arm": first + arbitrator + simple,
            "encoder, mean on held-out takes": round(mean),
        }
    joint = s.joint * (s.second + s.prediction + network.blank + 1)
    return macs | {
        "prediction, per word": 4 * s.prediction * (s.embedding + s.prediction),
        "joint, per call": joint,
    }


def main(
    run: Path,
    name: Annotated[str, typer.Argument(help="rnnt or amnet")],
    folder: Annotated[Path, typer.Option("--data", help="folder with fsdd.npz and index.csv")],
    command: Annotated[str, typer.Option(help="command that trained it, for the card")],
    cache: Annotated[Path, typer.Option("--cache", help="folder for espeak-ng clips")] = Path("~/.cache/azsim"),
    zoo: Annotated[Path, typer.Option(help="folder of the zoo")] = Path(__file__).parents[1] / "zoo",
) -> None:
    """Export a run's last.pt to the zoo and measure it in float."""
    torch.set_num_threads(1)
    network, config, kept = load_run(run)
    result = evaluate(network, config, folder, cache.expanduser())
    out = zoo / name
    out.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        "name": name,
        "kind": "rnnt",
        "graphs": save_graphs(network, out),
        "weights": "weights.safetensors",
        "vocabulary": list(VOCABULARY),
        "blank": BLANK,
        "blank_penalty": result["blank_penalty"],
        "max_symbols_per_frame": MAX_SYMBOLS_PER_FRAME,
        "frames_per_step": 1,
        "features": config.model_dump(mode="json"),
        "weight_bits": 8,
        "synthetic_weights": False,
    }
    (out / "network.json").write_text(json.dumps(about, indent=1) + "\n")
    save_file(
        {key: tensor.contiguous() for key, tensor in network.state_dict().items()},
        out / "weights.safetensors",
    )
    corpus = Corpus(folder, cache.expanduser(), config, seed=3, any_level=True)
    np.savez_compressed(out / "calibration.npz", **calibration(corpus, config))
    (out / "LICENSE.md").write_text(ATTRIBUTION)
    simple_share = result.get("simple_arm", {}).get("all", {}).get("simple", 0.0)
    card = {
        "name": name,
        "summary": (type(network).__doc__ or "").splitlines()[0],
        "licence": "CC BY-SA 4.0",
        "data": "Free Spoken Digit Dataset (takes 5-44 of five speakers), espeak-ng voices (25 % of the strings)",
        "command": command,
        "seed": kept["seed"],
        "steps": kept["steps"],
        "weights": sum(p.numel() for p in network.parameters()),
        "matrix_weights": sum(p.numel() for p in matrices(network).values()),
        "zero_share": {key: round(float((p == 0).float().mean()), 4) for key, p in matrices(network).items()},
        "macs": macs_per_frame(network, simple_share),
        "float": result,
        "integer": None,
    }
    write_card(out, card)


if __name__ == "__main__":
    typer.run(main)
