"""What a member believes, and what it does not: PROTOCOL.md 4, 5 and 11."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from common.crypto import card as cards
from common.crypto.chain import CHAIN_AGE_S, CHAIN_MESSAGES, ROOM_DEST, SendChain, peek, peek_key
from common.crypto.primitives import CardKey, RecipientKey
from common.errors import RemoteProtocolError, UsageError
from common.member import contents
from common.member.contents import Text
from common.member.conversation import (
    CARD_AGE_S,
    KEYS_PER_TURN,
    MAX_WAITING,
    MESSAGES_BURST,
    OLD_CARD_KEY_S,
    OPENED_TOGETHER,
    TRANSITIONS,
    Back,
    Came,
    Gone,
    Joined,
    Left,
    Noticed,
    Phase,
    Said,
    Step,
    Trouble,
    Undelivered,
    Warned,
)
from common.member.trust import Grade, Pin, Standing
from common.wire import records
from common.wire.records import (
    RELAY,
    Delivered,
    Kind,
    Member,
    MemberId,
    Reason,
    Sent,
    Seq,
    Welcome,
)
from tests.unit.member.table import (
    AT_MS,
    ROOM_ID,
    TODAY,
    Person,
    Table,
    altered,
    identity,
    reencoded,
)


def refuses(person: Person, record: Delivered) -> str:
    """The record is the relay's fault; return the reason."""
    with pytest.raises(RemoteProtocolError) as caught:
        person.take(record)
    return str(caught.value)


def send_chain(person: Person, to: Person | None = None) -> SendChain:
    """A sender's own chain, as a hostile member can use it."""
    return person.conv._chains[to.conv._session if to else ROOM_DEST].chain


def h_of(person: Person) -> tuple[int, bytes]:
    transcript = person.conv._transcript
    assert transcript is not None
    return transcript.seq, transcript.h


def make_card(
    name: str, *, session: bytes | None = None, who: str = "", secret: bytes | None = None
) -> cards.Card:
    public = CardKey.generate().public
    session = session or secrets.token_bytes(16)
    return cards.make(identity(who or name), session, ROOM_ID, name, public, secret)


def padded(text: str) -> bytes:
    return contents.encode(Text(text))


def message(person: Person, text: str) -> bytes:
    """A MESSAGE to the room as `person` would seal it now, which it never sends."""
    return send_chain(person).seal(padded(text), *h_of(person))


# --- The machine.


class TestPhases:
    def phase(self, table: Table, phase: Phase) -> Person:
        """A person in that phase."""
        ace, bea = table.seat("ace", "bea")
        if phase is Phase.ENDED:
            ace.conv.end()
        elif phase is not Phase.LIVE:
            ace.cut()
            if phase is not Phase.OFFLINE:
                bea.say("missed")
                (welcome,) = ace.knock()
                if phase is Phase.CATCHING_UP:
                    ace.take(welcome)
        assert ace.conv.phase is phase
        return ace

    @pytest.mark.parametrize(("phase", "step"), list(itertools.product(Phase, Step)))
    def test_every_cell(self, phase: Phase, step: Step) -> None:
        conv = self.phase(Table(), phase).conv
        if (phase, step) not in TRANSITIONS:
            with pytest.raises(KeyError):
                conv._step(step)
            assert conv.phase is phase
            return
        conv._step(step)
        assert conv.phase is TRANSITIONS[phase, step]

    def test_a_fresh_join_is_live_with_its_own_card(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        assert [type(event) for event in ace.events] == [Joined, Came]
        (joined,) = bea.events
        assert isinstance(joined, Joined)
        assert [peer.name for peer in joined.others] == ["ace"]
        assert ace.conv.members == bea.conv.members == 2
        assert h_of(ace) == h_of(bea) == (2, table.room._transcript.h)

    def test_nothing_is_sent_before_the_card_came_back(self) -> None:
        table = Table()
        table.seat("ace")
        bea = Person(table, "bea")
        bea.conv.say("early")
        welcome, member = bea.knock()
        assert bea.conv.outgoing(table.now) == []
        bea.take(welcome)
        assert bea.conv.outgoing(table.now) == []
        bea.take(member)
        assert bea.conv.outgoing(table.now) == []
        bea.read()
        assert [sent.kind for sent in bea.conv.outgoing(table.now)] == [
            Kind.SENDER_KEY,
            Kind.MESSAGE,
        ]

    def test_leaving_is_over_with_the_echo(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.conv.leave()
        assert ace.conv.phase is Phase.ENDED
        ace.send()
        assert isinstance(ace.read()[-1], Gone)
        (left,) = bea.read()
        assert isinstance(left, Left)
        assert (left.peer.name, left.reason) == ("ace", Reason.LEFT)
        with pytest.raises(UsageError):
            ace.conv.say("too late")

    def test_cut_off_before_the_last_member_a_session_is_given_up(self) -> None:
        table = Table()
        table.seat("ace", "bea")
        col = Person(table, "col")
        welcome, member, _ = col.knock()
        col.take(welcome)
        col.take(member)
        session = col.conv.hello().session
        col.conv.say("to ace", col.conv.find("ace"))
        col.conv.say("to all")
        col.cut()
        assert col.conv.hello().session != session
        # The number of whoever is ace in another list may be another's.
        (undelivered,) = (event for event in col.events if isinstance(event, Undelivered))
        assert [line.text for line in undelivered.lines] == ["to ace"]
        assert col.conv.waiting == 1

    def test_with_every_member_it_resumes_and_its_card_is_the_next_record(self) -> None:
        table = Table()
        (ace,) = table.seat("ace")
        bea = Person(table, "bea")
        for record in bea.knock():
            bea.take(record)
        bea.cut()
        bea.join()
        assert bea.conv.phase is Phase.LIVE
        assert [type(event) for event in bea.events] == [Joined, Back]
        ace.read()
        bea.say("here")
        ace.read()
        assert ace.said == ["here"]


# --- What PROTOCOL.md 4.1 makes the relay's fault.


@dataclass(frozen=True)
class Two:
    """A room of two."""

    table: Table
    ace: Person
    bea: Person


FAULTS: dict[str, Callable[[Two], Delivered]] = {
    "a room seq that is not the next": lambda two: two.ace.forge(
        Kind.LEAVE, two.bea.number, b"\0"
    )._replace(seq=Seq(h_of(two.ace)[0])),
    "a room seq that skips one": lambda two: two.ace.forge(
        Kind.LEAVE, two.bea.number, b"\0"
    )._replace(seq=Seq(h_of(two.ace)[0] + 2)),
    "a mail seq that skips one": lambda two: two.ace.forge(
        Kind.MESSAGE, two.bea.number, bytes(96), to=two.ace.number
    )._replace(seq=Seq(2)),
    "the LEAVE of no member": lambda two: two.ace.forge(Kind.LEAVE, MemberId(9), b"\0"),
    "a MESSAGE of no member": lambda two: two.ace.forge(Kind.MESSAGE, MemberId(9), bytes(96)),
    "mail of no member": lambda two: two.ace.forge(
        Kind.SENDER_KEY, MemberId(9), bytes(1209), to=two.ace.number
    ),
    "a MESSAGE of number 0": lambda two: two.ace.forge(Kind.MESSAGE, RELAY, bytes(96)),
    "mail to another": lambda two: two.ace.forge(
        Kind.SENDER_KEY, two.bea.number, bytes(1209), to=9
    ),
    "mail without a body": lambda two: two.ace.forge(
        Kind.MESSAGE, two.bea.number, b"", to=two.ace.number
    ),
    "an echo of nothing": lambda two: two.ace.forge(Kind.MESSAGE, two.ace.number, bytes(96)),
    "a LEAVE of ours that we did not ask for": lambda two: two.ace.forge(
        Kind.LEAVE, two.ace.number, b"\2"
    ),
    "our card again": lambda two: two.ace.forge(
        Kind.CARD, two.ace.number, two.ace.seat.card.encoded
    ),
    "a LEAVE for no reason there is": lambda two: two.ace.forge(Kind.LEAVE, two.bea.number, b"\4"),
    "an invalid card": lambda two: two.ace.forge(
        Kind.CARD,
        MemberId(3),
        altered(two.ace.forge(Kind.CARD, RELAY, make_card("x").encoded), -1).body,
    ),
    "a card of number 0": lambda two: two.ace.forge(Kind.CARD, RELAY, make_card("x").encoded),
    "a card with our session": lambda two: two.ace.forge(
        Kind.CARD, MemberId(3), make_card("x", session=two.ace.seat.session).encoded
    ),
    "a card with a member's session": lambda two: two.ace.forge(
        Kind.CARD, MemberId(3), make_card("x", session=two.bea.seat.session).encoded
    ),
    "a card with our name": lambda two: two.ace.forge(
        Kind.CARD, MemberId(3), make_card("ACE", who="x").encoded
    ),
    "a card with a member's name": lambda two: two.ace.forge(
        Kind.CARD, MemberId(3), make_card("Bea", who="x").encoded
    ),
    "a replacing card of another session": lambda two: two.ace.forge(
        Kind.CARD, two.bea.number, make_card("bea").encoded
    ),
    "a replacing card of another identity": lambda two: two.ace.forge(
        Kind.CARD, two.bea.number, make_card("bea", who="x", session=two.bea.seat.session).encoded
    ),
    "a replacing card of another name": lambda two: two.ace.forge(
        Kind.CARD, two.bea.number, make_card("BEA", who="bea", session=two.bea.seat.session).encoded
    ),
    "a WELCOME not asked for": lambda two: records.from_relay(
        Kind.WELCOME,
        Welcome(
            two.table.log.log_id, two.ace.number, True, Seq(h_of(two.ace)[0]), h_of(two.ace)[1], 0
        ).encode(),
    ),
    "a MEMBER not announced": lambda _: records.from_relay(
        Kind.MEMBER, Member(MemberId(3), make_card("x").encoded).encode()
    ),
    "a JOIN": lambda two: two.ace.forge(Kind.JOIN, two.bea.number, b""),
    "an ERROR, which the link takes": lambda two: two.ace.forge(Kind.ERROR, RELAY, b"\1\x90"),
    "a COMMAND": lambda two: two.ace.forge(Kind.COMMAND, two.bea.number, b"/ban"),
    "a NOTICE that is not UTF-8": lambda _: records.from_relay(Kind.NOTICE, b"\xff"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_relay_is_blamed_for(fault: str) -> None:
    table = Table()
    ace, bea = table.seat("ace", "bea")
    record = FAULTS[fault](Two(table, ace, bea))
    before = h_of(ace), set(ace.conv.peers)
    refuses(ace, record)
    assert before == (h_of(ace), set(ace.conv.peers))


def test_a_number_used_before_is_the_relays_fault() -> None:
    table = Table()
    ace, _, col = table.seat("ace", "bea", "col")
    col.conv.leave()
    col.send()
    ace.read()
    refuses(ace, ace.forge(Kind.CARD, col.number, make_card("dan").encoded))
    refuses(ace, ace.forge(Kind.CARD, ace.number, make_card("dan").encoded))
    (came,) = ace.take(ace.forge(Kind.CARD, MemberId(9), make_card("dan").encoded))
    assert isinstance(came, Came)
    refuses(ace, ace.forge(Kind.CARD, MemberId(8), make_card("eve").encoded))


def test_what_does_not_apply_is_ignored() -> None:
    table = Table()
    ace, bea = table.seat("ace", "bea")
    notice = records.from_relay(Kind.NOTICE, b"hello")._replace(
        sender=MemberId(7), to=MemberId(7), seq=Seq(7)
    )
    assert ace.take(notice) == [Noticed("hello")]
    (left,) = ace.take(ace.forge(Kind.LEAVE, bea.number, b"\1")._replace(to=MemberId(7)))
    assert isinstance(left, Left)


@pytest.mark.parametrize("at", [0, 20, 90, -1])
def test_an_echo_must_be_of_our_oldest_record_whole(at: int) -> None:
    table = Table()
    ace, _ = table.seat("ace", "bea")
    ace.conv.say("one")
    ace.send()
    *keys, echo = ace.incoming()
    for record in keys:
        ace.take(record)
    refuses(ace, altered(echo, at))
    assert ace.echoed == []


def test_an_echo_out_of_order_is_the_relays_fault() -> None:
    table = Table()
    ace, bea, col = table.seat("ace", "bea", "col")
    ace.conv.say("one")
    ace.conv.say("two")
    ace.send()
    key_bea, key_col, one, two = ace.incoming()
    refuses(ace, one._replace(body=two.body))
    refuses(ace, key_bea._replace(to=col.number))
    refuses(ace, key_bea._replace(kind=Kind.MESSAGE))
    ace.take(key_bea)
    refuses(ace, key_col._replace(to=bea.number))
    assert ace.echoed == []


class TestJoining:
    def knock(self) -> tuple[Table, Person, list[Delivered]]:
        """Somebody who has asked to join, and the answer."""
        table = Table()
        table.seat("ace", "bea")
        col = Person(table, "col")
        return table, col, col.knock()

    def test_members_before_a_welcome(self) -> None:
        _, col, (_, member, _) = self.knock()
        refuses(col, member)

    def test_more_members_than_counted(self) -> None:
        _, col, (welcome, first, second) = self.knock()
        for record in (welcome, first, second):
            col.take(record)
        refuses(
            col,
            records.from_relay(Kind.MEMBER, Member(MemberId(9), make_card("dan").encoded).encode()),
        )

    def test_fewer_members_than_counted(self) -> None:
        _, col, (welcome, first, _) = self.knock()
        col.take(welcome)
        col.take(first)
        refuses(col, col.incoming()[0])

    @pytest.mark.parametrize("number", [0, 1, 3])
    def test_a_number_that_is_zero_repeated_or_ours(self, number: int) -> None:
        _, col, (welcome, first, _) = self.knock()
        col.take(welcome)
        col.take(first)
        member = Member(MemberId(number), make_card("dan").encoded)
        refuses(col, records.from_relay(Kind.MEMBER, member.encode()))

    @pytest.mark.parametrize("name", ["col", "COL", "ace"])
    def test_a_name_that_is_ours_or_repeated(self, name: str) -> None:
        _, col, (welcome, first, _) = self.knock()
        col.take(welcome)
        col.take(first)
        member = Member(MemberId(2), make_card(name, who="x").encoded)
        refuses(col, records.from_relay(Kind.MEMBER, member.encode()))

    def test_our_session_among_the_members(self) -> None:
        _, col, (welcome, _, _) = self.knock()
        col.take(welcome)
        member = Member(MemberId(2), make_card("dan", session=col.seat.session).encoded)
        refuses(col, records.from_relay(Kind.MEMBER, member.encode()))

    def test_an_invalid_card(self) -> None:
        _, col, (welcome, first, _) = self.knock()
        col.take(welcome)
        refuses(col, altered(first, 100))

    def test_a_stream_record_before_our_card(self) -> None:
        table, col, replies = self.knock()
        ace = table.people[0]
        for at, record in enumerate(replies):
            col.take(record)
            if at < len(replies) - 1:
                refuses(col, Delivered(Kind.LEAVE, ace.number, RELAY, Seq(3), AT_MS, b"\0"))
        refuses(col, col.forge(Kind.LEAVE, ace.number, b"\0"))
        refuses(col, col.forge(Kind.CARD, MemberId(9), make_card("dan").encoded))
        refuses(col, col.forge(Kind.MESSAGE, ace.number, bytes(96)))
        refuses(col, col.forge(Kind.SENDER_KEY, ace.number, bytes(1209), to=col.number))

    def test_a_second_welcome(self) -> None:
        table, col, replies = self.knock()
        col.take(replies[0])
        refuses(col, replies[0])
        for record in replies[1:]:
            col.take(record)
        seq, h = h_of(col)
        again = Welcome(table.log.log_id, col.number, True, Seq(seq), h, 1)
        refuses(col, records.from_relay(Kind.WELCOME, again.encode()))

    def test_a_welcome_that_resumes_a_fresh_session_or_gives_no_number(self) -> None:
        _, col, (welcome, _, _) = self.knock()
        body = Welcome.decode(welcome.body)
        for wrong in (replace(body, resumed=True), replace(body, number=RELAY)):
            refuses(col, records.from_relay(Kind.WELCOME, wrong.encode()))
            col.conv._is_asking = True


class TestResuming:
    def knock(self) -> tuple[Table, Person, Welcome]:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.cut()
        bea.say("missed")
        (welcome,) = ace.knock()
        return table, ace, Welcome.decode(welcome.body)

    @pytest.mark.parametrize(
        "change",
        [
            {"log_id": bytes(16)},
            {"number": MemberId(2)},
            {"resumed": False},
            {"room_seq": Seq(1)},
            {"room_seq": Seq(3)},
            {"h": bytes(32)},
        ],
    )
    def test_another_log_number_seq_or_h(self, change: dict[str, object]) -> None:
        _, ace, welcome = self.knock()
        wrong = replace(welcome, **change)  # type: ignore[arg-type] # fields by their names
        refuses(ace, records.from_relay(Kind.WELCOME, wrong.encode()))

    def test_a_record_before_the_welcome(self) -> None:
        _, ace, _ = self.knock()
        refuses(ace, ace.incoming()[0])

    def test_it_counts_the_messages_of_others_that_were_missed(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.conv.say("one")
        ace.send()
        ace.cut()
        bea.read()
        bea.say("two")
        assert bea.said == ["one"]
        ace.join()
        # Not the echoes of ace's own, nor bea's key.
        assert ace.events[-1] == Back(1)
        assert (ace.echoed, ace.said) == (["one"], ["two"])

    @pytest.mark.parametrize("is_own", [False, True])
    def test_what_was_missed_is_told_in_order_and_counted_once(self, *, is_own: bool) -> None:
        """Also where the last of it is no message of another's, before which they are opened."""
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.say("zero")
        for text in ("one", "two", "three"):
            bea.say(text)
        if is_own:
            ace.conv.say("four")
            ace.send()
        else:
            bea.conv.leave()
            bea.send()
        ace.cut()
        ace.events.clear()
        ace.join()
        *told, last, back = ace.events
        assert [event.text for event in told if isinstance(event, Said)] == ["one", "two", "three"]
        assert isinstance(last, Said) == is_own
        assert back == Back(3)

    def test_what_has_no_echo_is_sealed_anew_on_another_chain(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.conv.say("zero")
        first = ace.send()[-1]
        ace.read()
        ace.conv.say("lost")
        ace.conv.say("lost to you", ace.peer(bea))
        lost = ace.conv.outgoing(table.now)
        ace.cut()
        ace.conv.say("later")
        ace.join()
        again = ace.send()
        assert {peek(first.body)[0]} == {1}
        bodies = [sent.body for sent in lost]
        assert all(sent.body not in bodies for sent in again)
        positions = [peek(s.body)[:2] for s in [first, *lost, *again] if s.kind is Kind.MESSAGE]
        assert len(positions) == len(set(positions)) == 6
        ace.read()
        bea.read()
        assert bea.said == ["zero", "lost", "lost to you", "later"]
        assert ace.echoed == bea.said
        assert not bea.troubles

    def test_a_direct_line_whose_recipient_left_is_reported(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.conv.say("psst", ace.peer(bea))
        ace.conv.outgoing(table.now)
        ace.cut()
        ace.conv.say("also", ace.peer(bea))
        bea.conv.leave()
        bea.send()
        ace.join()
        reported = [
            line.text
            for event in ace.events
            if isinstance(event, Undelivered)
            for line in event.lines
        ]
        assert sorted(reported) == ["also", "psst"]
        assert ace.conv.waiting == 0
        assert ace.send() == []

    def test_410_reports_what_was_sent_and_keeps_what_was_not(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.conv.say("sent")
        ace.conv.outgoing(table.now)
        ace.cut()
        ace.conv.say("waiting")
        ace.conv.say("direct", ace.peer(bea))
        session = ace.conv.hello().session
        table.room.leave(session, Reason.LOST, table.now, AT_MS)
        (undelivered,) = ace.conv.rejoin()
        assert isinstance(undelivered, Undelivered)
        assert [line.text for line in undelivered.lines] == ["sent", "direct"]
        assert ace.conv.hello().session != session
        assert ace.conv.peers == {}
        ace.join()
        ace.send()
        bea.read()
        assert bea.said == ["waiting"]

    def test_a_card_that_aged_while_away_is_replaced_by_the_join(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.cut()
        table.now += CARD_AGE_S
        ace.join()
        bea.read()
        assert bea.peer(ace).card.encoded == ace.seat.card.encoded
        assert h_of(ace) == h_of(bea)
        assert ace.conv._old_key_s == table.now + OLD_CARD_KEY_S

    @pytest.mark.parametrize("is_logged", [False, True])
    def test_two_cards_may_wait_for_their_echo(self, is_logged: bool) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        table.now += CARD_AGE_S
        if is_logged:
            ace.send()
        else:
            ace.conv.outgoing(table.now)
        ace.cut()
        table.now += CARD_AGE_S
        ace.join()
        ace.say("hi")
        bea.read()
        assert bea.said == ["hi"]
        assert h_of(ace) == h_of(bea)


# --- The steps of PROTOCOL.md 5.3, in their order.


class TestSteps:
    def pair(self) -> tuple[Table, Person, Person]:
        """Two who have talked: bea holds ace's chain, at index 1."""
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.say("first")
        bea.read()
        assert bea.said == ["first"]
        return table, ace, bea

    def gets(self, bea: Person, ace: Person, body: bytes, to: Person | None = None) -> list[object]:
        """What bea is shown of a MESSAGE of ace."""
        number = to.number if to else 0
        events = bea.take(bea.forge(Kind.MESSAGE, ace.number, body, to=number))
        return [event.trouble if isinstance(event, Warned) else event for event in events]

    def texts(self, events: list[object]) -> list[str]:
        return [event.text for event in events if isinstance(event, Said)]

    def test_1_one_who_is_not_trusted_is_hidden_and_its_chain_goes_on(self) -> None:
        _, ace, bea = self.pair()
        peer = bea.peer(ace)
        peer.standing = Standing.CHANGED
        assert self.gets(bea, ace, message(ace, "hidden")) == [Trouble.HIDDEN]
        assert self.gets(bea, ace, bytes(96)) == [Trouble.HIDDEN]
        assert self.gets(bea, ace, bytes(96), to=bea) == [Trouble.HIDDEN]
        peer.standing = Standing.FIRST_SEEN
        assert self.texts(self.gets(bea, ace, message(ace, "second"))) == ["second"]

    def test_1_comes_before_2(self) -> None:
        table, ace, _ = self.pair()
        body = message(ace, "before dan")
        dan = Person(table, "dan").join()
        dan.peer(ace).standing = Standing.NOT_INVITED
        assert self.gets(dan, ace, body) == [Trouble.HIDDEN]

    def test_2_what_was_sealed_before_we_came_is_not_for_us(self) -> None:
        table, ace, _ = self.pair()
        body = message(ace, "before dan")
        dan = Person(table, "dan").join()
        assert self.gets(dan, ace, body) == []
        assert self.gets(dan, ace, body, to=dan) == [Trouble.UNREADABLE]

    def test_3_seen_before_its_sender_came(self) -> None:
        table, ace, bea = self.pair()
        col = Person(table, "col")
        before = h_of(bea)
        col.join()
        bea.read()
        ace.read()
        col.say("hello")
        bea.read()
        assert self.gets(bea, col, send_chain(col).seal(padded("x"), *before)) == [
            Trouble.UNAUTHENTIC
        ]

    def test_3_seen_ahead_of_us(self) -> None:
        _, ace, bea = self.pair()
        seq, h = h_of(ace)
        assert self.gets(bea, ace, send_chain(ace).seal(padded("x"), seq + 1, h)) == [
            Trouble.UNAUTHENTIC
        ]

    def test_3_an_h_that_is_not_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, ace, bea = self.pair()
        body = message(ace, "second")
        transcript = bea.conv._transcript
        assert transcript is not None
        while len(transcript._kept) > 1:
            transcript._kept.popleft()
        bea.take(bea.forge(Kind.CARD, MemberId(9), make_card("dan").encoded))
        transcript._kept.popleft()
        assert self.gets(bea, ace, body) == [Trouble.UNAUTHENTIC]

    def test_4_no_chain_of_that_number(self) -> None:
        _, ace, bea = self.pair()
        body = send_chain(ace).seal(padded("x"), *h_of(ace))
        assert self.gets(bea, ace, b"\0\0\0\7" + body[4:]) == [Trouble.UNREADABLE]

    def test_5_one_after_a_message_that_is_withheld(self) -> None:
        _, ace, bea = self.pair()
        chain, h = send_chain(ace), h_of(ace)
        chain.seal(padded("withheld"), *h)
        assert self.gets(bea, ace, chain.seal(padded("x"), *h)) == [Trouble.UNAUTHENTIC]

    def test_what_is_held_is_opened_in_order_and_a_few_at_a_time(self) -> None:
        _, ace, bea = self.pair()
        texts = [str(number) for number in range(2 * OPENED_TOGETHER + 1)]
        events = []
        for text in texts:
            body = message(ace, text)
            found = bea.conv.receive(bea.forge(Kind.MESSAGE, ace.number, body), bea.table.now)
            assert len(found) in (0, OPENED_TOGETHER)
            events += found
        assert len(events) == 2 * OPENED_TOGETHER
        events += bea.conv.open_held()
        assert [event.text for event in events if isinstance(event, Said)] == texts
        assert bea.conv.open_held() == []

    def test_what_else_comes_is_told_after_what_is_held(self) -> None:
        _, ace, bea = self.pair()
        said = bea.forge(Kind.MESSAGE, ace.number, message(ace, "x"))
        assert bea.conv.receive(said, bea.table.now) == []
        notice = records.from_relay(Kind.NOTICE, b"the relay stops")
        events = bea.conv.receive(notice, bea.table.now)
        assert [type(event) for event in events] == [Said, Noticed]

    def test_a_breach_of_the_protocol_takes_nothing_back(self) -> None:
        _, ace, bea = self.pair()
        bea.conv.receive(bea.forge(Kind.MESSAGE, ace.number, message(ace, "x")), bea.table.now)
        for breach in (Kind.JOIN, Kind.WELCOME):
            with pytest.raises(RemoteProtocolError):
                bea.conv.receive(records.from_relay(breach, b""), bea.table.now)
        (said,) = bea.conv.open_held()
        assert isinstance(said, Said)
        assert bea.conv.open_held() == []

    def test_our_own_echo_is_not_told_before_what_is_held(self) -> None:
        _, ace, bea = self.pair()
        bea.say("so that ace has the chain")
        ace.say("theirs")
        bea.conv.say("ours")
        bea.send()
        bea.cut()
        bea.events.clear()
        bea.join()
        told = [event.text if isinstance(event, Said) else type(event) for event in bea.events]
        assert told == ["theirs", "ours", Back]

    def test_a_lost_link_takes_nothing_back(self) -> None:
        _, ace, bea = self.pair()
        bea.conv.receive(bea.forge(Kind.MESSAGE, ace.number, message(ace, "x")), bea.table.now)
        (said,) = bea.conv.lost()
        assert isinstance(said, Said)

    def test_5_a_replay(self) -> None:
        _, ace, bea = self.pair()
        ace.conv.say("second")
        ace.send()
        (record,) = bea.incoming()
        assert self.texts(self.gets(bea, ace, record.body)) == ["second"]
        assert self.gets(bea, ace, record.body) == [Trouble.UNAUTHENTIC]

    @pytest.mark.parametrize("at", [15, 16, 40, -65, -64, -1])
    def test_6_a_wrong_signature_changes_nothing(self, at: int) -> None:
        _, ace, bea = self.pair()
        ace.conv.say("second")
        ace.send()
        (record,) = bea.incoming()
        twisted = altered(record, at).body
        peer = bea.peer(ace)
        body = peer.room._current
        assert body is not None
        before = body.index, body.key
        assert self.gets(bea, ace, twisted) == [Trouble.UNAUTHENTIC]
        assert before == (body.index, body.key)

    @pytest.mark.parametrize(
        ("content", "shown"),
        [
            (b"\1\0\2hi".ljust(127, b"\0"), Trouble.MALFORMED),
            (b"\1\0\2hi".ljust(256, b"\0"), Trouble.MALFORMED),
            (b"\1\0\1hi".ljust(128, b"\0"), Trouble.MALFORMED),
            (b"\1\0\2\xff\xff".ljust(128, b"\0"), Trouble.MALFORMED),
            (b"", Trouble.MALFORMED),
            (b"\7\0\2hi".ljust(128, b"\0"), Trouble.UNSUPPORTED),
        ],
    )
    def test_7_malformed_content_is_committed_all_the_same(
        self, content: bytes, shown: Trouble
    ) -> None:
        _, ace, bea = self.pair()
        body = send_chain(ace).seal(content, *h_of(ace))
        assert self.gets(bea, ace, body) == [shown]
        assert self.gets(bea, ace, body) == [Trouble.UNAUTHENTIC]


# --- The negative tests of PROTOCOL.md 11.


class TestNegative:
    def three(self) -> tuple[Table, Person, Person, Person]:
        table = Table()
        ace, bea, col = table.seat("ace", "bea", "col")
        return table, ace, bea, col

    def test_an_earlier_chain_again(self) -> None:
        _, ace, bea, col = self.three()
        out = ace.say("one")
        bea.read()
        # col leaves, so ace takes a new chain, which bea learns and which becomes current.
        col.conv.leave()
        col.send()
        ace.read()
        ace.say("two")
        bea.read()
        key, old = out[0], out[-1]
        assert key.to == bea.number
        assert bea.take(bea.forge(Kind.SENDER_KEY, ace.number, key.body, to=bea.number)) == []
        (warned,) = bea.take(bea.forge(Kind.MESSAGE, ace.number, old.body))
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.UNREADABLE
        assert bea.said == ["one", "two"]

    def test_the_same_after_leave_and_card(self) -> None:
        _, ace, bea, _ = self.three()
        key, *_, old = ace.say("one")
        bea.read()
        card = ace.seat.card.encoded
        bea.take(bea.forge(Kind.LEAVE, ace.number, b"\1"))
        bea.take(bea.forge(Kind.CARD, MemberId(7), card))
        bea.take(bea.forge(Kind.SENDER_KEY, MemberId(7), key.body, to=bea.number))
        (warned,) = bea.take(bea.forge(Kind.MESSAGE, MemberId(7), old.body))
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.UNAUTHENTIC
        assert bea.said == ["one"]

    def test_a_room_message_as_direct_and_the_reverse(self) -> None:
        _, ace, bea, _ = self.three()
        ace.say("to all")
        ace.say("to bea", bea)
        bea.read()
        bea.events.clear()
        room = message(ace, "to all again")
        direct = send_chain(ace, bea).seal(padded("to bea again"), *h_of(ace))
        assert (peek(room)[0], peek(direct)[0]) == (1, 2)
        # The room's record becomes mail, and the mail is shown to the room.
        (one,) = bea.take(bea.forge(Kind.MESSAGE, ace.number, room, to=bea.number))
        (two,) = bea.take(bea.forge(Kind.MESSAGE, ace.number, direct))
        # With the chain's number changed to one that is held for that dest.
        forged = direct[:3] + b"\1" + direct[4:]
        (three,) = bea.take(bea.forge(Kind.MESSAGE, ace.number, forged))
        troubles = [event.trouble for event in (one, two, three) if isinstance(event, Warned)]
        assert troubles == [Trouble.UNREADABLE, Trouble.UNREADABLE, Trouble.UNAUTHENTIC]
        assert bea.said == []

    def test_a_key_of_another_scope(self) -> None:
        _, ace, bea, _ = self.three()
        key = ace.say("to all")[0]
        for scope in (1, 2):
            body = key.body[:8] + bytes([scope]) + key.body[9:]
            (warned,) = bea.take(bea.forge(Kind.SENDER_KEY, ace.number, body, to=bea.number))
            assert isinstance(warned, Warned)
            assert warned.trouble is Trouble.KEY_UNREADABLE

    def test_another_members_number_on_it(self) -> None:
        _, ace, bea, col = self.three()
        ace.say("ace's")
        col.read()
        col.say("col's")
        bea.read()
        body = message(ace, "as if col's")
        (warned,) = bea.take(bea.forge(Kind.MESSAGE, col.number, body))
        assert isinstance(warned, Warned)
        assert (warned.trouble, warned.peer.name) == (Trouble.UNAUTHENTIC, "col")
        assert bea.said == ["ace's", "col's"]

    def test_signed_by_a_member_who_knows_the_chain_key(self) -> None:
        _, ace, bea, col = self.three()
        ace.say("hello")
        col.read()
        bea.read()
        held = col.peer(ace).room._current
        assert held is not None
        forger = SendChain(
            identity("col"), ace.seat.session, ROOM_ID, ROOM_DEST, held.number, chain_key=held.key
        )
        forger._origin = send_chain(ace)._origin
        forger.index = held.index
        body = forger.seal(padded("forged"), *h_of(col))
        (warned,) = bea.take(bea.forge(Kind.MESSAGE, ace.number, body))
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.UNAUTHENTIC

    def test_two_recipients_given_different_chain_keys(self) -> None:
        _, ace, bea, col = self.three()
        key, _, sent = ace.say("hello")
        assert key.to == bea.number
        other = SendChain(identity("ace"), ace.seat.session, ROOM_ID, ROOM_DEST, 1)
        fake = other.key_for(
            RecipientKey(bea.seat.card.public), bea.seat.card.identity, bea.seat.session
        )
        bea.take(bea.forge(Kind.SENDER_KEY, ace.number, fake, to=bea.number))
        (warned,) = bea.take(bea.forge(Kind.MESSAGE, ace.number, sent.body))
        col.read()
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.UNAUTHENTIC
        assert (bea.said, col.said) == ([], ["hello"])

    def test_a_relay_made_key(self) -> None:
        _, ace, bea, _ = self.three()
        ace.say("one")
        bea.read()
        relays = SendChain(identity("relay"), ace.seat.session, ROOM_ID, ROOM_DEST, 9)
        relays._origin = send_chain(ace)._origin
        key = relays.key_for(
            RecipientKey(bea.seat.card.public), bea.seat.card.identity, bea.seat.session
        )
        bea.take(bea.forge(Kind.SENDER_KEY, ace.number, key, to=bea.number))
        pending = bea.peer(ace).room._pending
        assert pending is not None
        assert pending.number == 9
        body = relays.seal(padded("forged"), *h_of(bea))
        (warned,) = bea.take(bea.forge(Kind.MESSAGE, ace.number, body))
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.UNAUTHENTIC
        current = bea.peer(ace).room._current
        assert current is not None
        assert current.number == 1

    def test_a_key_sealed_to_another(self) -> None:
        _, ace, bea, col = self.three()
        keys = {sent.to: sent for sent in ace.say("one") if sent.kind is Kind.SENDER_KEY}
        stolen = keys[col.number].body
        (warned,) = bea.take(bea.forge(Kind.SENDER_KEY, ace.number, stolen, to=bea.number))
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.KEY_UNREADABLE

    def test_a_member_hidden_from_a_joiner(self) -> None:
        table, _, bea, _ = self.three()
        dan = Person(table, "dan")
        table.people.append(dan)
        welcome, *members = dan.knock()
        fewer = replace(Welcome.decode(welcome.body), count=2)
        dan.take(records.from_relay(Kind.WELCOME, fewer.encode()))
        for member in members[1:]:
            dan.take(member)
        dan.read()
        assert dan.conv.phase is Phase.LIVE
        table.all_read()
        bea.say("who is here?")
        dan.read()
        assert dan.troubles == [Trouble.UNAUTHENTIC]
        # And the reverse: nobody believes what dan says.
        dan.say("hello")
        bea.read()
        assert bea.troubles == [Trouble.UNAUTHENTIC]
        assert dan.said == bea.said == []

    def test_a_record_dropped_and_the_rest_renumbered(self) -> None:
        _, ace, bea, col = self.three()
        col.say("unwelcome")
        ace.read()
        ace.say("I agree")
        _, key, dropped, message = sorted(
            bea.incoming(), key=lambda record: (record.kind is Kind.MESSAGE, record.seq)
        )
        assert dropped.sender == col.number
        bea.take(key._replace(seq=Seq(1)))
        (warned,) = bea.take(message._replace(seq=Seq(message.seq - 1)))
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.UNAUTHENTIC
        assert bea.said == []

    def test_two_histories_are_seen_by_the_next_message(self) -> None:
        _, ace, bea, col = self.three()
        ace.conv.say("one")
        ace.conv.say("two")
        ace.send()
        # col is told that it was the other way round, which no single record proves.
        *keys, one, two = col.incoming()
        for key in keys:
            col.take(key)
        col.take(two._replace(seq=one.seq))
        col.take(one._replace(seq=two.seq))
        ace.read()
        bea.read()
        bea.say("and three")
        col.read()
        assert "and three" not in col.said
        assert col.troubles[-1] is Trouble.UNAUTHENTIC

    def test_a_changed_pin(self) -> None:
        table, ace, bea, _ = self.three()
        eve = Person(table, "dan", who="eve")
        table.people.append(eve)
        ace.pins.add(ace.conv._server_id, "dan", Pin(identity("dan").public, Grade.VERIFIED, TODAY))
        eve.join()
        table.all_read()
        assert ace.troubles == [Trouble.CHANGED]
        assert bea.troubles == []
        # eve gets no key from ace, and is not shown.
        assert [s.to for s in ace.say("secret") if s.kind is Kind.SENDER_KEY] == [2, 3]
        with pytest.raises(UsageError):
            ace.conv.say("psst", ace.peer(eve))
        eve.say("it's me, dan")
        ace.read()
        eve.read()
        assert ace.troubles == [Trouble.CHANGED, Trouble.HIDDEN]
        assert eve.troubles == [Trouble.UNREADABLE]
        assert (ace.said, eve.said) == ([], [])
        # Until its user says otherwise.
        ace.conv.trust(ace.peer(eve))
        pin = ace.conv.pin(ace.peer(eve))
        assert pin == Pin(identity("eve").public, Grade.TOFU, TODAY)
        ace.say("welcome")
        eve.read()
        assert eve.said == ["welcome"]
        # Her chain goes on, as its hidden part was followed.
        eve.say("thanks")
        ace.read()
        assert ace.said == ["thanks"]

    def test_no_tag_where_a_secret_is_set(self) -> None:
        table = Table()
        secret = bytes(16)
        ace, bea = table.seat("ace", "bea", secret=secret)
        (eve,) = table.seat("eve")
        (mal,) = table.seat("mal", secret=b"x" * 16)
        assert ace.troubles == bea.troubles == [Trouble.NOT_INVITED, Trouble.NOT_INVITED]
        assert ace.peer(bea).standing is Standing.INVITED
        keys = [sent.to for sent in ace.say("members only") if sent.kind is Kind.SENDER_KEY]
        assert keys == [bea.number]
        eve.say("let me in")
        mal.say("me too")
        table.all_read()
        assert bea.said == ["members only"]
        assert ace.troubles[2:] == [Trouble.HIDDEN, Trouble.HIDDEN]
        # Being trusted by name does not make up for the tag.
        ace.conv.trust(ace.peer(eve))
        assert ace.peer(eve).standing is Standing.NOT_INVITED
        assert {peer.name for peer in ace.conv.peers.values()} == {"bea", "eve", "mal"}

    def test_one_who_loses_trust_gets_no_next_message(self) -> None:
        table = Table()
        ace, bea, col = table.seat("ace", "bea", "col", secret=bytes(16))
        ace.say("one")
        untagged = make_card("col", session=col.seat.session)
        table.room.receive(
            col.seat, col.holder, Sent(Kind.CARD, RELAY, untagged.encoded), table.now, AT_MS
        )
        ace.read()
        assert ace.troubles == [Trouble.NOT_INVITED]
        out = ace.say("two")
        assert [(s.kind, s.to) for s in out] == [
            (Kind.SENDER_KEY, bea.number),
            (Kind.MESSAGE, 0),
        ]
        assert peek(out[-1].body)[0] == 2


# --- Chains, cards, pace.


class TestChains:
    def test_a_joiner_gets_the_key_at_the_present_position(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.say("one")
        (col,) = table.seat("col")
        key, _ = ace.say("two")
        assert key.to == col.number
        assert peek_key(key.body)[:2] == (1, 1)
        table.all_read()
        assert (bea.said, col.said) == (["one", "two"], ["two"])
        assert not bea.troubles
        assert not col.troubles

    def test_a_new_chain_when_a_holder_leaves(self) -> None:
        table = Table()
        ace, bea, col = table.seat("ace", "bea", "col")
        ace.say("one")
        ace.say("to bea", bea)
        col.conv.leave()
        col.send()
        ace.read()
        key, two = ace.say("two")
        assert (key.to, peek_key(key.body)[0], peek(two.body)[0]) == (bea.number, 3, 3)
        # bea alone holds the direct one, which goes on.
        assert peek(ace.say("again", bea)[-1].body)[:2] == (2, 1)

    def test_a_new_chain_after_256_messages(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        chains = []
        for n in range(CHAIN_MESSAGES + 1):
            table.now += 1
            chains.append(peek(ace.say(str(n))[-1].body)[:2])
        assert chains[:-1] == [(1, n) for n in range(CHAIN_MESSAGES)]
        assert chains[-1] == (2, 0)
        bea.read()
        assert bea.said == [str(n) for n in range(CHAIN_MESSAGES + 1)]

    def test_a_new_chain_after_a_day(self) -> None:
        table = Table()
        ace, _ = table.seat("ace", "bea")
        start = table.now
        assert peek(ace.say("one")[-1].body)[0] == 1
        table.now = start + CHAIN_AGE_S - 1
        assert peek(ace.say("two")[-1].body)[0] == 1
        table.now = start + CHAIN_AGE_S
        assert peek(ace.say("three")[-1].body)[0] == 2

    def test_keys_are_sealed_a_few_at_a_time(self) -> None:
        table = Table()
        (ace,) = table.seat("ace")
        for number in range(2, KEYS_PER_TURN + 4):
            card = make_card(f"n{number}", who="crowd")
            ace.take(ace.forge(Kind.CARD, MemberId(number), card.encoded))
        ace.conv.say("hello")
        first = ace.conv.outgoing(table.now)
        assert [sent.kind for sent in first] == [Kind.SENDER_KEY] * KEYS_PER_TURN
        due = ace.conv.deadline()
        assert due is not None
        assert due <= table.now
        rest = ace.conv.outgoing(table.now)
        assert [sent.kind for sent in rest] == [Kind.SENDER_KEY, Kind.SENDER_KEY, Kind.MESSAGE]


class TestCards:
    def test_a_card_is_replaced_after_a_day_and_the_old_key_opens_ten_minutes_more(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        bea.cut()  # bea does not see the new card
        bea_was = table.now
        table.now += CARD_AGE_S - 1
        assert ace.send() == []
        table.now += 1
        assert ace.conv.deadline() == table.now
        (card,) = ace.send()
        assert card.kind is Kind.CARD
        ace.read()
        assert ace.conv._card_keys[1:]
        table.now += OLD_CARD_KEY_S - 1
        ace.send()
        sealed_to_old = SendChain(identity("bea"), bea.seat.session, ROOM_ID, ROOM_DEST, 1)
        old = RecipientKey(bea.peer(ace).card.public)
        key = sealed_to_old.key_for(old, ace.seat.card.identity, ace.seat.session)
        assert ace.take(ace.forge(Kind.SENDER_KEY, bea.number, key, to=ace.number)) == []
        assert ace.conv.deadline() == table.now + 1
        table.now += 1
        ace.send()
        assert len(ace.conv._card_keys) == 1
        later = SendChain(identity("bea"), bea.seat.session, ROOM_ID, ROOM_DEST, 2)
        key = later.key_for(old, ace.seat.card.identity, ace.seat.session)
        (warned,) = ace.take(ace.forge(Kind.SENDER_KEY, bea.number, key, to=ace.number))
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.KEY_UNREADABLE
        assert bea_was < table.now

    def test_disconnected_the_old_key_is_kept_until_it_has_caught_up(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        table.now += CARD_AGE_S
        ace.send()
        ace.read()
        # bea has not seen the new card yet and seals to the old one, while ace is away.
        ace.cut()
        bea.conv.say("to your old card")
        bea.send()
        table.now += OLD_CARD_KEY_S + 100
        table.room._grace_s = 1e9
        ace.join()
        assert ace.said == ["to your old card"]
        ace.send()
        assert len(ace.conv._card_keys) == 1

    def test_others_seal_to_the_new_card(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        table.now += CARD_AGE_S
        ace.send()
        bea.send()
        table.all_read()
        table.now += OLD_CARD_KEY_S
        ace.send()
        bea.say("fresh")
        ace.read()
        assert ace.said == ["fresh"]
        assert not ace.troubles


class TestPace:
    def test_a_burst_of_40_then_10_a_second(self) -> None:
        table = Table()
        (ace,) = table.seat("ace")
        for n in range(60):
            ace.conv.say(str(n))
        assert len(ace.conv.outgoing(table.now)) == MESSAGES_BURST
        assert ace.conv.outgoing(table.now) == []
        due = ace.conv.deadline()
        assert due == pytest.approx(table.now + 0.1)
        assert len(ace.conv.outgoing(table.now + 0.11)) == 1
        assert len(ace.conv.outgoing(table.now + 1.01)) == 9
        assert ace.conv.waiting == 60
        assert len(ace.conv.outgoing(table.now + 1000)) == 10
        assert ace.conv.outgoing(table.now + 1000) == []

    def test_waiting_lines_are_bounded(self) -> None:
        table = Table()
        ace = Person(table, "ace")
        for _ in range(MAX_WAITING):
            ace.conv.say("x")
        with pytest.raises(UsageError):
            ace.conv.say("one too many")
        assert ace.conv.waiting == MAX_WAITING

    def test_what_cannot_be_sent_is_not_queued(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        with pytest.raises(UsageError):
            ace.conv.say("x" * 16_385)
        peer = ace.peer(bea)
        bea.conv.leave()
        bea.send()
        ace.read()
        with pytest.raises(UsageError):
            ace.conv.say("psst", peer)
        assert ace.conv.waiting == 0


# --- Idea 4: the relay cannot read.


def search(root: object, marker: bytes) -> list[str]:
    """The paths by which `marker` can be found in whatever hangs from `root`."""
    found, todo, seen = [], [("", root)], set()
    while todo:
        path, value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, str):
            value = value.encode("utf-8", "replace")
        if isinstance(value, bytes | bytearray | memoryview):
            if marker in bytes(value):
                found.append(path)
        elif isinstance(value, dict):
            todo += [(f"{path}[{key!r:.40}]", item) for key, item in value.items()]
            todo += [(f"{path} key", key) for key in value]
        elif isinstance(value, list | tuple | set | frozenset) or hasattr(value, "popleft"):
            todo += [(f"{path}[]", item) for item in value]  # type: ignore[attr-defined] # deques
        else:
            names = [*getattr(value, "__dict__", ())]
            for kind in type(value).__mro__:
                slots = kind.__dict__.get("__slots__", ())
                names += [slots] if isinstance(slots, str) else slots
            todo += [
                (f"{path}.{name}", getattr(value, name)) for name in names if hasattr(value, name)
            ]
    return found


def test_a_marker_is_in_nothing_the_relay_receives_or_stores() -> None:
    marker = secrets.token_hex(16)
    table = Table()
    ace, bea, _ = table.seat("ace", "bea", "col")
    received: list[Sent] = []
    received += ace.say(f"to all {marker}")
    received += ace.say(f"to bea {marker}", bea)
    stored = search(table.room, marker.encode())
    assert not stored
    assert not search(received, marker.encode())
    bea.read()
    assert bea.said == [f"to all {marker}", f"to bea {marker}"]
    # The search finds what the relay does hold.
    assert search(table.room, b"bea")
    assert search(table.room, received[-1].body)


def test_reencoding_is_lossless() -> None:
    record = Delivered(Kind.LEAVE, MemberId(1), RELAY, Seq(2), AT_MS, b"\0")
    assert reencoded(record) == record


def test_more_members_than_a_room_can_have() -> None:
    ace = Person(Table(), "ace")
    ace.conv.opened(bytes(32), 1.0)
    ace.conv.outgoing(1.0)
    body = records.Welcome(bytes(15) + b"\1", MemberId(1), False, Seq(0), bytes(32), 2_000)
    with pytest.raises(RemoteProtocolError, match="more members"):
        ace.conv.receive(records.from_relay(Kind.WELCOME, body.encode()), 1.0)


def test_the_card_of_a_join_that_was_cut_off_comes_among_what_was_missed() -> None:
    table = Table()
    ace, bea = table.seat("ace", "bea")
    ace.cut()
    table.now += 25 * 3600
    bea.conv.say("while ace is away")
    bea.send()
    ace.knock()
    ace.cut()
    ace.join()
    assert ace.conv.phase is Phase.LIVE
    ace.conv.say("back")
    ace.send()
    table.all_read()
    assert any(isinstance(event, Said) and event.text == "back" for event in bea.events)


def test_a_direct_line_that_waits_for_one_who_loses_our_trust_is_reported() -> None:
    table = Table()
    ace, bob = table.seat("ace", "bob", secret=bytes(16))
    ace.cut()
    ace.conv.say("for bob alone", ace.peer(bob))
    bob.conv._secret = None
    bob.conv._card_age_s = 0.0
    bob.send()
    ace.events.clear()
    ace.join()
    assert [sent.kind for sent in ace.send()] == []
    (undelivered,) = (event for event in ace.events if isinstance(event, Undelivered))
    assert [line.text for line in undelivered.lines] == ["for bob alone"]
    assert not ace.conv.waiting
