"""Every row of UX.md 9 but reconnecting, and what happens when something of ours breaks."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, House, Screen
from tests.e2e.screens import LEFT, Table, seat
from tests.e2e.test_e2e_terminal import check_restored, last

WRAPPER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from common.client import loop, main
{{patch}}
sys.exit(main.main(sys.argv[1:]))
"""


def patched(house: House, where: str, patch: str, *more: str) -> Screen:
    """Start a client in which something was replaced."""
    script = house.path / "patched.py"
    script.write_text(WRAPPER.format(patch=patch))
    return Screen(house, [sys.executable, str(script), *house.member(where, "ace", *more)[2:]])


def test_a_drag_of_the_window(house: House) -> None:
    at = seat(house)
    for number in range(40):
        at.bea.say(f"number {number} of words enough to be wrapped in a narrow window")
    at.ace.wait_for("number 39")
    at.ace.type("日本 draft é" + LEFT.decode() * 8)
    at.until_input("日本 draft é")
    for columns in range(79, 30, -3):
        at.ace.resize(24 - columns % 5, columns)
    at.ace.terminal.reset()
    at.ace.resize(20, 50)
    at.house.until(lambda: at.ace.input_row == "> 日本 draft é", lambda: at.ace.drawn)
    # The cursor stays on its character, and the view at the bottom.
    at.house.until(lambda: at.ace.terminal.cursor == (19, 2 + 4 + 0), lambda: at.ace.drawn)
    at.ace.wait_for("number 39 of words")
    # Scrolled up, the bottom message stays.
    at.ace.type(b"\x1b[5~")
    at.ace.wait_for("number 39", gone=True)
    bottom = re.findall(r"number (\d+)", at.ace.drawn)[-1]
    at.ace.terminal.reset()
    at.ace.resize(24, 80)
    at.house.until(lambda: at.ace.input_row == "> 日本 draft é")
    at.house.until(
        lambda: re.findall(r"number (\d+)", at.ace.drawn)[-1:] == [bottom], lambda: at.ace.drawn
    )


@pytest.mark.parametrize("is_key", [True, False])
def test_suspended(house: House, is_key: bool) -> None:
    at = seat(house)
    at.keys("half a draft", "half a draft|")
    if is_key:
        at.ace.suspend()
    else:
        at.ace.signal(signal.SIGTSTP)
        at.house.until(lambda: at.ace.told[-1].get("stopped") == signal.SIGTSTP)
    at.house.until(lambda: last(at.ace.raw, b"1049") == last(at.ace.raw, b"2004") == b"l")
    check_restored(at.ace)
    for number in range(3):
        at.bea.say(f"while away {number}")
    at.house.until(lambda: not at.bea.conversation.waiting)
    at.ace.terminal.reset()
    at.ace.resize(20, 70)
    at.ace.foreground()
    at.ace.wait_for("while away 2")
    rows = [row.split("  ")[-1] for row in at.ace.display]
    back = next(place for place, row in enumerate(rows) if re.fullmatch(r"Back after \d+ s\.", row))
    assert rows[back + 1] == "while away 0"
    assert at.ace.display[19] == "> half a draft"
    at.keys("!", "half a draft!|")
    # Nothing came meanwhile: nothing is said.
    at.ace.suspend()
    at.ace.terminal.reset()
    at.ace.foreground()
    at.until_input("half a draft!|")
    assert sum("Back after" in row for row in at.ace.display) == 1


def test_sigquit(house: House) -> None:
    at = seat(house)
    at.ace.signal(signal.SIGQUIT)
    assert at.ace.ended() == 0
    check_restored(at.ace)


def test_a_signal_before_there_is_a_relay(house: House) -> None:
    with house.listener() as silent:
        port = silent.getsockname()[1]
        relay = house.relay()
        for signum in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            ace = house.screen(f"{relay.key}@127.0.0.1:{port}", f"ace{signum}")
            ace.wait_for("connecting")
            ace.type("typed early")
            ace.wait_for("> typed early")
            ace.signal(signum)
            assert ace.ended() == 0
            check_restored(ace)


def test_the_relay_goes_away(house: House) -> None:
    at = seat(house)
    at.bea.say("needle")
    at.ace.wait_for("needle")
    at.keys("a draft", "a draft|")
    at.relay.stop()
    at.house.until(lambda: "offline" in at.ace.status_row or "connecting" in at.ace.status_row)
    at.ace.wait_for("Connection lost. Retrying in ")
    # Typing, history and search go on.
    at.keys(" goes on", "a draft goes on|")
    at.empty()
    at.ace.say("/find needle")
    at.house.until(
        lambda: any(
            at.ace.terminal._cells.buffer[y][row.index("needle")].reverse
            for y, row in enumerate(at.ace.display[:-2])
            if row.endswith("bea  needle")
        ),
        lambda: at.ace.drawn,
    )
    at.ace.type(b"\x04")
    assert at.ace.ended() == 0
    check_restored(at.ace)


def test_an_echo_that_does_not_come(house: House) -> None:
    at = seat(house)
    at.relay.signal(signal.SIGSTOP)
    try:
        at.ace.type("on its way\r")
        at.house.until(
            lambda: any(row.endswith("...") and "ace  on its way" in row for row in at.ace.display),
            lambda: at.ace.drawn,
        )
        assert re.search(rb"\x1b\[(?:0;)?2m", at.ace.raw)
        assert at.ace.input_row == ">"
        # After ten seconds.
        at.house.until(
            lambda: any(
                row.endswith(" waiting") and "ace  on its way" in row for row in at.ace.display
            ),
            lambda: at.ace.drawn,
        )
    finally:
        at.relay.signal(signal.SIGCONT)
    at.heard("on its way")
    at.house.until(lambda: any(row.endswith("ace  on its way") for row in at.ace.display))
    assert not any("waiting" in row for row in at.ace.display)


def test_the_newest_state_is_drawn_for_a_terminal_that_reads_again(house: House) -> None:
    at = seat(house)
    at.ace.stop_reading()
    for number in range(80):
        at.bea.say(f"number {number} " + "words " * 200)
        at.house.turn(0)
    at.ace.type("typed blindly\r")
    at.heard("typed blindly")
    at.bea.say("the end")
    at.house.until(lambda: not at.bea.conversation.waiting, lambda: "not all was said")
    drawn = len(at.ace.raw)
    at.ace.read_on()
    at.ace.wait_for("the end")
    # Frames were skipped: what came was not drawn row by row.
    assert len(at.ace.raw) - drawn < 100_000


def test_the_machine_slept(house: House) -> None:
    relay = house.relay("--host", "127.0.0.1")
    proxy = house.proxy(relay)
    flag = house.path / "slept"
    patch = f"""
import os, time, types
class Clock(types.ModuleType):
    def __getattr__(self, name):
        return getattr(time, name)
    def time(self):
        return time.time() + 3600 * os.path.exists({str(flag)!r})
loop.time = Clock("time")
"""
    ace = patched(house, f"{relay.key}@127.0.0.1:{proxy.port}", patch)
    ace.wait_for("Connected to lobby")
    ace.type("x")
    ace.wait_for("> x")
    quiet = len(proxy.seen)
    flag.write_text("")
    ace.type("y")
    ace.wait_for("> xy")
    # A ping, and its answer.
    house.until(lambda: len(proxy.seen) >= quiet + 8, lambda: f"{len(proxy.seen) - quiet}")


STOP_EARLY = """
import os, signal
from common.view.screen import Screen
draw = Screen.draw
def stopped(self, now):
    draw(self, now)
    Screen.draw = draw
    os.kill(os.getpid(), signal.SIGTERM)
Screen.draw = stopped
"""


def test_a_signal_before_the_loop_runs(house: House) -> None:
    ace = patched(house, house.relay().ticket, STOP_EARLY)
    assert ace.ended() == 0
    check_restored(ace)
    assert "Connected" not in ace.drawn


SHOW_ONCE = """
from common.view.screen import Screen
said = Screen.said
def broken(self, message):
    if "break" in message.text:
        raise RuntimeError("broken on purpose")
    said(self, message)
Screen.said = broken
"""


def test_something_breaks_and_the_client_goes_on(house: House) -> None:
    relay = house.relay()
    ace = patched(house, relay.ticket, SHOW_ONCE)
    ace.wait_for("Connected to lobby")
    bea = house.bot(relay, "bea")
    ace.wait_for("bea joined")
    ace.type("precious")
    ace.wait_for("> precious")
    bea.say("break it")
    ace.wait_for("Something broke here: ")
    bea.say("still here?")
    ace.wait_for("still here?")
    assert ace.input_row == "> precious"
    ace.type("\r")
    house.until(lambda: "precious" in bea.heard)
    log: Path = house.path / "home-ace" / "client.log"
    (identifier,) = re.findall(r"Something broke here: ([0-9a-f]{8})\.", ace.drawn)
    details = log.read_text()
    assert identifier in details
    assert "RuntimeError: broken on purpose" in details
    assert log.stat().st_mode & 0o777 == 0o600
    for number in range(2):
        bea.say(f"break it {number}")
    assert ace.ended() == 1
    check_restored(ace)
    assert log.read_text().count("RuntimeError: broken on purpose") == 3


@pytest.mark.parametrize("more", [("--ephemeral",), ("--ephemeral", "--log", "my.log")])
def test_where_the_details_are(house: House, more: tuple[str, ...]) -> None:
    relay = house.relay()
    ace = patched(house, relay.ticket, SHOW_ONCE, *more)
    ace.expects_traceback = True
    ace.wait_for("Connected to lobby")
    bea = house.bot(relay, "bea")
    bea.say("break it")
    has_log = "--log" in more
    ace.wait_for("Details are in my.log." if has_log else "Details are shown at the end.")
    ace.type(b"\x04")
    assert ace.ended() == 0
    check_restored(ace)
    tail = ace.raw[ace.raw.rindex(b"\x1b[?1049l") :]
    assert (b"RuntimeError: broken on purpose" in tail) is not has_log
    log = house.path / "my.log"
    assert log.exists() is has_log
    if has_log:
        assert "broken on purpose" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600


def test_joins_are_folded(house: House) -> None:
    at: Table = seat(house)
    for _ in range(3):
        late = house.bot(at.relay, "dave")
        at.until_status("3 here")
        late.leave()
        at.until_status("2 here")
    # Another identity each time is another person: no row hides that.
    assert sum("dave" in row for row in at.ace.display) > 2
    carol = house.lines(at.relay, "carol")
    at.ace.wait_for("carol joined")
    for count in range(3):
        carol.wait_for("You are connected")
        carol.end_input()
        assert carol.ended() == 0
        at.ace.wait_for("carol left")
        carol = house.lines(at.relay, "carol")
        often = f" ({count + 1} times)" if count else ""
        at.ace.wait_for(f"carol left and came back{often}. 3 here")
    assert sum("carol" in row for row in at.ace.display) == 2
