"""One message becomes rows of styled spans, wrapped and in columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from enum import Enum, auto
from time import struct_time
from typing import NamedTuple

from common.term.text import cut, displayed, fitting, next_grapheme, urls, width

# UX.md 1: the layout with columns for time and name, and the least that history is drawn in.
WIDE_COLUMNS = 60
LEAST_COLUMNS = 20
_TIME_CELLS = 5
NAME_CELLS = 12
_NOTICE_CELLS = _TIME_CELLS + 5  # time, gap, `--`, gap of two
_NARROW_INDENT = 3
_MOST_ROWS, SHOWN_ROWS = 20, 18

# Of names. Red, green and so on, by their ANSI numbers: never one that may be the background.
_COLOURS = (1, 2, 3, 4, 6)
# Of the 256: each at least 4:1 on black and on white.
_COLOURS_OF_256 = (131, 130, 64, 28, 30, 31, 27, 62, 99)
_RED, _GREEN, _CYAN, _YELLOW = (1, 1), (2, 28), (6, 30), (3, 130)
"""Of 8 colours, and of 256."""
_PRIVATE = (5, 163)
"""No name has it, or one near it: a private line is told from a public one by it."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


class Style(NamedTuple):
    """How a span is drawn; colour is an ANSI number, None the default."""

    bold: bool = False
    dim: bool = False
    reverse: bool = False
    underline: bool = False
    colour: int | None = None

    def over(self, below: Style) -> Style:
        """Return both styles at once."""
        return Style(
            self.bold or below.bold,
            self.dim or below.dim,
            self.reverse or below.reverse,
            self.underline or below.underline,
            below.colour if self.colour is None else self.colour,
        )


PLAIN = Style()
BOLD = Style(bold=True)
DIM = Style(dim=True)
REVERSE = Style(reverse=True)
_UNDERLINE = Style(underline=True)
_FOUND, _FOUND_NOW = REVERSE, Style(bold=True, reverse=True)


class Span(NamedTuple):
    """A piece of a row: clean, displayed text in one style."""

    text: str
    style: Style = PLAIN


Row = tuple[Span, ...]


class EntryKind(Enum):
    """What an entry of the history is."""

    SAY = auto()
    ACTION = auto()
    NOTICE = auto()
    # Who comes and goes.
    PRESENCE = auto()
    # What a command yielded, or came to nothing for: it was asked for, and is as loud as speech.
    ANSWER = auto()
    WARNING = auto()
    # Nothing but the text: what is to be copied, such as a KEY.
    BARE = auto()


class Mark(Enum):
    """What a message is, by what stands in its mark cell: the first character."""

    NONE = " "
    VERIFIED = "+"
    LOOK_ALIKE = "?"
    MENTION = "@"
    DIRECT = ">"
    LOOK_ALIKE_DIRECT = "?>"

    @property
    def is_private(self) -> bool:
        """Whether one alone was meant to read it."""
        return self in (Mark.DIRECT, Mark.LOOK_ALIKE_DIRECT)


class Who(NamedTuple):
    """Who said something, as it is drawn. Shared by all entries of one person."""

    name: str
    style: Style


NOBODY = Who("", PLAIN)


class Entry:
    """One entry of the history. There are many: no field may cost what its neighbour has too.

    minute: minutes since 1970. text: clean, not displayed yet.
    """

    __slots__ = ("kind", "mark", "minute", "text", "who")

    def __init__(self, minute: int, who: Who, kind: EntryKind, mark: Mark, text: str) -> None:
        self.minute = minute
        self.who = who
        self.kind = kind
        self.mark = mark
        self.text = text


class Look(NamedTuple):
    """What the drawing of an entry depends on besides itself.

    colours: 0, 8 or 256. found: what to mark, is_current: as the match jumped to. name_cells: how
    wide the column of names is, at most. is_open: whether a long message is shown whole.
    """

    columns: int
    colours: int
    found: re.Pattern[str] | None = None
    is_current: bool = False
    name_cells: int = NAME_CELLS
    is_open: bool = False


def colour(identity: bytes, colours: int, taken: Collection[int] = ()) -> int | None:
    """Return the ANSI number of a person's colour; None if the terminal has none (UX.md 5).

    taken: what others have: the next that is free, if there is one.
    """
    if colours < 8:
        return None
    # Here, since no first frame shows anybody and a library stands behind it.
    import hashlib

    choice = _COLOURS_OF_256 if colours >= 256 else _COLOURS
    at = int.from_bytes(hashlib.sha256(identity).digest()[:4]) % len(choice)
    free = (each for each in (*choice[at:], *choice[:at]) if each not in taken)
    return next(free, choice[at])


def private(colours: int) -> Style:
    """Return how what is for one alone is drawn, and what is being written to them."""
    return _coloured(_PRIVATE, colours)


def _coloured(pair: tuple[int, int], colours: int, below: Style = PLAIN) -> Style:
    """Return a style in a colour of 8 or of 256, if there are as many."""
    return below._replace(colour=pair[colours >= 256]) if colours >= 8 else below


def wrap(text: str, cells: int, first_cells: int | None = None) -> list[tuple[int, int]]:
    """Return where each row of displayed text begins and ends.

    A row ends at the last space that fits, else at the edge. Between two rows stands nothing, or
    what is not drawn: spaces, a newline, or both. cells: at least 2.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for line in text.split("\n"):
        stop = start + len(line)
        room = cells if spans or first_cells is None else first_cells
        spans += _wrapped_line(text, start, stop, room, cells)
        start = stop + 1
    return spans


def _wrapped_line(text: str, start: int, stop: int, room: int, cells: int) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    while (end := fitting(text, start, room)) < stop:
        if end == start:
            end = next_grapheme(text, start)
        after = end
        blank = text.rfind(" ", start, end + 1)
        if blank > start and not text[start:blank].isspace():
            end = after = blank
            while after < stop and text[after] == " ":
                after += 1
        spans.append((start, end))
        start, room = after, cells
    if start < stop or not spans:
        spans.append((start, stop))
    return spans


def message(entry: Entry, time: struct_time, look: Look, tail: str = "") -> list[Row]:
    """Return an entry as rows (UX.md 1 and 4).

    tail: a word at the right end of the last row; the entry is then dim as a whole.
    """
    head, lead, indent = _head(entry, time, look)
    body = lead + displayed(entry.text)
    ranges = _ranges(entry, body, len(lead), look)
    tail_cells = len(tail) + 1 if tail else 0
    first_cells = look.columns - sum(width(span.text) for span in head) - tail_cells
    spans = wrap(body, look.columns - indent - tail_cells, first_cells)
    shown = spans if look.is_open or len(spans) <= _MOST_ROWS else spans[:SHOWN_ROWS]
    margin: Row = (Span(" " * indent),) if indent else ()
    rows = [
        (*(margin if row else head), *_styled(body, start, end, ranges))
        for row, (start, end) in enumerate(shown)
    ]
    if more := len(spans) - len(shown):
        note = cut(f"({more} more rows: Enter or /more)", look.columns - indent)
        rows.append((*margin, Span(note, DIM)))
    if tail:
        rows = [tuple(Span(each.text, DIM.over(each.style)) for each in row) for row in rows]
        gap = look.columns - len(tail) - sum(width(span.text) for span in rows[-1])
        rows[-1] += (Span(" " * gap + tail, DIM),)
    return rows


def is_cut(entry: Entry, time: struct_time, look: Look) -> bool:
    """Say whether not all rows of an entry are drawn."""
    return len(message(entry, time, look)) < len(message(entry, time, look._replace(is_open=True)))


def _head(entry: Entry, time: struct_time, look: Look) -> tuple[Row, str, int]:
    """Return what stands before the text, what of the name is wrapped with it, and its indent."""
    is_wide = look.columns >= WIDE_COLUMNS
    clock = (Span(f"{time.tm_hour:02}:{time.tm_min:02} "),) if is_wide else ()
    most = min(NAME_CELLS, look.columns // 6)
    name_cells = min(look.name_cells, most) if is_wide else NAME_CELLS
    indent = _TIME_CELLS + 3 + name_cells + 2 if is_wide else _NARROW_INDENT
    name = cut(entry.who.name, name_cells)
    mark = Span(entry.mark.value[0], _mark_style(entry.mark, look.colours))
    match entry.kind:
        case EntryKind.BARE:
            return (), "", 0
        case EntryKind.NOTICE | EntryKind.PRESENCE | EntryKind.ANSWER | EntryKind.WARNING:
            sign = _sign(entry.kind, look.colours)
            if is_wide:
                return (*clock, sign, Span("  ")), "", _NOTICE_CELLS
            return (sign, Span(" ")), "", _NARROW_INDENT
        case EntryKind.ACTION:
            # A name never reaches into the gap, so no name can pass for this star.
            star = Span(" " * (1 + name_cells) + "* " if is_wide else "* ")
            return (*clock, mark, star), f"{name} ", indent
        case EntryKind.SAY if is_wide:
            pad = Span(" " * (1 + name_cells - width(name)))
            return (*clock, mark, pad, Span(name, entry.who.style), Span("  ")), "", indent
        case EntryKind.SAY:
            return (mark,), f"{name}: ", indent


def _sign(kind: EntryKind, colours: int) -> Span:
    """Return what stands before what is no message: quiet, but for a warning."""
    match kind:
        case EntryKind.WARNING:
            return Span("!!", _warning(colours))
        case EntryKind.PRESENCE:
            return Span("--", _coloured(_GREEN, colours, DIM))
        case EntryKind.ANSWER:
            return Span("--", _coloured(_CYAN, colours))
        case _:
            return Span("--", _coloured(_CYAN, colours, DIM))


def _mark_style(mark: Mark, colours: int) -> Style:
    match mark:
        case Mark.DIRECT:
            return BOLD.over(private(colours))
        case Mark.MENTION:
            return _coloured(_YELLOW, colours, BOLD)
        case Mark.LOOK_ALIKE | Mark.LOOK_ALIKE_DIRECT:
            return _warning(colours)
        case Mark.VERIFIED:
            return _coloured(_GREEN, colours)
        case Mark.NONE:
            return PLAIN


def _warning(colours: int) -> Style:
    return _coloured(_RED, colours, BOLD)


def _ranges(entry: Entry, body: str, begin: int, look: Look) -> list[tuple[int, int, Style]]:
    """Return what of a body is drawn in which style; its text begins behind the name."""
    ranges = [(start, end, _UNDERLINE) for start, end in urls(body) if start >= begin]
    if begin:
        ranges.append((0, len(body[:begin].rstrip(": ")), entry.who.style))
    if entry.kind is EntryKind.WARNING:
        ranges.append((0, len(body), _warning(look.colours)))
    if entry.kind in (EntryKind.NOTICE, EntryKind.PRESENCE):
        ranges.append((0, len(body), DIM))
    if entry.mark.is_private:
        ranges.append((begin, len(body), private(look.colours)))
    if look.found:
        style = _FOUND_NOW if look.is_current else _FOUND
        ranges += [(*match.span(), style) for match in look.found.finditer(body, begin)]
    return ranges


def _styled(
    body: str, start: int, end: int, ranges: list[tuple[int, int, Style]]
) -> Iterator[Span]:
    """Yield part of a body as spans, each in all the styles that lie over it."""
    inside = [each for each in ranges if each[0] < end and each[1] > start]
    edges = {start, end}.union(*((max(a, start), min(b, end)) for a, b, _ in inside))
    at = start
    for edge in sorted(edges)[1:]:
        style = PLAIN
        for a, b, each in inside:
            if a <= at < b:
                style = each.over(style)
        yield Span(body[at:edge], style)
        at = edge


def day_line(time: struct_time, columns: int) -> Row:
    """Return the row above the first entry of a day."""
    day = f"{_DAYS[time.tm_wday]} {time.tm_mday} {_MONTHS[time.tm_mon - 1]} {time.tm_year}"
    return (Span(cut(f"-- {day} ".ljust(columns, "-"), columns)),)


def unread_line(columns: int) -> Row:
    """Return the row above the first message that nobody was there to read."""
    return (Span(" unread ".center(columns, "-"), BOLD),)


def plain(row: Row) -> str:
    """Return a row without its styles."""
    return "".join(span.text for span in row)
