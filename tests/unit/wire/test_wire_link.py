"""Both ends of a connection against each other, and each against whoever sits between."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol as WebSocket
from websockets.protocol import Side
from websockets.server import ServerProtocol
from websockets.utils import accept_key

from common.codec import base64url
from common.crypto.identity import RelayKey
from common.crypto.noise import Initiator, Responder
from common.errors import LocalProtocolError, ProtocolError, Refused, Unauthentic, UsageError
from common.wire import records
from common.wire.link import (
    CLOSE_WITHIN_S,
    HANDSHAKE_S,
    MAX_HEAD_BYTES,
    PING_EVERY_S,
    PONG_WITHIN_S,
    TRANSITIONS,
    ClientLink,
    Closed,
    Opened,
    ServerLink,
    State,
    Step,
    Upgrade,
    parse_url,
)
from common.wire.records import RELAY, Error, Hello, Kind, MemberId, Sent, framed

KEY = RelayKey.generate()
PSK = bytes(range(32))
HELLO = Hello(bytes(range(16)), bytes(range(32)), "", "ace")
URL = "ws://relay.test/"
T = 1_000.0
LEAVE = Sent(Kind.LEAVE, RELAY, b"")
NOTICE = records.from_relay(Kind.NOTICE, b"hi")


def fed_three_ways(
    make: Callable[[], Any], data: bytes, *, tail: bytes = b""
) -> list[tuple[list[Any], Any]]:
    """Feed a link whole, byte by byte, and in two parts; return its events and itself, each time.

    With a tail, which is more of the same stream, whatever came before it must be there still.
    """
    data += tail
    found = []
    for parts in ([data], [data[i : i + 1] for i in range(len(data))], [data[:-3], data[-3:]]):
        link = make()
        events: list[Any] = []
        for part in parts:
            events += link.receive(part, T)
        found.append((events, link))
    return found


def same(ways: Iterable[tuple[list[Any], Any]]) -> tuple[list[Any], Any]:
    """All three ways must tell the same."""
    first, *others = ways
    for events, link in others:
        assert [repr(event) for event in events] == [repr(event) for event in first[0]]
        assert link.state is first[1].state
    return first


def bytes_of(link: ServerLink | ClientLink) -> bytes:
    return b"".join(link.outgoing())


def client(hello: Hello = HELLO, *, psk: bytes = PSK, key: bytes = KEY.public) -> ClientLink:
    return ClientLink(URL, key, psk, hello, T)


@dataclass
class Pair:
    """A client and a relay that have shaken hands."""

    client: ClientLink
    server: ServerLink
    opened: Opened


def pair() -> Pair:
    ends = client(), ServerLink(T)
    (upgrade,) = ends[1].receive(bytes_of(ends[0]), T)
    assert upgrade == Upgrade(offers_us=True, x_forwarded_for="", forwarded="")
    hello, _ = ends[1].open(KEY, PSK)
    assert hello == HELLO
    assert ends[1].accept(T)
    (opened,) = ends[0].receive(bytes_of(ends[1]), T)
    assert isinstance(opened, Opened)
    return Pair(*ends, opened)


def asked(head: bytes) -> ServerLink:
    """A relay's end that was sent this."""
    link = ServerLink(T)
    link.receive(head, T)
    return link


def request(**headers: str | None) -> bytes:
    """The request of a client, with headers changed or, if None, left out."""
    head = bytes_of(client()).decode()
    lines = head.removesuffix("\r\n\r\n").split("\r\n")
    for name, value in headers.items():
        name = name.replace("_", "-")
        lines = [line for line in lines if not line.lower().startswith(name.lower() + ":")]
        if value is not None:
            lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def headers_of(response: bytes) -> tuple[int, dict[str, str]]:
    head = response.split(b"\r\n\r\n")[0].decode()
    status, *lines = head.split("\r\n")
    return int(status.split(" ")[1]), dict(line.split(": ", 1) for line in lines)


# --- The handshake.


class TestHandshake:
    def test_it_opens_both_ends(self) -> None:
        ends = pair()
        assert ends.client.state is ends.server.state is State.OPEN
        assert ends.client.handshake_hash == ends.server.handshake_hash
        assert ends.opened.handshake_hash == ends.client.handshake_hash

    def test_each_is_new(self) -> None:
        assert bytes_of(client()) != bytes_of(client())

    def test_what_the_client_asks(self) -> None:
        head = bytes_of(client()).decode()
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        assert first == "GET / HTTP/1.1"
        assert fields["Sec-WebSocket-Protocol"] == "termchat.v1"
        assert "Sec-WebSocket-Extensions" not in fields
        scheme, message = fields["Authorization"].split(" ")
        assert scheme == "Noise"
        assert "=" not in message
        assert len(base64.urlsafe_b64decode(message + "==")) == 194

    def test_what_the_relay_answers(self) -> None:
        link = asked(request(Sec_WebSocket_Extensions="permessage-deflate"))
        link.open(KEY, PSK)
        assert link.accept(T)
        status, fields = headers_of(bytes_of(link))
        assert status == 101
        assert fields["Sec-WebSocket-Protocol"] == "termchat.v1"
        assert "Sec-WebSocket-Extensions" not in fields
        scheme, message = fields["Authentication-Info"].split(" ")
        assert scheme == "Noise"
        assert len(base64.urlsafe_b64decode(message + "==")) == 48

    def test_the_request_comes_in_any_parts(self) -> None:
        head = request(X_Forwarded_For="192.0.2.7, 10.0.0.1", Forwarded="for=192.0.2.7")
        events, link = same(fed_three_ways(lambda: ServerLink(T), head))
        assert events == [Upgrade(True, "192.0.2.7, 10.0.0.1", "for=192.0.2.7")]
        assert link.state is State.CONNECTING

    def test_the_answer_comes_in_any_parts_and_with_a_tail(self) -> None:
        for has_tail, expected in ((False, [Opened]), (True, [Opened, records.Delivered])):
            for size in (1, 7, 1 << 16):
                ends = client(), ServerLink(T)
                ends[1].receive(bytes_of(ends[0]), T)
                ends[1].open(KEY, PSK)
                ends[1].accept(T)
                if has_tail:
                    ends[1].send(NOTICE)
                answer = bytes_of(ends[1])
                events: list[object] = []
                for at in range(0, len(answer), size):
                    events += ends[0].receive(answer[at : at + size], T)
                assert [type(event) for event in events] == expected
                assert ends[0].state is State.OPEN

    @pytest.mark.parametrize(
        ("key", "psk"), [(RelayKey.generate(), PSK), (KEY, bytes(32))], ids=["KEY", "password"]
    )
    def test_another_key_or_password(self, key: RelayKey, psk: bytes) -> None:
        link = asked(bytes_of(client()))
        with pytest.raises(Unauthentic):
            link.open(key, psk)
        link.refuse(401, T)
        assert link.state is State.CLOSING

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            "Noise",
            "Noise ",
            "Noise !",
            "Basic " + base64url(bytes(194)),
            "noise " + base64url(bytes(194)),
            "Noise " + base64url(bytes(193)),
            "Noise " + base64url(bytes(195)),
            "Noise " + base64url(bytes(194)) + "=",
            "Noise  " + base64url(bytes(194)),
            "Noise " + base64url(bytes(194))[:-1] + "B",
            "Noise " + base64url(bytes(194)).replace("A", "\xe9", 1),
            # An all-zero ephemeral makes a secret that everybody knows.
            "Noise " + base64url(bytes(194)),
        ],
    )
    def test_authorization_missing_malformed_or_wrong(self, value: str | None) -> None:
        link = asked(request(Authorization=value))
        with pytest.raises(Unauthentic):
            link.open(KEY, PSK)

    def test_authorization_twice(self) -> None:
        head = bytes_of(client())
        line = next(part for part in head.split(b"\r\n") if part.startswith(b"Authorization"))
        link = asked(head.removesuffix(b"\r\n") + line + b"\r\n\r\n")
        with pytest.raises(Unauthentic):
            link.open(KEY, PSK)

    def test_a_malformed_hello(self) -> None:
        message = Initiator(KEY.public, PSK).write(bytes([255]) * 146)
        link = asked(request(Authorization=f"Noise {base64url(message)}"))
        with pytest.raises(ProtocolError):
            link.open(KEY, PSK)

    def test_the_ephemeral_tells_a_replay(self) -> None:
        head = bytes_of(client())
        assert asked(head).open(KEY, PSK) == asked(head).open(KEY, PSK)
        assert asked(bytes_of(client())).open(KEY, PSK)[1] != asked(head).open(KEY, PSK)[1]

    @pytest.mark.parametrize(
        ("offer", "offers_us"),
        [
            (None, False),
            ("termchat.v2", False),
            ("termchat.v10", False),
            ("TERMCHAT.V1", False),
            ("termchat.v2, termchat.v1", True),
            ("termchat.v1,chat", True),
        ],
    )
    def test_subprotocols(self, offer: str | None, offers_us: bool) -> None:
        (event,) = ServerLink(T).receive(request(Sec_WebSocket_Protocol=offer), T)
        assert isinstance(event, Upgrade)
        assert event.offers_us is offers_us

    def test_a_request_that_is_no_websocket_is_refused_in_the_librarys_words(self) -> None:
        link = asked(request(Sec_WebSocket_Version=None))
        link.open(KEY, PSK)
        assert not link.accept(T)
        assert headers_of(bytes_of(link))[0] in (400, 426)
        assert link.state is State.CLOSING

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 423, 426, 429, 503, 507])
    def test_each_refusal_with_its_header(self, status: int) -> None:
        link, guest = ServerLink(T), client()
        link.receive(bytes_of(guest), T)
        link.refuse(status, T, retry_after_s=60 if status == 429 else 0)
        chunks = link.outgoing()
        assert chunks[-1] == b""
        answer = b"".join(chunks)
        got, fields = headers_of(answer)
        assert got == status
        assert fields.get("WWW-Authenticate") == ("Noise" if status == 401 else None)
        assert fields.get("Sec-WebSocket-Protocol") == ("termchat.v1" if status == 426 else None)
        assert fields.get("Retry-After") == ("60" if status == 429 else None)
        (closed,) = guest.receive(answer, T)
        assert isinstance(closed, Closed)
        refused = closed.refused
        assert refused is not None
        assert (refused.status, refused.authentic) == (status, False)
        assert refused.retry_after_s == (60 if status == 429 else 0)
        assert guest.state is State.CLOSING
        # Whatever follows is discarded.
        assert link.receive(b"x" * 100, T) == []
        assert link.receive(b"", T) == []
        assert link.state is State.CLOSED

    @pytest.mark.parametrize(
        "value", ["", "-1", "Thu, 01 Jan 1970 00:00:00 GMT", "1e9", "9" * 6, "٣"]
    )
    def test_a_retry_after_that_is_no_number_of_seconds(self, value: str) -> None:
        guest = client()
        answer = f"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: {value}\r\n\r\n"
        (closed,) = guest.receive(answer.encode(), T)
        assert isinstance(closed, Closed)
        assert closed.refused is not None
        assert closed.refused.retry_after_s == 0

    def test_a_head_that_is_too_large_is_closed_unanswered(self) -> None:
        for filler in (
            b"X: " + b"x" * MAX_HEAD_BYTES,
            b"GET / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        ):
            events, link = same(fed_three_ways(lambda: ServerLink(T), filler))
            (closed,) = events
            assert isinstance(closed, Closed)
            assert link.state is State.CLOSED
            assert bytes_of(link) == b""

    def test_a_head_of_8_kib_is_taken(self) -> None:
        head = request()
        filled = request(X_Filler="x" * (MAX_HEAD_BYTES - len(head) - len("X-Filler: \r\n")))
        assert len(filled) == MAX_HEAD_BYTES
        (event,) = ServerLink(T).receive(filled, T)
        assert isinstance(event, Upgrade)
        (closed,) = ServerLink(T).receive(request(X_Filler="x" * MAX_HEAD_BYTES), T)
        assert isinstance(closed, Closed)

    def test_bytes_after_the_request_before_its_answer(self) -> None:
        for tail in (b"\0", b"GET / HTTP/1.1\r\n\r\n"):
            link = ServerLink(T)
            (closed,) = link.receive(request() + tail, T)
            assert isinstance(closed, Closed)
            assert link.state is State.CLOSED
            link = asked(request())
            (closed,) = link.receive(tail, T)
            assert isinstance(closed, Closed)
            assert link.state is State.CLOSED
            assert bytes_of(link) == b""

    @pytest.mark.parametrize(
        "head",
        [
            b"\r\n\r\n",
            b"hello\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
            b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"GETX",
        ],
    )
    def test_what_is_no_request(self, head: bytes) -> None:
        events, link = same(fed_three_ways(lambda: ServerLink(T), head))
        (closed,) = events
        assert isinstance(closed, Closed)
        assert link.state is State.CLOSED
        assert bytes_of(link) == b""

    def test_nothing_is_opened_before_a_request(self) -> None:
        link = ServerLink(T)
        for act in (
            lambda: link.open(KEY, PSK),
            lambda: link.accept(T),
            lambda: link.handshake_hash,
        ):
            with pytest.raises(LocalProtocolError):
                act()
        with pytest.raises(LocalProtocolError):
            link.send(NOTICE)


class TestAnswers:
    """What a client makes of an answer that is not our relay's."""

    def answered(self, **headers: str | None) -> tuple[ClientLink, list[object]]:
        guest, link = client(), ServerLink(T)
        link.receive(bytes_of(guest), T)
        link.open(KEY, PSK)
        link.accept(T)
        lines = bytes_of(link).decode().removesuffix("\r\n\r\n").split("\r\n")
        for name, value in headers.items():
            name = name.replace("_", "-")
            lines = [line for line in lines if not line.lower().startswith(name.lower() + ":")]
            if value is not None:
                lines.append(f"{name}: {value}")
        return guest, list(guest.receive(("\r\n".join(lines) + "\r\n\r\n").encode(), T))

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec_WebSocket_Protocol": None},
            {"Sec_WebSocket_Protocol": "termchat.v0"},
            {"Sec_WebSocket_Extensions": "permessage-deflate"},
            {"Sec_WebSocket_Accept": "x"},
            {"Authentication_Info": None},
            {"Authentication_Info": "Noise"},
            {"Authentication_Info": "Noise " + base64url(bytes(48))},
            {"Authentication_Info": "Noise " + base64url(b"\x09" + bytes(47))},
            {"Authentication_Info": "Noise " + base64url(bytes(49))},
        ],
    )
    def test_a_101_that_is_not_what_we_asked_for(self, headers: dict[str, str | None]) -> None:
        guest, (closed,) = self.answered(**headers)
        assert isinstance(closed, Closed)
        assert closed.refused is not None
        assert (closed.refused.status, closed.refused.authentic) == (400, False)
        assert guest.state is State.CLOSED
        with pytest.raises(LocalProtocolError):
            guest.send(LEAVE)

    def test_the_same_answer_is_good(self) -> None:
        guest, (opened,) = self.answered()
        assert isinstance(opened, Opened)
        assert guest.state is State.OPEN

    def test_a_message_2_of_another_relay_or_with_a_payload(self) -> None:
        for key, payload in ((RelayKey.generate(), b""), (KEY, b"x")):
            guest = client()
            head = bytes_of(guest).decode()
            (line,) = (x for x in head.split("\r\n") if x.startswith("Authorization"))
            message = base64.urlsafe_b64decode(line.split(" ")[2] + "==")
            responder = Responder(KEY, PSK)
            responder.read(message)
            if key is not KEY:
                responder = Responder(key, PSK)
                responder.peer_ephemeral = message[:32]
            websocket = ServerProtocol()
            websocket.receive_data(request())
            (asking,) = websocket.events_received()
            response = websocket.accept(asking)  # type: ignore[arg-type] # a Request it is
            fields = dict(line.split(": ") for line in head.split("\r\n")[1:-2])
            response.headers.pop("Sec-WebSocket-Accept")
            response.headers["Sec-WebSocket-Accept"] = accept_key(fields["Sec-WebSocket-Key"])
            response.headers["Sec-WebSocket-Protocol"] = "termchat.v1"
            made = responder.write(payload)[0]
            response.headers["Authentication-Info"] = f"Noise {base64url(made)}"
            (closed,) = guest.receive(response.serialize(), T)
            assert isinstance(closed, Closed)
            assert closed.refused is not None
            assert not closed.refused.authentic

    def test_a_head_that_is_too_large(self) -> None:
        answer = b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * MAX_HEAD_BYTES
        events, link = same(fed_three_ways(client, answer))
        (closed,) = events
        assert isinstance(closed, Closed)
        assert link.state is State.CLOSED

    def test_the_body_of_a_refusal_is_bounded(self) -> None:
        head = b"HTTP/1.1 503 No\r\nContent-Length: 100000\r\n\r\n"
        events, link = same(fed_three_ways(client, head + b"x" * (MAX_HEAD_BYTES + 1)))
        (closed,) = events
        assert closed.refused.status == 400
        assert link.state is State.CLOSED

    def test_a_refusal_comes_in_any_parts(self) -> None:
        answer = b"HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nhello"
        events, link = same(fed_three_ways(client, answer))
        (closed,) = events
        assert closed.refused.status == 503
        assert link.state is State.CLOSING

    @pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"\r\n\r\n", b"HTTP/2 200\r\n\r\n"])
    def test_what_is_not_http(self, answer: bytes) -> None:
        events, link = same(fed_three_ways(client, answer))
        (closed,) = events
        assert closed.refused.status == 400
        assert link.state is State.CLOSED

    @pytest.mark.parametrize(
        "url",
        [
            "ws://user:pw@relay.test/",
            "ws://user@relay.test/",
            "http://relay.test/",
            "ws:///",
            "relay.test",
            "ws://relay.test:99999/",
            "ws://relay.test:x/",
            "",
        ],
    )
    def test_an_address_that_cannot_be_used(self, url: str) -> None:
        with pytest.raises(UsageError) as caught:
            ClientLink(url, KEY.public, PSK, HELLO, T)
        assert "pw" not in str(caught.value)
        with pytest.raises(UsageError):
            parse_url(url)

    def test_addresses(self) -> None:
        assert parse_url("ws://relay.test:1719/").port == 1719
        assert parse_url("wss://[::1]/").secure


# --- Frames.


def sealed(link: ServerLink | ClientLink, plaintext: bytes) -> bytes:
    """A frame as this end would send it."""
    link.send_batch(plaintext)
    return bytes_of(link)


def ws(link: ServerLink | ClientLink, opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A WebSocket frame of this end that no link of ours would make."""
    return Frame(opcode, data, fin).serialize(mask=isinstance(link, ClientLink))


def closing_code(data: bytes) -> int | None:
    """The code of the unmasked close frame at the end of what a relay sent."""
    if data[-4:-3] == b"\x88" and data[-3:-2] == b"\x02":
        return int.from_bytes(data[-2:])
    return None


def error_of(guest: ClientLink, data: bytes) -> Refused | None:
    closed = [event for event in guest.receive(data, T) if isinstance(event, Closed)]
    return closed[0].refused if closed else None


class TestFrames:
    def test_records_go_both_ways_in_any_parts(self) -> None:
        ends = pair()
        command = Sent(Kind.COMMAND, RELAY, b"/who")
        ends.client.send(LEAVE)
        ends.client.send(command)
        (data,) = ends.client.outgoing()
        found = [event for byte in data for event in ends.server.receive(bytes([byte]), T)]
        assert found == [LEAVE, command]
        assert ends.server.frames == 1
        ends.server.send(NOTICE)
        ends.server.send(NOTICE)
        assert ends.client.receive(bytes_of(ends.server), T) == [NOTICE, NOTICE]

    @settings(max_examples=20)
    @given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=10), st.data())
    def test_chunking_never_changes_events(
        self, texts: list[tuple[bytes, bool]], data: st.DataObject
    ) -> None:
        ends = pair()
        stream = b""
        for text, ends_frame in texts:
            ends.server.send(records.from_relay(Kind.NOTICE, text))
            if ends_frame:
                stream += bytes_of(ends.server)
        stream += bytes_of(ends.server)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        found: list[object] = []
        for start, end in itertools.pairwise([0, *cuts, len(stream)]):
            if start < end:
                found += ends.client.receive(stream[start:end], T)
        assert found == [records.from_relay(Kind.NOTICE, text) for text, _ in texts]

    def test_an_empty_frame_is_allowed_and_counted(self) -> None:
        ends = pair()
        assert ends.server.receive(sealed(ends.client, b""), T) == []
        assert ends.server.frames == 1
        assert ends.server.state is State.OPEN

    def test_pings_are_counted_and_answered(self) -> None:
        ends = pair()
        for _ in range(3):
            ends.client.ping(T)
        assert ends.server.receive(bytes_of(ends.client), T) == []
        assert ends.server.frames == 3
        assert ends.client.receive(bytes_of(ends.server), T) == []
        assert ends.client.frames == 3

    @settings(max_examples=30)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from((Opcode.BINARY, Opcode.PING, Opcode.PONG)),
                # With what encryption and framing add, around 125 bytes, the last short size.
                st.sampled_from((0, 1, 101, 102, 103, 125, 500)),
            ),
            max_size=6,
        ),
        st.booleans(),
        st.data(),
    )
    def test_frames_as_the_library_makes_and_reads_them(
        self, frames: list[tuple[Opcode, int]], from_client: bool, data: st.DataObject
    ) -> None:
        ends = pair()
        near: ServerLink | ClientLink = ends.client if from_client else ends.server
        far: ServerLink | ClientLink = ends.server if from_client else ends.client
        assert near._transport is not None
        stream, expected, pings = b"", [], []
        for opcode, size in frames:
            payload = bytes(min(size, 125))
            if opcode is Opcode.BINARY:
                body = b"x" * max(size, records.ORDER_BYTES)
                said = (
                    Sent(Kind.COMMAND, RELAY, body)
                    if from_client
                    else records.from_relay(Kind.NOTICE, body)
                )
                expected.append(said)
                payload = near._transport.sending.seal(framed(said.encode()))
            elif opcode is Opcode.PING:
                pings.append(payload)
            stream += ws(near, opcode, payload)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        found: list[object] = []
        for start, stop in itertools.pairwise([0, *cuts, len(stream)]):
            if start < stop:
                found += far.receive(stream[start:stop], T)
        assert found == expected
        assert far.frames == len(frames)
        reader = WebSocket(Side.CLIENT if from_client else Side.SERVER)
        reader.receive_data(bytes_of(far))
        assert reader.events_received() == [Frame(Opcode.PONG, payload) for payload in pings]

    @pytest.mark.parametrize("end", ["client", "server"])
    @pytest.mark.parametrize(
        "head",
        [
            b"\xc2\x10",
            b"\x92\x10",
            b"\x83\x10",
            b"\x8b\x10",
            b"\x09\x10",
            b"\x89\x7e\x00\x7e",
            b"\x82\x7f" + bytes(8),
            b"\x81\x05",
            b"\x00\x05",
        ],
        ids=[
            "reserved bit",
            "compressed",
            "reserved opcode",
            "reserved control",
            "fragmented ping",
            "long ping",
            "long size",
            "text",
            "continuation",
        ],
    )
    def test_a_frame_that_is_none_of_ours_ends_it_at_its_head(self, end: str, head: bytes) -> None:
        masked = bytes([head[0], head[1] | 0x80, *head[2:]])
        wrong = b"\x82\x10" if end == "server" else b"\x82\x90"
        for bad in (masked if end == "server" else head, wrong):
            events, link = same(fed_three_ways(lambda: getattr(pair(), end), bad, tail=b"abcd"))
            (closed,) = events
            assert closed.refused.status == 400
            assert link.state is State.CLOSING

    def test_no_frame_is_larger_than_it_may_be(self) -> None:
        ends = pair()
        body = bytes(records.MAX_MESSAGE_BYTES)
        message = records.Delivered(Kind.MESSAGE, MemberId(1), MemberId(2), records.Seq(0), 0, body)
        for _ in range(12):
            ends.server.send(message)
        chunks = ends.server.outgoing()
        assert ends.client.receive(b"".join(chunks), T) == [message] * 12
        assert ends.client.frames == 4

    def test_the_largest_frame_and_one_byte_more(self) -> None:
        ends = pair()
        filler = framed(Sent(Kind.COMMAND, RELAY, bytes(512)).encode())
        whole = filler * (records.MAX_PLAINTEXT_BYTES // len(filler))
        last = records.MAX_PLAINTEXT_BYTES - len(whole)
        # What is left over is filled with records of the least length.
        small = framed(LEAVE.encode())
        plain = whole + small * (last // len(small))
        assert ends.server.receive(sealed(ends.client, plain), T)[-1] == LEAVE
        over = ws(ends.client, Opcode.BINARY, bytes(records.MAX_FRAME_BYTES + 1))
        (closed,) = ends.server.receive(over, T)
        assert isinstance(closed, Closed)
        assert ends.server.state is State.CLOSING

    @pytest.mark.parametrize(
        ("plaintext", "kept"),
        [
            (b"\0\0", 0),
            (b"\0", 0),
            (framed(LEAVE.encode()) + b"\0\0", 1),
            (framed(LEAVE.encode()) + b"\0\5abc", 1),
            (framed(b"\xff\0\0\0\0"), 0),
            (framed(b"\3\0\0\0\1"), 0),
            (framed(LEAVE.encode()) + framed(b"\3\0\0\0\0x") + framed(LEAVE.encode()), 1),
        ],
    )
    def test_a_malformed_frame_is_400_with_an_error(self, plaintext: bytes, kept: int) -> None:
        ends = pair()
        frame = sealed(ends.client, plaintext)
        events = ends.server.receive(frame + frame, T)
        assert events[:-1] == [LEAVE] * kept
        closed = events[-1]
        assert isinstance(closed, Closed)
        assert closed.refused is not None
        assert closed.refused.status == 400
        assert ends.server.state is State.CLOSING
        answer = bytes_of(ends.server)
        assert closing_code(answer) == 4400
        refused = error_of(ends.client, answer)
        assert refused is not None
        assert (refused.status, refused.authentic) == (400, True)

    @pytest.mark.parametrize(
        "bad",
        [
            lambda link: ws(link, Opcode.TEXT, b"hello"),
            lambda link: ws(link, Opcode.BINARY, b"x" * 40),
            lambda link: ws(link, Opcode.BINARY, b""),
            lambda link: ws(link, Opcode.BINARY, b"x", fin=False),
            lambda link: ws(link, Opcode.BINARY, b"", fin=False),
            lambda link: ws(link, Opcode.BINARY, b"", fin=False) + ws(link, Opcode.CONT, b""),
        ],
        ids=["text", "bad tag", "too short", "fragment", "empty", "continued"],
    )
    def test_after_what_is_not_a_noise_message_there_is_no_error(self, bad: Any) -> None:
        ends = pair()
        good = sealed(ends.client, framed(LEAVE.encode()))
        events = ends.server.receive(good + bad(ends.client), T)
        # What stood before it was authentic, and counts however the bytes were chunked.
        assert events[0] == LEAVE
        closed = events[-1]
        assert len(events) == 2
        assert isinstance(closed, Closed)
        assert closed.refused is not None
        assert closed.refused.status == 400
        answer = bytes_of(ends.server)
        assert closing_code(answer) == 4400
        assert ends.client.receive(answer, T) == [Closed(None, "closed by peer with 4400")]

    def test_a_replayed_or_reordered_frame_is_a_bad_tag(self) -> None:
        ends = pair()
        one, two = sealed(ends.client, framed(LEAVE.encode())), sealed(ends.client, b"")
        assert ends.server.receive(one, T) == [LEAVE]
        (closed,) = ends.server.receive(one, T)
        assert isinstance(closed, Closed)
        other = pair()
        sealed(other.client, b"")
        (closed,) = other.server.receive(two, T)
        assert isinstance(closed, Closed)

    def test_a_client_takes_a_bad_tag_for_a_lost_connection(self) -> None:
        ends = pair()
        (closed,) = ends.client.receive(ws(ends.server, Opcode.BINARY, bytes(40)), T)
        assert isinstance(closed, Closed)
        assert closed.refused is not None
        assert not closed.refused.authentic
        (blamed,) = pair_fed(framed(b"\xff" + bytes(30)))
        assert isinstance(blamed, Closed)
        assert blamed.refused is not None
        assert blamed.refused.authentic

    def test_rekey_after_1024_frames_both_ways(self) -> None:
        ends = pair()
        for n in range(1025):
            text = f"{n:04}".encode()
            ends.client.send(Sent(Kind.COMMAND, RELAY, text))
            assert ends.server.receive(bytes_of(ends.client), T) == [
                Sent(Kind.COMMAND, RELAY, text)
            ]
            ends.server.send(records.from_relay(Kind.NOTICE, text))
            (notice,) = ends.client.receive(bytes_of(ends.server), T)
            assert notice == records.from_relay(Kind.NOTICE, text)
        # Without the rekey the next frame would open under the old key.
        assert ends.client.frames == ends.server.frames == 1025

    def test_after_an_error_nothing_more_is_delivered(self) -> None:
        ends = pair()
        ends.server.send(NOTICE)
        error = records.from_relay(Kind.ERROR, Error(408, "too slow").encode())
        ends.server.send(error)
        ends.server.send(NOTICE)
        first, closed = ends.client.receive(bytes_of(ends.server), T)
        assert first == NOTICE
        assert isinstance(closed, Closed)
        refused = closed.refused
        assert refused is not None
        assert (refused.status, refused.text, refused.authentic) == (408, "too slow", True)
        ends.server.send(NOTICE)
        assert ends.client.receive(bytes_of(ends.server), T) == []
        assert ends.client.state is State.CLOSING

    def test_an_error_is_heard_whatever_the_network_appends(self) -> None:
        ends = pair()
        ends.server.close(403, "removed", T)
        data = bytes_of(ends.server)
        at = data.rindex(b"\x88\x02")
        forged = data[:at] + ws(ends.server, Opcode.BINARY, bytes(40)) + data[at:]
        refused = error_of(ends.client, forged)
        assert refused is not None
        assert (refused.status, refused.authentic) == (403, True)

    @pytest.mark.parametrize("bad", [b"\0\0", framed(b"\xff\0\0\0\0")])
    def test_a_close_that_comes_with_a_malformed_frame(self, bad: bytes) -> None:
        ends = pair()
        data = sealed(ends.client, bad)
        ends.client.close(T)
        (closed,) = ends.server.receive(data + bytes_of(ends.client), T)
        assert isinstance(closed, Closed)
        assert ends.server.state is State.CLOSING
        ends.server.outgoing()

    def test_a_record_queued_before_the_peer_closed_is_dropped(self) -> None:
        ends = pair()
        ends.client.close(T)
        goodbye = bytes_of(ends.client)
        ends.server.send(NOTICE)
        (closed,) = ends.server.receive(goodbye, T)
        assert isinstance(closed, Closed)
        assert ends.client.receive(bytes_of(ends.server), T) == []
        with pytest.raises(LocalProtocolError):
            ends.server.send(NOTICE)
        with pytest.raises(LocalProtocolError):
            ends.server.send_batch(b"")

    @given(st.binary(min_size=1, max_size=80))
    def test_any_bytes_end_in_records_or_a_close(self, data: bytes) -> None:
        for link in ((ends := pair()).server, ends.client):
            events = link.receive(data, T)
            assert all(isinstance(event, Closed) for event in events)
            assert bool(events) == (link.state is State.CLOSING)
            link.outgoing()


def pair_fed(plaintext: bytes) -> list[object]:
    """What a client makes of this plaintext from its relay."""
    ends = pair()
    return list(ends.client.receive(sealed(ends.server, plaintext), T))


# --- Time.


class TestTime:
    def test_no_handshake_in_time(self) -> None:
        for link in (ServerLink(T), client()):
            assert link.deadline() == T + HANDSHAKE_S
            assert link.tick(T + HANDSHAKE_S - 0.1) == []
            (closed,) = link.tick(T + HANDSHAKE_S)
            assert isinstance(closed, Closed)
            assert closed.refused is None
            assert link.state is State.CLOSED
            assert link.deadline() is None
            assert link.tick(T + 100) == []

    def test_dripping_bytes_do_not_put_the_handshake_off(self) -> None:
        link = ServerLink(T)
        for n, byte in enumerate(request()[:50]):
            link.receive(bytes([byte]), T + n / 10)
        assert link.deadline() == T + HANDSHAKE_S

    def test_silence_is_noticed_after_25_s(self) -> None:
        for link in (pair().client, pair().server):
            now = T
            closed: list[Closed] = []
            while not closed:
                deadline = link.deadline()
                assert deadline is not None
                now = deadline
                closed = link.tick(now)
            assert now <= T + 25

    def test_a_ping_now_and_then_and_lost_if_it_is_not_answered(self) -> None:
        ends = pair()
        for link in (ends.client, ends.server):
            assert link.deadline() == T + PING_EVERY_S
            assert link.tick(T + PING_EVERY_S - 0.1) == []
            assert bytes_of(link) == b""
            assert link.tick(T + PING_EVERY_S) == []
            ping = bytes_of(link)
            assert ping[0] == 0x89
            assert link.deadline() == T + PING_EVERY_S + PONG_WITHIN_S
            (closed,) = link.tick(T + PING_EVERY_S + PONG_WITHIN_S)
            assert closed == Closed(None, "no answer to a ping")
            assert link.state is State.CLOSED

    def test_a_pong_is_a_sign_of_life(self) -> None:
        ends = pair()
        ends.server.tick(T + PING_EVERY_S)
        later = T + PING_EVERY_S + 2
        ends.client.receive(bytes_of(ends.server), later - 1)
        ends.server.receive(bytes_of(ends.client), later)
        assert ends.server.deadline() == later + PING_EVERY_S
        ends.server.tick(later + PING_EVERY_S)
        assert bytes_of(ends.server)[0] == 0x89

    def test_one_that_dozes_keeps_no_cipher_and_wakes_with_the_next_message(self) -> None:
        ends = pair()
        transport = ends.server._transport
        assert transport is not None
        for _ in range(2):
            ends.server.send(NOTICE)
            assert ends.client.receive(bytes_of(ends.server), T) == [NOTICE]
            ends.client.send(LEAVE)
            assert ends.server.receive(bytes_of(ends.client), T) == [LEAVE]
            assert all(cipher._aead for cipher in transport[:2])
            ends.server.doze()
            assert not any(cipher._aead for cipher in transport[:2])
        ServerLink(T).doze()

    def test_rest_starts_the_interval_anew(self) -> None:
        ends = pair()
        ends.server.tick(T + PING_EVERY_S)
        later = T + PING_EVERY_S + PONG_WITHIN_S / 2
        ends.server.rest(later)
        assert ends.server.tick(T + PING_EVERY_S + PONG_WITHIN_S) == []
        assert ends.server.deadline() == later + PING_EVERY_S

    def test_one_that_rests_is_heard_all_the_same(self) -> None:
        ends = pair()
        now = T
        while now < T + 10 * PING_EVERY_S:
            now += 0.2
            ends.server.rest(now)
            assert ends.server.tick(now) == []
            if data := bytes_of(ends.server):
                ends.client.receive(data, now)
                bytes_of(ends.client)  # the pong, which is not read
            assert ends.client.tick(now) == []
            bytes_of(ends.client)  # a ping, which is not read either


# --- Ending.


class TestEnding:
    def finish(self, first: ServerLink | ClientLink, second: ServerLink | ClientLink) -> None:
        """Carry what is left, as sockets would: an empty chunk ends a direction."""
        for _ in range(4):
            for ours, theirs in ((first, second), (second, first)):
                chunks = ours.outgoing()
                # A closed link is one whose socket is closed.
                for chunk in [*chunks, b""] if ours.state is State.CLOSED else chunks:
                    theirs.receive(chunk, T)

    def test_a_relay_that_says_why(self) -> None:
        ends = pair()
        ends.server.close(409, "name in use", T)
        assert ends.server.state is State.CLOSING
        data = bytes_of(ends.server)
        assert closing_code(data) == 4409
        (closed,) = ends.client.receive(data, T)
        assert isinstance(closed, Closed)
        assert closed.refused is not None
        assert closed.refused.status == 409
        assert ends.server.deadline() == T + CLOSE_WITHIN_S
        self.finish(ends.client, ends.server)
        assert {ends.client.state, ends.server.state} == {State.CLOSED}

    @pytest.mark.parametrize("starter", ["client", "server"])
    def test_a_goodbye_closes_both_ends(self, starter: str) -> None:
        ends = pair()
        if starter == "client":
            ends.client.close(T)
            first: ServerLink | ClientLink = ends.client
            second: ServerLink | ClientLink = ends.server
        else:
            ends.server.close(0, "", T)
            first, second = ends.server, ends.client
        (closed,) = second.receive(bytes_of(first), T)
        assert closed == Closed(None, "closed by peer with 1000")
        self.finish(second, first)
        # The relay ends its direction first; the client's end of the stream ends the relay's.
        assert ends.client.state is State.CLOSED
        assert ends.server.receive(b"", T) == []
        assert ends.server.state is State.CLOSED

    @pytest.mark.parametrize("end", ["client", "server"])
    def test_a_stream_that_ends_is_a_lost_connection(self, end: str) -> None:
        link = getattr(pair(), end)
        assert link.receive(b"", T) == [Closed(None, "connection lost")]
        assert link.state is State.CLOSED
        assert link.receive(b"", T) == link.receive(b"x", T) == []
        link.outgoing()

    @pytest.mark.parametrize("end", ["client", "server"])
    def test_a_peer_that_does_not_close_is_left(self, end: str) -> None:
        ends = pair()
        ends.client.close(T)
        ends.server.close(408, "", T)
        link = getattr(ends, end)
        states = []
        for now in (T + CLOSE_WITHIN_S - 0.1, T + CLOSE_WITHIN_S):
            assert link.tick(now) == []
            states.append(link.state)
        assert states == [State.CLOSING, State.CLOSED]

    def test_a_client_blames_its_relay(self) -> None:
        ends = pair()
        closed = ends.client.blame("a seq that is not the next", T, authentic=True)
        assert closed.refused is not None
        assert (closed.refused.status, closed.refused.authentic) == (400, True)
        (seen,) = ends.server.receive(bytes_of(ends.client), T)
        assert seen == Closed(None, "closed by peer with 4400")


def standing(state: State) -> ServerLink:
    """A relay's end in that state."""
    if state is State.CONNECTING:
        return ServerLink(T)
    link = pair().server
    if state is State.CLOSING:
        link.close(0, "", T)
    elif state is State.CLOSED:
        link.receive(b"", T)
    return link


@pytest.mark.parametrize(("state", "step"), list(itertools.product(State, Step)))
def test_every_cell(state: State, step: Step) -> None:
    link = standing(state)
    assert link.state is state
    if (state, step) in TRANSITIONS:
        link._step(step)
        assert link.state is TRANSITIONS[state, step]
    else:
        with pytest.raises(KeyError):
            link._step(step)
        assert link.state is state
