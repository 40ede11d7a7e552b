"""What is logged becomes what was said: transcript, members, receive chains, trust.

PROTOCOL.md 4 and 5. A Reader has nothing of ours to send, but the private keys of our cards, since
they open. What it finds is for whoever shows it; some of it, somebody's leaving above all, an
outbox must know before it seals anything more.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, assert_never

from common import names
from common.crypto import card as cards
from common.crypto.card import Card
from common.crypto.chain import (
    SCOPE_DIRECT,
    SCOPE_ROOM,
    Failure,
    ReceiveChains,
    Sealed,
    peek,
)
from common.crypto.primitives import CardKey, VerifyKey
from common.crypto.transcript import Transcript
from common.errors import ProtocolError, Unreadable
from common.member import contents
from common.member.contents import Away, Password, Text, Unsupported
from common.member.events import (
    AwayChanged,
    Came,
    Event,
    Gone,
    Joined,
    Left,
    PasswordTold,
    Peer,
    Said,
    Trouble,
    Warned,
)
from common.member.trust import Standing
from common.wire import records
from common.wire.records import Delivered, Kind, Member, MemberId, Seq, Welcome

OLD_CARD_KEY_S: Final = 600.0
"""How long the former card key still opens, after the echo of the new card."""
MAX_MEMBERS: Final = 1_100
"""PROTOCOL.md 9 has 1 000; those that replace a session may come on top."""
OPENED_TOGETHER: Final = 16
"""Messages held until they are opened: one verification for each sender, some 30 us for each."""

LINES_KEPT: Final = 1_024
"""Numbers of direct lines, of each session."""

Judge = Callable[[Card], tuple[Standing, bool]]
"""Decides what the owner of a card is to us, and whether its name is new; raises FileError."""


class CardReplaced(NamedTuple):
    """A member has another card, by which it may have lost our trust."""

    peer: Peer


Found = Event | CardReplaced


class _Held(NamedTuple):
    """A message that is in the transcript, and waits to be opened with those after it.

    Attributes:
        message: or why it need not be opened.
    """

    peer: Peer
    record: Delivered
    chains: ReceiveChains
    message: Sealed | Failure


class _Lines:
    """Which direct lines of one session have come (PROTOCOL.md 5.4).

    A relay can keep a receipt back, so that a line is sealed anew.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = array("Q")  # in order

    def is_new(self, number: int) -> bool:
        """Note a number; False if it came before, or may have."""
        at = bisect_left(self._kept, number)
        if number in self._kept[at : at + 1] or (at == 0 and len(self._kept) >= LINES_KEPT):
            return False
        self._kept.insert(at, number)
        del self._kept[:-LINES_KEPT]
        return True


class Reader:
    """One session's place in the log of a room; owned by a Conversation.

    Attributes:
        log_id: b"" before WELCOME.
        number: ours; 0 before WELCOME.
        transcript: None until every MEMBER came.
        joined_seq: of the CARD by which we joined; 0 before it.
        mail_seq: of the last record of our mail.
        peers: who is here beside us.
        is_out: whether our LEAVE is in the log.
    """

    def __init__(
        self, *, room_id: bytes, session: bytes, identity: bytes, username: str, judge: Judge
    ) -> None:
        """Wait for a WELCOME.

        Args:
            room_id: 32 bytes.
            session: ours, 16 bytes.
            identity: ours, 32 bytes.
            username: ours.
            judge: looked at whenever a member shows a card.
        """
        self._room_id = room_id
        self._session = session
        self._identity = identity
        self._username = username
        self._judge = judge
        self.log_id = b""
        self.number = records.RELAY
        self.transcript: Transcript | None = None
        self.joined_seq = Seq(0)
        self.mail_seq = Seq(0)
        self.peers: dict[MemberId, Peer] = {}
        self.is_out = False
        self._last_number = 0
        self._start = (Seq(0), b"")
        self._to_list = 0
        self._chains: dict[MemberId, ReceiveChains] = {}
        self._lines: dict[MemberId, _Lines] = {}
        self._held: list[_Held] = []
        self._card_keys: list[CardKey] = []
        self._old_key_s: float | None = None

    # --- Our card keys.

    def new_card_key(self) -> bytes:
        """Make the key of our next card, and keep the one before; return what is public of it."""
        self._card_keys = [CardKey.generate(), *self._card_keys[:1]]
        return self._card_keys[0].public

    def drop_old_key(self, now: float) -> None:
        """Drop the former card key if its time is over and all that was missed is read."""
        if self._old_key_s is not None and now >= self._old_key_s:
            del self._card_keys[1:]
            self._old_key_s = None

    def deadline(self) -> float | None:
        """Return when `drop_old_key` is next worth a call."""
        return self._old_key_s

    # --- The list of members.

    def begin(self, welcome: Welcome) -> None:
        """Begin where a fresh WELCOME says; a MEMBER follows for each that it counts.

        Raises:
            ProtocolError: if a room cannot have as many, or a log cannot begin so.
        """
        if welcome.count > MAX_MEMBERS:
            raise ProtocolError("more members than a room can have")
        begun = Transcript.begin(self._room_id, welcome.log_id)
        if not welcome.room_seq and (welcome.count or welcome.h != begun.h):
            raise ProtocolError("a log that begins with more than its log_id")
        self.log_id, self.number = welcome.log_id, welcome.number
        self._start = (welcome.room_seq, welcome.h)
        self._to_list = welcome.count
        self._end_list()

    def add_member(self, member: Member) -> None:
        """Take one who was here before us.

        Raises:
            ProtocolError: if it was not announced, or cannot be a member.
            FileError: if the pins cannot be kept.
        """
        if not self._to_list:
            raise ProtocolError("a MEMBER that was not announced")
        if member.number in self.peers or member.number in (0, self.number):
            raise ProtocolError("a MEMBER number that cannot be")
        self._seat(member.number, self._new_card(member.card), Seq(0), 0)
        self._to_list -= 1
        self._end_list()

    def _end_list(self) -> None:
        if not self._to_list:
            seq, h = self._start
            hashes: dict[int, bytes] = {n: peer.card.hash for n, peer in self.peers.items()}
            self.transcript = Transcript(seq, h, hashes)
            self._last_number = max((self.number, *self.peers))

    def agrees(self, welcome: Welcome) -> bool:
        """Tell whether a WELCOME that resumes is of our log, at the place where we are."""
        if self.transcript is None:
            return False
        ours = (self.log_id, self.number, True, self.transcript.seq, self.transcript.h)
        theirs = (welcome.log_id, welcome.number, welcome.resumed, welcome.room_seq, welcome.h)
        return ours == theirs

    # --- Records.

    def check(self, record: Delivered) -> bool:
        """Check that a record is the next of its stream, and ours to see.

        Returns:
            Whether that is the room stream.

        Raises:
            ProtocolError: if it is not.
        """
        if self.transcript is None:
            raise ProtocolError("a stream record before WELCOME, or between MEMBERs")
        is_room = record.kind in (Kind.CARD, Kind.LEAVE) or (
            record.kind is Kind.MESSAGE and not record.to
        )
        if record.seq != (self.transcript.seq if is_room else self.mail_seq) + 1:
            raise ProtocolError("a seq that is not the next")
        if not is_room and self.number not in (record.to, record.sender):
            raise ProtocolError("mail that is not ours")
        return is_room

    def receive(self, record: Delivered, now: float, *, is_room: bool) -> list[Found]:
        """Take a record that `check` let pass; a message may be held until `open_held`.

        One of ours is known to be what we sent: an outbox has looked at it.

        Raises:
            ProtocolError: if the relay broke the protocol.
            FileError: if the pins cannot be kept.
        """
        transcript = self.transcript
        assert transcript is not None
        found: list[Found]
        if record.sender == self.number:
            found = self._on_own(record, transcript, now)
        elif not self.joined_seq:
            raise ProtocolError("a stream record before our CARD")
        elif record.kind is Kind.CARD:
            found = self._on_card(record, transcript)
        else:
            found = self._on_other(record, transcript)
        if is_room:
            transcript.add(record.encode())
        else:
            self.mail_seq = record.seq
        return found

    def _on_own(self, record: Delivered, transcript: Transcript, now: float) -> list[Found]:
        if record.kind is Kind.LEAVE:
            transcript.leave(self.number)
            self.is_out = True
            return [Gone()]
        if record.kind is not Kind.CARD:
            return []
        card = cards.decode(record.body, self._room_id)
        transcript.join(self.number, card.hash)
        if len(self._card_keys) > 1 and card.public == self._card_keys[0].public:
            self._old_key_s = now + OLD_CARD_KEY_S
        if self.joined_seq:
            return []
        self.joined_seq = record.seq
        others = list(self.peers.values())
        found: list[Found] = [Joined(others)]
        for peer in others:
            found += _standing_warnings(peer, record.at_ms)
        return found

    def _on_card(self, record: Delivered, transcript: Transcript) -> list[Found]:
        peer = self.peers.get(record.sender)
        if peer is None:
            if record.sender <= self._last_number:
                raise ProtocolError("a member number used before")
            card = self._new_card(record.body)
            self._last_number = record.sender
            peer = self._seat(record.sender, card, record.seq, record.at_ms)
            transcript.join(peer.number, card.hash)
            return [Came(peer, record.at_ms), *_standing_warnings(peer, record.at_ms)]
        card = cards.decode(record.body, self._room_id)
        if not cards.may_replace(peer.card, card):
            raise ProtocolError("a card that is not the member's")
        was = peer.standing
        peer.card = card
        transcript.join(peer.number, card.hash)
        self.judge(peer)
        warnings = [] if peer.standing is was else _standing_warnings(peer, record.at_ms)
        return [*warnings, CardReplaced(peer)]

    def _on_other(self, record: Delivered, transcript: Transcript) -> list[Found]:
        peer = self.peers.get(record.sender)
        if peer is None:
            raise ProtocolError("a record of no member")
        if record.to and not record.body:
            raise ProtocolError("mail without a body")
        match record.kind:
            case Kind.LEAVE:
                reason = records.leave_reason(record.body)
                del self.peers[peer.number], self._chains[peer.number]
                self._lines.pop(peer.number, None)
                transcript.leave(peer.number)
                return [Left(peer, reason, record.at_ms, record.seq)]
            case Kind.SENDER_KEY:
                return self._on_key(peer, record)
            case _:
                return self._hold(peer, record, transcript)

    def _on_key(self, peer: Peer, record: Delivered) -> list[Found]:
        try:
            self._chains[peer.number].offer(record.body, self._card_keys, self._identity)
        except Unreadable:
            return [Warned(Trouble.KEY_UNREADABLE, peer, record.at_ms)]
        return []

    def _hold(self, peer: Peer, record: Delivered, transcript: Transcript) -> list[Found]:
        """Do what of PROTOCOL.md 5.3 asks for our place in the log, and hold the message."""
        _, _, seen = peek(record.body)
        scope = SCOPE_DIRECT if record.to else SCOPE_ROOM
        h_seen = transcript.at(seen)
        message: Sealed | Failure = Failure.UNAUTHENTIC
        if seen >= peer.came_seq:
            if seen < self.joined_seq and not record.to:
                message = Sealed(record.body, b"", scope, is_early=True)
            elif seen >= self.joined_seq and h_seen is not None:
                message = Sealed(record.body, h_seen, scope)
        self._held.append(_Held(peer, record, self._chains[peer.number], message))
        return self.open_held() if len(self._held) >= OPENED_TOGETHER else []

    def open_held(self) -> list[Found]:
        """Open the messages that are held, those of one member together (PROTOCOL.md 5.3)."""
        held, self._held = self._held, []
        found: list[Found] = []
        runs: dict[ReceiveChains, list[Sealed]] = {}
        for one in held:
            if isinstance(one.message, Sealed):
                runs.setdefault(one.chains, []).append(one.message)
        contents_of = {chains: iter(chains.open(run)) for chains, run in runs.items()}
        for one in held:
            message = one.message
            found += self._on_content(
                one.peer,
                one.record,
                next(contents_of[one.chains]) if isinstance(message, Sealed) else message,
            )
        return found

    def _on_content(
        self, peer: Peer, record: Delivered, opened: bytes | Failure
    ) -> Sequence[Event]:
        """Say what became of a message: the first step of PROTOCOL.md 5.3 that applies decides."""
        at_ms = record.at_ms
        if not peer.is_trusted:
            return [Warned(Trouble.HIDDEN, peer, at_ms)]
        if opened is Failure.EARLY:
            return []
        if opened is Failure.UNREADABLE:
            return [Warned(Trouble.UNREADABLE, peer, at_ms)]
        if opened is Failure.UNAUTHENTIC:
            return [Warned(Trouble.UNAUTHENTIC, peer, at_ms)]
        try:
            content, line = contents.decode(opened, is_direct=bool(record.to))
        except Unreadable:
            return [Warned(Trouble.MALFORMED, peer, at_ms)]
        if record.to and not self._lines.setdefault(peer.number, _Lines()).is_new(line):
            return []
        match content:
            case Text():
                is_direct = bool(record.to)
                said = Said(peer, content.text, at_ms, is_direct=is_direct, seq=record.seq)
                if is_direct or not peer.away:
                    return [said]
                peer.away = ""
                return [said, AwayChanged(peer, "", at_ms)]
            case Password() if record.to:
                return []  # it is told to all, or to nobody
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

    def judge(self, peer: Peer) -> None:
        """Decide anew what a member is to us.

        Raises:
            FileError: if the pins cannot be kept.
        """
        standing, is_new = self._judge(peer.card)
        peer.standing, peer.is_new = standing, is_new or peer.is_new

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
        yield self._session, names.key(self._username)
        for peer in self.peers.values():
            yield peer.card.session, names.key(peer.name)

    def _seat(self, number: MemberId, card: Card, seq: Seq, at_ms: int) -> Peer:
        standing, is_new = self._judge(card)
        peer = Peer(
            number=number,
            card=card,
            standing=standing,
            is_new=is_new,
            came_seq=seq,
            came_ms=at_ms,
        )
        self.peers[number] = peer
        self._chains[number] = ReceiveChains(
            VerifyKey(card.identity), card.session, self._room_id, self._session
        )
        return peer


def _standing_warnings(peer: Peer, at_ms: int) -> Sequence[Warned]:
    if peer.standing is Standing.CHANGED:
        return [Warned(Trouble.CHANGED, peer, at_ms)]
    if peer.standing is Standing.NOT_INVITED:
        return [Warned(Trouble.NOT_INVITED, peer, at_ms)]
    return []
