"""The relay's loop against clients that break the protocol, or are cut off at a bad time."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from unittest import mock

import pytest

import server
from common.config import ServerConfig
from common.crypto import card as cards
from common.crypto import ticket
from common.crypto.card import Card
from common.crypto.identity import Identity
from common.crypto.primitives import CardKey
from common.member import outbox
from common.member.conversation import Phase
from common.relay.gate import THROTTLE_FAILURES
from common.relay.strangers import HANDSHAKES_OF_A_NETWORK, JOINS_OF_A_NETWORK, PATIENCE_S
from common.wire import records
from common.wire.link import ClientLink, Closed, Opened, ServerLink, State
from common.wire.pipe import Pipe
from common.wire.records import RELAY, Delivered, Hello, Join, Kind, MemberId, Sent, Seq
from tests.sim.world import URL, Sock, Wire, World

NAMES = ["ace", "bea"]
IDENTITIES = [Identity.generate() for _ in NAMES]
EVE = Identity.generate()
PUBLIC = CardKey.generate().public


@pytest.fixture
def world() -> Iterator[World]:
    with World(NAMES, IDENTITIES) as world:
        world.settle()
        yield world


def stall(world: World, raw: Raw) -> None:
    """Say more to a member than its connection takes, of which nothing is carried to it."""
    for person in world.people:
        for _ in range(20):
            person.say()
    for _ in range(4):
        for person in world.people:
            person.turn()
            assert person.connection
            person.connection.up.carry()
        world.relay.turn()
    assert raw.conn.pipe.unsent_bytes


class Raw:
    """A client without a conversation: it sends what it is told, and notes what it is sent."""

    def __init__(
        self,
        world: World,
        username: str = "eve",
        *,
        identity: Identity = EVE,
        session: bytes | None = None,
        psk: bytes | None = None,
        room: str = "",
        head: bytes | None = None,
        network: str = "eve",
        capacity: int = 1 << 20,
    ) -> None:
        self.world = world
        self.identity = identity
        self.hello = Hello(session or secrets.token_bytes(16), identity.public, room, username)
        self.up, self.down = Wire(1 << 24), Wire(capacity)
        key = world.relay.key.public
        self.link = ClientLink(URL, key, psk or world.psk, self.hello, world.now)
        self.pipe = Pipe(Sock(self.down, self.up), self.link)
        self.conn = world.relay.accept(Sock(self.up, self.down), network)
        own = b"".join(self.link.outgoing())
        self.request = own if head is None else head
        self.up.flying += self.request
        self.got: list[Delivered] = []
        self.closed: list[Closed] = []
        self.flow()

    def flow(self) -> None:
        """Let everything arrive, both ways."""
        for _ in range(3):
            self.pipe.flush()
            self.up.carry()
            self.world.relay.turn()
            self.down.carry()
            while (data := self.pipe.read()) is not None:
                for event in self.link.receive(data, self.world.now):
                    if isinstance(event, Delivered):
                        self.got.append(event)
                    elif isinstance(event, Closed):
                        self.closed.append(event)
                    else:
                        assert isinstance(event, Opened)
                if not data:
                    break

    @property
    def status(self) -> int | None:
        """Why it was ended; None if it was not, or without a word."""
        refusals = [closed.refused for closed in self.closed]
        assert len(refusals) <= 1
        return refusals[0].status if refusals and refusals[0] else None

    def card(self, *, room: str = "", name: str = "", session: bytes = b"") -> Card:
        room_id = ticket.room_id(self.world.relay.key.public, room)
        hello = self.hello
        return cards.make(
            self.identity, session or hello.session, room_id, name or hello.username, PUBLIC, None
        )

    def join(self, card: Card | None = None, **fields: object) -> Raw:
        """Send a JOIN, with fields of it changed."""
        card = card or self.card()
        auth = cards.prove(self.identity, card, self.link.handshake_hash)
        join = Join(auth, bytes(16), Seq(0), Seq(0), card.encoded)
        join = join._replace(**fields)  # type: ignore[arg-type] # fields by their names
        self.link.send(Sent(Kind.JOIN, RELAY, join.encode()))
        self.flow()
        return self


def test_one_that_keeps_to_it(world: World) -> None:
    eve = Raw(world).join()
    assert [record.kind for record in eve.got] == [
        Kind.WELCOME,
        Kind.MEMBER,
        Kind.MEMBER,
        Kind.CARD,
    ]
    assert eve.status is None


def test_a_newcomer_sees_its_arrival_no_sooner_than_the_others(world: World) -> None:
    eve = Raw(world).join()
    world.relay.arrivals_wait = True
    before = len(eve.got)
    dan = Raw(world, "dan", identity=Identity.generate()).join()
    eve.flow()
    assert {record.kind for record in dan.got} == {Kind.WELCOME, Kind.MEMBER}
    assert eve.got[before:] == []
    # What is said tells of arrivals; else the next turn that may.
    seen = world.room._log.room_seq.to_bytes(8)
    eve.link.send(Sent(Kind.MESSAGE, RELAY, bytes(8) + seen + bytes(112)))
    eve.flow()
    dan.flow()
    assert [record.kind for record in eve.got[before:]] == [Kind.CARD, Kind.MESSAGE]
    assert dan.got[-2:] == eve.got[before:]
    fay = Raw(world, "fay", identity=Identity.generate()).join()
    assert {record.kind for record in fay.got} == {Kind.WELCOME, Kind.MEMBER}
    world.relay.arrivals_wait = False
    fay.flow()
    dan.flow()
    assert fay.got[-1] == dan.got[-1]


class TestJoin:
    def refuses(self, world: World, eve: Raw, status: int) -> None:
        assert eve.status == status
        assert eve.closed[0].refused is not None
        assert eve.closed[0].refused.authentic
        assert eve.got == []
        # Nothing of it is left: the name is free, and nobody saw it.
        assert sorted(world.relay.server.gate._held) == NAMES
        assert world.room._log.room_seq == 2

    def test_without_valid_auth(self, world: World) -> None:
        self.refuses(world, Raw(world).join(auth=bytes(64)), 401)

    def test_with_the_auth_of_another_connection(self, world: World) -> None:
        eve, other = Raw(world), Raw(world)
        card = eve.card()
        eve.join(card, auth=cards.prove(EVE, card, other.link.handshake_hash))
        other.join(auth=bytes(64))
        self.refuses(world, eve, 401)

    def test_with_a_card_of_another_room(self, world: World) -> None:
        eve = Raw(world)
        self.refuses(world, eve.join(eve.card(room="den")), 400)

    def test_with_a_card_that_is_not_hellos(self, world: World) -> None:
        for change in ({"name": "mal"}, {"session": bytes(16)}, {"name": "EVE"}):
            eve = Raw(world)
            self.refuses(world, eve.join(eve.card(**change)), 400)

    def test_with_somebody_elses_card(self, world: World) -> None:
        eve = Raw(world)
        stolen = world.room._roster.seats[records.MemberId(1)].card
        self.refuses(world, eve.join(stolen), 400)

    def test_something_else_first(self, world: World) -> None:
        eve = Raw(world)
        eve.link.send(Sent(Kind.LEAVE, RELAY, b""))
        eve.flow()
        self.refuses(world, eve, 400)

    def test_nothing_in_ten_seconds(self, world: World) -> None:
        eve = Raw(world)
        world.now += 9.9
        eve.flow()
        assert eve.closed == []
        world.now += 0.2
        eve.flow()
        self.refuses(world, eve, 408)

    def test_twice(self, world: World) -> None:
        eve = Raw(world).join().join()
        assert eve.status == 400

    def test_to_resume_what_never_was(self, world: World) -> None:
        self.refuses(world, Raw(world).join(log_id=world.room._log.log_id), 410)

    def test_the_name_was_taken_since(self, world: World) -> None:
        eve, other = Raw(world), Raw(world, identity=Identity.generate())
        eve.join()
        other.join()
        assert (eve.status, other.status) == (None, 409)

    def test_to_resume_as_another(self, world: World) -> None:
        ace = world.people[0]
        session = ace.conv.hello().session
        for identity, status in ((EVE, 409), (IDENTITIES[0], None)):
            eve = Raw(world, "ace", identity=identity, session=session)
            assert eve.status == status


class TestRequests:
    def test_a_message_1_replayed(self, world: World) -> None:
        eve = Raw(world).join()
        again = Raw(world, head=eve.request)
        assert again.status == 401

    def test_wrong_psks_are_throttled(self, world: World) -> None:
        statuses = [Raw(world, psk=bytes(32)).status for _ in range(THROTTLE_FAILURES + 1)]
        assert statuses == [401] * THROTTLE_FAILURES + [429]
        assert Raw(world).status == 429
        world.now += 60
        assert Raw(world).status is None

    def test_who_says_nothing_makes_way_for_others_of_its_network(self, world: World) -> None:
        silent = [Raw(world, head=b"") for _ in range(HANDSHAKES_OF_A_NETWORK)]
        eve = Raw(world).join()
        assert eve.status is None
        assert [raw.down.is_ended for raw in silent] == [True] + [False] * 31
        silent[0].flow()
        assert silent[0].closed == [Closed(None, "connection lost")]

    def test_who_never_joins_makes_way_a_moment_later(self, world: World) -> None:
        waiting = [Raw(world, f"u{n}") for n in range(JOINS_OF_A_NETWORK)]
        eve = Raw(world)
        assert eve.link.state is State.CONNECTING
        world.now += PATIENCE_S
        eve.flow()
        assert eve.join().got
        waiting[0].flow()
        assert waiting[0].status == 408
        for raw in waiting[1:3]:
            assert raw.join().got

    def test_who_joins_makes_way_at_once(self, world: World) -> None:
        waiting = [Raw(world, f"u{n}") for n in range(JOINS_OF_A_NETWORK)]
        later = [Raw(world, f"v{n}") for n in range(3)]
        for raw in waiting[:3]:
            raw.join()
        world.now += server.KNOCK_AGAIN_S
        for raw in later:
            raw.flow()
            assert raw.join().status is None
        assert not any(raw.closed for raw in waiting)

    def test_a_request_that_waits_is_still_bound_to_its_time(self, world: World) -> None:
        for n in range(JOINS_OF_A_NETWORK):
            Raw(world, f"u{n}")
        eve = Raw(world)
        eve.up.flying += b"early"
        eve.flow()
        assert eve.down.is_ended
        assert eve.closed == [Closed(None, "connection lost")]

    @pytest.mark.parametrize("in_their_way", [0, HANDSHAKES_OF_A_NETWORK])
    def test_fifty_behind_one_address_come_back_at_once(self, in_their_way: int) -> None:
        names = [f"u{n:02}" for n in range(50)]
        with World(names, [Identity.generate() for _ in names], network="192.0.2.1") as world:
            for _ in range(in_their_way):
                Raw(world, head=b"", network="192.0.2.1")
            began_s = world.now
            world.settle()
            assert world.now - began_s < 5
            world.check()
            for person in world.people:
                person.notice()
            for connection in world.connections:
                connection.up.cut()
            world.wait(1)
            began_s = world.now
            world.settle()
            assert world.now - began_s < 5
            world.check()

    def test_a_request_that_never_ends(self, world: World) -> None:
        eve = Raw(world, head=b"GET / HTTP/1.1\r\n")
        world.now += 10
        eve.flow()
        assert eve.down.is_ended
        assert eve.closed == [Closed(None, "connection lost")]


class TestFaults:
    """An exception that nobody foresaw, a later library's perhaps, ends one connection."""

    def ends(self, world: World, eve: Raw) -> None:
        eve.flow()
        assert eve.conn not in world.relay.loop.conns
        ace, bea = world.people
        ace.say()
        world.settle()
        (last,) = list(world.lines.values())[-1].readers
        assert last == bea.name

    @pytest.mark.parametrize("is_in", [False, True])
    def test_in_what_it_receives(self, world: World, *, is_in: bool) -> None:
        eve = Raw(world, head=None if is_in else b"G")
        if is_in:
            eve.join()
        with mock.patch.object(ServerLink, "receive", side_effect=RuntimeError):
            eve.up.flying += b"E"
            eve.flow()
        assert eve.status == (503 if is_in else None)
        world.now += 1
        self.ends(world, eve)

    @pytest.mark.parametrize("method", ["outgoing", "send_batch"])
    def test_in_what_it_is_sent(self, world: World, method: str) -> None:
        eve = Raw(world).join()
        ace, _ = world.people
        ace.say()
        ace.turn()
        world.carry_all()
        with mock.patch.object(eve.conn.pipe, "link", wraps=eve.conn.pipe.link) as link:
            link.state = State.OPEN
            getattr(link, method).side_effect = RuntimeError
            world.relay.turn()
        self.ends(world, eve)

    def test_in_its_end(self, world: World) -> None:
        eve = Raw(world)
        with mock.patch.object(ServerLink, "_library", side_effect=RuntimeError):
            world.now += 10
            world.relay.turn()
        self.ends(world, eve)


class TestEnding:
    def test_what_was_said_just_before_the_end_counts(self, world: World) -> None:
        eve = Raw(world).join()
        eve.link.send(Sent(Kind.LEAVE, RELAY, b""))
        eve.link.close(world.now)
        eve.flow()
        world.settle()
        assert [p.conv.members for p in world.people] == [2, 2]
        assert world.room._log.room_seq == 4

    def test_what_follows_a_fault_does_not(self, world: World) -> None:
        eve = Raw(world).join()
        eve.link.send(Sent(Kind.MESSAGE, RELAY, bytes(8) + (2**40).to_bytes(8) + bytes(112)))
        eve.link.send(Sent(Kind.LEAVE, RELAY, b""))
        eve.flow()
        assert eve.status == 400
        assert world.room._log.room_seq == 3

    def test_a_leave_is_echoed_and_closed(self, world: World) -> None:
        eve = Raw(world).join()
        eve.link.send(Sent(Kind.LEAVE, RELAY, b""))
        eve.flow()
        assert eve.got[-1].kind is Kind.LEAVE
        assert eve.closed == [Closed(None, "closed by peer with 1000")]
        assert Raw(world, identity=Identity.generate()).join().status is None

    def test_a_newer_connection_ends_the_older(self, world: World) -> None:
        session = secrets.token_bytes(16)
        old = Raw(world, session=session).join()
        seq = Seq(world.room._log.room_seq)
        h = world.room._log.log_id
        new = Raw(world, session=session)
        new.join(old_card(world), log_id=h, room_seq=seq)
        assert [record.kind for record in new.got] == [Kind.WELCOME]
        old.flow()
        assert old.closed == [Closed(None, "closed by peer with 1000")]
        # The name is still held by one that is connected.
        assert Raw(world, session=None).status == 409
        new.link.send(Sent(Kind.LEAVE, RELAY, b""))
        new.flow()
        assert new.got[-1].kind is Kind.LEAVE

    def test_an_older_connection_that_takes_nothing_is_ended_too(self, world: World) -> None:
        old = Raw(world, capacity=8_000).join()
        seq = Seq(world.room._log.room_seq)
        stall(world, old)
        new = Raw(world, session=old.hello.session)
        new.join(old_card(world), log_id=world.room._log.log_id, room_seq=seq)
        assert new.got[0].kind is Kind.WELCOME
        assert old.conn.pipe.link.state is not State.OPEN

    def test_after_410_it_joins_afresh_at_once(self, world: World) -> None:
        eve = Raw(world).join()
        eve.up.cut()
        eve.flow()
        back = Raw(world, session=eve.hello.session)
        back.join(log_id=b"x" * 16)
        assert back.status == 410
        assert Raw(world).join().status is None

    def test_the_relay_shuts_down(self, world: World) -> None:
        eve = Raw(world).join()
        loop = world.relay.loop
        loop.stop(world.now)
        assert loop.conns
        eve.down.carry()
        eve.flow()
        assert eve.status == 503
        loop.close(world.now)
        assert loop.conns == set()

    def test_a_member_that_floods_is_read_no_faster_than_it_may(self, world: World) -> None:
        eve = Raw(world).join()
        seq = world.room._log.room_seq
        for _ in range(100):
            eve.link.send(Sent(Kind.MESSAGE, RELAY, bytes(8) + seq.to_bytes(8) + bytes(112)))
            eve.pipe.flush()
        eve.flow()
        # One read held them all: the burst is taken, and then the rest at its rate.
        burst = int(ServerConfig().burst)
        assert world.room._log.room_seq == seq + burst
        for more in (10, 20, 60, 60):
            world.now += 1.0 if more < 60 else 5.0
            eve.flow()
            assert world.room._log.room_seq == seq + burst + more
        assert eve.link.state is State.OPEN

    @pytest.mark.parametrize("burst", [1, 2, 7])
    def test_a_burst_is_a_burst(self, burst: int) -> None:
        with World(NAMES, IDENTITIES) as world:
            relay = world.relay.server
            relay.settings = relay.settings._replace(rate=1.0, burst=float(burst))
            eve = Raw(world).join()
            seq = world.room._log.room_seq
            for _ in range(12):
                eve.link.send(Sent(Kind.MESSAGE, RELAY, bytes(8) + seq.to_bytes(8) + bytes(112)))
            eve.link.send(Sent(Kind.LEAVE, RELAY, b""))
            for second in range(12 - burst):
                eve.flow()
                assert world.room._log.room_seq == seq + burst + second
                world.now += 1.0
            # What is not counted waits its turn all the same.
            eve.flow()
            assert eve.got[-1].seq == seq + 13
            assert eve.got[-1].kind is Kind.LEAVE

    def test_what_waits_for_its_rate_goes_with_its_connection(self, world: World) -> None:
        eve = Raw(world).join()
        seq = world.room._log.room_seq
        for _ in range(60):
            eve.link.send(Sent(Kind.MESSAGE, RELAY, bytes(8) + seq.to_bytes(8) + bytes(112)))
        eve.flow()
        taken = world.room._log.room_seq
        assert taken < seq + 60
        eve.conn.end(503, "", world.now)
        for _ in range(9):
            world.now += 1.0
            eve.flow()
        assert world.room._log.room_seq == taken

    def test_who_leaves_and_joins_again_has_spent_what_it_has_spent(self, world: World) -> None:
        before = world.room._log.room_seq
        for number in range(30):
            eve = Raw(world, f"eve{number}").join()
            seq = world.room._log.room_seq
            for _ in range(40):
                eve.link.send(Sent(Kind.MESSAGE, RELAY, bytes(8) + seq.to_bytes(8) + bytes(112)))
            eve.link.send(Sent(Kind.LEAVE, RELAY, b""))
            eve.flow()
        # The first burst, and what one read holds; then nothing but its JOIN, CARD and LEAVE.
        assert world.room._log.room_seq - before < 200

    def test_a_flood_of_keys_is_read_no_faster_than_it_may(self, world: World) -> None:
        eve = Raw(world).join()
        ace = given_keys(world)
        flood(eve, 1_000)
        # What one read held, and the burst; then as many as messages.
        taken = given_keys(world) - ace
        assert 40 <= taken < 100
        world.now += taken / 10 - 4
        eve.flow()
        assert given_keys(world) - ace < taken + 100
        assert eve.link.state is State.OPEN
        # Who comes back has spent what it has spent.
        back = Raw(world, session=eve.hello.session)
        back.join(
            old_card(world),
            log_id=world.room._log.log_id,
            room_seq=Seq(world.room._log.room_seq),
            mail_seq=Seq(0),
        )
        assert back.got[0].kind is Kind.WELCOME
        before = given_keys(world)
        flood(back, 200)
        flood(back, 200)
        assert given_keys(world) - before < 60

    def test_no_flood_of_keys_ends_its_victim(self, world: World) -> None:
        eve = Raw(world).join()
        (victim,) = [c for c in world.relay.loop.conns if c.seat and c.seat.number == 1]
        for _ in range(80):  # less than until its silence is noticed
            world.now += 0.25
            flood(eve, 200)
        # It read nothing all the time.
        assert victim.pipe.link.state is State.OPEN

    @pytest.mark.parametrize("order", ["/mute eve", "/kick eve", "/ban eve"])
    def test_an_operator_ends_a_flood_of_keys(self, world: World, order: str) -> None:
        eve = Raw(world).join()
        flood(eve, 100)
        world.relay.orders(order)
        world.relay.turn()
        before = given_keys(world)
        for _ in range(20):
            world.now += 1
            flood(eve, 20)
        assert given_keys(world) == before
        assert eve.status == (None if order.startswith("/mute") else 403)

    @pytest.mark.parametrize("has_leavers", [False, True])
    def test_who_gives_no_more_keys_than_it_needs_is_not_held_up(
        self, *, has_leavers: bool
    ) -> None:
        names = [f"u{n:02}" for n in range(64 if has_leavers else 24)]
        identities = [Identity.generate() for _ in names]
        keys = mock.patch.object(outbox, "KEYS_PER_TURN", 2)
        with keys, World(names, identities) as world:
            world.settle()
            speakers, leavers = world.people[:4], world.people[4:]
            for leaver in leavers:
                # Each must begin another chain all the time, before all have a key of the last.
                for person in speakers:
                    person.say()
                if has_leavers:
                    leaver.quit()
                for _ in range(2 if has_leavers else 12):
                    world.now += 0.01
                    for person in speakers:
                        person.turn()
                    world.carry_all()
                    world.relay.turn()
                    world.carry_all()
                    held = [conn.wait_s for conn in world.relay.loop.conns if conn.wait_s]
                    # Fifty chains in a second are more than are read at once, but none is lost.
                    assert max(held, default=world.now) <= world.now + (0.2 if has_leavers else 0)
            world.settle()
            world.check()
            assert all(spoken.is_echoed for spoken in world.lines.values())

    def test_a_resume_of_old_records_over_a_slow_line(self) -> None:
        with World(NAMES, IDENTITIES, capacity=3_000, grace_s=600.0) as world:
            ace, bea = world.people
            world.settle()
            ace.notice()
            world.connections[0].up.cut()
            for _ in range(30):
                bea.say()
            for _ in range(40):
                world.now += 1
                world.connections[1].up.carry()
                world.connections[1].down.carry()
                world.relay.turn()
                bea.turn()
            # Older than what a live connection may lag, and more than the line takes at once.
            ace.dial()
            back = world.connections[-1]
            for _ in range(300):
                world.now += 0.05
                for connection in (back, world.connections[1]):
                    connection.up.carry(400)
                    connection.down.carry(400)
                world.relay.turn()
                ace.turn()
                bea.turn()
            assert ace.conv.phase is Phase.LIVE
            assert ace.connection is back
            world.settle()
            world.check()


def flood(raw: Raw, count: int) -> None:
    """Give so many keys, which nobody can open, to the first member."""
    body = (1).to_bytes(4) + bytes(1_205)
    if raw.link.state is State.OPEN:
        for _ in range(count):
            raw.link.send(Sent(Kind.SENDER_KEY, MemberId(1), body))
    raw.flow()


def given_keys(world: World) -> int:
    """How much mail the first member was ever sent."""
    return world.room._log._mail[MemberId(1)].last


def old_card(world: World) -> Card:
    """The card of the newest member."""
    return list(world.room._roster.seats.values())[-1].card
