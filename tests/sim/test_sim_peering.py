"""A member of peer mode, against the real relay: who is let in, who greeted, and who ends whom."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from unittest import mock

import pytest

from common.config import PEER_RATE, PeerConfig
from common.crypto.identity import Identity
from common.errors import Refused
from common.member.conversation import Phase
from common.member.events import Said
from common.member.peering import CLOSED, Doorkeeper, Peering, greeting
from common.member.sentences import unproven
from common.view.lines import Lines
from common.view.programs import Programs
from common.view.stdin import LineFeed
from common.view.view import Message, Presence
from common.wire.link import Closed
from common.wire.records import Hello
from tests.sim.test_sim_member import At, View
from tests.sim.world import World

NAMES = ["desktop", "phone"]
IDENTITIES = [Identity.generate() for _ in NAMES]
PEER = PeerConfig("config.ini", "127.0.0.1", 1, "")


class Plain(Lines):
    """Line mode, whose rows are kept and not written."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[str] = []

    def _row(self, content: str) -> None:
        self.rows.append(content)


class PeerAt(At):
    """Laptop, in a world with desktop, the first, and phone."""

    def __init__(
        self,
        world: World,
        view: View | Plain | Programs,
        mode: str = "connect",
        name: str = "laptop",
    ) -> None:
        self.doorkeeper = Doorkeeper()
        keeper = self.doorkeeper if mode == "listen" else None
        super().__init__(
            world,
            name,
            view=view,
            make_policy=lambda view: Peering(view, lambda: 5, PEER._replace(mode=mode), keeper),
            password="",
        )
        self.doorkeeper.uplink = self.member.uplink

    @property
    def policy(self) -> Peering:
        assert isinstance(self.member._policy, Peering)
        return self.member._policy


def connected(world: World, view: View | Plain | Programs) -> PeerAt:
    for person in world.people:
        person.dial()
        world.carry_all()
        world.relay.turn()
        world.carry_all()
        person.turn()
        world.carry_all()
        world.relay.turn()
    at = PeerAt(world, view)
    at.dial()
    at.settle()
    assert at.phase is Phase.LIVE
    assert at.policy._listener == IDENTITIES[0].public
    return at


def test_the_listener_ends_who_has_connected_and_nobody_else_does() -> None:
    with World(NAMES, IDENTITIES) as world:
        plain = Plain()
        at = connected(world, plain)
        assert plain.rows[0].startswith("Connected to ")
        world.people[1].quit()
        at.settle()
        assert (at.member.exit_code, CLOSED in plain.rows) == (None, False)
        world.people[0].quit()
        at.settle()
        assert at.member.exit_code == 0
        assert plain.rows[-1] == CLOSED
        assert at.member.fd is None


def test_what_was_not_sent_by_then_is_told() -> None:
    with World(NAMES, IDENTITIES) as world:
        at = connected(world, Plain())
        with mock.patch.object(at.member.conversation, "outgoing", return_value=[]):
            at.type("too late")
            world.people[0].quit()
            at.settle()
        assert (at.member.exit_code, at.member.last_words) == (1, "1 line was not delivered.")


def test_where_a_member_came_from_is_forgotten_when_it_leaves() -> None:
    with World(NAMES, IDENTITIES) as world:
        at = PeerAt(world, Plain(), "listen")
        at.dial()
        at.settle()
        phone = world.people[1]
        phone.dial()
        at.settle()
        for number in range(3):  # as its relay's loops tell of each resume
            at.doorkeeper.joined(phone.conv._session, f"127.0.0.1:{number}")
        phone.quit()
        at.settle()
        assert at.doorkeeper._addresses == {}


def test_whoever_gives_an_order_is_told_that_nobody_can() -> None:
    with World(NAMES, IDENTITIES) as world:
        view = View()
        at = connected(world, view)
        for order in ("/kick phone", "/who lobby", "/stop"):
            view.rows.clear()
            at.type(order)
            assert view.rows == ["Without a server nobody is in charge. Nothing was changed."]


def test_a_screen_stays_to_be_read() -> None:
    with World(NAMES, IDENTITIES) as world:
        view = View()
        at = connected(world, view)
        world.people[0].quit()
        at.settle()
        assert not isinstance(at.member.exit_code, int)
        assert at.saw(f"{CLOSED} /quit leaves.")
        at.member.quit("")
        assert at.member.exit_code == 0


def test_a_listener_that_is_lost_is_waited_for() -> None:
    with World(NAMES, IDENTITIES, grace_s=5.0) as world:
        at = connected(world, Plain())
        connection = world.people[0].connection
        assert connection is not None
        connection.up.cut()
        connection.down.cut()
        world.people[0].dial = lambda: None  # type: ignore[method-assign]
        for _ in range(8):
            at.carry()
        assert not any(peer.name == "desktop" for peer in at.member.conversation.peers.values())
        assert at.member.exit_code is None


def test_a_listener_greets_each_newcomer_once() -> None:
    with World(NAMES, IDENTITIES) as world:
        plain = Plain()
        at = PeerAt(world, plain, "listen")
        at.dial()
        at.settle()
        assert plain.rows == ["Waiting for a peer."]
        for person in world.people:
            session = person.conv.hello().session
            at.doorkeeper.joined(
                session, "[fe80::1]:5" if person.name == "phone" else "192.0.2.1:7"
            )
            person.dial()
            at.settle()
        assert "Connected by ('192.0.2.1', 7)" in plain.rows
        assert "Connected by ('fe80::1', 5)" in plain.rows
        assert plain.rows.count(greeting("laptop")) == 2
        heard = [event for person in world.people for event in person.events]
        texts = [event.text for event in heard if isinstance(event, Said)]
        assert texts == [greeting("laptop")] * 2
        world.people[0].quit()
        at.settle()
        assert plain.rows[-3] == CLOSED
        assert "desktop left" in plain.rows[-2]
        world.people[1].quit()
        at.settle()
        assert plain.rows[-2:] == [CLOSED, "Waiting for a peer."]
        assert at.member.exit_code is None


def test_who_is_let_in_at_the_listener() -> None:
    with World(NAMES, IDENTITIES) as world:
        at = PeerAt(world, Plain(), "listen")
        keeper, own = at.doorkeeper, at.member.conversation.hello()
        other = Hello(secrets.token_bytes(16), IDENTITIES[0].public, "", "desktop")
        reflected = Hello(secrets.token_bytes(16), own.identity, "", "laptop")
        assert [keeper.judge(hello) for hello in (own, other, reflected)] == [None, 503, 409]
        at.dial()
        at.settle()
        assert [keeper.judge(hello) for hello in (own, other, reflected)] == [None, None, 409]


@pytest.mark.parametrize(
    ("message", "rows"),
    [
        (Message("bea", b"i", "hi", 5), ["bea says: hi"]),
        (Message("bea", b"i", "hi\nSent CHAT message.", 5), ["bea says: hi\nSent CHAT message."]),
        (Message("bea", b"i", "/me waves", 5), ["* bea waves"]),
        (Message("bea", b"i", "psst", 5, is_direct=True), ["> bea says: psst"]),
        (Message("bea", b"i", greeting("bea"), 5, is_direct=True), [greeting("bea")]),
        # What is shown bare names its author, whoever that is.
        (
            Message("bea", b"i", greeting("ace"), 5, is_direct=True),
            [f"> bea says: {greeting('ace')}"],
        ),
        (Message("bea", b"i", greeting("bea"), 5), [f"bea says: {greeting('bea')}"]),
        (Message("laptop", b"", "mine", 5, is_own=True, line=1), ["Sent CHAT message."]),
    ],
)
def test_rows_of_the_small_program(message: Message, rows: list[str]) -> None:
    with World(NAMES, IDENTITIES) as world:
        plain = Plain()
        PeerAt(world, plain).policy.said(message, is_goodbye=False)
        assert plain.rows == rows


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_refusal_names_file_section_and_value(*, is_plain: bool) -> None:
    told: list[tuple[Callable[[PeerAt], None], str]] = [
        (lambda at: refuse(at, 401), "wrong key. fernet_key in [parameters] of config.ini must"),
        (lambda at: refuse(at, 409), "the name laptop is in use, or both sides have one home"),
        (lambda at: refuse(at, 503), "the relay is shutting down, or not ready yet."),
    ]
    for act, words in told:
        with World(NAMES, IDENTITIES) as world:
            at = PeerAt(world, Plain() if is_plain else View())
            at.dial()
            act(at)
            assert at.member.exit_code == 3
            assert at.member.last_words.startswith(unproven(f"{words}", "peer"))


def refuse(at: PeerAt, status: int) -> None:
    at.closes(Closed(Refused(status, ""), ""), at.world.now)


def test_peers_may_say_more_in_a_second() -> None:
    with World(NAMES, IDENTITIES) as world:
        assert PeerAt(world, Plain()).member.conversation.messages_s == PEER_RATE


def test_no_presence_is_lost_on_a_screen() -> None:
    with World(NAMES, IDENTITIES) as world:
        shown: list[Presence] = []
        view = View()
        view.moved = shown.append  # type: ignore[assignment,method-assign]
        at = PeerAt(world, view, "listen")
        at.dial()
        at.settle()
        world.people[0].dial()
        at.settle()
        assert [presence.name for presence in shown] == ["desktop"]


def test_who_listens_keeps_the_name_and_is_told_why() -> None:
    with World(NAMES, IDENTITIES) as world:
        plain = Plain()
        at = PeerAt(world, plain, "listen")
        at.dial()
        at.settle()
        at.type("/nick tower")
        at.settle()
        assert "Who listens keeps the name" in plain.rows[-1]
        assert at.member.conversation.username == "laptop"
        assert at.phase is Phase.LIVE


@pytest.mark.parametrize("is_plain", [True, False])
def test_another_name_of_a_peer_closes_nothing(*, is_plain: bool) -> None:
    with World([], []) as world:
        desktop = PeerAt(world, Plain() if is_plain else View(), "listen")
        phone = PeerAt(world, Plain() if is_plain else View(), name="phone")
        here: list[PeerAt] = []

        def carry(seconds: int) -> None:
            for _ in range(10 * seconds):
                world.now += 0.1
                for at in here:
                    at.step()
                world.relay.turn()

        for at in (desktop, phone):
            here.append(at)
            carry(2)
            assert at.phase is Phase.LIVE
        before = len(desktop.view.rows)
        phone.type("/nick handy")
        carry(4)
        assert phone.saw("You are now handy. 2 here.")
        told = desktop.view.rows[before:]
        assert any("phone is now handy. 2 here" in row for row in told), told
        assert not any(CLOSED in row or "Waiting" in row or "Connected by" in row for row in told)
        # What a peer may say in a second is a matter of the mode, not of the name.
        assert phone.member.conversation.messages_s == PEER_RATE
        assert desktop.member.exit_code is None
        # Who connected is still ended by whoever listens.
        desktop.member.quit("")
        carry(3)
        assert any(CLOSED in row for row in phone.view.rows)


def test_a_peer_that_leaves_for_good_is_told_a_moment_later() -> None:
    with World(NAMES, IDENTITIES) as world:
        plain = Plain()
        at = PeerAt(world, plain, "listen")
        at.dial()
        at.settle()
        world.people[1].dial()
        at.settle()
        world.people[1].quit()
        at.carry()
        assert CLOSED not in plain.rows
        at.settle()
        assert plain.rows[-2:] == [CLOSED, "Waiting for a peer."]


@pytest.mark.parametrize("how", ["/quit", "interrupt", "end of input"])
def test_that_the_peer_left_is_told_before_that_we_do(how: str) -> None:
    with World(NAMES, IDENTITIES) as world:
        plain = Plain()
        at = PeerAt(world, plain, "listen")
        at.dial()
        at.settle()
        world.people[1].dial()
        at.settle()
        world.people[1].quit()
        for _ in range(2):
            world.now += 0.1
            world.carry_all()
            world.relay.turn()
            at.step()
        assert CLOSED not in plain.rows
        match how:
            case "interrupt":
                at.member.interrupt()
            case "end of input":
                at.member.input_ended(world.now)
            case _:
                at.type(how)
        for _ in range(5):
            world.now += 0.1
            at.step()
            world.relay.turn()
        at.member.close()
        by_us = plain.rows.index("Connection closed by you.")
        assert plain.rows.index(CLOSED) < by_us
        assert plain.rows.count(CLOSED) == 1
        assert "Waiting for a peer." not in plain.rows[by_us:]


def test_a_program_is_told_that_the_listener_has_ended_it() -> None:
    with World(NAMES, IDENTITIES) as world:
        feed = LineFeed(is_block=False, is_strict=False)
        at = connected(world, Programs("lobby", feed, is_tail=False, is_json=False))
        world.people[0].quit()
        at.settle()
        assert (at.member.exit_code, at.member.last_words) == (0, CLOSED)
