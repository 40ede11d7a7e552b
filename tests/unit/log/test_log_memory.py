"""One arrival order, two dense streams, and no record dropped that somebody still needs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Refused
from common.log import memory
from common.log.memory import Cursor, MemoryLog
from common.wire import records
from common.wire.records import RELAY, Delivered, Kind, MemberId, Seq, decode_delivered, split

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)
BODY = bytes(128)
FRAME_BYTES = 2 + records.DELIVERED_HEAD_BYTES + len(BODY)
T = 1_000.0
LIMIT = 65_519


def start() -> Cursor:
    return Cursor(Seq(0), Seq(0))


def log_of(*members: MemberId) -> MemoryLog:
    log = MemoryLog(bytes(16))
    for number in members or (ONE, TWO):
        log.open_mail(number)
    return log


def say(log: MemoryLog, sender: MemberId = ONE, *, body: bytes = BODY, now: float = T) -> Delivered:
    """Append a room record; return it as all are given it."""
    record = Delivered(Kind.MESSAGE, sender, RELAY, Seq(log.room_seq + 1), 5, body)
    log.append(records.framed(record.encode()), bytes(32), now)
    return record


def mail(log: MemoryLog, sender: MemberId, to: MemberId, *, now: float = T) -> Delivered:
    record = Delivered(Kind.MESSAGE, sender, to, Seq(0), 5, BODY)
    log.append_mail(record, now)
    return record


def read(log: MemoryLog, number: MemberId, cursor: Cursor, limit: int = LIMIT) -> list[Delivered]:
    return [decode_delivered(record) for record in split(log.read(number, cursor, limit))]


def drain(log: MemoryLog, number: MemberId, cursor: Cursor, limit: int) -> Iterator[bytes]:
    while batch := log.read(number, cursor, limit):
        yield batch


# --- Order.


def test_room_records_are_the_same_for_all() -> None:
    log = log_of()
    said = [say(log), say(log, TWO)]
    assert read(log, ONE, start()) == read(log, TWO, start()) == said
    assert log.room_seq == 2


def test_mail_goes_to_one_and_its_echo_to_the_other() -> None:
    log = log_of(ONE, TWO, THREE)
    sent = mail(log, ONE, TWO)
    assert read(log, TWO, start()) == [sent._replace(seq=Seq(1))]
    assert read(log, ONE, start()) == [sent._replace(seq=Seq(1), body=b"")]
    assert read(log, THREE, start()) == []
    assert read(log_of(), TWO, start()) == []


def test_mail_to_nobody_is_echoed_all_the_same() -> None:
    log = log_of(ONE)
    sent = mail(log, ONE, THREE)
    assert read(log, ONE, start()) == [sent._replace(seq=Seq(1), body=b"")]


def test_a_cursor_reads_on_where_it_stands() -> None:
    log = log_of()
    say(log)
    cursor = start()
    assert len(read(log, ONE, cursor)) == 1
    assert cursor == Cursor(Seq(1), Seq(0), T)
    assert log.read(ONE, cursor, LIMIT) == b""
    second = say(log)
    assert read(log, ONE, cursor) == [second]


def test_one_that_has_left_reads_the_room_on() -> None:
    log = log_of()
    mail(log, ONE, TWO)
    log.close_mail(ONE)
    said = say(log, TWO)
    assert read(log, ONE, start()) == [said]


Act = tuple[int, int, int, int]
ACTS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.integers(1, 3),
        st.integers(1, 4),
        st.sampled_from([FRAME_BYTES, 200, 500, LIMIT]),
    ),
    max_size=60,
)


@given(ACTS)
def test_every_seat_reads_one_list_in_order_of_arrival(acts: list[Act]) -> None:
    """The model is a list per seat, appended to as records arrive."""
    log = log_of(ONE, TWO, THREE)
    model: dict[int, list[Delivered]] = {1: [], 2: [], 3: []}
    seqs = {1: 0, 2: 0, 3: 0}
    cursors = {n: start() for n in model}
    found: dict[int, list[Delivered]] = {1: [], 2: [], 3: []}
    for now, (kind, sender, to, limit) in enumerate(acts):
        if kind < 4:
            record = say(log, MemberId(sender), body=BODY + bytes(kind * 50), now=now)
            for records_ in model.values():
                records_.append(record)
        elif kind < 7 and to != sender:
            record = mail(log, MemberId(sender), MemberId(to), now=now)
            for reader, body in ((to, record.body), (sender, b"")):
                if reader in model:
                    seqs[reader] += 1
                    model[reader].append(record._replace(seq=Seq(seqs[reader]), body=body))
        else:
            batch = log.read(MemberId(sender), cursors[sender], limit)
            assert len(batch) <= max(limit, 0)
            found[sender] += map(decode_delivered, split(batch))
            missed = len(model[sender]) - len(found[sender])
            assert log.missed(MemberId(sender), cursors[sender]) == missed
            lag = log.lag_bytes(MemberId(sender), cursors[sender])
            rest = model[sender][len(found[sender]) :]
            assert lag == sum(2 + len(record.encode()) for record in rest)
            assert not batch or cursors[sender].oldest_s < now
    for reader, cursor in cursors.items():
        for batch in drain(log, MemberId(reader), cursor, LIMIT):
            found[reader] += map(decode_delivered, split(batch))
    assert found == model


# --- Batches.


@pytest.mark.parametrize("with_mail", [False, True])
def test_a_batch_holds_whole_records_up_to_its_limit(with_mail: bool) -> None:
    log = log_of()
    if with_mail:
        mail(log, TWO, ONE)
    for _ in range(1_000):
        say(log)
    cursor = start()
    batches = list(drain(log, ONE, cursor, LIMIT))
    assert all(LIMIT - FRAME_BYTES < len(batch) <= LIMIT for batch in batches[:-1])
    assert sum(len(list(split(batch))) for batch in batches) == 1_000 + with_mail


def test_the_limit_is_met_exactly() -> None:
    log = log_of()
    for _ in range(5):
        say(log)
    assert len(log.read(ONE, start(), 3 * FRAME_BYTES)) == 3 * FRAME_BYTES
    assert len(log.read(ONE, start(), 3 * FRAME_BYTES - 1)) == 2 * FRAME_BYTES
    assert len(log.read(ONE, start(), 99 * FRAME_BYTES)) == 5 * FRAME_BYTES


def test_equal_cursors_share_one_batch() -> None:
    log = log_of()
    for _ in range(3):
        say(log)
    first = log.read(ONE, start(), LIMIT)
    assert log.read(TWO, start(), LIMIT) is first
    # One with mail of its own has a batch of its own, and shares again after it.
    mail(log, ONE, TWO)
    one, two = Cursor(Seq(3), Seq(0)), Cursor(Seq(3), Seq(0))
    assert log.read(ONE, one, LIMIT) != log.read(TWO, two, LIMIT)
    say(log)
    assert log.read(ONE, one, LIMIT) is log.read(TWO, two, LIMIT)


def test_few_batches_are_remembered() -> None:
    log = log_of()
    for n in range(100):
        say(log)
        log.read(ONE, Cursor(Seq(n), Seq(0)), LIMIT)
    assert 0 < len(log._shared) <= memory._SHARED


def test_a_log_that_rests_remembers_none_and_is_read_all_the_same() -> None:
    log = log_of()
    said = [say(log), say(log, TWO)]
    assert read(log, ONE, start()) == said
    log.rest()
    assert not log._shared
    assert read(log, TWO, start()) == said


def test_the_age_of_a_batch_is_that_of_its_first_record() -> None:
    log = log_of()
    cursor = start()
    assert cursor.oldest_s == math.inf
    say(log, now=1)
    mail(log, TWO, ONE, now=2)
    say(log, now=3)
    log.read(ONE, cursor, FRAME_BYTES)
    assert cursor.oldest_s == 1
    log.read(ONE, cursor, LIMIT)
    assert cursor.oldest_s == 2
    mail(log, TWO, ONE, now=4)
    log.read(ONE, cursor, LIMIT)
    assert cursor.oldest_s == 4


# --- What is kept.


def test_what_is_retained_and_what_is_ahead() -> None:
    log = log_of()
    say(log)
    mail(log, TWO, ONE)
    for room, own in itertools.product(range(3), range(3)):
        expected = room <= 1 and own <= 1
        assert log.retains(ONE, Seq(room), Seq(own)) is expected


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "RETAINED_ROOM", 10)
    monkeypatch.setattr(memory, "RETAINED_MAIL", 4)
    monkeypatch.setattr(memory, "RETAINED_BYTES", 40 * FRAME_BYTES)


@pytest.mark.usefixtures("_small")
class TestPruning:
    def test_no_more_is_kept_than_resuming_needs(self) -> None:
        log = log_of()
        for _ in range(20):
            say(log)
            mail(log, TWO, ONE)
        log.prune({})
        assert log.retains(ONE, Seq(10), Seq(16))
        assert not log.retains(ONE, Seq(9), Seq(16))
        assert not log.retains(ONE, Seq(10), Seq(15))
        assert log.room_seq == 20
        assert len(read(log, ONE, Cursor(Seq(10), Seq(16)))) == 14

    def test_mail_drops_all_of_the_room_but_where_it_stands(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(memory, "RETAINED_BYTES", FRAME_BYTES)
        log = log_of()
        say(log)
        say(log)
        mail(log, TWO, ONE)
        mail(log, TWO, ONE)
        log.prune({})
        assert len(log._room.positions) == 1
        assert log.retains(ONE, Seq(1), Seq(2))
        assert not log.retains(ONE, Seq(0), Seq(2))

    def test_nothing_is_dropped_while_there_is_less(self) -> None:
        log = log_of()
        for _ in range(10):
            say(log)
        log.prune({})
        assert log.retains(ONE, Seq(0), Seq(0))

    def test_what_a_live_cursor_has_not_read_is_kept(self) -> None:
        log = log_of()
        for _ in range(12):
            say(log)
            mail(log, TWO, ONE)
        slow = Cursor(Seq(1), Seq(2))
        log.prune({ONE: slow, TWO: Cursor(Seq(12), Seq(12))})
        assert log.retains(ONE, Seq(1), Seq(2))
        assert not log.retains(ONE, Seq(0), Seq(2))
        assert not log.retains(ONE, Seq(1), Seq(1))
        assert len(read(log, ONE, slow)) == 21

    def test_one_that_reads_too_slowly_is_not_waited_for(self) -> None:
        log = log_of()
        slow = start()
        for _ in range(50):
            say(log)
        log.prune({ONE: slow})
        assert not log.retains(ONE, Seq(0), Seq(0))
        assert log.retains(ONE, Seq(10), Seq(0))
        assert log.lag_bytes(ONE, slow) >= 40 * FRAME_BYTES
        with pytest.raises(Refused) as caught:
            log.read(ONE, slow, LIMIT)
        assert caught.value.status == 408

    def test_mail_counts_too(self) -> None:
        log = log_of(ONE, TWO, THREE)
        slow = {ONE: start(), TWO: start(), THREE: start()}
        for _ in range(100):
            mail(log, TWO, ONE)
        say(log)
        log.prune(slow)
        held = [log._room, *log._mail.values()]
        assert sum(stream.ends[-1] - stream.ends[0] for stream in held) <= 40 * FRAME_BYTES
        for number in (ONE, TWO):
            with pytest.raises(Refused) as caught:
                log.read(number, slow[number], LIMIT)
            assert caught.value.status == 408
        assert len(read(log, THREE, slow[THREE])) == 1

    def test_of_all_streams_the_oldest_go_first(self) -> None:
        log = log_of(ONE, TWO)
        live = {ONE: start(), TWO: start()}
        for _ in range(30):
            say(log)
        for _ in range(30):
            mail(log, TWO, ONE)
        log.prune(live)
        assert log._mail[ONE].first == 1
        assert log._room.first > 1

    @given(ACTS)
    def test_reading_never_skips_a_record(self, acts: list[Act]) -> None:
        log = log_of(ONE, TWO)
        cursor, seen = start(), start()
        for kind, _, _, limit in acts:
            if kind < 4:
                say(log)
            elif kind < 7:
                mail(log, TWO, ONE)
            elif kind < 9:
                log.prune({ONE: cursor})
            else:
                for record in read(log, ONE, cursor, limit):
                    if record.to:
                        assert record.seq == seen.mail + 1
                        seen.mail = record.seq
                    else:
                        assert record.seq == seen.room + 1
                        seen.room = record.seq
