"""The import contracts hold, and a forbidden import breaks the one that is meant to see it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests import floors


def broken(root: Path) -> set[str]:
    """The ids of the contracts that the tree at `root` breaks."""
    result = floors.check(root)
    names = set(re.findall(r"^(\w+): .* BROKEN", result.stdout, re.MULTILINE))
    assert (result.returncode != 0) == bool(names), result.stdout
    return names


def test_the_tree_keeps_every_contract() -> None:
    assert broken(floors.ROOT) == set()


@pytest.mark.parametrize(
    ("importer", "imported", "contracts"),
    [
        # Idea 4 of DESIGN.md: the relay cannot read, whoever stands between.
        ("server.py", "common.crypto.chain", {"blind", "server"}),
        ("common/relay/room.py", "common.crypto.chain", {"blind", "relay"}),
        ("common/relay/gate.py", "common.member.trust", {"blind", "relay"}),
        ("common/wire/link.py", "common.crypto.chain", {"blind", "wire"}),
        ("common/term/text.py", "common.member.trust", {"blind", "term", "floors"}),
        ("common/term/text.py", "common.term.editor", {"blind"}),
        # A row, the doors, a cycle, and a module that stands on no floor.
        ("common/member/trust.py", "common.term.text", {"member"}),
        ("common/client/dial.py", "common.log.memory", {"client"}),
        ("common/client/dial.py", "common.relay.rules", {"client"}),
        ("common/relay/rules.py", "common.client.dial", {"relay"}),
        ("common/relay/rules.py", "common.config", {"relay"}),
        ("common/relay/gate.py", "threading", {"doors"}),
        ("common/client/loop.py", "server", {"client"}),
        ("common/member/member.py", "common.client.dial", {"member", "floors"}),
        ("common/crypto/noise.py", "cryptography.hazmat", {"doors"}),
        ("server.py", "curses", {"doors"}),
        ("common/proctitle.py", "common.files", {"floors"}),
        ("common/ini.py", "common.names", {"ini"}),
        ("common/ini.py", "common.config", {"ini", "floors"}),
        ("common/ini.py", "argparse", {"doors"}),
        ("common/config.py", "configparser", {"doors"}),
        ("common/config.py", "common.completion", {"config", "floors"}),
        ("common/completion.py", "common.names", {"completion"}),
        ("common/crypto/primitives.py", "common.crypto.noise", {"cycles"}),
        ("common/utils.py", "enum", {"floors"}),
    ],
)
def test_a_forbidden_import_breaks_its_contracts(
    tmp_path: Path, importer: str, imported: str, contracts: set[str]
) -> None:
    for script in ("client.py", "server.py"):
        shutil.copy(floors.ROOT / script, tmp_path)
    shutil.copytree(
        floors.ROOT / "common",
        tmp_path / "common",
        ignore=shutil.ignore_patterns("__pycache__", "*.md"),
    )
    with (tmp_path / importer).open("a") as file:
        file.write(f"\nimport {imported}\n")
    assert broken(tmp_path) >= contracts
