"""What is inside an opened message: text, a told password, an absence, a file offer, padding."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from common.codec import Decoder, Encoder, utf8
from common.errors import ProtocolError, Unreadable, UsageError

MAX_TEXT_BYTES = 16_384
PADDED_BYTES = 128
MAX_PASSWORD_BYTES = 400
"""What fits into an operator's COMMAND beside its word."""
MAX_AWAY_BYTES = 200
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
"""The general category Cc. A password and an absence are shown in a row of ours: one, that is."""


class Text(NamedTuple):
    """What was said."""

    text: str


class Password(NamedTuple):
    """The relay's new password, told by a member: one more to try, and no proof of anything."""

    text: str

    def __repr__(self) -> str:
        """Hide it."""
        return "Password()"


class Away(NamedTuple):
    """The sender is away, and why; "" once it is back."""

    text: str


Content = Text | Password | Away


class Unsupported(NamedTuple):
    """Content of a kind that this version does not know."""

    kind: int


_KINDS: Final[dict[int, tuple[type[Content], int]]] = {
    1: (Text, MAX_TEXT_BYTES),
    3: (Password, MAX_PASSWORD_BYTES),
    4: (Away, MAX_AWAY_BYTES),
}
"""The class of each kind, and how much data it may have."""
_NUMBERS: Final = {content: kind for kind, (content, _) in _KINDS.items()}


def check(content: Content) -> None:
    """Check that a content can be sent.

    Raises:
        UsageError: if it is too long, a password of nothing, or not of one row.
    """
    size = len(_utf8(content.text))
    if not isinstance(content, Text) and _CONTROL.search(content.text):
        raise UsageError("A control character, such as a tab, cannot be sent so. Nothing was sent.")
    match content:
        case Text() if size > MAX_TEXT_BYTES:
            raise UsageError(
                f"{MAX_TEXT_BYTES // 1024} KB is the limit, this is {-(-size // 1024)} KB. "
                "Nothing was sent."
            )
        case Password() if not 0 < size <= MAX_PASSWORD_BYTES:
            raise UsageError(f"A password has 1 to {MAX_PASSWORD_BYTES} bytes. Nothing was sent.")
        case Away() if size > MAX_AWAY_BYTES:
            raise UsageError(f"{MAX_AWAY_BYTES} bytes is the limit here. Nothing was sent.")
        case _:
            pass


def encode(content: Content, line: int | None = None) -> bytes:
    """Return a content with the fewest zeros that fill its last block (PROTOCOL.md 5.4).

    Args:
        line: its number, below 2^64, if it is for one member alone.

    Raises:
        UsageError: as `check`.
    """
    check(content)
    data = _utf8(content.text)
    head = Encoder().u8(_NUMBERS[type(content)])
    if line is not None:
        head.u64(line)
    whole = head.u16(len(data)).raw(data).bytes()
    return whole.ljust(-(-len(whole) // PADDED_BYTES) * PADDED_BYTES, b"\0")


def _utf8(text: str) -> bytes:
    # A lone surrogate, which a terminal can produce, is no character and cannot be sent as one.
    return text.encode("utf-8", "replace")


def decode(padded: bytes, *, is_direct: bool = False) -> tuple[Content | Unsupported, int]:
    """Read a content, and the number of its line; 0 for what is said to the room.

    Raises:
        Unreadable: if it is malformed, padding included.
    """
    reader = Decoder(padded)
    try:
        kind = reader.u8()
        line = reader.u64() if is_direct else 0
        data = reader.take(reader.u16())
        padding = reader.rest()
        if len(padded) % PADDED_BYTES or len(padding) >= PADDED_BYTES or any(padding):
            raise ProtocolError("the padding is not what it must be")
        if kind not in _KINDS:
            return Unsupported(kind), line
        content, most = _KINDS[kind]
        if len(data) > most or (content is Password and not data):
            raise ProtocolError("a content of a length that it cannot have")
        text = utf8(data)
        if content is not Text and _CONTROL.search(text):
            raise ProtocolError("a control character where only text may be")
        return content(text), line
    except ProtocolError as error:
        raise Unreadable(str(error)) from None
