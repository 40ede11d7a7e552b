"""What common.term.complete offers."""

from __future__ import annotations

import pytest

from common.term.complete import Argument, Sources, complete
from common.term.text import clean, width

SOURCES = Sources(
    names=["bea", "Benno", "carol"],
    commands={
        "/msg": (Argument.NAME, Argument.TEXT),
        "/me": (Argument.TEXT,),
        "/set": (("mouse", "joins"), ("on", "off")),
        "/quit": (),
    },
)


@pytest.mark.parametrize(
    ("before", "choices"),
    [
        ("", ["bea: ", "Benno: ", "carol: "]),
        ("BE", ["bea: ", "Benno: "]),
        ("so be", ["bea ", "Benno "]),
        ("two\nb", ["bea ", "Benno "]),
        ("x", []),
        ("/m", ["/msg ", "/me "]),
        ("/M", ["/msg ", "/me "]),
        ("/nothing", []),
        ("//m", []),
        ("/msg c", ["carol "]),
        ("/msg carol tell b", ["bea ", "Benno "]),
        ("/me c", ["carol "]),
        ("/set m", ["mouse "]),
        ("/set mouse o", ["on ", "off "]),
        ("/quit b", []),
        ("/foo b", []),
        ("/msg\nb", ["bea ", "Benno "]),
        ("@be", ["@bea ", "@Benno "]),
        ("so @be", ["@bea ", "@Benno "]),
        ("/msg @c", ["@carol "]),
        ("@", ["@bea ", "@Benno ", "@carol "]),
    ],
)
def test_choices(before: str, choices: list[str]) -> None:
    text = before + " and more"
    completion = complete(text, len(before), SOURCES)
    assert list(completion.choices) == choices
    assert completion.end == len(before)
    word = text[completion.start : completion.end]
    assert not set(word) & set(" \n")
    assert all(choice.casefold().startswith(word.casefold()) for choice in choices)


@pytest.mark.parametrize(
    ("before", "first"),
    [
        (":smile:", "😄"),
        (":smile", "😄"),
        (":+1:", "👍"),
        ("well done :tada:", "🎉"),
        (":octopus:", "🐙"),
        (":OCTO", "🐙"),
        ("/me :wave:", "👋"),
        ("/msg bea :heart", "❤"),
        ("two\n:fire:", "🔥"),
    ],
)
def test_emoji_by_name(before: str, first: str) -> None:
    found = complete(before, len(before), SOURCES)
    assert found.choices[0] == first
    assert before[: found.start] == before.rpartition(":" + before.split(":")[1])[0]


@pytest.mark.parametrize(
    "before", [":", ":)", "::", ":nothing_is_called_this:", "/msg :smi", "a:smile:"]
)
def test_what_names_no_emoji(before: str) -> None:
    assert complete(before, len(before), SOURCES).choices == ()


def test_every_emoji_is_shown_as_it_is() -> None:
    from common.term import emoji

    known = (*emoji._SHORT.values(), *emoji._unicode().values())
    assert len(known) > 1500
    assert all(clean(each, multiline=False) == each and width(each) >= 1 for each in known)
