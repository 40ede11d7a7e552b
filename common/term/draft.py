"""The text being typed: its cursor, its edits and how they are undone, its rows."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from common.term.complete import Sources
from common.term.text import boundary, clean, cut, displayed, fitting, next_grapheme, width

DRAFT_BYTES = 65536  # UX.md 2
_UNDO_STEPS = 100
_REPLIES = ("/r", "/re", "/reply")


class _Edit(NamedTuple):
    """One undo step: what was replaced by what, and what else was as it was before."""

    start: int
    removed: str
    inserted: str
    cursor: int
    is_pasted: bool

    def __repr__(self) -> str:
        """Hide it: it may be a password."""
        return "_Edit()"


class Layout(NamedTuple):
    """The rows of the input that are drawn, and where in them the cursor stands."""

    rows: tuple[str, ...]
    row: int
    cell: int


class Draft:
    """The text in the input, and the cursor: an index into it, between graphemes.

    is_pasted: the first character was pasted, so the text is no command, whatever it says.
    """

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self.is_pasted = False
        self.size_bytes = 0
        self._edits: deque[_Edit] = deque(maxlen=_UNDO_STEPS)
        self._rows = Rows(80)

    def put(
        self, start: int, end: int, new: str, *, is_pasted: bool = False, joins: bool = False
    ) -> bool:
        """Put new text in the place of old and the cursor behind it; False if some had no room.

        joins: undone together with the insertion before it.
        """
        removed = self.text[start:end]
        room = DRAFT_BYTES - self.size_bytes + _size(removed)
        has_room = _size(new) <= room
        if not has_room:
            new = new.encode()[:room].decode("utf-8", "ignore")
        edit = _Edit(start, removed, new, self.cursor, self.is_pasted)
        if joins and self._edits and not removed:
            last = self._edits[-1]
            if last.start + len(last.inserted) == start:
                self._edits.pop()
                edit = last._replace(inserted=last.inserted + new)
        self._edits.append(edit)
        if start == end == 0 and new:
            self.is_pasted = is_pasted
        self._put(start, end, new)
        self.cursor = self._settled(start + len(new))
        return has_room

    def address(self, sources: Callable[[], Sources]) -> None:
        """Let a typed `/r ` show whom it answers, before anything is said to them."""
        word, blank, _ = self.text.partition(" ")
        is_reply = word in _REPLIES and blank
        if is_reply and self.cursor > len(word) and not self.is_pasted:
            name = clean(sources().reply_to, multiline=False)
            if name:
                behind = len(self.text) - self.cursor
                self.put(0, len(word), f"/msg {name}")
                self.cursor = len(self.text) - behind

    def undo(self) -> None:
        """Take the last edit back."""
        if self._edits:
            edit = self._edits.pop()
            self._put(edit.start, edit.start + len(edit.inserted), edit.removed)
            self.cursor, self.is_pasted = edit.cursor, edit.is_pasted

    def reset(self) -> None:
        """Empty the draft and forget its edits."""
        self._put(0, len(self.text), "")
        self._edits.clear()
        self.cursor, self.is_pasted = 0, False

    def last_inserted(self) -> str:
        """Return what the last edit put in."""
        return self._edits[-1].inserted if self._edits else ""

    def _put(self, start: int, end: int, new: str) -> None:
        self.size_bytes += _size(new) - _size(self.text[start:end])
        self.text = self.text[:start] + new + self.text[end:]
        self._rows.forget(start)

    def _settled(self, index: int) -> int:
        """Return the first place between graphemes from index on."""
        before = boundary(self.text, index)
        return before if before == index else next_grapheme(self.text, before)

    # Places, as seen from the cursor.

    def left(self) -> int:
        """Return where the grapheme before begins."""
        return boundary(self.text, self.cursor - 1)

    def right(self) -> int:
        """Return where the grapheme behind ends."""
        return self._settled(min(self.cursor + 1, len(self.text)))

    def word_left(self, is_part: Callable[[str], bool]) -> int:
        """Return where the word before begins, of characters that are part of one."""
        at = self.cursor
        while at > 0 and not is_part(self.text[at - 1]):
            at -= 1
        while at > 0 and is_part(self.text[at - 1]):
            at -= 1
        return boundary(self.text, at)

    def word_right(self) -> int:
        """Return where the word behind ends."""
        at, size = self.cursor, len(self.text)
        while at < size and not is_wordly(self.text[at]):
            at += 1
        while at < size and is_wordly(self.text[at]):
            at += 1
        return self._settled(at)

    def line_start(self) -> int:
        """Return where the line begins, or its newline if the cursor is there already."""
        start = self.text.rfind("\n", 0, self.cursor) + 1
        return start if start < self.cursor else max(0, start - 1)

    def line_end(self) -> int:
        """Return where the line ends, or its newline if the cursor is there already."""
        end = self.text.find("\n", self.cursor)
        if end < 0:
            return len(self.text)
        return end if end > self.cursor else end + 1

    def row_start(self) -> int:
        """Return where the row begins, or the text if the cursor is there already."""
        start, _ = self._rows.span(self.text, self._rows.find(self.text, self.cursor))
        return start if start < self.cursor else 0

    def row_end(self) -> int:
        """Return the last place of the row, or of the text if the cursor is there already."""
        row = self._rows.find(self.text, self.cursor)
        _, end = self._rows.span(self.text, row)
        if row + 1 < self._rows.count(self.text, row + 2) and self.text[end : end + 1] != "\n":
            # The place behind the last character of this row is the first of the next.
            end = boundary(self.text, end - 1)
        return end if end > self.cursor else len(self.text)

    def row_by(self, step: int) -> int | None:
        """Return the place one row up or down, under or over the cursor; None if there is none."""
        row = self._rows.find(self.text, self.cursor)
        target = row + step
        if not 0 <= target < self._rows.count(self.text, row + 2):
            return None
        start, _ = self._rows.span(self.text, row)
        cells = width(displayed(self.text[start : self.cursor]))
        return self._rows.place(self.text, target, cells)

    def layout(self, prompt: str, columns: int, max_rows: int) -> Layout:
        """Return the rows around the cursor; the prompt stands before them."""
        return self._rows.layout(self.text, self.cursor, prompt, columns, max_rows)


class Rows:
    """Where the rows of a text begin and end, found only as far as they were asked for.

    cells: the width of a row. Its last cell is for the cursor alone.
    """

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._spans: list[tuple[int, int]] = []
        self._top = 0

    def forget(self, index: int) -> None:
        """Take note that the text has changed from index on."""
        # The row before too: a mark may now belong to its last character.
        row = bisect_right(self._spans, (index, -1)) - 2
        del self._spans[max(0, row) :]

    def count(self, text: str, limit: int) -> int:
        """Return the number of rows, or limit if there are more."""
        while len(self._spans) < limit and (start := self._next_start(text)) is not None:
            self._spans.append((start, _row_end(text, start, max(1, self._cells - 1))))
        return min(len(self._spans), limit)

    def _next_start(self, text: str) -> int | None:
        if not self._spans:
            return 0
        end = self._spans[-1][1]
        if text[end : end + 1] == "\n":
            return end + 1
        return end if end < len(text) else None

    def span(self, text: str, row: int) -> tuple[int, int]:
        """Return where a row begins and ends."""
        self.count(text, row + 1)
        return self._spans[row]

    def find(self, text: str, index: int) -> int:
        """Return the row in which the place before text[index] is."""
        known = len(self._spans)
        while (not self._spans or self._spans[-1][0] <= index) and self.count(
            text, known + 1
        ) > known:
            known += 1
        return bisect_right(self._spans, (index, len(text) + 1)) - 1

    def place(self, text: str, row: int, cells: int) -> int:
        """Return the place in a row that is at most so many cells from its start."""
        start, end = self.span(text, row)
        at = start
        while at < end:
            after = next_grapheme(text, at)
            is_last = after >= end and text[end : end + 1] not in ("", "\n")
            if is_last or width(displayed(text[start:after])) > cells:
                break
            at = after
        return at

    def layout(self, text: str, cursor: int, prompt: str, columns: int, max_rows: int) -> Layout:
        """Return the rows around the cursor, at most max_rows, and stay with those drawn before."""
        prompt = cut(prompt, columns // 2) if columns >= 4 else ""
        indent = width(prompt)
        if columns - indent != self._cells:
            self._cells, self._spans = columns - indent, []
        row = self.find(text, cursor)
        count = self.count(text, row + 1 + max_rows)
        self._top = max(row - max_rows + 1, min(self._top, row, count - max_rows), 0)
        if max_rows == 1 and row:
            return self._tail(text, cursor, indent, columns)
        rows = []
        for at in range(self._top, min(self._top + max_rows, count)):
            start, end = self._spans[at]
            shown = cut(displayed(clean(text[start:end])), max(1, self._cells - 1))
            rows.append((" " * indent if at else prompt) + shown)
        before = text[self._spans[row][0] : cursor]
        cell = indent + width(displayed(before))
        return Layout(tuple(rows), row - self._top, min(cell, columns - 1))

    def _tail(self, text: str, cursor: int, indent: int, columns: int) -> Layout:
        """Return one row that ends at the cursor: all that a low screen has room for."""
        cells, start = 0, cursor
        while start > 0 and text[start - 1] != "\n":
            before = boundary(text, start - 1)
            cells += width(displayed(clean(text[before:start])))
            if cells > self._cells - 1:
                break
            start = before
        shown = " " * indent + displayed(clean(text[start:cursor]))
        after = text[cursor : cursor + self._cells].partition("\n")[0]
        row = cut(shown + displayed(clean(after)), max(1, columns - 1))
        return Layout((row,), 0, min(width(shown), columns - 1))


def _row_end(text: str, start: int, cells: int) -> int:
    """Return where the row that begins at start ends: at a newline, or cut at the edge."""
    ahead = text[start : start + cells + 1]
    if ahead.isascii() and "\t" not in ahead:
        newline = ahead.find("\n")
        return start + (newline if newline >= 0 else min(cells, len(ahead)))
    end = fitting(text, start, cells)
    if displayed(ahead := text[start : end + 1]) == ahead and end > start:
        newline = ahead.find("\n")
        return start + newline if newline >= 0 else end
    at, used = start, 0
    while at < len(text) and text[at] != "\n":
        after = next_grapheme(text, at)
        used += width(displayed(text[at:after]))
        if used > cells and at > start:
            break
        at = after
    return at


def is_wordly(char: str) -> bool:
    """Say whether a character is part of a word: a letter, a digit, or a mark on one."""
    return char.isalnum() or unicodedata.category(char).startswith("M")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
