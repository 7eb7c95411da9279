"""The integer kernels are exact, compiled and as plain Python, where an overflow is an error.

Run as a program, this file writes what the kernels compute to an ``.npz``. One test does so with Numba's JIT off
and NumPy's overflow warnings as errors, and compares.
"""

import os
import subprocess
import sys
import warnings
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest

from azsim.execute import kernels
from azsim.execute.elementwise import TABLES

INT8, INT16, INT32 = (np.iinfo(t) for t in (np.int8, np.int16, np.int32))
LIMITS = {np.int8: 127, np.int16: 32767}
N = 300


def integers(rng, info, shape):
    """Random integers of a type, a third of them the extremes, their neighbours and zero."""
    drawn = rng.integers(info.min, info.max, shape, info.dtype, endpoint=True)
    extreme = rng.choice(np.array([info.min, info.min + 1, -1, 0, 1, info.max], info.dtype), shape)
    return np.where(rng.random(shape) < 1 / 3, extreme, drawn)


def factors(rng, n):
    """Multipliers up to 2**31 - 1, with shifts from 1 to 62; most keep the result near the limits."""
    multiplier = rng.integers(0, INT32.max, n, np.int32, endpoint=True)
    shift = rng.integers(1, 63, n, np.int32, endpoint=False)
    shift[: n // 2] = rng.integers(40, 63, n // 2)
    multiplier[:4], shift[:4] = [INT32.max, INT32.max, 0, 1], [1, 62, 1, 62]
    return rng.permutation(multiplier), shift


def cases():
    """(name, kernel, arguments, positions of the arguments that it writes)."""
    rng = np.random.default_rng(5)
    for rows, cols, density in [(1, 1, 1), (5, 33, 0.3), (8, 64, 1), (3, 7, 0)]:
        for left_shift in (0, 8):
            weights, x = integers(rng, INT8, (rows, cols)), integers(rng, INT8, cols)
            x[rng.random(cols) >= density] = 0
            acc = rng.integers(-(2**24), 2**24, rows, np.int32)
            arguments = weights, x, left_shift, np.zeros(cols, np.int16), acc
            yield f"rows_{rows}x{cols}_{left_shift}", kernels.accumulate_rows, arguments, [4]
            columns = np.ascontiguousarray(np.maximum(weights, -127).T)
            scratch = np.full(cols + 3, 99, np.int32), np.full(cols + 3, 99, np.int16), np.full(rows, 99, np.int32)
            arguments = columns, x, left_shift, *scratch, acc.copy()
            yield f"columns_{rows}x{cols}_{left_shift}", kernels.accumulate_columns, arguments, [6]
    for sign in (1, -1):  # two products of -128 and +-127 are the most that int16 must hold
        worst = np.full((4, 2), sign * 127, np.int8), np.full(4, -128, np.int8)
        scratch = np.zeros(7, np.int32), np.zeros(7, np.int16), np.zeros(2, np.int32)
        yield f"columns_worst_{sign}", kernels.accumulate_columns, (*worst, 0, *scratch, np.zeros(2, np.int32)), [6]
    worst = np.full((2, 4), -128, np.int8), np.full(4, -128, np.int8)
    yield "rows_worst", kernels.accumulate_rows, (*worst, 0, np.zeros(4, np.int16), np.zeros(2, np.int32)), [4]
    for out, limit in LIMITS.items():
        for info in (INT8, INT16, INT32):
            arguments = integers(rng, info, N), *factors(rng, N), limit, np.zeros(N, out)
            yield f"requantize_{info.dtype}_{out.__name__}", kernels.requantize, arguments, [4]
        for info, n_a, n_b in [(INT8, N, N), (INT16, N, 1), (INT16, 1, N)]:
            a, b = integers(rng, info, n_a), integers(rng, info, n_b)
            label = f"{info.dtype}_{n_a}_{n_b}_{out.__name__}"
            ratios = int(rng.integers(0, 2**22)), -int(rng.integers(0, 2**22))
            yield f"add_{label}", kernels.add_scaled, (a, b, *ratios, limit, np.zeros(N, out)), [5]
            for multiplier, shift in [(2**30 + 12345, 50), (INT32.max, 62), (INT32.max, 1)]:
                arguments = a, b, multiplier, shift, limit, np.zeros(N, out)
                yield f"mul_{label}_{shift}", kernels.mul_scaled, arguments, [5]
    every = np.arange(INT16.min, INT16.max + 1, 17).astype(np.int16)
    every[-1] = INT16.max
    for name, table in TABLES.items():
        yield f"look_up_{name}", kernels.look_up, (every, table, np.zeros(len(every), np.int16)), [2]
    for multiplier, shift in [(2**30, 53), (INT32.max, 62), (INT32.max, 31)]:
        gates, cell = integers(rng, INT16, 4 * N), integers(rng, INT16, N)
        arguments = gates, cell, TABLES["sigmoid"], TABLES["tanh"], multiplier, shift, cell, np.zeros(N, np.int8)
        yield f"lstm_cell_{shift}", kernels.lstm_cell, arguments, [6, 7]  # the cell is updated in place


def results():
    """What the kernels make of every case."""
    out = {}
    for name, kernel, arguments, written in cases():
        kernel(*arguments)
        out.update({f"{name}:{i}": arguments[i] for i in written})
    return out


def silent_overflows():
    """Which of two int32 overflows plain Python lets pass: when a row is added, and when it is shifted."""
    row, silent = np.full((1, 600), 127, np.int8), []
    # 600 * 127**2 is 9.7e6; 2**8 times that is 2.5e9, more than 2**31 - 1 = 2.1e9
    for name, start, left_shift in [("added", INT32.max, 0), ("shifted", 0, 8)]:
        try:
            kernels.accumulate_rows(row, row[0], left_shift, np.zeros(600, np.int16), np.array([start], np.int32))
            silent.append(name)
        except RuntimeWarning:
            pass
    return silent


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Results of the kernels as plain Python."""
    path = tmp_path_factory.mktemp("kernels") / "plain.npz"
    root = Path(__file__).parents[1]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, __file__, path], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as stored:
        return dict(stored)


def test_compiled_kernels_compute_what_plain_python_does(plain):
    compiled = results()
    assert set(compiled) == set(plain) - {"is_jit_off", "silent"} and plain["is_jit_off"]
    for name, values in compiled.items():
        np.testing.assert_array_equal(values, plain[name], name)
        assert values.dtype == plain[name].dtype, name


def test_plain_python_stops_at_an_overflow(plain):
    assert plain["silent"].tolist() == []


def nearest(real, limit):
    """Nearest, halves up, saturated."""
    return np.array([max(-limit, min(limit, floor(r + Fraction(1, 2)))) for r in real])


def run(kernel):
    """(name, arguments, result) of every case of a kernel with one result."""
    for name, case_kernel, arguments, written in cases():
        if case_kernel is kernel:
            before = [np.copy(a) if isinstance(a, np.ndarray) else a for a in arguments]
            kernel(*arguments)
            yield name, before, arguments[written[0]]


def test_rows_are_summed_exactly():
    for name, (weights, x, left_shift, _, acc), got in run(kernels.accumulate_rows):
        np.testing.assert_array_equal(got, acc + (weights.astype(int) @ x.astype(int) << left_shift), name)


def test_columns_are_summed_exactly():
    for name, (columns, x, left_shift, *_, acc), got in run(kernels.accumulate_columns):
        np.testing.assert_array_equal(got, acc + (x.astype(int) @ columns.astype(int) << left_shift), name)


def test_requantize_rounds_halves_up_and_saturates():
    for name, (acc, multiplier, shift, limit, _), got in run(kernels.requantize):
        terms = zip(acc.tolist(), multiplier.tolist(), shift.tolist(), strict=True)
        np.testing.assert_array_equal(got, nearest([Fraction(a * m, 2**s) for a, m, s in terms], limit), name)
        assert {-limit, limit} <= set(got.tolist()) and len(set(got.tolist())) > 10, name


def test_sums_round_halves_up_and_saturate():
    for name, (a, b, factor_a, factor_b, limit, _), got in run(kernels.add_scaled):
        sums = a.astype(object) * factor_a + b.astype(object) * factor_b
        np.testing.assert_array_equal(got, nearest([Fraction(s, 2**20) for s in sums], limit), name)


def test_products_round_halves_up_and_saturate():
    for name, (a, b, multiplier, shift, limit, _), got in run(kernels.mul_scaled):
        products = a.astype(object) * b * multiplier
        np.testing.assert_array_equal(got, nearest([Fraction(p, 2**shift) for p in products], limit), name)


def test_a_table_is_looked_up_by_the_interval_of_its_entry():
    for name, (pre, table, _), got in run(kernels.look_up):
        np.testing.assert_array_equal(got, table[np.floor_divide(pre.astype(int) + 2**15, 32)], name)
        assert {table[0], table[-1]} <= set(got), name


def main(path):
    """Write the results of plain Python, with overflows as errors."""
    warnings.simplefilter("error", RuntimeWarning)
    silent = np.array(silent_overflows(), str)
    is_jit_off = not hasattr(kernels.requantize, "py_func")
    np.savez(path, silent=silent, is_jit_off=is_jit_off, **results())


if __name__ == "__main__":
    main(sys.argv[1])
