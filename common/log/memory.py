"""Logged records, and the log in memory.

PROTOCOL.md 4.1: two dense streams, the room's and each session's mail, in one arrival order. A
record is encoded once, when it is appended, with the length it has in a frame; reading joins what
is there.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import Refused
from common.wire import records
from common.wire.records import Delivered, MemberId, Seq

RETAINED_ROOM = 4_096
RETAINED_MAIL = 1_024
RETAINED_BYTES = 64 * 1024 * 1024
_SHARED = 16
"""Joined stretches remembered for one round: laggards need other ones than the rest."""


@dataclass(slots=True)
class Cursor:
    """How far one connection has been given the log; owned by that connection.

    Attributes:
        oldest_s: when the first record of the last batch was appended, on the clock of `now`;
            infinite while nothing that counts is on its way.
    """

    room: Seq
    mail: Seq
    oldest_s: float = math.inf


class _Stream:
    """One dense stream: records with their lengths, and what places them."""

    __slots__ = ("ends", "first", "frames", "last", "positions", "times")

    def __init__(self) -> None:
        self.first = 1  # seq of frames[0]
        self.last = Seq(0)  # seq of frames[-1]
        self.frames: list[bytes] = []
        self.positions: list[int] = []  # in the arrival order of the whole log
        self.ends = [0]  # ends[i]: bytes before frames[i], counted from the stream's start
        self.times: list[float] = []

    def begin(self, first: int) -> None:
        """Let the first record have another seq than 1."""
        self.first, self.last = first, Seq(first - 1)

    def append(self, frame: bytes, position: int, now: float) -> None:
        self.last = Seq(self.last + 1)
        self.frames.append(frame)
        self.positions.append(position)
        self.ends.append(self.ends[-1] + len(frame))
        self.times.append(now)

    def drop(self, count: int) -> None:
        del self.frames[:count], self.positions[:count], self.ends[:count], self.times[:count]
        self.first += count

    def drop_past(self, retained: int, read: Seq) -> None:
        spare = min(len(self.frames) - retained, read + 1 - self.first)
        if spare > 0:
            self.drop(spare)

    def shown(self, position: int) -> int:
        """Return how many frames are at or before a position of the whole log."""
        if not self.positions or self.positions[-1] <= position:
            return len(self.frames)
        return bisect_right(self.positions, position)

    def fit(self, start: int, stop: int, limit_bytes: int) -> int:
        """Return the end of the longest run from `start` to at most `stop` within the limit."""
        return bisect_right(self.ends, self.ends[start] + limit_bytes, start, stop + 1) - 1

    def retains_after(self, seq: Seq) -> bool:
        return self.first - 1 <= seq <= self.last

    def bytes_after(self, seq: Seq) -> int:
        return self.ends[-1] - self.ends[max(0, seq + 1 - self.first)]

    def bytes_from(self, position: int) -> int:
        return self.ends[-1] - self.ends[bisect_left(self.positions, position)]


_NO_MAIL = _Stream()
"""The stream of everybody who has had no mail yet; nothing is ever appended to it."""


class MemoryLog:
    """A log that ends with its process; every call is made under the lock of its room.

    A stored log derives from it: it keeps what it is told of members, and decides when what was
    appended may be shown.
    """

    def __init__(self, log_id: bytes) -> None:
        self.log_id = log_id
        self._room = _Stream()
        self._mail: dict[MemberId, _Stream] = {}
        self._position = 0
        self._shown = 0
        self._shared: dict[tuple[int, int], bytes] = {}

    @property
    def room_seq(self) -> Seq:
        """The seq of the last room record."""
        return self._room.last

    def keep_card(self, number: MemberId, card: bytes) -> None:
        """Take note of a member's card; here the room knows it as long as we live."""

    def drop_card(self, number: MemberId) -> None:
        """Take note that a member has left; here the room knows it as long as we live."""

    def show(self) -> None:
        """Show all that can no longer be lost; here it is shown at once."""

    def open_mail(self, number: MemberId) -> None:
        """Begin the mail stream of a new member."""
        self._mail[number] = _NO_MAIL

    def close_mail(self, number: MemberId) -> None:
        """Forget the mail stream of a member that has left."""
        del self._mail[number]

    @property
    def position(self) -> int:
        """How many records both streams have had: the arrival order of the last."""
        return self._position

    def shows(self, position: int) -> bool:
        """Tell whether all up to a position may be shown: it can no longer be lost."""
        return position <= self._shown

    def append(self, frame: bytes, h: bytes, now: float) -> None:
        """Append the next room record, after its length; the transcript hash is `h` then."""
        self._append(None, self._room, frame, now, h)

    def append_mail(self, record: Delivered, now: float, *, is_delivered: bool = True) -> None:
        """Append mail to its recipient's stream, if it has one, and its echo to the sender's."""
        if is_delivered and record.to in self._mail:
            to = self._mail_of(record.to)
            self._append(record.to, to, _frame(record, to.last, record.body), now)
        own = self._mail_of(record.sender)
        self._append(record.sender, own, _frame(record, own.last, b""), now)

    def _mail_of(self, number: MemberId) -> _Stream:
        """Return a member's mail, to append to it."""
        if self._mail[number] is _NO_MAIL:
            self._mail[number] = _Stream()
        return self._mail[number]

    def _append(
        self, number: MemberId | None, stream: _Stream, frame: bytes, now: float, h: bytes = b""
    ) -> None:
        self._position += 1
        stream.append(frame, self._position, now)
        self._keep(number, stream.last, frame, h)

    def _keep(self, number: MemberId | None, seq: Seq, frame: bytes, h: bytes) -> None:
        """Take note of what was appended; from when on it may be shown is decided here."""
        self._shown = self._position

    def read(self, number: MemberId, cursor: Cursor, limit_bytes: int) -> bytes:
        """Return what follows the cursor, whole records up to the limit, and advance it.

        Raises:
            Refused: 408 if what follows is no longer here.
        """
        room = self._room
        mail = self._mail.get(number)
        start = cursor.room + 1 - room.first
        if start < 0 or (mail is not None and cursor.mail + 1 < mail.first):
            raise Refused(408, "Reading too slowly: what comes next is gone.")
        stop = room.shown(self._shown)
        if mail is not None and cursor.mail != mail.last:
            return self._read_merged(room, start, stop, mail, cursor, limit_bytes)
        if start == stop:
            return b""
        end = room.fit(start, stop, limit_bytes)
        cursor.oldest_s = room.times[start]
        cursor.room = Seq(room.first + end - 1)
        return self._joined(start, end)

    def _joined(self, start: int, end: int) -> bytes:
        """Join a stretch of the room stream once for every connection that stands at its start."""
        first = self._room.first
        key = (first + start, first + end)
        joined = self._shared.get(key)
        if joined is None:
            if len(self._shared) >= _SHARED:
                self._shared.clear()
            joined = self._shared[key] = b"".join(self._room.frames[start:end])
        return joined

    def _read_merged(
        self, room: _Stream, i: int, stop: int, mail: _Stream, cursor: Cursor, limit_bytes: int
    ) -> bytes:
        """Read both streams in arrival order."""
        j = cursor.mail + 1 - mail.first
        mail_stop = mail.shown(self._shown)
        times = [room.times[i]] if i < stop else []
        if j < mail_stop:
            times.append(mail.times[j])
        cursor.oldest_s = min(times, default=math.inf)
        left = limit_bytes
        parts: list[bytes] = []
        while True:
            more = j < mail_stop
            until = bisect_left(room.positions, mail.positions[j], i, stop) if more else stop
            end = room.fit(i, until, left)
            parts += room.frames[i:end]
            left -= room.ends[end] - room.ends[i]
            i = end
            if end < until or not more or len(mail.frames[j]) > left:
                break
            parts.append(mail.frames[j])
            left -= len(mail.frames[j])
            j += 1
        cursor.room, cursor.mail = Seq(room.first + i - 1), Seq(mail.first + j - 1)
        return b"".join(parts)

    def retains(self, number: MemberId, room: Seq, mail: Seq) -> bool:
        """Tell whether every record after these two is still here, and neither is ahead."""
        return self._room.retains_after(room) and self._mail[number].retains_after(mail)

    def missed(self, number: MemberId, cursor: Cursor) -> int:
        """Count the records after the cursor."""
        return self._room.last - cursor.room + self._mail[number].last - cursor.mail

    def lag_bytes(self, number: MemberId, cursor: Cursor) -> int:
        """Return the size of what follows the cursor."""
        mail = self._mail.get(number)
        unread = self._room.bytes_after(cursor.room)
        return unread if mail is None else unread + mail.bytes_after(cursor.mail)

    def rest(self) -> None:
        """Let go of what only helps while many read the same: a round of reading is over."""
        self._shared.clear()

    def prune(self, live: Mapping[MemberId, Cursor]) -> None:
        """Drop what is past retention and read by all of `live`; a huge room waits for nobody."""
        room = self._room
        slowest = min((cursor.room for cursor in live.values()), default=room.last)
        room.drop_past(RETAINED_ROOM, slowest)
        for number, mail in self._mail.items():
            mail.drop_past(RETAINED_MAIL, live[number].mail if number in live else mail.last)
        self._fit()

    def _fit(self) -> None:
        """Drop the oldest records, of whatever stream, that are too much for memory."""
        streams = [self._room, *self._mail.values()]
        fits = bisect_left(
            range(self._position + 1),
            True,
            key=lambda at: sum(stream.bytes_from(at) for stream in streams) <= RETAINED_BYTES,
        )
        for stream in streams:
            gone = bisect_left(stream.positions, fits)
            # The last of the room says where its log stands: without it, a restart counts anew.
            most = len(stream.positions) - 1 if stream is self._room else gone
            stream.drop(max(0, min(gone, most)))


def _frame(record: Delivered, last: Seq, body: bytes) -> bytes:
    seq = Seq(last + 1)
    return records.framed_delivered(record.kind, record.sender, record.to, seq, record.at_ms, body)
