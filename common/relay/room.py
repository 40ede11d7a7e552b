"""Seats and one order: a room is a log, and those who share it."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from common.crypto import card as cards
from common.crypto.card import Card
from common.crypto.transcript import Transcript
from common.errors import ProtocolError, Refused
from common.log.memory import Cursor, MemoryLog
from common.log.sqlite import StoredRoom
from common.relay.limits import OUTBOUND_BYTES, OUTBOUND_S
from common.relay.rules import Rules, until
from common.wire import records
from common.wire.records import (
    MAX_PLAINTEXT_BYTES,
    Delivered,
    Join,
    Kind,
    MemberId,
    Reason,
    Sent,
    Seq,
)

SEEN_WINDOW: Final = 4_096
MAX_MISSED: Final = 65_535
"""What WELCOME can count; a slow reader can make the log retain more than PROTOCOL.md 9 asks."""
PRUNE_EVERY: Final = 1_024
SPOKE_KEPT: Final = 4_096


class SeatState(Enum):
    """Where a member stands."""

    JOINING = auto()
    SEATED = auto()
    AWAY = auto()
    GONE = auto()


class SeatStep(Enum):
    """What happens to a member."""

    JOINED = auto()  # its card is logged
    DROPPED = auto()  # its connection ended without a LEAVE
    RESUMED = auto()  # a JOIN with its session and log
    LEFT = auto()  # a LEAVE is logged, for whatever reason


# Whose JOIN the gate has taken is JOINING, with a name and no number, until its card is logged. A
# member is SEATED while it has a connection and AWAY, its name held, for GRACE after it lost it.
# GONE is final: a LEAVE is in the log, and its number is never used again. A resume may find it
# SEATED still, when the relay has not noticed yet that the older connection is dead: the newer one
# wins.
SEAT_TRANSITIONS: Final[dict[tuple[SeatState, SeatStep], SeatState]] = {
    (SeatState.JOINING, SeatStep.JOINED): SeatState.SEATED,
    (SeatState.SEATED, SeatStep.DROPPED): SeatState.AWAY,
    (SeatState.SEATED, SeatStep.RESUMED): SeatState.SEATED,
    (SeatState.SEATED, SeatStep.LEFT): SeatState.GONE,
    (SeatState.AWAY, SeatStep.RESUMED): SeatState.SEATED,
    (SeatState.AWAY, SeatStep.LEFT): SeatState.GONE,
}


@dataclass(slots=True, eq=False)
class Seat:
    """One member of a room, as the relay knows it; guarded by the room's lock.

    Attributes:
        room: whose member it is.
        holder: the connection in charge, opaque here; None while AWAY.
        number: from 1; 0 while JOINING.
        cursor: how far that connection has been given the log.
        missed: the last seqs that existed when it resumed; what is up to them is apart from the
            outbound limit.
        is_watched: whether a loop will see whether its GRACE has passed.
        left_at: seq of its own LEAVE, if it asked for one: the last record it is given.
        why: what it is told if it was removed.
        refused: the chain of which a message was refused, or a key withheld, by whom it went to.
    """

    card: Card
    room: Room
    holder: object | None
    number: MemberId = records.RELAY
    cursor: Cursor = field(default_factory=lambda: Cursor(Seq(0), Seq(0)))
    missed: tuple[Seq, Seq] = (Seq(0), Seq(0))
    state: SeatState = SeatState.JOINING
    reason: Reason | None = None
    expires_s: float = 0.0
    left_at: Seq | None = None
    is_watched: bool = False
    why: str = ""
    refused: dict[MemberId, bytes] = field(default_factory=dict)

    @property
    def username(self) -> str:
        """Who sits here."""
        return self.card.username

    @property
    def session(self) -> bytes:
        """The session that joined."""
        return self.card.session

    def step(self, step: SeatStep) -> None:
        """Move on by the table."""
        self.state = SEAT_TRANSITIONS[self.state, step]


class Roster:
    """The members of one room, and what each may send."""

    def __init__(self) -> None:
        self.seats: dict[MemberId, Seat] = {}
        self.last = 0

    def add(self, seat: Seat, number: int = 0) -> None:
        """Seat a member under a number never used before, or one that was stored under its."""
        seat.number = MemberId(number or self.last + 1)
        self.last = max(self.last, seat.number)
        self.seats[seat.number] = seat
        seat.step(SeatStep.JOINED)

    def remove(self, seat: Seat) -> None:
        """Forget a member that has left."""
        del self.seats[seat.number]
        for other in self.seats.values():
            other.refused.pop(seat.number, None)

    def check(self, seat: Seat, record: Sent, room_seq: Seq) -> None:
        """Check what a seat sends against what it may.

        Raises:
            ProtocolError: to itself, to nobody who ever was, or with a `seen` ahead (400).
            Refused: with a `seen` too far behind (412).
        """
        if record.to == seat.number or record.to > self.last:
            raise ProtocolError(f"{record.kind.name} to a number that is no other member's")
        if record.kind is Kind.MESSAGE:
            behind = room_seq - records.message_seen(record.body)
            if behind < 0:
                raise ProtocolError("a message has seen what is not in the log")
            if behind > SEEN_WINDOW:
                raise Refused(412, "the sender's view of the log is too old")


class Room:
    """One ordered log and those who share it; its lock is held for one append or read."""

    def __init__(
        self,
        name: str,
        room_id: bytes,
        room_log: MemoryLog,
        grace_s: float,
        rules: Rules,
        lock: AbstractContextManager[object],
    ) -> None:
        self.name = name
        self._rules = rules
        self._spoke_s: dict[bytes, float] = {}
        """When identities last spoke while the room was slow."""
        self.room_id = room_id
        self._lock = lock
        self._log = room_log
        self._roster = Roster()
        self._transcript = Transcript.begin(room_id, room_log.log_id)
        self._grace_s = grace_s
        self._appends = 0

    @property
    def path(self) -> str:
        """How the console names it."""
        return f"/{self.name}"

    def restore(self, stored: StoredRoom, now: float) -> list[Seat]:
        """Take up what a relay before us left; its members are away, and their GRACE starts anew.

        Raises:
            ProtocolError: if a card is not one of this room.
        """
        found = {n: cards.decode(data, self.room_id) for n, data in stored.cards.items()}
        hashes: dict[int, bytes] = {number: card.hash for number, card in found.items()}
        kept = stored.hashes
        if len(kept) == self._log.room_seq:
            # Of one who was welcomed to the empty room.
            kept = [self._transcript.h, *kept]
        self._transcript = Transcript.restore(self._log.room_seq, kept, hashes)
        for number, card in found.items():
            seat = Seat(card, self, None)
            self._roster.add(seat, number)
            seat.step(SeatStep.DROPPED)
            seat.expires_s = now + self._grace_s
        self._roster.last = max(self._roster.last, stored.last_number)
        return list(self._roster.seats.values())

    def show(self) -> None:
        """Show what the log can no longer lose."""
        with self._lock:
            self._log.show()

    def shows(self, position: int) -> bool:
        """Tell whether all up to a position of the log may be shown."""
        with self._lock:
            return self._log.shows(position)

    @property
    def position(self) -> int:
        """How much was ever appended."""
        return self._log.position

    @property
    def members(self) -> int:
        """How many are members, lost ones included."""
        return len(self._roster.seats)

    def join(self, seat: Seat, now: float, at_ms: int) -> list[bytes]:
        """Seat a fresh member and log its card.

        Returns:
            The WELCOME and MEMBERs that it is sent before anything else, framed.
        """
        with self._lock:
            seat.cursor = Cursor(self._log.room_seq, Seq(0))
            others = list(self._roster.seats.values())
            self._roster.add(seat)
            self._log.open_mail(seat.number)
            welcome = self._welcome(seat, is_resumed=False, count=len(others))
            listed = [records.framed_member(other.number, other.card.kept) for other in others]
            self._log_card(seat, seat.card, now, at_ms)
            return [welcome, *listed]

    def resume(
        self, seat: Seat, holder: object, card: Card, join: Join, now: float, at_ms: int
    ) -> list[bytes]:
        """Give a seat back to its session; whoever holds an older connection drops it.

        Returns:
            The WELCOME that it is sent before anything else, framed.

        Raises:
            Refused: 410 if the log is another, the seat is gone, or too much was missed.
            ProtocolError: if the card is not the member's.
        """
        with self._lock:
            if (
                seat.state not in (SeatState.SEATED, SeatState.AWAY)
                or join.log_id != self._log.log_id
                or not self._log.retains(seat.number, join.room_seq, join.mail_seq)
            ):
                raise Refused(410, "too much was missed")
            h = self._transcript.at(join.room_seq)
            if h is None:
                raise Refused(410, "too much was missed")
            if not cards.may_replace(seat.card, card):
                raise ProtocolError("a card that is not the member's")
            cursor = Cursor(join.room_seq, join.mail_seq)
            count = self._log.missed(seat.number, cursor)
            if count > MAX_MISSED:
                raise Refused(410, "too much was missed")
            seat.step(SeatStep.RESUMED)
            seat.holder = holder
            seat.cursor = cursor
            missed_mail = count - (self._log.room_seq - join.room_seq)
            seat.missed = (self._log.room_seq, Seq(join.mail_seq + missed_mail))
            welcome = self._welcome(seat, is_resumed=True, count=count, h=h)
            if card.hash != seat.card.hash:
                self._log_card(seat, card, now, at_ms)
            return [welcome]

    def _welcome(
        self, seat: Seat, *, is_resumed: bool, count: int, h: bytes | None = None
    ) -> bytes:
        body = records.Welcome(
            self._log.log_id,
            seat.number,
            is_resumed,
            seat.cursor.room,
            h or self._transcript.h,
            count,
        )
        return records.framed(records.from_relay(Kind.WELCOME, body.encode()).encode())

    def receive(
        self, seat: Seat, holder: object, record: Sent, now: float, at_ms: int
    ) -> list[Delivered]:
        """Take a record from a seat: append it, or reply to it.

        What an older connection still has to say is dropped: its sender, who resumed, takes it for
        never logged, and says it again.

        Returns:
            What is replied.

        Raises:
            ProtocolError: if the record is not allowed (400).
            Refused: 412.
        """
        with self._lock:
            if seat.state is not SeatState.SEATED or seat.holder is not holder:
                return []
            self._roster.check(seat, record, self._log.room_seq)
            is_hushing = self._rules.is_hushing or seat.refused
            if is_hushing and (why := self._hush(seat, record, now, at_ms)):
                return self._withhold(seat, record, why, now, at_ms)
            if record.kind is Kind.MESSAGE and not record.to:
                self._append(Kind.MESSAGE, seat.number, record.body, now, at_ms)
                return []
            entry = Delivered(record.kind, seat.number, record.to, Seq(0), at_ms, record.body)
            match record.kind:
                case Kind.MESSAGE | Kind.SENDER_KEY:
                    self._log.append_mail(entry, now)
                    self._count_append()
                case Kind.CARD:
                    card = cards.decode(record.body, self.room_id)
                    if not cards.may_replace(seat.card, card):
                        raise ProtocolError("a card that is not the member's")
                    self._log_card(seat, card, now, at_ms)
                case Kind.LEAVE:
                    self._leave(seat, Reason.LEFT, now, at_ms)
                    seat.left_at = self._log.room_seq
                case _:
                    raise ProtocolError(f"{record.kind.name} from a member")
        return []

    def is_held_by(self, seat: Seat, holder: object) -> bool:
        """Tell whether a connection is in charge of a member that is here."""
        with self._lock:
            return seat.state is SeatState.SEATED and seat.holder is holder

    def leave(self, seat: Seat, reason: Reason, now: float, at_ms: int, why: str = "") -> bool:
        """Log the LEAVE of a member; False if it has left, or its own JOIN is not done.

        One that is not wanted is told why by its loop, which ends it.
        """
        with self._lock:
            if seat.state not in (SeatState.SEATED, SeatState.AWAY):
                return False
            if reason is Reason.REMOVED:
                seat.why, seat.holder = why, None
            self._leave(seat, reason, now, at_ms)
            return True

    @property
    def seats(self) -> list[Seat]:
        """Every member, lost ones included."""
        with self._lock:
            return list(self._roster.seats.values())

    def _hush(self, seat: Seat, record: Sent, now: float, at_ms: int) -> str:
        """Return why what a member says is refused, or ""; if not, it has spoken."""
        if record.kind not in (Kind.MESSAGE, Kind.SENDER_KEY):
            return ""
        rules, identity = self._rules, seat.card.identity
        mute = rules.muted.get(identity)
        if mute is not None and at_ms < mute.until_ms:
            return f"You are muted{until(mute.until_ms)}."
        if record.kind is Kind.SENDER_KEY:
            return ""
        if seat.refused.get(record.to) == records.chain_field(record.body):
            # Its echo would pass for that of the other, if the REFUSAL is lost; others see a gap.
            return "What came before it was refused."
        slow_s = rules.slow_s.get(self.name, 0)
        if not slow_s or record.to:
            return ""
        wait_s = self._spoke_s.get(identity, -math.inf) + slow_s - now
        if wait_s > 0:
            return f"The room is slow, one message in {slow_s} s. Wait {math.ceil(wait_s)} s."
        if len(self._spoke_s) >= SPOKE_KEPT:
            self._spoke_s = {who: at for who, at in self._spoke_s.items() if now < at + slow_s}
        self._spoke_s[identity] = now
        return ""

    def _withhold(
        self, seat: Seat, record: Sent, why: str, now: float, at_ms: int
    ) -> list[Delivered]:
        """Let a message, or a key, of whoever is not heard reach nobody; nor what needs it."""
        is_key = record.kind is Kind.SENDER_KEY
        to = records.RELAY if is_key and records.is_room_key(record.body) else record.to
        if not to or to in self._roster.seats:
            seat.refused[to] = records.chain_field(record.body)
        if not is_key:
            return [records.refusal(record, why)]
        # It is echoed like one to somebody who has left: a REFUSAL is for what a person said.
        entry = Delivered(record.kind, seat.number, record.to, Seq(0), at_ms, record.body)
        self._log.append_mail(entry, now, is_delivered=False)
        self._count_append()
        return []

    def dropped(self, seat: Seat, holder: object, now: float) -> float | None:
        """Note that a connection ended.

        Returns:
            When the seat expires; None if it is not held: gone, or another connection is in charge.
        """
        with self._lock:
            if seat.holder is not holder:
                return None
            seat.holder = None
            if seat.state is SeatState.GONE:
                self._log.close_mail(seat.number)
                return None
            seat.step(SeatStep.DROPPED)
            seat.expires_s = now + self._grace_s
            return seat.expires_s

    def watch(self, seat: Seat) -> bool:
        """Take charge of seeing that a seat expires; False if somebody has."""
        with self._lock:
            is_new = not seat.is_watched
            seat.is_watched = True
            return is_new

    def still_watched(self, seat: Seat) -> float | None:
        """Return when to look at a watched seat again; None if it needs no watching now."""
        with self._lock:
            seat.is_watched = seat.state is SeatState.AWAY
            return seat.expires_s if seat.is_watched else None

    def expire(self, seat: Seat, now: float, at_ms: int) -> bool:
        """Log the LEAVE (lost) of a seat whose GRACE has passed, and tell whether it was so."""
        with self._lock:
            if seat.state is not SeatState.AWAY or now < seat.expires_s:
                return False
            self._leave(seat, Reason.LOST, now, at_ms)
            return True

    def read(self, seat: Seat, holder: object) -> bytes:
        """Return what is ready, at most one frame of it; nothing once another is in charge.

        Raises:
            Refused: 408 if the connection is too far behind.
        """
        with self._lock:
            if seat.holder is not holder:
                return b""
            cursor = seat.cursor
            is_missed = cursor.room < seat.missed[0] or cursor.mail < seat.missed[1]
            batch = self._log.read(seat.number, cursor, MAX_PLAINTEXT_BYTES)
            if is_missed or not batch:
                cursor.oldest_s = math.inf
            return batch

    def rest(self) -> None:
        """Note that all who read in this turn of a loop have done so."""
        with self._lock:
            self._log.rest()

    def check_lag(self, seat: Seat, now: float) -> None:
        """Check a connection that does not take what it is sent; what it had missed is apart.

        Raises:
            Refused: 408 if its queue is too large or too old.
        """
        with self._lock:
            cursor, (room, mail) = seat.cursor, seat.missed
            ahead = Cursor(max(cursor.room, room), max(cursor.mail, mail))
            lag_bytes = self._log.lag_bytes(seat.number, ahead)
            if lag_bytes > OUTBOUND_BYTES or now > cursor.oldest_s + OUTBOUND_S:
                raise Refused(408, "reading too slowly")

    def _append(self, kind: Kind, sender: MemberId, body: bytes, now: float, at_ms: int) -> bytes:
        """Log a record, and return it as the log keeps it, after its length."""
        seq = Seq(self._log.room_seq + 1)
        frame = records.framed_delivered(kind, sender, records.RELAY, seq, at_ms, body)
        h = self._transcript.add(records.record_in(frame))
        self._log.append(frame, h, now)
        self._count_append()
        return frame

    def _count_append(self) -> None:
        self._appends += 1
        if not self._appends % PRUNE_EVERY:
            seats = self._roster.seats.values()
            self._log.prune({seat.number: seat.cursor for seat in seats if seat.holder})

    def _log_card(self, seat: Seat, card: Card, now: float, at_ms: int) -> None:
        self._transcript.join(seat.number, card.hash)
        self._log.keep_card(seat.number, card.encoded)
        frame = self._append(Kind.CARD, seat.number, card.encoded, now, at_ms)
        seat.card = card._replace(kept=frame)

    def _leave(self, seat: Seat, reason: Reason, now: float, at_ms: int) -> None:
        seat.step(SeatStep.LEFT)
        seat.reason = reason
        self._roster.remove(seat)
        self._transcript.leave(seat.number)
        self._log.drop_card(seat.number)
        self._append(Kind.LEAVE, seat.number, bytes([reason]), now, at_ms)
        if seat.holder is None:
            self._log.close_mail(seat.number)
