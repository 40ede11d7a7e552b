"""Those who have no business here keep nobody out."""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import sys

import pytest

from common.crypto import ticket
from common.member.conversation import Phase
from tests.e2e.harness import WAIT_S, Bot, House, Relay

resource = pytest.importorskip("resource")


def silent(relay: Relay, count: int) -> list[socket.socket]:
    """Connect from so many addresses, ten times from each, and say nothing."""
    froms = [(f"127.0.{n // 250}.{n % 250 + 1}", 0) for n in range(count)]
    where = ("127.0.0.1", relay.port)
    return [socket.create_connection(where, WAIT_S, own) for own in froms for _ in range(10)]


@pytest.mark.skipif(sys.platform != "linux", reason="others have one loopback address, no prlimit")
def test_a_relay_without_descriptors_takes_them_back_from_strangers(house: House) -> None:
    relay = house.relay("--host", "127.0.0.1")
    ace = house.bot(relay, "ace")
    resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (100, 100))
    with contextlib.ExitStack() as strangers:
        for sock in silent(relay, 50):
            strangers.enter_context(sock)
        bea = house.bot(relay, "bea")
        bea.say("in")
        house.until(lambda: ace.heard == ["in"], lambda: repr(ace.heard))


def test_silent_sockets_of_one_address_keep_nobody_out(house: House) -> None:
    relay = house.relay("--host", "127.0.0.1")
    strangers = [relay.connect() for _ in range(150)]
    house.bot(relay, "ace")
    # All but the last are gone.
    for sock in strangers[:100]:
        assert sock.recv(1) == b""


def test_fifty_behind_one_address_who_come_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket, "derive_psk", functools.cache(ticket.derive_psk))
    relay = house.relay("--host", "127.0.0.1")
    bots = []
    for n in range(50):
        bots.append(Bot(house, relay, f"u{n}"))
        bots[-1].turn()
    house.until(
        lambda: all(bot.conversation.phase is Phase.LIVE for bot in bots),
        lambda: repr([bot.events for bot in bots if bot.conversation.phase is not Phase.LIVE]),
    )
    assert not any(bot.verdict for bot in bots)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_recorded_upgrade_is_refused_by_the_next_relay_too(house: House, signum: int) -> None:
    data = ("--data", str(house.path / "data"), "--host", "127.0.0.1")
    relay = house.relay(*data)
    wire = house.proxy(relay)
    ace = house.lines(f"{relay.key}@127.0.0.1:{wire.port}", "ace")
    # What it is shown is on disk, and so is what was put there before.
    ace.wait_for("You are connected")
    end = wire.up.index(b"\r\n\r\n") + 4
    recorded = bytes(wire.up[:end])
    ace.signal(signal.SIGKILL)
    relay.signal(signum)
    relay.ended()
    relay = house.relay(*data)
    stranger = relay.connect()
    stranger.sendall(recorded)
    assert stranger.recv(12) == b"HTTP/1.1 401"
