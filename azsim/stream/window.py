"""A listening window: one recording and the quiet after it, with everything that was computed on it.

What is computed was decided before the stream starts: each network was executed on the window's frames and
replayed, the end-pointer's outputs say when it would decide, and the search left a lattice at those frames. The
stream only says when all that happens.
"""

from dataclasses import dataclass, field

import numpy as np

from azsim.stream.work import Work

Key = tuple[str, float, float | None]  # recording, seconds of quiet after it, given end of speech


@dataclass(frozen=True)
class Decision:
    """The end-pointer, once it has seen ``frame``, thinks (or, ``is_final``, is sure) that the person has finished."""

    frame: int
    is_final: bool


@dataclass(frozen=True)
class Message:
    """A lattice for the cloud: its bytes, its best words, and what the cloud makes of it."""

    n_bytes: int
    tokens: tuple[int, ...]
    text: str
    reranked: str


@dataclass(frozen=True)
class Window:
    """One utterance of a stream, ready to be timed.

    Attributes
    ----------
    number : int
    audio, said : str
    key : tuple
        Windows with the same key hold the same audio and work.
    length_cycles : int
        From its first sample to that of the next window, pause included.
    frame_end : int64[T]
        Last sample of each frame.
    works : dict of str to Work
    decisions : tuple of Decision
        In the order of frames, the final one last; frames are below T.
    messages : dict of int to Message
        By frame of a decision.
    speech_end_cycles : int
        End of the last word.
    audio_bytes, opus_bytes : int
        What a cloud recognizer would have been sent: 16-bit samples, and the same through an Opus encoder.
    tail_frames : int
        Frames at the end that hold only quiet; who listens always, listens to them in the pause.
    """

    number: int
    audio: str
    said: str
    key: Key
    length_cycles: int
    frame_end: np.ndarray
    works: dict[str, Work]
    decisions: tuple[Decision, ...] = ()
    messages: dict[int, Message] = field(default_factory=dict)
    speech_end_cycles: int = 0
    audio_bytes: int = 0
    opus_bytes: int = 0
    tail_frames: int = 1

    @property
    def final_frame(self) -> int:
        """Nobody listens to this utterance after it."""
        return self.decisions[-1].frame if self.decisions else len(self.frame_end) - 1


def decide(
    speculative: np.ndarray, final: np.ndarray, thresholds: dict[str, float], is_speculating: bool
) -> tuple[Decision, ...]:
    """When an end-pointer would decide.

    Parameters
    ----------
    speculative, final : float[T]
        Its two outputs per frame, in real units.
    thresholds : dict of str to float
        ``speculative`` and ``final``: it decides in the first frame above. The speculative one may decide again
        after it fell below, because the person went on.
    is_speculating : bool
        Whether the speculative decisions count.

    Returns
    -------
    tuple of Decision
        A final one always comes last, in the last frame if the end-pointer was never sure.
    """
    sure = np.flatnonzero(final > thresholds["final"])
    last = int(sure[0]) if len(sure) else len(final) - 1
    decisions = []
    if is_speculating:
        thinks = speculative[:last] > thresholds["speculative"]
        rises = np.flatnonzero(thinks & ~np.concatenate([[False], thinks[:-1]]))
        decisions = [Decision(int(frame), is_final=False) for frame in rises]
    return (*decisions, Decision(last, is_final=True))
