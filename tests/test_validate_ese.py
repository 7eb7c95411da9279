"""ESE's published stage times come out of streams, queues, accumulator sets and output passes."""

import numpy as np
import pytest

from azsim.chip import load_chip
from azsim.validate.ese import (
    PASS_ELEMENTS,
    READS_PROJECTION,
    RECURRENT,
    STAGES,
    STEPS,
    WITHOUT_PASSES,
    draw_tensors,
    draw_weights,
    ese_rows,
    record_of_steps,
    run_step,
)  # fmt: skip
from azsim.validate.published import published
from azsim.validate.row import Row
from azsim.weights import encode

CHIP = load_chip("ese")
TABLE = {row["matrix"]: row for row in published("ese.csv")}
PASS = 1072  # 1024 elements, one a cycle, and 48 of fill


@pytest.fixture(scope="module")
def rows():
    return {row.what: row for row in ese_rows()}


@pytest.fixture(scope="module")
def image():
    return encode(draw_tensors(CHIP, seed=0), {}, CHIP)


@pytest.fixture(scope="module")
def step(image):
    return run_step(image, CHIP)


def test_the_published_table_adds_up():
    # 364,320 entries and 3,248,128 elements; 57.0 us in theory; 2 x 364,320 x 32 channels / 82.7 us = 282 GOPS
    stages = [TABLE[name] for name in STAGES]
    entries = sum(int(r["entries"]) for r in stages)
    assert entries == int(TABLE["total"]["entries"]) == 364_320
    assert sum(int(r["rows"]) * int(r["cols"]) for r in stages) == 3_248_128
    assert entries / 32 / 200 == pytest.approx(float(TABLE["total"]["theoretical_us"]), abs=0.1)
    assert 2 * entries * 32 / float(TABLE["total"]["real_us"]) / 1000 == pytest.approx(282, abs=0.5)
    for r in stages:
        assert int(r["entries"]) / 32 / 200 == pytest.approx(float(r["theoretical_us"]), abs=0.06)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_matrix_is_within_3_percent(rows, name):
    assert rows[name].published == float(TABLE[name]["real_us"]) and not rows[name].is_band
    assert abs(rows[name].error) < 0.03
    assert rows[name].low < rows[name].azsim < rows[name].high


def test_the_step_is_within_5_percent(rows):
    assert rows["step"].published == 82.7
    assert abs(rows["step"].error) < 0.05


def test_the_output_pass_decides_the_input_matrices_whatever_their_work(step):
    assert [step.stage_cycles[name] for name in STAGES[:4]] == [PASS] * 4


def test_the_projection_waits_for_the_pass_before_it_and_its_own_follows(image, step, rows):
    bare = run_step(image, CHIP, WITHOUT_PASSES)
    assert step.stage_cycles["W_ym"] == bare.stage_cycles["W_ym"] + PASS
    assert abs(rows["W_ym"].error) < 0.03


def test_without_output_passes_the_step_misses_by_more_than_20_percent(image, rows):
    bare = run_step(image, CHIP, WITHOUT_PASSES)
    us = bare.step_cycles / CHIP.clock_hz * 1e6
    assert us < 0.8 * 82.7
    assert all(bare.stage_cycles[name] < 0.7 * PASS for name in STAGES[:4])
    assert bare.step_cycles == sum(bare.stage_cycles.values()), "nothing overlaps then"
    assert "without output passes" in rows["step"].note


def test_a_step_lasts_one_pass_longer_than_the_distance_between_steps(step):
    # W_ix is multiplied while the W_ym of the step before is written; published: 82.7 - 77.35 us = 1070 cycles
    assert step.distance_cycles == sum(step.stage_cycles.values())
    assert step.step_cycles - step.distance_cycles == PASS


def test_one_set_of_accumulators_would_put_every_pass_behind_its_macs(image, step):
    # fill and work of a stage, then its pass: nothing overlaps but the W_ix of the next step
    single = run_step(image, CHIP.replace(mac_array=CHIP.mac_array.replace(accumulator_sets=1)))
    bare = run_step(image, CHIP, WITHOUT_PASSES)
    assert single.stage_cycles == {name: cycles + PASS for name, cycles in bare.stage_cycles.items()}
    assert single.step_cycles > 1.2 * step.step_cycles


def test_weights_are_never_waited_for(image, step):
    # so neither 8-bit codes for 12-bit weights nor the assumed DRAM moves a cycle
    assert run_step(image, CHIP, frozenset({"dram_bandwidth", "dram_latency"})) == step
    without_dram = run_step(image, CHIP, WITHOUT_PASSES | {"dram_bandwidth", "dram_latency"})
    assert without_dram == run_step(image, CHIP, WITHOUT_PASSES)


def test_the_stored_entries_are_exactly_as_many_as_published(image):
    for name in STAGES:
        tensor = image.tensors[name]
        entries = int(TABLE[name]["entries"])
        assert int(tensor.entries_per_pe[0].sum(dtype=np.int64)) == entries == int(tensor.symbols.sum())
        padding = entries - tensor.nnz
        assert padding == 0 if name == "W_ym" else padding > 0.04 * entries, "16 rows per PE never need padding"


def test_read_as_weights_the_published_counts_would_exceed_the_real_time():
    # 4-bit runs pad W_fr by some 7 %: the mean work of a PE alone would pass the 10.01 us = 2,002 cycles it took
    rng, entries = np.random.default_rng(0), int(TABLE["W_fr"]["entries"])
    weights = draw_weights(1024, 512, entries, CHIP, rng)
    more = weights.reshape(-1).copy()
    more[rng.choice(np.flatnonzero(more == 0), entries - np.count_nonzero(more), replace=False)] = 1
    tensors = draw_tensors(CHIP, 0)
    changed = [t if t.name != "W_fr" else type(t)("W_fr", more.reshape(1024, 512), t.scale) for t in tensors]
    per_pe = encode(changed, {}, CHIP).tensors["W_fr"].entries_per_pe[0].sum(axis=0, dtype=np.int64)
    assert np.count_nonzero(more) == entries and per_pe.mean() > 2002


def test_the_same_seed_draws_the_same_weights():
    for one, two in zip(draw_tensors(CHIP, 3), draw_tensors(CHIP, 3), strict=True):
        np.testing.assert_array_equal(one.values, two.values)


def test_the_record_says_what_waits_for_what(image):
    tensors = [image.tensors[name] for name in STAGES]
    record = record_of_steps(tensors, STEPS, dict.fromkeys(STAGES, PASS_ELEMENTS))
    assert len(record) == STEPS * 9 and record.first_role == "step"
    reads = [record.reads[a:b].tolist() for a, b in zip(record.read_start[:-1], record.read_start[1:], strict=True)]
    assert reads[8] == [7] and reads[17] == [16], "the projection reads what W_or's pass wrote"
    assert all(reads[stage] == [] and reads[9 + stage] == [8] for stage in READS_PROJECTION)
    assert [name for name in STAGES if record.part_reads_frame[STAGES.index(name)]] == list(STAGES[:4])
    for part in range(len(record)):
        cols = record.ops[record.op[part]].cols[0]
        assert record.operand(part, cols).all(), "activations are dense"


def test_a_row_says_how_far_off_it_is():
    assert Row("m", "w", "us", 4.0, 5.0, "published", "s").error == 0.25
