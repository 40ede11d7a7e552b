from __future__ import annotations

import contextlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from common.crypto import card, points, primitives, ticket
from common.crypto.identity import Identity
from common.crypto.primitives import RecipientKey, VerifyKey, X25519Key
from common.errors import ProtocolError, Unauthentic, UsageError
from common.wire.records import Hello
from tests.unit.crypto.vectors import ACE, ROOM_ID, ZOE, load, unhex

P = 2**255 - 19
WYCHEPROOF = load("wycheproof.json")

# All u-coordinates of order 1, 2, 4 and 8 on the curve and its twist (RFC 7748 7), below 2^255.
U_8 = 325606250916557431795983626356110631294008115727848805560023387167927233504
SMALL_ORDER_U = [u.to_bytes(32, "little") for u in (0, 1, U_8, pow(U_8, -1, P), P - 1, P, P + 1)]

# y of the eight points of small order, and what else is below 2^255 and one of them modulo p, with
# both values of x's sign.
Y_8 = (U_8 - 1) * pow(U_8 + 1, -1, P) % P  # RFC 7748 4.1
SMALL_ORDER_Y = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, P - 1, Y_8, P - Y_8, P, P + 1)
    for sign in (0, 1)
]
NOT_CANONICAL = [
    (y | sign << 255).to_bytes(32, "little") for y in range(P + 2, 2**255) for sign in (0, 1)
]

# R is the neutral point and S is 0. Under a key of order n it fits one message in n.
FITS_MANY = b"\1" + bytes(63)


def _card(identity: bytes, session: bytes) -> bytes:
    fields = session + identity + ACE.card_key.public + b"\3mal" + bytes(61) + bytes(32)
    return fields + FITS_MANY


def _hex(public: bytes) -> str:
    return public.hex()


@pytest.mark.parametrize("identity", SMALL_ORDER_Y, ids=_hex)
def test_a_card_signed_once_for_all_is_invalid(identity: bytes) -> None:
    library = Ed25519PublicKey.from_public_bytes(identity)
    fitting = 0
    for number in range(128):
        data = _card(identity, number.to_bytes(16))
        with contextlib.suppress(InvalidSignature):
            library.verify(FITS_MANY, card._signed(ROOM_ID, data[:-64]))
            fitting += 1
        with pytest.raises(ProtocolError):
            card.decode(data, ROOM_ID)
    assert fitting, "the attack is none"


@pytest.mark.parametrize("identity", [*SMALL_ORDER_Y, *NOT_CANONICAL], ids=_hex)
def test_a_key_of_small_order_or_not_canonical_is_nobodys(identity: bytes) -> None:
    assert not points.is_identity(identity)
    with pytest.raises(ProtocolError, match="small order"):
        VerifyKey(identity)
    assert not primitives.verify(identity, FITS_MANY, b"")
    hello = Hello(bytes(16), identity, "", "mal")
    with pytest.raises(ProtocolError, match="small order"):
        Hello.decode(hello.encode())


@given(st.binary(min_size=32, max_size=32))
def test_the_key_of_any_file_is_an_identity(seed: bytes) -> None:
    assert points.is_identity(Identity.from_seed(seed).public)


@given(st.sampled_from(SMALL_ORDER_Y), st.integers(2, 40))
def test_the_neighbours_of_bad_keys_are_judged_by_themselves(identity: bytes, step: int) -> None:
    y = int.from_bytes(identity, "little") % 2**255
    for near in ((y + step) % 2**255, (y - step) % 2**255):
        assert points.is_identity(near.to_bytes(32, "little")) is (
            near < P and near not in (0, 1, P - 1)
        )


@pytest.mark.parametrize("point", SMALL_ORDER_U, ids=_hex)
def test_a_point_that_makes_zeros_is_refused(point: bytes) -> None:
    for public in (point, point[:31] + bytes([point[31] | 0x80])):  # the top bit is ignored
        with pytest.raises(Unauthentic):
            X25519Key.generate().exchange(public)
        with pytest.raises(ProtocolError):
            RecipientKey(ZOE.card_key.public[:1184] + public)
        with pytest.raises(UsageError, match="no relay's"):
            ticket.parse(ticket.key_text(public))


@given(st.one_of(st.sampled_from(SMALL_ORDER_U), st.binary(min_size=32, max_size=32)), st.data())
def test_no_other_point_makes_zeros(point: bytes, data: st.DataObject) -> None:
    near = int.from_bytes(point, "little") + data.draw(st.integers(-2, 2))
    public = (near % 2**256).to_bytes(32, "little")
    makes_zeros = False
    try:
        X25519Key.generate().exchange(public)
    except Unauthentic:
        makes_zeros = True
    assert points.has_small_order(public) is makes_zeros


@pytest.mark.parametrize("vector", WYCHEPROOF["ed25519"], ids=lambda vector: vector["id"])
def test_ed25519_verifies_what_wycheproof_says(vector: dict[str, str]) -> None:
    key = VerifyKey(unhex(vector["public"]))
    is_valid = key.verify(unhex(vector["signature"]), unhex(vector["message"]))
    assert is_valid is (vector["result"] == "valid")


@pytest.mark.parametrize("vector", WYCHEPROOF["x25519"], ids=lambda vector: vector["id"])
def test_x25519_gives_what_wycheproof_says(vector: dict[str, str]) -> None:
    key, public, shared = (unhex(vector[name]) for name in ("private", "public", "shared"))
    assert points.has_small_order(public) is (shared == bytes(32))
    if shared == bytes(32):
        with pytest.raises(Unauthentic):
            X25519Key.from_bytes(key).exchange(public)
    else:
        assert X25519Key.from_bytes(key).exchange(public) == shared
