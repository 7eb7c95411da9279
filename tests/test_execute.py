"""Integer execution: bit-equal to the naive one, close to float, and fully recorded."""

from dataclasses import replace

import naive_execute
import numpy as np
import pytest
import torch
from networks import HandWrittenCell, noise, transducer, zeros

from azsim.chip import Chip
from azsim.errors import CodecError, ModelError, WeightError
from azsim.execute import kernels
from azsim.execute.elementwise import TABLES
from azsim.execute.interpreter import Interpreter
from azsim.execute.kernels import accumulate_rows, lstm_cell
from azsim.graph import network_from_modules
from azsim.graph.evaluate import evaluate_graph
from azsim.weights import encode
from azsim.weights.calibrate import calibrate
from azsim.weights.quantize import Requantize, quantize, requantize_factor


def integers_of(quantized):
    return {name: tensor.values for name, tensor in quantized.tensors.items()}


@pytest.fixture(scope="module")
def case():
    network, frames = transducer(seed=3), noise(25)
    quantized = quantize(network, calibrate(network, [frames]))
    return network, quantized, frames, Interpreter(quantized, integers_of(quantized)).execute(frames)


def test_bit_equal_to_the_naive_execution(case):
    network, quantized, frames, execution = case
    outputs, tokens, arms = naive_execute.run_transducer(
        network, quantized.matrices, integers_of(quantized), quantized.formats, frames
    )
    np.testing.assert_array_equal(execution.outputs, outputs)
    assert list(execution.hypothesis.tokens) == tokens
    assert execution.record.frame_arm == arms
    assert set(arms) == {"complex", "simple"} and tokens, "the case must take both arms and emit something"


def naive_outputs(quantized, frames):
    integers = quantized.network, quantized.matrices, integers_of(quantized), quantized.formats
    return naive_execute.run_transducer(*integers, frames)[0]


@pytest.mark.parametrize("changed", ["nothing", "weights", "bias", "multiplier", "shift"])
def test_what_executes_are_the_bytes_of_the_image(case, changed):
    _, quantized, frames, execution = case
    frames = frames[:8]
    other = replace(quantized, tensors=dict(quantized.tensors), matrices=dict(quantized.matrices))
    first = other.matrices["encoder/first"]
    bias, multiplier, shift = quantized.tables["encoder/first"]
    match changed:
        case "weights":
            tensor = other.tensors[first.tensors[0]]
            other.tensors[tensor.name] = replace(tensor, values=-tensor.values)
        case "bias":
            bias = bias[::-1]
        case "multiplier":
            multiplier = multiplier // 2
        case "shift":
            shift = shift + 1
    other.matrices["encoder/first"] = replace(first, bias=bias, requantize=Requantize(multiplier, shift))
    image = encode(other.tensors.values(), other.tables, Chip())
    outputs = Interpreter(quantized, image).execute(frames).outputs
    np.testing.assert_array_equal(outputs, naive_outputs(other, frames))
    assert np.array_equal(outputs, execution.outputs[:8]) == (changed == "nothing")


@pytest.mark.parametrize(("below", "unused"), [(0, "accumulate_columns"), (2, "accumulate_rows")])
def test_by_rows_or_by_columns_the_execution_is_the_same(case, monkeypatch, below, unused):
    _, quantized, frames, execution = case
    monkeypatch.setattr("azsim.execute.interpreter.COLUMNS_BELOW", below)
    monkeypatch.setattr(kernels, unused, None)
    again = Interpreter(quantized, integers_of(quantized)).execute(frames)
    np.testing.assert_array_equal(again.outputs, execution.outputs)
    np.testing.assert_array_equal(again.record.nonzero, execution.record.nonzero)
    assert again.hypothesis.tokens == execution.hypothesis.tokens


def test_an_operand_below_three_tenths_is_multiplied_by_columns(monkeypatch):
    network = network_from_modules("one", {"step": (torch.nn.Linear(10, 2), (zeros(10),))})
    frames = np.tri(11, 10, k=-1, dtype=np.float32)  # frame t has t activations that are not zero
    quantized = quantize(network, calibrate(network, [frames]))
    used = {}
    for name in ("accumulate_rows", "accumulate_columns"):
        see = lambda _, x, *__, name=name: used.update({np.count_nonzero(x): name})  # noqa: E731
        monkeypatch.setattr(kernels, name, see)
    Interpreter(quantized, integers_of(quantized)).execute(frames)
    assert used == {n: "accumulate_columns" if n < 3 else "accumulate_rows" for n in range(1, 11)}


def test_a_wrong_bit_in_a_table_stops_the_execution(case):
    quantized = case[1]
    image = encode(quantized.tensors.values(), quantized.tables, Chip())
    image.data[image.tables["encoder/first"][0]] ^= 1
    with pytest.raises(CodecError, match="'encoder/first'"):
        Interpreter(quantized, image)


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_follow_float_until_a_branch_differs(bits):
    network, frames = transducer(seed=3), noise(25)
    quantized = quantize(network, calibrate(network, [frames]), bits)
    execution = Interpreter(quantized, integers_of(quantized)).execute(frames)
    graph, values = network.graphs["encoder"], dict(network.graphs["encoder"].initial_state)
    error = []
    for t, frame in enumerate(frames):
        taken = []
        see = lambda name, _, taken=taken: taken.append(name.split("/")[0]) if "/" in name else None  # noqa: E731
        env = evaluate_graph(graph, {graph.inputs[0]: frame, **values}, see)
        if taken[0] != execution.record.frame_arm[t]:
            break
        values = {before: env[after] for before, after in graph.state}
        error.append(np.abs(execution.outputs[t] * execution.output_scale - env[graph.outputs[0]]).max())
    assert len(error) >= 3
    # a hidden state has steps of 1/128; 4-bit weights are 16 times coarser than 8-bit ones
    assert max(error) < (0.04 if bits == 8 else 0.25)


def test_the_record_has_one_bit_per_activation(case):
    network, quantized, frames, execution = case
    record = execution.record
    arbitrator = next(i for i, op in enumerate(record.ops) if op.name == "encoder/arbitrator")
    first = next(i for i, op in enumerate(record.ops) if op.name == "encoder/first")
    parts = record.part_start[:-1][record.op == first]
    scale = quantized.formats[f"encoder/{network.graphs['encoder'].inputs[0]}"].scale
    for t, part in enumerate(parts):
        np.testing.assert_array_equal(record.operand(part + 1, 24), np.rint(frames[t] / scale) != 0)
        assert (part == parts[0]) == (not record.operand(part, 12).any()), "W_hh reads zeros on the first frame only"
    assert np.count_nonzero(record.op == arbitrator) == len(frames)


def test_the_record_knows_who_waits_for_whom(case):
    record = case[3].record
    names = [record.ops[op].name for op in record.op]
    second_frame = [
        n for n in range(len(record)) if record.frame[n] == 1 and record.ops[record.op[n]].graph == "encoder"
    ]
    first = second_frame[0]
    part = record.part_start[first]
    producer = record.reads[record.read_start[part]]
    assert names[producer] == "encoder/first" and record.frame[producer] == 0, "W_hh waits for the frame before"
    assert not record.part_reads_frame[part] and record.part_reads_frame[part + 1], "only W_ih waits for the frame"
    for n, name in enumerate(names):
        decided = record.decided_by[n]
        if name.startswith(("encoder/complex", "encoder/simple")):
            assert names[decided] == "encoder/arbitrator" and record.frame[decided] == record.frame[n]
        elif record.frame[n] > 0 and name == "encoder/first":
            assert names[decided] == "joint/to_symbols", "nothing runs past an undecided search"


def test_a_hand_written_cell_stays_close_to_float():
    torch.manual_seed(1)
    module = HandWrittenCell()
    network = network_from_modules("cell", {"step": (module, (zeros(10), (zeros(6), zeros(8))))})
    frames = noise(20, 10)
    quantized = quantize(network, calibrate(network, [frames]))
    execution = Interpreter(quantized, integers_of(quantized)).execute(frames)
    state, largest = (zeros(6), zeros(8)), 0.0
    for t, frame in enumerate(frames):
        with torch.no_grad():
            output, state = module(torch.tensor(frame)[None], state)
        got = execution.outputs[t] * execution.output_scale
        largest = max(largest, float(np.abs(got - output[0].numpy()).max()))
    assert largest < 0.02


class Skip(torch.nn.Module):
    """A skip connection: the loud frame and the hidden state side by side."""

    def __init__(self):
        super().__init__()
        self.cell = torch.nn.LSTMCell(6, 5)
        self.both = torch.nn.Linear(11, 4)

    def forward(self, frame, state):
        h, c = self.cell(frame, state)
        return self.both(torch.cat([h, frame], 1)), (h, c)


def test_a_hidden_state_beside_something_louder_takes_its_scale():
    torch.manual_seed(0)
    module, frames = Skip(), 5 * noise(15, 6)
    network = network_from_modules("skip", {"step": (module, (zeros(6), (zeros(5), zeros(5))))})
    quantized = quantize(network, calibrate(network, [frames]))
    execution = Interpreter(quantized, integers_of(quantized)).execute(frames)
    state, largest, loudest = (zeros(5), zeros(5)), 0.0, 0.0
    for t, frame in enumerate(frames):
        with torch.no_grad():
            output, state = module(torch.tensor(frame)[None], state)
        got = execution.outputs[t] * execution.output_scale
        largest = max(largest, float(np.abs(got - output[0].numpy()).max()))
        loudest = max(loudest, float(output.abs().max()))
    # the hidden state now has steps of about 15 / 127: coarse, but its value is right
    assert largest < 0.06 * loudest


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("left_shift", [0, 3])
def test_the_kernel_agrees_with_the_obvious_sum(density, left_shift):
    rng = np.random.default_rng(seed=1)
    weights = rng.integers(-127, 128, (7, 33)).astype(np.int8)
    x = rng.integers(-127, 128, 33).astype(np.int8)
    x[rng.random(33) >= density] = 0
    acc = np.arange(7, dtype=np.int32)
    accumulate_rows(weights, x, left_shift, np.empty(40, np.int16), acc)
    np.testing.assert_array_equal(acc, np.arange(7) + (weights.astype(int) @ x.astype(int) << left_shift))


def test_the_lstm_cell_is_bit_equal_over_its_whole_range():
    rng = np.random.default_rng(2)
    gates = rng.integers(-32768, 32768, 4 * 4000).astype(np.int16)
    cell = rng.integers(-32768, 32768, 4000).astype(np.int16)
    hidden, new_cell = np.empty(4000, np.int8), np.empty(4000, np.int16)
    lstm_cell(gates, cell, TABLES["sigmoid"], TABLES["tanh"], 2**30, 53, new_cell, hidden)
    expected = naive_execute.lstm_cell(gates, cell, 2.0**-7)
    np.testing.assert_array_equal(hidden, expected[0])
    np.testing.assert_array_equal(new_cell, expected[1])


@pytest.mark.parametrize(
    ("i", "g", "expected"),
    [
        (8, 32767, 1),  # i g = 262,136 = 16 * 16,383.5
        (103, 2545, 0),  # one less
        (11, -23832, 0),  # -262,152 = 16 * -16,384.5
        (23, -11398, -1),  # -262,154: further down
    ],
)
def test_the_lstm_cell_rounds_what_it_writes_before_it_adds(i, g, expected):
    # From a cell of zero, c' = (w + 2**14) >> 15 with w = (i g + 8) >> 4: c' is 1 where w is 2**14 = 16,384 or more,
    # and -1 where it is below -16,384. Halves go up in w; without the 8 they would go down, and take c' with them.
    sigmoid, tanh = np.full(2048, i, np.int16), np.full(2048, g, np.int16)
    hidden, cell = np.empty(1, np.int8), np.zeros(1, np.int16)
    lstm_cell(np.zeros(4, np.int16), cell, sigmoid, tanh, 2**30, 53, cell, hidden)
    assert cell[0] == expected


def test_requantize_factors_are_exact_to_thirty_bits():
    factors = np.array([1.0, 0.5, 1 / 3, 1e-6, 1 - 1e-12, 123.4])  # 1 - 1e-12 rounds up to 2**31
    pair = requantize_factor(factors)
    np.testing.assert_allclose(pair.multiplier * 2.0**-pair.shift, factors, rtol=2**-30)
    assert (pair.multiplier >= 2**30).all()


def test_an_accumulator_that_could_overflow_is_refused():
    # 140,000 columns x 127 x 127 = 2.26e9 > 2**31 - 1
    network = network_from_modules("wide", {"step": (torch.nn.Linear(140_000, 2), (zeros(140_000),))})
    with pytest.raises(WeightError, match="140,000 columns"):
        quantize(network, calibrate(network, [noise(1, 140_000)]))


def test_features_of_the_wrong_width_are_refused(case):
    with pytest.raises(ModelError, match=r"expected features \[T > 0, 24\]"):
        Interpreter(case[1], integers_of(case[1])).execute(noise(3, 23))


def test_four_bit_rows_clip_where_that_loses_less():
    torch.manual_seed(0)
    module = torch.nn.Linear(200, 6)
    rng = np.random.default_rng(0)
    module.weight.data = torch.tensor(rng.laplace(0, 0.1, (6, 200)), dtype=torch.float32)
    network = network_from_modules("laplace", {"step": (module, (zeros(200),))})
    ranges = calibrate(network, [noise(4, 200)])
    real = module.weight.detach().numpy()

    def error(bits):
        tensor = quantize(network, ranges, bits).tensors["step/weight"]
        return ((tensor.values * tensor.scale[:, None] - real) ** 2).sum(axis=1), tensor

    errors, tensor = error(4)
    spanning = np.abs(real).max(axis=1, keepdims=True) / 7
    unclipped = ((np.rint(real / spanning) * spanning - real) ** 2).sum(axis=1)
    assert (errors < unclipped).all() and np.abs(tensor.values).max() == 7
    # eight bits span the largest weight
    assert (np.abs(error(8)[1].values).max(axis=1) == 127).all()
