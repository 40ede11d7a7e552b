"""The terminal is left as it was found, by every exit (UX.md 9, 12)."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable

import pytest

from common.member.sentences import unproven
from tests.e2e.harness import ROOT, House, Relay, Screen

CRASHING = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from common.client import loop, main
from common.member.member import Member

def broken(*arguments, **more):
    raise RuntimeError("broken on purpose")

for owner, name in {{where}}:
    getattr(owner, name)
    setattr(owner, name, broken)
sys.exit(main.main(sys.argv[1:]))
"""


def last(raw: bytes, mode: bytes) -> bytes:
    """Return h or l, whichever was sent last for a private mode; l if neither was."""
    found = re.findall(rb"\x1b\[\?(?:\d+;)*%s(?:;\d+)*([hl])" % mode, raw)
    return found[-1] if found else b"l"


def check_restored(terminal: Screen) -> None:
    before, after = terminal.modes
    assert before == after
    raw = terminal.raw
    assert last(raw, b"2004") == b"l"
    if terminal.is_plain:
        return
    assert b"\x1b[?1049h" in raw, "it never had the screen"
    for mode in (b"1049", b"1004", b"1007", b"2026", b"1"):
        assert last(raw, mode) == b"l", mode
    if b"\x1b[?25" in raw:
        assert last(raw, b"25") == b"h"
    assert last(raw, b"7") == b"h"
    # What the wheel did before is saved once, and restored.
    assert raw.count(b"\x1b[?1007s") == 1
    assert raw.rindex(b"\x1b[?1007r") > raw.rindex(b"\x1b[?1007h") > raw.index(b"\x1b[?1007s")
    pushed, popped = (re.findall(rb"\x1b\[%s;[\d;]*t" % way, raw) for way in (b"22", b"23"))
    assert len(pushed) == len(popped)
    tail = raw[raw.rindex(b"\x1b[?1049l") :]
    drawing = re.sub(rb"\x1b\[(\?[\d;]+[hl]|23;[\d;]+t|[\d;]*m)|\x1b[>78]|\x1b\(B", b"", tail)
    assert b"\x1b[" not in drawing


def keys(typed: bytes) -> Callable[[Screen], None]:
    return lambda terminal: terminal.type(typed)


def sent(signum: int) -> Callable[[Screen], None]:
    return lambda terminal: terminal.signal(signum)


def said(content: str) -> Callable[[Screen], None]:
    return lambda terminal: terminal.say(content)


def goodbye(terminal: Screen) -> None:
    terminal.say("exit")
    terminal.wait_for("Enter goodbye text (optional):")
    terminal.type("\r")


def goodbye_without_end(terminal: Screen) -> None:
    terminal.say("exit")
    terminal.wait_for("Enter goodbye text (optional):")
    terminal.signal(signal.SIGTERM)


WAYS: dict[str, tuple[Callable[[Screen], None], int, int]] = {
    "Ctrl-C": (keys(b"\x03"), 0, 130),
    "Ctrl-D": (keys(b"\x04"), 0, 0),
    "Ctrl-backslash": (keys(b"\x1c"), 0, 0),
    "quit": (said("/quit see you"), 0, 0),
    "exit": (goodbye, 0, 0),
    "SIGTERM in a question": (goodbye_without_end, 0, 0),
    "SIGTERM": (sent(signal.SIGTERM), 0, 0),
    "SIGINT": (sent(signal.SIGINT), 0, 130),
    "SIGHUP": (sent(signal.SIGHUP), 0, 0),
}


def joined(house: House, relay: Relay, name: str, *more: str) -> Screen:
    ace = house.screen(relay, name, *more)
    ace.wait_for("You are connected" if more else "Connected to lobby")
    return ace


@pytest.mark.parametrize("more", [(), ("--plain",)])
@pytest.mark.parametrize("half", [0, 1])
def test_leaving(house: House, half: int, more: tuple[str, ...]) -> None:
    relay = house.relay()
    for name, way in list(enumerate(WAYS))[half::2]:
        ace = joined(house, relay, f"u{name}", *more)
        ace.say("hello")
        ace.wait_for(": hello" if more else "  hello")
        leave, of_screen, of_lines = WAYS[way]
        leave(ace)
        assert ace.ended() == (of_lines if more else of_screen), f"{way}:\n{ace.drawn}"
        check_restored(ace)
        relay.wait_for(f"[Disconnected] Username: u{name}")


@pytest.mark.parametrize("more", [(), ("--plain",)])
def test_the_judge_of_all_this_is_awake(house: House, more: tuple[str, ...]) -> None:
    ace = joined(house, house.relay(), "ace", *more)
    ace.signal(signal.SIGKILL)
    assert ace.ended() == -signal.SIGKILL
    with pytest.raises(AssertionError):
        check_restored(ace)


@pytest.mark.parametrize("more", [(), ("--plain",)])
def test_the_terminal_goes_away(house: House, more: tuple[str, ...]) -> None:
    relay = house.relay()
    ace = joined(house, relay, "ace", *more)
    ace.hang_up()
    assert ace.ended() == 0
    relay.wait_for("[Disconnected] Username: ace")


@pytest.mark.parametrize("more", [(), ("--plain",)])
def test_a_refusal_is_read_on_the_shell(house: House, more: tuple[str, ...]) -> None:
    relay = house.relay()
    house.bot(relay, "Ace")
    ace = house.screen(relay, "ace", *more)
    assert ace.ended() == 3
    ace.wait_for(unproven("the name ace is in use."))
    check_restored(ace)


def crashing(house: House, relay: Relay, where: str, *more: str) -> Screen:
    """Start a client in which something is replaced by what raises."""
    script = house.path / "crashing.py"
    script.write_text(CRASHING.format(where=where))
    return Screen(house, [sys.executable, str(script), *house.member(relay, "ace", *more)[2:]])


@pytest.mark.parametrize("where", ["_turn", "_read_input", "_dial", "Member.read"])
@pytest.mark.parametrize("more", [(), ("--plain",)])
def test_a_crash(house: House, where: str, more: tuple[str, ...]) -> None:
    relay = house.relay()
    owner = "Member, 'read'" if where == "Member.read" else f"loop.Client, {where!r}"
    ace = crashing(house, relay, f"[({owner})]", *more)
    ace.expects_traceback = True
    if where == "_read_input":
        relay.wait_for("[Connected]")
        ace.type("x")
    assert ace.ended() == 1
    ace.wait_for("Something broke here:")
    check_restored(ace)
    # Until there is a home for a log, details are kept for the end.
    log = house.path / "home-ace" / "client.log"
    kept = log.read_bytes() if log.exists() else b""
    assert b"RuntimeError: broken on purpose" in kept + ace.raw
    assert not log.exists() or log.stat().st_mode & 0o077 == 0


def test_what_crashes_there_runs_when_nothing_is_replaced(house: House) -> None:
    ace = crashing(house, house.relay(), "[]")
    ace.wait_for("Connected to lobby as ace.")


def test_suspend_and_return(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace")
    ace.wait_for("Connected to lobby")
    bot = house.bot(relay, "bea")
    ace.wait_for("bea joined")
    ace.type("half a draft")
    ace.wait_for("> half a draft")
    for number in range(2):
        ace.suspend()
        check_restored(ace)
        bot.say(f"while away {number}")
        ace.terminal.reset()
        ace.resize(20, 70)
        ace.foreground()
        ace.wait_for(f"while away {number}")
        ace.wait_for("> half a draft")
        assert ace.display[19].startswith("> half a draft")
        assert last(ace.raw, b"2004") == last(ace.raw, b"1049") == b"h"
        ace.type("!")
        ace.wait_for("half a draft!")
    ace.type("\r")
    house.until(lambda: "half a draft!!" in bot.heard)
    ace.type(b"\x04")
    assert ace.ended() == 0
    check_restored(ace)


def test_suspend_and_return_in_line_mode(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace", "--plain")
    ace.wait_for("You are connected")
    bot = house.bot(relay, "bea")
    ace.wait_for("bea joined")
    ace.suspend()
    bot.say("while away")
    ace.foreground()
    ace.wait_for("bea: while away")
    ace.say("back")
    house.until(lambda: "back" in bot.heard)
    ace.type(b"\x04")
    assert ace.ended() == 0
    check_restored(ace)


def test_a_terminal_that_does_not_read_holds_up_nothing(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace")
    ace.wait_for("Connected to lobby")
    bot = house.bot(relay, "bea")
    ace.wait_for("bea joined")
    ace.stop_reading()
    for number in range(30):
        bot.say(f"{number} " + "words " * 1_000)
    ace.type("typed blindly\r")
    house.until(lambda: "typed blindly" in bot.heard)
    bot.say("the end")
    ace.read_on()
    ace.wait_for("the end")
    ace.type(b"\x04")
    assert ace.ended() == 0
    check_restored(ace)
