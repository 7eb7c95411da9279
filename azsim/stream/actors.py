"""What the actors hand each other: utterances under way, frames, and jobs that nobody said."""

from dataclasses import dataclass

import simpy

from azsim.stream.window import Key, Window
from azsim.stream.work import Work


@dataclass
class Utterance:
    """A window under way."""

    window: Window
    start: int
    decided: dict[int, simpy.Event]
    recognized: dict[int, simpy.Event]
    is_closed: bool = False


@dataclass(frozen=True)
class Frame:
    """A frame on its way through one network; cycles of the stream."""

    utterance: Utterance
    number: int
    end: int
    arrival: int


@dataclass(frozen=True)
class Source:
    """Jobs that do not come from the microphone: the frames of a recording in turn."""

    key: Key
    work: Work
