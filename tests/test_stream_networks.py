"""Streams of the zoo's networks on the demo recordings: equal to the run they were cut from, or refused."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from azsim.chip import load_chip
from azsim.cli import app
from azsim.energy.price import price
from azsim.energy.stream import actions, beginnings
from azsim.errors import ScenarioError
from azsim.listen import listen
from azsim.report.stream_write import STREAM_FILES
from azsim.simulate import simulate
from azsim.stream import Ear, Household, Log, load_scenario
from azsim.stream.scenario import Scenario
from azsim.stream.sound import speech_end
from azsim.stream.traffic import Background
from azsim.stream.work import cut

DEMO = Path(__file__).parents[1] / "models" / "demo"
AUDIO = DEMO / "digits_1.wav"
FREE = {
    "power": {"wake_up_us": 0.0},
    "host": {"search_us_per_frame": 0.0, "search_us_per_hypothesis": 0.0},
    "search": {"beam": 1},
}


def alone(model, chip="az1_like", grain="op", **changes):
    role = "recognizer" if model != "endpointer" else "endpointer"
    networks = {"only": {"model": model, "role": role, "priority": 0, "preemption": grain}}
    return Scenario(
        chip=chip, utterances=[{"audio": str(AUDIO), "pause_s": 0}], networks=networks, **{**FREE, **changes}
    )  # fmt: skip


def frames_done(described):
    """Cycle in which each frame was done."""
    chip = load_chip(described.chip, described.chip_set)
    ear, done = Ear(described, chip), []
    total = chip.cycles(sum(ear.length_s(spoken) for spoken in described.utterances))
    with Log(chip.clock_hz, total, None) as log:
        log.frame = lambda *row: done.append(row[5])
        Household(described, chip, total, log, ear.front.frame_ms, ear.sources()).run(ear.windows(False))
    return np.array(done), ear


@pytest.fixture(scope="module")
def amnet_run():
    return simulate("amnet", AUDIO)


@pytest.mark.parametrize("grain", ["op", "tile", "none"])
def test_a_network_alone_is_done_exactly_when_its_replay_is(amnet_run, grain):
    done, ear = frames_done(alone("amnet", grain=grain))
    assert np.array_equal(done, amnet_run.replay.timeline.frame_done)
    assert ear.guests["only"].pinned == tuple(sorted(amnet_run.replay.timeline.pinned))


@pytest.mark.parametrize("chip", ["az2_like", "ese"])
def test_that_holds_on_other_chips(chip):
    done, _ = frames_done(alone("amnet", chip))
    assert np.array_equal(done, simulate("amnet", AUDIO, chip).replay.timeline.frame_done)


@pytest.mark.parametrize("bandwidth", [0.1e9, 0.4e9, 6.4e9])
def test_that_holds_where_loads_are_slow_and_fast(bandwidth):
    done, _ = frames_done(alone("amnet", chip_set={"dram.bandwidth_bytes_per_s": bandwidth}))
    run = simulate("amnet", AUDIO, overrides=[f"dram.bandwidth_bytes_per_s={bandwidth}"])
    assert np.array_equal(done, run.replay.timeline.frame_done)


def test_background_stretches_a_network_as_a_replay_at_the_bandwidth_that_is_left(amnet_run):
    """Closed form against replay: the same within a tenth, for small bursts and shares of a quarter and a half."""
    timeline, chip = amnet_run.replay.timeline, amnet_run.chip
    work = cut("amnet", timeline, chip.latency_cycles, "op")
    alone_cycles = int(work.span_cycles.sum())
    for share in (0.25, 0.5):
        peak = chip.dram.bandwidth_bytes_per_s
        described = alone("amnet", background={"x": {"bytes_per_s": share * peak, "burst_bytes": 256}})
        ends, _ = Background(described.background, chip, 0).run(0, work.span_cycles, work.bus_cycles, 0)
        less = simulate("amnet", AUDIO, overrides=[f"dram.bandwidth_bytes_per_s={(1 - share) * peak}"])
        stretched = less.replay.timeline.working_cycles
        assert stretched > 1.1 * alone_cycles  # otherwise there would be nothing to compare
        assert ends[-1] == pytest.approx(stretched, rel=0.1)


def test_frames_that_ran_are_a_sum_of_beginnings():
    rng = np.random.default_rng(1)
    cost = rng.integers(1, 100, 20)
    times = {t: int(n) for t, n in enumerate(rng.integers(0, 4, 20))}
    counted = beginnings(Counter(times))
    assert sum(n * cost[:stop].sum() for stop, n in counted.items()) == sum(cost[t] * n for t, n in times.items())


def test_actions_cost_what_the_run_costs(amnet_run):
    """One utterance, nothing broken off: the networks' share and the pins are the run's, component by component."""
    heard = listen(alone("amnet"))
    expected = actions(price(amnet_run.replay.timeline.counts, amnet_run.chip))
    found = heard.energy.by_network["only"]
    assert set(expected) == set(found)
    for name, (value, low, high) in expected.items():
        assert found[name] == pytest.approx((value, low, high), rel=1e-9), name


@pytest.mark.parametrize("number", range(1, 7))
def test_speech_ends_where_the_voice_does_though_there_is_noise(number):
    """The commands were trimmed at 40 dB below their loudest; 0.3 s of quiet and noise at 25 dB followed."""
    samples, rate = soundfile.read(DEMO / f"household_{number}.wav", dtype="float32")
    truth = len(samples) / rate - 0.3
    assert speech_end(samples, rate) == pytest.approx(truth, abs=0.03)
    assert speech_end(samples, rate) < truth + 0.02
    assert speech_end(np.zeros(1600, np.float32), rate) == 0.1  # nothing but silence


def write(folder, text):
    file = folder / "s.yaml"
    file.write_text(text)
    return file


NETWORK = "networks: {only: {model: amnet, role: recognizer, priority: 0%s}}"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (NETWORK % "", "utterances: is missing"),
        (f"utterances: [{{audio: {AUDIO}}}]\n" + NETWORK % ", deadline_ms: 0.001", "shorter than one op step"),
        (f"utterances: [{{audio: {AUDIO}}}]\n" + NETWORK % ", weights: pinned", "does not fit next to"),
        (f"utterances: [{{audio: {AUDIO}}}]\nuplink: {{bytes_per_s: 0}}\n" + NETWORK % "", "no answer ever comes"),
        (f"utterances: [{{audio: {AUDIO}}}]\nuplnk: {{bytes_per_s: 1}}\n" + NETWORK % "", "did you mean uplink"),
        (f"utterances: [{{audio: {AUDIO}}}]\n" + NETWORK % ", arrivals: poisson", "`period_ms` is given exactly"),
        (f"utterances: [{{audio: {AUDIO}}}]\nnetworks: {{e: {{model: amnet, role: endpointer, priority: 0}}}}",
         "needs the thresholds speculative and final"),
        ("utterances: [{audio: nowhere.wav}]\n" + NETWORK % "", "nowhere.wav"),
        (f"utterances: [{{audio: {AUDIO}}}]\nchip_set: {{controller.chunk_frames: 2}}\n" + NETWORK % "",
         "chunk_frames = 1"),
        ("utterances: [", "not valid YAML in line 1"),
        (f"utterances: [{{audio: {AUDIO}}}]\nchip_set: {{activation_sram_bytes: 1500}}\n" + NETWORK % "",
         "activation_sram_bytes"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_the_clock_starts(tmp_path, text, wanted):
    with pytest.raises(Exception, match=wanted) as caught:
        listen(write(tmp_path, text))
    assert type(caught.value).__module__ == "azsim.errors"


def test_a_user_s_mistake_is_a_sentence_and_leaves_no_report(tmp_path):
    file = write(tmp_path, f"utterances: [{{audio: {AUDIO}}}]\n" + NETWORK % ", priorty: 3")
    result = CliRunner().invoke(app, ["stream", str(file), "--out", str(tmp_path / "out"), "--quiet"])
    assert result.exit_code == 2
    assert "networks.only.priorty: unknown field, did you mean priority?" in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert list((tmp_path / "out").iterdir()) == []


def test_a_stream_from_the_shell_writes_its_four_files_and_says_the_same_again(tmp_path):
    file = write(tmp_path, f"utterances: [{{audio: {AUDIO}, pause_s: 1}}]\nsearch: {{beam: 2}}\n" + NETWORK % "")
    found = []
    for name in ("first", "second"):
        arguments = ["stream", str(file), "--out", str(tmp_path / name), "--set", "seed=5", "--quiet"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert {f.name for f in (tmp_path / name).iterdir()} == set(STREAM_FILES)
        figures = json.loads((tmp_path / name / "stream.json").read_text())
        assert figures["answers"][0]["recognized"] == "three one four one five"
        for clock in ("simulated_s_per_s", "simulated_s_per_s_with_execution"):
            figures.pop(clock)
        found.append((figures, (tmp_path / name / "frames.csv").read_text()))
    assert found[0] == found[1]


def test_overrides_reach_scenario_and_chip(tmp_path):
    file = write(tmp_path, f"utterances: [{{audio: {AUDIO}}}]\n" + NETWORK % "")
    found = load_scenario(file, ["uplink.round_trip_ms=80", "chip.mac_array.pes=32", "networks.only.deadline_ms=7",
                                 "utterances.0.pause_s=9"])  # fmt: skip
    assert (found.uplink.round_trip_ms, found.networks["only"].deadline_ms) == (80, 7)
    assert found.utterances[0].pause_s == 9
    assert load_chip(found.chip, found.chip_set).mac_array.pes == 32
    with pytest.raises(ScenarioError, match="there is no network 'onyl', but only"):
        load_scenario(file, ["networks.onyl.deadline_ms=7"])


def cut_on(*overrides):
    run = simulate("amnet", AUDIO, overrides=list(overrides))
    return cut("amnet", run.replay.timeline, run.chip.latency_cycles, "op"), run


def test_what_a_switch_throws_away_is_what_was_prefetched(amnet_run):
    work = cut("amnet", amnet_run.replay.timeline, amnet_run.chip.latency_cycles, "op")
    timeline, sram = amnet_run.replay.timeline, amnet_run.chip.weight_sram
    longest = int((timeline.load_end - timeline.load_start)[timeline.tile_loads].max())
    assert 0 < work.cold_cycles.max() <= longest + amnet_run.chip.latency_cycles
    assert 0 < work.cold_bytes.max() <= sram.tile_slots * timeline.tile_stored_bytes.max()
    assert not work.cold_cycles[work.bus_cycles == 0].any()  # a step that loads nothing loses nothing
    assert work.bus_cycles.sum() == timeline.tile_bus_cycles.sum()


def test_without_prefetch_a_switch_costs_the_latency_at_most_and_no_bytes():
    work, run = cut_on("weight_sram.tile_slots=1", "stream.dma_outstanding=1")
    waits_in_full = work.cold_cycles[(work.bus_cycles > 0) & (work.cold_bytes == 0)]
    assert len(waits_in_full) > 10
    assert waits_in_full.max() <= run.chip.latency_cycles
