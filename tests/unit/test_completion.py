"""Each shell completes what the command line takes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from common import completion
from common.config import SHELLS


def test_values() -> None:
    flags = dict(completion.client_flags())
    assert flags["--key-file"] == "file"
    assert flags["--home"] == "dir"
    assert flags["--username"] == flags["--connect"] == "text"
    assert flags["--tail"] == flags["--json"] == flags["--help"] == ""
    assert all(name.startswith("--") for name in flags)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_one_that_its_shell_can_read(shell: str) -> None:
    found = completion.script(shell)
    assert "username" in found
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=found, text=True, check=True)


def bash(words: str, script: str) -> list[str]:
    line = f"COMP_WORDS=(client.py {words}); COMP_CWORD={len(words.split())}; _termchat"
    source = f'{script}\n{line}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return ["bash", "--norc", "-c", source]


def zsh(words: str, script: str) -> list[str]:
    """Type it in a shell of its own, with Tab and Enter, and see what is run."""
    source = r"""
        setopt extendedglob; zmodload zsh/zpty
        zpty shell TERM=dumb zsh -f -i
        zpty -w shell "$1"$'\n'"client.py() { print \"<\$*>\" }; PS1=re''ady"
        zpty -r shell seen '*ready'
        zpty -n -w shell "client.py $2"$'\t\n'
        zpty -r shell seen $'*\n<[^$]#>*'
        print -r -- "${${seen##*[< ]}%%>*}"
    """
    return ["zsh", "-f", "-c", source, "zsh", script, words]


def fish(words: str, script: str) -> list[str]:
    return ["fish", "--no-config", "-c", f"{script}\ncomplete -C 'client.py {words}'"]


@pytest.mark.parametrize("shell", [bash, zsh, fish])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--us", "--username"),
        ("--completion f", "fish"),
        ("--key-file no", "notes"),
        ("--username no", ""),
        ("no", ""),
    ],
)
def test_it_completes(
    shell: Callable[[str, str], list[str]], words: str, expected: str, tmp_path: Path
) -> None:
    if not shutil.which(shell.__name__):
        pytest.skip(f"there is no {shell.__name__}")
    (tmp_path / "notes").touch()
    done = subprocess.run(
        shell(words, completion.script(shell.__name__)),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "dumb"},
        timeout=30,
    )
    found = done.stdout.strip()
    # What cannot be completed stays as it is where it is typed.
    typed = words.rpartition(" ")[2] if shell is zsh else ""
    assert found == (expected or typed)
