"""Run the recurrences and the SimPy machine on the same case and compare every edge."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from azsim.chip.config import Chip
from azsim.execute.record import ActivityRecord
from azsim.timing.reference import Simulation
from azsim.timing.reference_program import Program, machine_of
from azsim.timing.schedule import schedule
from azsim.timing.timeline import Timeline
from azsim.weights.image import DramImage

WORK_BUDGET = 400_000  # broadcasts (or groups of rows) x PEs: about a quarter of a minute of SimPy


@dataclass(frozen=True)
class Agreement:
    """What was compared, and the first edge that differs.

    Attributes
    ----------
    n_frames : int
        Frames from the first one; the SimPy machine is too slow for long utterances.
    edges : dict of str to int
        Edges compared, by kind.
    end_cycle : int
        The last edge.
    difference : str
        Empty if all are equal.
    """

    n_frames: int
    edges: dict[str, int]
    end_cycle: int
    difference: str


def frames_within(record: ActivityRecord, chip: Chip, budget: int) -> int:
    """Frames that the SimPy machine gets through within a budget of work, at least one."""
    on = np.add.reduceat(np.append(_ones(record.nonzero), 0), record.nonzero_start[:-1])
    on[np.diff(record.nonzero_start) == 0] = 0
    frame_of_part = np.repeat(record.frame, np.diff(record.part_start))
    work = np.bincount(frame_of_part, weights=on * chip.mac_array.pes, minlength=record.n_frames)
    return max(1, int((np.cumsum(work) <= budget).sum()))


def _ones(packed: np.ndarray) -> np.ndarray:
    return np.unpackbits(packed[:, None], axis=1).sum(axis=1, dtype=np.int64)


def check(
    record: ActivityRecord,
    image: DramImage,
    weights: Mapping[str, np.ndarray],
    chip: Chip,
    frame_hop_s: float,
    first_frame_s: float,
    budget: int = WORK_BUDGET,
) -> Agreement:
    """Time the first frames of a record twice.

    Parameters
    ----------
    weights : mapping of str to int8[rows, cols]
        As decoded from the image; their zeros are counted again.
    budget : int
        Limits the frames, see ``WORK_BUDGET``.
    """
    part = record.frames(0, frames_within(record, chip, budget))
    timeline = schedule(part, image, chip, frame_hop_s, first_frame_s)
    program = Program(part, image, weights, timeline.pinned, chip, timeline.frame_start)
    log = Simulation(machine_of(chip), program.ops).run()
    pairs = {
        "load starts": (timeline.load_start[timeline.tile_loads], log.load_start),
        "load ends": (timeline.load_end[timeline.tile_loads], log.load_end),
        "tile starts": (timeline.tile_compute_start[timeline.tile_computes], log.compute_start),
        "tile ends": (timeline.tile_compute_end[timeline.tile_computes], log.compute_end),
        "output starts": (timeline.out_start[~timeline.is_wasted], log.out_start),
        "output ends": (timeline.out_end[~timeline.is_wasted], log.out_end),
    }
    difference = next(filter(None, (_difference(kind, *both) for kind, both in pairs.items())), "")
    return Agreement(part.n_frames, {kind: len(both[0]) for kind, both in pairs.items()}, _end(timeline), difference)


def _end(timeline: Timeline) -> int:
    return int(max(timeline.out_end[-1], timeline.load_end.max(initial=0)))


def _difference(kind: str, ours: np.ndarray, theirs: list[float]) -> str:
    if len(ours) != len(theirs):
        return f"{len(ours):,} {kind} against {len(theirs):,} of the reference"
    wrong = np.flatnonzero(ours != np.array(theirs, np.int64))
    if not len(wrong):
        return ""
    first = wrong[0]
    return f"{kind} number {first:,}: edge {int(ours[first]):,} against {int(theirs[first]):,} of the reference"
