"""Pins and invite tags: whom we seal to and show.

PROTOCOL.md 6.1. The first identity seen under a name on a server is pinned; another one later is
not trusted until a person says so. Several clients of one user share the file of pins: each adds to
it under a lock.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from common import files, names
from common.codec import base64url, from_base64url
from common.crypto import card as cards
from common.crypto.card import Card
from common.crypto.points import is_identity
from common.errors import FileError, ProtocolError

MOST_PINS: Final = 20_000
"""Names of one server that are written down unasked, or its strangers would fill the file."""
MOST_BYTES: Final = files.MAX_PRIVATE_BYTES // 4 * 3
"""Of the file, from which on none is; what a person decides still has room."""
MOST_MET: Final = 4_096
"""Names that nobody need remember; the oldest go first."""
SEAM_BYTES: Final = 64
# An identity is 32 bytes.
_LINE = re.compile(
    rb"[A-Za-z0-9_-]{22} [^ ]+ [A-Za-z0-9_-]{43} (?:tofu|invited|verified) \d{4}-\d{2}-\d{2}"
)


class Grade(Enum):
    """How well a pin is founded, from least to best."""

    TOFU = "tofu"
    INVITED = "invited"
    VERIFIED = "verified"


_GRADES = {grade.value: grade for grade in Grade}
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
    """The file `known_peers`, or memory alone where `path` is None.

    Lines are only added to the file: of two for one name the later counts. So another client's are
    read from where we stopped, and ours cost one write. A name that is met is kept in memory until
    `keep` writes it down.
    """

    def __init__(self, path: Path | None) -> None:
        """Read the file.

        Raises:
            FileError: if it cannot be used, or a line is malformed.
        """
        self._path = path
        self._read = _Read()
        # The oldest first.
        self._met: dict[Key, Pin] = {}
        self._forgotten: set[str] = set()
        self._refresh()

    def find(self, server_id: str, username: str) -> Pin | None:
        """Return the pin of a name."""
        key = (server_id, names.key(username))
        return self._read.pins.get(key) or self._met.get(key)

    def elsewhere(self, username: str, identity: bytes) -> Grade | None:
        """Return the best grade that this name and identity have on any server."""
        name = names.key(username)
        found = (self._read.pins.get((server_id, name)) for server_id in self._read.counts)
        grades = [pin.grade for pin in found if pin is not None and pin.identity == identity]
        return max(grades, key=_RANK.__getitem__, default=None)

    def meet(self, server_id: str, username: str, pin: Pin) -> Pin:
        """Note a name that has no pin, in this run; another client's pin stands, and is returned.

        Raises:
            FileError: if the file cannot be used.
        """
        self._refresh()
        known = self.find(server_id, username)
        if known is not None:
            return known
        self._met[server_id, names.key(username)] = pin
        while len(self._met) > MOST_MET:
            del self._met[next(iter(self._met))]
        return pin

    def keep(self, server_id: str, usernames: Iterable[str]) -> bool:
        """Write down names that were met, all at once; a pin that is there by now stands.

        Returns:
            Whether there was room for all.

        Raises:
            FileError: if the file cannot be used.
        """
        if server_id in self._forgotten:
            return True
        keys = [(server_id, names.key(username)) for username in usernames]
        if not any(key in self._met for key in keys):
            return True
        with self._locked():
            new = {key: self._met[key] for key in keys if key in self._met}
            new = {key: pin for key, pin in new.items() if key not in self._read.pins}
            room = MOST_PINS - self._read.counts[server_id]
            if self._read.size_bytes > MOST_BYTES:
                room = 0
            kept = dict(list(new.items())[: max(0, room)])
            # A power cut may take who was just met. To be sure would stop the loop for a disk.
            self._append(kept, is_synced=False)
        for key in keys:
            if key in self._read.pins:
                self._met.pop(key, None)
        return len(kept) == len(new)

    def replace(self, server_id: str, username: str, pin: Pin) -> None:
        """Pin a name anew, because its user said so.

        Raises:
            FileError: if the file cannot be used.
        """
        key = (server_id, names.key(username))
        if server_id in self._forgotten:
            self._met[key] = pin
            return
        with self._locked():
            self._append({key: pin}, is_synced=True)
        self._met.pop(key, None)

    def forget(self, server_id: str) -> int:
        """Write down no name of a server any more; those that were hold for this run, in memory.

        Returns:
            How many were.

        Raises:
            FileError: if the file cannot be used.
        """
        with self._locked():
            pins = self._read.pins
            gone = {key: pin for key, pin in pins.items() if key[0] == server_id}
            kept = {key: pin for key, pin in pins.items() if key[0] != server_id}
            lines = _encode(kept)
            if self._path is not None and gone:
                files.replace_private(self._path, lines)
            self._read = _Read()
            self._read.take(kept, lines)
        self._forgotten.add(server_id)
        # As long as we run, the relay must not put another in the place of one of these.
        self._met |= gone
        return len(gone)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other client write, and know what all have written."""
        if self._path is None:
            yield
            return
        with files.locked(self._path):
            self._refresh()
            yield

    def _append(self, pins: dict[Key, Pin], *, is_synced: bool) -> None:
        lines = _encode(pins)
        if self._read.size_bytes + len(lines) > files.MAX_PRIVATE_BYTES:
            raise FileError(f"{self._path} is full. Remove lines of it that you do not need.")
        if self._path is not None and lines:
            files.append_private(self._path, lines, is_synced=is_synced)
        self._read.take(pins, lines)

    def _refresh(self) -> None:
        """Read what other clients have added since; all of it if somebody has edited the file."""
        if self._path is None:
            return
        read = self._read
        data = files.read_private(self._path, read.size_bytes - len(read.seam)) or b""
        if data.startswith(read.seam):
            data = data.removeprefix(read.seam)
        else:
            read = _Read()
            data = files.read_private(self._path) or b""
        # What is behind the last end of a line is being written, or never will be.
        lines = data[: data.rfind(b"\n") + 1]
        read.take(_decode(self._path, lines, read.lines), lines)
        self._read = read


class _Read:
    """What was read of the file, or written to it.

    Attributes:
        counts: how many names each server has.
        seam: the last bytes, by which the file is known again.
    """

    def __init__(self) -> None:
        self.pins: dict[Key, Pin] = {}
        self.counts: Counter[str] = Counter()
        self.size_bytes = self.lines = 0
        self.seam = b""

    def take(self, pins: dict[Key, Pin], lines: bytes) -> None:
        """Note pins, and the lines they stand in."""
        self.counts.update(key[0] for key in pins if key not in self.pins)
        self.pins.update(pins)
        self.size_bytes += len(lines)
        self.lines += lines.count(b"\n")
        self.seam = (self.seam + lines[-SEAM_BYTES:])[-SEAM_BYTES:]


def judge(
    pins: Pins, server_id: str, card: Card, *, room_id: bytes, secret: bytes | None, today: str
) -> tuple[Standing, bool]:
    """Decide what a member is to us, noting a name that has no pin.

    Returns:
        The standing, and whether the name is new to this machine.

    Raises:
        FileError: if the pins cannot be read.
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
    kept = pins.meet(server_id, card.username, Pin(card.identity, grade, today))
    if kept.identity != card.identity:
        return Standing.CHANGED, False
    return _STANDING[kept.grade], known is None


def _encode(pins: Mapping[Key, Pin]) -> bytes:
    lines = (
        f"{server_id} {name} {base64url(pin.identity)} {pin.grade.value} {pin.date}\n"
        for (server_id, name), pin in pins.items()
    )
    return "".join(lines).encode()


def _decode(path: Path, data: bytes, lines_before: int) -> dict[Key, Pin]:
    """Read whole lines.

    Raises:
        FileError: if one is malformed; names it.
    """
    pins: dict[Key, Pin] = {}
    # Split at "\n" alone: splitlines() would cut a name at any of nine other characters.
    for number, line in enumerate(data.split(b"\n")[:-1], lines_before + 1):
        try:
            found = _LINE.fullmatch(line)
            if found is None:
                raise ProtocolError("not five fields")
            server_id, name, identity, grade, date = found[0].decode().split(" ")
            pin = Pin(from_base64url(identity), _GRADES[grade], date)
        except (ValueError, ProtocolError):
            raise _malformed(path, number) from None
        if name != names.key(name) or not is_identity(pin.identity):
            raise _malformed(path, number)
        pins[server_id, name] = pin
    return pins


def _malformed(path: Path, number: int) -> FileError:
    return FileError(f"Line {number} of {path} is malformed. Mend or remove it.")
