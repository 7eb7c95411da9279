"""How much of time and energy do zeros in the weights save?

Expected: DRAM bytes fall with the density, but not to nothing, because the zero mask keeps a bit per weight; time
falls with them as long as DRAM is what the array waits for; dense storage gains nothing.

Weights are pruned by magnitude without training again, so words are not looked at here.

Saw: Zero mask: from 18.9 MB and 0.215 ms at half the weights to 11.0 MB and 0.163 ms at a fifth; at a twentieth the
decoder is the floor. Huffman is the smallest at every density, run length passes zero mask at a fifth. The
surprise: dense storage takes *more* time with fewer weights, 41.7 MB instead of 30.3, because an arbitrator that
was pruned and not trained again sends every frame to the complex arm.

    python experiments/weight_density.py
"""

from lab import Question, ask

QUESTION = Question(
    name="weight_density",
    space={
        "axes": {
            "weight_density": [0.5, 0.4, 0.3, 0.2, 0.1, 0.05],
            "codec.name": ["dense", "zero_mask", "run_length", "huffman"],
        }
    },
    quick={"weight_density": [0.5, 0.1], "codec.name": ["zero_mask"]},
    x="weight_density",
    lines="codec.name",
    panels=("dram_read_bytes", "latency_p95_ms", "energy_working_uj"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
