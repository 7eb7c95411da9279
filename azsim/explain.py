"""The stall tree: what each part of the chip costs, found by replaying the run with that part made ideal.

A stall says what a tile waited for last; it does not say what would be gained if that wait went away, because the
next wait may be behind it. So the record is replayed once per part of ``IDEAL_PARTS``, with nothing else changed.
The difference of the working cycles is what the part costs, and the difference of each op's span is where. Costs of
parts do not add up: two that hide each other cost nothing alone, so the run without all of them stands below.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from azsim.simulate import Run, replay
from azsim.timing import IDEAL_PARTS, Timeline


@dataclass(frozen=True)
class StallTree:
    """A run, the run with each part ideal, and with all of them.

    Attributes
    ----------
    base, without_all : Timeline
    without : dict of str to Timeline
        By part, in the order of ``IDEAL_PARTS``.
    """

    base: Timeline
    without: dict[str, Timeline]
    without_all: Timeline

    @property
    def costs_most(self) -> str:
        """The part whose absence saves most; empty if none saves anything."""
        saved = {part: self.saved_cycles(timeline) for part, timeline in self.without.items()}
        part = max(saved, key=lambda name: saved[name])
        return part if saved[part] > 0 else ""

    def saved_cycles(self, timeline: Timeline) -> int:
        """Working cycles less than in the run itself."""
        return self.base.working_cycles - timeline.working_cycles

    def parts(self) -> pd.DataFrame:
        """One row per part and one for all of them: what it costs, and the frame latency without it."""
        rows = []
        for part, timeline in {**self.without, "all of them": self.without_all}.items():
            saved = self.saved_cycles(timeline)
            rows.append(
                {
                    "part": part,
                    "if ideal": IDEAL_PARTS.get(part, "what is left is arithmetic, broadcasts and set-up"),
                    "saved_cycles": saved,
                    "saved_ms": saved / self.base.clock_hz * 1e3,
                    "share": saved / self.base.working_cycles if self.base.working_cycles else 0.0,
                    "p95_ms": timeline.latency_ms(95),
                }
            )
        return pd.DataFrame(rows)

    def ops(self) -> pd.DataFrame:
        """One row per op: its span in the run, and how much shorter it is without each part."""
        rows = []
        for i, op in enumerate(self.base.per_op):
            costs = {f"{part}_cycles": op.span_cycles - t.per_op[i].span_cycles for part, t in self.without.items()}
            rows.append({"op": op.name, "span_cycles": op.span_cycles, **costs})
        return pd.DataFrame(rows)


def explain(run: Run, progress: Callable[[str, float], None] | None = None) -> StallTree:
    """Replay a run once per part of the chip with that part ideal, and once with all.

    Parameters
    ----------
    run : Run
    progress : callable, optional
        Called with (what is made ideal, share done).
    """
    tell = progress or (lambda stage, share: None)

    def without(parts: frozenset[str]) -> Timeline:
        return replay(run.quantized, run.execution, run.speech, run.chip, run.replay.image, parts).timeline

    timelines = {}
    for i, part in enumerate(IDEAL_PARTS):
        tell(f"without {part}", i / (len(IDEAL_PARTS) + 1))
        timelines[part] = without(frozenset({part}))
    return StallTree(run.replay.timeline, timelines, without(frozenset(IDEAL_PARTS)))
