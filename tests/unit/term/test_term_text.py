"""What common.term.text lets through, and how wide it is."""

from __future__ import annotations

import ctypes
import locale
import platform
import unicodedata
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.term import text

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"

# UX.md 10, each with what is left of it in a text.
HOSTILE = {
    "\x1b[2J\x1b[H": "␛[2J␛[H",
    "\x1b]52;c;aGk=\x07": "␛]52;c;aGk=␇",
    "\x1b]0;pwned\x07": "␛]0;pwned␇",
    "\x07\x07": "␇␇",
    "over\rWRITE": "over\nWRITE",
    "\x08\x08\x08": "␈␈␈",
    "\x7f": "␡",
    "\x9b2J": "<9B>2J",
    "\ufffd\ufffd\ufffd(": "\ufffd\ufffd\ufffd(",
    "\u202egnp.exe\u202c": "<202E>gnp.exe<202C>",
    "\u2066x\u2069": "<2066>x<2069>",
    "\u2028a": "<2028>a",
    "me\u200b": "me",
    "\U000e0041": "<E0041>",
    "\U000e0100": "<E0100>",
    "Z" + 40 * "\u0351": "Z" + 4 * "\u0351",
    "\ud800": "\ufffd",
    '\x1bP$q"p\x1b\\': '␛P$q"p␛\\',
    "\x1b[c \x1b[6n \x05": "␛[c ␛[6n ␅",
    "\x1b[200~/quit\r\x1b[201~": "␛[200~/quit\n␛[201~",
    "16384 without a space" + 16384 * "x": "16384 without a space" + 16384 * "x",
    "\x0e lqk \x0f": "␎ lqk ␏",
    "\x00\x1f": "␀␟",
    "\x85": "<85>",
    "\ue000\U0010ffff\u0378\ufdd0": "<E000><10FFFF><378><FDD0>",
    "\u200e\u200f\u061c\u2060\ufeff\u00ad": "",
    "\ufff9\u2061\u180e": "<FFF9><2061><180E>",
    "a\r\n\tb": "a\n\tb",
    "non\u00a0breaking\u3000": "non\u00a0breaking\u3000",
}

any_text = st.text(
    st.one_of(
        st.characters(categories=None),
        st.sampled_from(
            "\x00\x1b\r\n\t\x7f\x9b\u200b\u200d\ufe0f\u0351\u202e\ud800\U0001f3fb👍日é"
        ),
    ),
    max_size=60,
)


def is_harmless(char: str) -> bool:
    """Judge without the code under test: nothing a terminal acts on or a reader cannot see."""
    if char in "\n\t\u200c\u200d":
        return True
    is_tag = 0xE0000 <= ord(char) <= 0xE0FFF
    return (
        unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} and not is_tag
    )


@pytest.mark.parametrize(("hostile", "shown"), HOSTILE.items(), ids=map(ascii, range(len(HOSTILE))))
def test_hostile_text_is_pictured(hostile: str, shown: str) -> None:
    assert text.clean(hostile) == shown
    assert text.clean(hostile, multiline=False) == shown.replace("\n", " ").replace("\t", " ")
    assert all(map(is_harmless, text.clean("a" + hostile + "b")))


def test_a_megabyte_of_escapes_is_pictured() -> None:
    assert text.clean("\x1b" * 1_000_000) == "␛" * 1_000_000


@given(any_text)
@example("\r\r\n\n\r")
@example("a" + "\u0351\u0351\u200d" * 5)
@example("a" + "\u200b\u0351" * 9)
@example("<9B>")
def test_clean_text_holds_nothing_but_text_and_stays_as_it_is(raw: str) -> None:
    for multiline in (True, False):
        cleaned = text.clean(raw, multiline=multiline)
        assert all(map(is_harmless, cleaned))
        assert text.clean(cleaned, multiline=multiline) == cleaned
        assert multiline or not {"\n", "\t"} & set(cleaned)


@given(st.lists(st.sampled_from("a\u0351\u20dd\u200d\ufe0f\U0001f3fb\u1160\u0903日"), max_size=40))
def test_no_base_is_drawn_with_more_than_four_marks(chars: list[str]) -> None:
    shown = text.displayed(text.clean("".join(chars)))
    run = 0
    for char in shown:
        run = run + 1 if text.width(char) == 0 else 0
        assert run <= 4


def test_stored_text_keeps_joiners_and_the_screen_leaves_them_out() -> None:
    thumb = "\U0001f44d\U0001f3fd \u2764\ufe0f"
    assert text.clean(FAMILY + thumb) == FAMILY + thumb
    assert text.displayed(FAMILY) == "\U0001f469\U0001f469\U0001f467"
    assert text.width(text.displayed(FAMILY)) == 6
    assert text.displayed(thumb) == "\U0001f44d \u2764"
    assert text.displayed("a\tb") == "a    b"
    assert text.displayed("é\tb") == "é    b"


@pytest.mark.parametrize(
    ("shown", "cells"),
    [
        ("", 0),
        ("plain", 5),
        ("日本語もOK 👍", 13),
        ("e\u0301", 1),
        ("\u1112\u1161\u11ab", 2),
        ("\uff21", 2),
        ("\u3248\u4dc0", 4),
        ("\u06dd", 1),
        ("\ud7b0", 0),
        ("\u20dd\u200d", 0),
        ("␛<9B>", 5),
    ],
)
def test_width(shown: str, cells: int) -> None:
    assert text.width(shown) == cells


@pytest.fixture
def wcwidth() -> Iterator[Callable[[int], int]]:
    library = ctypes.CDLL(None)
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        pytest.skip("no UTF-8 locale")
    yield library.wcwidth
    locale.setlocale(locale.LC_CTYPE, before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library, other tables")
def test_width_is_that_of_the_c_library(wcwidth: Callable[[int], int]) -> None:
    # Assigned so long ago that any two versions of Unicode know them; what Unicode 16 made wide is
    # as the newer of the two says.
    changed = {*range(0x2630, 0x2638), *range(0x268A, 0x2690), *range(0x1D300, 0x1D377)}
    assigned = (
        code
        for code in range(0x20, 0x30000)
        if unicodedata.ucd_3_2_0.category(chr(code)) not in {"Cc", "Cn", "Co", "Cs"}
    )
    differing = {code for code in assigned if wcwidth(code) != text.width(chr(code))}
    # clean() lets none of these three through.
    assert differing - changed <= {0x00AD, 0x2028, 0x2029}


def graphemes(content: str) -> list[str]:
    """Walk a text from its start."""
    parts, start = [], 0
    while start < len(content):
        end = text.next_grapheme(content, start)
        parts.append(content[start:end])
        start = end
    return parts


@pytest.mark.parametrize(
    "whole",
    ["a", "e\u0301\u0351", FAMILY, "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3",
     "\u1112\u1161\u11ab", "\u0915\u093e", "\U0001f3f4\u200d\u2620\ufe0f", "\n"],
)  # fmt: skip
def test_a_grapheme_is_one_step(whole: str) -> None:
    assert graphemes(f"x{whole}y") == ["x", whole, "y"]
    around = f"日{whole}日"
    for inside in range(1, len(whole) + 1):
        assert text.boundary(around, inside) == 1
    assert text.boundary(around, 1 + len(whole)) == 1 + len(whole)


def test_flags_are_paired_from_the_first() -> None:
    flags = "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7\U0001f1ee"
    assert [len(flag) for flag in graphemes(flags)] == [2, 2, 1]


@given(any_text.map(text.clean))
def test_boundaries_are_the_same_from_everywhere(cleaned: str) -> None:
    parts = graphemes(cleaned)
    assert "".join(parts) == cleaned
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + len(part))
    for index in range(len(cleaned) + 1):
        assert text.boundary(cleaned, index) == max(at for at in starts if at <= index)


@given(any_text.map(text.clean).map(text.displayed), st.integers(0, 20))
def test_cut_fits(shown: str, cells: int) -> None:
    short = text.cut(shown, cells)
    assert text.width(short) <= max(cells, 0)
    if text.width(shown) <= cells:
        assert short == shown
    elif cells:
        assert short.endswith("~")
        assert shown.startswith(short[:-1])
        assert text.width(short) >= cells - 1 or not shown[len(short) - 1 :].isascii()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("see https://example.org/a-b?c=d. Or", ["https://example.org/a-b?c=d"]),
        ("(http://x.org/),https://y", ["http://x.org/", "https://y"]),
        ("http://a http://b!?", ["http://a", "http://b"]),
        ("http:// ftp://x nothing", []),
        ("日https://例え.jp/道、", ["https://例え.jp/道"]),
        # Brackets: those opened in it belong to it.
        ("(https://en.wikipedia.org/wiki/A_(b))", ["https://en.wikipedia.org/wiki/A_(b)"]),
        ("https://en.wikipedia.org/wiki/A_(b).", ["https://en.wikipedia.org/wiki/A_(b)"]),
        ("[x](https://a.org/b)[y]", ["https://a.org/b"]),
        ("[https://a.org/?q[]=1]", ["https://a.org/?q[]=1"]),
        ("{https://a.org/{b}}", ["https://a.org/{b}"]),
        ("http://[::1]:80/x]", ["http://[::1]:80/x"]),
        ("(see (https://a.org/b).)", ["https://a.org/b"]),
        ("https://a.org/( b", ["https://a.org/"]),
        ("<https://a.org/b>c", ["https://a.org/b"]),
        # Quotes, of programs and of printers.
        ("'https://a.org/b', \"https://c.org\"", ["https://a.org/b", "https://c.org"]),
        ("'https://a.org/b'c", ["https://a.org/b"]),
        ("https://a.org/it's", ["https://a.org/it's"]),
        ("`https://a.org`d", ["https://a.org"]),
        ("“https://a.org/b” «https://c.org» ‘https://d.org’s", [
            "https://a.org/b", "https://c.org", "https://d.org",
        ]),
        ("*https://a.org/b* ~https://c.org/~", ["https://a.org/b", "https://c.org/"]),
        # What follows without a blank where none are written.
        ("见https://a.org/b。谢谢", ["https://a.org/b"]),
        ("（https://a.org/b）", ["https://a.org/b"]),
        ("「https://a.org/b」、https://c.org！", ["https://a.org/b", "https://c.org"]),
        ("https://a.org（官网）https://c.org，", ["https://a.org", "https://c.org"]),
        ("https://ja.wikipedia.org/wiki/日本語", ["https://ja.wikipedia.org/wiki/日本語"]),
        ("https://a.org… https://b.org؟ https://c.org।", [
            "https://a.org", "https://b.org", "https://c.org",
        ]),
        # Capitals, and what only begins like one.
        ("HTTPS://Example.ORG/A Http://b.org", ["HTTPS://Example.ORG/A", "Http://b.org"]),
        ("http://. https://) http://[ https:// \" http:/x", []),
    ],
)  # fmt: skip
def test_urls(line: str, found: list[str]) -> None:
    assert [line[start:end] for start, end in text.urls(line)] == found


URL_PIECES = st.sampled_from(
    [
        "http://",
        "HTTPS://",
        "a.org",
        "/",
        "(",
        ")",
        "[",
        "]",
        "'",
        '"',
        ".",
        ",",
        "。",
        "）",
        " ",
        "字",
    ]
)


@given(st.lists(URL_PIECES, max_size=20).map("".join))
def test_a_url_is_whole_apart_and_without_blanks(line: str) -> None:
    before = 0
    for start, end in text.urls(line):
        url = line[start:end]
        assert before <= start < end
        assert url.casefold().startswith(("http://", "https://"))
        assert len(url.partition("://")[2]) > 0
        assert not set(url) & set(' "。）')
        assert url[-1] not in ".,'(["
        assert url.count(")") <= url.count("(")
        before = end
