"""Lines wrapped to rows, scrolled, searched, marked."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from time import struct_time
from typing import NamedTuple

from common.term.rows import (
    BOLD,
    LEAST_COLUMNS,
    NAME_CELLS,
    NOBODY,
    SHOWN_ROWS,
    Entry,
    EntryKind,
    Look,
    Mark,
    Row,
    Span,
    Style,
    Who,
    colour,
    day_line,
    is_cut,
    message,
    unread_line,
)
from common.term.text import clean, cut, displayed, urls, width

_KEPT = 100_000
# Dropped at once, so that it is seldom; put off while one of them is on the screen, but not longer
# than this many more.
_DROPPED = 10_000
_CACHED = 2000
_MENTIONS = 1000
_PEOPLE = 4096
_WAITING_S = 10.0
_FOLD_MS = 60_000
_ABSENT_S = 300.0
_SAID = (EntryKind.SAY, EntryKind.ACTION)
_COPIED = (*_SAID, EntryKind.BARE)


class Shown(NamedTuple):
    """What is shown as one entry; nothing of it needs to be clean.

    at_ms: wall clock. identity: chooses the colour of the name. is_own: said by this client.
    """

    at_ms: int
    text: str
    kind: EntryKind = EntryKind.SAY
    name: str = ""
    identity: bytes = b""
    mark: Mark = Mark.NONE
    is_own: bool = False


class _Pending:
    """An own line whose echo has not come."""

    def __init__(self, key: int, entry: Entry, since: float) -> None:
        self.key = key
        self.entry = entry
        self.since = since
        self.is_waiting = False


class _Coming:
    """A row that tells that a person left, and may yet be folded with what follows."""

    def __init__(self, number: int, at_ms: int) -> None:
        self.number = number
        self.at_ms = at_ms
        self.times = 0


class _Anchor(NamedTuple):
    """What is at the bottom of the screen: an entry, and how many of its rows are below."""

    number: int
    below_rows: int


class Scrollback:
    """The history as a list that is drawn only where it is seen; owned by the screen.

    An entry has a number for ever. Behind the entries stand own lines that wait for their echo.

    clock: local time from seconds since 1970. colours: 0, 8 or 256. kept: entries held at most.
    """

    def __init__(
        self, clock: Callable[[float], struct_time], colours: int, kept: int = _KEPT
    ) -> None:
        self._clock = clock
        self._colours = colours
        self._kept = kept
        self._entries: list[Entry] = []
        self._first = 0
        self._dropped = 0
        self._people: dict[tuple[str, bytes, bool], Who] = {}
        self._taken: dict[bytes, int] = {}  # colours, by identity
        self._name_cells = self._here_cells = 0
        self._open: set[int] = set()
        self._pending: list[_Pending] = []
        self._comings: dict[tuple[str, bytes], _Coming] = {}
        self._mentions: deque[int] = deque(maxlen=_MENTIONS)
        self._mention: int | None = None
        self._query = ""
        self._pattern: re.Pattern[str] | None = None
        self._found: int | None = None
        self._columns, self._rows = 80, 24
        self._anchor: _Anchor | None = None
        self._top = 0
        self._cache: dict[int, list[Row]] = {}
        self._unread: int | None = None
        self._is_unread_over = False
        self._is_focused: bool | None = None
        self._key_at: float | None = None
        self.new_below = 0
        self.mentions = 0

    # What comes in.

    def push(self, line: Shown, now: float) -> int:
        """Add an entry and return its number."""
        if self._key_at is None:
            self._key_at = now
        if len(self._entries) >= self._kept:
            self._drop()
        number = self._end
        if self._anchor and self._anchor.number >= number:
            self._anchor = _Anchor(self._anchor.number + 1, self._anchor.below_rows)
        self._entries.append(self._entry(line))
        if line.kind in _SAID and not line.is_own:
            self._arrived(number, line.mark, now)
        return number

    def is_newest(self, number: int) -> bool:
        """Say whether an entry is kept, and nothing came after it."""
        return self._first <= number == self._end - 1

    def amend(self, number: int, text: str) -> bool:
        """Give an entry another text; False if it is no longer kept."""
        if not self._first <= number < self._end:
            return False
        entry = self._entries[number - self._first]
        entry.text = clean(text, multiline=entry.kind in _SAID)
        self._cache.pop(number, None)
        return True

    def presence(self, is_coming: bool, line: Shown, now: float, *, here: int) -> None:
        """Add that a person came or left; who was gone for a moment has one row for both.

        line: a notice with the person's name and identity: another identity is another person.
        here: how many are, after it.
        """
        who = (line.name, line.identity)
        last = self._comings.get(who)
        if last and last.number >= self._first and line.at_ms - last.at_ms < _FOLD_MS:
            last.at_ms = line.at_ms
            last.times += is_coming
            often = f" ({last.times} times)" if last.times > 1 else ""
            back = f"{line.name} left and came back{often}. {here} here"
            self.amend(last.number, back if is_coming else line.text)
            return
        if len(self._comings) >= _PEOPLE:
            self._comings.clear()
        number = self.push(line, now)
        self._comings.pop(who, None)
        if not is_coming:
            self._comings[who] = _Coming(number, line.at_ms)

    def pend(self, key: int, line: Shown, now: float) -> None:
        """Show an own line that is on its way, at the bottom, and go there."""
        self._pending.append(_Pending(key, self._entry(line), now))
        self.newest()

    def echo(self, key: int, line: Shown, now: float) -> int:
        """Move an own line to its place in the log: here, at the end of it."""
        self.unpend(key)
        return self.push(line, now)

    def unpend(self, key: int) -> None:
        """Take away an own line that will have no echo."""
        for place, pending in enumerate(self._pending):
            if pending.key == key:
                del self._pending[place]
                if self._anchor and self._anchor.number > self._end + place:
                    self._anchor = _Anchor(self._anchor.number - 1, self._anchor.below_rows)
                return

    def clear(self) -> None:
        """Forget all entries."""
        self._first = self._end
        self._entries.clear()
        self._cache.clear()
        self._comings.clear()
        self._mentions.clear()
        self._dropped = 0
        self._open.clear()
        self._name_cells = self._here_cells
        self._unread = self._found = self._mention = None
        self.newest()

    def deadline(self) -> float | None:
        """Return when the next own line has waited so long that it is told."""
        return next((p.since + _WAITING_S for p in self._pending if not p.is_waiting), None)

    def tick(self, now: float) -> None:
        """Tell of own lines that have waited long."""
        for pending in self._pending:
            pending.is_waiting = now - pending.since >= _WAITING_S

    def _entry(self, line: Shown) -> Entry:
        minute = line.at_ms // 60_000
        # Neighbours share what is equal: each int and each Who would cost as much as a short text.
        if self._entries and self._entries[-1].minute == minute:
            minute = self._entries[-1].minute
        # What is no message is one row: in others, words of its author's could pass for ours.
        text = clean(line.text, multiline=line.kind in _SAID)
        who = self._who(line) if line.kind in _SAID else NOBODY
        return Entry(minute, who, line.kind, line.mark, text)

    def _who(self, line: Shown) -> Who:
        key = (line.name, line.identity, line.is_own)
        who = self._people.get(key)
        if who is None:
            if len(self._people) >= _PEOPLE:
                self._people.clear()
                self._taken.clear()
            style = BOLD if line.is_own else Style(colour=self._colour(line.identity))
            who = Who(displayed(clean(line.name, multiline=False)), style)
            self._people[key] = who
        self._widen(width(who.name))
        return who

    def _colour(self, identity: bytes) -> int | None:
        """Return a person's colour, which nobody else here who spoke has, if there are enough."""
        if identity not in self._taken:
            chosen = colour(identity, self._colours, self._taken.values())
            if chosen is None:
                return None
            self._taken[identity] = chosen
        return self._taken[identity]

    def gone(self, name: str, identity: bytes) -> None:
        """Take note that a person left: their colour is free."""
        self._taken.pop(identity, None)
        self._people.pop((name, identity, False), None)

    def make_room(self, name_cells: int) -> None:
        """Give names so much room, as those here need: never less than what was drawn with."""
        self._here_cells = name_cells
        self._widen(name_cells)

    def _widen(self, name_cells: int) -> None:
        if min(name_cells, NAME_CELLS) > self._name_cells:
            self._name_cells = min(name_cells, NAME_CELLS)
            self._cache.clear()

    def _drop(self) -> None:
        """Drop the oldest entries: a tenth, and none that is on the screen unless there must."""
        count = min(self._kept // 10, len(self._entries))
        if len(self._entries) < self._kept + count:
            count = max(0, min(count, self._top - self._first))
        del self._entries[:count]
        self._first += count
        self._dropped += count
        self._open = {number for number in self._open if number >= self._first}
        while self._mentions and self._mentions[0] < self._first:
            self._mentions.popleft()
        if self._anchor and self._anchor.number < self._first:
            self._anchor = _Anchor(self._first, 0)

    # Who is there to read it.

    def focus(self, is_gained: bool) -> None:
        """Take note that the terminal has, or has not, the focus."""
        self._is_focused = is_gained

    def key(self, now: float) -> None:
        """Take note that a key was pressed, before it has its effect."""
        self._key_at = now
        if self.is_following and self._is_focused is not False:
            self._is_unread_over = True
            self.mentions = 0

    def is_absent(self, now: float) -> bool:
        """Say whether a message that comes now is not read at once."""
        if self._is_focused is None:
            is_away = self._key_at is not None and now - self._key_at > _ABSENT_S
        else:
            is_away = not self._is_focused
        return is_away or not self.is_following

    def _arrived(self, number: int, mark: Mark, now: float) -> None:
        if mark is Mark.MENTION:
            self._mentions.append(number)
            self._mention = None
        if not self.is_following:
            self.new_below += 1
        if self.is_absent(now):
            self.mentions += mark is Mark.MENTION or mark.is_private
            if self._unread is None or self._is_unread_over:
                self._unread, self._is_unread_over = number, False

    # Where the view is.

    @property
    def is_following(self) -> bool:
        """Whether the view is at the bottom, and stays there when entries come."""
        return self._anchor is None

    def scroll(self, rows: int) -> None:
        """Move the view by rows, to older entries if positive."""
        if self._total:
            self._anchor = self._held(self._moved(self._bottom, rows))
            self._follow_at_bottom()

    def page(self, pages: int) -> None:
        """Move the view by screens, less the two rows that are seen on both."""
        self.scroll(pages * max(1, self._rows - 2))

    def oldest(self) -> None:
        """Go to the first entry."""
        if self._total:
            self._anchor = self._held(_Anchor(self._first, 0))
            self._follow_at_bottom()

    def newest(self) -> None:
        """Go to the last entry, and follow."""
        self._anchor = None
        self.new_below = 0

    def to_unread(self) -> bool:
        """Go to the unread line; False if there is none."""
        if self._unread is None or self._unread < self._first:
            return False
        self._show(self._unread, self._rows - 1)
        return True

    def to_mention(self) -> bool:
        """Go to the last mention, then to the ones before it; False if there is none."""
        before = self._end if self._mention is None else self._mention
        older = [number for number in self._mentions if number < before]
        if not self._mentions:
            return False
        self._mention = older[-1] if older else self._mentions[-1]
        self._show(self._mention, self._rows // 2)
        return True

    def unfold(self) -> bool:
        """Show the lowest message that is cut whole, where it is; False if none is seen."""
        rows_below = 0
        for number, drawn in self._upward(self._bottom):
            place = number - self._first
            if number not in self._open and place < len(self._entries):
                entry = self._entries[place]
                if is_cut(entry, self._time(entry), self._look(number)):
                    self._open.add(number)
                    self._cache.pop(number, None)
                    below = len(self._drawn(number)) - len(self._above(number)) - SHOWN_ROWS - 1
                    self._anchor = self._held(self._moved(_Anchor(number, below), -rows_below))
                    self._follow_at_bottom()
                    return True
            rows_below += len(drawn)
            if rows_below >= self._rows:
                break
        return False

    def find(self, query: str) -> bool:
        """Mark all entries that hold a text and go to the newest; False if there is none.

        An empty query repeats the last one.
        """
        if not query:
            return self.find_next(1)
        self._query = clean(query, multiline=False).casefold()
        self._pattern = re.compile(re.escape(displayed(self._query)), re.IGNORECASE)
        self._found = None
        self._cache.clear()
        return self.find_next(1)

    def find_next(self, step: int) -> bool:
        """Go to the next match, older if step is 1, newer if -1; behind the last the first."""
        if not self._query:
            return False
        entries = self._entries
        last = self._found if self._found is not None and self._found >= self._first else self._end
        at = last - self._first
        if step > 0:
            order: Iterable[int] = chain(range(at - 1, -1, -1), range(len(entries) - 1, at - 1, -1))
        else:
            order = chain(range(at + 1, len(entries)), range(min(at + 1, len(entries))))
        found = next((i for i in order if self._query in entries[i].text.casefold()), None)
        if found is None:
            self._query, self._pattern, self._found = "", None, None
            self._cache.clear()
            return False
        self._cache.pop(last, None)
        self._found = self._first + found
        self._cache.pop(self._found, None)
        self._show(self._found, self._rows // 2)
        return True

    def view(self, columns: int, rows: int) -> list[Row]:
        """Return the rows of a screen of that size; blank ones above if there is less to show.

        Below LEAST_COLUMNS all are blank.
        """
        if columns < LEAST_COLUMNS or rows < 1:
            return [()] * rows
        if columns != self._columns:
            self._cache.clear()
        self._columns, self._rows = columns, rows
        if self._anchor:
            self._anchor = self._held(self._moved(self._anchor, 0))
            self._follow_at_bottom()
        shown: list[list[Row]] = []
        count = 0
        for number, drawn in self._upward(self._bottom):
            shown.append(drawn)
            count += len(drawn)
            self._top = number
            if count >= rows:
                break
        found = [row for drawn in reversed(shown) for row in drawn][-rows:]
        return [()] * (rows - len(found)) + found

    @property
    def _end(self) -> int:
        """The number the next entry will have."""
        return self._first + len(self._entries)

    @property
    def _total(self) -> int:
        return len(self._entries) + len(self._pending)

    @property
    def _bottom(self) -> _Anchor:
        return self._anchor or _Anchor(self._first + self._total - 1, 0)

    def _follow_at_bottom(self) -> None:
        if self._anchor == _Anchor(self._first + self._total - 1, 0):
            self.newest()

    def _moved(self, anchor: _Anchor, rows: int) -> _Anchor:
        """Return the anchor so many rows up, or down if negative, as far as there are any."""
        last = self._first + self._total - 1
        number, below = min(anchor.number, last), anchor.below_rows
        # An entry has fewer rows than it had if the screen is wider now.
        below = min(below, len(self._drawn(number)) - 1) + rows
        while below < 0 and number < last:
            number += 1
            below += len(self._drawn(number))
        while below >= (height := len(self._drawn(number))):
            if number == self._first:
                return _Anchor(number, height - 1)
            below -= height
            number -= 1
        return _Anchor(number, max(0, below))

    def _held(self, anchor: _Anchor) -> _Anchor:
        """Return the anchor, or the one below it that fills the screen."""
        count = 0
        for _, drawn in self._upward(anchor):
            count += len(drawn)
            if count >= self._rows:
                return anchor
        return self._moved(anchor, count - self._rows)

    def _show(self, number: int, rows_below: int) -> None:
        """Bring an entry into view, with so many rows below its first, if it is not seen now."""
        if not self._top < number <= self._bottom.number:
            first_row = _Anchor(number, len(self._drawn(number)) - 1)
            self._anchor = self._held(self._moved(first_row, -rows_below))
            self._follow_at_bottom()

    def _upward(self, anchor: _Anchor) -> Iterator[tuple[int, list[Row]]]:
        """Yield each entry's number and rows, from an anchor up."""
        below = anchor.below_rows
        for number in range(anchor.number, self._first - 1, -1):
            drawn = self._drawn(number)
            yield number, drawn[: len(drawn) - below]
            below = 0

    def _drawn(self, number: int) -> list[Row]:
        """Return the rows of an entry, with the lines above it."""
        place = number - self._first
        if place >= len(self._entries):
            pending = self._pending[place - len(self._entries)]
            tail = "waiting" if pending.is_waiting else "..."
            time = self._time(pending.entry)
            return self._above(number) + message(pending.entry, time, self._look(), tail)
        rows = self._cache.get(number)
        if rows is None:
            entry = self._entries[place]
            rows = message(entry, self._time(entry), self._look(number))
            if len(self._cache) >= _CACHED:
                del self._cache[next(iter(self._cache))]
            self._cache[number] = rows
        return self._above(number) + rows

    def _look(self, number: int | None = None) -> Look:
        """Return how an entry is drawn; None: one that waits for its echo."""
        look = Look(self._columns, self._colours, name_cells=self._name_cells)
        if number is None:
            return look
        return look._replace(
            found=self._pattern, is_current=number == self._found, is_open=number in self._open
        )

    def _above(self, number: int) -> list[Row]:
        """Return the lines above an entry that are no entries."""
        rows: list[Row] = []
        day = self._time(self._at(number))
        if number == self._first:
            if self._dropped:
                note = f"-- The oldest {self._dropped} messages are no longer kept."
                rows.append((Span(cut(note, self._columns)),))
            rows.append(day_line(day, self._columns))
        else:
            before = self._time(self._at(number - 1))
            if (before.tm_year, before.tm_yday) != (day.tm_year, day.tm_yday):
                rows.append(day_line(day, self._columns))
        if number == self._unread:
            rows.append(unread_line(self._columns))
        return rows

    def _at(self, number: int) -> Entry:
        place = number - self._first
        waits = place - len(self._entries)
        return self._pending[waits].entry if waits >= 0 else self._entries[place]

    def _time(self, entry: Entry) -> struct_time:
        return self._clock(entry.minute * 60)

    # What leaves the screen.

    def copy(self, count: int, *, with_names: bool = False) -> list[str]:
        """Return the last messages as stored, joiners and all, for the terminal to select."""
        said = (entry for entry in reversed(self._entries) if entry.kind in _COPIED)
        chosen = list(islice(said, count))
        return [self._copied(entry, with_names=with_names) for entry in reversed(chosen)]

    def _copied(self, entry: Entry, *, with_names: bool) -> str:
        text = f"* {entry.who.name} {entry.text}" if entry.kind is EntryKind.ACTION else entry.text
        if not with_names or entry.kind is EntryKind.BARE:
            return text
        time = self._time(entry)
        name = "" if entry.kind is EntryKind.ACTION else f"{entry.who.name}: "
        # As in line mode: a row of a message could pass for a message of somebody else's.
        said = text.replace("\n", "\n    ")
        return f"{time.tm_hour:02}:{time.tm_min:02} {name}{said}"

    def urls(self, count: int) -> list[str]:
        """Return the last URLs, each once, the newest last."""
        found: dict[str, None] = {}
        for entry in reversed(self._entries):
            for start, end in reversed(urls(entry.text)):
                found.setdefault(entry.text[start:end])
            if len(found) >= count:
                break
        return list(found)[:count][::-1]
