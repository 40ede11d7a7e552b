"""A command that is named can work here."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from common import needs
from common.errors import Lacking

PROBLEM = ModuleNotFoundError("No module named 'websockets'")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a Python of the system, whose packages lie in a folder of the test's."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.setattr(sys, "argv", ["/somewhere/server.py"])
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    return tmp_path


def test_one_that_takes_packages_is_given_them(packages: Path) -> None:
    (packages / "pip").mkdir()
    command = f"{sys.executable} -m pip install -r '/all of/us/requirements.txt'"
    assert needs.missing(PROBLEM, "/all of/us") == f"{PROBLEM}. Run: {command}"


@pytest.mark.parametrize("is_managed", [False, True])
def test_one_that_takes_none_is_gone_around(packages: Path, *, is_managed: bool) -> None:
    if is_managed:
        (packages / "pip").mkdir()
        (packages / "EXTERNALLY-MANAGED").touch()
    told = needs.missing(PROBLEM, "/us")
    assert told.startswith(f"{PROBLEM}. Run in /us: python3 -m venv .venv && .venv/bin/pip install")
    assert ".venv/bin/python server.py." in told
    assert told.endswith("uv run server.py.")


def test_a_venv_of_a_managed_one_takes_packages(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "pip").mkdir()
    (packages / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert "-m pip install" in needs.missing(PROBLEM, "/us")


def test_what_no_package_would_mend_is_not_sent_to_one() -> None:
    assert needs.missing(Lacking("It cannot."), "/us") == "It cannot."
