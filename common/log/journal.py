"""The operator's log: who came, left and was refused, and what operators did."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import time
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from common import files
from common.errors import FileError

LOG_BYTES: Final = 10 * 1024 * 1024
LOGS_KEPT: Final = 5


class LogFile(logging.handlers.RotatingFileHandler):
    """The operator's log: private, of bounded size, and never a reason to stop."""

    def __init__(self, path: Path, on_trouble: Callable[[str], None]) -> None:
        """Open the file, or make it.

        Raises:
            FileError: if it cannot be written, or others can read it.
        """
        self._on_trouble = on_trouble
        self._is_troubled = False
        self.has_moved = False
        if path.exists() and not path.is_file():  # opening a FIFO would wait for its reader
            raise FileError(f"{path} is not a regular file.")
        files.check_private(path)
        try:
            super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8")
        except OSError as problem:
            raise FileError(f"Cannot write {path}: {problem.strerror}.") from None
        form = "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s"
        self.setFormatter(logging.Formatter(form, "%Y-%m-%dT%H:%M:%S"))
        self.formatter.converter = time.gmtime  # type: ignore[union-attr] # set above

    def _open(self) -> TextIOWrapper:
        # In a folder of others, a link that waits here would have us write into a file of ours.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        fd = os.open(self.baseFilename, flags, 0o600)
        return open(fd, "a", encoding="utf-8", errors="replace")  # noqa: PTH123 - a descriptor

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, into a new file if somebody has moved this one away."""
        if self.has_moved:
            self.has_moved = False
            stream, self.stream = self.stream, None  # the next line opens it
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the file cannot be written."""
        if not self._is_troubled:
            self._is_troubled = True
            self._on_trouble("The log file cannot be written: what happens now is missing there.")
