"""When a client dials again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.member.retry import FIRST_S, MAX_S, Retry


def waits(retry: Retry, count: int) -> list[float]:
    return [retry.failed(100.0) - 100.0 for _ in range(count)]


def test_1_2_4_to_60_seconds() -> None:
    assert waits(Retry(lambda: 0.5), 8) == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.5), (1.0, 1.5)])
def test_half_as_long_or_half_again(chance: float, factor: float) -> None:
    assert waits(Retry(lambda: chance), 3) == [factor, 2 * factor, 4 * factor]


def test_a_success_begins_anew() -> None:
    retry = Retry(lambda: 0.5)
    waits(retry, 5)
    retry.succeeded()
    assert waits(retry, 2) == [FIRST_S, 2 * FIRST_S]


@given(st.floats(0, 1), st.floats(0, 1e6), st.integers(0, 12))
def test_retry_after_is_waited_but_no_longer_than_a_minute(
    chance: float, asked: float, failures: int
) -> None:
    retry = Retry(lambda: chance)
    waits(retry, failures)
    own = 0.5 * FIRST_S
    wait = retry.failed(0.0, at_least_s=asked)
    assert wait >= min(asked, MAX_S)
    assert own <= wait <= 1.5 * MAX_S
