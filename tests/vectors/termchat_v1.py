"""Makes `termchat-v1.json`: `python tests/vectors/termchat_v1.py`.

It follows the text of PROTOCOL.md with `hashlib`, `hmac` and the primitives of `cryptography`, and
imports nothing of `common`: what it makes and what `common` makes must agree.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import unicodedata
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
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

FILE = Path(__file__).with_name("termchat-v1.json")
Vector = dict[str, Any]

PASSWORD = "correct horse"
RELAY_PRIVATE = "83671dfe35d5bfeaae7a54968a35c9fa0d1215b047f6592b1d714be3567d0da2"
CLIENT_EPHEMERAL = "4225a2562ff051f7c233f459bbeb64dfafcb73c339c2c709b68b7f5ce28bd35d"
SERVER_EPHEMERAL = "b0a491ef6a6a9f0195964ce5276ff8f2b5054a8969f0a30867c14cb31355574e"
FERNET_KEY = "MenC7Vt57GvB_6m9AjX2wK0Jf22ZKB25SXet8glnCkA="
PEOPLE = (
    {
        "username": "ace",
        "identity_seed": "005d0901358c1787a089fcb531ebaaca8f672ef5fa496b213632e65281a10ca4",
        "session": "78648f35076d21d27c0213fa7ab12868",
        "mlkem_seed": "46e9027b5e2199783084ad9ea0c5d9c8957ce4d14b38b8c196732ffcca46d9af"
        "52545bdea6dccbe5cdd3eed8ee014e23c9ecfd70809e2a9d7b9896082680690e",
        "x25519_private": "c1604d0836a7712a8fa449ef826dd6939c89d1c4a7e6d8203698f9f33ffaae04",
        "invite_secret": "a60407ad265585e7f970ee3794215d75",
    },
    {
        "username": "zoë",
        "identity_seed": "0f0597a36142e542d791e6890fa301d12256a6bc96706f8dea096087703f5ef4",
        "session": "2907499cf11318262384c8986b8e0c42",
        "mlkem_seed": "08ffb2c910def18ec6fdd94073a1152d8241e5446f4ef099188ecc8232a542fa"
        "7d780334116236d3bb937b21fd2bf692f9419615282077781e02d125aad27c69",
        "x25519_private": "9488d86eb4ec653c191c43f793e33ea1723ec8adc09af691924b7976b0f77ae6",
        "invite_secret": None,
    },
)
LOG_ID = "3d52a15ac781656e91afcd68e83c8d55"
ROOM_CHAIN_KEY = "9da6f97b837596276f20df49a266203bcb80ade2981391bbd29251f56ed417c2"
DIRECT_CHAIN_KEY = "51361903de5979abe06179dab5cbcc42e4a57680aa6f20275f22eefd739679a7"
BEGAN_MS = 1_700_000_000_000
DIRECT_LINE = BEGAN_MS + 2_500

CARD, LEAVE, MESSAGE, JOIN = 2, 3, 5, 1


# --- Primitives, and the conventions of the document's head.


def label(name: str) -> bytes:
    return b"termchat.v1 " + name.encode() + b"\0"


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand (RFC 5869 2.3)."""
    out, block = b"", b""
    for number in range(1, -(-size // 32) + 1):
        block = mac(key, block + info + bytes([number]))
        out += block
    return out[:size]


def seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, associated)


def x25519(private: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(private))


def public(private: X25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


def padded(name: str, size: int) -> bytes:
    data = name.encode()
    return bytes([len(data)]) + data.ljust(size, b"\0")


# --- 2. Keys.


def stretch(password: str, key: bytes) -> bytes:
    return hashlib.scrypt(
        unicodedata.normalize("NFC", password).encode(),
        salt=label("psk") + key,
        n=2**15,
        r=8,
        p=1,
        maxmem=2**26,
        dklen=32,
    )


def peer_to_peer(fernet_key: str) -> Vector:
    root = mac(bytes(32), base64.urlsafe_b64decode(fernet_key))  # HKDF-Extract without salt
    private = expand(root, label("p2p static"), 32).hex()
    return {
        "fernet_key": fernet_key,
        "static_private": private,
        "key": public(x25519(private)).hex(),
        "psk": expand(root, label("p2p psk"), 32).hex(),
        "secret": expand(root, label("p2p invite"), 16).hex(),
    }


# --- 3. The handshake (Noise revision 34, 5 and 9).


class Symmetric:
    """A SymmetricState of NKpsk0, of which a handshake here needs one side only."""

    def __init__(self, relay: bytes) -> None:
        self.h = sha256(b"Noise_NKpsk0_25519_ChaChaPoly_SHA256")  # longer than a hash
        self.ck, self.k, self.n = self.h, b"", 0
        self.mix_hash(b"termchat.v1")
        self.mix_hash(relay)

    def mix_hash(self, data: bytes) -> None:
        self.h = sha256(self.h, data)

    def mix_key(self, data: bytes) -> None:
        self.ck, self.k = self._hkdf(data, 2)
        self.n = 0

    def mix_key_and_hash(self, data: bytes) -> None:
        self.ck, middle, self.k = self._hkdf(data, 3)
        self.mix_hash(middle)
        self.n = 0

    def _hkdf(self, data: bytes, count: int) -> list[bytes]:
        out = expand(mac(self.ck, data), b"", 32 * count)
        return [out[at : at + 32] for at in range(0, 32 * count, 32)]

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = seal(self.k, noise_nonce(self.n), plaintext, self.h)
        self.n += 1
        self.mix_hash(sealed)
        return sealed

    def split(self) -> list[bytes]:
        return self._hkdf(b"", 2)


def noise_nonce(number: int) -> bytes:
    return bytes(4) + number.to_bytes(8, "little")


def handshake(psk: bytes, hello: bytes, ace: Vector, card: bytes) -> Vector:
    client, server, relay = map(x25519, (CLIENT_EPHEMERAL, SERVER_EPHEMERAL, RELAY_PRIVATE))

    def share(private: X25519PrivateKey, other: X25519PrivateKey) -> bytes:
        return private.exchange(X25519PublicKey.from_public_bytes(public(other)))

    state = Symmetric(public(relay))
    state.mix_key_and_hash(psk)
    state.mix_hash(public(client))
    state.mix_key(public(client))  # with a psk, e is mixed into the key too (Noise 9.2)
    state.mix_key(share(client, relay))
    message1 = public(client) + state.encrypt_and_hash(hello)
    state.mix_hash(public(server))
    state.mix_key(public(server))
    state.mix_key(share(server, client))
    message2 = public(server) + state.encrypt_and_hash(b"")
    key, _ = state.split()
    identity = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(ace["identity_seed"]))
    auth = identity.sign(label("auth") + state.h + sha256(card))
    join = struct.pack(">BI", JOIN, 0) + auth + bytes(16 + 8 + 8) + card
    plaintext = struct.pack(">H", len(join)) + join
    rekeyed = seal(key, bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]  # Noise 4.2
    last = b"after rekey"
    return {
        "noise": "Noise_NKpsk0_25519_ChaChaPoly_SHA256",
        "prologue": b"termchat.v1".hex(),
        "psk": psk.hex(),
        "server_private": RELAY_PRIVATE,
        "server_public": public(relay).hex(),
        "client_ephemeral_private": CLIENT_EPHEMERAL,
        "server_ephemeral_private": SERVER_EPHEMERAL,
        "hello": hello.hex(),
        "message1": message1.hex(),
        "message2": message2.hex(),
        "handshake_hash": state.h.hex(),
        "auth_signature": auth.hex(),
        "first_frame_plaintext": plaintext.hex(),
        "first_frame": seal(key, noise_nonce(0), plaintext, b"").hex(),
        "client_frame_1024_after_rekey": {
            "plaintext": last.hex(),
            "frame": seal(rekeyed, noise_nonce(1024), last, b"").hex(),
        },
    }


# --- 4. Cards and the log.


def card_of(person: Vector, room_id: bytes) -> Vector:
    identity = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(person["identity_seed"]))
    mlkem = MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(person["mlkem_seed"]))
    hpke = mlkem.public_key().public_bytes_raw() + public(x25519(person["x25519_private"]))
    identity_public = identity.public_key().public_bytes_raw()
    fields = bytes.fromhex(person["session"]) + identity_public + hpke
    fields += padded(person["username"], 64)
    tag = bytes(32)
    if person["invite_secret"]:
        secret = bytes.fromhex(person["invite_secret"])
        tag = mac(secret, label("invite") + room_id + fields)
    signed = fields + tag
    card = signed + identity.sign(label("card") + room_id + signed)
    return {
        "username": person["username"],
        "identity_seed": person["identity_seed"],
        "identity": identity_public.hex(),
        "session": person["session"],
        "mlkem_seed": person["mlkem_seed"],
        "x25519_private": person["x25519_private"],
        "hpke_public": hpke.hex(),
        "invite_secret": person["invite_secret"],
        "room_id": room_id.hex(),
        "card": card.hex(),
        "card_sha256": sha256(card).hex(),
    }


def delivered(kind: int, sender: int, seq: int, body: bytes) -> bytes:
    return struct.pack(">BIIQQ", kind, sender, 0, seq, BEGAN_MS + (seq - 1) * 1_000) + body


class Log:
    """H of a log, record by record."""

    def __init__(self, room_id: bytes) -> None:
        self.h = sha256(label("log"), room_id, bytes.fromhex(LOG_ID))
        self.members: dict[int, bytes] = {}
        self.made: Vector = {"log_id": LOG_ID, "H0": self.h.hex(), "records": []}

    def add(self, record: bytes) -> bytes:
        number = int.from_bytes(record[1:5])
        if record[0] == CARD:
            self.members[number] = sha256(record[25:])
        if record[0] == LEAVE:
            del self.members[number]
        listed = [n.to_bytes(4) + card for n, card in sorted(self.members.items())]
        members_hash = sha256(label("members"), *listed)
        self.h = sha256(self.h, members_hash, record)
        self.made["records"].append(
            {"record": record.hex(), "members_hash": members_hash.hex(), "H": self.h.hex()}
        )
        return self.h


# --- 5. Content.


def pad(content: bytes) -> bytes:
    return content.ljust(-(-len(content) // 128) * 128, b"\0")


def room_text(text: str) -> bytes:
    data = text.encode()
    return pad(b"\1" + struct.pack(">H", len(data)) + data)


def direct_text(text: str, line: int) -> bytes:
    data = text.encode()
    return pad(b"\1" + struct.pack(">QH", line, len(data)) + data)


class Chain:
    """A send chain of a person."""

    def __init__(
        self, person: Vector, room_id: bytes, dest: bytes, number: int, chain_key: str
    ) -> None:
        self.identity = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(person["identity_seed"]))
        self.origin = room_id + bytes.fromhex(person["identity"] + person["session"]) + dest
        self.dest, self.number, self.index = dest, number, 0
        self.key, self.digest = bytes.fromhex(chain_key), bytes(32)

    @property
    def position(self) -> bytes:
        return struct.pack(">II", self.number, self.index)

    def key_body(self, other: Vector, before: str) -> bytes:
        """Return a SENDER_KEY; `before`, made earlier, if it holds the same: sealing is random."""
        scope = b"\1" if any(self.dest) else b"\0"
        info = label("key") + self.origin + self.position
        info += bytes.fromhex(other["identity"] + other["session"])
        suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(other["mlkem_seed"]))
        private = x25519(other["x25519_private"])
        head, plaintext = self.position + scope, self.key + self.digest
        earlier = bytes.fromhex(before)
        try:
            opened = suite.decrypt(earlier[9:], MLKEM768X25519PrivateKey(mlkem, private), info)
            if earlier[:9] + opened == head + plaintext:
                return earlier
        except (InvalidTag, ValueError):
            pass
        recipient = MLKEM768X25519PublicKey(mlkem.public_key(), private.public_key())
        return head + suite.encrypt(plaintext, recipient, info)

    def message(self, content: bytes, seen: int, h_seen: bytes) -> Vector:
        keys = expand(mac(self.key, b"\1"), label("message"), 64)
        aead_key, commitment = keys[:32], keys[32:]
        associated = self.origin + self.position
        ciphertext = seal(aead_key, bytes(12), content, associated)
        self.digest = sha256(
            label("chain"),
            self.digest,
            associated,
            struct.pack(">Q", seen),
            h_seen,
            commitment,
            ciphertext,
        )
        head = self.position + struct.pack(">Q", seen)
        signature = self.identity.sign(label("message") + self.digest)
        made = {
            "dest": self.dest.hex(),
            "chain": self.number,
            "index": self.index,
            "chain_key": self.key.hex(),
            "next_chain_key": mac(self.key, b"\2").hex(),
            "aead_key": aead_key.hex(),
            "key_commitment": commitment.hex(),
            "seen": seen,
            "H_seen": h_seen.hex(),
            "content": content.hex(),
            "chain_digest": self.digest.hex(),
            "body": (head + commitment + ciphertext + signature).hex(),
        }
        self.key, self.index = mac(self.key, b"\2"), self.index + 1
        return made


# --- 6. Safety numbers.


def fingerprint(identity: str, username: str) -> list[str]:
    data = label("fingerprint") + bytes.fromhex(identity) + username.casefold().encode()
    fp = hashlib.sha512(data).digest()
    return [f"{int.from_bytes(fp[5 * i : 5 * i + 5]) % 100_000:05}" for i in range(6)]


def safety_number(*people: Vector) -> Vector:
    prints = sorted(fingerprint(one["identity"], one["username"]) for one in people)
    named = [{"username": one["username"], "identity": one["identity"]} for one in people]
    text = " ".join(digits for each in prints for digits in each)
    return {"a": named[0], "b": named[1], "text": text}


# --- All of it.


def make(before: Vector) -> Vector:
    """Return the vectors; `before` is a file made earlier, or empty."""
    key = public(x25519(RELAY_PRIVATE))
    psk = stretch(PASSWORD, key)
    room_id = sha256(label("room"), key)
    cards = [card_of(person, room_id) for person in PEOPLE]
    ace, zoe = cards
    ace_card, zoe_card = (bytes.fromhex(one["card"]) for one in cards)
    hello = bytes.fromhex(ace["session"] + ace["identity"]) + padded("", 32) + padded("ace", 64)

    log = Log(room_id)
    log.add(delivered(CARD, 1, 1, ace_card))
    h_2 = log.add(delivered(CARD, 2, 2, zoe_card))
    room = Chain(ace, room_id, bytes(16), 1, ROOM_CHAIN_KEY)
    key_body = room.key_body(zoe, before.get("key_body", {}).get("body", ""))
    first = room.message(room_text("hi zoë"), 2, h_2)
    h_3 = log.add(delivered(MESSAGE, 1, 3, bytes.fromhex(first["body"])))
    second = room.message(room_text("x" * 200), 3, h_3)
    log.add(delivered(LEAVE, 2, 4, b"\0"))
    direct = Chain(ace, room_id, bytes.fromhex(zoe["session"]), 2, DIRECT_CHAIN_KEY)
    messages = before.get("messages", [])
    direct_key = direct.key_body(zoe, messages[2]["key_body"] if messages else "")
    third = direct.message(direct_text("psst", DIRECT_LINE), 2, h_2)
    check = sha256(label("check"), key)[:1]
    return {
        "protocol": "termchat.v1",
        "note": "all binary values are lowercase hex; multi-byte integers big-endian",
        "psk": {
            "key": key.hex(),
            "key_text": base64.urlsafe_b64encode(key + check).decode(),
            "password": PASSWORD,
            "psk": psk.hex(),
        },
        "psk_empty_password": {"key": key.hex(), "password": "", "psk": stretch("", key).hex()},
        "room": {
            "key": key.hex(),
            "room_name": "",
            "room_id": room_id.hex(),
            "server_id": base64.urlsafe_b64encode(sha256(label("server"), key)).decode()[:22],
        },
        "p2p": peer_to_peer(FERNET_KEY),
        "cards": cards,
        "handshake": handshake(psk, hello, ace, ace_card),
        "log": log.made,
        "key_body": {
            "recipient": "zoë",
            "chain_key": ROOM_CHAIN_KEY,
            "chain": 1,
            "index": 0,
            "scope": 0,
            "body": key_body.hex(),
        },
        "messages": [first, second, {**third, "line": DIRECT_LINE, "key_body": direct_key.hex()}],
        "safety_number": safety_number(ace, zoe),
    }


if __name__ == "__main__":
    made = make(json.loads(FILE.read_text()) if FILE.exists() else {})
    FILE.write_text(json.dumps(made, indent=1, ensure_ascii=True) + "\n")
