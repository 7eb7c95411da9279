"""How long a tile takes from its first beat on the bus to its last weight decoded.

Bursts j of a tile pass from DMA to decoder through a FIFO of F bursts that is empty at a tile
border; room is reserved when a burst is requested (terms with an index below 0 are left out)::

    arrive[j] = max(arrive[j-1], taken[j-F] + latency) + burst_cycles
    taken[j]  = max(arrive[j], decoded[j-1])        decoded[j] = taken[j] + dec[j]

    load_cycles = decoded[last]

``dec[j]`` is the time the decoder needs for burst j: the symbols whose last bit is in it over the
codec's symbols per cycle, at least 1. In packed form nothing is taken apart and a burst passes in one
cycle. A tile depends on image and chip alone, so this is computed once and reused every frame, unless

* only the columns whose activation is not zero are fetched: their bursts are those of a shorter tile; or
* weights bypass the SRAM: the decoder holds the last burst of a column until the PEs have taken the column, which
  lasts as long as the busiest of them works, and columns under a zero activation are decoded and dropped.
"""

import numpy as np
from numba import njit

from azsim.chip.config import Chip
from azsim.weights.image import TensorTiles


@njit(cache=True, nogil=True)
def load_tiles(burst_start, dec, burst_cycles, latency_cycles, taken, load_cycles):
    """Load cycles of many tiles.

    Parameters
    ----------
    burst_start : int64[tiles + 1]
        Bursts of tile i are ``burst_start[i]:burst_start[i + 1]``.
    dec : int64[bursts]
    burst_cycles, latency_cycles : int
    taken : int64[F]
        Scratch ring; its length is the FIFO's.
    load_cycles : int64[tiles]
        Out. 0 for a tile without bursts.
    """
    depth = taken.shape[0]
    for i in range(load_cycles.shape[0]):
        arrive, decoded = 0, 0
        first = burst_start[i]
        for b in range(first, burst_start[i + 1]):
            j = b - first
            start = arrive
            if j >= depth:
                start = max(start, taken[j % depth] + latency_cycles)
            arrive = start + burst_cycles
            take = max(arrive, decoded)
            taken[j % depth] = take
            decoded = take + dec[b]
        load_cycles[i] = decoded


def decode_cycles(burst_symbols: np.ndarray, chip: Chip) -> np.ndarray:
    """``dec`` of each burst, int64."""
    if chip.weight_sram.form == "packed":
        return np.ones(len(burst_symbols), np.int64)
    return np.maximum(1, -(-burst_symbols // chip.codec.symbols_per_cycle))


def tensor_load_cycles(
    tensor: TensorTiles, dec: np.ndarray, fifo_bursts: int, burst_cycles: int, latency_cycles: int
) -> tuple[np.ndarray, np.ndarray]:
    """(load_cycles, decoder busy cycles) of a tensor's tiles, int64 each, for ``dec`` of all its bursts."""
    out = np.zeros(len(tensor.tiles), np.int64)
    load_tiles(tensor.burst_start, dec, burst_cycles, latency_cycles, np.zeros(fifo_bursts, np.int64), out)
    total = np.concatenate([[0], np.cumsum(dec)])
    return out, total[tensor.burst_start[1:]] - total[tensor.burst_start[:-1]]


@njit(cache=True, nogil=True)
def load_columns(
    op, part_start, row, nonzero, nonzero_start, op_slots, slot_tiles, cell_start, tile_cols, tile_work,
    column_burst, column_bytes, column_metadata_bits, column_symbols, column_work, dec,
    active_only, skip_activations, is_bypass, burst_cycles, latency_cycles, taken,
    load_cycles, decode_cycles, bursts, packed_bytes, metadata_bits, symbols, array_cycles, held_cycles,
):  # fmt: skip
    """Loads of tiles whose columns are fetched, or passed to the PEs, one by one; cells as in ``replay_columns``.

    Parameters
    ----------
    column_burst : int64[columns, 2]
        Range of each column's bursts in ``dec``; columns numbered as the rows of ``work``.
    column_bytes, column_metadata_bits, column_symbols : int64[columns]
    column_work : int64[columns]
        Cycles of the busiest PE.
    dec : int64[bursts]
    active_only, skip_activations, is_bypass : bool
    burst_cycles, latency_cycles : int
    taken : int64[F]
        Scratch ring.
    load_cycles, decode_cycles, bursts, packed_bytes, metadata_bits, symbols : int64[cells]
        Out.
    array_cycles : int64[cells]
        Out: cycles in which PEs take columns from the decoder.
    held_cycles : int64[cells]
        Out: the share of them in which the decoder has nothing else to do than to wait.
    """
    depth = taken.shape[0]
    for n in range(op.shape[0]):
        for part in range(part_start[n], part_start[n + 1]):
            if row[part] >= 0:
                continue
            slot = op_slots[op[n]] + part - part_start[n]
            bits, cell = nonzero_start[part], cell_start[part]
            for tile in range(slot_tiles[slot, 0], slot_tiles[slot, 1]):
                arrive, decoded, j = np.int64(0), np.int64(0), 0
                for c in range(tile_cols[tile, 0], tile_cols[tile, 1]):
                    is_zero = (nonzero[bits + (c >> 3)] >> (c & 7)) & 1 == 0
                    if is_zero and active_only:
                        continue
                    column = tile_work[tile] + c
                    stop = column_burst[column, 1]
                    for b in range(column_burst[column, 0], stop):
                        start = arrive
                        if j >= depth:
                            start = max(start, taken[j % depth] + latency_cycles)
                        arrive = start + burst_cycles
                        take = max(arrive, decoded)
                        taken[j % depth] = take
                        held = dec[b]
                        if is_bypass and b == stop - 1 and not (is_zero and skip_activations):
                            held = max(held, column_work[column])
                            array_cycles[cell] += column_work[column]
                            held_cycles[cell] += held - dec[b]
                        decoded = take + held
                        decode_cycles[cell] += dec[b]
                        j += 1
                    packed_bytes[cell] += column_bytes[column]
                    metadata_bits[cell] += column_metadata_bits[column]
                    symbols[cell] += column_symbols[column]
                load_cycles[cell] = decoded
                bursts[cell] = j
                cell += 1


@njit(cache=True, nogil=True)
def burst_edges(dec, held, fifo_bursts, burst_cycles, latency_cycles, arrive, taken):
    """When each burst of one load arrives and is taken, in cycles from the start of the load.

    Burst j is on the bus in ``arrive[j] - burst_cycles .. arrive[j]`` and in the decoder in
    ``taken[j] .. taken[j] + dec[j]``.

    Parameters
    ----------
    dec, held : int64[bursts]
        Cycles to decode a burst, and until the decoder may take the next; the same but in a bypass.
    fifo_bursts, burst_cycles, latency_cycles : int
    arrive, taken : int64[bursts]
        Out.
    """
    arrived, decoded = np.int64(0), np.int64(0)
    for j in range(dec.shape[0]):
        if j >= fifo_bursts:
            arrived = max(arrived, taken[j - fifo_bursts] + latency_cycles)
        arrived += burst_cycles
        arrive[j] = arrived
        taken[j] = max(arrived, decoded)
        decoded = taken[j] + held[j]
