"""What is weight memory worth that keeps weights on the chip, and which should it keep?

Expected: each kilobyte pinned saves the fetch of every frame, until everything is pinned and DRAM is quiet.
Choosing by bytes saved per byte beats smallest first, which spends room on weights of rare arms.

Saw: With 256 KiB, bytes saved first streams 13 % less than smallest first (4.57 against 5.23 MB/s). The 95th
percentile need not agree: at 384 KiB smallest first is 12 % faster, because what it keeps is on the longest path.
Each further 64 KiB costs 0.03 mm2 and saves 0.16 to 0.34 mJ an utterance, until all is pinned at 640 KiB: 0.66 mJ
instead of 2.58.

    python experiments/pinning.py
"""

from lab import Question, ask

QUESTION = Question(
    name="pinning",
    space={
        "axes": {
            "weight_sram.bytes": [65536, 131072, 196608, 262144, 393216, 524288, 655360],
            "weight_sram.pin": ["none", "smallest_first", "most_bytes_saved"],
        }
    },
    quick={"weight_sram.bytes": [131072, 524288], "weight_sram.pin": ["most_bytes_saved"]},
    x="weight_sram.bytes",
    lines="weight_sram.pin",
    panels=("dram_bytes_per_s", "latency_p95_ms", "energy_working_uj", "area_mm2"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
