from __future__ import annotations

import hashlib
import importlib.util

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import aead

from common.crypto import hashing, primitives
from common.crypto.primitives import Aead, CardKey, RecipientKey, SigningKey, VerifyKey, X25519Key
from common.errors import EXIT_USAGE, Lacking, ProtocolError, Unauthentic
from tests.unit.crypto.vectors import flips, load, unhex

RFC_9180_A_2_1, MLKEM768_X25519 = load("hpke.json")["vectors"]


def test_label_is_what_the_protocol_says() -> None:
    assert hashing.label("room") == b"termchat.v1 room\x00"


def test_hashes_and_macs_join_their_parts() -> None:
    digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"  # RFC 4231 4.3
    assert hashing.hmac_sha256(b"Jefe", b"what do ya want ", b"for nothing?").hex() == digest
    assert hashing.sha256(b"a", b"bc").hex().startswith("ba7816bf8f01cfea")
    assert hashing.sha512(b"ab", b"c").hex().startswith("ddaf35a193617aba")


def test_hkdf_gives_the_values_of_rfc_5869() -> None:
    info = bytes(range(0xF0, 0xFA))
    okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    prk = unhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    secret = b"\x0b" * 22
    assert primitives.hkdf(secret, info=info, size=42, salt=bytes(range(13))).hex() == okm
    assert primitives.hkdf_expand(prk, info=info, size=42).hex() == okm
    unsalted = (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
    assert primitives.hkdf(secret, info=b"", size=42).hex() == unsalted


def test_same_compares() -> None:
    assert hashing.same(b"abc", b"".join((b"a", b"bc")))
    assert not hashing.same(b"abc", b"abd")
    assert not hashing.same(b"abc", b"ab")


def test_random_bytes_differ() -> None:
    assert len(hashing.random_bytes(16)) == 16
    assert hashing.random_bytes(16) != hashing.random_bytes(16)


def test_aead_opens_only_what_was_sealed() -> None:
    aead, nonce = Aead(bytes(range(32))), bytes(12)
    sealed = aead.seal(nonce, b"text", b"about")
    assert aead.open(nonce, sealed, b"about") == b"text"
    for changed in [*flips(sealed), sealed[:-1], sealed + b"\0", b"", sealed[:15]]:
        with pytest.raises(Unauthentic):
            aead.open(nonce, changed, b"about")
    with pytest.raises(Unauthentic):
        aead.open(nonce, sealed, b"About")
    with pytest.raises(Unauthentic):
        aead.open(b"\1" + nonce[1:], sealed, b"about")
    with pytest.raises(Unauthentic):
        Aead(bytes(32)).open(nonce, sealed, b"about")


def test_x25519_gives_the_values_of_rfc_7748() -> None:
    key = unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    secret = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert X25519Key.from_bytes(key).exchange(point).hex() == secret


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(Unauthentic):
        X25519Key.generate().exchange(bytes(size))
    with pytest.raises(ProtocolError):
        VerifyKey(bytes(size))
    assert not primitives.verify(bytes(size), bytes(64), b"")


def test_ed25519_gives_the_values_of_rfc_8032() -> None:
    key = SigningKey.from_seed(
        unhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert key.public.hex() == public
    assert key.sign(b"\x72").hex() == signature
    assert primitives.verify(key.public, unhex(signature), b"\x72")


def test_a_signature_verifies_for_its_message_and_key_alone() -> None:
    key, message = SigningKey.generate(), b"a message"
    loaded, signature = VerifyKey(key.public), key.sign(message)
    assert loaded.verify(signature, message)
    assert loaded.public == key.public
    for changed in [*flips(signature), b"", signature[:-1], signature + b"\0"]:
        assert not loaded.verify(changed, message)
    assert not any(loaded.verify(signature, changed) for changed in flips(message))
    assert not primitives.verify(SigningKey.generate().public, signature, message)


def test_hpke_opens_what_the_draft_sealed() -> None:
    vector = MLKEM768_X25519
    seed = hashlib.shake_256(unhex(vector["skRm"])).digest(96)
    key = CardKey.from_seeds(seed[:64], seed[64:])
    assert key.public == unhex(vector["pkRm"])
    RecipientKey(key.public)
    # The vector has an aad and our suite has none, so its plaintext is sealed again without, under
    # the key and nonce that the vector names: these the card key must find from enc.
    aead, nonce = Aead(unhex(vector["key"])), unhex(vector["base_nonce"])
    (sealed,) = vector["encryptions"]
    plaintext = aead.open(nonce, unhex(sealed["ct"]), unhex(sealed["aad"]))
    assert plaintext == unhex(sealed["pt"])
    ours = unhex(vector["enc"]) + aead.seal(nonce, plaintext, b"")
    assert key.open(ours, unhex(vector["info"])) == plaintext


def test_hpke_opens_what_rfc_9180_sealed() -> None:
    vector = RFC_9180_A_2_1
    # RFC 9180 A.2.1 prints these two beside the vector.
    aead = Aead(unhex("ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91"))
    nonce = unhex("5c4d98150661b848853b547f")
    (sealed,) = vector["encryptions"]
    plaintext = aead.open(nonce, unhex(sealed["ct"]), unhex(sealed["aad"]))
    assert plaintext == unhex(sealed["pt"])
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    key = X25519PrivateKey.from_private_bytes(unhex(vector["skRm"]))
    assert key.public_key().public_bytes_raw() == unhex(vector["pkRm"])
    ours = unhex(vector["enc"]) + aead.seal(nonce, plaintext, b"")
    assert suite.decrypt(ours, key, unhex(vector["info"])) == plaintext


def test_a_card_key_opens_only_what_was_sealed_to_it() -> None:
    key = CardKey.generate()
    sealed = RecipientKey(key.public).seal(bytes(32), b"info")
    assert len(sealed) == 1168
    assert key.open(sealed, b"info") == bytes(32)
    with pytest.raises(Unauthentic):
        key.open(sealed, b"Info")
    with pytest.raises(Unauthentic):
        CardKey.generate().open(sealed, b"info")
    for changed in [*flips(sealed)[::17], *flips(sealed)[1088:], sealed[:-1], sealed + b"\0", b""]:
        with pytest.raises(Unauthentic):
            key.open(changed, b"info")
    zero_share = sealed[:1088] + bytes(32) + sealed[1120:]
    with pytest.raises(Unauthentic):
        key.open(zero_share, b"info")


@pytest.mark.parametrize("known", ["x25519", "mlkem"])
def test_whoever_breaks_one_half_of_a_card_key_opens_nothing(known: str) -> None:
    seeds = {"mlkem": bytes([1]) * 64, "x25519": bytes([2]) * 32}
    key = CardKey.from_seeds(seeds["mlkem"], seeds["x25519"])
    sealed = RecipientKey(key.public).seal(bytes(32), b"info")
    assert key.open(sealed, b"info") == bytes(32)
    guessed = {half: seed if half == known else bytes(len(seed)) for half, seed in seeds.items()}
    with pytest.raises(Unauthentic):
        CardKey.from_seeds(guessed["mlkem"], guessed["x25519"]).open(sealed, b"info")


def test_a_key_nobody_could_seal_to_is_refused() -> None:
    good = CardKey.generate().public
    # FIPS 203 7.2: a coefficient of 4095 is above q.
    for public in (b"", good[:-1], good + b"\0", b"\xff" * 3 + good[3:], b"\xff" * 1216):
        with pytest.raises(ProtocolError):
            RecipientKey(public)


def test_secrets_do_not_show() -> None:
    key = X25519Key.from_bytes(bytes(range(32)))
    for value in (key, SigningKey.generate(), CardKey.generate(), Aead(bytes(32))):
        assert repr(value).startswith("<common.crypto.primitives.")


def _lacks(*_: object) -> None:
    raise UnsupportedAlgorithm("none")


def _is_older(*_: object) -> None:
    raise AttributeError("none")


def again(path: str | None) -> None:
    """Import a module once more, beside the one that is there."""
    assert path is not None
    spec = importlib.util.spec_from_file_location("again", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize(
    ("owner", "name", "stub", "lacks"),
    [
        (hpke, "Suite", _lacks, "ML-KEM"),
        (hpke, "Suite", _is_older, "ML-KEM"),
        (MLKEM768PrivateKey, "generate", _lacks, "ML-KEM"),
        (X25519PrivateKey, "generate", _lacks, "X25519"),
        (Ed25519PrivateKey, "generate", _lacks, "Ed25519"),
        (aead, "ChaCha20Poly1305", _lacks, "ChaCha20-Poly1305"),
    ],
    ids=["suite", "older", "ML-KEM", "X25519", "Ed25519", "ChaCha20"],
)
def test_a_library_that_lacks_an_algorithm_is_named_at_the_import(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, stub: object, lacks: str
) -> None:
    monkeypatch.setattr(owner, name, stub)
    with pytest.raises(Lacking, match=rf"^cryptography cannot do {lacks} here: ") as caught:
        again(primitives.__file__)
    assert isinstance(caught.value, ImportError)
    assert caught.value.exit_code == EXIT_USAGE


def _is_restricted(*_: object, **__: object) -> None:
    raise ValueError("unsupported hash type")


@pytest.mark.parametrize("is_there", [False, True])
def test_a_python_without_scrypt_is_named_at_the_import(
    monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    if is_there:
        monkeypatch.setattr(hashlib, "scrypt", _is_restricted)
    else:
        monkeypatch.delattr(hashlib, "scrypt")
    with pytest.raises(Lacking, match=r"^This Python cannot do scrypt: "):
        again(hashing.__file__)
