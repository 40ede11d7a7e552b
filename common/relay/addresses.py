"""Where somebody comes from: as it is shown, what of it is throttled, whom a proxy speaks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from common import names

UNIX: Final = "unix"
"""The address, and the network, of everybody who comes by a unix socket."""

CLAIMS_SHOWN: Final = 100
ALONE: Final = 3
"""So many people of one address are told of."""
_STRANGER: Final = (
    "{0} names other addresses, which is not believed. If it is your proxy, all its guests share "
    "one throttle: start with --trust-proxy {1}."
)
_SILENT: Final = (
    "The proxy {0} names no guest. All who come so share one throttle: have it send "
    "X-Forwarded-For."
)
_UNREADABLE: Final = (
    "The proxy {0} names a guest by no address that can be read: {1}. All such guests share one "
    "throttle."
)
_ALONE: Final = (
    "All guests so far come from {0}, and share one throttle. If that is a proxy, have it send "
    "X-Forwarded-For, and start with --trust-proxy {0}."
)
_WITH_PORT: Final = re.compile(r"(?:\[[^]]+\]|[^:]+):\d+")

# RFC 9110 5.6.4: a quoted string may hold what else would end an element or a pair.
_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"'
_ELEMENT: Final = re.compile(rf'((?:[^",]|{_QUOTED})*+)(?:,|\Z)')
_PAIR: Final = re.compile(rf'\s*([^\s=";,]+)=({_QUOTED}|[^\s";,]+)\s*(?:;|\Z)')
# RFC 7239 6: an address, in brackets if it is IPv6, and perhaps a port, which may be obscured.
_NODE: Final = re.compile(r"(?:\[([^][]+)\]|([^][:]+))(?::(?:\d{1,5}|_[\w.-]+))?", re.ASCII)

# What inet_aton(3) and inet_pton(3) take for no address in particular.
_EVERY: Final = re.compile(r"(?:0x)?0+(?:\.(?:0x)?0+){0,3}|[0:]*::[0:]*", re.ASCII)


def unmapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return an address; of one that is IPv4 in IPv6 (RFC 4291 2.5.5.2) the IPv4 one."""
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def is_every(host: str) -> bool:
    """Tell whether a host to listen at is every address of a kind: 0.0.0.0 or `::`, in any form."""
    return _EVERY.fullmatch(host) is not None


def for_guests(found: Iterable[str]) -> list[str]:
    """Return which addresses of this machine can be used from others, each once."""
    ips = dict.fromkeys(_ip(each) for each in found)
    return [str(ip) for ip in ips if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified)]


def of_peer(peer: object) -> tuple[str, str]:
    """Return an address of a socket as shown, and what is throttled."""
    if not isinstance(peer, tuple):
        return UNIX, UNIX
    ip = _ip(str(peer[0]))
    return f"{names.bracketed(str(ip))}:{peer[1]}", network(ip)


def network(ip: IPv4Address | IPv6Address) -> str:
    """Return what is throttled: an IPv4 address or an IPv6 /64."""
    return str(ip) if ip.version == 4 else str(ip_network((ip, 64), strict=False))


def host(shown: str) -> str:
    """Return the address in what `of_peer` shows, or "unix"."""
    return UNIX if shown == UNIX else shown.rpartition(":")[0].strip("[]")


def _ip(claimed: str) -> IPv4Address | IPv6Address:
    return unmapped(ip_address(claimed.partition("%")[0]))


class Proxies:
    """Which of those who connect are believed when they name a guest of theirs.

    What the operator should know of them is returned as a row, each kind once.
    """

    def __init__(self, named: Iterable[str]) -> None:
        """Take networks, and "unix"."""
        given = set(named)
        self._networks = [_unmapped_network(ip_network(each)) for each in given - {UNIX}]
        self._has_unix = UNIX in given
        self._told: set[str] = set()
        self._came: set[bytes] = set()
        self._came_from = ""

    def trusts(self, where: str) -> bool:
        """Tell whether an address, or "unix", is of a proxy."""
        return self._has_unix if where == UNIX else self._has(_ip(where))

    def behind(
        self, address: str, x_forwarded_for: str, forwarded: str
    ) -> tuple[IPv4Address | IPv6Address | None, str]:
        """Return whom a connection is of, if somebody whom we believe says so, and a row.

        Args:
            address: of the connection, as `of_peer` shows it.
            x_forwarded_for: as in `guest`; "" if there is none.
            forwarded: likewise.
        """
        is_named = bool(x_forwarded_for or forwarded)
        if not is_named and not self._networks and not self._has_unix:
            return None, ""
        where = host(address)
        if not self.trusts(where):
            return None, self._once("stranger", _STRANGER, address, where) if is_named else ""
        if not is_named:
            return None, self._once("silent", _SILENT, where)
        guest = self.guest(x_forwarded_for, forwarded)
        if guest is not None:
            return guest, ""
        # A guest may have written it: its end is the proxy's.
        claims = (x_forwarded_for or forwarded)[-CLAIMS_SHOWN:]
        return None, self._once("unreadable", _UNREADABLE, where, claims)

    def came(self, address: str, identity: bytes) -> str:
        """Note whence a member came; return a row if all come by one door, as through a proxy."""
        direct = address == UNIX or _WITH_PORT.fullmatch(address)
        where = host(address) if direct else ""
        if "alone" in self._told or not where or self._came_from not in ("", where):
            self._told.add("alone")  # they have addresses of their own
            self._came.clear()
            return ""
        self._came_from = where
        self._came.add(identity)
        return self._once("alone", _ALONE, where) if len(self._came) >= ALONE else ""

    def _once(self, kind: str, row: str, *words: str) -> str:
        if kind in self._told:
            return ""
        self._told.add(kind)
        return row.format(*words)

    def _has(self, ip: IPv4Address | IPv6Address) -> bool:
        return any(ip in each for each in self._networks)

    def guest(self, x_forwarded_for: str, forwarded: str) -> IPv4Address | IPv6Address | None:
        """Return whom a proxy speaks for.

        Args:
            x_forwarded_for: addresses, as proxies write them; "" if it named none so.
            forwarded: RFC 7239; "" likewise.

        Returns:
            None if that cannot be read, or if there are both and they differ: one of them is the
            guest's own.
        """
        named: list[list[str]] = []
        if x_forwarded_for:
            # No address holds a comma, quoted or not.
            named.append(x_forwarded_for.split(","))
        try:
            if forwarded:
                named.append(_fors(forwarded))
            guests = {self._last_stranger(nodes) for nodes in named}
        except ValueError:
            return None
        return guests.pop() if len(guests) == 1 else None

    def _last_stranger(self, nodes: Iterable[str]) -> IPv4Address | IPv6Address | None:
        # Each proxy adds at the end whom it saw; what stands before is the guest's own invention.
        ip = None
        for node in reversed([node.strip() for node in nodes if node.strip()]):
            ip = _read_node(node)
            if not self._has(ip):
                break
        return ip


def _unmapped_network(given: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    first = unmapped(given.network_address)
    is_mapped = first.version != given.version and given.prefixlen >= 96
    return ip_network((first, given.prefixlen - 96)) if is_mapped else given


def _read_node(node: str) -> IPv4Address | IPv6Address:
    """Read who is named.

    Raises:
        ValueError: if that is no address: RFC 7239 6.3 lets a proxy hide it.
    """
    if len(node) > 1 and node[0] == node[-1] == '"':
        node = node[1:-1]
    found = _NODE.fullmatch(node)
    return _ip(node if found is None else found[1] or found[2])


def _fors(forwarded: str) -> list[str]:
    """Return whom each element of a Forwarded header names; "?" if that is nobody, or several.

    Raises:
        ValueError: if a quote was left open: it could hide what a proxy says.
    """
    found, at, is_more = [], 0, True
    while is_more:
        element = _ELEMENT.match(forwarded, at)
        if element is None:
            raise ValueError
        if element[1].strip():
            found.append(_for(element[1]))
        at, is_more = element.end(), element[0].endswith(",")
    return found


def _for(element: str) -> str:
    found, at = [], 0
    while at < len(element):
        pair = _PAIR.match(element, at)
        if pair is None:
            return "?"
        if pair[1].casefold() == "for":
            found.append(re.sub(r"\\(.)", r"\1", pair[2]))
        at = pair.end()
    return found[0] if len(found) == 1 else "?"
