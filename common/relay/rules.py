"""What operators decided: bans, mutes, operators, locks, slow rooms, topics; and its file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from common import files
from common.crypto.identity import fingerprint
from common.errors import FileError
from common.wire import records
from common.wire.records import Hello

MAX_RULES: Final = 10_000
"""Bans, mutes, operators and topics, of each kind: their file stays small."""
FOREVER_MS: Final = 253_402_300_799_000
"""The last second that a date can name: no end."""
_VERSION: Final = 2
_LOBBY_ONLY: Final = 1
"""Its rooms have no topic; there is one greeting, which the lobby takes for its topic."""


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


def until(until_ms: int) -> str:
    """Say until when a rule holds; "" if it has no end."""
    if until_ms >= FOREVER_MS:
        return ""
    return f" until {datetime.fromtimestamp(until_ms // 1_000, UTC):%Y-%m-%d %H:%M} UTC"


class Rules:
    """What operators have decided; gate and rooms read it, `Operators` changes it.

    Attributes:
        removed: bans, by identity.
        sought: bans, by fingerprint, of identities that nobody has met.
        operators: names, or "", by fingerprint.
        locked: wire names of rooms.
        slow_s: seconds between two messages of a member, by wire name of the room.
        topics: what a room is about, by wire name.
        on_met: called, from any thread, when a ban has moved from `sought` to `removed`.
        is_hushing: whether anybody is muted or any room slow: all that a message costs if not.
    """

    __slots__ = (
        "is_hushing",
        "locked",
        "muted",
        "on_met",
        "operators",
        "removed",
        "slow_s",
        "sought",
        "topics",
    )

    def __init__(self) -> None:
        self.is_hushing = False
        self.removed: dict[bytes, Ban] = {}
        self.sought: dict[str, Ban] = {}
        self.muted: dict[bytes, Mute] = {}
        self.operators: dict[str, str] = {}
        self.locked: set[str] = set()
        self.slow_s: dict[str, int] = {}
        self.topics: dict[str, str] = {}
        self.on_met: Callable[[], None] = lambda: None

    @property
    def bans(self) -> list[Ban]:
        """Every ban."""
        return [*self.removed.values(), *self.sought.values()]

    @property
    def rooms(self) -> list[str]:
        """Wire names of the rooms of which anything was decided."""
        return sorted(self.locked | self.slow_s.keys() | self.topics.keys())

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

    def why_removed(self, identity: bytes) -> str:
        """Say to somebody who is kept out by whom, until when and why."""
        ban = self.removed.get(identity)
        if ban is None:  # it is over by now
            return ""
        because = f": {ban.reason}" if ban.reason else ""
        return f"Banned by {ban.by}{until(ban.until_ms)}{because}."

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

    def deadline_ms(self) -> int | None:
        """Return when the next ban or mute ends, by the wall clock."""
        times = [ban.until_ms for ban in self.bans]
        times += [mute.until_ms for mute in self.muted.values()]
        return min((at for at in times if at < FOREVER_MS), default=None)

    def end(self, at_ms: int) -> tuple[list[Ban], list[Mute]]:
        """End, and return, the bans and mutes whose time is over."""
        bans = [ban for ban in self.bans if ban.until_ms <= at_ms]
        self.lift(bans)
        muted = [who for who, mute in self.muted.items() if mute.until_ms <= at_ms]
        return bans, [self.muted.pop(who) for who in muted]


class RulesFile:
    """Where rules outlive the relay."""

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
        version = _int(found["version"])
        if version not in (_LOBBY_ONLY, _VERSION):
            raise ValueError
        for identity, digits, name, until_ms, by, reason in found["bans"]:
            who = _hex(identity) if identity else None
            rules.ban(Ban(who, _str(digits), _str(name), _int(until_ms), _str(by), _str(reason)))
        for identity, name, until_ms in found["muted"]:
            rules.muted[_hex(identity)] = Mute(_str(name), _int(until_ms))
        for digits, name in found["operators"]:
            rules.operators[_str(digits)] = _str(name)
        rooms = found["rooms"]
        if version == _LOBBY_ONLY:
            rooms = [[*room, ""] for room in rooms] + [["", False, 0, found["motd"]]]
        for room, is_locked, slow_s, topic in rooms:
            if is_locked:
                rules.locked.add(_str(room))
            if _int(slow_s):
                rules.slow_s[_str(room)] = _int(slow_s)
            if _str(topic):
                rules.topics[_str(room)] = _str(topic)

    def save(self, rules: Rules, unkept: Iterable[str]) -> None:
        """Write the rules; operators `unkept` are named at each start.

        Raises:
            FileError: if the file cannot be written; it is unchanged then.
        """
        content = {
            "version": _VERSION,
            "bans": [
                (b.identity and b.identity.hex(), b.fingerprint, b.name, b.until_ms, b.by, b.reason)
                for b in rules.bans
            ],
            "muted": [[who.hex(), *mute] for who, mute in rules.muted.items()],
            "operators": [[d, name] for d, name in rules.operators.items() if d not in unkept],
            "rooms": [
                [room, room in rules.locked, rules.slow_s.get(room, 0), rules.topics.get(room, "")]
                for room in rules.rooms
            ],
        }
        # As text, not escaped: that leaves more room below what is read again.
        data = json.dumps(content, indent=1, ensure_ascii=False).encode()
        if len(data) > files.MAX_PRIVATE_BYTES:  # the next start would find no rule at all
            raise FileError(f"{self._path} has no room for more.")
        files.replace_private(self._path, data)


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
