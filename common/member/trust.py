"""Pins and invite tags: whom we seal to and show.

PROTOCOL.md 6.1. The first identity seen under a name on a server is pinned; another one later is
not trusted until a person says so. Several clients of one user share the file of pins: each change
is merged under a lock.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from common import files, names
from common.codec import base64url, from_base64url
from common.crypto import card as cards
from common.crypto.card import Card
from common.crypto.points import is_identity
from common.errors import FileError, ProtocolError

IDENTITY_BYTES = 32
MAX_PINS = 20_000
"""Names written down unasked; more stay in memory, or strangers could fill the file."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SERVER_ID = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)


class Grade(Enum):
    """How well a pin is founded, from least to best."""

    TOFU = "tofu"
    INVITED = "invited"
    VERIFIED = "verified"


_RANK = {grade: rank for rank, grade in enumerate(Grade)}


class Standing(Enum):
    """What a member is to us; only the first three are sealed to and shown."""

    VERIFIED = "verified"
    INVITED = "invited"
    FIRST_SEEN = "first seen"
    CHANGED = "CHANGED"
    NOT_INVITED = "not invited"


_STANDING = {
    Grade.TOFU: Standing.FIRST_SEEN,
    Grade.INVITED: Standing.INVITED,
    Grade.VERIFIED: Standing.VERIFIED,
}
TRUSTED = frozenset(_STANDING.values())


class Pin(NamedTuple):
    """Which identity a name has on a server.

    Attributes:
        date: when it was pinned, YYYY-MM-DD.
    """

    identity: bytes
    grade: Grade
    date: str


Key = tuple[str, str]
"""server_id and casefolded username."""


class Pins:
    """The file `known_peers`, or memory alone where `path` is None."""

    def __init__(self, path: Path | None) -> None:
        """Read the file.

        Raises:
            FileError: if it cannot be used, or a line is malformed.
        """
        self._path = path
        self._pins = _read(path) if path is not None else {}

    def find(self, server_id: str, username: str) -> Pin | None:
        """Return the pin of a name."""
        return self._pins.get((server_id, names.key(username)))

    def elsewhere(self, username: str, identity: bytes) -> Grade | None:
        """Return the best grade that this name and identity have on any server."""
        key = names.key(username)
        grades = [
            pin.grade
            for (_, name), pin in self._pins.items()
            if name == key and pin.identity == identity
        ]
        return max(grades, key=_RANK.__getitem__, default=None)

    def add(self, server_id: str, username: str, pin: Pin) -> Pin:
        """Pin a name that has none; if another client was first, its pin stands and is returned.

        Raises:
            FileError: if the file cannot be used.
        """
        return self._merge((server_id, names.key(username)), pin, replace=False)

    def replace(self, server_id: str, username: str, pin: Pin) -> None:
        """Pin a name anew, because its user said so.

        Raises:
            FileError: if the file cannot be used.
        """
        self._merge((server_id, names.key(username)), pin, replace=True)

    def _merge(self, key: Key, pin: Pin, *, replace: bool) -> Pin:
        if self._path is None or (not replace and len(self._pins) >= MAX_PINS):
            pins = self._pins
        else:
            with files.locked(self._path):
                pins = _read(self._path)
                if replace or key not in pins:
                    pins[key] = pin
                    files.replace_private(self._path, _encode(pins))
        if replace:
            pins[key] = pin
        self._pins = pins
        return pins.setdefault(key, pin)


def judge(
    pins: Pins, server_id: str, card: Card, *, room_id: bytes, secret: bytes | None, today: str
) -> tuple[Standing, bool]:
    """Decide what a member is to us, pinning a name that has no pin.

    Returns:
        The standing, and whether the name is new to this machine.

    Raises:
        FileError: if the pins cannot be kept.
    """
    pin = pins.find(server_id, card.username)
    if pin is not None and pin.identity != card.identity:
        # A tag never overrides a pin.
        return Standing.CHANGED, False
    if secret is not None and not cards.tag_verifies(card, room_id, secret):
        return Standing.NOT_INVITED, False
    if pin is not None:
        return _STANDING[pin.grade], False
    known = pins.elsewhere(card.username, card.identity)
    grade = known or (Grade.TOFU if secret is None else Grade.INVITED)
    kept = pins.add(server_id, card.username, Pin(card.identity, grade, today))
    if kept.identity != card.identity:
        return Standing.CHANGED, False
    return _STANDING[kept.grade], known is None


def _encode(pins: dict[Key, Pin]) -> bytes:
    lines = (
        f"{server_id} {name} {base64url(pin.identity)} {pin.grade.value} {pin.date}\n"
        for (server_id, name), pin in sorted(pins.items())
    )
    return "".join(lines).encode()


def _read(path: Path) -> dict[Key, Pin]:
    data = files.read_private(path)
    pins: dict[Key, Pin] = {}
    if data is None:
        return pins
    # Split at "\n" alone: splitlines() would cut a name at any of nine other characters.
    *lines, rest = data.split(b"\n")
    if rest:
        raise FileError(f"{path} is cut short in line {len(lines) + 1}. Mend or remove it.")
    for number, line in enumerate(lines, 1):
        try:
            server_id, name, identity, grade, date = line.decode().split(" ")
            pin = Pin(from_base64url(identity), Grade(grade), date)
        except (ValueError, ProtocolError):
            raise _malformed(path, number) from None
        if (
            len(pin.identity) != IDENTITY_BYTES
            or not is_identity(pin.identity)
            or not _DATE.fullmatch(date)
            or not _SERVER_ID.fullmatch(server_id)
            or not name
            or name != names.key(name)
            or (server_id, name) in pins
        ):
            raise _malformed(path, number)
        pins[server_id, name] = pin
    return pins


def _malformed(path: Path, number: int) -> FileError:
    return FileError(f"Line {number} of {path} is malformed. Mend or remove it.")
