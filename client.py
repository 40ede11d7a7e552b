# /// script
# requires-python = ">=3.11"
# dependencies = ["websockets>=17", "cryptography>=48"]
# ///
"""The client: selector loop, curses and line views, peer mode, command line.

Run `python client.py KEY --username ace`. What travels is in common/PROTOCOL.md; how it looks and
speaks, in common/UX.md; where each line lives, in common/DESIGN.md.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import logging
import os
import queue
import random
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, assert_never

try:
    from common import config, files, names
    from common.crypto import ticket
    from common.crypto.identity import Identity, load_identity, safety_number
    from common.errors import (
        FileError,
        Refused,
        RemoteProtocolError,
        TermchatError,
        Unauthentic,
        UsageError,
    )
    from common.member import commands, sentences
    from common.member.conversation import (
        Back,
        Came,
        Conversation,
        Event,
        Gone,
        Joined,
        Left,
        Noticed,
        Peer,
        Phase,
        Said,
        Undelivered,
        Warned,
    )
    from common.member.retry import Retry
    from common.member.trust import Grade, Pins, Standing
    from common.term import text
    from common.term.complete import Argument, Sources
    from common.term.editor import Action, Submit
    from common.term.prompt import Answer, Prompt, Reply
    from common.view.lines import Lines
    from common.view.output import is_readable, is_terminal
    from common.view.view import MEANINGS, VALUES, Message, Outcome, Presence, Status, View
    from common.wire.link import ClientLink, Closed, Opened, State, parse_url
    from common.wire.pipe import Pipe
    from common.wire.records import Delivered
except ImportError as problem:
    _wanted = Path(__file__).with_name("requirements.txt")
    sys.stderr.write(f"{problem}. Run: {sys.executable} -m pip install -r {_wanted}\n")
    sys.exit(2)

log = logging.getLogger("termchat.client")

READ_BYTES: Final = 64 * 1024
CONNECT_S: Final = 10.0
OPENING_S: Final = 0.005
"""How long received records are opened before anything else is looked at again."""
READ_EVERY_S: Final = 1 / 30
"""A screen shows no more frames a second than this: what comes meanwhile is read together."""
LEAVE_S: Final = 2.0
EOF_S: Final = 60.0
"""How long the end of input waits for echoes without any coming."""
UNREAD_BYTES: Final = 1024 * 1024
"""Rows that standard output has not taken, above which we stop reading the relay."""
MANY_LINES: Final = 1_000
"""Lines on their way, above which a pipe on standard input is not read."""

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_INTERRUPTED: Final = 130

TRANSIENT: Final = frozenset((408, 412, 429, 503))
"""Statuses after which a client that was welcomed comes back (PROTOCOL.md 3.3)."""

KEYS_HELP: Final = (
    "Enter sends; Alt-Enter: newline. Up Down: what you sent. Ctrl-R searches it.",
    "PgUp PgDn End: the history. Tab completes names and commands.",
    "Ctrl-W Ctrl-U Ctrl-K cut, Ctrl-Y pastes, Ctrl-_ undoes. Ctrl-L repaints.",
    "Ctrl-C clears the input; on an empty input, it leaves. Ctrl-Z suspends.",
)


# ------------------------------------------------------------------------------------------- Client


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What the short-lived thread found out."""

    attempt: int
    psk: bytes
    addresses: list[tuple[int, tuple[object, ...]]]
    problem: str


class Client:
    """One member: owns the terminal, the socket, the timers and the conversation."""

    def __init__(
        self,
        settings: config.ClientConfig,
        invitation: ticket.Ticket,
        url: str,
        conversation: Conversation,
        view: View,
    ) -> None:
        self._settings = settings
        self._ticket = invitation
        self._url = url
        self._uri = parse_url(url)
        self._conversation = conversation
        self._view = view
        self._selector = selectors.DefaultSelector()
        self._signals: deque[int] = deque()
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._prepared: queue.SimpleQueue[_Prepared] = queue.SimpleQueue()
        self._attempt = 0
        self._password = settings.password
        self._psk: bytes | None = None
        self._addresses: deque[tuple[int, tuple[object, ...]]] = deque()
        self._unreachable = ""
        self._sock: socket.socket | None = None
        self._connect_by_s = 0.0
        self._pipe: Pipe[ClientLink] | None = None
        self._inbox: deque[Delivered] = deque()
        self._read_at_s = 0.0
        self._masks: dict[int, int] = {}
        self._input_fd: int | None = None
        self._has_input = True
        self._retry = Retry(random.random)
        self._retry_at_s: float | None = None
        self._lost_at_s: float | None = None
        self._was_welcomed = False
        self._ended = ""
        self._leave_by_s: float | None = None
        self._goodbye = ""
        self._on_answer: Callable[[str | None], None] | None = None
        self._shown_numbers: set[str] = set()
        self._unsent: list[str] = []
        self._last_status: Status | None = None
        self._speakers: list[str] = []
        self._look_alikes: set[int] = set()
        self._hint = ""
        self.exit_code: int | None = None
        self.last_words = ""

    # --- The loop.

    def run(self) -> int:
        """Talk until the end; return the exit code (UX.md 8)."""
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        has_screen = not isinstance(self._view, Lines)
        with _handled_signals(self._signals, self._wake_in, has_screen=has_screen):
            self._view.start()
            try:
                self._open_input()
                self._view.draw(time.monotonic())
                self._view.flush()
                self._dial()
                while self.exit_code is None:
                    self._turn()
            finally:
                self._close_pipe()
                self._selector.close()
                self._wake_in.close()
                self._wake_out.close()
                self._view.stop()
        return self.exit_code

    def _turn(self) -> None:
        """Wait for something and do what it asks: the keyboard first, the relay, then time."""
        self._watch(time.monotonic())
        ready = {key.fd: mask for key, mask in self._selector.select(self._timeout_s())}
        now = time.monotonic()
        if self._wake_out.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_out.recv(4096)
        while self._signals:
            self._on_signal(self._signals.popleft())
        has_keys = self._input_fd in ready
        if has_keys:
            self._read_input(now)
        while not self._prepared.empty():
            self._on_prepared(self._prepared.get_nowait(), now)
        if self._sock is not None and self._sock.fileno() in ready:
            self._on_connected(now)
        pipe = self._pipe
        if pipe is not None and ready.get(pipe.sock.fileno(), 0) & selectors.EVENT_READ:
            data = pipe.read()
            if data is not None:
                is_drained = len(data) < READ_BYTES and not isinstance(self._view, Lines)
                self._read_at_s = now + READ_EVERY_S if is_drained else now
                self._on_bytes(pipe, data, now)
        # What was typed is shown first, but a busy keyboard does not hold up the room for ever.
        self._open_records(now, now if has_keys else now + OPENING_S)
        self._tick(now)
        self._send(now)
        self._show_status(now)
        self._view.draw(now)
        self._view.flush()

    def _timeout_s(self) -> float | None:
        if self._inbox:
            return 0.0
        times = [self._view.deadline(), self._retry_at_s, self._leave_by_s]
        if self._pipe is not None:
            times += [self._pipe.link.deadline(), self._conversation.deadline()]
        if self._sock is not None:
            times.append(self._connect_by_s)
        if self._retry_at_s is not None and self._lost_at_s is not None:
            times.append(time.monotonic() + 1.0)  # the countdown
        now = time.monotonic()
        if self._pipe is not None and self._read_at_s > now:
            times.append(self._read_at_s)
        wanted = [at for at in times if at is not None]
        return max(0.0, min(wanted) - now) if wanted else None

    def _watch(self, now: float) -> None:
        """Ask the selector for what is wanted now."""
        wanted: dict[int, int] = {}
        is_wanted = self._view.has_keyboard and self._conversation.waiting < MANY_LINES
        if self._input_fd is not None and is_wanted:
            wanted[self._input_fd] = selectors.EVENT_READ
        if self._view.unwritten_bytes:
            wanted[self._view.output_fd] = selectors.EVENT_WRITE
        if self._sock is not None:
            wanted[self._sock.fileno()] = selectors.EVENT_WRITE
        if self._pipe is not None:
            mask = selectors.EVENT_WRITE if self._pipe.unsent_bytes else 0
            may_read = not self._inbox and now >= self._read_at_s
            if may_read and self._view.unwritten_bytes < UNREAD_BYTES:
                mask |= selectors.EVENT_READ
            if mask:
                wanted[self._pipe.sock.fileno()] = mask
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
        try:
            os.fstat(0)
        except OSError:
            self._on_input_end()
            return
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
            self._on_outcome(outcome, now)
        if not data:
            self._on_input_end()

    def _on_input_end(self) -> None:
        """Nobody can type any more: what was typed still goes out, then we leave."""
        if self._input_fd is not None:
            self._forget_fd(self._input_fd)
            self._input_fd = None
        self._has_input = False
        if isinstance(self._view, Lines):
            self._leave_by_s = time.monotonic() + EOF_S
        else:
            self._quit("")

    def _on_outcome(self, outcome: Outcome, now: float) -> None:
        try:
            match outcome:
                case Submit():
                    self._enter(outcome)
                case Answer():
                    self._answered(outcome.text)
                case Reply.ESCAPED:
                    self._answered(None)
                case Reply.INTERRUPTED | Reply.ENDED:
                    self._answered(None)
                case Action():
                    self._act(outcome, now)
                case _:
                    assert_never(outcome)
        except (UsageError, FileError) as problem:
            self._view.tell(str(problem), _at_ms())

    def _act(self, action: Action, now: float) -> None:
        match action:
            case Action.QUIT:
                self._quit("")
            case Action.LEAVE_NOW:
                self.exit_code = 0
            case Action.ENTER if self._retry_at_s is not None:
                self._retry_at_s = now
            case Action.HELP:
                self._intend(commands.Help(""))
            case Action.EDIT:
                self._intend(commands.Edit())
            case Action.SUSPEND:
                self._view.suspend()
                if self._pipe is not None:
                    # The connection may have gone meanwhile.
                    self._pipe.link.ping(time.monotonic())
            case _:
                pass

    def _enter(self, submitted: Submit) -> None:
        self._intend(commands.parse(submitted.text, is_literal=submitted.is_literal))

    def _intend(self, intent: commands.Intent) -> None:
        conversation = self._conversation
        match intent:
            case commands.Say():
                line = conversation.say(intent.text)
                self._view.typed(line, intent.text, "", _at_ms())
            case commands.Help():
                self._rows(sentences.help_rows(intent.topic, KEYS_HELP))
            case commands.Who():
                self._rows(sentences.who(conversation))
            case commands.Verify():
                self._verify(intent)
            case commands.Trust():
                self._trust(self._peer(intent.name))
            case commands.Find():
                if not self._view.find(intent.text):
                    what = f'"{intent.text}" is' if intent.text else "What you looked for is"
                    raise UsageError(f"{what} not in this history.")
            case commands.ToUnread():
                if not self._view.to_unread():
                    raise UsageError("There is no unread line.")
            case commands.Clear():
                self._view.clear()
            case commands.Copy():
                self._view.copy(intent.count, with_names=intent.with_names)
            case commands.Urls():
                self._view.copy_urls()
            case commands.Edit():
                self._view.edit()
            case commands.Set():
                self._set(intent)
            case commands.Leave(asks=True):
                self._ask("Enter goodbye text (optional): ", self._on_goodbye)
            case commands.Leave():
                self._quit(intent.text)
            case _:
                assert_never(intent)

    def _set(self, intent: commands.Set) -> None:
        options = self._view.options
        if not intent.name:
            self._rows(
                [
                    f"{name} = {getattr(options, name) or '(none)'}: {meaning}"
                    for name, meaning in MEANINGS.items()
                ]
            )
            return
        allowed = VALUES.get(intent.name, ())
        if intent.name not in MEANINGS:
            raise UsageError(f"No setting {intent.name}. /set lists them.")
        if intent.value and allowed and intent.value not in allowed:
            raise UsageError(f"Usage: /set {intent.name} {'|'.join(allowed)}")
        if intent.value:
            setattr(options, intent.name, intent.value)
            self._view.apply_options()
        self._notice(f"{intent.name} = {getattr(options, intent.name) or '(none)'}")

    def _peer(self, name: str) -> Peer:
        peer = self._conversation.find(name)
        if peer is None:
            raise UsageError(f"Nobody here is called {name}. /who lists who is.")
        return peer

    def _verify(self, intent: commands.Verify) -> None:
        conversation = self._conversation
        if not intent.name:
            self._rows(sentences.own_fingerprint(conversation))
            return
        peer = self._peer(intent.name)
        number = safety_number(
            conversation.identity.public, conversation.username, peer.card.identity, peer.name
        )
        match intent.answer:
            case None:
                self._shown_numbers.add(number)
                self._rows(sentences.safety_number(conversation, peer, number))
            case False:
                self._notice(f"{peer.name} stays as it was. Do not tell {peer.name} any secret.")
            case True:
                if number not in self._shown_numbers:
                    raise UsageError(f"Compare the number first: /verify {peer.name}")
                conversation.verify(peer)
                self._notice(sentences.pinned(peer, Grade.VERIFIED))

    def _trust(self, peer: Peer) -> None:
        conversation = self._conversation
        if peer.standing is not Standing.CHANGED:
            raise UsageError(f"The key of {peer.name} has not changed. Nothing was done.")
        identity = peer.card.identity
        self._rows(sentences.changed_keys(conversation, peer))

        def confirmed(answer: str | None) -> None:
            # Whoever is here under that name by now must still be the one who was shown.
            now_here = conversation.find(peer.name)
            is_same = now_here is not None and now_here.card.identity == identity
            if now_here is None or not is_same or answer != peer.name:
                self._notice(f"Nothing was changed: {peer.name} is not trusted.")
                return
            conversation.trust(now_here)
            self._notice(sentences.pinned(now_here, Grade.TOFU))

        self._ask(f"Type {peer.name} again to trust the new key: ", confirmed)

    # --- Questions.

    def _ask(
        self, question: str, on_answer: Callable[[str | None], None], *, is_hidden: bool = False
    ) -> None:
        self._on_answer = on_answer
        shown = text.clean(question, multiline=False)
        self._view.ask(Prompt(shown, is_hidden=is_hidden))

    def _answered(self, answer: str | None) -> None:
        on_answer, self._on_answer = self._on_answer, None
        self._view.ask(None)
        if on_answer is not None:
            on_answer(answer)

    def _on_goodbye(self, answer: str | None) -> None:
        if answer is not None:
            self._quit(answer)

    # --- Dialling.

    def _dial(self) -> None:
        """Resolve and derive in a thread of its own: neither may hold up the keyboard."""
        self._retry_at_s = None
        self._attempt += 1
        password = config.DEFAULT_PASSWORD if self._password is None else self._password
        arguments = (self._attempt, self._uri.host, self._uri.port, password, self._psk)
        threading.Thread(target=self._prepare, args=arguments, name="dial", daemon=True).start()

    def _prepare(
        self, attempt: int, host: str, port: int, password: str, psk: bytes | None
    ) -> None:
        addresses: list[tuple[int, tuple[object, ...]]] = []
        problem = ""
        try:
            if psk is None:
                psk = ticket.derive_psk(password, self._ticket.key)
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [(family, address) for family, _, _, _, address in found]
        except (OSError, UnicodeError):
            problem = f"{host} is not known. Check the address, and your connection."
        self._prepared.put(_Prepared(attempt, psk or b"", addresses, problem))
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _on_prepared(self, prepared: _Prepared, now: float) -> None:
        if prepared.attempt != self._attempt or self._pipe is not None:
            return
        if prepared.psk:
            self._psk = prepared.psk
        if prepared.problem:
            self._failed(prepared.problem, now)
            return
        self._addresses = deque(prepared.addresses)
        self._unreachable = ""
        self._connect(now)

    def _connect(self, now: float) -> None:
        """Try the next address."""
        while self._addresses:
            family, address = self._addresses.popleft()
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as problem:
                self._unreachable = problem.strerror or str(problem)
                continue
            sock.setblocking(False)
            status = sock.connect_ex(address)
            if status in (0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR):
                self._sock, self._connect_by_s = sock, now + CONNECT_S
                return
            sock.close()
            self._unreachable = os.strerror(status)
        where = f"{self._uri.host}:{self._uri.port}"
        why = self._unreachable[:1].lower() + self._unreachable[1:]
        self._failed(f"Cannot reach {where}: {why}. Is the server running there?", now)

    def _on_connected(self, now: float) -> None:
        sock = self._sock
        if sock is None:
            return
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._forget_fd(sock.fileno())
        self._sock = None
        if status:
            sock.close()
            self._unreachable = os.strerror(status)
            self._connect(now)
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            link = ClientLink(
                self._url, self._ticket.key, self._psk or b"", self._conversation.hello(), now
            )
        except Unauthentic:
            sock.close()
            self._end("KEY is no key that a relay can have.", EXIT_USAGE)
            return
        self._pipe = Pipe(sock, link)

    # --- The relay.

    def _on_bytes(self, pipe: Pipe[ClientLink], data: bytes, now: float) -> None:
        for event in pipe.link.receive(data, now):
            match event:
                case Opened():
                    self._conversation.opened(event.handshake_hash, now)
                case Closed():
                    self._inbox_done(now)
                    self._on_closed(event, now)
                case Delivered():
                    self._inbox.append(event)
                case _:
                    assert_never(event)

    def _inbox_done(self, now: float) -> None:
        """Process what came before the end of a connection."""
        while self._inbox and self._pipe is not None:
            self._open_record(self._inbox.popleft(), now)

    def _open_records(self, now: float, stop_s: float) -> None:
        """Open what was received, one record at least, until then or until a key is pressed."""
        while self._inbox:
            self._open_record(self._inbox.popleft(), now)
            if time.monotonic() > stop_s or self._has_keys():
                return

    def _has_keys(self) -> bool:
        fd = self._input_fd
        return fd is not None and fd in self._masks and is_readable(fd)

    def _open_record(self, record: Delivered, now: float) -> None:
        try:
            events = self._conversation.receive(record, now)
        except RemoteProtocolError as problem:
            self._inbox.clear()
            if self._pipe is not None:
                self._on_closed(self._pipe.link.blame(str(problem), now, authentic=True), now)
            return
        except FileError as problem:
            # A pin that cannot be kept is no pin: better no conversation than one with anybody.
            self._end(str(problem), EXIT_FAILED)
            return
        for event in events:
            self._show(event)

    def _send(self, now: float) -> None:
        pipe = self._pipe
        if pipe is None:
            return
        if pipe.link.state is State.OPEN and not pipe.unsent_bytes:
            for record in self._conversation.outgoing(now):
                pipe.link.send(record)
        if not pipe.flush():
            self._on_closed(Closed(None, "connection lost"), now)
        elif pipe.is_closed:
            self._close_pipe()

    def _on_closed(self, closed: Closed, now: float) -> None:
        """Decide what the end of a connection means (PROTOCOL.md 3.3)."""
        log.info("closed: %s", closed.why)
        conversation = self._conversation
        if self.exit_code is not None or self._ended:
            return
        if conversation.phase is Phase.ENDED:
            self.exit_code = 0
            return
        refused = closed.refused
        asks = (
            refused is not None
            and refused.status == 401
            and not refused.authentic
            and self._can_ask()
        )
        if refused is not None and asks:
            self._ask_password()
        elif refused is not None and not self._may_retry(refused):
            self._refused(refused)
        elif not self._was_welcomed:
            self._end(self._no_welcome(refused), EXIT_REFUSED if refused else EXIT_UNREACHABLE)
        else:
            self._lost(refused, now)

    def _no_welcome(self, refused: Refused | None) -> str:
        if refused is not None:
            return sentences.refused(refused, self._conversation.username)
        where = f"{self._uri.host}:{self._uri.port}"
        return f"The connection to {where} was lost before it was a termchat server's."

    def _may_retry(self, refused: Refused) -> bool:
        """Tell whether a client that was welcomed goes on after this."""
        if refused.status == 410:
            return True
        return self._was_welcomed and (refused.status in TRANSIENT or not refused.authentic)

    def _refused(self, refused: Refused) -> None:
        sentence = sentences.refused(refused, self._conversation.username)
        self._end(sentence, EXIT_REFUSED)

    def _lost(self, refused: Refused | None, now: float) -> None:
        self._close_pipe()
        if refused is not None and refused.status == 410:
            for event in self._conversation.rejoin():
                self._show(event)
            self._dial()
            return
        self._conversation.lost()
        self._failed("", now, at_least_s=refused.retry_after_s if refused else 0)

    def _failed(self, problem: str, now: float, *, at_least_s: float = 0.0) -> None:
        """Note that there is no connection: the end for a stranger, a pause for a member."""
        if not self._was_welcomed:
            self._end(problem, EXIT_UNREACHABLE)
            return
        self._retry_at_s = self._retry.failed(now, at_least_s=at_least_s)
        if self._lost_at_s is None:
            self._lost_at_s = now
            wait = sentences.duration(self._retry_at_s - now + 0.5)
            self._notice(f"Connection lost. Retrying in {wait}.")

    def _can_ask(self) -> bool:
        return self._has_input and self._settings.password is None and is_terminal(0)

    def _ask_password(self) -> None:
        self._close_pipe()
        self._conversation.lost()
        if self._password is not None:
            self._notice("Wrong KEY or password.")

        def answered(answer: str | None) -> None:
            if answer is None:
                self._end("No password was given.", EXIT_REFUSED)
                return
            self._password, self._psk = answer, None
            self._dial()

        self._ask("Password: ", answered, is_hidden=True)

    def _close_pipe(self) -> None:
        """Let go of the socket; what the link still has to say is tried once."""
        self._inbox.clear()
        for sock in (self._pipe.sock if self._pipe else None, self._sock):
            if sock is not None:
                self._forget_fd(sock.fileno())
        if self._pipe is not None:
            self._pipe.flush()
            self._pipe.sock.close()
            self._pipe = None
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    # --- Time.

    def _tick(self, now: float) -> None:
        for outcome in self._view.tick(now):
            self._on_outcome(outcome, now)
        if self._pipe is not None:
            for closed in self._pipe.link.tick(now):
                self._on_closed(closed, now)
        if self._sock is not None and now >= self._connect_by_s:
            self._forget_fd(self._sock.fileno())
            self._sock.close()
            self._sock = None
            self._unreachable = "no answer"
            self._connect(now)
        if self._retry_at_s is not None and now >= self._retry_at_s:
            self._dial()
        self._leave_when_done(now)

    def _leave_when_done(self, now: float) -> None:
        """Say LEAVE once everything before it is in the log, or time is up."""
        if self._leave_by_s is None:
            return
        conversation = self._conversation
        if conversation.phase is Phase.LIVE and not conversation.waiting:
            conversation.leave()
            self._leave_by_s = now + LEAVE_S
        elif now >= self._leave_by_s:
            undelivered = conversation.waiting
            if undelivered and conversation.phase is not Phase.ENDED:
                self._end(f"{undelivered} lines were not delivered.", EXIT_FAILED)
            elif self.exit_code is None:
                self.exit_code = 0

    # --- Leaving.

    def _quit(self, goodbye: str) -> None:
        """Leave: the goodbye first if it can be said, then LEAVE, two seconds at most."""
        conversation = self._conversation
        if self._leave_by_s is not None or conversation.phase in (Phase.OFFLINE, Phase.JOINING):
            self.exit_code = 0
        elif conversation.phase is Phase.ENDED:
            self.exit_code = EXIT_REFUSED if self._ended else 0
        else:
            if goodbye.strip():
                conversation.say(goodbye)
            self._leave_by_s = time.monotonic() + LEAVE_S

    def _end(self, sentence: str, exit_code: int) -> None:
        """Stop for good. Who was welcomed on a screen may go on reading; everybody else is done."""
        self._conversation.end()
        self._close_pipe()
        self._ended = sentence
        if self._was_welcomed and self._has_input and not isinstance(self._view, Lines):
            self._notice(f"{sentence} /quit leaves.")
            return
        self.last_words = sentence
        self.exit_code = exit_code

    def _on_signal(self, signum: int) -> None:
        match signum:
            case signal.SIGINT if isinstance(self._view, Lines):
                self._say_disconnected()
                self.exit_code = EXIT_INTERRUPTED
            case signal.SIGINT | signal.SIGTERM:
                self._quit("")
            case signal.SIGQUIT:
                self.exit_code = 0
            case signal.SIGTSTP:
                self._act(Action.SUSPEND, time.monotonic())
            case signal.SIGHUP:
                # The terminal is gone: what can be said without waiting is said.
                if self._conversation.phase is Phase.LIVE and self._pipe is not None:
                    self._conversation.leave()
                    self._send(time.monotonic())
                self.exit_code = 0
            case signal.SIGCHLD:
                pass  # `tick` looks after the editor
            case _:
                self._view.resized()

    def _say_disconnected(self) -> None:
        self._view.plain(f"Disconnected to the `{self._url}` server.", _at_ms())
        if self._conversation.phase is Phase.LIVE and self._pipe is not None:
            self._conversation.leave()
            self._send(time.monotonic())

    # --- Showing.

    def _show(self, event: Event) -> None:
        view, conversation = self._view, self._conversation
        match event:
            case Joined():
                self._was_welcomed = True
                self._retry.succeeded()
                self._greet(event)
            case Back():
                self._retry.succeeded()
                away_s = time.monotonic() - (self._lost_at_s or time.monotonic())
                self._lost_at_s = None
                self._notice(sentences.back(event, away_s))
            case Came():
                self._moved(event.peer, sentences.came(event, conversation.members), event.at_ms)
                self._compare_name(event.peer)
            case Left():
                sentence = sentences.left(event, conversation.members)
                self._moved(event.peer, sentence, event.at_ms, is_coming=False)
            case Said():
                self._said(event)
            case Warned() if event.trouble in sentences.LOUD:
                view.warn(sentences.warned(event), event.at_ms)
            case Warned():
                view.notice(sentences.warned(event), event.at_ms)
            case Noticed():
                self._notice(f"The relay says: {event.text}")
            case Undelivered():
                self._rows(sentences.undelivered(event))
            case Gone():
                self._on_gone()
            case _:
                assert_never(event)

    def _compare_name(self, peer: Peer) -> None:
        """Tell a new name from one here that it looks like."""
        others = [other.name for other in self._conversation.peers.values() if other is not peer]
        row = text.look_alike(peer.name, [self._conversation.username, *others])
        if row is not None:
            self._look_alikes.add(peer.number)
            self._view.warn(row, _at_ms())

    def _moved(self, peer: Peer, sentence: str, at_ms: int, *, is_coming: bool = True) -> None:
        here = self._conversation.members
        identity = peer.card.identity
        self._view.moved(Presence(peer.name, identity, sentence, at_ms, is_coming, here))

    def _greet(self, joined: Joined) -> None:
        conversation = self._conversation
        self._lost_at_s = None
        rows = sentences.first_rows(joined, conversation)
        if isinstance(self._view, Lines):
            self._view.plain(f"Connected to `{self._url}` server.", _at_ms())
            self._view.plain(f"You are connected as `{conversation.username}`.", _at_ms())
            self._view.plain(f"Users Connected: {conversation.members}", _at_ms())
            rows = rows[1:-1]
        self._rows(rows)
        self._hint = sentences.HINT
        self._look_alikes.clear()
        for peer in joined.others:
            self._compare_name(peer)

    def _on_gone(self) -> None:
        if isinstance(self._view, Lines):
            self._view.plain(f"Disconnected to the `{self._url}` server.", _at_ms())
        if self._pipe is not None:
            self._pipe.link.close(time.monotonic())
        self.exit_code = 0

    def _said(self, said: Said) -> None:
        peer = said.peer
        self._hint = ""
        if self._leave_by_s is not None and not self._has_input:
            self._leave_by_s = time.monotonic() + EOF_S  # an echo came: there is progress
        if peer is None:
            own = self._conversation.username
            message = Message(
                own,
                b"",
                said.text,
                said.at_ms,
                is_own=True,
                is_direct=said.is_direct,
                line=said.line,
                to=said.to,
            )
        else:
            self._speakers = [peer.name, *(n for n in self._speakers if n != peer.name)][:256]
            message = Message(
                peer.name,
                peer.card.identity,
                said.text,
                said.at_ms,
                is_direct=said.is_direct,
                is_verified=peer.standing is Standing.VERIFIED,
                is_look_alike=peer.number in self._look_alikes,
            )
        self._view.said(message)

    def _notice(self, sentence: str) -> None:
        self._view.notice(sentence, _at_ms())

    def _rows(self, rows: list[str]) -> None:
        self._view.answer(rows, _at_ms())

    def _show_status(self, now: float) -> None:
        conversation = self._conversation
        changed = tuple(
            peer.name for peer in conversation.peers.values() if peer.standing is Standing.CHANGED
        )
        status = Status(
            names.room_for_user(conversation.room),
            conversation.username,
            conversation.members,
            self._state(now),
            conversation.waiting if conversation.phase is not Phase.LIVE else 0,
            changed,
            self._hint,
        )
        if status != self._last_status:
            self._last_status = status
            self._view.status(status)

    def _state(self, now: float) -> str:
        if self._ended:
            return f"ended: {self._ended}"
        match self._conversation.phase:
            case Phase.LIVE | Phase.ENDED:
                return ""
            case Phase.JOINING:
                return "joining"
            case Phase.CATCHING_UP:
                return "catching up"
            case Phase.OFFLINE if self._retry_at_s is not None:
                return f"offline, retry in {max(0, round(self._retry_at_s - now))} s"
            case Phase.OFFLINE:
                return "connecting"
            case _:
                assert_never(self._conversation.phase)

    def sources(self) -> Sources:
        """Return what Tab completes with."""
        here = sorted(peer.name for peer in self._conversation.peers.values())
        spoke = [name for name in self._speakers if name in here]
        return Sources(
            [*spoke, *(name for name in here if name not in spoke)],
            {
                "/help": (("keys", *(c.name for c in commands.COMMANDS)),),
                "/who": (),
                "/me": (Argument.TEXT,),
                "/find": (Argument.TEXT,),
                "/unread": (),
                "/copy": (("-t",),),
                "/url": (),
                "/edit": (),
                "/clear": (),
                "/set": (tuple(MEANINGS), ("on", "off", "all")),
                "/verify": (Argument.NAME, ("yes", "no")),
                "/trust": (Argument.NAME,),
                "/quit": (Argument.TEXT,),
            },
            _paths,
        )


def _paths(prefix: str) -> list[str]:
    """Return the paths that begin so, directories with a slash."""
    directory, _, start = prefix.rpartition("/")
    shown = f"{directory}/" if "/" in prefix else ""
    try:
        entries = sorted(os.scandir(Path(shown or ".").expanduser()), key=lambda e: e.name)
    except OSError:
        return []
    return [
        f"{shown}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries[:10_000]
        if entry.name.startswith(start)
    ]


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


# --------------------------------------------------------------------------------------------- main


def main(argv: list[str]) -> int:
    """Join a room; return the exit code (UX.md 8)."""
    try:
        settings = config.load_client(argv, os.environ)
        if not settings.ticket:
            raise UsageError("There is no KEY. Paste what the server printed: client.py KEY")
        invitation = ticket.parse(settings.ticket)
        url = settings.url or _url(invitation)
        _check_password(settings.password or "")
        if parse_url(url).secure:
            raise UsageError("wss:// addresses are not supported yet. Use ws://.")
        identity, pins = _home(settings)
    except TermchatError as problem:
        _say(str(problem))
        return EXIT_USAGE if isinstance(problem, UsageError) else EXIT_FAILED
    conversation = Conversation(
        key=invitation.key,
        room=settings.room,
        username=settings.username,
        identity=identity,
        secret=invitation.secret,
        pins=pins,
        today=datetime.datetime.now().astimezone().date().isoformat(),
    )
    view = _view(settings)
    client = Client(settings, invitation, url, conversation, view)
    view.sources = client.sources
    code = client.run()
    if client.last_words:
        _say(client.last_words)
    return code


def _view(settings: config.ClientConfig) -> View:
    """Choose the view; why a screen cannot be had is told in one sentence."""
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


def _check_password(password: str) -> None:
    """Check that a password from the command line is text, before a thread would stumble over it.

    Raises:
        UsageError: if it is not.
    """
    try:
        password.encode()
    except UnicodeEncodeError:
        raise UsageError("The password is not valid text.") from None


def _url(invitation: ticket.Ticket) -> str:
    host = invitation.host or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return f"ws://{shown}:{invitation.port or config.DEFAULT_PORT}/"


def _home(settings: config.ClientConfig) -> tuple[Identity, Pins]:
    """Load who we are and whom we know.

    Raises:
        FileError: if a file cannot be used.
    """
    if settings.ephemeral:
        return Identity.generate(), Pins(None)
    home = settings.home or config.default_home(os.environ)
    files.make_private_dir(home)
    return load_identity(home / "identity"), Pins(home / "known_peers")


def _say(sentence: str) -> None:
    """Write a sentence on standard error, if there is one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text.clean(sentence) + "\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
