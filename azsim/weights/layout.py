"""Cut weight matrices into tiles along the dataflow, and count non-zero weights per PE.

``column_broadcast``: a tile is as many whole columns as a slot holds, of all rows that one
accumulator set holds. If a matrix has more rows than that it is split into *row parts*, and each
part broadcasts its activations again. ``row_dot``: as many whole rows. An embedding is cut into rows,
because a look-up fetches one. Inside a tile weights stand column by column (row by row for ``row_dot``); in
packed form, where the array itself reads the codec's entries, they stand PE by PE inside a column and each
piece can be entered by a pointer (EIE). A chip that fetches or decodes single columns has each of them on a
burst of its own.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from azsim.chip.config import Chip
from azsim.errors import CapacityError
from azsim.weights.codec_kernels import count_run_entries
from azsim.weights.tensor import QuantizedTensor

MASK_BITS = 1
GATES = 4  # rows of an LSTM come in groups of a cell's four gates


@dataclass(frozen=True)
class Tile:
    """A rectangle of a weight matrix that is in SRAM together."""

    row_start: int
    row_stop: int
    col_start: int
    col_stop: int

    @property
    def size(self) -> int:
        """Weights in the rectangle."""
        return (self.row_stop - self.row_start) * (self.col_stop - self.col_start)


@njit(cache=True, nogil=True)
def count_per_pe(values, pes, nnz):
    """Non-zero weights of each column that belong to each PE.

    Parameters
    ----------
    values : int8[rows, cols]
        One row part; its row r belongs to PE ``r % pes``.
    pes : int
    nnz : uint16[cols, pes]
        In: zeros. Out: counts.
    """
    rows, cols = values.shape
    for r in range(rows):
        p = r % pes
        for c in range(cols):
            if values[r, c] != 0:
                nnz[c, p] += 1


@njit(cache=True, nogil=True)
def count_padding_per_pe(stream, starts, index_bits, padding):
    """Padding entries of each segment of a packed stream; ``padding`` is int[segments]."""
    for s in range(starts.shape[0] - 1):
        padding[s] = count_run_entries(stream[starts[s] : starts[s + 1]], index_bits)[1]


def row_parts(tensor: QuantizedTensor, chip: Chip) -> list[tuple[int, int]]:
    """Row ranges that one accumulator set holds, whole cells at a time, multiples of the PE count where possible."""
    rows = tensor.values.shape[0]
    most = chip.mac_array.accumulator_rows
    if tensor.kind == "embedding" or rows <= most:
        return [(0, rows)]
    pes = chip.mac_array.pes
    grain = pes * GATES if most >= pes * GATES else GATES
    step = most // grain * grain
    if step == 0:
        need = GATES * 4 * chip.mac_array.accumulator_sets
        raise CapacityError(
            f"layer {tensor.name!r}: an accumulator set must hold the four gates of a cell, but holds {most} int32 "
            f"sums (accumulator_bytes={chip.mac_array.accumulator_bytes:,} over accumulator_sets="
            f"{chip.mac_array.accumulator_sets}). Give it mac_array.accumulator_bytes >= {need}."
        )
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]


def cut(tensor: QuantizedTensor, chip: Chip) -> list[Tile]:
    """Tiles of a tensor, row part by row part, in the order they are computed.

    Raises
    ------
    CapacityError
        If one column of one row part does not fit a slot.
    """
    rows, cols = tensor.values.shape
    if tensor.kind == "embedding":
        _check_fits(tensor, cols * 8, chip, "one row of the table")
        return [Tile(r, r + 1, 0, cols) for r in range(rows)]
    tiles = []
    for start, stop in row_parts(tensor, chip):
        if chip.mac_array.dataflow == "row_dot":
            row_bits = np.full(stop - start, cols * (8 + MASK_BITS), np.int64)
            _check_fits(tensor, int(row_bits.max(initial=0)), chip, f"one row of {cols:,} columns")
            ranges = _fill(row_bits, 8 * chip.weight_sram.tile_bytes)
            tiles += [Tile(start + a, start + b, 0, cols) for a, b in ranges]
            continue
        column_bits = _column_bits(tensor, start, stop, chip)
        _check_fits(tensor, int(column_bits.max(initial=0)), chip, f"one column of {stop - start:,} rows")
        tiles += [Tile(start, stop, a, b) for a, b in _fill(column_bits, 8 * chip.weight_sram.tile_bytes)]
    return tiles


def _fill(column_bits: np.ndarray, capacity_bits: int) -> list[tuple[int, int]]:
    """Greedy ranges of columns (or rows) whose bits fit the capacity."""
    ranges, start, used = [], 0, 0
    for c, bits in enumerate(column_bits):
        if used + bits > capacity_bits:
            ranges.append((start, c))
            start, used = c, 0
        used += int(bits)
    ranges.append((start, len(column_bits)))
    return ranges


def _column_bits(tensor: QuantizedTensor, start: int, stop: int, chip: Chip) -> np.ndarray:
    """SRAM bits of each column of a row part, int64[cols]."""
    rows, cols = stop - start, tensor.values.shape[1]
    if chip.weight_sram.form == "refilled":
        return np.full(cols, rows * (8 + MASK_BITS), np.int64)
    pes = chip.mac_array.pes
    entries = entries_per_pe(tensor.values[start:stop], chip).sum(axis=1, dtype=np.int64)
    pointers = 16 * min(pes, rows)
    return entries * (tensor.bits + chip.codec.index_bits) + pointers


def _check_fits(tensor: QuantizedTensor, bits: int, chip: Chip, what: str) -> None:
    need = (bits + 7) // 8
    if need > chip.weight_sram.tile_bytes:
        raise CapacityError(
            f"layer {tensor.name!r}: {what} takes {need:,} B, but a tile slot holds {chip.weight_sram.tile_bytes:,} B "
            f"(weight_sram.tile_bytes). Give it weight_sram.tile_bytes >= {need:,}, or a smaller "
            f"mac_array.accumulator_bytes so that the rows are split."
        )


def pe_order(rows: int, pes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a column PE by PE: (order int[rows], rows of each PE int[min(pes, rows)])."""
    order = np.concatenate([np.arange(p, rows, pes) for p in range(min(pes, rows))])
    lengths = np.array([len(range(p, rows, pes)) for p in range(min(pes, rows))], np.int64)
    return order, lengths


def nnz_per_pe(values: np.ndarray, chip: Chip) -> np.ndarray:
    """uint16[cols, pes]: non-zero weights of a row part that each PE owns in each column."""
    nnz = np.zeros((values.shape[1], chip.mac_array.pes), np.uint16)
    count_per_pe(np.ascontiguousarray(values), chip.mac_array.pes, nnz)
    return nnz


def entries_per_pe(values: np.ndarray, chip: Chip) -> np.ndarray:
    """uint16[cols, pes]: run-length entries, padding included, when the array reads packed form."""
    rows, cols = values.shape
    order, lengths = pe_order(rows, chip.mac_array.pes)
    stream = np.ascontiguousarray(values[order].T).reshape(-1)
    starts = np.concatenate([[0], np.cumsum(np.tile(lengths, cols))])
    padding = np.zeros(cols * len(lengths), np.int64)
    count_padding_per_pe(stream, starts, chip.codec.index_bits, padding)
    entries = nnz_per_pe(values, chip)
    entries[:, : len(lengths)] += padding.reshape(cols, len(lengths)).astype(np.uint16)
    return entries


def sram_bytes(tensor: QuantizedTensor, chip: Chip) -> int:
    """Weight SRAM that a tensor takes when it is pinned."""
    if tensor.kind == "embedding":
        return tensor.size
    bits = sum(int(_column_bits(tensor, a, b, chip).sum()) for a, b in row_parts(tensor, chip))
    return (bits + 7) // 8


@njit(cache=True, nogil=True)
def pack_rows(values, masks):
    """One bit per weight, 1 where it is not zero: bit c % 64 of word c // 64.

    Parameters
    ----------
    values : int8[rows, cols]
    masks : uint64[ceil(cols / 64), rows]
        In: zeros. Out: bits; word by word, so that a loop over the rows of a word goes through memory in order.
    """
    rows, cols = values.shape
    for r in range(rows):
        for c in range(cols):
            if values[r, c] != 0:
                masks[c >> 6, r] |= np.uint64(1) << np.uint64(c & 63)


def row_masks(values: np.ndarray) -> np.ndarray:
    """uint64[ceil(cols / 64), rows]: which weights are not zero, for a dataflow that goes along rows."""
    masks = np.zeros((-(-values.shape[1] // 64), values.shape[0]), np.uint64)
    pack_rows(np.ascontiguousarray(values), masks)
    return masks
