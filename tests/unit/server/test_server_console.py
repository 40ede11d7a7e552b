"""The operator's log, and rows above a line that is being edited."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import server
from common.errors import FileError
from common.log import journal
from common.log.journal import LogFile
from common.relay.console import above_line, can_edit
from server import LogQueue


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.log"


def line(what: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("termchat.server", logging.INFO, "", 0, what, values, None)


class TestLog:
    def test_lines_have_their_time(self, path: Path) -> None:
        log = LogFile(path, pytest.fail)
        log.handle(line("joined: name=%s", "ace"))
        log.close()
        when, level, what = path.read_text().rstrip().split(" ", 2)
        assert (level, what) == ("INFO", "joined: name=ace")
        assert when.endswith("Z")

    def test_it_is_private_and_so_is_what_it_was(
        self, monkeypatch: pytest.MonkeyPatch, path: Path
    ) -> None:
        monkeypatch.setattr(journal, "LOG_BYTES", 1_000)
        monkeypatch.setattr(journal, "LOGS_KEPT", 2)
        umask = os.umask(0)
        log = LogFile(path, pytest.fail)
        try:
            for number in range(100):
                log.handle(line("number=%d %s", number, "x" * 50))
        finally:
            log.close()
            os.umask(umask)
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["relay.log", "relay.log.1", "relay.log.2"]
        assert all(file.stat().st_size <= 1_000 for file in files)
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
        assert "number=99 " in path.read_text()

    def test_no_loop_waits_for_it(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        monkeypatch.setattr(server, "LOG_WAITING", 5)
        log = LogQueue(path, pytest.fail)
        for number in range(9):
            log.handle(line("number=%d", number))
        assert log._lines.qsize() == 5
        log._writer.enqueue_sentinel()  # as when it stops with its thread behind
        log.start()
        log.stop()
        assert path.read_text().count("number=") == 5

    def test_a_disk_that_is_full_is_told_once(self, path: Path) -> None:
        class Full(io.StringIO):
            def write(self, _: str) -> int:
                raise OSError(28, "No space left on device")

        told: list[str] = []
        log = LogFile(path, told.append)
        before = log.setStream(Full())  # type: ignore[arg-type] # as much of it as is used
        assert before is not None
        before.close()
        for _ in range(3):
            log.handle(line("joined: name=ace"))
        assert len(told) == 1
        log.close()

    def test_others_may_not_read_it(self, path: Path) -> None:
        path.write_text("")
        path.chmod(0o640)
        with pytest.raises(FileError, match="Others can read"):
            LogFile(path, pytest.fail)

    @pytest.mark.parametrize("is_there", [False, True])
    def test_a_link_is_not_followed(self, path: Path, *, is_there: bool) -> None:
        target = path.with_name("target")
        if is_there:
            target.touch(0o600)
        path.symlink_to(target)
        with pytest.raises(FileError, match="is a link"):
            LogFile(path, pytest.fail)
        assert target.exists() == is_there

    def test_a_link_that_comes_while_logs_are_changed_is_not_followed(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[str] = []
        target = path.with_name("target")
        log = LogFile(path, told.append)
        rotate = log.rotate

        def rotated(source: str, dest: str) -> None:
            rotate(source, dest)
            path.symlink_to(target)

        monkeypatch.setattr(log, "rotate", rotated)
        log.maxBytes = 1
        for _ in range(3):
            log.handle(line("joined: name=ace"))
        log.close()
        assert not target.exists()
        assert len(told) == 1

    def test_one_that_was_moved_away_is_begun_anew(self, path: Path) -> None:
        log = LogQueue(path, pytest.fail)
        log._file.handle(line("first"))
        old = path.rename(path.with_name("moved"))
        log._file.handle(line("second"))
        log.reopen()
        log._file.handle(line("third"))
        log._file.handle(line("fourth"))
        log._file.close()
        assert [row.split()[-1] for row in old.read_text().splitlines()] == ["first", "second"]
        assert [row.split()[-1] for row in path.read_text().splitlines()] == ["third", "fourth"]
        assert path.stat().st_mode & 0o777 == 0o600

    def test_one_that_cannot_be_begun_anew_is_told_of(self, path: Path) -> None:
        told: list[str] = []
        log = LogFile(path, told.append)
        log.handle(line("first"))
        path.unlink()
        path.symlink_to(path.with_name("target"))
        for _ in range(2):
            log.has_moved = True
            log.handle(line("lost"))
        assert len(told) == 1
        path.unlink()
        log.handle(line("found"))
        log.close()
        assert path.read_text().rstrip().endswith("found")

    def test_a_pipe_is_no_file(self, path: Path) -> None:
        os.mkfifo(path)
        with pytest.raises(FileError, match="is not a regular file"):
            LogFile(path, pytest.fail)


@pytest.mark.parametrize(
    ("term", "may"),
    [
        *(("xterm-256color", True), ("linux", True), ("vt100", True), ("screen.xterm", True)),
        *(("xterm-kitty", True), ("st-256color", True), ("ST", True), ("tmux-direct", True)),
        *(("", False), ("dumb", False), ("unknown", False), ("network", False), ("vt", False)),
        *(("emacs", False), ("stdin", False), ("nosuchterm", False), ("my-xterm", False)),
    ],
)
def test_a_line_is_edited_on_terminals_that_are_known(term: str, *, may: bool) -> None:
    assert can_edit(term) is may


@pytest.mark.parametrize("group", [os.getpgrp(), 2**30, None])
def test_whose_the_terminal_is(monkeypatch: pytest.MonkeyPatch, group: int | None) -> None:
    def tcgetpgrp(_: int) -> int:
        if group is None:
            raise OSError(25, "Inappropriate ioctl for device")
        return group

    monkeypatch.setattr(os, "tcgetpgrp", tcgetpgrp)
    assert server._is_in_background() is (group == 2**30)


ROWS, COLUMNS = 8, 20


@settings(deadline=None)
@given(
    rows=st.lists(st.text(st.characters(codec="ascii", categories=["L"]), max_size=50), max_size=9),
    before=st.integers(0, ROWS - 1),
    typed=st.text(st.sampled_from("abc"), max_size=15),
    back=st.integers(0, 15),
)
def test_rows_come_above_what_is_typed(rows: list[str], before: int, typed: str, back: int) -> None:
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    back = min(back, len(typed))
    stream.feed("\r\n" * before + f"> {typed}" + "\b" * back)
    for row in rows:
        stream.feed(above_line(row, COLUMNS))
    y, x = screen.cursor.y, screen.cursor.x
    assert x == 2 + len(typed) - back
    shown = [line.rstrip() for line in screen.display]
    assert shown[y] == f"> {typed}".rstrip()
    wrapped = [row[at : at + COLUMNS] for row in rows for at in range(0, max(1, len(row)), COLUMNS)]
    above = shown[:y]
    expected = (["" for _ in range(before)] + wrapped)[-len(above) :] if above else []
    assert above == expected
    assert not any(shown[y + 1 :])
