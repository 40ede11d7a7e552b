"""A typed line becomes a call, or says why not; nothing half-typed is ever sent."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import UsageError
from common.member.commands import (
    ALIASES,
    COMMANDS,
    EXIT,
    ORDER,
    SAY,
    TELL_PASSWORD,
    Call,
    Command,
    find,
    help_rows,
)
from common.member.parsing import is_secret, parse
from common.wire import orders


@pytest.mark.parametrize(
    ("line", "command", "given"),
    [
        ("hello", SAY, ("hello",)),
        ("", SAY, ("",)),
        (" /who", SAY, (" /who",)),
        ("a /who", SAY, ("a /who",)),
        ("//who", SAY, ("/who",)),
        ("///", SAY, ("//",)),
        ("/who", "/who", ()),
        ("/who ", "/who", ()),
        ("/names", "/names", ()),
        ("/na", "/names", ()),
        ("/help", "/help", ("",)),
        ("/help keys", "/help", ("keys",)),
        ("/help  /who ", "/help", ("/who",)),
        ("/me waves", "/me", ("/me waves",)),
        ("/me  waves ", "/me", ("/me  waves ",)),
        ("/verify", "/verify", ("", "")),
        ("/verify bea", "/verify", ("bea", "")),
        ("/verify bea yes", "/verify", ("bea", "yes")),
        ("/verify  bea  no", "/verify", ("bea", "no")),
        ("/trust zoë", "/trust", ("zoë",)),
        ("/msg bea hi", "/msg", ("bea", "hi")),
        ("/msg  bea\tdoor code:  1", "/msg", ("bea", "door code:  1")),
        ("/msg bea two\nrows\n", "/msg", ("bea", "two\nrows")),
        ("/ms bea\nhi", "/msg", ("bea", "hi")),
        ("/r hi  there", "/r", ("hi  there",)),
        ("/r two\nrows", "/r", ("two\nrows",)),
        ("//msg bea hi", SAY, ("/msg bea hi",)),
        ("msg bea hi", SAY, ("msg bea hi",)),
        ("/invite", "/invite", ("",)),
        ("/invite new", "/invite", ("new",)),
        ("/ignore bea", "/ignore", ("bea",)),
        ("/ignore", "/ignore", ("",)),
        ("/unignore", "/unignore", ("",)),
        ("/away", "/away", ("",)),
        ("/away at lunch", "/away", ("at lunch",)),
        ("/nick beatrice", "/nick", ("beatrice",)),
        ("/password --tell top  drawer ", TELL_PASSWORD, ("top  drawer",)),
        ("/resend", "/resend", ()),
        ("/drop", "/drop", ()),
        ("/who Kitchen ", ORDER, ("/who Kitchen",)),
        ("/kick bea  too loud ", ORDER, ("/kick bea  too loud",)),
        ("/password a b", ORDER, ("/password a b",)),
        ("//kick bea", SAY, ("/kick bea",)),
        ("/quit", "/quit", ("",)),
        ("/quit good night, all", "/quit", ("good night, all",)),
        ("exit", EXIT, ()),
        (" exit ", EXIT, ()),
        ("exit now", SAY, ("exit now",)),
        ("Exit", SAY, ("Exit",)),
        (":q", EXIT, ()),
        (":wq ", EXIT, ()),
        (":q and so on", SAY, (":q and so on",)),
        ("help", "/help", ("",)),
        ("help me", SAY, ("help me",)),
        ("//help", SAY, ("/help",)),
        ("/?", "/help", ("",)),
        ("/w bea hi  there", "/msg", ("bea", "hi  there")),
        ("/query bea two\nrows", "/msg", ("bea", "two\nrows")),
        ("/reply hi", "/r", ("hi",)),
        ("/users", "/names", ()),
        ("/exit good night", "/quit", ("good night",)),
    ],
)
def test_a_line_and_its_call(line: str, command: Command | str, given: tuple[str, ...]) -> None:
    wanted = find(command) if isinstance(command, str) else command
    assert tuple(parse(line)) == (wanted, given)


@pytest.mark.parametrize(
    "line",
    [
        "/me",
        "/me ",
        "/names all",
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
    assert parse(line, is_pasted=True) == Call(SAY, (line,))
    assert parse(f"{line}\n") == Call(SAY, (line,))


@pytest.mark.parametrize(
    "line",
    [
        "/msg bea x",
        "/ms bea x",
        "/MSG bea x",
        "/w bea x",
        "/Tell bea x",
        "/message bea x",
        "/r x",
        "/reply x",
        "/password x",
        "/pasword x",
        "/Pass x",
    ],
)
def test_what_was_meant_for_one_is_never_said_to_all(line: str) -> None:
    for typed, is_pasted in ((line, True), (f" {line}", False), (f"\n{line}", False)):
        with pytest.raises(UsageError):
            parse(typed, is_pasted=is_pasted)
        assert is_secret(typed) is ("pas" in line.casefold())


@pytest.mark.parametrize("line", ["/join", "/join #den", "/list", "/leave", "/part bye", "quit"])
def test_what_is_called_otherwise_here_is_named(line: str) -> None:
    with pytest.raises(UsageError, match=r"/quit|/names"):
        parse(line)


@pytest.mark.parametrize(
    "line", ["/qiut", "/suit", "/send x", "/resnd", "/sotp", "/step", "/topp", "/dropp"]
)
def test_what_cannot_be_taken_back_is_near_to_nothing(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert not any(word in str(caught.value) for word in ("/stop", "/quit", "/resend", "/drop"))


@pytest.mark.parametrize("line", ["/kick bea", "/KICK bea", "/password x", "/stop"])
def test_no_order_is_said_to_the_room(line: str) -> None:
    for is_pasted, typed in ((True, line), (False, f" {line}"), (False, f"{line}\nmore")):
        with pytest.raises(UsageError, match=r"Nothing was sent\.$"):
            parse(typed, is_pasted=is_pasted)


@pytest.mark.parametrize("line", ["/kic bea", "/banana", "/pasword x"])
def test_the_near_ones_are_listed_and_what_was_typed_is_not(line: str) -> None:
    with pytest.raises(UsageError, match=r"No command of that name\. Near: /\w+.*/help lists them"):
        parse(line)


def test_help_lists_what_operators_may_do() -> None:
    words = " ".join(help_rows("", (), has_history=True))
    assert all(word in words for word in orders.FORMS)
    assert help_rows("kick", (), has_history=True) == [
        "/kick NAME [REASON]: removes NAME, who can come back. For operators"
    ]
    assert help_rows("/who", (), has_history=True) == [
        "/who: who is here, and how far each is trusted"
    ]


def test_help_fits_a_small_terminal() -> None:
    rows = help_rows("", (), has_history=True)
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
        if name[:end] in ALIASES:
            continue
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
def test_any_line_is_a_call_or_a_usage_error(line: str) -> None:
    try:
        command, given = parse(line)
    except UsageError:
        assert line.lstrip().startswith("/") or line.strip() in ("quit", "logout")
        return
    if command is SAY:
        said = line[1:] if line.startswith("//") and "\n" not in line else line
        assert given == (said.strip("\n"),)


def test_help_security_says_in_five_rows_who_can_read_what() -> None:
    rows = help_rows("security", (), has_history=True)
    assert len(rows) == 5
    assert max(map(len, rows)) <= 70
    said = " ".join(rows)
    for word in ("relay", "/msg", "KEY and password", "First seen", "/verify", "/invite"):
        assert word in said
