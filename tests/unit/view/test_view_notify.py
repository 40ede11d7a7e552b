"""A command is told who calls, and never what was said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.view.lines import Lines
from common.view.notify import Notifier
from common.view.view import Message, Summary


def run_to_end(notifier: Notifier) -> None:
    assert notifier._child is not None
    assert notifier._child.wait(20) == 0


@pytest.mark.skipif(os.name != "posix", reason="the command is for sh")
def test_it_is_told_room_and_name_by_the_environment(tmp_path: Path) -> None:
    out = tmp_path / "out"
    notifier = Notifier(f'echo "$TERMCHAT_ROOM|$TERMCHAT_NAME" >> {out}', "lobby")
    notifier.call("$(touch pwned)\x07", 0.0)
    run_to_end(notifier)
    notifier.call("soon", 1.0)
    notifier.call("later", 4.0)
    run_to_end(notifier)
    assert out.read_text().splitlines() == ["lobby|$(touch pwned)␇", "lobby|later"]


def test_line_mode_calls_for_what_is_meant_for_us() -> None:
    view = Lines()
    calls: list[str] = []
    view.on_call = lambda name, _: calls.append(name)
    view.status(Summary("lobby", "ace", 2, "", 0, ()))
    view.said(Message("bea", b"", "hello all", 0))
    view.said(Message("col", b"", "hello Ace!", 0))
    view.said(Message("dave", b"", "psst", 0, is_direct=True))
    view.said(Message("ace", b"", "I am ace", 0, is_own=True))
    assert calls == ["col", "dave"]
