"""Who may come in: PROTOCOL.md 3.1, each refusal before the next."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from common.crypto.card import Card
from common.errors import ProtocolError, Refused
from common.relay import gate as gates
from common.relay.gate import (
    REPLAYS_KEPT,
    THROTTLE_FAILURES,
    THROTTLE_S,
    THROTTLED_NETWORKS,
    Gate,
)
from common.relay.room import Room, Seat
from common.relay.rules import Ban, Rules
from common.wire.records import Hello
from tests.unit.relay.people import T, card, hello, identity, make_room

NETWORK = "192.0.2.1"


class House:
    """A gate, and what it made and forgot."""

    def __init__(self, *, room_size: int = 3, rooms: int = 2) -> None:
        self.made: list[str] = []
        self.emptied: list[Room] = []
        self.refused: dict[bytes, int] = {}
        """Identities that a peer's relay refuses."""
        self.rules = Rules()
        self.gate = Gate(
            threading.Lock(),
            room_size=room_size,
            rooms=rooms,
            make_room=self._make,
            on_empty=self.emptied.append,
            also_judge=lambda hello: self.refused.get(hello.identity),
            rules=self.rules,
        )

    def _make(self, name: str) -> Room:
        self.made.append(name)
        room = make_room()
        room.name = name
        return room

    def enter(self, name: str, room: str = "", *, who: str = "") -> Seat:
        """Take a name as a fresh, connected member does."""
        of = card(name, who=who)
        seat, replaced = self.gate.take(hello(of, room), of, object(), is_fresh=True)
        assert replaced is None
        return seat

    def take(
        self, knocking: Hello, *, is_fresh: bool, of: Card | None = None
    ) -> tuple[Seat, Seat | None]:
        """Take a name with the card that goes with a HELLO, or with another."""
        of = of or card(knocking.username)
        return self.gate.take(knocking, of, object(), is_fresh=is_fresh)

    def lose(self, seat: Seat) -> None:
        seat.holder = None


def knocks(name: str, room: str = "", *, who: str = "") -> Hello:
    """A HELLO of a session never seen before."""
    return Hello(secrets.token_bytes(16), identity(who or name).public, room, name)


@dataclass(frozen=True)
class Case:
    """A refusal of PROTOCOL.md 3.1: how it comes about, in the order of the table."""

    status: int
    arrange: Callable[[House, Seat], None]


def _fail(house: House, _: Seat) -> None:
    for _n in range(THROTTLE_FAILURES):
        house.gate.failed(NETWORK, T)


def _close(house: House, _: Seat) -> None:
    house.gate.is_closing = True


def _ban(house: House, _: Seat) -> None:
    house.rules.ban(Ban(identity("eve").public, "", "", 0, "", ""))


def _fill(house: House, _: Seat) -> None:
    for n in range(10):
        house.gate._members["den"] += 1
        house.gate._held[f"crowd{n}"] = Seat(card(f"crowd{n}"), house.gate._rooms["den"], object())


# The one who knocks is "ace" with the identity "eve", at the room "den"; "ace" is seated there.
HELLO_CASES = {
    "removed": Case(403, _ban),
    "no such room": Case(404, lambda house, _: setattr(house.gate, "_max_rooms", 0)),
    "locked": Case(423, lambda house, _: house.rules.locked.add("den")),
    "held": Case(409, lambda _house, _: None),
}


def test_a_peer_refuses_even_a_resume_and_a_replacement() -> None:
    house = House()
    ace = house.enter("ace")
    resume = Hello(ace.session, identity("ace").public, "", "ace")
    replacement = knocks("ace")
    house.lose(ace)
    assert house.gate.admit(resume) is None
    assert house.gate.admit(replacement) is None
    house.refused[identity("ace").public] = 409
    for refused in (resume, replacement):
        assert house.gate.admit(refused) == 409
        with pytest.raises(Refused):
            house.take(refused, is_fresh=True)


def test_what_is_judged_before_the_hello() -> None:
    house = House()
    ace = house.enter("ace")
    gate = house.gate
    assert gate.knock(NETWORK, offers_us=True, now=T) is None
    # From the last of the table to the first, each beats those that hold already.
    _close(house, ace)
    assert gate.knock(NETWORK, offers_us=True, now=T) == 503
    _fail(house, ace)
    assert gate.knock(NETWORK, offers_us=True, now=T) == 429
    assert gate.knock(NETWORK, offers_us=False, now=T) == 426


def test_a_hello_is_judged_in_the_order_of_the_table() -> None:
    house = House()
    ace = house.enter("ace", "den")
    stranger = knocks("ace", "den", who="eve")
    _fill(house, ace)
    assert house.gate.admit(knocks("new", "den")) == 507
    for name in reversed(HELLO_CASES):
        case = HELLO_CASES[name]
        case.arrange(house, ace)
        assert house.gate.admit(stranger) == case.status, name
        with pytest.raises(Refused) as caught:
            house.take(stranger, is_fresh=True)
        assert caught.value.status == case.status


class TestThrottling:
    def test_ten_failures_in_a_minute(self) -> None:
        gate = House().gate
        for n in range(THROTTLE_FAILURES):
            assert gate.knock(NETWORK, offers_us=True, now=T + n) is None
            gate.failed(NETWORK, T + n)
        assert gate.knock(NETWORK, offers_us=True, now=T + 10) == 429
        assert gate.knock(NETWORK, offers_us=True, now=T + THROTTLE_S - 0.1) == 429
        assert gate.knock(NETWORK, offers_us=True, now=T + THROTTLE_S) is None
        gate.failed(NETWORK, T + THROTTLE_S)
        assert gate.knock(NETWORK, offers_us=True, now=T + THROTTLE_S + 0.1) == 429

    def test_another_address_is_not_concerned(self) -> None:
        house = House()
        _fail(house, house.enter("ace"))
        assert house.gate.knock("192.0.2.2", offers_us=True, now=T) is None

    def test_memory_is_bounded_and_the_oldest_go_first(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gates, "THROTTLED_NETWORKS", 5)
        gate = House().gate
        assert THROTTLED_NETWORKS > 5
        for n in range(20):
            gate.failed(f"n{n}", T)
        assert list(gate._failures) == [f"n{n}" for n in range(15, 20)]
        for _ in range(50):
            gate.failed("n15", T)
        assert len(gate._failures["n15"]) == THROTTLE_FAILURES
        gate.failed("new", T)
        assert "n15" in gate._failures
        assert "n16" not in gate._failures


class TestReplays:
    def test_an_ephemeral_key_is_good_once(self) -> None:
        gate = House().gate
        assert not gate.is_replay(bytes(32))
        assert gate.is_replay(bytes(32))
        assert not gate.is_replay(b"x" * 32)
        assert gate.is_replay(bytes(32))

    def test_the_last_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert REPLAYS_KEPT == 65_536
        monkeypatch.setattr(gates, "REPLAYS_KEPT", 3)
        gate = House().gate
        for n in range(5):
            assert not gate.is_replay(bytes([n]))
        assert [gate.is_replay(bytes([n])) for n in (2, 3, 4)] == [True] * 3
        assert len(gate._ephemerals) == 3

    def test_what_a_relay_before_us_saw(self) -> None:
        gate = House().gate
        seen: list[bytes] = []
        gate.on_new = seen.append
        gate.remember([b"a" * 32, b"b" * 32])
        assert gate.is_replay(b"a" * 32)
        assert not gate.is_replay(b"c" * 32)
        assert gate.is_replay(b"c" * 32)
        # What is known by now need not be kept again.
        assert seen == [b"c" * 32]


class TestNames:
    @pytest.mark.parametrize(("held", "asked"), [("Ace", "aCE"), ("straße", "STRASSE")])
    def test_a_name_is_held_in_any_letter_case_and_in_every_room(
        self, held: str, asked: str
    ) -> None:
        house = House()
        seat = house.enter(held)
        for room in ("", "den"):
            assert house.gate.admit(knocks(asked, room, who="eve")) == 409
        house.gate.release(seat)
        assert house.gate.admit(knocks(asked, who="eve")) is None

    def test_nothing_is_registered_before_the_join(self) -> None:
        house = House()
        assert house.gate.admit(knocks("ace")) is None
        assert house.gate.admit(knocks("ace", who="eve")) is None
        assert house.made == []

    def test_the_holder_resumes_connected_or_not(self) -> None:
        house = House()
        seat = house.enter("ace")
        own = hello(seat.card)
        assert house.take(own, is_fresh=False) == (seat, None)
        assert seat.room is house.gate._rooms[""]
        house.lose(seat)
        assert house.gate.admit(own) is None
        assert house.take(own, is_fresh=False) == (seat, None)

    @pytest.mark.parametrize("change", ["session", "identity", "room"])
    def test_a_resume_is_of_that_session_identity_and_room(self, change: str) -> None:
        house = House()
        seat = house.enter("ace")
        values = {
            "session": seat.session,
            "identity": seat.card.identity,
            "room": "",
            "username": "ace",
        }
        values[change] = {"session": bytes(16), "identity": identity("eve").public, "room": "den"}[
            change
        ]
        other = Hello(**values)  # type: ignore[arg-type] # fields by their names
        assert house.gate.admit(other) == 409
        house.lose(seat)
        if change == "identity":
            # A resume with another identity.
            assert house.gate.admit(other) == 409
            with pytest.raises(Refused) as caught:
                house.take(other, is_fresh=False)
            assert caught.value.status == 409
        else:
            assert house.gate.admit(other) is None
            with pytest.raises(Refused) as caught:
                house.take(other, is_fresh=False)
            assert caught.value.status == 410

    def test_a_session_that_is_over_cannot_resume(self) -> None:
        house = House()
        seat = house.enter("ace")
        house.gate.release(seat)
        assert house.gate.admit(hello(seat.card)) is None
        with pytest.raises(Refused) as caught:
            house.take(hello(seat.card), is_fresh=False)
        assert caught.value.status == 410

    def test_a_fresh_join_of_a_session_that_is_a_member(self) -> None:
        house = House()
        seat = house.enter("ace")
        for name, who in (("ace", "ace"), ("bea", "eve")):
            of = card(name, who=who, session=seat.session)
            with pytest.raises(ProtocolError):
                house.take(hello(of), is_fresh=True)
        assert list(house.gate._held) == ["ace"]


class TestReplacement:
    def test_only_once_it_is_disconnected(self) -> None:
        house = House()
        seat = house.enter("ace")
        assert house.gate.admit(knocks("ace")) == 409
        house.lose(seat)
        assert house.gate.admit(knocks("ace")) is None
        assert house.gate.admit(knocks("ace", who="eve")) == 409

    def test_a_resume_that_fails_leaves_it_replaceable(self) -> None:
        house = House()
        seat = house.enter("ace")
        house.lose(seat)
        # The gate lets it through, but the room says 410: then the client joins afresh, at once.
        house.take(hello(seat.card), is_fresh=False)
        assert house.gate.admit(knocks("ace")) is None

    def test_a_resume_that_succeeds_does_not(self) -> None:
        house = House()
        seat = house.enter("ace")
        house.lose(seat)
        house.take(hello(seat.card), is_fresh=False)
        seat.holder = object()
        assert house.gate.admit(knocks("ace")) == 409

    def test_in_the_same_room_which_lives_on(self) -> None:
        house = House()
        seat = house.enter("ace")
        house.lose(seat)
        newer, replaced = house.take(knocks("ACE", who="ace"), is_fresh=True, of=card("ACE"))
        assert replaced is seat
        assert newer.room is seat.room
        assert (house.made, house.emptied) == ([""], [])
        # What the old connection's loop still does is too late.
        house.gate.release(seat)
        assert house.gate.admit(knocks("ace", who="eve")) == 409
        assert house.gate._members[""] == 1

    def test_from_another_room(self) -> None:
        house = House()
        seat = house.enter("ace", "den")
        house.lose(seat)
        newer, replaced = house.take(knocks("ace"), is_fresh=True)
        assert replaced is seat
        assert (seat.room.name, newer.room.name) == ("den", "")
        assert [empty.name for empty in house.emptied] == ["den"]
        assert house.gate._members == {"": 1}

    def test_into_a_room_that_is_full_or_new(self) -> None:
        house = House(room_size=1, rooms=1)
        seat = house.enter("ace")
        house.lose(seat)
        for room in ("", "den"):
            assert house.gate.admit(knocks("ace", room)) is None
            assert house.gate.admit(knocks("bea", room)) == 507


class TestRooms:
    def test_rooms_are_made_and_forgotten(self) -> None:
        house = House()
        one, two = house.enter("ace", "den"), house.enter("bea", "den")
        assert house.made == ["den"]
        house.gate.release(one)
        assert house.emptied == []
        house.gate.release(two)
        assert [room.name for room in house.emptied] == ["den"]
        assert house.gate._rooms == {}
        house.enter("ace", "den")
        assert house.made == ["den", "den"]

    def test_only_the_lobby_where_there_are_no_rooms(self) -> None:
        house = House(rooms=0)
        assert house.gate.admit(knocks("ace", "den")) == 404
        assert house.gate.admit(knocks("ace")) is None
        house.enter("ace")
        assert house.gate.admit(knocks("bea")) is None

    def test_a_full_room(self) -> None:
        house = House(room_size=2)
        seats = [house.enter("ace"), house.enter("bea")]
        assert house.gate.admit(knocks("col")) == 507
        assert house.gate.admit(knocks("col", "den")) is None
        # Those who hold a place come back to it.
        house.lose(seats[0])
        assert house.gate.admit(knocks("col")) == 507
        assert house.gate.admit(hello(seats[0].card)) is None
        house.gate.release(seats[0])
        assert house.gate.admit(knocks("col")) is None

    def test_rooms_enough(self) -> None:
        house = House(rooms=2)
        house.enter("ace")
        seat = house.enter("bea", "den")
        assert house.gate.admit(knocks("col", "attic")) == 507
        assert house.gate.admit(knocks("col", "den")) is None
        house.gate.release(seat)
        assert house.gate.admit(knocks("col", "attic")) is None

    def test_a_locked_room_takes_those_back_who_are_its_members(self) -> None:
        house = House()
        seat = house.enter("ace")
        house.lose(seat)
        house.rules.locked.add("")
        assert house.gate.admit(hello(seat.card)) is None
        assert house.gate.admit(knocks("ace")) == 423
        assert house.gate.admit(knocks("bea")) == 423
        assert house.gate.admit(knocks("bea", "den")) is None

    def test_stored_rooms_hold_their_names(self) -> None:
        house = House()
        room = make_room()
        of = card("ace")
        away = Seat(of, room, None)
        house.gate.restore(room, [away])
        assert house.take(hello(of), is_fresh=False) == (away, None)
        assert house.gate.admit(knocks("ace", who="eve")) == 409
        assert house.gate.admit(knocks("ace")) is None
