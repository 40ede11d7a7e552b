"""What common.term.complete offers."""

from __future__ import annotations

import pytest

from common.term.complete import Argument, Sources, complete

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
