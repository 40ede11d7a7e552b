"""Who may doze."""

from __future__ import annotations

from common.relay.dozers import DOZE_S, Dozers

T = 1_000.0


def test_who_has_nothing_to_say_or_hear_dozes_soon_and_once() -> None:
    dozers = Dozers[str]()
    assert dozers.deadline() is None
    dozers.stir([], T)
    assert dozers.deadline() is None
    dozers.stir(["ace", "bea"], T)
    dozing = []
    now = T
    for _ in range(4):
        assert dozers.tick(now + DOZE_S / 2) == set()
        dozers.stir(["bea"], now + DOZE_S / 2)
        now += DOZE_S
        assert dozers.deadline() == now
        dozing.append(dozers.tick(now))
    assert dozing == [set(), {"ace"}, set(), set()]


def test_where_all_doze_nobody_is_woken_for_it() -> None:
    dozers = Dozers[str]()
    dozers.stir(["ace"], T)
    assert dozers.tick(T + DOZE_S) == set()
    assert dozers.tick(T + 2 * DOZE_S) == {"ace"}
    assert dozers.deadline() is None
    assert dozers.tick(T + 99) == set()
    dozers.stir(["ace"], T + 100)
    assert dozers.deadline() == T + 100 + DOZE_S
