"""Line mode and pipes (UX.md 8)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, House, Lines, Program, Screen

WITHOUT_CURSES = f"""
import runpy, sys
sys.modules["_curses"] = None
sys.argv[0] = {str(ROOT / "client.py")!r}
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_it_keeps_the_sentences_of_the_small_programs(house: House) -> None:
    relay = house.relay()
    ace = house.lines(relay, "ace")
    ace.wait_for("Users Connected: 1")
    bot = house.bot(relay, "bea")
    ace.wait_for("Users Connected: 2")
    bot.say("one row")
    bot.say("two\nrows")
    ace.wait_for("    rows")
    ace.say("mine")
    ace.wait_for("ace: mine")
    bot.leave()
    ace.wait_for("Users Connected: 1", 2)
    ace.signal(signal.SIGINT)
    assert ace.ended() == 130
    clock = r"\d\d:\d\d "
    told = "\n".join(
        (
            rf"Connected to `{relay.url}` server\.",
            r"You are connected as `ace`\.",
            r"Users Connected: 1",
            rf"{clock}-- Nobody else is here yet\.",
            rf"{clock}-- bea joined \(fingerprint \d{{5}}, first seen\)\. 2 here",
            r"Users Connected: 2",
            rf"{clock}bea: one row",
            rf"{clock}bea: two",
            r"    rows",
            rf"{clock}ace: mine",
            rf"{clock}-- bea left after \d+ s\. 1 here",
            r"Users Connected: 1",
            rf"Disconnected to the `{relay.url}` server\.",
        )
    )
    assert re.fullmatch(told, "\n".join(ace.rows)), ace.rows
    assert ace.errors == []


def test_a_file_is_said_line_by_line(house: House) -> None:
    relay = house.relay()
    bot = house.bot(relay, "bea")
    said = [f"line {number}" for number in range(20)]
    path = house.path / "said.txt"
    path.write_text("\n".join(said))  # and no newline at its end
    with path.open("rb") as file:
        ace = house.lines(relay, "ace", stdin=file.fileno())
        assert ace.ended() == 0
    house.until(lambda: len(bot.heard) == len(said))
    assert bot.heard == said
    assert sum("ace: line" in row for row in ace.rows) == len(said)


def test_a_pipe_without_a_newline_at_its_end(house: House) -> None:
    relay = house.relay()
    bot = house.bot(relay, "bea")
    ace = house.lines(relay, "ace")
    ace.write("first\r\nlast words")
    ace.end_input()
    assert ace.ended() == 0
    assert bot.heard == ["first", "last words"]
    assert ace.rows[-1] == f"Disconnected to the `{relay.url}` server."


def test_a_pipe_that_is_full_before_there_is_a_relay(house: House) -> None:
    relay = house.relay("--room-size", "9")
    ace = house.lines(relay, "ace")
    for number in range(60):
        ace.say(f"early {number}")
    bot = house.bot(relay, "bea")
    ace.say("late")
    house.until(lambda: "late" in bot.heard)
    ace.wait_for("ace: late")
    shown = [row.split(": ")[1] for row in ace.rows if "ace: " in row]
    assert shown == [*(f"early {number}" for number in range(60)), "late"]


def test_a_pipe_without_lines_is_not_kept(house: House) -> None:
    relay = house.relay()
    ace = house.lines(relay, "ace")
    ace.wait_for("You are connected")
    for _ in range(64):
        ace.write(b"x" * 1024 * 1024)
    ace.write(b"\n")
    ace.wait_for("16 KB is the limit")
    ace.say("a line")
    ace.wait_for("ace: a line")


def test_nothing_to_read(house: House) -> None:
    relay = house.relay()
    ace = house.lines(relay, "ace", stdin=subprocess.DEVNULL)
    assert ace.ended() == 0
    ace.wait_for("You are connected as `ace`.")
    relay.wait_for("[Disconnected] Username: ace")


def test_closed_streams(house: House) -> None:
    relay = house.relay("--host", "127.0.0.1")
    proxy = house.proxy(relay)
    where = f"{relay.key}@127.0.0.1:{proxy.port}"
    bot = house.bot(relay, "bea")
    for number, closed in enumerate(("<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-")):
        name = f"u{number}"
        shell = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh"]
        ace = Lines(house, [*shell, *house.member(where, name, "--plain")])
        relay.wait_for(f"[Connected] Username: {name}")
        if "<&-" not in closed:
            ace.say(f"{name} is heard")
            house.until(lambda name=name: f"{name} is heard" in bot.heard)  # type: ignore[misc]
            ace.end_input()
        assert ace.ended() == 0
        shown = f"You are connected as `{name}`." in ace.rows
        assert shown == (">&-" not in closed.split())
    # What has no place to go must go to none, least of all into a socket that took its number.
    assert b"connected as" not in proxy.seen


def test_a_reader_that_has_ended(house: House) -> None:
    relay = house.relay()
    bot = house.bot(relay, "bea")
    ace = house.lines(relay, "ace")
    ace.wait_for("You are connected")
    ace.close_output()
    ace.say("nobody reads me")
    house.until(lambda: "nobody reads me" in bot.heard)
    ace.end_input()
    assert ace.ended() == 0


def test_a_terminal_that_can_do_nothing(house: House) -> None:
    relay = house.relay()
    for number, term in enumerate(("dumb", "", "unknown", None, "no-such-terminal")):
        ace = house.screen(relay, f"u{number}", env={"TERM": term})
        ace.is_plain = True
        ace.wait_for(f"You are connected as `u{number}`.")
        (why,) = [row for row in ace.display if row.endswith(": line mode.")]
        assert why.startswith("The terminal type is ")
        ace.say("hello")
        ace.wait_for(f"u{number}: hello")
        ace.type(b"\x04")
        assert ace.ended() == 0
        # Nor is it asked to mark what is pasted, which it would show.
        assert (b"\x1b" in ace.raw) == (term == "no-such-terminal")


def test_a_python_without_curses(house: House) -> None:
    relay = house.relay()
    script = house.path / "without.py"
    script.write_text(WITHOUT_CURSES)
    ace = Screen(house, [sys.executable, str(script), *house.member(relay, "ace")[2:]])
    ace.is_plain = True
    ace.wait_for("You are connected as `ace`.")
    ace.wait_for("This Python has no curses: line mode.")


def test_a_pipe_is_told_why_there_is_no_screen(house: House) -> None:
    relay = house.relay()
    ace = Lines(house, house.member(relay, "ace"), subprocess.DEVNULL)
    assert ace.ended() == 0
    assert ace.errors == ["Input or output is no terminal: line mode."]


def test_arrivals_wait_while_somebody_types(house: House) -> None:
    relay = house.relay()
    ace = house.screen(relay, "ace", "--plain")
    ace.wait_for("Nobody else")
    bot = house.bot(relay, "bea")
    witness = house.bot(relay, "witness")
    ace.wait_for("witness joined")
    started_s = time.monotonic()
    ace.type("half")
    ace.wait_for("half")
    bot.say("first arrival")
    house.until(lambda: "first arrival" in witness.heard)
    ace.type(" a line")
    ace.wait_for("half a line")
    waited = not any("first arrival" in row for row in ace.display)
    assert waited or time.monotonic() - started_s > 1.9
    ace.type("\r")
    ace.wait_for("ace: half a line")
    typed, arrived, echoed = (
        next(at for at, row in enumerate(ace.display) if row.endswith(what))
        for what in ("half a line", "bea: first arrival", "ace: half a line")
    )
    assert typed < arrived < echoed

    ace.type("日本 half")
    ace.wait_for("日本 half")
    bot.say("second arrival")
    ace.wait_for("second arrival")  # after a pause without keys
    row = next(at for at, row in enumerate(ace.display) if "second arrival" in row)
    house.until(lambda: ace.display[row + 1] == "日本 half")
    ace.type(b"\x7f" * 6)
    house.until(lambda: ace.display[row + 1] == "日", lambda: ace.drawn)
    ace.say("日")
    house.until(lambda: "日日" in bot.heard)


def test_a_pager_that_stops_reading_holds_up_nothing(house: House) -> None:
    relay = house.relay()
    bot = house.bot(relay, "bea")
    ace = house.lines(relay, "ace")
    ace.wait_for("You are connected")
    witness = house.bot(relay, "witness")
    ace.stop_reading()
    for number in range(30):
        bot.say(f"{number} " + "words " * 1_000)
    house.until(lambda: len(witness.heard) == 30)
    ace.say("said all the same")
    house.until(lambda: "said all the same" in bot.heard)
    ace.read_on()
    ace.wait_for("ace: said all the same")
    assert sum("words" in row for row in ace.rows) == 30


def test_output_into_a_file(house: House) -> None:
    relay = house.relay()
    out = Path(house.path / "out.txt")
    shell = ["/bin/sh", "-c", f'exec "$@" >{out}', "sh"]
    ace = Lines(house, [*shell, *house.member(relay, "ace", "--plain")])
    relay.wait_for("[Connected]")
    ace.say("into a file")
    ace.end_input()
    assert ace.ended() == 0
    assert "ace: into a file" in out.read_text()
    assert os.fsencode("\x1b") not in out.read_bytes()


@pytest.mark.parametrize("script", ["client.py", "server.py"])
def test_ctrl_c_while_it_imports(house: House, script: str) -> None:
    shutil.copy(ROOT / script, house.path)
    (house.path / "common").mkdir()
    interrupted = "import signal\nsignal.raise_signal(signal.SIGINT)\n"
    (house.path / "common" / "__init__.py").write_text(interrupted)
    program = Program(house, [sys.executable, script])
    assert program.ended() == 130
    assert not program.out + program.err
