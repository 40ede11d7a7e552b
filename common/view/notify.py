"""A command of the user's that is run when somebody calls them (UX.md 6)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from common.term import text
from common.term.attention import Alarm


class Notifier:
    """Runs the command: one at a time, not too often, and never with what was said.

    One that still runs at the next call makes way: a command that hangs must not silence all later
    calls.
    """

    def __init__(self, command: str, room: str) -> None:
        """Prepare to run `command` by the shell for what happens in a room."""
        self._command = command
        self._room = _told(room)
        self._alarm = Alarm()
        self._child: subprocess.Popen[bytes] | None = None
        self._killed: subprocess.Popen[bytes] | None = None

    def call(self, name: str, now: float) -> None:
        """Run it because of this member."""
        if not self._alarm.may_ring(now) or not self._make_way():
            return
        # In the environment a name is data; on a command line the shell would read it.
        told = {"TERMCHAT_ROOM": self._room, "TERMCHAT_NAME": _told(name)}
        nothing = subprocess.DEVNULL
        try:
            self._child = subprocess.Popen(  # noqa: S602 - the user's words, and no other's
                self._command,
                shell=True,
                stdin=nothing,
                stdout=nothing,
                stderr=nothing,
                env=os.environ | told,
                start_new_session=True,
            )
        except (OSError, ValueError):  # ValueError: a zero byte in the command
            self._child = None

    def _make_way(self) -> bool:
        """Kill what still runs; False if what was killed before has not ended even so."""
        if self._killed is not None and self._killed.poll() is None:
            return False
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            self._killed = child
            with contextlib.suppress(OSError):
                if hasattr(os, "killpg"):  # with what the shell has started
                    os.killpg(child.pid, signal.SIGKILL)
                else:
                    child.kill()
        return True


def _told(foreign: str) -> str:
    """Return a text as the environment takes it: what the locale does not have becomes `?`."""
    encoding = sys.getfilesystemencoding()
    return text.clean(foreign, multiline=False).encode(encoding, "replace").decode(encoding)
