"""What an operator types is one order, or a sentence that repeats none of it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import UsageError
from common.wire import orders
from common.wire.orders import FORMS, MAX_FOR_S, MAX_SLOW_S, Order, Word, is_secret, near, parse

DIGITS = "12345 67890 12345 67890 12345 67890"
BARE = DIGITS.replace(" ", "")


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("/kick bea", Order(Word.KICK, "bea")),
        ("  /kick  bea  too  loud ", Order(Word.KICK, "bea", "too  loud")),
        ("/kick bea 10m", Order(Word.KICK, "bea", "10m")),
        ("/ban bea", Order(Word.BAN, "bea")),
        ("/ban bea 10m", Order(Word.BAN, "bea", "", 600)),
        ("/ban bea 2h spam and noise", Order(Word.BAN, "bea", "spam and noise", 7_200)),
        ("/ban bea  3d  ", Order(Word.BAN, "bea", "", 3 * 86_400)),
        ("/ban bea spam 10m", Order(Word.BAN, "bea", "spam 10m")),
        (f"/ban {DIGITS} 10m spam", Order(Word.BAN, BARE, "spam", 600)),
        (f"/ban {BARE}", Order(Word.BAN, BARE)),
        ("/ban 12345", Order(Word.BAN, "12345")),
        (f"/unban {DIGITS}", Order(Word.UNBAN, BARE)),
        ("/unban bea", Order(Word.UNBAN, "bea")),
        ("/bans", Order(Word.BANS)),
        ("/mute bea", Order(Word.MUTE, "bea")),
        ("/mute bea 10m", Order(Word.MUTE, "bea", "", 600)),
        ("/unmute bea", Order(Word.UNMUTE, "bea")),
        ("/lock", Order(Word.LOCK)),
        ("/lock kitchen", Order(Word.LOCK, "kitchen")),
        ("/unlock", Order(Word.UNLOCK)),
        ("/slow 30", Order(Word.SLOW, "", "", 30)),
        ("/slow 0 kitchen", Order(Word.SLOW, "kitchen", "", 0)),
        ("/motd be kind, all", Order(Word.MOTD, "", "be kind, all")),
        ("/password a  b", Order(Word.PASSWORD, "", "a  b")),
        ("/op bea", Order(Word.OP, "bea")),
        (f"/deop {BARE}", Order(Word.DEOP, BARE)),
        ("/who", Order(Word.WHO)),
        ("/who lobby", Order(Word.WHO, "lobby")),
        ("/rooms", Order(Word.ROOMS)),
        ("/stats", Order(Word.STATS)),
        ("/stop", Order(Word.STOP)),
    ],
)
def test_an_order(line: str, order: Order) -> None:
    assert parse(line) == order


@pytest.mark.parametrize(
    "line",
    [
        "/kick",
        "/ban",
        "/ban bea 10x spam",
        "/ban bea 0m",
        "/ban bea 10",
        "/ban bea 99999d",
        "/ban bea \u0661m",
        f"/unban {DIGITS} 12345",
        "/unban",
        "/bans all",
        "/mute",
        "/mute bea loud",
        "/mute bea 10m loud",
        "/unmute bea 10m",
        "/lock a b",
        "/slow",
        "/slow fast",
        "/slow -1",
        f"/slow {MAX_SLOW_S + 1}",
        "/slow 1 a b",
        "/motd",
        "/password",
        "/password -tell x",
        "/op",
        "/op bea col",
        "/rooms all",
        "/stats 1",
        "/stop now",
    ],
)
def test_an_order_used_wrongly_shows_its_usage(line: str) -> None:
    with pytest.raises(UsageError, match=r"^Usage: /[a-z]+.*\. Nothing was changed\.$"):
        parse(line)


@pytest.mark.parametrize(
    "line", ["/password a\x1bb", "/motd a\nb", "/kick bea \udcff", "/ban \x07"]
)
def test_no_order_holds_a_control(line: str) -> None:
    with pytest.raises(UsageError, match="with a control character"):
        parse(line)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("/kik", "/kick"), ("/bann", "/ban"), ("/KICK", "/kick"), ("/pasword", "/password")],
)
def test_the_near_ones_are_listed(typed: str, meant: str) -> None:
    assert meant in near(typed)
    with pytest.raises(UsageError, match=rf"nothing was changed\. Near: .*{meant}\b"):
        parse(f"{typed} bea")


def test_nothing_is_near_to_nothing() -> None:
    assert near("/") == near("hello") == []
    with pytest.raises(UsageError, match=r"^No such command: nothing was changed\. /help"):
        parse("hello")


def test_a_password_does_not_show() -> None:
    assert "hunter2" not in repr(parse("/password hunter2"))


def test_tell_is_for_members() -> None:
    with pytest.raises(UsageError, match="--tell is for members"):
        parse("/password --tell hunter2")


@pytest.mark.parametrize(
    "line",
    [
        "/password x",
        " /password x",
        "/PASSWORD x",
        "/pasword x",
        "/passwrod x",
        "/passwordx",
        "/pass x",
        "/p x",
        "/pw x",
        "/assword x",
        "/passwort x",
        "/password --tell x",
    ],
)
def test_what_may_hold_a_password(line: str) -> None:
    assert is_secret(line)


@pytest.mark.parametrize("line", ["/kick bea", "/who", "/motd a password", "/help", ""])
def test_what_holds_none(line: str) -> None:
    assert not is_secret(line)


def test_every_word_has_its_form_and_its_reader() -> None:
    assert set(FORMS) == set(orders._READERS) == set(Word)


@given(st.one_of(st.text(), st.builds("{} {}".format, st.sampled_from(Word), st.text())))
@example(f"/ban {'1' * 30}0")
@example("/ban 12345 67890 12345 67890 12345 678901")
def test_any_line_is_an_order_or_a_usage_error(line: str) -> None:
    line = line.replace("Word.", "/").lower()
    try:
        order = parse(line)
    except UsageError:
        return
    assert 0 <= order.for_s <= MAX_FOR_S
    assert order.target == "".join(order.target.split())
    assert order.text == order.text.strip()
    assert order.word.value == line.strip().partition(" ")[0]


@given(st.text(st.characters(categories=["L", "N"]), max_size=20))
def test_what_was_typed_is_not_repeated(end: str) -> None:
    marker = f"q7{end}"
    for line in (f"/{marker}", f"/pasword {marker}", f"/password -{marker}", f"/bans {marker}"):
        with pytest.raises(UsageError) as caught:
            parse(line)
        assert marker not in str(caught.value)
