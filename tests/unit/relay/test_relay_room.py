"""One ordered log and those who share it: PROTOCOL.md 4.1 and 4.3 on the relay's side."""

from __future__ import annotations

import itertools
import math

import pytest

from common.errors import ProtocolError, Refused
from common.log import memory
from common.relay import room as rooms
from common.relay.limits import OUTBOUND_BYTES, OUTBOUND_S
from common.relay.room import SEAT_TRANSITIONS, SEEN_WINDOW, Room, Seat, SeatState, SeatStep
from common.wire.records import (
    RELAY,
    Delivered,
    Kind,
    Reason,
    Seq,
    Welcome,
)
from common.wire.records import Member as MemberBody
from tests.unit.relay.people import (
    AT_MS,
    Member,
    T,
    again,
    card,
    make_room,
    seat,
    transcript_of,
)

KEY_BODY = bytes(1209)


def table() -> tuple[Room, Member, Member]:
    """Two who are seated and have seen each other."""
    room = make_room()
    ace, bea = seat(room, "ace"), seat(room, "bea")
    ace.read()
    bea.read()
    return room, ace, bea


def refused(member: Member, *seqs: int, **names: object) -> int:
    """Resuming is refused with this status."""
    with pytest.raises(Refused) as caught:
        member.resume(*seqs, **names)  # type: ignore[arg-type] # what a test gives
    return caught.value.status


class TestJoining:
    def test_the_first(self) -> None:
        room = make_room()
        ace = seat(room, "ace")
        (reply,) = ace.replies
        start = transcript_of(room._log.log_id, [])
        welcome = Welcome(room._log.log_id, ace.number, False, Seq(0), start.h, 0)
        assert Welcome.decode(reply.body) == welcome
        own = Delivered(Kind.CARD, ace.number, RELAY, Seq(1), AT_MS, ace.seat.card.encoded)
        assert ace.read() == [own]

    def test_another_is_told_who_is_here_in_order_of_number(self) -> None:
        room = make_room()
        members = [seat(room, name) for name in ("ace", "bea", "col")]
        members[1].send(Kind.LEAVE)
        dan = seat(room, "dan")
        welcome, *listed = dan.replies
        assert Welcome.decode(welcome.body).count == 2
        assert Welcome.decode(welcome.body).room_seq == 4
        assert [MemberBody.decode(record.body) for record in listed] == [
            MemberBody(member.number, member.seat.card.encoded) for member in members[::2]
        ]
        # Its own card is the next room record, and the first that it is given.
        assert [(r.kind, r.sender, r.seq) for r in dan.read()] == [(Kind.CARD, 4, 5)]
        assert members[0].read()[-1].sender == dan.number

    def test_those_who_are_away_are_listed(self) -> None:
        room, ace, _ = table()
        ace.drop()
        assert len(seat(room, "col").replies) == 3

    def test_a_number_is_never_used_again(self) -> None:
        room, ace, bea = table()
        bea.send(Kind.LEAVE)
        ace.send(Kind.LEAVE)
        assert seat(room, "ace").number == 3

    def test_its_mail_stream_starts_empty(self) -> None:
        room, ace, bea = table()
        ace.say(to=bea.number)
        assert [r.kind for r in seat(room, "col").read()] == [Kind.CARD]


class TestTranscript:
    def test_it_is_that_of_the_delivered_records(self) -> None:
        room, ace, bea = table()
        col = seat(room, "col")
        ace.say()
        ace.say(to=bea.number)
        ace.send(Kind.CARD, again(ace.seat.card).encoded)
        bea.drop()
        room.expire(bea.seat, T + 120, AT_MS)
        ace.say()
        bea_again = seat(room, "bea")
        assert bea_again.number == 4
        col.send(Kind.LEAVE)
        whole = Member(room, ace.seat, ace.holder, [])
        whole.seat.cursor.room = whole.seat.cursor.mail = Seq(0)
        delivered = [record for record in whole.read() if not record.to]
        assert [record.seq for record in delivered] == list(range(1, room._log.room_seq + 1))
        ours = transcript_of(room._log.log_id, delivered)
        assert ours.h == room._transcript.h
        # And what a resumed member is told of H is that of its seq.
        for seq in range(3, room._log.room_seq + 1):
            ace.drop()
            assert ace.resume(seq, 1).h == ours.at(seq)


class TestResuming:
    def test_all_that_was_missed_is_counted_and_follows(self) -> None:
        _, ace, bea = table()
        ace.drop()
        bea.say()
        bea.say(to=ace.number)
        bea.send(Kind.SENDER_KEY, KEY_BODY, to=ace.number)
        welcome = ace.resume(2, 0)
        assert (welcome.resumed, welcome.room_seq, welcome.count) == (True, 2, 3)
        assert welcome.number == ace.number
        assert [(r.kind, r.seq) for r in ace.read()] == [
            (Kind.MESSAGE, 3),
            (Kind.MESSAGE, 1),
            (Kind.SENDER_KEY, 2),
        ]
        assert ace.seat.state is SeatState.SEATED

    def test_from_an_earlier_point_than_was_given(self) -> None:
        _, ace, bea = table()
        bea.say()
        ace.read()
        ace.drop()
        assert ace.resume(2).count == 1
        assert [record.seq for record in ace.read()] == [3]

    def test_a_newer_card_is_logged_after_what_was_missed(self) -> None:
        _, ace, bea = table()
        ace.drop()
        bea.say()
        newer = again(ace.seat.card)
        assert ace.resume(2, newer=newer).count == 1
        assert [record.kind for record in ace.read()] == [Kind.MESSAGE, Kind.CARD]
        assert bea.read()[-1].body == newer.encoded
        ace.drop()
        assert ace.resume(4, newer=newer).count == 0
        assert ace.read() == []

    @pytest.mark.parametrize(
        ("room_seq", "mail_seq", "status"),
        [(2, 1, None), (0, 0, None), (3, 1, 410), (2, 2, 410), (2**63, 0, 410)],
    )
    def test_a_seq_that_is_ahead(self, room_seq: int, mail_seq: int, status: int | None) -> None:
        _, ace, bea = table()
        bea.say(to=ace.number)
        ace.drop()
        if status is None:
            assert ace.resume(room_seq, mail_seq).room_seq == room_seq
        else:
            assert refused(ace, room_seq, mail_seq) == status
            assert ace.seat.state is SeatState.AWAY

    def test_another_log(self) -> None:
        _, ace, _ = table()
        ace.drop()
        assert refused(ace, 2, 0, log_id=b"x" * 16) == 410

    def test_a_seat_that_is_gone(self) -> None:
        room, ace, _ = table()
        ace.drop()
        assert room.expire(ace.seat, T + 120, AT_MS)
        assert refused(ace, 2) == 410

    def test_what_is_not_retained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "RETAINED_ROOM", 5)
        monkeypatch.setattr(rooms, "PRUNE_EVERY", 10)
        _, ace, bea = table()
        ace.drop()
        for _ in range(28):
            bea.say()
            bea.read()
        assert refused(ace, 2) == 410
        assert refused(ace, 24) == 410
        assert ace.resume(25).count == 5

    def test_more_than_a_welcome_can_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rooms, "MAX_MISSED", 3)
        _, ace, bea = table()
        ace.drop()
        for _ in range(4):
            bea.say()
        assert refused(ace, 2) == 410
        assert (ace.seat.state, ace.seat.holder) == (SeatState.AWAY, None)
        assert ace.resume(3).count == 3

    @pytest.mark.parametrize("who", ["eve", "ace"])
    def test_another_identity_or_name(self, who: str) -> None:
        _, ace, _ = table()
        ace.drop()
        name = "ace" if who == "eve" else "ACE"
        other = card(name, who=who, session=ace.seat.session)
        with pytest.raises(ProtocolError):
            ace.resume(2, newer=other)
        assert ace.seat.state is SeatState.AWAY

    def test_an_older_connection_is_dropped_with_what_it_had(self) -> None:
        room, ace, bea = table()
        old = Member(room, ace.seat, ace.holder, [])
        bea.say()
        ace.resume(2)
        assert old.read() == []
        # What the older connection still has to say would be said twice.
        seq = room._log.room_seq
        old.send(Kind.MESSAGE, bytes(128))
        old.send(Kind.LEAVE)
        assert room._log.room_seq == seq
        assert ace.seat.state is SeatState.SEATED
        # And its end is not the end of the seat.
        assert old.drop() is None
        assert ace.seat.holder is ace.holder
        assert [record.seq for record in ace.read()] == [3]


class TestLeaving:
    def test_a_leave_is_echoed_and_the_last_record(self) -> None:
        room, ace, bea = table()
        assert ace.send(Kind.LEAVE) == []
        (echo,) = ace.read()
        assert (echo.kind, echo.sender, echo.body) == (Kind.LEAVE, ace.number, bytes([Reason.LEFT]))
        assert ace.seat.left_at == echo.seq
        assert bea.read() == [echo]
        assert ace.seat.state is SeatState.GONE
        assert room.members == 1
        # What comes after it is ignored.
        ace.send(Kind.MESSAGE, bytes(128))
        ace.send(Kind.LEAVE)
        assert room._log.room_seq == echo.seq
        assert ace.drop() is None
        assert ace.seat.number not in room._log._mail

    @pytest.mark.parametrize("reason", [Reason.REMOVED, Reason.REPLACED])
    def test_one_that_others_end(self, reason: Reason) -> None:
        room, ace, bea = table()
        ace.drop()
        assert room.leave(ace.seat, reason, T, AT_MS)
        assert not room.leave(ace.seat, reason, T, AT_MS)
        assert bea.read()[-1].body == bytes([reason])
        assert ace.seat.reason is reason

    def test_grace_passes(self) -> None:
        room, ace, bea = table()
        assert ace.drop(T) == T + 120
        assert ace.seat.state is SeatState.AWAY
        assert not room.expire(ace.seat, T + 119.9, AT_MS)
        assert bea.read() == []
        assert room.expire(ace.seat, T + 120, AT_MS)
        assert not room.expire(ace.seat, T + 120, AT_MS)
        assert bea.read()[-1].body == bytes([Reason.LOST])

    def test_resumed_just_before(self) -> None:
        room, ace, bea = table()
        ace.drop(T)
        ace.resume(2)
        assert not room.expire(ace.seat, T + 120, AT_MS)
        # Lost again: the first alarm is not the second's.
        assert ace.drop(T + 100) == T + 220
        assert not room.expire(ace.seat, T + 120, AT_MS)
        assert bea.read() == []
        assert room.expire(ace.seat, T + 220, AT_MS)

    def test_left_and_then_the_alarm(self) -> None:
        room, ace, _ = table()
        ace.drop(T)
        room.leave(ace.seat, Reason.REPLACED, T, AT_MS)
        assert not room.expire(ace.seat, T + 120, AT_MS)

    def test_a_connection_that_ends_twice(self) -> None:
        _, ace, _ = table()
        assert ace.drop() is not None
        assert ace.drop() is None


@pytest.mark.parametrize(("state", "step"), list(itertools.product(SeatState, SeatStep)))
def test_every_cell(state: SeatState, step: SeatStep) -> None:
    _, ace, _ = table()
    ace.seat.state = state
    if (state, step) in SEAT_TRANSITIONS:
        ace.seat.step(step)
        assert ace.seat.state is SEAT_TRANSITIONS[state, step]
    else:
        with pytest.raises(KeyError):
            ace.seat.step(step)
        assert ace.seat.state is state


class TestMail:
    def test_it_is_numbered_in_each_members_own_stream(self) -> None:
        _, ace, bea = table()
        first = ace.say(to=bea.number)
        bea.send(Kind.SENDER_KEY, KEY_BODY, to=ace.number)
        assert [(r.kind, r.seq, r.sender, r.body) for r in bea.read()] == [
            (Kind.MESSAGE, 1, ace.number, first),
            (Kind.SENDER_KEY, 2, bea.number, b""),
        ]
        assert [(r.kind, r.seq, r.sender, r.to, r.body) for r in ace.read()] == [
            (Kind.MESSAGE, 1, ace.number, bea.number, b""),
            (Kind.SENDER_KEY, 2, bea.number, ace.number, KEY_BODY),
        ]

    def test_to_one_that_has_left_it_is_echoed_and_goes_nowhere(self) -> None:
        room, ace, bea = table()
        bea.drop()
        room.expire(bea.seat, T + 120, AT_MS)
        ace.read()
        ace.say(to=bea.number)
        (echo,) = ace.read()
        assert (echo.kind, echo.to, echo.body) == (Kind.MESSAGE, bea.number, b"")

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            (Kind.MESSAGE, bytes(128)),
            (Kind.SENDER_KEY, KEY_BODY),
        ],
    )
    def test_to_oneself_or_a_number_that_never_was(self, kind: Kind, body: bytes) -> None:
        room, ace, _ = table()
        for to in (ace.number, 3, 2**32 - 1):
            with pytest.raises(ProtocolError):
                ace.send(kind, body, to=to)
        assert ace.read() == []
        assert room._log.room_seq == 2


class TestSeen:
    def test_ahead_of_the_log(self) -> None:
        _, ace, bea = table()
        ace.say(seen=2)
        for to in (0, bea.number):
            with pytest.raises(ProtocolError):
                ace.say(seen=4, to=to)

    def test_too_far_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert SEEN_WINDOW == 4_096
        monkeypatch.setattr(rooms, "SEEN_WINDOW", 10)
        room, ace, bea = table()
        while room._log.room_seq < 12:
            bea.say()
        ace.say(seen=2)
        for to in (0, bea.number):
            with pytest.raises(Refused) as caught:
                ace.say(seen=2, to=to)
            assert caught.value.status == 412


class TestOther:
    def test_who_is_in_charge(self) -> None:
        room, ace, _ = table()
        older = ace.holder
        assert room.is_held_by(ace.seat, older)
        ace.resume(2)
        assert not room.is_held_by(ace.seat, older)
        assert room.is_held_by(ace.seat, ace.holder)
        ace.send(Kind.LEAVE)
        assert not room.is_held_by(ace.seat, ace.holder)

    def test_one_whose_join_is_not_done_is_in_no_room(self) -> None:
        room, _, bea = table()
        joining = Seat(card("col"), room, object())
        assert joining.state is SeatState.JOINING
        assert not room.leave(joining, Reason.REMOVED, T, AT_MS)
        assert not room.is_held_by(joining, joining.holder)
        assert bea.read() == []

    def test_a_card_is_replaced(self) -> None:
        room, ace, bea = table()
        newer = again(ace.seat.card)
        ace.send(Kind.CARD, newer.encoded)
        (record,) = bea.read()
        assert (record.kind, record.sender, record.body) == (Kind.CARD, 1, newer.encoded)
        assert ace.seat.card.encoded == newer.encoded
        assert MemberBody.decode(seat(room, "col").replies[1].body).card == newer.encoded

    def test_a_card_that_is_not_the_members(self) -> None:
        room, ace, bea = table()
        wrong = [
            card("ace").encoded,
            bea.seat.card.encoded,
            card("ACE", who="ace", session=ace.seat.session).encoded,
            card("ace", who="eve", session=ace.seat.session).encoded,
            ace.seat.card.encoded[:-1] + bytes([ace.seat.card.encoded[-1] ^ 1]),
            bytes(1425),
        ]
        for body in wrong:
            with pytest.raises(ProtocolError):
                ace.send(Kind.CARD, body)
        assert room._log.room_seq == 2

    @pytest.mark.parametrize("kind", [Kind.JOIN, Kind.WELCOME, Kind.NOTICE, Kind.COMMAND])
    def test_what_a_member_may_not_send(self, kind: Kind) -> None:
        _, ace, _ = table()
        with pytest.raises(ProtocolError):
            ace.send(kind, b"")

    def test_mail_alone_is_pruned_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "RETAINED_MAIL", 5)
        monkeypatch.setattr(rooms, "PRUNE_EVERY", 10)
        room, ace, bea = table()
        for _ in range(50):
            ace.say(to=bea.number)
            ace.read()
            bea.read()
        ace.drop()
        assert not room._log.retains(ace.number, Seq(2), Seq(10))
        assert refused(ace, 2, 10) == 410
        assert ace.resume(2, 45).count == 5


class TestLag:
    def say_much(self, member: Member, total: int) -> None:
        for _ in range(-(-total // 16_640)):
            member.say(size=16_640)

    def test_too_much_waits(self) -> None:
        room, ace, bea = table()
        self.say_much(bea, OUTBOUND_BYTES - 20_000)
        room.check_lag(ace.seat, T)
        self.say_much(bea, 40_000)
        with pytest.raises(Refused) as caught:
            room.check_lag(ace.seat, T)
        assert caught.value.status == 408

    def test_it_waits_too_long(self) -> None:
        room, ace, bea = table()
        bea.say()
        room.read(ace.seat, ace.holder)
        room.check_lag(ace.seat, T + OUTBOUND_S)
        with pytest.raises(Refused) as caught:
            room.check_lag(ace.seat, T + OUTBOUND_S + 0.1)
        assert caught.value.status == 408

    def test_what_was_all_taken_is_not_waiting(self) -> None:
        room, ace, bea = table()
        bea.say()
        ace.read()
        room.check_lag(ace.seat, T + 1_000)

    def test_a_joiners_members_are_apart(self) -> None:
        room = make_room()
        ace = seat(room, "ace")
        # WELCOME and MEMBERs are still on their way; nothing of the log was read.
        room.check_lag(ace.seat, T + 1_000)

    def test_what_a_resumed_member_had_missed_is_apart(self) -> None:
        room, ace, bea = table()
        ace.drop()
        self.say_much(bea, OUTBOUND_BYTES + 100_000)
        bea.say(to=ace.number)
        ace.resume(2, now=T + 100)
        for _ in range(3):
            assert room.read(ace.seat, ace.holder)
            room.check_lag(ace.seat, T + 200)
            assert ace.seat.cursor.oldest_s == math.inf
        ace.read()
        # What comes after it counts.
        bea.say()
        room.read(ace.seat, ace.holder)
        with pytest.raises(Refused):
            room.check_lag(ace.seat, T + 200)
