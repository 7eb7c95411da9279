"""Published machines, reproduced from first principles, and bands beside machines that are not ours."""

from azsim.validate.eie import Layer, eie_power_rows, eie_rows, eie_scaling
from azsim.validate.ese import ese_rows
from azsim.validate.row import Row
from azsim.validate.suite import MACHINES, read_layers, summary, validate

__all__ = [
    "MACHINES", "Layer", "Row", "eie_power_rows", "eie_rows", "eie_scaling", "ese_rows", "read_layers", "summary",
    "validate",
]  # fmt: skip
