"""Price counts: energy = sum of actions x pJ + leakage x time + DRAM standby x time + clock per clocked cycle.

Two totals. *While working*: standing powers are charged for the cycles in which any part of the
chip had work under way. *Whole utterance*: for all the time from the first sample to the last result;
savings quote this one. The clock is gated when no part works, in both.

Bands. A component's coefficients are taken to be wrong together: its band is the sum of its lines
at value / factor and at value x factor. Components are taken to be wrong independently: a total's
band adds their deviations in quadrature.

Left out
--------
Leakage of logic, the clock of DMA and decoder while the array waits, the host core apart from
feature extraction, microphone, and the radio.
"""

from dataclasses import dataclass
from math import sqrt

from azsim.chip.config import Chip
from azsim.energy.costs import Cost, operation, sram, standing
from azsim.timing.counts import Counts

GATED_SHARE = 0.03
COMPONENTS = (
    "dram_transfers", "dram_standby", "weight_sram", "metadata", "activation_sram", "accumulators",
    "decoder", "mac_array", "queues", "vector_unit", "clock_and_control", "leakage", "host",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One product of a count and a coefficient."""

    component: str
    action: str
    count: float
    cost: Cost

    @property
    def uj(self) -> float:
        """count x value; a power is counted in seconds and so gives mJ."""
        return self.count * self.cost.value * (1e3 if self.cost.per == "mW" else 1e-6)

    @property
    def low_uj(self) -> float:
        """At value / factor."""
        return self.uj / self.cost.factor

    @property
    def high_uj(self) -> float:
        """At value x factor."""
        return self.uj * self.cost.factor


@dataclass(frozen=True)
class Band:
    """A value with the range it may really have."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Energy:
    """An utterance priced, line by line.

    ``lines`` hold the whole utterance; ``working_share`` is the share of time in which the chip works,
    to which the standing powers are cut for the other total.
    """

    lines: tuple[Line, ...]
    working_share: float

    def components(self, while_working: bool = False) -> dict[str, Band]:
        """uJ by component, in the order of COMPONENTS."""
        out = {}
        for name in COMPONENTS:
            lines = [line for line in self.lines if line.component == name]
            share = [self.working_share if while_working and line.cost.per == "mW" else 1.0 for line in lines]
            value, low, high = (
                sum(getattr(line, key) * s for line, s in zip(lines, share, strict=True))
                for key in ("uj", "low_uj", "high_uj")
            )
            out[name] = Band(value, low, high)
        return out

    def total(self, while_working: bool = False) -> Band:
        """uJ over the whole utterance, or while the chip works."""
        parts = self.components(while_working).values()
        value = sum(part.value for part in parts)
        down = sqrt(sum((part.value - part.low) ** 2 for part in parts))
        up = sqrt(sum((part.high - part.value) ** 2 for part in parts))
        return Band(value, max(0.0, value - down), value + up)

    @property
    def whole_utterance_uj(self) -> float:
        """From the first sample to the last result."""
        return self.total().value

    @property
    def while_working_uj(self) -> float:
        """Standing powers charged for working cycles only."""
        return self.total(while_working=True).value


def price(counts: Counts, chip: Chip) -> Energy:
    """Energy of an utterance.

    Parameters
    ----------
    counts : Counts
    chip : Chip
        Its technology, DRAM and memory sizes choose the coefficients.

    Raises
    ------
    ChipError
        If a node, temperature or SRAM size is outside the tables.
    """
    technology = chip.technology
    bank_kb = chip.weight_sram.bytes / chip.mac_array.pes / 1024
    weight = sram(bank_kb, 64, technology)
    activation = sram(chip.activation_sram_bytes / 1024, 64, technology)
    accumulator = sram(chip.mac_array.accumulator_bytes / chip.mac_array.pes / 1024, 32, technology)
    copy = sram(chip.mac_array.activation_copy_bytes / 1024, 64, technology)
    fifo = sram(chip.stream.fifo_bursts * chip.dram.burst_bytes / 1024, 64, technology)
    mac = operation("int8_mac", technology)
    bit = operation(f"dram_{chip.dram.standard.lower()}", technology)
    seconds = counts.utterance_cycles / counts.clock_hz if counts.clock_hz else 0.0
    bits = 8 * counts.dram_read_bytes
    lines = [
        Line("dram_transfers", "bits read", bits, bit),
        Line("dram_transfers", "row activations, per bit", bits, operation("dram_activation", technology)),
        *(
            Line("dram_standby", name, seconds, standing(name).times(chip.dram.standby_share, "x dram.standby_share"))
            for name in ("dram_background", "dram_refresh")
        ),
        Line("weight_sram", "bytes written", counts.weight_sram_write_bytes, weight.write),
        Line("weight_sram", "bytes read", counts.weight_sram_read_bytes, weight.read),
        Line("metadata", "bytes written", counts.metadata_write_bytes, weight.write),
        Line("metadata", "bytes read", counts.metadata_read_bytes, weight.read),
        Line("activation_sram", "bytes read", counts.activation_sram_read_bytes, activation.read),
        Line("activation_sram", "bytes written", counts.activation_sram_write_bytes, activation.write),
        Line("activation_sram", "bytes read from private copies", counts.activation_copy_read_bytes, copy.read),
        Line("activation_sram", "bytes written to private copies", counts.activation_copy_write_bytes, copy.write),
        Line("accumulators", "bytes read", counts.accumulator_read_bytes, accumulator.read),
        Line("accumulators", "bytes written", counts.accumulator_write_bytes, accumulator.write),
        Line("decoder", "symbols", counts.decoder_symbols, operation("decoder_symbol", technology)),
        Line("decoder", "FIFO bytes written", counts.decoder_bytes, fifo.write),
        Line("decoder", "FIFO bytes read", counts.decoder_bytes, fifo.read),
        Line("mac_array", "effectual MACs", counts.effectual_macs, mac),
        Line(
            "mac_array",
            "gated MACs and padding entries",
            counts.gated_macs - counts.ungated_macs + counts.padding_entries,
            mac.times(GATED_SHARE, "gated: 3 % (Eyeriss v2)"),
        ),
        Line("mac_array", "MACs with a zero that nothing gates", counts.ungated_macs, mac),
        Line("queues", "pushes and pops", counts.queue_writes, operation("queue_write", technology)),
        *_vector_lines(counts, chip),
        Line(
            "clock_and_control",
            "PE cycles clocked",
            counts.array_cycles * chip.mac_array.pes,
            operation("clock_per_pe_cycle", technology),
        ),
        *(
            Line("leakage", f"seconds of {name}", seconds, memory)
            for name, memory in (
                ("weight SRAM", sram(bank_kb, 64, technology).leakage_mw.times(chip.mac_array.pes)),
                ("activation SRAM", activation.leakage_mw),
                ("accumulators", accumulator.leakage_mw.times(chip.mac_array.pes)),
            )
        ),
        Line("host", "frames of features", counts.host_frames, _host_cost(chip)),
    ]
    share = counts.active_cycles / counts.utterance_cycles if counts.utterance_cycles else 0.0
    return Energy(tuple(lines), share)


def _host_cost(chip: Chip) -> Cost:
    pj = chip.host.feature_uj_per_frame * 1e6
    return Cost("host_features", pj, "frame", 3.0, "assumed", "host.feature_uj_per_frame of the chip")


VECTOR_OPERATIONS = {
    "requantize": "int32_mult",
    "add": "int32_add",
    "mul": "int16_mult",
    "relu": "int8_add",
    "compare": "int8_add",
    "argmax": "int8_add",
    "sigmoid": "table_look_up",
    "tanh": "table_look_up",
    "move": "int8_add",
}


def _vector_lines(counts: Counts, chip: Chip) -> list[Line]:
    return [
        Line("vector_unit", f"{name} elements", n, operation(VECTOR_OPERATIONS[name], chip.technology))
        for name, n in sorted(counts.vector_elements.items())
    ]
