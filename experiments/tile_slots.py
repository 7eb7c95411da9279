"""How many tile slots hide the DRAM, and how large should a tile be?

Expected: two slots do most of it, because one fills while the other is worked on; one slot makes loading and
computing take turns. Small tiles pay more bursts of padding and more latency; nothing is pinned here, so that all
slots are one size.

Saw: Two slots save little over one (4 %): loading takes thirty times as long as computing, so there is nothing to
overlap. More slots help for another reason: they hold the next frame's first tiles before it arrives. 8 slots of 16
KiB, or 4 of 32, save 11 to 15 %. Small tiles pay little: 1.6 % more bytes at 4 KiB.

    python experiments/tile_slots.py
"""

from lab import Question, ask

QUESTION = Question(
    name="tile_slots",
    space={
        "axes": {
            "weight_sram.tile_slots": [1, 2, 3, 4, 8],
            "weight_sram.tile_bytes": [4096, 8192, 16384, 32768],
            "weight_sram.pin": ["none"],
        }
    },
    quick={"weight_sram.tile_slots": [1, 2], "weight_sram.tile_bytes": [8192]},
    x="weight_sram.tile_slots",
    lines="weight_sram.tile_bytes",
    panels=("latency_p95_ms", "dram_read_bytes", "energy_working_uj"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
