"""The screen at every size (UX.md 1, 9)."""

from __future__ import annotations

import unicodedata

from tests.e2e.harness import House

SIZES = ((1, 1), (3, 10), (2, 3), (20, 5), (5, 20), (24, 80), (60, 200), (1, 200), (60, 1))


def test_every_size_while_messages_arrive(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace")
    ace.wait_for("Connected to lobby")
    bot = house.bot(relay, "bea")
    ace.wait_for("bea joined")
    ace.type("a draft")
    ace.wait_for("> a draft")
    for number, (rows, columns) in enumerate(SIZES * 2):
        drawn = len(ace.raw)
        ace.resize(rows, columns)
        bot.say(f"message {number} of 日本語 and many words that must be wrapped")
        house.until(lambda drawn=drawn: len(ace.raw) > drawn)  # type: ignore[misc]
        if rows >= 24 and columns >= 80:
            ace.wait_for(f"message {number} of 日本語 and many words that must be wrapped")
            house.until(lambda: ace.input_row == "> a draft")
            house.until(lambda: ace.status_row.startswith(" lobby"))
            assert ace.terminal.cursor == (rows - 1, 9)
    ace.terminal.reset()
    ace.resize(24, 80)
    for number in range(len(SIZES) * 2):
        ace.wait_for(f"message {number} of 日本語")
    ace.wait_for("> a draft")
    ace.type("\r")
    house.until(lambda: "a draft" in bot.heard)


def test_a_start_at_every_size(house: House) -> None:
    relay = house.relay()
    for number, (rows, columns) in enumerate(SIZES):
        name = f"u{number}"
        ace = house.screen(relay, name, rows=rows, columns=columns)
        relay.wait_for(f"[Connected] Username: {name}")
        ace.terminal.reset()
        ace.resize(24, 80)
        ace.wait_for(f"Connected to lobby as {name}.")
        ace.wait_for(f"{name}  1 here")
        ace.type(b"\x04")
        assert ace.ended() == 0
        relay.wait_for(f"[Disconnected] Username: {name}")


def test_the_smallest_screens_show_what_matters(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace", rows=3, columns=10)
    relay.wait_for("[Connected]")
    ace.type("hello")
    ace.wait_for("hello")
    assert "hello" in ace.input_row
    ace.resize(1, 3)
    house.until(lambda: ace.display == ["lo"], lambda: ace.drawn)  # and a cell for the cursor
    ace.resize(4, 20)
    house.until(lambda: ace.input_row == "> hello", lambda: ace.drawn)
    ace.type("\r")
    house.until(lambda: ace.status_row.startswith(" lobby"), lambda: ace.drawn)


def test_lines_and_columns_in_the_environment_are_not_believed(house: House) -> None:
    relay = house.relay()
    env: dict[str, str | None] = {"LINES": "10", "COLUMNS": "40"}
    ace = house.screen(relay, "ace", env=env)
    ace.wait_for("Connected to lobby")
    house.until(lambda: ace.input_row == ">")
    assert "ace  1 here" in ace.status_row


# What is said, what is shown of it, and the cells that this takes.
WIDE = (
    ("日本語もOK 👍", "日本語もOK 👍", 8 + 2 + 1 + 2),
    ("👩\u200d👩\u200d👧", "👩👩👧", 6),
    ("👍🏽", "👍", 2),
    ("e\u0301te\u0301", "e\u0301te\u0301", 3),
    ("☂\ufe0f", "☂", 1),
    ("a\tb", "a    b", 6),
    ("한국어", "한국어", 6),
)


def test_wide_characters_stand_where_they_belong(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace")
    ace.wait_for("Connected to lobby")
    bot = house.bot(relay, "bea")
    ace.wait_for("bea joined")
    for number, (said, shown, cells) in enumerate(WIDE):
        end = f" end{number}"
        bot.say(said + end)
        ace.wait_for(end)
        row = next(at for at, drawn in enumerate(ace.display) if drawn.endswith(end))
        start = len("14:01   bea  ")
        assert ace.terminal.cell(row, start) == unicodedata.normalize("NFC", shown)[0]
        drawn = [ace.terminal.cell(row, start + cells + at) for at in range(len(end) + 1)]
        assert "".join(drawn) == f"{end} "


def test_wide_characters_are_typed_and_deleted(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace", rows=10, columns=40)
    ace.wait_for("Connected to lobby")
    for byte in "日本👍".encode():
        ace.type(bytes([byte]))
    ace.wait_for("> 日本👍")
    assert ace.terminal.cursor == (9, 2 + 6)
    ace.type(b"\x1b[D\x7f")
    ace.wait_for("> 日👍")
    house.until(lambda: ace.terminal.cursor == (9, 2 + 2))
    ace.type("x" * 50)
    ace.wait_for("x" * 30)
    ace.type("\r")
    ace.wait_for("日xxx")
    ace.wait_for("xx👍")
