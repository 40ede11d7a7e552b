"""Every row of UX.md 3 that this client has, through a pseudo-terminal."""

from __future__ import annotations

import base64
import re

from tests.e2e.harness import House
from tests.e2e.screens import (
    CLIPBOARD,
    ESC,
    PASTE_BEGINS,
    PASTE_ENDS,
    PGUP,
    UP,
    Table,
    seat,
    taken,
)


def away(at: Table, count: int = 1) -> str:
    """Return what was printed when the screen was left for the last time."""
    at.house.until(lambda: at.ace.raw.count(b"-- Enter returns.") == count, lambda: at.ace.drawn)
    raw = at.ace.raw
    return raw[raw.rindex(b"\x1b[?1049l") :].decode().replace("\r\n", "\n")


def is_back(at: Table) -> bool:
    return at.ace.raw.rindex(b"\x1b[?1049h") > at.ace.raw.rindex(b"\x1b[?1049l")


def returned(at: Table, key: bytes = b"\r") -> None:
    at.ace.terminal.reset()
    at.ace.type(key)
    at.house.until(lambda: is_back(at))


def test_help_and_what_is_no_command(house: House) -> None:
    at = seat(house)
    at.ace.say("/help")
    at.ace.wait_for("/trust NAME")
    at.ace.wait_for("/quit [TEXT]")
    # One row a command.
    assert not any(row.startswith("    ") for row in at.ace.display[:-2])
    at.ace.say("/help keys")
    at.ace.wait_for("Ctrl-R searches what you sent.")
    at.ace.say("/h find")
    at.ace.wait_for("--  /find TEXT: ")
    at.ace.say("/foo bar")
    at.ace.wait_for("No command /foo. /help lists them.")
    at.keys(UP, "/foo bar|")
    at.empty()
    for whole in ("/qui", "/trus bea"):
        at.ace.say(whole)
        at.ace.wait_for("must be typed out. Nothing was sent.")
        at.house.until(lambda: "must be" in "".join(at.ace.display[:-2]), lambda: at.ace.drawn)
        at.ace.say("/clear")
        at.ace.wait_for("must be typed out", gone=True)
    at.ace.say("/c")
    at.ace.wait_for("/c could be ")
    at.ace.say("//said with a slash")
    at.heard("/said with a slash")
    at.ace.type("/who\x1b\rhere")
    at.ace.wait_for("  here")
    at.ace.type("\r")
    at.heard("/who\nhere")
    at.ace.type(PASTE_BEGINS + b"/clear" + PASTE_ENDS)
    at.ace.wait_for("> /clear")
    assert at.bea.heard == ["/said with a slash", "/who\nhere"]


def test_who_and_me(house: House) -> None:
    at = seat(house)
    at.ace.say("/who")
    at.house.until(
        lambda: re.search(r"--  +bea  first seen \d{4}-\d\d-\d\d  \d{5}( \d{5})+", at.ace.drawn),
        lambda: at.ace.drawn,
    )
    assert re.search(r"--  ace \(you\)  \d{5}( \d{5})+", at.ace.drawn)
    at.ace.say("/me waves")
    at.heard("/me waves")
    at.ace.wait_for("* ace waves")
    at.bea.say("/me waves back")
    at.ace.wait_for("* bea waves back")
    at.ace.say("/me")
    at.ace.wait_for("Usage: /me TEXT")


def test_verify_and_trust(house: House) -> None:
    at = seat(house)
    at.ace.say("/verify")
    at.ace.wait_for("Your fingerprint as ace:")
    at.ace.say("/verify nobody")
    at.ace.wait_for("Nobody here is called nobody.")
    at.ace.say("/verify bea yes")
    at.ace.wait_for("Compare the safety number first: /verify bea")
    at.ace.say("/verify bea")
    at.ace.wait_for("Safety number of ace and bea:")
    assert len(re.findall(r"^\|\d\d:\d\d --      \d{5}(?: \d{5}){5}$", at.ace.drawn, re.M)) == 1 + 2
    at.bea.say("not yet")
    at.ace.wait_for("   bea  not yet")
    at.ace.say("/verify bea yes")
    at.ace.wait_for("bea is verified.")
    at.bea.say("now I am")
    at.ace.wait_for("+ bea  now I am")
    at.ace.say("/who")
    at.ace.wait_for("+ bea  verified")
    at.ace.say("/trust bea")
    at.ace.wait_for("The identity key of bea has not changed. Nothing was done.")


def test_find(house: House) -> None:
    at = seat(house)
    for number in range(50):
        at.bea.say(f"number {number}.")
    at.ace.wait_for("number 49.")
    shown = at.ace.display[:15]
    at.ace.say("/find foo")
    at.until_status('"foo" is not in this history.')
    at.ace.wait_for('--  "foo" is not in this history.')
    at.ace.type(b"\x1b>")
    assert any(row in at.ace.display for row in shown)
    at.ace.say("/find NUMBER 7.")
    at.ace.wait_for("number 7.")
    at.ace.say("/find")
    at.ace.wait_for("number 7.")
    at.ace.type(ESC)
    at.ace.wait_for("number 49.")


def test_copy(house: House) -> None:
    at = seat(house)
    long = "long " * 40 + "https://example.org/a?b=c."
    at.bea.say(long)
    at.bea.say("two\nrows of 👩\u200d👧")
    at.ace.wait_for("rows of")
    at.ace.say("/copy 2")
    printed = away(at)
    # As it was said: not wrapped, joiners and all, without name and time.
    assert f"{long}\ntwo\nrows of 👩\u200d👧\n-- Enter returns." in printed
    at.house.until(lambda: re.search(CLIPBOARD, at.ace.raw))
    (copied,) = taken(at.ace, CLIPBOARD)
    assert base64.b64decode(copied).decode() == f"{long}\ntwo\nrows of 👩\u200d👧"
    at.ace.terminal.raw[:] = at.ace.raw.replace("\u200d".encode(), b"")
    at.bea.say("meanwhile")
    at.ace.type("typed into nothing")
    returned(at)
    at.ace.wait_for("meanwhile")
    at.until_input("|")
    at.ace.say("/copy -t 1")
    assert re.search(r"\n?\d\d:\d\d bea: meanwhile\n-- Enter", away(at, 2))
    returned(at, b"\x03")
    at.ace.say("/set clipboard off")
    at.ace.wait_for("clipboard = off")
    at.ace.say("/url")
    assert "https://example.org/a?b=c\n-- Enter" in away(at, 3)
    returned(at)
    assert len(taken(at.ace, CLIPBOARD)) == 1
    at.ace.say("/copy x")
    at.ace.wait_for("Usage: /copy [-t] [N]")
    at.ace.say("/clear")
    at.ace.wait_for("Usage", gone=True)
    at.ace.say("/copy")
    assert "There is nothing to copy." in away(at, 4)
    returned(at)


EDITOR = """#!/bin/sh
{{ stat -c '%a %h' "$1"; dirname "$1"; cat "$1"; }} >> {seen}
printf 'edited\\nby \\033[2J hand\\n' > "$1"
exit {code}
"""


def test_edit(house: House) -> None:
    run, seen = house.path / "run", house.path / "seen"
    run.mkdir()
    for name, code in (("good", 0), ("bad", 1)):
        script = house.path / name
        script.write_text(EDITOR.format(seen=seen, code=code))
        script.chmod(0o700)
    env: dict[str, str | None] = {
        "XDG_RUNTIME_DIR": str(run),
        "EDITOR": str(house.path / "good"),
    }
    at = seat(house, env=env)
    at.ace.say("/edit")
    at.until_rows("> edited", "  by ␛[2J hand")
    assert seen.read_text() == f"600 1\n{run}\n"
    assert not list(run.iterdir())
    at.ace.type("\r")
    at.heard("edited\nby ␛[2J hand")
    at.keys("a draft", "a draft|")
    at.ace.type(b"\x18\x05")
    at.until_rows("> edited", "  by ␛[2J hand")
    assert seen.read_text().endswith("a draft")
    at.keys(b"\x1f", "a draft|")
    # An editor that fails, and none at all: what was typed is kept.
    for number, (editor, sentence) in enumerate(
        (
            ("bad", "The editor failed. What you typed is kept."),
            ("missing", "cannot be started."),
            (None, "Neither VISUAL nor EDITOR names an editor."),
        )
    ):
        env["EDITOR"] = str(house.path / editor) if editor else None
        bob = house.screen(at.relay, f"bob{number}", env=env)
        bob.wait_for("Connected to lobby")
        bob.type("precious")
        bob.wait_for("> precious")
        bob.type(b"\x18\x05")
        bob.wait_for(sentence)
        bob.wait_for("> precious")
        assert not list(run.iterdir())


def test_unread_and_clear(house: House) -> None:
    at = seat(house)
    at.ace.say("/unread")
    at.ace.wait_for("There is no unread line.")
    for number in range(40):
        at.bea.say(f"old {number}.")
    at.ace.wait_for("old 39.")
    at.ace.type(PGUP)
    at.ace.wait_for("old 39.", gone=True)
    for number in range(60):
        at.bea.say(f"new {number}.")
    at.until_status("60 new below (End)")
    at.ace.type(b"\x1b>")
    at.ace.wait_for("new 59.")
    at.ace.say("/unread")
    at.ace.wait_for("new 0.")
    assert at.ace.display[0].strip("-") == " unread "
    at.ace.say("/clear")
    at.house.until(lambda: not any("new " in row for row in at.ace.display[:-2]))
    at.bea.say("after it")
    at.ace.wait_for("after it")
    at.ace.type(PGUP)
    at.keys("x", "x|")
    assert not any("new 59." in row for row in at.ace.display)


def test_set(house: House) -> None:
    at = seat(house)
    at.ace.say("/set")
    for name in ("mouse = off: ", "joins = on: ", "bell = on: ", "notify = off: ", "notify_words"):
        at.ace.wait_for(f"--  {name}")
    at.ace.say("/set joins off")
    at.ace.wait_for("--  joins = off")
    late = house.bot(at.relay, "late")
    late.say("I came unseen")
    at.ace.wait_for("I came unseen")
    assert not any("late joined" in row for row in at.ace.display)
    at.ace.say("/set joins")
    at.house.until(lambda: at.ace.drawn.count("joins = off") == 2)
    at.ace.say("/set joins perhaps")
    at.ace.wait_for("Usage: /set joins on|off")
    at.ace.say("/set nonsense on")
    at.ace.wait_for("No setting nonsense. /set lists them.")


def test_exit_and_quit(house: House) -> None:
    at = seat(house)
    at.ace.say("exit")
    at.ace.wait_for("Enter goodbye text (optional):")
    at.ace.type("not a message")
    at.ace.wait_for("not a message")
    at.ace.type(ESC)
    at.until_input("|")
    at.ace.say("exit now")
    at.heard("exit now")
    at.ace.say("/quit so long")
    assert at.ace.ended() == 0
    at.house.until(lambda: at.bea.heard == ["exit now", "so long"])
    at.relay.wait_for("[Disconnected] Username: ace")
