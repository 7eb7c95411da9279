"""Stage 6, what it costs: counts times coefficients, each with node, source and uncertainty."""

from azsim.energy.area import Area, Peak, area, peak
from azsim.energy.costs import Cost, operation, sram, standing
from azsim.energy.price import COMPONENTS, Band, Energy, Line, price

__all__ = [
    "COMPONENTS", "Area", "Band", "Cost", "Energy", "Line", "Peak", "area", "operation", "peak", "price", "sram",
    "standing",
]  # fmt: skip
