"""The log in one SQLite file.

PROTOCOL.md 4.3: what members need to resume after a restart, and nothing longer. Rooms append in
memory and queue what must be written; one writer thread writes whatever has queued up in one
transaction, and only what is committed is shown. So a crash takes back nothing that anybody has
seen.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common import files
from common.errors import FileError
from common.log.memory import Cursor, MemoryLog
from common.wire.records import Delivered, MemberId, Seq

FILE = "log.sqlite"
MAX_BATCH = 50_000
"""Appends in one transaction: a bound on what a crash loses of what nobody was shown."""
MAX_QUEUED = 4_000
"""Appends that may wait for a disk that is full or slow before members are no longer read."""

_SCHEMA = """
CREATE TABLE rooms (
    room INTEGER PRIMARY KEY, name TEXT NOT NULL, log_id BLOB NOT NULL,
    last_number INTEGER NOT NULL
);
CREATE TABLE records (
    room INTEGER, seq INTEGER, position INTEGER NOT NULL, frame BLOB NOT NULL, h BLOB NOT NULL,
    PRIMARY KEY (room, seq)
) WITHOUT ROWID;
CREATE TABLE mail (
    room INTEGER, number INTEGER, seq INTEGER, position INTEGER NOT NULL, frame BLOB NOT NULL,
    PRIMARY KEY (room, number, seq)
) WITHOUT ROWID;
CREATE TABLE members (
    room INTEGER, number INTEGER, card BLOB NOT NULL, PRIMARY KEY (room, number)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
_VERSION = 1
_SEEN = "CREATE TABLE IF NOT EXISTS seen (number INTEGER PRIMARY KEY, ephemeral BLOB NOT NULL)"

_Statement = tuple[str, tuple[object, ...]]
_CHECKPOINT = "-- checkpoint"
"""Stands for: what was deleted must be gone from the write-ahead log too."""
_REMOVE = (
    "DELETE FROM records WHERE room = ?",
    "DELETE FROM mail WHERE room = ?",
    "DELETE FROM members WHERE room = ?",
    "DELETE FROM rooms WHERE room = ?",
)


class _Unit(NamedTuple):
    """Statements that are one: a crash keeps them all or none.

    Attributes:
        log: whose they are, if they are of one.
        position: of the log, may be shown once they are committed.
    """

    log: StoredLog | None
    position: int
    statements: tuple[_Statement, ...]


@dataclass(slots=True)
class StoredRoom:
    """A room as it was found in the file.

    Attributes:
        hashes: H after each record that is kept.
        cards: the card of each member, by number.
        last_number: the highest number ever given.
    """

    name: str
    log: StoredLog
    hashes: list[bytes]
    cards: dict[MemberId, bytes]
    last_number: int


class Store:
    """The file of one relay. `commit` belongs to one writer thread; the rest is queued by any."""

    def __init__(self, directory: Path, wake: Callable[[], None]) -> None:
        """Open or create the file; `wake` is called when there is something to commit.

        Raises:
            FileError: if it is in use, damaged, or others can read it; nothing is changed then.
        """
        files.make_private_dir(directory)
        self._path = directory / FILE
        self._lock = files.hold(directory / "lock", f"Another server uses {directory}.")
        self._queue: deque[_Unit] = deque()
        self._batch: list[_Unit] = []
        self._wake = wake
        self._last_room = 0
        try:
            for suffix in ("", "-wal", "-shm"):
                files.check_private(self._path.with_name(FILE + suffix))
            self._db = self._open()
        except FileError:
            self._lock.close()
            raise
        except (sqlite3.Error, OSError) as problem:
            self._lock.close()
            raise self._unusable(problem) from None
        # A relay that was killed may have left there what it had removed already.
        self._owes_checkpoint = True
        self._checkpoint()

    def _unusable(self, problem: Exception) -> FileError:
        return FileError(
            f"The log {self._path} cannot be used: {problem}. "
            f"Restore it, or move it and {FILE}-wal away."
        )

    def _open(self) -> sqlite3.Connection:
        wal = self._path.with_name(FILE + "-wal")
        if self._path.exists() and self._path.stat().st_size:
            self._check()
        elif wal.exists() and wal.stat().st_size:
            # SQLite would throw it away.
            raise sqlite3.DatabaseError("it is empty, but not its write-ahead log")
        else:
            # SQLite gives its side files the mode of this one.
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
        db = self._connect("rwc")
        try:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            if not _version(db):
                db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            db.execute(_SEEN)
        except BaseException:
            db.close()
            raise
        return db

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode={mode}"
        if self._lock.locks_ranges():
            return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        # A file system without locks: SQLite would take ours for another's.
        uri += "&vfs=unix-none"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # else it needs them for its side files
        return db

    def _check(self) -> None:
        """Check the file by a connection that cannot write: closing any other would.

        Raises:
            sqlite3.Error: if it is damaged, or not ours.
        """
        with contextlib.closing(self._connect("ro")) as db:
            # One that was killed while it made the file has left it without a table.
            is_begun = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if _version(db) != (_VERSION if is_begun else 0):
                raise sqlite3.DatabaseError(f"its version is {_version(db)}, not {_VERSION}")
            (check,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if check != "ok":
                raise sqlite3.DatabaseError(" ".join(check.split()))

    def close(self) -> None:
        """Close the file; what is queued is written first, if it can be."""
        with contextlib.suppress(FileError):
            while self._queue or self._batch:
                self.commit()
        self._owes_checkpoint = True
        self._checkpoint()
        self._db.close()
        self._lock.close()

    # --- Rooms.

    def add(self, name: str, log_id: bytes) -> StoredLog:
        """Begin the log of a new room."""
        self._last_room += 1
        log = StoredLog(self, self._last_room, log_id)
        self.put(log, 0, ("INSERT INTO rooms VALUES (?, ?, ?, 0)", (log.room, name, log_id)))
        return log

    def remove(self, log: StoredLog) -> None:
        """Forget a room that all members have left."""
        self.put(log, 0, *((statement, (log.room,)) for statement in _REMOVE), (_CHECKPOINT, ()))
        log.is_removed = True

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
            raise self._unusable(problem) from None

    def _load(self, room: int, name: str, log_id: bytes, last: int, now: float) -> StoredRoom:
        log = StoredLog(self, room, log_id)
        self._last_room = max(self._last_room, room)
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
        gone: set[int] = set()
        query = "SELECT number, seq, position, frame FROM mail WHERE room = ? ORDER BY number, seq"
        for number, seq, position, frame in self._db.execute(query, (room,)):
            if number in cards:
                log.restore(MemberId(number), seq, position, frame, now)
            else:
                # It left, and its mail was still to be removed.
                gone.add(number)
        log.restored()
        for number in gone:
            log.remove_mail(number)
        return StoredRoom(name, log, hashes, cards, last)

    # --- Who knocked.

    def saw(self, ephemeral: bytes, kept: int) -> None:
        """Note by what a message 1 is known (PROTOCOL.md 3.1); of those before, `kept` stay."""
        note = "INSERT INTO seen (ephemeral) VALUES (?)"
        forget = "DELETE FROM seen WHERE number <= (SELECT max(number) FROM seen) - ?"
        self.put(None, 0, (note, (ephemeral,)), (forget, (kept,)))

    def seen(self, kept: int) -> list[bytes]:
        """Return the last that were noted, the oldest first.

        Raises:
            FileError: if the file is damaged.
        """
        query = "SELECT ephemeral FROM seen ORDER BY number DESC LIMIT ?"
        try:
            return [ephemeral for (ephemeral,) in self._db.execute(query, (kept,))][::-1]
        except sqlite3.Error as problem:
            raise self._unusable(problem) from None

    # --- Writing.

    def put(self, log: StoredLog | None, position: int, *statements: _Statement) -> None:
        """Queue statements that a crash must keep together."""
        self._queue.append(_Unit(log, position, statements))
        self._wake()

    @property
    def is_backlogged(self) -> bool:
        """Whether so much waits for the disk that nothing more should be taken in."""
        return len(self._queue) + len(self._batch) > MAX_QUEUED

    def commit(self) -> list[StoredLog]:
        """Write what is queued in one transaction.

        Returns:
            The logs of which more may be shown now.

        Raises:
            FileError: if it cannot be written; it stays queued, and nothing of it is shown.
        """
        while self._queue and len(self._batch) < MAX_BATCH:
            self._batch.append(self._queue.popleft())
        if not self._batch:
            return []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            statements = (statement for unit in self._batch for statement in unit.statements)
            for statement, run in itertools.groupby(statements, key=operator.itemgetter(0)):
                self._execute(statement, [values for _, values in run])
            self._db.execute("COMMIT")
        except sqlite3.Error as problem:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise FileError(f"The log {self._path} cannot be written: {problem}.") from None
        grown: dict[int, StoredLog] = {}
        for unit in self._batch:
            if unit.log is not None:
                grown[id(unit.log)] = unit.log
                unit.log.to_show = max(unit.log.to_show, unit.position)
        self._batch.clear()
        self._checkpoint()
        if self._queue:
            self._wake()
        return list(grown.values())

    def _execute(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        """Execute a statement for every row, many rows at a time where it inserts.

        Each execution lets another thread run, and waits until that one lets go again.
        """
        if statement is _CHECKPOINT:
            self._owes_checkpoint = True
            return
        more = ", " + statement.partition("VALUES ")[2]
        at = 0
        for size in (64, 8, 1) if statement.startswith("INSERT") else (1,):
            many = statement + more * (size - 1)
            while at + size <= len(rows):
                self._db.execute(many, [*itertools.chain.from_iterable(rows[at : at + size])])
                at += size

    def _checkpoint(self) -> None:
        """Empty the write-ahead log of what was deleted, or owe it until the disk has room."""
        if self._owes_checkpoint:
            with contextlib.suppress(sqlite3.Error):
                (is_busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                self._owes_checkpoint = bool(is_busy)


def _version(db: sqlite3.Connection) -> int:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


class StoredLog(MemoryLog):
    """A log that is in the file too; what is appended is shown once it is committed there.

    Attributes:
        to_show: the position that is committed; `show` makes it seen.
        on_commit: called by the writer thread when that has moved.
        late_s: when the disk had last kept records waiting, on the clock of `now`.
    """

    def __init__(self, store: Store, room: int, log_id: bytes) -> None:
        super().__init__(log_id)
        self.room = room
        self.to_show = 0
        self.is_removed = False
        self.on_commit: Callable[[], None] = self.show
        self.late_s = -math.inf
        self._store = store
        self._unit: list[_Statement] = []

    def show(self) -> None:
        """Show what is committed."""
        self._shown = max(self._shown, self.to_show)

    def read(self, number: MemberId, cursor: Cursor, limit_bytes: int) -> bytes:
        """Return what follows the cursor; what waited for the disk is no older than its commit."""
        batch = super().read(number, cursor, limit_bytes)
        cursor.oldest_s = max(cursor.oldest_s, self.late_s)
        return batch

    def keep_card(self, number: MemberId, card: bytes) -> None:
        """Take note of a member's card, with the CARD that is appended next."""
        self._do("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", self.room, number, card)
        statement = "UPDATE rooms SET last_number = max(last_number, ?) WHERE room = ?"
        self._do(statement, number, self.room)

    def drop_card(self, number: MemberId) -> None:
        """Take note that a member has left, with the LEAVE that is appended next."""
        self._do("DELETE FROM members WHERE room = ? AND number = ?", self.room, number)

    def append(self, frame: bytes, h: bytes, now: float) -> None:
        """Append the next room record, after its length; the transcript hash is `h` then."""
        super().append(frame, h, now)
        self._put()

    def append_mail(self, record: Delivered, now: float, *, is_delivered: bool = True) -> None:
        """Append mail and its echo: with one and not the other, it would be said again."""
        super().append_mail(record, now, is_delivered=is_delivered)
        self._put()

    def close_mail(self, number: MemberId) -> None:
        """Forget the mail stream of a member that has left."""
        super().close_mail(number)
        self.remove_mail(number)

    def remove_mail(self, number: int) -> None:
        """Remove the mail of a member that has left from the file."""
        self._do("DELETE FROM mail WHERE room = ? AND number = ?", self.room, number)
        self._do(_CHECKPOINT)
        self._put()

    def prune(self, live: Mapping[MemberId, Cursor]) -> None:
        """Drop what is past retention, in the file too."""
        streams = [(None, self._room), *self._mail.items()]
        before = [stream.first for _, stream in streams]
        super().prune(live)
        for first, (number, stream) in zip(before, streams, strict=True):
            if stream.first == first:
                continue
            if number is None:
                statement = "DELETE FROM records WHERE room = ? AND seq < ?"
                self._do(statement, self.room, stream.first)
            else:
                statement = "DELETE FROM mail WHERE room = ? AND number = ? AND seq < ?"
                self._do(statement, self.room, number, stream.first)
        if self._unit:
            self._do(_CHECKPOINT)
            self._put()

    def _keep(self, number: MemberId | None, seq: Seq, frame: bytes, h: bytes) -> None:
        at = self._position
        if number is None:
            self._do("INSERT INTO records VALUES (?, ?, ?, ?, ?)", self.room, seq, at, frame, h)
        else:
            statement = "INSERT INTO mail VALUES (?, ?, ?, ?, ?)"
            self._do(statement, self.room, number, seq, at, frame)

    def _do(self, statement: str, *values: object) -> None:
        self._unit.append((statement, values))

    def _put(self) -> None:
        """Queue what was gathered: no commit falls in between."""
        if not self.is_removed:
            # What comes after the removal, a LEAVE for one, would stay in the file for ever.
            self._store.put(self, self._position, *self._unit)
        self._unit.clear()

    # --- After a restart.

    def restore_mail(self, number: MemberId) -> None:
        """Begin the mail stream of a member found in the file."""
        super().open_mail(number)

    def restore(
        self, number: MemberId | None, seq: int, position: int, frame: bytes, now: float
    ) -> None:
        """Take a record found in the file; of each stream, in order.

        Raises:
            ValueError: if one is missing in between.
        """
        stream = self._room if number is None else self._mail_of(number)
        if not stream.frames:
            stream.begin(seq)
        if seq != stream.last + 1:
            raise ValueError(f"record {seq} does not follow {stream.last}")
        stream.append(frame, position, now)
        self._position = max(self._position, position)

    def restored(self) -> None:
        """Show all that was found: it is committed."""
        self._shown = self.to_show = self._position
