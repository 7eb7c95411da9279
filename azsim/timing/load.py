"""How long a tile takes from its first beat on the bus to its last weight decoded.

Bursts j of a tile pass from DMA to decoder through a FIFO of F bursts that is empty at a tile
border; room is reserved when a burst is requested (terms with an index below 0 are left out)::

    arrive[j] = max(arrive[j-1], taken[j-F] + latency) + burst_cycles
    taken[j]  = max(arrive[j], decoded[j-1])        decoded[j] = taken[j] + dec[j]

    load_cycles = decoded[last]

``dec[j]`` is the time the decoder needs for burst j: the symbols whose last bit is in it over the
codec's symbols per cycle, at least 1. In packed form nothing is taken apart and a burst passes in one
cycle. A tile depends on image and chip alone, so this is computed once and reused every frame.
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


def tensor_load_cycles(tensor: TensorTiles, chip: Chip) -> tuple[np.ndarray, np.ndarray]:
    """(load_cycles, decoder busy cycles) of a tensor's tiles, int64 each."""
    dec = decode_cycles(tensor.burst_symbols, chip)
    out = np.zeros(len(tensor.tiles), np.int64)
    scratch = np.zeros(chip.stream.fifo_bursts, np.int64)
    load_tiles(tensor.burst_start, dec, chip.burst_cycles, chip.latency_cycles, scratch, out)
    total = np.concatenate([[0], np.cumsum(dec)])
    return out, total[tensor.burst_start[1:]] - total[tensor.burst_start[:-1]]
