"""azsim: a hardware-software codesign simulator for neural edge processors that run speech.

    torch module or .pt2 --trace--> graph            graph/     what runs
    graph --quantize, encode--> DRAM image           weights/   what weights become
    audio + image --execute--> words, record         execute/   what the numbers are
    record + image + chip --schedule--> timeline     timing/    when it happens
    timeline --price--> energy                       energy/    what it costs
    space --sweep, search--> store                   sweep/     which of many is best
    everything --tabulate, plot--> report            report/    what is read

``azsim/simulate.py`` is that flow as one function.
"""

from typing import TYPE_CHECKING, Any

from azsim.chip import Chip, load_chip
from azsim.errors import AzsimError
from azsim.graph import Network, load_network, network_from_modules, trace
from azsim.simulate import Replay, Run, baselines, replay, simulate

if TYPE_CHECKING:
    from azsim.sweep import load_results

__all__ = [
    "AzsimError", "Chip", "Network", "Replay", "Run", "baselines", "load_chip", "load_network", "load_results",
    "network_from_modules", "replay", "simulate", "trace",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``azsim.load_results``, with pandas and Optuna only once it is asked for."""
    if name == "load_results":
        from azsim.sweep import load_results

        return load_results
    raise AttributeError(f"module 'azsim' has no attribute {name!r}")
