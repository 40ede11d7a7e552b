"""Who is on the way in: bounded, and the oldest makes way."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from common.relay.strangers import (
    HANDSHAKES,
    HANDSHAKES_OF_A_NETWORK,
    JOINS,
    JOINS_OF_A_NETWORK,
    PATIENCE_S,
    Strangers,
)

T = 1_000.0


class Crowd(Strangers[int]):
    """One that tells who had to go."""

    def __init__(self) -> None:
        self.out: list[int] = []
        super().__init__(threading.Lock(), self.out.append)

    def arrive(self, conn: int, network: str) -> int | None:
        self.arrived(conn, network, T)
        return self.out.pop() if self.out else None

    def admit(self, conn: int, network: str, now: float = T) -> int | None:
        self.admitted(conn, network, now)
        return self.out.pop() if self.out else None


def test_the_oldest_of_a_network_makes_way_for_its_next() -> None:
    strangers = Crowd()
    assert (HANDSHAKES_OF_A_NETWORK, JOINS_OF_A_NETWORK) == (32, 32)
    assert strangers.arrive(-1, "other") is None
    for n in range(32):
        assert strangers.arrive(n, "net") is None
    assert strangers.arrive(32, "net") == 0
    assert not strangers.has(0)
    assert strangers.has(-1)
    # One that is through leaves room behind it.
    assert strangers.admit(1, "net") is None
    assert strangers.arrive(33, "net") is None
    assert strangers.arrive(34, "net") == 2


def test_the_oldest_of_all_makes_way_where_there_are_many_networks() -> None:
    strangers = Crowd()
    assert (HANDSHAKES, JOINS) == (512, 256)
    for n in range(512):
        assert strangers.arrive(n, f"n{n}") is None
    assert strangers.arrive(512, "n512") == 0
    for n in range(100, 356):
        assert strangers.admit(n, f"n{n}") is None
    assert strangers.admit(356, "n356") == 100
    assert [strangers.arrive(n, f"n{n}") for n in range(1_000, 1_258)] == [None] * 257 + [1]


def test_whoever_is_about_to_join_is_given_a_moment() -> None:
    strangers = Crowd()
    for n in range(32):
        assert strangers.may_admit("net", T)
        strangers.admit(n, "net", T + n / 100)
    assert not strangers.may_admit("net", T + PATIENCE_S - 0.01)
    assert strangers.may_admit("net", T + PATIENCE_S)
    assert strangers.may_admit("other", T)
    strangers.gone(0)
    assert strangers.may_admit("net", T)
    for n in range(32, 257):
        strangers.admit(n, f"n{n}", T)
    assert not strangers.may_admit("new", T + PATIENCE_S)
    assert strangers.may_admit("new", T + PATIENCE_S + 0.01)
    assert strangers.admit(257, "new", T + 1) == 1


def test_those_with_a_101_are_of_whom_their_proxy_named() -> None:
    strangers = Crowd()
    for n in range(100):
        assert strangers.arrive(n, "proxy") is None
        assert strangers.admit(n, f"guest{n % 4}") is None
    assert [strangers.admit(n, "guest0") for n in range(100, 109)] == [None] * 7 + [0, 4]


def test_where_the_system_allows_no_more_handshakes_go_first() -> None:
    strangers = Crowd()
    assert not strangers.make_way()
    for n in (1, 2, 3):
        strangers.arrive(n, "net")
    strangers.admit(1, "net")
    strangers.gone(2)
    assert [strangers.make_way() for _ in range(3)] == [True, True, False]
    assert strangers.out == [3, 1]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["arrive", "admit", "gone", "make_way"]),
            st.integers(1, 2_000),
            st.integers(0, 20),
        ),
        max_size=200,
    ),
    st.integers(0, 700),
)
def test_bounds_hold_whatever_happens(steps: list[tuple[str, int, int]], crowded: int) -> None:
    strangers = Crowd()
    for n in range(crowded):
        strangers.arrive(10_000 + n, f"n{n % 40}")
        if n % 2:
            strangers.admit(10_000 + n, f"n{n % 40}")
    for what, conn, network in steps:
        if what == "admit":
            strangers.gone(conn)  # its own place among the handshakes is no other's
        if what in ("arrive", "admit") and not strangers.has(conn):
            displaced = getattr(strangers, what)(conn, f"n{network}")
            assert displaced != conn
            assert strangers.has(conn)
            assert displaced is None or not strangers.has(displaced)
        elif what == "gone":
            strangers.gone(conn)
            assert not strangers.has(conn)
        elif what == "make_way":
            strangers.make_way()
            strangers.out.clear()
        for stage, per, most in (
            (strangers._handshakes, 32, 512),
            (strangers._joins, 32, 256),
        ):
            assert len(stage._all) <= most
            assert all(0 < len(of) <= per for of in stage._of.values())
            assert sum(map(len, stage._of.values())) == len(stage._all)
