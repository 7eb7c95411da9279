"""Parts of the machine that can be made ideal, one at a time: the branches of the stall tree."""

IDEAL_PARTS = {
    "dram_bandwidth": "bursts take no bus time",
    "dram_latency": "the first beat follows its request at once",
    "decoder": "bursts are decoded in no time",
    "load_balance": "work is shared evenly among the PEs, and no queue ever fills",
    "vector_unit": "output passes take no time",
    "branch_wait": "every decision is known beforehand",
}
