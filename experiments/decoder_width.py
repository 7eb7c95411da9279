"""How many symbols per cycle must the decoder take, and when does it stop to matter?

Expected: below some width the decoder is what everything waits for; above it DRAM is, and width buys nothing. The knee
stands where the decoder takes a burst as fast as DRAM brings it, so it moves with the bandwidth.

Saw: At 1.6 GB/s the knee stands at 8 symbols a cycle, at 0.8 at 4, at 6.4 at 32. The area hardly moves (0.307 to
0.316 mm2), so a wide decoder is cheap insurance; a narrow one triples the latency.

    python experiments/decoder_width.py
"""

from lab import Question, ask

QUESTION = Question(
    name="decoder_width",
    space={
        "axes": {
            "codec.symbols_per_cycle": [1, 2, 4, 8, 16, 32, 64],
            "dram.bandwidth_bytes_per_s": [0.8e9, 1.6e9, 6.4e9],
        }
    },
    quick={"codec.symbols_per_cycle": [2, 16], "dram.bandwidth_bytes_per_s": [1.6e9]},
    x="codec.symbols_per_cycle",
    lines="dram.bandwidth_bytes_per_s",
    panels=("latency_p95_ms", "energy_working_uj", "area_mm2"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
