"""Cleaning foreign text, and its width in cells; a length of time in words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_ZWNJ, _ZWJ = "\u200c", "\u200d"
_TAB = "    "
# A base with more marks than any script needs paints over the rows above and below it.
_MARKS_PER_BASE = 4

# Invisible, and of no use to a screen that draws cells from left to right.
_LEFT_OUT = frozenset("\u200b\u200e\u200f\u061c\u2060\ufeff\u00ad")
# Terminals disagree about the columns of what these join or restyle, so they are not drawn.
_JOINERS = frozenset((_ZWNJ, _ZWJ, "\ufe0e", "\ufe0f", *map(chr, range(0x1F3FB, 0x1F400))))
_DISPLAY: dict[int, str] = {ord(c): "" for c in _JOINERS} | {ord("\t"): _TAB}

# Arabic number signs: category Cf, yet the C library gives them a cell.
_NUMBER_SIGNS = frozenset(
    map(chr, (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD))
)

# What is no part of an address (RFC 3986 appendix C), and what CJK and typographic quotes put
# behind one without a blank. U+3000 to U+303F but the letters there, and the wide forms of ASCII.
_URL = (
    r"""(?i)https?://[\w\[][^\s<>"`\u2018-\u201f\u2026\u2039\u203a\xab\xbb\u3000-\u3004\u3008-\u3020"""
    r"""\u3030\ufe10-\ufe19\ufe30-\ufe4f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]*"""
)
_BRACKETS = {")": "(", "]": "[", "}": "{"}
# What ends a sentence or an emphasis, and a bracket that is not closed.
_BEHIND_URL = ".,;:!?'*~\\([{\u2013\u2014\u060c\u061b\u061f\u06d4\u0964\u0965"


def clean(text: str, *, multiline: bool = True) -> str:
    """Return text that no terminal can take for anything but text (UX.md 10).

    A control becomes its picture, what else is invisible its code in angle brackets. Newline and
    tab are kept, or become a space if not multiline. To clean twice is to clean once.
    """
    if text.isascii() and text.isprintable():
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not multiline:
        text = text.replace("\n", " ").replace("\t", " ")
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    seen = set(text)
    pictures = {ord(char): shown for char in seen if (shown := _picture(char)) != char}
    if pictures:
        text = text.translate(pictures)
    return _limit_marks(text) if any(map(_is_mark, seen)) else text


def _picture(char: str) -> str:
    if "\U000e0000" <= char <= "\U000e0fff":
        # Tags, and the selectors among them, can carry a text that nobody sees.
        return f"<{ord(char):X}>"
    if char.isprintable() or char in "\n\t" or char in _JOINERS:
        return char
    if char in _LEFT_OUT:
        return ""
    if char < " ":
        return chr(0x2400 + ord(char))
    if char == "\x7f":
        return "\u2421"
    match unicodedata.category(char):
        case "Cs":
            return "\ufffd"
        case "Zs":
            return char
        case _:
            return f"<{ord(char):02X}>"


@lru_cache(maxsize=4096)
def _is_mark(char: str) -> bool:
    """Say whether a character is drawn over the one before it."""
    return char not in _JOINERS and _cells(char) == 0


def _limit_marks(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for char in text:
        if _is_mark(char):
            marks += 1
            if marks > _MARKS_PER_BASE:
                continue
        elif char not in _JOINERS:
            # A joiner is not drawn, so it must not begin a new base for the marks behind it.
            marks = 0
        kept.append(char)
    return "".join(kept)


def duration(seconds: float) -> str:
    """Return a length of time in its largest whole unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def displayed(text: str) -> str:
    """Return clean text as it is drawn: no joiners or skin tones, a tab as four spaces."""
    return text.replace("\t", _TAB) if text.isascii() else text.translate(_DISPLAY)


@lru_cache(maxsize=4096)
def _cells(char: str) -> int:
    """Return the cells of one character, as the C library counts them (UX.md 12)."""
    code = ord(char)
    if code < 0x80:
        return 1
    if 0x1160 <= code <= 0x11FF or 0xD7B0 <= code <= 0xD7FF:
        return 0
    if 0x3248 <= code <= 0x324F or 0x4DC0 <= code <= 0x4DFF:
        return 2
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 1 if char in _NUMBER_SIGNS else 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def width(text: str) -> int:
    """Return the cells that displayed text without newlines takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def fitting(text: str, start: int, cells: int) -> int:
    """Return where the longest run of whole graphemes from start that fits cells ends."""
    if text.isascii():
        return min(start + cells, len(text))
    used = 0
    for end in range(start, len(text)):
        used += _cells(text[end])
        if used > cells:
            return max(start, boundary(text, end))
    return len(text)


def cut(text: str, cells: int) -> str:
    """Return displayed text, shortened with `~` at its end if it is wider than cells."""
    if width(text) <= cells:
        return text
    return text[: fitting(text, 0, cells - 1)] + "~" if cells > 0 else ""


@lru_cache(maxsize=4096)
def _class(char: str) -> str:
    """Return how a character joins the one before it."""
    if char < "\x80":
        return "base"
    category = unicodedata.category(char)
    if char in _JOINERS or category == "Mc" or _is_mark(char):
        return "extends"
    if "\U0001f1e6" <= char <= "\U0001f1ff":
        return "flag"
    return "symbol" if category.startswith("S") else "base"


def next_grapheme(text: str, start: int) -> int:
    """Return where the grapheme that begins at start ends."""
    end, size = start + 1, len(text)
    if end >= size or text[start] == "\n" or text[end] < "\x80":
        return min(end, size)
    if _class(text[start]) == "flag" and _class(text[end]) == "flag":
        end += 1
    while end < size:
        joins = _class(text[end])
        if joins != "extends" and not (joins == "symbol" and text[end - 1] == _ZWJ):
            break
        end += 1
    return end


def boundary(text: str, index: int) -> int:
    """Return the last boundary between graphemes at or before index."""
    if index <= 0 or index >= len(text):
        return max(0, min(index, len(text)))
    start = index
    while start > 0 and not _is_sure_boundary(text, start):
        start -= 1
    while (end := next_grapheme(text, start)) <= index:
        start = end
    return start


def _is_sure_boundary(text: str, index: int) -> bool:
    """Say whether the two characters around index are enough to part them there."""
    before, here = text[index - 1], text[index]
    joins = _class(here)
    if joins == "base" or before == "\n":
        return True
    if joins == "flag":
        return _class(before) == "base"
    return joins == "symbol" and before != _ZWJ


def urls(text: str) -> list[tuple[int, int]]:
    """Return where each URL of a text begins and ends.

    A closing bracket belongs to it if it was opened there; what ends a sentence does not.
    """
    if "://" not in text:
        return []
    found = []
    at = 0
    url = re.compile(_URL)  # here, since no first frame has one
    while match := url.search(text, at):
        start, host = match.start(), text.index("://", match.start()) + 3
        at = _url_end(text, start, match.end())
        if at > host:
            found.append((start, at))
    return found


def _url_end(text: str, start: int, end: int) -> int:
    """Return where a URL ends, of which nothing is behind end."""
    is_quoted = text[start - 1 : start] == "'"
    opened = dict.fromkeys(_BRACKETS.values(), 0)
    for at in range(start, end):
        char = text[at]
        if char in opened:
            opened[char] += 1
        elif char in _BRACKETS:
            opened[_BRACKETS[char]] -= 1
        if opened.get(_BRACKETS.get(char, ""), 0) < 0 or (char == "'" and is_quoted):
            end = at
            break
    return start + len(text[start:end].rstrip(_BEHIND_URL))
