"""Word error rates by cohort, the arbitrator's choices by frame class, and its controls.

    python -m models.training.evaluate RUNS/amnet/last.pt --data FOLDER

A cohort is a list of utterances; a transcriber is any function from features float32[T, 192] to
words, so that float torch and the simulator's integers are measured by the same lines. The 95 %
interval is a bootstrap over utterances.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jiwer
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from azsim.execute.features import FeatureConfig, features
from models.amnet import AmNet
from models.rnnt import WORDS, Rnnt
from models.training import data, espeak
from models.training.data import EDGE, INSIDE, SILENCE, Utterance, pad_frames

Transcriber = Callable[[np.ndarray], list[str]]
MAX_SYMBOLS_PER_FRAME = 2
PENALTIES = tuple(float(p) for p in np.arange(0, 6.01, 0.5))
CLASS_NAMES = {SILENCE: "silence", EDGE: "word edge", INSIDE: "inside a word"}


@dataclass(frozen=True)
class Cohort:
    """Utterances of one kind with their features."""

    name: str
    utterances: list[Utterance]
    frames: list[np.ndarray]
    vocabulary: tuple[str, ...] = WORDS

    @property
    def references(self) -> list[list[str]]:
        return [[self.vocabulary[w] for w in utterance.words] for utterance in self.utterances]


def cohort(name: str, utterances: list[Utterance], config: FeatureConfig) -> Cohort:
    return Cohort(name, utterances, [features(u.samples, config) for u in utterances])


def human_cohorts(folder: Path, config: FeatureConfig, splicings: int = 12) -> dict[str, Cohort]:
    """Held-out recordings of the known speakers, the speaker never heard, and the development split."""
    fsdd = data.load_fsdd(folder)
    known, unheard = data.KNOWN_SPEAKERS, (data.UNHEARD_SPEAKER,)
    theo = data.spliced_set(fsdd, unheard, range(50), 2, seed=102)
    sets = {
        "known speakers, held-out takes": data.spliced_set(fsdd, known, data.TEST_TAKES, splicings, seed=101),
        "theo, never heard": theo,
        "theo, 10 dB louder": [replace(u, samples=u.samples * np.float32(10**0.5)) for u in theo],
        "development": data.spliced_set(fsdd, known, data.DEVELOPMENT_TAKES, splicings // 2, seed=103),
    }
    return {name: cohort(name, utterances, config) for name, utterances in sets.items()}


def espeak_cohorts(cache: Path, config: FeatureConfig) -> dict[str, Cohort]:
    """Synthetic voices: spliced digits and whole sentences of held-out voices, new sentences of heard ones."""
    rng = np.random.default_rng(104)
    words = data.load_espeak(espeak.unseen_words(), cache, "unseen_words")
    spliced = []
    for voice in espeak.UNSEEN_VOICES:
        own = [clip for clip in words if clip.speaker == voice]
        order = rng.permutation(len(own))
        spliced += [[own[i] for i in order[start : start + 5]] for start in range(0, len(own), 5)]
    unseen = espeak.sentences(list(espeak.UNSEEN_VOICES), 10, seed=105)
    heard = espeak.sentences(espeak.heard_voices()[::3], 3, seed=106)
    sets = {
        "espeak-ng, unseen voices, spliced": spliced,
        "espeak-ng, unseen voices, sentences": [[c] for c in data.load_espeak(unseen, cache, "unseen_sentences")],
        "espeak-ng, heard voices, sentences": [[c] for c in data.load_espeak(heard, cache, "heard_test")],
    }
    return {
        name: cohort(name, [data.quiet_noise(data.splice(clips, rng), rng) for clips in strings], config)
        for name, strings in sets.items()
    }


@torch.no_grad()
def encode(network: Rnnt, frames: torch.Tensor, choice: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoder output float[T, B, H] and, for a branching encoder, the arm of each frame float[T, B]."""
    if isinstance(network, AmNet):
        encoded = network.encode_branching(frames, choice=choice)
        return encoded.output, encoded.gates
    return network.encode(frames), torch.ones(frames.shape[:2])


@torch.no_grad()
def greedy(network: Rnnt, encoded: torch.Tensor, n_frames: torch.Tensor, blank_penalty: float) -> list[list[int]]:
    """Words (indices) by greedy search for a batch at once; the same as ``azsim.graph.search`` runs for one."""
    n_batch = encoded.shape[1]
    sizes = network.sizes
    words: list[list[int]] = [[] for _ in range(n_batch)]
    state = (encoded.new_zeros(n_batch, sizes.prediction), encoded.new_zeros(n_batch, sizes.prediction))
    state = network.prediction(network.embedding(torch.full((n_batch,), network.blank)), state)
    projected = network.from_encoder(encoded)
    penalty = torch.zeros(network.blank + 1)
    penalty[network.blank] = blank_penalty
    for t in range(len(encoded)):
        active = t < n_frames
        for _ in range(MAX_SYMBOLS_PER_FRAME):
            joined = torch.relu(projected[t] + network.from_prediction(state[0]))
            token = (network.to_vocabulary(joined) - penalty).argmax(dim=1)
            active = active & (token != network.blank)
            if not active.any():
                break
            new = network.prediction(network.embedding(token), state)
            state = tuple(torch.where(active[:, None], a, b) for a, b in zip(new, state, strict=True))
            for i in active.nonzero().flatten().tolist():
                words[i].append(int(token[i]))
    return words


def batches(frames: list[np.ndarray], size: int = 64) -> list[np.ndarray]:
    """Indices of utterances of like length, together."""
    order = np.argsort([len(f) for f in frames], kind="stable")
    return [order[i : i + size] for i in range(0, len(order), size)]


Choose = Callable[[int], np.ndarray]


def transcribe(
    network: Rnnt,
    frames: list[np.ndarray],
    blank_penalty: float,
    choose: Choose | None = None,
    vocabulary: tuple[str, ...] = WORDS,
) -> tuple[list[list[str]], list[np.ndarray]]:
    """Words and arms of many utterances in float; ``choose(i)`` overrides the arbitrator with float[T] of 0 and 1."""
    words: list[list[str]] = [[] for _ in frames]
    arms: list[np.ndarray] = [np.zeros(0)] * len(frames)
    for group in batches(frames):
        padded = pad_frames([frames[i] for i in group])
        n_frames = torch.tensor([len(frames[i]) for i in group])
        forced = None
        if choose is not None:
            forced = pad_frames([choose(int(i))[:, None].astype(np.float32) for i in group]).squeeze(2)
        encoded, gates = encode(network, padded, forced)
        found = greedy(network, encoded, n_frames, blank_penalty)
        for column, i in enumerate(group):
            words[i] = [vocabulary[token] for token in found[column]]
            arms[i] = gates[: len(frames[i]), column].numpy()
    return words, arms


def word_errors(references: list[list[str]], hypotheses: list[list[str]]) -> dict[str, Any]:
    """Word error rate with its kinds and a 95 % interval (bootstrap over utterances)."""
    counted = [
        jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    kinds = np.array([(c.substitutions, c.deletions, c.insertions) for c in counted])
    lengths = np.array([len(reference) for reference in references])
    drawn = np.random.default_rng(7).integers(0, len(lengths), (1000, len(lengths)))
    rates = kinds.sum(axis=1)[drawn].sum(axis=1) / lengths[drawn].sum(axis=1)
    return {
        "word_error_rate": float(kinds.sum() / lengths.sum()),
        "interval_95": [float(q) for q in np.quantile(rates, [0.025, 0.975])],
        "substitutions": int(kinds[:, 0].sum()),
        "deletions": int(kinds[:, 1].sum()),
        "insertions": int(kinds[:, 2].sum()),
        "words": int(lengths.sum()),
        "utterances": len(lengths),
    }


def measure(transcriber: Transcriber, cohort: Cohort, limit: int | None = None) -> dict[str, Any]:
    """Word errors of any transcriber, one utterance at a time (the first ``limit`` of a cohort)."""
    return word_errors(cohort.references[:limit], [transcriber(f) for f in cohort.frames[:limit]])


def tune_blank_penalty(network: Rnnt, cohort: Cohort) -> float:
    """The penalty with the fewest errors on a development cohort; the middle one of equals."""
    rates = [
        word_errors(cohort.references, transcribe(network, cohort.frames, p, vocabulary=cohort.vocabulary)[0])
        for p in PENALTIES
    ]
    lowest = min(rate["word_error_rate"] for rate in rates)
    best = [p for p, rate in zip(PENALTIES, rates, strict=True) if rate["word_error_rate"] <= lowest + 5e-4]
    return best[len(best) // 2]


def share_by_class(cohort: Cohort, arms: list[np.ndarray], config: FeatureConfig) -> dict[str, Any]:
    """Share of frames on the simple arm, in all and by class, with the number of frames."""
    classes = np.concatenate([
        data.frame_classes(u, len(f), config) for u, f in zip(cohort.utterances, cohort.frames, strict=True)
    ])  # fmt: skip
    is_simple = np.concatenate(arms) < 0.5
    rows = {"all": {"simple": float(is_simple.mean()), "frames": len(is_simple)}}
    for number, name in CLASS_NAMES.items():
        chosen = is_simple[classes == number]
        rows[name] = {"simple": float(chosen.mean()) if len(chosen) else 0.0, "frames": len(chosen)}
    return rows


def loudness(frames: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Log energy of each frame over all bands; float[T]."""
    bands = frames.reshape(len(frames), config.stack, config.bands) * np.array(config.std) + np.array(config.mean)
    return np.log(np.exp(bands).sum(axis=(1, 2)))


def controls(network: AmNet, cohort: Cohort, penalty: float, simple_share: float, config: FeatureConfig) -> dict:
    """Other ways to choose the arm, the random one and the energy gate at the arbitrator's share of simple frames."""
    loud = [loudness(f, config) for f in cohort.frames]
    threshold = float(np.quantile(np.concatenate(loud), simple_share))
    ways: dict[str, Choose] = {
        "always complex": lambda i: np.ones(len(cohort.frames[i])),
        "always simple": lambda i: np.zeros(len(cohort.frames[i])),
        "energy gate": lambda i: loud[i] > threshold,
    }
    for seed in range(3):
        ways[f"random {seed}"] = lambda i, seed=seed: (
            np.random.default_rng((seed, i)).random(len(cohort.frames[i])) >= simple_share
        )
    return {
        name: word_errors(cohort.references, transcribe(network, cohort.frames, penalty, choose)[0])
        for name, choose in ways.items()
    }


def load_run(file: Path) -> tuple[Rnnt, FeatureConfig, dict[str, Any]]:
    """Network, front end and what else ``last.pt`` holds."""
    kept = torch.load(file, weights_only=True)
    kind = AmNet if "arbitrator.weight" in kept["network"] else Rnnt
    network = kind(symbols=len(kept["network"]["embedding.weight"]))
    network.load_state_dict(kept["network"])
    return network.eval(), FeatureConfig(**kept["features"]), kept


def evaluate(network: Rnnt, config: FeatureConfig, folder: Path, cache: Path, splicings: int = 12) -> dict[str, Any]:
    """Everything a card reports about words and arms, in float."""
    human = human_cohorts(folder, config, splicings)
    penalty = tune_blank_penalty(network, human.pop("development"))
    cohorts = human | espeak_cohorts(cache, config)
    result: dict[str, Any] = {"blank_penalty": penalty, "word_errors": {}}
    for name, tested in cohorts.items():
        words, arms = transcribe(network, tested.frames, penalty)
        result["word_errors"][name] = word_errors(tested.references, words)
        if isinstance(network, AmNet) and name == "known speakers, held-out takes":
            result["simple_arm"] = share_by_class(tested, arms, config)
            share = result["simple_arm"]["all"]["simple"]
            result["controls"] = controls(network, tested, penalty, share, config)
    without = transcribe(network, cohorts["known speakers, held-out takes"].frames, 0.0)[0]
    result["without_blank_penalty"] = word_errors(cohorts["known speakers, held-out takes"].references, without)
    return result


def show(result: dict[str, Any]) -> None:
    """Print the figures as tables."""
    console = Console()
    rows = result["word_errors"] | {"known, no blank penalty": result["without_blank_penalty"]}
    for title, table_rows in (("words", rows), ("controls", result.get("controls", {}))):
        table = Table("set", "WER %", "95 %", "sub", "del", "ins", "words", title=title)
        for name, row in table_rows.items():
            low, high = row["interval_95"]
            table.add_row(
                name, f"{100 * row['word_error_rate']:.2f}", f"{100 * low:.2f}-{100 * high:.2f}",
                *(str(row[k]) for k in ("substitutions", "deletions", "insertions", "words")),
            )  # fmt: skip
        if table_rows:
            console.print(table)
    for name, row in result.get("simple_arm", {}).items():
        console.print(f"simple arm, {name}: {100 * row['simple']:.1f} % of {row['frames']:,} frames")
    console.print(f"blank penalty {result['blank_penalty']}")


def main(
    run: Path,
    folder: Annotated[Path, typer.Option("--data", help="folder with fsdd.npz and index.csv")],
    cache: Annotated[Path, typer.Option("--cache", help="folder for espeak-ng clips")] = Path("~/.cache/azsim"),
    splicings: int = 12,
) -> None:
    """Evaluate a run's last.pt in float."""
    torch.set_num_threads(1)
    network, config, _ = load_run(run)
    show(evaluate(network, config, folder, cache.expanduser(), splicings))


if __name__ == "__main__":
    typer.run(main)
