"""A client without its loop, against the real relay: what a lost connection costs its user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from common.config import ClientConfig
from common.crypto import ticket
from common.crypto.identity import Identity
from common.errors import FileError, Refused, UsageError
from common.member.conversation import Phase
from common.member.events import Answered, Failed
from common.member.member import UNREAD_BYTES, Member
from common.member.policy import Policy
from common.member.sentences import UNTOLD, unproven
from common.member.uplink import NAME_S
from common.term.editor import Action, Submit
from common.view import view
from common.view.view import Message, Presence
from common.wire.link import PING_EVERY_S, PONG_WITHIN_S, ClientLink, Closed
from common.wire.records import Status
from tests.sim.world import Sock, Wire, World

NAMES = ["bea", "col"]
IDENTITIES = [Identity.generate() for _ in NAMES]
GRACE_S = 20.0


class View(view.View):
    """A screen that remembers what it is told."""

    is_screen = stays_open = has_history = True
    unwritten_bytes = 0
    can_ask = True

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[str] = []
        self.messages: list[Message] = []
        self.kept = ""
        self.pending: dict[int, str] = {}
        self.said_texts: list[str] = []
        self.last: view.Summary | None = None

    def notice(self, content: str, at_ms: int) -> None:
        self.rows.append(content)

    tell = warn = notice

    def answer(self, rows: list[str], at_ms: int) -> None:
        self.rows += rows

    def forget_typed(self) -> None:
        self.rows.append("forgotten")

    def typed(self, line: int, content: str, to: str, at_ms: int) -> None:
        self.pending[line] = content

    def untyped(self, line: int) -> None:
        del self.pending[line]

    def said(self, message: Message) -> None:
        self.pending.pop(message.line, None)
        self.said_texts.append(message.text)
        self.messages.append(message)

    def refused(self, content: str, *, is_pasted: bool) -> None:
        self.kept = content

    def plain(self, content: str, at_ms: int) -> None:
        self.rows.append(content)

    def status(self, told: view.Summary) -> None:
        self.last = told

    def moved(self, change: Presence) -> None:
        self.rows.append(change.text)


class At:
    """One client without its loop, in a world with others."""

    def __init__(
        self,
        world: World,
        name: str = "ace",
        ticket_text: str = "",
        *,
        view: Any = None,
        make_policy: Callable[[Any], Policy | None] = lambda _: None,
        **settings: Any,
    ) -> None:
        self.world = world
        self.name = name
        # What it says is not in the world's books.
        world.shown = mock.Mock()  # type: ignore[method-assign]
        self.view: Any = view or View()
        key = ticket.key_text(world.relay.key.public)
        given: dict[str, Any] = {"ticket": ticket_text or key, "username": name, "password": "p"}
        given |= {"ephemeral": True} | settings
        self.member = Member(
            ClientConfig(**given),
            {},
            self.view,
            lambda: self.world.now,
            lambda: 5,
            "2026-11-21",
            lambda: world.psk,
            make_policy(self.view),
        )
        self.member.passwords.psk = world.psk
        self.up: Wire | None = None
        self.down: Wire | None = None
        self.wires: list[Wire] = []

    @property
    def phase(self) -> Phase:
        return self.member.conversation.phase

    def dial(self) -> None:
        world = self.world
        self.member.dialling()
        self.member.passwords.psk = self.member.passwords.stretch()
        self.up, self.down = Wire(world.capacity), Wire(world.capacity)
        self.wires = [*self.wires, self.up, self.down]
        self.conn = world.relay.accept(Sock(self.up, self.down), self.name)
        self.member.attach(Sock(self.down, self.up), world.now)

    def turn(self) -> None:
        self.member.read(self.world.now)
        self.member.open_records(self.world.now, self.world.now + 1, lambda: False)
        self.member.tick(self.world.now)
        self.member.send(self.world.now)
        self.member.show_status(self.world.now)

    def step(self, *, dials: bool = True) -> None:
        """Do what can be done, and let what was sent arrive."""
        if dials and self.member.wants_dial:
            self.dial()
        self.turn()
        for wire in self.wires:
            wire.carry()

    def carry(self, *, dials: bool = True) -> None:
        """Let everybody do what they can, for a second."""
        for _ in range(10):
            self.world.now += 0.1
            self.step(dials=dials)
            for person in self.world.people:
                person.turn()
            self.world.carry_all()
            self.world.relay.turn()

    def settle(self) -> None:
        for _ in range(3):
            self.carry()

    def cut(self) -> None:
        """End the connection, and let both ends know."""
        assert self.up is not None
        assert self.down is not None
        self.up.cut()
        self.down.cut()
        self.turn()  # what had arrived
        self.turn()
        self.world.relay.turn()

    def closes(self, closed: Closed, now: float) -> None:
        """Let its connection end so."""
        self.member.uplink._closed(closed, now)
        self.member.open_records(now, now, lambda: False)

    def type(self, content: str) -> None:
        self.member.act(Submit(content, is_pasted=False), self.world.now)

    def saw(self, row: str) -> bool:
        return any(row in shown for shown in self.view.rows)

    def expire(self) -> None:
        """Be away for longer than GRACE, and come back."""
        self.cut()
        self.world.wait(GRACE_S + 1)
        self.carry()
        self.carry()


@pytest.fixture
def at() -> Iterator[At]:
    with World(NAMES, IDENTITIES, grace_s=GRACE_S) as world:
        at = At(world)
        at.dial()
        for person in world.people:
            person.dial()
        at.carry()
        assert at.phase is Phase.LIVE
        yield at


def test_a_socket_error_is_noticed_at_once(at: At) -> None:
    at.cut()
    assert at.phase is Phase.OFFLINE
    assert at.saw("Connection lost. Retrying in")
    assert at.view.last is not None
    assert at.view.last.state.startswith("offline, retry in ")


def test_a_dead_peer_is_noticed_in_forty_seconds(at: At) -> None:
    at.turn()
    began_s = at.world.now
    while at.phase is Phase.LIVE:
        at.world.now += 1.0
        at.turn()
        assert at.world.now <= began_s + 40.0
    assert at.world.now >= began_s + 20.0 - 1.0


def test_a_relay_is_not_dead_because_nobody_reads_us(at: At) -> None:
    member, world = at.member, at.world
    at.view.unwritten_bytes = UNREAD_BYTES
    for _ in range(300):
        world.now += 1.0
        assert not member.is_reading(world.now)
        member.tick(world.now)
        member.send(world.now)
    assert not at.saw("Connection lost")
    at.view.unwritten_bytes -= 1
    assert member.is_reading(world.now)
    at.turn()
    # From now on silence counts again.
    world.now += PING_EVERY_S
    at.turn()
    world.now += PONG_WITHIN_S
    at.turn()
    assert at.phase is Phase.OFFLINE


def test_the_answer_to_an_upgrade_waits_for_no_reader(at: At) -> None:
    at.view.unwritten_bytes = UNREAD_BYTES
    at.cut()
    at.world.now += 1.0
    at.dial()
    assert at.member.is_reading(at.world.now)
    for _ in range(3):
        at.step()
        at.world.relay.turn()
    assert not at.member.is_reading(at.world.now)


def test_a_sleep_forces_a_ping(at: At) -> None:
    at.carry()
    at.member.woke(at.world.now)
    at.world.now += PONG_WITHIN_S
    assert PONG_WITHIN_S <= PING_EVERY_S
    at.turn()
    assert at.phase is Phase.OFFLINE


def test_whoever_wakes_offline_dials_at_once(at: At) -> None:
    at.cut()
    at.member.woke(at.world.now)
    at.turn()
    assert at.member.uplink.wants_dial


def test_enter_on_an_empty_input_retries_now(at: At) -> None:
    at.cut()
    assert not at.member.uplink.wants_dial
    at.member.act(Action.ENTER, at.world.now)
    at.turn()
    assert at.member.uplink.wants_dial


def test_lines_typed_offline_are_counted_and_said_once(at: At) -> None:
    at.cut()
    at.type("one")
    at.type("two")
    at.turn()
    assert at.view.last is not None
    assert at.view.last.waiting == 2
    at.member.act(Action.ENTER, at.world.now)
    at.carry()
    at.carry()
    assert at.phase is Phase.LIVE
    assert at.view.said_texts == ["one", "two"]
    assert at.view.pending == {}
    assert at.saw("Back after ")


def test_what_cannot_be_shown_takes_nothing_along(at: At) -> None:
    bea = at.world.people[0]
    bea.say()
    at.carry()
    for _ in range(3):
        bea.say()
    bea.turn()
    at.world.carry_all()
    at.world.relay.turn()
    at.step()
    with mock.patch.object(at.view, "said", side_effect=[ZeroDivisionError, None, None]) as said:
        with pytest.raises(ZeroDivisionError):
            at.turn()
        assert at.member.deadline(at.world.now) == at.world.now
        at.turn()
    assert said.call_count == 3


def lose_two(at: At) -> None:
    """Let two lines be sent, of which no echo comes for longer than GRACE."""
    at.type("one")
    at.type("two")
    at.turn()
    at.expire()
    assert at.phase is Phase.LIVE
    assert at.saw("2 lines were not sent: others may have joined. /resend or /drop.")
    assert list(at.view.pending.values()) == ["one", "two"]


def test_resend_says_again_what_was_not_sent(at: At) -> None:
    lose_two(at)
    at.type("/resend")
    assert list(at.view.pending.values()) == ["one", "two"]
    at.carry()
    assert at.view.said_texts == ["one", "two"]
    assert at.view.pending == {}
    assert at.saw("2 lines were sent again.")
    at.type("/resend")
    assert at.saw("There is nothing to resend.")


def test_drop_gives_up_what_was_not_sent(at: At) -> None:
    lose_two(at)
    at.type("/drop")
    at.carry()
    assert at.saw("2 lines were dropped.")
    assert at.view.pending == {}
    assert at.view.said_texts == []
    at.type("/drop")
    assert at.saw("There is nothing to drop.")


def test_a_direct_line_is_resent_to_the_same_person_only(at: At) -> None:
    peer = at.member.conversation.find("bea")
    number = at.member.conversation.say("secret", peer)
    at.view.typed(number, "secret", "bea", 5)
    at.turn()
    bea = at.world.people[0]
    for person in at.world.people:
        person.quit()
    at.expire()
    # Another bea, who is nobody's friend.
    bea.identity = Identity.generate()
    bea.start()
    bea.dial()
    at.carry()
    assert at.member.conversation.find("bea") is not None
    at.type("/resend")
    at.carry()
    assert at.saw("0 lines were sent again. bea is not here any more: /drop gives up what is left.")
    assert list(at.view.pending.values()) == ["secret"]


def test_who_leaves_with_lines_unsent_is_told(at: At) -> None:
    at.cut()
    at.type("one")
    at.member.quit("")
    assert at.member.exit_code == 1
    assert at.member.last_words == "1 line was not delivered."


def test_who_leaves_live_with_lines_reported_is_told(at: At) -> None:
    lose_two(at)
    at.member.quit("")
    at.carry()
    assert at.member.exit_code == 1
    assert at.member.last_words == "2 lines were not delivered."


def test_who_leaves_with_nothing_unsent_is_not(at: At) -> None:
    at.type("one")
    at.carry()
    at.member.quit("")
    at.carry()
    assert (at.member.exit_code, at.member.last_words) == (0, "")


def closed(status: int, *, authentic: bool = True) -> Closed:
    return Closed(Refused(status, "words", authentic=authentic), "why")


def test_a_name_held_by_a_session_cut_off_is_waited_for(at: At) -> None:
    at.cut()
    now = at.world.now
    at.closes(closed(409), now + 10)
    assert at.member._leaving.ended == ""
    at.closes(closed(409), now + NAME_S + 1)
    assert "the name ace is in use" in at.member._leaving.ended.lower()


def test_a_name_taken_says_the_network_is_waited_for_and_told_once(at: At) -> None:
    at.cut()
    for _ in range(3):
        at.closes(closed(409, authentic=False), at.world.now + 1_000)
    assert at.member._leaving.ended == ""
    assert sum(unproven("the name ace is in use") in row for row in at.view.rows) == 1


def test_a_relay_that_only_says_410_is_waited_for(at: At) -> None:
    dials = []
    for _ in range(3):
        at.closes(closed(410), at.world.now)
        dials.append(at.member.uplink.wants_dial)
        at.member.uplink.wants_dial = False
    assert dials == [True, False, False]
    assert at.member.uplink.retry_at_s is not None


def test_a_stranger_is_not_kept_waiting() -> None:
    with World(NAMES, IDENTITIES) as world:
        at = At(world)
        at.dial()
        at.closes(closed(503), world.now)
        assert at.member.exit_code == 3


def test_who_was_welcomed_once_is_no_stranger() -> None:
    with World(NAMES, IDENTITIES) as world:
        at = At(world)
        at.dial()
        while not at.member.conversation.is_welcomed:
            assert at.up is not None
            assert at.down is not None
            at.turn()
            at.up.carry()
            world.relay.turn()
            at.down.carry(40)
        at.cut()
        assert at.member.exit_code is None
        at.world.now += 2
        at.turn()
        assert at.member.uplink.wants_dial


def test_a_relay_that_shuts_down_says_so(at: At) -> None:
    loop = at.world.relay.loop
    loop.stop(at.world.now)
    loop.close(at.world.now + 60)
    assert at.down is not None
    at.down.carry()
    at.turn()
    assert at.saw("The relay says: The relay is shutting down.")
    assert at.saw("Connection lost. Retrying in")


def test_an_order_goes_to_the_relay_and_its_answer_is_a_notice(at: At) -> None:
    at.type("/kick bea")
    at.carry()
    assert at.saw("The relay says: Only an operator can do that. Nothing was changed.")
    assert not at.saw("forgotten")
    at.type("/pasword hunter2")
    assert at.saw("forgotten")
    assert at.saw("No command of that name. Near: /password")
    assert not at.saw("hunter2")


def test_an_order_does_not_wait_for_a_connection(at: At) -> None:
    at.cut()
    at.type("/kick bea")
    assert at.saw("Not now: you are not connected. Nothing was changed.")


def test_what_the_relay_refuses_can_be_said_again(at: At) -> None:
    relay = at.world.relay
    relay.orders("/mute ace")
    at.carry()
    at.type("hello")
    at.carry()
    assert at.saw("1 line was not sent. The relay says: You are muted. /resend or /drop.")
    relay.orders("/unmute ace")
    at.carry()
    at.type("/resend")
    at.carry()
    assert at.view.said_texts == ["hello"]
    assert not at.view.pending


def test_why_the_relay_ended_is_heard_though_nothing_can_be_sent(at: At) -> None:
    bea = at.world.people[0]
    for _ in range(5):
        bea.say()
    bea.turn()
    at.world.carry_all()
    at.world.relay.turn()
    at.world.relay.orders("/kick ace")
    at.world.relay.turn()
    for wire in at.wires:
        wire.carry()
    member, now = at.member, at.world.now
    pipe = member.uplink._pipe
    assert pipe is not None
    with mock.patch.object(pipe.sock, "send", side_effect=ConnectionResetError):
        member.read(now)
        member.open_records(now, now, lambda: True)  # one, since a key waits
        assert member.uplink._inbox
        pipe.link.ping(now)
        member.send(now)
        assert not at.saw("Connection lost")
        for _ in range(20):
            at.turn()
    assert at.view.said_texts == list(at.world.lines)
    assert at.saw("You were removed")
    assert member.uplink.retry_at_s is None


def test_what_came_before_a_dead_connection_is_shown_first(at: At) -> None:
    bea = at.world.people[0]
    for _ in range(5):
        bea.say()
    bea.turn()
    at.world.carry_all()
    at.world.relay.turn()
    for wire in at.wires:
        wire.carry()
    member, now = at.member, at.world.now
    member.read(now)
    member.open_records(now, now, lambda: True)
    assert member.uplink._inbox
    assert member.uplink._pipe is not None
    dead = [Closed(None, "no answer to a ping")]
    with mock.patch.object(ClientLink, "tick", return_value=dead):
        member.tick(now)
        member.tick(now)
    assert member.conversation.phase is Phase.LIVE
    member.open_records(now, now + 1, lambda: False)
    assert at.view.said_texts == list(at.world.lines)
    assert at.phase is Phase.OFFLINE


def test_who_is_listed_before_we_are_in() -> None:
    with World(NAMES, IDENTITIES, grace_s=GRACE_S) as world:
        world.settle()
        at = At(world)
        at.dial()
        member = at.member
        for _ in range(100):
            world.now += 0.1
            member.read(world.now)
            member.open_records(world.now, world.now, lambda: True)  # one in a turn
            if member.conversation.peers:
                break
            member.tick(world.now)
            member.send(world.now)
            for wire in at.wires:
                wire.carry()
            world.relay.turn()
        assert at.phase is Phase.JOINING
        at.type("/who")
        (peer,) = member.conversation.peers.values()
        assert at.saw(f"{peer.name} ")
        assert not at.saw("idle")


def test_a_view_that_breaks_over_a_welcome_does_not_unsettle(at: At) -> None:
    at.cut()
    at.world.wait(GRACE_S + 1)
    uplink = at.member.uplink
    uplink.was_welcomed = False  # as on the first connection

    broken = mock.patch.object(at.view, "answer", side_effect=ZeroDivisionError)
    with broken, pytest.raises(ZeroDivisionError):
        at.settle()
    assert (uplink.was_welcomed, uplink.lost_at_s) == (True, None)


def test_an_address_that_is_none_leaves_no_identity(tmp_path: Path) -> None:
    with World([], []) as world:
        home = tmp_path / "home"
        with pytest.raises(UsageError):
            At(world, ephemeral=False, home=str(home), url="ftp://x")
        assert not home.exists()


def test_a_password_that_cannot_be_told_any_more_is_said_to_be_untold(at: At) -> None:
    person = at.member.person
    person.tell_password_after(7, "new")
    at.member.conversation.leave()
    person.answered_order(Answered(7, Status.OK, ""))
    assert at.saw(UNTOLD)


def test_a_pin_that_cannot_be_kept_ends_us_though_we_have_another_name_soon(at: At) -> None:
    member, problem = at.member, "Cannot write known_peers: the disk is full."
    at.type("/nick eve")
    for _ in range(60):
        at.step()
        if at.phase is Phase.ENDED:
            break
        for person in at.world.people:
            person.turn()
        at.world.carry_all()
        at.world.relay.turn()
    assert member._renaming.has_left
    failed = [Failed(FileError(problem))]
    with mock.patch.object(member.conversation, "receive", return_value=failed):
        at.carry(dials=False)
    assert at.saw(f"{problem} /quit leaves.")
    assert not at.saw("You stay")
    assert member.conversation.username == "ace"
    assert (member.fd, member.wants_dial) == (None, False)
