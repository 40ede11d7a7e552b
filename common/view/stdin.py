"""What comes on standard input becomes messages: by the line, or one a row of JSON (UX.md 8)."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Final, Protocol

from common.view.view import Post, Unsent

MESSAGE_BYTES: Final = 16_384
"""PROTOCOL.md 5.4: the UTF-8 of one text."""
ROW_BYTES: Final = 8 * MESSAGE_BYTES
"""JSON may need six bytes for one of text."""
_LIMIT: Final = f"{MESSAGE_BYTES // 1024} KB is the limit"


class Feed(Protocol):
    """Bytes in, messages out; a feed never holds more than a row of its kind."""

    def receive(self, data: bytes) -> Iterator[Post | Unsent]:
        """Take what standard input gave, b"" at its end."""


class LineFeed:
    """Lines that come together are one message, which ends at the end of a line."""

    def __init__(self, *, is_block: bool = False, is_strict: bool = False) -> None:
        """Prepare; a block waits for the end, and who is strict splits nothing."""
        self._is_block = is_block
        self._is_strict = is_strict
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._data = b""  # UTF-8, though what came may not have been
        self._line = 1  # the number of the first in `_data`
        self._is_skipping = False

    def receive(self, data: bytes) -> Iterator[Post | Unsent]:
        """Take what standard input gave, b"" at its end."""
        is_end = not data
        self._data += self._decoder.decode(data, is_end).encode()
        if self._is_skipping:
            self._skip()
        # The end of the last line is no part of a message.
        while len(self._data) > MESSAGE_BYTES + (self._data[MESSAGE_BYTES:] == b"\n"):
            end = self._data.rfind(b"\n", 0, MESSAGE_BYTES + 1) + 1
            if self._is_strict and (self._is_block or not end):
                yield self._refused()
                self._skip()
            else:
                yield from self._take(end or _character(self._data, MESSAGE_BYTES))
        end = len(self._data) if is_end else self._data.rfind(b"\n") + 1
        # Blank lines wait for what they stand before.
        if (is_end or not self._is_block) and self._data[:end].strip():
            yield from self._take(end)

    def _take(self, end: int) -> Iterator[Post]:
        taken, self._data = self._data[:end], self._data[end:]
        first, self._line = self._line, self._line + taken.count(b"\n")
        text = taken.removesuffix(b"\n").decode()
        if text.strip():
            yield Post(text, "", f"Line {first}")

    def _refused(self) -> Unsent:
        if self._is_block:
            return Unsent(f"{_LIMIT}, and this is more. Nothing was sent.")
        return Unsent(f"Line {self._line}: {_LIMIT}, and this is more. It was not sent.")

    def _skip(self) -> None:
        """Forget the rest of what was refused: of a line, or of everything."""
        end = 0 if self._is_block else self._data.find(b"\n") + 1
        self._is_skipping = not end
        self._line += bool(end)
        self._data = self._data[end:] if end else b""


class RowFeed:
    """One message a row: `{"text": ..., "to": NAME}`, the latter for a direct one."""

    def __init__(self) -> None:
        self._data = b""
        self._row = 0

    def receive(self, data: bytes) -> Iterator[Post | Unsent]:
        """Take what standard input gave, b"" at its end."""
        *rows, rest = (self._data + data).split(b"\n")
        if not data:
            rows, rest = [*rows, rest], b""
        # One byte more than a row may have: the rest of it tells us nothing.
        self._data = rest[: ROW_BYTES + 1]
        for row in rows:
            self._row += 1
            if row.strip():
                yield self._read(row)

    def _read(self, row: bytes) -> Post | Unsent:
        what = f"Row {self._row}"
        if len(row) > ROW_BYTES:
            return Unsent(f"{what}: {_LIMIT}, and this is more. It was not sent.")
        try:
            value = json.loads(row)
        except (ValueError, RecursionError):
            value = None
        # A word we do not know may be `to` misspelt: then the room must not be told.
        if not isinstance(value, dict) or not {"text"} <= value.keys() <= {"text", "to"}:
            return Unsent(f'{what} is not {{"text": ..., "to": NAME}}. It was not sent.')
        text, to = value["text"], value.get("to", "")
        if not isinstance(text, str) or not isinstance(to, str) or not text.strip():
            return Unsent(f"{what}: text and to are strings, text not blank. It was not sent.")
        return Post(text, to, what)


def _character(data: bytes, at: int) -> int:
    """Return where the UTF-8 character begins that holds this byte."""
    while data[at] & 0xC0 == 0x80:
        at -= 1
    return at
