"""KEY and password stay off the command line, and what stands there is blanked."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import CLIENT, SERVER, House, Lines, Program

PASSWORD = "correct-horse-battery"


def shown(pid: int) -> bytes:
    """Return what the system tells of a process: to everybody, and to its user."""
    told = Path(f"/proc/{pid}")
    return told.joinpath("cmdline").read_bytes() + told.joinpath("environ").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows and lets blank it by /proc")
def test_nobody_who_lists_processes_sees_a_secret(house: House) -> None:
    relay = house.relay("--password", PASSWORD)
    password = ("--password", PASSWORD)
    by_flag = Lines(house, house.member(relay.ticket, "ace", "--plain", *password))
    start = [sys.executable, CLIENT, "--plain", "--ephemeral", "--username", "bea"]
    secrets: dict[str, str | None] = {"TERMCHAT_KEY": relay.ticket, "TERMCHAT_PASSWORD": PASSWORD}
    by_variable = Lines(house, start, env=secrets)
    together = Lines(house, house.member(relay.ticket, "col", "--plain", f"--password={PASSWORD}"))
    for program in (by_flag, by_variable, together):
        program.wait_for("You are connected as")
        assert relay.key.encode() not in shown(program.pid)
        assert PASSWORD.encode() not in shown(program.pid)
    assert PASSWORD.encode() not in shown(relay.pid)
    for pid in (relay.pid, by_flag.pid):
        # Nor would a crash write one to a file.
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    # The rest stays, and serves who looks for a process.
    assert b"--username\0ace" in shown(by_flag.pid)
    assert b"--password=***" in shown(together.pid)


def test_secrets_from_files_and_standard_input(house: House) -> None:
    secret = house.path / "password"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    relay = house.relay("--password-file", str(secret), "--host", "localhost")
    bot = Lines(house, house.member("-", "bot", "--send", "--password-file", "-"))
    key = house.path / "key"
    key.write_text(relay.ticket)
    key.chmod(0o600)
    files = ["--key-file", str(key), "--password-file", str(secret)]
    tail = Lines(house, [sys.executable, CLIENT, "--tail", "1", "--ephemeral", *files])
    relay.wait_for("Username: user_")
    bot.write(f"{relay.ticket}\n{PASSWORD}\nthe rest is said\n")
    bot.end_input()
    assert bot.ended() == 0
    assert tail.ended() == 0
    assert tail.rows[0].endswith("bot: the rest is said")


def test_a_key_as_people_keep_it_is_understood(house: House) -> None:
    relay = house.relay()
    key = house.path / "key"
    # Saved from a mail by an editor that marks its files.
    key.write_text(f"\ufeff<{relay.ticket[:30]}\n{relay.ticket[30:]}>\n", encoding="utf-8")
    key.chmod(0o600)
    quoted = f"\u201c{relay.ticket}\u201d"
    for told in (["--key-file", str(key)], [quoted], [f" {relay.key[:9]} {relay.ticket[9:]}\n"]):
        tail = Lines(house, [sys.executable, CLIENT, *told, "--check"])
        assert tail.ended() == 0, tail.errors
        assert tail.rows == [f"localhost:{relay.port} is a termchat relay, and takes this KEY."]


def test_a_secret_that_others_can_read_is_refused(house: House) -> None:
    secret = house.path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    relay = Program(house, [sys.executable, SERVER, "-p", "0", "--password-file", str(secret)])
    assert relay.ended() == 1
    assert relay.errors == [f"Others can read {secret}. Run: chmod 600 {secret}"]
