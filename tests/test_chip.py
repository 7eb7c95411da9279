"""Chips as data: provenance on every number, overrides by path, errors that say what to type."""

import pytest
import yaml

from azsim.chip import Chip, Dram, describe_chip, load_chip, presets
from azsim.chip.presets import MARKS, valid_paths
from azsim.errors import ChipError


@pytest.mark.parametrize("name", presets())
def test_every_number_of_a_preset_has_a_source(name):
    sources = describe_chip(name).sources
    assert set(sources) == valid_paths() - {"name", "description"}
    for source in sources.values():
        assert source.mark in MARKS, source.path
        assert len(source.source) > 5 and "without a source" not in source.source, source.path
        assert "default of" not in source.source, f"{name} does not say {source.path}"


def test_dense_baseline_differs_in_codec_and_skips_only():
    az1, dense = (describe_chip(name).sources for name in ("az1_like", "dense_baseline"))
    different = {path for path in az1 if az1[path].value != dense[path].value}
    assert different == {"codec.name", "mac_array.skip_weights", "mac_array.skip_activations"}


def test_az2_has_22_times_the_operations_of_az1():
    assert load_chip("az2_like").peak_macs_per_s == 22 * load_chip("az1_like").peak_macs_per_s


def test_an_override_is_validated_and_marked():
    described = describe_chip("az1_like", ["mac_array.pes=32", "clock_hz=400e6"])
    assert described.chip.mac_array.pes == 32 and described.chip.clock_hz == 400e6
    assert described.sources["mac_array.pes"].mark == "override"
    assert described.sources["mac_array.lanes"].mark == "assumed"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mac_array.pse=32", "did you mean mac_array.pes"),
        ("pes=32", "did you mean mac_array.pes"),
        ("dram.bandwidth_bytes_per_s=-1", "dram.bandwidth_bytes_per_s: Input should be greater than 0, but got -1"),
        ("mac_array.pes=many", "mac_array.pes"),
        ("mac_array.pes", "write path=value"),
        ("weight_sram.tile_bytes=1000000", "tile_slots \\* tile_bytes <= bytes"),
        ("weight_sram.form=packed", "choose codec.name run_length"),
        ("vector_unit.lanes.sigmoid=0", "vector_unit.lanes.sigmoid"),
        ("clock_hz=.nan", "clock_hz"),
    ],
)
def test_a_wrong_override_says_what_to_type(override, message):
    with pytest.raises(ChipError, match=message):
        load_chip("az1_like", [override])


def test_an_unknown_chip_answers_with_the_nearest():
    with pytest.raises(ChipError, match="did you mean az1_like"):
        load_chip("az1like")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mac_array: {pes: 32, lane: 4}", "mac_array.lane"),
        ("a: [1", "line"),
        ("- 1", "expected fields of a chip"),
        ("clock_hz: {value: 1.0e6, mark: guessed}", "mark one of published, borrowed, assumed"),
        ("extends: az9", "unknown chip 'az9'"),
    ],
)
def test_a_wrong_file_names_the_place(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ChipError, match=message):
        load_chip(path)


def test_a_users_file_extends_a_preset(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "az1_like", "name": "mine", "mac_array": {"pes": 16}}))
    described = describe_chip(path)
    assert described.chip.name == "mine" and described.chip.mac_array.pes == 16
    assert described.sources["mac_array.pes"].source == "mine.yaml, without a source"


def test_times_become_cycles_once_by_ceil():
    chip = Chip(clock_hz=500e6, dram=Dram(bandwidth_bytes_per_s=1.6e9, burst_bytes=64, latency_ns=101))
    assert chip.burst_cycles == 20  # 64 B x 500e6 / 1.6e9
    assert chip.latency_cycles == 51  # 50.5 cycles


def test_replace_validates_again():
    with pytest.raises(ValueError):
        Chip().replace(clock_hz=-1.0)
