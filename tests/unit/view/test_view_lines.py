"""Whom line mode calls."""

from __future__ import annotations

import pytest

from common.view.lines import Lines
from common.view.view import Message, Summary


@pytest.mark.parametrize(
    ("message", "is_called"),
    [
        (Message("bea", b"", "ace: look", 0), True),
        (Message("bea", b"", "aceさん", 0), True),
        (Message("bea", b"", "the deploy is red", 0), True),
        (Message("bea", b"", "请看deploy吧", 0), True),
        (Message("bea", b"", "only for you", 0, is_direct=True), True),
        (Message("bea", b"", "deployed by aces", 0), False),
        (Message("ace", b"", "ace", 0, is_own=True), False),
    ],
)
def test_it_calls_for_a_name_and_for_notify_words(message: Message, is_called: bool) -> None:
    view = Lines()
    called: list[str] = []
    view.on_call = lambda name, _now: called.append(name)
    view.status(Summary("lobby", "ace", 2, "", 0, ()))
    view.options.notify_words = "build, deploy"
    view.said(message)
    assert called == ["bea"] * is_called
