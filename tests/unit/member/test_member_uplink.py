"""What the end of a connection means, status by status (PROTOCOL.md 3.3), before anybody acts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.crypto.ticket import Ticket
from common.errors import (
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    FileError,
    Refused,
    UsageError,
)
from common.member.conversation import Conversation, Phase
from common.member.events import Failed, Noticed
from common.member.passwords import PAUSE_S, Passwords, Rank
from common.member.sentences import unproven
from common.member.trust import Pins
from common.member.uplink import (
    NAME_S,
    Again,
    Ask,
    Disconnected,
    Happened,
    Over,
    Parted,
    Uplink,
    Wait,
    address_of,
)
from common.wire import records
from common.wire.link import Closed
from common.wire.records import Delivered, Kind
from tests.unit.member.table import KEY, START_S, TODAY, identity

STATUSES = (400, 401, 403, 404, 408, 409, 410, 412, 423, 426, 429, 499, 503, 507)
MENDED = (408, 410, 412, 429, 503, 507)


def make(*, was_welcomed: bool = False) -> Uplink:
    conversation = Conversation(
        key=KEY,
        room="",
        username="ace",
        identity=identity("ace"),
        secret=None,
        pins=Pins(None),
        today=TODAY,
        at_ms=lambda: 0,
    )
    passwords = Passwords("p", str.encode)
    uplink = Uplink(conversation, address_of("", Ticket(KEY)), passwords, lambda: 0.5)
    uplink.was_welcomed = was_welcomed
    return uplink


def events(uplink: Uplink) -> list[Happened]:
    return list(iter(uplink.next_event, None))


def closed(
    uplink: Uplink, status: int | None, now: float = START_S, *, authentic: bool = True
) -> list[Happened]:
    refused = None if status is None else Refused(status, "words", authentic=authentic)
    uplink._closed(Closed(refused, "why"), now)
    return events(uplink)


@pytest.mark.parametrize("authentic", [True, False])
@pytest.mark.parametrize("status", STATUSES)
def test_every_refusal_ends_a_stranger(status: int, *, authentic: bool) -> None:
    *before, verdict = closed(make(), status, authentic=authentic)
    if status == 401 and not authentic:
        assert before == [Disconnected()]
        assert isinstance(verdict, Ask)
    else:
        assert before == []
        assert isinstance(verdict, Over)
        assert verdict.exit_code == EXIT_REFUSED
        assert verdict.refused is not None
        assert verdict.refused.status == status


def test_a_stranger_that_is_lost_was_at_no_relay() -> None:
    (verdict,) = closed(make(), None)
    assert isinstance(verdict, Over)
    assert verdict.exit_code == EXIT_UNREACHABLE
    assert "before it was a termchat server's" in verdict.sentence


@pytest.mark.parametrize("authentic", [True, False])
@pytest.mark.parametrize("status", [None, *STATUSES])
def test_a_member_comes_back_unless_the_relay_itself_ends_it(
    status: int | None, *, authentic: bool
) -> None:
    uplink = make(was_welcomed=True)
    *before, verdict = closed(uplink, status, authentic=authentic)
    if status is None or status in MENDED or not authentic:
        assert before == [Disconnected()]
        assert isinstance(verdict, Again if status == 410 else Wait)
        assert uplink.wants_dial is True
    else:
        assert before == []
        assert isinstance(verdict, Over)
        assert verdict.exit_code == EXIT_REFUSED


def test_a_relay_that_only_says_410_is_waited_for() -> None:
    uplink = make(was_welcomed=True)
    assert isinstance(closed(uplink, 410)[-1], Again)
    assert isinstance(closed(uplink, 410)[-1], Wait)
    uplink.settled()
    assert isinstance(closed(uplink, 410)[-1], Again)


def test_what_is_told_while_we_wait_is_told_once() -> None:
    uplink = make(was_welcomed=True)
    first, second, third = (closed(uplink, 429)[-1] for _ in range(3))
    assert isinstance(first, Wait)
    assert [row[:16] for row in first.rows] == ["Connection lost.", "Too many wrong p"]
    for later in (second, third):
        assert isinstance(later, Wait)
        assert later.rows == ()
    other = closed(uplink, 401, authentic=False)[-1]
    assert isinstance(other, Wait)
    assert other.rows == (unproven("wrong KEY or password."),)
    # Who reads need not hear of what a resume mends, nor twice of what a NOTICE has told.
    for status in (408, 412, 503):
        quiet = closed(make(was_welcomed=True), status)[-1]
        assert isinstance(quiet, Wait)
        assert len(quiet.rows) == 1


def test_a_wait_is_as_long_as_the_relay_asks_and_grows() -> None:
    uplink = make(was_welcomed=True)
    uplink._closed(Closed(Refused(429, retry_after_s=30), ""), START_S)
    assert uplink.retry_at_s == START_S + 30
    uplink._closed(Closed(None, ""), START_S)
    assert uplink.retry_at_s == START_S + 2
    uplink.tick(START_S + 1.9)
    uplink.wants_dial = False
    uplink.tick(START_S + 2)
    assert uplink.wants_dial
    uplink.dialling()
    events(uplink)
    assert (uplink.wants_dial, uplink.deadline(START_S)) == (False, None)


def test_a_name_is_ours_for_as_long_as_the_relay_may_hold_it() -> None:
    uplink = make(was_welcomed=True)
    uplink.conversation.opened(bytes(32), START_S)
    assert uplink.conversation.phase is Phase.JOINING
    closed(uplink, None)
    assert isinstance(closed(uplink, 409, START_S + NAME_S - 1)[-1], Wait)
    assert isinstance(closed(uplink, 409, START_S + NAME_S)[-1], Over)


def test_told_passwords_are_tried_at_once_and_then_in_rounds() -> None:
    uplink = make(was_welcomed=True)
    passwords = uplink._passwords
    passwords.told(b"bea", "new", Rank.INVITED)
    uplink.dialling()
    assert passwords.trying == "new"
    assert isinstance(closed(uplink, 401, authentic=False)[-1], Again)
    uplink.dialling()
    assert passwords.trying == "p"
    assert isinstance(closed(uplink, 401, authentic=False)[-1], Wait)
    # Whoever shares our address has wrong guesses left.
    assert uplink.retry_at_s == START_S + PAUSE_S


def test_the_end_after_our_goodbye_is_no_loss() -> None:
    uplink = make(was_welcomed=True)
    uplink.conversation.end()
    assert closed(uplink, None) == [Parted()]


def test_what_is_over_stays_so() -> None:
    uplink = make()
    closed(uplink, 403)
    assert closed(uplink, None) == []


def test_what_came_before_a_breach_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    uplink = make(was_welcomed=True)
    told: Iterator[list[Noticed | Failed]] = iter(
        [[Noticed("one")], [Noticed("two"), Failed(FileError("The pins are gone."))]]
    )
    monkeypatch.setattr(uplink.conversation, "receive", lambda *_: next(told))
    notice = records.from_relay(Kind.NOTICE, b"")
    uplink._inbox.extend([notice] * 3)
    while isinstance(uplink.open_record(START_S), Delivered):
        pass
    *before, verdict = events(uplink)
    assert before == [Noticed("one"), Noticed("two")]
    assert verdict == Over(None, "The pins are gone.", EXIT_FAILED)


class _Sock:
    """A socket that is never used."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_a_key_that_no_relay_can_have() -> None:
    uplink = make()
    uplink.address = uplink.address._replace(key=bytes(32))
    uplink._passwords.psk = bytes(32)
    sock = _Sock()
    uplink.attach(sock, START_S)  # type: ignore[arg-type] # as much of it as is called
    (verdict,) = events(uplink)
    assert isinstance(verdict, Over)
    assert verdict.exit_code == EXIT_USAGE
    assert sock.is_closed


@pytest.mark.parametrize(
    ("url", "host", "port", "place", "url_shown"),
    [
        ("", None, None, "localhost:1719", "ws://localhost:1719/"),
        ("", "relay.example", 7, "relay.example:7", "ws://relay.example:7/"),
        ("", "fd00::1", None, "[fd00::1]:1719", "ws://[fd00::1]:1719/"),
        ("wss://relay.example/", "other", 1, "relay.example:443", "wss://relay.example/"),
        ("unix:/run/chat", None, None, "/run/chat", "unix:/run/chat"),
    ],
)
def test_an_address(
    url: str, host: str | None, port: int | None, place: str, url_shown: str
) -> None:
    address = address_of(url, Ticket(KEY, None, host, port))
    assert (address.place, address.url) == (place, url_shown)
    assert address.is_secure is url.startswith("wss:")
    assert bool(address.unix_path) is url.startswith("unix:")


def test_an_address_that_is_none() -> None:
    with pytest.raises(UsageError):
        address_of("http://relay.example/", Ticket(KEY))
