"""How close do the codecs come to the entropy of the weights, and what does each cost the decoder?

Expected: zero mask near 1 + density x bits; run length above it at 50 % zeros, because four index bits
for each non-zero weight are more than one mask bit for each weight; Huffman nearest to the entropy,
below zero mask as soon as small magnitudes are common.

    python experiments/codecs.py --network amnet --bits 8
"""

from typing import Annotated

import numpy as np
import pandas as pd
import typer

from azsim.chip import load_chip
from azsim.execute import FeatureConfig
from azsim.graph import load_network
from azsim.weights import calibrate, encode, quantize

CODECS = ("dense", "zero_mask", "run_length", "huffman")


def main(
    network: Annotated[str, typer.Option(help="zoo name")] = "amnet",
    chip: Annotated[str, typer.Option(help="preset or YAML")] = "az1_like",
    bits: Annotated[int, typer.Option(help="2 to 8")] = 8,
    quick: Annotated[bool, typer.Option("--quick", help="the two ends only")] = False,
) -> None:
    """Print bits per weight by codec beside the entropy, and symbols per weight for the decoder."""
    loaded = load_network(network)
    frames = loaded.calibration or (np.zeros((4, FeatureConfig(**loaded.features).bands * 3), np.float32),)
    quantized = quantize(loaded, calibrate(loaded, frames), bits)
    rows = []
    for name in ("dense", "huffman") if quick else CODECS:
        image = encode(quantized.tensors.values(), quantized.tables, load_chip(chip, [f"codec.name={name}"]))
        weights = image.dense_weight_bytes
        tensors = image.tensors.values()
        rows.append(
            {
                "codec": name,
                "bits_per_weight": 8 * image.stored_weight_bytes / weights,
                "entropy_bits_per_weight": sum(t.entropy_bits_per_weight * t.size for t in tensors) / weights,
                "symbols_per_weight": sum(int(t.symbols.sum()) for t in tensors) / weights,
                "stored_bytes": image.stored_weight_bytes,
            }
        )
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    typer.run(main)
