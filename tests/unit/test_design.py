"""The tree in DESIGN.md is the tree, and its sizes are about right."""

from __future__ import annotations

import re

from tests.floors import ROOT

ROW = re.compile(r"^(\S+\.py) +(\d+)  \S.*$", re.MULTILINE)


def told() -> dict[str, int]:
    """Path and size of every module, as DESIGN.md 2 has it."""
    text = (ROOT / "common" / "DESIGN.md").read_text()
    tree = text.partition("## 2. ")[2].partition("## 3. ")[0]
    return {path: int(size) for path, size in ROW.findall(tree)}


def found() -> dict[str, int]:
    modules = [ROOT / "client.py", ROOT / "server.py", *(ROOT / "common").rglob("*.py")]
    return {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in modules
        if path.name != "__init__.py"
    }


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    assert told().keys() == found().keys()


def test_the_sizes_are_measured() -> None:
    sizes = found()
    wrong = {
        path: (size, sizes[path])
        for path, size in told().items()
        if abs(size - sizes[path]) > max(20, sizes[path] // 10)
    }
    assert not wrong, f"told and found: {wrong}"
