"""Zero mask: one bit says whether a weight is zero, and only the others are stored.

The stream is cut into blocks of 64 weights: 64 mask bits (as many as there are weights in the last
block), then the codes of the block's non-zero weights, in order. The decoder looks at a few mask
bits per cycle, counts the ones, takes that many codes and puts zeros between them, so a
*symbol* is one weight, zero or not. Cost: 1 + density x bits per weight; it beats dense codes as
soon as the density is below (bits - 1) / bits.

Source
------
Published  "a decoder fills the zeros back in": amazon.science, "On-device speech processing makes
           Alexa faster, lower-bandwidth" (2022). A mask is one such form.
Assumed    the block of 64, which bounds how far the decoder must look ahead.
"""

import numpy as np

from azsim.weights import codec_kernels as kernels
from azsim.weights.codec import CRC_BYTES, Codec


class ZeroMaskCodec(Codec):
    """A bit per weight and the non-zero codes."""

    name = "zero_mask"
    symbol = "one weight, zero or not"

    def _worst_bytes(self, n: int, bits: int, segments: tuple[int, ...]) -> int:
        return CRC_BYTES + (n * (bits + 1) + 7) // 8

    def _write(
        self, values: np.ndarray, bits: int, segments: tuple[int, ...], data: np.ndarray, bucket: np.ndarray
    ) -> int:
        return kernels.encode_zero_mask(values, bits, data, 8 * CRC_BYTES, bucket, 8 * self.burst_bytes) - 8 * CRC_BYTES

    def _read(self, data: np.ndarray, bits: int, segments: tuple[int, ...], out: np.ndarray, where: str) -> int:
        return kernels.decode_zero_mask(data, 8 * CRC_BYTES, 8 * len(data), bits, out)
