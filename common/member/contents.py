"""What is inside an opened message: text, a file offer, padding."""

from __future__ import annotations

from typing import NamedTuple

from common.codec import Reader, Writer, utf8
from common.errors import ProtocolError, Unreadable, UsageError

MAX_TEXT_BYTES = 16_384
PADDED_BYTES = 128

_TEXT = 1


class Text(NamedTuple):
    """What was said."""

    text: str


class Unsupported(NamedTuple):
    """Content of a kind that this version does not know."""

    kind: int


def check_text(text: str) -> None:
    """Check that a text can be sent.

    Raises:
        UsageError: if it is too long.
    """
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_TEXT_BYTES:
        raise UsageError(
            f"{MAX_TEXT_BYTES // 1024} KB is the limit, this is {-(-size // 1024)} KB. "
            "Nothing was sent."
        )


def encode(content: Text) -> bytes:
    """Return a content with the fewest zeros that fill its last block (PROTOCOL.md 5.3).

    Raises:
        UsageError: if it is too long.
    """
    check_text(content.text)
    # A lone surrogate, which a terminal can produce, is no character and cannot be sent as one.
    data = content.text.encode("utf-8", "replace")
    content_bytes = Writer().u8(_TEXT).u16(len(data)).raw(data).bytes()
    return content_bytes.ljust(-(-len(content_bytes) // PADDED_BYTES) * PADDED_BYTES, b"\0")


def decode(padded: bytes) -> Text | Unsupported:
    """Read a content.

    Raises:
        Unreadable: if it is malformed, padding included.
    """
    reader = Reader(padded)
    try:
        kind = reader.u8()
        data = reader.take(reader.u16())
        padding = reader.rest()
        if len(padded) % PADDED_BYTES or len(padding) >= PADDED_BYTES or any(padding):
            raise ProtocolError("the padding is not what it must be")
        if kind != _TEXT:
            return Unsupported(kind)
        if len(data) > MAX_TEXT_BYTES:
            raise ProtocolError("the text is too long")
        return Text(utf8(data))
    except ProtocolError as error:
        raise Unreadable(str(error)) from None
