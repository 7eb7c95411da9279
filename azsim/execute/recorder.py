"""Grow an activity record while the interpreter runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from azsim.execute.record import ActivityRecord, Branching, Op

NO_INVOCATION = -1


@dataclass(frozen=True)
class Value:
    """A vector and where it came from: the invocation that made it (-1: none), or the frame itself."""

    array: np.ndarray
    producer: int = NO_INVOCATION
    is_frame: bool = False


class Recorder:
    """Grows an ActivityRecord."""

    def __init__(self) -> None:
        self.op: list[int] = []
        self.frame: list[int] = []
        self.reads_frame: list[bool] = []
        self.arm: list[int] = []
        self.decided_by: list[int] = []
        self.parts: list[tuple[Value, int, np.ndarray]] = []  # operand, row, packed bits
        self.part_count: list[int] = []
        self.op_reads: list[set[int]] = []
        self.branchings: list[Branching] = []

    def open(self, op: int, frame: int, arm: int, decided_by: int) -> int:
        """Start an invocation and return its number."""
        self.op.append(op)
        self.frame.append(frame)
        self.reads_frame.append(False)
        self.arm.append(arm)
        self.decided_by.append(decided_by)
        self.part_count.append(0)
        self.op_reads.append(set())
        return len(self.op) - 1

    def part(self, operand: Value, row: int = -1) -> None:
        """A matrix operand (or a look-up of ``row``) of the current invocation."""
        bits = np.packbits(operand.array != 0, bitorder="little") if row < 0 else np.zeros(0, np.uint8)
        self.parts.append((operand, row, bits))
        self.part_count[-1] += 1

    def reads(self, value: Value, invocation: int) -> None:
        """The output pass of ``invocation`` reads ``value``."""
        self.reads_frame[invocation] |= value.is_frame
        if value.producer not in (NO_INVOCATION, invocation):
            self.op_reads[invocation].add(value.producer)

    def finish(
        self, ops: list[Op], arms: list[str], n_frames: int, frame_arm: list[str], state_bytes: int
    ) -> ActivityRecord:
        """Everything as arrays."""
        reads = [[p[0].producer] if p[0].producer != NO_INVOCATION else [] for p in self.parts]
        op_reads = [sorted(r) for r in self.op_reads]
        bits = [p[2] for p in self.parts]
        return ActivityRecord(
            ops=ops,
            arms=arms,
            n_frames=n_frames,
            op=np.array(self.op, np.int32),
            frame=np.array(self.frame, np.int32),
            reads_frame=np.array(self.reads_frame, bool),
            part_reads_frame=np.array([p[0].is_frame for p in self.parts], bool),
            arm=np.array(self.arm, np.int32),
            decided_by=np.array(self.decided_by, np.int32),
            part_start=_starts(self.part_count, np.int32),
            read_start=_starts([len(r) for r in reads], np.int32),
            reads=np.array([i for r in reads for i in r], np.int32),
            op_read_start=_starts([len(r) for r in op_reads], np.int32),
            op_reads=np.array([i for r in op_reads for i in r], np.int32),
            row=np.array([p[1] for p in self.parts], np.int32),
            nonzero=np.concatenate(bits) if bits else np.zeros(0, np.uint8),
            nonzero_start=_starts([len(b) for b in bits], np.int64),
            frame_arm=frame_arm,
            branchings=self.branchings,
            state_bytes=state_bytes,
        )


def _starts(lengths: Sequence[int], dtype: type) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(dtype)
