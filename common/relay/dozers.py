"""Who had something to say or hear of late, so that the others can be made small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

DOZE_S: Final = 1.0
"""How long a connection has nothing to say or hear before it is made small."""

_T = TypeVar("_T")


class Dozers(Generic[_T]):
    """Who stirred in this stretch of time and who in the one before; owned by a loop.

    Two sets, so that a message costs no timer.
    """

    __slots__ = ("_before", "_due_s", "_stirred")

    def __init__(self) -> None:
        self._stirred: set[_T] = set()
        self._before: set[_T] = set()
        self._due_s: float | None = None

    def stir(self, conns: Iterable[_T], now: float) -> None:
        """Note who is about to be flushed."""
        self._stirred.update(conns)
        if self._due_s is None and self._stirred:
            self._due_s = now + DOZE_S

    def deadline(self) -> float | None:
        """Return when `tick` is next wanted."""
        return self._due_s

    def tick(self, now: float) -> set[_T]:
        """Return who has not stirred for DOZE_S, or up to twice that."""
        if self._due_s is None or now < self._due_s:
            return set()
        dozing = self._before - self._stirred
        self._before, self._stirred = self._stirred, set()
        self._due_s = now + DOZE_S if self._before else None
        return dozing
