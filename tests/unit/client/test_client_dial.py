"""Addresses are tried one beside another (RFC 8305), over sockets that are made up."""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.client.dial import CONNECT_S, STAGGER_S, Race, interleaved

T = 1_000.0
V6, V4 = 10, 2


class Net:
    """What becomes of each address."""

    def __init__(self, **fates: int) -> None:
        self.fates = fates
        self.begun: list[str] = []
        self.open: dict[int, SimpleNamespace] = {}

    def make(self, family: int) -> Any:
        if family == 99:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported")
        fd = len(self.begun) + 10
        sock = SimpleNamespace(fileno=lambda: fd, setblocking=lambda _: None, status=0)
        sock.close = lambda: self.open.pop(fd, None)
        sock.getsockopt = lambda *_: sock.status

        def connect_ex(where: tuple[str, int]) -> int:
            self.begun.append(where[0])
            self.open[fd] = sock
            fate = self.fates.get(where[0], errno.EINPROGRESS)
            if fate < 0:
                raise OSError(-fate, os.strerror(-fate))
            return fate

        sock.connect_ex = connect_ex
        return sock

    def race(self, *names: str) -> Race:
        ends = [(V6 if name.startswith("v6") else V4, (name, 5)) for name in names]
        return Race(ends, T, self.make)


def test_one_that_swallows_packets_costs_a_quarter_of_a_second() -> None:
    net = Net()
    race = net.race("v6", "v4")
    race.tick(T)
    assert net.begun == ["v6"]
    assert race.deadline() == T + STAGGER_S
    race.tick(T + STAGGER_S / 2)
    assert net.begun == ["v6"]
    race.tick(T + STAGGER_S)
    assert net.begun == ["v6", "v4"]
    dead, alive = race.fds
    sock = race.connected(alive, T + 0.3)
    assert sock is not None
    assert sock.fileno() == alive
    # The other is closed, and the one that is through is not.
    assert list(net.open) == [alive]
    assert dead not in race.fds


def test_the_first_is_alone_while_it_may_be_quick() -> None:
    net = Net()
    race = net.race("v6", "v4")
    race.tick(T)
    (fd,) = race.fds
    assert race.connected(fd, T + STAGGER_S / 2) is not None
    assert net.begun == ["v6"]


def test_a_failure_begins_the_next_at_once() -> None:
    net = Net(v6=errno.ENETUNREACH)
    race = net.race("v6", "v4", "v4b")
    race.tick(T)
    assert net.begun == ["v6", "v4"]
    (fd,) = race.fds
    net.open[fd].status = errno.ECONNREFUSED
    assert race.connected(fd, T + 0.01) is None
    assert net.begun == ["v6", "v4", "v4b"]
    assert not race.is_lost


def test_where_all_fail_the_last_says_why() -> None:
    net = Net(v6=-errno.EINVAL, v4=errno.ECONNREFUSED)
    race = Race([(99, ("none", 5)), (V6, ("v6", 5)), (V4, ("v4", 5))], T, net.make)
    race.tick(T)
    assert race.is_lost
    assert race.problem == os.strerror(errno.ECONNREFUSED)
    assert not net.open


def test_each_has_its_own_time() -> None:
    net = Net()
    race = net.race("v6", "v4")
    race.tick(T)
    race.tick(T + 5)
    assert race.deadline() == T + CONNECT_S
    race.tick(T + CONNECT_S)
    assert len(race.fds) == 1
    assert race.deadline() == T + 5 + CONNECT_S
    race.tick(T + 5 + CONNECT_S)
    assert race.is_lost
    assert race.problem == "no answer"
    assert race.deadline() is None
    assert not net.open


def test_whoever_gives_up_leaves_nothing_open() -> None:
    net = Net()
    race = net.race("v6", "v4")
    race.tick(T)
    race.tick(T + 1)
    race.close()
    assert race.is_lost
    assert not net.open


@pytest.mark.parametrize(
    ("given_", "tried"),
    [("aab", "aba"), ("aaabb", "ababa"), ("bbba", "babb"), ("a", "a"), ("", "")],
)
def test_families_take_turns(given_: str, tried: str) -> None:
    ends = [(ord(family), number) for number, family in enumerate(given_)]
    assert "".join(chr(family) for family, _ in interleaved(ends)) == tried


@given(st.lists(st.tuples(st.sampled_from([V4, V6]), st.integers())))
def test_none_is_lost_and_each_family_keeps_its_order(ends: list[tuple[int, int]]) -> None:
    found = interleaved(ends)
    assert Counter(found) == Counter(ends)
    for family in (V4, V6):
        assert [e for e in found if e[0] == family] == [e for e in ends if e[0] == family]


def test_real_sockets_are_streams() -> None:
    race = Race([], T)
    with race._make(socket.AF_INET) as sock:
        assert sock.type == socket.SOCK_STREAM
