"""Plausibility bands: the dual-side tensor core as a shape, and public claims that can be computed."""

from pathlib import Path

import numpy as np
import pytest

from azsim import simulate
from azsim.chip import load_chip
from azsim.validate.claims import LEFT_OUT, branching_cost, claims_rows, op_macs, transfer_shares
from azsim.validate.dual_side import DATAFLOWS, array_cycles, dual_side_rows, exact_density, points
from azsim.validate.published import TABLES, published
from azsim.validate.suite import summary


@pytest.fixture(scope="module")
def dual_side():
    return dual_side_rows(seeds=[0])


def test_every_published_figure_has_a_mark_and_a_source():
    for name in ("ese.csv", "dual_side.csv", "claims.csv"):
        assert (TABLES / name).exists() and published(name)
        for row in published(name):
            assert row["mark"] in ("published", "borrowed", "assumed") and len(row["source"]) > 10, row


def test_the_published_shares_of_the_ideal_are_86_72_and_50_percent():
    dense, *sparse = points()
    assert [round(p.ideal / (p.cycles / dense.cycles), 2) for p in sparse] == [0.86, 0.72, 0.50]


def test_all_rows_of_another_machine_are_bands(dual_side):
    assert len(dual_side) == 6 * len(DATAFLOWS) and all(row.is_band for row in dual_side)
    shares = [row for row in dual_side if row.what.startswith("share")]
    assert all((row.low, row.high) == (0.50, 0.72) for row in shares)
    for row in shares:
        inside = row.low <= round(row.azsim, 2) <= row.high
        assert row.note.startswith("inside") == inside, "a share outside the band must say so"


def test_no_array_beats_the_ideal_and_sparser_is_never_slower(dual_side):
    for dataflow in DATAFLOWS:
        own = [row for row in dual_side if f", {dataflow}, " in row.what]
        cycles = [row.azsim for row in own if row.what.startswith("cycles")]
        assert len(cycles) == 3 and 1 > cycles[0] > cycles[1] > cycles[2]
        assert all(0 < row.azsim < 1 for row in own)
        # share of the ideal = effectual share of the products / relative cycles
        shares = [row.azsim for row in own if row.what.startswith("share")]
        assert shares == pytest.approx([0.5 / cycles[0], 0.3 / cycles[1], 0.12 / cycles[2]])


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_a_dense_product_takes_all_lanes_all_the_time(dataflow):
    # 128 x 64 on 64 PEs of 8 lanes. row_dot: 2 rows per PE x 8 groups = 16.
    # column_broadcast: 2 rows per PE in one cycle for each of 64 columns; the first sum follows its broadcast by 1.
    chip = load_chip("az1_like", DATAFLOWS[dataflow])
    fill = chip.mac_array.fill_cycles
    cycles = array_cycles(np.ones((128, 64), bool), np.ones(64, bool), chip)
    assert cycles == fill + (16 if dataflow.startswith("row_dot") else 65)


def test_densities_are_exact():
    rng = np.random.default_rng(0)
    assert exact_density((64, 32), 0.3, rng).sum() == round(64 * 32 * 0.3)


@pytest.fixture(scope="module")
def amnet():
    return simulate("amnet", Path(__file__).parents[1] / "models" / "demo" / "digits_1.wav")


def test_claims_are_bands_and_what_is_left_out_is_named():
    rows = claims_rows()
    assert len(rows) == len(published("claims.csv")) == 4
    assert all(row.is_band and row.note for row in rows) and all(LEFT_OUT.values())
    assert [line.startswith("not compared: ") for line in summary(rows)] == [True] * len(LEFT_OUT)
    by_what = {row.what.split(",")[0]: row for row in rows}
    assert by_what["peak operations per second"].azsim == 22
    # CACTI 7: 32.3 pJ for 64 bits of 128 KB at 45 nm
    assert by_what["64-bit read of a 128 KB SRAM at 45 nm"].azsim == pytest.approx(32.3, abs=0.05)


def test_the_cost_of_branching_is_counted_frame_by_frame(amnet):
    # the encoder's LSTMs: 128 cells on 192 inputs, complex 192 on 128, simple 48 on 128; four gates each
    record, image = amnet.execution.record, amnet.replay.image
    macs = dict(zip((op.name for op in record.ops), op_macs(record, image), strict=True))
    assert macs["encoder/first"] == 4 * 128 * (128 + 192)
    assert macs["encoder/complex/complex"] == 4 * 192 * (192 + 128)
    assert macs["encoder/simple/simple"] == 4 * 48 * (48 + 128)
    n, simple = record.n_frames, record.frame_arm.count("simple")
    first, arbitrator = macs["encoder/first"], macs["encoder/arbitrator"]
    complex_, cheap = macs["encoder/complex/complex"], macs["encoder/simple/simple"]
    expected = (n * (first + arbitrator) + (n - simple) * complex_ + simple * cheap) / (n * (first + complex_))
    assert branching_cost(record, image) == pytest.approx(expected, rel=1e-12)
    assert 0 < simple < n and branching_cost(record, image) < branching_cost(record, image, role=None) < 1


def test_shares_of_energy_grow_as_less_is_counted(amnet):
    everything, without_host, transfers_and_chip = transfer_shares(amnet)
    parts = amnet.replay.energy.components(while_working=True)
    assert everything == pytest.approx(parts["dram_transfers"].value / amnet.replay.energy.while_working_uj)
    assert 0 < everything < without_host < transfers_and_chip < 1
