"""One connection without its socket: upgrade, Noise, frames, records.

PROTOCOL.md 3. How a WebSocket begins and ends is known to the Sans-I/O objects of `websockets`.
What is ours is the Noise handshake in the upgrade's headers, the bounds, and all between: whole
binary messages are all that we take, so an open connection does without an object of the library,
which would be as large as the rest of it.
"""

from __future__ import annotations

import logging
import secrets
import struct
from collections.abc import Iterator
from enum import Enum, auto
from typing import ClassVar, Final, NamedTuple

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.http11 import Request, Response
from websockets.protocol import Protocol as WebSocket
from websockets.protocol import Side
from websockets.protocol import State as WsState
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from common.codec import base64url, from_base64url
from common.crypto.noise import EPHEMERAL_BYTES, Initiator, Responder, StaticKey, Transport
from common.errors import LocalProtocolError, ProtocolError, Refused, Unauthentic, UsageError
from common.wire import records
from common.wire.records import (
    MAX_FRAME_BYTES,
    MAX_PLAINTEXT_BYTES,
    Delivered,
    Error,
    Hello,
    Kind,
    Sent,
)

try:
    from websockets.speedups import apply_mask
except ImportError:  # not compiled for this machine
    from websockets.utils import apply_mask

VERSION: Final = "termchat.v1"

MAX_HEAD_BYTES = 8 * 1024
"""Per direction before the upgrade; the library alone would buffer 1 MB for each stranger."""
MESSAGE_1_BYTES = EPHEMERAL_BYTES + records.HELLO_BYTES + 16
MESSAGE_2_BYTES = EPHEMERAL_BYTES + 16
HANDSHAKE_S = 10.0
"""From accept to a whole request, and from 101 to a JOIN."""
PING_EVERY_S = 15.0
PONG_WITHIN_S = 10.0
CLOSE_WITHIN_S = 1.0
"""How long a closing connection may take to flush and be closed by the peer."""

# RFC 6455 5.2: the first byte of a whole message or of a control frame, and of the second byte the
# bit that says that the payload is masked, and the size that stands for two bytes of size.
_BINARY, _CLOSE, _PING, _PONG = 0x82, 0x88, 0x89, 0x8A
_HEADS = (_BINARY, _CLOSE, _PING, _PONG)
_MASKED = 0x80
_SIZE_FOLLOWS = 126
_LONG_HEAD = struct.Struct(">BBH")

_METHOD = b"GET "
# The library logs headers at DEBUG and each connection at INFO; neither is ours to show.
_QUIET = logging.getLogger(f"{__name__}.websockets")
_QUIET.setLevel(logging.WARNING)

_STATUS_HEADERS = {
    401: ("WWW-Authenticate", "Noise"),
    426: ("Sec-WebSocket-Protocol", VERSION),
}


class State(Enum):
    """Where a link stands."""

    CONNECTING = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class Step(Enum):
    """What moves a link from one state to the next."""

    UPGRADED = auto()  # 101 with a valid message 2, sent or received
    FAILED = auto()  # we said why and wait for the peer to close
    ENDED = auto()  # the stream has ended, or a deadline has passed


# A link is born CONNECTING: the head of the upgrade is collected, bounded, and nothing else exists.
# OPEN carries frames. Whoever closes says so (ERROR, close frame, HTTP refusal) and is CLOSING, in
# which input is discarded, until the peer closes or CLOSE_WITHIN_S has passed. A cell that is
# missing is a bug of ours.
TRANSITIONS: Final[dict[tuple[State, Step], State]] = {
    (State.CONNECTING, Step.UPGRADED): State.OPEN,
    (State.CONNECTING, Step.FAILED): State.CLOSING,
    (State.CONNECTING, Step.ENDED): State.CLOSED,
    (State.OPEN, Step.FAILED): State.CLOSING,
    (State.OPEN, Step.ENDED): State.CLOSED,
    (State.CLOSING, Step.FAILED): State.CLOSING,
    (State.CLOSING, Step.ENDED): State.CLOSED,
    (State.CLOSED, Step.ENDED): State.CLOSED,
}


class Upgrade(NamedTuple):
    """A whole request came in; nothing in it is checked yet but its size.

    Attributes:
        offers_us: whether `termchat.v1` is among the subprotocols.
        x_forwarded_for: that header, which only a trusted proxy may set; "" if absent.
        forwarded: likewise (RFC 7239).
    """

    offers_us: bool
    x_forwarded_for: str
    forwarded: str


class Opened(NamedTuple):
    """The relay accepted us; records may flow."""

    handshake_hash: bytes


class Closed(NamedTuple):
    """The connection is over, or about to be.

    Attributes:
        refused: the relay's decision; None if the connection was lost.
        why: for the log, in a few words.
    """

    refused: Refused | None
    why: str


class _Link:
    """What both ends share; owned by the loop that owns the socket."""

    __slots__ = (
        "_closing",
        "_deadline_s",
        "_ping_due",
        "_records",
        "_records_bytes",
        "_rest",
        "_transport",
        "_writes",
        "frames",
        "state",
    )
    _side: ClassVar[Side]

    def __init__(self, now: float) -> None:
        self.state = State.CONNECTING
        self._rest = b""
        """What came in of a head or a frame that is not whole."""
        self._closing: WebSocket | None = None
        self._transport: Transport | None = None
        self._records: list[bytes] = []
        self._records_bytes = 0
        self._writes: list[bytes] = []
        self._deadline_s = now + HANDSHAKE_S
        self._ping_due = True
        self.frames = 0
        """WebSocket frames received; even an empty one costs its receiver work."""

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]

    @property
    def handshake_hash(self) -> bytes:
        """The Noise handshake hash h."""
        if self._transport is None:
            raise LocalProtocolError("the handshake is not done")
        return self._transport.handshake_hash

    # --- Bytes out.

    def outgoing(self) -> list[bytes]:
        """Return the bytes that must leave now; an empty chunk means: then end the stream."""
        if self._records and self.state is State.OPEN:
            self._seal_records()
        writes, self._writes = self._writes, []
        if self._closing is not None:
            writes += self._closing.data_to_send()
        return writes

    def send_batch(self, batch: bytes) -> None:
        """Seal at most MAX_PLAINTEXT_BYTES of records, each after its length, into one frame."""
        if self._records:
            self._seal_records()
        if self.state is not State.OPEN or self._transport is None:
            raise LocalProtocolError("the connection is not open")
        self._send_frame(_BINARY, self._transport.sending.seal(batch))

    def _send_frame(self, head: int, payload: bytes) -> None:
        size, masked = len(payload), _MASKED if self._side is Side.CLIENT else 0
        if size < _SIZE_FOLLOWS:
            frame = bytes((head, masked | size))
        else:
            frame = _LONG_HEAD.pack(head, masked | _SIZE_FOLLOWS, size)
        if masked:
            key = secrets.token_bytes(4)
            frame += key
            payload = apply_mask(payload, key)
        self._writes.append(frame + payload)

    def _queue(self, record: bytes) -> None:
        if self.state is not State.OPEN:
            raise LocalProtocolError("the connection is not open")
        data = records.framed(record)
        if self._records_bytes + len(data) > MAX_PLAINTEXT_BYTES:
            self._seal_records()
        self._records.append(data)
        self._records_bytes += len(data)

    def _seal_records(self) -> None:
        batch = b"".join(self._records)
        self._records.clear()
        self._records_bytes = 0
        self.send_batch(batch)

    # --- Time.

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted, on the clock of `now`."""
        return None if self.state is State.CLOSED else self._deadline_s

    def tick(self, now: float) -> list[Closed]:
        """Send a ping, or give up on a peer that is silent."""
        if self.state is State.CLOSED or now < self._deadline_s:
            return []
        if self.state is State.OPEN and self._ping_due:
            self.ping(now)
            return []
        was = self.state
        self._step(Step.ENDED)
        if was is State.CLOSING:
            return []
        why = "no handshake in time" if was is State.CONNECTING else "no answer to a ping"
        return [Closed(None, why)]

    def ping(self, now: float) -> None:
        """Ask the peer for a sign of life now."""
        if self.state is State.OPEN:
            self._send_frame(_PING, b"")
            self._ping_due = False
            self._deadline_s = now + PONG_WITHIN_S

    def rest(self, now: float) -> None:
        """Forgive an unanswered ping: we do not read, so silence says nothing about the peer.

        Pings still leave, or the peer would take our silence for the end.
        """
        if self.state is State.OPEN and not self._ping_due:
            self._alive(now)

    def doze(self) -> None:
        """Be small until the next message; waking costs as much as a message."""
        if self._transport is not None:
            self._transport.rest()

    def _alive(self, now: float) -> None:
        self._ping_due = True
        self._deadline_s = now + PING_EVERY_S

    def _fail(self, now: float) -> None:
        self._step(Step.FAILED)
        self._deadline_s = now + CLOSE_WITHIN_S

    # --- Bytes in.

    def _take_head(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the HTTP head and what follows it, once the head is whole.

        Raises:
            ProtocolError: if it is too large.
        """
        self._rest += data  # few reads: the whole is bounded
        end = self._rest.find(b"\r\n\r\n") + 4
        if end > MAX_HEAD_BYTES or (end < 4 and len(self._rest) > MAX_HEAD_BYTES):
            raise ProtocolError("the head of the upgrade is too large")
        if end < 4:
            return None
        head, rest = self._rest[:end], self._rest[end:]
        self._rest = b""
        return head, rest

    def _open_frames(self, data: bytes, now: float) -> Iterator[bytes]:
        """Take what came in, and yield the plaintext of every frame that is whole.

        What stands before a bad frame is yielded before it raises, as if it had come alone.

        Raises:
            Unauthentic: on a bad tag, or what is not one whole binary message.
        """
        self._alive(now)
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, is_from_client = 0, self._side is Side.SERVER
        while (frame := _cut(data, at, is_masked=is_from_client)) is not None:
            head, payload, end = frame
            self.frames += 1
            if head == _BINARY and self._transport is not None:
                yield self._transport.receiving.open(payload)
            elif head == _PING:
                self._send_frame(_PONG, payload)
            elif head == _CLOSE:
                self._library().receive_data(data[at:])
                return
            at = end
        self._rest = data[at:]

    # --- The end.

    def _library(self) -> WebSocket:
        """Return what knows how a WebSocket is closed; from its first use on it hears all."""
        if self._closing is None:
            self._closing = WebSocket(self._side, max_size=MAX_FRAME_BYTES, logger=_QUIET)
        return self._closing

    def _discard(self, data: bytes) -> None:
        """Take what comes when all is said: only the answer to our close frame still matters."""
        if self._closing is not None:
            self._closing.receive_data(data)
            self._closing.events_received()

    def _ended_by_peer(self) -> str | None:
        """Tell why the WebSocket is past use, or None while it is not."""
        if self._closing is None:
            return None
        if self._closing.close_rcvd is not None:
            return f"closed by peer with {self._closing.close_rcvd.code}"
        return "the WebSocket framing broke"

    def _close_frame(self, status: int, now: float) -> None:
        """Start the closing handshake; status 0 is a goodbye, code 1000."""
        if self._records:
            self._seal_records()
        self._library().send_close(4000 + status if status else 1000)
        self._fail(now)


class ServerLink(_Link):
    """The relay's end. After `Upgrade` its owner calls `open` and then `accept`, or `refuse`."""

    __slots__ = ("_http", "_request", "_responder")
    _side = Side.SERVER

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self._http: ServerProtocol | None = None
        self._request: Request | None = None
        self._responder: Responder | None = None

    def receive(self, data: bytes, now: float) -> list[Upgrade | Sent | Closed]:
        """Take what the socket gave, b"" at its end."""
        if self.state is State.CLOSED:
            return []
        if not data:
            was_closing = self.state is State.CLOSING
            self._step(Step.ENDED)
            return [] if was_closing else [Closed(None, "connection lost")]
        if self.state is State.CLOSING:
            self._discard(data)
            return []
        found: list[Upgrade | Sent | Closed] = []
        try:
            if self.state is State.CONNECTING:
                found += self._receive_head(data)
                return found
            for plaintext in self._open_frames(data, now):
                # Of a bad frame, what stands before the bad record is kept.
                found += map(records.decode_sent, records.split(plaintext))
        except (ProtocolError, Unauthentic) as error:
            found.append(self._bad(error, now))
            return found
        why = self._ended_by_peer()
        if why is not None:
            self._fail(now)
            found.append(Closed(None, why))
        return found

    def _receive_head(self, data: bytes) -> list[Upgrade]:
        if self._request is not None:
            raise ProtocolError("bytes between the request and its answer")
        # One who speaks TLS waits for our answer, and would wait long: its head never ends.
        if not _METHOD.startswith((self._rest + data)[: len(_METHOD)]):
            raise ProtocolError("not an HTTP request")
        parts = self._take_head(data)
        if parts is None:
            return []
        head, early = parts
        # Without a list of subprotocols: that would make a missing offer a 400, not a 426.
        self._http = ServerProtocol(max_size=MAX_FRAME_BYTES, logger=_QUIET)
        self._http.receive_data(head)
        for event in self._http.events_received():
            # One who speaks before the 101 is not one of ours: nothing of that is kept.
            if isinstance(event, Request) and not early:
                self._request = event
                offers = ",".join(event.headers.get_all("Sec-WebSocket-Protocol")).split(",")
                offers_us = VERSION in (offer.strip() for offer in offers)
                names = ("X-Forwarded-For", "Forwarded")
                return [Upgrade(offers_us, *(",".join(event.headers.get_all(n)) for n in names))]
        raise ProtocolError("not an HTTP request")

    def open(self, static: StaticKey, psk: bytes) -> tuple[Hello, bytes]:
        """Open message 1.

        Returns:
            HELLO, and the ephemeral key by which a replay is known.

        Raises:
            Unauthentic: if Authorization is missing, malformed or fails to decrypt (401).
            ProtocolError: if HELLO is malformed (400).
        """
        if self._request is None:
            raise LocalProtocolError("there is no request to open")
        message = _noise_header(self._request.headers.get_all("Authorization"), MESSAGE_1_BYTES)
        self._responder = Responder(static, psk)
        return Hello.decode(self._responder.read(message)), message[:EPHEMERAL_BYTES]

    def accept(self, now: float) -> bool:
        """Answer 101 with message 2.

        Returns:
            False if the request was no WebSocket upgrade, which is then refused in the library's
            words.
        """
        if self._http is None or self._request is None or self._responder is None:
            raise LocalProtocolError("there is nothing to accept")
        response = self._http.accept(self._request)
        if response.status_code != 101:
            self._answer(self._http, response, now)
            return False
        message, self._transport = self._responder.write(b"")
        response.headers["Sec-WebSocket-Protocol"] = VERSION
        response.headers["Authentication-Info"] = f"Noise {base64url(message)}"
        self._http.send_response(response)
        self._writes += self._http.data_to_send()
        self._http = self._request = self._responder = None
        self._step(Step.UPGRADED)
        self._alive(now)
        return True

    def refuse(self, status: int, now: float, *, retry_after_s: int = 0) -> None:
        """Answer with an HTTP status of PROTOCOL.md 3.1 and close."""
        if self._http is None:
            raise LocalProtocolError("there is nothing to refuse")
        response = self._http.reject(status, "")
        if status in _STATUS_HEADERS:
            name, value = _STATUS_HEADERS[status]
            response.headers[name] = value
        if retry_after_s:
            response.headers["Retry-After"] = str(retry_after_s)
        self._answer(self._http, response, now)

    def _answer(self, http: ServerProtocol, response: Response, now: float) -> None:
        http.send_response(response)
        self._writes += http.data_to_send()
        self._http = self._request = self._responder = None
        self._fail(now)

    def send(self, record: Delivered) -> None:
        """Queue a record.

        Raises:
            LocalProtocolError: if the connection is not open.
        """
        self._queue(record.encode())

    def abandon(self) -> None:
        """Have no more use for the socket."""
        self._step(Step.ENDED)

    def close(self, status: int, text: str, now: float) -> None:
        """Say why in an ERROR record and close; status 0 is a goodbye: no ERROR, code 1000.

        Before the upgrade there is nothing that could be said.
        """
        if self.state is State.CONNECTING:
            self.abandon()
        if self.state is State.OPEN:
            if status:
                body = Error(status, text).encode()
                self._queue(records.from_relay(Kind.ERROR, body).encode())
            self._close_frame(status, now)

    def _bad(self, error: Exception, now: float) -> Closed:
        """End a connection whose peer broke the protocol: 400; before the upgrade, unanswered."""
        if self.state is State.CONNECTING:
            self._step(Step.ENDED)
        elif isinstance(error, Unauthentic):
            # No ERROR after a bad tag: whoever sent that frame need not be the member.
            self._close_frame(400, now)
        else:
            self.close(400, str(error), now)
        return Closed(Refused(400, str(error)), str(error))


class ClientLink(_Link):
    """A member's end: it starts at once, with a new message 1."""

    __slots__ = ("_body_bytes", "_http", "_initiator")
    _side = Side.CLIENT

    def __init__(self, url: str, key: bytes, psk: bytes, hello: Hello, now: float) -> None:
        """Prepare the upgrade.

        Raises:
            UsageError: if `url` is not a `ws://` or `wss://` address we can use.
        """
        super().__init__(now)
        self._http = ClientProtocol(
            parse_url(url),
            subprotocols=[Subprotocol(VERSION)],
            max_size=MAX_FRAME_BYTES,
            logger=_QUIET,
        )
        self._initiator = Initiator(key, psk)
        self._body_bytes: int | None = None
        request = self._http.connect()
        message = self._initiator.write(hello.encode())
        request.headers["Authorization"] = f"Noise {base64url(message)}"
        self._http.send_request(request)
        self._writes += self._http.data_to_send()

    def receive(self, data: bytes, now: float) -> list[Opened | Delivered | Closed]:
        """Take what the socket gave, b"" at its end."""
        if self.state is State.CLOSED:
            return []
        found: list[Opened | Delivered | Closed] = []
        if not data:
            was_closing = self.state is State.CLOSING
            self._step(Step.ENDED)
            return found if was_closing else [Closed(None, "connection lost")]
        if self.state is State.CLOSING:
            self._discard(data)
            return found
        try:
            if self.state is State.CONNECTING:
                data = self._receive_head(data, found, now)
            if self.state is State.OPEN and data:
                self._receive_records(data, found, now)
        except (ProtocolError, Unauthentic) as error:
            authentic = isinstance(error, ProtocolError) and self._transport is not None
            found.append(self.blame(str(error), now, authentic=authentic))
        if self.state is State.OPEN:
            why = self._ended_by_peer()
            if why is not None:
                # Close codes are not authenticated: whatever it says, this is a lost connection.
                self._fail(now)
                found.append(Closed(None, why))
        return found

    def _receive_head(
        self, data: bytes, found: list[Opened | Delivered | Closed], now: float
    ) -> bytes:
        """Feed the response, and return what follows the head of a 101."""
        if self._body_bytes is None:
            parts = self._take_head(data)
            if parts is None:
                return b""
            head, data = parts
            self._body_bytes = 0
            self._http.receive_data(head)
            self._receive_response(found, now)
            if found:
                return data
        # A refusal has a body, of which nothing but its end matters.
        self._body_bytes += len(data)
        if self._body_bytes > MAX_HEAD_BYTES:
            raise ProtocolError("the body of a refusal is too large")
        self._http.receive_data(data)
        self._receive_response(found, now)
        return b""

    def _receive_response(self, found: list[Opened | Delivered | Closed], now: float) -> None:
        for event in self._http.events_received():
            if not isinstance(event, Response):
                continue
            if event.status_code != 101:
                self._fail(now)
                refused = Refused(event.status_code, retry_after_s=_retry_after(event))
                found.append(Closed(refused, f"HTTP status {event.status_code}"))
                return
            # The library takes a 101 that names no subprotocol; PROTOCOL.md 3.1 does not.
            if self._http.state is not WsState.OPEN or self._http.subprotocol != VERSION:
                raise Unauthentic("the answer is not the upgrade we asked for")
            values = event.headers.get_all("Authentication-Info")
            message = _noise_header(values, MESSAGE_2_BYTES)
            payload, self._transport = self._initiator.read(message)
            if payload:
                raise ProtocolError("message 2 carries a payload")
            self._step(Step.UPGRADED)
            self._alive(now)
            found.append(Opened(self._transport.handshake_hash))
            return
        if self._http.handshake_exc is not None:
            raise Unauthentic("the answer is not HTTP")

    def _receive_records(
        self, data: bytes, found: list[Opened | Delivered | Closed], now: float
    ) -> None:
        for plaintext in self._open_frames(data, now):
            for record in map(records.decode_delivered, records.split(plaintext)):
                if record.kind is Kind.ERROR:
                    failure = Error.decode(record.body)
                    refused = Refused(failure.status, failure.text, authentic=True)
                    found.append(Closed(refused, f"ERROR {failure.status}"))
                    self._close_frame(0, now)
                    return
                found.append(record)

    def send(self, record: Sent) -> None:
        """Queue a record.

        Raises:
            LocalProtocolError: if the connection is not open.
        """
        self._queue(record.encode())

    def close(self, now: float) -> None:
        """Say goodbye: close code 1000."""
        if self.state is State.OPEN:
            self._close_frame(0, now)

    def blame(self, why: str, now: float, *, authentic: bool) -> Closed:
        """End the connection because the relay, or the network, broke the protocol: 400."""
        if self.state is State.OPEN:
            self._close_frame(400, now)
        else:
            self._step(Step.ENDED)
        return Closed(Refused(400, why, authentic=authentic), why)


def parse_url(url: str) -> WebSocketURI:
    """Parse the address of a relay.

    Raises:
        UsageError: if it is not `ws://` or `wss://`, or holds a user name, whose Basic header would
            be a second Authorization.
    """
    try:
        uri = parse_uri(url)
        port = uri.port
    except (InvalidURI, ValueError):
        raise UsageError("The URL is not of the form ws://HOST:PORT/ or wss://HOST/.") from None
    if uri.user_info is not None:
        raise UsageError("The URL holds a user name; a password goes into --password.")
    if not 0 < port < 65_536:
        raise UsageError("The port in the URL is not between 1 and 65535.")
    return uri


def _cut(data: bytes, at: int, *, is_masked: bool) -> tuple[int, bytes, int] | None:
    """Return the first byte, the payload and the end of the frame at `at`; None if it is not whole.

    Raises:
        Unauthentic: if it is no whole binary message and no control frame of that side.
    """
    if len(data) < at + 2:
        return None
    start, head, size = at + 2, data[at], data[at + 1]
    size -= _MASKED if is_masked else 0
    if size == _SIZE_FOLLOWS and head == _BINARY:
        start += 2
        size = int.from_bytes(data[at + 2 : start])
    elif not 0 <= size < _SIZE_FOLLOWS or head not in _HEADS:
        raise Unauthentic("a frame that is not one whole binary message")
    start += 4 if is_masked else 0
    end = start + size
    # A size that is itself cut short is too small, but its payload begins past what there is.
    if end > len(data):
        return None
    payload = data[start:end]
    return head, apply_mask(payload, data[start - 4 : start]) if is_masked else payload, end


def _noise_header(values: list[str], size: int) -> bytes:
    """Decode `Noise <base64>` of exactly `size` bytes, the only one of its header.

    Raises:
        Unauthentic: if it is anything else.
    """
    scheme, _, text = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    try:
        message = from_base64url(text)
    except ProtocolError:
        message = b""
    if scheme != "Noise" or len(message) != size:
        raise Unauthentic("the Noise message is missing or malformed")
    return message


def _retry_after(response: Response) -> int:
    values = response.headers.get_all("Retry-After")
    if len(values) == 1 and values[0].isascii() and values[0].isdigit() and len(values[0]) < 6:
        return int(values[0])
    return 0
