"""A command is told who calls, and never what was said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.view.lines import Lines
from common.view.notify import Notifier
from common.view.view import Message, Summary
from tests.floors import ROOT


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


IN_ASCII = """
import sys
from common.view.notify import Notifier
notifier = Notifier(sys.argv[1], "caf\\u00e9")
notifier.call("\\u65e5\\u672c\\ud800", 0.0)
sys.exit(notifier._child.wait(20))
"""


@pytest.mark.skipif(os.name != "posix", reason="the locale is of no account elsewhere")
def test_a_name_that_the_locale_does_not_have_ends_nobody(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = f'echo "$TERMCHAT_ROOM|$TERMCHAT_NAME" >> {out}'
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", IN_ASCII, command], cwd=ROOT, env=os.environ | env, check=False
    )
    assert done.returncode == 0
    assert out.read_text().splitlines() == ["caf?|???"]


def test_a_command_that_cannot_be_run_is_none() -> None:
    notifier = Notifier("a\0b", "lobby")
    notifier.call("bea", 0.0)
    assert notifier._child is None


def test_line_mode_draws_joiners_and_tabs_as_a_screen_does() -> None:
    view = Lines()
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
    view.said(Message("bea", b"", f"a\tb\n{family}", 0))
    row = view._output._unwritten.decode()
    assert row.endswith(" bea: a    b\n    \U0001f469\U0001f469\U0001f467\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the command is for sh")
def test_one_that_hangs_makes_way_for_the_next(tmp_path: Path) -> None:
    out, never = tmp_path / "out", tmp_path / "never"
    os.mkfifo(out)
    os.mkfifo(never)
    notifier = Notifier(f"echo $TERMCHAT_NAME > {out}; cat {never}; cat {never}", "lobby")
    hung: list[subprocess.Popen[bytes]] = []
    for turn, name in enumerate(("ace", "bea", "col")):
        notifier.call(name, turn * 10.0)
        child = notifier._child
        assert child is not None
        assert child not in hung
        hung.append(child)
        assert out.read_text() == f"{name}\n"
    # The shell and what it had started are killed; only the last one runs.
    assert [child.wait(20) for child in hung[:2]] == [-signal.SIGKILL] * 2
    assert hung[2].poll() is None
    assert notifier._make_way()
    assert hung[2].wait(20) == -signal.SIGKILL


def test_of_those_that_cannot_be_killed_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    class Child:
        pid = 2**30

        def __init__(self, *_: object, **__: object) -> None:
            runs.append(self)

        def poll(self) -> None:
            return None

        def kill(self) -> None:
            pass

    monkeypatch.setattr(subprocess, "Popen", Child)
    notifier = Notifier("hang", "lobby")
    for turn in range(9):
        notifier.call("ace", turn * 10.0)
    assert len(runs) == 2


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
