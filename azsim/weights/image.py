"""The DRAM image: every weight of a network as bytes, tile by tile, ready to be streamed.

Each tile is encoded by itself and padded to a DRAM burst. Biases and requantization factors
follow as dense tables. Execution decodes its weights from these bytes, so a wrong codec would change the
transcript; timing takes burst counts from them, so sizes are lengths, never estimates.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from azsim.chip.config import Chip
from azsim.errors import CodecError
from azsim.weights.codec import Codec, PackedTensor, entropy_bits_per_weight
from azsim.weights.dense import DenseCodec
from azsim.weights.huffman import HuffmanCodec
from azsim.weights.layout import Tile, cut, entries_per_pe, nnz_per_pe, pe_order, row_masks, row_parts, sram_bytes
from azsim.weights.run_length import RunLengthCodec
from azsim.weights.tensor import QuantizedTensor
from azsim.weights.zero_mask import ZeroMaskCodec


def codec_for(chip: Chip) -> Codec:
    """The codec that the chip's decoder speaks."""
    burst = chip.dram.burst_bytes
    match chip.codec.name:
        case "dense":
            return DenseCodec(burst)
        case "zero_mask":
            return ZeroMaskCodec(burst)
        case "run_length":
            return RunLengthCodec(burst, chip.codec.index_bits)
        case "huffman":
            return HuffmanCodec(burst)


@dataclass(frozen=True)
class TensorTiles:
    """One tensor in the image. All arrays have one entry per tile, in the order of computation.

    Attributes
    ----------
    sram_bytes : int
        Weight SRAM that the tensor takes where it is pinned.
    row_part : int64[n]
        Which row part a tile belongs to; ``part_rows`` has their ranges.
    offset_bytes, packed_bytes, stored_bytes : int64[n]
        Place in the image, length of the stream, length padded to bursts. 0 bytes: all zeros.
    weight_bits, metadata_bits, symbols, tile_nnz : int64[n]
    burst_start : int64[n + 1], burst_symbols : int64[...]
        Symbols that complete in burst j of tile i: ``burst_symbols[burst_start[i] + j]``.
    entries_per_pe, nnz_per_pe : list of uint16[cols, pes]
        Per row part. Entries are what the array must work through when it reads packed form.
    row_masks : uint64[ceil(cols / 64), rows]
        For ``row_dot``: one bit per weight, 1 where it is not zero; empty otherwise.
    tile_column_nnz : uint16[n, cols]
        For ``row_dot``: non-zero weights of each column of a tile; empty otherwise.
    columns : list of ColumnStreams
        Per row part, where each column has a stream of its own; empty otherwise.
    """

    name: str
    kind: str
    rows: int
    cols: int
    bits: int
    nnz: int
    sram_bytes: int
    entropy_bits_per_weight: float
    tiles: tuple[Tile, ...]
    part_rows: tuple[tuple[int, int], ...]
    row_part: np.ndarray
    offset_bytes: np.ndarray
    packed_bytes: np.ndarray
    stored_bytes: np.ndarray
    weight_bits: np.ndarray
    metadata_bits: np.ndarray
    symbols: np.ndarray
    tile_nnz: np.ndarray
    burst_start: np.ndarray
    burst_symbols: np.ndarray
    nnz_per_pe: list[np.ndarray] = field(repr=False)
    entries_per_pe: list[np.ndarray] = field(repr=False)
    row_masks: np.ndarray = field(repr=False)
    tile_column_nnz: np.ndarray = field(repr=False)
    columns: "list[ColumnStreams]" = field(repr=False)

    @property
    def size(self) -> int:
        """Weights, zeros included."""
        return self.rows * self.cols

    @property
    def bits_per_weight(self) -> float:
        """8 x bytes of the tensor's tiles in the image, burst padding included, over its weights."""
        return 8 * int(self.stored_bytes.sum()) / self.size if self.size else 0.0


@dataclass(frozen=True)
class ColumnStreams:
    """The columns of one row part as streams of their own, each on a burst border.

    Attributes
    ----------
    burst_start : int64[cols + 1]
        Bursts of column c in the tensor's ``burst_symbols``.
    packed_bytes, metadata_bits : int64[cols]
    """

    burst_start: np.ndarray
    packed_bytes: np.ndarray
    metadata_bits: np.ndarray


@dataclass(frozen=True)
class DramImage:
    """What lies in external memory, and the directory that finds it again."""

    data: np.ndarray
    tensors: dict[str, TensorTiles]
    tables: dict[str, tuple[int, int, tuple[int, ...], int]]  # name: offset, bytes, shape, crc
    codec: Codec
    form: str
    dataflow: str
    pes: int

    @property
    def table_bytes(self) -> int:
        """Biases, multipliers and shifts: fetched once with the pins."""
        return sum(n_bytes for _, n_bytes, _, _ in self.tables.values())

    @property
    def stored_weight_bytes(self) -> int:
        """Tiles of all tensors, padded to bursts."""
        return sum(int(t.stored_bytes.sum()) for t in self.tensors.values())

    @property
    def dense_weight_bytes(self) -> int:
        """All weights as 8-bit values."""
        return sum(t.size for t in self.tensors.values())

    def decode(self, name: str) -> np.ndarray:
        """Weights of a tensor as the decoder gives them back, int8[rows, cols]; raises CodecError."""
        tensor = self.tensors[name]
        out = np.zeros((tensor.rows, tensor.cols), np.int8)
        for i in range(len(tensor.tiles)):
            start = int(tensor.offset_bytes[i])
            for piece, offset, n_bytes in self._streams(tensor, i):
                stream = self.data[start + offset : start + offset + n_bytes]
                area = f"rows {piece.row_start} to {piece.row_stop}, cols {piece.col_start} to {piece.col_stop}"
                where = f"tensor {name!r}, tile {i} ({area})"
                order, segments = _order(piece, self)
                flat, _ = self.codec.decode(stream, piece.size, tensor.bits, segments, where)
                _put(out, piece, flat, order, _is_by_rows(tensor.kind, self.dataflow))
        return out

    def _streams(self, tensor: TensorTiles, index: int) -> Iterator[tuple[Tile, int, int]]:
        """(rectangle, offset from the tile's first byte, bytes) of every stream of a tile."""
        tile = tensor.tiles[index]
        if not tensor.columns:
            yield tile, 0, int(tensor.packed_bytes[index])
            return
        part = int(tensor.row_part[index])
        pointers = self.table(_pointer_table(tensor.name, part))
        for piece in _pieces(tile, by_columns=True):
            c = piece.col_start
            offset = int(pointers[c] - pointers[tile.col_start]) * self.codec.burst_bytes
            yield piece, offset, int(tensor.columns[part].packed_bytes[c])

    def decode_all(self) -> dict[str, np.ndarray]:
        """Every tensor."""
        return {name: self.decode(name) for name in self.tensors}

    def table(self, name: str) -> np.ndarray:
        """A table as int32, checked against its CRC."""
        offset, n_bytes, shape, crc = self.tables[name]
        raw = self.data[offset : offset + n_bytes].tobytes()
        if len(raw) != n_bytes or zlib.crc32(raw) != crc:
            raise CodecError(f"table {name!r}: bytes {offset:,} to {offset + n_bytes:,} of the image are corrupt")
        return np.frombuffer(raw, np.int32).reshape(shape)


def _is_by_rows(kind: str, dataflow: str) -> bool:
    """Whether weights stand row by row in a tile's stream."""
    return kind == "matrix" and dataflow == "row_dot"


def _order(tile: Tile, image: DramImage) -> tuple[np.ndarray, tuple[int, ...]]:
    """Order of a column's rows in the stream, and the segments that restart the codec."""
    rows = tile.row_stop - tile.row_start
    if image.form == "refilled" or rows == 1:
        return np.arange(rows), ()
    order, lengths = pe_order(rows, image.pes)
    return order, tuple(np.tile(lengths, tile.col_stop - tile.col_start).tolist())


def _take(values: np.ndarray, piece: Tile, order: np.ndarray, by_rows: bool) -> np.ndarray:
    """Weights of a rectangle in the order of their stream."""
    block = values[piece.row_start : piece.row_stop, piece.col_start : piece.col_stop][order]
    return block if by_rows else block.T


def _put(out: np.ndarray, piece: Tile, flat: np.ndarray, order: np.ndarray, by_rows: bool) -> None:
    """The inverse of ``_take``."""
    rows, cols = piece.row_stop - piece.row_start, piece.col_stop - piece.col_start
    block = np.empty((rows, cols), np.int8)
    block[order] = flat.reshape(rows, cols) if by_rows else flat.reshape(cols, rows).T
    out[piece.row_start : piece.row_stop, piece.col_start : piece.col_stop] = block


def _pieces(tile: Tile, by_columns: bool) -> list[Tile]:
    """What is encoded by itself: the tile, or each of its columns."""
    if not by_columns:
        return [tile]
    return [Tile(tile.row_start, tile.row_stop, c, c + 1) for c in range(tile.col_start, tile.col_stop)]


def _pointer_table(name: str, part: int) -> str:
    return f"{name}/column_pointers/{part}"


def layout_key(chip: Chip) -> tuple[Any, ...]:
    """Everything of a chip that ``encode`` depends on: chips with equal keys have equal images."""
    array, sram = chip.mac_array, chip.weight_sram
    return (
        chip.codec.name, chip.codec.index_bits, sram.form, sram.tile_bytes, array.dataflow, array.pes,
        array.accumulator_rows, chip.dram.burst_bytes, chip.is_cut_by_columns,
    )  # fmt: skip


def encode(tensors: Iterable[QuantizedTensor], tables: Mapping[str, np.ndarray], chip: Chip) -> DramImage:
    """Lay a network out in DRAM for a chip.

    Parameters
    ----------
    tensors : iterable of QuantizedTensor
    tables : mapping of str to int32 array
        Biases and requantization factors.
    chip : Chip
        Its codec, slots, dataflow and bursts decide the layout.
    """
    array = chip.mac_array
    directory: dict[str, TensorTiles] = {}
    image = DramImage(
        np.zeros(0, np.uint8), directory, {}, codec_for(chip), chip.weight_sram.form, array.dataflow, array.pes
    )
    pieces: list[np.ndarray] = []
    all_tables, end = dict(tables), 0
    for tensor in tensors:
        tiles = directory[tensor.name] = _encode_tensor(tensor, image, chip, pieces, end)
        end += int(tiles.stored_bytes.sum())
        for part, columns in enumerate(tiles.columns):
            first = columns.burst_start[0]
            all_tables[_pointer_table(tensor.name, part)] = (columns.burst_start - first).astype(np.int32)
    stored = {}
    for name, table in all_tables.items():
        raw = np.ascontiguousarray(table, np.int32)
        stored[name] = (end, raw.nbytes, raw.shape, zlib.crc32(raw.tobytes()))
        pieces.append(np.frombuffer(raw.tobytes(), np.uint8))
        end += raw.nbytes
    pieces.append(np.zeros(-end % chip.dram.burst_bytes, np.uint8))
    return replace(image, data=np.concatenate(pieces), tables=stored)


def _encode_tensor(
    tensor: QuantizedTensor, image: DramImage, chip: Chip, pieces: list[np.ndarray], end: int
) -> TensorTiles:
    tiles, parts = cut(tensor, chip), row_parts(tensor, chip)
    is_matrix, by_rows = tensor.kind == "matrix", _is_by_rows(tensor.kind, image.dataflow)
    by_columns = is_matrix and chip.is_cut_by_columns
    streams: list[list[PackedTensor]] = []
    for tile in tiles:
        streams.append([])
        for piece in _pieces(tile, by_columns):
            order, segments = _order(piece, image)
            stream = image.codec.encode(_take(tensor.values, piece, order, by_rows), tensor.bits, segments)
            streams[-1].append(stream)
            pieces += [stream.data, np.zeros(-len(stream.data) % chip.dram.burst_bytes, np.uint8)]
    per_tile = lambda value: np.array([sum(value(p) for p in own) for own in streams], np.int64)  # noqa: E731
    stored = per_tile(lambda p: -(-len(p.data) // chip.dram.burst_bytes) * chip.dram.burst_bytes)
    bursts = [np.concatenate([p.burst_symbols for p in own]) for own in streams]
    blocks = [tensor.values[a:b] for a, b in parts] if is_matrix else []
    counts = [nnz_per_pe(block, chip) for block in blocks]
    starts = [start for start, _ in parts]
    row_part = np.array([starts.index(t.row_start) if is_matrix and not by_rows else 0 for t in tiles], np.int64)
    if by_rows:
        row_part = np.searchsorted(np.array(starts), [t.row_start for t in tiles], side="right") - 1
    burst_start = np.concatenate([[0], np.cumsum([len(b) for b in bursts])]).astype(np.int64)
    return TensorTiles(
        name=tensor.name,
        kind=tensor.kind,
        rows=tensor.values.shape[0],
        cols=tensor.values.shape[1],
        bits=tensor.bits,
        nnz=tensor.nnz,
        sram_bytes=sram_bytes(tensor, chip),
        entropy_bits_per_weight=entropy_bits_per_weight(tensor.values),
        tiles=tuple(tiles),
        part_rows=tuple(parts),
        row_part=row_part,
        offset_bytes=end + np.concatenate([[0], np.cumsum(stored)[:-1]]).astype(np.int64),
        packed_bytes=per_tile(lambda p: len(p.data)),
        stored_bytes=stored,
        weight_bits=per_tile(lambda p: p.weight_bits),
        metadata_bits=per_tile(lambda p: p.metadata_bits),
        symbols=per_tile(lambda p: p.symbols),
        tile_nnz=np.array(
            [np.count_nonzero(tensor.values[t.row_start : t.row_stop, t.col_start : t.col_stop]) for t in tiles],
            np.int64,
        ),
        burst_start=burst_start,
        burst_symbols=np.concatenate([*bursts, np.zeros(0, np.int32)]).astype(np.int64),
        nnz_per_pe=counts,
        entries_per_pe=[entries_per_pe(b, chip) for b in blocks] if chip.weight_sram.form == "packed" else counts,
        row_masks=row_masks(tensor.values) if by_rows else np.zeros((0, 0), np.uint64),
        tile_column_nnz=(
            np.add.reduceat(tensor.values != 0, [t.row_start for t in tiles], axis=0, dtype=np.uint16)
            if by_rows
            else np.zeros((0, 0), np.uint16)
        ),
        columns=_column_streams(streams, row_part, burst_start, len(parts)) if by_columns else [],
    )


def _column_streams(
    streams: list[list[PackedTensor]], row_part: np.ndarray, burst_start: np.ndarray, n_parts: int
) -> list[ColumnStreams]:
    out = []
    for part in range(n_parts):
        own = np.flatnonzero(row_part == part)
        packed = [p for i in own for p in streams[i]]
        lengths = np.array([len(p.burst_symbols) for p in packed], np.int64)
        start = burst_start[own[0]] + np.concatenate([[0], np.cumsum(lengths)])
        n_bytes = np.array([len(p.data) for p in packed], np.int64)
        out.append(ColumnStreams(start, n_bytes, np.array([p.metadata_bits for p in packed], np.int64)))
    return out
