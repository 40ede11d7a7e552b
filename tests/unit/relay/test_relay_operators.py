"""What operators may do, what it changes, and who is told (PROTOCOL.md 4.5)."""

from __future__ import annotations

import copy
import json
import secrets
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.crypto.identity import fingerprint
from common.errors import FileError
from common.log.memory import MemoryLog
from common.relay import operators
from common.relay import room as rooms
from common.relay.gate import Gate
from common.relay.operators import NOT_ALLOWED, Giver, Notice, Operators, Outcome
from common.relay.room import Room, Seat, SeatState
from common.relay.rules import FOREVER_MS, MAX_RULES, Ban, Mute, Rules, RulesFile, until
from common.wire import orders, records
from common.wire.orders import CONSOLE_FORMS, FORMS, HELP, Order
from common.wire.records import Hello, Kind, Reason, Status
from tests.unit.relay.people import AT_MS, ROOM_ID, Member, T, card, hello, identity

(NO_OPERATOR,) = NOT_ALLOWED.rows


class Relay:
    """A gate, two rooms, and their operators, without a thread."""

    def __init__(self, file: RulesFile | None = None, given: tuple[str, ...] = ()) -> None:
        self.rules = Rules()
        self.gate = Gate(
            threading.Lock(),
            room_size=10,
            rooms=10,
            make_room=self._make_room,
            on_empty=lambda _: None,
            rules=self.rules,
        )
        self.told: list[Notice] = []
        self.passwords: list[str] = []
        self.stops = 0
        self.operators = Operators(
            self.gate,
            self.rules,
            file,
            given,
            tell=self.told.append,
            remove=self._remove,
            change_password=self._change_password,
            stats=lambda: "stats",
            stop=self._stop,
        )

    def _make_room(self, name: str) -> Room:
        log = MemoryLog(secrets.token_bytes(16))
        return Room(name, ROOM_ID, log, 120.0, self.rules, threading.Lock())

    def _remove(self, seat: Seat, why: str) -> bool:
        has_left = seat.room.leave(seat, Reason.REMOVED, T, AT_MS, why)
        self.gate.release(seat)
        return has_left

    def _change_password(self, password: str) -> None:
        self.passwords.append(password)

    def _stop(self) -> None:
        self.stops += 1

    def enter(self, name: str, room: str = "", *, who: str = "") -> Member:
        of = card(name, who=who)
        holder = object()
        seat, _ = self.gate.take(hello(of, room), of, holder, is_fresh=True)
        seat.room.join(seat, T, AT_MS)
        return Member(seat.room, seat, holder, [])

    def order(self, line: str, by: Member | None = None, *, at_ms: int = AT_MS) -> Outcome:
        """Give an order, and return what became of it."""
        self.told.clear()
        giver = giver_of(by)
        found = self.operators.read(giver, line, at_ms)
        return found if isinstance(found, Outcome) else self.operators.obey(giver, found, at_ms)

    def obey(self, line: str, by: Member | None = None, *, at_ms: int = AT_MS) -> list[str]:
        """Give an order, and return what its giver is told."""
        return self.order(line, by, at_ms=at_ms).rows

    @property
    def said(self) -> list[tuple[str, str]]:
        """What rooms were told; "all" stands for every room."""
        return [(told.sentence, told.room.path if told.room else "all") for told in self.told]

    def knock(self, name: str, room: str = "", *, who: str = "") -> int | None:
        public = identity(who or name).public
        return self.gate.admit(Hello(secrets.token_bytes(16), public, room, name))


def shown(name: str) -> str:
    """The fingerprint of that identity under that name, as it is shown."""
    return " ".join(digits(name)[at : at + 5] for at in range(0, 30, 5))


def giver_of(member: Member | None) -> Giver:
    return Giver(member.seat.username, member.room, member.seat) if member else Giver()


@pytest.fixture
def relay() -> Relay:
    return Relay()


def kept(rules: Rules) -> dict[str, object]:
    """What a relay decides by, as it stands."""
    return {
        name: copy.deepcopy(getattr(rules, name)) for name in rules.__slots__ if name != "on_met"
    }


def digits(name: str, *, who: str = "") -> str:
    return fingerprint(identity(who or name).public, name)


def test_every_order_has_a_row_and_somebody_who_carries_it_out() -> None:
    assert set(Operators._DO) == {*FORMS, *CONSOLE_FORMS, HELP}


class TestWhoMay:
    def test_whoever_is_none_changes_nothing(self, relay: Relay) -> None:
        ace, bea = relay.enter("ace"), relay.enter("bea")
        for word in FORMS:
            assert relay.order(f"{word} bea", ace) == NOT_ALLOWED
        assert relay.obey("/help", ace) == [NO_OPERATOR]
        assert (relay.told, relay.passwords, relay.stops) == ([], [], 0)
        assert bea.seat.state is SeatState.SEATED

    def test_the_fingerprint_covers_the_name(self) -> None:
        relay = Relay(given=(digits("ace"),))
        assert relay.obey("/rooms", relay.enter("ace")) != [NO_OPERATOR]
        assert relay.obey("/rooms", relay.enter("ace2", who="ace")) == [NO_OPERATOR]
        assert relay.obey("/rooms", relay.enter("ACE3", who="eve")) == [NO_OPERATOR]

    def test_op_and_deop(self, relay: Relay) -> None:
        ace = relay.enter("ace")
        assert relay.obey("/op ACE") == [
            f"ace's fingerprint is {shown('ace')}: compare it with what /verify says there."
        ]
        assert relay.said == [("The host made ace an operator.", "/")]
        assert relay.obey("/op ace") == ["ace is an operator already. Nothing was changed."]
        assert relay.obey("/who", ace) == ["lobby, 1 here: ace (operator)"]
        relay.obey(f"/deop {digits('ace')}", ace)
        assert relay.obey("/who", ace) == [NO_OPERATOR]
        assert relay.obey("/deop ace") == ["ace is no operator. Nothing was changed."]
        assert relay.obey("/op nobody") == ["Nobody here is called nobody. Nothing was changed."]

    def test_op_by_fingerprint(self, relay: Relay) -> None:
        # Who is called as the fingerprint of another reads gets nothing by it.
        relay.enter(digits("ace"), who="eve")
        eve = relay.gate.find(digits("ace"))
        assert eve is not None
        assert relay.obey(f"/op {shown('ace')}") == []
        assert relay.said == [(f"The host made {shown('ace')} an operator.", "all")]
        assert not relay.rules.is_operator(eve.card.identity, eve.username)
        ace, bea = relay.enter("ace"), relay.enter("bea", "den")
        assert relay.obey(f"/op {digits('bea')}", ace) == []
        assert relay.said == [("ace made bea an operator.", "/den")]
        assert relay.rules.is_operator(bea.seat.card.identity, "bea")
        again = relay.obey(f"/op {digits('bea')}", ace)
        assert again == ["bea is an operator already. Nothing was changed."]
        assert relay.obey(f"/deop {digits('ace')}") == []
        assert relay.obey("/who", ace) == [NO_OPERATOR]

    def test_one_who_was_named_at_the_start_is_named_again(self) -> None:
        relay = Relay(given=(digits("ace"),))
        relay.enter("ace")
        (again,) = relay.obey("/deop ace")
        assert "--operator" in again

    def test_one_who_was_removed_meanwhile(self, relay: Relay) -> None:
        ace, bea = relay.enter("ace"), relay.enter("bea")
        for name in ("ace", "bea"):
            relay.obey(f"/op {name}")
        relay.obey("/kick ace", bea)
        assert relay.obey("/kick bea", ace) == [NO_OPERATOR]

    def test_nobody_does_it_to_themselves(self, relay: Relay) -> None:
        ace = relay.enter("ace")
        relay.obey("/op ace")
        for word in ("/kick", "/ban", "/mute"):
            assert relay.obey(f"{word} ace", ace) == ["That is you. Nothing was changed."]
        assert relay.obey(f"/ban {digits('ace')}", ace) == ["That is you. Nothing was changed."]
        assert not relay.rules.bans


class TestRemoving:
    def test_kick(self, relay: Relay) -> None:
        ace, bea = relay.enter("ace"), relay.enter("bea", "den")
        relay.obey("/op ace")
        ace.read()
        (hint,) = relay.obey("/kick BEA too loud", ace)
        assert "/password --tell NEW" in hint
        assert relay.said == [("ace removed bea: too loud.", "/den")]
        assert (bea.seat.state, bea.seat.reason) == (SeatState.GONE, Reason.REMOVED)
        assert bea.seat.why == "Removed by ace: too loud."
        assert bea.read() == []
        assert relay.knock("bea", "den") is None
        assert relay.obey("/kick bea") == ["Nobody here is called bea. Nothing was changed."]

    def test_the_others_see_a_leave(self, relay: Relay) -> None:
        ace, bea = relay.enter("ace"), relay.enter("bea")
        ace.read()
        (hint,) = relay.obey("/kick bea")
        assert "/password NEW" in hint
        (leave,) = ace.read()
        assert (leave.kind, leave.sender, leave.body) == (Kind.LEAVE, bea.number, b"\2")
        bea.say()
        assert ace.read() == []

    def test_one_whose_connection_is_lost(self, relay: Relay) -> None:
        relay.enter("ace")
        bea = relay.enter("bea")
        bea.drop()
        relay.obey("/kick bea")
        assert relay.gate.find("bea") is None
        assert not relay.gate.room("").expire(bea.seat, T + 1_000, AT_MS)  # type: ignore[union-attr]

    def test_ban_holds_for_the_identity_under_every_name(self, relay: Relay) -> None:
        relay.enter("ace")
        relay.enter("eve")
        relay.enter("eve2", "den", who="eve")
        relay.obey("/ban eve 10m spam")
        assert relay.said == [
            ("The host banned eve for 10 min: spam.", "/"),
            ("The host banned eve for 10 min: spam.", "/den"),
        ]
        assert relay.gate.find("eve2") is None
        assert relay.knock("other", who="eve") == 403
        assert relay.knock("eve", who="fay") is None

    def test_a_ban_ends(self, relay: Relay) -> None:
        relay.enter("eve")
        relay.obey("/ban eve 10m", at_ms=AT_MS)
        assert relay.rules.deadline_ms() == AT_MS + 600_000
        assert relay.operators.tick(AT_MS + 599_999) == []
        assert relay.knock("eve") == 403
        assert relay.operators.tick(AT_MS + 600_000) == ["The ban of eve is over."]
        assert relay.knock("eve") is None
        assert relay.rules.deadline_ms() is None

    def test_one_who_has_left_can_be_banned(self, relay: Relay) -> None:
        relay.enter("ace")
        for target in ("eve", digits("eve")):
            relay.enter("eve")
            relay.obey("/kick eve")
            relay.obey(f"/ban {target}")
            assert relay.knock("fay", who="eve") == 403
            relay.obey(f"/unban {target}")
            assert relay.knock("fay", who="eve") is None

    def test_a_fingerprint_that_nobody_has_shown_yet(self, relay: Relay) -> None:
        met: list[bool] = []
        relay.rules.on_met = lambda: met.append(True)
        relay.obey(f"/ban {digits('eve')} 2h")
        assert relay.knock("fay", who="eve") is None
        assert relay.knock("eve") == 403
        assert met == [True]
        assert relay.knock("fay", who="eve") == 403
        relay.obey(f"/unban {digits('eve')}")
        assert relay.knock("eve") is None

    def test_whoever_is_called_as_a_fingerprint_reads_takes_no_ban_for_it(
        self, relay: Relay
    ) -> None:
        relay.enter(digits("eve"), who="friend")
        relay.obey(f"/ban {digits('eve')}")
        assert relay.knock("fay", who="friend") == 403
        assert relay.knock("eve") == 403
        relay.obey(f"/unban {digits('eve')}")
        assert relay.knock("eve") is None

    def test_bans(self, relay: Relay) -> None:
        assert relay.obey("/bans") == ["Nobody is banned."]
        relay.enter("eve")
        relay.obey("/ban eve 1d spam", at_ms=0)
        relay.obey(f"/ban {'1' * 30}")
        assert relay.obey("/bans") == [
            f"eve {digits('eve')}, by the host until 1970-01-02 00:00 UTC: spam",
            f"(not seen) {'1' * 30}, by the host",
        ]
        assert relay.obey("/unban fay") == ["fay is not banned. /bans lists who is."]
        relay.obey("/ban eve")  # once more is longer, not twice
        assert len(relay.rules.bans) == 2
        relay.obey("/unban eve")
        assert len(relay.rules.bans) == 1

    def test_nobody_known(self, relay: Relay) -> None:
        (row,) = relay.obey("/ban ghost 10m")
        assert row == "Nobody called ghost is or was here. Nothing was changed."
        assert relay.rules.bans == []

    def test_so_many_and_no_more(self, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(operators, "MAX_RULES", 2)
        rows = [relay.obey(f"/ban {n:030}")[0] for n in range(3)]
        assert ["no room for more" in row for row in rows] == [False, False, True]
        assert len(relay.rules.bans) == 2


class TestHushing:
    def refused(self, member: Member, *, to: int = 0, now: float = T, chain: int = 0) -> str:
        """Say something, on a new chain if none is named; return why it was refused, or ""."""
        seq = member.room._log.room_seq
        head = chain.to_bytes(4) if chain else secrets.token_bytes(4)
        body = head + bytes([7] * 4) + seq.to_bytes(8) + bytes(112)
        replies = member.send(Kind.MESSAGE, body, to=to, now=now)
        if not replies:
            assert member.room._log.room_seq == seq + (not to)
            return ""
        (reply,) = replies
        assert (reply.kind, reply.to, reply.body[:8]) == (Kind.REFUSAL, to, body[:8])
        assert member.room._log.room_seq == seq
        return records.notice_text(reply.body[8:])

    def test_mute(self, relay: Relay) -> None:
        ace, bea = relay.enter("ace"), relay.enter("bea")
        assert relay.obey("/mute bea 10m") == []
        assert relay.said == [("The host muted bea for 10 min.", "/")]
        assert self.refused(bea).startswith("You are muted until 1970-01-01 00:10 UTC.")
        assert self.refused(bea, to=ace.number)
        assert not self.refused(ace)
        relay.obey("/unmute BEA")
        assert relay.said == [("The host lets BEA speak again.", "/")]
        assert not self.refused(bea)
        assert relay.obey("/unmute bea") == ["bea is not muted. Nothing was changed."]

    def test_a_mute_goes_by_identity_and_ends(self, relay: Relay) -> None:
        bea = relay.enter("bea")
        relay.enter("ace")
        relay.obey("/mute bea 1m")
        relay.obey("/kick bea")
        bea = relay.enter("bee", who="bea")
        assert self.refused(bea)
        assert relay.operators.tick(AT_MS + 60_000) == ["bea may speak again."]
        assert not self.refused(bea)

    def test_one_who_is_muted_can_be_found_by_either_name(self, relay: Relay) -> None:
        relay.enter("ace")
        for name in ("bea", "bee"):
            relay.enter("bea")
            relay.obey("/mute bea")
            relay.obey("/kick bea")
            relay.enter("bee", who="bea")
            relay.obey(f"/unmute {name}")
            assert relay.rules.muted == {}
            relay.obey("/kick bee")

    def test_slow(self, relay: Relay) -> None:
        ace, bea = relay.enter("ace"), relay.enter("bea")
        den = relay.enter("col", "den")
        relay.obey("/slow 30")
        assert relay.said == [("The host slowed the room: one message of each in 30 s.", "/")]
        assert not self.refused(ace)
        assert self.refused(ace, now=T + 0.5).endswith("Wait 30 s.")
        assert not self.refused(bea, now=T + 1)
        assert not self.refused(ace, to=bea.number, now=T + 1)
        assert self.refused(ace, now=T + 29)
        assert not self.refused(ace, now=T + 30)
        for _ in range(3):
            assert not self.refused(den)
        relay.obey("/slow 0")
        assert not self.refused(ace, now=T + 31)
        assert relay.obey("/slow 0") == ["It is so already. Nothing was changed."]

    def test_what_follows_on_the_chain_is_refused_too(self, relay: Relay) -> None:
        ace, bea = relay.enter("ace"), relay.enter("bea")
        relay.obey("/mute ace")
        assert self.refused(ace, chain=1).startswith("You are muted")
        assert self.refused(ace, to=bea.number, chain=2).startswith("You are muted")
        relay.obey("/unmute ace")
        for _ in range(2):
            assert self.refused(ace, chain=1) == "What came before it was refused."
            assert self.refused(ace, to=bea.number, chain=2) == "What came before it was refused."
        # Nor does it help to come back.
        ace.drop()
        ace.resume()
        assert self.refused(ace, to=bea.number, chain=2)
        assert not self.refused(ace, chain=3)

    @pytest.mark.parametrize("is_room", [True, False])
    def test_no_key_of_a_muted_member_goes_to_anybody(self, relay: Relay, *, is_room: bool) -> None:
        ace, bea, col = relay.enter("ace"), relay.enter("bea"), relay.enter("col")
        bea.read()
        relay.obey("/mute ace")
        for to in (bea, col):
            body = (7).to_bytes(4) + bytes(4) + bytes([not is_room]) + bytes(1200)
            assert ace.send(Kind.SENDER_KEY, body, to=to.number) == []
        assert not [record for record in bea.read() if record.to]
        # They have their echoes, as if their members had left.
        echoes = [record for record in ace.read() if record.to]
        assert [(r.kind, r.to, r.seq, r.body) for r in echoes] == [
            (Kind.SENDER_KEY, bea.number, 1, b""),
            (Kind.SENDER_KEY, col.number, 2, b""),
        ]
        # So nobody could read what is said on that chain, even once they may speak again.
        relay.obey("/unmute ace")
        ace.drop()
        ace.resume(mail_seq=2)
        dest, other = (0, bea.number) if is_room else (bea.number, 0)
        assert self.refused(ace, to=dest, chain=7) == "What came before it was refused."
        assert not self.refused(ace, to=dest, chain=8)
        assert not self.refused(ace, to=other, chain=7)

    def test_what_is_kept_of_refusals_is_bounded_by_who_is_here(self, relay: Relay) -> None:
        ace = relay.enter("ace")
        relay.obey("/mute ace")
        for n in range(5):
            bea = relay.enter(f"b{n}")
            ace.send(Kind.SENDER_KEY, bytes(8) + b"\1" + bytes(1200), to=bea.number)
            assert len(ace.seat.refused) == 1
            bea.send(Kind.LEAVE)
            ace.send(Kind.SENDER_KEY, bytes(8) + b"\1" + bytes(1200), to=bea.number)
            assert self.refused(ace, to=bea.number)
            assert not ace.seat.refused

    def test_to_come_back_does_not_help(self, relay: Relay) -> None:
        ace, _ = relay.enter("ace"), relay.enter("bea")
        relay.obey("/slow 30")
        assert not self.refused(ace)
        relay.obey("/kick ace")
        assert self.refused(relay.enter("ada", who="ace"), now=T + 1)

    def test_who_has_spoken_is_forgotten_in_time(
        self, relay: Relay, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rooms, "SPOKE_KEPT", 2)
        relay.obey("/slow 10")
        room = relay.enter("ace").room
        for n in range(9):
            assert not self.refused(relay.enter(f"n{n}"), now=T + 6 * n)
        assert len(room._spoke_s) <= 3


class TestRooms:
    def test_lock(self, relay: Relay) -> None:
        ace = relay.enter("ace", "den")
        relay.obey("/op ace")
        assert relay.obey("/lock", ace) == []
        assert relay.said == [("ace locked the room: nobody new can join.", "/den")]
        assert relay.knock("bea", "den") == 423
        assert relay.knock("bea") is None
        assert relay.obey("/lock DEN") == ["It is so already. Nothing was changed."]
        relay.obey("/unlock den")
        assert relay.knock("bea", "den") is None

    def test_an_operator_passes_a_lock_and_who_claims_to_be_one_does_not(
        self, relay: Relay
    ) -> None:
        relay.enter("ace", "den")
        relay.obey("/op ace")
        relay.obey("/lock den")
        relay.obey("/kick ace")
        assert relay.knock("ace", "den", who="eve") == 423
        assert relay.knock("ace", "den") is None
        assert relay.enter("ace", "den").seat.username == "ace"

    def test_a_room_that_is_none(self, relay: Relay) -> None:
        relay.enter("ace")
        assert relay.obey("/lock dem") == ["There is no room dem. /rooms lists them."]
        assert relay.obey("/slow 3 a*\u0430") != []
        assert not relay.rules.locked
        assert not relay.rules.slow_s

    def test_a_room_that_all_have_left_keeps_its_rule_until_it_is_ended(self, relay: Relay) -> None:
        ace = relay.enter("ace", "den")
        relay.obey("/slow 5 den")
        assert ace.room.leave(ace.seat, Reason.LEFT, T, AT_MS)
        relay.gate.release(ace.seat)
        assert relay.obey("/rooms") == ["lobby: 0 here", "den: 0 here, slow 5 s"]
        assert relay.obey("/slow 0 den") == ["Done. Nobody is there."]
        assert relay.obey("/rooms") == ["lobby: 0 here"]

    def test_the_console_means_the_lobby(self, relay: Relay) -> None:
        assert relay.obey("/lock") == ["Done. Nobody is there."]
        assert relay.knock("ace") == 423
        assert relay.obey("/rooms") == ["lobby: 0 here, locked"]

    def test_lists(self, relay: Relay) -> None:
        assert relay.obey("/who") == ["Nobody is here."]
        relay.enter("ace")
        relay.enter("bea").drop()
        relay.enter("col", "den")
        relay.obey("/mute col")
        relay.obey("/slow 5 den")
        assert relay.obey("/who") == [
            "lobby, 2 here: ace, bea (connection lost)",
            "den, 1 here: col (muted)",
        ]
        assert relay.obey("/who den") == ["den, 1 here: col (muted)"]
        assert relay.obey("/rooms") == ["lobby: 2 here", "den: 1 here, slow 5 s"]
        assert relay.obey("/stats") == ["stats"]

    def test_a_long_list_is_in_rows_that_a_notice_holds(self, relay: Relay) -> None:
        shown = operators._joined("lobby, 900 here: ", ["名" * 21 for _ in range(900)])
        assert all(len(row.encode()) <= records.MAX_NOTICE_BYTES for row in shown)
        assert "".join(shown).count("名") == 900 * 21
        listed = operators._listed([str(n) for n in range(60)])
        assert len(listed) == 51
        assert listed[-1] == "and 10 more"

    def test_a_room_of_many_is_no_flood(
        self, relay: Relay, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(operators, "ROW_CHARS", 5)
        for n in range(9):
            relay.enter(f"ace{n}", "den")
        monkeypatch.setattr(operators, "ROWS_TOLD", 3)
        assert len(relay.obey("/who den")) == 4

    def test_password_and_stop(self, relay: Relay) -> None:
        ace = relay.enter("ace")
        relay.obey("/op ace")
        rows = relay.obey("/password hunter2", ace)
        assert relay.passwords == ["hunter2"]
        assert [place for _, place in relay.said] == ["all"]
        assert "hunter2" not in str((relay.said, rows))
        relay.obey("/stop")
        assert relay.stops == 1
        assert relay.said == [("The host stops the relay.", "all")]

    def test_help_and_what_is_wrong(self, relay: Relay) -> None:
        assert len(relay.obey("/help")) == len(FORMS) + len(CONSOLE_FORMS)
        assert relay.obey("/kik ace") == [
            "No such command: nothing was changed. Near: /kick. /help lists all."
        ]
        assert relay.obey(f"/topic {'x' * 512}") == ["A command has at most 512 bytes."]
        assert relay.told == []


class TestSaying:
    def test_the_host_speaks_to_everybody(self, relay: Relay) -> None:
        assert relay.order("/say  dinner at eight ") == Outcome(Status.OK, [])
        assert [notice.sentence for notice in relay.told] == ["The host says: dinner at eight"]
        assert (relay.told[0].room, relay.told[0].is_told) == (None, True)
        assert relay.obey("/say") == ["Usage: /say TEXT. Nothing was said."]

    def test_an_operator_has_a_voice_that_the_relay_cannot_read(self, relay: Relay) -> None:
        ace = relay.enter("ace")
        relay.obey("/op ace")
        relay.told.clear()
        assert relay.obey("/say hello", ace) == [
            "No such command: nothing was changed. /help lists all."
        ]
        assert "/say" not in " ".join(relay.obey("/help", ace))
        assert relay.told == []


class TestTopic:
    def test_it_is_of_a_room_and_the_room_is_told(self, relay: Relay) -> None:
        ace, bea = relay.enter("ace"), relay.enter("bea", "den")
        relay.obey("/op ace")
        assert relay.order("/topic be kind, all", ace) == Outcome(Status.OK, [])
        assert relay.said == [("ace set the topic: be kind, all.", "/")]
        assert relay.rules.topics == {"": "be kind, all"}
        assert relay.obey("/topic") == ["Topic: be kind, all"]
        assert relay.obey("/topic", bea) == ["No topic is set."]
        assert relay.obey("/topic be kind, all") == ["It is so already. Nothing was changed."]
        relay.obey("/topic others")
        assert relay.said == [("The host set the topic: others.", "/")]
        assert relay.obey("/topic off", ace) == []
        assert relay.said == [("ace ended the topic.", "/")]
        assert relay.rules.topics == {}
        assert relay.obey("/topic off") == ["It is so already. Nothing was changed."]

    def test_whoever_asks_is_told_and_only_an_operator_sets_it(self, relay: Relay) -> None:
        ace = relay.enter("ace")
        relay.obey("/topic deploys at three")
        for line in ("/topic", " /topic  "):
            assert relay.order(line, ace) == Outcome(Status.OK, ["Topic: deploys at three"])
        for line in ("/topic mine", "/topic off"):
            assert relay.order(line, ace) == NOT_ALLOWED
        assert relay.rules.topics == {"": "deploys at three"}

    def test_what_an_operator_asks_has_its_turn_and_what_others_ask_none(
        self, relay: Relay
    ) -> None:
        ace, bea = relay.enter("ace"), relay.enter("bea")
        relay.obey("/op ace")
        assert isinstance(relay.operators.read(giver_of(ace), "/topic", AT_MS), Order)
        assert isinstance(relay.operators.read(Giver(), "/topic", AT_MS), Order)
        assert isinstance(relay.operators.read(giver_of(bea), "/topic", AT_MS), Outcome)

    def test_one_that_is_too_long_or_no_text(self, relay: Relay) -> None:
        for text in ("x" * 512, "a\x1b[2J", "a\nb", "\ud800"):
            assert relay.order(f"/topic {text}").status is Status.BAD_REQUEST
        assert relay.rules.topics == {}

    def test_so_many_and_no_more(self, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(operators, "MAX_RULES", 1)
        ace = relay.enter("ace", "den")
        relay.obey("/op ace")
        relay.obey("/topic one")
        assert relay.order("/topic two", ace).status is Status.BAD_REQUEST
        assert relay.order("/topic another").status is Status.OK


class TestFile:
    def test_what_survives_a_restart(self, tmp_path: Path) -> None:
        file = RulesFile(tmp_path / "rules")
        given = (digits("host"),)
        relay = Relay(file, given)
        ace = relay.enter("ace", "den")
        for name in ("bea", "col", "eve"):
            relay.enter(name)
        for line in ("/op ace", "/ban eve 1h spam", "/mute bea 1h", "/lock den", "/topic hi"):
            relay.obey(line)
        relay.obey("/slow 5", ace)
        relay.obey(f"/ban {'1' * 30}")
        after = Relay(file)
        assert kept(after.rules) == kept(relay.rules) | {"operators": {digits("ace"): "ace"}}
        assert after.knock("fay", who="eve") == 403
        assert after.knock("fay", "den") == 423
        assert (tmp_path / "rules").stat().st_mode & 0o077 == 0

    def test_rules_of_version_1_hold(self, tmp_path: Path) -> None:
        path, who = tmp_path / "rules", identity("eve").public
        content = {
            "version": 1,
            "bans": [
                [who.hex(), digits("eve"), "eve", FOREVER_MS, "the host", "spam"],
                [None, "1" * 30, "", FOREVER_MS, "ace", ""],
            ],
            "muted": [[identity("bea").public.hex(), "bea", FOREVER_MS]],
            "operators": [[digits("ace"), "ace"]],
            "rooms": [["den", True, 0], ["", False, 5]],
            "motd": "be kind",
        }
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        relay = Relay(RulesFile(path))
        assert relay.knock("fay", who="eve") == 403
        assert relay.knock("fay", "den") == 423
        assert relay.rules.operators == {digits("ace"): "ace"}
        assert [mute.name for mute in relay.rules.muted.values()] == ["bea"]
        assert (relay.rules.slow_s, relay.rules.topics) == ({"": 5}, {"": "be kind"})
        assert relay.obey("/unlock den") == ["Done. Nobody is there."]
        after = Relay(RulesFile(path)).rules
        assert kept(after) == kept(relay.rules)
        assert json.loads(path.read_text())["version"] == 2

    def test_an_op_survives_a_start_that_names_it_too(self, tmp_path: Path) -> None:
        file, given = RulesFile(tmp_path / "rules"), (digits("ace"),)
        relay = Relay(file)
        relay.enter("ace")
        relay.obey("/op ace")
        Relay(file, given).obey("/topic hi")
        assert Relay(file).rules.operators == {digits("ace"): "ace"}
        relay = Relay(file, given)
        relay.enter("ace")
        relay.obey("/deop ace")
        assert Relay(file).rules.operators == {}
        relay.obey("/op ace")
        assert Relay(file).rules.operators == {digits("ace"): "ace"}

    def test_a_ban_that_ended_meanwhile(self, tmp_path: Path) -> None:
        file = RulesFile(tmp_path / "rules")
        relay = Relay(file)
        relay.enter("eve")
        relay.obey("/ban eve 1m")
        after = Relay(file)
        assert after.operators.tick(AT_MS + 60_000) == ["The ban of eve is over."]
        assert Relay(file).rules.bans == []

    def test_a_disk_that_is_full_takes_no_ban_back(self, tmp_path: Path) -> None:
        relay = Relay(RulesFile(tmp_path / "gone" / "rules"))
        relay.enter("eve")
        problem, _ = relay.obey("/ban eve")
        assert problem.startswith("Cannot write ")
        assert problem.endswith("It holds until the relay stops.")
        assert relay.knock("eve") == 403

    def test_as_many_rules_as_there_may_be_are_read_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        count = MAX_RULES // 100
        monkeypatch.setattr("common.files.MAX_PRIVATE_BYTES", 16 * 1024 * 1024 // 100)
        name, reason = "\U00010300" * 16, "\U00010300" * (records.MAX_COMMAND_BYTES // 4)
        rules = Rules()
        for n in range(count):
            who, shown = n.to_bytes(32), f"{n:030}"
            rules.removed[who] = Ban(who, shown, name, FOREVER_MS, name, reason)
            rules.muted[who], rules.operators[shown] = Mute(name, FOREVER_MS), name
        file, found = RulesFile(tmp_path / "rules"), Rules()
        file.save(rules, ())
        file.load(found)
        assert kept(found) == kept(rules)

    def test_what_could_not_be_read_again_is_not_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("common.files.MAX_PRIVATE_BYTES", 1_000)
        path = tmp_path / "rules"
        relay = Relay(RulesFile(path))
        relay.enter("ace", "den")
        assert relay.obey("/lock den") == []
        was = path.read_bytes()
        assert relay.obey("/topic " + "\\" * 500) == [
            "Done. Nobody is there.",
            f"{path} has no room for more. It holds until the relay stops.",
        ]
        assert path.read_bytes() == was
        assert Relay(RulesFile(path)).rules.locked == {"den"}

    def test_others_may_not_read_it(self, tmp_path: Path) -> None:
        file = RulesFile(tmp_path / "rules")
        file.save(Rules(), ())
        (tmp_path / "rules").chmod(0o644)
        with pytest.raises(FileError, match="Others can read"):
            file.load(Rules())


NAMES = st.sampled_from(["ace", "bea", "eve", "den", "lobby", "ghost", "1" * 30])
LINES = st.builds(
    "{} {} {}".format,
    st.sampled_from(list(FORMS)),
    NAMES | st.sampled_from(["0", "5", ""]),
    st.sampled_from(["", "10m", "den", "why not"]),
)


@settings(deadline=None)
@given(lines=st.lists(st.tuples(LINES, st.sampled_from([None, "ace", "bea", "eve"])), max_size=12))
def test_any_orders_keep_the_relay_whole(
    lines: list[tuple[str, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = RulesFile(tmp_path_factory.mktemp("data") / "rules")
    relay = Relay(file)
    members = {
        "ace": relay.enter("ace"),
        "bea": relay.enter("bea"),
        "eve": relay.enter("eve", "den"),
    }
    relay.obey("/op ace")
    for line, by in lines:
        before = kept(relay.rules)
        giver = members[by] if by else None
        was = giver is None or relay.operators.may(giver_of(giver))
        outcome = relay.order(line, giver)
        changed = before != kept(relay.rules)
        if not was:
            assert outcome == NOT_ALLOWED or line.split() == ["/topic"]
            assert not changed
            assert not relay.told
        # The words of a refusal and its number agree.
        says_no = ("othing was changed", "There is no room", "is not banned")
        is_refused = any(words in row for row in outcome.rows for words in says_no)
        assert is_refused is (outcome.status is not Status.OK)
        if is_refused:
            assert not changed
            assert not relay.told
        for ban in relay.rules.bans:
            assert ban.identity is None or not relay.gate.seats_of(ban.identity)
        for room in relay.gate.rooms:
            assert room.members == len(room.seats) > 0
    relay.operators.tick(AT_MS)
    after = Relay(file).rules
    assert kept(after) == kept(relay.rules)


KEYS = st.sampled_from(["version", "bans", "muted", "operators", "rooms"])
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner),
)


@settings(deadline=None)
@given(data=st.binary(max_size=200) | JSON.map(lambda found: json.dumps(found).encode()))
@example(b"[" * 100_000)
def test_a_file_that_is_damaged(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rules"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(FileError, match="is damaged"):
            RulesFile(path).load(Rules())


def test_no_end_is_a_date_that_can_be_shown() -> None:
    assert until(FOREVER_MS) == ""
    assert until(FOREVER_MS - 1_000) == " until 9999-12-31 23:59 UTC"
    assert Mute("bea", FOREVER_MS - 1).until_ms + orders.MAX_FOR_S < 1 << 63
