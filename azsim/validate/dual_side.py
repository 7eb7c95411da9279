"""The dual-side sparse tensor core: how much of the ideal does skipping zeros on both sides reach?

That machine multiplies two sparse matrices; azsim's arrays multiply a sparse matrix by a sparse vector. Its cycles
therefore apply as a shape only: cycles relative to two dense operands, and the *share of the ideal*, which is the
speed-up over dense divided by 1 / (density of A x density of B). Published shares are 86, 72 and 50 % at the three
points; the statement that goes with them is 50 to 72 %, which leaves the densest point out.

A is taken to be the weights and B the activations. One matrix with i.i.d. zeros is multiplied on the array of
``az1_like`` with both dataflows: ``row_dot`` with windows of 4 and of 16 groups, a free choice that moves the share
at the sparsest point from 36 to 55 %, so nothing is confirmed by it; ``column_broadcast`` with its refilled
weights, of which a PE scans ``scan_width`` per cycle, so that zero weights alone gain at most scan_width / lanes = 2.
Only the cycles of the array are compared: DRAM would hide them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from azsim.chip import Chip, load_chip
from azsim.execute.record import ActivityRecord, Op
from azsim.timing import schedule
from azsim.validate.published import published
from azsim.validate.row import Row
from azsim.weights import QuantizedTensor, encode

SIZE = 1024  # rows and columns of the matrix
LOWEST, HIGHEST = 0.50, 0.72  # published share of the ideal
SEEDS = range(3)
DATAFLOWS = {
    "row_dot, lookahead 3": ("mac_array.dataflow=row_dot", "mac_array.lookahead=3"),
    "row_dot, lookahead 15": ("mac_array.dataflow=row_dot", "mac_array.lookahead=15"),
    "column_broadcast": (),
}


@dataclass(frozen=True)
class Point:
    """One published measurement."""

    a_density: float
    b_density: float
    cycles: float
    mark: str
    source: str

    @property
    def ideal(self) -> float:
        """Share of products that are effectual."""
        return self.a_density * self.b_density


def points() -> list[Point]:
    """The published table; the first is dense."""
    return [
        Point(float(r["a_density"]), float(r["b_density"]), float(r["cycles"]), r["mark"], r["source"])
        for r in published("dual_side.csv")
    ]


def exact_density(shape: tuple[int, ...], density: float, rng: np.random.Generator) -> np.ndarray:
    """bool[shape] with i.i.d. zeros and round(size x density) ones."""
    size = int(np.prod(shape))
    mask = np.zeros(size, bool)
    mask[rng.choice(size, round(size * density), replace=False)] = True
    return mask.reshape(shape)


def array_cycles(weights: np.ndarray, activations: np.ndarray, chip: Chip) -> int:
    """Busy cycles of the chip's array for one matrix and one vector.

    Parameters
    ----------
    weights : bool[rows, cols], activations : bool[cols]
        Which are not zero.
    """
    rows, cols = weights.shape
    tensor = QuantizedTensor("matrix", weights.astype(np.int8), np.ones(rows))
    none, starts = np.zeros(0, np.int32), np.zeros(2, np.int32)
    record = ActivityRecord(
        ops=[Op("product", "step", ("matrix",), (cols,), {"requantize": rows}, rows, cols)],
        arms=[""],
        n_frames=1,
        op=np.zeros(1, np.int32),
        frame=np.zeros(1, np.int32),
        reads_frame=np.zeros(1, bool),
        part_reads_frame=np.ones(1, bool),
        arm=np.zeros(1, np.int32),
        decided_by=np.full(1, -1, np.int32),
        part_start=np.array([0, 1], np.int32),
        read_start=starts,
        reads=none,
        op_read_start=starts,
        op_reads=none,
        row=np.full(1, -1, np.int32),
        nonzero=np.packbits(activations, bitorder="little"),
        nonzero_start=np.array([0, (cols + 7) // 8], np.int64),
        frame_arm=[""],
    )
    timeline = schedule(record, encode([tensor], {}, chip), chip, frame_hop_s=0.0, first_frame_s=0.0)
    return timeline.counts.array_cycles


def relative_cycles(dataflow: str, seeds: Iterable[int] = SEEDS) -> list[float]:
    """Cycles at every published point over those at the first, mean over seeds."""
    chip = load_chip("az1_like", DATAFLOWS[dataflow])
    total = np.zeros(len(points()))
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for i, point in enumerate(points()):
            weights = exact_density((SIZE, SIZE), point.a_density, rng)
            total[i] += array_cycles(weights, exact_density((SIZE,), point.b_density, rng), chip)
    return [float(cycles / total[0]) for cycles in total]


def dual_side_rows(seeds: Iterable[int] = SEEDS) -> list[Row]:
    """Relative cycles and share of the ideal of every array; all are bands."""
    rows, seeds = [], tuple(seeds)
    for dataflow in DATAFLOWS:
        for point, measured in zip(points()[1:], relative_cycles(dataflow, seeds)[1:], strict=True):
            rows += _rows_of(point, dataflow, measured)
    return rows


def _rows_of(point: Point, dataflow: str, measured: float) -> list[Row]:
    at = f"{dataflow}, densities {point.a_density:g} and {point.b_density:g}"
    theirs = point.cycles / points()[0].cycles
    share, their_share = point.ideal / measured, point.ideal / theirs
    shape = "shape only: that machine multiplies matrices, this array a matrix by a vector"
    machine, mark, source = "dual-side tensor core", point.mark, point.source
    return [
        Row(machine, f"cycles over dense, {at}", "", theirs, measured, mark, source, shape, is_band=True),
        Row(
            machine, f"share of the ideal, {at}", "", their_share, share, mark, source, _where(share, their_share),
            is_band=True, low=LOWEST, high=HIGHEST,
        ),
    ]  # fmt: skip


def _where(share: float, their_share: float) -> str:
    share = round(share, 2)
    side = "inside" if LOWEST <= share <= HIGHEST else ("above" if share > HIGHEST else "below")
    note = f"{side} the published 50 to 72 %"
    if not LOWEST <= round(their_share, 2) <= HIGHEST:
        note += ", which this published point is itself outside of"
    return note
