"""The processor: frozen config models, presets with provenance, overrides by path."""

from azsim.chip.config import (
    Chip,
    CodecConfig,
    Config,
    Controller,
    Dram,
    Host,
    MacArray,
    Stream,
    Technology,
    VectorUnit,
    WeightSram,
)
from azsim.chip.presets import Described, Source, describe_chip, load_chip, presets

__all__ = [
    "Chip", "CodecConfig", "Config", "Controller", "Described", "Dram", "Host", "MacArray", "Source", "Stream",
    "Technology", "VectorUnit", "WeightSram", "describe_chip", "load_chip", "presets",
]  # fmt: skip
