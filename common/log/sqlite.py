"""The log in one SQLite file.

PROTOCOL.md 4.3: what members need to resume after a restart, and nothing longer. Rooms append in memory and queue what
must be written; one writer thread writes whatever has queued up in one transaction, and only what is committed is
shown. So a crash takes back nothing that anybody has seen.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import files
from common.errors import FileError
from common.log.memory import Cursor, MemoryLog
from common.wire.records import MemberId, Seq

FILE = "log.sqlite"
MAX_BATCH = 50_000
"""Statements in one transaction: a bound on what a crash loses of what nobody was shown."""
MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""What may wait for a disk that is full or slow before members are no longer read."""

_SCHEMA = """
CREATE TABLE rooms (
    room INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, log_id BLOB NOT NULL, last_number INTEGER NOT NULL
);
CREATE TABLE records (
    room INTEGER, seq INTEGER, position INTEGER NOT NULL, frame BLOB NOT NULL, h BLOB NOT NULL, PRIMARY KEY (room, seq)
) WITHOUT ROWID;
CREATE TABLE mail (
    room INTEGER, number INTEGER, seq INTEGER, position INTEGER NOT NULL, frame BLOB NOT NULL,
    PRIMARY KEY (room, number, seq)
) WITHOUT ROWID;
CREATE TABLE members (room INTEGER, number INTEGER, card BLOB NOT NULL, PRIMARY KEY (room, number)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
_VERSION = 1

_Statement = tuple[str, tuple[object, ...]]


@dataclass(slots=True)
class StoredRoom:
    """A room as it was found in the file.

    Attributes:
        hashes: H before the first record that is kept, and after each.
        cards: the card of each member, by number.
        last_number: the highest number ever given.
    """

    name: str
    log: StoredLog
    hashes: list[bytes]
    cards: dict[MemberId, bytes]
    last_number: int


class Store:
    """The file of one relay. `commit` belongs to the writer thread, `add` to whoever creates rooms."""

    def __init__(self, directory: Path) -> None:
        """Open or create the file.

        Raises:
            FileError: if it is in use, damaged, or others can read it; nothing is changed then.
        """
        files.make_private_dir(directory)
        self._path = directory / FILE
        self._lock = files.hold(directory / "lock", f"Another server uses {directory}.")
        self._queue: deque[tuple[StoredLog | None, int, _Statement]] = deque()
        self._batch: list[tuple[StoredLog | None, int, _Statement]] = []
        self._queued_bytes = 0
        self._wakes = threading.Event()
        self._is_stopping = False
        for suffix in ("", "-wal", "-shm"):
            files.check_private(self._path.with_name(FILE + suffix))
        try:
            self._db = self._open()
        except sqlite3.Error as problem:
            self._lock.close()
            raise FileError(
                f"The log {self._path} cannot be used: {problem}. Restore it, or move it away."
            ) from None

    def _open(self) -> sqlite3.Connection:
        is_new = not self._path.exists()
        if is_new:
            # SQLite gives its side files the mode of this one.
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        if is_new or self._path.stat().st_size == 0:
            db.executescript(_SCHEMA)
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found != _VERSION:
            raise sqlite3.DatabaseError(f"its version is {found}, not {_VERSION}")
        (check,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if check != "ok":
            raise sqlite3.DatabaseError(check)
        return db

    def close(self) -> None:
        """Close the file; what is queued is written first, if it can be."""
        with contextlib.suppress(FileError):
            self.commit()
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        self._lock.close()

    # --- Rooms.

    def add(self, name: str, log_id: bytes) -> StoredLog:
        """Begin the log of a new room."""
        log = StoredLog(self, name, log_id)
        self.put(
            log,
            0,
            "INSERT OR REPLACE INTO rooms (name, log_id, last_number) VALUES (?, ?, 0)",
            (name, log_id),
        )
        return log

    def remove(self, log: StoredLog) -> None:
        """Forget a room that all members have left."""
        for table in ("records", "mail", "members"):
            # The room itself goes last: the others are found by its name.
            self.put(log, 0, f"DELETE FROM {table} WHERE room = {_ROOM}", (log.name,))  # noqa: S608
        self.put(log, 0, "DELETE FROM rooms WHERE name = ? AND log_id = ?", (log.name, log.log_id))
        self.put(None, 0, _CHECKPOINT, ())

    def load(self, now: float) -> list[StoredRoom]:
        """Return every room in the file.

        Raises:
            FileError: if the file is damaged.
        """
        try:
            return [
                self._load(room, name, log_id, last, now)
                for room, name, log_id, last in self._db.execute("SELECT * FROM rooms").fetchall()
            ]
        except (sqlite3.Error, ValueError, IndexError) as problem:
            raise FileError(
                f"The log {self._path} is damaged: {problem}. Restore it, or move it away."
            ) from None

    def _load(self, room: int, name: str, log_id: bytes, last: int, now: float) -> StoredRoom:
        log = StoredLog(self, name, log_id)
        hashes: list[bytes] = []
        query = "SELECT seq, position, frame, h FROM records WHERE room = ? ORDER BY seq"
        for seq, position, frame, h in self._db.execute(query, (room,)):
            log.restore(None, seq, position, frame, now)
            hashes.append(h)
        cards: dict[MemberId, bytes] = {}
        query = "SELECT number, card FROM members WHERE room = ? ORDER BY number"
        for number, card in self._db.execute(query, (room,)):
            cards[MemberId(number)] = card
            log.restore_mail(MemberId(number))
        query = "SELECT number, seq, position, frame FROM mail WHERE room = ? ORDER BY number, seq"
        for number, seq, position, frame in self._db.execute(query, (room,)):
            log.restore(MemberId(number), seq, position, frame, now)
        log.restored()
        return StoredRoom(name, log, hashes, cards, last)

    # --- Writing.

    def put(
        self, log: StoredLog | None, position: int, statement: str, values: tuple[object, ...]
    ) -> None:
        """Queue a statement; `position` of `log` may be shown once it is committed."""
        self._queue.append((log, position, (statement, values)))
        self._queued_bytes += sum(len(value) for value in values if isinstance(value, bytes))
        self._wakes.set()

    @property
    def is_backlogged(self) -> bool:
        """Whether so much waits for the disk that nothing more should be taken in."""
        return self._queued_bytes > MAX_QUEUED_BYTES

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until there is something to commit, or `stop`."""
        self._wakes.wait(timeout_s)

    def stop(self) -> None:
        """Let `wait` return at once from now on."""
        self._is_stopping = True
        self._wakes.set()

    def commit(self) -> list[StoredLog]:
        """Write what is queued in one transaction.

        Returns:
            The logs of which more may be shown now.

        Raises:
            FileError: if it cannot be written; it stays queued, and nothing of it is shown.
        """
        if not self._is_stopping:
            self._wakes.clear()
        while self._queue and len(self._batch) < MAX_BATCH:
            self._batch.append(self._queue.popleft())
        if not self._batch:
            return []
        has_removed = False
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for _, _, (statement, values) in self._batch:
                if statement is _CHECKPOINT:
                    has_removed = True
                else:
                    self._db.execute(statement, values)
            self._db.execute("COMMIT")
        except sqlite3.Error as problem:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise FileError(f"The log {self._path} cannot be written: {problem}.") from None
        if has_removed:
            # What was deleted stands in the write-ahead log still.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        grown: dict[int, tuple[StoredLog, int]] = {}
        for log, position, (_, values) in self._batch:
            self._queued_bytes -= sum(len(value) for value in values if isinstance(value, bytes))
            if log is not None:
                grown[id(log)] = (log, max(position, grown.get(id(log), (log, 0))[1]))
        self._batch.clear()
        for log, position in grown.values():
            log.to_show = max(log.to_show, position)
        if self._queue:
            self._wakes.set()
        return [log for log, _ in grown.values()]


_ROOM = "(SELECT room FROM rooms WHERE name = ?)"
_CHECKPOINT = "-- checkpoint"
"""Stands for: what was deleted must be gone from the write-ahead log too."""
