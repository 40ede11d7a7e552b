"""Conversations around one Room, record by record: no bytes, no wires.

What the room delivers can be taken apart before it is handed on, which is all a malicious relay can
do.
"""

from __future__ import annotations

import secrets
import threading
from functools import cache

import pytest

from common.crypto import card as cards
from common.crypto import ticket
from common.crypto.chain import ROOM_DEST, ReceiveChains, SendChain
from common.crypto.hashing import sha256
from common.crypto.identity import Identity, RelayKey
from common.crypto.primitives import CardKey
from common.errors import RemoteProtocolError
from common.log.memory import MemoryLog
from common.member import contents
from common.member.contents import Text
from common.member.conversation import Conversation, Phase
from common.member.events import Event, Failed, Peer, Said, Trouble, Warned
from common.member.trust import Pins
from common.relay.room import Room, Seat
from common.relay.rules import Rules
from common.wire import records
from common.wire.records import Delivered, Join, Kind, MemberId, Sent, Seq, decode_delivered

KEY = RelayKey.generate().public
ROOM_ID = ticket.room_id(KEY, "")
TODAY = "2026-11-21"
START_S = 1_000.0
AT_MS = 1_700_000_000_000


@cache
def identity(name: str) -> Identity:
    """The identity of that name, in every test."""
    return Identity.from_seed(sha256(name.encode()))


class Person:
    """One conversation, its seat, and what it was shown."""

    def __init__(
        self, table: Table, name: str, *, secret: bytes | None = None, who: str = ""
    ) -> None:
        self.table = table
        self.pins = Pins(None)
        self.conv = Conversation(
            key=KEY,
            room="",
            username=name,
            identity=identity(who or name),
            secret=secret,
            pins=self.pins,
            today=TODAY,
            at_ms=lambda: 0,
        )
        self._seat: Seat | None = None
        self.holder = object()
        self.events: list[Event] = []

    @property
    def name(self) -> str:
        return self.conv.username

    @property
    def number(self) -> MemberId:
        return self.seat.number

    @property
    def seat(self) -> Seat:
        assert self._seat is not None
        return self._seat

    def peer(self, other: Person) -> Peer:
        peer = self.conv.find(other.name)
        assert peer is not None
        return peer

    def chains(self, other: Person) -> ReceiveChains:
        """What opens the other's messages."""
        return self.conv._reader._chains[self.peer(other).number]

    def knock(self) -> list[Delivered]:
        """Open a link, and return the relay's answer."""
        table, h = self.table, secrets.token_bytes(32)
        self.holder = object()
        self.conv.opened(h, table.now)
        (sent,) = self.conv.outgoing(table.now)
        join = Join.decode(sent.body)
        card = cards.decode(join.card, ROOM_ID)
        assert cards.is_proven(card, join.auth, h)
        if join.is_fresh:
            self._seat = Seat(card, table.room, self.holder)
            replies = table.room.join(self.seat, table.now, AT_MS)
        else:
            replies = table.room.resume(self.seat, self.holder, card, join, table.now, AT_MS)
        return [decode_delivered(record) for reply in replies for record in records.split(reply)]

    def join(self) -> Person:
        """Open a link and see what there is."""
        for record in self.knock():
            self.take(record)
        self.read()
        return self

    def cut(self) -> None:
        """Lose the link, and whatever was on its way."""
        self.table.room.dropped(self.seat, self.holder, self.table.now)
        self.events += self.conv.lost()

    def take(self, record: Delivered) -> list[Event]:
        """Hand a record to the conversation, and have it opened."""
        return self._shown(self.conv.receive(record, self.table.now) + self.conv.open_held())

    def _shown(self, events: list[Event]) -> list[Event]:
        """Note what there is to show; a fault of the relay's, which is the last, is raised."""
        for event in events:
            if isinstance(event, Failed):
                raise event.problem
            self.events.append(event)
        return events

    def send(self) -> list[Sent]:
        """Hand what waits to the room."""
        out = self.conv.outgoing(self.table.now)
        for sent in out:
            for reply in self.table.room.receive(
                self.seat,
                self.holder,
                records.decode_sent(sent.encode()),
                self.table.now,
                AT_MS,
            ):
                self.take(reencoded(reply))
        return out

    def incoming(self) -> list[Delivered]:
        """Take what the room has for us out of it, without handing it on."""
        found: list[Delivered] = []
        while batch := self.table.room.read(self.seat, self.holder):
            found += map(decode_delivered, records.split(batch))
        return found

    def read(self) -> list[Event]:
        """Take what the room has for us, messages opened together where they may be."""
        events: list[Event] = []
        for record in self.incoming():
            events += self.conv.receive(record, self.table.now)
        return self._shown(events + self.conv.open_held())

    def say(self, text: str, to: Person | None = None) -> list[Sent]:
        """Say a text, hand it to the room, and see its echo."""
        self.conv.say(text, self.peer(to) if to else None)
        out = self.send()
        self.read()
        return out

    @property
    def said(self) -> list[str]:
        """What others said, as it was shown."""
        return [event.text for event in self.events if isinstance(event, Said) and event.peer]

    @property
    def echoed(self) -> list[str]:
        """What we said, as it was shown."""
        return [event.text for event in self.events if isinstance(event, Said) and not event.peer]

    @property
    def troubles(self) -> list[Trouble]:
        return [event.trouble for event in self.events if isinstance(event, Warned)]

    def forge(self, kind: Kind, sender: MemberId, body: bytes, *, to: int = 0) -> Delivered:
        """A stream record with the seq that we expect next."""
        transcript = self.conv._reader.transcript
        assert transcript is not None
        is_mail = to or kind is Kind.SENDER_KEY
        seq = Seq((self.conv._reader.mail_seq if is_mail else transcript.seq) + 1)
        return Delivered(kind, sender, MemberId(to), seq, AT_MS, body)


class Table:
    """A room, a clock, and who sits around it."""

    def __init__(self) -> None:
        self.now = START_S
        self.log = MemoryLog(secrets.token_bytes(16))
        self.rules = Rules()
        self.room = Room("", ROOM_ID, self.log, 120.0, self.rules, threading.Lock())
        self.people: list[Person] = []

    def seat(self, *names: str, secret: bytes | None = None) -> list[Person]:
        """Seat people one after another; each has seen all that happened."""
        found = []
        for name in names:
            person = Person(self, name, secret=secret)
            found.append(person)
            self.people.append(person)
            person.join()
            self.all_read()
        return found

    def all_read(self) -> None:
        for person in self.people:
            if person.conv.phase is Phase.LIVE:
                person.read()


def reencoded(record: Delivered) -> Delivered:
    """A record as it comes off the wire."""
    return decode_delivered(record.encode())


def altered(record: Delivered, at: int) -> Delivered:
    """The record with one bit of its body turned."""
    body = bytearray(record.body)
    body[at] ^= 1
    return record._replace(body=bytes(body))


def pair() -> tuple[Table, Person, Person]:
    """Two who have talked: the second holds the first's chain, at index 1."""
    table = Table()
    ace, bea = table.seat("ace", "bea")
    ace.say("first")
    bea.read()
    assert bea.said == ["first"]
    return table, ace, bea


def refuses(person: Person, record: Delivered) -> str:
    """The record is the relay's fault; return the reason."""
    with pytest.raises(RemoteProtocolError) as caught:
        person.take(record)
    return str(caught.value)


def send_chain(person: Person, to: Person | None = None) -> SendChain:
    """A sender's own chain, as a hostile member can use it."""
    return person.conv._outbox._session.chains[to.conv._session if to else ROOM_DEST].chain


def h_of(person: Person) -> tuple[int, bytes]:
    transcript = person.conv._reader.transcript
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
