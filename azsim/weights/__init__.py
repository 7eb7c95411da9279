"""Stage 2, what weights become: integers, then codec streams cut into tiles, then a DRAM image."""

from azsim.weights.calibrate import calibrate
from azsim.weights.image import DramImage, codec_for, encode, layout_key
from azsim.weights.quantize import QuantizedNetwork, quantize
from azsim.weights.tensor import QuantizedTensor

__all__ = [
    "DramImage", "QuantizedNetwork", "QuantizedTensor", "calibrate", "codec_for", "encode", "layout_key",
    "quantize",
]  # fmt: skip
