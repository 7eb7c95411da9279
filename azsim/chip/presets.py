"""Chips by name or file, with the provenance of every number, and overrides by path.

A preset is a YAML file with the fields of ``Chip``. A leaf is either a plain value or
``{value, mark, source}`` with mark *published*, *borrowed* (from which paper) or *assumed*; ``extends:
NAME`` starts from another preset or file. ``--set mac_array.pes=32`` changes one path and is marked
*override*.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from azsim.chip.config import Chip
from azsim.errors import ChipError

FOLDER = Path(__file__).parent / "presets"
MARKS = ("published", "borrowed", "assumed")
TEXT_FIELDS = ("name", "description")


@dataclass(frozen=True)
class Source:
    """Where a number is from."""

    path: str
    value: Any
    mark: str
    source: str
    description: str = ""


@dataclass(frozen=True)
class Described:
    """A chip and the provenance of its numbers, by path."""

    chip: Chip
    sources: dict[str, Source]


def presets() -> dict[str, str]:
    """Name and one-line description of every preset."""
    return {path.stem: str(yaml.safe_load(path.read_text())["description"]) for path in sorted(FOLDER.glob("*.yaml"))}


Overrides = Sequence[str] | Mapping[str, Any]


def load_chip(source: str | Path | Chip, overrides: Overrides = ()) -> Chip:
    """A preset by name, or a YAML file by path, changed by ``["mac_array.pes=32"]`` or ``{"mac_array.pes": 32}``."""
    if isinstance(source, Chip):
        return _overridden(source, overrides)[0]
    return describe_chip(source, overrides).chip


def describe_chip(source: str | Path, overrides: Overrides = ()) -> Described:
    """As ``load_chip``, with the provenance of every number.

    Raises
    ------
    ChipError
        Unknown preset (with the nearest), unreadable YAML (with the line), unknown or bad field.
    """
    leaves = _read(source)
    chip = _build({path: leaf.value for path, leaf in leaves.items()}, str(source))
    chip, changed = _overridden(chip, overrides)
    descriptions = _descriptions(Chip)
    sources = {}
    for path, value in flatten(chip.model_dump()).items():
        if path in TEXT_FIELDS:
            continue
        known = leaves.get(path, Source(path, value, "assumed", "default of azsim.chip.config"))
        mark, text = ("override", "set by the user") if path in changed else (known.mark, known.source)
        sources[path] = Source(path, value, mark, text, descriptions.get(_field(path), ""))
    return Described(chip, sources)


def _field(path: str) -> str:
    """Lanes of a function are described by the field that holds them."""
    return "vector_unit.lanes" if path.startswith("vector_unit.lanes.") else path


def _read(source: str | Path, seen: tuple[str, ...] = ()) -> dict[str, Source]:
    path = Path(source)
    named = FOLDER / f"{source}.yaml"
    if named.exists():
        path = named
    elif path.suffix not in (".yaml", ".yml"):
        near = difflib.get_close_matches(str(source), presets(), n=3, cutoff=0.3) or list(presets())
        raise ChipError(
            f"unknown chip {str(source)!r}: did you mean {', '.join(near)}? A path to a YAML file works too"
        )
    if str(path) in seen:
        raise ChipError(f"{path}: extends itself by way of {' -> '.join(seen)}")
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ChipError(
            f"{path}: cannot be read ({error.strerror}); give a preset ({', '.join(presets())}) or a file"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ChipError(f"{path}: not valid YAML{where}: {getattr(error, 'problem', error)}") from error
    if not isinstance(content, dict):
        raise ChipError(
            f"{path}: expected fields of a chip (`mac_array:`, `clock_hz:` ...), got {type(content).__name__}"
        )
    parent = content.pop("extends", None)
    leaves = _read(parent, (*seen, str(path))) if parent else {}
    leaves.update(_leaves(content, path, ""))
    return leaves


def _leaves(content: Mapping[str, Any], file: Path, prefix: str) -> dict[str, Source]:
    """Flatten one YAML mapping; a mapping with a ``value`` is a leaf with provenance."""
    out = {}
    for key, item in content.items():
        path = f"{prefix}{key}"
        if isinstance(item, dict) and "value" in item:
            extra = set(item) - {"value", "mark", "source"}
            if extra or item.get("mark", "assumed") not in MARKS:
                raise ChipError(
                    f"{file}: {path}: a number is written as {{value, mark, source}} with mark one of "
                    f"{', '.join(MARKS)}, "
                    f"but got {item}"
                )
            out[path] = Source(path, item["value"], item.get("mark", "assumed"), item.get("source", ""))
        elif isinstance(item, dict):
            out.update(_leaves(item, file, f"{path}."))
        else:
            out[path] = Source(path, item, "assumed", f"{file.name}, without a source")
    return out


def _build(values: Mapping[str, Any], where: str) -> Chip:
    """Nest flat paths and validate."""
    paths = valid_paths()
    nested: dict[str, Any] = {}
    for path, value in values.items():
        if path not in paths:
            raise ChipError(_unknown_path(path, where))
        *parents, leaf = path.split(".")
        node = nested
        for key in parents:
            node = node.setdefault(key, {})
        node[leaf] = value
    lanes = nested.get("vector_unit", {}).get("lanes")
    if lanes is not None:
        nested["vector_unit"]["lanes"] = {**Chip().vector_unit.lanes, **lanes}
    try:
        return Chip(**nested)
    except ValidationError as error:
        raise ChipError(_first_problem(error, where)) from error


def _first_problem(error: ValidationError, where: str) -> str:
    """A pydantic error as one sentence: the path, what must hold, what was got."""
    lines = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"] if not str(part).startswith(("literal", "tuple", "function")))
        message = item["msg"].removeprefix("Value error, ")
        got = "" if isinstance(item["input"], dict | BaseModel) else f", but got {item['input']!r}"
        lines.append(f"{path + ': ' if path else ''}{message}{got}")
    return f"{where}: " + "; ".join(dict.fromkeys(lines)) + ". See `azsim chips show az1_like` for every field."


def _overridden(chip: Chip, overrides: Overrides) -> tuple[Chip, set[str]]:
    changes = dict(overrides) if isinstance(overrides, Mapping) else dict(parse_override(text) for text in overrides)
    if not changes:
        return chip, set()
    where = "set " + ", ".join(f"{path}={value}" for path, value in changes.items())
    for path in changes:
        if path not in valid_paths():
            raise ChipError(_unknown_path(path, where))
    return _build({**flatten(chip.model_dump()), **changes}, where), set(changes)


def parse_override(text: str) -> tuple[str, Any]:
    """``"mac_array.pes=32"`` as a path and a value."""
    path, equals, raw = text.partition("=")
    if not equals:
        raise ChipError(f"--set {text!r}: write path=value, for instance mac_array.pes=32")
    try:
        return path.strip(), _number(yaml.safe_load(raw))
    except yaml.YAMLError as error:
        raise ChipError(f"--set {text!r}: {raw!r} is not a YAML value") from error


def _number(value: Any) -> Any:
    """YAML reads ``500e6`` as text; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _unknown_path(path: str, where: str) -> str:
    paths = valid_paths()
    by_leaf = [p for p in paths if p.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]]
    near = by_leaf or difflib.get_close_matches(path, paths, n=3, cutoff=0.4) or sorted(paths)[:5]
    return f"{where}: unknown field {path!r}; did you mean {', '.join(near)}?"


@cache
def valid_paths() -> frozenset[str]:
    """Every path of a chip that can be set."""
    return frozenset(flatten(Chip().model_dump()))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"mac_array": {"pes": 64}}`` as ``{"mac_array.pes": 64}``."""
    out = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out.update(flatten(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out


def _descriptions(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    out = {}
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            out.update(_descriptions(inner, f"{prefix}{name}."))
        else:
            out[f"{prefix}{name}"] = info.description or ""
    return out
