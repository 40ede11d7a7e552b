"""One question and its answer, hidden or not; also the input of line mode."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from common.term.complete import Sources
from common.term.draft import Draft, Layout
from common.term.keys import Key, KeyEvent, Paste, Typed
from common.term.text import clean


class Reply(Enum):
    """What a key made of the question, besides an answer."""

    ESCAPED = auto()
    INTERRUPTED = auto()
    ENDED = auto()


class Entered(NamedTuple):
    """What was entered; is_pasted: it was pasted, so it is no command."""

    text: str
    is_pasted: bool

    def __repr__(self) -> str:
        """Hide it: it may be a password."""
        return "Entered()"


class Prompt:
    """A line of text after a question; a secret is neither drawn nor kept."""

    def __init__(self, question: str, *, is_hidden: bool = False) -> None:
        self.question = question
        self.is_hidden = is_hidden
        self._draft = Draft()
        self._refused: Entered | None = None

    @property
    def text(self) -> str:
        """What was typed so far."""
        return self._draft.text

    def apply(self, event: KeyEvent) -> Entered | Reply | None:
        """Carry out a key."""
        draft = self._draft
        match event:
            case Typed(text):
                draft.put(draft.cursor, draft.cursor, clean(text))
            case Paste(text):
                # A secret has one row, and its line end, copied with it, is no part of it.
                kept = clean(text.strip("\r\n"), multiline=False) if self.is_hidden else clean(text)
                draft.put(draft.cursor, draft.cursor, kept, is_pasted=True)
            case Key("enter" | "ctrl-j"):
                answer = Entered(draft.text, draft.is_pasted)
                draft.reset()
                return answer
            case Key("backspace"):
                draft.put(draft.left(), draft.cursor, "")
            case Key("ctrl-u"):
                draft.put(0, draft.cursor, "")
            case Key("up" | "ctrl-p") if self._refused and not draft.text:
                draft.put(0, 0, self._refused.text, is_pasted=self._refused.is_pasted)
            case Key("esc"):
                return Reply.ESCAPED
            case Key("ctrl-c"):
                draft.reset()
                return Reply.INTERRUPTED
            case Key("ctrl-d") if not draft.text:
                return Reply.ENDED
            case _:
                pass
        return None

    def keep(self, content: str, *, is_pasted: bool) -> None:
        """Keep a text that was refused: Up brings it back, unless another was begun."""
        self._refused = Entered(content, is_pasted)

    def address(self, sources: Callable[[], Sources]) -> None:
        """Let a typed `/r ` show whom it answers."""
        self._draft.address(sources)

    def layout(self, columns: int, max_rows: int) -> Layout:
        """Return the rows of the input, and where the cursor is."""
        if self.is_hidden:
            return Draft().layout(self.question, columns, max_rows)
        return self._draft.layout(self.question, columns, max_rows)
