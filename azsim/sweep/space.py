"""A space of points: which chips, networks, bits, densities and recordings to try.

    name: example
    chip: az1_like                        # what every point starts from; may be an axis too
    axes:
      mac_array.pes: [16, 32, 64]                                              # a path into the chip
      dram.bandwidth_bytes_per_s: {from: 0.4e9, to: 6.4e9, steps: 5, log: true}
      codec.name: [zero_mask, run_length]
      codec.index_bits: {values: [3, 4, 5], when: codec.name == 'run_length'}  # a conditional axis
      weight_bits: [4, 8]
      weight_density: [0.25, 0.5]
      network: [amnet, rnnt]
      audio: [models/demo/digits_1.wav]
    rows:                                 # values that go together, one row at a time
      - {weight_sram.bytes: 131072, weight_sram.tile_bytes: 8192}
      - {weight_sram.bytes: 262144, weight_sram.tile_bytes: 16384}
    where: [area_mm2 < 2]                 # what a point must satisfy
    draws: 500                            # that many random points instead of the whole grid
    fidelity: full                        # or sampled: replay a share of the frames, see sample.py

Without ``draws`` every combination is a point. With it, each point takes a random value of every axis, and an axis
without ``steps`` is drawn from its whole range. Conditions on the chip (fields, axes, ``area_mm2``, ``sram_bytes``,
``dense_tops``) leave points out before anything runs; conditions on results mark a point that ran as infeasible.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import yaml
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from azsim.chip import Chip, load_chip
from azsim.chip.config import Config
from azsim.chip.presets import flatten, valid_paths
from azsim.errors import AzsimError, ChipError, SweepError
from azsim.sweep.expression import check_expression, holds
from azsim.sweep.figures import RESULTS, STATIC, static_figures

OUTSIDE = ("network", "audio", "weight_bits", "weight_density", "chip")
ROWS = "rows"
TRIES_PER_DRAW = 200
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


@dataclass(frozen=True)
class Point:
    """One thing to try.

    Attributes
    ----------
    axes : dict
        Values by axis, as the user wrote them; what tells it from its neighbors.
    chip : Chip or None
        None if it cannot be built; ``problem`` says why.
    """

    axes: dict[str, Scalar]
    network: str
    audio: str
    weight_bits: int | None
    weight_density: float | None
    chip: Chip | None
    problem: str = ""


class Space(Config):
    """What to try; see the head of this file for the form."""

    name: str = Field("sweep", pattern=r"^[\w.-]+$")
    chip: str = "az1_like"
    network: str = "amnet"
    audio: str = "models/demo/digits_1.wav"
    axes: dict[str, Axis] = Field(default_factory=dict)
    rows: tuple[dict[str, Scalar], ...] = ()
    where: tuple[str, ...] = ()
    draws: int | None = Field(None, ge=1)
    seed: int = 0
    fidelity: Literal["full", "sampled"] = "full"
    _bases: dict[str, Chip] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        """``[1, 2]`` for ``{values: [1, 2]}``, one condition for a list of one, ``500e6`` for a number."""
        if not isinstance(data, Mapping):
            return data
        axes = data.get("axes") or {}
        if isinstance(axes, Mapping):
            axes = {k: _numbers({"values": v} if isinstance(v, list | tuple) else v) for k, v in axes.items()}
        where = data.get("where") or ()
        rows = _numbers(data.get("rows") or ())
        return {**data, "axes": axes, "rows": rows, "where": (where,) if isinstance(where, str) else where}

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        known = valid_paths() | set(OUTSIDE)
        for path in dict.fromkeys([*self.axes, *(p for row in self.rows for p in row)]):
            if path not in known:
                leaf = sorted(p for p in known if p.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1])
                near = leaf or difflib.get_close_matches(path, sorted(known), n=3, cutoff=0.4) or OUTSIDE
                raise ValueError(f"axis {path!r} does not exist; did you mean {', '.join(near)}?")
            if path in self.axes and any(path in row for row in self.rows):
                raise ValueError(f"axis {path!r} stands in `axes` and in `rows`: choose one")
        for text in self.where:
            check_expression(text, known | set(STATIC) | set(RESULTS))
        paths = list(self.axes)
        for place, (path, axis) in enumerate(self.axes.items()):
            later = check_expression(axis.when, known) & set(paths[place:]) if axis.when else set()
            if later:
                raise ValueError(
                    f"axis {path!r} exists when {axis.when!r}, but {sorted(later)[0]!r} is chosen after it: move "
                    f"{path!r} below"
                )
        return self

    def check_enumerable(self) -> None:
        """SweepError where an axis has no ``steps`` and no ``draws`` says how many points; a search needs neither."""
        ranged = [path for path, axis in self.axes.items() if axis.is_continuous]
        if ranged and self.draws is None:
            raise SweepError(f"axis {ranged[0]!r} has no `steps`: add them, or `draws` for random points")

    def points(self) -> Iterator[Point]:
        """Every point that satisfies the conditions on the chip, in a fixed order, each once."""
        self.check_enumerable()
        if self.draws is not None:
            yield from self._drawn()
            return
        for axes in self._grid():
            point = self.point(axes)
            if self.admits(point):
                yield point

    def _grid(self) -> Iterator[dict[str, Scalar]]:
        for row in self._rows or ({},):
            yield from self._crossed(dict(row), list(self.axes))

    def _crossed(self, chosen: dict[str, Scalar], left: list[str]) -> Iterator[dict[str, Scalar]]:
        if not left:
            yield chosen
            return
        axis = self.axes[left[0]]
        if axis.when and not holds(axis.when, self._known(chosen)):
            yield from self._crossed(chosen, left[1:])
            return
        for value in axis.grid:
            yield from self._crossed({**chosen, left[0]: value}, left[1:])

    @cached_property
    def _rows(self) -> list[dict[str, Scalar]]:
        """Rows, each once."""
        return list({repr(sorted(row.items())): row for row in self.rows}.values())

    def _drawn(self) -> Iterator[Point]:
        rng = np.random.default_rng(self.seed)
        seen: set[str] = set()
        wanted, found, tries = self.draws or 0, 0, 0
        while found < wanted:
            tries += 1
            if tries > TRIES_PER_DRAW * wanted:
                raise SweepError(
                    f"{self.name}: only {found} different points satisfied `where` in {tries - 1:,} draws, of "
                    f"{wanted} asked for: lower draws, or loosen {' and '.join(self.where) or 'the axes'}"
                )
            axes = self.draw(rng)
            if repr(axes) in seen:
                continue
            seen.add(repr(axes))
            point = self.point(axes)
            if self.admits(point):
                found += 1
                yield point

    def draw(self, rng: np.random.Generator) -> dict[str, Scalar]:
        """Values of one random point, its conditions not looked at."""
        return self.choose(lambda path, choices: rng.uniform() if choices is None else int(rng.integers(choices)))

    def choose(self, pick: Callable[[str, int | None], float]) -> dict[str, Scalar]:
        """Values of one point, its conditions not looked at.

        ``pick(path, choices)`` is asked for each axis that exists at the values before it, and for ``ROWS`` first: it
        gives an index below ``choices``, or a share 0..1 of a range where that is None.
        """
        axes: dict[str, Scalar] = dict(self._rows[int(pick(ROWS, len(self._rows)))]) if self.rows else {}
        for path, axis in self.axes.items():
            if not axis.when or holds(axis.when, self._known(axes)):
                axes[path] = axis.at(pick(path, axis.choices))
        return axes

    def point(self, axes: Mapping[str, Scalar]) -> Point:
        """The point at given values; one that cannot be built is kept with its reason, and without a chip."""
        chip, problem, bits, density = None, "", None, None
        try:
            bits, density = _bits(axes.get("weight_bits")), _density(axes.get("weight_density"))
            chip = self._chip(axes)
        except AzsimError as error:
            problem = str(error)
        return Point(
            axes=dict(axes),
            network=str(axes.get("network", self.network)),
            audio=str(axes.get("audio", self.audio)),
            weight_bits=bits,
            weight_density=density,
            chip=chip,
            problem=problem,
        )

    def _chip(self, axes: Mapping[str, Scalar]) -> Chip:
        base = self._base(str(axes.get("chip", self.chip)))
        changes = {path: value for path, value in axes.items() if path not in OUTSIDE}
        return load_chip(base, changes)

    def admits(self, point: Point) -> bool:
        """Whether a point satisfies the conditions that are known before it runs."""
        if point.chip is None or not self._before:
            return True
        values = {**self._known(point.axes), **flatten(point.chip.model_dump())}
        try:
            values |= static_figures(point.chip) if self._asks_for_figures else {}
        except AzsimError:
            return True  # no figures, so it cannot run either: let it fail with its reason
        return all(holds(text, values) for text in self._before)

    def is_feasible(self, point_axes: Mapping[str, Scalar], results: Mapping[str, Any]) -> bool:
        """Whether results satisfy the conditions that only a run can answer."""
        values = {**self._known(point_axes), **results}
        return all(holds(text, values) for text in self.where if text not in self._before)

    @cached_property
    def _before(self) -> tuple[str, ...]:
        known = valid_paths() | set(OUTSIDE)
        return tuple(
            t for t in self.where if not check_expression(t, known | set(STATIC) | set(RESULTS)) & set(RESULTS)
        )

    @cached_property
    def _asks_for_figures(self) -> bool:
        known = valid_paths() | set(OUTSIDE) | set(STATIC)
        return any(check_expression(text, known) & set(STATIC) for text in self._before)

    def chips(self) -> set[str]:
        """Presets and files that points start from."""
        listed = [v for axis in (self.axes.get("chip"),) if axis is not None for v in axis.grid]
        return {self.chip, *map(str, listed), *(str(row["chip"]) for row in self.rows if "chip" in row)}

    def _base(self, name: str) -> Chip:
        if name not in self._bases:
            self._bases[name] = load_chip(name)
        return self._bases[name]

    def _known(self, axes: Mapping[str, Scalar]) -> dict[str, Any]:
        """Every name that `when` may use, at these values."""
        outside = {"network": self.network, "audio": self.audio, "chip": self.chip}
        base = flatten(self._base(str(axes.get("chip", self.chip))).model_dump())
        return {**base, "weight_bits": None, "weight_density": None, **outside, **axes}


def _bits(value: Scalar) -> int | None:
    if value is None:
        return None
    if isinstance(value, str | bool) or not float(value).is_integer():
        raise SweepError(f"weight_bits: a whole number, e.g. 4, but got {value!r}")
    return int(value)


def _density(value: Scalar) -> float | None:
    if isinstance(value, str | bool):
        raise SweepError(f"weight_density: a number above 0 and at most 1, but got {value!r}")
    return None if value is None else float(value)


def _numbers(item: Any) -> Any:
    """YAML reads ``0.4e9`` as a number but ``4e8`` as text; people mean a number."""
    if isinstance(item, Mapping):
        return {k: _numbers(v) if k != "when" else v for k, v in item.items()}
    if isinstance(item, list | tuple):
        return [_numbers(v) for v in item]
    if isinstance(item, str):
        try:
            return float(item)
        except ValueError:
            return item
    return item


def load_space(source: str | Path | Mapping[str, Any] | Space, is_enumerable: bool = True) -> Space:
    """A space from a YAML file or a mapping; a search takes one that is not ``is_enumerable``, too.

    Raises
    ------
    SweepError
        Unreadable file, invalid YAML (with the line), an unknown or wrong field, an axis that does not exist.
    """
    if isinstance(source, Space):
        return source
    where, content = "space", source
    if not isinstance(source, Mapping):
        where = str(source)
        try:
            content = yaml.safe_load(Path(source).read_text())
        except OSError as error:
            raise SweepError(
                f"{where}: cannot be read ({error.strerror}); see experiments/example_sweep.yaml"
            ) from error
        except UnicodeDecodeError as error:
            raise SweepError(f"{where}: not a YAML file: {error}") from error
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
            mark = getattr(error, "problem_mark", None)
            line = f" in line {mark.line + 1}" if mark else ""
            raise SweepError(f"{where}: not valid YAML{line}: {getattr(error, 'problem', error)}") from error
    try:
        space = Space.model_validate(content)
        for name in sorted(space.chips()):
            load_chip(name)
        if is_enumerable:
            space.check_enumerable()
    except ValidationError as error:
        lines = []
        for item in error.errors():
            path = ".".join(str(part) for part in item["loc"])
            lines.append(f"{path + ': ' if path else ''}{item['msg'].removeprefix('Value error, ')}")
        raise SweepError(f"{where}: {'; '.join(lines)}. See experiments/example_sweep.yaml for the form.") from error
    except (SweepError, ChipError) as error:
        raise SweepError(f"{where}: {error}") from error
    return space
