"""User and room names: what is allowed, when two are the same, and when they look it."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import pairwise

from common import identifiers
from common.errors import UsageError

MAX_NAME_CHARS = 32
MAX_NAME_BYTES = 64
MAX_ROOM_BYTES = 32
DEFAULT_ROOM = "lobby"
"""What people call the room whose name on the wire is empty."""
RESERVED = ("server", "relay", "lobby", "operator", "system", "you")
"""What the programs say in their own words."""

# A letter with more marks than the screen draws looks like one with fewer.
_MARKS_PER_LETTER = 4
_WITHIN = "-.'"
# What of the prototypes is ASCII, as are most names, which need not wait for the rest.
_ASCII = {ord("0"): "O", ord("1"): "l", ord("I"): "l", ord("m"): "rn"}
_LOOSE: dict[int, str] = dict.fromkeys(map(ord, "-.'_"), "") | {ord("i"): "l"}
# UTS 39 5.2, Highly Restrictive.
_TOGETHER = (
    frozenset(("Latin", "Han", "Hiragana", "Katakana")),
    frozenset(("Latin", "Han", "Bopomofo")),
    frozenset(("Latin", "Han", "Hangul")),
)
_ANY = frozenset(("Common", "Inherited"))


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
    if not (name.isascii() and name.replace("_", "").isalnum()) or name[0] == "_":  # as few are
        _check_characters(name)
        _check_scripts(name)
        if key(key(name)) != key(name):  # or what is written under its key is not found again
            raise UsageError("A username has no letter whose marks are another's in lower case.")
    if not looks(name).isdisjoint(_reserved()):
        raise UsageError(f"The username {name} could be taken for a word of the program's own.")


def username_from_user(text: str) -> str:
    """Return the username that a person wrote, composed.

    Raises:
        UsageError: says which rule it breaks.
    """
    name = _composed(text)
    check_username(name)
    return name


def check_room(room: str) -> None:
    """Check a room name as HELLO carries it: "" or a folded name of at most 32 bytes.

    Raises:
        UsageError: says which rule `room` breaks.
    """
    if not room:
        return
    try:
        check_username(room)
    except UsageError as error:
        raise UsageError(str(error).replace(" username", " room name", 1)) from None
    if len(room.encode()) > MAX_ROOM_BYTES:
        raise UsageError(f"A room name has at most {MAX_ROOM_BYTES} bytes.")
    if room != _folded(room):
        raise UsageError("A room name is in lower case.")


def room_from_user(text: str) -> str:
    """Return the wire name of the room a person asked for; `lobby` in any letter case is "".

    Raises:
        UsageError: if no room can have that name.
    """
    room = _folded(_composed(text))
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
    """Return what two names share exactly when they are the same name, as typed or as sent."""
    return _composed(name).casefold()


@lru_cache(maxsize=4096)
def looks(name: str) -> frozenset[str]:
    """Return what a name looks like; two that share a look can be taken for each other.

    PROTOCOL.md 3.1: its skeletons (UTS 39 4) as written, in small and in capital letters, to be
    compared without regard to case, to what stands within, and to whether an i is an l.
    """
    prototypes = _ASCII if name.isascii() else _prototypes()
    found = set()
    for form in (name, name.casefold(), name.upper()):
        shown = _decomposed(_decomposed(form).translate(prototypes)).casefold()
        # A dot above is not seen on what has one.
        found.add(shown.translate(_LOOSE).replace("l\u0307", "l").replace("j\u0307", "j"))
    return frozenset(found)


def look_alike(name: str, present: Iterable[str]) -> str | None:
    """Return the row that tells a new name from a present one it looks like (UX.md 10)."""
    for other in present:
        if key(other) != key(name) and not looks(name).isdisjoint(looks(other)):
            script = _script(name)
            what = "digits are" if name.isdecimal() else "letters are"
            is_foreign = script != _script(other)
            why = f"its {what} {script}" if is_foreign else "it only looks the same"
            return f"{name} is not {other}: {why}."
    return None


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _decomposed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFD", text)


def _folded(text: str) -> str:
    return _composed(text.casefold())


def _check_characters(name: str) -> None:
    for char in name:
        if char.isspace() or unicodedata.category(char) == "Cc":
            raise UsageError("A username has no spaces or control characters.")
        if char not in _WITHIN and not _scripts_of(char):
            what = char if char.isascii() else f"U+{ord(char):04X}"
            raise UsageError(
                "A username has letters and digits in use today, and _ - . ' between them, "
                f"but not {what}."
            )
    if _composed(name) != name:
        raise UsageError("A username is written with composed letters (Unicode NFC).")
    if name[0] in (*_WITHIN, "_") or _is_mark(name[0]):
        raise UsageError("A username begins with a letter or digit.")
    if any({*pair} < {*_WITHIN, "_"} and pair != ("_", "_") for pair in pairwise(f"{name}_")):
        raise UsageError("In a username - . and ' stand between two letters or digits.")
    if any(all(map(_is_mark, name[at : at + 5])) for at in range(len(name) - _MARKS_PER_LETTER)):
        raise UsageError(f"A username has at most {_MARKS_PER_LETTER} marks on a letter.")


def _check_scripts(name: str) -> None:
    found = [scripts for char in name if (scripts := _scripts_of(char)) and scripts != _ANY]
    if found:
        alone = map(frozenset, zip(found[0], strict=True))
        if not any(all(each & one for each in found) for one in (*alone, *_TOGETHER)):
            mixed = dict.fromkeys(min(scripts) for scripts in found)
            raise UsageError(f"A username does not mix {' and '.join(mixed)} characters.")
    zeros = {ord(char) - unicodedata.decimal(char) for char in name if char.isdecimal()}
    if len(zeros) > 1:
        raise UsageError("A username does not mix digits of several scripts.")


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def _script(name: str) -> str:
    """Return the script of a name, the foreign one if Latin is among them."""
    scripts = [min(_scripts_of(char) or _ANY) for char in name]
    return next((script for script in scripts if script not in ("Latin", *_ANY)), "Latin")


def _scripts_of(char: str) -> frozenset[str]:
    """Return the scripts a character may be of, `_ANY` if of each; none if it is not allowed."""
    firsts, lasts, scripts = _runs()
    at = bisect_right(firsts, ord(char)) - 1
    return scripts[at] if at >= 0 and ord(char) <= lasts[at] else frozenset()


@cache
def _runs() -> tuple[list[int], list[int], list[frozenset[str]]]:
    runs: list[tuple[int, int, frozenset[str]]] = []
    for row in identifiers.SCRIPTS.replace("\n ", " ").splitlines():
        names_, _, chars = row.partition(": ")
        scripts = frozenset(names_.split())
        scripts = _ANY if scripts & _ANY else scripts
        for run in chars.split():
            first, _, more = run.partition("+")
            runs.append((int(first, 16), int(first, 16) + int(more or "0", 16), scripts))
    runs.sort(key=lambda run: run[0])
    firsts, lasts, sets = zip(*runs, strict=True)
    return list(firsts), list(lasts), list(sets)


@cache
def _prototypes() -> dict[int, str]:
    pairs = (pair.partition("=") for pair in identifiers.PROTOTYPES.split())
    return {
        int(char, 16): "".join(chr(int(code, 16)) for code in shown.split("+"))
        for char, _, shown in pairs
    }


@cache
def _reserved() -> frozenset[str]:
    return frozenset().union(*map(looks, RESERVED))
