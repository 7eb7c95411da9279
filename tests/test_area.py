"""How large a chip is, and what its array reaches at best."""

from itertools import pairwise
from math import sqrt

import pytest

from azsim.chip import Chip, MacArray, Technology, WeightSram, load_chip
from azsim.energy import area, peak, price, sram
from azsim.energy.area import logic_area, sram_macros
from azsim.energy.costs import nominal_volts
from azsim.errors import AzsimError, ChipError
from azsim.timing import Counts

PRESETS = ("az1_like", "az2_like", "dense_baseline")
NODES_NM = (5.0, 7.0, 10.0, 12.0, 16.0, 22.0, 25.0, 28.0, 32.0, 40.0, 45.0)


def at(node_nm):
    """A process at its nominal supply."""
    return Technology(node_nm=node_nm, volts=nominal_volts(node_nm))


# 4 PEs x 2 lanes at 45 nm and 1 GHz. Macros: weights 4 x 8 KB, activations 16 KB, sums 4 x 1 KB, FIFO 16 x 64 B.
SMALL = Chip(
    clock_hz=1e9,
    technology=at(45.0),
    weight_sram=WeightSram(bytes=32 * 1024, tile_slots=2, tile_bytes=4096),
    activation_sram_bytes=16 * 1024,
    mac_array=MacArray(pes=4, lanes=2, scan_width=4, queue_depth=8, accumulator_bytes=4096),
)


def with_array(chip, **changes):
    return chip.replace(mac_array=chip.mac_array.replace(**changes))


@pytest.mark.parametrize(
    ("part", "um2"),
    [
        ("weight_sram", 4 * 26_300),  # CACTI 7, 45 nm, 8 KB x 64 bit: 0.0263 mm2
        ("activation_sram", 50_700),  # 16 KB x 64 bit
        ("accumulators", 4 * 3_400),  # 1 KB x 32 bit
        ("stream_fifo", 3_600),  # 1 KB x 64 bit
        ("mac_array", 4 * 2 * (282 + 137)),  # an int8 multiplier and an int32 adder a lane
        # control, 8 queue slots, 2 lanes of registers, 2 x 4 selects: 15,409 + 760 + 640 + 120 = 16,929 a PE
        ("pe_logic", 4 * 16_929),
        # requantize 16 x 3,495; add 16 x 137; mul 16 x 1,128; relu, compare, argmax, move 64 x 36; 16 tables of 6,600
        ("vector_unit", 55_920 + 2_192 + 18_048 + 2_304 + 105_600),
        ("decoder", 16 * 2_000),
        ("controller", 40_000),
    ],
)
def test_every_part_of_a_small_chip_by_hand(part, um2):
    assert area(SMALL).part(part).mm2.value == pytest.approx(um2 * 1e-6)


def test_a_part_is_wrong_together():
    # pe_logic: control, queue and registers within 2, selects within 3
    certain, selects = 4 * (15_409 + 760 + 640), 4 * 120
    band = area(SMALL).part("pe_logic").mm2
    assert band.low == pytest.approx(1e-6 * (certain / 2 + selects / 3))
    assert band.high == pytest.approx(1e-6 * (certain * 2 + selects * 3))


@pytest.mark.parametrize("preset", PRESETS)
def test_parts_add_up_and_bands_add_in_quadrature(preset):
    result = area(load_chip(preset))
    parts, total = [part.mm2 for part in result.parts], result.total()
    assert total.value == pytest.approx(sum(part.value for part in parts))
    assert total.high - total.value == pytest.approx(sqrt(sum((p.high - p.value) ** 2 for p in parts)))
    assert total.value - total.low == pytest.approx(sqrt(sum((p.value - p.low) ** 2 for p in parts)))
    assert all(0 < p.low < p.value < p.high for p in parts)


def test_logic_halves_twice_with_the_node_and_grows_less_certain():
    # 282 um2 at 45 nm; half the node: 282 / 4 = 70.5, and the factor 1.5 grows by 2^0.25
    at_45, at_22 = logic_area("int8_mult", at(45.0)), logic_area("int8_mult", at(22.5))
    assert (at_45.value, at_45.factor) == (282, 1.5)
    assert at_22.value == pytest.approx(70.5)
    assert at_22.factor == pytest.approx(1.5 * 2**0.25)


def test_sram_below_22_nm_shrinks_with_the_node():
    at_22, at_11 = (area(SMALL.replace(technology=at(n))).part("weight_sram").mm2.value for n in (22.0, 11.0))
    assert at_22 == pytest.approx(4 * 0.0063)  # 8 KB x 64 bit at 22 nm
    assert at_11 == pytest.approx(4 * 0.0063 / 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_smaller_node_is_never_larger(preset):
    chip = load_chip(preset)
    areas = [area(chip.replace(technology=at(n))) for n in NODES_NM]
    for small, large in pairwise(areas):
        assert all(a.mm2.value <= b.mm2.value for a, b in zip(small.parts, large.parts, strict=True))
        assert small.total().value < large.total().value


@pytest.mark.parametrize("preset", PRESETS)
def test_more_pes_with_their_memory_take_more_area(preset):
    chip = load_chip(preset)
    twice = chip.replace(
        weight_sram=chip.weight_sram.replace(bytes=2 * chip.weight_sram.bytes),
        mac_array=chip.mac_array.replace(
            pes=2 * chip.mac_array.pes, accumulator_bytes=2 * chip.mac_array.accumulator_bytes
        ),
    )
    one, two = area(chip), area(twice)
    for name in ("weight_sram", "accumulators", "mac_array", "pe_logic"):
        assert two.part(name).mm2.value == pytest.approx(2 * one.part(name).mm2.value)
    for name in ("activation_sram", "stream_fifo", "vector_unit", "decoder", "controller"):
        assert two.part(name) == one.part(name)


@pytest.mark.parametrize("preset", PRESETS)
def test_more_pes_on_the_same_memory_take_more_logic(preset):
    areas = [area(with_array(load_chip(preset), pes=pes)) for pes in (16, 32, 64, 128, 256, 512, 1024)]
    for few, many in pairwise(areas):
        assert many.part("mac_array").mm2.value > few.part("mac_array").mm2.value
        assert many.part("pe_logic").mm2.value > few.part("pe_logic").mm2.value
        # CACTI's area per byte is not monotone: 22 nm, 64 bit, 0.0063 mm2 for 8 KB and 0.0151 for 16 KB, so that two of
        # 8 KB take 17 % less than one of 16 KB. No other halving of a macro saves more.
        assert many.part("weight_sram").mm2.value > 0.83 * few.part("weight_sram").mm2.value


def test_only_a_pe_that_skips_refilled_weights_selects_among_them():
    dense = with_array(SMALL, skip_weights=False)
    packed = SMALL.replace(
        weight_sram=SMALL.weight_sram.replace(form="packed"), codec=SMALL.codec.replace(name="run_length")
    )
    without = area(SMALL).part("pe_logic").mm2.value - 4 * 120e-6
    assert area(dense).part("pe_logic").mm2.value == pytest.approx(without)
    assert area(packed).part("pe_logic").mm2.value == pytest.approx(without)


def test_pes_of_row_dot_hold_their_own_activations():
    # 16 KB shared and 4 copies of 2 KB; 45 nm, 64 bit: 0.0507 + 4 x 0.0075
    array = SMALL.mac_array.model_copy(update={"dataflow": "row_dot", "activation_copy_bytes": 2048})
    chip = SMALL.model_copy(update={"mac_array": array})
    assert area(chip).part("activation_sram").mm2.value == pytest.approx(0.0507 + 4 * 0.0075)
    assert peak(chip).sram_bytes["activation_sram"] == (16 + 4 * 2) * 1024
    with pytest.raises(ChipError, match="where the zeros lie"):
        peak(chip, weight_density=0.5)


@pytest.mark.parametrize("preset", PRESETS)
def test_area_and_energy_cut_memories_into_the_same_macros(preset):
    chip = load_chip(preset)
    million = 10**6
    read = price(
        Counts(
            clock_hz=1e9, weight_sram_read_bytes=million, activation_sram_read_bytes=million,
            accumulator_read_bytes=million, decoder_bytes=million,
        ),
        chip,
    )  # fmt: skip
    actions = {"weight_sram": "bytes read", "activation_sram": "bytes read", "accumulators": "bytes read",
               "decoder": "FIFO bytes read"}  # fmt: skip
    for (part, action), macros in zip(actions.items(), sram_macros(chip).values(), strict=True):
        line = next(line for line in read.lines if (line.component, line.action) == (part, action))
        assert line.cost == sram(macros[0].kilobytes, macros[0].width_bits, chip.technology).read


def test_eie_is_as_large_as_it_says():
    # EIE (ISCA 2016): 64 PEs at 45 nm take 40.8 mm2. A PE holds 128 KB of weights and 32 KB of pointers, here one
    # macro of 160 KB, and 2 KB of activations. The rest of the chip is small beside that.
    eie = Chip(
        technology=at(45.0),
        weight_sram=WeightSram(bytes=64 * 160 * 1024),
        activation_sram_bytes=64 * 2 * 1024,
        mac_array=MacArray(pes=64, lanes=1, scan_width=8),
    )
    total = area(eie).total()
    assert total.value == pytest.approx(40.8, rel=0.15)
    assert total.low < 40.8 < total.high


@pytest.mark.parametrize("preset", PRESETS)
def test_every_part_has_a_source_and_its_weakest_mark(preset):
    result = area(load_chip(preset))
    assert all(len(part.source) > 10 for part in result.parts)
    # SRAM and MACs come from published tables; a single assumed row makes a part assumed
    marks = {part.name: part.mark for part in result.parts}
    borrowed = {"weight_sram", "activation_sram", "accumulators", "stream_fifo", "mac_array"}
    assert marks == {name: "borrowed" if name in borrowed else "assumed" for name in marks}


def test_an_array_that_is_always_busy_by_hand():
    # One cycle of 8 lanes at 45 nm, pJ: 8 MACs x 0.30 = 2.4; 8 B of weights x 6.137 / 8 = 6.137; 1 B of masks = 0.767;
    # sums 8 x 4 B, 1.324 / 4 a byte read and 2.065 / 4 written: 10.592 + 16.52; 4 queues x 0.14 = 0.56;
    # 4 clocks x 2.29 = 9.16. Together 46.136 pJ x 1 GHz = 46.136 mW.
    # Leakage: 0.025 mW a MB x (32 + 16 + 4) KB = 0.0013 mW.
    result = peak(SMALL)
    assert result.watts.value == pytest.approx(46.136e-3 + 0.0013e-3, rel=1e-4)
    assert result.dense_tops == result.effective_tops == pytest.approx(0.016)  # 8 MACs x 2 x 1 GHz
    assert result.tops_per_watt.value == pytest.approx(0.016 / 46.137e-3, rel=1e-3)
    assert result.sram_bytes == {
        "weight_sram": 32768, "activation_sram": 16384, "accumulators": 4096, "stream_fifo": 1024,
    }  # fmt: skip
    assert result.total_sram_bytes == 54272


def test_half_of_the_weights_cost_the_scan_but_not_the_macs():
    # 16 weights scanned, 8 issued: 16 B x 6.137 / 8 and 2 B of masks, 7.671 - 0.767 more of each than dense: 6.904
    extra = 6.137 + 0.767
    assert peak(SMALL, weight_density=0.5).watts.value - peak(SMALL).watts.value == pytest.approx(
        extra * 1e-3, rel=1e-3
    )


@pytest.mark.parametrize(
    ("changes", "densities", "over_dense"),
    [
        ({}, (0.5, 1.0), 2.0),
        ({}, (0.25, 1.0), 2.0),  # scan_width / lanes = 2 caps it
        ({"scan_width": 16}, (0.25, 1.0), 4.0),
        ({"scan_width": 1}, (1.0, 1.0), 0.5),  # a scan narrower than the lanes starves them
        ({}, (1.0, 0.25), 4.0),  # activations are skipped before the scan
        ({}, (0.5, 0.25), 8.0),
        ({"skip_weights": False}, (0.5, 0.25), 4.0),
        ({"skip_activations": False}, (0.5, 0.25), 2.0),
        ({"skip_weights": False, "skip_activations": False}, (0.5, 0.25), 1.0),
    ],
)
def test_what_skipping_gains(changes, densities, over_dense):
    result = peak(with_array(SMALL, **changes), *densities)
    assert result.effective_tops / result.dense_tops == pytest.approx(over_dense)


def test_packed_weights_need_no_scan():
    packed = SMALL.replace(
        weight_sram=SMALL.weight_sram.replace(form="packed"), codec=SMALL.codec.replace(name="run_length")
    )
    result = peak(packed, weight_density=0.1)
    assert result.effective_tops / result.dense_tops == pytest.approx(10)
    # Against dense masks of 1 bit: 8 entries with 4 bits of run each, so 4 B of metadata instead of 1 B
    assert result.watts.value - peak(SMALL).watts.value == pytest.approx(3 * 0.767e-3, rel=1e-2)


@pytest.mark.parametrize("densities", [(0.5, 1.0), (1.0, 0.5)])
def test_zeros_that_are_only_gated_save_energy_and_no_time(densities):
    dense = with_array(SMALL, skip_weights=False, skip_activations=False)
    full, sparse = peak(dense), peak(dense, *densities)
    assert sparse.effective_tops == full.effective_tops
    # half of 8 MACs at 3 % of 0.30 pJ, and half of the sums: 4 x 0.30 x 0.97 + 27.112 / 2 = 14.72 pJ
    assert full.watts.value - sparse.watts.value == pytest.approx(14.72e-3, rel=1e-3)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("densities", [(1.0, 1.0), (0.3, 0.5)])
def test_the_band_of_tops_per_watt_holds_the_value(preset, densities):
    result = peak(load_chip(preset), *densities)
    assert 0 < result.watts.low < result.watts.value < result.watts.high
    assert 0 < result.tops_per_watt.low < result.tops_per_watt.value < result.tops_per_watt.high
    assert result.tops_per_watt.low == pytest.approx(result.effective_tops / result.watts.high)


def test_dram_is_no_part_of_the_array():
    other = SMALL.replace(dram=SMALL.dram.replace(standard="LPDDR3", standby_share=0.0))
    assert peak(other) == peak(SMALL)


def test_az2_like_has_22_times_the_operations_of_az1_like():
    one, two = (peak(load_chip(name)).dense_tops for name in ("az1_like", "az2_like"))
    assert one == pytest.approx(0.512)  # 64 x 8 x 2 x 500 MHz
    assert two == pytest.approx(22 * one)


@pytest.mark.parametrize("measure", [area, peak])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"technology": Technology(node_nm=65.0)}, "cover 5 to 45 nm, but got 65; choose a node inside"),
        ({"technology": Technology(node_nm=3.0)}, "cover 5 to 45 nm, but got 3"),
        ({"technology": Technology(node_nm=45.0, volts=1.3)}, "but got 1.3 V; choose 0.54 to 1.26 V"),
        ({"activation_sram_bytes": 4 * 1024 * 1024}, "ends at 2,048 KB a macro, but got 4,096"),
    ],
)
def test_outside_the_tables_is_an_error(measure, changes, message):
    with pytest.raises(ChipError, match=message):
        measure(SMALL.replace(**changes))


def test_logic_alone_knows_its_range_too():
    with pytest.raises(ChipError, match="cover 5 to 45 nm, but got 65"):
        logic_area("controller", Technology(node_nm=65.0))


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5, float("nan")])
def test_a_density_is_a_share(density):
    with pytest.raises(AzsimError, match="0 < weight_density <= 1"):
        peak(SMALL, weight_density=density)
    with pytest.raises(AzsimError, match="0 < activation_density <= 1"):
        peak(SMALL, activation_density=density)
