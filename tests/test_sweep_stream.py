"""Sweeps of streams: a point is a household on a chip, and what chips share is executed once."""

import itertools
import shutil
from pathlib import Path

import pytest
import yaml

from azsim.chip import load_chip
from azsim.errors import SweepError
from azsim.execute import Interpreter
from azsim.graph import load_network
from azsim.listen import listen
from azsim.stream import executions, load_scenario
from azsim.sweep import Watcher, load_results, search, sweep, work
from azsim.sweep import stream as sweep_stream
from azsim.sweep.figures import STREAM, stream_figures
from azsim.sweep.run import Catalog
from azsim.sweep.space import load_space

DIGITS = Path(__file__).parents[1] / "models" / "demo" / "digits_1.wav"
LOAD = "scenario.background.display.bytes_per_s"
CHIPS = ("az1_like", "az2_like")
LOADS = (1e6, 0.4e9, 0.7e9, 1.0e9, 1.3e9)
HOUSEHOLD = {
    "name": "small",
    "utterances": [{"audio": "said.wav", "pause_s": 1.0}],
    "networks": {
        "recognizer": {"model": "amnet", "role": "recognizer", "priority": 1, "deadline_ms": 30},
        "endpointer": {"model": "endpointer", "role": "endpointer", "priority": 0, "deadline_ms": 5},
    },
    "background": {"music": {"bytes_per_s": 1.5e6}},
}


@pytest.fixture(scope="module", autouse=True)
def fresh_caches(tmp_path_factory):
    """No execution of an earlier run, on disk or in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(work, "_executions", work.Recent(work.EXECUTIONS_KEPT))
        patch.setattr(work, "_images", work.Recent(work.IMAGE_BYTES_KEPT, work._image_bytes))
        patch.setattr(sweep_stream, "_ears", work.Recent(sweep_stream.EARS_KEPT))
        yield


@pytest.fixture(scope="module")
def networks():
    return {name: load_network(name) for name in ("amnet", "endpointer")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scenario with its recording and what is said."""
    place = tmp_path_factory.mktemp("household")
    for suffix in (".wav", ".txt"):
        shutil.copy(DIGITS.with_suffix(suffix), place / f"said{suffix}")
    (place / "home.yaml").write_text(yaml.safe_dump(HOUSEHOLD, sort_keys=False))
    return place


def a_space(folder, **changes):
    return {"name": "loads", "scenario": str(folder / "home.yaml"), **changes}


@pytest.fixture(scope="module")
def swept(folder, networks, tmp_path_factory):
    """(store, space, calls of Interpreter.execute) of a sweep over chips and loads, in this process."""
    store, calls = tmp_path_factory.mktemp("store") / "loads.db", []
    space = a_space(folder, axes={"chip": CHIPS, LOAD: LOADS})
    execute = Interpreter.execute
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interpreter, "execute", lambda self, *a, **k: calls.append(self) or execute(self, *a, **k))
        sweep(space, store, workers=0, networks=networks)
    return store, space, calls


def figures(row):
    return {name: row[name] for name in STREAM if name in row and row[name] == row[name]}


def test_executions_are_shared_between_chips_and_loads(swept):
    store, _, calls = swept
    assert len(load_results(store)) == len(CHIPS) * len(LOADS)
    assert len(calls) == 2  # two networks, one recording


def test_figures_are_those_of_listening_to_the_same_scenario_on_the_same_chip(swept, folder):
    """The second chip, so that what the first one left behind would show; replays are shared by neighbors."""
    found = load_results(swept[0])
    [row] = found[(found["chip"] == "az2_like") & (found["dram_background_bytes_per_s"] == 1.5e6 + 0.7e9)].to_dict(
        "records"
    )
    heard = listen(load_scenario(folder / "home.yaml", ["chip=az2_like", "background.display.bytes_per_s=0.7e9"]))
    assert figures(row) == stream_figures(heard)
    assert row["felt_latency_mean_ms"] == pytest.approx(1e3 * heard.stream.answers[0].latency_s)
    assert row["dram_left_bytes_per_s"] == load_chip("az2_like").dram.bandwidth_bytes_per_s - 1.5e6 - 0.7e9
    # "five nine two ..." is in the .txt beside the recording, so that errors are known
    assert row["wer"] == row["word_errors"] / len((folder / "said.txt").read_text().split())


def test_a_second_sweep_runs_nothing(swept, networks):
    store, space, _ = swept
    left = []
    sweep(space, store, workers=0, networks=networks, watcher=Watcher(on_plan=lambda plan, n: left.append(plan.left)))
    assert left == [[]]


def test_more_background_load_never_makes_the_worst_frame_faster(swept):
    """Up to 1.3 of the 1.6 GB/s of az1_like; az2_like pins both networks, and never notices.

    Phases are drawn anew for each rate, so that a frame may meet one burst of each kind of traffic less than at a lower
    rate: twice 4,096 B at 1.6 GB/s are 5.1 us.
    """
    found = load_results(swept[0]).sort_values("dram_background_bytes_per_s")
    worst = {chip: found[found["chip"] == chip]["worst_frame_ms"].tolist() for chip in CHIPS}
    for row in worst.values():
        assert all(later >= earlier - 5.1e-3 for earlier, later in itertools.pairwise(row)), row
    assert worst["az1_like"][-1] > 2 * worst["az1_like"][0]
    assert len(set(worst["az2_like"])) == 1


def key_of(space, networks):
    described = load_space(space)
    return Catalog(networks).key(next(iter(described.points())))


@pytest.fixture(scope="module")
def key(folder, networks):
    return key_of(a_space(folder), networks)


def test_the_key_does_not_depend_on_name_and_place_of_files(folder, networks, key, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    (moved / "home.yaml").rename(moved / "renamed.yaml")
    for suffix in (".wav", ".txt"):
        (moved / f"said{suffix}").rename(moved / f"other{suffix}")
    (moved / "renamed.yaml").write_text((moved / "renamed.yaml").read_text().replace("said.wav", "other.wav"))
    assert key_of({"scenario": str(moved / "renamed.yaml")}, networks) == key


@pytest.mark.parametrize(
    ("path", "value", "is_executed_again"),
    [
        ("scenario.uplink.round_trip_ms", 80, False),
        ("scenario.background.music.bytes_per_s", 2e6, False),
        ("scenario.background.radio.bytes_per_s", 1e6, False),
        ("scenario.networks.recognizer.priority", 5, False),
        ("scenario.power.rest_mw", 3, False),
        ("scenario.search.beam", 2, True),
        ("scenario.endpointing.longest_wait_s", 0.5, True),
        ("scenario.seed", 1, True),
        ("mac_array.pes", 32, False),
    ],
)
def test_the_key_changes_with_a_field_and_the_execution_only_where_it_depends_on_it(
    folder, networks, key, path, value, is_executed_again
):
    plain, space = load_space(a_space(folder)), load_space(a_space(folder, axes={path: [value]}))
    catalog = Catalog(networks)
    [before], [after] = list(plain.points()), list(space.points())
    assert catalog.key(before) == key != catalog.key(after)
    assert (catalog.work(before).key != catalog.work(after).key) == is_executed_again


def test_the_key_changes_with_what_is_said(folder, networks, key, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    (moved / "said.txt").write_text("something else\n")
    assert key_of({"scenario": str(moved / "home.yaml")}, networks) != key


@pytest.mark.parametrize(
    ("axis", "near"),
    [
        ("scenario.networks.recogniser.priority", "scenario.networks.recognizer.priority"),
        ("scenario.background.music.byte_per_s", "scenario.background.music.bytes_per_s"),
        ("scenario.uplink.round_trip", "scenario.uplink.round_trip_ms"),
        ("scenario.chip.mac_array.pes", "'mac_array.pes'"),
        ("uplink.round_trip_ms", "scenario.uplink.round_trip_ms"),
    ],
)
def test_an_unknown_axis_is_refused_with_the_nearest(folder, axis, near):
    with pytest.raises(SweepError, match=near.replace(".", r"\.")):
        load_space(a_space(folder, axes={axis: [1]}))


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": {"network": ["amnet"]}},
        {"rows": [{"audio": str(DIGITS)}]},
        {"network": "amnet"},
        {"audio": str(DIGITS)},
        {"axes": {"weight_bits": [4]}},
        {"axes": {"weight_density": [0.5]}},
        {"fidelity": "sampled"},
    ],
)
def test_what_a_scenario_has_itself_is_refused_beside_it(folder, changes):
    with pytest.raises(SweepError, match="does not apply beside `scenario`"):
        load_space(a_space(folder, **changes))


def test_a_load_above_the_bandwidth_fails_before_it_runs_and_says_why(folder):
    [point] = load_space(a_space(folder, axes={LOAD: [30e9]})).points()
    assert point.chip is None and "must be less than the DRAM of az1_like" in point.problem


def test_figures_of_a_run_are_none_of_a_stream(folder, tmp_path):
    with pytest.raises(SweepError, match="felt_latency_p95_ms"):
        load_space(a_space(folder, where="latency_p95_ms < 3"))
    with pytest.raises(SweepError, match="felt_latency_p95_ms"):
        search(a_space(folder), tmp_path / "x.db", ["latency_p95_ms"], 1)


def test_a_search_finds_a_load_that_meets_all_deadlines(folder, networks, tmp_path):
    """At most of the bandwidth, the recognizer is late; from nothing up to there, some load is the highest."""
    space = a_space(
        folder,
        axes={LOAD: {"from": 1e6, "to": 30e9, "log": True}},
        where=["deadline_misses == 0", "is_overloaded == 0"],
    )
    found = search(space, tmp_path / "s.db", ["dram_left_bytes_per_s"], 8, workers=0, networks=networks, batch=4)
    best = found[found["is_on_front"]].iloc[0]
    feasible = found[found["is_feasible"]]
    assert len(found) == 8 and best["deadline_misses"] == 0
    assert best["dram_background_bytes_per_s"] == feasible["dram_background_bytes_per_s"].max()


def test_executions_that_are_handed_over_are_not_made_again(folder):
    described = load_scenario(folder / "home.yaml")
    key = executions.key_of(described.utterances[0], described)
    assert executions.Executions(described, {}, {key: "done before"}).of(key) == "done before"
