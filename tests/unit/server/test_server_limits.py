"""What the system allows, and what the operator is told of it."""

from __future__ import annotations

import pytest

import server
from common.config import ServerConfig

resource = pytest.importorskip("resource")


class Limits:
    """RLIMIT_NOFILE of a made-up system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.now = (soft, hard)
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.now)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _: int, limits: tuple[int, int]) -> None:
        assert limits[0] > self.now[0]
        self.now = limits


def test_the_limit_is_raised_to_what_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(monkeypatch, 256, 100_000)
    assert server.raise_file_limit(ServerConfig(rooms=50, room_size=100)) == ""
    assert 5_000 < limits.now[0] < 6_000
    assert limits.now[1] == 100_000


def test_a_limit_that_is_high_enough_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(monkeypatch, 90_000, 100_000)
    assert server.raise_file_limit(ServerConfig(rooms=50, room_size=100)) == ""
    assert limits.now == (90_000, 100_000)


def test_what_cannot_be_held_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(monkeypatch, 256, 4_096)
    told = server.raise_file_limit(ServerConfig(rooms=50, room_size=100))
    assert limits.now == (4_096, 4_096)
    assert told.startswith("Only 3968 connections at a time: the system allows 4096 open files")
    assert server.raise_file_limit(ServerConfig()) == ""
