"""Hostile text that is typed, pasted or chosen, and what it may never do (UX.md 10)."""

from __future__ import annotations

import pytest

from tests.e2e.harness import House
from tests.e2e.screens import PASTE_BEGINS, PASTE_ENDS, seat
from tests.e2e.test_e2e_hostile import HOSTILE, unmarked

LIMIT = 16_384
BAD_NAMES = [
    "\x1b[2J", "a\x07b", "over\rWRITE", "\x7f", "\x9b2J", "\u202egnp", "\u2066x\u2069", "\u2028a",
    "me\u200b", "\U000e0041", "\x1b]0;pwned\x07", "\x0e lqk \x0f", "*", "--", "a\u0441e", "x" * 200,
    "Z" + 40 * "\u0351", "", " ", "\udcff\udcfe",
]  # fmt: skip


def test_pasted_and_sent(house: House) -> None:
    """Every string, pasted: shown as pictures, harmless to the editor, and sent as it is shown."""
    at = seat(house)
    for number, (said, *shown) in enumerate(HOSTILE):
        content = said.encode("utf-8", "surrogateescape" if "\udcff" in said else "replace")
        is_cut = content.find(PASTE_ENDS) >= 0
        at.pour(PASTE_BEGINS + content + PASTE_ENDS)
        for piece in shown[: 1 if is_cut else None]:
            piece = "???" if piece == "???(" else piece
            at.house.until(
                lambda piece=piece: (
                    unmarked(piece)[:8].replace("?", "\ufffd")  # type: ignore[misc]
                    in unmarked("\n".join(at.ace.display[-8:]))
                ),
                lambda number=number: f"{number}:\n{at.ace.drawn}",  # type: ignore[misc]
            )
        at.clear_the_paste()
    at.ace.say("unharmed")
    at.heard("unharmed")
    assert at.bea.heard == ["unharmed"]


def test_a_megabyte_of_escapes_typed(house: House) -> None:
    at = seat(house)
    at.keys("a draft", "a draft|")
    at.pour(b"\x1b" * 1024 * 1024)
    at.bea.say("meanwhile")
    at.ace.wait_for("meanwhile")
    at.ace.type("\x0c!")
    at.house.until(lambda: at.ace.input_row.startswith("> a draft"), lambda: at.ace.drawn)
    at.empty()
    at.ace.say("unharmed")
    at.heard("unharmed")


def test_the_largest_messages_and_marks(house: House) -> None:
    at = seat(house)
    at.keys("a draft", "a draft|")
    for said in ("\x1b" * LIMIT, "x" * LIMIT, "Z" + 40 * "\u0351", "日" * (LIMIT // 3)):
        at.bea.say(said)
    at.bea.say("the end")
    at.ace.wait_for("the end")
    assert at.ace.input_row == "> a draft"
    for columns in (40, 20, 80):
        at.ace.resize(24, columns)
    at.ace.wait_for("the end")
    at.keys("!", "a draft!|")
    # Its own too, pasted in one piece: one byte more is refused and kept.
    at.empty()
    at.pour(PASTE_BEGINS + b"y" * (LIMIT + 1) + PASTE_ENDS)
    at.house.until(lambda: at.ace.input_row.endswith("yy"), lambda: at.ace.drawn)
    at.let_the_paste_end()
    at.ace.type("\r")
    at.ace.wait_for("16 KB is the limit, this is 17 KB. Nothing was sent.")
    at.ace.type(b"\x0c")
    at.house.until(lambda: "yyyy" in at.ace.drawn)
    assert not any("yyy" in said for said in at.bea.heard)


def test_right_to_left_at_twenty_a_second(house: House) -> None:
    at = seat(house)
    typed = ""
    for number in range(60):
        at.bea.say("\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd " * 12 + f" {number}.")
        typed += chr(ord("a") + number % 26)
        # Each key shows, whatever else comes.
        at.keys(typed[-1], typed + "|")
        assert at.ace.display[-2].startswith(" lobby")
    at.ace.wait_for(" 59.")
    for row in at.ace.display[:-2]:
        assert row.startswith(("     ", "-- ")) or row[2] == ":", at.ace.drawn
    at.ace.type("\r")
    at.heard(typed)


@pytest.mark.parametrize("flag", ["--username", "--room"])
def test_hostile_names_and_rooms_of_ones_own(house: House, flag: str) -> None:
    relay = house.relay()
    for number, name in enumerate(BAD_NAMES):
        if flag == "--room" and name in ("", "*", "--", "a\u0441e", " "):
            continue
        command = ["--ephemeral", flag, name]
        try:
            client = house.screen(relay, f"me{number}", *command)
        except (UnicodeError, ValueError):
            continue
        client.is_plain = True
        house.until(
            lambda client=client: (
                client.exit_code is not None  # type: ignore[misc]
                or b"Connected" in client.raw
            )
        )
        if client.exit_code is None:
            client.is_plain = False
            assert flag == "--room", name
            client.type(b"\x04")
        code = client.ended()
        assert code == (0 if b"?1049h" in client.raw else 2), (name, client.drawn)
        client.is_plain = code == 2
    assert not [row for row in relay.rows if "\x1b" in row]


def test_a_hostile_goodbye(house: House) -> None:
    at = seat(house)
    other = house.screen(at.relay, "other")
    other.wait_for("Connected to lobby")
    at.ace.type(b"/quit ")
    at.until_input("/quit")
    at.ace.type(PASTE_BEGINS + b"\x1b[2J\x07 bye" + PASTE_ENDS)
    at.ace.wait_for("/quit ␛[2J␇ bye")
    at.let_the_paste_end()
    at.ace.type("\r")
    assert at.ace.ended() == 0
    other.wait_for("ace  ␛[2J␇ bye")
