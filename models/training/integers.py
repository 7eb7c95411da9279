"""Measure a zoo network as the simulator executes it, in integers, and add it to its card.

    python -m models.training.integers amnet --data FOLDER

The utterances are those of the float figures, so the rates differ by arithmetic alone.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track

from azsim.execute.features import FeatureConfig
from azsim.execute.interpreter import Interpreter
from azsim.graph.network import Network, load_network
from azsim.weights.calibrate import calibrate
from azsim.weights.quantize import quantize
from models.training.card import write_card
from models.training.evaluate import Transcriber, espeak_cohorts, human_cohorts, word_errors


def integer_transcriber(network: Network) -> Transcriber:
    """A function from features to words that runs the quantized network in the integer interpreter."""
    if network.calibration is None:
        raise ValueError(f"{network.name}: has no calibration.npz; export it with models.training.export")
    quantized = quantize(network, calibrate(network, network.calibration), network.weight_bits)
    interpreter = Interpreter(quantized, {name: tensor.values for name, tensor in quantized.tensors.items()})

    def transcribe(frames: np.ndarray) -> list[str]:
        hypothesis = interpreter.execute(frames).hypothesis
        return [network.vocabulary[token] for token in hypothesis.tokens] if hypothesis else []

    return transcribe


def main(
    name: Annotated[str, typer.Argument(help="a network of the zoo")],
    folder: Annotated[Path, typer.Option("--data", help="folder with fsdd.npz and index.csv")],
    cache: Annotated[Path, typer.Option("--cache", help="folder for espeak-ng clips")] = Path("~/.cache/azsim"),
    splicings: Annotated[int, typer.Option(help="of the held-out takes; the card's float figures use 12")] = 12,
) -> None:
    """Fill the integer columns of a network's card."""
    out = Path(__file__).parents[1] / "zoo" / name
    network = load_network(name)
    config = FeatureConfig(**network.features)
    transcribe = integer_transcriber(network)
    human = human_cohorts(folder, config, splicings)
    human.pop("development")
    measured = {}
    for cohort in (human | espeak_cohorts(cache.expanduser(), config)).values():
        words = [transcribe(frames) for frames in track(cohort.frames, cohort.name)]
        measured[cohort.name] = word_errors(cohort.references, words)
        typer.echo(f"{cohort.name}: {100 * measured[cohort.name]['word_error_rate']:.2f} %")
    card = json.loads((out / "card.json").read_text())
    note = f"executed by azsim with {network.weight_bits}-bit weights and int8 activations"
    card["integer"] = {
        "word_errors": measured,
        "splicings": splicings,
        "note": f"{note}; {splicings} splicings.",
    }
    write_card(out, card)


if __name__ == "__main__":
    typer.run(main)
