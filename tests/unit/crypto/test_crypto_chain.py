from __future__ import annotations

import hashlib
import hmac
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import example, given
from hypothesis import strategies as st

from common.crypto import chain, hashing, primitives
from common.crypto.chain import (
    CHAIN_MESSAGES,
    ROOM_DEST,
    SCOPE_DIRECT,
    SCOPE_ROOM,
    Failure,
    ReceiveChains,
    Sealed,
    SendChain,
)
from common.crypto.identity import Identity
from common.crypto.primitives import Aead, CardKey, RecipientKey, VerifyKey
from common.crypto.transcript import Transcript
from common.errors import LocalProtocolError, ProtocolError, Unreadable
from tests.unit.crypto.vectors import ACE, ROOM_ID, TERMCHAT, ZOE, flips, unhex

H = bytes(range(32))
CONTENT = b"\1\0\2hi".ljust(128, b"\0")
OTHER = b"\1\0\2no".ljust(128, b"\0")
ROOM_1, ROOM_2, DIRECT = TERMCHAT["messages"]
ZOE_PUBLIC = RecipientKey(ZOE.card_key.public)
BOB = Identity.generate()
UNREADABLE, UNAUTHENTIC = Failure.UNREADABLE, Failure.UNAUTHENTIC


def _send(number: int = 1, dest: bytes = ROOM_DEST, *, session: bytes = ACE.session) -> SendChain:
    return SendChain(ACE.identity, session, ROOM_ID, dest, number)


def _receive(sender: VerifyKey | None = None) -> ReceiveChains:
    """Return what zoë keeps of one sender, ace."""
    sender = sender or VerifyKey(ACE.identity.public)
    return ReceiveChains(sender, ACE.session, ROOM_ID, ZOE.session)


def _give(sending: SendChain, receiving: ReceiveChains) -> bytes:
    """Send a SENDER_KEY to zoë; return it."""
    body = sending.key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    _offer(receiving, body)
    return body


def _offer(receiving: ReceiveChains, body: bytes) -> None:
    receiving.offer(body, [ZOE.card_key], ZOE.identity.public)


def _open(
    receiving: ReceiveChains,
    body: bytes,
    h_seen: bytes = H,
    scope: int = SCOPE_ROOM,
    is_early: bool = False,
) -> bytes | Failure:
    """Open one message alone."""
    (opened,) = receiving.open([Sealed(body, h_seen, scope, is_early)])
    return opened


def _pair(number: int = 1) -> tuple[SendChain, ReceiveChains]:
    sending, receiving = _send(number), _receive()
    _give(sending, receiving)
    return sending, receiving


def _forge(signer: Identity, chain_key: bytes, **how: Any) -> bytes:
    """Build a MESSAGE that claims to be ace's; see `_forged`."""
    return _forged(signer, chain_key, **how)[0]


def _forged(
    signer: Identity,
    chain_key: bytes,
    *,
    number: int = 1,
    index: int = 0,
    dest: bytes = ROOM_DEST,
    session: bytes = ACE.session,
    aead_key: bytes | None = None,
    content: bytes = CONTENT,
    digest: bytes = bytes(32),
) -> tuple[bytes, bytes]:
    """Build a MESSAGE by the letter of PROTOCOL.md 5, given the digest of those before it.

    Returns:
        The body, and the digest with it.
    """
    position = number.to_bytes(4) + index.to_bytes(4)
    ad = ROOM_ID + ACE.identity.public + session + dest + position
    root = hmac.digest(chain_key, b"\1", "sha256")
    keys = primitives.hkdf_expand(root, info=b"termchat.v1 message\0", size=64)
    ciphertext = Aead(aead_key or keys[:32]).seal(bytes(12), content, ad)
    seen = (7).to_bytes(8)
    covered = b"termchat.v1 chain\0" + digest + ad + seen + H + keys[32:] + ciphertext
    digest = hashlib.sha256(covered).digest()
    signature = signer.sign(b"termchat.v1 message\0" + digest)
    return position + seen + keys[32:] + ciphertext + signature, digest


def _key(sending: SendChain) -> bytes:
    """Return the chain key, as every member that was given the chain has it."""
    body = sending.key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    ad = ROOM_ID + ACE.identity.public + ACE.session + sending.dest + body[:8]
    info = b"termchat.v1 key\0" + ad + ZOE.identity.public + ZOE.session
    return ZOE.card_key.open(body[9:], info)[:32]


# Vectors


def test_room_messages_are_the_vectors() -> None:
    key = TERMCHAT["key_body"]
    receiving = _receive()
    _offer(receiving, unhex(key["body"]))
    sending = SendChain(
        ACE.identity, ACE.session, ROOM_ID, ROOM_DEST, 1, chain_key=unhex(key["chain_key"])
    )
    for vector in (ROOM_1, ROOM_2):
        content, h_seen = unhex(vector["content"]), unhex(vector["H_seen"])
        assert sending.index == vector["index"]
        assert _key(sending).hex() == vector["chain_key"]
        body = sending.seal(content, vector["seen"], h_seen)
        assert body.hex() == vector["body"]
        assert _key(sending).hex() == vector["next_chain_key"]
        assert chain.peek(body) == (vector["chain"], vector["index"], vector["seen"])
        assert _open(receiving, body, h_seen) == content


def test_a_direct_message_is_the_vector() -> None:
    receiving, body = _receive(), unhex(DIRECT["body"])
    assert unhex(DIRECT["dest"]) == ZOE.session
    _offer(receiving, unhex(DIRECT["key_body"]))
    key, h_seen = unhex(DIRECT["chain_key"]), unhex(DIRECT["H_seen"])
    sending = SendChain(ACE.identity, ACE.session, ROOM_ID, ZOE.session, 2, chain_key=key)
    assert sending.seal(unhex(DIRECT["content"]), DIRECT["seen"], h_seen) == body
    assert _open(receiving, body, h_seen, SCOPE_DIRECT) == unhex(DIRECT["content"])


def test_the_head_of_a_sender_key_is_the_vector() -> None:
    for body, scope in ((TERMCHAT["key_body"]["body"], 0), (DIRECT["key_body"], 1)):
        number, index, found = chain.peek_key(unhex(body))
        assert (index, found) == (0, scope)
        dest = (ROOM_DEST, ZOE.session)[scope]
        made = _send(number, dest).key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
        assert made[:9] == unhex(body)[:9]
        assert len(made) == len(unhex(body)) == 1209


def test_our_messages_are_by_the_letter() -> None:
    sending = _send(3, ZOE.session)
    key = _key(sending)
    assert sending.seal(CONTENT, 7, H) == _forge(ACE.identity, key, number=3, dest=ZOE.session)


# Sending


def test_a_chain_ends_after_256_messages() -> None:
    sending, receiving = _pair()
    for index in range(CHAIN_MESSAGES):
        assert sending.index == index
        assert _open(receiving, sending.seal(CONTENT, 7, H)) == CONTENT
    with pytest.raises(LocalProtocolError):
        sending.seal(CONTENT, 7, H)


def test_every_message_has_its_own_key() -> None:
    sending = _send()
    keys = {_key(sending)}
    for _ in range(10):
        sending.seal(CONTENT, 7, H)
        keys.add(_key(sending))
    assert len(keys) == 11


def test_a_late_recipient_opens_from_the_present_position_only() -> None:
    sending, receiving = _send(), _receive()
    earlier = sending.seal(CONTENT, 7, H)
    _give(sending, receiving)
    assert _open(receiving, earlier, H) is UNAUTHENTIC
    assert _open(receiving, sending.seal(CONTENT, 7, H)) == CONTENT


# Receiving, in order


def test_nothing_opens_after_a_message_that_does_not_come() -> None:
    sending, receiving = _pair()
    first, withheld, third = (sending.seal(CONTENT, 7, H) for _ in range(3))
    assert _open(receiving, first) == CONTENT
    assert _open(receiving, third) is UNAUTHENTIC
    assert _open(receiving, withheld) == CONTENT
    assert _open(receiving, third) == CONTENT


class _Counting(VerifyKey):
    """Ace's identity, and how often it was asked."""

    count = 0

    def verify(self, signature: bytes, message: bytes) -> bool:
        self.count += 1
        return super().verify(signature, message)


def test_messages_opened_together_cost_one_verification_for_each_chain() -> None:
    verify = _Counting(ACE.identity.public)
    receiving = _receive(verify)
    old, new = _send(1), _send(2)
    _give(old, receiving)
    sealed = [Sealed(old.seal(bytes([n]), 7, H), H) for n in range(9)]
    assert receiving.open(sealed) == [bytes([n]) for n in range(9)]
    assert verify.count == 1
    _give(new, receiving)
    sealed = [Sealed(one.seal(CONTENT, 7, H), H) for one in (old, old, new, new, new, old)]
    assert receiving.open(sealed) == [CONTENT] * 5 + [UNREADABLE]
    assert verify.count == 3


def test_early_is_only_what_one_says_who_gave_us_no_chain() -> None:
    other = _send(2).seal(CONTENT, 7, H)
    assert _open(_receive(), other, is_early=True) is Failure.EARLY
    for dest in (ROOM_DEST, ZOE.session):
        given, receiving = _send(1, dest), _receive()
        _give(given, receiving)
        assert _open(receiving, other, is_early=True) is UNAUTHENTIC
        assert _open(receiving, given.seal(CONTENT, 7, H), is_early=True) is UNAUTHENTIC


def test_no_messages_are_no_messages() -> None:
    assert _receive().open([]) == []


@pytest.mark.parametrize("forged_at", [0, 2, 4])
def test_what_another_member_puts_among_them_fails_and_nothing_before_it(forged_at: int) -> None:
    sending, receiving = _pair()
    bodies, digest = [], bytes(32)
    for index in range(5):
        key = _key(sending)
        if index == forged_at:
            # The signature of a later, true message must not vouch for it.
            bodies.append(_forge(BOB, key, index=index, content=OTHER, digest=digest))
            sending.seal(CONTENT, 7, H)
        else:
            bodies.append(sending.seal(CONTENT, 7, H))
        digest = _forged(ACE.identity, key, index=index, digest=digest)[1]
    found = receiving.open([Sealed(body, H) for body in bodies])
    assert found == [CONTENT] * forged_at + [UNAUTHENTIC] * (5 - forged_at)


def test_a_signature_vouches_for_what_its_signer_signed_wrongly_before() -> None:
    sending, alone = _pair()
    together = _receive()
    _give(sending, together)
    wrong = sending.seal(OTHER, 7, H)[:-64] + bytes(64)
    sealed = [Sealed(wrong, H), Sealed(sending.seal(CONTENT, 7, H), H)]
    assert together.open(sealed) == [OTHER, CONTENT]
    assert [_open(alone, *one) for one in sealed] == [UNAUTHENTIC] * 2


def test_whoever_gives_out_a_chain_chooses_where_it_starts_and_no_word_of_it() -> None:
    sending = _send()
    _, true_digest = _forged(ACE.identity, _key(sending), content=OTHER)
    sending.seal(OTHER, 7, H)
    key = _key(sending)
    rest = [Sealed(sending.seal(CONTENT, 7, H), H) for _ in range(2)]
    # The relay, and a member who has the chain key, seal what they like in ace's name.
    for digest in (true_digest, bytes(32), b"\7" * 32):
        told = _receive()
        told._pending[SCOPE_ROOM] = chain._Chain(1, 1, key, digest)
        assert told.open(rest) == [CONTENT if digest == true_digest else UNAUTHENTIC] * 2


def test_a_new_chain_takes_over_at_its_first_message() -> None:
    old, receiving = _pair(1)
    assert _open(receiving, old.seal(CONTENT, 7, H)) == CONTENT
    new = _send(5)
    _give(new, receiving)
    late = old.seal(CONTENT, 7, H)
    assert _open(receiving, late, H) == CONTENT
    after = old.seal(CONTENT, 7, H)
    assert _open(receiving, new.seal(CONTENT, 7, H), H) == CONTENT
    assert _open(receiving, after, H) is UNREADABLE


def test_a_newer_offer_replaces_the_pending_one() -> None:
    receiving, first, second = _receive(), _send(1), _send(1)
    _give(first, receiving)
    _give(second, receiving)
    assert _open(receiving, first.seal(CONTENT, 7, H), H) is UNAUTHENTIC
    assert _open(receiving, second.seal(CONTENT, 7, H), H) == CONTENT


def test_an_old_card_key_opens_what_was_on_its_way() -> None:
    sending, receiving, new = _send(), _receive(), CardKey.generate()
    body = sending.key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    with pytest.raises(Unreadable):
        receiving.offer(body, [new], ZOE.identity.public)
    with pytest.raises(Unreadable):
        receiving.offer(body, [], ZOE.identity.public)
    receiving.offer(body, [new, ZOE.card_key], ZOE.identity.public)
    assert _open(receiving, sending.seal(CONTENT, 7, H), H) == CONTENT


def test_the_last_position_there_can_be_is_no_trouble() -> None:
    receiving, last = _receive(), 2**32 - 1
    info = hashing.label("key") + ROOM_ID + ACE.identity.public + ACE.session + ROOM_DEST
    info += last.to_bytes(4) * 2 + ZOE.identity.public + ZOE.session
    _offer(receiving, last.to_bytes(4) * 2 + b"\0" + ZOE_PUBLIC.seal(bytes(64), info))
    body = _forge(ACE.identity, bytes(32), number=last, index=last)
    assert _open(receiving, body, H) == CONTENT
    assert _open(receiving, body, H) is UNAUTHENTIC


def test_what_its_sender_sealed_wrongly_is_empty_and_uses_its_key() -> None:
    sending, receiving = _pair()
    key = _key(sending)
    wrong, digest = _forged(ACE.identity, key, aead_key=bytes(32))
    assert _open(receiving, wrong) == b""
    assert _open(receiving, wrong) is UNAUTHENTIC
    next_key = hmac.digest(key, b"\2", "sha256")
    right = _forge(ACE.identity, next_key, index=1, digest=digest)
    assert _open(receiving, right) == CONTENT


# What must fail (PROTOCOL.md 11)


def test_a_replayed_message_fails() -> None:
    sending, receiving = _pair()
    first, second = sending.seal(CONTENT, 7, H), sending.seal(CONTENT, 7, H)
    assert _open(receiving, first) == CONTENT
    assert _open(receiving, second) == CONTENT
    for body in (first, second):
        assert _open(receiving, body, H) is UNAUTHENTIC


def test_an_earlier_chain_again_fails() -> None:
    old, receiving = _pair(1)
    old_key = old.key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    old_message = old.seal(CONTENT, 7, H)
    assert _open(receiving, old_message) == CONTENT
    new = _send(2)
    new_key = _give(new, receiving)
    message = new.seal(CONTENT, 7, H)
    assert _open(receiving, message) == CONTENT
    for key in (old_key, new_key):
        _offer(receiving, key)
        assert _open(receiving, old_message, H) is UNREADABLE
        assert _open(receiving, message, H) is UNAUTHENTIC
    assert _open(receiving, new.seal(CONTENT, 7, H), H) == CONTENT


def test_an_earlier_chain_again_fails_after_leave_and_card() -> None:
    sending, receiving = _pair()
    key = sending.key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    message = sending.seal(CONTENT, 7, H)
    assert _open(receiving, message) == CONTENT
    # Ace leaves and comes back: a new session, so new chains. (The same session, which only a lying
    # relay shows, is caught by `seen` before this module is asked.)
    back = ReceiveChains(VerifyKey(ACE.identity.public), bytes(16), ROOM_ID, ZOE.session)
    with pytest.raises(Unreadable):
        _offer(back, key)
    assert _open(back, message, H) is UNREADABLE


@pytest.mark.parametrize(
    ("sent", "shown"),
    [(SCOPE_ROOM, SCOPE_DIRECT), (SCOPE_DIRECT, SCOPE_ROOM)],
    ids=["room", "direct"],
)
def test_a_message_of_the_other_scope_fails(sent: int, shown: int) -> None:
    dests = {SCOPE_ROOM: ROOM_DEST, SCOPE_DIRECT: ZOE.session}
    sending, receiving = _send(1, dests[sent]), _receive()
    key = sending.key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    turned = key[:8] + bytes([1 - key[8]]) + key[9:]
    with pytest.raises(Unreadable, match="opened"):
        _offer(receiving, turned)
    _offer(receiving, key)
    body = sending.seal(CONTENT, 7, H)
    assert _open(receiving, body, H, shown) is UNREADABLE
    # Even a sender who gives one chain for both cannot be shown in the other place.
    chain_key = _key(_send(1, dests[sent]))
    other = SendChain(ACE.identity, ACE.session, ROOM_ID, dests[shown], 1, chain_key=chain_key)
    _give(other, receiving)
    assert _open(receiving, body, H, shown) is UNAUTHENTIC
    assert _open(receiving, body, H, sent) == CONTENT


def test_a_scope_that_is_none_is_not_taken() -> None:
    key = _send().key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    with pytest.raises(Unreadable, match="scope"):
        _offer(_receive(), key[:8] + b"\2" + key[9:])


def test_another_members_number_on_a_message_fails() -> None:
    sending, _ = _pair()
    key = sending.key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    other_identity = ReceiveChains(VerifyKey(BOB.public), ACE.session, ROOM_ID, ZOE.session)
    other_session = ReceiveChains(VerifyKey(ACE.identity.public), bytes(16), ROOM_ID, ZOE.session)
    other_room = ReceiveChains(VerifyKey(ACE.identity.public), ACE.session, bytes(32), ZOE.session)
    chain_key, body = _key(sending), sending.seal(CONTENT, 7, H)
    for identity, session, room_id, receiving in (
        (BOB, ACE.session, ROOM_ID, other_identity),
        (ACE.identity, bytes(16), ROOM_ID, other_session),
        (ACE.identity, ACE.session, bytes(32), other_room),
    ):
        with pytest.raises(Unreadable):
            _offer(receiving, key)
        assert _open(receiving, body, H) is UNREADABLE
        # The other member helps, and gives that very chain key as its own.
        helper = SendChain(identity, session, room_id, ROOM_DEST, 1, chain_key=chain_key)
        _give(helper, receiving)
        assert _open(receiving, body, H) is UNAUTHENTIC


def test_a_message_signed_by_a_member_who_knows_the_chain_key_fails() -> None:
    sending, receiving = _pair()
    assert _open(receiving, _forge(BOB, _key(sending)), H) is UNAUTHENTIC
    assert _open(receiving, _forge(ACE.identity, _key(sending)), H) == CONTENT


def test_two_recipients_given_different_chain_keys_do_not_both_open() -> None:
    mine, theirs = _pair()
    other = _receive()
    _give(_send(), other)
    body = mine.seal(CONTENT, 7, H)
    assert _open(theirs, body, H) == CONTENT
    assert _open(other, body, H) is UNAUTHENTIC


def test_a_sender_key_made_by_the_relay_opens_nothing() -> None:
    sending, receiving = _pair()
    assert _open(receiving, sending.seal(CONTENT, 7, H)) == CONTENT
    # Anybody can seal to zoë in ace's name: it says chain 2, and later says so again.
    made_up = SendChain(ACE.identity, ACE.session, ROOM_ID, ROOM_DEST, 2, chain_key=b"\7" * 32)
    _give(made_up, receiving)
    assert _open(receiving, _forge(BOB, b"\7" * 32, number=2), H) is UNAUTHENTIC
    honest = _send(2)
    assert _open(receiving, honest.seal(CONTENT, 7, H), H) is UNAUTHENTIC
    # What is current goes on, and ace's own key takes the place of the false one.
    assert _open(receiving, sending.seal(CONTENT, 7, H), H) == CONTENT
    _give(honest, receiving)
    assert _open(receiving, honest.seal(CONTENT, 7, H), H) == CONTENT


def test_a_key_for_another_recipient_does_not_open() -> None:
    body = _send().key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    for identity, session in ((BOB.public, ZOE.session), (ZOE.identity.public, bytes(16))):
        receiving = ReceiveChains(VerifyKey(ACE.identity.public), ACE.session, ROOM_ID, session)
        with pytest.raises(Unreadable):
            receiving.offer(body, [ZOE.card_key], identity)


@pytest.mark.parametrize("history", ["another log", "dropped", "hidden member", "reordered"])
def test_a_message_of_another_history_fails(history: str) -> None:
    members = {1: ACE.card.hash, 2: ZOE.card.hash}
    honest = Transcript(2, H, members)
    shown = {
        "another log": Transcript(2, bytes(32), members),
        "hidden member": Transcript(2, H, {**members, 3: bytes(32)}),
    }.get(history, Transcript(2, H, members))
    records = [b"one", b"two", b"three"]
    seen_by = {"dropped": [b"two", b"three"], "reordered": [b"two", b"one", b"three"]}
    for record in records:
        honest.add(record)
    for record in seen_by.get(history, records):
        shown.add(record)
    sending, receiving = _pair()
    body = sending.seal(CONTENT, honest.seq, honest.h)
    assert _open(receiving, body, shown.at(5) or shown.h) is UNAUTHENTIC
    assert _open(receiving, body, honest.h) == CONTENT


def test_a_message_with_any_bit_changed_fails() -> None:
    sending, receiving = _pair()
    assert _open(receiving, sending.seal(CONTENT, 7, H)) == CONTENT
    body = sending.seal(CONTENT, 7, H)
    for changed in [*flips(body), body[:-1], body + b"\0"]:
        assert isinstance(_open(receiving, changed), Failure)
    assert _open(receiving, body, bytes(32)) is UNAUTHENTIC
    # None of them moved the chain.
    assert _open(receiving, body) == CONTENT


def test_a_sender_key_with_any_bit_changed_opens_nothing() -> None:
    sending, receiving = _send(), _receive()
    key = sending.key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session)
    for changed in [*flips(key)[:16], *flips(key)[16::37], *flips(key)[1088:]]:
        with pytest.raises(Unreadable):
            _offer(receiving, changed)
    assert _open(receiving, sending.seal(CONTENT, 7, H), H) is UNREADABLE


def test_chain_number_0_is_never_taken() -> None:
    sending, receiving = _send(0), _receive()
    _give(sending, receiving)
    assert _open(receiving, sending.seal(CONTENT, 7, H), H) is UNREADABLE


@pytest.mark.parametrize("size", [0, 1, 127, 16_641])
def test_a_message_of_no_possible_length_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError):
        chain.peek(bytes(size))
    with pytest.raises(ProtocolError):
        _receive().open([Sealed(bytes(size), H)])


@pytest.mark.parametrize("size", [0, 9, 1177, 1208, 1210])
def test_a_sender_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError):
        chain.peek_key(bytes(size))
    with pytest.raises(ProtocolError):
        _offer(_receive(), bytes(size))


# Properties


@given(st.binary(max_size=200))
def test_any_bytes_have_a_head_or_are_refused(data: bytes) -> None:
    receiving = _receive()
    if len(data) < 128:
        with pytest.raises(ProtocolError):
            chain.peek(data)
    else:
        number, index, seen = chain.peek(data)
        assert number.to_bytes(4) + index.to_bytes(4) + seen.to_bytes(8) == data[:16]
        assert _open(receiving, data, H) is UNREADABLE


@given(st.lists(st.integers(0, 7), max_size=12))
def test_a_message_opens_once_and_in_its_place_only(order: list[int]) -> None:
    sending, receiving = _pair()
    bodies = [sending.seal(CONTENT, number, H) for number in range(8)]
    following = 0
    for number in order:
        opened = _open(receiving, bodies[number])
        assert opened == (CONTENT if number == following else UNAUTHENTIC)
        following += number == following


@given(
    st.lists(st.sampled_from(["old", "new", "flipped", "another member's", "again"]), max_size=14),
    st.lists(st.integers(1, 6), max_size=14),
)
def test_what_is_opened_together_is_what_opens_one_by_one(came: list[str], cuts: list[int]) -> None:
    chains = {"old": _send(1), "new": _send(2)}
    alone, together = _receive(), _receive()
    for receiving in (alone, together):
        _offer(receiving, chains["old"].key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session))
    sealed = [Sealed(chains["old"].seal(CONTENT, 7, H), H)]
    for receiving in (alone, together):
        receiving.open(sealed)
        _offer(receiving, chains["new"].key_for(ZOE_PUBLIC, ZOE.identity.public, ZOE.session))
    digest = _forged(ACE.identity, bytes(32))[1]
    for what in came:
        match what:
            case "flipped":
                body = sealed[-1].body
                sealed.append(Sealed(body[:20] + bytes([body[20] ^ 1]) + body[21:], H))
            case "another member's":
                old = chains["old"]
                body = _forge(BOB, _key(old), index=old.index, content=OTHER, digest=digest)
                sealed.append(Sealed(body, H))
            case "again":
                sealed.append(sealed[-1])
            case _:
                sealed.append(Sealed(chains[what].seal(CONTENT, 7, H), H))
    expected = [_open(alone, *one) for one in sealed]
    found: list[bytes | Failure] = []
    while sealed:
        size = cuts.pop() if cuts else len(sealed)
        found += together.open(sealed[:size])
        del sealed[:size]
    assert found == expected


# One record, one content (PROTOCOL.md 1, 5.3).

P1305 = 2**130 - 5


def _collide(keys: tuple[bytes, bytes], ad: bytes, draw: random.Random) -> bytes:
    """Find a ciphertext that ChaCha20-Poly1305 opens under both keys: it does not commit to one.

    Poly1305 is linear in each block: two blocks are free, and two tags must be the same.
    """
    blocks = [draw.randbytes(16) for _ in range(8)]
    sizes = len(ad).to_bytes(8, "little") + (128).to_bytes(8, "little")
    rest = ad.ljust(-(-len(ad) // 16) * 16, b"\0")
    while True:
        tag = draw.randrange(2**128)
        rows = []
        for key in keys:
            stream = Cipher(ChaCha20(key, bytes(16)), None).encryptor().update(bytes(32))
            r = int.from_bytes(stream[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
            pad = int.from_bytes(stream[16:], "little")
            whole = [rest[at : at + 16] for at in range(0, len(rest), 16)]
            whole += [*blocks[:6], bytes(16), bytes(16), sizes]
            known = 0
            for at, block in enumerate(whole):
                is_free = at in (len(whole) - 2, len(whole) - 3)
                value = 0 if is_free else int.from_bytes(block, "little") + 2**128
                known = (known + value) * r % P1305
            wanted = (tag - pad) % 2**128 + draw.randrange(3) * 2**128
            rows.append((pow(r, 3, P1305), pow(r, 2, P1305), (wanted - known) % P1305))
        (a, b, e), (c, d, f) = rows
        inverse = pow((a * d - b * c) % P1305, -1, P1305)
        found = ((e * d - b * f) * inverse % P1305, (a * f - c * e) * inverse % P1305)
        if all(2**128 <= value < 2**129 for value in found):
            blocks[6:] = [(value - 2**128).to_bytes(16, "little") for value in found]
            return b"".join(blocks) + tag.to_bytes(16, "little")


class _Liar:
    """Ace, who gives one chain two keys; it says each message on either, or on both."""

    def __init__(self) -> None:
        self.keys = [b"\1" * 32, b"\2" * 32]
        self.digests = [bytes(32), bytes(32)]
        self.index = 0

    def receivers(self) -> tuple[ReceiveChains, ReceiveChains]:
        both = _receive(), _receive()
        for receiving, key in zip(both, self.keys, strict=True):
            _give(SendChain(ACE.identity, ACE.session, ROOM_ID, ROOM_DEST, 1, chain_key=key),
                  receiving)  # fmt: skip
        return both

    def say(self, seen: int, sealed: str, shown: int, signed: int, draw: random.Random) -> bytes:
        """Return the next message.

        Args:
            sealed: under whose key: "0", "1" or "both".
            shown: whose commitment it shows.
            signed: for whom its signature verifies; 2 for nobody.
        """
        position = (1).to_bytes(4) + self.index.to_bytes(4)
        ad = ROOM_ID + ACE.identity.public + ACE.session + ROOM_DEST + position
        roots = [hmac.digest(key, b"\1", "sha256") for key in self.keys]
        pairs = [
            primitives.hkdf_expand(root, info=b"termchat.v1 message\0", size=64) for root in roots
        ]
        if sealed == "both":
            ciphertext = _collide((pairs[0][:32], pairs[1][:32]), ad, draw)
        else:
            ciphertext = Aead(pairs[int(sealed)][:32]).seal(bytes(12), CONTENT, ad)
        for whose, pair in enumerate(pairs):
            covered = b"termchat.v1 chain\0" + self.digests[whose] + ad + seen.to_bytes(8) + H
            digest = hashlib.sha256(covered + pair[32:] + ciphertext).digest()
            self.digests[whose] = digest
        signature = bytes(64)
        if signed < 2:
            signature = ACE.identity.sign(b"termchat.v1 message\0" + self.digests[signed])
        self.keys = [hmac.digest(key, b"\2", "sha256") for key in self.keys]
        self.index += 1
        return position + seen.to_bytes(8) + pairs[shown][32:] + ciphertext + signature


def test_one_ciphertext_under_two_keys() -> None:
    draw, ad = random.Random(1), bytes(104)
    keys = bytes([1]) * 32, bytes([2]) * 32
    ciphertext = _collide(keys, ad, draw)
    one, other = (Aead(key).open(bytes(12), ciphertext, ad) for key in keys)
    assert one != other


@pytest.mark.parametrize("shown", [0, 1])
def test_a_member_that_shows_two_texts_is_read_by_one_and_found_out_by_the_other(
    shown: int,
) -> None:
    liar, draw = _Liar(), random.Random(2)
    rob, vera = liar.receivers()
    first = Sealed(liar.say(7, "both", shown, 0, draw), H)
    second = Sealed(liar.say(7, "1", 1, 1, draw), H)
    found = [rob.open([first]), vera.open([first, second])[:1]]
    assert UNAUTHENTIC in (found[0][0], found[1][0])


@given(
    st.lists(
        st.tuples(
            st.integers(5, 8),
            st.sampled_from(["0", "1", "both", "both"]),
            st.integers(0, 1),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.integers(1, 4), max_size=6),
    st.lists(st.integers(1, 4), max_size=6),
    st.integers(0, 2**32),
)
@example([(7, "both", 0, 0), (7, "1", 1, 1)], [1, 1], [2], 0)
@example([(7, "both", 0, 0), (5, "1", 1, 1)], [1, 1], [2], 0)
def test_whoever_accepts_a_record_reads_what_every_other_reads(
    said: list[tuple[int, str, int, int]], cuts: list[int], others: list[int], seed: int
) -> None:
    liar, draw = _Liar(), random.Random(seed)
    rob, vera = liar.receivers()
    bodies = [liar.say(*how, draw) for how in said]
    read: list[list[bytes | Failure]] = []
    for receiving, sizes, is_late in ((rob, cuts, True), (vera, others, False)):
        # Rob came later: what shows a view from before that is early to him.
        left = [
            Sealed(body, H, is_early=is_late and seen < 7)
            for body, (seen, *_) in zip(bodies, said, strict=True)
        ]
        found: list[bytes | Failure] = []
        while left:
            size = sizes.pop() if sizes else len(left)
            found += receiving.open(left[:size])
            del left[:size]
        read.append(found)
        # Whoever holds the chain is never left in silence.
        assert Failure.EARLY not in found
    for one, other in zip(*read, strict=True):
        assert isinstance(one, Failure) or isinstance(other, Failure) or one == other


def test_secrets_do_not_show() -> None:
    sending, receiving = _pair()
    assert _open(receiving, sending.seal(CONTENT, 7, H)) == CONTENT
    for value in (sending, receiving, receiving._current[SCOPE_ROOM]):
        assert repr(value).startswith("<common.crypto.chain.")
