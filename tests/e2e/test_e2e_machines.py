"""Machines that lack something: it is said, or done without."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.client.dial import CONNECT_S
from tests.e2e.harness import CLIENT, SERVER, House, Lines, Program

NEEDED = "termchat needs Python 3.11 or newer"


# --- An old Python, and one that does not look beside the script.


def old_pythons() -> list[tuple[str, tuple[int, ...]]]:
    """Return interpreters of this machine that are too old, and their versions."""
    names = ["python2.7", *(f"python3.{minor}" for minor in range(4, 11))]
    places = [path for name in names if (path := shutil.which(name))]
    root = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    places += glob.glob(f"{root}/versions/*/bin/python")  # noqa: PTH207 - a pattern of text
    found = {}
    for place in places:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        told = subprocess.run([place, "-c", code], capture_output=True, text=True, check=False)
        version = tuple(int(part) for part in told.stdout.strip().split(".") if part)
        if version and version < (3, 11):
            found[version] = place
    return [(place, version) for version, place in sorted(found.items())]


@pytest.mark.parametrize("script", [CLIENT, SERVER])
def test_an_old_python_says_what_is_needed(house: House, script: str) -> None:
    pythons = old_pythons()
    if not pythons:
        pytest.skip("there is no Python below 3.11 here")
    for python, version in pythons:
        program = Program(house, [python, script, "--version"])
        assert program.ended() == 1
        assert not program.rows
        told = "\n".join(program.errors)
        assert NEEDED in told
        # One file is compiled whole: those before `match` show the line that says it.
        is_read = script == CLIENT or version == (3, 10)
        assert ("SyntaxError" in told) is not is_read, (version, told)
        assert not is_read or len(program.errors) == 1


@pytest.mark.parametrize("script", [CLIENT, SERVER])
@pytest.mark.parametrize("how", [("-I",), ("-P",), ()])
def test_what_lies_beside_a_script_is_found(house: House, script: str, how: tuple[str]) -> None:
    safe = {"PYTHONSAFEPATH": "1"}
    program = Program(house, [sys.executable, *how, script, "--version"], env=dict(safe))
    assert program.ended() == 0
    assert program.rows[0].startswith("termchat ")


@pytest.mark.parametrize("script", [CLIENT, SERVER])
def test_a_script_alone_says_what_is_missing(house: House, script: str) -> None:
    name = Path(script).name
    shutil.copy(script, house.path)
    program = Program(house, [sys.executable, str(house.path / name), "--version"])
    assert program.ended() == 1
    assert program.errors == [f"The folder common is missing beside {name}. Get all files."]


# --- Libraries, locks and homes that do less.

RESTRICTED = """
import cryptography.hazmat.primitives.ciphers.aead as aead
from cryptography.exceptions import UnsupportedAlgorithm
class Restricted:
    def __init__(self, key):
        raise UnsupportedAlgorithm("ChaCha20Poly1305 is not supported by this version of OpenSSL")
aead.ChaCha20Poly1305 = Restricted
"""


@pytest.mark.parametrize("command", [(CLIENT, "KEY", "--plain", "--ephemeral"), (SERVER,)])
def test_an_algorithm_that_is_missing_is_said_at_the_start(
    house: House, command: tuple[str, ...]
) -> None:
    relay = house.relay()
    ours = [relay.ticket if part == "KEY" else part for part in command]
    program = Program(house, [sys.executable, *ours], env=house.patched(RESTRICTED))
    assert program.ended() == 2
    (sentence,) = program.errors
    assert sentence.startswith("cryptography cannot do ChaCha20-Poly1305 here: ")


NO_LOCKS = """
import errno, fcntl
def lacks(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = fcntl.lockf = lacks
"""


def test_a_file_system_without_locks(house: House) -> None:
    env = house.patched(NO_LOCKS)
    relay = house.relay("--data", str(house.path / "data"), env=env)
    ace = house.lines(relay, "ace", env=env)
    ace.wait_for("You are connected")
    bea = house.lines(relay, "bea", env=env)
    bea.wait_for("You are connected")
    bea.say("unlocked")
    ace.wait_for("bea: unlocked")
    assert (house.path / "home-ace" / "known_peers").exists()
    assert relay.stop() == 0


def test_a_home_that_cannot_be_is_no_need_of_who_keeps_nothing(house: House) -> None:
    relay = house.relay()
    (house.path / "file").touch()
    env: dict[str, str | None] = {"XDG_STATE_HOME": str(house.path / "file")}
    ace = house.lines(relay, "ace", homeless=True, env=env)
    assert ace.ended() == 1
    remedy = "Use another home with --home DIR, or none with --ephemeral."
    assert ace.errors[-1].endswith(f"Not a directory. {remedy}")
    ace = house.lines(relay, "ace", "--ephemeral", homeless=True, env=env)
    ace.wait_for("You are connected")
    # One that was good when we came, and takes no pins now.
    bea = house.lines(relay, "bea", stdin=subprocess.DEVNULL)
    assert bea.ended() == 0
    lock = house.path / "home-bea" / "known_peers.lock"
    lock.unlink()
    lock.mkdir()
    house.lines(relay, "col").wait_for("You are connected")
    bea = house.lines(relay, "bea")
    assert bea.ended() == 1
    assert bea.errors[-1] == f"Cannot write {lock}: Is a directory. {remedy}"


# --- Windows, as far as it can be had here.

# Without what only POSIX has, and with a `select` that takes sockets alone.
ELSEWHERE = """
import builtins, os, select, selectors, signal, socket, stat, sys, time
import getpass, pathlib, random, shutil, subprocess, tempfile
HIDDEN = {"fcntl", "termios", "tty", "pty", "curses", "_curses", "readline", "resource", "pwd"}
for name in HIDDEN:
    sys.modules[name] = None
for name in ("HUP", "QUIT", "TSTP", "CONT", "WINCH", "CHLD", "USR1", "USR2", "PIPE", "ALRM"):
    if hasattr(signal, "SIG" + name):
        delattr(signal, "SIG" + name)
for name in ("SIGTTIN", "SIGTTOU"):
    delattr(signal, name)
for name in ("killpg", "getpgrp", "tcgetpgrp", "geteuid", "getuid", "O_NOFOLLOW", "O_NONBLOCK"):
    if hasattr(os, name):
        delattr(os, name)
del socket.AF_UNIX, time.tzset, select.poll
os.name = "elsewhere"
real = select.select
def only_sockets(*lists):
    for one in [one for each in lists[:3] for one in each]:
        if not stat.S_ISSOCK(os.fstat(one if isinstance(one, int) else one.fileno()).st_mode):
            raise OSError(10038, "An operation was attempted on something that is not a socket")
    return real(*lists)
select.select = only_sockets
selectors.SelectSelector._select = lambda self, *lists: only_sockets(*lists)
selectors.DefaultSelector = selectors.SelectSelector
def pair(*_):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return socket.create_connection(listener.getsockname()), listener.accept()[0]
socket.socketpair = pair
read = os.read
def read_no_socket(fd, size):
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise OSError(9, "Bad file descriptor")
    return read(fd, size)
os.read = read_no_socket
"""


def test_both_programs_do_without_what_only_posix_has(house: House) -> None:
    env = house.patched(ELSEWHERE)
    relay = house.relay("--log", str(house.path / "log"), stdin=subprocess.PIPE, env=env)
    ace = house.lines(relay, "ace", env=env)
    ace.wait_for("You are connected")
    bea = house.lines(relay, "bea", env=env)
    bea.wait_for("You are connected")
    bea.say("hello from elsewhere")
    ace.wait_for("bea: hello from elsewhere")
    ace.say("and back")
    bea.wait_for("ace: and back")
    relay.order("/who")
    relay.wait_for("lobby, 2 here: ace, bea")
    waiter = Lines(house, house.member(relay, "col", "--tail", "1"), subprocess.DEVNULL, env)
    ace.wait_for("col joined")
    sender = Lines(house, house.member(relay, "dan", "--send"), env=env)
    sender.say("by a pipe")
    sender.end_input()
    assert sender.ended() == 0
    assert waiter.ended() == 0
    (row,) = waiter.rows
    assert row.endswith(" dan: by a pipe")
    unix = house.lines(relay, "eve", "--url", "unix:/somewhere", env=env)
    assert unix.ended() == 2
    assert unix.errors[-1].startswith("This system has no unix sockets.")
    bea.end_input()
    assert bea.ended() == 0
    ace.wait_for("bea left")
    assert relay.stop() == 0


# --- The network, and the clock.

TWO_ADDRESSES = """
import socket
real = socket.getaddrinfo
def fake(host, port, *a, **k):
    if host != "two.example":
        return real(host, port, *a, **k)
    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    return [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.1", port))]
socket.getaddrinfo = fake
"""


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is no address of ours here")
def test_a_first_address_that_swallows_packets_costs_little(house: House) -> None:
    relay = house.relay()
    with socket.socket() as hole:
        hole.bind(("127.0.0.2", relay.port))
        hole.listen(0)
        # With its backlog full it answers nobody any more.
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.2", relay.port))
        where = f"{relay.key}@two.example:{relay.port}"
        began_s = time.monotonic()
        env = house.patched(TWO_ADDRESSES)
        ace = Lines(house, house.member(where, "ace", "--check"), subprocess.DEVNULL, env)
        assert ace.ended() == 0
        assert time.monotonic() - began_s < CONNECT_S
        assert ace.rows[-1].endswith("is a termchat relay, and takes this KEY.")
        for sock in waiting:
            sock.close()


def put_zone(path: Path, hours: int) -> None:
    """Write a zone so far east of Greenwich (RFC 8536), as a system does on a journey."""
    head = b"TZif" + bytes(16) + struct.pack(">6I", 0, 0, 0, 0, 1, 4)
    new = path.with_name("new")
    new.write_bytes(head + struct.pack(">iBB", hours * 3600, 0, 0) + b"XYZ\0")
    new.replace(path)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="no zone can be set here")
@pytest.mark.parametrize("more", [(), ("--plain",)])
def test_another_time_zone_is_noticed(house: House, more: tuple[str, ...]) -> None:
    zone = house.path / "zone"
    put_zone(zone, 0)
    relay = house.relay()
    ace = house.screen(relay, "ace", *more, env={"TZ": f":{zone}"})
    ace.wait_for("here yet")
    bea = house.bot(relay, "bea")
    put_zone(zone, 9)
    said = 0

    def is_noticed() -> bool:
        nonlocal said
        said += 1
        bea.say(f"message {said}.")
        hours = {f"{time.gmtime(time.time() + 9 * 3600 + late).tm_hour:02}:" for late in (-60, 0)}
        return any(row[:3] in hours and "message " in row for row in ace.display)

    house.until(is_noticed, lambda: ace.drawn)
