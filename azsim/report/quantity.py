"""Columns of a sweep in plain words: a label, a unit that reads well, and numbers for people."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from azsim.sweep.figures import RESULTS, STATIC, TEXTS

FEW_VALUES = 12
LOG_SPAN = 20.0
WORDS = {"pes": "PEs", "sram": "SRAM", "dram": "DRAM", "mac": "MAC", "fifo": "FIFO", "dma": "DMA", "wer": "WER"}
WORDS |= {"p50": "median", "clock": "clock", "tops": "TOPS"}
SUFFIXES = {
    "bytes_per_s": "B/s", "bytes": "B", "hz": "Hz", "ms": "ms", "us": "µs", "ns": "ns", "uj": "µJ", "mm2": "mm²",
    "nm": "nm", "k": "K", "s": "s", "tops": "TOPS", "volts": "V", "cycles": "cycles",
}  # fmt: skip
PREFIXES = {
    "B/s": (("B/s", 1.0), ("kB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9)),
    "B": (("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)),
    "Hz": (("Hz", 1.0), ("kHz", 1e3), ("MHz", 1e6), ("GHz", 1e9)),
    "ms": (("µs", 1e-3), ("ms", 1.0), ("s", 1e3)),
    "µJ": (("nJ", 1e-3), ("µJ", 1.0), ("mJ", 1e3), ("J", 1e6)),
}
BINARY = (("B", 1.0), ("KiB", 1024.0), ("MiB", 1024.0**2))
INACTIVE = "–"


@dataclass(frozen=True)
class Quantity:
    """One column: how it is called, and how its values are shown.

    Attributes
    ----------
    name : str
        The column, as in the store.
    label, unit : str
        Plain words, and the unit after scaling ("" for counts, shares and texts).
    factor : float
        Shown value = stored value / factor.
    meaning : str
    is_number : bool
        Whether every value is a number; texts, switches and paths are categories.
    """

    name: str
    label: str
    unit: str
    factor: float
    meaning: str
    is_number: bool

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def shown(self, values: pd.Series) -> pd.Series:
        """Values in the unit of the label, missing ones as nan; categories as text."""
        if self.is_number:
            return pd.to_numeric(values, errors="coerce").astype(float) / self.factor
        return values.map(category)

    def text(self, value: Any) -> str:
        """One stored value, without its unit."""
        if not self.is_number or _is_missing(value):
            return category(value)
        return figure(float(value) / self.factor)

    def text_with_unit(self, value: Any) -> str:
        """One stored value with its unit."""
        return f"{self.text(value)} {self.unit}".strip()


def describe(name: str, values: pd.Series, meaning: str = "") -> Quantity:
    """A column in plain words; the unit's prefix follows from the values."""
    present = [v for v in values if not _is_missing(v)]
    is_number = bool(present) and all(isinstance(v, int | float | np.number) and not isinstance(v, bool | np.bool_)
                                      for v in present)  # fmt: skip
    words, unit = _split(name)
    factor = 1.0
    if is_number and unit in PREFIXES:
        unit, factor = _prefix(unit, np.abs(np.array(present, float)))
    elif not is_number:
        unit = ""
    known = {**STATIC, **RESULTS, **TEXTS}.get(name, "")
    return Quantity(name, words, unit, factor, known or meaning, is_number)


def _split(name: str) -> tuple[str, str]:
    """Words and base unit of a column; its last word is its unit."""
    group, _, leaf = name.rpartition(".")
    unit = ""
    for suffix, short in SUFFIXES.items():
        if leaf == suffix or leaf.endswith("_" + suffix):
            unit, leaf = short, leaf.removesuffix(suffix).rstrip("_")
            break
    if leaf == "name":
        leaf = ""
    words = f"{group} {leaf}".replace(".", " ").replace("_", " ").split()
    return " ".join(WORDS.get(word, word) for word in words) or name, unit


def _prefix(unit: str, values: np.ndarray) -> tuple[str, float]:
    typical = float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else 0.0
    steps = PREFIXES[unit]
    if unit == "B" and (values % 1024 == 0).all():
        steps = BINARY
    if dict(steps).get(unit) == 1.0 and 0.05 <= typical < 1000:
        return unit, 1.0
    return next((step for step in reversed(steps) if typical >= step[1]), steps[0])


def category(value: Any) -> str:
    """A text, switch or missing value; a path is known by its last part."""
    if _is_missing(value):
        return INACTIVE
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return figure(float(value))
    return str(value).rsplit("/", 1)[-1]


def figure(value: float) -> str:
    """Four significant digits, thousands separated."""
    if not math.isfinite(value):
        return INACTIVE
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA


def wants_log(values: pd.Series) -> bool:
    """Whether positive numbers span more than ``LOG_SPAN``, or are listed by a constant ratio."""
    low, high = values.min(), values.max()
    if not low > 0:
        return False
    listed = np.unique(values.dropna())
    if 3 <= len(listed) <= FEW_VALUES:
        ratios = listed[1:] / listed[:-1]
        if ratios.min() >= 1.5 and ratios.max() < 1.02 * ratios.min():
            return True
    return bool(high / low > LOG_SPAN)


def ticks(low: float, high: float, is_log: bool) -> list[float]:
    """Round numbers between two bounds, some four to eight of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        return [low]
    if is_log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
            found = [float(f"{step}e{d}") for d in decades for step in steps if low <= float(f"{step}e{d}") <= high]
            if len(found) <= 7:
                return found if len(found) >= 2 else ticks(low, high, False)
        return found[:: math.ceil(len(found) / 7)]
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(k * power for k in (1, 2, 2.5, 5, 10) if k * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{n * step:.10g}") for n in range(first, math.floor(high / step + 1e-9) + 1)]
