"""A command says KEY or a password, and what fails is one sentence."""

from __future__ import annotations

import os

import pytest

from common import config, keyring
from common.errors import FileError, UsageError

NOTHING = "The output of the command of --key-command holds no line of text that could be KEY."


def ask(command: str, least: int = 0) -> str:
    return keyring.ask(command, "--key-command", "KEY", ("TERMCHAT_KEY",), least)


def test_the_first_line_is_taken() -> None:
    assert ask("echo ' a b '; echo login: ace") == " a b "
    assert ask("printf abc") == "abc"
    assert ask("printf 'abc\\ndef\\nlogin'", 5) == "abc\ndef"


def test_it_knows_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERMCHAT_KEY", "m4rker")
    monkeypatch.setenv("OTHER", "seen")
    assert ask("echo $OTHER$TERMCHAT_KEY") == "seen"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("exit 3", "The command of --key-command failed: it ended with 3."),
        ("echo x; exit 1", "The command of --key-command failed: it ended with 1."),
        ("kill -9 $$", "The command of --key-command failed: it ended with -9."),
        ("true", NOTHING),
        ("echo", NOTHING),
        (r"printf '\377\n'", NOTHING),
        ("head -c 9000 /dev/zero | tr '\\0' x", NOTHING),
        ("a\0b", "Cannot run the command of --key-command: it cannot be one."),
    ],
)  # fmt: skip
def test_what_fails_is_one_sentence(command: str, sentence: str) -> None:
    with pytest.raises(FileError) as caught:
        ask(command)
    assert str(caught.value) == sentence


def test_both_programs_take_one() -> None:
    argv = ["--key-command", "echo K", "--password-command", "echo P", "--username", "ace"]
    found = config.load_client(argv, {})
    assert (found.ticket, found.password) == ("K", "P")
    assert config.load_server(["--password-command", "echo P"], {}).password == "P"


@pytest.mark.parametrize(
    "argv",
    [
        ["K", "--key-command", "echo K"],
        ["--key-file", os.devnull, "--key-command", "echo K"],
        ["K", "--password", "x", "--password-command", "echo P"],
    ],
)
def test_two_ways_to_say_one_thing(argv: list[str]) -> None:
    with pytest.raises(UsageError, match="2 ways to say one thing"):
        config.load_client(argv, {})
