"""Who is remembered, and when: PROTOCOL.md 6.1."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from common import files
from common.errors import FileError
from common.member import trust
from common.member.contents import Away
from common.member.conversation import MET_S
from common.member.events import Failed, Trouble, Unpinned, Warned
from common.member.trust import Grade, Pin, Pins, Standing
from tests.unit.member.table import TODAY, Person, Table, identity


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "known_peers"


def sit(table: Table, path: Path) -> Person:
    """A person whose pins are in a file."""
    ace = Person(table, "ace")
    ace.pins = ace.conv.pins = Pins(path)
    ace.conv._reader = ace.conv._new_reader()
    table.people.append(ace)
    ace.join()
    return ace


def kept(path: Path) -> list[str]:
    """The names in the file."""
    return sorted(name for _, name in Pins(path)._read.pins)


def wait(table: Table, ace: Person, seconds: float) -> None:
    ace.conv.tick(table.now)
    table.now += seconds
    ace.events += ace.conv.tick(table.now)


def test_who_is_here_before_us_is_kept_in_one_write(path: Path) -> None:
    table = Table()
    table.seat("bea", "col", "dan")
    with mock.patch.object(files, "append_private", wraps=files.append_private) as append:
        ace = sit(table, path)
        ace.conv.tick(table.now)
    assert append.call_count == 1
    assert kept(path) == ["bea", "col", "dan"]


def test_who_says_nothing_and_does_not_stay_is_not_kept(path: Path) -> None:
    table = Table()
    ace = sit(table, path)
    for name in ("eve1", "eve2"):
        (eve,) = table.seat(name)
        wait(table, ace, MET_S - 1)
        eve.conv.leave()
        eve.send()
        table.all_read()
        wait(table, ace, MET_S)
    assert kept(path) == []
    # But in this run another key is noticed.
    other = Person(table, "eve1", who="another")
    table.people.append(other)
    other.join()
    ace.read()
    assert ace.peer(other).standing is Standing.CHANGED
    wait(table, ace, MET_S)
    assert kept(path) == []


def test_who_stays_is_kept(path: Path) -> None:
    table = Table()
    ace = sit(table, path)
    table.seat("bea")
    assert ace.conv.deadline() is not None
    wait(table, ace, MET_S - 1)
    assert kept(path) == []
    wait(table, ace, 1)
    assert kept(path) == ["bea"]


@pytest.mark.parametrize("how", ["text", "direct", "away"])
def test_who_says_something_is_kept(path: Path, how: str) -> None:
    table = Table()
    ace = sit(table, path)
    (bea,) = table.seat("bea")
    bea.conv._queue(Away("lunch"), None) if how == "away" else bea.conv.say(
        "hello", bea.peer(ace) if how == "direct" else None
    )
    bea.send()
    ace.read()
    ace.conv.tick(table.now)
    assert kept(path) == ["bea"]


def test_who_says_something_and_leaves_at_once_is_kept(path: Path) -> None:
    table = Table()
    ace = sit(table, path)
    (bea,) = table.seat("bea")
    bea.say("hello")
    bea.conv.leave()
    bea.send()
    ace.read()
    assert ace.conv.peers == {}
    assert kept(path) == ["bea"]


def test_who_was_here_before_a_crowd_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "MOST_MET", 2)
    table = Table()
    ace = sit(table, path)
    table.seat("bea")
    ace.conv.tick(table.now)
    for number in range(3):
        table.seat(f"eve{number}")
    table.now += MET_S
    ace.events += ace.conv.tick(table.now)
    assert "bea" in kept(path)


def test_who_is_written_to_is_kept(path: Path) -> None:
    table = Table()
    ace = sit(table, path)
    (bea,) = table.seat("bea")
    ace.conv.say("the door code", ace.peer(bea))
    ace.conv.tick(table.now)
    assert kept(path) == ["bea"]


def test_who_is_here_when_we_leave_is_kept(path: Path) -> None:
    table = Table()
    ace = sit(table, path)
    table.seat("bea")
    ace.conv.tick(table.now)
    assert ace.conv.close() == []
    assert kept(path) == ["bea"]
    assert ace.conv.close() == []


def test_another_client_of_ours_may_have_been_first(path: Path) -> None:
    table = Table()
    ace = sit(table, path)
    (bea,) = table.seat("bea")
    ace.say("sealed to bea")
    theirs = Pin(identity("eve").public, Grade.VERIFIED, TODAY)
    Pins(path).replace(ace.conv._server_id, "bea", theirs)
    wait(table, ace, MET_S)
    assert ace.peer(bea).standing is Standing.CHANGED
    (warned,) = [event for event in ace.events if isinstance(event, Warned)]
    assert warned.trouble is Trouble.CHANGED
    ace.say("not sealed to bea")
    bea.read()
    assert bea.said == ["sealed to bea"]


def test_no_room_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "MOST_PINS", 2)
    table = Table()
    ace = sit(table, path)
    table.seat("bea", "col", "dan")
    wait(table, ace, MET_S)
    assert [event for event in ace.events if isinstance(event, Unpinned)] == [Unpinned()]
    assert len(kept(path)) == 2


def test_a_pin_that_cannot_be_kept_ends_the_conversation(path: Path) -> None:
    table = Table()
    ace = sit(table, path)
    table.seat("bea")
    full = FileError("Cannot write known_peers: the disk is full.")
    with mock.patch.object(files, "append_private", side_effect=full):
        wait(table, ace, MET_S)
    assert ace.events[-1] == Failed(full)
    # Nothing is tried for ever.
    assert ace.conv.tick(table.now) == []
