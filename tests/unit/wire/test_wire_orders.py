"""What an operator types is one order, or a sentence that repeats none of it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import UsageError
from common.wire.orders import FORMS, MAX_FOR_S, MAX_SLOW_S, Order, is_secret, near, parse

DIGITS = "12345 67890 12345 67890 12345 67890"
BARE = DIGITS.replace(" ", "")


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("/help", Order("/help")),
        ("/topic", Order("/topic", is_open=True)),
        ("/topic off", Order("/topic", "", "off")),
        ("/kick bea", Order("/kick", "bea")),
        ("  /kick  bea  too  loud ", Order("/kick", "bea", "too  loud")),
        ("/kick bea 10m", Order("/kick", "bea", "10m")),
        ("/ban bea", Order("/ban", "bea")),
        ("/ban bea 10m", Order("/ban", "bea", "", 600)),
        ("/ban bea 2h spam and noise", Order("/ban", "bea", "spam and noise", 7_200)),
        ("/ban bea  3d  ", Order("/ban", "bea", "", 3 * 86_400)),
        ("/ban bea spam 10m", Order("/ban", "bea", "spam 10m")),
        (f"/ban {DIGITS} 10m spam", Order("/ban", BARE, "spam", 600)),
        (f"/ban {BARE}", Order("/ban", BARE)),
        ("/ban 12345", Order("/ban", "12345")),
        (f"/unban {DIGITS}", Order("/unban", BARE)),
        ("/unban bea", Order("/unban", "bea")),
        ("/bans", Order("/bans")),
        ("/mute bea", Order("/mute", "bea")),
        ("/mute bea 10m", Order("/mute", "bea", "", 600)),
        ("/unmute bea", Order("/unmute", "bea")),
        ("/lock", Order("/lock")),
        ("/lock kitchen", Order("/lock", "kitchen")),
        ("/unlock", Order("/unlock")),
        ("/slow 30", Order("/slow", "", "", 30)),
        ("/slow 0 kitchen", Order("/slow", "kitchen", "", 0)),
        ("/topic be kind, all", Order("/topic", "", "be kind, all")),
        ("/password a  b", Order("/password", "", "a  b")),
        ("/op bea", Order("/op", "bea")),
        (f"/op {' '.join(['12345'] * 6)}", Order("/op", "12345" * 6)),
        (f"/deop {BARE}", Order("/deop", BARE)),
        ("/who", Order("/who")),
        ("/who lobby", Order("/who", "lobby")),
        ("/rooms", Order("/rooms")),
        ("/stats", Order("/stats")),
        ("/stop", Order("/stop")),
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
    "line", ["/password a\x1bb", "/topic a\nb", "/kick bea \udcff", "/ban \x07"]
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


@pytest.mark.parametrize("line", ["/kick bea", "/who", "/topic a password", "/help", ""])
def test_what_holds_none(line: str) -> None:
    assert not is_secret(line)


@given(st.one_of(st.text(), st.builds("{} {}".format, st.sampled_from(list(FORMS)), st.text())))
@example(f"/ban {'1' * 30}0")
@example("/ban 12345 67890 12345 67890 12345 678901")
def test_any_line_is_an_order_or_a_usage_error(line: str) -> None:
    try:
        order = parse(line)
    except UsageError:
        return
    assert 0 <= order.for_s <= MAX_FOR_S
    assert order.target == "".join(order.target.split())
    assert order.text == order.text.strip()
    assert order.word == line.strip().partition(" ")[0]


@given(st.text(st.characters(categories=["L", "N"]), max_size=20))
def test_what_was_typed_is_not_repeated(end: str) -> None:
    marker = f"q7{end}"
    for line in (f"/{marker}", f"/pasword {marker}", f"/password -{marker}", f"/bans {marker}"):
        with pytest.raises(UsageError) as caught:
            parse(line)
        assert marker not in str(caught.value)
