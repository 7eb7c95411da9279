"""Which shape should 512 lanes have, and how deep a queue does it need?

Expected: few wide PEs balance their load best, for each has many rows; many narrow ones wait for the one with the
most non-zeros, and a deeper queue evens that out. Weights stay on the chip here, or DRAM would hide it all.

Saw: A queue of two does nearly all of it: one slot costs 1.8 times the array cycles of four, whatever the shape.
Shapes differ by 7 % in array cycles, by 1.7 times in area, and in the latency of a frame not at all: 3.5 us of
103.6, the rest is features on the host. 64 x 8 is the fastest and, with 2 MiB cut into one memory per PE, the
smallest, too.

    python experiments/array_shape.py
"""

from lab import Question, ask

QUESTION = Question(
    name="array_shape",
    space={
        "axes": {"mac_array.queue_depth": [1, 2, 4, 8, 16]},
        "rows": [
            {"mac_array.pes": 512 // lanes, "mac_array.lanes": lanes, "weight_sram.bytes": 2**21}
            for lanes in (1, 2, 4, 8, 16)
        ],
    },
    quick={"mac_array.queue_depth": [1, 8]},
    x="mac_array.queue_depth",
    lines="mac_array.pes",
    panels=("mac_array_busy_cycles", "latency_p95_ms", "area_mm2"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
