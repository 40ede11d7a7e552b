"""UX.md 1, 4, 5 and 7 as they look, and the terminals and locales of 12."""

from __future__ import annotations

import re
import sys
import time

import pytest

from common.wire.records import Kind
from tests.e2e.harness import ROOT, House, Screen
from tests.e2e.screens import FOCUS_IN, FOCUS_OUT, PGUP, Table, seat, taken

CLOCK = r"\d\d:\d\d"
LONG = "https://example.org/very/long/path/that/is/not/broken/by/hyphens/at/all/ever/and/ever"


def lively(house: House, rows: int, columns: int, *more: str) -> Table:
    """Fill a room with one of everything."""
    at = seat(house, *more, rows=24, columns=80)
    at.bea.say(f"morning! the deploy is at three, notes are in\n{LONG}")
    carol = house.bot(at.relay, "carol")
    at.ace.wait_for("carol joined")
    carol.say("日本語もOK 👍 then more text that is wrapped at a space and goes on")
    at.bea.say("/me waves")
    dave = house.bot(at.relay, "dave")
    at.ace.wait_for("dave joined")
    (ace,) = (peer for peer in at.bea.conversation.peers.values() if peer.name == "ace")
    at.bea.conversation.say("the door code is on the board", ace)
    at.ace.wait_for("the door code")
    at.ace.type(FOCUS_OUT + b"x")
    at.until_input("x|")
    at.bea.say("ace: can you look at the red build?")
    at.ace.wait_for("red build")
    dave.leave()
    at.ace.wait_for("dave left")
    house.bot(at.relay, "dave")
    at.ace.wait_for("1 changed key: dave")
    at.ace.type(FOCUS_IN)
    at.ace.say("I will be there")
    at.ace.wait_for("I will be there")
    taken(at.ace, rb"(?<!104)\a")
    at.ace.type("can you look at the re")
    at.ace.wait_for("> can you look at the re")
    if (rows, columns) != (24, 80):
        at.ace.terminal.reset()
        at.ace.resize(rows, columns)
    at.house.until(lambda: at.ace.input_row.endswith("the re"), lambda: at.ace.drawn)
    return at


def matching(at: Table, *patterns: str) -> None:
    """Wait until the screen ends with rows like these, and no row is too wide."""
    whole = "\n".join(patterns)
    at.house.until(
        lambda: re.search(rf"(?:\A|\n){whole}\Z", "\n".join(at.ace.display)),
        lambda: at.ace.drawn,
    )


def test_80_by_24(house: House) -> None:
    at = lively(house, 24, 80)
    matching(
        at,
        rf"{CLOCK} --  bea joined \(fingerprint \d{{5}}, first seen\)\. 2 here",
        rf"{CLOCK}     bea  morning! the deploy is at three, notes are in",
        rf" {{15}}{re.escape(LONG[:65])}",
        rf" {{15}}{re.escape(LONG[65:])}",
        rf"{CLOCK} --  carol joined \(fingerprint \d{{5}}, first seen\)\. 3 here",
        rf"{CLOCK}   carol  日本語もOK 👍 then more text that is wrapped at a space and goes",
        r" {15}on",
        rf"{CLOCK}        \* bea waves",
        rf"{CLOCK} --  dave joined \(fingerprint \d{{5}}, first seen\)\. 4 here",
        rf"{CLOCK} >   bea  to you: the door code is on the board",
        r"-+ unread -+",
        rf"{CLOCK} @   bea  ace: can you look at the red build\?",
        rf"{CLOCK} --  dave left after \d+ s\. 3 here",
        rf"{CLOCK} --  dave joined \(fingerprint \d{{5}}, CHANGED\)\. 4 here",
        rf"{CLOCK} !!  dave's identity key has CHANGED\. Not sending to or showing dave until",
        r" {10}/trust dave\.",
        rf"{CLOCK}     ace  xI will be there",
        rf" lobby  ace  4 here  1 changed key: dave +{CLOCK}",
        r"> can you look at the re",
    )


def test_40_by_10(house: House) -> None:
    at = lively(house, 10, 40)
    matching(
        at,
        r"   build\?",
        r"-- dave left after \d+ s\. 3 here",
        r"-- dave joined \(fingerprint \d{5},",
        r"   CHANGED\)\. 4 here",
        r"!! dave's identity key has CHANGED\. Not",
        r"   sending to or showing dave until",
        r"   /trust dave\.",
        r" ace: xI will be there",
        r" lobby  ace  4 here  1 changed key: dave",
        r"> can you look at the re",
    )
    for number in range(17):
        at.bea.say(f"number {number}")
    at.ace.wait_for(" bea: number 16")
    at.ace.type(PGUP)
    at.ace.wait_for("number 16", gone=True)
    at.bea.say("below")
    at.until_status("1 new below")
    assert at.ace.status_row == " lobby  1 changed key: dave  1 new below"


def test_20_by_5(house: House) -> None:
    at = lively(house, 5, 20)
    at.house.until(lambda: at.ace.status_row == " 1 changed key: dave", lambda: at.ace.drawn)
    assert at.ace.input_row == "  ou look at the re"
    at.ace.type(b"\x15ok")
    at.until_input("ok|")
    shown = ["   dave.", " ace: xI will be", "   there"]
    at.house.until(lambda: at.ace.display[:3] == shown, lambda: at.ace.drawn)


def test_the_smallest(house: House) -> None:
    at = lively(house, 3, 10)
    # One row of input with its tail, a status, and no history.
    assert at.ace.display == ["", " 1 change~", at.ace.input_row]
    assert at.ace.input_row.endswith("the re")
    for rows, columns, shown in (
        (2, 10, [" 1 change~", None]),
        (1, 10, [None]),
        (3, 3, ["", "", "re"]),
        (1, 1, [None]),
        (1, 3, ["re"]),
    ):
        at.ace.terminal.reset()
        at.ace.resize(rows, columns)
        at.ace.type(b"\x0c")
        at.house.until(
            lambda shown=shown: all(  # type: ignore[misc]
                want is None or got == want for got, want in zip(at.ace.display, shown, strict=True)
            ),
            lambda: at.ace.drawn,
        )
    at.ace.terminal.reset()
    at.ace.resize(24, 80)
    at.until_input("can you look at the re|")
    at.ace.wait_for("xI will be there")


def test_long_messages_and_days(house: House) -> None:
    at = seat(house)
    at.bea.say("\n".join(f"row {number}" for number in range(100)))
    more = "(82 more rows: Enter or /more)"
    at.ace.wait_for(more)
    at.until_rows(" " * 13 + "row 17", " " * 13 + more)
    for keys in (b"\r", b"/more\r"):
        at.ace.type(keys)
        at.until_rows(" " * 13 + "row 17", " " * 13 + "row 18")
        at.ace.wait_for(more, gone=True)
        at.ace.type(b"\x1b>")
        at.until_rows(" " * 13 + "row 98", " " * 13 + "row 99")
        at.bea.say("\n".join(f"row {number}" for number in range(100)))
        at.ace.wait_for(more)
    at.ace.type(b"\x1b<")
    today = time.strftime("-- %A %-d %B %Y ")
    at.house.until(lambda: at.ace.display[0].startswith(today), lambda: at.ace.drawn)
    at.ace.type(b"\x1b>")
    at.bea.say("see https://example.org/a). Or not\tthen")
    at.ace.wait_for("Or not    then")
    row = next(y for y, row in enumerate(at.ace.display) if "see https" in row)
    cells = at.ace.terminal._cells.buffer[row]
    start = at.ace.display[row].index("https")
    drawn = [cells[x].underscore for x in range(start - 1, start + 23)]
    assert drawn == [False, *[True] * 21, False, False]
    at.ace.say("/clear")
    at.ace.wait_for(more, gone=True)
    at.ace.say("/more")
    at.until_status("No message on the screen is cut.")


def test_a_name_that_looks_like_another(house: House) -> None:
    at = seat(house)
    false = house.bot(at.relay, "\u0430\u0441\u0435")
    at.ace.wait_for("!!  \u0430\u0441\u0435 is not ace: its letters are Cyrillic.")
    false.say("it is me")
    at.house.until(
        lambda: any(
            re.fullmatch(CLOCK + " [?] +\u0430\u0441\u0435  it is me", row)
            for row in at.ace.display
        ),
        lambda: at.ace.drawn,
    )


def coloured(screen: Screen) -> set[bytes]:
    """Return the colours that were asked for; the default ones are none."""
    return {
        number
        for sequence in re.findall(rb"\x1b\[([\d;]*)m", screen.raw)
        for number in re.findall(
            rb"(?:^|;)((?:[34]8;5;\d+)|(?:3[0-7])|(?:4[0-7])|(?:9[0-7]))(?=;|$)", sequence
        )
    }


@pytest.mark.parametrize(
    ("more", "env"),
    [
        ((), {"NO_COLOR": "1"}),
        (("--no-color",), {}),
        ((), {"TERM": "vt100"}),
        ((), {"NO_COLOR": ""}),
    ],
)
def test_without_colour(house: House, more: tuple[str, ...], env: dict[str, str | None]) -> None:
    at = seat(house, *more, env=env)
    at.bea.say("ace: do you see me?")
    at.ace.wait_for("@ bea  ace: do you see me?")
    at.bea.leave()
    at.ace.wait_for("bea left")
    house.bot(at.relay, "bea")
    at.ace.wait_for("!!  bea's identity key has CHANGED.")
    at.until_status("1 changed key: bea")
    has_colour = env == {"NO_COLOR": ""}
    assert bool(coloured(at.ace)) is has_colour
    row = next(y for y, row in enumerate(at.ace.display) if "key has CHANGED" in row)
    assert at.ace.terminal._cells.buffer[row][6].bold
    assert at.ace.terminal._cells.buffer[len(at.ace.display) - 2][1].reverse
    at.ace.type(b"\x04")
    assert at.ace.ended() == 0
    taken(at.ace, rb"(?<!104)\a|\x0f|\x1b\)0")


def test_a_theme_without_colours(house: House) -> None:
    at = seat(house)
    at.bea.say("in colour")
    at.ace.wait_for("in colour")
    at.ace.say("/set theme plain")
    at.ace.wait_for("theme = plain")
    at.ace.terminal.raw.clear()
    at.bea.say("in none")
    at.ace.wait_for("in none")
    at.ace.type(b"\x0c")
    at.bea.say("and no more")
    at.ace.wait_for("and no more")
    assert not coloured(at.ace)
    at.ace.say("/set theme default")
    at.ace.wait_for("theme = default")
    assert coloured(at.ace)


def test_a_private_line_and_its_answer_are_told_from_public_ones(house: House) -> None:
    at = seat(house)
    at.bea.say("for all")
    (ace,) = at.bea.conversation.peers.values()
    at.bea.conversation.say("for one", ace)
    at.ace.wait_for("> bea  to you: for one")
    at.ace.type("/r ")
    at.house.until(lambda: at.ace.input_row == "to bea > /msg bea", lambda: at.ace.drawn)
    at.ace.type("an answer\r")
    at.ace.wait_for("> ace  to bea: an answer")
    at.until_input("|")
    at.house.until(lambda: at.bea.heard[-1] == "an answer")

    def shades(said: str) -> set[str]:
        row = next(y for y, row in enumerate(at.ace.display) if said in row)
        start = at.ace.display[row].index(said)
        cells = at.ace.terminal._cells.buffer[row]
        return {cells[start + x].fg for x in range(len(said)) if said[x] != " "}

    # 163 of the 256.
    at.house.until(lambda: shades("to bea: an answer") == shades("to you: for one") == {"d700af"})
    assert shades("for all") == {"default"}
    taken(at.ace, rb"(?<!104)\a")


def test_what_follows_a_refused_line_stands_alone(house: House) -> None:
    at = seat(house)
    at.ace.say("/msg nobody hi")
    at.until_status("Nobody here is called nobody.")
    at.until_input("|")
    at.ace.type(b"\x1b[A")
    at.house.until(lambda: at.ace.input_row.endswith("/msg nobody hi"), lambda: at.ace.drawn)
    at.ace.type(b"\x03")
    at.until_input("|")
    at.ace.say("exit")
    at.ace.wait_for("Enter goodbye text (optional)")
    at.ace.type("bye\r")
    assert at.ace.ended() == 0
    at.house.until(lambda: at.bea.heard[-1] == "bye")


def test_colours_of_256_and_of_8(house: House) -> None:
    of: dict[str, set[bytes]] = {}
    at = seat(house)
    small = house.screen(at.relay, "small", env={"TERM": "xterm"})
    small.wait_for("Connected to lobby")
    for number in range(12):
        bot = house.bot(at.relay, f"bot{number}")
        bot.say(f"I am {number}.")
        for screen in (at.ace, small):
            screen.wait_for(f"I am {number}.")
    of["256"], of["8"] = coloured(at.ace), coloured(small)
    nine = {131, 130, 64, 28, 30, 31, 27, 62, 99}
    assert of["256"] <= {b"38;5;%d" % number for number in nine}
    assert of["8"] <= {b"3%d" % number for number in range(1, 7)}
    assert len(of["256"]) > 3
    assert len(of["8"]) > 2
    taken(small, rb"(?<!104)\a")


@pytest.mark.parametrize("name", ["C", "POSIX", "xx_XX.nonsense"])
def test_locales_without_utf_8(house: House, name: str) -> None:
    at = seat(house, env={"LC_ALL": name, "LANG": None})
    at.bea.say("日本 é 👍")
    at.ace.wait_for("日本 é 👍")
    at.keys("é日", "é日")
    at.ace.type("\r")
    at.heard("é日")


ASCII = f"""
import locale, sys
sys.path.insert(0, {str(ROOT)!r})
from common.client import main
set_locale = locale.setlocale
def only_c(category, name=None):
    if name:
        raise locale.Error
    return set_locale(category, "C")
locale.setlocale = only_c
sys.exit(main.main(sys.argv[1:]))
"""


def test_a_machine_without_utf_8(house: House) -> None:
    relay = house.relay()
    script = house.path / "ascii.py"
    script.write_text(ASCII)
    env: dict[str, str | None] = {"LC_ALL": "C"}
    command = house.member(relay, "ace", "--room", "é")[2:]
    ace = Screen(house, [sys.executable, str(script), *command], env=env)
    ace.wait_for("Connected to ? as ace.")
    ace.type("é日".encode())
    ace.wait_for("> ???")
    ace.type("\r")
    ace.wait_for("ace  ???")
    assert ace.raw.isascii()


def test_a_withheld_message(house: House) -> None:
    at = seat(house)
    at.bea.say("before")
    at.ace.wait_for("bea  before")
    conversation = at.bea.conversation
    # What it hears is not what it said: it should not listen.
    at.bea.stop_listening()
    conversation.say("withheld")
    assert conversation.outgoing(time.monotonic())
    at.bea.say("after")
    at.ace.wait_for("A message claiming to be from bea failed authentication: it is forged")
    assert not any("bea  after" in row for row in at.ace.display)


def test_a_forged_message(house: House) -> None:
    at = seat(house)
    at.bea.say("before")
    at.ace.wait_for("bea  before")
    at.bea.stop_listening()
    at.bea.conversation.say("forged")
    for record in at.bea.conversation.outgoing(time.monotonic()):
        if record.kind is Kind.MESSAGE:
            record = record._replace(body=record.body[:-1] + bytes([record.body[-1] ^ 1]))
        at.bea.send(record)
    at.ace.wait_for("A message claiming to be from bea failed authentication: it is forged")
    assert not any("bea  forged" in row for row in at.ace.display)
