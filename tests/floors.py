"""The import contracts of pyproject.toml, checked over the scripts and common/.

import-linter takes packages, so it runs in a temporary tree of links where each script is one.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
LINT_IMPORTS = Path(sysconfig.get_path("scripts"), "lint-imports")


def check(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the tree at `root` against this repository's contracts."""
    with TemporaryDirectory() as name:
        packages = Path(name)
        (packages / "common").symlink_to(root / "common")
        for script in ("client", "server"):
            (packages / script).mkdir()
            (packages / script / "__init__.py").symlink_to((root / script).with_suffix(".py"))
        return subprocess.run(
            [LINT_IMPORTS, "--no-cache", "--no-logo", "--config", ROOT / "pyproject.toml"],
            cwd=packages,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


if __name__ == "__main__":
    result = check(ROOT)
    print(result.stdout)
    sys.exit(result.returncode)
