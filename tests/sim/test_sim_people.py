"""Several clients without their loops, against the real relay: private words, names, quiet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import server
from common import files
from common.crypto import ticket
from common.crypto.identity import Identity
from common.crypto.transcript import Transcript
from common.errors import FileError
from common.member import trust
from common.member.conversation import Phase
from common.member.events import Trouble, Warned
from common.member.folding import WITHIN_S
from common.member.narrator import RENAMED_S
from common.member.passwords import PAUSE_S, ROUND
from common.member.sentences import SHUT_OUT, UNPINNED, unproven
from common.member.trust import Grade, Pin, Standing
from common.relay.operators import Giver
from common.term.editor import Action, Submit
from common.term.prompt import Entered, Reply
from common.view.view import Post
from common.wire.records import Kind, Sent
from tests.sim.test_sim_member import At
from tests.sim.world import World

MARKER = "b0a7-marker"


def stretched(password: str, key: bytes) -> bytes:
    """A psk at no cost."""
    return hashlib.sha256(password.encode() + key).digest()


class Room:
    """Some clients around one relay."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.all: list[At] = []

    def seat(self, *names: str, **settings: Any) -> list[At]:
        found = [At(self.world, name, **settings) for name in names]
        for at in found:
            self.all.append(at)
            at.dial()
            self.carry()
            assert at.phase is Phase.LIVE
        return found

    def carry(self, seconds: float = 1.0) -> None:
        for _ in range(round(seconds * 10)):
            self.world.now += 0.1
            for at in self.all:
                at.step()
            self.world.relay.turn()

    def set_password(self, password: str) -> None:
        server = self.world.relay.server
        server.psk = stretched(password, self.world.relay.key.public)


@pytest.fixture
def room() -> Iterator[Room]:
    with (
        mock.patch.object(ticket, "derive_psk", stretched),
        World([], [], grace_s=30.0) as world,
    ):
        room = Room(world)
        room.set_password("p")
        world.psk = world.relay.server.psk
        yield room


def same_person(at: At) -> At:
    """A client that was started again, with the identity file of another."""
    with mock.patch.object(Identity, "generate", return_value=at.member._identity):
        return At(at.world, at.name)


def rows(at: At, content: str) -> list[str]:
    return [row for row in at.view.rows if content in row]


# --- Who is remembered.


def test_who_is_here_when_a_client_ends_is_remembered(room: Room, tmp_path: Path) -> None:
    home = tmp_path / "home"
    room.seat("bea")
    (ace,) = room.seat("ace", ephemeral=False, home=str(home))
    room.seat("col")
    known = home / "known_peers"
    assert [line.split()[1] for line in known.read_text().splitlines()] == ["bea"]
    ace.member.close()
    assert [line.split()[1] for line in known.read_text().splitlines()] == ["bea", "col"]


def test_no_room_for_a_name_is_said_loudly_and_once(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "MOST_PINS", 1)
    (ace,) = room.seat("ace", ephemeral=False, home=str(tmp_path / "home"))
    warned: list[str] = []
    monkeypatch.setattr(ace.view, "warn", lambda content, _: warned.append(content))
    for name in ("bea", "col", "dan"):
        (peer,) = room.seat(name)
        peer.type("hello")
        room.carry()
    assert warned == [UNPINNED]
    assert ace.view.said_texts == ["hello"] * 3


def test_a_pin_that_cannot_be_kept_ends_us(room: Room, tmp_path: Path) -> None:
    (ace,) = room.seat("ace", ephemeral=False, home=str(tmp_path / "home"))
    full = FileError("Cannot write known_peers: the disk is full.")
    (bea,) = room.seat("bea")
    with mock.patch.object(files, "append_private", side_effect=full):
        bea.type("hello")
        room.carry()
    assert rows(ace, "Cannot write known_peers: the disk is full. /quit leaves.")
    assert ace.phase is Phase.ENDED


# --- Direct messages.


def test_a_direct_message_is_shown_to_one(room: Room) -> None:
    ace, bea, col = room.seat("ace", "bea", "col")
    ace.type(f"/msg BEA  {MARKER}  two\nrows")
    assert list(ace.view.pending.values()) == [f"{MARKER}  two\nrows"]
    room.carry()
    (own,), (heard,) = ace.view.messages, bea.view.messages
    assert (own.is_direct, own.to, own.text) == (True, "bea", f"{MARKER}  two\nrows")
    assert (heard.is_direct, heard.name, heard.text) == (True, "ace", f"{MARKER}  two\nrows")
    assert col.view.messages == []
    assert ace.view.pending == {}


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (f"/msg nobody {MARKER}", "Nobody here is called nobody. Nothing was sent."),
        (f"/msg ACE {MARKER}", "ACE is you. Nothing was sent."),
        (f"/msg col {MARKER}", "col is not trusted. Nothing was sent."),
        (f"/msg gone {MARKER}", "Nobody here is called gone. Nothing was sent."),
        (f"/r {MARKER}", "Nobody has written to you alone yet. Nothing was sent."),
        (f"/r {MARKER}\nmore", "Nobody has written to you alone yet. Nothing was sent."),
        (f" /msg bea {MARKER}", "begins what is typed, on one row. Nothing was sent."),
        (f"/password {MARKER}\nx", "begins what is typed, on one row. Nothing was sent."),
        ("/msg " + MARKER, "Usage: /msg NAME TEXT"),
        (f"/MSG bea {MARKER}", "No command of that name. Near: /msg."),
        (f"/MSG bea {MARKER}\nmore", "No command of that name. Near: /msg."),
        (f"/m bea {MARKER}\nmore", "/m could be /msg or /me"),
        (f"/w nobody {MARKER}", "Nobody here is called nobody. Nothing was sent."),
        (f" /w bea {MARKER}", "begins what is typed, on one row. Nothing was sent."),
        (f"/W bea {MARKER}", "/help lists them."),
        (f"/query {MARKER}", "Usage: /msg NAME TEXT"),
        (f"/reply {MARKER}", "Nobody has written to you alone yet. Nothing was sent."),
        (f"/msg bea {'x' * 16_400}", "16 KB is the limit, this is 17 KB. Nothing was sent."),
    ],
)
def test_a_refused_direct_message_leaks_nothing_and_is_kept(
    room: Room, typed: str, told: str
) -> None:
    ace, bea, gone = room.seat("ace", "bea", "gone")
    ace.member._pins.replace(
        ace.member.conversation._server_id, "col", Pin(bytes(32), Grade.TOFU, "2026-01-01")
    )
    (col,) = room.seat("col")
    gone.member.quit("")
    room.carry()
    ace.type(typed)
    room.carry()
    assert rows(ace, told), ace.view.rows
    # But a password, which must not stand there.
    assert ace.view.kept == ("" if typed.startswith("/password") else typed)
    assert ace.member.conversation.waiting == 0
    for other in (ace, bea, col):
        assert other.view.messages == []
        assert not any(MARKER in row for row in other.view.rows)


@pytest.mark.parametrize("word", ["/msg", "/w", "/tell", "/QUERY", "/dm"])
def test_a_pasted_direct_message_is_not_said_to_the_room(room: Room, word: str) -> None:
    ace, bea = room.seat("ace", "bea")
    typed = f"{word} bea {MARKER}"
    ace.member.act(Submit(typed, is_pasted=True), room.world.now)
    room.carry()
    assert ace.view.kept == typed
    assert bea.view.messages == []


@pytest.mark.parametrize("word", ["/w", "/query", "/whisper", "/tell", "/pm", "/dm", "/message"])
def test_other_words_for_a_direct_message(room: Room, word: str) -> None:
    ace, bea, col = room.seat("ace", "bea", "col")
    ace.type(f"{word} bea {MARKER}")
    room.carry()
    assert [(m.text, m.is_direct) for m in bea.view.messages] == [(MARKER, True)]
    assert col.view.messages == []
    bea.type(f"/reply {MARKER} too\nand more")
    room.carry()
    assert [(m.text, m.is_direct) for m in ace.view.messages[1:]] == [
        (f"{MARKER} too\nand more", True)
    ]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("/join #den", "start with --room NAME"),
        ("/list", "/names lists who is here"),
        ("/leave", "/quit leaves."),
        ("/part see you", "/quit leaves."),
        ("quit", "/quit leaves. Nothing was sent."),
        ("/users", "2 here: ace, bea."),
        ("/?", "Keys: /help keys"),
        ("help", "Keys: /help keys"),
        ("/send hi", "No command"),
        ("/qiut", "No command"),
        ("/sotp", "No command"),
    ],
)
def test_what_people_type_is_done_or_named_and_never_said(
    room: Room, typed: str, told: str
) -> None:
    ace, bea = room.seat("ace", "bea")
    before = len(ace.view.rows)
    ace.type(typed)
    room.carry()
    said = "\n".join(ace.view.rows[before:])
    assert told in said
    assert bea.view.messages == []
    if told == "No command":
        assert not any(word in said for word in ("/stop", "/quit", "/resend"))


@pytest.mark.parametrize("typed", ["/exit bye all", "/logout bye all"])
def test_other_words_for_leaving(room: Room, typed: str) -> None:
    ace, bea = room.seat("ace", "bea")
    ace.type(typed)
    room.carry()
    assert ace.phase is Phase.ENDED
    assert [m.text for m in bea.view.messages] == ["bye all"]


def test_colon_q_asks_as_exit_does(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    ace.type(":q")
    room.carry()
    assert bea.view.last.here == 2
    ace.member.act(Entered("bye", is_pasted=False), room.world.now)
    room.carry()
    assert ace.phase is Phase.ENDED
    assert [m.text for m in bea.view.messages] == ["bye"]


def test_who_leaves_before_a_direct_line_is_logged_was_told_nothing(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    ace.type(f"/msg bea {MARKER}")
    bea.member.quit("")
    bea.step()
    bea.step()
    room.world.relay.turn()  # the LEAVE is logged first
    assert room.world.room._log.room_seq == 3
    room.carry(3)
    assert ace.view.messages == []
    assert rows(ace, "1 line was not sent: bea has left, or is not trusted. bea may have read it.")
    assert list(ace.view.pending.values()) == [MARKER]


def test_of_a_refused_direct_line_nobody_knows_whether_it_was_read(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    room.world.relay.orders("/mute ace 10m")
    room.carry()
    ace.type("/msg bea psst")
    room.carry()
    (told,) = rows(ace, "1 line was not sent. The relay says: You are muted until ")
    assert told.endswith(" bea may have read it. /resend or /drop.")
    ace.type("to all")
    room.carry()
    told = rows(ace, "1 line was not sent. The relay says: You are muted until ")[1]
    assert "may have read" not in told
    assert bea.view.said_texts == []


def test_a_reply_goes_to_who_wrote_last_and_nobody_else(room: Room) -> None:
    ace, bea, col = room.seat("ace", "bea", "col")
    bea.type("/msg ace one")
    room.carry()
    col.type("for all")
    room.carry()
    assert ace.view.sources().reply_to == "bea"
    ace.type("/r two")
    room.carry()
    assert [message.text for message in bea.view.messages] == ["one", "for all", "two"]
    assert [message.text for message in col.view.messages] == ["for all"]
    # Whoever takes the name later is not who wrote.
    bea.member.quit("")
    room.carry(3)
    (other,) = room.seat("bea")
    assert ace.view.sources().reply_to == "bea"
    ace.type(f"/r {MARKER}")
    room.carry()
    assert rows(ace, "bea is not here any more. Nothing was sent.")
    assert other.view.messages == []


# --- Quiet.


def test_who_is_here_is_one_row(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    ace, *_ = room.seat("ace", "Bea", "col")
    ace.type("/names")
    assert ace.view.rows[-1] == "3 here: ace, Bea, col."
    monkeypatch.setattr("common.member.commands.NAMES_LISTED", 2)
    ace.type("/names")
    assert ace.view.rows[-1] == "3 here: ace, Bea and 1 more."


def test_an_ignored_member_is_hidden_and_counted(room: Room) -> None:
    ace, bea, _ = room.seat("ace", "bea", "col")
    ace.type("/ignore bea")
    bea.type("one")
    bea.type("/msg ace two")
    bea.type("/away")
    room.carry()
    assert ace.view.messages == []
    assert ace.view.sources().reply_to == ""
    assert not rows(ace, "bea is away")
    ace.type("/ignore")
    assert rows(ace, "Ignored: bea (2 hidden).")
    ace.type("/who")
    assert rows(ace, "ignored, 2 hidden")
    ace.type("/unignore BEA")
    assert rows(ace, "bea is shown again: 2 from bea hidden.")
    bea.type("three")
    room.carry()
    assert [message.text for message in ace.view.messages] == ["three"]
    ace.type("/unignore")
    assert rows(ace, "You do not ignore anybody.")


def flood(room: Room, at: At, other: At, count: int) -> None:
    """Let one send another keys that do not open, as no honest client does."""
    peer = at.member.conversation.find(other.name)
    pipe = at.member.uplink._pipe
    assert peer is not None
    assert pipe is not None
    for number in range(1, count + 1):
        body = number.to_bytes(4).ljust(9, b"\0") + bytes(1200)
        pipe.link.send(Sent(Kind.SENDER_KEY, peer.number, body))
    # Its own client knows nothing of them, and takes no echo for theirs.
    with mock.patch.object(at.member.conversation._outbox, "echoed", return_value=[]):
        at.member.send(at.world.now)
        room.carry()


def test_a_flood_of_keys_leaves_one_row_and_the_history(room: Room) -> None:
    eve, bea = room.seat("eve", "bea")
    eve.type("hello")
    room.carry()
    flood(room, eve, bea, 50)
    assert bea.view.said_texts == ["hello"]
    told = "A key from eve could not be opened."
    assert rows(bea, told) == [told]
    room.carry(WITHIN_S + 1)
    assert len(rows(bea, told)) == 2
    assert rows(bea, " times in a minute)")


def test_of_the_ignored_nothing_is_shown_that_could_not_be_read(room: Room) -> None:
    eve, bea = room.seat("eve", "bea")
    bea.type("/ignore eve")
    flood(room, eve, bea, 5)
    eve.member.conversation.tell_password("psst")
    eve.member.conversation.tell_away("psst")
    room.carry(WITHIN_S + 1)
    assert not rows(bea, "could not be opened")
    assert not rows(bea, "psst")
    bea.type("/ignore")
    assert rows(bea, "Ignored: eve (")


@pytest.mark.parametrize("trouble", Trouble)
def test_who_is_ignored_hides_nothing_that_is_forged_or_changed(
    room: Room, trouble: Trouble
) -> None:
    _, bea = room.seat("eve", "bea")
    peer = bea.member.conversation.find("eve")
    assert peer is not None
    bea.type("/ignore eve")
    before = len(bea.view.rows)
    bea.member.uplink._events.append(Warned(trouble, peer, 5))
    bea.turn()
    is_shown = trouble in (Trouble.UNAUTHENTIC, Trouble.CHANGED, Trouble.NOT_INVITED)
    assert len(bea.view.rows) - before == is_shown
    assert bea.member._narrator.ignored[peer.card.identity].count == (not is_shown)


def test_warnings_of_the_ignored_are_shown(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    ace.type("/ignore bea")
    bea.type("x")
    with mock.patch.object(Transcript, "at", return_value=bytes(32)):
        room.carry()
    assert rows(ace, "A message claiming to be from bea failed authentication")


def test_who_is_away_is_told_to_those_here_and_to_newcomers(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    bea.type("/away at lunch")
    room.carry()
    assert rows(ace, "bea is away: at lunch.")
    assert bea.view.last is not None
    assert bea.view.last.is_away
    (col,) = room.seat("col")
    room.carry()
    assert rows(col, "bea is away: at lunch.")
    col.type("/msg bea psst")
    assert len(rows(col, "bea is away: at lunch.")) == 2
    col.type("/who")
    assert rows(col, ", away: at lunch")
    # What is typed ends it.
    bea.type("/who")
    assert rows(bea, "You are back.")
    room.carry()
    assert rows(ace, "bea is back.")
    ace.type("/who")
    assert not rows(ace, ", away")
    assert not bea.view.last.is_away


def test_an_absence_that_is_over_when_it_is_heard_of_is_told_too(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    bea.type("/who")
    bea.type("hello")
    room.carry()
    ace.view.rows.clear()
    ace.cut()
    for typed in ("/away at lunch", "/who", "/away", "/who"):
        bea.type(typed)
    bea.carry()
    room.carry(20)
    told = [row for row in ace.view.rows if "bea is" in row]
    assert told == ["bea is away: at lunch.", "bea is back.", "bea is away.", "bea is back."]


def test_who_speaks_is_back(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    bea.type("/away")
    room.carry()
    bea.type("/msg ace psst")  # which the others do not see
    room.carry()
    assert rows(ace, "bea is back.")
    bea.type("/away")
    room.carry()
    ace.view.rows.clear()
    # Slow mode has room for one record, and none for a note behind it.
    room.world.relay.orders("/slow 60")
    room.carry()
    bea.type("hello")
    room.carry()
    assert ace.view.said_texts == ["psst", "hello"]
    assert rows(ace, "bea is back.") == ["bea is back."]
    ace.type("/who")
    assert not rows(ace, ", away")
    assert not rows(bea, "The relay says: The room is slow")


def test_an_absence_is_nothing_to_resend(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    bea.type("/away")
    bea.turn()
    bea.cut()
    room.carry(200)
    assert bea.phase is Phase.LIVE
    assert not rows(bea, "not sent")
    assert rows(ace, "bea is away.")


def test_who_is_silent_is_idle(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    ace.type("/who")
    assert not rows(ace, "idle")
    room.carry(200)
    ace.type("/who")
    assert rows(ace, ", idle 3 min")
    bea.type("x")
    room.carry()
    ace.view.rows.clear()
    ace.type("/who")
    assert not rows(ace, "idle")


# --- Names.


def test_another_name_is_one_row_to_the_others(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    session = bea.member.conversation.hello().session
    ace.view.rows.clear()
    bea.type("/away")
    room.carry()
    assert rows(ace, "bea is away.")
    ace.view.rows.clear()
    bea.type("/nick beatrice")
    bea.type("before")
    room.carry(5)
    assert bea.phase is Phase.LIVE
    assert bea.member.conversation.hello().session != session
    assert bea.view.last is not None
    assert bea.view.last.name == "beatrice"
    assert rows(bea, "You are now beatrice. 2 here.")
    assert ace.view.rows == ["bea is back.", "bea is now beatrice. 2 here"]
    bea.type("after")
    ace.type("/msg beatrice hello")
    room.carry()
    assert ace.view.said_texts == ["before", "after", "hello"]
    assert bea.view.messages[-1].is_direct
    # Both can be looked for under what they are called now.
    assert ace.member.conversation.find("bea") is None


def test_of_two_that_look_alike_the_one_is_marked_that_is_new(room: Room) -> None:
    ace, bill = room.seat("ace", "bi11")
    ace.member.conversation.find("bi11").is_new = False  # type: ignore[union-attr]
    (other,) = room.seat("bill")
    for at in (bill, other):
        at.type(at.name)
    room.carry()
    assert {m.text: m.is_look_alike for m in ace.view.messages} == {"bi11": False, "bill": True}
    ace.view.messages.clear()
    col, *_ = room.seat("col")
    for at in (bill, other):
        at.type(at.name)
    room.carry()
    # To whom both are new, which of them came first says nothing.
    assert {m.text: m.is_look_alike for m in col.view.messages} == {"bi11": True, "bill": True}


def test_a_key_that_is_trusted_after_a_new_name_is_trusted_under_it(room: Room) -> None:
    (ace,) = room.seat("ace")
    pinned = Pin(bytes(32), Grade.TOFU, "2026-01-01")
    ace.member._pins.replace(ticket.server_id(room.world.relay.key.public), "bea", pinned)
    (bea,) = room.seat("bea")
    ace.type("/nick axe")
    ace.type("/trust bea")
    room.carry(4)
    assert rows(ace, "You are now axe.")
    ace.member.act(Entered("bea", is_pasted=False), room.world.now)
    seen = ace.member.conversation.find("bea")
    assert seen is not None
    assert seen.standing is Standing.FIRST_SEEN
    bea.type("hello")
    room.carry()
    assert "hello" in ace.view.said_texts


def test_a_program_hears_of_each_name_that_comes_and_goes(room: Room) -> None:
    (ace,) = room.seat("ace", tail=0)
    (bea,) = room.seat("bea")
    bea.type("/nick beatrice")
    room.carry()
    assert rows(ace, "bea left")
    assert rows(ace, "beatrice joined")
    assert not rows(ace, " is now ")


def test_the_end_of_the_former_session_is_no_lost_connection(room: Room) -> None:
    (bea,) = room.seat("bea")
    bea.type("/nick beatrice")
    for _ in range(20):
        room.world.now += 0.1
        bea.step()
        for _ in range(3):
            # The LEAVE's echo and the end of the connection come together.
            room.world.relay.turn()
    room.carry()
    assert rows(bea, "You are now beatrice. 1 here.")
    assert not rows(bea, "Connection lost")


def test_who_leaves_for_good_is_told_a_moment_later(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    bea.member.quit("")
    room.carry(1)
    assert not rows(ace, "bea left")
    room.carry(RENAMED_S)
    assert rows(ace, "bea left after 0 s. 1 here") or rows(ace, "bea left after 1 s. 1 here")


def test_another_person_who_comes_meanwhile_is_another(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    bea.member.quit("")
    room.carry(0.5)
    room.all.remove(bea)
    room.seat("bella")
    room.carry(RENAMED_S)
    assert not rows(ace, "is now")
    assert rows(ace, "bea left")
    assert rows(ace, "bella joined")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ace", "The name ace is in use. You stay bea."),
        ("bea", "You are bea already."),
        ("BEA", "BEA and bea are one name. Leave and come back as BEA, or you stay bea."),
        ("a b", "Usage: /nick NEW"),
        ("\u202ex", "but not U+202E."),
        ("System", "The username System could be taken for a word of the program's own."),
    ],
)
def test_a_name_that_cannot_be_changes_nothing(room: Room, name: str, told: str) -> None:
    _, bea = room.seat("ace", "bea")
    session = bea.member.conversation.hello().session
    bea.type(f"/nick {name}")
    room.carry()
    assert rows(bea, told)
    assert bea.member.conversation.hello().session == session


def test_a_name_that_the_relay_refuses_changes_nothing(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    session = bea.member.conversation.hello().session
    # In another room, say.
    relay = room.world.relay.server
    with mock.patch.object(relay.gate, "admit", return_value=409):
        bea.type("/nick elsewhere")
        room.carry()
    assert rows(
        bea,
        unproven("the name elsewhere is in use. Choose another with --username. You stay bea."),
    )
    relay.rules.locked.add("")
    bea.type("/nick elsewhere")
    room.carry()
    assert rows(bea, unproven("the room is locked. You stay bea."))
    bea.type("still here")
    room.carry(5)
    assert ace.view.said_texts == ["still here"]
    assert bea.member.conversation.hello().session == session


def test_a_relay_that_does_not_answer_a_new_name_changes_nothing(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    bea.type("/nick beatrice")
    for _ in range(60):
        room.world.now += 0.1
        bea.step()
        bea.member.uplink.wants_dial = False  # nobody dials
    room.carry()
    assert rows(bea, "The relay took too long. You stay bea.")
    bea.type("still here")
    room.carry()
    assert ace.view.said_texts == ["still here"]


def test_a_connection_lost_on_the_way_to_a_new_name_comes_back(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    bea.type("/nick beatrice")
    assert bea.up is not None
    assert bea.down is not None
    bea.cut()
    room.carry(5)
    assert bea.phase is Phase.LIVE
    assert rows(ace, "beatrice joined")
    # Its LEAVE was not heard.
    room.carry(31)
    assert [row for row in rows(ace, "bea left") if "connection lost" in row]


def test_a_name_is_freed_at_once_by_its_own_identity(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    bea.cut()
    room.all.remove(bea)
    again = same_person(bea)
    room.all.append(again)
    again.dial()
    room.carry()
    assert again.phase is Phase.LIVE
    assert rows(ace, ": back under a new session. 1 here")


@pytest.mark.parametrize(("has_changed", "code"), [(True, 5), (False, 0)])
def test_a_program_hears_that_somebody_here_was_left_out(
    room: Room, has_changed: bool, code: int
) -> None:
    (ace,) = room.seat("ace", sends=True)
    if has_changed:
        ace.member._pins.replace(
            ace.member.conversation._server_id, "bea", Pin(bytes(32), Grade.TOFU, "2026-01-01")
        )
    (bea,) = room.seat("bea")
    ace.member.act(Post("a line", "", "Line 1"), room.world.now)
    room.carry()
    ace.member.input_ended(room.world.now)
    room.carry()
    assert ace.member.exit_code == code
    assert bool(rows(bea, "a line") or bea.view.said_texts) is not has_changed


@pytest.mark.parametrize("most", [0, 1])
def test_a_program_that_waits_for_an_answer_outlasts_its_question(room: Room, most: int) -> None:
    (ace,) = room.seat("ace", sends=True, tail=most)
    (bea,) = room.seat("bea")
    ace.view.is_screen = False
    ace.member.act(Post("what time is it?", "", "Line 1"), room.world.now)
    ace.member.input_ended(room.world.now)
    room.carry(200)
    assert bea.view.said_texts == ["what time is it?"]
    assert ace.member.exit_code == (None if most else 0)
    ace.member.act(Action.QUIT, room.world.now)  # as its view does once the answer is here
    room.carry()
    assert ace.member.exit_code == 0


def test_a_program_hears_at_once_what_was_not_sent_and_why(room: Room) -> None:
    (ace,) = room.seat("ace", sends=True)
    room.world.relay.orders("/mute ace 5m")
    room.carry()
    ace.member.act(Post("one\ntwo", "", "Line 1"), room.world.now)
    room.carry()
    (told,) = rows(ace, "2 lines were not sent. The relay says: You are muted until ")
    assert "/resend" not in told
    ace.member.input_ended(room.world.now)
    room.carry()
    assert ace.member.exit_code == 1
    assert ace.member.last_words == "2 lines were not delivered."


# --- Passwords, and invitations.


def test_a_told_password_is_tried_first(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    room.world.relay.orders("/op ace")
    room.carry()
    ace.type("/password --tell new one")
    room.carry()
    assert rows(bea, "ace told a new password: new one ")
    assert rows(ace, "The new password was told to all who are here and trusted.")
    assert "forgotten" in ace.view.rows
    assert ace.view.kept == ""
    for at in (ace, bea):
        at.cut()
    room.carry(5)
    for at in (ace, bea):
        assert at.phase is Phase.LIVE
        assert not rows(at, "wrong KEY or password")
        assert at.member.passwords.trying == "new one"


def test_who_changes_the_password_comes_back_with_it(room: Room) -> None:
    (ace,) = room.seat("ace")
    ace.type("/password a guess")
    room.carry()
    assert rows(ace, "Only an operator can do that.")
    room.world.relay.orders("/op ace")
    room.carry()
    ace.cut()
    room.carry(5)
    # It was refused: the old one is good.
    assert ace.phase is Phase.LIVE
    assert ace.member.passwords.trying == "p"
    ace.type("/password new one")
    room.carry()
    assert "forgotten" in ace.view.rows
    with mock.patch.object(ace.member.passwords, "refused") as refused:
        ace.cut()
        room.carry(5)
    assert ace.phase is Phase.LIVE
    assert not refused.called


def test_a_password_that_the_relay_did_not_take_is_told_to_nobody(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    ace.type("/password --tell mine now")
    room.carry()
    assert rows(ace, "The relay says: Only an operator can do that. Nothing was changed.")
    # What was refused is not told later either.
    room.world.relay.orders("/op ace")
    room.carry()
    ace.type("/password another")
    room.carry()
    assert not rows(bea, "told a new password")
    ace.type("/password --tell top drawer")
    ace.cut()
    room.carry(5)
    assert rows(ace, "The new password may not have been told to all.")
    assert not rows(bea, "told a new password")


def test_one_order_changes_the_password_and_tells_it(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    room.world.relay.orders("/op ace")
    room.carry()
    sent: list[str] = []
    real = server.Orders.hear

    def hear(self: server.Orders, giver: Giver, line: str, *more: Any) -> None:
        sent.append(line)
        real(self, giver, line, *more)

    with mock.patch.object(server.Orders, "hear", hear):
        ace.type("/password --tell  top drawer ")
        room.carry()
    assert sent == ["/password top drawer"]
    assert rows(bea, "ace told a new password: top drawer ")
    for typed in ("/password --tell", "/password --tell -x", "/password --tell a\x07"):
        ace.type(typed)
        assert rows(ace, "Usage: /password --tell NEW. Nothing was changed.")
        ace.view.rows.clear()
    ace.type(f"/password --tell {'x' * 401}")
    ace.cut()
    ace.type("/password --tell later")
    assert rows(ace, "A password has 1 to 400 bytes. Nothing was sent.")
    assert rows(ace, "Not now: you are not connected. Nothing was changed.")
    room.carry(5)
    assert len(rows(bea, "told a new password")) == 1


def test_no_member_can_lock_others_out(room: Room) -> None:
    ace, bea, *liars = room.seat("ace", "bea", "liar1", "liar2", "liar3")
    ace.member.conversation.tell_password("new one")
    room.carry()
    for number, liar in enumerate(liars):
        for again in range(10):
            liar.member.conversation.tell_password(f"lie {number} {again}")
            room.carry()
    bea.cut()
    room.carry(5)
    # The old one is good still.
    assert bea.phase is Phase.LIVE
    assert bea.member.passwords.trying == "p"
    ace.member.conversation.tell_password("newer one")
    for liar in liars:
        liar.member.conversation.tell_password("last lie")
    room.set_password("newer one")
    room.carry()
    bea.cut()
    room.carry(5)
    assert bea.phase is Phase.LIVE
    assert bea.member.passwords.trying == "newer one"


def test_a_password_that_nobody_told_is_waited_for_in_rounds(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    ace.member.conversation.tell_password("wrong")
    room.carry()
    room.set_password("secret of others")
    bea.cut()
    room.carry(5)
    assert len(rows(bea, unproven("wrong KEY or password."))) == 1
    assert rows(bea, SHUT_OUT)
    assert bea.member.exit_code is None
    room.set_password("p")
    room.carry(PAUSE_S + 2)
    assert bea.phase is Phase.LIVE


def test_a_liar_in_four_guises_keeps_nobody_offline(room: Room) -> None:
    guises = [f"liar{number}" for number in range(5)]
    ace, bea, *liars = room.seat("ace", "bea", *guises)
    for number, liar in enumerate(liars):
        liar.member.conversation.tell_password(f"lie {number}")
    room.carry()
    ace.member.conversation.tell_password("truth")
    room.carry()
    for number, liar in enumerate(liars):
        liar.member.conversation.tell_password(f"later lie {number}")
    room.set_password("truth")
    room.carry()
    bea.cut()
    passwords = bea.member.passwords
    with mock.patch.object(passwords, "refused", wraps=passwords.refused) as refused:
        room.carry(59)
        # Whoever shares its address has wrong guesses left.
        assert refused.call_count == ROUND
        room.carry(63)
    assert bea.phase is Phase.LIVE
    assert passwords.trying == "truth"


def test_who_is_shut_out_may_be_asked_and_only_then(room: Room) -> None:
    (bea,) = room.seat("bea")
    asked: list[str] = []
    bea.view.ask = lambda prompt: asked.append(prompt.question if prompt else "")
    room.set_password("another")
    bea.cut()
    room.carry(5)
    # Who types to the room must not be typing a password.
    assert asked == []
    assert rows(bea, SHUT_OUT)

    def enter(answer: str | None) -> None:
        bea.member.act(Action.ENTER, room.world.now)
        assert asked.pop() == "Password: "
        reply = Reply.ESCAPED if answer is None else Entered(answer, is_pasted=False)
        bea.member.act(reply, room.world.now)
        assert asked.pop() == ""
        room.carry(5)

    passwords = bea.member.passwords
    with mock.patch.object(passwords, "refused", wraps=passwords.refused) as refused:
        enter(None)
        enter("")
        assert refused.call_count == 0
        enter("typo")
        assert refused.call_count == 1
        enter("another")
        assert refused.call_count == 1
    assert bea.phase is Phase.LIVE
    assert bea.member.exit_code is None


def test_the_question_goes_when_the_relay_takes_us(room: Room) -> None:
    (bea,) = room.seat("bea")
    asked: list[str] = []
    bea.view.ask = lambda prompt: asked.append(prompt.question if prompt else "")
    room.set_password("another")
    bea.cut()
    room.carry(5)
    bea.member.act(Action.ENTER, room.world.now)
    room.set_password("p")
    room.carry(PAUSE_S + 2)
    assert bea.phase is Phase.LIVE
    assert asked == ["Password: ", ""]


def test_a_name_is_changed_with_the_password_that_was_told(room: Room) -> None:
    ace, bea = room.seat("ace", "bea")
    ace.member.conversation.tell_password("lie")
    room.carry()
    bea.type("/nick beatrice")
    room.carry(3)
    assert rows(bea, "You are now beatrice.")


def test_an_invitation_keeps_out_who_has_none(room: Room) -> None:
    (ace,) = room.seat("ace")
    ace.type("/invite")
    ace.type("/invite")
    key = ticket.key_text(room.world.relay.key.public)
    first, second = (row for row in ace.view.rows if row.startswith(key))
    assert first == second
    assert ticket.parse(first).secret
    ace.type("/invite new")
    assert [row for row in ace.view.rows if row.startswith(key)][-1] != first
    friend, other = At(room.world, "bea", first), At(room.world, "col", first)
    for at in (friend, other):
        room.all.append(at)
        at.dial()
        room.carry()
    assert rows(other, "ace was not invited. Not sending to or showing ace.")
    friend.type("hello")
    ace.type("may I?")
    room.carry()
    assert other.view.said_texts == ["hello"]
    assert rows(friend, "A message from ace was hidden.")
    friend.type("/invite")
    assert rows(friend, first)
    assert rows(friend, "You did too.")
