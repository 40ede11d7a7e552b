"""What a client tells its view, and what a view answers.

A view takes a terminal, or a pipe, and knows nothing of relays and members. Whatever it is told is
foreign text, and is cleaned on its way to a cell. It has no clock: `now` is what it was last told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from common.errors import UsageError
from common.term.complete import Sources
from common.term.editor import Action, Submit
from common.term.prompt import Entered, Prompt, Reply
from common.view.output import is_terminal


class Message(NamedTuple):
    """Something said, as a view shows it; not cleaned yet.

    Attributes:
        identity: whose colour it has; empty for our own.
        line: of our own text, the number under which it was shown as waiting; else 0.
        to: whom our own direct text went to.
        seq: of the log.
    """

    name: str
    identity: bytes
    text: str
    at_ms: int
    is_own: bool = False
    is_direct: bool = False
    is_verified: bool = False
    is_look_alike: bool = False
    line: int = 0
    to: str = ""
    seq: int = 0


class Presence(NamedTuple):
    """Somebody came or left; `here` counts who is now."""

    name: str
    identity: bytes
    text: str
    at_ms: int
    is_coming: bool
    here: int
    is_verified: bool = False
    seq: int = 0


class Summary(NamedTuple):
    """What the status row tells.

    Attributes:
        state: a word, empty when live.
        changed: names whose identity key has changed.
        hint: shown while there is nothing better to say.
        is_away: whether we said so.
        name_cells: how wide the widest name here is.
    """

    room: str
    name: str
    here: int
    state: str
    waiting: int
    changed: tuple[str, ...]
    hint: str = ""
    is_away: bool = False
    name_cells: int = 0


class Options:
    """What `/set` changes (UX.md 3)."""

    def __init__(self) -> None:
        self.mouse = "off"
        self.joins = "on"
        self.bell = "on"
        self.notify = "off"
        self.notify_words = ""
        self.theme = "default"
        self.clipboard = "on"


VALUES = {
    "mouse": ("on", "off"),
    "joins": ("on", "off"),
    "bell": ("on", "off", "all"),
    "notify": ("on", "off", "all"),
    "theme": ("default", "plain"),
    "clipboard": ("on", "off"),
}
MEANINGS = {
    "mouse": "on: the wheel scrolls in any terminal, which then selects with Shift",
    "joins": "rows of who comes and goes",
    "bell": "rings for mentions and direct messages; all: for every message",
    "notify": "desktop notices for the same, without the text",
    "notify_words": "words that count as a mention, besides your name",
    "theme": "default: the terminal's own colours; plain: none",
    "clipboard": "on: what /copy prints is in the clipboard too, by OSC 52",
}


class Post(NamedTuple):
    """A program's text, never a command; `what` it is when it is told of: "Row 3"."""

    text: str
    to: str
    what: str


class Unsent(NamedTuple):
    """Something on standard input that cannot be sent, and why."""

    why: str


Outcome = Action | Submit | Entered | Reply | Post | Unsent


class View:
    """A screen, or lines; the client tells it everything and draws nothing itself.

    What a view has no use for, it need not say: here nothing is shown, and nothing is asked for.

    Attributes:
        is_screen: whether it owns the whole terminal.
        has_keys: whether it takes keys one by one, those too that a terminal makes signals of.
        stays_open: whether a person may go on reading when all is over.
        has_history: whether there is one to find something in, or to copy from.
        greets: whether it says in bare rows where we are connected, as the small programs did.
        keys_help: the rows of `/help keys`.
        no_history: why there is none.
        output_fd: where it writes.
        sources: what there is to complete with.
        on_call: hears who calls us, and when.
    """

    is_screen = False
    stays_open = False
    has_history = False
    greets = False
    keys_help: tuple[str, ...] = ()
    no_history = ""

    def __init__(self) -> None:
        self.output_fd = 1
        self.has_keys = self.is_screen
        self.options = Options()
        self.sources: Callable[[], Sources] = no_sources
        self.on_call: Callable[[str, float], None] = no_call

    # --- The terminal.

    def start(self) -> None:
        """Take the terminal."""

    def stop(self) -> None:
        """Give the terminal back as it was found."""

    def hurry(self) -> None:
        """Note that a signal ends us: no reader is waited for."""

    def suspend(self) -> None:
        """Give the terminal back, stop until SIGCONT, and take it again."""

    def resized(self) -> None:
        """Note that the terminal has another size, or was ours to repaint."""

    def apply_options(self) -> None:
        """Note that the options have changed."""

    # --- Input.

    @property
    def has_keyboard(self) -> bool:
        """Whether what is typed is for us."""
        return True

    @property
    def can_ask(self) -> bool:
        """Whether a person answers here."""
        return is_terminal(0)

    def receive(self, data: bytes, now: float) -> Iterable[Outcome]:
        """Take what was typed, and return what it asks of the client, to be done one by one."""
        return ()

    def ask(self, prompt: Prompt | None) -> None:
        """Put a question in the place of the input, or take it away."""

    def forget_typed(self) -> None:
        """Keep what was entered last out of the input history."""

    def refused(self, content: str, *, is_pasted: bool) -> None:
        """Keep what came to nothing where Up brings it back."""

    # --- Output.

    def said(self, message: Message) -> None:
        """Show a message that is in the log."""

    def typed(self, line: int, content: str, to: str, at_ms: int) -> None:
        """Show our own text, which is not in the log yet."""

    def untyped(self, line: int) -> None:
        """Take away our own text that is not in the log and is not on its way there."""

    def notice(self, content: str, at_ms: int) -> int | None:
        """Show a notice of ours.

        Returns:
            The row that `amend` can change; None where rows are only added.
        """
        return None

    def tell(self, content: str, at_ms: int) -> None:
        """Show what a command came to nothing for, wherever the view is."""
        self.notice(content, at_ms)

    def answer(self, rows: list[str], at_ms: int) -> None:
        """Show what a command yielded, and go there."""

    def warn(self, content: str, at_ms: int) -> int | None:
        """Show what must catch the eye.

        Returns:
            As `notice`.
        """
        return None

    def amend(self, row: int, content: str) -> bool:
        """Give a row another text; False if it is not there any more."""
        return False

    def moved(self, change: Presence) -> None:
        """Show that somebody came or left."""

    def plain(self, content: str, at_ms: int) -> None:
        """Show a row of nothing but text."""

    def status(self, told: Summary) -> None:
        """Show where we stand."""

    # --- History.

    def find(self, content: str) -> bool:
        """Mark a text and go to it, or repeat that for ""; False if it is not there.

        Raises:
            UsageError: if this view has no history; so do the next six.
        """
        raise UsageError(self.no_history)

    def to_unread(self) -> bool:
        """Go to the unread line; False if there is none."""
        raise UsageError(self.no_history)

    def more(self) -> bool:
        """Show a long message whole, where it is; False if none is cut."""
        raise UsageError(self.no_history)

    def clear(self) -> None:
        """Forget the history."""
        raise UsageError(self.no_history)

    def copy(self, count: int, *, with_names: bool) -> None:
        """Print the last messages where the terminal can select them, until Enter."""
        raise UsageError(self.no_history)

    def copy_urls(self) -> None:
        """Print the last URLs where the terminal can select them, until Enter."""
        raise UsageError(self.no_history)

    def edit(self) -> None:
        """Edit what is typed in an editor of the user's.

        Raises:
            FileError: if there is no safe place for the file, or no editor.
        """
        raise UsageError(self.no_history)

    # --- The loop.

    def draw(self, now: float) -> None:
        """Draw what has changed."""

    def flush(self) -> None:
        """Write what the terminal takes."""

    @property
    def unwritten_bytes(self) -> int:
        """What the terminal has not taken yet."""
        return 0

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted."""
        return None

    def tick(self, now: float) -> list[Outcome]:
        """Let time pass."""
        return []


def no_call(_name: str, _now: float) -> None:
    """Do nothing about somebody who calls us."""


def no_sources() -> Sources:
    """Return nothing to complete with."""
    return Sources((), {})
