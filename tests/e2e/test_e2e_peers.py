"""Two people and a third, without a server (UX.md 8, PROTOCOL.md 2)."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from common.member.sentences import unproven
from tests.e2e.harness import CLIENT, ROOT, WAIT_S, House, Lines, Program, Screen

KEY = "DN80giegpRHpNHLClZep_maYg2iXRGHsbq9Uy1Cobi0="
OTHER_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
ADDRESSES = {"desktop": "127.0.0.1", "laptop": "127.0.0.2", "phone": "127.0.0.1"}
PARAMETERS = "[parameters]\nip = {}\nport = {}\nfernet_key = {}\nusername = {}\n"


def free_port(ip: str) -> int:
    with socket.socket() as sock:
        sock.bind((ip, 0))
        port: int = sock.getsockname()[1]
        return port


class Peers:
    """The machines of one chat: each has a config.ini and a home."""

    def __init__(self, house: House, ip: str = "127.0.0.1") -> None:
        self.house = house
        self.port = free_port(ip)
        self.at = f"{ip}:{self.port}"

    def command(self, name: str, *flags: str, key: str = KEY, home: str = "") -> list[str]:
        file = self.house.path / f"{name}.ini"
        file.write_text(PARAMETERS.format(ADDRESSES[name], self.port, key, name))
        file.chmod(0o600)
        at = str(self.house.path / f"home-{home or name}")
        return [sys.executable, CLIENT, "--config", str(file), "--home", at, *flags]

    def lines(self, name: str, *flags: str, key: str = KEY, home: str = "") -> Lines:
        command = self.command(name, "--plain", *flags, key=key, home=home)
        return Lines(self.house, command)

    def screen(self, name: str, *flags: str) -> Screen:
        return Screen(self.house, self.command(name, *flags))

    def pair(self) -> tuple[Lines, Lines]:
        """Return desktop, which listens, and laptop, which has connected."""
        desktop = self.lines("desktop", "--listen")
        desktop.wait_for("Waiting for a peer.")
        laptop = self.lines("laptop", "--connect", self.at)
        laptop.wait_for("WELCOME")
        desktop.wait_for("WELCOME")
        return desktop, laptop


def match(rows: list[str], *patterns: str) -> None:
    assert re.fullmatch("\n".join(patterns), "\n".join(rows)), rows


@pytest.mark.parametrize(("listener", "connector"), [("desktop", "laptop"), ("laptop", "desktop")])
def test_the_dialogue_of_the_small_program(house: House, listener: str, connector: str) -> None:
    ip = ADDRESSES[listener]
    peers = Peers(house, ip)
    one = peers.lines(listener)
    one.write("lisen\nlisten\n")
    one.wait_for("Waiting for a peer.")
    two = peers.lines(connector)
    two.write(f"CONNECT\nno host\n{ip}\n65536\n{peers.port}\n")
    two.wait_for("WELCOME")
    two.say(f"hello {listener}")
    one.wait_for("says")
    one.say(f"hello {connector}")
    two.wait_for("says")
    two.say("exit")
    two.wait_for("goodbye")
    two.say("see you")
    assert two.ended() == 0
    one.wait_for("Waiting for a peer.", 2)
    one.say("exit")
    one.wait_for("goodbye")
    one.say("")
    assert one.ended() == 0
    closed = (
        r"Enter goodbye text \(optional\): ",
        r"Sent TERMINATE message\.",
        r"Connection closed by you\.",
    )
    match(
        one.rows,
        rf"Your IP and port are: {ip}:{peers.port}",
        r"Enter mode \(connect or listen\): ",
        r"The answer is connect or listen\.",
        r"Enter mode \(connect or listen\): ",
        r"Waiting for a peer\.",
        r"Connected by \('127\.0\.0\.\d', \d+\)",
        rf"WELCOME Welcome to the chat! I am {listener}",
        rf"{connector} says: hello {listener}",
        r"Sent CHAT message\.",
        rf"{connector} says: see you",
        r"Connection closed by peer\.",
        r"Waiting for a peer\.",
        *closed,
    )
    match(
        two.rows,
        rf"Your IP and port are: {ADDRESSES[connector]}:{peers.port}",
        r"Enter mode \(connect or listen\): ",
        r"Enter peer IP: ",
        r"HOST is malformed: it has letters, digits, dots and hyphens\.",
        r"Enter peer IP: ",
        r"Enter peer port: ",
        r"PORT is a number from 1 to 65535\.",
        r"Enter peer port: ",
        rf"Connected to {ip}:{peers.port}",
        rf"WELCOME Welcome to the chat! I am {listener}",
        r"Sent CHAT message\.",
        rf"{listener} says: hello {connector}",
        *closed,
    )
    assert one.errors == two.errors == []


def test_a_third_comes_and_the_listener_ends_it(house: House) -> None:
    peers = Peers(house)
    desktop, laptop = peers.pair()
    phone = peers.lines("phone", "--connect", peers.at)
    for member in (desktop, laptop):
        member.wait_for("phone joined (fingerprint ")
    phone.wait_for("WELCOME")
    phone.wait_for("3 here: ")
    phone.say("hello both")
    laptop.wait_for("phone says: hello both")
    laptop.say("/me waves")
    phone.wait_for("* laptop waves")
    # Nobody else's goodbye ends anybody.
    phone.signal(signal.SIGTERM)
    assert phone.ended() == 0
    desktop.wait_for("Connection closed by peer.")
    laptop.wait_for("phone left")
    desktop.say("exit")
    desktop.wait_for("goodbye")
    desktop.say("that was it")
    assert desktop.ended() == 0
    assert laptop.ended() == 0
    assert laptop.rows[-2:] == ["desktop says: that was it", "Connection closed by peer."]
    assert sum("WELCOME" in row for row in laptop.rows) == 1
    assert sum("WELCOME" in row for row in desktop.rows) == 2
    assert sum("Connected by" in row for row in desktop.rows) == 2
    assert laptop.errors == []


def test_the_same_on_a_screen(house: House) -> None:
    peers = Peers(house)
    desktop = peers.screen("desktop")
    desktop.wait_for("Enter mode (connect or listen):")
    desktop.type("listen\r")
    desktop.wait_for("Connected to lobby as desktop.")
    laptop = peers.screen("laptop", "--connect", peers.at)
    desktop.may_ring = laptop.may_ring = True  # for a direct message, or a name
    laptop.wait_for("to you: WELCOME Welcome to the chat! I am")
    desktop.wait_for("laptop joined")
    laptop.say("hello from a screen")
    desktop.wait_for("hello from a screen")
    desktop.say("/quit good night")
    assert desktop.ended() == 0
    laptop.wait_for("good night")
    laptop.wait_for("Connection closed by peer. /quit leaves.")
    laptop.say("/quit")
    assert laptop.ended() == 0


def test_a_listener_that_is_killed_is_a_broken_link(house: House) -> None:
    peers = Peers(house)
    desktop, laptop = peers.pair()
    desktop.signal(signal.SIGKILL)
    desktop.ended()
    laptop.wait_for("Connection lost. Retrying in")
    laptop.say("are you back")
    again = peers.lines("desktop", "--listen")
    again.wait_for("laptop says: are you back")
    laptop.wait_for("WELCOME", 2)
    again.end_input()
    assert again.ended() == 0
    assert laptop.ended() == 0
    assert laptop.rows[-1] == "Connection closed by peer."


def test_ctrl_c_leaves_at_a_prompt_and_in_the_chat(house: House) -> None:
    peers = Peers(house)
    asked = peers.lines("desktop")
    asked.wait_for("Enter mode")
    asked.signal(signal.SIGINT)
    assert asked.ended() == 130
    assert asked.errors == []
    desktop, laptop = peers.pair()
    desktop.signal(signal.SIGINT)
    assert desktop.ended() == 130
    assert desktop.rows[-1] == "Connection closed by you."
    assert laptop.ended() == 0
    assert laptop.rows[-1] == "Connection closed by peer."


def test_ctrl_c_of_who_connected_ends_nobody_else(house: House) -> None:
    peers = Peers(house)
    desktop, laptop = peers.pair()
    laptop.signal(signal.SIGINT)
    assert laptop.ended() == 130
    assert laptop.rows[-1] == "Connection closed by you."
    desktop.wait_for("Waiting for a peer.", 2)
    phone = peers.lines("phone", "--connect", peers.at)
    phone.say("is anybody there?")
    desktop.wait_for("phone says: is anybody there?")


def test_another_name_of_a_peer_is_one_row_and_closes_nothing(house: House) -> None:
    peers = Peers(house)
    desktop, laptop = peers.pair()
    laptop.say("/nick traveller")
    laptop.wait_for("You are now traveller. 2 here.")
    desktop.wait_for("laptop is now traveller. 2 here")
    # The listener keeps the name: its session is everybody's.
    desktop.say("/nick tower")
    desktop.wait_for("Who listens keeps the name")
    desktop.say("still here?")
    laptop.wait_for("desktop says: still here?")
    for number in range(60):  # more than a relay for strangers takes at once
        laptop.say(f"line {number}")
    desktop.wait_for("traveller says: line 59")
    assert not any("closed" in row for row in (*desktop.rows, *laptop.rows))
    assert sum("WELCOME" in row for row in (*desktop.rows, *laptop.rows)) == 2
    desktop.signal(signal.SIGTERM)
    assert desktop.ended() == 0
    assert laptop.ended() == 0
    assert laptop.rows[-1] == "Connection closed by peer."


def test_a_peer_that_is_cut_off_comes_back(house: House) -> None:
    peers = Peers(house)
    desktop = peers.lines("desktop", "--listen")
    desktop.wait_for("Waiting for a peer.")
    proxy = house.proxy_to(peers.port)
    laptop = peers.lines("laptop", "--connect", f"127.0.0.1:{proxy.port}")
    laptop.wait_for("WELCOME")
    proxy.cut()
    laptop.wait_for("Connection lost. Retrying in")
    desktop.say("while you were gone")
    laptop.wait_for("desktop says: while you were gone")
    laptop.wait_for("Back after")
    laptop.say("here I am")
    desktop.wait_for("laptop says: here I am")
    # Who was away for a moment has not left, and is not greeted again.
    assert not any("closed" in row for row in desktop.rows)
    assert sum("WELCOME" in row for row in laptop.rows) == 1


def test_ctrl_c_while_it_starts(house: House) -> None:
    desktop = Peers(house).lines("desktop", "--listen")
    desktop.wait_for("Your IP and port are:")  # what it needs is imported after that
    desktop.signal(signal.SIGINT)
    assert desktop.ended() == 130
    assert "Traceback" not in "".join(desktop.errors)


def test_what_is_recorded_tells_nothing_and_replays_to_nothing(house: House) -> None:
    peers = Peers(house)
    desktop = peers.lines("desktop", "--listen")
    desktop.wait_for("Waiting for a peer.")
    proxy = house.proxy_to(peers.port)
    laptop = peers.lines("laptop", "--connect", f"127.0.0.1:{proxy.port}")
    laptop.wait_for("WELCOME")
    laptop.say("a secret marker")
    desktop.wait_for("laptop says: a secret marker")
    for word in (b"laptop", b"desktop", b"marker", b"WELCOME", KEY.encode()[:20]):
        assert word not in proxy.seen
    rows = len(desktop.rows)

    # The connector's first bytes, to the same listener, and to another that has the same key.
    request, rest = bytes(proxy.up).split(b"\r\n\r\n", 1)
    request += b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", peers.port), timeout=WAIT_S) as thief:
        thief.sendall(request)
        assert thief.recv(12) == b"HTTP/1.1 401"
    laptop.signal(signal.SIGTERM)
    assert laptop.ended() == 0
    desktop.say("exit")
    desktop.say("")
    assert desktop.ended() == 0
    told = ["Connection closed by peer.", "Waiting for a peer."]
    assert desktop.rows[rows : rows + 2] == told
    later = peers.lines("desktop", "--listen")
    later.wait_for("Waiting for a peer.")
    with socket.create_connection(("127.0.0.1", peers.port), timeout=WAIT_S) as thief:
        # A new listener cannot know that it was said before. What follows is of other keys.
        thief.sendall(request)
        assert thief.recv(65536).startswith(b"HTTP/1.1 101")
        thief.sendall(rest)
        told_bytes = b"".join(iter(lambda: thief.recv(65536), b""))
        assert len(told_bytes) < 200
    later.end_input()
    assert later.ended() == 0
    assert not any("Connected by" in row or "says" in row for row in later.rows)

    # The listener's first bytes, to a connector.
    with house.listener() as false:
        victim = peers.lines("laptop", "--connect", f"127.0.0.1:{false.getsockname()[1]}")
        with false.accept()[0] as sock:
            sock.recv(64 * 1024)
            sock.sendall(proxy.down)
            assert victim.ended() == 3
        (sentence,) = victim.errors
        assert sentence.startswith(unproven("protocol error", "peer"))
        assert not any("Connected" in row for row in victim.rows)


def test_long_lines_and_many_lines(house: House) -> None:
    peers = Peers(house)
    desktop, laptop = peers.pair()
    long = ["x" * 1_025, "y" * 16_384]
    laptop.write("two lines\nin one packet\nand one ")
    desktop.wait_for("laptop says: in one packet")
    laptop.write("split\n" + "\n".join(long) + "\n")
    desktop.wait_for("y" * 16_384)
    laptop.say("z" * 16_385)
    laptop.wait_for("16 KB is the limit")
    many = [f"line {number}" for number in range(1_000)]
    laptop.write("\n".join(many) + "\n")
    laptop.end_input()
    desktop.wait_for("Connection closed by peer.")
    assert laptop.ended() == 0
    heard = [row.partition("says: ")[2] for row in desktop.rows if "laptop says: " in row]
    assert heard == ["two lines", "in one packet", "and one split", *long, *many]
    assert laptop.rows.count("Sent CHAT message.") == len(heard)


# --------------------------------------------------------------------------------------- Refusals


def refusal(program: Program) -> tuple[int, str]:
    code = program.ended()
    (sentence,) = program.errors
    return code, sentence


def test_settings_that_cannot_be(house: House) -> None:
    peers = Peers(house)
    file = house.path / "desktop.ini"
    where = f"[parameters] of {file}"
    for key in ("", KEY[:-2], KEY + "A", "\N{SNOWMAN}"):
        bad = peers.lines("desktop", "--listen", key=key)
        missing = f"There is no fernet_key in {where}."
        wrong = f"fernet_key in {where} is not 32 bytes in base64. Copy it again."
        assert refusal(bad) == (2, wrong if key else missing)
    with socket.create_server(("127.0.0.1", peers.port)):
        taken = peers.lines("desktop", "--listen")
        expected = f"Port {peers.port} is in use. Stop what uses it, or change port in {where}."
        assert refusal(taken) == (1, expected)
    command = peers.command("desktop", "--plain", "--listen")
    file.write_text(file.read_text().replace("127.0.0.1", "192.0.2.7"))
    expected = f"192.0.2.7 is no address of this machine. Change ip in {where}."
    assert refusal(Lines(house, command)) == (1, expected)
    file.chmod(0o644)
    expected = f"Others can read {file}, and fernet_key in it. Run: chmod 600 {file}"
    assert refusal(Lines(house, command)) == (1, expected)


def test_peers_that_are_not_there_or_not_ours(house: House) -> None:
    peers = Peers(house)
    where = f"[parameters] of {house.path / 'laptop.ini'}"
    code, sentence = refusal(peers.lines("laptop", "--connect", peers.at))
    assert code == 4
    assert sentence.startswith(f"Cannot reach {peers.at}: connection refused. Is the peer")
    desktop = peers.lines("desktop", "--listen")
    desktop.wait_for("Waiting for a peer.")
    wrong = peers.lines("laptop", "--connect", peers.at, key=OTHER_KEY)
    expected = f"wrong key. fernet_key in {where} must be the same on both machines."
    assert refusal(wrong) == (3, unproven(f"{expected}", "peer"))
    # Somebody with the identity of the listener itself: a reflection, or one home for two.
    same = peers.lines("laptop", "--connect", peers.at, home="desktop")
    code, sentence = refusal(same)
    assert code == 3
    assert sentence.startswith(unproven("the name laptop is in use, or both sides", "peer"))
    assert "Connected by" not in "\n".join(desktop.rows)


def test_nobody_to_ask(house: House) -> None:
    peers = Peers(house)
    for answers in ("", "nonsense", "connect\n127.0.0.1\n"):
        asked = peers.lines("desktop")
        asked.write(answers)
        asked.end_input()
        expected = "Nobody answers here: give --listen, or --connect HOST:PORT."
        assert refusal(asked) == (2, expected)


def test_whoever_listens_needs_the_relay_beside_the_client(house: House) -> None:
    shutil.copy(CLIENT, house.path / "client.py")
    (house.path / "common").symlink_to(ROOT / "common")
    peers = Peers(house)
    command = peers.command("desktop", "--plain", "--listen")
    command[1] = str(house.path / "client.py")
    expected = "Who listens needs server.py beside client.py. Copy it there."
    assert refusal(Lines(house, command)) == (2, expected)
    other = peers.lines("phone", "--listen")
    other.wait_for("Waiting for a peer.")
    command = peers.command("laptop", "--plain", "--connect", peers.at)
    command[1] = str(house.path / "client.py")
    Lines(house, command).wait_for("WELCOME")


def test_a_fresh_key_and_a_fresh_file(house: House) -> None:
    made = Program(house, [sys.executable, CLIENT, "--genkey"])
    assert made.ended() == 0
    (key,) = made.rows
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}=", key)
    assert Program(house, [sys.executable, CLIENT, "--init", "--username", "ace"]).ended() == 0
    file = house.path / "config.ini"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_text()
    again = Program(house, [sys.executable, CLIENT, "--init"])
    assert refusal(again) == (1, "config.ini is there already. Nothing was changed.")
    assert file.read_text() == before
    port = free_port("127.0.0.1")
    there = re.sub("ip = .*", "ip = 127.0.0.1", before)
    file.write_text(re.sub("port = 50233", f"port = {port}", there))
    ace = Lines(house, [sys.executable, CLIENT, "--plain", "--listen", "--ephemeral"])
    ace.wait_for(f"Your IP and port are: 127.0.0.1:{port}")
    ace.wait_for("Waiting for a peer.")
    where = ["--connect", f"127.0.0.1:{port}", "--username", "bea"]
    bea = Lines(house, [sys.executable, CLIENT, "--plain", "--ephemeral", *where])
    bea.wait_for("WELCOME Welcome to the chat! I am ace")
    ace.wait_for("Connected by ('127.0.0.1', ")


def test_a_file_serves_a_relay_and_its_guests(house: House) -> None:
    file = house.path / "config.ini"
    port = free_port("127.0.0.1")
    file.write_text(
        f"[server]\npassword = open sesame\nhost = 127.0.0.1\nport = {port}\nprot = 1\n"
    )
    file.chmod(0o640)
    shut = Program(house, [sys.executable, str(ROOT / "server.py")])
    expected = "Others can read config.ini, and password in it. Run: chmod 600 config.ini"
    assert refusal(shut) == (1, expected)
    file.chmod(0o600)
    relay = house.relay("-p", str(port), "--config", "config.ini")
    assert relay.port == port
    assert relay.errors == ["Nobody reads prot in [server] of config.ini."]
    file.write_text(f"[client]\nkey = {relay.ticket}\npassword = open sesame\nusername = ace\n")
    command = [sys.executable, CLIENT, "--plain", "--ephemeral"]
    ace = Lines(house, command, subprocess.PIPE)
    ace.wait_for("You are connected as `ace`.")
    file.write_text(file.read_text() + "bell = loud\n")
    expected = "bell in [client] of config.ini is 'loud', not on or off or all."
    assert refusal(Lines(house, command)) == (2, expected)


def test_no_key_and_no_file(house: House) -> None:
    nothing = Program(house, [sys.executable, CLIENT])
    code, sentence = refusal(nothing)
    assert code == 2
    assert "client.py KEY" in sentence
    assert "client.py --init" in sentence
    assert not list(Path(house.path).iterdir())
