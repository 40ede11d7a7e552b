"""What was shown is in the file, what was removed is not, and a crash falls between whole units."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import FileError
from common.log import memory, sqlite
from common.log.memory import Cursor
from common.log.sqlite import FILE, Store, StoredLog, StoredRoom
from common.wire.records import (
    CARD_BYTES,
    RELAY,
    Delivered,
    Kind,
    MemberId,
    Seq,
    decode_delivered,
    framed,
    split,
)

ONE, TWO = MemberId(1), MemberId(2)
ROOM_ID = bytes(range(16))
T = 1_000.0
LIMIT = 65_519
FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm")


class Woken:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


Open = Callable[[], Store]


@pytest.fixture
def opened(directory: Path) -> Iterator[Open]:
    stores: list[Store] = []

    def open_store() -> Store:
        stores.append(Store(directory, Woken()))
        return stores[-1]

    yield open_store
    for store in stores:
        abandon(store)


def abandon(store: Store) -> None:
    """Let go without writing anything, as a crash does; the file may be open once only."""
    with contextlib.suppress(sqlite3.ProgrammingError):
        store._db.execute("SELECT 1")  # unless it is closed
        store._queue.clear()
        store._batch.clear()
        store.close()


def start() -> Cursor:
    return Cursor(Seq(0), Seq(0))


def append(log: StoredLog, record: Delivered, h: bytes = bytes(32)) -> None:
    log.append(framed(record.encode()), h, T)


def say(log: StoredLog, body: bytes = bytes(128), h: bytes = bytes(32)) -> Delivered:
    record = Delivered(Kind.MESSAGE, ONE, RELAY, Seq(log.room_seq + 1), 5, body)
    append(log, record, h)
    return record


def mail(log: StoredLog, sender: MemberId, to: MemberId, body: bytes = bytes(128)) -> Delivered:
    record = Delivered(Kind.MESSAGE, sender, to, Seq(0), 5, body)
    log.append_mail(record, T)
    return record


def come(log: StoredLog, number: MemberId, card: bytes) -> None:
    """Do as `Room` does when a member joins."""
    card = card.ljust(CARD_BYTES, b"\0")
    log.open_mail(number)
    log.keep_card(number, card)
    append(log, Delivered(Kind.CARD, number, RELAY, Seq(log.room_seq + 1), 5, card))


def go(log: StoredLog, number: MemberId) -> None:
    """Do as `Room` does when a member leaves."""
    log.drop_card(number)
    append(log, Delivered(Kind.LEAVE, number, RELAY, Seq(log.room_seq + 1), 5, b"\0"))
    log.close_mail(number)


def commit(store: Store) -> None:
    for log in store.commit():
        log.on_commit()


def read(log: StoredLog, number: MemberId, cursor: Cursor | None = None) -> list[Delivered]:
    return [decode_delivered(r) for r in split(log.read(number, cursor or start(), LIMIT))]


def room_of(store: Store) -> StoredRoom:
    (room,) = store.load(T)
    return room


def contains(directory: Path, marker: bytes) -> list[str]:
    return [name for name in FILES if marker in (directory / name).read_bytes()]


# --- What is committed, and what is not.


def test_a_room_comes_back_as_it_was(opened: Open) -> None:
    store = opened()
    log = store.add("attic", ROOM_ID)
    for number in (ONE, TWO):
        come(log, number, b"card %d" % number)
    said = say(log, h=b"h" * 32)
    told = mail(log, ONE, TWO)
    log.keep_card(TWO, bytes(CARD_BYTES))
    come(log, MemberId(3), b"card 3")
    go(log, MemberId(3))
    before = [read(log, number, start()) for number in (ONE, TWO)]
    assert before == [[], []]
    commit(store)
    before = [read(log, number, start()) for number in (ONE, TWO)]
    assert told._replace(seq=Seq(1)) in before[1]
    assert said in before[0]
    store.close()

    room = room_of(opened())
    assert (room.name, room.log.log_id, room.last_number) == ("attic", ROOM_ID, 3)
    assert room.cards == {ONE: b"card 1".ljust(CARD_BYTES, b"\0"), TWO: bytes(CARD_BYTES)}
    assert room.hashes[2] == b"h" * 32
    assert len(room.hashes) == room.log.room_seq == 5
    assert [read(room.log, number, start()) for number in (ONE, TWO)] == before
    assert room.log.shows(log.position)
    assert room.log.retains(ONE, Seq(0), Seq(1))


@pytest.mark.skipif(os.name != "posix", reason="other systems have other locks")
def test_a_file_system_without_locks_keeps_a_log_all_the_same(
    opened: Open, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def lacks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", lacks)
    monkeypatch.setattr(fcntl, "lockf", lacks)
    store = opened()
    assert store._db.execute("PRAGMA locking_mode").fetchone() == ("exclusive",)
    test_what_follows_a_restart_goes_on_counting(opened)
    # On a file system that has them, it is a log like any other.
    monkeypatch.undo()
    assert opened()._db.execute("PRAGMA locking_mode").fetchone() == ("normal",)
    assert (directory / FILE).stat().st_mode & 0o777 == 0o600


def test_what_follows_a_restart_goes_on_counting(opened: Open) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    come(log, TWO, b"card")
    mail(log, ONE, TWO)
    commit(store)
    store.close()
    store = opened()
    log = room_of(store).log
    said = say(log)
    told = mail(log, ONE, TWO)
    assert (said.seq, log.room_seq) == (3, 3)
    commit(store)
    assert read(log, TWO)[-2:] == [said, told._replace(seq=Seq(2))]
    second = store.add("attic", bytes(16))
    come(second, ONE, b"card")
    commit(store)
    store.close()
    assert [room.log.room_seq for room in opened().load(T)] == [3, 1]


def test_nothing_is_shown_before_it_is_committed(opened: Open) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    come(log, TWO, b"card")
    commit(store)
    cursors = {number: Cursor(log.room_seq, Seq(0)) for number in (ONE, TWO)}
    say(log)
    mail(log, ONE, TWO)
    position = log.position
    assert not log.shows(position)
    assert [read(log, number, cursors[number]) for number in (ONE, TWO)] == [[], []]
    assert store.commit() == [log]
    # Committed, but it is for the room to show, under its lock.
    assert not log.shows(position)
    log.show()
    assert log.shows(position)
    assert [len(read(log, number, cursors[number])) for number in (ONE, TWO)] == [2, 2]


def test_what_was_not_committed_is_not_in_the_file(opened: Open) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    commit(store)
    say(log)
    abandon(store)
    assert room_of(opened()).log.room_seq == 1


def test_many_appends_are_one_transaction(opened: Open) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    for _ in range(100):
        say(log)
    begun: list[str] = []
    store._db.set_trace_callback(begun.append)
    commit(store)
    assert sum(statement.startswith("BEGIN") for statement in begun) == 1
    assert len(read(log, ONE)) == 101
    assert store.commit() == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_commit_never_falls_within_what_belongs_together(
    opened: Open, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A member without its CARD gives another H; mail without its echo is said again.
    monkeypatch.setattr(sqlite, "MAX_BATCH", size)
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    come(log, TWO, b"card")
    mail(log, ONE, TWO)
    log.drop_card(TWO)
    commits = cards = mails = 0
    while store._queue:
        commit(store)
        commits += 1
        db = store._db
        (cards,) = db.execute("SELECT count(*) FROM members").fetchone()
        (records,) = db.execute("SELECT count(*) FROM records").fetchone()
        (mails,) = db.execute("SELECT count(*) FROM mail").fetchone()
        assert cards == records
        assert mails in (0, 2)
    assert commits == -(-4 // size)
    # Of the LEAVE that was begun, nothing is in the file.
    assert cards == mails == 2


def test_many_of_everything_in_one_transaction(opened: Open) -> None:
    store = opened()
    logs = [store.add(f"room{number}", bytes(16)) for number in range(73)]
    for log in logs:
        for number in range(1, 11):
            log.keep_card(MemberId(number), bytes(CARD_BYTES))
        say(log)
    log.open_mail(ONE)
    log.open_mail(TWO)
    told = [mail(log, ONE, TWO, b"%d" % i + bytes(128)) for i in range(150)]
    commit(store)
    store.close()
    rooms = opened().load(T)
    assert [room.name for room in rooms] == [f"room{number}" for number in range(73)]
    assert all(len(room.cards) == room.last_number == 10 for room in rooms)
    assert [record.body for record in read(rooms[-1].log, TWO, Cursor(Seq(1), Seq(0)))] == [
        record.body for record in told
    ]


def test_there_is_always_a_wake_for_what_waits(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken = Woken()
    monkeypatch.setattr(sqlite, "MAX_BATCH", 2)
    store = Store(directory, woken)
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    say(log)
    was = woken.count
    assert was
    commit(store)
    assert woken.count > was
    store.close()


# --- What is removed.


MARKER = secrets.token_bytes(24)


def many(log: StoredLog, count: int) -> None:
    for i in range(count):
        say(log, MARKER + i.to_bytes(4) + bytes(60 + i * 37 % 900))


def test_records_past_retention_leave_the_file(
    opened: Open, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "RETAINED_ROOM", 3)
    monkeypatch.setattr(memory, "RETAINED_MAIL", 2)
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    come(log, TWO, b"card")
    many(log, 500)
    for i in range(50):
        mail(log, ONE, TWO, MARKER + b"mail" + i.to_bytes(4))
    commit(store)
    assert contains(directory, MARKER)
    for _ in range(3):
        say(log)
    for _ in range(2):
        mail(log, ONE, TWO)
    commit(store)
    log.prune({})
    commit(store)
    assert contains(directory, MARKER) == []
    store.close()
    room = room_of(opened())
    assert (room.log.room_seq, len(room.hashes)) == (505, 3)
    assert room.log.retains(TWO, Seq(502), Seq(50))
    assert not room.log.retains(TWO, Seq(501), Seq(52))
    assert not room.log.retains(TWO, Seq(505), Seq(49))


def test_step_by_step_removal_leaves_no_shreds(
    opened: Open, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Cells that moved between pages have been in more than one place.
    monkeypatch.setattr(memory, "RETAINED_ROOM", 20)
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    for i in range(150):
        say(log, MARKER + b"<%06d>" % i + bytes(i * 37 % 300))
        if i % 7 == 0:
            log.prune({})
        commit(store)
    log.prune({})
    commit(store)
    for i in range(130):
        assert contains(directory, MARKER + b"<%06d>" % i) == []


def test_the_mail_of_one_who_left_leaves_the_file(opened: Open) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    come(log, TWO, MARKER)
    mail(log, ONE, TWO, MARKER)
    commit(store)
    go(log, TWO)
    commit(store)
    (count,) = store._db.execute("SELECT count(*) FROM mail").fetchone()
    assert count == 1  # the echo, in the stream of who stays
    assert store._db.execute("SELECT number FROM members").fetchall() == [(ONE,)]


def test_a_crash_between_a_leave_and_its_mail_leaves_no_mail(opened: Open, directory: Path) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    come(log, TWO, b"card")
    mail(log, ONE, TWO, MARKER)
    commit(store)
    log.drop_card(TWO)
    say(log)
    commit(store)
    abandon(store)
    store = opened()
    assert list(room_of(store).cards) == [ONE]
    commit(store)
    assert contains(directory, MARKER) == []


def test_a_room_that_is_over_leaves_the_file(opened: Open, directory: Path) -> None:
    store = opened()
    kept = store.add("kept", ROOM_ID)
    come(kept, ONE, b"card")
    log = store.add("over", MARKER[:16])
    come(log, ONE, MARKER + bytes(1_400))
    come(log, TWO, b"card")
    many(log, 300)
    mail(log, ONE, TWO, MARKER)
    commit(store)
    store.remove(log)
    commit(store)
    assert contains(directory, MARKER[:16]) == []
    store.close()
    assert [room.name for room in opened().load(T)] == ["kept"]


def test_what_a_killed_relay_had_removed_is_gone_after_the_next_start(
    opened: Open, directory: Path
) -> None:
    code = f"""
import os, sys
from pathlib import Path
from common.log.sqlite import Store
store = Store(Path(sys.argv[1]), lambda: None)
log = store.add("", bytes(16))
log.append({MARKER!r} * 4, bytes(32), 0.0)
store.commit()
store._checkpoint = lambda: None
store.remove(log)
store.commit()
os._exit(9)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(directory)], cwd=root, check=False)
    assert done.returncode == 9
    assert contains(directory, MARKER)
    assert opened().load(T) == []
    assert contains(directory, MARKER) == []


# --- Who may use the file.


def test_files_are_private(opened: Open, directory: Path) -> None:
    store = opened()
    store.add("", ROOM_ID)
    commit(store)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in directory.iterdir()) == sorted((*FILES, "lock"))
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["", *FILES])
@pytest.mark.parametrize("bit", [0o040, 0o004, 0o020])
def test_what_others_can_read_is_refused(directory: Path, name: str, bit: int) -> None:
    directory.mkdir(0o700)
    for file in FILES:
        (directory / file).touch(0o600)
    exposed = directory / name
    exposed.chmod(exposed.stat().st_mode | bit)
    with pytest.raises(FileError, match="Others can read") as raised:
        Store(directory, Woken())
    assert str(exposed) in str(raised.value)
    assert all((directory / file).read_bytes() == b"" for file in FILES)
    # Nothing is held: once it is mended, it works.
    exposed.chmod(exposed.stat().st_mode & ~bit)
    Store(directory, Woken()).close()


def test_a_second_server_is_refused_by_name(opened: Open, directory: Path) -> None:
    store = opened()
    with pytest.raises(FileError, match=f"Another server uses {directory}"):
        opened()
    store.close()
    opened()


def damage(directory: Path, at: int) -> None:
    path = directory / FILE
    data = bytearray(path.read_bytes())
    data[at : at + 600] = bytes(byte ^ 0xA5 for byte in data[at : at + 600])
    path.write_bytes(data)


@pytest.mark.parametrize("at", [0, 100, 4096, 12_288])
def test_a_damaged_file_is_named_and_left_alone(opened: Open, directory: Path, at: int) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    many(log, 300)
    commit(store)
    store.close()
    damage(directory, at)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(FileError, match=str(directory / FILE)):
        opened()
    # Its index in shared memory is made anew by whoever looks.
    after = {path.name: path.read_bytes() for path in directory.iterdir() if path.stat().st_size}
    assert after.keys() - before.keys() <= {FILES[2]}
    assert [after.get(name, b"") for name in before] == list(before.values())


def test_a_damaged_file_is_left_alone_with_its_write_ahead_log(
    opened: Open, directory: Path
) -> None:
    code = f"""
import os, sys
from pathlib import Path
from common.log.sqlite import Store
store = Store(Path(sys.argv[1]), lambda: None)
log = store.add("", bytes(16))
for i in range(40):
    log.append({MARKER!r} * 40, bytes(32), 0.0)
store.commit()
store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
log.append({MARKER!r} * 40, bytes(32), 0.0)
store.commit()
os._exit(9)
"""
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, str(directory)], cwd=root, check=False)
    damage(directory, 8 * 4096)
    before = [(directory / name).read_bytes() for name in FILES[:2]]
    assert all(before)
    with pytest.raises(FileError, match="cannot be used"):
        opened()
    assert [(directory / name).read_bytes() for name in FILES[:2]] == before


def test_a_truncated_file_with_a_write_ahead_log_is_named(opened: Open, directory: Path) -> None:
    directory.mkdir(0o700)
    (directory / FILE).touch(0o600)
    (directory / FILES[1]).touch(0o600)
    (directory / FILES[1]).write_bytes(b"frames")
    with pytest.raises(FileError, match="empty, but not its write-ahead log"):
        opened()
    assert (directory / FILES[1]).read_bytes() == b"frames"


def test_a_gap_in_a_stream_is_damage(opened: Open) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    many(log, 5)
    commit(store)
    store._db.execute("DELETE FROM records WHERE seq = 3")
    store.close()
    with pytest.raises(FileError, match="record 4 does not follow 2"):
        opened().load(T)


def test_a_later_version_is_refused(opened: Open) -> None:
    store = opened()
    store._db.execute("PRAGMA user_version = 2")
    store.close()
    with pytest.raises(FileError, match="its version is 2, not 1"):
        opened()


@pytest.mark.parametrize("has_header", [False, True])
def test_one_that_was_killed_while_it_made_the_file_is_no_damage(
    opened: Open, directory: Path, has_header: bool
) -> None:
    directory.mkdir(0o700)
    os.close(os.open(directory / FILE, os.O_CREAT | os.O_WRONLY, 0o600))
    if has_header:
        db = sqlite3.connect(directory / FILE)
        db.execute("PRAGMA journal_mode = WAL")
        db.close()
    assert opened().load(T) == []


# --- A disk that is full.


def test_a_full_disk_keeps_the_queue_and_works_again(opened: Open) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    come(log, TWO, b"card")
    commit(store)
    store._db.execute("PRAGMA max_page_count = 20")
    cursor = Cursor(log.room_seq, Seq(0))
    said = [say(log, b"%d" % i + bytes(4_000)) for i in range(30)]
    told = mail(log, ONE, TWO)
    for _ in range(3):
        with pytest.raises(FileError, match=f"{FILE} cannot be written: .*full"):
            store.commit()
        assert read(log, TWO, cursor) == []
    later = say(log, bytes(4_000))
    with pytest.raises(FileError):
        store.commit()
    store._db.execute("PRAGMA max_page_count = 100000")
    commit(store)
    assert read(log, TWO, cursor) + read(log, TWO, cursor) + read(log, TWO, cursor) == [
        *said,
        told._replace(seq=Seq(1)),
        later,
    ]
    store.close()
    assert room_of(opened()).log.room_seq == 33


def test_a_full_disk_takes_nothing_more_in(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "MAX_QUEUED", 40)
    store = opened()
    log = store.add("", ROOM_ID)
    commit(store)
    store._db.execute("PRAGMA query_only = ON")
    for i in range(sqlite.MAX_QUEUED + 1):
        assert not store.is_backlogged, i
        say(log)
    assert store.is_backlogged
    with pytest.raises(FileError):
        store.commit()
    assert store.is_backlogged
    store._db.execute("PRAGMA query_only = OFF")
    commit(store)
    assert not store.is_backlogged


def test_a_full_disk_at_the_end_loses_only_what_nobody_saw(opened: Open) -> None:
    store = opened()
    log = store.add("", ROOM_ID)
    come(log, ONE, b"card")
    commit(store)
    say(log)
    store._db.execute("PRAGMA query_only = ON")
    store.close()
    assert room_of(opened()).log.room_seq == 1
