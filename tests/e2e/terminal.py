"""A terminal that knows only what our programs may say to it."""

from __future__ import annotations

import re
import unicodedata

import pyte

# What ncurses makes of the capabilities of xterm-256color, and the modes we set by hand. Left out
# on purpose: bells, titles, clipboard, reports, and whatever else a hostile text would ask for.
_MODES = "(?:1|7|12|25|1004|1034|1049|2004|2026)"
_CURSES = re.compile(
    rf"""
      [\r\n\b\t]
    | \x1b\[\?{_MODES}(?:;{_MODES})*[hl]
    | \x1b\[2[23];0;0t                       # push and pop of the title, in smcup and rmcup
    | \x1b\[(?:\d+(?:;\d+)?)?H               # cursor
    | \x1b\[\d*[ABCDGdZ]
    | \x1b\[(?:J|2J|K|1K)                    # erase
    | \x1b\[\d*[X@PLMSTb]                    # erase, insert, delete, scroll, repeat
    | \x1b\[(?:\d+;\d+)?r                    # scrolling region
    | \x1b\[4[hl]                            # insert mode
    | \x1b\[[\d;]*m
    | \x1b\([B0] | \x1b[M78=>E]
    | \x1b\]104\x07                          # oc, palette back to the default
    """,
    re.VERBOSE,
)
_LINES = re.compile(r"[\r\n\b]|\x1b\[[\d;]*m")
_FOREIGN = ("Cc", "Cf", "Cs", "Co", "Cn")


def unknown(raw: bytes, *, is_plain: bool) -> list[str]:
    """Return what a program of ours must not send to a terminal, with what follows it."""
    known = _LINES if is_plain else _CURSES
    try:
        content = raw.decode()
    except UnicodeDecodeError as problem:
        return [f"not UTF-8: {raw[max(0, problem.start - 20) : problem.end + 20]!r}"]
    rest = known.sub("", content)
    return [
        repr(rest[at : at + 20])
        for at, char in enumerate(rest)
        if unicodedata.category(char) in _FOREIGN
    ]


class _Cells(pyte.Screen):  # type: ignore[misc] # pyte has no types
    def draw(self, data: str) -> None:
        # What pyte takes for unprintable makes it drop the rest of a run.
        for char in data:
            super().draw(char)


class Terminal:
    """A pyte screen, and every byte it was fed."""

    def __init__(self, rows: int, columns: int) -> None:
        self.raw = bytearray()
        self._cells = _Cells(columns, rows)
        self._stream = pyte.ByteStream(self._cells)
        self._partial = b""
        self._last = b" "

    def feed(self, data: bytes) -> None:
        self.raw += data
        data = self._partial + data
        # A sequence cut by a read waits for its end, or its last bytes would be taken for text.
        start = max(data.rfind(b"\x1b"), 0)
        self._partial = data[start:] if re.fullmatch(rb"\x1b(\[[\d;?]*)?", data[start:]) else b""
        data = data[: len(data) - len(self._partial)]
        # pyte cannot repeat a character (REP).
        self._stream.feed(re.sub(rb"([ -~])\x1b\[(\d+)b", _repeated, data))

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


def _repeated(match: re.Match[bytes]) -> bytes:
    return match[1] * (int(match[2]) + 1)
