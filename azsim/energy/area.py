"""Silicon of a chip, and what its MAC array could do at best: mm2, TOPS, watts, TOPS per watt.

SRAM is cut into the macros that ``price`` charges for and looked up in CACTI 7. Logic is a count of
units times a row of ``tables/area.csv``.

Logic shrinks with the square of the node. Below 22 nm a node is a name, and real logic has shrunk by less
than its square, so the factor of every row is multiplied by (table node / node)**0.25: 1.6 at 7 nm from
45 nm. The rows are too uncertain to correct the value itself.

Bands. What makes up one part is taken to be wrong together, parts to be wrong independently: the same
as for energy.

Source
------
Borrowed   SRAM: CACTI 7; operators: Horowitz, ISSCC 2014; both at 45 nm.
Assumed    everything else of the logic; a PE's control is what EIE (ISCA 2016) leaves after SRAM.

Left out
--------
Area: white space and wiring between blocks (4 % in EIE), pads, clock source, DRAM interface, host core; a
second port of the weight SRAM (CACTI's has one); the look-ahead window of ``row_dot``. CACTI's smallest macro is
1 KB: smaller accumulators are charged that much. Its area per byte is not monotone in the size (at 22 nm 8 KB takes
16 % less per byte than 16 KB), so that cutting the same memory among more PEs can make it smaller.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

from azsim.chip.config import Chip, Technology
from azsim.energy.costs import Cost, check_node, sram, table_rows
from azsim.energy.price import VECTOR_OPERATIONS, Band, Energy, price
from azsim.errors import AzsimError, ChipError
from azsim.timing.counts import Counts

GROWTH_OF_FACTOR = 0.25
MARKS = ("published", "borrowed", "assumed")  # from firm to weak


@dataclass(frozen=True)
class AreaPart:
    """One part of the chip in mm2, with the weakest mark of what it is made of."""

    name: str
    mm2: Band
    mark: str
    source: str


@dataclass(frozen=True)
class Area:
    """A chip's silicon, part by part."""

    parts: tuple[AreaPart, ...]

    def part(self, name: str) -> AreaPart:
        """The part of a name."""
        return next(part for part in self.parts if part.name == name)

    def total(self) -> Band:
        """mm2 of all parts, deviations in quadrature."""
        return _in_quadrature(part.mm2 for part in self.parts)


@dataclass(frozen=True)
class Macro:
    """Equal SRAM macros of one use."""

    count: int
    kilobytes: float
    width_bits: int


def area(chip: Chip) -> Area:
    """Silicon of a chip.

    Parameters
    ----------
    chip : Chip
        Sizes and node; supply, temperature and DRAM do not move it.

    Raises
    ------
    ChipError
        If the node, the supply or an SRAM size is outside the tables.
    """
    technology, array = chip.technology, chip.mac_array
    memories = [_memory(name, macros, technology) for name, macros in sram_macros(chip).items()]

    def logic(name: str, **units: float) -> AreaPart:
        return _part(name, [(count, logic_area(unit, technology)) for unit, count in units.items()])

    lanes = array.pes * array.lanes
    selects = lanes * array.scan_width if array.skip_weights and chip.weight_sram.form == "refilled" else 0
    vector_units: dict[str, float] = {}
    for function, width in chip.vector_unit.lanes.items():
        unit = VECTOR_OPERATIONS[function]
        vector_units[unit] = vector_units.get(unit, 0) + width
    return Area((
        *memories,
        logic("mac_array", int8_mult=lanes, int32_add=lanes),
        logic(
            "pe_logic", pe_control=array.pes, queue_slot=array.pes * array.queue_depth, lane_registers=lanes,
            scan_select=selects,
        ),
        logic("vector_unit", **vector_units),
        logic("decoder", decoder_symbol=chip.codec.symbols_per_cycle),
        logic("controller", controller=1),
    ))  # fmt: skip


def sram_macros(chip: Chip) -> dict[str, list[Macro]]:
    """The macros of each memory, as ``price`` cuts them; in ``row_dot`` each PE adds its copy of activations."""
    array = chip.mac_array
    activations = [Macro(1, chip.activation_sram_bytes / 1024, 64)]
    if _is_row_dot(chip):
        activations.append(Macro(array.pes, _copy_bytes(chip) / 1024, 64))
    return {
        "weight_sram": [Macro(array.pes, chip.weight_sram.bytes / array.pes / 1024, 64)],
        "activation_sram": activations,
        "accumulators": [Macro(array.pes, array.accumulator_bytes / array.pes / 1024, 32)],
        "stream_fifo": [Macro(1, chip.stream.fifo_bursts * chip.dram.burst_bytes / 1024, 64)],
    }


def sram_bytes(chip: Chip) -> dict[str, int]:
    """Capacity on the chip by memory, as configured."""
    copies = chip.mac_array.pes * _copy_bytes(chip) if _is_row_dot(chip) else 0
    return {
        "weight_sram": chip.weight_sram.bytes,
        "activation_sram": chip.activation_sram_bytes + copies,
        "accumulators": chip.mac_array.accumulator_bytes,
        "stream_fifo": chip.stream.fifo_bursts * chip.dram.burst_bytes,
    }


def _is_row_dot(chip: Chip) -> bool:
    return str(chip.mac_array.dataflow) == "row_dot"


def _copy_bytes(chip: Chip) -> int:
    """Private activations of one PE; all of them where the chip does not say."""
    return int(getattr(chip.mac_array, "activation_copy_bytes", chip.activation_sram_bytes))


def logic_area(name: str, technology: Technology) -> Cost:
    """um2 of one unit of ``area.csv`` at the chip's node."""
    check_node(technology.node_nm)
    row = next(r for r in table_rows("area.csv") if r["name"] == name)
    node = float(row["node_nm"])
    shrink = technology.node_nm / node
    factor = float(row["factor"]) * max(1.0, shrink**-GROWTH_OF_FACTOR)
    source = f"{row['source']}; at {node:g} nm, x (node / {node:g})^2"
    return Cost(name, float(row["value_um2"]) * shrink**2, row["per"], factor, row["mark"], source)


def _memory(name: str, macros: list[Macro], technology: Technology) -> AreaPart:
    pieces = []
    for macro in macros:
        memory = sram(macro.kilobytes, macro.width_bits, technology)
        source = f"{macro.count} x CACTI 7, {macro.kilobytes:g} KB x {macro.width_bits} bit; below 22 nm x node / 22"
        um2 = memory.area_mm2 * 1e6
        pieces.append((macro.count, Cost(name, um2, "macro", memory.read.factor, memory.read.mark, source)))
    return _part(name, pieces)


def _part(name: str, pieces: Iterable[tuple[float, Cost]]) -> AreaPart:
    there = [(count, cost) for count, cost in pieces if count]
    value, low, high = (
        1e-6 * sum(count * cost.value * cost.factor**power for count, cost in there) for power in (0, -1, 1)
    )
    mark = max((cost.mark for _, cost in there), key=MARKS.index)
    return AreaPart(name, Band(value, low, high), mark, " | ".join(cost.source for _, cost in there))


def _in_quadrature(bands: Iterable[Band]) -> Band:
    parts = list(bands)
    value = sum(part.value for part in parts)
    down = sqrt(sum((part.value - part.low) ** 2 for part in parts))
    up = sqrt(sum((part.high - part.value) ** 2 for part in parts))
    return Band(value, max(0.0, value - down), value + up)


@dataclass(frozen=True)
class Peak:
    """The MAC array when it is never idle, at some density of weights and activations.

    A MAC is two operations. Effective operations are those that a dense machine would have needed for the
    same result.
    """

    dense_tops: float
    effective_tops: float
    watts: Band
    sram_bytes: dict[str, int]

    @property
    def tops_per_watt(self) -> Band:
        """Effective TOPS over watts."""
        tops = self.effective_tops
        return Band(tops / self.watts.value, tops / self.watts.high, tops / self.watts.low)

    @property
    def total_sram_bytes(self) -> int:
        """All memory on the chip."""
        return sum(self.sram_bytes.values())


def peak(chip: Chip, weight_density: float = 1.0, activation_density: float = 1.0) -> Peak:
    """What a chip's MAC array reaches at best.

    One second in which every lane of every PE has work is counted and priced as a run is. Skipped
    activations divide the work by their density. So do skipped weights, but in refilled form a PE sees at
    most ``scan_width`` weights a cycle, which caps what a lane can cover at scan_width / lanes. Every PE takes
    an activation from its queue each cycle, which is the most it can.

    Parameters
    ----------
    chip : Chip
    weight_density, activation_density : float
        Non-zero share, above 0 and at most 1; non-zeros lie evenly over PEs and columns.

    Left out
    --------
    DRAM, decoder, refills of the weight SRAM, activation SRAM, vector unit and host: a system's TOPS per
    watt is lower. Padding of packed entries, two 4-bit products a lane, and zeros that are not gated.

    Raises
    ------
    AzsimError
        If a density is out of its range, or below 1 where ``row_dot`` skips: what that gains depends on where
        the zeros lie, not only on how many there are.
    ChipError
        If the node, supply, temperature or an SRAM size is outside the tables.
    """
    array = chip.mac_array
    for name, density in (("weight_density", weight_density), ("activation_density", activation_density)):
        if not 0 < density <= 1:
            raise AzsimError(f"`0 < {name} <= 1` must hold, but got {density:g}: it is the share of non-zeros")
    if _is_row_dot(chip) and min(weight_density, activation_density) < 1 and (
        array.skip_weights or array.skip_activations
    ):  # fmt: skip
        raise ChipError(
            "mac_array.dataflow: what row_dot gains by skipping depends on where the zeros lie; ask for densities "
            "of 1, or run a network"
        )
    macs_per_s = chip.peak_macs_per_s * _weights_covered_per_lane(chip, weight_density)
    dense_macs_per_s = macs_per_s / (activation_density if array.skip_activations else 1.0)
    energy = price(_busy_second(chip, weight_density, activation_density), chip)
    on_array = Energy(tuple(line for line in energy.lines if not line.component.startswith("dram")), 1.0)
    uj = on_array.total()
    return Peak(
        dense_tops=2e-12 * chip.peak_macs_per_s,
        effective_tops=2e-12 * dense_macs_per_s,
        watts=Band(uj.value * 1e-6, uj.low * 1e-6, uj.high * 1e-6),
        sram_bytes=sram_bytes(chip),
    )


def _weights_covered_per_lane(chip: Chip, density: float) -> float:
    """Weights of broadcast columns that a lane deals with in a cycle, skipped ones included."""
    array = chip.mac_array
    if not array.skip_weights:
        return 1.0
    if chip.weight_sram.form == "packed" or _is_row_dot(chip):
        return 1.0 / density
    return min(1.0 / density, array.scan_width / array.lanes)


def _busy_second(chip: Chip, weight_density: float, activation_density: float) -> Counts:
    """Actions of one second of the array alone, none of its lanes idle for want of input."""
    array, cycles = chip.mac_array, round(chip.clock_hz)
    covered = cycles * array.pes * array.lanes * _weights_covered_per_lane(chip, weight_density)
    issued = covered * weight_density if array.skip_weights else covered
    effectual = covered * weight_density * (1.0 if array.skip_activations else activation_density)
    if chip.weight_sram.form == "packed":
        weight_bytes, metadata_bytes = issued, issued * chip.codec.index_bits / 8
    else:
        weight_bytes, metadata_bytes = covered, covered / 8 if array.skip_weights else 0.0
    return Counts(
        clock_hz=chip.clock_hz,
        utterance_cycles=cycles,
        active_cycles=cycles,
        array_cycles=cycles,
        effectual_macs=round(effectual),
        gated_macs=round(issued - effectual),
        weight_sram_read_bytes=round(weight_bytes),
        metadata_read_bytes=round(metadata_bytes),
        accumulator_read_bytes=round(4 * effectual),
        accumulator_write_bytes=round(4 * effectual),
        queue_writes=0 if _is_row_dot(chip) else cycles * array.pes,
    )
