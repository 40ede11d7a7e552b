"""How a person who looks elsewhere is called: mentions, the bell, the title, a desktop notice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from common.term.text import clean, cut, displayed

# Scripts that are written without blanks: Thai, Lao, Tibetan, Myanmar, Khmer, Tai, Balinese,
# Javanese; Han, Kana, Bopomofo, Yi.
_RUN_ON = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff"
    "\uaa60-\uaadf\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff"
)
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff"
# What is drawn on the letter before it, and makes another of it.
_MARKS = (
    "\u0300-\u036f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"
    "\u102b-\u103e\u1056-\u1059\u17b6-\u17d3\u3099\u309a"
)
_COMMAS = r"[\s,\u3001\uff0c]+"
_ALARM_S = 3.0
_NOTICE_CELLS = 100
CLIPBOARD_BYTES = 74_994
"""What terminals are known to take, as 99 992 characters."""
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


def mentions(text: str, name: str, more: str) -> bool:
    """Say whether a text has a name, or one of more words, whole and whatever its case.

    more: words with blanks or commas between them.
    """
    pattern = _whole_words(name, more)
    return pattern is not None and pattern.search(_folded(text)) is not None


@lru_cache(maxsize=16)
def _whole_words(name: str, more: str) -> re.Pattern[str] | None:
    words = [word for word in map(_folded, (name, *re.split(_COMMAS, more))) if word.strip()]
    return re.compile("|".join(map(_whole, words))) if words else None


def _whole(word: str) -> str:
    """Return the pattern of a word where no letter of its own kind of script joins it.

    A script without blanks has no word's end but a guess, so none is asked for. Korean has blanks,
    and writes behind a name, without one, what becomes of it.
    """
    is_run_on = re.compile(f"[{_RUN_ON}]").match
    before = after = rf"[^\W{_RUN_ON}{_HANGUL}]"
    if re.match(f"[{_HANGUL}]", word):
        before = rf"[^\W{_RUN_ON}]"
    start = "" if is_run_on(word[0]) else f"(?<!{before})"
    end = "" if is_run_on(word[-1]) else f"(?!{after})"
    return f"{start}{re.escape(word)}{end}(?![{_MARKS}])"


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


def clipboard(text: str, environ: Mapping[str, str]) -> bytes:
    """Return what puts a text into the terminal's clipboard (OSC 52), or nothing if it cannot be.

    environ: as above.
    """
    data = text.encode("utf-8", "replace")
    # The console of Linux would print the sequence; others cut what is longer.
    if environ.get("TERM", "").startswith("linux") or not 0 < len(data) <= CLIPBOARD_BYTES:
        return b""
    # Here, since no first frame copies anything.
    import binascii

    return b"\x1b]52;c;" + binascii.b2a_base64(data, newline=False) + b"\x1b\\"


def _line(text: str) -> str:
    return cut(displayed(clean(text, multiline=False)), _NOTICE_CELLS)
