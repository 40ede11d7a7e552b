"""What is pasted into a client that a shell runs: the shell must get none of it (UX.md 2)."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.e2e.harness import House, Screen
from tests.e2e.screens import CLIPBOARD, PASTE_BEGINS, PASTE_ENDS, seat, taken

ROWS = (b" " * 300 + b"\n") * 20 + b"touch pwned\n"
# Each would stop the client, or end it, and leave what follows to the shell.
LEAVING = {
    "Ctrl-Z": b"\x1a",
    "Ctrl-backslash": b"\x1c",
    "Ctrl-C Ctrl-D": b"\x03\x04",
    "Ctrl-U Ctrl-D": b"\x15\x04",
    "Ctrl-Z as it is reported": b"\x1b[122;5u",
    "an entered command": b"\r/quit\r",
}


def still_here(terminal: Screen) -> None:
    assert terminal.exit_code is None, terminal.drawn
    assert len(terminal.told) == 1, terminal.told


@pytest.mark.parametrize("keys", LEAVING.values(), ids=LEAVING)
def test_a_clipboard_that_holds_the_mark_of_its_end(house: House, keys: bytes) -> None:
    at = seat(house)
    at.pour(PASTE_BEGINS + b"see https://example.org" + PASTE_ENDS + keys + ROWS + PASTE_ENDS)
    at.ace.wait_for("  touch pwned")
    at.let_the_paste_end()
    still_here(at.ace)
    assert at.bea.heard == []
    # It is all in the draft, and the keys are keys again.
    at.ace.type(b"\x03")
    at.until_input("|")
    at.ace.say("unharmed")
    at.heard("unharmed")


def until_typed(house: House, ace: Screen, content: str) -> None:
    house.until(lambda: content in "".join(ace.display), lambda: ace.drawn)


@pytest.mark.parametrize("has_marks", [True, False])
@pytest.mark.parametrize("keys", LEAVING.values(), ids=LEAVING)
def test_line_mode(house: House, keys: bytes, has_marks: bool) -> None:
    relay = house.relay()
    bot = house.bot(relay, "bea")
    ace = house.screen(relay, "ace", "--plain")
    ace.wait_for("Users Connected: 2")
    ace.wait_for_raw(b"\x1b[?2004h")
    clip = (b"see https://example.org\n" + keys + ROWS).replace(b"\n", b"\r")
    if has_marks:
        ace.type(PASTE_BEGINS + b"see" + PASTE_ENDS + clip[:900])
        ace.type(clip[900:] + PASTE_ENDS)
    else:
        ace.type(clip[:900])
        ace.type(clip[900:])
    until_typed(house, ace, "touch pwned")
    still_here(ace)
    assert bot.heard == []
    ace.signal(15)
    assert ace.ended() == 0


def test_keys_that_a_terminal_makes_signals_of_still_act_in_line_mode(house: House) -> None:
    relay = house.relay()
    for number, (key, code) in enumerate(((b"\x03", 130), (b"\x1c", 0), (b"\x1b[99;5u", 130))):
        ace = house.screen(relay, f"u{number}", "--plain")
        ace.wait_for(f"You are connected as `u{number}`.")
        ace.type(b"half a line")
        ace.wait_for("half a line")
        ace.type(key)
        assert ace.ended() == code


def test_what_is_pasted_over_what_is_to_be_copied(house: House) -> None:
    at = seat(house)
    at.bea.say("copy me")
    at.ace.wait_for("copy me")
    at.ace.say("/copy 1")
    at.ace.wait_for("-- Enter returns.")
    for clip in (b"q\r\x03" + ROWS, PASTE_ENDS + b"\r\x04" + ROWS):
        at.pour(PASTE_BEGINS + clip + PASTE_ENDS)
    # Only an Enter that is typed, once the paste is over, returns.
    before = at.ace.raw.count(b"\x1b[?1049h")

    def is_back() -> bool:
        at.ace.type("\r")
        return at.ace.raw.count(b"\x1b[?1049h") > before

    at.house.until(is_back, lambda: at.ace.drawn)
    at.until_input("|")
    still_here(at.ace)
    assert at.bea.heard == []
    assert len(taken(at.ace, CLIPBOARD)) == 1


@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")
def test_as_a_terminal_pastes_it(house: House) -> None:
    """The clipboard is tmux's paste buffer, pasted with marks into the client that a shell runs."""
    relay = house.relay()
    clip, pwned = house.path / "clip", house.path / "pwned"
    rows = (b" " * 300 + b"\n") * 20 + b"touch " + bytes(pwned) + b"\n"
    clip.write_bytes(b"see https://example.org" + PASTE_ENDS + b"\x1a" + rows)
    tmux = ["tmux", "-S", str(house.path / "tmux"), "-f", "/dev/null"]

    def run(*arguments: str) -> str:
        command = [*tmux, *arguments]
        env = house.environment({"PS1": "$ "})
        return subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout

    def shown() -> str:
        return run("capture-pane", "-p", "-t", "room")

    run("new-session", "-d", "-x", "100", "-y", "24", "-s", "room", "sh", "-i")
    try:
        house.until(lambda: "$" in shown(), shown)
        run("send-keys", "-t", "room", " ".join(house.member(relay, "ace")), "Enter")
        house.until(lambda: "Enter sends" in shown(), shown)
        run("load-buffer", str(clip))
        run("paste-buffer", "-p", "-t", "room")
        house.until(lambda: "pwned" in shown(), shown)
        house.until(lambda: "Enter sends, Esc removes" in shown() or "Stopped" in shown(), shown)
        assert "Stopped" not in shown()
        assert not pwned.exists()
    finally:
        run("kill-server")
