"""What it takes to reach a relay: the member, addresses, TLS; for the thread that dials."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from common import config, needs
from common.errors import FileError, UsageError
from common.view.view import View

if TYPE_CHECKING:  # it is imported in a function, once the first frame is drawn
    from common.member.member import Member

ROOT: Final = Path(__file__).parents[2]
"""Where client.py lies."""
CONNECT_S: Final = 10.0
"""How long one address may take to answer."""
STAGGER_S: Final = 0.25
"""How long an address is alone, before the next is tried beside it (RFC 8305 8)."""

Endpoint = tuple[int, Any]
"""Family, and what `connect` takes."""


class Prepared(NamedTuple):
    """What the short-lived thread found out.

    Attributes:
        failure: why there will be no member, and the exit code; else ("", 0).
    """

    attempt: int
    member: Member | None
    psk: bytes
    addresses: list[Endpoint]
    problem: str
    failure: tuple[str, int]
    tls: Any = None

    def __repr__(self) -> str:
        """Hide the psk."""
        return f"Prepared({self.attempt})"


class Race:
    """The addresses of a relay, tried one after another, but not one at a time (RFC 8305).

    The first that connects wins: one that swallows packets costs STAGGER_S, not CONNECT_S. Owned by
    the loop, which selects the sockets for writing.

    Attributes:
        problem: why the last one failed, in the system's words.
    """

    def __init__(
        self,
        addresses: Iterable[Endpoint],
        now: float,
        make: Callable[[int], socket.socket] = lambda family: socket.socket(family),
    ) -> None:
        self.problem = ""
        self._waiting = deque(interleaved(addresses))
        self._make = make
        self._trying: dict[int, tuple[socket.socket, float]] = {}
        self._next_s = now

    @property
    def fds(self) -> list[int]:
        """Of what is being tried."""
        return list(self._trying)

    @property
    def is_lost(self) -> bool:
        """Whether nothing is left to be tried."""
        return not self._trying and not self._waiting

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted."""
        times = [by_s for _, by_s in self._trying.values()]
        if self._waiting:
            times.append(self._next_s)
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Give up on what takes too long, and begin what is due."""
        for fd in [fd for fd, (_, by_s) in self._trying.items() if by_s <= now]:
            self._failed(fd, "no answer", now)
        while self._waiting and self._next_s <= now:
            self._begin(*self._waiting.popleft(), now)

    def connected(self, fd: int, now: float) -> socket.socket | None:
        """Return the socket that is through, if this one is; a failure begins the next."""
        sock, _ = self._trying[fd]
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not status:
            del self._trying[fd]
            self.close()
            return sock
        self._failed(fd, os.strerror(status), now)
        self.tick(now)
        return None

    def close(self) -> None:
        """Let go of what is tried still."""
        self._waiting.clear()
        while self._trying:
            self._trying.popitem()[1][0].close()

    def _begin(self, family: int, address: Any, now: float) -> None:
        try:
            sock = self._make(family)
        except OSError as problem:
            self.problem = problem.strerror or str(problem)
            return
        sock.setblocking(False)
        try:
            status = sock.connect_ex(address)
        except OSError as problem:  # the path of a unix socket can be too long
            status = problem.errno or errno.EINVAL
        if status in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
            self._trying[sock.fileno()] = sock, now + CONNECT_S
            self._next_s = now + STAGGER_S
            return
        sock.close()
        self.problem = os.strerror(status)

    def _failed(self, fd: int, why: str, now: float) -> None:
        self._trying.pop(fd)[0].close()
        self.problem = why
        self._next_s = now


def interleaved(addresses: Iterable[Endpoint]) -> list[Endpoint]:
    """Return addresses so that families take turns, the first first (RFC 8305 4)."""
    by_family: dict[int, deque[Endpoint]] = {}
    for address in addresses:
        by_family.setdefault(address[0], deque()).append(address)
    found = []
    while any(by_family.values()):
        found += [waiting.popleft() for waiting in by_family.values() if waiting]
    return found


class TlsSock:
    """A TLS socket that is like another: when it must wait, for whatever, there is nothing.

    What it has decrypted no selector sees, so all of it is handed out at once.
    """

    def __init__(self, sock: Any) -> None:
        """Take over an `ssl.SSLSocket` whose handshake is done."""
        # Whoever has one has imported it; nobody else should wait for that.
        import ssl

        self._sock = sock
        self._wait = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._is_shut = False

    def recv(self, size: int, /) -> bytes:
        """Return at least what would remain unseen, b"" at the end."""
        if self._is_shut:
            return self._drained(size)
        data = b""
        try:
            while len(data) < size or self._sock.pending():
                chunk: bytes = self._sock.recv(size)
                if not chunk:
                    break
                data += chunk
        except self._wait:
            if not data:
                raise BlockingIOError from None
        except OSError:
            if not data:
                raise
        return data

    def _drained(self, size: int) -> bytes:
        """Wait for the end: what comes after our own goodbye cannot be decrypted any more."""
        if self._sock.recv(size):
            raise BlockingIOError
        return b""

    def send(self, data: bytes | memoryview, /) -> int:
        """Return how many bytes were taken."""
        try:
            sent: int = self._sock.send(data)
        except self._wait:
            raise BlockingIOError from None
        return sent

    def shutdown(self, how: int, /) -> None:
        """Say that nothing more will come, as far as that needs no waiting."""
        with contextlib.suppress(OSError, ValueError):
            self._sock.unwrap()
        self._is_shut = True
        self._sock.shutdown(how)

    def fileno(self) -> int:
        """Return the descriptor for a selector."""
        return int(self._sock.fileno())

    def close(self) -> None:
        """Let go of the descriptor."""
        self._sock.close()


def make_member(settings: config.ClientConfig, view: View) -> Member:
    """Import what talks to the relay, and make it.

    Raises:
        UsageError: if the settings are wrong, or a package is missing.
        FileError: if a file cannot be used.
    """
    with packages():
        # Here, because nobody should wait for a screen as long as this takes.
        from common.crypto import ticket

        key = ticket.parse(settings.ticket).key
        # Stretching a password takes as long as the other imports, and needs no GIL.
        importing = threading.Thread(target=_import_member, name="import", daemon=True)
        importing.start()
        psk = ticket.derive_psk(settings.offered_password, key)
        # Beside an import that fails, ours would find half a module, not what is missing.
        importing.join()

        from common.member.member import Member
    today = time.strftime("%Y-%m-%d")
    return Member(settings, os.environ, view, time.monotonic, at_ms, today, lambda: psk)


def _import_member() -> None:
    # Whoever imports it next is told what is missing.
    with contextlib.suppress(ImportError):
        import common.member.member  # noqa: F401


@contextlib.contextmanager
def packages() -> Iterator[None]:
    """Import what needs packages.

    Raises:
        UsageError: if one is missing, or cannot do what we need.
    """
    try:
        yield
    except ImportError as problem:
        raise UsageError(needs.missing(problem, str(ROOT))) from None


def addresses_of(member: Member) -> list[Endpoint]:
    """Return where to connect to, in the order of the system's preference (RFC 6724).

    Raises:
        OSError: if the name is not known; or UnicodeError, if it can be none.
        UsageError: if this system has no such sockets.
    """
    address = member.address
    if not address.unix_path:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        return [(family, where) for family, _, _, _, where in found]
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("This system has no unix sockets. Use ws://HOST:PORT/.")
    return [(socket.AF_UNIX, address.unix_path)]


def tls_for(ca_file: str | None) -> Any:
    """Return how we verify who answers: as Python does, or by one authority alone.

    Raises:
        FileError: if the authority cannot be read.
    """
    # Here, because it takes long and few need it.
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as problem:
        why = problem.strerror if problem.errno else "it holds no certificate in PEM"
        raise FileError(f"Cannot use {ca_file}: {why}.") from None


def at_ms() -> int:
    """Return the time of day."""
    return time.time_ns() // 1_000_000
