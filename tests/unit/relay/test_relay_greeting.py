"""What a relay prints at its start can be pasted."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.relay import addresses
from common.relay.greeting import README_PYTHON, Greeter, client_words, folder_here, pasted

KEY = "K" * 44


def greeter(*client: str, port: int = 1719) -> Greeter:
    return Greeter(KEY, port, lambda host: f"{KEY}@{host}", client or README_PYTHON)


def start(*hosts: str, is_every: bool = False, has_password: bool = True) -> list[str]:
    return greeter().rows(
        hosts,
        is_every_ipv4=is_every,
        is_every_ipv6=is_every,
        has_password=has_password,
        is_kept=True,
    )


def test_it_says_where_it_listens() -> None:
    assert start("192.0.2.1", "fd00::2", is_every=True)[:2] == [
        "Server starts at `ws://192.0.2.1:1719/`, `ws://[fd00::2]:1719/`.",
        "It listens at every IPv4 and IPv6 address of this machine.",
    ]
    assert start("unix:/run/chat")[0] == "Server starts at `unix:/run/chat`."
    assert start("unix:/run/chat", "h", "unix:/b")[:2] == [
        "Server starts at `ws://h:1719/`.",
        "It listens at `unix:/run/chat`, `unix:/b` too.",
    ]


def test_who_can_only_join_here_reads_how_others_could() -> None:
    assert any("Only this machine" in row for row in start("localhost", has_password=False))
    # A machine without an address listens everywhere all the same.
    for rows in (
        start("localhost", has_password=False, is_every=True),
        start("localhost"),
        start("192.0.2.1", has_password=False),
    ):
        assert not any("Only this machine" in row for row in rows)


def test_a_key_that_is_not_kept_is_named_so() -> None:
    rows = greeter().rows(("h",), has_password=True, is_kept=False)
    assert "This KEY is for this run only. With --data DIR it stays the same." in rows


def test_a_join_line_is_quoted_where_a_shell_would_bite() -> None:
    assert greeter().join("fd00::2") == f"Join with: .venv/bin/python client.py {KEY}@fd00::2"
    brackets = Greeter(KEY, 1719, lambda host: f"{KEY}@[{host}]", ("/a b/python", "client.py"))
    assert brackets.join("::1") == f"Join with: '/a b/python' client.py '{KEY}@[::1]'"
    assert greeter().join("unix:/tmp/a b") == (
        f"Join with: .venv/bin/python client.py {KEY} --url 'unix:/tmp/a b'"
    )


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"))), min_size=1))
def test_a_pasted_line_is_the_words(words: list[str]) -> None:
    assert shlex.split(pasted(words)) == words


def test_the_client_is_started_as_somebody_here_would(tmp_path: Path) -> None:
    script, python = tmp_path / "client.py", tmp_path / ".venv" / "bin" / "python3"
    script.touch()
    python.parent.mkdir(parents=True)
    python.touch(0o755)

    def words(interpreter: str, folder: object = tmp_path, **environ: str) -> tuple[str, ...]:
        return client_words(interpreter, str(script), str(folder), environ)

    assert words(str(python)) == (".venv/bin/python3", "client.py")
    assert words(str(python), python.parent) == ("./python3", str(script))
    assert words(str(python), "/") == (str(python), str(script))
    assert words(str(python), "") == (str(python), str(script))
    assert words(str(python), "/else", PATH=f"/none:{python.parent}") == ("python3", str(script))
    assert words(str(python), "/else", PATH="/none") == (str(python), str(script))
    assert words("") == ("python3", "client.py")
    assert words(str(python), UV="/usr/bin/uv") == ("uv", "run", "client.py")


def test_where_no_client_lies_beside_the_relay_it_is_readmes(tmp_path: Path) -> None:
    assert client_words("/x", str(tmp_path / "client.py"), "/", {"UV": "1"}) == README_PYTHON


def test_a_folder_that_is_gone_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    (tmp_path / "a").rmdir()
    assert folder_here() == ""


def test_a_greeter_shows_no_key() -> None:
    assert KEY not in repr(greeter())


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "0.0", "00", "0x0", "::", "::0", "0::0", "0:0::"])  # noqa: S104
def test_what_is_every_address(host: str) -> None:
    assert addresses.is_every(host)


@pytest.mark.parametrize("host", ["", "0.0.0.1", "localhost", "::1", "0.example", "10.0.0.0", ":"])
def test_what_is_not(host: str) -> None:
    assert not addresses.is_every(host)


def test_addresses_for_guests() -> None:
    found = ["127.0.0.1", "fe80::1%eth0", "192.0.2.7", "::ffff:192.0.2.7", "::1", "fd00::2", "::"]
    assert addresses.for_guests(found) == ["192.0.2.7", "fd00::2"]
