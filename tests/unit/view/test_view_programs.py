"""What a program reads: rows or objects of cleaned text, and no more than it asked for."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable, Iterator

import pytest

from common.term.editor import Action
from common.view import output
from common.view.output import Output
from common.view.programs import Programs
from common.view.stdin import LineFeed
from common.view.view import Message, Presence, Summary, Unsent

MESSAGE = Message("bea", b"", "a\x1b[2J\nb", 1_700_000_000_123, seq=7)
FIELDS = ["at", "kind", "room", "seq", "from", "to", "verified", "text"]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Programs], list[str]]]:
    """Yield what shows the rows that a view wrote."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    real = Output.__init__
    monkeypatch.setattr(
        Output, "__init__", lambda output, _, **kinds: real(output, writer, **kinds)
    )

    def read(view: Programs) -> list[str]:
        view.flush()
        try:
            return os.read(reader, 65_536).decode().splitlines()
        except BlockingIOError:
            return []

    yield read
    os.close(reader)
    os.close(writer)


def tail(most: int = 0, *, is_json: bool = True) -> Programs:
    view = Programs("lobby", None, is_tail=True, is_json=is_json, most=most)
    view.status(Summary("lobby", "ace", 1, "", 0, ()))
    return view


def test_it_ends_when_its_reader_does_though_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    view = tail()
    monkeypatch.setattr(view, "_output", Output(writer, is_shared=True))
    assert view.tick(0) == []
    os.close(reader)
    assert view.tick(0) == [Action.QUIT]
    assert view.tick(0) == []
    os.close(writer)


def test_objects(read: Callable[[Programs], list[str]]) -> None:
    view = tail()
    view.said(MESSAGE)
    view.said(Message("bea", b"", "psst", 0, is_direct=True, is_verified=True, seq=2))
    view.said(Message("ace", b"", "mine", 0, is_own=True, to="bea", is_direct=True, seq=3))
    view.moved(Presence("dave", b"", "dave joined", 0, is_coming=True, here=3, seq=9))
    view.warn("forged", 0)
    found = [json.loads(row) for row in read(view)]
    assert all(list(row) == FIELDS for row in found)
    assert found[0] == {
        "at": "2023-11-14T22:13:20.123Z",
        "kind": "message",
        "room": "lobby",
        "seq": 7,
        "from": "bea",
        "to": "",
        "verified": False,
        "text": "a␛[2J\nb",
    }
    assert [(row["kind"], row["from"], row["to"], row["verified"]) for row in found[1:]] == [
        ("direct", "bea", "ace", True),
        ("sent", "ace", "bea", True),
        ("joined", "dave", "", False),
        ("warning", "", "", False),
    ]


def test_rows(read: Callable[[Programs], list[str]]) -> None:
    view = tail(is_json=False)
    view.said(MESSAGE)
    view.moved(Presence("dave", b"", "dave joined", 0, is_coming=True, here=3))
    head, rest = read(view)
    assert head.endswith(" bea: a␛[2J")
    assert rest == "    b"


def test_it_ends_after_so_many_messages(read: Callable[[Programs], list[str]]) -> None:
    view = tail(2)
    for _ in range(3):
        view.said(MESSAGE)
    assert view.deadline() == 0
    assert view.tick(0) == [Action.QUIT]
    assert view.tick(0) == []
    assert view.deadline() is None
    assert len(read(view)) == 2


def test_it_ends_when_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    view = tail()
    reader, writer = os.pipe()
    monkeypatch.setattr(view, "_output", Output(writer, is_shared=True))
    os.close(reader)
    view.said(MESSAGE)
    view.flush()
    assert view.tick(0) == [Action.QUIT]
    assert not view.unwritten_bytes
    os.close(writer)


@pytest.mark.parametrize("is_hurried", [False, True])
def test_what_is_left_is_written_however_slow_its_reader(
    monkeypatch: pytest.MonkeyPatch, *, is_hurried: bool
) -> None:
    view = tail()
    reader, writer = os.pipe()
    monkeypatch.setattr(view, "_output", Output(writer, is_shared=True))
    for _ in range(30):
        view.said(MESSAGE._replace(text="x" * 10_000))
    taken = bytearray()
    waits: list[float] = []

    def is_writable(_fd: int, wait_s: float) -> bool:
        if wait_s:
            waits.append(wait_s)
            if sum(waits) > 60.0:
                taken.extend(os.read(reader, 1_000_000))
        return bool(select.select([], [writer], [], 0)[1])

    monkeypatch.setattr(output, "is_writable", is_writable)
    if is_hurried:
        view.hurry()
    view.stop()
    assert bool(view.unwritten_bytes) == is_hurried
    assert bool(taken) != is_hurried
    for fd in (reader, writer):
        os.close(fd)


def test_who_only_sends_writes_nothing(
    read: Callable[[Programs], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    view = Programs("lobby", LineFeed(is_strict=True), is_tail=False, is_json=True)
    view.said(MESSAGE)
    view.moved(Presence("dave", b"", "dave joined", 0, is_coming=True, here=3))
    (found,) = view.receive(b"x" * 20_000, 0)
    assert isinstance(found, Unsent)
    assert capsys.readouterr().err == ""
    view.warn("an alarm\x07", 0)
    assert read(view) == []
    assert capsys.readouterr().err == "!! an alarm␇\n"
