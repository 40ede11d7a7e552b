"""An operator's order is carried out, and its sentences (PROTOCOL.md 4.5, UX.md 13)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Final, NamedTuple

from common import names
from common.crypto.identity import fingerprint
from common.errors import FileError, UsageError
from common.relay.gate import Gate
from common.relay.room import Room, Seat, SeatState
from common.relay.rules import FOREVER_MS, MAX_RULES, Ban, Mute, Rules, RulesFile, until
from common.term import text
from common.wire.orders import (
    CONSOLE_FORMS,
    FORMS,
    HELP,
    PASSWORD,
    UNCHANGED,
    Order,
    grouped,
    is_fingerprint,
    parse,
    usage,
)
from common.wire.records import Status

ROWS_TOLD: Final = 50
ROW_CHARS: Final = 200
"""What a row of a list holds: an ANSWER of it is at most 1 024 bytes, whatever the script."""


class Giver(NamedTuple):
    """Who gives an order; without a seat, whoever sits at the console."""

    name: str = "the host"
    room: Room | None = None
    seat: Seat | None = None


class Notice(NamedTuple):
    """Words of the relay: to everybody, to a room, or to the console alone."""

    sentence: str
    room: Room | None = None
    is_told: bool = True


class Outcome(NamedTuple):
    """What became of an order, and what its giver alone is told."""

    status: Status
    rows: list[str]


NOT_ALLOWED: Final = Outcome(Status.FORBIDDEN, [f"Only an operator can do that. {UNCHANGED}"])


def topic_of(topic: str) -> str:
    """Return the sentence that tells a room's topic."""
    return f"Topic: {topic}"


class Operators:
    """Carries out orders, one after the other (PROTOCOL.md 4.5); one thread owns it.

    It decides and changes; whom to tell, and what only the relay can do, it is handed.
    """

    def __init__(
        self,
        gate: Gate,
        rules: Rules,
        file: RulesFile | None,
        given: Iterable[str],
        *,
        tell: Callable[[Notice], None],
        remove: Callable[[Seat, str], bool],
        change_password: Callable[[str], None],
        stats: Callable[[], str],
        stop: Callable[[], None],
    ) -> None:
        """Take up the rules of the relay before us; `given` are operators by fingerprint.

        Args:
            remove: makes a member leave its room, told why; False if it has left by itself.

        Raises:
            FileError: if the file of rules cannot be used.
        """
        self._gate = gate
        self._rules = rules
        self._file = file
        self._given = frozenset(given)
        self._tell = tell
        self._remove_seat = remove
        self._change_password = change_password
        self._stats = stats
        self._stop_relay = stop
        if file is not None:
            file.load(rules)
        self._unkept = set(self._given - rules.operators.keys())
        """Operators by `--operator` alone: no `/op` made them any."""
        for digits in self._given:
            rules.operators.setdefault(digits, "")
        rules.is_hushing = bool(rules.muted or rules.slow_s)

    def may(self, giver: Giver) -> bool:
        """Tell whether somebody is an operator now; called from any thread."""
        seat = giver.seat
        return seat is None or (
            seat.state is not SeatState.GONE
            and self._rules.is_operator(seat.card.identity, seat.username)
        )

    def read(self, giver: Giver, line: str, at_ms: int) -> Order | Outcome:
        """Read what was typed; called from any thread.

        Returns:
            An order to obey in its turn; or what became of it: it is wrong, not theirs to give, or
            asks, who is no operator, for what anybody may know. So nobody who may not fills a
            queue of those who may.
        """
        may = self.may(giver)
        if not may and line.strip().partition(" ")[0] not in FORMS:
            return NOT_ALLOWED  # what it is near to is not worth the time of a loop
        try:
            order = parse(line, is_console=giver.seat is None)
        except UsageError as problem:
            return Outcome(Status.BAD_REQUEST, [str(problem)]) if may else NOT_ALLOWED
        return order if may else self.obey(giver, order, at_ms)

    def obey(self, giver: Giver, order: Order, at_ms: int) -> Outcome:
        """Carry out an order; return what its giver alone is told."""
        if not (order.is_open or self.may(giver)):
            return NOT_ALLOWED
        try:
            return Outcome(Status.OK, self._DO[order.word](self, giver, order, at_ms))
        except UsageError as problem:
            return Outcome(Status.BAD_REQUEST, [str(problem)])

    # --- People.

    def _kick(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        seat = self._present(order.target, giver)
        if not self._remove(seat, giver, order):
            raise UsageError(f"{seat.username} is not here any more. {UNCHANGED}")
        self._say(giver, f"removed {seat.username}{_because(order.text)}", seat.room)
        return [self._hint(giver, seat.username)]

    def _ban(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        identity, digits, name = self._whom(order.target)
        if giver.seat is not None and identity == giver.seat.card.identity:
            raise UsageError(f"That is you. {UNCHANGED}")
        _check_room_for(len(self._rules.bans))
        until_ms = _until_ms(order, at_ms)
        # The ban first: whoever joins meanwhile finds it.
        self._rules.ban(Ban(identity, digits, name, until_ms, giver.name, order.text))
        if digits != order.target and is_fingerprint(order.target):
            # Somebody called as it reads must not take the ban for whoever was meant.
            self._rules.ban(Ban(None, order.target, "", until_ms, giver.name, order.text))
        found = self._gate.seats_of(identity) if identity is not None else []
        what = f"banned {name or digits}{_for(order.for_s)}{_because(order.text)}"
        rooms = [seat.room for seat in found if self._remove(seat, giver, order)]
        for room in dict.fromkeys(rooms):
            self._say(giver, what, room)
        if not rooms:
            self._say(giver, what, None)
        return [*self._keep(), self._hint(giver, name or "Whoever it is")]

    def _remove(self, seat: Seat, giver: Giver, order: Order) -> bool:
        """Make a member leave; False if it has left by itself."""
        why = f"Removed by {giver.name}{_for(order.for_s)}{_because(order.text)}."
        return self._remove_seat(seat, why)

    def _hint(self, giver: Giver, name: str) -> str:
        word = "/password NEW" if giver.seat is None else "/password --tell NEW"
        return f"{name} is out, and still has KEY and password: {word} changes the lock."

    def _unban(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        key = names.key(order.target)
        found = [b for b in self._rules.bans if key in (b.fingerprint, names.key(b.name))]
        if not found:
            raise UsageError(f"{order.target} is not banned. /bans lists who is.")
        self._rules.lift(found)
        return self._done(giver, f"lifted the ban of {order.target}")

    def _mute(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        seat = self._present(order.target, giver)
        _check_room_for(len(self._rules.muted))
        self._rules.muted[seat.card.identity] = Mute(seat.username, _until_ms(order, at_ms))
        problems = self._keep()
        self._say(giver, f"muted {seat.username}{_for(order.for_s)}", seat.room)
        return problems

    def _unmute(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        key, seat = names.key(order.target), self._gate.find(order.target)
        found = [
            identity
            for identity, mute in self._rules.muted.items()
            if names.key(mute.name) == key or (seat is not None and seat.card.identity == identity)
        ]
        if not found:
            raise UsageError(f"{order.target} is not muted. {UNCHANGED}")
        for identity in found:
            del self._rules.muted[identity]
        room = seat.room if seat is not None else giver.room
        self._say(giver, f"lets {order.target} speak again", room)
        return self._keep()

    def _op(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        if is_fingerprint(order.target):
            # Whoever has it, here or not: somebody called as it reads is not meant.
            seat, digits = self._seat_with(order.target), order.target
        else:
            seat = self._gate.find(order.target)
            if seat is None:
                raise _nobody(order.target)
            digits = fingerprint(seat.card.identity, seat.username)
        shown = grouped(digits)
        who = seat.username if seat is not None else shown
        if digits in self._rules.operators:
            raise UsageError(f"{who} is an operator already. {UNCHANGED}")
        _check_room_for(len(self._rules.operators))
        self._rules.operators[digits] = "" if seat is None else who
        self._unkept.discard(digits)
        self._say(giver, f"made {who} an operator", None if seat is None else seat.room)
        is_said = seat is None or is_fingerprint(order.target)
        hint = f"{who}'s fingerprint is {shown}: compare it with what /verify says there."
        return [*([] if is_said else [hint]), *self._keep()]

    def _seat_with(self, digits: str) -> Seat | None:
        """Return the member that has a fingerprint, if it is here."""
        seats = (seat for room in self._gate.rooms for seat in room.seats)
        return next((s for s in seats if fingerprint(s.card.identity, s.username) == digits), None)

    def _deop(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        key, seat = names.key(order.target), self._gate.find(order.target)
        known = {key, fingerprint(seat.card.identity, seat.username) if seat is not None else key}
        found = [
            digits
            for digits, name in self._rules.operators.items()
            if digits in known or names.key(name) == key
        ]
        if not found:
            raise UsageError(f"{order.target} is no operator. {UNCHANGED}")
        for digits in found:
            del self._rules.operators[digits]
        room = seat.room if seat is not None else giver.room
        self._say(giver, f"ended that {order.target} is an operator", room)
        again = "The next start makes it one again: --operator names it."
        return [*self._keep(), *([again] if self._given.intersection(found) else [])]

    def _present(self, name: str, giver: Giver) -> Seat:
        """Return who holds a name, if it is not the giver of the order."""
        seat = self._gate.find(name)
        if seat is None:
            raise _nobody(name)
        if seat is giver.seat:
            raise UsageError(f"That is you. {UNCHANGED}")
        return seat

    def _whom(self, target: str) -> tuple[bytes | None, str, str]:
        """Return identity, if it is known, fingerprint and name of whoever is or was here."""
        key, known = names.key(target), self._gate.known()
        is_digits = is_fingerprint(target)
        for identity, name in known if is_digits else ():
            if fingerprint(identity, name) == target:
                return identity, target, name
        for identity, name in known:
            if names.key(name) == key:
                return identity, fingerprint(identity, name), name
        if is_digits:
            return None, target, ""
        raise UsageError(f"Nobody called {target} is or was here. {UNCHANGED}")

    # --- Rooms and the relay.

    def _lock(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        name = self._room_name(giver, order)
        if name in self._rules.locked:
            raise _so_already()
        self._rules.locked.add(name)
        return self._ruled(giver, name, "locked the room: nobody new can join")

    def _unlock(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        name = self._room_name(giver, order)
        if name not in self._rules.locked:
            raise _so_already()
        self._rules.locked.discard(name)
        return self._ruled(giver, name, "unlocked the room")

    def _slow(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        name, slow_s = self._room_name(giver, order), self._rules.slow_s
        if order.for_s == slow_s.get(name, 0):
            raise _so_already()
        slow_s[name] = order.for_s
        if order.for_s:
            what = f"slowed the room: one message of each in {order.for_s} s"
        else:
            del slow_s[name]
            what = "ended slow mode"
        return self._ruled(giver, name, what)

    def _topic(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        name, topics = self._room_name(giver, order), self._rules.topics
        if order.is_open:
            # One look: whoever asks does so on another thread than whoever ends it.
            topic = topics.get(name, "")
            return [topic_of(topic) if topic else "No topic is set."]
        text = "" if order.text == "off" else order.text
        if text == topics.get(name, ""):
            raise _so_already()
        if not text:
            del topics[name]
            return self._ruled(giver, name, "ended the topic")
        _check_room_for(len(topics.keys() - {name}))
        topics[name] = text
        return self._ruled(giver, name, f"set the topic: {text}")

    def _ruled(self, giver: Giver, name: str, what: str) -> list[str]:
        """Tell the room what was decided of it, and keep that."""
        room = self._gate.room(name)
        self._say(giver, what, room, is_told=room is not None)
        return [*([] if room is not None else ["Done. Nobody is there."]), *self._keep()]

    def _room_name(self, giver: Giver, order: Order) -> str:
        """Return the wire name of the room that is meant: one's own, at the console the lobby."""
        if not order.target:
            return giver.room.name if giver.room is not None else ""
        name = names.room_from_user(order.target)
        if name and self._gate.room(name) is None and name not in self._rules.rooms:
            raise UsageError(f"There is no room {order.target}. /rooms lists them.")
        return name

    def _password(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        self._change_password(order.text)
        what = "changed the password: whoever joins from now on needs the new one"
        self._say(giver, what, None)
        return ["Whoever is here stays. A restart takes its password from --password again."]

    def _speak(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        self._tell(Notice(f"The host says: {order.text}"))
        return []

    def _stop(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        self._say(giver, "stops the relay", None)
        self._stop_relay()
        return []

    # --- Lists.

    def _help(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        rows = [f"{usage(word)}: {form.meaning}" for word, form in FORMS.items()]
        own = [f"{word} {form.arguments}: {form.meaning}" for word, form in CONSOLE_FORMS.items()]
        return [*own, *rows] if giver.seat is None else rows

    def _who(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        if order.target or giver.room is not None:
            room = self._gate.room(self._room_name(giver, order))
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

    def _bans(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        rows = [
            f"{ban.name or '(not seen)'} {ban.fingerprint}, by {ban.by}{until(ban.until_ms)}"
            f"{_because(ban.reason)}"
            for ban in self._rules.bans
        ]
        return _listed(rows) or ["Nobody is banned."]

    def _rooms(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        rules, found = self._rules, {room.name: room.members for room in self._gate.rooms}
        rows = []
        for name in sorted({"", *found, *rules.rooms}):
            locked = ", locked" if name in rules.locked else ""
            slow = f", slow {rules.slow_s[name]} s" if name in rules.slow_s else ""
            rows.append(f"{_called(name)}: {found.get(name, 0)} here{locked}{slow}")
        return _listed(rows)

    def _stats_row(self, giver: Giver, order: Order, at_ms: int) -> list[str]:
        return [self._stats()]

    # --- Telling and keeping.

    def _done(self, giver: Giver, what: str) -> list[str]:
        """Tell everybody of what concerns every room, and keep it."""
        self._say(giver, what, None)
        return self._keep()

    def _say(self, giver: Giver, what: str, room: Room | None, *, is_told: bool = True) -> None:
        """Say who did what: to a room, or to everybody."""
        who = "The host" if giver.seat is None else giver.name
        self._tell(Notice(f"{who} {what}.", room, is_told))

    def _keep(self) -> list[str]:
        """Let the rules hold, and write them; return what is wrong with that."""
        self._rules.is_hushing = bool(self._rules.muted or self._rules.slow_s)
        if self._file is None:
            return []
        try:
            self._file.save(self._rules, self._unkept)
        except FileError as problem:
            return [f"{problem} It holds until the relay stops."]
        return []

    # --- Time.

    def tick(self, at_ms: int) -> list[str]:
        """End what is over, and keep what has changed; return rows for the console."""
        bans, mutes = self._rules.end(at_ms)
        rows = [f"The ban of {ban.name or ban.fingerprint} is over." for ban in bans]
        rows += [f"{mute.name} may speak again." for mute in mutes]
        return [*rows, *self._keep()]

    _DO: ClassVar[dict[str, Callable[[Operators, Giver, Order, int], list[str]]]] = {
        HELP: _help,
        "/kick": _kick,
        "/ban": _ban,
        "/unban": _unban,
        "/bans": _bans,
        "/mute": _mute,
        "/unmute": _unmute,
        "/lock": _lock,
        "/unlock": _unlock,
        "/slow": _slow,
        "/topic": _topic,
        PASSWORD: _password,
        "/op": _op,
        "/deop": _deop,
        "/who": _who,
        "/rooms": _rooms,
        "/say": _speak,
        "/stats": _stats_row,
        "/stop": _stop,
    }


def _nobody(name: str) -> UsageError:
    return UsageError(f"Nobody here is called {name}. {UNCHANGED}")


def _so_already() -> UsageError:
    return UsageError(f"It is so already. {UNCHANGED}")


def _check_room_for(count: int) -> None:
    if count >= MAX_RULES:
        raise UsageError(f"There are {count} already, and no room for more. {UNCHANGED}")


def _called(room: str) -> str:
    return names.room_for_user(room)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _for(for_s: int) -> str:
    return f" for {text.duration(for_s)}" if for_s else ""


def _until_ms(order: Order, at_ms: int) -> int:
    return at_ms + order.for_s * 1_000 if order.for_s else FOREVER_MS


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
