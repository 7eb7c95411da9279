"""Many chips: a space of points, run by workers into a store that loses nothing, read back as one table."""

from azsim.sweep.results import export, load_failures, load_results, pareto, varied
from azsim.sweep.space import Axis, Point, Space, load_space
from azsim.sweep.store import Store
from azsim.sweep.sweep import Watcher, sweep

__all__ = [
    "Axis", "Point", "Space", "Store", "Watcher", "export", "load_failures", "load_results", "load_space", "pareto",
    "sweep", "varied",
]  # fmt: skip
