"""The two packages stand in three places, and the three are equal."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# The reference implementation's pattern (PEP 723).
BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


def requirements() -> list[str]:
    return (ROOT / "requirements.txt").read_text().splitlines()


@pytest.mark.parametrize("script", ["server.py", "client.py"])
def test_script_metadata_equals_requirements(script: str) -> None:
    blocks = [
        match["content"]
        for match in BLOCK.finditer((ROOT / script).read_text())
        if match["type"] == "script"
    ]
    assert len(blocks) == 1
    lines = blocks[0].splitlines()
    metadata = tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines))
    assert metadata == {"requires-python": ">=3.11", "dependencies": requirements()}


def test_requirements_are_the_two_packages_with_a_floor_and_no_cap() -> None:
    websockets, cryptography = requirements()
    assert re.fullmatch(r"websockets>=[\d.]+", websockets)
    assert re.fullmatch(r"cryptography>=[\d.]+", cryptography)
