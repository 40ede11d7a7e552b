"""Operators on the relay's own loop: who is ended, who is told, and what others see."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest

from common.crypto import card as cards
from common.crypto import ticket
from common.crypto.identity import Identity, fingerprint
from common.member import outbox
from common.member.conversation import Phase
from common.member.events import Said
from common.wire import records
from common.wire.link import State
from common.wire.orders import FORMS
from common.wire.records import (
    RELAY,
    Answer,
    Command,
    Delivered,
    Join,
    Kind,
    Reason,
    Sent,
    Seq,
    Status,
)
from tests.sim.test_sim_relay import EVE, IDENTITIES, NAMES, Raw, stall
from tests.sim.world import World

ACE = fingerprint(IDENTITIES[0].public, NAMES[0])


@pytest.fixture
def world() -> Iterator[World]:
    with World(NAMES, IDENTITIES) as world:
        world.settle()
        yield world


def orders(world: World, *lines: str) -> None:
    """Type lines at the console, and let the loop turn."""
    world.relay.orders(*lines)
    world.relay.turn()


def notices(eve: Raw) -> list[str]:
    return [records.notice_text(r.body) for r in eve.got if r.kind is Kind.NOTICE]


def answers(eve: Raw) -> list[Answer]:
    return [Answer.decode(r.body) for r in eve.got if r.kind is Kind.ANSWER]


def gives(eve: Raw, order: str, number: int = 1) -> None:
    """Send a COMMAND, and let it be carried out."""
    eve.got.clear()
    eve.link.send(Sent(Kind.COMMAND, RELAY, Command(number, order).encode()))
    eve.flow()


def asks(eve: Raw, order: str) -> list[str]:
    """Send a COMMAND; return what the relay says, to the room and to its sender."""
    gives(eve, order)
    told = []
    for record in eve.got:
        if record.kind is Kind.NOTICE:
            told.append(records.notice_text(record.body))
        elif record.kind is Kind.ANSWER:
            told.append(Answer.decode(record.body).text)
    return [row for row in told if row]


def test_a_member_that_is_removed_is_told_why_and_the_others_see_it(world: World) -> None:
    eve, fay = Raw(world).join(), Raw(world, "fay", identity=Identity.generate()).join()
    seq = world.room._log.room_seq
    orders(world, "/kick eve too loud")
    eve.link.send(Sent(Kind.MESSAGE, RELAY, bytes(8) + seq.to_bytes(8) + bytes(112)))
    for raw in (eve, fay):
        raw.flow()
    assert eve.status == 403
    refused = eve.closed[0].refused
    assert refused is not None
    assert (refused.authentic, refused.text) == (True, "Removed by the host: too loud.")
    assert "The host removed eve: too loud." in notices(fay)
    (leave,) = [record for record in fay.got if record.kind is Kind.LEAVE]
    assert leave.body == bytes([Reason.REMOVED])
    assert [record.kind for record in eve.got if record.seq == leave.seq] == []
    assert world.room._log.room_seq == seq + 1
    assert any(row.startswith("[Disconnected] Username: eve") for row in world.relay.rows)
    # A kick is no ban.
    assert Raw(world).join().status is None


def test_one_that_takes_nothing_is_ended_too(world: World) -> None:
    eve = Raw(world, capacity=8_000).join()
    stall(world, eve)
    orders(world, "/kick eve")
    assert eve.conn.pipe.link.state is not State.OPEN


def test_a_ban_that_comes_between_hello_and_join(world: World) -> None:
    eve = Raw(world)
    orders(world, f"/ban {fingerprint(EVE.public, 'eve')}")
    # Nobody had met the identity when it was banned.
    assert eve.join().status == 403
    assert Raw(world, "other").join().status == 403
    assert world.room._log.room_seq == 2


def test_who_is_banned_reads_until_when_and_why(world: World) -> None:
    Raw(world).join()
    orders(world, "/ban eve 2h too loud")
    back = Raw(world, "fay")
    # A claim is not answered: it must be proven first whose ban it is.
    assert back.status is None
    back.join()
    refused = back.closed[0].refused
    assert refused is not None
    assert (refused.status, refused.authentic) == (403, True)
    until = (
        f"{datetime.fromtimestamp(world.relay.server.at_ms() // 1_000 + 7_200, UTC):%Y-%m-%d %H:%M}"
    )
    assert refused.text == f"Banned by the host until {until} UTC: too loud."
    # Whoever sits at the console reads who it was, and why.
    (row,) = [row for row in world.relay.rows if row.startswith("[Rejected] ")]
    assert re.fullmatch(rf"\[Rejected\] Username: fay  Address: \S+: {refused.text}", row)


def test_who_was_refused_and_why_is_told(world: World) -> None:
    Raw(world).join()
    Raw(world, identity=Identity.generate())
    orders(world, "/lock")
    Raw(world, "fay", identity=Identity.generate())
    Raw(world, "gus", psk=bytes(32))
    told = [re.sub(r"\S+:\d+", "ADDRESS", row) for row in world.relay.rows]
    assert [row for row in told if row.startswith("[Rejected] ")] == [
        "[Rejected] Username: eve  Address: ADDRESS: that name is in use",
        "[Rejected] Username: fay  Address: ADDRESS: the room is locked",
        # Who knows no password has said no name that could be read.
        "[Rejected] ADDRESS: wrong KEY or password",
    ]


def test_a_ban_that_comes_while_the_room_is_joined(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = world.relay.server.gate.take

    def banned_since(*arguments: object, **named: object) -> object:
        found = take(*arguments, **named)  # type: ignore[arg-type] # handed on
        orders_later.append(found)
        world.relay.orders("/ban eve")
        world.relay.obey()
        return found

    orders_later: list[object] = []
    monkeypatch.setattr(world.relay.server.gate, "take", banned_since)
    eve = Raw(world).join()
    assert orders_later
    assert eve.status == 403
    assert world.relay.server.gate.find("eve") is None
    assert sorted(seat.username for seat in world.room.seats) == NAMES


def test_a_command_is_answered_to_its_sender_alone(world: World) -> None:
    eve, fay = Raw(world).join(), Raw(world, "fay", identity=Identity.generate()).join()
    assert asks(eve, "/kick fay") == ["Only an operator can do that. Nothing was changed."]
    assert asks(eve, "") == ["Only an operator can do that. Nothing was changed."]
    fay.flow()
    assert notices(fay) == []
    orders(world, "/op eve")
    told, listed = asks(eve, "/who lobby")
    assert told == "The host made eve an operator."
    assert listed.startswith("lobby, 4 here: ")
    assert "eve (operator), fay" in listed
    assert asks(eve, "/kik fay")[0].startswith("No such command: nothing was changed. Near: /kick.")
    fay.flow()
    fay.got.clear()
    asks(eve, "/mute fay")
    fay.flow()
    assert notices(fay) == ["eve muted fay."]
    eve.link.send(Sent(Kind.COMMAND, RELAY, bytes(4) + b"/ban \xff"))
    eve.flow()
    assert eve.status == 400


def test_an_answer_says_in_a_number_what_became_of_the_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    eve = Raw(world).join()
    gives(eve, "/rooms", 7)
    (answer,) = answers(eve)
    assert (answer.order, answer.status) == (7, Status.FORBIDDEN)
    orders(world, "/op eve")
    gives(eve, "/lock", 8)
    assert answers(eve) == [Answer(8, Status.OK, "")]
    gives(eve, "/lock", 9)
    assert answers(eve) == [Answer(9, Status.BAD_REQUEST, "It is so already. Nothing was changed.")]
    gives(eve, "/slow many", 2**32 - 1)
    (answer,) = answers(eve)
    assert (answer.order, answer.status) == (2**32 - 1, Status.BAD_REQUEST)
    gives(eve, "/help", 0)
    *rows, last = answers(eve)
    assert {row.status for row in rows} == {Status.CONTINUE}
    assert last.status is Status.OK
    assert len(rows) + 1 == len(FORMS)
    # No reason of an operator's is taken for the relay's word.
    gives(eve, "/kick nobody Nothing was changed.", 10)
    assert answers(eve)[-1].status is Status.BAD_REQUEST
    monkeypatch.setattr("server.MAX_ORDERS", 0)
    gives(eve, "/rooms", 11)
    assert [answer.status for answer in answers(eve)] == [Status.UNAVAILABLE]
    monkeypatch.setattr("server.MAX_ORDERS", 9)
    monkeypatch.setattr(world.relay.server.gate, "find", lambda _: 1 / 0)
    gives(eve, "/kick bea", 12)
    assert [answer.status for answer in answers(eve)] == [Status.INTERNAL_ERROR]


def test_an_order_from_a_connection_that_was_replaced_does_nothing(world: World) -> None:
    orders(world, f"/op {NAMES[0]}")
    eve = Raw(world).join()
    orders(world, "/op eve")
    seq, log_id = Seq(world.room._log.room_seq), world.room._log.log_id
    newer = Raw(world, session=eve.hello.session)
    card = next(seat.card for seat in world.room.seats if seat.username == "eve")
    # The newer JOIN and the older order are read in one turn, the JOIN first.
    auth = cards.prove(EVE, card, newer.link.handshake_hash)
    join = Join(auth, log_id, seq, Seq(0), card.encoded)
    newer.link.send(Sent(Kind.JOIN, RELAY, join.encode()))
    eve.link.send(Sent(Kind.COMMAND, RELAY, Command(1, "/lock").encode()))
    for raw in (newer, eve):
        raw.pipe.flush()
        raw.up.carry()
    world.relay.turn()
    assert world.relay.server.rules.locked == set()
    assert answers(eve) == []
    newer.flow()
    assert [record.kind for record in newer.got][:1] == [Kind.WELCOME]
    gives(newer, "/lock", 1)
    assert world.relay.server.rules.locked == {""}


def test_a_room_hears_of_itself_and_not_of_others(world: World) -> None:
    eve = Raw(world, room="den").join(Raw(world, room="den").card(room="den"))
    assert eve.status == 400  # a card of another session
    eve = Raw(world, room="den")
    eve.join(eve.card(room="den"))
    orders(world, "/lock", "/slow 5 den")
    eve.flow()
    assert notices(eve) == ["The host slowed the room: one message of each in 5 s."]


def test_the_topic_comes_before_whatever_is_said(world: World) -> None:
    orders(world, "/topic be kind")
    eve = Raw(world).join()
    assert notices(eve) == ["Topic: be kind"]
    assert [record.kind for record in eve.got][-2:] == [Kind.NOTICE, Kind.CARD]
    card = eve.card()
    back = Raw(world, session=eve.hello.session)
    back.join(card, log_id=world.room._log.log_id, room_seq=Seq(world.room._log.room_seq))
    assert notices(back) == []


def test_what_an_operator_asks_is_answered_after_what_it_ordered(world: World) -> None:
    eve = Raw(world).join()
    orders(world, "/op eve")
    eve.got.clear()
    for number, order in enumerate(("/topic deploys", "/topic")):
        eve.link.send(Sent(Kind.COMMAND, RELAY, Command(number, order).encode()))
    eve.flow()
    told = [answer.text for answer in answers(eve) if answer.order == 1]
    assert told == ["Topic: deploys"]


class FleetingTopics(dict[str, str]):
    """Topics, of which another thread ends the one that was just seen to be there."""

    def __contains__(self, room: object) -> bool:
        is_there = super().__contains__(room)
        self.pop(str(room), None)
        return is_there


@pytest.mark.parametrize("joins_first", [False, True])
def test_a_topic_that_ends_while_it_is_looked_up(world: World, joins_first: bool) -> None:
    rules = world.relay.server.rules
    eve = Raw(world)
    if joins_first:
        eve.join()
    rules.topics = FleetingTopics({"": "deploys"})
    if joins_first:
        gives(eve, "/topic")
        assert [answer.status for answer in answers(eve)] == [Status.OK]
    else:
        eve.join()
    assert eve.status is None


def test_a_newcomer_over_whom_the_relay_breaks_leaves_its_seat(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.operators.topic_of", lambda _: 1 / 0)
    orders(world, "/topic x")
    eve = Raw(world).join()
    assert eve.status == 503
    world.now += world.relay.server.settings.grace_s + 1
    for _ in range(3):
        world.relay.turn()
    assert world.relay.server.gate.find("eve") is None


def test_an_answer_is_for_whoever_still_holds_the_seat(world: World) -> None:
    eve = Raw(world).join()
    eve.got.clear()
    assert eve.conn.seat is not None
    world.relay.loop.answer(eve.conn, 7, Status.OK, "late")
    eve.conn.seat.holder = object()
    eve.flow()
    assert answers(eve) == []


def test_a_removal_is_logged_once_though_the_member_leaves(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    eve = Raw(world).join()
    assert eve.conn.seat is not None
    seat, receive = eve.conn.seat, world.room.receive

    def removed_first(*given: Any) -> list[Delivered]:
        world.relay.server.leave(seat, Reason.REMOVED, "x")  # an order, on its own thread
        return receive(*given)

    monkeypatch.setattr(world.room, "receive", removed_first)
    with caplog.at_level("INFO", "termchat.server"):
        eve.link.send(Sent(Kind.LEAVE, RELAY, b""))
        eve.flow()
    assert [row for row in caplog.messages if "removed: name=eve" in row] == [
        "removed: name=eve room=/"
    ]


def test_a_rule_for_an_empty_room_is_shown_and_told_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with World([], []) as world, caplog.at_level("INFO", "termchat.server"):
        eve = Raw(world, room="den").join()
        eve.got.clear()
        orders(world, "/lock")
        eve.flow()
        sentence = "The host locked the room: nobody new can join."
        assert world.relay.rows[-2:] == [f"[Operator] {sentence}", "Done. Nobody is there."]
        assert f"operator: {sentence}" in caplog.messages
        assert notices(eve) == []


def test_another_password(world: World) -> None:
    eve = Raw(world).join()
    old = world.relay.server.psk
    orders(world, "/password n\u0065\u0301w")
    assert Raw(world, "fay", psk=old).status == 401
    new = ticket.derive_psk("n\u00e9w", world.relay.key.public)
    assert Raw(world, "fay", psk=new).status is None
    # Who is inside stays, and comes back with the new one only.
    eve.flow()
    assert eve.status is None
    back = Raw(world, session=eve.hello.session, psk=old)
    assert back.status == 401
    assert all("n\u0065\u0301w" not in row for row in (*world.relay.rows, *notices(eve)))


def test_whoever_is_muted_and_goes_on_is_read_all_the_same(world: World) -> None:
    eve = Raw(world).join()
    orders(world, "/mute eve 1m")
    eve.flow()
    seq = world.room._log.room_seq
    eve.got.clear()
    message = bytes(8) + seq.to_bytes(8) + bytes(112)
    eve.link.send(Sent(Kind.MESSAGE, RELAY, message))
    eve.link.send(Sent(Kind.LEAVE, RELAY, b""))
    eve.flow()
    assert [record.kind for record in eve.got] == [Kind.REFUSAL, Kind.LEAVE]
    assert world.room._log.room_seq == seq + 1


def test_too_many_orders_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.MAX_ORDERS", 2)
    orders(world, *["/rooms"] * 5)
    assert world.relay.rows.count("Too many orders wait. Nothing was changed.") == 3


def test_nothing_is_written_until_something_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = world.relay.server.orders
    kept: list[bool] = []

    def keep() -> list[str]:
        kept.append(True)
        return []

    monkeypatch.setattr(thread._operators, "_keep", keep)
    orders(world, f"/ban {fingerprint(EVE.public, 'eve')} 1h")
    for _ in range(3):
        thread.turn(0)
    assert kept == [True]
    # One that has come and is known from now on is a change.
    assert Raw(world).join().status == 403
    world.relay.turn()
    assert kept == [True, True]


@pytest.mark.parametrize("is_direct", [False, True])
def test_a_refusal_that_is_lost_takes_nothing_along(world: World, is_direct: bool) -> None:
    ace, bea = world.people
    peer = next(iter(ace.conv.peers.values())) if is_direct else None
    ace.say(peer)
    world.settle()
    connection = ace.connection
    assert connection is not None
    for order in ("/mute ace", "/unmute ace"):  # the way back is dead meanwhile
        orders(world, order)
        ace.say(peer)
        ace.turn()
        connection.up.carry()
        world.relay.turn()
    ace.notice()
    world.settle()
    assert ace.conv.phase is Phase.LIVE
    for person in (ace, bea):
        said = [event.text for event in person.events if isinstance(event, Said)]
        assert said == ["ace 0", "ace 1", "ace 2"]


def test_a_refusal_of_the_room_that_is_lost_ends_nobody_who_spoke_to_one(world: World) -> None:
    ace, bea = world.people
    orders(world, "/slow 5")
    ace.say()
    world.settle()
    connection = ace.connection
    assert connection is not None
    for to in (None, next(iter(ace.conv.peers.values()))):  # the way back is dead meanwhile
        ace.say(to)
        ace.turn()
        connection.up.carry()
        world.relay.turn()
    world.now += 6
    ace.notice()
    world.settle()
    assert ace.conv.phase is Phase.LIVE
    for person in (ace, bea):
        said = {event.text for event in person.events if isinstance(event, Said)}
        assert said == {"ace 0", "ace 1", "ace 2"}
    assert ace.conv.waiting == 0


def test_who_is_no_operator_fills_no_queue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.MAX_ORDERS", 2)
    eve = Raw(world).join()
    for number in range(9):
        eve.link.send(Sent(Kind.COMMAND, RELAY, Command(number, "/rooms").encode()))
    for number in range(9, 18):
        eve.link.send(Sent(Kind.COMMAND, RELAY, Command(number, "/topic").encode()))
    eve.pipe.flush()
    eve.up.carry()
    world.relay.loop.ready(eve.conn, eve.conn.mask, world.now)
    orders(world, "/rooms")
    assert world.relay.rows[-1] == "lobby: 3 here"
    eve.flow()
    told = "Only an operator can do that. Nothing was changed."
    assert answers(eve) == [
        *(Answer(number, Status.FORBIDDEN, told) for number in range(9)),
        *(Answer(number, Status.OK, "No topic is set.") for number in range(9, 18)),
    ]


def test_an_order_that_breaks_something_breaks_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(world.relay.server.gate, "find", lambda _: 1 / 0)
    orders(world, "/kick bea", "/rooms")
    assert world.relay.rows[-2:] == [
        "Something broke here. The log, or standard error, says what.",
        "lobby: 2 here",
    ]
    assert "ZeroDivisionError" in caplog.text


def test_orders_are_carried_out_though_the_end_of_a_ban_breaks(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    orders_ = world.relay.server.orders
    monkeypatch.setattr(orders_._operators, "tick", lambda _: 1 / 0)
    world.relay.server.rules.on_met()
    orders(world, "/rooms")
    assert world.relay.rows[-1] == "lobby: 2 here"
    assert "ZeroDivisionError" in caplog.text


def test_wrong_passwords_lock_nobody_out_who_is_inside(world: World) -> None:
    eve = Raw(world).join()
    for _ in range(20):
        Raw(world, "mal", identity=Identity.generate(), psk=secrets.token_bytes(32))
    # Same address, as the world has it.
    assert Raw(world, "mal", identity=Identity.generate()).status == 429
    seq = world.room._log.room_seq
    eve.link.send(Sent(Kind.MESSAGE, RELAY, bytes(8) + seq.to_bytes(8) + bytes(112)))
    eve.flow()
    assert eve.got[-1].kind is Kind.MESSAGE
    assert eve.status is None


@pytest.mark.parametrize("is_direct", [False, True])
@pytest.mark.parametrize("cut", ["never", "between keys", "with a key on its way"])
def test_a_mute_that_ends_between_keys_and_their_message_loses_nothing(
    cut: str, *, is_direct: bool
) -> None:
    names = ["ace", "bea", "col", "dan"]
    identities = [Identity.generate() for _ in names]
    with (
        World(names, identities) as world,
        mock.patch.object(outbox, "KEYS_PER_TURN", 1),
    ):
        world.settle()
        ace, bea, *_ = world.people
        (to,) = [peer for peer in ace.conv.peers.values() if peer.name == bea.name]
        ace.say()
        if is_direct:
            ace.say(to)
        orders(world, "/mute ace")
        ace.turn()
        world.carry_all()
        world.relay.turn()
        world.carry_all()
        with mock.patch.object(outbox, "KEYS_PER_TURN", cut != "between keys"):
            ace.turn()
        # A key was echoed that went nowhere, and its message was not sent yet.
        orders(world, "/unmute ace")
        if cut != "never":
            world.connections[names.index("ace")].up.cut()
            ace.notice()
        world.settle()
        ace.say()
        ace.say(to)
        world.settle()
        world.check()
        first, *_, last, private = world.lines.values()
        # What has no echo is sealed anew, on another chain; the rest its sender is told of.
        is_anew = cut == "with a key on its way"
        assert (first.is_undelivered, len(first.readers)) == (not is_anew, 3 * is_anew)
        assert len(last.readers) == 3
        assert list(private.readers) == ["bea"]
