"""The networks that share the chip: loaded, quantized, encoded, and each with its part of the weight SRAM.

Weight SRAM is shared out once, on the first recording: tile slots for everybody, then networks whose weights must
be pinned, then the others by priority, each with what the chip's pinning rule finds room for.
"""

from dataclasses import dataclass

from azsim.chip import Chip
from azsim.errors import CapacityError, ScenarioError
from azsim.execute import ActivityRecord, FeatureConfig
from azsim.graph import Network, load_network
from azsim.stream.scenario import Scenario, SharedNetwork
from azsim.timing import schedule
from azsim.weights import DramImage, QuantizedNetwork, calibrate, encode, quantize


@dataclass
class Guest:
    """A network of the scenario, quantized, encoded, and with its share of the weight SRAM."""

    name: str
    config: SharedNetwork
    network: Network
    quantized: QuantizedNetwork
    image: DramImage
    chip: Chip  # the scenario's, its weight SRAM cut to the tile slots and this network's pins
    features: FeatureConfig
    pinned: tuple[str, ...] = ()

    @property
    def pinned_bytes(self) -> int:
        """Weight SRAM that its pinned tensors take."""
        return sum(self.image.tensors[name].sram_bytes for name in self.pinned)


def load_guests(scenario: Scenario, chip: Chip) -> dict[str, Guest]:
    """Load, quantize and encode every network of a scenario.

    Raises
    ------
    ScenarioError
        If roles and networks do not go together, or networks do not agree on frames.
    """
    guests = {}
    for name, config in scenario.networks.items():
        network = load_network(config.model)
        _check_role(name, config, network)
        if network.calibration is None:
            raise ScenarioError(
                f"networks.{name}: {network.name} ships no calibration features, which a stream needs to quantize it "
                f"once for all recordings; add a calibration.npz to its folder"
            )
        quantized = quantize(network, calibrate(network, network.calibration), network.weight_bits)
        image = encode(quantized.tensors.values(), quantized.tables, chip)
        guests[name] = Guest(name, config, network, quantized, image, chip, FeatureConfig(**network.features))
    _check_frames(guests)
    return guests


def _check_role(name: str, config: SharedNetwork, network: Network) -> None:
    if config.role == "recognizer" and not network.is_transducer:
        raise ScenarioError(
            f"networks.{name}: a recognizer is an RNN-T with encoder, prediction and joint graphs, but {network.name} "
            f"has {', '.join(network.graphs)}; give it another role"
        )
    missing = {"speculative", "final"} - set(network.thresholds)
    if config.role == "endpointer" and missing:
        raise ScenarioError(
            f"networks.{name}: an endpointer needs the thresholds speculative and final in its network.json, but "
            f"{network.name} lacks {' and '.join(sorted(missing))}"
        )


def _check_frames(guests: dict[str, Guest]) -> None:
    heard = [g for g in guests.values() if g.config.arrivals == "frames"]
    for guest in heard[1:]:
        ours, first = guest.features, heard[0].features
        if (ours.frame_ms, ours.shortest_samples) != (first.frame_ms, first.shortest_samples):
            raise ScenarioError(
                f"networks.{guest.name} reads frames of {ours.frame_ms:g} ms and networks.{heard[0].name} of "
                f"{first.frame_ms:g} ms: networks that listen to the microphone must agree; give one arrivals: periodic"
            )


def share_out(guests: dict[str, Guest], chip: Chip, records: dict[str, ActivityRecord]) -> None:
    """Give every network its pins; each is replayed on a chip with the room that is left.

    Raises
    ------
    ScenarioError
        If pinned weights, or the states of all networks, do not fit.
    """
    room = chip.weight_sram.pin_bytes
    slots = chip.weight_sram.bytes - room
    order = sorted(guests.values(), key=lambda g: (g.config.weights != "pinned", g.config.priority))
    for guest in order:
        pin = {"pinned": ("*",), "streamed": "none"}.get(guest.config.weights, chip.weight_sram.pin)
        sram = chip.weight_sram.replace(bytes=slots + room, pin=pin)
        guest.chip = chip.replace(weight_sram=sram)
        try:
            pinned = schedule(records[guest.name].frames(0, 1), guest.image, guest.chip, 1.0, 1.0).pinned
        except CapacityError as error:
            raise ScenarioError(
                f"networks.{guest.name}: does not fit next to what the others have pinned ({error}); set its "
                f"weights to auto or streamed, or raise chip.weight_sram.bytes"
            ) from error
        guest.pinned = tuple(sorted(pinned))
        sram = sram.replace(pin=guest.pinned or "none")
        guest.chip = guest.chip.replace(weight_sram=sram)
        room -= guest.pinned_bytes
    state = sum(record.state_bytes for record in records.values())
    widest = max(record.activation_bytes - record.state_bytes for record in records.values())
    if state + widest > chip.activation_sram_bytes:
        raise ScenarioError(
            f"`activation_sram_bytes >= {state + widest:,}` must hold: the recurrent states of "
            f"{', '.join(records)} take {state:,} B and the widest op {widest:,} B, but {chip.name} has "
            f"{chip.activation_sram_bytes:,} B; leave a network out or raise chip.activation_sram_bytes"
        )
