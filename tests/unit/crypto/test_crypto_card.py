from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.codec import Encoder
from common.crypto import card
from common.crypto.card import CARD_BYTES
from common.crypto.hashing import label
from common.crypto.identity import Identity
from common.crypto.primitives import CardKey
from common.errors import ProtocolError
from tests.unit.crypto.vectors import ACE, ROOM_ID, TERMCHAT, ZOE, flips, unhex

SECRET = unhex(TERMCHAT["cards"][0]["invite_secret"])
OTHER_ROOM = bytes(32)


def _signed(fields: bytes) -> bytes:
    """Return a card with any fields at all, signed well."""
    return fields + ACE.identity.sign(label("card") + ROOM_ID + fields)


def _named(name_field: bytes, public: bytes = ACE.card_key.public) -> bytes:
    assert len(name_field) == 65
    return _signed(ACE.session + ACE.identity.public + public + name_field + bytes(32))


@pytest.mark.parametrize("number", [0, 1])
def test_a_card_is_the_vector(number: int) -> None:
    vector, who = TERMCHAT["cards"][number], (ACE, ZOE)[number]
    secret = unhex(vector["invite_secret"]) if vector["invite_secret"] else None
    assert who.card_key.public.hex() == vector["hpke_public"]
    made = card.make(who.identity, who.session, ROOM_ID, who.username, who.card_key.public, secret)
    assert card.encode(made).hex() == vector["card"]
    assert made.hash.hex() == vector["card_sha256"]
    assert card.decode(unhex(vector["card"]), ROOM_ID) == made
    assert made.session.hex() == vector["session"]
    assert made.identity.hex() == vector["identity"]
    assert made.public.hex() == vector["hpke_public"]
    assert made.username == vector["username"]
    assert made.tag == made.encoded[-96:-64]
    assert made.signature == made.encoded[-64:]


def test_a_card_with_any_bit_changed_is_invalid() -> None:
    for changed in flips(ACE.card.encoded):
        with pytest.raises(ProtocolError):
            card.decode(changed, ROOM_ID)


def test_a_card_of_another_room_is_invalid() -> None:
    with pytest.raises(ProtocolError, match="signature"):
        card.decode(ACE.card.encoded, OTHER_ROOM)


@given(st.binary(max_size=100) | st.binary(min_size=CARD_BYTES, max_size=CARD_BYTES))
def test_any_bytes_are_a_card_or_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        card.decode(data, ROOM_ID)


def test_a_cut_card_and_one_with_a_tail_are_invalid() -> None:
    for data in (b"", ACE.card.encoded[:-1], ACE.card.encoded + b"\0"):
        with pytest.raises(ProtocolError, match="length"):
            card.decode(data, ROOM_ID)


@pytest.mark.parametrize(
    "field",
    [
        b"\0" + bytes(64),
        b"\3ace" + b"x" + bytes(60),  # a second name in the padding
        b"\3ace" + bytes(60) + b"\1",
        b"\x41" + b"a" * 64,
        b"\xff" + b"a" * 64,
        b"\2\xff\xfe" + bytes(62),
        b"\3a e" + bytes(61),
        b"\3a\0e" + bytes(61),
        b"\1*" + bytes(63),
        b"\4\xef\xac\x81x" + bytes(60),  # U+FB01 is not NFKC
        b"\4a\xd0\xb0x" + bytes(60),  # Latin and Cyrillic
        b"\x21" + b"a" * 33 + bytes(31),
    ],
)
def test_a_username_that_is_not_allowed_makes_a_card_invalid(field: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"name|UTF-8"):
        card.decode(_named(field), ROOM_ID)


def test_the_longest_username_is_allowed() -> None:
    name = "é" * 32
    assert card.decode(_named(b"\x40" + name.encode()), ROOM_ID).username == name


@pytest.mark.parametrize(
    "public",
    [
        ACE.card_key.public[:1184] + bytes(32),
        ACE.card_key.public[:1184] + b"\1" + bytes(31),
        b"\xff" * 1184 + ACE.card_key.public[1184:],
    ],
    ids=["zeros", "small order", "above q"],
)
def test_a_card_nobody_can_seal_to_is_invalid(public: bytes) -> None:
    field = b"\3ace" + bytes(61)
    assert card.decode(_named(field), ROOM_ID).username == "ace"
    with pytest.raises(ProtocolError, match="sealed to"):
        card.decode(_named(field, public), ROOM_ID)


def test_a_tag_proves_the_secret_for_this_card_in_this_room() -> None:
    assert card.tag_verifies(ACE.card, ROOM_ID, SECRET)
    assert not card.tag_verifies(ACE.card, ROOM_ID, bytes(16))
    assert not card.tag_verifies(ACE.card, OTHER_ROOM, SECRET)
    # A member without the secret copies the tag of one who has it.
    fields = Encoder().raw(ZOE.card.encoded[:-96]).raw(ACE.card.tag).bytes()
    data = fields + ZOE.identity.sign(label("card") + ROOM_ID + fields)
    assert not card.tag_verifies(card.decode(data, ROOM_ID), ROOM_ID, SECRET)


def test_a_card_without_a_tag_does_not_verify() -> None:
    assert ZOE.card.tag == bytes(32)
    assert not card.tag_verifies(ZOE.card, ROOM_ID, SECRET)


def test_a_card_may_be_replaced_by_the_same_member_only() -> None:
    new = CardKey.generate().public
    make, old = card.make, ACE.card
    assert card.may_replace(old, make(ACE.identity, ACE.session, ROOM_ID, "ace", new, SECRET))
    assert card.may_replace(old, make(ACE.identity, ACE.session, ROOM_ID, "ace", new, None))
    assert not card.may_replace(old, make(ACE.identity, ACE.session, ROOM_ID, "Ace", new, None))
    assert not card.may_replace(old, make(ACE.identity, ZOE.session, ROOM_ID, "ace", new, None))
    stranger = Identity.generate()
    assert not card.may_replace(old, make(stranger, ACE.session, ROOM_ID, "ace", new, None))


def test_auth_is_the_vector() -> None:
    vector = TERMCHAT["handshake"]
    h, auth = unhex(vector["handshake_hash"]), unhex(vector["auth_signature"])
    assert card.prove(ACE.identity, ACE.card, h) == auth
    assert card.is_proven(ACE.card, auth, h)


def test_auth_is_for_one_card_on_one_connection() -> None:
    h, other = bytes(32), bytes(31) + b"\1"
    auth = card.prove(ACE.identity, ACE.card, h)
    assert not card.is_proven(ACE.card, auth, other)
    assert not card.is_proven(ZOE.card, auth, h)
    newer = card.make(ACE.identity, ACE.session, ROOM_ID, "ace", ACE.card.public, None)
    assert not card.is_proven(newer, auth, h)
    assert not card.is_proven(ACE.card, card.prove(ZOE.identity, ACE.card, h), h)
    assert not any(card.is_proven(ACE.card, changed, h) for changed in flips(auth))
    assert not card.is_proven(ACE.card, bytes(64), h)
