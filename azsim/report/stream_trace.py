"""A stream as a trace to zoom into: Chrome trace events, which ui.perfetto.dev opens.

    microphone                recordings, the quiet after them included
    host core                 feature extraction and search
    a lane for each network   the stretches in which it has the chip, most urgent network first
    words                     moments at which the recognizer's best words were said, in time of the audio
    end-pointers              moments of the speculative and the final decisions, named after the words so far
    uplink, cloud, answer     bytes under way, lattices being re-ranked, the moment the person hears something
    background: a name        somebody else's DRAM traffic as one slice; ``busy_cycles`` is what it takes of the bus
    backlog of a network      a counter: frames that wait, at the largest of each stretch of time

Slices of a lane never overlap. Of two requests in the cloud at once, the second has a lane of its own, "cloud 2".
Every slice has its integer cycles in its arguments; the time stamps are rounded to ns. Intervals are those of the log,
which keeps the first minute; counters go on to the end.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from azsim.graph.lattice import Lattice
from azsim.listen import Heard
from azsim.report.trace import Event, Pen
from azsim.stream.books import TIMELINE_S

MOMENTS = ("speculative end-pointer", "final end-pointer", "answer")  # they take no time
DOWNSTREAM = (*MOMENTS[:2], "uplink", "cloud", "answer")

Interval = tuple[str, str, int, int, dict[str, Any]]


@dataclass(frozen=True)
class Word:
    """A word of an utterance's best path: ``cycle`` is the end of the frame that said it."""

    text: str
    utterance: int
    frame: int
    cycle: int


def lanes_of(heard: Heard) -> list[str]:
    """The actors in the order in which speech passes them; networks by priority."""
    networks = sorted(heard.scenario.networks, key=lambda name: heard.scenario.networks[name].priority)
    known = ["microphone", "host core", *networks, *DOWNSTREAM]
    present = dict.fromkeys(lane for lane, *_ in heard.stream.log.intervals)
    return [
        *(lane for lane in known if lane in present or lane in networks),
        *(lane for lane in present if lane not in known),
    ]


def stream_trace(heard: Heard) -> list[Event]:
    """Chrome trace events of a stream.

    Source
    ------
    "Trace Event Format" of the Chromium project: phases X (slice), i (instant), C (counter) and M (metadata).
    """
    log = heard.stream.log
    rows = {lane: list(without_overlap(i for i in log.intervals if i[0] == lane)) for lane in lanes_of(heard)}
    lanes = [part_name(lane, n) for lane, parts in rows.items() for n in range(max(1, len(parts)))]
    lanes.insert(1 if lanes[:1] == ["microphone"] else 0, "words")
    traffic = {f"background: {name}": n for n, name in enumerate(heard.stream.background.names)}
    pen = Pen(log.clock_hz, [*lanes, *traffic])
    pen.name_lanes(f"{heard.chip.name}, {heard.scenario.name}")
    for lane, parts in rows.items():
        for n, part in enumerate(parts):
            for _, name, start, end, about in part:
                if lane in MOMENTS:
                    pen.instant(part_name(lane, n), name, start, **about)
                else:
                    pen.slice(part_name(lane, n), name, start, end, None, lane, **about)
    for word in words_said(heard):
        pen.instant("words", word.text, word.cycle, utterance=word.utterance, frame=word.frame)
    _draw_background(pen, heard, traffic)
    return [*pen.events, *_backlog(heard)]


def part_name(lane: str, n: int) -> str:
    """The n-th of the lanes that one actor needs."""
    return lane if n == 0 else f"{lane} {n + 1}"


def without_overlap(intervals: Iterable[Interval]) -> Iterator[list[Interval]]:
    """Share intervals out over as few rows as will do, so that those of a row do not overlap."""
    parts: list[list[Interval]] = []
    for interval in sorted(intervals, key=lambda i: (i[2], i[3])):
        free = next((part for part in parts if part[-1][3] <= interval[2]), None)
        if free is None:
            parts.append([interval])
        else:
            free.append(interval)
    yield from parts


def words_said(heard: Heard) -> list[Word]:
    """When each word of the first minute was said, by the best path of the last lattice of its utterance."""
    recognizer, scenario = heard.scenario.named("recognizer"), heard.scenario
    if recognizer is None:
        return []
    vocabulary, words = heard.ear.guests[recognizer].network.vocabulary, []
    for number, (_, _, start, _, _) in enumerate(microphone(heard)):
        done = heard.ear.hear(scenario.utterances[number % len(scenario.utterances)])
        for token, frame in best_path(done.lattices[done.decisions[-1].frame]):
            words.append(Word(vocabulary[token], number, frame, start + int(done.frame_end[frame])))
    return words


def microphone(heard: Heard) -> list[Interval]:
    """The recordings of the first minute, the n-th being the stream's n-th utterance."""
    return [interval for interval in heard.stream.log.intervals if interval[0] == "microphone"]


def best_path(lattice: Lattice) -> list[tuple[int, int]]:
    """(word, frame) along a lattice's best path: at every node the way that is best to the end."""
    end_here = dict(zip(lattice.final.tolist(), lattice.final_log_prob.tolist(), strict=True))
    node = 0
    path: list[tuple[int, int]] = []
    while True:
        leaving = np.flatnonzero(lattice.start == node)
        onward = lattice.log_prob[leaving] + lattice.backward[lattice.end[leaving]]
        if not len(leaving) or end_here.get(node, -np.inf) >= onward.max():
            return path
        arc = leaving[int(onward.argmax())]
        path.append((int(lattice.word[arc]), int(lattice.frame[arc])))
        node = int(lattice.end[arc])


def _draw_background(pen: Pen, heard: Heard, lanes: dict[str, int]) -> None:
    background = heard.stream.background
    until = min(heard.stream.total_cycles, round(TIMELINE_S * heard.chip.clock_hz))
    for lane, n in lanes.items():
        name, share = background.names[n], float(background.busy[n] / background.period[n])
        rate = heard.scenario.background[name].bytes_per_s
        pen.slice(lane, name, 0, until, round(share * until), "background", bytes_per_s=rate, share_of_bus=share)


def _backlog(heard: Heard) -> list[Event]:
    log = heard.stream.log
    events: list[Event] = []
    for name, series in log.backlog.items():
        for at in changes(series.tolist()):
            ts = round(at * log.bin_cycles * 1e9 / log.clock_hz) / 1000
            args = {"frames": int(series[at])}
            events.append({"ph": "C", "pid": 1, "tid": 0, "name": f"backlog {name}", "ts": ts, "args": args})
    return events


def changes(series: Sequence[int]) -> list[int]:
    """Places at which a series differs from the one before; the first is one."""
    return [n for n, value in enumerate(series) if n == 0 or value != series[n - 1]]
