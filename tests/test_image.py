"""Tiles cover every weight once, fit their slots, and come back from the image bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azsim.chip import Chip, CodecConfig, MacArray, WeightSram
from azsim.errors import CapacityError, CodecError
from azsim.weights import QuantizedTensor, encode
from azsim.weights.layout import cut, entries_per_pe, nnz_per_pe, row_parts


def matrix(rows, cols, density=0.5, seed=0, name="layer", kind="matrix"):
    rng = np.random.default_rng(seed)
    values = rng.integers(-127, 128, (rows, cols)).astype(np.int8)
    values[rng.random(values.shape) >= density] = 0
    return QuantizedTensor(name, values, np.ones(rows), 8, kind)


def small_chip(codec="zero_mask", form="refilled", accumulator_bytes=4096, pes=4, tile_bytes=512, **sram):
    return Chip(
        codec=CodecConfig(name=codec),
        weight_sram=WeightSram(bytes=8192, tile_slots=2, tile_bytes=tile_bytes, form=form, **sram),
        mac_array=MacArray(pes=pes, accumulator_bytes=accumulator_bytes, accumulator_sets=1),
    )


FORMS = [(c, "refilled") for c in ("dense", "zero_mask", "run_length", "huffman")] + [("run_length", "packed")]


@settings(max_examples=60, deadline=None, database=None)
@given(
    rows=st.integers(1, 70),
    cols=st.integers(1, 50),
    density=st.sampled_from([0, 0.1, 0.5, 1]),
    form=st.sampled_from(FORMS),
    accumulators=st.sampled_from([4096, 128]),
    seed=st.integers(0, 99),
)
def test_every_weight_is_in_one_tile_and_comes_back(rows, cols, density, form, accumulators, seed):
    tensor = matrix(rows, cols, density, seed)
    chip = small_chip(*form, accumulator_bytes=accumulators)
    covered = np.zeros((rows, cols), int)
    for tile in cut(tensor, chip):
        covered[tile.row_start : tile.row_stop, tile.col_start : tile.col_stop] += 1
        if form[1] == "refilled":
            assert tile.size * 9 <= 8 * chip.weight_sram.tile_bytes
    assert (covered == 1).all()
    image = encode([tensor], {"bias": np.arange(rows, dtype=np.int32)}, chip)
    np.testing.assert_array_equal(image.decode("layer"), tensor.values)
    np.testing.assert_array_equal(image.table("bias"), np.arange(rows))
    stored = image.tensors["layer"].stored_bytes
    assert (stored % chip.dram.burst_bytes == 0).all()
    assert image.tensors["layer"].bits_per_weight == 8 * stored.sum() / (rows * cols)
    assert len(image.data) >= stored.sum() + 4 * rows


def test_counts_per_pe_by_hand():
    chip = small_chip(pes=2)
    values = np.array([[1, 0], [0, 0], [5, 6], [0, 7], [1, 0]], np.int8)
    # PE 0 owns rows 0, 2, 4; PE 1 rows 1, 3
    np.testing.assert_array_equal(nnz_per_pe(values, chip), [[3, 0], [1, 1]])


def test_packed_form_counts_padding_entries():
    chip = small_chip("run_length", "packed", pes=1)
    values = np.zeros((40, 1), np.int8)
    values[[0, 39]] = 1  # a gap of 38 zeros is 2 padding entries of 16 positions and a run of 6
    np.testing.assert_array_equal(entries_per_pe(values, chip), [[4]])


def test_rows_that_accumulators_cannot_hold_are_split_by_whole_cells():
    chip = small_chip(accumulator_bytes=4 * 24)  # 24 sums, 4 PEs x 4 gates = 16 rows a part
    assert row_parts(matrix(40, 3), chip) == [(0, 16), (16, 32), (32, 40)]
    assert row_parts(matrix(24, 3), chip) == [(0, 24)]


def test_a_column_that_does_not_fit_says_what_would():
    with pytest.raises(CapacityError, match=r"'layer'.*one column of 500 rows takes 563 B.*tile_bytes >= 563"):
        cut(matrix(500, 3), small_chip())
    assert cut(matrix(500, 3), small_chip(tile_bytes=563))


def test_a_flipped_bit_in_the_image_names_tensor_and_tile():
    image = encode([matrix(30, 40)], {}, small_chip())
    tile = 1
    image.data[int(image.tensors["layer"].offset_bytes[tile]) + 9] ^= 4
    with pytest.raises(CodecError, match="tensor 'layer', tile 1 "):
        image.decode("layer")


def test_a_tile_of_zeros_takes_no_bytes():
    image = encode([matrix(30, 40, density=0)], {}, small_chip())
    assert image.tensors["layer"].stored_bytes.sum() == 0
    assert not image.decode("layer").any()


def test_a_table_is_checked_too():
    image = encode([matrix(3, 4)], {"bias": np.arange(9, dtype=np.int32)}, small_chip())
    image.data[image.tables["bias"][0]] ^= 1
    with pytest.raises(CodecError, match="'bias'"):
        image.table("bias")
