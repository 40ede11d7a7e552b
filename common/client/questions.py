"""Questions on a terminal that no view has taken yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from common import streams
from common.errors import UsageError
from common.view.output import is_readable, is_terminal, print_row

_T = TypeVar("_T")

ANSWER_BYTES: Final = 1024
MOST_ROWS: Final = 16
"""Of an answer that was wrapped."""


def ask(
    question: str,
    parse: Callable[[str], _T],
    nobody: str,
    *,
    is_hidden: bool = False,
    may_be_wrapped: bool = False,
) -> _T:
    """Ask until the answer can be used.

    Args:
        parse: makes a value of the answer, or raises UsageError.
        nobody: what to do where nobody answers.
        is_hidden: whether the answer shows nowhere.
        may_be_wrapped: whether an answer that is not whole goes on in rows that came with it.

    Raises:
        UsageError: if nobody answers.
    """
    while True:
        with _without_echo() if is_hidden else contextlib.nullcontext():
            print_row(question, end="" if is_terminal(0) else "\n")
            try:
                answer = _read_row()
                for _ in range(MOST_ROWS if may_be_wrapped else 0):
                    if not is_readable(0) or _can_be(answer, parse):
                        break
                    answer += f"\n{_read_row()}"
            except EOFError:
                raise UsageError(nobody) from None
        if is_hidden:
            print_row("")  # the end of the answer's row, which did not show either
        try:
            return parse(answer)
        except UsageError as problem:
            print_row(str(problem))


def _can_be(answer: str, parse: Callable[[str], object]) -> bool:
    try:
        parse(answer)
    except UsageError:
        return False
    return True


def _read_row() -> str:
    """Read a line, and nothing of what follows it: that is for the room.

    Raises:
        EOFError: if the input has ended.
    """
    answer = bytearray()
    while (byte := streams.read(0, 1)) not in (b"", b"\n"):
        answer += byte[: ANSWER_BYTES - len(answer)]
    if not byte and not answer:
        raise EOFError
    return answer.decode("utf-8", "replace").strip()


@contextlib.contextmanager
def _without_echo() -> Iterator[None]:
    """Let the terminal show nothing of what is typed; what was pasted behind it is not lost."""
    try:
        # Here, because Windows has none: there, what is typed shows.
        import termios
    except ImportError:
        yield
        return
    try:
        modes = termios.tcgetattr(0)
    except termios.error:  # it is none
        yield
        return
    hidden = [*modes]
    hidden[3] &= ~termios.ECHO
    # Not TCSAFLUSH, which would drop the rest of a paste.
    termios.tcsetattr(0, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
