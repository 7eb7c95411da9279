"""Published figures as data: the CSV files in ``tables/``, each row with its mark and source."""

import csv
from functools import cache
from pathlib import Path

TABLES = Path(__file__).parent / "tables"


@cache
def published(file: str) -> tuple[dict[str, str], ...]:
    """Rows of a file in ``tables/``, as text; lines that start with # are comments."""
    lines = [line for line in (TABLES / file).read_text().splitlines() if not line.startswith("#")]
    return tuple(csv.DictReader(lines))
