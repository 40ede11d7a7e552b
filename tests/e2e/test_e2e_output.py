"""Output that nobody reads, or that cannot be written: no complaint of Python's, and our codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import CLIENT, SERVER, WAIT_S, House

FULL = "/dev/full"
has_full = pytest.mark.skipif(not Path(FULL).exists(), reason="no device here is always full")
CANNOT = "Cannot write to standard output: "
ASKED = [
    (CLIENT, "--help"),
    (CLIENT, "--version"),
    (CLIENT, "--genkey"),
    *((CLIENT, "--completion", shell) for shell in ("bash", "zsh", "fish")),
    (SERVER, "--help"),
    (SERVER, "--version"),
]


def run(house: House, *command: str, out: int | None = None, err: int | None = None) -> object:
    """Return the exit code, and what is read of standard error."""
    told = subprocess.run(
        [sys.executable, *command],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE if err is None else err,
        cwd=house.path,
        env=house.environment(),
        timeout=WAIT_S,
        check=False,
    )
    return told.returncode, (told.stderr or b"").decode()


@pytest.fixture
def gone() -> int:
    """A pipe whose reader has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("command", ASKED)
def test_a_reader_that_has_ended_is_no_fault(
    house: House, command: tuple[str, ...], gone: int
) -> None:
    assert run(house, *command, out=gone) == (0, "")
    os.close(gone)


def test_what_was_found_out_is_in_the_code_though_nobody_reads_it(house: House, gone: int) -> None:
    relay = house.relay()
    check = (CLIENT, "--username", "ace", "--ephemeral", "--check")
    assert run(house, *check, relay.ticket, out=gone) == (0, "")
    away = f"{relay.key}@127.0.0.1:1"
    assert run(house, *check, away, out=gone) == (4, "")
    os.close(gone)


@has_full
@pytest.mark.parametrize("command", ASKED)
def test_what_cannot_be_written_is_said(house: House, command: tuple[str, ...]) -> None:
    with Path(FULL).open("wb") as full:
        told = run(house, *command, out=full.fileno())
    assert told == (1, f"{CANNOT}No space left on device.\n")


@has_full
@pytest.mark.parametrize(
    ("command", "code"), [((CLIENT, "badkey"), 2), ((SERVER, "--port", "x"), 2)]
)
def test_a_fault_that_cannot_be_said_keeps_its_code(
    house: House, command: tuple[str, ...], code: int
) -> None:
    with Path(FULL).open("wb") as full:
        assert run(house, *command, err=full.fileno()) == (code, "")


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="a shell closes it")
@pytest.mark.parametrize("script", [CLIENT, SERVER])
def test_standard_output_that_came_closed(house: House, script: str) -> None:
    line = ["/bin/sh", "-c", f"exec '{sys.executable}' '{script}' --version >&-"]
    told = subprocess.run(
        line,
        capture_output=True,
        cwd=house.path,
        env=house.environment(),
        timeout=WAIT_S,
        check=False,
    )
    assert (told.returncode, told.stderr.decode()) == (1, f"{CANNOT}it is closed.\n")
