"""How much DRAM bandwidth does the network need before something else is slower?

Expected: latency falls as one over bandwidth until the decoder or the array is the slowest, sooner for compressed
weights; energy falls with time, because standby is paid by the microsecond.

Saw: az1_like stops at 6.4 GB/s, where the decoder is the slowest; the dense chip at 12.8. Four times the bandwidth
of the preset buys a third of its latency, and 11 % of its energy.

    python experiments/dram_bandwidth.py
"""

from lab import Question, ask

QUESTION = Question(
    name="dram_bandwidth",
    space={
        "axes": {
            "dram.bandwidth_bytes_per_s": [0.2e9, 0.4e9, 0.8e9, 1.6e9, 3.2e9, 6.4e9, 12.8e9],
            "chip": ["az1_like", "dense_baseline"],
        }
    },
    quick={"dram.bandwidth_bytes_per_s": [0.4e9, 6.4e9], "chip": ["az1_like"]},
    x="dram.bandwidth_bytes_per_s",
    lines="chip",
    panels=("latency_p95_ms", "energy_working_uj", "mac_array_dma_cycles"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
