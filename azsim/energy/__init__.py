"""Stage 6, what it costs: counts times coefficients, each with node, source and uncertainty."""

from azsim.energy.costs import Cost, operation, sram, standing
from azsim.energy.price import COMPONENTS, Band, Energy, Line, price

__all__ = ["COMPONENTS", "Band", "Cost", "Energy", "Line", "operation", "price", "sram", "standing"]
