"""Write a stream to a folder: stream.json, frames.csv, trace.json.gz and report.html, all of them or none."""

import gzip
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from azsim.chip.presets import flatten
from azsim.listen import Heard
from azsim.report.stream_page import render_stream
from azsim.report.stream_tables import StreamTables, tabulate_stream
from azsim.report.stream_trace import stream_trace
from azsim.report.write import check_writable, finite
from azsim.stream.scenario import fields_of

STREAM_FILES = ("stream.json", "frames.csv", "trace.json.gz", "report.html")


def write_stream(heard: Heard, folder: str | Path, frames_csv: Path) -> StreamTables:
    """Write the files of a stream; ``frames_csv``, written while it ran, is moved in beside the others."""
    path = check_writable(folder)
    tables = tabulate_stream(heard)
    page = render_stream(heard, tables)
    trace = json.dumps({"displayTimeUnit": "ms", "traceEvents": stream_trace(heard)}, separators=(",", ":"))
    with tempfile.TemporaryDirectory(dir=path, prefix=".azsim-") as scratch:
        content = json.dumps(stream_json(heard, tables), indent=1, allow_nan=False)
        (Path(scratch) / "stream.json").write_text(content)
        (Path(scratch) / "trace.json.gz").write_bytes(gzip.compress(trace.encode(), mtime=0))
        (Path(scratch) / "report.html").write_text(page, encoding="utf-8")
        shutil.move(frames_csv, Path(scratch) / "frames.csv")
        for name in STREAM_FILES:
            shutil.move(Path(scratch) / name, path / name)
    return tables


def stream_json(heard: Heard, tables: StreamTables) -> dict[str, Any]:
    """Every figure of the stream, with units in the keys."""
    frames = ("latency", "answers", "networks", "waits", "utilization", "energy", "states")
    log = heard.stream.log
    return finite({
        **tables.headline,
        "notes": heard.notes,
        **{name: getattr(tables, name).to_dict(orient="records") for name in frames},
        "backlog": {"bin_s": log.bin_cycles / log.clock_hz,
                    "frames": {name: series.tolist() for name, series in log.backlog.items()}},
        "scenario_fields": fields_of(heard.scenario),
        "utterance_files": [spoken.model_dump() for spoken in heard.scenario.utterances],
        "chip_fields": flatten(heard.chip.model_dump()),
    })  # fmt: skip
