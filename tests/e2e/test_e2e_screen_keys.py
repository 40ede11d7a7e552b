"""Every row of UX.md 2, through a pseudo-terminal."""

from __future__ import annotations

import pytest

from tests.e2e.harness import House
from tests.e2e.screens import (
    ALT_DOWN,
    ALT_UP,
    DOWN,
    END,
    ESC,
    HOME,
    LEFT,
    PASTE_BEGINS,
    PASTE_ENDS,
    PGDN,
    PGUP,
    RIGHT,
    UP,
    Table,
    seat,
    taken,
)

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f1e9\U0001f1ea"

# What is typed into an empty input, and what is there then; a bar for the cursor.
MOVING: tuple[tuple[bytes, str], ...] = (
    (b"one two" + LEFT * 2, "one t|wo"),
    (b"one two\x02\x02\x06", "one tw|o"),
    (b"one two" + HOME, "|one two"),
    (b"one two\x01" + RIGHT, "o|ne two"),
    (b"one two\x01\x05", "one two|"),
    (b"one two" + HOME + END, "one two|"),
    (b"one two" + b"\x1b[1~" + b"\x1b[4~", "one two|"),
    (b"one two" + b"\x1bOH" + b"\x1bOC", "o|ne two"),
    (b"one two_three\x1bb", "one two_|three"),
    (b"one two_three\x1b[1;5D\x1b[1;5D", "one |two_three"),
    (b"one two\x01\x1bf", "one| two"),
    (b"one two\x01\x1b[1;5C\x1b[1;5C", "one two|"),
    (b"one two_three\x1b[1;3D\x1b\x1b[D", "one |two_three"),
    (b"one two_three\x1b\x1bOD\x1b[1;9D\x1bb", "|one two_three"),
    (b"one two\x01\x1b[1;3C\x1b\x1b[C", "one two|"),
    # Reports that another program left on.
    (b"one\x1b[32;2utwo\x1b[97;5u", "|one two"),
    (b"one two\x1b[27;5;97~\x1b[27;5;102~", "o|ne two"),
    (b"one\x1b[27;2;32~two\x1b[98;3u", "one |two"),
)
DELETING: tuple[tuple[bytes, str], ...] = (
    (b"abc\x7f", "ab|"),
    (b"abc\x08\x08", "a|"),
    (b"abc\x01\x1b[3~", "|bc"),
    (b"abc\x01\x04\x04", "|c"),
    (b"abc\x04", "abc|"),
    (FAMILY.encode() + b"\x7f", "|"),
    (FLAG.encode() + b"\x7f", "|"),
    ("e\u0301".encode() + b"\x7f", "|"),
    ("x\U0001f44d\U0001f3fd".encode() + LEFT + b"\x1b[3~", "x|"),
)
KILLING: tuple[tuple[bytes, str], ...] = (
    (b"one two_three\x17", "one |"),
    (b"one two_three\x1b\x7f", "one two_|"),
    (b"one two\x01\x1bd", "| two"),
    (b"one two\x02\x15", "|o"),
    (b"one two\x01\x06\x0b", "o|"),
    (b"one two\x17\x17\x19", "one two|"),
    (b"one\x17two\x17\x19", "two|"),
    (b"one\x17two\x17\x19\x1by", "one|"),
)
CHANGING: tuple[tuple[bytes, str], ...] = (
    (b"ab\x14", "ba|"),
    (b"one two\x01\x1bu", "ONE| two"),
    (b"ONE two\x01\x1bl", "one| two"),
    (b"one two\x01\x1bc\x1bc", "One Two|"),
    (b"one \x17two\x1f", "|"),
    (b"one two\x15\x1f", "one two|"),
)


@pytest.mark.parametrize("table", [MOVING, DELETING, KILLING, CHANGING])
def test_readline(house: House, table: tuple[tuple[bytes, str], ...]) -> None:
    at = seat(house)
    for typed, shown in table:
        at.keys(typed, shown)
        at.empty()
    at.ace.say("still alive")
    at.heard("still alive")


def test_enter(house: House) -> None:
    at = seat(house)
    at.ace.type("   ")
    at.house.until(lambda: at.ace.terminal.cursor == (23, 5))
    at.ace.type("\r")
    at.until_input("|")
    # Jamo are one character: the x stands before all three.
    at.ace.type("\u1112\u1161\u11ab".encode() + LEFT + b"x")
    at.ace.wait_for("> x")
    at.ace.type("\r")
    at.heard("x\u1112\u1161\u11ab")
    at.ace.say("after blanks")
    at.heard("after blanks")
    # Two newlines of the two kinds, in an input that grows upward.
    at.ace.type(b"first\x1b\rsecond\nthird")
    at.until_rows("> first", "  second", "  third")
    assert at.ace.display[-3] == "> first"
    assert at.ace.display[-4].startswith(" lobby")
    assert at.ace.terminal.cursor == (23, 7)
    at.ace.type("\r")
    at.heard("first\nsecond\nthird")
    at.until_input("|")
    assert at.ace.display[-2].startswith(" lobby")
    assert at.bea.heard[1:] == ["after blanks", "first\nsecond\nthird"]


def test_rows_of_a_long_input(house: House) -> None:
    at = seat(house, rows=12, columns=40)
    at.ace.type("\x1b\r".join(f"row {number}" for number in range(9)))
    # A third of the rows, the last ones; the history keeps the rest.
    at.until_rows("  row 5", "  row 6", "  row 7", "  row 8")
    assert at.ace.display[7].startswith(" lobby")
    for number in range(8):
        # One by one: together they would be the wheel.
        y = max(8, 10 - number)
        at.ace.type(UP)
        at.house.until(lambda y=y: at.ace.terminal.cursor == (y, 7), lambda: at.ace.drawn)  # type: ignore[misc]
        at.bea.say(f"step {number}.")
        at.ace.wait_for(f"step {number}.")
    at.until_rows("> row 0", "  row 1", "  row 2", "  row 3")
    at.ace.type(HOME + b"x" * 50)
    at.until_rows("> " + "x" * 37, "  " + "x" * 13 + "row 0")
    # Home and End: of the row, then of the text.
    at.ace.type(HOME)
    at.house.until(lambda: at.ace.terminal.cursor == (9, 2), lambda: at.ace.drawn)
    at.ace.type(HOME)
    at.house.until(lambda: at.ace.terminal.cursor == (8, 2), lambda: at.ace.drawn)
    at.ace.type(END)
    at.ace.type(END)
    at.house.until(lambda: at.ace.input_row == "  row 8", lambda: at.ace.drawn)
    at.house.until(lambda: at.ace.terminal.cursor == (11, 7), lambda: at.ace.drawn)


def test_input_history(house: House) -> None:
    at = seat(house)
    for said in ("one", "two", "three"):
        at.ace.say(said)
        at.heard(said)
    at.keys("a draft", "a draft|")
    at.keys(UP, "three|")
    at.keys(b"\x10", "two|")
    at.keys(b"\x10", "one|")
    at.keys(UP, "one|")
    at.keys(DOWN, "two|")
    at.keys(b"\x0e\x0e", "a draft|")
    at.keys(DOWN, "a draft|")
    at.keys(UP + b"!", "three!|")
    at.ace.type("\r")
    at.heard("three!")


def test_search(house: House) -> None:
    at = seat(house)
    for said in ("build red", "lunch", "build green"):
        at.ace.say(said)
        at.heard(said)
    at.keys("draft", "draft|")
    at.ace.type(b"\x12build")
    at.house.until(lambda: at.ace.input_row == 'search "build": build green')
    at.ace.type(b"\x12")
    at.house.until(lambda: at.ace.input_row == 'search "build": build red')
    at.keys(b"\x07", "draft|")
    at.ace.type(b"\x12lun")
    at.house.until(lambda: at.ace.input_row == 'search "lun": lunch')
    at.keys(ESC, "draft|")
    at.ace.type(b"\x12red")
    at.house.until(lambda: at.ace.input_row == 'search "red": build red')
    at.keys(b"\r", "build red|")
    assert at.bea.heard == ["build red", "lunch", "build green"]
    at.ace.type("\r")
    at.house.until(lambda: at.bea.heard.count("build red") == 2)


def test_completion(house: House) -> None:
    at = seat(house)
    house.bot(at.relay, "ben")
    at.ace.wait_for("ben joined")
    at.bea.say("I spoke last")
    at.ace.wait_for("I spoke last")
    at.keys(b"be\t", "bea: |")
    at.keys(b"\t", "ben: |")
    at.keys(b"\x1b[Z", "bea: |")
    at.keys(ESC, "be|")
    at.empty()
    at.keys(b"hi be\t", "hi bea |")
    at.empty()
    at.keys(b"/ver\t", "/verify |")
    at.keys(b"b\t", "/verify bea |")
    at.keys(b"y\t", "/verify bea yes |")
    at.empty()
    at.keys(b"/set m\t", "/set mouse |")
    at.empty()
    at.keys(b"zz\t", "zz|")


def filled(at: Table, count: int = 60) -> None:
    for number in range(count):
        at.bea.say(f"number {number}.")
    at.ace.wait_for(f"number {count - 1}.")


def test_scrolling(house: House) -> None:
    at = seat(house)
    filled(at)
    top = at.ace.display[0]
    at.ace.type(PGUP)
    # Two rows are seen on both pages.
    at.house.until(lambda: at.ace.display[20] == top, lambda: at.ace.drawn)
    at.ace.type(ALT_UP)
    at.house.until(lambda: at.ace.display[21] == top, lambda: at.ace.drawn)
    at.ace.type(ALT_DOWN)
    at.house.until(lambda: at.ace.display[20] == top, lambda: at.ace.drawn)
    at.ace.type(PGDN)
    at.house.until(lambda: at.ace.display[0] == top, lambda: at.ace.drawn)
    at.ace.type(b"\x1b<")
    at.ace.wait_for("Connected to lobby as ace.")
    at.ace.type(b"\x1b>")
    at.house.until(lambda: at.ace.display[0] == top)
    at.ace.type(PGUP * 2)
    at.ace.wait_for("number 59.", gone=True)
    at.ace.type(END)
    at.house.until(lambda: at.ace.display[0] == top)
    at.ace.type(PGUP)
    at.ace.wait_for("number 59.", gone=True)
    at.keys("typed", "typed|")
    at.ace.type(ESC)
    at.house.until(lambda: at.ace.display[0] == top)
    at.until_input("typed|")


def test_jumps(house: House) -> None:
    at = seat(house)
    at.ace.type(b"\x1b[O")
    at.keys("x", "x|")
    at.bea.say("the first unread")
    at.bea.say("ace: do look")
    filled(at)
    at.ace.type(b"\x1b[I")
    at.ace.wait_for("the first unread", gone=True)
    at.ace.type(b"\x1bm")
    at.ace.wait_for("the first unread")
    assert at.ace.display[0].strip("-") == " unread "
    at.ace.type(b"\x1b>")
    at.ace.wait_for("the first unread", gone=True)
    at.ace.type(b"\x1b@")
    at.ace.wait_for("ace: do look")
    at.until_input("x|")
    assert taken(at.ace, rb"(?<!104)\a") == [b"\a"]


def test_matches(house: House) -> None:
    at = seat(house)
    at.bea.say("needle one")
    filled(at, 30)
    at.bea.say("Needle two")
    filled(at, 31)
    at.ace.say("/find needle")
    at.ace.wait_for("Needle two")
    at.ace.type(b"\x1bn")
    at.ace.wait_for("needle one")
    at.ace.type(b"\x1bN")
    at.ace.wait_for("Needle two")
    at.ace.say("/find")
    at.ace.wait_for("needle one")
    row = next(at_ for at_, row in enumerate(at.ace.display) if row.endswith("needle one"))
    column = at.ace.display[row].index("needle")
    assert at.ace.terminal._cells.buffer[row][column].reverse


def test_ctrl_c(house: House) -> None:
    at = seat(house)
    at.keys("precious", "precious|")
    at.keys(b"\x03", "|")
    at.keys(b"\x19", "precious|")
    at.keys(b"\x03", "|")
    at.ace.type(b"\x03")
    assert at.ace.ended() == 0


def test_ctrl_l_repaints(house: House) -> None:
    at = seat(house)
    at.keys("draft", "draft|")
    before = at.ace.display
    at.ace.terminal.reset()
    at.ace.type(b"\x0c")
    at.house.until(lambda: at.ace.display == before, lambda: at.ace.drawn)


def test_f1_and_unknown_keys(house: House) -> None:
    at = seat(house)
    at.ace.type(b"\x1bOP")
    at.ace.wait_for("/quit [TEXT]")
    at.empty()
    for unknown in (
        b"\x1b[99~", b"\x1b[1;2;3A", b"\x1b[98;9u", b"\x1b]11;rgb:0/0/0\x07", b"\x1bP1$r0m\x1b\\",
        b"\x1b[?1;2c", b"\x1b[24;80R", b"\x1b_x\x1b\\", b"\x1bOI", b"\x1b[24~", b"\x1b[1;9P",
        b"\x00", b"\x0f", b"\x11", b"\x13", b"\x16", b"\x1d", b"\x1e", b"\x18x",
    ):  # fmt: skip
        at.ace.type(unknown)
    at.keys("typed", "xtyped|")


def test_split_sequences_and_characters_are_never_typed(house: House) -> None:
    at = seat(house)
    at.keys("ab", "ab|")
    for whole in (LEFT, b"\x1b[1;5D", "日".encode(), b"\x1bOH", "👍".encode(), END):
        for byte in whole:
            at.ace.type(bytes([byte]))
    at.until_input("👍日ab")
    at.empty()
    # A read ends anywhere; the rest comes when it comes.
    at.ace.type(b"x" + "é".encode()[:1])
    at.until_input("x|")
    at.keys("é".encode()[1:] + b"y", "xéy|")
    at.ace.type(PASTE_BEGINS + b"in a pa")
    at.ace.type(b"ste" + PASTE_ENDS[:3])
    at.bea.say("meanwhile")
    at.ace.wait_for("meanwhile")
    assert at.ace.input_row == "> xéy"
    at.keys(PASTE_ENDS[3:], "xéyin a paste|")


def test_the_wheel_without_a_mouse(house: House) -> None:
    at = seat(house)
    filled(at)
    at.ace.type(UP * 3)
    at.ace.wait_for("number 57.")
    at.ace.wait_for("number 58.", gone=True)
    at.ace.wait_for("number 56.")
    at.ace.type(DOWN * 3)
    at.ace.wait_for("number 59.")
    # What is typed is left alone; a key alone is a key.
    at.ace.say("said")
    at.heard("said")
    at.keys("x", "x|")
    at.ace.type(UP * 3)
    at.ace.wait_for("ace  said", gone=True)
    at.until_input("x|")
    at.ace.type(DOWN * 3)
    at.ace.wait_for("ace  said")
    filled(at, 3)
    at.keys(UP, "said|")
    filled(at, 4)
    at.keys(DOWN, "x|")
    assert b"\x1b[?1007h" in at.ace.raw


def test_the_mouse(house: House) -> None:
    at = seat(house)
    filled(at)
    assert b"\x1b[?1000h" not in at.ace.raw
    at.ace.say("/set mouse on")
    at.ace.wait_for("mouse = on")
    at.ace.wait_for_raw(b"\x1b[?1000h\x1b[?1006h")
    at.ace.type(b"\x1b[<64;3;3M")
    at.ace.wait_for("mouse = on", gone=True)
    at.ace.wait_for("number 57.")
    at.ace.type(b"\x1b[<65;3;3M")
    at.ace.wait_for("mouse = on")
    at.ace.type(b"\x1b[<0;3;3M\x1b[<0;3;3m\x1b[<35;4;4M")
    at.keys("text", "text|")
    at.empty()
    at.ace.suspend()
    at.house.until(lambda: at.ace.raw.rfind(b"\x1b[?1000l") > at.ace.raw.rfind(b"\x1b[?1000h"))
    at.ace.foreground()
    at.house.until(lambda: at.ace.raw.rfind(b"\x1b[?1000h") > at.ace.raw.rfind(b"\x1b[?1000l"))
    at.ace.type(b"\x04")
    assert at.ace.ended() == 0
    assert taken(at.ace, rb"\x1b\[\?1000[hl]")[-1] == b"\x1b[?1000l"
    assert taken(at.ace, rb"\x1b\[\?1006[hl]")[-1] == b"\x1b[?1006l"


def test_pasting(house: House) -> None:
    at = seat(house)
    content = "\r\n".join(["twelve chars"] * 40).encode()
    at.ace.type(b"before " + PASTE_BEGINS + content + PASTE_ENDS)
    at.ace.wait_for("40 lines, 519 bytes: Enter sends, Esc removes")
    assert at.ace.input_row == "  twelve chars"
    at.let_the_paste_end()
    at.keys(ESC, "before |")
    at.ace.type(b"\x1f")
    at.house.until(lambda: at.ace.input_row == "  twelve chars")
    at.entered("before " + "\n".join(["twelve chars"] * 40))
    # A paste is one step to undo.
    at.keys(PASTE_BEGINS + b"one row" + PASTE_ENDS, "one row|")
    at.let_the_paste_end()
    at.keys(b"\x1f", "|")
    # A clipboard with its own end marker, and no brackets at all: neither is sent, nor obeyed.
    for hostile in (
        PASTE_BEGINS + PASTE_ENDS + b"/quit\r" + PASTE_ENDS,
        PASTE_BEGINS + b"/quit" + PASTE_ENDS + b"\r/quit\r\x03\x04!" + PASTE_ENDS,
        b"/quit\r/quit\r",
    ):
        at.ace.type(hostile)
        at.ace.wait_for("> /quit")
        at.clear_the_paste()
    at.ace.type(PASTE_BEGINS + b"/quit" + PASTE_ENDS)
    at.ace.wait_for("> /quit")
    at.let_the_paste_end()
    at.ace.type(END + b" now")
    at.ace.wait_for("> /quit now")
    at.entered("/quit now")
    assert at.bea.heard[-1] == "/quit now"


def test_enter_in_the_read_that_ended_a_pasted_row_sends(house: House) -> None:
    at = seat(house)
    at.ace.type(PASTE_BEGINS + b"one row" + PASTE_ENDS + b"\r")
    at.heard("one row")
    at.until_input("|")
    at.ace.type(b"typed " + PASTE_BEGINS + b"and pasted" + PASTE_ENDS + b"\r")
    at.heard("typed and pasted")
    # Two rows are looked at first.
    at.ace.type(PASTE_BEGINS + b"one\rtwo" + PASTE_ENDS + b"\r")
    at.until_rows("> one", "  two")
    at.let_the_paste_end()
    assert at.bea.heard == ["one row", "typed and pasted"]
