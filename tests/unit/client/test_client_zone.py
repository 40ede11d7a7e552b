"""A journey: the zone of the machine is another one."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.client import zone
from common.client.zone import LOOK_EVERY_S, Zone

pytestmark = pytest.mark.skipif(not hasattr(time, "tzset"), reason="no zone can be set here")


def put(path: Path, hours: int) -> None:
    """Write a zone that is always so far east of Greenwich (RFC 8536), as a system does."""
    head = b"TZif" + bytes(16) + struct.pack(">6I", 0, 0, 0, 0, 1, 4)
    new = path.with_name("new")
    new.write_bytes(head + struct.pack(">iBB", hours * 3600, 0, 0) + b"XYZ\0")
    new.replace(path)


def hour() -> int:
    return time.localtime(0).tm_hour


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    before = os.environ.get("TZ")
    yield tmp_path / "zone"
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize("form", [":{path}", "{path}", ":zone", "zone"])
def test_another_zone_is_noticed(path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZDIR", str(path.parent))
    put(path, 1)
    os.environ["TZ"] = form.format(path=path)
    time.tzset()
    assert hour() == 1
    looker = Zone(os.environ)
    put(path, 9)
    assert hour() == 1
    looker.look(1_000.0)
    assert hour() == 9
    # Not at every turn.
    put(path, 5)
    looker.look(1_000.0 + LOOK_EVERY_S / 2)
    assert hour() == 9
    looker.look(1_000.0 + LOOK_EVERY_S)
    assert hour() == 5
    assert os.environ["TZ"] == form.format(path=path)


def test_the_zone_of_the_system_is_looked_at_where_none_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path, 1)
    monkeypatch.setattr(zone, "_DEFAULT", str(path))
    os.environ.pop("TZ", None)
    calls: list[str | None] = []
    monkeypatch.setattr(time, "tzset", lambda: calls.append(os.environ.get("TZ")))
    looker = Zone(os.environ)
    looker.look(1_000.0)
    assert not calls
    put(path, 2)
    looker.look(2_000.0)
    # By way of another, since what is called the same is not read again; then none is named.
    assert calls == ["UTC0", None]


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("name", ["", "CET-1CEST", ":/no/such/zone", "x" * 5_000])
def test_what_is_no_file_never_changes(name: str) -> None:
    os.environ["TZ"] = name
    looker = Zone(os.environ)
    looker.look(1_000.0)
    assert os.environ["TZ"] == name
