"""A typed line becomes an intent, or says why not; nothing half-typed is ever sent."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import UsageError
from common.member.commands import (
    COMMANDS,
    Away,
    Direct,
    Drop,
    Help,
    Ignore,
    Invite,
    Leave,
    Nick,
    Operate,
    Reply,
    Resend,
    Say,
    TellPassword,
    Trust,
    Unignore,
    Verify,
    Who,
    find,
    parse,
    says,
)
from common.member.sentences import help_rows
from common.wire import orders


@pytest.mark.parametrize(
    ("line", "intent"),
    [
        ("hello", Say("hello")),
        ("", Say("")),
        (" /who", Say(" /who")),
        ("a /who", Say("a /who")),
        ("//who", Say("/who")),
        ("///", Say("//")),
        ("/who", Who()),
        ("/who ", Who()),
        ("/help", Help("")),
        ("/help keys", Help("keys")),
        ("/help  /who ", Help("/who")),
        ("/me waves", Say("/me waves")),
        ("/me  waves ", Say("/me  waves ")),
        ("/verify", Verify("", None)),
        ("/verify bea", Verify("bea", None)),
        ("/verify bea yes", Verify("bea", answer=True)),
        ("/verify  bea  no", Verify("bea", answer=False)),
        ("/trust zoë", Trust("zoë")),
        ("/msg bea hi", Direct("bea", "hi")),
        ("/msg  bea\tdoor code:  1", Direct("bea", "door code:  1")),
        ("/msg bea two\nrows\n", Direct("bea", "two\nrows")),
        ("/ms bea\nhi", Direct("bea", "hi")),
        ("/r hi  there", Reply("hi  there")),
        ("/r two\nrows", Reply("two\nrows")),
        ("//msg bea hi", Say("/msg bea hi")),
        ("msg bea hi", Say("msg bea hi")),
        ("/invite", Invite(is_fresh=False)),
        ("/invite new", Invite(is_fresh=True)),
        ("/ignore bea", Ignore("bea")),
        ("/ignore", Ignore("")),
        ("/unignore", Unignore("")),
        ("/away", Away("")),
        ("/away at lunch", Away("at lunch")),
        ("/nick beatrice", Nick("beatrice")),
        ("/password --tell top  drawer ", TellPassword("top  drawer")),
        ("/resend", Resend()),
        ("/drop", Drop()),
        ("/who Kitchen ", Operate("/who Kitchen")),
        ("/kick bea  too loud ", Operate("/kick bea  too loud")),
        ("/password a b", Operate("/password a b")),
        ("//kick bea", Say("/kick bea")),
        ("/quit", Leave("")),
        ("/quit good night, all", Leave("good night, all")),
        ("exit", Leave("", asks=True)),
        (" exit ", Leave("", asks=True)),
        ("exit now", Say("exit now")),
        ("Exit", Say("Exit")),
    ],
)
def test_a_line_and_its_intent(line: str, intent: object) -> None:
    found = parse(line)
    # Two of one shape are equal: they are tuples.
    assert (type(found), found) == (type(intent), intent)


@pytest.mark.parametrize(
    "line",
    [
        "/me",
        "/me ",
        "/resend 2",
        "/drop all",
        "/verify bea maybe",
        "/verify bea yes please",
        "/trust",
        "/trust bea col",
        "/msg",
        "/msg bea",
        "/msg bea \n",
        "/r",
        "/invite old",
        "/ignore bea col",
        "/nick",
        "/nick a b",
    ],
)
def test_a_command_used_wrongly_shows_its_usage(line: str) -> None:
    with pytest.raises(UsageError, match=r"^Usage: /"):
        parse(line)


@pytest.mark.parametrize("line", ["/", "/nosuch", "/WHO", "/who\tbea", "/ who", "/quitt"])
def test_no_such_command(line: str) -> None:
    with pytest.raises(UsageError, match="/help lists them"):
        parse(line)


@pytest.mark.parametrize("line", ["/qui", "/trus bea"])
def test_what_costs_too_much_is_typed_out(line: str) -> None:
    with pytest.raises(UsageError, match=r"must be typed out\. Nothing was sent"):
        parse(line)


@pytest.mark.parametrize("line", ["/quit", "exit", "//", "/nosuch", "/me waves"])
def test_what_was_pasted_is_never_a_command(line: str) -> None:
    assert parse(line, is_literal=True) == Say(line)
    assert parse(f"{line}\n") == Say(line)


@pytest.mark.parametrize(
    "line",
    ["/msg bea x", "/ms bea x", "/MSG bea x", "/r x", "/password x", "/pasword x", "/Pass x"],
)
def test_what_was_meant_for_one_is_never_said_to_all(line: str) -> None:
    for typed, is_literal in ((line, True), (f" {line}", False), (f"\n{line}", False)):
        with pytest.raises(UsageError):
            parse(typed, is_literal=is_literal)
        assert says(typed, is_literal=is_literal) is ("pas" not in line.casefold())


@pytest.mark.parametrize(
    ("line", "is_said"),
    [
        ("hello", True),
        ("/msg bea x", True),
        ("/me x", True),
        ("/me ", False),
        ("//x", True),
        ("/who", False),
        ("/nosuch x", False),
        ("", True),
    ],
)
def test_what_somebody_was_to_read(line: str, is_said: bool) -> None:
    assert says(line) is is_said


@pytest.mark.parametrize("line", ["/kick bea", "/KICK bea", "/password x", "/stop"])
def test_no_order_is_said_to_the_room(line: str) -> None:
    for is_literal, typed in ((True, line), (False, f" {line}"), (False, f"{line}\nmore")):
        with pytest.raises(UsageError, match=r"Nothing was sent\.$"):
            parse(typed, is_literal=is_literal)


@pytest.mark.parametrize("line", ["/kic bea", "/banana", "/pasword x"])
def test_the_near_ones_are_listed_and_what_was_typed_is_not(line: str) -> None:
    with pytest.raises(UsageError, match=r"No command of that name\. Near: /\w+.*/help lists them"):
        parse(line)


def test_help_lists_what_operators_may_do() -> None:
    words = " ".join(help_rows("", (), has_screen=True))
    assert all(word in words for word in orders.WORDS)
    assert help_rows("kick", (), has_screen=True) == [
        "/kick NAME [REASON]: removes NAME, who can come back. For operators"
    ]
    assert help_rows("/who", (), has_screen=True) == [
        "/who: who is here, and how far each is trusted"
    ]


def test_help_fits_a_small_terminal() -> None:
    rows = help_rows("", (), has_screen=True)
    # Of 24 rows, the status and the input have two; of 80 columns, the time and the mark have ten.
    assert len(rows) <= 22
    assert max(map(len, rows)) <= 70
    assert all(command.name in " ".join(rows) for command in COMMANDS)


def test_an_order_is_not_shown_by_accident() -> None:
    assert "hunter2" not in repr(parse("/password hunter2"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_is_found_by_every_beginning_that_is_its_own(command: object) -> None:
    name = command.name  # type: ignore[attr-defined] # what parametrize hands over
    assert find(name).name == name
    for end in range(2, len(name)):
        rivals = [c.name for c in COMMANDS if c.name.startswith(name[:end])]
        if len(rivals) == 1 and not find(name).is_whole:
            assert find(name[:end]).name == name
        elif name[:end] not in rivals:
            with pytest.raises(UsageError) as caught:
                find(name[:end])
            assert all(rival in str(caught.value) for rival in rivals)


def test_every_usage_begins_with_its_name() -> None:
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)
    for command in COMMANDS:
        assert command.usage.split(" ")[0] == command.name
        assert command.meaning


@given(st.text())
@example("/verify a\u00a0b")
def test_any_line_is_an_intent_or_a_usage_error(line: str) -> None:
    try:
        intent = parse(line)
    except UsageError:
        assert line.lstrip().startswith("/")
        return
    if isinstance(intent, Say):
        said = line[1:] if line.startswith("//") and "\n" not in line else line
        assert intent.text == said.strip("\n")
