"""Fields of a scenario as axes of a space: ``scenario.background.music.bytes_per_s`` and so on."""

import difflib
from collections.abc import Mapping
from typing import Any

from azsim.chip import Chip
from azsim.chip.presets import flatten
from azsim.stream.scenario import Scenario, Traffic, change
from azsim.stream.traffic import Background

PREFIX = "scenario."
ITS_OWN = {"name", "description", "chip", "chip_set"}  # names nobody varies, and the chip, which is the point's


def fields_by_axis(scenario: Scenario) -> dict[str, Any]:
    """Every field of a scenario by the axis that changes it."""
    content = scenario.model_dump(mode="json", exclude=ITS_OWN)
    content["utterances"] = {str(number): spoken for number, spoken in enumerate(content["utterances"])}
    return flatten(content, PREFIX)


def changes_of(axes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some axes that belong to the scenario, with their prefix."""
    return {path: value for path, value in axes.items() if path.startswith(PREFIX)}


def check_axis(scenario: Scenario, path: str) -> None:
    """ValueError for an axis that is no field of a scenario; background traffic may have new names."""
    known = fields_by_axis(scenario)
    match path.split("."):
        case ["scenario", "background", _, field] if field in Traffic.model_fields:
            return
        case ["scenario", first, *_] if first in ("chip", "chip_set"):
            raise ValueError(f"axis {path!r}: the chip is the point's; write {path.split('.', 2)[-1]!r}")
        case ["scenario", *_] if path not in known:
            leaf = sorted(p for p in known if p.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1])
            near = difflib.get_close_matches(path, leaf or sorted(known), n=3, cutoff=0.4) or sorted(known)[:3]
            raise ValueError(f"axis {path!r} does not exist; did you mean {', '.join(near)}?")


def changed(scenario: Scenario, axes: Mapping[str, Any], chip: Chip) -> Scenario:
    """The scenario at some values of its axes.

    Raises
    ------
    ScenarioError
        If it cannot be, or if its background asks for all that the chip's DRAM moves, so that it need not run.
    """
    changes = {path.removeprefix(PREFIX): value for path, value in changes_of(axes).items()}
    found = change(scenario, changes) if changes else scenario
    Background(found.background, chip, found.seed)
    return found
