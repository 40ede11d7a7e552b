"""Named wrappers over `cryptography`; the only door to it.

Importing it raises ImportError, and nothing else, where `cryptography` is missing or too old, and
`Lacking` where the library under it cannot do all that we need: a program then refuses to start, as
PROTOCOL.md 10 wants.
"""

from __future__ import annotations

from cryptography.exceptions import (
    InternalError,
    InvalidSignature,
    InvalidTag,
    UnsupportedAlgorithm,
)
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from common.crypto.hashing import KEY_BYTES
from common.crypto.points import has_small_order, is_identity
from common.errors import FileError, Lacking, ProtocolError, Unauthentic

SIGNATURE_BYTES = 64
TAG_BYTES = 16
MLKEM_PUBLIC_BYTES = 1184
CARD_KEY_BYTES = MLKEM_PUBLIC_BYTES + KEY_BYTES
SEALED_OVERHEAD_BYTES = 1088 + KEY_BYTES + TAG_BYTES
"""What HPKE adds: the ML-KEM ciphertext, the X25519 ephemeral and the tag."""

_SHA256 = hashes.SHA256()


def _suite() -> Suite:
    """Return our HPKE suite.

    Raises:
        Lacking: if the library under `cryptography` is too old, or restricted.
    """
    lacks = "X25519"
    try:
        X25519PrivateKey.generate()
        lacks = "Ed25519"
        Ed25519PrivateKey.generate()
        lacks = "ChaCha20-Poly1305"
        ChaCha20Poly1305(bytes(KEY_BYTES))
        lacks = "ML-KEM"
        MLKEM768PrivateKey.generate()
        return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    except (AttributeError, InternalError, UnsupportedAlgorithm, ValueError):
        raise Lacking(
            f"cryptography cannot do {lacks} here: the OpenSSL under it is too old, or restricted "
            "(FIPS). Use the build from PyPI, in a venv."
        ) from None


_SUITE = _suite()


def hkdf(secret: bytes, *, info: bytes, size: int, salt: bytes | None = None) -> bytes:
    """Extract and expand (RFC 5869)."""
    return HKDF(_SHA256, size, salt, info).derive(secret)


def hkdf_expand(key: bytes, *, info: bytes, size: int) -> bytes:
    """Expand only (RFC 5869 2.3); `key` is uniform already."""
    return HKDFExpand(_SHA256, size, info).derive(key)


class Aead:
    """ChaCha20Poly1305 (RFC 8439) under one 32-byte key."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)

    def seal(self, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Return the ciphertext and tag; a nonce (12 bytes) is never used twice under one key."""
        return self._cipher.encrypt(nonce, plaintext, associated)

    def open(self, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            Unauthentic: if anything differs from what was sealed.
        """
        try:
            return self._cipher.decrypt(nonce, ciphertext, associated)
        except InvalidTag:
            raise Unauthentic("A ciphertext failed authentication.") from None


class X25519Key:
    """An X25519 private key (RFC 7748).

    Attributes:
        public: the public key, 32 bytes.
    """

    __slots__ = ("_key", "public")

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> X25519Key:
        """Make a new key."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, private: bytes) -> X25519Key:
        """Load a private key, 32 bytes."""
        return cls(X25519PrivateKey.from_private_bytes(private))

    @classmethod
    def from_pem(cls, data: bytes) -> X25519Key:
        """Load an unencrypted PKCS#8 PEM.

        Raises:
            FileError: if it is anything else; names no file.
        """
        key = _load_pem(data, None)
        if not isinstance(key, X25519PrivateKey):
            raise FileError("It does not hold an X25519 key.")
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the private key as unencrypted PKCS#8 PEM."""
        return _to_pem(self._key, None)

    def exchange(self, public: bytes) -> bytes:
        """Return the secret shared with `public`.

        Raises:
            Unauthentic: if `public` is no key, or makes the result all zeros, as anybody can.
        """
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise Unauthentic("A public key cannot be used.") from None


class SigningKey:
    """An Ed25519 private key (RFC 8032).

    Attributes:
        public: the public key, 32 bytes.
    """

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Load a private key, 32 bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, data: bytes, passphrase: bytes | None) -> SigningKey:
        """Load a PKCS#8 PEM.

        Raises:
            FileError: if it is damaged, or the passphrase missing or wrong; names no file.
        """
        key = _load_pem(data, passphrase)
        if not isinstance(key, Ed25519PrivateKey):
            raise FileError("It does not hold an Ed25519 key.")
        return cls(key)

    def to_pem(self, passphrase: bytes | None) -> bytes:
        """Return the private key as PKCS#8 PEM, encrypted if there is a passphrase."""
        return _to_pem(self._key, passphrase)

    def sign(self, message: bytes) -> bytes:
        """Return a signature, 64 bytes."""
        return self._key.sign(message)


class VerifyKey:
    """An Ed25519 public key, loaded once for many signatures.

    Attributes:
        public: 32 bytes.
    """

    __slots__ = ("_key", "public")

    def __init__(self, public: bytes) -> None:
        """Load `public`: 32 bytes.

        Raises:
            ProtocolError: if it is no key, or may be nobody's (PROTOCOL.md 4.2).
        """
        try:
            self._key = Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            raise ProtocolError("an identity key does not load") from None
        if not is_identity(public):
            raise ProtocolError("an identity key has small order or is not canonical")
        self.public = public

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Tell whether the owner of the key signed `message`."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether the owner of `public` signed `message`; False too if `public` is no key."""
    try:
        return VerifyKey(public).verify(signature, message)
    except ProtocolError:
        return False


class RecipientKey:
    """A card's public key, loaded once for many seals (RFC 9180; MLKEM768-X25519)."""

    __slots__ = ("_key",)

    def __init__(self, public: bytes) -> None:
        """Load `public`: ML-KEM-768 (1184 bytes), then X25519 (32 bytes).

        Raises:
            ProtocolError: if it does not load, or nobody could seal to it (PROTOCOL.md 4.2).
        """
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(public[:MLKEM_PUBLIC_BYTES])
            x25519 = X25519PublicKey.from_public_bytes(public[MLKEM_PUBLIC_BYTES:])
        except ValueError:
            raise ProtocolError("a card key cannot be sealed to") from None
        if has_small_order(public[MLKEM_PUBLIC_BYTES:]):
            raise ProtocolError("a card key cannot be sealed to")
        self._key = MLKEM768X25519PublicKey(mlkem, x25519)

    def seal(self, plaintext: bytes, info: bytes) -> bytes:
        """Return what only the card's owner opens: enc (1120 bytes) and ciphertext."""
        return _SUITE.encrypt(plaintext, self._key, info)


class CardKey:
    """The private key behind a card.

    Attributes:
        public: 1216 bytes.
    """

    __slots__ = ("_key", "public")

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> CardKey:
        """Make a new key."""
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def from_seeds(cls, mlkem_seed: bytes, x25519_private: bytes) -> CardKey:
        """Load a key from its two seeds: 64 and 32 bytes."""
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(mlkem_seed),
            X25519PrivateKey.from_private_bytes(x25519_private),
        )

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Return what was sealed to this key.

        Raises:
            Unauthentic: if it was sealed to another key, with other `info`, or is damaged.
        """
        try:
            return _SUITE.decrypt(sealed, self._key, info)
        except (InvalidTag, ValueError):
            raise Unauthentic("A sealed key failed authentication.") from None


def _to_pem(key: X25519PrivateKey | Ed25519PrivateKey, passphrase: bytes | None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def _load_pem(data: bytes, passphrase: bytes | None) -> object:
    encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data
    if encrypted and not passphrase:
        raise FileError("It needs its passphrase.")
    if passphrase and not encrypted:
        raise FileError("It is not encrypted, so it takes no passphrase.")
    try:
        return serialization.load_pem_private_key(data, passphrase or None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            raise FileError("The passphrase is wrong, or the file is damaged.") from None
        raise FileError("It is damaged, or no key file.") from None
