"""Equal warnings become one row with a count: who makes us warn often takes no room for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.member import sentences
from common.view.view import View

WITHIN_S: Final = 60.0
"""How long after the first what equals it has no row of its own."""
MOST_FOLDED: Final = 1_000
"""Sentences counted at a time: one or two for each member that a room can have."""


@dataclass(slots=True)
class _Fold:
    """A warning that was shown, and how often it was meant to be.

    Attributes:
        row: which it is, where a view can change it.
    """

    row: int | None
    is_loud: bool
    until_s: float
    count: int = 1


class Folding:
    """Owned by a narrator.

    A warning is shown at once. What equals it within a minute is counted: in that row, or, where
    rows are only added, in one more at the end of the minute.
    """

    def __init__(self, view: View, clock: Callable[[], float]) -> None:
        """Warn in this view."""
        self._view = view
        self._clock = clock
        # By sentence, which names the member; the oldest first.
        self._folds: dict[str, _Fold] = {}
        self._at_ms = 0

    def show(self, sentence: str, at_ms: int, *, is_loud: bool) -> None:
        """Show a warning, or count it."""
        self._at_ms = at_ms
        self.tick(self._clock())
        fold = self._folds.get(sentence)
        if fold is not None:
            fold.count += 1
            if fold.row is None or self._view.amend(
                fold.row, sentences.times(sentence, fold.count)
            ):
                return
            del self._folds[sentence]  # the row is not there any more
        if len(self._folds) >= MOST_FOLDED:
            self._end(next(iter(self._folds)))
        row = self._row(sentence, is_loud=is_loud)
        self._folds[sentence] = _Fold(row, is_loud, self._clock() + WITHIN_S)

    def deadline(self) -> float | None:
        """Return when a count is to be shown."""
        folds = self._folds.values()
        return next((fold.until_s for fold in folds if _is_owed(fold)), None)

    def tick(self, now: float) -> None:
        """Show the counts whose minute is over."""
        while self._folds:
            sentence, fold = next(iter(self._folds.items()))
            if now < fold.until_s:
                return
            self._end(sentence)

    def close(self) -> None:
        """Show the counts: no more will come."""
        for sentence in list(self._folds):
            self._end(sentence)

    def _end(self, sentence: str) -> None:
        fold = self._folds.pop(sentence)
        if _is_owed(fold):
            self._row(sentences.times(sentence, fold.count), is_loud=fold.is_loud)

    def _row(self, sentence: str, *, is_loud: bool) -> int | None:
        show = self._view.warn if is_loud else self._view.notice
        return show(sentence, self._at_ms)


def _is_owed(fold: _Fold) -> bool:
    """Tell whether a count has not been shown."""
    return fold.row is None and fold.count > 1
