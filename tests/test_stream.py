"""The stream against what must hold: the replay, queueing theory, conservation, priorities."""

import math

import numpy as np
import pytest

from azsim.chip import Chip
from azsim.stream import Household, Log
from azsim.stream.household import Source
from azsim.stream.scenario import Scenario
from azsim.stream.window import Window
from azsim.stream.work import Work

KEY = ("drawn", 0.0, None)
CHIP = Chip(clock_hz=1e6)
SERVICE = 10_000  # cycles of a job
T_95_OF_20 = 2.093  # Student's t, two-sided 95 %, 19 degrees of freedom


def work(name, spans, per_frame=1, cold=0, bus=0, expansions_after=0):
    """A network whose frames take ``per_frame`` steps each."""
    spans = np.asarray(spans, np.int64)
    n, frames = len(spans), len(spans) // per_frame
    full = lambda value, size: np.full(size, value, np.int64)  # noqa: E731
    return Work(
        name, np.arange(frames + 1) * per_frame, spans, full(bus, n), full(cold, n), full(10 * bool(cold), n),
        np.zeros(n, np.int64), full(expansions_after, frames), np.zeros(frames, np.int64), np.zeros(frames, np.int64),
    )  # fmt: skip


def scenario(networks, **changes):
    quiet = {"retention_after_ms": 1e9, "wake_up_us": 0.0}
    host = {"search_us_per_frame": 0.0, "search_us_per_hypothesis": 0.0}
    return Scenario(
        utterances=[{"audio": "drawn.wav"}], networks=networks, power=quiet, **{"host": host, **changes}
    )  # fmt: skip


def window(works, frame_end, length, **about):
    return Window(0, "drawn.wav", "", KEY, length, np.asarray(frame_end, np.int64), works, **about)


def run(described, windows, total, sources=None, chip=CHIP):
    with Log(chip.clock_hz, total, None) as log:
        return Household(described, chip, total, log, 30.0, sources).run(windows)


def poisson_waits(load, seed, jobs):
    """Mean wait of jobs of equal length that come at random, the first quarter left out."""
    described = scenario(
        {"only": {"model": "x", "priority": 0, "arrivals": "poisson", "period_ms": 1e-3 * SERVICE / load}}
    )
    described = described.replace(seed=seed)
    total = int(jobs * SERVICE / load)
    waits, starts = [], []
    with Log(CHIP.clock_hz, total, None) as log:
        household = Household(described, CHIP, total, log, 30.0, {"only": Source(KEY, work("only", [SERVICE]))})
        log.frame = lambda *row: (waits.append(row[5] - row[4] - SERVICE), starts.append(row[4]))
        household.run([window({}, [], total)])
    return float(np.mean(waits[len(waits) // 4 :]))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_poisson_arrivals_wait_as_long_as_m_d_1_says(load):
    """Pollaczek and Khinchine: the mean wait is load / (2 (1 - load)) services."""
    means = [poisson_waits(load, seed, jobs=3000 if load < 0.9 else 8000) / SERVICE for seed in range(20)]
    theory = load / (2 * (1 - load))
    half = T_95_OF_20 * np.std(means, ddof=1) / math.sqrt(20)
    assert abs(np.mean(means) - theory) <= half
    assert half < 0.1 * theory  # an interval so wide that anything fits would prove nothing
