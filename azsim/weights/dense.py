"""Dense n-bit codes: the codec that compresses nothing but the width.

Every weight, zero or not, is a two's complement code of ``bits`` bits, one after the other. The
decoder is a shifter; a *symbol* is one code. The size is known without looking at the weights,
``ceil(n * bits / 8)`` bytes behind the CRC, which makes this the baseline of all others.
"""

import numpy as np

from azsim.weights import codec_kernels as kernels
from azsim.weights.codec import CRC_BYTES, Codec


class DenseCodec(Codec):
    """All weights at full width."""

    name = "dense"
    symbol = "one weight"

    def _worst_bytes(self, n: int, bits: int, segments: tuple[int, ...]) -> int:
        return CRC_BYTES + (n * bits + 7) // 8

    def _write(
        self, values: np.ndarray, bits: int, segments: tuple[int, ...], data: np.ndarray, bucket: np.ndarray
    ) -> int:
        return kernels.encode_dense(values, bits, data, 8 * CRC_BYTES, bucket, 8 * self.burst_bytes) - 8 * CRC_BYTES

    def _read(self, data: np.ndarray, bits: int, segments: tuple[int, ...], out: np.ndarray, where: str) -> int:
        return kernels.decode_dense(data, 8 * CRC_BYTES, 8 * len(data), bits, out)

    def _code_bits(self, values: np.ndarray, bits: int) -> int:
        return values.size * bits
