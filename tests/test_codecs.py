"""Codecs: lossless, as long as they say, readable by a second decoder, and never wrong in silence."""

import naive_codecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azsim.errors import CodecError
from azsim.weights.codec import CRC_BYTES, entropy_bits_per_weight
from azsim.weights.dense import DenseCodec
from azsim.weights.huffman import TABLE_BITS, CanonicalTable, HuffmanCodec, code_lengths
from azsim.weights.run_length import RunLengthCodec
from azsim.weights.zero_mask import ZeroMaskCodec

CODECS = [DenseCodec(), ZeroMaskCodec(), RunLengthCodec(index_bits=4), RunLengthCodec(index_bits=2), HuffmanCodec()]
IDS = ["dense", "zero_mask", "run_length4", "run_length2", "huffman"]


def draw_weights(seed, n, density, bits):
    rng = np.random.default_rng(seed)
    limit = 2 ** (bits - 1) - 1
    values = np.clip(np.rint(rng.laplace(0, limit / 4, n)), -limit, limit).astype(np.int8)
    values[rng.random(n) >= density] = 0
    return values


def second_opinion(codec, packed, count, bits, segments=()):
    stream = naive_codecs.bits_of(packed.data[CRC_BYTES:].tolist())
    if codec.name == "run_length":
        pointer = 16 if segments else 32
        return naive_codecs.run_length(stream, segments or (count,), bits, codec.index_bits, pointer)
    if codec.name == "huffman":
        return naive_codecs.huffman(stream, count)
    return getattr(naive_codecs, codec.name)(stream, count, bits)


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
@settings(max_examples=60, deadline=None, database=None)
@given(
    seed=st.integers(0, 999),
    n=st.integers(1, 400),
    density=st.sampled_from([0, 0.02, 0.3, 0.5, 1]),
    bits=st.integers(2, 8),
)
def test_lossless_and_readable_by_a_second_decoder(codec, seed, n, density, bits):
    values = draw_weights(seed, n, density, bits)
    packed = codec.encode(values, bits)
    decoded, consumed = codec.decode(packed.data, n, bits)
    np.testing.assert_array_equal(decoded, values)
    assert (consumed + 7) // 8 == len(packed.data)
    assert packed.weight_bits + packed.metadata_bits == 8 * len(packed.data)
    if packed.data.size:
        assert second_opinion(codec, packed, n, bits) == values.tolist()


@settings(max_examples=40, deadline=None, database=None)
@given(seed=st.integers(0, 999), lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_segments_restart_the_run(seed, lengths):
    values = draw_weights(seed, sum(lengths), 0.2, 8)
    codec = RunLengthCodec()
    packed = codec.encode(values, 8, tuple(lengths))
    decoded, _ = codec.decode(packed.data, len(values), 8, tuple(lengths))
    np.testing.assert_array_equal(decoded, values)
    if packed.data.size:
        assert second_opinion(codec, packed, len(values), 8, tuple(lengths)) == values.tolist()


def test_sizes_are_what_the_formulas_say():
    values = np.zeros(200, np.int8)
    values[[0, 20, 199]] = [5, -7, 1]
    bytes_of = lambda codec: len(codec.encode(values, 8).data)  # noqa: E731
    assert bytes_of(DenseCodec()) == 4 + 200
    assert bytes_of(ZeroMaskCodec()) == 4 + (200 + 3 * 8) // 8
    # gaps 0, 19, 178: one padding entry stands for 16 zeros, so 19 needs 1 and 178 needs 11; 15 entries of 12 bits
    assert bytes_of(RunLengthCodec()) == 4 + 4 + (15 * 12 + 7) // 8
    packed = RunLengthCodec().encode(values, 8)
    assert packed.symbols == 15 and packed.weight_bits == 3 * 8


def test_trailing_zeros_cost_a_run_length_nothing():
    short, long = np.array([3, 0, 4], np.int8), np.array([3, 0, 4] + [0] * 500, np.int8)
    assert len(RunLengthCodec().encode(short, 8).data) == len(RunLengthCodec().encode(long, 8).data)


def test_huffman_stays_within_a_bit_of_its_symbols_entropy():
    values = draw_weights(3, 20_000, 0.5, 8)
    packed = HuffmanCodec().encode(values, 8)
    # symbols: run and category of every non-zero weight, worked out here once more
    gaps = np.diff(np.concatenate([[-1], np.flatnonzero(values)])) - 1
    sizes = np.floor(np.log2(np.abs(values[values != 0].astype(int)))).astype(int) + 1
    marks = [(int(g) % 16, int(s)) for g, s in zip(gaps, sizes, strict=True)]
    _, counts = np.unique(np.array(marks), axis=0, return_counts=True)
    share = counts / counts.sum()
    entropy = -(share * np.log2(share)).sum()
    raw = sizes.mean()  # a sign and the bits below the leading one
    per_symbol = (8 * len(packed.data) - 32 - TABLE_BITS) / len(marks)
    assert entropy + raw <= per_symbol + 0.02 and per_symbol <= entropy + raw + 1


def test_code_lengths_are_limited_and_optimal_for_equal_counts():
    assert set(code_lengths(np.full(8, 5))) == {3}
    fibonacci = np.array([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765])
    lengths = code_lengths(fibonacci)
    assert lengths.max() <= 15 and CanonicalTable(lengths).is_complete
    assert not CanonicalTable(np.array([1, 1, 1])).is_complete


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
def test_no_corrupt_or_truncated_stream_becomes_weights(codec):
    values = draw_weights(5, 120, 0.4, 8)
    data = codec.encode(values, 8).data
    for at in range(len(data)):
        damaged = data.copy()
        damaged[at] ^= 1 << (at % 8)
        with pytest.raises(CodecError, match="layer 7, tile 2"):
            codec.decode(damaged, 120, 8, where="layer 7, tile 2")
        if at:
            with pytest.raises(CodecError):
                codec.decode(data[:at], 120, 8)


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
def test_a_stream_longer_or_shorter_than_its_directory_entry_is_refused(codec):
    data = codec.encode(draw_weights(5, 120, 0.9, 8), 8).data
    for count in range(1, 112):
        with pytest.raises(CodecError):
            codec.decode(data, count, 8)
    if codec.name == "run_length":  # zeros behind the last entry are not stored: a longer tile just has more of them
        assert not codec.decode(data, 4000, 8)[0][120:].any()
    else:
        with pytest.raises(CodecError):
            codec.decode(data, 4000, 8)


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
def test_burst_symbols_add_up(codec):
    codec.burst_bytes = 16
    packed = codec.encode(draw_weights(1, 900, 0.5, 8), 8)
    codec.burst_bytes = 64
    assert len(packed.burst_symbols) == -(-len(packed.data) // 16)
    assert packed.burst_symbols.sum() == packed.symbols
    if codec.name == "dense":  # a code a byte, behind four bytes of CRC
        assert packed.burst_symbols.tolist()[:2] == [12, 16]


def test_weights_that_do_not_fit_their_bits_are_refused():
    with pytest.raises(CodecError, match="got 8 with 4 bits"):
        DenseCodec().encode(np.array([8], np.int8), 4)


def test_entropy_by_hand():
    assert entropy_bits_per_weight(np.array([0, 0, 1, -1], np.int8)) == 1.5
    assert entropy_bits_per_weight(np.zeros(9, np.int8)) == 0
