"""The trace of a run: nothing overlaps, everything adds up to the accounts, and the file can be opened."""

import gzip
import json
from itertools import pairwise

import numpy as np
import pytest
from networks import noise, transducer

from azsim import simulate
from azsim.chip import Chip, CodecConfig, Controller, Dram, Host, MacArray, Stream, WeightSram, load_chip
from azsim.errors import OutputError
from azsim.execute import Interpreter
from azsim.report.trace import LANES, merged, trace_events, write_trace
from azsim.timing import schedule
from azsim.timing.load import burst_edges
from azsim.weights import calibrate, encode, quantize

HOP_S, FIRST_S = 1e-6, 0.5e-6  # a frame every 500 cycles: frames run into each other
ALL_RUNS = 10**9
ACCOUNTS = {"DMA": "dma", "decoder": "decoder", "MAC array": "mac_array", "vector unit": "vector_unit"}


@pytest.fixture(scope="module")
def network():
    network, frames = transducer(seed=9), noise(6)  # takes both arms
    quantized = quantize(network, calibrate(network, [frames]))
    rng = np.random.default_rng(0)
    for tensor in quantized.tensors.values():
        tensor.values[rng.random(tensor.values.shape) < 0.5] = 0
    return quantized, frames


def chip_with(parts=None, pin="none", **array):
    chip = Chip(
        dram=Dram(latency_ns=30, burst_bytes=16),
        stream=Stream(fifo_bursts=2, dma_outstanding=2),
        codec=CodecConfig(name="zero_mask", symbols_per_cycle=3),
        weight_sram=WeightSram(bytes=4096, tile_slots=2, tile_bytes=600, pin=pin),
        mac_array=MacArray(**{"pes": 4, "lanes": 2, "scan_width": 4, "queue_depth": 2, "accumulator_bytes": 2048}
                           | array),
        controller=Controller(op_overhead_cycles=2, branch_redirect_cycles=3),
        host=Host(feature_us_per_frame=0),
    )  # fmt: skip
    return chip.replace(**{part: getattr(chip, part).replace(**fields) for part, fields in (parts or {}).items()})


CHIPS = {
    "streamed": chip_with(),
    "slow decoder": chip_with({"codec": {"symbols_per_cycle": 1}, "dram": {"bandwidth_bytes_per_s": 8e9}}),
    "some pinned": chip_with(pin="smallest_first").replace(clock_hz=7e8),  # a cycle is no whole number of ns
    "rows split": chip_with(accumulator_bytes=256),
    "rows": chip_with(dataflow="row_dot"),
    "likely": chip_with({"controller": {"branch_policy": "likely"}}),
    "both": chip_with({"controller": {"branch_policy": "both"}}),
    "chunks": chip_with({"controller": {"chunk_frames": 2}}, accumulator_bytes=65_536),
    "active columns": chip_with({"stream": {"fetch": "active_columns"}}),
    "bypass": chip_with({"stream": {"bypass_sram": True}}, pin="smallest_first"),
    "bypass without skips": chip_with({"stream": {"bypass_sram": True}}, skip_activations=False),
    "bypass of active columns": chip_with({"stream": {"bypass_sram": True, "fetch": "active_columns"}}),
}


@pytest.fixture(scope="module")
def traced(network):
    """(record, timeline, events with every run, events as written) of a chip."""
    quantized, frames = network
    known = {}

    def trace(name):
        if name not in known:
            chip = CHIPS[name]
            image = encode(quantized.tensors.values(), quantized.tables, chip)
            record = Interpreter(quantized, image.decode_all()).execute(frames).record
            timeline = schedule(record, image, chip, HOP_S, FIRST_S)
            words = [f"word {t}" for t in range(record.n_frames)]
            every = trace_events(record, image, chip, timeline, "toy", words, most_runs=ALL_RUNS)
            known[name] = record, timeline, every, trace_events(record, image, chip, timeline, most_runs=1)
        return known[name]

    return trace


def slices(events, lane):
    return [e for e in events if e["ph"] == "X" and e["tid"] == LANES.index(lane) + 1]


def total(slices, field):
    return sum(s["args"][field] for s in slices)


def test_each_burst_of_a_load_is_placed():
    # A FIFO of one burst, 2 cycles a burst, 3 of latency. Burst 0 is on the bus in 0..2 and decoded in 2..3. Room for
    # burst 1 is made at 2: bus 5..7, decoded 7..16. Room for burst 2 at 7: bus 10..12, taken when the decoder is free.
    dec, arrive, taken = np.array([1, 9, 1]), np.zeros(3, np.int64), np.zeros(3, np.int64)
    burst_edges(dec, dec, 1, 2, 3, arrive, taken)
    assert arrive.tolist() == [2, 7, 12] and taken.tolist() == [2, 7, 16]
    # In a bypass the PEs hold burst 0 for 7 cycles: burst 1 arrives as before at 7 and waits until 9, which is when
    # room for burst 2 is made: bus 12..14.
    burst_edges(dec, np.array([7, 9, 1]), 1, 2, 3, arrive, taken)
    assert arrive.tolist() == [2, 7, 14] and taken.tolist() == [2, 9, 18]


def test_what_touches_is_merged_and_what_is_empty_vanishes():
    runs = merged(np.array([0, 2, 4, 5, 9]), np.array([2, 4, 4, 7, 12]))
    assert (runs.start.tolist(), runs.end.tolist()) == ([0, 5, 9], [4, 7, 12])
    assert runs.drawn(3) == [(0, 4, 4), (5, 7, 2), (9, 12, 3)]
    assert runs.drawn(2) == [(0, 12, 9)], "one slice, of which 9 cycles are busy"
    assert merged(np.array([3]), np.array([3])).drawn(0) == [], "no cycle, no slice"
    assert merged(np.zeros(0, int), np.zeros(0, int)).drawn(0) == [], "nor without a burst"


@pytest.mark.parametrize("name", CHIPS)
def test_slices_of_a_lane_never_overlap(traced, name):
    for events in traced(name)[2:]:
        for lane in LANES:
            ordered = sorted(slices(events, lane), key=lambda s: s["args"]["start_cycle"])
            assert ordered, f"nothing is drawn in lane {lane}"
            for before, after in pairwise(ordered):
                assert before["args"]["start_cycle"] + before["args"]["cycles"] <= after["args"]["start_cycle"]
                assert before["ts"] + before["dur"] <= after["ts"] + 1e-9


@pytest.mark.parametrize("name", CHIPS)
def test_lanes_add_up_to_the_accounts(traced, name):
    _, timeline, every, written = traced(name)
    for lane, part in ACCOUNTS.items():
        busy = timeline.accounts[part].busy_cycles
        assert total(slices(every, lane), "cycles") == total(slices(every, lane), "busy_cycles") == busy > 0
        assert total(slices(written, lane), "busy_cycles") == busy
    assert total(slices(every, "frames"), "cycles") == timeline.working_cycles


def test_pauses_inside_a_load_are_drawn_and_can_be_left_out(traced):
    _, timeline, every, written = traced("slow decoder")
    loads = int(timeline.tile_loads.sum())
    assert len(slices(every, "DMA")) > len(slices(written, "DMA")) == loads
    assert total(slices(written, "DMA"), "cycles") > total(slices(written, "DMA"), "busy_cycles")


@pytest.mark.parametrize("name", [name for name in CHIPS if "bypass" not in name])
def test_a_load_begins_on_the_bus_and_ends_in_the_decoder(traced, name):
    _, timeline, _, written = traced(name)
    loads = timeline.tile_loads
    decoded = [s["args"]["start_cycle"] + s["args"]["cycles"] for s in slices(written, "decoder")]
    assert [s["args"]["start_cycle"] for s in slices(written, "DMA")] == timeline.load_start[loads].tolist()
    assert decoded == timeline.load_end[loads].tolist()


@pytest.mark.parametrize("name", [name for name in CHIPS if "bypass" in name])
def test_what_bypasses_is_computed_while_it_loads(traced, name):
    _, timeline, every, _ = traced(name)
    loads = list(zip(timeline.load_start[timeline.tile_loads], timeline.load_end[timeline.tile_loads], strict=True))
    bypassing = [s["args"] for s in slices(every, "MAC array") if s["cat"] == "bypass"]
    drains = [s for s in bypassing if s["start_cycle"] in timeline.load_end]
    assert 0 < len(drains) < len(bypassing)
    assert {s["cycles"] for s in drains} == {CHIPS[name].mac_array.fill_cycles}
    for s in bypassing:
        if s not in drains:
            assert any(a < s["start_cycle"] < b and s["start_cycle"] + s["cycles"] <= b for a, b in loads)


@pytest.mark.parametrize("name", CHIPS)
def test_what_is_fetched_in_vain_is_marked(traced, name):
    _, timeline, _, written = traced(name)
    wasted = [s for s in slices(written, "DMA") if s["name"].startswith("wasted: ")]
    assert len(wasted) == int((timeline.tile_loads & timeline.is_wasted[timeline.tile_op]).sum())
    assert all(s["cat"] == "wasted" for s in wasted)
    assert bool(wasted) == (name in ("likely", "both"))


@pytest.mark.parametrize("name", CHIPS)
def test_branches_are_named_after_the_arm_taken(traced, name):
    record, timeline, every, _ = traced(name)
    drawn = slices(every, "arbitrator")
    # one branch a frame; a chunk decides for both of its frames at once
    assert ", ".join(s["name"] for s in drawn) == ", ".join(record.frame_arm)
    assert set(record.frame_arm) == {"complex", "simple"}, "one arm alone would prove little"
    assert len(drawn) == record.n_frames // (2 if name == "chunks" else 1)
    decisions = timeline.out_end[timeline.decides].tolist()
    assert [s["args"]["decision_cycle"] for s in drawn] == decisions
    assert [s["args"]["start_cycle"] + s["args"]["cycles"] for s in drawn] == decisions


@pytest.mark.parametrize("name", CHIPS)
def test_every_frame_has_its_markers(traced, name):
    record, timeline, every, _ = traced(name)
    instants = [e for e in every if e["ph"] == "i"]
    ends = [e["args"]["cycle"] for e in instants if e["name"].startswith("end of audio")]
    done = [e for e in instants if e["name"].startswith("done")]
    assert len(instants) == 2 * record.n_frames and ends == timeline.frame_end.tolist()
    assert [e["args"]["cycle"] for e in done] == timeline.frame_done.tolist()
    assert [e["args"]["words"] for e in done] == [f"word {t}" for t in range(record.n_frames)]
    assert [e["args"]["arm"] for e in done] == record.frame_arm
    assert [e["args"]["latency_cycles"] for e in done] == timeline.frame_latency_cycles.tolist()


@pytest.fixture(scope="module")
def small_run(recording):
    chip = load_chip("az1_like", ["weight_sram.bytes=2048", "weight_sram.tile_bytes=512", "weight_sram.tile_slots=2"])
    return simulate("conftest:tiny_transducer", recording, chip)


def test_the_file_opens_and_is_what_the_run_says(small_run, tmp_path):
    plain, packed = tmp_path / "trace.json", tmp_path / "trace.json.gz"
    write_trace(small_run, plain)
    write_trace(small_run, packed)
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    events = json.loads(plain.read_text())["traceEvents"]
    for event in events:
        assert {"ph", "ts", "pid", "tid", "name"} <= set(event)
        assert event["ph"] in ("M", "i") or event["dur"] >= 0
    lanes = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert tuple(lanes[tid] for tid in sorted(lanes)) == LANES
    assert [e["args"]["sort_index"] for e in events if e["name"] == "thread_sort_index"] == sorted(lanes)
    process = [e["args"]["name"] for e in events if e["name"] == "process_name"]
    assert process == [f"{small_run.chip.name}, tiny"]
    words = [e["args"]["words"] for e in events if e["ph"] == "i" and e["name"].startswith("done")]
    assert small_run.text and " ".join(filter(None, words)) == small_run.text
    assert {t for t, word in enumerate(words) if word} == set(small_run.execution.hypothesis.frames)
    timeline = small_run.replay.timeline
    for event in (e for e in events if e["ph"] == "X"):  # us, rounded to ns at both ends
        assert event["ts"] == pytest.approx(event["args"]["start_cycle"] / timeline.clock_hz * 1e6, abs=1e-3)
        assert event["dur"] == pytest.approx(event["args"]["cycles"] / timeline.clock_hz * 1e6, abs=1e-3)
    for lane, part in ACCOUNTS.items():
        assert total(slices(events, lane), "busy_cycles") == timeline.accounts[part].busy_cycles


def test_a_trace_that_cannot_be_written_says_so_and_leaves_nothing(small_run, tmp_path):
    with pytest.raises(OutputError, match="cannot write a trace"):
        write_trace(small_run, tmp_path / "missing" / "trace.json")
    with pytest.raises(OutputError, match="cannot write a trace"):
        write_trace(small_run, tmp_path)  # a folder
    assert not list(tmp_path.iterdir())
