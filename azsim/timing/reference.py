"""A second machine, built from the words of the design in SimPy, to check the recurrences against.

Every wait is an event, a container or a store; no time is computed from the times of another tile or
activation, and nothing else of ``azsim.timing`` is imported. It is slow and obvious.

    requester --latency--> DRAM bus --FIFO--> decoder --slot--> MAC array (broadcaster, queues, PEs) --> vector unit

At equal times, releases of an edge are visible to takers at that edge for slots, FIFO room and
tiles; a queue pop is visible to the broadcaster one edge later. A request that could go at the very edge of the
decision against its arm does not go.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

Steps = Generator[simpy.Event, Any, Any]
Key = tuple[int, int, int]  # op, part, tile
LAST = 2  # priority of an event that comes after everything else of its edge


@dataclass(frozen=True)
class Machine:
    """The chip, as far as time is concerned."""

    burst_cycles: int = 4
    latency_cycles: int = 10
    fifo_bursts: int = 4
    tile_slots: int = 2
    banks: int = 1
    ports: int = 2
    dma_outstanding: int = 2
    queue_depth: int = 4
    broadcast_width: int = 1
    lookahead: int = 0
    fill_cycles: int = 3
    accumulator_sets: int = 2
    op_overhead_cycles: int = 0
    branch_redirect_cycles: int = 0


@dataclass(frozen=True)
class Pass:
    """A tile under one operand.

    ``work`` and ``bubbles`` describe it to a column-broadcast array: cycles of every PE per broadcast, idle
    broadcast cycles before it. ``rows`` describe it to a row-dot array: for every PE its rows, a row being its
    groups, a group the lanes that hold a product to be taken.
    """

    work: tuple[tuple[int, ...], ...] = ()
    bubbles: tuple[int, ...] = ()
    rows: tuple[tuple[tuple[tuple[int, ...], ...], ...], ...] = ()


@dataclass(frozen=True)
class TileSpec:
    """Bursts to decode (none: loads at once) and the passes over the tile.

    ``columns`` makes it a tile that bypasses the SRAM: bursts of each column, and the cycles in which the PEs take it.
    A tile that ``keeps`` its slot leaves it to the one that ``frees`` it.
    """

    dec: tuple[int, ...] = ()
    passes: tuple[Pass, ...] = ()
    is_pinned: bool = False
    is_look_up: bool = False
    waits_for_input: bool = False
    columns: tuple[tuple[int, int], ...] | None = None
    keeps: bool = False
    frees: Key | None = None

    @property
    def streams(self) -> bool:
        """Takes the bus."""
        return bool(self.dec) and not self.is_pinned

    @property
    def bypasses(self) -> bool:
        """Goes from the decoder to the PEs."""
        return self.streams and self.columns is not None


@dataclass(frozen=True)
class PartSpec:
    """Tiles that read one operand, which is made of the results of ops ``reads`` and maybe of a frame."""

    tiles: tuple[TileSpec, ...] = ()
    reads: tuple[int, ...] = ()
    arrival: int | None = None


@dataclass(frozen=True)
class OpSpec:
    """Parts that share accumulators, and an output pass.

    ``decided_by`` is the op that decides whether this one runs, ``fetch_after`` the one that its requests wait for;
    of an op that ``is_wasted`` tiles are fetched until it is decided that it does not run. ``continues`` says that
    it goes on with the accumulators of the op before it.
    """

    parts: tuple[PartSpec, ...]
    out_cycles: int
    decided_by: int | None = None
    fetch_after: int | None = None
    is_wasted: bool = False
    continues: bool = False

    @property
    def accumulates(self) -> bool:
        """Needs accumulators."""
        return any(not tile.is_look_up for part in self.parts for tile in part.tiles)


@dataclass
class Log:
    """Edges as they happened, in program order (whole numbers; SimPy's clock is typed as float)."""

    load_start: list[float] = field(default_factory=list)  # of tiles that were fetched, in vain or not
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
        self.slots = [simpy.Container(env, 1, 1) for _ in range(machine.tile_slots)]
        self.ports = [simpy.Container(env, 1, 1) for _ in range(machine.banks)]
        self.outstanding = simpy.Container(env, machine.dma_outstanding, machine.dma_outstanding)
        self.accumulators = simpy.Container(env, machine.accumulator_sets, machine.accumulator_sets)
        self.bus = simpy.Resource(env, 1)
        self.room_of: dict[Key, list[simpy.Container]] = {}
        self.written = [env.event() for _ in ops]  # results of an op are there
        self.summed = [env.event() for _ in ops]  # its last tile is computed
        self.redirected = [env.event() for _ in ops]  # what it decided may be fetched and run
        self.ready = [[env.event() for _ in op.parts] for op in ops]
        keys = [(o, p, t) for o, op in enumerate(ops) for p, q in enumerate(op.parts) for t in range(len(q.tiles))]
        self.loaded = {key: env.event() for key in keys}
        self.granted = {key: env.event() for key in keys}  # the array takes a bypassing tile's weights from now on
        self.started = {key: env.event() for key in keys}

    def run(self) -> Log:
        """Until the last result is written and the last load, perhaps in vain, has ended."""
        for number in {d for op in self.ops for d in (op.decided_by, op.fetch_after) if d is not None}:
            self.env.process(self._redirect(number))
        for number, op in enumerate(self.ops):
            for position, part in enumerate(op.parts):
                self.env.process(self._operand(number, position, op, part))
        self.env.process(self._requester())
        self.env.process(self._mac_array())
        self.env.process(self._vector_unit())
        self.env.run()
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
        before, turn = None, 0
        for key, event in self.loaded.items():
            if not self.ops[key[0]].parts[key[1]].tiles[key[2]].streams:
                event.succeed()  # on the chip all the time, or nothing to load
        for number, op in enumerate(self.ops):
            for position, part in enumerate(op.parts):
                for index, tile in enumerate(part.tiles):
                    key = (number, position, index)
                    if not tile.streams:
                        continue
                    room = [] if tile.bypasses else self._room(turn)
                    against = self.redirected[op.decided_by] if op.is_wasted and op.decided_by is not None else None
                    taken = yield from self._take([*room, self.outstanding], against)
                    if not taken:
                        continue
                    if op.fetch_after is not None:
                        yield self.redirected[op.fetch_after]
                    if tile.waits_for_input:
                        yield self.ready[number][position]
                    if against is not None:
                        yield self._end_of_edge()
                        if against.triggered:
                            for container in taken:
                                container.put(1)
                            continue
                    self.room_of[key] = room
                    turn += 0 if tile.bypasses else 1
                    before = self.env.process(self._load(key, tile, before))
                    if against is not None:
                        self.env.process(self._give_up(key, against))

    def _room(self, turn: int) -> list[simpy.Container]:
        """The slot whose turn it is and, if banks have one port, the port of its bank."""
        slot = turn % self.machine.tile_slots
        port = [self.ports[slot % self.machine.banks]] if self.machine.ports == 1 else []
        return [self.slots[slot], *port]

    def _take(self, containers: list[simpy.Container], against: simpy.Event | None) -> Steps:
        """One of each, or nothing at all if the decision comes first."""
        taken: list[simpy.Container] = []
        for container in containers:
            get = container.get(1)
            yield get if against is None else get | against
            if not get.triggered:
                get.cancel()
                for other in taken:
                    other.put(1)
                return []
            taken.append(container)
        return taken

    def _end_of_edge(self) -> simpy.Event:
        event = simpy.Event(self.env)
        event._ok, event._value = True, None
        self.env.schedule(event, priority=LAST)  # type: ignore[arg-type]
        return event

    def _give_up(self, key: Key, against: simpy.Event) -> Steps:
        """A slot filled in vain is free when it is full and known to be of no use."""
        yield self.loaded[key] & against
        for container in self.room_of[key]:
            container.put(1)

    def _load(self, key: Key, tile: TileSpec, before: simpy.Process | None) -> Steps:
        yield self.env.timeout(self.machine.latency_cycles)
        if before is not None:
            yield before  # loads keep their order on the bus
        if tile.bypasses:
            yield self.granted[key]
        with self.bus.request() as turn:
            yield turn
            self.log.load_start.append(self.env.now)
            self.started[key].succeed()
            fifo = simpy.Store(self.env)
            room = simpy.Container(self.env, self.machine.fifo_bursts, self.machine.fifo_bursts)
            self.env.process(self._send(len(tile.dec), fifo, room))
            yield self.env.process(self._decode(tile, fifo, room))
            self.log.load_end.append(self.env.now)
        self.outstanding.put(1)
        self.loaded[key].succeed()

    def _send(self, bursts: int, fifo: simpy.Store, room: simpy.Container) -> Steps:
        for burst in range(bursts):
            yield room.get(1)
            yield self.env.timeout(self.machine.burst_cycles)
            yield fifo.put(burst)

    def _decode(self, tile: TileSpec, fifo: simpy.Store, room: simpy.Container) -> Steps:
        columns = tile.columns or ()
        array_cycles = [c for bursts, cycles in columns for c in [0] * (bursts - 1) + [cycles] * (bursts > 0)]
        for burst, cycles in enumerate(tile.dec):
            yield fifo.get()
            self.env.process(self._give_room_back(room))
            both = [self.env.timeout(cycles)]
            if columns:
                both.append(self.env.timeout(array_cycles[burst]))  # the PEs take the column that ends here
            yield simpy.AllOf(self.env, both)

    def _give_room_back(self, room: simpy.Container) -> Steps:
        """Room is asked for across the latency before a burst can fill it."""
        yield self.env.timeout(self.machine.latency_cycles)
        yield room.put(1)

    def _mac_array(self) -> Steps:
        for number, op in enumerate(self.ops):
            if op.is_wasted:
                continue
            holds_accumulators = op.continues
            fill = self.machine.fill_cycles
            for position, part in enumerate(op.parts):
                for index, tile in enumerate(part.tiles):
                    key = (number, position, index)
                    if not tile.bypasses:
                        yield self.loaded[key]
                    yield self.ready[number][position]
                    if op.accumulates and not holds_accumulators:
                        yield self.accumulators.get(1)
                        holds_accumulators = True
                    if tile.bypasses:
                        self.granted[key].succeed()
                        yield self.started[key]
                    self.log.compute_start.append(self.env.now)
                    if tile.bypasses:
                        yield self.loaded[key]
                    if not tile.is_look_up:
                        for one in tile.passes:
                            yield self.env.process(self._dot_rows(one) if one.rows else self._broadcast_all(one))
                        yield self.env.timeout(fill)
                        fill = 0
                    self.log.compute_end.append(self.env.now)
                    self._free_slot(key, tile)
            self.summed[number].succeed()

    def _free_slot(self, key: Key, tile: TileSpec) -> None:
        owner = tile.frees or (key if tile.streams and not tile.keeps else None)
        for container in self.room_of[owner] if owner else ():
            container.put(1)

    def _broadcast_all(self, one: Pass) -> Steps:
        """One tile: a broadcaster, a queue in front of every PE, and the PEs."""
        if not one.work:
            return
        depth = self.machine.queue_depth
        pes = range(len(one.work[0]))
        free = [simpy.Container(self.env, depth, depth) for _ in pes]
        queues = [simpy.Store(self.env) for _ in pes]
        workers = [self.env.process(self._pe(len(one.work), queues[p], free[p])) for p in pes]
        edge, sent = None, 0
        for bubble, work in zip(one.bubbles, one.work, strict=True):
            if edge is None or bubble or sent == self.machine.broadcast_width:
                yield self.env.timeout(bubble + (edge is not None))
            for p in pes:
                yield free[p].get(1)
            sent = sent + 1 if edge == self.env.now else 1
            edge = self.env.now
            self.env.process(self._send_to_queues(work, queues))
        yield simpy.AllOf(self.env, workers)

    def _send_to_queues(self, work: tuple[int, ...], queues: list[simpy.Store]) -> Steps:
        yield self.env.timeout(1)
        for queue, cycles in zip(queues, work, strict=True):
            queue.put(cycles)

    def _pe(self, activations: int, queue: simpy.Store, free: simpy.Container) -> Steps:
        for _ in range(activations):
            work = yield queue.get()
            self.env.process(self._pop_is_seen_later(free))
            yield self.env.timeout(work)

    def _pop_is_seen_later(self, free: simpy.Container) -> Steps:
        yield self.env.timeout(1)
        yield free.put(1)

    def _dot_rows(self, one: Pass) -> Steps:
        yield simpy.AllOf(self.env, [self.env.process(self._dot_pe(rows)) for rows in one.rows])

    def _dot_pe(self, rows: tuple[tuple[tuple[int, ...], ...], ...]) -> Steps:
        """A PE: every cycle each lane takes its own oldest product in the window; a row takes a cycle at least."""
        for row in rows:
            waiting = [set(group) for group in row]
            while True:
                oldest = next((g for g, lanes in enumerate(waiting) if lanes), None)
                if oldest is not None:
                    busy: set[int] = set()
                    for lanes in waiting[oldest : oldest + 1 + self.machine.lookahead]:
                        takes = lanes - busy
                        lanes -= takes
                        busy |= takes
                yield self.env.timeout(1)
                if not any(waiting):
                    break

    def _vector_unit(self) -> Steps:
        for number, op in enumerate(self.ops):
            if op.is_wasted:
                continue
            yield self.summed[number]
            if not any(part.tiles for part in op.parts):
                yield self.ready[number][-1]
            self.log.out_start.append(self.env.now)
            yield self.env.timeout(op.out_cycles)
            self.log.out_end.append(self.env.now)
            goes_on = number + 1 < len(self.ops) and self.ops[number + 1].continues
            if (op.accumulates or op.continues) and not goes_on:
                self.accumulators.put(1)
            self.written[number].succeed()
