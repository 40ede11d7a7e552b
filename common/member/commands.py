"""A typed line becomes an intent: say, message, send, trust, verify, search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import UsageError
from common.wire import orders


@dataclass(frozen=True, slots=True)
class Say:
    """Say a text to the room."""

    text: str


@dataclass(frozen=True, slots=True)
class Help:
    """List commands, keys, or one command; "" for all."""

    topic: str


@dataclass(frozen=True, slots=True)
class Who:
    """List the members."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Show a safety number; with an answer, say that it was compared.

    Attributes:
        name: "" for one's own fingerprint.
    """

    name: str
    answer: bool | None


@dataclass(frozen=True, slots=True)
class Trust:
    """Pin a member's identity anew."""

    name: str


@dataclass(frozen=True, slots=True, repr=False)
class Operate:
    """Ask the relay for what its operators may do."""

    order: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the room, with a last text or none.

    Attributes:
        asks: whether to ask for the text first.
    """

    text: str
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Find:
    """Mark a text in the history and go to it; "" repeats."""

    text: str


@dataclass(frozen=True, slots=True)
class ToUnread:
    """Go to the unread line."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget the history."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Print the last messages outside the screen."""

    count: int
    with_names: bool


@dataclass(frozen=True, slots=True)
class Urls:
    """Print the last URLs outside the screen."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Say again what was reported as not sent."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Give up what was reported as not sent."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Edit the draft in an editor of the user's."""


@dataclass(frozen=True, slots=True)
class Set:
    """Show the settings, or change one.

    Attributes:
        name: "" for all.
        value: "" to show it.
    """

    name: str
    value: str


Intent = (
    Say
    | Help
    | Who
    | Verify
    | Trust
    | Operate
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


@dataclass(frozen=True, slots=True)
class Command:
    """One command, as `/help` shows it.

    Attributes:
        is_whole: whether it must be typed out: a slip of the finger would cost too much.
    """

    name: str
    usage: str
    meaning: str
    is_whole: bool = False


COMMANDS = (
    Command("/help", "/help [topic]", "this list; /help keys; /help /who"),
    Command("/who", "/who", "who is here, and how far each is trusted"),
    Command("/me", "/me TEXT", "says what you do: * ace TEXT"),
    Command(
        "/verify",
        "/verify [NAME [yes|no]]",
        "the number to compare with NAME; then yes",
    ),
    Command("/trust", "/trust NAME", "accepts a changed identity key of NAME", is_whole=True),
    Command("/find", "/find TEXT", "marks TEXT and goes to it; /find repeats"),
    Command("/unread", "/unread", "goes to the unread line"),
    Command("/copy", "/copy [-t] [N]", "the last N messages to copy; -t: with names"),
    Command("/url", "/url", "prints the last 20 URLs"),
    Command("/edit", "/edit", "opens what you typed in $VISUAL or $EDITOR"),
    Command("/clear", "/clear", "forgets the history"),
    Command("/set", "/set [NAME [VALUE]]", "shows or changes a setting"),
    Command("/resend", "/resend", "says again what was not sent"),
    Command("/drop", "/drop", "gives up what was not sent"),
    Command("/quit", "/quit [TEXT]", "leaves, saying TEXT first", is_whole=True),
)
"""In the order of `/help`."""

COPIED = 50
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
        is_literal: whether it was pasted or has several lines; then it is never a command.

    Raises:
        UsageError: if it is no command, or a wrong one; nothing is to be sent.
    """
    _check_no_order(line, is_literal=is_literal or "\n" in line)
    if is_literal or "\n" in line:
        return Say(line)
    if line.strip() == "exit":
        return Leave("", asks=True)
    if line.strip() == "//exit":
        return Say("exit")
    if line.startswith("//"):
        return Say(line[1:])
    if not line.startswith("/"):
        return Say(line)
    word, _, rest = line.partition(" ")
    if word in orders.WORDS and (rest.strip() or word != "/who"):
        orders.parse(line)
        return Operate(line.strip())
    return _intent(find(word), rest.strip(), line)


def _check_no_order(line: str, *, is_literal: bool) -> None:
    """Check that no order is said to the room because of how it was typed.

    Raises:
        UsageError: if it would be.
    """
    first = next(iter(line.split(None, 1)), "")
    if first in orders.WORDS and first != "/who" and (is_literal or not line.startswith("/")):
        raise UsageError(f"{first} begins what is typed, on one row. Nothing was sent.")


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
