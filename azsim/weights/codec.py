"""What every weight codec is: a real bit stream, lossless, that a timed decoder takes apart.

A codec turns the weights of one tile, as a flat int8 array in stream order, into bytes and back.
Each tile is encoded by itself: the stream starts with the CRC-32 of what follows (4 bytes,
counted like all others), so that a corrupt or truncated tile is refused and never becomes
wrong weights; structural rules are checked as well, and say at which bit they break.
A tile without any non-zero weight is stored as no bytes at all; the directory knows its size.
"""

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from azsim.errors import CodecError

CRC_BYTES = 4


@dataclass(frozen=True)
class PackedTensor:
    """The stream of one tile.

    Attributes
    ----------
    data : uint8[n]
        CRC included; empty if every weight is zero.
    count : int
        Weights, zeros included.
    bits : int
        Width of a non-zero code.
    symbols : int
        What the decoder takes apart; each codec says what one is.
    weight_bits, metadata_bits : int
        Share of the stream that is non-zero codes, and all the rest (masks, runs, tables, CRC, padding).
    burst_symbols : int32[bursts]
        Symbols whose last bit lies in each DRAM burst of the stream.
    segments : tuple of int
        Lengths of the pieces that were encoded one by one; a single piece for most codecs.
    """

    data: np.ndarray
    count: int
    bits: int
    symbols: int
    weight_bits: int
    metadata_bits: int
    burst_symbols: np.ndarray = field(repr=False)
    segments: tuple[int, ...] = ()


class Codec(ABC):
    """Base of the codec families.

    Parameters
    ----------
    burst_bytes : int
        Granularity of ``burst_symbols``.
    """

    name: str
    symbol: str  # what one decoder symbol is

    def __init__(self, burst_bytes: int = 64) -> None:
        self.burst_bytes = burst_bytes

    def encode(self, values: np.ndarray, bits: int, segments: tuple[int, ...] = ()) -> PackedTensor:
        """Pack int8[n] weights within +-(2**(bits-1) - 1).

        Parameters
        ----------
        values : int8[n]
        bits : int
            2 to 8.
        segments : tuple of int, optional
            Lengths of pieces that restart the codec (a PE's rows of a column); sums to n.
        """
        values = np.ascontiguousarray(values, dtype=np.int8).reshape(-1)
        limit = 2 ** (bits - 1) - 1
        largest = int(np.abs(values.astype(np.int16)).max(initial=0))
        if not 2 <= bits <= 8 or largest > limit:
            raise CodecError(f"{self.name}: `|weight| <= 2**(bits-1) - 1` must hold, got {largest} with {bits} bits")
        nnz = int(np.count_nonzero(values))
        if nnz == 0:
            return PackedTensor(np.zeros(0, np.uint8), len(values), bits, 0, 0, 0, np.zeros(0, np.int32), segments)
        room = np.zeros(self._worst_bytes(len(values), bits, segments) + 16, np.uint8)
        bucket = np.zeros(len(room) // self.burst_bytes + 2, np.int32)
        n_bits = self._write(values, bits, segments, room, bucket)
        data = room[: CRC_BYTES + (n_bits + 7) // 8].copy()
        data[:CRC_BYTES] = np.frombuffer(zlib.crc32(data[CRC_BYTES:].tobytes()).to_bytes(4, "little"), np.uint8)
        bursts = bucket[: -(-len(data) // self.burst_bytes)].copy()
        code_bits = self._code_bits(values, bits)
        return PackedTensor(
            data, len(values), bits, int(bursts.sum()), code_bits, 8 * len(data) - code_bits, bursts, segments
        )

    def decode(
        self, data: np.ndarray, count: int, bits: int, segments: tuple[int, ...] = (), where: str = "stream"
    ) -> tuple[np.ndarray, int]:
        """Unpack a stream.

        Returns
        -------
        int8[count], and the bits consumed (CRC included, the padding of the last byte not).

        Raises
        ------
        CodecError
            Names ``where`` (tensor and tile) and the place in the stream.
        """
        out = np.zeros(count, np.int8)
        if len(data) == 0:
            return out, 0
        data = np.ascontiguousarray(data, np.uint8)
        if len(data) <= CRC_BYTES:
            raise CodecError(
                f"{where}: truncated {self.name} stream, {len(data)} B where a CRC of {CRC_BYTES} B must fit"
            )
        stored = int.from_bytes(data[:CRC_BYTES].tobytes(), "little")
        found = zlib.crc32(data[CRC_BYTES:].tobytes())
        if stored != found:
            raise CodecError(
                f"{where}: corrupt or truncated {self.name} stream: CRC-32 of bytes {CRC_BYTES} to {len(data):,} is "
                f"{found:#010x}, but {stored:#010x} is stored; write the image again"
            )
        consumed = self._read(data, bits, segments, out, where)
        if consumed < 0:
            at = -1 - consumed
            raise CodecError(f"{where}: {self.name} stream breaks its rules at bit {at:,} (byte {at // 8:,})")
        if (consumed + 7) // 8 != len(data):
            raise CodecError(
                f"{where}: {self.name} stream of {len(data):,} B ends after {(consumed + 7) // 8:,} B; "
                f"the directory and the stream disagree"
            )
        return out, consumed

    @abstractmethod
    def _worst_bytes(self, n: int, bits: int, segments: tuple[int, ...]) -> int:
        """An upper bound of the stream's bytes."""

    @abstractmethod
    def _write(
        self, values: np.ndarray, bits: int, segments: tuple[int, ...], data: np.ndarray, bucket: np.ndarray
    ) -> int:
        """Write behind the CRC; return the bits after the CRC."""

    @abstractmethod
    def _read(self, data: np.ndarray, bits: int, segments: tuple[int, ...], out: np.ndarray, where: str) -> int:
        """Read the whole stream (bit 32 is the first after the CRC); return bits consumed or -1 - position."""

    def _code_bits(self, values: np.ndarray, bits: int) -> int:
        return int(np.count_nonzero(values)) * bits


def entropy_bits_per_weight(values: np.ndarray) -> float:
    """Zero-order entropy of the weights' distribution: no code of single weights goes below it."""
    counts = np.bincount(np.asarray(values, np.int16).reshape(-1) + 128)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum()) if values.size else 0.0
