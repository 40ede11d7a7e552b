"""A QR code is drawn module by module, or it is said what is missing."""

from __future__ import annotations

import sys

import pytest
import segno

from common import qr
from common.errors import UsageError

TICKET = "K" * 44 + "." + "S" * 22 + "@chat.example.org:1719"


def modules(rows: list[str]) -> list[list[bool]]:
    """Return what a camera sees: true is dark, where the terminal's background is."""
    upper = [[char in "▄ " for char in row] for row in rows]
    lower = [[char in "▀ " for char in row] for row in rows]
    return [row for pair in zip(upper, lower, strict=True) for row in pair]


@pytest.mark.parametrize("text", ["K" * 44, TICKET, "x" * 300])
def test_a_row_of_halves_is_two_rows_of_modules(text: str) -> None:
    drawn = modules(qr.rows(text))
    code = segno.make_qr(text, error="l")
    wanted = [[bool(module) for module in row] for row in code.matrix_iter(border=4)]
    assert drawn[: len(wanted)] == wanted
    assert not any(map(any, drawn[len(wanted) :]))


def test_a_ticket_fits_a_terminal() -> None:
    rows = qr.rows(TICKET)
    assert len(rows) <= 23
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows[0]) <= 50


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(UsageError) as caught:
        qr.rows("x")
    assert str(caught.value).startswith("A QR code needs the package segno. Run: ")
