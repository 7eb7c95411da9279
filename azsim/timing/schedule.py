"""Replay a record on a chip: record + image + chip -> timeline.

    tabulate_chip     tiles, loads, work per PE            once per chip
    replay_cells      MAC cycles of every tile             once per utterance and chip
    order             what runs after what: as recorded, speculating, or in chunks
    build_program     flat arrays of everything to be timed
    solve             the recurrences: when it happens
    accounts, tally   where the cycles went, what to price

A replay never looks at a weight or an activation value: non-zero counts and zero bits are enough.

Left out
--------
Pinned tensors, biases and factors are fetched once before the first sample: their bytes are
counted, their time is not on the path (the first frame ends tens of milliseconds later). Nothing spills:
activations and sums that do not fit are refused.
"""

import numpy as np

from azsim.chip.config import Chip
from azsim.errors import CapacityError
from azsim.execute.record import ActivityRecord
from azsim.timing.account import Fetches, accounts
from azsim.timing.cells import Cells, replay_cells
from azsim.timing.counts import Counts
from azsim.timing.laws import check_laws
from azsim.timing.order import order
from azsim.timing.program import Invocations, build_program
from azsim.timing.recurrences import Edges, solve
from azsim.timing.tables import tabulate_chip
from azsim.timing.tally import mac_counts, tally
from azsim.timing.timeline import STALLS, OpAccount, Timeline
from azsim.weights.image import DramImage


def schedule(
    record: ActivityRecord,
    image: DramImage,
    chip: Chip,
    frame_hop_s: float,
    first_frame_s: float,
    ideal: frozenset[str] = frozenset(),
    has_pins: bool = False,
) -> Timeline:
    """Time every op invocation of an utterance.

    Parameters
    ----------
    record : ActivityRecord
    image : DramImage
        Laid out for ``chip``.
    chip : Chip
    frame_hop_s, first_frame_s : float
        Spacing of frames, and when the last sample of the first one is in.
    ideal : frozenset of str
        Parts from ``azsim.timing.ideal.IDEAL_PARTS`` that cost nothing.
    has_pins : bool
        Pinned tensors are on the chip already, from an utterance before, and are not counted.

    Raises
    ------
    CapacityError
        If state and activations, the sums of a chunk, or a private copy do not fit their memory.
    LawError
        If a conservation law does not hold: a defect of azsim.
    """
    _check_capacity(record, chip)
    times = first_frame_s + frame_hop_s * np.arange(record.n_frames)
    frame_end = np.array([chip.cycles(t) for t in times], np.int64)
    arrival = np.array([chip.cycles(t + chip.host.feature_us_per_frame * 1e-6) for t in times], np.int64)
    chunk = chip.controller.chunk_frames
    start = arrival[np.minimum(np.arange(record.n_frames) // chunk * chunk + chunk - 1, record.n_frames - 1)]
    tables = tabulate_chip(record, image, chip, ideal)
    cells = replay_cells(record, tables, chip, is_balanced="load_balance" in ideal)
    units = order(record, tables, chip, knows_decisions="branch_wait" in ideal)
    runs = build_program(record, tables, cells, units, chip, start)
    edges = solve(
        runs.program,
        latency_cycles=tables.latency_cycles,
        slots=chip.weight_sram.run_ahead,
        dma_outstanding=chip.stream.dma_outstanding,
        accumulator_sets=chip.mac_array.accumulator_sets,
        op_overhead_cycles=chip.controller.op_overhead_cycles,
        branch_redirect_cycles=chip.controller.branch_redirect_cycles,
    )
    done = np.zeros(record.n_frames, np.int64)
    np.maximum.at(done, record.frame, edges.out_end[runs.op_of])
    total = int(max(edges.out_end[-1], frame_end[-1], edges.load_end.max(initial=0)))
    fetches = Fetches(tables, cells, runs, edges, chip.is_cut_by_columns)
    parts, stalled, reason = accounts(
        edges, runs, cells, fetches, start[runs.frame], chip.weight_sram.run_ahead, total
    )  # fmt: skip
    macs = mac_counts(chip, tables, cells)
    counts = tally(record, image, chip, tables, cells, runs, fetches, edges, total, macs, has_pins)
    timeline = Timeline(
        clock_hz=chip.clock_hz,
        frame_end=frame_end,
        frame_arrival=arrival,
        frame_start=start,
        frame_done=done,
        op_name=[op.name for op in record.ops],
        accounts=parts,
        per_op=_per_op(record, macs, cells, runs, fetches, edges, start, stalled, reason),
        counts=counts,
        bounds=_bounds(chip, counts, fetches),
        pinned=tables.pinned,
        **_edges_by_op(record, runs, edges, fetches),
    )
    check_laws(timeline, edges, runs.program)
    return timeline


def _check_capacity(record: ActivityRecord, chip: Chip) -> None:
    if record.activation_bytes > chip.activation_sram_bytes:
        raise CapacityError(
            f"`activation_sram_bytes >= {record.activation_bytes:,}` must hold: state {record.state_bytes:,} B and the "
            f"operands of the widest op; {chip.name} has {chip.activation_sram_bytes:,} B. Raise activation_sram_bytes."
        )
    widest = max((c for op in record.ops for c in op.cols), default=0)
    if chip.mac_array.dataflow == "row_dot" and widest > chip.mac_array.activation_copy_bytes:
        raise CapacityError(
            f"`mac_array.activation_copy_bytes >= {widest:,}` must hold: under row_dot every PE keeps a copy of the "
            f"operand, but {chip.name} has {chip.mac_array.activation_copy_bytes:,} B. Raise it."
        )


def _edges_by_op(record: ActivityRecord, runs: Invocations, edges: Edges, fetches: Fetches) -> dict[str, np.ndarray]:
    """The arrays of a Timeline that have one entry per timed op or tile."""
    program = runs.program
    first, last = program.op_tiles[:-1], program.op_tiles[1:]
    has_tiles = last > first
    start, end = edges.out_start.copy(), edges.out_start.copy()
    start[has_tiles] = edges.compute_start[first[has_tiles]]
    end[has_tiles] = edges.compute_end[last[has_tiles] - 1]
    decides = np.zeros(len(runs.op), bool)
    decides[runs.op_of[[b.decision for b in record.branchings if b.decision >= 0]]] = True
    tile_op = program.part_op[program.tile_part]
    return {
        "op": runs.op,
        "frame": runs.frame,
        "arm": np.where(runs.first >= 0, record.arm[np.maximum(runs.first, 0)], 0),
        "is_wasted": program.op_is_wasted,
        "decides": decides,
        "ready": edges.ready[program.op_parts[1:] - 1],
        "compute_start": start,
        "compute_end": end,
        "out_start": edges.out_start,
        "out_end": edges.out_end,
        "tile_op": tile_op,
        "tile": runs.tile,
        "tile_cell": runs.cell,
        "tile_loads": fetches.loaded,
        "tile_computes": ~fetches.is_wasted,
        "load_start": edges.load_start,
        "load_end": edges.load_end,
        "tile_compute_start": edges.compute_start,
        "tile_compute_end": edges.compute_end,
        "tile_bus_cycles": fetches.of("bus_cycles") * fetches.loaded,
        "tile_stored_bytes": fetches.of("stored_bytes") * fetches.loaded,
    }


def _per_op(
    record: ActivityRecord, macs: dict[str, np.ndarray], cells: Cells, runs: Invocations, fetches: Fetches,
    edges: Edges, frame_start: np.ndarray, stalled: np.ndarray, reason: np.ndarray,
) -> list[OpAccount]:  # fmt: skip
    """One row per op of the record."""
    program, n = runs.program, len(record.ops)
    cells_of = cells.start[record.part_start]  # an invocation's cells, and an op's tiles, are contiguous
    stored = fetches.of("stored_bytes")
    total = lambda of, values: np.bincount(of, weights=values, minlength=n).astype(np.int64)  # noqa: E731
    of_tiles = lambda values: total(runs.op, _sums(values, program.op_tiles))  # noqa: E731
    of_cells = lambda values: total(record.op, _sums(values, cells_of))  # noqa: E731
    late = np.flatnonzero((stalled != 0) & (reason >= 0))
    op_of_late = runs.op[program.part_op[program.tile_part[late]]]
    by_both = np.bincount(op_of_late * len(STALLS) + reason[late], stalled[late], n * len(STALLS)).astype(np.int64)
    by_reason = dict(zip(STALLS, by_both.reshape(n, -1).T, strict=True))
    columns = {
        "invocations": np.bincount(record.op, minlength=n),
        "mac_cycles": of_tiles(runs.array_cycles),
        "out_cycles": total(runs.op, program.out_cycles),
        "dense_macs": of_cells(macs["dense"]),
        "effectual_macs": of_cells(macs["effectual"]),
        "streamed_bytes": of_tiles(fetches.used * stored),
        "wasted_bytes": of_tiles((fetches.loaded & fetches.is_wasted) * stored),
        "span_cycles": total(runs.op, span_cycles(edges.out_end, frame_start[runs.frame])),
    }
    return [
        OpAccount(
            name=op.name,
            stall_cycles={name: int(values[i]) for name, values in by_reason.items() if values[i]},
            **{name: int(values[i]) for name, values in columns.items()},
        )
        for i, op in enumerate(record.ops)
    ]


def _sums(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Of each segment ``start[i]:start[i + 1]``, which may be empty."""
    until = np.concatenate([[0], np.cumsum(values)])
    return until[start[1:]] - until[start[:-1]]


def span_cycles(out_end: np.ndarray, start: np.ndarray) -> np.ndarray:
    """By how much each op moves the edge up to which everything is written, waiting for frames apart: int64[O].

    Parameters
    ----------
    out_end, start : int64[O]
        Of each op in program order: its end, and when the work of its frame may begin.
    """
    before = np.concatenate([[0], out_end[:-1]])
    return np.maximum(0, out_end - np.maximum(before, start))


def _bounds(chip: Chip, counts: Counts, fetches: Fetches) -> dict[str, int]:
    """Closed-form floors of the working time: no schedule is shorter."""
    array = chip.mac_array
    peak = array.pes * array.lanes * (2 if array.pair_4_bit_weights else 1)
    sent = 0 if chip.stream.bypass_sram else -(-counts.broadcasts // array.broadcast_width)
    floors = {
        "compute_bound_cycles": max(-(-counts.issued_macs // peak), sent),
        "bandwidth_bound_cycles": fetches.total("bus_cycles"),
        "decode_bound_cycles": fetches.total("decode_cycles"),
    }
    return {**floors, "bound_cycles": max(floors.values())}
