"""Export the networks of the household language, and measure them: greedy, beam, oracle and re-ranked.

    python -m models.training.household_card text
    python -m models.training.household_card export RUNS/house/last.pt household_rnnt --data FOLDER --command "..."
    python -m models.training.household_card measure household_rnnt --data FOLDER
    python -m models.training.household_card recordings "unseen voices, unseen phrases" --out FOLDER

``text`` writes what the cloud's language model is fitted to: sentences drawn from all of the grammar, as a cloud would
have read them, those included that no network heard. ``export`` measures in float, ``measure`` in integers as the
simulator executes: one-best of greedy and of beam search, the best path of the lattice (its oracle), and the path that
the language model ranks first. As controls: a word bonus without any language model, and a *strict* model that has not
read the held-out sentences either. Each is tuned on the development sets.
"""

import gzip
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import torch
import typer
from rich.progress import track
from safetensors.torch import save_file

from azsim.execute.features import FeatureConfig
from azsim.execute.interpreter import Interpreter
from azsim.graph.beam import Beam
from azsim.graph.language_model import LanguageModel, load_language_model, rerank
from azsim.graph.lattice import Lattice
from azsim.graph.network import Network, load_network
from azsim.weights.calibrate import calibrate
from azsim.weights.quantize import quantize
from models import household
from models.amnet import AmNet
from models.rnnt import Rnnt
from models.training import data
from models.training.card import ATTRIBUTION, percent
from models.training.evaluate import (
    MAX_SYMBOLS_PER_FRAME,
    Cohort,
    cohort,
    load_run,
    transcribe,
    tune_blank_penalty,
    word_errors,
)
from models.training.export import calibration, macs_per_frame, save_graphs
from models.training.household import HouseholdCorpus, test_sets
from models.training.prune import matrices

app = typer.Typer(add_completion=False, help=__doc__)
ROOT = Path(__file__).parents[1]
TEXT, SENTENCES, TEXT_SEED, ORDER = ROOT / "household.txt.gz", 25_000, 41, 6
STRICT_ORDER = 3
WIDTHS, LATTICE_NATS, N_BEST = (8,), 12.0, 50
WEIGHTS, BONUSES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5), (0.0, 0.5, 1.0, 1.5, 2.0)
DEVELOPMENT = ("development", "development, unseen phrases")
FolderOption = Annotated[Path, typer.Option("--data", help="folder with fsdd.npz and index.csv")]
CacheOption = Annotated[Path, typer.Option("--cache", help="folder for espeak-ng clips")]
DEFAULT_CACHE = Path("~/.cache/azsim")


def cohorts(folder: Path, cache: Path, config: FeatureConfig) -> dict[str, Cohort]:
    """Household test sets, the development set first, and human digit strings of held-out takes."""
    made = {}
    for name, utterances in test_sets(cache.expanduser()).items():
        made[name] = cohort(name, utterances, config)
    strings = data.spliced_set(data.load_fsdd(folder), data.KNOWN_SPEAKERS, data.TEST_TAKES, 2, seed=101)
    made["human digits, held-out takes"] = cohort("human digits, held-out takes", strings, config)
    return {name: Cohort(name, one.utterances, one.frames, household.WORDS) for name, one in made.items()}


@app.command()
def text(out: Annotated[Path, typer.Option(help="file to write")] = TEXT) -> None:
    """Write the text that the cloud's language model is fitted to."""
    rng = np.random.default_rng(TEXT_SEED)
    lines = "\n".join(household.draw(rng, held_out=None) for _ in range(SENTENCES)) + "\n"
    out.write_bytes(gzip.compress(lines.encode(), mtime=0))


@app.command()
def export(
    run: Path,
    name: Annotated[str, typer.Argument(help="household_rnnt or household_amnet")],
    folder: FolderOption,
    command: Annotated[str, typer.Option(help="command that trained it, for the card")],
    cache: CacheOption = DEFAULT_CACHE,
) -> None:
    """Write a run's last.pt to the zoo and measure it in float."""
    torch.set_num_threads(1)
    network, config, kept = load_run(run)
    made = cohorts(folder, cache, config)
    penalty = tune_blank_penalty(network, made["development"])
    made = {title: tested for title, tested in made.items() if title not in DEVELOPMENT}
    rows, arms = {}, {}
    for title, tested in made.items():
        words, taken = transcribe(network, tested.frames, penalty, vocabulary=household.WORDS)
        rows[title] = word_errors(tested.references, words)
        arms[title] = float((np.concatenate(taken) < 0.5).mean())
        typer.echo(f"{title}: {percent(rows[title]['word_error_rate'])} %")
    out = ROOT / "zoo" / name
    _write_network(network, config, penalty, name, out)
    corpus = HouseholdCorpus(folder, cache.expanduser(), config, seed=3, any_level=True)
    np.savez_compressed(out / "calibration.npz", **calibration(corpus, config))
    (out / "LICENSE.md").write_text(ATTRIBUTION)
    simple_share = arms["unseen voices, unseen phrases"]
    card = {
        "name": name,
        "summary": f"{(type(network).__doc__ or '').splitlines()[0]} {len(household.WORDS)} words of commands.",
        "licence": "CC BY-SA 4.0",
        "data": "espeak-ng: 56 voices (6 accents, 11 variants; en-gb has only itself), 3,960 sentences of "
        "models/household.py and single words; 25 % human digit strings (Free Spoken Digit Dataset, "
        "takes 5-44 of five speakers)",
        "command": command,
        "seed": kept["seed"],
        "steps": kept["steps"],
        "weights": sum(p.numel() for p in network.parameters()),
        "matrix_weights": sum(p.numel() for p in matrices(network).values()),
        "zero_share": {key: round(float((p == 0).float().mean()), 4) for key, p in matrices(network).items()},
        "macs": macs_per_frame(network, simple_share),
        "float": {"blank_penalty": penalty, "word_errors": rows},
        "integer": None,
    }
    if isinstance(network, AmNet):
        card["float"]["simple_arm_share"] = arms
    write(out, card)


def _write_network(network: Rnnt, config: FeatureConfig, penalty: float, name: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "name": name, "kind": "rnnt", "graphs": save_graphs(network, out), "weights": "weights.safetensors",
        "vocabulary": list(household.VOCABULARY), "blank": household.BLANK, "blank_penalty": penalty,
        "max_symbols_per_frame": MAX_SYMBOLS_PER_FRAME, "frames_per_step": 1,
        "features": config.model_dump(mode="json"), "weight_bits": 8, "synthetic_weights": False,
    }  # fmt: skip
    (out / "network.json").write_text(json.dumps(about, indent=1) + "\n")
    tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    save_file(tensors, out / "weights.safetensors")


@app.command()
def measure(
    name: Annotated[str, typer.Argument(help="a network of the zoo")],
    folder: FolderOption,
    cache: CacheOption = DEFAULT_CACHE,
) -> None:
    """Fill the integer part of a network's card."""
    network = load_network(name)
    made = cohorts(folder, cache, FeatureConfig(**network.features))
    searched = {title: search_all(network, tested) for title, tested in made.items()}
    lattices = [found[WIDTHS[-1]] for title in DEVELOPMENT for found in searched[title]]
    references = [words for title in DEVELOPMENT for words in made[title].references]
    rankings = {}
    for title, (model, weights) in models().items():
        rankings[title] = model, *tune(network, model, references, lattices, weights)
    rows = {
        title: measured(network, tested, searched[title], rankings)
        for title, tested in made.items()
        if title not in DEVELOPMENT
    }
    for title, row in rows.items():
        typer.echo(f"{title}: " + ", ".join(f"{k} {percent(v)}" for k, v in row.items() if k.endswith("_wer")))
    out = ROOT / "zoo" / name
    card = json.loads((out / "card.json").read_text())
    card["integer"] = {
        "word_errors": {title: row.pop("greedy") for title, row in rows.items()},
        "search": rows,
        "rankings": {
            title: {
                "language_weight": weight, "word_bonus": bonus, "order": model.order, "n_grams": model.n_grams,
                "bytes": model.bytes,
            }
            for title, (model, weight, bonus) in rankings.items()
        },
        "note": f"executed by azsim with {network.weight_bits}-bit weights and int8 activations",
    }  # fmt: skip
    write(out, card)


Ranking = tuple[LanguageModel, float, float]  # model, its weight, word bonus


def models() -> dict[str, tuple[LanguageModel, tuple[float, ...]]]:
    """Language models to rank with, and the weights to try: none, one that read nothing held out, the cloud's."""
    lines = gzip.decompress(TEXT.read_bytes()).decode().splitlines()
    strict = LanguageModel([line.split() for line in lines if not household.is_held_out(line)], STRICT_ORDER)
    return {
        "bonus": (strict, (0.0,)),
        "strict": (strict, WEIGHTS),
        "reranked": (load_language_model(TEXT, ORDER), WEIGHTS),
    }


@app.command()
def recordings(
    title: Annotated[str, typer.Argument(help="a test set, e.g. 'unseen voices, unseen phrases'")],
    out: Annotated[Path, typer.Option("--out", help="folder for a .wav and a .txt per utterance")],
    cache: CacheOption = DEFAULT_CACHE,
) -> None:
    """Write a test set as recordings, for streams; speech ends 0.3 to 0.6 s before each does."""
    out.mkdir(parents=True, exist_ok=True)
    for number, utterance in enumerate(test_sets(cache.expanduser())[title]):
        level = 0.5 / np.abs(utterance.samples).max()
        soundfile.write(out / f"{number:03d}.wav", utterance.samples * level, data.RATE_HZ, subtype="PCM_16")
        (out / f"{number:03d}.txt").write_text(" ".join(household.WORDS[w] for w in utterance.words) + "\n")


Searched = dict[int, Lattice | tuple[int, ...]]  # by beam width; 1 is greedy search and has only words


def search_all(network: Network, tested: Cohort) -> list[Searched]:
    """Greedy words and a pruned lattice per beam width, for each utterance."""
    quantized = quantize(network, calibrate(network, network.calibration), network.weight_bits)
    interpreter = Interpreter(quantized, {key: tensor.values for key, tensor in quantized.tensors.items()})
    found = []
    for frames in track(tested.frames, tested.name):
        one: Searched = {1: interpreter.execute(frames).hypothesis.tokens}
        for width in WIDTHS:
            last = interpreter.execute(frames, beam=Beam(width=width)).lattices[len(frames) - 1]
            one[width] = last.pruned(LATTICE_NATS)
        found.append(one)
    return found


def tune(
    network: Network,
    model: LanguageModel,
    references: list[list[str]],
    lattices: list[Lattice],
    weights: tuple[float, ...],
) -> tuple[float, float]:
    """(weight, word bonus) with the fewest errors."""

    def errors(weight: float, bonus: float) -> int:
        words = [_said(network, rerank(x, network.vocabulary, model, weight, bonus, N_BEST)[0][0]) for x in lattices]
        row = word_errors(references, words)
        return row["substitutions"] + row["deletions"] + row["insertions"]

    return min(((w, b) for w in weights for b in BONUSES), key=lambda pair: errors(*pair))


def _said(network: Network, tokens: tuple[int, ...]) -> list[str]:
    return [network.vocabulary[token] for token in tokens]


def measured(
    network: Network, tested: Cohort, searched: list[Searched], rankings: dict[str, Ranking]
) -> dict[str, Any]:
    """Word error rates of one cohort, and what its lattices weigh."""
    references = tested.references
    greedy = word_errors(references, [_said(network, one[1]) for one in searched])
    row: dict[str, Any] = {"greedy": greedy, "greedy_wer": greedy["word_error_rate"]}
    for width in WIDTHS:
        lattices = [one[width] for one in searched]
        found = {"": [_said(network, x.best(1)[0][0]) for x in lattices]}
        for title, (model, weight, bonus) in rankings.items():
            again = [rerank(x, network.vocabulary, model, weight, bonus, N_BEST)[0][0] for x in lattices]
            found[f"_{title}"] = [_said(network, tokens) for tokens in again]
        for title, words in found.items():
            errors = word_errors(references, words)
            row[f"beam_{width}{title}_wer"] = errors["word_error_rate"]
            row[f"beam_{width}{title}_interval_95"] = errors["interval_95"]
        wrong = sum(x.oracle(u.words) for x, u in zip(lattices, tested.utterances, strict=True))
        row[f"beam_{width}_oracle_wer"] = wrong / sum(map(len, references))
        row[f"beam_{width}_lattice_bytes"] = float(np.mean([len(x.to_bytes()) for x in lattices]))
    row["audio_s"] = float(np.mean([len(u.samples) for u in tested.utterances])) / data.RATE_HZ
    return row


def write(out: Path, card: dict[str, Any]) -> None:
    """card.json and its readable twin."""
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (out / "card.md").write_text(page(card))


def page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    result, integer = card["float"], card["integer"] or {}
    lines = [
        f"# {card['name']}", "", card["summary"], "", "This page is made from `card.json`.", "", "| | |", "|---|---|",
        f"| data | {card['data']}; theo, the accents en-gb-scotland and en-029 and a tenth of the sentences left out |",
        f"| licence of the weights | {card['licence']}, see `LICENSE.md` |",
        f"| command | `{card['command']}` |", f"| seed, steps | {card['seed']}, {card['steps']:,} |",
        f"| weights and biases | {card['weights']:,}, of which {card['matrix_weights']:,} in matrices |",
        f"| zeros by matrix | {min(card['zero_share'].values()):.0%} to {max(card['zero_share'].values()):.0%} |",
        *(f"| MACs, {name} | {macs:,.0f} |" for name, macs in card["macs"].items()),
        f"| blank penalty | {result['blank_penalty']} nats, tuned on new sentences of heard voices |",
        "", "## Word error rate, greedy search", "",
        "| set | WER %, float | 95 % interval | sub / del / ins | words | WER %, integer |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in result["word_errors"].items():
        low, high = row["interval_95"]
        found = integer.get("word_errors", {}).get(name)
        lines.append(
            f"| {name} | {percent(row['word_error_rate'])} | {percent(low)} to {percent(high)} | "
            f"{row['substitutions']} / {row['deletions']} / {row['insertions']} | {row['words']:,} | "
            f"{percent(found['word_error_rate']) if found else '-'} |"
        )
    for name, share in result.get("simple_arm_share", {}).items():
        lines.append(f"\nSimple arm on {percent(share)} % of the frames: {name}.")
    if integer:
        lines += _search_lines(integer)
    lines += [
        "",
        "Sentences are spoken by espeak-ng, a third of them with a pause inside, with noise at 20 dB; no human speaks",
        "the commands. Unseen voices are other accents and other variants than any heard in training.",
    ]
    return "\n".join(lines) + "\n"


def _search_lines(integer: dict[str, Any]) -> list[str]:
    cloud, strict, bonus = (integer["rankings"][name] for name in ("reranked", "strict", "bonus"))
    lines = [
        "",
        "## Search, in integers",
        "",
        "| set | greedy | "
        + " | ".join(f"beam {w} | oracle | bonus | strict | re-ranked | bytes" for w in WIDTHS)
        + " |",
        "|---" * (2 + 6 * len(WIDTHS)) + "|",
    ]
    for name, row in integer["search"].items():
        cells = [percent(row["greedy_wer"])]
        for w in WIDTHS:
            keys = ("wer", "oracle_wer", "bonus_wer", "strict_wer", "reranked_wer")
            cells += [percent(row[f"beam_{w}_{key}"]) for key in keys]
            cells.append(f"{row[f'beam_{w}_lattice_bytes']:.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"WER in %, bytes of a lattice pruned at {LATTICE_NATS:g} nats. Re-ranked, as by a cloud: lattice + "
        f"{cloud['language_weight']} x log-probability of a word {cloud['order']}-gram model of {SENTENCES:,} "
        f"sentences of all of the grammar ({cloud['n_grams']:,} n-grams, {cloud['bytes']:,} bytes) + "
        f"{cloud['word_bonus']} per word.",
        f"Strict: {strict['language_weight']} x a {strict['order']}-gram model that has not read the held-out "
        f"sentences either ({strict['n_grams']:,} n-grams) + {strict['word_bonus']} per word. Bonus: "
        f"{bonus['word_bonus']} per word and no language model. Each is tuned on the development sets. "
        f"{integer['note'].capitalize()}.",
    ]


if __name__ == "__main__":
    app()
