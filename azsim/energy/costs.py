"""Energy coefficients with node, source and uncertainty, and how they move between nodes.

Every figure is a row of a CSV file in ``tables/`` with its mark. Operations are interpolated log-log
between 45 and 7 nm with the exponent of an int8 MAC, 0.30 to 0.084 pJ. SRAM comes from CACTI 7 at 45, 32
and 22 nm, log-log over capacity and node; below 22 nm energy scales with sqrt(n / 22), area with n / 22,
leakage with 0.79 sqrt(n / 22). Voltage is that of the tables; scaling tables of the literature
disagree by 3x between 45 and 7 nm, which is what the factors say.

A factor f means that the true value lies between value / f and value x f.
"""

import csv
from dataclasses import dataclass
from functools import cache
from math import exp, log, sqrt
from pathlib import Path

import numpy as np

from azsim.chip.config import Technology
from azsim.errors import ChipError

TABLES = Path(__file__).parent / "tables"
SMALLEST_NODE_NM, LARGEST_NODE_NM = 5.0, 45.0
SRAM_FACTOR, SCALED_SRAM_FACTOR, LEAKAGE_FACTOR = 1.5, 2.0, 3.0
# Leakage of 1 MB at 22 nm in mW, CACTI 7: cell flavor -> at 300 K, at 350 K
FLAVOR_LEAKAGE_MW = {"LSTP": (0.14, 0.60), "LOP": (7.0, 195.0), "HP": (80.0, 141.0)}


@dataclass(frozen=True)
class Cost:
    """One coefficient: pJ per action (or mW), its uncertainty and where it is from."""

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
def _rows(file: str) -> list[dict[str, str]]:
    lines = [line for line in (TABLES / file).read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


@cache
def _mac_exponent() -> float:
    """Slope of log energy over log node that an int8 MAC has between 45 and 7 nm."""
    points = {float(r["node_nm"]): float(r["value_pj"]) for r in _rows("coefficients.csv") if r["name"] == "int8_mac"}
    return log(points[45.0] / points[7.0]) / log(45.0 / 7.0)


def _check_node(node_nm: float) -> None:
    if not SMALLEST_NODE_NM <= node_nm <= LARGEST_NODE_NM:
        raise ChipError(
            f"technology.node_nm: the energy tables cover {SMALLEST_NODE_NM:g} to {LARGEST_NODE_NM:g} nm, but got "
            f"{node_nm:g}; choose a node inside or add rows to azsim/energy/tables"
        )


def operation(name: str, technology: Technology) -> Cost:
    """An operation of ``coefficients.csv`` at the chip's node; DRAM rows do not scale."""
    row = next(r for r in _rows("coefficients.csv") if r["name"] == name)
    value, factor, node = float(row["value_pj"]), float(row["factor"]), float(row["node_nm"])
    if node == 0:
        return Cost(name, value, row["per"], factor, row["mark"], row["source"])
    _check_node(technology.node_nm)
    scaled = value * (technology.node_nm / node) ** _mac_exponent()
    if technology.node_nm != node:
        factor = max(factor, 2.5)
    return Cost(name, scaled, row["per"], factor, row["mark"], f"{row['source']} at {node:g} nm, scaled log-log")


def standing(name: str) -> Cost:
    """A power in mW of ``standing.csv``."""
    row = next(r for r in _rows("standing.csv") if r["name"] == name)
    return Cost(name, float(row["value_mw"]), "mW", float(row["factor"]), row["mark"], row["source"])


@dataclass(frozen=True)
class Sram:
    """One SRAM macro: pJ per byte, mW, mm2."""

    read: Cost
    write: Cost
    leakage_mw: Cost
    area_mm2: float


def sram(kilobytes: float, width_bits: int, technology: Technology) -> Sram:
    """An SRAM of a capacity and word width at the chip's node.

    Parameters
    ----------
    kilobytes : float
        Of one macro; below 1 KB the table's smallest macro is taken, above 2,048 KB is an error.
    width_bits : 32, 64 or 128
    technology : Technology
    """
    _check_node(technology.node_nm)
    size = max(1.0, kilobytes)
    table_node = max(technology.node_nm, 22.0)
    read, write, area = (_sram_figure(c, table_node, width_bits, size) for c in ("read_pJ", "write_pJ", "area_mm2"))
    shrink = min(1.0, technology.node_nm / 22.0)
    factor = SRAM_FACTOR if shrink == 1.0 else SCALED_SRAM_FACTOR
    source = f"CACTI 7, {size:g} KB x {width_bits} bit at {table_node:g} nm"
    if shrink < 1.0:
        source += f", x sqrt({technology.node_nm:g} / 22)"
    per_byte = sqrt(shrink) / (width_bits / 8)
    return Sram(
        Cost("sram_read", read * per_byte, "byte", factor, "borrowed", source),
        Cost("sram_write", write * per_byte, "byte", factor, "borrowed", source),
        sram_leakage(kilobytes, technology),
        area * shrink,
    )


def _sram_figure(column: str, node_nm: float, width_bits: int, kilobytes: float) -> float:
    rows = [r for r in _rows("sram_cacti7.csv") if int(r["width"]) == width_bits]
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


def sram_leakage(kilobytes: float, technology: Technology) -> Cost:
    """Leakage in mW, from 1 MB macros (small ones round to zero in the table), by cell flavor and temperature."""
    table_node = max(technology.node_nm, 22.0)
    per_mb = _sram_figure("leak_mW", table_node, 64, 1024.0)
    shrink = min(1.0, technology.node_nm / 22.0)
    scale = 0.79 * sqrt(shrink) if shrink < 1.0 else 1.0
    cold, hot = FLAVOR_LEAKAGE_MW[technology.sram_flavor]
    if not 300.0 <= technology.temperature_k <= 350.0:
        raise ChipError(
            f"technology.temperature_k: leakage is known from 300 to 350 K, but got {technology.temperature_k:g}"
        )
    warmth = (technology.temperature_k - 300.0) / 50.0
    flavor = cold * (hot / cold) ** warmth / FLAVOR_LEAKAGE_MW["LSTP"][0]
    value = per_mb * kilobytes / 1024.0 * scale * flavor
    source = f"CACTI 7, {technology.sram_flavor} cells at {technology.temperature_k:g} K, per MB at {table_node:g} nm"
    return Cost("sram_leakage", value, "mW", LEAKAGE_FACTOR, "borrowed", source)
