"""EIE's published times from padding, queues and densities alone; and what the generator may not know."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from azsim.chip import load_chip
from azsim.cli import app
from azsim.errors import AzsimError
from azsim.graph import load_network
from azsim.validate import eie, suite
from azsim.weights import calibrate, quantize


@pytest.fixture(scope="module")
def rows():
    return eie.eie_rows(range(3))


def of_way(rows, way):
    return [row for row in rows if row.what.endswith(f", {way}")]


def test_every_published_layer_is_reproduced(rows):
    errors = [abs(row.error) for row in of_way(rows, "rows differ")]
    assert len(errors) == 6
    assert np.mean(errors) <= 0.03 and max(errors) <= 0.07


def test_without_calibration_the_errors_are_larger_and_shown(rows):
    plain, drawn = ([abs(r.error) for r in of_way(rows, way)] for way in ("uncalibrated", "rows differ"))
    assert np.mean(plain) > 2 * np.mean(drawn)


def test_rows_have_a_spread_over_seeds(rows):
    assert all(row.low < row.azsim < row.high for row in rows)


def test_the_actual_time_is_no_input():
    layer = eie.published_layers()[3]
    chip = load_chip("eie")
    times = [eie.run_layer(replace(layer, actual_us=us), chip, 0, eie.ROW_CV).actual_us for us in (None, 1.0, 99.0)]
    assert times[0] == times[1] == times[2]


def test_calibration_hits_the_theoretical_time():
    chip = load_chip("eie")
    for layer in eie.published_layers():
        drawn = np.mean([eie.run_layer(layer, chip, seed).theoretical_us for seed in range(3)])
        assert drawn == pytest.approx(layer.theoretical_us, rel=0.01)


def test_mean_entries_are_those_of_drawn_columns():
    # 3 PEs of 40 rows each, a gap of 4 zeros inserts an entry: padding is frequent
    rng = np.random.default_rng(0)
    density = eie.row_factors(120, 0.5, rng) * 0.2
    weights = (rng.random((120, 20_000)) < density[:, None]).astype(np.int8)
    entries = 0
    for pe in range(3):
        for column in weights[pe::3].T[:4000]:
            gap = 0
            for weight in column:
                if weight:
                    entries += 1 + gap // 4
                    gap = 0
                else:
                    gap += 1
    assert entries / 4000 == pytest.approx(eie.expected_entries(density, 3, 2), rel=0.01)


def test_row_factors_have_mean_one_and_the_asked_variation():
    factors = eie.row_factors(200_000, 0.21, np.random.default_rng(1))
    assert factors.mean() == pytest.approx(1, abs=0.005) and factors.std() == pytest.approx(0.21, abs=0.005)
    assert np.array_equal(eie.row_factors(3, 0.0, np.random.default_rng(1)), np.ones(3))


def test_the_variation_of_rows_is_that_of_the_trained_network():
    # Beyond i.i.d.: var(density) less d (1 - d) / cols, as a coefficient of variation, mean over the matrices.
    network = load_network("rnnt")
    quantized = quantize(network, calibrate(network, network.calibration), 8)
    variations = []
    for tensor in quantized.tensors.values():
        rows, cols = tensor.values.shape
        if tensor.kind == "matrix" and rows >= 100:
            density = (tensor.values != 0).mean(axis=1)
            mean = density.mean()
            variations.append(np.sqrt(max(0, density.var() - mean * (1 - mean) / cols)) / mean)
    assert np.mean(variations) == pytest.approx(eie.ROW_CV, abs=0.005)


def test_power_is_near_the_published_one():
    total = eie.eie_power_rows()[0]
    assert total.unit == "W" and abs(total.error) <= 0.15


def test_more_pes_and_deeper_queues_help_as_published():
    points = eie.eie_scaling()
    speedup = {(p["layer"], p["value"]): p["speedup_over_1_pe"] for p in points if p["sweep"] == "pes"}
    assert speedup["Alex-6", 64] > 58, "near-linear for a large layer"
    assert speedup["NT-We", 256] < 100, "600 rows do not fill 256 PEs"
    balance = {(p["layer"], p["value"]): p["load_balance"] for p in points if p["sweep"] == "queue"}
    for layer in {p["layer"] for p in points}:
        by_depth = [balance[layer, depth] for depth in eie.QUEUE_DEPTHS]
        assert by_depth == sorted(by_depth)
        assert balance[layer, 8] - balance[layer, 2] > balance[layer, 32] - balance[layer, 8], "pays up to 8"


def test_a_layer_of_ones_takes_as_long_as_it_has_rows():
    # Density 1 on 64 PEs of 2 rows: 2 cycles a column, the first popped one edge after it is sent, 7 cycles of fill;
    # a bubble before columns 64 and 128 is hidden: after 64 broadcasts the PEs are 64 cycles behind, the queue is full.
    layer = eie.Layer("ones", 150, 128, 1.0, 1.0)
    time = eie.run_layer(layer, load_chip("eie"), 0)
    assert time.actual_us * 800 == pytest.approx(1 + 2 * 150 + 7)


def test_layers_come_from_a_file(tmp_path):
    path = tmp_path / "layers.csv"
    path.write_text("# mine\nlayer,inputs,outputs,weight_density,activation_density\nVGG-x,512,256,0.04,0.3\n")
    result = CliRunner().invoke(app, ["validate", "--layers", str(path), "--seeds", "1", "--quiet"])
    assert result.exit_code == 0 and "VGG-x, rows differ" in result.output
    assert "nothing published to compare with" in result.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("layer,inputs\na,1\n", "outputs, weight_density, activation_density are missing"),
        ("layer,inputs,outputs,weight_density,activation_density\nb,x,1,1,1\n", r"layer 1 \('b'\).*'x'"),
        ("layer,inputs,outputs,weight_density,activation_density\nc,8,8,1.5,1\n", "'c'.*densities in"),
    ],
)
def test_a_wrong_layer_is_named(tmp_path, text, says):
    path = tmp_path / "layers.csv"
    path.write_text(text)
    with pytest.raises(AzsimError, match=says):
        suite.read_layers(path)


def test_an_unknown_machine_is_an_error_that_lists_the_known():
    result = CliRunner().invoke(app, ["validate", "tpu"])
    assert result.exit_code == 2 and "eie, ese, dual_side, claims" in result.output.replace("\n", " ")
