"""Who is connected and in no room yet: bounded, for each network and in all (PROTOCOL.md 9)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Generic, TypeVar

HANDSHAKES_OF_A_NETWORK: Final = 32
HANDSHAKES: Final = 512
JOINS_OF_A_NETWORK: Final = 32
JOINS: Final = 256
PATIENCE_S: Final = 0.5
"""How long those with a 101 are given for their JOIN before they make way for others: where fifty
people behind one address come at once, all are quick, and all get in."""

T = TypeVar("T")


class Strangers(Generic[T]):
    """Connections on their way in; where there are too many, the oldest makes way.

    Whoever means it is through in the time of a message and its answer. Whoever only takes up room
    is pushed out by those who come after.
    """

    def __init__(self, lock: AbstractContextManager[object], displace: Callable[[T], None]) -> None:
        """Take what ends a connection; it is called from any thread, and must not wait."""
        self._lock = lock
        self._displace = displace
        self._handshakes = _Crowd[T](HANDSHAKES_OF_A_NETWORK, HANDSHAKES)
        self._joins = _Crowd[T](JOINS_OF_A_NETWORK, JOINS)

    def arrived(self, conn: T, network: str, now: float) -> None:
        """Note a connection that was accepted."""
        with self._lock:
            displaced = self._handshakes.add(conn, network, now)
        self._end(displaced)

    def may_admit(self, network: str, now: float) -> bool:
        """Tell whether there is room for another 101, or whoever makes way for it had time."""
        with self._lock:
            displaced = self._joins.next_out(network)
            return displaced is None or now >= self._joins.since(displaced) + PATIENCE_S

    def admitted(self, conn: T, network: str, now: float) -> None:
        """Note that a connection has had its 101."""
        with self._lock:
            self._handshakes.discard(conn)
            displaced = self._joins.add(conn, network, now)
        self._end(displaced)

    def make_way(self) -> bool:
        """End one, where the system allows no more; False if there is none."""
        with self._lock:
            found = self._handshakes.pop()
            if found is None:
                found = self._joins.pop()
        self._end(found)
        return found is not None

    def _end(self, displaced: T | None) -> None:
        if displaced is not None:
            self._displace(displaced)

    def gone(self, conn: T) -> None:
        """Note that a connection has joined, or is closed."""
        with self._lock:
            self._handshakes.discard(conn)
            self._joins.discard(conn)

    def has(self, conn: T) -> bool:
        """Tell whether a connection is on its way in, and need not go."""
        with self._lock:
            return conn in self._handshakes or conn in self._joins


class _Crowd(Generic[T]):
    """Connections at one stage, the oldest first."""

    def __init__(self, of_a_network: int, in_all: int) -> None:
        self._most_of_a_network, self._most = of_a_network, in_all
        self._all: dict[T, tuple[str, float]] = {}
        self._of: dict[str, dict[T, None]] = {}

    def __contains__(self, conn: T) -> bool:
        return conn in self._all

    def since(self, conn: T) -> float:
        """Return when a connection was added."""
        return self._all[conn][1]

    def next_out(self, network: str) -> T | None:
        """Return the connection that another of this network displaces, if any."""
        of = self._of.get(network, ())
        if len(of) >= self._most_of_a_network:
            return next(iter(of))
        return next(iter(self._all)) if len(self._all) >= self._most else None

    def add(self, conn: T, network: str, now: float) -> T | None:
        """Add a connection; return the one that it displaces."""
        displaced = self.next_out(network)
        if displaced is not None:
            self.discard(displaced)
        self._all[conn] = network, now
        self._of.setdefault(network, {})[conn] = None
        return displaced

    def pop(self) -> T | None:
        """Remove the oldest, if there is one."""
        oldest = next(iter(self._all), None)
        if oldest is not None:
            self.discard(oldest)
        return oldest

    def discard(self, conn: T) -> None:
        """Remove a connection, if it is here."""
        if conn in self._all:
            network, _ = self._all.pop(conn)
            of = self._of[network]
            del of[conn]
            if not of:
                del self._of[network]
