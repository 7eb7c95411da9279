"""How much DRAM traffic does it save to run frames together, and how long must a listener wait for it?

Expected: bytes fall almost as one over the frames of a chunk for layers of the encoder, whose weights are fetched
once per chunk; the first frame of a chunk waits for the last, 30 ms for each frame more.

Saw: The RNN-T streams 0.72, 0.57, 0.50 and 0.47 of its bytes with 2, 4, 8 and 16 frames, for 30, 90, 211 and 451 ms
of waiting: two frames buy most of it. AmNet saves nothing: its arbitrator reads both layers, and the copy that
joins them runs in the output pass of the first layer, so that each frame waits for the one before.

    python experiments/chunk_frames.py
"""

from lab import Question, ask

QUESTION = Question(
    name="chunk_frames",
    space={
        "axes": {
            "controller.chunk_frames": [1, 2, 4, 8, 16],
            "network": ["amnet", "rnnt"],
            "mac_array.accumulator_bytes": [131072],
        }
    },
    quick={"controller.chunk_frames": [1, 4], "network": ["amnet"]},
    x="controller.chunk_frames",
    lines="network",
    panels=("dram_bytes_per_s", "latency_p95_ms", "energy_working_uj"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
