"""A terminal that cannot be opened by name, or whose type is not known here (UX.md 12)."""

from __future__ import annotations

import contextlib
import os
import site
import subprocess
import sys

import pytest

from tests.e2e.harness import ROOT, House, Screen
from tests.e2e.test_e2e_terminal import check_restored

NAMELESS = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
hidden = {{hidden!r}}
real = os.open

def ttyname(fd):
    raise FileNotFoundError(2, "No such file or directory")

def opened(path, *more, **others):
    if path == hidden:
        raise PermissionError(13, "Permission denied")
    return real(path, *more, **others)

os.ttyname, os.open = ttyname, opened
from common.client import main
sys.exit(main.main(sys.argv[1:]))
"""
# As after `su nobody`: the terminal is still root's.
OF_ANOTHER_USER = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
os.chdir("/")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    os.close(os.open(os.ttyname(1), os.O_WRONLY | os.O_NOCTTY))
except OSError:
    from common.client import main
    sys.exit(main.main(sys.argv[1:]))
"""


def check_screen(house: House, ace: Screen) -> None:
    """It draws, is typed into, stops, comes back and leaves the terminal as it was."""
    ace.wait_for("Connected to lobby as ace.")
    ace.say("hello")
    ace.wait_for("ace  hello")
    ace.suspend()
    check_restored(ace)
    ace.terminal.reset()
    ace.resize(20, 70)
    ace.foreground()
    ace.wait_for("ace  hello")
    house.until(lambda: ace.display[19].startswith(">"), lambda: ace.drawn)
    ace.type(b"\x04")
    assert ace.ended() == 0
    check_restored(ace)


@pytest.mark.parametrize("hidden", ["", "/dev/tty"])
def test_a_terminal_without_a_name(house: House, hidden: str) -> None:
    """As in a container: by /dev/tty, and if that is not there either, by what we were given."""
    relay = house.relay()
    script = house.path / "client.py"
    script.write_text(NAMELESS.format(hidden=hidden))
    check_screen(
        house, Screen(house, [sys.executable, str(script), *house.member(relay, "ace")[2:]])
    )


def python_of_nobody() -> tuple[str, dict[str, str | None]] | None:
    """Return a Python that nobody can run us with, since ours may lie in somebody's home."""
    path = os.pathsep.join(site.getsitepackages())
    imports = "import sys, cryptography, websockets; assert sys.version_info >= (3, 11)"
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [python, "-c", f"{imports}; sys.path.insert(0, {str(ROOT)!r}); import common"],
                env={"PYTHONPATH": path},
                cwd="/",
                user=65534,
                group=65534,
                extra_groups=[],
                check=True,
                capture_output=True,
            )
            return python, {"PYTHONPATH": path}
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_terminal_of_another_user(house: House) -> None:
    """As after `su nobody`: the full screen, by what we were given."""
    found = python_of_nobody()
    if found is None:
        pytest.skip("needs a Python, and a checkout, that nobody can read")
    python, env = found
    relay = house.relay()
    script = house.path / "client.py"
    script.write_text(OF_ANOTHER_USER)
    more = ["--username", "ace", "--ephemeral", "--home", "/nonexistent"]
    check_screen(house, Screen(house, [python, str(script), relay.ticket, *more], env=env))


@pytest.mark.parametrize("term", ["xterm-kitty", "xterm-ghostty", "alacritty", "foot-extra"])
def test_a_terminal_type_that_is_not_known_here(house: House, term: str) -> None:
    """Each has a screen, by its own description or by that of its family."""
    relay = house.relay()
    ace = house.screen(relay, "ace", env={"TERM": term})
    ace.wait_for("Connected to lobby as ace.")
    assert b"line mode" not in ace.raw
    ace.say("hello")
    ace.wait_for("ace  hello")
    ace.type(b"\x04")
    assert ace.ended() == 0
    check_restored(ace)
