"""Laws of every schedule, on recorded speech: what a chip reports is counted again from the record and the image."""

import os
import re
import subprocess
import sys
from collections import Counter, namedtuple
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_schedule import chips, drawn_network, run, with_account, with_counts
from test_timing import solve_ops
from typer.testing import CliRunner

from azsim.chip import load_chip, presets
from azsim.cli import app
from azsim.energy import price
from azsim.errors import ChipError, LawError
from azsim.simulate import execute, simulate
from azsim.timing import laws, schedule
from azsim.timing.reference import Machine, OpSpec, PartSpec, Pass, Simulation, TileSpec
from azsim.timing.timeline import STALLS
from azsim.weights import encode, layout_key

RECORDING = Path(__file__).parents[1] / "models" / "demo" / "digits_1.wav"
FRAMES = 20  # both arms of amnet, and a word
BACK_TO_BACK_S = 1e-6  # frames run into each other
CHANGES = {
    "small": "",
    "huffman, one slot": "codec.name=huffman weight_sram.tile_slots=1 weight_sram.pin=none stream.fifo_bursts=1",
    "packed": "codec.name=run_length weight_sram.form=packed",
    "rows split": "mac_array.accumulator_bytes=2048 weight_sram.tile_bytes=1200",
    "short queues": "mac_array.queue_depth=1 mac_array.bubble_period=5 mac_array.pes=16",
    "wide": "mac_array.broadcast_width=3 weight_sram.ports=1 weight_sram.banks=2 codec.name=run_length",
    "row_dot": "mac_array.dataflow=row_dot mac_array.lookahead=2 codec.name=dense dram.burst_bytes=24",
    "active columns": "stream.fetch=active_columns",
    "bypass": "stream.bypass_sram=true mac_array.lanes=1 mac_array.scan_width=4",
    "likely": "controller.branch_policy=likely stream.dma_outstanding=4",
    "both": "controller.branch_policy=both",
    "chunks": "controller.chunk_frames=4 mac_array.accumulator_bytes=65536",
}
AZ1 = load_chip("az1_like", ["weight_sram.bytes=98304", "weight_sram.tile_bytes=8192"])  # the large matrices stream
PRESETS = {name: load_chip(name) for name in presets()}
CHIPS = [*PRESETS, *CHANGES]
CASES = [*(("amnet", name) for name in CHIPS), *(("rnnt", name) for name in ("az1_like", "ese", "small", "chunks"))]
IMAGES = {}  # by network and layout, which many chips share
MANY = 10**12
TWO_CYCLES = (Pass(((1,),), (0,)),)  # of a single PE: one until the activation is there, one of work


@cache
def recorded(network):
    """(quantized network, speech, execution of its first frames)."""
    run = simulate(network, RECORDING)
    return run.quantized, run.speech, execute(run.quantized, run.replay.image, run.speech.frames[:FRAMES])


def chip_of(name, *more):
    return load_chip(PRESETS.get(name, AZ1), " ".join([CHANGES.get(name, ""), *more]).split())


def on_chip(network, chip, hop_s=BACK_TO_BACK_S):
    quantized, speech, execution = recorded(network)
    key = network, layout_key(chip)
    if key not in IMAGES:
        IMAGES[key] = encode(quantized.tensors.values(), quantized.tables, chip)
    timeline = schedule(execution.record, IMAGES[key], chip, hop_s, speech.first_frame_s)
    return SimpleNamespace(record=execution.record, image=IMAGES[key], chip=chip, timeline=timeline)


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    network, name = request.param
    return counted(on_chip(network, chip_of(name), recorded(network)[1].hop_s if name in PRESETS else BACK_TO_BACK_S))


def counted(case):
    case.tiles = [(name, i) for name, tensor in case.image.tensors.items() for i in range(len(tensor.tiles))]
    case.cells = list(cells_of(case))  # what is computed
    case.loads = list(loads_of(case))  # what is fetched
    return case


# A tile under an operand; on: activations of its columns that are not zero; products[weight is zero, activation is].
Cell = namedtuple("Cell", "op tensor index on products")
Load = namedtuple("Load", "at is_wasted packed_bytes bursts decode_cycles")  # at: the tile's place in the timeline


def cells_of(case):
    zeros, weights, record, tensors = {}, case.image.decode_all(), case.record, case.image.tensors
    for name, i in case.tiles:
        t = tensors[name].tiles[i]
        part = weights[name][t.row_start : t.row_stop, t.col_start : t.col_stop] == 0
        zeros[name, i] = np.stack([(~part).sum(axis=0), part.sum(axis=0)])
    for n, number in enumerate(record.op):
        op = record.ops[number]
        for operand, name, cols in zip(range(*record.part_start[n : n + 2]), op.tensors, op.cols, strict=True):
            if not cols:  # a look-up
                yield Cell(number, name, int(record.row[operand]), np.ones(tensors[name].cols, bool), np.zeros((2, 2)))
                continue
            on = record.operand(operand, cols)
            for i, t in enumerate(tensors[name].tiles):
                own, of_zeros = on[t.col_start : t.col_stop], zeros[name, i]
                products = np.stack([of_zeros[:, own].sum(axis=1), of_zeros[:, ~own].sum(axis=1)], axis=1)
                yield Cell(number, name, i, own, products)


def issued(cell, array):
    """Products that take a lane-cycle: all but those with a zero that the array skips."""
    return int(cell.products[: 2 - array.skip_weights, : 2 - array.skip_activations].sum())


def fetch(case, name, index, on=None):
    """(bytes as packed, bursts, decode cycles) of one fetch of a tile; of its columns ``on`` if they come alone."""
    tensor, chip = case.image.tensors[name], case.chip
    n_bytes, ranges = int(tensor.packed_bytes[index]), [tensor.burst_start[index : index + 2]]
    if tensor.columns and on is not None:
        taken = np.flatnonzero(on | (chip.stream.fetch == "all_columns")) + tensor.tiles[index].col_start
        columns = tensor.columns[tensor.row_part[index]]
        n_bytes, ranges = int(columns.packed_bytes[taken].sum()), [columns.burst_start[c : c + 2] for c in taken]
    elif not tensor.columns:
        assert np.diff(ranges[0]) == -(-n_bytes // chip.dram.burst_bytes), "a tile is padded to a burst"
    symbols = np.concatenate([np.zeros(0, int), *(tensor.burst_symbols[a:b] for a, b in ranges)])
    rate = chip.codec.symbols_per_cycle if chip.weight_sram.form == "refilled" else 10**9  # a burst of entries a cycle
    return n_bytes, len(symbols), int(np.maximum(1, -(-symbols // rate)).sum())


def loads_of(case):
    t = case.timeline
    for at in np.flatnonzero(t.tile_loads):
        is_wasted, cell = bool(t.is_wasted[t.tile_op[at]]), case.cells[t.tile_cell[at]]
        assert is_wasted or (cell.tensor, cell.index) == case.tiles[t.tile[at]]
        yield Load(at, is_wasted, *fetch(case, *case.tiles[t.tile[at]], None if is_wasted else cell.on))


@pytest.mark.parametrize("skips", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("dataflow", ["column_broadcast", "row_dot"])
@pytest.mark.parametrize("network", ["amnet", "rnnt"])
def test_macs_are_skipped_gated_or_effectual(network, dataflow, skips):
    flags = "mac_array.skip_weights={} mac_array.skip_activations={}".format(*skips)
    case = counted(on_chip(network, chip_of("small", f"mac_array.dataflow={dataflow}", flags)))
    counts, products = case.timeline.counts, sum(cell.products for cell in case.cells)
    taken = sum(issued(cell, case.chip.mac_array) for cell in case.cells)
    dense, effectual = int(products.sum()), int(products[0, 0])
    assert (counts.dense_macs, counts.issued_macs, counts.effectual_macs) == (dense, taken, effectual)
    assert (counts.skipped_macs, counts.gated_macs) == (dense - taken, taken - effectual)
    assert effectual < dense and (taken == dense) is not any(skips)


def test_every_cycle_of_a_part_is_busy_stalled_or_idle(case):
    t, accounts, array = case.timeline, case.timeline.accounts, case.chip.mac_array
    total = max(t.out_end[-1], t.frame_end[-1], t.load_end.max(initial=0))
    for part in accounts.values():
        assert part.busy_cycles + sum(part.stall_cycles.values()) + part.idle_cycles == part.total_cycles == total
        assert set(part.stall_cycles) <= set(STALLS) and min(part.stall_cycles.values(), default=1) > 0
    assert accounts["dma"].busy_cycles == sum(load.bursts for load in case.loads) * case.chip.burst_cycles
    assert accounts["decoder"].busy_cycles == sum(load.decode_cycles for load in case.loads)
    if array.broadcast_width == 1 and not case.chip.stream.bypass_sram:
        sent = sum(int(c.on.sum()) if array.skip_activations else len(c.on) for c in case.cells if c.products.any())
        assert accounts["broadcaster"].busy_cycles == (0 if array.dataflow == "row_dot" else sent)
    arrival, tiles, ops = t.frame_start[t.frame], t.tile_computes, ~t.is_wasted
    intervals = {"vector_unit": (t.out_start[ops], t.out_end[ops], arrival[ops])}
    if not case.chip.stream.bypass_sram:  # there, waits for weights are inside the interval of a tile
        intervals["mac_array"] = t.tile_compute_start[tiles], t.tile_compute_end[tiles], arrival[t.tile_op[tiles]]
    for name, (starts, ends, exists) in intervals.items():
        idle, stalled, before = 0, 0, 0
        for start, end, there in zip(starts.tolist(), ends.tolist(), exists.tolist(), strict=True):
            begin = min(max(there, before), start)  # nothing is stalled before the frame is there
            idle, stalled, before = idle + begin - before, stalled + start - begin, end
        assert accounts[name].busy_cycles == (ends - starts).sum()
        assert accounts[name].idle_cycles == idle + total - before
        assert sum(accounts[name].stall_cycles.values()) == stalled
    assert sum((Counter(op.stall_cycles) for op in t.per_op), Counter()) == accounts["mac_array"].stall_cycles


def test_bytes_on_the_bus_and_into_the_decoder(case):
    t, counts, burst, loads = case.timeline, case.timeline.counts, case.chip.dram.burst_bytes, case.loads
    pins = [fetch(case, name, i) for name in t.pinned for i in range(len(case.image.tensors[name].tiles))]
    tables, wasted = case.image.table_bytes, sum(load.packed_bytes for load in loads if load.is_wasted)
    used = sum(load.packed_bytes for load in loads) - wasted + sum(n_bytes for n_bytes, _, _ in pins)
    bursts = sum(load.bursts for load in loads) + sum(n for _, n, _ in pins) + -(-tables // burst)
    assert sum(counts.packed_bytes.values()) == used + tables and counts.wasted_bytes == wasted
    assert counts.dram_read_bytes == burst * bursts and counts.decoder_bytes == used + wasted
    assert counts.padding_bytes == burst * bursts - used - tables - wasted >= 0, "nothing spills"
    assert (wasted > 0) == (case.chip.controller.branch_policy != "wait" and bool(case.record.branchings))
    by_op = np.bincount(t.op[t.tile_op[[load.at for load in loads]]], [n.bursts for n in loads], len(t.per_op)) * burst
    assert [op.streamed_bytes + op.wasted_bytes for op in t.per_op] == by_op.tolist()
    if case.chip.controller.chunk_frames == 1:  # every operand fetches all tiles of its tensor, unless that is pinned
        wanted = Counter(cell[1:3] for cell in case.cells if cell.tensor not in t.pinned and fetch(case, *cell[1:4])[1])
        assert wanted == Counter(case.tiles[i] for i in t.tile[t.tile_loads & t.tile_computes])


def test_nothing_is_faster_than_its_floors(case):
    t, chip, cells, loads = case.timeline, case.chip, case.cells, case.loads
    peak, burst_s = chip.mac_array.pes * chip.mac_array.lanes, chip.dram.burst_bytes / chip.dram.bandwidth_bytes_per_s
    burst_cycles = burst_s * chip.clock_hz  # not rounded
    for load in loads:
        assert t.load_end[load.at] - t.load_start[load.at] >= max(load.bursts * burst_cycles, load.decode_cycles)
    for at in np.flatnonzero(t.tile_computes):
        products = issued(cells[t.tile_cell[at]], chip.mac_array)
        assert (t.tile_compute_end[at] - t.tile_compute_start[at]) * peak >= products
    products = np.bincount([c.op for c in cells], [issued(c, chip.mac_array) for c in cells], len(t.per_op))
    assert (np.array([op.mac_cycles for op in t.per_op]) * peak >= products).all()
    floors = products.sum() / peak, sum(load.bursts for load in loads) * burst_cycles - 1e-6
    bounds = [t.bounds[f"{name}_bound_cycles"] for name in ("compute", "bandwidth", "decode")]
    assert floors[0] <= bounds[0] and floors[1] <= bounds[1] and bounds[2] == sum(n.decode_cycles for n in loads)
    assert max(bounds) == t.bounds["bound_cycles"] <= t.counts.active_cycles


def test_energy_is_the_sum_of_its_parts(case):
    counts, energy = case.timeline.counts, price(case.timeline.counts, case.chip)
    power = sum(line.count * line.cost.value * 1e3 for line in energy.lines if line.cost.per == "mW")  # s x mW, in uJ
    actions = sum(line.count * line.cost.value * 1e-6 for line in energy.lines if line.cost.per != "mW")  # x pJ
    parts = sum(part.value for part in energy.components().values())
    assert energy.whole_utterance_uj == pytest.approx(actions + power, rel=1e-12) == pytest.approx(parts, rel=1e-12)
    power *= counts.active_cycles / counts.utterance_cycles
    assert energy.while_working_uj == pytest.approx(actions + power, rel=1e-12)


LADDERS = {
    "bandwidth": [f"dram.bandwidth_bytes_per_s={x}" for x in (0.4e9, 1.6e9, 2.4e9, 25e9)],
    "FIFO": [f"stream.fifo_bursts={n}" for n in (1, 2, 5, 64)],
    "queue": [f"mac_array.queue_depth={n}" for n in (1, 2, 3, 64)],
    "outstanding": [f"stream.dma_outstanding={n}" for n in (1, 2, 3, 8)],
    "decoder": [f"codec.symbols_per_cycle={n}" for n in (1, 2, 7, 64)],
    # slots of one size, and no pins whose room could shrink
    "slots": [f"weight_sram.tile_slots={n} weight_sram.pin=none weight_sram.bytes=98304" for n in (1, 2, 6, 12)],
}
WAITING = chips().filter(lambda chip: chip.controller.branch_policy == "wait")


@pytest.mark.parametrize("knob", LADDERS)
@pytest.mark.parametrize("name", ["small", "row_dot", "active columns", "bypass", "short queues", "chunks"])
def test_more_of_anything_delays_no_result_under_wait(name, knob):
    ends = [on_chip("amnet", chip_of(name, step)).timeline.out_end for step in LADDERS[knob]]
    assert all((more <= less).all() for less, more in pairwise(ends))
    feels_it = name == "short queues" or knob != "queue"
    assert ends[-1][-1] < ends[0][-1] or not feels_it or (name, knob) == ("bypass", "slots")


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2), WAITING, st.sampled_from([*LADDERS]), st.integers(0, 2))
def test_more_of_anything_delays_no_result_on_drawn_chips(number, chip, knob, step):
    try:
        steps = (load_chip(chip, changes.split()) for changes in LADDERS[knob][step : step + 2])
        less, more = (run(drawn_network(number), c)[2] for c in steps)
    except ChipError:  # something does not fit, or the slots do not fill the banks
        assume(False)
    assert (more.out_end <= less.out_end).all()


@pytest.mark.parametrize("clock_mhz", [501, 633, 799, 1000, 2000])
@pytest.mark.parametrize("name", ["small", "row_dot", "huffman, one slot", "active columns", "chunks"])
def test_a_faster_clock_costs_at_most_the_rounding_of_dram(name, clock_mhz):
    # DRAM is in ns and bytes per second, rounded up: a cycle per burst and per latency waited for. A load waits for one
    # at its request and, behind a FIFO of F, at most one per burst from number F on. An arrival is rounded once, and a
    # clock that is a multiple never costs time.
    slow, fast = (on_chip("amnet", chip_of(name, f"clock_hz={mhz}e6")) for mhz in (500, clock_mhz))
    cost = (fast.timeline.out_end * 500 - slow.timeline.out_end * clock_mhz).max() / 500  # in cycles of the faster
    bursts = [load.bursts for load in counted(fast).loads]
    most = 1 + sum(n + 1 + max(0, n - fast.chip.stream.fifo_bursts) for n in bursts)
    assert cost <= (0 if clock_mhz % 500 == 0 else most)
    if clock_mhz == 501 and name == "small":  # 20 cycles of 2 ns become 21: a cycle per load would be too little
        assert cost > 0.8 * sum(bursts) > 10 * len(bursts)


@pytest.mark.parametrize("name", ["small", "row_dot", "wide", "short queues", "rows split", "chunks"])
def test_at_density_1_skipping_changes_no_array_cycle(name):
    # scan_width >= lanes on these chips: looking for non-zero weights takes no longer than issuing all of them
    (quantized, speech, execution), chip = recorded("amnet"), chip_of(name)
    off = chip.replace(mac_array=chip.mac_array.replace(skip_weights=False, skip_activations=False))
    ones = [replace(t, values=np.where(t.values == 0, 1, t.values)) for t in quantized.tensors.values()]
    record = replace(execution.record, nonzero=np.full_like(execution.record.nonzero, 255))
    image = encode(ones, quantized.tables, chip)
    full = [schedule(record, image, c, BACK_TO_BACK_S, speech.first_frame_s) for c in (chip, off)]
    sparse, dense = (on_chip("amnet", c).timeline for c in (chip, off))
    cycles = [(t.tile_compute_end - t.tile_compute_start).tolist() for t in (*full, dense)]
    assert cycles[0] == cycles[1] == cycles[2]
    assert sparse.accounts["mac_array"].busy_cycles < dense.accounts["mac_array"].busy_cycles


@pytest.mark.parametrize("network", ["amnet", "rnnt"])
def test_outputs_are_bit_equal_on_every_chip_codec_and_tiling(network):
    quantized, speech, first = recorded(network)
    tilings = [chip_of("small", f"weight_sram.tile_bytes={n}") for n in (1000, 2500, 20_000)]
    layouts = {layout_key(chip): chip for chip in [*map(chip_of, CHIPS), *tilings]}
    assert len(layouts) > 12 and first.hypothesis.tokens
    for image in (on_chip(network, chip).image for chip in layouts.values()):
        assert all((image.decode(name) == tensor.values).all() for name, tensor in quantized.tensors.items())
        other = execute(quantized, image, speech.frames[:FRAMES])
        assert (other.outputs == first.outputs).all() and other.hypothesis == first.hypothesis
        assert (other.record.nonzero == first.record.nonzero).all()


def test_two_processes_print_and_write_the_same(tmp_path, monkeypatch):
    arguments = ["run", "-q", "-a", str(RECORDING), "-o", ".", "--trace", "trace.json"]
    command = [sys.executable, "-c", "from azsim.cli import app; app()", *arguments]
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    monkeypatch.chdir(here)
    printed = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    # another seed of the hashes: no set may decide an order
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(RECORDING.parents[2])}
    done = subprocess.run(command, cwd=there, env=environment, text=True, check=True, capture_output=True)
    assert printed == done.stdout and "real-time factor" in printed
    assert sorted(os.listdir(here)) == ["ops.csv", "report.html", "run.json", "trace.json"]
    assert all((here / name).read_bytes() == (there / name).read_bytes() for name in os.listdir(here))


def added(**changes):
    """A tamper that adds to counts."""
    return lambda t, e: (with_counts(t, **{name: getattr(t.counts, name) + n for name, n in changes.items()}), e)


def overbooked(idle_cycles=0, **stalls):
    """A tamper: the MAC array is busy for one cycle more than there are."""
    changes = {"idle_cycles": idle_cycles, "stall_cycles": stalls}
    return lambda t, e: (with_account(t, "mac_array", busy_cycles=t.accounts["dma"].total_cycles + 1, **changes), e)


TAMPERS = {
    "dense = skipped + issued MACs": added(dense_macs=1),
    "issued = gated + effectual MACs": added(gated_macs=1),
    "effectual <= issued MACs": added(effectual_macs=MANY, gated_macs=-MANY),
    "issued <= dense MACs": added(issued_macs=MANY, gated_macs=MANY, skipped_macs=-MANY),
    "DRAM bytes = packed + padding + wasted": added(dram_read_bytes=1),
    "decoder bytes = packed + wasted": added(decoder_bytes=-1),
    "0 <= padding bytes": added(padding_bytes=-MANY, dram_read_bytes=-MANY),
    "mac_array: busy + stalls + idle = total": overbooked(),
    "mac_array: 0 <= idle cycles": overbooked(idle_cycles=-1),
    "mac_array: 0 <= stall cycles": overbooked(dma=-1),
    "spans of all ops = working cycles": lambda t, e: (replace(t, per_op=t.per_op[1:]), e),
    "bound <= active cycles": lambda t, e: (replace(t, bounds={"bound_cycles": MANY}), e),
    "active <= utterance cycles": added(active_cycles=MANY),
    "one tile at a time in the MAC array": lambda t, e: (t, replace(e, compute_start=0 * e.compute_start)),
    "one load at a time": lambda t, e: (t, replace(e, load_start=0 * e.load_start)),
    "one output pass at a time": lambda t, e: (t, replace(e, out_start=0 * e.out_start)),
}


@pytest.fixture
def lawful(monkeypatch):
    handed = []
    monkeypatch.setattr(sys.modules["azsim.timing.schedule"], "check_laws", lambda *args: handed.extend(args))
    on_chip("amnet", chip_of("likely"))
    return handed


@pytest.mark.parametrize("law", TAMPERS)
def test_a_broken_law_is_an_error_that_shows_both_sides(lawful, law):
    timeline, edges, program = lawful
    laws.check_laws(timeline, edges, program)
    with pytest.raises(LawError, match=re.escape(f"`{law}` must hold") + r", but -?[\d,]+ (!=|>) -?[\d,]+: a defect"):
        laws.check_laws(*TAMPERS[law](timeline, edges), program)


def test_no_law_is_without_a_tamper(lawful, monkeypatch):
    looked_at = []
    for kind in ("_equal", "_at_most"):
        monkeypatch.setattr(laws, kind, lambda law, left, right: looked_at.append(law))
    laws.check_laws(*lawful)
    assert set(TAMPERS) == {re.sub("^[a-z_]+:", "mac_array:", law) for law in looked_at}


SPECULATIONS = [  # (changes, cycles to decode a burst, end if it waits, end if it speculates)
    # A load takes 2 + 2: the first vain one ends at 4, with the decision; the taken arm loads at 4..8, computes to 10.
    ({}, 2, 10, 10),
    ({"burst_cycles": 1}, 2, 9, 11),  # twice the bandwidth: 0..3, before the decision, so 3..6; the taken arm 6..9
    ({}, 1, 9, 11),  # a decoder twice as fast: 0..3, 3..6 and 6..9 again
    ({"dma_outstanding": 2}, 2, 10, 14),  # both vain tiles are asked for at 0: 0..4, 4..8, the taken arm 8..12
    ({"dma_outstanding": 2, "tile_slots": 1}, 2, 10, 10),  # but not if the first holds the only slot until 4
]


@pytest.mark.parametrize(("changes", "decode_cycles", "if_it_waits", "if_it_speculates"), SPECULATIONS)
def test_speculation_may_pay_for_a_faster_part(changes, decode_cycles, if_it_waits, if_it_speculates):
    # Three ops: an arbitrator that decides at 4, an arm of two tiles that is not taken, and one of a tile that is.
    one = {"burst_cycles": 2, "latency_cycles": 0, "tile_slots": 2, "dma_outstanding": 1, "fill_cycles": 0}
    machine, tile = Machine(**{**one, **changes}), TileSpec((decode_cycles,), TWO_CYCLES)
    arbitrator = OpSpec((PartSpec((TileSpec((1,), TWO_CYCLES, is_pinned=True),)),), out_cycles=2)
    in_vain = OpSpec((PartSpec((tile, tile)),), 0, decided_by=0, is_wasted=True)
    waits = [arbitrator, OpSpec((PartSpec((tile,)),), 0, decided_by=0, fetch_after=0)]
    speculates = [arbitrator, in_vain, OpSpec((PartSpec((tile,)),), 0, decided_by=0)]
    for ops, end in ((waits, if_it_waits), (speculates, if_it_speculates)):
        assert solve_ops(machine, ops)[1].out_end[-1] == Simulation(machine, ops).run().out_end[-1] == end


@pytest.mark.parametrize("policy", ["wait", "likely", "both"])
def test_speculation_pays_for_more_requests_on_a_recording_too(policy):
    more = (f"controller.branch_policy={policy} stream.dma_outstanding={n}" for n in (2, 4))
    two, four = (on_chip("amnet", chip_of("small", changes)).timeline.out_end[-1] for changes in more)
    assert two == four if policy == "wait" else two < four
