"""User and room names: what is allowed, and when two are the same."""

from __future__ import annotations

# Every judgement is by Unicode 3.2, the one database that all Python versions share: two versions
# that disagreed would let one member refuse what another takes (PROTOCOL.md 3.1).
from unicodedata import ucd_3_2_0 as ucd

from common.errors import UsageError

MAX_NAME_CHARS = 32
MAX_NAME_BYTES = 64
MAX_ROOM_BYTES = 32
DEFAULT_ROOM = "lobby"
"""What people call the room whose name on the wire is empty."""

_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK")


def check_username(name: str) -> None:
    """Check a username by PROTOCOL.md 3.1.

    Raises:
        UsageError: says which rule `name` breaks.
    """
    if not name:
        raise UsageError("A username needs at least one letter or digit.")
    if len(name) > MAX_NAME_CHARS or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise UsageError(
            f"A username has at most {MAX_NAME_CHARS} characters and {MAX_NAME_BYTES} bytes."
        )
    if name.isascii() and name.isalnum():
        return  # as most are, and nothing below concerns it
    categories = [ucd.category(char) for char in name]
    if any(category[0] in "CZ" for category in categories):
        raise UsageError("A username has no spaces, control or unassigned characters.")
    if ucd.normalize("NFKC", name) != name:
        raise UsageError("A username is written in its plain form (Unicode NFKC).")
    if not any(category[0] == "L" or category == "Nd" for category in categories):
        raise UsageError("A username needs at least one letter or digit.")
    if len(_scripts(name)) > 1:
        raise UsageError("A username does not mix Latin, Cyrillic and Greek letters.")


def check_room(room: str) -> None:
    """Check a room name as HELLO carries it: "" or a casefolded name of at most 32 bytes.

    Raises:
        UsageError: says which rule `room` breaks.
    """
    if not room:
        return
    try:
        check_username(room)
    except UsageError as error:
        raise UsageError(str(error).replace("A username", "A room name")) from None
    if len(room.encode()) > MAX_ROOM_BYTES:
        raise UsageError(f"A room name has at most {MAX_ROOM_BYTES} bytes.")
    if room == DEFAULT_ROOM or room != room.casefold():
        raise UsageError("A room name is in lower case, and the lobby has none.")


def room_from_user(text: str) -> str:
    """Return the wire name of the room a person asked for; `lobby` in any letter case is "".

    Raises:
        UsageError: if no room can have that name.
    """
    room = text.casefold()
    if room == DEFAULT_ROOM:
        return ""
    check_room(room)
    return room


def room_for_user(room: str) -> str:
    """Return what people call a room of this wire name."""
    return room or DEFAULT_ROOM


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: an IPv6 address in brackets (RFC 3986 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def key(name: str) -> str:
    """Return what two names share exactly when they are the same name."""
    return name.casefold()


def _scripts(name: str) -> set[str]:
    letters = (char for char in name if ucd.category(char)[0] == "L")
    words = (ucd.name(char, "").split(" ", 1)[0] for char in letters)
    return {word for word in words if word in _SCRIPTS}
