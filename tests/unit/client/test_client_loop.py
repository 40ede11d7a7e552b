"""The loop, with a clock that ticks at every look."""

from __future__ import annotations

import itertools
import os
import selectors
import signal
import socket
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from common.client import loop
from common.config import ClientConfig

MEMBER_FD = 1_000


@pytest.mark.parametrize("ticks_before", range(4))
def test_a_wait_ends_when_there_is_reading_to_do(
    ticks_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever reading becomes due during a turn, the relay is watched or the wait is limited."""
    clock = itertools.count()
    read_at_s = ticks_before + 0.5
    view, member = mock.MagicMock(unwritten_bytes=0), mock.MagicMock(exit_code=None, fd=MEMBER_FD)
    view.deadline.return_value = None
    view.tick.return_value = ()
    member.is_writing = member.is_full = False
    member.is_reading = lambda now: now >= read_at_s
    member.deadline = lambda now: read_at_s if now < read_at_s else None
    selector = mock.MagicMock()
    selector.select.return_value = []
    monkeypatch.setattr(selectors, "DefaultSelector", lambda: selector)
    client = loop.Client(ClientConfig(ticket="k", username="ace"), view, deque(), member)
    monkeypatch.setattr(
        loop, "time", SimpleNamespace(monotonic=lambda: float(next(clock)), time=lambda: 0.0)
    )
    client._turn()
    (timeout_s,) = selector.select.call_args.args
    watched = {call.args[0] for call in selector.register.call_args_list}
    assert timeout_s is not None or MEMBER_FD in watched
    client._wake_in.close()
    client._wake_out.close()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[loop.Client]:
    """A client whose selector takes no standard input, as one of Windows, or of a regular file."""
    view = mock.MagicMock(has_keyboard=True)
    view.receive.return_value = ()
    selector = mock.MagicMock()
    selector.register.side_effect = PermissionError
    monkeypatch.setattr(selectors, "DefaultSelector", lambda: selector)
    client = loop.Client(ClientConfig(ticket="k", username="ace"), view, deque())
    yield client
    client._close()
    client._wake_in.close()
    client._wake_out.close()


def test_a_socket_is_no_descriptor(client: loop.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread reads for us comes by `recv`: `os.read` knows no sockets there."""
    theirs: list[socket.socket] = []

    class Thread:
        def __init__(self, args: tuple[socket.socket], **_: object) -> None:
            theirs.extend(args)

        def start(self) -> None:
            pass

    monkeypatch.setattr(loop, "threading", SimpleNamespace(Thread=Thread))
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("read a socket as a descriptor"))
    client._open_input()
    (other,) = theirs
    other.sendall(b"hello\n")
    client._read_input(0.0)
    view: Any = client._view
    view.receive.assert_called_with(b"hello\n", 0.0)
    other.close()
    client._read_input(0.0)
    view.receive.assert_called_with(b"", 0.0)
    assert client._input_fd is None
    assert client.exit_code == 0


@pytest.mark.parametrize("lacks", ["SIGHUP", "SIGQUIT", "SIGTSTP", "SIGCHLD", "SIGCONT"])
def test_a_signal_that_is_not_there_is_no_hindrance(
    client: loop.Client, lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(signal, lacks)
    client._on_signal(signal.SIGTERM)
    assert client.exit_code == 0
    client._on_signal(signal.SIGINT)
