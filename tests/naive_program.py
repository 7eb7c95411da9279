"""A record on a chip as a list of ops for the SimPy machine, in plain Python and from the words.

Counts zeros from the weights themselves and takes sizes from the image's directory; uses none of the
code that it checks.
"""

import math

import numpy as np

from azsim.timing.reference import Machine, OpSpec, PartSpec, TileSpec


def machine_of(chip):
    return Machine(
        burst_cycles=math.ceil(chip.dram.burst_bytes / (chip.dram.bandwidth_bytes_per_s / chip.clock_hz)),
        latency_cycles=math.ceil(chip.dram.latency_ns * 1e-9 * chip.clock_hz - 1e-9),
        fifo_bursts=chip.stream.fifo_bursts,
        tile_slots=chip.weight_sram.tile_slots,
        dma_outstanding=chip.stream.dma_outstanding,
        queue_depth=chip.mac_array.queue_depth,
        fill_cycles=chip.mac_array.fill_cycles,
        accumulator_sets=chip.mac_array.accumulator_sets,
        op_overhead_cycles=chip.controller.op_overhead_cycles,
        branch_redirect_cycles=chip.controller.branch_redirect_cycles,
    )


def column_work(values, column, chip):
    """Cycles each PE spends on one column of a row part."""
    array, packed = chip.mac_array, chip.weight_sram.form == "packed"
    work = []
    for p in range(array.pes):
        own = values[p :: array.pes, column]
        entries = np.count_nonzero(own) if array.skip_weights else len(own)
        if packed:
            padding, run = 0, 0
            for weight in own:
                if weight:
                    padding += run // 2**chip.codec.index_bits
                    run = 0
                else:
                    run += 1
            entries = max(entries, np.count_nonzero(own) + padding)
        scanned = len(own) if array.skip_weights and not packed else 0
        work.append(max(1, math.ceil(entries / array.lanes), math.ceil(scanned / array.scan_width)))
    return tuple(work)


def tile_spec(tensor, index, weights, active, chip):
    """One tile under one operand (bool[cols])."""
    tile = tensor.tiles[index]
    bursts = tensor.burst_symbols[tensor.burst_start[index] : tensor.burst_start[index + 1]]
    packed = chip.weight_sram.form == "packed"
    dec = tuple(1 if packed else max(1, math.ceil(s / chip.codec.symbols_per_cycle)) for s in bursts)
    if active is None:
        return TileSpec(dec, (), (), tensor.pinned, is_look_up=True)
    rows = weights[tile.row_start : tile.row_stop]
    work, bubbles, row_before = [], [], 0
    for c in range(tile.col_start, tile.col_stop):
        if not active[c] and chip.mac_array.skip_activations:
            continue
        period = chip.mac_array.bubble_period
        row = (c - tile.col_start) // period if period else 0
        bubbles.append(row - row_before)
        row_before = row
        work.append(column_work(rows, c, chip))
    return TileSpec(dec, tuple(work), tuple(bubbles), tensor.pinned)


def ops_of(record, image, weights, chip, arrival):
    """OpSpecs in program order, and the last one of every invocation."""
    ops, last = [], {}
    for n in range(len(record)):
        op = record.ops[record.op[n]]
        parts = list(range(record.part_start[n], record.part_start[n + 1]))
        is_look_up = bool(parts) and record.row[parts[0]] >= 0
        splits = [(0, 1)] if is_look_up or not parts else image.tensors[op.tensors[0]].part_rows
        for start, stop in splits:
            specs = []
            for part, name, cols in zip(parts, op.tensors, op.cols, strict=True):
                tensor = image.tensors[name]
                active = None if is_look_up else record.operand(part, cols)
                tiles = (
                    [record.row[part]]
                    if is_look_up
                    else [i for i, t in enumerate(tensor.tiles) if t.row_start >= start and t.row_stop <= stop]
                )
                reads = [last[r] for r in record.reads[record.read_start[part] : record.read_start[part + 1]]]
                when = int(arrival[record.frame[n]]) if record.part_reads_frame[part] else None
                specs.append([[tile_spec(tensor, i, weights[name], active, chip) for i in tiles], reads, when])
            if not specs:
                specs.append([[], [], None])
            specs[-1][1] += [last[r] for r in record.op_reads[record.op_read_start[n] : record.op_read_start[n + 1]]]
            if record.reads_frame[n]:
                specs[-1][2] = int(arrival[record.frame[n]])
            share = (stop - start) / splits[-1][1]
            unit = chip.vector_unit
            out = unit.fill_cycles + sum(
                math.ceil(math.ceil(e * share) / unit.lanes[f]) for f, e in op.functions.items()
            )
            decided = None if record.decided_by[n] < 0 else last[record.decided_by[n]]
            ops.append(OpSpec(tuple(PartSpec(tuple(t), tuple(r), a) for t, r, a in specs), out, decided))
        last[n] = len(ops) - 1
    return ops
