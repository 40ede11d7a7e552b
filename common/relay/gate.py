"""Who may come in, under which name (PROTOCOL.md 3.1)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from common import names
from common.crypto.card import Card
from common.errors import ProtocolError, Refused
from common.relay.room import Room, Seat
from common.relay.rules import Rules
from common.wire.records import Hello

THROTTLE_FAILURES: Final = 10
THROTTLE_S: Final = 60.0
THROTTLED_NETWORKS: Final = 65_536
"""Networks whose failures are remembered; the oldest go first, so memory is bounded."""
REPLAYS_KEPT: Final = 65_536
DEPARTED_KEPT: Final = 1_000
"""Who has left and can still be banned by name; the oldest are forgotten first."""

REFUSALS: Final = {
    400: "protocol error",
    401: "wrong KEY or password",
    403: "removed by the operator",
    404: "no such room",
    408: "timed out",
    409: "that name is in use",
    423: "the room is locked",
    426: "not a termchat.v1 client",
    429: "throttled",
    503: "shutting down or not ready",
    507: "full",
}


class Known(NamedTuple):
    """An identity, and the name it has or had here."""

    identity: bytes
    username: str


class Gate:
    """Its lock guards the held names, by whoever sits under them, and the rooms they are in."""

    def __init__(
        self,
        lock: AbstractContextManager[object],
        *,
        room_size: int,
        rooms: int,
        make_room: Callable[[str], Room],
        on_empty: Callable[[Room], None],
        rules: Rules,
        also_judge: Callable[[Hello], int | None] = lambda _: None,
    ) -> None:
        self._lock = lock
        self._rules = rules
        self._room_size = room_size
        self._max_rooms = rooms
        self._make_room = make_room
        self._on_empty = on_empty
        self._also_judge = also_judge
        self._held: dict[str, Seat] = {}
        self._sessions: set[bytes] = set()
        self._members: Counter[str] = Counter()
        self._rooms: dict[str, Room] = {}
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._ephemerals: OrderedDict[bytes, None] = OrderedDict()
        self._departed: OrderedDict[str, Known] = OrderedDict()
        self.is_closing = False
        self.on_new: Callable[[bytes], None] = lambda _: None
        """Told the key of each message 1 that decrypts, and was not seen before."""

    # --- Before the name is known.

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
            return 503 if self.is_closing else None

    def failed(self, network: str, now: float) -> None:
        """Note an answer of 401."""
        with self._lock:
            failures = self._failures.setdefault(network, [])
            failures.append(now)
            del failures[:-THROTTLE_FAILURES]
            self._failures.move_to_end(network)
            if len(self._failures) > THROTTLED_NETWORKS:
                self._failures.popitem(last=False)

    def remember(self, ephemerals: Iterable[bytes]) -> None:
        """Take up what the relay before us had seen, the oldest first."""
        with self._lock:
            self._ephemerals.update(dict.fromkeys(ephemerals))

    def is_replay(self, ephemeral: bytes) -> bool:
        """Tell whether a message 1 that decrypted had this key before; remember it."""
        with self._lock:
            if ephemeral in self._ephemerals:
                return True
            self._ephemerals[ephemeral] = None
            if len(self._ephemerals) > REPLAYS_KEPT:
                self._ephemerals.popitem(last=False)
        self.on_new(ephemeral)
        return False

    # --- From HELLO to a seat, and out of it.

    def admit(self, hello: Hello) -> int | None:
        """Judge a HELLO: 403 to 507, or None for a 101."""
        with self._lock:
            return self._judge(hello)

    def _judge(self, hello: Hello) -> int | None:
        held = self._held.get(names.key(hello.username))
        resumes = held is not None and _is_by(held, hello)
        # Its holder changes under the room's lock, not ours. It is one reference: whoever asks a
        # moment too early is told 409, and comes again.
        is_lost = held is not None and held.holder is None
        replaces = held is not None and held.card.identity == hello.identity and is_lost
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
            return 507
        return None

    def _is_operator(self, hello: Hello) -> bool:
        # One who was lost must be able to come back and unlock. What HELLO claims, JOIN proves.
        return self._rules.is_operator(hello.identity, hello.username)

    def take(
        self, hello: Hello, card: Card, holder: object, *, is_fresh: bool
    ) -> tuple[Seat, Seat | None]:
        """Give a name to a valid JOIN, whose card is HELLO's.

        Returns:
            Its seat, which is still to be joined or resumed; and, if a disconnected session of the
            identity held the name, that one's: it is replaced, and must be made to leave first.

        Raises:
            Refused: the checks from 403 on apply again; 410 if it would resume what is over.
            ProtocolError: if a fresh JOIN comes from a session that is a member.
        """
        with self._lock:
            status = self._judge(hello)
            if status == 403:
                raise Refused(status, self._rules.why_removed(hello.identity))
            if status is not None:
                raise Refused(status, REFUSALS[status])
            key = names.key(hello.username)
            held = self._held.get(key)
            if not is_fresh:
                if held is None or not _is_by(held, hello):
                    raise Refused(410, "this session is over")
                return held, None
            if hello.session in self._sessions:
                raise ProtocolError("the session is a member already")
            self._members[hello.room] += 1
            if hello.room not in self._rooms:
                self._rooms[hello.room] = self._make_room(hello.room)
            if held is not None:
                # Only now, or a room would end with the one member that is replaced in it.
                self._free(key, held)
            seat = Seat(card, self._rooms[hello.room], holder)
            self._hold(key, seat)
            return seat, held

    def restore(self, room: Room, seats: Iterable[Seat]) -> None:
        """Hold the names of a room that outlived its relay."""
        with self._lock:
            self._rooms[room.name] = room
            for seat in seats:
                self._hold(names.key(seat.username), seat)
                self._members[room.name] += 1

    def release(self, seat: Seat) -> None:
        """Free the name of a member that has left; an empty room is forgotten."""
        with self._lock:
            key = names.key(seat.username)
            if self._held.get(key) is seat:
                self._free(key, seat)

    def _hold(self, key: str, seat: Seat) -> None:
        self._held[key] = seat
        self._sessions.add(seat.session)

    def _free(self, key: str, seat: Seat) -> None:
        del self._held[key]
        self._departed[key] = Known(seat.card.identity, seat.username)
        self._departed.move_to_end(key)
        if len(self._departed) > DEPARTED_KEPT:
            self._departed.popitem(last=False)
        self._sessions.discard(seat.session)
        name = seat.room.name
        self._members[name] -= 1
        if not self._members[name]:
            del self._members[name]
            self._on_empty(self._rooms.pop(name))

    # --- Who is here.

    def find(self, name: str) -> Seat | None:
        """Return who holds a name."""
        with self._lock:
            return self._held.get(names.key(name))

    def known(self) -> list[Known]:
        """Return who holds a name, and then who did, the latest first."""
        with self._lock:
            held = [Known(seat.card.identity, seat.username) for seat in self._held.values()]
            return [*held, *reversed(self._departed.values())]

    def seats_of(self, identity: bytes) -> list[Seat]:
        """Return each seat that an identity holds a name by."""
        with self._lock:
            return [seat for seat in self._held.values() if seat.card.identity == identity]

    def room(self, name: str) -> Room | None:
        """Return the room of this wire name, if anybody is in it."""
        with self._lock:
            return self._rooms.get(name)

    @property
    def rooms(self) -> list[Room]:
        """Every room."""
        with self._lock:
            return list(self._rooms.values())


def _is_by(seat: Seat, hello: Hello) -> bool:
    """Tell whether this HELLO comes from whoever has the seat, in the same room."""
    return (seat.session, seat.card.identity, seat.room.name) == (
        hello.session,
        hello.identity,
        hello.room,
    )
