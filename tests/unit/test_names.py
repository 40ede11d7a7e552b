from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import names
from common.crypto import card
from common.crypto.hashing import label
from common.errors import ProtocolError, UsageError
from common.wire.records import Hello
from tests.unit.crypto.vectors import ACE, ROOM_ID

GOOD = [
    "ace", "Ace", "a", "7", "zoë", "user_1234", "o'brien", "jean-luc", "bea_", "bea__", "b.e.a",
    "асе",  # Cyrillic throughout: allowed, and marked where it looks like another
    "Ωμέγα", "日本語", "ひらがな", "ユーザー", "שלום", "ไทย", "한글", "नमस्ते", "a日", "é" * 32,
    "a" * 32, "日" * 21, "日aカひ", "日a한", "日ㄅa", "İstanbul", "٣امير", "a7日", "ক২", "১২",
    "yours", "lobby2", "ace.the.second",
]  # fmt: skip

IS_MIXED = "does not mix"
IS_NONE = "letters and digits in use today"
IS_PART = "stand between two letters or digits"
BAD = [
    ("", "at least one letter"),
    ("a" * 33, "at most 32 characters"),
    ("日" * 22, "64 bytes"),
    ("𠀀" * 17, "64 bytes"),
    *((name, "no spaces") for name in (
        "a b", " a", "a\u00a0b", "a\u3000b", "a\u2028b",
        "a\nb", "a\0", "a\x1b[2J", "a\x7f", "a\x9b2J",
    )),
    *((name, IS_NONE) for name in (
        "*", "☃", "a☃", "<b>", "a*", "@ace", "ace:", "a|b", "a\u200bb", "a\u200db", "\u202eeca",
        "a\u2066", "a\ufeff", "a\U000e0041", "a\ue000", "a\udce9", "a\uffff", "a👍🏽",
        "Ⅻ", "ﬁ", "ａce",
        "x²", "a\u034fb", "a\u3164",
        "biǀǀ", "bɪll", "ƅill",  # a click, a phonetic letter and one that nobody uses any more
        "ᎪᏟᎬ", "\U00010330",  # in use by few, and by nobody
        "\u1c8a",  # assigned in Unicode 16
        "\U0001e030",  # assigned in Unicode 15, which Python 3.11 does not know
    )),
    ("zoe\u0308", "composed letters"),
    ("\u1100\u1161", IS_NONE),  # what Hangul decomposes into
    *((name, "begins with a letter") for name in ("-x", "--", "_x", "_", "'", "\u0301", "\u0301x")),
    *((name, IS_PART) for name in ("bill.", "x-", "x'", "a..b", "a-.b", "a_.b", "a._b", "x._")),
    ("x" + "\u0323\u0324\u0331\u0325\u032d", "at most 4 marks"),
    *((name, IS_MIXED) for name in (
        "aсe",  # the middle letter is Cyrillic
        "αlpha", "аα", "日aБ", "日Б", "r০০t", "r٠٠t", "bօb", "ひ한", "ㄅひ", "a१", "Б٢",
    )),
    *((name, "digits of several scripts") for name in ("ক1২", "२1", "٣1")),
    *((name, "word of the program's own") for name in (
        "server", "relay", "lobby", "operator", "system", "you", "You", "SYSTEM", "re1ay",
        "0perator", "l0bby", "Iobby", "reiay", "y.o.u", "you_", "ѕуѕтем", "ЅУЅТЕМ",
    )),
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_username_is_allowed(name: str) -> None:
    names.check_username(name)


@pytest.mark.parametrize(("name", "reason"), BAD)
def test_a_bad_username_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        names.check_username(name)


@pytest.mark.parametrize("name", [name for name, _ in BAD if len(name) < 17])
def test_what_is_refused_is_refused_at_both_ends(name: str) -> None:
    data = name.encode("utf-8", "surrogatepass")
    field = bytes([len(data)]) + data.ljust(64, b"\0")
    with pytest.raises(ProtocolError):
        Hello.decode(ACE.session + ACE.identity.public + bytes(33) + field)
    fields = ACE.session + ACE.identity.public + ACE.card_key.public + field + bytes(32)
    signed = fields + ACE.identity.sign(label("card") + ROOM_ID + fields)
    with pytest.raises(ProtocolError, match=r"name|UTF-8"):
        card.decode(signed, ROOM_ID)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("zoe\u0308", "zoë"),
        ("ａｃｅ", "ace"),
        ("ﬁ", "fi"),
        ("ace", "ace"),
        ("\u1112\u1161\u11ab", "한"),
    ],
)
def test_what_a_person_types_is_composed(text: str, name: str) -> None:
    assert names.username_from_user(text) == name
    assert names.key(text) == names.key(name)


def test_what_cannot_be_composed_into_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"but not U\+2603\."):
        names.username_from_user("a☃")
    with pytest.raises(UsageError, match=r"but not \*\."):
        names.username_from_user("a*")
    with pytest.raises(UsageError, match="mix Latin and Bengali characters"):
        names.username_from_user("r০০t")


MARKS = [chr(code) for code in range(0x300, 0x370) if names._scripts_of(chr(code))]
LETTERS = [
    chr(code)
    for code in (*range(0x41, 0x590), *range(0x1E00, 0x2000))
    if chr(code).isalpha() and names._scripts_of(chr(code))
]


def test_what_is_written_under_the_key_of_any_name_is_found_again() -> None:
    refused = 0
    for letter in LETTERS:
        for mark in MARKS:
            name = f"a{letter}{mark}"
            try:
                names.check_username(name)
            except UsageError:
                refused += 1
                continue
            key = names.key(name)
            assert names.key(key) == key, ascii(name)
    assert refused < len(LETTERS) * len(MARKS)
    with pytest.raises(UsageError, match="another's in lower case"):
        names.check_username("\u1f8d\u0300")


@given(st.text(max_size=40))
def test_any_text_is_a_username_or_a_usage_error(name: str) -> None:
    try:
        names.check_username(name)
    except UsageError:
        return
    assert 1 <= len(name) <= 32
    assert names.key(names.key(name)) == names.key(name)
    assert len(name.encode()) <= 64
    assert name.isprintable()
    assert " " not in name


@pytest.mark.parametrize("room", ["", "den", "日本語", "ss", "a" * 32, "1", "lobby2"])
def test_a_room_may_have_a_good_name_in_lower_case(room: str) -> None:
    names.check_room(room)


@pytest.mark.parametrize(
    "room",
    ["lobby", "Den", "straße", "a" * 33, "é" * 17, "*", "a b", "ﬁ", "\n", "LOBBY", "l0bby", "you"],
)
def test_a_room_of_another_name_is_refused(room: str) -> None:
    with pytest.raises(UsageError):
        names.check_room(room)


@pytest.mark.parametrize(
    ("text", "room"),
    [
        ("lobby", ""), ("Lobby", ""), ("ｌｏｂｂｙ", ""), ("", ""), ("den", "den"), ("DEN", "den"),
        ("Straße", "strasse"), ("Zoe\u0308", "zoë"), ("ΡΩΜΑΪ\u0301ΚΑ", "ρωμαΐκα"),
    ],
)  # fmt: skip
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
    assert names.key("zoe\u0308") == names.key("ZOË")


@given(st.text(st.sampled_from("aAbBéÉßΩω1İiǰΐ" + "\u0301\u0308\u0307"), max_size=12))
def test_a_key_is_its_own(text: str) -> None:
    assert names.key(names.key(text)) == names.key(text)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("асе", "асе is not ace: its letters are Cyrillic."),
        ("ΑΕΕΑ", "ΑΕΕΑ is not aeea: its letters are Greek."),
        ("৪৪", "৪৪ is not 88: its digits are Bengali."),
        ("a-c.e_", "a-c.e_ is not ace: it only looks the same."),
        ("ace", None),
        ("ACE", None),
        ("àce", None),
        ("асее", None),
    ],
)
def test_a_name_that_looks_like_a_present_one(name: str, row: str | None) -> None:
    names.check_username(name)
    assert names.look_alike(name, ["bea", "ace", "aeea", "88"]) == row


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("aIice", "alice"),
        ("al1ce", "alice"),
        ("BlLL", "bill"),
        ("b0b", "bob"),
        ("rnike", "mike"),
        ("РЕТЕ", "pete"),
        ("кім", "kim"),
        ("Вгоо", "Broo"),
        ("ΝΙΝΑ", "nina"),
        ("ё", "ë"),
        ("bi\u0307ll", "bill"),
        ("İl", "il"),
        ("æ", "ae"),
    ],
)
def test_names_that_look_alike(name: str, other: str) -> None:
    assert not names.looks(name).isdisjoint(names.looks(other))
    assert names.looks(name).isdisjoint(names.looks(other + "x"))


@given(st.sampled_from(GOOD))
def test_a_name_looks_like_itself_in_any_case(name: str) -> None:
    for form in (name.upper(), name.casefold(), name.title()):
        assert not names.looks(name).isdisjoint(names.looks(form))


@given(st.text(st.sampled_from("abIl10O_-.'" + "аеоΑ\u0307০"), min_size=1, max_size=12))
def test_looks_are_of_text_that_has_none_of_what_is_overlooked(name: str) -> None:
    for look in names.looks(name):
        assert look == look.casefold()
        assert not set(look) & set("-._'iI")


def test_a_long_name_is_judged_at_once() -> None:
    # A pattern that tries each way to cut a run into runs would take hours.
    for tail in ("", "!", "☃", "-"):
        with contextlib.suppress(UsageError):
            names.check_username("a" * 31 + tail)
