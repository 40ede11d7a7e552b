"""Sender keys: chains sealed, ratcheted, opened in log order.

A chain key gives one message its keys, then the next chain key, and is forgotten (PROTOCOL.md 5).
AD is the chain's origin, which stays, and the position, with which every body begins. A signature
covers the chain's digest, so all before it: a run of messages costs one verification. Each message
shows its commitment: ChaCha20-Poly1305 does not commit to its key, and a sender that gave two
members two keys could find a ciphertext that opens under both.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from itertools import groupby
from typing import NamedTuple

from common.crypto.card import SESSION_BYTES
from common.crypto.hashing import KEY_BYTES, hmac_sha256, label, random_bytes, same, sha256
from common.crypto.identity import Identity
from common.crypto.primitives import (
    SEALED_OVERHEAD_BYTES,
    SIGNATURE_BYTES,
    TAG_BYTES,
    Aead,
    CardKey,
    RecipientKey,
    VerifyKey,
    hkdf_expand,
)
from common.errors import LocalProtocolError, ProtocolError, Unauthentic, Unreadable

ROOM_DEST = bytes(SESSION_BYTES)
"""dest of what is said to the room; a direct message has the recipient's session."""
SCOPE_ROOM = 0
SCOPE_DIRECT = 1
CHAIN_MESSAGES = 256
CHAIN_AGE_S = 24 * 3600

MAX_MESSAGE_BYTES = 16_640
MIN_MESSAGE_BYTES = 16 + KEY_BYTES + TAG_BYTES + SIGNATURE_BYTES
SENDER_KEY_BYTES = 9 + SEALED_OVERHEAD_BYTES + 2 * KEY_BYTES

_MESSAGE_HEAD = struct.Struct(">IIQ")
_KEY_HEAD = struct.Struct(">IIB")
_POSITION_BYTES = 8
_CIPHERTEXT_AT = _MESSAGE_HEAD.size + KEY_BYTES
_SIGNATURE_AT = -SIGNATURE_BYTES
_NONCE = bytes(12)  # every message has a key of its own
_LABEL_KEY = label("key")
_LABEL_MESSAGE = label("message")
_LABEL_CHAIN = label("chain")
_FIRST_DIGEST = bytes(KEY_BYTES)


class Failure(Enum):
    """Why a message yields nothing."""

    EARLY = auto()  # sealed before its sender saw us, and gave us a chain
    UNREADABLE = auto()  # we hold no chain of that number
    UNAUTHENTIC = auto()  # forged or replayed, or one before it is withheld


class Sealed(NamedTuple):
    """A MESSAGE as it came.

    Attributes:
        body: of the record.
        h_seen: our H at its `seen`, 32 bytes.
        scope: SCOPE_ROOM or SCOPE_DIRECT, by the `to` of the record.
        is_early: whether it is to the room, and its `seen` before the CARD by which we joined.
    """

    body: bytes
    h_seen: bytes
    scope: int = SCOPE_ROOM
    is_early: bool = False


class SendChain:
    """One of our chains, owned by an Outbox, which says who holds it and when it ends.

    Attributes:
        number: of the chain, from 1, across all dests of a session.
        dest: 16 bytes.
        index: of the next message.
    """

    __slots__ = ("_digest", "_identity", "_key", "_origin", "dest", "index", "number")

    def __init__(
        self,
        identity: Identity,
        session: bytes,
        room_id: bytes,
        dest: bytes,
        number: int,
        *,
        chain_key: bytes | None = None,
    ) -> None:
        """Start a chain.

        Args:
            identity: ours.
            session: ours, 16 bytes.
            room_id: 32 bytes.
            dest: ROOM_DEST, or the recipient's session.
            number: above that of every earlier chain of the session.
            chain_key: only test vectors give one.
        """
        self._identity = identity
        self._origin = _origin(room_id, identity.public, session, dest)
        self._key = chain_key or random_bytes(KEY_BYTES)
        self._digest = _FIRST_DIGEST
        self.dest = dest
        self.number = number
        self.index = 0

    def seal(self, content: bytes, seen: int, h_seen: bytes) -> bytes:
        """Return the body of the next MESSAGE, and step the chain.

        Args:
            content: padded.
            seen: the room seq we have processed.
            h_seen: H there, 32 bytes.
        """
        if self.index >= CHAIN_MESSAGES:
            raise LocalProtocolError("a chain is used up")
        head = _MESSAGE_HEAD.pack(self.number, self.index, seen)
        aead_key, commitment = _message_keys(self._key)
        associated = self._origin + head[:_POSITION_BYTES]
        ciphertext = Aead(aead_key).seal(_NONCE, content, associated)
        self._digest = _next_digest(
            self._digest, self._origin, head, h_seen, commitment, ciphertext
        )
        self._key = _next_key(self._key)
        self.index += 1
        signature = self._identity.sign(_LABEL_MESSAGE + self._digest)
        return head + commitment + ciphertext + signature

    def key_for(
        self, recipient_key: RecipientKey, recipient_identity: bytes, recipient_session: bytes
    ) -> bytes:
        """Return the body of a SENDER_KEY that lets one member open from the next message on."""
        scope = SCOPE_ROOM if self.dest == ROOM_DEST else SCOPE_DIRECT
        head = _KEY_HEAD.pack(self.number, self.index, scope)
        info = _key_info(self._origin, head, recipient_identity, recipient_session)
        return head + recipient_key.seal(self._key + self._digest, info)


class ReceiveChains:
    """What opens one sender: for the room and for us, a current and a pending chain each.

    PROTOCOL.md 5.2. Owned by a Reader, which drops it at the sender's LEAVE.
    """

    __slots__ = ("_current", "_origins", "_pending", "_seen", "_sender", "_session")

    def __init__(self, sender: VerifyKey, session: bytes, room_id: bytes, ours: bytes) -> None:
        """Hold no chain yet.

        Args:
            sender: the member's identity; loaded once for all its chains.
            session: the member's, 16 bytes.
            room_id: 32 bytes.
            ours: our session, 16 bytes: the dest of what is said to us alone.
        """
        self._sender = sender
        self._session = ours
        self._origins = {
            scope: _origin(room_id, sender.public, session, dest)
            for scope, dest in ((SCOPE_ROOM, ROOM_DEST), (SCOPE_DIRECT, ours))
        }
        self._current: dict[int, _Chain] = {}
        self._pending: dict[int, _Chain] = {}
        self._seen = 0

    def offer(self, body: bytes, card_keys: Iterable[CardKey], our_identity: bytes) -> None:
        """Take a SENDER_KEY; it proves nothing until a message verifies under it.

        Args:
            body: of the record.
            card_keys: ours, the newest first.
            our_identity: 32 bytes.

        Raises:
            Unreadable: if it does not open, or is of a scope that is none.
            ProtocolError: if it has the wrong length.
        """
        number, index, scope = peek_key(body)
        if scope not in self._origins:
            raise Unreadable("A key is of a scope that is none.")
        # An old chain again would make its messages open twice.
        current = self._current.get(scope)
        if number <= (current.number if current is not None else 0):
            return
        head, sealed = body[: _KEY_HEAD.size], body[_KEY_HEAD.size :]
        info = _key_info(self._origins[scope], head, our_identity, self._session)
        opened = _open_key(card_keys, sealed, info)
        self._pending[scope] = _Chain(number, index, opened[:KEY_BYTES], opened[KEY_BYTES:])

    def open(self, messages: Sequence[Sealed]) -> list[bytes | Failure]:
        """Open what this member said, in log order: PROTOCOL.md 5.3 but for its steps 1 and 2.

        A failure leaves the chains as they were.

        Returns:
            For each message its content with padding, or why there is none; the content is empty,
            which none is, if its sender sealed it wrongly.

        Raises:
            ProtocolError: if one has a length that none has; the chains are unchanged.
        """
        found: list[bytes | Failure] = []
        placed = [((message.scope, peek(message.body)[0]), message) for message in messages]
        for (scope, number), group in groupby(placed, key=lambda entry: entry[0]):
            run = [message for _, message in group]
            opened = self._open_run(scope, number, run)
            if len(run) > 1 and isinstance(opened[0], Failure):
                # Whoever has the chain key may have put one among them: each by its signature.
                opened = [one for each in run for one in self._open_run(scope, number, [each])]
            found += opened
        return found

    def _open_run(
        self, scope: int, number: int, run: Sequence[Sealed]
    ) -> Sequence[bytes | Failure]:
        """Open messages that follow one another on a chain: all, or none."""
        chain = self._find(scope, number)
        if chain is None:
            return [self._unopened(message) for message in run]
        origin = self._origins[scope]
        key, index, digest, last = chain.key, chain.index, chain.digest, self._seen
        opening: list[tuple[bytes, bytes, bytes]] = []
        for message in run:
            body = message.body
            _, at, seen = peek(body)
            aead_key, commitment = _message_keys(key)
            head, ciphertext = body[: _MESSAGE_HEAD.size], body[_CIPHERTEXT_AT:_SIGNATURE_AT]
            shown = body[_MESSAGE_HEAD.size : _CIPHERTEXT_AT]
            # Whoever gives us a chain has seen us, and a session's view of the log only grows: one
            # that shows an older view wants some of its readers to pass a message over.
            if message.is_early or seen < last or at != index or not same(shown, commitment):
                return [Failure.UNAUTHENTIC] * len(run)
            digest = _next_digest(digest, origin, head, message.h_seen, commitment, ciphertext)
            opening.append((aead_key, ciphertext, origin + head[:_POSITION_BYTES]))
            key, index, last = _next_key(key), index + 1, seen
        signature = run[-1].body[_SIGNATURE_AT:]
        if not self._sender.verify(signature, _LABEL_MESSAGE + digest):
            return [Failure.UNAUTHENTIC] * len(run)
        chain.key, chain.index, chain.digest, self._seen = key, index, digest, last
        if chain is self._pending.get(scope):
            self._current[scope] = self._pending.pop(scope)
        return [_decrypt(*sealed) for sealed in opening]

    def _unopened(self, message: Sealed) -> Failure:
        """Say why a message on a chain that we do not hold yields nothing."""
        if message.is_early and not (self._current or self._pending):
            return Failure.EARLY
        # Who has given us a chain, or spoken to us, has seen us.
        is_older = message.is_early or peek(message.body)[2] < self._seen
        return Failure.UNAUTHENTIC if is_older else Failure.UNREADABLE

    def _find(self, scope: int, number: int) -> _Chain | None:
        for chain in (self._current.get(scope), self._pending.get(scope)):
            if chain is not None and chain.number == number:
                return chain
        return None


class _Chain:
    """Where a sender's chain stands: `key` opens message `index`, `digest` is of those before."""

    __slots__ = ("digest", "index", "key", "number")

    def __init__(self, number: int, index: int, key: bytes, digest: bytes) -> None:
        self.number = number
        self.index = index
        self.key = key
        self.digest = digest


def _decrypt(aead_key: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    try:
        return Aead(aead_key).open(_NONCE, ciphertext, associated)
    except Unauthentic:
        return b""


def peek(body: bytes) -> tuple[int, int, int]:
    """Return chain, index and seen of a MESSAGE.

    Raises:
        ProtocolError: if it has a length that none has.
    """
    if not MIN_MESSAGE_BYTES <= len(body) <= MAX_MESSAGE_BYTES:
        raise ProtocolError("a message has the wrong length")
    number, index, seen = _MESSAGE_HEAD.unpack_from(body)
    return number, index, seen


def peek_key(body: bytes) -> tuple[int, int, int]:
    """Return chain, index and scope of a SENDER_KEY.

    Raises:
        ProtocolError: if it has the wrong length.
    """
    if len(body) != SENDER_KEY_BYTES:
        raise ProtocolError("a sender key has the wrong length")
    number, index, scope = _KEY_HEAD.unpack_from(body)
    return number, index, scope


def _origin(room_id: bytes, identity: bytes, session: bytes, dest: bytes) -> bytes:
    """Return AD without the position: whose chain it is, in which room, for whom."""
    return room_id + identity + session + dest


def _key_info(origin: bytes, head: bytes, identity: bytes, session: bytes) -> bytes:
    return _LABEL_KEY + origin + head[:_POSITION_BYTES] + identity + session


def _next_digest(
    digest: bytes, origin: bytes, head: bytes, h_seen: bytes, commitment: bytes, ciphertext: bytes
) -> bytes:
    # The commitment makes the signature depend on the chain key: SENDER_KEY needs none of its own.
    return sha256(_LABEL_CHAIN, digest, origin, head, h_seen, commitment, ciphertext)


def _message_keys(chain_key: bytes) -> tuple[bytes, bytes]:
    """Return the AEAD key and the commitment of the message at this position."""
    keys = hkdf_expand(hmac_sha256(chain_key, b"\x01"), info=_LABEL_MESSAGE, size=2 * KEY_BYTES)
    return keys[:KEY_BYTES], keys[KEY_BYTES:]


def _next_key(chain_key: bytes) -> bytes:
    return hmac_sha256(chain_key, b"\x02")


def _open_key(card_keys: Iterable[CardKey], sealed: bytes, info: bytes) -> bytes:
    for card_key in card_keys:
        try:
            return card_key.open(sealed, info)
        except Unauthentic:
            continue
    raise Unreadable("A key could not be opened.")
