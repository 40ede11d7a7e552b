"""Whoever is out reads nothing more, and what the relay refuses is not said: PROTOCOL.md 4.5."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable

import pytest

from common.crypto import chain
from common.crypto.chain import ROOM_DEST, ReceiveChains, peek
from common.crypto.primitives import Aead, VerifyKey
from common.errors import RemoteProtocolError, Unauthentic, Unreadable
from common.member.events import Noticed, Undelivered, Untold
from common.member.outbox import CARD_AGE_S
from common.relay.rules import FOREVER_MS, Mute
from common.wire import records
from common.wire.records import Delivered, Kind, MemberId, Reason
from tests.unit.member.table import AT_MS, ROOM_ID, Person, Table, reencoded


def kicked(table: Table, person: Person) -> None:
    assert table.room.leave(person.seat, Reason.REMOVED, table.now, AT_MS, "why")


def gone(_: Table, person: Person) -> None:
    person.conv.leave()
    person.send()


def lost(table: Table, person: Person) -> None:
    table.room.dropped(person.seat, person.holder, table.now)
    assert table.room.expire(person.seat, table.now + 1_000, AT_MS)


WAYS = {Reason.REMOVED: kicked, Reason.LEFT: gone, Reason.LOST: lost}


def keys_within(person: Person) -> set[bytes]:
    """Every 32 bytes that a person's process holds and that could be a key."""
    found: set[bytes] = set()
    todo: list[object] = [person.conv]
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, bytes):
            found |= {value} if len(value) == 32 else set()
        elif isinstance(value, dict):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset | deque):
            todo += value
        else:
            names = [*getattr(value, "__dict__", ())]
            for kind in type(value).__mro__:
                slots = kind.__dict__.get("__slots__", ())
                names += [slots] if isinstance(slots, str) else slots
            todo += [getattr(value, name) for name in names if hasattr(value, name)]
    return found


def opens(person: Person, sender: Person, record: Delivered) -> bool:
    """Try all that a person's process knows on a record of the log, whoever it was for."""
    number, index, _ = peek(record.body)
    direct = [peer.card.session for peer in sender.conv.peers.values()]
    for dest in (ROOM_DEST, *direct, person.conv._session):
        origin = chain._origin(ROOM_ID, sender.conv.identity.public, sender.conv._session, dest)
        position = number.to_bytes(4) + index.to_bytes(4)
        for key in keys_within(person):
            for _ in range(index + 8):
                aead_key, _ = chain._message_keys(key)
                with contextlib.suppress(Unauthentic):
                    Aead(aead_key).open(bytes(12), record.body[48:-64], origin + position)
                    return True
                key = chain._next_key(key)
    return False


@pytest.mark.parametrize("reason", WAYS)
def test_who_was_removed_opens_nothing_later(reason: Reason) -> None:
    table = Table()
    ace, bea, col = table.seat("ace", "bea", "col")
    ace.conv.say("to all")
    ace.conv.say("to col", ace.peer(col))
    ace.send()
    bea.incoming()
    # col's process lives on, with every key it had, and sees the raw records.
    col.read()
    assert col.said == ["to all", "to col"]
    WAYS[reason](table, col)
    ace.read()
    ace.conv.say("after col")
    ace.conv.say("to bea", ace.peer(bea))
    ace.send()
    left, key, message, direct_key, direct = bea.incoming()
    assert (left.kind, message.kind, direct.kind) == (Kind.LEAVE, Kind.MESSAGE, Kind.MESSAGE)
    assert not opens(col, ace, message)
    assert not opens(col, ace, direct)
    chains = col.chains(ace)
    for record in (key, direct_key):
        with pytest.raises(Unreadable):
            chains.offer(record.body, col.conv._reader._card_keys, col.conv.identity.public)
    # The search is awake: what col could read is found, by keys from before.
    fresh = Table()
    dan, eve, fay = fresh.seat("dan", "eve", "fay")
    dan.say("one")
    fay.read()
    dan.say("two")
    assert opens(fay, dan, eve.incoming()[-1])


def test_whoever_takes_an_identity_file_opens_nothing_recorded() -> None:
    table = Table()
    ace, bea = table.seat("ace", "bea")
    ace.say("one")
    ace.conv.say("psst", ace.peer(bea))
    ace.send()
    key, message, direct_key, direct = bea.incoming()
    bea.take(key)
    assert opens(bea, ace, message)
    thief = Person(table, "bea")
    assert thief.conv.identity is bea.conv.identity
    thief.conv.opened(bytes(32), table.now)  # with a card of its own
    assert not opens(thief, ace, message)
    assert not opens(thief, ace, direct)
    of_ace = ReceiveChains(
        VerifyKey(ace.conv.identity.public), ace.seat.session, ROOM_ID, bea.seat.session
    )
    for record in (key, direct_key):
        with pytest.raises(Unreadable):
            of_ace.offer(record.body, thief.conv._reader._card_keys, thief.conv.identity.public)


def test_what_was_read_is_not_in_the_memory_of_a_client() -> None:
    table = Table()
    ace, bea = table.seat("ace", "bea")
    ace.say("one")
    key, message = bea.incoming()
    bea.take(key)
    assert opens(bea, ace, message)
    bea.take(message)
    assert bea.said == ["one"]
    assert not opens(bea, ace, message)
    assert not opens(ace, ace, message)


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


def test_a_lost_refusal_before_a_new_card_is_found_out() -> None:
    table, ace, bea = muted()

    def deliver() -> None:
        for sent in ace.conv.outgoing(table.now):
            record = records.decode_sent(sent.encode())
            table.room.receive(ace.seat, ace.holder, record, table.now, AT_MS)

    ace.conv.say("refused, and nobody hears of it")
    deliver()
    table.now += CARD_AGE_S + 1
    deliver()
    ace.conv.say("next", ace.peer(bea))
    table.room._rules.muted.clear()
    deliver()
    ace.cut()
    ace.join()
    ace.send()
    ace.read()
    bea.read()
    assert ace.echoed == ["next", "refused, and nobody hears of it"]
    assert bea.said == ace.echoed


def test_what_is_refused_and_is_no_text_is_nothing_to_say_again() -> None:
    _, ace, bea = muted()
    ace.conv.tell_away("at lunch")
    ace.conv.tell_password("top drawer")
    ace.send()
    ace.read()
    assert [event for event in ace.events if isinstance(event, Noticed | Untold | Undelivered)] == [
        Noticed("You are muted."),
        Untold(),
        Noticed("You are muted."),
    ]
    bea.events.clear()
    bea.read()
    assert bea.events == []
    assert ace.conv.waiting == 0


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
    assert ace.echoed == ["one"]
    # What was sealed behind it, and was on its way, is refused too: it leaves no gap.
    refused = [event for event in ace.events if isinstance(event, Undelivered)]
    assert [line.text for event in refused for line in event.lines] == ["two", "three"]
    ace.say("four")
    bea.read()
    assert bea.said == ["one", "four"]
    assert bea.troubles == []


@pytest.mark.parametrize(
    "forge",
    [
        lambda _: records.refusal(records.Sent(Kind.MESSAGE, MemberId(0), bytes(128)), "no"),
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
