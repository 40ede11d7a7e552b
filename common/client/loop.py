"""The loop of a client: it owns the terminal, the socket and the timers."""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common import config, streams
from common.client.dial import (
    CONNECT_S,
    Endpoint,
    Prepared,
    Race,
    TlsSock,
    addresses_of,
    at_ms,
    make_member,
    tls_for,
)
from common.client.zone import Zone
from common.errors import EXIT_FAILED, EXIT_INTERRUPTED, TermchatError
from common.term import text
from common.term.editor import Action
from common.view.output import is_readable
from common.view.view import Outcome, View

if TYPE_CHECKING:  # the thread that dials imports it, and nothing here waits for that
    from common.member.member import Member

READ_BYTES: Final = 64 * 1024
OPENING_S: Final = 0.005
"""How long received records are opened before anything else is looked at again."""

GAP_S: Final = 60.0
"""More than clocks are set by in passing: the machine has slept."""
MOST_BREAKS: Final = 3
BREAKS_S: Final = 60.0
"""Within which so many program errors are the end."""
_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP")


class Client:
    """The loop: owns the terminal, the socket, the timers and the member."""

    def __init__(
        self,
        settings: config.ClientConfig,
        view: View,
        caught: deque[int],
        member: Member | None = None,
    ) -> None:
        """Prepare to run; without a member, the thread that dials makes it.

        caught: the signals that came, the newest last.
        """
        self._settings = settings
        self._view = view
        self._member = member
        self._held: list[Outcome] = []
        self._selector = selectors.DefaultSelector()
        self._signals = caught
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._prepared: deque[Prepared] = deque()
        self._attempt = 0
        self._race: Race | None = None
        self._secured: Any = None
        """What TLS shakes hands on."""
        self._secured_mask = selectors.EVENT_WRITE
        self._secure_by_s = 0.0
        self._tls: Any = None
        self._masks: dict[int, int] = {}
        self._input_fd: int | None = None
        self._input: Callable[[int], bytes] = functools.partial(os.read, 0)
        self._input_sock: socket.socket | None = None
        self._exit_code: int | None = None
        self._last_words = ""
        self._breaks: deque[float] = deque(maxlen=MOST_BREAKS)
        self._sentence = ""
        self._broken_dial: Exception | None = None
        self._drift_s = time.time() - time.monotonic()
        self._zone = Zone(os.environ)
        self.details: list[str] = []
        """Of what broke, where there is no file for them."""

    # --- The loop.

    def run(self) -> int:
        """Talk until the end; return the exit code (UX.md 8)."""
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake_in.fileno(), warn_on_full_buffer=False)
        try:
            while self.exit_code is None:
                try:
                    if not self._attempt:
                        self._open_input()
                        self._dial()
                    self._turn()
                except Exception as problem:  # noqa: BLE001 - whatever it is, it is our fault
                    self._broke(problem)
        finally:
            signal.set_wakeup_fd(-1)
            self._close()
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()
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

    def _broke(self, problem: Exception) -> None:
        """Keep the details of what broke, tell of it, and go on unless it happens again."""
        # Here, since it is seldom wanted.
        import traceback

        now = time.monotonic()
        identifier = os.urandom(4).hex()
        head = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {identifier}\n"
        # Whoever made us break may have a text in it, which must not begin a row.
        rows = "".join(traceback.format_exception(problem)).splitlines()
        details = head + "".join(f"    {text.clean(row)}\n" for row in rows)
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

    def _log_path(self) -> str | None:
        settings = self._settings
        if settings.log is not None or settings.ephemeral:
            return settings.log
        return str(Path(settings.home or config.default_home(os.environ), "client.log"))

    def _turn(self) -> None:
        """Wait for something and do what it asks: the keyboard first, the relay, then time."""
        sentence, self._sentence = self._sentence, ""
        if sentence:
            self._view.warn(sentence, at_ms())
            self._view.draw(time.monotonic())
        # One time for both: what is not watched yet must end the wait.
        now = time.monotonic()
        self._watch(now)
        ready = {key.fd: mask for key, mask in self._selector.select(self._timeout_s(now))}
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
        if self._member is not None:
            self._connect(self._member, ready, now)
        for outcome in self._view.tick(now):
            self._act(outcome, now)
        if self._member is not None:
            self._turn_member(self._member, ready, now, has_keys=has_keys)
        self._view.draw(now)
        self._view.flush()

    def _look_at_clocks(self, now: float) -> None:
        """Notice a journey, and check the connection after a sleep.

        A monotonic clock may not have counted that.
        """
        self._zone.look(now)
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
        member.send(now)
        if member.wants_dial:
            self._dial()
        member.show_status(now)

    def _timeout_s(self, now: float) -> float | None:
        if self._signals:  # of before the first turn: nothing wakes us for them
            return 0.0
        times = [self._view.deadline()]
        if self._member is not None:
            times.append(self._member.deadline(now))
        if self._race is not None:
            times.append(self._race.deadline())
        if self._secured is not None:
            times.append(self._secure_by_s)
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
        if self._race is not None:
            wanted |= dict.fromkeys(self._race.fds, selectors.EVENT_WRITE)
        if self._secured is not None:
            wanted[self._secured.fileno()] = self._secured_mask
        if member is not None and member.fd is not None:
            mask = selectors.EVENT_WRITE if member.is_writing else 0
            if member.is_reading(now):
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
            # By `recv`: where a thread must read for us, a socket may be no descriptor.
            self._input_sock, self._input_fd, self._input = ours, ours.fileno(), ours.recv
            threading.Thread(target=_feed, args=(theirs,), name="input", daemon=True).start()

    def _read_input(self, now: float) -> None:
        if self._input_fd is None:
            return
        try:
            data = self._input(READ_BYTES)
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
            if self._input_sock is not None:
                self._input_sock.close()
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
        addresses: list[Endpoint] = []
        psk, problem, failure, tls = b"", "", ("", 0), self._tls
        try:
            if member is None:
                member = make_member(self._settings, self._view)
            psk = member.passwords.stretch()
            if member.address.is_secure and tls is None:
                tls = tls_for(self._settings.ca_file)
            addresses = addresses_of(member)
        except TermchatError as refusal:
            failure = (str(refusal), refusal.exit_code)
        except (OSError, UnicodeError):
            host = member.address.host if member is not None else ""
            problem = f"{host} is not known. Check the address, and your connection."
        except Exception as broken:  # noqa: BLE001 - the loop tells of it, once it knows
            self._broken_dial = broken
        self._prepared.append(Prepared(attempt, member, psk, addresses, problem, failure, tls))
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _on_prepared(self, prepared: Prepared, now: float) -> None:
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
            member.passwords.psk = prepared.psk
        if prepared.problem:
            member.failed(prepared.problem, now)
            return
        self._tls = prepared.tls
        self._race = Race(prepared.addresses, now)

    def _connect(self, member: Member, ready: dict[int, int], now: float) -> None:
        """Go on with what is on its way to a connection."""
        if self._secured is not None:
            if self._secured.fileno() in ready:
                self._shake_hands(self._secured, member, now)
            elif now >= self._secure_by_s:
                self._drop_secured().close()
                member.unreachable("no answer", now)
            return
        race = self._race
        if race is None:
            return
        for fd in race.fds:
            self._forget_fd(fd)  # it may be closed now, and the next have its number
        sock = None
        for fd in [fd for fd in race.fds if fd in ready]:
            sock = sock or race.connected(fd, now)
        if sock is None:
            race.tick(now)
        if sock is not None:
            self._race = None
            self._on_connected(sock, member, now)
        elif race.is_lost:
            self._race = None
            member.unreachable(race.problem, now)

    def _on_connected(self, sock: socket.socket, member: Member, now: float) -> None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not member.address.is_secure:
            member.attach(sock, now)
            return
        self._secured = self._tls.wrap_socket(
            sock, server_hostname=member.address.host, do_handshake_on_connect=False
        )
        self._secure_by_s = now + CONNECT_S
        self._shake_hands(self._secured, member, now)

    def _shake_hands(self, sock: Any, member: Member, now: float) -> None:
        """Go on with a TLS handshake, as far as it does not wait."""
        # It is there already: the thread that dials needed it.
        import ssl

        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._secured_mask = selectors.EVENT_READ
            return
        except ssl.SSLWantWriteError:
            self._secured_mask = selectors.EVENT_WRITE
            return
        except OSError as problem:
            self._drop_secured().close()
            host = member.address.host
            sentence = f"{host} does not speak TLS. Is it ws://, or another port?"
            if isinstance(problem, ssl.SSLCertVerificationError):
                why = problem.verify_message.rstrip(".")
                sentence = f"The certificate of {host} is not valid here: {why}. See --cafile."
            member.failed(sentence, now)
            return
        member.attach(TlsSock(self._drop_secured()), now)

    def _drop_secured(self) -> Any:
        """Return the socket on which TLS shook hands, which is watched no more."""
        sock, self._secured = self._secured, None
        self._forget_fd(sock.fileno())
        return sock

    def _close(self) -> None:
        if self._member is not None:
            self._member.close()
        if self._race is not None:
            self._race.close()
        if self._secured is not None:
            self._drop_secured().close()
        if self._input_sock is not None:
            self._input_sock.close()

    # --- Signals.

    def _on_signal(self, signum: int) -> None:
        now = time.monotonic()
        # By name: some systems lack the number.
        name = signal.Signals(signum).name
        if name in _ENDING:
            self._view.hurry()
        match name:
            case "SIGINT" if not self._view.is_screen:
                if self._member is not None:
                    self._member.interrupt()
                self._exit_code = EXIT_INTERRUPTED
            case "SIGHUP" if self._settings.is_pipe and self._member is not None:
                self._member.quit("")
            case "SIGINT" | "SIGTERM" if self._member is not None:
                self._member.quit("")
            case "SIGINT" | "SIGTERM" | "SIGQUIT":
                self._exit_code = 0
            case "SIGHUP":
                if self._member is not None:
                    self._member.hang_up(now)
                self._exit_code = 0
            case "SIGTSTP":
                self._act(Action.SUSPEND, now)
            case "SIGCHLD":
                pass  # `tick` looks after the editor
            case _:
                self._view.resized()


def _feed(sock: socket.socket) -> None:
    """Copy standard input into a socket, for a loop whose selector cannot wait for it."""
    with contextlib.suppress(OSError), sock:
        while data := streams.read(0, READ_BYTES):
            sock.sendall(data)


def _append_private(path: str, content: str) -> bool:
    """Add to a file that only we can read; False if that cannot be."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
            file.write(content.encode("utf-8", "backslashreplace"))
    except OSError:
        return False
    return True
