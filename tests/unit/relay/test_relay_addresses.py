"""Whom a proxy speaks for, in the forms that proxies write, and what is throttled."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.relay import addresses
from common.relay.addresses import Proxies

PROXIES = Proxies(["10.0.0.0/8", "2001:db8:ff::/48", "unix"])
V4, V6 = "192.0.2.7", "2001:db8::7"


@pytest.mark.parametrize(
    ("peer", "shown", "network"),
    [
        (("192.0.2.7", 5), "192.0.2.7:5", "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "[2001:db8:1:2:3:4:5:6]:5", "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 5, 0, 0), "[2001:db8:1:2::9]:5", "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5, 0, 2), "[fe80::1]:5", "fe80::/64"),
        # One socket for both kinds: all of IPv4 would be one /64.
        (("::ffff:192.0.2.7", 5, 0, 0), "192.0.2.7:5", "192.0.2.7"),
        ("", "unix", "unix"),
    ],
)
def test_an_address_is_an_ipv4_address_or_an_ipv6_64(
    peer: object, shown: str, network: str
) -> None:
    assert addresses.of_peer(peer) == (shown, network)


@pytest.mark.parametrize(
    ("claims", "guest"),
    [
        ("192.0.2.7", V4),
        ("192.0.2.7:4711", V4),
        ("::ffff:192.0.2.7", V4),
        ("[::ffff:192.0.2.7]:4711", V4),
        ("2001:db8::7", V6),
        ("2001:db8::7%eth0", V6),
        ("[2001:db8::7]", V6),
        ("[2001:db8::7]:4711", V6),
        ('"[2001:db8::7]:4711"', V6),
        ('"192.0.2.7"', V4),
        ("192.0.2.7, ", V4),
        (", 192.0.2.7", V4),
        # What stands before whom a trusted proxy saw is the guest's own invention.
        ("198.51.100.1, 192.0.2.7", V4),
        ("rubbish, 192.0.2.7", V4),
        ("192.0.2.7, 10.1.1.1:80", V4),
        ("198.51.100.1, 192.0.2.7, [::ffff:10.0.0.1]:5, 10.9.9.9", V4),
        ("192.0.2.7, [2001:db8:ff::1]:80", V4),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_who_is_named_last_and_is_no_proxy_of_ours(claims: str, guest: str) -> None:
    assert PROXIES.guest(claims, "") == ip_address(guest)


@pytest.mark.parametrize(
    ("claims", "guest"),
    [
        ("for=192.0.2.7", V4),
        ("For=192.0.2.7;proto=https;by=10.0.0.1", V4),
        ("proto=https ; for=192.0.2.7", V4),
        ('for="192.0.2.7:4711"', V4),
        ('for="[2001:db8::7]:4711"', V6),
        ('for="[2001:db8::7]:_port"', V6),
        (r'for="192.0.2\.7"', V4),
        ("for=198.51.100.1, for=192.0.2.7", V4),
        ("for=192.0.2.7, for=10.0.0.1;by=10.0.0.2", V4),
        # The host is the guest's own words, quoted by the proxy.
        ('for=192.0.2.7;host="x,for=198.51.100.1"', V4),
        (r'for=192.0.2.7;host="x\",for=198.51.100.1"', V4),
        ('for="x;for=198.51.100.1", for=192.0.2.7', V4),
    ],
)
def test_the_header_of_rfc_7239(claims: str, guest: str) -> None:
    assert PROXIES.guest("", claims) == ip_address(guest)


@pytest.mark.parametrize(
    ("x_forwarded_for", "forwarded"),
    [
        ("", "for=unknown"),
        ("", "for=_hidden"),
        ("", 'for="unfinished'),
        ("", "proto=https"),
        ("", "for=192.0.2.7;for=192.0.2.8"),
        # A quote that the guest left open must not change what the proxy says.
        ("", 'for=", for=192.0.2.7'),
        ("", 'for="198.51.100.1, for="[2001:db8::7]:80"'),
        ("rubbish", ""),
        ("192.0.2.7:port", ""),
        ("192.0.2.7, unknown, 10.0.0.1", ""),
        ("[192.0.2.7", ""),
        ("2001:db8::7]:80", ""),
        ("999.0.0.1", ""),
        (" , ", ""),
        # One of the two is the guest's.
        ("192.0.2.7", "for=192.0.2.8"),
        ("192.0.2.7", "for=unknown"),
    ],
)
def test_what_cannot_be_read_names_nobody(x_forwarded_for: str, forwarded: str) -> None:
    assert PROXIES.guest(x_forwarded_for, forwarded) is None


def test_two_headers_that_agree() -> None:
    assert PROXIES.guest("192.0.2.7:1", 'for="192.0.2.7:2"') == ip_address(V4)


NODES = st.one_of(
    st.ip_addresses().map(lambda ip: f"[{ip}]:80" if ip.version == 6 else f"{ip}:80"),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
    st.ip_addresses(v=4).map(str),
)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), NODES)
def test_no_guest_chooses_who_it_is(own: str, node: str) -> None:
    claimed = node.rpartition("]")[0].strip("[") or node.partition(":")[0]
    seen, named = Proxies([]), addresses.unmapped(ip_address(claimed))
    quoted = own.replace("\\", "\\\\").replace('"', '\\"')
    for x_forwarded_for, forwarded in (
        (f"{own}, {node}", ""),
        ("", f'{own}, for="{node}"'),
        ("", f'for="{node}";host="{quoted}"'),
    ):
        assert seen.guest(x_forwarded_for, forwarded) in (named, None)
    assert seen.guest("", f'for="{node}";host="{quoted}"') == named


def test_who_is_trusted() -> None:
    trusted = Proxies(["10.0.0.0/8", "::ffff:192.0.2.0/120", "2001:db8::/32"])
    for shown in ("10.1.2.3:5", "192.0.2.200:5", "[2001:db8::1]:5"):
        assert trusted.trusts(addresses.host(shown))
    for shown in ("11.1.2.3:5", "192.0.3.1:5", "[2001:db9::1]:5", "unix"):
        assert not trusted.trusts(addresses.host(shown))
    assert PROXIES.trusts(addresses.host("unix"))


class TestWhatIsTold:
    def test_somebody_who_names_others(self) -> None:
        proxies = Proxies([])
        told = (
            "192.0.2.7:5 names other addresses, which is not believed. If it is your proxy, all "
            "its guests share one throttle: start with --trust-proxy 192.0.2.7."
        )
        assert proxies.behind("192.0.2.7:5", "1.2.3.4", "") == (None, told)
        assert proxies.behind("192.0.2.8:5", "1.2.3.4", "") == (None, "")
        assert proxies.behind("192.0.2.8:5", "", "") == (None, "")

    def test_a_proxy_of_ours(self) -> None:
        proxies = Proxies(["192.0.2.0/24", "unix"])
        assert proxies.behind("192.0.2.7:5", "1.2.3.4", "") == (ip_address("1.2.3.4"), "")
        assert proxies.behind("unix", "", "for=1.2.3.4") == (ip_address("1.2.3.4"), "")
        assert proxies.behind("198.51.100.1:5", "", "") == (None, "")
        guest, told = proxies.behind("192.0.2.7:5", "", "")
        assert guest is None
        assert told.startswith("The proxy 192.0.2.7 names no guest. All who come so share one")
        assert proxies.behind("unix", "", "") == (None, "")
        guest, told = proxies.behind("[2001:db8::1]:5", "x", "")
        assert (guest, told[:20]) == (None, "[2001:db8::1]:5 name")
        _, told = proxies.behind("192.0.2.7:5", "y" * 200 + "x", "")
        assert f" be read: {'y' * 99}x. All such guests share one throttle." in told
        assert proxies.behind("192.0.2.7:5", "x", "") == (None, "")

    @pytest.mark.parametrize(
        ("address", "where"), [("127.0.0.1:{}", "127.0.0.1"), ("[::1]:{}", "::1"), ("unix", "unix")]
    )
    def test_that_all_come_by_one_door_once(self, address: str, where: str) -> None:
        proxies = Proxies([])
        came = [proxies.came(address.format(n), bytes([n // 2])) for n in range(8)]
        assert came[:4] == [""] * 4  # two people, who came twice
        assert came[4].startswith(f"All guests so far come from {where}, and share one throttle.")
        assert f"--trust-proxy {where}." in came[4]
        assert came[5:] == [""] * 3

    @pytest.mark.parametrize("other", ["192.0.2.9:1", "192.0.2.9", "2001:db8::1"])
    def test_that_none_is_alone(self, other: str) -> None:
        proxies = Proxies([])
        assert [proxies.came("192.0.2.7:1", bytes([n])) for n in range(2)] == ["", ""]
        assert proxies.came(other, b"o") == ""
        assert [proxies.came("192.0.2.7:1", bytes([n])) for n in range(9)] == [""] * 9
