"""Line mode: one event a row, append-only, for screen readers and pipes (UX.md 8)."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from common.term import text
from common.term.attention import mentions
from common.term.editor import Action, Submit
from common.term.keys import Key, KeyEvent, Keys
from common.term.prompt import Entered, Prompt, Reply
from common.view.output import Output, is_terminal, stop_process
from common.view.view import Message, Outcome, Presence, Summary, View

try:
    import termios
except ImportError:  # Windows: the terminal keeps its own line editing
    HAS_TERMIOS = False
else:
    HAS_TERMIOS = True

TYPING_S: Final = 2.0
"""How long after a key arrivals still wait."""
_LINE_BYTES: Final = 64 * 1024
"""What is kept of a line from a pipe; one as long is refused once its end has come."""


class Lines(View):
    """Line mode: one event a row, append-only, for screen readers and pipes (UX.md 8)."""

    greets = True
    no_history = "Line mode keeps no history: search and select in the terminal itself."
    keys_help = (
        "Enter sends. Backspace and Ctrl-U erase. Up: what was refused.",
        "Ctrl-C leaves at once; exit after a goodbye.",
    )

    def __init__(self) -> None:
        super().__init__()
        self._output = Output(self.output_fd, is_shared=True)
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        # Without termios the terminal edits the line, and we see it at Enter.
        self.has_keys = HAS_TERMIOS and is_terminal(0) and is_terminal(self.output_fd)
        self._keys = Keys()
        self._input = Prompt("")
        self._question: Prompt | None = None
        self._shown = ""  # of what is being typed
        self._partial = b""
        self._held: list[str] = []
        self._now = 0.0
        self._name = ""
        self._typed_at_s: float | None = None
        self._modes: list[Any] | None = None
        # A terminal that can do nothing would show them.
        can_mark = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
        self._brackets = ("\x1b[?2004h", "\x1b[?2004l") if can_mark else ("", "")

    # --- The terminal.

    def start(self) -> None:
        """Read keys one by one, so that arrivals never cut what is being typed."""
        if self.has_keys:
            self._modes = _cbreak()
            self._write(self._brackets[0])

    def stop(self) -> None:
        """Write what is left, and give the terminal back."""
        self._release()
        if self._shown:
            self._write("\n")
        self._give_back()

    def _give_back(self) -> None:
        if self.has_keys:
            self._write(self._brackets[1])
        self._output.drain()
        if self._modes is not None:
            _set_modes(self._modes)

    def suspend(self) -> None:
        """Give the terminal back, stop until SIGCONT, and take it again."""
        self._give_back()
        stop_process()
        self.resized()

    def resized(self) -> None:
        """Take the terminal again after a suspension."""
        if not self.has_keys:
            return
        self._write(self._brackets[0])
        if _cbreak():
            self._shown = ""
            self._echo()

    # --- Input.

    def receive(self, data: bytes, now: float) -> Iterable[Outcome]:
        """Take keys from a terminal, or lines from anything else."""
        self._now = now
        # One by one: a line may answer what the one before it makes us ask.
        if not self.has_keys:
            return self._lines(data)
        return self._apply(self._keys.receive(data, now), now)

    def _lines(self, data: bytes) -> Iterator[Outcome]:
        *whole, partial = (self._partial + data).split(b"\n")
        self._partial = partial[:_LINE_BYTES]
        if not data and self._partial:
            whole, self._partial = [self._partial], b""
        for line in whole:
            content = line.decode("utf-8", "replace").rstrip("\r")
            if self._question is not None:
                self._question = None
                yield Entered(content, is_pasted=False)
            elif content.strip():
                yield Submit(text.clean(content), is_pasted=False)
            else:
                yield Action.ENTER

    def _apply(self, events: list[KeyEvent], now: float) -> Iterator[Outcome]:
        for event in events:
            # What a terminal makes signals of comes as keys, since in a paste it is none (UX.md 2).
            match event:
                case Key("ctrl-c"):
                    os.kill(0, signal.SIGINT)
                    continue
                case Key("ctrl-\\"):
                    yield Action.LEAVE_NOW
                    continue
                case Key("ctrl-z"):
                    yield Action.SUSPEND
                    continue
                case _:
                    pass
            prompt = self._question or self._input
            reply = prompt.apply(event)
            if prompt is self._input:
                prompt.address(self.sources)
            self._typed_at_s = now
            if isinstance(reply, Entered):
                self._echo(reply.text)
                self._write("\n")
                self._shown = ""
                self._release()
                if self._question is not None:
                    yield reply
                elif reply.text.strip():
                    yield Submit(reply.text, reply.is_pasted)
                else:
                    yield Action.ENTER
                continue
            self._echo()
            match reply:
                case Reply() if self._question is not None:
                    yield reply
                case Reply.ENDED:
                    yield Action.QUIT
                case _:
                    pass

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
        if self.has_keys:
            self._echo()
        elif prompt is not None:
            self._write(prompt.question + "\n")

    # --- Output.

    def said(self, message: Message) -> None:
        """Show a message, our own too: its row says that it is in the log."""
        self._row(row_of(message))
        is_for_us = message.is_direct or mentions(
            message.text, self._name, self.options.notify_words
        )
        if is_for_us and not message.is_own:
            self.on_call(message.name, self._now)

    def refused(self, content: str, *, is_pasted: bool) -> None:
        """Keep what came to nothing where Up brings it back, unless it came from a pipe."""
        if self.has_keys:
            self._input.keep(content, is_pasted=is_pasted)

    def notice(self, content: str, at_ms: int) -> None:
        """Show a notice."""
        self._event(f"-- {content}", at_ms)

    def answer(self, rows: list[str], at_ms: int) -> None:
        """Show what a command yielded."""
        for row in rows:
            self.notice(row, at_ms)

    def warn(self, content: str, at_ms: int) -> None:
        """Show a warning."""
        self._event(f"!! {content}", at_ms)

    def moved(self, change: Presence) -> None:
        """Show that somebody came or left, and how many are here."""
        if self.options.joins == "off":
            return
        self._event(f"-- {change.text}", change.at_ms)
        self._row(f"Users Connected: {change.here}")

    def plain(self, content: str, at_ms: int) -> None:
        """Show a row without time or mark."""
        self._row(content)

    def status(self, told: Summary) -> None:
        """Note our name; what changes is told in rows."""
        self._name = told.name

    def draw(self, now: float) -> None:
        """Show what waited while somebody typed, once they pause."""
        self._now = now
        if self._held and not self._is_typing():
            self._release()

    def _event(self, content: str, at_ms: int) -> None:
        """Show what is no message: one row, or its next one could pass for a message."""
        self._row(f"{_clock(at_ms)} {text.clean(content, multiline=False)}")

    def _row(self, content: str) -> None:
        self._held.append(text.displayed(text.clean(content)).replace("\n", "\n    "))
        if not self._is_typing():
            self._release()

    def _is_typing(self) -> bool:
        return bool(self._shown) and self._now < self._pause_s()

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
        return list(self._apply(self._keys.tick(now), now)) if self.has_keys else []


def row_of(message: Message) -> str:
    """Return the row of a message, its text uncleaned."""
    name, to = (text.clean(each, multiline=False) for each in (message.name, message.to))
    if to:
        name = f"> {name} to {to}"
    elif message.is_direct:
        name = f"> {name}"
    said = message.text
    content = f"* {name} {said[4:]}" if said.startswith("/me ") else f"{name}: {said}"
    return f"{_clock(message.at_ms)} {content}"


def _clock(at_ms: int) -> str:
    return time.strftime("%H:%M", time.localtime(at_ms / 1000))


def _cbreak() -> list[Any] | None:
    """Let keys through one by one, unechoed, none as a signal.

    Returns the modes before, None if they were these, or the terminal is gone.
    """
    try:
        before = termios.tcgetattr(0)
    except termios.error:
        return None
    modes = before.copy()
    modes[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    modes[0] &= ~termios.ICRNL
    if modes == before:
        return None
    _set_modes(modes)
    return before


def _set_modes(modes: list[Any]) -> None:
    # A terminal that is gone has no modes, and needs none.
    with contextlib.suppress(termios.error):
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
