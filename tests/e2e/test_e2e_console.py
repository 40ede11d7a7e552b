"""The relay's console: in the background and back, on any terminal, until it is hung up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import SERVER, House, Screen

START = f"'{sys.executable}' '{SERVER}' -p 0 --host 127.0.0.1"
HERE = "Nobody is here."


def console(house: House, *more: str, env: dict[str, str | None] | None = None) -> Screen:
    command = [sys.executable, SERVER, "-p", "0", "--host", "127.0.0.1", *more]
    return Screen(house, command, rows=24, columns=100, env=env)


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="a shell with job control is needed")
@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
@pytest.mark.parametrize("how", ["started with &", "Ctrl-Z, bg"])
def test_brought_back_from_the_background_it_hears_again(house: House, how: str, term: str) -> None:
    # The shell reads in the foreground until it is told to go on.
    script = house.path / "job.sh"
    begin = f"{START} &" if how == "started with &" else f"{START}\nbg"
    job = house.path / "job"
    behind = f"jobs -p > '{job}'\nstty sane tostop\necho behind\nread go\necho in front\nfg"
    script.write_text(f"set -m\n{begin}\n{behind}\n")
    shell = Screen(house, ["/bin/bash", str(script)], 24, 100, {"TERM": term})
    try:
        shell.wait_for("Join with:")
        if how == "Ctrl-Z, bg":
            house.until(lambda: ">" in shell.display or term == "dumb", lambda: shell.drawn)
            shell.type(b"\x1a")
        shell.wait_for("behind")
        ticket = shell.shown_ticket
        # It serves, and says so above whoever has the terminal now.
        bea = house.lines(ticket, "bea")
        bea.wait_for("You are connected")
        shell.wait_for("[Connected] Username: bea")
        bea.end_input()
        assert bea.ended() == 0
        shell.wait_for("[Disconnected] Username: bea")
        shell.type("go\r")
        shell.wait_for("in front")
        shell.type("/who\r")
        shell.wait_for(HERE)
        # And once more, after Ctrl-D, which is no end.
        shell.type(b"\x04")
        shell.type("/mute\r")
        shell.wait_for("/mute NAME [10m|2h|3d]")
        shell.type(b"\x03")
        shell.wait_for("Server has been stopped.")
    finally:
        # It has a group of its own, which the end of the shell does not end.
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int(job.read_text()), signal.SIGKILL)


def test_input_that_another_program_made_non_blocking_is_heard(house: House) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    relay = house.relay(stdin=reader)
    os.close(reader)
    os.write(writer, b"/who\n")
    relay.wait_for(HERE)
    os.write(writer, b"/who\n")
    relay.wait_for(HERE, 2)
    os.close(writer)
    assert relay.stop() == 0


@pytest.mark.parametrize("term", ["", "dumb", "unknown", "nosuchterm", None])
def test_a_terminal_that_is_not_known_is_sent_no_sequence(house: House, term: str | None) -> None:
    relay = console(house, env={"TERM": term})
    relay.wait_for("Join with:")
    relay.type("/who\r")
    relay.wait_for(HERE)
    bea = house.lines(relay.shown_ticket, "bea")
    relay.wait_for("[Connected] Username: bea")
    relay.signal(signal.SIGTERM)
    assert relay.ended() == 0
    assert b"\x1b" not in relay.raw
    bea.wait_for("shutting down")


def test_the_terminal_is_believed_not_the_environment(house: House) -> None:
    relay = console(house, env={"COLUMNS": "20", "LINES": "5"})
    relay.wait_for("Join with:")
    house.until(lambda: ">" in relay.display, lambda: relay.drawn)
    relay.type("/help\r")
    relay.wait_for("/stop: stops the relay")
    rows = relay.display
    last = max(number for number, row in enumerate(rows) if row)
    assert all(rows[:last]), relay.drawn


def test_a_terminal_that_hangs_up_ends_it_in_order(house: House) -> None:
    relay = console(house)
    relay.wait_for("Join with:")
    ace = house.lines(relay.shown_ticket, "ace")
    ace.wait_for("You are connected")
    relay.signal(signal.SIGHUP)
    assert relay.ended() == 0
    assert "Server has been stopped." in relay.drawn
    ace.wait_for("The relay is shutting down.")


def test_without_a_terminal_a_hangup_begins_the_log_anew(house: House) -> None:
    log = house.path / "log"
    # What nohup makes us ignore, a relay ignores too.
    was = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        relay = house.relay("--log", str(log))
    finally:
        signal.signal(signal.SIGHUP, was)
    ace = house.lines(relay, "ace")
    ace.wait_for("You are connected")
    house.until(lambda: "name=ace" in log.read_text())
    old = log.rename(house.path / "old")
    relay.signal(signal.SIGHUP)
    # A signal is handled at some time: what comes later is in the new file.
    for count in range(50):
        if log.exists():
            break
        house.lines(relay, f"bea{count}", stdin=subprocess.DEVNULL).ended()
    col = house.lines(relay, "col")
    col.wait_for("You are connected")
    house.until(lambda: "name=col" in log.read_text())
    assert "name=ace" in old.read_text()
    assert "name=col" not in old.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
    assert ace.is_running
    assert relay.stop() == 0
