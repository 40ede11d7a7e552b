"""The curses view: history, one status row, the input (UX.md 1, 12)."""

from __future__ import annotations

import contextlib
import curses
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from common.errors import FileError
from common.term.complete import Sources
from common.term.editor import Action, Editor, Scroll, Submit
from common.term.keys import Focus, KeyEvent, Keys
from common.term.prompt import Prompt
from common.term.rows import LEAST_COLUMNS, Kind, Mark, Row, Span, Style
from common.term.scrollback import Line, Scrollback
from common.term.status import Status as StatusRow
from common.term.status import status_row
from common.view.output import Output
from common.view.view import Message, Outcome, Presence, Status, no_sources

READ_BYTES: Final = 64 * 1024

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

    def __init__(self, *, has_colour: bool) -> None:
        """Look at the terminal, without taking it.

        Raises:
            FileError: if it is of a type that curses does not know, or cannot be opened.
        """
        try:
            curses.setupterm()
            self.output_fd = os.open(os.ttyname(1), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except curses.error:
            raise FileError("The terminal type is not known here.") from None
        except OSError:
            raise FileError("The terminal cannot be opened.") from None
        self._wants_colour = has_colour
        self._output = Output(self.output_fd, is_shared=False)
        self._pipe_out = -1
        self._saved_fd = -1
        self._window: curses.window | None = None
        self._keys = Keys()
        self.sources: Callable[[], Sources] = no_sources
        self._editor = Editor(lambda: self.sources())
        self._question: Prompt | None = None
        self._history = Scrollback(time.localtime, 0)
        self._status = Status("", "", 0, "connecting", 0, ())
        self._colours = 0
        self._attributes: dict[Style, int] = {}
        self._pairs: dict[int, int] = {}
        self._is_input_dirty = self._is_history_dirty = True
        self._history_at_s = 0.0
        self._history_rows = -1
        self._minute_at_s: float | None = None
        self._now = 0.0
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
        self._history = Scrollback(time.localtime, self._colours)
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
        self._output.drain()
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
        self._output.drain()
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
        self._now = now
        return self._apply(self._keys.receive(data, now), now)

    def tick(self, now: float) -> list[Outcome]:
        """Let a lone ESC become a key, and tell of lines that wait long."""
        self._now = now
        if self._minute_at_s is not None and self._minute_at_s <= now:
            self._minute_at_s = None
            self._is_input_dirty = True
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
        if message.line:
            self._history.echo(message.line, line, self._now)
        else:
            self._history.push(line, self._now)
        self._is_history_dirty = True

    def typed(self, line: int, content: str, to: str, at_ms: int) -> None:
        """Show our own text, dim until its echo."""
        is_action = content.startswith("/me ")
        own = Line(
            at_ms,
            content[4:] if is_action else (f"to {to}: " if to else "") + content,
            Kind.ACTION if is_action else Kind.SAY,
            self._status.name,
            is_own=True,
        )
        self._history.pend(line, own, self._now)
        self._is_history_dirty = True

    def notice(self, content: str, at_ms: int) -> None:
        """Show a notice."""
        self._push(Line(at_ms, content, Kind.NOTICE))

    def warn(self, content: str, at_ms: int) -> None:
        """Show a warning."""
        self._push(Line(at_ms, content, Kind.WARNING))

    def _push(self, line: Line) -> None:
        self._history.push(line, self._now)
        self._is_history_dirty = True

    def moved(self, change: Presence) -> None:
        """Show that somebody came or left, folded with what they did a moment ago."""
        line = Line(change.at_ms, change.text, Kind.NOTICE, change.name, change.identity)
        self._history.presence(change.is_coming, line, self._now)
        self._is_history_dirty = True

    def plain(self, content: str, at_ms: int) -> None:
        """Show a row of nothing but text, to be copied."""
        self._push(Line(at_ms, content, Kind.BARE))

    def status(self, told: Status) -> None:
        """Show where we stand."""
        self._status = told
        self._is_input_dirty = True

    # --- Drawing.

    def deadline(self) -> float | None:
        """Return when the next frame is due, or a key."""
        times = [self._keys.deadline(), self._history.deadline(), self._minute_at_s]
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
        is_small = columns < LEAST_COLUMNS or rows < LEAST_ROWS
        source = self._question or self._editor
        layout = source.layout(columns, 1 if is_small else max(1, min(6, rows // 3)))
        history_rows = rows - len(layout.rows) - 1
        if is_history_due or history_rows != self._history_rows:
            self._draw_history(window, history_rows, columns, is_small=is_small)
            self._history_at_s = now + FRAME_S
            self._history_rows = history_rows
            self._is_history_dirty = False
        if history_rows >= 0:
            self._draw_row(window, history_rows, status_row(self._telling(now), columns))
        for y, content in enumerate(layout.rows, history_rows + 1):
            self._draw_row(window, y, (Span(content),))
        self._is_input_dirty = False
        with contextlib.suppress(curses.error):
            window.move(history_rows + 1 + layout.row, min(layout.cell, columns - 1))
        window.noutrefresh()
        curses.doupdate()
        self._pump()

    def _draw_history(
        self, window: curses.window, rows: int, columns: int, *, is_small: bool
    ) -> None:
        blank: list[Row] = [()] * max(0, rows)
        shown = blank if is_small or rows < 1 else self._history.view(columns, rows)
        for y, row in enumerate(shown):
            self._draw_row(window, y, row)

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

    def _telling(self, now: float) -> StatusRow:
        """Return what the status row tells now."""
        told, history = self._status, self._history
        local = time.localtime()
        self._minute_at_s = now + 60 - local.tm_sec
        waiting = f", {told.waiting} waiting" if told.waiting and told.state else ""
        return StatusRow(
            room=told.room,
            name=told.name,
            state=told.state + waiting,
            new_below=history.new_below,
            mentions=history.mentions,
            changed=told.changed,
            here=told.here,
            clock=time.strftime("%H:%M", local),
            notice=self._editor.notice or "",
        )

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
