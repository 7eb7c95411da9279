"""A lattice against the list of all its paths, and its packed form against every bit flipped."""

import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from azsim.errors import CodecError, ModelError
from azsim.graph.lattice import Lattice
from azsim.graph.lattice_codec import STEP, golomb

nats = st.integers(0, 80).map(lambda n: -n / 8)  # sums of eighths are exact


@st.composite
def lattices(draw, log_prob=nats):
    """Up to 6 nodes, each entered by one to three different arcs."""
    arcs = []
    for end in range(1, draw(st.integers(1, 6))):
        ways = st.tuples(st.integers(0, end - 1), st.integers(0, 2))
        for start, word in draw(st.lists(ways, min_size=1, max_size=3, unique=True)):
            arcs.append((start, end, word, draw(st.integers(0, 40)), draw(log_prob)))
    nodes = 1 + max((arc[1] for arc in arcs), default=0)
    finals = draw(st.dictionaries(st.integers(0, nodes - 1), log_prob, min_size=1))
    return Lattice.of(draw(st.permutations(arcs)), finals)


def paths(lattice):
    """Every path as (indices of its arcs, log-probability), by following all arcs from the start."""
    finals = dict(zip(lattice.final.tolist(), lattice.final_log_prob.tolist(), strict=True))

    def follow(node, behind, log_prob):
        if node in finals:
            yield behind, log_prob + finals[node]
        for i in np.flatnonzero(lattice.start == node).tolist():
            yield from follow(lattice.end[i], (*behind, i), log_prob + lattice.log_prob[i])

    return list(follow(0, (), 0.0))


def words(lattice, arcs):
    return tuple(int(lattice.word[i]) for i in arcs)


@settings(deadline=None)
@given(lattices(), st.integers(1, 12))
def test_the_n_best_are_the_best_of_all_paths(lattice, n):
    best = {}
    for arcs, log_prob in paths(lattice):
        best[words(lattice, arcs)] = max(best.get(words(lattice, arcs), -np.inf), log_prob)
    found = lattice.best(n)
    assert len(found) == min(n, len(best)) == len({tokens for tokens, _ in found})
    assert all(best[tokens] == log_prob for tokens, log_prob in found)
    assert [log_prob for _, log_prob in found] == sorted(best.values(), reverse=True)[:n]


@settings(deadline=None)
@given(lattices())
def test_paths_are_counted(lattice):
    assert lattice.n_paths == len(paths(lattice))


@settings(deadline=None)
@given(lattices(), st.lists(st.integers(0, 3), max_size=6))
def test_the_oracle_is_the_best_of_all_paths(lattice, reference):
    expected = min(Levenshtein.distance(words(lattice, arcs), tuple(reference)) for arcs, _ in paths(lattice))
    assert lattice.oracle(reference) == expected


@settings(deadline=None)
@given(lattices(), st.lists(st.integers(0, 3), max_size=6))
def test_oracle_is_never_worse_than_the_best_path(lattice, reference):
    assert lattice.oracle(reference) <= Levenshtein.distance(lattice.best()[0][0], tuple(reference))


@settings(deadline=None)
@given(lattices(), st.integers(0, 60).map(lambda n: n / 8 + 1 / 16))
def test_pruning_keeps_what_lies_on_a_path_that_is_good_enough(lattice, limit):
    good = [(arcs, p) for arcs, p in paths(lattice) if p >= max(q for _, q in paths(lattice)) - limit]
    arc = list(zip(lattice.start, lattice.end, lattice.word, lattice.frame, lattice.log_prob, strict=True))
    kept = {i for arcs, _ in good for i in arcs}
    pruned = lattice.pruned(limit)
    assert len(pruned.end) == len(kept)
    assert sorted(pruned.log_prob) == sorted(arc[i][4] for i in kept)
    assert len(pruned.final) == len({lattice.end[arcs[-1]] if arcs else 0 for arcs, _ in good})
    assert Counter(p for _, p in good) <= Counter(p for _, p in paths(pruned))
    assert pruned.best()[0][1] == lattice.best()[0][1]


def rows(lattice):
    """Arcs in an order that does not depend on how they lay, and finals."""
    columns = (lattice.start, lattice.end, lattice.word, lattice.frame, lattice.log_prob)
    finals = sorted(zip(lattice.final.tolist(), lattice.final_log_prob.tolist(), strict=True))
    return sorted(zip(*(x.tolist() for x in columns), strict=True)), finals


@settings(deadline=None)
@given(lattices())
def test_log_probabilities_of_whole_steps_come_back_as_they_were(lattice):
    assert rows(Lattice.from_bytes(lattice.to_bytes())) == rows(lattice)


@settings(deadline=None)
@given(lattices(st.floats(-20, 0)))
def test_packed_paths_stay_within_the_bound(lattice):
    unpacked = Lattice.from_bytes(lattice.to_bytes())
    assert [row[:4] for row in rows(unpacked)[0]] == [row[:4] for row in rows(lattice)[0]]

    def by_name(which):
        name = [tuple(row) for row in zip(which.start, which.end, which.word, which.frame, strict=True)]
        return {tuple(name[i] for i in arcs): log_prob for arcs, log_prob in paths(which)}

    into = {}  # node -> arcs into it with the log-probability of the best path that ends in them, by trying all paths
    best_of = {0: 0.0}
    for i, end in enumerate(lattice.end.tolist()):
        value = best_of[int(lattice.start[i])] + lattice.log_prob[i]
        into.setdefault(end, []).append((value, i))
        best_of[end] = max(best_of.get(end, -np.inf), value)
    is_best = {i for ways in into.values() for value, i in ways if value == max(ways)[0]}
    name = list(zip(lattice.start, lattice.end, lattice.word, lattice.frame, strict=True))
    got = by_name(unpacked)
    for arcs, log_prob in paths(lattice):
        others = sum(i not in is_best for i in arcs)
        assert abs(got[tuple(name[i] for i in arcs)] - log_prob) <= STEP / 2 + STEP * others + 1e-9
    assert abs(unpacked.best()[0][1] - lattice.best()[0][1]) <= STEP / 2 + 1e-9


@settings(deadline=None)
@given(lattices(st.floats(-20, 0)))
def test_packing_again_changes_nothing(lattice):
    data = lattice.to_bytes()
    assert Lattice.from_bytes(data).to_bytes() == data


@pytest.mark.parametrize(("n", "bits"), [(0, "1"), (1, "010"), (2, "011"), (3, "00100"), (6, "00111"), (7, "0001000")])
def test_small_numbers_are_short(n, bits):
    assert golomb(n, 0) == bits  # ITU-T H.264, table 9-2


def test_a_chain_takes_the_bits_that_the_format_says():
    # Two arcs with frames 0 and 1, each 1/32 nat, word 1. Every number but nodes is 0 or 1 (frame +1 is 2).
    chain = Lattice.of([(0, 1, 1, 0, -STEP), (1, 2, 1, 1, -STEP)], {2: 0.0})
    # header 5 + 3 x 4; nodes: 2 + 16 = 10010, 5 bits; a node: arcs 1, distance 1, word 1 bit;
    # scores 1, 1, 0: 3 + 3 + 1 bits at order 0 or 2 each at order 1; frames 0, 2, distances 0, 0, 0 at order 0
    nodes, words_, arcs, finals, distances = 5, 2 * 1, 2 * 1, 1, 3 * 1
    scores, frames = min(3 + 3 + 1, 2 + 2 + 2), min(1 + 3, 2 + 4)
    bits = 5 + 12 + nodes + words_ + arcs + finals + distances + scores + frames
    assert len(chain.to_bytes()) == 4 + -(-bits // 8)


SMALL = Lattice.of([(0, 1, 2, 3, -0.5), (0, 1, 1, 4, -2.0), (1, 2, 0, 9, -0.25)], {1: -4.0, 2: -0.125})


def test_a_wrong_bit_or_a_missing_byte_is_refused():
    data = SMALL.to_bytes()
    for bit in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError, match="send it again"):
            Lattice.from_bytes(bytes(wrong))
    for n in range(len(data)):
        with pytest.raises(CodecError):
            Lattice.from_bytes(data[:n])
    with pytest.raises(CodecError):
        Lattice.from_bytes(data + b"\0")


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=24))
def test_bytes_with_a_right_checksum_are_a_lattice_or_refused(body):
    try:
        lattice = Lattice.from_bytes(zlib.crc32(body).to_bytes(4, "big") + body)
    except CodecError:
        return
    assert rows(Lattice.from_bytes(lattice.to_bytes())) == rows(lattice)


def test_silence_is_a_lattice():
    silence = Lattice.of([], {0: -1.0})
    assert silence.best(3) == [((), -1.0)]
    assert silence.n_paths == 1 and silence.oracle([1, 2]) == 2
    assert rows(Lattice.from_bytes(silence.to_bytes())) == ([], [(0, -1.0)])


@pytest.mark.parametrize(
    ("arcs", "finals", "message"),
    [
        ([(1, 1, 0, 0, -1.0)], {1: 0.0}, "0 <= start < end"),
        ([(0, 2, 0, 0, -1.0)], {2: 0.0}, "every node but 0 entered"),
        ([(0, 1, 0, 0, 0.5)], {1: 0.0}, "at most 0"),
        ([(0, 1, 0, 0, -1.0)], {2: 0.0}, "final nodes from 0 to 1"),
        ([(0, 1, 0, 0, -1.0)], {}, "one or more final nodes"),
    ],
)
def test_what_is_no_lattice_is_refused(arcs, finals, message):
    with pytest.raises(ModelError, match=message):
        Lattice.of(arcs, finals)
