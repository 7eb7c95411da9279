"""Beam search: greedy where it is one wide, exact where it is wide enough, and fully recorded."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn
from networks import noise, stack, transducer

from azsim.errors import ModelError
from azsim.execute.elementwise import to_integers
from azsim.execute.interpreter import Interpreter
from azsim.graph import load_network
from azsim.graph.beam import Beam, beam_search, log_softmax
from azsim.graph.search import greedy_search
from azsim.simulate import load_speech
from azsim.weights.calibrate import calibrate
from azsim.weights.quantize import quantize

DEMO = sorted((Path(__file__).parents[1] / "models" / "demo").glob("digits_*.wav"))
BLANK, LEVELS = 1, 2  # a blank between the words, so that ties with it have two sides
TOY = SimpleNamespace(name="toy", blank=BLANK, max_symbols_per_frame=LEVELS)
EVERYTHING = Beam(width=500, candidates=9, prune_nats=1e9, merge_words=None)


def interpreter_of(network, frames):
    quantized = quantize(network, calibrate(network, frames), network.weight_bits)
    return Interpreter(quantized, {name: tensor.values for name, tensor in quantized.tensors.items()})


@pytest.fixture(scope="module")
def case():
    frames = noise(25)
    interpreter = interpreter_of(transducer(seed=3), [frames])
    return interpreter, frames, interpreter.execute(frames, beam=Beam(width=3))


class Table:
    """Logits by frame and by the last two words; the "network's state" is those words, which a search must restore."""

    def __init__(self, logits):
        self.logits, self.words, self.calls, self.decided = logits, (), [], [0]

    def __call__(self, role, inputs, frame):
        self.calls.append((role, frame, *(np.asarray(i).tolist() for i in inputs)))
        if role == "prediction":
            self.words = (*self.words, int(inputs[0][0]))[-2:]
            return np.array(self.words)
        if role == "encoder":
            return np.array([frame])
        assert tuple(inputs[1]) == self.words, "the joint network meets another hypothesis's state"
        return self.row(frame, self.words)

    def row(self, frame, words):
        return self.logits[frame, hash(words) % self.logits.shape[1]].copy()

    def keep(self, role):
        return self.words

    def restore(self, role, kept):
        self.words = kept

    def decide(self):
        self.decided.append(len(self.calls))


tables = drawn.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.just(7), st.integers(2, 4)),
    elements=st.one_of(st.integers(-3, 3).map(float), st.floats(-5, 5, width=32)),
)


def score(table, tokens, frames, penalty):
    """Log-probability of given words on given frames: blank wherever no word is said and another could be."""
    words, total, said = (BLANK,), 0.0, list(zip(tokens, frames, strict=True))
    for t in range(len(table.logits)):
        for _ in range(LEVELS):
            row = table.row(t, words)
            row[BLANK] -= penalty
            token = said.pop(0)[0] if said and said[0][1] == t else BLANK
            total += log_softmax(row)[token]
            if token == BLANK:
                break
            words = (*words, token)[-2:]
    return total


def every_transcript(table, penalty):
    """Words -> log-probability of their best alignment, by trying all words at all levels of all frames."""
    symbols = [n for n in range(table.logits.shape[2]) if n != BLANK]
    in_frame = [said for n in range(LEVELS + 1) for said in itertools.product(symbols, repeat=n)]
    best = {}
    for choice in itertools.product(in_frame, repeat=len(table.logits)):
        tokens = tuple(token for said in choice for token in said)
        frames = [t for t, said in enumerate(choice) for _ in said]
        best[tokens] = max(best.get(tokens, -np.inf), score(table, tokens, frames, penalty))
    return best


@pytest.mark.parametrize("path", DEMO, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", ["rnnt", "amnet"])
def test_beam_one_is_greedy(name, path):
    network = load_network(name)
    frames = load_speech(path, network).frames
    interpreter = interpreter_of(network, network.calibration)
    greedy, beam = interpreter.execute(frames), interpreter.execute(frames, beam=Beam(width=1))
    assert greedy.hypothesis == beam.hypothesis and len(greedy.hypothesis.tokens) >= 5
    for field, expected in vars(greedy.record).items():
        np.testing.assert_equal(getattr(beam.record, field), expected, err_msg=field)
    np.testing.assert_array_equal(beam.expansions, greedy.expansions)
    assert beam.lattices[len(frames) - 1].best(2)[0][0] == greedy.hypothesis.tokens


@settings(deadline=None)
@given(tables, st.floats(-2, 2), st.sampled_from([1, 2, None]))
def test_beam_one_takes_the_steps_of_greedy_whatever_the_logits(logits, penalty, merge_words):
    greedy, beam = Table(logits), Table(logits)
    expected = greedy_search(TOY, logits, greedy, penalty)
    found = beam_search(TOY, logits, beam, penalty, Beam(width=1, merge_words=merge_words))
    assert found.hypothesis == expected
    assert beam.calls == greedy.calls
    if merge_words is None:  # else what was dropped may have merged before
        assert found.lattices[len(logits) - 1].n_paths == 1


@settings(max_examples=30, deadline=None)
@given(tables.filter(lambda x: len(x) <= 3 and x.shape[2] <= 3), st.floats(-2, 2))
def test_a_beam_that_drops_nothing_finds_every_transcript_and_its_best_alignment(logits, penalty):
    found = beam_search(TOY, logits, Table(logits), penalty, EVERYTHING)
    expected = every_transcript(Table(logits), penalty)
    ranked = found.lattices[len(logits) - 1].best(len(expected) + 1)
    assert {tokens for tokens, _ in ranked} == set(expected)
    for tokens, log_prob in ranked:
        assert log_prob == pytest.approx(expected[tokens], abs=1e-5)  # nodes join where they agree to 1e-6


@settings(deadline=None)
@given(tables, st.floats(-2, 2), st.integers(1, 5), st.sampled_from([1, 2, None]))
def test_the_best_path_of_the_lattice_has_the_log_probability_of_what_was_said(logits, penalty, width, merge_words):
    found = beam_search(TOY, logits, Table(logits), penalty, Beam(width=width, merge_words=merge_words))
    log_prob = found.lattices[len(logits) - 1].best()[0][1]
    said = found.hypothesis
    assert log_prob == pytest.approx(score(Table(logits), said.tokens, said.frames, penalty), abs=1e-5)


@settings(deadline=None)
@given(tables, st.integers(1, 4), st.sampled_from([1, 2]))
def test_no_two_hypotheses_of_a_level_end_in_the_same_words(logits, width, merge_words):
    table = Table(logits)
    beam_search(TOY, logits, table, 0.0, Beam(width=width, merge_words=merge_words))
    for start, stop in itertools.pairwise(table.decided):
        asked = [tuple(call[-1][-merge_words:]) for call in table.calls[start:stop] if call[0] == "joint"]
        assert 1 <= len(asked) == len(set(asked)) <= width


def choices(alternatives, width=8):
    """Logits by frame alone: on frame t one of ``alternatives[t]`` (word -> logit), then blank."""
    rows = np.full((2 * len(alternatives), 1, width), -50.0)
    for t, words in enumerate(alternatives):
        for word, logit in words.items():
            rows[2 * t, 0, word] = logit
        rows[2 * t + 1, 0, BLANK] = 0.0
    return rows


def test_merged_paths_outnumber_the_beam():
    # two words of doubt, twice, with two certain words after each: 2 x 2 transcripts through a beam of two
    sure = [{4: 0.0}, {5: 0.0}]
    rows = choices([{2: 0.0, 3: -1.0}, *sure, {6: 0.0, 7: -2.0}, *sure])
    network = SimpleNamespace(name="toy", blank=BLANK, max_symbols_per_frame=1)
    lattices = {
        words: beam_search(network, rows, Table(rows), 0.0, Beam(width=2, merge_words=words)).lattices[len(rows) - 1]
        for words in (2, None)
    }
    assert lattices[None].n_paths == 2
    tokens = [tokens for tokens, _ in lattices[2].best(9)]
    assert tokens == [(2, 4, 5, 6, 4, 5), (3, 4, 5, 6, 4, 5), (2, 4, 5, 7, 4, 5), (3, 4, 5, 7, 4, 5)]
    # they differ by the logits alone: -1 for 3, -2 for 7, and both
    log_probs = np.array([log_prob for _, log_prob in lattices[2].best(9)])
    np.testing.assert_allclose(log_probs - log_probs[0], [0, -1, -2, -3], atol=1e-9)


def test_snapshots_hold_what_was_heard_so_far(case):
    interpreter, frames, _ = case
    long = interpreter.execute(frames, beam=Beam(), snapshots=[7, 15])
    assert sorted(long.lattices) == [7, 15, 24]
    for t in (7, 15):
        short = interpreter.execute(frames[: t + 1], beam=Beam())
        assert long.lattices[t].to_bytes() == short.lattices[t].to_bytes()


def invocations(record, name):
    return [n for n in range(len(record)) if record.ops[record.op[n]].name == name]


def producers(record, n):
    """Invocations that the parts of invocation ``n`` read, part by part (-1: none)."""
    parts = range(record.part_start[n], record.part_start[n + 1])
    return [next(iter(record.reads[record.read_start[p] : record.read_start[p + 1]].tolist()), -1) for p in parts]


def test_every_joint_reads_the_words_of_its_own_hypothesis(case):
    _, _, execution = case
    record, said = execution.record, {}  # invocation of the prediction's cell -> words behind it, by what it read
    for n in invocations(record, "prediction/cell"):
        hidden, embedded = producers(record, n)
        word, frame = int(record.row[record.part_start[embedded]]), int(record.frame[n])
        tokens, frames = said.get(hidden, ((), ()))
        said[n] = ((*tokens, word), (*frames, frame)) if hidden >= 0 else ((), ())
    joints = invocations(record, "joint/from_prediction")
    read = [(int(record.frame[n]), int(record.decided_by[n]), said[producers(record, n)[0]]) for n in joints]
    assert len(set(read)) == len(read), "at one level each hypothesis is asked once"
    assert (execution.hypothesis.tokens, execution.hypothesis.frames) in said.values()
    np.testing.assert_array_equal(np.bincount([t for t, *_ in read]), execution.expansions)
    assert execution.expansions.max() == 6  # 3 hypotheses at each of 2 levels


def test_a_level_is_decided_when_its_last_joint_is_done(case):
    record = case[2].record
    decides = {}  # what a joint waited for -> the joints of that level, in order
    for n in invocations(record, "joint/to_symbols"):
        decides.setdefault(int(record.decided_by[n]), []).append(n)
    last = {joints[-1] for joints in decides.values()}
    assert max(map(len, decides.values())) == 3
    for n in invocations(record, "prediction/embedding")[1:]:
        assert int(record.decided_by[n]) in last and producers(record, n) == [record.decided_by[n]]
    for n in invocations(record, "encoder/first")[1:]:
        assert int(record.decided_by[n]) in last


def test_integers_carry_the_state_of_the_hypothesis_that_lives_on(case):
    interpreter, frames, execution = case
    network, said = interpreter.network, list(zip(*vars(execution.hypothesis).values(), strict=True))
    scale = interpreter.quantized.formats[f"joint/{network.graphs['joint'].outputs[0]}"].scale
    total = 0.0

    def forced(role, inputs, t):
        """Greedy search, told what to say."""
        nonlocal total
        output = step(role, inputs, t)
        if role != "joint":
            return output
        token = said.pop(0)[0] if said and said[0][1] == t else network.blank
        total += log_softmax(output * scale)[token]
        return np.eye(len(output))[token]

    interpreter._start()
    step, first = interpreter._step, f"encoder/{network.graphs['encoder'].inputs[0]}"
    greedy_search(network, to_integers(frames, interpreter.quantized.formats[first]), forced, 0.0)
    assert execution.lattices[24].best()[0] == (execution.hypothesis.tokens, pytest.approx(total, abs=1e-4))


def test_state_is_held_for_every_hypothesis(case):
    interpreter, frames, execution = case
    greedy = interpreter.execute(frames)
    # the prediction's h of 9 int8 and c of 9 int16, two times more
    assert execution.record.state_bytes - greedy.record.state_bytes == 2 * (9 + 2 * 9)


def test_what_a_beam_cannot_do_is_refused(case):
    interpreter, frames, _ = case
    with pytest.raises(ModelError, match="0 to 24, but got"):
        interpreter.execute(frames, beam=Beam(), snapshots=[3, 25])
    with pytest.raises(ModelError, match="give a beam"):
        interpreter.execute(frames, snapshots=[3])
    network, heard = stack(), noise(4, 9)
    with pytest.raises(ModelError, match="'step' only"):
        interpreter_of(network, [heard]).execute(heard, beam=Beam())
