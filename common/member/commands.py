"""A typed line becomes an intent: say, message, send, trust, verify, search."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from common.errors import UsageError
from common.wire import orders


class _Bare:
    """An intent that says all by its name."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


class Say(NamedTuple):
    """Say a text to the room."""

    text: str


class Direct(NamedTuple):
    """Say a text to one member."""

    name: str
    text: str


class Reply(NamedTuple):
    """Say a text to whoever wrote the last direct message."""

    text: str


class Help(NamedTuple):
    """List commands, keys, or one command; "" for all."""

    topic: str


class Who(_Bare):
    """List the members."""


class Verify(NamedTuple):
    """Show a safety number; with an answer, say that it was compared.

    Attributes:
        name: "" for one's own fingerprint.
    """

    name: str
    answer: bool | None


class Trust(NamedTuple):
    """Pin a member's identity anew."""

    name: str


class Operate(NamedTuple):
    """Ask the relay for what its operators may do."""

    order: str

    def __repr__(self) -> str:
        """Hide it."""
        return "Operate()"


class Invite(NamedTuple):
    """Print what the next client is to be started with.

    Attributes:
        is_fresh: whether with another SECRET than the one in use.
    """

    is_fresh: bool


class Ignore(NamedTuple):
    """Hide what a member says; "" lists whom we ignore."""

    name: str


class Unignore(NamedTuple):
    """Show again what a member says; "" for everybody."""

    name: str


class Away(NamedTuple):
    """Be away, for a reason or none."""

    reason: str


class Nick(NamedTuple):
    """Go on under another name."""

    name: str


class TellPassword(NamedTuple):
    """Change the relay's password, and tell it to all members."""

    password: str

    def __repr__(self) -> str:
        """Hide it."""
        return "TellPassword()"


class Leave(NamedTuple):
    """Leave the room, with a last text or none.

    Attributes:
        asks: whether to ask for the text first.
    """

    text: str
    asks: bool = False


class Find(NamedTuple):
    """Mark a text in the history and go to it; "" repeats."""

    text: str


class ToUnread(_Bare):
    """Go to the unread line."""


class Clear(_Bare):
    """Forget the history."""


class Copy(NamedTuple):
    """Print the last messages outside the screen."""

    last: int
    with_names: bool


class Urls(_Bare):
    """Print the last URLs outside the screen."""


class Resend(_Bare):
    """Say again what was reported as not sent."""


class Drop(_Bare):
    """Give up what was reported as not sent."""


class Edit(_Bare):
    """Edit the draft in an editor of the user's."""


class Set(NamedTuple):
    """Show the settings, or change one.

    Attributes:
        name: "" for all.
        value: "" to show it.
    """

    name: str
    value: str


Intent = (
    Say
    | Direct
    | Reply
    | Help
    | Who
    | Verify
    | Trust
    | Operate
    | Invite
    | Ignore
    | Unignore
    | Away
    | Nick
    | TellPassword
    | Leave
    | Find
    | ToUnread
    | Clear
    | Copy
    | Urls
    | Edit
    | Set
    | Resend
    | Drop
)


class Command(NamedTuple):
    """One command, as `/help` shows it.

    Attributes:
        is_whole: whether it must be typed out: a slip of the finger would cost too much.
        needs_screen: whether line mode has no use for it.
        is_listed: False if the row of another names it: the list fits a terminal of 24 rows.
    """

    name: str
    usage: str
    meaning: str
    is_whole: bool = False
    needs_screen: bool = False
    is_listed: bool = True


COMMANDS = (
    Command("/help", "/help [topic]", "this list; /help keys; /help /who"),
    Command("/who", "/who", "who is here, and how far each is trusted"),
    Command("/msg", "/msg NAME TEXT", "says TEXT to NAME alone"),
    Command("/r", "/r TEXT", "answers the last who wrote to you alone"),
    Command("/me", "/me TEXT", "says what you do: * ace TEXT"),
    Command(
        "/verify",
        "/verify [NAME [yes|no]]",
        "the number to compare with NAME; then yes",
    ),
    Command("/trust", "/trust NAME", "accepts a changed identity key of NAME", is_whole=True),
    Command("/invite", "/invite [new]", "KEY.SECRET for friends: keeps all others out"),
    Command("/nick", "/nick NEW", "gives you another name", is_whole=True),
    Command("/away", "/away [TEXT]", "tells that you are away, until you type"),
    Command("/ignore", "/ignore [NAME]", "hides NAME; alone: lists. /unignore ends"),
    Command("/unignore", "/unignore [NAME]", "shows NAME again; alone: everybody", is_listed=False),
    Command("/find", "/find TEXT", "marks TEXT and goes to it; /find repeats", needs_screen=True),
    Command("/unread", "/unread", "goes to the unread line", needs_screen=True),
    Command(
        "/copy",
        "/copy [-t] [N]",
        "the last N messages (-t: names). /url: URLs",
        needs_screen=True,
    ),
    Command("/url", "/url", "prints the last 20 URLs", needs_screen=True, is_listed=False),
    Command("/edit", "/edit", "opens what you typed in $VISUAL or $EDITOR", needs_screen=True),
    Command("/clear", "/clear", "forgets the history", needs_screen=True),
    Command("/set", "/set [NAME [VALUE]]", "shows or changes a setting"),
    Command("/resend", "/resend", "says again what was not sent. /drop drops it"),
    Command("/drop", "/drop", "gives up what was not sent", is_listed=False),
    Command("/quit", "/quit [TEXT]", "leaves, saying TEXT first", is_whole=True),
)
"""In the order of `/help`."""

COPIED = 50
PRIVATE = ("/msg", "/r", "/password")
_SAYING = ("/msg", "/r", "/me")
_ANSWERS = {"yes": True, "no": False}
_BARE: dict[str, Callable[[], Intent]] = {
    "/unread": ToUnread,
    "/url": Urls,
    "/resend": Resend,
    "/drop": Drop,
    "/edit": Edit,
    "/clear": Clear,
}


def parse(line: str, *, is_literal: bool = False) -> Intent:
    """Read what was entered.

    Args:
        line: as typed.
        is_literal: whether it was pasted; then it is never a command, nor if it has several lines.

    Raises:
        UsageError: if it is no command, or a wrong one; nothing is to be sent.
    """
    first = _first(line)
    if _is_guarded(first):
        is_odd = is_literal or not line.startswith("/")
        if is_odd or ("\n" in line and not _begins(first, _SAYING)):
            # Not what was typed: a password may be a part of its first word.
            name = first if first in (*PRIVATE, *orders.WORDS) else "A command"
            raise UsageError(f"{name} begins what is typed, on one row. Nothing was sent.")
    elif is_literal or "\n" in line:
        return Say(line.strip("\n"))
    if line.strip() == "exit":
        return Leave("", asks=True)
    if line.strip() == "//exit":
        return Say("exit")
    if line.startswith("//"):
        return Say(line[1:])
    if not line.startswith("/"):
        return Say(line)
    if line.split(None, 2)[:2] == ["/password", "--tell"]:
        return TellPassword(_password(line))
    word, _, rest = line.partition(" ")
    if word in orders.WORDS and (rest.strip() or word != "/who"):
        orders.parse(line)
        return Operate(line.strip())
    return _intent(find(first if "\n" in line else word), rest.strip(), line.strip("\n"))


def _password(line: str) -> str:
    """Return what `/password --tell` is followed by.

    Raises:
        UsageError: if it is nothing, or what the relay or a terminal would not take.
    """
    *_, password = f"{line.strip()} ".split(" --tell ", 1)
    password = password.strip()
    is_odd = any(unicodedata.category(char) in ("Cc", "Cs") for char in password)
    if not password or password.startswith("-") or is_odd:
        raise UsageError("Usage: /password --tell NEW. Nothing was changed.")
    return password


def says(line: str, *, is_literal: bool = False) -> bool:
    """Tell whether somebody was meant to read this: refused, it must not be lost."""
    first = _first(line)
    if is_secret(first):
        return False
    is_text = is_literal or not first.startswith("/") or first.startswith("//")
    return is_text or (first != line.strip() and _begins(first, _SAYING))


def is_secret(line: str) -> bool:
    """Tell whether a password may follow, which must stand nowhere once it was entered."""
    first = _first(line)
    return first.startswith("/") and not first.startswith("//") and orders.is_secret(first)


def _first(line: str) -> str:
    """Return the first word."""
    return next(iter(line.split(None, 1)), "")


def _begins(word: str, names: tuple[str, ...]) -> bool:
    """Tell whether a word could be meant as one of these commands."""
    return len(word) > 1 and any(name.startswith(word.casefold()) for name in names)


def _is_guarded(word: str) -> bool:
    """Tell whether what follows must not be said to the room, however it came to be no command."""
    is_order = word.casefold() in orders.WORDS and word.casefold() != "/who"
    return is_order or _begins(word, PRIVATE) or is_secret(word)


def find(word: str) -> Command:
    """Return the command of that name, or the only one it begins.

    Raises:
        UsageError: if there is none, or more than one.
    """
    near = [command for command in COMMANDS if command.name.startswith(word)]
    for command in near:
        if command.name == word:
            return command
    if len(near) == 1 and word != "/":
        if near[0].is_whole:
            raise UsageError(f"{near[0].name} must be typed out. Nothing was sent.")
        return near[0]
    if near and word != "/":
        raise UsageError(f"{word} could be {' or '.join(c.name for c in near)}.")
    # What was typed behind the wrong word may be a password; the word itself may be its end.
    close = orders.near(word, (command.name for command in COMMANDS))
    hint = f" Near: {', '.join(close)}." if close else ""
    raise UsageError(f"No command {word if not close else 'of that name'}.{hint} /help lists them.")


def _intent(command: Command, rest: str, line: str) -> Intent:
    match command.name:
        case "/help":
            return Help(rest)
        case "/who" if not rest:
            return Who()
        case "/msg" if len(words := line.split(None, 2)) == 3:
            return Direct(words[1], words[2])
        case "/r" if len(words := line.split(None, 1)) == 2:
            return Reply(words[1])
        case "/me" if rest:
            # On the wire it is a text that begins so; each client shows it as it likes.
            return Say(f"/me {line.partition(' ')[2]}")
        case "/verify":
            words = rest.split()
            if len(words) <= 1:
                return Verify(rest, None)
            if len(words) == 2 and words[1] in _ANSWERS:
                return Verify(words[0], _ANSWERS[words[1]])
        case "/trust" if rest and len(rest.split()) == 1:
            return Trust(rest)
        case "/invite" if rest in ("", "new"):
            return Invite(bool(rest))
        case "/nick" if rest and len(rest.split()) == 1:
            return Nick(rest)
        case "/away":
            return Away(rest)
        case "/ignore" if len(rest.split()) <= 1:
            return Ignore(rest)
        case "/unignore" if len(rest.split()) <= 1:
            return Unignore(rest)
        case "/find":
            return Find(rest)
        case "/unread" | "/url" | "/edit" | "/clear" | "/resend" | "/drop" if not rest:
            return _BARE[command.name]()
        case "/copy":
            words = rest.split()
            with_names = words[:1] == ["-t"]
            number = words[with_names:] or [str(COPIED)]
            if len(number) == 1 and _is_count(number[0]):
                return Copy(int(number[0]), with_names)
        case "/set":
            name, _, value = rest.partition(" ")
            return Set(name, value.strip())
        case "/quit":
            return Leave(rest)
        case _:
            pass
    raise UsageError(f"Usage: {command.usage}")


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 6 and 0 < int(word) <= 100_000
