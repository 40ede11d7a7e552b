"""What a client says when no view has the terminal, and how it ends (UX.md 8)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Final

from common.errors import TermchatError, UsageError
from common.term import text

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


def exit_code(problem: TermchatError) -> int:
    """Return the exit code of a client that this keeps from joining."""
    return EXIT_USAGE if isinstance(problem, UsageError) else EXIT_FAILED


def print_row(row: str, end: str = "\n") -> None:
    """Write a row on standard output, if there is one, before a view takes it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.write(text.clean(row) + end)
        sys.stdout.flush()


def say(sentence: str) -> None:
    """Write a sentence on standard error, if there is one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text.clean(sentence) + "\n")
        sys.stderr.flush()


def say_last(details: list[str], last_words: str, tell: Callable[[str], None]) -> None:
    """Say what remains to be said when a client has run."""
    for detail in details:
        say(detail.rstrip())
    if last_words:
        tell(last_words)
