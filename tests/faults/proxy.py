"""A TCP proxy that fails like a network: cut at any byte, late, stalled, half open or silent."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import deque
from enum import Enum, auto
from random import Random

READ_BYTES = 16 * 1024
HELD_BYTES = 256 * 1024
LONGEST_DELAY_S = 0.4
LONGEST_STALL_S = 1.5


class Fault(Enum):
    """What may happen to a connection."""

    CUT = auto()  # both ends see the end, after some bytes more
    RESET = auto()  # both ends see an error
    HALF = auto()  # one direction ends
    STALL = auto()  # a direction, or both, waits
    DELAY = auto()  # a direction is late from now on
    SILENCE = auto()  # nothing passes any more, and nobody is told


class Way:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.held: deque[tuple[float, bytes]] = deque()
        self.delay_s = 0.0
        self.stalled_until_s = 0.0
        self.left: int | None = None
        """Bytes that still pass before the cut."""
        self.is_ended = False  # the source has no more
        self.is_shut = False  # and the target knows it

    def wants_read(self, now: float) -> bool:
        """Whether to take more from the source."""
        held = sum(len(data) for _, data in self.held)
        return not self.is_ended and held < HELD_BYTES and now >= self.stalled_until_s

    def read(self, now: float) -> None:
        """Take what the source has."""
        try:
            data = self.source.recv(READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self.held.append((now + self.delay_s, data))
        else:
            self.is_ended = True

    def write(self, now: float) -> bool:
        """Pass on what is due; False once the cut is reached."""
        while self.held and self.held[0][0] <= now and now >= self.stalled_until_s:
            at, data = self.held.popleft()
            allowed = data if self.left is None else data[: self.left]
            try:
                sent = self.target.send(allowed) if allowed else 0
            except BlockingIOError:
                sent = 0
            if self.left is not None:
                self.left -= sent
                if not self.left:
                    return False
            if sent < len(data):
                self.held.appendleft((at, data[sent:]))
                return True
        if self.is_ended and not self.held and not self.is_shut:
            self.is_shut = True
            self.target.shutdown(socket.SHUT_WR)
        return True


class Tunnel:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, relay: socket.socket) -> None:
        self.ways = (Way(client, relay), Way(relay, client))
        self.is_over = False

    def end(self, *, is_reset: bool = False) -> None:
        """Close both ends; a reset drops what was not read too."""
        self.is_over = True
        for way in self.ways:
            if is_reset:
                with contextlib.suppress(OSError):
                    way.source.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
            way.source.close()

    def turn(self, ready: set[socket.socket], now: float) -> None:
        """Carry bytes."""
        try:
            for way in self.ways:
                if way.source in ready:
                    way.read(now)
                if not way.write(now):
                    self.end()
                    return
        except OSError:
            self.end(is_reset=True)
            return
        if all(way.is_shut for way in self.ways):
            self.end()

    def suffer(self, fault: Fault, rng: Random, now: float) -> None:
        """Do a fault to this connection."""
        ways = rng.choice([self.ways[:1], self.ways[1:], self.ways])
        match fault:
            case Fault.CUT:
                ways[0].left = rng.choice([1, rng.randint(1, 60), rng.randint(1, 5_000)])
            case Fault.RESET:
                self.end(is_reset=True)
            case Fault.HALF:
                ways[0].is_ended = True
            case Fault.STALL:
                for way in ways:
                    way.stalled_until_s = now + rng.uniform(0.0, LONGEST_STALL_S)
            case Fault.DELAY:
                for way in ways:
                    way.delay_s = rng.uniform(0.0, LONGEST_DELAY_S)
            case Fault.SILENCE:
                for way in ways:
                    way.stalled_until_s = now + 3_600.0


class Proxy:
    """Stands between members and a relay; its owner's loop turns it."""

    def __init__(self, relay_port: int) -> None:
        self.relay_port = relay_port
        self.tunnels: list[Tunnel] = []
        self.is_unplugged = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    def close(self) -> None:
        """End everything."""
        for tunnel in self.tunnels:
            if not tunnel.is_over:
                tunnel.end()
        self._listener.close()

    def readers(self, now: float) -> list[socket.socket]:
        """Return what to wait for."""
        ways = [way for tunnel in self.tunnels for way in tunnel.ways]
        return [self._listener, *(way.source for way in ways if way.wants_read(now))]

    def turn(self, ready: set[socket.socket], now: float) -> None:
        """Accept, and carry."""
        if self._listener in ready:
            self._accept()
        for tunnel in self.tunnels:
            tunnel.turn(ready, now)
        self.tunnels = [tunnel for tunnel in self.tunnels if not tunnel.is_over]

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        relay = socket.socket()
        try:
            if self.is_unplugged:
                raise ConnectionRefusedError
            relay.connect(("127.0.0.1", self.relay_port))
        except OSError:
            relay.close()
            client.close()
            return
        for sock in (client, relay):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tunnels.append(Tunnel(client, relay))

    def suffer(self, rng: Random, now: float) -> str:
        """Do a fault to one connection; return what, in words."""
        if not self.tunnels:
            return "nothing"
        at, fault = rng.randrange(len(self.tunnels)), rng.choice(list(Fault))
        self.tunnels[at].suffer(fault, rng, now)
        self.tunnels = [tunnel for tunnel in self.tunnels if not tunnel.is_over]
        return f"{fault.name} {at}"

    def unplug(self) -> None:
        """End every connection, and let nobody through until `is_unplugged` is taken back."""
        self.is_unplugged = True
        for tunnel in self.tunnels:
            tunnel.end(is_reset=True)
        self.tunnels.clear()

    def heal(self) -> None:
        """Reset what is not sound, and be a good network again."""
        self.is_unplugged = False
        for tunnel in self.tunnels:
            for way in tunnel.ways:
                if way.stalled_until_s or way.left is not None or way.is_ended:
                    tunnel.end(is_reset=True)
                    break
                way.delay_s = 0.0
        self.tunnels = [tunnel for tunnel in self.tunnels if not tunnel.is_over]
