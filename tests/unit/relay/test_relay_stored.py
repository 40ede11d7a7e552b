"""A relay that was restarted over its stored log goes on where the one before it ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import ProtocolError, Refused
from common.log import memory
from common.log.sqlite import Store
from common.relay import room as rooms
from common.relay.limits import OUTBOUND_S
from common.relay.room import Room, SeatState
from common.relay.rules import Rules
from common.wire.records import Kind, Reason
from tests.unit.relay.people import AT_MS, ROOM_ID, Member, T, again, seat

GRACE_S = 120.0


class Relay:
    """One room over a file, through any number of crashes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store(directory, lambda: None)
        log = self.store.add("", bytes(16))
        self.room = Room("", ROOM_ID, log, GRACE_S, Rules(), threading.Lock())
        log.on_commit = self.room.show

    def commit(self) -> None:
        for log in self.store.commit():
            log.on_commit()

    def crash(self, now: float = T) -> list[Member]:
        """Lose what is not committed, and begin anew; return the members."""
        self.store._queue.clear()
        self.store.close()
        self.store = Store(self.directory, lambda: None)
        (stored,) = self.store.load(now)
        self.room = Room(stored.name, ROOM_ID, stored.log, GRACE_S, Rules(), threading.Lock())
        stored.log.on_commit = self.room.show
        return [Member(self.room, s, object(), []) for s in self.room.restore(stored, now)]


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(tmp_path / "data")
    yield relay
    relay.store.close()


def test_members_are_away_and_their_grace_begins_anew(relay: Relay) -> None:
    seat(relay.room, "ace").drop(T - 100)
    seat(relay.room, "bea")
    relay.commit()
    ace, bea = relay.crash(now=T + 1_000)
    for member, name in ((ace, "ace"), (bea, "bea")):
        assert member.seat.username == name
        assert member.seat.state is SeatState.AWAY
        assert member.seat.holder is None
        assert member.seat.expires_s == T + 1_000 + GRACE_S
    assert not relay.room.expire(ace.seat, T + 1_000 + GRACE_S - 0.1, AT_MS)
    assert relay.room.expire(ace.seat, T + 1_000 + GRACE_S, AT_MS)


def test_the_transcript_goes_on(relay: Relay) -> None:
    ace = seat(relay.room, "ace")
    seat(relay.room, "bea")
    seat(relay.room, "col")
    relay.room.leave(relay.room._roster.seats[ace.number], Reason.LOST, T, AT_MS)
    relay.commit()
    before = relay.room._transcript
    relay.crash()
    after = relay.room._transcript
    assert (after.seq, after.h) == (before.seq, before.h)
    assert [after.at(seq) for seq in range(5)] == [before.at(seq) for seq in range(5)]
    after.add(b"record")
    before.add(b"record")
    assert after.h == before.h  # so M is the same


def test_members_resume_where_they_were(relay: Relay) -> None:
    ace, bea = seat(relay.room, "ace"), seat(relay.room, "bea")
    relay.commit()
    welcomed = relay.room._transcript.at(0)
    bea.read()
    said = ace.say()
    told = ace.say(to=bea.number)
    relay.commit()
    ace, bea = relay.crash()
    welcome = bea.resume(2)
    assert (welcome.number, welcome.resumed, welcome.count) == (2, True, 2)
    room, mail = bea.read()
    assert (room.kind, room.sender, room.seq, room.body) == (Kind.MESSAGE, 1, 3, said)
    assert (mail.kind, mail.sender, mail.seq, mail.body) == (Kind.MESSAGE, 1, 1, told)
    # One who had been welcomed to the empty room, and no more.
    first = ace.resume(0)
    assert (first.h, first.count) == (welcomed, 4)
    assert ace.resume(3, 1).count == 0


def test_a_line_that_was_not_committed_was_never_said(relay: Relay) -> None:
    ace = seat(relay.room, "ace")
    relay.commit()
    ace.read()
    ace.say()
    assert ace.read() == []
    (ace,) = relay.crash()
    assert ace.resume(1).count == 0
    body = ace.say()
    relay.commit()
    (echo,) = ace.read()
    assert (echo.seq, echo.body) == (2, body)


def test_a_number_is_never_used_again(relay: Relay) -> None:
    seat(relay.room, "ace")
    bea = seat(relay.room, "bea")
    relay.room.leave(bea.seat, Reason.LOST, T, AT_MS)
    relay.commit()
    relay.crash()
    assert seat(relay.room, "col").number == 3


def test_a_newer_card_is_the_members(relay: Relay) -> None:
    ace = seat(relay.room, "ace")
    newer = again(ace.seat.card)
    ace.send(Kind.CARD, newer.encoded)
    relay.commit()
    (ace,) = relay.crash()
    assert ace.seat.card.encoded == newer.encoded


def test_what_is_past_retention_cannot_be_resumed(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "RETAINED_ROOM", 4)
    monkeypatch.setattr(rooms, "PRUNE_EVERY", 1)
    ace = seat(relay.room, "ace")
    relay.commit()
    ace.read()
    for _ in range(10):
        ace.say()
        relay.commit()
        ace.read()
    ace.say()
    relay.commit()
    (ace,) = relay.crash()
    with pytest.raises(Refused) as refused:
        ace.resume(7)
    assert refused.value.status == 410
    assert ace.resume(9).count == 3


def test_a_card_of_another_relay_is_refused(relay: Relay) -> None:
    seat(relay.room, "ace")
    relay.commit()
    (stored,) = relay.store.load(T)
    with pytest.raises(ProtocolError):
        Room("", bytes(32), stored.log, GRACE_S, Rules(), threading.Lock()).restore(stored, T)


def test_the_late_are_not_the_slow(relay: Relay) -> None:
    ace = seat(relay.room, "ace")
    relay.commit()
    ace.read()
    ace.say()
    log = relay.room._log
    log.late_s = T + 60  # type: ignore[attr-defined]
    relay.commit()
    assert relay.room.read(ace.seat, ace.holder)
    relay.room.check_lag(ace.seat, T + 60 + OUTBOUND_S)
    with pytest.raises(Refused):
        relay.room.check_lag(ace.seat, T + 60.1 + OUTBOUND_S)
