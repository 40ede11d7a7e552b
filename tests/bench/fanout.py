"""Measure what the relay delivers for a second of its CPU, beside three other chat servers.

`.venv/bin/python tests/bench/fanout.py` takes about fifteen minutes; `--scen sat100,pace100`,
`--peers termchat,inspircd` and `--reps 1` shorten it, `--curve` draws cost against clients and
window instead. Every run has a fresh server; runs of different servers alternate; medians are
printed. Linux only: CPU and memory are read from /proc. Peers: `termchat` (server.py, rates lifted;
a client seals what is ready into one frame, as PROTOCOL.md 3.2 says it should), `termchat-1` (one
record in a frame, so that each message costs the whole way in), `termchat-data` (with a stored
log), `websockets` (the asyncio `broadcast()` of that package, plain text), `inspircd` and `ngircd`
where they are installed.

- A message is 100 bytes of text for the plain servers, for ours the body that such a text is sealed
  into: 112 + 128 + 16 bytes, which a relay cannot look into.
- A delivery is one message out of the bytes received by one connection, decrypted where it was
  sealed. All messages of a run have one size, so a frame's length gives their number; the first and
  the last of each read are looked into, and every one on one connection, from which the order is
  known. A message that is lost, doubled or out of order fails the run.
- Closed loop: the clock starts before a message is sent, and `window` messages are not at every
  member yet. Open loop: it starts when the message is due, so that nothing can hide by stalling.
  It stops after the read that brought it. Every delivery is a sample (in large runs, every delivery
  to every k-th connection).
- Server CPU is the scheduler's count of all its threads, from first send to last delivery.
- `gen %` is the CPU of this generator, one process. Near 100 it is the limit: deliveries/s then
  says nothing of the server, and deliveries per CPU-second still does.

Scenarios of bad input run with the default limits, and compare a quiet stretch with an attack.
The attacker is a process of its own; its addresses are all of 127/8, so that no throttle helps us.

For a harness that starts peers by itself (PEERS[name] = server argv, port, generator argv), say

    PEERS["termchat"] = (
        [PYTHON, ROOT + "/server.py", "--password", "x", "--host", "127.0.0.1", "--port", "7110",
         "--room-size", "1000", "--rate", "1e9", "--burst", "1e9", "--inbound", "1e12"],
        7110,
        [PYTHON, ROOT + "/tests/bench/fanout.py", "generate", "--output", LOG_OF_THE_SERVER])

where the last names the file its output goes to, which has the KEY.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gc
import os
import random
import re
import resource
import secrets
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from common.crypto import card as cards  # noqa: E402 - the project is not installed
from common.crypto import ticket  # noqa: E402
from common.crypto.identity import Identity  # noqa: E402
from common.crypto.primitives import CardKey  # noqa: E402
from common.wire import records  # noqa: E402
from common.wire.link import ClientLink, Opened  # noqa: E402
from common.wire.records import Hello, Join, Kind, MemberId, Sent, Seq, Welcome  # noqa: E402

PASSWORD = "bench"
TEXT_BYTES = 100
BODY_BYTES = 112 + 128 + 16
RECORD_BYTES = 2 + records.DELIVERED_HEAD_BYTES + BODY_BYTES
READ_BYTES = 256 * 1024
SENDERS = 10
WINDOW = 512
IN_FLIGHT = 32
"""Handshakes under way at once; the relay allows 32 of an address without a JOIN."""
STORM = 440
"""Who join at once: two crowds, one of which is lost and still held, and 100 who talk fit."""
WARM_MESSAGES = 200
SAMPLES = 1_000_000
STALL_S = 8.0
JOIN_LIMIT_S = 100.0
LIFTED = ("--rate", "1e9", "--burst", "1e9", "--inbound", "1e12")
now = time.perf_counter


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# ------------------------------------------------------------------------------------- Connections


class Lost(Exception):
    """A connection ended, or the bytes on it are not what they must be."""


class Conn:
    """One connection of the generator; a subclass for each protocol."""

    echoes = True
    """Whether a sender gets its own message back."""

    def __init__(self, number: int, address: tuple[str, int]) -> None:
        self.number = number
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.is_ready = False
        self.is_reader = False
        self.at = 0
        """Messages of this phase that have arrived."""
        self.chunks: list[tuple[float, int, int, int]] = []
        """When, how many, the first and the last id: one for each read."""
        self.order: list[int] = []
        """All ids in order, on the connection that is the reader."""
        self.rest = b""
        self.unsent = b""

    def hello(self) -> None:
        """Begin to join."""
        raise NotImplementedError

    def take(self, data: bytes, at: float) -> None:
        """Take what was read."""
        raise NotImplementedError

    def say(self, ids: range | list[int], single: bool) -> None:
        """Send messages."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        self.unsent += data
        if self.unsent:
            with contextlib.suppress(BlockingIOError):
                self.unsent = self.unsent[self.sock.send(self.unsent) :]

    def read(self) -> bytes | None:
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError as problem:
            raise Lost(str(problem)) from None
        if not data:
            raise Lost("closed by the server")
        return data

    def arrived(self, at: float, count: int, first: int, last: int) -> None:
        self.at += count
        self.chunks.append((at, count, first, last))


class Member(Conn):
    """A member of our relay, from the handshake on; what it receives stays as it is."""

    _identity = Identity.generate()
    _public = CardKey.generate().public

    def __init__(
        self, number: int, address: tuple[str, int], key: bytes, psk: bytes, room: str
    ) -> None:
        super().__init__(number, address)
        self.room_id = ticket.room_id(key, room)
        self.session = secrets.token_bytes(16)
        self.name = f"m{number:05}"
        said = Hello(self.session, self._identity.public, room, self.name)
        self.link = ClientLink(f"ws://{address[0]}:{address[1]}/", key, psk, said, 0.0)
        self.is_open = False
        self.me = 0
        self.seq = 0

    def hello(self) -> None:
        self.write(b"".join(self.link.outgoing()))

    def _join(self, h: bytes) -> None:
        card = cards.make(self._identity, self.session, self.room_id, self.name, self._public, None)
        join = Join(cards.prove(self._identity, card, h), bytes(16), Seq(0), Seq(0), card.encoded)
        self.link.send(Sent(Kind.JOIN, MemberId(0), join.encode()))
        self.write(b"".join(self.link.outgoing()))

    def take(self, data: bytes, at: float) -> None:
        if not self.is_open:
            # The relay says nothing between its 101 and our JOIN, so the link keeps no rest.
            for event in self.link.receive(data, 0.0):
                if not isinstance(event, Opened):
                    raise Lost(str(event))
                self._join(event.handshake_hash)
                self.is_open = True
            return
        transport = self.link._transport
        assert transport is not None
        start, end = 0, len(data)
        while end - start >= 2:
            size, head = data[start + 1], 2
            if size == 126:
                size, head = int.from_bytes(data[start + 2 : start + 4]), 4
            if end - start < head + size:
                break
            body = data[start + head : start + head + size]
            start += head + size
            if data[start - head - size] == 0x82:
                self._take_frame(transport.receiving.open(body), at)
            elif data[start - head - size] == 0x89:
                self.write(b"\x8a\x80\0\0\0\0")
            else:
                raise Lost("a close frame")
        self.rest = data[start:]

    def _take_frame(self, plain: bytes, at: float) -> None:
        count, odd = divmod(len(plain), RECORD_BYTES)
        if odd or plain[2] != Kind.MESSAGE or not self.is_ready:
            for record in records.split(plain):
                self._take_other(records.decode_delivered(record), at)
            return
        last = len(plain) - RECORD_BYTES
        # Dense from first to last: none is lost, and none came twice.
        if int.from_bytes(plain[11:19]) != self.seq + 1:
            raise Lost("a gap in the log")
        self.seq += count
        if int.from_bytes(plain[last + 11 : last + 19]) != self.seq:
            raise Lost("a gap in the log")
        if self.is_reader:
            self.order += (
                int.from_bytes(plain[i : i + 8]) for i in range(43, len(plain), RECORD_BYTES)
            )
        first_id = int.from_bytes(plain[43:51])
        self.arrived(at, count, first_id, int.from_bytes(plain[last + 43 : last + 51]))

    def _take_other(self, record: records.Delivered, at: float) -> None:
        if record.kind is Kind.WELCOME:
            welcome = Welcome.decode(record.body)
            self.me, self.seq = welcome.number, welcome.room_seq
        elif record.kind is Kind.ERROR:
            raise Lost(repr(record.body))
        elif record.seq:
            if record.seq != self.seq + 1:
                raise Lost("a gap in the log")
            self.seq = record.seq
            self.is_ready = self.is_ready or record.sender == self.me
            if record.kind is Kind.MESSAGE and len(record.body) == BODY_BYTES:
                said = int.from_bytes(record.body[16:24])
                if self.is_reader:
                    self.order.append(said)
                self.arrived(at, 1, said, said)

    def say(self, ids: range | list[int], single: bool) -> None:
        seen = bytes(8) + self.seq.to_bytes(8)
        batch = [
            records.framed(
                Sent(
                    Kind.MESSAGE, MemberId(0), seen + i.to_bytes(8) + bytes(BODY_BYTES - 24)
                ).encode()
            )
            for i in ids
        ]
        if not single and len(batch) * RECORD_BYTES < 60_000:
            self.link.send_batch(b"".join(batch))
        else:
            for record in batch:
                self.link.send_batch(record)
        self.write(b"".join(self.link.outgoing()))


def _text(number: int) -> bytes:
    return b"|%08x" % number + b"x" * (TEXT_BYTES - 9)


class Plain(Conn):
    """A connection whose messages are units of one size, which its first message gives."""

    def __init__(self, number: int, address: tuple[str, int]) -> None:
        super().__init__(number, address)
        self.unit_bytes = 0
        self.id_at = 0

    def take_units(self, data: bytes, at: float) -> None:
        if not self.unit_bytes:
            self.id_at = data.find(b"|")
            end = self.id_at + TEXT_BYTES + len(self.tail)
            if self.id_at < 0 or len(data) < end:
                self.rest = data
                return
            self.unit_bytes = end
        count = len(data) // self.unit_bytes
        self.rest = data[count * self.unit_bytes :]
        if not count:
            return
        last = (count - 1) * self.unit_bytes
        for start in (0, last):
            if data[start + self.id_at] != 124:
                raise Lost(f"not a message: {data[start : start + 120]!r}")
        at_id, step = self.id_at + 1, self.unit_bytes
        if self.is_reader:
            self.order += (int(data[i : i + 8], 16) for i in range(at_id, count * step, step))
        first_id = int(data[at_id : at_id + 8], 16)
        self.arrived(at, count, first_id, int(data[last + at_id : last + at_id + 8], 16))

    tail = b""


class Text(Plain):
    """A WebSocket without anything more."""

    def hello(self) -> None:
        self.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )

    def take(self, data: bytes, at: float) -> None:
        if self.is_ready:
            self.take_units(data, at)
        elif b"\r\n\r\n" in data:
            self.is_ready = True
        else:
            self.rest = data

    def say(self, ids: range | list[int], single: bool) -> None:
        head = b"\x81" + bytes([0x80 | TEXT_BYTES]) + bytes(4)
        self.write(b"".join(head + _text(i) for i in ids))


class Irc(Plain):
    """A member of one IRC channel; all nicks have one length."""

    echoes = False
    tail = b"\r\n"

    def hello(self) -> None:
        self.write(b"NICK n%05d\r\nUSER u 0 * :x\r\n" % self.number)

    def take(self, data: bytes, at: float) -> None:
        if self.is_ready and b"|" in data[:200] and not data.startswith(b"PING"):
            self.take_units(data, at)
            return
        *lines, self.rest = data.split(b"\r\n")
        for line in lines:
            word = line.split(b" ")[1 if line.startswith(b":") else 0]
            if word == b"PING":
                self.write(b"PONG" + line[4:] + b"\r\n")
            elif word == b"001":
                self.write(b"JOIN #c\r\n")
            elif word == b"366":
                self.is_ready = True
            elif word == b"ERROR":
                raise Lost(line.decode("utf-8", "replace"))

    def say(self, ids: range | list[int], single: bool) -> None:
        self.write(b"".join(b"PRIVMSG #c :" + _text(i) + b"\r\n" for i in ids))


# --------------------------------------------------------------------------------------- Generator


@dataclass
class Usage:
    cpu_s: float
    rss_kb: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """The scheduler's own count, in nanoseconds, and the resident size of a process."""
        cpu_ns = 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                cpu_ns += int((task / "schedstat").read_text().split()[0])
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return cls(cpu_ns / 1e9, pages * resource.getpagesize() / 1024)


@dataclass
class Phase:
    """What one stretch of messages gave."""

    sent: int = 0
    delivered: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    gen_s: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def quantile_ms(self, share: float) -> float:
        at = min(len(self.latencies) - 1, int(len(self.latencies) * share))
        return self.latencies[at] * 1e3


class Generator:
    """All connections, and one loop around them."""

    def __init__(self, pid: int, *, single: bool) -> None:
        self.pid = pid
        self.conns: list[Conn] = []
        self.ready = 0
        self._single = single
        self._poll = select.epoll()
        self._by_fd: dict[int, Conn] = {}
        self._next_id = 1

    def admit(self, count: int, make: Callable[[int], Conn], in_flight: int) -> float:
        """Connect and join all, so many at once, and return how long it took."""
        started = now()
        waiting: list[Conn] = []
        while self.ready < count:
            while len(self.conns) < count and len(waiting) < in_flight:
                conn = make(len(self.conns))
                self.conns.append(conn)
                waiting.append(conn)
                self._by_fd[conn.sock.fileno()] = conn
                self._poll.register(conn.sock, select.EPOLLIN)
                conn.hello()
            self.turn(0.05)
            waiting = [conn for conn in waiting if not conn.is_ready]
            self.ready = len(self.conns) - len(waiting)
            if now() > started + JOIN_LIMIT_S:
                raise Lost("not all could join in time")
        return now() - started

    def turn(self, wait_s: float, *, is_paced: bool = False) -> None:
        """Read what there is; where latency counts, look into it only when nothing more comes."""
        # epoll rounds its timeout to milliseconds, select does not.
        select.select([self._poll], [], [], max(0.0, wait_s))
        taken: list[tuple[Conn, bytes, float]] = []
        for _ in range(20 if is_paced else 1):
            events = self._poll.poll(0, 1024)
            if not events:
                break
            for fd, mask in events:
                conn = self._by_fd[fd]
                if mask & ~select.EPOLLOUT:
                    data = conn.read()
                    if data is not None:
                        taken.append((conn, data, now()))
        for conn, data, at in taken:
            conn.take(conn.rest + data if conn.rest else data, at)
        for conn in self.conns[:SENDERS]:
            if conn.unsent:
                conn.write(b"")

    def rest(self, for_s: float) -> None:
        """Do nothing but read."""
        until = now() + for_s
        while now() < until:
            self.turn(0.05)

    def phase(
        self, *, window: int = 0, rate: float = 0, secs: float = 1e9, most: int = 1 << 40
    ) -> Phase:
        """Send by window or by rate, and wait until all of it is everywhere.

        Raises:
            Lost: if some of it never arrives, or in another order than elsewhere.
        """
        conns, base = self.conns, self._next_id
        # The reader only reads, so that it gets every message of a server that echoes none.
        senders = conns[: min(SENDERS, max(1, len(conns) - 1))]
        reader = conns[-1]
        reader.is_reader = True
        for conn in conns:
            conn.at = 0
            conn.chunks.clear()
            conn.order.clear()
        stamps: list[float] = []
        phase = Phase()
        gc.collect()
        gc.disable()
        usage, own_s, started = Usage.of(self.pid), time.process_time(), now()
        least, moved_at = 0, started
        while True:
            at = now()
            is_over = at > started + secs or len(stamps) >= most
            if not is_over:
                if rate:
                    due = int((at - started) * rate) + 1 - len(stamps)
                    stamps += (started + (len(stamps) + i) / rate for i in range(due))
                else:
                    due = min(window - (len(stamps) - least), most - len(stamps))
                    stamps += [at] * due
                # What is due goes to the senders in turn; each sends its share at once.
                for i in range(min(due, len(senders))):
                    sender = senders[(self._next_id - 1 + i) % len(senders)]
                    ids = range(self._next_id + i, self._next_id + due, len(senders))
                    sender.say(ids, self._single)
                    if not sender.echoes:
                        sender.at += len(ids)
                self._next_id += due
            elif least == len(stamps):
                break
            elif at > moved_at + STALL_S:
                raise Lost("some messages never arrived")
            until = started + len(stamps) / rate if rate and not is_over else at + 0.05
            self.turn(until - now(), is_paced=bool(rate))
            was, least = least, min(conn.at for conn in conns)
            if least != was:
                moved_at = now()
        ended = max((conn.chunks[-1][0] for conn in conns if conn.chunks), default=now())
        phase.cpu_s = Usage.of(self.pid).cpu_s - usage.cpu_s
        phase.gen_s = time.process_time() - own_s
        gc.enable()
        phase.sent, phase.elapsed_s = len(stamps), ended - started
        phase.delivered = sum(chunk[1] for conn in conns for chunk in conn.chunks)
        self._judge(phase, base, stamps, len(senders))
        return phase

    def _judge(self, phase: Phase, base: int, stamps: list[float], senders: int) -> None:
        """Check every read against the order of the reader, and take the latencies."""
        order = self.conns[-1].order
        if sorted(order) != list(range(base, base + phase.sent)):
            raise Lost("messages lost or doubled")
        step = max(1, phase.delivered // SAMPLES)
        for number, conn in enumerate(self.conns):
            mine = order
            if not conn.echoes and number < senders:
                mine = [i for i in order if (i - 1) % senders != number]
            sampled = number % step == 0
            times = [stamps[i - base] for i in mine] if sampled else []
            place = 0
            for at, count, first, last in conn.chunks:
                if mine[place] != first or mine[place + count - 1] != last:
                    raise Lost("another order than elsewhere")
                if sampled:
                    phase.latencies += [at - sent for sent in times[place : place + count]]
                place += count
        phase.latencies.sort()


def generate(args: argparse.Namespace) -> None:
    """Drive one server, and print what it did as `key=value`."""
    raise_file_limit()
    address = ("127.0.0.1", args.port)
    key, psk = _secrets(args.output) if args.proto == "termchat" else (b"", b"")
    per_room = -(-args.n // args.rooms)

    def make(number: int) -> Conn:
        if args.proto == "termchat":
            room = f"r{number // per_room}" if args.rooms > 1 else ""
            return Member(number, address, key, psk, room)
        return Irc(number, address) if args.proto == "irc" else Text(number, address)

    generator = Generator(args.pid, single=args.single)
    before, own_s = Usage.of(args.pid), time.process_time()
    joined_s = generator.admit(args.n, make, 1_000 if args.proto == "irc" else IN_FLIGHT)
    after, own_s = Usage.of(args.pid), time.process_time() - own_s
    _say(
        name=args.name,
        n=args.n,
        ready=generator.ready,
        lost=0,
        conn_s=args.n / joined_s,
        conn_cpu_us=(after.cpu_s - before.cpu_s) / args.n * 1e6,
        admit_cpu_s=args.n / (after.cpu_s - before.cpu_s),
        rss0_mb=before.rss_kb / 1024,
        gen_pct=100 * own_s / joined_s,
        threads=len(list(Path(f"/proc/{args.pid}/task").iterdir())),
    )
    if args.idle:
        generator.rest(args.idle)
        rested = Usage.of(args.pid)
        _say(
            idle_cpu_pct=(rested.cpu_s - after.cpu_s) / args.idle * 100,
            idle_rss_kb_conn=(rested.rss_kb - before.rss_kb) / args.n,
        )
        return
    generator.rest(0.3)
    if args.attack:
        _attacked(generator, args, address)
        return
    warm = min(args.warm, max(1, 20_000 // args.n))
    generator.phase(window=args.window, rate=args.rate, most=warm, secs=5)
    phase = generator.phase(window=args.window, rate=args.rate, secs=args.secs)
    _say(
        msgs=phase.sent,
        deliv=phase.delivered,
        lossy=0,
        dups=0,
        secs=phase.elapsed_s,
        deliv_s=phase.delivered / phase.elapsed_s,
        srv_cpu=phase.cpu_s,
        srv_pct=100 * phase.cpu_s / phase.elapsed_s,
        deliv_cpu_s=phase.delivered / phase.cpu_s,
        msg_cpu_us=phase.cpu_s / phase.sent * 1e6,
        gen_pct=100 * phase.gen_s / phase.elapsed_s,
        p50_us=phase.quantile_ms(0.5) * 1e3,
        p99_us=phase.quantile_ms(0.99) * 1e3,
        max_us=phase.latencies[-1] * 1e6,
        rss_mb=Usage.of(args.pid).rss_kb / 1024,
    )


def _say(**pairs: float | str) -> None:
    print(
        *(f"{k}={v if isinstance(v, str) else f'{v:.6g}'}" for k, v in pairs.items()),
        end=" ",
        flush=True,
    )


def _secrets(output: str) -> tuple[bytes, bytes]:
    """KEY, out of what the relay prints when it has started, and the psk."""
    until = now() + 10
    while not (found := re.search(r"^Key: (\S+)$", Path(output).read_text(), re.MULTILINE)):
        if now() > until:
            raise Lost("no KEY in the relay's output")
        time.sleep(0.05)
    key = ticket.parse(found[1]).key
    return key, ticket.derive_psk(PASSWORD, key)


# ---------------------------------------------------------------------------------------- Bad input


def _attacked(generator: Generator, args: argparse.Namespace, address: tuple[str, int]) -> None:
    """Compare a quiet stretch with one in which somebody misbehaves."""
    generator.phase(rate=args.rate, secs=1)
    quiet = generator.phase(rate=args.rate, secs=args.secs)
    before = Usage.of(args.pid)
    argv = [sys.executable, __file__, "attack", args.attack, "--port", str(address[1])]
    with subprocess.Popen([*argv, "--output", args.output], stdout=subprocess.PIPE) as attacker:
        assert attacker.stdout is not None
        attacker.stdout.readline()
        # Wait until our members have seen who joined.
        generator.rest(0.5)
        if args.attack == "stalled":
            # More than the kernel holds for a connection, less than the relay ends it for.
            generator.phase(window=WINDOW, most=24_000)
        began = Usage.of(args.pid)
        attacked = generator.phase(rate=args.rate, secs=args.secs)
        after = Usage.of(args.pid)
        attacker.kill()
    _say(
        quiet_p50_us=quiet.quantile_ms(0.5) * 1e3,
        p50_us=attacked.quantile_ms(0.5) * 1e3,
        quiet_p99_us=quiet.quantile_ms(0.99) * 1e3,
        p99_us=attacked.quantile_ms(0.99) * 1e3,
        quiet_pct=100 * quiet.cpu_s / quiet.elapsed_s,
        srv_pct=100 * attacked.cpu_s / attacked.elapsed_s,
        grown_mb=(began.rss_kb - before.rss_kb) / 1024,
        growing_mb=(after.rss_kb - began.rss_kb) / 1024,
    )


def attack(args: argparse.Namespace) -> None:
    """Misbehave until killed."""
    raise_file_limit()
    address = ("127.0.0.1", args.port)
    until = now() + 60
    kinds: dict[str, Callable[[tuple[str, int], str], Iterator[float]]] = {
        "stalled": _stalled,
        "half-open": _half_open,
        "password": _password,
        "flood": _flood,
        "storm": _storm,
    }
    for wait_s in kinds[args.kind](address, args.output):
        if now() > until:
            return
        if wait_s:
            time.sleep(wait_s)


def _stalled(address: tuple[str, int], output: str) -> Iterator[float]:
    """100 members that join and never read again."""
    key, psk = _secrets(output)
    generator = Generator(os.getpid(), single=False)
    generator.admit(100, lambda i: Member(90_000 + i, address, key, psk, ""), IN_FLIGHT)
    print("ready", flush=True)
    while True:
        yield 1.0


def _half_open(address: tuple[str, int], _output: str) -> Iterator[float]:
    """1 000 connections that have said half of a request, renewed as the relay ends them."""
    socks: list[socket.socket] = []
    while True:
        for sock in socks[:]:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                if not sock.recv(1):
                    sock.close()
                    socks.remove(sock)
        was = len(socks)
        while len(socks) < 1000:
            sock = socket.create_connection(address)
            sock.sendall(b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: term")
            sock.setblocking(False)
            socks.append(sock)
        if not was:
            print("ready", flush=True)
        yield 0.1


def _password(address: tuple[str, int], _output: str) -> Iterator[float]:
    """1 000 attempts a second, each from an address of its own and with a new message 1."""
    print("ready", flush=True)
    started, count = now(), 0
    while True:
        count += 1
        message = base64.urlsafe_b64encode(random.randbytes(194)).rstrip(b"=")
        source = (
            f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        )
        with socket.create_connection(address, source_address=(source, 0)) as sock:
            sock.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Protocol: termchat.v1\r\nAuthorization: Noise "
                + message
                + b"\r\n\r\n"
            )
        yield max(0.0, started + count / 1000 - now())


def _flood(address: tuple[str, int], output: str) -> Iterator[float]:
    """One member that sends as fast as the relay takes it."""
    key, psk = _secrets(output)
    generator = Generator(os.getpid(), single=False)
    generator.admit(1, lambda i: Member(90_000 + i, address, key, psk, ""), 1)
    print("ready", flush=True)
    (flooder,) = generator.conns
    assert isinstance(flooder, Member)
    while True:
        # Of another size than what is measured, by which the others tell them apart.
        body = bytes(8) + flooder.seq.to_bytes(8) + bytes(BODY_BYTES)
        record = records.framed(Sent(Kind.MESSAGE, MemberId(0), body).encode())
        while not flooder.unsent:
            flooder.link.send_batch(record * 200)
            flooder.write(b"".join(flooder.link.outgoing()))
        flooder.write(b"")
        flooder.read()
        yield 0.001


def _storm(address: tuple[str, int], output: str) -> Iterator[float]:
    """Hundreds of members, who join as fast as the relay lets them in; then other hundreds."""
    key, psk = _secrets(output)
    print("ready", flush=True)
    first = 0

    def make(number: int) -> Member:
        return Member(first + number, address, key, psk, "")

    while True:
        first += 10_000
        generator = Generator(os.getpid(), single=False)
        generator.admit(STORM, make, IN_FLIGHT)
        for conn in generator.conns:
            conn.sock.close()
        yield 0.0


# ---------------------------------------------------------------------------------------- Reference


async def broadcast(port: int) -> None:
    """The reference: what the documentation of `websockets` suggests for a chat."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.asyncio.server import broadcast as to_all

    clients: set[ServerConnection] = set()

    async def handler(connection: ServerConnection) -> None:
        clients.add(connection)
        try:
            async for message in connection:
                to_all(clients, message)
        finally:
            clients.discard(connection)

    async with serve(
        handler, "127.0.0.1", port, compression=None, ping_interval=None, backlog=4096
    ) as server:
        await server.serve_forever()


NGIRCD = """[Global]
Name = irc.bench.local
Info = bench
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = x
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 9
MaxPenaltyTime = 0
PingTimeout = 3600
PongTimeout = 3600
[Options]
DNS = no
Ident = no
PAM = no
"""
INSPIRCD = """<server name="irc.bench.local" description="bench" network="bench" id="001">
<admin name="x" nick="x" email="x@x">
<bind address="127.0.0.1" port="{port}" type="clients">
<power diepass="x" restartpass="x">
<connect name="all" allow="*" timeout="60" pingfreq="1h" hardsendq="64M" softsendq="64M" recvq="1M"
 threshold="1000000" commandrate="1000000000" fakelag="no" localmax="100000" globalmax="100000"
 limit="100000" resolvehostnames="no" useident="no" maxchans="20">
<class name="x" commands="*">
<performance softlimit="100000" netbuffersize="65534" somaxconn="4096" clonesonconnect="no"
 quietbursts="yes">
<security hidesplits="no" maxtargets="20">
<limits maxnick="30" maxchan="64">
<log method="file" target="{dir}/inspircd.log" type="* -USERINPUT -USEROUTPUT" level="default">
<pid file="{dir}/inspircd.pid">
<options prefixquit="Quit: " announcets="no">
"""


# ------------------------------------------------------------------------------------------ The run


@dataclass(frozen=True)
class Scenario:
    """What is asked of the generator, of whom, and what is shown."""

    generator: tuple[str, ...]
    peers: tuple[str, ...]
    columns: tuple[str, ...]
    server: tuple[str, ...] = LIFTED


ALL = ("termchat", "termchat-1", "termchat-data", "websockets", "inspircd", "ngircd")
_SAT = ("deliv_s", "deliv_cpu_s", "msg_cpu_us", "p50_us", "p99_us", "srv_pct", "gen_pct", "rss_mb")
_PACE = ("p50_us", "p99_us", "max_us", "deliv_cpu_s", "srv_pct", "gen_pct")
_JOIN = ("admit_cpu_s", "conn_s", "idle_rss_kb_conn", "rss0_mb", "idle_cpu_pct", "gen_pct")
_BAD = (
    "quiet_p50_us",
    "p50_us",
    "quiet_p99_us",
    "p99_us",
    "quiet_pct",
    "srv_pct",
    "grown_mb",
    "growing_mb",
)


def _sat(n: int) -> tuple[str, ...]:
    return ("--n", str(n), "--window", str(WINDOW), "--secs", "2")


def _bad(kind: str, server: tuple[str, ...] = ()) -> Scenario:
    asked = ("--n", "100", "--rate", "50", "--secs", "3", "--attack", kind)
    return Scenario(asked, ("termchat",), _BAD, server)


SCENARIOS = {
    "sat10": Scenario(_sat(10), ALL, _SAT),
    "sat100": Scenario(_sat(100), ALL, _SAT),
    "sat1000": Scenario(_sat(1000), ALL, _SAT),
    "pace100": Scenario(("--n", "100", "--rate", "100", "--secs", "3"), ALL, _PACE),
    "pace1000": Scenario(("--n", "1000", "--rate", "10", "--secs", "3"), ALL[:5], _PACE),
    "idle5000": Scenario(
        ("--n", "5000", "--rooms", "50", "--idle", "45"), ("termchat", "websockets"), _JOIN
    ),
    "conn": Scenario(
        ("--n", "1000", "--rooms", "10", "--idle", "1"), ("termchat", "websockets"), _JOIN
    ),
    "inbound": Scenario(_sat(1), ("termchat", "termchat-1", "websockets"), _SAT),
    "stalled": _bad("stalled", LIFTED),
    "half-open": _bad("half-open"),
    "password": _bad("password"),
    "flood": _bad("flood"),
    "storm": _bad("storm", (*LIFTED, "--grace", "1")),
}
ABOUT = {
    "sat10": "10 clients, 512 messages outstanding",
    "sat100": "100 clients, 512 messages outstanding",
    "sat1000": "1 000 clients, 512 messages outstanding",
    "pace100": "100 messages a second into 100 clients",
    "pace1000": "10 messages a second into 1 000 clients",
    "idle5000": "5 000 idle clients in 50 rooms",
    "conn": "1 000 clients come at once into 10 rooms",
    "inbound": "one client, so that a message costs its way in",
    "stalled": "100 members that never read",
    "half-open": "1 000 connections that say half a request",
    "password": "1 000 wrong passwords a second",
    "flood": "one member that sends as fast as it can",
    "storm": "a thousand who join",
}


class Servers:
    """Starts a fresh server of a kind, and stops what it started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 17_100

    def has(self, peer: str) -> bool:
        return peer not in ("inspircd", "ngircd") or _program(peer) is not None

    def argv(self, peer: str, port: int, extra: tuple[str, ...]) -> list[str]:
        match peer:
            case "termchat" | "termchat-1" | "termchat-data":
                script = str(ROOT / "server.py")
                common = ("--host", "127.0.0.1", "--port", str(port), "--password", PASSWORD)
                data = self._folder / f"data-{port}"
                stored = ("--data", str(data)) if peer == "termchat-data" else ()
                return [sys.executable, script, *common, *stored, "--room-size", "1000", *extra]
            case "websockets":
                return [sys.executable, __file__, "broadcast", "--port", str(port)]
            case _:
                conf = self._folder / f"{peer}.conf"
                form = NGIRCD if peer == "ngircd" else INSPIRCD
                conf.write_text(form.format(port=port, dir=self._folder))
                program = _program(peer)
                assert program is not None
                if peer == "ngircd":
                    return [program, "-n", "-f", str(conf)]
                return [program, "--nofork", "--runasroot", f"--config={conf}"]

    @contextlib.contextmanager
    def running(self, peer: str, extra: tuple[str, ...]) -> Iterator[tuple[int, int, Path]]:
        """A fresh server: its pid, port and output."""
        self._port += 1
        port, output = self._port, self._folder / f"{peer}.out"
        with output.open("wb") as out:
            server = subprocess.Popen(
                self.argv(peer, port, extra), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            time.sleep(0.2)
            yield server.pid, port, output
        finally:
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def run(self, peer: str, asked: tuple[str, ...], extra: tuple[str, ...]) -> dict[str, float]:
        """One run against a fresh server; empty if it failed, and then says why."""
        with self.running(peer, extra) as (pid, port, output):
            proto = {"websockets": "ws", "inspircd": "irc", "ngircd": "irc"}.get(peer, "termchat")
            argv = [sys.executable, __file__, "generate", "--proto", proto, "--port", str(port)]
            argv += ["--pid", str(pid), "--output", str(output), *asked]
            argv += ["--single"] if peer == "termchat-1" else []
            try:
                done = subprocess.run(argv, capture_output=True, text=True, timeout=180)
            except subprocess.TimeoutExpired:
                print(f"({peer}: no end in time)", file=sys.stderr)
                return {}
        if done.returncode:
            print(f"({peer}: {done.stderr.strip().splitlines()[-1]})", file=sys.stderr)
            return {}
        pairs = (pair.split("=", 1) for pair in done.stdout.split())
        return {k: float(v) for k, v in pairs if k != "name"}


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def figure(value: float) -> str:
    """Three digits, and no more than that is known."""
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(name: str, runs: dict[str, list[dict[str, float]]], columns: tuple[str, ...]) -> str:
    """Medians, the spread of what is compared, and how far we are from the others."""
    if not any(runs.values()):
        return f"### {name}: no run came through\n"
    shared = [c for c in columns if any(c in run for peer in runs.values() for run in peer)]
    medians = {
        peer: {c: statistics.median(run[c] for run in kept if c in run) for c in shared}
        for peer, kept in runs.items()
        if kept
    }
    rows = [f"### {name}: {ABOUT[name]}", "", f"| | {' | '.join(shared)} | spread | ours to it |"]
    rows.append("|---" * (len(shared) + 3) + "|")
    key = "deliv_cpu_s" if "deliv_cpu_s" in shared else shared[0]
    for peer, values in medians.items():
        of = [run[key] for run in runs[peer]]
        spread = (max(of) - min(of)) / statistics.median(of) * 100
        ratio = medians["termchat"][key] / values[key] if "termchat" in medians else 0
        cells = " | ".join(figure(values[c]) for c in shared)
        rows.append(f"| {peer} | {cells} | {spread:.0f} % | {ratio:.2f} |")
    busy = [peer for peer, values in medians.items() if values.get("gen_pct", 0) > 90]
    if busy:
        rows += ["", f"The generator was the limit for {', '.join(busy)}: read the CPU-seconds."]
    return "\n".join(rows) + "\n"


def compare(args: argparse.Namespace) -> None:
    """Every scenario over every peer, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        for name in args.scen.split(","):
            scenario = SCENARIOS[name]
            wanted = [p for p in scenario.peers if p in args.peers.split(",") and servers.has(p)]
            runs: dict[str, list[dict[str, float]]] = {peer: [] for peer in wanted}
            for _ in range(args.reps):
                for peer in wanted:
                    asked = scenario.generator
                    if peer == "ngircd" and name == "sat1000" and runs[peer]:
                        continue  # it admits sixteen members a second
                    done = servers.run(peer, asked, scenario.server)
                    if done:
                        runs[peer].append(done)
            print(table(name, runs, scenario.columns), flush=True)


# ------------------------------------------------------------------------------------------- Curve

CLIENTS = (10, 30, 100, 300, 1000)
WINDOWS = (1, 4, 16, 64)
"""For each of the ten senders."""


def curve(args: argparse.Namespace) -> None:
    """Server CPU for a delivery, against clients and window: a table, and a drawing of it."""
    cost: dict[tuple[int, int], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        for n in CLIENTS:
            for each in WINDOWS:
                asked = ("--n", str(n), "--window", str(each * SENDERS), "--secs", "1.5")
                done = [servers.run("termchat", asked, LIFTED) for _ in range(args.reps)]
                cost[n, each] = statistics.median(1e6 / run["deliv_cpu_s"] for run in done if run)
    print("| clients | " + " | ".join(f"{each} each" for each in WINDOWS) + " |")
    print("|---" * (len(WINDOWS) + 1) + "|")
    for n in CLIENTS:
        print(f"| {n} | " + " | ".join(f"{cost[n, each]:.3g}" for each in WINDOWS) + " |")
    Path(args.svg).write_text(drawing(cost))


def drawing(cost: dict[tuple[int, int], float]) -> str:
    """Lines on two logarithmic axes."""
    from math import log10

    def x(n: float) -> float:
        return 70 + 460 * (log10(n) - 1) / 2

    def y(value: float) -> float:
        return 330 - 300 * (log10(value) + 1.5) / 3

    shades = ("#999999", "#6699cc", "#3366aa", "#112255")
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 390" font-family="sans-serif"'
        ' font-size="13"><rect width="640" height="390" fill="white"/>'
    ]
    parts += [
        f'<path d="M70 {y(value):.0f}H530" stroke="#ddd"/>'
        f'<text x="62" y="{y(value) + 4:.0f}" text-anchor="end">{value:g}</text>'
        for value in (0.1, 1.0, 10.0)
    ]
    parts += [f'<text x="{x(n):.0f}" y="350" text-anchor="middle">{n}</text>' for n in CLIENTS]
    for each, shade in zip(WINDOWS, shades, strict=True):
        line = " ".join(f"{x(n):.1f},{y(cost[n, each]):.1f}" for n in CLIENTS)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{shade}" stroke-width="2"/>'
            f'<text x="540" y="{y(cost[1000, each]) + 4:.0f}" fill="{shade}">{each} each</text>'
        )
    parts.append(
        '<text x="300" y="376" text-anchor="middle">clients</text>'
        '<text x="70" y="20">microseconds of server CPU for a delivery, by messages outstanding'
        " for each of 10 senders</text></svg>"
    )
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="See the head of this file.")
    parser.add_argument("--scen", default=",".join(SCENARIOS))
    parser.add_argument("--peers", default=",".join(ALL))
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--svg", default=str(Path(__file__).with_name("fanout.svg")))
    parser.set_defaults(run=None)
    commands = parser.add_subparsers()
    add = commands.add_parser("generate")
    add.set_defaults(run=generate)
    add.add_argument("--proto", choices=("termchat", "ws", "irc"), default="termchat")
    add.add_argument("--name", default="termchat")
    add.add_argument("--port", type=int, required=True)
    add.add_argument("--pid", type=int, required=True)
    add.add_argument("--output", default="")
    add.add_argument("--n", type=int, default=100)
    add.add_argument("--rooms", type=int, default=1)
    add.add_argument("--window", type=int, default=64)
    add.add_argument("--warm", type=int, default=WARM_MESSAGES)
    add.add_argument("--rate", type=float, default=0)
    add.add_argument("--secs", type=float, default=3)
    add.add_argument("--idle", type=float, default=0)
    add.add_argument("--attack", default="")
    add.add_argument("--single", action="store_true")
    add = commands.add_parser("attack")
    add.set_defaults(run=attack)
    add.add_argument("kind")
    add.add_argument("--port", type=int, required=True)
    add.add_argument("--output", default="")
    add = commands.add_parser("broadcast")
    add.set_defaults(run=lambda args: asyncio.run(broadcast(args.port)))
    add.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    if args.run:
        args.run(args)
    elif args.curve:
        curve(args)
    else:
        compare(args)


if __name__ == "__main__":
    main()
