"""Equal warnings are one row with a count, in every view, and hide no other row."""

from __future__ import annotations

import json
from collections.abc import Callable
from unittest import mock

import pytest

from common.member.folding import MOST_FOLDED, WITHIN_S, Folding
from common.view.lines import Lines
from common.view.programs import Programs
from common.view.screen import Screen
from common.view.view import Message, View

KEY = "A key from eve could not be opened."


class At:
    """A view that is warned, and what it shows."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.now = 1_000.0
        self.folding = Folding(view, lambda: self.now)

    def warn(self, times: int = 1, sentence: str = KEY, *, is_loud: bool = False) -> None:
        for _ in range(times):
            self.folding.show(sentence, int(self.now * 1000), is_loud=is_loud)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.folding.tick(self.now)

    @property
    def rows(self) -> list[str]:
        if isinstance(self.view, Screen):
            return [entry.text for entry in self.view._history._entries]
        assert isinstance(self.view, Lines | Programs)
        return self.view._output._unwritten.decode().splitlines()


def screen() -> At:
    with mock.patch("curses.setupterm"), mock.patch("os.ttyname", return_value="/dev/null"):
        return At(Screen(has_colour=False))


def test_a_screen_has_one_row_that_counts() -> None:
    at = screen()
    at.view.said(Message("bea", b"", "hello", 0))
    at.warn(38_000)
    assert at.rows == ["hello", f"{KEY} (38000 times in a minute)"]
    assert at.folding.deadline() is None
    at.wait(WITHIN_S)
    at.warn()
    assert at.rows[1:] == [f"{KEY} (38000 times in a minute)", KEY]


def test_a_row_that_was_cleared_is_shown_anew() -> None:
    at = screen()
    at.warn(2)
    at.view.clear()
    at.warn()
    assert at.rows == [KEY]
    at.warn()
    assert at.rows == [f"{KEY} (2 times in a minute)"]


def test_line_mode_has_one_row_and_a_count_at_the_end() -> None:
    at = At(Lines())
    at.warn(38_000)
    assert [row[6:] for row in at.rows] == [f"-- {KEY}"]
    assert at.folding.deadline() == 1_000.0 + WITHIN_S
    at.wait(WITHIN_S - 1)
    assert len(at.rows) == 1
    at.wait(1)
    assert [row[6:] for row in at.rows][1:] == [f"-- {KEY} (38000 times in a minute)"]
    assert at.folding.deadline() is None
    at.warn()
    at.wait(WITHIN_S)
    assert [row[6:] for row in at.rows][2:] == [f"-- {KEY}"]


def test_a_program_has_one_object_and_a_count_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    at = At(Programs("lobby", None, is_tail=True, is_json=True))
    at.warn(500, is_loud=True)
    at.wait(WITHIN_S)
    told = [json.loads(row) for row in at.rows]
    assert [row["kind"] for row in told] == ["warning", "warning"]
    assert [row["text"] for row in told] == [KEY, f"{KEY} (500 times in a minute)"]
    assert capsys.readouterr().err.splitlines() == [f"!! {row['text']}" for row in told]


@pytest.mark.parametrize("make", [screen, lambda: At(Lines())])
def test_what_differs_is_not_folded(make: Callable[[], At]) -> None:
    at = make()
    for name in ("eve", "mallory"):
        at.warn(3, f"A key from {name} could not be opened.")
    at.folding.close()
    assert sum("(3 times" in row for row in at.rows) == 2


def test_who_leaves_is_told_the_count() -> None:
    at = At(Lines())
    at.warn(7)
    at.folding.close()
    assert at.rows[-1].endswith("(7 times in a minute)")
    at.folding.close()
    assert len(at.rows) == 2


def test_it_is_bounded() -> None:
    at = At(Lines())
    for number in range(MOST_FOLDED + 1):
        at.warn(2, f"{number}")
    assert len(at.folding._folds) == MOST_FOLDED
    # What went first was counted first.
    assert [row for row in at.rows if "times" in row] == [at.rows[-2]]
    assert at.rows[-2].endswith("-- 0 (2 times in a minute)")
