"""The curses view: history, one status row, the input (UX.md 1, 12).

Nothing else knows curses. Keys are read as bytes by our own parser, and curses writes into a pipe
that we carry to a non-blocking terminal: a terminal that does not read never holds us up, and while
it has not taken the last frame, no other is drawn.
"""

from __future__ import annotations

import contextlib
import curses
import fcntl
import locale
import os
import signal
import sys
import termios
import time
from typing import Final

from common.errors import FileError
from common.term import attention, text
from common.term.editor import Action, Editor, Scroll, Submit
from common.term.keys import Focus, Key, KeyEvent, Keys, Typed, Wheel
from common.term.prompt import Prompt
from common.term.rows import LEAST_COLUMNS, PLAIN, EntryKind, Mark, Row, Span, Style, private
from common.term.scrollback import Scrollback, Shown
from common.term.status import StatusRow, status_row
from common.view.output import Output, kin, own_terminal, stop_process
from common.view.view import Message, Outcome, Presence, Summary, View

READ_BYTES: Final = 64 * 1024
FRAME_S: Final = 1 / 30
LEAST_ROWS: Final = 4
STATUS_COLUMNS: Final = 4
"""Below this only the tail of the input is drawn."""
_BRACKETS_ON: Final = b"\x1b[?2004h"
_MODES_ON: Final = b"\x1b[22;2t" + _BRACKETS_ON + b"\x1b[?1004h"
"""Title pushed, bracketed paste, focus reports; undone in reverse."""
_MODES_OFF: Final = b"\x1b[?1004l\x1b[?2004l\x1b[23;2t"
_WHEEL_SAVED: Final = b"\x1b[?1007s"
_WHEEL_ON: Final = b"\x1b[?1007h"
"""The wheel sends arrows, and selecting stays the terminal's; many do so unasked, thus restored."""
_WHEEL_OFF: Final = b"\x1b[?1007l\x1b[?1007r"
_MOUSE_ON: Final = b"\x1b[?1000h\x1b[?1006h"
_MOUSE_OFF: Final = b"\x1b[?1006l\x1b[?1000l"
_FRAME_BEGINS: Final = b"\x1b[?2026h"
_FRAME_ENDS: Final = b"\x1b[?2026l"
_PIPE_BYTES: Final = 1024 * 1024
_SET_PIPE_SIZE: Final = 1031  # Linux F_SETPIPE_SZ
_URLS: Final = 20
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


class Screen(View):
    """A whole terminal; owned by the client's loop."""

    is_screen = stays_open = has_history = True
    keys_help = (
        "Enter sends. Alt-Enter: a new row. Up Down: what you sent.",
        "Ctrl-R searches what you sent. Tab completes names and commands.",
        "PgUp PgDn End: the history. Alt-M: unread. Alt-@: mention.",
        "Ctrl-W Ctrl-U Ctrl-K cut, Ctrl-Y pastes, Ctrl-_ undoes.",
        "Ctrl-L repaints. Ctrl-Z suspends. Ctrl-X Ctrl-E: your editor.",
        "Ctrl-C clears the input; on an empty input, it leaves.",
    )

    def __init__(self, *, has_colour: bool) -> None:
        """Look at the terminal, without taking it.

        Raises:
            FileError: if it is of a type of which curses knows no kin.
        """
        super().__init__()
        self._type = _known_type(os.environ.get("TERM", ""))
        self.output_fd = own_terminal()
        self._wants_colour = has_colour
        self._output = Output(self.output_fd, is_shared=os.get_blocking(self.output_fd))
        self._pipe_out = -1
        self._saved_fd = -1
        self._stderr = sys.stderr
        self._window: curses.window | None = None
        self._is_utf8 = True
        self._keys = Keys()
        self._editor = Editor(lambda: self.sources())
        self._question: Prompt | None = None
        self._history = Scrollback(time.localtime, 0)
        self._status = Summary("", "", 0, "connecting", 0, ())
        self._bell, self._call = attention.Alarm(), attention.Alarm()
        self._is_focused: bool | None = None
        self._told = -1, ""
        self._title = ""
        self._has_mouse = False
        self._colours = self._all_colours = 0
        self._attributes: dict[Style, int] = {}
        self._pairs: dict[int, int] = {}
        self._is_input_dirty = self._is_history_dirty = True
        self._history_at_s = 0.0
        self._history_rows = -1
        self._minute_at_s: float | None = None
        self._now = 0.0
        # While the terminal shows something else than our screen.
        self._is_away = False
        self._child: int | None = None
        self._edited: str | None = None

    # --- The terminal.

    def start(self) -> None:
        """Enter curses with its output in a pipe."""
        self._is_utf8 = _set_locale()
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
        # What Python writes to standard error now would be typed over the screen.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - closed in stop()
        # Before curses writes: what it has not flushed may end within a sequence.
        self._output.put(_WHEEL_SAVED)
        self._enter_modes()
        # What we start, and what tells terminals apart, reads the type that the user has.
        theirs, os.environ["TERM"] = os.environ["TERM"], self._type
        self._window = curses.initscr()
        os.environ["TERM"] = theirs
        curses.raw()
        curses.noecho()
        self._set_colours()
        strings = {curses.tigetstr(name): key for name, key in _TERMINFO_KEYS.items()}
        self._keys = Keys({string: key for string, key in strings.items() if string})
        self._history = Scrollback(time.localtime, self._colours)
        self.resized()
        # A frame waits until nothing is unsent: the first one should not.
        self.flush()

    def _set_colours(self) -> None:
        if not (self._wants_colour and curses.has_colors()):
            return
        try:
            curses.start_color()
            curses.use_default_colors()
        except curses.error:
            return
        self._all_colours = self._colours = (
            256 if curses.COLORS >= 256 else 8 if curses.COLORS >= 8 else 0
        )

    def _enter_modes(self) -> None:
        self._output.put(_WHEEL_ON + _MODES_ON + (_MOUSE_ON if self._has_mouse else b""))
        self._title = ""

    def _leave_modes(self, *, is_alone: bool = False) -> None:
        """Undo what we did to the terminal, and wait a little until it has taken that.

        is_alone: nobody else has it meanwhile.
        """
        if not is_alone:
            self._output.put(_WHEEL_OFF)
            self.flush()
        with contextlib.suppress(curses.error):  # the terminal is gone
            curses.def_prog_mode()
        with contextlib.suppress(curses.error):
            curses.endwin()
        self._pump()
        self._output.put((_MOUSE_OFF if self._has_mouse else b"") + _MODES_OFF)
        self._output.drain()

    def stop(self) -> None:
        """Leave the terminal as it was found."""
        if self._window is None:
            return
        if self._child is not None:
            os.kill(self._child, signal.SIGTERM)
            os.waitpid(self._child, 0)
            self._forget_child()
        if self._is_away:
            self._come_back()
        self._leave_modes()
        self._window = None
        os.dup2(self._saved_fd, 1)
        for fd in (self._saved_fd, self._pipe_out, self.output_fd):
            os.close(fd)
        sys.stderr.close()
        sys.stderr = self._stderr

    def suspend(self) -> None:
        """Give the terminal back, stop until SIGCONT, and take it again."""
        if self._is_away:
            return
        self._leave_modes()
        stop_process()
        self._come_back()

    def resized(self) -> None:
        """Lay everything out anew."""
        if self._window is None or self._is_away:
            return
        with contextlib.suppress(curses.error, OSError):
            size = os.get_terminal_size(self.output_fd)
            curses.resizeterm(max(1, size.lines), max(1, size.columns))
        self._window.clearok(True)
        self._touch()

    def _touch(self) -> None:
        """Draw everything in the next frame, at once."""
        self._is_input_dirty = self._is_history_dirty = True
        self._history_at_s = 0.0

    # --- Away from the screen.

    def copy(self, count: int, *, with_names: bool) -> None:
        """Print the last messages where the terminal can select them, until Enter.

        They are put into its clipboard too.
        """
        rows = self._history.copy(count, with_names=with_names)
        self._print(rows)
        if self.options.clipboard == "on":
            self._output.put(attention.clipboard("\n".join(rows), os.environ))

    def copy_urls(self) -> None:
        """Print the last URLs where the terminal can select them, until Enter."""
        self._print(self._history.urls(_URLS))

    def _print(self, rows: list[str]) -> None:
        self._leave_modes(is_alone=True)
        self._is_away = True
        # Raw still, so that no key is a signal or shows between the rows; but newlines work.
        modes = termios.tcgetattr(0)
        modes[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
        rows = [*(rows or ["There is nothing to copy."]), "-- Enter returns."]
        # What is pasted here returns nowhere, or the rest of it would be keys there.
        self._output.put(_BRACKETS_ON + ("\n".join(rows) + "\n").encode("utf-8", "replace"))

    def edit(self) -> None:
        """Edit the draft in an editor of the user's.

        Raises:
            FileError: if there is no place in memory for the file, or no editor that starts.
        """
        command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
        if not command.strip():
            raise FileError("Neither VISUAL nor EDITOR names an editor. What you typed is kept.")
        # Here, since no first frame waits for an editor; nor for subprocess, which is 3 ms.
        import shlex

        self._edited = _draft_file(self._editor.text)
        self._leave_modes()
        self._is_away = True
        try:
            arguments = [*shlex.split(command), self._edited]
            self._child = os.posix_spawnp(
                arguments[0],
                arguments,
                os.environ,
                # Not our descriptor 1: that is the pipe of curses.
                file_actions=[(os.POSIX_SPAWN_DUP2, self._saved_fd, 1)],
                setsigdef=[signal.SIGPIPE],
            )
        except (OSError, ValueError):
            self._forget_child()
            self._come_back()
            raise FileError(f"The editor {command} cannot be started.") from None

    def _poll_child(self) -> None:
        """Take the draft back once its editor has ended."""
        if self._child is None or self._edited is None:
            return
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if not pid:
            return
        edited = None
        if status == 0:
            with contextlib.suppress(OSError), open(self._edited, "rb") as file:
                edited = file.read()
        self._forget_child()
        self._come_back()
        if edited is None:
            self.notice("The editor failed. What you typed is kept.", int(time.time() * 1000))
        else:
            self._editor.fill(edited.decode("utf-8", "replace").rstrip("\n"))

    def _forget_child(self) -> None:
        self._child = None
        if self._edited is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._edited)
        self._edited = None

    def _come_back(self) -> None:
        self._is_away = False
        with contextlib.suppress(curses.error):  # the terminal is gone
            curses.reset_prog_mode()
        self._enter_modes()
        self.resized()

    @property
    def has_keyboard(self) -> bool:
        """Whether what is typed is for us, and not for an editor."""
        return self._child is None

    # --- Input.

    def receive(self, data: bytes, now: float) -> list[Outcome]:
        """Take keys; what only moves the view is done here."""
        self._now = now
        return self._apply(self._keys.receive(data, now), now)

    def tick(self, now: float) -> list[Outcome]:
        """Let a lone ESC become a key, and tell of lines that wait long."""
        self._now = now
        self._poll_child()
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
            if self._is_away:
                self._return(event)
                continue
            if isinstance(event, Focus):
                self._is_focused = event.is_gained
                self._history.focus(event.is_gained)
            else:
                self._history.key(now)
            self._is_input_dirty = True
            if self._question is not None and not isinstance(event, Wheel):
                reply = self._question.apply(event)
                if reply is not None:
                    outcomes.append(reply)
                continue
            outcome = self._editor.apply(event)
            if outcome is not None:
                outcomes += self._moved(outcome)
        return outcomes

    def _return(self, event: KeyEvent) -> None:
        """Come back from the view to be copied from, at a key that says so."""
        match event:
            case Key("enter" | "ctrl-j" | "ctrl-c" | "esc") | Typed("q") if self._child is None:
                self._come_back()
            case _:
                pass

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
            case Action.NEWEST | Action.ESCAPE if history.is_following:
                return []
            case Action.NEWEST | Action.ESCAPE:
                history.newest()
            case Action.UNREAD:
                history.to_unread()
            case Action.MENTION:
                history.to_mention()
            case Action.FIND_OLDER:
                history.find_next(1)
            case Action.FIND_NEWER:
                history.find_next(-1)
            case Action.REPAINT:
                self.resized()
            case Action.ENTER:
                # It may ask the relay for something too.
                if history.unfold():
                    self._touch()
                return [outcome]
            case _:
                return [outcome]
        self._touch()
        return []

    def find(self, content: str) -> bool:
        """Mark a text and go to it, or repeat that for ""; False if it is not there."""
        self._touch()
        return self._history.find(content)

    def to_unread(self) -> bool:
        """Go to the unread line; False if there is none."""
        self._touch()
        return self._history.to_unread()

    def more(self) -> bool:
        """Show a long message whole, where it is; False if none is cut."""
        self._touch()
        return self._history.unfold()

    def clear(self) -> None:
        """Forget the history."""
        self._history.clear()
        self._touch()

    def ask(self, prompt: Prompt | None) -> None:
        """Put a question in the place of the input, or take it away."""
        self._question = prompt
        self._is_input_dirty = True

    def apply_options(self) -> None:
        """Turn the mouse, and colours, on or off."""
        colours = 0 if self.options.theme == "plain" else self._all_colours
        if colours != self._colours:
            self._colours = colours
            self._attributes.clear()
            self._touch()
        if self._has_mouse is not (self.options.mouse == "on"):
            self._has_mouse = not self._has_mouse
            self._output.put(_MOUSE_ON if self._has_mouse else _MOUSE_OFF)

    # --- History.

    def said(self, message: Message) -> None:
        """Show a message; our own moves to its place in the log."""
        line = _line(message, self._mark(message))
        if message.line:
            self._history.echo(message.line, line, self._now)
        else:
            self._history.push(line, self._now)
        self._is_history_dirty = True
        if not message.is_own:
            self._alert(message, line.mark)

    def _mark(self, message: Message) -> Mark:
        """Choose the one mark of a message: what must not be missed comes first."""
        name, words = self._status.name, self.options.notify_words
        if message.is_look_alike:
            return Mark.LOOK_ALIKE_DIRECT if message.is_direct else Mark.LOOK_ALIKE
        if message.is_direct:
            return Mark.DIRECT
        if not message.is_own and attention.mentions(message.text, name, words):
            return Mark.MENTION
        return Mark.VERIFIED if message.is_verified else Mark.NONE

    def _alert(self, message: Message, mark: Mark) -> None:
        """Call a person who looks elsewhere: never with the text (UX.md 6)."""
        if self._is_focused:
            return
        is_for_us = mark is Mark.MENTION or mark.is_private
        options = self.options
        if is_for_us:
            self.on_call(message.name, self._now)
        if (options.bell == "all" or (options.bell == "on" and is_for_us)) and self._bell.may_ring(
            self._now
        ):
            self._output.put(b"\a")
        if options.notify == "all" or (options.notify == "on" and is_for_us):
            what = "mentioned you" if mark is Mark.MENTION else "wrote"
            what = "wrote to you" if mark.is_private else what
            if self._call.may_ring(self._now):
                call = f"{self._status.room}: {message.name} {what}"
                self._output.put(attention.notice(self._drawable(call), os.environ))

    def typed(self, line: int, content: str, to: str, at_ms: int) -> None:
        """Show our own text, dim until its echo."""
        own = Message(self._status.name, b"", content, at_ms, is_own=True, to=to)
        self._history.pend(line, _line(own, Mark.DIRECT if to else Mark.NONE), self._now)
        self._is_history_dirty = True

    def untyped(self, line: int) -> None:
        """Take away our own text that is not in the log and is not on its way there."""
        self._history.unpend(line)
        self._is_history_dirty = True

    def forget_typed(self) -> None:
        """Keep what was entered last out of the input history."""
        self._editor.forget()

    def notice(self, content: str, at_ms: int) -> int:
        """Show a notice."""
        return self._push(Shown(at_ms, content, EntryKind.NOTICE))

    def tell(self, content: str, at_ms: int) -> None:
        """Show what a command came to nothing for: in the status row too, the view may be away.

        Said again at once, it stays one row.
        """
        row, last = self._told
        if content != last or not self._history.is_newest(row):
            self._told = self._push(Shown(at_ms, content, EntryKind.ANSWER)), content
        self._editor.notice = content

    def answer(self, rows: list[str], at_ms: int) -> None:
        """Show what a command yielded, and go there."""
        for row in rows:
            self._push(Shown(at_ms, row, EntryKind.ANSWER))
        self._history.newest()
        self._touch()

    def warn(self, content: str, at_ms: int) -> int:
        """Show a warning."""
        return self._push(Shown(at_ms, content, EntryKind.WARNING))

    def amend(self, row: int, content: str) -> bool:
        """Give a row another text; False if it is not there any more."""
        self._is_history_dirty = True
        return self._history.amend(row, content)

    def plain(self, content: str, at_ms: int) -> None:
        """Show a row of nothing but text, to be copied."""
        self._push(Shown(at_ms, content, EntryKind.BARE))

    def _push(self, line: Shown) -> int:
        self._is_history_dirty = True
        return self._history.push(line, self._now)

    def moved(self, change: Presence) -> None:
        """Show that somebody came or left, folded with what they did a moment ago."""
        if not change.is_coming:
            self._history.gone(change.name, change.identity)
        if self.options.joins == "on":
            kind = EntryKind.PRESENCE
            line = Shown(change.at_ms, change.text, kind, change.name, change.identity)
            self._history.presence(change.is_coming, line, self._now, here=change.here)
            self._is_history_dirty = True

    def status(self, told: Summary) -> None:
        """Show where we stand."""
        self._status = told
        self._history.make_room(told.name_cells)
        self._is_input_dirty = True

    # --- Drawing.

    def deadline(self) -> float | None:
        """Return when the next frame is due, or a key."""
        times = [self._keys.deadline(), self._history.deadline(), self._minute_at_s]
        if self._is_history_dirty and not len(self._output) and not self._is_away:
            times.append(self._history_at_s)
        return min((at for at in times if at is not None), default=None)

    def draw(self, now: float) -> None:
        """Draw what changed: a key at once, the history at most 30 times a second."""
        self._now = now
        window = self._window
        if window is None or self._is_away or len(self._output):
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
            telling = status_row(self._telling(now), columns) if columns >= STATUS_COLUMNS else ()
            self._draw_row(window, history_rows, telling)
        is_private = source is self._editor and self._editor.to
        style = private(self._colours) if is_private else PLAIN
        for y, content in enumerate(layout.rows, history_rows + 1):
            self._draw_row(window, y, (Span(content, style),))
        self._is_input_dirty = False
        with contextlib.suppress(curses.error):
            window.move(history_rows + 1 + layout.row, min(layout.cell, columns - 1))
        window.noutrefresh()
        curses.doupdate()
        self._pump(is_frame=True)
        self._show_title()

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
                window.addstr(self._drawable(span.text), self._attribute(span.style))

    def _drawable(self, content: str) -> str:
        if self._is_utf8 or content.isascii():
            return content
        return "".join(char if char.isascii() else "?" * text.width(char) for char in content)

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
            name=f"{told.name} (away)" if told.is_away else told.name,
            state=told.state + waiting,
            new_below=history.new_below,
            mentions=history.mentions,
            changed=told.changed,
            here=told.here,
            clock=time.strftime("%H:%M", local),
            notice=self._editor.notice or "",
            hint=told.hint,
        )

    def _show_title(self) -> None:
        count = self._history.mentions
        title = f"({count}) {self._status.room}" if count else self._status.room
        if title != self._title:
            self._title = title
            self._output.put(attention.title(self._drawable(title)))

    def _pump(self, *, is_frame: bool = False) -> None:
        """Take what curses wrote to where it does not wait."""
        parts: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe_out, READ_BYTES):
                parts.append(data)
        if parts and is_frame:
            parts = [_FRAME_BEGINS, *parts, _FRAME_ENDS]
        self._output.put(b"".join(parts))

    def flush(self) -> None:
        """Write what the terminal takes."""
        self._output.flush()

    @property
    def unwritten_bytes(self) -> int:
        """What the terminal has not taken yet."""
        return len(self._output)


def _line(message: Message, mark: Mark) -> Shown:
    is_action = message.text.startswith("/me ")
    to = f"to {message.to or 'you'}: " if message.is_direct or message.to else ""
    return Shown(
        message.at_ms,
        to + (message.text[4:] if is_action else message.text),
        EntryKind.ACTION if is_action else EntryKind.SAY,
        message.name,
        message.identity,
        mark,
        message.is_own,
    )


def _known_type(name: str) -> str:
    """Return a terminal type that curses knows: this one, or one of its family.

    Raises:
        FileError: if there is none.
    """
    for known in kin(name):
        with contextlib.suppress(curses.error):
            curses.setupterm(known)
            return known
    raise FileError("The terminal type is not known here.")


def _set_locale() -> bool:
    """Choose a locale in which characters are UTF-8, and tell whether there is one."""
    for category, name in (
        (locale.LC_ALL, ""),
        (locale.LC_CTYPE, "C.UTF-8"),
        (locale.LC_CTYPE, "en_US.UTF-8"),
        (locale.LC_CTYPE, "UTF-8"),
    ):
        with contextlib.suppress(locale.Error):
            locale.setlocale(category, name)
            if locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8":
                return True
    return False


def _draft_file(content: str) -> str:
    """Write a draft where it never reaches a disk.

    Raises:
        FileError: if there is no such place.
    """
    # Here, since no first frame waits for an editor.
    import tempfile

    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):  # noqa: S108 - memory, and 0600
        if place and os.path.isdir(place):
            with contextlib.suppress(OSError):
                fd, name = tempfile.mkstemp(prefix="termchat-", suffix=".txt", dir=place)
                with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
                    file.write(content)
                return name
    raise FileError("There is no XDG_RUNTIME_DIR or /dev/shm: a draft is never put on a disk.")
