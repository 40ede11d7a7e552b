"""How much a connection may send and leave unread (PROTOCOL.md 9)."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Final

from common.wire.records import Kind, MemberId

INBOUND_BURST_S: Final = 2.0
"""How many seconds' worth of bytes a connection may send at once."""
FRAME_COST_BYTES: Final = 1_024
"""What a WebSocket frame costs its sender at least: an empty one, or a ping, makes work too."""
RECORDS: Final = (Kind.MESSAGE, Kind.CARD, Kind.COMMAND)
"""What the rate of records counts."""
IDENTITIES: Final = 4_096
"""Of which we know what they have spent."""
OUTBOUND_BYTES: Final = 8 * 1024 * 1024
OUTBOUND_S: Final = 30.0
ROUNDING_S: Final = 1e-6
"""More than a burst's sum of fractions is off by."""


class Bucket:
    """A token bucket, of one moment, at which it will be full again (as in ITU-T I.371's GCRA).

    It may go into debt: bytes that were read are spent, and the next read waits.
    """

    __slots__ = ("_burst_s", "_full_s", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst_s, self._full_s = rate, burst / rate, now

    def take(self, amount: float, now: float) -> None:
        """Spend."""
        self._full_s = (self._full_s if self._full_s > now else now) + amount / self._rate

    def ready_s(self, amount: float = 0.0) -> float:
        """Return when so much can be taken and no debt is left, on the clock of `now`."""
        return self._full_s + amount / self._rate - self._burst_s - ROUNDING_S


class Records:
    """How many records a member sends; what it spent outlives its connection.

    Whoever says something needs to give each member at most one SENDER_KEY before: those are free.
    One more to any of them begins anew, as if something had been said, and is counted like that. So
    nobody is given more keys by a member than the records that this may send.
    """

    __slots__ = ("_bucket", "_given", "_most_given")

    def __init__(self, rate: float, burst: float, most_given: int, now: float) -> None:
        """Be full; `most_given`: members that a room may have."""
        self._bucket = Bucket(rate, burst, now)
        self._most_given = most_given
        self._given: set[MemberId] = set()

    def said(self, now: float) -> None:
        """Count one of RECORDS."""
        if self._given:
            self._given = set()
        self._bucket.take(1, now)

    def gave_key(self, to: MemberId, now: float) -> None:
        """Count a SENDER_KEY, if it is more than is needed."""
        if self.counts(Kind.SENDER_KEY, to):
            self.said(now)
        self._given.add(to)

    def counts(self, kind: Kind, to: MemberId) -> bool:
        """Tell whether the next record of that kind is one of those that are counted."""
        is_more = to in self._given or len(self._given) >= self._most_given
        return kind in RECORDS or (kind is Kind.SENDER_KEY and is_more)

    def ready_s(self) -> float:
        """Return when the next of those may be done, on the clock of `now`."""
        return self._bucket.ready_s(1)


class Spent:
    """What the identities that joined last have spent; called from any thread.

    Whoever leaves and comes back, under whatever name, has spent what it has spent.
    """

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._records: OrderedDict[bytes, Records] = OrderedDict()

    def by(self, identity: bytes, fresh: Records) -> Records:
        """Return what an identity sends; `fresh`, if it has not joined lately."""
        with self._lock:
            records = self._records.setdefault(identity, fresh)
            self._records.move_to_end(identity)
            if len(self._records) > IDENTITIES:
                self._records.popitem(last=False)
            return records
