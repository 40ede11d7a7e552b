"""Who may doze."""

from __future__ import annotations

import socket

import server
from common.config import ServerConfig
from common.wire.link import ServerLink
from common.wire.pipe import Pipe
from server import DOZE_S

T = 1_000.0


def conn() -> server.Conn:
    pipe = Pipe(socket.socket.__new__(socket.socket), ServerLink(T))
    return server.Conn(pipe, "", "", T, ServerConfig())


def test_who_has_nothing_to_say_or_hear_dozes_soon_and_once() -> None:
    awake, ace, bea = server.Awake(), conn(), conn()
    assert awake.deadline() is None
    awake.stir([], T)
    assert awake.deadline() is None
    awake.stir([ace, bea], T)
    dozing = []
    now = T
    for _ in range(4):
        assert awake.tick(now + DOZE_S / 2) == set()
        awake.stir([bea], now + DOZE_S / 2)
        now += DOZE_S
        assert awake.deadline() == now
        dozing.append(awake.tick(now))
    assert dozing == [set(), {ace}, set(), set()]


def test_where_all_doze_nobody_is_woken_for_it() -> None:
    awake, ace = server.Awake(), conn()
    awake.stir([ace], T)
    assert awake.tick(T + DOZE_S) == set()
    assert awake.tick(T + 2 * DOZE_S) == {ace}
    assert awake.deadline() is None
    assert awake.tick(T + 99) == set()
    awake.stir([ace], T + 100)
    assert awake.deadline() == T + 100 + DOZE_S
