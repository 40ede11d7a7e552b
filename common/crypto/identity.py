"""A person's signing key and a relay's static key: make, load, sign, fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common import names
from common.codec import base64url, from_base64url
from common.crypto.hashing import label, random_bytes, scrypt, sha512, typed
from common.crypto.primitives import SigningKey, X25519Key
from common.crypto.ticket import key_text
from common.errors import FileError, ProtocolError
from common.files import create_private, locked, read_private, replace_private

GROUPS = 6
"""Groups of five digits in a fingerprint: 100 bits."""
PASSPHRASE_COST = 2**17
"""A thief of the file guesses offline, and PKCS#8 itself stretches next to nothing."""
_SALT = b"Salt: "
_SALT_BYTES = 16


class Identity:
    """A user's Ed25519 key.

    Attributes:
        public: 32 bytes; what others pin.
    """

    __slots__ = ("_key", "public")

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.public = key.public

    @classmethod
    def generate(cls) -> Identity:
        """Make a new identity."""
        return cls(SigningKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """Load an identity from its seed, 32 bytes."""
        return cls(SigningKey.from_seed(seed))

    @classmethod
    def from_pem(cls, data: bytes, passphrase: str | None = None) -> Identity:
        """Load an identity from PKCS#8 PEM, with the salt of its passphrase before it.

        Raises:
            FileError: if it is damaged, or the passphrase missing or wrong; names no file.
        """
        head, _, pem = data.partition(b"\n")
        if not head.startswith(_SALT):
            if is_encrypted(data):
                raise FileError("It was encrypted by another program.")
            return cls(SigningKey.from_pem(data, passphrase.encode() if passphrase else None))
        if not passphrase:
            raise FileError("It needs its passphrase.")
        try:
            salt = from_base64url(head[len(_SALT) :].decode("ascii", "replace"))
        except ProtocolError:
            raise FileError("It is damaged, or no key file.") from None
        return cls(SigningKey.from_pem(pem, _stretched(passphrase, salt)))

    def to_pem(self, passphrase: str | None = None) -> bytes:
        """Return the identity as PKCS#8 PEM, encrypted if there is a passphrase.

        Raises:
            UsageError: if the passphrase is not text.
        """
        if not passphrase:
            return self._key.to_pem(None)
        salt = random_bytes(_SALT_BYTES)
        pem = self._key.to_pem(_stretched(passphrase, salt))
        return _SALT + base64url(salt).encode() + b"\n" + pem

    def sign(self, message: bytes) -> bytes:
        """Return a signature, 64 bytes; `message` begins with a label."""
        return self._key.sign(message)


class RelayKey:
    """A relay's X25519 static key.

    Attributes:
        public: KEY, 32 bytes.
    """

    __slots__ = ("_key", "public")

    def __init__(self, key: X25519Key) -> None:
        self._key = key
        self.public = key.public

    @classmethod
    def generate(cls) -> RelayKey:
        """Make a key whose text a shell command does not take for an option (PROTOCOL.md 2)."""
        key = X25519Key.generate()
        while key_text(key.public).startswith("-"):
            key = X25519Key.generate()
        return cls(key)

    @classmethod
    def from_private(cls, private: bytes) -> RelayKey:
        """Load a private key, 32 bytes."""
        return cls(X25519Key.from_bytes(private))

    @classmethod
    def from_pem(cls, data: bytes) -> RelayKey:
        """Load a key from unencrypted PKCS#8 PEM.

        Raises:
            FileError: if it is anything else; names no file.
        """
        return cls(X25519Key.from_pem(data))

    def to_pem(self) -> bytes:
        """Return the key as unencrypted PKCS#8 PEM."""
        return self._key.to_pem()

    def exchange(self, public: bytes) -> bytes:
        """Return the secret shared with `public`.

        Raises:
            Unauthentic: if `public` cannot be used.
        """
        return self._key.exchange(public)


def load_identity(path: Path, passphrase: str | None = None) -> Identity:
    """Load a user's identity, or make it if there is none; with a passphrase it ends up encrypted.

    Raises:
        FileError: if the file cannot be used, its passphrase is missing or wrong; names the file.
        UsageError: if the passphrase is not text.
    """
    data = _read_or_create(path, lambda: Identity.generate().to_pem(passphrase))
    is_plain = bool(passphrase) and not is_encrypted(data)
    try:
        identity = Identity.from_pem(data, None if is_plain else passphrase)
    except FileError as error:
        raise FileError(f"Cannot use {path}. {error}") from None
    if is_plain:
        with locked(path):
            replace_private(path, identity.to_pem(passphrase))
    return identity


def is_encrypted(data: bytes) -> bool:
    """Tell whether an identity file needs a passphrase."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data


def _stretched(passphrase: str, salt: bytes) -> bytes:
    """Return what PKCS#8 encrypts with (PROTOCOL.md 8).

    Raises:
        UsageError: if the passphrase is not text.
    """
    data = typed(passphrase, "passphrase")
    stretched = scrypt(data, label("passphrase") + salt, cost=PASSPHRASE_COST)
    return base64url(stretched).encode()


def load_relay_key(path: Path) -> RelayKey:
    """Load a relay's key, or make it if there is none.

    Raises:
        FileError: if the file cannot be used; names the file.
    """
    data = _read_or_create(path, lambda: RelayKey.generate().to_pem())
    try:
        return RelayKey.from_pem(data)
    except FileError as error:
        raise FileError(f"Cannot use {path}. {error}") from None


def fingerprint(identity: bytes, username: str) -> str:
    """Return the 30 digits of one user (PROTOCOL.md 6.2)."""
    digest = sha512(label("fingerprint"), identity, names.key(username).encode())
    chunks = (digest[5 * i : 5 * i + 5] for i in range(GROUPS))
    return "".join(f"{int.from_bytes(chunk) % 100_000:05}" for chunk in chunks)


def safety_number(a_identity: bytes, a_name: str, b_identity: bytes, b_name: str) -> str:
    """Return the 12 groups of five digits that two users compare (PROTOCOL.md 6.2)."""
    digits = "".join(sorted((fingerprint(a_identity, a_name), fingerprint(b_identity, b_name))))
    return " ".join(digits[i : i + 5] for i in range(0, len(digits), 5))


def _read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the content; of several processes that miss the file, one makes it for all."""
    data = read_private(path)
    if data is None:
        create_private(path, make())
        data = read_private(path)
    if data is None:
        raise FileError(f"{path} was removed while we started.")
    return data
