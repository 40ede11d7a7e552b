"""Which password the relay is shown next: what members told, and what was good the last time.

PROTOCOL.md 5.4. A told password proves nothing: it is one more to try. Nobody's lie may keep us
from what another told, nor use up the wrong guesses that our address has.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

MOST_TOLD: Final = 64
"""Passwords kept, one of each who told one."""
ROUND: Final = 4
"""Tried in a row: an address has ten wrong ones a minute (PROTOCOL.md 3.1), and we may not be alone
behind ours."""
PAUSE_S: Final = 60.0
"""Between two rounds."""
_BEFORE_OWN: Final = ROUND - 1
"""Told ones tried before what was good the last time, so that each cycle's first round has it; none
by those whom we only have seen, or one of them could cost each of us wrong tries at every dial."""


class Rank(IntEnum):
    """Whose word is tried first."""

    OURS = 0  # an order of our own, which the relay may have taken
    VERIFIED = 1
    INVITED = 2
    OPERATOR = 3  # told us before, first of all, what the relay then took
    FIRST_SEEN = 4


class _Told(NamedTuple):
    """What one identity told.

    Attributes:
        place: whose word came first has the lower one.
    """

    rank: Rank
    since: str
    place: int
    password: str

    def __repr__(self) -> str:
        """Hide it."""
        return f"_Told({self.rank!r})"


class Passwords:
    """Owned by a member; in memory only.

    Attributes:
        trying: what the present or last attempt shows.
        psk: of that, once it was stretched.
        is_shut_out: whether all that was tried in the last round was refused.
    """

    def __init__(self, own: str, derive_psk: Callable[[str], bytes]) -> None:
        self.trying = own
        self.psk: bytes | None = None
        self.is_shut_out = False
        self._derive_psk = derive_psk
        self._own = own
        self._typed: str | None = None
        self._told: dict[bytes, _Told] = {}
        self._places = 0
        self._operators: set[bytes] = set()
        # Of this cycle: as many rounds as it takes to try all.
        self._refused: set[str] = set()
        self._refused_at: list[float] = []

    def typed(self, password: str) -> None:
        """Take what our user gave as an answer: it is tried first, and once."""
        self._typed = password
        self._refused.discard(password)

    def told(self, teller: bytes, password: str, rank: Rank, since: str = "") -> None:
        """Take what a member told, in the place of what it told before.

        Args:
            teller: its identity.
            rank: what it is to us.
            since: the day from which we know it; among equals, who is known longer comes first.
        """
        if teller in self._operators:
            rank = min(rank, Rank.OPERATOR)
        former = self._told.get(teller)
        self._places += 1
        place = self._places if former is None else former.place
        told = _Told(rank, since, place, password)
        if former is None and len(self._told) >= MOST_TOLD:
            worst = max(self._told, key=self._told.__getitem__)
            if self._told[worst] < told:
                return
            del self._told[worst]
        self._told[teller] = told

    def next(self) -> str:
        """Choose what to try."""
        untried = self._untried()
        before, self.trying = self.trying, self._own if untried is None else untried
        if self.trying != before:
            self.psk = None
        return self.trying

    def stretch(self) -> bytes:
        """Return the psk of what is tried; for the thread that dials, since it takes long."""
        return self.psk or self._derive_psk(self.trying)

    def refused(self, now: float) -> bool:
        """Note that it was refused, and tell whether another may be tried at once.

        If not, a new round begins with the next attempt, which is due after PAUSE_S; so it is
        after what our user typed, who can type again.
        """
        self._refused.add(self.trying)
        self._refused_at = [at for at in self._refused_at if now - at < PAUSE_S] + [now]
        was_typed = self.trying == self._typed
        if was_typed:
            self._typed = None
        is_all = self._untried() is None
        if is_all:
            self._refused.clear()
        self.is_shut_out = was_typed or is_all or len(self._refused_at) >= ROUND
        return not self.is_shut_out

    def accepted(self) -> None:
        """Note that it was good; what was told just now, and not tried yet, may be better still."""
        if self.trying != self._own:
            # Who repeats what all know, or what another told, shows nothing by it.
            tellers = [who for who, told in self._told.items() if told.password == self.trying]
            if tellers and len(self._operators) < MOST_TOLD:
                self._operators.add(min(tellers, key=lambda who: self._told[who].place))
        self._own, self._typed = self.trying, None
        over = {self.trying, *self._refused}
        self._told = {who: told for who, told in self._told.items() if told.password not in over}
        self._refused.clear()
        self.is_shut_out = False

    def _untried(self) -> str | None:
        ranked = sorted(self._told.values())
        before = sum(told.rank < Rank.FIRST_SEEN for told in ranked[:_BEFORE_OWN])
        candidates = [told.password for told in ranked]
        candidates.insert(before, self._own)
        if self._typed is not None:
            candidates.insert(0, self._typed)
        return next((each for each in candidates if each not in self._refused), None)
