"""A thread that is being made may be woken already, and one that fails ends the relay."""

from __future__ import annotations

import secrets
import selectors

import pytest

import server
from common.config import ServerConfig
from common.crypto.identity import RelayKey


class Relay(server.Server):
    """One that counts its crashes."""

    def __init__(self) -> None:
        self.crashes = 0
        settings, psk = ServerConfig(threads=1), secrets.token_bytes(32)
        super().__init__(settings, RelayKey.generate(), psk, [], lambda _: None, self._crash)

    def _crash(self) -> None:
        self.crashes += 1


def test_a_loop_is_woken_while_its_thread_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Relay()

    def selector() -> selectors.BaseSelector:
        relay.tell("the disk is full")  # as the writer might
        return selectors.SelectSelector()

    monkeypatch.setattr(selectors, "DefaultSelector", selector)
    thread = server.LoopThread(relay, relay.loops[0])
    relay.tell("the disk is full")
    assert thread._is_woken
    thread._selector.close()
    thread.close()


@pytest.mark.parametrize("is_sound", [False, True])
def test_the_relay_does_not_go_on_half_dead(
    is_sound: bool, caplog: pytest.LogCaptureFixture
) -> None:
    relay = Relay()
    thread = server._thread("orders", (lambda: None) if is_sound else lambda: 1 / 0, relay)
    thread.start()
    thread.join(5)
    assert (relay.crashes, "orders failed" in caplog.text) == (not is_sound, not is_sound)
