"""A stream as a work of a sweep: its networks are executed on its recordings once, its points are settings.

    scenario --quantize, execute--> what every chip shares             once, in the cache folder as other executions
    that, on a chip --encode, replay, cut, pin--> an ear                once for points that differ in no more than
    that, in a setting --SimPy, price--> figures                        background, uplink, power and so on

What is shared holds recordings, transcripts and the cloud's ranking: a worker needs no disk in common with anybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from azsim.chip import Chip
from azsim.errors import SweepError
from azsim.graph import Network
from azsim.listen import follow
from azsim.stream import Ear, Scenario
from azsim.stream.executions import Executed, Executions, key_of
from azsim.stream.guests import load_quantized
from azsim.sweep.figures import static_figures, stream_figures
from azsim.sweep.work import Fidelity, Recent, Setting, Shared, Target, image_of, keep, left_in_cache
from azsim.weights import DramImage, QuantizedNetwork

EARS_KEPT = 2
_ears = Recent(EARS_KEPT)


@dataclass(frozen=True)
class PreparedStream(Shared):
    """The networks of a scenario, and what they did on its recordings.

    Attributes
    ----------
    quantized : dict of str to QuantizedNetwork
    executed : tuple of Executed
        By utterance: the place of a recording's file does not matter.
    """

    quantized: dict[str, QuantizedNetwork]
    executed: tuple[Executed, ...]

    def figures_on(self, target: Target, fidelity: Fidelity) -> dict[str, Any]:
        """Figures of one stream, with the scenario's speculation."""
        if not isinstance(target, Setting) or fidelity != "full":
            raise SweepError("a stream runs as a whole: `fidelity: sampled` does not apply beside `scenario`")
        ear = self._ear(target.scenario, target.chip).for_scenario(target.scenario)
        return {**static_figures(target.chip), **stream_figures(follow(ear, is_compared=False))}

    def _ear(self, scenario: Scenario, chip: Chip) -> Ear:
        """Replays on a chip; those of an earlier point that only its surroundings tell from this one."""
        keys = [key_of(spoken, scenario) for spoken in scenario.utterances]

        def image_for(name: str, quantized: QuantizedNetwork, chip: Chip) -> DramImage:
            return image_of((self.key, name), quantized, chip)

        def make() -> Ear:
            known = dict(zip(keys, self.executed, strict=True))
            return Ear(scenario, chip, Executions(scenario, self.quantized, known), image_for)

        networks = tuple(scenario.networks.items())
        return _ears.get((self.key, repr(chip), repr(networks), tuple(keys)), make)


def prepare_stream(scenario: Scenario, networks: Mapping[str, Network], key: str) -> PreparedStream:
    """Execute every network on every recording, or read what an earlier run executed; raises as ``work.prepare``."""

    def make() -> PreparedStream:
        quantized = load_quantized(scenario, networks)
        executions, known = Executions(scenario, quantized), dict[Any, Executed]()
        keys = [key_of(spoken, scenario) for spoken in scenario.utterances]
        for one in dict.fromkeys(keys):
            known[one] = executions.of(one)
        return PreparedStream(key, quantized, tuple(known[one] for one in keys))

    return keep(PreparedStream, key, make)


def prepare_stream_in_cache(
    scenario: Scenario, networks: Mapping[str, Network], key: str, is_handed_over: bool = False
) -> PreparedStream | None:
    """As ``work.prepare_in_cache``."""
    return left_in_cache(prepare_stream(scenario, networks, key), is_handed_over)
