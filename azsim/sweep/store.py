"""Results in one SQLite file that loses nothing.

    points     a row per point that ran: what it was, its figures
    failures   a row per point that could not: the error text
    members    which sweep asked for which point, with its axes: a point may belong to several

Only the coordinating process writes, in write-ahead mode, and commits each batch as it comes. Kill it at any
moment: what was committed is there, and the same command goes on with the rest. Several may write to one file. Opening
checks that the file is one of ours before it touches it.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from azsim.errors import StoreError

APPLICATION_ID = 0x415A5331  # "AZS1"
BUSY_MS = 60_000
RETRY_S = 0.01
KEYS_PER_QUERY = 500
CREATE = """
CREATE TABLE points (
    key TEXT PRIMARY KEY, chip TEXT NOT NULL, network TEXT NOT NULL, network_hash TEXT NOT NULL,
    weight_bits INTEGER NOT NULL, weight_density REAL, audio TEXT NOT NULL, audio_hash TEXT NOT NULL,
    code_version TEXT NOT NULL, figures TEXT NOT NULL, seconds REAL NOT NULL,
    finished_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')));
CREATE TABLE failures (
    key TEXT PRIMARY KEY, error TEXT NOT NULL,
    finished_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')));
CREATE TABLE members (
    sweep TEXT NOT NULL, key TEXT NOT NULL, axes TEXT NOT NULL, PRIMARY KEY (sweep, key, axes));
"""
MEMBERS = "(SELECT * FROM members WHERE rowid IN (SELECT max(rowid) FROM members GROUP BY sweep, axes))"
INSPECT = (
    "PRAGMA application_id",
    "PRAGMA user_version",
    "PRAGMA quick_check(1)",
    "SELECT count(*) FROM sqlite_schema",
)
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
MIGRATIONS: dict[int, str] = {  # by the version that they start from
    1: """ALTER TABLE points ADD COLUMN fidelity TEXT NOT NULL DEFAULT 'full';
CREATE TABLE conditions (sweep TEXT PRIMARY KEY, expressions TEXT NOT NULL)""",
}
SCHEMA = 1 + len(MIGRATIONS)


@dataclass(frozen=True)
class Row:
    """A point that ran."""

    key: str
    chip: dict[str, Any]
    network: str
    network_hash: str
    weight_bits: int
    weight_density: float | None
    audio: str
    audio_hash: str
    code_version: str
    figures: dict[str, Any]
    seconds: float
    fidelity: str = "full"


class Store:
    """An open file of results; use it in a ``with``."""

    def __init__(self, path: str | Path, must_exist: bool = False) -> None:
        self.path = Path(path)
        if must_exist and not self.path.exists():
            raise StoreError(f"{path}: no such store; `azsim sweep SPACE.yaml --store {path}` makes one")
        version = self._inspect()
        with self._telling():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(self.path, timeout=BUSY_MS / 1000, isolation_level=None)
            self._write_ahead()
            self.db.execute("PRAGMA synchronous = FULL")
            if version < SCHEMA:
                self._bring_up_to_date()

    def _write_ahead(self) -> None:
        """SQLite does not wait by itself where two processes switch a new file at once."""
        deadline = time.monotonic() + BUSY_MS / 1000
        while True:
            try:
                self.db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)

    def _inspect(self) -> int:
        """Schema version of the file, 0 for a new one; the file is only read."""
        try:
            if not self.path.exists() or self.path.stat().st_size == 0:
                return 0
            if self.path.is_dir():
                raise StoreError(f"{self.path}: is a folder; give a file, e.g. {self.path / 'results.db'}")
            address = f"{self.path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=BUSY_MS / 1000, isolation_level=None)) as db:
                db.execute("BEGIN")  # all of it as of one moment: another process may be making the store just now
                identity, version, damage, tables = (db.execute(question).fetchone()[0] for question in INSPECT)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error.strerror}); mend the permissions") from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise StoreError(f"{self.path}: cannot be read ({error}); it was left as it is") from error
            raise StoreError(
                f"{self.path}: not a store, or damaged ({error}); it was left as it is. Give another --store, or "
                f"restore a copy"
            ) from error
        if identity == 0 and version == 0 and damage == "ok" and not tables:
            return 0
        if identity != APPLICATION_ID:
            raise StoreError(f"{self.path}: a database of another program; it was left as it is. Give another --store")
        if damage != "ok":
            raise StoreError(
                f"{self.path}: damaged ({' '.join(damage.split())}); it was left as it is. {self._rescue()}"
            )
        if version > SCHEMA:
            raise StoreError(
                f"{self.path}: has schema {version}, made by a newer azsim than this one, which knows {SCHEMA}: update "
                f"azsim, or give another --store"
            )
        return int(version)

    def _rescue(self) -> str:
        return f"`sqlite3 {self.path} .recover` may save what is whole; otherwise start a new --store"

    def _bring_up_to_date(self) -> None:
        """Create or migrate in one transaction; a second process that came at the same time finds it done."""
        with self._transaction():
            version = self.db.execute("PRAGMA user_version").fetchone()[0]
            steps = [CREATE, *(MIGRATIONS[n] for n in sorted(MIGRATIONS))][version:]
            for step in steps:
                for statement in filter(str.strip, step.split(";\n")):
                    self.db.execute(statement)
            self.db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self.db.execute(f"PRAGMA user_version = {SCHEMA}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What the file system does to us is the user's to mend."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except (sqlite3.DatabaseError, OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            code = getattr(error, "sqlite_errorname", "")
            if isinstance(error, ValueError) or code.startswith(DAMAGED) or "decode" in str(error):
                raise StoreError(f"{self.path}: damaged ({error}); nothing was written. {self._rescue()}") from error
            if code.startswith("SQLITE_BUSY"):
                raise StoreError(
                    f"{self.path}: another process has been writing to it for {BUSY_MS / 1000:g} s. Every point "
                    f"committed before is kept: run the same command again when that one is done"
                ) from error
            raise StoreError(
                f"{self.path}: cannot be written ({error}). Every point committed before is kept{self._count()}: free "
                f"space or mend the permissions, then run the same command again; it does the rest"
            ) from error

    def _count(self) -> str:
        try:
            return f" ({self.db.execute('SELECT count(*) FROM points').fetchone()[0]:,} in all)"
        except (AttributeError, sqlite3.Error):
            return ""

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, whatever stops it."""
        with self._telling():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:  # SQLite itself has rolled back where the disk is full
                    self.db.execute("ROLLBACK")
                raise

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._telling():
            return self.db.execute(query, values).fetchall()

    def add(self, rows: Iterable[Row], failures: Iterable[tuple[str, str]] = ()) -> None:
        """Commit points that ran, and (key, error text) of those that could not.

        What is there already stays, but for the failure of a point that has run after all.
        """
        ran = [
            (r.key, json.dumps(r.chip, sort_keys=True), r.network, r.network_hash, r.weight_bits, r.weight_density,
             r.audio, r.audio_hash, r.code_version, json.dumps(r.figures), r.seconds, r.fidelity)
            for r in rows
        ]  # fmt: skip
        columns = ", ".join(Row.__dataclass_fields__)
        places = ", ".join("?" * len(Row.__dataclass_fields__))
        failed = [(key, error, key) for key, error in failures]
        if not ran and not failed:
            return
        with self._transaction():
            self.db.executemany(f"INSERT OR IGNORE INTO points ({columns}) VALUES ({places})", ran)
            self.db.executemany("DELETE FROM failures WHERE key = ?", [(values[0],) for values in ran])
            self.db.executemany(
                "INSERT OR IGNORE INTO failures (key, error) SELECT ?, ? WHERE NOT EXISTS "
                "(SELECT 1 FROM points WHERE key = ?)",
                failed,
            )

    def enlist(self, sweep: str, members: Iterable[tuple[str, dict[str, Any]]], conditions: Sequence[str] = ()) -> None:
        """Say which points a sweep asks for, (key, axes), and what it wants of them."""
        rows = [(sweep, key, json.dumps(axes)) for key, axes in members]
        with self._transaction():
            self.db.executemany("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", rows)
            self.db.execute("INSERT OR REPLACE INTO conditions VALUES (?, ?)", (sweep, json.dumps(conditions)))

    def conditions(self) -> dict[str, list[str]]:
        """What each sweep wants of its points, by sweep; the last run of a sweep decides."""
        with self._telling():
            return {name: json.loads(text) for name, text in self._read("SELECT * FROM conditions")}

    def forget_failures(self, keys: Iterable[str]) -> None:
        """So that they are tried again."""
        with self._transaction():
            self.db.executemany("DELETE FROM failures WHERE key = ?", [(key,) for key in keys])

    def finished(self, keys: Iterable[str]) -> set[str]:
        """Which of some points ran or failed."""
        wanted, found = list(keys), set()
        for i in range(0, len(wanted), KEYS_PER_QUERY):
            some = wanted[i : i + KEYS_PER_QUERY]
            marks = ", ".join("?" * len(some))
            for table in ("points", "failures"):
                query = f"SELECT key FROM {table} WHERE key IN ({marks})"
                found |= {key for (key,) in self._read(query, some)}
        return found

    def rows(self, keys: Iterable[str]) -> dict[str, Row]:
        """Those of some points that ran, by key."""
        wanted, found = list(keys), dict[str, Row]()
        columns = ", ".join(Row.__dataclass_fields__)
        for i in range(0, len(wanted), KEYS_PER_QUERY):
            some = wanted[i : i + KEYS_PER_QUERY]
            query = f"SELECT {columns} FROM points WHERE key IN ({', '.join('?' * len(some))})"
            with self._telling():
                found |= {values[0]: _row(values) for values in self._read(query, some)}
        return found

    def failures(self, sweep: str | None = None) -> list[tuple[str, dict[str, Any], str]]:
        """(sweep, axes, error text) of points that could not run."""
        query = f"SELECT sweep, axes, error FROM {MEMBERS} JOIN failures USING (key) WHERE sweep = ? OR ? ORDER BY 1, 2"
        with self._telling():
            found = self._read(query, (sweep, sweep is None))
            return [(name, json.loads(axes), error) for name, axes, error in found]

    def points(self, sweep: str | None = None) -> list[tuple[str, dict[str, Any], Row]]:
        """(sweep, axes, point) of everything that ran, in the order of the keys.

        Where a sweep was run again and its points are others now, by another network or newer code, the last
        count.
        """
        columns = ", ".join(Row.__dataclass_fields__)
        query = (
            f"SELECT sweep, axes, {columns} FROM {MEMBERS} JOIN points USING (key) "
            f"WHERE sweep = ? OR ? ORDER BY 1, 3, 2"
        )
        with self._telling():
            found = self._read(query, (sweep, sweep is None))
            return [(name, json.loads(axes), _row(values)) for name, axes, *values in found]

    def sweeps(self) -> dict[str, int]:
        """Points by sweep."""
        return dict(self._read(f"SELECT sweep, count(*) FROM {MEMBERS} GROUP BY sweep ORDER BY sweep"))

    def networks(self) -> set[tuple[str, str]]:
        """(name, hash) of every network with results."""
        return set(self._read("SELECT DISTINCT network, network_hash FROM points"))


def _row(values: Sequence[Any]) -> Row:
    """A row of the table ``points``, its JSON read."""
    row = dict(zip(Row.__dataclass_fields__, values, strict=True))
    row["chip"], row["figures"] = json.loads(row["chip"]), json.loads(row["figures"])
    return Row(**row)
