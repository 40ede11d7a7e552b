"""A pipe over a socket that takes little, gives little, and breaks."""

from __future__ import annotations

import pytest

from common.wire.link import ServerLink
from common.wire.pipe import READ_BYTES, SHUT_WR, Pipe

T = 1_000.0


class Sock:
    """Takes and gives what a test tells it to."""

    def __init__(self) -> None:
        self.gives: list[bytes | OSError] = []
        self.takes: list[int | OSError] = []
        self.taken = b""
        self.shut: list[int] = []
        self.is_closed = False
        self.shut_error: OSError | None = None

    def recv(self, size: int, /) -> bytes:
        assert size == READ_BYTES
        step = self.gives.pop(0)
        if isinstance(step, OSError):
            raise step
        return step

    def send(self, data: bytes | memoryview, /) -> int:
        step = self.takes.pop(0) if self.takes else len(data)
        if isinstance(step, OSError):
            raise step
        count = min(step, len(data))
        self.taken += data[:count]
        return count

    def shutdown(self, how: int, /) -> None:
        if self.shut_error:
            raise self.shut_error
        self.shut.append(how)

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.is_closed = True


class Link(ServerLink):
    """A link whose bytes a test chooses."""

    def __init__(self, *chunks: bytes) -> None:
        super().__init__(T)
        self.chunks = list(chunks)

    def outgoing(self) -> list[bytes]:
        chunks, self.chunks = self.chunks, []
        return chunks


def pipe(
    *chunks: bytes, takes: tuple[int | OSError, ...] = ()
) -> tuple[Pipe[ServerLink], Sock, Link]:
    sock, link = Sock(), Link(*chunks)
    sock.takes = list(takes)
    return Pipe[ServerLink](sock, link), sock, link


def test_what_the_link_has_is_sent_at_once() -> None:
    own, sock, link = pipe(b"one", b"two")
    assert own.flush()
    assert sock.taken == b"onetwo"
    assert own.unsent_bytes == 0
    assert own.flush()
    link.chunks = [b"three"]
    assert own.flush()
    assert sock.taken == b"onetwothree"


def test_a_socket_that_takes_part_is_given_the_rest() -> None:
    own, sock, link = pipe(b"abcdef", takes=(2, 0, BlockingIOError(), InterruptedError(), 3))
    sizes = []
    for _ in range(5):
        assert own.flush()
        sizes.append(own.unsent_bytes)
    assert sizes == [4, 4, 4, 4, 1]
    # What comes later stands behind what was left.
    link.chunks = [b"g", b"hi"]
    assert own.flush()
    assert sock.taken == b"abcdefghi"
    assert own.unsent_bytes == 0


def test_the_stream_is_ended_once_all_is_sent() -> None:
    own, sock, _ = pipe(b"bye", b"", takes=(1, BlockingIOError(), 1))
    for left in (2, 2, 1, 0):
        assert own.flush()
        assert own.unsent_bytes == left
        assert sock.shut == ([SHUT_WR] if not left else [])
    assert own.flush()
    assert sock.shut == [SHUT_WR]


def test_ending_a_broken_stream_is_no_error() -> None:
    own, sock, _ = pipe(b"")
    sock.shut_error = OSError()
    assert own.flush()


@pytest.mark.parametrize("error", [ConnectionResetError(), BrokenPipeError(), OSError()])
def test_a_broken_socket_is_told(error: OSError) -> None:
    own, sock, _ = pipe(b"abc", takes=(error,))
    assert not own.flush()
    sock.gives = [error]
    assert own.read() == b""


def test_reading() -> None:
    own, sock, _ = pipe()
    sock.gives = [b"abc", BlockingIOError(), InterruptedError(), b""]
    assert [own.read() for _ in range(4)] == [b"abc", None, None, b""]


def test_closed_is_what_the_link_is() -> None:
    own, sock, link = pipe()
    found = [own.is_closed]
    link.receive(b"", T)
    found.append(own.is_closed)
    assert found == [False, True]
    # Letting go of the socket is its owner's.
    assert not sock.is_closed
