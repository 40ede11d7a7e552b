"""What it takes to reach a relay: the member, addresses, TLS; for the thread that dials."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from common import config
from common.errors import FileError, UsageError
from common.view.view import View

if TYPE_CHECKING:  # it is imported in a function, once the first frame is drawn
    from common.member.member import Member

ROOT: Final = Path(__file__).parents[2]
"""Where client.py lies."""


class Prepared(NamedTuple):
    """What the short-lived thread found out.

    Attributes:
        failure: why there will be no member, and the exit code; else ("", 0).
    """

    attempt: int
    member: Member | None
    psk: bytes
    addresses: list[tuple[int, tuple[object, ...]]]
    problem: str
    failure: tuple[str, int]
    tls: Any = None

    def __repr__(self) -> str:
        """Hide the psk."""
        return f"Prepared({self.attempt})"


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
        UsageError: if one is missing.
    """
    try:
        yield
    except ImportError as problem:
        wanted = ROOT / "requirements.txt"
        raise UsageError(f"{problem}. Run: {sys.executable} -m pip install -r {wanted}") from None


def addresses_of(member: Member) -> list[tuple[int, Any]]:
    """Return where to connect to, in the order in which to try.

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


def is_tls(sock: socket.socket) -> bool:
    """Tell whether this socket speaks TLS."""
    return hasattr(sock, "do_handshake")


def at_ms() -> int:
    """Return the time of day."""
    return time.time_ns() // 1_000_000
