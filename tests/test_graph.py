"""What arrives from torch.export is what the torch module does."""

import numpy as np
import pytest
import torch
from networks import BranchingEncoder, HandWrittenCell, noise, transducer, zeros
from torch import nn

from azsim.errors import ModelError, UnsupportedOpError
from azsim.graph import load_pt2, trace
from azsim.graph.evaluate import evaluate_graph
from azsim.graph.inspect import coverage, inspect_network

STATE = (zeros(12), zeros(12), zeros(20), zeros(20))


def test_both_arms_are_traced_and_only_the_taken_one_runs():
    torch.manual_seed(3)
    module = BranchingEncoder().eval()
    graph = trace(module, (zeros(24), STATE))
    state, values, taken = STATE, dict(graph.initial_state), set()
    for frame in noise(30):
        with torch.no_grad():
            output, state = module(torch.tensor(frame)[None], state)
        seen = []
        env = evaluate_graph(graph, {graph.inputs[0]: frame, **values}, lambda name, _, seen=seen: seen.append(name))
        values = {before: env[after] for before, after in graph.state}
        np.testing.assert_allclose(env[graph.outputs[0]], output[0].numpy(), atol=1e-5)
        labels = {name.split("/")[0] for name in seen if "/" in name}
        assert len(labels) == 1
        taken |= labels
    assert taken == {"complex", "simple"}


def test_an_arm_holds_only_the_weights_it_uses():
    graph = trace(BranchingEncoder(), (zeros(24), STATE))
    branch = next(node for node in graph.nodes if node.op == "branch")
    by_name = {arm.name: arm for arm in branch.arms}
    # complex: 4*20 rows x (20 + 12) columns and 80 biases; simple: 4*5 x (5 + 12) and 20
    assert sum(p.size for p in by_name["complex"].parameters.values()) == 80 * 32 + 80
    assert sum(p.size for p in by_name["simple"].parameters.values()) == 20 * 17 + 20


def test_a_stack_of_lstm_layers_becomes_one_op_per_layer():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(5, 4, 2)

        def forward(self, frame, state):
            output, state = self.lstm(frame.unsqueeze(0), state)
            return output[0], state

    graph = trace(Stack(), (zeros(5), (torch.zeros(2, 1, 4), torch.zeros(2, 1, 4))))
    lstms = [node for node in graph.nodes if node.op == "lstm"]
    assert [graph.dense_macs(node) for node in lstms] == [16 * (4 + 5), 16 * (4 + 4)]


def test_a_hand_written_cell_is_run_from_its_elements():
    graph = trace(HandWrittenCell(), (zeros(10), (zeros(6), zeros(8))))
    assert {node.op for node in graph.nodes} >= {"matrix", "sigmoid", "tanh", "mul", "add", "slice", "sub"}


def test_a_saved_program_loads_as_the_live_module(tmp_path):
    module = BranchingEncoder().eval()
    torch.export.save(torch.export.export(module, (zeros(24), STATE)), tmp_path / "encoder.pt2")
    live, loaded = trace(module, (zeros(24), STATE)), load_pt2(tmp_path / "encoder.pt2", "step")
    assert [(n.op, n.name) for n, _ in live.walk()] == [(n.op, n.name) for n, _ in loaded.walk()]
    for name, array in live.parameters.items():
        np.testing.assert_array_equal(array, loaded.parameters[name])


def test_work_that_depends_on_no_input_is_done_beforehand():
    class Normalized(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4))

        def forward(self, x):
            unit = self.weight / self.weight.norm(dim=1, keepdim=True)
            return torch.nn.functional.linear(x, unit @ torch.eye(4))

    graph = trace(Normalized(), (zeros(4),))
    assert [node.op for node in graph.nodes] == ["matrix"]
    np.testing.assert_allclose(np.linalg.norm(graph.parameters["linear.weight"], axis=1), 1, rtol=1e-6)


def test_every_unsupported_op_is_named_with_its_module():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(4)

        def forward(self, x):
            return torch.softmax(self.norm(x), -1) + torch.exp(x)

    with pytest.raises(UnsupportedOpError, match=r"3 op\(s\)") as caught:
        trace(Odd(), (zeros(4),), "encoder")
    for word in ("aten.layer_norm.default at encoder: norm", "aten.softmax.int", "aten.exp.default"):
        assert word in str(caught.value)


def test_state_kept_in_an_attribute_is_an_error():
    class Forgetful(nn.Module):
        def __init__(self):
            super().__init__()
            self.h = torch.zeros(1, 4)

        def forward(self, x):
            self.h = torch.tanh(self.h + x)
            return self.h * 1

    with pytest.raises(ModelError, match="state"):
        trace(Forgetful(), (zeros(4),))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, x, s: (x, s, s), "wrong signature"),
        (lambda self, x, s: (x, s[:, :2]), "wrong signature"),
        (lambda self, x, s: x if x.sum() > 0 else s, "torch.cond"),
    ],
)
def test_a_wrong_step_is_one_clear_error(forward, message):
    module = type("Wrong", (nn.Module,), {"forward": forward})()
    with pytest.raises(ModelError, match=message):
        trace(module, (zeros(4), zeros(4)))


def test_nan_weights_name_the_weight():
    module = nn.Linear(4, 3)
    with torch.no_grad():
        module.weight[1, 2] = float("nan")
    with pytest.raises(ModelError, match="'weight' has 1 NaN"):
        trace(module, (zeros(4),))


def test_inspect_counts_every_weight_once():
    network = transducer()
    rows = inspect_network(network)
    matrices = sum(row.macs_per_run for row in rows)
    # encoder: first 48x(24+12), arbitrator 12, complex 80x32, simple 20x17; prediction 36x15; joint 11x(20+9) + 7x11
    assert matrices == 48 * 36 + 12 + 80 * 32 + 20 * 17 + 36 * 15 + 11 * 29 + 77
    assert "all covered" in coverage(rows).line
