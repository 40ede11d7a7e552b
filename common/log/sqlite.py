"""The log in one SQLite file.

PROTOCOL.md 4.3: what members need to resume after a restart, and nothing longer. Rooms append in
memory and queue what must be written; one writer thread writes whatever has queued up in one
transaction, and only what is committed is shown. So a crash takes back nothing that anybody has
seen.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common import files
from common.errors import FileError
from common.log.memory import Cursor, MemoryLog
from common.wire.records import MemberId, Seq

FILE = "log.sqlite"
MAX_BATCH = 50_000
"""Statements in one transaction: a bound on what a crash loses of what nobody was shown."""
MAX_QUEUED = 4_000
"""Statements that may wait for a disk that is full or slow before members are no longer read."""

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

_Statement = tuple[str, tuple[object, ...]]
_CHECKPOINT = "-- checkpoint"
"""Stands for: what was deleted must be gone from the write-ahead log too."""


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
        self._queue: deque[tuple[StoredLog | None, int, _Statement]] = deque()
        self._batch: list[tuple[StoredLog | None, int, _Statement]] = []
        self._wake = wake
        self._last_room = 0
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
        self._last_room += 1
        log = StoredLog(self, self._last_room, log_id)
        self.put(log, 0, "INSERT INTO rooms VALUES (?, ?, ?, 0)", (log.room, name, log_id))
        return log

    def remove(self, log: StoredLog) -> None:
        """Forget a room that all members have left."""
        for statement in (
            "DELETE FROM records WHERE room = ?",
            "DELETE FROM mail WHERE room = ?",
            "DELETE FROM members WHERE room = ?",
            "DELETE FROM rooms WHERE room = ?",
            _CHECKPOINT,
        ):
            self.put(log, 0, statement, (log.room,))

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
        query = "SELECT number, seq, position, frame FROM mail WHERE room = ? ORDER BY number, seq"
        for number, seq, position, frame in self._db.execute(query, (room,)):
            if number in cards:
                log.restore(MemberId(number), seq, position, frame, now)
        log.restored()
        return StoredRoom(name, log, hashes, cards, last)

    # --- Writing.

    def put(
        self, log: StoredLog | None, position: int, statement: str, values: tuple[object, ...]
    ) -> None:
        """Queue a statement; `position` of `log` may be shown once it is committed."""
        self._queue.append((log, position, (statement, values)))
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
        for log, position, _ in self._batch:
            if log is not None:
                grown[id(log)] = (log, max(position, grown.get(id(log), (log, 0))[1]))
        self._batch.clear()
        for log, position in grown.values():
            log.to_show = max(log.to_show, position)
        if self._queue:
            self._wake()
        return [log for log, _ in grown.values()]


class StoredLog(MemoryLog):
    """A log that is in the file too; what is appended is shown once it is committed there.

    Attributes:
        to_show: the position that is committed; `show` makes it seen.
        on_commit: called by the writer thread when that has moved.
    """

    def __init__(self, store: Store, room: int, log_id: bytes) -> None:
        super().__init__(log_id)
        self.room = room
        self.to_show = 0
        self.on_commit: Callable[[], None] = self.show
        self._store = store

    def show(self) -> None:
        """Show what is committed."""
        self._shown = max(self._shown, self.to_show)

    def keep_card(self, number: MemberId, card: bytes) -> None:
        """Take note of a member's card, its first or a newer one."""
        self._put("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", self.room, number, card)
        statement = "UPDATE rooms SET last_number = max(last_number, ?) WHERE room = ?"
        self._put(statement, number, self.room)

    def drop_card(self, number: MemberId) -> None:
        """Take note that a member has left: in the transaction of its LEAVE."""
        self._put("DELETE FROM members WHERE room = ? AND number = ?", self.room, number)

    def close_mail(self, number: MemberId) -> None:
        """Forget the mail stream of a member that has left."""
        super().close_mail(number)
        self._put("DELETE FROM mail WHERE room = ? AND number = ?", self.room, number)
        self._put(_CHECKPOINT)

    def prune(self, live: Mapping[MemberId, Cursor]) -> None:
        """Drop what is past retention, in the file too."""
        super().prune(live)
        self._put("DELETE FROM records WHERE room = ? AND seq < ?", self.room, self._room.first)
        for number, mail in self._mail.items():
            statement = "DELETE FROM mail WHERE room = ? AND number = ? AND seq < ?"
            self._put(statement, self.room, number, mail.first)
        self._put(_CHECKPOINT)

    def _keep(self, number: MemberId | None, seq: Seq, frame: bytes, h: bytes) -> None:
        at = self._position
        if number is None:
            self._put("INSERT INTO records VALUES (?, ?, ?, ?, ?)", self.room, seq, at, frame, h)
        else:
            statement = "INSERT INTO mail VALUES (?, ?, ?, ?, ?)"
            self._put(statement, self.room, number, seq, at, frame)

    def _put(self, statement: str, *values: object) -> None:
        self._store.put(self, self._position, statement, values)

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
        stream = self._room if number is None else self._mail[number]
        if not stream.frames:
            stream.first = seq
        if seq != stream.last + 1:
            raise ValueError(f"record {seq} does not follow {stream.last}")
        stream.append(frame[2:], position, now)
        self._position = max(self._position, position)

    def restored(self) -> None:
        """Show all that was found: it is committed."""
        self._shown = self.to_show = self._position
