"""The hash that binds all members to one log."""

from __future__ import annotations

from collections import deque

from common.crypto.hashing import label, sha256

KEPT_RECORDS = 4352
"""PROTOCOL.md 4.4: SEEN_WINDOW, and room for what is on its way."""


class Transcript:
    """H of one log as far as its owner has read it (PROTOCOL.md 4.4).

    Owned by a Room or a Reader, which calls `join` or `leave` before it adds that record.
    """

    __slots__ = ("_kept", "_members", "_members_hash", "_seq")

    def __init__(self, seq: int, h: bytes, members: dict[int, bytes]) -> None:
        """Start at a point of the log.

        Args:
            seq: the last record processed.
            h: H there, 32 bytes.
            members: number of each present member, and the SHA-256 of its card; copied.
        """
        self._seq = seq
        self._kept = deque((h,), maxlen=KEPT_RECORDS + 1)
        self._members = {number: _entry(number, h) for number, h in members.items()}
        self._members_hash = b""

    @classmethod
    def begin(cls, room_id: bytes, log_id: bytes) -> Transcript:
        """Start where a log begins: no record and no member.

        Args:
            room_id: 32 bytes.
            log_id: 16 bytes.
        """
        return cls(0, sha256(label("log"), room_id, log_id), {})

    @classmethod
    def restore(cls, seq: int, kept: list[bytes], members: dict[int, bytes]) -> Transcript:
        """Start at `seq` with H there, the last of `kept`, and at as many records before it."""
        transcript = cls(seq, kept[-1], members)
        transcript._kept = deque(kept, maxlen=KEPT_RECORDS + 1)
        return transcript

    @property
    def seq(self) -> int:
        """The last record added."""
        return self._seq

    @property
    def h(self) -> bytes:
        """H at `seq`, 32 bytes."""
        return self._kept[-1]

    def join(self, number: int, card_hash: bytes) -> None:
        """Note a member's card: its first, or one in the place of an older one."""
        self._members[number] = _entry(number, card_hash)
        self._members_hash = b""

    def leave(self, number: int) -> None:
        """Note that a member has left."""
        del self._members[number]
        self._members_hash = b""

    def add(self, record: bytes) -> bytes:
        """Advance over the next room record, as delivered, header included; return H there."""
        if not self._members_hash:
            self._members_hash = self._hash_members()
        h = sha256(self._kept[-1], self._members_hash, record)
        self._kept.append(h)
        self._seq += 1
        return h

    def at(self, seq: int) -> bytes | None:
        """Return H at an earlier point, or None if it is not kept."""
        back = self._seq - seq
        return self._kept[-1 - back] if 0 <= back < len(self._kept) else None

    def _hash_members(self) -> bytes:
        # Nearly always in order already: numbers grow, and a dict keeps the order of arrival.
        listed = map(self._members.__getitem__, sorted(self._members))
        return sha256(label("members"), *listed)


def _entry(number: int, card_hash: bytes) -> bytes:
    return number.to_bytes(4) + card_hash
