"""Conversations and the relay's own loop, joined by bytes in memory instead of sockets.

The loop is the real one: a selector and sockets that hold bytearrays stand in for the kernel's, and
a clock that the world moves for the system's. Nothing here starts a thread or sleeps.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import deque
from types import TracebackType
from typing import Any
from unittest import mock

import server
from common.config import ServerConfig
from common.crypto.chain import Sealed
from common.crypto.identity import Identity, RelayKey
from common.crypto.ticket import Ticket
from common.log.memory import Cursor
from common.member import outbox
from common.member.conversation import Conversation, Phase
from common.member.events import (
    Back,
    Came,
    Gone,
    Joined,
    Left,
    Line,
    Noticed,
    Peer,
    Said,
    Undelivered,
)
from common.member.passwords import Passwords
from common.member.reader import Reader
from common.member.trust import Pins
from common.member.uplink import (
    Again,
    Disconnected,
    Happened,
    Parted,
    Uplink,
    Wait,
    address_of,
)
from common.relay.operators import Giver
from common.relay.room import Room
from common.wire.link import Closed, ServerLink
from common.wire.pipe import Pipe
from common.wire.records import Delivered, Kind, Seq, message_seen

URL = "ws://relay.test/"
TODAY = "2026-11-21"
START_S = 1_000.0


class Wire:
    """One direction of a connection: what was sent, and what of it has arrived."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.flying = bytearray()
        self.arrived = bytearray()
        self.is_ended = False
        """No more bytes come: the sender closed, or the line is dead."""

    def carry(self, count: int | None = None) -> None:
        """Let some bytes arrive, or all of them."""
        count = len(self.flying) if count is None else count
        self.arrived += self.flying[:count]
        del self.flying[:count]

    def cut(self) -> None:
        """Lose what has not arrived, and end."""
        self.flying.clear()
        self.is_ended = True


class Sock:
    """One end of two wires, as a Pipe wants it."""

    def __init__(self, inward: Wire, outward: Wire) -> None:
        self._in, self._out = inward, outward
        self.is_closed = False

    def recv(self, size: int, /) -> bytes:
        if not self._in.arrived:
            if self._in.is_ended and not self._in.flying:
                return b""
            raise BlockingIOError
        data = bytes(self._in.arrived[:size])
        del self._in.arrived[:size]
        return data

    def send(self, data: bytes | memoryview, /) -> int:
        if self._out.is_ended:
            # A dead line takes what is written to it, until somebody notices.
            return len(data)
        taken = min(len(data), self._out.capacity - len(self._out.flying) - len(self._out.arrived))
        if taken <= 0:
            raise BlockingIOError
        self._out.flying += data[:taken]
        return taken

    def shutdown(self, how: int, /) -> None:
        self._out.is_ended = True

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.is_closed = True
        self._out.is_ended = True


class Relay:
    """The real server with the core of one loop, turned by hand."""

    def __init__(self, world: World, settings: ServerConfig, psk: bytes) -> None:
        self.rows: list[str] = []
        self.key = RelayKey.generate()
        self._world = world
        self.crashes = 0
        self.arrivals_wait = False
        """Whether a turn comes too soon after the last arrivals to tell of others."""
        self._accepted = 0
        self.server = server.Server(
            settings,
            self.key,
            psk,
            [],
            self.rows.append,
            self._crash,
            now=lambda: world.now,
            at_ms=lambda: int(world.now * 1_000),
        )
        (self.loop,) = self.server.loops

    def _crash(self) -> None:
        self.crashes += 1

    def accept(self, sock: Sock, network: str) -> server.Conn:
        """Take a connection as the loop's thread does."""
        now = self._world.now
        self._accepted += 1
        address = f"{network}:{self._accepted:06}"
        return self.loop.admit(Pipe(sock, ServerLink(now)), address, network, now)

    def orders(self, *lines: str) -> None:
        """Type lines at the console, which are carried out in the next turn."""
        for line in lines:
            self.server.orders.hear(Giver(), line)

    def obey(self) -> None:
        """Carry out what waits for the thread of orders."""
        while self.server.orders.turn(0):
            pass

    def turn(self) -> None:
        """Do what the loop's thread does: everybody who is ready, then the rest.

        The newest connections come first, which is the harder order: a session may have older ones.
        """
        loop, now = self.loop, self._world.now
        for conn in sorted(loop.conns, key=lambda conn: conn.address[-6:], reverse=True):
            if conn.mask:
                loop.ready(conn, conn.mask, now)
        if loop.entered and not self.arrivals_wait:
            loop.tell_arrivals(now)
        self.obey()
        loop.turn(now)
        assert not self.crashes


class Connection:
    """Both ends of one connection."""

    def __init__(self, world: World, person: Person) -> None:
        self.up, self.down = Wire(world.capacity), Wire(world.capacity)
        self.server_sock = Sock(self.up, self.down)
        person.uplink.attach(Sock(self.down, self.up), world.now)
        self.conn = world.relay.accept(self.server_sock, world.network or person.name)


class Person:
    """One user: a conversation, how it dials, and all that it was shown."""

    def __init__(self, world: World, name: str, identity: Identity) -> None:
        self.name = name
        self.world = world
        self.identity = identity
        self.pins = Pins(None)
        self.connection: Connection | None = None
        self.events: list[Happened] = []
        self._due: deque[Delivered] = deque()
        self._last: dict[tuple[bytes, bool], int] = {}
        self._missed = 0
        self.start()

    @property
    def conv(self) -> Conversation:
        """Its side of its room."""
        return self.uplink.conversation

    def start(self) -> None:
        """Begin anew, as a client that was just started."""
        world, key = self.world, self.world.relay.key.public
        conversation = Conversation(
            key=key,
            room="",
            username=self.name,
            identity=self.identity,
            secret=world.secret,
            pins=self.pins,
            today=TODAY,
            at_ms=lambda: 0,
        )
        passwords = Passwords("", lambda _: world.psk)
        passwords.psk = world.psk
        address = address_of(URL, Ticket(key))
        self.uplink = Uplink(conversation, address, passwords, lambda: 0.5)
        self.uplink.was_welcomed = True  # nobody gives up at the first refusal

    def dial(self) -> None:
        """Connect, unless we are, or have quit."""
        if self.connection is None and self.conv.phase is Phase.OFFLINE:
            self.uplink.dialling()
            self.connection = Connection(self.world, self)
            self.world.connections.append(self.connection)

    def say(self, to: Peer | None = None) -> None:
        """Say a text that nobody said before."""
        text = f"{self.name} {len(self.world.lines)}"
        self.world.lines[text] = Spoken(self, text, to)
        self.conv.say(text, to)

    def turn(self) -> None:
        """Take what has arrived, and send what waits."""
        now, uplink = self.world.now, self.uplink
        uplink.tick(now)
        self._take()
        uplink.read(now, reads_together=False)
        while (record := uplink.open_record(now)) is not None:
            self._opened(record)
        uplink.open_held()
        self._take()
        uplink.send(now)
        self._take()

    def _opened(self, record: Delivered | Closed) -> None:
        if isinstance(record, Closed):
            self._take()
            return
        is_own, is_out = record.sender == self.conv._reader.number, self.conv._reader.is_out
        is_of_others = record.kind is Kind.MESSAGE and not is_own and not is_out
        if is_of_others and message_seen(record.body) >= self.conv._reader.joined_seq:
            self._due.append(record)
        self._take(record)

    def _take(self, echo: Delivered | None = None) -> None:
        """Check that what is shown of others is the next that came, and nothing is left out."""
        while (event := self.uplink.next_event()) is not None:
            self._note(event, echo)
        held = [one.message for one in self.conv._reader._held]
        early = [one for one in held if isinstance(one, Sealed) and one.is_early]
        assert len(self._due) == len(held) - len(early)

    def _note(self, event: Happened, echo: Delivered | None) -> None:
        self.events.append(event)
        match event:
            case Joined() | Back():
                self.uplink.settled()
            case Undelivered():
                self._undelivered(event.lines)
            case Said():
                record = self._due.popleft() if event.peer else echo
                assert record is not None
                self.world.shown(self, record, event)
                self._missed += event.peer is not None
            case Again() | Wait():
                refused = event.refused
                allowed = (408, 409, 410, 412, 429, 503, 507)
                assert refused is None or refused.status in allowed, refused.text
            case Disconnected() | Parted():
                self._hang_up()
            case _:
                assert isinstance(event, Came | Left | Noticed | Gone), event
        if isinstance(event, Said | Left):
            # What is ours, what is theirs and who left is told in the order of the log.
            stream = self.conv._session, isinstance(event, Said) and event.is_direct
            assert event.seq > self._last.get(stream, 0), f"{event} is out of order"
            self._last[stream] = event.seq
        if isinstance(event, Back):
            assert event.missed == self._missed
        if isinstance(event, Gone):
            self._hang_up()
        if isinstance(event, Back | Disconnected):
            self._missed = 0

    def _undelivered(self, lines: Any) -> None:
        for line in lines:
            assert isinstance(line, Line)
            spoken = self.world.lines[line.text]
            assert not spoken.is_over, f"{line.text} ends twice"
            spoken.is_undelivered = True

    def _hang_up(self) -> None:
        self.uplink.close()
        if self.connection is not None:
            self.connection.up.is_ended = True
            self.connection = None

    def notice(self) -> None:
        """See that the connection is dead; what arrived and was not read is lost too."""
        if self.connection is not None:
            self.connection.down.cut()
            self.connection.down.arrived.clear()
            self.turn()

    def quit(self) -> None:
        """Leave for good; what was not said is not said."""
        for spoken in self.world.lines.values():
            if spoken.by is self and not spoken.is_over:
                spoken.is_abandoned = True
        self.conv.leave()
        self.turn()


class Spoken:
    """What becomes of one text."""

    def __init__(self, by: Person, text: str, to: Peer | None) -> None:
        self.by, self.text = by, text
        self.to = to.card.session if to else None
        self.place: tuple[bytes, Seq] | None = None
        self.readers: dict[str, tuple[bytes, Seq]] = {}
        self.is_echoed = self.is_undelivered = self.is_abandoned = False

    @property
    def is_over(self) -> bool:
        return self.is_echoed or self.is_undelivered


class World:
    """A relay, some people, and a clock."""

    def __init__(
        self,
        names: list[str],
        identities: list[Identity],
        *,
        grace_s: float = 120.0,
        capacity: int = 1 << 20,
        secret: bytes | None = None,
        network: str = "",
    ) -> None:
        self.now = START_S
        self.network = network
        """Where all come from; "" if each is elsewhere."""
        self.capacity = capacity
        self.secret = secret
        self.psk = secrets.token_bytes(32)
        self.lines: dict[str, Spoken] = {}
        self.connections: list[Connection] = []
        self._stack = contextlib.ExitStack()
        # Cards and chains age within what a schedule can wait for.
        self._stack.enter_context(mock.patch.object(outbox, "CARD_AGE_S", 100.0))
        self._stack.enter_context(mock.patch.object(outbox, "CHAIN_AGE_S", 40.0))
        self.relay = Relay(self, ServerConfig(threads=1, grace_s=grace_s), self.psk)
        self.people = [
            Person(self, name, identity) for name, identity in zip(names, identities, strict=False)
        ]

    def __enter__(self) -> World:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def shown(self, reader: Person, record: Delivered, said: Said) -> None:
        """Note that a text was shown, and check all that can be told at once."""
        spoken = self.lines[said.text]
        log_id = reader.conv._reader.log_id
        if said.peer is None:
            assert spoken.by is reader
            assert not spoken.is_over, f"{said.text} ends twice"
            spoken.is_echoed = True
        else:
            assert spoken.by is not reader
            assert said.peer.name == spoken.by.name
            assert reader.name not in spoken.readers, f"{said.text} is doubled"
            spoken.readers[reader.name] = (log_id, record.seq)
        assert said.is_direct == (spoken.to is not None) == (record.to != 0)
        if spoken.to is not None:
            assert said.peer is None or spoken.to == reader.conv._session
        else:
            # All agree on the order of every line that they may see.
            assert spoken.place in (None, (log_id, record.seq))
            spoken.place = (log_id, record.seq)

    def carry_all(self) -> None:
        """Let everything arrive."""
        for connection in self.connections:
            connection.up.carry()
            connection.down.carry()

    def wait(self, seconds: float) -> None:
        """Let time pass in which nothing arrives, and whoever is due does what is due."""
        while seconds > 0:
            self.now += min(seconds, 10.0)
            seconds -= 10.0
            self.relay.turn()
            for person in self.people:
                person.turn()

    def settle(self) -> None:
        """Mend everything, and go on until nobody has anything left to do."""
        for _ in range(600):
            self.now += 0.25
            for person in self.people:
                person.dial()
            self.carry_all()
            self.relay.turn()
            self.carry_all()
            for person in self.people:
                person.turn()
            self.connections = [c for c in self.connections if not c.server_sock.is_closed]
            if self.is_quiet():
                return
        raise AssertionError("the world does not come to rest")

    def is_quiet(self) -> bool:
        return len(self.connections) == len([p for p in self.people if p.connection]) and all(
            person.conv.phase is Phase.ENDED
            or (
                person.conv.phase is Phase.LIVE
                and not person.conv.waiting
                and not person.conv._outbox._session.unechoed
                and self._has_read_all(person.conv._reader)
            )
            for person in self.people
        )

    def _has_read_all(self, reader: Reader) -> bool:
        log = self.room._log
        return (
            reader.transcript is not None
            and reader.transcript.seq == log.room_seq
            and not log.missed(reader.number, Cursor(log.room_seq, reader.mail_seq))
        )

    @property
    def room(self) -> Room:
        return self.relay.server.gate._rooms[""]

    def check(self) -> None:
        """Check what must hold once the world is at rest."""
        live = [person for person in self.people if person.conv.phase is Phase.LIVE]
        for person in live:
            transcript = person.conv._reader.transcript
            assert transcript is not None
            assert transcript.h == self.room._transcript.h
            present = {peer.name for peer in person.conv.peers.values()}
            # One whose LEAVE was cut off is present until GRACE has passed.
            over = {other.name for other in self.people if other.conv.phase is Phase.ENDED}
            assert present - over == {other.name for other in live} - {person.name}
        for spoken in self.lines.values():
            assert spoken.is_echoed + spoken.is_undelivered == 1 or spoken.is_abandoned, spoken.text
            if not spoken.is_echoed or spoken.to is None:
                continue
            for reader in live:
                if reader.conv._session == spoken.to:
                    assert reader.name in spoken.readers, f"{spoken.text} is lost"
