"""What must be here besides us: what to say where a package is missing, too old or restricted."""

from __future__ import annotations

import os
import sys

from common.errors import Lacking


def missing(problem: ImportError, root: str) -> str:
    """Return a sentence that names a command which can work here.

    root: the folder of the scripts and requirements.txt.
    """
    if isinstance(problem, Lacking):
        return str(problem)
    # Here, since it is seldom wanted.
    import shlex

    if _takes_packages():
        wanted = shlex.quote(os.path.join(root, "requirements.txt"))
        return f"{problem}. Run: {shlex.quote(sys.executable)} -m pip install -r {wanted}"
    script = os.path.basename(sys.argv[0])
    return (
        f"{problem}. Run in {root}: python3 -m venv .venv && .venv/bin/pip install -q -r "
        f"requirements.txt && .venv/bin/python {script}. Or, where there is uv: uv run {script}."
    )


def _takes_packages() -> bool:
    """Tell whether this Python has pip, and its maker lets it install (PEP 668)."""
    import sysconfig

    if not any(os.path.isdir(os.path.join(place, "pip")) for place in sys.path):
        return False
    mark = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    return sys.prefix != sys.base_prefix or not os.path.exists(mark)
