"""How a person who looks elsewhere is called: mentions, the bell, the title, a desktop notice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache

from common.term.text import clean, cut, displayed

_ALARM_S = 3.0
_NOTICE_CELLS = 100
_NOTICES_777 = ("foot", "rxvt", "wezterm", "ghostty")


class Alarm:
    """Lets at most one call through in three seconds; one for the bell, one for notices."""

    def __init__(self) -> None:
        self._quiet_until = float("-inf")

    def may_ring(self, now: float) -> bool:
        """Say whether to call now; if so, the next three seconds are quiet."""
        if now < self._quiet_until:
            return False
        self._quiet_until = now + _ALARM_S
        return True


def mentions(text: str, words: Iterable[str]) -> bool:
    """Say whether a text has one of the words, whole and whatever its case."""
    pattern = _whole_words(tuple(words))
    return pattern is not None and pattern.search(_folded(text)) is not None


@lru_cache(maxsize=16)
def _whole_words(words: tuple[str, ...]) -> re.Pattern[str] | None:
    folded = [re.escape(_folded(word)) for word in words if word.strip()]
    return re.compile(rf"(?<!\w)(?:{'|'.join(folded)})(?!\w)") if folded else None


def _folded(text: str) -> str:
    # Composed, lest the letter before a mark end a word.
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()


def title(text: str) -> bytes:
    """Return what sets the title of the terminal's window."""
    return f"\x1b]2;{_line(text)}\x1b\\".encode()


def notice(text: str, environ: Mapping[str, str]) -> bytes:
    """Return what makes the terminal show a desktop notice (UX.md 6).

    environ: of the process; TERM and what terminals leave in it tell which they are.
    """
    line = _line(text).replace(";", ",")
    term = f"{environ.get('TERM', '')} {environ.get('TERM_PROGRAM', '')}".casefold()
    if "kitty" in term or "KITTY_WINDOW_ID" in environ:
        return f"\x1b]99;;{line}\x1b\\".encode()
    if "VTE_VERSION" in environ or any(name in term for name in _NOTICES_777):
        return f"\x1b]777;notify;termchat;{line}\x1b\\".encode()
    return f"\x1b]9;{line}\x1b\\".encode()


def _line(text: str) -> str:
    return cut(displayed(clean(text, multiline=False)), _NOTICE_CELLS)
