"""Shares of a difference: exact where they can be worked out, and adding up everywhere."""

import pytest
from typer.testing import CliRunner

from azsim import load_chip
from azsim.cli import app
from azsim.errors import SweepError
from azsim.sweep import sweep
from azsim.sweep.compare import FIGURES, Setup, compare, find_setup
from azsim.sweep.results import load_results

DEMO = "models/demo/digits_1.wav"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AZSIM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def setup(name="a", network="amnet", bits=None, **changes):
    chip = load_chip("az1_like", {path.replace("__", "."): value for path, value in changes.items()})
    return Setup(name, chip, network, DEMO, bits)


def adds_up(found):
    for name in FIGURES:
        whole = found.figures_b[name] - found.figures_a[name]
        assert sum(added[name] for added in found.shares.values()) == pytest.approx(whole, abs=1e-9 + 1e-9 * abs(whole))


def test_two_differences_share_what_they_do_together():
    decoder, bandwidth = {"codec__symbols_per_cycle": 64}, {"dram__bandwidth_bytes_per_s": 12.8e9}
    corner = [compare(setup(), one).figures_b["working_ms"] for one in (setup(**decoder), setup(**bandwidth))]
    found = compare(setup(), setup("b", **decoder, **bandwidth))
    none, both = found.figures_a["working_ms"], found.figures_b["working_ms"]
    by_hand = ((corner[0] - none) + (both - corner[1])) / 2
    assert found.is_exact
    assert found.shares["codec.symbols_per_cycle"]["working_ms"] == pytest.approx(by_hand)
    assert both - none != pytest.approx(corner[0] + corner[1] - 2 * none, rel=0.01), "or there is nothing to share"
    adds_up(found)


def test_a_field_that_does_nothing_has_no_share():
    found = compare(setup(), setup("b", mac_array__pes=32, weight_sram__banks=2))
    assert set(found.shares["weight_sram.banks"].values()) == {0.0}


def test_fields_that_need_each_other_are_one_difference():
    b = setup("b", codec__name="run_length", weight_sram__form="packed", mac_array__pes=32)
    found = compare(setup(), b)
    assert set(found.shares) == {"codec.name + weight_sram.form", "mac_array.pes"}
    adds_up(found)


def test_many_differences_add_up_from_random_orders():
    lanes = {f"vector_unit__lanes__{name}": 4 for name in ("requantize", "add", "mul", "relu", "sigmoid", "tanh")}
    found = compare(setup(), setup("b", **lanes, mac_array__pes=32, dram__latency_ns=300, clock_hz=4e8))
    assert len(found.shares) == 9 and not found.is_exact
    adds_up(found)


def test_bits_and_networks_are_differences_too():
    found = compare(setup(), setup("b", network="rnnt", bits=4))
    assert set(found.shares) == {"network", "weight_bits"}
    assert found.shares["weight_bits"]["dram_read_bytes"] < 0
    adds_up(found)


def test_equal_points_have_no_differences():
    assert compare(setup(), setup("b")).shares == {}


def test_points_of_a_store_by_key(tmp_path):
    store = tmp_path / "results.db"
    sweep({"name": "two", "axes": {"mac_array.pes": [16, 32]}}, store, workers=1)
    keys = load_results(store).set_index("mac_array.pes").key
    found = find_setup(f"{store}:{keys[16][:8]}", "amnet", DEMO)
    assert found.chip.mac_array.pes == 16
    result = CliRunner().invoke(app, ["compare", f"{store}:{keys[16]}", f"{store}:{keys[32][:10]}", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "mac_array.pes" in result.output and "weight_sram.bytes" not in result.output
    with pytest.raises(SweepError, match="no point has a key that starts with 'zz'"):
        find_setup(f"{store}:zz", "amnet", DEMO)
