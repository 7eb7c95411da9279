"""A store loses nothing: what may happen to a file, and to the processes that write to it."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from azsim.errors import StoreError
from azsim.sweep import store as store_module
from azsim.sweep import sweep
from azsim.sweep.store import Row, Store

ROW = Row("k", {"a": 1}, "toy", "hash", 8, None, "a.wav", "heard", "code", {"latency_p95_ms": 0.1 + 0.2}, 0.5)


def rows(n, first=0):
    return [replace(ROW, key=f"k{i:04}") for i in range(first, first + n)]


def filled(path, n=200):
    with Store(path) as store:
        store.add(rows(n))
        store.enlist("s", [(row.key, {"pes": i}) for i, row in enumerate(rows(n))])
    return path


def test_what_goes_in_comes_out_and_stays(tmp_path):
    with Store(tmp_path / "x.db") as store:
        store.add([ROW], [("bad", "too small")])
        store.enlist("s", [("k", {"pes": 4}), ("bad", {"pes": 5})])
        store.add([replace(ROW, figures={})], [("bad", "another text")])
    with Store(tmp_path / "x.db", must_exist=True) as store:
        assert store.points("s") == [("s", {"pes": 4}, ROW)]
        assert store.failures() == [("s", {"pes": 5}, "too small")]
        assert store.finished(["k", "bad", "new"]) == {"k", "bad"}
        assert store.rows(["k", "bad"]) == {"k": ROW}
        assert store.sweeps() == {"s": 2} and store.networks() == {("toy", "hash")}


def test_a_point_that_ran_after_all_is_no_failure(tmp_path):
    with Store(tmp_path / "x.db") as store:
        store.enlist("s", [("k", {})])
        store.add([], [("k", "the worker died")])
        store.add([ROW])
        assert not store.failures()
        store.add([], [("k", "the worker died")])  # told late by another sweep
        assert not store.failures()


def test_all_of_a_batch_or_nothing(tmp_path):
    with Store(tmp_path / "x.db") as store:
        store.add([], [("k", "text"), ("bad", "text")])
        with pytest.raises(KeyboardInterrupt), store._transaction():
            store.db.execute("DELETE FROM failures")
            raise KeyboardInterrupt
        assert store.finished(["k", "bad"]) == {"k", "bad"}
        store.add([ROW])  # and it goes on
        assert store.rows(["k"]) == {"k": ROW}


def test_a_full_disk_keeps_what_is_committed_and_goes_on_when_there_is_room(tmp_path):
    path = filled(tmp_path / "x.db", 50)
    with Store(path) as store:
        pages = store.db.execute("PRAGMA page_count").fetchone()[0]
        store.db.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StoreError, match=r"disk is full.*\(50 in all\).*run the same command again"):
            store.add(rows(500, first=50))
        store.db.execute("PRAGMA max_page_count = 100000")
        store.add(rows(500, first=50))
    with Store(path) as store:
        assert len(store.finished(row.key for row in rows(550))) == 550


@pytest.mark.parametrize("harm", ["cut", "header", "middle", "text"])
def test_a_damaged_file_is_left_untouched(tmp_path, harm):
    path = filled(tmp_path / "x.db")
    content = bytearray(path.read_bytes())
    if harm == "cut":
        content = content[: len(content) // 2 + 7]
    elif harm == "text":
        content = bytearray(b"not a database at all, but long enough to be taken for one" * 100)
    else:
        at = 20 if harm == "header" else len(content) // 2
        content[at : at + 2048] = random.Random(1).randbytes(2048)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"x\.db: .*damaged.*(--store|recover)"):
        Store(path)
    assert path.read_bytes() == content


def test_a_figure_that_is_no_json_is_damage_not_a_traceback(tmp_path):
    path = filled(tmp_path / "x.db", 3)
    path.write_bytes(path.read_bytes().replace(b'{"latency_p95_ms"', b'\xff"latency_p95_ms"', 1))
    with Store(path) as store, pytest.raises(StoreError, match="damaged"):
        store.points()


def test_a_database_of_another_program_is_left_untouched(tmp_path):
    path = tmp_path / "photos.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE photos (name TEXT)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Store(path)
    assert path.read_bytes() == before


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(StoreError, match=r"is a folder; give a file, e\.g\. .*results\.db"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="no such store; `azsim sweep"):
        Store(tmp_path / "typo.db", must_exist=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be"):
        Store(tmp_path / "file" / "x.db")


def test_a_sweep_that_is_run_again_shows_its_last_points(tmp_path):
    newer = replace(ROW, key="n", code_version="newer")
    with Store(tmp_path / "x.db") as store:
        for row in (ROW, newer, replace(ROW, key="other axes")):
            store.add([row])
        store.enlist("s", [(ROW.key, {"pes": 4}), ("other axes", {"pes": 8})])
        store.enlist("s", [(newer.key, {"pes": 4})])
        assert {row.key for _, _, row in store.points()} == {"n", "other axes"} and store.sweeps() == {"s": 2}
        store.enlist("s", [(ROW.key, {"pes": 4})])  # back to the older code
        assert {row.key for _, _, row in store.points("s")} == {ROW.key, "other axes"}


OWN = store_module.MIGRATIONS


def test_a_store_from_before_sampling_is_migrated(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "MIGRATIONS", {})
    monkeypatch.setattr(store_module, "SCHEMA", 1)
    path, old = tmp_path / "x.db", [name for name in Row.__dataclass_fields__ if name != "fidelity"]
    with Store(path) as store:
        assert not [c for c in store.db.execute("PRAGMA table_info(points)") if c[1] == "fidelity"]
        values = [json.dumps(v) if isinstance(v, dict) else v for v in (getattr(ROW, name) for name in old)]
        store.db.execute(f"INSERT INTO points ({', '.join(old)}) VALUES ({', '.join('?' * len(old))})", values)
        store.db.execute("INSERT INTO members VALUES ('s', ?, '{}')", (ROW.key,))
    monkeypatch.undo()
    with Store(path) as store:
        assert [row for _, _, row in store.points()] == [ROW] and ROW.fidelity == "full"


def add_migration(monkeypatch, statements):
    monkeypatch.setattr(store_module, "MIGRATIONS", {**store_module.MIGRATIONS, store_module.SCHEMA: statements})
    monkeypatch.setattr(store_module, "SCHEMA", store_module.SCHEMA + 1)


def test_an_older_schema_is_migrated_and_a_newer_one_refused(tmp_path, monkeypatch):
    path, known = filled(tmp_path / "x.db", 3), store_module.SCHEMA
    add_migration(monkeypatch, "ALTER TABLE points ADD COLUMN note TEXT;\nCREATE TABLE t (a)")
    with Store(path) as store:
        assert store.db.execute("SELECT note, count(*) FROM points").fetchone() == (None, 3)
        assert [row.key for _, _, row in store.points()] == ["k0000", "k0001", "k0002"]
    with Store(path) as store:  # and only once
        assert store.db.execute("PRAGMA user_version").fetchone() == (known + 1,)
    monkeypatch.undo()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"has schema {known + 1}, made by a newer azsim than this one, .* {known}"):
        Store(path)
    assert path.read_bytes() == before


def test_a_migration_that_fails_leaves_the_old_store(tmp_path, monkeypatch):
    path = filled(tmp_path / "x.db", 3)
    add_migration(monkeypatch, "CREATE TABLE t (a);\nALTER TABLE nothing ADD COLUMN b")
    with pytest.raises(StoreError, match="nothing"):
        Store(path)
    monkeypatch.undo()
    with Store(path) as store:
        assert len(store.points()) == 3
        assert not store.db.execute("SELECT * FROM sqlite_schema WHERE name = 't'").fetchall()


def test_a_store_of_the_first_schema_keeps_its_points(tmp_path):
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(store_module.CREATE)
        db.execute(f"PRAGMA application_id = {store_module.APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        columns = [name for name in Row.__dataclass_fields__ if name != "fidelity"]
        values = ["{}" if name in ("chip", "figures") else getattr(ROW, name) for name in columns]
        db.execute(f"INSERT INTO points ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", values)
        db.execute("INSERT INTO members VALUES ('s', 'k', '{}')")
        db.commit()
    with Store(path) as store:
        assert store.points() == [("s", {}, replace(ROW, chip={}, figures={}, fidelity="full"))]


def test_many_make_and_fill_one_store_at_once(tmp_path):
    gate = threading.Barrier(6)

    def writer(path, n):
        gate.wait()
        with Store(path) as store:
            store.add(rows(20, first=20 * n), [(f"failed {n}", "text")])
            store.add(rows(20))  # all of them also add the first

    for i in range(20):
        path = tmp_path / f"{i}.db"
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(writer, [path] * 6, range(6)))
        with Store(path) as store:
            assert len(store.finished([*(row.key for row in rows(120)), *(f"failed {n}" for n in range(6))])) == 126


def test_a_store_that_another_makes_while_this_one_looks_is_no_other_programs(tmp_path, monkeypatch):
    path = tmp_path / "x.db"

    class Meanwhile(tuple):
        def __iter__(self):
            *questions, last = tuple.__iter__(self)
            yield from questions
            monkeypatch.setattr(store_module, "INSPECT", (*questions, last))
            filled(path, 3)
            yield last

    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")  # as far as another process has come
    monkeypatch.setattr(store_module, "INSPECT", Meanwhile(store_module.INSPECT))
    with Store(path) as store:
        assert len(store.points()) == 3


SPACE = {
    "name": "killed",
    "network": "conftest:tiny_transducer",
    "axes": {
        "mac_array.pes": [4, 8, 16],
        "dram.bandwidth_bytes_per_s": {"from": 0.2e9, "to": 6.4e9, "steps": 25, "log": True},
        "codec.name": ["zero_mask", "run_length", "huffman"],
        "technology.node_nm": [3, 12],  # the tables end at 5 nm: half of the points fail
    },
}
N_POINTS = 450
QUERIES = (
    "SELECT key, chip, network, network_hash, weight_bits, weight_density, audio, audio_hash, code_version, figures "
    "FROM points ORDER BY key",
    "SELECT key, error FROM failures ORDER BY key",
    "SELECT sweep, key, axes FROM members ORDER BY 1, 2, 3",
)
STAMPS = "SELECT key, seconds, finished_at FROM points UNION ALL SELECT key, 0, finished_at FROM failures"


def ask(path, query):
    """Rows of a store that somebody else may be writing to; none where it is not made yet."""
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            return db.execute(query).fetchall()
        finally:
            db.close()
    except sqlite3.OperationalError:
        return []


class Command:
    """``azsim sweep`` with two workers, in a process group of its own."""

    def __init__(self, space, path):
        line = [sys.executable, "-c", "from azsim.cli import app; app()", "sweep", str(space), "--store", str(path)]
        self.path, self.started = path, time.monotonic()
        self.process = subprocess.Popen(
            [*line, "-n", "2", "-q"], cwd=Path(__file__).parent, start_new_session=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def wait_for(self, n_rows, seconds):
        """Until so many rows are there, or so much time has passed, or it has ended."""
        while self.process.poll() is None and time.monotonic() - self.started < seconds:
            if len(ask(self.path, STAMPS)) >= n_rows:
                return
            time.sleep(0.03)

    def alive(self):
        """Processes of the group that still run, by /proc."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                state, _, group = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:3]
                found += [entry.name] if int(group) == self.process.pid and state != "Z" else []
            except OSError:
                continue
        return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc")
def test_kill_9_at_random_moments_loses_and_repeats_nothing(tmp_path, recording, monkeypatch):
    monkeypatch.setenv("AZSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    described = {**SPACE, "audio": str(recording)}
    sweep(described, tmp_path / "undisturbed.db", workers=1)
    (tmp_path / "space.yaml").write_text(repr(described))  # YAML reads it
    path, rng = tmp_path / "killed.db", random.Random(time.time_ns())
    before = {}
    moments = [("all", 0, 3.0), ("coordinator", 1, 60), ("all", 60, 60)]
    for whom, n_more, seconds in moments:
        command = Command(tmp_path / "space.yaml", path)
        wanted = len(before) + n_more + rng.randrange(30) if n_more else N_POINTS
        command.wait_for(wanted, seconds * rng.uniform(0.5, 1) if not n_more else seconds)
        time.sleep(rng.uniform(0, 0.05))
        assert command.process.poll() is None, command.process.stdout.read()
        kill = os.killpg if whom == "all" else os.kill
        kill(command.process.pid, signal.SIGKILL)
        command.process.wait()
        killed = time.monotonic()
        while command.alive():
            assert time.monotonic() - killed < 10, "workers outlive the process that was killed"
            time.sleep(0.02)
        now = {key: stamp for key, *stamp in ask(path, STAMPS)}
        assert all(now[key] == stamp for key, stamp in before.items()), "a point was lost or done twice"
        assert len(now) >= (wanted if n_more else 0)
        before = now
    assert 60 < len(before) < N_POINTS
    last = Command(tmp_path / "space.yaml", path)
    assert last.process.wait(60) == 0, last.process.stdout.read()
    now = {key: stamp for key, *stamp in ask(path, STAMPS)}
    assert len(now) == N_POINTS and all(now[key] == stamp for key, stamp in before.items())
    assert [ask(path, query) for query in QUERIES] == [ask(tmp_path / "undisturbed.db", query) for query in QUERIES]
    assert len(ask(path, QUERIES[0])) == len(ask(path, QUERIES[1])) == N_POINTS // 2


def test_two_sweeps_write_to_one_store_at_once(tmp_path, recording, monkeypatch):
    monkeypatch.setenv("AZSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    first = {**SPACE, "audio": str(recording), "axes": {**SPACE["axes"], "codec.name": ["zero_mask"]}}
    (tmp_path / "space.yaml").write_text(repr(first))
    command = Command(tmp_path / "space.yaml", tmp_path / "x.db")
    sweep({**first, "name": "other"}, tmp_path / "x.db", workers=1)
    assert command.process.wait(60) == 0, command.process.stdout.read()
    with Store(tmp_path / "x.db") as store:
        assert store.sweeps() == {"killed": N_POINTS // 3, "other": N_POINTS // 3}
        assert len(store.points()) == len(store.failures()) == N_POINTS // 3
        assert len(ask(store.path, STAMPS)) == N_POINTS // 3
