"""What a command of the user's prints, which asks a keyring for KEY or a password."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from common import files, streams
from common.errors import FileError


def ask(command: str, flag: str, what: str, hidden: Iterable[str], least: int) -> str:
    """Return the first line that `command`, run by the shell, prints; it may use the terminal.

    Args:
        command: the user's words, and no other's.
        flag: that named it, for sentences.
        what: it tells, likewise.
        hidden: variables of the environment that are secrets of ours, which it need not know.
        least: as of `files.read_secret`.

    Raises:
        FileError: if it fails, or prints none.
    """
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    out, child_out = os.pipe()
    try:
        with subprocess.Popen(  # noqa: S602 - see above
            command, shell=True, stdout=child_out, env=environ
        ) as child:
            os.close(child_out)
            child_out = -1
            line = files.first_line(out, least)
            while streams.read(out, files.MAX_SECRET_BYTES):
                pass  # nobody should be cut off who still writes
    except (OSError, ValueError) as problem:  # ValueError: a zero byte in it
        why = getattr(problem, "strerror", None) or "it cannot be one"
        raise FileError(f"Cannot run the command of {flag}: {why}.") from None
    finally:
        for fd in (out, child_out):
            if fd >= 0:
                os.close(fd)
    if child.returncode:
        raise FileError(f"The command of {flag} failed: it ended with {child.returncode}.")
    return files.decode_secret(line, f"The output of the command of {flag}", what)
