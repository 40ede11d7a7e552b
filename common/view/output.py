"""Bytes to a terminal or a pipe, never waiting for it; and what is said without a view."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import signal
from collections.abc import Iterator
from typing import Final

from common import streams
from common.errors import FileError
from common.term import text

DRAIN_S: Final = 2.0
"""How long a terminal that does not read may hold up our end."""
_STEP_S: Final = 0.1
_WRITE_BYTES: Final = 512
"""POSIX PIPE_BUF: what a writable pipe takes without blocking."""
_LIKE_XTERM: Final = (
    "alacritty|contour|foot|ghostty|gnome|iterm2?|kitty|konsole|mintty|mlterm|nsterm|putty|rio|rxvt"
    "|screen|st|tmux|vte|wezterm"
)
_GONE: Final = getattr(select, "POLLERR", 0) | getattr(select, "POLLHUP", 0)


class Output:
    """What is on its way to a file descriptor."""

    def __init__(self, fd: int, *, is_shared: bool) -> None:
        """Write to `fd`; a shared one is in blocking mode, which is not ours to change."""
        self._fd = fd
        self._is_shared = is_shared
        self._unwritten = bytearray()
        self.is_broken = False
        """Whether nobody reads any more."""

    def __len__(self) -> int:
        return len(self._unwritten)

    def look(self) -> None:
        """Notice that nobody reads any more, with nothing to write."""
        if hasattr(select, "poll"):
            watch = select.poll()
            watch.register(self._fd, 0)
            self.is_broken |= any(events & _GONE for _, events in watch.poll(0))

    def put(self, data: bytes) -> None:
        """Queue bytes."""
        self._unwritten += data

    def flush(self) -> None:
        """Write while the descriptor takes it."""
        while self._unwritten and (not self._is_shared or is_writable(self._fd, 0)):
            size = _WRITE_BYTES if self._is_shared else len(self._unwritten)
            try:
                sent = os.write(self._fd, self._unwritten[:size])
            except BlockingIOError:
                return
            except OSError:
                self.is_broken = True
                sent = len(self._unwritten)
            del self._unwritten[:sent]

    def drain(self, *, is_patient: bool = False) -> None:
        """Write what is left: for at most DRAIN_S, or as long as somebody is there to read it."""
        for _ in itertools.count() if is_patient else range(int(DRAIN_S / _STEP_S)):
            self.flush()
            if not self._unwritten:
                return
            is_writable(self._fd, _STEP_S)


def is_writable(fd: int, wait_s: float) -> bool:
    """Tell whether a write would not block, waiting that long for it."""
    if os.name != "posix" or fd >= 1024:
        return True
    try:
        return bool(select.select([], [fd], [], wait_s)[1])
    except (OSError, ValueError):
        return True


def is_readable(fd: int) -> bool:
    """Tell whether a read would not block; False where that cannot be known."""
    try:
        return fd < 1024 and bool(select.select([fd], [], [], 0)[0])
    except (OSError, ValueError):
        return False


def is_terminal(fd: int) -> bool:
    """Tell whether a descriptor is open on a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def kin(name: str) -> Iterator[str]:
    """Yield a terminal type, and those that can stand in for it, the nearest first."""
    yield name
    for end in reversed([match.start() for match in re.finditer("[-.+]", name)]):
        yield f"{name[:end]}-256color"
        yield name[:end]
    if re.fullmatch(_LIKE_XTERM, re.split("[-.+]", name)[0]):
        yield "xterm-256color"
        yield "xterm"


def own_terminal() -> int:
    """Return a descriptor of our own on the terminal, one that does not wait if that can be had.

    Another user's, as after su, and one whose name is not in this file system, as in a container,
    has no name to open it by: it is our controlling terminal, or we have what we were given.
    """
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
    with contextlib.suppress(OSError):
        return os.open(os.ttyname(1), flags)
    with contextlib.suppress(OSError):
        os.tcgetpgrp(1)  # which is told of the controlling terminal alone
        return os.open("/dev/tty", flags)
    return os.dup(1)


def stop_process() -> None:
    """Stop as a shell expects it of Ctrl-Z, with all of our job, until SIGCONT."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(0, signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)


def print_row(row: str, end: str = "\n") -> None:
    """Write a row on standard output, if there is one, while no view has it."""
    with contextlib.suppress(FileError):
        streams.put_out(text.clean(row, multiline=False) + end)


def say(sentence: str) -> None:
    """Write a sentence on standard error, if there is one: a row, whoever's words are in it."""
    streams.put_err(text.clean(sentence, multiline=False) + "\n")
