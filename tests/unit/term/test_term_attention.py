"""Whom common.term.attention calls, and with what bytes."""

from __future__ import annotations

import base64
import re

import pytest

from common.term import attention
from common.term.attention import Alarm, mentions, notice, title


@pytest.mark.parametrize(
    ("text", "name", "more", "found"),
    [
        ("ace: look", "ace", "", True),
        ("hey ACE!", "ace", "", True),
        ("race faces", "ace", "", False),
        ("ace_ ace1", "ace", "", False),
        ("ac\u0065\u0301 aceé", "ace", "", False),
        ("caf\u0065\u0301", "café", "", True),
        ("Straße", "STRASSE", "", True),
        ("a.c", "a.c", "", True),
        ("abc", "a.c", "", False),
        ("the deploy is red", "ace", "deploy", True),
        ("the build is red", "ace", "deploy, build", True),
        ("the build is red", "ace", "部署、build，上线", True),
        ("nobody", "", "", False),
        ("nobody", "", "  ", False),
        ("acer", "ace", "acer", True),
        ("日本 ace日", "日本", "", True),
    ],
)
def test_mentions(text: str, name: str, more: str, found: bool) -> None:
    assert mentions(text, name, more) is found


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        # Written without blanks, on either side of a name of any script.
        ("aceさん、見て", "ace", True),
        ("見てaceさん", "ace", True),
        ("今日はＡＣＥさん", "ace", True),
        ("小明你好", "小明", True),
        ("你好小明", "小明", True),
        ("问小明2号", "小明", True),
        ("田中さん", "田中", True),
        ("カオリちゃん", "カオリ", True),
        ("สวัสดีaceครับ", "ace", True),
        ("สวัสดีสมชายครับ", "สมชาย", True),
        ("ສະບາຍດີaceເດີ", "ace", True),
        ("မင်္ဂလာပါaceရေ", "ace", True),
        ("សួស្តីaceបាទ", "ace", True),
        # Another letter, or another vowel of its last letter, is another name.
        ("raceさん", "ace", False),
        ("aceさん", "さん", True),
        ("กาว", "ก", True),
        ("กิน", "ก", False),
        ("ace2さん ace_さん", "ace", False),
        # Korean writes behind a name what becomes of it, and in front of it a blank.
        ("ace님 어디", "ace", True),
        ("민수야 봐", "민수", True),
        ("김민수야", "민수", False),
        ("나는ace", "ace", True),
        # Scripts with blanks join nothing to a name.
        ("боримся", "бор", False),
        ("ace-у", "ace", True),
        ("aceу", "ace", False),
    ],
)
def test_mentions_in_scripts_without_blanks(text: str, name: str, found: bool) -> None:
    assert mentions(text, name, "") is found
    assert mentions(text, "nobody", f"deploy {name}") is found


def test_an_alarm_rings_once_in_three_seconds() -> None:
    alarm = Alarm()
    assert [alarm.may_ring(now) for now in (10.0, 10.1, 12.9, 13.0, 13.1, 99.0)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "begin"),
    [
        ({"TERM": "xterm-kitty"}, b"\x1b]99;;"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, b"\x1b]99;;"),
        ({"TERM": "foot"}, b"\x1b]777;notify;termchat;"),
        ({"TERM": "rxvt-unicode-256color"}, b"\x1b]777;notify;termchat;"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, b"\x1b]777;notify;termchat;"),
        ({"TERM": "xterm-ghostty"}, b"\x1b]777;notify;termchat;"),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7001"}, b"\x1b]777;notify;termchat;"),
        ({"TERM": "xterm-256color"}, b"\x1b]9;"),
        ({}, b"\x1b]9;"),
    ],
)
def test_a_notice_is_one_sequence_that_holds_no_other(
    environ: dict[str, str], begin: bytes
) -> None:
    sent = notice("lobby: \x1b\x07\x9c;b\nea" + "日" * 99, environ)
    assert sent.startswith(begin)
    assert sent.endswith(b"\x1b\\")
    body = sent[len(begin) : -2].decode()
    assert body.startswith("lobby: ␛␇<9C>,b ea日")
    assert body.endswith("日~")
    assert all(char.isprintable() for char in body)


def test_title() -> None:
    assert title("(2) lob\x07by\r") == "\x1b]2;(2) lob␇by \x1b\\".encode()


@pytest.mark.parametrize("text", ["hello", "two\nrows", "日本 👍", "x" * attention.CLIPBOARD_BYTES])
def test_the_clipboard_gets_the_text_and_nothing_that_acts(text: str) -> None:
    sent = attention.clipboard(text, {"TERM": "xterm-256color"})
    found = re.fullmatch(rb"\x1b\]52;c;([A-Za-z0-9+/=]+)\x1b\\", sent)
    assert found is not None
    assert base64.b64decode(found[1]).decode() == text


@pytest.mark.parametrize(
    ("text", "term"),
    [("", "xterm"), ("x" * 80_000, "xterm"), ("hello", "linux"), ("hi", "linux-16color")],
)
def test_no_clipboard(text: str, term: str) -> None:
    assert attention.clipboard(text, {"TERM": term}) == b""
