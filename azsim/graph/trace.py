"""Trace a torch module's streaming step into azsim's graph, and prove that nothing was lost.

A step is ``forward(inputs..., state) -> (output, state)``, where the state is any nest of tensors
and comes back with the same shapes, or ``forward(inputs...) -> output`` if it has none. After the
import the graph is run for several frames with its state fed back and compared with the torch
module: state that an export would lose silently shows up here as an error.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from azsim.errors import ModelError
from azsim.graph.evaluate import evaluate_graph
from azsim.graph.ir import Graph
from azsim.graph.lower import Builder, Traced, lower, refuse_unsupported

aten = torch.ops.aten
KEPT_WHOLE = (
    aten.linear.default, aten.lstm_cell.default, aten.lstm.input, aten.conv1d.default, aten.layer_norm.default,
    aten.softmax.int, aten.scaled_dot_product_attention.default, aten.embedding.default,
)  # fmt: skip
CHECK_FRAMES = 4
CHECK_TOLERANCE = 1e-3


def trace(module: torch.nn.Module, example_inputs: tuple, name: str = "step") -> Graph:
    """Export one streaming step and import it.

    Parameters
    ----------
    module : torch.nn.Module
        ``forward(inputs..., state) -> (output, state)`` or ``forward(inputs...) -> output``, batch 1.
    example_inputs : tuple
        One frame (or token) and the initial state.
    name : str
        Role of the graph in its network.

    Raises
    ------
    ModelError
        Wrong signature, NaN weights, data-dependent Python control flow, lost state.
    UnsupportedOpError
        Lists every op that azsim cannot run, with its module path.
    """
    module = module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.export(module, example_inputs)
    except Exception as error:  # torch.export raises many kinds; all are about the user's module
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{name}: torch.export could not trace {type(module).__name__}.forward: {first_line} "
            f"A step must be free of Python branches on data (use torch.cond) and run on example_inputs of "
            f"{[tuple(t.shape) for t in pytree.tree_leaves(example_inputs) if hasattr(t, 'shape')]}."
        ) from error
    return import_program(exported, name, reference=module)


def load_pt2(path: Path | str, name: str = "step") -> Graph:
    """Import a step saved with ``torch.export.save``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.load(path)
    except Exception as error:
        raise ModelError(f"{path}: not a program saved by torch.export.save ({str(error).splitlines()[0]})") from error
    if exported.example_inputs is None:
        raise ModelError(f"{path}: saved without example inputs, so the initial state is unknown; export it again")
    return import_program(exported, name)


def import_program(
    exported: torch.export.ExportedProgram, name: str, reference: torch.nn.Module | None = None
) -> Graph:
    """Turn an exported step into a Graph and compare the two over several frames."""
    example_args, example_kwargs = exported.example_inputs
    if example_kwargs:
        raise ModelError(f"{name}: keyword inputs {sorted(example_kwargs)}; pass every input by position")
    reference = reference or exported.module()
    n_state = _state_size(exported, example_args, name)
    table = torch.export.default_decompositions()
    for op in KEPT_WHOLE:
        table.pop(op, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = exported.run_decompositions(table)
    if program.graph_signature.buffers_to_mutate:
        lost = ", ".join(sorted(program.graph_signature.buffers_to_mutate.values()))
        raise ModelError(f"{name}: the step writes buffers ({lost}); make them part of the state it takes and returns")
    graph = _lower_program(program, name, n_state)
    _check_against(reference, graph, example_args)
    return graph


def _state_size(exported: torch.export.ExportedProgram, args: tuple, name: str) -> int:
    """Number of tensors in the state; 0 for a stateless step. Raises on any other signature."""
    with torch.no_grad():
        result = exported.module()(*args)
    if isinstance(result, torch.Tensor):
        return 0
    expected = "expected forward(inputs..., state) -> (output, state), or -> output without a state"
    if not isinstance(result, tuple | list) or len(result) != 2 or not isinstance(result[0], torch.Tensor):
        got = f"{len(result)} results" if isinstance(result, tuple | list) else type(result).__name__
        raise ModelError(f"{name}: the step has the wrong signature: {expected}, but it returns {got}")
    before, after = (pytree.tree_leaves(tree) for tree in (args[-1], result[1]))
    shapes = [[tuple(t.shape) for t in leaves] for leaves in (before, after)]
    if len(args) < 2 or shapes[0] != shapes[1]:
        raise ModelError(
            f"{name}: the step has the wrong signature: {expected}; its last input has shapes {shapes[0]}, "
            f"but the state it returns has {shapes[1]}. Return the state with the shapes it came in."
        )
    return len(before)


def _lower_program(program: torch.export.ExportedProgram, name: str, n_state: int) -> Graph:
    signature = program.graph_signature
    known = {**program.state_dict, **program.constants}
    weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
               **signature.inputs_to_lifted_tensor_constants}  # fmt: skip
    leaves = pytree.tree_leaves(program.example_inputs)
    builder = Builder(name)
    arguments: list[Traced] = []
    user_inputs: list[str] = []
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        if node.name in weights:
            source = weights[node.name]
            tensor = known[source]
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                bad = int((~torch.isfinite(tensor)).sum())
                raise ModelError(f"{name}: weight {source!r} has {bad} NaN or infinite values; train or load it again")
            arguments.append(Traced(tensor, None, source))
        else:
            arguments.append(builder.value(node.name, leaves[len(user_inputs)]))
            user_inputs.append(node.name)
    builder, results = lower(program.graph_module, name, arguments, builder)
    refuse_unsupported(name, builder.unsupported)
    for result in results:
        if result.name is None:
            raise ModelError(f"{name}: an output of the step depends on no input; a step must use its frame and state")
    split = len(user_inputs) - n_state
    initial = {n: leaf.detach().numpy().astype(np.float32).reshape(-1)
               for n, leaf in zip(user_inputs[split:], leaves[split:], strict=True)}  # fmt: skip
    n_outputs = len(results) - n_state
    return Graph(
        name=name,
        inputs=tuple(user_inputs[:split]),
        state=tuple(zip(user_inputs[split:], (str(r.name) for r in results[n_outputs:]), strict=True)),
        outputs=tuple(str(r.name) for r in results[:n_outputs]),
        nodes=tuple(builder.nodes),
        sizes=builder.sizes,
        parameters=builder.parameters,
        initial_state=initial,
    )


def _check_against(module: torch.nn.Module, graph: Graph, example_args: tuple) -> None:
    """Feed the state back for several frames, in torch and in the graph; they must agree."""
    generator = torch.Generator().manual_seed(0)
    n_inputs = len(graph.inputs)
    state: Any = example_args[n_inputs:]
    values = dict(graph.initial_state)
    for frame in range(CHECK_FRAMES):
        inputs = [_like(graph, name, t, generator) for name, t in zip(graph.inputs, example_args, strict=False)]
        with torch.no_grad():
            result = module(*inputs, *state)
        output, state = (result[0], (result[1],)) if graph.state else (result, ())
        values.update({n: t.numpy().reshape(-1) for n, t in zip(graph.inputs, inputs, strict=True)})
        env = evaluate_graph(graph, values)
        pairs = [(graph.outputs[0], output), *zip((o for _, o in graph.state), pytree.tree_leaves(state), strict=True)]
        for name, expected in pairs:
            want = expected.numpy().reshape(-1)
            error = float(np.max(np.abs(env[name] - want), initial=0.0))
            if not error <= CHECK_TOLERANCE * max(1.0, float(np.max(np.abs(want), initial=0.0))):
                raise ModelError(
                    f"{graph.name}: after {frame + 1} frame(s) with the state fed back, the imported graph and the "
                    f"torch module differ by {error:.3g} in {name!r}. State kept in attributes of the module is lost "
                    f"by torch.export: pass it in and return it."
                )
        values = {before: env[after] for before, after in graph.state}


def _like(graph: Graph, name: str, example: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random input like the example: noise, or a token that every table of the graph has."""
    if example.is_floating_point():
        return torch.randn(example.shape, generator=generator)
    rows = [len(graph.parameters[n.parameters["weight"]]) for n in graph.nodes if n.op == "embedding"]
    return torch.randint(0, min(rows, default=1), example.shape, generator=generator)
