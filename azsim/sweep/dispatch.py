"""Hand work to workers that may die, and say what came of each point.

    a work     prepare (once) --> an execution that workers share
    its keys   batches of about half a second --measure--> an outcome per key

A worker that dies takes everything with it that was in flight, and nobody knows whose fault it was. All of it is tried
again one by one, with nothing else in flight: a batch first, then its points. What has killed its worker twice by
itself has failed; whatever was only near it has not.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass, replace
from typing import Any

from azsim.errors import AzsimError, SweepError
from azsim.sweep.identity import code_version
from azsim.sweep.local import ready
from azsim.sweep.work import ExecutionLostError, Fidelity, Outcome, Shared, Target, measure
from azsim.sweep.works import AnyWork

BATCH_S, LARGEST_BATCH = 0.5, 64
DEATHS_ALLOWED = 2
LOSSES_ALLOWED = 5
POLL_S = 2.0


@dataclass(frozen=True)
class Task:
    """Something in flight: the preparation of a work if it has no keys, otherwise a batch of its points."""

    work: str
    keys: tuple[str, ...] = ()
    is_alone: bool = False
    deaths: int = 0


class Dispatcher:
    """One run of some points; iterate over ``outcomes()``.

    Parameters
    ----------
    works : dict of str to Work or StreamWork
    points : sequence of (str, str, Chip or Setting)
        Key, key of its work, and what it is measured on; neighbors share works and weight images.
    workers : int
    pool, new_pool, share
        As for ``run_plan``.
    is_known : callable
        Which of some keys somebody else has finished meanwhile.
    pace_s : float, optional
        What a point takes, if that is known.
    fidelity : "full" or "sampled"
    """

    def __init__(
        self,
        works: dict[str, AnyWork],
        points: Sequence[tuple[str, str, Target]],
        workers: int,
        pool: Executor,
        new_pool: Callable[[], Executor],
        share: Callable[[Shared], Any] | None,
        is_known: Callable[[Sequence[str]], set[str]],
        pace_s: float = 0.0,
        fidelity: Fidelity = "full",
    ) -> None:
        self.works, self.workers, self.pool, self.new_pool, self.share = works, workers, pool, new_pool, share
        self.is_known, self.fidelity = is_known, fidelity
        self.targets = {key: target for key, _, target in points}
        self.pending: dict[str, deque[str]] = {}
        for key, work, _ in points:
            self.pending.setdefault(work, deque()).append(key)
        self.unprepared = deque(self.pending)
        self.prepared: dict[str, Any] = {}
        self.suspects: deque[Task] = deque()
        self.running: dict[Future[Any], Task] = {}
        self.pace: dict[str, float] = dict.fromkeys(self.pending, pace_s) if pace_s else {}
        self.losses: dict[str, int] = {}

    def outcomes(self) -> Iterator[list[Outcome]]:
        """Outcomes as they come, each point's once."""
        while True:
            yield from self._fill()
            if not self.running:
                if not (self.suspects or self.unprepared or any(self.pending.values())):
                    return
                continue
            done, _ = wait(self.running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            getattr(self.pool, "check", lambda: None)()  # a cluster may have lost all of its workers
            died: list[tuple[Task, Exception]] = []
            for future in done:
                task = self.running.pop(future)
                try:
                    result = future.result()
                except ExecutionLostError as error:
                    self._lost(task, error)
                except CancelledError as error:  # a cluster: the last worker that held the execution died
                    self.pool = self.new_pool()  # which says so if the cluster has gone
                    self._unprepare(task.work)
                    died.append((task, error))
                except AzsimError as error:
                    if task.keys:  # no point's own: those are outcomes
                        raise
                    yield self._given_up(task, f"{type(error).__name__}: {error}")
                except Exception as error:
                    if not _is_death(error):  # what a point or a work raises itself is an outcome or an AzsimError
                        raise SweepError(
                            f"workers cannot take work ({type(error).__name__}: {' '.join(str(error).split())}). "
                            f"Every point committed before is kept; run the same command again when that is mended"
                        ) from error
                    died.append((task, error))
                else:
                    yield self._took(task, result)
            if died:
                yield from self._buried(died)

    def _fill(self) -> Iterator[list[Outcome]]:
        """Keep workers busy; suspects run by themselves."""
        while self.suspects and not self.running:
            task = self.suspects.popleft()
            if task.keys and task.work not in self.prepared:
                self.suspects.appendleft(task)
                task = Task(task.work)
            if not task.keys and task.work in self.unprepared:
                self.unprepared.remove(task.work)
            if not task.keys and self.share is not None:
                yield from self._prepared_here(task, self.share)
            else:
                self._submit(replace(task, is_alone=True))
        is_alone = any(task.is_alone for task in self.running.values())
        while not self.suspects and not is_alone and len(self.running) < 2 * self.workers:
            task_or_none = self._next()
            if task_or_none is None:
                return
            if not task_or_none.keys and self.share is not None:
                yield from self._prepared_here(task_or_none, self.share)
            elif not self._submit(task_or_none):
                return

    def _next(self) -> Task | None:
        """A batch of a work that is prepared; but first the preparation of enough others to keep workers busy."""
        ready_works = [work for work in self.prepared if self.pending[work]]
        preparing = sum(not task.keys for task in self.running.values())
        ahead = 0 if self.share is not None else self.workers
        if self.unprepared and preparing + len(ready_works) <= ahead:
            return Task(self.unprepared.popleft())
        for work in ready_works:
            keys = self._batch(work)
            if keys:
                return Task(work, keys)
            self._forget(work)
        return Task(self.unprepared.popleft()) if self.unprepared and not preparing else None

    def _batch(self, work: str) -> tuple[str, ...]:
        """About half a second of points, and few enough that all workers get some; one until the pace is known."""
        pending = self.pending[work]
        while pending:
            size = 1
            if work in self.pace:
                left = sum(map(len, self.pending.values()))
                even = max(1, -(-left // (2 * self.workers)))
                size = max(1, min(LARGEST_BATCH, even, int(BATCH_S / max(self.pace[work], 1e-9))))
            keys = [pending.popleft() for _ in range(min(size, len(pending)))]
            known = self.is_known(keys)
            fresh = tuple(key for key in keys if key not in known)
            if fresh:
                return fresh
        return ()

    def _prepared_here(self, task: Task, share: Callable[[Shared], Any]) -> Iterator[list[Outcome]]:
        """Workers elsewhere see neither the recordings nor the cache folder of this machine."""
        work = self.works[task.work]
        try:
            self.prepared[task.work] = share(work.prepared())
        except SweepError:
            raise
        except AzsimError as error:
            yield self._given_up(task, f"{type(error).__name__}: {error}")

    def _submit(self, task: Task) -> bool:
        """Whether the pool took it."""
        work = self.works[task.work]
        try:
            if task.keys:
                targets = [(key, self.targets[key]) for key in task.keys]
                given = self.prepared[task.work], targets, code_version(), self.fidelity
                future: Future[Any] = self.pool.submit(measure, *given)
            else:
                is_handed_over = self.losses.get(task.work, 0) > 1
                future = self.pool.submit(*work.preparation(is_handed_over))
        except BrokenExecutor:
            self.suspects.append(task)
            if not self.running:
                self._restart()
            return False
        self.running[future] = task
        return True

    def _took(self, task: Task, result: Any) -> list[Outcome]:
        if not task.keys:
            self.prepared[task.work] = task.work if result is None else result
            return []
        outcomes: list[Outcome] = result
        fastest = min(outcome.seconds for outcome in outcomes)
        self.pace[task.work] = min(self.pace.get(task.work, fastest), fastest)
        self._forget(task.work)
        return outcomes

    def _forget(self, work: str) -> None:
        """Let an execution go when nothing needs it any more: a cluster holds it in memory."""
        needed = any(task.work == work for task in (*self.running.values(), *self.suspects))
        if not needed and not self.pending[work]:
            self.prepared.pop(work, None)

    def _given_up(self, task: Task, error: str) -> list[Outcome]:
        """Points fail; all points of a work that cannot be prepared."""
        keys = task.keys
        if not keys:
            suspects = [suspect for suspect in self.suspects if suspect.work == task.work]
            keys = (*self.pending[task.work], *(key for suspect in suspects for key in suspect.keys))
            self.pending[task.work].clear()
            self.suspects = deque(suspect for suspect in self.suspects if suspect.work != task.work)
        self._forget(task.work)
        return [Outcome(key, None, error, 0.0) for key in keys]

    def _lost(self, task: Task, error: Exception) -> None:
        """The execution is not where it was: make it again, and then its points."""
        n = self.losses[task.work] = self.losses.get(task.work, 0) + 1
        if n > LOSSES_ALLOWED * 2 * self.workers:
            raise SweepError(
                f"the execution of {self.works[task.work].name!r} was lost {n} times; every point committed "
                f"before is kept: make sure that AZSIM_CACHE, or the cluster, has room, and run the same command again"
            ) from error
        self.pending[task.work].extendleft(reversed(task.keys))
        self._unprepare(task.work)

    def _unprepare(self, work: str) -> None:
        self.prepared.pop(work, None)
        is_coming = any(task.work == work and not task.keys for task in self.running.values())
        if work not in self.unprepared and not is_coming:
            self.unprepared.appendleft(work)

    def _buried(self, died: list[tuple[Task, Exception]]) -> Iterator[list[Outcome]]:
        """What was in flight when a worker died is suspected; what was alone is to blame."""
        broken = next((error for _, error in died if isinstance(error, BrokenExecutor)), None)
        if broken:  # all that is in flight is lost with the pool
            died += [(task, broken) for task in self.running.values()]
            self.running.clear()
        for task, error in died:
            # Dask itself tries a task on several workers before it calls it a killer
            weight = 1 if isinstance(error, BrokenExecutor | CancelledError) else DEATHS_ALLOWED
            deaths = task.deaths + weight if task.is_alone else task.deaths
            if deaths >= DEATHS_ALLOWED and len(task.keys) <= 1:
                yield self._given_up(
                    Task(task.work, task.keys),
                    f"the worker died {DEATHS_ALLOWED} times on this point: {type(error).__name__}: {error}",
                )
            elif task.is_alone and len(task.keys) > 1:
                self.suspects.extend(Task(task.work, (key,), deaths=1) for key in task.keys)
            else:
                self.suspects.append(Task(task.work, task.keys, deaths=deaths))
        if broken:
            self._restart()

    def _restart(self) -> None:
        """Another pool, which must be able to start a process."""
        self.pool = self.new_pool()
        try:
            self.pool.submit(ready).result()
        except BrokenExecutor as error:
            raise SweepError(
                "workers die as soon as they start: there may be no memory for them (try --workers 1), or a script "
                'calls azsim.sweep outside of `if __name__ == "__main__":`. Every point committed before is kept'
            ) from error


def _is_death(error: BaseException) -> bool:
    """A process that broke, or Dask's word for it."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"
