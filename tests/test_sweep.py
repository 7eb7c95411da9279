"""Sweeps: figures are those of a simulation, whatever is cached, shared, missing, or dies."""

import os
import pickle
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import killers
import numpy as np
import pytest
from conftest import tiny_transducer
from typer.testing import CliRunner

from azsim import simulate
from azsim.cli import app
from azsim.errors import StoreError, SweepError, WeightError
from azsim.graph import network_from_modules
from azsim.graph.ir import Graph, Node
from azsim.sweep import Watcher, dispatch, sweep, work
from azsim.sweep.figures import run_figures, static_figures
from azsim.sweep.local import local_workers
from azsim.sweep.space import load_space
from azsim.sweep.store import Store
from azsim.weights.prune import prune


@pytest.fixture(scope="module")
def tiny():
    built = tiny_transducer()
    return network_from_modules(built.pop("name"), built.pop("graphs"), **built)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AZSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(work, "_executions", work.Recent(work.EXECUTIONS_KEPT))
    monkeypatch.setattr(work, "_images", work.Recent(work.IMAGE_BYTES_KEPT, work._image_bytes))
    return tmp_path / "cache" / "executions"


@pytest.fixture
def spoken(recording, tmp_path):
    """The recording with a transcript beside it."""
    path = tmp_path / "said.wav"
    path.write_bytes(recording.read_bytes())
    path.with_suffix(".txt").write_text("a b c\n")
    return path


VARIED = (
    {"mac_array.pes": 8, "codec.name": "huffman", "weight_density": 0.3},
    {"mac_array.pes": 16, "codec.name": "huffman", "weight_density": 0.3},  # the same execution, another image
    {"mac_array.pes": 8, "codec.name": "huffman", "weight_density": 0.4},  # the same layout, another execution
    {"mac_array.dataflow": "row_dot", "weight_bits": 4},
    {"codec.name": "run_length", "weight_sram.form": "packed", "weight_density": 0.3, "weight_bits": 4},
    {"chip": "az2_like", "stream.fetch": "active_columns"},
)


def figures_of(path):
    with Store(path) as store:
        assert not store.failures()
        return {tuple(axes.items()): row.figures for _, axes, row in store.points()}


def test_figures_of_a_sweep_are_those_of_simulate_cold_and_warm(tiny, spoken, tmp_path, cache):
    space = {"network": "tiny", "audio": str(spoken), "rows": VARIED}
    sweep(space, tmp_path / "cold.db", workers=1, networks={"tiny": tiny})
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    sweep(space, tmp_path / "warm.db", workers=2, networks={"tiny": tiny})
    assert len(kept) == 5 and kept == {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    cold = figures_of(tmp_path / "cold.db")
    assert cold == figures_of(tmp_path / "warm.db") and len(cold) == 6
    for point in load_space(space).points():
        density = point.weight_density
        run = simulate(tiny if density is None else prune(tiny, density), spoken, point.chip, bits=point.weight_bits)
        known = cold[tuple(point.axes.items())]
        expected = {**static_figures(point.chip), **run_figures(run.replay, run.speech.seconds), "text": run.text}
        assert {name: known[name] for name in expected} == expected
        assert known["wer"] == known["word_errors"] / 3


def a_prepared(tiny, audio, key="k"):
    return work.prepare(tiny, str(audio), None, None, key)


@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty", "of another key", "pickle without checksum"])
def test_a_cache_file_that_is_not_whole_is_made_again(tiny, recording, cache, monkeypatch, harm):
    good = a_prepared(tiny, recording)
    path = cache / "k.pickle"
    content = bytearray(path.read_bytes())
    at = content.index(good.execution.record.frame.tobytes())
    content[at] ^= 1  # inside an array: nothing but the checksum can tell
    bad = {
        "truncated": content[: len(content) // 2],
        "flipped": content,
        "empty": b"",
        "of another key": (lambda body: work.hashlib.sha256(body).digest() + body)(
            pickle.dumps(replace(good, key="x"))
        ),
        "pickle without checksum": pickle.dumps(good),
    }
    path.write_bytes(bad[harm])
    executed = []
    monkeypatch.setattr(work, "Interpreter", lambda *a, inner=work.Interpreter: executed.append(1) or inner(*a))
    again = a_prepared(tiny, recording)
    assert executed == [1] and again.key == "k"
    assert np.array_equal(again.execution.record.frame, good.execution.record.frame)
    a_prepared(tiny, recording)
    assert executed == [1]  # and it is mended


def test_readers_and_writers_of_one_cache_file_never_see_half_of_it(tiny, recording, cache):
    good = a_prepared(tiny, recording)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            work._write(good)

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write) for _ in range(3)]
        seen = [work._read("k") for _ in range(100)]
        stop.set()
        assert not [writer.result() for writer in writers if writer.result()]
    assert all(found is not None for found in seen)
    assert [path.name for path in cache.iterdir()] == ["k.pickle"]


def test_what_a_killed_writer_left_is_cleaned_up(tiny, recording, cache):
    cache.mkdir(parents=True)
    for name, age_s in (("old.part", 2 * work.STALE_S), ("young.part", 0)):
        (cache / name).write_bytes(b"half")
        os.utime(cache / name, (0, (cache / name).stat().st_mtime - age_s))
    a_prepared(tiny, recording)
    assert sorted(path.name for path in cache.iterdir()) == ["k.pickle", "young.part"]


def test_without_a_cache_folder_executions_are_handed_over(tiny, recording, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("AZSIM_CACHE", str(tmp_path / "file"))
    space = {"network": "tiny", "audio": str(recording), "axes": {"mac_array.pes": [4, 8, 16, 32, 64]}}
    sweep(space, tmp_path / "x.db", workers=1, networks={"tiny": tiny})
    assert len(figures_of(tmp_path / "x.db")) == 5


def test_a_defect_in_a_point_is_its_own_and_called_one(tiny, recording, monkeypatch):
    prepared = a_prepared(tiny, recording)
    figures, wanted = work.run_figures, iter([True, False, True])

    def sometimes(*given):
        return figures(*given) if next(wanted) else given[9]

    monkeypatch.setattr(work, "run_figures", sometimes)
    (point,) = load_space({}).points()
    outcomes = work.measure(prepared, [(key, point.chip) for key in "abc"])
    assert [outcome.figures is None for outcome in outcomes] == [False, True, False]
    assert "a defect of azsim, please report it: IndexError" in outcomes[1].error
    monkeypatch.setattr(work, "quantize", lambda *given: given[9])
    with pytest.raises(SweepError, match=r"a defect of azsim, please report it: IndexError.* at test_sweep\.py"):
        a_prepared(tiny, recording, "other")


def test_recent_items_are_kept_by_weight_and_the_last_always():
    recent = work.Recent(10, weigh=len)
    for item in ("aaaa", "bbbb", "cccc"):
        recent.get(item, lambda item=item: item)
    assert list(recent.items) == ["bbbb", "cccc"]
    assert recent.get("bbbb", lambda: "made again") == "bbbb"
    recent.get("heavy" * 9, lambda: "heavy" * 9)
    assert list(recent.items) == ["heavy" * 9]


AXES = {"mac_array.pes": [4, 8, 13, 16], "dram.latency_ns": {"from": 0, "to": 90, "steps": 10}}


def test_a_worker_that_is_killed_is_survived_and_a_point_that_kills_is_a_failure(
    tiny, recording, tmp_path, monkeypatch
):
    (tmp_path / "once").write_text("kill one process at its first batch")
    monkeypatch.setenv("KILL_ONCE", str(tmp_path / "once"))
    monkeypatch.setattr(dispatch, "measure", killers.measure)
    told = []
    watcher = Watcher(on_rows=lambda rows, failures: told.extend([*(r.key for r in rows), *(k for k, _ in failures)]))
    axes = {**AXES, "dram.latency_ns": [0]}  # one fatal point
    space = {"network": "tiny", "audio": str(recording), "axes": axes}
    sweep(space, tmp_path / "x.db", workers=2, networks={"tiny": tiny}, watcher=watcher)
    with Store(tmp_path / "x.db") as store:
        ((_, axes, error),) = store.failures()
        assert axes["mac_array.pes"] == killers.FATAL_PES and "the worker died 2 times on this point" in error
        assert {axes["mac_array.pes"] for _, axes, _ in store.points()} == {4, 8, 16}
    assert len(told) == len(set(told)) == 4
    assert not (tmp_path / "once").exists()


def test_a_process_of_the_pool_that_somebody_kills_half_way_costs_nothing(tiny, recording, tmp_path):
    killed = []

    def kill_one(rows, failures):
        if rows and not killed and len(pools[0]._processes) == 2:
            killed.append(next(iter(pools[0]._processes)))
            os.kill(killed[0], signal.SIGKILL)

    pools = []
    original = dispatch.Dispatcher.__init__

    def watched(self, works, points, workers, pool, *rest):
        pools.insert(0, pool)
        original(self, works, points, workers, pool, *rest)

    space = {"network": "tiny", "audio": str(recording), "axes": AXES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch.Dispatcher, "__init__", watched)
        sweep(space, tmp_path / "x.db", workers=2, networks={"tiny": tiny}, watcher=Watcher(on_rows=kill_one))
    assert killed and len(figures_of(tmp_path / "x.db")) == 40


def test_workers_see_the_environment_of_now(monkeypatch):
    for value in ("one", "two"):  # the server that forks them is older
        monkeypatch.setenv("AZSIM_CACHE", value)
        with local_workers(1) as new_pool:
            assert new_pool().submit(os.getenv, "AZSIM_CACHE").result() == value


def test_failures_are_kept_and_tried_again_only_on_request(tiny, recording, tmp_path):
    axes = {"technology.node_nm": [3, 12], "weight_density": [0.5, 1.5], "mac_array.pes": [8, 0]}
    space = {"network": "tiny", "audio": str(recording), "axes": axes}
    sweep(space, tmp_path / "x.db", workers=1, networks={"tiny": tiny})
    with Store(tmp_path / "x.db") as store:
        reasons = {tuple(axes.values()): error for _, axes, error in store.failures()}
        assert len(reasons) == 7 and len(store.points()) == 1
        before = store.db.execute("SELECT * FROM failures ORDER BY 1").fetchall()
    assert "5 to 45 nm" in reasons[3, 0.5, 8] and "greater than 0" in reasons[12, 0.5, 0]
    assert reasons[12, 1.5, 8].startswith("WeightError: `0 < weight_density <= 1` must hold, but got 1.5")
    again = []
    watcher = Watcher(on_rows=lambda rows, failures: again.extend(failures))
    sweep(space, tmp_path / "x.db", workers=1, networks={"tiny": tiny}, watcher=watcher)
    with Store(tmp_path / "x.db") as store:
        assert store.db.execute("SELECT * FROM failures ORDER BY 1").fetchall() == before and not again
    sweep(space, tmp_path / "x.db", workers=1, networks={"tiny": tiny}, watcher=watcher, retry_failed=True)
    assert len(again) == 3  # those that can be built


def test_a_store_of_other_weights_is_refused_unless_mixed(tiny, recording, tmp_path):
    space = {"network": "tiny", "audio": str(recording)}
    other = replace(tiny, blank_penalty=0.5)
    sweep(space, tmp_path / "x.db", workers=1, networks={"tiny": tiny})
    before = (tmp_path / "x.db").read_bytes()
    with pytest.raises(StoreError, match=r"holds results of 'tiny' with other weights .* or --mixed"):
        sweep(space, tmp_path / "x.db", workers=1, networks={"tiny": other})
    assert (tmp_path / "x.db").read_bytes() == before
    sweep(space, tmp_path / "x.db", workers=1, networks={"tiny": other}, is_mixed=True)
    with Store(tmp_path / "x.db") as store:
        assert len(store.networks()) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("audio: nowhere.wav", "audio 'nowhere.wav': cannot be read (No such file"),
        ("network: amnett", "unknown network 'amnett'"),
        ("axes: {mac_aray.pes: [1]}", "did you mean mac_array.pes"),
        ("axes: {mac_array.pes: [1, 2}", "not valid YAML in line 1"),
        ("where: latncy_p95_ms < 1", "did you mean latency_p95_ms"),
    ],
)
def test_a_users_mistake_is_one_paragraph(tmp_path, lines, message):
    (tmp_path / "s.yaml").write_text(lines)
    result = CliRunner().invoke(app, ["sweep", str(tmp_path / "s.yaml"), "--store", str(tmp_path / "x.db"), "-q"])
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output


def test_a_store_that_is_damaged_or_of_others_is_one_paragraph(tmp_path):
    (tmp_path / "s.yaml").write_text("name: s")
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\0" + b"\7" * 5000)
    with sqlite3.connect(tmp_path / "y.db") as db:
        db.execute("CREATE TABLE photos (a)")
    for name, message in (("x.db", "damaged"), ("y.db", "another program")):
        before = (tmp_path / name).read_bytes()
        result = CliRunner().invoke(app, ["sweep", str(tmp_path / "s.yaml"), "--store", str(tmp_path / name), "-q"])
        assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
        assert (tmp_path / name).read_bytes() == before


def graph(nodes, parameters, arms=()):
    return Graph("step", ("x",), (), ("y",), nodes, {}, parameters)


def test_pruning_reaches_its_density_in_every_matrix_of_every_arm(tiny):
    pruned = prune(tiny, 0.25)
    seen = 0
    for role, before in tiny.graphs.items():
        for (old, _), (new, _) in zip(graphs_of(before), graphs_of(pruned.graphs[role]), strict=True):
            matrices = {weight for node in old.nodes for weight, _ in node.parts}
            for name, array in old.parameters.items():
                if name not in matrices:
                    assert np.array_equal(new.parameters[name], array)  # biases and embeddings
                    continue
                left, seen = new.parameters[name], seen + 1
                assert np.count_nonzero(left) == round(0.25 * array.size)  # they were half zeros before
                assert np.array_equal(left[left != 0], array[left != 0])
                assert np.abs(array[left == 0]).max() <= np.abs(left[left != 0]).min()
    assert seen >= 9  # two arms of an LSTM with two matrices each are among them


def graphs_of(graph):
    yield graph, 0
    for node in graph.nodes:
        for arm in node.arms:
            yield from graphs_of(arm)


def test_a_shared_matrix_is_pruned_once_and_a_tied_embedding_not_at_all(tiny):
    weight = np.array([[5, -4, 3, -2], [1, 0.5, 0, 0]], np.float32)
    nodes = (
        Node("e", "embedding", ("t",), ("a",), {"weight": "tied"}),
        Node("m", "matrix", ("a",), ("b",), {"weight": "tied"}),
        Node("p", "matrix", ("b",), ("c",), {"weight": "shared"}),
        Node("q", "matrix", ("c",), ("y",), {"weight": "shared", "bias": "bias"}),
    )
    parameters = {"tied": weight, "shared": weight, "bias": np.array([1e-9, 0.0], np.float32)}
    pruned = prune(replace(tiny, graphs={"step": graph(nodes, parameters)}), 0.5).graphs["step"]
    half = np.array([[5, -4, 3, -2], [0, 0, 0, 0]], np.float32)
    assert pruned.nodes[2].parts[0][0] == pruned.nodes[3].parts[0][0] == "shared"
    assert np.array_equal(pruned.parameters["shared"], half)
    assert np.array_equal(pruned.parameters["bias"], parameters["bias"])
    assert np.array_equal(pruned.parameters[pruned.nodes[0].parameters["weight"]], weight)
    assert np.array_equal(pruned.parameters[pruned.nodes[1].parameters["weight"]], half)


def test_pruning_leaves_a_sparser_matrix_alone_and_says_what_density_is(tiny):
    whole = prune(tiny, 1.0)
    for role, before in tiny.graphs.items():
        assert all(np.array_equal(whole.graphs[role].parameters[n], a) for n, a in before.parameters.items())
    for density in (0, 1.5, float("nan")):
        with pytest.raises(WeightError, match="share of non-zeros"):
            prune(tiny, density)
