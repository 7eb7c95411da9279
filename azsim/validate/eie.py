"""EIE: sparse matrix times sparse vector, whose wall-clock times are published, from codec padding and queues.

*Theoretical time* is all entries of the columns whose activation is not zero, shared evenly over the PEs. Padding
entries count: the published theoretical times cannot be reached without them. *Actual time* is what the recurrence
of ``column_broadcast`` gives: entries fall unevenly on the PEs, queues fill, empty columns cost a cycle,
scanning activations leaves bubbles.

Three ways to draw a layer, all with the preset's codec and array and nothing else:

uncalibrated     i.i.d. zeros at the published weight density
i.i.d.           i.i.d. zeros at the density whose theoretical time is the published *theoretical* one
rows differ      as i.i.d., but a row's density is multiplied by a log-normal factor of coefficient of variation
                 ``ROW_CV``, the same for all layers

The published actual time is an input to none of them. ``ROW_CV`` is measured elsewhere: it is how much row densities of
the trained and pruned RNN-T of the zoo vary beyond what i.i.d. zeros would, averaged over its matrices (a test measures
it again).

Source
------
Published  the mechanisms and times: Han et al., "EIE: Efficient Inference Engine on Compressed Deep Neural Network",
           ISCA 2016.
Borrowed   densities of the layers (quoted from memory of the paper).

Left out
--------
Loading weights and activations, and writing results: EIE's times do not have them either.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from azsim.chip import Chip, load_chip
from azsim.energy import operation, sram
from azsim.errors import AzsimError
from azsim.timing.mac_array import column_broadcast_cycles, work_per_pe
from azsim.validate.published import published
from azsim.validate.row import Row
from azsim.weights.layout import entries_per_pe, nnz_per_pe

ROW_CV = 0.21
SEEDS = range(5)
CODE_BITS = 4
TIMES = "EIE, ISCA 2016, wall-clock times at batch 1"
QUEUE_DEPTHS = (1, 2, 4, 8, 16, 32)  # as built; a ring of D has D - 1 usable slots, a queue of 1 just that
PE_COUNTS = (1, 4, 16, 64, 256)
# Mean power of a PE at 45 nm by module, mW: EIE, ISCA 2016
POWER_MW = {"weight SRAM": 4.955, "pointer SRAM": 1.807, "arithmetic": 1.162, "activations": 1.122, "queue": 0.112}


@dataclass(frozen=True)
class Layer:
    """A fully connected layer of EIE's kind.

    ``theoretical_us`` and ``actual_us`` are published; without the first a layer cannot be calibrated.
    """

    name: str
    inputs: int
    outputs: int
    weight_density: float
    activation_density: float
    theoretical_us: float | None = None
    actual_us: float | None = None

    def __post_init__(self) -> None:
        fits = (
            self.inputs > 0 and self.outputs > 0 and 0 < self.weight_density <= 1 and 0 < self.activation_density <= 1
        )
        if not fits:
            raise AzsimError(
                f"layer {self.name!r}: inputs and outputs must be positive and densities in (0, 1], but got "
                f"{self.inputs} x {self.outputs}, {self.weight_density} and {self.activation_density}"
            )

    @property
    def active(self) -> int:
        """Activations that are not zero."""
        return max(1, round(self.activation_density * self.inputs))


@dataclass(frozen=True)
class LayerTime:
    """One drawn layer on the machine."""

    theoretical_us: float
    actual_us: float
    weight_density: float
    work: np.ndarray  # int[active, pes], entries


def published_layers() -> list[Layer]:
    """The layers of ``tables/eie.csv``."""
    return [
        Layer(
            row["layer"], int(row["inputs"]), int(row["outputs"]), float(row["weight_density"]),
            float(row["activation_density"]), float(row["theoretical_us"]), float(row["actual_us"]),
        )
        for row in published("eie.csv")
    ]  # fmt: skip


def row_factors(rows: int, cv: float, rng: np.random.Generator) -> np.ndarray:
    """Log-normal factors of mean 1 and coefficient of variation ``cv``, float[rows]."""
    sigma2 = np.log1p(cv * cv)
    return np.exp(rng.normal(0.0, np.sqrt(sigma2), rows) - sigma2 / 2) if cv > 0 else np.ones(rows)


def expected_entries(row_density: np.ndarray, pes: int, index_bits: int) -> float:
    """Mean entries of a column, padding included, where row r holds a weight with probability ``row_density[r]``.

    A weight behind a gap of g zeros of its PE brings floor(g / 2**index_bits) padding entries, so the mean number of
    them is the sum over weights and over m of P(the m * 2**index_bits rows before it are zero).
    """
    total, reach = 0.0, 2**index_bits
    for pe in range(pes):
        density = row_density[pe::pes]
        log_zero = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(1e-12, 1 - density)))])
        total += float(density.sum())
        for gap in range(reach, len(density), reach):
            at = np.arange(gap, len(density))
            total += float((density[at] * np.exp(log_zero[at] - log_zero[at - gap])).sum())
    return total


def calibrated_density(layer: Layer, factors: np.ndarray, chip: Chip) -> float:
    """The weight density at which the layer's mean theoretical time is the published theoretical one."""
    assert layer.theoretical_us is not None
    target = layer.theoretical_us * 1e-6 * chip.clock_hz * chip.mac_array.pes / layer.active
    low, high = 1e-5, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        entries = expected_entries(np.minimum(1, factors * middle), chip.mac_array.pes, chip.codec.index_bits)
        low, high = (middle, high) if entries < target else (low, middle)
    return middle


def run_layer(layer: Layer, chip: Chip, seed: int, row_cv: float = 0.0, calibrate: bool = True) -> LayerTime:
    """Draw a layer and time it.

    Parameters
    ----------
    layer : Layer
    chip : Chip
        In packed form; its codec, PEs and queues are used.
    seed : int
        The same seed draws the same layer.
    row_cv : float
        Coefficient of variation of row densities beyond i.i.d.
    calibrate : bool
        Take the density that gives the published theoretical time, where there is one.
    """
    rng, array = np.random.default_rng(seed), chip.mac_array
    factors = row_factors(layer.outputs, row_cv, rng)
    density = layer.weight_density
    if calibrate and layer.theoretical_us is not None:
        density = calibrated_density(layer, factors, chip)
    active = np.sort(rng.choice(layer.inputs, layer.active, replace=False))
    chance = np.minimum(1, factors * density).astype(np.float32)[:, None]
    weights = (rng.random((layer.outputs, layer.active), dtype=np.float32) < chance).astype(np.int8)
    entries = entries_per_pe(weights, chip)
    work = work_per_pe(nnz_per_pe(weights, chip), entries, layer.outputs, CODE_BITS, chip)
    period = array.bubble_period
    bubbles = np.diff(active // period, prepend=0) if period else None
    cycles = column_broadcast_cycles(work, array.queue_depth, bubbles, array.fill_cycles, array.broadcast_width)
    per_us = chip.clock_hz / 1e6
    return LayerTime(entries.sum() / array.pes / per_us, cycles / per_us, density, entries.astype(np.int64))


def eie_rows(seeds: Iterable[int] = SEEDS, layers: Sequence[Layer] | None = None) -> list[Row]:
    """Actual times of the layers, drawn in three ways."""
    chip, seeds, rows = load_chip("eie"), list(seeds), []
    ways = (("rows differ", ROW_CV, True), ("i.i.d.", 0.0, True), ("uncalibrated", 0.0, False))
    for way, cv, calibrate in ways:
        for layer in layers if layers is not None else published_layers():
            times = [run_layer(layer, chip, seed, cv, calibrate) for seed in seeds]
            actual = [time.actual_us for time in times]
            note = f"theoretical {np.mean([t.theoretical_us for t in times]):.1f} us"
            if layer.theoretical_us is not None:
                note += f" (published {layer.theoretical_us:.1f})"
            note += f", weight density {np.mean([t.weight_density for t in times]):.3f}"
            published_us = layer.actual_us if layer.actual_us is not None else float("nan")
            rows.append(
                Row("EIE", f"{layer.name}, {way}", "us", published_us, float(np.mean(actual)), "published", TIMES,
                    note, low=min(actual), high=max(actual))
            )  # fmt: skip
    return rows


def eie_power_rows(seed: int = 0) -> list[Row]:
    """Power of the preset, from SRAM tables and operation energies, averaged over the published layers.

    Per PE: a weight is read as part of a 64-bit line of eight entries. A column that begins anywhere in a line
    spans 1 + (entries - 1) / 8 of them on average; behind the column before it, which happens as often as an
    activation is not zero, its first line is already there and it takes entries / 8 (assumed: a line is held until the
    next is read). Two 16-bit pointers per broadcast; a read and a write of a 16-bit sum and a 16-bit multiplication
    per entry; a queue push and pop per broadcast.

    EIE's figures contain its clock, by module too. Here its coefficient is EIE's own share of 20 %, which is not an
    independent source, so the total is given with and without it; the modules are given without.
    """
    chip, powers, clock = load_chip("eie"), [], 0.0
    technology = chip.technology
    line_pj = 8 * sram(128, 64, technology).read.value
    pointer_pj = 2 * 2 * sram(16, 32, technology).read.value
    smallest = sram(1, 32, technology)
    sum_pj = 2 * (smallest.read.value + smallest.write.value)
    mac_pj = operation("int16_mult", technology).value + operation("int32_add", technology).value
    for layer in published_layers():
        time = run_layer(layer, chip, seed, ROW_CV)
        entries, us = time.work, time.actual_us * chip.mac_array.pes
        adjacent = layer.activation_density
        lines = np.where(entries > 0, entries / 8 + (1 - adjacent) * 7 / 8, 0).sum()
        pj = {
            "weight SRAM": lines * line_pj,
            "pointer SRAM": entries.size * pointer_pj,
            "arithmetic": entries.sum() * mac_pj,
            "activations": entries.sum() * sum_pj,
            "queue": entries.size * operation("queue_write", technology).value,
        }
        powers.append({name: value / us * 1e-3 for name, value in pj.items()})
        clock = operation("clock_per_pe_cycle", technology).value * chip.clock_hz * 1e-9
    mean = {name: float(np.mean([p[name] for p in powers])) for name in POWER_MW}
    pes, source = chip.mac_array.pes, "EIE, ISCA 2016, power of a PE by module at 45 nm"
    rows = [
        Row("EIE", f"power of a PE: {name}", "mW", published_mw, mean[name], "published", source)
        for name, published_mw in POWER_MW.items()
    ]
    total = sum(mean.values()) * pes * 1e-3
    return [
        Row("EIE", "power, 64 PEs", "W", 0.59, total + clock * pes * 1e-3, "published", "EIE, ISCA 2016: 0.59 W",
            "CACTI 7, operation energies, and a clock whose coefficient is EIE's own 20 %"),
        Row("EIE", "power, no clock", "W", 0.59, total, "published", "EIE, ISCA 2016: 0.59 W",
            "what is independent of EIE; the published figure contains its clock"),
        *rows,
    ]  # fmt: skip


def eie_scaling(seed: int = 0) -> list[dict[str, float | str]]:
    """Speed-up over one PE by number of PEs, and load balance (busy share of the PEs) by depth of the queue.

    One dict per layer and point. The published curves are plots without figures, so there is nothing to compare with
    but their shape: near-linear to 64 PEs for large layers, less for NT-We with its 600 rows; queues pay up to 8 and
    little beyond.
    """
    chip = load_chip("eie")
    points: list[dict[str, float | str]] = []
    for layer in published_layers():
        alone = 0.0
        for pes in PE_COUNTS:
            time = run_layer(layer, chip.replace(mac_array=chip.mac_array.replace(pes=pes)), seed, ROW_CV, False)
            alone = alone or time.actual_us
            points.append(
                {"layer": layer.name, "sweep": "pes", "value": pes, "speedup_over_1_pe": alone / time.actual_us}
            )
        for depth in QUEUE_DEPTHS:
            usable = max(1, depth - 1)
            time = run_layer(layer, chip.replace(mac_array=chip.mac_array.replace(queue_depth=usable)), seed, ROW_CV)
            points.append(
                {
                    "layer": layer.name,
                    "sweep": "queue",
                    "value": depth,
                    "load_balance": float(time.theoretical_us / time.actual_us),
                }
            )
    return points
