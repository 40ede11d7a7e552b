"""What is seen of us from outside: in `ps` flags without their secrets, and no core file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, MutableMapping

_ARGUMENTS, _VARIABLES = 48, 50
"""The fields of /proc/PID/stat that say where each begins; the next says where it ends: proc(5)."""


def leave_no_core() -> None:
    """Let no crash write our memory, with keys and texts, to a file."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def hide(
    secrets: Iterable[str | None],
    environ: MutableMapping[str, str],
    variables: Iterable[str],
) -> None:
    """Take these variables away, and blank them and these arguments where that can be done.

    Children get no secret, and who lists processes sees none from now on.
    """
    taken = [name for name in variables if environ.pop(name, None) is not None]
    if sys.platform == "linux":
        # A kernel may forbid it: then they stay as visible as flags are anywhere.
        with contextlib.suppress(OSError, ValueError, IndexError):
            wanted = {os.fsencode(secret) for secret in secrets if secret}
            _blank(wanted, tuple(os.fsencode(name) + b"=" for name in taken))


def _blank(secrets: set[bytes], variables: tuple[bytes, ...]) -> None:
    # The name of the program, in brackets, may hold anything.
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    fd = os.open("/proc/self/mem", os.O_RDWR)
    try:
        for first, is_variable in ((_ARGUMENTS, False), (_VARIABLES, True)):
            start, end = int(fields[first - 3]), int(fields[first - 2])
            at = start
            for word in os.pread(fd, end - start, start).split(b"\0"):
                value = word.partition(b"=")[2]
                is_secret = word.startswith(variables) if is_variable else value in secrets
                hidden = value if is_secret else word if word in secrets else b""
                os.pwrite(fd, b"*" * len(hidden), at + len(word) - len(hidden))
                at += len(word) + 1
    finally:
        os.close(fd)
