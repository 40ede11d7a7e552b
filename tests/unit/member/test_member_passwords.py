"""Told passwords are tried, and lock nobody out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.member.passwords import MOST_TOLD, Passwords


def _passwords(own: str) -> Passwords:
    return Passwords(own, str.encode)


def attempts(passwords: Passwords, good: str) -> list[str]:
    """What is shown to the relay until it takes one, or a round is over."""
    shown = [passwords.next()]
    while shown[-1] != good:
        if not passwords.refused():
            return shown
        shown.append(passwords.next())
    passwords.accepted()
    return shown


def test_the_newest_is_tried_first_and_the_old_one_last() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "one")
    passwords.told(b"b", "two")
    assert attempts(passwords, "old") == ["two", "one", "old"]
    # They were refused before one was good: they are over.
    assert attempts(passwords, "old") == ["old"]


def test_what_is_good_is_ours_from_now_on() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "new")
    assert attempts(passwords, "new") == ["new"]
    assert attempts(passwords, "old") == ["new"]


def test_what_was_told_before_a_better_one_is_kept_for_later() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "later")
    passwords.told(b"b", "now")
    assert attempts(passwords, "now") == ["now"]
    assert attempts(passwords, "later") == ["later"]


def test_a_round_that_failed_is_begun_anew() -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "one")
    for _ in range(3):
        assert attempts(passwords, "unknown") == ["one", "old"]
    passwords.typed("typed")
    assert attempts(passwords, "typed") == ["one", "typed"]


def test_what_was_told_while_another_is_tried_is_next() -> None:
    passwords = _passwords("old")
    assert passwords.next() == "old"
    passwords.told(b"a", "new")
    assert passwords.trying == "old"
    passwords.accepted()
    assert passwords.next() == "new"


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"]), st.text())))
def test_no_lie_locks_out(lies: list[tuple[bytes, str]]) -> None:
    passwords = _passwords("good")
    for teller, lie in lies:
        passwords.told(teller, lie)
    shown = attempts(passwords, "good")
    assert shown[-1] == "good"
    assert len(shown) <= MOST_TOLD + 1
    assert attempts(passwords, "good")[-1] == "good"


@given(st.lists(st.tuples(st.sampled_from([b"b", b"c", b"d"]), st.text(max_size=3)), max_size=12))
def test_no_three_liars_hide_the_truth(lies: list[tuple[bytes, str]]) -> None:
    passwords = _passwords("old")
    passwords.told(b"a", "truth")
    for teller, lie in lies:
        passwords.told(teller, lie)
    assert attempts(passwords, "truth")[-1] == "truth"


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
    passwords.told(b"a", "new")
    passwords.next()
    assert not passwords.psk
    assert passwords.stretch() == b"new"
    passwords.typed("typed")
    assert passwords.psk is None
