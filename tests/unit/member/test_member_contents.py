"""What a message holds, and that nothing else passes for it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import Unreadable, UsageError
from common.member import contents
from common.member.contents import (
    MAX_AWAY_BYTES,
    MAX_PASSWORD_BYTES,
    Away,
    Password,
    Text,
    Unsupported,
)
from common.member.events import PasswordTold
from tests.unit.crypto.vectors import TERMCHAT, unhex
from tests.unit.member.table import Table


def shape(
    kind: int,
    data: bytes,
    *,
    length: int | None = None,
    blocks: int | None = None,
    line: int | None = None,
) -> bytes:
    """A content by the letter of PROTOCOL.md 5.4, or nearly so; with a line, a direct one."""
    size = len(data) if length is None else length
    number = b"" if line is None else line.to_bytes(8)
    whole = bytes([kind]) + number + size.to_bytes(2) + data
    blocks = -(-len(whole) // 128) if blocks is None else blocks
    return whole.ljust(blocks * 128, b"\0")


@given(st.text(max_size=600))
@example("x" * 125)
@example("x" * 126)
@example("x" * 16_384)
def test_a_text_round_trips(text: str) -> None:
    data = contents.encode(Text(text))
    assert data == shape(1, text.encode())
    assert contents.decode(data) == (Text(text), 0)
    direct = contents.encode(Text(text), 7)
    assert direct == shape(1, text.encode(), line=7)
    assert contents.decode(direct, is_direct=True) == (Text(text), 7)


ONE_ROW = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=50)


@given(ONE_ROW)
def test_a_password_and_an_absence_round_trip(text: str) -> None:
    for kind, content in ((3, Password(text)), (4, Away(text))):
        data = contents.encode(content)
        assert data == shape(kind, text.encode())
        assert contents.decode(data) == (content, 0)
    assert contents.decode(shape(4, b"")) == (Away(""), 0)


@pytest.mark.parametrize(
    "content",
    [Password(""), Password("x" * (MAX_PASSWORD_BYTES + 1)), Away("x" * (MAX_AWAY_BYTES + 1))],
)
def test_what_is_too_long_or_no_password(content: contents.Content) -> None:
    with pytest.raises(UsageError, match="Nothing was sent"):
        contents.encode(content)


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_a_password_and_an_absence_are_of_one_row(code: int) -> None:
    text = f"x{chr(code)}14:17 ace: pay me"
    for kind, content in ((3, Password(text)), (4, Away(text))):
        with pytest.raises(Unreadable):
            contents.decode(shape(kind, text.encode()))
        with pytest.raises(UsageError, match="Nothing was sent"):
            contents.encode(content)
    assert contents.decode(shape(1, text.encode())) == (Text(text), 0)


def test_a_password_does_not_show() -> None:
    assert "hunter2" not in repr(Password("hunter2"))


@pytest.mark.parametrize(("size", "padded"), [(0, 128), (125, 128), (126, 256), (16_384, 16_512)])
def test_the_fewest_zeros(size: int, padded: int) -> None:
    assert len(contents.encode(Text("x" * size))) == padded


def test_the_vectors() -> None:
    for vector in TERMCHAT["messages"]:
        content, line = unhex(vector["content"]), vector.get("line")
        decoded, number = contents.decode(content, is_direct=line is not None)
        assert isinstance(decoded, Text)
        assert number == (line or 0)
        assert contents.encode(decoded, line) == content


def test_a_lone_surrogate_is_sent_as_a_question_mark() -> None:
    assert contents.decode(contents.encode(Text("a\ud800b")))[0] == Text("a?b")


@pytest.mark.parametrize("text", ["x" * 16_385, "é" * 8_193])
def test_too_long(text: str) -> None:
    with pytest.raises(UsageError, match="Nothing was sent"):
        contents.encode(Text(text))
    with pytest.raises(UsageError):
        contents.check(Text(text))


@pytest.mark.parametrize("kind", [0, 2, 5, 255])
def test_a_kind_we_do_not_know(kind: int) -> None:
    assert contents.decode(shape(kind, b"anything")) == (Unsupported(kind), 0)


@pytest.mark.parametrize(
    "padded",
    [
        b"",
        b"\1",
        b"\1\0\0",
        shape(1, b"hi")[:-1],
        shape(1, b"hi") + b"\0",
        shape(1, b"hi", blocks=2),
        shape(1, b"", blocks=2),
        shape(1, b"hi", length=1),
        shape(1, b"hi")[:-1] + b"\1",
        shape(1, b"hi", length=126),
        shape(1, b"\xff"),
        shape(1, "é".encode(), length=1).replace("é".encode(), b"\xc3\0"),
        shape(1, b"x" * 16_385),
        shape(9, b"hi", blocks=2),
        shape(3, b""),
        shape(3, b"x" * (MAX_PASSWORD_BYTES + 1)),
        shape(3, b"\xff"),
        shape(4, b"x" * (MAX_AWAY_BYTES + 1)),
    ],
)
def test_malformed(padded: bytes) -> None:
    with pytest.raises(Unreadable):
        contents.decode(padded)


@pytest.mark.parametrize("padded", [b"\1" + bytes(7), b"\1" + bytes(9), shape(1, b"x" * 126)])
def test_a_direct_one_without_its_number(padded: bytes) -> None:
    with pytest.raises(Unreadable):
        contents.decode(padded, is_direct=True)


@given(st.binary(max_size=300) | st.binary(min_size=128, max_size=128), st.booleans())
@example(shape(1, b"hi", line=2**64 - 1), True)
def test_any_bytes(data: bytes, is_direct: bool) -> None:
    try:
        content, line = contents.decode(data, is_direct=is_direct)
    except Unreadable:
        return
    assert is_direct or line == 0
    if not isinstance(content, Unsupported):
        assert contents.encode(content, line if is_direct else None) == data


def test_a_password_told_to_one_alone_is_ignored() -> None:
    table = Table()
    ace, bea = table.seat("ace", "bea")
    bea.events.clear()
    ace.conv._queue(Password("lie"), ace.peer(bea))
    ace.send()
    ace.say("after it", bea)
    bea.read()
    assert bea.said == ["after it"]
    assert not bea.troubles
    assert not [event for event in bea.events if isinstance(event, PasswordTold)]
