"""Every joule is a count times a coefficient with a source."""

import csv
from math import log, sqrt
from pathlib import Path

import pytest

from azsim.chip import Chip, Dram, Technology, load_chip
from azsim.energy import COMPONENTS, operation, price, sram
from azsim.energy.costs import nominal_volts, sram_leakage, supply
from azsim.errors import ChipError
from azsim.timing import Counts

TABLE = Path(__file__).parents[1] / "azsim" / "energy" / "tables" / "sram_cacti7.csv"


def at(node_nm, **changes):
    """A process at its nominal supply, where every table holds as it stands."""
    return Technology(**{"node_nm": node_nm, "volts": nominal_volts(node_nm)} | changes)


AT_45 = at(45.0)


def test_interpolation_meets_every_row_of_the_sram_table():
    rows = list(csv.DictReader(line for line in TABLE.read_text().splitlines() if not line.startswith("#")))
    assert len(rows) > 100
    for row in rows:
        memory = sram(float(row["KB"]), int(row["width"]), at(float(row["tech"])))
        word_bytes = int(row["width"]) / 8
        assert memory.read.value * word_bytes == pytest.approx(float(row["read_pJ"]))
        assert memory.write.value * word_bytes == pytest.approx(float(row["write_pJ"]))
        assert memory.area_mm2 == pytest.approx(float(row["area_mm2"]))


def test_between_two_sizes_the_logarithm_is_straight():
    # 45 nm, 64 bit: 1.670 pJ at 1 KB, 2.756 at 2 KB; half way in log size is sqrt(2) KB
    assert 8 * sram(sqrt(2), 64, AT_45).read.value == pytest.approx(sqrt(1.670 * 2.756))


def test_below_22_nm_energy_scales_with_the_root_of_the_node():
    at_22, at_11 = (sram(64, 64, at(n)) for n in (22.0, 11.0))
    assert at_11.read.value / at_22.read.value == pytest.approx(sqrt(0.5))
    assert at_11.area_mm2 / at_22.area_mm2 == pytest.approx(0.5)
    assert at_11.leakage_mw.value / at_22.leakage_mw.value == pytest.approx(0.79 * sqrt(0.5))
    assert at_11.read.factor > at_22.read.factor


def test_a_mac_meets_both_published_nodes():
    assert operation("int8_mac", AT_45).value == pytest.approx(0.30)
    assert operation("int8_mac", at(7.0)).value == pytest.approx(0.084)
    # 16 nm by hand: exponent ln(.30/.084)/ln(45/7) = 0.684, so .30 x (16/45)^0.684 = 0.148 (published tables: 0.16)
    assert operation("int8_mac", at(16.0)).value == pytest.approx(0.148, abs=0.001)
    assert operation("int8_mac", at(16.0)).factor == 2.5


def test_dram_does_not_shrink_with_the_node():
    assert operation("dram_lpddr3", AT_45).value == operation("dram_lpddr3", at(7.0)).value == 4.59


@pytest.mark.parametrize(
    ("flavor", "kelvin", "milliwatts"), [("LSTP", 300, 0.14), ("LSTP", 350, 0.60), ("LOP", 300, 7.0), ("HP", 350, 141)]
)
def test_leakage_of_a_megabyte_at_22_nm(flavor, kelvin, milliwatts):
    cell = at(22.0, sram_flavor=flavor, temperature_k=kelvin)
    assert sram_leakage(1024, cell).value == pytest.approx(milliwatts, rel=0.02)


def test_between_two_temperatures_the_logarithm_of_leakage_is_straight():
    # LOP cells: 7 mW at 300 K, 195 at 350; half way sqrt(7 x 195) = 36.9
    cold, warm = (sram_leakage(1024, at(22.0, sram_flavor="LOP", temperature_k=k)).value for k in (300.0, 325.0))
    assert warm / cold == pytest.approx(sqrt(7 * 195) / 7)


@pytest.mark.parametrize(
    ("technology", "message"),
    [
        ({"node_nm": 65.0}, "cover 5 to 45 nm, but got 65"),
        ({"temperature_k": 400.0}, "from 300 to 350 K, but got 400"),
        # 12 nm: 0.6 x 0.8 V = 0.48, 1.4 x 0.8 V = 1.12
        ({"volts": 1.2}, "nominal 0.8 V of 12 nm, but got 1.2 V; choose 0.48 to 1.12 V"),
        ({"volts": 0.4}, "but got 0.4 V; choose 0.48 to 1.12 V"),
    ],
)
def test_outside_the_tables_is_an_error(technology, message):
    with pytest.raises(ChipError, match=message):
        price(Counts(clock_hz=1e9), Chip(technology=Technology(**technology)))


def test_a_tiny_utterance_priced_by_hand():
    chip = load_chip(
        "az1_like", ["technology.node_nm=45", "technology.volts=0.9", "dram.standard=LPDDR3", "dram.standby_share=1"]
    )
    counts = Counts(
        clock_hz=500e6, utterance_cycles=500_000_000, active_cycles=50_000_000, array_cycles=1000,
        effectual_macs=1_000_000, gated_macs=1_000_000, dram_read_bytes=1000, host_frames=2,
    )  # fmt: skip
    parts = price(counts, chip).components()
    assert parts["mac_array"].value == pytest.approx(0.30 * 1.03)  # pJ x 1e6 = uJ; a gated MAC costs 3 %
    assert parts["dram_transfers"].value == pytest.approx(8000 * (4.59 + 0.10) * 1e-6)
    assert parts["dram_standby"].value == pytest.approx((46 + 12.5) * 1e3)  # mW x 1 s
    assert price(counts, chip).components(while_working=True)["dram_standby"].value == pytest.approx(58.5e3 / 10)
    assert parts["clock_and_control"].value == pytest.approx(1000 * 64 * 2.29e-6)
    assert parts["host"].value == pytest.approx(2 * 5.0)
    assert parts["weight_sram"].value == parts["vector_unit"].value == 0


def test_skipped_macs_are_free_and_gated_ones_are_not():
    def mac_energy(**macs):
        return price(Counts(clock_hz=1e9, **macs), Chip()).components()["mac_array"].value

    assert mac_energy(skipped_macs=10**6) == 0
    assert 0 < mac_energy(gated_macs=10**6) < 0.05 * mac_energy(effectual_macs=10**6)


def test_parts_add_up_and_bands_add_in_quadrature():
    counts = Counts(
        clock_hz=1e9, utterance_cycles=10**9, active_cycles=10**8, effectual_macs=10**8, dram_read_bytes=10**6,
        weight_sram_read_bytes=10**8, metadata_read_bytes=10**7, decoder_symbols=10**6, decoder_bytes=10**6,
        vector_elements={"tanh": 10**5},
    )  # fmt: skip
    energy = price(counts, Chip())
    for working in (False, True):
        parts, total = energy.components(working), energy.total(working)
        assert tuple(parts) == COMPONENTS
        assert total.value == pytest.approx(sum(part.value for part in parts.values()))
        assert total.high - total.value == pytest.approx(sqrt(sum((p.high - p.value) ** 2 for p in parts.values())))
        assert all(p.low <= p.value <= p.high for p in parts.values())
    assert energy.while_working_uj < energy.whole_utterance_uj


def test_every_line_has_a_source_and_a_mark():
    for line in price(Counts(clock_hz=1e9, vector_elements={"add": 1}), Chip()).lines:
        assert line.cost.mark in ("published", "borrowed", "assumed") and len(line.cost.source) > 10
        assert line.cost.factor > 1


def test_an_sram_read_of_eie_is_near_its_implied_energy():
    # EIE: SpmatRead 4.955 mW a PE at 800 MHz, 128 KB, 64 bit at 45 nm; about 31 pJ a read. The table says 32.3.
    assert 8 * sram(128, 64, AT_45).read.value == pytest.approx(31, rel=0.10)


def test_standby_is_charged_by_its_share():
    counts = Counts(clock_hz=1e9, utterance_cycles=10**9)
    full, half = (
        price(counts, Chip(dram=Dram(standby_share=s))).components()["dram_standby"].value for s in (1.0, 0.5)
    )
    assert full == pytest.approx(2 * half)


def test_the_node_exponent_is_that_of_the_two_published_points():
    slope = log(operation("int32_add", AT_45).value / operation("int32_add", at(7.0)).value) / log(45 / 7)
    assert slope == pytest.approx(log(0.30 / 0.084) / log(45 / 7))


def test_energy_goes_with_the_square_of_the_supply_and_leakage_with_the_supply():
    # 12 nm is nominally at 0.8 V; 0.6 V is 3/4 of it: 9/16 of the energy, 3/4 of the leakage
    nominal, low = at(12.0), at(12.0, volts=0.6)
    assert supply(nominal) == 1.0
    assert operation("int8_mac", low).value == pytest.approx(9 / 16 * operation("int8_mac", nominal).value)
    full, saving = sram(64, 64, nominal), sram(64, 64, low)
    assert saving.read.value == pytest.approx(9 / 16 * full.read.value)
    assert saving.write.value == pytest.approx(9 / 16 * full.write.value)
    assert saving.leakage_mw.value == pytest.approx(3 / 4 * full.leakage_mw.value)
    assert saving.area_mm2 == full.area_mm2
    assert operation("dram_lpddr4x", low) == operation("dram_lpddr4x", nominal)
    assert "0.6 V" in saving.read.source and " V" not in full.read.source


def test_the_nominal_supply_is_straight_in_the_logarithm_of_the_node():
    assert [nominal_volts(n) for n in (45.0, 28.0, 22.0, 12.0, 7.0, 5.0)] == [0.9, 0.9, 0.8, 0.8, 0.75, 0.75]
    # half way in log between 28 nm at 0.9 V and 22 nm at 0.8 V: sqrt(28 x 22) = 24.8 nm at 0.85 V
    assert nominal_volts(sqrt(28 * 22)) == pytest.approx(0.85)


@pytest.mark.parametrize(("share", "fits"), [(0.599, False), (0.6, True), (1.4, True), (1.401, False)])
def test_the_limits_of_the_supply_belong_to_it(share, fits):
    technology = at(45.0, volts=0.9 * share)
    if fits:
        assert supply(technology) == pytest.approx(share)
    else:
        with pytest.raises(ChipError, match=r"choose 0\.54 to 1\.26 V"):
            supply(technology)


@pytest.mark.parametrize("name", ["az1_like", "az2_like", "dense_baseline"])
def test_the_presets_run_at_nominal_supply(name):
    assert supply(load_chip(name).technology) == 1.0
