"""A word lattice: many transcripts of one utterance as one acyclic graph.

Nodes are points between words, 0 the start; an arc is a word with a natural log-probability and the frame that said
it. Words that two transcripts share stand once. Every node but the start is entered by an arc, and arcs lead to
higher nodes, so one pass over them in order is a dynamic program. A *path* goes from the start to a *final* node;
its log-probability is the sum over its arcs and the final's.

Source
------
Borrowed   oracle error of a lattice, n best paths, forward-backward pruning: Ljolje, Pereira and Riley, "Efficient
           general lattice generation and rescoring", 1999; distinct sequences in best-first order: Mohri and
           Riley, "An efficient algorithm for the n-best-strings problem", 2002.

Left out
--------
A lattice over word pieces counts and compares pieces: ``oracle`` is then their error, not the words'.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np

from azsim.errors import CodecError, ModelError
from azsim.graph.lattice_codec import pack, unpack

Transcript = tuple[tuple[int, ...], float]  # tokens, log-probability


@dataclass(frozen=True, eq=False)
class Lattice:
    """Arcs sorted by end node; nodes are numbered so that every arc leads to a higher one.

    Attributes
    ----------
    start, end : int32[arcs]
    word : int32[arcs]
        Index of the vocabulary.
    frame : int32[arcs]
        Frame that said the word, of the best alignment.
    log_prob : float64[arcs]
        Nats, at most 0.
    final : int32[finals]
        Nodes where a transcript may end, ascending; 0 alone where nothing was said.
    final_log_prob : float64[finals]
        Nats, at most 0: silence after the last word.
    """

    start: np.ndarray
    end: np.ndarray
    word: np.ndarray
    frame: np.ndarray
    log_prob: np.ndarray
    final: np.ndarray
    final_log_prob: np.ndarray

    def __post_init__(self) -> None:
        scores = np.concatenate([self.log_prob, self.final_log_prob])
        laws = {
            "as many words, frames and log-probabilities as arcs": len(self.start) == len(self.end) == len(self.word)
            == len(self.frame) == len(self.log_prob) and len(self.final) == len(self.final_log_prob),
            "arcs sorted by end node, and every node but 0 entered": set(np.diff(self.end, prepend=0)) <= {0, 1}
            and not np.any(self.end == 0),
            "0 <= start < end": bool(np.all((self.start >= 0) & (self.start < self.end))),
            "one or more final nodes, ascending": len(self.final) > 0 and bool(np.all(np.diff(self.final) > 0)),
            f"final nodes from 0 to {self.nodes - 1}": all(0 <= n < self.nodes for n in self.final),
            "words and frames not negative": bool(np.all(self.word >= 0) and np.all(self.frame >= 0)),
            "finite log-probabilities of at most 0": bool(np.all(np.isfinite(scores)) and np.all(scores <= 0)),
        }  # fmt: skip
        for law, holds in laws.items():
            if not holds:
                raise ModelError(f"lattice of {len(self.end)} arcs: needs {law}; build it with Lattice.of")

    @classmethod
    def of(cls, arcs: Iterable[tuple[int, int, int, int, float]], finals: Mapping[int, float]) -> "Lattice":
        """From (start, end, word, frame, log_prob) in any order, and final nodes with their log-probabilities.

        Nodes 0 to n - 1 are already in topological order.
        """
        rows = sorted(arcs, key=lambda arc: (arc[1], -arc[4], arc[0], arc[2]))
        columns = list(zip(*rows, strict=True)) or [()] * 5
        start, end, word, frame = (np.array(column, np.int32) for column in columns[:4])
        last, silence = np.array(sorted(finals), np.int32), np.array([finals[n] for n in sorted(finals)], np.float64)
        return cls(start, end, word, frame, np.array(columns[4], np.float64), last, silence)

    @property
    def nodes(self) -> int:
        """Number of nodes, the start included."""
        return 1 + int(self.end[-1]) if len(self.end) else 1

    @cached_property
    def forward(self) -> np.ndarray:
        """Log-probability of the best path from the start to each node, float64[nodes]."""
        best = np.full(self.nodes, -np.inf)
        best[0] = 0.0
        for a, b, log_prob in zip(self.start, self.end, self.log_prob, strict=True):
            best[b] = max(best[b], best[a] + log_prob)
        return best

    @cached_property
    def backward(self) -> np.ndarray:
        """Log-probability of the best way from each node to an end, float64[nodes]; -inf where there is none."""
        best = np.full(self.nodes, -np.inf)
        best[self.final] = self.final_log_prob
        for a, b, log_prob in zip(self.start[::-1], self.end[::-1], self.log_prob[::-1], strict=True):
            best[a] = max(best[a], best[b] + log_prob)
        return best

    @property
    def n_paths(self) -> int:
        """Paths from the start to a final node; several may say the same words."""
        paths = [1] + [0] * (self.nodes - 1)
        for a, b in zip(self.start.tolist(), self.end.tolist(), strict=True):
            paths[b] += paths[a]
        return sum(paths[n] for n in self.final)

    def best(self, n: int = 1) -> list[Transcript]:
        """The n best distinct token sequences, best first, each with the log-probability of its best path.

        Best-first search over beginnings of transcripts, each with its log-probability at every node that it leads
        to; what is still to come is known exactly from ``backward``, so no beginning is looked at in vain.
        """
        leaving, pushes = self._leaving(), count()
        final = dict(zip(self.final.tolist(), self.final_log_prob.tolist(), strict=True))
        heap: list[tuple[float, int, tuple[int, ...], dict[int, float]]] = []  # no nodes: a whole transcript
        found: list[Transcript] = []

        def push(log_prob: float, tokens: tuple[int, ...], at: dict[int, float]) -> None:
            if log_prob > -np.inf:
                heapq.heappush(heap, (-log_prob, next(pushes), tokens, at))

        push(float(self.backward[0]), (), {0: 0.0})
        while heap and len(found) < n:
            negative, _, tokens, at = heapq.heappop(heap)
            if not at:
                found.append((tokens, -negative))
                continue
            push(max((at[i] + final[i] for i in at if i in final), default=-np.inf), tokens, {})
            for word, ends in self._continue(at, leaving).items():
                push(max(so_far + float(self.backward[i]) for i, so_far in ends.items()), (*tokens, word), ends)
        return found

    def oracle(self, reference: Sequence[int]) -> int:
        """Fewest word errors of any path: substitutions, insertions and deletions against ``reference``.

        ``distance[n, j]`` is the fewest errors of a way from the start to node n against the first j words. Words
        are compared as tokens; give a number outside the vocabulary for a word that it lacks.
        """
        words = np.asarray(reference, np.int64)
        distance = np.full((self.nodes, len(words) + 1), len(words) + self.nodes, np.int64)
        distance[0] = np.arange(len(words) + 1)
        column = np.arange(len(words) + 1)
        for a, b, word in zip(self.start, self.end, self.word, strict=True):
            new = distance[a] + 1  # the arc's word is one too many
            new[1:] = np.minimum(new[1:], distance[a, :-1] + (words != word))
            new = np.minimum.accumulate(new - column) + column  # words of the reference that are missing
            distance[b] = np.minimum(distance[b], new)
        return int(distance[self.final, -1].min())

    def pruned(self, nats: float) -> "Lattice":
        """Without the arcs and finals whose best path lies more than ``nats`` below the best one."""
        floor = float(self.backward[0]) - nats - 1e-9  # what rounding makes of equal sums
        through = self.forward[self.start] + self.log_prob + self.backward[self.end]
        ends = self.forward[self.final] + self.final_log_prob >= floor
        reached, leads = np.zeros(self.nodes, bool), np.zeros(self.nodes, bool)
        reached[0], leads[self.final[ends]] = True, True
        kept = through >= floor
        for i in np.flatnonzero(kept):
            kept[i] = reached[self.start[i]]
            reached[self.end[i]] |= kept[i]
        for i in np.flatnonzero(kept)[::-1]:
            kept[i] = leads[self.end[i]]
            leads[self.start[i]] |= kept[i]
        alive = np.zeros(self.nodes, bool)
        alive[0], alive[self.end[kept]] = True, True
        number = (np.cumsum(alive) - 1).astype(np.int32)
        ends &= alive[self.final]
        arcs = (number[self.start[kept]], number[self.end[kept]], self.word[kept], self.frame[kept])
        return Lattice(*arcs, self.log_prob[kept], number[self.final[ends]], self.final_log_prob[ends])

    def to_bytes(self) -> bytes:
        """Packed for sending; what that is, and how exact, says ``azsim.graph.lattice_codec``."""
        return pack(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Lattice":
        """What ``to_bytes`` packed; raises CodecError where the bytes are corrupt."""
        arcs, finals = unpack(data)
        try:
            return cls.of(arcs, finals)
        except (ModelError, OverflowError) as error:
            raise CodecError(f"lattice of {len(data):,} B: unpacks, but not to a lattice: {error}") from error

    def _leaving(self) -> list[list[tuple[int, int, float]]]:
        """(word, end, log_prob) of the arcs that leave each node."""
        leaving: list[list[tuple[int, int, float]]] = [[] for _ in range(self.nodes)]
        for a, b, word, log_prob in zip(
            *(x.tolist() for x in (self.start, self.end, self.word, self.log_prob)), strict=True
        ):
            leaving[a].append((word, b, log_prob))
        return leaving

    @staticmethod
    def _continue(at: Mapping[int, float], leaving: list) -> dict[int, dict[int, float]]:
        """Next word -> node -> log-probability of the best way there, from all nodes that a beginning leads to."""
        words: dict[int, dict[int, float]] = {}
        for node, so_far in at.items():
            for word, end, log_prob in leaving[node]:
                ends = words.setdefault(word, {})
                ends[end] = max(ends.get(end, -np.inf), so_far + log_prob)
        return words
