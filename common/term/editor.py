"""The input line: cursor, words, kill ring, history."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from common.term.complete import Completion, Sources, addressee, complete
from common.term.draft import DRAFT_BYTES, Draft, Layout, Rows, is_wordly
from common.term.keys import Focus, Key, KeyEvent, Paste, Typed, Wheel
from common.term.text import boundary, clean, cut, displayed, next_grapheme

MESSAGE_BYTES = 16384  # what one message holds: UX.md 2
_KILLS = 16
_HISTORY = 200
_QUERY = 100
_PROMPT = "> "


class Action(Enum):
    """What a key asks of somebody else than the editor."""

    QUIT = auto()
    LEAVE_NOW = auto()
    SUSPEND = auto()
    REPAINT = auto()
    EDIT = auto()
    HELP = auto()
    # Enter on an empty input: dial again now, or an empty answer to a question.
    ENTER = auto()
    # Esc with nothing of the editor's to end: end the scrolled view, or decline a question.
    ESCAPE = auto()
    PAGE_UP = auto()
    PAGE_DOWN = auto()
    OLDEST = auto()
    NEWEST = auto()
    UNREAD = auto()
    MENTION = auto()
    FIND_OLDER = auto()
    FIND_NEWER = auto()


class Submit(NamedTuple):
    """A line was entered.

    is_pasted: it was pasted, so it is no command whatever it says.
    """

    text: str
    is_pasted: bool

    def __repr__(self) -> str:
        """Hide it: it may be a password."""
        return "Submit()"


class Scroll(NamedTuple):
    """Move the history by rows, to older ones if positive."""

    rows: int


Outcome = Action | Submit | Scroll

_ACTIONS: dict[str, Action | Scroll] = {
    "ctrl-z": Action.SUSPEND,
    "ctrl-\\": Action.LEAVE_NOW,
    "ctrl-l": Action.REPAINT,
    "f1": Action.HELP,
    "pgup": Action.PAGE_UP,
    "pgdn": Action.PAGE_DOWN,
    "alt-<": Action.OLDEST,
    "alt->": Action.NEWEST,
    "alt-m": Action.UNREAD,
    "alt-@": Action.MENTION,
    "alt-n": Action.FIND_OLDER,
    "alt-N": Action.FIND_NEWER,
    "alt-up": Scroll(1),
    "alt-down": Scroll(-1),
}


class _Kind(Enum):
    """What the last event did, where the next may carry it on."""

    OTHER = auto()
    TYPED = auto()
    KILLED = auto()
    YANKED = auto()
    COMPLETED = auto()
    PASTED = auto()
    CHORD = auto()


class _Line(NamedTuple):
    """A text with the way it came: in history, or killed."""

    text: str
    is_pasted: bool

    def __repr__(self) -> str:
        """Hide it: it may be a password."""
        return "_Line()"


class _Search(NamedTuple):
    """A search through the input history.

    at: the entry found last. is_failed: no entry older than that has the query.
    """

    query: str
    at: int
    is_failed: bool


class Editor:
    """Keys in, text out; owned by the screen.

    notice: a sentence for the status row until the next key, or None.
    """

    def __init__(self, sources: Callable[[], Sources]) -> None:
        self._sources = sources
        self._draft = Draft()
        self.notice: str | None = None
        self._last = self._now = _Kind.OTHER
        self._kills: deque[_Line] = deque(maxlen=_KILLS)
        self._history: deque[_Line] = deque(maxlen=_HISTORY)
        # While history is walked: a copy of it with the draft behind, each as it was left.
        self._walk: list[_Line] = []
        self._walk_at = 0
        self._search: _Search | None = None
        self._completion = Completion(0, 0, ())
        self._choice = 0
        self._paste_start = 0
        draft = self._draft
        self._commands: dict[str, Callable[[], Outcome | None]] = {
            "enter": self._enter,
            "alt-enter": lambda: self._type("\n"),
            "ctrl-j": lambda: self._type("\n"),
            "left": lambda: self._go(draft.left()),
            "right": lambda: self._go(draft.right()),
            "home": lambda: self._go(draft.row_start()),
            "end": self._end,
            "alt-b": lambda: self._go(draft.word_left(is_wordly)),
            "alt-f": lambda: self._go(draft.word_right()),
            "backspace": lambda: self._put(draft.left(), draft.cursor, ""),
            "delete": lambda: self._put(draft.cursor, draft.right(), ""),
            "ctrl-d": self._delete_or_quit,
            "ctrl-w": lambda: self._kill(draft.word_left(lambda char: not char.isspace())),
            "alt-backspace": lambda: self._kill(draft.word_left(is_wordly)),
            "alt-d": lambda: self._kill(draft.word_right()),
            "ctrl-u": lambda: self._kill(draft.line_start()),
            "ctrl-k": lambda: self._kill(draft.line_end()),
            "ctrl-y": self._yank,
            "alt-y": self._rotate,
            "ctrl-t": self._transpose,
            "alt-u": lambda: self._change_case(str.upper),
            "alt-l": lambda: self._change_case(str.lower),
            "alt-c": lambda: self._change_case(str.title),
            "ctrl-_": draft.undo,
            "up": lambda: self._up_or_down(-1),
            "down": lambda: self._up_or_down(1),
            "ctrl-r": lambda: self._find("", len(self._history)),
            "tab": lambda: self._complete(1),
            "shift-tab": lambda: self._complete(-1),
            "esc": self._escape,
            "ctrl-c": self._clear_or_quit,
            "ctrl-x": lambda: self._did(_Kind.CHORD),
        }
        same = {
            "ctrl-b": "left", "ctrl-f": "right", "ctrl-a": "home", "ctrl-e": "end",
            "ctrl-left": "alt-b", "ctrl-right": "alt-f", "alt-left": "alt-b", "alt-right": "alt-f",
            "ctrl-p": "up", "ctrl-n": "down",
        }  # fmt: skip
        self._commands |= {name: self._commands[other] for name, other in same.items()}

    @property
    def text(self) -> str:
        """The draft."""
        return self._draft.text

    @property
    def cursor(self) -> int:
        """An index into the draft, between two graphemes."""
        return self._draft.cursor

    @property
    def to(self) -> str:
        """To whom alone the draft goes; "" if to nobody or everybody."""
        return "" if self._draft.is_pasted else addressee(self.text, self._sources)

    def apply(self, event: KeyEvent) -> Outcome | None:
        """Carry out an event, and return what it asks of others."""
        if isinstance(event, Wheel):
            # It moves the view, and nothing of what is typed or was begun.
            return Scroll(event.rows)
        self.notice = None
        self._last, self._now = self._now, _Kind.OTHER
        if self._search and (not isinstance(event, Key) or event.name not in _ACTIONS):
            return self._search_by(self._search, event)
        match event:
            case Typed(text):
                self._type(clean(text))
            case Paste(text, is_cut):
                self._paste(clean(text), is_cut=is_cut)
            case Key(name):
                return self._press(name)
            case Focus():
                # The focus is not the editor's, nor does it end what a key began.
                self._now = self._last
        return None

    def fill(self, text: str, *, is_pasted: bool = False) -> None:
        """Put another text in the place of the draft, as one step that can be undone."""
        self._search = None
        self._recall(_Line(clean(text), is_pasted))

    def forget(self) -> None:
        """Forget what was entered last."""
        if self._history:
            self._history.pop()

    def layout(self, columns: int, max_rows: int) -> Layout:
        """Return the rows of the input, with their prompt, and where the cursor is."""
        if self._search is None:
            to = clean(self.to, multiline=False)
            prompt = f"to {displayed(to)} {_PROMPT}" if to else _PROMPT
            return self._draft.layout(prompt, columns, max_rows)
        query = cut(displayed(self._search.query), max(1, columns // 3 - 12))
        prompt = f'{"no match" if self._search.is_failed else "search"} "{query}": '
        shown, at = self._found(self._search)
        return Rows(0).layout(shown, at, prompt, columns, max_rows)

    def _press(self, name: str) -> Outcome | None:
        if self._last is _Kind.CHORD and name == "ctrl-e":
            return Action.EDIT
        if name in _ACTIONS:
            return _ACTIONS[name]
        command = self._commands.get(name)
        return command() if command else None

    def _did(self, kind: _Kind) -> None:
        self._now = kind

    def _go(self, index: int) -> None:
        self._draft.cursor = index

    def _put(
        self, start: int, end: int, new: str, *, is_pasted: bool = False, joins: bool = False
    ) -> None:
        if start == end and not new:
            return
        if not self._draft.put(start, end, new, is_pasted=is_pasted, joins=joins):
            self.notice = f"{_kb(DRAFT_BYTES)} is the limit here. The rest was left out."

    def _type(self, text: str) -> None:
        before = self._draft.last_inserted()
        is_new_word = before[-1:].isspace() and not text[:1].isspace()
        joins = self._last is _Kind.TYPED and not is_new_word
        self._put(self.cursor, self.cursor, text, joins=joins)
        self._draft.address(self._sources)
        self._now = _Kind.TYPED

    def _paste(self, text: str, *, is_cut: bool) -> None:
        joins = self._last is _Kind.PASTED
        if not joins:
            self._paste_start = self.cursor
        self._put(self.cursor, self.cursor, text, is_pasted=True, joins=joins)
        self._now = _Kind.PASTED
        pasted = self.text[self._paste_start : self.cursor]
        rows = pasted.count("\n") + (not pasted.endswith("\n"))
        if is_cut:
            self.notice = f"{_kb(DRAFT_BYTES)} is the limit here. The rest was left out."
        elif rows > 1 and self.notice is None:
            size = _kb(len(pasted.encode()))
            self.notice = f"{rows} lines, {size}: Enter sends, Esc removes"

    def _enter(self) -> Outcome | None:
        draft = self._draft
        if not draft.text:
            return Action.ENTER
        text = clean(draft.text)
        if (size_bytes := len(text.strip("\n").encode())) > MESSAGE_BYTES:
            limit, size = _kb(MESSAGE_BYTES), _kb(size_bytes)
            self.notice = f"{limit} is the limit, this is {size}. Nothing was sent."
            return None
        is_pasted = draft.is_pasted
        is_blank = not displayed(text).strip()
        draft.reset()
        self._walk = []
        if is_blank:
            return None
        line = _Line(text, is_pasted)
        if not self._history or self._history[-1] != line:
            self._history.append(line)
        return Submit(text, is_pasted)

    def _end(self) -> Outcome | None:
        if not self.text:
            return Action.NEWEST
        self._go(self._draft.row_end())
        return None

    def _delete_or_quit(self) -> Outcome | None:
        if not self.text:
            return Action.QUIT
        self._put(self.cursor, self._draft.right(), "")
        return None

    def _clear_or_quit(self) -> Outcome | None:
        if not self.text:
            return Action.QUIT
        self._kills.append(_Line(self.text, self._draft.is_pasted))
        self._walk = []
        self._put(0, len(self.text), "")
        return None

    def _escape(self) -> Outcome | None:
        match self._last:
            case _Kind.COMPLETED:
                self._draft.undo()
            case _Kind.PASTED:
                self._put(self._paste_start, self.cursor, "")
            case _:
                return Action.ESCAPE
        return None

    def _kill(self, to: int) -> None:
        start, end = sorted((self.cursor, to))
        if start == end:
            return
        killed = _Line(self.text[start:end], self._draft.is_pasted and start == 0)
        if self._last is _Kind.KILLED and self._kills:
            before = self._kills.pop()
            first, second = (killed, before) if to < self.cursor else (before, killed)
            killed = first._replace(text=first.text + second.text)
        self._kills.append(killed)
        self._put(start, end, "")
        self._now = _Kind.KILLED

    def _yank(self) -> None:
        if self._kills:
            line = self._kills[-1]
            self._put(self.cursor, self.cursor, line.text, is_pasted=line.is_pasted)
            self._now = _Kind.YANKED

    def _rotate(self) -> None:
        if self._last is _Kind.YANKED:
            self._draft.undo()
            self._kills.rotate(1)
            self._yank()

    def _transpose(self) -> None:
        text, at = self.text, self.cursor
        if at == len(text):
            at = self._draft.left()
        if at > 0:
            start, end = boundary(text, at - 1), next_grapheme(text, at)
            self._put(start, end, text[at:end] + text[start:at])

    def _change_case(self, change: Callable[[str], str]) -> None:
        end = self._draft.word_right()
        self._put(self.cursor, end, change(self.text[self.cursor : end]))

    def _up_or_down(self, step: int) -> None:
        place = self._draft.row_by(step)
        if place is not None:
            self._go(place)
            return
        if not self._walk:
            self._walk = [*self._history, _Line("", is_pasted=False)]
            self._walk_at = len(self._walk) - 1
        if 0 <= self._walk_at + step < len(self._walk):
            self._walk[self._walk_at] = _Line(self.text, self._draft.is_pasted)
            self._walk_at += step
            self._recall(self._walk[self._walk_at])

    def _recall(self, line: _Line) -> None:
        self._put(0, len(self.text), line.text)
        self._draft.is_pasted = line.is_pasted

    def _complete(self, step: int) -> Outcome | None:
        if self.text == "/":
            return Action.HELP
        last = self._completion
        # Behind the only command that it could be, what it takes is wanted.
        is_named = last.start == 0 and len(last.choices) == 1 and self.text.startswith("/")
        if self._last is _Kind.COMPLETED and not is_named:
            self._draft.undo()
            self._choice = (self._choice + step) % len(self._completion.choices)
        else:
            self._completion = complete(self.text, self.cursor, self._sources())
            self._choice = 0 if step > 0 else len(self._completion.choices) - 1
        found = self._completion
        if found.choices:
            # A path or a name comes from outside.
            choice = clean(found.choices[self._choice], multiline=False)
            follows_blank = choice.endswith(" ") and self.text.startswith(" ", found.end)
            self._put(found.start, found.end + follows_blank, choice)
            self._now = _Kind.COMPLETED
        return None

    def _find(self, query: str, before: int) -> None:
        """Search history for a query, in what is older than an entry."""
        folded = query.casefold()
        for at in range(before - 1, -1, -1):
            if query and folded in self._history[at].text.casefold():
                self._search = _Search(query, at, is_failed=False)
                return
        last = self._search.at if self._search else len(self._history)
        self._search = _Search(query, last, is_failed=bool(query))

    def _found(self, search: _Search) -> tuple[str, int]:
        """Return what a search shows, and the cursor in it."""
        if search.at == len(self._history):
            return self.text, self.cursor
        text = self._history[search.at].text
        at = text.casefold().find(search.query.casefold())
        return text, boundary(text, max(0, min(at, len(text))))

    def _search_by(self, search: _Search, event: Typed | Paste | Key | Focus) -> Outcome | None:
        match event:
            case Typed(text) | Paste(text):
                query = (search.query + clean(text, multiline=False))[:_QUERY]
                self._find(query, min(search.at + 1, len(self._history)))
            case Key("backspace"):
                self._find(search.query[:-1], len(self._history))
            case Key("ctrl-r"):
                self._find(search.query, search.at)
            case Key("esc" | "ctrl-g" | "ctrl-c"):
                self._search = None
            case Key(name):
                self._search = None
                if search.at < len(self._history):
                    self._recall(self._history[search.at])
                if name not in ("enter", "ctrl-j"):
                    return self._press(name)
            case Focus():
                pass
        return None


def _kb(size_bytes: int) -> str:
    """Return a size as it is read: what is over a limit never rounds down to it."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    kb = size_bytes / 1024
    return f"{kb:.1f} KB" if kb < 9.95 else f"{math.ceil(kb)} KB"
