# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets>=17", "cryptography>=48"]
# ///
"""The relay at work: connections, loops, broadcasts, orders, console, start and stop.

What it decides is in common/relay; this file does it. It orders rooms it cannot read. Run
`python server.py --password X` and give the KEY it prints to those who shall join. What travels is
in common/PROTOCOL.md; where each line lives, in common/DESIGN.md.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import heapq
import itertools
import logging
import logging.handlers
import math
import os
import queue
import secrets
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

# An older Python compiles this file whole, and shows the first line that it cannot read: this one.
match "termchat needs Python 3.11 or newer", sys.version_info >= (3, 11):
    case needed, False:
        sys.exit(f"{needed}. Where there is uv: uv run server.py")
    case _:
        pass

if sys.flags.safe_path:  # by -P, -I or PYTHONSAFEPATH: what lies beside us must be named
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120

try:
    from common import config, files, proctitle, qr, streams
    from common.crypto import card as cards
    from common.crypto import ticket
    from common.crypto.identity import RelayKey, load_relay_key
    from common.errors import (
        EXIT_INTERRUPTED,
        FileError,
        ProtocolError,
        Refused,
        TermchatError,
        Unauthentic,
    )
    from common.log.journal import LogFile
    from common.log.memory import MemoryLog
    from common.log.sqlite import Store, StoredLog
    from common.relay import addresses, limits, operators
    from common.relay import console as consoles
    from common.relay.dozers import Dozers
    from common.relay.gate import REFUSALS, REPLAYS_KEPT, Gate
    from common.relay.greeting import UNIX, Greeter, client_words, folder_here
    from common.relay.operators import Giver, Notice, Operators, Outcome
    from common.relay.room import Room, Seat
    from common.relay.rules import Rules, RulesFile
    from common.relay.strangers import HANDSHAKES, JOINS, Strangers
    from common.term import text
    from common.wire import orders, records
    from common.wire.link import HANDSHAKE_S, Closed, ServerLink, State, Upgrade
    from common.wire.orders import Order
    from common.wire.pipe import Pipe
    from common.wire.records import (
        MAX_PLAINTEXT_BYTES,
        Answer,
        Command,
        Delivered,
        Hello,
        Join,
        Kind,
        Reason,
        Sent,
        Status,
    )
except KeyboardInterrupt:
    raise SystemExit(130) from None
except ImportError as problem:
    if problem.name == "common":
        sys.exit("The folder common is missing beside server.py. Get all files.")
    from common.needs import missing

    sys.stderr.write(f"{missing(problem, str(Path(__file__).parent))}\n")
    sys.exit(2)

log = logging.getLogger("termchat.server")

UNSENT_BYTES: Final = 256 * 1024
"""Answers (pongs) waiting for one connection; above it we stop reading what would make more."""
SURELY_ALL_BYTES: Final = (
    MAX_PLAINTEXT_BYTES - 2 - records.DELIVERED_HEAD_BYTES - records.MAX_MESSAGE_BYTES
)
"""A frame with less in it had room for any record: it was all there was."""
BACKLOG_S: Final = 0.2
"""How long members are not read when the disk does not keep up."""
ARRIVALS_S: Final = 0.05
"""How often arrivals are told at most: where hundreds come at once, each of them alone would cost a
frame to every member."""
ACCEPTS_PER_TURN: Final = 16
KNOCK_AGAIN_S: Final = 0.05
STRANGERS_PER_TURN: Final = 4
"""Handshakes, which cost the most of all we do: members wait for no more of them than these."""
READS_PER_TURN: Final = 8
"""How often we look for more to read before we send what came in."""
ACCEPT_PAUSE_S: Final = 0.5
STOP_S: Final = 2.0
TOO_MANY: Final = "no JOIN in time: others wait"
SHUTTING_DOWN: Final = "The relay is shutting down."
RETRY_DISK_S: Final = 2.0
LATE_S: Final = 1.0
"""A commit that took longer made its records late; their readers are not the slow ones."""
MAX_ORDERS: Final = 1_000
FOREGROUND_LOOK_S: Final = 0.25
ORDERS_LOOK_S: Final = 60.0
"""How long the end of a ban is waited for without a look at the wall clock, which can be set."""
SPARE_FILES: Final = 64
"""Descriptors for what is no connection: listeners, selectors, the stored log."""
CONSOLE_ROWS: Final = 1_000
LOG_WAITING: Final = 10_000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _cleaned(words: str) -> str:
    return text.clean(words, multiline=False)


def _notice(sentence: str) -> Delivered:
    return records.from_relay(Kind.NOTICE, records.cut_utf8(sentence, records.MAX_NOTICE_BYTES))


# -------------------------------------------------------------------------------------- Connections


FAULT: Final = "internal error: address=%s"
"""Of ours, or of a library: one connection ends over it, and no other."""


class Conn:
    """One connection, from first byte to last; its loop alone touches it.

    Attributes:
        address: as it is shown.
        network: what is throttled.
        seat: what it has in a room, once it has joined.
        wait_s: it is not read before then.
        timer_s: of its entry among the loop's timers.
        mask: what the selector was asked for.
    """

    __slots__ = (
        "_due_s",
        "_events",
        "_hello",
        "_in_bytes",
        "_in_records",
        "_is_waiting",
        "_loop",
        "_replies",
        "_replies_at",
        "address",
        "mask",
        "network",
        "pipe",
        "seat",
        "timer_s",
        "wait_s",
    )

    def __init__(
        self, loop: Loop, pipe: Pipe[ServerLink], address: str, network: str, now: float
    ) -> None:
        self._loop = loop
        self.pipe = pipe
        self.address = address
        self.network = network
        self.seat: Seat | None = None
        self.wait_s: float | None = None
        self.timer_s: float | None = None
        self.mask = 0
        # What it said, and was not done yet.
        self._events: deque[Upgrade | Sent | Closed] = deque()
        self._hello: Hello | None = None
        # When a request that waits is looked at again, or JOIN must have come.
        self._due_s: float | None = None
        self._is_waiting = False
        # The answer to JOIN, and the position of the log that it tells of.
        self._replies: list[bytes] = []
        self._replies_at = 0
        may = loop.server.settings
        rate = may.inbound_bytes_s
        self._in_bytes = limits.Bucket(rate, rate * limits.INBOUND_BURST_S, now)
        self._in_records = limits.Records(may.rate, may.burst, may.room_size, now)

    # --- In.

    def receive(self, now: float) -> None:
        """Take what the socket has, and do what it says."""
        data = self.pipe.read()
        if data is None:
            return
        link = self.pipe.link
        frames = link.frames
        try:
            self._events += link.receive(data, now)
        except Exception:
            log.exception(FAULT, self.address)
            self.end(503, "internal error", now)
        self._in_bytes.take(max(len(data), (link.frames - frames) * limits.FRAME_COST_BYTES), now)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Do what it said, as far as its rate allows."""
        server, was_in, waiting = self._loop.server, self.seat, len(self._events)
        try:
            self._on_events(now)
        except Refused as refused:
            self.end(refused.status, refused.text, now)
        except ProtocolError as problem:
            # Not to standard error, which may not be read, and would hold up the loop.
            what = _cleaned(str(problem))
            server.row(f"[Protocol error] {self.address}: {what}")
            log.info("protocol error: address=%s what=%s", self.address, what)
            self.end(400, str(problem), now)
        except Exception:
            log.exception(FAULT, self.address)
            self.end(503, "internal error", now)
        if was_in is not None and len(self._events) < waiting:
            server.wake(was_in.room)
        self._pace(now)

    def _pace(self, now: float) -> None:
        ready_s = self._in_bytes.ready_s()
        if self._events:  # it is not read either, until they are done
            ready_s = max(ready_s, self._in_records.ready_s())
        if self._loop.server.is_backlogged and self.seat is not None:
            ready_s = max(ready_s, now + BACKLOG_S)
        self.wait_s = ready_s if ready_s > now else None

    def _on_events(self, now: float) -> None:
        """Do what a connection says; the first that is not allowed raises, and ends it."""
        link, at_ms, events = self.pipe.link, self._loop.server.at_ms(), self._events
        while events:
            if self._must_wait(events[0], now):
                return
            match event := events.popleft():
                case Sent() if self.seat is not None:
                    self._on_record(self.seat, event, now, at_ms)
                case Sent() if link.state is State.OPEN:
                    self._on_join(event, now, at_ms)
                case Sent():
                    pass  # what a member said before its connection ended counts, but nobody joins
                case Upgrade():
                    self._on_upgrade(event, now)
                case Closed():
                    self.closed(event, now)

    def _must_wait(self, event: Upgrade | Sent | Closed, now: float) -> bool:
        spent = self._in_records
        is_counted = isinstance(event, Sent) and spent.counts(event.kind, event.to)
        return is_counted and self.seat is not None and spent.ready_s() > now

    def _on_record(self, seat: Seat, record: Sent, now: float, at_ms: int) -> None:
        if record.kind in limits.RECORDS:
            self._in_records.said(now)
        elif record.kind is Kind.SENDER_KEY:
            self._in_records.gave_key(record.to, now)
        if record.kind is Kind.COMMAND:
            self._on_command(seat, Command.decode(record.body))
            return
        was = seat.left_at
        for reply in seat.room.receive(seat, self, record, now, at_ms):
            self.send(reply)
        if seat.left_at != was:  # by itself: whoever removed it has seen to the rest
            self._loop.server.left(seat)

    def _on_command(self, seat: Seat, command: Command) -> None:
        """Hand an order on; what an older connection still has to say is nobody's."""
        if seat.room.is_held_by(seat, self):
            reply = functools.partial(self._loop.answer, self, command.order)
            giver = Giver(seat.username, seat.room, seat)
            self._loop.server.orders.hear(giver, command.text, reply)

    # --- The handshake.

    def _on_upgrade(self, upgrade: Upgrade, now: float) -> None:
        server = self._loop.server
        guest, row = server.proxies.behind(self.address, upgrade.x_forwarded_for, upgrade.forwarded)
        if row:
            server.row(_cleaned(row))
        if guest is not None:
            self.address, self.network = str(guest), addresses.network(guest)
        self._knock(now, offers_us=upgrade.offers_us)

    def _knock(self, now: float, *, offers_us: bool) -> None:
        """Answer a request, or let it wait for those of its network who are about to join."""
        server, link = self._loop.server, self.pipe.link
        status = server.gate.knock(self.network, offers_us=offers_us, now=now)
        self._is_waiting = status is None and not server.strangers.may_admit(self.network, now)
        if self._is_waiting:
            self._due_s = now + KNOCK_AGAIN_S
            return
        self._due_s = None
        if status is None:
            status = self._open(now)
        if status is not None:
            link.refuse(status, now, retry_after_s=60 if status == 429 else 0)
            server.reject(self.address, status, self._hello)
        elif link.accept(now):
            self._due_s = now + HANDSHAKE_S
            server.strangers.admitted(self, self.network, now)
        else:
            server.reject(self.address, 400, self._hello)

    def _open(self, now: float) -> int | None:
        """Open message 1, and return the status that refuses it."""
        server = self._loop.server
        try:
            hello, ephemeral = self.pipe.link.open(server.key, server.psk)
        except Unauthentic:
            server.gate.failed(self.network, now)
            return 401
        except ProtocolError:
            return 400
        if server.gate.is_replay(ephemeral):
            server.gate.failed(self.network, now)
            return 401
        self._hello = hello
        status = server.gate.admit(hello)
        # A bare status says no more. Whoever proves by JOIN who it is reads until when, and why.
        return None if status == 403 else status

    def _on_join(self, record: Sent, now: float, at_ms: int) -> None:
        hello, link, server = self._hello, self.pipe.link, self._loop.server
        if record.kind is not Kind.JOIN or hello is None:
            raise ProtocolError(f"{record.kind.name} before JOIN")
        join = Join.decode(record.body)
        card = cards.decode(join.card, server.room_id(hello.room))
        if (card.session, card.identity, card.username) != (
            hello.session,
            hello.identity,
            hello.username,
        ):
            raise ProtocolError("the card is not HELLO's")
        if not cards.is_proven(card, join.auth, link.handshake_hash):
            raise Refused(401, "identity not proven")
        if join.is_fresh and server.is_backlogged:
            raise Refused(503, "The log cannot be written.")
        seat, replaced = server.gate.take(hello, card, self, is_fresh=join.is_fresh)
        room = seat.room
        if join.is_fresh:
            if replaced is not None:
                server.leave(replaced, Reason.REPLACED)
            replies = room.join(seat, now, at_ms)
        else:
            replies = room.resume(seat, self, card, join, now, at_ms)
        # At once: whatever breaks from here on, the end of this connection leaves the seat.
        self.seat, self._hello, self._due_s = seat, None, None
        fresh, self._in_records = (
            self._in_records,
            server.spent.by(hello.identity, self._in_records),
        )
        if join.is_fresh and self._in_records is not fresh:
            self._in_records.said(now)  # or each return would bring an arrival for nothing
        self._loop.seated(self, room)
        server.strangers.gone(self)
        topic = server.rules.topics.get(room.name, "")
        if topic and join.is_fresh:
            replies.append(records.framed(_notice(operators.topic_of(topic)).encode()))
        if server.trouble:
            link.send(_notice(server.trouble))
        self._replies, self._replies_at = replies, room.position
        server.on_join(card.session, self.address)
        server.row(f"[Connected] {self._who(seat)}  {_where(room)}")
        if hint := server.proxies.came(self.address, hello.identity):
            server.row(hint)
        what = "joined" if join.is_fresh else "resumed"
        log.info("%s: name=%s room=%s address=%s", what, *_logged(seat), self.address)
        if hello.identity in server.rules.removed:
            # Banned since the gate was asked, perhaps too early to be found in the room.
            server.leave(seat, Reason.REMOVED, server.rules.why_removed(hello.identity))
        server.wake(room, can_wait=True)

    # --- Out.

    def send(self, record: Delivered) -> None:
        """Queue a record of no stream, if there is anybody to hear it."""
        if self.pipe.link.state is State.OPEN:
            self.pipe.link.send(record)

    def flush(self, now: float) -> bool:
        """Send what is ready, frame by frame while the socket takes it; False once it is over."""
        pipe, seat = self.pipe, self.seat
        is_sound = False
        try:
            is_sound = not pipe.unsent or pipe.flush()
            while is_sound:
                batch = self._next_batch(seat)
                if batch:
                    pipe.link.send_batch(batch)
                is_sound = pipe.flush()
                if pipe.unsent or len(batch) <= SURELY_ALL_BYTES:
                    break
            if seat is not None and is_sound:
                self._check_seat(seat, now)
        except Refused as refused:
            self.end(refused.status, refused.text, now)
            is_sound = is_sound and pipe.flush()
        except Exception:
            log.exception(FAULT, self.address)
            is_sound = False
        if not is_sound:
            self.closed(Closed(None, "connection lost"), now)
        return is_sound and not pipe.is_closed

    def _next_batch(self, seat: Seat | None) -> bytes:
        """Return what a connection is given next: the answer to its JOIN, then the log."""
        pipe = self.pipe
        if seat is None or pipe.unsent or pipe.link.state is not State.OPEN:
            return b""
        room = seat.room
        if not self._replies:
            # All that is new are arrivals. A newcomer sees its own, by which it knows that it is
            # in, no sooner than the others: what they say from then on must be for it too.
            return b"" if room in self._loop.entered else room.read(seat, self)
        if not room.shows(self._replies_at):
            return b""  # the log could still lose what the answer tells of
        self._loop.dirty[self] = None
        return _take(self._replies)

    def _check_seat(self, seat: Seat, now: float) -> None:
        """See whether a connection keeps up, and whether it still has its seat.

        Raises:
            Refused: 408 if it reads too slowly, 403 if an operator has removed it.
        """
        pipe = self.pipe
        if seat.holder is not self:
            if seat.reason is Reason.REMOVED:
                raise Refused(403, seat.why)
            # A newer connection of the session is in charge.
            pipe.link.close(0, "", now)
        elif pipe.unsent:
            if pipe.link.state is State.OPEN:
                seat.room.check_lag(seat, now)
            return
        elif seat.left_at is not None and seat.cursor.room >= seat.left_at:
            self.closed(Closed(None, "left"), now)
            pipe.link.close(0, "", now)
        else:
            seat.cursor.oldest_s = math.inf
            return
        pipe.flush()

    # --- Time.

    def wanted(self) -> int:
        """Return what the selector is to be asked for."""
        mask = selectors.EVENT_WRITE if self.pipe.unsent else 0
        if self.wait_s is None and self.pipe.unsent_bytes < UNSENT_BYTES:
            mask |= selectors.EVENT_READ
        return mask

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted."""
        stalled = None
        if self.seat is not None and self.pipe.unsent:
            stalled = self.seat.cursor.oldest_s + limits.OUTBOUND_S + 0.001
        first = self.pipe.link.deadline()
        for at in (self._due_s, self.wait_s, stalled):
            if at is not None and (first is None or at < first):
                first = at
        return first

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self.wait_s is not None:
            if self.wait_s <= now:
                # Whoever joins is read all the same: that is bounded by the gate.
                is_held = self._loop.server.is_backlogged and self.seat is not None
                self.wait_s = now + BACKLOG_S if is_held else None
                if self._events and not is_held:
                    self._go_on(now)
            # Its answers wait unread in the socket, so its silence is ours.
            self.pipe.link.rest(now)
        for closed in self.pipe.link.tick(now):
            self.closed(closed, now)
        if self._due_s is not None and self._due_s <= now:
            if not self._is_waiting:
                self.end(408, "no JOIN in time", now)
                return
            try:
                self._knock(now, offers_us=True)
            except Exception:
                log.exception(FAULT, self.address)
                self.pipe.link.abandon()

    # --- The end.

    def end(self, status: int, why: str, now: float) -> None:
        """Tell a connection why it ends."""
        try:
            self.pipe.link.close(status, why, now)
        except Exception:
            log.exception(FAULT, self.address)
            self.pipe.link.abandon()
        self.closed(Closed(Refused(status, why), why), now)
        self._loop.dirty[self] = None

    def make_way(self) -> None:
        """End soon, unless it is through meanwhile: others come in; called from any thread."""
        self._loop.end_stranger(self)

    def closed(self, closed: Closed, now: float) -> None:
        """Leave the seat to its GRACE; the socket stays until the link is closed."""
        is_joining, server = self._due_s is not None, self._loop.server
        self._due_s = None
        self._events.clear()
        seat, self.seat = self.seat, None
        if seat is None:
            if is_joining and closed.refused is not None:
                refused = closed.refused
                server.reject(self.address, refused.status, self._hello, refused.text)
            return
        self._loop.unseated(self, seat.room)
        is_held = seat.holder is self or seat.reason is Reason.REMOVED
        if seat.room.dropped(seat, self, now) is not None:
            self._loop.expect([seat])
        if is_held:
            why, (name, room) = _cleaned(closed.why), _logged(seat)
            told = (name, room, self.address, why)
            log.info("disconnected: name=%s room=%s address=%s why=%s", *told)
            server.row(f"[Disconnected] {self._who(seat)}  {_where(seat.room)}  {why}")

    def _who(self, seat: Seat) -> str:
        return f"Username: {_cleaned(seat.username)}  Address: {self.address}"


def _take(frames: list[bytes]) -> bytes:
    """Remove what fits into one frame, and return it joined."""
    ends = itertools.accumulate(map(len, frames))
    count = sum(1 for _ in itertools.takewhile(MAX_PLAINTEXT_BYTES.__ge__, ends))
    batch = b"".join(frames[:count])
    del frames[:count]
    return batch


def _logged(seat: Seat) -> tuple[str, str]:
    return _cleaned(seat.username), _cleaned(seat.room.path)


def _where(room: Room) -> str:
    return f"[Path] {_cleaned(room.path)}  {room.members} users"


# -------------------------------------------------------------------------------------------- Loops


class Loop:
    """The connections of one thread, and what is due for them; it knows no selector and no clock.

    Attributes:
        server: whose it is.
        conns: all of them, strangers included.
        dirty: who may have something to send.
        grown: rooms that have more to read.
        entered: rooms that somebody came into, and that were not told of it yet.
        on_watch: asks the selector for another mask of a connection; sets it.
        on_wake: makes the thread turn; called from any thread.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.conns: set[Conn] = set()
        self.dirty: dict[Conn, None] = {}
        self.grown: set[Room] = set()
        self.entered: set[Room] = set()
        self.on_watch: Callable[[Conn, int], None] = _note_mask
        self.on_wake: Callable[[], None] = lambda: None
        self._rooms: dict[Room, set[Conn]] = {}
        self._dozers = Dozers[Conn]()
        self._timers: list[tuple[float, int, Conn]] = []
        self._graces: list[tuple[float, int, Seat]] = []
        self._order = itertools.count()
        self._tell_at_s = 0.0
        self._told: queue.SimpleQueue[Notice | Conn | tuple[Conn, Answer]] = queue.SimpleQueue()

    # --- From any thread.

    def wake(self, room: Room, *, can_wait: bool = False) -> None:
        """Note that a room grew, perhaps by no more than an arrival."""
        (self.entered if can_wait else self.grown).add(room)
        self.on_wake()

    def tell(self, notice: Notice) -> None:
        """Tell those of its members that are here."""
        self._told.put(notice)
        self.on_wake()

    def answer(self, conn: Conn, order: int, status: Status, row: str) -> None:
        """Answer an order, to the connection that gave it."""
        self._told.put((conn, Answer(order, status, row)))
        self.on_wake()

    def end_stranger(self, conn: Conn) -> None:
        """End a connection that is in no room yet, if it is still so by then."""
        self._told.put(conn)
        self.on_wake()

    # --- Connections.

    def admit(self, pipe: Pipe[ServerLink], address: str, network: str, now: float) -> Conn:
        """Take charge of a connection."""
        conn = Conn(self, pipe, address, network, now)
        self.conns.add(conn)
        self.dirty[conn] = None
        self._watch(conn)
        self.server.strangers.arrived(conn, network, now)
        return conn

    def ready(self, conn: Conn, mask: int, now: float) -> None:
        """Serve a socket that can be read or written."""
        self.dirty[conn] = None
        # The selector hears of a throttle only after the turn, in which we may look several times.
        if mask & selectors.EVENT_READ and conn.wait_s is None:
            conn.receive(now)

    def seated(self, conn: Conn, room: Room) -> None:
        """Note that a connection is in a room."""
        self._rooms.setdefault(room, set()).add(conn)

    def unseated(self, conn: Conn, room: Room) -> None:
        """Note that a connection is in no room any more."""
        members = self._rooms[room]
        members.discard(conn)
        if not members:
            del self._rooms[room]

    def expect(self, seats: Iterable[Seat]) -> None:
        """Watch the GRACE of members that are away."""
        for seat in seats:
            # One entry for each seat, or a member that comes and goes would fill the memory.
            if seat.room.watch(seat):
                heapq.heappush(self._graces, (seat.expires_s, next(self._order), seat))

    def _watch(self, conn: Conn) -> None:
        """Wait for what this connection now wants."""
        mask = conn.wanted()
        if mask != conn.mask:
            self.on_watch(conn, mask)
        at = conn.deadline()
        if at is not None and (conn.timer_s is None or at < conn.timer_s):
            conn.timer_s = at
            heapq.heappush(self._timers, (at, next(self._order), conn))

    def _remove(self, conn: Conn, now: float) -> None:
        conn.closed(Closed(None, "connection lost"), now)
        self.conns.discard(conn)
        self.dirty.pop(conn, None)
        self.server.strangers.gone(conn)
        if conn.mask:
            self.on_watch(conn, 0)
        conn.pipe.sock.close()

    # --- A turn.

    def deadline(self) -> float | None:
        """Return when `turn` is next wanted."""
        times = [entries[0][0] for entries in (self._timers, self._graces) if entries]
        dozing_s = self._dozers.deadline()
        if dozing_s is not None:
            times.append(dozing_s)
        if self.entered:
            times.append(self._tell_at_s)
        return min(times, default=None)

    def turn(self, now: float) -> None:
        """Do what is due, and send what is ready."""
        self._tick(now)
        while not self._told.empty():
            self._pass_on(self._told.get_nowait(), now)
        self.flush(now)

    def _tick(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            at, _, conn = heapq.heappop(self._timers)
            if conn.timer_s == at and conn in self.conns:
                conn.timer_s = None
                self.dirty[conn] = None
                conn.tick(now)
        while self._graces and self._graces[0][0] <= now:
            _, _, seat = heapq.heappop(self._graces)
            if seat.room.expire(seat, now, self.server.at_ms()):
                self.server.left(seat)
            elif (again_s := seat.room.still_watched(seat)) is not None:
                heapq.heappush(self._graces, (again_s, next(self._order), seat))
        if self.entered and self._tell_at_s <= now:
            self.tell_arrivals(now)
        for conn in self._dozers.tick(now):
            conn.pipe.link.doze()

    def tell_arrivals(self, now: float) -> None:
        """Tell of those who came, and then of no more for a moment."""
        self._tell_at_s = now + ARRIVALS_S
        while self.entered:
            self.grown.add(self.entered.pop())

    def _pass_on(self, told: Notice | Conn | tuple[Conn, Answer], now: float) -> None:
        if isinstance(told, Conn):
            if told in self.conns and told.seat is None and not self.server.strangers.has(told):
                told.end(408, TOO_MANY, now)
                told.flush(now)
                # Whoever does not read must not keep the descriptor.
                told.pipe.link.abandon()
            return
        if not isinstance(told, Notice):
            conn, answer = told
            if conn.seat is not None and conn.seat.holder is conn:
                conn.send(records.from_relay(Kind.ANSWER, answer.encode()))
                self.dirty[conn] = None
            return
        record = _notice(told.sentence)
        for conn in self.conns if told.room is None else self._rooms.get(told.room, ()):
            if conn.seat is not None:
                conn.send(record)
                self.dirty[conn] = None

    def flush(self, now: float) -> None:
        """Give every connection with something to send one turn."""
        while self.grown:
            room = self.grown.pop()
            self.entered.discard(room)
            for conn in self._rooms.get(room, ()):
                self.dirty[conn] = None
        self._dozers.stir(self.dirty, now)
        read = {conn.seat.room for conn in self.dirty if conn.seat is not None}
        while self.dirty:
            conn, _ = self.dirty.popitem()
            if conn.flush(now):
                self._watch(conn)
            else:
                self._remove(conn, now)
        for room in read:
            room.rest()

    # --- The end.

    def stop(self, now: float) -> None:
        """Tell every connection that we stop, and why it ends."""
        self.tell(Notice(SHUTTING_DOWN))
        self.dirty.update(dict.fromkeys(self.conns))
        self.turn(now)
        for conn in list(self.conns):
            conn.end(503, SHUTTING_DOWN, now)
        self.flush(now)

    def close(self, now: float) -> None:
        """Let go of every connection, whatever it has still to be told."""
        for conn in list(self.conns):
            self._remove(conn, now)


def _note_mask(conn: Conn, mask: int) -> None:
    conn.mask = mask


def _thread(name: str, run: Callable[[], object], server: Server) -> threading.Thread:
    """Return a thread without which the relay would go on half dead: the main one ends it then."""

    def guard() -> None:
        try:
            run()
        except Exception:
            log.exception("%s failed", name)
            server.crashed()

    return threading.Thread(target=guard, name=name, daemon=True)


class LoopThread:
    """The thread of one loop: its selector, its clock, and the sockets it listens at."""

    def __init__(self, server: Server, loop: Loop) -> None:
        self._server = server
        self._loop = loop
        self._selector = selectors.DefaultSelector()
        self._is_woken = False
        self._has_turned = True
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._accept_at_s: float | None = None
        self._stop_by_s: float | None = None
        self._is_stopping = False
        self._thread = _thread("loop", self._run, server)
        self._listen()
        # Last: others may wake the loop already.
        loop.on_watch, loop.on_wake = self._watch, self._on_wake

    def start(self) -> None:
        """Run."""
        self._thread.start()

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

    def _on_wake(self) -> None:
        # Waking twice is waking once: the thread clears the flag before the loop drains its sets.
        if not self._is_woken and threading.get_ident() != self._thread.ident:
            self._wake()

    def _wake(self) -> None:
        self._is_woken = True
        with contextlib.suppress(BlockingIOError):
            self._wake_in.send(b"\0")

    def _run(self) -> None:
        while True:
            self._read_all()
            self._is_woken = False
            self._has_turned = True
            now = time.monotonic()
            if self._accept_at_s is not None and self._accept_at_s <= now:
                self._accept_at_s = None
                self._listen()
            self._loop.turn(now)
            if self._is_stopping and self._is_stopped(now):
                return

    def _read_all(self) -> None:
        """Wait for input and take it, with what comes meanwhile: a flush costs as much for less."""
        wait_s, strangers, loop = self._timeout_s(), 0, self._loop
        knocked: set[socket.socket] = set()
        for _ in range(READS_PER_TURN):
            ready = self._selector.select(wait_s)
            for key, mask in ready:
                now = time.monotonic()
                if isinstance(key.data, Conn):
                    strangers += key.data.seat is None
                    # A handshake is dear: those past the limit are still ready in the next turn.
                    if key.data.seat is not None or strangers <= STRANGERS_PER_TURN:
                        loop.ready(key.data, mask, now)
                elif key.fileobj is self._wake_out:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_out.recv(4096)
                elif isinstance(key.fileobj, socket.socket):
                    knocked.add(key.fileobj)
            if not ready or not loop.grown:
                break
            wait_s = 0.0
        # Strangers whom we kept waiting must not be taken for those who keep us waiting.
        count = 1 if strangers > STRANGERS_PER_TURN else ACCEPTS_PER_TURN
        for listener in knocked:
            self._accept(listener, count, time.monotonic())

    def _timeout_s(self) -> float | None:
        others = (self._loop.deadline(), self._accept_at_s, self._stop_by_s)
        times = [at for at in others if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _watch(self, conn: Conn, mask: int) -> None:
        """Ask the selector for another mask."""
        if not conn.mask:
            self._selector.register(conn.pipe.sock, mask, conn)
        elif not mask:
            self._selector.unregister(conn.pipe.sock)
        else:
            self._selector.modify(conn.pipe.sock, mask, conn)
        conn.mask = mask

    def _is_stopped(self, now: float) -> bool:
        """Tell every connection once, then wait for the last to close, but not for ever."""
        if self._stop_by_s is None:
            self._stop_by_s = now + STOP_S
            self._pause_accepting(None)
            self._loop.stop(now)
        if self._loop.conns and now < self._stop_by_s:
            return False
        self._loop.close(now)
        self._selector.close()
        return True

    # --- Accepting.

    def _listen(self) -> None:
        for listener in self._server.listeners:
            self._selector.register(listener, selectors.EVENT_READ)

    def _pause_accepting(self, until_s: float | None) -> None:
        self._accept_at_s = until_s
        for listener in self._server.listeners:
            with contextlib.suppress(KeyError):
                self._selector.unregister(listener)

    def _accept(self, listener: socket.socket, count: int, now: float) -> None:
        for _ in range(count):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as problem:
                if problem.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._server.row(f"Accepting failed: {problem.strerror}.")
                # Out of descriptors: a stranger makes way in this turn. If there is none, the
                # backlog waits, and those inside are served meanwhile.
                made_way = self._server.strangers.make_way()
                self._pause_accepting(now if made_way else now + ACCEPT_PAUSE_S)
                return
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._loop.admit(Pipe(sock, ServerLink(now)), *addresses.of_peer(peer), now)


# -------------------------------------------------------------------------------------- StoreWriter


class StoreWriter:
    """The one thread that writes the stored log, and then lets the loops show it.

    Attributes:
        store: the file.
    """

    def __init__(self, server: Server, directory: Path) -> None:
        """Open the log.

        Raises:
            FileError: if it cannot be used.
        """
        self._server = server
        self._has_work = threading.Event()
        self.store = Store(directory, self._has_work.set)
        self._logs: dict[Room, StoredLog] = {}
        self._stopping = threading.Event()
        self._thread = _thread("writer", self._run, server)

    def restore(self, now: float) -> list[tuple[Room, list[Seat]]]:
        """Return the rooms of the file that have members, and their seats.

        Raises:
            FileError: if the file is damaged.
        """
        found: list[tuple[Room, list[Seat]]] = []
        for stored in self.store.load(now):
            if not stored.cards or not stored.hashes:
                self.store.remove(stored.log)
                continue
            room = self._add(stored.name, stored.log)
            try:
                found.append((room, room.restore(stored, now)))
            except ProtocolError as problem:
                raise FileError(f"The stored log is of another relay key: {problem}.") from None
        return found

    def make_room(self, name: str, log_id: bytes) -> Room:
        """Return a new room whose log is stored."""
        return self._add(name, self.store.add(name, log_id))

    def _add(self, name: str, stored: StoredLog) -> Room:
        room = self._server.make_room_over(name, stored)

        def show() -> None:
            room.show()
            self._server.wake(room)

        stored.on_commit = show
        self._logs[room] = stored
        return room

    def forget(self, room: Room) -> None:
        """Remove a room that all members have left."""
        self.store.remove(self._logs.pop(room))

    @property
    def is_backlogged(self) -> bool:
        """Whether so much waits for the disk that nothing more should be taken in."""
        return self.store.is_backlogged

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and close the file."""
        self._stopping.set()
        self._has_work.set()
        self._thread.join(STOP_S)
        if not self._thread.is_alive():  # else the disk hangs, and so would we
            self.store.close()

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
                grown = self.store.commit()
            except FileError as problem:
                self._server.worry(f"{problem} What you send waits until it can be.")
                if self._stopping.wait(RETRY_DISK_S):
                    return []
        self._server.worry("")
        return grown


# ------------------------------------------------------------------------------------------- Orders

Reply = Callable[[Status, str], None]
"""Takes a row of an answer; the last has another status than CONTINUE."""


class Orders:
    """The thread in which orders are carried out: neither a disk nor scrypt holds up a loop."""

    def __init__(self, server: Server, file: RulesFile | None, on_stop: Callable[[], None]) -> None:
        """Take up the rules of the relay before us.

        Raises:
            FileError: if they cannot be used.
        """
        self._server = server
        self._operators = Operators(
            server.gate,
            server.rules,
            file,
            server.settings.operators,
            tell=self._tell,
            remove=lambda seat, why: server.leave(seat, Reason.REMOVED, why),
            change_password=server.change_password,
            stats=self._stats,
            stop=on_stop,
        )
        server.rules.on_met = lambda: self._waiting.put(None)
        self._waiting: queue.SimpleQueue[tuple[Giver, Order, Reply] | None] = queue.SimpleQueue()
        self._is_stopping = False
        self._thread = _thread("orders", self._run, server)

    def hear(self, giver: Giver, line: str, reply: Reply | None = None) -> None:
        """Take an order; called from any thread. Without a reply, it is the console's."""
        reply = reply or self._show_answer
        found = self._operators.read(giver, line, self._server.at_ms())
        if not isinstance(found, Order):
            _answer(reply, found)
        elif self._waiting.qsize() < MAX_ORDERS:
            self._waiting.put((giver, found, reply))
        else:
            busy = f"Too many orders wait. {orders.UNCHANGED}"
            _answer(reply, Outcome(Status.UNAVAILABLE, [busy]))

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
            until_ms = self._server.rules.deadline_ms()
            wait_s = None
            if until_ms is not None:
                wait_s = min(ORDERS_LOOK_S, (until_ms - self._server.at_ms()) / 1_000)
            self.turn(wait_s)

    def turn(self, wait_s: float | None) -> bool:
        """Carry out one order, if one comes in time, and end what is over; False if none came."""
        try:
            item = self._waiting.get(timeout=wait_s if wait_s is None else max(0.0, wait_s))
        except queue.Empty:
            if self._is_due():
                self._end_what_is_over()
            return False
        if self._is_stopping:
            return True
        if item is None or self._is_due():
            self._end_what_is_over()
        if item is not None:
            giver, order, reply = item
            try:
                outcome = self._operators.obey(giver, order, self._server.at_ms())
            except Exception:
                log.exception("an order failed")
                broke = "Something broke here. The log, or standard error, says what."
                outcome = Outcome(Status.INTERNAL_ERROR, [broke])
            _answer(reply, outcome)
        return True

    def _is_due(self) -> bool:
        until_ms = self._server.rules.deadline_ms()
        return until_ms is not None and until_ms <= self._server.at_ms()

    def _end_what_is_over(self) -> None:
        try:
            for row in self._operators.tick(self._server.at_ms()):
                self._show(row)
        except Exception:
            log.exception("what is over could not be ended, or kept")

    def _stats(self) -> str:
        stats = self._server.stats
        log.info("stats: %s", stats)
        return stats

    def _tell(self, notice: Notice) -> None:
        self._show(notice.sentence)
        if notice.is_told:
            self._server.notify(notice)

    def _show(self, row: str) -> None:
        shown = _cleaned(row)
        self._server.row(f"[Operator] {shown}")
        log.info("operator: %s", shown)

    def _show_answer(self, _status: Status, row: str) -> None:
        if row:
            self._server.row(_cleaned(row))


def _answer(reply: Reply, outcome: Outcome) -> None:
    *rows, last = outcome.rows or [""]
    for row in rows:
        reply(Status.CONTINUE, row)
    reply(outcome.status, last)


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
        now: Callable[[], float] = time.monotonic,
        at_ms: Callable[[], int] = _now_ms,
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
            now: returns monotonic seconds.
            at_ms: returns the wall clock, in milliseconds since 1970.

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
        self.rules = Rules()
        self.refused = 0
        self.now = now
        self.at_ms = at_ms
        self.began_s = now()
        self.proxies = addresses.Proxies(settings.proxies)
        self.trouble = ""
        """Why the log cannot be written, as long as it cannot."""
        self.gate = Gate(
            threading.Lock(),
            room_size=settings.room_size,
            rooms=settings.rooms,
            make_room=self._make_room,
            on_empty=self._forget_room,
            also_judge=also_judge,
            rules=self.rules,
        )
        self.spent = limits.Spent(threading.Lock())
        self.strangers = Strangers[Conn](threading.Lock(), Conn.make_way)
        data = Path(settings.data) if settings.data is not None else None
        self.orders = Orders(self, RulesFile(data / "rules") if data is not None else None, on_stop)
        self._writer = StoreWriter(self, data) if data is not None else None
        self.loops = [Loop(self) for _ in range(settings.threads or _default_threads())]
        self._threads: list[LoopThread] = []
        if self._writer is not None:
            for room, seats in self._writer.restore(now()):
                self.gate.restore(room, seats)
                self.loops[0].expect(seats)
            store = self._writer.store
            self.gate.remember(store.seen(REPLAYS_KEPT))
            self.gate.on_new = functools.partial(store.saw, kept=REPLAYS_KEPT)

    def start(self) -> None:
        """Start serving."""
        self._threads = [LoopThread(self, loop) for loop in self.loops]
        if self._writer is not None:
            self._writer.start()
        for thread in self._threads:
            thread.start()
        self.orders.start()

    def is_alive(self) -> bool:
        """Tell whether every loop has turned since the last call."""
        return all([thread.has_turned() for thread in self._threads])  # noqa: C419 - each is asked

    def stop(self) -> None:
        """Tell everybody, close every socket, and wait for it."""
        self.gate.is_closing = True
        self.orders.stop()
        for thread in self._threads:
            thread.stop()
        for thread in self._threads:
            thread.join(STOP_S + 1)
        if self._writer is not None:
            # It wakes the loops till its end.
            self._writer.stop()
        for thread in self._threads:
            thread.close()
        for listener in self.listeners:
            listener.close()

    # --- Rooms.

    def wake(self, room: Room, *, can_wait: bool = False) -> None:
        """Note that a room grew, perhaps by no more than an arrival."""
        for loop in self.loops:
            loop.wake(room, can_wait=can_wait)

    def leave(self, seat: Seat, reason: Reason, why: str = "") -> bool:
        """Make a member leave; False if it has left by itself. Called from any thread."""
        is_new = seat.room.leave(seat, reason, self.now(), self.at_ms(), why)
        if is_new:
            self.left(seat)
        return is_new

    def left(self, seat: Seat) -> None:
        """The one door out of a room, once the LEAVE is in its log: free the name, wake others."""
        reason = seat.reason.name.lower() if seat.reason is not None else ""
        log.info("%s: name=%s room=%s", reason, *_logged(seat))
        self.gate.release(seat)
        self.wake(seat.room)

    def room_id(self, name: str) -> bytes:
        """Return the id of a room of this relay."""
        return ticket.room_id(self.key.public, name)

    def make_room_over(self, name: str, room_log: MemoryLog) -> Room:
        """Return a new room over a log."""
        grace_s, lock = self.settings.grace_s, threading.Lock()
        return Room(name, self.room_id(name), room_log, grace_s, self.rules, lock)

    def _make_room(self, name: str) -> Room:
        log_id = secrets.token_bytes(records.LOG_ID_BYTES)
        if self._writer is None:
            return self.make_room_over(name, MemoryLog(log_id))
        return self._writer.make_room(name, log_id)

    def _forget_room(self, room: Room) -> None:
        if self._writer is not None:
            self._writer.forget(room)

    # --- Words.

    def tell(self, sentence: str) -> None:
        """Show a sentence to every member and at the console."""
        self.row(sentence)
        self.notify(Notice(sentence))

    def notify(self, notice: Notice) -> None:
        """Tell members something."""
        for loop in self.loops:
            loop.tell(notice)

    @property
    def stats(self) -> str:
        """What the relay does, in a row."""
        rooms = self.gate.rooms
        members = sum(room.members for room in rooms)
        logged = sum(room.position for room in rooms)
        return (
            f"Up {text.duration(self.now() - self.began_s)}. Members: {members}. "
            f"Rooms: {len(rooms)}. Connections: {sum(len(loop.conns) for loop in self.loops)}. "
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

    def reject(self, address: str, status: int, hello: Hello | None, why: str = "") -> None:
        """Show a refusal, and of whom, if that could be read."""
        self.refused += 1
        why = _cleaned(why) or REFUSALS.get(status, f"status {status}")
        name = _cleaned(hello.username) if hello is not None else ""
        who = f"Username: {name}  Address: {address}" if name else address
        self.row(f"[Rejected] {who}: {why}")
        log.info("refused: address=%s name=%s status=%d why=%s", address, name, status, why)


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
        if isinstance(this, socket.gaierror | UnicodeError):
            why = "The host given with --host does not resolve. Use an address of this machine."
            raise FileError(why) from None
        raise FileError(consoles.why_not_bound(this, port)) from None
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
        # As open as a port of this machine would be: the directory says who may come near. Not by
        # chmod, which would open whatever somebody has put at that path meanwhile.
        umask = os.umask(0o111)
        try:
            sock.bind(path)
        finally:
            os.umask(umask)
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


def _default_threads() -> int:
    """Return one, or one per core where threads run at once: with the GIL a second only costs."""
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return 1 if has_gil else os.cpu_count() or 1


# ------------------------------------------------------------------------------------------ Console


class Keyboard:
    """Lines typed at the console, in a thread of their own: who edits a line waits for its end."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._modes: list[object] | None = None
        self._thread = threading.Thread(target=self._run, name="keyboard", daemon=True)

    def is_edited(self) -> bool:
        """Tell whether there is a prompt, above which rows must be written."""
        return self._modes is not None and not _is_in_background()

    def start(self) -> None:
        """Read standard input from now on, whenever it is ours to read."""
        self._thread.start()

    def stop(self) -> None:
        """Give the terminal back as it was found."""
        if self.is_edited():
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self._modes)  # type: ignore[arg-type] # as got

    def _run(self) -> None:
        _await_foreground()
        self._modes = _modes_to_edit()
        for line in _typed() if self._modes is None else self._edited():
            if line.strip():
                self._on_line(line)

    def _edited(self) -> Iterator[str]:
        """Yield lines from the line editor; what may hold a password enters no history."""
        import readline

        readline.set_auto_history(False)
        while True:
            _await_foreground()
            try:
                line = input(consoles.PROMPT)
            except UnicodeDecodeError:
                continue
            except (EOFError, OSError):
                if _has_ended():
                    return
                continue
            if line.strip() and not orders.is_secret(line):
                readline.add_history(line)
            yield line


def _modes_to_edit() -> list[object] | None:
    """Return the terminal's modes, if it is one in which a line can be edited."""
    is_terminal = os.isatty(0) and os.isatty(1)
    if not is_terminal or not consoles.can_edit(os.environ.get("TERM", "")):
        return None
    try:
        import readline  # noqa: F401 - some builds of Python have none
        import termios
    except ImportError:
        return None
    return termios.tcgetattr(0)


def _is_in_background() -> bool:
    """Tell whether the terminal is another program's, in which a shell has put us behind it."""
    try:
        return hasattr(os, "tcgetpgrp") and os.tcgetpgrp(0) != os.getpgrp()
    except OSError:  # it is no terminal of ours
        return False


def _await_foreground() -> None:
    while _is_in_background():  # no signal tells of its end
        time.sleep(FOREGROUND_LOOK_S)


def _has_ended() -> bool:
    """Tell whether input that gave nothing will give nothing more.

    A terminal will, after Ctrl-D, or a key that was for a program in front of us, until it is gone.
    """
    if not os.isatty(0):
        return True
    time.sleep(FOREGROUND_LOOK_S)
    return False


def _typed() -> Iterator[str]:
    """Yield whole lines of standard input, as they come; one that is cut off is none."""
    line = b""
    while True:
        _await_foreground()
        try:
            data = streams.read(0, 4096)
        except OSError:
            data = b""
        if not data and _has_ended():
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
        self.has_prompt: Callable[[], bool] = lambda: False
        """Tells whether a line is being edited, which rows must leave alone."""
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
            self.write()

    def finish(self, last: str) -> None:
        """Write what is left and a last row, as far as the terminal takes it at once."""
        if self.has_prompt():
            self.has_prompt = lambda: False
            self._unsent += consoles.NO_PROMPT
        self._rows.put(last)
        for _ in range(CONSOLE_ROWS + 1):
            self.write()
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

    def write(self) -> None:
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
        if not self.has_prompt():
            return f"{row}\n"
        try:
            columns = os.get_terminal_size(self._out_fd).columns  # not as the environment has it
        except OSError:
            columns = 0
        return consoles.above_line(row, columns or 80)

    def _next_row(self) -> str:
        if self._skipped and self._rows.empty():
            skipped, self._skipped = self._skipped, 0
            return f"{skipped} rows not shown"
        return self._rows.get_nowait()


ROW_BYTES: Final = 512
"""POSIX PIPE_BUF: what a writable pipe takes without blocking."""


def _can_select(fd: int) -> bool:
    return os.name == "posix" and fd < 1024


def _is_writable(fd: int) -> bool:
    if not _can_select(fd):
        return True
    with selectors.SelectSelector() as selector:
        selector.register(fd, selectors.EVENT_WRITE)
        return bool(selector.select(0))


# ---------------------------------------------------------------------------------------------- Log


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

    def reopen(self) -> None:
        """Begin a new file with the next line: called from a signal handler."""
        self._file.has_moved = True

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


def welcome(
    settings: config.ServerConfig,
    key: bytes,
    listeners: list[socket.socket],
    on_row: Callable[[str], None],
) -> None:
    """Tell where we listen, and how to join; a resolver that does not answer delays nobody."""
    port = port_of(listeners, settings.port)
    at_port = None if port == config.DEFAULT_PORT else port
    script, folder = str(Path(__file__).with_name("client.py")), folder_here()
    greeter = Greeter(
        ticket.key_text(key),
        port,
        lambda host: ticket.encode(ticket.Ticket(key, None, host, at_port)),
        client_words(sys.executable or "", script, folder, os.environ),
    )
    every = {s.family for s in listeners if addresses.is_every(str(s.getsockname()[0]))}
    hosts = _routed(every) + [host for host in settings.hosts if not addresses.is_every(host)]
    hosts = hosts or ["localhost"]
    for row in greeter.rows(
        hosts,
        is_every_ipv4=socket.AF_INET in every,
        is_every_ipv6=socket.AF_INET6 in every,
        has_password=settings.password is not None,
        is_kept=settings.data is not None,
    ):
        on_row(row)
    for row in qr.rows(greeter.ticket(hosts[0])) if settings.qr else ():
        on_row(row)

    def look_up() -> None:
        found = []
        with contextlib.suppress(OSError, UnicodeError):
            found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
        for host in addresses.for_guests(str(row[4][0]) for row in found if row[0] in every):
            if host not in hosts:
                on_row(greeter.join(host))

    if every:
        threading.Thread(target=look_up, name="own name", daemon=True).start()


def _routed(families: set[socket.AddressFamily]) -> list[str]:
    """Return what addresses of ours others would see, without asking anybody."""
    found = []
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # Connecting a datagram socket sends nothing: it asks the routing table which address we
        # would use towards one that is reserved for documentation (RFC 5737, RFC 3849).
        if family in families:
            with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((somewhere, 9))
                found.append(str(probe.getsockname()[0]))
    return addresses.for_guests(found)


def raise_file_limit(settings: config.ServerConfig) -> str:
    """Let this process hold as many connections as are configured.

    Returns:
        What to tell the operator if the system does not allow it, or "".
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return ""
    wanted = settings.room_size * max(1, settings.rooms) + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + HANDSHAKES + JOINS  # who make way for members where there is less
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit than it names
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    # The defaults are bounds that nobody asked us to reach.
    default = config.ServerConfig()
    is_default = (settings.room_size, settings.rooms) == (default.room_size, default.rooms)
    if soft == resource.RLIM_INFINITY or soft >= wanted or is_default:
        return ""
    holds = max(0, soft - SPARE_FILES)
    return (
        f"Only {holds} connections at a time: the system allows {soft} open files, and "
        f"--rooms and --room-size ask for {wanted}. Raise the limit with ulimit -n."
    )


def catch_hangup(console: Console, logged: LogQueue | None) -> None:
    """Stop when our terminal goes; where there is none, SIGHUP is a daemon's: open the log anew."""
    if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return  # what nohup made us ignore stays ignored
    if any(map(os.isatty, range(3))):
        console.catch(signal.SIGHUP)
    else:
        signal.signal(signal.SIGHUP, lambda *_: logged.reopen() if logged is not None else None)


def main(argv: list[str]) -> int:
    """Run the relay; return the exit code (UX.md 13)."""
    proctitle.leave_no_core()
    streams.open_streams()
    try:
        settings = config.load_server(argv, os.environ)
        proctitle.hide((settings.password,), os.environ, config.SECRET_VARIABLES)
        if settings.qr:
            qr.check()
        if settings.data is None:
            key = RelayKey.generate()
        else:
            files.make_private_dir(settings.data)
            key = load_relay_key(Path(settings.data, "relay_key"))
        password = config.DEFAULT_PASSWORD if settings.password is None else settings.password
        psk = ticket.derive_psk(password, key.public)
        listeners = listen(settings.hosts, settings.port)
    except TermchatError as problem:
        streams.put_err(f"{text.clean(str(problem))}\n")
        return problem.exit_code
    except KeyboardInterrupt:  # at a question, or before the console takes signals
        return EXIT_INTERRUPTED
    for warning in settings.warnings:
        streams.put_err(f"{text.clean(warning)}\n")
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
        streams.put_err(f"{text.clean(str(problem))}\n")
        return 1
    welcome(settings, key.public, listeners, console.row)
    if limited:
        console.row(limited)
    supervisor = Supervisor(os.environ)
    if logged is not None:
        logged.start()
    log.info("started: port=%d", port_of(listeners, settings.port))
    server.start()
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda *_: server.orders.hear(Giver(), "/stats"))
    keyboard = Keyboard(lambda line: server.orders.hear(Giver(), line))
    if os.name == "posix":
        # What we read in the background must not stop us, nor what we write there.
        for signum in (signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(signum, signal.SIG_IGN)
    console.write()  # what is said at the start is no row above a line that is edited
    keyboard.start()
    console.has_prompt = keyboard.is_edited
    catch_hangup(console, logged)
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
