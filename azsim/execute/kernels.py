"""Integer kernels: the arithmetic of the processor, one frame at a time.

All of them take arrays, write into ``out`` arrays, allocate nothing and never raise; the
interpreter checks shapes. Sums are int32, requantization is int64; roundings are written at
the functions that make them. A naive NumPy version of each stands in the tests.
"""

import numpy as np
from numba import njit

TABLE_ENTRIES = 2048
TABLE_SHIFT = 5  # int16 pre-activation with scale 2**-12 to table index: 2**16 / 2**5 = 2048


@njit(cache=True, nogil=True)
def accumulate_rows(weights, x, left_shift, wide, acc):
    """Add ``W x << left_shift`` to the accumulators, row by row.

    Zeros are multiplied too: to pick a row's columns one by one takes longer than to multiply all of them, unless
    nine in ten activations are zero (then see ``accumulate_columns``). Both operands are int16 in the product because
    two of those, multiplied and added, are one instruction.

    Parameters
    ----------
    weights : int8[rows, cols]
    x : int8[cols]
    left_shift : int
        Of every product of this part.
    wide : int16[at least cols]
        Scratch: the activations.
    acc : int32[rows]
        In and out. Exact while the row's worst case fits int32 (checked at quantization).
    """
    rows, cols = weights.shape
    for c in range(cols):
        wide[c] = x[c]
    for r in range(rows):
        row, total = weights[r], np.int32(0)
        for c in range(cols):
            total = np.int32(total + np.int32(np.int16(row[c])) * np.int32(wide[c]))
        acc[r] = np.int32(acc[r] + np.int32(total * (1 << left_shift)))  # with the JIT off, << would wrap unseen


@njit(cache=True, nogil=True)
def accumulate_columns(columns, x, left_shift, which, value, total, acc):
    """The same sums, column by column: only the columns whose activation is not zero, four at a time.

    Two products are added in int16, so weights or activations must be within +-127; quantized, both are.

    Parameters
    ----------
    columns : int8[cols, rows]
        The transposed weights.
    x : int8[cols]
    left_shift : int
    which, value : int32[at least cols + 3], int16[at least cols + 3]
        Scratch: the activations that are not zero, filled up with zeros to a multiple of four.
    total : int32[at least rows]
        Scratch: the row sums.
    acc : int32[rows]
        In and out, as for rows.
    """
    n, (cols, rows) = 0, columns.shape
    for c in range(cols):
        if x[c] != 0:
            which[n], value[n] = c, x[c]
            n += 1
    which[n : n + 3] = 0
    value[n : n + 3] = 0
    total[:rows] = 0
    for k in range(0, n, 4):
        a, b, c, d = columns[which[k]], columns[which[k + 1]], columns[which[k + 2]], columns[which[k + 3]]
        u, v, w, z = value[k], value[k + 1], value[k + 2], value[k + 3]
        for r in range(rows):
            first = np.int16(np.int16(a[r]) * u + np.int16(b[r]) * v)
            second = np.int16(np.int16(c[r]) * w + np.int16(d[r]) * z)
            total[r] = np.int32(total[r] + np.int32(first) + np.int32(second))
    for r in range(rows):
        acc[r] = np.int32(acc[r] + np.int32(total[r] * (1 << left_shift)))


@njit(cache=True, nogil=True)
def requantize(acc, multiplier, shift, limit, out):
    """``out = saturate((acc * multiplier + 2**(shift-1)) >> shift)`` to +-limit, per row.

    Rounds to nearest, halves toward plus infinity; the product is int64.

    Parameters
    ----------
    acc : int[n]
        Any integer type.
    multiplier, shift : int32[n]
        ``1 <= shift <= 62``.
    limit : int
        127 for int8, 32767 for int16.
    out : int8[n] or int16[n]
    """
    for r in range(acc.shape[0]):
        s = np.int64(shift[r])
        value = (np.int64(acc[r]) * np.int64(multiplier[r]) + (np.int64(1) << (s - 1))) >> s
        out[r] = min(max(value, -limit), limit)


@njit(cache=True, nogil=True)
def look_up(pre, table, out):
    """Table of 2048 entries over [-8, 8): ``out = table[(pre + 32768) >> 5]``.

    Parameters
    ----------
    pre : int16[n]
        Pre-activation, scale 2**-12.
    table : int16[2048]
        Values with scale 2**-15, of the middle of each entry's interval.
    out : int16[n]
    """
    for i in range(pre.shape[0]):
        out[i] = table[(np.int32(pre[i]) + 32768) >> TABLE_SHIFT]


@njit(cache=True, nogil=True)
def lstm_cell(gates, cell, sigmoid, tanh, multiplier, shift, new_cell, hidden):
    """The element-wise half of an LSTM, on gate pre-activations.

    ``c' = sat16((f c + ((i g + 8) >> 4) + 2**14) >> 15)`` with f, i, g of scale 2**-15 and c of 2**-11, so
    that both products have scale 2**-26; ``h = sat8((o tanh(c') multiplier + 2**(shift-1)) >> shift)``, where
    ``multiplier * 2**-shift`` is 2**-30 over the scale of h: with scale 2**-7 that is a shift by 23. The
    cell state saturates at +-16 and enters the tanh table saturated at +-8.

    Parameters
    ----------
    gates : int16[4 H]
        Rows 4k..4k+3 are i, f, g, o of cell k, scale 2**-12.
    cell, new_cell : int16[H]
        Scale 2**-11. May be the same array.
    sigmoid, tanh : int16[2048]
    multiplier, shift : int
        Below 2**31; 1 to 62.
    hidden : int8[H]
        Out, within +-127.
    """
    half = np.int64(1) << (np.int64(shift) - 1)
    for k in range(cell.shape[0]):
        i = np.int64(sigmoid[(np.int32(gates[4 * k]) + 32768) >> TABLE_SHIFT])
        f = np.int64(sigmoid[(np.int32(gates[4 * k + 1]) + 32768) >> TABLE_SHIFT])
        g = np.int64(tanh[(np.int32(gates[4 * k + 2]) + 32768) >> TABLE_SHIFT])
        o = np.int64(sigmoid[(np.int32(gates[4 * k + 3]) + 32768) >> TABLE_SHIFT])
        c = (f * np.int64(cell[k]) + ((i * g + 8) >> 4) + 16384) >> 15
        c = min(max(c, -32768), 32767)
        new_cell[k] = c
        pre = min(max(2 * c, -32768), 32767)
        squashed = np.int64(tanh[(pre + 32768) >> TABLE_SHIFT])
        h = (o * squashed * np.int64(multiplier) + half) >> np.int64(shift)
        hidden[k] = min(max(h, -127), 127)


@njit(cache=True, nogil=True)
def add_scaled(a, b, multiplier_a, multiplier_b, limit, out):
    """``out = saturate((a * ma + b * mb + 2**19) >> 20)``; a length of 1 broadcasts.

    Parameters
    ----------
    a, b : int[n] or int[1]
    multiplier_a, multiplier_b : int
        Ratio of scales times 2**20; negative to subtract.
    limit : int
    out : int8[n] or int16[n]
    """
    for i in range(out.shape[0]):
        left = np.int64(a[i if a.shape[0] > 1 else 0]) * multiplier_a
        right = np.int64(b[i if b.shape[0] > 1 else 0]) * multiplier_b
        value = (left + right + (1 << 19)) >> 20
        out[i] = min(max(value, -limit), limit)


@njit(cache=True, nogil=True)
def mul_scaled(a, b, multiplier, shift, limit, out):
    """``out = saturate((a * b * multiplier + 2**(shift-1)) >> shift)``; a length of 1 broadcasts."""
    half = np.int64(1) << (np.int64(shift) - 1)
    for i in range(out.shape[0]):
        product = np.int64(a[i if a.shape[0] > 1 else 0]) * np.int64(b[i if b.shape[0] > 1 else 0])
        value = (product * np.int64(multiplier) + half) >> np.int64(shift)
        out[i] = min(max(value, -limit), limit)
