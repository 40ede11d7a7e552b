"""What common.term.keys makes of bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.term.keys import PASTE_LIMIT_BYTES, Focus, Key, KeyEvent, Keys, Paste, Typed, Wheel

NOW = 100.0
LATER = NOW + 60
TERMINFO = {
    b"\x1b[[A": "f1",
    b"\x1b[a": "shift-up",
    b"\x1bOx9": "f13",
    b"\x1b": "never",
    b"\x08": "no",
}


def events(data: bytes, *, keys: Keys | None = None) -> list[KeyEvent]:
    keys = keys or Keys(TERMINFO)
    return keys.receive(data, NOW) + keys.tick(LATER)


def test_typed_text_is_one_event() -> None:
    assert events("héllo, 日本語 👍".encode()) == [Typed("héllo, 日本語 👍")]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\r", "enter"), (b"\n", "ctrl-j"), (b"\t", "tab"), (b"\x7f", "backspace"),
        (b"\x08", "backspace"), (b"\x01", "ctrl-a"), (b"\x1a", "ctrl-z"), (b"\x1c", "ctrl-\\"),
        (b"\x1f", "ctrl-_"), (b"\x00", "ctrl-@"), (b"\x1b", "esc"),
        (b"\x1b[A", "up"), (b"\x1bOA", "up"), (b"\x1b[1;3A", "alt-up"), (b"\x1b[1;5D", "ctrl-left"),
        (b"\x1b[1;8C", "ctrl-alt-shift-right"), (b"\x1bO5C", "ctrl-right"),
        (b"\x1bOc", "ctrl-right"),
        (b"\x1b\x1b[A", "alt-up"), (b"\x1b\x1bOB", "alt-down"), (b"\x1b[H", "home"),
        (b"\x1bOF", "end"),
        (b"\x1b[1~", "home"), (b"\x1b[4~", "end"), (b"\x1b[7~", "home"), (b"\x1b[8~", "end"),
        (b"\x1b[3~", "delete"), (b"\x1b[5~", "pgup"), (b"\x1b[6;5~", "ctrl-pgdn"),
        (b"\x1b[Z", "shift-tab"),
        (b"\x1bOP", "f1"), (b"\x1b[11~", "f1"), (b"\x1b[[A", "f1"), (b"\x1b[24~", "f12"),
        (b"\x1bOM", "enter"),
        (b"\x1bb", "alt-b"), (b"\x1bN", "alt-N"), (b"\x1b<", "alt-<"), (b"\x1b\r", "alt-enter"),
        (b"\x1b\x7f", "alt-backspace"), (b"\x1b\x05", "ctrl-alt-e"), ("\x1bé".encode(), "alt-é"),
        (b"\x1b[a", "shift-up"), (b"\x1bOx9", "f13"),
    ],
)  # fmt: skip
def test_one_key(data: bytes, name: str) -> None:
    assert events(data) == [Key(name)]
    assert events(b"a" + data + b"b" if data != b"\x1b" else b"a\x1b") == [
        Typed("a"),
        Key(name),
        *([Typed("b")] if data != b"\x1b" else []),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[24;80R", b"\x1b[?1;2c", b"\x1b[99~", b"\x1b[1;99A", b"\x1b[1;2;3A", b"\x1b[13;5u",
        b"\x1b[:A", b"\x1b[<0;1;1M", b"\x1b[<64;1;1m", b"\x1b[<;M", b"\x1bOI", b"\x1b[5;1A",
        b"\x1b]11;rgb:0/0/0\x07", b"\x1b]11;rgb:0/0/0\x1b\\", b"\x1bP1$r0m\x1b\\", b"\x1b_x\x1b\\",
        b"\x1b^x\x1b\\", b"\x1bX\xc3\xa9\x1b\\", b"\x1b[201~",
    ],
)  # fmt: skip
def test_what_is_no_key_is_swallowed(data: bytes) -> None:
    keys = Keys()
    assert keys.receive(data, NOW) == []
    assert keys.receive(b"x", LATER) == [Typed("x")]


def test_a_sequence_that_breaks_off_takes_nothing_with_it() -> None:
    assert events(b"\x1b[1;\x01") == [Key("ctrl-a")]
    assert events(b"\x1b]0;title\x1b[A") == [Key("up")]
    assert events(b"\x1bO\r") == [Key("enter")]
    assert events(b"\x1b[[\x1b[B") == [Key("down")]
    assert events(b"\x1b\xff") == [Key("esc"), Typed("\ufffd")]
    assert events(b"\x1b\x1bx") == [Key("esc"), Key("alt-x")]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 100])
def test_a_run_of_escapes_is_as_many_keys(count: int) -> None:
    assert events(b"\x1b" * count) == [Key("esc")] * count
    assert events(b"a" + b"\x1b" * count + b"[Ab")[:-2] == [Typed("a"), *[Key("esc")] * (count - 2)]


def test_what_is_kept_of_an_endless_sequence_is_bounded() -> None:
    for begin in (b"\x1b]", b"\x1b[", b"\x1bO", b"\x1bP"):
        keys = Keys()
        keys.receive(begin, NOW)
        for _ in range(20):
            keys.receive(b"1" * 1000, NOW)
        assert len(keys._partial) < 5000
        # And the keyboard is not deaf for ever.
        keys.tick(LATER)
        assert keys.receive(b"x", LATER) == [Typed("x")]


def test_escape_waits_fifty_milliseconds_for_its_sequence() -> None:
    keys = Keys()
    assert keys.deadline() is None
    assert keys.receive(b"\x1b", NOW) == []
    deadline = keys.deadline()
    assert deadline == pytest.approx(NOW + 0.05)
    assert keys.tick(NOW + 0.04) == []
    assert keys.receive(b"[5", NOW + 0.04) == []
    assert keys.tick(deadline or 0) == []
    assert keys.receive(b"~", NOW + 0.08) == [Key("pgup")]
    assert keys.deadline() is None
    assert keys.receive(b"\x1b", NOW) == []
    assert keys.tick(NOW + 0.06) == [Key("esc")]
    assert keys.tick(LATER) == []


def test_half_a_character_waits_for_ever() -> None:
    keys = Keys()
    first, *rest = ("é"[0].encode()[:1], "é".encode()[1:])
    assert keys.receive(first, NOW) == []
    assert keys.deadline() is None
    assert keys.tick(LATER) == []
    assert keys.receive(rest[0], LATER) == [Typed("é")]
    assert keys.receive(first, NOW) == []
    assert keys.receive(b"\x1b[A", NOW) == [Typed("\ufffd"), Key("up")]


def test_a_paste_is_one_event_however_long_it_takes() -> None:
    keys = Keys()
    assert keys.receive(b"\x1b[200~one\rtwo\x1b[2", NOW) == []
    assert keys.deadline() is None
    assert keys.tick(LATER) == []
    assert keys.receive(b"\x1b[A\x03\xc3", LATER) == []
    assert keys.receive(b"\xa9\x1b[201~x", LATER + 9) == [
        Paste("one\rtwo\x1b[2\x1b[A\x03é"),
        Paste("x"),
    ]


def test_a_hostile_clipboard_sends_nothing() -> None:
    hostile = b"\x1b[200~\x1b[201~/quit\r\x1b[201~"
    assert events(hostile) == [Paste(""), Paste("/quit"), Key("ctrl-j")]


def test_enter_soon_after_a_paste_is_a_newline() -> None:
    keys = Keys()
    assert keys.receive(b"\x1b[200~x\x1b[201~\r", NOW) == [Paste("x"), Key("ctrl-j")]
    assert keys.receive(b"\r", NOW + 0.09) == [Key("ctrl-j")]
    assert keys.receive(b"\r", NOW + 0.11) == [Key("enter")]


def test_a_long_tail_of_a_paste_does_not_wait_the_newline_out() -> None:
    keys = Keys()
    keys.receive(b"\x1b[200~\x1b[201~", NOW)
    for step in range(1, 10):
        assert keys.receive(b"x" * 100, NOW + step * 0.08) == [Paste("x" * 100)]
    assert keys.receive(b"\r", NOW + 0.8) == [Key("ctrl-j")]


def test_a_read_with_two_line_ends_is_a_paste() -> None:
    keys = Keys()
    assert keys.receive(b"one\rtwo\t\x03\rthr\xc3", NOW) == [Paste("one\rtwo\t\x03\rthr")]
    assert keys.receive(b"\xa9e\r", NOW + 0.01) == [Paste("ée"), Key("ctrl-j")]
    assert keys.receive(b"one\r", LATER) == [Typed("one"), Key("enter")]


def test_enter_before_a_bracketed_paste_still_sends() -> None:
    assert events(b"hi\r\x1b[200~a\rb\rc\x1b[201~") == [Typed("hi"), Key("enter"), Paste("a\rb\rc")]


def test_a_paste_is_cut_at_the_limit_and_its_end_still_found() -> None:
    keys = Keys()
    keys.receive(b"\x1b[200~", NOW)
    for _ in range(100):
        keys.receive("é".encode() * 500 + b"x", NOW)
    paste, after = keys.receive(b"\x1b[201~\x01", NOW)
    assert isinstance(paste, Paste)
    assert paste.is_cut
    assert "\ufffd" not in paste.text
    assert PASTE_LIMIT_BYTES - 2 < len(paste.text.encode()) <= PASTE_LIMIT_BYTES
    assert after == Key("ctrl-a")


def test_equal_arrows_of_one_read_are_a_run() -> None:
    assert events(b"\x1b[A\x1bOA\x1b[A\x1b[B\x1b[C\x1b[C") == [
        Key("up", 3),
        Key("down"),
        Key("right"),
        Key("right"),
    ]


def test_mouse_and_focus() -> None:
    assert events(b"\x1b[<64;10;3M\x1b[<81;10;3M\x1b[<66;1;1M") == [Wheel(True), Wheel(False)]
    assert events(b"\x1b[I\x1b[O") == [Focus(True), Focus(False)]


PIECES = st.sampled_from(
    [b"\x1b", b"[", b"O", b"A", b"5", b"~", b";", b"<", b"M", b"\x07", b"\\", b"]", b"P", b"x",
     b"\x01", b"\xc3", b"\xa9", b"\xe6\x97\xa5", b"\xf0\x9f\x91\x8d", b"\xff", b"\r", b"\x1b[200~",
     b"\x1b[201~", b"\x1b[20", b"\x1b[1;5D", b"\x1b[64;1;1M", b"\x1bOx9", b"\x1b[[A",
     b"[[", b"\x9b"]
)  # fmt: skip


def joined(received: list[KeyEvent]) -> list[KeyEvent]:
    """Undo what depends on the reads: split runs of arrows, join runs of text."""
    result: list[KeyEvent] = []
    for event in received:
        match event, result[-1] if result else None:
            case Key(name, times), _:
                result += [Key(name)] * times
            case Typed(new), Typed(old):
                result[-1] = Typed(old + new)
            case _:
                result.append(event)
    return result


def text_joined(received: list[KeyEvent]) -> list[KeyEvent]:
    """Join what was typed into a paste's tail, which is one paste a read."""
    result: list[KeyEvent] = []
    for event in joined(received):
        match event, result[-1] if result else None:
            case Paste(new, False), Paste(old, False):
                result[-1] = Paste(old + new)
            case _:
                result.append(event)
    return result


STREAMS = st.one_of(st.lists(PIECES, max_size=30).map(b"".join), st.binary(max_size=40))


@given(STREAMS, st.lists(st.integers(0, 200), max_size=8))
@example(b"\x1b[200~a\x1b[201~b\x1b[A", [])
def test_where_the_bytes_are_cut_changes_no_event(data: bytes, places: list[int]) -> None:
    # Two line ends in one read are a paste by definition.
    head, _, rest = data.partition(b"\r")
    data = head + b"\r" + rest.replace(b"\r", b"\n")
    whole = text_joined(events(data))
    drawn = sorted({place % (len(data) + 1) for place in places})
    for cuts in (drawn, list(range(1, len(data)))):
        keys = Keys(TERMINFO)
        received: list[KeyEvent] = []
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            received += keys.receive(data[start:end], NOW)
        assert text_joined(received + keys.tick(LATER)) == whole


@given(STREAMS)
def test_after_any_bytes_and_a_pause_a_key_is_a_key(data: bytes) -> None:
    keys = Keys(TERMINFO)
    keys.receive(data, NOW)
    keys.tick(LATER)
    keys.receive(b"\x1b[201~", LATER)
    assert keys.receive(b"\x1b[5~", LATER + 1)[-1] == Key("pgup")
