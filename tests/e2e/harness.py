"""Real processes, real pseudo-terminals, real sockets on loopback; one loop reads them all.

A test waits for a condition and never for time: `House.until` turns the loop until it holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import selectors
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from common.crypto import ticket
from common.crypto.identity import Identity
from common.member.conversation import Conversation, Phase
from common.member.events import Back, Joined, Said
from common.member.passwords import Passwords
from common.member.trust import Pins
from common.member.uplink import Happened, Uplink, Verdict, address_of
from common.wire.records import Sent
from tests.e2e.terminal import Terminal, unknown

ROOT = Path(__file__).parent.parent.parent
SERVER = str(ROOT / "server.py")
CLIENT = str(ROOT / "client.py")
SHELL = str(Path(__file__).with_name("shell.py"))
WAIT_S = 20.0
TURN_S = 0.02
READ_BYTES = 64 * 1024


class _Inmate(Protocol):
    def close(self) -> None: ...


class House:
    """Everything that one test starts; nothing of it outlives the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._selector = selectors.DefaultSelector()
        self._inmates: list[_Inmate] = []
        self.relays: list[Relay] = []

    # --- The loop.

    def watch(self, fd: int, on_readable: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, on_readable)

    def forget(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def turn(self, wait_s: float = TURN_S) -> None:
        for key, _ in self._selector.select(wait_s):
            if key.fd in self._selector.get_map():
                key.data()
        for inmate in self._inmates:
            if isinstance(inmate, Bot):
                inmate.turn()

    def until(self, holds: Callable[[], object], what: Callable[[], str] = lambda: "") -> None:
        end_s = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < end_s, f"Waited {WAIT_S} s in vain. {what()}"
            self.turn()

    def close(self) -> None:
        problems = []
        for inmate in reversed(self._inmates):
            try:
                inmate.close()
            except AssertionError as problem:
                problems.append(str(problem))
        self._selector.close()
        assert not problems, "\n".join(problems)

    def admit(self, inmate: _Inmate) -> None:
        self._inmates.append(inmate)

    def environment(self, more: dict[str, str | None] | None = None) -> dict[str, str]:
        clean: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        return {name: value for name, value in (clean | (more or {})).items() if value is not None}

    def patched(self, code: str) -> dict[str, str | None]:
        """Return an environment in which every Python begins with this: another machine."""
        site = self.path / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": str(site)}

    # --- Who lives here.

    def relay(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        env: dict[str, str | None] | None = None,
    ) -> Relay:
        relay = Relay(self, arguments, env, stdin)
        self.relays.append(relay)
        relay.wait_for("Join with:")
        return relay

    def member(self, relay: Relay | str, name: str, *more: str) -> list[str]:
        """Return the command line of a client with a home of its own."""
        where = relay if isinstance(relay, str) else relay.ticket
        home = str(self.path / f"home-{name}")
        return [sys.executable, CLIENT, where, "--username", name, "--home", home, *more]

    def screen(
        self,
        relay: Relay | str,
        name: str,
        *more: str,
        rows: int = 24,
        columns: int = 80,
        env: dict[str, str | None] | None = None,
    ) -> Screen:
        return Screen(self, self.member(relay, name, *more), rows, columns, env)

    def lines(
        self,
        relay: Relay | str,
        name: str,
        *more: str,
        stdin: int = subprocess.PIPE,
        homeless: bool = False,
        env: dict[str, str | None] | None = None,
    ) -> Lines:
        command = self.member(relay, name, "--plain", *more)
        if homeless:
            at = command.index("--home")
            del command[at : at + 2]
        return Lines(self, command, stdin, env)

    def bot(self, relay: Relay, name: str) -> Bot:
        return Bot(self, relay, name).join()

    def listener(self) -> socket.socket:
        """Return a listening socket of something that is no relay."""
        sock = socket.create_server(("127.0.0.1", 0))
        sock.settimeout(WAIT_S)
        return sock

    def proxy(self, relay: Relay) -> Proxy:
        return self.proxy_to(relay.port)

    def proxy_to(self, port: int) -> Proxy:
        return Proxy(self, port)


class Program:
    """A process whose standard output and standard error are pipes."""

    def __init__(
        self,
        house: House,
        command: Sequence[str],
        stdin: int = subprocess.DEVNULL,
        env: dict[str, str | None] | None = None,
    ) -> None:
        self._house = house
        self.out, self.err = bytearray(), bytearray()
        self._process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=house.environment(env),
            cwd=house.path,
            start_new_session=True,
            bufsize=0,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._fds = {self._process.stdout.fileno(): self.out}
        self._fds[self._process.stderr.fileno()] = self.err
        self.read_on()
        house.admit(self)

    def _read(self, fd: int) -> None:
        data = os.read(fd, READ_BYTES)
        self._fds[fd] += data
        if not data:
            self._house.forget(fd)
            del self._fds[fd]

    def stop_reading(self) -> None:
        """Be a console that does not read."""
        for fd in self._fds:
            self._house.forget(fd)

    def read_on(self) -> None:
        for fd in self._fds:
            self._house.watch(fd, lambda fd=fd: self._read(fd))  # type: ignore[misc]

    def close_output(self) -> None:
        """Be a reader that has ended."""
        self.stop_reading()
        self._fds.clear()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    @property
    def rows(self) -> list[str]:
        return self.out.decode(errors="backslashreplace").splitlines()

    @property
    def errors(self) -> list[str]:
        return self.err.decode(errors="backslashreplace").splitlines()

    def write(self, data: bytes | str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data.encode() if isinstance(data, str) else data)

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait_for(self, content: str, count: int = 1) -> None:
        """Wait until so many rows of its output hold this."""
        self._house.until(
            lambda: sum(content in row for row in self.rows) >= count,
            lambda: f"No {content!r} in {self.rows[-40:]}, {self.errors[-10:]}",
        )

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def ended(self) -> int:
        """Wait for its end and all of its output, and return the exit code."""
        self._house.until(
            lambda: not self.is_running and not self._fds,
            lambda: f"{self.pid} goes on: {self.rows[-40:]}, {self.errors[-10:]}",
        )
        return self._process.returncode

    def close(self) -> None:
        if self._process.poll() is None:
            # A shell's children too: the session is its own.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(WAIT_S)
        self.stop_reading()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        # One bell or escape from a stranger is one too many, in any pipe, by any test.
        for data in (self.out, self.err):
            found = unknown(bytes(data), is_plain=True)
            assert not found, f"{self._process.args!r} wrote {found[:5]}"
        assert b"Traceback" not in self.err, self.err.decode(errors="replace")


class Relay(Program):
    """A relay on a free port."""

    def __init__(
        self,
        house: House,
        arguments: Sequence[str],
        env: dict[str, str | None] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        port = () if {"-p", "--port"}.intersection(arguments) else ("-p", "0")
        super().__init__(house, [sys.executable, SERVER, *port, *arguments], stdin, env)

    def order(self, line: str) -> None:
        """Type a line at the console, which is a pipe."""
        self.write(f"{line}\n")

    @property
    def key(self) -> str:
        return self._find(r"^Key: (\S{44})$")

    @property
    def port(self) -> int:
        return int(self._find(r"^Server starts at `ws://.*:(\d+)/`\.$"))

    @property
    def url(self) -> str:
        return f"ws://localhost:{self.port}/"

    @property
    def ticket(self) -> str:
        return f"{self.key}@localhost:{self.port}"

    def ticket_at(self, host: str) -> str:
        return f"{self.key}@{host}:{self.port}"

    def _find(self, pattern: str) -> str:
        match = re.search(pattern, self.out.decode(), re.MULTILINE)
        assert match is not None, self.rows
        return match[1]

    def connect(self) -> socket.socket:
        """Return a connection of a stranger, who says nothing yet."""
        stranger = Stranger(self._house, self.port)
        return stranger.sock

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.signal(signum)
        return self.ended()


class Lines(Program):
    """A client in line mode, on pipes."""

    def __init__(
        self,
        house: House,
        command: Sequence[str],
        stdin: int = subprocess.PIPE,
        env: dict[str, str | None] | None = None,
    ) -> None:
        super().__init__(house, command, stdin, env)

    def say(self, content: str) -> None:
        self.write(content + "\n")


class Screen:
    """A client on a pseudo-terminal, run by a shell."""

    def __init__(
        self,
        house: House,
        command: Sequence[str],
        rows: int = 24,
        columns: int = 80,
        env: dict[str, str | None] | None = None,
    ) -> None:
        self._house = house
        self.is_plain = "--plain" in command
        """Whether SGR is the only sequence it may send."""
        self.may_ring = False
        """Whether a bell is what the test wants, and not the work of a stranger."""
        self.expects_traceback = False
        self.terminal = Terminal(rows, columns)
        self.told: list[dict[str, object]] = []
        self._master, slave = os.openpty()
        os.set_blocking(self._master, False)
        _set_size(slave, rows, columns)
        status, status_in = os.pipe()
        control_out, self._control = os.pipe()
        self._status = status
        self._status_bytes = b""
        self._shell = subprocess.Popen(
            [sys.executable, "-IS", SHELL, str(status_in), str(control_out), *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            pass_fds=(status_in, control_out),
            env=house.environment(env),
            cwd=house.path,
            start_new_session=True,
        )
        for fd in (slave, status_in, control_out):
            os.close(fd)
        house.watch(self._master, self._read)
        house.watch(status, self._read_status)
        self._is_master_open = self._is_status_open = True
        house.admit(self)

    # --- What comes.

    def _read(self) -> None:
        try:
            data = os.read(self._master, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # Linux: nobody holds the other end any more
            data = b""
        if data:
            self.terminal.feed(data)
        else:
            self.hang_up()

    def _read_status(self) -> None:
        data = os.read(self._status, READ_BYTES)
        *lines, self._status_bytes = (self._status_bytes + data).split(b"\n")
        self.told += [json.loads(line) for line in lines]
        if not data:
            self._house.forget(self._status)
            self._is_status_open = False

    def stop_reading(self) -> None:
        """Be a terminal that does not read."""
        self._house.forget(self._master)

    def read_on(self) -> None:
        self._house.watch(self._master, self._read)

    def hang_up(self) -> None:
        """Take the terminal away."""
        if self._is_master_open:
            self._is_master_open = False
            self._house.forget(self._master)
            os.close(self._master)

    @property
    def raw(self) -> bytes:
        return bytes(self.terminal.raw)

    @property
    def display(self) -> list[str]:
        return self.terminal.rows

    @property
    def status_row(self) -> str:
        """The last row but the input's, of which there is one unless something long was typed."""
        return self.display[-2]

    @property
    def input_row(self) -> str:
        return self.display[-1]

    @property
    def pid(self) -> int:
        """The client's."""
        self._house.until(lambda: self.told)
        pid = self.told[0]["pid"]
        assert isinstance(pid, int)
        return pid

    def wait_for(self, content: str, *, gone: bool = False) -> None:
        """Wait until a row of the screen shows this, or none does."""
        self._house.until(
            lambda: any(content in row for row in self.display) is not gone,
            lambda: f"{'Still' if gone else 'No'} {content!r} on the screen:\n{self.drawn}",
        )

    def wait_for_raw(self, content: bytes) -> None:
        self._house.until(lambda: content in self.raw, lambda: f"No {content!r} in {self.raw!r}")

    @property
    def drawn(self) -> str:
        return "\n".join(f"|{row}" for row in self.display if row)

    # --- What is done to it.

    def type(self, keys: str | bytes) -> None:
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    def say(self, content: str) -> None:
        """Type a line, Enter once it is shown, and wait for it to go: two would be a paste."""
        self.type(content)
        if self.is_plain:
            self.type("\r")
            return
        tail = content[-8:].rstrip()
        self._house.until(lambda: self.input_row.endswith(tail), lambda: self.drawn)
        self.type("\r")
        self._house.until(
            lambda: not tail or not self.input_row.endswith(tail) or self.exit_code is not None,
            lambda: self.drawn,
        )

    def resize(self, rows: int, columns: int) -> None:
        self.terminal.resize(rows, columns)
        _set_size(self._master, rows, columns)

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def suspend(self) -> None:
        """Type Ctrl-Z, and wait until the client has stopped."""
        count = len(self.told)
        self.type(b"\x1a")
        self._house.until(lambda: len(self.told) > count, lambda: self.drawn)
        assert self.told[-1].get("stopped") == signal.SIGTSTP, self.told
        # What it wrote last may come behind the news that it has stopped.
        self._house.until(
            lambda: self.raw.rfind(b"\x1b[?2004l") > self.raw.rfind(b"\x1b[?2004h"),
            lambda: repr(self.raw[-200:]),
        )

    def foreground(self) -> None:
        """Type `fg` in the shell."""
        os.write(self._control, b"fg\n")

    # --- How it ends.

    @property
    def exit_code(self) -> int | None:
        code = self.told[-1].get("exit") if self.told else None
        assert code is None or isinstance(code, int)
        return code

    @property
    def shown_ticket(self) -> str:
        """What a relay here says to join with, which may be wider than its terminal."""
        found = re.search(rb"client\.py ([\w@.:-]+)", self.raw)
        assert found is not None, self.drawn
        return found[1].decode()

    @property
    def modes(self) -> tuple[object, object]:
        """The terminal's modes before the client, and as it left them."""
        return self.told[0]["modes"], self.told[-1]["modes"]

    def ended(self) -> int:
        """Wait for its end and all that it wrote, and return the exit code."""
        self._house.until(
            lambda: self.exit_code is not None and not self._is_master_open,
            lambda: f"{self.told} goes on:\n{self.drawn}",
        )
        assert self.exit_code is not None
        return self.exit_code

    def close(self) -> None:
        if self.exit_code is None and self.told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        os.close(self._control)
        self.hang_up()
        try:
            self._shell.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._shell.kill()
            self._shell.wait(WAIT_S)
        if self._is_status_open:
            self._house.forget(self._status)
        os.close(self._status)
        raw = self.raw.replace(b"\x07", b"") if self.may_ring else self.raw
        found = unknown(raw, is_plain=self.is_plain)
        assert not found, f"A terminal was sent {found[:5]}"
        assert self.expects_traceback or b"Traceback" not in self.raw, self.raw.decode()


def _set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


# ----------------------------------------------------------------------- Those who are no client.py


class Stranger:
    """A bare connection to a relay."""

    def __init__(self, house: House, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        house.admit(self)

    def close(self) -> None:
        self.sock.close()


class Bot:
    """A member without a client: it says what no client would."""

    def __init__(self, house: House, relay: Relay, name: str, password: str = "top_secret") -> None:
        self._house = house
        invitation = ticket.parse(relay.key)
        conversation = Conversation(
            key=invitation.key,
            room="",
            username=name,
            identity=Identity.generate(),
            secret=None,
            pins=Pins(None),
            today="2026-11-21",
            at_ms=lambda: 0,
        )
        passwords = Passwords(password, lambda text: ticket.derive_psk(text, invitation.key))
        passwords.psk = passwords.stretch()
        address = address_of(relay.url, invitation)
        self.uplink = Uplink(conversation, address, passwords, lambda: 0.5)
        self.events: list[Happened] = []
        sock = socket.create_connection(("127.0.0.1", relay.port), timeout=WAIT_S)
        sock.setblocking(False)
        self.uplink.attach(sock, time.monotonic())
        self._fd = sock.fileno()
        house.watch(self._fd, self._read)
        house.admit(self)

    @property
    def conversation(self) -> Conversation:
        return self.uplink.conversation

    @property
    def verdict(self) -> Verdict | None:
        """What the end of its connection means."""
        found = [event for event in self.events if isinstance(event, Verdict)]
        return found[0] if found else None

    def join(self) -> Bot:
        self._house.until(lambda: self.conversation.phase is Phase.LIVE, lambda: repr(self.events))
        return self

    def say(self, content: str) -> None:
        self.conversation.say(content)
        self.turn()

    def leave(self) -> None:
        self.conversation.leave()
        self.turn()

    @property
    def heard(self) -> list[str]:
        """What others said."""
        return [event.text for event in self.events if isinstance(event, Said) and event.peer]

    def _read(self) -> None:
        now = time.monotonic()
        self.uplink.read(now, reads_together=False)
        while self.uplink.open_record(now):
            pass
        self.uplink.open_held()
        self._take()

    def _take(self) -> None:
        while (event := self.uplink.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, Joined | Back):
                self.uplink.settled()
        if self.verdict is not None:
            self._house.forget(self._fd)

    def stop_listening(self) -> None:
        """Hear nothing more."""
        self._house.forget(self._fd)

    def send(self, record: Sent) -> None:
        """Send a record that no conversation would."""
        pipe = self.uplink._pipe
        assert pipe is not None
        pipe.link.send(record)
        pipe.flush()

    def turn(self) -> None:
        """Send what waits; a conversation that has ended still has its LEAVE to send."""
        self.uplink.send(time.monotonic())
        self._take()

    def close(self) -> None:
        self._house.forget(self._fd)
        self.uplink.close()


class Proxy:
    """Stands between clients and a relay, and keeps every byte that passes."""

    def __init__(self, house: House, port: int) -> None:
        self._house = house
        self._relay_port = port
        self.seen = bytearray()
        self.up, self.down = bytearray(), bytearray()
        """What clients said, and what they were told."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._socks = [self._listener]
        house.watch(self._listener.fileno(), self._accept)
        house.admit(self)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            relay = socket.create_connection(("127.0.0.1", self._relay_port), timeout=WAIT_S)
        except ConnectionRefusedError:
            client.close()  # the relay is down
            return
        self._socks += [client, relay]
        for source, target, kept in ((client, relay, self.up), (relay, client, self.down)):
            self._house.watch(
                source.fileno(),
                lambda source=source, target=target, kept=kept: self._pass(source, target, kept),  # type: ignore[misc]
            )

    def _pass(self, source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        try:
            data = source.recv(READ_BYTES)
        except ConnectionError:
            data = b""
        self.seen += data
        kept += data
        with contextlib.suppress(OSError):
            if data:
                target.sendall(data)
            else:
                self._house.forget(source.fileno())
                target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End every connection."""
        for sock in self._socks[1:]:
            self._house.forget(sock.fileno())
            sock.close()
        del self._socks[1:]

    def close(self) -> None:
        self.cut()
        self._house.forget(self._listener.fileno())
        self._listener.close()
