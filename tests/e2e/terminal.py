"""A terminal that knows only what our programs may say to it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pyte

# What ncurses makes of the capabilities of xterm-256color, and the modes we set by hand. Left out
# on purpose: bells, clipboard, reports, and whatever else a hostile text would ask for.
_MODES = "(?:1|7|12|25|1004|1007|1034|1049|2004|2026)"
_CURSES = re.compile(
    rf"""
      [\r\n\b\t]
    | \x1b\[\?{_MODES}(?:;{_MODES})*[hl]
    | \x1b\[\?1007[sr]                       # save and restore of what the wheel does
    | \x1b\[2[23];(?:0;0|[02])t             # push and pop of the title
    | \x1b\]2;[^\x00-\x1f\x7f-\x9f]{{0,100}}\x1b\\      # the title
    | \x1b\[(?:\d+(?:;\d+)?)?H               # cursor
    | \x1b\[\d*[ABCDGdZ]
    | \x1b\[(?:J|2J|K|1K)                    # erase
    | \x1b\[\d*[X@PLMSTb]                    # erase, insert, delete, scroll, repeat
    | \x1b\[(?:\d+;\d+)?r                    # scrolling region
    | \x1b\[4[hl]                            # insert mode
    | \x1b\[[\d;]*m
    | \x1b\([B0] | \x1b[DM78=>E]
    | \x1b\]104\x07                          # oc, palette back to the default
    """,
    re.VERBOSE,
)
_LINES = re.compile(r"[\r\n\b]|\x1b\[[\d;]*m|\x1b\[\?2004[hl]")
_FRAME_BEGINS, _FRAME_ENDS = b"\x1b[?2026h", b"\x1b[?2026l"
_FOREIGN = ("Cc", "Cf", "Cs", "Co", "Cn")


def unknown(raw: bytes, *, is_plain: bool) -> list[str]:
    """Return what a program of ours must not send to a terminal, with what is around it."""
    known = _LINES if is_plain else _CURSES
    try:
        content = raw.decode()
    except UnicodeDecodeError as problem:
        return [f"not UTF-8: {raw[max(0, problem.start - 20) : problem.end + 20]!r}"]
    # What is left keeps its place, so that no two halves can pass for a whole.
    rest = known.sub(lambda match: " " * len(match[0]), content)
    return [
        repr(content[max(0, at - 20) : at + 20])
        for at, char in enumerate(rest)
        if unicodedata.category(char) in _FOREIGN
    ]


class _Cells(pyte.Screen):
    """What pyte lacks: REP, SU, SD; and it drops the rest of a run at what it cannot print."""

    _last = " "

    def draw(self, data: str) -> None:
        for char in data:
            super().draw(char)
            self._last = char

    def set_margins(
        self, top: int | None = None, bottom: int | None = None, *, private: bool = False
    ) -> None:
        if not private:  # that is the restoring of a mode
            super().set_margins(top, bottom)

    def select_graphic_rendition(self, *attrs: int, **kwargs: object) -> None:
        """Keep dim, which pyte has not, as blinking, which nothing of ours does."""
        super().select_graphic_rendition(*attrs, **kwargs)
        codes = iter(attrs or (0,))
        for code in codes:
            if code in (38, 48) and next(codes, 0) == 5:
                next(codes, 0)  # a colour, whatever number it has
            elif code in (0, 2, 22):
                self.cursor.attrs = self.cursor.attrs._replace(blink=code == 2)

    def repeat(self, count: int = 1) -> None:
        self.draw(self._last * (count or 1))

    def scroll_up(self, count: int = 1) -> None:
        self._scroll(self.index, bottom=True, count=count)

    def scroll_down(self, count: int = 1) -> None:
        self._scroll(self.reverse_index, bottom=False, count=count)

    def _scroll(self, step: Callable[[], None], *, bottom: bool, count: int) -> None:
        margins = self.margins or pyte.screens.Margins(0, self.lines - 1)
        y, self.cursor.y = self.cursor.y, margins.bottom if bottom else margins.top
        for _ in range(count or 1):
            step()
        self.cursor.y = y


class _Stream(pyte.ByteStream):
    csi = {  # noqa: RUF012 - as in its base
        **pyte.ByteStream.csi,
        "b": "repeat",
        "S": "scroll_up",
        "T": "scroll_down",
    }
    events = pyte.ByteStream.events | {"repeat", "scroll_up", "scroll_down"}


class Terminal:
    """A pyte screen, and every byte it was fed."""

    def __init__(self, rows: int, columns: int) -> None:
        self.raw = bytearray()
        self._cells = _Cells(columns, rows)
        self._stream = _Stream(self._cells)
        self._waiting = b""

    def feed(self, data: bytes) -> None:
        """Take what was sent; like a terminal with synchronized output, show no half of a frame."""
        self.raw += data
        self._waiting += data
        whole = len(self._waiting)
        begins, ends = (self._waiting.rfind(mark) for mark in (_FRAME_BEGINS, _FRAME_ENDS))
        if begins > ends:
            whole = begins
        self._stream.feed(self._waiting[:whole])
        self._waiting = self._waiting[whole:]

    def reset(self) -> None:
        """Forget what is drawn, as pyte has no alternate screen that would."""
        self._cells.reset()

    def resize(self, rows: int, columns: int) -> None:
        self._cells.resize(rows, columns)

    @property
    def rows(self) -> list[str]:
        """What each row shows, without the blanks at its end."""
        shown: list[str] = self._cells.display
        return [row.rstrip() for row in shown]

    @property
    def cursor(self) -> tuple[int, int]:
        """Row and column, from 0."""
        return self._cells.cursor.y, self._cells.cursor.x

    def cell(self, row: int, column: int) -> str:
        """What stands in a cell; "" in the second of a wide character."""
        data: str = self._cells.buffer[row][column].data
        return data
