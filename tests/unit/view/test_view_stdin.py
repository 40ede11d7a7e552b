"""Standard input becomes messages: nothing is lost, nothing is too long."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.member.contents import MAX_TEXT_BYTES
from common.view.stdin import MESSAGE_BYTES, ROW_BYTES, Feed, LineFeed, RowFeed
from common.view.view import Post, Unsent

pieces = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.just(b"\n"),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
        st.integers(1, 40_000).map(lambda size: b"x" * size),
        st.integers(1, 9_000).map(lambda size: "日".encode() * size),
    ),
    max_size=8,
)


def fed(feed: Feed, *chunks: bytes) -> list[Post | Unsent]:
    return [out for chunk in (*[c for c in chunks if c], b"") for out in feed.receive(chunk)]


def texts(found: list[Post | Unsent]) -> list[str]:
    return [post.text for post in found if isinstance(post, Post)]


def test_the_limit_is_that_of_a_message() -> None:
    assert MESSAGE_BYTES == MAX_TEXT_BYTES


class TestLines:
    def test_lines_that_come_together_are_one_message(self) -> None:
        feed = LineFeed()
        assert texts(list(feed.receive(b"one\ntwo\nth"))) == ["one\ntwo"]
        assert texts(list(feed.receive(b"ree\n"))) == ["three"]
        assert texts(list(feed.receive(b"no end"))) == []
        assert texts(list(feed.receive(b""))) == ["no end"]

    def test_blank_lines_wait_for_what_they_stand_before(self) -> None:
        feed = LineFeed()
        assert not list(feed.receive(b"\n \n"))
        assert texts(list(feed.receive(b"x\n"))) == ["\n \nx"]
        assert not list(feed.receive(b"\n"))
        assert not list(feed.receive(b""))

    def test_a_block_waits_for_the_end(self) -> None:
        feed = LineFeed(is_block=True)
        assert not list(feed.receive(b"one\n"))
        assert not list(feed.receive(b"two\n"))
        assert texts(list(feed.receive(b""))) == ["one\ntwo"]

    def test_what_is_too_long_is_split_at_the_end_of_a_line(self) -> None:
        lines = [f"line {number}" for number in range(5_000)]
        found = texts(fed(LineFeed(is_block=True), "\n".join(lines).encode()))
        assert len(found) == 3
        assert "\n".join(found).split("\n") == lines

    @pytest.mark.parametrize("end", [b"", b"\n"])
    def test_a_message_of_just_the_limit_is_one(self, end: bytes) -> None:
        for feed in (LineFeed(), LineFeed(is_strict=True), LineFeed(is_block=True, is_strict=True)):
            assert fed(feed, b"x" * MESSAGE_BYTES + end) == [
                Post("x" * MESSAGE_BYTES, "", "Line 1")
            ]

    def test_who_is_strict_refuses_a_line_and_goes_on(self) -> None:
        long = b"x" * (MESSAGE_BYTES + 1)
        first, refused, last = fed(LineFeed(is_strict=True), b"a\n" + long, long + b"\n\nb\n")
        assert first == Post("a", "", "Line 1")
        assert refused == Unsent("Line 2: 16 KB is the limit, and this is more. It was not sent.")
        assert last == Post("\nb", "", "Line 3")

    def test_a_strict_block_is_sent_whole_or_not_at_all(self) -> None:
        chunks = [b"a line\n" * 1_000] * 9
        (refused,) = fed(LineFeed(is_block=True, is_strict=True), *chunks)
        assert refused == Unsent("16 KB is the limit, and this is more. Nothing was sent.")

    @given(pieces, st.booleans())
    def test_nothing_is_lost(self, chunks: list[bytes], is_block: bool) -> None:
        found = texts(fed(LineFeed(is_block=is_block), *chunks))
        assert all(len(text.encode()) <= MESSAGE_BYTES for text in found)
        sent = b"".join(chunks).decode("utf-8", "replace")
        assert "".join("".join(found).split()) == "".join(sent.split())

    @given(pieces, st.booleans())
    def test_where_it_is_cut_does_not_matter_to_a_block(
        self, chunks: list[bytes], is_strict: bool
    ) -> None:
        whole = fed(LineFeed(is_block=True, is_strict=is_strict), b"".join(chunks))
        assert fed(LineFeed(is_block=True, is_strict=is_strict), *chunks) == whole


class TestRows:
    def test_a_row_is_a_message(self) -> None:
        rows = b'{"text": "hi"}\n\n{"text": "a\\nb", "to": "bea"}'
        assert fed(RowFeed(), rows) == [Post("hi", "", "Row 1"), Post("a\nb", "bea", "Row 3")]

    @pytest.mark.parametrize(
        "row",
        [
            b"hello",
            b"[1]",
            b"{}",
            b'{"to": "bea"}',
            # `to` misspelt must not tell the room.
            b'{"text": "secret", "too": "bea"}',
            b'{"text": 1}',
            b'{"text": "x", "to": null}',
            b'{"text": " "}',
            b"\xff",
            b"[" * 100_000,
            b'{"text": "' + b"x" * ROW_BYTES + b'"}',
        ],
    )
    def test_a_bad_row_is_named_and_the_next_is_sent(self, row: bytes) -> None:
        bad, good = fed(RowFeed(), b'\n%s\n{"text": "x"}\n' % row)
        assert isinstance(bad, Unsent)
        assert bad.why.startswith("Row 2")
        assert good == Post("x", "", "Row 3")

    def test_what_is_too_long_is_said_to_be(self) -> None:
        (bad,) = fed(RowFeed(), b'{"text": "' + b"x" * ROW_BYTES + b'"}')
        assert isinstance(bad, Unsent)
        assert bad.why == "Row 1: 16 KB is the limit, and this is more. It was not sent."

    @given(st.lists(st.text(min_size=1).filter(str.strip)), st.integers(1, 9))
    def test_chunks_do_not_matter(self, said: list[str], size: int) -> None:
        data = "\n".join(json.dumps({"text": text}) for text in said).encode()
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        assert texts(fed(RowFeed(), *chunks)) == said
