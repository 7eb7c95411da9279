"""Energy coefficients with node, source and uncertainty, and how they move between nodes.

Every figure is a row of a CSV file in ``tables/`` with its mark. Operations are interpolated log-log
between 45 and 7 nm with the exponent of an int8 MAC, 0.30 to 0.084 pJ. SRAM comes from CACTI 7 at 45, 32
and 22 nm, log-log over capacity and node; below 22 nm energy scales with sqrt(n / 22), area with n / 22,
leakage with 0.79 sqrt(n / 22). Scaling tables of the literature disagree by 3x between 45 and 7 nm,
which is what the factors say.

Voltage. The tables hold at the nominal supply of each node (``nominal_volts.csv``). A chip whose
``technology.volts`` differs from it pays (volts / nominal)**2 for operations and SRAM accesses and
volts / nominal for leakage; DRAM and standing powers do not move. The clock is not slowed or raised with it:
whether a part still meets ``clock_hz`` at a lower supply is for whoever sets both.

A factor f means that the true value lies between value / f and value x f.
"""

import csv
from dataclasses import dataclass
from functools import cache, lru_cache
from math import exp, log, sqrt
from pathlib import Path

import numpy as np

from azsim.chip.config import Technology
from azsim.errors import ChipError

TABLES = Path(__file__).parent / "tables"
SMALLEST_NODE_NM, LARGEST_NODE_NM = 5.0, 45.0
LOWEST_SUPPLY, HIGHEST_SUPPLY = 0.6, 1.4  # of nominal: below it cells lose their data, above it they wear out
SRAM_FACTOR, SCALED_SRAM_FACTOR, LEAKAGE_FACTOR = 1.5, 2.0, 3.0
TABLE_FLAVOR, TABLE_KELVIN = "LSTP", 300.0  # of sram_cacti7.csv
LOOK_UPS_KEPT = 4096  # a sweep asks for the same few over and over; one that draws sizes must not fill the memory


@dataclass(frozen=True)
class Cost:
    """One coefficient: pJ per action (or mW, or um2 per unit), its uncertainty and where it is from."""

    name: str
    value: float
    per: str
    factor: float
    mark: str
    source: str

    def times(self, share: float, why: str = "") -> "Cost":
        """A fixed share of this cost, with a word about why."""
        source = f"{self.source}; {why}" if why else self.source
        return Cost(self.name, self.value * share, self.per, self.factor, self.mark, source)


@cache
def table_rows(file: str) -> list[dict[str, str]]:
    """Rows of a file in ``tables/``, as text."""
    lines = [line for line in (TABLES / file).read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


@cache
def _mac_exponent() -> float:
    """Slope of log energy over log node that an int8 MAC has between 45 and 7 nm."""
    points = {
        float(r["node_nm"]): float(r["value_pj"]) for r in table_rows("coefficients.csv") if r["name"] == "int8_mac"
    }
    return log(points[45.0] / points[7.0]) / log(45.0 / 7.0)


def check_node(node_nm: float) -> None:
    """Raise ChipError for a node outside the tables."""
    if not SMALLEST_NODE_NM <= node_nm <= LARGEST_NODE_NM:
        raise ChipError(
            f"technology.node_nm: the energy tables cover {SMALLEST_NODE_NM:g} to {LARGEST_NODE_NM:g} nm, but got "
            f"{node_nm:g}; choose a node inside or add rows to azsim/energy/tables"
        )


@lru_cache(LOOK_UPS_KEPT)
def nominal_volts(node_nm: float) -> float:
    """The supply in V at which the tables hold, straight in log(node) between the rows of ``nominal_volts.csv``."""
    check_node(node_nm)
    points = sorted((log(float(r["node_nm"])), float(r["volts"])) for r in table_rows("nominal_volts.csv"))
    nodes, volts = zip(*points, strict=True)
    return float(np.interp(log(node_nm), nodes, volts))


@lru_cache(LOOK_UPS_KEPT)
def supply(technology: Technology) -> float:
    """The chip's supply over the nominal one of its node; energy goes with its square, leakage with it.

    Raises
    ------
    ChipError
        Outside 0.6 to 1.4, where neither law holds.
    """
    nominal = nominal_volts(technology.node_nm)
    share = technology.volts / nominal
    if not LOWEST_SUPPLY - 1e-9 <= share <= HIGHEST_SUPPLY + 1e-9:
        raise ChipError(
            f"technology.volts: the energy tables hold from {LOWEST_SUPPLY:g} to {HIGHEST_SUPPLY:g} times the nominal "
            f"{nominal:.3g} V of {technology.node_nm:g} nm, but got {technology.volts:g} V; choose "
            f"{LOWEST_SUPPLY * nominal:.3g} to {HIGHEST_SUPPLY * nominal:.3g} V"
        )
    return share


def _at_supply(technology: Technology) -> str:
    """What a source says of the supply: nothing at nominal."""
    return "" if abs(supply(technology) - 1.0) < 1e-9 else f", moved to {technology.volts:g} V"


@lru_cache(LOOK_UPS_KEPT)
def operation(name: str, technology: Technology) -> Cost:
    """An operation of ``coefficients.csv`` at the chip's node and supply; DRAM rows do not scale."""
    row = next(r for r in table_rows("coefficients.csv") if r["name"] == name)
    value, factor, node = float(row["value_pj"]), float(row["factor"]), float(row["node_nm"])
    if node == 0:
        return Cost(name, value, row["per"], factor, row["mark"], row["source"])
    scaled = value * supply(technology) ** 2 * (technology.node_nm / node) ** _mac_exponent()
    if technology.node_nm != node:
        factor = max(factor, 2.5)
    source = f"{row['source']} at {node:g} nm, scaled log-log{_at_supply(technology)}"
    return Cost(name, scaled, row["per"], factor, row["mark"], source)


@cache
def standing(name: str) -> Cost:
    """A power in mW of ``standing.csv``."""
    row = next(r for r in table_rows("standing.csv") if r["name"] == name)
    return Cost(name, float(row["value_mw"]), "mW", float(row["factor"]), row["mark"], row["source"])


@dataclass(frozen=True)
class Sram:
    """One SRAM macro: pJ per byte, mW, mm2."""

    read: Cost
    write: Cost
    leakage_mw: Cost
    area_mm2: float


@lru_cache(LOOK_UPS_KEPT)
def sram(kilobytes: float, width_bits: int, technology: Technology) -> Sram:
    """An SRAM of a capacity and word width at the chip's node and supply.

    Parameters
    ----------
    kilobytes : float
        Of one macro; below 1 KB the table's smallest macro is taken, above 2,048 KB is an error.
    width_bits : 32, 64 or 128
    technology : Technology
    """
    energy_share = supply(technology) ** 2
    size = max(1.0, kilobytes)
    table_node = max(technology.node_nm, 22.0)
    read, write, area = (_sram_figure(c, table_node, width_bits, size) for c in ("read_pJ", "write_pJ", "area_mm2"))
    shrink = min(1.0, technology.node_nm / 22.0)
    factor = SRAM_FACTOR if shrink == 1.0 else SCALED_SRAM_FACTOR
    source = f"CACTI 7, {size:g} KB x {width_bits} bit at {table_node:g} nm"
    if shrink < 1.0:
        source += f", x sqrt({technology.node_nm:g} / 22)"
    source += _at_supply(technology)
    per_byte = energy_share * sqrt(shrink) / (width_bits / 8)
    return Sram(
        Cost("sram_read", read * per_byte, "byte", factor, "borrowed", source),
        Cost("sram_write", write * per_byte, "byte", factor, "borrowed", source),
        sram_leakage(kilobytes, technology),
        area * shrink,
    )


@lru_cache(LOOK_UPS_KEPT)
def _sram_figure(column: str, node_nm: float, width_bits: int, kilobytes: float) -> float:
    rows = [r for r in table_rows("sram_cacti7.csv") if int(r["width"]) == width_bits]
    if not rows:
        raise ChipError(f"SRAM word width: the CACTI table has 32, 64 and 128 bit, but got {width_bits}")
    nodes = sorted({float(r["tech"]) for r in rows})
    per_node = []
    for node in nodes:
        own = sorted((float(r["KB"]), float(r[column])) for r in rows if float(r["tech"]) == node)
        sizes, values = zip(*own, strict=True)
        if kilobytes > sizes[-1]:
            raise ChipError(
                f"SRAM capacity: the CACTI table ends at {sizes[-1]:,.0f} KB a macro, but got {kilobytes:,.0f}"
            )
        # leakage of small macros is rounded to 0 in the table; only 1 MB is read of it, where it is not
        per_node.append(np.interp(log(kilobytes), np.log(sizes), np.log(np.maximum(values, 1e-9))))
    return exp(float(np.interp(log(node_nm), np.log(nodes), per_node)))


@lru_cache(LOOK_UPS_KEPT)
def sram_leakage(kilobytes: float, technology: Technology) -> Cost:
    """Leakage in mW, from 1 MB macros (small ones round to zero in the table), by cell flavor and temperature."""
    volts_share = supply(technology)
    table_node = max(technology.node_nm, 22.0)
    per_mb = _sram_figure("leak_mW", table_node, 64, 1024.0)
    shrink = min(1.0, technology.node_nm / 22.0)
    scale = 0.79 * sqrt(shrink) if shrink < 1.0 else 1.0
    over_table = _cell_leakage(technology.sram_flavor, technology.temperature_k) / _cell_leakage(
        TABLE_FLAVOR, TABLE_KELVIN
    )
    value = per_mb * kilobytes / 1024.0 * scale * over_table * volts_share
    source = f"CACTI 7, {technology.sram_flavor} cells at {technology.temperature_k:g} K, per MB at {table_node:g} nm"
    return Cost("sram_leakage", value, "mW", LEAKAGE_FACTOR, "borrowed", source + _at_supply(technology))


@lru_cache(LOOK_UPS_KEPT)
def _cell_leakage(flavor: str, kelvin: float) -> float:
    """mW of 1 MB at 22 nm, straight in the logarithm between the temperatures of ``sram_leakage.csv``."""
    rows = [r for r in table_rows("sram_leakage.csv") if r["flavor"] == flavor]
    points = sorted((float(r["kelvin"]), log(float(r["mw_per_mb_at_22nm"]))) for r in rows)
    if not points:
        raise ChipError(f"technology.sram_flavor: no leakage of {flavor} in azsim/energy/tables/sram_leakage.csv")
    kelvins, logarithms = zip(*points, strict=True)
    if not kelvins[0] <= kelvin <= kelvins[-1]:
        raise ChipError(
            f"technology.temperature_k: leakage is known from {kelvins[0]:g} to {kelvins[-1]:g} K, but got {kelvin:g}"
        )
    return exp(float(np.interp(kelvin, kelvins, logarithms)))
