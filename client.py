# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets>=17", "cryptography>=48"]
# ///
"""The client: selector loop, curses and line views, peer mode, command line.

Run `python client.py KEY --username ace`. What travels is in common/PROTOCOL.md; how it looks and
speaks, in common/UX.md; where each line lives, in common/DESIGN.md.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import itertools
import logging
import os
import queue
import random
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol, assert_never

try:
    from common import config, files, names
    from common.crypto import ticket
    from common.crypto.identity import Identity, load_identity, safety_number
    from common.errors import (
        FileError,
        Refused,
        RemoteProtocolError,
        TermchatError,
        Unauthentic,
        UsageError,
    )
    from common.member import commands, sentences
    from common.member.conversation import (
        Back,
        Came,
        Conversation,
        Event,
        Gone,
        Joined,
        Left,
        Noticed,
        Peer,
        Phase,
        Said,
        Undelivered,
        Warned,
    )
    from common.member.retry import Retry
    from common.member.trust import Grade, Pins, Standing
    from common.term import text
    from common.term.complete import Argument, Sources
    from common.term.editor import Action, Editor, Scroll, Submit
    from common.term.keys import Focus, KeyEvent, Keys
    from common.term.prompt import Answer, Prompt, Reply
    from common.term.rows import LEAST_COLUMNS, REVERSE, Kind, Mark, Row, Span, Style
    from common.term.scrollback import Line, Scrollback
    from common.wire.link import ClientLink, Closed, Opened, State, parse_url
    from common.wire.pipe import Pipe
    from common.wire.records import Delivered
except ImportError as problem:
    _wanted = Path(__file__).with_name("requirements.txt")
    sys.stderr.write(f"{problem}. Run: {sys.executable} -m pip install -r {_wanted}\n")
    sys.exit(2)

try:
    import curses
    import fcntl
    import termios
except ImportError:  # Windows: line mode, and a thread that reads standard input
    HAS_CURSES = False
else:
    HAS_CURSES = True

log = logging.getLogger("termchat.client")

READ_BYTES: Final = 64 * 1024
CONNECT_S: Final = 10.0
OPENING_S: Final = 0.005
"""How long received records are opened before the keyboard is looked at again."""
LEAVE_S: Final = 2.0
EOF_S: Final = 60.0
"""How long the end of input waits for echoes without any coming."""
UNREAD_BYTES: Final = 1024 * 1024
"""Rows that standard output has not taken, above which we stop reading the relay."""
TYPING_S: Final = 2.0
MANY_LINES: Final = 1_000
"""Lines on their way, above which a pipe on standard input is not read."""

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_INTERRUPTED: Final = 130

TRANSIENT: Final = frozenset((408, 412, 429, 503))
"""Statuses after which a client that was welcomed comes back (PROTOCOL.md 3.3)."""

KEYS_HELP: Final = (
    "Enter sends; Alt-Enter: newline. Up Down: what you sent. Ctrl-R searches it.",
    "PgUp PgDn End: the history. Tab completes names and commands.",
    "Ctrl-W Ctrl-U Ctrl-K cut, Ctrl-Y pastes, Ctrl-_ undoes. Ctrl-L repaints.",
    "Ctrl-C clears the input; on an empty input, it leaves. Ctrl-Z suspends.",
)


# --------------------------------------------------------------------------------------------- View


@dataclass(frozen=True, slots=True)
class Message:
    """Something said, as a view shows it; not cleaned yet.

    Attributes:
        identity: whose colour it has; empty for our own.
        line: of our own text, the number under which it was shown as waiting; else 0.
        to: whom our own direct text went to.
    """

    name: str
    identity: bytes
    text: str
    at_ms: int
    is_own: bool = False
    is_direct: bool = False
    is_verified: bool = False
    line: int = 0
    to: str = ""


@dataclass(frozen=True, slots=True)
class Presence:
    """Somebody came or left; `here` counts who is now."""

    name: str
    identity: bytes
    text: str
    at_ms: int
    is_coming: bool
    here: int


@dataclass(frozen=True, slots=True)
class Status:
    """What the status row tells.

    Attributes:
        state: a word, empty when live.
        changed: names whose identity key has changed.
    """

    room: str
    name: str
    here: int
    state: str
    waiting: int
    changed: tuple[str, ...]


Outcome = Action | Submit | Answer | Reply


class View(Protocol):
    """A screen, or lines; the client tells it everything and draws nothing itself."""

    output_fd: int
    sources: Callable[[], Sources]

    def start(self) -> None:
        """Take the terminal."""

    def stop(self) -> None:
        """Give the terminal back as it was found."""

    def receive(self, data: bytes, now: float) -> list[Outcome]:
        """Take what was typed, and return what it asks of the client."""

    def said(self, message: Message) -> None:
        """Show a message that is in the log."""

    def typed(self, line: int, content: str, to: str) -> None:
        """Show our own text, which is not in the log yet."""

    def notice(self, content: str, at_ms: int) -> None:
        """Show a notice of ours."""

    def warn(self, content: str, at_ms: int) -> None:
        """Show what must catch the eye."""

    def moved(self, change: Presence) -> None:
        """Show that somebody came or left."""

    def plain(self, content: str) -> None:
        """Show a row of nothing but text."""

    def suspend(self) -> None:
        """Give the terminal back, stop until SIGCONT, and take it again."""

    def ask(self, prompt: Prompt | None) -> None:
        """Put a question in the place of the input, or take it away."""

    def status(self, status: Status) -> None:
        """Show where we stand."""

    def draw(self, now: float) -> None:
        """Draw what has changed."""

    def flush(self) -> None:
        """Write what the terminal takes."""

    @property
    def unwritten_bytes(self) -> int:
        """What the terminal has not taken yet."""

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted."""

    def tick(self, now: float) -> list[Outcome]:
        """Let time pass."""

    def resized(self) -> None:
        """Note that the terminal has another size, or was ours to repaint."""


class Output:
    """Bytes to a file descriptor, never waiting for it."""

    WRITE_BYTES: Final = 512  # POSIX PIPE_BUF: what a writable pipe takes without blocking

    def __init__(self, fd: int, *, waits: bool) -> None:
        """Write to `fd`; `waits`: it is in blocking mode, shared with others, so ask before."""
        self.fd = fd
        self._waits = waits
        self._unwritten = bytearray()
        self.is_broken = False

    def __len__(self) -> int:
        return len(self._unwritten)

    def put(self, data: bytes) -> None:
        """Queue bytes."""
        if not self.is_broken:
            self._unwritten += data

    def flush(self) -> None:
        """Write while the descriptor takes it."""
        while self._unwritten and (not self._waits or _is_writable(self.fd)):
            try:
                size = self.WRITE_BYTES if self._waits else len(self._unwritten)
                sent = os.write(self.fd, self._unwritten[:size])
            except BlockingIOError:
                return
            except OSError:
                # Nobody reads any more.
                self.is_broken = True
                sent = len(self._unwritten)
            del self._unwritten[:sent]


def _is_writable(fd: int) -> bool:
    if os.name != "posix" or fd >= 1024:
        return True
    with selectors.SelectSelector() as selector:
        selector.register(fd, selectors.EVENT_WRITE)
        return bool(selector.select(0))


# -------------------------------------------------------------------------------------------- Lines


class Lines:
    """Line mode: one event a row, append-only, for screen readers and pipes (UX.md 8)."""

    def __init__(self) -> None:
        self.output_fd = 1
        self._output = Output(self.output_fd, waits=True)
        self.sources: Callable[[], Sources] = lambda: Sources((), {}, lambda _: ())
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        self._is_terminal = _is_terminal(0) and _is_terminal(self.output_fd)
        self._keys = Keys()
        self._input = Prompt("")
        self._question: Prompt | None = None
        self._shown = ""  # of what is being typed
        self._partial = b""
        self._held: list[str] = []
        self._typed_at_s: float | None = None
        self._modes: list[Any] | None = None

    # --- The terminal.

    def start(self) -> None:
        """Read keys one by one, so that arrivals never cut what is being typed."""
        if self._is_terminal:
            self._modes = _cbreak(0)

    def stop(self) -> None:
        """Write what is left, and give the terminal back."""
        self._release()
        if self._shown:
            self._write("\n")
        deadline_s = time.monotonic() + LEAVE_S
        while len(self._output) and time.monotonic() < deadline_s:
            _wait_writable(self.output_fd, LEAVE_S)
            self._output.flush()
        if self._modes is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._modes)

    def suspend(self) -> None:
        """Do nothing: in line mode the terminal itself suspends us."""

    def resized(self) -> None:
        """Take the terminal again after a suspension."""
        if self._modes is not None:
            _cbreak(0)
            self._shown = ""
            self._echo()

    # --- Input.

    def receive(self, data: bytes, now: float) -> list[Outcome]:
        """Take keys from a terminal, or lines from anything else."""
        if not self._is_terminal:
            return list(self._lines(data))
        return self._apply(self._keys.receive(data, now), now)

    def _lines(self, data: bytes) -> Iterator[Outcome]:
        *whole, self._partial = (self._partial + data).split(b"\n")
        if not data and self._partial:
            whole, self._partial = [self._partial], b""
        for line in whole:
            content = line.decode("utf-8", "replace").rstrip("\r")
            if self._question is not None:
                self._question = None
                yield Answer(content, is_literal=False)
            elif content.strip():
                yield Submit(text.clean(content), is_literal=False)

    def _apply(self, events: list[KeyEvent], now: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for event in events:
            prompt = self._question or self._input
            reply = prompt.apply(event)
            self._typed_at_s = now
            if isinstance(reply, Answer):
                self._echo(reply.text)
                self._write("\n")
                self._shown = ""
                self._release()
                if self._question is not None:
                    outcomes.append(reply)
                elif reply.text.strip():
                    outcomes.append(Submit(reply.text.strip("\n"), reply.is_literal))
                continue
            self._echo()
            match reply:
                case Reply.ENDED:
                    outcomes.append(Action.QUIT)
                case Reply() if self._question is not None:
                    outcomes.append(reply)
                case _:
                    pass
        return outcomes

    def _echo(self, typed: str | None = None) -> None:
        """Make the last row show what is typed, the only thing that is ever taken back."""
        prompt = self._question or self._input
        content = prompt.text if typed is None else typed
        shown = prompt.question + ("" if prompt.is_hidden else text.displayed(content))
        shown = shown.replace("\n", " ")
        pairs = zip(self._shown, shown, strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        back = text.width(self._shown[same:])
        self._write("\b \b" * back + shown[same:])
        self._shown = shown

    def ask(self, prompt: Prompt | None) -> None:
        """Put a question in the place of the input, or take it away."""
        self._question = prompt
        if self._is_terminal:
            self._echo()
        elif prompt is not None:
            self._write(prompt.question + "\n")

    # --- Output.

    def said(self, message: Message) -> None:
        """Show a message, our own too: its row says that it is in the log."""
        name = f"> {message.name}" if message.is_direct else message.name
        if message.to:
            name = f"> {message.name} to {message.to}"
        said = message.text
        if said.startswith("/me "):
            self._event(f"* {name} {said[4:]}", message.at_ms)
        else:
            self._event(f"{name}: {said}", message.at_ms)

    def typed(self, line: int, content: str, to: str) -> None:
        """Show nothing: the row comes with the echo, in its place."""

    def notice(self, content: str, at_ms: int) -> None:
        """Show a notice."""
        self._event(f"-- {content}", at_ms)

    def warn(self, content: str, at_ms: int) -> None:
        """Show a warning."""
        self._event(f"!! {content}", at_ms)

    def moved(self, change: Presence) -> None:
        """Show that somebody came or left, and how many are here."""
        self._event(f"-- {change.text}", change.at_ms)
        self._row(f"Users Connected: {change.here}")

    def plain(self, content: str) -> None:
        """Show a row without time or mark."""
        self._row(content)

    def status(self, status: Status) -> None:
        """Show nothing: what changes is told in rows."""

    def draw(self, now: float) -> None:
        """Show what waited while somebody typed, once they pause."""
        if self._held and not self._is_typing(now):
            self._release()

    def _event(self, content: str, at_ms: int) -> None:
        clock = time.strftime("%H:%M", time.localtime(at_ms / 1000))
        self._row(f"{clock} {content}")

    def _row(self, content: str) -> None:
        self._held.append(text.clean(content).replace("\n", "\n    "))
        if not self._is_typing(time.monotonic()):
            self._release()

    def _is_typing(self, now: float) -> bool:
        return bool(self._shown) and self._typed_at_s is not None and now < self._pause_s()

    def _pause_s(self) -> float:
        return (self._typed_at_s or 0.0) + TYPING_S

    def _release(self) -> None:
        """Write the rows that waited; what is being typed is repeated under them."""
        if not self._held:
            return
        shown, self._shown = self._shown, ""
        self._write(("\n" if shown else "") + "\n".join(self._held) + "\n" + shown)
        self._shown = shown
        self._held.clear()

    def _write(self, content: str) -> None:
        self._output.put(content.encode(self._encoding, "replace"))

    def flush(self) -> None:
        """Write what the terminal takes."""
        self._output.flush()

    @property
    def unwritten_bytes(self) -> int:
        """What the terminal has not taken yet."""
        return len(self._output)

    def deadline(self) -> float | None:
        """Return when typing counts as paused, or a lone ESC as a key."""
        times = [self._keys.deadline()]
        if self._held:
            times.append(self._pause_s())
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> list[Outcome]:
        """Let a lone ESC become a key."""
        return self._apply(self._keys.tick(now), now) if self._is_terminal else []


# ------------------------------------------------------------------------------------------- Screen

_MODES_ON: Final = b"\x1b[?2004h\x1b[?1004h"
_MODES_OFF: Final = b"\x1b[?1004l\x1b[?2004l"
_PIPE_BYTES: Final = 1024 * 1024
_SET_PIPE_SIZE: Final = 1031  # Linux F_SETPIPE_SZ
FRAME_S: Final = 1 / 30
LEAST_ROWS: Final = 4
_TERMINFO_KEYS: Final = {
    "kcuu1": "up",
    "kcud1": "down",
    "kcuf1": "right",
    "kcub1": "left",
    "khome": "home",
    "kend": "end",
    "kpp": "pgup",
    "knp": "pgdn",
    "kdch1": "delete",
    "kich1": "insert",
    "kcbt": "shift-tab",
    "kf1": "f1",
}


class Screen:
    """The curses view: history, one status row, the input (UX.md 1). Nothing else knows curses.

    curses writes into a pipe that we carry to a non-blocking terminal, so a terminal that does not
    read never holds us up; while it has not taken the last frame, no other is drawn.
    """

    def __init__(self, *, colour: bool) -> None:
        self._wants_colour = colour
        self._tty = os.ttyname(0)
        self.output_fd = os.open(self._tty, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        self._output = Output(self.output_fd, waits=False)
        self._pipe_out = -1
        self._saved_fd = -1
        self._window: curses.window | None = None
        self._keys = Keys()
        self.sources: Callable[[], Sources] = lambda: Sources((), {}, lambda _: ())
        self._editor = Editor(lambda: self.sources())
        self._question: Prompt | None = None
        self._history = Scrollback(lambda seconds: time.localtime(seconds), 0)
        self._status = Status("", "", 0, "connecting", 0, ())
        self._colours = 0
        self._attributes: dict[Style, int] = {}
        self._pairs: dict[int, int] = {}
        self._is_input_dirty = self._is_history_dirty = True
        self._history_at_s = 0.0
        self._stderr = sys.stderr

    # --- The terminal.

    def start(self) -> None:
        """Enter curses with its output in a pipe."""
        # ncurses would believe these rather than the terminal, for ever.
        os.environ.pop("LINES", None)
        os.environ.pop("COLUMNS", None)
        self._pipe_out, pipe_in = os.pipe()
        os.set_blocking(self._pipe_out, False)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe_in, _SET_PIPE_SIZE, _PIPE_BYTES)
        self._saved_fd = os.dup(1)
        os.dup2(pipe_in, 1)
        os.close(pipe_in)
        # What is written to standard error now would be typed over the screen.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - closed in stop()
        self._window = curses.initscr()
        curses.raw()
        curses.noecho()
        self._set_colours()
        strings = {curses.tigetstr(name): key for name, key in _TERMINFO_KEYS.items()}
        self._keys = Keys({string: key for string, key in strings.items() if string})
        self._history = Scrollback(lambda seconds: time.localtime(seconds), self._colours)
        self._enter_modes()
        self.resized()

    def _set_colours(self) -> None:
        if not (self._wants_colour and curses.has_colors()):
            return
        try:
            curses.start_color()
            curses.use_default_colors()
        except curses.error:
            return
        self._colours = 256 if curses.COLORS >= 256 else 8 if curses.COLORS >= 8 else 0

    def _enter_modes(self) -> None:
        self._pump()
        self._output.put(_MODES_ON)

    def stop(self) -> None:
        """Leave curses, and drain what it wrote, for at most two seconds."""
        if self._window is None:
            return
        self._output.put(_MODES_OFF)
        curses.endwin()
        self._pump()
        self._window = None
        os.dup2(self._saved_fd, 1)
        os.close(self._saved_fd)
        deadline_s = time.monotonic() + LEAVE_S
        while len(self._output) and time.monotonic() < deadline_s:
            _wait_writable(self.output_fd, deadline_s - time.monotonic())
            self._output.flush()
        os.close(self._pipe_out)
        os.close(self.output_fd)
        sys.stderr.close()
        sys.stderr = self._stderr

    def suspend(self) -> None:
        """Give the terminal back, stop until SIGCONT, and take it again."""
        self._output.put(_MODES_OFF)
        curses.def_prog_mode()
        curses.endwin()
        self._pump()
        deadline_s = time.monotonic() + LEAVE_S
        while len(self._output) and time.monotonic() < deadline_s:
            _wait_writable(self.output_fd, deadline_s - time.monotonic())
            self._output.flush()
        os.kill(0, signal.SIGTSTP)
        curses.reset_prog_mode()
        self._enter_modes()
        self.resized()

    def resized(self) -> None:
        """Lay everything out anew."""
        if self._window is None:
            return
        size = os.get_terminal_size(self.output_fd)
        with contextlib.suppress(curses.error):
            curses.resizeterm(max(1, size.lines), max(1, size.columns))
        self._window.clearok(True)
        self._is_input_dirty = self._is_history_dirty = True
        self._history_at_s = 0.0

    # --- Input.

    def receive(self, data: bytes, now: float) -> list[Outcome]:
        """Take keys; what only moves the view is done here."""
        return self._apply(self._keys.receive(data, now), now)

    def tick(self, now: float) -> list[Outcome]:
        """Let a lone ESC become a key, and tell of lines that wait long."""
        at = self._history.deadline()
        if at is not None and at <= now:
            self._history.tick(now)
            self._is_history_dirty = True
        return self._apply(self._keys.tick(now), now)

    def _apply(self, events: list[KeyEvent], now: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for event in events:
            if isinstance(event, Focus):
                self._history.focus(event.is_gained)
            else:
                self._history.key(now)
            self._is_input_dirty = True
            if self._question is not None:
                reply = self._question.apply(event)
                if reply is not None:
                    outcomes.append(reply)
                continue
            outcome = self._editor.apply(event)
            if outcome is not None:
                outcomes += self._moved(outcome)
        return outcomes

    def _moved(self, outcome: Action | Submit | Scroll) -> list[Outcome]:
        """Move the view if that is all that was asked; else hand it on."""
        history = self._history
        match outcome:
            case Scroll():
                history.scroll(outcome.rows)
            case Action.PAGE_UP:
                history.page(1)
            case Action.PAGE_DOWN:
                history.page(-1)
            case Action.OLDEST:
                history.oldest()
            case Action.NEWEST | Action.ESCAPE:
                history.newest()
            case Action.UNREAD:
                history.to_unread()
            case Action.MENTION:
                history.to_mention()
            case Action.REPAINT:
                self.resized()
            case _:
                return [outcome]
        self._is_history_dirty = True
        self._history_at_s = 0.0
        return []

    def ask(self, prompt: Prompt | None) -> None:
        """Put a question in the place of the input, or take it away."""
        self._question = prompt
        self._is_input_dirty = True

    # --- History.

    def said(self, message: Message) -> None:
        """Show a message; our own moves to its place in the log."""
        is_action = message.text.startswith("/me ")
        mark = Mark.VERIFIED if message.is_verified else Mark.NONE
        if message.is_direct:
            mark = Mark.DIRECT
        to = f"to {message.to or 'you'}: " if message.is_direct else ""
        line = Line(
            message.at_ms,
            message.text[4:] if is_action else to + message.text,
            Kind.ACTION if is_action else Kind.SAY,
            message.name,
            message.identity,
            mark,
            message.is_own,
        )
        now = time.monotonic()
        if message.line:
            self._history.echo(message.line, line, now)
        else:
            self._history.push(line, now)
        self._is_history_dirty = True

    def typed(self, line: int, content: str, to: str) -> None:
        """Show our own text, dim until its echo."""
        is_action = content.startswith("/me ")
        own = Line(
            time.time_ns() // 1_000_000,
            content[4:] if is_action else (f"to {to}: " if to else "") + content,
            Kind.ACTION if is_action else Kind.SAY,
            self._status.name,
            is_own=True,
        )
        self._history.pend(line, own, time.monotonic())
        self._is_history_dirty = True

    def notice(self, content: str, at_ms: int) -> None:
        """Show a notice."""
        self._push(Line(at_ms, content, Kind.NOTICE))

    def warn(self, content: str, at_ms: int) -> None:
        """Show a warning."""
        self._push(Line(at_ms, content, Kind.WARNING))

    def _push(self, line: Line) -> None:
        self._history.push(line, time.monotonic())
        self._is_history_dirty = True

    def moved(self, change: Presence) -> None:
        """Show that somebody came or left, folded with what they did a moment ago."""
        line = Line(change.at_ms, change.text, Kind.NOTICE, change.name, change.identity)
        self._history.presence(change.is_coming, line, time.monotonic())
        self._is_history_dirty = True

    def plain(self, content: str) -> None:
        """Show a row of nothing but text, to be copied."""
        self._push(Line(time.time_ns() // 1_000_000, content, Kind.BARE))

    def status(self, status: Status) -> None:
        """Show where we stand."""
        self._status = status
        self._is_input_dirty = True

    # --- Drawing.

    def deadline(self) -> float | None:
        """Return when the next frame is due, or a key."""
        times = [self._keys.deadline(), self._history.deadline()]
        if self._is_history_dirty and not len(self._output):
            times.append(self._history_at_s)
        return min((at for at in times if at is not None), default=None)

    def draw(self, now: float) -> None:
        """Draw what changed: a key at once, the history at most 30 times a second."""
        window = self._window
        if window is None or len(self._output):
            return
        is_history_due = self._is_history_dirty and now >= self._history_at_s
        if not self._is_input_dirty and not is_history_due:
            return
        rows, columns = window.getmaxyx()
        prompt_rows = min(6, rows // 3) if rows >= LEAST_ROWS else 1
        source = self._question or self._editor
        layout = source.layout(columns, max(1, prompt_rows))
        history_rows = rows - len(layout.rows) - 1
        is_small = columns < LEAST_COLUMNS or rows < LEAST_ROWS
        if is_history_due and history_rows > 0 and not is_small:
            for y, row in enumerate(self._history.view(columns, history_rows)):
                self._draw_row(window, y, row)
            self._history_at_s = now + FRAME_S
        self._is_history_dirty = self._is_history_dirty and not is_history_due
        if history_rows >= 0:
            status = text.cut(self._status_text(columns), columns)
            self._draw_row(window, history_rows, (Span(status.ljust(columns), REVERSE),))
        for y, content in enumerate(layout.rows, history_rows + 1):
            self._draw_row(window, y, (Span(content),))
        self._is_input_dirty = False
        with contextlib.suppress(curses.error):
            window.move(history_rows + 1 + layout.row, min(layout.cell, columns - 1))
        window.noutrefresh()
        curses.doupdate()
        self._pump()

    def _draw_row(self, window: curses.window, y: int, row: Row) -> None:
        with contextlib.suppress(curses.error):
            window.move(y, 0)
            window.clrtoeol()
            for span in row:
                # The last cell of the screen is painted, and then raises: nothing follows it.
                window.addstr(span.text, self._attribute(span.style))

    def _attribute(self, style: Style) -> int:
        attribute = self._attributes.get(style)
        if attribute is None:
            attribute = curses.A_NORMAL
            for is_set, flag in (
                (style.bold, curses.A_BOLD),
                (style.dim, curses.A_DIM),
                (style.reverse, curses.A_REVERSE),
                (style.underline, curses.A_UNDERLINE),
            ):
                attribute |= flag if is_set else 0
            if style.colour is not None and self._colours:
                attribute |= curses.color_pair(self._pair(style.colour))
            self._attributes[style] = attribute
        return attribute

    def _pair(self, colour: int) -> int:
        if colour not in self._pairs:
            self._pairs[colour] = len(self._pairs) + 1
            curses.init_pair(self._pairs[colour], colour, -1)
        return self._pairs[colour]

    def _status_text(self, columns: int) -> str:
        status = self._status
        parts = [f" {status.room}", status.name, f"{status.here} here", status.state]
        return "  ".join(part for part in parts if part)

    def _pump(self) -> None:
        """Take what curses wrote to where it does not wait."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe_out, READ_BYTES):
                self._output.put(data)

    def flush(self) -> None:
        """Write what the terminal takes."""
        self._output.flush()

    @property
    def unwritten_bytes(self) -> int:
        """What the terminal has not taken yet."""
        return len(self._output)


# ---------------------------------------------------------------------------------------- Terminals


def _view(settings: config.ClientConfig) -> View:
    """Choose the view; why a screen cannot be had is told in one sentence."""
    if settings.plain:
        return Lines()
    term = os.environ.get("TERM", "")
    why = ""
    if not (_is_terminal(0) and _is_terminal(1)):
        why = "Input or output is no terminal"
    elif not HAS_CURSES:
        why = "This Python has no curses"
    elif term in ("", "dumb", "unknown"):
        why = f"The terminal type is {term or 'not set'}"
    else:
        try:
            curses.setupterm(term, 1)
        except curses.error:
            why = f"The terminal type {text.clean(term, multiline=False)} is not known here"
    if why:
        _say(f"{why}: line mode.")
        return Lines()
    return Screen(colour=settings.colour)


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _cbreak(fd: int) -> list[Any]:
    """Let keys through one by one, unechoed, and return the modes before; signals stay on."""
    before = termios.tcgetattr(fd)
    modes = termios.tcgetattr(fd)
    modes[3] &= ~(termios.ICANON | termios.ECHO)
    modes[0] &= ~termios.ICRNL
    termios.tcsetattr(fd, termios.TCSADRAIN, modes)
    return before


def _wait_writable(fd: int, timeout_s: float) -> None:
    with selectors.SelectSelector() as selector, contextlib.suppress(OSError, ValueError):
        selector.register(fd, selectors.EVENT_WRITE)
        selector.select(max(0.0, timeout_s))


# ------------------------------------------------------------------------------------------- Client


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What the short-lived thread found out."""

    attempt: int
    psk: bytes
    addresses: list[tuple[int, tuple[object, ...]]]
    problem: str


class Client:
    """One member: owns the terminal, the socket, the timers and the conversation."""

    def __init__(
        self,
        settings: config.ClientConfig,
        invitation: ticket.Ticket,
        url: str,
        conversation: Conversation,
        view: View,
    ) -> None:
        self._settings = settings
        self._ticket = invitation
        self._url = url
        self._uri = parse_url(url)
        self._conversation = conversation
        self._view = view
        self._selector = selectors.DefaultSelector()
        self._signals: deque[int] = deque()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._prepared: queue.SimpleQueue[_Prepared] = queue.SimpleQueue()
        self._attempt = 0
        self._password = settings.password
        self._psk: bytes | None = None
        self._addresses: deque[tuple[int, tuple[object, ...]]] = deque()
        self._unreachable = ""
        self._sock: socket.socket | None = None
        self._connect_by_s = 0.0
        self._pipe: Pipe[ClientLink] | None = None
        self._inbox: deque[Delivered] = deque()
        self._masks: dict[int, int] = {}
        self._input_fd: int | None = None
        self._has_input = True
        self._retry = Retry(random.random)
        self._retry_at_s: float | None = None
        self._lost_at_s: float | None = None
        self._was_welcomed = False
        self._ended = ""
        self._leave_by_s: float | None = None
        self._goodbye = ""
        self._on_answer: Callable[[str | None], None] | None = None
        self._shown_numbers: set[str] = set()
        self._unsent: list[str] = []
        self._last_status: Status | None = None
        self._speakers: list[str] = []
        self.exit_code: int | None = None
        self.last_words = ""

    # --- The loop.

    def run(self) -> int:
        """Talk until the end; return the exit code (UX.md 8)."""
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        with _handled_signals(self._signals, self._wake_in):
            self._view.start()
            try:
                self._open_input()
                self._view.draw(time.monotonic())
                self._view.flush()
                self._dial()
                while self.exit_code is None:
                    self._turn()
            finally:
                self._close_pipe()
                self._selector.close()
                self._wake_in.close()
                self._wake_out.close()
                self._view.stop()
        return self.exit_code

    def _turn(self) -> None:
        """Wait for something and do what it asks: the keyboard first, the relay, then time."""
        self._watch()
        ready = {key.fd: mask for key, mask in self._selector.select(self._timeout_s())}
        now = time.monotonic()
        if self._wake_out.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_out.recv(4096)
        while self._signals:
            self._on_signal(self._signals.popleft())
        if self._input_fd in ready:
            self._read_input(now)
        while not self._prepared.empty():
            self._on_prepared(self._prepared.get_nowait(), now)
        if self._sock is not None and self._sock.fileno() in ready:
            self._on_connected(now)
        pipe = self._pipe
        if pipe is not None and ready.get(pipe.sock.fileno(), 0) & selectors.EVENT_READ:
            data = pipe.read()
            if data is not None:
                self._on_bytes(pipe, data, now)
        self._open_records(now)
        self._tick(now)
        self._send(now)
        self._show_status(now)
        self._view.draw(now)
        self._view.flush()

    def _timeout_s(self) -> float | None:
        if self._inbox:
            return 0.0
        times = [self._view.deadline(), self._retry_at_s, self._leave_by_s]
        if self._pipe is not None:
            times += [self._pipe.link.deadline(), self._conversation.deadline()]
        if self._sock is not None:
            times.append(self._connect_by_s)
        if self._retry_at_s is not None and self._lost_at_s is not None:
            times.append(time.monotonic() + 1.0)  # the countdown
        wanted = [at for at in times if at is not None]
        return max(0.0, min(wanted) - time.monotonic()) if wanted else None

    def _watch(self) -> None:
        """Ask the selector for what is wanted now."""
        wanted: dict[int, int] = {}
        if self._input_fd is not None and self._conversation.waiting < MANY_LINES:
            wanted[self._input_fd] = selectors.EVENT_READ
        if self._view.unwritten_bytes:
            wanted[self._view.output_fd] = selectors.EVENT_WRITE
        if self._sock is not None:
            wanted[self._sock.fileno()] = selectors.EVENT_WRITE
        if self._pipe is not None:
            mask = selectors.EVENT_WRITE if self._pipe.unsent_bytes else 0
            if not self._inbox and self._view.unwritten_bytes < UNREAD_BYTES:
                mask |= selectors.EVENT_READ
            if mask:
                wanted[self._pipe.sock.fileno()] = mask
        for fd in [fd for fd in self._masks if fd not in wanted]:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(fd)
            del self._masks[fd]
        for fd, mask in wanted.items():
            if fd not in self._masks:
                try:
                    self._selector.register(fd, mask)
                except PermissionError:
                    continue  # a regular file as standard output: always writable
            elif self._masks[fd] != mask:
                self._selector.modify(fd, mask)
            self._masks[fd] = mask

    def _forget_fd(self, fd: int) -> None:
        if self._masks.pop(fd, None) is not None:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(fd)

    # --- The keyboard.

    def _open_input(self) -> None:
        """Find out how to wait for standard input: a thread reads what the selector cannot."""
        try:
            os.fstat(0)
        except OSError:
            self._on_input_end()
            return
        try:
            if os.name != "posix":
                raise PermissionError
            self._selector.register(0, selectors.EVENT_READ)
            self._selector.unregister(0)
            self._input_fd = 0
        except (PermissionError, ValueError, OSError):
            ours, theirs = socket.socketpair()
            self._input_fd = ours.detach()
            threading.Thread(target=_feed, args=(theirs,), name="input", daemon=True).start()

    def _read_input(self, now: float) -> None:
        if self._input_fd is None:
            return
        try:
            data = os.read(self._input_fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        for outcome in self._view.receive(data, now):
            self._on_outcome(outcome, now)
        if not data:
            self._on_input_end()

    def _on_input_end(self) -> None:
        """Nobody can type any more: what was typed still goes out, then we leave."""
        if self._input_fd is not None:
            self._forget_fd(self._input_fd)
            self._input_fd = None
        self._has_input = False
        if isinstance(self._view, Lines):
            self._leave_by_s = time.monotonic() + EOF_S
        else:
            self._quit("")

    def _on_outcome(self, outcome: Outcome, now: float) -> None:
        try:
            match outcome:
                case Submit():
                    self._enter(outcome)
                case Answer():
                    self._answered(outcome.text)
                case Reply.ESCAPED:
                    self._answered(None)
                case Reply.INTERRUPTED | Reply.ENDED:
                    self._answered(None)
                case Action():
                    self._act(outcome, now)
                case _:
                    assert_never(outcome)
        except (UsageError, FileError) as problem:
            self._notice(str(problem))

    def _act(self, action: Action, now: float) -> None:
        match action:
            case Action.QUIT:
                self._quit("")
            case Action.LEAVE_NOW:
                self.exit_code = 0
            case Action.ENTER if self._retry_at_s is not None:
                self._retry_at_s = now
            case Action.HELP:
                self._intend(commands.Help(""))
            case Action.SUSPEND:
                self._view.suspend()
                if self._pipe is not None:
                    # The connection may have gone meanwhile.
                    self._pipe.link.ping(time.monotonic())
            case _:
                pass

    def _enter(self, submitted: Submit) -> None:
        self._intend(commands.parse(submitted.text, is_literal=submitted.is_literal))

    def _intend(self, intent: commands.Intent) -> None:
        conversation = self._conversation
        match intent:
            case commands.Say():
                line = conversation.say(intent.text)
                self._view.typed(line, intent.text, "")
            case commands.Help():
                self._rows(sentences.help_rows(intent.topic, KEYS_HELP))
            case commands.Who():
                self._rows(sentences.who(conversation))
            case commands.Verify():
                self._verify(intent)
            case commands.Trust():
                self._trust(self._peer(intent.name))
            case commands.Leave(asks=True):
                self._ask("Enter goodbye text (optional): ", self._on_goodbye)
            case commands.Leave():
                self._quit(intent.text)
            case _:
                assert_never(intent)

    def _peer(self, name: str) -> Peer:
        peer = self._conversation.find(name)
        if peer is None:
            raise UsageError(f"Nobody here is called {name}. /who lists who is.")
        return peer

    def _verify(self, intent: commands.Verify) -> None:
        conversation = self._conversation
        if not intent.name:
            self._rows(sentences.own_fingerprint(conversation))
            return
        peer = self._peer(intent.name)
        number = safety_number(
            conversation.identity.public, conversation.username, peer.card.identity, peer.name
        )
        match intent.answer:
            case None:
                self._shown_numbers.add(number)
                self._rows(sentences.safety_number(conversation, peer, number))
            case False:
                self._notice(f"{peer.name} stays as it was. Do not tell {peer.name} any secret.")
            case True:
                if number not in self._shown_numbers:
                    raise UsageError(f"Compare the number first: /verify {peer.name}")
                conversation.verify(peer)
                self._notice(sentences.pinned(peer, Grade.VERIFIED))

    def _trust(self, peer: Peer) -> None:
        conversation = self._conversation
        if peer.standing is not Standing.CHANGED:
            raise UsageError(f"The key of {peer.name} has not changed. Nothing was done.")
        identity = peer.card.identity
        self._rows(sentences.changed_keys(conversation, peer))

        def confirmed(answer: str | None) -> None:
            # Whoever is here under that name by now must still be the one who was shown.
            now_here = conversation.find(peer.name)
            is_same = now_here is not None and now_here.card.identity == identity
            if now_here is None or not is_same or answer != peer.name:
                self._notice(f"Nothing was changed: {peer.name} is not trusted.")
                return
            conversation.trust(now_here)
            self._notice(sentences.pinned(now_here, Grade.TOFU))

        self._ask(f"Type {peer.name} again to trust the new key: ", confirmed)

    # --- Questions.

    def _ask(
        self, question: str, on_answer: Callable[[str | None], None], *, is_hidden: bool = False
    ) -> None:
        self._on_answer = on_answer
        shown = text.clean(question, multiline=False)
        self._view.ask(Prompt(shown, is_hidden=is_hidden))

    def _answered(self, answer: str | None) -> None:
        on_answer, self._on_answer = self._on_answer, None
        self._view.ask(None)
        if on_answer is not None:
            on_answer(answer)

    def _on_goodbye(self, answer: str | None) -> None:
        if answer is not None:
            self._quit(answer)

    # --- Dialling.

    def _dial(self) -> None:
        """Resolve and derive in a thread of its own: neither may hold up the keyboard."""
        self._retry_at_s = None
        self._attempt += 1
        password = config.DEFAULT_PASSWORD if self._password is None else self._password
        arguments = (self._attempt, self._uri.host, self._uri.port, password, self._psk)
        threading.Thread(target=self._prepare, args=arguments, name="dial", daemon=True).start()

    def _prepare(
        self, attempt: int, host: str, port: int, password: str, psk: bytes | None
    ) -> None:
        addresses: list[tuple[int, tuple[object, ...]]] = []
        problem = ""
        try:
            if psk is None:
                psk = ticket.derive_psk(password, self._ticket.key)
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [(family, address) for family, _, _, _, address in found]
        except (OSError, UnicodeError):
            problem = f"{host} is not known. Check the address, and your connection."
        self._prepared.put(_Prepared(attempt, psk or b"", addresses, problem))
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _on_prepared(self, prepared: _Prepared, now: float) -> None:
        if prepared.attempt != self._attempt or self._pipe is not None:
            return
        if prepared.psk:
            self._psk = prepared.psk
        if prepared.problem:
            self._failed(prepared.problem, now)
            return
        self._addresses = deque(prepared.addresses)
        self._unreachable = ""
        self._connect(now)

    def _connect(self, now: float) -> None:
        """Try the next address."""
        while self._addresses:
            family, address = self._addresses.popleft()
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as problem:
                self._unreachable = problem.strerror or str(problem)
                continue
            sock.setblocking(False)
            status = sock.connect_ex(address)
            if status in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
                self._sock, self._connect_by_s = sock, now + CONNECT_S
                return
            sock.close()
            self._unreachable = os.strerror(status)
        where = f"{self._uri.host}:{self._uri.port}"
        why = self._unreachable[:1].lower() + self._unreachable[1:]
        self._failed(f"Cannot reach {where}: {why}. Is the server running there?", now)

    def _on_connected(self, now: float) -> None:
        sock = self._sock
        if sock is None:
            return
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._forget_fd(sock.fileno())
        self._sock = None
        if status:
            sock.close()
            self._unreachable = os.strerror(status)
            self._connect(now)
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            link = ClientLink(
                self._url, self._ticket.key, self._psk or b"", self._conversation.hello(), now
            )
        except Unauthentic:
            sock.close()
            self._end("KEY is no key that a relay can have.", EXIT_USAGE)
            return
        self._pipe = Pipe(sock, link)

    # --- The relay.

    def _on_bytes(self, pipe: Pipe[ClientLink], data: bytes, now: float) -> None:
        for event in pipe.link.receive(data, now):
            match event:
                case Opened():
                    self._conversation.opened(event.handshake_hash, now)
                case Closed():
                    self._inbox_done(now)
                    self._on_closed(event, now)
                case Delivered():
                    self._inbox.append(event)
                case _:
                    assert_never(event)

    def _inbox_done(self, now: float) -> None:
        """Process what came before the end of a connection."""
        while self._inbox and self._pipe is not None:
            self._open_record(self._inbox.popleft(), now)

    def _open_records(self, now: float) -> None:
        """Open what was received, for a few milliseconds."""
        stop_s = now + OPENING_S
        while self._inbox:
            self._open_record(self._inbox.popleft(), now)
            if time.monotonic() > stop_s:
                return

    def _open_record(self, record: Delivered, now: float) -> None:
        try:
            events = self._conversation.receive(record, now)
        except RemoteProtocolError as problem:
            self._inbox.clear()
            if self._pipe is not None:
                self._on_closed(self._pipe.link.blame(str(problem), now, authentic=True), now)
            return
        except FileError as problem:
            # A pin that cannot be kept is no pin: better no conversation than one with anybody.
            self._end(str(problem), EXIT_FAILED)
            return
        for event in events:
            self._show(event)

    def _send(self, now: float) -> None:
        pipe = self._pipe
        if pipe is None:
            return
        if pipe.link.state is State.OPEN and not pipe.unsent_bytes:
            for record in self._conversation.outgoing(now):
                pipe.link.send(record)
        if not pipe.flush():
            self._on_closed(Closed(None, "connection lost"), now)
        elif pipe.is_closed:
            self._close_pipe()

    def _on_closed(self, closed: Closed, now: float) -> None:
        """Decide what the end of a connection means (PROTOCOL.md 3.3)."""
        log.info("closed: %s", closed.why)
        conversation = self._conversation
        if self.exit_code is not None or self._ended:
            return
        if conversation.phase is Phase.ENDED:
            self.exit_code = 0
            return
        refused = closed.refused
        asks = (
            refused is not None
            and refused.status == 401
            and not refused.authentic
            and self._can_ask()
        )
        if refused is not None and asks:
            self._ask_password()
        elif refused is not None and not self._may_retry(refused):
            self._refused(refused)
        elif not self._was_welcomed:
            self._end(self._no_welcome(refused), EXIT_REFUSED if refused else EXIT_UNREACHABLE)
        else:
            self._lost(refused, now)

    def _no_welcome(self, refused: Refused | None) -> str:
        if refused is not None:
            return sentences.refused(refused, self._conversation.username)
        where = f"{self._uri.host}:{self._uri.port}"
        return f"The connection to {where} was lost before it was a termchat server's."

    def _may_retry(self, refused: Refused) -> bool:
        """Tell whether a client that was welcomed goes on after this."""
        if refused.status == 410:
            return True
        return self._was_welcomed and (refused.status in TRANSIENT or not refused.authentic)

    def _refused(self, refused: Refused) -> None:
        sentence = sentences.refused(refused, self._conversation.username)
        self._end(sentence, EXIT_REFUSED)

    def _lost(self, refused: Refused | None, now: float) -> None:
        self._close_pipe()
        if refused is not None and refused.status == 410:
            for event in self._conversation.rejoin():
                self._show(event)
            self._dial()
            return
        self._conversation.lost()
        self._failed("", now, at_least_s=refused.retry_after_s if refused else 0)

    def _failed(self, problem: str, now: float, *, at_least_s: float = 0.0) -> None:
        """Note that there is no connection: the end for a stranger, a pause for a member."""
        if not self._was_welcomed:
            self._end(problem, EXIT_UNREACHABLE)
            return
        self._retry_at_s = self._retry.failed(now, at_least_s=at_least_s)
        if self._lost_at_s is None:
            self._lost_at_s = now
            wait = sentences.duration(self._retry_at_s - now + 0.5)
            self._notice(f"Connection lost. Retrying in {wait}.")

    def _can_ask(self) -> bool:
        return self._has_input and self._settings.password is None and _is_terminal(0)

    def _ask_password(self) -> None:
        self._close_pipe()
        self._conversation.lost()
        if self._password is not None:
            self._notice("Wrong KEY or password.")

        def answered(answer: str | None) -> None:
            if answer is None:
                self._end("No password was given.", EXIT_REFUSED)
                return
            self._password, self._psk = answer, None
            self._dial()

        self._ask("Password: ", answered, is_hidden=True)

    def _close_pipe(self) -> None:
        """Let go of the socket; what the link still has to say is tried once."""
        self._inbox.clear()
        for sock in (self._pipe.sock if self._pipe else None, self._sock):
            if sock is not None:
                self._forget_fd(sock.fileno())
        if self._pipe is not None:
            self._pipe.flush()
            self._pipe.sock.close()
            self._pipe = None
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    # --- Time.

    def _tick(self, now: float) -> None:
        for outcome in self._view.tick(now):
            self._on_outcome(outcome, now)
        if self._pipe is not None:
            for closed in self._pipe.link.tick(now):
                self._on_closed(closed, now)
        if self._sock is not None and now >= self._connect_by_s:
            self._forget_fd(self._sock.fileno())
            self._sock.close()
            self._sock = None
            self._unreachable = "no answer"
            self._connect(now)
        if self._retry_at_s is not None and now >= self._retry_at_s:
            self._dial()
        self._leave_when_done(now)

    def _leave_when_done(self, now: float) -> None:
        """Say LEAVE once everything before it is in the log, or time is up."""
        if self._leave_by_s is None:
            return
        conversation = self._conversation
        if conversation.phase is Phase.LIVE and not conversation.waiting:
            conversation.leave()
            self._leave_by_s = now + LEAVE_S
        elif now >= self._leave_by_s:
            undelivered = conversation.waiting
            if undelivered and conversation.phase is not Phase.ENDED:
                self._end(f"{undelivered} lines were not delivered.", EXIT_FAILED)
            elif self.exit_code is None:
                self.exit_code = 0

    # --- Leaving.

    def _quit(self, goodbye: str) -> None:
        """Leave: the goodbye first if it can be said, then LEAVE, two seconds at most."""
        conversation = self._conversation
        if self._leave_by_s is not None or conversation.phase in (Phase.OFFLINE, Phase.JOINING):
            self.exit_code = 0
        elif conversation.phase is Phase.ENDED:
            self.exit_code = EXIT_REFUSED if self._ended else 0
        else:
            if goodbye.strip():
                conversation.say(goodbye)
            self._leave_by_s = time.monotonic() + LEAVE_S

    def _end(self, sentence: str, exit_code: int) -> None:
        """Stop for good. Who was welcomed on a screen may go on reading; everybody else is done."""
        self._conversation.end()
        self._close_pipe()
        self._ended = sentence
        if self._was_welcomed and self._has_input and not isinstance(self._view, Lines):
            self._notice(f"{sentence} /quit leaves.")
            return
        self.last_words = sentence
        self.exit_code = exit_code

    def _on_signal(self, signum: int) -> None:
        match signum:
            case signal.SIGINT if isinstance(self._view, Lines):
                self._say_disconnected()
                self.exit_code = EXIT_INTERRUPTED
            case signal.SIGINT | signal.SIGTERM:
                self._quit("")
            case signal.SIGHUP:
                # The terminal is gone: what can be said without waiting is said.
                if self._conversation.phase is Phase.LIVE and self._pipe is not None:
                    self._conversation.leave()
                    self._send(time.monotonic())
                self.exit_code = 0
            case _:
                self._view.resized()

    def _say_disconnected(self) -> None:
        self._view.plain(f"Disconnected to the `{self._url}` server.")
        if self._conversation.phase is Phase.LIVE and self._pipe is not None:
            self._conversation.leave()
            self._send(time.monotonic())

    # --- Showing.

    def _show(self, event: Event) -> None:
        view, conversation = self._view, self._conversation
        match event:
            case Joined():
                self._was_welcomed = True
                self._retry.succeeded()
                self._greet(event)
            case Back():
                self._retry.succeeded()
                away_s = time.monotonic() - (self._lost_at_s or time.monotonic())
                self._lost_at_s = None
                self._notice(sentences.back(event, away_s))
            case Came():
                self._moved(event.peer, sentences.came(event, conversation.members), event.at_ms)
            case Left():
                sentence = sentences.left(event, conversation.members)
                self._moved(event.peer, sentence, event.at_ms, is_coming=False)
            case Said():
                self._said(event)
            case Warned() if event.trouble in sentences.LOUD:
                view.warn(sentences.warned(event), event.at_ms)
            case Warned():
                view.notice(sentences.warned(event), event.at_ms)
            case Noticed():
                self._notice(f"The relay says: {event.text}")
            case Undelivered():
                self._rows(sentences.undelivered(event))
            case Gone():
                self._on_gone()
            case _:
                assert_never(event)

    def _moved(self, peer: Peer, sentence: str, at_ms: int, *, is_coming: bool = True) -> None:
        here = self._conversation.members
        identity = peer.card.identity
        self._view.moved(Presence(peer.name, identity, sentence, at_ms, is_coming, here))

    def _greet(self, joined: Joined) -> None:
        conversation = self._conversation
        self._lost_at_s = None
        rows = sentences.first_rows(joined, conversation)
        if isinstance(self._view, Lines):
            self._view.plain(f"Connected to `{self._url}` server.")
            self._view.plain(f"You are connected as `{conversation.username}`.")
            self._view.plain(f"Users Connected: {conversation.members}")
            rows = rows[1:-1]
        self._rows(rows)

    def _on_gone(self) -> None:
        if isinstance(self._view, Lines):
            self._view.plain(f"Disconnected to the `{self._url}` server.")
        if self._pipe is not None:
            self._pipe.link.close(time.monotonic())
        self.exit_code = 0

    def _said(self, said: Said) -> None:
        peer = said.peer
        if self._leave_by_s is not None and not self._has_input:
            self._leave_by_s = time.monotonic() + EOF_S  # an echo came: there is progress
        if peer is None:
            own = self._conversation.username
            message = Message(
                own,
                b"",
                said.text,
                said.at_ms,
                is_own=True,
                is_direct=said.is_direct,
                line=said.line,
                to=said.to,
            )
        else:
            self._speakers = [peer.name, *(n for n in self._speakers if n != peer.name)][:256]
            message = Message(
                peer.name,
                peer.card.identity,
                said.text,
                said.at_ms,
                is_direct=said.is_direct,
                is_verified=peer.standing is Standing.VERIFIED,
            )
        self._view.said(message)

    def _notice(self, sentence: str) -> None:
        self._view.notice(sentence, time.time_ns() // 1_000_000)

    def _rows(self, rows: list[str]) -> None:
        for row in rows:
            self._notice(row)

    def _show_status(self, now: float) -> None:
        conversation = self._conversation
        changed = tuple(
            peer.name for peer in conversation.peers.values() if peer.standing is Standing.CHANGED
        )
        status = Status(
            names.room_for_user(conversation.room),
            conversation.username,
            conversation.members,
            self._state(now),
            conversation.waiting if conversation.phase is not Phase.LIVE else 0,
            changed,
        )
        if status != self._last_status:
            self._last_status = status
            self._view.status(status)

    def _state(self, now: float) -> str:
        if self._ended:
            return f"ended: {self._ended}"
        match self._conversation.phase:
            case Phase.LIVE | Phase.ENDED:
                return ""
            case Phase.JOINING:
                return "joining"
            case Phase.CATCHING_UP:
                return "catching up"
            case Phase.OFFLINE if self._retry_at_s is not None:
                return f"offline, retry in {max(0, round(self._retry_at_s - now))} s"
            case Phase.OFFLINE:
                return "connecting"
            case _:
                assert_never(self._conversation.phase)

    def sources(self) -> Sources:
        """Return what Tab completes with."""
        here = sorted(peer.name for peer in self._conversation.peers.values())
        spoke = [name for name in self._speakers if name in here]
        return Sources(
            [*spoke, *(name for name in here if name not in spoke)],
            {
                "/help": (("keys", *(c.name for c in commands.COMMANDS)),),
                "/who": (),
                "/me": (Argument.TEXT,),
                "/verify": (Argument.NAME, ("yes", "no")),
                "/trust": (Argument.NAME,),
                "/quit": (Argument.TEXT,),
            },
            _paths,
        )


def _paths(prefix: str) -> list[str]:
    """Return the paths that begin so, directories with a slash."""
    directory, _, start = prefix.rpartition("/")
    shown = f"{directory}/" if "/" in prefix else ""
    try:
        entries = sorted(os.scandir(Path(shown or ".").expanduser()), key=lambda e: e.name)
    except OSError:
        return []
    return [
        f"{shown}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries[:10_000]
        if entry.name.startswith(start)
    ]


def _feed(sock: socket.socket) -> None:
    """Copy standard input into a socket, for a loop whose selector cannot wait for it."""
    with contextlib.suppress(OSError), sock:
        while data := os.read(0, READ_BYTES):
            sock.sendall(data)


@contextlib.contextmanager
def _handled_signals(caught: deque[int], wake: socket.socket) -> Iterator[None]:
    """Put signals into a queue that the loop empties, and wake it."""

    def handle(signum: int, _frame: FrameType | None) -> None:
        caught.append(signum)

    wanted = ["SIGINT", "SIGTERM", "SIGHUP", "SIGCONT", "SIGWINCH"]
    numbers = [getattr(signal, name) for name in wanted if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    if hasattr(signal, "SIGPIPE"):
        before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    fd = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)


# --------------------------------------------------------------------------------------------- main


def main(argv: list[str]) -> int:
    """Join a room; return the exit code (UX.md 8)."""
    try:
        settings = config.load_client(argv, os.environ)
        if not settings.ticket:
            raise UsageError("There is no KEY. Paste what the server printed: client.py KEY")
        invitation = ticket.parse(settings.ticket)
        url = settings.url or _url(invitation)
        if parse_url(url).secure:
            raise UsageError("wss:// addresses are not supported yet. Use ws://.")
        identity, pins = _home(settings)
    except TermchatError as problem:
        _say(str(problem))
        return EXIT_USAGE if isinstance(problem, UsageError) else EXIT_FAILED
    conversation = Conversation(
        key=invitation.key,
        room=settings.room,
        username=settings.username,
        identity=identity,
        secret=invitation.secret,
        pins=pins,
        today=datetime.datetime.now().astimezone().date().isoformat(),
    )
    view = _view(settings)
    client = Client(settings, invitation, url, conversation, view)
    view.sources = client.sources
    code = client.run()
    if client.last_words:
        _say(client.last_words)
    return code


def _url(invitation: ticket.Ticket) -> str:
    host = invitation.host or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return f"ws://{shown}:{invitation.port or config.DEFAULT_PORT}/"


def _home(settings: config.ClientConfig) -> tuple[Identity, Pins]:
    """Load who we are and whom we know.

    Raises:
        FileError: if a file cannot be used.
    """
    if settings.ephemeral:
        return Identity.generate(), Pins(None)
    home = settings.home or config.default_home(os.environ)
    files.make_private_dir(home)
    return load_identity(home / "identity"), Pins(home / "known_peers")


def _say(sentence: str) -> None:
    """Write a sentence on standard error, if there is one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text.clean(sentence) + "\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
