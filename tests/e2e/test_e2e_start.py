"""Which relay, which name, which password: what is asked on a terminal, kept, and forgotten."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import CLIENT, House, Lines, Relay, Screen


def client(house: House, *more: str, home: str = "home") -> Screen:
    """Start a client as somebody would, on a terminal."""
    command = [sys.executable, CLIENT, "--home", str(house.path / home), *more]
    return Screen(house, command)


def leave(screen: Screen) -> None:
    screen.type(b"\x03")
    assert screen.ended() == 0


def answer(screen: Screen, question: str, typed: str) -> None:
    screen.wait_for(question)
    screen.type(f"{typed}\r")


def kept(house: House, home: str = "home") -> str:
    path = house.path / home / "relays"
    return path.read_text() if path.exists() else ""


def test_the_client_alone_asks_and_then_offers_what_it_kept(house: House) -> None:
    relay = house.relay("--password", "sesame", "--host", "127.0.0.1")
    ticket = f"{relay.key}.MCrE6c4DkUCtcShAHnnasA@127.0.0.1:{relay.port}"
    ace = client(house, "--room", "den")
    # As a mail program wrapped it: both rows come at once.
    answer(ace, "KEY", f"<{ticket[:30]}\n{ticket[30:]}>")
    answer(ace, "Your name here (Enter: user_", "two words")
    ace.wait_for("username")
    answer(ace, "Your name here (Enter: user_", "ace")
    answer(ace, "Password", "sesame")
    answer(ace, "Keep KEY, without its SECRET,", "yes")
    ace.wait_for("Connected to")
    relay.wait_for("Username: ace")
    leave(ace)
    for secret in (relay.key, "MCrE6c4DkUCtcShAHnnasA", "sesame"):
        assert secret.encode() not in ace.raw
    for secret in ("MCrE6c4DkUCtcShAHnnasA", "sesame"):
        assert secret not in kept(house)
    again = client(house)
    again.wait_for(f"1: den at 127.0.0.1:{relay.port} as ace")
    answer(again, "Enter joins den at", "")
    again.wait_for("Password:")
    again.type("sesame\r")
    again.wait_for("Connected to")
    relay.wait_for("Username: ace", 2)
    assert "den" in again.status_row
    leave(again)


def test_enter_takes_the_name_that_is_proposed_and_it_stays(house: House) -> None:
    relay = house.relay()
    first = client(house, relay.ticket)
    answer(first, "Your name here (Enter: user_", "")
    relay.wait_for("Username: user_")
    (name,) = re.findall(r"\[Connected\] Username: (user_\d{4})", "\n".join(relay.rows))
    first.wait_for("Connected to")
    first.say("/nick bea")
    first.wait_for("You are now bea.")
    leave(first)
    # KEY was not asked for, so nobody was asked whether to keep it.
    assert name not in kept(house)
    assert relay.key not in kept(house)
    second = client(house)
    answer(second, "KEY", relay.ticket)
    answer(second, "Password", "")
    answer(second, "Keep KEY in", "perhaps")
    second.wait_for("The answer is yes or no.")
    answer(second, "Keep KEY in", "")
    second.wait_for("Connected to")
    assert " bea " in second.status_row
    leave(second)
    assert relay.key not in kept(house)
    # It was said once.
    second = client(house)
    answer(second, "KEY", relay.ticket)
    answer(second, "Password", "")
    second.wait_for("Connected to")
    leave(second)
    # A program is nobody's name, and leaves none behind.
    for _ in range(2):
        tail = Lines(house, [sys.executable, CLIENT, relay.ticket, "--send", "--home", "home"])
        tail.end_input()
        assert tail.ended() == 0
    assert json.loads(kept(house))["relays"][0]["username"] == "bea"
    assert sum("Username: user_" in row for row in relay.rows if "[Connected]" in row) >= 2


def test_what_is_kept_is_forgotten_by_command_and_by_flag(house: House) -> None:
    relay = house.relay()
    bot = house.bot(relay, "bea")
    ace = client(house, relay.ticket, "--username", "ace")
    ace.wait_for("Connected to")
    bot.say("hello")
    ace.wait_for("hello")
    peers = house.path / "home" / "known_peers"
    house.until(lambda: peers.exists() and " bea " in peers.read_text())
    ace.say("/forget")
    answer(ace, "Type forget", "no")
    ace.wait_for("Nothing was changed.")
    ace.say("/forget")
    answer(ace, "Type forget", "forget")
    ace.wait_for("Forgotten of this relay: the name ace, 1 pin.")
    bot.say("still here")
    ace.wait_for("still here")
    leave(ace)
    assert "ace" not in kept(house)
    assert peers.read_text() == ""
    again = client(house, relay.ticket, "--username", "ace")
    again.wait_for("Connected to")
    leave(again)
    flag = [sys.executable, CLIENT, relay.ticket, "--forget", "--home", "home"]
    for said in (
        "Forgotten of this relay: the name ace, 1 pin.",
        "Nothing was kept of this relay.",
    ):
        done = Lines(house, flag)
        assert done.ended() == 0, done.errors
        assert done.rows == [said]
    assert peers.read_text() == ""


@pytest.mark.parametrize("arguments", [["--ephemeral"], ["--plain", "--ephemeral"]])
def test_what_is_ephemeral_keeps_no_name(house: House, arguments: list[str]) -> None:
    relay = house.relay()
    for _ in range(2):
        ace = client(house, relay.ticket, *arguments)
        answer(ace, "Your name here", "ace")
        ace.wait_for(
            "Connected to" if "--plain" not in arguments else "You are connected as `ace`."
        )
        ace.type(b"\x04")
        assert ace.ended() == 0
    assert not (house.path / "home").exists()


def test_nobody_is_asked_where_nobody_answers(house: House, relay_less: Path) -> None:
    done = Lines(house, [sys.executable, CLIENT, "--home", str(relay_less)])
    assert done.ended() == 2
    assert done.errors == [
        "There is no KEY and no config.ini: run client.py KEY with what a server printed, or "
        "client.py --init to talk without a server."
    ]
    forget = Lines(house, [sys.executable, CLIENT, "--forget", "--home", str(relay_less)])
    assert forget.ended() == 2
    assert forget.errors == ["Say of which relay: client.py KEY --forget."]


def test_ctrl_c_at_a_question_leaves_the_terminal_as_it_was(house: House) -> None:
    ace = client(house)
    ace.wait_for("KEY (does not show):")
    ace.type(b"\x03")
    assert ace.ended() == 130
    assert ace.modes[0] == ace.modes[1]


@pytest.fixture
def relay_less(house: House) -> Path:
    return house.path / "nobody"


def test_a_name_is_of_one_relay(house: House) -> None:
    relays: list[Relay] = [house.relay(), house.relay()]
    ace = client(house, relays[0].ticket, "--username", "ace")
    ace.wait_for("Connected to")
    leave(ace)
    other = client(house, relays[1].ticket)
    answer(other, "Your name here", "bea")
    other.wait_for("Connected to")
    leave(other)
    back = client(house, relays[0].ticket)
    back.wait_for("Connected to")
    assert " ace " in back.status_row
    leave(back)
