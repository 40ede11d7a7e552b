"""A package that is missing, or too old, is one sentence with what to run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from common.crypto import ticket
from tests.e2e.harness import CLIENT, ROOT, SERVER, House, Lines, Screen

JOIN = (ticket.key_text(bytes(range(32))) + "@127.0.0.1:1", "--ephemeral")
REMEDY = f"Run: {sys.executable} -m pip install -r {ROOT / 'requirements.txt'}"


def without(house: House, package: str, content: str) -> dict[str, str | None]:
    """Return an environment in which a stub hides a package."""
    stub = house.path / package
    stub.mkdir()
    Path(stub / "__init__.py").write_text(content)
    return {"PYTHONPATH": str(house.path)}


@pytest.mark.parametrize("package", ["websockets", "cryptography"])
@pytest.mark.parametrize("is_missing", [True, False])
@pytest.mark.parametrize("command", [(SERVER,), (CLIENT, *JOIN, "--plain")])
def test_on_pipes(house: House, package: str, is_missing: bool, command: Sequence[str]) -> None:
    # A stub without content is a package that is too old for what is imported from it.
    content = f"raise ModuleNotFoundError('No module named {package}')" if is_missing else ""
    env = without(house, package, content)
    program = Lines(house, [sys.executable, *command], env=env)
    assert program.ended() == 2
    (sentence,) = program.errors
    assert package in sentence
    assert sentence.endswith(REMEDY)
    assert not program.rows


def test_on_a_screen(house: House) -> None:
    env = without(house, "websockets", "raise ModuleNotFoundError('No module named websockets')")
    ace = Screen(house, [sys.executable, CLIENT, *JOIN], columns=400, env=env)
    assert ace.ended() == 2
    ace.wait_for("No module named websockets.")
    ace.wait_for(REMEDY)
