"""How far apart are az1_like, az2_like and a dense chip, on networks with and without branches?

Expected: az2_like keeps all weights on the chip and so waits for nothing but features; az1_like is 1.6 times as
fast as the same chip without compression and skipping; branches help where bytes are streamed.

Saw: az2_like: 0.102 ms, of which 0.1 are features on the host, and 0.09 MB/s. az1_like: 0.215 ms and 5.2 MB/s, 29 %
less energy while working than the dense chip. Branches save 27 % of DRAM traffic and 20 % of energy on az1_like,
and nothing on az2_like: there the arbitrator and the copies cost 1 % more.

    python experiments/chips.py
"""

from lab import Question, ask

QUESTION = Question(
    name="chips",
    space={"axes": {"chip": ["dense_baseline", "az1_like", "az2_like"], "network": ["rnnt", "amnet"]}},
    quick={"network": ["amnet"]},
    x="chip",
    lines="network",
    panels=("latency_p95_ms", "dram_bytes_per_s", "energy_working_uj", "area_mm2"),
)

if __name__ == "__main__":
    ask(QUESTION, __doc__)
