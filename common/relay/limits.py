"""How much a connection may send and leave unread (PROTOCOL.md 9)."""

from __future__ import annotations

from typing import Final

INBOUND_BURST_S: Final = 2.0
"""How many seconds' worth of bytes a connection may send at once."""
FRAME_COST_BYTES: Final = 1_024
"""What a WebSocket frame costs its sender at least: an empty one, or a ping, makes work too."""
OUTBOUND_BYTES: Final = 8 * 1024 * 1024
OUTBOUND_S: Final = 30.0


class Bucket:
    """A token bucket that may go into debt: what was read is done, and the next read waits.

    It is one moment, at which the bucket will be full again (as in ITU-T I.371's GCRA).
    """

    __slots__ = ("_burst_s", "_full_s", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst_s, self._full_s = rate, burst / rate, now

    def take(self, amount: float, now: float) -> None:
        """Spend."""
        self._full_s = (self._full_s if self._full_s > now else now) + amount / self._rate

    def ready_s(self) -> float:
        """Return when the debt is paid, on the clock of `now`; if there is none, it was before."""
        return self._full_s - self._burst_s
