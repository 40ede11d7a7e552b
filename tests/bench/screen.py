"""Measure every row of UX.md 11 for our client, beside irssi and WeeChat where they are installed.

Run `.venv/bin/python tests/bench/screen.py` (ten minutes), or with `--short` (four). Each client
runs on a pseudo-terminal of 80x24 that this process owns; a second process is what it talks to: a
small IRC server, or the real relay with one real member, whose rates are lifted. A key is a capital
that no message holds and no sequence ends in: the clock runs from its write until the read that
brings it back. CPU is the scheduler's own count. Compare ratios: figures depend on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import random
import re
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
COLUMNS, ROWS = 80, 24
KEYS = b"QYVU"
CLEAR = b"\x15"
PAGE_UP, PAGE_DOWN = b"\x1b[5~", b"\x1b[6~"
PASTE_BYTES = 64 * 1024
CATCH_UP = 4096
STALL_S, STALL_RATE = 6.0, 3000
BACKLOG_BYTES = 64 * 1024
WINDOW = 64
WAIT_S = 60.0
now = time.perf_counter

_WORDS = (
    "about after again along because before branch build call change check clean close code come"
    " could deploy does done down during each early even every few find first fix from give good"
    " green half have here into just keep kind large last later left like little long look made"
    " merge more most move much need never next night note number often only open other over red"
    " release right same send server should small some still stop such table take test than that"
)
_chance = random.Random(7)
_BODIES = [" ".join(_chance.choices(_WORDS.split(), k=_chance.randint(3, 17))) for _ in range(1999)]


def words(number: int) -> str:
    return f"{_BODIES[number % len(_BODIES)]} n{number}"


# ------------------------------------------------------------------------------- What they talk to


class Talker(Protocol):
    """One end that says things; in the load process."""

    address: str

    def fds(self) -> list[int]: ...

    def turn(self) -> None: ...

    def is_ready(self) -> bool:
        """Whether it takes another message now."""

    def say(self, content: str) -> None: ...

    def is_done(self) -> bool:
        """Whether all it was given has left."""

    def drop(self) -> None:
        """Lose the connection of the client that is measured."""


class Irc:
    """Just enough IRC for one client."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = str(self._listener.getsockname()[1])
        self._client: socket.socket | None = None
        self._in = self._out = b""
        self._nick = "me"

    def fds(self) -> list[int]:
        return [(self._client or self._listener).fileno()]

    def turn(self) -> None:
        client = self._client
        if client is None:
            if select.select([self._listener], [], [], 0)[0]:
                self._client, _ = self._listener.accept()
                self._client.setblocking(False)
                self._in = self._out = b""
            return
        try:
            data = client.recv(65536)
        except BlockingIOError:
            data = b"\n"
        except OSError:
            data = b""
        if not data:
            self.drop()
            return
        *lines, self._in = (self._in + data).split(b"\n")
        for line in lines:
            self._answer(line.decode(errors="replace").split())
        self._flush()

    def _answer(self, line: Sequence[str]) -> None:
        match line:
            case ["NICK", nick]:
                self._nick = nick.lstrip(":")
            case ["USER", *_]:
                for code in ("001", "002", "003", "376"):
                    self._put(f":irc.x {code} {self._nick} :hi")
            case ["JOIN", *_]:
                self._put(f":{self._nick}!u@h JOIN #bench")
                self._put(f":irc.x 353 {self._nick} = #bench :{self._nick} robin")
                self._put(f":irc.x 366 {self._nick} #bench :end")
            case ["PING", *what]:
                self._put(f":irc.x PONG irc.x :{' '.join(what)}")
            case ["CAP", "LS", *_]:
                self._put(":irc.x CAP * LS :")
            case ["MODE" | "WHO", *_]:
                self._put(f":irc.x 315 {self._nick} #bench :end")
            case _:
                pass

    def _put(self, line: str) -> None:
        self._out += line.encode() + b"\r\n"

    def _flush(self) -> None:
        with contextlib.suppress(OSError):
            while self._out and self._client is not None:
                self._out = self._out[self._client.send(self._out) :]

    def is_ready(self) -> bool:
        return len(self._out) < BACKLOG_BYTES

    def say(self, content: str) -> None:
        self._put(f":robin!u@h PRIVMSG #bench :{content}")
        self._flush()

    def is_done(self) -> bool:
        return not self._out

    def drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


class Room:
    """The real relay in threads of its own, and a real member that talks."""

    def __init__(self) -> None:
        import server
        from common.config import ServerConfig
        from common.crypto import ticket
        from common.crypto.identity import Identity, RelayKey
        from common.member import outbox
        from common.member.conversation import Conversation, Phase
        from common.member.passwords import Passwords
        from common.member.trust import Pins
        from common.member.uplink import Uplink, address_of

        vars(outbox).update(MESSAGES_S=1e9, MESSAGES_BURST=1e9)
        key = RelayKey.generate()
        psk = ticket.derive_psk("top_secret", key.public)
        listeners = server.listen(("localhost",), 0)
        port = listeners[0].getsockname()[1]
        self._server = server.Server(
            ServerConfig(threads=1, rate=1e9, burst=1e9, inbound_bytes_s=1e9),
            key,
            psk,
            listeners,
            lambda _: None,
            lambda: None,
        )
        self._server.start()
        self.address = f"{ticket.key_text(key.public)}@localhost:{port}"
        self._talk = Conversation(
            key=key.public,
            room="",
            username="robin",
            identity=Identity.generate(),
            secret=None,
            pins=Pins(None),
            today="2026-11-21",
            at_ms=lambda: 0,
        )
        self._sock = socket.create_connection(("localhost", port))
        self._sock.setblocking(False)
        passwords = Passwords("", lambda _: psk)
        passwords.psk = psk
        address = address_of(f"ws://localhost:{port}/", ticket.Ticket(key.public))
        self._uplink = Uplink(self._talk, address, passwords, lambda: 0.5)
        self._uplink.attach(self._sock, time.monotonic())
        while self._talk.phase is not Phase.LIVE:
            self.turn()
            select.select([self._sock], [], [], 0.1)

    def fds(self) -> list[int]:
        return [self._sock.fileno()]

    def turn(self) -> None:
        at_s = time.monotonic()
        self._uplink.read(at_s, reads_together=False)
        while self._uplink.open_record(at_s) is not None:
            pass
        self._uplink.open_held()
        self._send(at_s)

    def _send(self, at_s: float) -> None:
        self._uplink.tick(at_s)
        self._uplink.send(at_s)
        while self._uplink.next_event() is not None:
            pass

    def is_ready(self) -> bool:
        return self._talk.waiting < WINDOW

    def say(self, content: str) -> None:
        self._talk.say(content)
        self._send(time.monotonic())

    def is_done(self) -> bool:
        return not self._talk.waiting

    def drop(self) -> None:
        for loop in self._server.loops:
            for conn in list(loop.conns):
                if conn.seat is not None and conn.seat.username != "robin":
                    conn.pipe.sock.shutdown(socket.SHUT_RDWR)


def load(talker: Talker) -> None:
    """Obey `say COUNT RATE` (0: as fast as it goes), `stop` and `drop`, each answered by `done`."""
    print(talker.address, flush=True)
    number = left = 0
    rate = began = 0.0
    sent = 0
    is_busy = False
    while True:
        may_say = left > 0 and talker.is_ready()
        next_s = max(0.0, began + (sent + 1) / rate - now()) if rate else 0.0
        wait_s = next_s if may_say else 0.001 if is_busy else 0.5
        readable, _, _ = select.select([0, *talker.fds()], [], [], wait_s)
        if 0 in readable:
            match os.read(0, 256).decode().split():
                case ["say", count, speed]:
                    left, rate, began, sent = int(count), float(speed), now(), 0
                    is_busy = True
                case ["stop"]:
                    left = 0
                case ["drop"]:
                    talker.drop()
                    print("done", flush=True)
                case _:
                    return
        talker.turn()
        due = min(left, int((now() - began) * rate) - sent if rate else WINDOW)
        while due > 0 and talker.is_ready():
            talker.say(words(number))
            number, sent, left, due = number + 1, sent + 1, left - 1, due - 1
        if is_busy and not left and talker.is_done():
            is_busy = False
            print("done", flush=True)


class Load:
    """The load process, as its parent sees it."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--load", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.address = self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")

    def is_done(self) -> bool:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], 0)[0]:
            return False
        assert self._read() == "done"
        return True

    def close(self) -> None:
        self.tell("end")
        self._process.wait(WAIT_S)


# ------------------------------------------------------------------------------------ The terminal


class Tty:
    """A program on a pseudo-terminal."""

    def __init__(self, argv: Sequence[str], home: Path) -> None:
        self._master, slave = os.openpty()
        self.resize(COLUMNS, ROWS)
        kept = {name: os.environ[name] for name in ("PATH", "USER") if name in os.environ}
        self.began = now()
        self._process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**kept, "HOME": str(home), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.pid = self._process.pid
        self.total_bytes = 0
        self.last = self.began
        self.seen = bytearray()

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def step(self, wait_s: float) -> bytes:
        """Return what it wrote, at latest after so long."""
        if not select.select([self._master], [], [], max(0.0, wait_s))[0]:
            return b""
        data = os.read(self._master, 65536)
        self.last = now()
        self.total_bytes += len(data)
        self.seen = (self.seen + data)[-400_000:]
        return data

    def until(self, holds: Callable[[], object], wait_s: float = WAIT_S) -> None:
        end = now() + wait_s
        while not holds():
            assert now() < end, bytes(self.seen[-2000:])
            self.step(0.002)

    def settle(self, quiet_s: float = 0.3, wait_s: float = 5.0) -> None:
        end = now() + wait_s
        while now() < end and self.step(quiet_s):
            pass

    def send(self, data: bytes) -> None:
        while data:
            _, writable, _ = select.select([], [self._master], [], 0.001)
            if writable:
                with contextlib.suppress(BlockingIOError):
                    data = data[os.write(self._master, data) :]
            self.step(0)

    def cpu_s(self) -> float:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def _status(self, field: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE)
        assert found is not None
        return int(found[1])

    def rss_mb(self) -> float:
        return self._status("VmRSS") / 1024

    def wakeups(self) -> int:
        return self._status("voluntary_ctxt_switches")

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        end = now() + 3
        while self._process.poll() is None and now() < end:
            with contextlib.suppress(OSError):
                self.step(0.02)
        self._process.kill()
        self._process.wait()
        os.close(self._master)


@dataclass(frozen=True)
class Subject:
    """A client to measure: its command line, and what its screen says once it has joined."""

    kind: str
    argv: Callable[[Path, str], list[str]]
    joined: bytes


def _irssi(home: Path, address: str) -> list[str]:
    (home / "config").write_text(
        f'servers = ( {{ address = "127.0.0.1"; chatnet = "b"; port = "{address}";'
        ' autoconnect = "yes"; } );\nchatnets = { b = { type = "IRC"; nick = "me"; }; };\n'
        'channels = ( { name = "#bench"; chatnet = "b"; autojoin = "yes"; } );\n'
        'settings = { core = { real_name = "me"; user_name = "me"; nick = "me"; };\n'
        ' "fe-text" = { scrollback_lines = "200000"; scrollback_time = "7day"; };\n'
        ' "fe-common/core" = { autolog = "no"; term_charset = "UTF-8"; }; };\n'
    )
    (home / "startup").write_text("set window_auto_change on\n")
    return ["irssi", f"--home={home}"]


def _weechat(home: Path, address: str) -> list[str]:
    (home / "irc.conf").write_text(
        f'[server]\nb.addresses = "127.0.0.1/{address}"\nb.nicks = "me"\nb.username = "me"\n'
        'b.ssl = off\nb.autoconnect = on\nb.autojoin = "#bench"\n'
    )
    (home / "weechat.conf").write_text("[history]\nmax_buffer_lines_number = 0\n")
    (home / "logger.conf").write_text("[file]\nauto_log = off\n")
    return ["weechat-curses", "-d", str(home)]


def _ours(home: Path, address: str) -> list[str]:
    client = str(ROOT / "client.py")
    return [sys.executable, client, address, "--username", "me", "--home", str(home / "state")]


SUBJECTS = {
    "irssi": Subject("irc", _irssi, b"[#bench"),
    "weechat": Subject("irc", _weechat, b"robin"),
    "ours": Subject("room", _ours, b"2 here"),
}


# ------------------------------------------------------------------------------------ The measures


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    starts: int
    keys: int
    load_s: float
    quiet_s: float
    kept: int
    bursts: int


LONG = Size(starts=9, keys=250, load_s=10.0, quiet_s=10.0, kept=70_000, bursts=21)
SHORT = Size(starts=3, keys=60, load_s=3.0, quiet_s=3.0, kept=5_000, bursts=6)

Figures = dict[str, float]


def stolen_s() -> float:
    """Return the processor time that a host has given to others; 0 where none is told (proc(5))."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Bench:
    """One client, from its start to the last measure."""

    def __init__(self, subject: Subject, size: Size) -> None:
        self._subject, self._size = subject, size
        self._home = Path(tempfile.mkdtemp(prefix="screen-bench-"))
        self._load = Load(subject.kind)
        self.figures: Figures = {}
        self._tty = self._start()

    def close(self) -> None:
        self._tty.close()
        self._load.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def run(self) -> None:
        tty, size = self._tty, self._size
        tty.settle(1.0)
        self.figures["idle mb"] = tty.rss_mb()
        self._quiet()
        self._echo("idle", self._press(size.keys, lambda: False, size.load_s / size.keys))
        for rate in (200, 2000):
            self._loaded(rate)
        before = tty.rss_mb()
        self._say(size.kept, 0)
        self.figures["mb per 1000"] = (tty.rss_mb() - before) / size.kept * 1000
        pages = [lambda: tty.send(PAGE_UP)] * size.bursts
        self.figures["page ms"] = self._bursts(pages)
        self._bursts([lambda: tty.send(PAGE_DOWN)] * size.bursts)
        shapes = [(COLUMNS + 40, ROWS + 16), (COLUMNS - 20, ROWS - 4), (COLUMNS, ROWS)]
        self.figures["resize ms"] = self._bursts(
            [partial(tty.resize, *shape) for shape in shapes * (size.bursts // 3)]
        )
        self._paste()
        if self._subject.kind == "room":
            self._catch_up()
        self._stall()

    def starts(self) -> None:
        rows: list[tuple[float, float, float]] = []
        for _ in range(self._size.starts):
            self._tty.close()
            time.sleep(0.2)
            self._tty = self._start(rows)
        for column, name in enumerate(("frame ms", "typing ms", "joined ms")):
            self.figures[name] = 1000 * statistics.median(row[column] for row in rows)

    def _start(self, rows: list[tuple[float, float, float]] | None = None) -> Tty:
        tty = Tty(self._subject.argv(self._home, self._load.address), self._home)
        tty.until(lambda: tty.total_bytes)
        frame = tty.last - tty.began
        tty.send(KEYS[:1])
        tty.until(lambda: KEYS[:1] in tty.seen)
        typing = tty.last - tty.began
        joined = self._subject.joined
        tty.until(lambda: joined in tty.seen)
        if rows is not None:
            rows.append((frame, typing, tty.last - tty.began))
        tty.settle(0.5)
        tty.send(CLEAR)
        tty.settle(0.3)
        return tty

    def _press(self, most: int, is_over: Callable[[], bool], gap_s: float) -> list[float]:
        """Press keys one after the other; return how long each took to be seen."""
        tty, times = self._tty, []
        for number in range(most):
            if is_over():
                break
            if number % 40 == 39:
                tty.send(CLEAR)
                tty.settle(0.05, 0.15)
            key = KEYS[number % len(KEYS) :][:1]
            pressed = now()
            tty.send(key)
            # `send` may itself have read the answer.
            data = bytes(tty.seen[-4096:]) if tty.last > pressed else b""
            while key not in data:
                assert now() - pressed < 10, key
                data = tty.step(0.5)
            times.append(tty.last - pressed)
            # Jittered, lest we lock onto a clock of its frames.
            rest = now() + gap_s * (0.5 + number * 7919 % 1000 / 1000)
            while now() < rest:
                tty.step(min(0.02, rest - now()))
        tty.send(CLEAR)
        tty.settle(0.1, 0.5)
        return times

    def _echo(self, name: str, times: Sequence[float]) -> None:
        self.figures[f"{name} p50"] = 1000 * percentile(times, 50)
        self.figures[f"{name} p99"] = 1000 * percentile(times, 99)

    def _loaded(self, rate: int) -> None:
        tty, size = self._tty, self._size
        count = int(rate * size.load_s)
        bytes_before, cpu, began = tty.total_bytes, tty.cpu_s(), now()
        self._load.tell(f"say {count} {rate}")
        gap_s = size.load_s / size.keys * 0.9
        times = self._press(size.keys, lambda: now() - began > size.load_s, gap_s)
        while not self._load.is_done():
            tty.step(0.01)
        tty.settle(0.1, 2.0)
        self.figures[f"cpu {rate}"] = 100 * (tty.cpu_s() - cpu) / (now() - began)
        self.figures[f"bytes {rate}"] = (tty.total_bytes - bytes_before) / count
        self._echo(f"{rate}/s", times)

    def _say(self, count: int, rate: int) -> None:
        self._load.tell(f"say {count} {rate}")
        while not self._load.is_done():
            self._tty.step(0.01)
        self._tty.settle(0.5, 60)

    def _quiet(self) -> None:
        tty, end = self._tty, now() + self._size.quiet_s
        before, cpu, wakeups = tty.total_bytes, tty.cpu_s(), tty.wakeups()
        while now() < end:
            tty.step(end - now())
        self.figures["quiet cpu"] = 100 * (tty.cpu_s() - cpu) / self._size.quiet_s
        self.figures["quiet wakeups"] = tty.wakeups() - wakeups
        self.figures["quiet bytes"] = tty.total_bytes - before

    def _burst(self, act: Callable[[], None]) -> float:
        """Return how long it wrote after that; 0 if it wrote nothing."""
        tty = self._tty
        tty.settle(0.1, 2.0)
        began = now()
        act()
        end = now() + 2.0
        while tty.last < began and now() < end:
            tty.step(0.5)
        tty.settle(0.12, 20.0)
        return max(0.0, tty.last - began)

    def _bursts(self, acts: Sequence[Callable[[], None]]) -> float:
        return 1000 * statistics.median(self._burst(act) for act in acts)

    def _paste(self) -> None:
        tty = self._tty
        body = b"abcdefg " * (PASTE_BYTES // 8 - 1)  # a draft holds no more than that and a key
        cpu = tty.cpu_s()
        if self._subject.argv is _irssi:  # it has no brackets, and asks
            self.figures["paste ms"] = 1000 * self._burst(lambda: tty.send(body))
        else:
            tty.seen.clear()
            began = now()
            tty.send(b"\x1b[200~" + body + b"\x1b[201~" + KEYS[:1])
            tty.until(lambda: KEYS[:1] in tty.seen)
            self.figures["paste ms"] = 1000 * (tty.last - began)
        self.figures["paste cpu"] = 1000 * (tty.cpu_s() - cpu)
        tty.settle(0.2, 10)  # so soon after a paste, a key would be text
        tty.send(b"\x0b" if self._subject.argv is _irssi else b"")
        tty.send(CLEAR)
        tty.settle(0.5, 10)

    def _catch_up(self) -> None:
        tty = self._tty
        tty.seen.clear()
        self._load.tell("drop")
        tty.until(self._load.is_done)
        tty.until(lambda: b"Retrying" in tty.seen)
        self._load.tell(f"say {CATCH_UP} 0")
        while not self._load.is_done():
            tty.step(0.001)
        tty.send(b"\r")
        times = self._press(10_000, lambda: b"meanwhile" in tty.seen, 0.004)
        self.figures["catch up keys"] = len(times)
        self._echo("catch up", times or [0.0])

    def _stall(self) -> None:
        tty = self._tty
        tty.settle(0.3)
        cpu = tty.cpu_s()
        self._load.tell(f"say {int(STALL_S * STALL_RATE)} {STALL_RATE}")
        time.sleep(STALL_S)
        self.figures["stall cpu"] = 1000 * (tty.cpu_s() - cpu)
        self._load.tell("stop")
        before, began = tty.total_bytes, now()
        tty.settle(0.4, 20)
        self.figures["stall ms"] = 1000 * max(0.0, tty.last - began)
        self.figures["stall kb"] = (tty.total_bytes - before) / 1000


TABLE = (
    ("first frame, ms", "frame ms", "60"),
    ("typing, ms after start", "typing ms", "60"),
    ("joined, ms after start", "joined ms", "350"),
    ("memory idle, MB", "idle mb", "40"),
    ("memory per 1000 messages, MB", "mb per 1000", "0.25"),
    ("key idle p50, ms", "idle p50", "1"),
    ("key idle p99, ms", "idle p99", "5"),
    ("key at 200 msg/s p50, ms", "200/s p50", "1"),
    ("key at 200 msg/s p99, ms", "200/s p99", "10"),
    ("key at 2000 msg/s p50, ms", "2000/s p50", "2"),
    ("key at 2000 msg/s p99, ms", "2000/s p99", "15"),
    (f"key, {CATCH_UP} to catch up p50, ms", "catch up p50", "2"),
    (f"key, {CATCH_UP} to catch up p99, ms", "catch up p99", "15"),
    ("CPU at 200 msg/s, %", "cpu 200", "5"),
    ("CPU at 2000 msg/s, %", "cpu 2000", "35"),
    ("bytes per message, 200 msg/s", "bytes 200", "130"),
    ("bytes per message, 2000 msg/s", "bytes 2000", "25"),
    ("PgUp, full history, ms", "page ms", "3"),
    ("resize, full history, ms", "resize ms", "5"),
    ("paste of 64 KiB, then a key, ms", "paste ms", "80"),
    ("  its CPU, ms", "paste cpu", ""),
    ("stalled 6 s, 3000 msg/s: CPU, ms", "stall cpu", "runs"),
    ("  then, ms", "stall ms", "1"),
    ("  then, KB", "stall kb", "19"),
    ("quiet, CPU %", "quiet cpu", "0"),
    ("quiet, wakeups", "quiet wakeups", "timers"),
    ("quiet, bytes", "quiet bytes", "0"),
)


def show(results: dict[str, Figures]) -> None:
    """Print the table; a ratio above 1 is in the other's favour."""
    names = list(results)
    others = [name for name in names if name != "ours"] if "ours" in results else []
    head = [*names, "at most", *(f"ours/{name}" for name in others)]
    print(f"{'':36}" + "".join(f"{name:>13}" for name in head))
    for title, key, most in TABLE:
        cells = [_figure(results[name].get(key)) for name in names] + [most]
        ours = results.get("ours", {}).get(key)
        for name in others:
            other = results[name].get(key)
            cells.append(f"{ours / other:.2f}" if other and ours is not None else "-")
        print(f"{title:36}" + "".join(f"{cell:>13}" for cell in cells))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the screen: UX.md 11.")
    parser.add_argument("--short", action="store_true", help="fewer of everything")
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="may be repeated")
    parser.add_argument("--starts-only", action="store_true", help="nothing but starting")
    parser.add_argument("--load", choices=("irc", "room"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        load(Irc() if given.load == "irc" else Room())
        return
    results: dict[str, Figures] = {}
    began, stolen_before = now(), stolen_s()
    for name, subject in SUBJECTS.items():
        program = "weechat-curses" if name == "weechat" else name
        if name not in (given.only or SUBJECTS) or not (name == "ours" or shutil.which(program)):
            continue
        bench = Bench(subject, SHORT if given.short else LONG)
        try:
            bench.starts()
            if not given.starts_only:
                bench.run()
        finally:
            bench.close()
        results[name] = bench.figures
    stolen = 100 * (stolen_s() - stolen_before) / (now() - began) / (os.cpu_count() or 1)
    print(f"load average {os.getloadavg()[0]:.1f}, {stolen:.0f} % of the processors stolen by")
    print(f"their host, Python {sys.version.split()[0]}")
    show(results)


if __name__ == "__main__":
    main()
