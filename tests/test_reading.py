"""What is read from a sweep: axes, front, reference, curves, and numbers for people."""

import numpy as np
import pandas as pd
import pytest
from stores import grid, row, store_of

from azsim.errors import SweepError
from azsim.report.quantity import describe, ticks
from azsim.report.reading import read_sweep
from azsim.report.sweep_figures import bound_ranges, levels
from azsim.report.sweep_page import write_sweep_page
from azsim.report.sweep_table import decimals
from azsim.sweep import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("sweep") / "grid.db", grid())


def test_a_conditional_axis_is_missing_where_a_point_does_not_have_it(store):
    points = read_sweep(store).points
    assert points.loc[points["codec.name"] == "zero_mask", "codec.index_bits"].isna().all()
    assert set(points.loc[points["codec.name"] == "run_length", "codec.index_bits"]) == {3, 5}


def test_values_that_go_together_are_one_choice(store):
    reading = read_sweep(store)
    assert reading.tied == {"weight_sram.tile_bytes": "weight_sram.bytes"}
    assert "weight_sram.tile_bytes" not in [curve.axis.name for curve in reading.curves]


def test_along_a_curve_nothing_else_changes(store):
    reading = read_sweep(store)
    reference = reading.points.loc[reading.reference]
    assert reference.on_front
    walk = next(curve for curve in reading.curves if curve.axis.name == "mac_array.pes")
    assert list(walk.rows["mac_array.pes"]) == [16, 32, 64, 128] and not walk.is_trend
    for other in ("dram.bandwidth_bytes_per_s", "weight_sram.bytes", "codec.name"):
        assert set(walk.rows[other]) == {reference[other]}
    codec = next(curve for curve in reading.curves if curve.axis.name == "codec.name")
    assert sorted(codec.rows["codec.name"]) == ["run_length", "zero_mask"], "an axis that a point lacks may differ"


def test_a_value_met_only_elsewhere_is_not_on_the_curve(tmp_path):
    axes = [{"mac_array.pes": pes, "dram.bandwidth_bytes_per_s": 1.6e9} for pes in (16, 32, 64)]
    far = {"mac_array.pes": 128, "dram.bandwidth_bytes_per_s": 0.1e9}
    reading = read_sweep(store_of(tmp_path / "far.db", [*axes, far]))
    walk = next(curve for curve in reading.curves if curve.axis.name == "mac_array.pes")
    assert list(walk.rows["mac_array.pes"]) == [16, 32, 64]


def test_the_strongest_axis_comes_first(store):
    walks = [curve for curve in read_sweep(store).curves if not curve.is_trend]
    assert [curve.effect for curve in walks] == sorted((curve.effect for curve in walks), reverse=True)
    assert walks[0].axis.name in ("mac_array.pes", "dram.bandwidth_bytes_per_s") and walks[0].effect > 3
    assert walks[-1].effect == 1.0, "the invented results do not know the codec"


def test_points_drawn_at_random_give_trends_and_no_ties(tmp_path):
    rng = np.random.default_rng(0)
    drawn = [{"dram.bandwidth_bytes_per_s": float(rng.uniform(1e9, 6e9)), "mac_array.pes": int(rng.integers(8, 4000))}
             for _ in range(40)]  # fmt: skip
    reading = read_sweep(store_of(tmp_path / "drawn.db", drawn))
    assert reading.tied == {} and all(curve.is_trend and len(curve.rows) == 40 for curve in reading.curves)


def test_an_infeasible_point_is_told_and_never_on_the_front(tmp_path):
    path = store_of(tmp_path / "a.db", [{"mac_array.pes": 64}], feasible=True)
    with Store(path) as opened:
        better = row({"mac_array.pes": 128}, feasible=False, energy_working_uj=1.0)
        opened.add([better])
        opened.enlist("demo", [(better.key, {"mac_array.pes": 128})])
    reading = read_sweep(path)
    assert list(reading.points.on_front) == list(reading.feasible) and reading.feasible.sum() == 1
    page = tmp_path / "a.html"
    write_sweep_page(path, page)
    assert "of them break a condition" in page.read_text()


def test_a_front_that_ignores_word_errors_is_flagged(tmp_path):
    path = store_of(tmp_path / "a.db", [{"mac_array.pes": 32}], wer=0.0)
    with Store(path) as opened:
        cheap = row({"mac_array.pes": 64}, wer=0.4, energy_working_uj=1.0)
        opened.add([cheap])
        opened.enlist("demo", [(cheap.key, {"mac_array.pes": 64})])
    write_sweep_page(path, tmp_path / "a.html")
    assert "add wer to --objectives" in (tmp_path / "a.html").read_text()
    write_sweep_page(path, tmp_path / "b.html", objectives=["latency_p95_ms", "wer"])
    assert "add wer to --objectives" not in (tmp_path / "b.html").read_text()


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        (["latency_p59_ms"], r"no figure 'latency_p59_ms'; did you mean .*latency_p95_ms.*\? There are:"),
        (["area"], r"did you mean .*area_mm2"),
        (["dense_tops"], r"more is better"),
        ([], r"one to 6 objectives"),
        (["area_mm2", "area_mm2"], r"stands twice"),
    ],
)
def test_a_wrong_objective_says_what_there_is(store, objectives, said):
    with pytest.raises(SweepError, match=said):
        read_sweep(store, objectives=objectives)


# --- numbers for people ---


@pytest.mark.parametrize(
    ("name", "values", "title", "shown"),
    [
        ("dram.bandwidth_bytes_per_s", [4e8, 6.4e9], "DRAM bandwidth (GB/s)", "6.4"),
        ("weight_sram.bytes", [131072, 262144], "weight SRAM (KiB)", "256"),
        ("clock_hz", [5e8, 7.5e8], "clock (MHz)", "750"),
        ("energy_working_uj", [1022.9, 4848.5], "energy working (mJ)", "4.848"),
        ("latency_p95_ms", [0.1169, 0.7947], "latency p95 (ms)", "0.7947"),
        ("codec.name", ["huffman", "run_length"], "codec", "run_length"),
        ("mac_array.pes", [16, 64], "MAC array PEs", "64"),
        ("audio", ["models/demo/a.wav", "models/demo/b.wav"], "audio", "b.wav"),
        ("mac_array.skip_weights", [False, True], "MAC array skip weights", "yes"),
    ],
)
def test_columns_have_plain_names_and_units(name, values, title, shown):
    column = describe(name, pd.Series(values))
    assert (column.title, column.text(values[-1])) == (title, shown)


def test_ticks_are_round_and_inside():
    assert ticks(0.1, 0.8, False) == [0.2, 0.4, 0.6, 0.8]
    assert ticks(0.5, 300, True) == [1, 3, 10, 30, 100, 300]
    assert ticks(3.0, 3.0, True) == [3.0]


def test_decimals_are_as_many_as_the_values_need():
    assert decimals(np.array([16.0, 64.0])) == 0
    assert decimals(np.array([0.4, 6.4])) == 1
    assert decimals(np.array([0.12345, 0.98765])) == 4
    assert decimals(np.array([np.nan, 0.0])) == 0


def test_a_level_stands_for_each_value_and_one_for_points_without():
    bits = pd.Series([3, None, 5], dtype=object)
    position, at, text = levels(describe("codec.index_bits", bits), bits)
    assert position == [0.0, -1.0, 1.0] and at == [-1.0, 0.0, 1.0] and text == ["–", "3", "5"]


def test_a_shade_ends_midway_between_two_bounds():
    x, bounds = pd.Series([1.0, 4.0, 16.0]), pd.Series(["bandwidth", "compute", "compute"])
    assert bound_ranges(x, bounds, False, [0.0, 17.0]) == [(0.0, 2.5, "bandwidth"), (2.5, 17.0, "compute")]
    # On a log axis the ends are exponents, and the middle of 1 and 4 is 2.
    assert bound_ranges(x, bounds, True, [0.0, 2.0]) == [(1.0, 2.0, "bandwidth"), (2.0, 100.0, "compute")]


def test_sweeps_of_one_store_are_read_together_or_alone(tmp_path):
    path = store_of(tmp_path / "two.db", [{"mac_array.pes": pes} for pes in (16, 32)])
    with Store(path) as opened:
        wide = row({"mac_array.lanes": 4})
        opened.add([wide])
        opened.enlist("other", [(wide.key, {"mac_array.lanes": 4})])
    both = read_sweep(path)
    assert len(both.points) == 3 and {axis.name for axis in both.axes} == {"mac_array.pes", "mac_array.lanes"}
    lanes = both.points.set_index("sweep")["mac_array.lanes"]
    assert lanes["other"] == 4 and set(lanes["demo"]) == {8}, "a sweep without the axis keeps the field of its chip"
    assert [axis.name for axis in read_sweep(path, "demo").axes] == ["mac_array.pes"]
