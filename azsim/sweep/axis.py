"""An axis of a space: its values, listed or a range, and numbers as people write them in YAML."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from azsim.chip.config import Config
from azsim.errors import SweepError

Scalar = str | int | float | bool | None


class Axis(Config):
    """Values of one path: listed, or a range that is cut into steps or drawn from."""

    values: tuple[Scalar, ...] | None = Field(None, min_length=1)
    start: float | None = Field(None, alias="from")
    stop: float | None = Field(None, alias="to")
    steps: int | None = Field(None, ge=1)
    log: bool = False
    integer: bool = False
    when: str | None = Field(None, description="the axis exists only where this holds")

    @model_validator(mode="after")
    def _listed_or_ranged(self) -> Self:
        ranged = self.start is not None and self.stop is not None
        if (self.values is None) != ranged:
            raise ValueError("an axis is a list of values, or has `from` and `to`")
        if ranged and not self.start < self.stop:  # type: ignore[operator]
            raise ValueError(f"`from < to` must hold, but got {self.start:g} and {self.stop:g}")
        if ranged and self.log and self.start <= 0:  # type: ignore[operator]
            raise ValueError(f"`from > 0` must hold for a log axis, but got {self.start:g}")
        return self

    @property
    def is_continuous(self) -> bool:
        """Whether it can only be drawn from."""
        return self.values is None and self.steps is None

    @cached_property
    def grid(self) -> tuple[Scalar, ...]:
        """Its values in order, each once."""
        if self.values is not None:
            return tuple({(type(v), v): v for v in self.values}.values())
        space = np.geomspace if self.log else np.linspace
        return tuple(dict.fromkeys(self._rounded(v) for v in space(self.start, self.stop, self.steps)))  # type: ignore

    @property
    def choices(self) -> int | None:
        """How many values it has; None where it can only be drawn from."""
        return None if self.is_continuous else len(self.grid)

    def at(self, place: float) -> Scalar:
        """The value at an index, or at a share 0..1 of the range where it can only be drawn from."""
        if not self.is_continuous:
            return self.grid[int(place)]
        low, high = float(self.start), float(self.stop)  # type: ignore[arg-type]
        if self.log:
            return self._rounded(low * math.exp(place * math.log(high / low)))
        return self._rounded(low + place * (high - low))

    def _rounded(self, value: float) -> int | float:
        return round(value) if self.integer else float(f"{value:.12g}")


def bits_of(value: Scalar) -> int | None:
    """Weight bits as a whole number."""
    if value is None:
        return None
    if isinstance(value, str | bool) or not float(value).is_integer():
        raise SweepError(f"weight_bits: a whole number, e.g. 4, but got {value!r}")
    return int(value)


def density_of(value: Scalar) -> float | None:
    """A density as a number."""
    if isinstance(value, str | bool):
        raise SweepError(f"weight_density: a number above 0 and at most 1, but got {value!r}")
    return None if value is None else float(value)


def numbers_in(item: Any) -> Any:
    """YAML reads ``0.4e9`` as a number but ``4e8`` as text; people mean a number."""
    if isinstance(item, Mapping):
        return {k: numbers_in(v) if k != "when" else v for k, v in item.items()}
    if isinstance(item, list | tuple):
        return [numbers_in(v) for v in item]
    if isinstance(item, str):
        try:
            return float(item)
        except ValueError:
            return item
    return item
