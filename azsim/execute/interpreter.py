"""Run a quantized network in integers, frame after frame, and write down what happened.

The interpreter knows neither time nor chip. It takes its weights as they come out of the DRAM
image's decoder, and biases and requantize factors from the image's tables; it keeps recurrent
state, runs only the taken arm of a branch, and appends one invocation per op to the activity
record: which frame, which arm, whose results it read, which decision it waited for, and one bit
per activation of every matrix operand.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from azsim.errors import ModelError
from azsim.execute import kernels
from azsim.execute.elementwise import LIMIT, TABLES, to_integers
from azsim.execute.plan import Plan, Planner, Step
from azsim.execute.record import ActivityRecord, Branching
from azsim.execute.recorder import NO_INVOCATION, Recorder, Value
from azsim.graph.beam import Beam, beam_search
from azsim.graph.lattice import Lattice
from azsim.graph.search import Hypothesis, greedy_search
from azsim.weights.image import DramImage
from azsim.weights.quantize import QuantizedNetwork

COLUMNS_BELOW = 0.3  # activation density; at and above it rows are as fast or faster, see experiments/kernels.py


@dataclass(frozen=True)
class Execution:
    """What an utterance became.

    Attributes
    ----------
    outputs : int[T, n]
        The first graph's output per frame, in integers; ``outputs * output_scale`` are reals.
    output_scale : float
    hypothesis : Hypothesis or None
        Of a transducer; under beam search the best one.
    record : ActivityRecord
    expansions : int64[T]
        Hypotheses that the search expanded on each frame: runs of the joint network, each of which gives the
        host core a row of logits to rank. 0 where there is no search.
    lattices : dict of int to Lattice
        Of a beam search: frame to what was heard up to and including it. Always with the last frame.
    """

    outputs: np.ndarray
    output_scale: float
    hypothesis: Hypothesis | None
    record: ActivityRecord
    expansions: np.ndarray
    lattices: dict[int, Lattice] = field(default_factory=dict)


class Interpreter:
    """Runs one network on utterances, each from the initial state.

    Parameters
    ----------
    quantized : QuantizedNetwork
    weights : DramImage, or mapping of str to int8[rows, cols]
        An image: weights, biases and requantize factors are read from its bytes, once. A mapping: weights by
        tensor name, with the biases and factors of ``quantized``.

    Raises
    ------
    CodecError
        The image is corrupt.

    Left out
    --------
    Part shifts, the factor to an LSTM's hidden state and element-wise factors come from ``quantized``: the
    image does not hold them. They are assumed to stand in the instructions.
    """

    def __init__(self, quantized: QuantizedNetwork, weights: Mapping[str, np.ndarray] | DramImage) -> None:
        tables = quantized.tables
        if isinstance(weights, DramImage):
            tables = {key: weights.table(key).copy() for key in tables}  # a copy is writable, like every other array
            weights = weights.decode_all()
        self.quantized = quantized
        self.network = quantized.network
        self.tables = tables
        self.planner = Planner(quantized)
        matrices = {name for m in quantized.matrices.values() for name in m.tensors}
        self.matrices = {name: np.ascontiguousarray(weights[name]) for name in matrices}
        self.rows = {name: weights[name] for name in quantized.tensors if name not in matrices}
        self._columns: dict[str, np.ndarray] = {}  # transposed matrices, of those that met a sparse operand
        cols = max((w.shape[1] for w in self.matrices.values()), default=1)
        self._which, self._wide = np.empty(cols + 3, np.int32), np.empty(cols + 3, np.int16)
        self._total = np.empty(max((w.shape[0] for w in self.matrices.values()), default=1), np.int32)
        self._start()

    def execute(
        self,
        frames: np.ndarray,
        progress: Callable[[int], None] | None = None,
        beam: Beam | None = None,
        snapshots: Sequence[int] = (),
    ) -> Execution:
        """Run an utterance.

        Parameters
        ----------
        frames : float32[T, I]
            Features; quantized here with the calibrated scale of the network's input.
        progress : callable, optional
            Called with the number of each frame as it is done.
        beam : Beam, optional
            Search with several hypotheses; greedily without. Activation SRAM then holds the prediction network's
            state of each.
        snapshots : sequence of int, optional
            Frames after which the beam's lattice is kept, besides the last one.
        """
        network = self.network
        self._check(frames, beam, snapshots)
        self._start()
        role, first = network.first.name, network.first.inputs[0]
        integers = to_integers(frames, self.quantized.formats[f"{role}/{first}"])
        stepper = _Stepper(self, len(frames), beam is not None, progress)
        hypothesis, lattices = None, {}
        if network.is_transducer:
            scale = self.quantized.formats[f"joint/{network.graphs['joint'].outputs[0]}"].scale
            penalty = network.blank_penalty / scale
            if beam is None:
                hypothesis = greedy_search(network, integers, stepper, penalty)
            else:
                found = beam_search(network, integers, stepper, penalty, beam, snapshots, scale)
                hypothesis, lattices = found.hypothesis, found.lattices
        else:
            for t, frame in enumerate(integers):
                stepper(role, (frame,), t)
        arms = [self._frame_arms.get(t, "") for t in range(len(frames))]
        copies = {"prediction": beam.width} if beam else {}
        state_bytes = sum(
            copies.get(role, 1) * value.array.nbytes for role, state in self._state.items() for value in state.values()
        )
        record = self._recorder.finish(self.planner.ops, self.planner.arms, len(frames), arms, state_bytes)
        scale = self.quantized.formats[f"{role}/{network.first.outputs[0]}"].scale
        return Execution(np.stack(stepper.outputs), scale, hypothesis, record, stepper.expansions, lattices)

    def _check(self, frames: np.ndarray, beam: Beam | None, snapshots: Sequence[int]) -> None:
        """Refuse what cannot be executed."""
        network = self.network
        width = network.first.sizes[network.first.inputs[0]]
        if frames.ndim != 2 or frames.shape[1] != width or len(frames) == 0:
            raise ModelError(f"{network.name}: expected features [T > 0, {width}], got {list(frames.shape)}")
        if not np.all(np.isfinite(frames)):
            raise ModelError(f"{network.name}: the features have NaN or infinite values; check the audio")
        if beam is not None and not network.is_transducer:
            raise ModelError(
                f"{network.name}: a beam searches with encoder, prediction and joint, but it has 'step' only"
            )
        if snapshots and beam is None:
            raise ModelError(
                f"{network.name}: greedy search has no lattice to keep at {len(snapshots)} frames; give a beam"
            )
        if not all(0 <= t < len(frames) for t in snapshots):
            raise ModelError(
                f"{network.name}: snapshots are frames 0 to {len(frames) - 1}, but got {sorted(snapshots)}"
            )

    def _start(self) -> None:
        """Initial state, empty record."""
        formats = self.quantized.formats
        self._recorder = Recorder()
        self._decision = NO_INVOCATION  # the last invocation that decided what runs next
        self._made_by: dict[str, int] = {}  # invocation behind each graph's latest output
        self._frame_arms: dict[int, str] = {}
        self._state = {
            role: {n: Value(to_integers(first, formats[f"{role}/{n}"])) for n, first in graph.initial_state.items()}
            for role, graph in self.network.graphs.items()
        }

    def _step(self, role: str, inputs: tuple[np.ndarray, ...], frame: int) -> np.ndarray:
        """One graph on one frame; its state is kept for the next call."""
        graph = self.network.graphs[role]
        env = dict(self._state[role])
        for position, (name, array) in enumerate(zip(graph.inputs, inputs, strict=True)):
            env[name] = self._input(role, position, array)
        self._run(self.planner.plans[role], env, frame)
        self._state[role] = {before: env[after] for before, after in graph.state}
        output = env[graph.outputs[0]]
        self._made_by[role] = output.producer
        return output.array

    def _input(self, role: str, position: int, array: np.ndarray) -> Value:
        """An input with its origin: the microphone, the search's decision, or another graph."""
        if role == self.network.first.name:
            return Value(array, is_frame=True)
        if role == "prediction":
            return Value(array, self._decision)
        return Value(array, self._made_by[("encoder", "prediction")[position]])

    def _run(self, plan: Plan, env: dict[str, Value], frame: int) -> None:
        invocation = NO_INVOCATION
        for step in plan.steps:
            node = step.node
            operands = [env[name] for name in node.inputs]
            if node.op == "slice":
                piece = operands[0].array[node.attrs["start"] : node.attrs["stop"]]
                env[node.outputs[0]] = Value(piece, operands[0].producer, operands[0].is_frame)
            elif node.op == "branch":
                results = self._branch(step, operands, frame)
                env.update(zip(node.outputs, results, strict=True))
            else:
                if step.opens:
                    arm = self.planner.arms.index(plan.label)
                    invocation = self._recorder.open(step.op, frame, arm, self._decision)
                for name, array in zip(node.outputs, self._compute(step, operands, invocation), strict=True):
                    env[name] = Value(array, invocation)

    def _branch(self, step: Step, operands: list[Value], frame: int) -> list[Value]:
        predicate, *passed = operands
        self._decision = predicate.producer
        taken = 0 if predicate.array[0] else 1
        plan, at = step.arms[taken], len(self._recorder.branchings)
        start, arms = len(self._recorder.op), tuple(arm.ops for arm in step.arms)
        self._recorder.branchings.append(Branching(predicate.producer, taken, arms, start, start))
        env = dict(zip(plan.graph.inputs, passed, strict=True))
        self._run(plan, env, frame)
        self._recorder.branchings[at] = Branching(predicate.producer, taken, arms, start, len(self._recorder.op))
        self._frame_arms[frame] = "+".join(filter(None, (self._frame_arms.get(frame, ""), plan.label)))
        return [env[name] for name in plan.graph.outputs]

    def _compute(self, step: Step, operands: list[Value], invocation: int) -> list[np.ndarray]:
        match step.node.op:
            case "matrix" | "lstm":
                return self._multiply(step, operands, invocation)
            case "embedding":
                row = int(operands[0].array[0])
                self._recorder.part(operands[0], row)
                return [self.rows[step.table][row]]
        for operand in operands:
            self._recorder.reads(operand, invocation)
        return [step.compute([operand.array for operand in operands])]

    def _accumulate(self, tensor: str, x: np.ndarray, left: int, acc: np.ndarray) -> None:
        """Add a part's products to ``acc``, with the kernel that is faster at the operand's density."""
        active = int(np.count_nonzero(x))
        if active == 0:  # an initial state, mostly: no reason to transpose its weights
            return
        if active >= COLUMNS_BELOW * len(x):
            kernels.accumulate_rows(self.matrices[tensor], x, left, self._wide, acc)
            return
        if tensor not in self._columns:
            self._columns[tensor] = np.ascontiguousarray(self.matrices[tensor].T)
        kernels.accumulate_columns(self._columns[tensor], x, left, self._which, self._wide, self._total, acc)

    def _multiply(self, step: Step, operands: list[Value], invocation: int) -> list[np.ndarray]:
        """The matrix parts of an op, its requantization and, of an LSTM, the cell."""
        node, integers = step.node, self.quantized.matrices[step.key]
        by_name = dict(zip(node.inputs, operands, strict=True))
        bias, multiplier, shift = self.tables[step.key]
        acc = bias.copy()
        for (_, value), tensor, left in zip(node.parts, integers.tensors, integers.left_shift, strict=True):
            self._recorder.part(by_name[value])
            self._accumulate(tensor, by_name[value].array, left, acc)
        if node.op == "matrix":
            dtype = self.quantized.formats[step.prefix + node.outputs[0]].dtype
            out = np.empty(len(acc), dtype)
            kernels.requantize(acc, multiplier, shift, LIMIT[dtype], out)
            return [out]
        cell = operands[2]
        self._recorder.reads(cell, invocation)
        gates = np.empty(len(acc), np.int16)
        kernels.requantize(acc, multiplier, shift, 32767, gates)
        hidden, new_cell = np.empty(len(cell.array), np.int8), np.empty(len(cell.array), np.int16)
        factor = int(integers.hidden.multiplier[0]), int(integers.hidden.shift[0])
        kernels.lstm_cell(gates, cell.array, TABLES["sigmoid"], TABLES["tanh"], *factor, new_cell, hidden)
        return [hidden, new_cell]


class _Stepper:
    """What a search drives: the steps of one utterance, and the states that its hypotheses left behind.

    Under greedy search each joint output is a decision. Under beam search it is one once the search has read
    the outputs of its level: joints of one level do not wait for each other.
    """

    def __init__(
        self, interpreter: Interpreter, n_frames: int, has_levels: bool, progress: Callable[[int], None] | None
    ) -> None:
        self.outputs: list[np.ndarray] = []
        self.expansions = np.zeros(n_frames, np.int64)
        self._interpreter = interpreter
        self._first = interpreter.network.first.name
        self._has_levels = has_levels
        self._progress = progress

    def __call__(self, role: str, inputs: tuple[np.ndarray, ...], frame: int) -> np.ndarray:
        result = self._interpreter._step(role, inputs, frame)
        if role == self._first:
            self.outputs.append(result)
            if self._progress is not None:
                self._progress(frame)
        elif role == "joint":
            self.expansions[frame] += 1
            if not self._has_levels:
                self.decide()
        return result

    def keep(self, role: str) -> tuple[dict[str, Value], int]:
        return self._interpreter._state[role], self._interpreter._made_by[role]

    def restore(self, role: str, kept: tuple[dict[str, Value], int]) -> None:
        self._interpreter._state[role], self._interpreter._made_by[role] = kept

    def decide(self) -> None:
        self._interpreter._decision = self._interpreter._made_by["joint"]
