from __future__ import annotations

from typing import Any

import pytest

from common.crypto.identity import RelayKey
from common.crypto.noise import EPHEMERAL_BYTES, CipherState, Initiator, Responder, Transport
from common.crypto.primitives import Aead, X25519Key
from common.errors import Unauthentic
from tests.unit.crypto.vectors import TERMCHAT, flips, load, unhex

PSK = bytes(range(32))
RELAY = RelayKey.generate()
VECTORS = load("noise.json")["vectors"]


def _key(text: str) -> X25519Key:
    return X25519Key.from_bytes(unhex(text))


def _shake(psk: bytes = PSK) -> tuple[Transport, Transport]:
    """Return the client's and the relay's transport."""
    client, relay = Initiator(RELAY.public, psk), Responder(RELAY, psk)
    relay.read(client.write(b"hello"))
    message2, ours = relay.write(b"")
    return client.read(message2)[1], ours


@pytest.mark.parametrize("vector", VECTORS, ids=["NK", "NKpsk0", "NK of snow"])
def test_official_vectors(vector: Any) -> None:
    psks = [unhex(psk) for psk in vector.get("init_psks", [])]
    psk = psks[0] if psks else None
    prologue = unhex(vector["init_prologue"])
    public = unhex(vector["init_remote_static"])
    client = Initiator(public, psk, prologue=prologue, ephemeral=_key(vector["init_ephemeral"]))
    static, ephemeral = _key(vector["resp_static"]), _key(vector["resp_ephemeral"])
    relay = Responder(static, psk, prologue=prologue, ephemeral=ephemeral)
    assert static.public == public

    message1, message2, *messages = vector["messages"]
    sealed = client.write(unhex(message1["payload"]))
    assert sealed.hex() == message1["ciphertext"]
    assert relay.read(sealed).hex() == message1["payload"]
    sealed, theirs = relay.write(unhex(message2["payload"]))
    assert sealed.hex() == message2["ciphertext"]
    payload, ours = client.read(sealed)
    assert payload.hex() == message2["payload"]
    assert ours.handshake_hash == theirs.handshake_hash
    assert ours.handshake_hash.hex() == vector.get("handshake_hash", ours.handshake_hash.hex())

    for number, message in enumerate(messages):
        sender, receiver = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        sealed = sender.sending.seal(unhex(message["payload"]))
        assert sealed.hex() == message["ciphertext"]
        assert receiver.receiving.open(sealed).hex() == message["payload"]


def test_our_handshake_is_the_vector() -> None:
    vector = TERMCHAT["handshake"]
    psk, ephemeral = unhex(vector["psk"]), _key(vector["client_ephemeral_private"])
    client = Initiator(unhex(vector["server_public"]), psk, ephemeral=ephemeral)
    static = RelayKey.from_private(unhex(vector["server_private"]))
    relay = Responder(static, psk, ephemeral=_key(vector["server_ephemeral_private"]))

    message1 = client.write(unhex(vector["hello"]))
    assert message1.hex() == vector["message1"]
    assert len(message1) == 194
    assert relay.read(message1).hex() == vector["hello"]
    assert relay.peer_ephemeral == message1[:EPHEMERAL_BYTES]
    message2, theirs = relay.write(b"")
    assert message2.hex() == vector["message2"]
    payload, ours = client.read(message2)
    assert payload == b""
    assert ours.handshake_hash.hex() == theirs.handshake_hash.hex() == vector["handshake_hash"]

    frame = ours.sending.seal(unhex(vector["first_frame_plaintext"]))
    assert frame.hex() == vector["first_frame"]
    assert theirs.receiving.open(frame).hex() == vector["first_frame_plaintext"]
    for _ in range(1, 1024):
        assert theirs.receiving.open(ours.sending.seal(b"")) == b""
    last = vector["client_frame_1024_after_rekey"]
    frame = ours.sending.seal(unhex(last["plaintext"]))
    assert frame.hex() == last["frame"]
    assert theirs.receiving.open(frame).hex() == last["plaintext"]


def test_both_directions_go_on_over_two_rekeys() -> None:
    client, relay = _shake()
    for sender, receiver in ((client, relay), (relay, client)):
        for number in range(2050):
            text = str(number).encode()
            assert receiver.receiving.open(sender.sending.seal(text)) == text


def test_the_nonce_runs_on_over_a_rekey() -> None:
    cipher = CipherState(PSK)
    for _ in range(1024):
        cipher.seal(b"")
    # Noise 4.2: REKEY(k) is the first half of sealed zeros, under the last nonce there is.
    key = Aead(PSK).seal(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]
    nonce = bytes(4) + (1024).to_bytes(8, "little")
    assert cipher.seal(b"x") == Aead(key).seal(nonce, b"x", b"")


def test_a_frame_opens_once_and_in_order() -> None:
    client, relay = _shake()
    first, second = client.sending.seal(b"1"), client.sending.seal(b"2")
    with pytest.raises(Unauthentic):
        relay.receiving.open(second)
    assert relay.receiving.open(first) == b"1"
    with pytest.raises(Unauthentic):
        relay.receiving.open(first)
    assert relay.receiving.open(second) == b"2"


def test_a_changed_or_reflected_frame_does_not_open() -> None:
    client, relay = _shake()
    frame = client.sending.seal(b"a frame")
    for changed in [*flips(frame), frame[:-1], frame + b"\0", frame[:15], b""]:
        with pytest.raises(Unauthentic):
            relay.receiving.open(changed)
    with pytest.raises(Unauthentic):
        client.receiving.open(frame)


def test_a_frame_of_another_connection_does_not_open() -> None:
    client, relay = _shake()
    other, _ = _shake()
    with pytest.raises(Unauthentic):
        relay.receiving.open(other.sending.seal(b""))
    assert client.handshake_hash != other.handshake_hash


def test_message_1_takes_key_password_and_prologue() -> None:
    for client in (
        Initiator(RELAY.public, bytes(32)),
        Initiator(RELAY.public, None),
        Initiator(RelayKey.generate().public, PSK),
        Initiator(RELAY.public, PSK, prologue=b"termchat.v2"),
    ):
        with pytest.raises(Unauthentic):
            Responder(RELAY, PSK).read(client.write(bytes(146)))


def test_a_changed_message_1_is_refused() -> None:
    message1 = Initiator(RELAY.public, PSK).write(bytes(146))
    top_bit = message1[:31] + bytes([message1[31] ^ 0x80]) + message1[32:]  # the same point
    cuts = [message1[:size] for size in (0, 31, 32, 47, 48, 193)]
    zeros = bytes(32) + message1[32:]
    for changed in [*flips(message1), *cuts, message1 + b"\0", top_bit, zeros]:
        relay = Responder(RELAY, PSK)
        with pytest.raises(Unauthentic):
            relay.read(changed)
        assert relay.peer_ephemeral == b""


def test_a_changed_message_2_is_refused() -> None:
    client, relay = Initiator(RELAY.public, PSK, ephemeral=_key("07" * 32)), Responder(RELAY, PSK)
    message1 = client.write(b"")
    relay.read(message1)
    message2, _ = relay.write(b"")
    cuts = [message2[:size] for size in (0, 31, 32, 47)]
    for changed in [*flips(message2), *cuts, message2 + b"\0", bytes(48)]:
        again = Initiator(RELAY.public, PSK, ephemeral=_key("07" * 32))
        assert again.write(b"") == message1
        with pytest.raises(Unauthentic):
            again.read(changed)
    assert client.read(message2)[0] == b""


def test_who_lacks_the_relays_key_cannot_answer() -> None:
    client = Initiator(RELAY.public, PSK)
    impostor = Responder(RelayKey.generate(), PSK)
    with pytest.raises(Unauthentic):
        impostor.read(client.write(b""))
    # It answers nevertheless, as one who saw only the ephemeral key can.
    impostor.peer_ephemeral = X25519Key.generate().public
    message2, _ = impostor.write(b"")
    with pytest.raises(Unauthentic):
        client.read(message2)


def test_a_replayed_message_1_shows_its_ephemeral_and_gives_another_connection() -> None:
    client = Initiator(RELAY.public, PSK)
    message1 = client.write(b"hello")
    first, second = Responder(RELAY, PSK), Responder(RELAY, PSK)
    assert first.read(message1) == second.read(message1) == b"hello"
    assert first.peer_ephemeral == second.peer_ephemeral == message1[:EPHEMERAL_BYTES]
    message2, ours = first.write(b"")
    _, transport = client.read(message2)
    _, theirs = second.write(b"")
    assert theirs.handshake_hash != ours.handshake_hash
    with pytest.raises(Unauthentic):
        theirs.receiving.open(transport.sending.seal(b"a JOIN, recorded"))


def test_a_relay_key_that_makes_zeros_is_refused() -> None:
    with pytest.raises(Unauthentic):
        Initiator(bytes(32), PSK).write(b"")


def test_every_attempt_has_its_own_message_1() -> None:
    messages = {Initiator(RELAY.public, PSK).write(b"") for _ in range(4)}
    assert len(messages) == 4
