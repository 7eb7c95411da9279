"""Stage 4, when it happens: cycles of loads, tiles and ops on one chip."""

from azsim.timing.counts import Counts
from azsim.timing.ideal import IDEAL_PARTS
from azsim.timing.mac_array import column_broadcast_cycles
from azsim.timing.pins import pinned_tensors
from azsim.timing.schedule import schedule
from azsim.timing.timeline import Account, OpAccount, Timeline

__all__ = [
    "IDEAL_PARTS", "Account", "Counts", "OpAccount", "Timeline", "column_broadcast_cycles",
    "pinned_tensors", "schedule",
]  # fmt: skip
