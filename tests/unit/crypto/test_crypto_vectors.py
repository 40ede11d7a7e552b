"""The vectors of termchat are what PROTOCOL.md says, by a script that knows nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.unit.crypto.vectors import TERMCHAT
from tests.vectors import termchat_v1


def test_the_file_is_what_the_script_makes() -> None:
    assert termchat_v1.make(TERMCHAT) == TERMCHAT


def test_a_file_that_is_not_there_is_made_anew() -> None:
    made = termchat_v1.make({})
    for key, value in TERMCHAT.items():
        if key not in ("key_body", "messages"):
            assert made[key] == value
    # What is sealed to a card key is random.
    assert made["key_body"]["body"] != TERMCHAT["key_body"]["body"]
    assert len(made["key_body"]["body"]) == len(TERMCHAT["key_body"]["body"])


def test_the_script_asks_nothing_of_the_project() -> None:
    tree = ast.parse(Path(termchat_v1.__file__).read_text())
    roots: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").partition(".")[0])
    assert "cryptography" in roots
    assert not roots & {"common", "server", "client", "tests"}
