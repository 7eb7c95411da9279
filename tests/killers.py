"""What workers are made to do in tests: this file is imported by their processes."""

import os
import signal
from pathlib import Path

from azsim.sweep import work

FATAL_PES = 13


def measure(prepared, chips, *rest):
    """Kill this process at a chip with 13 PEs, and once where the file ``KILL_ONCE`` is still there."""
    once = Path(os.environ.get("KILL_ONCE", "/nowhere"))
    if any(chip.mac_array.pes == FATAL_PES for _, chip in chips):
        os.kill(os.getpid(), signal.SIGKILL)
    if once.exists():
        once.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return work.measure(prepared, chips, *rest)
