"""Train the networks of the zoo; one command each, pruning included.

    python -m models.training.train rnnt  --data FOLDER --out RUNS/rnnt
    python -m models.training.train amnet --data FOLDER --out RUNS/amnet --start RUNS/rnnt/last.pt
    python -m models.training.train rnnt  --data FOLDER --out RUNS/house --language household

The networks of the zoo were made with the options that their cards name: the RNN-T had 7,000 steps
before we saw that a quiet stranger defeats it, and 1,500 more with levels drawn whoever speaks.

A run writes ``last.pt`` (network, optimizer, masks, step, front end) every 250 steps and goes on from
it when started again; ``log.csv`` has a row per 50 steps. Everything is scheduled by steps and drawn
from (seed, step), so the same command gives the same network.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file
from torch import nn

from azsim.execute.features import FeatureConfig
from models import household
from models.amnet import AmNet
from models.rnnt import VOCABULARY, Rnnt
from models.training.data import Batch, Corpus, fit_normalization
from models.training.household import HouseholdCorpus
from models.training.loss import rnnt_loss
from models.training.prune import Pruner

app = typer.Typer(add_completion=False, help=__doc__)
DEFAULT_CACHE = Path("~/.cache/azsim")
WARM_UP_STEPS, COSINE_FROM, CLIP_NORM = 100, 0.3, 5.0
ALIGNED_STEPS = 1_400  # the auxiliary frame-wise loss fades out by this step; RNN-T alone sits at chance for 1,000
HOUSEHOLD_ALONE_STEPS, HOUSEHOLD_ALIGNED_STEPS = 1_200, 4_000  # auxiliary losses alone, then beside, fading out
RANDOM_UNTIL, NOISE_UNTIL = 0.2, 0.7  # shares of AmNet's steps
LOGIT_PRICE = 0.01
SAVE_EVERY, LOG_EVERY = 250, 50


@dataclass
class Training:
    """A network on its way, with all that ``last.pt`` keeps."""

    network: Rnnt
    features: FeatureConfig
    steps: int
    rate: float
    seed: int
    pruner: Pruner
    out: Path
    extra: nn.Module = field(default_factory=nn.Identity)  # trained beside the network and then dropped
    step: int = 0
    aligned_steps: int = 0
    alone_steps: int = 0

    def __post_init__(self) -> None:
        self.trained = [*self.network.parameters(), *self.extra.parameters()]
        self.optimizer = torch.optim.AdamW(self.trained, lr=self.rate, weight_decay=1e-3)

    def auxiliary_loss(self, encoded: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Frame-wise on the splicing's alignment, and CTC besides where ``extra`` has it."""
        if isinstance(self.extra, Auxiliary):
            return self.extra(encoded, batch)
        return nn.functional.cross_entropy(self.extra(encoded).flatten(0, 1), batch.labels.flatten())

    def learning_rate(self) -> float:
        """Warm-up, a constant stretch, then a cosine down to 1 % of the rate."""
        if self.step < WARM_UP_STEPS:
            return self.rate * (self.step + 1) / WARM_UP_STEPS
        progress = max(0.0, (self.step / self.steps - COSINE_FROM) / (1 - COSINE_FROM))
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))

    def save(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        partial = self.out / "last.partial"
        torch.save(
            {
                "step": self.step, "network": self.network.state_dict(), "extra": self.extra.state_dict(),
                "optimizer": self.optimizer.state_dict(), "masks": self.pruner.masks,
                "features": self.features.model_dump(), "seed": self.seed, "steps": self.steps,
            },
            partial,
        )  # fmt: skip
        partial.rename(self.out / "last.pt")

    def resume(self) -> None:
        """Go on from ``last.pt`` if there is one."""
        if (self.out / "last.pt").exists():
            kept = torch.load(self.out / "last.pt", weights_only=True)
            self.network.load_state_dict(kept["network"])
            self.extra.load_state_dict(kept["extra"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.pruner.masks.update(kept["masks"])
            self.step = kept["step"]


Objective = Callable[[Training, Batch], tuple[torch.Tensor, dict[str, Any]]]


def transducer_loss(network: Rnnt, encoded: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean over the batch of the RNN-T loss, in nats per utterance."""
    logits = network.join(encoded, network.predict(batch.targets))
    return rnnt_loss(logits, batch.targets, batch.n_frames, batch.n_words, network.blank).mean()


class Auxiliary(nn.Module):
    """What helps the encoder to start, on its outputs: word or blank per frame, and CTC where no alignment is known.

    With ten words these may be trained beside the RNN-T loss from the first step on. With 144 the RNN-T loss,
    which is learned from the grammar first, drowned them: after 2,400 steps 6 % of the word frames were right. So
    the encoder starts alone (``training.alone_steps``), with blanks counted a fifth.
    """

    CTC_WEIGHT, BLANK_WEIGHT = 0.2, 0.2

    def __init__(self, encoded: int, symbols: int) -> None:
        super().__init__()
        self.classes, self.ctc = nn.Linear(encoded, symbols), nn.Linear(encoded, symbols)
        weights = torch.ones(symbols)
        weights[-1] = self.BLANK_WEIGHT
        self.register_buffer("class_weights", weights)

    def forward(self, encoded: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Sum of both losses, the CTC loss in nats per utterance."""
        scores, labels = self.classes(encoded).flatten(0, 1), batch.labels.flatten()
        framewise = nn.functional.cross_entropy(scores, labels, self.class_weights)
        scores = self.ctc(encoded).log_softmax(-1)
        blank = scores.shape[-1] - 1
        ctc = nn.functional.ctc_loss(
            scores, batch.targets, batch.n_frames, batch.n_words, blank, reduction="none", zero_infinity=True
        )
        return framewise + self.CTC_WEIGHT * ctc.mean()


def rnnt_objective(training: Training, batch: Batch) -> tuple[torch.Tensor, dict[str, Any]]:
    """RNN-T loss, plus auxiliary losses on the encoder that fade out."""
    encoded = training.network.encode(batch.frames)
    if training.step < training.alone_steps:
        loss = training.auxiliary_loss(encoded, batch)
        return loss, {"rnnt": loss.item()}
    loss = transducer_loss(training.network, encoded, batch)
    weight = 2.0 * max(0.0, 1 - training.step / training.aligned_steps) if training.aligned_steps else 0.0
    if weight:
        return loss + weight * training.auxiliary_loss(encoded, batch), {"rnnt": loss.item()}
    return loss, {"rnnt": loss.item()}


class Price(nn.Module):
    """Lambda, the price of a frame's branch cost, as a Lagrange multiplier of the share of complex frames.

    It rises while the share is above ``target`` and falls below it, so that a run ends where it was
    asked to; a fixed lambda collapsed to one arm or the other with small changes of its value.
    """

    GAIN, HIGHEST = 0.004, 3.0

    def __init__(self, target: float) -> None:
        super().__init__()
        self.target = target
        self.register_buffer("value", torch.zeros(()))

    def update(self, share: float) -> None:
        self.value.add_(self.GAIN * (share - self.target)).clamp_(0.0, self.HIGHEST)


def amnet_objective(training: Training, batch: Batch) -> tuple[torch.Tensor, dict[str, Any]]:
    """RNN-T loss + lambda x mean branch cost, in two stretches.

    At first the arm is drawn at random, with another share for each utterance, until the simple arm
    can be used at all: an arbitrator that meets an untrained arm never chooses it again. Then the
    arbitrator chooses, under logistic noise that fades to nothing; a small price on its logit squared
    keeps the sigmoid from saturating, where it would stop to learn.
    """
    network, price = training.network, training.extra
    assert isinstance(network, AmNet) and isinstance(price, Price)
    shape = batch.frames.shape[:2]
    generator = torch.Generator().manual_seed(training.step)
    uniform = torch.rand(shape, generator=generator).clamp(1e-6, 1 - 1e-6)
    progress = training.step / training.steps
    if progress < RANDOM_UNTIL:
        choice = (uniform < 0.5 + 0.5 * torch.rand(shape[1], generator=generator)).float()
        encoded = network.encode_branching(batch.frames, choice=choice)
        loss = transducer_loss(network, encoded.output, batch)
        return loss, {"rnnt": loss.item(), "complex": choice.mean().item(), "lambda": 0.0}
    scale = max(0.0, (NOISE_UNTIL - progress) / (NOISE_UNTIL - RANDOM_UNTIL))
    encoded = network.encode_branching(batch.frames, noise=scale * torch.logit(uniform))
    loss = transducer_loss(network, encoded.output, batch)
    heard = torch.arange(shape[0])[:, None] < batch.n_frames
    share = (encoded.gates * heard).sum() / heard.sum()
    cost = network.simple_cost + (1 - network.simple_cost) * share
    price.update(share.item())
    figures = {"rnnt": loss.item(), "complex": share.item(), "lambda": price.value.item()}
    saturation = (encoded.logits.square() * heard).sum() / heard.sum()
    return loss + price.value.clone() * cost + LOGIT_PRICE * saturation, figures


def train(training: Training, corpus: Corpus, objective: Objective) -> None:
    """Run the schedule to its end."""
    training.resume()
    training.out.mkdir(parents=True, exist_ok=True)
    numbers = range(training.step, training.steps)
    loader = torch.utils.data.DataLoader(corpus, batch_size=None, sampler=numbers, num_workers=1, prefetch_factor=4)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    sums: dict[str, float] = {}
    with Progress(*columns) as progress, (training.out / "log.csv").open("a", newline="") as file:
        bar = progress.add_task("training", total=training.steps, completed=training.step)
        for batch in loader:
            for group in training.optimizer.param_groups:
                group["lr"] = training.learning_rate()
            training.optimizer.zero_grad()
            loss, figures = objective(training, batch)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(training.trained, CLIP_NORM)
            if torch.isfinite(norm):
                training.optimizer.step()
            training.step += 1
            training.pruner.apply(training.step)
            sums = {key: sums.get(key, 0.0) + value for key, value in figures.items()}
            if training.step % LOG_EVERY == 0:
                row = [training.step, *(round(total / LOG_EVERY, 4) for total in sums.values())]
                csv.writer(file).writerow(row)
                file.flush()
                shown = " ".join(f"{key} {total / LOG_EVERY:.3f}" for key, total in sums.items())
                progress.update(bar, completed=training.step, description=shown)
                sums = {}
            if training.step % SAVE_EVERY == 0 or training.step == training.steps:
                training.save()


def load_start(network: Rnnt, start: Path) -> FeatureConfig:
    """Give a network the weights of a trained RNN-T; returns that one's front end."""
    kept = torch.load(start, weights_only=True)
    network.load_state_dict(kept["network"], strict=False)
    return FeatureConfig(**kept["features"])


@torch.no_grad()
def load_encoder(network: Rnnt, weights: Path, generator: torch.Generator) -> None:
    """Give the encoder's LSTMs the weights of a network of the zoo; what was pruned there starts small and anew."""
    kept = load_file(weights)
    for name, parameter in network.named_parameters():
        if name.split(".")[0] in ("first", "second"):
            fresh = 0.02 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(torch.where(kept[name] == 0, fresh, kept[name]))


class Language(StrEnum):
    """What a network is trained to recognize."""

    digits = "digits"
    household = "household"

    @property
    def symbols(self) -> int:
        """Size of the vocabulary, blank included."""
        return len(VOCABULARY) if self is Language.digits else len(household.VOCABULARY)

    def corpus(self, data: Path, cache: Path, config: FeatureConfig, seed: int, any_level: bool) -> Corpus:
        """Training strings."""
        kind = Corpus if self is Language.digits else HouseholdCorpus
        return kind(data, cache.expanduser(), config, seed, any_level)


DataOption = Annotated[Path, typer.Option("--data", help="folder with fsdd.npz and index.csv")]
OutOption = Annotated[Path, typer.Option("--out", help="folder for last.pt and log.csv")]
LevelOption = Annotated[bool, typer.Option(help="draw levels whoever speaks, or vary each recording's own")]
StartOption = Annotated[Path | None, typer.Option("--start", help="last.pt of a trained RNN-T to go on from")]
LanguageOption = Annotated[Language, typer.Option(help="what is said: digits, or the commands of models/household.py")]
CacheOption = Annotated[Path, typer.Option("--cache", help="folder for espeak-ng clips")]


@app.callback()
def main() -> None:
    """Train a network of the zoo."""


@app.command()
def rnnt(
    data: DataOption,
    out: OutOption,
    language: LanguageOption = Language.digits,
    cache: CacheOption = DEFAULT_CACHE,
    start: StartOption = None,
    encoder: Annotated[Path | None, typer.Option(help="weights.safetensors whose encoder to start from")] = None,
    any_level: LevelOption = True,
    steps: int = 7_000,
    rate: float = 2e-3,
    zero_share: float = 0.5,
    seed: int = 1,
) -> None:
    """Train the RNN-T from scratch and prune it on the way (from 55 % to 75 % of the steps), or go on from one."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    corpus = language.corpus(data, cache, FeatureConfig(), seed, any_level)
    network = Rnnt(symbols=language.symbols)
    if start is None:
        corpus.config = fit_normalization(corpus)
        if encoder is not None:
            load_encoder(network, encoder, torch.Generator().manual_seed(seed))
    else:
        corpus.config = load_start(network, start)
    pruner = Pruner(network, zero_share, int(0.55 * steps), int(0.75 * steps))
    kind = nn.Linear if language is Language.digits else Auxiliary  # sentences in one breath have no alignment
    extra = kind(network.sizes.second, language.symbols)
    training = Training(network, corpus.config, steps, rate, seed, pruner, out, extra)
    if start is None:
        training.aligned_steps = ALIGNED_STEPS if language is Language.digits else HOUSEHOLD_ALIGNED_STEPS
        training.alone_steps = 0 if language is Language.digits else HOUSEHOLD_ALONE_STEPS
    train(training, corpus, rnnt_objective)


@app.command()
def amnet(
    data: DataOption,
    out: OutOption,
    start: Annotated[Path, typer.Option("--start", help="last.pt of the trained RNN-T")],
    language: LanguageOption = Language.digits,
    cache: CacheOption = DEFAULT_CACHE,
    any_level: LevelOption = True,
    steps: int = 2_000,
    rate: float = 5e-4,
    target: Annotated[float, typer.Option(help="share of frames that may take the complex arm")] = 0.5,
    zero_share: float = 0.5,
    seed: int = 2,
) -> None:
    """Train the branching encoder from the pruned RNN-T; the new arm is pruned from 40 % to 60 % of the steps."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = AmNet(symbols=language.symbols)
    config = load_start(network, start)
    corpus = language.corpus(data, cache, config, seed, any_level)
    network.start_simple_from_complex()
    nn.init.constant_(network.arbitrator.bias, 1.0)  # start with more of the complex arm, which is trained
    pruner = Pruner(network, zero_share, int(0.4 * steps), int(0.6 * steps))
    training = Training(network, corpus.config, steps, rate, seed, pruner, out, Price(target))
    train(training, corpus, amnet_objective)


if __name__ == "__main__":
    app()
