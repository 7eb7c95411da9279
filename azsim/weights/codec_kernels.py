"""Bit-level kernels of all codecs. They live in one file because they call each other.

Streams are written least significant bit first: bit k of a stream is bit ``k % 8`` of byte
``k // 8``. Encoders return the number of bits written and count into ``bucket`` the symbols whose
last bit falls into each ``bucket_bits`` of stream, so that a decoder's time per DRAM burst is
known. Decoders return the bits consumed, or ``-1 - position`` where the stream breaks a rule.
"""

import numpy as np
from numba import njit

MASK_BLOCK = 64
MAX_RUN = 15
CATEGORIES = 7
ZERO_RUN_16 = 16 * CATEGORIES
END = ZERO_RUN_16 + 1
HUFFMAN_SYMBOLS = END + 1
MAX_CODE_BITS = 15


@njit(cache=True, nogil=True)
def put(data, position, value, n):
    """Write the low ``n`` bits of ``value``; returns the position after them. Bytes must start as 0."""
    while n > 0:
        offset = position & 7
        take = min(8 - offset, n)
        data[position >> 3] |= np.uint8((value & ((1 << take) - 1)) << offset)
        value >>= take
        position += take
        n -= take
    return position


@njit(cache=True, nogil=True)
def get(data, position, n):
    """Read ``n`` bits; the caller made sure that they exist."""
    value = 0
    shift = 0
    while n > 0:
        offset = position & 7
        take = min(8 - offset, n)
        value |= ((np.int64(data[position >> 3]) >> offset) & ((1 << take) - 1)) << shift
        position += take
        shift += take
        n -= take
    return value


@njit(cache=True, nogil=True)
def signed(code, bits):
    """Two's complement of ``bits`` bits."""
    return code - (1 << bits) if code >= (1 << (bits - 1)) else code


@njit(cache=True, nogil=True)
def encode_dense(values, bits, data, position, bucket, bucket_bits):
    """Every weight as a ``bits``-bit two's complement code."""
    for i in range(values.shape[0]):
        position = put(data, position, np.int64(values[i]), bits)
        bucket[(position - 1) // bucket_bits] += 1
    return position


@njit(cache=True, nogil=True)
def decode_dense(data, position, n_bits, bits, out):
    """Inverse of ``encode_dense``."""
    for i in range(out.shape[0]):
        if position + bits > n_bits:
            return -1 - position
        value = signed(get(data, position, bits), bits)
        if value == -(1 << (bits - 1)):
            return -1 - position
        out[i] = value
        position += bits
    return position


@njit(cache=True, nogil=True)
def encode_zero_mask(values, bits, data, position, bucket, bucket_bits):
    """Blocks of 64 weights: 64 mask bits (fewer in the last block), then the non-zero codes."""
    n = values.shape[0]
    for start in range(0, n, MASK_BLOCK):
        stop = min(start + MASK_BLOCK, n)
        for i in range(start, stop):
            position = put(data, position, 1 if values[i] != 0 else 0, 1)
        for i in range(start, stop):
            if values[i] != 0:
                position = put(data, position, np.int64(values[i]), bits)
            bucket[(position - 1) // bucket_bits] += 1
    return position


@njit(cache=True, nogil=True)
def decode_zero_mask(data, position, n_bits, bits, out):
    """Inverse of ``encode_zero_mask``. A stored zero is an error."""
    n = out.shape[0]
    for start in range(0, n, MASK_BLOCK):
        stop = min(start + MASK_BLOCK, n)
        mask = position
        position += stop - start
        if position > n_bits:
            return -1 - mask
        for i in range(start, stop):
            out[i] = 0
            if get(data, mask + i - start, 1) != 0:
                if position + bits > n_bits:
                    return -1 - position
                value = signed(get(data, position, bits), bits)
                if value == 0 or value == -(1 << (bits - 1)):
                    return -1 - position
                out[i] = value
                position += bits
    return position


@njit(cache=True, nogil=True)
def count_run_entries(values, index_bits):
    """Entries of one run-length segment: non-zeros and padding. Returns (entries, padding)."""
    longest = (1 << index_bits) - 1
    entries, padding, run = 0, 0, 0
    for i in range(values.shape[0]):
        if values[i] == 0:
            run += 1
        else:
            padding += run // (longest + 1)
            entries += 1
            run = 0
    return entries + padding, padding


@njit(cache=True, nogil=True)
def encode_run_length(values, bits, index_bits, data, position, bucket, bucket_bits):
    """One segment of (zeros before, code) entries; a gap longer than the index inserts (longest, 0)."""
    longest = (1 << index_bits) - 1
    run = 0
    for i in range(values.shape[0]):
        if values[i] == 0:
            run += 1
            continue
        while run > longest:
            position = put(data, position, longest, index_bits)
            position = put(data, position, 0, bits)
            bucket[(position - 1) // bucket_bits] += 1
            run -= longest + 1
        position = put(data, position, run, index_bits)
        position = put(data, position, np.int64(values[i]), bits)
        bucket[(position - 1) // bucket_bits] += 1
        run = 0
    return position


@njit(cache=True, nogil=True)
def decode_run_length(data, position, n_bits, entries, bits, index_bits, out):
    """Inverse of ``encode_run_length`` for a known number of entries."""
    longest = (1 << index_bits) - 1
    at = 0
    for i in range(out.shape[0]):
        out[i] = 0
    for e in range(entries):
        if position + index_bits + bits > n_bits:
            return -1 - position
        run = get(data, position, index_bits)
        value = signed(get(data, position + index_bits, bits), bits)
        at += run
        is_padding = value == 0
        if at >= out.shape[0] or value == -(1 << (bits - 1)):
            return -1 - position
        if is_padding and (run != longest or e == entries - 1):
            return -1 - position
        out[at] = value
        at += 1
        position += index_bits + bits
    return position


@njit(cache=True, nogil=True)
def encode_run_segments(values, starts, width, bits, index_bits, data, position, bucket, bucket_bits):
    """Entry counts of all segments, ``width`` bits each, then the segments; -1 if a count does not fit."""
    for s in range(starts.shape[0] - 1):
        entries, _ = count_run_entries(values[starts[s] : starts[s + 1]], index_bits)
        if entries >> width != 0:
            return -1
        position = put(data, position, entries, width)
    for s in range(starts.shape[0] - 1):
        position = encode_run_length(
            values[starts[s] : starts[s + 1]], bits, index_bits, data, position, bucket, bucket_bits
        )
    return position


@njit(cache=True, nogil=True)
def decode_run_segments(data, position, n_bits, starts, width, bits, index_bits, out):
    """Inverse of ``encode_run_segments``."""
    table = position
    position += width * (starts.shape[0] - 1)
    if position > n_bits:
        return -1 - table
    for s in range(starts.shape[0] - 1):
        entries = get(data, table + s * width, width)
        position = decode_run_length(data, position, n_bits, entries, bits, index_bits, out[starts[s] : starts[s + 1]])
        if position < 0:
            return position
    return position


@njit(cache=True, nogil=True)
def category(value):
    """Bits of the magnitude, 1 to 7."""
    magnitude = abs(np.int64(value))
    n = 0
    while magnitude > 0:
        magnitude >>= 1
        n += 1
    return n


@njit(cache=True, nogil=True)
def count_huffman_symbols(values, counts):
    """How often each (run, category), zero-run-16 and end symbol occurs."""
    run = 0
    for i in range(values.shape[0]):
        if values[i] == 0:
            run += 1
            continue
        while run > MAX_RUN:
            counts[ZERO_RUN_16] += 1
            run -= MAX_RUN + 1
        counts[run * CATEGORIES + category(values[i]) - 1] += 1
        run = 0
    if run > 0:
        counts[END] += 1


@njit(cache=True, nogil=True)
def encode_huffman(values, codes, lengths, data, position, bucket, bucket_bits):
    """Symbols by table, each followed by sign and the magnitude's bits below its leading one."""
    run = 0
    for i in range(values.shape[0]):
        value = np.int64(values[i])
        if value == 0:
            run += 1
            continue
        while run > MAX_RUN:
            position = put(data, position, codes[ZERO_RUN_16], lengths[ZERO_RUN_16])
            bucket[(position - 1) // bucket_bits] += 1
            run -= MAX_RUN + 1
        n = category(value)
        symbol = run * CATEGORIES + n - 1
        position = put(data, position, codes[symbol], lengths[symbol])
        position = put(data, position, 1 if value < 0 else 0, 1)
        position = put(data, position, abs(value) & ((1 << (n - 1)) - 1), n - 1)
        bucket[(position - 1) // bucket_bits] += 1
        run = 0
    if run > 0:
        position = put(data, position, codes[END], lengths[END])
        bucket[(position - 1) // bucket_bits] += 1
    return position


@njit(cache=True, nogil=True)
def decode_huffman(data, position, n_bits, first_code, first_index, per_length, order, out):
    """Canonical decoding, one bit of code at a time."""
    at = 0
    n = out.shape[0]
    while at < n:
        code, length, symbol = 0, 0, -1
        begin = position
        while symbol < 0:
            if position >= n_bits or length == MAX_CODE_BITS:
                return -1 - begin
            code = (code << 1) | get(data, position, 1)
            position += 1
            length += 1
            offset = code - first_code[length]
            if offset >= 0 and offset < per_length[length]:
                symbol = order[first_index[length] + offset]
        if symbol == END:
            while at < n:
                out[at] = 0
                at += 1
        else:
            zeros = 16 if symbol == ZERO_RUN_16 else symbol // CATEGORIES
            if at + zeros > n or (symbol != ZERO_RUN_16 and at + zeros >= n):
                return -1 - begin
            for _ in range(zeros):
                out[at] = 0
                at += 1
            if symbol != ZERO_RUN_16:
                size = symbol % CATEGORIES
                if position + 1 + size > n_bits:
                    return -1 - begin
                negative = get(data, position, 1)
                magnitude = (1 << size) | get(data, position + 1, size)
                position += 1 + size
                out[at] = -magnitude if negative == 1 else magnitude
                at += 1
    return position
