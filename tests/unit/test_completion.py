"""Completion knows what the command line takes, and help names all of it on one screen."""

from __future__ import annotations

import argparse
import shutil
import subprocess

import pytest

from common import completion, config

BASH = shutil.which("bash")


def taken(monkeypatch: pytest.MonkeyPatch, load: str) -> set[str]:
    """Return every flag that a program takes."""
    found: set[str] = set()
    # Of parsers and of their groups.
    container = argparse._ActionsContainer
    add = container.add_argument

    def spy(to: argparse._ActionsContainer, *names: str, **kinds: object) -> argparse.Action:
        found.update(name for name in names if name.startswith("--"))
        return add(to, *names, **kinds)  # type: ignore[arg-type]

    monkeypatch.setattr(container, "add_argument", spy)
    getattr(config, load)([], {})
    return found


@pytest.mark.parametrize(
    ("load", "text"),
    [("load_client", config.CLIENT_HELP), ("load_server", config.SERVER_HELP)],
)
def test_help_names_every_flag_on_one_screen(
    monkeypatch: pytest.MonkeyPatch, load: str, text: str
) -> None:
    assert {flag.name for flag in completion.flags_of(text)} == taken(monkeypatch, load)
    rows = text.splitlines()
    # With the prompt under it, of a terminal of 80 by 24.
    assert len(rows) <= 23
    assert max(map(len, rows)) <= 79
    examples = rows[rows.index("Examples:") + 1 :]
    assert len(examples) == 3


def test_values() -> None:
    flags = dict(completion.flags_of(config.CLIENT_HELP))
    assert flags["--key-file"] == "file"
    assert flags["--home"] == "dir"
    assert flags["--username"] == "text"
    assert flags["--tail"] == flags["--json"] == ""


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_script_is_one_that_its_shell_can_read(shell: str) -> None:
    found = completion.script(shell, config.CLIENT_HELP)
    assert "username" in found
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=found, text=True, check=True)


@pytest.mark.skipif(not BASH, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [("--us", "--username"), ("--completion f", "fish"), ("--username x", "")],
)
def test_bash_completes(words: str, expected: str) -> None:
    line = f"COMP_WORDS=(client.py {words}); COMP_CWORD={len(words.split())}; _termchat"
    source = f'{completion.script("bash", config.CLIENT_HELP)}\n{line}; echo "${{COMPREPLY[*]}}"'
    done = subprocess.run([BASH or "", "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
