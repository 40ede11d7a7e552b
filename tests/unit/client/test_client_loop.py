"""The loop, with a clock that ticks at every look."""

from __future__ import annotations

import itertools
import selectors
from collections import deque
from types import SimpleNamespace
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
