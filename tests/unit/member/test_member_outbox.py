"""What we say until its echo: PROTOCOL.md 4.1, 4.2, 5.1 and 9."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.crypto.chain import CHAIN_AGE_S, CHAIN_MESSAGES, ROOM_DEST, SendChain, peek, peek_key
from common.crypto.primitives import RecipientKey
from common.errors import Unreadable, UsageError
from common.member.conversation import MAX_WAITING, Phase
from common.member.events import Answered, Trouble, Undelivered, Warned
from common.member.outbox import CARD_AGE_S, KEYS_PER_TURN, MESSAGES_BURST
from common.member.reader import OLD_CARD_KEY_S
from common.member.trust import Standing
from common.wire import records
from common.wire.records import (
    RELAY,
    Answer,
    Command,
    Delivered,
    Kind,
    MemberId,
    Reason,
    Sent,
    Status,
)
from tests.unit.member.table import (
    AT_MS,
    ROOM_ID,
    Person,
    Table,
    altered,
    identity,
    make_card,
    refuses,
)


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
        assert ace.conv._reader._card_keys[1:]
        table.now += OLD_CARD_KEY_S - 1
        ace.send()
        sealed_to_old = SendChain(identity("bea"), bea.seat.session, ROOM_ID, ROOM_DEST, 1)
        old = RecipientKey(bea.peer(ace).card.public)
        key = sealed_to_old.key_for(old, ace.seat.card.identity, ace.seat.session)
        assert ace.take(ace.forge(Kind.SENDER_KEY, bea.number, key, to=ace.number)) == []
        assert ace.conv.deadline() == table.now + 1
        table.now += 1
        ace.send()
        assert len(ace.conv._reader._card_keys) == 1
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
        assert len(ace.conv._reader._card_keys) == 1

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

    def test_keys_that_nothing_was_said_with_count_as_the_relay_counts_them(self) -> None:
        table = Table()
        (ace,) = table.seat("ace")
        for number in range(2, 150):
            card = make_card(f"n{number}", who="crowd")
            ace.take(ace.forge(Kind.CARD, MemberId(number), card.encoded))
        ace.conv.say("hello")
        begun = 0
        while sent := ace.conv.outgoing(table.now):
            # One who has a key leaves before all have one.
            ace.take(ace.forge(Kind.LEAVE, sent[0].to, bytes([Reason.LEFT])))
            begun += 1
        assert begun == MESSAGES_BURST
        assert not ace.conv.outgoing(table.now + 0.05)
        assert ace.conv.outgoing(table.now + 0.11)

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


def test_a_direct_line_that_waits_for_one_who_loses_our_trust_is_reported() -> None:
    table = Table()
    ace, bob = table.seat("ace", "bob", secret=bytes(16))
    ace.cut()
    ace.conv.say("for bob alone", ace.peer(bob))
    bob.conv._secret = None
    own = bob.conv._outbox._session.card
    assert own is not None
    own.due_s = 0.0
    bob.send()
    ace.events.clear()
    ace.join()
    assert [sent.kind for sent in ace.send()] == []
    (undelivered,) = (event for event in ace.events if isinstance(event, Undelivered))
    assert [line.text for line in undelivered.lines] == ["for bob alone"]
    assert not ace.conv.waiting


# --- Whatever was read is known before the next thing is sealed.


def leaves(_: Person, col: Person) -> None:
    col.conv.leave()
    col.send()


def is_removed(_: Person, col: Person) -> None:
    table = col.table
    assert table.room.leave(col.seat, Reason.REMOVED, table.now, AT_MS, "why")


def loses_its_tag(_: Person, col: Person) -> None:
    untagged = make_card("col", session=col.seat.session)
    sent = Sent(Kind.CARD, RELAY, untagged.encoded)
    col.table.room.receive(col.seat, col.holder, sent, col.table.now, AT_MS)


def is_judged_otherwise(ace: Person, col: Person) -> None:
    judge = ace.conv._reader._judge
    ace.conv._reader._judge = lambda card: (
        (Standing.CHANGED, False) if card.username == "col" else judge(card)
    )
    ace.conv.verify(ace.peer(col))


LOSSES = [leaves, is_removed, loses_its_tag, is_judged_otherwise]


class TestExcluded:
    """Who has left, or lost our trust, holds no chain on which more is said."""

    def three(self) -> tuple[Person, Person, Person]:
        """Three who have talked: the other two hold the first's chain of the room."""
        ace, bea, col = Table().seat("ace", "bea", "col", secret=bytes(16))
        ace.say("before")
        return ace, bea, col

    def is_sealed_to_bea_alone(self, out: list[Sent], bea: Person) -> None:
        keys = [sent for sent in out if sent.kind is Kind.SENDER_KEY]
        messages = [sent for sent in out if sent.kind is Kind.MESSAGE]
        assert [key.to for key in keys] == [bea.number]
        assert {peek(sent.body)[0] for sent in messages} == {2}
        assert [peek(sent.body)[1] for sent in messages] == list(range(len(messages)))

    @pytest.mark.parametrize("happens", LOSSES)
    @pytest.mark.parametrize("is_queued", [False, True], ids=["said after", "said before"])
    def test_from_what_is_sealed_next(
        self, happens: Callable[[Person, Person], None], *, is_queued: bool
    ) -> None:
        ace, bea, col = self.three()
        if is_queued:
            ace.conv.say("secret")
        happens(ace, col)
        # Neither the next turn of the loop, nor what comes behind it, is needed.
        for record in ace.incoming():
            ace.conv.receive(record, ace.table.now)
        if not is_queued:
            ace.conv.say("secret")
        self.is_sealed_to_bea_alone(ace.conv.outgoing(ace.table.now), bea)

    @pytest.mark.parametrize("happens", LOSSES[:3])
    def test_what_it_said_just_before_is_opened_first(
        self, happens: Callable[[Person, Person], None]
    ) -> None:
        ace, bea, col = self.three()
        col.say("my last words")
        happens(ace, col)
        ace.conv.say("secret")
        ace.read()
        assert ace.said == ["my last words"]
        self.is_sealed_to_bea_alone(ace.conv.outgoing(ace.table.now), bea)

    @pytest.mark.parametrize("happens", LOSSES[:3])
    def test_from_what_is_sealed_anew(self, happens: Callable[[Person, Person], None]) -> None:
        ace, bea, col = self.three()
        ace.conv.say("lost on the way")
        assert ace.conv.outgoing(ace.table.now)
        ace.cut()
        happens(ace, col)
        welcome, *_ = ace.knock()
        ace.take(welcome)
        for record in ace.incoming():
            assert ace.conv.outgoing(ace.table.now) == []
            ace.take(record)
        assert ace.conv.phase is Phase.LIVE
        self.is_sealed_to_bea_alone(ace.conv.outgoing(ace.table.now), bea)

    @pytest.mark.parametrize("happens", LOSSES[:3])
    @pytest.mark.parametrize("is_sealed", [False, True])
    def test_and_what_waited_for_it_alone_is_reported(
        self, happens: Callable[[Person, Person], None], *, is_sealed: bool
    ) -> None:
        ace, _, col = self.three()
        ace.conv.say("psst", ace.peer(col))
        if is_sealed:
            assert ace.conv.outgoing(ace.table.now)
        ace.cut()
        happens(ace, col)
        ace.join()
        reported = [event for event in ace.events if isinstance(event, Undelivered)]
        assert [line.text for event in reported for line in event.lines] == ["psst"]
        assert ace.conv.outgoing(ace.table.now) == []
        assert ace.conv.waiting == 0

    def test_a_new_card_is_sealed_to_and_not_the_old_one(self) -> None:
        ace, bea, _ = self.three()
        bea.table.now += CARD_AGE_S - 1
        (own,) = bea.conv._reader._card_keys
        bea.table.now += 1
        bea.send()
        ace.read()
        ace.conv.say("psst", ace.peer(bea))
        key = next(
            sent
            for sent in ace.conv.outgoing(ace.table.now)
            if sent.kind is Kind.SENDER_KEY and sent.to == bea.number
        )
        chains = bea.chains(ace)
        with pytest.raises(Unreadable):
            chains.offer(key.body, [own], bea.conv.identity.public)
        keys = bea.conv._reader._card_keys
        chains.offer(key.body, keys, bea.conv.identity.public)


# --- Orders.


class TestOrders:
    def answer(self, order: int, status: Status, text: str = "") -> Delivered:
        return records.from_relay(Kind.ANSWER, Answer(order, status, text).encode())

    def test_an_order_leaves_at_once_and_its_rows_carry_its_number(self) -> None:
        table = Table()
        (ace,) = table.seat("ace")
        assert [ace.conv.order("/mute bea"), ace.conv.order("/bans")] == [1, 2]
        out = ace.conv.outgoing(table.now)
        assert [(sent.kind, sent.to) for sent in out] == 2 * [(Kind.COMMAND, RELAY)]
        commands = [Command.decode(sent.body) for sent in out]
        assert commands == [Command(1, "/mute bea"), Command(2, "/bans")]
        (row,) = ace.take(self.answer(2, Status.CONTINUE, "eve"))
        (done,) = ace.take(self.answer(1, Status.OK, "Done."))
        (last,) = ace.take(self.answer(2, Status.OK, "That is all."))
        assert row == Answered(2, Status.CONTINUE, "eve")
        assert done == Answered(1, Status.OK, "Done.")
        assert last == Answered(2, Status.OK, "That is all.")
        rows = [event for event in (row, done, last) if isinstance(event, Answered)]
        assert [event.is_last for event in rows] == [False, True, True]

    @pytest.mark.parametrize(
        "body",
        [
            Answer(2, Status.OK, "").encode(),
            Answer(0, Status.CONTINUE, "").encode(),
            b"\0\0\0\1\0\xc9",
            b"\0\0\0\1\0\xc8\xff",
            b"\0\0\0\1\0",
        ],
        ids=["another's", "of none", "status 201", "not UTF-8", "cut short"],
    )
    def test_the_relay_is_blamed_for_an_answer(self, body: bytes) -> None:
        (ace,) = Table().seat("ace")
        assert ace.conv.order("/bans") == 1
        refuses(ace, records.from_relay(Kind.ANSWER, body))

    def test_an_order_is_over_with_its_last_row(self) -> None:
        (ace,) = Table().seat("ace")
        ace.conv.order("/bans")
        ace.take(self.answer(1, Status.FORBIDDEN))
        for status in (Status.CONTINUE, Status.OK):
            refuses(ace, self.answer(1, status))

    @pytest.mark.parametrize("is_sent", [False, True])
    @pytest.mark.parametrize("is_anew", [False, True])
    def test_it_is_forgotten_with_its_connection(self, *, is_sent: bool, is_anew: bool) -> None:
        table = Table()
        (ace,) = table.seat("ace")
        ace.conv.order("/bans")
        if is_sent:
            ace.conv.outgoing(table.now)
        ace.events.clear()
        if is_anew:
            table.room.leave(ace.seat, Reason.LOST, table.now, AT_MS)
            assert ace.conv.rejoin() == []
        else:
            ace.cut()
            assert ace.events == []
        assert ace.conv.outgoing(table.now) == []
        ace.join()
        # It is not repeated, and nothing that comes now can be its answer.
        assert ace.conv.outgoing(table.now) == []
        refuses(ace, self.answer(1, Status.OK))
        order = ace.conv.order("/bans")
        assert order != 1
        ace.take(self.answer(order, Status.OK))

    def test_only_whoever_is_connected_orders(self) -> None:
        table = Table()
        ace = Person(table, "ace")
        not_now = "Not now: you are not connected. Nothing was changed."
        with pytest.raises(UsageError, match=not_now):
            ace.conv.order("/bans")
        ace.knock()
        with pytest.raises(UsageError, match=not_now):
            ace.conv.order("/bans")
        ace.conv.end()
        with pytest.raises(UsageError, match=not_now):
            ace.conv.order("/bans")
        assert ace.conv.outgoing(table.now) == []
