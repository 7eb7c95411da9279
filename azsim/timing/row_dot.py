"""How long a row-dot MAC array needs for a tile: rows, groups of lanes, a window of lookahead.

Row r is on PE ``r % pes``. A PE looks at a window of 1 + ``lookahead`` groups of ``lanes`` operand pairs, beginning
at its oldest unfinished group; in each cycle each lane takes its own oldest product in the window that
is not skipped. A row costs at least one cycle, and the busiest PE decides::

    cycles of a row = 1 or the cycles until every product that is not skipped has been taken
    cycles          = max over PEs (sum over its rows) + fill

Lookahead 0 gives the number of groups with such a product, unlimited lookahead the longest lane.

Source
------
Borrowed   lanes that draw from a window of groups: as in Bit-Tactical and Cnvlutin-like front-ends; window over
           operand pairs as in the inner-join machines (SparTen).
Assumed    finding the next product in the window takes no cycle; PEs read private copies of the activations.

Left out
--------
Products of the next row while this one ends, and the time to fill the private copies (one broadcast of the
operand, hidden behind the first weights).
"""

import numpy as np
from numba import njit

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True, nogil=True)
def ones(word):
    """Number of set bits of a uint64."""
    w = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    w = (w & np.uint64(0x3333333333333333)) + ((w >> np.uint64(2)) & np.uint64(0x3333333333333333))
    w = (w + (w >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((w * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def highest_bits(lanes):
    """The highest bit of every group of ``lanes`` bits of a word; ``lanes`` a power of two up to 64."""
    top = np.uint64(0)
    for g in range(lanes - 1, 64, lanes):
        top |= np.uint64(1) << np.uint64(g)
    return top


@njit(cache=True, nogil=True)
def groups_with_a_product(word, top):
    """Groups of a word with at least one bit set; ``top`` of ``highest_bits``.

    A group's lower bits plus all ones carry into its highest bit unless they are zero, and never out of it.
    """
    below = ~top
    return ones((((word & below) + below) | word) & top)


@njit(cache=True, nogil=True)
def count_row(masks, at, words, sent, unskipped, top):
    """(products of which no operand is zero, groups with a product that is not skipped) of one row.

    Parameters
    ----------
    masks : uint64[...]
        The row's words begin at ``at``.
    words, sent : uint64[words]
        Activations that are not zero, and those that are not skipped.
    unskipped : uint64
        Weights that are not skipped though they are zero: all or none.
    top : uint64
        Of ``highest_bits``.
    """
    effectual, groups = np.int64(0), np.int64(0)
    for w in range(words.shape[0]):
        stored = masks[at + w]
        effectual += ones(stored & words[w])
        groups += groups_with_a_product((stored | unskipped) & sent[w], top)
    return effectual, groups


@njit(cache=True, nogil=True)
def next_in_lane(products, group, lane, lanes, groups):
    """First group from ``group`` on with a product of ``lane``; ``groups`` if there is none."""
    for g in range(group, groups):
        bit = g * lanes + lane
        if (products[bit >> 6] >> np.uint64(bit & 63)) & np.uint64(1):
            return g
    return groups


@njit(cache=True, nogil=True)
def row_cycles(products, lanes, groups, lookahead, upcoming):
    """Cycles of one row.

    Parameters
    ----------
    products : uint64[words]
        One bit per product that is not skipped; bits from ``groups * lanes`` on are 0.
    lanes, groups, lookahead : int
    upcoming : int64[lanes]
        Scratch: the group of each lane's next product.
    """
    oldest = groups
    for lane in range(lanes):
        upcoming[lane] = next_in_lane(products, 0, lane, lanes, groups)
        oldest = min(oldest, upcoming[lane])
    cycles = 0
    while oldest < groups:
        last = oldest + lookahead
        oldest = groups
        for lane in range(lanes):
            if upcoming[lane] <= last and upcoming[lane] < groups:
                upcoming[lane] = next_in_lane(products, upcoming[lane] + 1, lane, lanes, groups)
            oldest = min(oldest, upcoming[lane])
        cycles += 1
    return max(1, cycles)


@njit(cache=True, nogil=True)
def pack_words(nonzero, start, cols, words):
    """The record's bytes of one operand as uint64 words; bits past ``cols`` stay 0."""
    words[:] = 0
    for byte in range((cols + 7) >> 3):
        words[byte >> 3] |= np.uint64(nonzero[start + byte]) << np.uint64(8 * (byte & 7))


@njit(cache=True, nogil=True)
def replay_rows(
    op, part_start, row, nonzero, nonzero_start, op_slots, slot_tiles, cell_start, tile_rows, tile_masks, tile_cols,
    tile_lanes, masks, skip_weights, skip_activations, lookahead, is_balanced, words, sent, products, upcoming, finish,
    mac_cycles, nonzeros, effectual,
):  # fmt: skip
    """MAC cycles, without fill, of every tile under every operand of a record; cells as in ``replay_columns``.

    Parameters
    ----------
    tile_rows : int32[tiles, 2]
    tile_masks : int64[tiles]
        Where the tile's tensor starts in ``masks``, the bit masks of all rows of all tensors, one after another.
    tile_cols : int32[tiles, 2], tile_lanes : int64[tiles]
    masks : uint64[...]
    is_balanced : bool
        Share the cycles evenly among the PEs: the ideal machine of the stall tree.
    words, sent, products : uint64[widest], upcoming : int64[lanes], finish : int64[pes]
        Scratch.
    mac_cycles, nonzeros, effectual : int64[cells]
        Out. ``nonzeros`` is the number of non-zero activations of the operand.
    """
    pes = finish.shape[0]
    unskipped = np.uint64(0) if skip_weights else ALL
    for n in range(op.shape[0]):
        for part in range(part_start[n], part_start[n + 1]):
            if row[part] >= 0:
                continue
            slot = op_slots[op[n]] + part - part_start[n]
            cols = tile_cols[slot_tiles[slot, 0], 1]
            n_words = (cols + 63) >> 6
            pack_words(nonzero, nonzero_start[part], cols, words[:n_words])
            on = np.int64(0)
            for w in range(n_words):
                on += ones(words[w])
                sent[w] = words[w] if skip_activations else ALL
            if cols & 63:
                sent[n_words - 1] &= (np.uint64(1) << np.uint64(cols & 63)) - np.uint64(1)
            cell = cell_start[part]
            for tile in range(slot_tiles[slot, 0], slot_tiles[slot, 1]):
                lanes = tile_lanes[tile]
                groups = (cols + lanes - 1) // lanes
                finish[:] = 0
                useful = np.int64(0)
                counts_groups, top = lookahead == 0 and 64 % lanes == 0, highest_bits(min(lanes, 64))
                pe = tile_rows[tile, 0] % pes
                for r in range(tile_rows[tile, 0], tile_rows[tile, 1]):
                    at = tile_masks[tile] + r * n_words
                    found, cycles = count_row(masks, at, words[:n_words], sent, unskipped, top)
                    useful += found
                    if not counts_groups:
                        for w in range(n_words):
                            products[w] = (masks[at + w] | unskipped) & sent[w]
                        cycles = row_cycles(products[:n_words], lanes, groups, lookahead, upcoming)
                    finish[pe] += max(1, cycles)
                    pe = pe + 1 if pe + 1 < pes else 0
                mac_cycles[cell] = finish.max()
                if is_balanced:
                    mac_cycles[cell] = (finish.sum() + pes - 1) // pes
                nonzeros[cell] = on
                effectual[cell] = useful
                cell += 1
