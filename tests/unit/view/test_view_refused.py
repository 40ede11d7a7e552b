"""What is refused is out of the way, can be had again, and is not told twice in a row."""

from __future__ import annotations

from unittest import mock

from common.term.editor import Submit
from common.term.keys import Key, Paste, Typed
from common.term.prompt import Entered, Prompt
from common.view.screen import Screen
from common.view.view import Message

NOBODY = "Nobody here is called nobody. Nothing was sent."


def screen() -> Screen:
    with mock.patch("curses.setupterm"), mock.patch("os.ttyname", return_value="/dev/null"):
        return Screen(has_colour=False)


def rows(at: Screen) -> list[str]:
    return [entry.text for entry in at._history._entries]


def test_what_follows_a_refused_line_stands_alone_and_up_brings_it_back() -> None:
    at = screen()
    assert at.receive(b"/msg nobody hi\r", 1.0) == [Submit("/msg nobody hi", is_pasted=False)]
    at.refused("/msg nobody hi", is_pasted=False)
    at.tell(NOBODY, 0)
    assert at.receive(b"exit\r", 2.0) == [Submit("exit", is_pasted=False)]
    for second, key in enumerate(b"ABAA", 3):
        at.receive(b"\x1b[%c" % key, float(second))
        at.tick(second + 0.5)  # alone, so no wheel
    assert at._editor.text == "/msg nobody hi"


def test_an_equal_notice_is_one_row_until_another_row_comes() -> None:
    at = screen()
    for _ in range(3):
        at.tell(NOBODY, 0)
    assert rows(at) == [NOBODY]
    assert at._editor.notice == NOBODY
    at.said(Message("bea", b"", "hello", 0))
    at.tell(NOBODY, 0)
    assert rows(at) == [NOBODY, "hello", NOBODY]
    at.clear()
    at.tell(NOBODY, 0)
    assert rows(at) == [NOBODY]


def test_up_brings_a_refused_line_back_in_line_mode() -> None:
    prompt = Prompt("")
    assert prompt.apply(Key("up")) is None
    assert prompt.text == ""
    prompt.keep("/msg nobody hi", is_pasted=False)
    assert prompt.text == ""
    prompt.apply(Typed("exit"))
    prompt.apply(Key("up"))
    assert prompt.apply(Key("enter")) == Entered("exit", is_pasted=False)
    prompt.apply(Key("up"))
    assert prompt.apply(Key("enter")) == Entered("/msg nobody hi", is_pasted=False)


def test_what_was_pasted_comes_back_as_such() -> None:
    prompt = Prompt("")
    prompt.apply(Paste("/msg bea hi"))
    assert prompt.apply(Key("enter")) == Entered("/msg bea hi", is_pasted=True)
    prompt.keep("/msg bea hi", is_pasted=True)
    prompt.apply(Key("up"))
    assert prompt.apply(Key("enter")) == Entered("/msg bea hi", is_pasted=True)
