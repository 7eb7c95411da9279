"""RNN-T beam search: several hypotheses side by side, and a lattice of what they said.

The search is synchronous by frame, and within a frame by *level*. On a frame every hypothesis is active; a
level asks the joint network once per active hypothesis. Each then either takes blank, which finishes it for
this frame, or is extended by a word. All of them, finished or extended, compete for ``width`` places; those
extended go on to the next level, after the prediction network has stepped for them, and only for them. The
frame ends when none is active or after ``max_symbols_per_frame`` levels, as in greedy search. A beam of
one *is* greedy search: the same words on the same frames by the same invocations in the same order.

Two hypotheses that end in the same ``merge_words`` words at the same point of a frame will be continued in
much the same way. They *merge*: the better one's network state lives on, and the other one's words become
another way into the same node of the lattice, so that one hypothesis of the beam stands for many paths::

    before     start -nine-> 1 -five-> 2 -one-> 3          merged     start -nine-> 1 -five-> 2 -one-.
               start -wine-> 4 -five-> 5 -one-> 6                     start -wine-> 4 -five-> 5 -one-> 7

The probability of a merged hypothesis is that of its best path (Viterbi: the maximum, not the sum). So
log-probabilities of a lattice's arcs add up along a path, the best path is the hypothesis that the search ranks
first, and of two alignments of the same words only the better one counts, as in greedy search. Scores are natural
logarithms, by log-softmax in float64 of the joint network's logits after the blank's penalty: the host core's
work, like the search itself.

Equal scores rank as ``np.argmax`` ranks: the smaller index first, and of two hypotheses the one ahead so far.

Source
------
Borrowed   path merging, and keeping merged paths in the lattice: Prabhavalkar et al., "Less is more: improved
           RNN-T decoding using limited label context and path merging", ICASSP 2021; there for a context of
           four word pieces. Frame-synchronous expansion with blank ending a frame: Graves, "Sequence
           transduction with recurrent neural networks", 2012.
Assumed    two words of context; pruning of finished and extended hypotheses against each other, though a
           finished one has already paid for this frame's blank.

Left out
--------
Adding up the probabilities of alignments of the same words. Length normalization.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import Field

from azsim.chip.config import Config
from azsim.graph.lattice import Lattice
from azsim.graph.network import Network
from azsim.graph.search import Hypothesis, Stepper

SAME = 1e-9  # nats; log-probabilities that differ by less came from the same sum in another order


class Beam(Config):
    """How wide to search, and what the lattice keeps."""

    width: int = Field(4, ge=1, description="hypotheses that survive a level; 1 is greedy search")
    candidates: int = Field(8, ge=1, description="best words of a hypothesis that compete, besides blank")
    prune_nats: float = Field(
        12.0, ge=0, description="hypotheses this far below the best are dropped; a lattice is pruned by its user"
    )
    merge_words: int | None = Field(
        2, ge=1, description="hypotheses that end in so many equal words merge; None: in all"
    )
    arcs_per_node: int = Field(8, ge=1, description="ways into a lattice node that survive merging, best first")


@dataclass(frozen=True)
class BeamResult:
    """What a beam search found.

    Attributes
    ----------
    hypothesis : Hypothesis
        The best one after the last frame.
    lattices : dict of int to Lattice
        Frame to the lattice of the speech up to and including it; always with the last frame.
    """

    hypothesis: Hypothesis
    lattices: dict[int, Lattice]


@dataclass(frozen=True, eq=False)
class _Way:
    """A word that leads from one node to another; ``log_prob`` is that of the best path up to and with the word."""

    start: "_Node"
    word: int
    frame: int
    log_prob: float


@dataclass(frozen=True, eq=False)
class _Node:
    """A point between words. Nodes whose ways come from equal histories by equal words have equal ``history``."""

    history: int
    log_prob: float  # on entering, of the best way
    ways: tuple[_Way, ...] = ()


@dataclass(frozen=True, eq=False)
class _Alive:
    """A hypothesis of the beam: a node of the lattice, and what time has cost it since the node was entered."""

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    node: _Node
    log_prob: float
    is_extended: bool  # by a word that the prediction network has not seen yet
    predicted: np.ndarray
    kept: Any

    @property
    def waited(self) -> float:
        """Log-probability of the blanks since its node was entered."""
        return self.log_prob - self.node.log_prob


def beam_search(
    network: Network,
    frames: Iterable[np.ndarray],
    step: Stepper,
    blank_penalty: float,
    beam: Beam,
    snapshots: Sequence[int] = (),
    nats_per_logit: float = 1.0,
) -> BeamResult:
    """Run a transducer over an utterance with several hypotheses.

    Parameters
    ----------
    network : Network
        With encoder, prediction and joint graphs.
    frames : iterable of array[I]
        Encoder inputs, in whatever format ``step`` takes; at least one.
    step : Stepper
    blank_penalty : float
        Subtracted from the blank's logit, in the unit of the logits that ``step`` returns.
    beam : Beam
    snapshots : sequence of int
        Frames after which a lattice is wanted, besides the last one.
    nats_per_logit : float
        Scale of the logits that ``step`` returns.
    """
    search = _Search(network, step, blank_penalty, beam, nats_per_logit)
    lattices: dict[int, Lattice] = {}
    t = -1
    for t, frame in enumerate(frames):
        search.advance(frame, t)
        if t in snapshots:
            lattices[t] = search.lattice()
    if t not in lattices:
        lattices[t] = search.lattice()
    best = search.alive[0]
    return BeamResult(Hypothesis(best.tokens, best.frames), lattices)


@dataclass
class _Search:
    """The beam of one utterance."""

    network: Network
    step: Stepper
    blank_penalty: float
    beam: Beam
    nats_per_logit: float
    histories: dict[frozenset, int] = field(default_factory=dict)
    alive: list[_Alive] = field(default_factory=list)

    def __post_init__(self) -> None:
        start = _Node(self._history(()), 0.0)
        predicted = self.step("prediction", (np.array([self.network.blank]),), 0)
        self.alive = [_Alive((), (), start, 0.0, False, predicted, self.step.keep("prediction"))]

    def advance(self, frame: np.ndarray, t: int) -> None:
        """One frame: levels of joint network, pruning and prediction network until no hypothesis is active."""
        encoded = self.step("encoder", (frame,), t)
        active, finished = self.alive, list[_Alive]()
        for level in range(self.network.max_symbols_per_frame):
            candidates = finished + [c for hypothesis in active for c in self._expand(hypothesis, encoded, t)]
            self.step.decide()
            is_last = level + 1 == self.network.max_symbols_per_frame
            survivors = self._prune(self._merge(candidates, is_last))
            self.alive = [self._predict(s, t) if s.is_extended else s for s in survivors]
            active = [new for new, old in zip(self.alive, survivors, strict=True) if old.is_extended]
            finished = [old for old in survivors if not old.is_extended]
            if not active:
                break

    def _expand(self, hypothesis: _Alive, encoded: np.ndarray, t: int) -> list[_Alive]:
        """What can become of a hypothesis at one level, best first."""
        blank = self.network.blank
        self.step.restore("prediction", hypothesis.kept)
        logits = self.step("joint", (encoded, hypothesis.predicted), t).astype(np.float64)
        logits[blank] -= self.blank_penalty
        log_probs = hypothesis.log_prob + log_softmax(logits * self.nats_per_logit)
        order = np.argsort(-logits, kind="stable")  # np.argmax is its first
        is_word = order != blank
        chosen = order[~is_word | (np.cumsum(is_word) <= self.beam.candidates)]
        return [
            replace(hypothesis, log_prob=float(log_probs[blank]))
            if token == blank
            else self._extend(hypothesis, token, float(log_probs[token]), t)
            for token in chosen.tolist()
        ]

    def _extend(self, hypothesis: _Alive, token: int, log_prob: float, t: int) -> _Alive:
        node = self._node([_Way(hypothesis.node, token, t, log_prob)])
        tokens, frames = (*hypothesis.tokens, token), (*hypothesis.frames, t)
        return replace(hypothesis, tokens=tokens, frames=frames, node=node, log_prob=log_prob, is_extended=True)

    def _predict(self, hypothesis: _Alive, t: int) -> _Alive:
        self.step.restore("prediction", hypothesis.kept)
        predicted = self.step("prediction", (np.array([hypothesis.tokens[-1]]),), t)
        return replace(hypothesis, is_extended=False, predicted=predicted, kept=self.step.keep("prediction"))

    def _prune(self, ranked: list[_Alive]) -> list[_Alive]:
        floor = ranked[0].log_prob - self.beam.prune_nats
        return [c for c in ranked[: self.beam.width] if c.log_prob >= floor]

    def _merge(self, candidates: list[_Alive], is_last: bool) -> list[_Alive]:
        """Candidates best first, those that agree as one.

        A finished and an extended one stand at different points of the frame, except after its last level.
        """
        groups: dict[tuple, list[_Alive]] = {}
        for c in sorted(candidates, key=lambda c: -c.log_prob):
            context = c.tokens[-(self.beam.merge_words or 0) :]
            groups.setdefault((c.is_extended and not is_last, context), []).append(c)
        return [self._join(group) if len(group) > 1 else group[0] for group in groups.values()]

    def _join(self, group: list[_Alive]) -> _Alive:
        """The best of a group, with the ways of all of them into its node; a new node where that adds any."""
        best, adds = group[0], False
        ways: dict[tuple[int, int], _Way] = {}
        for member in group:
            for way in member.node.ways:
                now = replace(way, log_prob=way.log_prob + member.waited)
                key = (way.start.history, way.word)
                if key not in ways or now.log_prob > ways[key].log_prob + SAME:
                    ways[key] = now
                    adds |= member is not best
        return replace(best, node=self._node(list(ways.values()))) if adds else best

    def _node(self, ways: list[_Way]) -> _Node:
        kept = tuple(sorted(ways, key=lambda way: -way.log_prob)[: self.beam.arcs_per_node])
        return _Node(self._history(kept), kept[0].log_prob, kept)

    def _history(self, ways: Sequence[_Way]) -> int:
        """Number of a set of ways; new ones count up, so that a node's number exceeds those of all nodes before it."""
        best = max((way.log_prob for way in ways), default=0.0)
        key = frozenset((way.start.history, way.word, round(best - way.log_prob, 6)) for way in ways)
        return self.histories.setdefault(key, len(self.histories))

    def lattice(self) -> Lattice:
        """All paths to the hypotheses that are alive; nodes of equal history become one."""
        members: dict[int, list[_Node]] = {}
        todo = [a.node for a in self.alive]
        seen = {id(node) for node in todo}
        while todo:
            node = todo.pop()
            members.setdefault(node.history, []).append(node)
            new = [way.start for way in node.ways if id(way.start) not in seen]
            todo += {id(n): n for n in new}.values()
            seen |= {id(n) for n in new}
        number = {history: n for n, history in enumerate(sorted(members))}
        entered = {history: max(node.log_prob for node in nodes) for history, nodes in members.items()}
        arcs: dict[tuple[int, int, int], _Way] = {}
        for history, nodes in members.items():
            for way in (way for node in nodes for way in node.ways):
                key = (number[way.start.history], number[history], way.word)
                if key not in arcs or way.log_prob > arcs[key].log_prob:
                    arcs[key] = way

        def since(log_prob: float, history: int) -> float:
            return min(0.0, log_prob - entered[history])  # sums in another order may come out 1e-16 above 0

        rows = [(a, b, w, way.frame, since(way.log_prob, way.start.history)) for (a, b, w), way in arcs.items()]
        ends = {number[a.node.history]: since(a.log_prob, a.node.history) for a in reversed(self.alive)}
        return Lattice.of(rows, ends)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural logarithms of probabilities, float64[n]."""
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
