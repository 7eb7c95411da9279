"""A real record on a chip: the fast path against the SimPy machine, laws, bounds and equal outputs."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import noise, stack, transducer

from azsim.chip import Chip, CodecConfig, Controller, Dram, Host, MacArray, Stream, VectorUnit, WeightSram
from azsim.errors import CapacityError, LawError
from azsim.execute import Interpreter
from azsim.timing import laws, reference_program, schedule
from azsim.timing.account import split_gaps
from azsim.timing.recurrences import Edges
from azsim.timing.reference import Simulation
from azsim.weights import calibrate, encode, quantize

HOP_S, FIRST_S = 1e-6, 0.5e-6  # a frame every 500 cycles: frames run into each other


def pruned(network, frames, bits, share):
    """A quantized network with a share of its weights zero, so that codecs and skips have something to do."""
    quantized = quantize(network, calibrate(network, [frames]), bits)
    rng = np.random.default_rng(0)
    for tensor in quantized.tensors.values():
        tensor.values[rng.random(tensor.values.shape) < share] = 0
    return quantized, frames


@pytest.fixture(scope="module")
def network():
    return pruned(transducer(seed=9), noise(6), 8, 0.5)  # takes both arms


def chip_with(codec="zero_mask", form="refilled", pin="none", accumulator_bytes=2048, parts=None, **array):
    chip = Chip(
        dram=Dram(latency_ns=30, burst_bytes=16),
        stream=Stream(fifo_bursts=2, dma_outstanding=2),
        codec=CodecConfig(name=codec, symbols_per_cycle=3),
        weight_sram=WeightSram(bytes=4096, tile_slots=2, tile_bytes=600, form=form, pin=pin),
        mac_array=MacArray(**{"pes": 4, "lanes": 2, "scan_width": 4, "queue_depth": 2,
                              "accumulator_bytes": accumulator_bytes, **array}),
        controller=Controller(op_overhead_cycles=2, branch_redirect_cycles=3),
        host=Host(feature_us_per_frame=0),
    )  # fmt: skip
    for part, fields in (parts or {}).items():
        chip = chip.replace(**{part: getattr(chip, part).replace(**fields)})
    return chip


BIG = 65_536
CHIPS = {
    "streamed": chip_with(),
    "some pinned": chip_with(pin="smallest_first"),
    "dense": chip_with("dense", skip_weights=False, skip_activations=False),
    "huffman": chip_with("huffman", skip_activations=False),
    "rows split": chip_with(accumulator_bytes=256),
    "one set": chip_with(accumulator_sets=1, bubble_period=5),
    "packed": chip_with("run_length", "packed"),
    "rows": chip_with(dataflow="row_dot"),
    "rows with lookahead": chip_with(dataflow="row_dot", lookahead=2, skip_weights=False),
    "likely": chip_with(parts={"controller": {"branch_policy": "likely"}}),
    "both": chip_with(parts={"controller": {"branch_policy": "both"}}),
    "chunks": chip_with(accumulator_bytes=BIG, parts={"controller": {"chunk_frames": 4}}),
    "chunks in one slot": chip_with(
        accumulator_bytes=BIG, parts={"controller": {"chunk_frames": 3}, "weight_sram": {"tile_slots": 1}}
    ),
    "active columns": chip_with(parts={"stream": {"fetch": "active_columns"}}),
    "bypass": chip_with(parts={"stream": {"bypass_sram": True}}),
    "bypass of active columns": chip_with(parts={"stream": {"bypass_sram": True, "fetch": "active_columns"}}),
    "one port": chip_with(parts={"weight_sram": {"ports": 1, "banks": 2, "tile_slots": 4}}),
    "three broadcasts a cycle": chip_with(broadcast_width=3),
    "best pins": chip_with(pin="most_bytes_saved"),
}


def run(network, chip):
    quantized, frames = network
    image = encode(quantized.tensors.values(), quantized.tables, chip)
    execution = Interpreter(quantized, image.decode_all()).execute(frames)
    return image, execution, schedule(execution.record, image, chip, HOP_S, FIRST_S)


def assert_agrees(network, chip):
    image, execution, timeline = run(network, chip)
    weights = {key: tensor.values for key, tensor in network[0].tensors.items()}
    program = reference_program.Program(execution.record, image, weights, timeline.pinned, chip, timeline.frame_start)
    log = Simulation(reference_program.machine_of(chip), program.ops).run()
    assert timeline.load_start[timeline.tile_loads].tolist() == log.load_start
    assert timeline.load_end[timeline.tile_loads].tolist() == log.load_end
    assert timeline.tile_compute_start[timeline.tile_computes].tolist() == log.compute_start
    assert timeline.tile_compute_end[timeline.tile_computes].tolist() == log.compute_end
    assert timeline.out_end[~timeline.is_wasted].tolist() == log.out_end
    return execution, timeline


@pytest.mark.parametrize("name", CHIPS)
def test_a_record_on_a_chip_agrees_with_the_machine_cycle_for_cycle(network, name):
    execution, timeline = assert_agrees(network, CHIPS[name])
    if name == "rows split":
        assert len(timeline.op) > len(execution.record)
    if name in ("likely", "both"):
        assert timeline.counts.wasted_bytes > 0, "nothing was fetched in vain, so this proves little"
    if name == "chunks":  # W_ih of the first layer is one op for a whole chunk, so that it is fetched once for it
        first = execution.record.ops[0]
        assert first.name == "encoder/first"
        loads = timeline.tile_loads & (timeline.op[timeline.tile_op] == 0)
        assert 0 < loads.sum() < 6 * 2, "six frames, two matrices, at least a tile each"


@cache
def drawn_network(number):
    """The branching transducer with 8-bit and 4-bit weights, and two LSTM layers without a branch."""
    if number < 2:
        return pruned(transducer(seed=(3, 9)[number]), noise(6), (8, 4)[number], (0.5, 0.7)[number])
    return pruned(stack(seed=4), noise(7, 9), 8, 0.8)


@st.composite
def chips(draw):
    """Any chip that the config accepts: one slot, a FIFO of one burst, more lanes than rows, ..."""
    one = lambda *options: draw(st.sampled_from(options))  # noqa: E731
    dataflow = one("column_broadcast", "column_broadcast", "row_dot")
    form = one("refilled", "refilled", "packed") if dataflow == "column_broadcast" else "refilled"
    by_column = form == "refilled" and dataflow == "column_broadcast" and one(False, False, True)
    fetch = one("all_columns", "active_columns") if by_column else "all_columns"
    policy = "wait" if by_column else one("wait", "likely", "both")
    slots, banks = one((1, 1), (2, 1), (2, 2), (3, 3), (6, 2))
    return Chip(
        clock_hz=one(500e6, 333e6),
        dram=Dram(latency_ns=one(0, 2, 30, 200), burst_bytes=one(8, 16, 64),
                  bandwidth_bytes_per_s=one(0.3e9, 1.6e9, 50e9)),
        stream=Stream(fifo_bursts=one(1, 2, 5), dma_outstanding=one(1, 2, 3), fetch=fetch,
                      bypass_sram=by_column and (fetch == "all_columns" or one(False, True))),
        codec=CodecConfig(name="run_length" if form == "packed" else one("dense", "zero_mask", "run_length", "huffman"),
                          symbols_per_cycle=one(1, 3, 16), index_bits=one(2, 4)),
        weight_sram=WeightSram(bytes=one(16_384, 32_768), tile_slots=slots, banks=banks, tile_bytes=one(900, 2000),
                               ports=one(1, 2), form=form, pin=one("none", "smallest_first", "most_bytes_saved")),
        mac_array=MacArray(dataflow=dataflow, pes=one(1, 3, 8, 100), lanes=one(1, 2, 3, 8, 64),
                           pair_4_bit_weights=one(False, True), skip_weights=one(True, False),
                           skip_activations=fetch == "active_columns" or one(True, False), scan_width=one(1, 4, 16),
                           broadcast_width=one(1, 1, 2, 5), queue_depth=one(1, 2, 7), bubble_period=one(0, 0, 3),
                           lookahead=one(0, 1, 9), fill_cycles=one(0, 7), accumulator_bytes=one(256, 2048, 65_536),
                           accumulator_sets=one(1, 2, 3)),
        vector_unit=VectorUnit(fill_cycles=one(0, 8, 60)),
        controller=Controller(op_overhead_cycles=one(0, 2), branch_redirect_cycles=one(0, 3, 40), branch_policy=policy,
                              chunk_frames=1 if by_column or policy != "wait" else one(1, 2, 5)),
        host=Host(feature_us_per_frame=one(0, 1.5)),
    )  # fmt: skip


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2), chips())
def test_drawn_chips_agree_with_the_machine_cycle_for_cycle(number, chip):
    try:
        assert_agrees(drawn_network(number), chip)
    except CapacityError:
        assume(False)


def test_outputs_are_bit_equal_on_every_chip(network):
    results = [run(network, chip)[1] for chip in CHIPS.values()]
    for other in results[1:]:
        np.testing.assert_array_equal(other.outputs, results[0].outputs)
        assert other.hypothesis == results[0].hypothesis
        np.testing.assert_array_equal(other.record.nonzero, results[0].record.nonzero)


def test_macs_are_counted_from_the_zeros(network):
    _, execution, timeline = run(network, CHIPS["streamed"])
    weights = {key: tensor.values for key, tensor in network[0].tensors.items()}
    record, dense, effectual = execution.record, 0, 0
    for n in range(len(record)):
        op = record.ops[record.op[n]]
        for part, (name, cols) in enumerate(zip(op.tensors, op.cols, strict=True), record.part_start[n]):
            if cols:
                dense += weights[name].size
                effectual += np.count_nonzero(weights[name][:, record.operand(part, cols)])
    assert (timeline.counts.dense_macs, timeline.counts.effectual_macs) == (dense, effectual)
    assert timeline.counts.issued_macs == effectual, "both skips on: only effectual products are issued"
    counts = run(network, CHIPS["dense"])[2].counts
    assert counts.issued_macs == counts.dense_macs == dense and counts.effectual_macs == effectual


def test_with_both_skips_off_zeros_change_nothing(network):
    quantized, frames = network
    chip = CHIPS["dense"]
    full = quantize(quantized.network, calibrate(quantized.network, [frames]))
    for tensor in full.tensors.values():
        tensor.values[tensor.values == 0] = 1
    record = run(network, chip)[1].record
    cycles = [
        schedule(record, encode(q.tensors.values(), q.tables, chip), chip, HOP_S, FIRST_S)
        .accounts["mac_array"]
        .busy_cycles
        for q in (quantized, full)
    ]
    assert cycles[0] == cycles[1]


def test_bytes_on_the_bus_are_packed_and_padding(network):
    image, _, timeline = run(network, CHIPS["some pinned"])
    counts = timeline.counts
    assert timeline.pinned and timeline.pinned < set(image.tensors)
    assert counts.dram_read_bytes == sum(counts.packed_bytes.values()) + counts.padding_bytes
    assert counts.dram_read_bytes % 16 == 0
    streamed = sum(op.streamed_bytes for op in timeline.per_op)
    once = sum(int(t.stored_bytes.sum()) for t in image.tensors.values() if t.name in timeline.pinned)
    assert counts.dram_read_bytes == streamed + once + -(-image.table_bytes // 16) * 16


def test_a_faster_bus_never_costs_a_cycle(network):
    chip = CHIPS["streamed"]
    ends = []
    for bandwidth in (0.4e9, 0.8e9, 1.6e9, 3.2e9, 64e9):
        ends.append(run(network, chip.replace(dram=chip.dram.replace(bandwidth_bytes_per_s=bandwidth)))[2].out_end[-1])
    assert ends == sorted(ends, reverse=True) and ends[0] > ends[-1]


def test_weights_on_chip_leave_no_load(network):
    chip = CHIPS["streamed"]
    roomy = chip.replace(weight_sram=chip.weight_sram.replace(bytes=100_000, pin="smallest_first"))
    timeline = run(network, roomy)[2]
    assert timeline.accounts["dma"].busy_cycles == 0 and timeline.bounds["bandwidth_bound_cycles"] == 0
    assert "dma" not in timeline.accounts["mac_array"].stall_cycles


def program_of(tiles):
    """As much of a program as the laws look at: one op, no loads."""
    return SimpleNamespace(
        tile_streams=np.zeros(tiles, bool), op_is_wasted=np.zeros(1, bool), part_op=np.zeros(1, int),
        tile_part=np.zeros(tiles, int),
    )  # fmt: skip


EMPTY = Edges(*[np.zeros(0, np.int64)] * 11)


def with_counts(timeline, **changes):
    return replace(timeline, counts=replace(timeline.counts, **changes))


def with_account(timeline, part, **changes):
    return replace(timeline, accounts={**timeline.accounts, part: replace(timeline.accounts[part], **changes)})


DOCTORED = {
    "dense = skipped": lambda t: with_counts(t, dense_macs=t.counts.dense_macs + 1),
    "issued = gated": lambda t: with_counts(t, gated_macs=t.counts.gated_macs + 1),
    "DRAM bytes = packed": lambda t: with_counts(t, padding_bytes=t.counts.padding_bytes + 1),
    "active <= utterance": lambda t: with_counts(t, utterance_cycles=t.counts.active_cycles - 1),
    "bound <= active": lambda t: replace(t, bounds={**t.bounds, "bound_cycles": t.counts.active_cycles + 1}),
    "mac_array: busy": lambda t: with_account(t, "mac_array", busy_cycles=t.accounts["mac_array"].busy_cycles + 1),
    "dma: busy": lambda t: with_account(t, "dma", stall_cycles={}),
    "0 <= stall cycles": lambda t: with_account(
        t, "vector_unit", stall_cycles={"input": -7},
        idle_cycles=t.accounts["vector_unit"].idle_cycles + t.accounts["vector_unit"].stall_cycles["input"] + 7,
    ),
}  # fmt: skip


@pytest.mark.parametrize("law", DOCTORED)
def test_a_doctored_result_breaks_its_law(network, law):
    timeline = run(network, CHIPS["streamed"])[2]
    program = program_of(tiles=0)
    laws.check_laws(timeline, EMPTY, program)
    with pytest.raises(LawError, match=law):
        laws.check_laws(DOCTORED[law](timeline), EMPTY, program)


def test_two_tiles_at_once_break_a_law(network):
    timeline = run(network, CHIPS["streamed"])[2]
    edges = replace(
        EMPTY, compute_start=np.array([0, 5]), compute_end=np.array([6, 9]), load_reason=np.zeros(2, np.int64)
    )
    with pytest.raises(LawError, match="one tile at a time"):
        laws.check_laws(timeline, edges, program_of(tiles=2))


@pytest.mark.parametrize(
    ("changes", "reason", "absent"),
    [
        ({"dram": {"bandwidth_bytes_per_s": 0.1e9}}, "dma", "decoder"),
        ({"dram": {"bandwidth_bytes_per_s": 64e9}, "codec": {"symbols_per_cycle": 1}}, "decoder", "dma"),
        ({"mac_array": {"accumulator_sets": 1}, "vector_unit": {"fill_cycles": 90}}, "output", "queue"),
        ({"controller": {"branch_redirect_cycles": 500}, "weight_sram": {"bytes": 99_999, "pin": "smallest_first"}},
         "branch", "dma"),
        ({"weight_sram": {"bytes": 99_999, "pin": "smallest_first"}}, "input", "decoder"),
    ],
)  # fmt: skip
def test_a_stall_is_named_after_the_part_that_is_slow(network, changes, reason, absent):
    chip = CHIPS["streamed"]
    slow = chip.replace(**{part: getattr(chip, part).replace(**fields) for part, fields in changes.items()})
    stalls = run(network, slow)[2].accounts["mac_array"].stall_cycles
    assert stalls.get(reason, 0) > 0 and absent not in stalls
    if reason != "output":  # one set of accumulators also delays what reads results: "input" is larger there
        assert reason == max(stalls, key=lambda name: stalls[name])


def test_gaps_are_idle_until_the_frame_arrives_and_stalled_after():
    # intervals 10..14, 20..25, 25..30; work for the first exists from 4, for the second from 30 (too late), the third 0
    start, end = np.array([10, 20, 25]), np.array([14, 25, 30])
    idle, stalled = split_gaps(start, end, np.array([4, 30, 0]))
    assert idle.tolist() == [4, 6, 0] and stalled.tolist() == [6, 0, 0]


def test_cycles_between_frames_are_idle_and_not_stalled(network):
    chip = CHIPS["some pinned"]
    image, execution, _ = run(network, chip)
    near, far = (schedule(execution.record, image, chip, hop, FIRST_S).accounts for hop in (1e-4, 2e-4))
    extra = (execution.record.n_frames - 1) * 50_000  # 1e-4 s more before each frame, at 500 MHz
    for part in ("mac_array", "vector_unit", "dma"):
        assert far[part].stall_cycles == near[part].stall_cycles
        assert far[part].idle_cycles - near[part].idle_cycles == extra


def test_a_result_stays_within_its_bounds(network):
    timeline = run(network, CHIPS["streamed"])[2]
    assert timeline.bounds["bound_cycles"] <= timeline.counts.active_cycles <= timeline.counts.utterance_cycles
