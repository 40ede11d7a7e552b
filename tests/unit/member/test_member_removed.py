"""Whoever is out reads nothing more, and what the relay refuses is not said: PROTOCOL.md 4.5."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.crypto.chain import ROOM_DEST, peek
from common.errors import RemoteProtocolError, Unauthentic, Unreadable
from common.member.conversation import Left, Trouble, Undelivered
from common.wire import records
from common.wire.records import Delivered, Kind, MemberId, Reason, message_seen
from server import FOREVER_MS, Mute
from tests.unit.member.table import AT_MS, Person, Table, reencoded


def kicked(table: Table, person: Person) -> None:
    assert table.room.remove(person.seat.session, "why", table.now, AT_MS) is person.seat


def gone(_: Table, person: Person) -> None:
    person.conv.leave()
    person.send()


def lost(table: Table, person: Person) -> None:
    table.room.dropped(person.seat, person.holder, table.now)
    assert table.room.expire(person.seat, table.now + 1_000, AT_MS)


WAYS = {Reason.REMOVED: kicked, Reason.LEFT: gone, Reason.LOST: lost}


@pytest.mark.parametrize("reason", WAYS)
def test_one_who_is_out_opens_nothing_that_is_said_later(reason: Reason) -> None:
    table = Table()
    ace, bea, eve = table.seat("ace", "bea", "eve")
    for person in (ace, bea):
        person.say("before")
        person.say("before, directly", eve)
        table.all_read()
    assert eve.said == ["before", "before, directly"] * 2
    WAYS[reason](table, eve)
    for person in (ace, bea):
        (left,) = [event for event in person.read() if isinstance(event, Left)]
        assert left.reason is reason
    before = {person: peek(chain_of(person, eve))[0] for person in (ace, bea)}
    # What its process keeps: its keys, its card, its chains, and the raw records of all the others.
    heard: list[Delivered] = []
    for person in (ace, bea):
        person.say("after")
        for other in (ace, bea):
            records_of = other.incoming()
            heard += records_of
            for record in records_of:
                other.take(record)
    assert ace.said[-1] == bea.said[-1] == "after"
    keys = [record for record in heard if record.kind is Kind.SENDER_KEY and record.body]
    messages = [record for record in heard if record.kind is Kind.MESSAGE]
    assert len(keys) == 2
    assert len(messages) >= 2
    for person in (ace, bea):
        chains = eve.conv.peers[person.number].room
        for key in keys:
            with pytest.raises(Unreadable):
                chains.offer(
                    key.body, eve.conv._card_keys, eve.conv.identity.public, eve.conv._session
                )
        for message in messages:
            number, _, _ = peek(message.body)
            if message.sender == person.number:
                assert number > before[person]
            transcript = person.conv._transcript
            assert transcript is not None
            h = transcript.at(message_seen(message.body))
            assert h is not None
            with pytest.raises((Unreadable, Unauthentic)):
                chains.open(message.body, h)


def chain_of(person: Person, other: Person) -> bytes:
    """The head of the message that the other opened last on the room's chain of a person."""
    chain = other.conv.peers[person.number].room._current
    assert chain is not None
    assert person.conv._chains.get(ROOM_DEST) is None, "the chain goes on"
    return chain.number.to_bytes(4) + bytes(84 + 64)


def muted() -> tuple[Table, Person, Person]:
    table = Table()
    ace, bea = table.seat("ace", "bea")
    table.room._rules.muted[ace.seat.card.identity] = Mute("ace", FOREVER_MS)
    table.room._rules.is_hushing = True
    return table, ace, bea


def test_what_is_refused_is_reported_and_the_next_is_read() -> None:
    table, ace, bea = muted()
    ace.say("one")
    ace.say("two", bea)
    refused = [event for event in ace.events if isinstance(event, Undelivered)]
    assert [line.text for event in refused for line in event.lines] == ["one", "two"]
    assert {event.why for event in refused} == {"You are muted."}
    assert ace.conv.waiting == 0
    table.room._rules.muted.clear()
    ace.say("three")
    ace.say("four", bea)
    bea.read()
    assert bea.said == ["three", "four"]
    assert bea.troubles == []
    assert ace.echoed == ["three", "four"]


def test_what_was_sent_before_it_is_echoed_all_the_same() -> None:
    table, ace, bea = muted()
    table.room._rules.muted.clear()
    for text in ("one", "two", "three"):
        ace.conv.say(text)
    out = ace.conv.outgoing(table.now)
    for sent in out:
        body = sent.body
        is_second = sent.kind is Kind.MESSAGE and peek(body)[1] == 1
        if is_second:
            table.room._rules.muted[ace.seat.card.identity] = Mute("ace", FOREVER_MS)
        for reply in table.room.receive(ace.seat, ace.holder, sent, table.now, AT_MS):
            ace.take(reencoded(reply))  # it overtakes the echo of the first
        table.room._rules.muted.clear()
    ace.read()
    assert ace.echoed == ["one", "three"]
    bea.read()
    # What was sealed behind it, and was on its way, leaves a gap.
    assert bea.said == ["one", "three"]
    assert bea.troubles == [Trouble.MISSING]


@pytest.mark.parametrize(
    "forge",
    [
        lambda _: records.refusal(records.Sent(Kind.MESSAGE, MemberId(0), bytes(96)), "no"),
        lambda body: records.refusal(records.Sent(Kind.MESSAGE, MemberId(2), body), "no"),
        lambda body: Delivered(
            Kind.REFUSAL, MemberId(0), MemberId(0), records.Seq(0), 0, body[:8] + b"\xff"
        ),
    ],
    ids=["of nothing", "of a direct one", "not UTF-8"],
)
def test_the_relay_is_blamed_for_a_refusal(forge: Callable[[bytes], Delivered]) -> None:
    table = Table()
    ace, _ = table.seat("ace", "bea")
    ace.conv.say("one")
    (body,) = [sent.body for sent in ace.conv.outgoing(table.now) if sent.kind is Kind.MESSAGE]
    with pytest.raises(RemoteProtocolError):
        ace.take(reencoded(forge(body)))
