"""How a member reaches a relay: TLS, proxies, IPv6, unix sockets (UX.md 8)."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from common.crypto import ticket
from common.member.sentences import unproven
from tests.e2e.harness import WAIT_S, House, Lines, Relay


def check(house: House, where: str, *more: str) -> Lines:
    program = Lines(house, house.member(where, "ace", "--check", *more), subprocess.DEVNULL)
    program.ended()
    return program


def certificate(path: Path) -> Path:
    """Make a certificate of `localhost`, with its key in the same file."""
    pem, key = path / "tls.pem", path / "tls.key"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command = ["openssl", "req", *kind, "-days", "2", *names, "-keyout", str(key)]
    subprocess.run([*command, "-out", str(pem)], check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + key.read_bytes())
    return pem


class Terminator(threading.Thread):
    """What ends TLS before a relay: one connection, a thread each way."""

    def __init__(self, pem: Path, relay_port: int) -> None:
        super().__init__(daemon=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._relay_port = relay_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            try:
                guest = self._context.wrap_socket(raw, server_side=True)
            except OSError:
                continue
            relay = socket.create_connection(("127.0.0.1", self._relay_port), timeout=WAIT_S)
            guest.settimeout(0.01)
            threading.Thread(target=self._carry, args=(guest, relay), daemon=True).start()

    def _carry(self, guest: ssl.SSLSocket, relay: socket.socket) -> None:
        relay.settimeout(0.01)
        pairs = ((guest, relay), (relay, guest))
        try:
            while True:
                for source, target in pairs:
                    try:
                        data = source.recv(65_536)
                    except TimeoutError:
                        continue
                    if not data:
                        return
                    target.settimeout(WAIT_S)
                    target.sendall(data)
                    target.settimeout(0.01)
        except OSError:
            pass
        finally:
            guest.close()
            relay.close()

    def close(self) -> None:
        self._listener.close()


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl to make a certificate")
def test_tls_is_verified_and_carries_everything(house: House) -> None:
    relay = house.relay("--host", "127.0.0.1")
    pem = certificate(house.path)
    terminator = Terminator(pem, relay.port)
    house.admit(terminator)
    url = ("--url", f"wss://localhost:{terminator.port}/")
    stranger = check(house, relay.key, *url)
    assert stranger.exit_code == 4
    assert stranger.rows[0].startswith("The certificate of localhost is not valid here: ")
    trusted = (*url, "--cafile", str(pem))
    unnamed = ("--url", f"wss://127.0.0.1:{terminator.port}/", "--cafile", str(pem))
    assert re.search(r"[^.]\. See --cafile\.$", check(house, relay.key, *unnamed).rows[0])
    assert check(house, relay.key, *trusted).exit_code == 0
    bot = house.bot(relay, "bea")
    ace = house.lines(relay.key, "ace", *trusted)
    house.until(lambda: bot.conversation.members == 2)
    # More than one TLS record at once: what no selector tells of must be read all the same.
    for number in range(8):
        bot.say(f"{number} " + "x" * 16_000)
    ace.wait_for(": 7 xx")
    ace.say("sealed twice")
    house.until(lambda: "sealed twice" in bot.heard)
    ace.end_input()
    assert ace.ended() == 0
    mute = check(house, relay.key, "--url", f"wss://localhost:{relay.port}/")
    assert mute.exit_code == 4
    assert mute.rows == ["localhost does not speak TLS. Is it ws://, or another port?"]


def test_check_says_in_one_line_what_answers(house: House) -> None:
    relay = house.relay("--host", "127.0.0.1", "--password", "p")
    good = check(house, f"{relay.key}@127.0.0.1:{relay.port}", "--password", "p")
    assert good.exit_code == 0
    assert good.rows == [f"127.0.0.1:{relay.port} is a termchat relay, and takes this KEY."]
    assert good.errors == []
    needed = f"127.0.0.1:{relay.port} is reached; a password is needed, or KEY is wrong."
    bad = check(house, f"{relay.key}@127.0.0.1:{relay.port}")
    assert (bad.exit_code, bad.rows) == (3, [needed])
    port = relay.port
    relay.stop()
    gone = check(house, f"{relay.key}@127.0.0.1:{port}")
    assert gone.exit_code == 4
    assert gone.rows[0].startswith(f"Cannot reach 127.0.0.1:{port}: connection refused.")
    assert not any("Connected" in row for row in relay.rows)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_several_hosts_at_once(house: House) -> None:
    path = house.path / "relay.sock"
    # One that was left behind by a crash.
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    v6 = ("--host", "::1") if has_ipv6() else ()
    relay = house.relay("--host", "127.0.0.1", *v6, "--host", f"unix:{path}")
    wheres = ["127.0.0.1", *(["[::1]"] if v6 else [])]
    members = [
        house.lines(f"{relay.key}@{where}:{relay.port}", f"u{number}")
        for number, where in enumerate(wheres)
    ]
    for number in range(len(members)):
        relay.wait_for(f"Username: u{number}")
    local = house.lines(relay.key, "local", "--url", f"unix:{path}")
    local.wait_for(f"Connected to `unix:{path}` server.")
    relay.wait_for("Username: local  Address: unix")
    local.say("from a socket in the file system")
    for member in members:
        member.wait_for("local: from a socket")
    assert relay.stop() == 0
    assert not path.exists()


def test_a_proxy_is_believed_only_when_trusted(house: House) -> None:
    trusting = house.relay("--host", "127.0.0.1", "--trust-proxy", "127.0.0.0/8")
    wary = house.relay("--host", "127.0.0.1")
    for relay in (trusting, wary):
        knock(relay, "X-Forwarded-For: 192.0.2.9, 198.51.100.7:4711, 127.0.0.2")
        knock(relay, 'Forwarded: for=192.0.2.9, for="198.51.100.7:80"')
        for _ in range(2):
            knock(relay, "X-Forwarded-For: 192.0.2.9, unknown")
    trusting.wait_for("[Rejected] 198.51.100.7: ", 2)
    trusting.wait_for("[Rejected] 127.0.0.1:", 2)
    wary.wait_for("[Rejected] 127.0.0.1:", 4)
    # Told once.
    (told,) = [row for row in wary.rows if "one throttle" in row]
    assert told.endswith("start with --trust-proxy 127.0.0.1.")
    (told,) = [row for row in trusting.rows if "one throttle" in row]
    assert "The proxy 127.0.0.1 names a guest by no address that can be read: " in told


def knock(relay: Relay, header: str) -> None:
    """Ask for an upgrade with a header that only a proxy should set."""
    sock = relay.connect()
    lines = [
        "GET / HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: termchat.v1",
        header,
    ]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    assert b"401" in sock.recv(100)


@pytest.mark.parametrize(
    ("status", "told"),
    [(502, "status 502: a proxy there cannot reach the relay."), (418, "status 418.")],
)
def test_what_a_proxy_answers_is_told_with_its_number(house: House, status: int, told: str) -> None:
    proxy = house.listener()
    program = Lines(
        house,
        house.member(
            f"{ticket.key_text(bytes(range(32)))}@127.0.0.1:{proxy.getsockname()[1]}",
            "ace",
            "--check",
        ),
        subprocess.DEVNULL,
    )
    guest, _ = proxy.accept()
    guest.recv(4096)
    guest.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
    assert program.ended() == 3
    assert program.rows == [unproven(f"{told}")]
    guest.close()
    proxy.close()
