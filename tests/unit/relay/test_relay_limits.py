"""How much a connection may send: PROTOCOL.md 9."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.relay import limits
from common.relay.limits import Bucket, Records, Spent
from common.wire.records import MemberId

T = 1_000.0
ROOM = 256


class TestBucket:
    @given(st.integers(1, 1_000), st.integers(1, 1_000), st.floats(0, 1e7))
    def test_a_burst_is_the_burst(self, rate: int, burst: int, now: float) -> None:
        bucket = Bucket(rate, burst, now)
        taken = 0
        while bucket.ready_s(1) <= now:
            bucket.take(1, now)
            taken += 1
        assert taken == burst
        assert bucket.ready_s(1) == pytest.approx(now + 1 / rate, abs=1e-5)

    def test_a_burst_then_a_rate(self) -> None:
        bucket = Bucket(10, 40, T)
        for _ in range(40):
            bucket.take(1, T)
        assert bucket.ready_s() == pytest.approx(T)
        bucket.take(1, T)
        assert bucket.ready_s() == pytest.approx(T + 0.1)
        bucket.take(1, T + 0.1)
        assert bucket.ready_s() == pytest.approx(T + 0.2)

    def test_it_never_holds_more_than_its_burst(self) -> None:
        bucket = Bucket(10, 40, T)
        bucket.take(0, T + 1_000)
        bucket.take(41, T + 1_000)
        assert bucket.ready_s() == pytest.approx(T + 1_000.1)


class TestSpent:
    def test_an_identity_has_one_account(self) -> None:
        spent = Spent(threading.Lock())
        first, other = (Records(10.0, 40.0, 5, 0.0) for _ in range(2))
        assert spent.by(b"eve", first) is first
        assert spent.by(b"ace", other) is other
        assert spent.by(b"eve", Records(10.0, 40.0, 5, 0.0)) is first

    def test_it_is_bounded_and_the_oldest_go_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "IDENTITIES", 2)
        spent, made = Spent(threading.Lock()), [Records(1.0, 1.0, 5, 0.0) for _ in range(4)]
        for identity, records in zip((b"a", b"b", b"a", b"c"), made, strict=True):
            spent.by(identity, records)
        assert spent.by(b"a", made[3]) is made[0]
        assert spent.by(b"b", made[2]) is made[2]


class TestRecords:
    def records(self) -> Records:
        return Records(10, 40, ROOM, T)

    def spend(self, records: Records, count: int) -> None:
        for _ in range(count):
            records.said(T)

    def test_a_key_for_each_member_before_each_message_is_free(self) -> None:
        records = self.records()
        for _ in range(40):
            for n in range(1, ROOM):
                records.gave_key(MemberId(n), T)
            records.said(T)
        assert records.ready_s() == pytest.approx(T + 0.1)

    def test_another_to_one_of_them_is_counted_and_begins_anew(self) -> None:
        records = self.records()
        self.spend(records, 39)
        for _ in range(2):
            for n in range(1, ROOM):
                records.gave_key(MemberId(n), T)
        assert records.ready_s() == pytest.approx(T + 0.1)
        records.gave_key(MemberId(9), T)
        assert records.ready_s() == pytest.approx(T + 0.2)

    def test_no_more_are_free_than_a_room_has_members(self) -> None:
        records = self.records()
        self.spend(records, 40)
        for n in range(ROOM):
            records.gave_key(MemberId(n), T)
        assert records.ready_s() == pytest.approx(T + 0.1)
        for n in range(ROOM):
            records.gave_key(MemberId(10_000 + n), T)
        assert records.ready_s() == pytest.approx(T + 0.2)

    @given(st.lists(st.integers(0, 5)))
    def test_nobody_is_given_more_keys_than_it_counted(self, sent: list[int]) -> None:
        records, given_to = self.records(), Counter[int]()
        for to in sent:
            if to:
                given_to[to] += 1
                records.gave_key(MemberId(to), T)
            else:
                records.said(T)
        counted = round((records.ready_s() + 3.9 - T) * 10) if sent else 0
        counted = max(counted, 0)
        assert all(count <= counted + 1 for count in given_to.values())
        assert counted <= len(sent)
