"""An operator's order: the words of a COMMAND, read alike by both ends (PROTOCOL.md 4.5)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from common.errors import UsageError
from common.wire import records

MAX_SLOW_S: Final = 3_600
MAX_FOR_S: Final = 10 * 366 * 86_400
FINGERPRINT_DIGITS: Final = 30
_NEAR_SCORE: Final = 0.7
_UNITS_S: Final = {"m": 60, "h": 3_600, "d": 86_400}
_TIME = re.compile(r"([1-9][0-9]{0,6})([mhd])", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,4}", re.ASCII)
# As a fingerprint is shown: six groups of five digits (PROTOCOL.md 6.2).
_FINGERPRINT = re.compile(r"[0-9]{5}( ?[0-9]{5}){5}(?![^ ])", re.ASCII)

UNCHANGED: Final = "Nothing was changed."
"""How a sentence ends that refuses an order."""
HELP: Final = "/help"
PASSWORD: Final = "/password"  # noqa: S105 - a command
STOP: Final = "/stop"


class Order(NamedTuple):
    """One order.

    Attributes:
        word: with its slash.
        target: a username, a fingerprint of 30 digits, or a room as it was typed; "" for none.
        text: a reason, a topic or a password.
        for_s: a number of seconds; 0 for no end.
        is_open: whether anybody may ask for it, not an operator alone.
    """

    word: str
    target: str = ""
    text: str = ""
    for_s: int = 0
    is_open: bool = False

    def __repr__(self) -> str:
        """Hide the text, which may be a password."""
        return f"Order({self.word}, {self.target!r}, for_s={self.for_s})"


class Form(NamedTuple):
    """How an order is written, what it does, and how what follows its word is read."""

    arguments: str
    meaning: str
    read: Callable[[str, str], Order]


def usage(word: str) -> str:
    """Return how an order is typed."""
    return f"{word} {FORMS[word].arguments}".rstrip()


def parse(line: str, *, is_console: bool = False) -> Order:
    """Read an order.

    Args:
        line: as it was typed.
        is_console: whether it was typed at the relay's console, which has words of its own.

    Raises:
        UsageError: if it is none, or a wrong one: nothing may change. Never says what was typed,
            which may be a password.
    """
    word, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if word == HELP and not rest:
        return Order(HELP)
    form = FORMS.get(word) or (CONSOLE_FORMS.get(word) if is_console else None)
    if form is None:
        found = near(word)
        hint = f" Near: {', '.join(found)}." if found else ""
        raise UsageError(f"No such command: nothing was changed.{hint} /help lists all.")
    if len(line.encode("utf-8", "replace")) > records.MAX_COMMAND_BYTES:
        raise UsageError(f"A command has at most {records.MAX_COMMAND_BYTES} bytes.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in rest):
        raise UsageError(f"{word} with a control character: nothing was changed.")
    return form.read(word, rest)


def near(name: str, others: Iterable[str] = ()) -> list[str]:
    """Return the words, ours or others, that whoever typed this may have meant; nearest first."""
    import difflib  # not at the start of a client

    # Whoever mistypes something else is not to be handed what ends the room for all.
    known = (word for word in FORMS if word != STOP)
    name, words = name.casefold(), dict.fromkeys((*known, *others))
    begun = [word for word in words if len(name) > 1 and word.startswith(name)]
    alike = difflib.get_close_matches(name, words, cutoff=_NEAR_SCORE)
    return list(dict.fromkeys((*begun, *alike)))


def is_secret(line: str) -> bool:
    """Tell whether a line may hold a password, and must enter no history."""
    name = line.strip().partition(" ")[0].casefold()
    return name.startswith(("/pas", "/pw")) or (name not in FORMS and PASSWORD in near(name))


def is_fingerprint(target: str) -> bool:
    """Tell whether a target is a fingerprint, and no name."""
    return len(target) == FINGERPRINT_DIGITS and target.isascii() and target.isdigit()


def grouped(digits: str) -> str:
    """Return a fingerprint as it is shown."""
    return " ".join(digits[at : at + 5] for at in range(0, len(digits), 5))


def _wrong(word: str) -> UsageError:
    return UsageError(f"Usage: {usage(word)}. {UNCHANGED}")


def _bare(word: str, rest: str) -> Order:
    if rest:
        raise _wrong(word)
    return Order(word)


def _one(word: str, rest: str) -> Order:
    """Read a name."""
    if len(rest.split()) != 1:
        raise _wrong(word)
    return Order(word, rest)


def _room(word: str, rest: str) -> Order:
    """Read a room, or none."""
    return _one(word, rest) if rest else Order(word)


def _reasoned(word: str, rest: str) -> Order:
    """Read a name and a reason."""
    target, _, reason = rest.partition(" ")
    if not target:
        raise _wrong(word)
    return Order(word, target, reason.strip())


def _identified(word: str, rest: str) -> Order:
    """Read a name or a fingerprint."""
    target, rest = _identity(rest)
    if rest:
        raise _wrong(word)
    return _one(word, target)


def _banned(word: str, rest: str) -> Order:
    """Read a name or a fingerprint, how long, and a reason."""
    target, rest = _identity(rest)
    return _timed(word, target, rest, may_reason=True)


def _muted(word: str, rest: str) -> Order:
    """Read a name, and how long."""
    target, rest = _split(rest)
    return _timed(word, target, rest, may_reason=False)


def _timed(word: str, target: str, rest: str, *, may_reason: bool) -> Order:
    time, reason = _split(rest)
    for_s = 0
    if time[:1].isdigit():
        # What looks like a time and is none must not become a reason, and the ban one for ever.
        found = _TIME.fullmatch(time)
        for_s = int(found[1]) * _UNITS_S[found[2]] if found else 0
        if not 0 < for_s <= MAX_FOR_S:
            raise _wrong(word)
        rest = reason
    if not target or (rest and not may_reason):
        raise _wrong(word)
    return Order(word, target, rest, for_s)


def _slow(word: str, rest: str) -> Order:
    seconds, room = _split(rest)
    if not _SECONDS.fullmatch(seconds) or int(seconds) > MAX_SLOW_S or len(room.split()) > 1:
        raise _wrong(word)
    return Order(word, room, "", int(seconds))


def _topic(word: str, rest: str) -> Order:
    """Read a topic; who reads what it is, without one, need be nobody."""
    return Order(word, text=rest, is_open=not rest)


def _password(word: str, rest: str) -> Order:
    if rest.partition(" ")[0] == "--tell":
        raise UsageError(f"--tell is for members, in a client. {UNCHANGED}")
    if not rest or rest.startswith("-"):  # a slip in --tell must not become the password
        raise _wrong(word)
    return Order(word, text=rest)


def _words(word: str, rest: str) -> Order:
    if not rest:
        raise UsageError(f"Usage: {word} TEXT. Nothing was said.")
    return Order(word, text=rest)


def _identity(rest: str) -> tuple[str, str]:
    """Split off a fingerprint, as 30 digits, or a name."""
    found = _FINGERPRINT.match(rest)
    if found is None:
        return _split(rest)
    return found[0].replace(" ", ""), rest[found.end() :].strip()


def _split(rest: str) -> tuple[str, str]:
    first, _, others = rest.partition(" ")
    return first, others.strip()


_WHOM_AND_WHY: Final = "NAME|FINGERPRINT [10m|2h|3d] [REASON]"

FORMS: Final[dict[str, Form]] = {
    "/kick": Form("NAME [REASON]", "removes NAME, who can come back", _reasoned),
    "/ban": Form(_WHOM_AND_WHY, "removes and keeps out an identity", _banned),
    "/unban": Form("NAME|FINGERPRINT", "lets a banned identity in again", _identified),
    "/bans": Form("", "who is banned, by whom, until when", _bare),
    "/mute": Form("NAME [10m|2h|3d]", "refuses what NAME says", _muted),
    "/unmute": Form("NAME", "lets NAME speak again", _one),
    "/lock": Form("[ROOM]", "nobody new can join", _room),
    "/unlock": Form("[ROOM]", "ends /lock", _room),
    "/slow": Form("SECONDS [ROOM]", "one message of each in so many seconds; 0 ends it", _slow),
    "/topic": Form("[TEXT|off]", "what the room is about, for whoever joins or asks", _topic),
    PASSWORD: Form("NEW", "what whoever joins from now on needs", _password),
    "/op": Form("NAME|FINGERPRINT", "makes somebody an operator", _identified),
    "/deop": Form("NAME|FINGERPRINT", "ends /op", _identified),
    "/who": Form("[ROOM]", "who is in ROOM", _room),
    "/rooms": Form("", "which rooms there are", _bare),
    "/stats": Form("", "what the relay does", _bare),
    STOP: Form("", "stops the relay", _bare),
}
"""By word, in the order of `/help`."""

CONSOLE_FORMS: Final[dict[str, Form]] = {
    "/say": Form("TEXT", "says TEXT to everybody", _words),
}
"""Not for members: whose words go to the relay in the clear must have meant that."""
