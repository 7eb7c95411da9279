"""Train the small networks that listen beside the recognizer, and write their folders in the zoo.

    python -m models.training.listeners train  endpointer --data FOLDER --features RUN/last.pt --out RUNS/endpointer
    python -m models.training.listeners export RUNS/endpointer/last.pt endpointer --data FOLDER --command "..."

``--features`` names a run of the recognizer, whose normalization is taken over, so that one front end
feeds all networks of a chip. A run writes ``last.pt`` and ``log.csv`` and goes on from them when
started again, on the schedule of ``models.training.train``; half of each matrix is pruned on the way.
``export`` measures the network in float and in the simulator's integers. The speaker
embedding of the zoo was trained before ``listeners_data`` counted the voices of en-gb as one; its card says so.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import nn

from azsim.execute.features import FeatureConfig, log_mel, stack_normalized
from azsim.graph.network import load_network
from models.listeners import KINDS, Listener, steps
from models.training.card import ATTRIBUTION
from models.training.data import augment
from models.training.export import (
    CALIBRATION_STRINGS,
    CHECK_TOLERANCE,
    FEATURE_STEP,
    largest_difference,
    without_paths,
)
from models.training.listeners_card import about_card, write_card
from models.training.listeners_data import COHORTS, CORPORA, IGNORED, Batch, ListenerCorpus, SpeakerCorpus
from models.training.listeners_measure import FIGURES, TUNE, float_listener, hear_all, integer_listener
from models.training.prune import Pruner
from models.training.train import DEFAULT_CACHE, CacheOption, DataOption, Objective, OutOption, Training
from models.training.train import train as run_schedule

app = typer.Typer(add_completion=False, help=__doc__)
CALIBRATION_FRAMES = 64  # kept of each string; 24 strings of these are what calibration looks at
COSINE_SCALE, COSINE_MARGIN = 20.0, 0.2  # of the additive-margin softmax


class Name(StrEnum):
    """A network of ``models.listeners``."""

    whisper_detector = "whisper_detector"
    speaker_id = "speaker_id"
    endpointer = "endpointer"


class Speakers(nn.Module):
    """Classifies training speakers by cosine, with a margin; dropped after training.

    The right speaker's cosine must win although ``COSINE_MARGIN`` is taken off it, which draws a
    speaker's embeddings together (Wang et al., "Additive margin softmax", 2018).
    """

    def __init__(self, embedding: int, speakers: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(speakers, embedding))

    def forward(self, mean: torch.Tensor, speaker: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss of mean embeddings float[B, n], and the share that is classified right."""
        cosine = nn.functional.normalize(mean, dim=1) @ nn.functional.normalize(self.directions, dim=1).T
        margin = COSINE_MARGIN * nn.functional.one_hot(speaker, len(self.directions))
        loss = nn.functional.cross_entropy(COSINE_SCALE * (cosine - margin), speaker)
        return loss, (cosine.argmax(dim=1) == speaker).float().mean()


def speaker_objective(training: Training, batch: Batch) -> tuple[torch.Tensor, dict[str, Any]]:
    """Which of the training speakers an utterance's mean embedding belongs to."""
    is_frame = (batch.targets != IGNORED).float()
    mean = (training.network(batch.frames) * is_frame).sum(dim=0) / is_frame.sum(dim=0)
    loss, right = training.extra(mean, batch.targets[0, :, 0].long())
    return loss, {"loss": loss.item(), "right": right.item()}


def frame_objective(training: Training, batch: Batch) -> tuple[torch.Tensor, dict[str, Any]]:
    """Binary cross-entropy of each frame that has an answer."""
    logits, asked = training.network(batch.frames), batch.targets != IGNORED
    loss = nn.functional.binary_cross_entropy_with_logits(logits[asked], batch.targets[asked])
    right = ((logits > 0) == (batch.targets > 0.5))[asked].float().mean()
    return loss, {"loss": loss.item(), "right": right.item()}


@app.command()
def train(
    name: Name,
    data: DataOption,
    features: Annotated[Path, typer.Option("--features", help="last.pt of the recognizer that shares the front end")],
    out: OutOption,
    cache: CacheOption = DEFAULT_CACHE,
    steps: int = 1_500,
    rate: float = 3e-3,
    zero_share: float = 0.5,
    seed: int = 1,
) -> None:
    """Train one network from scratch and prune it on the way (from 40 % to 65 % of the steps)."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = FeatureConfig(**torch.load(features, weights_only=True)["features"])
    corpus = CORPORA[name](data, cache.expanduser(), config, seed)
    network = Listener(KINDS[name])
    extra: nn.Module = nn.Identity()
    objective: Objective = frame_objective
    if isinstance(corpus, SpeakerCorpus):
        extra, objective = Speakers(network.kind.outputs, len(corpus.speakers)), speaker_objective
    pruner = Pruner(network, zero_share, int(0.4 * steps), int(0.65 * steps))
    run_schedule(Training(network, config, steps, rate, seed, pruner, out, extra), corpus, objective)


def load_run(file: Path, name: str) -> tuple[Listener, FeatureConfig, dict[str, Any]]:
    """Network, front end and what else ``last.pt`` holds."""
    kept = torch.load(file, weights_only=True)
    network = Listener(KINDS[name])
    network.load_state_dict(kept["network"])
    return network.eval(), FeatureConfig(**kept["features"]), kept


def save_graph(network: Listener, folder: Path) -> dict[str, str]:
    """Export, save, load again and compare the step; returns role -> file name."""
    files = {}
    for role, (module, example) in steps(network).items():
        files[role] = f"{role}.pt2"
        torch.export.save(without_paths(torch.export.export(module, example)), folder / files[role])
        loaded = torch.export.load(folder / files[role])
        difference = largest_difference(module, loaded.module(), example, np.random.default_rng(1))
        if difference > CHECK_TOLERANCE or loaded.example_inputs is None:
            raise RuntimeError(f"{role}: the saved graph differs from the module by {difference}; do not ship it")
    return files


def calibration(corpus: ListenerCorpus) -> dict[str, np.ndarray]:
    """Features of training strings (noise and level varied, nothing masked) to calibrate activations on."""
    rng = np.random.default_rng((corpus.seed, 2 * 10**9))
    made = {}
    for n in range(CALIBRATION_STRINGS):
        samples = augment(corpus.draw(rng).samples, rng, any_level=True)
        frames = stack_normalized(log_mel(samples, corpus.config), corpus.config)
        frames = frames[:CALIBRATION_FRAMES] if n % 2 else frames[-CALIBRATION_FRAMES:]  # the end is what some decide
        made[f"{n:02d}"] = (np.round(frames / FEATURE_STEP) * FEATURE_STEP).astype(np.float16)
    return made


def write_folder(network: Listener, config: FeatureConfig, corpus: ListenerCorpus, name: str, out: Path) -> dict:
    """Graph, weights, calibration and licence; returns the contents of network.json, thresholds yet to be set."""
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "name": name,
        "kind": "listener",
        "graphs": save_graph(network, out),
        "weights": "weights.safetensors",
        "vocabulary": [],
        "outputs": list(network.kind.names),
        "thresholds": {},
        "frames_per_step": 1,
        "features": config.model_dump(mode="json"),
        "weight_bits": 8,
        "synthetic_weights": False,
    }
    tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    save_file(tensors, out / "weights.safetensors")
    np.savez_compressed(out / "calibration.npz", **calibration(corpus))
    (out / "LICENSE.md").write_text(ATTRIBUTION)
    (out / "network.json").write_text(json.dumps(about, indent=1) + "\n")
    return about


@app.command()
def export(
    run: Path,
    name: Name,
    data: DataOption,
    command: Annotated[str, typer.Option(help="command that trained it, for the card")],
    cache: CacheOption = DEFAULT_CACHE,
    zoo: Annotated[Path, typer.Option(help="folder of the zoo")] = Path(__file__).parents[1] / "zoo",
) -> None:
    """Export a run's last.pt to the zoo; set its thresholds and measure it, in float and in integers."""
    torch.set_num_threads(1)
    network, config, kept = load_run(run, name)
    corpus = CORPORA[name](data, cache.expanduser(), config, seed=3)
    about = write_folder(network, config, corpus, name, zoo / name)
    cohorts = COHORTS[name](data, cache.expanduser())
    in_integers = hear_all(integer_listener(load_network(zoo / name)), cohorts, config)
    about["thresholds"] = TUNE[name](in_integers["development"])
    (zoo / name / "network.json").write_text(json.dumps(about, indent=1) + "\n")
    in_float = hear_all(float_listener(network), cohorts, config)
    figures = {
        "float": FIGURES[name](in_float, about["thresholds"]),
        "integer": FIGURES[name](in_integers, about["thresholds"]),
    }
    write_card(zoo / name, about_card(network, name, command, kept, about["thresholds"]) | figures)
    typer.echo((zoo / name / "card.md").read_text())


if __name__ == "__main__":
    app()
