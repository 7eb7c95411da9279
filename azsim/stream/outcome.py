"""What a simulated stream found out, and the laws it must obey."""

from collections import Counter
from dataclasses import dataclass, field

import jiwer
import numpy as np

from azsim.errors import LawError
from azsim.stream.books import Answer, Log, NetworkBook
from azsim.stream.server import Server
from azsim.stream.shared_chip import SharedChip
from azsim.stream.traffic import Background
from azsim.stream.window import Key


@dataclass
class Stream:
    """What a simulation found out; cycles of the chip throughout.

    Attributes
    ----------
    books : dict of str to NetworkBook
    answers : list of Answer
    frames_run : Counter of (window key, network, frame)
        How often each frame was computed, to price it.
    revoked : int
        Starts downstream that had to be done again.
    """

    total_cycles: int
    chip: SharedChip
    host: Server
    uplink: Server
    background: Background
    books: dict[str, NetworkBook]
    log: Log
    answers: list[Answer] = field(default_factory=list)
    frames_run: Counter[tuple[Key, str, int]] = field(default_factory=Counter)
    revoked: int = 0
    search_cycles: int = 0
    feature_frames: int = 0
    sent_bytes: int = 0
    revoked_bytes: int = 0

    @property
    def overloaded(self) -> list[str]:
        """Networks that fall behind."""
        return [name for name, book in self.books.items() if falls_behind(book)]


FALLS_BEHIND_FRAMES = 5
FALLS_BEHIND_JOBS, FALLS_BEHIND_SHARE = 50, 0.05


def falls_behind(book: NetworkBook) -> bool:
    """Whether the backlog grows: five frames and more at the end of at least half of the utterances.

    A network whose jobs do not come from the microphone falls behind where 50 of them and a twentieth of all waited.
    """
    if book.backlog_at_end:
        return float(np.median(book.backlog_at_end)) >= FALLS_BEHIND_FRAMES
    return book.largest_backlog >= max(FALLS_BEHIND_JOBS, FALLS_BEHIND_SHARE * book.frames_in)


def word_errors(said: list[str], recognized: list[str]) -> tuple[int, int]:
    """(substitutions, deletions and insertions; words said), over utterances whose words are known."""
    pairs = [(a, b) for a, b in zip(said, recognized, strict=True) if a]
    if not pairs:
        return 0, 0
    found = jiwer.process_words([a for a, _ in pairs], [b for _, b in pairs])
    return found.substitutions + found.deletions + found.insertions, sum(len(a.split()) for a, _ in pairs)


def check_conservation(stream: Stream) -> None:
    """Little's law and the power states; a LawError is a defect of azsim."""
    for name, book in stream.books.items():
        if not book.backlog and book.backlog_cycles != book.sojourn_cycles:
            raise LawError(
                f"Little's law must hold, but {name} has {book.backlog_cycles:,} frame-cycles of backlog and "
                f"{book.sojourn_cycles:,} of sojourn: a defect of azsim, please report it"
            )
    states = sum(stream.chip.state_cycles.values())
    if stream.chip.running is None and states != stream.total_cycles:
        raise LawError(
            f"`run + gated + retention = total` must hold, but {states:,} is not {stream.total_cycles:,} cycles: a "
            f"defect of azsim, please report it"
        )
