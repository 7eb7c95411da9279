"""The same points on a Dask cluster: a real scheduler and real worker processes on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import tiny_transducer

from azsim.errors import SweepError
from azsim.graph import network_from_modules
from azsim.sweep import Watcher, cluster, dispatch, sweep
from azsim.sweep.store import Store

pytest.importorskip("distributed")
HERE = Path(__file__).parent
START_S = 60


class Cluster:
    """A scheduler on loopback, and workers that can be killed one by one."""

    def __init__(self, folder):
        self.folder, self.workers = folder, []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.scheduler = self._start("scheduler", "--host", self.address, "--no-dashboard")

    def _start(self, role, *arguments):
        line = [sys.executable, "-m", f"distributed.cli.dask_{role}", *arguments]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        log = (self.folder / f"{role}-{time.time_ns()}.log").open("w")
        return subprocess.Popen(line, env=env, stdout=log, stderr=log, cwd=self.folder)

    def add_workers(self, n):
        one = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder))
        self.workers += [self._start("worker", self.address, *one) for _ in range(n)]

    def wait_for_workers(self, n):
        from distributed import Client

        with Client(self.address, timeout=START_S, set_as_default=False) as client:
            client.wait_for_workers(n, timeout=START_S)

    def kill_worker(self):
        self.workers[0].send_signal(signal.SIGKILL)
        self.workers.pop(0).wait()

    def stop(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    started = Cluster(tmp_path_factory.mktemp("dask"))
    started.add_workers(2)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def tiny():
    built = tiny_transducer()
    return network_from_modules(built.pop("name"), built.pop("graphs"), **built)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AZSIM_CACHE", str(tmp_path / "cache"))


AXES = {
    "mac_array.pes": [4, 8, 16],
    "codec.name": ["zero_mask", "huffman"],
    "weight_density": [0.3, 1.0],
    "dram.latency_ns": {"from": 0, "to": 90, "steps": 10},
}
N_POINTS, N_PROBED = 120, 3


def run(tiny, recording, path, half_way=lambda: None, **options):
    """Figures by axes; ``half_way`` is called while work is in flight."""
    waiting, n_rows = [half_way], [0]

    def on_rows(rows, failures):
        n_rows[0] += len(rows)
        if waiting and n_rows[0] > N_PROBED:
            waiting.pop()()

    space = {"network": "tiny", "audio": str(recording), "axes": AXES}
    sweep(space, path, networks={"tiny": tiny}, watcher=Watcher(on_rows=on_rows), **options)
    with Store(path) as store:
        assert not store.failures()
        return {tuple(axes.values()): row.figures for _, axes, row in store.points()}


@pytest.fixture(scope="module")
def local(tiny, recording, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return run(tiny, recording, tmp_path_factory.mktemp("local") / "x.db", workers=1)


def test_a_cluster_finds_what_local_workers_find_though_one_of_its_workers_is_killed(
    dask, tiny, recording, tmp_path, local
):
    assert len(local) == N_POINTS
    dask.wait_for_workers(2)
    found = run(tiny, recording, tmp_path / "x.db", dask.kill_worker, cluster=dask.address)
    assert len(dask.workers) == 1 and found == local


def test_an_execution_that_went_with_its_last_holder_is_sent_again(dask, tiny, recording, tmp_path, local):
    dask.wait_for_workers(1)

    def replace_the_workers():
        while dask.workers:
            dask.kill_worker()
        dask.add_workers(1)

    assert run(tiny, recording, tmp_path / "x.db", replace_the_workers, cluster=dask.address) == local


def test_workers_of_another_version_are_refused(dask, tiny, recording, tmp_path, monkeypatch):
    dask.wait_for_workers(1)
    client = SimpleNamespace(
        run_on_scheduler=lambda function: None, run=lambda function: {"tcp://a": function(), "tcp://b": "0123"}
    )
    with pytest.raises(SweepError, match=r"worker tcp://b has another version of azsim \(0123, here"):
        cluster._check_code(client, dask.address)
    monkeypatch.setattr(dispatch, "code_version", lambda: "0123")  # as a worker that comes later sees it
    with pytest.raises(SweepError, match=r"a worker runs another version of azsim .*\(0123\)"):
        run(tiny, recording, tmp_path / "x.db", cluster=dask.address)
    with Store(tmp_path / "x.db") as store:
        assert not store.points() and not store.failures()


def test_a_cluster_that_loses_all_workers_or_its_scheduler_ends_the_sweep_and_loses_nothing(
    dask, tiny, recording, tmp_path, monkeypatch, local
):
    monkeypatch.setattr(cluster, "PATIENCE_S", 1.0)
    monkeypatch.setattr(cluster, "LOOK_S", 0.5)
    dask.wait_for_workers(1)
    with pytest.raises(SweepError, match=r"all workers have been gone|no worker took the work"):
        run(tiny, recording, tmp_path / "x.db", dask.kill_worker, cluster=dask.address)
    with pytest.raises(SweepError, match="the scheduler has no workers; start some with `dask worker"):
        run(tiny, recording, tmp_path / "x.db", cluster=dask.address)
    dask.add_workers(1)
    dask.wait_for_workers(1)
    with pytest.raises(SweepError, match=r"the scheduler went away.*run the same command again"):
        run(tiny, recording, tmp_path / "x.db", dask.scheduler.kill, cluster=dask.address)
    with Store(tmp_path / "x.db") as store:
        n_kept = len(store.points())
        assert 0 < n_kept < N_POINTS and not store.failures()
    new = []
    monkeypatch.setattr(
        Store, "add", lambda self, rows, failures=(), add=Store.add: (new.extend(rows), add(self, rows))
    )
    assert run(tiny, recording, tmp_path / "x.db", workers=1) == local
    assert len(new) == N_POINTS - n_kept


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("host", "not an address .*missing port"),
        ("http://host:1", "not an address"),
        ("silent", "no scheduler answered"),
    ],
)
def test_an_address_where_nothing_answers_is_said_soon(tmp_path, monkeypatch, address, message):
    assert cluster.ANSWER_S <= 10
    monkeypatch.setattr(cluster, "ANSWER_S", 1)
    with socket.socket() as deaf:  # takes connections, and never says a word
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        where = f"tcp://127.0.0.1:{deaf.getsockname()[1]}" if address == "silent" else address
        start = time.monotonic()
        with pytest.raises(SweepError, match=message):
            sweep({}, tmp_path / "x.db", cluster=where)
        assert time.monotonic() - start < 4
    assert not (tmp_path / "x.db").exists()
