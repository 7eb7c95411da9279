"""The recurrences against the SimPy machine, against closed formulas, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azsim.timing import column_broadcast_cycles
from azsim.timing.load import load_columns, load_tiles
from azsim.timing.recurrences import NEVER_LOADED, Program, solve
from azsim.timing.reference import Machine, OpSpec, PartSpec, Pass, Simulation, TileSpec
from azsim.timing.row_dot import row_cycles

CASES = settings(
    max_examples=700, deadline=None, derandomize=False, suppress_health_check=[HealthCheck.too_slow], database=None
)

machines = st.builds(
    lambda slots, **fields: Machine(tile_slots=slots[0], banks=slots[1], **fields),
    slots=st.sampled_from([(1, 1), (2, 1), (2, 2), (3, 1), (3, 3)]),
    ports=st.sampled_from([1, 2, 2]),
    burst_cycles=st.integers(1, 6),
    latency_cycles=st.sampled_from([0, 1, 5, 60]),
    fifo_bursts=st.integers(1, 4),
    dma_outstanding=st.integers(1, 3),
    queue_depth=st.integers(1, 4),
    broadcast_width=st.sampled_from([1, 1, 2, 4]),
    lookahead=st.integers(0, 2),
    fill_cycles=st.integers(0, 3),
    accumulator_sets=st.integers(1, 3),
    op_overhead_cycles=st.integers(0, 3),
    branch_redirect_cycles=st.integers(0, 3),
)
LANES = 3


@st.composite
def broadcasts(draw, pes):
    """A pass of a column-broadcast array; PEs that always idle along at one cycle."""
    n = draw(st.integers(0, 6))
    busiest = [draw(st.sampled_from([1, 1, 3, 8])) for _ in range(pes)]
    work = tuple(tuple(draw(st.integers(1, most)) for most in busiest) for _ in range(n))
    return Pass(work, tuple(draw(st.sampled_from([0, 0, 0, 1, 3])) for _ in range(n)))


@st.composite
def dot_rows(draw, pes):
    """A pass of a row-dot array: PEs without rows, rows without a product."""
    groups = draw(st.integers(1, 5))
    lanes = st.lists(st.integers(0, LANES - 1), unique=True, max_size=LANES).map(tuple)
    row = st.lists(lanes, min_size=groups, max_size=groups).map(tuple)
    return Pass(rows=tuple(tuple(draw(st.lists(row, max_size=2))) for _ in range(pes)))


@st.composite
def tiles(draw, pes, is_wasted=False):
    """Zero-byte, pinned, streamed, past the SRAM, after its activations; all activations zero; several passes."""
    kind = draw(st.integers(0, 11))
    dec = tuple(draw(st.lists(st.integers(1, 9), max_size=5)))
    if kind == 0:
        return TileSpec(dec=(draw(st.integers(1, 5)),), is_look_up=True)
    if kind == 1 and dec and not is_wasted:
        first = draw(st.integers(0, len(dec) - 1))
        work = draw(st.integers(0, 9)), draw(st.integers(0, 9))
        return TileSpec(dec, columns=((first, work[0] if first else 0), (len(dec) - first, work[1])))
    one_pass = st.one_of(broadcasts(pes), broadcasts(pes), dot_rows(pes))
    passes = tuple(draw(st.lists(one_pass, min_size=1, max_size=2)))
    return TileSpec(dec, passes, is_pinned=kind == 2, waits_for_input=kind == 3 and not is_wasted)


@st.composite
def programs(draw):
    """Ops that read earlier ops (the frame before is just an earlier op), frames, decisions, and vain fetches."""
    pes = draw(st.integers(1, 3))
    ops, real = [], []
    for number in range(draw(st.integers(1, 6))):
        earlier = st.sampled_from(real) if real else st.nothing()
        maybe = lambda: draw(st.one_of(st.none(), earlier)) if real else None  # noqa: E731, B023
        is_wasted = bool(real) and draw(st.integers(0, 3)) == 0
        decided = draw(earlier) if is_wasted else maybe()
        fetch_after = decided if not is_wasted and draw(st.booleans()) else None
        parts = []
        for _ in range(draw(st.integers(1, 2))):
            reads = draw(st.lists(earlier, max_size=2)) if real and not is_wasted else []
            arrival = draw(st.one_of(st.none(), st.integers(1, 80)))
            own = draw(st.lists(tiles(pes, is_wasted), max_size=3))
            parts.append(PartSpec(tuple(own), tuple(reads), arrival))
        ops.append(OpSpec(tuple(parts), draw(st.integers(0, 20)), decided, fetch_after, is_wasted))
        if not is_wasted:
            real.append(number)
    return ops


def load_cycles(dec, machine):
    dec = np.array(dec, np.int64)
    out = np.zeros(1, np.int64)
    ring = np.zeros(machine.fifo_bursts, np.int64)
    load_tiles(np.array([0, len(dec)]), dec, machine.burst_cycles, machine.latency_cycles, ring, out)
    return int(out[0])


def load_cycles_by_columns(tile, machine):
    """The kernel that feeds PEs from the decoder, on one tile whose columns are all active."""
    n, one = len(tile.columns), np.zeros(1, np.int64)
    ends = np.cumsum([bursts for bursts, _ in tile.columns])
    work = np.array([cycles for _, cycles in tile.columns], np.int64)
    out = [np.zeros(1, np.int64) for _ in range(8)]
    load_columns(
        np.zeros(1, np.int32), np.array([0, 1]), np.array([-1]), np.full(n // 8 + 1, 255, np.uint8), one,
        np.array([0, 1]), np.array([[0, 1]]), np.array([0, 1]), np.array([[0, n]]), one,
        np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1), *(np.zeros(n, np.int64) for _ in range(3)), work,
        np.array(tile.dec, np.int64), False, True, True, machine.burst_cycles, machine.latency_cycles,
        np.zeros(machine.fifo_bursts, np.int64), *out,
    )  # fmt: skip
    return int(out[0][0])


def pass_cycles(one, machine):
    """The kernels on one pass over a tile."""
    if one.rows:
        busiest = 0
        for rows in one.rows:
            total = 0
            for row in rows:
                products = np.zeros(1, np.uint64)
                for g, lanes in enumerate(row):
                    for lane in lanes:
                        products[0] |= np.uint64(1) << np.uint64(g * LANES + lane)
                total += row_cycles(products, LANES, len(row), machine.lookahead, np.zeros(LANES, np.int64))
            busiest = max(busiest, total)
        return busiest
    work = np.array(one.work, np.int64).reshape(len(one.work), -1 if one.work else 1)
    return column_broadcast_cycles(
        work, machine.queue_depth, np.array(one.bubbles, int), 0, broadcast_width=machine.broadcast_width
    )


def solve_ops(machine, ops):
    """The kernels on a list of OpSpec."""
    parts = [(o, part) for o, op in enumerate(ops) for part in op.parts]
    rows, first_of_op = [], set()
    for p, (o, part) in enumerate(parts):
        for tile in part.tiles:
            cycles = 0
            if not tile.is_look_up and not ops[o].is_wasted:
                cycles = 0 if tile.bypasses else sum(pass_cycles(one, machine) for one in tile.passes)
                cycles += machine.fill_cycles if o not in first_of_op else 0
                first_of_op.add(o)
            load = load_cycles_by_columns(tile, machine) if tile.bypasses else load_cycles(tile.dec, machine)
            rows.append((p, tile.streams, tile.waits_for_input, tile.bypasses, load if tile.streams else 0, cycles))
    counts = [len(op.parts) for op in ops]
    tiles_of_op = [sum(len(part.tiles) for part in op.parts) for op in ops]
    starts = lambda lengths: np.concatenate([[0], np.cumsum(np.array(lengths, int))]).astype(np.int64)  # noqa: E731
    column = lambda i, dtype: np.array([row[i] for row in rows], dtype)  # noqa: E731
    or_none = lambda name: np.array([-1 if (d := getattr(op, name)) is None else d for op in ops], np.int64)  # noqa: E731
    program = Program(
        part_op=np.array([o for o, _ in parts]),
        part_arrival=np.array([-1 if part.arrival is None else part.arrival for _, part in parts]),
        read_start=starts([len(part.reads) for _, part in parts]),
        reads=np.array([r for _, part in parts for r in part.reads], np.int64),
        op_parts=starts(counts),
        op_tiles=starts(tiles_of_op),
        op_takes_set=np.array([op.accumulates and not op.is_wasted for op in ops]),
        op_set_end=np.arange(len(ops)),
        op_decided_by=or_none("decided_by"),
        op_fetch_after=or_none("fetch_after"),
        op_is_wasted=np.array([op.is_wasted for op in ops]),
        out_cycles=np.array([0 if op.is_wasted else op.out_cycles for op in ops], np.int64),
        tile_part=column(0, np.int64),
        tile_streams=column(1, np.bool_),
        tile_release=np.arange(len(rows)),
        tile_waits_for_input=column(2, np.bool_),
        tile_bypasses=column(3, np.bool_),
        load_cycles=column(4, np.int64),
        mac_cycles=column(5, np.int64),
    )
    return program, solve(
        program,
        latency_cycles=machine.latency_cycles,
        slots=machine.tile_slots if machine.ports == 2 else machine.banks,
        dma_outstanding=machine.dma_outstanding,
        accumulator_sets=machine.accumulator_sets,
        op_overhead_cycles=machine.op_overhead_cycles,
        branch_redirect_cycles=machine.branch_redirect_cycles,
    )


@CASES
@given(machines, programs())
def test_the_whole_machine_agrees_cycle_for_cycle(machine, ops):
    log = Simulation(machine, ops).run()
    program, edges = solve_ops(machine, ops)
    wasted = program.op_is_wasted[program.part_op[program.tile_part]]
    loads = program.tile_streams & (edges.load_reason != NEVER_LOADED)
    assert edges.load_start[loads].tolist() == log.load_start
    assert edges.load_end[loads].tolist() == log.load_end
    assert edges.compute_start[~wasted].tolist() == log.compute_start
    assert edges.compute_end[~wasted].tolist() == log.compute_end
    assert edges.out_start[~program.op_is_wasted].tolist() == log.out_start
    assert edges.out_end[~program.op_is_wasted].tolist() == log.out_end
    if log.out_end:  # the three floors: array, bus and decoder each do one thing at a time
        end = max(log.out_end[-1], log.load_end[-1] if log.load_end else 0)
        fetched = [t for t, happened in zip(all_tiles(ops), loads, strict=True) if happened]
        assert end >= program.mac_cycles[~wasted].sum()
        assert end >= machine.burst_cycles * sum(len(tile.dec) for tile in fetched)
        assert end >= sum(sum(tile.dec) for tile in fetched)


def all_tiles(ops):
    return [tile for op in ops for part in op.parts for tile in part.tiles]


@CASES
@given(machines, st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_one_load_agrees_cycle_for_cycle(machine, dec):
    log = Simulation(machine, [OpSpec((PartSpec((TileSpec(tuple(dec)),)),), 0)]).run()
    assert log.load_end[0] - log.load_start[0] == load_cycles(dec, machine)


@CASES
@given(st.data())
def test_one_tile_agrees_cycle_for_cycle(data):
    pes = data.draw(st.integers(1, 4))
    n = data.draw(st.integers(0, 15))
    work = data.draw(st.lists(st.tuples(*[st.integers(1, 7)] * pes), min_size=n, max_size=n))
    bubbles = data.draw(st.lists(st.sampled_from([0, 0, 1, 3]), min_size=n, max_size=n))
    depth, width, fill = (data.draw(st.integers(low, high)) for low, high in ((1, 5), (1, 4), (0, 9)))
    machine = Machine(queue_depth=depth, broadcast_width=width, fill_cycles=fill)
    tile = TileSpec((), (Pass(tuple(work), tuple(bubbles)),))
    log = Simulation(machine, [OpSpec((PartSpec((tile,)),), 0)]).run()
    got = column_broadcast_cycles(
        np.array(work, int).reshape(n, pes), machine.queue_depth, np.array(bubbles, int), machine.fill_cycles,
        machine.broadcast_width,
    )  # fmt: skip
    assert got == log.compute_end[0] - log.compute_start[0]
    if n:  # floors: the busiest PE, and so many broadcasts a cycle
        busiest = np.array(work).sum(axis=0).max()
        assert got >= max(busiest, -(-n // width) + sum(bubbles)) + machine.fill_cycles


MORE = {
    "bus": lambda m: {"burst_cycles": max(1, m.burst_cycles - 1)},
    "fifo": lambda m: {"fifo_bursts": m.fifo_bursts + 1},
    "outstanding": lambda m: {"dma_outstanding": m.dma_outstanding + 1},
    "queue": lambda m: {"queue_depth": m.queue_depth + 1},
    "slots": lambda m: {"tile_slots": 2 * m.tile_slots, "banks": 2 * m.banks},
    "latency": lambda m: {"latency_cycles": m.latency_cycles // 2},
    "width": lambda m: {"broadcast_width": m.broadcast_width + 1},
    "sets": lambda m: {"accumulator_sets": m.accumulator_sets + 1},
}


def waits(ops):
    """The program under the policy ``wait``: nothing is fetched in vain."""
    return not any(op.is_wasted or op.fetch_after != op.decided_by for op in ops)


@settings(CASES, max_examples=300)
@given(machines, programs().filter(waits), st.sampled_from([*MORE, "decoder"]))
def test_more_of_anything_never_costs_a_cycle(machine, ops, what):
    def end(machine, ops):
        return solve_ops(machine, ops)[1].out_end[-1]

    if what == "decoder":
        assert end(machine, [with_faster_decoder(op) for op in ops]) <= end(machine, ops)
    else:
        assert end(Machine(**{**vars(machine), **MORE[what](machine)}), ops) <= end(machine, ops)


def with_faster_decoder(op):
    """Every burst decoded a cycle sooner."""
    faster = lambda tile: replace(tile, dec=tuple(max(1, d - 1) for d in tile.dec))  # noqa: E731
    return replace(op, parts=tuple(replace(p, tiles=tuple(faster(t) for t in p.tiles)) for p in op.parts))


def test_the_slowest_pe_decides():
    # One broadcast a cycle from edge 0; PE 0 pops at 1, 3, 5 and works until 7, PE 1 pops at 1, 2, 3.
    assert column_broadcast_cycles(np.array([[2, 1]] * 3), queue_depth=8, fill_cycles=0) == 1 + 3 * 2


def test_a_full_queue_holds_the_broadcast_back():
    # One slot. b0 = 0, pop0 = 1 (PE 0 busy until 6). b1 = 2 (a pop is seen one edge later), pop1 = 6 on PE 0,
    # so b2 = 7 although PE 1 has been idle since 4; pop2 = 8 on both, PE 0 until 9, PE 1 until 13.
    work = np.array([[5, 1], [1, 1], [1, 5]])
    assert column_broadcast_cycles(work, queue_depth=1, fill_cycles=0) == 13
    # With two slots b1 = 1 and b2 = 2 (activation 0 was popped at 1); PE 1 pops it at 3 and ends at 8, as PE 0 does.
    assert column_broadcast_cycles(work, queue_depth=2, fill_cycles=0) == 8


def test_no_active_column_costs_only_the_fill():
    assert column_broadcast_cycles(np.zeros((0, 4), int), queue_depth=2, fill_cycles=7) == 7


def test_an_ideal_decoder_leaves_the_bus():
    # dec = 1 < burst_cycles: bursts back to back, then the last one's decode.
    assert load_cycles([1] * 10, Machine(burst_cycles=4, latency_cycles=10, fifo_bursts=10)) == 10 * 4 + 1


def test_an_ideal_bus_leaves_the_decoder():
    # The first burst arrives after 1, the decoder is never idle afterwards.
    assert load_cycles([7] * 5, Machine(burst_cycles=1, latency_cycles=0, fifo_bursts=4)) == 1 + 5 * 7


def test_a_fifo_of_one_pays_the_latency_every_burst():
    # taken[0] = 4; burst 1 is asked for then, arrives at 4 + 10 + 4 = 18, burst 2 at 32, decoded at 33.
    assert load_cycles([1] * 3, Machine(burst_cycles=4, latency_cycles=10, fifo_bursts=1)) == 33


def streamed(dec, cycles):
    """A tile of one PE that computes for ``cycles`` (1 broadcast edge and cycles - 1 of work)."""
    return TileSpec((dec,), (Pass(((cycles - 1,),), (0,)),))


@pytest.mark.parametrize(
    ("dec", "compute", "finish"),
    [
        (9, 4, 3 * 10 + 4),  # bandwidth bound: 1 + 9 cycles a load, back to back, then one compute
        (3, 10, 4 + 3 * 10),  # compute bound: one load, then computes back to back
    ],
)
def test_double_buffering_reaches_the_bound(dec, compute, finish):
    machine = Machine(burst_cycles=1, latency_cycles=0, tile_slots=2, fill_cycles=0)
    op = OpSpec((PartSpec((streamed(dec, compute),) * 3),), 0)
    assert solve_ops(machine, [op])[1].out_end[-1] == finish


def test_a_tile_holds_its_slot_until_it_is_computed():
    # Loads of 2, 2, 9 with two slots: tile 2 may load when tile 0 is computed at 12, until 21, computes until 23.
    machine = Machine(burst_cycles=1, latency_cycles=0, tile_slots=2, fill_cycles=0)
    op = OpSpec((PartSpec((streamed(1, 10), streamed(1, 2), streamed(8, 2))),), 0)
    assert solve_ops(machine, [op])[1].out_end[-1] == 23


def test_the_recurrent_part_computes_before_the_frame_arrives():
    # W_hh needs 10 cycles and only the state: done at 10. The frame arrives at 50, W_ih ends at 56, the pass at 61.
    hh, ih = TileSpec((), (Pass(((9,),), (0,)),)), TileSpec((), (Pass(((5,),), (0,)),))
    op = OpSpec((PartSpec((hh,)), PartSpec((ih,), arrival=50)), 5)
    edges = solve_ops(Machine(fill_cycles=0), [op])[1]
    assert edges.compute_end.tolist() == [10, 56] and edges.out_end[-1] == 61


def test_one_accumulator_set_waits_for_the_output_pass():
    op = OpSpec((PartSpec((TileSpec((), (Pass(((9,),), (0,)),)),)),), 20)
    alone = solve_ops(Machine(fill_cycles=0, accumulator_sets=1), [op, op])[1]
    both = solve_ops(Machine(fill_cycles=0, accumulator_sets=2), [op, op])[1]
    assert alone.compute_start[1] == 30 and both.compute_start[1] == 10


def test_weights_of_an_arm_wait_for_the_decision():
    machine = Machine(burst_cycles=1, latency_cycles=2, branch_redirect_cycles=3, fill_cycles=0)
    arbitrator = OpSpec((PartSpec((TileSpec((), (Pass(((9,),), (0,)),)),)),), 5)
    arm = OpSpec((PartSpec((streamed(4, 2),)),), 0, decided_by=0, fetch_after=0)
    # decided at 15, redirected at 18, first beat at 20
    assert solve_ops(machine, [arbitrator, arm])[1].load_start[1] == 20
