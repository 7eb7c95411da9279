"""Conditions that a user writes: ``area_mm2 < 2``, ``codec.name == 'huffman' and mac_array.pes < 64``.

Names are figures (``area_mm2``), axes (``weight_bits``) and fields of the chip by path.
"""

import ast
import difflib
from collections.abc import Mapping, Set
from functools import cache
from typing import Any

from simpleeval import EvalWithCompoundTypes, InvalidExpression

from azsim.errors import SweepError


def check_expression(text: str, known: Set[str]) -> set[str]:
    """Names that an expression uses; SweepError if it is no expression or a name is unknown."""
    try:
        names = _names(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = getattr(error, "msg", error)
        raise SweepError(f"{text!r}: not an expression ({what}); write for instance `area_mm2 < 2`") from error
    for name in sorted(names - known):
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)[:8]
        raise SweepError(f"{text!r}: unknown name {name!r}; did you mean {', '.join(near)}?")
    return names


def _outermost(node: ast.AST) -> list[ast.AST]:
    """Dotted names of an expression, each as a whole."""
    if isinstance(node, ast.Name | ast.Attribute):
        return [node]
    return [name for child in ast.iter_child_nodes(node) for name in _outermost(child)]


def holds(text: str, values: Mapping[str, Any]) -> bool:
    """Whether an expression is true; ``values`` are flat, dotted names included."""
    try:
        return bool(EvalWithCompoundTypes(names=_nested(values)).eval(text, _parsed(text)))
    except (InvalidExpression, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        used = {name: values.get(name) for name in sorted(_names(text))}
        got = ", ".join(f"{name} = {value!r}" for name, value in used.items())
        raise SweepError(f"{text!r}: cannot be evaluated: {error}; got {got or 'no names'}") from error


def _names(text: str) -> set[str]:
    return {ast.unparse(node) for node in _outermost(ast.parse(text.strip(), mode="eval").body)}


@cache
def _parsed(text: str) -> Any:
    return EvalWithCompoundTypes.parse(text)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node = out
        for key in parents:
            node = node.setdefault(key, {})
        node[leaf] = value
    return out
