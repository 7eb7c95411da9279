"""What points share before anything has run: a network on a recording, or the networks of a scenario on its recordings.

A work says how a worker prepares it, and what the store keeps of it.
"""

from dataclasses import dataclass, field
from typing import Any

from azsim.graph import Network
from azsim.stream import Scenario
from azsim.sweep.stream import prepare_stream, prepare_stream_in_cache
from azsim.sweep.work import Shared, prepare, prepare_in_cache


@dataclass(frozen=True)
class Work:
    """A network, quantized and pruned, and a recording: what chips share."""

    key: str
    network: Network
    network_hash: str
    weight_bits: int
    weight_density: float | None
    audio: str
    audio_hash: str

    @property
    def name(self) -> str:
        """As the store calls the network."""
        return self.network.name

    def prepared(self) -> Shared:
        """Execute it here."""
        return prepare(self.network, self.audio, self.weight_bits, self.weight_density, self.key)

    def preparation(self, is_handed_over: bool) -> tuple[Any, ...]:
        """A function and its arguments, for a worker."""
        given = self.network, self.audio, self.weight_bits, self.weight_density, self.key
        return prepare_in_cache, *given, is_handed_over


@dataclass(frozen=True)
class StreamWork:
    """The networks of a scenario and its recordings: what chips and settings share."""

    key: str
    scenario: Scenario
    networks: dict[str, Network]
    network_hash: str
    audio: str
    audio_hash: str
    weight_density: None = field(default=None)

    @property
    def name(self) -> str:
        """Its networks, as the store calls them."""
        return " + ".join(network.name for network in self.networks.values())

    @property
    def weight_bits(self) -> int:
        """The most of any of its networks."""
        return max(network.weight_bits for network in self.networks.values())

    def prepared(self) -> Shared:
        """Execute it here."""
        return prepare_stream(self.scenario, self.networks, self.key)

    def preparation(self, is_handed_over: bool) -> tuple[Any, ...]:
        """A function and its arguments, for a worker."""
        return prepare_stream_in_cache, self.scenario, self.networks, self.key, is_handed_over


AnyWork = Work | StreamWork
