"""Names that complete a prefix, most recent speaker first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple


class Argument(Enum):
    """What an argument of a command is, where it is not one of a few words."""

    NAME = auto()
    TEXT = auto()


class Sources(NamedTuple):
    """What there is to complete with; made by the client when Tab is pressed.

    names: who is present, last speaker first. commands: for each, with its slash, what its
    arguments are; the last stands for all that follow. reply_to: who wrote the last direct message,
    or "".
    """

    names: Sequence[str]
    commands: Mapping[str, Sequence[Argument | Sequence[str]]]
    reply_to: str = ""


class Completion(NamedTuple):
    """What can stand between two places of the text, each with what must follow it."""

    start: int
    end: int
    choices: tuple[str, ...]


def complete(text: str, cursor: int, sources: Sources) -> Completion:
    """Return what can stand instead of the word before the cursor, the likeliest first."""
    start = max(text.rfind(blank, 0, cursor) for blank in " \t\n") + 1
    word = text[start:cursor]
    is_command = text.startswith("/") and not text.startswith("//") and "\n" not in text
    argument = _argument(text[:start], sources) if is_command and start else Argument.TEXT
    if word.startswith(":") and argument is Argument.TEXT:
        return Completion(start, cursor, _emoji(word))
    if not is_command:
        return _matching(start, word, sources.names, " " if start else ": ")
    if start == 0:
        return _matching(start, word, sources.commands, " ")
    match argument:
        case Argument.NAME | Argument.TEXT:
            return _matching(start, word, sources.names, " ")
        case words:
            return _matching(start, word, words, " ")


def addressee(text: str, sources: Callable[[], Sources]) -> str:
    """Return to whom alone a text goes, as it is typed; "" if to nobody or everybody."""
    words = text.split(None, 2)
    has_end = len(words) == 3 or text[-1:].isspace()
    if len(words) < 2 or not has_end or not text.startswith("/"):
        return ""
    command, name = words[:2]
    commands = sources().commands
    near = [command] if command in commands else [c for c in commands if c.startswith(command)]
    is_private = len(near) == 1 and tuple(commands[near[0]]) == (Argument.NAME, Argument.TEXT)
    return name if is_private else ""


def _argument(before: str, sources: Sources) -> Argument | Sequence[str]:
    """Return what the command takes behind what stands before."""
    command, *given = before.split()
    arguments = sources.commands.get(command, ())
    return arguments[min(len(given), len(arguments) - 1)] if arguments else ()


def _matching(start: int, word: str, candidates: Iterable[str], tail: str) -> Completion:
    # Where others put it before a name: a name with it is still a name.
    at = word[: word.startswith("@")]
    prefix = word[len(at) :].casefold()
    if at and tail == ": ":
        tail = " "
    choices = (each for each in candidates if each.casefold().startswith(prefix))
    return Completion(start, start + len(word), tuple(f"{at}{each}{tail}" for each in choices))


def _emoji(word: str) -> tuple[str, ...]:
    """Return the emoji that a word such as `:smi` or `:smile:` begins to name."""
    # Here, since no first frame waits for it.
    from common.term.emoji import named

    return named(word.strip(":")) if len(word) > 1 else ()
