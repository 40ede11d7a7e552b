"""When to dial again: backoff with jitter and a reset."""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 1.0
MAX_S = 60.0


class Retry:
    """Waits 1, 2, 4 ... 60 s, each ± 50 %: those cut off at once do not return at once."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """Start afresh; `chance` returns a number from 0 to 1."""
        self._chance = chance
        self._step_s = FIRST_S

    def failed(self, now: float, *, at_least_s: float = 0.0) -> float:
        """Return when to dial next, and wait longer the next time."""
        wait_s = self._step_s * (0.5 + self._chance())
        self._step_s = min(MAX_S, self._step_s * 2)
        return now + max(wait_s, min(at_least_s, MAX_S))

    def succeeded(self) -> None:
        """Begin with the shortest wait again."""
        self._step_s = FIRST_S
