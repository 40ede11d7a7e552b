"""What is typed becomes a call of a command, or says why not; also what Tab completes.

What begins with a slash and is none of ours may be an operator's order (UX.md 13). What was pasted
is no command, and what could be meant for one person alone is never said to the room.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

from common.errors import UsageError
from common.member.commands import (
    ALIASES,
    COMMANDS,
    EXIT,
    ORDER,
    OURS,
    SAY,
    TELL_PASSWORD,
    Call,
    Completes,
    find,
    say,
)
from common.member.person import Person
from common.term.complete import Argument, Sources
from common.wire import orders

PRIVATE: Final = ("/msg", "/r", orders.PASSWORD)
_SAYING: Final = ("/msg", "/r", "/me")
_ALONE: Final = {
    "exit": Call(EXIT, ()),
    ":q": Call(EXIT, ()),
    ":q!": Call(EXIT, ()),
    ":wq": Call(EXIT, ()),
    ":x": Call(EXIT, ()),
    "help": Call(find("/help"), ("",)),
}
"""What is a command without a slash, if nothing else is on its row."""
_LEAVING: Final = ("quit", "logout")


def enter(me: Person, line: str, *, is_pasted: bool) -> None:
    """Do what was typed; is_pasted: it was pasted.

    Raises:
        UsageError: if it cannot be; what was typed can be had again, if it may be shown.
        FileError: if a file cannot be used.
    """
    if is_secret(line):
        me.view.forget_typed()
    try:
        command, given = parse(line, is_pasted=is_pasted)
        command.do(me, *given)
        if not command.keeps_away:
            me.be_back(has_spoken=command.do is say)
    except UsageError:
        if not is_secret(line):
            me.view.refused(line, is_pasted=is_pasted)
        raise


def parse(line: str, *, is_pasted: bool = False) -> Call:
    """Read what was entered.

    Args:
        line: as typed.
        is_pasted: whether it was pasted; then it is never a command, nor if it has several lines.

    Raises:
        UsageError: if it is no command, or a wrong one; nothing is to be sent.
    """
    first = _first(line)
    if _is_guarded(first):
        is_odd = is_pasted or not line.startswith("/")
        if is_odd or ("\n" in line and not _begins(first, _SAYING)):
            # Not what was typed: a password may be a part of its first word.
            name = first if first in (*PRIVATE, *orders.FORMS) else "A command"
            raise UsageError(f"{name} begins what is typed, on one row. Nothing was sent.")
    elif is_pasted or "\n" in line:
        return Call(SAY, (line.strip("\n"),))
    if line.strip() in _ALONE:
        return _ALONE[line.strip()]
    if line.strip() in _LEAVING:
        raise UsageError("/quit leaves. Nothing was sent.")
    if line.strip() == "//exit":
        return Call(SAY, ("exit",))
    if line.startswith("//"):
        return Call(SAY, (line[1:],))
    if not line.startswith("/"):
        return Call(SAY, (line,))
    if line.split(None, 2)[:2] == [orders.PASSWORD, "--tell"]:
        return Call(TELL_PASSWORD, (_password(line),))
    word, _, rest = line.partition(" ")
    if word in orders.FORMS and (rest.strip() or word not in OURS):
        return Call(ORDER, (line.strip(),))
    command = find(first if "\n" in line else word)
    given = command.read(rest.strip(), line.strip("\n"))
    if given is None:
        raise UsageError(f"Usage: {command.usage}")
    return Call(command, given)


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


def is_secret(line: str) -> bool:
    """Tell whether a password may follow, which must stand nowhere once it was entered."""
    first = _first(line)
    return first.startswith("/") and not first.startswith("//") and orders.is_secret(first)


def _first(line: str) -> str:
    """Return the first word."""
    return next(iter(line.split(None, 1)), "")


def _begins(word: str, names: tuple[str, ...]) -> bool:
    """Tell whether a word could be meant as one of these commands."""
    word = ALIASES.get(word.casefold(), word.casefold())
    return len(word) > 1 and any(name.startswith(word) for name in names)


def _is_guarded(word: str) -> bool:
    """Tell whether what follows must not be said to the room, however it came to be no command."""
    is_order = word.casefold() in orders.FORMS and word.casefold() not in OURS
    return is_order or _begins(word, PRIVATE) or is_secret(word)


# --- Tab.


def sources(me: Person) -> Sources:
    """Return what Tab completes with now."""

    def offered(completes: Completes) -> Argument | Sequence[str]:
        return completes(me) if callable(completes) else completes

    here = me.narrator.names_here()
    commands = {c.name: tuple(offered(each) for each in c.completes) for c in COMMANDS}
    aliases = {alias: commands[name] for alias, name in ALIASES.items()}
    reply_to = me.narrator.reply_to[1] if me.narrator.reply_to is not None else ""
    return Sources(here, commands | aliases | _ORDERS, reply_to if reply_to in here else "")


_ORDERS: Final[dict[str, Sequence[Argument | Sequence[str]]]] = {
    word: (Argument.NAME, ()) if form.arguments.startswith("NAME") else ()
    for word, form in orders.FORMS.items()
    if word not in OURS
}
