"""What we say, until its echo proves that it is in the log.

PROTOCOL.md 4.3, 4.5 and 5. An Outbox seals to those it is told are here, and never reads the log:
what a reader finds there must reach it before it seals the next record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, assert_never

from common.crypto.card import Card
from common.crypto.chain import CHAIN_AGE_S, CHAIN_MESSAGES, ROOM_DEST, SendChain
from common.crypto.identity import Identity
from common.crypto.primitives import RecipientKey
from common.crypto.transcript import Transcript
from common.errors import LocalProtocolError, ProtocolError
from common.member import contents
from common.member.contents import Away, Content, Password, Text
from common.member.events import (
    Answered,
    Event,
    Line,
    Noticed,
    PasswordTold,
    Peer,
    Said,
    Undelivered,
    Untold,
)
from common.wire import records
from common.wire.records import Answer, Command, Delivered, Kind, MemberId, Reason, Sent

CARD_AGE_S: Final = 24 * 3600.0
MESSAGES_S: Final = 10.0
MESSAGES_BURST: Final = 40.0
"""What the relay takes without holding us up (PROTOCOL.md 9)."""
KEYS_PER_TURN: Final = 16
"""SENDER_KEYs sealed before the loop may look at the keyboard again."""

Peers = Mapping[MemberId, Peer]
"""Who is here beside us, by number."""


@dataclass(slots=True)
class _Chain:
    """A send chain and who holds it.

    Attributes:
        has_unused_keys: whether somebody was given it since a message was last sealed on it.
    """

    chain: SendChain
    born_s: float
    holders: set[MemberId] = field(default_factory=set)
    has_unused_keys: bool = False


class _Unechoed(NamedTuple):
    """A stream record of ours that is not known to be in the log yet."""

    record: Sent
    line: Line | None = None
    chain: _Chain | None = None


@dataclass(slots=True)
class _OwnCard:
    """Our newest card, and when it is to be replaced."""

    card: Card
    due_s: float
    is_echoed: bool = False

    @property
    def record(self) -> Sent:
        """What brings it into the log."""
        return Sent(Kind.CARD, records.RELAY, self.card.encoded)


@dataclass(slots=True)
class _Session:
    """What ends with a session: nothing of it may be used again (PROTOCOL.md 4.3).

    Attributes:
        id: 16 bytes.
        refused: what the relay did not take on a connection that ended before it said so.
        recipients: the keys of those sealed to, which take long to load.
    """

    id: bytes
    card: _OwnCard | None = None
    chains: dict[bytes, _Chain] = field(default_factory=dict)
    chain_number: int = 0
    recipients: dict[MemberId, RecipientKey] = field(default_factory=dict)
    unechoed: deque[_Unechoed] = field(default_factory=deque)
    refused: list[_Unechoed] = field(default_factory=list)


@dataclass(slots=True)
class _Connection:
    """What ends with a connection.

    Attributes:
        out: what must leave now.
        orders: those without their last answer.
    """

    out: list[Sent] = field(default_factory=list)
    orders: set[int] = field(default_factory=set)


class Outbox:
    """The lines that one person wants said in one room; owned by a Conversation.

    Attributes:
        messages_s: what the relay takes; where it is a peer's, more (PROTOCOL.md 2).
    """

    def __init__(self, identity: Identity, room_id: bytes, session: bytes) -> None:
        """Hold nothing yet.

        Args:
            identity: ours.
            room_id: 32 bytes.
            session: ours, 16 bytes.
        """
        self._identity = identity
        self._room_id = room_id
        self._session = _Session(session)
        self._connection = _Connection()
        self._lines: deque[Line] = deque()
        self._last_line = 0
        self._last_order = 0
        self.messages_s = MESSAGES_S
        self._tokens, self._tokens_at_s = MESSAGES_BURST, 0.0

    # --- Lines.

    @property
    def waiting(self) -> int:
        """How many lines are neither in the log nor given up."""
        return len(self._lines) + sum(1 for sent in self._session.unechoed if sent.line)

    def waiting_lines(self) -> list[Line]:
        """Return them."""
        return [*(sent.line for sent in self._session.unechoed if sent.line), *self._lines]

    @property
    def has_unsealed(self) -> bool:
        """Whether a line has not been sealed yet."""
        return bool(self._lines)

    def add(self, content: Content, to: Peer | None, at_ms: int) -> int:
        """Take a line that can be sent; return the number that its echo will carry.

        Args:
            at_ms: wall clock. A number tells one line from another to whoever reads it, also in a
                run of ours (PROTOCOL.md 5.4).
        """
        self._last_line = max(self._last_line + 1, at_ms)
        self._lines.append(Line(self._last_line, content, to))
        return self._last_line

    def leave(self) -> None:
        """Send LEAVE, behind which nothing goes."""
        self._send(_Unechoed(Sent(Kind.LEAVE, records.RELAY, b"")))

    def drop_unsealed(self) -> None:
        """Drop the lines that have not been sealed yet."""
        self._lines.clear()

    # --- Orders.

    def order(self, text: str) -> int:
        """Send an operator's order at once; return the number that its answers will carry."""
        self._last_order += 1
        command = Command(self._last_order, text)
        self._connection.out.append(Sent(Kind.COMMAND, records.RELAY, command.encode()))
        self._connection.orders.add(command.order)
        return command.order

    def answered(self, answer: Answer) -> list[Event]:
        """Match an answer against what was ordered on this connection.

        Raises:
            ProtocolError: if it is of no order, or of one that is over.
        """
        if answer.order not in self._connection.orders:
            raise ProtocolError("an ANSWER to what we did not order")
        if answer.is_last:
            self._connection.orders.remove(answer.order)
        return [Answered(answer.order, answer.status, answer.text)]

    # --- Connections and sessions.

    def join(self, join: Sent, *, is_fresh: bool) -> None:
        """Begin a connection with a JOIN, which for a fresh session sends our card too."""
        self._connection = _Connection([join])
        if is_fresh and self._session.card is not None:
            self._session.unechoed.append(_Unechoed(self._session.card.record))

    def lost(self) -> None:
        """Note that the connection is gone, with what was to leave or be answered on it."""
        self._connection = _Connection()

    def renew(self, session: bytes) -> list[Event]:
        """Begin another session; return what of the last one will not be sent.

        What was sent without echo may be in the log, and others may have joined. What was meant for
        one member would go to whoever has that number now.
        """
        was = self._session
        lines = [sent.line for sent in (*was.refused, *was.unechoed) if sent.line]
        lines += [line for line in self._lines if line.to]
        self._lines = deque(line for line in self._lines if not line.to)
        self._session = _Session(session)
        self._connection = _Connection()
        return _undelivered(lines, is_over=True)

    def caught_up(self, peers: Peers) -> list[Event]:
        """Let what has no echo yet, and so was never logged, be sealed anew (PROTOCOL.md 4.3)."""
        session = self._session
        lines: list[Line] = []
        gone: list[Line] = []
        for sent in (*session.refused, *session.unechoed):
            # Its positions are used: what was sealed on it is sealed anew, on another.
            self._drop_chain(sent.chain)
            if sent.line is not None:
                to = sent.line.to
                may_have = to is None or (peers.get(to.number) is to and to.is_trusted)
                (lines if may_have else gone).append(sent.line)
        session.refused.clear()
        session.unechoed.clear()
        if session.card is not None and not session.card.is_echoed:
            # The card that our JOIN named is logged after what was missed.
            session.unechoed.append(_Unechoed(session.card.record))
        self._lines.extendleft(reversed(lines))
        return _undelivered(gone)

    # --- Our card.

    def card(self, now: float) -> Card | None:
        """Return our card, unless there is none yet, or it is to be replaced."""
        own = self._session.card
        return own.card if own is not None and now < own.due_s else None

    def replace_card(self, card: Card, now: float) -> None:
        """Take another card for ours; a JOIN names it, or `send_card` sends it."""
        self._session.card = _OwnCard(card, now + CARD_AGE_S)

    def send_card(self) -> None:
        """Send our card, as a member that has replaced it."""
        if self._session.card is not None:
            self._send(_Unechoed(self._session.card.record))

    # --- What a reader found.

    def echoed(
        self, record: Delivered, peers: Peers, *, is_room: bool, is_catching_up: bool
    ) -> list[Event]:
        """Match a record of ours against the oldest that had no echo.

        Args:
            record: the next of its stream.
            peers: who is here.
            is_room: whether that is the room stream.
            is_catching_up: whether it may have been sent on an earlier connection.

        Raises:
            ProtocolError: if it is another; nothing is taken for logged.
        """
        session = self._session
        if is_catching_up and self._is_card_of_a_join(record):
            self._card_echoed(record)
            return []
        if not session.unechoed:
            raise ProtocolError("an echo of what we did not send")
        if is_catching_up:
            self._pass_over(record, is_room=is_room)
        sent = session.unechoed[0]
        body = sent.record.body if is_room else b""
        if record.kind is Kind.LEAVE:
            body = bytes([Reason.LEFT])
        to = records.RELAY if is_room else record.to
        if (record.kind, to, record.body) != (sent.record.kind, sent.record.to, body):
            raise ProtocolError("an echo that is not of our oldest record")
        session.unechoed.popleft()
        if record.kind is Kind.CARD:
            self._card_echoed(record)
        return [] if sent.line is None else _said(sent.line, record, peers)

    def _card_echoed(self, record: Delivered) -> None:
        own = self._session.card
        if own is not None:
            own.is_echoed = record.body == own.card.encoded

    def _is_card_of_a_join(self, record: Delivered) -> bool:
        """Tell whether this is the card of a JOIN whose link was lost before we had caught up.

        Then whatever we had sent before it and has no echo yet was never logged.
        """
        own = self._session.card
        if own is None or own.is_echoed or record.body != own.card.encoded:
            return False
        # Messages before it may have been refused, and that not heard.
        kinds = (sent.record.kind for sent in self._session.unechoed if sent.line is None)
        return next(kinds, None) is not Kind.CARD

    def _pass_over(self, record: Delivered, *, is_room: bool) -> None:
        """Note what the relay refused on a connection that ended before its REFUSAL came.

        A REFUSAL is not repeated, so what comes before this echo was refused. It is sealed anew.
        """
        unechoed = self._session.unechoed
        body = record.body if is_room else b""
        passed_over = 0
        for sent in unechoed:
            same = (sent.record.kind, sent.record.to) == (record.kind, record.to)
            if same and (not is_room or sent.record.body == body):
                break
            if sent.line is None:
                return
            passed_over += 1
        else:
            return
        for _ in range(passed_over):
            self._session.refused.append(unechoed.popleft())

    def refused(self, record: Delivered) -> list[Event]:
        """Give up a message that the relay does not take (PROTOCOL.md 4.5).

        Raises:
            ProtocolError: if we sent none such.
        """
        head = record.body[: records.REFUSAL_HEAD_BYTES]
        for sent in self._session.unechoed:
            line = sent.line
            if line and (sent.record.to, sent.record.body[: len(head)]) == (record.to, head):
                break
        else:
            raise ProtocolError("a REFUSAL of what we did not send")
        self._session.unechoed.remove(sent)
        # The relay has the ciphertext, and nobody else: the chain must not go on after it.
        self._drop_chain(sent.chain)
        return _undelivered([line], why=records.notice_text(record.body[len(head) :]))

    def left(self, peer: Peer) -> list[Event]:
        """Seal what we say next to those who are still here only; return what `peer` alone had."""
        self._session.recipients.pop(peer.number, None)
        return self._exclude(peer)

    def card_replaced(self, peer: Peer) -> list[Event]:
        """Seal to a member's new card, if it still has our trust."""
        self._session.recipients.pop(peer.number, None)
        return self.judged(peer)

    def judged(self, peer: Peer) -> list[Event]:
        """Seal nothing more to one who has lost our trust."""
        return [] if peer.is_trusted else self._exclude(peer)

    def _exclude(self, peer: Peer) -> list[Event]:
        """Drop every chain this member holds, and report what still waits for it."""
        for dest, chain in list(self._session.chains.items()):
            if peer.number in chain.holders:
                self._end_chain(dest)
        lines = [line for line in self._lines if line.to is peer]
        self._lines = deque(line for line in self._lines if line.to is not peer)
        return _undelivered(lines)

    def _drop_chain(self, chain: _Chain | None) -> None:
        """Seal nothing more on a chain."""
        if chain is not None and self._session.chains.get(chain.chain.dest) is chain:
            self._end_chain(chain.chain.dest)

    def _end_chain(self, dest: bytes) -> None:
        chain = self._session.chains.pop(dest)
        # Keys for nothing: the relay counts others in their place like a message.
        self._tokens -= chain.has_unused_keys

    # --- Records out.

    def seal(self, peers: Peers, transcript: Transcript, now: float) -> None:
        """Seal what waits, as far as limits allow.

        Args:
            peers: who is here.
            transcript: of the log as far as it was read, which every message signs.
            now: monotonic seconds.
        """
        gained = (now - self._tokens_at_s) * self.messages_s
        self._tokens = min(MESSAGES_BURST, self._tokens + gained)
        self._tokens_at_s = now
        keys = KEYS_PER_TURN
        # With nothing on its way, one more does no harm: if the relay has no limit it is echoed at
        # once, and if it has one, the echo comes when it may.
        while self._lines and (self._tokens >= 1 or not self._session.unechoed):
            line = self._lines[0]
            if line.to is not None and not line.to.is_trusted:
                raise LocalProtocolError("a line for somebody who is not trusted")
            chain = self._chain_for(line, now)
            for peer in _lacking(chain, line, peers):
                if not keys:
                    return
                keys -= 1
                self._give_key(chain, peer)
            self._lines.popleft()
            self._tokens = max(0.0, self._tokens - 1)
            self._send_message(chain, line, transcript)

    def outgoing(self) -> list[Sent]:
        """Return what must leave now."""
        out, self._connection.out = self._connection.out, []
        return out

    def deadline(self) -> float | None:
        """Return when a card is to be replaced, or more may be sealed."""
        own = self._session.card
        times = [own.due_s] if own is not None else []
        if self._lines:
            lacking = max(0.0, 1.0 - self._tokens)
            times.append(self._tokens_at_s + lacking / self.messages_s)
        return min(times, default=None)

    def _chain_for(self, line: Line, now: float) -> _Chain:
        session = self._session
        dest = line.to.card.session if line.to else ROOM_DEST
        chain = session.chains.get(dest)
        if (
            chain is None
            or chain.chain.index >= CHAIN_MESSAGES
            or now - chain.born_s >= CHAIN_AGE_S
        ):
            session.chain_number += 1
            number = session.chain_number
            send = SendChain(self._identity, session.id, self._room_id, dest, number)
            chain = session.chains[dest] = _Chain(send, now)
        return chain

    def _give_key(self, chain: _Chain, peer: Peer) -> None:
        recipients = self._session.recipients
        key = recipients.get(peer.number)
        if key is None:
            key = recipients[peer.number] = RecipientKey(peer.card.public)
        body = chain.chain.key_for(key, peer.card.identity, peer.card.session)
        chain.holders.add(peer.number)
        chain.has_unused_keys = True
        self._send(_Unechoed(Sent(Kind.SENDER_KEY, peer.number, body), chain=chain))

    def _send_message(self, chain: _Chain, line: Line, transcript: Transcript) -> None:
        padded = contents.encode(line.content, line.number if line.to else None)
        body = chain.chain.seal(padded, transcript.seq, transcript.h)
        chain.has_unused_keys = False
        to = line.to.number if line.to else records.RELAY
        line.is_sealed = True
        self._send(_Unechoed(Sent(Kind.MESSAGE, to, body), line, chain))

    def _send(self, sent: _Unechoed) -> None:
        self._connection.out.append(sent.record)
        self._session.unechoed.append(sent)


def _lacking(chain: _Chain, line: Line, peers: Peers) -> Sequence[Peer]:
    wanted = peers.values() if line.to is None else [line.to]
    return [peer for peer in wanted if peer.is_trusted and peer.number not in chain.holders]


def _said(line: Line, record: Delivered, peers: Peers) -> list[Event]:
    """Say what the echo of a line means."""
    if line.to is not None and peers.get(line.to.number) is not line.to:
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
