"""A second machine, built from the words of the design in SimPy, to check the recurrences against.

Every wait is an event, a container or a store; no time is computed from the times of another tile or
activation, and nothing else of ``azsim.timing`` is imported. It is slow and obvious.

    requester --latency--> DRAM bus --FIFO--> decoder --slot--> MAC array (broadcaster, queues, PEs) --> vector unit

At equal times, releases of an edge are visible to takers at that edge for slots, FIFO room and
tiles; a queue pop is visible to the broadcaster one edge later.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

Steps = Generator[simpy.Event, Any, Any]


@dataclass(frozen=True)
class Machine:
    """The chip, as far as time is concerned."""

    burst_cycles: int = 4
    latency_cycles: int = 10
    fifo_bursts: int = 4
    tile_slots: int = 2
    dma_outstanding: int = 2
    queue_depth: int = 4
    fill_cycles: int = 3
    accumulator_sets: int = 2
    op_overhead_cycles: int = 0
    branch_redirect_cycles: int = 0


@dataclass(frozen=True)
class TileSpec:
    """Bursts to decode (empty: loads at once) and, per broadcast, the work of every PE."""

    dec: tuple[int, ...]
    work: tuple[tuple[int, ...], ...]
    bubbles: tuple[int, ...]
    is_pinned: bool = False
    is_look_up: bool = False

    @property
    def streams(self) -> bool:
        """Takes a slot and the bus."""
        return bool(self.dec) and not self.is_pinned


@dataclass(frozen=True)
class PartSpec:
    """Tiles that read one operand, which is made of the results of ops ``reads`` and maybe of a frame."""

    tiles: tuple[TileSpec, ...] = ()
    reads: tuple[int, ...] = ()
    arrival: int | None = None


@dataclass(frozen=True)
class OpSpec:
    """Parts that share accumulators, an output pass, and the op that decided whether it runs."""

    parts: tuple[PartSpec, ...]
    out_cycles: int
    decided_by: int | None = None

    @property
    def accumulates(self) -> bool:
        """Needs a set of accumulators."""
        return any(not tile.is_look_up for part in self.parts for tile in part.tiles)


@dataclass
class Log:
    """Edges as they happened, in program order (whole numbers; SimPy's clock is typed as float)."""

    load_start: list[float] = field(default_factory=list)  # of streamed tiles
    load_end: list[float] = field(default_factory=list)
    compute_start: list[float] = field(default_factory=list)
    compute_end: list[float] = field(default_factory=list)
    out_start: list[float] = field(default_factory=list)
    out_end: list[float] = field(default_factory=list)


class Simulation:
    """One run of a list of ops on a machine."""

    def __init__(self, machine: Machine, ops: list[OpSpec]) -> None:
        self.machine, self.ops, self.log = machine, ops, Log()
        self.env = env = simpy.Environment()
        self.slots = simpy.Container(env, machine.tile_slots, machine.tile_slots)
        self.outstanding = simpy.Container(env, machine.dma_outstanding, machine.dma_outstanding)
        self.accumulators = simpy.Container(env, machine.accumulator_sets, machine.accumulator_sets)
        self.bus = simpy.Resource(env, 1)
        self.written = [env.event() for _ in ops]  # results of an op are there
        self.summed = [env.event() for _ in ops]  # its last tile is computed
        self.redirected = [env.event() for _ in ops]  # what it decided may be fetched and run
        self.ready = [[env.event() for _ in op.parts] for op in ops]
        self.loaded = [[[env.event() for _ in part.tiles] for part in op.parts] for op in ops]

    def run(self) -> Log:
        """Until the last result is written."""
        deciders = {op.decided_by for op in self.ops if op.decided_by is not None}
        for number in deciders:
            self.env.process(self._redirect(number))
        for number, op in enumerate(self.ops):
            for position, part in enumerate(op.parts):
                self.env.process(self._operand(number, position, op, part))
        self.env.process(self._requester())
        self.env.process(self._mac_array())
        self.env.run(until=self.env.process(self._vector_unit()))
        return self.log

    def _redirect(self, number: int) -> Steps:
        yield self.written[number]
        yield self.env.timeout(self.machine.branch_redirect_cycles)
        self.redirected[number].succeed()

    def _operand(self, number: int, position: int, op: OpSpec, part: PartSpec) -> Steps:
        """The controller waits for everything an operand is made of, then sets the op up."""
        if part.arrival is not None:
            yield self.env.timeout(part.arrival)
        for producer in part.reads:
            yield self.written[producer]
        if op.decided_by is not None:
            yield self.redirected[op.decided_by]
        yield self.env.timeout(self.machine.op_overhead_cycles)
        self.ready[number][position].succeed()

    def _requester(self) -> Steps:
        """Requests tiles in program order: a slot first, then a place among the outstanding loads."""
        before = None
        for number, op in enumerate(self.ops):
            for position, part in enumerate(op.parts):
                for index, tile in enumerate(part.tiles):
                    done = self.loaded[number][position][index]
                    if not tile.streams:
                        done.succeed()
                        continue
                    yield self.slots.get(1)
                    yield self.outstanding.get(1)
                    if op.decided_by is not None:
                        yield self.redirected[op.decided_by]
                    before = self.env.process(self._load(tile, done, before))

    def _load(self, tile: TileSpec, done: simpy.Event, before: simpy.Process | None) -> Steps:
        yield self.env.timeout(self.machine.latency_cycles)
        if before is not None:
            yield before  # loads keep their order on the bus
        with self.bus.request() as turn:
            yield turn
            self.log.load_start.append(self.env.now)
            fifo = simpy.Store(self.env)
            room = simpy.Container(self.env, self.machine.fifo_bursts, self.machine.fifo_bursts)
            self.env.process(self._send(len(tile.dec), fifo, room))
            yield self.env.process(self._decode(tile.dec, fifo, room))
            self.log.load_end.append(self.env.now)
        self.outstanding.put(1)
        done.succeed()

    def _send(self, bursts: int, fifo: simpy.Store, room: simpy.Container) -> Steps:
        for burst in range(bursts):
            yield room.get(1)
            yield self.env.timeout(self.machine.burst_cycles)
            yield fifo.put(burst)

    def _decode(self, dec: tuple[int, ...], fifo: simpy.Store, room: simpy.Container) -> Steps:
        for cycles in dec:
            yield fifo.get()
            self.env.process(self._give_room_back(room))
            yield self.env.timeout(cycles)

    def _give_room_back(self, room: simpy.Container) -> Steps:
        """Room is asked for across the latency before a burst can fill it."""
        yield self.env.timeout(self.machine.latency_cycles)
        yield room.put(1)

    def _mac_array(self) -> Steps:
        for number, op in enumerate(self.ops):
            holds_accumulators = False
            fill = self.machine.fill_cycles
            for position, part in enumerate(op.parts):
                for index, tile in enumerate(part.tiles):
                    yield self.loaded[number][position][index]
                    yield self.ready[number][position]
                    if op.accumulates and not holds_accumulators:
                        yield self.accumulators.get(1)
                        holds_accumulators = True
                    self.log.compute_start.append(self.env.now)
                    if not tile.is_look_up:
                        yield self.env.process(self._broadcast_all(tile))
                        yield self.env.timeout(fill)
                        fill = 0
                    self.log.compute_end.append(self.env.now)
                    if tile.streams:
                        self.slots.put(1)
            self.summed[number].succeed()

    def _broadcast_all(self, tile: TileSpec) -> Steps:
        """One tile: a broadcaster, a queue in front of every PE, and the PEs."""
        if not tile.work:
            return
        depth = self.machine.queue_depth
        pes = range(len(tile.work[0]))
        free = [simpy.Container(self.env, depth, depth) for _ in pes]
        queues = [simpy.Store(self.env) for _ in pes]
        workers = [self.env.process(self._pe(len(tile.work), queues[p], free[p])) for p in pes]
        for bubble, work in zip(tile.bubbles, tile.work, strict=True):
            yield self.env.timeout(bubble)
            for p in pes:
                yield free[p].get(1)
            yield self.env.timeout(1)
            for p in pes:
                queues[p].put(work[p])
        yield simpy.AllOf(self.env, workers)

    def _pe(self, activations: int, queue: simpy.Store, free: simpy.Container) -> Steps:
        for _ in range(activations):
            work = yield queue.get()
            self.env.process(self._pop_is_seen_later(free))
            yield self.env.timeout(work)

    def _pop_is_seen_later(self, free: simpy.Container) -> Steps:
        yield self.env.timeout(1)
        yield free.put(1)

    def _vector_unit(self) -> Steps:
        for number, op in enumerate(self.ops):
            yield self.summed[number]
            if not any(part.tiles for part in op.parts):
                yield self.ready[number][-1]
            self.log.out_start.append(self.env.now)
            yield self.env.timeout(op.out_cycles)
            self.log.out_end.append(self.env.now)
            if op.accumulates:
                self.accumulators.put(1)
            self.written[number].succeed()
