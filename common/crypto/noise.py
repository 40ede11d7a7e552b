"""The Noise handshake and its two transport ciphers.

Noise revision 34, `Noise_NKpsk0_25519_ChaChaPoly_SHA256`; without a psk it is plain `NK`, for the
official vectors. An Initiator or Responder serves one handshake; after Unauthentic it
is dropped.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Protocol

from common.crypto.hashing import KEY_BYTES, sha256
from common.crypto.primitives import Aead, X25519Key, hkdf

PROLOGUE = b"termchat.v1"
EPHEMERAL_BYTES = 32
"""A message begins with its sender's ephemeral key."""
REKEY_MESSAGES = 1024

_NONCE = struct.Struct("<4xQ")
_REKEY_NONCE = bytes(4) + b"\xff" * 8
_HANDSHAKE_NONCE = bytes(12)


class StaticKey(Protocol):
    """A key the responder proves to hold: an X25519Key, or a RelayKey."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""

    def exchange(self, public: bytes) -> bytes:
        """Return the secret shared with `public`."""


class CipherState:
    """One direction of a connection; both ends count and rekey alike (PROTOCOL.md 3.2)."""

    __slots__ = ("_aead", "_count", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead: Aead | None = None
        self._count = 0

    def seal(self, plaintext: bytes) -> bytes:
        """Return the next transport message."""
        aead = self._aead or self._wake()
        ciphertext = aead.seal(_NONCE.pack(self._count), plaintext, b"")
        self._count += 1
        if not self._count % REKEY_MESSAGES:
            self._rekey(aead)
        return ciphertext

    def open(self, ciphertext: bytes) -> bytes:
        """Return the plaintext of the next transport message.

        Raises:
            Unauthentic: if it is forged, replayed, reordered or damaged.
        """
        aead = self._aead or self._wake()
        plaintext = aead.open(_NONCE.pack(self._count), ciphertext, b"")
        self._count += 1
        if not self._count % REKEY_MESSAGES:
            self._rekey(aead)
        return plaintext

    def rest(self) -> None:
        """Let go of what is only needed while messages flow; the library's context is large."""
        self._aead = None

    def _wake(self) -> Aead:
        self._aead = Aead(self._key)
        return self._aead

    def _rekey(self, aead: Aead) -> None:
        # Noise 4.2, Rekey(). Now, not before the next message: the old key is gone sooner.
        self._key = aead.seal(_REKEY_NONCE, bytes(KEY_BYTES), b"")[:KEY_BYTES]
        self._aead = None


class Transport(NamedTuple):
    """What a finished handshake gives.

    Attributes:
        handshake_hash: 32 bytes; names this connection and no other (Noise 11.2).
    """

    sending: CipherState
    receiving: CipherState
    handshake_hash: bytes

    def rest(self) -> None:
        """Be small until the next message."""
        self.sending.rest()
        self.receiving.rest()


class Initiator:
    """The client's side."""

    __slots__ = ("_ephemeral", "_responder_public", "_symmetric")

    def __init__(
        self,
        responder_public: bytes,
        psk: bytes | None,
        *,
        prologue: bytes = PROLOGUE,
        ephemeral: X25519Key | None = None,
    ) -> None:
        """Prepare message 1.

        Args:
            responder_public: 32 bytes.
            psk: 32 bytes, or None for plain NK.
            prologue: what both sides must agree on.
            ephemeral: only test vectors give one.
        """
        self._symmetric = _Symmetric(psk, prologue, responder_public)
        self._responder_public = responder_public
        self._ephemeral = ephemeral or X25519Key.generate()

    def write(self, payload: bytes) -> bytes:
        """Return message 1.

        Raises:
            Unauthentic: if the responder's key cannot be used.
        """
        self._symmetric.mix_ephemeral(self._ephemeral.public)
        self._symmetric.mix_key(self._ephemeral.exchange(self._responder_public))
        return self._ephemeral.public + self._symmetric.seal(payload)

    def read(self, message2: bytes) -> tuple[bytes, Transport]:
        """Take message 2; return its payload and the transport.

        Raises:
            Unauthentic: if it does not come from the holder of the responder's key and the psk.
        """
        public, ciphertext = message2[:EPHEMERAL_BYTES], message2[EPHEMERAL_BYTES:]
        self._symmetric.mix_ephemeral(public)
        self._symmetric.mix_key(self._ephemeral.exchange(public))
        payload = self._symmetric.open(ciphertext)
        sending, receiving = self._symmetric.split()
        return payload, Transport(sending, receiving, self._symmetric.hash)


class Responder:
    """The relay's side.

    Attributes:
        peer_ephemeral: the first 32 bytes of message 1, empty until it is read; a replay has the
            same.
    """

    __slots__ = ("_ephemeral", "_static", "_symmetric", "peer_ephemeral")

    def __init__(
        self,
        static: StaticKey,
        psk: bytes | None,
        *,
        prologue: bytes = PROLOGUE,
        ephemeral: X25519Key | None = None,
    ) -> None:
        """Wait for message 1; the arguments are the Initiator's."""
        self._symmetric = _Symmetric(psk, prologue, static.public)
        self._static = static
        self._ephemeral = ephemeral
        self.peer_ephemeral = b""

    def read(self, message1: bytes) -> bytes:
        """Take message 1; return its payload.

        Raises:
            Unauthentic: if it was not made with our public key and the psk.
        """
        public, ciphertext = message1[:EPHEMERAL_BYTES], message1[EPHEMERAL_BYTES:]
        self._symmetric.mix_ephemeral(public)
        self._symmetric.mix_key(self._static.exchange(public))
        payload = self._symmetric.open(ciphertext)
        self.peer_ephemeral = public
        return payload

    def write(self, payload: bytes) -> tuple[bytes, Transport]:
        """Return message 2 and the transport."""
        # Made only now: a flood of bad messages 1 does not cost a key each.
        ephemeral = self._ephemeral or X25519Key.generate()
        self._symmetric.mix_ephemeral(ephemeral.public)
        self._symmetric.mix_key(ephemeral.exchange(self.peer_ephemeral))
        message2 = ephemeral.public + self._symmetric.seal(payload)
        receiving, sending = self._symmetric.split()
        return message2, Transport(sending, receiving, self._symmetric.hash)


class _Symmetric:
    """Noise 5.2, SymmetricState; in NK every key encrypts one message, so the nonce is 0."""

    __slots__ = ("_chaining_key", "_has_psk", "_key", "hash")

    def __init__(self, psk: bytes | None, prologue: bytes, responder_public: bytes) -> None:
        pattern = b"NK" if psk is None else b"NKpsk0"
        name = b"Noise_" + pattern + b"_25519_ChaChaPoly_SHA256"
        self.hash = name if len(name) == KEY_BYTES else sha256(name)
        self._chaining_key = self.hash
        self._key = b""
        self._has_psk = psk is not None
        self._mix_hash(prologue)
        self._mix_hash(responder_public)
        if psk is not None:
            self._mix_key_and_hash(psk)

    def mix_ephemeral(self, public: bytes) -> None:
        """Process the token `e`; with a psk it is mixed into the key too (Noise 9.2)."""
        self._mix_hash(public)
        if self._has_psk:
            self.mix_key(public)

    def mix_key(self, secret: bytes) -> None:
        output = hkdf(secret, info=b"", size=2 * KEY_BYTES, salt=self._chaining_key)
        self._chaining_key, self._key = output[:KEY_BYTES], output[KEY_BYTES:]

    def seal(self, plaintext: bytes) -> bytes:
        ciphertext = Aead(self._key).seal(_HANDSHAKE_NONCE, plaintext, self.hash)
        self._mix_hash(ciphertext)
        return ciphertext

    def open(self, ciphertext: bytes) -> bytes:
        plaintext = Aead(self._key).open(_HANDSHAKE_NONCE, ciphertext, self.hash)
        self._mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the ciphers of the initiator's and the responder's messages."""
        output = hkdf(b"", info=b"", size=2 * KEY_BYTES, salt=self._chaining_key)
        return CipherState(output[:KEY_BYTES]), CipherState(output[KEY_BYTES:])

    def _mix_hash(self, data: bytes) -> None:
        self.hash = sha256(self.hash, data)

    def _mix_key_and_hash(self, psk: bytes) -> None:
        output = hkdf(psk, info=b"", size=3 * KEY_BYTES, salt=self._chaining_key)
        self._chaining_key = output[:KEY_BYTES]
        self._mix_hash(output[KEY_BYTES : 2 * KEY_BYTES])
        self._key = output[2 * KEY_BYTES :]
