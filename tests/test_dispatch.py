"""Workers that die, as events: who is suspected, who is tried again, who has failed."""

import threading
import time
from collections import Counter
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from types import SimpleNamespace

import pytest

from azsim.errors import AudioError, SweepError
from azsim.sweep import dispatch, work
from azsim.sweep.dispatch import Dispatcher
from azsim.sweep.work import ExecutionLostError, Outcome
from azsim.sweep.works import Work

TOGETHER_S, STEPS = 0.005, 2000  # more steps than any of these runs may take


class Pools:
    """Pools without processes: what is submitted within 5 ms is in flight together, and dies together."""

    def __init__(self, measure, prepare=lambda key: None, start=lambda: None):
        self.do = {dispatch.measure: self._measure, work.prepare_in_cache: self._prepare, dispatch.ready: start}
        self.on_measure, self.on_prepare, self.log, self.made = measure, prepare, [], 0

    def new(self):
        self.made += 1
        return Pool(self)

    def _measure(self, prepared, chips, version, fidelity):
        self.log.append([key for key, _ in chips])
        for key, _ in chips:
            self.on_measure(key)
        return [Outcome(key, {}, "", 0.01) for key, _ in chips]

    def _prepare(self, network, audio, bits, density, key, is_handed_over):
        self.log.append(("prepare", key))
        return self.on_prepare(key)


class Pool(Executor):
    def __init__(self, pools):
        self.pools, self.held, self.lock, self.is_broken = pools, [], threading.Lock(), False

    def submit(self, fn, /, *args):
        with self.lock:
            if self.is_broken:
                raise BrokenProcessPool("broken before")
            future = Future()
            if not self.held:
                threading.Thread(target=self._run).start()
            self.held.append((future, fn, args))
            return future

    def _run(self):
        time.sleep(TOGETHER_S)
        with self.lock:
            held, self.held, results = self.held, [], []
            for _, fn, args in held:
                try:
                    results.append((Future.set_result, self.pools.do[fn](*args)))
                except BrokenProcessPool as error:
                    self.is_broken = True
                    results = [(Future.set_exception, error)] * len(held)
                    break
                except Exception as error:
                    results.append((Future.set_exception, error))
        for (future, _, _), (settle, value) in zip(held, results, strict=True):
            settle(future, value)


def run(pools, points, workers=2, works=("w",)):
    """Outcomes by key; each point must have exactly one."""
    described = {w: Work(w, SimpleNamespace(name=w), "hash", 8, None, "a.wav", "hash") for w in works}
    chips = [(f"{w}{i}", w, None) for w in works for i in range(points)]
    dispatcher = Dispatcher(described, chips, workers, pools.new(), pools.new, None, lambda keys: set())
    outcomes = [o for some in islice(dispatcher.outcomes(), STEPS) for o in some]
    assert sorted(o.key for o in outcomes) == sorted(key for key, _, _ in chips)
    return {o.key: o.error for o in outcomes}


def dies_at(*keys):
    def measure(key):
        if key in keys:
            raise BrokenProcessPool("a process terminated abruptly")

    return measure


def test_every_point_comes_back_once_and_each_work_is_prepared_once():
    pools = Pools(dies_at())
    assert set(run(pools, 100, works=("v", "w")).values()) == {""}
    assert sorted(entry for entry in pools.log if isinstance(entry, tuple)) == [("prepare", "v"), ("prepare", "w")]
    assert max(map(len, pools.log)) > 10  # batches, once the pace is known


@pytest.mark.parametrize("workers", [1, 4])
def test_only_the_point_that_kills_has_failed(workers):
    pools = Pools(dies_at("w37", "w38"))
    errors = run(pools, 100, workers)
    assert {key for key, error in errors.items() if error} == {"w37", "w38"}
    assert errors["w37"].startswith("the worker died 2 times on this point: BrokenProcessPool")
    # once in company, once in its batch alone, once alone
    assert sum("w37" in keys for keys in pools.log) <= 3


def test_a_point_alone_may_die_once_but_not_twice():
    calls = Counter()

    def dies(times):
        calls.clear()

        def measure(key):
            calls[key] += 1
            if calls[key] <= times:
                raise BrokenProcessPool

        return measure

    # the first death counts for nothing: who knows what else was in flight
    assert run(Pools(dies(times=2)), 1) == {"w0": ""}
    assert "died 2 times" in run(Pools(dies(times=3)), 1)["w0"]


def test_of_many_that_kill_each_is_found_and_nothing_else():
    fatal = {f"w{i}" for i in range(0, 60, 7)}
    errors = run(Pools(dies_at(*fatal)), 60, workers=4)
    assert {key for key, error in errors.items() if error} == fatal


def test_what_was_near_a_worker_that_somebody_killed_has_not_failed():
    deaths = iter([True, False, True, False, False, True])

    def measure(key):
        if key in ("w20", "w50", "w70") and next(deaths, False):
            raise BrokenProcessPool

    pools = Pools(measure)
    assert set(run(pools, 100).values()) == {""}
    assert pools.made > 2


def test_a_work_that_cannot_be_prepared_takes_only_its_own_points():
    def prepare(key):
        if key == "bad":
            raise AudioError("bad.wav: not a recording")
        if key == "fatal":
            raise BrokenProcessPool

    errors = run(Pools(dies_at(), prepare), 20, works=("bad", "fatal", "good"))
    assert {key[:-1].rstrip("1") for key, error in errors.items() if not error} == {"good"}
    assert errors["bad0"] == "AudioError: bad.wav: not a recording"
    assert "died 2 times" in errors["fatal19"]


def test_a_point_that_dask_gives_up_has_failed_and_nothing_else():
    killed = pytest.importorskip("distributed").KilledWorker

    def measure(key):
        if key == "w5":
            raise killed("measure", SimpleNamespace(address="tcp://worker"), 3)

    errors = run(Pools(measure), 30)
    assert [key for key, error in errors.items() if error] == ["w5"]
    assert "the worker died" in errors["w5"] and "KilledWorker" in errors["w5"]


def test_a_point_that_takes_the_last_copy_of_its_execution_along_has_failed():
    """On a small cluster the workers that a point kills are all that held what it needs: Dask cancels it."""

    def measure(key):
        if key in ("w5", "v17"):
            raise CancelledError("lost dependencies")

    pools = Pools(measure)
    errors = run(pools, 30, works=("v", "w"))
    assert {key for key, error in errors.items() if error} == {"w5", "v17"}
    assert "the worker died 2 times" in errors["w5"]


def test_what_keeps_workers_from_work_is_no_failure_of_the_points():
    """A cluster that lacks a module would otherwise mark every point as failed."""

    def measure(key):
        raise ImportError("no module\nnamed azsim")

    with pytest.raises(SweepError, match=r"workers cannot take work \(ImportError: no module named azsim\)"):
        run(Pools(measure), 30)


def test_an_execution_that_got_lost_is_made_again():
    lost = iter([True] * 3)

    def measure(key):
        if key == "w9" and next(lost, False):
            raise ExecutionLostError("w")

    pools = Pools(measure)
    assert set(run(pools, 30).values()) == {""}
    assert pools.log.count(("prepare", "w")) == 4


def test_an_execution_that_cannot_be_made_again_takes_its_suspects_with_it():
    """Two points are suspected; the first of them finds its execution gone, and the recording has gone, too."""
    calls, prepared = [], []

    def measure(key):
        calls.append(key)
        raise BrokenProcessPool if len(calls) == 1 else ExecutionLostError("w")

    def prepare(key):
        prepared.append(key)
        if len(prepared) > 1:
            raise AudioError("gone")

    assert set(run(Pools(measure, prepare), 2).values()) == {"AudioError: gone"}


def test_an_execution_that_is_always_lost_ends_the_sweep():
    def measure(key):
        raise ExecutionLostError("w")

    with pytest.raises(SweepError, match=r"was lost .* times; every point committed before is kept"):
        run(Pools(measure), 30)


def test_workers_that_cannot_start_end_the_sweep():
    def start():
        raise BrokenProcessPool

    with pytest.raises(SweepError, match=r"die as soon as they start.*__main__"):
        run(Pools(dies_at("w3"), start=start), 10)
