"""From which activation density on is multiplying every column faster than only those that are not zero?

Expected: by columns costs a time per active column, by rows the same at every density, and rows do more in one
instruction: they cross near half. Enough matrices to leave the processor's cache should move the crossing to lower
densities. The interpreter takes columns where they are not slower at any of the sizes.

Method: 1024 x 1024 weights of density 0.5, by rows and by columns in turn in one process, medians of the ratios
per round; a few matrices, and enough of them to leave the cache.

    python experiments/kernels.py
"""

import statistics
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer
from benchmark_lstm import alternate, median_ratio

from azsim.execute.kernels import accumulate_columns, accumulate_rows

DENSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.97)
SIZE = 1024


def multiplications(n: int, density: float, repeat: int) -> dict[str, Callable[[], None]]:
    """Both kernels on the same ``n`` matrices and operand, ``repeat`` times; they agree."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (n, SIZE, SIZE), np.int8) * (rng.random((n, SIZE, SIZE), np.float32) < 0.5)
    columns = np.ascontiguousarray(weights.transpose(0, 2, 1))
    x = rng.integers(1, 128, SIZE).astype(np.int8) * (rng.random(SIZE) < density)
    wide, which = np.empty(SIZE + 3, np.int16), np.empty(SIZE + 3, np.int32)
    total, sums = np.empty(SIZE, np.int32), np.zeros((2, SIZE), np.int32)

    def by_rows() -> None:
        for i in [*range(n)] * repeat:
            accumulate_rows(weights[i], x, 1, wide, sums[0])

    def by_columns() -> None:
        for i in [*range(n)] * repeat:
            accumulate_columns(columns[i], x, 1, which, wide, total, sums[1])

    by_rows(), by_columns()
    assert sums.any() and np.array_equal(*sums)
    return {"rows": by_rows, "columns": by_columns}


def main(quick: Annotated[bool, typer.Option("--quick", help="two densities, few rounds")] = False) -> None:
    """Print the CPU time of one multiplication by either kernel, and how much faster columns are."""
    for n in (1,) if quick else (1, 16, 64):
        for density in (0.3, 0.97) if quick else DENSITIES:
            repeat = 1 if quick else 64 // n
            times = alternate(multiplications(n, density, repeat), 3 if quick else 41)
            rows, columns = (1e6 * statistics.median(times[name]) / (n * repeat) for name in ("rows", "columns"))
            ratio = median_ratio(times["rows"], times["columns"])
            print(f"{n:2} MiB, density {density:4}: rows {rows:5.1f} us, columns {columns:5.1f} us, {ratio:.2f} x")


if __name__ == "__main__":
    typer.run(main)
