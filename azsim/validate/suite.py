"""All rows of ``azsim validate``, machine by machine, and what they add up to."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from azsim.errors import AzsimError
from azsim.validate.claims import LEFT_OUT, claims_rows
from azsim.validate.dual_side import dual_side_rows
from azsim.validate.eie import Layer, eie_power_rows, eie_rows
from azsim.validate.ese import ese_rows
from azsim.validate.row import Row

MACHINES = ("eie", "ese", "dual_side", "claims")
FIELDS = ("layer", "inputs", "outputs", "weight_density", "activation_density", "theoretical_us", "actual_us")


def validate(
    machines: Sequence[str] = MACHINES,
    seeds: int = 5,
    layers: Sequence[Layer] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> list[Row]:
    """Rows of the chosen machines.

    Parameters
    ----------
    machines : sequence of str
        From ``MACHINES``.
    seeds : int
        Draws of each EIE layer and of each dual-side point; ESE takes twice as many.
    layers : sequence of Layer, optional
        For EIE, instead of the published ones.
    progress : callable, optional
        Called with (machine, share done).
    """
    wrong = [name for name in machines if name not in MACHINES]
    if wrong or seeds < 1:
        raise AzsimError(f"choose machines from {', '.join(MACHINES)} and at least one seed, got {wrong or seeds}")
    tell = progress or (lambda stage, share: None)
    rows: list[Row] = []
    for i, machine in enumerate(machines):
        tell(machine, i / len(machines))
        match machine:
            case "eie":
                rows += eie_rows(range(seeds), layers)
                rows += eie_power_rows() if layers is None else []
            case "ese":
                rows += ese_rows(range(2 * seeds))
            case "dual_side":
                rows += dual_side_rows(range(seeds))
            case "claims":
                rows += claims_rows()
    return rows


def summary(rows: Sequence[Row]) -> list[str]:
    """Mean and worst absolute error of each way to draw EIE's layers and of ESE's stages, and what is not compared."""
    lines = []
    ways = dict.fromkeys(row.what.rpartition(", ")[2] for row in rows if row.machine == "EIE" and row.unit == "us")
    for way in ways:
        own = [row for row in rows if row.machine == "EIE" and row.what.endswith(f", {way}")]
        lines.append(_errors(f"EIE, {way}", own))
    fitted = [row for row in rows if row.machine == "ESE" and row.unit == "us"]
    if fitted:
        lines.append(_errors("ESE", fitted))
    if any(row.machine == "claims" for row in rows):
        lines += [f"not compared: {claim} ({why})" for claim, why in LEFT_OUT.items()]
    return lines


def _errors(name: str, rows: Sequence[Row]) -> str:
    errors = {row.what: abs(row.error) for row in rows if row.error == row.error}
    if not errors:
        return f"{name}: nothing published to compare with"
    worst = max(errors, key=lambda what: errors[what])
    mean = sum(errors.values()) / len(errors)
    return f"{name}: mean absolute error {100 * mean:.1f} %, worst {100 * errors[worst]:.1f} % ({worst})"


def read_layers(path: str | Path) -> list[Layer]:
    """Layers of a CSV file with the columns of ``FIELDS``; the last two may be left empty or out.

    Raises
    ------
    AzsimError
        Names the file, the line and the field.
    """
    try:
        lines = [line for line in Path(path).read_text().splitlines() if line and not line.startswith("#")]
    except OSError as error:
        raise AzsimError(f"{path}: cannot be read ({error.strerror})") from error
    reader = csv.DictReader(lines)
    missing = [field for field in FIELDS[:5] if field not in (reader.fieldnames or ())]
    if missing:
        raise AzsimError(f"{path}: expected the columns {', '.join(FIELDS)}, but {', '.join(missing)} are missing")
    layers = []
    for number, row in enumerate(reader, 1):
        try:
            layers.append(
                Layer(
                    row["layer"], int(row["inputs"]), int(row["outputs"]), float(row["weight_density"]),
                    float(row["activation_density"]), *(float(row[f]) if row.get(f) else None for f in FIELDS[5:]),
                )
            )  # fmt: skip
        except ValueError as error:
            raise AzsimError(f"{path}: layer {number} ({row['layer']!r}): {error}") from error
    return layers
