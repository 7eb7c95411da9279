"""``layout_key`` names all that an image depends on: sweeps give chips with equal keys one image."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from azsim.chip import load_chip
from azsim.chip.presets import flatten, valid_paths
from azsim.errors import AzsimError, ChipError
from azsim.weights import QuantizedTensor, encode, layout_key

LISTED = {
    "codec.name", "codec.index_bits", "weight_sram.form", "weight_sram.tile_bytes", "mac_array.dataflow",
    "mac_array.pes", "mac_array.accumulator_bytes", "mac_array.accumulator_sets", "dram.burst_bytes", "stream.fetch",
    "stream.bypass_sram",
}  # fmt: skip
SMALL = {
    "mac_array.pes": 4, "mac_array.accumulator_bytes": 256, "mac_array.accumulator_sets": 2,
    "weight_sram.tile_bytes": 256, "weight_sram.tile_slots": 4, "weight_sram.bytes": 4096, "dram.burst_bytes": 32,
}  # fmt: skip
BASES = [
    {},
    {"codec.name": "dense"},
    {"codec.name": "huffman", "mac_array.accumulator_bytes": 1024},
    {"codec.name": "run_length"},
    {"codec.name": "run_length", "weight_sram.form": "packed"},
    {"mac_array.dataflow": "row_dot"},
    {"mac_array.dataflow": "row_dot", "codec.name": "run_length", "mac_array.lookahead": 2},
    {"stream.fetch": "active_columns"},
    {"stream.bypass_sram": True, "codec.name": "huffman"},
    {"controller.chunk_frames": 4},
]
CHOICES = {
    "codec.name": ["dense", "zero_mask", "run_length", "huffman"],
    "weight_sram.form": ["refilled", "packed"],
    "weight_sram.pin": ["smallest_first", "most_bytes_saved", "none", ("a", "b")],
    "mac_array.dataflow": ["column_broadcast", "row_dot"],
    "stream.fetch": ["all_columns", "active_columns"],
    "dram.standard": ["LPDDR3", "LPDDR4", "LPDDR4X"],
    "controller.branch_policy": ["wait", "likely", "both"],
    "technology.sram_flavor": ["LSTP", "LOP", "HP"],
    "name": ["x"],
    "description": ["x"],
}


def tensors():
    rng = np.random.default_rng(0)
    shapes = {"a": (40, 30, 8, "matrix"), "b": (24, 17, 4, "matrix"), "c": (7, 9, 8, "embedding")}
    for name, (rows, cols, bits, kind) in shapes.items():
        top = 2 ** (bits - 1) - 1
        values = rng.integers(-top, top + 1, (rows, cols)).astype(np.int8)
        values[rng.random(values.shape) < 0.6] = 0
        yield QuantizedTensor(name, values, np.ones(rows), bits, kind)


TENSORS = list(tensors())
TABLES = {"bias": np.arange(5, dtype=np.int32)}


def others(path, value):
    """Some other values of a field."""
    if path in CHOICES:
        return [choice for choice in CHOICES[path] if choice != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value, max(1, value // 2), 3]
    return [2 * value + 1, value / 2, value + 1]


def same(a, b):
    """Whether two images are equal, array for array."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return (type(a), vars(a)) == (type(b), vars(b)) if hasattr(a, "__dict__") else a == b


def image_of(chip):
    """None where the tensors do not fit the chip."""
    try:
        return encode(TENSORS, TABLES, chip)
    except AzsimError:
        return None


@pytest.fixture(scope="module")
def pairs():
    """(path, chip, chip with that field changed, image, image) of everything that can be built and encoded."""
    found = []
    for base in BASES:
        chip = load_chip("az1_like", {**SMALL, **base})
        image = image_of(chip)
        assert image is not None
        for path, value in flatten(chip.model_dump()).items():
            for other in others(path, value):
                try:
                    changed = load_chip(chip, {path: other})
                except ChipError:
                    continue
                again = image_of(changed)
                if again is not None and changed != chip:
                    found.append((path, chip, changed, image, again))
    return found


def test_chips_with_equal_keys_have_equal_images(pairs):
    wrong = {path for path, a, b, x, y in pairs if layout_key(a) == layout_key(b) and not same(x, y)}
    assert not wrong, f"the image depends on {wrong}, which layout_key does not name"


def test_every_field_of_the_chip_was_tried_and_only_listed_ones_change_the_key(pairs):
    assert {path for path, *_ in pairs} == valid_paths()
    assert {path for path, a, b, *_ in pairs if layout_key(a) != layout_key(b)} == LISTED


def test_every_listed_field_can_change_the_image(pairs):
    assert {path for path, _, _, x, y in pairs if not same(x, y)} == LISTED
