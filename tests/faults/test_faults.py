"""A short campaign; `python tests/faults/campaign.py` is the long one."""

from __future__ import annotations

import sys

import pytest

from tests.faults.campaign import Plan, kill, run

if sys.platform != "linux":
    pytest.skip("the faults are Linux's: SIGSTOP, prlimit", allow_module_level=True)


@pytest.mark.parametrize(("seed", "has_data"), [(11, False), (12, True)])
def test_no_fault_loses_a_line(seed: int, has_data: bool) -> None:
    result = run(Plan.random(seed, 1.5, has_data=has_data), {})
    assert result.said == result.echoed + result.reported > 0


def test_a_killed_relay_takes_nothing_back() -> None:
    plan = Plan(
        seed=13,
        seconds=0.0,
        rooms=1,
        people=3,
        rate=25.0,
        faults_s=0.0,
        grace_s=120.0,
        has_data=True,
        speed=5.0,
    )
    result = kill(plan, {}, 2)
    assert result.said == result.echoed > 0
    assert result.rejoins == 0
