"""What the system allows, and what the operator is told of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from unittest import mock

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
    assert told.startswith("Only 4032 connections at a time: the system allows 4096 open files")
    assert server.raise_file_limit(ServerConfig()) == ""


class TestUnixSockets:
    """Bound with no socket: what the kernel would make at the path is made by a stand-in."""

    def bind(
        self, monkeypatch: pytest.MonkeyPatch, path: Path, on_bind: Callable[[], object]
    ) -> None:
        made = mock.MagicMock()
        made.bind.side_effect = lambda _: on_bind()
        monkeypatch.setattr(socket, "socket", lambda *_: made)
        server._bind_unix(str(path))

    def test_what_was_put_there_meanwhile_is_not_opened(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        victim, path = tmp_path / "victim", tmp_path / "sock"
        victim.touch(0o600)
        self.bind(monkeypatch, path, lambda: path.symlink_to(victim))
        assert victim.stat().st_mode & 0o777 == 0o600

    def test_whoever_comes_near_may_connect(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        path = tmp_path / "sock"
        before = os.umask(0o077)
        try:
            # The kernel gives a socket all rights that the umask leaves.
            self.bind(monkeypatch, path, lambda: os.close(os.open(path, os.O_CREAT, 0o777)))
            assert os.umask(0o077) == 0o077
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == 0o666
