"""Hashes, randomness and password stretching: the primitives of the standard library.

Apart from `common.crypto.primitives`, so that a client can stretch its password while it imports
`cryptography`: each takes a tenth of a second. Importing it raises `Lacking` where there is no
scrypt.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata

from common.errors import Lacking, UsageError

KEY_BYTES = 32
"""Every symmetric key, X25519 key, Ed25519 seed and hash of ours."""

_SCRYPT_N = 2**15
_SCRYPT_R = 8

try:
    hashlib.scrypt(b"probe", salt=bytes(KEY_BYTES), n=2, r=1, p=1)
except (AttributeError, ValueError):
    raise Lacking(
        "This Python cannot do scrypt: its OpenSSL is too old, or restricted (FIPS). Use another."
    ) from None


def label(name: str) -> bytes:
    """Return L(name), which keeps the uses of one key or hash apart (PROTOCOL.md, head)."""
    return b"termchat.v1 " + name.encode("ascii") + b"\0"


def random_bytes(size: int) -> bytes:
    """Return `size` bytes nobody can guess."""
    return secrets.token_bytes(size)


def same(a: bytes, b: bytes) -> bool:
    """Compare in a time that does not tell where the two differ."""
    return hmac.compare_digest(a, b)


def sha256(*parts: bytes) -> bytes:
    """Return the SHA-256 of the parts, joined."""
    return hashlib.sha256(b"".join(parts)).digest()


def sha512(*parts: bytes) -> bytes:
    """Return the SHA-512 of the parts, joined."""
    return hashlib.sha512(b"".join(parts)).digest()


def hmac_sha256(key: bytes, *parts: bytes) -> bytes:
    """Return the HMAC-SHA-256 of the parts, joined."""
    return hmac.digest(key, b"".join(parts), "sha256")


def typed(secret: str, what: str) -> bytes:
    """Return the bytes of a secret as a person typed it, however the keyboard composes it (NFC).

    Raises:
        UsageError: if it is not text; names `what` it is.
    """
    try:
        return unicodedata.normalize("NFC", secret).encode()
    except UnicodeEncodeError:
        raise UsageError(f"The {what} is not valid text.") from None


def scrypt(password: bytes, salt: bytes, *, cost: int = _SCRYPT_N) -> bytes:
    """Stretch a password (RFC 7914), at the cost of PROTOCOL.md 2; the GIL is free meanwhile."""
    return hashlib.scrypt(
        password,
        salt=salt,
        n=cost,
        r=_SCRYPT_R,
        p=1,
        # Twice what it fills (RFC 7914 2); OpenSSL refuses to take more.
        maxmem=max(2 * 128 * cost * _SCRYPT_R, 2**20),
        dklen=KEY_BYTES,
    )
