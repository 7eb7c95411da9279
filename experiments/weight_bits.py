"""What do fewer bits per weight save, and what do they cost in words?

Expected: bytes, time and energy fall with the bits; zero mask keeps one bit per weight, so 4 bits are not half of 8;
words suffer below 4 bits, for weights are quantized after training here.

Saw: 4 bits: 0.61 of the bytes of 8 under zero mask and 0.60 under Huffman, 0.74 of the energy while working, no
word lost in this sentence. One word of five is lost at 3 bits, four at 2. At 2 bits the decoder, not DRAM, is the
floor of zero mask: it takes a symbol per weight, however narrow.

    python experiments/weight_bits.py
"""

from lab import Question, ask

QUESTION = Question(
    name="weight_bits",
    space={
        "axes": {
            "weight_bits": [8, 6, 5, 4, 3, 2],
            "codec.name": ["zero_mask", "huffman"],
        }
    },
    quick={"weight_bits": [8, 4], "codec.name": ["zero_mask"]},
    x="weight_bits",
    lines="codec.name",
    panels=("dram_read_bytes", "latency_p95_ms", "energy_working_uj", "word_errors"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
