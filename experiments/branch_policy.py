"""Is it worth fetching weights of an arm before it is known to be taken?

Expected: `likely` hides the wait for the decision when arms change seldom, for some wasted bytes; `both` wastes the
other arm each time and is slower than waiting where DRAM is what everything waits for. The wait is small beside the
fetch, so little is at stake.

Saw: Little is at stake, as expected: `likely` saves 0.08 us of 215, for 146 kB fetched in vain; `both` saves 1.1
us, for 748 kB and 2.5 % more energy. `both` was not slower: the simple arm is pinned, so that only the complex one
is ever fetched early.

    python experiments/branch_policy.py
"""

from lab import Question, ask

QUESTION = Question(
    name="branch_policy",
    space={
        "axes": {
            "controller.branch_policy": ["wait", "likely", "both"],
            "dram.bandwidth_bytes_per_s": [0.4e9, 1.6e9, 6.4e9, 12.8e9],
        }
    },
    quick={"dram.bandwidth_bytes_per_s": [1.6e9]},
    x="dram.bandwidth_bytes_per_s",
    lines="controller.branch_policy",
    panels=("latency_p95_ms", "wasted_bytes", "energy_working_uj"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
