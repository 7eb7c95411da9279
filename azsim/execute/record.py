"""The activity record: what a network did on one utterance, without any notion of time.

An *op* of the record is what the timing model calls an op: zero or more matrix *parts* that
sum into one set of accumulators (two for an LSTM: ``W_hh`` first, because its input is ready
first), then one output pass of element-wise functions. An *invocation* is one run of an op on
one frame. The record lists invocations in program order; every chip replays the same record.
"""

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Op:
    """One op of the network: the static half of an invocation.

    Attributes
    ----------
    name : str
        ``"encoder/first"``: graph and module path.
    graph : str
        Role of the step graph: encoder, prediction, joint, or step.
    tensors : tuple of str
        Weight tensor of each matrix part, in the order they accumulate. An embedding look-up
        is a part too. Empty for an op that is only an output pass.
    cols : tuple of int
        Width of each part's activation operand (0 for a look-up).
    functions : dict of str to int
        Elements that the output pass puts through each function of
        ``azsim.chip.config.VECTOR_FUNCTIONS``.
    output_bytes, input_bytes : int
        Activation SRAM traffic of one invocation: written by, and read for, the op.
    """

    name: str
    graph: str
    tensors: tuple[str, ...]
    cols: tuple[int, ...]
    functions: dict[str, int]
    output_bytes: int
    input_bytes: int


@dataclass(frozen=True)
class Branching:
    """One data-dependent branch as it was taken once.

    Attributes
    ----------
    decision : int
        Invocation that decided; -1 if nothing had to be computed for it.
    taken : int
        Index of the arm in ``arms``.
    arms : tuple of tuple of int
        Ops of each arm, indices of the op table.
    start, stop : int
        Invocations of the taken arm.
    """

    decision: int
    taken: int
    arms: tuple[tuple[int, ...], ...]
    start: int
    stop: int


@dataclass
class ActivityRecord:
    """Every invocation of every op on one utterance, in program order.

    ``N`` invocations, ``M`` matrix parts (an invocation of op ``o`` has ``len(o.tensors)``).

    Attributes
    ----------
    ops : list of Op
        The table that ``op`` indexes.
    arms : list of str
        Labels of branch arms, e.g. ``"complex"``; ``arms[0]`` is ``""``: not inside a branch.
    n_frames : int
        Steps of the encoder (or of the only graph).
    op : int32[N]
        Which op.
    frame : int32[N]
        Which frame it works for; the frame's arrival gates ops that read it.
    reads_frame : bool[N]
        True where the output pass reads the frame's features directly, and so waits for its arrival.
    part_reads_frame : bool[M]
        The same for the operand of a part.
    arm : int32[N]
        Label of the arm it belongs to.
    decided_by : int32[N]
        Invocation whose result decided that this one runs at all (an arbitrator, or the joint
        network under greedy search); -1 where nothing had to be decided. Its weights may not be
        requested before that invocation's output pass ends.
    part_start : int32[N + 1]
        Parts of invocation n are ``part_start[n]:part_start[n + 1]``.
    read_start : int32[M + 1], reads : int32[...]
        Invocations whose outputs the operand of a part is made of. For an op without parts
        see ``op_read_start`` / ``op_reads``, which also lists what an output pass reads (a cell
        state, the other operand of an addition): int32[N + 1] and int32[...].
    row : int32[M]
        Row of an embedding look-up, -1 for a matrix part.
    nonzero : uint8[...], nonzero_start : int64[M + 1]
        One bit per activation of a matrix operand, 1 where it is not zero, ``np.packbits``
        order (``bitorder="little"``), each operand starting on its own byte.
    frame_arm : list of str
        Arm taken on each frame, "" where there is no branch; several are joined by "+".
    branchings : list of Branching
        In program order, outer before inner.
    state_bytes : int
        Recurrent state of all graphs, which the activation SRAM holds all the time.
    """

    ops: list[Op]
    arms: list[str]
    n_frames: int
    op: np.ndarray
    frame: np.ndarray
    reads_frame: np.ndarray
    part_reads_frame: np.ndarray
    arm: np.ndarray
    decided_by: np.ndarray
    part_start: np.ndarray
    read_start: np.ndarray
    reads: np.ndarray
    op_read_start: np.ndarray
    op_reads: np.ndarray
    row: np.ndarray
    nonzero: np.ndarray
    nonzero_start: np.ndarray
    frame_arm: list[str] = field(default_factory=list)
    branchings: list[Branching] = field(default_factory=list)
    state_bytes: int = 0

    @property
    def activation_bytes(self) -> int:
        """Activation SRAM that the network needs: its state, and the operands and results of its widest op."""
        return self.state_bytes + max((op.input_bytes + op.output_bytes for op in self.ops), default=0)

    @property
    def first_role(self) -> str:
        """Role of the graph that reads the frames: encoder, or step."""
        reads = self.reads_frame.copy()
        np.logical_or.at(reads, np.repeat(np.arange(len(self)), np.diff(self.part_start)), self.part_reads_frame)
        return self.ops[self.op[np.flatnonzero(reads)[0]]].graph if reads.any() else self.ops[0].graph

    def frames(self, start: int, stop: int) -> "ActivityRecord":
        """The record of some frames alone, as if the utterance began and ended there.

        State that comes from frames before is there from the start, and what they decided has been decided.
        """
        a, b = np.searchsorted(self.frame, [start, stop])
        first, last = self.part_start[a], self.part_start[b]
        read_start, reads = _cut_reads(self.read_start, self.reads, int(first), int(last), int(a))
        op_read_start, op_reads = _cut_reads(self.op_read_start, self.op_reads, int(a), int(b), int(a))
        bits = self.nonzero_start[first]
        return ActivityRecord(
            ops=self.ops,
            arms=self.arms,
            n_frames=min(stop, self.n_frames) - start,
            op=self.op[a:b],
            frame=self.frame[a:b] - np.int32(start),
            reads_frame=self.reads_frame[a:b],
            part_reads_frame=self.part_reads_frame[first:last],
            arm=self.arm[a:b],
            decided_by=np.maximum(self.decided_by[a:b] - np.int32(a), -1),
            part_start=(self.part_start[a : b + 1] - first).astype(self.part_start.dtype),
            read_start=read_start,
            reads=reads,
            op_read_start=op_read_start,
            op_reads=op_reads,
            row=self.row[first:last],
            nonzero=self.nonzero[bits : self.nonzero_start[last]],
            nonzero_start=self.nonzero_start[first : last + 1] - bits,
            frame_arm=self.frame_arm[start:stop],
            branchings=[
                replace(x, decision=max(-1, x.decision - int(a)), start=x.start - int(a), stop=x.stop - int(a))
                for x in self.branchings
                if a <= x.start and x.stop <= b
            ],
            state_bytes=self.state_bytes,
        )

    def __len__(self) -> int:
        return len(self.op)

    def operand(self, part: int, cols: int) -> np.ndarray:
        """Which activations of a matrix part are not zero, bool[cols]."""
        packed = self.nonzero[self.nonzero_start[part] : self.nonzero_start[part + 1]]
        return np.unpackbits(packed, count=cols, bitorder="little").astype(bool)


def _cut_reads(
    starts: np.ndarray, reads: np.ndarray, first: int, last: int, base: int
) -> tuple[np.ndarray, np.ndarray]:
    """(starts, reads) of the readers ``first:last``, without what they read from before invocation ``base``."""
    own = reads[starts[first] : starts[last]] - np.asarray(base, reads.dtype)
    reader = np.repeat(np.arange(last - first), np.diff(starts[first : last + 1]))
    kept = own >= 0
    lengths = np.bincount(reader[kept], minlength=last - first)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(starts.dtype), own[kept]
