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
        # Alt with an arrow, as terminals have it: xterm, rxvt, in application mode, as Meta, old.
        (b"\x1b[1;3D", "alt-left"), (b"\x1b\x1b[D", "alt-left"), (b"\x1b\x1bOD", "alt-left"),
        (b"\x1b[1;9C", "alt-right"), (b"\x1b[1;33C", "alt-right"), (b"\x1b[3C", "alt-right"),
        (b"\x1bO3C", "alt-right"),
        # Caps Lock and Num Lock, and which way the key went, are in the reports of some.
        (b"\x1b[1;131D", "alt-left"), (b"\x1b[1;5:1D", "ctrl-left"), (b"\x1b[3;1:2~", "delete"),
        (b"\x1b[1;65P", "f1"),
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
        b"\x1b[24;80R", b"\x1b[?1;2c", b"\x1b[99~", b"\x1b[1;17A", b"\x1b[1;2;3A", b"\x1b[1;1:3A",
        b"\x1b[:A", b"\x1b[<0;1;1M", b"\x1b[<64;1;1m", b"\x1b[<;M", b"\x1bOI", b"\x1b[5;1A",
        b"\x1b]11;rgb:0/0/0\x07", b"\x1b]11;rgb:0/0/0\x1b\\", b"\x1bP1$r0m\x1b\\", b"\x1b_x\x1b\\",
        b"\x1b^x\x1b\\", b"\x1bX\xc3\xa9\x1b\\", b"\x1b[201~",
    ],
)  # fmt: skip
def test_what_is_no_key_is_swallowed(data: bytes) -> None:
    keys = Keys()
    assert keys.receive(data, NOW) == []
    assert keys.receive(b"x", LATER) == [Typed("x")]


@pytest.mark.parametrize(
    ("code", "modifiers", "event"),
    [
        # What the key sends by itself, in every terminal that reports nothing.
        (97, 5, Key("ctrl-a")), (117, 5, Key("ctrl-u")), (104, 5, Key("backspace")),
        (105, 5, Key("tab")), (109, 5, Key("enter")), (91, 5, Key("esc")), (92, 5, Key("ctrl-\\")),
        (95, 6, Key("ctrl-_")), (45, 6, Key("ctrl-_")), (47, 5, Key("ctrl-_")),
        (32, 5, Key("ctrl-@")), (67, 5, Key("ctrl-c")), (97, 69, Key("ctrl-a")),
        (98, 3, Key("alt-b")), (62, 4, Key("alt->")), (110, 4, Key("alt-N")), (64, 4, Key("alt-@")),
        (101, 7, Key("ctrl-alt-e")), (13, 1, Key("enter")), (13, 5, Key("enter")),
        (127, 1, Key("backspace")), (127, 2, Key("backspace")), (127, 3, Key("alt-backspace")),
        (9, 1, Key("tab")), (9, 2, Key("shift-tab")), (27, 1, Key("esc")), (27, 2, Key("esc")),
        (32, 2, Typed(" ")), (97, 1, Typed("a")), (97, 2, Typed("A")), (65, 2, Typed("A")),
        (233, 1, Typed("é")), (233, 2, Typed("É")), (0x65E5, 1, Typed("日")), (223, 2, Typed("ß")),
        (97, 129, Typed("a")),
        # What it cannot send by itself: a new row.
        (13, 2, Key("alt-enter")), (13, 3, Key("alt-enter")),
        # Copy and Paste of many a terminal, keys of the desktop's, what is no character.
        (99, 6, None), (118, 6, None), (99, 9, None), (98, 17, None), (97, 33, None),
        (3, 1, None), (0, 1, None), (0xD800, 1, None), (0x110000, 1, None), (0x202E, 1, None),
        (57344, 1, None), (57441, 2, None),
    ],
)  # fmt: skip
def test_a_key_that_is_reported(code: int, modifiers: int, event: KeyEvent | None) -> None:
    for data in (f"\x1b[{code};{modifiers}u", f"\x1b[27;{modifiers};{code}~"):
        found = Keys(TERMINFO).receive(data.encode(), NOW)
        assert found == ([event] if event else []), data
        assert [type(each) for each in found] == ([type(event)] if event else [])


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (b"\x1b[97u", Typed("a")), (b"\x1b[97;;97u", Typed("a")), (b"\x1b[32;2;32u", Typed(" ")),
        (b"\x1b[97:65;2u", Typed("A")), (b"\x1b[44:60;4u", Key("alt-<")),
        (b"\x1b[50:64;4u", Key("alt-@")), (b"\x1b[111;;246u", Typed("ö")),
        (b"\x1b[101;;101:769u", Typed("e\u0301")), (b"\x1b[97;;155u", Typed("a")),
        (b"\x1b[1089::99;5u", Key("ctrl-c")), (b"\x1b[1073::98;3u", Key("alt-b")),
        (b"\x1b[97;5:1u", Key("ctrl-a")), (b"\x1b[97;5:2u", Key("ctrl-a")), (b"\x1b[97;5:3u", None),
        (b"\x1b[57399u", Typed("0")), (b"\x1b[57409u", Typed(".")), (b"\x1b[57414u", Key("enter")),
        (b"\x1b[57414;2u", Key("alt-enter")), (b"\x1b[57417;5u", Key("ctrl-left")),
        (b"\x1b[57421u", Key("pgup")), (b"\x1b[57427u", Key("begin")),
        (b"\x1bOp", Typed("0")), (b"\x1bOn", Typed(".")), (b"\x1bOk", Typed("+")),
        (b"\x1b[u", None), (b"\x1b[?1u", None), (b"\x1b[27;5~", None),
    ],
)  # fmt: skip
def test_a_key_in_the_modes_of_other_programs(data: bytes, event: KeyEvent | None) -> None:
    found = Keys().receive(data, NOW)
    assert found == ([event] if event else [])
    assert [type(each) for each in found] == ([type(event)] if event else [])


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
    assert keys.receive(first, LATER) == []
    assert keys.receive(b"\x1b[C", LATER) == [Typed("\ufffd"), Key("right")]


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
    assert events(hostile) == [Paste(""), Paste("/quit\r")]


# Each would stop or end the client, or change what is typed, in every encoding there is.
ACTING = (
    b"\x1a", b"\x1c", b"\x03\x04", b"\x15\x04", b"\x03\x03", b"\r", b"\n", b"\x18\x05", b"\x7f",
    b"\x1b", b"\x1b\x1b", b"\x1b\r", b"\x1bm", b"\x1b[A\x1b[A", b"\x1bOM", b"\x1b[3~",
    b"\x1b[<64;1;1M", b"\x1b[122;5u", b"\x1b[27;5;122~", b"\x1b[99;5u\x1b[100;5u", b"\x1b[97u",
    b"\x1b[13u", b"\x1b[57414u", b"\x1bOp", b"\x1b[[A", b"\x1b[a",
)  # fmt: skip


@pytest.mark.parametrize("keys_of_it", ACTING)
@pytest.mark.parametrize("rest", [b"", b" " * 20, (b" " * 300 + b"\n") * 60 + b"touch pwned\n"])
def test_in_the_tail_of_a_paste_no_key_acts(keys_of_it: bytes, rest: bytes) -> None:
    hostile = b"see\x1b[201~" + keys_of_it + rest
    data = b"\x1b[200~" + hostile + b"\x1b[201~"
    for size in (1, 7, 1024, len(data)):
        keys, now = Keys(TERMINFO), NOW
        for start in range(0, len(data), size):
            now += 0.05 if size > 7 else 0.002
            for event in [*keys.tick(now), *keys.receive(data[start : start + size], now)]:
                assert isinstance(event, Paste), (size, event)
        assert keys.tick(now) == []
        # The true mark ends it.
        assert keys.receive(b"\x01", now + 0.11) == [Key("ctrl-a")]


@pytest.mark.parametrize("ctrl_c", [b"\x03", b"\x1b[99;5u", b"\x1b[27;5;99~"])
def test_a_paste_without_an_end_leaves_no_keyboard_deaf(ctrl_c: bytes) -> None:
    keys = Keys()
    assert keys.receive(b"\x1b[200~see\r", NOW) == []
    # Not in the midst of it, nor with more than itself.
    assert keys.receive(ctrl_c, NOW + 0.9) == []
    assert keys.receive(b"\x04" + ctrl_c, NOW + 3) == []
    (paste,) = keys.receive(ctrl_c, NOW + 5)
    assert isinstance(paste, Paste)
    assert paste.text.startswith("see\r\x03" if ctrl_c == b"\x03" else "see\r\x1b")
    assert keys.receive(ctrl_c, NOW + 6) == [Key("ctrl-c")]


@given(
    st.lists(
        st.sampled_from([*ACTING, b"\x1b[201~", b"\x1b[200~", b" " * 30, b"\n", b"x", "é".encode()])
    ),
    st.sampled_from([(1, 0.002), (5, 0.01), (40, 0.09), (1024, 0.09)]),
)
def test_no_clipboard_acts(pieces: list[bytes], speed: tuple[int, float]) -> None:
    size, pause_s = speed
    data = b"\x1b[200~" + b"".join(pieces) + b"\x1b[201~"
    keys, now = Keys(TERMINFO), NOW
    found: list[KeyEvent] = []
    for start in range(0, len(data), size):
        now += pause_s
        found += keys.tick(now) + keys.receive(data[start : start + size], now)
    assert all(isinstance(event, Paste) for event in found), found
    assert keys.tick(LATER) == []


def test_a_link_that_stalls_in_the_tail_frees_no_key() -> None:
    keys = Keys()
    keys.receive(b"\x1b[200~see\x1b[201~" + b" " * 20, NOW)
    assert keys.receive(b"\x1a" + b" " * 20, NOW + 0.9) == [Paste("\x1a" + " " * 20)]
    assert keys.receive(b"\x04", NOW + 1.8) == [Paste("\x04")]
    # A hand that goes on typing does not keep it up.
    assert keys.receive(b"\x01", NOW + 2.0) == [Key("ctrl-a")]


def test_focus_is_told_in_the_tail_of_a_paste() -> None:
    assert events(b"\x1b[200~x\x1b[201~\x1b[I") == [Paste("x"), Focus(True)]


def test_enter_behind_a_pasted_row_sends_once_nothing_followed_it() -> None:
    keys = Keys()
    assert keys.receive(b"\x1b[200~x\x1b[201~\r", NOW) == [Paste("x")]
    assert keys.deadline() == pytest.approx(NOW + 0.1)
    assert keys.tick(NOW + 0.09) == []
    assert keys.tick(NOW + 0.11) == [Key("enter")]
    assert keys.deadline() is None
    # In a read of its own, and with the focus coming back.
    assert keys.receive(b"\x1b[200~x\x1b[201~", LATER) == [Paste("x")]
    assert keys.receive(b"\r", LATER + 0.05) == []
    assert keys.receive(b"\x1b[I", LATER + 0.06) == [Focus(True)]
    assert keys.tick(LATER + 0.2) == [Key("enter")]


@pytest.mark.parametrize(
    "more", [b"\x1b[201~", b"x", b"\r", b"\x04", b"\x1bx", b"\x1b[A", b"\x1b[200~y\x1b[201~"]
)
def test_enter_behind_a_pasted_row_is_text_if_anything_follows(more: bytes) -> None:
    for cut in (True, False):
        keys = Keys()
        begin = b"\x1b[200~x\x1b[201~\r"
        found = keys.receive(begin if cut else begin + more, NOW)
        if cut:
            found += keys.receive(more[:1], NOW + 0.08) + keys.receive(more[1:], NOW + 0.09)
        found += keys.tick(LATER)
        assert isinstance(found[0], Paste)
        assert isinstance(found[1], Paste)
        assert (found[0].text + found[1].text)[:2] == "x\r"
        assert Key("enter") not in found
    assert events(b"\x1b[200~x\x1b[201~\r\x1b") == [Paste("x"), Paste("\r"), Key("esc")]


def test_enter_soon_after_pasted_rows_is_a_newline() -> None:
    keys = Keys()
    assert keys.receive(b"\x1b[200~x\ry\x1b[201~\r", NOW) == [Paste("x\ry"), Paste("\r")]
    assert keys.receive(b"\r", NOW + 0.09) == [Paste("\r")]
    assert keys.receive(b"\r", NOW + 0.11) == [Key("enter")]


def test_a_long_tail_of_a_paste_does_not_wait_the_newline_out() -> None:
    keys = Keys()
    keys.receive(b"\x1b[200~\x1b[201~", NOW)
    for step in range(1, 10):
        assert keys.receive(b"x" * 100, NOW + step * 0.08) == [Paste("x" * 100)]
    assert keys.receive(b"\r", NOW + 0.8) == [Paste("\r")]


def test_a_read_with_two_line_ends_is_a_paste() -> None:
    keys = Keys()
    assert keys.receive(b"one\rtwo\t\x03\rthr\xc3", NOW) == [Paste("one\rtwo\t\x03\rthr")]
    assert keys.receive(b"\xa9e\r", NOW + 0.01) == [Paste("ée\r")]
    assert keys.receive(b"one\r", LATER) == [Typed("one"), Key("enter")]
    assert keys.receive(b"a\n/quit\n", LATER) == [Paste("a\n/quit\n")]
    assert keys.receive(b"\r\n", LATER + 1) == [Key("enter"), Key("ctrl-j")]


@pytest.mark.parametrize(
    "leaving",
    [b"\x03", b"\x04", b"\x1a", b"\x1c", b"\x1b[122;5u", b"\x1b[27;5;99~", b"\x1b[92;69u"],
)
def test_a_key_that_leaves_does_not_with_more_behind_it_than_a_hand_types(leaving: bytes) -> None:
    (key,) = events(leaving)
    assert isinstance(key, Key)
    assert events(leaving + b"ls\r") == [key, Typed("ls"), Key("enter")]
    assert not any(isinstance(each, Key) for each in events(b"see" + leaving + b" " * 300 + b"\r"))
    # A paste of marks it does not have makes it no less of one.
    both = leaving + b" " * 300 + b"\r\x1b[200~\x1b[201~"
    assert not any(isinstance(each, Key) for each in events(both))


def test_a_paste_is_over_when_it_is_over() -> None:
    keys = Keys()
    keys.receive(b"row\r" * 5000, NOW)
    keys.receive(b"row\r" * 5000, NOW + 0.05)
    assert keys.receive(b"\x01", NOW + 0.16) == [Key("ctrl-a")]
    assert keys.receive(b"\x01", NOW + 0.17) == [Key("ctrl-a")]
    # And so is a key that is held down soon behind one.
    keys.receive(b"\x1b[200~x\x1b[201~", LATER)
    found = [keys.receive(b"\x1b[C", LATER + 0.03 * step) for step in range(1, 40)]
    assert found[:3] == [[], [], []]
    assert found[3:] == [[Key("right")]] * 36


def test_other_keys_may_come_many_at_once() -> None:
    assert events(b"\x1b[99~\x1b[98;5u" + b"\x1b[C" * 9) == [
        Key("ctrl-b"), *[Key("right")] * 9,
    ]  # fmt: skip
    assert events(b"one two\x01\x0b" + b"\x1b[C" * 9) == [
        Typed("one two"), Key("ctrl-a"), Key("ctrl-k"), *[Key("right")] * 9,
    ]  # fmt: skip


def test_enter_before_a_bracketed_paste_still_sends() -> None:
    assert events(b"hi\r\x1b[200~a\rb\rc\x1b[201~") == [Typed("hi"), Key("enter"), Paste("a\rb\rc")]


def test_a_paste_is_cut_at_the_limit_and_its_end_still_found() -> None:
    keys = Keys()
    keys.receive(b"\x1b[200~", NOW)
    for _ in range(100):
        keys.receive("é".encode() * 500 + b"x", NOW)
    (paste,) = keys.receive(b"\x1b[201~", NOW)
    assert isinstance(paste, Paste)
    assert paste.is_cut
    assert "\ufffd" not in paste.text
    assert PASTE_LIMIT_BYTES - 2 < len(paste.text.encode()) <= PASTE_LIMIT_BYTES
    assert keys.receive(b"\x01", LATER) == [Key("ctrl-a")]


def test_equal_arrows_that_come_together_are_a_wheel() -> None:
    assert events(b"\x1b[A\x1bOA\x1b[A\x1b[B\x1b[C\x1b[C") == [
        Wheel(3),
        Key("down"),
        Key("right"),
        Key("right"),
    ]
    assert events(b"\x1b[B\x1b[B") == [Wheel(-2)]


def test_a_wheel_that_is_cut_into_reads_is_a_wheel() -> None:
    keys = Keys()
    assert keys.receive(b"\x1b[A", NOW) == []
    assert keys.deadline() == pytest.approx(NOW + 0.01)
    assert keys.receive(b"\x1b[A\x1b", NOW + 0.005) == [Wheel(2)]
    assert keys.receive(b"[A", NOW + 0.006) == [Wheel(1)]
    assert keys.tick(LATER) == []
    # An arrow alone is the key, and waits no longer than for this.
    assert keys.receive(b"\x1b[A", LATER) == []
    assert keys.tick(LATER + 0.01) == [Key("up")]
    assert keys.receive(b"\x1b[A", LATER + 0.03) == []
    assert keys.receive(b"x", LATER + 0.031) == [Key("up"), Typed("x")]


def test_a_text_that_is_the_name_of_a_key_is_no_key() -> None:
    # Named tuples of one text are equal, whatever they are of.
    found = events(b"up\x1b[A")
    assert [type(each) for each in found] == [Typed, Key]


def test_mouse_and_focus() -> None:
    assert events(b"\x1b[<64;10;3M\x1b[<81;10;3M\x1b[<66;1;1M") == [Wheel(3), Wheel(-3)]
    assert events(b"\x1b[I\x1b[O") == [Focus(True), Focus(False)]


PIECES = st.sampled_from(
    [b"\x1b", b"[", b"O", b"A", b"5", b"~", b";", b"<", b"M", b"\x07", b"\\", b"]", b"P", b"x",
     b"\x01", b"\xc3", b"\xa9", b"\xe6\x97\xa5", b"\xf0\x9f\x91\x8d", b"\xff", b"\r", b"\x1b[200~",
     b"\x1b[201~", b"\x1b[20", b"\x1b[1;5D", b"\x1b[64;1;1M", b"\x1bOx9", b"\x1b[[A",
     b"[[", b"\x9b"]
)  # fmt: skip


def joined(received: list[KeyEvent]) -> list[KeyEvent]:
    """Undo what depends on the reads: join runs of text, of what is pasted, and of the wheel's."""
    result: list[KeyEvent] = []
    for event in received:
        match event, result[-1] if result else None:
            case Typed(new), Typed(old):
                result[-1] = Typed(old + new)
            case Paste(new, False), Paste(old, False):
                result[-1] = Paste(old + new)
            case Wheel(new), Wheel(old) if new * old > 0:
                result[-1] = Wheel(old + new)
            case _:
                result.append(event)
    return result


STREAMS = st.one_of(st.lists(PIECES, max_size=30).map(b"".join), st.binary(max_size=40))


@given(STREAMS, st.lists(st.integers(0, 200), max_size=8))
@example(b"\x1b[200~a\x1b[201~b\x1b[A", [])
def test_where_the_bytes_are_cut_changes_no_event(data: bytes, places: list[int]) -> None:
    # Two line ends in one read are a paste by definition, and so is what leaves with more behind.
    head, _, rest = data.translate(None, b"\n\x03\x04\x1a\x1c").partition(b"\r")
    data = head + b"\r" + rest.replace(b"\r", b"\x00")
    whole = joined(events(data))
    drawn = sorted({place % (len(data) + 1) for place in places})
    for cuts in (drawn, list(range(1, len(data)))):
        keys = Keys(TERMINFO)
        received: list[KeyEvent] = []
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            received += keys.receive(data[start:end], NOW)
        assert joined(received + keys.tick(LATER)) == whole


@given(STREAMS)
def test_after_any_bytes_and_a_pause_a_key_is_a_key(data: bytes) -> None:
    keys = Keys(TERMINFO)
    keys.receive(data, NOW)
    keys.tick(LATER)
    keys.receive(b"\x1b[201~", LATER)
    assert keys.receive(b"\x1b[5~", LATER + 1)[-1] == Key("pgup")
