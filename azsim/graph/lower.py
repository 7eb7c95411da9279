"""Lower an exported torch graph to azsim's closed set of ops.

The exported graph is walked once with real tensors from the example inputs: shapes are what
the ops return, and whatever depends on no input is a constant by the time it is needed, so
nothing that could be computed beforehand is counted per frame. Ops that azsim cannot run are
collected over the whole graph, arms included, and reported together.

Each supported torch op has one small function below; ``LOWERINGS`` is the list of them.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from azsim.errors import ModelError, UnsupportedOpError
from azsim.graph.ir import Graph, Node

aten = torch.ops.aten


class CannotLowerError(Exception):
    """Why one op cannot be run; becomes a line of UnsupportedOpError."""


@dataclass
class Traced:
    """What an fx node stands for: a value of the new graph, or a constant where ``name`` is None.

    ``source`` is the torch parameter that a constant is an unchanged copy of.
    """

    tensor: Any
    name: str | None = None
    source: str | None = None


@dataclass
class Builder:
    """The graph under construction, shared by the lowering functions."""

    name: str
    nodes: list[Node] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    unsupported: list[str] = field(default_factory=list)

    def value(self, name: str, tensor: torch.Tensor) -> Traced:
        self.sizes[name] = tensor.numel()
        return Traced(tensor, name)

    def emit(self, op: str, fx: torch.fx.Node, inputs: list[Traced], results: list[torch.Tensor], **fields: Any) -> Any:
        """Append a node whose outputs are named after the fx node; return its Traced outputs."""
        suffix = fields.pop("suffix", "")
        names = [f"{fx.name}{suffix}" + (f".{i}" if len(results) > 1 else "") for i in range(len(results))]
        path = fields.pop("module_path", _module_path(fx)) or fx.name
        known = {node.name for node in self.nodes}
        label = path if path not in known else f"{path}:{fx.name}{suffix}"
        self.nodes.append(Node(label, op, tuple(map(_named, inputs)), tuple(names), module_path=path, **fields))
        outputs = [self.value(name, tensor) for name, tensor in zip(names, results, strict=True)]
        return outputs[0] if len(outputs) == 1 else outputs

    def parameter(self, name: str, array: torch.Tensor | np.ndarray) -> str:
        """Keep a float32 array under ``name`` (made unique if another array has it)."""
        array = np.ascontiguousarray(np.asarray(array, dtype=np.float32))
        unique, n = name, 1
        while unique in self.parameters and not np.array_equal(self.parameters[unique], array, equal_nan=True):
            n += 1
            unique = f"{name}_{n}"
        self.parameters[unique] = array
        return unique


def _named(value: Traced) -> str:
    if value.name is None:
        raise CannotLowerError("a constant where a value that depends on the input was expected")
    return value.name


def _module_path(fx: torch.fx.Node) -> str:
    stack = list((fx.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _where(fx: torch.fx.Node, builder: Builder) -> str:
    path = _module_path(fx) or next((a.name for a in fx.all_input_nodes), "")
    return f"{builder.name}: {path or fx.name}"


def interleave_gates(array: np.ndarray) -> np.ndarray:
    """Reorder torch's gate-major rows (i.. f.. g.. o..) so that rows 4k..4k+3 belong to cell k."""
    gates = array.reshape(4, -1, *array.shape[1:])
    return np.ascontiguousarray(np.swapaxes(gates, 0, 1)).reshape(array.shape)


def _dense(weight: Traced, what: str) -> np.ndarray:
    if weight.name is not None:
        raise CannotLowerError(f"{what} depends on the input")
    return weight.tensor.detach().numpy().astype(np.float32)


def _matrix(b: Builder, fx: torch.fx.Node, x: Traced, weight: Traced, bias: Traced | None, result: torch.Tensor) -> Any:
    array = _dense(weight, "the weight matrix")
    array = array.reshape(array.shape[0], -1)
    if result.numel() != array.shape[0]:
        raise CannotLowerError(f"{result.numel() // array.shape[0]} positions in one step; a streaming step has one")
    offset = np.zeros(array.shape[0], np.float32) if bias is None else _dense(bias, "the bias")
    source = weight.source or f"{fx.name}.weight"
    names = {"weight": b.parameter(source, array), "bias": b.parameter(source.replace("weight", "bias"), offset)}
    return b.emit("matrix", fx, [x], [result], parameters=names)


def _linear(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    return _matrix(b, fx, args[0], args[1], args[2] if len(args) > 2 else None, result)


def _conv1d(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    x, weight, bias, _, padding, dilation, groups = (args + [None, [1], [0], [1], 1][len(args) - 2 :])[:7]
    if groups != 1 or any(dilation[i] != 1 or padding[i] != 0 for i in range(len(padding))):
        raise CannotLowerError(
            "only conv1d without groups, dilation and padding; keep the past frames as state instead"
        )
    if x.tensor.shape[-1] != weight.tensor.shape[-1]:
        raise CannotLowerError(
            f"window of {x.tensor.shape[-1]} for a kernel of {weight.tensor.shape[-1]}: not one position"
        )
    return _matrix(b, fx, x, weight, bias, result)


def _lstm_layer(
    b: Builder, fx: torch.fx.Node, x: Traced, h: Traced, c: Traced, weights: list, results: list, suffix: str = ""
) -> Any:
    w_ih, w_hh = (interleave_gates(_dense(w, "the weight matrix")) for w in weights[:2])
    bias = np.zeros(len(w_ih), np.float32)
    for part in weights[2:4]:
        bias = bias + (0 if part is None else _dense(part, "the bias"))
    sources = [w.source or f"{fx.name}{suffix}.weight_{kind}" for w, kind in zip(weights, ("ih", "hh"), strict=False)]
    names = {
        "weight_hh": b.parameter(sources[1], w_hh),
        "weight_ih": b.parameter(sources[0], w_ih),
        "bias": b.parameter(sources[1].replace("weight_hh", "bias"), interleave_gates(bias)),
    }
    path = (_module_path(fx) or sources[1].rsplit(".", 1)[0]) + suffix
    return b.emit("lstm", fx, [x, h, c], results, parameters=names, suffix=suffix, module_path=path)


def _lstm_cell(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    x, (h, c), *weights = args
    return _lstm_layer(b, fx, x, h, c, weights, list(result))


def _lstm(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    """nn.LSTM over one step: a stack of layers; the states are rows of [layers, 1, H]."""
    x, (h, c), weights, has_biases, layers, _, _, bidirectional, _ = args
    per_layer = 4 if has_biases else 2
    if bidirectional or len(weights) != per_layer * layers:
        raise CannotLowerError("bidirectional and projected LSTMs do not stream here; write the projection as a Linear")
    if x.tensor.numel() != x.tensor.shape[-1]:
        raise CannotLowerError("more than one frame in a step; export a step of one frame")
    outputs = []
    for layer in range(layers):
        states = [_row(b, fx, s, layer, layers, f".{k}{layer}") for s, k in ((h, "h"), (c, "c"))]
        own = weights[layer * per_layer : (layer + 1) * per_layer]
        shape = states[0].tensor
        x, cell = _lstm_layer(b, fx, x, states[0], states[1], own, [shape, shape], suffix=f".l{layer}")
        outputs.append((x, cell))
    stacked = [_join(b, fx, [o[i] for o in outputs], result[1 + i], f".{k}") for i, k in enumerate("hc")]
    top = outputs[-1][0]
    return [Traced(result[0], top.name), *stacked]


def _row(b: Builder, fx: torch.fx.Node, state: Traced, layer: int, layers: int, suffix: str) -> Traced:
    if layers == 1:
        return state
    n = state.tensor.numel() // layers
    where = {"start": layer * n, "stop": (layer + 1) * n}
    return b.emit("slice", fx, [state], [state.tensor[layer]], attrs=where, suffix=suffix)


def _join(b: Builder, fx: torch.fx.Node, parts: list[Traced], result: torch.Tensor, suffix: str) -> Traced:
    if len(parts) == 1:
        return Traced(result, parts[0].name)
    return b.emit("concat", fx, parts, [result], suffix=suffix)


def _alias(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    """A view: same numbers in the same order, so the same flat vector."""
    if result.numel() != args[0].tensor.numel():
        raise CannotLowerError(f"it repeats values, {tuple(args[0].tensor.shape)} to {tuple(result.shape)}")
    return Traced(result, args[0].name)


def _permute(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    if sum(size > 1 for size in result.shape) > 1:
        raise CannotLowerError(f"a transpose that moves data, {tuple(args[0].tensor.shape)} to {tuple(result.shape)}")
    return _alias(b, fx, args, result)


def _contiguous_range(b: Builder, fx: torch.fx.Node, source: Traced, result: torch.Tensor) -> Any:
    """A slice or a row: find which flat range it is by slicing an index tensor the same way."""
    if result.numel() == source.tensor.numel():
        return Traced(result, source.name)
    index = torch.arange(source.tensor.numel()).reshape(source.tensor.shape)
    flat = fx.target(index, *fx.args[1:]).flatten()  # type: ignore[operator]
    if not bool((flat == torch.arange(flat.numel()) + flat[0]).all()):
        raise CannotLowerError(f"a slice that is not contiguous in a step, {tuple(source.tensor.shape)}")
    start = int(flat[0])
    return b.emit("slice", fx, [source], [result], attrs={"start": start, "stop": start + flat.numel()})


def _slice(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    return _contiguous_range(b, fx, args[0], result)


def _split(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    source, pieces, start = args[0], [], 0
    if source.tensor.numel() != max(source.tensor.shape):
        raise CannotLowerError("a split of something that is not one vector")
    for i, piece in enumerate(result):
        where = {"start": start, "stop": start + piece.numel()}
        pieces.append(b.emit("slice", fx, [source], [piece], attrs=where, suffix=f".{i}"))
        start += piece.numel()
    return pieces


def _concat(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    dim = args[1] if len(args) > 1 else 0
    if any(size > 1 for size in result.shape[: dim % result.dim()]):
        raise CannotLowerError("a concatenation that interleaves its parts")
    return b.emit("concat", fx, [part for part in args[0] if part.tensor.numel()], [result])


def _elementwise(op: str) -> Callable:
    def lower(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
        left, right = (a if isinstance(a, Traced) else Traced(torch.tensor(float(a))) for a in args[:2])
        if left.name is not None and right.name is not None:
            return b.emit(op, fx, [left, right], [result])
        constant, value = (right, left) if right.name is None else (left, right)
        name = b.parameter(constant.source or f"{fx.name}.constant", constant.tensor.detach().reshape(-1))
        position = {"constant_position": 1 if right.name is None else 0}
        return b.emit(op, fx, [value], [result], parameters={"constant": name}, attrs=position)

    return lower


def _unary(op: str) -> Callable:
    return lambda b, fx, args, result: b.emit(op, fx, [args[0]], [result])


def _compare(relation: str) -> Callable:
    def lower(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
        if isinstance(args[1], Traced) and args[1].name is not None:
            raise CannotLowerError("a comparison of two values; compare a difference with a number")
        threshold = float(args[1].tensor if isinstance(args[1], Traced) else args[1])
        return b.emit("compare", fx, [args[0]], [result], attrs={"relation": relation, "threshold": threshold})

    return lower


def _embedding(b: Builder, fx: torch.fx.Node, args: list, result: Any) -> Any:
    weight, token = args[:2]
    name = b.parameter(weight.source or f"{fx.name}.weight", _dense(weight, "the table"))
    return b.emit("embedding", fx, [token], [result], parameters={"weight": name})


LOWERINGS: dict[Any, Callable] = {
    aten.linear.default: _linear,
    aten.conv1d.default: _conv1d,
    aten.lstm_cell.default: _lstm_cell,
    aten.lstm.input: _lstm,
    aten.embedding.default: _embedding,
    aten.add.Tensor: _elementwise("add"),
    aten.add.Scalar: _elementwise("add"),
    aten.sub.Tensor: _elementwise("sub"),
    aten.sub.Scalar: _elementwise("sub"),
    aten.mul.Tensor: _elementwise("mul"),
    aten.mul.Scalar: _elementwise("mul"),
    aten.relu.default: _unary("relu"),
    aten.sigmoid.default: _unary("sigmoid"),
    aten.tanh.default: _unary("tanh"),
    aten.cat.default: _concat,
    aten.slice.Tensor: _slice,
    aten.select.int: _slice,
    aten.split_with_sizes.default: _split,
    aten.split_with_sizes_copy.default: _split,
    aten.split.Tensor: _split,
    aten.chunk.default: _split,
    aten.gt.Scalar: _compare("gt"),
    aten.ge.Scalar: _compare("ge"),
    aten.lt.Scalar: _compare("lt"),
    aten.le.Scalar: _compare("le"),
    aten.permute.default: _permute,
    aten.transpose.int: _permute,
    aten.t.default: _permute,
}
for _view in ("view.default", "reshape.default", "squeeze.dim", "squeeze.dims", "squeeze.default", "unsqueeze.default",
              "clone.default", "detach.default", "alias.default", "contiguous.default", "flatten.using_ints",
              "expand.default", "_unsafe_view.default", "view_copy.default", "squeeze_copy.dims"):  # fmt: skip
    _packet, _, _overload = _view.partition(".")
    if hasattr(getattr(aten, _packet, None), _overload):
        LOWERINGS[getattr(getattr(aten, _packet), _overload)] = _alias


def lower(
    module: torch.fx.GraphModule, name: str, arguments: list[Traced], builder: Builder | None = None
) -> tuple[Builder, list[Traced]]:
    """Lower one fx graph; ``arguments`` stand for its placeholders. Returns the builder and the results."""
    builder = builder or Builder(name)
    env: dict[torch.fx.Node, Any] = {}
    waiting = iter(arguments)
    results: list[Traced] = []
    for fx in module.graph.nodes:
        if fx.op == "placeholder":
            env[fx] = next(waiting)
        elif fx.op == "get_attr":
            attribute = operator.attrgetter(fx.target)(module)
            env[fx] = attribute if isinstance(attribute, torch.nn.Module) else Traced(attribute, None, fx.target)
        elif fx.op == "call_function":
            env[fx] = _call(builder, fx, torch.fx.node.map_arg(fx.args, lambda n: env[n]), fx.kwargs)
        elif fx.op == "output":
            results = list(torch.fx.node.map_arg(fx.args[0], lambda n: env[n]))
    return builder, results


def _call(b: Builder, fx: torch.fx.Node, args: tuple, kwargs: dict) -> Any:
    if fx.target is operator.getitem:
        return args[0][args[1]]
    if fx.target is torch.ops.higher_order.cond:
        return _branch(b, fx, args)
    tensors = torch.fx.node.map_aggregate(args, lambda a: a.tensor if isinstance(a, Traced) else a)
    with torch.no_grad():
        result = fx.target(*tensors, **kwargs)  # type: ignore[operator]
    values: list[Traced] = []
    torch.fx.node.map_aggregate(args, lambda a: values.append(a) if isinstance(a, Traced) else None)
    if all(v.name is None for v in values):
        return torch.utils._pytree.tree_map(Traced, result)
    lowering = LOWERINGS.get(fx.target)
    try:
        if lowering is None:
            raise CannotLowerError("azsim has no such op")
        return lowering(b, fx, list(args), result)
    except CannotLowerError as why:
        b.unsupported.append(f"{fx.target} at {_where(fx, b)} ({why})")
        stand_in = iter(range(99))
        return torch.utils._pytree.tree_map(lambda t: b.value(f"{fx.name}.unsupported{next(stand_in)}", t), result)


def _branch(b: Builder, fx: torch.fx.Node, args: tuple) -> list[Traced]:
    """torch.cond: both arms receive every operand; each keeps only what it uses."""
    predicate, *modules, operands = args
    arms, outcomes, taken = [], [], [o for o in operands if o.name is not None]
    for module, fallback in zip(modules, ("true", "false"), strict=True):
        inner = Builder(fallback)
        inputs = [Traced(o.tensor, f"operand{i}") if o.name else o for i, o in enumerate(operands)]
        for value in inputs:
            if value.name is not None:
                inner.sizes[value.name] = value.tensor.numel()
        inner, results = lower(module, fallback, inputs, inner)
        b.unsupported += inner.unsupported
        if any(r.name is None for r in results):
            raise ModelError(f"{_where(fx, b)}: an arm of a branch returns a constant; azsim needs a computed value")
        name = _arm_label(inner, fallback)
        names = tuple(v.name for v in inputs if v.name is not None)
        arms.append(Graph(name, names, (), tuple(_named(r) for r in results), tuple(inner.nodes), inner.sizes,
                          inner.parameters))  # fmt: skip
        outcomes.append(results)
    if arms[0].name == arms[1].name:
        arms = [arm.replace(name=label) for arm, label in zip(arms, ("true", "false"), strict=True)]
    for yes, no in zip(*outcomes, strict=True):
        if yes.tensor.numel() != no.tensor.numel():
            raise ModelError(f"{_where(fx, b)}: the arms return {yes.tensor.numel()} and {no.tensor.numel()} values")
    if predicate.name is None:
        raise ModelError(f"{_where(fx, b)}: the branch depends on no input; remove the torch.cond")
    emitted = b.emit("branch", fx, [predicate, *taken], [o.tensor for o in outcomes[0]], arms=tuple(arms))
    return emitted if isinstance(emitted, list) else [emitted]


def _arm_label(arm: Builder, fallback: str) -> str:
    """The one module whose weights the arm uses, or true / false."""
    tops = {name.rsplit(".", 1)[0] for node in arm.nodes for name in node.parameters.values() if "." in name}
    return tops.pop() if len(tops) == 1 else fallback


def refuse_unsupported(name: str, unsupported: list[str]) -> None:
    """Raise one error that lists every op that could not be lowered."""
    if unsupported:
        lines = "; ".join(f"{i}. {line}" for i, line in enumerate(unsupported, 1))
        raise UnsupportedOpError(
            f"{name}: {len(unsupported)} op(s) of the exported step cannot run on azsim: {lines}. "
            f"Supported: {', '.join(sorted({op.__name__.split('.')[0] for op in LOWERINGS}))} and torch.cond."
        )
