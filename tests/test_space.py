"""Spaces: which points they have, and what they say of mistakes."""

from dataclasses import replace

import numpy as np
import pytest
from networks import transducer

from azsim.errors import SweepError
from azsim.sweep import load_space
from azsim.sweep.expression import check_expression, holds
from azsim.sweep.identity import audio_hash, network_hash, point_key
from azsim.sweep.run import Catalog


def axes_of(**space):
    return [point.axes for point in load_space(space).points()]


def test_a_grid_has_every_combination_in_order_and_once():
    found = axes_of(axes={"mac_array.pes": [16, 32, 16], "weight_bits": [8, 4]})
    assert [(a["mac_array.pes"], a["weight_bits"]) for a in found] == [(16, 8), (16, 4), (32, 8), (32, 4)]


def test_rows_are_values_that_go_together_crossed_with_the_axes():
    row, other = {"weight_sram.bytes": 131072, "weight_sram.tile_bytes": 8192}, {"weight_sram.bytes": 262144}
    found = axes_of(rows=[row, other, dict(reversed(row.items()))], axes={"weight_bits": [4, 8]})
    assert found == [{**row, "weight_bits": 4}, {**row, "weight_bits": 8}, {**other, "weight_bits": 4},
                     {**other, "weight_bits": 8}]  # fmt: skip


def test_a_range_is_cut_into_steps_and_its_ends_are_exact():
    (linear,) = load_space({"axes": {"dram.latency_ns": {"from": 0, "to": 1, "steps": 4}}}).axes.values()
    assert linear.grid == (0.0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0)
    (log,) = load_space(
        {"axes": {"dram.latency_ns": {"from": "1e2", "to": 1e4, "steps": 3, "log": True}}}
    ).axes.values()
    assert log.grid == (100.0, 1000.0, 10000.0)
    (whole,) = load_space({"axes": {"mac_array.pes": {"from": 1, "to": 3, "steps": 9, "integer": True}}}).axes.values()
    assert whole.grid == (1, 2, 3) and all(type(v) is int for v in whole.grid)


CONDITIONAL = {
    "codec.name": ["zero_mask", "run_length"],
    "codec.index_bits": {"values": [3, 5], "when": "codec.name == 'run_length'"},
}


def test_a_conditional_axis_exists_only_where_it_holds():
    found = axes_of(axes=CONDITIONAL)
    assert [tuple(a.values()) for a in found] == [("zero_mask",), ("run_length", 3), ("run_length", 5)]
    assert load_space({"axes": CONDITIONAL}).draws is None
    for axes in axes_of(axes=CONDITIONAL, draws=3):
        assert ("codec.index_bits" in axes) == (axes["codec.name"] == "run_length")


def test_a_condition_on_an_axis_that_is_chosen_later_is_a_mistake():
    # it would silently be answered by the base chip
    with pytest.raises(SweepError, match=r"'codec.name' is chosen after it: move 'codec.index_bits' below"):
        load_space({"axes": dict(reversed(CONDITIONAL.items()))})


def test_draws_depend_on_the_seed_alone_and_are_different():
    space = {"axes": {"dram.latency_ns": {"from": 10, "to": 200}, "mac_array.pes": [4, 8, 16]}, "draws": 40}
    assert axes_of(**space) == axes_of(**space)
    assert axes_of(**space) != axes_of(**space, seed=1)
    assert axes_of(**{**space, "draws": 60})[:40] == axes_of(**space)
    finite = axes_of(axes={"mac_array.pes": [1, 2, 3, 4], "weight_bits": [4, 8]}, draws=8)
    assert len({tuple(a.values()) for a in finite}) == 8


def test_more_draws_than_points_is_an_error_that_counts_them():
    with pytest.raises(SweepError, match=r"only 4 different points .* of 5 asked for"):
        axes_of(axes={"mac_array.pes": [1, 2, 3, 4]}, draws=5)
    with pytest.raises(SweepError, match=r"only 1 different points .* or loosen mac_array.pes > 3"):
        axes_of(axes={"mac_array.pes": [1, 2, 3, 4]}, where="mac_array.pes > 3", draws=2)


def test_conditions_on_the_chip_leave_points_out_before_they_run():
    space = load_space({"axes": {"mac_array.pes": [4, 64, 512]}, "where": ["area_mm2 < 0.6", "mac_array.pes != 4"]})
    assert [p.axes["mac_array.pes"] for p in space.points()] == [64]


def test_conditions_on_results_are_left_to_the_run():
    space = load_space({"axes": {"mac_array.pes": [4, 64]}, "where": ["latency_p95_ms < 1 and mac_array.pes < 64"]})
    assert len(list(space.points())) == 2
    assert space.is_feasible({"mac_array.pes": 4}, {"latency_p95_ms": 0.5})
    assert not space.is_feasible({"mac_array.pes": 4}, {"latency_p95_ms": 1.5})
    assert not space.is_feasible({"mac_array.pes": 64}, {"latency_p95_ms": 0.5})
    with pytest.raises(SweepError, match=r"cannot be evaluated: .*latency_p95_ms"):
        space.is_feasible({"mac_array.pes": 4}, {})


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"mac_array.pes": 0}, "greater than 0"),
        ({"weight_sram.banks": 3}, "tile_slots % banks"),
        ({"weight_bits": 4.5}, "whole number, e.g. 4, but got 4.5"),
        ({"weight_bits": "four"}, "whole number"),
        ({"weight_density": "half"}, "a number above 0"),
    ],
)
def test_a_point_that_cannot_be_built_is_kept_with_its_reason(axes, reason):
    (point,) = load_space({"rows": [axes], "where": "area_mm2 < 2"}).points()
    assert point.chip is None and reason in point.problem


def test_a_point_without_an_area_is_left_to_fail_with_its_reason():
    # the energy tables end at 5 nm; one such point must not end the sweep
    points = list(load_space({"axes": {"technology.node_nm": [3, 12]}, "where": "area_mm2 < 2"}).points())
    assert [p.axes["technology.node_nm"] for p in points] == [3, 12]


def test_a_chip_file_that_changes_is_read_again(tmp_path):
    path = tmp_path / "mine.yaml"
    for pes in (16, 32):
        path.write_text(f"extends: az1_like\nmac_array: {{pes: {pes}}}\n")
        (point,) = load_space({"chip": str(path)}).points()
        assert point.chip.mac_array.pes == pes


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"axes": {"mac_aray.pes": [1]}}, r"axis 'mac_aray.pes' does not exist; did you mean mac_array.pes"),
        ({"axes": {"pes": [1]}}, "did you mean mac_array.pes"),
        ({"axes": {"bandwith": [1]}}, "axis 'bandwith' does not exist"),
        ({"rows": [{"mac_array.lane": 1}]}, "did you mean mac_array.lanes"),
        ({"axes": {"weight_bits": [4]}, "rows": [{"weight_bits": 8}]}, "stands in `axes` and in `rows`"),
        ({"axes": {"mac_array.pes": []}}, "at least 1 item"),
        ({"axes": {"mac_array.pes": 32}}, "axes.mac_array.pes"),
        ({"axes": {"mac_array.pes": {"from": 1}}}, "a list of values, or has `from` and `to`"),
        ({"axes": {"mac_array.pes": {"from": 4, "to": 1, "steps": 2}}}, "`from < to` must hold, but got 4 and 1"),
        ({"axes": {"dram.latency_ns": {"from": 0, "to": 1, "log": True, "steps": 2}}}, "`from > 0`"),
        ({"axes": {"dram.latency_ns": {"from": 0, "to": 1}}}, "has no `steps`: add them, or `draws`"),
        ({"axis": {}}, "axis: Extra inputs"),
        ({"where": "aera_mm2 < 2"}, "unknown name 'aera_mm2'; did you mean area_mm2"),
        ({"where": ["area_mm2 <"]}, "not an expression"),
        ({"where": "area_mm2 < 2\0"}, "not an expression"),
        ({"where": [3]}, "valid string"),
        ({"axes": {"codec.index_bits": {"values": [3], "when": "codec.nam == 'x'"}}}, "unknown name 'codec.nam'"),
        ({"axes": {"codec.index_bits": {"values": [3], "when": "wer < 1"}}}, "unknown name 'wer'"),
        ({"chip": "az9_like"}, "unknown chip 'az9_like': did you mean"),
        ({"axes": {"chip": ["az1_like", "az9_like"]}}, "unknown chip 'az9_like'"),
    ],
)
def test_a_mistake_is_named_and_says_what_would_work(space, message):
    with pytest.raises(SweepError, match=message):
        load_space(space)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: x\naxes: [1, 2\nwhere: y\n", r"s\.yaml: not valid YAML in line 3"),
        (b"name: 2024-99-99\n", "not valid YAML"),
        (b"\xff\xfe\x00binary", "not a YAML file"),
        (b"", "valid dictionary"),
        (b"- 1\n", "valid dictionary"),
    ],
)
def test_a_file_that_is_no_space_is_said(tmp_path, content, message):
    (tmp_path / "s.yaml").write_bytes(content)
    with pytest.raises(SweepError, match=message):
        load_space(tmp_path / "s.yaml")
    with pytest.raises(SweepError, match=r"none\.yaml: cannot be read \(No such file"):
        load_space(tmp_path / "none.yaml")


def test_expressions_know_fields_by_path():
    values = {"mac_array.pes": 16, "codec.name": "huffman", "area_mm2": 1.5, "vector_unit.lanes.add": 8}
    assert check_expression(" 1 < area_mm2 and codec.name in ('huffman',)", values.keys()) == {"area_mm2", "codec.name"}
    assert holds("1 < area_mm2 < 2 and mac_array.pes * vector_unit.lanes.add == 128", values)
    assert not holds("codec.name == 'dense' or not mac_array.pes", values)


@pytest.mark.parametrize("text", ["area_mm2 < 'a'", "area_mm2 / 0 > 1", "2.0 ** 5000.0 > area_mm2", "area_mm2[0] > 1"])
def test_an_expression_that_cannot_be_evaluated_shows_its_values(text):
    with pytest.raises(SweepError, match=r"cannot be evaluated: .*; got area_mm2 = 1\.5"):
        holds(text, {"area_mm2": 1.5})


@pytest.mark.parametrize("text", ["__import__('os')", "().__class__", "area_mm2.real", "[x for x in (1,)]"])
def test_an_expression_reaches_nothing_but_its_names(text):
    with pytest.raises(SweepError, match="unknown name"):
        check_expression(text, {"area_mm2"})


@pytest.fixture(scope="module")
def toy():
    return transducer()


def test_the_key_of_a_point_is_what_its_result_depends_on(tmp_path, recording, toy):
    other = replace(toy, blank_penalty=0.5)
    catalog = Catalog({"toy": toy, "same": replace(toy, name="same"), "other": other})
    heard = tmp_path / "a.wav"
    heard.write_bytes(recording.read_bytes())

    def key(**axes):
        (point,) = load_space({"network": "toy", "audio": str(heard), "rows": [axes]}).points()
        return catalog.key(point)

    base = key(**{"mac_array.pes": 64})
    assert key(**{"mac_array.pes": 64.0}) == base == key(network="same", **{"mac_array.pes": 64})
    assert base == key(
        audio=str(recording), weight_bits=8, **{"mac_array.pes": 64}
    )  # same bytes, the network's own bits
    changed = [
        key(**{"mac_array.pes": 65}), key(network="other"), key(weight_bits=4), key(weight_density=0.5),
        key(chip="az2_like"),
    ]  # fmt: skip
    assert len({base, *changed}) == 6
    before = audio_hash(heard)
    heard.with_suffix(".txt").write_text("five")  # word errors depend on it
    assert audio_hash(heard) != before
    chip = next(load_space({}).points()).chip
    assert point_key(chip, "w") == point_key(chip.replace(name="x", description="y"), "w") != point_key(chip, "v")


def test_the_hash_of_a_network_sees_one_weight_and_its_shape(toy):
    joint = toy.graphs["joint"]
    name = next(n for n, array in joint.parameters.items() if array.ndim == 2)

    def changed(array):
        graph = joint.replace(parameters={**joint.parameters, name: array})
        return network_hash(replace(toy, graphs={**toy.graphs, "joint": graph}))

    weight = joint.parameters[name]
    nudged = weight.copy()
    nudged[0, 0] = np.nextafter(nudged[0, 0], 9)
    assert changed(weight.copy()) == network_hash(toy)
    assert len({network_hash(toy), changed(nudged), changed(weight.reshape(weight.shape[::-1]))}) == 3
    assert network_hash(replace(toy, synthetic_weights=True)) != network_hash(toy)
