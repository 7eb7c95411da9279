"""ESE: an LSTM with projection on one channel, stage by stage, against its published times.

A step is nine matrix stages in the order of the table (W_ix ... W_ym), each an op with an output pass of its own.
Weights are drawn with i.i.d. zeros, encoded as real run-length streams and replayed by ``schedule`` like any record.

*What is compared.* A stage's time is the difference between the ends of successive stages, where a stage ends when
its results are written. ESE works through steps without a break, so the last of several is taken: its W_ix ends one
pass after the W_ym of the step before. The *step* lasts from its first MAC to its last result. ESE's total of 82.7 us
is 5.35 us = 1070 cycles more than its nine rows add up to. The same gap stands here: W_ix is multiplied while the W_ym
of the step before is written, so a step lasts one output pass longer than the distance between steps.

*Entries, not weights.* The published non-zeros are taken to be what is stored, padding included. Read as weights,
padding alone would give W_fr a mean of 2,020 entries a PE, more than the 2,002 cycles it really took; and W_ym, whose
16 rows per PE never need padding, is the only matrix at a round 10.0 %. Zeros are therefore drawn so that the stored
entries are exactly as many as published; the density of weights is what follows.

*Fitted*, once for all stages and named in the preset: a pass takes one element a cycle and 48 cycles of fill; two sets
of accumulators. Every pass goes over ``PASS_ELEMENTS``, also that of W_ym, which makes 512 outputs: assumed, since
only so do the first stage and the gap above take 1072 cycles.

*8-bit codes.* azsim's weights have at most 8 bits where ESE's have 12. It moves no cycle: a PE takes one entry a
cycle whatever its width, and loads hide behind the stage before (a test makes DRAM ideal and finds the same times).

Left out
--------
Load-balance-aware pruning, which gives every PE the same share (about 1 % less time); peepholes and biases, which are
part of a pass; the 16 bits of activations; and the other 31 channels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from azsim.chip import Chip, load_chip
from azsim.execute.record import ActivityRecord, Op
from azsim.timing import Timeline, schedule
from azsim.validate.published import published
from azsim.validate.row import Row
from azsim.weights import QuantizedTensor, encode
from azsim.weights.image import DramImage, TensorTiles
from azsim.weights.layout import entries_per_pe

STAGES = ("W_ix", "W_fx", "W_cx", "W_ox", "W_ir", "W_fr", "W_cr", "W_or", "W_ym")
RECURRENT = ("W_ir", "W_fr", "W_cr", "W_or")
PASS_ELEMENTS = 1024  # cells
STEPS = 3  # the third no longer knows how the first began
SEEDS = range(10)
PROJECTED = 8  # W_ym
READS_PROJECTION = (4, 5, 6, 7)  # operand: the output of W_ym one step before
ACTIVATION_BYTES = 2
WITHOUT_PASSES = frozenset({"vector_unit"})


@dataclass(frozen=True)
class Step:
    """The last of several steps, in cycles."""

    stage_cycles: Mapping[str, int]
    step_cycles: int  # from its first MAC to its last result
    distance_cycles: int  # from the last result of the step before


def draw_weights(rows: int, cols: int, entries: int, chip: Chip, rng: np.random.Generator) -> np.ndarray:
    """int8[rows, cols] with i.i.d. zeros, stored by the chip as exactly ``entries`` entries, padding included.

    Weights are set in random order until the count is reached; setting one never lowers it.
    """
    order = rng.permutation(rows * cols)
    values = rng.integers(1, 128, rows * cols, dtype=np.int8)

    def stored(chosen: np.ndarray) -> tuple[np.ndarray, int]:
        flat = np.zeros(rows * cols, np.int8)
        flat[chosen] = values[chosen]
        weights = flat.reshape(rows, cols)
        return weights, int(entries_per_pe(weights, chip).sum(dtype=np.int64))

    least, most = 0, entries  # the largest number of weights that needs no more than ``entries``
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if stored(order[:middle])[1] <= entries else (least, middle - 1)
    chosen = order[:least]
    weights, count = stored(chosen)
    for place in order[least + 1 :]:  # the next one would need two entries more: pass over it
        if count == entries:
            break
        with_it, more = stored(np.append(chosen, place))
        if more <= entries:
            chosen, weights, count = np.append(chosen, place), with_it, more
    return weights


def draw_tensors(chip: Chip, seed: int) -> list[QuantizedTensor]:
    """The nine matrices of the published table."""
    rng = np.random.default_rng(seed)
    table = {row["matrix"]: row for row in published("ese.csv")}
    tensors = []
    for name in STAGES:
        rows, cols, entries = (int(table[name][key]) for key in ("rows", "cols", "entries"))
        tensors.append(QuantizedTensor(name, draw_weights(rows, cols, entries, chip, rng), np.ones(rows)))
    return tensors


def record_of_steps(tensors: Sequence[TensorTiles], steps: int, pass_elements: Mapping[str, int]) -> ActivityRecord:
    """``steps`` steps of nine ops with dense activations; every frame is there from the start.

    What a pass reads of earlier stages (the sum of the same gate, the gates of a cell) needs no entry: passes run in
    order, so it is written by then.
    """
    n_stages = len(tensors)
    n = steps * n_stages
    ops = [
        Op(
            name=t.name,
            graph="step",
            tensors=(t.name,),
            cols=(t.cols,),
            functions={"move": pass_elements[t.name]},
            output_bytes=ACTIVATION_BYTES * t.rows,
            input_bytes=ACTIVATION_BYTES * t.cols,
        )
        for t in tensors
    ]
    stage, step = np.arange(n) % n_stages, np.arange(n) // n_stages
    operand_reads: list[list[int]] = []
    for at, s, before in zip(range(n), stage, step, strict=True):
        reads_before = [(int(before) - 1) * n_stages + PROJECTED] if s in READS_PROJECTION and before else []
        operand_reads.append([at - 1] if s == PROJECTED else reads_before)
    nonzero_bytes = [(op.cols[0] + 7) // 8 for op in ops]
    return ActivityRecord(
        ops=ops,
        arms=[""],
        n_frames=steps,
        op=stage.astype(np.int32),
        frame=step.astype(np.int32),
        reads_frame=np.zeros(n, bool),
        part_reads_frame=stage < 4,
        arm=np.zeros(n, np.int32),
        decided_by=np.full(n, -1, np.int32),
        part_start=np.arange(n + 1, dtype=np.int32),
        read_start=_starts(operand_reads),
        reads=_joined(operand_reads),
        op_read_start=np.zeros(n + 1, np.int32),
        op_reads=np.zeros(0, np.int32),
        row=np.full(n, -1, np.int32),
        nonzero=np.full(steps * sum(nonzero_bytes), 255, np.uint8),
        nonzero_start=np.concatenate([[0], np.cumsum(nonzero_bytes * steps)]).astype(np.int64),
        frame_arm=[""] * steps,
        state_bytes=ACTIVATION_BYTES * sum(t.rows for t in tensors),
    )


def _starts(lists: list[list[int]]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(own) for own in lists])]).astype(np.int32)


def _joined(lists: list[list[int]]) -> np.ndarray:
    return np.array([at for own in lists for at in own], np.int32)


def last_step(timeline: Timeline) -> Step:
    """Stage times of the last step of a schedule: differences of the edges at which results are written."""
    ends = timeline.out_end[-len(STAGES) - 1 :]
    times = {name: int(cycles) for name, cycles in zip(STAGES, np.diff(ends), strict=True)}
    begin = int(timeline.compute_start[-len(STAGES)])
    return Step(times, int(ends[-1]) - begin, int(ends[-1] - ends[0]))


def run_step(
    image: DramImage,
    chip: Chip,
    ideal: frozenset[str] = frozenset(),
    pass_elements: Mapping[str, int] | None = None,
) -> Step:
    """One step in the middle of many.

    Parameters
    ----------
    image : DramImage
        Of the tensors of ``draw_tensors``.
    chip : Chip
    ideal : frozenset of str
        Parts of the chip that cost nothing, from ``azsim.timing.ideal.IDEAL_PARTS``.
    pass_elements : mapping of str to int, optional
        Elements of each stage's output pass; ``PASS_ELEMENTS`` for all by default.
    """
    tensors = [image.tensors[name] for name in STAGES]
    record = record_of_steps(tensors, STEPS, pass_elements or dict.fromkeys(STAGES, PASS_ELEMENTS))
    return last_step(schedule(record, image, chip, frame_hop_s=0.0, first_frame_s=0.0, ideal=ideal))


def ese_rows(seeds: Iterable[int] = SEEDS) -> list[Row]:
    """Every stage, the step, and the distance between steps: mean over seeds, with the range in low and high."""
    chip = load_chip("ese")
    to_us = 1e6 / chip.clock_hz
    images = [encode(draw_tensors(chip, seed), {}, chip) for seed in seeds]
    own_outputs = {name: images[0].tensors[name].rows for name in STAGES}
    steps = [run_step(image, chip) for image in images]
    bare_us = np.mean([run_step(image, chip, WITHOUT_PASSES).step_cycles for image in images]) * to_us
    short = [run_step(image, chip, pass_elements=own_outputs) for image in images]
    short_us = {name: np.mean([s.stage_cycles[name] for s in short]) * to_us for name in STAGES}
    short_step_us = np.mean([s.step_cycles for s in short]) * to_us
    table = {row["matrix"]: row for row in published("ese.csv")}
    real_us = {name: float(row["real_us"]) for name, row in table.items()}

    def row(what: str, key: str, figure: float, cycles: list[int], note: str) -> Row:
        us = np.array(cycles) * to_us
        low, high = float(us.min()), float(us.max())
        mark, source = table[key]["mark"], table[key]["source"]
        return Row("ESE", what, "us", figure, float(us.mean()), mark, source, note, low=low, high=high)

    notes = {name: "an output pass decides, whose length was fitted to this figure" for name in STAGES}
    notes |= dict.fromkeys(RECURRENT, "its MACs decide")
    notes["W_ym"] = (
        f"waits for the pass before it and ends with its own; if that went over its {own_outputs['W_ym']} outputs "
        f"instead of {PASS_ELEMENTS} elements: {short_us['W_ym']:.2f} us (and W_ix {short_us['W_ix']:.2f} us)"
    )
    rows = [row(name, name, real_us[name], [s.stage_cycles[name] for s in steps], notes[name]) for name in STAGES]
    total = real_us["total"]
    note = (
        f"from first MAC to last result; without output passes {bare_us:.1f} us ({bare_us / total - 1:+.0%}), with one "
        f"over the outputs of W_ym {short_step_us:.1f} us ({short_step_us / total - 1:+.1%})"
    )
    rows.append(row("step", "total", total, [s.step_cycles for s in steps], note))
    note = "from last result to last result; published is the sum of the nine stages, not a figure of its own"
    added = sum(real_us[name] for name in STAGES)
    rows.append(row("distance between steps", "total", added, [s.distance_cycles for s in steps], note))
    return rows
