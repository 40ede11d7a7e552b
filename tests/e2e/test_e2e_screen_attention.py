"""Every row of UX.md 6: scrolling, the unread line, mentions and calls."""

from __future__ import annotations

from tests.e2e.harness import Bot, House
from tests.e2e.screens import END, FOCUS_IN, FOCUS_OUT, PGUP, Table, seat, taken

BELL = rb"(?<!104)\a"
TITLE = rb"\x1b\]2;([^\x1b]*)\x1b\\"
NOTICES = rb"\x1b\](?:9|99;|777;notify);[^\x1b]*\x1b\\"


def filled(at: Table, count: int = 60) -> None:
    for number in range(count):
        at.bea.say(f"number {number}.")
    at.ace.wait_for(f"number {count - 1}.")


def unread_rows(at: Table) -> list[str]:
    """Return what stands below each unread line."""
    display = at.ace.display
    return [
        display[at_ + 1] for at_, row in enumerate(display[:-1]) if row.strip("-") == " unread "
    ]


def last_title(at: Table) -> bytes:
    return taken_titles(at)[-1]


def taken_titles(at: Table) -> list[bytes]:
    import re

    return re.findall(TITLE, at.ace.raw)


def test_the_view_stays_while_somebody_reads(house: House) -> None:
    at = seat(house)
    filled(at)
    at.ace.type(PGUP)
    at.ace.wait_for("number 59.", gone=True)
    history = at.ace.display[:22]
    for number in range(17):
        at.bea.say(f"later {number}.")
    at.until_status("17 new below (End)")
    assert at.ace.display[:22] == history
    at.keys("typing moves nothing", "typing moves nothing|")
    assert at.ace.display[:22] == history
    at.ace.say("")
    at.heard("typing moves nothing")
    at.ace.wait_for("later 16.")
    at.ace.wait_for("ace  typing moves nothing")
    at.until_status("new below", gone=True)


def test_the_unread_line(house: House) -> None:
    at = seat(house)
    at.bea.say("read at once")
    at.ace.wait_for("read at once")
    at.ace.type(FOCUS_OUT)
    at.keys("a", "a|")
    at.bea.say("first missed")
    at.bea.say("second missed")
    at.ace.wait_for("second missed")
    assert [row.split("  ")[-1] for row in unread_rows(at)] == ["first missed"]
    # It stays until the bottom was seen focused and a key was pressed, and moves when one is away.
    at.ace.type(FOCUS_IN)
    at.bea.say("while here")
    at.ace.wait_for("while here")
    assert [row.split("  ")[-1] for row in unread_rows(at)] == ["first missed"]
    at.keys("b", "ab|")
    at.bea.say("while here too")
    at.ace.wait_for("while here too")
    assert [row.split("  ")[-1] for row in unread_rows(at)] == ["first missed"]
    at.ace.type(FOCUS_OUT)
    at.keys("c", "abc|")
    at.bea.say("third missed")
    at.ace.wait_for("third missed")
    assert [row.split("  ")[-1] for row in unread_rows(at)] == ["third missed"]
    # Scrolled up is away too, whatever has the focus.
    at.ace.type(FOCUS_IN)
    filled(at, 30)
    at.ace.type(b"d" + PGUP)
    at.ace.wait_for("number 29.", gone=True)
    at.bea.say("fourth missed")
    at.until_status("1 new below")
    at.empty()
    at.ace.type(END)
    at.ace.wait_for("fourth missed")
    assert [row.split("  ")[-1] for row in unread_rows(at)] == ["fourth missed"]


def test_mentions(house: House) -> None:
    at = seat(house)
    at.ace.type(FOCUS_IN)
    at.ace.say("/set notify_words deploy")
    at.ace.wait_for("notify_words = deploy")
    for said, mark in (
        ("hello Ace!", "@"),
        ("ACE", "@"),
        ("the aces, a face", " "),
        ("a_ce ace_", " "),
        ("when is the DEPLOY?", "@"),
        ("deployed", " "),
        ("aceさん、見て", "@"),
        ("请看deploy吧", "@"),
    ):
        at.bea.say(said)
        at.ace.wait_for(f"bea  {said}")
        (row,) = [row for row in at.ace.display if row.endswith(f"bea  {said}")]
        assert row[6] == mark, row
    at.ace.say("ace is my deploy")
    at.heard("ace is my deploy")
    at.ace.wait_for("  ace  ace is my deploy")
    # Focused: no bell, and nothing in the title.
    assert not taken(at.ace, BELL)
    assert set(taken_titles(at)) == {b"lobby"}


def test_bell_and_title(house: House) -> None:
    at = seat(house)
    at.ace.type(FOCUS_OUT)
    at.keys("x", "x|")
    at.bea.say("nothing for you")
    at.ace.wait_for("nothing for you")
    at.bea.say("ace: one")
    at.ace.wait_for("ace: one")
    at.house.until(lambda: last_title(at) == b"(1) lobby")
    at.bea.say("ace: two")
    at.ace.wait_for("ace: two")
    at.house.until(lambda: last_title(at) == b"(2) lobby")
    at.until_status("@2")
    # At most one in three seconds.
    assert taken(at.ace, BELL) == [b"\a"]
    at.ace.type(FOCUS_IN)
    at.keys("y", "xy|")
    at.house.until(lambda: last_title(at) == b"lobby")
    at.until_status("@2", gone=True)


def test_a_direct_message_rings(house: House) -> None:
    at = seat(house)
    at.ace.type(FOCUS_OUT)
    at.keys("x", "x|")
    (ace,) = at.bea.conversation.peers.values()
    at.bea.conversation.say("only for you", ace)
    at.ace.wait_for("> ")
    at.ace.wait_for("bea  to you: only for you")
    at.house.until(lambda: last_title(at) == b"(1) lobby")
    assert taken(at.ace, BELL) == [b"\a"]


def test_the_bell_can_be_silent_or_always_ring(house: House) -> None:
    at = seat(house)
    at.ace.say("/set bell off")
    at.ace.wait_for("bell = off")
    at.ace.type(FOCUS_OUT)
    at.keys("x", "x|")
    at.bea.say("ace: silent")
    at.ace.wait_for("ace: silent")
    at.until_status("@1")
    assert not taken(at.ace, BELL)
    at.empty()
    at.ace.say("/set bell all")
    at.ace.wait_for("bell = all")
    at.bea.say("for nobody at all")
    at.ace.wait_for("for nobody at all")
    at.house.until(lambda: b"for nobody at all" in at.ace.raw)
    assert taken(at.ace, BELL) == [b"\a"]


def test_desktop_notices(house: House) -> None:
    at = seat(house)
    envs: dict[str, dict[str, str | None]] = {
        "kitty": {"KITTY_WINDOW_ID": "1"},
        "vte": {"VTE_VERSION": "7200"},
        "other": {},
    }
    screens = {name: house.screen(at.relay, name, env=env) for name, env in envs.items()}
    for name, screen in screens.items():
        screen.wait_for(f"Connected to lobby as {name}.")
        screen.say("/set notify on")
        screen.wait_for("notify = on")
        screen.type(FOCUS_OUT + b"x")
        screen.wait_for("> x")
    at.bea.say("kitty, vte, other: a;secret text")
    found = {}
    for name, screen in screens.items():
        screen.wait_for("a;secret text")
        house.until(lambda screen=screen: b"mentioned you" in screen.raw)  # type: ignore[misc]
        found[name] = taken(screen, NOTICES)
        assert taken(screen, BELL)
    assert found == {
        "kitty": [b"\x1b]99;;lobby: bea mentioned you\x1b\\"],
        "vte": [b"\x1b]777;notify;termchat;lobby: bea mentioned you\x1b\\"],
        "other": [b"\x1b]9;lobby: bea mentioned you\x1b\\"],
    }


def test_who_is_not_trusted_calls_nobody(house: House) -> None:
    at = seat(house)
    at.bea.leave()
    at.ace.wait_for("bea left")
    false: Bot = house.bot(at.relay, "bea")
    at.ace.wait_for("1 changed key: bea")
    at.ace.type(FOCUS_OUT)
    at.keys("x", "x|")
    false.say("ace: look here")
    at.ace.wait_for("A message from bea was hidden.")
    at.keys("y", "xy|")
    assert not taken(at.ace, BELL)
    assert set(taken_titles(at)) == {b"lobby"}
