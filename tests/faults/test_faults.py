"""A short campaign; `python tests/faults/campaign.py` is the long one."""

from __future__ import annotations

import sys

import pytest

from tests.faults.campaign import Plan, kill, run, running

if sys.platform != "linux":
    pytest.skip("the faults are Linux's: SIGSTOP, prlimit", allow_module_level=True)


@pytest.mark.parametrize(("seed", "has_data"), [(11, False), (12, True)])
def test_no_fault_loses_a_line(seed: int, has_data: bool) -> None:
    result = run(Plan.random(seed, 1.5, has_data=has_data), {})
    assert result.said == result.echoed + result.reported > 0


def test_a_full_disk_is_told_and_costs_nothing() -> None:
    plan = Plan(
        seed=14,
        seconds=0.0,
        rooms=1,
        people=3,
        rate=20.0,
        faults_s=0.0,
        grace_s=120.0,
        has_data=True,
        speed=1.0,
    )
    with running(plan, {}) as campaign:
        campaign.until_live()
        campaign.talk(0.3)
        campaign.relay.fill_disk(is_full=True)
        campaign.talk(1.0)
        shown = len(campaign.ledger.places)
        campaign.talk(0.5)
        assert len(campaign.ledger.places) == shown  # nothing that could be lost is shown
        campaign.relay.fill_disk(is_full=False)
        campaign.settle()
        result = campaign.judge()
        assert result.said == result.echoed > shown
        for member in campaign.members:
            assert member.stays[1:] == []
            worry, relief = member.notices
            assert "log.sqlite cannot be written: " in worry
            assert worry.endswith("What you send waits until it can be.")
            assert relief == "The log can be written again."


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
