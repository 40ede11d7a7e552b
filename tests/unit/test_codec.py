from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.codec import Decoder, Encoder, base64url, from_base64url, utf8
from common.errors import ProtocolError

WIDTHS = {1: Decoder.u8, 2: Decoder.u16, 4: Decoder.u32, 8: Decoder.u64}


@pytest.mark.parametrize(("size", "read"), WIDTHS.items())
def test_integers_are_big_endian_and_bounded(size: int, read: Callable[[Decoder], int]) -> None:
    data = bytes(range(1, size + 1))
    reader = Decoder(data)
    assert read(reader) == int(data.hex(), 16)
    reader.end()
    for cut in range(size):
        with pytest.raises(ProtocolError):
            read(Decoder(data[:cut]))


def test_a_writer_writes_what_a_reader_reads() -> None:
    writer = Encoder().u8(1).u16(2).u32(3).u64(4).raw(b"raw").padded_text("zoë", 6)
    data = writer.bytes()
    assert data == b"\1\0\2\0\0\0\3\0\0\0\0\0\0\0\4raw\4zo\xc3\xab\0\0"
    reader = Decoder(data)
    assert [reader.u8(), reader.u16(), reader.u32(), reader.u64()] == [1, 2, 3, 4]
    assert (reader.take(3), reader.padded_text(6)) == (b"raw", "zoë")
    reader.end()


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_an_integer_too_large_is_a_bug(bits: int) -> None:
    write = getattr(Encoder(), f"u{bits}")
    write(2**bits - 1)
    for value in (2**bits, -1):
        with pytest.raises(OverflowError):
            write(value)


def test_a_reader_does_not_pass_the_end() -> None:
    reader = Decoder(b"abc")
    assert reader.take(2) == b"ab"
    with pytest.raises(ProtocolError):
        reader.take(2)
    assert reader.take(0) == b""
    with pytest.raises(ProtocolError):
        reader.end()
    assert reader.rest() == b"c"
    assert reader.rest() == b""
    reader.end()


@pytest.mark.parametrize(
    "data",
    [b"", b"\1", b"\1abc", b"\5abcd", b"\xffabcd", b"\2ab\0c", b"\0abcd", b"\1\xff\0\0\0"],
)
def test_a_malformed_padded_text_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder(data).padded_text(4)


def test_padded_text_fits_or_is_refused() -> None:
    assert Encoder().padded_text("", 2).padded_text("ab", 2).bytes() == b"\0\0\0\2ab"
    with pytest.raises(ProtocolError):
        Encoder().padded_text("zë", 2)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=16))
def test_padded_text_survives(text: str) -> None:
    reader = Decoder(Encoder().padded_text(text, 64).bytes())
    assert reader.padded_text(64) == text
    reader.end()


@given(st.binary(max_size=12))
def test_any_bytes_are_padded_text_or_a_protocol_error(data: bytes) -> None:
    try:
        text = Decoder(data).padded_text(8)
    except ProtocolError:
        return
    assert Encoder().padded_text(text, 8).bytes() == data[:9]


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"]
)
def test_text_is_strict_utf8(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        utf8(data)


def test_good_text_is_text() -> None:
    assert utf8("zoë\0\n".encode()) == "zoë\0\n"


@pytest.mark.parametrize(
    ("data", "text"), [(b"", ""), (b"\xff", "_w"), (b"\xfb\xef\xbe", "----"), (b"hi", "aGk")]
)
def test_base64_is_url_safe_and_unpadded(data: bytes, text: str) -> None:
    assert base64url(data) == text
    assert from_base64url(text) == data


@pytest.mark.parametrize(
    "text",
    ["A", "_w==", "_x", "aGk h", "aGkh\n", "+++/", "aGkh=", "=", "é", "aGkh!", "\udce9", "aGkhA"],
)
def test_base64_has_one_text_for_one_value(text: str) -> None:
    with pytest.raises(ProtocolError):
        from_base64url(text)


@given(st.text("ABab01-_+/= \n", max_size=8))
def test_any_text_is_base64_or_a_protocol_error(text: str) -> None:
    try:
        data = from_base64url(text)
    except ProtocolError:
        return
    assert base64url(data) == text


@given(st.binary(max_size=40))
def test_bytes_survive_base64(data: bytes) -> None:
    assert from_base64url(base64url(data)) == data
