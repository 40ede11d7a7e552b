"""An operator's order: the words of a COMMAND, read alike by both ends (PROTOCOL.md 4.5)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final, NamedTuple

from common.errors import UsageError
from common.wire import records

MAX_SLOW_S: Final = 3_600
MAX_FOR_S: Final = 10 * 366 * 86_400
_NEAR_SCORE: Final = 0.7
_UNITS_S: Final = {"m": 60, "h": 3_600, "d": 86_400}
_TIME = re.compile(r"([1-9][0-9]{0,6})([mhd])", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,4}", re.ASCII)
# As a fingerprint is shown: six groups of five digits (PROTOCOL.md 6.2).
_FINGERPRINT = re.compile(r"[0-9]{5}( ?[0-9]{5}){5}(?![^ ])", re.ASCII)


class Word(Enum):
    """What an operator can do, by the word that is typed."""

    KICK = "/kick"
    BAN = "/ban"
    UNBAN = "/unban"
    BANS = "/bans"
    MUTE = "/mute"
    UNMUTE = "/unmute"
    LOCK = "/lock"
    UNLOCK = "/unlock"
    SLOW = "/slow"
    MOTD = "/motd"
    PASSWORD = "/password"  # noqa: S105 - a command
    OP = "/op"
    DEOP = "/deop"
    WHO = "/who"
    ROOMS = "/rooms"
    STATS = "/stats"
    STOP = "/stop"


class Order(NamedTuple):
    """One order.

    Attributes:
        target: a username, a fingerprint of 30 digits, or a room as it was typed; "" for none.
        text: a reason, a greeting or a password.
        for_s: a number of seconds; 0 for no end.
    """

    word: Word
    target: str = ""
    text: str = ""
    for_s: int = 0

    def __repr__(self) -> str:
        """Hide the text, which may be a password."""
        return f"Order({self.word}, {self.target!r}, for_s={self.for_s})"


class Form(NamedTuple):
    """How an order is written, and what it does."""

    arguments: str
    meaning: str


FORMS: Final = {
    Word.KICK: Form("NAME [REASON]", "removes NAME, who can come back"),
    Word.BAN: Form("NAME|FINGERPRINT [10m|2h|3d] [REASON]", "removes and keeps out an identity"),
    Word.UNBAN: Form("NAME|FINGERPRINT", "lets a banned identity in again"),
    Word.BANS: Form("", "who is banned, by whom, until when"),
    Word.MUTE: Form("NAME [10m|2h|3d]", "refuses what NAME says"),
    Word.UNMUTE: Form("NAME", "lets NAME speak again"),
    Word.LOCK: Form("[ROOM]", "nobody new can join"),
    Word.UNLOCK: Form("[ROOM]", "ends /lock"),
    Word.SLOW: Form("SECONDS [ROOM]", "one message of each in so many seconds; 0 ends it"),
    Word.MOTD: Form("TEXT|off", "greets whoever joins"),
    Word.PASSWORD: Form("NEW", "what whoever joins from now on needs"),
    Word.OP: Form("NAME", "makes NAME an operator"),
    Word.DEOP: Form("NAME|FINGERPRINT", "ends /op"),
    Word.WHO: Form("[ROOM]", "who is in ROOM"),
    Word.ROOMS: Form("", "which rooms there are"),
    Word.STATS: Form("", "what the relay does"),
    Word.STOP: Form("", "stops the relay"),
}
"""In the order of `/help`."""

UNCHANGED: Final = "Nothing was changed."
"""How the relay's answer ends to every order that it does not carry out."""
LOCK_CHANGED: Final = "Whoever is here stays. A restart takes its password from --password again."
"""The relay's answer to `/password NEW` that it has carried out."""

WORDS: Final = {word.value: word for word in Word}


def usage(word: Word) -> str:
    """Return how an order is typed."""
    return f"{word.value} {FORMS[word].arguments}".rstrip()


def parse(line: str) -> Order:
    """Read an order.

    Raises:
        UsageError: if it is none, or a wrong one: nothing may change. Never says what was typed,
            which may be a password.
    """
    name, _, rest = line.strip().partition(" ")
    word, rest = WORDS.get(name), rest.strip()
    if word is None:
        found = near(name)
        hint = f" Near: {', '.join(found)}." if found else ""
        raise UsageError(f"No such command: nothing was changed.{hint} /help lists all.")
    if len(line.encode("utf-8", "replace")) > records.MAX_COMMAND_BYTES:
        raise UsageError(f"A command has at most {records.MAX_COMMAND_BYTES} bytes.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in rest):
        raise UsageError(f"{name} with a control character: nothing was changed.")
    return _READERS[word](word, rest)


def near(name: str, others: Iterable[str] = ()) -> list[str]:
    """Return the words, ours or others, that whoever typed this may have meant; nearest first."""
    import difflib  # not at the start of a client

    name, words = name.casefold(), dict.fromkeys((*WORDS, *others))
    begun = [word for word in words if len(name) > 1 and word.startswith(name)]
    alike = difflib.get_close_matches(name, words, cutoff=_NEAR_SCORE)
    return list(dict.fromkeys((*begun, *alike)))


def is_secret(line: str) -> bool:
    """Tell whether a line may hold a password, and must enter no history."""
    name = line.strip().partition(" ")[0].casefold()
    password = Word.PASSWORD.value
    return name.startswith(("/pas", "/pw")) or (name not in WORDS and password in near(name))


def _wrong(word: Word) -> UsageError:
    return UsageError(f"Usage: {usage(word)}. Nothing was changed.")


def _bare(word: Word, rest: str) -> Order:
    if rest:
        raise _wrong(word)
    return Order(word)


def _one(word: Word, rest: str) -> Order:
    """Read a name."""
    if len(rest.split()) != 1:
        raise _wrong(word)
    return Order(word, rest)


def _room(word: Word, rest: str) -> Order:
    """Read a room, or none."""
    return _one(word, rest) if rest else Order(word)


def _reasoned(word: Word, rest: str) -> Order:
    """Read a name and a reason."""
    target, _, reason = rest.partition(" ")
    if not target:
        raise _wrong(word)
    return Order(word, target, reason.strip())


def _identified(word: Word, rest: str) -> Order:
    """Read a name or a fingerprint."""
    target, rest = _identity(rest)
    if rest:
        raise _wrong(word)
    return _one(word, target)


def _timed(word: Word, rest: str) -> Order:
    """Read a name or a fingerprint, how long, and a reason."""
    target, rest = _identity(rest) if word is Word.BAN else _split(rest)
    time, reason = _split(rest)
    for_s = 0
    if time[:1].isdigit():
        # What looks like a time and is none must not become a reason, and the ban one for ever.
        found = _TIME.fullmatch(time)
        for_s = int(found[1]) * _UNITS_S[found[2]] if found else 0
        if not 0 < for_s <= MAX_FOR_S:
            raise _wrong(word)
        rest = reason
    if not target or (rest and word is Word.MUTE):
        raise _wrong(word)
    return Order(word, target, rest, for_s)


def _slow(word: Word, rest: str) -> Order:
    seconds, room = _split(rest)
    if not _SECONDS.fullmatch(seconds) or int(seconds) > MAX_SLOW_S or len(room.split()) > 1:
        raise _wrong(word)
    return Order(word, room, "", int(seconds))


def _text(word: Word, rest: str) -> Order:
    if not rest:
        raise _wrong(word)
    return Order(word, text=rest)


def _password(word: Word, rest: str) -> Order:
    if rest.partition(" ")[0] == "--tell":
        raise UsageError("--tell is for members, in a client. Nothing was changed.")
    if not rest or rest.startswith("-"):  # a slip in --tell must not become the password
        raise _wrong(word)
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


_READERS: Final[dict[Word, Callable[[Word, str], Order]]] = {
    Word.KICK: _reasoned,
    Word.BAN: _timed,
    Word.UNBAN: _identified,
    Word.BANS: _bare,
    Word.MUTE: _timed,
    Word.UNMUTE: _one,
    Word.LOCK: _room,
    Word.UNLOCK: _room,
    Word.SLOW: _slow,
    Word.MOTD: _text,
    Word.PASSWORD: _password,
    Word.OP: _one,
    Word.DEOP: _identified,
    Word.WHO: _room,
    Word.ROOMS: _bare,
    Word.STATS: _bare,
    Word.STOP: _bare,
}
