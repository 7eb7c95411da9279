"""A second, obvious integer execution: Python integers, no kernels, no record.

Imports nothing from azsim. It is handed the graph as plain values and works every rounding out
from the words of the docstrings: nearest, halves toward plus infinity, saturating.
"""

import math
from fractions import Fraction

import numpy as np


def shift_round(value, shift):
    """Divide by 2**shift, nearest, halves up."""
    return (int(value) + (1 << (shift - 1))) >> shift


def saturate(value, limit):
    return max(-limit, min(limit, value))


def matrix_sum(parts, bias):
    """parts: (weights [rows, cols], x, left_shift). Returns a list of ints."""
    out = []
    for r in range(len(bias)):
        total = int(bias[r])
        for weights, x, left in parts:
            total += sum(int(w) * int(v) for w, v in zip(weights[r], x, strict=True)) << left
        assert -(2**31) <= total < 2**31
        out.append(total)
    return out


def requantize(acc, multiplier, shift, limit):
    return [saturate(shift_round(a * int(m), int(s)), limit) for a, m, s in zip(acc, multiplier, shift, strict=True)]


def table(function):
    """2048 entries over [-8, 8), middle of the interval, 15 fraction bits."""
    return [int(saturate(round(function((k + 0.5) / 128 - 8) * 2**15), 32767)) for k in range(2048)]


SIGMOID = table(lambda x: 1 / (1 + math.exp(-x)))
TANH = table(math.tanh)


def look_up(entries, pre):
    return entries[(int(pre) + 2**15) // 32]


def lstm_cell(gates, cell, hidden_scale):
    """gates: ints with 12 fraction bits, i f g o per cell; cell: ints with 11. Returns (hidden, cell)."""
    hidden, new = [], []
    for k, c in enumerate(cell):
        i, f, g, o = gates[4 * k : 4 * k + 4]
        keep = look_up(SIGMOID, f) * int(c)  # 26 fraction bits
        write = shift_round(look_up(SIGMOID, i) * look_up(TANH, g), 4)  # 30 -> 26
        c = max(-32768, min(32767, shift_round(keep + write, 15)))
        squashed = look_up(TANH, max(-32768, min(32767, 2 * c)))
        real = Fraction(look_up(SIGMOID, o) * squashed, 2**30) / Fraction(hidden_scale)
        hidden.append(saturate(math.floor(real + Fraction(1, 2)), 127))
        new.append(c)
    return np.array(hidden), np.array(new)


def run_graph(graph, prefix, env, matrices, tensors, formats, trace):
    """One step; ``env`` maps value names to integer arrays and is filled in place."""
    for node in graph.nodes:
        x = [env[name] for name in node.inputs]
        where = prefix + node.outputs[0]
        limit = 127 if formats[where].dtype is np.int8 else 32767
        scales = [formats[prefix + name].scale for name in node.inputs]
        if node.op in ("matrix", "lstm"):
            m = matrices[prefix + node.name]
            operands = [x[1], x[0]] if node.op == "lstm" else [x[0]]  # the recurrent part first
            parts = [(tensors[t], v, s) for t, v, s in zip(m.tensors, operands, m.left_shift, strict=True)]
            acc = matrix_sum(parts, m.bias)
            factor = m.requantize
            if node.op == "lstm":
                gates = requantize(acc, factor.multiplier, factor.shift, 32767)
                results = lstm_cell(gates, x[2], formats[where].scale)
            else:
                results = [np.array(requantize(acc, factor.multiplier, factor.shift, limit))]
        elif node.op == "embedding":
            results = [tensors[prefix.split("/")[0] + "/" + node.parameters["weight"]][int(x[0][0])]]
        elif node.op == "relu":
            results = [np.array([max(0, int(v)) for v in x[0]])]
        elif node.op == "concat":
            results = [np.concatenate(x)]
        elif node.op == "slice":
            results = [x[0][node.attrs["start"] : node.attrs["stop"]]]
        elif node.op == "compare":
            assert node.attrs["relation"] == "gt"
            results = [np.array([int(v) * scales[0] > node.attrs["threshold"] for v in x[0]])]
        elif node.op == "add":
            ratios = [round(s / formats[where].scale * 2**20) for s in scales]
            sums = [int(a) * ratios[0] + int(b) * ratios[1] for a, b in zip(*x, strict=True)]
            results = [np.array([saturate(shift_round(s, 20), limit) for s in sums])]
        elif node.op == "branch":
            arm = node.arms[0] if x[0][0] else node.arms[1]
            trace.append(arm.name)
            inner = dict(zip(arm.inputs, x[1:], strict=True))
            run_graph(arm, f"{prefix}{arm.name}/", inner, matrices, tensors, formats, trace)
            results = [inner[name] for name in arm.outputs]
        else:
            raise AssertionError(node.op)
        env.update(zip(node.outputs, results, strict=True))
    return env


def run_transducer(network, matrices, tensors, formats, frames):
    """Greedy search over an utterance. Returns (encoder outputs, tokens, arm per frame)."""
    quantize = lambda real, fmt, limit: np.array([saturate(round(float(v) / fmt.scale), limit) for v in real])  # noqa: E731
    state = {}
    for role, graph in network.graphs.items():
        state[role] = {name: np.zeros(len(first), int) for name, first in graph.initial_state.items()}
    arms, outputs, tokens = [], [], []

    def step(role, *inputs):
        graph = network.graphs[role]
        env = {**state[role], **dict(zip(graph.inputs, inputs, strict=True))}
        run_graph(graph, f"{role}/", env, matrices, tensors, formats, arms)
        state[role] = {before: env[after] for before, after in graph.state}
        return env[graph.outputs[0]]

    predicted = step("prediction", [network.blank])
    source = formats[f"encoder/{network.graphs['encoder'].inputs[0]}"]
    for frame in frames:
        encoded = step("encoder", quantize(frame, source, 127))
        outputs.append(encoded)
        for _ in range(network.max_symbols_per_frame):
            token = int(np.argmax(step("joint", encoded, predicted)))
            if token == network.blank:
                break
            tokens.append(token)
            predicted = step("prediction", [token])
    return np.array(outputs), tokens, arms
