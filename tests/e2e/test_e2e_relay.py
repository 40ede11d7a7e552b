"""The relay's console, its flags, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys

import pytest

from common import qr
from common.member.uplink import Wait
from tests.e2e.harness import CLIENT, ROOT, SERVER, House, Lines, Program, Relay

BARE_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def joins(relay: Program) -> list[str]:
    return [row for row in relay.rows if row.startswith("Join with")]


def test_start_is_told_as_promised(house: House) -> None:
    relay = house.relay()
    relay.wait_for("Only this machine can connect")
    port, key = relay.port, relay.key
    assert relay.rows == [
        f"Server starts at `ws://localhost:{port}/`.",
        "[Cryptography Key]",
        "Please copy the following key below, you will need it for connecting to this server:",
        f"Key: {key}",
        f"Join with: {sys.executable} {CLIENT} {key}@localhost:{port}",
        "This KEY is for this run only. With --data DIR it stays the same.",
        "No --password given: whoever has the KEY can join.",
        "Only this machine can connect: the default password is public. For guests start with "
        "--password X, or with --password-file -, which asks for one.",
    ]


def test_start_with_a_password_names_every_address_for_guests(house: House) -> None:
    data = str(house.path / "data")
    hosts = ("--host", "127.0.0.1", "--host", "::1")
    relay = house.relay("--password", "X", *hosts, "--data", data)
    relay.wait_for("The client will ask for the password.")
    port = relay.port
    assert relay.rows[0] == (f"Server starts at `ws://127.0.0.1:{port}/`, `ws://[::1]:{port}/`.")
    assert joins(relay) == [
        f"Join with: {sys.executable} {CLIENT} {relay.key}@127.0.0.1:{port}",
        # Unquoted, zsh would look for files of such names.
        f"Join with: {sys.executable} {CLIENT} '{relay.key}@[::1]:{port}'",
    ]
    assert not any("No --password" in row or "this run" in row for row in relay.rows)


def test_what_the_relay_prints_can_be_pasted_where_it_was_started(house: House) -> None:
    # A shell would split the folder's name.
    desk = house.path / "my chat"
    desk.mkdir()
    for name in ("client.py", "server.py", "common"):
        (desk / name).symlink_to(ROOT / name)
    start = f"cd '{desk}' && exec '{sys.executable}' server.py -p 0 --password X"
    relay = Program(house, ["/bin/sh", "-c", start])
    relay.wait_for("The client will ask")
    for row in joins(relay):
        line = row.removeprefix("Join with: ")
        told = ["/bin/sh", "-c", f"cd '{desk}' && {line} --username ace --plain --password X"]
        assert "client.py" in line
        ace = Lines(house, told)
        ace.wait_for("You are connected as `ace`.")
        ace.end_input()
        assert ace.ended() == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "::", "*", ""])  # noqa: S104
def test_what_is_every_address_is_nobodys_to_join_at(house: House, host: str) -> None:
    relay = Program(house, [sys.executable, SERVER, "-p", "0", "--password", "X", "--host", host])
    relay.wait_for("The client will ask")
    assert any(row.startswith("It listens at every IPv") for row in relay.rows)
    assert not re.search(r"[@/]\[?(0\.0\.0\.0|0|::)\]?:", "\n".join(relay.rows)), relay.rows
    assert joins(relay)


def test_what_guests_paste_is_a_code_for_a_camera_too(house: House) -> None:
    relay = house.relay("--qr", "--host", "127.0.0.1")
    house.until(lambda: any(row in relay.rows for row in qr.rows(relay.ticket_at("127.0.0.1"))))
    drawn = qr.rows(relay.ticket_at("127.0.0.1"))
    relay.wait_for(drawn[-1], 2)
    at = relay.rows.index(drawn[0])
    assert relay.rows[at : at + len(drawn)] == drawn
    ace = house.lines(relay.ticket_at("127.0.0.1"), "ace")
    ace.wait_for("You are connected")
    ace.say("/invite qr")
    ace.wait_for("█")
    invitation = next(row for row in ace.rows if row.startswith(relay.key))
    for row in qr.rows(invitation):
        ace.wait_for(row)


SLOW_RESOLVER = """
import os, socket, time
ask = socket.getaddrinfo
def answer(host, *arguments, **named):
    if host != socket.gethostname():
        return ask(host, *arguments, **named)
    while not os.path.exists({go!r}):
        time.sleep(0.02)
    return ask("192.0.2.77", *arguments, **named)
socket.getaddrinfo = answer
"""


def test_a_resolver_that_is_slow_delays_nobody(house: House) -> None:
    go = house.path / "go"
    (house.path / "sitecustomize.py").write_text(SLOW_RESOLVER.format(go=str(go)))
    slow: dict[str, str | None] = {"PYTHONPATH": str(house.path)}
    relay = house.relay("--host", "0.0.0.0", "--password", "X", env=slow)  # noqa: S104
    # It serves before it knows its own name.
    ace = house.lines(relay, "ace", "--password", "X")
    ace.wait_for("You are connected")
    assert "192.0.2.77" not in relay.out.decode()
    go.touch()
    relay.wait_for("@192.0.2.77:")
    assert joins(relay)[-1].endswith(f"client.py {relay.key}@192.0.2.77:{relay.port}")
    assert relay.stop() == 0


def test_comings_goings_and_refusals_are_told(house: House) -> None:
    relay = house.relay()
    ace = house.lines(relay, "ace")
    ace.wait_for("You are connected")
    relay.wait_for("[Connected] Username: ace")
    bea = house.lines(relay, "bea", "--room", "Kitchen")
    bea.wait_for("You are connected as `bea` in `kitchen`.")
    relay.wait_for("[Connected] Username: bea")
    house.lines(relay, "eve", "--password", "wrong", stdin=subprocess.DEVNULL)
    relay.wait_for("[Rejected]")
    ace.end_input()
    assert ace.ended() == 0
    relay.wait_for("[Disconnected] Username: ace")
    told = "\n".join(relay.rows[8:])
    address = r"(127\.0\.0\.1|\[::1\]):\d+"
    for row in (
        rf"\[Connected\] Username: ace  Address: {address}  \[Path\] /  1 users",
        rf"\[Connected\] Username: bea  Address: {address}  \[Path\] /kitchen  1 users",
        rf"\[Rejected\] {address}: wrong KEY or password",
        rf"\[Disconnected\] Username: ace  Address: {address}  \[Path\] /  0 users  left",
    ):
        assert re.search(f"^{row}$", told, re.MULTILINE), told
    assert not relay.errors


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_relay_and_members_are_told(house: House, signum: int) -> None:
    relay = house.relay()
    bot = house.bot(relay, "bot")
    ace = house.lines(relay, "ace")
    ace.wait_for("You are connected")
    assert relay.stop(signum) == 0
    assert relay.rows[-1] == "Server has been stopped."
    assert not relay.errors
    house.until(lambda: bot.verdict)
    assert isinstance(bot.verdict, Wait)
    refused = bot.verdict.refused
    assert refused is not None
    assert (refused.status, refused.authentic) == (503, True)
    ace.wait_for("Retrying in")
    assert ace.is_running


def failed(house: House, *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code of a relay that cannot start, and what it wrote to standard error."""
    relay = Relay(house, arguments)
    code = relay.ended()
    assert not relay.rows
    return code, relay.errors


def test_a_port_that_is_taken_is_one_sentence(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, errors = failed(house, "-p", str(port), "--host", "127.0.0.1")
    remedy = "Stop the other program, or choose another with --port."
    assert (code, errors) == (1, [f"Port {port} is in use. {remedy}"])


@pytest.mark.parametrize("host", ["203.0.113.1", "not a name", "a" * 64, "a..b", "[::1]", "\udcff"])
def test_an_unusable_host_is_one_sentence(house: House, host: str) -> None:
    code, errors = failed(house, "--host", host)
    assert code == 1
    assert len(errors) == 1
    assert "--host" in errors[0]


def test_an_unusable_path_is_one_sentence(house: House) -> None:
    path = house.path / "sock"
    house.relay("--host", f"unix:{path}")
    remedy = "Choose another path with --host."
    code, errors = failed(house, "--host", f"unix:{path}")
    assert (code, errors) == (
        1,
        [f"Cannot listen at unix:{path}: Address already in use. {remedy}"],
    )
    for bad in (path / "below", "x" * 200):
        code, errors = failed(house, "--host", f"unix:{bad}")
        assert code == 1
        assert len(errors) == 1
        assert errors[0].startswith(f"Cannot listen at unix:{bad}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-p", "port"),
        ("-p", "65536"),
        ("-p", "-1"),
        ("--port", "17x"),
        ("--nonsense",),
        ("surplus",),
        ("--room-size", "0"),
        ("--rooms", "many"),
        ("--password", "\udcff"),
        ("--host", "unix:"),
    ],
)
def test_wrong_usage_is_one_sentence(house: House, arguments: tuple[str, ...]) -> None:
    code, errors = failed(house, *arguments)
    assert code == 2
    assert len(errors) == 1


def test_a_console_that_nobody_reads_stops_no_room(house: House) -> None:
    relay = house.relay()
    ace, bea = (house.lines(relay, name) for name in ("ace", "bea"))
    for member in (ace, bea):
        member.wait_for("You are connected")
    relay.wait_for("[Connected]", 2)
    relay.stop_reading()
    # More rows than pipe and queue hold.
    for part in range(12):
        for _ in range(10):
            strangers = [relay.connect() for _ in range(30)]
            for stranger in strangers:
                stranger.sendall(BARE_REQUEST)
            for stranger in strangers:
                assert stranger.recv(12) == b"HTTP/1.1 426"
                stranger.close()
        ace.say(f"line {part} of ace")
        bea.wait_for(f"ace: line {part} of ace")
    relay.read_on()
    relay.wait_for("rows not shown")
    assert sum("[Rejected]" in row for row in relay.rows) > 1000
    bea.say("the console is read again")
    ace.wait_for("bea: the console is read again")
    assert relay.stop() == 0


def test_a_console_that_is_closed_stops_no_room(house: House) -> None:
    relay = house.relay()
    ace: Lines = house.lines(relay, "ace")
    ace.wait_for("You are connected")
    ticket = relay.ticket
    relay.close_output()
    bea = house.lines(ticket, "bea")
    bea.wait_for("You are connected")
    bea.say("nobody reads")
    ace.wait_for("bea: nobody reads")
    assert relay.stop() == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(house: House, closed: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, SERVER, "-p", str(port), "--host", "127.0.0.1"]
    relay = Program(house, ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *command])
    answers: list[bytes] = []
    house.until(lambda: answered(port, answers) or not relay.is_running)
    assert answers == [b"HTTP/1.1 426"]
    relay.signal(signal.SIGTERM)
    assert relay.ended() == 0
    assert not relay.errors
    assert ("Server has been stopped." in relay.rows) == (">&-" not in closed.split())


def answered(port: int, answers: list[bytes]) -> bool:
    """Ask whoever listens there, if anybody does yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            stranger.sendall(BARE_REQUEST)
            answers.append(stranger.recv(12))
    except ConnectionRefusedError:
        return False
    return True
