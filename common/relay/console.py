"""What the relay's console shows while a line is edited there, and on which terminals one can be.

And why there is nothing to be shown: where we cannot listen.
"""

from __future__ import annotations

import errno
import math
import re
from typing import Final

from common.term import text

PROMPT: Final = "\x01\r\x02> "
"""From the first column, of which the editor of the line is told that it takes no room."""
NO_PROMPT: Final = b"\r\x1b[K\x1b[?2004l"
"""Clears the line being edited, and ends the bracketed paste of its editor."""
_INDEX, _SAVE, _RESTORE = "\x1bD", "\x1b7", "\x1b8"
_FAMILIES: Final = re.compile(
    r"alacritty|ansi|contour|cygwin|eterm|foot|ghostty|gnome|iterm|kitty|konsole|linux|mintty|mlterm"
    r"|nsterm|putty|rio|rxvt|screen|st(?:-|$)|teraterm|terminology|tmux|vt[1-5]|vte|wezterm|xterm",
    re.IGNORECASE,
)
"""What begins the names of terminals that do what `above_line` asks (ECMA-48, and the VT100)."""


def can_edit(term: str) -> bool:
    """Tell whether this type of terminal (TERM) is known to take our sequences; others get none."""
    return _FAMILIES.match(term) is not None


def above_line(row: str, columns: int) -> str:
    """Return what writes a row above the line that is being edited, whose cursor stays.

    Thus the line editor, which knows of its own line only, need not be asked.
    """
    count = max(1, math.ceil(text.width(row) / columns))
    # Room below, scrolled if need be; then rows inserted here, and the cursor back in its line.
    return f"{_INDEX * count}\x1b[{count}A{_SAVE}\r\x1b[{count}L{row}{_RESTORE}\x1b[{count}B"


def why_not_bound(problem: OSError, port: int) -> str:
    """Return why we cannot listen, and what to do."""
    if problem.filename:
        at = f"unix:{problem.filename}"
        return f"Cannot listen at {at}: {problem.strerror}. Choose another path with --host."
    if problem.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Stop the other program, or choose another with --port."
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} needs more rights than we have. Choose one above 1023 with --port."
    if problem.errno == errno.EADDRNOTAVAIL:
        return "The host given with --host is no address of this machine. Use one that is."
    return f"Cannot listen on port {port}: {problem.strerror or problem}. Try --host or --port."
