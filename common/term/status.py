"""The status row: what is said in it, and what first gives way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from common.term.rows import REVERSE, WIDE_COLUMNS, Row, Span, Style
from common.term.text import clean, cut, displayed, width

_GAP = "  "
# UX.md 1: what gives way last comes first. A changed key never does, nor what is said now.
_ORDER = ("room", "state", "unread", "mentions", "warning", "here", "name", "clock", "hint")
_LEFT = ("room", "notice", "hint", "state", "name", "here", "changed", "warning")
_RIGHT = ("mentions", "unread", "clock")
_SHORT_HINT = "/help"
_LOUD = Style(bold=True, reverse=True)
_LOUD_FIELDS = ("changed", "warning", "notice")


class StatusRow(NamedTuple):
    """What the status row may say; nothing of it needs to be clean.

    state: a word or sentence, empty when live. here: members, 0 if unknown. changed: whose identity
    key is another than the pinned one. warning: any other. notice: what was just said or asked.
    hint: what a newcomer may want to know.
    """

    room: str
    name: str = ""
    state: str = ""
    new_below: int = 0
    mentions: int = 0
    changed: tuple[str, ...] = ()
    warning: str = ""
    here: int = 0
    clock: str = ""
    notice: str = ""
    hint: str = ""


def status_row(status: StatusRow, columns: int) -> Row:
    """Return the status row, exactly as wide as the screen."""
    said = {
        name: displayed(clean(text, multiline=False)) for name, text in _fields(status, columns)
    }
    for name in reversed(_ORDER):
        if _cells(said) <= columns:
            break
        if name == "hint" and said[name]:
            said[name] = _SHORT_HINT
            if _cells(said) <= columns:
                break
        said[name] = ""
    for name in ("notice", "changed"):
        over = _cells(said) - columns
        if over > 0 and said[name]:
            said[name] = cut(said[name], max(0, width(said[name]) - over))
    left, right = _part(said, _LEFT), _part(said, _RIGHT)
    gap = columns - _cells(said) + (len(_GAP) if left and right else 0)
    return (Span(" ", REVERSE), *left, Span(" " * gap, REVERSE), *right) if columns > 0 else ()


def _fields(status: StatusRow, columns: int) -> Iterator[tuple[str, str]]:
    end = " (End)" if columns >= WIDE_COLUMNS else ""
    names = ", ".join(status.changed)
    keys = "key" if len(status.changed) == 1 else "keys"
    yield "room", status.room
    yield "notice", status.notice
    yield "hint", "" if status.notice else status.hint
    yield "state", status.state
    yield "unread", f"{status.new_below} new below{end}" if status.new_below else ""
    yield "mentions", f"@{status.mentions}" if status.mentions else ""
    yield "changed", f"{len(status.changed)} changed {keys}: {names}" if names else ""
    yield "warning", status.warning
    yield "here", f"{status.here} here" if status.here else ""
    yield "name", status.name
    yield "clock", status.clock


def _cells(said: dict[str, str]) -> int:
    texts = [text for text in said.values() if text]
    return 1 + sum(map(width, texts)) + len(_GAP) * max(0, len(texts) - 1)


def _part(said: dict[str, str], names: tuple[str, ...]) -> list[Span]:
    spans: list[Span] = []
    for name in names:
        if said[name]:
            if spans:
                spans.append(Span(_GAP, REVERSE))
            spans.append(Span(said[name], _LOUD if name in _LOUD_FIELDS else REVERSE))
    return spans
