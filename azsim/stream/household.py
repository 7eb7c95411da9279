"""The simulation: one SimPy process per actor, time in cycles of the chip.

    microphone    delivers each frame when its last sample is in, to the host core for features
    networks      one process each: take frames in turn, ask the chip for steps, the host core for search
    chip          runs the most urgent request, see shared_chip.py
    conversation  one process per utterance: end-pointers' decisions, uplink, cloud, answer
    sources       jobs that do not come from the microphone, periodic or Poisson

What an actor has to wait for it waits for in the same words: ``yield request.done``, ``yield from host.work(...)``.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np
import simpy

from azsim.chip import Chip
from azsim.stream.actors import Frame, Source, Utterance
from azsim.stream.books import Log, NetworkBook
from azsim.stream.conversation import Conversation
from azsim.stream.outcome import Stream, check_conservation
from azsim.stream.scenario import Scenario, SharedNetwork
from azsim.stream.server import Server
from azsim.stream.shared_chip import PowerTimes, SharedChip
from azsim.stream.traffic import Background
from azsim.stream.window import Window

DRAIN_S, DRAIN_STEP_S = 5.0, 0.02  # what is under way at the end may take so long
KEPT_ENDS = 1000
Events = Generator[simpy.Event, Any, None]


class Household:
    """The actors of one stream."""

    def __init__(
        self,
        scenario: Scenario,
        chip: Chip,
        total_cycles: int,
        log: Log,
        frame_ms: float,
        sources: dict[str, Source] | None = None,
    ) -> None:
        self.env = simpy.Environment()
        self.scenario, self.chip, self.cycles = scenario, chip, chip.cycles
        power = PowerTimes(chip.cycles(scenario.power.retention_after_ms * 1e-3),
                           chip.cycles(scenario.power.wake_up_us * 1e-6))  # fmt: skip
        background = Background(scenario.background, chip, scenario.seed)
        shared = SharedChip(self.env, background, power)
        shared.on_piece = lambda network, start, end: log.interval(network, network, start, end)
        books = {
            name: NetworkBook(chip.cycles(network.deadline_or(frame_ms) * 1e-3))
            for name, network in scenario.networks.items()
        }
        self.stream = Stream(total_cycles, shared, Server(self.env), Server(self.env), background, books, log)
        self.conversations: list[simpy.Process] = []
        self.inboxes = {name: simpy.Store(self.env) for name in scenario.networks}
        self.recognizer, self.endpointer = scenario.named("recognizer"), scenario.named("endpointer")
        for name, network in scenario.networks.items():
            self.env.process(self._network(name, network))
        for name, source in (sources or {}).items():
            self.env.process(self._source(name, scenario.networks[name], source))

    def run(self, windows: Iterable[Window], progress: Callable[[float], None] | None = None) -> Stream:
        """Let the microphone hear every window, then wait a little for what is still under way."""
        total = self.stream.total_cycles
        self.env.process(self._microphone(iter(windows)))
        for step in range(1, 101):
            self.env.run(until=max(1, total * step // 100) + (1 if step == 100 else 0))
            if progress is not None:
                progress(step / 100)
        while self._is_under_way() and self.env.now < total + self.cycles(DRAIN_S):
            self.env.run(until=int(self.env.now) + self.cycles(DRAIN_STEP_S))
        self._close()
        return self.stream

    def _is_under_way(self) -> bool:
        """Whether a frame waits, or somebody waits for an answer to what the end-pointer has decided."""
        waits = any(book.backlog for book in self.stream.books.values())
        return waits or any(process.is_alive for process in self.conversations)

    def _close(self) -> None:
        now = int(self.env.now)
        chip = self.stream.chip
        chip.account_idle(max(0, now - sum(chip.state_cycles.values())) if chip.running is None else 0)
        self.stream.total_cycles = now
        for book in self.stream.books.values():
            book.change(now)
        check_conservation(self.stream)

    # -- the microphone -------------------------------------------------------------------------

    def _microphone(self, windows: Iterator[Window]) -> Events:
        start = 0
        for window in windows:
            if start > self.env.now:
                yield self.env.timeout(start - int(self.env.now))
            utterance = self._begin(window, start)
            for number, end in enumerate(window.frame_end.tolist()):
                if start + end > self.env.now:
                    yield self.env.timeout(start + end - int(self.env.now))
                self._hear(utterance, number, start + end)
            yield from self._pause(utterance, start + window.length_cycles)
            for name, book in self.stream.books.items():
                if self.scenario.networks[name].arrivals == "frames":
                    book.backlog_at_end = [*book.backlog_at_end[-KEPT_ENDS:], book.backlog]
            start += window.length_cycles

    def _begin(self, window: Window, start: int) -> Utterance:
        frames = [d.frame for d in window.decisions]
        events = lambda: {frame: self.env.event() for frame in frames}  # noqa: E731
        utterance = Utterance(window, start, events(), events())
        length = int(window.frame_end[-1]) if len(window.frame_end) else 0
        self.stream.log.interval("microphone", window.audio, start, start + length, said=window.said)
        if self.recognizer and window.decisions:
            conversation = Conversation(self.env, self.scenario, self.chip, self.stream, utterance)
            self.conversations = [process for process in self.conversations if process.is_alive]
            self.conversations.append(self.env.process(conversation.run()))
        return utterance

    def _hear(self, utterance: Utterance, number: int, end: int) -> None:
        """A frame's last sample is in: the host core computes its features, then every network gets it."""
        listeners = [
            name
            for name, network in self.scenario.networks.items()
            if network.arrivals == "frames" and name in utterance.window.works
            and (network.always or not utterance.is_closed)
        ]  # fmt: skip
        if not listeners:
            return
        window = utterance.window
        inside = min(number, len(window.frame_end) - 1)
        features = max(int(window.works[name].feature_cycles[inside]) for name in listeners)
        begin, arrival = self.stream.host.book(features)
        self.stream.log.interval("host core", "features", begin, arrival)
        self.stream.feature_frames += 1
        frame = Frame(utterance, inside, end, arrival)
        event = self.env.timeout(arrival - int(self.env.now))
        event.callbacks.append(lambda _: self._deliver_to(listeners, frame))

    def _deliver_to(self, listeners: list[str], frame: Frame) -> None:
        for name in listeners:
            self._deliver(name, frame)

    def _deliver(self, name: str, frame: Frame) -> None:
        now = int(self.env.now)
        book = self.stream.books[name]
        book.change(now)
        book.frames_in += 1
        book.largest_backlog = max(book.largest_backlog, book.backlog)
        self.stream.log.backlog_is(name, now, book.backlog)
        self.inboxes[name].put(frame)

    def _pause(self, utterance: Utterance, until: int) -> Events:
        """Quiet until the next window; who listens always, listens to the room."""
        window = utterance.window
        always = any(network.always for network in self.scenario.networks.values())
        ends = window.frame_end
        if not always or len(ends) < 2:
            return
        hop, end, k = int(ends[-1] - ends[-2]), utterance.start + int(ends[-1]), 0
        utterance.is_closed = True
        while end + hop < until:
            end, k = end + hop, k + 1
            yield self.env.timeout(end - int(self.env.now))
            self._hear(utterance, len(ends) - 1 - k % max(1, window.tail_frames), end)

    # -- networks -------------------------------------------------------------------------------

    def _network(self, name: str, network: SharedNetwork) -> Events:
        inbox = self.inboxes[name]
        while True:
            frame: Frame = yield inbox.get()
            is_late = frame.utterance.is_closed and not network.always and network.arrivals == "frames"
            if is_late and frame.number > frame.utterance.window.final_frame:
                self._account(name, frame, dropped=True)
                continue
            waited = Counter(queue=int(self.env.now) - frame.arrival)  # behind the network's own earlier frames
            preemptions = yield from self._compute(name, network, frame, waited)
            self._done(name, frame, waited, preemptions)

    def _compute(
        self, name: str, network: SharedNetwork, frame: Frame, waited: Counter[str]
    ) -> Generator[simpy.Event, Any, int]:
        """The steps of a frame, with the host core's search between them; returns the number of preemptions."""
        work, host = frame.utterance.window.works[name], self.stream.host
        search, preemptions = self.scenario.host, 0
        for start, stop, expansions in work.runs(frame.number):
            if start < stop:
                request = self.stream.chip.submit(work, start, stop, network.priority)
                yield request.done
                waited.update(request.waited_cycles)
                preemptions += request.preemptions
                self.stream.books[name].cold_bytes += request.cold_bytes
            if expansions:
                us = expansions * search.search_us_per_hypothesis
                us += search.search_us_per_frame if stop == work.first[frame.number + 1] else 0.0
                cost, before = self.cycles(us * 1e-6), int(self.env.now)
                start_cycle, end_cycle = host.book(cost)
                self.stream.log.interval("host core", "search", start_cycle, end_cycle)
                if end_cycle > before:
                    yield self.env.timeout(end_cycle - before)
                self.stream.search_cycles += cost
                waited["host"] += end_cycle - before
        return preemptions

    def _done(self, name: str, frame: Frame, waited: Counter[str], preemptions: int) -> None:
        now, book, utterance = int(self.env.now), self.stream.books[name], frame.utterance
        self._account(name, frame, dropped=False)
        latency = now - frame.end
        missed = latency > book.deadline_cycles
        book.latency.add(latency)
        book.missed_deadlines += missed
        book.preemptions += preemptions
        book.waited_cycles.update(waited)
        self.stream.frames_run[utterance.window.key, name, frame.number] += 1
        self.stream.log.frame(name, utterance.window.number, frame.number, frame.end, frame.arrival, now, missed,
                              preemptions, waited)  # fmt: skip
        if name == self.endpointer or (self.endpointer is None and name == self.recognizer):
            self._fire(utterance.decided, frame.number, now)
        if name == self.recognizer:
            self._fire(utterance.recognized, frame.number, now)
        if self.endpointer in (name, None) and frame.number == utterance.window.final_frame:
            utterance.is_closed = True

    def _account(self, name: str, frame: Frame, dropped: bool) -> None:
        now, book = int(self.env.now), self.stream.books[name]
        book.change(now)
        book.sojourn_cycles += now - frame.arrival
        book.frames_out += not dropped
        book.dropped += dropped
        self.stream.log.backlog_is(name, now, book.backlog)

    @staticmethod
    def _fire(events: dict[int, simpy.Event], number: int, now: int) -> None:
        if number in events and not events[number].triggered:
            events[number].succeed(now)

    def _source(self, name: str, network: SharedNetwork, source: Source) -> Events:
        """Jobs of their own: the frames of one recording in turn, at a period or at random."""
        rng = np.random.default_rng((self.scenario.seed, 2, network.priority))
        mean = self.cycles((network.period_ms or 0.0) * 1e-3)
        work = source.work
        window = Window(-1, name, "", source.key, 0, np.zeros(work.n_frames, np.int64), {name: work})
        utterance, number = Utterance(window, 0, {}, {}), 0
        at = float(rng.integers(mean)) if network.arrivals == "periodic" else rng.exponential(mean)
        while at < self.stream.total_cycles:
            yield self.env.timeout(max(0, int(at) - int(self.env.now)))
            now = int(self.env.now)
            self._deliver(name, Frame(utterance, number % work.n_frames, now, now))
            number += 1
            at += mean if network.arrivals == "periodic" else rng.exponential(mean)
