"""One person's side of one room: what is read there, and what is said.

PROTOCOL.md 4 and 5. Owned by the client's loop, which hands in what the link yields and takes out
what must be sent; it never sees a socket. A Reader makes sense of the log, an Outbox holds what we
say until its echo proves that it is there. Between them stands this: what the first finds reaches
the second before anything more is sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Final, assert_never

from common import names
from common.crypto import card as cards
from common.crypto import ticket
from common.crypto.card import Card
from common.crypto.hashing import random_bytes
from common.crypto.identity import Identity
from common.errors import (
    FileError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    UsageError,
)
from common.member import contents, trust
from common.member.contents import Away, Content, Password, Text
from common.member.events import (
    AwayChanged,
    Back,
    Came,
    Event,
    Failed,
    Joined,
    Left,
    Line,
    Noticed,
    PasswordTold,
    Peer,
    Said,
    Trouble,
    Unpinned,
    Warned,
)
from common.member.outbox import Outbox
from common.member.reader import CardReplaced, Found, Reader
from common.member.trust import Grade, Pin, Pins, Standing
from common.wire import records
from common.wire.records import (
    Answer,
    Delivered,
    Hello,
    Join,
    Kind,
    Member,
    MemberId,
    Sent,
    Seq,
    Welcome,
)

MAX_WAITING: Final = 10_000
"""Lines held while offline."""
MET_S: Final = 60.0
"""Who stays so long is remembered, and sooner who says something: others may be passing through."""
MAX_NOTICES: Final = 16
"""Held while we join; a relay has one or two to say to a newcomer."""


class Phase(Enum):
    """Where a conversation stands."""

    OFFLINE = auto()
    JOINING = auto()
    CATCHING_UP = auto()
    LIVE = auto()
    ENDED = auto()


class Step(Enum):
    """What moves a conversation from one phase to the next."""

    OPENED = auto()  # a link is open; our JOIN leaves
    RESUMED = auto()  # WELCOME: our seat is ours again, what we missed follows
    CAUGHT_UP = auto()  # all that was missed is processed, or our own card came
    LOST = auto()  # the link is gone
    LEFT = auto()  # we said goodbye, or the relay's last word stops us


# A conversation outlives its links. OFFLINE it keeps members, chains, cursors and outbox. A link
# that opens makes it JOINING: a fresh JOIN ends in LIVE with our own CARD; one that resumes is
# CATCHING_UP for as many records as WELCOME counts. Only LIVE may send, because only then is it
# known which of our records are in the log. ENDED is final. A cell that is missing is a bug of
# ours.
TRANSITIONS: Final[dict[tuple[Phase, Step], Phase]] = {
    (Phase.OFFLINE, Step.OPENED): Phase.JOINING,
    (Phase.OFFLINE, Step.LOST): Phase.OFFLINE,
    (Phase.OFFLINE, Step.LEFT): Phase.ENDED,
    (Phase.JOINING, Step.RESUMED): Phase.CATCHING_UP,
    (Phase.JOINING, Step.CAUGHT_UP): Phase.LIVE,
    (Phase.JOINING, Step.LOST): Phase.OFFLINE,
    (Phase.JOINING, Step.LEFT): Phase.ENDED,
    (Phase.CATCHING_UP, Step.CAUGHT_UP): Phase.LIVE,
    (Phase.CATCHING_UP, Step.LOST): Phase.OFFLINE,
    (Phase.CATCHING_UP, Step.LEFT): Phase.ENDED,
    (Phase.LIVE, Step.LOST): Phase.OFFLINE,
    (Phase.LIVE, Step.LEFT): Phase.ENDED,
    (Phase.ENDED, Step.LOST): Phase.ENDED,
    (Phase.ENDED, Step.LEFT): Phase.ENDED,
}


@dataclass(slots=True)
class _Arrival:
    """How far we have come in on this connection.

    Attributes:
        is_fresh: whether we join afresh, and do not resume.
        is_asking: whether the JOIN has no answer yet.
        to_catch_up: missed records that follow.
        missed: messages of others among those that did.
        notices: what the relay said meanwhile, for `Joined`.
    """

    is_fresh: bool
    is_asking: bool = True
    to_catch_up: int = 0
    missed: int = 0
    notices: list[str] = field(default_factory=list)


class Conversation:
    """See the module; one per room, for as long as its user stays."""

    def __init__(
        self,
        *,
        key: bytes,
        room: str,
        username: str,
        identity: Identity,
        secret: bytes | None,
        pins: Pins,
        today: str,
        at_ms: Callable[[], int],
    ) -> None:
        """Prepare to join.

        Args:
            key: the relay's, 32 bytes.
            room: wire name.
            username: checked.
            identity: ours.
            secret: the invite secret, 16 bytes, or None.
            pins: whom we know.
            today: YYYY-MM-DD, for new pins.
            at_ms: wall clock, for the numbers of lines.
        """
        self.phase = Phase.OFFLINE
        self.username = username
        self.identity = identity
        self.room = room
        self.pins = pins
        self._room_id = ticket.room_id(key, room)
        self._server_id = ticket.server_id(key)
        self._secret = secret
        self._today = today
        self._at_ms = at_ms
        self._session = random_bytes(records.SESSION_BYTES)
        self._reader = self._new_reader()
        self._outbox = Outbox(identity, self._room_id, self._session)
        self._arrival = _Arrival(is_fresh=True, is_asking=False)
        self._to_pin: dict[MemberId, float | None] = {}
        """Who is not pinned in the file yet, and from when on to do it: None for a newcomer."""

    def _new_reader(self) -> Reader:
        judge = partial(
            trust.judge,
            self.pins,
            self._server_id,
            room_id=self._room_id,
            secret=self._secret,
            today=self._today,
        )
        return Reader(
            room_id=self._room_id,
            session=self._session,
            identity=self.identity.public,
            username=self.username,
            judge=judge,
        )

    # --- What a view asks.

    @property
    def peers(self) -> dict[MemberId, Peer]:
        """Who is here beside us, by number."""
        return self._reader.peers

    @property
    def waiting(self) -> int:
        """How many lines are neither in the log nor given up."""
        return self._outbox.waiting

    def waiting_lines(self) -> list[Line]:
        """Return them."""
        return self._outbox.waiting_lines()

    @property
    def has_unsealed(self) -> bool:
        """Whether a line has not been sealed yet."""
        return self._outbox.has_unsealed

    @property
    def members(self) -> int:
        """How many are here, we included once we have joined."""
        return len(self.peers) + (self._reader.joined_seq > 0)

    @property
    def is_welcomed(self) -> bool:
        """Whether the relay has given this session a place in a log."""
        return bool(self._reader.log_id)

    @property
    def messages_s(self) -> float:
        """What the relay takes a second; where it is a peer's, more (PROTOCOL.md 2)."""
        return self._outbox.messages_s

    @messages_s.setter
    def messages_s(self, messages_s: float) -> None:
        self._outbox.messages_s = messages_s

    def find(self, name: str) -> Peer | None:
        """Return the present member of that name, in any letter case."""
        key = names.key(name)
        for peer in self.peers.values():
            if names.key(peer.name) == key:
                return peer
        return None

    def pin(self, peer: Peer) -> Pin | None:
        """Return what the name of a member is pinned to."""
        return self.pins.find(self._server_id, peer.name)

    # --- Intents.

    def say(self, text: str, to: Peer | None = None) -> int:
        """Put a text into the outbox, for the room or one trusted member.

        Returns:
            The number that its echo will carry.

        Raises:
            UsageError: if it cannot be sent; nothing is queued.
        """
        return self._queue(Text(text), to)

    def tell_password(self, password: str) -> None:
        """Tell all trusted members a password for the relay.

        Raises:
            UsageError: as `say`.
        """
        self._queue(Password(password), None)

    def tell_away(self, reason: str, to: Peer | None = None) -> None:
        """Tell the room, or one who came later, that we are away; "": that we are back.

        Raises:
            UsageError: as `say`.
        """
        self._queue(Away(reason), to)

    def _queue(self, content: Content, to: Peer | None) -> int:
        contents.check(content)
        if to is not None and (self.peers.get(to.number) is not to or not to.is_trusted):
            raise UsageError(f"{to.name} has left or is not trusted. Nothing was sent.")
        if self.phase is Phase.ENDED:
            raise UsageError("The conversation has ended. Nothing was sent.")
        if self.waiting >= MAX_WAITING:
            raise UsageError(f"{MAX_WAITING} lines wait already. Nothing was sent.")
        self._met(to)
        return self._outbox.add(content, to, self._at_ms())

    def order(self, text: str) -> int:
        """Send an operator's order at once (PROTOCOL.md 4.5).

        Returns:
            The number that its answers will carry, until the connection is gone.

        Raises:
            UsageError: if we are not connected; nothing is sent.
        """
        if self.phase is not Phase.LIVE:
            raise UsageError("Not now: you are not connected. Nothing was changed.")
        return self._outbox.order(text)

    def leave(self) -> None:
        """Say goodbye: LEAVE is our last record; its echo is `Gone`."""
        if self.phase is Phase.LIVE:
            self._outbox.leave()
        self._outbox.drop_unsealed()
        self._step(Step.LEFT)

    def end(self) -> list[Event]:
        """Stop for good: the relay's decision, or a fault of its."""
        self._step(Step.LEFT)
        return self._unheard()

    def trust(self, peer: Peer) -> None:
        """Pin the identity a member has now, as first seen.

        Raises:
            FileError: if the pins cannot be kept.
        """
        self._pin(peer, Grade.TOFU)

    def verify(self, peer: Peer) -> None:
        """Note that the safety numbers were compared and are the same.

        Raises:
            FileError: if the pins cannot be kept.
        """
        self._pin(peer, Grade.VERIFIED)

    def _pin(self, peer: Peer, grade: Grade) -> None:
        pin = Pin(peer.card.identity, grade, self._today)
        self.pins.replace(self._server_id, peer.name, pin)
        self._reader.judge(peer)
        # Pinned is what it is now, so nothing waits for it that it might have lost by this.
        self._outbox.judged(peer)

    # --- The link's side.

    def hello(self) -> Hello:
        """Return what a new link says first."""
        return Hello(self._session, self.identity.public, self.room, self.username)

    def opened(self, handshake_hash: bytes, now: float) -> None:
        """Start to join, or to resume, on a link that has opened."""
        self._step(Step.OPENED)
        reader = self._reader
        self._arrival = _Arrival(is_fresh=reader.transcript is None)
        card = self._outbox.card(now) or self._make_card(now)
        room_seq = Seq(reader.transcript.seq) if reader.transcript else Seq(0)
        log_id = reader.log_id if reader.transcript else bytes(records.LOG_ID_BYTES)
        auth = cards.prove(self.identity, card, handshake_hash)
        join = Join(auth, log_id, room_seq, reader.mail_seq, card.encoded)
        sent = Sent(Kind.JOIN, records.RELAY, join.encode())
        self._outbox.join(sent, is_fresh=self._arrival.is_fresh)

    def _make_card(self, now: float) -> Card:
        card = cards.make(
            self.identity,
            self._session,
            self._room_id,
            self.username,
            self._reader.new_card_key(),
            self._secret,
        )
        self._outbox.replace_card(card, now)
        return card

    def lost(self) -> list[Event]:
        """Note that the link is gone."""
        if self.phase is Phase.JOINING and self._reader.transcript is None:
            # Cut off before the last MEMBER: this session may be a member that knows nobody.
            return self.rejoin()
        events = self.open_held() + self._unheard()
        self._outbox.lost()
        self._step(Step.LOST)
        return events

    def rejoin(self) -> list[Event]:
        """Give the session up, as 410 demands.

        What was sent without echo is reported, not repeated: it may be in the log, and others may
        have joined. So is what was meant for one member, who may be another now.
        """
        events = self.open_held() + self._unheard()
        self._step(Step.LOST)
        # Nothing of an earlier session may be used again (PROTOCOL.md 4.3).
        self._session = random_bytes(records.SESSION_BYTES)
        self._reader = self._new_reader()
        self._to_pin.clear()
        return events + self._outbox.renew(self._session)

    def receive(self, record: Delivered, now: float) -> list[Event]:
        """Take a record from the relay; a message may be held until `open_held`.

        Returns:
            What happened; if the last is `Failed`, no more records of this connection may come.
        """
        if self._reader.is_out:
            # It came with our LEAVE, and nobody seals to us any more.
            return []
        events: list[Event] = []
        if record.kind is not Kind.MESSAGE or record.sender == self._reader.number:
            # It may change what a message means.
            events += self.open_held()
        try:
            return events + self._receive(record, now)
        except ProtocolError as error:
            failed = Failed(RemoteProtocolError(str(error)))
        except FileError as error:
            failed = Failed(error)
        # It takes nothing back.
        return [*events, *self.open_held(), failed]

    def open_held(self) -> list[Event]:
        """Open the messages that are held, for whoever hands in records has no more at hand."""
        return self._settle(self._reader.open_held())

    def outgoing(self, now: float) -> list[Sent]:
        """Return what must leave now, sealing what waits as far as limits allow."""
        if self.phase is Phase.LIVE:
            self._send_waiting(now)
        return self._outbox.outgoing()

    def _send_waiting(self, now: float) -> None:
        transcript = self._reader.transcript
        if transcript is None:
            raise LocalProtocolError("sending before joining")
        self._reader.drop_old_key(now)
        if self._outbox.card(now) is None:
            self._make_card(now)
            self._outbox.send_card()
        self._outbox.seal(self.peers, transcript, now)

    def deadline(self) -> float | None:
        """Return when `outgoing` or `tick` is next worth a call."""
        if self.phase is not Phase.LIVE:
            return None
        times = (self._reader.deadline(), self._outbox.deadline(), *self._to_pin.values())
        return min((at for at in times if at is not None), default=None)

    # --- Pins.

    def tick(self, now: float) -> list[Event]:
        """Pin who is known well enough by now."""
        for number, due_s in self._to_pin.items():
            if due_s is None:
                self._to_pin[number] = now + MET_S
        due = [n for n, due_s in self._to_pin.items() if (due_s or 0.0) <= now]
        return self._keep_pins([self.peers[number] for number in due])

    def close(self) -> list[Event]:
        """Pin who is here still: we shall not see whether they stay."""
        return self._keep_pins([self.peers[number] for number in self._to_pin])

    def _met(self, peer: Peer | None) -> None:
        """Note that there is a reason to remember a member; None: ourselves."""
        if peer is not None and peer.number in self._to_pin:
            self._to_pin[peer.number] = 0.0

    def _keep_pins(self, peers: Sequence[Peer]) -> list[Event]:
        """Write pins down, all at once; another client of our user may have had other ones."""
        events: list[Event] = []
        for peer in peers:
            self._to_pin.pop(peer.number, None)
        trusted = [peer for peer in peers if peer.is_trusted]
        if not trusted:
            return events
        try:
            for peer in trusted:
                # Anew: of many newcomers the first are forgotten.
                self._reader.judge(peer)
            if not self.pins.keep(self._server_id, [peer.name for peer in trusted]):
                events.append(Unpinned())
            for peer in trusted:
                self._reader.judge(peer)
                if not peer.is_trusted:
                    events += self._outbox.judged(peer)
                if peer.standing is Standing.CHANGED:
                    events.append(Warned(Trouble.CHANGED, peer, self._at_ms()))
        except FileError as error:
            events.append(Failed(error))
        return events

    # --- Records in.

    def _step(self, step: Step) -> None:
        self.phase = TRANSITIONS[self.phase, step]

    def _receive(self, record: Delivered, now: float) -> list[Event]:
        match record.kind:
            case Kind.WELCOME:
                return self._on_welcome(Welcome.decode(record.body))
            case Kind.MEMBER:
                return self._on_member(Member.decode(record.body))
            case Kind.NOTICE:
                return self._on_notice(records.notice_text(record.body))
            case Kind.REFUSAL:
                return self._outbox.refused(record)
            case Kind.CARD | Kind.LEAVE | Kind.MESSAGE | Kind.SENDER_KEY:
                return self._on_stream(record, now)
            case Kind.ANSWER:
                return self._outbox.answered(Answer.decode(record.body))
            case Kind.JOIN | Kind.ERROR | Kind.COMMAND:
                raise ProtocolError(f"{record.kind.name} from the relay")
            case _:
                assert_never(record.kind)

    def _on_welcome(self, welcome: Welcome) -> list[Event]:
        if self.phase is not Phase.JOINING or not self._arrival.is_asking:
            raise ProtocolError("a WELCOME that was not asked for")
        self._arrival.is_asking = False
        if self._reader.transcript is not None:
            if not self._reader.agrees(welcome):
                raise ProtocolError("the relay's log is not the one we know")
            self._step(Step.RESUMED)
            self._arrival.to_catch_up = welcome.count
            return self._catch_up()
        if welcome.resumed or not welcome.number:
            raise ProtocolError("a WELCOME that was not asked for")
        self._reader.begin(welcome)
        return []

    def _on_member(self, member: Member) -> list[Event]:
        if self.phase is not Phase.JOINING:
            raise ProtocolError("a MEMBER that was not announced")
        self._reader.add_member(member)
        return []

    def _on_notice(self, text: str) -> list[Event]:
        if self.phase is not Phase.JOINING or not self._arrival.is_fresh:
            return [Noticed(text)]
        # It is for whoever joins, who is told so first.
        if len(self._arrival.notices) < MAX_NOTICES:
            self._arrival.notices.append(text)
        return []

    def _unheard(self) -> list[Event]:
        """Return what the relay said to one who was to join, and never did."""
        notices, self._arrival.notices = self._arrival.notices, []
        return [Noticed(text) for text in notices]

    def _on_stream(self, record: Delivered, now: float) -> list[Event]:
        if self._arrival.is_asking:
            raise ProtocolError("a stream record before WELCOME")
        reader = self._reader
        events: list[Event] = []
        is_room = reader.check(record)
        if record.sender == reader.number:
            events += self._outbox.echoed(
                record,
                reader.peers,
                is_room=is_room,
                is_catching_up=self.phase is Phase.CATCHING_UP,
            )
        events += self._settle(reader.receive(record, now, is_room=is_room))
        if self.phase is Phase.CATCHING_UP:
            self._arrival.to_catch_up -= 1
            events += self._catch_up()
        return events

    def _settle(self, found: Sequence[Found]) -> list[Event]:
        """Let the outbox know what the reader found, before anything more is sealed."""
        events: list[Event] = []
        for one in found:
            match one:
                case Said():
                    self._arrival.missed += self.phase is Phase.CATCHING_UP
                    self._met(one.peer)
                    events.append(one)
                case AwayChanged() | PasswordTold():
                    self._met(one.peer)
                    events.append(one)
                case Came():
                    self._to_pin[one.peer.number] = None
                    events.append(one)
                case CardReplaced():
                    events += self._outbox.card_replaced(one.peer)
                case Left():
                    if self._to_pin.pop(one.peer.number, None) == 0.0:
                        events += self._keep_pins([one.peer])
                    events += [one, *self._outbox.left(one.peer)]
                case Joined():
                    if self.phase is Phase.JOINING:
                        self._step(Step.CAUGHT_UP)
                    self._to_pin.update((peer.number, 0.0) for peer in one.others)
                    notices, self._arrival.notices = self._arrival.notices, []
                    events.append(one._replace(notices=tuple(notices)))
                case _:
                    events.append(one)
        return events

    def _catch_up(self) -> list[Event]:
        """See whether all that was missed is here; then what has no echo was never logged."""
        if self._arrival.to_catch_up:
            return []
        if not self._reader.joined_seq:
            raise ProtocolError("resumed without our CARD")
        events = self.open_held()
        self._step(Step.CAUGHT_UP)
        events.append(Back(self._arrival.missed))
        return events + self._outbox.caught_up(self.peers)
