"""A command of the user's that is run when somebody calls them (UX.md 6)."""

from __future__ import annotations

import os
import subprocess

from common.term import text
from common.term.attention import Alarm


class Notifier:
    """Runs the command: one at a time, not too often, and never with what was said."""

    def __init__(self, command: str, room: str) -> None:
        """Prepare to run `command` by the shell for what happens in a room."""
        self._command = command
        self._room = text.clean(room, multiline=False)
        self._alarm = Alarm()
        self._child: subprocess.Popen[bytes] | None = None

    def call(self, name: str, now: float) -> None:
        """Run it because of this member."""
        is_busy = self._child is not None and self._child.poll() is None
        if is_busy or not self._alarm.may_ring(now):
            return
        # In the environment a name is data; on a command line the shell would read it.
        told = {"TERMCHAT_ROOM": self._room, "TERMCHAT_NAME": text.clean(name, multiline=False)}
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
        except OSError:
            self._child = None
