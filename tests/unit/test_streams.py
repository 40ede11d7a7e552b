"""Standard streams that are closed, full, or read by nobody."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from common import streams
from common.errors import FileError


def have(monkeypatch: pytest.MonkeyPatch, file: object) -> None:
    # Not in `sys`, where pytest looks after them.
    monkeypatch.setattr(streams, "sys", SimpleNamespace(stdout=file, stderr=file))


@pytest.fixture(params=["stdout", "stderr"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    """Put a pipe in the place of a stream."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="ascii") as file:
        have(monkeypatch, file)
        yield Stream({"stdout": streams.put_out, "stderr": streams.put_err}[request.param], reader)
    with contextlib.suppress(OSError):
        os.close(reader)


class Stream(NamedTuple):
    """What writes to it, and the end from which it is read."""

    put: Callable[[str], None]
    reader: int


def test_words_are_there_at_once_and_none_is_lost_for_want_of_a_letter(stream: Stream) -> None:
    stream.put("caf\u00e9\n")
    assert os.read(stream.reader, 99) == b"caf\\xe9\n"


def test_a_reader_that_has_gone_is_no_fault(stream: Stream) -> None:
    os.close(stream.reader)
    for _ in range(2):
        stream.put("x\n")
    # Nothing is left that would be written, and fail, at the very end: the fixture closes it.


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
def test_what_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        have(monkeypatch, full)
        with pytest.raises(FileError, match=r"^Cannot write to standard output: No space left"):
            streams.put_out("x\n")
    with Path("/dev/full").open("w") as full:
        have(monkeypatch, full)
        streams.put_err("nobody can be told\n")
    # To close it flushes it, which does not fail any more.


def test_what_came_closed_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, None)
    streams.put_err("x")
    with pytest.raises(FileError, match=r"^Cannot write to standard output: it is closed\.$"):
        streams.put_out("x")


def test_a_descriptor_that_another_made_non_blocking_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    waits = []

    def wait(fds: list[int], *_: object) -> None:
        waits.append(fds)
        os.write(writer, b"late")

    monkeypatch.setattr(select, "select", wait)
    assert streams.read(reader, 99) == b"late"
    os.close(writer)
    assert streams.read(reader, 99) == b""
    assert waits == [[reader]]
    os.close(reader)
