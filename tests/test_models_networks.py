"""The networks: training and the exported step are the same function."""

import numpy as np
import pytest
import torch

from models import amnet, rnnt
from models.training.export import largest_difference, macs_per_frame

SMALL = rnnt.Sizes(inputs=12, first=8, second=10, embedding=4, prediction=6, joint=8, simple=3)


@pytest.fixture(params=[rnnt.Rnnt, amnet.AmNet])
def network(request):
    torch.manual_seed(3)
    return request.param(SMALL).eval()


def step_graphs(network):
    return amnet.steps(network) if isinstance(network, amnet.AmNet) else rnnt.steps(network)


def run_steps(module, frames, state):
    outputs = []
    with torch.no_grad():
        for frame in frames:
            output, state = module(frame[None], state)
            outputs.append(output)
    return torch.cat(outputs)


def test_stepping_equals_whole_utterances(network):
    frames, words = torch.randn(9, 1, SMALL.inputs), torch.tensor([[3, 1, 4]])
    with torch.no_grad():
        logits = network(frames, words)[0]
    graphs = step_graphs(network)
    encoder, example = graphs["encoder"]
    encoded = run_steps(encoder, frames[:, 0], example[-1])
    prediction, example = graphs["prediction"]
    predicted = run_steps(prediction, torch.tensor([rnnt.BLANK, 3, 1, 4]), example[-1])
    joint = graphs["joint"][0]
    for t in range(9):
        for u in range(4):
            torch.testing.assert_close(joint(encoded[t : t + 1], predicted[u : u + 1])[0], logits[t, u])


def test_exported_steps_keep_their_state(network):
    for module, example in step_graphs(network).values():
        exported = torch.export.export(module, example).module()
        assert largest_difference(module, exported, example, np.random.default_rng(2)) < 1e-6


@pytest.fixture
def branching():
    torch.manual_seed(4)
    network = amnet.AmNet(SMALL).eval()
    with torch.no_grad():
        network.arbitrator.weight.normal_(0, 5)  # so that both arms are used
        network.arbitrator.bias.zero_()
    return network


def test_soft_mixture_at_0_and_1_is_the_exported_choice(branching):
    frames = torch.randn(40, 1, SMALL.inputs)
    module, example = amnet.steps(branching)["encoder"]
    exported = torch.export.export(module, example).module()
    with torch.no_grad():
        trained = branching.encode_branching(frames)
    assert 0.1 < trained.gates.mean() < 0.9
    torch.testing.assert_close(run_steps(exported, frames[:, 0], example[-1]), trained.output[:, 0])
    for always in (0.0, 1.0):
        with torch.no_grad():
            forced = branching.encode_branching(frames, choice=torch.full((40, 1), always)).output[:, 0]
            branching.arbitrator.bias.fill_(1e4 if always else -1e4)
        hard = torch.export.export(module, example).module()
        torch.testing.assert_close(run_steps(hard, frames[:, 0], example[-1]), forced)


def test_the_simple_arm_updates_its_cells_and_holds_the_others(branching):
    module, example = amnet.steps(branching)["encoder"]
    with torch.no_grad():
        branching.arbitrator.bias.fill_(-1e4)
        state = tuple(torch.randn_like(s) for s in example[-1])
        _, after = module(torch.randn(1, SMALL.inputs), state)
    n = SMALL.simple
    for old, new in zip(state[2:], after[2:], strict=True):
        torch.testing.assert_close(new[:, n:], old[:, n:], rtol=0, atol=0)
        assert (new[:, :n] != old[:, :n]).all()


def test_recurrent_weights_get_the_gradient_of_plain_backpropagation(branching):
    network, n = branching.double(), SMALL.simple
    frames, choice = torch.randn(6, 2, SMALL.inputs).double(), torch.rand(6, 2).double()
    network.encode_branching(frames, choice=choice).output.square().sum().backward()
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    first = rnnt.run_cell(network.first, frames)
    h = c = torch.zeros(2, SMALL.second).double()
    total = 0.0
    for t in range(6):
        h_complex, c_complex = network.second(first[t], (h, c))
        h_simple, c_simple = network.simple(first[t], (h[:, :n], c[:, :n]))
        gate = choice[t][:, None]
        h = gate * h_complex + (1 - gate) * torch.cat([h_simple, h[:, n:]], dim=1)
        c = gate * c_complex + (1 - gate) * torch.cat([c_simple, c[:, n:]], dim=1)
        total = total + h.square().sum()
    total.backward()
    for name in (
        "second.weight_hh",
        "simple.weight_hh",
        "second.weight_ih",
        "first.weight_ih",
        "simple.bias_ih",
    ):
        torch.testing.assert_close(found[name], network.get_parameter(name).grad)


def test_the_arbitrator_is_pulled_by_what_its_choice_does(branching):
    encoded = branching.encode_branching(torch.randn(6, 2, SMALL.inputs))
    encoded.gates.mean().backward()
    assert branching.arbitrator.bias.grad.item() > 0  # a higher logit means more complex frames


def test_sizes_are_those_of_the_docstrings():
    full = rnnt.Rnnt(), amnet.AmNet()
    assert [sum(p.numel() for p in network.parameters()) for network in full] == [471_915, 506_412]
    # 4 gates x cells x (inputs + cells): 4 x 128 x (192 + 128) + 4 x 192 x (128 + 192)
    assert macs_per_frame(full[0], 0.0)["encoder"] == 163_840 + 245_760
    simple = macs_per_frame(full[1], 1.0)
    assert simple["encoder, simple arm"] == 163_840 + 320 + 33_792 == simple["encoder, mean on held-out takes"]
    assert full[1].simple_cost == 33_792 / 245_760
