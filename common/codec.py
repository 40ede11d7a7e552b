"""Decoder and Encoder: integers, byte strings and text, bounds-checked."""

from __future__ import annotations

import base64
import binascii

from common.errors import ProtocolError


class Decoder:
    """Reads big-endian fields off the front of a byte string.

    Every method raises ProtocolError when the field is not there whole.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise ProtocolError("a field is cut short")
        field = self._data[self._at : end]
        self._at = end
        return field

    def u8(self) -> int:
        """Return the next byte as an integer."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Return the next two bytes as an integer."""
        return int.from_bytes(self.take(2))

    def u32(self) -> int:
        """Return the next four bytes as an integer."""
        return int.from_bytes(self.take(4))

    def u64(self) -> int:
        """Return the next eight bytes as an integer."""
        return int.from_bytes(self.take(8))

    def padded_text(self, size: int) -> str:
        """Return UTF-8 text: a length byte, then `size` bytes that end in zeros."""
        length = self.u8()
        field = self.take(size)
        if length > size or any(field[length:]):
            raise ProtocolError("a name is not padded with zeros")
        return utf8(field[:length])

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise ProtocolError("bytes are left over")


class Encoder:
    """Collects big-endian fields; each method returns the encoder, so that calls chain.

    An integer too large for its field raises OverflowError: a bug of ours.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def raw(self, data: bytes) -> Encoder:
        """Append bytes as they are."""
        self._parts.append(data)
        return self

    def u8(self, value: int) -> Encoder:
        """Append one byte."""
        return self.raw(value.to_bytes(1))

    def u16(self, value: int) -> Encoder:
        """Append two bytes."""
        return self.raw(value.to_bytes(2))

    def u32(self, value: int) -> Encoder:
        """Append four bytes."""
        return self.raw(value.to_bytes(4))

    def u64(self, value: int) -> Encoder:
        """Append eight bytes."""
        return self.raw(value.to_bytes(8))

    def padded_text(self, text: str, size: int) -> Encoder:
        """Append a length byte, the UTF-8 of `text`, and zeros up to `size` bytes."""
        data = text.encode()
        if len(data) > size:
            raise ProtocolError("a name is too long")
        return self.u8(len(data)).raw(data.ljust(size, b"\0"))

    def bytes(self) -> bytes:
        """Return everything appended so far."""
        return b"".join(self._parts)


def utf8(data: bytes) -> str:
    """Decode strict UTF-8 (RFC 3629).

    Raises:
        ProtocolError: if it is not.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolError("text is not UTF-8") from None


def base64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 4648 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Decode unpadded base64url.

    Python's decoder drops foreign characters and stray bits, so that many texts would stand for
    one value: only the text that encoding the result gives back is taken.

    Raises:
        ProtocolError: if `text` is anything else.
    """
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        raise ProtocolError("text is not base64") from None
    if base64url(data) != text:
        raise ProtocolError("text is not base64")
    return data
