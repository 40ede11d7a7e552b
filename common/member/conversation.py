"""One person's side of one room: members, chains, cursors, outbox.

PROTOCOL.md 4 and 5. Owned by the client's loop, which hands in what the link yields and takes out
what must be sent; it never sees a socket. Everything a member lets out of the room passes `_open`,
and everything we say waits in the outbox until its echo proves that it is in the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple, assert_never

from common import names
from common.crypto import card as cards
from common.crypto import ticket
from common.crypto.card import Card
from common.crypto.chain import (
    CHAIN_AGE_S,
    CHAIN_MESSAGES,
    ROOM_DEST,
    SCOPE_ROOM,
    Failure,
    ReceiveChains,
    Sealed,
    SendChain,
    peek,
    peek_key,
)
from common.crypto.hashing import random_bytes
from common.crypto.identity import Identity
from common.crypto.primitives import CardKey, RecipientKey, VerifyKey
from common.crypto.transcript import Transcript
from common.errors import (
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    Unreadable,
    UsageError,
)
from common.member import contents, trust
from common.member.contents import Away, Content, Password, Text, Unsupported
from common.member.trust import TRUSTED, Grade, Pin, Pins, Standing
from common.wire import records
from common.wire.records import (
    Delivered,
    Hello,
    Join,
    Kind,
    Member,
    MemberId,
    Reason,
    Sent,
    Seq,
    Welcome,
)

CARD_AGE_S: Final = 24 * 3600.0
OLD_CARD_KEY_S: Final = 600.0
"""How long the former card key still opens, after the echo of the new card."""
MESSAGES_S: Final = 10.0
MESSAGES_BURST: Final = 40.0
"""What the relay takes without holding us up (PROTOCOL.md 9)."""
KEYS_PER_TURN: Final = 16
"""SENDER_KEYs sealed before the loop may look at the keyboard again."""
MAX_MEMBERS: Final = 1_100
"""PROTOCOL.md 9 has 1 000; those that replace a session may come on top."""
MAX_WAITING: Final = 10_000
"""Lines held while offline."""
OPENED_TOGETHER: Final = 16
"""Messages held until they are opened: one verification for each sender, some 30 us for each."""


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


@dataclass(slots=True, eq=False)
class Peer:
    """Another member.

    Attributes:
        standing: whether we seal to and show it.
        is_new: whether its name was never seen on this machine.
        came_seq: seq of the CARD by which it joined; 0 if it was here before us.
        came_ms: the relay's clock at that CARD; 0 if it was here before us.
        away: why it is away, "" while it is not.
        heard_s: when it last said something, for whoever shows it.
    """

    number: MemberId
    card: Card
    standing: Standing
    is_new: bool
    came_seq: Seq
    came_ms: int
    room: ReceiveChains
    direct: ReceiveChains
    recipient: RecipientKey | None = None
    away: str = ""
    heard_s: float = 0.0

    @property
    def name(self) -> str:
        """The username."""
        return self.card.username

    @property
    def is_trusted(self) -> bool:
        """Whether we seal to and show it."""
        return self.standing in TRUSTED


@dataclass(slots=True, eq=False)
class Line:
    """Something we want said; in the outbox until its echo."""

    number: int
    content: Content
    to: Peer | None

    @property
    def text(self) -> str:
        """What its reader will see."""
        return self.content.text


@dataclass(slots=True)
class _Chain:
    """A send chain and who holds it."""

    chain: SendChain
    born_s: float
    holders: set[MemberId] = field(default_factory=set)


class _Unechoed(NamedTuple):
    """A stream record of ours that is not known to be in the log yet."""

    record: Sent
    line: Line | None = None
    chain: _Chain | None = None


class _Held(NamedTuple):
    """A message that is in the transcript, and waits to be opened with those after it.

    Attributes:
        message: or why it need not be opened.
    """

    peer: Peer
    record: Delivered
    chains: ReceiveChains
    message: Sealed | Failure


# Events, for whoever shows them.


class Joined(NamedTuple):
    """We are a member; these were here before us."""

    others: Sequence[Peer]


class Back(NamedTuple):
    """We have caught up after a lost connection; so many messages of others had been missed."""

    missed: int


class Came(NamedTuple):
    """Somebody joined."""

    peer: Peer
    at_ms: int


class Left(NamedTuple):
    """Somebody left."""

    peer: Peer
    reason: Reason
    at_ms: int
    seq: int = 0


class Said(NamedTuple):
    """An authentic text.

    Attributes:
        peer: None if it is our own, and in the log now.
        line: of our own text, the number `say` gave it.
        is_direct: whether the room does not see it.
        to: whom our own direct text went to.
        seq: of the room stream, or of our mail if it is direct.
    """

    peer: Peer | None
    text: str
    at_ms: int
    line: int = 0
    is_direct: bool = False
    to: str = ""
    seq: int = 0


class PasswordTold(NamedTuple):
    """A member, or None for us, told all the others a password for the relay."""

    peer: Peer | None
    password: str

    def __repr__(self) -> str:
        """Hide it."""
        return "PasswordTold()"


class AwayChanged(NamedTuple):
    """A member went away, or is back: then the reason is ""."""

    peer: Peer
    reason: str
    at_ms: int


class Trouble(Enum):
    """What can be wrong with a message or a member (PROTOCOL.md 5.2, 5.3, 6.1)."""

    UNAUTHENTIC = auto()
    UNREADABLE = auto()
    HIDDEN = auto()
    MALFORMED = auto()
    UNSUPPORTED = auto()
    KEY_UNREADABLE = auto()
    CHANGED = auto()
    NOT_INVITED = auto()


class Warned(NamedTuple):
    """Something about a member that its reader must know."""

    trouble: Trouble
    peer: Peer
    at_ms: int


class Noticed(NamedTuple):
    """The relay's own words."""

    text: str


class Undelivered(NamedTuple):
    """Lines that will not be sent: their recipient left, or others may have joined since.

    Attributes:
        is_over: whether our session is: we join afresh, and do not know who came meanwhile.
        why: the relay's own words, if it refused them.
    """

    lines: Sequence[Line]
    is_over: bool = False
    why: str = ""


class Untold(NamedTuple):
    """The password that we told may not have reached everybody."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The echo of our LEAVE: we are out."""


Event = (
    Joined
    | Back
    | Came
    | Left
    | Said
    | PasswordTold
    | AwayChanged
    | Warned
    | Noticed
    | Undelivered
    | Untold
    | Gone
)


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
        """
        self.phase = Phase.OFFLINE
        self.username = username
        self.identity = identity
        self.room = room
        self.pins = pins
        self.peers: dict[MemberId, Peer] = {}
        self._room_id = ticket.room_id(key, room)
        self._server_id = ticket.server_id(key)
        self._secret = secret
        self._today = today
        self._lines = 0
        self._outbox: deque[Line] = deque()
        self.messages_s = MESSAGES_S
        """What the relay takes; where it is a peer's, more (PROTOCOL.md 2)."""
        self._tokens, self._tokens_at_s = MESSAGES_BURST, 0.0
        self._out: list[Sent] = []
        self._forget()

    def _forget(self) -> None:
        """Begin a new session: nothing of an earlier one may be used again (PROTOCOL.md 4.3)."""
        self._session = random_bytes(records.SESSION_BYTES)
        self._log_id = b""
        self._number = records.RELAY
        self._mail_seq = Seq(0)
        self._joined_seq = Seq(0)
        self._transcript: Transcript | None = None
        self._last_number = 0
        self._is_asking = False
        self._is_out = False
        self._to_list = 0
        self._start = (Seq(0), b"")
        self._to_catch_up = 0
        self._missed = 0
        self._card_keys: list[CardKey] = []
        self._card: Card | None = None
        self._is_card_echoed = False
        self._card_age_s: float | None = None
        self._old_key_s: float | None = None
        self._chains: dict[bytes, _Chain] = {}
        self._chain_number = 0
        self._unechoed: deque[_Unechoed] = deque()
        self._refused: list[_Unechoed] = []
        self._held: list[_Held] = []
        self._opened: list[Event] = []
        self.peers = {}

    # --- What a view asks.

    @property
    def waiting(self) -> int:
        """How many lines are neither in the log nor given up."""
        return len(self._outbox) + sum(1 for sent in self._unechoed if sent.line)

    def waiting_lines(self) -> list[Line]:
        """Return them."""
        return [*(sent.line for sent in self._unechoed if sent.line), *self._outbox]

    @property
    def has_unsealed(self) -> bool:
        """Whether a line has not been sealed yet."""
        return bool(self._outbox)

    @property
    def members(self) -> int:
        """How many are here, we included once we have joined."""
        return len(self.peers) + (self._joined_seq > 0)

    @property
    def is_welcomed(self) -> bool:
        """Whether the relay has given this session a place in a log."""
        return bool(self._log_id)

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
        self._lines += 1
        self._outbox.append(Line(self._lines, content, to))
        return self._lines

    def leave(self) -> None:
        """Say goodbye: LEAVE is our last record; its echo is `Gone`."""
        if self.phase is Phase.LIVE:
            self._out.append(Sent(Kind.LEAVE, records.RELAY, b""))
            self._unechoed.append(_Unechoed(self._out[-1]))
        self._outbox.clear()
        self._step(Step.LEFT)

    def end(self) -> None:
        """Stop for good: the relay's decision, or a fault of its."""
        self._step(Step.LEFT)

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
        self._judge(peer)

    # --- The link's side.

    def hello(self) -> Hello:
        """Return what a new link says first."""
        return Hello(self._session, self.identity.public, self.room, self.username)

    def opened(self, handshake_hash: bytes, now: float) -> None:
        """Start to join, or to resume, on a link that has opened."""
        self._step(Step.OPENED)
        self._is_asking = True
        if self._card is None or (self._card_age_s is not None and now >= self._card_age_s):
            self._make_card(now)
        if self._card is None:
            raise LocalProtocolError("there is no card")
        if self._transcript is None:
            self._unechoed.append(_Unechoed(_card_record(self._card)))
        room_seq = Seq(self._transcript.seq) if self._transcript else Seq(0)
        log_id = self._log_id if self._transcript else bytes(records.LOG_ID_BYTES)
        auth = cards.prove(self.identity, self._card, handshake_hash)
        join = Join(auth, log_id, room_seq, self._mail_seq, self._card.encoded)
        self._out = [Sent(Kind.JOIN, records.RELAY, join.encode())]

    def lost(self) -> list[Event]:
        """Note that the link is gone."""
        self._out.clear()
        if self.phase is Phase.JOINING and self._transcript is None:
            # Cut off before the last MEMBER: this session may be a member that knows nobody.
            return self.rejoin()
        events = self.open_held()
        self._step(Step.LOST)
        return events

    def rejoin(self) -> list[Event]:
        """Give the session up, as 410 demands.

        What was sent without echo is reported, not repeated: it may be in the log, and others may
        have joined. So is what was meant for one member, who may be another now.
        """
        events = self.open_held()
        self._step(Step.LOST)
        lines = [sent.line for sent in (*self._refused, *self._unechoed) if sent.line]
        lines += [line for line in self._outbox if line.to]
        self._outbox = deque(line for line in self._outbox if not line.to)
        self._forget()
        return events + _undelivered(lines, is_over=True)

    def receive(self, record: Delivered, now: float) -> list[Event]:
        """Take a record from the relay; a message may be held until `open_held`.

        Raises:
            RemoteProtocolError: if the relay broke the protocol (400).
            FileError: if the pins cannot be kept.
        """
        if self._is_out:
            # It came with our LEAVE, and nobody seals to us any more.
            return []
        if record.kind is not Kind.MESSAGE or record.sender == self._number:
            # It may change what a message means. If it breaks the protocol, what was opened stays.
            self._opened += self._open()
        try:
            events = self._receive(record, now)
        except ProtocolError as error:
            raise RemoteProtocolError(str(error)) from None
        if self._opened:
            events, self._opened = self._opened + events, []
        return events

    def open_held(self) -> list[Event]:
        """Open the messages that are held, for whoever hands in records has no more at hand."""
        events, self._opened = self._opened, []
        return events + self._open()

    def outgoing(self, now: float) -> list[Sent]:
        """Return what must leave now, sealing what waits as far as limits allow."""
        if self.phase is Phase.LIVE:
            self._send_waiting(now)
        out, self._out = self._out, []
        return out

    def deadline(self) -> float | None:
        """Return when `outgoing` is next worth a call."""
        if self.phase is not Phase.LIVE:
            return None
        times = [at for at in (self._card_age_s, self._old_key_s) if at is not None]
        if self._outbox:
            lacking = max(0.0, 1.0 - self._tokens)
            times.append(self._tokens_at_s + lacking / self.messages_s)
        return min(times, default=None)

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
                return [Noticed(records.notice_text(record.body))]
            case Kind.REFUSAL:
                return self._on_refusal(record)
            case Kind.CARD | Kind.LEAVE | Kind.MESSAGE | Kind.SENDER_KEY:
                return self._on_stream(record, now)
            case Kind.ANSWER:
                raise NotImplementedError
            case Kind.JOIN | Kind.ERROR | Kind.COMMAND:
                raise ProtocolError(f"{record.kind.name} from the relay")
            case _:
                assert_never(record.kind)

    def _on_welcome(self, welcome: Welcome) -> list[Event]:
        if self.phase is not Phase.JOINING or not self._is_asking:
            raise ProtocolError("a WELCOME that was not asked for")
        self._is_asking = False
        if self._transcript is not None:
            ours = (self._log_id, self._number, True, self._transcript.seq, self._transcript.h)
            theirs = (welcome.log_id, welcome.number, welcome.resumed, welcome.room_seq, welcome.h)
            if ours != theirs:
                raise ProtocolError("the relay's log is not the one we know")
            self._step(Step.RESUMED)
            self._to_catch_up, self._missed = welcome.count, 0
            return self._catch_up()
        if welcome.resumed or not welcome.number:
            raise ProtocolError("a WELCOME that was not asked for")
        if welcome.count > MAX_MEMBERS:
            raise ProtocolError("more members than a room can have")
        self._log_id, self._number = welcome.log_id, welcome.number
        self._start = (welcome.room_seq, welcome.h)
        self._to_list = welcome.count
        self._end_list()
        return []

    def _on_member(self, member: Member) -> list[Event]:
        if self.phase is not Phase.JOINING or not self._to_list:
            raise ProtocolError("a MEMBER that was not announced")
        if member.number in self.peers or member.number in (0, self._number):
            raise ProtocolError("a MEMBER number that cannot be")
        self._seat(member.number, self._new_card(member.card), Seq(0), 0)
        self._to_list -= 1
        self._end_list()
        return []

    def _end_list(self) -> None:
        if not self._to_list:
            seq, h = self._start
            hashes: dict[int, bytes] = {n: peer.card.hash for n, peer in self.peers.items()}
            self._transcript = Transcript(seq, h, hashes)
            self._last_number = max((self._number, *self.peers))

    def _on_stream(self, record: Delivered, now: float) -> list[Event]:
        transcript = self._transcript
        if transcript is None or self._is_asking:
            raise ProtocolError("a stream record before WELCOME, or between MEMBERs")
        is_room = record.kind in (Kind.CARD, Kind.LEAVE) or (
            record.kind is Kind.MESSAGE and not record.to
        )
        if record.seq != (transcript.seq if is_room else self._mail_seq) + 1:
            raise ProtocolError("a seq that is not the next")
        if not is_room and self._number not in (record.to, record.sender):
            raise ProtocolError("mail that is not ours")
        if record.sender == self._number:
            events = self._on_echo(record, transcript, now, is_room=is_room)
        elif not self._joined_seq:
            raise ProtocolError("a stream record before our CARD")
        elif record.kind is Kind.CARD:
            events = self._on_card(record, transcript)
        else:
            events = self._on_other(record, transcript)
        if is_room:
            transcript.add(record.encode())
        else:
            self._mail_seq = record.seq
        if self.phase is Phase.CATCHING_UP:
            self._to_catch_up -= 1
            events += self._catch_up()
        return events

    def _on_echo(
        self, record: Delivered, transcript: Transcript, now: float, *, is_room: bool
    ) -> list[Event]:
        """Match a record of ours against the oldest that had no echo."""
        if self._is_card_of_a_join(record):
            return self._on_own_card(record, transcript, now)
        if not self._unechoed:
            raise ProtocolError("an echo of what we did not send")
        if self.phase is Phase.CATCHING_UP:
            self._pass_over(record, is_room=is_room)
        sent = self._unechoed[0]
        body = sent.record.body if is_room else b""
        if record.kind is Kind.LEAVE:
            body = bytes([Reason.LEFT])
        to = records.RELAY if is_room else record.to
        if (record.kind, to, record.body) != (sent.record.kind, sent.record.to, body):
            raise ProtocolError("an echo that is not of our oldest record")
        self._unechoed.popleft()
        if record.kind is Kind.LEAVE:
            transcript.leave(self._number)
            self._is_out = True
            return [Gone()]
        if record.kind is Kind.CARD:
            return self._on_own_card(record, transcript, now)
        line = sent.line
        if line is None:
            return []
        if line.to is not None and self.peers.get(line.to.number) is not line.to:
            # It was logged after its recipient's LEAVE, and went nowhere.
            return _undelivered([line])
        match line.content:
            case Text(text):
                name = line.to.name if line.to else ""
                number, is_direct = line.number, line.to is not None
                return [Said(None, text, record.at_ms, number, is_direct, name, record.seq)]
            case Password(password):
                return [PasswordTold(None, password)]
            case Away():
                return []
            case _:
                assert_never(line.content)

    def _pass_over(self, record: Delivered, *, is_room: bool) -> None:
        """Note what the relay refused on a connection that ended before its REFUSAL came.

        A REFUSAL is not repeated, so what comes before this echo was refused. It is sealed anew.
        """
        body = record.body if is_room else b""
        passed_over = 0
        for sent in self._unechoed:
            same = (sent.record.kind, sent.record.to) == (record.kind, record.to)
            if same and (not is_room or sent.record.body == body):
                break
            if sent.line is None:
                return
            passed_over += 1
        else:
            return
        for _ in range(passed_over):
            self._refused.append(self._unechoed.popleft())

    def _on_refusal(self, record: Delivered) -> list[Event]:
        """Give up a message that the relay does not take (PROTOCOL.md 4.5)."""
        head = record.body[: records.REFUSAL_HEAD_BYTES]
        for sent in self._unechoed:
            line = sent.line
            if line and (sent.record.to, sent.record.body[: len(head)]) == (record.to, head):
                break
        else:
            raise ProtocolError("a REFUSAL of what we did not send")
        self._unechoed.remove(sent)
        # The relay has the ciphertext, and nobody else: the chain must not go on after it.
        self._drop_chain(sent.chain)
        return _undelivered([line], why=records.notice_text(record.body[len(head) :]))

    def _is_card_of_a_join(self, record: Delivered) -> bool:
        """Tell whether this is the card of a JOIN whose link was lost before we had caught up.

        Then whatever we had sent before it and has no echo yet was never logged.
        """
        return (
            self.phase is Phase.CATCHING_UP
            and self._card is not None
            and not self._is_card_echoed
            and record.body == self._card.encoded
            and not (self._unechoed and self._unechoed[0].record.kind is Kind.CARD)
        )

    def _on_own_card(self, record: Delivered, transcript: Transcript, now: float) -> list[Event]:
        card = cards.decode(record.body, self._room_id)
        transcript.join(self._number, card.hash)
        self._is_card_echoed = card == self._card
        if self._is_card_echoed and len(self._card_keys) > 1:
            self._old_key_s = now + OLD_CARD_KEY_S
        if self._joined_seq:
            return []
        self._joined_seq = record.seq
        if self.phase is Phase.JOINING:
            self._step(Step.CAUGHT_UP)
        others = list(self.peers.values())
        events: list[Event] = [Joined(others)]
        for peer in others:
            events += self._standing_events(peer, record.at_ms)
        return events

    def _on_card(self, record: Delivered, transcript: Transcript) -> list[Event]:
        peer = self.peers.get(record.sender)
        if peer is None:
            if record.sender <= self._last_number:
                raise ProtocolError("a member number used before")
            card = self._new_card(record.body)
            self._last_number = record.sender
            peer = self._seat(record.sender, card, record.seq, record.at_ms)
            transcript.join(peer.number, card.hash)
            return [Came(peer, record.at_ms), *self._standing_events(peer, record.at_ms)]
        card = cards.decode(record.body, self._room_id)
        if not cards.may_replace(peer.card, card):
            raise ProtocolError("a card that is not the member's")
        was = peer.standing
        peer.card, peer.recipient = card, None
        transcript.join(peer.number, card.hash)
        self._judge(peer)
        events = [] if peer.standing is was else self._standing_events(peer, record.at_ms)
        return events if peer.is_trusted else [*events, *self._give_up_on(peer)]

    def _on_other(self, record: Delivered, transcript: Transcript) -> list[Event]:
        peer = self.peers.get(record.sender)
        if peer is None:
            raise ProtocolError("a record of no member")
        if record.to and not record.body:
            raise ProtocolError("mail without a body")
        match record.kind:
            case Kind.LEAVE:
                reason = records.leave_reason(record.body)
                del self.peers[peer.number]
                transcript.leave(peer.number)
                # The next thing we say must be sealed to those who are still here only.
                self._drop_chains_of(peer)
                left = Left(peer, reason, record.at_ms, record.seq)
                return [left, *self._give_up_on(peer)]
            case Kind.SENDER_KEY:
                return self._on_key(peer, record)
            case _:
                return self._hold(peer, record, transcript)

    def _on_key(self, peer: Peer, record: Delivered) -> list[Event]:
        chains = peer.room if peek_key(record.body)[2] == SCOPE_ROOM else peer.direct
        try:
            chains.offer(record.body, self._card_keys, self.identity.public, self._session)
        except Unreadable:
            return [Warned(Trouble.KEY_UNREADABLE, peer, record.at_ms)]
        return []

    def _open(self) -> list[Event]:
        """Open the messages that are held, those of one member together (PROTOCOL.md 5.3)."""
        held, self._held = self._held, []
        events: list[Event] = []
        runs: dict[ReceiveChains, list[Sealed]] = {}
        for one in held:
            if isinstance(one.message, Sealed):
                runs.setdefault(one.chains, []).append(one.message)
        contents_of = {chains: iter(chains.open(run)) for chains, run in runs.items()}
        for one in held:
            found = one.message
            events += self._on_content(
                one.peer,
                one.record,
                next(contents_of[one.chains]) if isinstance(found, Sealed) else found,
            )
        if self.phase is Phase.CATCHING_UP:
            self._missed += sum(isinstance(event, Said) for event in events)
        return events

    def _hold(self, peer: Peer, record: Delivered, transcript: Transcript) -> list[Event]:
        """Do steps 2 and 3 of PROTOCOL.md 5.3, which ask for our place in the log."""
        _, _, seen = peek(record.body)
        if seen < self._joined_seq and not record.to and peer.is_trusted:
            return []
        h_seen = transcript.at(seen)
        message: Sealed | Failure = Failure.UNAUTHENTIC
        if seen < self._joined_seq:
            message = Failure.UNREADABLE
        elif seen >= peer.came_seq and h_seen is not None:
            message = Sealed(record.body, h_seen)
        chains = peer.direct if record.to else peer.room
        self._held.append(_Held(peer, record, chains, message))
        return self._open() if len(self._held) >= OPENED_TOGETHER else []

    def _on_content(self, peer: Peer, record: Delivered, opened: bytes | Failure) -> list[Event]:
        """Say what became of a message: the first step of PROTOCOL.md 5.3 that applies decides."""
        at_ms = record.at_ms
        if not peer.is_trusted:
            return [Warned(Trouble.HIDDEN, peer, at_ms)]
        if opened is Failure.UNREADABLE:
            return [Warned(Trouble.UNREADABLE, peer, at_ms)]
        if opened is Failure.UNAUTHENTIC:
            return [Warned(Trouble.UNAUTHENTIC, peer, at_ms)]
        try:
            content = contents.decode(opened)
        except Unreadable:
            return [Warned(Trouble.MALFORMED, peer, at_ms)]
        match content:
            case Text():
                is_direct = bool(record.to)
                said = Said(peer, content.text, at_ms, is_direct=is_direct, seq=record.seq)
                if is_direct or not peer.away:
                    return [said]
                peer.away = ""
                return [said, AwayChanged(peer, "", at_ms)]
            case Password():
                return [PasswordTold(peer, content.text)]
            case Away():
                peer.away = content.text
                return [AwayChanged(peer, content.text, at_ms)]
            case Unsupported():
                return [Warned(Trouble.UNSUPPORTED, peer, at_ms)]
            case _:
                assert_never(content)

    # --- Members.

    def _new_card(self, data: bytes) -> Card:
        """Decode the card of one who was not here.

        Raises:
            ProtocolError: if it is invalid, or of a session or name that is.
        """
        card = cards.decode(data, self._room_id)
        key = names.key(card.username)
        for session, name in self._present():
            if session == card.session or name == key:
                raise ProtocolError("a card of a session or name that is here already")
        return card

    def _present(self) -> Iterable[tuple[bytes, str]]:
        yield self._session, names.key(self.username)
        for peer in self.peers.values():
            yield peer.card.session, names.key(peer.name)

    def _seat(self, number: MemberId, card: Card, seq: Seq, at_ms: int) -> Peer:
        sender = VerifyKey(card.identity)
        peer = Peer(
            number=number,
            card=card,
            standing=Standing.NOT_INVITED,
            is_new=False,
            came_seq=seq,
            came_ms=at_ms,
            room=ReceiveChains(sender, card.session, self._room_id, ROOM_DEST),
            direct=ReceiveChains(sender, card.session, self._room_id, self._session),
        )
        self._judge(peer)
        self.peers[number] = peer
        return peer

    def _judge(self, peer: Peer) -> None:
        """Decide anew what a member is to us; one who lost our trust gets no next message."""
        standing, is_new = trust.judge(
            self.pins,
            self._server_id,
            peer.card,
            room_id=self._room_id,
            secret=self._secret,
            today=self._today,
        )
        peer.standing, peer.is_new = standing, is_new or peer.is_new
        if not peer.is_trusted:
            self._drop_chains_of(peer)

    def _standing_events(self, peer: Peer, at_ms: int) -> list[Event]:
        if peer.standing is Standing.CHANGED:
            return [Warned(Trouble.CHANGED, peer, at_ms)]
        if peer.standing is Standing.NOT_INVITED:
            return [Warned(Trouble.NOT_INVITED, peer, at_ms)]
        return []

    def _drop_chains_of(self, peer: Peer) -> None:
        """Drop every chain this member holds."""
        for dest, chain in list(self._chains.items()):
            if peer.number in chain.holders:
                del self._chains[dest]

    def _drop_chain(self, chain: _Chain | None) -> None:
        """Seal nothing more on a chain."""
        if chain is not None and self._chains.get(chain.chain.dest) is chain:
            del self._chains[chain.chain.dest]

    def _give_up_on(self, peer: Peer) -> list[Event]:
        """Report what still waits for a member that has left, or lost our trust."""
        lines = [line for line in self._outbox if line.to is peer]
        self._outbox = deque(line for line in self._outbox if line.to is not peer)
        return _undelivered(lines)

    # --- Records out.

    def _make_card(self, now: float) -> None:
        self._card_keys = [CardKey.generate(), *self._card_keys[:1]]
        self._card = cards.make(
            self.identity,
            self._session,
            self._room_id,
            self.username,
            self._card_keys[0].public,
            self._secret,
        )
        self._card_age_s = now + CARD_AGE_S
        self._is_card_echoed = False

    def _catch_up(self) -> list[Event]:
        """See whether all that was missed is here; then what has no echo was never logged."""
        if self._to_catch_up:
            return []
        if not self._joined_seq:
            raise ProtocolError("resumed without our CARD")
        events = self._open()
        self._step(Step.CAUGHT_UP)
        events.append(Back(self._missed))
        self._missed = 0
        lines: list[Line] = []
        gone: list[Line] = []
        passed_over, self._refused = self._refused, []
        for sent in (*passed_over, *self._unechoed):
            # Its positions are used: what was sealed on it is sealed anew, on another.
            self._drop_chain(sent.chain)
            if sent.line is not None:
                to = sent.line.to
                may_have = to is None or (self.peers.get(to.number) is to and to.is_trusted)
                (lines if may_have else gone).append(sent.line)
        # The card that our JOIN named is logged after what was missed.
        named = [] if self._is_card_echoed or not self._card else [_card_record(self._card)]
        self._unechoed = deque(_Unechoed(record) for record in named)
        self._outbox.extendleft(reversed(lines))
        return events + _undelivered(gone)

    def _send_waiting(self, now: float) -> None:
        gained = (now - self._tokens_at_s) * self.messages_s
        self._tokens = min(MESSAGES_BURST, self._tokens + gained)
        self._tokens_at_s = now
        self._rotate_card(now)
        keys = KEYS_PER_TURN
        # With nothing on its way, one more does no harm: if the relay has no limit it is echoed at
        # once, and if it has one, the echo comes when it may.
        while self._outbox and (self._tokens >= 1 or not self._unechoed):
            line = self._outbox[0]
            if line.to is not None and not line.to.is_trusted:
                raise LocalProtocolError("a line for somebody who is not trusted")
            chain = self._chain_for(line, now)
            for peer in self._lacking(chain, line):
                if not keys:
                    return
                keys -= 1
                self._give_key(chain, peer)
            self._outbox.popleft()
            self._tokens = max(0.0, self._tokens - 1)
            self._send_message(chain, line)

    def _rotate_card(self, now: float) -> None:
        if self._old_key_s is not None and now >= self._old_key_s:
            del self._card_keys[1:]
            self._old_key_s = None
        if self._card_age_s is not None and now >= self._card_age_s:
            self._make_card(now)
            if self._card is not None:
                self._send(_Unechoed(_card_record(self._card)))

    def _chain_for(self, line: Line, now: float) -> _Chain:
        dest = line.to.card.session if line.to else ROOM_DEST
        chain = self._chains.get(dest)
        if (
            chain is None
            or chain.chain.index >= CHAIN_MESSAGES
            or now - chain.born_s >= CHAIN_AGE_S
        ):
            self._chain_number += 1
            send = SendChain(self.identity, self._session, self._room_id, dest, self._chain_number)
            chain = self._chains[dest] = _Chain(send, now)
        return chain

    def _lacking(self, chain: _Chain, line: Line) -> list[Peer]:
        wanted = self.peers.values() if line.to is None else [line.to]
        return [peer for peer in wanted if peer.is_trusted and peer.number not in chain.holders]

    def _give_key(self, chain: _Chain, peer: Peer) -> None:
        if peer.recipient is None:
            peer.recipient = RecipientKey(peer.card.public)
        body = chain.chain.key_for(peer.recipient, peer.card.identity, peer.card.session)
        chain.holders.add(peer.number)
        self._send(_Unechoed(Sent(Kind.SENDER_KEY, peer.number, body), chain=chain))

    def _send_message(self, chain: _Chain, line: Line) -> None:
        if self._transcript is None:
            raise LocalProtocolError("sending before joining")
        padded = contents.encode(line.content)
        body = chain.chain.seal(padded, self._transcript.seq, self._transcript.h)
        to = line.to.number if line.to else records.RELAY
        self._send(_Unechoed(Sent(Kind.MESSAGE, to, body), line, chain))

    def _send(self, sent: _Unechoed) -> None:
        self._out.append(sent.record)
        self._unechoed.append(sent)


def _card_record(card: Card) -> Sent:
    return Sent(Kind.CARD, records.RELAY, card.encoded)


def _undelivered(lines: Sequence[Line], *, is_over: bool = False, why: str = "") -> list[Event]:
    """Report what will not be sent; only a text is anything to say again."""
    events: list[Event] = []
    if any(isinstance(line.content, Password) for line in lines):
        events.append(Untold())
    texts = [line for line in lines if isinstance(line.content, Text)]
    if texts:
        events.append(Undelivered(texts, is_over, why))
    elif why:
        events.append(Noticed(why))
    return events
