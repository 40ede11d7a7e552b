"""README does what it says: its commands, its bot and its proxy are run as they stand there.

What needs a program of the distribution is skipped without it, but not in CI, which installs it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from common.config import DEFAULT_PORT
from tests.e2e.harness import ROOT, House, Lines, Program, Relay, Screen
from tests.e2e.test_e2e_network import certificate

README = (ROOT / "README.md").read_text()
IS_CI = bool(os.environ.get("TERMCHAT_CI"))
SBIN = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def command(start: str) -> str:
    """Return README's command that begins so, without its comment."""
    rows = [row for block in blocks("sh") for row in block.splitlines()]
    (found,) = [row for row in rows if row.startswith(start)]
    return found.partition(" #")[0].strip()


def needed(program: str, *, is_everywhere: bool = True) -> str:
    """Return the path of a program, or skip the test; in CI only if not every Debian has it."""
    path = shutil.which(program, path=SBIN)
    if path is None and not (IS_CI and is_everywhere):
        pytest.skip(f"there is no {program}")
    assert path is not None, f"CI has no {program}"
    return path


@pytest.fixture
def desk(house: House) -> Path:
    """Return a directory as README leaves it: the scripts, and an environment for them."""
    for name in ("client.py", "server.py", "common", "requirements.txt"):
        (house.path / name).symlink_to(ROOT / name)
    python = house.path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return house.path


def run(house: House, line: str, relay: Relay) -> Program:
    """Run a command of README's as a shell would, with a KEY for KEY."""
    return Program(house, ["/bin/sh", "-c", re.sub(r"\bKEY\b", relay.ticket, line)])


def test_programs_are_joined_by_pipes(house: House, desk: Path) -> None:
    needed("jq")
    needed("make")
    (desk / "Makefile").write_text("all:\n\t@echo compiled\n\t@echo warned >&2\n")
    (desk / "notes.txt").write_text("first\nsecond\n")
    relay = house.relay()
    tail = run(house, command(".venv/bin/python client.py KEY --tail --json"), relay)
    waiter = run(house, command(".venv/bin/python client.py KEY --tail 1"), relay)
    relay.wait_for("[Connected]", 2)
    build = run(house, command("make 2>&1 |"), relay)
    assert build.ended() == 0
    notes = run(house, command(".venv/bin/python client.py KEY --send --block"), relay)
    assert notes.ended() == 0
    tail.wait_for("second")
    assert "build: compiled" in tail.rows
    assert "warned" in "\n".join(tail.rows)
    assert waiter.ended() == 0
    assert "compiled" in waiter.rows[0]


def test_the_bot_answers(house: House, desk: Path) -> None:
    (source,) = blocks("python")
    assert source.count("\n") < 30
    (desk / "bot.py").write_text(source)
    relay = house.relay()
    ace = house.bot(relay, "ace")
    bot = Program(house, [sys.executable, "bot.py", relay.ticket])
    house.until(lambda: ace.conversation.members == 2, lambda: repr(bot.errors))
    ace.say("!time")
    house.until(lambda: any(re.fullmatch(r"It is \d\d:\d\d\.", said) for said in ace.heard))
    asker = run(house, command("echo '!time' |"), relay)
    assert asker.ended() == 0
    assert re.search(r" clock: It is \d\d:\d\d\.$", asker.rows[-1])


def talk_through(house: House, relay: Relay, port: int, pem: Path) -> None:
    """Let two people talk through a proxy that speaks TLS."""
    through = ("--url", f"wss://localhost:{port}/", "--cafile", str(pem))
    ace = house.lines(relay.key, "ace", *through)
    ace.wait_for("You are connected as `ace`.")
    # Who comes through the proxy is shown, and throttled, as the one it names.
    relay.wait_for("Username: ace  Address: 127.0.0.1  ")
    bea = house.lines(relay.key, "bea", *through)
    ace.wait_for("bea joined")
    bea.say("through two kinds of encryption")
    ace.wait_for("bea: through two kinds of encryption")
    ace.end_input()
    assert ace.ended() == 0


def test_two_people_talk_through_nginx(house: House) -> None:
    nginx = needed("nginx")
    relay = house.relay("--host", "127.0.0.1", "--trust-proxy", "127.0.0.1")
    pem = certificate(house.path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (site,) = blocks("nginx")
    site = site.replace("listen 443", f"listen 127.0.0.1:{port}")
    site = site.replace("127.0.0.1:1719", f"127.0.0.1:{relay.port}")
    site = re.sub(r"/etc/letsencrypt\S+\.pem", str(pem), site)
    seconds = re.findall(r"proxy_read_timeout (\d+)s", site)
    assert int(seconds[0]) > 40
    temporary = "".join(
        f"{kind}_temp_path {house.path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = house.path / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; pid {house.path}/nginx.pid; error_log stderr notice;\n"
        f"events {{}} http {{ access_log off; {temporary}\n{site}}}\n"
    )
    proxy = Program(house, [nginx, "-p", str(house.path), "-c", str(conf)])
    house.until(lambda: "getrlimit" in proxy.err.decode(), lambda: repr(proxy.errors))
    talk_through(house, relay, port, pem)


def test_two_people_talk_through_caddy(house: House) -> None:
    caddy = needed("caddy", is_everywhere=False)
    relay = house.relay("--host", "127.0.0.1", "--trust-proxy", "127.0.0.1")
    pem = certificate(house.path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (site,) = re.findall(
        r"^```\n(chat\.example\.org \{\n.*?)^```$", README, re.DOTALL | re.MULTILINE
    )
    # A name of this machine, and a certificate of ours: nobody here could get one for another.
    site = site.replace("chat.example.org {", f"https://localhost:{port} {{\n    tls {pem} {pem}")
    site = site.replace("127.0.0.1:1719", f"127.0.0.1:{relay.port}")
    conf = house.path / "Caddyfile"
    conf.write_text(f"{{\n    admin off\n    auto_https off\n}}\n{site}")
    proxy = Program(house, [caddy, "run", "--config", str(conf), "--adapter", "caddyfile"])
    house.until(lambda: "serving initial configuration" in proxy.err.decode())
    talk_through(house, relay, port, pem)


def test_systemd_takes_the_unit(house: House) -> None:
    analyze = needed("systemd-analyze", is_everywhere=False)
    (unit,) = (block for block in blocks("ini") if block.startswith("[Unit]"))
    path = house.path / "termchat.service"
    path.write_text(unit.replace("/opt/termchat/.venv/bin/python", sys.executable))
    done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_blocks_come_first_and_each_starts_one_program() -> None:
    host, own, guest, *_ = blocks("sh")
    assert [row.split()[:2] for row in host.splitlines()] == [["git", "clone"], ["python3", "-m"]]
    assert host.endswith("server.py\n")
    assert "server.py" in own
    assert guest.splitlines()[0] == host.splitlines()[0]
    assert "client.py" in guest
    assert "server.py" not in guest
    # For who has uv, beside each.
    assert README.index("`uv run server.py`") < README.index("## I was sent a KEY")
    assert README.index("`uv run client.py") < README.index("## Talk")


def test_one_line_sets_up_and_runs_the_relay_and_one_passes_the_tests() -> None:
    rows = [row for block in blocks("sh") for row in block.splitlines()]
    start = "python3 -m venv .venv && .venv/bin/pip install -q -r "
    ends = [row.removeprefix(start) for row in rows if row.startswith(start)]
    assert ends[0] == "requirements.txt && .venv/bin/python server.py"
    assert ends[-1] == "tests/requirements.txt && .venv/bin/python -m pytest"
    assert len([row for row in rows if re.search("^python3 .*pytest$", row)]) == 1


@pytest.mark.skipif(not IS_CI, reason="installs packages from the network; set TERMCHAT_CI")
def test_a_cold_machine_talks_by_readme_alone(house: House) -> None:
    needed("git")
    host, _, guest, *_ = (block.replace("URL", str(ROOT)).rstrip() for block in blocks("sh"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run_in(name: str, block: str) -> list[str]:
        return ["/bin/sh", "-c", f"mkdir {name} && cd {name} && {block}"]

    with socket.socket() as probe:
        if not probe.connect_ex(("127.0.0.1", DEFAULT_PORT)):
            host += " -p 0"  # somebody runs a relay here already
    relay = Program(house, run_in("host", host), env={"PATH": path})
    wait_long(relay, "Join with: ")
    (line,) = (row for row in relay.rows if row.startswith("Join with: "))
    line = line.removeprefix("Join with: ")
    assert line.startswith(".venv/bin/python client.py ")
    here = f"cd host/termchat && {line} --username ace"
    ace = Lines(house, ["/bin/sh", "-c", here], env={"PATH": path, "HOME": f"{house.path}/ace"})
    ace.wait_for("You are connected")
    bea = Screen(house, run_in("guest", guest), env={"PATH": path, "HOME": f"{house.path}/bea"})
    for question, answer in (
        ("KEY", line.split()[-1]),
        ("Your name here", "bea"),
        ("Password", ""),
        ("Keep KEY", ""),
    ):
        wait_long(bea, question)
        bea.type(f"{answer}\r")
    bea.wait_for("Connected to lobby as bea.")
    bea.say("hello ace")
    ace.wait_for("bea: hello ace")


def wait_long(program: Program | Screen, content: str) -> None:
    """Wait for a row as long as packages take to come."""
    for _ in range(6):
        try:
            program.wait_for(content)
            return
        except AssertionError:
            assert isinstance(program, Screen) or program.is_running, program
    program.wait_for(content)
