"""Garbage on the port disturbs no room in use."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

from tests.e2e.harness import House, Relay

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)
OURS = UPGRADE + b"Sec-WebSocket-Protocol: termchat.v1\r\n"
MESSAGE_1 = b"A" * 259  # base64 of 194 bytes


def sent(relay: Relay, data: bytes) -> bytes:
    """Send bytes and return the whole answer; the relay must end the connection, or leave it."""
    stranger = relay.connect()
    stranger.settimeout(5)
    answer = b""
    with contextlib.suppress(ConnectionError):  # it did not read to the end
        stranger.sendall(data)
        while part := stranger.recv(4096):
            answer += part
    stranger.close()
    return answer


def random_bytes(relay: Relay) -> None:
    chance = random.Random(1719)
    for size in (1, 100, 10_000, 1_000_000):
        stranger = relay.connect()
        with contextlib.suppress(ConnectionError):
            stranger.sendall(chance.randbytes(size))
        stranger.close()


def plain_http(relay: Relay) -> None:
    assert sent(relay, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 426 ")
    sent(relay, b"POST /\x1b[2J HTTP/1.1\r\nX: \x1b]0;pwned\x07\r\nContent-Length: 9\r\n\r\nhello")
    sent(relay, b"\x1b[2J / HTTP/1.1\r\n\r\n")


def websocket_without_protocol(relay: Relay) -> None:
    assert sent(relay, UPGRADE + b"\r\n").startswith(b"HTTP/1.1 426 ")


def websocket_without_credentials(relay: Relay) -> None:
    answer = sent(relay, OURS + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"WWW-Authenticate: Noise\r\n" in answer


def websocket_with_wrong_credentials(relay: Relay) -> None:
    for value in (b"Noise " + MESSAGE_1, b"Basic YTpi", b"Noise \x1b[2J", b"Noise", b"\xff" * 99):
        answer = sent(relay, OURS + b"Authorization: " + value + b"\r\n\r\n")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 401 ")
    twice = b"Authorization: Noise " + MESSAGE_1 + b"\r\n"
    assert sent(relay, OURS + twice * 2 + b"\r\n").startswith(b"HTTP/1.1 401 ")


def oversized_header(relay: Relay) -> None:
    assert sent(relay, OURS + b"X: " + b"a" * 65_536) == b""
    assert sent(relay, OURS + b"X: y\r\n" * 4_096 + b"\r\n") == b""


def half_a_handshake(relay: Relay) -> None:
    relay.connect()
    for data in (b"GET", OURS, OURS + b"Authorization: Noise"):
        relay.connect().sendall(data)


def many_connections(relay: Relay) -> None:
    for stranger in [relay.connect() for _ in range(50)]:
        stranger.close()


def frames_before_the_answer(relay: Relay) -> None:
    sent(relay, OURS + b"Authorization: Noise " + MESSAGE_1 + b"\r\n\r\n" + b"\x82\x00" * 100)


GARBAGE: tuple[Callable[[Relay], None], ...] = (
    random_bytes,
    plain_http,
    websocket_without_protocol,
    half_a_handshake,
    websocket_without_credentials,
    websocket_with_wrong_credentials,
    oversized_header,
    many_connections,
    frames_before_the_answer,
)


def test_garbage_disturbs_no_room(house: House) -> None:
    relay = house.relay("--host", "127.0.0.1")
    ace = house.screen(relay, "ace")
    ace.wait_for("Connected to lobby as ace.")
    bea = house.lines(relay, "bea")
    ace.wait_for("bea joined")
    bea.wait_for("You are connected")
    for garbage in GARBAGE:
        garbage(relay)
        ace.say(f"heard through {garbage.__name__}")
        bea.wait_for(f"ace: heard through {garbage.__name__}")
        bea.say(f"and after {garbage.__name__}")
        ace.wait_for(f"and after {garbage.__name__}")
    assert not any("[Disconnected]" in row for row in relay.rows)
    assert relay.stop() == 0
