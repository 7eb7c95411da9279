"""A server that takes its jobs in the order in which they come: the host core, the uplink."""

import simpy


class Server:
    """First come, first served, one at a time, of known lengths: the end of a job is known when it comes.

    Attributes
    ----------
    busy_cycles, waited_cycles : int
        Work done or promised, and the time that jobs spent before it.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.free_at = 0
        self.busy_cycles = self.waited_cycles = 0

    def book(self, cycles: int) -> tuple[int, int]:
        """Take the next place in the queue; returns (start, end) of the job."""
        start = max(int(self.env.now), self.free_at)
        self.waited_cycles += start - int(self.env.now)
        self.busy_cycles += cycles
        self.free_at = start + cycles
        return start, self.free_at
