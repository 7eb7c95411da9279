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

With a scenario a point is a whole stream of `azsim stream` instead of a network on a recording, on the point's chip and
not the scenario's. Its fields are axes too, and ``network``, ``audio`` and weights are the scenario's own:

    scenario: experiments/example_household.yaml
    axes:
      chip: [az1_like, az2_like]
      scenario.background.display.bytes_per_s: {from: 1.0e+6, to: 30.0e+9, log: true}
      scenario.networks.whisper.priority: [1, 4]
    where: [deadline_misses == 0]

Without ``draws`` every combination is a point. With it, each point takes a random value of every axis, and an axis
without ``steps`` is drawn from its whole range. Conditions on the chip (fields, axes, ``area_mm2``, ``sram_bytes``,
``dense_tops``) leave points out before anything runs; conditions on results mark a point that ran as infeasible.
"""

import difflib
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
from azsim.errors import AzsimError, ChipError, ScenarioError, SweepError
from azsim.stream import Scenario, load_scenario
from azsim.sweep.axis import Axis, Scalar, bits_of, density_of, numbers_in
from azsim.sweep.expression import check_expression, holds
from azsim.sweep.figures import RESULTS, RUN, STATIC, STREAM, static_figures
from azsim.sweep.scenarios import PREFIX, changed, changes_of, check_axis, fields_by_axis

OF_A_RUN = ("network", "audio", "weight_bits", "weight_density")
OUTSIDE = (*OF_A_RUN, "chip")
ROWS = "rows"
TRIES_PER_DRAW = 200


@dataclass(frozen=True)
class Point:
    """One thing to try.

    Attributes
    ----------
    axes : dict
        Values by axis, as the user wrote them; what tells it from its neighbors.
    chip : Chip or None
        None if it cannot be built; ``problem`` says why.
    scenario : Scenario or None
        Of a point that is a stream; as it was read where the values cannot be built.
    """

    axes: dict[str, Scalar]
    network: str
    audio: str
    weight_bits: int | None
    weight_density: float | None
    chip: Chip | None
    problem: str = ""
    scenario: Scenario | None = None


class Space(Config):
    """What to try; see the head of this file for the form."""

    name: str = Field("sweep", pattern=r"^[\w.-]+$")
    chip: str = "az1_like"
    network: str = "amnet"
    audio: str = "models/demo/digits_1.wav"
    scenario: str | None = Field(None, description="a stream's YAML file, instead of a network and a recording")
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
            axes = {k: numbers_in({"values": v} if isinstance(v, list | tuple) else v) for k, v in axes.items()}
        where = data.get("where") or ()
        rows = numbers_in(data.get("rows") or ())
        return {**data, "axes": axes, "rows": rows, "where": (where,) if isinstance(where, str) else where}

    def replace(self, **changes: Any) -> Self:
        """As every config; what was not given stays so."""
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **changes})

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self._household is not None:
            self._check_scenario(self._household)
        known = self._inputs
        for path in self._paths:
            if path not in known:
                leaf = sorted(p for p in known if p.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1])
                near = leaf or difflib.get_close_matches(path, sorted(known), n=3, cutoff=0.4) or OUTSIDE
                raise ValueError(f"axis {path!r} does not exist; did you mean {', '.join(near)}?")
            if path in self.axes and any(path in row for row in self.rows):
                raise ValueError(f"axis {path!r} stands in `axes` and in `rows`: choose one")
        kept = {name for name in known if not name.startswith(PREFIX) or name in self._paths}  # by a store
        for text in self.where:
            check_expression(text, kept | set(STATIC) | set(self.results))
        paths = list(self.axes)
        for place, (path, axis) in enumerate(self.axes.items()):
            later = check_expression(axis.when, known) & set(paths[place:]) if axis.when else set()
            if later:
                raise ValueError(
                    f"axis {path!r} exists when {axis.when!r}, but {sorted(later)[0]!r} is chosen after it: move "
                    f"{path!r} below"
                )
        return self

    def _check_scenario(self, household: Scenario) -> None:
        given = {*self._paths, *(self.model_fields_set & set(OF_A_RUN))}
        for name in OF_A_RUN:
            if name in given:
                raise ValueError(f"{name!r} does not apply beside `scenario`, whose networks have their own: remove it")
        if self.fidelity != "full":
            raise ValueError("`fidelity: sampled` does not apply beside `scenario`: a stream runs as a whole")
        for path in self._paths:
            check_axis(household, path)

    @cached_property
    def _paths(self) -> list[str]:
        """Every axis, those of rows included."""
        return list(dict.fromkeys([*self.axes, *(path for row in self.rows for path in row)]))

    @cached_property
    def _household(self) -> Scenario | None:
        return None if self.scenario is None else load_scenario(self.scenario)

    @cached_property
    def _inputs(self) -> set[str]:
        """Every name that a point has before it runs."""
        if self._household is None:
            return set(valid_paths()) | set(OUTSIDE)
        return {*valid_paths(), "chip", *fields_by_axis(self._household), *changes_of(dict.fromkeys(self._paths))}

    @property
    def results(self) -> dict[str, str]:
        """Figures that a run of its points gives, and what they mean."""
        return RUN if self.scenario is None else STREAM

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
        chip, scenario, problem, bits, density = None, self._household, "", None, None
        try:
            bits, density = bits_of(axes.get("weight_bits")), density_of(axes.get("weight_density"))
            built = self._chip(axes)
            scenario = changed(self._household, axes, built) if self._household is not None else None
            chip = built
        except AzsimError as error:
            problem = str(error)
        return Point(
            axes=dict(axes),
            network=str(axes.get("network", self.network)),
            audio=str(axes.get("audio", self.audio)) if self.scenario is None else self.scenario,
            weight_bits=bits,
            weight_density=density,
            chip=chip,
            problem=problem,
            scenario=scenario,
        )

    def _chip(self, axes: Mapping[str, Scalar]) -> Chip:
        base = self._base(str(axes.get("chip", self.chip)))
        return load_chip(base, {path: value for path, value in axes.items() if path in valid_paths()})

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
        known = self._inputs | set(STATIC) | set(RESULTS)
        return tuple(t for t in self.where if not check_expression(t, known) & set(RESULTS))

    @cached_property
    def _asks_for_figures(self) -> bool:
        known = self._inputs | set(STATIC)
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
        base = flatten(self._base(str(axes.get("chip", self.chip))).model_dump())
        if self._household is not None:
            return {**base, "chip": self.chip, **fields_by_axis(self._household), **axes}
        outside = {"network": self.network, "audio": self.audio, "chip": self.chip}
        return {**base, "weight_bits": None, "weight_density": None, **outside, **axes}


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
    except (SweepError, ChipError, ScenarioError) as error:
        raise SweepError(f"{where}: {error}") from error
    return space
