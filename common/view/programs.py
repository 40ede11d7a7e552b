"""Standard input and output for programs: messages in, rows or JSON out (UX.md 8).

Data goes to standard output and everything else to standard error, which is asked for nothing.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator

from common.term import text
from common.term.editor import Action
from common.term.prompt import Entered, Prompt, Reply
from common.view.lines import row_of
from common.view.output import Output, say
from common.view.stdin import Feed
from common.view.view import Message, Outcome, Presence, Summary, View

_SAID = ("message", "direct", "sent")
"""The kinds of JSON rows whose text may have several rows."""


class Programs(View):
    """What is said to others goes out of here, and what they say comes in; owned by the loop."""

    no_history = "A pipe keeps no history."

    def __init__(
        self, room: str, feed: Feed | None, *, is_tail: bool, is_json: bool, most: int = 0
    ) -> None:
        """Read with `feed`, if there is one; write if `is_tail`, and end after `most` messages."""
        super().__init__()
        self._room = room
        self._feed = feed
        self._is_tail = is_tail
        self._is_json = is_json
        self._left = most or None
        self._output = Output(self.output_fd, is_shared=True)
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        self._encoding = "utf-8" if is_json else encoding
        self._name = ""
        self._is_over = False
        self._is_hurried = False
        self._replies: list[Outcome] = []

    # --- Standard input.

    def receive(self, data: bytes, now: float) -> list[Outcome]:
        """Take what standard input gave, and return what to send."""
        return [] if self._feed is None else list(self._feed.receive(data))

    @property
    def has_keyboard(self) -> bool:
        """Whether standard input is read at all."""
        return self._feed is not None

    def ask(self, prompt: Prompt | None) -> None:
        """Ask at the terminal that started us, and wait for it: there is nothing else to do."""
        if prompt is None:
            return
        # Here, because it is seldom wanted.
        import getpass

        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._replies.append(Entered(getpass.getpass(prompt.question), is_pasted=False))
        except (EOFError, KeyboardInterrupt, OSError):
            self._replies.append(Reply.ENDED)
        finally:
            signal.signal(signal.SIGINT, handler)

    # --- Standard output.

    def said(self, message: Message) -> None:
        """Write a message; our own too: then it is in the log."""
        if not self._is_tail or self._left == 0:
            return
        if self._left is not None and not message.is_own:
            self._left -= 1
        if not self._is_json:
            self._put(text.clean(row_of(message)).replace("\n", "\n    "))
            return
        kind = "sent" if message.is_own else "direct" if message.is_direct else "message"
        to = message.to
        if message.is_direct and not message.is_own:
            to = self._name
        is_sure = message.is_verified or message.is_own
        self._object(
            kind, message.at_ms, message.name, message.text, to, message.seq, is_verified=is_sure
        )

    def moved(self, change: Presence) -> None:
        """Write that somebody came or left, for a program."""
        if self._is_tail and self._is_json and self._left != 0:
            kind = "joined" if change.is_coming else "left"
            self._object(
                kind,
                change.at_ms,
                change.name,
                change.text,
                "",
                change.seq,
                is_verified=change.is_verified,
            )
        elif self._is_tail:
            say(f"-- {change.text}")

    def _object(
        self,
        kind: str,
        at_ms: int,
        name: str,
        content: str,
        to: str,
        seq: int,
        *,
        is_verified: bool,
    ) -> None:
        seconds, ms = divmod(at_ms, 1000)
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        row = {
            "at": f"{clock}.{ms:03}Z",
            "kind": kind,
            "room": text.clean(self._room, multiline=False),
            "seq": seq,
            "from": text.clean(name, multiline=False),
            "to": text.clean(to, multiline=False),
            "verified": is_verified,
            "text": text.clean(content, multiline=kind in _SAID),
        }
        self._put(json.dumps(row, ensure_ascii=False))

    def _put(self, row: str) -> None:
        self._output.put(f"{row}\n".encode(self._encoding, "replace"))

    # --- Standard error.

    def notice(self, content: str, at_ms: int) -> None:
        """Tell it on standard error, which may be the terminal that shows what is said."""
        say(f"-- {content}")

    def warn(self, content: str, at_ms: int) -> None:
        """Tell it on standard error, and a program on standard output too."""
        say(f"!! {content}")
        if self._is_tail and self._is_json and self._left != 0:
            self._object("warning", at_ms, "", content, "", 0, is_verified=False)

    # --- The end.

    def stop(self) -> None:
        """Write what is left, however long its reader takes; unless we were told to end."""
        if self._is_hurried:
            self._output.drain()
            return
        with _mortal():
            self._output.drain(is_patient=True)

    def hurry(self) -> None:
        """Note that what nobody reads soon is not wanted any more."""
        self._is_hurried = True

    def status(self, told: Summary) -> None:
        """Note our name, which direct messages are to."""
        self._name = told.name

    # --- The loop.

    def flush(self) -> None:
        """Write what the reader takes."""
        self._output.flush()

    @property
    def unwritten_bytes(self) -> int:
        """What the reader has not taken yet."""
        return len(self._output)

    @property
    def _ends(self) -> bool:
        """Whether there is nothing more to do: all was written that was wanted, or nobody reads."""
        return self._is_tail and (self._left == 0 or self._output.is_broken) and not self._is_over

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted: at once, or never."""
        return 0.0 if self._ends or self._replies else None

    def tick(self, now: float) -> list[Outcome]:
        """Leave once that is due."""
        if self._is_tail:
            self._output.look()
        replies, self._replies = self._replies, []
        if not self._ends:
            return replies
        self._is_over = True
        return [*replies, Action.QUIT]


@contextlib.contextmanager
def _mortal() -> Iterator[None]:
    """Let signals that ask for our end be the end, as in any program that waits for a pipe."""
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before = {number: signal.getsignal(number) for number in numbers if number is not None}
    # What nohup, or a shell without job control, made us ignore stays ignored.
    caught = {number: by for number, by in before.items() if by is not signal.SIG_IGN}
    for number in caught:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
