"""A quantized weight tensor: the integers that are stored, and what they are worth."""

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class QuantizedTensor:
    """Weights of one op as signed integers, symmetric, one scale per output row.

    Attributes
    ----------
    name : str
        Unique in the network, e.g. ``"encoder/first.weight_hh"``.
    values : int8[rows, cols]
        Within +-(2**(bits-1) - 1); the most negative code is not used.
    scale : float64[rows]
        ``real = scale * value``. For an embedding, one scale repeated.
    bits : int
        2 to 8, width of a stored non-zero code.
    kind : "matrix" or "embedding"
        A matrix feeds the MAC array; of an embedding one row is fetched per look-up.
    """

    name: str
    values: np.ndarray
    scale: np.ndarray
    bits: int = 8
    kind: Literal["matrix", "embedding"] = "matrix"

    @property
    def size(self) -> int:
        """Number of weights, zeros included."""
        return int(self.values.size)

    @property
    def nnz(self) -> int:
        """Number of non-zero weights."""
        return int(np.count_nonzero(self.values))

    @property
    def density(self) -> float:
        """nnz / size, 0 for an empty tensor."""
        return self.nnz / self.size if self.size else 0.0
