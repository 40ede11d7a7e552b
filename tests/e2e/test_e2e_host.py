"""A relay on a host: a service manager is told how it is."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.e2e.harness import WAIT_S, House


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there is no systemd here")
def test_systemd_hears_when_the_relay_is_ready_lives_and_stops(house: House) -> None:
    path = house.path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(WAIT_S)
        told = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        relay = house.relay(env=dict(told))
        assert manager.recv(99) == b"READY=1"
        beats = [manager.recv(99) for _ in range(3)]
        assert beats == [b"WATCHDOG=1"] * 3
        relay.signal(signal.SIGTERM)
        while (state := manager.recv(99)) == b"WATCHDOG=1":
            pass
        assert state == b"STOPPING=1"
        assert relay.ended() == 0
