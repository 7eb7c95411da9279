"""Many chips: a space of points, swept or searched by workers into a store that loses nothing, read as a table."""

from azsim.sweep.results import export, hypervolume, load_failures, load_results, pareto, varied
from azsim.sweep.search import SearchWatcher, search
from azsim.sweep.space import Axis, Point, Space, load_space
from azsim.sweep.store import Store
from azsim.sweep.sweep import Watcher, sweep

__all__ = [
    "Axis", "Point", "SearchWatcher", "Space", "Store", "Watcher", "export", "hypervolume", "load_failures",
    "load_results", "load_space", "pareto", "search", "sweep", "varied",
]  # fmt: skip
