"""Second decoders, written from the codecs' docstrings in plain Python; imports nothing from azsim.

A stream is a list of bits, least significant bit of each byte first, CRC already removed.
"""


def bits_of(data):
    return [(byte >> k) & 1 for byte in data for k in range(8)]


def number(bits):
    return sum(bit << k for k, bit in enumerate(bits))


def twos_complement(bits):
    value = number(bits)
    return value - (1 << len(bits)) if bits[-1] else value


def dense(bits, count, width):
    return [twos_complement(bits[i * width : (i + 1) * width]) for i in range(count)]


def zero_mask(bits, count, width):
    out, at = [], 0
    while len(out) < count:
        mask = bits[at : at + min(64, count - len(out))]
        at += len(mask)
        for bit in mask:
            if bit:
                out.append(twos_complement(bits[at : at + width]))
                at += width
            else:
                out.append(0)
    return out


def run_length(bits, lengths, width, index, pointer):
    out = []
    entries = [number(bits[i * pointer : (i + 1) * pointer]) for i in range(len(lengths))]
    at = pointer * len(lengths)
    for n, length in zip(entries, lengths, strict=True):
        piece = []
        for _ in range(n):
            piece += [0] * number(bits[at : at + index])
            piece.append(twos_complement(bits[at + index : at + index + width]))
            at += index + width
        out += piece + [0] * (length - len(piece))
    return out


def huffman(bits, count):
    lengths = [number(bits[4 * s : 4 * s + 4]) for s in range(114)]
    codes, code = {}, 0
    for length in range(1, 16):
        for symbol, own in enumerate(lengths):
            if own == length:
                codes[format(code, f"0{length}b")] = symbol
                code += 1
        code <<= 1
    out, at = [], 4 * 114
    while len(out) < count:
        word = ""
        while word not in codes:
            word += str(bits[at])
            at += 1
        symbol = codes[word]
        if symbol == 113:
            out += [0] * (count - len(out))
        elif symbol == 112:
            out += [0] * 16
        else:
            size = symbol % 7
            sign, low = bits[at], number(bits[at + 1 : at + 1 + size])
            at += 1 + size
            out += [0] * (symbol // 7) + [(-1 if sign else 1) * ((1 << size) + low)]
    return out
