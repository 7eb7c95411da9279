"""The chip as several networks share it: by priority, preempted between steps, asleep when nobody wants it.

A *request* is a run of steps of one frame of one network. The most urgent request runs; a more urgent one
that comes in between lets the running step end and then takes over (its first step is *cold*: the slots hold the
tiles of another). Between requests the chip is clock-gated, and after ``retention_after`` in retention, from
which it takes ``wake_up`` cycles to come back. SRAM keeps its contents in retention.

One process; a request that nobody disturbs costs two events, whatever the number of its steps.
"""

import heapq
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
import simpy

from azsim.stream.traffic import Background
from azsim.stream.work import Work

WAITS = ("chip", "wake_up", "cold", "dram")


@dataclass(order=True)
class Request:
    """Steps ``next:stop`` of a network's work, in the queue by priority and then by turn.

    ``waited_cycles`` says for what: ``chip`` (others ran), ``wake_up``, ``cold`` (lost tiles), ``dram``
    (background traffic).
    """

    priority: int
    turn: int
    work: Work = field(compare=False)
    next: int = field(compare=False)
    stop: int = field(compare=False)
    submitted: int = field(compare=False)
    done: simpy.Event = field(compare=False)
    can_be_preempted: bool = field(compare=False, default=True)
    waited_cycles: dict[str, int] = field(compare=False, default_factory=lambda: dict.fromkeys(WAITS, 0))
    preemptions: int = field(compare=False, default=0)
    cold_bytes: int = field(compare=False, default=0)


@dataclass(frozen=True)
class PowerTimes:
    """Cycles of the power states."""

    retention_after: int
    wake_up: int


class SharedChip:
    """The process and its books.

    Attributes
    ----------
    state_cycles : dict of str to int
        run (jobs and wake-ups), gated, retention; they add up to the time since the start.
    busy_cycles : dict of str to int
        By network.
    preemptions : dict of str to int
        Of the network that had to give way.
    on_piece : callable or None
        Told of every stretch in which a network ran.
    """

    def __init__(self, env: simpy.Environment, background: Background, power: PowerTimes) -> None:
        self.env, self.background, self.power = env, background, power
        self.queue: list[Request] = []
        self.running: Request | None = None
        self.slots_of = ""  # whose tiles are in the slots; a network that is pinned leaves them alone
        self.state_cycles = {"run": 0, "gated": 0, "retention": 0}
        self.busy_cycles: dict[str, int] = {}
        self.preemptions: dict[str, int] = {}
        self.turns = 0
        self.bus_cycles = 0
        self.on_piece = lambda network, start, end: None
        self._arrival: simpy.Event | None = None
        self.process = env.process(self._run())

    def submit(self, work: Work, start: int, stop: int, priority: int) -> Request:
        """Ask for steps ``start:stop``; the request's ``done`` event comes when they have run."""
        self.turns += 1
        request = Request(priority, self.turns, work, start, stop, int(self.env.now), self.env.event())
        heapq.heappush(self.queue, request)
        if self.running is not None and self.running.priority > priority:
            if self.running.can_be_preempted:
                self.running.can_be_preempted = False  # it gives way at its next step's end, once
                self.process.interrupt()
        elif self._arrival is not None and not self._arrival.triggered:
            self._arrival.succeed()
        return request

    def _run(self) -> Generator[simpy.Event, None, None]:
        while True:
            if not self.queue:
                yield from self._sleep()
            request = heapq.heappop(self.queue)
            request.waited_cycles["chip"] += int(self.env.now) - request.submitted
            yield from self._serve(request)

    def _sleep(self) -> Generator[simpy.Event, None, None]:
        """Nothing to do until a request comes; then wake up."""
        since = int(self.env.now)
        self._arrival = self.env.event()
        yield self._arrival
        self._arrival = None
        idle = int(self.env.now) - since
        self.account_idle(idle)
        if idle > self.power.retention_after and self.power.wake_up:
            self.state_cycles["run"] += self.power.wake_up
            for request in self.queue:
                request.waited_cycles["wake_up"] += self.power.wake_up
                request.submitted += self.power.wake_up
            yield self.env.timeout(self.power.wake_up)

    def account_idle(self, idle: int) -> None:
        """Split idle cycles into clock-gated ones and retention."""
        gated = min(idle, self.power.retention_after)
        self.state_cycles["gated"] += gated
        self.state_cycles["retention"] += idle - gated

    def _serve(self, request: Request) -> Generator[simpy.Event, None, None]:
        """Run a request to its end, or until a more urgent one takes over."""
        work, now = request.work, int(self.env.now)
        is_cold = self.slots_of not in ("", work.network)
        cold = int(work.cold_cycles[request.next]) if is_cold else 0
        ends, delays = self.background.run(
            now, work.span_cycles[request.next : request.stop], work.bus_cycles[request.next : request.stop], cold
        )
        self.running, request.can_be_preempted = request, True
        n_ran = len(ends)
        try:
            yield self.env.timeout(int(ends[-1]) - now)
        except simpy.Interrupt:
            n_ran = int(np.searchsorted(ends, self.env.now)) + 1
            if ends[n_ran - 1] > self.env.now:
                yield self.env.timeout(int(ends[n_ran - 1]) - int(self.env.now))
        self._book(request, n_ran, now, cold, int(delays[:n_ran].sum()))
        if request.next < request.stop:
            request.submitted = int(self.env.now)
            request.preemptions += 1
            self.preemptions[work.network] = self.preemptions.get(work.network, 0) + 1
            heapq.heappush(self.queue, request)
        else:
            request.done.succeed()

    def _book(self, request: Request, n_ran: int, start: int, cold: int, delay: int) -> None:
        work, end = request.work, int(self.env.now)
        held = int(work.bus_cycles[request.next : request.next + n_ran].sum())
        self.running = None
        if held:
            self.slots_of = work.network
        request.waited_cycles["cold"] += cold
        request.waited_cycles["dram"] += delay
        if cold:
            request.cold_bytes += int(work.cold_bytes[request.next])
        self.bus_cycles += held + cold
        request.next += n_ran
        self.busy_cycles[work.network] = self.busy_cycles.get(work.network, 0) + end - start
        self.state_cycles["run"] += end - start
        self.on_piece(work.network, start, end)
