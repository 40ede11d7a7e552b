"""What a member believes, and what it does not: PROTOCOL.md 5 and 11."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.crypto.chain import ROOM_DEST, SCOPE_ROOM, SendChain, peek
from common.crypto.primitives import RecipientKey
from common.errors import ProtocolError, UsageError
from common.member import contents, reader
from common.member.contents import Away, Text
from common.member.conversation import Phase
from common.member.events import Came, Event, Joined, Left, Said, Trouble, Warned
from common.member.outbox import CARD_AGE_S
from common.member.reader import LINES_KEPT, CardReplaced, Found, Reader, _Lines
from common.member.trust import Grade, Pin, Standing
from common.wire import records
from common.wire.records import RELAY, Kind, Member, MemberId, Reason, Sent, Seq, Welcome
from tests.unit.member.table import (
    AT_MS,
    ROOM_ID,
    TODAY,
    Person,
    Table,
    altered,
    h_of,
    identity,
    make_card,
    message,
    padded,
    pair,
    refuses,
    send_chain,
)


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


class TestAlone:
    """A reader needs no outbox, and no conversation around it."""

    def reader(self, table: Table) -> tuple[Reader, Person]:
        """A reader at the place where somebody joins, and that person."""
        col = Person(table, "col")
        welcome, *members = col.knock()
        reader = Reader(
            room_id=ROOM_ID,
            session=col.seat.session,
            identity=col.seat.card.identity,
            username="col",
            judge=lambda _: (Standing.FIRST_SEEN, True),
        )
        reader.begin(Welcome.decode(welcome.body))
        for member in members:
            reader.add_member(Member.decode(member.body))
        return reader, col

    def reads(self, reader: Reader, person: Person) -> list[Found]:
        found: list[Found] = []
        for record in person.incoming():
            found += reader.receive(record, person.table.now, is_room=reader.check(record))
        return found + reader.open_held()

    def test_it_begins_where_it_is_told_and_follows_the_log(self) -> None:
        table = Table()
        ace, bea = table.seat("ace", "bea")
        reader, col = self.reader(table)
        assert [peer.name for peer in reader.peers.values()] == ["ace", "bea"]
        (joined,) = self.reads(reader, col)
        assert isinstance(joined, Joined)
        table.now += CARD_AGE_S
        ace.send()
        bea.conv.leave()
        bea.send()
        card_replaced, left = self.reads(reader, col)
        assert isinstance(card_replaced, CardReplaced)
        assert card_replaced.peer.name == "ace"
        assert isinstance(left, Left)
        assert left.peer.name == "bea"
        assert reader.transcript is not None
        assert reader.transcript.h == table.room._transcript.h

    def test_its_judge_is_asked_of_each_card(self) -> None:
        table = Table()
        table.seat("ace")
        reader, col = self.reader(table)
        self.reads(reader, col)
        reader._judge = lambda _: (Standing.CHANGED, False)
        table.seat("bea")
        came, warned = self.reads(reader, col)
        assert isinstance(came, Came)
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.CHANGED
        (ace, bea) = reader.peers.values()
        assert (ace.is_trusted, bea.is_trusted) == (True, False)

    @pytest.mark.parametrize("lie", [{"h": bytes(32)}, {"log_id": bytes(16)}, {"count": 1}])
    def test_a_log_begins_with_its_log_id_alone(self, lie: dict[str, Any]) -> None:
        table = Table()
        col = Person(table, "col")
        (welcome, *_) = col.knock()
        told = Welcome.decode(welcome.body)
        assert told.room_seq == 0
        col.conv._reader.begin(told)
        with pytest.raises(ProtocolError):
            col.conv._reader.begin(replace(told, **lie))


# --- Direct lines (PROTOCOL.md 5.4).


class TestLines:
    def psst(self, ace: Person, bea: Person, number: int, text: str = "psst") -> list[Event]:
        """Seal a direct line of that number to bea, and let her read it."""
        body = send_chain(ace, bea).seal(contents.encode(Text(text), number), *h_of(ace))
        return bea.take(bea.forge(Kind.MESSAGE, ace.number, body, to=bea.number))

    def two(self) -> tuple[Person, Person]:
        _, ace, bea = pair()
        ace.say("to bea", bea)
        bea.read()
        return ace, bea

    def test_one_that_came_before_is_not_shown_again(self) -> None:
        ace, bea = self.two()
        (said,) = self.psst(ace, bea, 2**63)
        assert isinstance(said, Said)
        assert self.psst(ace, bea, 2**63) == []
        assert self.psst(ace, bea, 2**63, "another text") == []
        assert len(self.psst(ace, bea, 2**63 - 1)) == 1
        assert len(self.psst(ace, bea, 2**63 + 1)) == 1

    def test_a_receipt_that_is_kept_back_doubles_nothing(self) -> None:
        _, ace, bea = pair()
        ace.conv.say("psst", ace.peer(bea))
        ace.send()
        bea.read()
        # The relay hides that it was logged, and says that ace missed nothing.
        ace.conv._outbox.caught_up(ace.conv.peers)
        ace.send()
        bea.read()
        assert bea.said == ["first", "psst"]

    def test_it_grows_with_the_clock_and_never_falls(self) -> None:
        _, ace, bea = pair()
        at_ms = 1_000
        ace.conv._at_ms = lambda: at_ms
        numbers = [ace.conv.say("one", ace.peer(bea)) for _ in range(3)]
        at_ms = 5
        numbers.append(ace.conv.say("the clock was put back", ace.peer(bea)))
        at_ms = 9_000
        numbers.append(ace.conv.say("later"))
        assert numbers == [1_000, 1_001, 1_002, 1_003, 9_000]

    def test_each_session_counts_for_itself(self) -> None:
        table, ace, bea = pair()
        col = Person(table, "col").join()
        for person in (ace, bea):
            person.read()
        for sender in (ace, col):
            sender.say("hello", bea)
        bea.read()
        for sender in (ace, col):
            assert len(self.psst(sender, bea, 2**63)) == 1
        bea.take(bea.forge(Kind.LEAVE, ace.number, bytes([Reason.LEFT])))
        assert bea.conv._reader._lines.keys() == {col.number}

    def test_what_is_not_trusted_is_not_counted(self) -> None:
        ace, bea = self.two()
        bea.peer(ace).standing = Standing.CHANGED
        self.psst(ace, bea, 2**63)
        bea.peer(ace).standing = Standing.FIRST_SEEN
        assert len(self.psst(ace, bea, 2**63)) == 1

    def test_an_absence_is_a_line_too(self) -> None:
        ace, bea = self.two()
        away = contents.encode(Away("lunch"), 2**63)
        for expected in (1, 0):
            body = send_chain(ace, bea).seal(away, *h_of(ace))
            events = bea.take(bea.forge(Kind.MESSAGE, ace.number, body, to=bea.number))
            assert len(events) == expected

    @given(st.lists(st.integers(0, 3 * LINES_KEPT), max_size=60), st.integers(1, 8))
    def test_a_number_is_new_once(self, numbers: list[int], kept: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader, "LINES_KEPT", kept)
            lines, seen = _Lines(), set[int]()
            for number in numbers:
                top = sorted(seen)[-kept:]
                is_new = number not in seen and (len(top) < kept or number > top[0])
                assert lines.is_new(number) == is_new
                if is_new:
                    seen.add(number)
                assert list(lines._kept) == sorted(seen)[-kept:]


# --- The steps of PROTOCOL.md 5.3, in their order.


class TestSteps:
    def gets(self, bea: Person, ace: Person, body: bytes, to: Person | None = None) -> list[object]:
        """What bea is shown of a MESSAGE of ace."""
        number = to.number if to else 0
        events = bea.take(bea.forge(Kind.MESSAGE, ace.number, body, to=number))
        return [event.trouble if isinstance(event, Warned) else event for event in events]

    def texts(self, events: list[object]) -> list[str]:
        return [event.text for event in events if isinstance(event, Said)]

    def test_1_one_who_is_not_trusted_is_hidden_and_its_chain_goes_on(self) -> None:
        _, ace, bea = pair()
        peer = bea.peer(ace)
        peer.standing = Standing.CHANGED
        assert self.gets(bea, ace, message(ace, "hidden")) == [Trouble.HIDDEN]
        assert self.gets(bea, ace, bytes(128)) == [Trouble.HIDDEN]
        assert self.gets(bea, ace, bytes(128), to=bea) == [Trouble.HIDDEN]
        peer.standing = Standing.FIRST_SEEN
        assert self.texts(self.gets(bea, ace, message(ace, "second"))) == ["second"]

    def test_1_comes_before_2(self) -> None:
        table, ace, _ = pair()
        body = message(ace, "before dan")
        dan = Person(table, "dan").join()
        dan.peer(ace).standing = Standing.NOT_INVITED
        assert self.gets(dan, ace, body) == [Trouble.HIDDEN]

    def test_3_what_was_sealed_before_we_came_is_not_for_us(self) -> None:
        table, ace, _ = pair()
        body = message(ace, "before dan")
        dan = Person(table, "dan").join()
        assert self.gets(dan, ace, body) == []
        # Whoever seals to one alone has seen its card.
        assert self.gets(dan, ace, body, to=dan) == [Trouble.UNAUTHENTIC]

    def test_4_nothing_is_passed_over_on_a_chain_that_we_hold(self) -> None:
        table, ace, bea = pair()
        before = h_of(ace)
        dan = Person(table, "dan").join()
        ace.read()
        ace.say("second")
        dan.read()
        assert dan.said == ["second"]
        chain = send_chain(ace)
        body = chain.seal(padded("for some"), *before)
        assert self.gets(dan, ace, body) == [Trouble.UNAUTHENTIC]
        bea.read()
        assert self.gets(bea, ace, body) == [Trouble.UNAUTHENTIC]

    def test_4_who_has_spoken_to_us_has_seen_us(self) -> None:
        table, ace, _ = pair()
        before = h_of(ace)
        dan = Person(table, "dan").join()
        ace.read()
        ace.say("second")
        dan.read()
        fresh = SendChain(identity("ace"), ace.seat.session, ROOM_ID, ROOM_DEST, 9)
        assert self.gets(dan, ace, fresh.seal(padded("x"), *before)) == [Trouble.UNAUTHENTIC]

    @pytest.mark.parametrize("is_direct_first", [False, True])
    def test_4_what_its_sender_has_seen_never_falls(self, is_direct_first: bool) -> None:
        table, ace, bea = pair()
        before = h_of(bea)
        Person(table, "dan").join()
        for person in (ace, bea):
            person.read()
        to = ace.peer(bea)
        ace.conv.say("newer view", to if is_direct_first else None)
        ace.conv.say("a chain to bea", to)
        ace.send()
        bea.read()
        chain = send_chain(ace, None if is_direct_first else bea)
        content = contents.encode(Text("older view"), None if is_direct_first else 2**63)
        found = self.gets(
            bea, ace, chain.seal(content, *before), to=None if is_direct_first else bea
        )
        assert found == [Trouble.UNAUTHENTIC]

    def test_2_seen_before_its_sender_came(self) -> None:
        table, ace, bea = pair()
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

    def test_2_comes_before_3(self) -> None:
        table, _, _ = pair()
        dan = Person(table, "dan").join()
        col = Person(table, "col").join()
        dan.read()
        body = bytes(8) + (1).to_bytes(8) + bytes(112)
        assert self.gets(dan, col, body) == [Trouble.UNAUTHENTIC]

    def test_2_seen_ahead_of_us(self) -> None:
        _, ace, bea = pair()
        seq, h = h_of(ace)
        assert self.gets(bea, ace, send_chain(ace).seal(padded("x"), seq + 1, h)) == [
            Trouble.UNAUTHENTIC
        ]

    def test_4_an_h_that_is_not_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, ace, bea = pair()
        body = message(ace, "second")
        transcript = bea.conv._reader.transcript
        assert transcript is not None
        while len(transcript._kept) > 1:
            transcript._kept.popleft()
        bea.take(bea.forge(Kind.CARD, MemberId(9), make_card("dan").encoded))
        transcript._kept.popleft()
        assert self.gets(bea, ace, body) == [Trouble.UNAUTHENTIC]

    def test_5_no_chain_of_that_number(self) -> None:
        _, ace, bea = pair()
        body = send_chain(ace).seal(padded("x"), *h_of(ace))
        assert self.gets(bea, ace, b"\0\0\0\7" + body[4:]) == [Trouble.UNREADABLE]

    def test_6_one_after_a_message_that_is_withheld(self) -> None:
        _, ace, bea = pair()
        chain, h = send_chain(ace), h_of(ace)
        chain.seal(padded("withheld"), *h)
        assert self.gets(bea, ace, chain.seal(padded("x"), *h)) == [Trouble.UNAUTHENTIC]

    def test_6_a_replay(self) -> None:
        _, ace, bea = pair()
        ace.conv.say("second")
        ace.send()
        (record,) = bea.incoming()
        assert self.texts(self.gets(bea, ace, record.body)) == ["second"]
        assert self.gets(bea, ace, record.body) == [Trouble.UNAUTHENTIC]

    @pytest.mark.parametrize("at", [15, 16, 40, -65, -64, -1])
    def test_8_a_wrong_signature_changes_nothing(self, at: int) -> None:
        _, ace, bea = pair()
        ace.conv.say("second")
        ace.send()
        (record,) = bea.incoming()
        twisted = altered(record, at).body
        body = bea.chains(ace)._current[SCOPE_ROOM]
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
    def test_9_malformed_content_is_committed_all_the_same(
        self, content: bytes, shown: Trouble
    ) -> None:
        _, ace, bea = pair()
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
        assert warned.trouble is Trouble.UNAUTHENTIC
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
        held = col.chains(ace)._current[SCOPE_ROOM]
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
        pending = bea.chains(ace)._pending[SCOPE_ROOM]
        assert pending.number == 9
        body = relays.seal(padded("forged"), *h_of(bea))
        (warned,) = bea.take(bea.forge(Kind.MESSAGE, ace.number, body))
        assert isinstance(warned, Warned)
        assert warned.trouble is Trouble.UNAUTHENTIC
        current = bea.chains(ace)._current[SCOPE_ROOM]
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
        ace.pins.replace(
            ace.conv._server_id, "dan", Pin(identity("dan").public, Grade.VERIFIED, TODAY)
        )
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
