"""The recurrences against the SimPy machine, against closed formulas, and by hand."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azsim.timing import column_broadcast_cycles
from azsim.timing.load import load_tiles
from azsim.timing.recurrences import Program, solve
from azsim.timing.reference import Machine, OpSpec, PartSpec, Simulation, TileSpec

CASES = settings(
    max_examples=700, deadline=None, derandomize=False, suppress_health_check=[HealthCheck.too_slow], database=None
)

machines = st.builds(
    Machine,
    burst_cycles=st.integers(1, 6),
    latency_cycles=st.sampled_from([0, 1, 5, 60]),
    fifo_bursts=st.integers(1, 4),
    tile_slots=st.integers(1, 3),
    dma_outstanding=st.integers(1, 3),
    queue_depth=st.integers(1, 4),
    fill_cycles=st.integers(0, 3),
    accumulator_sets=st.integers(1, 3),
    op_overhead_cycles=st.integers(0, 3),
    branch_redirect_cycles=st.integers(0, 3),
)


@st.composite
def tiles(draw, pes):
    """Zero-byte, pinned, streamed; all activations zero; PEs that always idle along at one cycle."""
    if draw(st.integers(0, 9)) == 0:
        return TileSpec(dec=(draw(st.integers(1, 5)),), work=(), bubbles=(), is_look_up=True)
    dec = draw(st.lists(st.integers(1, 9), max_size=5))
    broadcasts = draw(st.integers(0, 6))
    busiest = [draw(st.sampled_from([1, 1, 3, 8])) for _ in range(pes)]
    work = [tuple(draw(st.integers(1, most)) for most in busiest) for _ in range(broadcasts)]
    bubbles = tuple(draw(st.sampled_from([0, 0, 0, 1, 3])) for _ in range(broadcasts))
    return TileSpec(tuple(dec), tuple(work), bubbles, is_pinned=draw(st.booleans()) and draw(st.booleans()))


@st.composite
def programs(draw):
    """Ops that read earlier ops (the frame before is just an earlier op), frames, and decisions."""
    pes = draw(st.integers(1, 3))
    ops = []
    for number in range(draw(st.integers(1, 6))):
        parts = []
        for _ in range(draw(st.integers(1, 2))):
            reads = draw(st.lists(st.integers(0, number - 1), max_size=2)) if number else []
            arrival = draw(st.one_of(st.none(), st.integers(1, 80)))
            parts.append(PartSpec(tuple(draw(st.lists(tiles(pes), max_size=3))), tuple(reads), arrival))
        decided = draw(st.one_of(st.none(), st.integers(0, number - 1))) if number else None
        ops.append(OpSpec(tuple(parts), draw(st.integers(0, 20)), decided))
    return ops


def load_cycles(dec, machine):
    dec = np.array(dec, np.int64)
    out = np.zeros(1, np.int64)
    ring = np.zeros(machine.fifo_bursts, np.int64)
    load_tiles(np.array([0, len(dec)]), dec, machine.burst_cycles, machine.latency_cycles, ring, out)
    return int(out[0])


def solve_ops(machine, ops):
    """The kernels on a list of OpSpec."""
    parts = [(o, part) for o, op in enumerate(ops) for part in op.parts]
    rows, first_of_op = [], set()
    for p, (o, part) in enumerate(parts):
        for tile in part.tiles:
            cycles = 0
            if not tile.is_look_up:
                fill = machine.fill_cycles if o not in first_of_op else 0
                first_of_op.add(o)
                work = np.array(tile.work, np.int64).reshape(len(tile.work), -1 if tile.work else 1)
                cycles = column_broadcast_cycles(work, machine.queue_depth, np.array(tile.bubbles, int), fill)
            rows.append((p, tile.streams, load_cycles(tile.dec, machine) if tile.streams else 0, cycles))
    counts = [len(op.parts) for op in ops]
    tiles_of_op = [sum(len(part.tiles) for part in op.parts) for op in ops]
    starts = lambda lengths: np.concatenate([[0], np.cumsum(np.array(lengths, int))]).astype(np.int64)  # noqa: E731
    column = lambda i, dtype: np.array([row[i] for row in rows], dtype)  # noqa: E731
    program = Program(
        part_op=np.array([o for o, _ in parts]),
        part_arrival=np.array([-1 if part.arrival is None else part.arrival for _, part in parts]),
        read_start=starts([len(part.reads) for _, part in parts]),
        reads=np.array([r for _, part in parts for r in part.reads], np.int64),
        op_parts=starts(counts),
        op_tiles=starts(tiles_of_op),
        op_accumulates=np.array([op.accumulates for op in ops]),
        op_decided_by=np.array([-1 if op.decided_by is None else op.decided_by for op in ops], np.int64),
        out_cycles=np.array([op.out_cycles for op in ops], np.int64),
        tile_part=column(0, np.int64),
        tile_streams=column(1, np.bool_),
        load_cycles=column(2, np.int64),
        mac_cycles=column(3, np.int64),
    )
    return program, solve(
        program,
        latency_cycles=machine.latency_cycles,
        tile_slots=machine.tile_slots,
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
    streams = program.tile_streams
    assert edges.load_start[streams].tolist() == log.load_start
    assert edges.load_end[streams].tolist() == log.load_end
    assert edges.compute_start.tolist() == log.compute_start
    assert edges.compute_end.tolist() == log.compute_end
    assert edges.out_start.tolist() == log.out_start
    assert edges.out_end.tolist() == log.out_end


@CASES
@given(machines, st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_one_load_agrees_cycle_for_cycle(machine, dec):
    log = Simulation(machine, [OpSpec((PartSpec((TileSpec(tuple(dec), (), ()),)),), 0)]).run()
    assert log.load_end[0] - log.load_start[0] == load_cycles(dec, machine)


@CASES
@given(st.data())
def test_one_tile_agrees_cycle_for_cycle(data):
    pes = data.draw(st.integers(1, 4))
    broadcasts = data.draw(st.integers(0, 15))
    work = data.draw(st.lists(st.tuples(*[st.integers(1, 7)] * pes), min_size=broadcasts, max_size=broadcasts))
    bubbles = data.draw(st.lists(st.integers(0, 3), min_size=broadcasts, max_size=broadcasts))
    machine = Machine(queue_depth=data.draw(st.integers(1, 5)), fill_cycles=data.draw(st.integers(0, 9)))
    log = Simulation(machine, [OpSpec((PartSpec((TileSpec((), tuple(work), tuple(bubbles)),)),), 0)]).run()
    got = column_broadcast_cycles(
        np.array(work, int).reshape(broadcasts, pes), machine.queue_depth, np.array(bubbles, int), machine.fill_cycles
    )
    assert got == log.compute_end[0] - log.compute_start[0]
    if broadcasts:  # floors: the busiest PE, and one broadcast a cycle
        busiest = np.array(work).sum(axis=0).max()
        assert got >= max(busiest, broadcasts + sum(bubbles)) + machine.fill_cycles


@settings(CASES, max_examples=150)
@given(machines, programs(), st.sampled_from(["bus", "fifo", "outstanding", "queue", "slots", "decoder"]))
def test_more_of_anything_never_costs_a_cycle(machine, ops, what):
    def end(machine, ops):
        return solve_ops(machine, ops)[1].out_end[-1]

    more = {
        "bus": {"burst_cycles": max(1, machine.burst_cycles - 1)},
        "fifo": {"fifo_bursts": machine.fifo_bursts + 1},
        "outstanding": {"dma_outstanding": machine.dma_outstanding + 1},
        "queue": {"queue_depth": machine.queue_depth + 1},
        "slots": {"tile_slots": machine.tile_slots + 1},
    }
    faster_decoder = [
        OpSpec(
            tuple(
                PartSpec(
                    tuple(
                        TileSpec(tuple(max(1, d - 1) for d in t.dec), t.work, t.bubbles, t.is_pinned, t.is_look_up)
                        for t in part.tiles
                    ),
                    part.reads,
                    part.arrival,
                )
                for part in op.parts
            ),
            op.out_cycles,
            op.decided_by,
        )
        for op in ops
    ]
    if what == "decoder":
        assert end(machine, faster_decoder) <= end(machine, ops)
    else:
        assert end(Machine(**{**vars(machine), **more[what]}), ops) <= end(machine, ops)


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
    return TileSpec((dec,), ((cycles - 1,),), (0,))


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
    hh, ih = TileSpec((), ((9,),), (0,)), TileSpec((), ((5,),), (0,))
    op = OpSpec((PartSpec((hh,)), PartSpec((ih,), arrival=50)), 5)
    edges = solve_ops(Machine(fill_cycles=0), [op])[1]
    assert edges.compute_end.tolist() == [10, 56] and edges.out_end[-1] == 61


def test_one_accumulator_set_waits_for_the_output_pass():
    op = OpSpec((PartSpec((TileSpec((), ((9,),), (0,)),)),), 20)
    alone = solve_ops(Machine(fill_cycles=0, accumulator_sets=1), [op, op])[1]
    both = solve_ops(Machine(fill_cycles=0, accumulator_sets=2), [op, op])[1]
    assert alone.compute_start[1] == 30 and both.compute_start[1] == 10


def test_weights_of_an_arm_wait_for_the_decision():
    machine = Machine(burst_cycles=1, latency_cycles=2, branch_redirect_cycles=3, fill_cycles=0)
    arbitrator = OpSpec((PartSpec((TileSpec((), ((9,),), (0,)),)),), 5)
    arm = OpSpec((PartSpec((streamed(4, 2),)),), 0, decided_by=0)
    # decided at 15, redirected at 18, first beat at 20
    assert solve_ops(machine, [arbitrator, arm])[1].load_start[1] == 20
