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
def groups_of_rows(masks, sent, unskipped, top, groups):
    """Groups of every row of a matrix with a product that is not skipped.

    Parameters
    ----------
    masks : uint64[words * rows]
        Word by word, so that the inner loop goes along rows.
    sent : uint64[words]
        Activations that are not skipped.
    unskipped : uint64
        Weights that are not skipped though they are zero: all or none.
    top : uint64
        Of ``highest_bits``.
    groups : int64[rows]
        Out.
    """
    rows = groups.shape[0]
    groups[:] = 0
    for w in range(sent.shape[0]):
        active = sent[w]
        if active == 0:
            continue
        words = masks[w * rows : (w + 1) * rows]
        for r in range(rows):
            groups[r] += groups_with_a_product((words[r] | unskipped) & active, top)


@njit(cache=True, nogil=True)
def list_columns(words, cols, wanted, out):
    """Columns whose bit in ``words`` is ``wanted``, written to ``out`` int32[cols]; returns how many."""
    n = 0
    for c in range(cols):
        if (words[c >> 6] >> np.uint64(c & 63)) & np.uint64(1) == wanted:
            out[n] = c
            n += 1
    return n


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
    tile_lanes, tile_counts, tile_nnz, column_nnz, masks, skip_weights, skip_activations, lookahead, is_balanced,
    words, sent, products, listed, groups_of, upcoming, finish,
    mac_cycles, nonzeros, effectual,
):  # fmt: skip
    """MAC cycles, without fill, of every tile under every operand of a record; cells as in ``replay_columns``.

    Parameters
    ----------
    tile_rows : int32[tiles, 2]
    tile_masks : int64[tiles]
        Where the tile's tensor starts in ``masks``, the bits of all tensors, each word by word over its rows.
    tile_cols : int32[tiles, 2], tile_lanes : int64[tiles]
    tile_counts : int64[tiles], column_nnz : uint16[...]
        Where the tile's columns start in ``column_nnz``, their non-zero weights.
    tile_nnz : int64[tiles]
    masks : uint64[...]
    is_balanced : bool
        Share the cycles evenly among the PEs: the ideal machine of the stall tree.
    words, sent, products : uint64[widest], listed : int32[64 * widest], groups_of : int64[rows]
    upcoming : int64[lanes], finish : int64[pes]
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
            few_on = 2 * on < cols  # the shorter list: columns that count, or columns that do not
            n_listed = list_columns(words, cols, np.uint64(1) if few_on else np.uint64(0), listed)
            first, last = slot_tiles[slot, 0], slot_tiles[slot, 1] - 1
            lanes, rows, mask_start = tile_lanes[first], tile_rows[last, 1], tile_masks[first]
            groups = (cols + lanes - 1) // lanes
            counts_groups = lookahead == 0 and 64 % lanes == 0
            if counts_groups:
                own = masks[mask_start : mask_start + n_words * rows]
                groups_of_rows(own, sent[:n_words], unskipped, highest_bits(lanes), groups_of[:rows])
            cell = cell_start[part]
            for tile in range(first, last + 1):
                finish[:] = 0
                useful = np.int64(0)
                for i in range(n_listed):
                    useful += column_nnz[tile_counts[tile] + listed[i]]
                if not few_on:
                    useful = tile_nnz[tile] - useful
                pe = tile_rows[tile, 0] % pes
                for r in range(tile_rows[tile, 0], tile_rows[tile, 1]):
                    cycles = groups_of[r]
                    if not counts_groups:
                        for w in range(n_words):
                            products[w] = (masks[mask_start + w * rows + r] | unskipped) & sent[w]
                        cycles = row_cycles(products[:n_words], lanes, groups, lookahead, upcoming)
                    finish[pe] += max(1, cycles)
                    pe = pe + 1 if pe + 1 < pes else 0
                mac_cycles[cell] = finish.max()
                if is_balanced:
                    mac_cycles[cell] = (finish.sum() + pes - 1) // pes
                nonzeros[cell] = on
                effectual[cell] = useful
                cell += 1
