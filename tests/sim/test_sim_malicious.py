"""A relay that lies to one client, and what that client's user reads (PROTOCOL.md 1, 4.4, 5.3, 6).

The clients are whole but for their loops; the relay's lies stand between its log and one of them.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest import mock

import pytest

from common.crypto import card as cards
from common.crypto import ticket
from common.crypto.card import Card
from common.crypto.identity import Identity
from common.crypto.primitives import CardKey
from common.member.conversation import Phase
from common.relay.room import Roster
from common.view.view import Summary
from common.wire import records
from common.wire.link import Closed
from common.wire.records import RELAY, Delivered, Kind, Member, MemberId, Sent, Seq, Welcome
from tests.sim.test_sim_member import At
from tests.sim.test_sim_people import Room, rows, same_person, stretched
from tests.sim.world import World

UNAUTHENTIC = (
    "A message claiming to be from {} failed authentication: it is forged or replayed, or the "
    "relay shows you different histories."
)
CHANGED = "{0}'s identity key has CHANGED. Not sending to or showing {0} until /trust {0}."
NOT_INVITED = "{0} was not invited. Not sending to or showing {0}."
SECRET = bytes(range(16))
GHOST = MemberId(66)
SENT = (Kind.LEAVE, Kind.MESSAGE, Kind.SENDER_KEY)


class Liar(deque[Delivered | Closed]):
    """The relay as one client knows it; in the place of its inbox.

    Attributes:
        tell: what is told of a record of the log.
        ghost: the number of a member that the relay made.
        seen: all that came from the log, as it was.
        stolen: what the client sent to it.
    """

    def __init__(self, at: At) -> None:
        super().__init__()
        self.tell: Callable[[Delivered], list[Delivered]] = lambda record: [record]
        self.ghost = GHOST
        self.seen: list[Delivered] = []
        self.stolen: list[Sent] = []
        self._conversation = at.member.conversation
        transcript = self._conversation._reader.transcript
        self._seqs = {
            True: transcript.seq if transcript else 0,
            False: self._conversation._reader.mail_seq,
        }
        self._unechoed: deque[Sent] = deque()
        self._outgoing = self._conversation.outgoing
        self._conversation.outgoing = self._take  # type: ignore[method-assign]
        at.member.uplink._inbox = self

    def append(self, record: Delivered | Closed) -> None:
        """Take a record of the log, and tell of it what we like."""
        if isinstance(record, Closed):
            super().append(record)
            return
        self.seen.append(record)
        if record.kind is Kind.WELCOME:
            self._seqs = {True: Welcome.decode(record.body).room_seq, False: 0}
        if record.kind in SENT and record.sender == self._conversation._reader.number:
            self._unechoed.popleft()
        for told in self.tell(record):
            self.say(told)
        self._echo()

    def say(self, record: Delivered) -> None:
        """Tell the client of a record, as the next of its stream."""
        if record.kind in (Kind.CARD, *SENT):
            is_room = not record.to and record.kind is not Kind.SENDER_KEY
            self._seqs[is_room] += 1
            record = record._replace(seq=Seq(self._seqs[is_room]))
        super().append(record)

    def _take(self, now: float) -> list[Sent]:
        out = self._outgoing(now)
        self._unechoed += [sent for sent in out if sent.kind in SENT]
        self.stolen += [sent for sent in out if sent.to == self.ghost]
        self._echo()
        return [sent for sent in out if sent.to != self.ghost]

    def _echo(self) -> None:
        """Echo what was for the ghost, in its turn."""
        while self._unechoed and self._unechoed[0].to == self.ghost:
            sent = self._unechoed.popleft()
            self.say(
                Delivered(sent.kind, self._conversation._reader.number, self.ghost, Seq(0), 5, b"")
            )


@pytest.fixture
def room() -> Iterator[Room]:
    with (
        mock.patch.object(ticket, "derive_psk", stretched),
        # It hands on what an honest relay would refuse.
        mock.patch.object(Roster, "check"),
        World([], [], grace_s=30.0) as world,
    ):
        room = Room(world)
        room.set_password("p")
        world.psk = world.relay.server.psk
        yield room


def invited(room: Room, name: str) -> At:
    at = At(room.world, name, ticket.encode(ticket.Ticket(room.world.relay.key.public, SECRET)))
    room.all.append(at)
    return at


def joins(room: Room, at: At) -> At:
    if at not in room.all:
        room.all.append(at)
    at.dial()
    room.carry()
    assert at.phase is Phase.LIVE
    return at


def forged(room: Room, name: str) -> Card:
    """A card that the relay made: it has no SECRET, and no identity but its own."""
    room_id = ticket.room_id(room.world.relay.key.public, "")
    public = CardKey.generate().public
    return cards.make(Identity.generate(), secrets.token_bytes(16), room_id, name, public, None)


def card_record(number: int, card: Card) -> Delivered:
    return Delivered(Kind.CARD, MemberId(number), RELAY, Seq(0), 5, card.encoded)


def substitutes(liar: Liar, card: Card) -> None:
    """Let the first member that is listed have another card."""
    liar.ghost = MemberId(1)
    member = records.from_relay(Kind.MEMBER, Member(liar.ghost, card.encoded).encode())
    liar.tell = lambda record: [member if record.kind is Kind.MEMBER else record]


def status(at: At) -> tuple[str, ...]:
    assert isinstance(at.view.last, Summary)
    return at.view.last.changed


def digits(at: At, name: str) -> list[str]:
    at.view.rows.clear()
    at.type(f"/verify {name}")
    return [row for row in at.view.rows if row.startswith("    ")]


# --- A card in the place of another.


def test_a_substituted_card_of_somebody_known(room: Room) -> None:
    ace, bea, col = room.seat("ace", "bea", "col")
    assert not rows(ace, "CHANGED")
    liar = Liar(ace)
    card = forged(room, "bea")
    bea.member.quit("")
    room.carry(3)
    liar.ghost = MemberId(4)
    liar.tell = lambda record: [
        card_record(record.sender, card) if record.kind is Kind.CARD else record
    ]
    again = joins(room, same_person(bea))
    assert rows(ace, CHANGED.format("bea"))
    assert status(ace) == ("bea",)
    # Not a word to the stranger, by any way; to everybody else, what is said goes out.
    ace.type("/msg bea psst")
    assert rows(ace, "bea is not trusted. Nothing was sent.")
    ace.type("hello")
    room.carry()
    assert liar.stolen == []
    assert [sent.to for sent in liar.seen if sent.kind is Kind.SENDER_KEY] == [3]
    # But ace's list is another now, and so nobody believes what ace says, nor ace them.
    assert rows(col, UNAUTHENTIC.format("ace"))
    assert rows(again, "A message from ace could not be read: ace gave you no key for it")
    for other in (again, col):
        assert other.view.said_texts == []
    col.type("what is it?")
    room.carry()
    assert rows(ace, UNAUTHENTIC.format("col"))
    # The warning stays, and so does the way out.
    assert status(ace) == ("bea",)
    ace.type("/who")
    assert [row for row in rows(ace, "bea") if "CHANGED" in row and "!!" not in row]


def test_a_card_substituted_at_first_contact_is_found_by_its_number(room: Room) -> None:
    (bea,) = room.seat("bea")
    ace = At(room.world, "ace")
    substitutes(Liar(ace), forged(room, "bea"))
    joins(room, ace)
    assert rows(ace, "First seen: bea (fingerprint ")
    # Until somebody says something, only the number tells.
    assert digits(ace, "bea") != digits(bea, "ace")
    assert len(digits(ace, "bea")) == len(digits(bea, "ace")) == 2
    bea.type("hello")
    room.carry()
    # bea sealed to ace as bea, and ace opens as if from another.
    assert rows(ace, "A key from bea could not be opened.")
    assert rows(ace, "A message from bea could not be read: bea gave you no key for it")
    assert ace.view.said_texts == []


def test_with_the_secret_a_card_cannot_be_substituted(room: Room) -> None:
    joins(room, invited(room, "bea"))
    ace = invited(room, "ace")
    liar = Liar(ace)
    substitutes(liar, forged(room, "bea"))
    joins(room, ace)
    assert rows(ace, NOT_INVITED.format("bea"))
    ace.type("the door code is 1234")
    room.carry()
    assert liar.stolen == []
    ace.type("/msg bea psst")
    assert rows(ace, "bea is not trusted. Nothing was sent.")
    ace.type("/who")
    assert rows(ace, "bea  not invited")


# --- Members that are none, or are not told of.


def test_a_ghost_is_listed_and_breaks_the_log(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    liar = Liar(ace)
    liar.say(card_record(GHOST, forged(room, "ghost")))
    room.carry()
    assert rows(ace, "ghost joined (fingerprint ")
    ace.type("/who")
    assert rows(ace, "ghost  first seen")
    # What is said is sealed to it, as to anybody listed: so it must be seen, and it is.
    ace.type("hello")
    room.carry()
    assert [sent.kind for sent in liar.stolen] == [Kind.SENDER_KEY]
    assert rows(bea, UNAUTHENTIC.format("ace"))
    bea.type("what is it?")
    room.carry()
    assert rows(ace, UNAUTHENTIC.format("bea"))
    assert ace.view.said_texts == ["hello"]
    assert bea.view.said_texts == ["what is it?"]


def test_with_the_secret_a_ghost_is_given_nothing(room: Room) -> None:
    ace = joins(room, invited(room, "ace"))
    joins(room, invited(room, "bea"))
    liar = Liar(ace)
    liar.say(card_record(GHOST, forged(room, "ghost")))
    room.carry()
    assert rows(ace, NOT_INVITED.format("ghost"))
    ace.type("the door code is 1234")
    room.carry()
    assert liar.stolen == []


def test_a_hidden_member_breaks_the_log(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    col = At(room.world, "col")
    liar = Liar(col)

    def hide(record: Delivered) -> list[Delivered]:
        if record.kind is Kind.WELCOME:
            welcome = Welcome.decode(record.body)
            return [records.from_relay(Kind.WELCOME, replace(welcome, count=1).encode())]
        is_ace = record.kind is Kind.MEMBER and Member.decode(record.body).number == 1
        return [] if is_ace or record.sender == 1 else [record]

    liar.tell = hide
    joins(room, col)
    assert rows(col, "2 here: col, bea.")
    bea.type("who is here?")
    room.carry()
    assert rows(col, UNAUTHENTIC.format("bea"))
    col.type("I do not see ace")
    room.carry()
    assert rows(bea, UNAUTHENTIC.format("col"))
    assert rows(ace, "A message from col could not be read: col gave you no key for it")
    for other in (ace, bea):
        assert "I do not see ace" not in other.view.said_texts


def test_one_who_left_and_is_kept_listed_breaks_the_log(room: Room) -> None:
    ace, bea, col = room.seat("ace", "bea", "col")
    liar = Liar(ace)
    liar.tell = lambda record: [] if record.kind is Kind.LEAVE else [record]
    col.member.quit("")
    room.carry(3)
    assert ace.member.conversation.members == 3
    bea.type("col is gone")
    room.carry()
    assert rows(ace, UNAUTHENTIC.format("bea"))
    assert ace.view.said_texts == []


# --- Old records, and other histories.


def test_an_old_stay_replayed_is_loud(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    liar = Liar(ace)
    bea.type("yes, do it")
    room.carry()
    card = bea.member.conversation._outbox.card(room.world.now)
    assert card is not None
    bea.member.quit("")
    room.carry(3)
    old = [record for record in liar.seen if record.kind in (Kind.SENDER_KEY, Kind.MESSAGE)]
    assert [record.kind for record in old] == [Kind.SENDER_KEY, Kind.MESSAGE]
    liar.say(card_record(GHOST, card))
    for record in old:
        liar.say(record._replace(sender=GHOST))
    room.carry()
    # The relay may list a former member as present; whose words it repeats is not believed.
    assert rows(ace, "bea joined")
    assert rows(ace, UNAUTHENTIC.format("bea"))
    assert ace.view.said_texts == ["yes, do it"]


def test_an_old_message_replayed_is_loud(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    liar = Liar(ace)
    bea.type("yes")
    room.carry()
    liar.say(liar.seen[-1])
    room.carry()
    assert rows(ace, UNAUTHENTIC.format("bea"))
    assert ace.view.said_texts == ["yes"]


@pytest.mark.parametrize("is_dropped", [False, True], ids=["in another order", "without one"])
def test_two_members_shown_different_logs(room: Room, is_dropped: bool) -> None:
    ace, bea, col = room.seat("ace", "bea", "col")
    liar = Liar(ace)
    held: list[Delivered] = []

    def other_order(record: Delivered) -> list[Delivered]:
        if record.kind is Kind.MESSAGE and len(held) < 2:
            held.append(record)
            return [] if len(held) < 2 else [held[1]] if is_dropped else held[::-1]
        return [record]

    liar.tell = other_order
    bea.type("shall we?")
    col.type("no")
    room.carry()
    # Each was sealed before the other came, so no single one of them proves anything.
    told = [message.text for message in bea.view.messages]
    assert sorted(told) == ["no", "shall we?"]
    assert ace.view.said_texts == (told[1:] if is_dropped else told[::-1])
    assert not rows(ace, "authentication")
    # The next one does, on every screen.
    col.type("what was that?")
    room.carry()
    assert rows(ace, UNAUTHENTIC.format("col"))
    assert "what was that?" not in ace.view.said_texts
    ace.type("hello?")
    room.carry()
    for other in (bea, col):
        assert rows(other, UNAUTHENTIC.format("ace"))
        assert "hello?" not in other.view.said_texts
