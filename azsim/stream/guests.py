"""The networks that share the chip: loaded, quantized, encoded, and each with its part of the weight SRAM.

Weight SRAM is shared out once, on the first recording: tile slots for everybody, then networks whose weights must
be pinned, then the others by priority, each with what the chip's pinning rule finds room for.
"""

from collections.abc import Callable, Mapping
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


def load_quantized(scenario: Scenario, networks: Mapping[str, Network] | None = None) -> dict[str, QuantizedNetwork]:
    """Load and quantize every network of a scenario; no chip has a part in it.

    Parameters
    ----------
    scenario : Scenario
    networks : mapping, optional
        Networks that are loaded already, by their name in the scenario.

    Raises
    ------
    ScenarioError
        If roles and networks do not go together, or networks do not agree on frames.
    """
    quantized = {}
    for name, config in scenario.networks.items():
        network = (networks or {}).get(name) or load_network(config.model)
        _check_role(name, config, network)
        if network.calibration is None:
            raise ScenarioError(
                f"networks.{name}: {network.name} ships no calibration features, which a stream needs to quantize it "
                f"once for all recordings; add a calibration.npz to its folder"
            )
        quantized[name] = quantize(network, calibrate(network, network.calibration), network.weight_bits)
    _check_frames(scenario, quantized)
    return quantized


def encode_for(name: str, quantized: QuantizedNetwork, chip: Chip) -> DramImage:
    """The weight image of a network of a scenario."""
    return encode(quantized.tensors.values(), quantized.tables, chip)


def place(
    scenario: Scenario,
    chip: Chip,
    quantized: Mapping[str, QuantizedNetwork],
    image_for: Callable[[str, QuantizedNetwork, Chip], DramImage] = encode_for,
) -> dict[str, Guest]:
    """Networks as guests on a chip, pins not yet shared out."""
    return {
        name: Guest(name, scenario.networks[name], one.network, one, image_for(name, one, chip), chip,
                    FeatureConfig(**one.network.features))
        for name, one in quantized.items()
    }  # fmt: skip


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


def _heard(scenario: Scenario, quantized: Mapping[str, QuantizedNetwork]) -> dict[str, FeatureConfig]:
    """Front ends of the networks that listen to the microphone."""
    return {
        name: FeatureConfig(**one.network.features)
        for name, one in quantized.items()
        if scenario.networks[name].arrivals == "frames"
    }


def front_end(scenario: Scenario, quantized: Mapping[str, QuantizedNetwork]) -> FeatureConfig:
    """The front end that everybody's frames are timed by."""
    heard = _heard(scenario, quantized)
    return next(iter(heard.values()), None) or FeatureConfig(**next(iter(quantized.values())).network.features)


def _check_frames(scenario: Scenario, quantized: Mapping[str, QuantizedNetwork]) -> None:
    heard = list(_heard(scenario, quantized).items())
    for name, ours in heard[1:]:
        other, first = heard[0]
        if (ours.frame_ms, ours.shortest_samples) != (first.frame_ms, first.shortest_samples):
            raise ScenarioError(
                f"networks.{name} reads frames of {ours.frame_ms:g} ms and networks.{other} of "
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
