# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets>=17", "cryptography>=48"]
# ///
"""The client: selector loop, curses and line views, peer mode, command line.

Run `python client.py KEY --username ace`. What travels is in common/PROTOCOL.md; how it looks and
speaks, in common/UX.md; where each line lives, in common/DESIGN.md.

What is imported here is what the first frame needs; the rest comes in the thread that dials, while
the screen is drawn and takes keys.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from common import config, files, names, title
from common.errors import FileError, TermchatError, UsageError
from common.term import text
from common.term.editor import Action
from common.view.lines import Lines
from common.view.output import is_readable, is_terminal
from common.view.view import VALUES, Outcome, Status, View

_T = TypeVar("_T")

READ_BYTES: Final = 64 * 1024
CONNECT_S: Final = 10.0
OPENING_S: Final = 0.005
"""How long received records are opened before anything else is looked at again."""
UNREAD_BYTES: Final = 1024 * 1024
"""Rows that standard output has not taken, above which we stop reading the relay."""

GAP_S: Final = 60.0
"""More than clocks are set by in passing: the machine has slept."""
MOST_BREAKS: Final = 3
BREAKS_S: Final = 60.0
"""Within which so many program errors are the end."""

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

ANSWER_BYTES: Final = 1024
YOUNG_OBJECTS: Final = 20_000
"""How many new objects are looked through for garbage: imports make these, and no garbage."""


# ------------------------------------------------------------------------------------------- Client


class Member(Protocol):
    """What the loop knows of `common.member.desk`, which is imported after the first frame."""

    host: str
    port: int
    is_secure: bool
    unix_path: str
    wants_dial: bool
    exit_code: int | None
    last_words: str

    @property
    def fd(self) -> int | None:
        """Of the connection, once there is one."""

    @property
    def is_full(self) -> bool:
        """Whether so much is on its way that no more should be typed."""

    @property
    def is_writing(self) -> bool:
        """Whether the socket has not taken all there is."""

    def is_reading(self, now: float) -> bool:
        """Whether to wait for the socket."""

    def deadline(self, now: float) -> float | None:
        """Return when `tick` is next wanted."""

    def tick(self, now: float) -> None:
        """Let time pass."""

    def act(self, outcome: Outcome, now: float) -> None:
        """Do what was asked at the terminal."""

    def woke(self, now: float) -> None:
        """See whether the connection has outlived a sleep."""

    def read(self, now: float) -> None:
        """Take what the socket has."""

    def open_records(self, now: float, stop_s: float, has_keys: Callable[[], bool]) -> None:
        """Open what was received, one record at least, until then or until a key is pressed."""

    def send(self, now: float) -> None:
        """Hand the socket what must leave now."""

    def show_status(self, now: float) -> None:
        """Tell the view where we stand, if that has changed."""

    def stretch(self) -> bytes:
        """Return the psk; for the thread that dials, since it takes long."""

    def dialling(self) -> None:
        """Note that the loop does what `wants_dial` says."""

    def dialled(self, psk: bytes) -> None:
        """Note that an attempt to connect begins with this psk."""

    def attach(self, sock: socket.socket | TlsSock, now: float) -> None:
        """Begin to join on a socket that is connected."""

    def failed(self, problem: str, now: float) -> None:
        """Note that there is no connection, and why."""

    def unreachable(self, why: str, now: float) -> None:
        """Note that no address could be connected to."""

    def quit(self, goodbye: str) -> None:
        """Leave: the goodbye first if it can be said."""

    def interrupt(self) -> None:
        """Leave a line mode at once, with its words."""

    def hang_up(self, now: float) -> None:
        """The terminal is gone: what can be said without waiting is said."""

    def input_ended(self, now: float) -> None:
        """Nobody can type any more: what was typed still goes out, then we leave."""

    def close(self) -> None:
        """Let go of the socket; what the link still has to say is tried once."""


class _Prepared(NamedTuple):
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


class Client:
    """The loop: owns the terminal, the socket, the timers and the member."""

    def __init__(
        self, settings: config.ClientConfig, view: View, member: Member | None = None
    ) -> None:
        """Prepare to run; without a member, the thread that dials makes it."""
        self._settings = settings
        self._view = view
        self._member = member
        self._held: list[Outcome] = []
        self._selector = selectors.DefaultSelector()
        self._signals: deque[int] = deque()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._prepared: deque[_Prepared] = deque()
        self._attempt = 0
        self._addresses: deque[tuple[int, tuple[object, ...]]] = deque()
        self._unreachable = ""
        self._sock: socket.socket | None = None
        self._sock_mask = selectors.EVENT_WRITE
        self._tls: Any = None
        self._connect_by_s = 0.0
        self._masks: dict[int, int] = {}
        self._input_fd: int | None = None
        self._exit_code: int | None = None
        self._last_words = ""
        self._breaks: deque[float] = deque(maxlen=MOST_BREAKS)
        self._sentence = ""
        self._broken_dial: Exception | None = None
        self._drift_s = time.time() - time.monotonic()
        self.details: list[str] = []
        """Of what broke, where there is no file for them."""

    # --- The loop.

    def run(self) -> int:
        """Talk until the end; return the exit code (UX.md 8)."""
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        has_screen = self._view.is_screen
        with _handled_signals(self._signals, self._wake_in, has_screen=has_screen):
            self._view.start()
            self._view.apply_options()
            try:
                while self.exit_code is None:
                    try:
                        if not self._attempt:
                            self._begin()
                        self._turn()
                    except Exception as problem:  # noqa: BLE001 - whatever it is, it is our fault
                        self._broke(problem)
            finally:
                self._close()
                self._selector.close()
                self._wake_in.close()
                self._wake_out.close()
                self._view.stop()
        return self.exit_code

    @property
    def exit_code(self) -> int | None:
        """Set once the end has come."""
        if self._exit_code is None and self._member is not None:
            return self._member.exit_code
        return self._exit_code

    @property
    def last_words(self) -> str:
        """What remains to be said on standard error."""
        return self._last_words or (self._member.last_words if self._member else "")

    def _begin(self) -> None:
        """Show the first frame, then dial."""
        self._open_input()
        room = names.room_for_user(self._settings.room)
        self._view.status(Status(room, self._settings.username, 0, "connecting", 0, ()))
        self._view.draw(time.monotonic())
        self._view.flush()
        self._dial()

    def _broke(self, problem: Exception) -> None:
        """Keep the details of what broke, tell of it, and go on unless it happens again."""
        # Here, since it is seldom wanted.
        import traceback

        now = time.monotonic()
        identifier = os.urandom(4).hex()
        head = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {identifier}\n"
        details = head + "".join(traceback.format_exception(problem))
        where = self._log_path()
        if where is not None and _append_private(where, details):
            told = f"Details are in {where}."
        else:
            self.details.append(details)
            told = "Details are shown at the end."
        self._sentence = f"Something broke here: {identifier}. {told}"
        self._breaks.append(now)
        if len(self._breaks) == MOST_BREAKS and now - self._breaks[0] < BREAKS_S:
            self._last_words, self._exit_code = self._sentence, EXIT_FAILED

    def _log_path(self) -> Path | None:
        settings = self._settings
        if settings.log is not None or settings.ephemeral:
            return settings.log
        return (settings.home or config.default_home(os.environ)) / "client.log"

    def _turn(self) -> None:
        """Wait for something and do what it asks: the keyboard first, the relay, then time."""
        sentence, self._sentence = self._sentence, ""
        if sentence:
            self._view.warn(sentence, _at_ms())
            self._view.draw(time.monotonic())
        self._watch(time.monotonic())
        ready = {key.fd: mask for key, mask in self._selector.select(self._timeout_s())}
        now = time.monotonic()
        self._look_at_clocks(now)
        if self._wake_out.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_out.recv(4096)
        while self._signals:
            self._on_signal(self._signals.popleft())
        has_keys = self._input_fd in ready
        if has_keys:
            self._read_input(now)
        while self._prepared:
            self._on_prepared(self._prepared.popleft(), now)
        if self._sock is not None and self._sock.fileno() in ready:
            self._on_connected(now)
        for outcome in self._view.tick(now):
            self._act(outcome, now)
        if self._member is not None:
            self._turn_member(self._member, ready, now, has_keys=has_keys)
        self._view.draw(now)
        self._view.flush()

    def _look_at_clocks(self, now: float) -> None:
        """Check the connection after a sleep, which a monotonic clock may not have counted."""
        drift_s = time.time() - now
        if abs(drift_s - self._drift_s) > GAP_S and self._member is not None:
            self._member.woke(now)
        self._drift_s = drift_s

    def _turn_member(
        self, member: Member, ready: dict[int, int], now: float, *, has_keys: bool
    ) -> None:
        if ready.get(member.fd or -1, 0) & selectors.EVENT_READ:
            member.read(now)
        # What was typed is shown first, but a busy keyboard does not hold up the room for ever.
        member.open_records(now, now if has_keys else now + OPENING_S, self._has_keys)
        member.tick(now)
        if self._sock is not None and now >= self._connect_by_s:
            self._forget_fd(self._sock.fileno())
            self._sock.close()
            self._sock = None
            self._unreachable = "no answer"
            self._connect(member, now)
        member.send(now)
        if member.wants_dial:
            self._dial()
        member.show_status(now)

    def _timeout_s(self) -> float | None:
        now = time.monotonic()
        times = [self._view.deadline()]
        if self._member is not None:
            times.append(self._member.deadline(now))
        if self._sock is not None:
            times.append(self._connect_by_s)
        wanted = [at for at in times if at is not None]
        return max(0.0, min(wanted) - now) if wanted else None

    def _watch(self, now: float) -> None:
        """Ask the selector for what is wanted now."""
        wanted: dict[int, int] = {}
        member = self._member
        is_wanted = self._view.has_keyboard and not (member is not None and member.is_full)
        if self._input_fd is not None and is_wanted:
            wanted[self._input_fd] = selectors.EVENT_READ
        if self._view.unwritten_bytes:
            wanted[self._view.output_fd] = selectors.EVENT_WRITE
        if self._sock is not None:
            wanted[self._sock.fileno()] = self._sock_mask
        if member is not None and member.fd is not None:
            mask = selectors.EVENT_WRITE if member.is_writing else 0
            if member.is_reading(now) and self._view.unwritten_bytes < UNREAD_BYTES:
                mask |= selectors.EVENT_READ
            if mask:
                wanted[member.fd] = mask
        for fd in [fd for fd in self._masks if fd not in wanted]:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(fd)
            del self._masks[fd]
        for fd, mask in wanted.items():
            if fd not in self._masks:
                try:
                    self._selector.register(fd, mask)
                except PermissionError:
                    continue  # a regular file as standard output: always writable
            elif self._masks[fd] != mask:
                self._selector.modify(fd, mask)
            self._masks[fd] = mask

    def _forget_fd(self, fd: int) -> None:
        if self._masks.pop(fd, None) is not None:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(fd)

    # --- The keyboard.

    def _open_input(self) -> None:
        """Find out how to wait for standard input: a thread reads what the selector cannot."""
        if not self._view.has_keyboard:
            return  # it is another program's
        try:
            if os.name != "posix":
                raise PermissionError
            self._selector.register(0, selectors.EVENT_READ)
            self._selector.unregister(0)
            self._input_fd = 0
        except (PermissionError, ValueError, OSError):
            ours, theirs = socket.socketpair()
            self._input_fd = ours.detach()
            threading.Thread(target=_feed, args=(theirs,), name="input", daemon=True).start()

    def _read_input(self, now: float) -> None:
        if self._input_fd is None:
            return
        try:
            data = os.read(self._input_fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        for outcome in self._view.receive(data, now):
            self._act(outcome, now)
        if not data:
            self._on_input_end(now)

    def _has_keys(self) -> bool:
        fd = self._input_fd
        return fd is not None and fd in self._masks and is_readable(fd)

    def _on_input_end(self, now: float) -> None:
        if self._input_fd is not None:
            self._forget_fd(self._input_fd)
            self._input_fd = None
        if self._member is not None:
            self._member.input_ended(now)
        else:
            self._exit_code = 0

    def _act(self, outcome: Outcome, now: float) -> None:
        """Do what was asked; what needs a member waits for it."""
        if self._member is not None:
            self._member.act(outcome, now)
        elif outcome in (Action.QUIT, Action.LEAVE_NOW):
            self._exit_code = 0
        elif outcome is Action.SUSPEND:
            self._view.suspend()
        else:
            self._held.append(outcome)

    # --- Dialling.

    def _dial(self) -> None:
        """Resolve and derive in a thread of its own: neither may hold up the keyboard."""
        self._attempt += 1
        if self._member is not None:
            self._member.dialling()
        arguments = (self._attempt, self._member)
        threading.Thread(target=self._prepare, args=arguments, name="dial", daemon=True).start()

    def _prepare(self, attempt: int, member: Member | None) -> None:
        addresses: list[tuple[int, tuple[object, ...]]] = []
        psk, problem, failure, tls = b"", "", ("", 0), self._tls
        try:
            if member is None:
                member = _member(self._settings, self._view)
            psk = member.stretch()
            if member.is_secure and tls is None:
                tls = _tls(self._settings.ca_file)
            addresses = _addresses(member)
        except TermchatError as refusal:
            failure = (str(refusal), _exit_code(refusal))
        except (OSError, UnicodeError):
            host = member.host if member is not None else ""
            problem = f"{host} is not known. Check the address, and your connection."
        except Exception as broken:  # noqa: BLE001 - the loop tells of it, once it knows
            self._broken_dial = broken
        self._prepared.append(_Prepared(attempt, member, psk, addresses, problem, failure, tls))
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _on_prepared(self, prepared: _Prepared, now: float) -> None:
        broken, self._broken_dial = self._broken_dial, None
        if broken is not None:
            # Nobody else would dial again.
            self._broke(broken)
            self._last_words, self._exit_code = self._sentence, EXIT_FAILED
            return
        self._last_words, code = prepared.failure
        member = prepared.member
        if code or member is None:
            self._exit_code = code
            return
        if self._member is None:
            self._member = member
            member.dialling()
            held, self._held = self._held, []
            for outcome in held:
                member.act(outcome, now)
        if prepared.attempt != self._attempt or member.fd is not None:
            return
        if prepared.psk:
            member.dialled(prepared.psk)
        if prepared.problem:
            member.failed(prepared.problem, now)
            return
        self._tls = prepared.tls
        self._addresses = deque(prepared.addresses)
        self._unreachable = ""
        self._connect(member, now)

    def _connect(self, member: Member, now: float) -> None:
        """Try the next address."""
        while self._addresses:
            family, address = self._addresses.popleft()
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as problem:
                self._unreachable = problem.strerror or str(problem)
                continue
            sock.setblocking(False)
            try:
                status = sock.connect_ex(address)
            except OSError as problem:  # the path of a unix socket can be too long
                status = problem.errno or errno.EINVAL
            if status in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
                self._sock, self._connect_by_s = sock, now + CONNECT_S
                self._sock_mask = selectors.EVENT_WRITE
                return
            sock.close()
            self._unreachable = os.strerror(status)
        member.unreachable(self._unreachable, now)

    def _on_connected(self, now: float) -> None:
        sock = self._sock
        member = self._member
        if sock is None or member is None:
            return
        if _is_tls(sock):
            self._shake_hands(sock, member, now)
            return
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._forget_fd(sock.fileno())
        self._sock = None
        if status:
            sock.close()
            self._unreachable = os.strerror(status)
            self._connect(member, now)
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not member.is_secure:
            member.attach(sock, now)
            return
        self._sock = self._tls.wrap_socket(
            sock, server_hostname=member.host, do_handshake_on_connect=False
        )
        self._shake_hands(self._sock, member, now)

    def _shake_hands(self, sock: Any, member: Member, now: float) -> None:
        """Go on with a TLS handshake, as far as it does not wait."""
        # It is there already: the thread that dials needed it.
        import ssl

        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._sock_mask = selectors.EVENT_READ
            return
        except ssl.SSLWantWriteError:
            self._sock_mask = selectors.EVENT_WRITE
            return
        except OSError as problem:
            self._forget_fd(sock.fileno())
            self._sock = None
            sock.close()
            sentence = f"{member.host} does not speak TLS. Is it ws://, or another port?"
            if isinstance(problem, ssl.SSLCertVerificationError):
                why = problem.verify_message
                sentence = (
                    f"The certificate of {member.host} is not valid here: {why}. See --cafile."
                )
            member.failed(sentence, now)
            return
        self._forget_fd(sock.fileno())
        self._sock = None
        member.attach(TlsSock(sock), now)

    def _close(self) -> None:
        if self._member is not None:
            self._member.close()
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    # --- Signals.

    def _on_signal(self, signum: int) -> None:
        now = time.monotonic()
        match signum:
            case signal.SIGINT if not self._view.is_screen:
                if self._member is not None:
                    self._member.interrupt()
                self._exit_code = EXIT_INTERRUPTED
            case signal.SIGHUP if self._settings.is_pipe and self._member is not None:
                self._member.quit("")
            case signal.SIGINT | signal.SIGTERM if self._member is not None:
                self._member.quit("")
            case signal.SIGINT | signal.SIGTERM | signal.SIGQUIT:
                self._exit_code = 0
            case signal.SIGHUP:
                if self._member is not None:
                    self._member.hang_up(now)
                self._exit_code = 0
            case signal.SIGTSTP:
                self._act(Action.SUSPEND, now)
            case signal.SIGCHLD:
                pass  # `tick` looks after the editor
            case _:
                self._view.resized()


def _addresses(member: Member) -> list[tuple[int, Any]]:
    """Return where to connect to, in the order in which to try.

    Raises:
        OSError: if the name is not known; or UnicodeError, if it can be none.
        UsageError: if this system has no such sockets.
    """
    if not member.unix_path:
        found = socket.getaddrinfo(member.host, member.port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("This system has no unix sockets. Use ws://HOST:PORT/.")
    return [(socket.AF_UNIX, member.unix_path)]


def _tls(ca_file: Path | None) -> Any:
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


def _is_tls(sock: socket.socket) -> bool:
    return hasattr(sock, "do_handshake")


def _at_ms() -> int:
    return time.time_ns() // 1_000_000


def _feed(sock: socket.socket) -> None:
    """Copy standard input into a socket, for a loop whose selector cannot wait for it."""
    with contextlib.suppress(OSError), sock:
        while data := os.read(0, READ_BYTES):
            sock.sendall(data)


@contextlib.contextmanager
def _handled_signals(
    caught: deque[int], wake: socket.socket, *, has_screen: bool
) -> Iterator[None]:
    """Put signals into a queue that the loop empties, and wake it."""

    def handle(signum: int, _frame: FrameType | None) -> None:
        caught.append(signum)

    wanted = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCONT", "SIGWINCH", "SIGCHLD"]
    if has_screen:
        wanted.append("SIGTSTP")
    numbers = [getattr(signal, name) for name in wanted if hasattr(signal, name)]
    # What nohup, or a shell without job control, made us ignore stays ignored.
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in numbers}
    if hasattr(signal, "SIGPIPE"):
        before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    fd = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------------------------------- Peer mode


def _peer_mode(settings: config.ClientConfig, peer: config.PeerConfig) -> int:
    """Talk without a server: whoever listens runs the relay too (PROTOCOL.md 2, peer to peer).

    Raises:
        UsageError: if a setting is wrong, or a package is missing.
        FileError: if a file cannot be used, or nobody can listen there.
    """
    with _packages():
        # Here, as all that the first frame does not need.
        from common.crypto import ticket
        from common.crypto.identity import RelayKey
        from common.member.peering import PeerDesk
    try:
        keys = ticket.peer_keys(ticket.parse_fernet_key(peer.fernet_key))
    except UsageError:
        where = f"fernet_key in [parameters] of {peer.file}"
        raise UsageError(f"{where} is not 32 bytes in base64. Copy it again.") from None
    _print(f"Your IP and port are: {_shown(peer.ip)}:{peer.port}")
    peer, host, port = _answers(peer)
    listener = _listener(peer) if peer.mode == "listen" else None
    key = RelayKey.from_private(keys.static_private).public
    invitation = ticket.encode(ticket.Ticket(key, keys.secret, host, port))
    # A password that is given, though empty, is never asked for.
    settings = settings._replace(ticket=invitation, password="", url="", room="")
    view = _view(settings)
    today = time.strftime("%Y-%m-%d")
    desk = PeerDesk(
        settings, peer, os.environ, view, time.monotonic, _at_ms, today, lambda: keys.psk
    )
    client = Client(settings, view, desk)
    if listener is None:
        return _run(client, _say)
    return _host(client, listener, keys.static_private, keys.psk, desk.judge, desk.joined)


def _host(
    client: Client,
    listener: socket.socket,
    private: bytes,
    psk: bytes,
    judge: Callable[..., int | None],
    joined: Callable[[bytes, str], None],
) -> int:
    """Run the relay of a client that listens, and the client; return the exit code."""
    # Here, because who connects needs no server.py.
    import server
    from common.crypto.identity import RelayKey

    has_crashed = threading.Event()

    def crash() -> None:
        has_crashed.set()
        signal.raise_signal(signal.SIGTERM)

    relay = server.Server(
        config.ServerConfig(rooms=0, rate=config.PEER_RATE),
        RelayKey.from_private(private),
        psk,
        [listener],
        lambda _: None,
        crash,
        also_judge=judge,
        on_join=joined,
    )
    relay.start()
    try:
        code = _run(client, _say)
    finally:
        relay.stop()
    if has_crashed.is_set():
        _say("The relay in this program broke, so nobody could be reached any more.")
        return EXIT_FAILED
    return code


def _answers(peer: config.PeerConfig) -> tuple[config.PeerConfig, str, int]:
    """Return who listens, and where: as flags say, or else as is answered.

    Raises:
        UsageError: if nobody answers, or the flag is wrong.
    """
    from common.crypto import ticket

    def mode(answer: str) -> str:
        if answer.lower() not in ("connect", "listen"):
            raise UsageError("The answer is connect or listen.")
        return answer.lower()

    def address(answer: str) -> str:
        host, port = ticket.parse_address(answer)
        if port is not None:
            raise UsageError("The port is asked for next.")
        return host

    peer = peer._replace(mode=peer.mode or _ask("Enter mode (connect or listen): ", mode))
    if peer.mode == "listen":
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        return peer, anywhere.get(peer.ip, peer.ip), peer.port
    if not peer.address:
        host = _ask("Enter peer IP: ", address)
        return peer, host, _ask("Enter peer port: ", ticket.parse_port)
    host, port = ticket.parse_address(peer.address)
    if port is None:
        raise UsageError("--connect needs the port too, as HOST:PORT.")
    return peer, host, port


def _listener(peer: config.PeerConfig) -> socket.socket:
    """Return the socket that peers connect to.

    Raises:
        UsageError: if server.py is not beside us.
        FileError: if nobody can listen there; names what to change.
    """
    if not Path(__file__).resolve().with_name("server.py").is_file():
        raise UsageError("Who listens needs server.py beside client.py. Copy it there.")
    import server

    where = f"[parameters] of {peer.file}"
    try:
        return server.bind(
            socket.AF_INET6 if ":" in peer.ip else socket.AF_INET, (peer.ip, peer.port)
        )
    except OSError as problem:
        match problem.errno:
            case errno.EADDRINUSE:
                why = f"Port {peer.port} is in use. Stop what uses it, or change port in {where}."
            case errno.EADDRNOTAVAIL:
                why = f"{peer.ip} is no address of this machine. Change ip in {where}."
            case errno.EACCES | errno.EPERM:
                why = f"Port {peer.port} needs more rights than we have. Change port in {where}."
            case _:
                told = problem.strerror or str(problem)
                at = f"{_shown(peer.ip)}:{peer.port}"
                why = f"Cannot listen at {at}: {told}. Change ip or port in {where}."
        raise FileError(why) from None


def _shown(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def _ask(question: str, parse: Callable[[str], _T]) -> _T:
    """Ask until the answer can be used.

    Raises:
        UsageError: if nobody answers.
    """
    while True:
        _print(question, end="" if is_terminal(0) else "\n")
        try:
            answer = _read_answer()
        except EOFError:
            raise UsageError(
                "Nobody answers here: give --listen, or --connect HOST:PORT."
            ) from None
        try:
            return parse(answer)
        except UsageError as problem:
            _print(str(problem))


def _read_answer() -> str:
    """Read a line, and nothing of what follows it: that is for the room.

    Raises:
        EOFError: if the input has ended.
    """
    answer = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        answer += byte[: ANSWER_BYTES - len(answer)]
    if not byte and not answer:
        raise EOFError
    return answer.decode("utf-8", "replace").strip()


def _genkey() -> str:
    """Return a new key for two, as Fernet prints its own."""
    import base64

    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _init(settings: config.ClientConfig) -> None:
    """Write a config.ini for this machine.

    Raises:
        UsageError: if the name that was given cannot be used.
        FileError: if it is there, or cannot be written.
    """
    path = settings.file or Path(config.FILE)
    username = settings.username
    if username:
        names.check_username(username)
    else:
        username = socket.gethostname().partition(".")[0]
        try:
            names.check_username(username)
        except UsageError:
            username = "desktop"
    # Connecting a datagram socket sends nothing: it asks the routing table which address we would
    # use towards one that is reserved for documentation (RFC 5737).
    ip = "127.0.0.1"
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        ip = str(probe.getsockname()[0])
    files.create_own(path, config.sample(ip, username, _genkey()).encode())
    _print(f"{path} is written. Copy it to the other machine, and change ip and username there.")


# --------------------------------------------------------------------------------------------- main


def main(argv: list[str]) -> int:
    """Join a room; return the exit code (UX.md 8)."""
    _open_streams()
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        settings = config.load_client(argv, os.environ)
        title.hide((settings.ticket, settings.password), os.environ, config.SECRET_VARIABLES)
        for warning in settings.warnings:
            _say(warning)
        if settings.task == "genkey":
            _print(_genkey())
            return 0
        if settings.task == "completion":
            # Here, because it is asked for once in the life of a shell.
            from common import completion

            _print(completion.script(settings.completion, config.CLIENT_HELP).rstrip("\n"))
            return 0
        if settings.task:
            _init(settings)
            return 0
        if settings.peer is not None:
            return _peer_mode(_with_passphrase(settings), settings.peer)
        if not settings.ticket:
            raise UsageError(
                "There is no KEY and no config.ini: run client.py KEY with what a server printed, "
                "or client.py --init to talk without a server."
            )
        settings = _with_passphrase(settings)
        view = _view(settings)
        # Who has no screen sees nothing early, and should hear first what is wrong.
        member = None if view.is_screen else _member(settings, view)
    except TermchatError as problem:
        _say(str(problem))
        return _exit_code(problem)
    except KeyboardInterrupt:  # at a question, or before the loop takes signals
        _print("")
        return EXIT_INTERRUPTED
    return _run(Client(settings, view, member), _print if settings.check else _say)


def _run(client: Client, say: Callable[[str], None]) -> int:
    """Run to the end, and say what remains to be said."""
    code = client.run()
    for details in client.details:
        _say(details.rstrip())
    if client.last_words:
        say(client.last_words)
    return code


def _with_passphrase(settings: config.ClientConfig) -> config.ClientConfig:
    """Ask for the passphrase of the identity, before a view takes the terminal.

    Raises:
        FileError: if nobody can be asked.
        UsageError: if a new one was not typed twice.
    """
    if settings.ephemeral or settings.passphrase is not None:
        return settings
    data = files.read_private(config.identity_path(settings, os.environ)) or b""
    is_encrypted = b"ENCRYPTED" in data
    if not is_encrypted and not settings.asks_passphrase:
        return settings
    if not is_terminal(0):
        raise FileError("Your identity needs its passphrase. Give it with --passphrase-file.")
    # Here, since few want it.
    from getpass import getpass

    try:
        passphrase = getpass("Passphrase: " if is_encrypted else "New passphrase: ")
        if not is_encrypted and getpass("The same again: ") != passphrase:
            raise UsageError("The two differ. Nothing was encrypted.")
    except EOFError:
        passphrase = ""
    if not passphrase:
        raise FileError("No passphrase was given.")
    return settings._replace(passphrase=passphrase)


def _member(settings: config.ClientConfig, view: View) -> Member:
    """Import what talks to the relay, and make it.

    Raises:
        UsageError: if the settings are wrong, or a package is missing.
        FileError: if a file cannot be used.
    """
    with _packages():
        # Here, because nobody should wait for a screen as long as this takes. The password first:
        # stretching it takes as long as the other imports, and needs no GIL.
        from concurrent.futures import ThreadPoolExecutor

        from common.crypto import ticket

        key = ticket.parse(settings.ticket).key
        psk = ThreadPoolExecutor(1).submit(ticket.derive_psk, settings.offered_password, key)

        from common.member.desk import Desk
    today = time.strftime("%Y-%m-%d")
    return Desk(settings, os.environ, view, time.monotonic, _at_ms, today, psk.result)


@contextlib.contextmanager
def _packages() -> Iterator[None]:
    """Import what needs packages.

    Raises:
        UsageError: if one is missing.
    """
    try:
        yield
    except ImportError as problem:
        wanted = Path(__file__).with_name("requirements.txt")
        raise UsageError(f"{problem}. Run: {sys.executable} -m pip install -r {wanted}") from None


def _exit_code(problem: TermchatError) -> int:
    return EXIT_USAGE if isinstance(problem, UsageError) else EXIT_FAILED


def _view(settings: config.ClientConfig) -> View:
    """Choose the view, and set what the file says.

    Raises:
        UsageError: if it says what cannot be.
    """
    view = _choose_view(settings)
    for name, value, where in settings.options:
        allowed = VALUES.get(name, ())
        if allowed and value not in allowed:
            raise UsageError(f"{where} is {value!r}, not {' or '.join(allowed)}.")
        setattr(view.options, name, value)
    if settings.notify_command:
        from common.view.notify import Notifier

        room = names.room_for_user(settings.room)
        view.on_call = Notifier(settings.notify_command, room).call
    return view


def _choose_view(settings: config.ClientConfig) -> View:
    """Choose the view; why a screen cannot be had is told in one sentence."""
    if settings.is_pipe:
        return _pipes(settings)
    if settings.plain:
        return Lines()
    why = ""
    if not (is_terminal(0) and is_terminal(1)):
        why = "Input or output is no terminal"
    elif os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        why = "The terminal type is dumb or not set"
    else:
        try:
            # Here, because Windows has none of it, and line mode needs none of it.
            from common.view.screen import Screen

            return Screen(has_colour=settings.colour)
        except ImportError:
            why = "This Python has no curses"
        except FileError as problem:
            why = str(problem).rstrip(".")
    _say(f"{why}: line mode.")
    return Lines()


def _pipes(settings: config.ClientConfig) -> View:
    # Here, because people need none of it.
    from common.view.feed import Feed, LineFeed, RowFeed
    from common.view.pipes import Pipes

    feed: Feed | None = None
    if settings.sends and settings.json:
        feed = RowFeed()
    elif settings.sends:
        feed = LineFeed(is_block=settings.is_block, is_strict=settings.is_strict)
    room = names.room_for_user(settings.room)
    is_tail = settings.tail is not None
    return Pipes(room, feed, is_tail=is_tail, is_json=settings.json, most=settings.tail or 0)


def _append_private(path: Path, content: str) -> bool:
    """Add to a file that only we can read; False if that cannot be."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
            file.write(content.encode("utf-8", "backslashreplace"))
    except OSError:
        return False
    return True


def _print(row: str, end: str = "\n") -> None:
    """Write a row on standard output, if there is one, before a view takes it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.write(text.clean(row) + end)
        sys.stdout.flush()


def _say(sentence: str) -> None:
    """Write a sentence on standard error, if there is one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text.clean(sentence) + "\n")
        sys.stderr.flush()


def _open_streams() -> None:
    """Open what came closed, or the next file or socket would pass for standard output."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _end(code: int) -> None:
    """End the process: at once if something still dials, or what it runs in would abort."""
    if not any(thread.daemon for thread in threading.enumerate()):
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _end(main(sys.argv[1:]))
