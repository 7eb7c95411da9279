"""A scenario as data: who speaks when, which networks share the chip, and what else wants the DRAM.

    name: example_household
    chip: az1_like                      # a preset or a YAML file
    utterances:
      - {audio: lights.wav, pause_s: 4}  # quiet after it; transcript from lights.txt beside it
    networks:
      recognizer: {model: house_amnet, role: recognizer, priority: 3, deadline_ms: 30}
      endpointer: {model: endpointer, role: endpointer, priority: 1, deadline_ms: 10}
      whisper: {model: whisper_detector, priority: 2}
    background:
      music: {bytes_per_s: 5.0e+6, burst_bytes: 4096}
    uplink: {bytes_per_s: 250000, round_trip_ms: 40}

Everything has a default except the utterances and the networks. Times are in the unit that the name ends
with; a lower ``priority`` is more urgent. Paths are relative to the file. ``--set networks.whisper.priority=5`` and
``--set chip.mac_array.pes=32`` change one field.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from azsim.chip.config import Config
from azsim.chip.presets import flatten, parse_override
from azsim.errors import ChipError, ScenarioError

Positive = Annotated[float, Field(gt=0)]
ACTORS = ("microphone", "host core", "words", "uplink", "cloud", "answer")  # names that no network may take


class Spoken(Config):
    """One recording and the quiet after it."""

    audio: str = Field(description="a recording of speech, relative to the scenario file")
    pause_s: float = Field(3.0, ge=0, description="quiet between its end and the next recording")
    transcript: str | None = Field(None, description="what is said; by default the .txt beside the recording")
    speech_end_s: Positive | None = Field(None, description="end of the last word; by default measured from the level")


class SharedNetwork(Config):
    """A network on the chip, and how urgent it is."""

    model: str = Field(description="zoo name, .pt2 file, network folder, or package.module:function")
    role: Literal["recognizer", "endpointer", "listener"] = Field(
        "listener", description="recognizer: RNN-T with a search; endpointer: decides that the person has finished"
    )
    priority: int = Field(description="0 is most urgent; no two networks may have the same")
    deadline_ms: Positive | None = Field(
        None, description="from the last sample of a frame to its result; by default the spacing of frames"
    )
    preemption: Literal["op", "tile", "none"] = Field(
        "op", description="where it lets a more urgent network in: after any op, after any weight tile, or never"
    )
    arrivals: Literal["frames", "periodic", "poisson"] = Field(
        "frames", description="frames: as the microphone delivers them; otherwise jobs of their own, all the time"
    )
    period_ms: Positive | None = Field(None, description="mean time between jobs that do not come from the microphone")
    always: bool = Field(False, description="listen in the pauses too, on the room's noise")
    weights: Literal["auto", "pinned", "streamed"] = Field(
        "auto", description="auto: what the chip's pinning rule finds room for; pinned: all of them, or an error"
    )

    @model_validator(mode="after")
    def _period_goes_with_arrivals(self) -> Self:
        if (self.arrivals == "frames") != (self.period_ms is None):
            raise ValueError(
                f"`period_ms` is given exactly where arrivals are periodic or poisson, but got arrivals "
                f"{self.arrivals} and period_ms {self.period_ms}"
            )
        return self

    def deadline_or(self, frame_ms: float) -> float:
        """Milliseconds from a frame's last sample (or a job's arrival) to its result; by default until the next one."""
        return self.deadline_ms or self.period_ms or frame_ms


class SearchConfig(Config):
    """The beam search of the recognizer, on the host core."""

    beam: int = Field(4, ge=1, le=64, description="hypotheses kept; 1 is greedy search")
    prune_nats: Positive = Field(8.0, description="hypotheses this far below the best are dropped")
    lattice_prune_nats: Positive = Field(12.0, description="arcs this far below the best path are not sent")


class Endpointing(Config):
    """How the end of speech is acted upon."""

    speculative: bool = Field(True, description="start the work downstream at the early end-pointer's decision")
    longest_wait_s: Positive = Field(1.5, description="quiet after a recording in which networks go on listening")


class Traffic(Config):
    """Somebody else's DRAM traffic; it goes first, as music and displays do."""

    bytes_per_s: float = Field(ge=0, description="mean rate")
    burst_bytes: int = Field(4096, gt=0, description="moved at once, at the chip's full DRAM bandwidth")


class HostCore(Config):
    """The core beside the accelerator. All assumed: a small in-order core at 500 MHz to 1 GHz."""

    search_us_per_frame: float = Field(2.0, ge=0, description="of a search: a frame's bookkeeping")
    search_us_per_hypothesis: float = Field(3.0, ge=0, description="log-softmax, pruning, merging of one")
    active_mw: float = Field(20.0, ge=0, description="while it searches (feature extraction: the chip's host.*)")


class Uplink(Config):
    """The way to the cloud."""

    bytes_per_s: float = Field(250e3, description="2 Mbit/s by default")
    round_trip_ms: float = Field(40.0, ge=0, description="both ways, without the bytes")
    uj_per_byte: float = Field(0.1, ge=0, description="energy of the radio (assumed)")

    @model_validator(mode="after")
    def _can_send(self) -> Self:
        if self.bytes_per_s <= 0:
            raise ValueError(f"`uplink.bytes_per_s > 0` must hold, or no answer ever comes, but got {self.bytes_per_s}")
        return self


class Cloud(Config):
    """What happens to a lattice there."""

    rerank_ms: float = Field(60.0, ge=0, description="re-ranking and understanding of one lattice")
    language_model: str | None = Field(None, description="text to re-rank with, a sentence per line; .txt or .txt.gz")
    language_weight: float = Field(0.1, ge=0, description="nats of the language model against nats of the lattice")
    word_bonus: float = Field(0.0, description="nats for each word, against the language model's taste for few")
    language_order: int = Field(3, ge=1, le=8, description="words of an n-gram of the language model")
    n_best: int = Field(20, ge=1, description="paths that are re-ranked")


class Power(Config):
    """States of the chip between jobs. All assumed."""

    retention_after_ms: float = Field(5.0, ge=0, description="clock-gated for so long, then retention")
    wake_up_us: float = Field(50.0, ge=0, description="from retention to work")
    retention_leakage_share: float = Field(0.15, ge=0, le=1, description="of SRAM leakage, at retention voltage")
    retention_dram_share: float = Field(0.1, ge=0, le=1, description="of DRAM standby power, in self refresh")
    rest_mw: float = Field(0.0, ge=0, description="microphone, radio standby and so on, for hours on a battery")
    battery_wh: Positive = Field(10.0, description="usable energy of the battery")


class Scenario(Config):
    """A household around one chip."""

    name: str = Field("stream", description="title of the report")
    description: str = Field("", description="a line below it")
    chip: str = Field("az1_like", description="a preset or a YAML file")
    chip_set: dict[str, Any] = Field({}, description="fields of the chip to change, by path")
    seed: int = Field(0, ge=0, description="of noise, phases of background traffic and random arrivals")
    repeat: int = Field(1, ge=1, description="how often the list of utterances is said")
    utterances: tuple[Spoken, ...] = Field(min_length=1)
    networks: dict[str, SharedNetwork] = Field(min_length=1)
    search: SearchConfig = SearchConfig()
    endpointing: Endpointing = Endpointing()
    background: dict[str, Traffic] = Field({}, description="DRAM traffic of others, by name")
    host: HostCore = HostCore()
    uplink: Uplink = Uplink()
    cloud: Cloud = Cloud()
    power: Power = Power()

    @model_validator(mode="after")
    def _networks_go_together(self) -> Self:
        for role in ("recognizer", "endpointer"):
            names = [name for name, network in self.networks.items() if network.role == role]
            if len(names) > 1:
                raise ValueError(f"at most one network may be the {role}, but {' and '.join(names)} are")
        by_priority: dict[int, str] = {}
        for name, network in self.networks.items():
            if name in ACTORS:
                raise ValueError(f"networks.{name}: the timeline has an actor of that name; call the network otherwise")
            other = by_priority.setdefault(network.priority, name)
            if other != name:
                raise ValueError(
                    f"networks.{name}.priority and networks.{other}.priority are both {network.priority}: who goes "
                    f"first would be undecided; give each network its own number, 0 the most urgent"
                )
        return self

    def named(self, role: str) -> str | None:
        """Name of the recognizer or the end-pointer, if there is one."""
        return next((name for name, network in self.networks.items() if network.role == role), None)


def load_scenario(file: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read a scenario, change it by ``["uplink.round_trip_ms=80", "chip.mac_array.pes=32"]``, and check it.

    Paths of recordings, of chips and of the language model become absolute.

    Raises
    ------
    ScenarioError
        Unreadable YAML (with the line), an unknown field (with the nearest), or a value that cannot be.
    """
    path = Path(file)
    content = _read(path)
    for path_in, value in (_parsed(text) for text in overrides):
        _put(content, path_in, value)
    _make_absolute(content, path.resolve().parent)
    try:
        return Scenario(**content)
    except ValidationError as error:
        raise ScenarioError(f"{path}: {_problems(error)}") from error


def change(scenario: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """A scenario with some fields changed by path, checked again from the start; paths of files stay as they are given.

    Raises
    ------
    ScenarioError
        As for ``load_scenario``.
    """
    content = scenario.model_dump(mode="json")
    for path, value in changes.items():
        _put(content, path, value)
    try:
        return Scenario(**content)
    except ValidationError as error:
        raise ScenarioError(f"scenario {scenario.name}: {_problems(error)}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read ({error.strerror}); start from experiments/example_household.yaml"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ScenarioError(f"{path}: not valid YAML{where}: {getattr(error, 'problem', error)}") from error
    if not isinstance(content, dict):
        raise ScenarioError(f"{path}: expected `utterances:` and `networks:`, got {type(content).__name__}")
    return content


def _parsed(text: str) -> tuple[str, Any]:
    try:
        return parse_override(text)
    except ChipError as error:
        raise ScenarioError(str(error).replace("mac_array.pes=32", "uplink.round_trip_ms=80")) from error


def _put(content: dict[str, Any], path: str, value: Any) -> None:
    """Set one field; a path below ``chip.`` goes to the chip."""
    if path.startswith("chip."):
        content.setdefault("chip_set", {})[path.removeprefix("chip.")] = value
        return
    *parents, leaf = path.split(".")
    known = content.get("networks") or {}
    if parents[:1] == ["networks"] and isinstance(known, dict) and parents[1:2] and parents[1] not in known:
        raise ScenarioError(f"--set {path}: there is no network {parents[1]!r}, but {', '.join(known) or 'none'}")
    node: Any = content
    for key in parents:
        if isinstance(node, dict):
            node = node.setdefault(key, {})
        elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
    if not isinstance(node, dict):
        raise ScenarioError(f"--set {path}: {'.'.join(parents)} is not a group of fields; see `azsim stream --fields`")
    node[leaf] = value


def _make_absolute(content: dict[str, Any], folder: Path) -> None:
    for spoken in content.get("utterances") or []:
        if isinstance(spoken, dict) and "audio" in spoken:
            spoken["audio"] = str(folder / str(spoken["audio"]))
    cloud = content.get("cloud")
    if isinstance(cloud, dict) and cloud.get("language_model"):
        cloud["language_model"] = str(folder / str(cloud["language_model"]))
    for owner, key in [(content, "chip"), *((n, "model") for n in (content.get("networks") or {}).values())]:
        value = owner.get(key) if isinstance(owner, dict) else None
        if isinstance(value, str) and ("/" in value or value.endswith((".yaml", ".yml", ".pt2"))):
            owner[key] = str(folder / value)


def _problems(error: ValidationError) -> str:
    """Pydantic's errors as one sentence; an unknown field gets the nearest known one."""
    lines = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(item["loc"][-1]), known_fields(), n=2, cutoff=0.6)
            message = f"unknown field{', did you mean ' + ', '.join(near) + '?' if near else ''}"
        elif item["type"] == "missing":
            message = "is missing"
        elif not isinstance(item["input"], Mapping) and "but got" not in message:
            message += f", but got {item['input']!r}"
        lines.append(f"{path}: {message}" if path else message)
    return "; ".join(dict.fromkeys(lines))


def known_fields() -> list[str]:
    """Every field name of a scenario, for suggestions."""
    models: tuple[type[Config], ...] = (
        Scenario, Spoken, SharedNetwork, SearchConfig, Endpointing, Traffic, HostCore, Uplink, Cloud, Power,
    )  # fmt: skip
    return sorted({name for model in models for name in model.model_fields})


def field_table() -> list[tuple[str, str, str]]:
    """(path, default, meaning) of every field, with NAME where the user chooses one."""
    groups: dict[str, type[Config]] = {
        "": Scenario, "utterances.0.": Spoken, "networks.NAME.": SharedNetwork, "background.NAME.": Traffic,
        "search.": SearchConfig, "endpointing.": Endpointing, "host.": HostCore, "uplink.": Uplink, "cloud.": Cloud,
        "power.": Power,
    }  # fmt: skip
    rows = []
    for prefix, model in groups.items():
        for name, field in model.model_fields.items():
            if f"{name}." in groups or any(group.startswith(f"{name}.") for group in groups):
                continue
            default = "required" if field.is_required() else str(field.default)
            rows.append((prefix + name, default, field.description or ""))
    return rows


def fields_of(scenario: Scenario) -> dict[str, Any]:
    """Every field by its path, utterances apart."""
    return flatten(scenario.model_dump(exclude={"utterances"}))
