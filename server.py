# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets>=17", "cryptography>=48"]
# ///
"""The relay: gate, rooms, loops, console, command line.

It orders rooms it cannot read. Run `python server.py --password X` and give the KEY it prints to
those who shall join. What travels is in common/PROTOCOL.md; where each line lives, in
common/DESIGN.md.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import ipaddress
import itertools
import json
import logging
import logging.handlers
import math
import os
import queue
import secrets
import selectors
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from io import TextIOWrapper
from pathlib import Path
from typing import Final, NamedTuple, assert_never

try:
    from common import config, files, names, title
    from common.crypto import card as cards
    from common.crypto import ticket
    from common.crypto.identity import RelayKey, fingerprint, load_relay_key
    from common.crypto.transcript import Transcript
    from common.errors import (
        FileError,
        LocalProtocolError,
        ProtocolError,
        Refused,
        TermchatError,
        Unauthentic,
        UsageError,
    )
    from common.log.memory import Cursor, Log, MemoryLog
    from common.log.sqlite import Store, StoredLog, StoredRoom
    from common.term import text
    from common.wire import orders, records
    from common.wire.link import (
        HANDSHAKE_S,
        Closed,
        ServerLink,
        State,
        Upgrade,
    )
    from common.wire.orders import FORMS, Order, Word
    from common.wire.pipe import Pipe
    from common.wire.records import (
        MAX_PLAINTEXT_BYTES,
        Delivered,
        Hello,
        Join,
        Kind,
        MemberId,
        Reason,
        Sent,
        Seq,
    )
except KeyboardInterrupt:
    raise SystemExit(130) from None
except ImportError as problem:
    _wanted = Path(__file__).with_name("requirements.txt")
    sys.stderr.write(f"{problem}. Run: {sys.executable} -m pip install -r {_wanted}\n")
    sys.exit(2)

log = logging.getLogger("termchat.server")

SEEN_WINDOW: Final = 4_096
THROTTLE_FAILURES: Final = 10
THROTTLE_S: Final = 60.0
THROTTLED_NETWORKS: Final = 65_536
"""Networks whose failures are remembered; the oldest go first, so memory is bounded."""
REPLAYS_KEPT: Final = 65_536
MAX_PENDING: Final = 64
INBOUND_BURST_S: Final = 2.0
"""How many seconds' worth of bytes a connection may send at once."""
FRAME_COST_BYTES: Final = 1_024
"""What a WebSocket frame costs its sender at least: an empty one, or a ping, makes work too."""
OUTBOUND_BYTES: Final = 8 * 1024 * 1024
OUTBOUND_S: Final = 30.0
SURELY_ALL_BYTES: Final = (
    MAX_PLAINTEXT_BYTES - 2 - records.DELIVERED_HEAD_BYTES - records.MAX_MESSAGE_BYTES
)
"""A frame with less in it had room for any record: it was all there was."""
UNSENT_BYTES: Final = 256 * 1024
"""Answers (pongs) waiting for one connection; above it we stop reading what would make more."""
MAX_MISSED: Final = 65_535
"""What WELCOME can count; a slow reader can make the log retain more than PROTOCOL.md 9 asks."""
PRUNE_EVERY: Final = 1_024
BACKLOG_S: Final = 0.2
"""How long members are not read when the disk does not keep up."""
RETRY_DISK_S: Final = 2.0
LATE_S: Final = 1.0
"""A commit that took longer made its records late; their readers are not the slow ones."""
SPARE_FILES: Final = 64
"""Descriptors for what is no member: listeners, selectors, the stored log, strangers."""
ACCEPTS_PER_TURN: Final = 16
STRANGERS_PER_TURN: Final = 4
"""Handshakes, which cost the most of all we do: members wait for no more of them than these."""
READS_PER_TURN: Final = 8
"""How often we look for more to read before we send what came in."""
ACCEPT_PAUSE_S: Final = 0.5
ARRIVALS_S: Final = 0.05
"""How often arrivals are told at most: where hundreds come at once, each of them alone would cost a
frame to every member."""
DOZE_S: Final = 1.0
"""How long a connection has nothing to say or hear before it is made small."""
CONSOLE_ROWS: Final = 1_000
STOP_S: Final = 2.0
MAX_RULES: Final = 10_000
"""Bans, mutes and operators, of each kind: their file stays small."""
DEPARTED_KEPT: Final = 1_000
"""Who has left and can still be banned by name; the oldest are forgotten first."""
SPOKE_KEPT: Final = 4_096
MAX_ORDERS: Final = 1_000
ROWS_TOLD: Final = 50
ROW_CHARS: Final = 200
"""What a row of a list holds: a NOTICE of it is at most 1 024 bytes, whatever the script."""
LOG_BYTES: Final = 10 * 1024 * 1024
LOGS_KEPT: Final = 5
LOG_WAITING: Final = 10_000
FOREVER_MS: Final = 253_402_300_799_000
"""The last second that a date can name: no end."""
UNIX: Final = "unix:"

_COUNTED: Final = (Kind.MESSAGE, Kind.CARD, Kind.COMMAND)
"""What the rate of messages counts."""

REFUSALS: Final = {
    400: "protocol error",
    401: "wrong KEY or password",
    403: "removed by the operator",
    404: "no such room",
    409: "that name is in use",
    423: "the room is locked",
    426: "not a termchat.v1 client",
    429: "throttled",
    503: "full or shutting down",
}
NO_OPERATOR: Final = f"Only an operator can do that. {orders.UNCHANGED}"


# -------------------------------------------------------------------------------------------- Rules


@dataclass(slots=True)
class Ban:
    """An identity that is kept out.

    Attributes:
        identity: 32 bytes; None as long as nobody with the fingerprint has knocked.
        name: of whom it was, or "".
        until_ms: by the wall clock.
        by: who banned it.
    """

    identity: bytes | None
    fingerprint: str
    name: str
    until_ms: int
    by: str
    reason: str


class Mute(NamedTuple):
    """An identity that is not heard."""

    name: str
    until_ms: int


class Rules:
    """What operators have decided; gate and rooms read it, `Operators` changes it.

    Attributes:
        removed: bans, by identity.
        sought: bans, by fingerprint, of identities that nobody has met.
        operators: names, or "", by fingerprint.
        locked: wire names of rooms.
        slow_s: seconds between two messages of a member, by wire name of the room.
        on_met: called, from any thread, when a ban has moved from `sought` to `removed`.
        is_hushing: whether anybody is muted or any room slow: all that a message costs if not.
    """

    __slots__ = (
        "is_hushing",
        "locked",
        "motd",
        "muted",
        "on_met",
        "operators",
        "removed",
        "slow_s",
        "sought",
    )

    def __init__(self) -> None:
        self.is_hushing = False
        self.removed: dict[bytes, Ban] = {}
        self.sought: dict[str, Ban] = {}
        self.muted: dict[bytes, Mute] = {}
        self.operators: dict[str, str] = {}
        self.locked: set[str] = set()
        self.slow_s: dict[str, int] = {}
        self.motd = ""
        self.on_met: Callable[[], None] = lambda: None

    @property
    def bans(self) -> list[Ban]:
        """Every ban."""
        return [*self.removed.values(), *self.sought.values()]

    def is_operator(self, identity: bytes, username: str) -> bool:
        """Whether an identity was named an operator, under this name."""
        return bool(self.operators) and fingerprint(identity, username) in self.operators

    def is_removed(self, hello: Hello) -> bool:
        """Whether an identity may not come in."""
        if hello.identity in self.removed:
            return True
        if not self.sought:
            return False
        ban = self.sought.pop(fingerprint(hello.identity, hello.username), None)
        if ban is not None:
            # A fingerprint covers a name, which is soon changed: from now on it is the identity.
            ban.identity = hello.identity
            self.removed[hello.identity] = ban
            self.on_met()
        return ban is not None

    def ban(self, ban: Ban) -> None:
        """Add a ban, in the place of an older one."""
        self.lift([ban])
        if ban.identity is None:
            self.sought[ban.fingerprint] = ban
        else:
            self.removed[ban.identity] = ban

    def lift(self, bans: Iterable[Ban]) -> None:
        """End bans."""
        for ban in bans:
            self.sought.pop(ban.fingerprint, None)
            if ban.identity is not None:
                self.removed.pop(ban.identity, None)


class Book:
    """The file in which rules outlive the relay."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, rules: Rules) -> None:
        """Read the rules of the relay before us, if there was one.

        Raises:
            FileError: if the file cannot be used.
        """
        data = files.read_private(self._path)
        if data is None:
            return
        try:
            self._read(json.loads(data), rules)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise FileError(
                f"{self._path} is damaged. Restore it, or remove it: then no ban holds."
            ) from None

    def _read(self, found: dict[str, list[list[object]]], rules: Rules) -> None:
        if _int(found["version"]) != 1:
            raise ValueError
        for identity, digits, name, until_ms, by, reason in found["bans"]:
            who = _hex(identity) if identity else None
            rules.ban(Ban(who, _str(digits), _str(name), _int(until_ms), _str(by), _str(reason)))
        for identity, name, until_ms in found["muted"]:
            rules.muted[_hex(identity)] = Mute(_str(name), _int(until_ms))
        for digits, name in found["operators"]:
            rules.operators[_str(digits)] = _str(name)
        for room, is_locked, slow_s in found["rooms"]:
            if is_locked:
                rules.locked.add(_str(room))
            if _int(slow_s):
                rules.slow_s[_str(room)] = _int(slow_s)
        rules.motd = _str(found["motd"])

    def save(self, rules: Rules, unkept: Iterable[str]) -> None:
        """Write the rules; operators `unkept` are named at each start.

        Raises:
            FileError: if the file cannot be written; it is unchanged then.
        """
        rooms = sorted(rules.locked | rules.slow_s.keys())
        content = {
            "version": 1,
            "bans": [
                (b.identity and b.identity.hex(), b.fingerprint, b.name, b.until_ms, b.by, b.reason)
                for b in rules.bans
            ],
            "muted": [[who.hex(), *mute] for who, mute in rules.muted.items()],
            "operators": [[d, name] for d, name in rules.operators.items() if d not in unkept],
            "rooms": [[room, room in rules.locked, rules.slow_s.get(room, 0)] for room in rooms],
            "motd": rules.motd,
        }
        # As text, not escaped: as many rules as there may be stay within what is read again.
        shown = json.dumps(content, indent=1, ensure_ascii=False)
        files.replace_private(self._path, shown.encode())


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _int(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= FOREVER_MS:
        raise TypeError
    return value


def _hex(value: object) -> bytes:
    identity = bytes.fromhex(_str(value))
    if len(identity) != records.IDENTITY_BYTES:
        raise ValueError
    return identity


# --------------------------------------------------------------------------------------------- Gate


class Bucket:
    """A token bucket that may go into debt: what was read is done, and the next read waits.

    It is one moment, at which the bucket will be full again (as in ITU-T I.371's GCRA).
    """

    __slots__ = ("_burst_s", "_full_s", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst_s, self._full_s = rate, burst / rate, now

    def take(self, amount: float, now: float) -> None:
        """Spend."""
        self._full_s = (self._full_s if self._full_s > now else now) + amount / self._rate

    def ready_s(self) -> float:
        """Return when the debt is paid, on the clock of `now`; if there is none, it was before."""
        return self._full_s - self._burst_s


@dataclass(slots=True)
class Held:
    """A name, and who holds it."""

    session: bytes
    identity: bytes
    username: str
    room: str
    is_connected: bool = True

    def is_by(self, hello: Hello) -> bool:
        """Whether this HELLO comes from the holder, in the same room."""
        return (self.session, self.identity, self.room) == (
            hello.session,
            hello.identity,
            hello.room,
        )


class Gate:
    """Who may come in; its lock guards the held names and the rooms they are in."""

    def __init__(
        self,
        *,
        room_size: int,
        rooms: int,
        make_room: Callable[[str], Room],
        on_empty: Callable[[Room], None],
        rules: Rules,
        also_judge: Callable[[Hello], int | None] = lambda _: None,
    ) -> None:
        self._lock = threading.Lock()
        self._rules = rules
        self._room_size = room_size
        self._max_rooms = rooms
        self._make_room = make_room
        self._on_empty = on_empty
        self._also_judge = also_judge
        self._held: dict[str, Held] = {}
        self._sessions: set[bytes] = set()
        self._members: Counter[str] = Counter()
        self._rooms: dict[str, Room] = {}
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._ephemerals: OrderedDict[bytes, None] = OrderedDict()
        self._departed: OrderedDict[str, Held] = OrderedDict()
        self._pending = 0
        self.is_closing = False

    def knock(self, network: str, *, offers_us: bool, now: float) -> int | None:
        """Judge a request by its outside: 426, 429 or 503, or None to read on."""
        with self._lock:
            if not offers_us:
                return 426
            failures = self._failures.get(network)
            if failures is not None:
                while failures and failures[0] <= now - THROTTLE_S:
                    failures.pop(0)
                if len(failures) >= THROTTLE_FAILURES:
                    return 429
            return 503 if self._pending >= MAX_PENDING or self.is_closing else None

    def failed(self, network: str, now: float) -> None:
        """Note an answer of 401."""
        with self._lock:
            failures = self._failures.setdefault(network, [])
            failures.append(now)
            del failures[:-THROTTLE_FAILURES]
            self._failures.move_to_end(network)
            if len(self._failures) > THROTTLED_NETWORKS:
                self._failures.popitem(last=False)

    def is_replay(self, ephemeral: bytes) -> bool:
        """Tell whether a message 1 that decrypted had this key before; remember it."""
        with self._lock:
            if ephemeral in self._ephemerals:
                return True
            self._ephemerals[ephemeral] = None
            if len(self._ephemerals) > REPLAYS_KEPT:
                self._ephemerals.popitem(last=False)
            return False

    def admit(self, hello: Hello) -> int | None:
        """Judge a HELLO: 403 to 503, or None for a 101, which is pending until `settled`."""
        with self._lock:
            status = self._judge(hello)
            if status is None:
                self._pending += 1
            return status

    def settled(self) -> None:
        """Note that a connection with a 101 has joined, or ended."""
        with self._lock:
            self._pending -= 1

    def _judge(self, hello: Hello) -> int | None:
        held = self._held.get(names.key(hello.username))
        resumes = held is not None and held.is_by(hello)
        replaces = held is not None and held.identity == hello.identity and not held.is_connected
        if self._rules.is_removed(hello):
            return 403
        if hello.room and not self._max_rooms:
            return 404
        if hello.room in self._rules.locked and not resumes and not self._is_operator(hello):
            return 423
        status = self._also_judge(hello)
        if status is not None:
            return status
        if held is not None and not resumes and not replaces:
            return 409
        if resumes or replaces:
            return None
        is_new = hello.room not in self._rooms
        if self._members[hello.room] >= self._room_size or (
            is_new and len(self._rooms) >= max(1, self._max_rooms)
        ):
            return 503
        return None

    def _is_operator(self, hello: Hello) -> bool:
        # One who was lost must be able to come back and unlock. What HELLO claims, JOIN proves.
        return self._rules.is_operator(hello.identity, hello.username)

    def take(self, hello: Hello, *, is_fresh: bool) -> tuple[Room, tuple[Room, bytes] | None]:
        """Give a name to a valid JOIN.

        Returns:
            The room, and, if a disconnected session of the identity held the name, its room and
            session: it is replaced, and must be made to leave first.

        Raises:
            Refused: the checks from 403 on apply again; 410 if it would resume what is over.
            ProtocolError: if a fresh JOIN comes from a session that is a member.
        """
        with self._lock:
            status = self._judge(hello)
            if status is not None:
                raise Refused(status, REFUSALS[status])
            key = names.key(hello.username)
            held = self._held.get(key)
            if not is_fresh:
                if held is None or not held.is_by(hello):
                    raise Refused(410, "this session is over")
                return self._rooms[hello.room], None
            if hello.session in self._sessions:
                raise ProtocolError("the session is a member already")
            self._sessions.add(hello.session)
            self._members[hello.room] += 1
            if hello.room not in self._rooms:
                self._rooms[hello.room] = self._make_room(hello.room)
            replaced = None
            if held is not None:
                # Only now, or a room would end with the one member that is replaced in it.
                replaced = (self._rooms[held.room], held.session)
                self._forget(key, held)
            self._held[key] = Held(hello.session, hello.identity, hello.username, hello.room)
            return self._rooms[hello.room], replaced

    def restore(self, room: Room, seats: Iterable[Seat]) -> None:
        """Hold the names of a room that outlived its relay."""
        with self._lock:
            self._rooms[room.name] = room
            for seat in seats:
                card = seat.card
                held = Held(card.session, card.identity, card.username, room.name, False)
                self._held[names.key(card.username)] = held
                self._sessions.add(card.session)
                self._members[room.name] += 1

    def note(self, seat: Seat) -> None:
        """Note, after any change, whether a name's holder is connected; else it is replaceable.

        That is read here, under the lock, so that whichever loop comes last is right.
        """
        with self._lock:
            held = self._held.get(names.key(seat.username))
            if held is not None and held.session == seat.session:
                held.is_connected = seat.holder is not None

    def release(self, seat: Seat) -> None:
        """Free the name of a member that has left; an empty room is forgotten."""
        with self._lock:
            key = names.key(seat.username)
            held = self._held.get(key)
            if held is not None and held.session == seat.session:
                self._forget(key, held)

    def find(self, name: str) -> Held | None:
        """Return who holds a name."""
        with self._lock:
            return self._held.get(names.key(name))

    def known(self) -> list[Held]:
        """Return who holds a name, and then who did, the latest first."""
        with self._lock:
            return [*self._held.values(), *reversed(self._departed.values())]

    def names_of(self, identity: bytes) -> list[Held]:
        """Return each name that an identity holds."""
        with self._lock:
            return [held for held in self._held.values() if held.identity == identity]

    def room(self, name: str) -> Room | None:
        """Return the room of this wire name, if anybody is in it."""
        with self._lock:
            return self._rooms.get(name)

    @property
    def rooms(self) -> list[Room]:
        """Every room."""
        with self._lock:
            return list(self._rooms.values())

    def _forget(self, key: str, held: Held) -> None:
        del self._held[key]
        self._departed[key] = held
        self._departed.move_to_end(key)
        if len(self._departed) > DEPARTED_KEPT:
            self._departed.popitem(last=False)
        self._sessions.discard(held.session)
        self._members[held.room] -= 1
        if not self._members[held.room]:
            del self._members[held.room]
            self._on_empty(self._rooms.pop(held.room))


# ------------------------------------------------------------------------------------------- Roster


class SeatState(Enum):
    """Where a member stands; until its JOIN is accepted it has no seat."""

    SEATED = auto()
    AWAY = auto()
    GONE = auto()


class SeatStep(Enum):
    """What happens to a member."""

    DROPPED = auto()  # its connection ended without a LEAVE
    RESUMED = auto()  # a JOIN with its session and log
    LEFT = auto()  # a LEAVE is logged, for whatever reason


# A member is SEATED while it has a connection and AWAY, its name held, for GRACE after it lost it.
# GONE is final: a LEAVE is in the log, and its number is never used again. A resume may find it
# SEATED still, when the relay has not noticed yet that the older connection is dead: the newer one
# wins.
SEAT_TRANSITIONS: Final[dict[tuple[SeatState, SeatStep], SeatState]] = {
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
        holder: the connection in charge, opaque here; None while AWAY.
        cursor: how far that connection has been given the log.
        missed: the last seqs that existed when it resumed; what is up to them is apart from the
            outbound limit.
        is_watched: whether a loop will see whether its GRACE has passed.
        left_at: seq of its own LEAVE, if it asked for one: the last record it is given.
        why: what it is told if it was removed.
        refused: the chain of which a message was refused on this connection, by whom it went to.
    """

    number: MemberId
    card: cards.Card
    holder: object | None
    cursor: Cursor
    missed: tuple[Seq, Seq] = (Seq(0), Seq(0))
    state: SeatState = SeatState.SEATED
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
        self._by_session: dict[bytes, Seat] = {}
        self.last = 0

    def add(self, card: cards.Card, holder: object, cursor: Cursor, number: int = 0) -> Seat:
        """Seat a new member under a number never used before, or one that was stored under its."""
        number = number or self.last + 1
        self.last = max(self.last, number)
        seat = Seat(MemberId(number), card, holder, cursor)
        self.seats[seat.number] = self._by_session[card.session] = seat
        return seat

    def remove(self, seat: Seat) -> None:
        """Forget a member that has left."""
        del self.seats[seat.number], self._by_session[seat.session]

    def find(self, session: bytes) -> Seat | None:
        """Return the present member of this session."""
        return self._by_session.get(session)

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


# --------------------------------------------------------------------------------------------- Room


class Room:
    """One ordered log and those who share it; its lock is held for one append or read."""

    def __init__(
        self,
        name: str,
        room_id: bytes,
        room_log: Log,
        grace_s: float,
        rules: Rules | None = None,
    ) -> None:
        self.name = name
        self.on_command: Callable[[Seat, str], None] = lambda *_: None
        """Hears COMMANDs, which are answered later; called under our lock."""
        self._rules = rules or Rules()
        self._spoke_s: dict[bytes, float] = {}
        """When identities last spoke while the room was slow."""
        self.room_id = room_id
        self._lock = threading.Lock()
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
            seat = self._roster.add(card, None, Cursor(Seq(0), Seq(0)), number)
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

    def join(
        self, holder: object, card: cards.Card, now: float, at_ms: int
    ) -> tuple[Seat, list[bytes]]:
        """Seat a fresh member and log its card.

        Returns:
            The seat, and the WELCOME and MEMBERs that it is sent before anything else, framed.
        """
        with self._lock:
            seqs = Cursor(self._log.room_seq, Seq(0))
            others = list(self._roster.seats.values())
            seat = self._roster.add(card, holder, seqs)
            self._log.open_mail(seat.number)
            welcome = self._welcome(seat, is_resumed=False, count=len(others))
            listed = [records.framed_member(other.number, other.card.kept) for other in others]
            self._log_card(seat, card, now, at_ms)
            return seat, [welcome, *listed]

    def resume(
        self, holder: object, card: cards.Card, join: Join, now: float, at_ms: int
    ) -> tuple[Seat, list[bytes]]:
        """Give a seat back to its session; whoever holds an older connection drops it.

        Raises:
            Refused: 410 if the log is another, the seat is gone, or too much was missed.
            ProtocolError: if the card is not the member's.
        """
        with self._lock:
            seat = self._roster.find(card.session)
            if (
                seat is None
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
            seat.refused.clear()
            missed_mail = count - (self._log.room_seq - join.room_seq)
            seat.missed = (self._log.room_seq, Seq(join.mail_seq + missed_mail))
            welcome = self._welcome(seat, is_resumed=True, count=count, h=h)
            if card.hash != seat.card.hash:
                self._log_card(seat, card, now, at_ms)
            return seat, [welcome]

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
        """Take a record from a seat: reply to it, pass it to one seat, or append it.

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
                seat.refused[record.to] = records.message_chain(record.body)
                return [records.refusal(record, why)]
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
                case Kind.COMMAND:
                    self.on_command(seat, records.notice_text(record.body))
                case _:
                    raise ProtocolError(f"{record.kind.name} from a member")
        return []

    def leave(self, session: bytes, reason: Reason, now: float, at_ms: int) -> Seat | None:
        """Log the LEAVE of a member, and return its former seat."""
        with self._lock:
            seat = self._roster.find(session)
            if seat is not None:
                self._leave(seat, reason, now, at_ms)
            return seat

    def remove(self, session: bytes, why: str, now: float, at_ms: int) -> Seat | None:
        """Log the LEAVE of a member that is not wanted; its loop tells it why, and ends it."""
        with self._lock:
            seat = self._roster.find(session)
            if seat is not None:
                seat.why, seat.holder = why, None
                self._leave(seat, Reason.REMOVED, now, at_ms)
            return seat

    @property
    def seats(self) -> list[Seat]:
        """Every member, lost ones included."""
        with self._lock:
            return list(self._roster.seats.values())

    def _hush(self, seat: Seat, record: Sent, now: float, at_ms: int) -> str:
        """Return why what a member says is refused, or ""; if not, it has spoken."""
        if record.kind is not Kind.MESSAGE:
            return ""
        rules, identity = self._rules, seat.card.identity
        mute = rules.muted.get(identity)
        if mute is not None and at_ms < mute.until_ms:
            return f"You are muted{_until(mute.until_ms)}."
        if seat.refused.get(record.to) == records.message_chain(record.body):
            # Its echo would pass for that of the other, if the REFUSAL is lost; others see a gap.
            return "A line before it was refused."
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

    def _log_card(self, seat: Seat, card: cards.Card, now: float, at_ms: int) -> None:
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


# --------------------------------------------------------------------------------------------- Loop


def _take(frames: list[bytes]) -> bytes:
    """Remove what fits into one frame, and return it joined."""
    ends = itertools.accumulate(map(len, frames))
    count = sum(1 for _ in itertools.takewhile(MAX_PLAINTEXT_BYTES.__ge__, ends))
    batch = b"".join(frames[:count])
    del frames[:count]
    return batch


class Told(NamedTuple):
    """Words of the relay: to everybody, to a room, or to one member."""

    sentence: str
    room: Room | None = None
    seat: Seat | None = None


class Conn:
    """One connection; its loop alone touches it."""

    __slots__ = (
        "address",
        "hello",
        "in_bytes",
        "in_messages",
        "is_pending",
        "join_by_s",
        "mask",
        "network",
        "pipe",
        "replies",
        "replies_at",
        "room",
        "seat",
        "timer_s",
        "wait_s",
    )

    def __init__(
        self,
        pipe: Pipe[ServerLink],
        address: str,
        network: str,
        now: float,
        limits: config.ServerConfig,
    ) -> None:
        self.pipe = pipe
        self.address = address
        self.network = network
        self.hello: Hello | None = None
        self.room: Room | None = None
        self.seat: Seat | None = None
        self.is_pending = False
        self.join_by_s: float | None = None
        # The answer to JOIN, and the position of the log that it tells of.
        self.replies: list[bytes] = []
        self.replies_at = 0
        rate = limits.inbound_bytes_s
        self.in_bytes = Bucket(rate, rate * INBOUND_BURST_S, now)
        self.in_messages = Bucket(limits.rate, limits.burst, now)
        self.wait_s: float | None = None  # not read before then
        self.timer_s: float | None = None  # of the entry in the loop's heap
        self.mask = selectors.EVENT_READ

    def deadline(self) -> float | None:
        """Return when this connection next wants its loop."""
        stalled = None
        if self.seat is not None and self.pipe.unsent:
            stalled = self.seat.cursor.oldest_s + OUTBOUND_S + 0.001
        first = self.pipe.link.deadline()
        for at in (self.join_by_s, self.wait_s, stalled):
            if at is not None and (first is None or at < first):
                first = at
        return first


class Awake:
    """Who has something to say or hear; owned by a loop, which lets the others doze.

    Two sets, who stirred in this stretch of time and who in the one before, so that a message costs
    no timer.
    """

    __slots__ = ("_before", "_due_s", "_stirred")

    def __init__(self) -> None:
        self._stirred: set[Conn] = set()
        self._before: set[Conn] = set()
        self._due_s: float | None = None

    def stir(self, conns: Iterable[Conn], now: float) -> None:
        """Note who is about to be pumped."""
        self._stirred.update(conns)
        if self._due_s is None and self._stirred:
            self._due_s = now + DOZE_S

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted."""
        return self._due_s

    def tick(self, now: float) -> set[Conn]:
        """Return who has not stirred for DOZE_S, or up to twice that."""
        if self._due_s is None or now < self._due_s:
            return set()
        dozing = self._before - self._stirred
        self._before, self._stirred = self._stirred, set()
        self._due_s = now + DOZE_S if self._before else None
        return dozing


class Loop:
    """One thread, and the connections that are its own from first byte to last."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._selector = selectors.DefaultSelector()
        self._conns: set[Conn] = set()
        self._rooms: dict[Room, set[Conn]] = {}
        self._dirty: dict[Conn, None] = {}
        self._awake = Awake()
        self._timers: list[tuple[float, int, Conn]] = []
        self._graces: list[tuple[float, int, Room, Seat]] = []
        self._order = itertools.count()
        self._grown: set[Room] = set()
        self._entered: set[Room] = set()
        """Rooms that somebody came into; they are told of it at `_tell_at_s`, or have been."""
        self._tell_at_s = 0.0
        self._is_woken = False
        self._notices: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._has_turned = True
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._accept_at_s: float | None = None
        self._stop_by_s: float | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._guard, name="loop", daemon=True)
        for listener in server.listeners:
            self._selector.register(listener, selectors.EVENT_READ)

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many there are, strangers included."""
        return len(self._conns)

    def expect(self, room: Room, seats: list[Seat]) -> None:
        """Watch the GRACE of members that were away before we started."""
        for seat in filter(room.watch, seats):
            heapq.heappush(self._graces, (seat.expires_s, next(self._order), room, seat))

    def tell(self, told: Told) -> None:
        """Tell those of its members that are here; called from any thread."""
        self._notices.put(told)
        self._wake()

    def has_turned(self) -> bool:
        """Tell whether it went round since the last call, and send it round again."""
        had, self._has_turned = self._has_turned, False
        self._wake()
        return had

    def stop(self) -> None:
        """Tell every connection, close, and end the thread; called from any thread."""
        self._is_stopping = True
        self._wake()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread."""
        self._thread.join(timeout_s)

    def close(self) -> None:
        """Let go of what others wake us by, once there are none."""
        self._wake_in.close()
        self._wake_out.close()

    def wake(self, room: Room, *, can_wait: bool = False) -> None:
        """Note that a room grew, perhaps by no more than an arrival; called from any thread."""
        (self._entered if can_wait else self._grown).add(room)
        # Waking twice is waking once: the loop clears the flag before it drains the set.
        if not self._is_woken and threading.get_ident() != self._thread.ident:
            self._wake()

    def _wake(self) -> None:
        self._is_woken = True
        with contextlib.suppress(BlockingIOError):
            self._wake_in.send(b"\0")

    def _guard(self) -> None:
        try:
            self._run()
        except Exception:
            # The relay must not go on half dead: the main thread ends it.
            log.exception("loop failed")
            self._server.crashed()

    def _run(self) -> None:
        while True:
            self._read_all()
            self._is_woken = False
            self._has_turned = True
            now = time.monotonic()
            self._run_timers(now)
            self._notify_all()
            self._pump_all(now)
            if self._is_stopping and self._is_stopped(now):
                return

    def _read_all(self) -> None:
        """Wait for input and take it, with what comes meanwhile: a flush costs as much for less."""
        wait_s, strangers = self._timeout_s(), 0
        for _ in range(READS_PER_TURN):
            ready = self._selector.select(wait_s)
            for key, mask in ready:
                now = time.monotonic()
                if isinstance(key.data, Conn):
                    strangers += key.data.seat is None
                    # A handshake is dear: those past the limit are still ready in the next turn.
                    if key.data.seat is not None or strangers <= STRANGERS_PER_TURN:
                        self._on_conn(key.data, mask, now)
                elif key.fileobj is self._wake_out:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_out.recv(4096)
                else:
                    self._accept(key.fileobj, now)
            if not ready or not self._grown:
                return
            wait_s = 0.0

    def _timeout_s(self) -> float | None:
        times = [entries[0][0] for entries in (self._timers, self._graces) if entries]
        others = (self._accept_at_s, self._stop_by_s, self._awake.deadline())
        times += [at for at in others if at is not None]
        if self._entered:
            times.append(self._tell_at_s)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _is_stopped(self, now: float) -> bool:
        """Tell every connection once, then wait for the last to close, but not for ever."""
        if self._stop_by_s is None:
            self._stop_by_s = now + STOP_S
            for listener in self._server.listeners:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(listener)
            self._accept_at_s = None
            self._notify_all()
            self._notify(Told("The relay is shutting down."))
            self._dirty.update(dict.fromkeys(self._conns))
            self._pump_all(now)
            for conn in list(self._conns):
                self._end(conn, 503, "The relay is shutting down.", now)
            self._pump_all(now)
        if self._conns and now < self._stop_by_s:
            return False
        for conn in list(self._conns):
            self._remove(conn)
        self._selector.close()
        return True

    def _notify_all(self) -> None:
        while not self._notices.empty():
            self._notify(self._notices.get_nowait())

    def _notify(self, told: Told) -> None:
        for conn in self._conns if told.room is None else self._rooms.get(told.room, ()):
            is_meant = conn.seat is not None and told.seat in (None, conn.seat)
            if is_meant and conn.pipe.link.state is State.OPEN:
                conn.pipe.link.send(_notice(told.sentence))
                self._dirty[conn] = None

    # --- Accepting.

    def _accept(self, listener: object, now: float) -> None:
        if not isinstance(listener, socket.socket):
            raise LocalProtocolError("a selector key that is nothing of ours")
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as problem:
                if problem.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._server.row(f"Accepting failed: {problem.strerror}.")
                # Out of descriptors: the backlog waits, and those inside are served meanwhile.
                self._pause_accepting(now)
                return
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            address, network = _address(peer)
            conn = Conn(Pipe(sock, ServerLink(now)), address, network, now, self._server.settings)
            self._conns.add(conn)
            self._selector.register(sock, selectors.EVENT_READ, conn)
            self._dirty[conn] = None

    def _find_guest(self, conn: Conn, forwarded_for: str) -> None:
        """Look behind a proxy, if we were told to believe it."""
        server = self._server
        host = "unix" if conn.address == "unix" else conn.address.rpartition(":")[0].strip("[]")
        if not is_within(host, server.proxies):
            server.on_proxy(conn.address, host)
            return
        # Each proxy adds at the end whom it saw; what stands before is the guest's own invention.
        for claimed in reversed(forwarded_for.split(",")):
            try:
                ip = ipaddress.ip_address(claimed.strip().partition("%")[0])
            except ValueError:
                return
            conn.address, conn.network = str(ip), _network(ip)
            if not is_within(str(ip), server.proxies):
                return

    def _pause_accepting(self, now: float) -> None:
        self._accept_at_s = now + ACCEPT_PAUSE_S
        for listener in self._server.listeners:
            with contextlib.suppress(KeyError):
                self._selector.unregister(listener)

    # --- One message in.

    def _on_conn(self, conn: Conn, mask: int, now: float) -> None:
        self._dirty[conn] = None
        # The selector hears of a throttle only after the turn, in which we may look several times.
        if not mask & selectors.EVENT_READ or conn.wait_s is not None:
            return
        data = conn.pipe.read()
        if data is None:
            return
        link = conn.pipe.link
        frames = link.frames
        events = link.receive(data, now)
        cost = max(len(data), (link.frames - frames) * FRAME_COST_BYTES)
        conn.in_bytes.take(cost, now)
        was_in = conn.room
        try:
            self._on_events(conn, events, now)
        except Refused as refused:
            self._end(conn, refused.status, refused.text, now)
        except ProtocolError as problem:
            # Not to standard error, which may not be read, and would hold up the loop.
            what = text.clean(str(problem), multiline=False)
            self._server.row(f"[Protocol error] {conn.address}: {what}")
            log.info("protocol error: address=%s what=%s", conn.address, what)
            self._end(conn, 400, str(problem), now)
        except Exception:
            log.exception("internal error: address=%s", conn.address)
            self._end(conn, 503, "internal error", now)
        if was_in is not None and events:
            self._server.wake(was_in)
        self._throttle(conn, now)

    def _throttle(self, conn: Conn, now: float) -> None:
        ready_s = max(conn.in_bytes.ready_s(), conn.in_messages.ready_s())
        if self._server.is_backlogged and conn.seat is not None:
            ready_s = max(ready_s, now + BACKLOG_S)
        conn.wait_s = ready_s if ready_s > now else None

    def _on_events(self, conn: Conn, events: list[Upgrade | Sent | Closed], now: float) -> None:
        """Do what a connection says; the first that is not allowed raises, and ends it."""
        link, at_ms = conn.pipe.link, _at_ms()
        for event in events:
            match event:
                case Sent() if conn.room is not None and conn.seat is not None:
                    self._on_record(conn, conn.room, conn.seat, event, now, at_ms)
                case Sent() if link.state is State.OPEN:
                    self._on_join(conn, event, now)
                case Sent():
                    pass  # what a member said before its connection ended counts, but nobody joins
                case Upgrade():
                    self._on_upgrade(conn, event, now)
                case Closed():
                    self._on_closed(conn, event, now)

    def _on_upgrade(self, conn: Conn, upgrade: Upgrade, now: float) -> None:
        server, link = self._server, conn.pipe.link
        if upgrade.forwarded_for:
            self._find_guest(conn, upgrade.forwarded_for)
        status = server.gate.knock(conn.network, offers_us=upgrade.offers_us, now=now)
        if status is None:
            status = self._open(conn, now)
        if status is not None:
            link.refuse(status, now, retry_after_s=60 if status == 429 else 0)
            server.reject(conn.address, status)
        elif link.accept(now):
            conn.is_pending = True
            conn.join_by_s = now + HANDSHAKE_S
        else:
            server.gate.settled()
            server.reject(conn.address, 400)

    def _open(self, conn: Conn, now: float) -> int | None:
        """Open message 1, and return the status that refuses it."""
        server = self._server
        try:
            hello, ephemeral = conn.pipe.link.open(server.key, server.psk)
        except Unauthentic:
            server.gate.failed(conn.network, now)
            return 401
        except ProtocolError:
            return 400
        if server.gate.is_replay(ephemeral):
            server.gate.failed(conn.network, now)
            return 401
        conn.hello = hello
        return server.gate.admit(hello)

    def _on_record(
        self, conn: Conn, room: Room, seat: Seat, record: Sent, now: float, at_ms: int
    ) -> None:
        if record.kind in _COUNTED:
            conn.in_messages.take(1, now)
        for reply in room.receive(seat, conn, record, now, at_ms):
            if conn.pipe.link.state is State.OPEN:
                conn.pipe.link.send(reply)
        if seat.state is SeatState.GONE:
            self._server.gate.release(seat)

    def _on_join(self, conn: Conn, record: Sent, now: float) -> None:
        hello, link, at_ms = conn.hello, conn.pipe.link, _at_ms()
        if record.kind is not Kind.JOIN or hello is None:
            raise ProtocolError(f"{record.kind.name} before JOIN")
        join = Join.decode(record.body)
        card = cards.decode(join.card, self._server.room_id(hello.room))
        if (card.session, card.identity, card.username) != (
            hello.session,
            hello.identity,
            hello.username,
        ):
            raise ProtocolError("the card is not HELLO's")
        # Who it is, is kept as long as it stays, and once.
        hello = Hello(card.session, card.identity, hello.room, card.username)
        if not cards.is_proven(card, join.auth, link.handshake_hash):
            raise Refused(401, "identity not proven")
        if join.is_fresh and self._server.is_backlogged:
            raise Refused(503, "The log cannot be written.")
        room, replaced = self._server.gate.take(hello, is_fresh=join.is_fresh)
        if join.is_fresh:
            if replaced is not None:
                replaced[0].leave(replaced[1], Reason.REPLACED, now, at_ms)
                self._server.wake(replaced[0])
            seat, replies = room.join(conn, card, now, at_ms)
            if self._server.rules.motd:
                replies.append(records.framed(_notice(self._server.rules.motd).encode()))
        else:
            seat, replies = room.resume(conn, card, join, now, at_ms)
            self._server.gate.note(seat)
        self._settle(conn)
        if self._server.trouble:
            link.send(_notice(self._server.trouble))
        conn.room, conn.seat, conn.hello = room, seat, None
        self._rooms.setdefault(room, set()).add(conn)
        conn.replies, conn.replies_at = replies, room.position
        self._server.on_join(card.session, conn.address)
        self._server.row(f"[Connected] {_who(conn)}  {_where(room)}")
        what = "joined" if join.is_fresh else "resumed"
        log.info("%s: name=%s room=%s address=%s", what, *_logged(seat, room), conn.address)
        if hello.identity in self._server.rules.removed:
            # Banned since the gate was asked, perhaps too early to be found in the room.
            room.remove(seat.session, REFUSALS[403], now, at_ms)
            self._server.gate.release(seat)
        self._server.wake(room, can_wait=True)

    # --- One flush out.

    def _pump_all(self, now: float) -> None:
        """Give every connection with something to send one turn."""
        while self._grown:
            room = self._grown.pop()
            self._entered.discard(room)
            for conn in self._rooms.get(room, ()):
                self._dirty[conn] = None
        self._awake.stir(self._dirty, now)
        read = {conn.room for conn in self._dirty if conn.room is not None}
        while self._dirty:
            conn, _ = self._dirty.popitem()
            self._pump(conn, now)
        for room in read:
            room.rest()

    def _pump(self, conn: Conn, now: float) -> None:
        """Send what is ready, frame by frame while the socket takes it."""
        pipe, seat = conn.pipe, conn.seat
        is_sound = not pipe.unsent or pipe.flush()
        try:
            while is_sound:
                batch = self._next_batch(conn)
                if batch:
                    pipe.link.send_batch(batch)
                is_sound = pipe.flush()
                if pipe.unsent or len(batch) <= SURELY_ALL_BYTES:
                    break
            if seat is not None and is_sound:
                self._check_seat(conn, seat, now)
        except Refused as refused:
            self._end(conn, refused.status, refused.text, now)
            is_sound = is_sound and pipe.flush()
        if not is_sound:
            self._on_closed(conn, Closed(None, "connection lost"), now)
        if pipe.is_closed or not is_sound:
            self._remove(conn)
            return
        self._watch(conn)

    def _next_batch(self, conn: Conn) -> bytes:
        """Return what a connection is given next: the answer to its JOIN, then the log."""
        seat, room, pipe = conn.seat, conn.room, conn.pipe
        if seat is None or room is None or pipe.unsent or pipe.link.state is not State.OPEN:
            return b""
        if not conn.replies:
            # All that is new are arrivals. A newcomer sees its own, by which it knows that it is
            # in, no sooner than the others: what they say from then on must be for it too.
            return b"" if room in self._entered else room.read(seat, conn)
        if not room.shows(conn.replies_at):
            return b""  # the log could still lose what the answer tells of
        self._dirty[conn] = None
        return _take(conn.replies)

    def _check_seat(self, conn: Conn, seat: Seat, now: float) -> None:
        """See whether a connection keeps up, and whether it still has its seat.

        Raises:
            Refused: 408 if it reads too slowly, 403 if an operator has removed it.
        """
        pipe = conn.pipe
        if seat.holder is not conn:
            if seat.reason is Reason.REMOVED:
                raise Refused(403, seat.why)
            # A newer connection of the session is in charge.
            pipe.link.close(0, "", now)
        elif pipe.unsent:
            if conn.room is not None and pipe.link.state is State.OPEN:
                conn.room.check_lag(seat, now)
            return
        elif seat.left_at is not None and seat.cursor.room >= seat.left_at:
            self._on_closed(conn, Closed(None, "left"), now)
            pipe.link.close(0, "", now)
        else:
            seat.cursor.oldest_s = math.inf
            return
        pipe.flush()

    def _watch(self, conn: Conn) -> None:
        """Ask the selector for what this connection now wants."""
        mask = 0
        if conn.pipe.unsent:
            mask |= selectors.EVENT_WRITE
        if conn.wait_s is None and conn.pipe.unsent_bytes < UNSENT_BYTES:
            mask |= selectors.EVENT_READ
        if mask != conn.mask:
            if not conn.mask:
                self._selector.register(conn.pipe.sock, mask, conn)
            elif not mask:
                self._selector.unregister(conn.pipe.sock)
            else:
                self._selector.modify(conn.pipe.sock, mask, conn)
            conn.mask = mask
        at = conn.deadline()
        if at is not None and (conn.timer_s is None or at < conn.timer_s):
            conn.timer_s = at
            heapq.heappush(self._timers, (at, next(self._order), conn))

    # --- Time.

    def _run_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            at, _, conn = heapq.heappop(self._timers)
            if conn.timer_s == at and conn in self._conns:
                conn.timer_s = None
                self._tick(conn, now)
        while self._graces and self._graces[0][0] <= now:
            _, _, room, seat = heapq.heappop(self._graces)
            if room.expire(seat, now, _at_ms()):
                log.info("lost: name=%s room=%s", *_logged(seat, room))
                self._server.gate.release(seat)
                self._server.wake(room)
            elif (again_s := room.still_watched(seat)) is not None:
                heapq.heappush(self._graces, (again_s, next(self._order), room, seat))
        if self._entered and self._tell_at_s <= now:
            self._tell_at_s = now + ARRIVALS_S
            while self._entered:
                self._grown.add(self._entered.pop())
        for conn in self._awake.tick(now):
            conn.pipe.link.doze()
        if self._accept_at_s is not None and self._accept_at_s <= now:
            self._accept_at_s = None
            for listener in self._server.listeners:
                self._selector.register(listener, selectors.EVENT_READ)

    def _tick(self, conn: Conn, now: float) -> None:
        self._dirty[conn] = None
        if conn.wait_s is not None:
            if conn.wait_s <= now:
                # Whoever joins is read all the same: that is bounded by the gate.
                is_held = self._server.is_backlogged and conn.seat is not None
                conn.wait_s = now + BACKLOG_S if is_held else None
            # Its answers wait unread in the socket, so its silence is ours.
            conn.pipe.link.rest(now)
        for closed in conn.pipe.link.tick(now):
            self._on_closed(conn, closed, now)
        if conn.join_by_s is not None and conn.join_by_s <= now:
            self._end(conn, 408, "no JOIN in time", now)

    # --- Ending.

    def _end(self, conn: Conn, status: int, why: str, now: float) -> None:
        """Tell a connection why it ends."""
        conn.pipe.link.close(status, why, now)
        self._on_closed(conn, Closed(Refused(status, why), why), now)
        self._dirty[conn] = None

    def _on_closed(self, conn: Conn, closed: Closed, now: float) -> None:
        """Take a connection out of its room; the socket stays until its link is closed."""
        joining = conn.is_pending
        self._settle(conn)
        room, seat = conn.room, conn.seat
        if room is None or seat is None:
            if joining and closed.refused is not None:
                self._server.reject(conn.address, closed.refused.status)
            return
        conn.room = conn.seat = None
        members = self._rooms[room]
        members.discard(conn)
        if not members:
            del self._rooms[room]
        is_held = seat.holder is conn or seat.reason is Reason.REMOVED
        expires_s = room.dropped(seat, conn, now)
        if expires_s is not None:
            # One entry for each seat, or a member that comes and goes would fill the memory.
            if room.watch(seat):
                heapq.heappush(self._graces, (expires_s, next(self._order), room, seat))
            self._server.gate.note(seat)
        if is_held:
            why = text.clean(closed.why, multiline=False)
            where = (*_logged(seat, room), conn.address)
            log.info("disconnected: name=%s room=%s address=%s why=%s", *where, why)
            who = text.clean(seat.username, multiline=False)
            self._server.row(
                f"[Disconnected] Username: {who}  Address: {conn.address}  {_where(room)}  {why}"
            )

    def _settle(self, conn: Conn) -> None:
        conn.join_by_s = None
        if conn.is_pending:
            conn.is_pending = False
            self._server.gate.settled()

    def _remove(self, conn: Conn) -> None:
        self._on_closed(conn, Closed(None, "connection lost"), time.monotonic())
        self._conns.discard(conn)
        self._dirty.pop(conn, None)
        if conn.mask:
            self._selector.unregister(conn.pipe.sock)
            conn.mask = 0
        conn.pipe.sock.close()


# ------------------------------------------------------------------------------------------- Writer


class Writer:
    """The one thread that writes the stored log, and then lets the loops show it."""

    def __init__(self, server: Server, directory: Path) -> None:
        """Open the log.

        Raises:
            FileError: if it cannot be used.
        """
        self._server = server
        self._has_work = threading.Event()
        self._store = Store(directory, self._has_work.set)
        self._logs: dict[Room, StoredLog] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._guard, name="writer", daemon=True)

    def restore(self, now: float) -> list[tuple[Room, list[Seat]]]:
        """Return the rooms of the file that have members, and their seats.

        Raises:
            FileError: if the file is damaged.
        """
        found: list[tuple[Room, list[Seat]]] = []
        for stored in self._store.load(now):
            if not stored.cards or not stored.hashes:
                self._store.remove(stored.log)
                continue
            room = self._add(stored.name, stored.log)
            try:
                found.append((room, room.restore(stored, now)))
            except ProtocolError as problem:
                raise FileError(f"The stored log is of another relay key: {problem}.") from None
        return found

    def make_room(self, name: str, log_id: bytes) -> Room:
        """Return a new room whose log is stored."""
        return self._add(name, self._store.add(name, log_id))

    def _add(self, name: str, stored: StoredLog) -> Room:
        room = self._server.room(name, stored)

        def show() -> None:
            room.show()
            self._server.wake(room)

        stored.on_commit = show
        self._logs[room] = stored
        return room

    def forget(self, room: Room) -> None:
        """Remove a room that all members have left."""
        self._store.remove(self._logs.pop(room))

    @property
    def is_backlogged(self) -> bool:
        """Whether so much waits for the disk that nothing more should be taken in."""
        return self._store.is_backlogged

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and close the file."""
        self._stopping.set()
        self._has_work.set()
        self._thread.join(STOP_S)
        if not self._thread.is_alive():  # else the disk hangs, and so would we
            self._store.close()

    def _guard(self) -> None:
        try:
            self._run()
        except Exception:
            log.exception("writer failed")
            self._server.crashed()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._has_work.wait()
            self._has_work.clear()
            began_s = time.monotonic()
            grown = self._commit()
            now = time.monotonic()
            for stored in grown:
                if now > began_s + LATE_S:
                    stored.late_s = now
                stored.on_commit()

    def _commit(self) -> list[StoredLog]:
        """Write what is queued, however long it takes until the disk has room for it."""
        grown: list[StoredLog] | None = None
        while grown is None:
            try:
                grown = self._store.commit()
            except FileError as problem:
                self._server.worry(f"{problem} What you send waits until it can be.")
                if self._stopping.wait(RETRY_DISK_S):
                    return []
        self._server.worry("")
        return grown


# ---------------------------------------------------------------------------------------- Operators


class By(NamedTuple):
    """Who gives an order; without a seat, whoever sits at the console."""

    name: str = "the host"
    room: Room | None = None
    seat: Seat | None = None

    @classmethod
    def member(cls, seat: Seat, room: Room) -> By:
        """A member, who need not be an operator."""
        return cls(seat.username, room, seat)


class Operators:
    """Carries out orders, one after the other (PROTOCOL.md 4.5); `Office` owns it.

    It decides and changes; whom to tell, and what only the relay can do, it is handed.
    """

    def __init__(
        self,
        gate: Gate,
        rules: Rules,
        book: Book | None,
        given: Iterable[str],
        *,
        tell: Callable[[Told], None],
        wake: Callable[[Room], None],
        change_password: Callable[[str], None],
        stats: Callable[[], str],
        stop: Callable[[], None],
    ) -> None:
        """Take up the rules of the relay before us; `given` are operators by fingerprint.

        Raises:
            FileError: if the book cannot be used.
        """
        self._gate = gate
        self._rules = rules
        self._book = book
        self._given = frozenset(given)
        self._tell = tell
        self._wake = wake
        self._change_password = change_password
        self._stats = stats
        self._stop = stop
        if book is not None:
            book.load(rules)
        self._unkept = set(self._given - rules.operators.keys())
        """Operators by `--operator` alone: no `/op` made them any."""
        for digits in self._given:
            rules.operators.setdefault(digits, "")
        rules.is_hushing = bool(rules.muted or rules.slow_s)

    def obey(self, by: By, line: str, now: float, at_ms: int) -> list[str]:
        """Carry out what was typed; return what its giver alone is told."""
        if not self.may(by):
            return [NO_OPERATOR]
        if line.strip() == "/help":
            return [f"{orders.usage(word)}: {form.meaning}" for word, form in FORMS.items()]
        try:
            return self._do(by, orders.parse(line), now, at_ms)
        except UsageError as problem:
            return [str(problem)]

    def may(self, by: By) -> bool:
        """Tell whether somebody is an operator now; called from any thread."""
        seat = by.seat
        return seat is None or (
            seat.state is not SeatState.GONE
            and self._rules.is_operator(seat.card.identity, seat.username)
        )

    def _do(self, by: By, order: Order, now: float, at_ms: int) -> list[str]:
        until_ms = at_ms + order.for_s * 1_000 if order.for_s else FOREVER_MS
        match order.word:
            case Word.KICK:
                return self._kick(by, order, now, at_ms)
            case Word.BAN:
                return self._ban(by, order, until_ms, now, at_ms)
            case Word.UNBAN:
                return self._unban(by, order)
            case Word.MUTE:
                return self._mute(by, order, until_ms)
            case Word.UNMUTE:
                return self._unmute(by, order)
            case Word.OP:
                return self._op(by, order)
            case Word.DEOP:
                return self._deop(by, order)
            case Word.LOCK | Word.UNLOCK | Word.SLOW:
                return self._rule(by, order)
            case Word.MOTD:
                self._rules.motd = "" if order.text == "off" else order.text
                return self._done(
                    by, "changed the greeting" if self._rules.motd else "ended the greeting"
                )
            case Word.PASSWORD:
                return self._password(by, order)
            case Word.STOP:
                self._say(by, "stops the relay", None)
                self._stop()
                return []
            case Word.WHO:
                return self._who(by, order)
            case Word.BANS:
                return self._bans()
            case Word.ROOMS:
                return self._rooms()
            case Word.STATS:
                stats = self._stats()
                log.info("stats: %s", stats)
                return [stats]
            case _:
                assert_never(order.word)

    # --- People.

    def _kick(self, by: By, order: Order, now: float, at_ms: int) -> list[str]:
        held = self._present(order.target, by)
        room = self._remove(held, by, order, now, at_ms)
        if room is None:
            raise UsageError(f"{held.username} is not here any more. Nothing was changed.")
        self._say(by, f"removed {held.username}{_because(order.text)}", room)
        return [self._hint(by, held.username)]

    def _ban(self, by: By, order: Order, until_ms: int, now: float, at_ms: int) -> list[str]:
        identity, digits, name = self._whom(order.target)
        if by.seat is not None and identity == by.seat.card.identity:
            raise UsageError("That is you. Nothing was changed.")
        _check_room_for(len(self._rules.bans))
        # The ban first: whoever joins meanwhile finds it.
        self._rules.ban(Ban(identity, digits, name, until_ms, by.name, order.text))
        if digits != order.target and _is_fingerprint(order.target):
            # Somebody called as it reads must not take the ban for whoever was meant.
            self._rules.ban(Ban(None, order.target, "", until_ms, by.name, order.text))
        found = self._gate.names_of(identity) if identity is not None else []
        what = f"banned {name or digits}{_for(order.for_s)}{_because(order.text)}"
        rooms = [self._remove(held, by, order, now, at_ms) for held in found]
        for room in dict.fromkeys(room for room in rooms if room is not None):
            self._say(by, what, room)
        if not any(rooms):
            self._say(by, what, None)
        return [*self._keep(), self._hint(by, name or "Whoever it is")]

    def _remove(self, held: Held, by: By, order: Order, now: float, at_ms: int) -> Room | None:
        """Make a member leave; return the room, or None if it has left by itself."""
        room = self._gate.room(held.room)
        why = f"Removed by {by.name}{_for(order.for_s)}{_because(order.text)}."
        seat = room.remove(held.session, why, now, at_ms) if room is not None else None
        if room is None or seat is None:
            return None
        self._gate.release(seat)
        self._wake(room)
        return room

    def _hint(self, by: By, name: str) -> str:
        word = "/password NEW" if by.seat is None else "/password --tell NEW"
        return f"{name} still has the KEY and the password. {word} changes the lock."

    def _unban(self, by: By, order: Order) -> list[str]:
        key = names.key(order.target)
        found = [b for b in self._rules.bans if key in (b.fingerprint, names.key(b.name))]
        if not found:
            raise UsageError(f"{order.target} is not banned. /bans lists who is.")
        self._rules.lift(found)
        return self._done(by, f"lifted the ban of {order.target}")

    def _mute(self, by: By, order: Order, until_ms: int) -> list[str]:
        held = self._present(order.target, by)
        _check_room_for(len(self._rules.muted))
        self._rules.muted[held.identity] = Mute(held.username, until_ms)
        problems = self._keep()
        self._say(by, f"muted {held.username}{_for(order.for_s)}", self._gate.room(held.room))
        return problems

    def _unmute(self, by: By, order: Order) -> list[str]:
        key, held = names.key(order.target), self._gate.find(order.target)
        found = [
            identity
            for identity, mute in self._rules.muted.items()
            if names.key(mute.name) == key or (held is not None and held.identity == identity)
        ]
        if not found:
            raise UsageError(f"{order.target} is not muted. Nothing was changed.")
        for identity in found:
            del self._rules.muted[identity]
        room = self._gate.room(held.room) if held is not None else by.room
        self._say(by, f"lets {order.target} speak again", room)
        return self._keep()

    def _op(self, by: By, order: Order) -> list[str]:
        held = self._gate.find(order.target)
        if held is None:
            raise _nobody(order.target)
        digits = fingerprint(held.identity, held.username)
        if digits in self._rules.operators:
            raise UsageError(f"{held.username} is an operator already. Nothing was changed.")
        _check_room_for(len(self._rules.operators))
        self._rules.operators[digits] = held.username
        self._unkept.discard(digits)
        self._say(by, f"made {held.username} an operator", self._gate.room(held.room))
        return self._keep()

    def _deop(self, by: By, order: Order) -> list[str]:
        key, held = names.key(order.target), self._gate.find(order.target)
        known = {key, fingerprint(held.identity, held.username) if held is not None else key}
        found = [
            digits
            for digits, name in self._rules.operators.items()
            if digits in known or names.key(name) == key
        ]
        if not found:
            raise UsageError(f"{order.target} is no operator. Nothing was changed.")
        for digits in found:
            del self._rules.operators[digits]
        room = self._gate.room(held.room) if held is not None else by.room
        self._say(by, f"ended that {order.target} is an operator", room)
        again = "The next start makes it one again: --operator names it."
        return [*self._keep(), *([again] if self._given.intersection(found) else [])]

    def _present(self, name: str, by: By) -> Held:
        """Return who holds a name, if it is not the giver of the order."""
        held = self._gate.find(name)
        if held is None:
            raise _nobody(name)
        if by.seat is not None and held.session == by.seat.session:
            raise UsageError("That is you. Nothing was changed.")
        return held

    def _whom(self, target: str) -> tuple[bytes | None, str, str]:
        """Return identity, if it is known, fingerprint and name of whoever is or was here."""
        key, known = names.key(target), self._gate.known()
        is_digits = _is_fingerprint(target)
        for held in known if is_digits else ():
            if fingerprint(held.identity, held.username) == target:
                return held.identity, target, held.username
        for held in known:
            if names.key(held.username) == key:
                return held.identity, fingerprint(held.identity, held.username), held.username
        if is_digits:
            return None, target, ""
        raise UsageError(f"Nobody called {target} is or was here. Nothing was changed.")

    # --- Rooms and the relay.

    def _rule(self, by: By, order: Order) -> list[str]:
        name, rules = self._room_name(by, order), self._rules
        is_locked, slow_s = name in rules.locked, rules.slow_s.get(name, 0)
        match order.word:
            case Word.LOCK if not is_locked:
                rules.locked.add(name)
                what = "locked the room: nobody new can join"
            case Word.UNLOCK if is_locked:
                rules.locked.discard(name)
                what = "unlocked the room"
            case Word.SLOW if order.for_s and order.for_s != slow_s:
                rules.slow_s[name] = order.for_s
                what = f"slowed the room: one message of each in {order.for_s} s"
            case Word.SLOW if not order.for_s and slow_s:
                del rules.slow_s[name]
                what = "ended slow mode"
            case _:
                raise UsageError("It is so already. Nothing was changed.")
        room = self._gate.room(name)
        if room is not None:
            self._say(by, what, room)
        return [*([] if room is not None else ["Done. Nobody is there."]), *self._keep()]

    def _room_name(self, by: By, order: Order) -> str:
        """Return the wire name of the room that is meant: one's own, at the console the lobby."""
        if not order.target:
            return by.room.name if by.room is not None else ""
        name = names.room_from_user(order.target)
        has_rule = name in self._rules.locked or name in self._rules.slow_s
        if name and self._gate.room(name) is None and not has_rule:
            raise UsageError(f"There is no room {order.target}. /rooms lists them.")
        return name

    def _password(self, by: By, order: Order) -> list[str]:
        self._change_password(order.text)
        self._say(by, "changed the password: whoever joins from now on needs the new one", None)
        return [orders.LOCK_CHANGED]

    # --- Lists.

    def _who(self, by: By, order: Order) -> list[str]:
        if order.target or by.room is not None:
            room = self._gate.room(self._room_name(by, order))
            return _listed(self._members(room)) if room is not None else ["Nobody is there."]
        rows = [row for room in self._gate.rooms for row in self._members(room)]
        return _listed(rows) or ["Nobody is here."]

    def _members(self, room: Room) -> list[str]:
        seats = room.seats
        shown = [f"{seat.username}{self._states(seat)}" for seat in seats]
        return _joined(f"{_called(room.name)}, {len(seats)} here: ", shown)

    def _states(self, seat: Seat) -> str:
        identity = seat.card.identity
        states = (
            ("operator", self._rules.is_operator(identity, seat.username)),
            ("muted", identity in self._rules.muted),
            ("connection lost", seat.state is SeatState.AWAY),
        )
        found = [state for state, is_so in states if is_so]
        return f" ({', '.join(found)})" if found else ""

    def _bans(self) -> list[str]:
        rows = [
            f"{ban.name or '(not seen)'} {ban.fingerprint}, by {ban.by}{_until(ban.until_ms)}"
            f"{_because(ban.reason)}"
            for ban in self._rules.bans
        ]
        return _listed(rows) or ["Nobody is banned."]

    def _rooms(self) -> list[str]:
        rules, found = self._rules, {room.name: room.members for room in self._gate.rooms}
        rows = []
        for name in sorted({"", *found, *rules.locked, *rules.slow_s}):
            locked = ", locked" if name in rules.locked else ""
            slow = f", slow {rules.slow_s[name]} s" if name in rules.slow_s else ""
            rows.append(f"{_called(name)}: {found.get(name, 0)} here{locked}{slow}")
        return _listed(rows)

    # --- Telling and keeping.

    def _done(self, by: By, what: str) -> list[str]:
        """Tell everybody of what concerns every room, and keep it."""
        self._say(by, what, None)
        return self._keep()

    def _say(self, by: By, what: str, room: Room | None) -> None:
        """Say who did what: to a room, or to everybody."""
        who = "The host" if by.seat is None else by.name
        self._tell(Told(f"{who} {what}.", room))

    def _keep(self) -> list[str]:
        """Let the rules hold, and write them; return what is wrong with that."""
        self._rules.is_hushing = bool(self._rules.muted or self._rules.slow_s)
        if self._book is None:
            return []
        try:
            self._book.save(self._rules, self._unkept)
        except FileError as problem:
            return [f"{problem} It holds until the relay stops."]
        return []

    # --- Time.

    def deadline_ms(self) -> int | None:
        """Return when the next ban or mute ends, by the wall clock."""
        times = [ban.until_ms for ban in self._rules.bans]
        times += [mute.until_ms for mute in self._rules.muted.values()]
        return min((at for at in times if at < FOREVER_MS), default=None)

    def tick(self, at_ms: int) -> list[str]:
        """End what is over, and keep what has changed; return rows for the console."""
        rules = self._rules
        bans = [ban for ban in rules.bans if ban.until_ms <= at_ms]
        muted = [who for who, mute in rules.muted.items() if mute.until_ms <= at_ms]
        rules.lift(bans)
        rows = [f"The ban of {ban.name or ban.fingerprint} is over." for ban in bans]
        rows += [f"{rules.muted.pop(identity).name} may speak again." for identity in muted]
        return [*rows, *self._keep()]


DIGITS: Final = 30
"""Of a fingerprint."""


def _is_fingerprint(target: str) -> bool:
    return len(target) == DIGITS and target.isascii() and target.isdigit()


def _nobody(name: str) -> UsageError:
    return UsageError(f"Nobody here is called {name}. Nothing was changed.")


def _check_room_for(count: int) -> None:
    if count >= MAX_RULES:
        raise UsageError(f"There are {count} already, and no room for more. Nothing was changed.")


def _called(room: str) -> str:
    return names.room_for_user(room)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _for(for_s: int) -> str:
    return f" for {_duration(for_s)}" if for_s else ""


def _until(until_ms: int) -> str:
    if until_ms >= FOREVER_MS:
        return ""
    return f" until {datetime.fromtimestamp(until_ms // 1_000, UTC):%Y-%m-%d %H:%M} UTC"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _joined(head: str, items: list[str]) -> list[str]:
    """Return the items in as few rows as hold them."""
    rows = [head]
    for at, item in enumerate(items):
        tail = "," if at + 1 < len(items) else ""
        if len(rows[-1]) + len(item) > ROW_CHARS:
            rows.append("    ")
        rows[-1] += f"{item}{tail} "
    return [row.rstrip() for row in rows]


def _listed(rows: list[str]) -> list[str]:
    more = len(rows) - ROWS_TOLD
    return rows[:ROWS_TOLD] + ([f"and {more} more"] if more > 0 else [])


class Office:
    """The thread in which orders are carried out: neither a disk nor scrypt holds up a loop."""

    def __init__(self, server: Server, book: Book | None, on_stop: Callable[[], None]) -> None:
        """Take up the rules of the relay before us.

        Raises:
            FileError: if they cannot be used.
        """
        self._server = server
        self._operators = Operators(
            server.gate,
            server.rules,
            book,
            server.settings.operators,
            tell=self._tell,
            wake=server.wake,
            change_password=server.change_password,
            stats=lambda: server.stats,
            stop=on_stop,
        )
        server.rules.on_met = lambda: self._waiting.put(None)
        self._waiting: queue.SimpleQueue[tuple[By, str] | None] = queue.SimpleQueue()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="office", daemon=True)

    def hear(self, by: By, line: str) -> None:
        """Take an order; called from any thread."""
        if not self._operators.may(by):
            self._answer(by, NO_OPERATOR)  # at once: they must not fill the queue of those who may
        elif self._waiting.qsize() < MAX_ORDERS:
            self._waiting.put((by, line))
        else:
            self._answer(by, f"Too many orders wait. {orders.UNCHANGED}")

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Carry out nothing more, and end."""
        self._is_stopping = True
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._is_stopping:
            until_ms = self._operators.deadline_ms()
            # Not for long: the wall clock can be set.
            wait_s = None if until_ms is None else min(60.0, (until_ms - _at_ms()) / 1_000)
            self.turn(wait_s)

    def turn(self, wait_s: float | None) -> None:
        """Carry out one order, if one comes in time, and end what is over."""
        by, line = By(), ""
        try:
            item = self._waiting.get(timeout=wait_s if wait_s is None else max(0.0, wait_s))
            by, line = item or (by, line)
        except queue.Empty:
            if not self._is_due():
                return  # and nothing to write
            item = None
        if self._is_stopping:
            return
        try:
            if item is None or self._is_due():
                for row in self._operators.tick(_at_ms()):
                    self._show(row)
            if item is not None:
                for row in self._operators.obey(by, line, time.monotonic(), _at_ms()):
                    self._answer(by, row)
        except Exception:
            log.exception("an order failed")
            self._answer(by, "Something broke here. The log, or standard error, says what.")

    def _is_due(self) -> bool:
        until_ms = self._operators.deadline_ms()
        return until_ms is not None and until_ms <= _at_ms()

    def _answer(self, by: By, row: str) -> None:
        if by.seat is None:
            self._server.row(text.clean(row, multiline=False))
        else:
            self._server.notify(Told(row, by.room, by.seat))

    def _tell(self, told: Told) -> None:
        self._show(told.sentence)
        self._server.notify(told)

    def _show(self, row: str) -> None:
        shown = text.clean(row, multiline=False)
        self._server.row(f"[Operator] {shown}")
        log.info("operator: %s", shown)


# ------------------------------------------------------------------------------------------- Server


class Server:
    """The relay: listening sockets, loops, rooms. It knows no terminal: peer mode runs it too."""

    def __init__(
        self,
        settings: config.ServerConfig,
        key: RelayKey,
        psk: bytes,
        listeners: list[socket.socket],
        on_row: Callable[[str], None],
        on_crash: Callable[[], None],
        *,
        on_stop: Callable[[], None] = lambda: None,
        also_judge: Callable[[Hello], int | None] = lambda _: None,
        on_join: Callable[[bytes, str], None] = lambda _session, _address: None,
    ) -> None:
        """Prepare; what is handed in is called from the loops.

        Args:
            settings: what we were told.
            key: ours.
            psk: 32 bytes.
            listeners: bound, and not blocking.
            on_row: takes a row for the operator.
            on_crash: a loop is dead.
            on_stop: an operator wants us to stop.
            also_judge: may return a status that refuses a HELLO, or None.
            on_join: takes the session of a member, and its address, before its room is told.

        Raises:
            FileError: if the stored log or rules cannot be used.
        """
        self.settings = settings
        self.key = key
        self.psk = psk
        self.listeners = listeners
        self.row = on_row
        self.crashed = on_crash
        self.on_join = on_join
        self._grace_s = settings.grace_s
        self.rules = Rules()
        self.refused = 0
        self.began_s = time.monotonic()
        self.proxies = settings.proxies
        self._has_told_of_proxy = False
        self.trouble = ""
        """Why the log cannot be written, as long as it cannot."""
        self.gate = Gate(
            room_size=settings.room_size,
            rooms=settings.rooms,
            make_room=self._make_room,
            on_empty=self._forget_room,
            also_judge=also_judge,
            rules=self.rules,
        )
        book = Book(Path(settings.data, "rules")) if settings.data is not None else None
        self.office = Office(self, book, on_stop)
        self._writer = Writer(self, Path(settings.data)) if settings.data is not None else None
        self._loops = [Loop(self) for _ in range(settings.threads or _default_threads())]
        if self._writer is not None:
            for room, seats in self._writer.restore(time.monotonic()):
                self.gate.restore(room, seats)
                self._loops[0].expect(room, seats)

    def start(self) -> None:
        """Start serving."""
        if self._writer is not None:
            self._writer.start()
        for loop in self._loops:
            loop.start()
        self.office.start()

    def is_alive(self) -> bool:
        """Tell whether every loop has turned since the last call."""
        return all([loop.has_turned() for loop in self._loops])  # noqa: C419 - each is asked

    def stop(self) -> None:
        """Tell everybody, close every socket, and wait for it."""
        self.gate.is_closing = True
        self.office.stop()
        for loop in self._loops:
            loop.stop()
        for loop in self._loops:
            loop.join(STOP_S + 1)
        if self._writer is not None:
            # It wakes the loops till its end.
            self._writer.stop()
        for loop in self._loops:
            loop.close()
        for listener in self.listeners:
            listener.close()

    def wake(self, room: Room, *, can_wait: bool = False) -> None:
        """Note that a room grew, perhaps by no more than an arrival."""
        for loop in self._loops:
            loop.wake(room, can_wait=can_wait)

    def tell(self, sentence: str) -> None:
        """Show a sentence to every member and at the console."""
        self.row(sentence)
        self.notify(Told(sentence))

    def notify(self, told: Told) -> None:
        """Tell members something."""
        for loop in self._loops:
            loop.tell(told)

    @property
    def stats(self) -> str:
        """What the relay does, in a row."""
        rooms = self.gate.rooms
        members = sum(room.members for room in rooms)
        logged = sum(room.position for room in rooms)
        return (
            f"Up {_duration(time.monotonic() - self.began_s)}. Members: {members}. "
            f"Rooms: {len(rooms)}. Connections: {sum(loop.connections for loop in self._loops)}. "
            f"Records in their logs: {logged}. Refused since the start: {self.refused}."
        )

    def change_password(self, password: str) -> None:
        """Ask for another password from now on; connections go on.

        Raises:
            UsageError: if it is not text.
        """
        self.psk = ticket.derive_psk(password, self.key.public)

    def worry(self, sentence: str) -> None:
        """Tell everybody once that the log cannot be written, and once ("") that it can again."""
        if bool(sentence) != bool(self.trouble):
            self.trouble = sentence
            self.tell(sentence or "The log can be written again.")

    @property
    def is_backlogged(self) -> bool:
        """Whether so much waits for the disk that nothing more should be taken in."""
        return self._writer is not None and self._writer.is_backlogged

    def on_proxy(self, address: str, host: str) -> None:
        """Tell once that somebody claims to come from elsewhere."""
        if not self._has_told_of_proxy:
            self._has_told_of_proxy = True
            self.row(
                f"{address} names other addresses, which is not believed. If it is your proxy, all "
                f"its guests share one throttle: start with --trust-proxy {host}."
            )

    def reject(self, address: str, status: int) -> None:
        """Show a refusal."""
        self.refused += 1
        why = REFUSALS.get(status, f"status {status}")
        self.row(f"[Rejected] {address}: {why}")
        log.info("refused: address=%s status=%d why=%s", address, status, why)

    def room_id(self, name: str) -> bytes:
        """Return the id of a room of this relay."""
        return ticket.room_id(self.key.public, name)

    def _make_room(self, name: str) -> Room:
        log_id = secrets.token_bytes(records.LOG_ID_BYTES)
        if self._writer is None:
            return self.room(name, MemoryLog(log_id))
        return self._writer.make_room(name, log_id)

    def room(self, name: str, room_log: Log) -> Room:
        """Return a new room over a log."""
        room = Room(name, self.room_id(name), room_log, self._grace_s, self.rules)
        room.on_command = lambda seat, line: self.office.hear(By.member(seat, room), line)
        return room

    def _forget_room(self, room: Room) -> None:
        if self._writer is not None:
            self._writer.forget(room)


def listen(hosts: Iterable[str], port: int) -> list[socket.socket]:
    """Bind every address of every host, or every address there is.

    Raises:
        FileError: says why not, and what to do.
    """
    bound: list[socket.socket] = []
    problem: OSError | None = None
    try:
        for family, address in _addresses(hosts, port):
            try:
                if isinstance(address, str):
                    bound.append(_bind_unix(address))
                    continue
                # With port 0 the first address chooses, and the others follow.
                bound.append(bind(family, (address[0], port_of(bound, port), *address[2:])))
            except OSError as this:
                if this.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                problem = this
        if not bound:
            raise problem or OSError(errno.EADDRNOTAVAIL, "no address")
    except (OSError, UnicodeError) as this:  # a name that cannot be one is a UnicodeError
        for sock in bound:
            sock.close()
        raise FileError(_why_not_bound(this, port)) from None
    return bound


def port_of(listeners: Iterable[socket.socket], port: int) -> int:
    """Return the port that was bound, or the one that is to be."""
    names_ = (sock.getsockname() for sock in listeners)
    return next((name[1] for name in names_ if isinstance(name, tuple)), port)


def _addresses(hosts: Iterable[str], port: int) -> Iterator[tuple[int, str | tuple[str, ...]]]:
    seen = set()
    for host in tuple(hosts) or (None,):
        if host is not None and host.startswith(UNIX):
            yield 0, host.removeprefix(UNIX)
            continue
        flags = socket.AI_PASSIVE
        for family, _, _, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=flags
        ):
            if address not in seen:
                seen.add(address)
                yield family, address  # type: ignore[misc] # tuples of two lengths


def bind(family: int, address: tuple[object, ...]) -> socket.socket:
    """Return a socket that listens at this address.

    Raises:
        OSError: if it cannot.
    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(1024)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(path: str) -> socket.socket:
    """Listen at a path; a socket there that nobody listens at is replaced."""
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "this system has no unix sockets")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
            if Path(path).is_socket() and probe.connect_ex(path) == errno.ECONNREFUSED:
                Path(path).unlink()
        sock.bind(path)
        # As open as a port of this machine would be: the directory says who may come near.
        Path(path).chmod(0o666)
        sock.listen(1024)
        sock.setblocking(False)
    except OSError as problem:
        sock.close()
        why = problem.strerror or str(problem)
        raise OSError(problem.errno or errno.EINVAL, why, path) from None
    return sock


def forget_paths(hosts: Iterable[str]) -> None:
    """Remove the unix sockets at which we listened."""
    for host in hosts:
        if host.startswith(UNIX):
            with contextlib.suppress(OSError):
                Path(host.removeprefix(UNIX)).unlink()


def _why_not_bound(problem: OSError | UnicodeError, port: int) -> str:
    if isinstance(problem, socket.gaierror | UnicodeError):
        return "The host given with --host does not resolve. Use an address of this machine."
    if problem.filename:
        at = f"{UNIX}{problem.filename}"
        return f"Cannot listen at {at}: {problem.strerror}. Choose another path with --host."
    if problem.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Stop the other program, or choose another with --port."
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} needs more rights than we have. Choose one above 1023 with --port."
    if problem.errno == errno.EADDRNOTAVAIL:
        return "The host given with --host is no address of this machine. Use one that is."
    return f"Cannot listen on port {port}: {problem.strerror or problem}. Try --host or --port."


def _default_threads() -> int:
    """Return one, or one per core where threads run at once: with the GIL a second only costs."""
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return 1 if has_gil else os.cpu_count() or 1


def _address(peer: object) -> tuple[str, str]:
    """Return an address as shown, and what is throttled: IPv4 address or IPv6 /64."""
    if not isinstance(peer, tuple):
        return "unix", "unix"
    host, port = str(peer[0]).partition("%")[0], peer[1]
    ip = ipaddress.ip_address(host)
    return (f"{host}:{port}" if ip.version == 4 else f"[{host}]:{port}"), _network(ip)


def _network(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


def is_within(place: str, networks: Iterable[str]) -> bool:
    """Tell whether an address, or "unix", is one of these or in one of them."""
    if place == "unix":
        return place in networks
    ip = ipaddress.ip_address(place)
    return any(ip in ipaddress.ip_network(network) for network in networks if network != "unix")


def _at_ms() -> int:
    return time.time_ns() // 1_000_000


def _notice(sentence: str) -> Delivered:
    words = records.cut_utf8(sentence, records.MAX_NOTICE_BYTES)
    return records.from_relay(Kind.NOTICE, words)


def _logged(seat: Seat, room: Room) -> tuple[str, str]:
    return text.clean(seat.username, multiline=False), text.clean(room.path, multiline=False)


def _who(conn: Conn) -> str:
    name = conn.seat.username if conn.seat else ""
    return f"Username: {text.clean(name, multiline=False)}  Address: {conn.address}"


def _where(room: Room) -> str:
    return f"[Path] {text.clean(room.path, multiline=False)}  {room.members} users"


# ------------------------------------------------------------------------------------------ Console


class Keyboard:
    """Lines typed at the console, in a thread of their own: who edits a line waits for its end."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._modes: list[object] | None = None
        self._thread = threading.Thread(target=self._run, name="keyboard", daemon=True)

    @property
    def is_edited(self) -> bool:
        """Whether there is a prompt, above which rows must be written."""
        return self._modes is not None

    def start(self) -> None:
        """Read standard input from now on, unless it is the terminal of somebody else."""
        if os.name == "posix":
            # What we read in the background must not stop us, nor what we write there.
            for signum in (signal.SIGTTIN, signal.SIGTTOU):
                signal.signal(signum, signal.SIG_IGN)
            if os.isatty(0) and os.tcgetpgrp(0) != os.getpgrp():
                return
            self._modes = _modes_to_edit()
        self._thread.start()

    def stop(self) -> None:
        """Give the terminal back as it was found."""
        if self._modes is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self._modes)  # type: ignore[arg-type] # as got

    def _run(self) -> None:
        for line in self._edited() if self.is_edited else _typed():
            if line.strip():
                self._on_line(line)

    def _edited(self) -> Iterator[str]:
        """Yield lines from the line editor; what may hold a password enters no history."""
        import readline

        readline.set_auto_history(False)
        while True:
            try:
                line = input(PROMPT)
            except UnicodeDecodeError:
                continue
            except (EOFError, OSError, RuntimeError):
                return
            if line.strip() and not orders.is_secret(line):
                readline.add_history(line)
            yield line


def _modes_to_edit() -> list[object] | None:
    """Return the terminal's modes, if it is one in which a line can be edited."""
    if not (os.isatty(0) and os.isatty(1)) or os.environ.get("TERM", "dumb") == "dumb":
        return None
    try:
        import readline  # noqa: F401 - some builds of Python have none
        import termios
    except ImportError:
        return None
    return termios.tcgetattr(0)


def _typed() -> Iterator[str]:
    """Yield whole lines of standard input, as they come; one that is cut off is none."""
    line = b""
    while True:
        try:
            data = os.read(0, 4096)
        except OSError:
            return
        if not data:
            return
        *lines, line = (line + data).split(b"\n")
        line = line[: records.MAX_COMMAND_BYTES + 1]  # too long is refused, and not kept
        for each in lines:
            yield each.decode("utf-8", "replace")


class Console:
    """Rows for the person at the relay; the main thread writes them, and waits here.

    A terminal that does not read (Ctrl-S, a stopped pager) holds up rows, never a room.
    """

    def __init__(self, out_fd: int) -> None:
        self._out_fd = out_fd
        self.has_prompt = False
        """Whether a line is being edited, which rows must leave alone."""
        self._rows: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._skipped = 0
        self._unsent = b""
        self._is_stopping = False
        self.has_crashed = False
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

    def row(self, row: str) -> None:
        """Queue a row; called from any thread."""
        if self._rows.qsize() >= CONSOLE_ROWS:
            self._skipped += 1
            return
        self._rows.put(row)
        self._wake()

    def stop(self) -> None:
        """Make `run` return; called from any thread, or a signal handler."""
        self._is_stopping = True
        self._wake()

    def catch(self, *signums: int) -> None:
        """Make these signals stop us."""
        # Without the descriptor, a signal that comes just before `select` would wait for it.
        signal.set_wakeup_fd(self._wake_in.fileno(), warn_on_full_buffer=False)
        for signum in signums:
            signal.signal(signum, lambda *_: self.stop())

    def crash(self) -> None:
        """Make `run` return because a loop is dead."""
        self.has_crashed = True
        self.stop()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_in.send(b"\0")

    def run(self, every_s: float | None, on_time: Callable[[], None]) -> None:
        """Write rows until told to stop, and call `on_time` so often."""
        due_s = time.monotonic()
        while not self._is_stopping:
            if every_s is not None and time.monotonic() >= due_s:
                due_s = time.monotonic() + every_s
                on_time()
            self._wait(None if every_s is None else due_s - time.monotonic())
            self._write()

    def finish(self, last: str) -> None:
        """Write what is left and a last row, as far as the terminal takes it at once."""
        if self.has_prompt:
            self.has_prompt = False
            self._unsent += NO_PROMPT
        self._rows.put(last)
        for _ in range(CONSOLE_ROWS + 1):
            self._write()
            if not self._unsent and self._rows.empty():
                return

    def _wait(self, wait_s: float | None) -> None:
        outs = [self._out_fd] if self._unsent and _can_select(self._out_fd) else []
        with selectors.SelectSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            for fd in outs:
                selector.register(fd, selectors.EVENT_WRITE)
            selector.select(None if wait_s is None else max(0.0, wait_s))
        with contextlib.suppress(BlockingIOError):
            self._wake_out.recv(4096)

    def _write(self) -> None:
        """Write rows while the terminal takes them, so few bytes at a time that no write blocks."""
        while True:
            if not self._unsent:
                try:
                    self._unsent = self._drawn(self._next_row()).encode("utf-8", "replace")
                except queue.Empty:
                    return
            if not _is_writable(self._out_fd):
                return
            try:
                sent = os.write(self._out_fd, self._unsent[:ROW_BYTES])
            except OSError:
                # Nobody reads any more; the relay goes on without a console.
                sent = len(self._unsent)
            self._unsent = self._unsent[sent:]

    def _drawn(self, row: str) -> str:
        columns = shutil.get_terminal_size().columns
        return above_line(row, columns) if self.has_prompt else f"{row}\n"

    def _next_row(self) -> str:
        if self._skipped and self._rows.empty():
            skipped, self._skipped = self._skipped, 0
            return f"{skipped} rows not shown"
        return self._rows.get_nowait()


PROMPT: Final = "> "
INDEX, SAVE, RESTORE = "\x1bD", "\x1b7", "\x1b8"
NO_PROMPT: Final = b"\r\x1b[K\x1b[?2004l"
"""Clears the line being edited, and ends the bracketed paste of its editor."""
ROW_BYTES: Final = 512
"""POSIX PIPE_BUF: what a writable pipe takes without blocking."""


def above_line(row: str, columns: int) -> str:
    """Return what writes a row above the line that is being edited, whose cursor stays.

    Thus the line editor, which knows of its own line only, need not be asked.
    """
    count = max(1, math.ceil(text.width(row) / columns))
    # Room below, scrolled if need be; then rows inserted here, and the cursor back in its line.
    return f"{INDEX * count}\x1b[{count}A{SAVE}\r\x1b[{count}L{row}{RESTORE}\x1b[{count}B"


def _can_select(fd: int) -> bool:
    return os.name == "posix" and fd < 1024


def _is_writable(fd: int) -> bool:
    if not _can_select(fd):
        return True
    with selectors.SelectSelector() as selector:
        selector.register(fd, selectors.EVENT_WRITE)
        return bool(selector.select(0))


# ---------------------------------------------------------------------------------------------- Log


class LogFile(logging.handlers.RotatingFileHandler):
    """The operator's log: private, of bounded size, and never a reason to stop."""

    def __init__(self, path: Path, on_trouble: Callable[[str], None]) -> None:
        """Open the file, or make it.

        Raises:
            FileError: if it cannot be written, or others can read it.
        """
        self._on_trouble = on_trouble
        self._is_troubled = False
        if path.exists() and not path.is_file():  # opening a FIFO would wait for its reader
            raise FileError(f"{path} is not a regular file.")
        files.check_private(path)
        try:
            super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8")
        except OSError as problem:
            raise FileError(f"Cannot write {path}: {problem.strerror}.") from None
        form = "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s"
        self.setFormatter(logging.Formatter(form, "%Y-%m-%dT%H:%M:%S"))
        self.formatter.converter = time.gmtime  # type: ignore[union-attr] # set above

    def _open(self) -> TextIOWrapper:
        # In a folder of others, a link that waits here would have us write into a file of ours.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        fd = os.open(self.baseFilename, flags, 0o600)
        return open(fd, "a", encoding="utf-8", errors="replace")  # noqa: PTH123 - a descriptor

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the file cannot be written."""
        if not self._is_troubled:
            self._is_troubled = True
            self._on_trouble("The log file cannot be written: what happens now is missing there.")


class LogQueue(logging.handlers.QueueHandler):
    """Hands lines to the thread that writes them; too many are dropped, and no loop waits."""

    def __init__(self, path: Path, on_trouble: Callable[[str], None]) -> None:
        """Open the file.

        Raises:
            FileError: if it cannot be used.
        """
        self._lines: queue.Queue[logging.LogRecord] = queue.Queue()
        super().__init__(self._lines)
        self._file = LogFile(path, on_trouble)
        self._writer = logging.handlers.QueueListener(self._lines, self._file)

    def start(self) -> None:
        """Write what is logged from now on, in a thread of its own."""
        log.setLevel(logging.INFO)
        log.addHandler(self)
        self._writer.start()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a line, if there is room for it; for the mark of the end there always is."""
        if self._lines.qsize() < LOG_WAITING:
            self._lines.put_nowait(record)

    def stop(self) -> None:
        """Write what is left."""
        log.removeHandler(self)
        self._writer.stop()
        self._file.close()


# --------------------------------------------------------------------------------------- Supervisor


class Supervisor:
    """What systemd wants to hear of its service, if it asked: sd_notify(3)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Find out whom to tell, and how often."""
        where = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL that begins the name of an abstract socket.
        self._where = "\0" + where[1:] if where.startswith("@") else where
        usec = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self.every_s: float | None = None
        """Often enough that one that is late does no harm."""
        if self._where and is_ours and usec.isdecimal() and int(usec):
            self.every_s = int(usec) / 1e6 / 4

    def tell(self, state: str) -> None:
        """Say how we are, if anybody wants to know."""
        if self._where and hasattr(socket, "AF_UNIX"):
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
            ):
                sock.connect(self._where)
                sock.send(state.encode())

    def beat(self, server: Server) -> None:
        """Say that we live, unless a loop hangs: then silence has us restarted."""
        if server.is_alive():
            self.tell("WATCHDOG=1")


# --------------------------------------------------------------------------------------------- main


def greeting(settings: config.ServerConfig, key: bytes, port: int) -> list[str]:
    """Return the rows shown at start."""
    host = settings.hosts[0] if settings.hosts else "localhost"
    shown = f"[{host}]" if ":" in host else host
    url = host if host.startswith(UNIX) else f"ws://{shown}:{port}/"
    rows = [
        f"Server starts at `{url}`.",
        "[Cryptography Key]",
        "Please copy the following key below, you will need it for connecting to this server:",
        f"Key: {ticket.key_text(key)}",
    ]
    at_port = None if port == config.DEFAULT_PORT else port
    for address in settings.hosts or guest_addresses():
        if address.startswith(UNIX):
            joined = ticket.key_text(key)
            rows.append(f"Join with: python client.py {joined} --url {address} --username NAME")
            continue
        joined = ticket.encode(ticket.Ticket(key, None, address, at_port))
        rows.append(f"Join with: python client.py {joined} --username NAME")
    if settings.password is None:
        rows.append("No --password given: whoever has the KEY can join.")
        if settings.hosts == ("localhost",):
            rows.append(
                "Only this machine can connect: the default password is public. "
                "For guests give --password, or --host 0.0.0.0 to open it all the same."
            )
    else:
        rows.append("The client will ask for the password.")
    return rows


def guest_addresses() -> list[str]:
    """Return the addresses of this machine that guests can use, or localhost."""
    found: dict[str, None] = {}
    with contextlib.suppress(OSError):
        for _, _, _, _, address in socket.getaddrinfo(
            socket.gethostname(), None, type=socket.SOCK_STREAM
        ):
            found[str(address[0])] = None
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # Connecting a datagram socket sends nothing: it asks the routing table which address we
        # would use towards one that is reserved for documentation (RFC 5737, RFC 3849).
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            found[str(probe.getsockname()[0])] = None
    ips = (ipaddress.ip_address(text.partition("%")[0]) for text in found)
    usable = [str(ip) for ip in ips if not ip.is_loopback and not ip.is_link_local]
    return usable or ["localhost"]


def raise_file_limit(settings: config.ServerConfig) -> str:
    """Let this process hold as many connections as are configured.

    Returns:
        What to tell the operator if the system does not allow it, or "".
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return ""
    wanted = settings.room_size * max(1, settings.rooms) + MAX_PENDING + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit than it names
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    asked = (settings.room_size, settings.rooms)
    # The defaults are bounds that nobody asked us to reach.
    is_default = asked == (config.DEFAULT_ROOM_SIZE, config.DEFAULT_ROOMS)
    if soft == resource.RLIM_INFINITY or soft >= wanted or is_default:
        return ""
    holds = max(0, soft - MAX_PENDING - SPARE_FILES)
    return (
        f"Only {holds} connections at a time: the system allows {soft} open files, and "
        f"--rooms and --room-size ask for {wanted}. Raise the limit with ulimit -n."
    )


def main(argv: list[str]) -> int:
    """Run the relay; return the exit code (UX.md 13)."""
    files.open_streams()
    try:
        settings = config.load_server(argv, os.environ)
        title.hide((settings.password,), os.environ, config.SECRET_VARIABLES)
        if settings.data is None:
            key = RelayKey.generate()
        else:
            files.make_private_dir(settings.data)
            key = load_relay_key(Path(settings.data, "relay_key"))
        password = config.DEFAULT_PASSWORD if settings.password is None else settings.password
        psk = ticket.derive_psk(password, key.public)
        listeners = listen(settings.hosts, settings.port)
    except TermchatError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2 if isinstance(problem, UsageError) else 1
    except KeyboardInterrupt:  # at a question, or before the console takes signals
        return 130
    for warning in settings.warnings:
        sys.stderr.write(f"{text.clean(warning)}\n")
    limited = raise_file_limit(settings)
    console = Console(out_fd=1)
    console.catch(signal.SIGINT, signal.SIGTERM)
    try:
        logged = LogQueue(Path(settings.log), console.row) if settings.log is not None else None
        server = Server(
            settings,
            key,
            psk,
            listeners,
            console.row,
            console.crash,
            on_stop=console.stop,
        )
    except FileError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    for row in greeting(settings, key.public, port_of(listeners, settings.port)):
        console.row(row)
    if limited:
        console.row(limited)
    supervisor = Supervisor(os.environ)
    if logged is not None:
        logged.start()
    log.info("started: port=%d", port_of(listeners, settings.port))
    server.start()
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda *_: server.office.hear(By(), Word.STATS.value))
    keyboard = Keyboard(lambda line: server.office.hear(By(), line))
    keyboard.start()
    console.has_prompt = keyboard.is_edited
    supervisor.tell("READY=1")
    console.run(supervisor.every_s, lambda: supervisor.beat(server))
    supervisor.tell("STOPPING=1")
    server.stop()
    keyboard.stop()
    forget_paths(settings.hosts)
    console.finish("Server has been stopped.")
    log.info("stopped")
    if logged is not None:
        logged.stop()
    return 1 if console.has_crashed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
