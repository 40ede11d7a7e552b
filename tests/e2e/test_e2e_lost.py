"""The relay goes away while members talk."""

from __future__ import annotations

import signal

from tests.e2e.harness import House, Lines, Screen


def test_members_say_so_and_stay_usable(house: House) -> None:
    relay = house.relay("--host", "127.0.0.1")
    ace = house.screen(relay, "ace")
    ace.wait_for("Connected to lobby")
    narrow = house.screen(relay, "narrow", "--password", "top_secret", rows=10, columns=40)
    ace.wait_for("narrow joined")
    plain = house.lines(relay, "plain")
    ace.wait_for("plain joined")
    plain.say("before the end")
    for screen in (ace, narrow):
        screen.wait_for("before the end")
    port = relay.port
    assert relay.stop(signal.SIGKILL) == -signal.SIGKILL
    members: tuple[Screen | Lines, ...] = (ace, narrow, plain)
    for member in members:
        member.wait_for("Connection lost. Retrying in")
    ace.wait_for("offline, retry in")
    for screen in (ace, narrow):
        screen.wait_for("before the end")
        screen.type("typed while offline")
        screen.wait_for("> typed while offline")
    narrow.type("\r")
    narrow.wait_for("waiting")
    plain.say("piped while offline")
    ace.type("\x15/who")
    ace.wait_for("> /who")
    ace.type("\r")
    ace.wait_for("ace (you)")

    other = house.relay("-p", str(port), "--host", "127.0.0.1")
    other.wait_for("wrong KEY or password", 3)  # one of each: a relay with another KEY
    for member in members:
        assert member.exit_code is None
    narrow.wait_for("before the end")
    # A relay that cannot prove itself is no reason to end, and is told nothing.
    assert not any("[Connected]" in row for row in other.rows)
    narrow.type("\x15")
    narrow.type("/quit")
    narrow.wait_for("/quit")
    narrow.type("\r")
    assert narrow.ended() == 1
    narrow.wait_for("1 line was not delivered.")
    ace.signal(signal.SIGTERM)
    assert ace.ended() == 0
    plain.signal(signal.SIGINT)
    assert plain.ended() == 130


def test_a_relay_that_comes_back_without_its_log(house: House) -> None:
    """The key is another after each start, so nobody is let in by mistake."""
    relay = house.relay("--host", "127.0.0.1")
    ace = house.screen(relay, "ace", "--password", "top_secret")
    ace.wait_for("Connected to lobby")
    port = relay.port
    assert relay.stop(signal.SIGTERM) == 0
    ace.wait_for("Retrying in")
    other = house.relay("-p", str(port), "--host", "127.0.0.1")
    ace.type("\r")
    other.wait_for("wrong KEY or password")
    ace.wait_for("offline, retry in")
    assert ace.exit_code is None
