"""HELLO and every record, as values.

PROTOCOL.md 3.1, 4.1. A record is an envelope with a body: `Sent` towards the relay, `Delivered`
from it. The bodies that the relay itself understands have classes here; those of SENDER_KEY and
MESSAGE stay bytes, which only members open.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, NewType

from common import names
from common.codec import Decoder, Encoder, utf8
from common.crypto.points import is_identity
from common.errors import ProtocolError, UsageError

Seq = NewType("Seq", int)
"""Position in a stream, dense from 1; 0 before the first."""
MemberId = NewType("MemberId", int)
"""A member's number in one log, from 1; 0 is no member."""

RELAY = MemberId(0)
"""`from` and `to` where no member is meant."""

CARD_BYTES = 1425
SENDER_KEY_BYTES = 1209
MAX_MESSAGE_BYTES = 16_640
MAX_ERROR_BYTES = 256
MAX_NOTICE_BYTES = 1_024
MAX_COMMAND_BYTES = 512
HELLO_BYTES = 146
SESSION_BYTES = 16
IDENTITY_BYTES = 32
AUTH_BYTES = 64
LOG_ID_BYTES = 16
HASH_BYTES = 32


class Kind(IntEnum):
    """The record types of PROTOCOL.md 4.1."""

    JOIN = 1
    CARD = 2
    LEAVE = 3
    SENDER_KEY = 4
    MESSAGE = 5
    WELCOME = 8
    MEMBER = 9
    ERROR = 10
    NOTICE = 11
    COMMAND = 12
    REFUSAL = 13
    ANSWER = 20


class Reason(IntEnum):
    """Why a LEAVE was logged."""

    LEFT = 0
    LOST = 1
    REMOVED = 2
    REPLACED = 3


JOIN_HEAD_BYTES = AUTH_BYTES + LOG_ID_BYTES + 8 + 8
WELCOME_BYTES = LOG_ID_BYTES + 4 + 1 + 8 + HASH_BYTES + 2
REFUSAL_HEAD_BYTES = 4 + 4
ORDER_BYTES = 4
ANSWER_HEAD_BYTES = ORDER_BYTES + 2

# What either side may send: the least and the most bytes of a body. A kind that is not listed is
# malformed there.
_TO_RELAY = {
    Kind.JOIN: (JOIN_HEAD_BYTES + CARD_BYTES, JOIN_HEAD_BYTES + CARD_BYTES),
    Kind.CARD: (CARD_BYTES, CARD_BYTES),
    Kind.LEAVE: (0, 0),
    Kind.SENDER_KEY: (SENDER_KEY_BYTES, SENDER_KEY_BYTES),
    Kind.MESSAGE: (112 + 16, MAX_MESSAGE_BYTES),
    Kind.COMMAND: (ORDER_BYTES, ORDER_BYTES + MAX_COMMAND_BYTES),
}
_FROM_RELAY = {
    Kind.CARD: (CARD_BYTES, CARD_BYTES),
    Kind.LEAVE: (1, 1),
    Kind.SENDER_KEY: (SENDER_KEY_BYTES, SENDER_KEY_BYTES),
    Kind.MESSAGE: (112 + 16, MAX_MESSAGE_BYTES),
    Kind.WELCOME: (WELCOME_BYTES, WELCOME_BYTES),
    Kind.MEMBER: (4 + CARD_BYTES, 4 + CARD_BYTES),
    Kind.ERROR: (2, 2 + MAX_ERROR_BYTES),
    Kind.NOTICE: (0, MAX_NOTICE_BYTES),
    Kind.REFUSAL: (REFUSAL_HEAD_BYTES, REFUSAL_HEAD_BYTES + MAX_ERROR_BYTES),
    Kind.ANSWER: (ANSWER_HEAD_BYTES, ANSWER_HEAD_BYTES + MAX_NOTICE_BYTES),
}
_TO_THE_RELAY_ONLY = frozenset((Kind.JOIN, Kind.CARD, Kind.LEAVE, Kind.COMMAND))
_TO_A_MEMBER_ONLY = frozenset((Kind.SENDER_KEY,))
_KINDS = {int(kind): kind for kind in Kind}
_ECHOED_EMPTY = (Kind.SENDER_KEY, Kind.MESSAGE)
"""Mail, whose echo to the sender is a header with an empty body."""

_LENGTH = struct.Struct(">H")
_SENT = struct.Struct(">BI")
_DELIVERED = struct.Struct(">BIIQQ")
DELIVERED_HEAD_BYTES = _DELIVERED.size
MAX_FRAME_BYTES = 65_535
"""Of a Noise message (PROTOCOL.md 3.2)."""
MAX_PLAINTEXT_BYTES = MAX_FRAME_BYTES - 16
"""What records take of it, each after its length."""
_FRAMED = struct.Struct(">HBIIQQ")


class Sent(NamedTuple):
    """A record on its way to the relay."""

    kind: Kind
    to: MemberId
    body: bytes

    def __repr__(self) -> str:
        """Hide the body, which may hold a password."""
        return f"Sent({self.kind.name}, {self.to})"

    def encode(self) -> bytes:
        """Return the record without its length."""
        return _SENT.pack(self.kind, self.to) + self.body


class Delivered(NamedTuple):
    """A record from the relay.

    Attributes:
        seq: place in the room stream or in this session's mail stream; 0 for neither.
        at_ms: the relay's clock, milliseconds since 1970, for information only.
    """

    kind: Kind
    sender: MemberId
    to: MemberId
    seq: Seq
    at_ms: int
    body: bytes

    def encode(self) -> bytes:
        """Return the record without its length; this is R_n of PROTOCOL.md 4.4."""
        return _DELIVERED.pack(self.kind, self.sender, self.to, self.seq, self.at_ms) + self.body


def from_relay(kind: Kind, body: bytes) -> Delivered:
    """Return a record of neither stream, in the relay's own name."""
    return Delivered(kind, RELAY, RELAY, Seq(0), 0, body)


def decode_sent(record: bytes) -> Sent:
    """Decode what a client sent, checking type, length and `to` by the table of PROTOCOL.md 4.1.

    Raises:
        ProtocolError: if the table does not allow it.
    """
    if len(record) < _SENT.size:
        raise ProtocolError("a record is cut short")
    number, to = _SENT.unpack_from(record)
    kind = _kind(number, len(record) - _SENT.size, _TO_RELAY)
    if kind in (_TO_THE_RELAY_ONLY if to else _TO_A_MEMBER_ONLY):
        raise ProtocolError(f"{kind.name} to nobody it may go to")
    return Sent(kind, MemberId(to), record[_SENT.size :])


def decode_delivered(record: bytes) -> Delivered:
    """Decode what the relay sent, checking type and length by the table of PROTOCOL.md 4.1.

    Raises:
        ProtocolError: if the table does not allow it.
    """
    if len(record) < _DELIVERED.size:
        raise ProtocolError("a record is cut short")
    number, sender, to, seq, at_ms = _DELIVERED.unpack_from(record)
    body = record[_DELIVERED.size :]
    if not body and to and number in _ECHOED_EMPTY:
        kind = Kind(number)
    else:
        kind = _kind(number, len(body), _FROM_RELAY)
    return Delivered(kind, MemberId(sender), MemberId(to), Seq(seq), at_ms, body)


def _kind(number: int, size: int, table: dict[Kind, tuple[int, int]]) -> Kind:
    kind = _KINDS.get(number)
    bounds = table.get(kind) if kind is not None else None
    if kind is None or bounds is None:
        raise ProtocolError(f"record type {number} is not allowed here")
    if not bounds[0] <= size <= bounds[1]:
        raise ProtocolError(f"{kind.name} of {size} bytes")
    return kind


def framed(record: bytes) -> bytes:
    """Return a record after its u16 length, as frames carry it (PROTOCOL.md 3.2)."""
    return _LENGTH.pack(len(record)) + record


def framed_delivered(
    kind: Kind, sender: MemberId, to: MemberId, seq: Seq, at_ms: int, body: bytes
) -> bytes:
    """Return what would be a `Delivered`, after its length; the relay makes each message one."""
    return _FRAMED.pack(DELIVERED_HEAD_BYTES + len(body), kind, sender, to, seq, at_ms) + body


def record_in(frame: bytes) -> bytes:
    """Return the record behind its length."""
    return frame[_LENGTH.size :]


_MEMBER_HEAD = _FRAMED.pack(DELIVERED_HEAD_BYTES + 4 + CARD_BYTES, Kind.MEMBER, RELAY, RELAY, 0, 0)


def framed_member(number: MemberId, kept: bytes) -> bytes:
    """Return a MEMBER after its length, of what ends in a card: a joiner gets up to a thousand."""
    return _MEMBER_HEAD + number.to_bytes(4) + kept[-CARD_BYTES:]


def split(plaintext: bytes) -> Iterator[bytes]:
    """Yield the records of one frame.

    Raises:
        ProtocolError: on a record of length 0 or cut short.
    """
    at, end = 0, len(plaintext)
    while at < end:
        if end - at < _LENGTH.size:
            raise ProtocolError("a frame has trailing bytes")
        (size,) = _LENGTH.unpack_from(plaintext, at)
        at += _LENGTH.size
        if not 0 < size <= end - at:
            raise ProtocolError("a record has a length it cannot have")
        yield plaintext[at : at + size]
        at += size


class Hello(NamedTuple):
    """Who knocks: the payload of handshake message 1 (PROTOCOL.md 3.1)."""

    session: bytes
    identity: bytes
    room: str
    username: str

    def encode(self) -> bytes:
        """Return 146 bytes."""
        writer = Encoder().raw(self.session).raw(self.identity)
        writer.padded_text(self.room, names.MAX_ROOM_BYTES)
        return writer.padded_text(self.username, names.MAX_NAME_BYTES).bytes()

    @classmethod
    def decode(cls, data: bytes) -> Hello:
        """Decode and check the identity and both names.

        Raises:
            ProtocolError: on a wrong length, identity, padding or name (400).
        """
        reader = Decoder(data)
        session, identity = reader.take(SESSION_BYTES), reader.take(IDENTITY_BYTES)
        room = reader.padded_text(names.MAX_ROOM_BYTES)
        username = reader.padded_text(names.MAX_NAME_BYTES)
        reader.end()
        if not is_identity(identity):
            raise ProtocolError("an identity key has small order or is not canonical")
        try:
            names.check_room(room)
            names.check_username(username)
        except UsageError as error:
            raise ProtocolError(str(error)) from None
        return cls(session, identity, room, username)


class Join(NamedTuple):
    """A client's first record (PROTOCOL.md 4.3); a fresh one has log_id and both seqs zero."""

    auth: bytes
    log_id: bytes
    room_seq: Seq
    mail_seq: Seq
    card: bytes

    @property
    def is_fresh(self) -> bool:
        """Whether it asks for a new place rather than to resume."""
        return self.log_id == bytes(LOG_ID_BYTES)

    def encode(self) -> bytes:
        """Return the body."""
        writer = Encoder().raw(self.auth).raw(self.log_id).u64(self.room_seq).u64(self.mail_seq)
        return writer.raw(self.card).bytes()

    @classmethod
    def decode(cls, body: bytes) -> Join:
        """Decode the body.

        Raises:
            ProtocolError: on a wrong length, or a fresh JOIN that names seqs.
        """
        reader = Decoder(body)
        auth, log_id = reader.take(AUTH_BYTES), reader.take(LOG_ID_BYTES)
        join = cls(auth, log_id, Seq(reader.u64()), Seq(reader.u64()), reader.take(CARD_BYTES))
        reader.end()
        if join.is_fresh and (join.room_seq or join.mail_seq):
            raise ProtocolError("a fresh JOIN names a seq")
        return join


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to a JOIN (PROTOCOL.md 4.3).

    Attributes:
        count: fresh: members already here, a MEMBER for each follows; resumed: missed records that
            follow.
    """

    log_id: bytes
    number: MemberId
    resumed: bool
    room_seq: Seq
    h: bytes
    count: int

    def encode(self) -> bytes:
        """Return the body."""
        writer = Encoder().raw(self.log_id).u32(self.number).u8(self.resumed).u64(self.room_seq)
        return writer.raw(self.h).u16(self.count).bytes()

    @classmethod
    def decode(cls, body: bytes) -> Welcome:
        """Decode the body.

        Raises:
            ProtocolError: on a wrong length or a flag that is neither 0 nor 1.
        """
        reader = Decoder(body)
        log_id, number, resumed = reader.take(LOG_ID_BYTES), reader.u32(), reader.u8()
        seq, h, count = reader.u64(), reader.take(HASH_BYTES), reader.u16()
        reader.end()
        if resumed > 1:
            raise ProtocolError("WELCOME is neither fresh nor resumed")
        return cls(log_id, MemberId(number), resumed == 1, Seq(seq), h, count)


class Member(NamedTuple):
    """One who was here before a fresh joiner."""

    number: MemberId
    card: bytes

    def encode(self) -> bytes:
        """Return the body."""
        return Encoder().u32(self.number).raw(self.card).bytes()

    @classmethod
    def decode(cls, body: bytes) -> Member:
        """Decode the body.

        Raises:
            ProtocolError: on a wrong length.
        """
        reader = Decoder(body)
        member = cls(MemberId(reader.u32()), reader.take(CARD_BYTES))
        reader.end()
        return member


class Error(NamedTuple):
    """The body of ERROR: why the relay ends the connection (PROTOCOL.md 3.3)."""

    status: int
    text: str

    def encode(self) -> bytes:
        """Return the body, the text cut to what it may hold."""
        return Encoder().u16(self.status).raw(cut_utf8(self.text, MAX_ERROR_BYTES)).bytes()

    @classmethod
    def decode(cls, body: bytes) -> Error:
        """Decode the body.

        Raises:
            ProtocolError: if the text is not UTF-8.
        """
        reader = Decoder(body)
        return cls(reader.u16(), utf8(reader.rest()))


class Command(NamedTuple):
    """An operator's order (PROTOCOL.md 4.5); `order` numbers it among those of its connection."""

    order: int
    text: str

    def __repr__(self) -> str:
        """Hide the text, which may hold a password."""
        return f"Command({self.order})"

    def encode(self) -> bytes:
        """Return the body."""
        return Encoder().u32(self.order).raw(self.text.encode("utf-8", "replace")).bytes()

    @classmethod
    def decode(cls, body: bytes) -> Command:
        """Decode the body.

        Raises:
            ProtocolError: if the text is not UTF-8.
        """
        reader = Decoder(body)
        return cls(reader.u32(), utf8(reader.rest()))


class Status(IntEnum):
    """What became of an order, in numbers that mean the same in HTTP (RFC 9110 15)."""

    CONTINUE = 100  # a row of a list, and another follows
    OK = 200  # carried out
    BAD_REQUEST = 400  # mistyped, or of what is not there: nothing was changed
    FORBIDDEN = 403  # only an operator can do that: nothing was changed
    INTERNAL_ERROR = 500  # the relay broke over it: what was changed is not known
    UNAVAILABLE = 503  # too many orders wait: nothing was changed


_STATUSES = frozenset(int(status) for status in Status)


class Answer(NamedTuple):
    """A row of what the relay says to an order; the last says what became of it."""

    order: int
    status: Status
    text: str

    @property
    def is_last(self) -> bool:
        """Whether no other row follows."""
        return self.status is not Status.CONTINUE

    def encode(self) -> bytes:
        """Return the body, the text cut to what it may hold."""
        text = cut_utf8(self.text, MAX_NOTICE_BYTES)
        return Encoder().u32(self.order).u16(self.status).raw(text).bytes()

    @classmethod
    def decode(cls, body: bytes) -> Answer:
        """Decode the body.

        Raises:
            ProtocolError: if the status does not exist, or the text is not UTF-8.
        """
        reader = Decoder(body)
        order, number = reader.u32(), reader.u16()
        if number not in _STATUSES:
            raise ProtocolError(f"ANSWER with status {number}")
        return cls(order, Status(number), utf8(reader.rest()))


def leave_reason(body: bytes) -> Reason:
    """Decode the body of a LEAVE from the relay.

    Raises:
        ProtocolError: on a reason that does not exist.
    """
    try:
        return Reason(body[0])
    except ValueError:
        raise ProtocolError(f"LEAVE for reason {body[0]}") from None


def chain_field(body: bytes) -> bytes:
    """Return the `chain` field of a MESSAGE or a SENDER_KEY, as it stands."""
    return body[:4]


def is_room_key(body: bytes) -> bool:
    """Tell whether a SENDER_KEY is for what is said to the room (PROTOCOL.md 5.2)."""
    return body[8] == 0


def message_seen(body: bytes) -> Seq:
    """Return the `seen` field of a MESSAGE, which the relay checks too (PROTOCOL.md 5.3)."""
    return Seq(int.from_bytes(body[8:16]))


def refusal(message: Sent, why: str) -> Delivered:
    """Return the answer to a MESSAGE that is not taken into the log (PROTOCOL.md 4.5)."""
    body = message.body[:REFUSAL_HEAD_BYTES] + cut_utf8(why, MAX_ERROR_BYTES)
    return Delivered(Kind.REFUSAL, RELAY, message.to, Seq(0), 0, body)


def notice_text(body: bytes) -> str:
    """Decode the text of a NOTICE.

    Raises:
        ProtocolError: if it is not UTF-8.
    """
    return utf8(body)


def cut_utf8(text: str, size: int) -> bytes:
    """Encode text, cut after the last whole character that fits into `size` bytes."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()
