"""Canonical Huffman over (zero run, magnitude category), in the manner of JPEG coefficients.

A non-zero weight becomes one *symbol*: how many zeros stand before it (0 to 15) and how many bits
its magnitude has (1 to 7). The symbol gets a canonical code of at most 15 bits, followed by the
sign and by the magnitude's bits below its leading one, as they are. Two more symbols say "16
zeros" and "only zeros from here". A table over (run, value) itself would have thousands of
entries and every tile carries its own; 114 symbols need 57 bytes of code lengths, and within a
category the low bits are close to random anyway.

Layout behind the CRC: 114 code lengths of 4 bits, then the symbols. The hardware decoder resolves
``symbols_per_cycle`` symbols in a cycle by a look-up of 15 bits each.

Source
------
Borrowed   run and category symbols: ITU-T T.81 (JPEG); canonical codes: Schwartz and Kallick 1964.
Assumed    the limit of 15 bits. Code lengths past it are brought down by flattening the counts.
"""

import heapq

import numpy as np

from azsim.errors import CodecError
from azsim.weights import codec_kernels as kernels
from azsim.weights.codec import CRC_BYTES, Codec

LENGTH_BITS = 4
TABLE_BITS = LENGTH_BITS * kernels.HUFFMAN_SYMBOLS


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Huffman code lengths, at most 15; 0 for symbols that never occur.

    Counts are halved (never to 0) until the longest code fits: with 114 symbols that ends.
    """
    counts = np.asarray(counts, np.int64).copy()
    while True:
        used = np.flatnonzero(counts)
        lengths = np.zeros(len(counts), np.int64)
        if len(used) == 1:
            lengths[used] = 1
            return lengths
        heap: list[tuple[int, int, tuple[int, ...]]] = [(int(counts[s]), int(s), (int(s),)) for s in used]
        heapq.heapify(heap)
        while len(heap) > 1:
            (a, first, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
            lengths[list(left + right)] += 1
            heapq.heappush(heap, (a + b, first, left + right))
        if lengths.max() <= kernels.MAX_CODE_BITS:
            return lengths
        counts[used] = (counts[used] + 1) // 2


class CanonicalTable:
    """Codes and decoding arrays that follow from code lengths alone."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = np.asarray(lengths, np.int64)
        size = kernels.MAX_CODE_BITS + 1
        self.per_length = np.bincount(self.lengths, minlength=size).astype(np.int64)
        self.per_length[0] = 0
        self.order = np.array(sorted(np.flatnonzero(self.lengths), key=lambda s: (self.lengths[s], s)), np.int64)
        self.first_code, self.first_index = np.zeros(size, np.int64), np.zeros(size, np.int64)
        code = index = 0
        for length in range(1, size):
            code = (code + int(self.per_length[length - 1])) << 1
            self.first_code[length], self.first_index[length] = code, index
            index += int(self.per_length[length])

    @property
    def is_complete(self) -> bool:
        """True where no code is the prefix of another and none is out of range (Kraft's sum is at most 1)."""
        return sum(int(n) * 2.0**-length for length, n in enumerate(self.per_length) if length) <= 1.0

    def codes(self) -> np.ndarray:
        """Code of each symbol with its first bit lowest, as the stream wants it."""
        out = np.zeros(len(self.lengths), np.int64)
        for i, symbol in enumerate(self.order):
            length = int(self.lengths[symbol])
            code = int(self.first_code[length]) + i - int(self.first_index[length])
            out[symbol] = int(f"{code:0{length}b}"[::-1], 2)
        return out


class HuffmanCodec(Codec):
    """Entropy code of runs and magnitudes."""

    name = "huffman"
    symbol = "one non-zero weight with the zeros before it, or a mark of zeros"

    def _worst_bytes(self, n: int, bits: int, segments: tuple[int, ...]) -> int:
        return CRC_BYTES + (TABLE_BITS + (n + 1) * (kernels.MAX_CODE_BITS + bits) + 7) // 8

    def _write(
        self, values: np.ndarray, bits: int, segments: tuple[int, ...], data: np.ndarray, bucket: np.ndarray
    ) -> int:
        counts = np.zeros(kernels.HUFFMAN_SYMBOLS, np.int64)
        kernels.count_huffman_symbols(values, counts)
        table = CanonicalTable(code_lengths(counts))
        position = 8 * CRC_BYTES
        for length in table.lengths:
            position = kernels.put(data, position, int(length), LENGTH_BITS)
        end = kernels.encode_huffman(values, table.codes(), table.lengths, data, position, bucket, 8 * self.burst_bytes)
        return end - 8 * CRC_BYTES

    def _read(self, data: np.ndarray, bits: int, segments: tuple[int, ...], out: np.ndarray, where: str) -> int:
        start = 8 * CRC_BYTES
        if 8 * len(data) < start + TABLE_BITS:
            return -1 - 8 * len(data)
        lengths = [kernels.get(data, start + LENGTH_BITS * s, LENGTH_BITS) for s in range(kernels.HUFFMAN_SYMBOLS)]
        table = CanonicalTable(np.array(lengths))
        if not table.is_complete:
            raise CodecError(
                f"{where}: the huffman table in bytes {CRC_BYTES} to {(start + TABLE_BITS) // 8} is not a code"
            )
        return kernels.decode_huffman(
            data, start + TABLE_BITS, 8 * len(data), table.first_code, table.first_index, table.per_length, table.order,
            out,
        )  # fmt: skip
