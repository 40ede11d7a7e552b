"""Which password the relay is shown next: what members told, and what was good the last time.

PROTOCOL.md 5. A told password proves nothing: it is one more to try, so that nobody can lock others
out with a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MOST_TOLD: Final = 4
"""Members whose told passwords are tried; more wrong ones would only get us throttled."""


class Passwords:
    """Owned by a member; in memory only.

    Attributes:
        trying: what the present or last attempt shows.
        psk: of that, once it was stretched.
    """

    def __init__(self, own: str, derive_psk: Callable[[str], bytes]) -> None:
        self.trying = own
        self.psk: bytes | None = None
        self._derive_psk = derive_psk
        self._own = own
        # By identity, the newest last.
        self._told: dict[bytes, str] = {}
        self._refused: set[str] = set()

    def typed(self, password: str) -> None:
        """Take what our user gave as an answer."""
        self._own, self.psk = password, None

    def told(self, teller: bytes, password: str) -> None:
        """Take what a member told; each identity has one, and none takes ours out of the list."""
        self._told.pop(teller, None)
        self._told[teller] = password
        while len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]

    def next(self) -> str:
        """Choose what to try: the newest told first, what was good the last time at the end."""
        untried = self._untried()
        before, self.trying = self.trying, self._own if untried is None else untried
        if self.trying != before:
            self.psk = None
        return self.trying

    def stretch(self) -> bytes:
        """Return the psk of what is tried; for the thread that dials, since it takes long."""
        return self.psk or self._derive_psk(self.trying)

    def refused(self) -> bool:
        """Note that it was refused, and tell whether another is worth trying at once.

        After the last one a new round begins, when the next attempt is due.
        """
        self._refused.add(self.trying)
        has_another = self._untried() is not None
        if not has_another:
            self._refused.clear()
        return has_another

    def accepted(self) -> None:
        """Note that it was good; what was told just now, and not tried yet, may be better still."""
        self._own = self.trying
        over = {self.trying, *self._refused}
        self._told = {teller: told for teller, told in self._told.items() if told not in over}
        self._refused.clear()

    def _untried(self) -> str | None:
        candidates = [*reversed(self._told.values()), self._own]
        return next((each for each in candidates if each not in self._refused), None)
