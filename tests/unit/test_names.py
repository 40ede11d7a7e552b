from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import names
from common.errors import UsageError


@pytest.mark.parametrize(
    "name",
    [
        "ace", "Ace", "a", "7", "zoë", "user_1234", "o'brien", "<b>", "a*", "-x-",
        "асе",  # Cyrillic throughout: allowed, and marked where it looks like another
        "Ωμέγα", "日本語", "ひらがな", "שלום", "ไทย", "한글", "a日", "日Б", "é" * 32,
        "a" * 32, "日" * 21, "a☃",
    ],
)  # fmt: skip
def test_a_good_username_is_allowed(name: str) -> None:
    names.check_username(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "at least one letter"),
        ("*", "at least one letter"),
        ("--", "at least one letter"),
        ("☃", "at least one letter"),
        ("Ⅻ", "plain form"),
        ("\u0301", "at least one letter"),
        ("a" * 33, "at most 32 characters"),
        ("日" * 22, "64 bytes"),
        ("\U00010330" * 17, "64 bytes"),
        ("a b", "no spaces"),
        (" a", "no spaces"),
        ("a\u00a0b", "no spaces"),
        ("a\u3000b", "no spaces"),
        ("a\u2028b", "no spaces"),
        ("a\nb", "no spaces"),
        ("a\0", "no spaces"),
        ("a\x1b[2J", "no spaces"),
        ("a\x7f", "no spaces"),
        ("a\x9b2J", "no spaces"),
        ("a\u200bb", "no spaces"),
        ("a\u200db", "no spaces"),
        ("\u202eeca", "no spaces"),
        ("a\u2066", "no spaces"),
        ("a\ufeff", "no spaces"),
        ("a\U000e0041", "no spaces"),
        ("a\ue000", "no spaces"),
        ("a\udce9", "no spaces"),
        ("a\uffff", "no spaces"),
        ("a👍🏽", "no spaces"),  # U+1F44D came with Unicode 6
        ("a\u1e9e", "no spaces"),  # U+1E9E came with Unicode 5.1
        ("ﬁ", "plain form"),
        ("ａce", "plain form"),
        ("zoe\u0308", "plain form"),
        ("x²", "plain form"),
        ("aсe", "does not mix"),  # the middle letter is Cyrillic
        ("αlpha", "does not mix"),
        ("аα", "does not mix"),
        ("日aБ", "does not mix"),
    ],
)
def test_a_bad_username_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        names.check_username(name)


@given(st.text(max_size=40))
def test_any_text_is_a_username_or_a_usage_error(name: str) -> None:
    try:
        names.check_username(name)
    except UsageError:
        return
    assert 1 <= len(name) <= 32
    assert len(name.encode()) <= 64
    assert name.isprintable()
    assert " " not in name


@pytest.mark.parametrize("room", ["", "den", "日本語", "ss", "a" * 32, "1", "lobby2"])
def test_a_room_may_have_a_good_name_in_lower_case(room: str) -> None:
    names.check_room(room)


@pytest.mark.parametrize(
    "room", ["lobby", "Den", "straße", "a" * 33, "é" * 17, "*", "a b", "ﬁ", "\n", "LOBBY"]
)
def test_a_room_of_another_name_is_refused(room: str) -> None:
    with pytest.raises(UsageError):
        names.check_room(room)


@pytest.mark.parametrize(
    ("text", "room"),
    [("lobby", ""), ("Lobby", ""), ("", ""), ("den", "den"), ("DEN", "den"), ("Straße", "strasse")],
)
def test_a_person_may_write_a_room_in_any_case(text: str, room: str) -> None:
    assert names.room_from_user(text) == room
    names.check_room(room)


@pytest.mark.parametrize("text", ["a b", "*", "a" * 33, "é" * 17, "aсe"])
def test_a_room_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        names.room_from_user(text)


@given(st.text("aAbBéÉßΩω1*", max_size=20))
def test_what_a_person_may_write_is_what_hello_may_carry(text: str) -> None:
    try:
        room = names.room_from_user(text)
    except UsageError:
        return
    names.check_room(room)
    assert names.room_from_user(names.room_for_user(room)) == room


def test_the_default_room_has_a_name_for_people() -> None:
    assert names.room_for_user("") == "lobby"
    assert names.room_for_user("den") == "den"


def test_names_are_the_same_in_any_case() -> None:
    assert names.key("Straße") == names.key("STRASSE")
    assert names.key("Σίσυφος") == names.key("ΣΊΣΥΦΟΣ")
    assert names.key("ace") != names.key("асе")
