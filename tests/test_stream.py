"""The stream against what must hold: the replay, queueing theory, conservation, priorities."""

import math

import numpy as np
import pytest

from azsim.chip import Chip
from azsim.errors import ScenarioError
from azsim.stream import Household, Log
from azsim.stream.actors import Source
from azsim.stream.scenario import Scenario
from azsim.stream.window import Decision, Message, Window, decide
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
        np.zeros(n, np.int64), full(expansions_after, frames), np.zeros(frames, np.int64),
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


def test_little_s_law_holds_and_nothing_is_lost():
    described = scenario({"only": {"model": "x", "priority": 0, "arrivals": "poisson", "period_ms": 0.2}})
    found = run(described, [window({}, [], 100_000)], 100_000, {"only": Source(KEY, work("only", [90, 30, 150]))})
    book = found.books["only"]
    assert book.frames_in == book.frames_out + book.backlog > 300
    assert book.backlog_cycles == book.sojourn_cycles > 0  # the area under the backlog is the sum of the sojourns


def two(urgent_priority=0, grain="op"):
    return scenario({
        "urgent": {"model": "x", "priority": urgent_priority},
        "patient": {"model": "x", "priority": 1 - urgent_priority, "preemption": grain},
    })  # fmt: skip


class Lagging:
    """Frames of the urgent network come in the middle of the patient one's: feature extraction takes 55 cycles more."""

    def __init__(self, grain_steps, cold=0, bus=0):
        self.patient = work("patient", [40] * grain_steps, per_frame=grain_steps, cold=cold, bus=bus)
        self.urgent = work("urgent", [10], cold=0, bus=5)


def pieces(described, works, total=1000, frame_end=(100,), chip=CHIP):
    ran = []
    with Log(chip.clock_hz, total, None) as log:
        household = Household(described, chip, total, log, 30.0)
        shared = household.stream.chip
        shared.on_piece = lambda network, start, end: ran.append((network, start, end))
        late = works.pop("late", 0)
        if late:
            household.env.process(submit_later(household, works.pop("urgent"), late))
        found = household.run([window(works, frame_end, total)])
    return ran, found


def submit_later(household, job, at, priority=0):
    yield household.env.timeout(at)
    yield household.stream.chip.submit(job, 0, 1, priority).done


def test_an_urgent_network_waits_for_one_step_and_no_more():
    jobs = Lagging(grain_steps=4)
    ran, found = pieces(two(), {"patient": jobs.patient, "urgent": jobs.urgent, "late": 155})
    assert ran == [("patient", 100, 180), ("urgent", 180, 190), ("patient", 190, 270)]
    assert found.chip.preemptions == {"patient": 1}
    assert found.books["patient"].waited_cycles["chip"] == 10


def test_a_network_without_grain_is_not_preempted():
    jobs = Lagging(grain_steps=1)
    ran, found = pieces(two(grain="none"), {"patient": work("patient", [160]), "urgent": jobs.urgent, "late": 155})
    assert ran == [("patient", 100, 260), ("urgent", 260, 270)]
    assert found.chip.preemptions == {}


def test_an_urgent_network_is_never_preempted_by_a_patient_one():
    jobs = Lagging(grain_steps=4)
    ran, _ = pieces(two(urgent_priority=1), {"patient": jobs.patient, "urgent": jobs.urgent})
    assert ran == [("patient", 100, 260), ("urgent", 260, 270)]


def test_a_patient_network_that_comes_later_does_not_disturb():
    described = scenario({"urgent": {"model": "x", "priority": 0}, "patient": {"model": "x", "priority": 1}})
    urgent, ran = work("urgent", [40, 40], per_frame=2), []
    with Log(CHIP.clock_hz, 1000, None) as log:
        household = Household(described, CHIP, 1000, log, 30.0)
        shared = household.stream.chip
        shared.on_piece = lambda network, start, end: ran.append((network, start, end))
        household.env.process(submit_later(household, work("patient", [10]), 110, priority=1))
        household.run([window({"urgent": urgent}, (100,), 1000)])
    assert ran == [("urgent", 100, 180), ("patient", 180, 190)]


def test_features_come_first_and_wait_for_the_host_core():
    job = work("only", [40, 40])
    job.feature_cycles[:] = 30
    ran, found = pieces(scenario({"only": {"model": "x", "priority": 0}}), {"only": job}, frame_end=(100, 110))
    assert ran == [("only", 130, 170), ("only", 170, 210)]  # the second frame's features are ready at 160
    assert found.books["only"].latency.largest == 100
    assert found.host.waited_cycles == 20
    assert found.books["only"].waited_cycles["queue"] == 10


def test_a_switch_costs_the_load_of_the_first_tile():
    jobs = Lagging(grain_steps=4, cold=7, bus=20)
    ran, found = pieces(two(), {"patient": jobs.patient, "urgent": jobs.urgent, "late": 155})
    assert ran[-1] == ("patient", 190, 277)
    assert found.books["patient"].waited_cycles["cold"] == 7
    assert found.books["patient"].cold_bytes == 10


def test_a_network_that_streams_nothing_leaves_the_slots_alone():
    jobs = Lagging(grain_steps=4, cold=7, bus=20)
    ran, _ = pieces(two(), {"patient": jobs.patient, "urgent": work("urgent", [10]), "late": 155})
    assert ran[-1] == ("patient", 190, 270)


def test_power_states_add_up_and_waking_up_takes_its_time():
    described = scenario({"only": {"model": "x", "priority": 0}})
    power = described.power.replace(retention_after_ms=0.05, wake_up_us=30.0)  # 50 and 30 cycles
    ran, found = pieces(described.replace(power=power), {"only": work("only", [40, 40, 40])}, frame_end=(100, 145, 300))
    assert ran == [("only", 130, 170), ("only", 170, 210), ("only", 330, 370)]
    assert found.chip.state_cycles == {"run": 40 + 40 + 40 + 30 + 30, "gated": 150, "retention": 50 + 40 + 581}
    assert sum(found.chip.state_cycles.values()) == found.total_cycles == 1001  # what happens in cycle 1000 is seen


def test_the_host_core_searches_between_the_steps():
    host = {"search_us_per_frame": 3.0, "search_us_per_hypothesis": 5.0}
    described = scenario({"only": {"model": "x", "priority": 0, "role": "recognizer"}}, host=host)
    job = work("only", [40, 60], per_frame=2, expansions_after=2)
    job.expansions[1] = 4
    ran, found = pieces(described, {"only": job})
    assert ran == [("only", 100, 140), ("only", 160, 220)]
    assert found.books["only"].latency.largest == 40 + 4 * 5 + 60 + 2 * 5 + 3
    assert found.search_cycles == 20 + 13


def test_an_overloaded_network_shows_its_backlog():
    described = scenario({"only": {"model": "x", "priority": 0}})
    hop, frames = 100, 200
    _, found = pieces(described, {"only": work("only", [150] * frames)}, 20_000, 100 + hop * np.arange(frames))
    assert found.overloaded == ["only"]
    assert found.books["only"].backlog_at_end[0] == pytest.approx(frames / 3, abs=2)
    series = found.log.backlog["only"]
    busy = series[np.argmax(series > 0) : np.argmax(series)]
    assert busy.min() > 0  # a stretch of time in which nothing came or went does not read 0
    thirds = [part.mean() for part in np.array_split(series[: np.argmax(series)], 3)]
    assert thirds[0] < thirds[1] < thirds[2]
    _, found = pieces(described, {"only": work("only", [90] * frames)}, 20_000, 100 + hop * np.arange(frames))
    assert found.overloaded == []


@pytest.mark.parametrize(("load", "overloaded"), [(0.8, []), (1.2, ["only"])])
def test_jobs_that_nobody_said_may_fall_behind_too(load, overloaded):
    described = scenario({"only": {"model": "x", "priority": 0, "arrivals": "poisson", "period_ms": 1.0 / load}})
    found = run(described, [window({}, [], 2_000_000)], 2_000_000, {"only": Source(KEY, work("only", [1000]))})
    assert found.overloaded == overloaded


def speaking(final_frame, speculative, texts):
    decisions = (*(Decision(f, False) for f in speculative), Decision(final_frame, True))
    messages = {
        d.frame: Message(1000, tuple(map(ord, text)), text, text) for d, text in zip(decisions, texts, strict=True)
    }
    return {"decisions": decisions, "messages": messages, "speech_end_cycles": 400, "audio_bytes": 9, "opus_bytes": 3}


def converse(final_frame, speculative, texts):
    described = scenario(
        {"only": {"model": "x", "priority": 0, "role": "recognizer"}},
        uplink={"bytes_per_s": 1e7, "round_trip_ms": 0.04}, cloud={"rerank_ms": 0.2},
    )  # fmt: skip
    with Log(CHIP.clock_hz, 3000, None) as log:
        household = Household(described, CHIP, 3000, log, 30.0)
        heard = window(
            {"only": work("only", [10] * 10)}, 100 * np.arange(1, 11), 3000, **speaking(final_frame, speculative, texts)
        )
        found = household.run([heard])
    return found.answers[0], found


ASKED = 100 + 40 + 200  # uplink, round trip, cloud


def test_without_speculation_the_answer_takes_the_whole_way():
    answer, found = converse(8, (), ("lights on",))
    assert answer.final_s * 1e6 == pytest.approx(910)
    assert answer.answer_s * 1e6 == pytest.approx(910 + ASKED)
    assert answer.latency_s * 1e6 == pytest.approx(910 + ASKED - 400)
    assert (found.revoked, found.sent_bytes) == (0, 1000)


def test_a_speculation_that_was_right_hides_its_lead():
    answer, found = converse(8, (6,), ("lights on", "lights on"))
    assert answer.answer_s * 1e6 == pytest.approx(710 + ASKED)
    assert (found.revoked, found.sent_bytes) == (0, 1000)


def test_an_answer_that_is_back_early_waits_for_the_final_decision():
    answer, _ = converse(9, (3,), ("lights on", "lights on"))
    assert answer.answer_s == answer.final_s


def test_a_speculation_that_was_wrong_is_sent_again_and_counted():
    answer, found = converse(8, (4,), ("lights", "lights on"))
    assert answer.answer_s * 1e6 == pytest.approx(910 + ASKED)
    assert (answer.revoked, found.revoked, found.revoked_bytes, found.sent_bytes) == (1, 1, 1000, 2000)
    assert answer.best == "lights on"


def test_an_end_pointer_decides_in_the_first_frame_above_and_may_think_again():
    thresholds = {"speculative": 0.0, "final": 1.0}
    speculative = np.array([-1.0, 0.5, 0.5, -1.0, 0.0, 0.5, 0.5, 0.5])
    final = np.array([-9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.5])
    found = decide(speculative, final, thresholds, is_speculating=True)
    assert found == (Decision(1, False), Decision(5, False), Decision(7, True))
    assert decide(speculative, final, thresholds, is_speculating=False) == (Decision(7, True),)
    assert decide(speculative, final - 9, thresholds, is_speculating=False) == (Decision(7, True),)


def test_two_networks_may_not_have_the_same_priority():
    with pytest.raises(ValueError, match=r"networks.b.priority and networks.a.priority are both 1"):
        scenario({"a": {"model": "x", "priority": 1}, "b": {"model": "y", "priority": 1}})


def test_background_may_not_take_all_the_bandwidth():
    peak = CHIP.dram.bandwidth_bytes_per_s
    described = scenario({"a": {"model": "x", "priority": 1}}, background={"video": {"bytes_per_s": peak}})
    with pytest.raises(ScenarioError, match="lower a rate"):
        run(described, [], 100)
