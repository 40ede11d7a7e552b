"""What the first frame waits for stays little (DESIGN.md 5)."""

from __future__ import annotations

import subprocess
import sys

from tests.floors import ROOT

UNTIL_THE_FRAME = """
import os, sys
from common.client import main
from common.view import screen
main.config.load_client(["KEY", "--username", "ace", "--ephemeral"], {"LANG": "C"})
print(*sys.modules)
"""
TOO_MUCH = {
    "common.client.dial",
    "common.client.loop",
    "common.member",
    "cryptography",
    "pathlib",
    "shutil",
    "socket",
    "subprocess",
    "threading",
    "websockets",
}


def test_the_first_frame_waits_for_little() -> None:
    # Not for what some package has every start of Python import, either (-S).
    command = [sys.executable, "-S", "-c", UNTIL_THE_FRAME]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    modules = set(told.stdout.split())
    assert "common.view.screen" in modules
    assert not modules & TOO_MUCH
