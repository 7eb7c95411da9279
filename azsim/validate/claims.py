"""Public claims as plausibility bands: the same quantity, of another network or another chip.

Nothing here reproduces a machine. A row says what azsim finds for a quantity that somebody published about something
comparable; its note says what differs. ``LEFT_OUT`` names the claims that cannot be computed, and why.
"""

from pathlib import Path

from azsim.chip import Technology, load_chip
from azsim.energy.costs import sram
from azsim.execute.record import ActivityRecord
from azsim.simulate import Run, simulate
from azsim.validate.published import published
from azsim.validate.row import Row
from azsim.weights import DramImage

NETWORK, RECORDING = "amnet", Path(__file__).parents[2] / "models" / "demo" / "digits_1.wav"
COMPLEX, SIMPLE, ARBITRATOR = "complex", "simple", "encoder/arbitrator"

LEFT_OUT = {
    "AZ1: twice the speed, 20 times less power, 85 % less memory": "the part that it is compared with is not public",
    "Bifocal RNN-T: cost -29.1 %": "no network here takes its branch by keyword spotting",
    "Cost-amortized Transformer: compute -60 %": "no Transformer is shipped",
    "S8BQAT, GQ: latency and memory of networks below 8 bits": "their networks are not public; ours are not trained so",
    "Neural diff: updates up to 98 % smaller": "updates of networks are not simulated",
    "Speculative end-pointer: about 200 ms ahead": "end-pointing is not simulated",
    "Compressed sensing: smaller models and shorter weight reading": "published without a figure",
}


def op_macs(record: ActivityRecord, image: DramImage) -> list[int]:
    """Dense MACs of one invocation of each op; a look-up has none."""
    return [
        sum(image.tensors[name].rows * cols for name, cols in zip(op.tensors, op.cols, strict=True))
        for op in record.ops
    ]


def branching_cost(record: ActivityRecord, image: DramImage, role: str | None = "encoder") -> float:
    """MACs of a run over those of the same network with the complex arm on every frame and no arbitrator.

    Parameters
    ----------
    role : str or None
        Graph whose ops are counted; None for all of them.
    """
    macs = op_macs(record, image)
    counted = [role is None or op.graph == role for op in record.ops]
    run = sum(macs[o] for o in record.op if counted[o])
    arbitrator = sum(macs[o] for o in record.op if counted[o] and record.ops[o].name == ARBITRATOR)
    instead = 0
    for branching in record.branchings:
        of_arm = {_label(record, arm): sum(macs[o] for o in arm) for arm in branching.arms}
        instead += of_arm[COMPLEX] - sum(macs[o] for o in record.op[branching.start : branching.stop])
    return run / (run - arbitrator + instead)


def _label(record: ActivityRecord, arm: tuple[int, ...]) -> str:
    """Which arm its ops belong to, by their module path: encoder/simple/..."""
    return record.ops[arm[0]].name.split("/")[1]


def transfer_shares(run: Run) -> tuple[float, float, float]:
    """DRAM transfers as a share of energy while working: of all; without the host; and without DRAM standby either."""
    parts = {name: band.value for name, band in run.replay.energy.components(while_working=True).items()}
    total, transfers = sum(parts.values()), parts["dram_transfers"]
    without_host = total - parts["host"]
    return transfers / total, transfers / without_host, transfers / (without_host - parts["dram_standby"])


def claims_rows(recording: str | Path = RECORDING) -> list[Row]:
    """The claims of ``tables/claims.csv``, as bands; runs AmNet once."""
    run = simulate(NETWORK, recording)
    record, image = run.execution.record, run.replay.image
    shares = transfer_shares(run)
    one, two = (load_chip(name).peak_macs_per_s for name in ("az1_like", "az2_like"))
    read = sram(128, 64, Technology(node_nm=45, volts=0.9)).read
    arms = {arm: record.frame_arm.count(arm) for arm in (COMPLEX, SIMPLE)}
    figures = {
        "az2_over_az1": (
            "peak operations per second, az2_like over az1_like",
            two / one,
            "by construction: the preset was made to have this ratio; clock and lanes behind it are assumed",
        ),
        "amnet_cost": (
            "MACs of the branching encoder over always complex",
            branching_cost(record, image),
            f"our small AmNet on one recording, {arms[COMPLEX]} frames complex and {arms[SIMPLE]} simple, zeros "
            f"counted as MACs; whole network {branching_cost(record, image, None):.2f}; the sizes of the published one "
            f"are not public",
        ),
        "external_memory_share": (
            "DRAM transfers in the energy while working",
            shares[0],
            f"AmNet on {run.chip.name}; {shares[1]:.0%} without the host core, {shares[2]:.0%} without the standby of "
            f"the DRAM either: what T-REX counts is not known, and it runs another network at 16 nm",
        ),
        "sram_read_64_bit": (
            "64-bit read of a 128 KB SRAM at 45 nm",
            8 * read.value,
            f"{read.source}; EIE's figure follows from its power, not from a measurement of its SRAM",
        ),
    }
    rows = []
    for claim in published("claims.csv"):
        what, value, note = figures[claim["claim"]]
        low, high = (float(claim[key]) if claim[key] else None for key in ("low", "high"))
        rows.append(
            Row(
                "claims", what, claim["unit"], float(claim["value"]), value, claim["mark"], claim["source"], note,
                is_band=True, low=low, high=high,
            )
        )  # fmt: skip
    return rows
