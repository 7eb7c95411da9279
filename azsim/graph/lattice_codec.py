"""A lattice in few bytes: what a device sends to the cloud that ranks its transcripts again.

Let ``q(n) = round(log-probability of the best path to node n / STEP)``. It is a whole number, and it never
rises along an arc. An arc into n has ``r = round((best path to the arc's start + the arc) / STEP)``, so the best
arc into each node has ``r = q(n)``. Stored are the fall of q along that best arc, and of every other arc how
far its r lies below the one before. Rounding each arc by itself would let errors add up along a path; here
they cancel, because sums are rounded and not terms.

Numbers are in Exp-Golomb code of order k: n is written as ``n + 2**k`` in binary, behind as many zeros as that
has bits beyond k + 1. Small numbers are short and none is too large. ::

    CRC-32 of all that follows                              32 bits
    width of a word                                          5 bits
    orders k of distance, score and frame              3 x   4 bits, those that make this stream shortest
    nodes besides the start                                  k = 4
    for each of these nodes, in order
        arcs into it, less 1                                 k = 0
        for each of them, best first
            distance: end - start - 1
            word                                             in its width
            score: fall of q (first arc), or of r from the arc before
            frame: less that of the first arc into the node before (first arc), or less the first arc's;
                   +n as 2n, -n as 2n - 1
    final nodes, less 1                                      k = 0
    for each of them, best first
        distance: nodes between it and the last node
        score: fall from q to r of a path that ends here (first), or of r from the one before
    zeros up to a whole byte

With STEP = 1/32 nat the best path keeps its log-probability within STEP / 2 = 1/64 nat, however long it is, and
any path within STEP / 2, and STEP more for each of its arcs that is not the best into its node.
Packing again what was unpacked gives the same bytes.

Source
------
Borrowed   Exp-Golomb code: Teuhola, "A compression method for clustered bit-vectors", 1978; its orders as in
           ITU-T H.264, 9.1. CRC-32: zlib's.
Assumed    the format, which is ours, and its STEP.
"""

import zlib
from typing import TYPE_CHECKING

import numpy as np

from azsim.errors import CodecError

if TYPE_CHECKING:
    from azsim.graph.lattice import Lattice

STEP = 1 / 32  # nats
CRC_BYTES = 4
WIDTH_BITS, ORDER_BITS, LONGEST = 5, 4, 32
FITTED = ("distance", "score", "frame")
FIXED = {"nodes": 4, "arcs": 0, "finals": 0}
Arc = tuple[int, int, int, int, float]


def pack(lattice: "Lattice") -> bytes:
    """A lattice's bytes."""
    numbers = _numbers(lattice)
    width = max((value for name, value in numbers if name == "word"), default=0).bit_length()
    orders = dict(FIXED)
    for name in FITTED:
        values = [value for kind, value in numbers if kind == name]
        orders[name] = min(range(2**ORDER_BITS), key=lambda k: sum(len(golomb(n, k)) for n in values))
    bits = [_binary(width, WIDTH_BITS), *(_binary(orders[name], ORDER_BITS) for name in FITTED)]
    bits += [_binary(n, width) if name == "word" else golomb(n, orders[name]) for name, n in numbers]
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    body = int(text, 2).to_bytes(len(text) // 8, "big")
    return zlib.crc32(body).to_bytes(CRC_BYTES, "big") + body


def unpack(data: bytes) -> tuple[list[Arc], dict[int, float]]:
    """Arcs (start, end, word, frame, log-probability), and final nodes with their log-probabilities.

    Raises
    ------
    CodecError
        The bytes are not what ``pack`` made.
    """
    body = data[CRC_BYTES:]
    if len(data) <= CRC_BYTES or zlib.crc32(body) != int.from_bytes(data[:CRC_BYTES], "big"):
        raise CodecError(f"lattice of {len(data):,} B: corrupt or cut short, its CRC-32 does not match; send it again")
    reader = _Reader(body)
    arcs: list[Arc] = []
    q, before = [0], 0
    for end in range(1, 1 + reader.golomb("nodes")):
        r = first = 0
        for i in range(1 + reader.golomb("arcs")):
            start = end - 1 - reader.golomb("distance")
            if start < 0:
                raise CodecError(f"lattice of {len(data):,} B: node {end} is entered from node {start}; send it again")
            word = reader.plain(reader.width)
            r = (r if i else q[start]) - reader.golomb("score")
            frame = (first if i else before) + _signed(reader.golomb("frame"))
            if i == 0:
                q.append(r)
                first = before = frame
            arcs.append((start, end, word, frame, (r - q[start]) * STEP))
    return arcs, _finals(reader, q)


def _finals(reader: "_Reader", q: list[int]) -> dict[int, float]:
    finals: dict[int, float] = {}
    r = 0
    n_finals = 1 + reader.golomb("finals")
    for i in range(n_finals):
        node = len(q) - 1 - reader.golomb("distance")
        if node < 0 or node in finals:
            raise CodecError(f"lattice: final node {node} twice or below 0; send it again")
        r = (r if i else q[node]) - reader.golomb("score")
        finals[node] = (r - q[node]) * STEP
    reader.end()
    return finals


def _numbers(lattice: "Lattice") -> list[tuple[str, int]]:
    """All numbers of the stream with their names, in order."""
    q = np.rint(lattice.forward / STEP).astype(np.int64)
    r = np.rint((lattice.forward[lattice.start] + lattice.log_prob) / STEP).astype(np.int64)
    order = np.lexsort((lattice.frame, lattice.word, lattice.start, -r, lattice.end))
    n_arcs = np.bincount(lattice.end, minlength=lattice.nodes)[1:].tolist()
    numbers = [("nodes", lattice.nodes - 1)]
    before, at = 0, 0
    for end, n in enumerate(n_arcs, 1):
        numbers.append(("arcs", n - 1))
        first, *_ = into = order[at : at + n].tolist()
        for i, arc in enumerate(into):
            start, frame = int(lattice.start[arc]), int(lattice.frame[arc])
            above = int(r[into[i - 1]] if i else q[start])
            ahead = frame - (int(lattice.frame[first]) if i else before)
            numbers += [("distance", end - start - 1), ("word", int(lattice.word[arc]))]
            numbers += [("score", above - int(r[arc])), ("frame", 2 * ahead if ahead >= 0 else -2 * ahead - 1)]
        before, at = int(lattice.frame[first]), at + n
    totals = np.rint((lattice.forward[lattice.final] + lattice.final_log_prob) / STEP).astype(np.int64).tolist()
    ends = sorted(zip((-total for total in totals), lattice.final.tolist(), strict=True))
    numbers.append(("finals", len(ends) - 1))
    for i, (negative, node) in enumerate(ends):
        above = -ends[i - 1][0] if i else int(q[node])
        numbers += [("distance", lattice.nodes - 1 - node), ("score", above + negative)]
    return numbers


def golomb(n: int, k: int) -> str:
    """Exp-Golomb code of order ``k``, as bits "0" and "1"."""
    binary = f"{n + (1 << k):b}"
    return "0" * (len(binary) - k - 1) + binary


def _binary(n: int, width: int) -> str:
    return f"{n:0{width}b}" if width else ""


def _signed(n: int) -> int:
    return -((n + 1) // 2) if n % 2 else n // 2


class _Reader:
    """Takes numbers off a stream and refuses to read past its end."""

    def __init__(self, body: bytes) -> None:
        self.bits = f"{int.from_bytes(body, 'big'):0{8 * len(body)}b}"
        self.at = 0
        self.width = self.plain(WIDTH_BITS)
        self.orders = FIXED | {name: self.plain(ORDER_BITS) for name in FITTED}

    def plain(self, width: int) -> int:
        """The next ``width`` bits."""
        if self.at + width > len(self.bits):
            raise CodecError(f"lattice of {len(self.bits):,} bits: ends inside a number; send it again")
        self.at += width
        return int(self.bits[self.at - width : self.at] or "0", 2)

    def golomb(self, name: str) -> int:
        """The next number in Exp-Golomb code."""
        one = self.bits.find("1", self.at)
        zeros = one - self.at
        if one < 0 or zeros > LONGEST:
            raise CodecError(f"lattice: {name} at bit {self.at:,} does not end or is too large; send it again")
        self.at = one
        return self.plain(zeros + self.orders[name] + 1) - (1 << self.orders[name])

    def end(self) -> None:
        """Only zeros, less than a byte of them, may follow."""
        rest = self.bits[self.at :]
        if len(rest) >= 8 or "1" in rest:
            raise CodecError(f"lattice: {len(rest):,} bits behind the last number; send it again")
