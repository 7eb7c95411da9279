"""Price a stream: what the networks did, frame by frame, and what the chip burns in each power state.

Actions are priced as in a run: counts of the replay times their coefficients. A stream may break off an
utterance or listen on in a pause, so the price of the first n frames of a recording is needed, for several n; the
frames that ran are a sum of such beginnings (Abel's summation)::

    sum over frames of times[t] * e[t]  =  sum over n of (times[n-1] - times[n]) * E(n)

Powers are priced by state::

    run, gated     leakage of the SRAMs, DRAM standby and refresh
    retention      both at the shares that the scenario gives

Pinned weights are fetched once, before the stream. What a switch between networks throws out of the slots is
fetched again and priced by its bytes. Of the host core, features cost what the chip's config says per frame, search its
active power.

Left out
--------
The energy of background traffic (it is somebody else's), the decoder's and the SRAM's share of tiles fetched again.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from azsim.chip import Chip
from azsim.energy.costs import operation
from azsim.energy.price import Energy, price
from azsim.stream.outcome import Stream
from azsim.stream.scenario import Power
from azsim.stream.window import Key
from azsim.timing.counts import Counts

Bands = dict[str, tuple[float, float, float]]  # component -> uJ: value, low, high
FACTOR_ASSUMED = 3.0


@dataclass(frozen=True)
class StreamEnergy:
    """uJ of the whole stream.

    Attributes
    ----------
    by_network : dict of str to Bands
        Actions, by network and component.
    by_state : dict of str to Bands
        Leakage and DRAM standby, by power state.
    host_uj, cold_uj, uplink_uj : float
    seconds : float
    """

    by_network: dict[str, Bands]
    by_state: dict[str, Bands]
    host_uj: float
    cold_uj: float
    uplink_uj: float
    seconds: float

    def components(self) -> Bands:
        """Everything by component, with bands; the radio is a component of its own."""
        parts = [*self.by_network.values(), *self.by_state.values()]
        total = add(parts)
        extra = {"host": self.host_uj, "dram_transfers": self.cold_uj, "uplink": self.uplink_uj}
        return add([total, {name: (uj, uj / FACTOR_ASSUMED, uj * FACTOR_ASSUMED) for name, uj in extra.items()}])

    @property
    def total_uj(self) -> float:
        """Chip, DRAM share, host core and radio."""
        return sum(value for value, _, _ in self.components().values())

    @property
    def mean_mw(self) -> float:
        """Average power."""
        return self.total_uj * 1e-3 / self.seconds if self.seconds else 0.0

    def hours(self, power: Power) -> float:
        """Until a battery is empty, the rest of the device included."""
        return power.battery_wh / ((self.mean_mw + power.rest_mw) * 1e-3)


def add(parts: list[Bands]) -> Bands:
    """Sums by component; low and high add up, as errors of one coefficient go together."""
    out: Bands = {}
    for part in parts:
        for name, values in part.items():
            before = out.get(name, (0.0, 0.0, 0.0))
            out[name] = (before[0] + values[0], before[1] + values[1], before[2] + values[2])
    return out


def scale(part: Bands, factor: float) -> Bands:
    """Every value times a factor."""
    return {name: (a * factor, b * factor, c * factor) for name, (a, b, c) in part.items()}


def actions(energy: Energy) -> Bands:
    """The lines of a price that are no powers, by component; the host's are counted by the stream."""
    out: Bands = {}
    for line in energy.lines:
        if line.cost.per != "mW" and line.component != "host":
            out = add([out, {line.component: (line.uj, line.low_uj, line.high_uj)}])
    return out


def standing_mw(chip: Chip) -> Bands:
    """mW of leakage and DRAM standby, from the price of one second without any action."""
    second = Counts(utterance_cycles=round(chip.clock_hz), clock_hz=chip.clock_hz)
    out: Bands = {}
    for line in price(second, chip).lines:
        if line.cost.per == "mW":
            out = add([out, {line.component: (line.uj * 1e-3, line.low_uj * 1e-3, line.high_uj * 1e-3)}])
    return out


def beginnings(times: Counter[int]) -> dict[int, int]:
    """How often the first n frames count, by n, from how often each frame ran.

    A frame that ran more often than the one before it gives the beginning that ends before it a negative number.
    """
    out = {}
    for t in range(max(times, default=-1) + 1):
        fewer = times[t] - times[t + 1]
        if fewer:
            out[t + 1] = fewer
    return out


def price_stream(
    stream: Stream, chip: Chip, power: Power, first_frames: Callable[[Key, str, int], Counts], search_mw: float,
    uplink_uj_per_byte: float,
) -> StreamEnergy:  # fmt: skip
    """Energy of a stream.

    Parameters
    ----------
    stream : Stream
    chip : Chip
        The scenario's.
    power : Power
    first_frames : callable (window key, network, n) -> Counts
        Of a replay of the first n frames, without what fetching the pins costs.
    search_mw : float
        Of the host core while it searches.
    uplink_uj_per_byte : float
    """
    seconds = stream.total_cycles / chip.clock_hz
    times: dict[tuple[Key, str], Counter[int]] = {}
    for (key, network, frame), n in stream.frames_run.items():
        times.setdefault((key, network), Counter())[frame] += n
    by_network: dict[str, Bands] = {}
    for (key, network), counted in times.items():
        for n, often in beginnings(counted).items():
            part = scale(actions(price(first_frames(key, network, n), chip)), often)
            by_network[network] = add([by_network.get(network, {}), part])
    shares = {"run": (1.0, 1.0), "gated": (1.0, 1.0),
              "retention": (power.retention_leakage_share, power.retention_dram_share)}  # fmt: skip
    mw, by_state = standing_mw(chip), {}
    for state, (leakage, dram) in shares.items():
        state_s = stream.chip.state_cycles[state] / chip.clock_hz
        by_state[state] = add(
            [scale({name: band}, state_s * 1e3 * (leakage if name == "leakage" else dram)) for name, band in mw.items()]
        )
    bits = 8 * sum(book.cold_bytes for book in stream.books.values())
    bit_pj = sum(operation(name, chip.technology).value for name in (f"dram_{chip.dram.standard.lower()}",
                                                                     "dram_activation"))  # fmt: skip
    host_uj = stream.feature_frames * chip.host.feature_uj_per_frame
    host_uj += stream.search_cycles / chip.clock_hz * search_mw * 1e3
    sent = stream.sent_bytes * uplink_uj_per_byte
    return StreamEnergy(by_network, by_state, host_uj, bits * bit_pj * 1e-6, sent, seconds)
