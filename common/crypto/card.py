"""A member's card: its fields, signature and invite tag."""

from __future__ import annotations

from typing import NamedTuple

from common import names
from common.codec import Decoder, Encoder
from common.crypto.hashing import KEY_BYTES, hmac_sha256, label, same, sha256
from common.crypto.identity import Identity
from common.crypto.primitives import CARD_KEY_BYTES, SIGNATURE_BYTES, RecipientKey, verify
from common.errors import ProtocolError, UsageError

SESSION_BYTES = 16
CARD_BYTES = 1425

_PUBLIC_AT = SESSION_BYTES + KEY_BYTES
_SIGNATURE_AT = CARD_BYTES - SIGNATURE_BYTES
_TAG_AT = _SIGNATURE_AT - KEY_BYTES
_NO_TAG = bytes(KEY_BYTES)


class Card(NamedTuple):
    """A valid card (PROTOCOL.md 4.2); only `decode` and `make` build one.

    Attributes:
        kept: what ends in the 1425 bytes of the card, of which the properties are slices: a relay
            holds a thousand cards, each as the record that it logged.
        hash: SHA-256 of `encoded`, for the transcript.
        session: 16 bytes.
        identity: 32 bytes, Ed25519.
    """

    kept: bytes
    hash: bytes
    session: bytes
    identity: bytes
    username: str

    @property
    def encoded(self) -> bytes:
        """The card itself, 1425 bytes."""
        return self.kept[-CARD_BYTES:]

    @property
    def public(self) -> bytes:
        """The card key, 1216 bytes."""
        return self.encoded[_PUBLIC_AT : _PUBLIC_AT + CARD_KEY_BYTES]

    @property
    def tag(self) -> bytes:
        """The invite tag, 32 bytes; zeros where no SECRET is used."""
        return self.encoded[_TAG_AT:_SIGNATURE_AT]

    @property
    def signature(self) -> bytes:
        """The identity key's signature, 64 bytes."""
        return self.encoded[_SIGNATURE_AT:]


def encode(card: Card) -> bytes:
    """Return the 1425 bytes of a card."""
    return card.encoded


def decode(data: bytes, room_id: bytes) -> Card:
    """Read a card and check all that makes it valid in that room.

    Raises:
        ProtocolError: if it is not.
    """
    if len(data) != CARD_BYTES:
        raise ProtocolError("a card has the wrong length")
    reader = Decoder(data)
    session = reader.take(SESSION_BYTES)
    identity = reader.take(KEY_BYTES)
    public = reader.take(CARD_KEY_BYTES)
    username = reader.padded_text(names.MAX_NAME_BYTES)
    try:
        names.check_username(username)
    except UsageError:
        raise ProtocolError("a card's username is not allowed") from None
    RecipientKey(public)  # nobody could seal to a key that does not load
    if not verify(identity, data[_SIGNATURE_AT:], _signed(room_id, data[:_SIGNATURE_AT])):
        raise ProtocolError("a card's signature does not verify")
    return Card(data, sha256(data), session, identity, username)


def make(
    identity: Identity,
    session: bytes,
    room_id: bytes,
    username: str,
    public: bytes,
    secret: bytes | None,
) -> Card:
    """Make our own card.

    Args:
        identity: who signs it.
        session: 16 bytes.
        room_id: 32 bytes; the card is valid in that room only.
        username: checked by the caller.
        public: the card key, 1216 bytes.
        secret: 16 bytes, or None where no invite secret is used.
    """
    writer = Encoder().raw(session).raw(identity.public).raw(public)
    fields = writer.padded_text(username, names.MAX_NAME_BYTES).bytes()
    fields += _NO_TAG if secret is None else _tag(secret, room_id, fields)
    data = fields + identity.sign(_signed(room_id, fields))
    return Card(data, sha256(data), session, identity.public, username)


def tag_verifies(card: Card, room_id: bytes, secret: bytes) -> bool:
    """Tell whether the card's maker holds the invite secret."""
    return same(card.tag, _tag(secret, room_id, card.encoded[:_TAG_AT]))


def may_replace(old: Card, new: Card) -> bool:
    """Tell whether `new` is a newer card of the same member."""
    return (
        old.session == new.session and old.identity == new.identity and old.username == new.username
    )


def prove(identity: Identity, card: Card, handshake_hash: bytes) -> bytes:
    """Return the `auth` of a JOIN: the card's owner is on this connection (PROTOCOL.md 4.3)."""
    return identity.sign(_proven(card, handshake_hash))


def is_proven(card: Card, auth: bytes, handshake_hash: bytes) -> bool:
    """Tell whether `auth` was made by the card's identity for this connection."""
    return verify(card.identity, auth, _proven(card, handshake_hash))


def _proven(card: Card, handshake_hash: bytes) -> bytes:
    return label("auth") + handshake_hash + card.hash


def _signed(room_id: bytes, fields: bytes) -> bytes:
    return label("card") + room_id + fields


def _tag(secret: bytes, room_id: bytes, fields: bytes) -> bytes:
    return hmac_sha256(secret, label("invite"), room_id, fields)
