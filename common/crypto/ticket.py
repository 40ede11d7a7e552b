"""KEY, SECRET and password as people pass them, and the keys they yield."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from common.codec import base64url, from_base64url
from common.crypto.hashing import KEY_BYTES, label, random_bytes, scrypt, sha256, typed
from common.crypto.points import has_small_order
from common.errors import ProtocolError, UsageError

KEY_CHARS = 44
SECRET_CHARS = 22
SECRET_BYTES = 16
SERVER_ID_CHARS = 22

_ALPHABET = frozenset(string.ascii_letters + string.digits + "-_")
# What a name or an address consists of. Nothing else may reach an HTTP header.
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._-]{1,32})?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
# What mail programs and chats put around a KEY, before each row of it, and at the end of one.
_AROUND = re.compile(r"""[\s<>()"'`=|,;*\\\u2018-\u201f\u2039\u203a\xab\xbb]+""")
_QUOTED_ROW = re.compile(r"^[\s>|]+", re.MULTILINE)
_FLAGS = re.compile(r"[^\S\r\n]--[a-z]")
_SOFT_BREAK = re.compile(r"=\r?\n")
# Dashes that a word processor made of a hyphen, and full-width letters.
_ASCII = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), "-")
_ASCII |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_LONG_DASH = "\u2014"
_PART = re.compile(r"(?:^|\s)[^\w-]*[\w-]{8,}[\w.:@%-]*$|@\S+$", re.ASCII)
_TORN = re.compile(r"[\w-]*(?:[.:]\w[\w-]*)+")
"""What may be the rest of a host, which no check byte covers."""


@dataclass(frozen=True, slots=True, repr=False)
class Ticket:
    """What an operator hands out: the relay's key, and where to find it.

    Attributes:
        key: 32 bytes; it admits, so it is kept like a password.
        secret: 16 bytes, or None where no invite secret is used.
        host: a name or an address without brackets; None if the ticket does not say.
        port: 1 to 65535; None if the ticket does not say.
    """

    key: bytes
    secret: bytes | None = None
    host: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class PeerKeys:
    """What two peers derive from the key they share (PROTOCOL.md 2, peer to peer).

    Attributes:
        static_private: 32 bytes, X25519: the key of the relay that the listener runs.
        psk: 32 bytes.
        secret: 16 bytes.
    """

    static_private: bytes
    psk: bytes
    secret: bytes


def parse(text: str) -> Ticket:
    """Read `KEY[.SECRET][@HOST[:PORT]]`, as it was pasted.

    What was added on its way (quotes, line ends, blanks, words around it) is taken away again,
    where the check byte then says that this is a KEY.

    Raises:
        UsageError: says what is wrong with it, without repeating it.
    """
    try:
        return _parse(text)
    except UsageError:
        for bare in _joined(text):
            found = _find(bare)
            if found is not None:
                return found
        # What is wrong is said of what was meant, not of what stands around it.
        return _parse(next(_candidates(next(_joined(text)))))


def _joined(text: str) -> Iterator[str]:
    """Yield a text in one row, without what mail and chats add to it; the likeliest first."""
    rows = [
        "".join(char for char in row.translate(_ASCII) if unicodedata.category(char) != "Cf")
        for row in _QUOTED_ROW.sub("", _SOFT_BREAK.sub("", _FLAGS.split(text, 1)[0])).splitlines()
    ]
    joined = ""
    for row in rows:
        # The rest of a word that was wrapped is alone in its row.
        is_rest = len(row.split()) == 1 and _PART.search(joined)
        joined += row.strip() if is_rest else f" {row}"
    yield joined
    yield " ".join(rows)
    yield "".join(row.strip() for row in rows)


def _find(bare: str) -> Ticket | None:
    """Return the one ticket that stands in a row.

    Raises:
        UsageError: if its host is in two parts, which no check byte joins again.
    """
    first, *others = bare.partition("@")[2].split() or [""]
    if others and (first.endswith((".", ":", "-")) or _TORN.fullmatch(others[0])):
        raise UsageError("HOST has a blank in it. Copy KEY again.")
    for candidate in _candidates(bare):
        with contextlib.suppress(UsageError):
            return _parse(candidate)
    found = set()
    for word in _AROUND.split(bare):
        with contextlib.suppress(UsageError):
            found.add(_parse(_trimmed(word)))
    return found.pop() if len(found) == 1 else None


def _candidates(bare: str) -> Iterator[str]:
    """Yield what a row may be that is a ticket from end to end."""
    for dash in ("-", "--"):  # which a word processor made one of
        key, at, address = bare.replace(_LONG_DASH, dash).partition("@")
        yield _trimmed("".join(_AROUND.split(key)) + at + "".join(address.split()[:1]))
        if _LONG_DASH not in bare:
            return


def _trimmed(word: str) -> str:
    """Return a word without the marks at its ends."""
    parts = [part for part in _AROUND.split(word) if part]
    word = parts[0].removeprefix("mailto:").lstrip("[") if parts else ""
    # Behind a KEY alone, a stop may be all that is left of a SECRET.
    word = word.rstrip(".!?" if "@" in word else ":!?")
    return word[:-1] if word.count("]") > word.count("[") else word


def _parse(text: str) -> Ticket:
    """Read a ticket that nothing was done to.

    Raises:
        UsageError: says what is wrong with it, without repeating it.
    """
    keys, at, address = text.strip().partition("@")
    key, dot, secret = keys.partition(".")
    host, port = parse_address(address) if at else (None, None)
    return Ticket(_parse_key(key), _parse_secret(secret) if dot else None, host, port)


def encode(ticket: Ticket) -> str:
    """Return the text that `parse` takes."""
    text = key_text(ticket.key)
    if ticket.secret is not None:
        text += "." + base64url(ticket.secret)
    if ticket.host is not None:
        text += "@" + (f"[{ticket.host}]" if ":" in ticket.host else ticket.host)
        if ticket.port is not None:
            text += f":{ticket.port}"
    return text


def new_secret() -> bytes:
    """Return an invite secret that nobody has yet."""
    return random_bytes(SECRET_BYTES)


def key_text(public: bytes) -> str:
    """Return KEY as text, 44 characters with its check byte (PROTOCOL.md 2)."""
    return base64url(public + _check_byte(public))


def derive_psk(password: str, key: bytes) -> bytes:
    """Stretch the password into the Noise psk, 32 bytes; takes a tenth of a second (PROTOCOL.md 2).

    Raises:
        UsageError: if the password is not text.
    """
    return scrypt(typed(password, "password"), label("psk") + key)


def room_id(key: bytes, room: str) -> bytes:
    """Return what binds everything said to one room of one relay (PROTOCOL.md 2).

    Args:
        key: the relay's KEY.
        room: its wire name; "" is the lobby.
    """
    return sha256(label("room"), key, room.encode())


def server_id(key: bytes) -> str:
    """Return what pins call a relay, which does not tell its KEY (PROTOCOL.md 2)."""
    return base64url(sha256(label("server"), key))[:SERVER_ID_CHARS]


def parse_fernet_key(text: str) -> bytes:
    """Read the 32 bytes two peers share, in the base64 that `Fernet.generate_key` prints.

    Raises:
        UsageError: if it is anything else.
    """
    try:
        key = from_base64url("".join(_AROUND.split(text.translate({0xFEFF: None}))))
    except ProtocolError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError("The shared key is not 32 bytes in base64. Copy it again.")
    return key


def peer_keys(fernet_key: bytes) -> PeerKeys:
    """Derive what both peers use from the 32 bytes they share (PROTOCOL.md 2, peer to peer)."""
    if len(fernet_key) != KEY_BYTES:
        raise UsageError("The shared key is not 32 bytes.")
    # Here, so that a password is stretched before `cryptography` is imported.
    from common.crypto.primitives import hkdf

    return PeerKeys(
        static_private=hkdf(fernet_key, info=label("p2p static"), size=KEY_BYTES),
        psk=hkdf(fernet_key, info=label("p2p psk"), size=KEY_BYTES),
        secret=hkdf(fernet_key, info=label("p2p invite"), size=SECRET_BYTES),
    )


def _check_byte(public: bytes) -> bytes:
    return sha256(label("check"), public)[:1]


def _parse_key(text: str) -> bytes:
    _check_shape("KEY", text, KEY_CHARS)
    data = from_base64url(text)
    key, check = data[:KEY_BYTES], data[KEY_BYTES:]
    if check != _check_byte(key):
        raise UsageError("KEY is mistyped: its check does not match. Copy it again.")
    if has_small_order(key):
        raise UsageError("KEY is no relay's: everybody could read what is sealed to it.")
    return key


def _parse_secret(text: str) -> bytes:
    _check_shape("SECRET", text, SECRET_CHARS)
    try:
        return from_base64url(text)
    except ProtocolError:
        raise UsageError("SECRET is mistyped. Copy it again.") from None


def _check_shape(name: str, text: str, chars: int) -> None:
    """Check alphabet and length."""
    if not text:
        raise UsageError(f"{name} is missing.")
    for position, char in enumerate(text, 1):
        if char not in _ALPHABET:
            raise UsageError(
                f"{name} has a foreign character at position {position}. Copy it again."
            )
    if len(text) < chars:
        raise UsageError(f"{name} is incomplete: {len(text)} of {chars} characters.")
    if len(text) > chars:
        raise UsageError(f"{name} is too long: {len(text)} characters instead of {chars}.")


def parse_address(text: str) -> tuple[str, int | None]:
    """Read `HOST[:PORT]`, where an IPv6 address with a port is in brackets.

    Raises:
        UsageError: if it is anything else.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise UsageError("HOST is malformed: an IPv6 address is written [ADDRESS]:PORT.")
        return host, parse_port(rest[1:]) if rest else None
    if text.count(":") > 1:
        if not _is_ipv6(text):
            raise UsageError("HOST is malformed: an IPv6 address is written [ADDRESS]:PORT.")
        return text, None
    host, colon, port = text.partition(":")
    if not _HOST.fullmatch(host):
        raise UsageError("HOST is malformed: it has letters, digits, dots and hyphens.")
    # A sentence may have ended behind it; of a name, the dot is the root's.
    return host.removesuffix("."), parse_port(port) if colon else None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return _IPV6.fullmatch(text) is not None


def parse_port(text: str) -> int:
    """Read a port to connect to.

    Raises:
        UsageError: if it is not 1 to 65535.
    """
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise UsageError("PORT is a number from 1 to 65535.")
    return int(text)
