"""Run length: each stored weight says how many zeros stand before it.

An entry is a relative index of ``index_bits`` bits and a code. A gap longer than the index can
say, ``2**index_bits`` zeros or more, inserts a *padding entry*: the longest run and the code 0,
which stands for that many zeros and one more. Zeros after the last non-zero weight are not stored.
A *symbol* is one entry, padding included: padding costs bits and decoder cycles and, where the
array reads entries directly, a MAC cycle.

The weights may come in segments that restart the run (EIE: the rows that one PE owns in one
column). Each segment's number of entries is stored as a 16-bit pointer difference ahead of the entries;
without segments there is one 32-bit number.

Source
------
Borrowed   4-bit relative index, padding entries, per-PE column pointers, no trailing zeros:
           Han et al., "EIE", ISCA 2016.
Assumed    pointers stored as 16-bit counts rather than absolute 16-bit addresses: same size.
"""

import numpy as np

from azsim.errors import CodecError
from azsim.weights import codec_kernels as kernels
from azsim.weights.codec import CRC_BYTES, Codec

POINTER_BITS = 16


class RunLengthCodec(Codec):
    """(zeros before, code) entries."""

    name = "run_length"
    symbol = "one entry, padding included"

    def __init__(self, burst_bytes: int = 64, index_bits: int = 4) -> None:
        super().__init__(burst_bytes)
        self.index_bits = index_bits

    def _worst_bytes(self, n: int, bits: int, segments: tuple[int, ...]) -> int:
        pointers = 4 + 2 * len(segments)
        return CRC_BYTES + pointers + (n * (bits + self.index_bits) + 7) // 8

    def _pieces(self, n: int, segments: tuple[int, ...]) -> tuple[np.ndarray, int]:
        """Ends of the segments, and the width of each one's entry count."""
        lengths = np.asarray(segments or (n,), np.int64)
        if lengths.sum() != n:
            raise CodecError(f"run_length: segments of {lengths.sum():,} weights in all for a tile of {n:,}")
        return np.concatenate([[0], np.cumsum(lengths)]), POINTER_BITS if segments else 32

    def _write(
        self, values: np.ndarray, bits: int, segments: tuple[int, ...], data: np.ndarray, bucket: np.ndarray
    ) -> int:
        starts, width = self._pieces(len(values), segments)
        written = kernels.encode_run_segments(
            values, starts, width, bits, self.index_bits, data, 8 * CRC_BYTES, bucket, 8 * self.burst_bytes
        )
        if written < 0:
            raise CodecError(f"run_length: a segment has more than {2**POINTER_BITS - 1:,} entries; use smaller tiles")
        return written - 8 * CRC_BYTES

    def _read(self, data: np.ndarray, bits: int, segments: tuple[int, ...], out: np.ndarray, where: str) -> int:
        starts, width = self._pieces(len(out), segments)
        return kernels.decode_run_segments(
            data, 8 * CRC_BYTES, 8 * len(data), starts, width, bits, self.index_bits, out
        )
