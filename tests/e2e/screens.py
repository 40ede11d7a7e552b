"""What the tests of the screen share: a room with one screen in it, and what is read off it."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass

from tests.e2e.harness import Bot, House, Relay, Screen

ESC = b"\x1b"
UP, DOWN, RIGHT, LEFT = b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D"
HOME, END = b"\x1b[H", b"\x1b[F"
PGUP, PGDN = b"\x1b[5~", b"\x1b[6~"
ALT_UP, ALT_DOWN = b"\x1b[1;3A", b"\x1b[1;3B"
PASTE_BEGINS, PASTE_ENDS = b"\x1b[200~", b"\x1b[201~"
CLIPBOARD = rb"\x1b\]52;c;([A-Za-z0-9+/=]+)\x1b\\"
FOCUS_IN, FOCUS_OUT = b"\x1b[I", b"\x1b[O"


@dataclass
class Table:
    """One screen in a room with a bot."""

    house: House
    relay: Relay
    ace: Screen
    bea: Bot
    frames: int = 0

    def until_input(self, shown: str) -> None:
        """Wait until the input is this; a bar stands where the cursor must be."""
        content, bar, _ = shown.partition("|")
        row = f"> {shown.replace('|', '', 1)}".rstrip()
        y = len(self.ace.display) - 1
        self.house.until(
            lambda: (
                self.ace.input_row == row
                and (not bar or self.ace.terminal.cursor == (y, 2 + len(content)))
            ),
            lambda: f"No {shown!r}, cursor {self.ace.terminal.cursor}:\n{self.ace.drawn}",
        )

    def keys(self, typed: bytes | str, shown: str) -> None:
        self.ace.type(typed)
        self.until_input(shown)

    def empty(self) -> None:
        """Clear the input, which Ctrl-C on an empty one would take for leaving."""
        if self.ace.input_row != ">":
            self.keys(b"\x03", "|")

    def until_rows(self, *rows: str) -> None:
        """Wait until these rows stand on the screen one under the other."""
        wanted = list(rows)
        self.house.until(
            lambda: any(
                self.ace.display[at : at + len(wanted)] == wanted
                for at in range(len(self.ace.display))
            ),
            lambda: f"No {wanted}:\n{self.ace.drawn}",
        )

    def until_status(self, content: str, *, gone: bool = False) -> None:
        self.house.until(
            lambda: (content in self.ace.status_row) is not gone,
            lambda: f"{content!r} {'is' if gone else 'is not'} there:\n{self.ace.drawn}",
        )

    def pour(self, data: bytes) -> None:
        """Type more than the terminal takes at once."""
        while data:
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.ace._master, data[:4000]) :]
            self.house.turn(0)

    def clear_the_paste(self) -> None:
        """Clear the input once Ctrl-C is a key again."""
        self.let_the_paste_end()
        self.keys(b"\x03", "|")

    def let_the_paste_end(self) -> None:
        """Let more than the 100 ms pass in which no key acts, in frames drawn."""
        for _ in range(6):
            self.frames += 1
            self.bea.say(f"frame {self.frames}.")
            self.ace.wait_for(f"frame {self.frames}.")

    def entered(self, content: str) -> None:
        """Type Enter until it sends: within 100 ms of a paste it is a newline."""
        for number in range(20):
            self.ace.type("\r")
            self.bea.say(f"turn {number}.")
            self.ace.wait_for(f"turn {number}.")
            if content in self.bea.heard:
                return
        raise AssertionError(self.ace.drawn)

    def heard(self, content: str) -> None:
        self.house.until(
            lambda: content in self.bea.heard, lambda: f"{self.bea.heard[-3:]}\n{self.ace.drawn}"
        )


def seat(
    house: House,
    *more: str,
    rows: int = 24,
    columns: int = 80,
    env: dict[str, str | None] | None = None,
) -> Table:
    """Return a screen of ace's in a room with the bot bea."""
    relay = house.relay("--host", "127.0.0.1")
    ace = house.screen(relay, "ace", *more, rows=rows, columns=columns, env=env)
    relay.wait_for("[Connected] Username: ace")
    bea = house.bot(relay, "bea")
    ace.wait_for("bea joined")
    return Table(house, relay, ace, bea)


def taken(screen: Screen, pattern: bytes) -> list[bytes]:
    """Return what was sent of a sequence that only this test expects, and take it out of the raw.

    All that is left is judged by the harness, which knows no bells, mice or notices.
    """
    found = re.findall(pattern, screen.raw)
    screen.terminal.raw[:] = re.sub(pattern, b"", screen.raw)
    return found
