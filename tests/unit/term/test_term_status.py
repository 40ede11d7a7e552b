"""What common.term.status leaves out first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.term.rows import plain
from common.term.status import StatusRow, status_row
from common.term.text import width

FULL = StatusRow("lobby", "ace", "", 17, 1, ("erin",), "", 5, "14:06")
LATE = StatusRow("lobby", changed=("a", "b"), warning="3 messages are missing")


@pytest.mark.parametrize(
    ("status", "columns", "left", "right"),
    [
        (FULL, 75, " lobby  ace  5 here  1 changed key: erin", "@1  17 new below (End)  14:06"),
        (FULL, 68, " lobby  ace  5 here  1 changed key: erin", "@1  17 new below (End)"),
        (FULL, 60, " lobby  5 here  1 changed key: erin", "@1  17 new below (End)"),
        (FULL, 50, " lobby  1 changed key: erin", "@1  17 new below"),
        (FULL, 42, " lobby  1 changed key: erin", "17 new below"),
        (FULL, 30, " lobby  1 changed key: erin", ""),
        (FULL, 20, " 1 changed key: erin", ""),
        (FULL, 10, " 1 change~", ""),
        (FULL, 0, "", ""),
        (LATE, 60, " lobby  2 changed keys: a, b  3 messages are missing", ""),
        (LATE, 50, " lobby  2 changed keys: a, b", ""),
        (StatusRow("x", "ace", "offline, retry in 8 s"), 40, " x  offline, retry in 8 s  ace", ""),
        (StatusRow("lobby", state="joining", notice="Hm\x1b"), 40, " lobby  Hm␛  joining", ""),
        (StatusRow("lobby", notice="Enter sends, Esc removes"), 20, " Enter sends, Esc r~", ""),
        (StatusRow("lobby", "ace", hint="/help"), 20, " lobby  /help  ace", ""),
        (StatusRow("lobby", "ace", hint="Enter sends."), 25, " lobby  Enter sends.  ace", ""),
        (StatusRow("lobby", "ace", hint="Enter sends."), 24, " lobby  /help  ace", ""),
        (StatusRow("lobby", "ace", hint="/help"), 17, " lobby  ace", ""),
        (StatusRow("lobby", hint="/help", notice="Hm"), 40, " lobby  Hm", ""),
        (StatusRow("a\nb\u202e"), 20, " a b<202E>", ""),
    ],
)  # fmt: skip
def test_what_gives_way_first(status: StatusRow, columns: int, left: str, right: str) -> None:
    row = plain(status_row(status, columns))
    assert row == left + right.rjust(columns - len(left))


@given(
    st.builds(
        StatusRow,
        *[st.text("ab日\x1b\u0301", max_size=20)] * 3,
        st.integers(0, 10**6),
        st.integers(0, 99),
        st.lists(st.text("ab日\n", min_size=1, max_size=9), max_size=3).map(tuple),
        *[st.text("ab日", max_size=9)],
        st.integers(0, 999),
        *[st.text("ab日", max_size=60)] * 2,
    ),
    st.integers(0, 100),
)
def test_the_row_is_as_wide_as_the_screen_and_a_changed_key_stays(
    status: StatusRow, columns: int
) -> None:
    row = plain(status_row(status, columns))
    assert width(row) == columns
    if status.changed and columns >= 20:
        assert f"{len(status.changed)} changed" in row
