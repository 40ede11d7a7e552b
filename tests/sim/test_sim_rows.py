"""What others wrote, outside of a message, is one row that nobody can take for a message.

Every way on which foreign text reaches a view or standard error, with every hostile text, in every
view: UX.md 10.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
import unicodedata
from collections import deque
from collections.abc import Callable
from typing import Any, Final
from unittest import mock

import pytest

from common import config
from common.client.loop import Client
from common.crypto.identity import Identity
from common.errors import Refused, UsageError
from common.member import commands
from common.member.contents import Text
from common.member.conversation import Phase
from common.member.events import (
    Answered,
    AwayChanged,
    Came,
    Joined,
    Left,
    Line,
    Noticed,
    PasswordTold,
    Peer,
    Trouble,
    Undelivered,
    Warned,
)
from common.term.rows import EntryKind, plain
from common.term.scrollback import Scrollback, Shown
from common.view.lines import Lines
from common.view.output import Output, print_row, say
from common.view.programs import Programs
from common.view.screen import Screen
from common.view.view import View
from common.wire.link import Closed
from common.wire.records import Reason, Status
from tests.sim.test_sim_member import At
from tests.sim.world import World

CALM: Final = "calm"
FORGED: Final = "14:17 ace: pay me"
HOSTILE: Final = {
    "newline": f"x\n{FORGED}",
    "newlines": f"\n\n{FORGED}\n",
    "return": f"x\r{FORGED}",
    "crlf": f"x\r\n{FORGED}",
    "vertical tab": f"x\x0b{FORGED}",
    "form feed": f"x\x0c{FORGED}",
    "separators": f"x\x1c{FORGED}\x1d\x1e\x1f",
    "next line": f"x\x85{FORGED}",
    "line separator": f"x\u2028{FORGED}\u2029{FORGED}",
    "escape": f"x\x1b[2K\x1b[1G{FORGED}",
    "index": f"x\x1bE{FORGED}\x1bD",
    "csi": f"x\x9b2K\x9b1G{FORGED}",
    "backspaces": "\b" * 80 + FORGED,
    "override": f"\u202e{FORGED[::-1]}\u202c\u2066x\u2069",
    "tabs": "\t" * 10 + FORGED,
    "nul and del": f"\0x\x7f{FORGED}",
}
ALL: Final = "".join(HOSTILE.values())

Act = Callable[[At, Peer, str], None]


def happens(*events: Any) -> Callable[[At], None]:
    def do(at: At) -> None:
        at.member.uplink._events.extend(events)
        at.member._dispatch_all(at.world.now)

    return do


def _named(peer: Peer, name: str) -> Peer:
    """A member of a name that no card can have: views do not lean on that."""
    return Peer(
        peer.number, peer.card._replace(username=name), peer.standing, is_new=True,
        came_seq=peer.came_seq, came_ms=peer.came_ms, away=peer.away,
    )  # fmt: skip


def _seated(at: At, peer: Peer, name: str) -> Peer:
    """It, as if it were here."""
    odd = _named(peer, name)
    at.member.conversation.peers[peer.number] = odd
    return odd


def _away(at: At, peer: Peer, words: str) -> None:
    happens(AwayChanged(peer, words, 5))(at)


def _away_in_who(at: At, peer: Peer, words: str) -> None:
    peer.away = words
    at.type("/who")


def _away_when_written_to(at: At, peer: Peer, words: str) -> None:
    peer.away = words
    at.type("/msg bea hello")


def _own_away(at: At, _: Peer, words: str) -> None:
    with mock.patch.object(at.member.conversation, "tell_away"):
        commands.away(at.member.person, words)


def _password(at: At, peer: Peer, words: str) -> None:
    happens(PasswordTold(peer, words))(at)


def _notice(at: At, _: Peer, words: str) -> None:
    happens(Noticed(words))(at)


def _topic(at: At, peer: Peer, words: str) -> None:
    happens(Joined([peer], (words,)))(at)


def _answer(at: At, _: Peer, words: str) -> None:
    happens(Answered(1, Status.CONTINUE, words), Answered(1, Status.OK, words))(at)


def _refusal(at: At, _: Peer, words: str) -> None:
    happens(Undelivered([Line(1, Text("mine"), None)], why=words))(at)


def _error(at: At, _: Peer, words: str) -> None:
    at.closes(Closed(Refused(403, words, authentic=True), "why"), at.world.now)


def _error_and_again(at: At, _: Peer, words: str) -> None:
    at.closes(Closed(Refused(429, words, authentic=True), "why"), at.world.now)


def _unreachable(at: At, _: Peer, words: str) -> None:
    at.member.uplink.was_welcomed = False
    at.member.unreachable(f"no {words}", at.world.now)


def _ignored(at: At, peer: Peer) -> None:
    at.member._narrator.ignore(peer)
    at.type("/ignore")


def _name(act: Callable[[At, Peer], None]) -> Act:
    return lambda at, peer, words: act(at, _seated(at, peer, words))


def _wrong_name(at: At, _: Peer, words: str) -> None:
    me = at.member.person
    for do in (
        lambda: commands.direct(me, words, "hello"),
        lambda: commands.ignore(me, words),
        lambda: commands.find(words),
    ):
        with pytest.raises(UsageError) as caught:
            do()
        at.member._narrator.tell(str(caught.value))


WAYS: Final[dict[str, Act]] = {
    "away": _away,
    "away in /who": _away_in_who,
    "away when written to": _away_when_written_to,
    "our own away": _own_away,
    "told password": _password,
    "NOTICE": _notice,
    "topic": _topic,
    "ANSWER": _answer,
    "REFUSAL": _refusal,
    "ERROR": _error,
    "ERROR, then again": _error_and_again,
    "unreachable": _unreachable,
    "a name that joins": _name(lambda at, peer: happens(Came(peer, 5))(at)),
    "a name that leaves": _name(
        lambda at, peer: happens(Left(peer, Reason.LOST, 5), Left(peer, Reason.LEFT, 5))(at)
    ),
    "a name among those here": _name(lambda at, peer: happens(Joined([peer]))(at)),
    "a name in /names": _name(lambda at, _: at.type("/names")),
    "a name in /who": _name(lambda at, _: at.type("/who")),
    "a name that was lost": _name(
        lambda at, peer: happens(Undelivered([Line(1, Text("mine"), peer)]))(at)
    ),
    "a name that is ignored": _name(_ignored),
    "a mistyped name": _wrong_name,
    **{
        f"a name, {trouble.name}": _name(
            lambda at, peer, trouble=trouble: happens(Warned(trouble, peer, 5))(at)  # type: ignore[misc]
        )
        for trouble in Trouble
    },
}


class Sink:
    """What a view wrote."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = bytearray()
        self.errors = io.StringIO()
        monkeypatch.setattr(Output, "flush", lambda output: self._take(output))

    def _take(self, output: Output) -> None:
        self.data += output._unwritten
        output._unwritten.clear()

    def clear(self) -> None:
        self.data.clear()
        self.errors.seek(0)
        self.errors.truncate()

    def rows(self) -> list[str]:
        """Rows of standard output and of standard error."""
        return [*_rows(self.data.decode()), *_rows(self.errors.getvalue())]


def _rows(written: str) -> list[str]:
    return written.removesuffix("\n").split("\n") if written else []


def _view(kind: str) -> View:
    if kind == "lines":
        return Lines()
    if kind != "screen":
        return Programs("lobby", None, is_tail=kind != "send", is_json=kind == "json")
    with mock.patch("curses.setupterm"), mock.patch("os.ttyname", return_value=os.devnull):
        return Screen(has_colour=False)


VIEWS: Final = ("screen", "lines", "tail", "json", "send")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Act, str], list[str]]:
    """Return what shows the rows that a view of a kind makes of what happens with a text."""
    sink = Sink(monkeypatch)

    def seen(kind: str, act: Act, words: str) -> list[str]:
        settings: dict[str, Any] = {"json": kind == "json"}
        if kind in ("tail", "json"):
            settings["tail"] = 0
        settings["sends"] = kind == "send"
        view = _view(kind)
        with World(["bea"], [Identity.generate()]) as world:
            at = At(world, view=view, **settings)
            at.dial()
            world.people[0].dial()
            at.carry()
            assert at.phase is Phase.LIVE
            (peer,) = at.member.conversation.peers.values()
            before = len(shown(view))
            act(at, peer, words)
            at.member._narrator.show_leaving(None)
            at.member.close()
            if at.member.last_words:
                say(at.member.last_words)
                print_row(at.member.last_words)
            return shown(view)[before:]

    def shown(view: Any) -> list[str]:
        if isinstance(view, Screen):
            rows = [entry.text for entry in view._history._entries]
            for columns in (80, 40, 20):
                drawn = [plain(row) for row in view._history.view(columns, 500)]
                assert not any(row.startswith(FORGED[:9]) for row in drawn), drawn
            assert all("\n" not in row for row in rows), rows
            return [f"-- {row}" for row in rows] + _rows(sink.errors.getvalue())
        view.flush()
        return sink.rows()

    def quiet(kind: str, act: Act, words: str) -> list[str]:
        sink.clear()
        # Here, since pytest takes them anew for each phase of a test.
        with (
            mock.patch.object(sys, "stdout", sink.errors),
            mock.patch.object(sys, "stderr", sink.errors),
        ):
            return seen(kind, act, words)

    return quiet


def _unnumbered(row: str) -> str:
    """A row whose fingerprints are those of any other run; HH:MM stays one."""
    return re.sub(r"(?<!\d)\d{5}(?!\d)", "00000", row)


def check(calm: list[str], hostile: list[str]) -> None:
    """Every row begins as it does around a harmless text, and there are no more of them."""
    assert len(calm) == len(hostile), hostile
    for expected, row in zip(map(_unnumbered, calm), map(_unnumbered, hostile), strict=True):
        odd = [char for char in row if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs")]
        assert not odd, row
        if row.startswith("{"):
            assert json.loads(row)["kind"] not in ("message", "direct", "sent")
            continue
        assert row.startswith(expected.partition(CALM)[0]), row
        assert expected.partition(CALM)[0], "a row that begins with foreign text"
        assert not re.match(r"\d\d:\d\d (?!-- |!! )", row), row


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("view", VIEWS)
def test_foreign_text_is_one_row_that_is_no_message(
    seen: Callable[[str, Act, str], list[str]], view: str, way: str
) -> None:
    calm = seen(view, WAYS[way], CALM)
    # Programs are answered no commands, and who only sends is told nothing of who comes.
    assert calm or view in ("tail", "json", "send")
    check(calm, seen(view, WAYS[way], ALL))


@pytest.mark.parametrize("words", [*HOSTILE.values(), "x\ud800y"])
def test_what_is_said_without_a_view_is_one_row(words: str) -> None:
    told = io.StringIO()
    with mock.patch.object(sys, "stdout", told), mock.patch.object(sys, "stderr", told):
        say(f"It says: {words}")
        print_row(f"It says: {words}")
    check(["It says: calm"] * 2, _rows(told.getvalue()))


@pytest.mark.parametrize("words", HOSTILE.values())
def test_what_is_copied_with_names_has_one_message_a_row(words: str) -> None:
    back = Scrollback(time.gmtime, 0)
    back.push(Shown(0, words, EntryKind.SAY, "bea"), 0)
    back.push(Shown(0, words, EntryKind.ACTION, "bea"), 0)
    first, second = ("\n".join(back.copy(2, with_names=True))).split("\n00:00 ")
    for said in (first.removeprefix("00:00 "), second):
        assert not [row for row in said.split("\n")[1:] if not row.startswith("    ")]


@pytest.mark.parametrize("words", HOSTILE.values())
def test_the_details_of_what_broke_are_no_messages(words: str) -> None:
    client = Client(config.ClientConfig("k", "ace", ephemeral=True), View(), deque())
    client._broke(ValueError(words))
    client._close()
    client._selector.close()
    for sock in (client._wake_in, client._wake_out):
        sock.close()
    (details,) = client.details
    head, *rows = details.splitlines()
    assert not re.match(r"\d\d:", head)
    assert not [row for row in rows if not row.startswith("    ")]
    assert "ValueError" in details
