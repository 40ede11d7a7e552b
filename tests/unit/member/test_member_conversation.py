"""One session in one room: PROTOCOL.md 4.1 and 4.3."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from unittest import mock

import pytest

from common.crypto.chain import peek
from common.errors import FileError, RemoteProtocolError, UsageError
from common.member.conversation import MAX_NOTICES, TRANSITIONS, Conversation, Phase, Step
from common.member.events import (
    Back,
    Came,
    Event,
    Failed,
    Gone,
    Joined,
    Left,
    Noticed,
    Said,
    Undelivered,
)
from common.member.outbox import CARD_AGE_S
from common.member.reader import OLD_CARD_KEY_S, OPENED_TOGETHER
from common.wire import records
from common.wire.records import (
    RELAY,
    Answer,
    Delivered,
    Kind,
    Member,
    MemberId,
    Reason,
    Sent,
    Seq,
    Status,
    Welcome,
)
from tests.unit.member.table import (
    AT_MS,
    Person,
    Table,
    altered,
    h_of,
    make_card,
    message,
    pair,
    reencoded,
    refuses,
)

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
        Kind.MESSAGE, two.bea.number, bytes(128), to=two.ace.number
    )._replace(seq=Seq(2)),
    "the LEAVE of no member": lambda two: two.ace.forge(Kind.LEAVE, MemberId(9), b"\0"),
    "a MESSAGE of no member": lambda two: two.ace.forge(Kind.MESSAGE, MemberId(9), bytes(128)),
    "mail of no member": lambda two: two.ace.forge(
        Kind.SENDER_KEY, MemberId(9), bytes(1209), to=two.ace.number
    ),
    "a MESSAGE of number 0": lambda two: two.ace.forge(Kind.MESSAGE, RELAY, bytes(128)),
    "mail to another": lambda two: two.ace.forge(
        Kind.SENDER_KEY, two.bea.number, bytes(1209), to=9
    ),
    "mail without a body": lambda two: two.ace.forge(
        Kind.MESSAGE, two.bea.number, b"", to=two.ace.number
    ),
    "an echo of nothing": lambda two: two.ace.forge(Kind.MESSAGE, two.ace.number, bytes(128)),
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
    "an ANSWER to no order": lambda _: records.from_relay(
        Kind.ANSWER, Answer(1, Status.OK, "Done.").encode()
    ),
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


def test_what_does_not_apply_is_ignored() -> None:
    table = Table()
    ace, bea = table.seat("ace", "bea")
    notice = records.from_relay(Kind.NOTICE, b"hello")._replace(
        sender=MemberId(7), to=MemberId(7), seq=Seq(7)
    )
    assert ace.take(notice) == [Noticed("hello")]
    (left,) = ace.take(ace.forge(Kind.LEAVE, bea.number, b"\1")._replace(to=MemberId(7)))
    assert isinstance(left, Left)


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
        refuses(col, col.forge(Kind.MESSAGE, ace.number, bytes(128)))
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
            col.conv._arrival.is_asking = True


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
        table.room.leave(ace.seat, Reason.LOST, table.now, AT_MS)
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
        assert ace.conv._reader._old_key_s == table.now + OLD_CARD_KEY_S

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


class TestHeld:
    def test_what_is_held_is_opened_in_order_and_a_few_at_a_time(self) -> None:
        _, ace, bea = pair()
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
        _, ace, bea = pair()
        said = bea.forge(Kind.MESSAGE, ace.number, message(ace, "x"))
        assert bea.conv.receive(said, bea.table.now) == []
        notice = records.from_relay(Kind.NOTICE, b"the relay stops")
        events = bea.conv.receive(notice, bea.table.now)
        assert [type(event) for event in events] == [Said, Noticed]

    @pytest.mark.parametrize("breach", [Kind.JOIN, Kind.WELCOME, Kind.MESSAGE])
    def test_a_breach_of_the_protocol_takes_nothing_back(self, breach: Kind) -> None:
        _, ace, bea = pair()
        bea.conv.receive(bea.forge(Kind.MESSAGE, ace.number, message(ace, "x")), bea.table.now)
        said, failed = bea.conv.receive(records.from_relay(breach, b""), bea.table.now)
        assert isinstance(said, Said)
        assert isinstance(failed, Failed)
        assert isinstance(failed.problem, RemoteProtocolError)
        assert bea.conv.open_held() == []

    def test_our_own_echo_is_not_told_before_what_is_held(self) -> None:
        _, ace, bea = pair()
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
        _, ace, bea = pair()
        bea.conv.receive(bea.forge(Kind.MESSAGE, ace.number, message(ace, "x")), bea.table.now)
        (said,) = bea.conv.lost()
        assert isinstance(said, Said)

    def test_a_pin_that_cannot_be_kept_takes_nothing_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, ace, bea = pair()
        full = FileError("no space left")
        monkeypatch.setattr(bea.pins, "meet", mock.Mock(side_effect=full))
        bea.conv.receive(bea.forge(Kind.MESSAGE, ace.number, message(ace, "x")), bea.table.now)
        came = bea.forge(Kind.CARD, MemberId(9), make_card("dan").encoded)
        said, failed = bea.conv.receive(came, bea.table.now)
        assert isinstance(said, Said)
        assert failed == Failed(full)
        assert bea.conv.open_held() == []


class TestNotices:
    def notice(self, text: str) -> Delivered:
        return records.from_relay(Kind.NOTICE, text.encode())

    def test_what_is_said_to_a_newcomer_is_told_as_it_joins(self) -> None:
        table = Table()
        (ace,) = table.seat("ace")
        bea = Person(table, "bea")
        for number, record in enumerate(bea.knock()):
            assert bea.take(self.notice(str(number))) == []
            bea.take(record)
        assert bea.take(self.notice("last")) == []
        (joined,) = bea.read()
        assert joined == Joined([bea.peer(ace)], ("0", "1", "last"))
        assert bea.take(self.notice("now")) == [Noticed("now")]

    def test_it_is_bounded(self) -> None:
        bea = Person(Table(), "bea")
        (welcome,) = bea.knock()
        bea.take(welcome)
        texts = [str(number) for number in range(MAX_NOTICES + 3)]
        for text in texts:
            assert bea.take(self.notice(text)) == []
        assert bea.read() == [Joined([], tuple(texts[:MAX_NOTICES]))]

    def test_whoever_resumes_is_told_at_once(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        ace.cut()
        bea.say("missed")
        (welcome,) = ace.knock()
        assert ace.take(self.notice("one")) == [Noticed("one")]
        ace.take(welcome)
        assert ace.conv.phase is Phase.CATCHING_UP
        assert ace.take(self.notice("two")) == [Noticed("two")]

    @pytest.mark.parametrize("has_all", [False, True], ids=["no MEMBERs", "all MEMBERs"])
    @pytest.mark.parametrize("how", [Conversation.lost, Conversation.rejoin, Conversation.end])
    def test_whoever_does_not_join_is_told_all_the_same(
        self, how: Callable[[Conversation], list[Event]], *, has_all: bool
    ) -> None:
        table = Table()
        table.seat("ace")
        bea = Person(table, "bea")
        welcome, member = bea.knock()
        bea.take(self.notice("one"))
        bea.take(welcome)
        bea.take(self.notice("two"))
        if has_all:
            bea.take(member)
        assert how(bea.conv) == [Noticed("one"), Noticed("two")]
        assert bea.conv.open_held() == []

    def test_it_is_told_once(self) -> None:
        bea = Person(Table(), "bea")
        (welcome,) = bea.knock()
        bea.take(welcome)
        bea.take(self.notice("hello"))
        bea.cut()
        bea.join()
        bea.cut()
        assert bea.events == [Noticed("hello"), Joined([]), Back(0)]


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
    (failed,) = ace.conv.receive(records.from_relay(Kind.WELCOME, body.encode()), 1.0)
    assert isinstance(failed, Failed)
    assert isinstance(failed.problem, RemoteProtocolError)
    assert "more members" in str(failed.problem)


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
