"""Read this second: a whole stream, one statement per stage. ``azsim.simulate`` explains the stages of one run.

scenario --load, quantize, encode--> guests on the chip                stream/prepare.py
recordings + quiet --execute, schedule, cut--> windows                 stream/prepare.py, work.py
windows --SimPy--> what happened, with and without speculation         stream/household.py
what happened --price--> energy by state, component and network        energy/stream.py
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from azsim.chip import Chip, load_chip
from azsim.energy.price import price
from azsim.energy.stream import StreamEnergy, actions, add, price_stream
from azsim.stream import Ear, Household, Log, Scenario, Stream, load_scenario


@dataclass(frozen=True)
class Heard:
    """Everything that one stream found out.

    Attributes
    ----------
    stream, plain : Stream
        With the scenario's speculation, and without; the same where the scenario does not speculate.
    energy, plain_energy : StreamEnergy
    ear : Ear
        The prepared networks and windows.
    seconds : float
        Time simulated.
    simulated_s_per_s : dict of str to float
        Simulated seconds per second of computing: ``prepare`` (execution and replay of each recording) and ``stream``.
    """

    scenario: Scenario
    chip: Chip
    ear: Ear
    stream: Stream
    plain: Stream
    energy: StreamEnergy
    plain_energy: StreamEnergy
    seconds: float
    simulated_s_per_s: dict[str, float]
    notes: list[str] = field(default_factory=list)


Tell = Callable[[str, float], None]


def listen(
    scenario: str | Path | Scenario,
    overrides: Sequence[str] = (),
    frames_csv: Path | None = None,
    progress: Tell | None = None,
    is_compared: bool = True,
) -> Heard:
    """Simulate a stream.

    Parameters
    ----------
    scenario : str, Path or Scenario
        A YAML file or a Scenario.
    overrides : sequence of str
        ``"uplink.round_trip_ms=80"``, ``"chip.mac_array.pes=32"`` and so on; of a file.
    frames_csv : Path, optional
        Written while the stream runs: a row for each frame of each network.
    progress : callable, optional
        Called with (stage, share done).
    is_compared : bool
        Simulate a second time without speculation, if the scenario speculates.

    Raises
    ------
    AzsimError
        For every mistake in what was given, before the simulation starts.
    """
    tell = progress or (lambda stage, share: None)
    described = scenario if isinstance(scenario, Scenario) else load_scenario(scenario, overrides)
    chip = load_chip(described.chip, described.chip_set)
    begun = time.perf_counter()
    tell("execute the networks", 0.0)
    ear = prepare(described, chip, lambda share: tell("execute the networks", 0.6 * share))
    prepared = time.perf_counter()
    return follow(ear, frames_csv, lambda stage, share: tell(stage, 0.6 + 0.4 * share), is_compared, prepared - begun)


def follow(
    ear: Ear,
    frames_csv: Path | None = None,
    progress: Tell | None = None,
    is_compared: bool = True,
    prepare_s: float = 0.0,
) -> Heard:
    """Simulate and price a stream whose preparation took ``prepare_s``; otherwise as ``listen``."""
    tell = progress or (lambda stage, share: None)
    scenario, chip, begun = ear.scenario, ear.chip, time.perf_counter()
    is_speculating = scenario.endpointing.speculative and scenario.named("endpointer") is not None
    stream = _run(ear, frames_csv, is_speculating, lambda share: tell("stream", 0.5 * share))
    stream_s = max(1e-9, time.perf_counter() - begun)
    seconds = stream.total_cycles / chip.clock_hz
    plain = stream
    if is_speculating and is_compared:
        plain = _run(ear, None, False, lambda share: tell("without speculation", 0.5 + 0.4 * share))
    tell("price", 0.9)
    energy = _price(ear, stream)
    plain_energy = energy if plain is stream else _price(ear, plain)
    speed = {"prepare": seconds / max(1e-9, prepare_s), "stream": seconds / stream_s}
    speed["both"] = seconds / (prepare_s + stream_s)
    return Heard(scenario, chip, ear, stream, plain, energy, plain_energy, seconds, speed, notes(ear, stream))


def prepare(scenario: Scenario, chip: Chip, progress: Callable[[float], None] | None = None) -> Ear:
    """Execute the first windows, as many as are kept; the others when their turn comes."""
    ear = Ear(scenario, chip)
    spoken = scenario.utterances[: ear.windows_kept]
    for number, one in enumerate(spoken):
        ear.hear(one)
        if progress is not None:
            progress((number + 1) / len(spoken))
    return ear


def _run(ear: Ear, frames_csv: Path | None, is_speculating: bool, progress: Callable[[float], None]) -> Stream:
    scenario, chip = ear.scenario, ear.chip
    total = chip.cycles(scenario.repeat * sum(ear.length_s(spoken) for spoken in scenario.utterances))
    with Log(chip.clock_hz, total, frames_csv) as log:
        household = Household(scenario, chip, total, log, ear.front.frame_ms, ear.sources())
        return household.run(ear.windows(is_speculating), progress)


def _price(ear: Ear, stream: Stream) -> StreamEnergy:
    scenario = ear.scenario
    energy = price_stream(
        stream, ear.chip, scenario.power, ear.first_frames, scenario.host.active_mw, scenario.uplink.uj_per_byte
    )
    for name, (with_pins, without) in ear.pin_counts().items():
        once, later = actions(price(with_pins, ear.chip)), actions(price(without, ear.chip))
        pins = {c: (v[0] - later[c][0], v[1] - later[c][1], v[2] - later[c][2]) for c, v in once.items()}
        energy.by_network[name] = add([energy.by_network.get(name, {}), pins])
    return energy


def notes(ear: Ear, stream: Stream) -> list[str]:
    """What a reader must know before the figures."""
    out = []
    for name in stream.overloaded:
        book = stream.books[name]
        out.append(
            f"{name} falls behind: {book.largest_backlog:,} frames wait at worst. Its latencies grow with the length "
            f"of the speech and are not reported"
        )
    missing = ear.scenario.repeat * len(ear.scenario.utterances) - len(stream.answers)
    if ear.scenario.named("recognizer") and missing:
        out.append(f"{missing} of the utterances had no answer by the end of the stream")
    if not ear.scenario.named("recognizer"):
        out.append("no network has the role recognizer: nothing is recognized and nothing answered")
    elif not ear.scenario.named("endpointer"):
        out.append("no network has the role endpointer: each recording ends when its quiet does")
    return out
