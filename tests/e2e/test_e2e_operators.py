"""The host is in charge: every command of an operator, from the console and from a client."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

from common.crypto.identity import fingerprint, load_identity
from common.member.sentences import unproven
from tests.e2e.harness import SERVER, House, Lines, Relay, Screen
from tests.e2e.screens import UP


def table(house: House, *more: str, names: tuple[str, ...]) -> tuple[Relay, list[Lines]]:
    """Return a relay whose console is a pipe, and members in line mode."""
    relay = house.relay("--host", "127.0.0.1", *more, stdin=subprocess.PIPE)
    members = []
    for name in names:
        members.append(house.lines(relay, name))
        members[-1].wait_for("You are connected")
    return relay, members


def operator(house: House, name: str) -> str:
    """Return the fingerprint of one whose identity is there before the relay."""
    home = house.path / f"home-{name}"
    home.mkdir(mode=0o700)
    return fingerprint(load_identity(home / "identity").public, name)


def test_people_are_removed_banned_and_let_in_again(house: House) -> None:
    relay, (ace, bea, col) = table(
        house, "--operator", operator(house, "ace"), names=("ace", "bea", "col")
    )
    bea.say("/kick col")
    bea.wait_for("The relay says: Only an operator can do that. Nothing was changed.")
    ace.say("/kick col too loud")
    for member in (ace, bea):
        member.wait_for("The relay says: ace removed col: too loud.")
        member.wait_for(": removed by the operator. 2 here")
    ace.wait_for("The relay says: col is out, and still has KEY and password: /password --tell NEW")
    assert col.ended() == 3
    assert "You were removed by the operator. It says: Removed by ace: too loud." in col.errors[-1]
    col = house.lines(relay, "col")
    bea.wait_for("col joined")
    relay.order("/ban COL 1h spam")
    bea.wait_for("The relay says: The host banned col for 1 h: spam.")
    assert col.ended() == 3
    relay.wait_for("[Operator] The host banned col for 1 h: spam.")
    # Under another name it is the same identity.
    again = house.lines(relay, "col", "--username", "dan", stdin=subprocess.DEVNULL)
    assert again.ended() == 3
    assert len(again.errors) == 1
    assert re.fullmatch(
        r"You were removed by the operator\. It says: "
        r"Banned by the host until \d{4}-\d\d-\d\d \d\d:\d\d UTC: spam\.",
        again.errors[0],
    )
    relay.order("/bans")
    relay.wait_for(", by the host until ")
    ace.say("/unban col")
    bea.wait_for("The relay says: ace lifted the ban of col.")
    house.lines(relay, "col").wait_for("You are connected")
    assert not any("Only an operator" in row for row in ace.rows)
    assert not any("Only an operator" in row for row in relay.rows)


def test_who_speaks_and_who_joins(house: House) -> None:
    relay, (ace, bea) = table(house, names=("ace", "bea"))
    relay.order("/op ace")
    bea.wait_for("The relay says: The host made ace an operator.")
    ace.say("/mute bea 10m")
    bea.wait_for("The relay says: ace muted bea for 10 min.")
    bea.say("unheard")
    bea.wait_for("1 line was not sent. The relay says: You are muted until")
    relay.order("/unmute bea")
    bea.wait_for("The relay says: The host lets bea speak again.")
    bea.say("/resend")
    ace.wait_for("bea: unheard")
    ace.say("/slow 600")
    bea.wait_for("The relay says: ace slowed the room: one message of each in 600 s.")
    bea.say("once")
    ace.wait_for("bea: once")
    bea.say("twice")
    bea.wait_for("The relay says: The room is slow, one message in 600 s. Wait")
    ace.say("/slow 0")
    bea.wait_for("The relay says: ace ended slow mode.")
    bea.say("/drop")
    bea.wait_for("1 line was dropped.")
    bea.say("at once")
    ace.wait_for("bea: at once")
    ace.say("/lock")
    bea.wait_for("The relay says: ace locked the room: nobody new can join.")
    late = house.lines(relay, "late", stdin=subprocess.DEVNULL)
    assert late.ended() == 3
    assert late.errors == [unproven("the room is locked.")]
    ace.say("/unlock")
    ace.say("/topic be kind")
    bea.wait_for("The relay says: ace set the topic: be kind.")
    late = house.lines(relay, "late")
    late.wait_for("The relay says: Topic: be kind")
    told = next(at for at, row in enumerate(late.rows) if "Topic: be kind" in row)
    assert late.rows[told - 1] == "Users Connected: 3"
    # Whoever asks is told, and no more than that.
    bea.say("/topic")
    bea.wait_for("The relay says: Topic: be kind")
    bea.say("/topic mine")
    bea.wait_for("Only an operator can do that. Nothing was changed.")
    for order, answer in (
        ("/who lobby", "The relay says: lobby, 3 here: ace (operator), bea, late"),
        ("/rooms", "The relay says: lobby: 3 here"),
        ("/stats", "The relay says: Up "),
    ):
        ace.say(order)
        ace.wait_for(answer)
    relay.order("/deop ace")
    ace.wait_for("The relay says: The host ended that ace is an operator.")
    ace.say("/stop")
    ace.wait_for("The relay says: Only an operator can do that.")
    relay.order("/stop")
    ace.wait_for("The relay says: The host stops the relay.")
    assert relay.ended() == 0
    assert relay.rows[-1] == "Server has been stopped."


def test_another_password_is_in_no_history_and_no_log(house: House) -> None:
    log = house.path / "relay.log"
    secret, slip = "m4rker5ecret", "m4rkerslip"
    relay, (ace, bea) = table(house, "--log", str(log), names=("ace", "bea"))
    relay.order("/op eve")
    relay.wait_for("Nobody here is called eve.")
    screen = house.screen(relay, "eve")
    screen.wait_for("as eve")
    relay.order("/op eve")
    screen.wait_for("made eve an operator")
    screen.say(f"/pasword {slip}")
    screen.wait_for("Near: /password")
    screen.say(f"/password {secret}")
    for member in (ace, bea):
        member.wait_for("eve changed the password: whoever joins from now on needs the new one.")
    screen.wait_for("Whoever is here stays.")
    screen.say("/me waves")
    screen.type(UP)
    screen.wait_for("> /me waves")
    screen.type(UP + UP)
    screen.wait_for("> /me waves")
    # Sessions go on, and a new one needs the new password.
    ace.say("still here")
    bea.wait_for("ace: still here")
    assert house.lines(relay, "dan", stdin=subprocess.DEVNULL).ended() == 3
    house.lines(relay, "dan", "--password", secret).wait_for("You are connected")
    relay.order(f"/password --tell {secret}")
    relay.wait_for("--tell is for members, in a client. Nothing was changed.")
    relay.order(f"/passwrod {slip}")
    relay.wait_for("No such command: nothing was changed. Near: /password")
    assert relay.stop() == 0
    shown = relay.out + relay.err + ace.out + ace.err + bea.out + bea.err + log.read_bytes()
    for marker in (secret, slip):
        assert marker.encode() not in shown
        # What it typed itself was drawn, and is gone.
        assert marker not in screen.drawn


def test_what_is_logged_and_what_is_not(house: House) -> None:
    log = house.path / "relay.log"
    password, said, goodbye = "m4rkerpw", "m4rker said", "m4rker bye"
    relay = house.relay(
        "--host", "127.0.0.1", "--log", str(log), "--password", password, stdin=subprocess.PIPE
    )
    ace = house.lines(relay, "ace", "--password", password)
    ace.wait_for("You are connected")
    bea = house.lines(relay, "bea", "--password", password)
    bea.wait_for("You are connected")
    ace.say(said)
    bea.wait_for(said)
    wrong = house.lines(relay, "eve", "--password", "m4rkerwrong", stdin=subprocess.DEVNULL)
    assert wrong.ended() == 3
    relay.order("/kick bea spam")
    assert bea.ended() == 3
    relay.signal(signal.SIGUSR1)
    relay.wait_for("Up ")
    ace.say(f"/quit {goodbye}")
    assert ace.ended() == 0
    relay.wait_for("[Disconnected] Username: ace")
    assert relay.stop() == 0
    assert log.stat().st_mode & 0o777 == 0o600
    content = log.read_text()
    for line in (
        "joined: name=ace room=/ address=127.0.0.1:",
        "refused: address=127.0.0.1:",
        "status=401 why=wrong KEY or password",
        "operator: The host removed bea: spam.",
        "disconnected: name=bea room=/ address=127.0.0.1:",
        "why=Removed by the host: spam.",
        "disconnected: name=ace room=/ address=127.0.0.1:",
        "stats: Up ",
        "stopped",
    ):
        assert line in content
    assert "m4rker" not in content
    assert relay.key not in content
    assert relay.key[:20] not in content


def test_a_log_that_cannot_be_used_is_one_sentence(house: House) -> None:
    public = house.path / "public.log"
    public.write_text("")
    public.chmod(0o644)
    for where, why in (
        (public, f"Others can read {public}. Run: chmod 600 {public}"),
        (house.path, f"{house.path} is not a regular file."),
        (house.path / "no" / "log", f"Cannot write {house.path / 'no' / 'log'}: No such file"),
    ):
        relay = Relay(house, ("--log", str(where)))
        assert relay.ended() == 1
        assert not relay.rows
        (sentence,) = relay.errors
        assert sentence.startswith(why)


def test_bans_and_operators_outlive_the_relay(house: House) -> None:
    more = ("--data", str(house.path / "data"), "--password", "X")
    relay = house.relay("--host", "127.0.0.1", *more, stdin=subprocess.PIPE)
    for name in ("ace", "eve"):
        house.lines(relay, name, "--password", "X").wait_for("You are connected")
    relay.order("/op ace")
    relay.order("/ban eve")
    relay.wait_for("[Operator] The host banned eve.")
    assert relay.stop() == 0
    after = house.relay("--host", "127.0.0.1", *more)
    eve = house.lines(after, "eve", "--password", "X", stdin=subprocess.DEVNULL)
    assert eve.ended() == 3
    # A name that the relay holds for the process before must not refuse it.
    ace = house.lines(after, "ace", "--password", "X")
    ace.wait_for("You are connected")
    ace.say("/unban eve")
    ace.wait_for("The relay says: ace lifted the ban of eve.")
    house.lines(after, "eve", "--password", "X").wait_for("You are connected")


def console(house: House, *more: str) -> Screen:
    """Return a relay on a pseudo-terminal."""
    command = [sys.executable, SERVER, "-p", "0", "--host", "127.0.0.1", *more]
    return Screen(house, command, rows=12, columns=100)


def test_a_line_is_edited_under_the_rows_and_the_terminal_left_as_it_was(house: House) -> None:
    relay = console(house)
    relay.wait_for("Join with:")
    house.until(lambda: ">" in relay.display)
    ticket = relay.shown_ticket
    relay.type("/lcok")
    relay.wait_for("> /lcok")
    bea = house.lines(ticket, "bea")
    relay.wait_for("[Connected] Username: bea")
    # The row came above what is being typed, and the cursor is where it was.
    house.until(lambda: relay.display[relay.terminal.cursor[0]] == "> /lcok", lambda: relay.drawn)
    assert relay.terminal.cursor[1] == len("> /lcok")
    relay.type(b"\x02\x02\x14")  # back, back, transpose
    relay.wait_for("> /lock")
    # Again on the last row of the terminal, which scrolls.
    for _ in range(3):
        bad = house.lines(ticket, "eve", "--password", "wrong", stdin=subprocess.DEVNULL)
        assert bad.ended() == 3
    house.until(lambda: sum("[Rejected]" in r for r in relay.display) == 3, lambda: relay.drawn)
    assert relay.terminal.cursor[0] == 11
    house.until(lambda: relay.display[11] == "> /lock", lambda: relay.drawn)
    relay.type("\r")
    bea.wait_for("The relay says: The host locked the room: nobody new can join.")
    relay.wait_for("[Operator] The host locked the room")
    relay.type("/password m4rker\r")
    relay.wait_for("Whoever is here stays.")
    relay.type(UP)
    relay.wait_for("> /lock")
    house.until(lambda: relay.display[relay.terminal.cursor[0]] == "> /lock", lambda: relay.drawn)
    relay.type(b"\x03")
    assert relay.ended() == 0
    assert relay.modes[0] == relay.modes[1]
    rows = [row for row in relay.display if row]
    assert rows[-1] == "Server has been stopped."
    assert b"\x1b[?2004h" not in relay.raw or relay.raw.rindex(b"\x1b[?2004l") > relay.raw.rindex(
        b"\x1b[?2004h"
    )


def test_a_console_whose_input_ends_is_no_reason_to_stop(house: House) -> None:
    relay, (ace,) = table(house, names=("ace",))
    relay.order("/topic half a line is none")
    ace.wait_for("set the topic")
    relay.write("/sto")
    relay.write("p")
    relay.end_input()
    ace.say("on we go")
    house.lines(relay, "bea").wait_for("The relay says: Topic: half a line is none")
    assert relay.is_running


def test_lines_that_nobody_would_type(house: House) -> None:
    relay, (ace,) = table(house, names=("ace",))
    relay.write(b"/topic " + b"x" * 100_000 + b"\n\xff\xfe\x1b[2J\n\n   \n/rooms\n")
    relay.wait_for("A command has at most 512 bytes.")
    relay.wait_for("No such command: nothing was changed. /help lists all.")
    relay.wait_for("lobby: 1 here")
    assert ace.is_running
    assert not any("topic" in row for row in ace.rows)


def test_a_relay_in_the_background_is_not_stopped_by_its_terminal(house: House) -> None:
    # A shell with job control, whose terminal is ours: what runs with & may not read it.
    script, job = house.path / "job.sh", house.path / "job"
    start = f"'{sys.executable}' '{SERVER}' -p 0 --host 127.0.0.1 &"
    script.write_text(f"set -m\n{start}\necho $! > '{job}'\nwait\n")
    shell = Screen(house, ["/bin/bash", str(script)], rows=12, columns=100)
    shell.wait_for("Join with:")
    try:
        ticket = shell.shown_ticket
        shell.type("typed at the shell\r")
        bea = house.lines(ticket, "bea")
        bea.wait_for("You are connected")
        shell.wait_for("[Connected] Username: bea")
    finally:
        os.kill(int(job.read_text()), signal.SIGTERM)
    assert shell.ended() == 0
