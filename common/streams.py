"""The standard streams: open before any file is, and no traceback where they cannot be written."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from common.errors import FileError


def open_streams() -> None:
    """Open what came closed, or the next file or socket would pass for standard output."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def read(fd: int, size: int) -> bytes:
    """Return what a descriptor has, b"" at its end.

    It is waited for, even if another program has made it non-blocking, for itself and so for us.

    Raises:
        OSError: if it cannot be read.
    """
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            # Here, because it is seldom wanted.
            import select

            select.select([fd], [], [])


def put_out(words: str) -> None:
    """Write on standard output; a reader that has gone wants no more, and is no fault.

    Raises:
        FileError: if it cannot be written.
    """
    try:
        _put(sys.stdout, words)
    except BrokenPipeError:
        pass
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or "it is closed"
        raise FileError(f"Cannot write to standard output: {why}.") from None


def put_err(words: str) -> None:
    """Write on standard error, if there is one."""
    with contextlib.suppress(OSError, ValueError):
        _put(sys.stderr, words)


def _put(stream: TextIO | None, words: str) -> None:
    if stream is None:  # it was closed when Python started
        raise ValueError
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(words.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError:
        # What it still holds would be written at the very end, and fail once more: with a complaint
        # of Python's, and an exit code of its own.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        raise
