"""The way to the answer: what is sent when the end-pointers decide, and what is sent again.

When the speculative end-pointer fires, the lattice of that moment goes to the cloud. When the final one agrees and
the lattice's best words are still the same, the answer waits for nothing more than what is already under way. If the
words have changed, the start was *revoked*: the lattice is sent again, and the work downstream starts anew. A
speculative end-pointer may fire, be wrong, and fire again.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from azsim.chip import Chip
from azsim.stream.actors import Utterance
from azsim.stream.books import Answer
from azsim.stream.outcome import Stream
from azsim.stream.scenario import Scenario
from azsim.stream.window import Decision, Message

Events = Generator[simpy.Event, Any, None]


@dataclass
class Conversation:
    """One utterance on its way to an answer.

    Attributes
    ----------
    sent : Message or None
        The newest lattice in the cloud.
    asked : Process or None
        The answer to it, under way.
    speculative, final : int
        Cycle of the newest speculative start, and of the final decision; -1 before.
    """

    env: simpy.Environment
    scenario: Scenario
    chip: Chip
    stream: Stream
    utterance: Utterance
    sent: Message | None = None
    asked: simpy.Process | None = None
    speculative: int = -1
    final: int = -1
    revoked: int = 0
    sent_bytes: int = 0
    revoked_bytes: int = 0

    def run(self) -> Events:
        """Wait for each decision, and for the recognizer to have heard what it decides about; then send or not."""
        utterance = self.utterance
        for decision in utterance.window.decisions:
            decided = yield utterance.decided[decision.frame]
            yield utterance.recognized[decision.frame]
            self._act(decision, int(decided))
        assert self.asked is not None
        yield self.asked
        self._answer()

    def _act(self, decision: Decision, decided: int) -> None:
        message = self.utterance.window.messages[decision.frame]
        lane = "final end-pointer" if decision.is_final else "speculative end-pointer"
        self.stream.log.interval(lane, message.text or "(nothing)", decided, decided + 1)
        if decision.is_final:
            self.final = decided
        if self.sent is not None and self.sent.tokens == message.tokens:
            return
        if self.sent is not None:
            self.revoked += 1
            self.revoked_bytes += self.sent.n_bytes
        if not decision.is_final:
            self.speculative = decided
        self.sent = message
        self.sent_bytes += message.n_bytes
        self.asked = self.env.process(self._ask(message))

    def _ask(self, message: Message) -> Events:
        """Uplink, half a round trip, the cloud, half a round trip back."""
        uplink, log, cycles = self.scenario.uplink, self.stream.log, self.chip.cycles
        start, end = self.stream.uplink.book(cycles(message.n_bytes / uplink.bytes_per_s))
        log.interval("uplink", f"{message.n_bytes} B", start, end)
        half = cycles(uplink.round_trip_ms * 0.5e-3)
        yield self.env.timeout(end - int(self.env.now) + half)
        begun = int(self.env.now)
        yield self.env.timeout(cycles(self.scenario.cloud.rerank_ms * 1e-3))
        log.interval("cloud", message.reranked or "(nothing)", begun, int(self.env.now))
        yield self.env.timeout(half)

    def _answer(self) -> None:
        assert self.sent is not None
        window, stream, now = self.utterance.window, self.stream, int(self.env.now)
        stream.revoked += self.revoked
        stream.sent_bytes += self.sent_bytes
        stream.revoked_bytes += self.revoked_bytes
        stream.log.interval("answer", self.sent.reranked or "(nothing)", now, now + 1)
        s = 1 / self.chip.clock_hz
        stream.answers.append(
            Answer(
                utterance=window.number,
                audio=window.audio,
                said=window.said,
                best=self.sent.text,
                recognized=self.sent.reranked,
                speech_end_s=(self.utterance.start + window.speech_end_cycles) * s,
                speculative_s=self.speculative * s if self.speculative >= 0 else float("nan"),
                final_s=self.final * s,
                answer_s=now * s,
                revoked=self.revoked,
                is_cut_off=int(window.frame_end[window.final_frame]) < window.speech_end_cycles,
                sent_bytes=self.sent_bytes,
                revoked_bytes=self.revoked_bytes,
                audio_bytes=window.audio_bytes,
                opus_bytes=window.opus_bytes,
            )
        )
