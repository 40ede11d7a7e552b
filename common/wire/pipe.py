"""A Link and the non-blocking socket it was handed."""

from __future__ import annotations

import contextlib
from typing import Generic, Protocol, TypeVar

from common.wire.link import ClientLink, ServerLink, State

READ_BYTES = 64 * 1024
"""Per turn of the loop, so that one busy peer cannot keep its neighbours waiting."""

SHUT_WR = 1
"""As in POSIX and `socket`, which stays behind the scripts' door."""

LinkT = TypeVar("LinkT", ServerLink, ClientLink)


class Sock(Protocol):
    """What a Pipe needs of a non-blocking stream socket; a TLS socket has it too."""

    def recv(self, size: int, /) -> bytes:
        """Return bytes, b"" at the end; raise BlockingIOError when there are none."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Return how many bytes were taken."""

    def shutdown(self, how: int, /) -> None:
        """End one direction."""

    def fileno(self) -> int:
        """Return the descriptor for a selector."""

    def close(self) -> None:
        """Let go of the descriptor."""


class Pipe(Generic[LinkT]):
    """One connection: owned, read and written by one loop, never locked.

    Attributes:
        unsent: what the socket has not taken yet.
    """

    __slots__ = ("_eof_due", "link", "sock", "unsent")

    def __init__(self, sock: Sock, link: LinkT) -> None:
        self.sock = sock
        self.link: LinkT = link
        self.unsent = b""
        self._eof_due = False

    def read(self) -> bytes | None:
        """Return what the socket holds, b"" at its end or on an error, None if there is nothing."""
        try:
            return self.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def flush(self) -> bool:
        """Send what the link has ready, as far as the socket takes it.

        Returns:
            False if the socket is broken.
        """
        chunks: list[bytes] = self.link.outgoing()
        if chunks:
            if not chunks[-1]:
                self._eof_due = True
            if self.unsent or len(chunks) > 1:
                self.unsent = b"".join((self.unsent, *chunks))
            else:
                self.unsent = chunks[0]
        if self.unsent:
            try:
                sent = self.sock.send(self.unsent)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                return False
            self.unsent = self.unsent[sent:]
        if self._eof_due and not self.unsent:
            self._eof_due = False
            with contextlib.suppress(OSError):
                self.sock.shutdown(SHUT_WR)
        return True

    @property
    def unsent_bytes(self) -> int:
        """How much the socket has not taken yet."""
        return len(self.unsent)

    @property
    def is_closed(self) -> bool:
        """Whether the link has no more use for the socket."""
        return self.link.state is State.CLOSED
