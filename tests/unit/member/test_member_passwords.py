"""Told passwords are tried, the best word first, and no lie locks anybody out."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from common.member.passwords import MOST_TOLD, PAUSE_S, ROUND, Passwords, Rank

SEEN = Rank.FIRST_SEEN
MINUTES = itertools.count(step=PAUSE_S)


def _passwords(own: str) -> Passwords:
    return Passwords(own, str.encode)


def attempts(passwords: Passwords, good: str, now: float | None = None) -> list[str]:
    """What is shown to the relay until it takes one, or a round is over.

    Without a time, it is long after all that came before.
    """
    now = next(MINUTES) if now is None else now
    shown = [passwords.next()]
    while shown[-1] != good:
        if not passwords.refused(now):
            assert passwords.is_shut_out
            return shown
        shown.append(passwords.next())
    passwords.accepted()
    assert not passwords.is_shut_out
    return shown


def rounds(passwords: Passwords, good: str, most: int) -> list[list[str]]:
    """The rounds until the relay takes one, or as many as that."""
    shown: list[list[str]] = []
    while len(shown) < most and (not shown or shown[-1][-1] != good):
        shown.append(attempts(passwords, good))
    return shown


def test_what_was_told_first_is_tried_first_and_the_old_one_last() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "one", Rank.INVITED)
    passwords.told(b"b", "two", Rank.INVITED)
    assert attempts(passwords, "old") == ["one", "two", "old"]
    # They were refused before one was good: they are over.
    assert attempts(passwords, "old") == ["old"]


def test_whom_we_only_have_seen_costs_nobody_a_try() -> None:
    passwords = _passwords("old")
    for liar in range(5):
        passwords.told(bytes([liar]), f"lie {liar}", SEEN)
    assert attempts(passwords, "old") == ["old"]
    assert attempts(passwords, "lie 1") == ["old", "lie 0", "lie 1"]


def test_a_line_that_flaps_gives_no_more_tries_in_a_minute() -> None:
    passwords = _passwords("old")
    refused = 0
    for second in range(30):
        for liar in range(3):
            passwords.told(bytes([liar]), f"lie {second} {liar}", Rank.VERIFIED)
        refused += len(attempts(passwords, "old", float(second))) - 1
        if passwords.is_shut_out:
            break
    assert passwords.is_shut_out
    assert refused < ROUND


def test_the_better_word_is_tried_first() -> None:
    passwords = _passwords("old")
    for number, rank in enumerate(reversed(Rank)):
        passwords.told(bytes([number]), rank.name, rank)
    tried = [each for shown in rounds(passwords, "", 2) for each in shown]
    assert tried == ["OURS", "VERIFIED", "INVITED", "old", "OPERATOR", "FIRST_SEEN"]


def test_among_equals_who_is_known_longer_comes_first() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "new", SEEN, "2026-11-21")
    passwords.told(b"b", "friend's", SEEN, "2025-01-01")
    assert attempts(passwords, "friend's") == ["old", "friend's"]


def test_what_is_good_is_ours_from_now_on() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "new", SEEN)
    assert attempts(passwords, "new") == ["old", "new"]
    assert attempts(passwords, "old") == ["new"]


def test_what_was_told_before_a_better_one_is_kept_for_later() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "now", SEEN)
    passwords.told(b"b", "later", SEEN)
    assert attempts(passwords, "now") == ["old", "now"]
    assert attempts(passwords, "later") == ["now", "later"]


def test_a_round_that_failed_is_begun_anew() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "one", SEEN)
    for _ in range(3):
        assert attempts(passwords, "unknown") == ["old", "one"]


def test_what_is_typed_is_tried_at_once_and_alone() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "one", SEEN)
    attempts(passwords, "unknown")
    passwords.typed("typo")
    assert attempts(passwords, "unknown") == ["typo"]
    passwords.typed("typed")
    assert attempts(passwords, "typed") == ["typed"]
    assert attempts(passwords, "one") == ["typed", "one"]


def test_what_was_told_while_another_is_tried_is_next() -> None:
    passwords = _passwords("old")
    assert passwords.next() == "old"
    passwords.told(b"a", "new", Rank.OURS)
    assert passwords.trying == "old"
    passwords.accepted()
    assert passwords.next() == "new"


def test_who_was_right_before_is_an_operator_to_us() -> None:
    passwords = _passwords("old")
    passwords.told(b"eve", "old", SEEN)  # which everybody knows
    passwords.told(b"op", "new", SEEN)
    passwords.told(b"mal", "new", SEEN)  # which the operator told already
    attempts(passwords, "old")
    assert attempts(passwords, "new") == ["old", "new"]
    for liar in (b"eve", b"mal"):
        passwords.told(liar, f"lie of {liar!r}", SEEN)
    passwords.told(b"op", "newer", SEEN)
    assert attempts(passwords, "newer") == ["newer"]


def test_a_liar_in_four_guises_does_not_push_out_an_operator() -> None:
    passwords = _passwords("old")
    for guise in range(4):
        passwords.told(bytes([guise]), f"lie {guise}", SEEN)
    passwords.told(b"op", "truth", SEEN)
    for guise in range(4, 8):
        passwords.told(bytes([guise]), f"lie {guise}", SEEN)
    assert any(shown[-1] == "truth" for shown in rounds(passwords, "truth", 3))


def test_newcomers_do_not_push_out_who_told_before_them() -> None:
    passwords = _passwords("old")
    passwords.told(b"op", "truth", SEEN)
    for guise in range(10 * MOST_TOLD):
        passwords.told(guise.to_bytes(4), f"lie {guise}", SEEN)
    assert len(passwords._told) == MOST_TOLD
    assert attempts(passwords, "truth") == ["old", "truth"]


def test_a_better_word_pushes_out_the_worst() -> None:
    passwords = _passwords("old")
    for guise in range(MOST_TOLD):
        passwords.told(guise.to_bytes(4), f"lie {guise}", SEEN)
    passwords.told(b"friend", "truth", Rank.INVITED)
    assert len(passwords._told) == MOST_TOLD
    assert (MOST_TOLD - 1).to_bytes(4) not in passwords._told
    assert attempts(passwords, "truth") == ["truth"]


NAMES = st.sampled_from([bytes([name]) for name in range(8)])
LIES = st.lists(st.tuples(NAMES, st.text(max_size=3), st.sampled_from(Rank)), max_size=30)


@given(LIES)
def test_no_lie_locks_out(lies: list[tuple[bytes, str, Rank]]) -> None:
    passwords = _passwords("good")
    for teller, lie, rank in lies:
        passwords.told(teller, lie, rank)
    for _ in range(2):
        # The first round of all: who was in comes back at once.
        shown = attempts(passwords, "good")
        assert shown[-1] == "good"
        assert len(shown) <= ROUND


@given(LIES, LIES, st.sampled_from(Rank))
def test_no_liars_hide_the_truth(
    before: list[tuple[bytes, str, Rank]], after: list[tuple[bytes, str, Rank]], rank: Rank
) -> None:
    passwords = _passwords("old")
    for teller, lie, liar_rank in before:
        passwords.told(teller, lie, liar_rank)
    passwords.told(b"op", "truth", rank)
    for teller, lie, liar_rank in after:
        passwords.told(teller, lie, liar_rank)
    shown = rounds(passwords, "truth", 4)
    assert shown[-1][-1] == "truth"
    assert all(len(each) <= ROUND for each in shown)


def test_a_password_is_stretched_once_until_another_is_tried() -> None:
    stretched: list[str] = []

    def derive_psk(password: str) -> bytes:
        stretched.append(password)
        return password.encode()

    passwords = Passwords("own", derive_psk)
    passwords.next()
    passwords.psk = passwords.stretch()
    passwords.next()
    assert (passwords.stretch(), stretched) == (b"own", ["own"])
    passwords.told(b"a", "new", Rank.OURS)
    passwords.next()
    assert not passwords.psk
    assert passwords.stretch() == b"new"
    passwords.psk = b"new"
    passwords.typed("typed")
    # What is on its way goes on.
    assert passwords.psk == b"new"
    assert passwords.next() == "typed"
    assert not passwords.psk
