"""The real relay, killed, stopped, starved of disk, and started again on the same port."""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common.crypto import ticket

ROOT = Path(__file__).parent.parent.parent
START_S = 20.0
ENDS = (0, -signal.SIGKILL, -signal.SIGTERM)
"""The last: asked to end before it had begun."""


class Relay:
    """One relay of many lives."""

    def __init__(self, directory: Path, arguments: Sequence[str]) -> None:
        self._output = directory / "relay.out"
        self._arguments = list(arguments)
        self.port = 0
        self._process = self._start()
        text = self._wait_for(r"^Key: (\S{44})$")
        self.key = ticket.parse(text).key
        self.key_text = text
        self.port = int(self._wait_for(r"^Server starts at `ws://.*:(\d+)/`\.$"))
        self.is_stopped = False

    def _start(self) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "server.py"), "-p", str(self.port), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_for(self, pattern: str) -> str:
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s:
            found = re.search(pattern, self._output.read_text(), re.MULTILINE)
            if found:
                return found[1]
            time.sleep(0.01)
        raise AssertionError(f"the relay does not start: {self._output.read_text()}")

    @property
    def is_up(self) -> bool:
        """Whether there is a process."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would, but for what the kernel holds."""
        self._process.kill()
        self._process.wait(START_S)
        self.is_stopped = False

    def terminate(self) -> None:
        """Ask it to end."""
        self.go_on()
        self._process.terminate()

    def restart(self) -> None:
        """Start again, as soon as the last life is over."""
        assert self._process.wait(START_S) in ENDS, self._output.read_text()
        self._process = self._start()

    def stop(self) -> None:
        """Let it do nothing."""
        self._process.send_signal(signal.SIGSTOP)
        self.is_stopped = True

    def go_on(self) -> None:
        """Let it do something again."""
        self._process.send_signal(signal.SIGCONT)
        self.is_stopped = False

    def listens(self) -> bool:
        """Tell whether it can be reached."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.1):
            return True
        return False

    def fill_disk(self, *, is_full: bool) -> None:
        """Let its files grow no more, or again."""
        limit = 4_096 if is_full else resource.RLIM_INFINITY
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(
                self._process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)
            )

    def close(self) -> None:
        """End it for good, and check that it had no trouble of its own."""
        if self.is_up:
            self.fill_disk(is_full=False)
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(START_S)
        if self.is_up:
            self.kill()
        output = self._output.read_text()
        assert "Traceback" not in output, output
        assert self._process.returncode in ENDS, output
