"""Members as the relay meets them: cards that are valid, and HELLOs that go with them."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass

from common.crypto import card as cards
from common.crypto import ticket
from common.crypto.card import Card
from common.crypto.hashing import sha256
from common.crypto.identity import Identity
from common.crypto.primitives import CardKey
from common.crypto.transcript import Transcript
from common.log.memory import MemoryLog
from common.relay.room import Room, Seat
from common.relay.rules import Rules
from common.wire import records
from common.wire.records import (
    CARD_BYTES,
    RELAY,
    Delivered,
    Hello,
    Join,
    Kind,
    MemberId,
    Reason,
    Sent,
    Seq,
    Welcome,
    decode_delivered,
)

KEY = bytes(range(32))
ROOM_ID = ticket.room_id(KEY, "")
T = 1_000.0
AT_MS = 5
PUBLIC = CardKey.generate().public


def identity(name: str) -> Identity:
    """The identity of that name."""
    return Identity.from_seed(sha256(name.encode()))


def card(name: str, *, who: str = "", session: bytes | None = None) -> Card:
    """A valid card of the default room."""
    session = session or secrets.token_bytes(16)
    return cards.make(identity(who or name), session, ROOM_ID, name, PUBLIC, None)


def again(of: Card, *, who: str = "") -> Card:
    """A newer card of the same session."""
    public = CardKey.generate().public
    owner = identity(who or of.username)
    return cards.make(owner, of.session, ROOM_ID, of.username, public, None)


def hello(of: Card, room: str = "") -> Hello:
    """The HELLO that goes before a card."""
    return Hello(of.session, of.identity, room, of.username)


@dataclass
class Member:
    """A seat, its connection, and what was delivered to it."""

    room: Room
    seat: Seat
    holder: object
    replies: list[Delivered]

    @property
    def number(self) -> MemberId:
        return self.seat.number

    def read(self) -> list[Delivered]:
        """Take what is ready."""
        found: list[Delivered] = []
        while batch := self.room.read(self.seat, self.holder):
            found += map(decode_delivered, records.split(batch))
        return found

    def send(
        self, kind: Kind, body: bytes = b"", *, to: int = 0, now: float = T
    ) -> list[Delivered]:
        """Send a record as this member."""
        record = Sent(kind, MemberId(to), body)
        return self.room.receive(self.seat, self.holder, record, now, AT_MS)

    def say(self, *, seen: int | None = None, to: int = 0, size: int = 128) -> bytes:
        """Send a MESSAGE that says that it has seen what there is; return its body."""
        seen = self.room._log.room_seq if seen is None else seen
        body = bytes(8) + seen.to_bytes(8) + secrets.token_bytes(size - 16)
        assert self.send(Kind.MESSAGE, body, to=to) == []
        return body

    def drop(self, now: float = T) -> float | None:
        """Lose the connection."""
        return self.room.dropped(self.seat, self.holder, now)

    def resume(
        self,
        room_seq: int | None = None,
        mail_seq: int = 0,
        *,
        log_id: bytes | None = None,
        newer: Card | None = None,
        now: float = T,
    ) -> Welcome:
        """Come back on another connection; return what it is told."""
        seq = self.room._log.room_seq if room_seq is None else room_seq
        named = newer or self.seat.card
        join = Join(
            bytes(64), log_id or self.room._log.log_id, Seq(seq), Seq(mail_seq), named.encoded
        )
        holder = object()
        (welcome,) = self.room.resume(self.seat, holder, named, join, now, AT_MS)
        self.holder = holder
        return Welcome.decode(decode_delivered(welcome[2:]).body)


def make_room(*, grace_s: float = 120.0) -> Room:
    """An empty room."""
    log = MemoryLog(secrets.token_bytes(16))
    return Room("", ROOM_ID, log, grace_s, Rules(), threading.Lock())


def seat(room: Room, name: str, *, of: Card | None = None) -> Member:
    """Seat a fresh member."""
    holder = object()
    taken = Seat(of or card(name), room, holder)
    replies = room.join(taken, T, AT_MS)
    return Member(room, taken, holder, [decode_delivered(frame[2:]) for frame in replies])


def transcript_of(log_id: bytes, delivered: list[Delivered]) -> Transcript:
    """What anybody computes from the room records alone (PROTOCOL.md 4.4)."""
    transcript = Transcript.begin(ROOM_ID, log_id)
    for record in delivered:
        if record.kind is Kind.CARD:
            assert len(record.body) == CARD_BYTES
            transcript.join(record.sender, sha256(record.body))
        elif record.kind is Kind.LEAVE:
            assert record.body[0] in set(Reason)
            transcript.leave(record.sender)
        assert record.to == RELAY
        transcript.add(record.encode())
    return transcript
