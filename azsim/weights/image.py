"""The DRAM image: every weight of a network as bytes, tile by tile, ready to be streamed.

Each tile is encoded by itself and padded to a DRAM burst. Biases and requantization factors
follow as dense tables. Execution decodes its weights from these bytes, so a wrong codec would change the
transcript; timing takes burst counts from them, so sizes are lengths, never estimates.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from azsim.chip.config import Chip
from azsim.errors import CodecError
from azsim.weights.codec import Codec, entropy_bits_per_weight
from azsim.weights.dense import DenseCodec
from azsim.weights.huffman import HuffmanCodec
from azsim.weights.layout import Tile, cut, entries_per_pe, nnz_per_pe, pe_order, pinned_tensors, row_parts, sram_bytes
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
    pinned : bool
        Fetched once and kept, instead of streamed at every use.
    row_part : int64[n]
        Which row part a tile belongs to; ``part_rows`` has their ranges.
    offset_bytes, packed_bytes, stored_bytes : int64[n]
        Place in the image, length of the stream, length padded to bursts. 0 bytes: all zeros.
    weight_bits, metadata_bits, symbols : int64[n]
    burst_start : int64[n + 1], burst_symbols : int64[...]
        Symbols that complete in burst j of tile i: ``burst_symbols[burst_start[i] + j]``.
    entries_per_pe, nnz_per_pe : list of uint16[cols, pes]
        Per row part. Entries are what the array must work through when it reads packed form.
    """

    name: str
    kind: str
    rows: int
    cols: int
    bits: int
    nnz: int
    pinned: bool
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
    burst_start: np.ndarray
    burst_symbols: np.ndarray
    nnz_per_pe: list[np.ndarray] = field(repr=False)
    entries_per_pe: list[np.ndarray] = field(repr=False)

    @property
    def size(self) -> int:
        """Weights, zeros included."""
        return self.rows * self.cols

    @property
    def bits_per_weight(self) -> float:
        """8 x bytes of the tensor's tiles in the image, burst padding included, over its weights."""
        return 8 * int(self.stored_bytes.sum()) / self.size if self.size else 0.0


@dataclass(frozen=True)
class DramImage:
    """What lies in external memory, and the directory that finds it again."""

    data: np.ndarray
    tensors: dict[str, TensorTiles]
    tables: dict[str, tuple[int, int, tuple[int, ...], int]]  # name: offset, bytes, shape, crc
    codec: Codec
    form: str
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
        for i, tile in enumerate(tensor.tiles):
            start = int(tensor.offset_bytes[i])
            stream = self.data[start : start + int(tensor.packed_bytes[i])]
            area = f"rows {tile.row_start} to {tile.row_stop}, cols {tile.col_start} to {tile.col_stop}"
            where = f"tensor {name!r}, tile {i} ({area})"
            order, segments = _order(tile, self.form, self.pes)
            flat, _ = self.codec.decode(stream, tile.size, tensor.bits, segments, where)
            columns = flat.reshape(tile.col_stop - tile.col_start, -1)
            block = np.empty_like(columns)
            block[:, order] = columns
            out[tile.row_start : tile.row_stop, tile.col_start : tile.col_stop] = block.T
        return out

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


def _order(tile: Tile, form: str, pes: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Order of a column's rows in the stream, and the segments that restart the codec."""
    rows = tile.row_stop - tile.row_start
    if form == "refilled" or rows == 1:
        return np.arange(rows), ()
    order, lengths = pe_order(rows, pes)
    return order, tuple(np.tile(lengths, tile.col_stop - tile.col_start).tolist())


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
    tensors = list(tensors)
    codec, pins = codec_for(chip), set(pinned_tensors(tensors, chip))
    burst = chip.dram.burst_bytes
    pieces: list[np.ndarray] = []
    directory, end = {}, 0
    for tensor in tensors:
        directory[tensor.name], end = _encode_tensor(tensor, tensor.name in pins, codec, chip, pieces, end)
    stored = {}
    for name, table in tables.items():
        raw = np.ascontiguousarray(table, np.int32)
        stored[name] = (end, raw.nbytes, raw.shape, zlib.crc32(raw.tobytes()))
        pieces.append(np.frombuffer(raw.tobytes(), np.uint8))
        end += raw.nbytes
    pieces.append(np.zeros(-end % burst, np.uint8))
    return DramImage(np.concatenate(pieces), directory, stored, codec, chip.weight_sram.form, chip.mac_array.pes)


def _encode_tensor(
    tensor: QuantizedTensor, pinned: bool, codec: Codec, chip: Chip, pieces: list[np.ndarray], end: int
) -> tuple[TensorTiles, int]:
    tiles, parts = cut(tensor, chip), row_parts(tensor, chip)
    packed, offsets = [], []
    for tile in tiles:
        order, segments = _order(tile, chip.weight_sram.form, chip.mac_array.pes)
        block = tensor.values[tile.row_start : tile.row_stop, tile.col_start : tile.col_stop]
        stream = codec.encode(block[order].T, tensor.bits, segments)
        packed.append(stream)
        offsets.append(end)
        padding = -len(stream.data) % chip.dram.burst_bytes
        pieces += [stream.data, np.zeros(padding, np.uint8)]
        end += len(stream.data) + padding
    is_matrix = tensor.kind == "matrix"
    blocks = [tensor.values[a:b] for a, b in parts] if is_matrix else []
    counts = [nnz_per_pe(block, chip) for block in blocks]
    packed_form = chip.weight_sram.form == "packed"
    entries = [entries_per_pe(block, chip) for block in blocks] if packed_form else counts
    lengths = np.array([len(p.data) for p in packed], np.int64)
    bursts = [p.burst_symbols for p in packed]
    starts = [start for start, _ in parts]
    tiles_of = TensorTiles(
        name=tensor.name,
        kind=tensor.kind,
        rows=tensor.values.shape[0],
        cols=tensor.values.shape[1],
        bits=tensor.bits,
        nnz=tensor.nnz,
        pinned=pinned,
        sram_bytes=sram_bytes(tensor, chip),
        entropy_bits_per_weight=entropy_bits_per_weight(tensor.values),
        tiles=tuple(tiles),
        part_rows=tuple(parts),
        row_part=np.array([starts.index(t.row_start) if is_matrix else 0 for t in tiles], np.int64),
        offset_bytes=np.array(offsets, np.int64),
        packed_bytes=lengths,
        stored_bytes=lengths + (-lengths % chip.dram.burst_bytes),
        weight_bits=np.array([p.weight_bits for p in packed], np.int64),
        metadata_bits=np.array([p.metadata_bits for p in packed], np.int64),
        symbols=np.array([p.symbols for p in packed], np.int64),
        burst_start=np.concatenate([[0], np.cumsum([len(b) for b in bursts])]).astype(np.int64),
        burst_symbols=np.concatenate([*bursts, np.zeros(0, np.int32)]).astype(np.int64),
        nnz_per_pe=counts,
        entries_per_pe=entries,
    )
    return tiles_of, end
