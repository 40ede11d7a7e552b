"""What common.term.rows makes of a message."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.term.rows import (
    NOBODY,
    PLAIN,
    Entry,
    EntryKind,
    Look,
    Mark,
    Row,
    Style,
    Who,
    colour,
    day_line,
    is_cut,
    message,
    plain,
    private,
    unread_line,
    wrap,
)
from common.term.text import clean, displayed, width

NOON = time.struct_time((2026, 11, 21, 14, 1, 0, 5, 325, 0))
BEA = Who("bea", Style(colour=3))
WIDE, NARROW = Look(80, 256), Look(40, 256)


def drawn(
    text: str,
    look: Look = WIDE,
    *,
    kind: EntryKind = EntryKind.SAY,
    mark: Mark = Mark.NONE,
    who: Who = BEA,
    tail: str = "",
) -> list[Row]:
    return message(Entry(0, who, kind, mark, clean(text)), NOON, look, tail)


def lines(rows: list[Row]) -> list[str]:
    return [plain(row) for row in rows]


def styles(rows: list[Row]) -> dict[str, Style]:
    return {span.text: span.style for row in rows for span in row if span.style != PLAIN}


texts = st.text(st.sampled_from("ab -\n\t日\u0301\u200dé👍\U0001f1e9\U0001f469"), max_size=80)


@pytest.mark.parametrize(
    ("text", "cells", "rows"),
    [
        ("", 5, [""]),
        ("hello", 5, ["hello"]),
        ("hello world", 5, ["hello", "world"]),
        ("hello world", 8, ["hello", "world"]),
        ("hello  world", 5, ["hello", "world"]),
        ("hello ", 5, ["hello"]),
        ("hello   ", 5, ["hello"]),
        ("a  b", 2, ["a ", "b"]),
        ("a   ", 2, ["a "]),
        ("a bcdefghij k", 5, ["a", "bcdef", "ghij", "k"]),
        ("abcdefghijkl", 5, ["abcde", "fghij", "kl"]),
        ("  abcdefg", 5, ["  abc", "defg"]),
        ("a\n\nb\n", 5, ["a", "", "b", ""]),
        ("日本語", 5, ["日本", "語"]),
        ("日本 語x", 5, ["日本", "語x"]),
        ("e\u0301e\u0301e\u0301", 2, ["e\u0301e\u0301", "e\u0301"]),
        ("a\U0001f1e9\U0001f1eab", 2, ["a", "\U0001f1e9\U0001f1ea", "b"]),
    ],
)
def test_wrap(text: str, cells: int, rows: list[str]) -> None:
    assert [text[start:end] for start, end in wrap(text, cells)] == rows


@given(texts.map(clean).map(displayed), st.integers(2, 30), st.integers(2, 30))
@example("a\U0001f469 \n", 2, 2)
def test_wrapped_rows_fit_and_join_back_to_the_text(text: str, cells: int, first: int) -> None:
    spans = wrap(text, cells, first)
    assert spans[0][0] == 0
    end = 0
    for row, (start, stop) in enumerate(spans):
        assert start <= stop
        assert width(text[start:stop]) <= (cells if row else first)
        assert re.fullmatch(r" *\n?", text[end:start])
        end = stop
    assert not text[end:].strip(" ")


def test_wide_columns() -> None:
    assert lines(drawn("morning! the deploy is at three, notes are in the wiki, see there")) == [
        "14:01            bea  morning! the deploy is at three, notes are in the wiki,",
        "                      see there",
    ]
    assert lines(drawn("hi", Look(60, 0), mark=Mark.MENTION)) == ["14:01 @        bea  hi"]
    assert lines(drawn("waves", kind=EntryKind.ACTION)) == ["14:01               * bea waves"]
    assert lines(drawn("dave joined. 5 here", kind=EntryKind.NOTICE, who=NOBODY)) == [
        "14:01 --  dave joined. 5 here"
    ]
    warning = "erin's identity key has CHANGED. Not sending to or showing erin until /trust erin."
    assert lines(drawn(warning, kind=EntryKind.WARNING, who=NOBODY)) == [
        "14:01 !!  erin's identity key has CHANGED. Not sending to or showing erin until",
        "          /trust erin.",
    ]


def test_narrow_columns() -> None:
    assert lines(drawn("morning! the deploy is at three, notes are", NARROW)) == [
        " bea: morning! the deploy is at three,",
        "   notes are",
    ]
    assert lines(drawn("日本語", NARROW, mark=Mark.VERIFIED)) == ["+bea: 日本語"]
    assert lines(drawn("waves", NARROW, kind=EntryKind.ACTION)) == [" * bea waves"]
    notice = drawn(
        "dave joined (48213, first seen) just now", NARROW, kind=EntryKind.NOTICE, who=NOBODY
    )
    assert lines(notice) == ["-- dave joined (48213, first seen) just", "   now"]
    assert lines(drawn("x", NARROW, kind=EntryKind.WARNING, who=NOBODY)) == ["!! x"]
    # A word that fits a row of its own is not cut behind the name.
    assert lines(drawn("internationally", Look(20, 0))) == [" bea:", "   internationally"]


def test_a_long_name_is_cut() -> None:
    who = Who("a" * 32, PLAIN)
    assert lines(drawn("x", who=who)) == [f"14:01   {'a' * 11}~  x"]
    assert lines(drawn("x", Look(60, 0), who=who)) == [f"14:01   {'a' * 9}~  x"]
    assert lines(drawn("x", NARROW, who=who)) == [f" {'a' * 11}~: x"]
    assert lines(drawn("x", who=Who("日" * 9, PLAIN))) == [f"14:01    {'日' * 5}~  x"]


def test_a_message_of_more_than_twenty_rows_is_cut_to_eighteen() -> None:
    twenty = "\n".join(map(str, range(20)))
    assert len(drawn(twenty)) == 20
    rows = lines(drawn(twenty + "\n20"))
    assert len(rows) == 19
    assert rows[17].strip() == "17"
    assert rows[18] == " " * 22 + "(3 more rows: Enter or /more)"
    assert all(width(row) <= 20 for row in lines(drawn("x\n" * 5000, Look(20, 0))))


def test_only_names_marks_and_notices_have_a_colour() -> None:
    text = "see https://a.example/b, it is red"
    assert styles(drawn(text)) == {
        "bea": Style(colour=3),
        "https://a.example/b": Style(underline=True),
    }
    assert styles(drawn(text, NARROW)) == styles(drawn(text))
    assert styles(drawn(text, kind=EntryKind.ACTION)) == styles(drawn(text))
    loud = Style(bold=True, colour=1)
    assert styles(drawn("boo", kind=EntryKind.WARNING)) == {"!!": loud, "boo": loud}
    assert styles(drawn("boo", Look(80, 0), kind=EntryKind.WARNING)) == {
        "!!": Style(bold=True),
        "boo": Style(bold=True),
    }


def test_what_is_no_message_is_quieter_and_coloured_by_its_kind() -> None:
    said = {
        kind: styles(drawn("said", kind=kind, who=NOBODY))
        for kind in (EntryKind.NOTICE, EntryKind.PRESENCE, EntryKind.ANSWER)
    }
    assert said[EntryKind.NOTICE]["said"] == said[EntryKind.PRESENCE]["said"] == Style(dim=True)
    assert "said" not in said[EntryKind.ANSWER]
    signs = [each["--"] for each in said.values()]
    assert [sign.dim for sign in signs] == [True, True, False]
    assert len({sign.colour for sign in signs}) == 2
    of_marks = [_mark(mark, 256).colour for mark in Mark if mark is not Mark.NONE]
    assert None not in of_marks
    assert len(set(of_marks)) == 4
    assert all(_mark(mark, 0).colour is None for mark in Mark)


def _mark(mark: Mark, colours: int) -> Style:
    return drawn("x", Look(80, colours), mark=mark)[0][1].style


def test_a_private_line_has_a_colour_that_no_name_has() -> None:
    for colours in (8, 256):
        own = private(colours).colour
        assert own is not None
        assert own not in {colour(bytes([number]) * 32, colours) for number in range(200)}
        for mark in (Mark.DIRECT, Mark.LOOK_ALIKE_DIRECT):
            for look in (Look(80, colours), Look(40, colours)):
                text = "to you: see http://a.example it is a secret that is as long as two rows are"
                rows = drawn(text, look, mark=mark)
                said = [s for row in rows for s in row if s.text.strip(": ") not in ("", "bea")]
                assert {s.style.colour for s in said if s.text[0] not in "1?"} == {own}
                assert [s.text for s in said if s.style.underline] == ["http://a.example"]
    assert private(0) == PLAIN


def test_a_colour_that_is_taken_is_not_given_again() -> None:
    taken: list[int] = []
    for number in range(5):
        chosen = colour(bytes(32), 8, taken)
        assert chosen is not None
        taken.append(chosen)
        assert len(set(taken)) == number + 1
    assert colour(bytes(32), 8, taken) == taken[0]


def test_the_column_of_names_is_as_wide_as_it_must_be() -> None:
    look = Look(80, 0, name_cells=3)
    assert lines(drawn("hi", look)) == ["14:01   bea  hi"]
    assert lines(drawn("waves", look, kind=EntryKind.ACTION)) == ["14:01      * bea waves"]
    assert lines(drawn("hi", look._replace(name_cells=99))) == lines(drawn("hi"))


def test_a_long_message_can_be_shown_whole() -> None:
    text = "\n".join(map(str, range(50)))
    entry = Entry(0, BEA, EntryKind.SAY, Mark.NONE, text)
    assert is_cut(entry, NOON, WIDE)
    assert not is_cut(entry, NOON, WIDE._replace(is_open=True))
    assert [
        row.strip() for row in lines(message(entry, NOON, WIDE._replace(is_open=True)))[1:]
    ] == [str(number) for number in range(1, 50)]


def test_a_name_that_is_a_url_is_no_link() -> None:
    rows = drawn("x", NARROW, who=Who("http://a.b", PLAIN))
    assert styles(rows) == {}


def test_what_was_found_is_marked() -> None:
    found = Look(40, 0, re.compile("e", re.IGNORECASE))
    who = Who("bea", PLAIN)
    assert [
        (span.text, span.style.reverse, span.style.underline)
        for row in drawn("Eh http://e", found, who=who)
        for span in row
    ] == [
        (" ", False, False),
        ("bea", False, False),
        (": ", False, False),
        ("E", True, False),
        ("h ", False, False),
        ("http://", False, True),
        ("e", True, True),
    ]
    now = Look(40, 0, found.found, is_current=True)
    assert styles(drawn("e", now, who=who)) == {"e": Style(bold=True, reverse=True)}


def test_a_line_that_waits_is_dim_with_a_word_at_its_end() -> None:
    rows = drawn("word " * 20, tail="waiting")
    assert lines(rows)[-1].endswith(" waiting")
    assert width(lines(rows)[-1]) == 80
    assert all(span.style.dim for row in rows for span in row)


@given(
    texts,
    st.sampled_from([20, 21, 40, 59, 60, 61, 80, 132]),
    st.sampled_from(EntryKind),
    st.sampled_from(Mark),
    st.sampled_from(["bea", "日" * 20, "e\u0301"]),
    st.sampled_from(["", "...", "waiting"]),
)
def test_no_row_is_wider_than_the_screen(
    text: str, columns: int, kind: EntryKind, mark: Mark, name: str, tail: str
) -> None:
    look = Look(columns, 8, re.compile("a|日"))
    rows = lines(drawn(text, look, kind=kind, mark=mark, who=Who(name, PLAIN), tail=tail))
    assert 1 <= len(rows) <= 20
    for row in rows:
        assert width(row) <= columns
        assert "\n" not in row


@given(st.text("ab -+?@>!*日", min_size=1, max_size=14), st.sampled_from(Mark), st.booleans())
def test_no_part_of_a_name_or_text_is_drawn_in_a_mark_cell(
    name: str, mark: Mark, is_wide: bool
) -> None:
    rows = lines(drawn(f"{name} {name}\n{name}", Look(80 if is_wide else 40, 0), mark=mark,
                       who=Who(name, PLAIN)))  # fmt: skip
    cell = 6 if is_wide else 0
    assert rows[0][cell] == mark.value[0]
    assert not is_wide or rows[0][cell + 1] == " "
    assert all(row[: cell + 2].isspace() for row in rows[1:])


def test_lines_between_messages() -> None:
    assert plain(day_line(NOON, 40)) == "-- Saturday 21 November 2026 -----------"
    assert plain(day_line(NOON, 20)) == "-- Saturday 21 Nove~"
    assert plain(unread_line(20)) == "------ unread ------"


def test_colours_are_chosen_by_identity() -> None:
    people = [bytes([number]) * 32 for number in range(200)]
    assert {colour(identity, 8) for identity in people} == {1, 2, 3, 4, 6}
    of_256 = {colour(identity, 256) for identity in people}
    assert of_256 == {131, 130, 64, 28, 30, 31, 27, 62, 99}
    assert {colour(identity, 0) for identity in people} == {None}
    assert colour(people[0], 8) == colour(people[0], 16)
