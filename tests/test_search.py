"""Searches: only new points that may run, the same again after a kill, the true front when nothing is left."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import tiny_transducer
from typer.testing import CliRunner

from azsim.chip import load_chip
from azsim.cli import app
from azsim.errors import SweepError
from azsim.graph import network_from_modules
from azsim.sweep import hypervolume, load_failures, load_results, load_space, pareto, search
from azsim.sweep.figures import RESULTS, static_figures
from azsim.sweep.proposals import SAMPLERS, Proposals, missed_by
from azsim.sweep.run import Catalog, make_plan, row_of
from azsim.sweep.search import OBJECTIVES, SearchWatcher
from azsim.sweep.store import Store
from azsim.sweep.sweep import find_workers
from azsim.sweep.work import Outcome

SEARCH = sys.modules["azsim.sweep.search"]
GOALS = list(OBJECTIVES)
SPACE = {
    "name": "small",
    "network": "tiny",
    "axes": {
        "mac_array.pes": [16, 64, 256],
        "dram.bandwidth_bytes_per_s": [0.4e9, 1.6e9, 6.4e9],
        "codec.name": ["zero_mask", "run_length"],
        "codec.index_bits": {"values": [3, 5], "when": "codec.name == 'run_length'"},
    },
    "rows": [
        {"weight_sram.bytes": 131072, "weight_sram.tile_bytes": 8192},
        {"weight_sram.bytes": 262144, "weight_sram.tile_bytes": 16384},
    ],
}
N = 3 * 3 * (1 + 2) * 2
DOOMED_PES = 64


def invented(chip):
    """Results by a formula: PEs save time and cost energy, as bandwidth does; index bits cost both."""
    pes, bandwidth = chip.mac_array.pes, chip.dram.bandwidth_bytes_per_s / 1e9
    bits = chip.codec.index_bits if chip.codec.name == "run_length" else 4.5
    time, energy = bits / pes + 0.2 / bandwidth, 500 + 40 * bandwidth + pes**1.5 / 20 + 10 * bits
    return dict.fromkeys(RESULTS, 1.0) | static_figures(chip) | {"latency_p95_ms": time, "energy_working_uj": energy}


class Lab:
    """Stands in for workers, and writes down what ran."""

    def __init__(self, space, networks):
        self.space, self.networks, self.ran, self.fails = space, networks, [], False

    def run_plan(self, plan, store, workers, pool, fresh, on_rows):
        for key in plan.left:
            point, work = plan.keys[key]
            self.ran.append(key)
            if self.fails and point.chip.mac_array.pes == DOOMED_PES:
                committed = [], [(key, "it does not fit")]
            else:
                committed = [row_of(point, work, Outcome(key, invented(point.chip), "", 0.1))], []
            store.add(*committed)
            on_rows(*committed)
        return pool

    def search(self, store, points=1000, sampler="tpe", changes=None, objectives=GOALS, **options):
        space = {**self.space, **(changes or {})}
        return search(space, store, objectives, points, sampler, networks=self.networks, **options)

    def sweep(self, store, changes=None):
        """Run all points; the table of what is feasible."""
        space = load_space({**self.space, **(changes or {})})
        with Store(store) as opened:
            self.run_plan(make_plan(space, opened, Catalog(self.networks)), opened, 1, None, None, lambda *_: None)
            points = opened.points(space.name)
        rows = [{"key": row.key, **row.figures} for _, axes, row in points if space.is_feasible(axes, row.figures)]
        return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def tiny():
    built = tiny_transducer()
    return network_from_modules(built.pop("name"), built.pop("graphs"), **built)


@pytest.fixture
def lab(tiny, recording, monkeypatch):
    lab = Lab({**SPACE, "audio": str(recording)}, {"tiny": tiny})
    monkeypatch.setattr(SEARCH, "run_plan", lab.run_plan)
    monkeypatch.setattr(SEARCH, "find_workers", lambda *_: nullcontext((1, lambda: "pool", None)))
    return lab


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_front_is_the_true_one_when_all_points_may_be_tried(lab, tmp_path, sampler):
    everything = lab.sweep(tmp_path / "swept.db")
    lab.ran.clear()
    found = lab.search(tmp_path / "searched.db", sampler=sampler)
    assert len(found) == len(everything) == N == len(lab.ran)  # each once, and the search ends by itself
    assert set(found.key) == set(everything.key)
    front = set(everything.key[pareto(everything, GOALS)])
    assert 5 < len(front) < 40 and set(found.key[found.is_on_front]) == front


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_share_of_the_points_is_tried_and_no_more(lab, tmp_path, sampler):
    seen = []
    found = lab.search(tmp_path / "s.db", 33, sampler, watcher=SearchWatcher(on_points=lambda t, n: seen.append(n)))
    assert len(found) == found.key.nunique() == len(lab.ran) == 33 and seen == [20, 33]
    assert lab.search(tmp_path / "s.db", 33, sampler, seed=1).key.tolist() != found.key.tolist()


def test_two_ways_to_say_the_same_are_one_point(lab, tmp_path):
    changes = {"axes": {"mac_array.pes": [16, 64], "weight_bits": [None, 8]}, "rows": []}  # 8 bits are its own
    assert len(lab.search(tmp_path / "s.db", 100, changes=changes)) == 2


def test_points_are_members_of_a_sweep_of_their_own(lab, tmp_path):
    found = lab.search(tmp_path / "s.db", 10, changes={"where": "area_mm2 < 9"})
    with Store(tmp_path / "s.db") as store:
        assert store.sweeps() == {"small-search": 10}
        assert store.conditions() == {"small-search": ["area_mm2 < 9"]}
    assert set(load_results(tmp_path / "s.db", "small-search").key) == set(found.key)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_conditional_axes_rows_and_ranges_are_those_of_the_space(lab, tmp_path, sampler):
    ranges = {"dram.bandwidth_bytes_per_s": {"from": 0.4e9, "to": 6.4e9, "log": True},
              "dram.latency_ns": {"from": 50, "to": 60, "integer": True}}  # fmt: skip
    found = lab.search(tmp_path / "s.db", 60, sampler, {"axes": {**SPACE["axes"], **ranges}})
    assert len(found) == 60
    assert found["codec.index_bits"].notna().equals(found["codec.name"] == "run_length")
    assert set(found["codec.index_bits"].dropna()) == {3, 5}
    pairs = zip(found["weight_sram.bytes"], found["weight_sram.tile_bytes"], strict=True)
    assert set(pairs) == {(131072, 8192), (262144, 16384)}
    bandwidth = found["dram.bandwidth_bytes_per_s"]
    assert bandwidth.between(0.4e9, 6.4e9).all() and bandwidth.nunique() > 40
    assert set(found["dram.latency_ns"]) <= set(range(50, 61)) and found["dram.latency_ns"].nunique() > 5


def test_a_range_without_steps_is_for_searches_only(lab, tmp_path):
    ranged = {"axes": {"clock_hz": {"from": 1e8, "to": 5e8}}}
    assert len(lab.search(tmp_path / "s.db", 5, changes=ranged)) == 5
    with pytest.raises(SweepError, match="'clock_hz' has no `steps`"):
        lab.sweep(tmp_path / "s.db", ranged)
    with pytest.raises(SweepError, match="'clock_hz' has no `steps`"):
        next(load_space({**lab.space, **ranged}, is_enumerable=False).points())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_that_the_chip_rules_out_never_run(lab, tmp_path, sampler):
    changes = {"where": ["area_mm2 < 0.25", "mac_array.pes != 64"]}
    allowed = lab.sweep(tmp_path / "swept.db", changes)
    lab.ran.clear()
    found = lab.search(tmp_path / "s.db", 1000, sampler, changes)
    assert 10 < len(allowed) < 40 and set(found.key) == set(lab.ran) == set(allowed.key)
    assert (found.area_mm2 < 0.25).all() and found.is_feasible.all()
    with Store(tmp_path / "s.db") as store:
        assert store.sweeps() == {"small-search": len(allowed)}  # not even listed


def test_conditions_on_results_are_constraints(lab, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(SEARCH, "Proposals", lambda *a: kept.append(Proposals(*a)) or kept[-1])
    changes = {"where": "energy_working_uj < 700"}
    feasible = lab.sweep(tmp_path / "swept.db", changes)
    found = lab.search(tmp_path / "s.db", changes=changes)
    assert len(found) == N and found.is_feasible.equals(found.energy_working_uj < 700)
    assert 0 < found.is_feasible.sum() == len(feasible) < N
    assert set(found.key[found.is_on_front]) == set(feasible.key[pareto(feasible, GOALS)])
    told = [t for t in kept[0].study.trials if t.constraints]
    assert len(told) == N
    for trial, (_, point) in zip(told, found.iterrows(), strict=True):
        # the excess over the larger of both; 0 where the condition holds
        assert trial.constraints["where"] == pytest.approx(max(0.0, 1 - 700 / point.energy_working_uj))
        # and Optuna takes it for the point that ran, not for the one that it proposed at first
        assert SPACE["axes"]["mac_array.pes"][trial.params["mac_array.pes"]] == point["mac_array.pes"]
        assert trial.values == [point[name] for name in GOALS]


def test_a_constrained_search_looks_where_points_are_feasible(lab, tmp_path):
    changes = {"where": "energy_working_uj < 615"}
    share = len(lab.sweep(tmp_path / "s.db", changes)) / N
    assert share < 0.5
    later = [lab.search(tmp_path / "s.db", 35, "tpe", changes, seed=n).is_feasible[20:].mean() for n in range(3)]
    assert np.mean(later) > 1.3 * share


def test_the_distance_from_a_condition():
    figures = {"latency_p95_ms": 4.0, "area_mm2": 2.0, "text": "one"}
    assert missed_by(["latency_p95_ms < 1"], figures) == 0.75  # (4 - 1) / 4
    assert missed_by(["area_mm2 >= 8"], figures) == 0.75  # (8 - 2) / 8
    assert missed_by(["area_mm2 < 3", "latency_p95_ms <= 3 and area_mm2 > 4"], figures) == 0.25 + 0.5
    assert missed_by(["text == 'two'"], figures) == missed_by(["1 > latency_p95_ms"], figures) == 1.0


def test_known_points_cost_nothing(lab, tmp_path):
    lab.sweep(tmp_path / "s.db")
    lab.ran.clear()
    found = lab.search(tmp_path / "s.db", 50)
    assert len(found) == 50 and not lab.ran
    pd.testing.assert_frame_equal(found, lab.search(tmp_path / "other.db", 50))  # and are answered alike
    assert len(lab.ran) == 50


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("killed_after", [1, 27])
def test_a_search_that_was_killed_goes_on_and_ends_the_same(lab, tmp_path, sampler, killed_after):
    lab.fails = True  # failures are replayed, too
    changes = {"where": "energy_working_uj < 700"}
    whole = lab.search(tmp_path / "whole.db", 45, sampler, changes)
    lab.ran.clear()

    def kill(rows, failures):
        if len(lab.ran) == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.search(tmp_path / "cut.db", 45, sampler, changes, watcher=SearchWatcher(on_rows=kill))
    assert len(lab.ran) == killed_after
    resumed = lab.search(tmp_path / "cut.db", 45, sampler, changes)
    pd.testing.assert_frame_equal(resumed, whole)
    assert len(lab.ran) == len(set(lab.ran)) == 45


def test_failures_are_kept_and_the_search_goes_on(lab, tmp_path):
    lab.fails = True
    found = lab.search(tmp_path / "s.db")
    assert len(lab.ran) == N and len(found) == N - 18  # one of three numbers of PEs
    failures = load_failures(tmp_path / "s.db", "small-search")
    assert len(failures) == 18 and set(failures.error) == {"it does not fit"}
    assert DOOMED_PES not in set(found["mac_array.pes"])


def test_chips_that_cannot_be_built_are_failures_and_are_no_points(lab, tmp_path):
    bad = [-n for n in range(1, 30)]
    changes = {"axes": {"mac_array.pes": [16, *bad, 32, 64]}, "rows": []}
    for seed in range(5):
        tried = []
        told = SearchWatcher(on_points=lambda table, n, tried=tried: tried.append(n))
        found = lab.search(tmp_path / "s.db", 3, "random", changes, seed=seed, watcher=told)
        assert sorted(found["mac_array.pes"]) == [16, 32, 64] and len(lab.ran) == tried[-1] == 3
    lab.search(tmp_path / "s.db", 100, changes=changes)
    failures = load_failures(tmp_path / "s.db", "small-search")
    assert set(failures["mac_array.pes"]) == set(bad) and failures.error.str.contains("pes").all()
    with pytest.raises(SweepError, match=r"no point could run.*pes"):
        lab.search(tmp_path / "t.db", changes={"axes": {"mac_array.pes": [-1, -2]}})
    ranged = {"axes": {"clock_hz": {"from": -5, "to": -1}}}
    with pytest.raises(SweepError, match=r"no point could run.*clock_hz"):
        lab.search(tmp_path / "u.db", changes=ranged)


def test_a_proposal_seen_before_is_replaced_by_a_neighbor(lab, tiny):
    axes = {"mac_array.pes": [16, 32, 64, 128, 256], "mac_array.lanes": [1, 2, 4, 8, 16]}
    space = load_space({**lab.space, "axes": axes, "rows": []})
    for seed in range(20):
        proposals = Proposals(space, Catalog({"tiny": tiny}), 3, "random", seed)
        here = {"mac_array.pes": 2, "mac_array.lanes": 3}
        near, (point, _) = proposals._replacement(here)
        assert sorted(abs(near[path] - here[path]) for path in here) == [0, 1]
        assert point.axes == {path: axes[path][near[path]] for path in here}


def test_proposals_do_not_depend_on_how_python_hashes(lab, tmp_path):
    code = (
        "import json, sys, test_search as t, networks\n"
        "built = t.tiny_transducer(); tiny = t.network_from_modules(built.pop('name'), built.pop('graphs'), **built)\n"
        "lab = t.Lab(json.loads(sys.argv[1]), {'tiny': tiny})\n"
        "t.SEARCH.run_plan = lab.run_plan\n"
        "t.SEARCH.find_workers = lambda *_: t.nullcontext((1, lambda: 'pool', None))\n"
        "print(json.dumps([lab.search(f'{sys.argv[2]}/{s}.db', 30, s).key.tolist() for s in t.SAMPLERS]))\n"
    )
    here = [lab.search(tmp_path / f"{sampler}.db", 30, sampler).key.tolist() for sampler in SAMPLERS]
    (tmp_path / "there").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lab.space), str(tmp_path / "there")], capture_output=True, text=True,
        cwd=Path(__file__).parent, env={**os.environ, "PYTHONHASHSEED": "7"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == here


def test_workers_run_what_the_store_does_not_know(tiny, recording, tmp_path, monkeypatch):
    pools = []
    monkeypatch.setenv("AZSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(SEARCH, "find_workers", lambda *given: pools.append(given) or find_workers(*given))
    space = {**SPACE, "audio": str(recording)}
    found = search(space, tmp_path / "s.db", points=24, workers=0, networks={"tiny": tiny})
    assert len(found) == 24 and pools == [(None, 0)]  # two batches, one pool
    assert (found.latency_p95_ms > 0).all() and found.energy_working_uj.nunique() > 5
    again = search(space, tmp_path / "s.db", points=24, workers=0, networks={"tiny": tiny})
    pd.testing.assert_frame_equal(again, found)
    assert len(pools) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": ["latency_p95"]}, "'latency_p95' is no figure; did you mean latency_p95_ms"),
        ({"objectives": ["bound"]}, "'bound' is no figure; did you mean .*_bound_ms"),
        ({"objectives": []}, "one or more different figures, but got none"),
        ({"objectives": ["area_mm2", "area_mm2"]}, "one or more different figures"),
        ({"sampler": "nsga3"}, "'nsga3' does not exist; choose tpe, nsga2, random"),
        ({"points": 0}, "`points >= 1` must hold, but got 0"),
        ({"changes": {"where": "area_mm2 < 0.01"}}, "no point could run; `where` leaves all out: area_mm2 < 0.01"),
        ({"objectives": ["wer"]}, r"write what is said into .*tone\.txt"),
    ],
)
def test_mistakes_are_told(lab, tmp_path, options, message):
    with pytest.raises(SweepError, match=message):
        lab.search(tmp_path / "s.db", **options)
    assert not lab.ran


def test_word_errors_need_a_transcript_and_trained_weights(lab, tiny, recording, tmp_path, monkeypatch):
    path = tmp_path / "said.wav"
    path.write_bytes(Path(recording).read_bytes())
    path.with_suffix(".txt").write_text("\n")
    changes = {"audio": str(path)}
    with pytest.raises(SweepError, match=r"write what is said into .*said\.txt"):
        lab.search(tmp_path / "r.db", 5, changes=changes, objectives=["wer"])
    path.with_suffix(".txt").write_text("a b\n")
    assert len(lab.search(tmp_path / "s.db", 5, changes=changes, objectives=["wer", "area_mm2"])) == 5
    without = {name: value for name, value in invented(load_chip("az1_like")).items() if name != "wer"}
    monkeypatch.setattr(sys.modules[__name__], "invented", lambda chip: without)
    with pytest.raises(SweepError, match=r"objective 'wer': tiny on .* has no value of it"):
        lab.search(tmp_path / "u.db", 5, changes=changes, objectives=["wer"])
    lab.networks = {"tiny": replace(tiny, synthetic_weights=True)}
    with pytest.raises(SweepError, match="'tiny': its weights are made up"):
        lab.search(tmp_path / "t.db", 5, changes=changes, objectives=["word_errors"])


def test_the_command_shows_the_front_and_goes_on(lab, tmp_path, monkeypatch):
    root = Path(__file__).parents[1]
    monkeypatch.chdir(root)
    described = yaml.safe_load((root / "experiments" / "example_sweep.yaml").read_text())
    file, store = tmp_path / "space.yaml", tmp_path / "s.db"
    file.write_text(yaml.safe_dump({**described, "where": "energy_working_uj < 700"}, sort_keys=False))
    command = ["search", str(file), "--store", str(store), "--points", "25", "--workers", "1"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "example-search: 25 points tried, 25 of them new; 25 ran" in first.output
    assert "do not satisfy energy_working_uj < 700" in first.output
    assert "front of 25 points:" in first.output and "latency p95 ms" in first.output
    assert "--sweep example-search" in first.output
    again = CliRunner().invoke(app, command)
    assert again.output == first.output.replace("25 of them new", "0 of them new")
    wrong = CliRunner().invoke(app, [*command, "--objectives", "latency_p95_ms, area"])
    assert wrong.exit_code == 2 and "did you mean" in wrong.output


def test_hypervolume_of_hand_worked_fronts():
    assert hypervolume([[1, 2]], [4, 4]) == 3 * 2
    # 3 x 1 below (1, 3), and the part of 1 x 3 below (3, 1) that is not in it: 1 x 2
    assert hypervolume([[1, 3], [3, 1]], [4, 4]) == 3 + 2
    assert hypervolume([[1, 3], [3, 1], [3, 3], [1, 3]], [4, 4]) == 5  # dominated ones and copies add nothing
    assert hypervolume([[0, 0, 0]], [2, 3, 4]) == 24
    assert hypervolume([[5.0]], [7.5]) == 2.5


def test_hypervolume_leaves_out_what_is_no_better_than_the_reference():
    assert hypervolume([[1, 4], [4, 1], [9, 0]], [4, 4]) == 0
    assert hypervolume([[np.nan, 0], [1, 1], [np.inf, 0]], [2, 2]) == 1
    assert hypervolume(np.empty((0, 3)), [1, 1, 1]) == 0


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_counts_the_unit_cubes_below_a_front(objectives):
    rng = np.random.default_rng(objectives)
    for _ in range(10):
        points = rng.integers(0, 6, (8, objectives))
        corners = np.array(list(product(range(5), repeat=objectives)))  # lower corners of the cubes within (5, 5, ...)
        covered = (points[None] <= corners[:, None]).all(axis=2).any(axis=1).sum()
        assert hypervolume(points, [5] * objectives) == pytest.approx(covered)


def test_hypervolume_wants_one_reference_per_objective():
    with pytest.raises(SweepError, match=r"\(2, 2\) and \(3,\)"):
        hypervolume([[1, 2], [2, 1]], [3, 3, 3])
