"""The terminal is taken and shows the first frame, before what the loop needs is imported."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Iterator
from types import FrameType

from common import config, names
from common.view.view import Status, View


@contextlib.contextmanager
def taken(settings: config.ClientConfig, view: View) -> Iterator[deque[int]]:
    """Give a view the terminal, and show that we connect; yields the signals that come."""
    with _caught_signals(has_screen=view.is_screen) as caught:
        view.start()
        try:
            view.apply_options()
            # Whatever breaks here breaks in the loop again, which tells of it.
            with contextlib.suppress(Exception):
                room = names.room_for_user(settings.room)
                view.status(Status(room, settings.username, 0, "connecting", 0, ()))
                view.draw(time.monotonic())
                view.flush()
            yield caught
        finally:
            view.stop()


@contextlib.contextmanager
def _caught_signals(*, has_screen: bool) -> Iterator[deque[int]]:
    """Put signals into a queue that the loop empties."""
    caught: deque[int] = deque()

    def handle(signum: int, _frame: FrameType | None) -> None:
        caught.append(signum)

    wanted = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCONT", "SIGWINCH", "SIGCHLD"]
    if has_screen:
        wanted.append("SIGTSTP")
    numbers = [getattr(signal, name) for name in wanted if hasattr(signal, name)]
    # What nohup, or a shell without job control, made us ignore stays ignored.
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in numbers}
    if hasattr(signal, "SIGPIPE"):
        before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
