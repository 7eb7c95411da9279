"""Write a run to a folder: run.json, ops.csv and report.html, all of them or none."""

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

from azsim.chip import Described
from azsim.errors import OutputError
from azsim.explain import StallTree, explain
from azsim.report.page import render
from azsim.report.tables import Tables, chip_rows, energy_by_component, tabulate
from azsim.simulate import Replay, Run

FILES = ("run.json", "ops.csv", "report.html")


def check_writable(folder: str | Path) -> Path:
    """Make the folder, or say why it cannot be used; called before any work is done."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write a report there ({error.strerror}); choose another folder with --out"
        ) from error
    return path


def write_report(
    run: Run, baselines: dict[str, Replay], described: Described, folder: str | Path, tree: StallTree | None = None
) -> Tables:
    """Write the three files of a run; the stall tree is worked out if it is not given.

    They are written beside their place and moved there when all of them are complete, so that a
    failure leaves no half-written report.
    """
    path = check_writable(folder)
    tables = tabulate(run, baselines, tree or explain(run))
    page = render(run, tables, energy_by_component(baselines["dense"]), described)
    with tempfile.TemporaryDirectory(dir=path, prefix=".azsim-") as scratch:
        (Path(scratch) / "run.json").write_text(json.dumps(run_json(run, tables, described), indent=1, allow_nan=False))
        tables.ops.to_csv(Path(scratch) / "ops.csv", index=False)
        (Path(scratch) / "report.html").write_text(page, encoding="utf-8")
        for name in FILES:
            shutil.move(Path(scratch) / name, path / name)
    return tables


def run_json(run: Run, tables: Tables, described: Described) -> dict[str, Any]:
    """Every figure of the run, with units in the keys."""
    record = run.execution.record
    content = {
        **tables.headline,
        "notes": run.notes,
        "counts": vars(run.replay.timeline.counts),
        "latency": _records(tables.latency),
        "accounts": _records(tables.accounts),
        "ops": _records(tables.ops),
        "energy": _records(tables.energy),
        "energy_lines": _records(tables.energy_lines),
        "bandwidth": _records(tables.bandwidth),
        "savings": _records(tables.savings),
        "stall_tree": _records(tables.stall_tree),
        "stall_tree_ops": _records(tables.stall_tree_ops),
        "area": _records(tables.area),
        "bounds": run.replay.timeline.bounds,
        "tensors": _records(tables.tensors),
        "codecs": _records(tables.codecs),
        "activation_density": _records(tables.density),
        "coverage": _records(tables.coverage),
        "frames_detail": _records(tables.frames),
        "invocations": len(record),
        "chip_fields": chip_rows(run.chip),
        "chip_sources": [vars(source) | {"value": str(source.value)} for source in described.sources.values()],
    }
    return finite(content)


def _records(frame: Any) -> list[dict[str, Any]]:
    return frame.to_dict(orient="records")


def finite(value: Any) -> Any:
    """NumPy scalars to plain ones; nan and infinity, which JSON has not, to null."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
