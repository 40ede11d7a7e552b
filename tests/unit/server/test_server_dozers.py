"""Who may doze."""

from __future__ import annotations

import socket

import server
from common.config import ServerConfig
from common.crypto.identity import RelayKey
from common.wire.link import ServerLink
from common.wire.pipe import Pipe
from server import DOZE_S

T = 1_000.0


def conn() -> server.Conn:
    relay = server.Server(ServerConfig(), RelayKey.generate(), bytes(32), [], print, print)
    pipe = Pipe(socket.socket.__new__(socket.socket), ServerLink(T))
    return server.Conn(relay.loops[0], pipe, "", "", T)


def test_who_has_nothing_to_say_or_hear_dozes_soon_and_once() -> None:
    dozers, ace, bea = server.Dozers(), conn(), conn()
    assert dozers.deadline() is None
    dozers.stir([], T)
    assert dozers.deadline() is None
    dozers.stir([ace, bea], T)
    dozing = []
    now = T
    for _ in range(4):
        assert dozers.tick(now + DOZE_S / 2) == set()
        dozers.stir([bea], now + DOZE_S / 2)
        now += DOZE_S
        assert dozers.deadline() == now
        dozing.append(dozers.tick(now))
    assert dozing == [set(), {ace}, set(), set()]


def test_where_all_doze_nobody_is_woken_for_it() -> None:
    dozers, ace = server.Dozers(), conn()
    dozers.stir([ace], T)
    assert dozers.tick(T + DOZE_S) == set()
    assert dozers.tick(T + 2 * DOZE_S) == {ace}
    assert dozers.deadline() is None
    assert dozers.tick(T + 99) == set()
    dozers.stir([ace], T + 100)
    assert dozers.deadline() == T + 100 + DOZE_S
